"""What DMD's per-sample normaliser does to the fixed point: O(1/d), computed without sampling.

The gradient (x0hat_fake - x0hat_teacher) / mean_i |x0hat_teacher - x_0|_i couples the coordinates
of a sample. For a teacher that is a product of d equal mixtures and a student b + a z in each, the
mean of such a ratio is a one-dimensional integral, because 1/S = int_0^inf exp(-u S) du:

    E[h(x_1) / (1/d sum_i Y_i)] = d int_0^inf E[h e^{-u Y}] (E e^{-u Y})^{d-1} du.

In d = 1 the normaliser has no mean (1/|y| at y = 0), so worlds of one dimension need a weight that
depends on the level only. Sheet `dmd-base`, C6.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ...errors import fail, integer, number
from ...testbeds import Gaussian, ProductMixture

WIDTH = 6.5  # standard deviations of the trapezoid rule in z and eps
LOG_U = (-14, 12)  # of u, in units of one over the mean of the sum of Y


def normalised_fixed_point(
    teacher: ProductMixture, rho: float | int, d: int | None, *, nodes: int = 81
) -> tuple[float, float]:
    """(b, a) at which the mean gradient of the student b + a z vanishes, at noise rho.

    alpha = 1. teacher: one dimension's mixture, of which the law is a d-fold product; d >= 2 the
    dimension, or None for the plain weight, which is the limit of many dimensions. Raises
    ValueError by name.

    >>> from fewtheory.testbeds import mixture_1d
    >>> two = mixture_1d([0.7, 0.3], [-1.0, 1.5], [0.5, 0.5])
    >>> round(normalised_fixed_point(two, 1.5, None)[1], 4)
    1.2291
    """
    from scipy.optimize import root

    if not isinstance(teacher, ProductMixture) or teacher.event != (1,):
        raise fail("normalised_fixed_point", "teacher", "a mixture in one dimension", teacher)
    noise = number("normalised_fixed_point", "rho", rho, 0.0)
    if noise == 0:
        raise fail("normalised_fixed_point", "rho", "above 0", rho)
    if d is not None:
        integer("normalised_fixed_point", "d", d, 2)
    spread = math.sqrt(float(np.ravel(teacher.cov)[0]))
    field = partial(mean_gradient, teacher, noise, d, nodes=nodes)
    found = root(
        lambda y: field(float(y[0]), float(y[1])), [float(teacher.mean[0]), spread], tol=1e-12
    )
    return float(found.x[0]), float(abs(found.x[1]))


def mean_gradient(
    teacher: ProductMixture, rho: float, d: int | None, b: float, a: float, *, nodes: int = 81
) -> np.ndarray:
    """(E[g_1], E[g_1 z_1]) of the normalised gradient g, with the exact fake score."""
    z = np.linspace(-WIDTH, WIDTH, nodes)
    w = np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
    Z, N = (v.ravel() for v in np.meshgrid(z, z, indexing="ij"))
    W = np.outer(w, w).ravel()
    x0 = b + a * Z
    x = (x0 + rho * N)[:, None]
    fake = Gaussian([b], a**2).means_at(x, 1.0, rho)[0][:, 0]
    real = teacher.means_at(x, 1.0, rho)[0][:, 0]
    moments = np.stack([fake - real, (fake - real) * Z]) * W
    if d is None:
        return moments.sum(1)
    distance = np.abs(real - x0)
    log_u = np.linspace(*LOG_U, 3 * (LOG_U[1] - LOG_U[0]) + 1)  # the integrand is analytic in it
    u = np.exp(log_u) / (d * float((W * distance).sum()))  # it falls like exp(-u d E Y) at first
    decay = np.exp(-np.outer(u, distance))
    density = (decay @ moments.T) * ((decay @ W) ** (d - 1) * u)[:, None]
    return d * np.asarray(np.trapezoid(density, log_u, axis=0))
