"""The kill matrix: does the audit see what is broken? Every mutant beside its unbroken control.

The controls are judged first; a check that rejects everything proves nothing. A mutant is killed
when its report has a defect that its control's report lacks, by check and wording, or a smaller
order by its coefficients. A worse number, a note or a defect that the control has as well kill
nothing, and what raises in the audit itself is an error, not a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import integer
from .conformance import conformance
from .mutants import MUTANTS, Control, Mutant, controls
from .probe import quiet
from .report import Report
from .table import failure, parallel

STEPS = 16  # of the run whose exact results count
EVERY = 32  # runs in every number of steps up to this are checked besides


@dataclass(frozen=True)
class Verdict:
    """What an audit says of one scheduler: its defects, order by coefficients, or an error."""

    defects: tuple[dict[str, str], ...] = ()
    order: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Kill:
    """One mutant and its fate.

    by: the checks that tell it from its control; defects: what they say, each with check, what and
    where; control: what the audit says of the unbroken scheduler; error: what our own code raised.
    """

    mutant: Mutant
    by: tuple[str, ...]
    defects: tuple[dict[str, str], ...]
    order: int | None
    control: Verdict
    error: str = ""

    @property
    def killed(self) -> bool:
        """Whether the audit tells the mutant from its control."""
        return bool(self.by)

    def plain(self) -> dict[str, Any]:
        """The row as plain data; the mutant by what it changes."""
        m = self.mutant
        shown = {k: getattr(m, k) for k in ("scheduler", "method", "old", "new", "why", "kind")}
        return {
            **shown,
            "settings": dict(m.settings),
            "step": dict(m.step),
            "killed": self.killed,
            "by": list(self.by),
            "defects": list(self.defects),
            "order": self.order,
            "control": {**asdict(self.control), "defects": list(self.control.defects)},
            "error": self.error or self.control.error,
        }


def kills(
    mutants: Sequence[Mutant] = MUTANTS,
    jobs: int = 2,
    on_row: Callable[[int, int], None] = lambda done, of: None,
) -> list[Kill]:
    """Audit the controls of these mutants, then the mutants, by joblib.

    jobs: processes; on_row: is told how many audits are done, of how many.
    """
    integer("kills", "jobs", jobs, 1)
    unbroken = [c for c in controls() if any(m.control == c for m in mutants)]
    work: list[tuple[Control | Mutant]] = [(w,) for w in (*unbroken, *mutants)]
    said = []
    for verdict in parallel(judged, work, jobs):
        said.append(verdict)
        on_row(len(said), len(work))
    of_control = dict(zip(unbroken, said, strict=False))
    broken = said[len(unbroken) :]
    return [fate(m, v, of_control[m.control]) for m, v in zip(mutants, broken, strict=True)]


def judged(scheduler: Control | Mutant) -> Verdict:
    """What the audit says of it."""
    with quiet():
        try:
            report = conformance(scheduler.build(), (STEPS,), dict(scheduler.settings), every=EVERY)
        except Exception as error:  # ours: visible as such, and no kill
            return Verdict(error=failure(error))
    return verdict(report)


def verdict(report: Report) -> Verdict:
    """What decides, of a report."""
    told = tuple({"check": f.check, "what": f.what, "where": f.where} for f in report.defects)
    return Verdict(told, None if report.order is None else report.order.algebra)


def fate(mutant: Mutant, broken: Verdict, control: Verdict) -> Kill:
    """Whether these two verdicts tell the mutant from its control."""
    known = {(d["check"], d["what"]) for d in control.defects}
    new = tuple(d for d in broken.defects if (d["check"], d["what"]) not in known)
    by = [d["check"] for d in new]
    if broken.order is not None and control.order is not None and broken.order < control.order:
        by.append("order")
    by = list(dict.fromkeys(by))
    if broken.error or control.error:
        by, new = [], ()
    return Kill(mutant, tuple(by), new, broken.order, control, broken.error)
