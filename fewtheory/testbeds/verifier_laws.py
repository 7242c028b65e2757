"""Tasks of all difficulties before an imperfect verifier: Beta, Beta-Beta and Dirichlet laws.

With solve rates r ~ Beta(a, b), rejections are evidence: after k - 1 of them the tasks that are
left have r ~ Beta(a, b + k - 1), so the odds that the next accept is wrong grow linearly in k, and
the power law of repeated sampling becomes an exponential: about 1 / log(1 / s) attempts are of use.
Where the soundness varies over tasks too, the odds saturate; where (right, wrong, rejected) is
Dirichlet they are flat. Published curves lie between.

Source: Inference Scaling fLaws (arXiv 2411.17501); sheet `inference-flaws`, M5 and M6 (derived
there). The ceilings here are Pfaff's transforms of the sheet's, whose series have positive terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import integer
from . import verifier_optimum
from ._beta_moments import (
    accepted_share,
    chance_is_positive,
    expected_attempts,
    geometric_series,
    linear_moments,
    posterior_mean,
    ratio_products,
)
from .verifier import Attempts, Outcomes, VerifierWorld


@dataclass(frozen=True)
class BetaTasks(VerifierWorld):
    """Solve rates r ~ Beta(a, b); soundness s and completeness c the same for all tasks.

    Raises ValueError or TypeError by name unless a, b > 0 and s, c in [0, 1].

    >>> world = BetaTasks(0.6, 0.4, 0.8)
    >>> round(world.ceiling(), 12), world.best_attempts(0.5)
    (0.774086515321, 6)
    >>> round(float(world.utility(10, 0.5)), 9)
    0.663757746
    """

    a: Any
    b: Any
    soundness: Any
    completeness: Any = 1

    def __post_init__(self) -> None:
        verifier_optimum.positive("BetaTasks", a=self.a, b=self.b)
        rates = {"soundness": self.soundness, "completeness": self.completeness}
        verifier_optimum.rates("BetaTasks", **rates)

    @cached_property
    def _floats(self) -> tuple[float, float, float, float]:
        return float(self.a), float(self.b), float(self.soundness), float(self.completeness)

    def terms(self, M: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[a q^m], E[f q^m] and E[q^m] for m = 0 .. M - 1, q = s - (s + c - 1) r."""
        a, b, s, c = self._floats
        mean = a / (a + b)
        right, wrong, made = (
            linear_moments(alpha, beta, s, c, M) for alpha, beta in ((a + 1, b), (a, b + 1), (a, b))
        )
        return c * mean * right, (1 - s) * (1 - mean) * wrong, made

    def _odds(self, k: np.ndarray) -> Any:
        """(1 - s)(b + k - 1) / a for c = 1; else from the posterior mean of r."""
        a, b, s, c = self._floats
        if c == 1:
            return (1 - s) * (b + k - 1) / a
        flat = [posterior_mean(a, b, s, c, int(m) - 1) for m in k.ravel()]
        mean = np.reshape(flat, k.shape)
        with np.errstate(divide="ignore"):  # c = 0: no accept is right
            return (1 - s) * (1 - mean) / (c * mean)

    def limit(self) -> Outcomes:
        """Without a limit: A_inf = a / (a + b) 2F1(1, b; a + b + 1; (s + c - 1) / c)."""
        from scipy.special import hyp2f1

        a, b, s, c = self._floats
        if c == 0:  # nothing right is ever accepted
            endless = math.inf if s == 1 or b <= 1 else (a + b - 1) / ((b - 1) * (1 - s))
            return Outcomes(0.0, float(s < 1), float(s == 1), endless)
        if s + c < 1:  # the other of Pfaff's transforms has the positive terms
            z = (1 - s - c) / (1 - s)
            accuracy = c / (1 - s) * a / (a + b) * float(hyp2f1(1, a + 1, a + b + 1, z))
            attempts = float(hyp2f1(1, a, a + b, z)) / (1 - s)
            return Outcomes(accuracy, 1 - accuracy, 0.0, attempts)
        z = (s + c - 1) / c
        accuracy = a / (a + b) * float(hyp2f1(1, b, a + b + 1, z))
        attempts = float(hyp2f1(1, b, a + b, z)) / c if z < 1 else (
            (a + b - 1) / (a - 1) / c if a > 1 else math.inf)  # fmt: skip
        return Outcomes(accuracy, 1 - accuracy, 0.0, attempts)

    def gap(self, K: int) -> float:
        """A_inf - A_K = E[a q^K / (1 - q)], without the difference (M5, completeness 1).

            s^K B(a + 1, b + K) / B(a, b) 2F1(1, b + K; a + b + K + 1; s)

        For s = 1 it is 1 - pass@K = B(a, b + K) / B(a, b).
        """
        a, b, s, c = self._floats
        integer("BetaTasks.gap", "K", K, 0)
        if c < 1:
            return float(self.limit().accuracy - self.outcomes(K).accuracy)
        # B(a, b + K) / B(a, b) as a product: a difference of betaln loses digits as K grows
        if s == 1:
            return float(ratio_products(b, a + b, K + 1)[-1])
        right = a / (a + b) * float(ratio_products(b, a + b + 1, K + 1)[-1])
        return s**K * right * geometric_series(b + K, a + b + K + 1, s)

    def leading_gap(self, K: int) -> float:
        """The leading term of `gap` for large K and completeness 1 (M5).

            s^K K^{-a - 1} a Gamma(a + b) / (Gamma(b) (1 - s))

        and K^{-a} Gamma(a + b) / Gamma(b) for s = 1.
        """
        a, b, s, _ = self._floats
        scale = math.exp(math.lgamma(a + b) - math.lgamma(b))
        return scale * (K**-a if s == 1 else s**K * K ** (-a - 1) * a / (1 - s))

    def best_attempts(self, fp_cost: Any, sample_cost: Any = 0) -> Attempts:
        """K*: max(0, ceil(a (1 - kappa) / (lam (1 - s) + kappa) - b)) for completeness 1 (M5).

        For c < 1, where s + c > 1, the posterior mean of an attempt's gain falls with k, so that
        K* is where it turns negative; where s + c <= 1 rejections speak for a task, and K* is 0 or
        (if the gains come to more than the losses) infinite.
        """
        where = "BetaTasks.best_attempts"
        lam, kappa = verifier_optimum.costs(where, fp_cost, sample_cost)
        if self.completeness == 1:
            return verifier_optimum.beta_attempts(self.a, self.b, self.soundness, lam, kappa)
        a, b, s, c = (verifier_optimum.exact(v) for v in
                      (self.a, self.b, self.soundness, self.completeness))  # fmt: skip
        if s + c > 1:
            if lam * (1 - s) + kappa == 0:
                return math.inf
            return chance_is_positive(a, b, s, c, lam, kappa)
        gain = c * a - lam * (1 - s) * b - kappa * (a + b)
        if s + c == 1:
            return (1 if s == 0 else math.inf) if gain > 0 else 0
        out = self.limit()
        if kappa > 0 and out.attempts == math.inf:
            return math.inf if gain > 0 else 0
        return math.inf if out.utility(float(lam), float(kappa)) > 0 else 0

    def rates(self, tasks: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Solve rate, soundness and completeness of so many tasks."""
        a, b, s, c = self._floats
        return rng.beta(a, b, tasks), s, c


@dataclass(frozen=True)
class BetaBetaTasks(VerifierWorld):
    """r ~ Beta(a, b) and, independently, s ~ Beta(u, v); nothing right is rejected (M6).

    With u + v = b it is the Dirichlet law (a, v, u) of (right, wrong, rejected).

    >>> BetaBetaTasks(0.34, 0.27, 3, 1).odds([1, 3, 10, 40]).round(5).tolist()
    [0.19853, 1.11275, 2.09729, 2.68605]
    """

    a: Any
    b: Any
    u: Any
    v: Any

    def __post_init__(self) -> None:
        verifier_optimum.positive("BetaBetaTasks", a=self.a, b=self.b, u=self.u, v=self.v)

    @cached_property
    def _floats(self) -> tuple[float, float, float, float]:
        return float(self.a), float(self.b), float(self.u), float(self.v)

    def terms(self, M: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[r q^m], E[f q^m] and E[q^m] = E[s^m] E[(1 - r)^m] for m = 0 .. M - 1."""
        a, b, u, v = self._floats
        m = np.arange(M)
        made = ratio_products(b, a + b, M) * ratio_products(u, u + v, M)
        right = made * a / (a + b + m)
        return right, made * (b + m) / (a + b + m) * v / (u + v + m), made

    def _odds(self, k: np.ndarray) -> Any:
        """v (b + k - 1) / (a (u + v + k - 1)): they saturate at v / a."""
        a, b, u, v = self._floats
        return v * (b + k - 1) / (a * (u + v + k - 1))

    def limit(self) -> Outcomes:
        """Without a limit: A_inf = a / (a + b) 3F2(1, b, u; a + b + 1, u + v; 1), by quadrature."""
        accuracy = self.ceiling()
        return Outcomes(accuracy, 1 - accuracy, 0.0, expected_attempts(*self._floats))

    def ceiling(self) -> float:
        """A_inf, the mean of r / (r + (1 - s)(1 - r))."""
        return accepted_share(*self._floats)

    def best_attempts(self, fp_cost: Any, sample_cost: Any = 0) -> Attempts:
        """K*, see `verifier_optimum.beta_beta_attempts`."""
        law = (self.a, self.b, self.u, self.v)
        return verifier_optimum.beta_beta_attempts(*law, fp_cost, sample_cost)

    def rates(self, tasks: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Solve rate, soundness and completeness of so many tasks."""
        a, b, u, v = self._floats
        return rng.beta(a, b, tasks), rng.beta(u, v, tasks), 1.0


@dataclass(frozen=True)
class DirichletTasks(VerifierWorld):
    """(accepted and right, accepted and wrong, rejected) ~ Dirichlet(right, wrong, reject).

    The odds that an accept is wrong are wrong / right at every attempt, so that resampling pays
    always or never (M6). Nothing right is rejected.

    >>> DirichletTasks(2, 1, 1).odds([1, 50]).round(12).tolist()
    [0.5, 0.5]
    """

    right: Any
    wrong: Any
    reject: Any

    def __post_init__(self) -> None:
        parameters = {"right": self.right, "wrong": self.wrong, "reject": self.reject}
        verifier_optimum.positive("DirichletTasks", **parameters)

    @cached_property
    def _floats(self) -> tuple[float, float, float]:
        return float(self.right), float(self.wrong), float(self.reject)

    def terms(self, M: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[a q^m], E[f q^m] and E[q^m] for m = 0 .. M - 1."""
        right, wrong, reject = self._floats
        total = right + wrong + reject
        made = ratio_products(reject, total, M)
        share = made / (total + np.arange(M))
        return right * share, wrong * share, made

    def _odds(self, k: np.ndarray) -> Any:
        right, wrong, _ = self._floats
        return np.full(k.shape, wrong / right)

    def limit(self) -> Outcomes:
        """Without a limit: A_inf = right / (right + wrong)."""
        right, wrong, reject = self._floats
        accepted = right + wrong
        attempts = (accepted + reject - 1) / (accepted - 1) if accepted > 1 else math.inf
        return Outcomes(right / accepted, wrong / accepted, 0.0, attempts)

    def best_attempts(self, fp_cost: Any, sample_cost: Any = 0) -> Attempts:
        """K*, see `verifier_optimum.dirichlet_attempts`."""
        law = (self.right, self.wrong, self.reject)
        return verifier_optimum.dirichlet_attempts(*law, fp_cost, sample_cost)

    def rates(self, tasks: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
        """Solve rate, soundness and completeness of so many tasks."""
        right, wrong, reject = self._floats
        return rng.beta(right, wrong + reject, tasks), rng.beta(reject, wrong, tasks), 1.0
