"""Put anybody's sampler to the test: `conformance`, three lines in anybody's pytest.

def test_my_scheduler():
    report = fewtheory.conformance(MyScheduler, steps=(8, 16, 32))
    assert report.ok, report
"""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import fail, integer
from ..paths import Path
from ..plan import Plan
from .case import Case
from .checks import findings
from .finding import Finding
from .lines import with_lines
from .outcome import flow_error, outcome
from .peers import Best, best, twins
from .recovered import Recovered
from .repair import mended
from .report import Report
from .subject import Subject, subject

MENDED = {"order", "dead", "monotone", "levels", "endings"}  # checks whose defects `repair` mends
TWIN_STEPS = 16  # enough for warm-up, middle and end to show


def conformance(
    factory: Any,
    steps: Sequence[int] = (8, 16, 32, 64),
    settings: Mapping[str, Any] | None = None,
    *,
    named: int | None = None,
    every: int = 60,
    path: Path | None = None,
    prediction: str | None = None,
    arrays: str = "numpy",
) -> Report:
    """Audit a sampler against exact truth, without a network and without a sample.

    factory: a scheduler class or object of diffusers' protocol, a function that returns one, a
    function of `steps` that returns a Plan, one of `fewtheory.samplers`, or a function
    `sample(model, x, steps)`. steps: the numbers of steps whose exact results are reported; runs in
    every number from 1 to `every` are checked besides. settings: keyword arguments of the factory.
    named: the order that is promised, where its name or settings do not say. path, prediction: what
    the network of a function expects ("noise" by default); arrays: what the function computes with,
    "numpy" or "torch".
    Raises TypeError for what is no sampler, ValueError for bad numbers of steps, and whatever the
    factory raises when it is called.

    >>> import fewtheory as ft
    >>> report = ft.conformance(ft.samplers.dpm_solver_pp, steps=(8,), settings={"order": 2})
    >>> report.ok, report.order.algebra
    (True, 2)
    """
    begun = time.perf_counter()
    if isinstance(steps, (str, bytes)) or not isinstance(steps, Sequence) or not len(steps):
        raise fail("conformance", "steps", "a sequence of whole numbers", steps)
    asked = tuple(dict.fromkeys(integer("conformance", "steps", n, 1) for n in steps))
    if named is not None:
        integer("conformance", "named", named, 1)
    integer("conformance", "every", every, 1)
    judged = subject(factory, settings, path=path, prediction=prediction, arrays=arrays)
    if judged.kind == "scheduler":
        judged.make()  # what it raises is the user's to see
    case = Case(judged, asked, named, every)
    found = with_lines(case, findings(case))
    asked_runs = [r for r in case.asked if r.sound]
    plans = {r.steps: _mended(case, r, found) for r in asked_runs}
    outcomes = tuple(outcome(r.plan, r.steps, r.probe.init_noise_sigma) for r in asked_runs)
    return Report(
        name=judged.name,
        settings=dict(judged.settings),
        library=_library(judged),
        network=_network(case),
        rule=_rule(case),
        named=case.named,
        order=case.order,
        twins=_twins(case),
        outcomes=outcomes,
        best=tuple(_best(r) for r in asked_runs),
        evaluations={r.steps: r.probe.nfe for r in case.every},
        findings=tuple(found),
        mended=tuple(_mended_error(plans[r.steps], found) for r in asked_runs),
        plans=plans,
        seconds=time.perf_counter() - begun,
    )


def _mended(case: Case, r: Recovered, found: Sequence[Finding]) -> Plan:
    checks = {f.check for f in found if f.severity == "defect"}
    named = case.promised[0] if "order" in checks else None
    return mended(r, named, case.judged.name, "endings" in checks)


def _mended_error(plan: Plan, found: Sequence[Finding]) -> float | None:
    """The mended plan's flow error, where a defect was one that can be mended."""
    checks = {f.check for f in found if f.severity == "defect"}
    if plan.stochastic or not checks & MENDED:
        return None
    return flow_error(plan, 1, [plan.nodes - 1])


def _library(judged: Subject) -> str:
    """The package in which the sampler stands, with its version."""
    maker = getattr(judged.make, "maker", judged.make)
    module = (getattr(maker, "__module__", "") or "").split(".")[0]
    if judged.kind == "scheduler" and not isinstance(maker, type):
        module = type(judged.make()).__module__.split(".")[0]
    try:
        return f"{module} {importlib.metadata.version(module)}"
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return module or "no package"


def _network(case: Case) -> str:
    told = case.told
    if told is None:
        return "unknown: " + (case.untold or "nothing says what it expects")
    if case.judged.kind == "plan":
        return "any: a plan converts its coefficients"
    form = "EDM's preconditioned output" if told.sigma_data is not None else told.prediction
    return f"{form} prediction on {told.path!r}"


def _rule(case: Case) -> str:
    if not case.sound:
        return "cannot be read: not linear" if not case.linear else "cannot be read"
    r = case.sound[-1]
    kind, uses = "stochastic" if case.stochastic else "deterministic", r.rule.uses[1:]
    middle = uses[len(uses) // 4 : max(1, (9 * len(uses)) // 10)]
    most = sorted(set((middle if middle.size else uses).tolist()))
    if len(most) > 3:  # no short rule behind these rows
        return f"{kind}, up to {most[-1]} evaluations"
    stages = r.rule.principal.size - 1 < r.probe.nfe
    how = "steps with stages" if stages else "one evaluation a step"
    return (
        f"{kind}, integrates the {r.rule.plan.prediction} prediction, {how}, each state from "
        f"{' or '.join(map(str, most))} evaluation{'s' if most[-1] > 1 else ''}"
    )


def _twins(case: Case) -> tuple[Any, ...]:
    runs = [r for r in (case.run(TWIN_STEPS), *case.sound[::-1]) if r is not None and r.sound]
    return tuple(twins(runs[0])) if runs else ()


def _best(r: Recovered) -> Best | None:
    """The best known plan of as many evaluations between the same ends."""
    lam, last = r.handed.lam, float(r.believed.lam[-1])
    clean = math.isinf(last)
    inner = lam[np.isfinite(lam)]
    if r.rule.plan.stochastic or not inner.size or last < inner[0]:
        return None
    return best(r.probe.nfe, float(lam[0]), float(inner.max()) if clean else last, clean)
