"""The order of the rule that a sampler repeats: by its coefficients, and by what it does.

A named order is a promise about the step that recurs. So the nodes of the first quarter of a run
are put on the exact solution (no warm-up counts) and the error is taken at nine tenths of it (no
last step counts), for a number of steps, its double and its quadruple. The algebra decides from the
coefficients (`plan.order`), the measurement from a bimodal law whose flow map is exact. Stochastic
samplers have a weak order instead, that of the mean and the variance on Gaussian data, which are
exact too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..plan import Plan
from ..plan.order import defects, weak_defects
from .outcome import flow_error
from .recovered import Recovered
from .rule import Rule

GENTLE = {"gentle": (0.4 + 0.3j, -0.3 + 0.4j, 0.5j)}  # asymptotic at a scheduler's own step sizes
APART = 1.2  # of two slopes of a law's errors
QUARTER, HALF, NINE_TENTHS = 0.25, 0.5, 0.9


@dataclass(frozen=True)
class MeasuredOrder:
    """Orders of the recurring rule. algebra: an integer; measured: the slope; kind "ode" or "weak".

    slopes: the smallest slope of each measure of the algebra; errors: the measured ones at these
    numbers of steps, root mean squares in units of x_0.
    """

    algebra: int
    measured: float
    kind: str
    slopes: dict[str, float]
    steps: tuple[int, ...]
    errors: tuple[float, ...]


def rule_order(runs: Sequence[Recovered], at_handed: bool) -> MeasuredOrder | None:
    """The order of three runs, each of twice as many steps as the one before.

    at_handed: judge the network at the levels that it is told (where the sampler's own beliefs
    are no levels of a grid), instead of those in which the sampler believes. None where the slopes
    of a law's errors do not agree: at a floor, or far from the asymptotic range.
    """
    rules = [r.told_rule if at_handed else r.rule for r in runs]
    plans = [rule.plan for rule in rules]
    firsts = [max(1, int(QUARTER * r.probe.nfe)) for r in runs]
    ends = [_ends(rule) for rule in rules]
    steps = tuple(r.steps for r in runs)
    if any(p.stochastic for p in plans):
        cut = [upto(p, e[-1]) for p, e in zip(plans, ends, strict=True)]
        errors = tuple(float(np.linalg.norm([*weak_defects(p).values()])) for p in cut)
        slopes = slopes_of([{"law": np.array([e])} for e in errors])
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = np.log2(np.array(errors[:2]) / np.array(errors[1:]))
        if abs(one - two) > APART and errors[2] < errors[0]:
            return None
        lowest = min(slopes.values(), default=math.inf)
        return MeasuredOrder(_integer(lowest), lowest, "weak", slopes, steps, errors)
    each = list(zip(plans, firsts, ends, strict=True))
    slopes = slopes_of([defects(p, f, e, GENTLE) for p, f, e in each])
    errors = tuple(flow_error(p, f, e) for p, f, e in each)
    measured = slopes_of([{"flow": np.array([e])} for e in errors]).get("flow", math.inf)
    algebra = _integer(min(slopes.values(), default=math.inf))
    return MeasuredOrder(algebra, measured, "ode", slopes, steps, errors)


def _integer(slope: float) -> int:
    if math.isinf(slope):  # nothing above roundings, or nothing finite
        return 99 if slope > 0 else 0
    return max(0, math.floor(slope + 0.5))


def slopes_of(series: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """For each measure the smallest slope of three, extrapolated; at rounding they are left out."""
    out = {}
    for name in series[0]:
        first, second, third = (m[name] for m in series)
        if not np.all(np.isfinite(third)):
            out[name] = -math.inf
            continue
        usable = third > 1e-12
        if usable.any():
            one, two = np.log2(first / second), np.log2(second / third)
            out[name] = float(np.min((2 * two - one)[usable]))
    return out


def _ends(rule: Rule) -> list[int]:
    """The nodes at which errors are taken: those that the sampler continues, from one half on."""
    n, principal = rule.base.size - 1, rule.principal
    inside = principal[(principal > HALF * n) & (principal <= NINE_TENTHS * n)]
    return inside.tolist() or [n]


def upto(plan: Plan, last: int) -> Plan:
    """The plan that ends at this node."""
    keep, rows = last + 1, slice(last + 1)
    levels = {k: getattr(plan, k)[rows] for k in ("d", "lam", "alpha", "sigma", "t")}
    blocks = {"P": plan.P[rows, :keep], "B": plan.B[rows, :last], "C": plan.C[rows]}
    return replace(plan, **blocks, **levels)
