"""Consistency below the noise level: what a denoiser must be there if it is a martingale.

The exact denoiser satisfies E[D(x_s, s) | x_t] = D(x_t, t) along the reverse process. With D = k x
and the reverse SDE's mean E[x_s | x_t] that is k' = -2 k (1 - k) / sigma, whose solution

    k(sigma) = k_n sigma_n^2 / (k_n sigma_n^2 + (1 - k_n) sigma^2)

carries what was learnt at sigma_n down to the data: k_n = c / (c + sigma_n^2) gives c / (c +
sigma^2). The flow of the ODE would have half that slope. Sheet `ambient-scaling`, M4 and C5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from ...arrays import Array, namespace
from ...errors import fail, number, one_of
from .._forms import floating


def consistency_slope(k: Array, sigma: float | int) -> Array:
    """dk/dsigma = -2 k (1 - k) / sigma of a linear denoiser D = k x that is consistent.

    k: gains (...); sigma above 0. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> consistency_slope(np.array([0.5]), 2.0).tolist()
    [-0.25]
    """
    k = floating("consistency_slope", "k", k)
    sigma = number("consistency_slope", "sigma", sigma, 1e-150)
    return -2 * k * (1 - k) / sigma


def consistent_gain(k_n: Array, sigma_n: float | int, sigma: float | int) -> Array:
    """The consistent gain at sigma that is k_n at sigma_n: k_n v_n / (k_n v_n + (1 - k_n) v).

    k_n: in [0, 1]; v = sigma^2. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> consistent_gain(np.array([0.5]), 1.0, 0.5).tolist()  # c = 1
    [0.8]
    """
    where = "consistent_gain"
    k = floating(where, "k_n", k_n)
    if not bool(namespace(k).all((k >= 0) & (k <= 1))):
        raise fail(where, "k_n", "in [0, 1]", k_n)
    v_n = number(where, "sigma_n", sigma_n, 1e-150) ** 2
    v = number(where, "sigma", sigma, 0.0) ** 2
    if v == 0:
        return namespace(k).where(k > 0, 0 * k + 1, 0 * k)
    return k * v_n / (k * v_n + (1 - k) * v)


def reverse_step(
    x: Array,
    x0hat: Array,
    z: Array,
    sigma: float | int,
    sigma_next: float | int,
    *,
    noise: str = "first order",
) -> Array:
    """x + 2 (sigma_next - sigma)(x - x0hat) / sigma + s z: a step of the reverse SDE, alpha = 1.

    s^2 = 2 |sigma_next - sigma| sigma, the published code's, or with noise="exact"
    sigma^2 - sigma_next^2, the SDE's own; they differ by (sigma - sigma_next)^2.
    0 < sigma_next <= sigma. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> reverse_step(np.array([2.0]), np.array([1.0]), np.zeros(1), 1.0, 0.75).tolist()
    [1.5]
    """
    where = "reverse_step"
    one_of(where, "noise", noise, ("first order", "exact"))
    sigma = number(where, "sigma", sigma, 1e-150)
    after = number(where, "sigma_next", sigma_next, 0.0, sigma)
    drop = sigma - after
    variance = 2 * drop * sigma if noise == "first order" else drop * (sigma + after)
    return x - 2 * drop * (x - x0hat) / sigma + math.sqrt(variance) * z


def consistency_gap(gain: Callable[[float], float], sigmas: Sequence[float]) -> float:
    """E[D(x', sigma')|x] / x - k(sigma) for linear D = k(sigma) x, by steps down the levels.

    gain: sigma -> k; sigmas: decreasing, the first is sigma, the last sigma'. 0 for the exact
    reverse mean; Euler steps leave a gap of the first order in their size, which a network trained
    on this loss would learn.

    >>> abs(consistency_gap(lambda s: 1 / (1 + s**2), [0.5 - 1e-5 * k for k in range(1001)])) < 1e-5
    True
    """
    levels = [number("consistency_gap", "sigmas", s, 1e-150) for s in sigmas]
    if len(levels) < 2 or any(b >= a for a, b in pairwise(levels)):
        raise fail("consistency_gap", "sigmas", "decreasing, two or more", sigmas)
    mean = 1.0
    for now, after in pairwise(levels):
        mean *= 1 + 2 * (after - now) * (1 - gain(now)) / now
    return gain(levels[-1]) * mean - gain(levels[0])
