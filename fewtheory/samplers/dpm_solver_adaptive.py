"""DPM-Solver++ with adaptive step size: its levels depend on the data, so it is not a plan.

Each step is taken twice from shared evaluations, at order p and p - 1; their difference, per
sample and relative to the state, accepts the step and sets the next h. Sheet `dpm-solver-pp`,
"Adaptive 12/23". The formulas are the plan's own (`dpm_solver_pp.py`), on arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..arrays import Array
from ..errors import fail, integer, number, one_of, state
from ..model import Model
from ..plan.grids import Point, point
from .dpm_solver_pp import Rule, first, singlestep_2, singlestep_3, stage_2


@dataclass(frozen=True, eq=False)
class AdaptiveResult:
    """The sample at the last level, and what it cost."""

    x: Array
    success: bool
    status: str
    nfe: int
    accepted: int
    rejected: int
    lam: tuple[float, ...]


def dpm_solver_adaptive(
    model: Model,
    x: Array,
    order: int = 3,
    *,
    prediction: str = "data",
    solver_type: str = "midpoint",
    start: float | None = None,
    end: float | None = None,
    h_init: float = 0.05,
    atol: float = 0.0078,
    rtol: float = 0.05,
    theta: float = 0.9,
    max_nfe: int = 10_000,
    **cond: Any,
) -> AdaptiveResult:
    """Integrate from `start` to `end` (times; the path's ends by default) with error control.

    E = max over samples of rms((x_high - x_low) / max(atol, rtol max(|x_low|, |x_prev|))); a step
    is accepted if E <= 1, then h <- min(theta h E^{-1/order}, what is left). order 2 pairs 1 with
    2S, order 3 pairs 2S with 3S at r = (1/3, 2/3).
    Raises ValueError for values outside their range; a run that meets max_nfe reports it.
    """
    where = "dpm_solver_adaptive"
    xp = state(where, "x", x)
    if not isinstance(model, Model):
        raise TypeError(f"{where}: model must be a fewtheory Model, got {type(model).__name__}")
    if not bool(xp.all(xp.isfinite(x))):
        raise fail(where, "x", "finite", x)
    integer(where, "order", order, 2, 3)
    integer(where, "max_nfe", max_nfe, order)
    one_of(where, "prediction", prediction, ("data", "noise"))
    one_of(where, "solver_type", solver_type, ("midpoint", "taylor"))
    for name, value in {"h_init": h_init, "atol": atol, "rtol": rtol, "theta": theta}.items():
        number(where, name, value, 1e-12)
    path, rule = model.path, Rule(prediction, solver_type)
    t0 = path.start if start is None else number(where, "start", start, path.t_min, path.t_max)
    t1 = path.end if end is None else number(where, "end", end, path.t_min, path.t_max)
    lam, last = path.lam(t0), path.lam(t1)
    if not -math.inf < lam < last < math.inf:
        raise fail(where, "start", f"above end = {t1:g}, both at finite log-SNR", t0)
    predict = model.predicting(prediction)
    previous, h, nfe, accepted, levels, rejected = x, h_init, 0, 0, [lam], 0
    while last - lam > 1e-12 * max(1.0, abs(last)) and nfe + order <= max_nfe:
        h = min(h, last - lam)
        s, t = point(path, lam), point(path, lam + h if h < last - lam else last)
        low, high = _pair(predict, x, s, t, order, rule, cond)
        nfe += order
        scale = xp.clip(rtol * xp.maximum(xp.abs(low), xp.abs(previous)), min=atol)
        ratio = xp.reshape((high - low) / scale, (x.shape[0], -1))
        error = float(xp.max(xp.sqrt(xp.mean(ratio**2, axis=1))))
        if error <= 1.0:
            x, previous, lam, accepted = high, low, t.lam, accepted + 1
            levels.append(lam)
        else:
            rejected += 1
        h = theta * h * max(error, 1e-10) ** (-1 / order)
    done = last - lam <= 1e-12 * max(1.0, abs(last))
    status = "reached the end" if done else f"stopped at lam = {lam:g} after {nfe} evaluations"
    return AdaptiveResult(x, done, status, nfe, accepted, rejected, tuple(levels))


def _pair(
    predict: Model, x: Array, s: Point, t: Point, order: int, rule: Rule, cond: dict[str, Any]
) -> tuple[Array, Array]:
    """(the step of order - 1, the step of this order) from shared evaluations."""

    def at(u: Array, level: Point) -> Array:
        return predict.function(u, level.t, **{**predict.cond, **cond})

    m0, h = at(x, s), t.lam - s.lam
    s1 = point(predict.path, s.lam + h / order)
    m1 = at(first(x, m0, s, s1, rule), s1)
    if order == 2:
        return first(x, m0, s, t, rule), singlestep_2(x, m0, m1, s, s1, t, rule)
    s2 = point(predict.path, s.lam + 2 * h / 3)
    m2 = at(stage_2(x, m0, m1, s, s1, s2, rule), s2)
    low = singlestep_2(x, m0, m1, s, s1, t, rule)
    return low, singlestep_3(x, (m0, m1, m2), (s, s1, s2), t, rule)
