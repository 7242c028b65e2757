"""The searches that every other one has to beat: at random, all of it, one coordinate at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .driver import method
from .ledger import Candidate, Ledger

TRIES = 1000  # draws in a row without a new candidate: the space is exhausted, for all we know


def fresh(draw: Callable[[], Candidate | None], seen: Any, tries: int = TRIES) -> Candidate | None:
    """The first drawn candidate that `seen` does not contain, or None after so many tries."""
    for _ in range(tries):
        candidate = draw()
        if candidate is not None and candidate not in seen:
            return candidate
    return None


@method("random")
def random(space: Any, ledger: Ledger, rng: np.random.Generator, start: Sequence[Candidate]) -> str:
    """Independent draws from the space, none twice."""
    ledger.ask("start", start)
    while (candidate := fresh(lambda: space.random(rng), ledger)) is not None:
        ledger.ask("random", [candidate])
    return "no new candidate was drawn"


@method("__iter__")
def exhaustive(
    space: Any, ledger: Ledger, rng: np.random.Generator, start: Sequence[Candidate]
) -> str:
    """Every candidate, in the space's own order: the optimum itself where the budget allows."""
    for candidate in space:
        ledger.ask("all", [candidate])
    return "every candidate was evaluated"


@method("random", "neighbours")
def coordinate(
    space: Any, ledger: Ledger, rng: np.random.Generator, start: Sequence[Candidate]
) -> str:
    """Descent over one choice at a time, from the start, then from random candidates.

    `space.neighbours(c)` lists, choice by choice, the candidates that differ from c in it; the best
    one is taken before the next choice is looked at, until no choice improves.
    """
    begin = list(start) or getattr(space, "seeds", list)()
    while True:
        here = begin.pop(0) if begin else fresh(lambda: space.random(rng), ledger)
        if here is None:
            return "no new candidate was drawn"
        (value,) = ledger.ask("start", [here])
        moved = True
        while moved:
            moved = False
            for choice in range(len(here)):
                others = list(space.neighbours(here, choice))
                values = ledger.ask("descent", others)
                if others and min(values) < value:
                    value, moved = min(values), True
                    here = others[values.index(value)]
