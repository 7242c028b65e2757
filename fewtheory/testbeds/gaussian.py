"""The Gaussian N(m, C): score, denoiser and velocity are affine, the flow map is closed form.

Phi(x; t -> s) = alpha_s m + S_s S_t^{-1} (x - alpha_t m), S_t = (alpha_t^2 C + sigma_t^2 I)^{1/2}.
Every linear sampler's output law on it is a Gaussian (`Plan.law`). Sheet `00-notation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import Array, Rng, as_like, namespace, standard_normal
from ..errors import fail, finite_array, integer, state
from ..model import Model, over_event
from ..paths import Path
from ..shapes import Float
from .base import FlowMap, average_velocity, check_times, exact_model


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(mean, cov), d-dimensional.

    mean: (d,); cov: (d, d) full, (d,) diagonal, or a number for an isotropic one; positive
    semidefinite. `spectrum` and `basis` are its eigenvalues and eigenvectors (None: diagonal).

    >>> bed = Gaussian([1.0, 0.0], [0.25, 1.0])
    >>> from fewtheory.paths import EDM
    >>> bed.at(EDM(), 2.0).cov
    array([4.25, 5.  ])
    """

    mean: Any
    cov: Any
    spectrum: np.ndarray = field(init=False, repr=False)
    basis: np.ndarray | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mean, cov = (finite_array("Gaussian", n, getattr(self, n)) for n in ("mean", "cov"))
        if mean.ndim != 1 or mean.size < 1:
            raise fail("Gaussian", "mean", "of shape (d,)", mean.shape)
        d = mean.size
        if cov.shape not in ((), (d,), (d, d)):
            raise fail("Gaussian", "cov", f"({d}, {d}), ({d},) or a number", cov.shape)
        basis = None
        if cov.ndim == 2:
            if np.abs(cov - cov.T).max() > 1e-12 * np.abs(cov).max():
                raise fail("Gaussian", "cov", "symmetric", cov)
            spectrum, basis = np.linalg.eigh(cov)
        else:
            cov = np.broadcast_to(cov, (d,)).copy()
            spectrum = cov
        if spectrum.min() < -1e-12 * max(spectrum.max(), 0.0) or spectrum.max() < 0:
            raise fail("Gaussian", "cov", "positive semidefinite", self.cov)
        spectrum = np.maximum(spectrum, 0.0)
        for name, value in {"mean": mean, "cov": cov, "spectrum": spectrum, "basis": basis}.items():
            object.__setattr__(self, name, value)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one sample, (d,)."""
        return self.mean.shape

    @property
    def spectral_mean(self) -> np.ndarray:
        """The mean in the eigenbasis of the covariance."""
        return self.mean if self.basis is None else self.basis.T @ self.mean

    def at(self, path: Path, t: float) -> Gaussian:
        """The law of x_t."""
        path.check_t("Gaussian.at", t)
        alpha, sigma = path.alpha(t), path.sigma(t)
        noise = sigma**2 if self.basis is None else sigma**2 * np.eye(self.mean.size)
        return Gaussian(alpha * self.mean, alpha**2 * self.cov + noise)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Array:
        """n draws, (n, d), float64 NumPy unless `like` says otherwise."""
        integer("Gaussian.sample", "n", n, 0)
        z = standard_normal(rng, (n, self.mean.size), np.empty(0) if like is None else like)
        scaled = z * as_like(np.sqrt(self.spectrum), z)
        return as_like(self.mean, z) + self._out(scaled)

    def log_prob(self, x: Array) -> Array:
        """The log density at x (n, d); a singular covariance has none and is refused."""
        xp = state("Gaussian.log_prob", "x", x, self.event)
        if self.spectrum.min() == 0:
            raise fail("Gaussian.log_prob", "cov", "positive definite (no density)", self.cov)
        z = self._in(x - as_like(self.mean, x))
        constant = -0.5 * (self.mean.size * math.log(2 * math.pi) + np.log(self.spectrum).sum())
        return float(constant) - 0.5 * xp.sum(z * z / as_like(self.spectrum, x), axis=-1)

    def _in(self, x: Array) -> Array:
        return x if self.basis is None else x @ as_like(self.basis, x)

    def _out(self, z: Array) -> Array:
        return z if self.basis is None else z @ as_like(self.basis.T, z)

    def means_at(self, x: Array, alpha: Array, sigma: Array) -> tuple[Array, Array]:
        """E[x_0 | x_t] and E[eps | x_t] at the level (alpha, sigma), broadcast against x."""
        c = as_like(self.spectrum, x)
        pull = (self._in(x) - alpha * as_like(self.spectral_mean, x)) / (alpha**2 * c + sigma**2)
        return as_like(self.mean, x) + self._out(alpha * c * pull), self._out(sigma * pull)

    def score_at(self, x: Array, alpha: Array, sigma: Array) -> Array:
        """grad log p_t(x) at the level (alpha, sigma), broadcast against x."""
        z = self._in(x) - alpha * as_like(self.spectral_mean, x)
        return self._out(-z / (alpha**2 * as_like(self.spectrum, x) + sigma**2))

    def model(self, path: Path, prediction: str = "noise") -> Model:
        """The exact model on this path."""
        return exact_model(self, path, prediction)

    def flow(self, path: Path) -> FlowMap:
        """The exact flow map (x, t, s) of the probability-flow ODE."""

        def flow(x: Array, t: Array, s: Array) -> Array:
            check_times("Gaussian.flow", path, x, self.event, t, s)
            m, c = as_like(self.spectral_mean, x), as_like(self.spectrum, x)
            (a0, s0), (a1, s1) = (
                (over_event(path.alpha(v), x), over_event(path.sigma(v), x)) for v in (t, s)
            )
            ratio = ((a1**2 * c + s1**2) / (a0**2 * c + s0**2)) ** 0.5
            return self._out(a1 * m + ratio * (self._in(x) - a0 * m))

        return flow

    def average_velocity(self, path: Path) -> FlowMap:
        """The exact average velocity (x, t, s)."""
        return average_velocity(self.flow(path), self.model(path, "velocity"))

    def posterior(self, path: Path, x: Array, t: float) -> GaussianPosterior:
        """The law of x_0 given x_t = x: one Gaussian for each row of x, all of one covariance."""
        check_times("Gaussian.posterior", path, x, self.event, t)
        alpha, sigma = path.alpha(t), path.sigma(t)
        precision = alpha**2 * self.spectrum + sigma**2
        if precision.min() == 0:
            raise fail("Gaussian.posterior", "t", "a level with noise", t)
        mean, _ = self.means_at(x, alpha, sigma)
        return GaussianPosterior(mean, self.spectrum * sigma**2 / precision, self.basis)


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """n laws N(means_i, C) of x_0; `spectrum` and `basis` are eigenvalues and eigenvectors of C."""

    means: Float[Any, "n d"]
    spectrum: Float[np.ndarray, "d"]
    basis: np.ndarray | None = None

    def _centred(self) -> Gaussian:
        basis = np.eye(self.spectrum.size) if self.basis is None else self.basis
        return Gaussian(np.zeros(self.spectrum.size), (basis * self.spectrum) @ basis.T)

    def mean(self) -> Array:
        """E[x_0 | x_t], (n, d): the denoiser."""
        return self.means

    def covariance(self) -> Array:
        """Cov[x_0 | x_t], (n, d, d)."""
        cov = as_like(self._centred().cov, self.means)
        return namespace(cov).broadcast_to(cov, (self.means.shape[0], *cov.shape))

    def sample(self, n: int, *, rng: Rng) -> Array:
        """n draws for each of the laws, (n, batch, d)."""
        integer("GaussianPosterior.sample", "n", n, 0)
        rows, d = self.means.shape
        z = self._centred().sample(n * rows, rng=rng, like=self.means)
        return self.means + namespace(z).reshape(z, (n, rows, d))

    def log_prob(self, x0: Array) -> Array:
        """The log density of x_0 (n, d) under each law, (n,)."""
        return self._centred().log_prob(x0 - self.means)
