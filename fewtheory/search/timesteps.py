"""The choice of time steps: all subsets of K of a set of candidate times.

A candidate is the increasing tuple of its indices into the candidate times, so that one subset is
one candidate whatever the order in which it was put together. Sheets `autodiffusion` and `boss`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number
from ..paths import Path
from ..plan import grids
from ..shapes import Float
from .ledger import Candidate


def even_times(path: Path, n: int, start: float | None = None, end: float | None = None) -> Any:
    """n candidate times, equal steps apart, increasing from end to start (the grids' defaults).

    >>> from fewtheory.paths import RectifiedFlow
    >>> even_times(RectifiedFlow(), 5, start=1.0, end=0.2)
    array([0.2, 0.4, 0.6, 0.8, 1. ])
    """
    integer("even_times", "n", n, 2)
    return grids.uniform(path, n - 1, start=start, end=end).t[::-1].copy()


@dataclass(frozen=True, eq=False)
class TimeSteps:
    """All grids of k evaluations at k of the candidate times, and the plan of a sampler on each.

    times: (n,) increasing, at least k; sampler: (path, grid) -> Plan, as in `fewtheory.samplers`;
    first: a time before the chosen ones, which is evaluated too; last: the time after them, None
    for a step to sigma = 0; rate: how likely a mutation replaces an entry.

    Raises ValueError where times are not increasing or k > n.

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> space = TimeSteps(path, [0.1, 0.4, 0.7, 1.0], 2, ft.samplers.ddim)
    >>> space.size, space.build((0, 2)).t.round(2)
    (6, array([0.7, 0.1, 0. ]))
    """

    path: Path
    times: Any
    k: int
    sampler: Callable[[Path, Any], Any]
    first: float | None = None
    last: float | None = None
    rate: float | int = 0.25
    n: int = field(init=False)

    def __post_init__(self) -> None:
        times = finite_array("TimeSteps", "times", self.times)
        if times.ndim != 1 or np.any(np.diff(times) <= 0):
            raise fail("TimeSteps", "times", "one-dimensional and increasing", self.times)
        self.path.check_t("TimeSteps", times)
        integer("TimeSteps", "k", self.k, 1, times.size)
        number("TimeSteps", "rate", self.rate, 0.0, 1.0)
        if self.first is not None and not self.first > times[-1]:
            raise fail("TimeSteps", "first", f"later than {times[-1]:g}", self.first)
        if self.last is not None and not self.last < times[0]:
            raise fail("TimeSteps", "last", f"earlier than {times[0]:g}", self.last)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "n", times.size)

    def __repr__(self) -> str:
        name = getattr(self.sampler, "__qualname__", repr(self.sampler))
        ends = f"{self.times[0]:g}..{self.times[-1]:g}, first={self.first}, last={self.last}"
        return f"TimeSteps({self.path!r}, {self.k} of {self.n} times {ends}, {name}, {self.rate:g})"

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return math.comb(self.n, self.k)

    def grid(self, candidate: Candidate) -> grids.Grid:
        """The grid of a candidate. Raises ValueError unless it is k increasing indices."""
        indices = list(candidate)
        rising = all(a < b for a, b in itertools.pairwise(indices))
        if len(indices) != self.k or not rising or not 0 <= indices[0] <= indices[-1] < self.n:
            allowed = f"{self.k} increasing indices below {self.n}"
            raise fail("TimeSteps.grid", "candidate", allowed, candidate)
        t = self.times[indices][::-1].tolist()
        t = ([] if self.first is None else [self.first]) + t
        if self.last is not None:
            return grids.at_times(self.path, [*t, self.last])
        if len(t) > 1:
            return grids.at_times(self.path, t).to_clean()
        return grids.at_lams(self.path, [float(self.path.lam(t[0])), np.inf])

    def build(self, candidate: Candidate) -> Any:
        """What the sampler makes of the candidate's grid, a plan."""
        return self.sampler(self.path, self.grid(candidate))

    def __iter__(self) -> Iterator[Candidate]:
        return itertools.combinations(range(self.n), self.k)

    def seeds(self) -> list[Candidate]:
        """The uniform choice, entries n/k apart."""
        return [tuple(i * self.n // self.k for i in range(self.k))]

    def random(self, rng: np.random.Generator) -> Candidate:
        """A uniform draw."""
        return _sorted(rng.choice(self.n, self.k, replace=False))

    def mutate(
        self, candidate: Candidate, rng: np.random.Generator, rate: float | int | None = None
    ) -> Candidate:
        """Each entry, with probability `rate`, replaced by one that is not in use."""
        chosen = list(candidate)
        for i in range(self.k):
            if rng.random() < (self.rate if rate is None else rate) and self.k < self.n:
                unused = np.setdiff1d(np.arange(self.n), chosen)
                chosen[i] = int(rng.choice(unused))
        return _sorted(chosen)

    def cross(self, one: Candidate, two: Candidate, rng: np.random.Generator) -> Candidate | None:
        """Each position from either parent; None where that takes a time twice."""
        picked = np.where(rng.random(self.k) < 0.5, one, two)
        return _sorted(picked) if np.unique(picked).size == self.k else None

    def neighbours(self, candidate: Candidate, choice: int) -> Iterator[Candidate]:
        """The candidates that have another time in place of entry `choice`."""
        rest = set(candidate) - {candidate[choice]}
        for i in range(self.n):
            if i not in candidate:
                yield _sorted([*rest, i])

    def features(self, candidate: Candidate) -> Float[np.ndarray, "features"]:
        """lam of the chosen times, their squares and the products of neighbours, for predictors."""
        lam = np.asarray(self.path.lam(self.times[list(candidate)]))
        return np.concatenate([lam, lam**2, lam[1:] * lam[:-1]])


def _sorted(indices: Any) -> Candidate:
    return tuple(sorted(int(i) for i in indices))
