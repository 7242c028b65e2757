"""How much of a sample a step's fresh noise decides: where best-of-k has something to choose from.

For Gaussian data of variance c^2 and the exact map from level t on, x_0 = ... + (c / S_t) x_t with
S_t^2 = alpha^2 c^2 + sigma^2, so fresh noise sigma n at t re-draws the fraction

    sigma^2 / (alpha^2 c^2 + sigma^2)

of the final variance, and the best and the worst of k candidates differ by d_k |g| c sqrt(share) in
a linear reward of slope g. Exploration belongs to high noise. Flash-DMD (arXiv 2511.20549), sheet
`flash-dmd`, "Noise share", C6.
"""

from __future__ import annotations

import math

from ...errors import fail, number
from ...paths import Path
from .preferences import range_mean


def redrawn_share(path: Path, t: float | int, c: float | int) -> float:
    """sigma^2 / (alpha^2 c^2 + sigma^2): the part of the final variance that noise at t decides.

    c > 0: the data's standard deviation. Raises ValueError by name.

    >>> from fewtheory.paths import Trigonometric
    >>> [round(redrawn_share(Trigonometric(), t, 0.8), 6) for t in (0.25, 0.5, 0.75)]
    [0.211408, 0.609756, 0.901058]
    """
    if not number("redrawn_share", "c", c, 0.0) > 0:
        raise fail("redrawn_share", "c", "above 0", c)
    path.check_t("redrawn_share", float(t))
    alpha, sigma = float(path.alpha(float(t))), float(path.sigma(float(t)))
    return sigma**2 / (alpha**2 * float(c) ** 2 + sigma**2)


def candidate_spread(
    k: int, path: Path, t: float | int, c: float | int, g: float | int = 1.0
) -> float:
    """d_k |g| c sqrt(share): the mean difference in the reward of the best and the worst of k.

    The candidates differ in the noise at t alone; the reward of x_0 has the slope g. Raises
    ValueError by name.

    >>> from fewtheory.paths import Trigonometric
    >>> round(candidate_spread(4, Trigonometric(), 0.5, 0.8), 6)
    1.286091
    """
    slope = number("candidate_spread", "g", g, -math.inf)
    share = redrawn_share(path, t, c)
    return range_mean(k) * abs(slope) * float(c) * math.sqrt(share)
