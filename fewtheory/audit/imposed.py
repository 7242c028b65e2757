"""A grid of our own, imposed on a scheduler: its table of noise levels is made to be that grid.

A scheduler's own grids are nearly even, and end where steps are longest. A table with one entry a
level (`trained_betas`) makes every timestep an entry, so that a run takes the steps that we want:
equal in lam, to see what the first and the last steps cost, or alternately short and long, to see
whether the rule knows of unequal steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..paths import Table
from .case import Case
from .recovered import Recovered

STEPS = (16, 32, 64)
LOW, HIGH = -3.0, 3.0  # in lam: where the bimodal law is decided
EVEN, UNEVEN = (1.0,), (1.0, 2.0)  # the lengths of successive steps, repeated


def imposed(
    case: Case,
    lengths: Sequence[float],
    steps: Sequence[int] = STEPS,
    ends: tuple[float, float] = (LOW, HIGH),
) -> list[Recovered] | None:
    """Runs in so many steps between these ends (in lam) with steps in these proportions.

    None where the scheduler takes no table, or makes other timesteps of it.
    """
    if not (isinstance(case.told and case.told.path, Table) and case.accepts("trained_betas")):
        return None
    runs: list[Recovered] = []
    for n in steps:
        grids = (_between(*ends, entries, lengths) for entries in (n + 1, n))
        found = (_on_table(case, n, lam) for lam in grids)
        run = next((r for r in found if r is not None), None)
        if run is None:
            return None
        runs.append(run)
    return runs


def _between(low: float, high: float, entries: int, lengths: Sequence[float]) -> np.ndarray:
    """lam of a table's entries, from the cleanest on."""
    widths = np.resize(np.asarray(lengths), entries - 1)
    return high - (high - low) * np.append(0.0, np.cumsum(widths)) / widths.sum()


def _on_table(case: Case, steps: int, lam: np.ndarray) -> Recovered | None:
    entries = len(lam)
    alpha2 = 1 / (1 + np.exp(-2 * lam))
    betas = 1 - alpha2 / np.append(1.0, alpha2[:-1])
    given: dict[str, Any] = {"trained_betas": betas.tolist(), "num_train_timesteps": entries}
    if case.accepts("final_sigmas_type"):
        given["final_sigmas_type"] = "sigma_min"
    for key, value in case.settings().items():  # no other grid on top of this one
        if key.startswith("use_") and key.endswith(("sigmas", "lambdas")) and value:
            given[key] = False
    r = Case(case.judged.with_settings(**given), (steps,)).run(steps)
    if r is None or not r.sound or r.probe.nfe != steps:  # stages stand between entries
        return None
    place = np.searchsorted(-lam, -r.handed.lam - 1e-6)
    there = np.abs(lam[np.minimum(place, entries - 1)] - r.handed.lam) < 1e-6
    return r if np.all(there) and np.all(np.abs(np.diff(place)) == 1) else None
