"""Solver schedules: every decision of an exponential-integrator step, free at every step.

Liu, Ning, Yang, Wang (2023), arXiv 2312.07243 (USF); sheet `usf-s3`. A step goes from a *start
node* s, any earlier one, to t, h = lam_t - lam_s, by a Taylor polynomial of the data or the noise
prediction, or of DPM-Solver-v3's f = (1 - l) y - x0hat,

    data:   x_t = (sigma_t/sigma_s) x_s + sum_d alpha_t h^{d+1} phi_{d+1}(-h) s_d m^(d)
    noise:  x_t = (alpha_t/alpha_s) x_s - sum_d sigma_t h^{d+1} phi_{d+1}(h) s_d m^(d)
    v3:     y_t = A [y_s - bias - sum_d E^(d) s_d g^(d)],

d = 0..k-1, m^(0) = m_s and s_d = 1 but for the scaling s_1 of the first derivative. A derivative
is a difference of values at active nodes. The three types are affine in one another, so that any
schedule is one plan, and the known solvers are schedules too (`known_schedule`).

An order-k step tolerates a relative error O(h^{k-1}) of the first derivative: with a slope from one
point, or a scaling 1 + c h, a schedule is of second order whatever its steps are called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import fail, finite_array, one_of
from ..paths import Path
from ..plan import Form, Grid, GridLike, Plan, Point, Trace, Variant, grids, sampler
from ..plan.phi import kernel_moments
from .dpm_solver_v3 import anchored, integrals, plain
from .model_statistics import ModelStatistics
from .solver_decisions import AFS, Decision, Taylor, known_schedule, scaling_factor, taylor_weights


class _Node(NamedTuple):
    """A level, the state there, and the model's output in each type that the schedule uses."""

    level: Point
    x: Form
    outputs: Mapping[str, Form]


class _Kernel(NamedTuple):
    """x_t = A x_s + bias + sum_d moments[d] m^(d)."""

    A: Any
    moments: list[Any]
    bias: Any


def _kernel(kind: str, s: Point, t: Point, count: int, statistics: Any) -> _Kernel:
    h = t.lam - s.lam
    if kind == "data":
        moments = [t.alpha * m for m in kernel_moments(h, count, -1.0)]
        return _Kernel(t.sigma / s.sigma, moments, 0.0)
    if kind == "noise":
        A = t.alpha / s.alpha
        if math.isinf(h):  # to sigma = 0 the step is the denoiser
            return _Kernel(A, [-A * s.sigma], 0.0)
        return _Kernel(A, [-t.sigma * m for m in kernel_moments(h, count, 1.0)], 0.0)
    A, E, bias = integrals(statistics, s.lam, t.lam, count)
    return _Kernel(t.alpha / s.alpha * A, [-t.alpha * A * e for e in E], -t.alpha * A * bias)


def _active(what: Taylor, start: int, count: int) -> list[list[int]]:
    """The nodes from which each derivative is taken, of `count` nodes that there are."""
    others = [i for i in range(-1, -count - 1, -1) if i != start]
    found = []
    for d in range(1, what.order):
        e = what.estimates[d - 1] if d <= len(what.estimates) else what.order - 1
        e = what.order - 1 if e is None else e
        nodes = others[:e] if isinstance(e, int) else list(e)
        if len(nodes) < d or not set(nodes) <= set(others):
            allowed = f"such that derivative {d} has {d} of the nodes {others} beside the start"
            raise fail("solver_schedule", "decisions", allowed, what)
        found.append(nodes)
    return found


def _step(
    nodes: Sequence[_Node], what: Taylor, kind: str, start: int, t: Point, statistics: Any
) -> Form:
    """The Taylor step of this kind from nodes[start] to t."""
    if start < -len(nodes):
        allowed = f"with a start that is there, -1 to {-len(nodes)}"
        raise fail("solver_schedule", "decisions", allowed, start)
    s = nodes[start]
    m, h = s.outputs[kind], t.lam - s.level.lam
    active = _active(what, start, len(nodes))
    used = [nodes[i].level for i in {i for row in active for i in row}]
    if active and not all(map(math.isfinite, [h, *(p.lam for p in used)])):
        raise fail("solver_schedule", "decisions", "of order 1 at alpha = 0 and sigma = 0", what)
    A, moments, bias = _kernel(kind, s.level, t, what.order, statistics)
    x = A * s.x + bias + moments[0] * m
    for d, row in enumerate(active, start=1):
        factor = scaling_factor(what.scaling, kind, h) if d == 1 else 1.0
        offsets = [nodes[i].level.lam - s.level.lam for i in row]
        for a, i in zip(taylor_weights(offsets, d), row, strict=True):
            value = nodes[i].outputs[kind]
            if kind == "v3":
                value = anchored(statistics, s.level.lam, value, nodes[i].level.lam)
            x = x + moments[d] * factor * a * (value - m)
    return x


def _correction(decision: Decision, count: int) -> Taylor:
    """Order k + 1, each derivative from the predictor's nodes and the new one."""
    if decision.correction is not None:
        return decision.correction
    rows = _active(decision.predictor, decision.start, count)
    return Taylor(decision.order + 1, tuple((-1, *(i - 1 for i in row)) for row in rows))


@sampler(
    Variant(
        "solver schedule, data 2, pseudo corrector",
        {"decisions": Decision("data", 2, corrector="pseudo")},
        order=3,
        denoises=False,
    ),
    Variant(
        "solver schedule, noise 3, slope from one node",
        {"decisions": Decision("noise", 3, (1,))},
        order=2,
        denoises=False,
    ),
    Variant(
        "solver schedule, UniPC-2 (bh1)", {"decisions": "unipc-2-bh1"}, order=3, denoises=False
    ),
)
def solver_schedule(
    path: Path,
    grid: GridLike,
    decisions: str | Decision | Sequence[Decision],
    *,
    afs: str = "none",
    mean: Any = 0.0,
    statistics: ModelStatistics | None = None,
) -> Plan:
    """The plan of a solver schedule, one `Decision` a step.

    decisions: as many as the grid has steps; or one for all of them, its order at most i + 1 at
    step i and no corrector after the last; or a name for `known_schedule`. A corrector after the
    last step costs an evaluation. afs: the analytical first step, which saves the first one:
    "mean" takes x0hat = mean there, "zero" x0hat = 0 (USF's zero_x0 on EDM; on VP it puts noise =
    x_T, the same up to 1 - sigma_T); mean: of the data, a number or an array of the event's shape.
    statistics: for the type "v3", covering the grid, which lies on their nodes where they have
    rule="trapezoid". Raises ValueError for a schedule that needs nodes which are not there yet.
    Source: arXiv 2312.07243; sheet `usf-s3`, "Driver".

    >>> import fewtheory as ft
    >>> path, mixed = ft.paths.VPLinear(), [Decision("data", 1), Decision("noise", 2)]
    >>> solver_schedule(path, ft.plan.grids.log_snr(path, steps=2), mixed)
    <Plan solver_schedule: 2 evaluations, deterministic, data prediction>
    """
    where, settings = "solver_schedule", {"decisions": decisions, "afs": afs}
    one_of(where, "afs", afs, AFS)
    mu = finite_array(where, "mean", mean)
    grid = grids.of(path, grid)
    chosen = _decisions(decisions, grid.steps)
    _check_statistics(chosen, statistics, grid)
    settings |= {"mean": mean} if afs == "mean" else {}
    settings |= {"statistics": statistics} if statistics is not None else {}
    prediction = "noise" if {d.type for d in chosen} == {"noise"} else "data"
    trace = Trace(solver_schedule, path, grid, settings, prediction)
    given = None if afs == "none" else Form({}) + (plain(mu) if afs == "mean" else 0.0)
    x = _driver(trace, chosen, given, statistics)
    return trace.plan(x, refinable=isinstance(decisions, (str, Decision)))


def _driver(trace: Trace, decisions: list[Decision], x0hat: Form | None, statistics: Any) -> Form:
    """The output's state; x0hat: of the first node where it is not evaluated."""
    kinds, grid = {d.type for d in decisions}, trace.grid

    def evaluated(x: Form, level: Point) -> _Node:
        x, m = trace.evaluate(x, level)
        return _Node(level, x, _outputs(kinds, trace.prediction, x, m, level, statistics))

    if x0hat is None:
        nodes = [evaluated(trace.start, grid[0])]
    else:
        given = _outputs(kinds, "data", trace.start, x0hat, grid[0], statistics)
        nodes = [_Node(grid[0], trace.start, given)]
    for i, decision in enumerate(decisions):
        t, last = grid[i + 1], i == grid.steps - 1
        kind, start = decision.type, decision.start
        x = _step(nodes, decision.predictor, kind, start, t, statistics)
        if last and decision.corrector is None:
            return x
        new = evaluated(x, t)
        if decision.corrector is not None:
            what = _correction(decision, len(nodes))
            again = _step([*nodes, new], what, kind, start - 1, t, statistics)
            x = new.x + (again - x)  # what is common cancels, and the row stays short
            implicit = decision.corrector == "implicit" and not last
            new = evaluated(x, t) if implicit else new._replace(x=x)
        nodes.append(new)
    return nodes[-1].x


def _outputs(
    kinds: set[str], prediction: str, x: Form, m: Form, at: Point, statistics: Any
) -> dict[str, Form]:
    """The model's output in each of these types, from the data or the noise prediction m."""
    found = {}
    if "data" in kinds:
        found["data"] = m
    if "noise" in kinds:
        found["noise"] = m if prediction == "noise" else (x - at.alpha * m) / at.sigma
    if "v3" in kinds:
        found["v3"] = plain(1 - statistics.at(at.lam).l) * (x / at.alpha) - m
    return found


def _decisions(given: Any, steps: int) -> list[Decision]:
    """One decision a step."""
    if isinstance(given, str):
        return known_schedule(given, steps)
    if isinstance(given, Decision):
        orders = [min(given.order, i + 1) for i in range(steps)]
        found = [replace(given, order=k, estimates=given.estimates[: k - 1]) for k in orders]
        return [*found[:-1], replace(found[-1], corrector=None, correction=None)]
    found = list(given)
    if len(found) != steps or not all(isinstance(d, Decision) for d in found):
        allowed = f"{steps} of Decision, one a step, or a Decision or a name"
        raise fail("solver_schedule", "decisions", allowed, given)
    return found


def _check_statistics(decisions: list[Decision], statistics: Any, grid: Grid) -> None:
    if all(d.type != "v3" for d in decisions):
        return
    if not isinstance(statistics, ModelStatistics):
        allowed = "a ModelStatistics where a decision is of type 'v3'"
        raise fail("solver_schedule", "statistics", allowed, statistics)
    statistics.check(grid.lam)
    if statistics.rule == "trapezoid" and not set(grid.lam) <= set(statistics.lams):
        raise fail("solver_schedule", "grid", "on the nodes of the statistics", grid.lam)
