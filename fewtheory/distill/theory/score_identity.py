"""What score identity distillation does, in closed form: where it runs away, and noise scaling.

A student g z of a Gaussian of std c at the level sigma (alpha = 1), exact fake score, k = v / (v +
sigma^2) for either variance: the loss L2 - a L1 has the gradient

    2 g D ((k_p - 1) - a D),   D = k_p - k_q,

right in sign for every g where 0 <= a <= 1, while a > 1 has a repelling point g_crit above which
the variance grows without bound. A K-step student that is exact at each step and is sampled with
its noise scaled by gamma gives p^{1 / gamma^2} of a Gaussian: gamma is a temperature; of separated
modes in one dimension the minor one keeps Phi(Phi^{-1}(w) / gamma). Sheet `sid-protein`, "Closed
forms", C5, C8, C9."""

from __future__ import annotations

import math

import numpy as np

from ...errors import fail, integer, number
from ...shapes import Float


def sid_slope(g: float | int, c: float | int, sigma: float | int, a: float | int) -> float:
    """d(L2 - a L1)/dg in units of the denoiser: 2 g D ((k_p - 1) - a D).

    >>> round(sid_slope(1.7, 1.0, 1.0, 0.5), 9)
    0.312656042
    """
    g, noise = number("sid_slope", "g", g, 0.0), _positive("sid_slope", "sigma", sigma) ** 2
    c, share = _positive("sid_slope", "c", c), number("sid_slope", "a", a, -math.inf)
    k_p, k_q = c * c / (c * c + noise), g * g / (g * g + noise)
    D = k_p - k_q
    return 2 * g * D * ((k_p - 1) - share * D)


def sid_basin(c: float | int, sigma: float | int, a: float | int) -> float:
    """g_crit = sqrt((a c^2 + sigma^2) / (a - 1)): a student wider than this runs away; else
    infinity.

    For several levels the smallest of the values counts. A denoiser used as a student starts at a
    variance of c^2 / 4 at the most, safely inside for the values of a in use.

    >>> round(sid_basin(1.0, 1.0, 1.2), 6), sid_basin(1.0, 1.0, 1.0)
    (3.316625, inf)
    """
    c, sigma = _positive("sid_basin", "c", c), _positive("sid_basin", "sigma", sigma)
    share = number("sid_basin", "a", a, -math.inf)
    return math.sqrt((share * c * c + sigma**2) / (share - 1)) if share > 1 else math.inf


def protein_times(
    count: int, first: int = 30, last: int = 400, per_decade: int = 200
) -> list[float]:
    """t_k = 10^{-j_k / 200}, j from 30 to 400 in `count` equal steps, rounded: SPID's levels.

    >>> [round(t, 6) for t in protein_times(3)]
    [0.707946, 0.08414, 0.01]
    """
    n = integer("protein_times", "count", count, 1)
    integer("protein_times", "last", last, integer("protein_times", "first", first, 0))
    unit = integer("protein_times", "per_decade", per_decade, 1)
    return [10 ** (-float(j) / unit) for j in np.round(np.linspace(first, last, n))]


def minor_mass(
    weight: float | int, gamma: Float[np.ndarray, "n"] | float | int
) -> Float[np.ndarray, "..."]:
    """Phi(Phi^{-1}(w) / gamma): what is left of a minor mode of this weight after noise scaling.

    The monotone map of one step, modes far apart. weight in (0, 1/2]; gamma > 0, numbers or an
    array.

    >>> minor_mass(0.3, np.array([1.0, 0.45])).round(4).tolist()
    [0.3, 0.1219]
    """
    from scipy.special import ndtr, ndtri

    w = number("minor_mass", "weight", weight, 0.0, 0.5)
    scale = np.asarray(gamma, dtype=np.float64)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise fail("minor_mass", "gamma", "above 0", gamma)
    return ndtr(ndtri(w) / scale)


def _positive(where: str, name: str, value: float | int) -> float:
    out = number(where, name, value, 0.0)
    if out == 0:
        raise fail(where, name, "above 0", value)
    return out
