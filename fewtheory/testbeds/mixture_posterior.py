"""The law of x_0 given x_t = x under a Gaussian mixture: a mixture for each row of x.

Component k has the weight r_k, the mean m_k + alpha C_k S_k^{-1} (x - alpha m_k) and the covariance
sigma^2 C_k S_k^{-1}, S_k = alpha^2 C_k + sigma^2 I. No matrix root of it is needed: a draw is a
prior draw (x_0', eps') of the component, moved by the gain on what it failed to explain,
x_0' + alpha C_k S_k^{-1} (x - alpha x_0' - sigma eps') (Matheron's rule).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import Array, Rng, as_like, categorical, namespace, standard_normal, to_numpy
from ..errors import fail, integer, state
from ..shapes import Float
from .covariances import Form
from .mixture_sums import Parts, sums

LOG_2PI = math.log(2 * math.pi)


def by_component(which: Array, part: Callable[[int, Array], Array], like: Array, d: int) -> Array:
    """Rows (n, d) where row i is made by part(which_i, rows): one call for each component drawn."""
    xp, host = namespace(like), to_numpy(which)
    order = np.argsort(host, kind="stable")
    edges = np.searchsorted(host[order], np.arange(host.max(initial=-1) + 2))
    device = array_api_compat.device(like)
    made = [
        part(k, xp.asarray(order[a:b], device=device))
        for k, (a, b) in enumerate(itertools.pairwise(edges.tolist()))
        if b > a
    ]
    if not made:
        return as_like(np.zeros((0, d)), like)
    back = xp.asarray(np.argsort(order, kind="stable"), device=device)
    return xp.take(xp.concat(made, axis=0), back, axis=0)


def draw(form: Form, means: np.ndarray, which: Array, rng: Rng, like: Array) -> Array:
    """One draw of N(means_k, C_k) for each k in `which` (n,), of the kind of `like`, (n, d)."""

    def part(k: int, rows: Array) -> Array:
        return as_like(means[k], like) + form.draw(k, rows.shape[0], rng, like)

    return by_component(which, part, like, means.shape[1])


@dataclass(frozen=True, eq=False)
class MixturePosterior:
    """n mixtures of x_0, one for each row of x: weights (n, K), means (n, K, d)."""

    weights: Float[Any, "n K"]
    means: Float[Any, "n K d"]
    prior: Parts
    x: Float[Any, "n d"]
    level: tuple[Any, Any]
    log_evidence: Float[Any, "n"]

    def mean(self) -> Array:
        """E[x_0 | x_t], (n, d): the denoiser."""
        return namespace(self.x).sum(self.weights[..., None] * self.means, axis=1)

    def covariance(self) -> Array:
        """Cov[x_0 | x_t], (n, d, d)."""
        xp, (alpha, sigma), form = namespace(self.x), self.level, self.prior.form
        off = self.means - self.mean()[:, None, :]
        total = xp.matmul(xp.matrix_transpose(self.weights[..., None] * off), off)
        columns = []
        for direction in np.eye(self.x.shape[-1]):
            v = xp.zeros_like(self.means) + as_like(direction, self.x)
            within = form.times(form.solve(v, alpha, sigma)[0])
            columns.append(xp.sum(self.weights[..., None] * sigma**2 * within, axis=1))
        return total + xp.stack(columns, axis=-1)

    def sample(self, n: int, *, rng: Rng) -> Array:
        """n draws for each of the laws, (n, batch, d)."""
        integer("MixturePosterior.sample", "n", n, 0)
        xp, (rows, d), form = namespace(self.x), self.x.shape, self.prior.form
        which = xp.reshape(categorical(rng, self.weights, (n, rows)), (-1,))
        x0 = draw(form, self.prior.means, which, rng, self.x)
        eps = standard_normal(rng, (n * rows, d), self.x)
        # the level and the data of each draw, (n * rows, ..)
        x = xp.reshape(xp.zeros((n, 1, 1), dtype=self.x.dtype) + self.x, (-1, d))
        alpha, sigma = (_repeated(xp, v, n) for v in self.level)
        unexplained = x - _flat(alpha) * x0 - _flat(sigma) * eps

        def gain(k: int, index: Array) -> Array:
            alone, rest = form.take(np.array([k])), xp.take(unexplained, index, axis=0)
            a, s = (v if _one(v) else xp.take(v, index, axis=0) for v in (alpha, sigma))
            return (a * alone.times(alone.solve(rest[:, None, :], a, s)[0]))[:, 0, :]

        return xp.reshape(x0 + by_component(which, gain, self.x, d), (n, rows, d))

    def log_prob(self, x0: Array) -> Array:
        """The log density of x_0 (n, d) under each law, (n,), by Bayes' rule."""
        where = "MixturePosterior.log_prob"
        xp = state(where, "x0", x0, tuple(self.x.shape[1:]))
        if self.prior.form.singular:
            raise fail(where, "covs", "positive definite (no density)", self.prior.form)
        alpha, sigma = (_flat(v) for v in self.level)
        z = (self.x - alpha * x0) / sigma
        d = x0.shape[-1]
        log_sigma: Any = math.log(sigma) if isinstance(sigma, float) else xp.log(sigma)
        log_sigma = log_sigma if _one(sigma) else log_sigma[:, 0]
        noise = -0.5 * xp.sum(z * z, axis=-1) - d * log_sigma - 0.5 * d * LOG_2PI
        prior = sums(self.prior, x0, 1.0, 0.0, pull=False, data=False).log_prob
        return prior + noise - self.log_evidence


def _one(level: Any) -> bool:
    """Whether all rows are at one level."""
    return isinstance(level, float) or level.ndim == 0


def _flat(level: Any) -> Any:
    """A level against (n, d), from one against (n, K, d)."""
    return level if _one(level) else level[..., 0]


def _repeated(xp: Any, level: Any, n: int) -> Any:
    """A level of each row, for n draws a row."""
    return level if _one(level) else xp.concat([level] * n, axis=0)
