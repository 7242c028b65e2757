"""Rotated products of 1-D mixtures: not Gaussian, any dimension, with an exact flow map.

x = R z with independent z_i, each a 1-D Gaussian mixture. In one dimension the probability-flow ODE
keeps order and mass, so its flow map is Phi(x; t -> s) = F_s^{-1}(F_t(x)), and no ODE is solved;
a product moves each coordinate on its own and a rotation commutes with the noise. So score, flow
map, average velocity and every consistency function are exact. Sheet `00-notation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import (
    Array,
    Rng,
    as_like,
    categorical,
    is_torch,
    logsumexp,
    namespace,
    ndtri,
    standard_normal,
)
from ..errors import fail, finite_array, integer, state
from ..model import Model, over_event
from ..paths import Path
from ..shapes import Float
from . import inversion
from .base import FlowMap, average_velocity, check_times, exact_model
from .inversion import Components

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class ProductMixture:
    """x = R z, z_i ~ sum_k weights_ik N(means_ik, stds_ik^2).

    weights, means, stds: (d, K), weights of each row non-negative with sum 1 (rows with fewer
    components are padded with weight 0); rotation: (d, d) orthogonal, or None.

    >>> bed = ProductMixture([[0.5, 0.5]], [[-1.0, 1.0]], [[0.2, 0.2]])
    >>> from fewtheory.paths import VPLinear
    >>> round(float(bed.flow(VPLinear())(np.array([[0.0]]), 1.0, 0.5)[0, 0]), 12)
    0.0
    """

    weights: Any
    means: Any
    stds: Any
    rotation: Any = None

    def __post_init__(self) -> None:
        where, names = "ProductMixture", ("weights", "means", "stds")
        arrays = [finite_array(where, n, getattr(self, n)) for n in names]
        for name, value in zip(names, arrays, strict=True):
            if value.ndim != 2 or value.shape != arrays[0].shape or value.size == 0:
                raise fail(
                    where, name, f"of shape (d, K) like weights {arrays[0].shape}", value.shape
                )
            object.__setattr__(self, name, value)
        if np.any(self.weights < 0) or np.any(np.abs(self.weights.sum(1) - 1) > 1e-9):
            raise fail(where, "weights", "non-negative with rows that sum to 1", self.weights)
        if np.any(self.stds <= 0):
            raise fail(where, "stds", "positive", self.stds)
        if self.rotation is not None:
            R = finite_array(where, "rotation", self.rotation)
            d = self.weights.shape[0]
            if R.shape != (d, d) or np.abs(R.T @ R - np.eye(d)).max() > 1e-10:
                raise fail(where, "rotation", f"({d}, {d}) orthogonal", R)
            object.__setattr__(self, "rotation", R)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one sample, (d,)."""
        return (self.weights.shape[0],)

    @property
    def mean(self) -> np.ndarray:
        """E[x_0], (d,)."""
        z = (self.weights * self.means).sum(1)
        return z if self.rotation is None else self.rotation @ z

    @property
    def cov(self) -> np.ndarray:
        """Cov[x_0], (d, d)."""
        first = (self.weights * self.means).sum(1)
        second = (self.weights * (self.means**2 + self.stds**2)).sum(1)
        R = np.eye(first.size) if self.rotation is None else self.rotation
        return (R * (second - first**2)) @ R.T

    def at(self, path: Path, t: float) -> ProductMixture:
        """The law of x_t."""
        path.check_t("ProductMixture.at", t)
        alpha, sigma = path.alpha(t), path.sigma(t)
        stds = np.hypot(alpha * self.stds, sigma)
        return ProductMixture(self.weights, alpha * self.means, stds, self.rotation)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Array:
        """n draws, (n, d), float64 NumPy unless `like` says otherwise."""
        integer("ProductMixture.sample", "n", n, 0)
        z = standard_normal(rng, (n, *self.event), np.empty(0) if like is None else like)
        xp, dtype = namespace(z), z.dtype
        which = categorical(rng, as_like(self.weights, xp.astype(z[:0, ...], xp.float64)), z.shape)
        m, s = xp.zeros_like(z), xp.zeros_like(z)
        for k in range(self.weights.shape[1]):
            chosen = xp.astype(which == k, dtype)
            m = m + chosen * as_like(self.means[:, k], z)
            s = s + chosen * as_like(self.stds[:, k], z)
        return self._out(m + s * z)

    def _in(self, x: Array) -> Array:
        return x if self.rotation is None else x @ as_like(self.rotation, x)

    def _out(self, z: Array) -> Array:
        return z if self.rotation is None else z @ as_like(self.rotation.T, z)

    def _components(self, like: Array, alpha: Array, sigma: Array) -> Components:
        """Log weights, means and standard deviations at a level, broadcast over (n, d, K)."""
        xp = namespace(like)
        alpha, sigma = (v if isinstance(v, float) else v[..., None] for v in (alpha, sigma))
        with np.errstate(divide="ignore"):
            log_w = as_like(np.log(self.weights), like)
        m, s = as_like(self.means, like), as_like(self.stds, like)
        return Components(log_w, alpha * m, xp.sqrt(alpha**2 * s**2 + sigma**2))

    def log_prob(self, x: Array) -> Array:
        """The log density at x (n, d), shape (n,)."""
        xp = state("ProductMixture.log_prob", "x", x, self.event)
        return xp.sum(self._components(x, 1.0, 0.0).log_density(self._in(x)), axis=-1)

    def quantile(self, p: Array) -> Array:
        """F^{-1}(p) of each coordinate z_i of x_0 = R z, rotated; p: (n, d) inside (0, 1)."""
        xp = state("ProductMixture.quantile", "p", p, self.event)
        if not bool(xp.all((p > 0) & (p < 1))):
            raise fail("ProductMixture.quantile", "p", "inside (0, 1)", p)

        def components(like: Array, normal: bool, _: None) -> Components:
            at = self._components(like, 1.0, 0.0)
            return Components(at.log_w, 0 * at.means, 0 * at.stds + 1.0) if normal else at

        return self._out(inversion.flow_map(components, ndtri(p), [(True, None), (False, None)]))

    def means_at(self, x: Array, alpha: Array, sigma: Array) -> tuple[Array, Array]:
        """E[x_0 | x_t] and E[eps | x_t] at the level (alpha, sigma), numbers or (n, 1)."""
        at, clean = self._components(x, alpha, sigma), self._components(x, 1.0, 0.0)
        alpha, sigma = (v if isinstance(v, float) else v[..., None] for v in (alpha, sigma))
        data, noise = at.means_given(self._in(x), clean.means, clean.stds, alpha, sigma)
        return self._out(data), self._out(noise)

    def score_at(self, x: Array, alpha: Array, sigma: Array) -> Array:
        """grad log p_t(x) at the level (alpha, sigma), numbers or (n, 1)."""
        return self._out(self._components(x, alpha, sigma).score(self._in(x)))

    def model(self, path: Path, prediction: str = "noise") -> Model:
        """The exact model on this path."""
        return exact_model(self, path, prediction)

    def flow(self, path: Path) -> FlowMap:
        """The exact flow map (x, t, s); on torch differentiable in x, t and s.

        Computed in float64; the error is at most 1e-12 max(1, |dPhi/dx|) a coordinate.
        """

        def flow(x: Array, t: Array, s: Array) -> Array:
            check_times("ProductMixture.flow", path, x, self.event, t, s)
            xp = namespace(x)
            z = xp.astype(self._in(x), xp.float64)
            levels = [
                over_event(v if isinstance(v, (int, float)) else xp.astype(v, xp.float64), x)
                for v in (t, s)
            ]
            scales = [(path.alpha(v), path.sigma(v)) for v in levels]
            if is_torch(x):
                from ._torch import flow_map

                y = flow_map(self._components, z, scales)
            else:
                y = inversion.flow_map(self._components, z, scales)
            return self._out(xp.astype(y, x.dtype))

        return flow

    def average_velocity(self, path: Path) -> FlowMap:
        """The exact average velocity (x, t, s)."""
        return average_velocity(self.flow(path), self.model(path, "velocity"))

    def posterior(self, path: Path, x: Array, t: Array) -> ProductPosterior:
        """The law of x_0 given x_t = x: again a product of mixtures, one for each row of x."""
        check_times("ProductMixture.posterior", path, x, self.event, t)
        xp, level = namespace(x), (over_event(path.alpha(t), x), over_event(path.sigma(t), x))
        at = self._components(x, *level)
        z = self._in(x)[..., None]
        alpha, sigma = (v if isinstance(v, float) else v[..., None] for v in level)
        m, s = as_like(self.means, x), as_like(self.stds, x)
        gain = alpha * s**2 / at.stds**2
        stds = xp.broadcast_to(s * sigma / at.stds, z.shape[:-1] + m.shape[-1:])
        R = None if self.rotation is None else as_like(self.rotation, x)
        return ProductPosterior(
            at.responsibilities(self._in(x)), m + gain * (z - at.means), stds, R
        )


@dataclass(frozen=True, eq=False)
class ProductPosterior:
    """n laws of x_0 = R z_0, z_0i ~ sum_k weights_nik N(means_nik, stds_nik^2)."""

    weights: Float[Any, "n d K"]
    means: Float[Any, "n d K"]
    stds: Float[Any, "n d K"]
    rotation: Any = None

    def _out(self, z: Array) -> Array:
        return z if self.rotation is None else z @ self.rotation.T

    def mean(self) -> Array:
        """E[x_0 | x_t], (n, d): the denoiser."""
        return self._out(namespace(self.means).sum(self.weights * self.means, axis=-1))

    def covariance(self) -> Array:
        """Cov[x_0 | x_t], (n, d, d)."""
        xp = namespace(self.means)
        first = xp.sum(self.weights * self.means, axis=-1)
        spread = self.stds**2 + (self.means - first[..., None]) ** 2
        var = xp.sum(self.weights * spread, axis=-1)
        R = as_like(np.eye(var.shape[-1]), var) if self.rotation is None else self.rotation
        return xp.matmul(R * var[:, None, :], R.T)

    def sample(self, n: int, *, rng: Rng) -> Array:
        """n draws for each of the laws, (n, batch, d)."""
        integer("ProductPosterior.sample", "n", n, 0)
        xp, shape = namespace(self.means), (n, *self.means.shape[:2])
        which = categorical(rng, self.weights, shape)
        chosen = xp.astype(
            which[..., None] == xp.arange(self.means.shape[-1], device=which.device),
            self.means.dtype,
        )
        z = standard_normal(rng, shape, self.means)
        m, s = (xp.sum(chosen * v, axis=-1) for v in (self.means, self.stds))
        return self._out(m + s * z)

    def log_prob(self, x0: Array) -> Array:
        """The log density of x_0 (n, d) under each law, (n,)."""
        z = x0 if self.rotation is None else x0 @ self.rotation
        xp = namespace(z)
        pull = (z[..., None] - self.means) / self.stds
        live = self.weights > 0
        log_w = xp.where(live, xp.log(xp.where(live, self.weights, 1.0)), -xp.inf)
        log = log_w - 0.5 * pull**2 - xp.log(self.stds) - 0.5 * LOG_2PI
        return xp.sum(logsumexp(log, axis=-1), axis=-1)


def mixture_1d(weights: Any, means: Any, stds: Any) -> ProductMixture:
    """A 1-D Gaussian mixture: the product with d = 1, so samples are (n, 1).

    >>> mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3]).event
    (1,)
    """
    rows = [np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in (weights, means, stds)]
    return ProductMixture(*rows)
