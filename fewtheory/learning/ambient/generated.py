"""The variance that the exact probability flow generates from pooled second moments.

With u = sigma^2 the flow of the linear denoiser has d log(var) / du = 1 / (c_w(u) + u): pooled
moments above sigma_n, clean ones below, so that

    log var = log c_1 - log(c_1 + sigma_n^2) + log(var at sigma_n),
    log(var at sigma_n) = log(c_1 + sigma_n^2) + int (c_w - c_1) du / ((c_w + u)(c_1 + u)).

For a constant clean share f above sigma_n, c_w = f c_1 + (1 - f) c_2 and
var = c_1 (c_w + sigma_n^2) / (c_1 + sigma_n^2). Sheet `ambient-scaling`, M7.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array, namespace
from ...errors import fail, number
from .._forms import floating

HALVINGS = 40  # panels [2^-k-1, 2^-k]: A(u) changes at w ~ rho, whatever its size
_X, _W = np.polynomial.legendre.leggauss(10)
_PANELS = 0.5 ** np.arange(1, HALVINGS + 1)[:, None]
NODES = (_PANELS * (1.5 + 0.5 * _X)).ravel()
WEIGHTS = (_PANELS * 0.5 * _W).ravel()


def generated_variance(
    c1: Array,
    c2: Array,
    n_clean: float | int,
    n_noisy: float | int,
    sigma_n: float | int,
    *,
    clean_share: float | int | None = None,
) -> Array:
    """The variance generated in directions with moments c1 (clean) and c2 (noisy, debiased), (d,).

    clean_share: the constant weight f of c1 above sigma_n (1 - f of c2); None: the loss's own,
    (1 - sigma_n^2 / sigma^2)^2 for a noisy sample against 1. c1 above 0, c2 at least -sigma_n^2:
    c_w + sigma^2 is then positive on every level above sigma_n, also where c2 < 0.
    Raises ValueError or TypeError by name.

    >>> one = np.ones(1)
    >>> generated_variance(one, 1.3 * one, 10, 90, 0.5, clean_share=0.0).round(6).tolist()
    [1.24]
    """
    where = "generated_variance"
    c1, c2 = floating(where, "c1", c1), floating(where, "c2", c2)
    n1, n2 = number(where, "n_clean", n_clean, 1e-9), number(where, "n_noisy", n_noisy, 0.0)
    v = number(where, "sigma_n", sigma_n, 0.0) ** 2
    xp = namespace(c1, c2)
    if not bool(xp.all(c1 > 0)):
        raise fail(where, "c1", "positive", c1)
    if not bool(xp.all(c2 >= -v * (1 + 1e-6))):
        raise fail(where, "c2", f"at least -sigma_n^2 = {-v:g}, as debiased moments are", c2)
    if clean_share is not None:
        f = number(where, "clean_share", clean_share, 0.0, 1.0)
        return c1 * (f * c1 + (1 - f) * c2 + v) / (c1 + v)
    return c1 * xp.exp(_above(xp, c1, c2, n2 / n1, v))


def _above(xp: Any, c1: Array, c2: Array, r: float, v: float) -> Array:
    """int (c_w - c_1) du / ((c_w + u)(c_1 + u)) over u > v, in w = 1 - (c_1 + v) / (c_1 + u)."""
    total = 0 * c1
    for w, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
        u_v = (c1 + v) * w / (1 - w)  # u - v
        u = v + u_v
        A = (u_v / u) ** 2
        c_w_c1 = r * A * (c2 - c1) / (1 + r * A)
        # du / (c_1 + u) = dw / (1 - w)
        total = total + weight * c_w_c1 / ((c_w_c1 + c1 + u) * (1 - w))
    return total
