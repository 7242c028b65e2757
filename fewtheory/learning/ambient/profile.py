"""Least squares of a scaling law, and the profile of one of its parameters.

Parameters are theta = (log A, b, floor, w_1, ...) in the units of the table: a typical size of runs
and the least error. `scaling` says what they mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np

LEAST = 1e-12  # of a worth: a run without clean samples has an effective size
SOME = 1e6  # a worth that no run can tell from an infinite one
EXACT = 1e-12  # a scatter of the logarithm that is rounding


@dataclass(frozen=True, eq=False)
class Table:
    """The runs; n_unit, unit: their typical size and the least error."""

    log_error: np.ndarray
    n_clean: np.ndarray
    n_noisy: np.ndarray
    member: np.ndarray  # (n, groups), 1 where a run has noisy samples of the group
    n_unit: float
    unit: float

    def law(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log error (n,) and its derivatives (n, p) at theta = (log A, b, floor, w_1, ...)."""
        g, b, f, w = theta[0], theta[1], theta[2], theta[3:]
        noisy = self.member * (self.n_noisy / self.n_unit)[:, None]
        u = self.n_clean / self.n_unit + noisy @ w
        P = np.exp(g) * u**-b
        m = f + P
        slopes = [P / m, -P * np.log(u) / m, 1 / m]
        J = np.column_stack([*slopes, -(b * P / (u * m))[:, None] * noisy])
        return np.log(m) + math.log(self.unit), J


def solved(table: Table, theta: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The parameters with the least residuals, those that are not free as they are.

    Gauss and Newton's steps while they descend inside the bounds; else SciPy's trust region.
    """
    low = np.array([-40.0, -10.0, 0.0, *[LEAST] * (theta.size - 3)])
    high = np.array([40.0, 10.0, 1 - 1e-9, *[SOME] * (theta.size - 3)])
    theta, rss = theta.copy(), residual_square(table, theta)
    for _ in range(25):
        value, J = table.law(theta)
        step = np.linalg.lstsq(J[:, free], table.log_error - value, rcond=None)[0]
        after = theta.copy()
        after[free] += step
        inside = np.all((after >= low) & (after <= high) | ~free)
        reached = residual_square(table, after) if inside else math.inf
        if not reached <= rss * (1 + 1e-12) + 1e-28:
            return _within_bounds(table, theta, free, low, high)
        theta, rss = after, reached
        if np.all(np.abs(step) <= 1e-8 * (1e-3 + np.abs(after[free]))):
            return theta
    return _within_bounds(table, theta, free, low, high)


def _within_bounds(
    table: Table, theta: np.ndarray, free: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    from scipy.optimize import least_squares

    start = np.clip(theta, low + 1e-10, high - 1e-10)[free]
    residuals, slopes = (partial(f, table, theta, free) for f in (_residuals, _slopes))
    tight: Any = {"x_scale": "jac", "xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12}
    found = least_squares(
        residuals, start, jac=cast(Any, slopes), bounds=(low[free], high[free]), **tight
    )
    return _moved(theta, free, found.x)


def _moved(theta: np.ndarray, free: np.ndarray, moving: np.ndarray) -> np.ndarray:
    out = theta.copy()
    out[free] = moving
    return out


def _residuals(table: Table, full: np.ndarray, free: np.ndarray, moving: np.ndarray) -> np.ndarray:
    return table.law(_moved(full, free, moving))[0] - table.log_error


def _slopes(table: Table, full: np.ndarray, free: np.ndarray, moving: np.ndarray) -> np.ndarray:
    return table.law(_moved(full, free, moving))[1][:, free]


def told(worth: float) -> float:
    """A worth, 0 or infinite at the ends of what the fit distinguishes."""
    return 0.0 if worth < 2 * LEAST else math.inf if worth > SOME / 2 else worth


def residual_square(table: Table, theta: np.ndarray) -> float:
    """The sum of the squared residuals."""
    return float(np.sum((table.law(theta)[0] - table.log_error) ** 2))


class _Profile:
    """The signed root of the profile of one parameter, less its limit: nearly linear."""

    def __init__(
        self, table: Table, theta: np.ndarray, free: np.ndarray, k: int, limit: float
    ) -> None:
        self.table, self.best, self.k, self.limit = table, residual_square(table, theta), k, limit
        self.theta, self.rest = theta, free & (np.arange(free.size) != k)

    def __call__(self, value: float) -> float:
        at = self.theta.copy()
        at[self.k] = value
        self.theta = solved(self.table, at, self.rest)  # the next one starts from here
        return math.sqrt(max(residual_square(self.table, self.theta) - self.best, 0.0)) - self.limit


def profile_interval(
    table: Table, theta: np.ndarray, free: np.ndarray, k: int, level: float, freedom: int
) -> tuple[float, float]:
    """Where the profile of parameter k crosses its limit, on both sides."""
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    best, edges = float(theta[k]), {1: (-10.0, 10.0), 2: (0.0, 1 - 1e-9)}.get(k, (LEAST, SOME))
    t, J = float(stdtrit(freedom, 0.5 * (1 + level))), table.law(theta)[1][:, free]
    tau = math.sqrt(residual_square(table, theta) / freedom)
    if tau < EXACT:  # a table without scatter
        return best, best
    covariance = np.linalg.pinv(J.T @ J)
    place = int(np.sum(free[:k]))
    step = max(t * tau * math.sqrt(covariance[place, place]), 1e-9 * abs(theta[k]))
    ends: list[float] = []
    for side, edge in zip((-1.0, 1.0), edges, strict=True):
        above, near, width = _Profile(table, theta, free, k, t * tau), best, step
        while True:  # brackets the crossing, then finds it
            far = best + side * min(width, abs(edge - best))
            if above(far) >= 0:
                found: Any = brentq(above, near, far, xtol=1e-4 * step, rtol=np.float64(1e-5))
                ends.append(float(found))
                break
            if width >= abs(edge - best):
                ends.append(edge)
                break
            near, width = far, 2 * width
    return (told(ends[0]), told(ends[1])) if k > 2 else (ends[0], ends[1])
