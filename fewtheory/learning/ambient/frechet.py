"""The squared Frechet distance of the generated law, in expectation, from a spectrum.

sum_j (sqrt c^_j - sqrt c_j)^2 is sum_j c_j Var_j / 4 to first order in 1/n, Var_j the relative
variance of the generated variance. Training on noisy data alone and stopping at sigma_n leaves a
bias instead, which no sample size lowers. Sheet `ambient-scaling`, M5, C6 and C11; a number of FID
is neither (it has a bias of its own, and its features are not the data).
"""

from __future__ import annotations

from ...arrays import Array, namespace
from ...errors import fail, number
from .._forms import floating, vector
from .weighting import relative_variance, variance_floor


def frechet_error(
    spectrum: Array,
    sigma_n: float | int,
    n_clean: float | int,
    n_noisy: float | int,
    weighting: str = "loss",
) -> float:
    """Expected squared Frechet distance sum_j c_j Var_j / 4 of what is generated to the law.

    spectrum (d,): variances c_j, not negative; everything else as `relative_variance`.

    >>> import numpy as np
    >>> spectrum = 1 / np.arange(1, 65)
    >>> all_clean = frechet_error(spectrum, 0.2, 50_000, 0)
    >>> round(frechet_error(spectrum, 0.2, 5_000, 45_000) / all_clean, 2)
    2.87
    """
    c = vector("frechet_error", "spectrum", spectrum)
    return _summed(c, relative_variance(c, sigma_n, n_clean, n_noisy, weighting))


def frechet_floor(
    spectrum: Array, sigma_n: float | int, n_clean: float | int, weighting: str = "loss"
) -> float:
    """Its limit for ever more noisy samples, sum_j c_j rho_j^2 / (2 n1), or 0 with consistency.

    >>> import numpy as np
    >>> round(frechet_floor(np.array([0.04]), 0.2, 100), 9)  # 0.04 (1/2)^2 / 200
    5e-05
    """
    c = vector("frechet_floor", "spectrum", spectrum)
    return _summed(c, variance_floor(c, sigma_n, n_clean, weighting))


def stopped_variance(c: Array, sigma_n: float | int) -> Array:
    """c^2 / (c + sigma_n^2): the variance of the point that is denoised once, from sigma_n.

    What training on noisy samples alone gives however many there are (`stop_variance`, M5).

    >>> import numpy as np
    >>> stopped_variance(np.array([1.0]), 1.0).tolist()
    [0.5]
    """
    c, v = _variances("stopped_variance", "c", c), number("stopped_variance", "sigma_n", sigma_n, 0)
    return c * _signal(c, v)


def stopped_frechet(spectrum: Array, sigma_n: float | int) -> float:
    """sum_j c_j (1 - sqrt(c_j / (c_j + sigma_n^2)))^2: the squared distance of the stopped law.

    >>> import numpy as np
    >>> round(stopped_frechet(1 / np.arange(1, 65), 0.2), 5)
    0.19993
    """
    c = _variances("stopped_frechet", "spectrum", vector("stopped_frechet", "spectrum", spectrum))
    g = _signal(c, number("stopped_frechet", "sigma_n", sigma_n, 0.0))
    xp = namespace(c)
    short = (1 - g) / (1 + xp.sqrt(g))  # 1 - sqrt g
    return float(xp.sum(c * short**2))


def _signal(c: Array, sigma_n: float) -> Array:
    v = sigma_n**2
    return c / (c + v) if v > 0 else namespace(c).ones_like(c)


def _variances(where: str, argument: str, c: Array) -> Array:
    c = floating(where, argument, c)
    if not bool(namespace(c).all(c >= 0)):
        raise fail(where, argument, "not negative", c)
    return c


def _summed(c: Array, relative: Array) -> float:
    """sum_j c_j Var_j / 4; a direction without variance adds nothing."""
    xp = namespace(c)
    return float(xp.sum(xp.where(c > 0, c, 0 * c) * xp.where(c > 0, relative, 0 * c))) / 4
