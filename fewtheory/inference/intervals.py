"""Intervals for ratios of sums over tasks: the sampling unit is the task, not the attempt.

An average over tasks is sum x / sum 1; a pooled precision is sum tp / sum (tp + fp). The jackknife
takes the spread of each task's influence; a probability's interval is symmetric in log odds, where
its distribution is closer to a normal one. The bootstrap draws tasks and studentises in log odds.
Measured at level 0.95: 0.94 to 0.955 with 150 tasks, 0.93 to 0.965 with 30; but 0.91 with 30 tasks
of which one or two alone are ever solved, where no interval can know what it has not seen.

Source: sheet `inference-flaws`, "Real models".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Rng, check_rng
from ..errors import fail, integer, number, one_of
from ..testbeds.clips import _host_rng

HOW = ("jackknife", "bootstrap")


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
    """How intervals are made: level; "jackknife", or "bootstrap" with its resamples and rng."""

    level: float | int = 0.95
    how: str = "jackknife"
    resamples: int = 1999
    rng: Rng = None

    def __post_init__(self) -> None:
        number("Uncertainty", "level", self.level, 0.0, 1.0)
        if not 0 < self.level < 1:
            raise fail("Uncertainty", "level", "between 0 and 1", self.level)
        one_of("Uncertainty", "how", self.how, HOW)
        integer("Uncertainty", "resamples", self.resamples, 99)
        if self.how == "bootstrap":
            check_rng("Uncertainty", self.rng)


def probability_interval(
    x: Any, y: Any = None, weight: Any = None, *, by: Uncertainty | None = None
) -> Interval:
    """sum x / sum y over tasks, where 0 <= x <= y, with its interval.

    x, y: (tasks,); y: None for ones (the mean over tasks). weight: how many tasks each row stands
    for. Where the ratio is 0 or 1, the interval ends where so clean a sample has probability
    (1 - level) / 2: at 1 - ((1 - level) / 2)^{1 / tasks} for 0 <= x <= 1. Raises ValueError by
    name, also without a task with y > 0.

    >>> probability_interval(np.array([0.2, 0.4, 0.9, 0.7])).value
    0.55
    """
    by = by or Uncertainty()
    x, y, w = _rows("probability_interval", x, y, weight)
    if np.any(x < 0) or np.any(x > y * (1 + 1e-12)):
        raise fail("probability_interval", "x", "between 0 and y", x)
    tasks, R = float(w.sum()), float((w @ x) / (w @ y))
    R = min(R, 1.0)
    tail = (1 - by.level) / 2
    entering = float(w[y > 0].sum())
    if R in (0.0, 1.0) or tasks < 2:
        reach = 1 - tail ** (1 / entering)
        low, high = (R, reach) if R == 0 else (1 - reach, R) if R == 1 else (0.0, 1.0)
        return Interval(R, low, high, float(by.level))
    odds, spread = R * (1 - R), _deviation(x, y, w, R)
    down, up = _quantiles(x, y, w, R, by)
    centre = math.log(R / (1 - R))
    low, high = (_expit(centre - q * spread / odds) for q in (up, down))
    return Interval(R, low, high, float(by.level))


def contrast_interval(terms: Any, weight: Any = None, *, by: Uncertainty | None = None) -> Interval:
    """sum_j c_j (sum x_j / sum y_j), e.g. a utility or a difference of two shares, by jackknife.

    terms: (c_j, x_j, y_j), y_j None for ones; all ratios are of the same tasks, whose influences
    add up, so that what they share cancels.

    >>> x = np.array([1.0, 2.0, 4.0])
    >>> contrast_interval([(2.0, x, None), (-1.0, x, None)]).value.__round__(6)
    2.333333
    """
    by = by or Uncertainty()
    value, influence, w = 0.0, 0.0, np.ones(0)
    for c, x, y in terms:
        x, y, w = _rows("contrast_interval", x, y, weight)
        R = float((w @ x) / (w @ y))
        value += c * R
        influence = influence + c * (x - R * y) * (w.sum() / (w @ y))
    tasks = float(w.sum())
    if tasks < 2:
        return Interval(value, -math.inf, math.inf, float(by.level))
    spread = math.sqrt(float(w @ np.square(influence)) / (tasks * (tasks - 1)))
    reach = _t(by.level, tasks) * spread
    return Interval(value, value - reach, value + reach, float(by.level))


def _rows(where: str, x: Any, y: Any, weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.asarray(x, dtype=np.float64)
    y = np.ones_like(x) if y is None else np.asarray(y, dtype=np.float64)
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
    if x.ndim != 1 or y.shape != x.shape or w.shape != x.shape or not np.all(np.isfinite(x)):
        raise fail(where, "x", "finite, of shape (tasks,) like y and weight", x)
    if np.any(w < 0) or np.any(y < 0) or not float(w @ y) > 0:
        raise fail(where, "y", "not negative, and positive for a task", y)
    return x, y, w


def _deviation(x: np.ndarray, y: np.ndarray, w: np.ndarray, R: float) -> float:
    """The standard error of sum x / sum y over tasks."""
    tasks, share = float(w.sum()), float(w @ y)
    return math.sqrt(float(w @ np.square(x - R * y)) * tasks / (tasks - 1)) / share


def _t(level: float, tasks: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(tasks - 1, (1 + level) / 2))


def _quantiles(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, R: float, by: Uncertainty
) -> tuple[float, float]:
    """The quantiles of the studentised log odds: Student's, or those of resampled tasks."""
    if by.how == "jackknife":
        reach = _t(by.level, float(w.sum()))
        return -reach, reach
    host, tasks = _host_rng(by.rng), int(w.sum())
    found, block = [], max(1, 4_000_000 // len(x))
    for start in range(0, by.resamples, block):
        drawn = host.multinomial(tasks, w / tasks, size=min(block, by.resamples - start))
        sx, sy = drawn @ x, drawn @ y
        with np.errstate(all="ignore"):  # a resample with one value alone has no spread
            S = sx / sy
            square = drawn @ (x * x) - 2 * S * (drawn @ (x * y)) + S * S * (drawn @ (y * y))
            scale = np.sqrt(np.maximum(square, 0) * tasks / (tasks - 1)) / sy / (S * (1 - S))
            found.append((np.log(S / (1 - S)) - math.log(R / (1 - R))) / scale)
    t = np.concatenate(found)
    t = np.sort(t[~np.isnan(t)])
    edge = (1 - by.level) / 2
    pick = np.clip([edge * (len(t) + 1) - 1, (1 - edge) * (len(t) + 1) - 1], 0, len(t) - 1)
    return float(t[math.floor(pick[0])]), float(t[math.ceil(pick[1])])


def _expit(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z > -700 else 0.0
