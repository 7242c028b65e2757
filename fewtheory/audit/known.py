"""What is known about diffusers' schedulers, each statement with ten lines that show it.

`KNOWN` holds the statements of the sheets' audit lists (`plan-algebra`, 1 to 10; `dpm-solver-pp`,
C6), confirmed or corrected against one version of the library, and n1, n2, .. found beside them.

    for known in KNOWN:
        print(known.number, known.title, known.reproduce(), known.repair)
"""

from __future__ import annotations

from .findings import dpm_solver, endings, evaluations, failures, grids, steps, tables
from .findings.record import LIBRARY, VERSION, Known

__all__ = ["KNOWN", "LIBRARY", "VERSION", "Known"]

KNOWN: tuple[Known, ...] = tuple(
    found
    for room in (dpm_solver, endings, grids, evaluations, steps, failures, tables)
    for found in vars(room).values()
    if isinstance(found, Known)
)
