"""The Gaussian autoregressive law: x = L xi, L the Cholesky factor in the order of generation.

Token i given the ones before it is N(sum_{j<i} L_ij xi_j, L_ii^2), so a token sampler whose output
has r_i times the right standard deviation gives x = L diag(r) xi. Innovation i moves all tokens by
its influence |L e_i|. Source: sheet `disa`, "Setting".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import Array, Rng, as_like, namespace, solve_triangular, standard_normal, to_numpy
from ..errors import fail, finite_array, integer, number, state
from ..model import Model, over_event
from ..paths import Path
from ..shapes import Float
from .base import FlowMap, average_velocity, check_times, exact_model
from .inversion import LOG_2PI


def exchangeable_cov(n: int, rho: float) -> Float[np.ndarray, "n n"]:
    """The covariance of n tokens of variance 1 and mutual correlation rho, (1 - rho) I + rho 11'.

    Positive definite for -1/(n-1) < rho < 1; anything else raises a ValueError.

    >>> exchangeable_cov(2, 0.8)
    array([[1. , 0.8],
           [0.8, 1. ]])
    """
    integer("exchangeable_cov", "n", n, 1)
    rho = number("exchangeable_cov", "rho", rho, -math.inf)
    low = -1 / (n - 1) if n > 1 else -math.inf
    if not low < rho < 1:
        raise fail("exchangeable_cov", "rho", f"inside ({low:g}, 1)", rho)
    return (1 - rho) * np.eye(n) + rho


@dataclass(frozen=True, eq=False)
class GaussianSequence:
    """x ~ N(0, cov) of n scalar tokens, generated in order; cov: (n, n) positive definite.

    `factor` is its Cholesky factor L, `stds` the conditional standard deviations L_ii and
    `influence` the column norms |L e_i|.

    >>> bed = GaussianSequence(exchangeable_cov(3, 0.8))
    >>> bed.stds.round(4), bed.influence.round(4)
    (array([1.    , 0.6   , 0.5375]), array([1.51  , 0.6566, 0.5375]))
    """

    cov: Any
    factor: Float[np.ndarray, "n n"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cov = finite_array("GaussianSequence", "cov", self.cov)
        if cov.ndim != 2 or cov.shape[0] != cov.shape[1] or cov.size == 0:
            raise fail("GaussianSequence", "cov", "of shape (n, n)", cov.shape)
        if np.abs(cov - cov.T).max() > 1e-12 * np.abs(cov).max():
            raise fail("GaussianSequence", "cov", "symmetric", cov)
        try:
            factor = np.linalg.cholesky(cov)
        except np.linalg.LinAlgError:
            raise fail("GaussianSequence", "cov", "positive definite", cov) from None
        factor.setflags(write=False)
        object.__setattr__(self, "cov", cov)
        object.__setattr__(self, "factor", factor)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one sample, (n,)."""
        return self.cov.shape[:1]

    @property
    def stds(self) -> Float[np.ndarray, "n"]:
        """The standard deviation L_ii of each token given those before it."""
        return np.diag(self.factor)

    @property
    def influence(self) -> Float[np.ndarray, "n"]:
        """|L e_i|: how far innovation i moves the sequence."""
        return np.linalg.norm(self.factor, axis=0)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Array:
        """n draws L xi, (n, tokens), float64 NumPy unless `like` says otherwise."""
        integer("GaussianSequence.sample", "n", n, 0)
        xi = standard_normal(rng, (n, *self.event), np.empty(0) if like is None else like)
        return xi @ as_like(self.factor.T, xi)

    def innovations(self, x: Array) -> Array:
        """xi_<i = L_{<i,<i}^{-1} x_<i of tokens x (n, i), i <= the number of tokens."""
        self._check("GaussianSequence.innovations", "x", x, self.cov.shape[0])
        i = x.shape[1]
        return x if i == 0 else solve_triangular(as_like(self.factor[:i, :i], x), x.T).T

    def _check(self, where: str, argument: str, x: Array, most: int) -> None:
        state(where, argument, x)
        if x.ndim != 2 or x.shape[1] > most:
            raise fail(where, argument, f"of shape (n, i), i <= {most}", tuple(x.shape))

    def given(self, prefix: Array) -> GaussianToken:
        """The law of token i given the tokens before it, (n, i): one Gaussian for each row."""
        self._check("GaussianSequence.given", "prefix", prefix, self.cov.shape[0] - 1)
        i, xi = prefix.shape[1], self.innovations(prefix)
        means = namespace(xi).sum(xi * as_like(self.factor[i, :i], xi), axis=1)
        return GaussianToken(means[:, None], float(self.factor[i, i]))


@dataclass(frozen=True, eq=False)
class GaussianToken:
    """n laws N(means_r, std^2) of one token, one for each row of x (n, 1).

    >>> from fewtheory.paths import RectifiedFlow
    >>> token = GaussianToken(np.array([[0.0], [2.0]]), 0.5)
    >>> token.flow(RectifiedFlow())(np.array([[1.0], [-1.0]]), 1.0, 0.0)
    array([[0.5],
           [1.5]])
    """

    means: Float[Any, "n 1"]
    std: float

    def __post_init__(self) -> None:
        state("GaussianToken", "means", self.means, (1,))
        if number("GaussianToken", "std", self.std, 0.0) == 0:
            raise fail("GaussianToken", "std", "positive", self.std)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one sample, (1,)."""
        return (1,)

    def _check(self, where: str, x: Array) -> None:
        state(where, "x", x, self.event)
        if x.shape[0] != self.means.shape[0]:
            raise fail(where, "x", f"of {self.means.shape[0]} rows, one a prefix", x.shape[0])

    def at(self, path: Path, t: float) -> GaussianToken:
        """The laws of x_t."""
        path.check_t("GaussianToken.at", t)
        alpha, sigma = path.alpha(t), path.sigma(t)
        return GaussianToken(alpha * self.means, math.hypot(alpha * self.std, sigma))

    def sample(self, *, rng: Rng) -> Array:
        """One draw from each law, (n, 1)."""
        return self.means + self.std * standard_normal(rng, self.means.shape, self.means)

    def log_prob(self, x: Array) -> Float[Any, "n"]:
        """The log density of each row of x (n, 1) under its law."""
        self._check("GaussianToken.log_prob", x)
        z = (x - self._means(x)) / self.std
        return -0.5 * z[:, 0] ** 2 - (math.log(self.std) + 0.5 * LOG_2PI)

    def _means(self, x: Array) -> Array:
        xp = namespace(x)
        if namespace(self.means) is xp:
            return xp.astype(self.means, x.dtype)
        return as_like(to_numpy(self.means), x)  # prefixes of one array library, states of another

    def _pull(self, x: Array, alpha: Array, sigma: Array) -> Array:
        """(x - alpha m) / (alpha^2 std^2 + sigma^2), minus the score."""
        self._check("GaussianToken model", x)
        return (x - alpha * self._means(x)) / (alpha**2 * self.std**2 + sigma**2)

    def means_at(self, x: Array, alpha: Array, sigma: Array) -> tuple[Array, Array]:
        """E[x_0 | x_t] and E[eps | x_t] at the level (alpha, sigma), numbers or (n, 1)."""
        pull = self._pull(x, alpha, sigma)
        return self._means(x) + alpha * self.std**2 * pull, sigma * pull

    def score_at(self, x: Array, alpha: Array, sigma: Array) -> Array:
        """d log p_t / dx at the level (alpha, sigma), numbers or (n, 1)."""
        return -self._pull(x, alpha, sigma)

    def model(self, path: Path, prediction: str = "noise") -> Model:
        """The exact model on this path, given the prefixes."""
        return exact_model(self, path, prediction)

    def flow(self, path: Path) -> FlowMap:
        """The exact flow map alpha_s m + (S_s / S_t) (x - alpha_t m), S^2 the variance of x_t."""

        def flow(x: Array, t: Array, s: Array) -> Array:
            self._check("GaussianToken.flow", x)
            check_times("GaussianToken.flow", path, x, self.event, t, s)
            (a0, s0), (a1, s1) = (
                (over_event(path.alpha(v), x), over_event(path.sigma(v), x)) for v in (t, s)
            )
            ratio = ((a1**2 * self.std**2 + s1**2) / (a0**2 * self.std**2 + s0**2)) ** 0.5
            return a1 * self._means(x) + ratio * (x - a0 * self._means(x))

        return flow

    def average_velocity(self, path: Path) -> FlowMap:
        """The exact average velocity (x, t, s)."""
        return average_velocity(self.flow(path), self.model(path, "velocity"))
