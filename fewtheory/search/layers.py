"""Which layers of a network to run at which step: the other half of AutoDiffusion's search.

A candidate is (time steps, layers left out at each of them), both in the order of time, so that a
set belongs to its step and moves with it. With a budget of layers the number of steps may be free:
what is left out here pays for a step there. Source: AutoDiffusion (arXiv 2309.10438); sheet
`autodiffusion`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import fail, integer, number
from .ledger import Candidate
from .timesteps import TimeSteps

OPENS = 5  # generations of time steps alone, and then generations over which skipping opens up


class Layered(NamedTuple):
    """A plan, and the layers that the network leaves out at each evaluation."""

    plan: Any
    skipped: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class LayeredSteps:
    """Time steps and, at each, layers to leave out; `build` gives a `Layered`.

    steps: the time steps; its k is the number of steps, or None for as many as the budget pays;
    layers: L, how many the network has; most: layers run in all, at most (None: no limit); skip:
    the range of u in floor(u L), the number of layers that a fresh set leaves out; rate: how likely
    a mutation replaces an entry of a step or a set.

    Raises ValueError for a budget of less than one step with the least layers.
    """

    steps: TimeSteps
    layers: int
    most: int | None = None
    skip: tuple[float, float] = (0.0, 0.5)
    free: bool = False  # the number of steps
    rate: float | int = 0.25

    def __post_init__(self) -> None:
        where = "LayeredSteps"
        integer(where, "layers", self.layers, 1)
        low, high = (number(where, "skip", v, 0.0, 1.0) for v in self.skip)
        if low > high:
            raise fail(where, "skip", "a range within [0, 1]", self.skip)
        number(where, "rate", self.rate, 0.0, 1.0)
        if self.most is not None:
            integer(where, "most", self.most, self.layers - int(high * self.layers))
        if self.free and self.most is None:
            raise fail(where, "most", "given where the number of steps is free", None)

    def __repr__(self) -> str:
        limits = f"most={self.most}, skip={self.skip}, free={self.free}, {self.rate:g}"
        return f"LayeredSteps({self.steps!r}, {self.layers} layers, {limits})"

    def at(self, generation: int) -> LayeredSteps:
        """The space in this generation of an evolution: time alone, then skipping opens.

        The upper bound grows by a fifth of itself a generation; the lower one holds from then on.
        Where the budget does not pay for every layer of k steps it is open from the start.
        """
        if self.most is not None and not self.free and self.most < self.steps.k * self.layers:
            return self
        if generation < OPENS:
            return replace(self, skip=(0.0, 0.0))
        share = min(1.0, (generation - OPENS + 1) / OPENS)
        low = self.skip[0] if generation > OPENS else 0.0
        high = share * self.skip[1]
        return replace(self, skip=(min(low, high), high))

    def build(self, candidate: Candidate) -> Layered:
        """The plan on the candidate's steps, with what is left out at each evaluation."""
        indices, skipped = candidate
        steps = replace(self.steps, k=len(indices))
        return Layered(steps.build(tuple(indices)), tuple(skipped)[::-1])

    def cost(self, candidate: Candidate) -> int:
        """Layers run in all."""
        indices, skipped = candidate
        return len(indices) * self.layers - sum(len(s) for s in skipped)

    def allowed(self, candidate: Candidate) -> bool:
        """Whether it keeps to the budget."""
        return self.most is None or self.cost(candidate) <= self.most

    def fresh_set(self, rng: np.random.Generator) -> tuple[int, ...]:
        """floor(u L) layers to leave out, at random."""
        count = int(rng.uniform(*self.skip) * self.layers)
        return tuple(sorted(rng.choice(self.layers, count, replace=False).tolist()))

    def seeds(self) -> list[Candidate]:
        """The uniform steps with every layer, where the budget allows."""
        found = [(c, ((),) * len(c)) for c in self.steps.seeds()]
        return [c for c in found if self.allowed(c)]

    def random(self, rng: np.random.Generator) -> Candidate | None:
        """Random steps and sets; with a free number of steps as many as the budget pays."""
        if not self.free:
            steps = self.steps.random(rng)
            found = steps, tuple(self.fresh_set(rng) for _ in steps)
            return found if self.allowed(found) else None
        chosen: dict[int, tuple[int, ...]] = {}
        for index in rng.permutation(self.steps.n).tolist():
            trial = {**chosen, index: self.fresh_set(rng)}
            if not self.allowed(_candidate(trial)):
                break
            chosen = trial
        return _candidate(chosen) if chosen else None

    def mutate(
        self, candidate: Candidate, rng: np.random.Generator, rate: float | int | None = None
    ) -> Candidate | None:
        """Steps as in `TimeSteps`, keeping their sets; then each layer left out, with probability
        `rate`, replaced by one that is run, and empty sets, as likely, by fresh ones."""
        p = self.rate if rate is None else rate
        steps, skipped = candidate
        space = replace(self.steps, k=len(steps))
        moved = space.mutate(steps, rng, p)
        sets = tuple(self._varied(s, rng, p) for s in skipped)
        found = moved, sets
        return found if self.allowed(found) else None

    def _varied(self, skipped: tuple[int, ...], rng: np.random.Generator, p: float) -> Any:
        if not skipped:
            return self.fresh_set(rng) if rng.random() < p else skipped
        out = list(skipped)
        for i in range(len(out)):
            run = np.setdiff1d(np.arange(self.layers), out)
            if rng.random() < p and run.size:
                out[i] = int(rng.choice(run))
        return tuple(sorted(out))

    def cross(self, one: Candidate, two: Candidate, rng: np.random.Generator) -> Candidate | None:
        """Each step, with its set, from either parent; None where a time comes twice, where the
        parents differ in length, or over the budget."""
        if len(one[0]) != len(two[0]):
            return None
        pick = rng.random(len(one[0])) < 0.5
        chosen = {
            parent[0][i]: parent[1][i] for i, parent in enumerate([one if p else two for p in pick])
        }
        found = _candidate(chosen)
        return found if len(chosen) == len(one[0]) and self.allowed(found) else None

    def __iter__(self) -> Iterator[Candidate]:
        """Every choice of k steps and of sets with at most the upper bound left out."""
        most = int(self.skip[1] * self.layers)
        every = range(self.layers)
        sets = [s for n in range(most + 1) for s in itertools.combinations(every, n)]
        for steps in self.steps:
            for skipped in itertools.product(sets, repeat=len(steps)):
                if self.allowed((steps, skipped)):
                    yield steps, skipped


def _candidate(chosen: dict[int, tuple[int, ...]]) -> Candidate:
    steps = tuple(sorted(chosen))
    return steps, tuple(chosen[i] for i in steps)
