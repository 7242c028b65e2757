"""The share that the plain ambient loss gives to noisy samples, in closed form.

The loss weighs a noisy sample at level u = sigma^2 by A(u) = (1 - sigma_n^2 / u)^2, and the flow
carries what was fitted at every level above sigma_n into the generated variance. With r = n2 / n1,
g = c / (c + sigma_n^2), rho = 1 - g and w = 1 - (c + sigma_n^2) / (c + u) the noisy estimate's
share of it is

    W2 = c int_{u > sigma_n^2} n2 A / (n1 + n2 A) (c + u)^{-2} du = g r h,
    h = int_0^1 w^2 / ((rho + g w)^2 + r w^2) dw.

Sheet `ambient-scaling`, M7; the closed form of h is derived there by partial fractions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array

NEAR = 0.25  # of a = g^2 + r: below it the closed form, of size 1/a, loses more than a digit
# the integrand's poles -rho / (g +- i sqrt r) then lie at 1 or farther from 0: 4^-40 for 20 nodes
NODES = [(0.5 + 0.5 * float(x), 0.5 * float(w)) for x, w in zip(
    *np.polynomial.legendre.leggauss(20), strict=True)]  # fmt: skip
SMALL = 0.05  # of r: below it arctan(sqrt r) / sqrt r and its slope by their series


def loss_share(xp: Any, g: Array, r: Array) -> tuple[Array, Array]:
    """(h, dh/dr) for 0 <= g <= 1 and r >= 0; W2 = g r h is the noisy samples' share.

    h a^2 = a - rho g log((1 + r) / rho^2) - rho (r - g^2) arctan(sqrt r) / sqrt r, a = g^2 + r.

    >>> h, _ = loss_share(np, np.array([1.0]), np.array([3.0]))  # no noise: W2 = n2 / (n1 + n2)
    >>> float(1.0 * 3.0 * h[0])
    0.75
    """
    near = g**2 + r < NEAR
    one = xp.ones_like(g)
    far = _closed_form(xp, xp.where(near, one, g), xp.where(near, one, r))
    close = _quadrature(xp, xp.where(near, g, 0 * one), xp.where(near, r, 0 * one))
    return xp.where(near, close[0], far[0]), xp.where(near, close[1], far[1])


def _closed_form(xp: Any, g: Array, r: Array) -> tuple[Array, Array]:
    rho, a = 1 - g, g**2 + r
    arc, d_arc = _arc(xp, r)
    log = xp.log1p(r) - 2 * xp.log(xp.where(rho > 0, rho, xp.ones_like(rho)))
    h = (a - rho * g * log - rho * (r - g**2) * arc) / a**2
    slope = 1 - rho * g / (1 + r) - rho * (arc + (r - g**2) * d_arc)
    return h, slope / a**2 - 2 * h / a


def _arc(xp: Any, r: Array) -> tuple[Array, Array]:
    """arctan(sqrt r) / sqrt r and its derivative in r."""
    small = r < SMALL
    large = xp.where(small, xp.ones_like(r), r)
    arc = xp.atan(xp.sqrt(large)) / xp.sqrt(large)
    d_arc = (1 / (1 + large) - arc) / (2 * large)  # loses the factor r, 1.3 digits at most
    x, series, d_series = xp.where(small, r, 0 * r), 0 * r, 0 * r
    for k in range(13, 0, -1):  # 0.05^13 / 27 < eps
        series = series * x + (-1) ** k / (2 * k + 1)
        d_series = d_series * x + k * (-1) ** k / (2 * k + 1)
    return xp.where(small, 1 + series * x, arc), xp.where(small, d_series, d_arc)


def _quadrature(xp: Any, g: Array, r: Array) -> tuple[Array, Array]:
    rho, h, dh = 1 - g, 0 * g, 0 * g
    for w, weight in NODES:
        f = w**2 / ((rho + g * w) ** 2 + r * w**2)
        h, dh = h + weight * f, dh - weight * f**2
    return h, dh
