"""Checks on the order: of the rule, of a whole run, and of the last step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..paths import Table
from ..plan.order import defects
from .case import Case
from .finding import Finding, numbers, short
from .moments import ratios, weights_needed
from .order import GENTLE, slopes_of, upto
from .outcome import flow_error
from .recovered import Recovered

OFF = 0.25  # of a moment: what is right tends to 1 with h, a forgotten factor stays 1/2 away
WHOLE = (16, 32, 64)  # steps of whole runs on equal steps in lam
LOW, HIGH = -3.0, 3.0
SHARE = 0.3  # of the whole error: when a last step is worth a word
DERIVATIVE = ("prediction itself", "first derivative", "second derivative", "third derivative")


def order(case: Case) -> Iterator[Finding]:
    """The step that recurs is of the order that is named."""
    named, where = case.named
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
    elif found.kind == "ode" and round(found.measured) < min(named, found.algebra):
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
    nodes = np.arange(len(part))
    middle = part[(nodes > len(part) // 4) & (nodes <= 0.9 * len(part))]
    off = np.abs(np.nanmedian(middle, axis=0) - 1) > OFF if middle.size else np.zeros(0, bool)
    if not np.any(off):
        return (
            f"every step, {r.steps} steps",
            _no_moment(r),
            _remedy(case, None, None),
        )
    k = int(np.flatnonzero(off)[0])
    bad = nodes[np.abs(part[:, k] - 1) > OFF]
    # a warm-up or a closing step of lower order uses too few evaluations to be blamed
    bad = bad[r.rule.uses[bad] >= min(named, int(np.median(r.rule.uses[1:])))]
    value = float(np.nanmedian(middle[:, k]))
    evidence = f"the weight on the {DERIVATIVE[k]} is {value:.3f} of what the step needs"
    return f"steps {numbers(bad.tolist())} of {r.steps}", evidence, _remedy(case, r, int(bad[0]))


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
    if case.order is None or case.order.kind == "weak" or case.order.algebra < 2:
        return
    found = whole_order(case)
    if found is None or found[0] >= case.order.algebra:
        return
    p, slope, r = found
    uses = r.rule.uses[1:]
    evidence = (
        f"on equal steps in lam from {LOW:g} to {HIGH:g} the slope is {slope:.2f}; the first steps "
        f"use {short(uses[:4])} evaluations, the last {short(uses[-3:])}"
    )
    repair = ""
    if case.settings().get("lower_order_final") is True:
        other = whole_order(case.variant(lower_order_final=False))
        if other is not None and other[0] > p:
            repair = f"with lower_order_final=False a whole run is of order {other[0]}"
    yield Finding(
        f"a whole run is of order {p}, its step of order {case.order.algebra}",
        "the first and the last steps",
        evidence,
        repair or "a start of the same order (Runge-Kutta steps), and no lower order at the end",
        severity="note",
    )


def whole_order(case: Case) -> tuple[int, float, Recovered] | None:
    """(order by the algebra, measured slope, the finest run) of whole runs on equal steps in lam.

    The sampler is given a table of noise levels that is this grid (`trained_betas`), so that its
    timesteps are all of the entries. None where it takes no table.
    """
    if not (isinstance(case.told.path, Table) and case.accepts("trained_betas")):
        return None
    runs: list[Recovered] = []
    for steps in WHOLE:
        run = next((r for k in (steps + 1, steps) if (r := _on_table(case, steps, k))), None)
        if run is None:
            return None
        runs.append(run)
    ends = [_end(r) for r in runs]
    series = [
        defects(upto(r.rule.plan, e), 1, None, GENTLE) for r, e in zip(runs, ends, strict=True)
    ]
    errors = [flow_error(r.rule.plan, 1, [e]) for r, e in zip(runs, ends, strict=True)]
    lowest = min(slopes_of(series).values(), default=math.inf)
    measured = slopes_of([{"flow": np.array([e])} for e in errors]).get("flow", math.inf)
    return math.floor(min(lowest, 9.0) + 0.5), measured, runs[-1]


def _end(r: Recovered) -> int:
    """The output, or the last evaluation where the output is at sigma = 0."""
    if not math.isinf(r.believed.lam[-1]):
        return r.probe.nfe
    return int(r.rule.principal[r.rule.principal < r.probe.nfe][-1])


def _on_table(case: Case, steps: int, entries: int) -> Recovered | None:
    lam = np.linspace(HIGH, LOW, entries)
    alpha2 = 1 / (1 + np.exp(-2 * lam))
    betas = 1 - alpha2 / np.append(1.0, alpha2[:-1])
    given: dict[str, Any] = {"trained_betas": betas.tolist(), "num_train_timesteps": entries}
    if case.accepts("final_sigmas_type"):
        given["final_sigmas_type"] = "sigma_min"
    on = [
        k for k, v in case.settings().items() if k.startswith("use_") and k.endswith("sigmas") and v
    ]
    changed = Case(case.judged.with_settings(**given, **dict.fromkeys(on, False)), (steps,))
    r = changed.run(steps)
    if r is None or not r.sound:
        return None
    if r.probe.nfe != steps:  # stages stand between the table's entries
        return None
    levels = np.unique(np.round(r.handed.lam, 9))
    uniform = np.ptp(np.diff(levels)) < 1e-6 and levels.size > steps // 2
    return r if uniform else None


def last_step(case: Case) -> Iterator[Finding]:
    """The last step, to sigma = 0 from one evaluation, is not most of the error."""
    runs = [r for r in case.sound if r.steps == 60 and math.isinf(r.believed.lam[-1])]
    if not runs or runs[0].rule.plan.stochastic or runs[0].believed.lam[0] == math.inf:
        return
    r = runs[0]
    n, plan = r.probe.nfe, r.rule.plan
    alone, whole = (flow_error(plan, first, [n]) for first in (n, 1))
    if r.rule.uses[n] != 1 or alone < SHARE * whole:
        return
    yield Finding(
        "most of its error comes from the last step",
        f"at 60 steps; the step from sigma / alpha = {math.exp(-plan.lam[n - 1]):.3g} to 0",
        f"that step alone, with one evaluation, errs by {alone:.1e} rms on the bimodal law; the "
        f"whole run by {whole:.1e}",
        "end on smaller levels: a grid that is finer near the data, or a smaller last level",
        severity="note",
    )
