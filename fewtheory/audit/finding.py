"""A finding, and the words in which its place is told."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from .recovered import Recovered


@dataclass(frozen=True)
class Finding:
    """One thing that falls short: what, where, the evidence, and the repair ("" where none).

    line: the source lines that form the state in question and that an edit would put right, one
    a line ("" where they are not known); check: the
    name of the check; severity: "defect" or "note".
    """

    what: str
    where: str
    evidence: str
    repair: str = ""
    line: str = ""
    check: str = ""
    severity: str = "defect"


def numbers(values: Iterable[int]) -> str:
    """1, 2, 5 to 9 and 12."""
    ordered = sorted(set(values))
    parts = []
    for _, group in itertools.groupby(enumerate(ordered), lambda p: p[1] - p[0]):
        run = [v for _, v in group]
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(v) for v in run]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def step_of(r: Recovered, node: int) -> str:
    """The step that leads to this node, in words."""
    if r.probe.nfe == r.steps:
        return f"step {node} of {r.steps}"
    return f"the step after evaluation {node} of {r.probe.nfe} ({r.steps} steps)"


def short(values: Iterable[float]) -> str:
    """The first five of these numbers, to five digits."""
    return ", ".join(f"{float(v):.5g}" for v in list(values)[:5])
