"""Scaling laws from a table of runs: how an error falls, and how many clean samples a noisy one is.

    log error = log(floor + A n_eff^(-b)) + tau z,    n_eff = n_clean + w_g n_noisy,

one worth w for each group of runs (a noise level), z normal: the scatter of a training is a factor.
1 / w is the price: noisy samples for one clean. A single w is a summary: where clean samples are
few, theory has a floor that no number of noisy ones lowers (sheet `ambient-scaling`, M7), and the
worth of the last noisy sample is below that of the first.
Daras, Cherapanamjeri, Daskalakis (arXiv 2411.02780) fit such laws to 80 models; intervals are ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...errors import fail, finite_array, number
from .profile import Table, profile_interval, residual_square, solved, told


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; an end that the data do not bound is 0 or inf."""

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """The median error of a run, its confidence interval, and the interval for one new run."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    new_low: np.ndarray
    new_high: np.ndarray
    level: float


@dataclass(frozen=True, eq=False)
class ScalingFit:
    """A fitted law. amplitude: A; exponent: b; floor; worth: w by group; scatter: tau, of the log
    of one run's error; freedom: runs less parameters."""

    amplitude: float
    exponent: float
    floor: float
    worth: dict[Hashable, float]
    scatter: float
    freedom: int
    _theta: np.ndarray
    _free: np.ndarray
    _table: Table

    def interval(self, what: str, group: Hashable = None, level: float | int = 0.95) -> Interval:
        """The profile-likelihood interval of "exponent", "floor", "worth" or "price" (of a group).

        All values v for which the residual sum of squares, the other parameters fitted anew, is at
        most RSS (1 + t^2 / freedom), t the quantile of Student's law: exact for laws that are
        linear in the parameter, and not symmetric where they are not.
        """
        where = "ScalingFit.interval"
        level = _level_of(where, level)
        if what == "price":
            w = self.interval("worth", group, level)
            return Interval(_inverse(w.value), _inverse(w.high), _inverse(w.low), level)
        k = self._place(where, what, group)
        scale = self._table.unit if what == "floor" else 1.0
        low, high = profile_interval(self._table, self._theta, self._free, k, level, self.freedom)
        value = told(float(self._theta[k])) if k > 2 else float(self._theta[k])
        return Interval(value * scale, low * scale, high * scale, level)

    def effective_size(self, n_clean: Any, n_noisy: Any, group: Hashable = None) -> np.ndarray:
        """n_clean + w n_noisy, of a group where n_noisy is not 0."""
        n2 = finite_array("ScalingFit.effective_size", "n_noisy", n_noisy)
        w = self._worth("ScalingFit.effective_size", group) if np.any(n2 > 0) else 0.0
        return finite_array("ScalingFit.effective_size", "n_clean", n_clean) + w * n2

    def predict(
        self, n_clean: Any, n_noisy: Any = 0, group: Hashable = None, level: float | int = 0.95
    ) -> Prediction:
        """The error of runs of these sizes (m,), by the delta method (the law linearised).

        Raises ValueError or TypeError by name.
        """
        where = "ScalingFit.predict"
        level = _level_of(where, level)
        n1, n2 = (
            np.atleast_1d(finite_array(where, name, v))
            for name, v in (("n_clean", n_clean), ("n_noisy", n_noisy))
        )
        n1, n2 = np.broadcast_arrays(n1, n2)
        if np.any(n1 < 0) or np.any(n2 < 0) or np.any(n1 + n2 <= 0):
            raise fail(where, "n_clean", "sizes of at least one sample", (n_clean, n_noisy))
        if np.any(n2 > 0):
            self._worth(where, group)
        groups = list(self.worth)
        member = np.array([[float(group == g and v > 0) for g in groups] for v in n2])
        table = self._table
        asked = Table(n1, n1, n2, member.reshape(n1.size, -1), table.n_unit, table.unit)
        value, J = asked.law(self._theta)
        frame = _linearised(table, self._theta, self._free).get_prediction(J[:, self._free])
        frame = frame.summary_frame(alpha=1 - level)
        moved = value - frame["mean"].to_numpy()  # the linear law at theta is the law there
        ends = [np.exp(frame[c].to_numpy() + moved) for c in COLUMNS]
        return Prediction(np.exp(value), *ends, level=level)

    def _worth(self, where: str, group: Hashable) -> float:
        if group not in self.worth:
            raise fail(where, "group", f"one of {list(self.worth)}", group)
        return self.worth[group]

    def _place(self, where: str, what: str, group: Hashable) -> int:
        """The parameter's place."""
        if what == "worth":
            self._worth(where, group)
            return 3 + list(self.worth).index(group)
        if what not in ("exponent", "floor"):
            raise fail(where, "what", "'exponent', 'floor', 'worth' or 'price'", what)
        if what == "floor" and not self._free[2]:
            raise fail(where, "what", "of what was fitted: the floor was given", what)
        return 1 if what == "exponent" else 2


def _inverse(worth: float) -> float:
    return 1 / worth if worth > 0 else math.inf


COLUMNS = ("mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper")


def scaling_law(
    n_clean: Sequence[float] | np.ndarray,
    n_noisy: Sequence[float] | np.ndarray,
    error: Sequence[float] | np.ndarray,
    *,
    group: Sequence[Hashable] | None = None,
    floor: float | int | None = None,
) -> ScalingFit:
    """Least squares of log error on log(floor + A (n_clean + w n_noisy)^(-b)).

    n_clean, n_noisy (n,): the sizes of each run, not negative, one positive; error (n,): positive;
    group: the noise level of each run's noisy samples (any label; one for all by default); floor:
    known, or None, and then fitted in [0, least error). Each group needs runs of its own, and there
    must be more runs than parameters. Raises ValueError or TypeError by name.

    >>> n1, n2 = np.array([100, 200, 400, 800, 100, 100]), np.array([0, 0, 0, 0, 300, 1500])
    >>> fit = scaling_law(n1, n2, 5.0 * (n1 + 0.5 * n2) ** -0.8, floor=0.0)
    >>> round(fit.exponent, 6), round(fit.worth[None], 6)
    (0.8, 0.5)
    """
    table, groups = _table_of(n_clean, n_noisy, error, group, floor)
    free = np.ones(3 + len(groups), dtype=bool)
    free[2] = floor is None
    if table.log_error.size <= free.sum():
        allowed = f"of more runs than the {free.sum()} parameters"
        raise fail("scaling_law", "error", allowed, table.log_error.size)
    floors = (0.0, 0.7) if floor is None else (floor / table.unit,)
    guesses = itertools.product((0.3, 1.0), floors, (0.1, 1.0))  # b, floor, w
    found = [solved(table, _start(table, len(groups), *guess), free) for guess in guesses]
    theta = min(found, key=partial(residual_square, table))
    freedom = int(table.log_error.size - free.sum())
    A = math.exp(theta[0]) * table.unit * table.n_unit ** theta[1]
    return ScalingFit(
        amplitude=A,
        exponent=float(theta[1]),
        floor=float(theta[2]) * table.unit,
        worth={g: told(w) for g, w in zip(groups, theta[3:].tolist(), strict=True)},
        scatter=math.sqrt(residual_square(table, theta) / freedom),
        freedom=freedom,
        _theta=theta,
        _free=free,
        _table=table,
    )


def _table_of(
    n_clean: Any, n_noisy: Any, error: Any, group: Any, floor: Any
) -> tuple[Table, list[Hashable]]:
    where = "scaling_law"
    n1, n2, e = (
        finite_array(where, name, value)
        for name, value in (("n_clean", n_clean), ("n_noisy", n_noisy), ("error", error))
    )
    if e.ndim != 1 or e.size == 0 or np.any(e <= 0):
        raise fail(where, "error", "positive, one a run", error)
    for name, value in (("n_clean", n1), ("n_noisy", n2)):
        if value.shape != e.shape or np.any(value < 0):
            raise fail(where, name, f"not negative, of shape {e.shape}", value)
    if np.any(n1 + n2 <= 0):
        raise fail(where, "n_clean", "with n_noisy at least one sample a run", n_clean)
    labels: list[Hashable] = [None] * e.size if group is None else list(group)
    if len(labels) != e.size:
        raise fail(where, "group", f"of {e.size} labels, one a run", group)
    if not np.any(n1 > 0):
        raise fail(where, "n_clean", "positive in some run: a worth is in clean samples", n_clean)
    if floor is not None:
        floor = number(where, "floor", floor, 0.0)
        if floor >= e.min():
            raise fail(where, "floor", f"below the least error, {e.min():g}", floor)
    groups = list(dict.fromkeys(g for g, v in zip(labels, n2, strict=True) if v > 0))
    member = np.array(
        [[float(g == one and v > 0) for one in groups] for g, v in zip(labels, n2, strict=True)]
    )
    unit, n_unit = float(e.min()), float(np.exp(np.mean(np.log(n1 + n2))))
    return Table(np.log(e), n1, n2, member.reshape(e.size, -1), n_unit, unit), groups


def _start(table: Table, groups: int, b: float, f: float, w: float) -> np.ndarray:
    """A first guess: the amplitude is that of the mean."""
    theta = np.array([0.0, b, f, *[w] * groups])
    theta[0] = np.mean(table.log_error) - math.log(table.unit)
    return theta


def _linearised(table: Table, theta: np.ndarray, free: np.ndarray) -> Any:
    """statsmodels' regression of the residuals on the law's slopes at theta."""
    from statsmodels.regression.linear_model import OLS

    value, J = table.law(theta)
    J = J[:, free]
    return OLS(table.log_error - value + J @ theta[free], J).fit()


def _level_of(where: str, level: Any) -> float:
    if not 0 < number(where, "level", level, 0.0, 1.0) < 1:
        raise fail(where, "level", "in (0, 1)", level)
    return float(level)
