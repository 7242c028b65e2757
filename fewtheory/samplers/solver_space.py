"""The space of solver schedules: what a search may choose, step by step.

Liu, Ning, Yang, Wang (2023), arXiv 2312.07243 (USF, S^3); sheet `usf-s3`. A candidate is

    (afs, times, step, step, ...),   step = (type, order, estimate, scaling, corrector),

times: None for the given grid, or those after the first; estimate: from how many nodes the first
derivative is taken, None for all. What cannot matter is not chosen: an order is at most i + 1 at
step i, a first-order step has no derivative, the last one no corrector, and the first step of data
and of noise prediction is DDIM's. Mutations draw with the probabilities of the authors'
repository. `fewtheory.search` takes the space as it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import fail, integer, number, one_of
from ..paths import Path
from ..plan import Grid, GridLike, Plan, grids
from ..shapes import Float
from .model_statistics import ModelStatistics
from .solver_decisions import Decision
from .solver_features import (
    ALLOWED,
    LINEAR_STD,
    Candidate,
    Step,
    draw,
    fitting,
    options,
    solver_features,
    varied,
)
from .solver_schedule import solver_schedule

INSERT, DELETE, STEPWISE = 0.2, 0.2, 0.5


@dataclass(frozen=True, eq=False)
class SolverSpace:
    """All solver schedules of some numbers of steps with some options.

    grid: of `steps` intervals, or decreasing times, or a function of the number of steps; steps: a
    number, or (low, high). types, orders (1 to 4), correctors, afs: as in `Decision` and
    `solver_schedule`; estimates: "full" or numbers of nodes for the first derivative; scalings:
    None, names, and "linear" for a coefficient that is searched. mean, statistics: for afs="mean"
    and type "v3". evaluations: keep to schedules of this cost. move_times: the standard deviation
    of a mutation's relative change of a time, 0 to keep the grid's (.08 in the repository); last:
    the range of the last time, None to keep it. rate: how likely a mutation changes a choice;
    pairs: whether the features hold products of neighbouring steps. Raises ValueError for others.

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> space = SolverSpace(path, ft.plan.grids.log_snr(path, steps=5), 5)
    >>> space.size, space.build(space.seeds()[0]).nfe
    (864, 5)
    """

    path: Path
    grid: GridLike | Callable[[int], GridLike]
    steps: int | tuple[int, int]
    types: Sequence[str] = ("data", "noise")
    orders: Sequence[int] = (1, 2, 3)
    estimates: Sequence[str | int] = ("full",)
    correctors: Sequence[str | None] = (None,)
    afs: Sequence[str] = ("none",)
    scalings: Sequence[str | None] = (None,)
    mean: Any = 0.0
    statistics: ModelStatistics | None = None
    evaluations: int | None = None
    move_times: float | int = 0.0
    last: tuple[float, float] | None = None
    rate: float | int = 0.3
    pairs: bool = True

    def __post_init__(self) -> None:
        where = "SolverSpace"
        low, high = self.range
        integer(where, "steps", low, 1)
        integer(where, "steps", high, low)
        for name, values in ALLOWED.items():
            given = getattr(self, name)
            if isinstance(given, str) or not len(given):
                raise fail(where, name, "a sequence of options", given)
            for value in given:
                one_of(where, name, value, values)
            object.__setattr__(self, name, tuple(given))
        for name, top in (("move_times", math.inf), ("rate", 1.0)):
            number(where, name, getattr(self, name), 0.0, top)
        if self.evaluations is not None:
            integer(where, "evaluations", self.evaluations, 1)
        if self.last is not None and not self.move_times:
            raise fail(where, "last", "None where times do not move", self.last)
        for steps in range(low, high + 1):
            self.base(steps)

    def __repr__(self) -> str:
        names = [*ALLOWED, *"mean statistics evaluations move_times last rate".split()]
        shown = ", ".join(f"{n}={getattr(self, n)!r}" for n in names)
        lam = self.base(self.range[1]).lam.round(12).tolist()
        return f"SolverSpace({self.path!r}, lam={lam}, steps={self.range}, {shown})"

    @property
    def range(self) -> tuple[int, int]:
        """The least and the largest number of steps."""
        given: Any = self.steps
        low, high = given if isinstance(given, (tuple, list)) else (given, given)
        return low, high

    def base(self, steps: int) -> Grid:
        """The given grid of so many steps. Raises ValueError where it has another number."""
        given = self.grid(steps) if callable(self.grid) else self.grid
        found = grids.of(self.path, given)
        if found.steps != steps:
            raise fail("SolverSpace", "grid", f"of {steps} steps", found.steps)
        return found

    def options(self, i: int, steps: int) -> list[Step]:
        """What may be chosen at step i, but for the coefficients of linear scalings."""
        own = (self.types, self.orders, self.estimates, self.scalings, self.correctors)
        return list(options(own, i, i == steps - 1))

    def _made(self, afs: str, times: Any, steps: Sequence[Step]) -> Candidate | None:
        """The candidate, or None where it costs other than what is asked for."""
        fit = [fitting(s, i, i == len(steps) - 1, self.types) for i, s in enumerate(steps)]
        found = (afs, times, *fit)
        wanted = self.evaluations in (None, self.nfe(found))
        inside = self.range[0] <= len(fit) <= self.range[1]
        return found if wanted and inside else None

    def nfe(self, candidate: Candidate) -> int:
        """The evaluations that a candidate costs."""
        afs, _, *steps = candidate
        return len(steps) - (afs != "none") + sum(s[4] == "implicit" for s in steps)

    def decisions(self, candidate: Candidate) -> list[Decision]:
        """The candidate's steps as decisions. Raises ValueError for what is none of the space."""
        if len(candidate) < 3 or not all(
            isinstance(s, tuple) and len(s) == 5 for s in candidate[2:]
        ):
            raise fail("SolverSpace", "candidate", "(afs, times, step, ..)", candidate)
        return [
            Decision(kind, order, () if estimate is None else (estimate,), scaling, -1, corrector)
            for kind, order, estimate, scaling, corrector in candidate[2:]
        ]

    def build(self, candidate: Candidate) -> Plan:
        """The plan of a candidate."""
        afs, times = candidate[:2]
        decisions = self.decisions(candidate)
        grid: Any = self.base(len(decisions))
        if times is not None:
            grid = grids.at_times(self.path, [float(grid.t[0]), *times])
        known = {"mean": self.mean, "statistics": self.statistics}
        return solver_schedule(self.path, grid, decisions, afs=afs, **known)

    @property
    def size(self) -> int | float:
        """How many candidates there are; infinite with times that move or linear scalings."""
        if self.move_times or "linear" in self.scalings:
            return math.inf
        total = 0
        for steps, afs in itertools.product(range(self.range[0], self.range[1] + 1), self.afs):
            ways = np.ones(1, dtype=object)  # by the number of implicit correctors
            for i in range(steps):
                implicit = [s[4] == "implicit" for s in self.options(i, steps)]
                ways = np.convolve(ways, [len(implicit) - sum(implicit), sum(implicit)])
            cost = steps - (afs != "none")
            total += sum(int(n) for k, n in enumerate(ways) if self.evaluations in (None, cost + k))
        return total

    def __iter__(self) -> Iterator[Candidate]:
        if self.size == math.inf:
            raise fail("SolverSpace", "size", "finite to go through all candidates", self.size)
        for afs, steps in itertools.product(self.afs, range(self.range[0], self.range[1] + 1)):
            for chosen in itertools.product(*(self.options(i, steps) for i in range(steps))):
                if (found := self._made(afs, None, chosen)) is not None:
                    yield found

    def seeds(self) -> list[Candidate]:
        """The same type, order and corrector at every step: known solvers, where they belong."""
        found = {}
        for afs, steps in itertools.product(self.afs, range(self.range[0], self.range[1] + 1)):
            for kind, order, c in itertools.product(self.types, self.orders, self.correctors):
                candidate = self._made(
                    afs, self._times(steps), [(kind, order, None, None, c)] * steps
                )
                found[candidate] = None
        return [c for c in found if c is not None]

    def _times(self, steps: int) -> Any:
        return tuple(self.base(steps).t[1:].tolist()) if self.move_times else None

    def random(self, rng: np.random.Generator) -> Candidate | None:
        """Uniform over the options of each choice; None where it costs other than what is asked."""
        steps = int(rng.integers(self.range[0], self.range[1] + 1))
        afs = self.afs[int(rng.integers(len(self.afs)))]
        chosen = []
        for i in range(steps):
            allowed = self.options(i, steps)
            step = allowed[rng.integers(len(allowed))]
            c = float(rng.normal(0, LINEAR_STD)) if step[3] == "linear" else step[3]
            chosen.append((*step[:3], c, step[4]))
        return self._made(afs, self._moved(self._times(steps), rng, 1.0), chosen)

    def mutate(
        self, candidate: Candidate, rng: np.random.Generator, rate: float | int | None = None
    ) -> Candidate | None:
        """A step more (.2) or less (.2) where steps are free; then, each with probability `rate`,
        times, types, orders, scalings, estimates, correctors and the first step drawn again."""
        p = self.rate if rate is None else rate
        afs, times, *steps = candidate
        u = rng.random() * (self.rate / p if p else math.inf)  # a lower rate, fewer of these too
        if self.range[0] < self.range[1]:
            times, steps = self._resized(times, steps, u, rng)
        steps = [varied(self, s, rng, p) for s in steps]
        if rng.random() < p:
            afs = draw(self.afs, rng)
        return self._made(afs, self._moved(times, rng, p), steps)

    def _resized(
        self, times: Any, steps: list[Step], u: float, rng: np.random.Generator
    ) -> tuple[Any, list[Step]]:
        i = int(rng.integers(len(steps)))
        if u < INSERT and len(steps) < self.range[1]:
            new = varied(self, steps[i], rng, 1.0)
            steps = [*steps[:i], new, *steps[i:]]
            if times is not None:
                before = float(self.base(len(times)).t[0]) if i == 0 else times[i - 1]
                times = (*times[:i], float(rng.uniform(times[i], before)), *times[i:])
        elif INSERT <= u < INSERT + DELETE and len(steps) > self.range[0] and len(steps) > 1:
            i = min(i, len(steps) - 2)  # the last time stays
            steps = steps[:i] + steps[i + 1 :]
            times = times and times[:i] + times[i + 1 :]
        return times, steps

    def _moved(self, times: Any, rng: np.random.Generator, p: float) -> Any:
        """Each time, with probability p, times 1 + N(0, move_times), where the order survives."""
        if times is None or p == 0:
            return times
        first = float(self.base(len(times)).t[0])
        low, high = self.path.t_min, first
        moved = []
        for t in times[:-1]:
            factor = 1 + float(rng.normal(0, self.move_times)) if rng.random() < p else 1.0
            moved.append(t * factor if low < t * factor < high else t)
        end = times[-1]
        if self.last is not None and rng.random() < p:
            end = float(rng.uniform(*self.last))
        found = sorted({*moved, end}, reverse=True)
        kept = len(found) == len(times) and found[-1] == end and found[0] < first
        return tuple(found) if kept else times

    def cross(self, one: Candidate, two: Candidate, rng: np.random.Generator) -> Candidate | None:
        """Whole keys (first step, times, types, orders with their derivatives, correctors) from
        either parent, then with probability .5 (type, order, derivative) step by step; None for
        parents of different lengths. Orders are capped again."""
        if len(one) != len(two):
            return None
        keys = rng.integers(2, size=5)
        parents = one, two
        taken = [parents[k] for k in keys]
        steps = [(taken[2][i][0], *taken[3][i][1:4], taken[4][i][4]) for i in range(2, len(one))]
        if rng.random() < STEPWISE:
            picked = [parents[k] for k in rng.integers(2, size=len(steps))]
            steps = [(*picked[i][i + 2][:4], s[4]) for i, s in enumerate(steps)]
        return self._made(taken[0][0], taken[1][1], steps)

    def neighbours(self, candidate: Candidate, choice: int) -> Iterator[Candidate]:
        """The candidates that differ in the first step (0), in one time (1), or in step choice - 2;
        linear scalings and times move by a standard deviation."""
        afs, times, *steps = candidate
        found: list[Any] = []
        if choice == 0:
            found = [self._made(other, times, steps) for other in self.afs]
        elif choice == 1:
            for i, sign in itertools.product(range(len(times or ()) - 1), (-1, 1)):
                moved = list(times)
                moved[i] *= 1 + sign * self.move_times
                if sorted(set(moved), reverse=True) == moved and moved[0] < self.path.start:
                    found.append(self._made(afs, tuple(moved), steps))
        else:
            i = choice - 2
            for step in self.options(i, len(steps)):
                old = steps[i][3] if isinstance(steps[i][3], float) else 0.0
                near = (old - LINEAR_STD, old + LINEAR_STD) if step[3] == "linear" else (step[3],)
                for c in near:
                    new = (*step[:3], c, step[4])
                    found.append(self._made(afs, times, [*steps[:i], new, *steps[i + 1 :]]))
        yield from (c for c in dict.fromkeys(found) if c is not None and c != candidate)

    def features(self, candidate: Candidate) -> Float[np.ndarray, "features"]:
        """See `solver_features`."""
        return solver_features(self, candidate)
