"""Tilted laws: rewards, products, powers and geometric averages of mixtures, normaliser included.

A mixture times exp(r / tau) with a quadratic reward r is a mixture; so is a product of mixtures,
and a power of one with a whole exponent. Gaussians may have any exponent, also a negative one, as
long as what comes out has a positive precision (guidance beyond the conditional law is q^w
p^{1-w}). So what annealing, guidance, composition and reward tilting aim at is known exactly:
density, score, weights of the modes, and the constant that makes it integrate to one. Sheets `fkc`,
`svdd` and `smc-base`; `00-notation`, "tilted law".
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, as_like, namespace
from ..errors import fail, finite_array, number, state
from ..paths import Path
from .covariances import Elementwise
from .gaussian import Gaussian
from .mixture import GaussianMixture

LOG_2PI = math.log(2 * math.pi)
MOST = 20_000  # components of a product


@dataclass(frozen=True, eq=False)
class TiltedLaw:
    """A normalised `law`, and the logarithm of the integral that it was divided by."""

    law: GaussianMixture
    log_normaliser: float


@dataclass(frozen=True, eq=False)
class Reward:
    """r(x) = constant + linear'x - x' quadratic x / 2; linear (d,), quadratic (d, d) symmetric.

    >>> Reward([1.0, 0.0], np.eye(2))(np.array([[2.0, 0.0]]))
    array([0.])
    """

    linear: Any
    quadratic: Any = None
    constant: float | int = 0.0

    def __post_init__(self) -> None:
        b = finite_array("Reward", "linear", self.linear)
        if b.ndim != 1 or b.size == 0:
            raise fail("Reward", "linear", "of shape (d,)", b.shape)
        zero = np.zeros((b.size, b.size))
        A = zero if self.quadratic is None else finite_array("Reward", "quadratic", self.quadratic)
        if A.shape != zero.shape or np.abs(A - A.T).max() > 1e-12 * np.abs(A).max(initial=1e-300):
            raise fail("Reward", "quadratic", f"({b.size}, {b.size}) symmetric", self.quadratic)
        number("Reward", "constant", self.constant, -math.inf)
        object.__setattr__(self, "linear", b)
        object.__setattr__(self, "quadratic", A)

    def __call__(self, x: Array) -> Array:
        """r(x) for x (n, d), shape (n,)."""
        state("Reward", "x", x, self.linear.shape)
        slope = as_like(self.linear, x) - 0.5 * (x @ as_like(self.quadratic, x))
        return self.constant + namespace(x).sum(x * slope, axis=-1)

    def mean(self, law: GaussianMixture) -> float:
        """E r under a mixture."""
        m, second = law.mean, law.cov + np.outer(law.mean, law.mean)
        bend = 0.5 * float((self.quadratic * second).sum())
        return self.constant + float(self.linear @ m) - bend


@dataclass(frozen=True, eq=False)
class RewardTilt(TiltedLaw):
    """p exp(r / tau) / Z: what maximises E r - tau KL(. || p), with the value tau log Z."""

    base: GaussianMixture
    reward: Reward
    tau: float

    @property
    def expected_reward(self) -> float:
        """E r under the tilted law."""
        return self.reward.mean(self.law)

    @property
    def kl_to_base(self) -> float:
        """KL(tilted || base) = E r / tau - log Z, in nats."""
        return self.expected_reward / self.tau - self.log_normaliser

    def soft_value(self, path: Path, x: Array, t: float) -> Array:
        """tau log E[exp(r(x_0) / tau) | x_t = x] for x (n, d), shape (n,).

        The marginals of the tilted law are p_t exp(value / tau) / Z, which gives it.
        """
        ratio = self.law.at(path, t).log_prob(x) - self.base.at(path, t).log_prob(x)
        return self.tau * (ratio + self.log_normaliser)


def reward_tilt(base: GaussianMixture, reward: Reward, tau: float | int = 1.0) -> RewardTilt:
    """The law p exp(r / tau) / Z of a mixture and a quadratic reward; covariances may be singular.

    Component k becomes N(m + C' g, C') with g = (b - A m) / tau, C' = C^{1/2} (I + C^{1/2} A
    C^{1/2} / tau)^{-1} C^{1/2}, its mass det(.)^{-1/2} exp(r(m) / tau + g'C'g / 2). Raises
    ValueError where the reward grows faster than a component's density falls (then Z is infinite).

    >>> bed = GaussianMixture([1.0], [[0.0]], [1.0])
    >>> reward_tilt(bed, Reward([2.0])).law.means, reward_tilt(bed, Reward([2.0])).log_normaliser
    (array([[2.]]), 2.0)
    """
    where = "reward_tilt"
    d = base.event[0]
    if reward.linear.shape != (d,):
        raise fail(where, "reward", f"of {d} dimensions", reward.linear.shape)
    number(where, "tau", tau, 1e-300)
    log_mass, means, covs = [], [], []
    for log_w, m, C in zip(_log(base.weights), base.means, _dense(base), strict=True):
        spectrum, Q = np.linalg.eigh(C)
        root = Q * np.sqrt(np.maximum(spectrum, 0.0))  # C = root root'
        bent = np.eye(d) + root.T @ reward.quadratic @ root / tau
        if np.linalg.eigvalsh(bent).min() <= 0:
            allowed = "one that falls faster than -log p (the normaliser is infinite)"
            raise fail(where, "reward", allowed, reward.quadratic)
        g = (reward.linear - reward.quadratic @ m) / tau
        factor = np.linalg.cholesky(bent)
        half = np.linalg.solve(factor, root.T)  # C' = half' half
        pull = half @ g
        log_det = 2 * float(np.log(np.diag(factor)).sum())
        height = float(reward(m[None])[0]) / tau
        log_mass.append(log_w + height + 0.5 * float(pull @ pull) - 0.5 * log_det)
        means.append(m + half.T @ pull)
        covs.append(half.T @ half)
    law, log_z = _normalised(log_mass, means, covs, base.classes)
    return RewardTilt(law, log_z, base, reward, float(tau))


def power_product(laws: Sequence[Any], exponents: Sequence[float | int]) -> TiltedLaw:
    """prod_i p_i^{exponents_i} / Z for mixtures and Gaussians of one dimension.

    laws: Gaussians or mixtures, positive definite; exponents: whole and non-negative for a law with
    several components (it is multiplied out), any real number for a Gaussian. Raises ValueError
    where a component's precision is not positive definite: the product has no integral.

    >>> one, two = (GaussianMixture([1.0], [[m]], [1.0]) for m in (-1.0, 1.0))
    >>> power_product([one, two], [0.5, 0.5]).law.means
    array([[0.]])
    """
    where = "power_product"
    if not laws or len(laws) != len(exponents):
        raise fail(where, "exponents", f"{len(laws)} numbers, one a law", exponents)
    mixed = [_mixture(where, law) for law in laws]
    if len({m.event for m in mixed}) > 1:
        raise fail(where, "laws", "of one dimension", [m.event for m in mixed])
    factors = [_factors(where, m, a) for m, a in zip(mixed, exponents, strict=True)]
    count = math.prod(len(f) for f in factors)
    if count > MOST:
        raise fail(where, "exponents", f"such that at most {MOST} components come out", count)
    log_mass, means, covs = [], [], []
    for chosen in itertools.product(*factors):
        log_m, mean, cov = _multiplied(where, [piece for part in chosen for piece in part])
        log_mass.append(log_m)
        means.append(mean)
        covs.append(cov)
    return TiltedLaw(*_normalised(log_mass, means, covs))


def product(one: Any, two: Any) -> TiltedLaw:
    """p q / Z."""
    return power_product([one, two], [1, 1])


def power(law: Any, exponent: float | int) -> TiltedLaw:
    """p^exponent / Z: annealing. A mixture takes a whole exponent, a Gaussian any positive one."""
    return power_product([law], [exponent])


def geometric_average(one: Any, two: Any, weight: float | int) -> TiltedLaw:
    """p^{1 - weight} q^weight / Z for Gaussians: what classifier-free guidance aims at.

    weight may exceed 1 while (1 - weight) P + weight Q, P and Q the precisions, stays positive.
    """
    return power_product([one, two], [1 - weight, weight])


def _log(w: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(w)


def _dense(bed: GaussianMixture) -> np.ndarray:
    """The covariances, (K, d, d)."""
    covs, d = bed.form.array(), bed.event[0]
    if not isinstance(bed.form, Elementwise):
        return covs
    return np.stack([np.diag(np.broadcast_to(c, (d,))) for c in covs])


def _mixture(where: str, law: Any) -> GaussianMixture:
    if isinstance(law, Gaussian):
        law = GaussianMixture([1.0], law.mean[None], law.cov[None])
    if not isinstance(law, GaussianMixture):
        raise TypeError(f"{where}: laws must be Gaussians or mixtures, got {type(law).__name__}")
    if law.form.singular:
        raise fail(where, "laws", "positive definite", law.covs)
    return law


# the power of a Gaussian: log factor, exponent, mean, covariance and its inverse
Piece = tuple[float, float, np.ndarray, np.ndarray, np.ndarray]


def _factors(where: str, law: GaussianMixture, exponent: float | int) -> list[list[Piece]]:
    """What p^a is a sum of: for each term, the powers of Gaussians of which it is the product."""
    a = number(where, "exponents", exponent, -math.inf)
    K = law.weights.size
    if K > 1 and (a < 0 or a != int(a)):
        raise fail(where, "exponents", "whole and non-negative for a mixture", exponent)
    if K > 1 and math.comb(int(a) + K - 1, int(a)) > MOST:
        raise fail(where, "exponents", f"such that at most {MOST} components come out", exponent)
    covs = _dense(law)
    inverse = np.linalg.inv(covs)
    if K == 1:
        return [[(0.0, a, law.means[0], covs[0], inverse[0])]]
    out = []
    for chosen in itertools.combinations_with_replacement(range(K), int(a)):
        counts = Counter(chosen)
        ways = math.lgamma(a + 1) - sum(math.lgamma(n + 1) for n in counts.values())
        pieces = [
            (n * float(_log(law.weights)[k]), float(n), law.means[k], covs[k], inverse[k])
            for k, n in counts.items()
        ]
        if pieces:
            first = pieces[0]
            pieces[0] = (first[0] + ways, *first[1:])
        out.append(pieces)
    return out


def _multiplied(where: str, pieces: list[Piece]) -> tuple[float, np.ndarray, np.ndarray]:
    """log mass, mean and covariance of a product of powers of Gaussians.

    The exponent is expanded about its own maximum, so that means far apart cancel nothing.
    """
    if not pieces:
        raise fail(where, "exponents", "not all zero", 0)
    d = pieces[0][2].size
    precision = sum((a * P for _, a, _, _, P in pieces), start=np.zeros((d, d)))
    if np.linalg.eigvalsh(precision).min() <= 0:
        allowed = "such that every component's precision is positive definite"
        raise fail(where, "exponents", allowed, [a for _, a, *_ in pieces])
    cov = np.linalg.inv(precision)
    cov = 0.5 * (cov + cov.T)
    start = pieces[0][2]
    mean = start + cov @ sum((a * P @ (m - start) for _, a, m, _, P in pieces), np.zeros(d))
    log_mass = 0.5 * (d * LOG_2PI + float(np.linalg.slogdet(cov)[1]))
    for log_factor, a, m, C, P in pieces:
        off = mean - m
        spread = d * LOG_2PI + float(np.linalg.slogdet(C)[1])
        log_mass += log_factor - 0.5 * a * (spread + float(off @ P @ off))
    return log_mass, mean, cov


def _normalised(
    log_mass: list[float], means: list[np.ndarray], covs: list[np.ndarray], classes: Any = None
) -> tuple[GaussianMixture, float]:
    mass = np.array(log_mass)
    log_z = float(np.logaddexp.reduce(mass))
    weights = np.exp(mass - log_z)
    law = GaussianMixture(weights / weights.sum(), np.stack(means), np.stack(covs), classes)
    return law, log_z
