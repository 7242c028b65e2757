"""Everything that is looked for, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from . import grid_checks, order_checks, run_checks
from .case import Case
from .finding import Finding

Check = Callable[[Case], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    run_checks.raises,
    run_checks.finite,
    run_checks.nonlinear,
    run_checks.known_network,
    order_checks.order,
    order_checks.uneven,
    run_checks.dead,
    grid_checks.monotone,
    grid_checks.levels,
    grid_checks.endings,
    grid_checks.starts,
    run_checks.config,
    run_checks.reuse,
    order_checks.whole_run,
    order_checks.last_step,
    run_checks.evaluations,
)


def findings(case: Case) -> list[Finding]:
    """What falls short, defects first."""
    found = [replace(f, check=c.__name__) for c in CHECKS for f in c(case)]
    return sorted(found, key=lambda f: f.severity != "defect")
