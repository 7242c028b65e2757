"""The samplers of a comparison that are fitted to a world first: statistics, time steps, schedules.

Everything is fitted on starts of its own seed and judged on others; what the fit costs is not
counted in the evaluations, and the page says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import numpy as np

import fewtheory as ft
from fewtheory.plan import Plan, grids
from fewtheory.samplers.time_shift import pixel_variance

FIT_SEEDS = (1_000, 1_001, 1_002)
SEARCHED = 40  # evaluations of a search's objective


def plans(world: Any, budget: int, known: Collection[Any] = ()) -> Iterator[tuple[str, str, Plan]]:
    """(sampler, grid, plan) of what is fitted to this world with this many evaluations.

    known: (sampler, grid) that are not asked for.
    """
    path = world.model.path
    for name, fit in FITS.items():
        for where, make in GRIDS[fit].items():
            if (name, where) in known:
                continue
            plan = fit(world, make(path, budget) if make else budget)
            if plan is not None:
                yield name, where, plan


_STATISTICS: dict[str, Any] = {}


def v3(world: Any, grid: grids.Grid) -> Plan | None:
    """DPM-Solver-v3 with the exact statistics of a testbed."""
    if world.bed is None:
        return None
    if world.name not in _STATISTICS:
        lams = np.linspace(float(grid.lam[0]), float(grid.lam[-1]), 121)
        _STATISTICS[world.name] = ft.samplers.ModelStatistics.exact(world.bed, lams)
    statistics = _STATISTICS[world.name]
    return ft.samplers.dpm_solver_v3(grid.path, grid, statistics, 3, corrector=3)


def shifted(world: Any, grid: grids.Grid) -> Plan | None:
    """DDIM with shifted times: the variance of where the fit's starts end, a window of 0.03."""
    ends = world.exact(world.starts(FIT_SEEDS[0]))
    if np.prod(ends.shape[1:]) < 2:
        return None  # one pixel has no variance
    return ft.samplers.time_shift(
        ft.samplers.ddim(grid.path, grid),
        criterion="marginal",
        data_var=float(np.mean(ft.arrays.to_numpy(pixel_variance(ends)))),
        window=0.03 * (grid.path.t_max - grid.path.t_min),
    )


def searched(sampler: Callable[[Any, Any], Plan], world: Any, budget: int) -> Plan:
    """Evolution over inner levels, of 79 equally far apart in lam, from the usual grids on."""
    path = world.model.path
    lam = np.linspace(path.lam(path.start), path.lam(path.end), 81)
    times = path.t_at(lam)[1:-1][::-1]
    space = ft.search.TimeSteps(path, times, budget - 1, sampler, first=path.start, last=path.end)
    found = ft.search.run(
        space,
        lambda plan: float(world.errors(plan, FIT_SEEDS).mean()),
        budget=SEARCHED,
        start=sorted({_nearest(space, make(path, budget)) for make in STARTS}),
        population=20,
        elite=5,
        mutations=10,
        crossovers=5,
    )
    return found.plan


STARTS = (grids.log_snr, grids.uniform, grids.quadratic, grids.karras)


def _nearest(space: Any, grid: grids.Grid) -> tuple[int, ...]:
    """The candidate whose levels are nearest to a grid's, each of its own."""
    lam = np.asarray(space.path.lam(space.times))
    free = list(range(space.n))
    chosen = [free.pop(int(np.abs(lam[free] - v).argmin())) for v in grid.lam[1:-1].tolist()]
    return tuple(sorted(chosen))


def _two_m(path: Any, grid: Any) -> Plan:
    return ft.samplers.dpm_solver_pp(path, grid, 2)


SEARCH_DDIM, SEARCH_2M = (partial(searched, s) for s in (ft.samplers.ddim, _two_m))
FITS: dict[str, Callable[[Any, Any], Plan | None]] = {
    "DPM-Solver-v3, own statistics": v3,
    "DDIM, time shift (marginal)": shifted,
    "DDIM, searched steps": SEARCH_DDIM,
    "DPM-Solver++(2M), searched steps": SEARCH_2M,
}
GRIDS: dict[Callable[..., Any], dict[str, Callable[[Any, int], grids.Grid] | None]] = {
    v3: {"log-SNR": grids.log_snr},
    shifted: {"log-SNR": grids.log_snr, "uniform": grids.uniform},
    SEARCH_DDIM: {"searched": None},  # the search makes its own grid
    SEARCH_2M: {"searched": None},
}
