"""What each search misses after the same number of evaluations, where the optimum is known.

`python docs/search_regret.py` runs every search of `fewtheory.search` that fits a space, over five
seeds, and makes docs/searches.md: the median of value / optimum - 1. Run by `make comparison`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

import fewtheory as ft
from fewtheory.files import write_whole
from fewtheory.plan import grids
from fewtheory.plan.angles import first_order_w2
from fewtheory.search import METHODS, TimeSteps
from fewtheory.search.layers import LayeredSteps
from fewtheory.testbeds.layered import LayeredDenoiser

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 5
BUDGETS = (60, 100, 200)
ALONE = ("exhaustive", "gradient", "bellman")  # their answer does not depend on a seed
DDPM = ft.paths.Table(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
STDS = np.array([1.5, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05])
MEANS = np.array([1.0, 0.5, 0, 0, 0, 0, 0, 0])


@dataclass(frozen=True)
class Problem:
    """A space, an objective and its least value, and where that is known from."""

    title: str
    space: Any
    objective: Callable[[Any], float]
    optimum: float
    known_from: str


def fid(grid: grids.Grid) -> float:
    """The exact Frechet distance of DDIM's output from N(0, I)."""
    return first_order_w2(grid.path, grid, MEANS, STDS, start="normal") ** 2


def time_steps(k: int, optimum: float) -> Problem:
    """k of 100 time steps (sheet `autodiffusion`, C5)."""
    space = TimeSteps(DDPM, np.arange(10, 1001, 10) / 1000, k, grids.of)
    plans = math.comb(100, k)
    return Problem(
        f"{k} of 100 time steps, exact FID in 8-D", space, fid, optimum, f"all {plans:,}"
    )


def layers() -> Problem:
    """Two steps and five of their eight layers (C10)."""
    stds, times = np.array([1.4, 1.0, 0.7, 0.5, 0.35, 0.25]), np.arange(30, 1001, 50) / 1000
    bed, x = LayeredDenoiser(stds, DDPM, times, 4), np.ones((1, 6))

    def error(layered: Any) -> float:
        model = bed.model(layered.skipped, layered.plan.t[:-1].tolist())
        return float(((np.abs(layered.plan.run(model, x)[0]) - stds) ** 2).sum())

    steps = TimeSteps(DDPM, times, 2, ft.samplers.ddim)
    space = LayeredSteps(steps, 4, most=5, skip=(0.25, 0.75))
    return Problem(
        "two time steps and five of eight layers", space, error, 0.015044148, "all 48,640"
    )


class Valued(ft.samplers.SolverSpace):
    """Solver schedules whose candidates are what the objective takes."""

    def build(self, candidate: Any) -> Any:
        """The candidate itself."""
        return candidate


def schedules() -> Problem:
    """All schedules of five steps, type and order of each (sheet `usf-s3`, C4)."""
    path, bed = ft.paths.VPLinear(), ft.testbeds.mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])
    grid = grids.at_lams(path, np.linspace(-4.0, 3.0, 6))
    start, end = float(grid.t[0]), float(grid.t[-1])
    x = bed.at(path, start).quantile((np.arange(64) + 0.5)[:, None] / 64)
    exact, model = bed.flow(path)(x, start, end), bed.model(path, "data")
    space = ft.samplers.SolverSpace(path, grid, 5)
    values = {
        c: float(np.sqrt(((space.build(c).run(model, x) - exact) ** 2).mean())) for c in space
    }
    best = min(values.values())
    valued = Valued(path, grid, 5)
    return Problem("solver schedules of five steps", valued, values.__getitem__, best, "all 864")


def problems() -> list[Problem]:
    """Those of the table."""
    three, four = time_steps(3, 0.4122462222134874), time_steps(4, 0.28381499960190454)
    return [three, four, layers(), schedules()]


def regrets(problem: Problem, method: str) -> list[float]:
    """The median regret of a search at each budget."""
    runs = Parallel(n_jobs=2)(delayed(regret)(problem, method, s) for s in range(SEEDS))
    return np.median(np.array(runs), axis=0).tolist()


def regret(problem: Problem, method: str, seed: int) -> list[float]:
    """The regret of one search at each budget."""
    found = ft.search.run(
        problem.space, problem.objective, method=method, budget=max(BUDGETS), seed=seed
    )
    missed = found.regret(problem.optimum)
    return [missed[min(n, len(missed)) - 1] for n in BUDGETS]


def fits(method: str, space: Any) -> bool:
    """Whether the space has what the search needs."""
    needs = getattr(METHODS[method], "needs", ())
    return method not in ALONE and all(hasattr(space, need) for need in needs)


def page() -> str:
    """The page's text."""
    parts = [
        "# Searches where the optimum is known",
        f"Median regret, value / optimum - 1, over {SEEDS} seeds after the same number of "
        "evaluations, each search with its defaults. `make comparison` runs it again.",
    ]
    for problem in problems():
        rows = ["| search | " + " | ".join(map(str, BUDGETS)) + " |"]
        rows.append("| --- |" + " ---: |" * len(BUDGETS))
        for method in METHODS:
            if fits(method, problem.space):
                found = regrets(problem, method)
                rows.append(f"| `{method}` | " + " | ".join(f"{v:.1%}" for v in found) + " |")
        parts.append(f"## {problem.title}")
        parts.append(f"The optimum, {problem.optimum:.6g}, is that of {problem.known_from}.")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    write_whole(ROOT / "docs/searches.md", page())
    sys.exit(0)
