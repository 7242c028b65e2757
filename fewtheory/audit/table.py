"""Every scheduler of the installed diffusers, in its default and its named variants, audited.

`variants` says which they are; here they are judged, a row each, in a few processes.
"""

from __future__ import annotations

import itertools
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import integer
from .case import Case
from .conformance import conformance
from .probe import quiet
from .report import Report
from .subject import subject
from .variants import Change, checked, scheduler, unaudited, variants, words

STEPS = 16  # of the run whose exact results are shown
EVERY = 32  # runs in every number of steps up to this are checked besides


@dataclass(frozen=True)
class Row:
    """One scheduler with its settings, audited.

    refused: the class's own words where it cannot be made or run so; error: what our own code
    raised; record: `Report.record`, None in these two cases. Of the run in STEPS steps: linear,
    dead (how many evaluations do not reach the output), end (sigma / alpha of its output), each
    None where it cannot be told.
    """

    scheduler: str
    settings: dict[str, Any]
    refused: str = ""
    error: str = ""
    record: dict[str, Any] | None = None
    linear: bool | None = None
    dead: int | None = None
    end: float | None = None

    def plain(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def row(name: str, settings: Change) -> Row:
    """One scheduler with these settings, audited; nothing that goes wrong is hidden.

    >>> row("DDIMScheduler", {"beta_schedule": "none such"}).refused[:51]
    'NotImplementedError: none such is not implemented f'
    """
    kind = scheduler(name)
    with quiet():
        try:
            kind(**settings)
        except Exception as error:  # whatever somebody else's class raises
            return Row(name, settings, refused=words(error))
        try:
            report = conformance(kind, (STEPS,), settings, every=EVERY)
            if refusal := _refusal(report):
                return Row(name, settings, refused=refusal)
            record = json.loads(report.to_json())
            return Row(name, settings, record=record, **_run(kind, settings))
        except Exception as error:  # ours: visible as such
            return Row(name, settings, error=failure(error))


def _refusal(report: Report) -> str:
    """The class's own words where it runs in no number of steps, and says so itself."""
    said = [f for f in report.findings if f.check == "raises"]
    refuses = said and not report.evaluations and all("refuses" in f.what for f in said)
    return said[0].evidence if refuses else ""


def _run(kind: type, settings: Change) -> dict[str, Any]:
    """What the record leaves out of the run in STEPS steps."""
    r = Case(subject(kind, settings), (STEPS,)).run(STEPS)
    if r is None or not r.finite:
        return {}
    if r.probe.nonlinear_at is not None:
        return {"linear": False}
    with np.errstate(divide="ignore", invalid="ignore"):
        end = float(r.plan.sigma[-1] / r.plan.alpha[-1]) if r.sound else np.nan
    return {"linear": True, "dead": len(r.dead), "end": end if np.isfinite(end) else None}


def failure(error: Exception) -> str:
    """An error of our own: its words, and the function that raised it."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{words(error)} (in {at.name})"


def rows(
    only: Sequence[str] = (),
    jobs: int = 2,
    on_row: Callable[[int, int], None] = lambda done, of: None,
) -> list[Row]:
    """Every class that can be audited in all its variants, by joblib.

    only: the names of some classes (default: all); jobs: processes; on_row: is told how many rows
    are done, of how many. Raises ValueError for a name that is no scheduler's.
    """
    integer("rows", "jobs", jobs, 1)
    work = [(n, s) for n in checked("rows", only) if not unaudited(n) for s in variants(n)]
    found = []
    for done in parallel(row, work, jobs):
        found.append(done)
        on_row(len(found), len(work))
    return found


def parallel(function: Callable[..., Any], work: Sequence[tuple], jobs: int) -> Iterator[Any]:
    """function(*w) of each w, in order, in this many processes of one thread each."""
    import joblib

    if jobs == 1:
        yield from itertools.starmap(function, work)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        pool: Any = joblib.Parallel(n_jobs=jobs, return_as="generator")
        yield from pool(joblib.delayed(function)(*w) for w in work)
