"""The source lines of findings: where a state is formed, and which edit would mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .blame import SHORT, Edit, Place, formed_at, order_is, suspects
from .case import Case
from .finding import Finding

RULE = ("order", "uneven")  # checks whose fault is in the formula of a step
LOST = "does not carry a point mass"  # and this finding
SECONDS = 4.0  # for the search of an edit


def with_lines(case: Case, found: Sequence[Finding]) -> list[Finding]:
    """The findings, those about the formula of a step with the line that forms it.

    Only of a scheduler made from its class, whose source can be read.
    """
    maker = getattr(case.judged.make, "maker", None)
    at_fault = [
        f for f in found if f.severity == "defect" and (f.check in RULE or f.what.startswith(LOST))
    ]
    if case.judged.kind != "scheduler" or not isinstance(maker, type) or not at_fault:
        return list(found)
    line = _told(*_blamed(case))
    return [replace(f, line=line) if f in at_fault else f for f in found]


def _blamed(case: Case) -> tuple[Place | None, list[Edit]]:
    order = case.promised[0]
    try:
        place = formed_at(case.judged, SHORT, SHORT // 2)
        if order is None or not 1 <= order <= 3:
            return place, []
        return place, suspects(case.judged, order_is(order), SECONDS)
    except Exception:  # whatever somebody else's sampler raises when it is run in 20 steps
        return None, []


def _told(place: Place | None, edits: Sequence[Edit]) -> str:
    parts = []
    if place is not None:
        source = " ".join(place.source.split())
        parts.append(f"{_at(place)} forms the state: {source}")
    parts += [f"{_at(e.place)} would be right with {e.new} for {e.old}" for e in edits]
    return "\n".join(parts)


def _at(place: Place) -> str:
    return f"{place.file}:{place.line} ({place.method})"
