"""Checks on the order: of the rule, of a whole run, and of the last step."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..plan.order import defects
from .case import Case
from .finding import Finding, numbers, short
from .imposed import EVEN, HIGH, LOW, UNEVEN, imposed
from .moments import OFF, ratios, weights_needed
from .order import GENTLE, slopes_of, upto
from .outcome import flow_error
from .recovered import Recovered

LATE = 24  # steps, beyond which the last should not matter most
SHARE = 0.3  # of the whole error: when a last step is worth a word
DERIVATIVE = ("prediction itself", "first derivative", "second derivative", "third derivative")


def order(case: Case) -> Iterator[Finding]:
    """The step that recurs is of the order that is named."""
    named, where = case.promised
    found = case.order
    if named is None or found is None:
        return
    weak = "weak order" if found.kind == "weak" else "order"
    if found.algebra < named:
        place, evidence, repair = _wrong_part(case, named)
        series = ", ".join(
            f"{e:.2g} at {n}" for n, e in zip(found.steps, found.errors, strict=True)
        )
        yield Finding(
            f"its step is of {weak} {found.algebra}, not {named} ({where})",
            place,
            f"{evidence}; measured {found.measured:.2f} (errors {series} steps)",
            repair,
        )
    elif found.kind == "ode" and found.measured + 0.5 < min(named, found.algebra):
        yield Finding(
            f"by its coefficients its step is of order {found.algebra}; measured otherwise",
            "the recurring step",
            f"slope {found.measured:.2f} on the bimodal law at {found.steps} steps",
            severity="note",
        )


def _wrong_part(case: Case, named: int) -> tuple[str, str, str]:
    """(where, which moment of the weights is wrong, the repair) of a rule below its order."""
    r = case.refined[0]
    part = ratios(r, named)
    nodes = r.rule.principal[1:]
    middle = _middle(r, named)
    off = np.abs(np.nanmedian(middle, axis=0) - 1) > OFF if middle.size else np.zeros(0, bool)
    if case.misled and not case.stochastic:
        place = f"every step, {r.steps} steps"
        return place, "its network answers at other levels than those of its steps", ""
    if not np.any(off):
        return (
            f"every step, {r.steps} steps",
            _no_moment(r),
            _remedy(case, None, None),
        )
    k = int(np.flatnonzero(off)[0])
    bad = nodes[np.abs(part[nodes, k] - 1) > OFF]
    # a warm-up or a closing step of lower order uses too few evaluations to be blamed
    bad = bad[r.rule.uses[bad] >= min(named, int(np.median(r.rule.uses[1:])))]
    value = float(np.nanmedian(middle[:, k]))
    evidence = f"the weight on the {DERIVATIVE[k]} is {value:.3f} of what the step needs"
    return f"steps {numbers(bad.tolist())} of {r.steps}", evidence, _remedy(case, r, int(bad[0]))


def _middle(r: Recovered, count: int) -> np.ndarray:
    """The moments' ratios of the steps in the middle of a run; a stage is no step."""
    n, nodes = r.probe.nfe, r.rule.principal
    return ratios(r, count)[nodes[(nodes > n // 4) & (nodes <= 0.9 * n)]]


def _no_moment(r: Recovered) -> str:
    if r.rule.plan.stochastic:
        noises = np.count_nonzero(r.rule.plan.C, axis=1)
        stages = np.setdiff1d(np.arange(r.probe.nfe), r.rule.principal)
        if np.any(noises[stages] > 0):
            return "fresh noise enters at its stages, inside a step"
        return "the noise and the weights do not match beyond that order"
    return "its weights integrate as they should, but its stages are not accurate enough"


def _remedy(case: Case, r: Recovered | None, node: int | None) -> str:
    """The repaired rule: in a formula, and in the numbers of one step."""
    if r is None or node is None:
        return (
            "dpm_solver_pp(path, grid, order=2, eta=1)"
            if case.order and (case.order.kind == "weak")
            else ""
        )
    needed, plan = weights_needed(r, node), r.rule.plan
    if needed is None:
        return ""
    used = np.flatnonzero(needed)[::-1]
    return (
        "solve sum_j w_j (lam_j - lam_s)^k / k! = mu_k for k = 0.. over the evaluations used: in "
        f"step {node} of {r.steps}, newest first, the weights on the {plan.prediction} prediction "
        f"are {short(plan.B[node, used])} and should be {short(needed[used])}"
    )


def whole_run(case: Case) -> Iterator[Finding]:
    """A whole run keeps the order of its step, on equal steps in lam."""
    if case.order is None or case.order.kind == "weak" or not 2 <= case.order.algebra < 9:
        return
    found = whole_order(case)
    if found is None or found[0] >= case.order.algebra:
        return
    p, slope, r = found
    uses = r.rule.uses[1:]
    repair = "a start of the same order (Runge-Kutta steps), and no lower order at the end"
    if case.settings().get("lower_order_final") is True:
        other = whole_order(case.variant(lower_order_final=False))
        if other is not None and other[0] > p:
            repair = f"with lower_order_final=False a whole run is of order {other[0]}"
    yield Finding(
        f"a whole run is of order {p}, its step of order {case.order.algebra}",
        "the first and the last steps",
        f"on equal steps in lam from {LOW:g} to {HIGH:g} the slope is {slope:.2f}; the first steps "
        f"use {short(uses[:4])} evaluations, the last {short(uses[-3:])}",
        repair,
        severity="note",
    )


def whole_order(case: Case) -> tuple[int, float, Recovered] | None:
    """(order by the algebra, measured slope, the finest run) of whole runs on equal steps in lam.

    None where the grid cannot be imposed.
    """
    runs = imposed(case, EVEN)
    if runs is None:
        return None
    ends = [_end(r) for r in runs]
    each = list(zip((r.rule.plan for r in runs), ends, strict=True))
    slopes = slopes_of([defects(upto(plan, e), 1, None, GENTLE) for plan, e in each])
    errors = [{"flow": np.array([flow_error(plan, 1, [e])])} for plan, e in each]
    lowest = min(slopes.values(), default=math.inf)
    measured = slopes_of(errors).get("flow", math.inf)
    return math.floor(min(lowest, 9.0) + 0.5), measured, runs[-1]


def _end(r: Recovered) -> int:
    """The output, or the last evaluation where the output is at sigma = 0."""
    if not math.isinf(r.believed.lam[-1]):
        return r.probe.nfe
    return int(r.rule.principal[r.rule.principal < r.probe.nfe][-1])


def uneven(case: Case) -> Iterator[Finding]:
    """The weights of the rule know of steps of unequal length.

    Its local error tells, not its order over a run: where a ratio of successive steps is inverted
    the errors h_i^2 - h_{i-1}^2 telescope, and the order survives.
    """
    named = case.named[0]
    if case.order is None or named is None or named < 2 or case.order.algebra < min(named, 2):
        return
    runs = imposed(case, UNEVEN)
    if runs is None:
        return
    count = min(named, case.order.algebra)
    parts = [_middle(r, count) for r in runs]
    coarse, fine = (np.nanmean(np.abs(part - 1), axis=0) for part in parts[-2:])
    stays = (fine > OFF) & (fine > 0.75 * coarse)  # what is right halves with the step
    if not np.any(stays):
        return
    k, r, n = int(np.argmax(stays)), runs[-1], runs[-1].probe.nfe
    yield Finding(
        "its weights are right for equal steps only",
        f"every step whose length differs from the one before; shown on {n} steps, short and long",
        f"the weight on the {DERIVATIVE[k]} is {short(parts[-1][:2, k])}, .. of what the step needs"
        ", on steps after a longer or a shorter one",
        _remedy(case, r, n // 2),
    )


def last_step(case: Case) -> Iterator[Finding]:
    """The last step, to sigma = 0 from one evaluation, is not most of the error."""
    runs = [r for r in case.sound[-1:] if r.steps >= LATE and math.isinf(r.believed.lam[-1])]
    if not runs or case.stochastic or runs[0].believed.lam[0] == math.inf:
        return
    r = runs[0]
    n, plan = r.probe.nfe, r.rule.plan
    alone, whole = (flow_error(plan, first, [n]) for first in (n, 1))
    if r.rule.uses[n] != 1 or alone < SHARE * whole:
        return
    yield Finding(
        "most of its error comes from the last step",
        f"at {r.steps} steps; the step from sigma / alpha = {math.exp(-plan.lam[n - 1]):.3g} to 0",
        f"that step alone, with one evaluation, errs by {alone:.1e} rms on the bimodal law; the "
        f"whole run by {whole:.1e}",
        "end on smaller levels: a grid that is finer near the data, or a smaller last level",
        severity="note",
    )
