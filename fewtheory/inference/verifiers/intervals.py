"""Intervals for ratios of sums over tasks: the sampling unit is the task, not the attempt.

An average over tasks is sum x / sum 1; a pooled precision is sum tp / sum (tp + fp). What a sample
cannot tell is the task that it lacks: with 30 tasks of which one is solved, or with shares that are
all but 0, no standard error measured on them knows what the next task may do. So the tasks are
drawn again with random weights (the Bayesian bootstrap, weights proportional to exponentials)
together with one task more, the best or the worst that there could be:

    upper limit: the r with P( (sum G_i x_i + G) / (sum G_i y_i + G) > r ) = tail,
    lower limit: the r with P(  sum G_i x_i      / (sum G_i y_i + G) > r ) = 1 - tail

For x in {0, 1} these are Clopper and Pearson's limits, and like them they are thought to cover at
least at their level for every law (Gaffke's conjecture, proved for two values). The default takes
the mean of both probabilities in both places, the mid-p interval: at its level where tasks are many
or their outcomes common, above it where they are few or rare. Measured at level .95 for 14 numbers
in eight worlds with 30, 150 and 1000 tasks, a standard error of .003 to .005 each: .939 to 1, the
least of 336; "sure" .945 to 1. A standard error of the tasks seen, in log odds: .36 to .97.

Source: sheet `inference-flaws`, "Real models"; Gaffke 2005, Learned-Miller and Thomas 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...errors import fail, number, one_of

HOW = ("mid", "sure")


@dataclass(frozen=True)
class Interval:
    """A value with the limits between which the truth lies with probability `level`.

    >>> Interval(0.5, 0.4, 0.6, 0.95).covers(0.45)
    True
    """

    value: float
    low: float
    high: float
    level: float

    def covers(self, truth: float | int) -> bool:
        """Whether the truth lies in it."""
        return bool(self.low <= truth <= self.high)

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Uncertainty:
    """How intervals are made: level; "mid", close to the level, or "sure", not below it."""

    level: float | int = 0.95
    how: str = "mid"

    def __post_init__(self) -> None:
        number("Uncertainty", "level", self.level, 0.0, 1.0)
        if not 0 < self.level < 1:
            raise fail("Uncertainty", "level", "between 0 and 1", self.level)
        one_of("Uncertainty", "how", self.how, HOW)


def probability_interval(
    x: Any, y: Any = None, weight: Any = None, *, by: Uncertainty | None = None
) -> Interval:
    """sum x / sum y over tasks, where 0 <= x <= y <= 1, with its interval.

    x, y: (tasks,); y: None for ones (the mean over tasks). weight: how many tasks each row stands
    for. Probabilities of weighted sums are Lugannani and Rice's. Raises ValueError by name, also
    without a task with y > 0.

    >>> print(probability_interval(np.array([0.2, 0.4, 0.9, 0.7])))
    0.5500 [0.2227, 0.8345]
    """
    by = by or Uncertainty()
    x, y, w = _rows("probability_interval", x, y, weight)
    x, y, w = x[y > 0], y[y > 0], w[y > 0]
    R = min(float((w @ x) / (w @ y)), 1.0)
    low, high = _limits(x, y, w, R, by)
    return Interval(R, min(low, R), max(high, R), float(by.level))


def contrast_interval(terms: Any, weight: Any = None, *, by: Uncertainty | None = None) -> Interval:
    """sum_j c_j (sum x_j / sum y_j), e.g. a difference of two shares, by its tasks' influences.

    terms: (c_j, x_j, y_j), 0 <= x_j <= y_j <= 1, y_j None for ones; all ratios are of the same
    tasks, whose influences add up. The interval is that of a mean of them; the task more has every
    share at its best, or at its worst. Raises ValueError by name.

    >>> x = np.array([0.1, 0.2, 0.4])
    >>> contrast_interval([(2.0, x, None), (-1.0, x, None)]).value.__round__(6)
    0.233333
    """
    by = by or Uncertainty()
    value, influence, worst, best, w = 0.0, 0.0, 0.0, 0.0, np.ones(0)
    for c, x, y in terms:
        x, y, w = _rows("contrast_interval", x, y, weight)
        R, share = float((w @ x) / (w @ y)), float(w @ y) / float(w.sum())
        value += c * R
        influence = influence + c * (x - R * y) / share
        ends = sorted((c * (1 - R) / share, -c * R / share))
        worst, best = worst + ends[0], best + ends[1]
    span = best - worst
    if span == 0:
        raise fail("contrast_interval", "terms", "with a coefficient that is not 0", terms)
    scaled = np.clip((influence - worst) / span, 0.0, 1.0)
    at = min(max(-worst / span, 0.0), 1.0)
    low, high = (value + worst + span * v for v in _limits(scaled, np.ones_like(scaled), w, at, by))
    return Interval(value, min(low, value), max(high, value), float(by.level))


def _rows(where: str, x: Any, y: Any, weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.asarray(x, dtype=np.float64)
    y = np.ones_like(x) if y is None else np.asarray(y, dtype=np.float64)
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
    if x.ndim != 1 or y.shape != x.shape or w.shape != x.shape or not np.all(np.isfinite(x)):
        raise fail(where, "x", "finite, of shape (tasks,) like y and weight", x)
    if np.any(w < 0) or np.any(y < 0) or np.any(y > 1) or not float(w @ y) > 0:
        raise fail(where, "y", "between 0 and 1, and positive for a task", y)
    if np.any(x < 0) or np.any(x > y * (1 + 1e-12)):
        raise fail(where, "x", "between 0 and y", x)
    return x[w > 0], y[w > 0], w[w > 0]


def _limits(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, R: float, by: Uncertainty
) -> tuple[float, float]:
    """The limits of sum x / sum y in [0, 1]."""
    x, y, w = np.append(x, 0.0), np.append(y, 1.0), np.append(w, 1.0)
    tail = (1 - by.level) / 2
    below, above = ((0.0, 1.0),) * 2 if by.how == "mid" else ((0.0,), (1.0,))
    tasks = float(w.sum())
    centre = min(max(R, 0.5 / tasks), 1 - 0.5 / tasks)
    spread = math.sqrt(float(w @ np.square(x - R * y))) / float(w @ y) / (centre * (1 - centre))
    start = math.log(centre / (1 - centre)), max(spread, 1 / tasks)
    some, spare = bool(np.any(x > 0)), bool(np.any(x[:-1] < y[:-1]))
    # at r = 0 and r = 1 the chance is 0 or 1 for each last task
    low, high = 0.0, 1.0
    if sum(some or last > 0 for last in below) / len(below) > 1 - tail:
        low = _crossing(partial(_chance, x, y, w, below), 1 - tail, *start)
    if sum(not spare and last > 0 for last in above) / len(above) < tail:
        high = _crossing(partial(_chance, x, y, w, above), tail, *start)
    return low, high


def _chance(x: np.ndarray, y: np.ndarray, w: np.ndarray, more: tuple, r: float) -> float:
    """P(sum G (x - r y) > 0), the mean over what the last task may be."""
    total = 0.0
    z = x - r * y
    for last in more:
        z[-1] = last - r
        total += positive_chance(z, w)
    return total / len(more)


def positive_chance(z: Any, w: Any) -> float:
    """P(sum_i G_i z_i > 0), G_i ~ Gamma(w_i): Lugannani and Rice's tail of the saddlepoint t,

        K(t) = -sum w log(1 - t z),  K'(t) = 0,  a = sign(t) sqrt(-2 K),  b = t sqrt(K''),
        P = 1 - Phi(a) + phi(a) (1 / b - 1 / a)

    z, w > 0: (n,). Off by up to 4% of the tail where one term alone decides, less the more there
    are. Raises ValueError by name.

    >>> round(positive_chance(np.array([1.0, -1.0]), np.array([2.0, 2.0])), 3)
    0.5
    """
    z, w = np.asarray(z, dtype=np.float64), np.asarray(w, dtype=np.float64)
    if z.ndim != 1 or w.shape != z.shape or not np.all(w > 0):
        raise fail("positive_chance", "w", "positive, of the shape (n,) of z", w)
    least, most = float(z.min()), float(z.max())
    if least >= 0 or most <= 0:
        return float(most > 0)
    low, high, t = 1 / least, 1 / most, 0.0
    for _ in range(200):
        q = z / (1 - t * z)
        slope, curvature = float(w @ q), float(w @ (q * q))
        low, high = (t, high) if slope < 0 else (low, t)
        step = t - slope / curvature
        step = step if low < step < high else (low + high) / 2
        done = abs(step - t) * math.sqrt(curvature) < 1e-7
        t = step
        if done:
            break
    q = z / (1 - t * z)
    a = math.copysign(math.sqrt(max(2 * float(w @ np.log1p(-t * z)), 0.0)), t)
    b = t * math.sqrt(float(w @ (q * q)))
    if abs(a) < 1e-3:  # 1 / b - 1 / a loses its digits: its limit
        skew = 2 * float(w @ z**3) / float(w @ z**2) ** 1.5
        return 0.5 - skew / (6 * math.sqrt(2 * math.pi)) - a / math.sqrt(2 * math.pi)
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    tail = 0.5 * math.erfc(a / math.sqrt(2)) + density * (1 / b - 1 / a)
    return min(max(tail, 0.0), 1.0)


def _crossing(
    chance: Callable[[float], float], target: float, centre: float, spread: float
) -> float:
    """The r in (0, 1) at which a chance that falls from 1 to 0 is the target.

    In log odds of r and in normal quantiles of the chance, where the curve is nearly the line
    (centre - logit r) / spread.
    """
    low, high, aim, slope = -50.0, 50.0, _normal_quantile(target), -1 / spread
    at = min(max(centre - aim * spread, -40.0), 40.0)
    before: tuple[float, float] | None = None
    for _ in range(200):
        gap = _normal_quantile(chance(1 / (1 + math.exp(-at)))) - aim
        low, high = (at, high) if gap > 0 else (low, at)
        if before is not None and at != before[0]:
            slope = (gap - before[1]) / (at - before[0])
        before = (at, gap)
        step = at - gap / slope if slope < 0 else math.inf
        step = step if low < step < high else (max(low, at - 2) + min(high, at + 2)) / 2
        if abs(step - at) < 1e-6:
            break
        at = step
    return 1 / (1 + math.exp(-at))


def _normal_quantile(p: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(min(max(p, 1e-300), 1 - 1e-16)))
