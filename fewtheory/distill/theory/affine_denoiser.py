"""The best affine denoiser of a law: that of the Gaussian with its moments (LMMSE).

E|f(x_t) - x_0|^2 = E|f - x0hat|^2 + E tr Cov(x_0 | x_t) for every f, so that matching the teacher's
denoiser (TSM) and matching x_0 (DSM) have one minimiser in any class, and their losses differ by
the irreducible variance. Sheet `msd`, C7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, number
from ...testbeds import ProductMixture


@dataclass(frozen=True)
class AffineDenoiser:
    """slope x + intercept; tsm: mean squared distance to the denoiser, dsm: to x_0."""

    slope: float
    intercept: float
    tsm: float
    dsm: float


def affine_denoiser(bed: ProductMixture, alpha: float | int, sigma: float | int) -> AffineDenoiser:
    """The affine function of x_t = alpha x_0 + sigma eps that is closest to x_0 on average.

    slope = alpha C / (alpha^2 C + sigma^2), C the variance; the distance to the exact denoiser is
    taken by the trapezoid rule. bed: a mixture in one dimension. Raises ValueError by name.

    >>> from fewtheory.testbeds import mixture_1d
    >>> found = affine_denoiser(mixture_1d([1.0], [0.0], [1.0]), 0.6, 0.8)
    >>> round(found.slope, 6), round(found.dsm - found.tsm, 6)
    (0.6, 0.64)
    """
    if not isinstance(bed, ProductMixture) or bed.event != (1,):
        raise fail("affine_denoiser", "bed", "a mixture in one dimension", bed)
    a, s = (
        number("affine_denoiser", "alpha", alpha, 0.0),
        number("affine_denoiser", "sigma", sigma, 0.0),
    )
    if s == 0:
        raise fail("affine_denoiser", "sigma", "above 0", sigma)
    mean, C = float(bed.mean[0]), float(np.ravel(bed.cov)[0])
    slope = a * C / (a * a * C + s * s)
    intercept = mean - slope * a * mean
    x, w = level_quadrature(bed, a, s)
    gap = slope * x[:, 0] + intercept - bed.means_at(x, a, s)[0][:, 0]
    return AffineDenoiser(slope, intercept, float(w @ gap**2), C - slope * a * C)


def level_quadrature(
    bed: ProductMixture, alpha: float, sigma: float, nodes: int = 8001, width: float = 12.0
) -> tuple[Any, Any]:
    """Points (n, 1) and weights for means over x_t, by the trapezoid rule."""
    w, m, v = bed.weights[0], alpha * bed.means[0], alpha**2 * bed.stds[0] ** 2 + sigma**2
    reach = width * float(np.sqrt(v.max()))
    x = np.linspace(float(m.min()) - reach, float(m.max()) + reach, nodes)
    density = (w * np.exp(-0.5 * (x[:, None] - m) ** 2 / v) / np.sqrt(2 * np.pi * v)).sum(1)
    return x[:, None], density * (x[1] - x[0])
