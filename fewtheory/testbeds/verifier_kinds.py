"""Finitely many kinds of task before an imperfect verifier: easy and hard, or a benchmark's own.

After k - 1 rejections the belief in kind i is proportional to P_i q_i^{k - 1}, and attempt k adds
I_k = sum_i P_i q_i^{k - 1} g_i to the utility, with the prior P_i: rejections make the hard tasks
likelier, whose accepts are wrong.

Source: Inference Scaling fLaws (arXiv 2411.17501); sheet `inference-flaws`, M3 and M4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer
from ._exponential_sums import best_count
from .verifier import (
    Attempts,
    Outcomes,
    VerifierWorld,
    accepts,
    attempts_limit,
    costs,
    exact,
    first_accept,
    first_accept_of,
)


@dataclass(frozen=True, eq=False)
class TaskKinds(VerifierWorld):
    """Finitely many kinds of task: easy and hard, or one kind for each task of a benchmark.

    prior: their shares, which add up to one; solve: r; soundness, completeness: numbers, or one a
    kind. Raises ValueError or TypeError by name. Source: sheet `inference-flaws`, M3 and M4.

    >>> world = TaskKinds((0.58, 0.42), (0.87, 0.13), 0.75)
    >>> [world.best_attempts(lam) for lam in (0.5, 0.7, 1, 2, 20)]
    [inf, 3, 2, 1, 0]
    """

    prior: Any
    solve: Any
    soundness: Any
    completeness: Any = 1

    def __post_init__(self) -> None:
        prior = finite_array("TaskKinds", "prior", _floats(self.prior))
        if prior.ndim != 1 or prior.size < 1 or np.any(prior < 0) or abs(prior.sum() - 1) > 1e-9:
            raise fail("TaskKinds", "prior", "not negative, (kinds,), with sum one", self.prior)
        for name in ("solve", "soundness", "completeness"):
            value = finite_array("TaskKinds", name, _floats(getattr(self, name)))
            if np.any((value < 0) | (value > 1)):
                raise fail("TaskKinds", name, "in [0, 1]", getattr(self, name))
            if value.shape not in ((), prior.shape) or (name == "solve" and value.ndim == 0):
                raise fail("TaskKinds", name, f"of shape {prior.shape}", value.shape)

    def _each(self, number_of: Callable[[Any], Any]) -> list[tuple[Any, ...]]:
        """(P, r, s, c) of each kind, each through this function."""
        n = np.asarray(self.prior).size
        columns = []
        for value in (self.prior, self.solve, self.soundness, self.completeness):
            row = list(value) if np.ndim(value) == 1 else [value] * n
            columns.append([number_of(v) for v in row])
        return list(zip(*columns, strict=True))

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return tuple(np.array(self._each(float)).T)

    def terms(self, M: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[a q^m], E[f q^m] and E[q^m] for m = 0 .. M - 1."""
        P, r, s, c = self._arrays()
        a, f = accepts(r, s, c)
        powers = (1 - a - f) ** np.arange(M)[:, None]
        return powers @ (P * a), powers @ (P * f), powers @ P

    def outcomes(self, K: Any) -> Outcomes:
        """The outcomes of at most K attempts, each kind's in closed form."""
        if isinstance(K, float):
            attempts_limit("TaskKinds.outcomes", K)
        index = np.asarray(K)
        if not (isinstance(K, float) or index.dtype.kind in "iu") or np.any(index < 0):
            raise fail("TaskKinds.outcomes", "K", "integers of at least 0, or math.inf", K)
        P, r, s, c = (v[self._arrays()[0] > 0] for v in self._arrays())
        out = first_accept_of(*accepts(r, s, c), np.asarray(index, dtype=np.float64)[..., None])
        return Outcomes(out.accuracy @ P, out.wrong @ P, out.abstain @ P, out.attempts @ P)

    def limit(self) -> Outcomes:
        """The outcomes without a limit on the attempts; tasks never accepted abstain."""
        return self.outcomes(math.inf)

    def ceiling(self) -> float:
        """A_inf = E[a / (a + f)] over the tasks with a + f > 0, each task alike (M2)."""
        low, high = self.ceiling_bounds()
        never = high - low
        return low / (1 - never) if never < 1 else math.nan

    def ceiling_bounds(self) -> tuple[float, float]:
        """A_inf with 0, and with 1, for the tasks that are never accepted."""
        out = self.limit()
        return float(out.accuracy), float(out.accuracy + out.abstain)

    def gap(self, K: int) -> float:
        """A_inf (never accepted: 0) less the accuracy at K, E[q^K a / (1 - q)], no difference."""
        P, r, s, c = self._arrays()
        out = first_accept(r, math.inf, s, c)
        return float(P @ (first_accept(r, K, s, c).abstain * out.accuracy))

    def _odds(self, k: np.ndarray) -> Any:
        """From the posterior after k - 1 rejections, P q^{k - 1}, whatever its scale."""
        P, r, s, c = self._arrays()
        a, f = accepts(r, s, c)
        with np.errstate(divide="ignore"):
            log_q = np.log1p(-(a + f))
        steps = (k - 1)[..., None]
        logs = np.where(steps == 0, 0.0, np.where(steps == 0, 1, steps) * log_q)
        weight = P * np.exp(logs - logs.max(axis=-1, keepdims=True))
        with np.errstate(divide="ignore"):  # no attempt is right: infinite odds
            return (weight @ f) / (weight @ a)

    def increments(self, k: int, fp_cost: Any, sample_cost: Any = 0) -> Fraction:
        """I_k = sum_i P_i q_i^{k - 1} g_i, what attempt k adds to the utility, as a fraction.

        g = c r - fp_cost (1 - s)(1 - r) - sample_cost: the weights are the prior's.
        """
        integer("TaskKinds.increments", "k", k, 1)
        total = Fraction(0)
        for P, g, q in self._gains(exact(fp_cost), exact(sample_cost)):
            total += P * g * q ** (k - 1)
        return total

    def _gains(self, lam: Fraction, kappa: Fraction) -> list[tuple[Fraction, Fraction, Fraction]]:
        """(P, g, q) of each kind, exact."""
        found = []
        for P, r, s, c in self._each(exact):
            a, f = accepts(r, s, c)
            found.append((P, a - lam * f - kappa, 1 - a - f))
        return found

    def best_attempts(self, fp_cost: Any, sample_cost: Any = 0) -> Attempts:
        """K*, the smallest K of the greatest utility; math.inf where every further attempt pays.

        Two kinds with g_1 > 0 > g_2: ceil(log(P_1 g_1 / (P_2 |g_2|)) / log(q_2 / q_1)), a tie
        decided in fractions (M4). More kinds, or other signs: all zeros of the exponential sum I_k
        are found, and the local maxima compared. Costs: not negative.
        """
        lam, kappa = costs("TaskKinds.best_attempts", fp_cost, sample_cost)
        return best_count([(P * g, q) for P, g, q in self._gains(lam, kappa)])

    def rates(self, tasks: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Solve rate, soundness and completeness of so many tasks."""
        P, r, s, c = self._arrays()
        kind = rng.choice(len(P), size=tasks, p=P / P.sum())
        return r[kind], s[kind], c[kind]


def _floats(value: Any) -> Any:
    """Fractions as floats, whatever else it is as it is."""
    found = np.array(value, dtype=object)
    kinds = {type(v) for v in found.ravel()}
    return found.astype(np.float64) if Fraction in kinds else value
