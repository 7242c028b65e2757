"""The imperfect verifier: draw until the first accept, at most K times, and know what it buys.

A task's attempts are right with probability r, independently; a right one is accepted with
probability c (completeness), a wrong one is rejected with probability s (soundness). So an attempt
is accepted and right with probability a = c r, accepted and wrong with f = (1 - s)(1 - r), and
rejected with q = 1 - a - f, and whatever K is, an accepted answer is right with probability
a / (a + f): resampling cannot change it. What K changes is which tasks are answered, since tasks
differ: by finitely many kinds (`verifier_kinds`) or by a continuous law (`verifier_laws`).

The optimal K is decided in exact arithmetic: a float is read as the decimal it prints as (0.8 is
4/5), since at a tie the ceiling of a float is either of two numbers.

Source: Inference Scaling fLaws (arXiv 2411.17501); sheet `inference-flaws`, M1 and M2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..arrays import Array, Rng, as_like, namespace, to_numpy
from ..errors import fail, integer, number
from .clips import _host_rng

Attempts = int | float  # a number of attempts; math.inf where there is no last one


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What at most K attempts end in, at each K asked for.

    accuracy, wrong, abstain: probabilities that add up to one; attempts: the expected number made.
    """

    accuracy: Any
    wrong: Any
    abstain: Any
    attempts: Any

    def utility(self, fp_cost: float | int, sample_cost: float | int = 0.0) -> Any:
        """P(right) - fp_cost P(wrong) - sample_cost E[attempts]."""
        gain = self.accuracy - fp_cost * self.wrong
        return gain if sample_cost == 0 else gain - sample_cost * self.attempts  # not 0 * inf

    @property
    def precision(self) -> Any:
        """P(right | accepted by K), pooled over tasks."""
        return self.accuracy / (self.accuracy + self.wrong)


def exact(value: Any) -> Fraction:
    """A number as a fraction; a float is the decimal that it prints as.

    >>> exact(0.8), exact(Fraction(1, 3))
    (Fraction(4, 5), Fraction(1, 3))
    """
    if isinstance(value, (float, np.floating)):
        return Fraction(repr(float(value)))
    return Fraction(int(value)) if isinstance(value, np.integer) else Fraction(value)


def accepts(solve: Array, soundness: Any, completeness: Any = 1.0) -> tuple[Array, Array]:
    """(a, f) of an attempt: a = c r is accepted and right, f = (1 - s)(1 - r) accepted and wrong.

    >>> accepts(np.array([0.5]), 0.75)
    (array([0.5]), array([0.125]))
    """
    return completeness * solve, (1 - soundness) * (1 - solve)


def first_accept(solve: Array, K: Attempts, soundness: Any, completeness: Any = 1.0) -> Outcomes:
    """Attempts on one task until the first accept, at most K: each outcome's probability (M1).

        P(right) = a (1 - q^K) / (1 - q),  P(wrong) = f (1 - q^K) / (1 - q),  P(abstain) = q^K

    and (1 - q^K) / (1 - q) attempts are expected. solve: solve rates r in [0, 1], any shape and any
    array library; K: an integer of at least 0, or math.inf; soundness s and completeness c:
    numbers or arrays that broadcast. Raises ValueError or TypeError by name.
    Source: sheet `inference-flaws`, M1.

    >>> out = first_accept(np.array([0.87, 0.13]), 2, 0.75)
    >>> out.accuracy.round(6).tolist(), out.precision.round(4).tolist()
    ([0.954825, 0.214825], [0.964, 0.3741])
    """
    where = "first_accept"
    K = attempts_limit(where, K)
    _probabilities(where, "solve", solve)
    a, f = accepts(
        solve,
        _rate(where, "soundness", soundness, solve),
        _rate(where, "completeness", completeness, solve),
    )
    return first_accept_of(a, f, as_like(float(K), a))


def first_accept_of(a: Array, f: Array, K: Array) -> Outcomes:
    """`first_accept` from a and f, K broadcasting against them."""
    xp = namespace(a)
    p = a + f  # 1 - q, without its cancellation
    some, certain = p > 0, p >= 1
    safe = xp.where(some, p, xp.ones_like(p))
    between = some & ~certain
    log_none = K * xp.log1p(-xp.where(between, p, xp.full_like(p, 0.5)))
    none = xp.where(certain, xp.astype(K == 0, p.dtype), xp.exp(log_none))
    none = xp.where(some, none, xp.ones_like(none))
    answered = xp.where(certain, 1 - none, -xp.expm1(log_none))
    answered = xp.where(some, answered, xp.zeros_like(none))
    made = xp.where(some, answered / safe, K + xp.zeros_like(none))
    return Outcomes(a / safe * answered, f / safe * answered, none, made)


def attempts_limit(where: str, K: Any) -> Attempts:
    """K as an integer of at least 0 or math.inf, or an error that names it."""
    if isinstance(K, float) and K == math.inf:
        return math.inf
    return integer(where, "K", K, 0)


def _probabilities(where: str, name: str, x: Array) -> Any:
    """The namespace of an array of probabilities, or an error that names it."""
    xp = namespace(x)
    if not hasattr(x, "dtype") or not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(f"{where}: {name} must be an array of a real floating dtype, got {x!r}")
    if not bool(xp.all((x >= 0) & (x <= 1))):
        raise fail(where, name, "in [0, 1]", x)
    return xp


def _rate(where: str, name: str, value: Any, like: Array) -> Any:
    """A probability as a float, or an array of them of the kind of `like`."""
    if hasattr(value, "dtype") and getattr(value, "shape", ()) != ():
        _probabilities(where, name, value)
        return value if namespace(value) is namespace(like) else as_like(to_numpy(value), like)
    return number(where, name, value, 0.0, 1.0)


class VerifierWorld:
    """What all laws of tasks share; each states its moments E[a q^m], E[f q^m], E[q^m]."""

    def terms(self, M: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[a q^m], E[f q^m] and E[q^m] for m = 0 .. M - 1: attempt m + 1 right, wrong, made."""
        raise NotImplementedError

    def limit(self) -> Outcomes:
        """The outcomes without a limit on the attempts."""
        raise NotImplementedError

    def best_attempts(self, fp_cost: Any, sample_cost: Any = 0) -> Attempts:
        """K*, the smallest K of the greatest utility, in exact arithmetic; math.inf if no last."""
        raise NotImplementedError

    def outcomes(self, K: Any) -> Outcomes:
        """The outcomes of at most K attempts; K: an integer, integers of any shape, or math.inf."""
        where = f"{type(self).__name__}.outcomes"
        if isinstance(K, float):
            attempts_limit(where, K)
            return self.limit()
        index = np.asarray(K)
        if index.dtype.kind not in "iu" or index.size == 0 or np.any((index < 0) | (index > 10**7)):
            raise fail(where, "K", "integers in [0, 10^7], or math.inf", K)
        right, wrong, made = self.terms(int(index.max()) + 1)
        sums = (np.concatenate([[0.0], np.cumsum(v)])[index] for v in (right, wrong, made))
        accuracy, failed, attempts = sums
        return Outcomes(accuracy, failed, made[index], attempts)

    def utility(self, K: Any, fp_cost: float | int, sample_cost: float | int = 0.0) -> Any:
        """U_K = P(right) - fp_cost P(wrong) - sample_cost E[attempts]."""
        return self.outcomes(K).utility(fp_cost, sample_cost)

    def odds(self, k: Any) -> Any:
        """The odds that an answer accepted at attempt k (from 1) is wrong, P(wrong) / P(right)."""
        index = np.asarray(k)
        if index.dtype.kind not in "iu" or index.size == 0 or np.any(index < 1):
            raise fail(f"{type(self).__name__}.odds", "k", "integers of at least 1", k)
        return self._odds(index)

    def _odds(self, k: np.ndarray) -> Any:
        raise NotImplementedError

    def ceiling(self) -> float:
        """A_inf = E[a / (a + f)] over the tasks that are ever accepted (macro average, M2)."""
        out = self.limit()
        return float(out.accuracy / (out.accuracy + out.wrong))

    def pooled_precision(self) -> float:
        """E[a] / E[a + f]: what an accept at the first attempt is worth."""
        return float(1 / (1 + self.odds(1)))

    def rates(self, tasks: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Solve rate, soundness and completeness of so many tasks."""
        raise NotImplementedError

    def draw(self, tasks: int, n: int, *, rng: Rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """n attempts on each of so many tasks: (tp, fp, fn), true and false accepts, false rejects.

        rng: either generator; a torch generator seeds a NumPy one.
        """
        where = f"{type(self).__name__}.draw"
        integer(where, "tasks", tasks, 0)
        integer(where, "n", n, 0)
        host = _host_rng(rng)
        r, s, c = self.rates(tasks, host)
        right = host.binomial(n, r)
        tp = host.binomial(right, c)
        return tp, host.binomial(n - right, 1 - s), right - tp


def costs(where: str, fp_cost: Any, sample_cost: Any) -> tuple[Fraction, Fraction]:
    """Both costs as fractions, or an error that names the one that is negative or no number."""
    for name, value in (("fp_cost", fp_cost), ("sample_cost", sample_cost)):
        number(where, name, value, 0.0)
    return exact(fp_cost), exact(sample_cost)
