"""Where a few-step student ends, for each law that its fake score can be of, in closed form.

Teacher N(0, c) in one dimension, student x0hat = g x_t at a step from t to s, x_t of variance v:

| fake score of | fixed point | variance of x_s |
| --- | --- | --- |
| the trajectory law (exact) | the secant of the flow map | the teacher's, alpha_s^2 c + sigma_s^2 |
| the re-noised prediction | g = (c / v)^{1/2} | (alpha_s c^{1/2} + sigma_s)^2, too wide |
| neither: x0hat regressed on the trajectory law, unweighted | no closed form | too wide |

All are exact again at s = 0. So even an exact K-step student's network is not the teacher's
denoiser, but its secant, which tends to it like t - s. What must not be forgotten: v is that of the
student's own path, not the teacher's; and the unweighted law lies between the other two on the
sheet's grid only, on others it may be the widest. Sheet `tdm`, "What the two fake scores mean",
C3, C6.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, integer, number, one_of
from ...paths import Path
from ...shapes import Float
from ..parts.intervals import ending, interval_level, step_gain

LAWS = ("trajectory", "renoised", "naive")


@dataclass(frozen=True, eq=False)
class GaussianTrajectory:
    """A student of K steps at its fixed point.

    times: (K,), where each step ends; gains: (K,), of its clean prediction; variances: (K,), of x_s
    after each; divergences: (K,), KL of that law to the teacher's.
    """

    times: Float[np.ndarray, "K"]
    gains: Float[np.ndarray, "K"]
    variances: Float[np.ndarray, "K"]
    divergences: Float[np.ndarray, "K"]


def gaussian_trajectory(
    c: float | int,
    path: Path,
    times: Sequence[float | int],
    law: str = "trajectory",
    *,
    start: float | int | None = None,
    levels: int = 20,
) -> GaussianTrajectory:
    """The fixed point of each step, from the variance at which the previous one left x_t.

    c > 0: the teacher's variance; times: (K + 1,), decreasing, the last may be 0. law: of the fake
    score, one of "trajectory", "renoised", "naive". start: the variance at the first time,
    sigma^2 where None. levels: for "naive", the number of tau = s + (t - s) j / (levels + 1) over
    which the gradient is averaged with the weight sigma_tau^2. Raises ValueError by name.

    >>> from fewtheory.paths import Trigonometric
    >>> four = gaussian_trajectory(0.49, Trigonometric(), [1, 0.75, 0.5, 0.25, 0], "renoised")
    >>> four.variances.round(4).tolist()
    [1.4203, 1.445, 1.0597, 0.49]
    """
    one_of("gaussian_trajectory", "law", law, LAWS)
    clean = _positive("gaussian_trajectory", "c", c)
    count = integer("gaussian_trajectory", "levels", levels, 1)
    grid = [number("gaussian_trajectory", "times", t, 0.0) for t in times]
    if len(grid) < 2 or any(b >= a for a, b in itertools.pairwise(grid)):
        raise fail("gaussian_trajectory", "times", "two or more, decreasing", times)
    path.check_t("gaussian_trajectory", grid[0], "times")
    v = float(path.sigma(grid[0])) ** 2
    if start is not None:
        v = _positive("gaussian_trajectory", "start", start)
    gains, variances, divergences = [], [], []
    for t, s in itertools.pairwise(grid):
        if law == "naive":
            g = _naive_gain(clean, path, t, s, v, count)
        else:
            g = exact_gain(clean, path, t, s, v) if law == "trajectory" else math.sqrt(clean / v)
        v = state_gain(path, t, s, g) ** 2 * v
        ratio = v / _variance(clean, path, s)
        gains.append(g)
        variances.append(v)
        divergences.append(0.5 * (ratio - 1 - math.log(ratio)))
    return GaussianTrajectory(
        np.array(grid[1:]), np.array(gains), np.array(variances), np.array(divergences)
    )


def exact_gain(
    c: float | int, path: Path, t: float | int, s: float | int, v: float | int | None = None
) -> float:
    """g = (h - sigma_s / sigma_t) / (alpha_s - sigma_s alpha_t / sigma_t), h = (Var_s / v)^{1/2}.

    The clean prediction with which one deterministic step from t to s lands on the teacher's law.
    c > 0: the teacher's variance; v: that of x_t, the teacher's own where None. As s -> t it tends
    to the denoiser alpha_t c / Var_t, with an error of order t - s. Raises ValueError by name.

    >>> from fewtheory.paths import Trigonometric
    >>> round(exact_gain(0.49, Trigonometric(), 1.0, 0.75), 6)
    0.099435
    """
    clean = _positive("exact_gain", "c", c)
    var_t = _variance(clean, path, t) if v is None else _positive("exact_gain", "v", v)
    if not float(s) < float(t):
        raise fail("exact_gain", "s", f"under t = {t}", s)
    h = math.sqrt(_variance(clean, path, s) / var_t)
    return (h - ending(path, s)[1] / float(path.sigma(float(t)))) / step_gain(path, t, s)


def state_gain(path: Path, t: float | int, s: float | int, gain: float | int) -> float:
    """h with x_s = h x_t for x0hat = gain x_t: (alpha_s - sigma_s alpha_t / sigma_t) g + sigma_s /
    sigma_t.

    >>> from fewtheory.paths import RectifiedFlow
    >>> state_gain(RectifiedFlow(), 1.0, 0.5, 1.0)
    1.0
    """
    return step_gain(path, t, s) * float(gain) + ending(path, s)[1] / float(path.sigma(float(t)))


def _naive_gain(c: float, path: Path, t: float, s: float, v: float, levels: int) -> float:
    """Where sum_tau sigma^2 r^2 (slope of s_psi - slope of s_p) = 0, s_psi = (alpha E[x0hat |
    x_tau] - x_tau) / sigma^2 with the regression over the trajectory law."""
    from scipy.optimize import brentq

    taus = [s + (t - s) * j / (levels + 1) for j in range(1, levels + 1)]

    def pull(g: float) -> float:
        h, total = state_gain(path, t, s, g), 0.0
        for tau in taus:
            r, beta = interval_level(path, s, tau)
            alpha, sigma = float(path.alpha(tau)), float(path.sigma(tau))
            slope = r * g * h * v / (r**2 * h**2 * v + beta**2)  # of E[x0hat | x_tau]
            total += r**2 * (alpha * slope - 1 + sigma**2 / (alpha**2 * c + sigma**2))
        return total

    # negative where h = 0, positive for large g: alpha slope -> 1 / (1 - rho_s / rho_t) > 1
    low = -ending(path, s)[1] / float(path.sigma(t)) / step_gain(path, t, s)
    high = 1.0 + abs(low)
    while pull(high) < 0:
        high *= 2
    found: Any = brentq(pull, low, high, xtol=1e-15)
    return float(found)


def _variance(c: float, path: Path, s: float | int) -> float:
    alpha, sigma = ending(path, s) if s == 0 else (float(path.alpha(s)), float(path.sigma(s)))
    return alpha**2 * c + sigma**2


def _positive(where: str, name: str, value: float | int) -> float:
    out = number(where, name, value, 0.0)
    if out == 0:
        raise fail(where, name, "above 0", value)
    return out
