"""The flow map of 1-D mixtures: solving F_s(y) = F_t(x) to rounding, tails and gaps included.

Subtracting from F the weight of all components to the left of x changes nothing, and leaves

    G(y) = sum_{k right of x} w_k Phi(zeta_k) - sum_{k left of x} w_k Phi(-zeta_k),

whose terms are all tails: relative accuracy survives far out and in the gap between separated
modes, where F itself is constant to rounding. With G_t(x) = g, the equation R(y) - L(y) = g is
solved in logarithms, log R = log(L + g) or log(R - g) = log L, by Newton steps inside a bracket.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, is_numpy, log_ndtr, logsumexp, namespace
from ..tiles import in_parts

LOG_2PI = math.log(2 * math.pi)
ITERATIONS = 200  # bisection alone needs 60 from any bracket; Newton mostly 6
EPS = float(np.finfo(np.float64).eps)


class Components(NamedTuple):
    """Mixtures over the last axis: log weights, means and standard deviations, (.., d, K)."""

    log_w: Array
    means: Array
    stds: Array

    def zeta(self, z: Array) -> Array:
        """(z - mean) / std of each component, (n, d, K)."""
        return (z[..., None] - self.means) / self.stds

    def log_terms(self, z: Array) -> Array:
        """log of each component's weighted density."""
        xp = namespace(z)
        return self.log_w - 0.5 * self.zeta(z) ** 2 - xp.log(self.stds) - 0.5 * LOG_2PI

    def log_density(self, z: Array) -> Array:
        """log p(z) a coordinate, (n, d)."""
        return logsumexp(self.log_terms(z))

    def responsibilities(self, z: Array) -> Array:
        """The posterior probability of each component."""
        terms = self.log_terms(z)
        return namespace(z).exp(terms - logsumexp(terms)[..., None])

    def score(self, z: Array) -> Array:
        """d log p / dz a coordinate."""
        pull = self.responsibilities(z) * self.zeta(z) / self.stds
        return -namespace(z).sum(pull, axis=-1)

    def means_given(self, z: Array, means: Array, stds: Array, alpha: Any, sigma: Any) -> tuple:
        """(E[x_0 | z], E[eps | z]) for data of these means and stds at the level (alpha, sigma)."""
        xp, r, zeta = namespace(z), self.responsibilities(z), self.zeta(z)
        data = xp.sum(r * (means + alpha * stds**2 / self.stds * zeta), axis=-1)
        noise = xp.sum(r * (sigma / self.stds * zeta), axis=-1)
        return data, noise


Levels = Sequence[tuple[Any, Any]]
MakeComponents = Callable[[Array, Any, Any], Components]


def flow_map(components: MakeComponents, z: Array, levels: Levels) -> Array:
    """y with F_s(y) = F_t(z) a coordinate; z: (n, d) float64, levels: (alpha, sigma) at t and s."""
    here, there = (components(z, *level) for level in levels)
    one_level = here.means.ndim == there.means.ndim == 2  # else each row has its own
    return on_numpy(here, there, z) if is_numpy(z) and one_level else on_arrays(here, there, z)


def on_numpy(here: Components, there: Components, z: np.ndarray) -> np.ndarray:
    """The Numba kernel on threads; points whose tails may underflow are left to `on_arrays`."""
    from ._flow_kernel import flow_points

    x, y, hard = np.ascontiguousarray(z), np.empty(z.shape), np.empty(z.shape, np.bool_)
    w, m, s, m2, s2 = (
        np.ascontiguousarray(v, dtype=np.float64)
        for v in (np.exp(here.log_w), here.means, here.stds, there.means, there.stds)
    )

    def work(start: int, stop: int) -> None:
        flow_points(x[start:stop], w, m, s, m2, s2, y[start:stop], hard[start:stop])

    in_parts(z.shape[0], 1000 * z.size, work)
    rows = hard.any(axis=1)
    if rows.any():
        y[rows] = np.where(hard[rows], on_arrays(here, there, x[rows]), y[rows])
    return y


def on_arrays(here: Components, there: Components, z: Array) -> Array:
    """The flow map between two mixtures on any array library."""
    xp, zeta = namespace(z), here.zeta(z)
    live = xp.isfinite(here.log_w)  # padding has no weight
    left = zeta > 0
    log_r, log_l = _sides(xp, here.log_w, zeta, left)
    scale = xp.maximum(log_r, log_l)
    g = xp.exp(log_r - scale) - xp.exp(log_l - scale)
    floor = xp.finfo(z.dtype).smallest_normal
    log_g = xp.where(g == 0, -xp.inf, xp.log(xp.clip(xp.abs(g), min=floor))) + scale
    positive = g >= 0
    # each component alone maps z to mean + std zeta; the mixture's image lies between the extremes
    bound = xp.where(live, zeta, xp.max(xp.where(live, zeta, -xp.inf), axis=-1, keepdims=True))
    spread = xp.stack([xp.min(bound, axis=-1), xp.max(bound, axis=-1)])[..., None]
    means, stds = (xp.where(live, v, v[..., :1]) for v in (there.means, there.stds))
    low = xp.min(means + stds * spread[0, ...], axis=-1)
    high = xp.max(means + stds * spread[1, ...], axis=-1)
    y = xp.sum(here.responsibilities(z) * (there.means + there.stds * zeta), axis=-1)
    step = high - low
    for _ in range(ITERATIONS):
        y = xp.minimum(xp.maximum(y, low), high)
        h, slope, rounding = _residual(xp, there, y, left, log_g, positive)
        low, high = xp.where(h < 0, y, low), xp.where(h > 0, y, high)
        steep = slope > 0  # on a plateau between sharp components it is 0: bisect
        newton = xp.where(steep, -h / xp.where(steep, slope, 1.0), xp.inf)
        target = y + newton
        # Newton where it stays inside and shrinks; else the middle
        good = (target >= low) & (target <= high) & (xp.abs(newton) <= 0.5 * xp.abs(step))
        new = xp.where(good, target, xp.where(h == 0, y, 0.5 * (low + high)))
        done = xp.abs(h) <= rounding
        step, y = new - y, xp.where(done, y, new)
        if bool(xp.all(done | (xp.abs(step) <= 2 * EPS * xp.abs(y)))):
            break
    return y


def _sides(xp: Any, log_w: Array, zeta: Array, left: Array) -> tuple[Array, Array]:
    """log R and log L: the mass of right components below, of left components above."""
    tail = log_w + log_ndtr(xp.where(left, -zeta, zeta))
    nothing = -xp.inf
    return logsumexp(xp.where(left, nothing, tail)), logsumexp(xp.where(left, tail, nothing))


def _residual(
    xp: Any, there: Components, y: Array, left: Array, log_g: Array, positive: Array
) -> tuple[Array, Array, Array]:
    """h(y), increasing, zero at the solution, h'(y), and the rounding error of h.

    g >= 0: log R - log(L + g), h' = p_R / R + p_L / (L + g); g < 0: log(R + |g|) - log L.
    """
    log_r, log_l = _sides(xp, there.log_w, there.zeta(y), left)
    up, down = _log_add(xp, log_r, log_g), _log_add(xp, log_l, log_g)
    top, bottom = xp.where(positive, log_r, up), xp.where(positive, down, log_l)
    terms = there.log_terms(y)
    p_r = logsumexp(xp.where(left, -xp.inf, terms))
    p_l = logsumexp(xp.where(left, terms, -xp.inf))
    slope = xp.exp(_minus(xp, p_r, top)) + xp.exp(_minus(xp, p_l, bottom))
    rounding = 8 * EPS * (1 + xp.abs(top))
    return top - bottom, slope, rounding


def _log_add(xp: Any, a: Array, b: Array) -> Array:
    """log(e^a + e^b), -inf where both are."""
    top = xp.maximum(a, b)
    safe = xp.where(xp.isfinite(top), top, 0.0)
    return xp.where(xp.isfinite(top), safe + xp.log1p(xp.exp(xp.minimum(a, b) - safe)), top)


def _minus(xp: Any, a: Array, b: Array) -> Array:
    """a - b, -inf where a is (an empty side has no density)."""
    return xp.where(xp.isfinite(a), a - xp.where(xp.isfinite(b), b, 0.0), a)
