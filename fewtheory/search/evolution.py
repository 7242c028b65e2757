"""Evolution: keep the best, vary them, mix them, and look elsewhere too.

Each generation is as large as the first: mutations of the elite, children of two of them, and fresh
draws. The elite is the best of everything seen so far, so its best value never rises. A candidate
is never valued twice; what comes up again is drawn again. Source: AutoDiffusion (arXiv 2309.10438);
sheet `autodiffusion`, "Evolution".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import fail, integer
from .driver import method
from .ledger import Candidate, Ledger
from .simple import fresh

REDRAWS = 10  # tries for a child that is new
FIRST_RATE = 0.1  # of the mutations that make half of the first generation


@method("random", "mutate", "cross")
def evolution(
    space: Any,
    ledger: Ledger,
    rng: np.random.Generator,
    start: Sequence[Candidate],
    *,
    population: int = 50,
    elite: int = 10,
    mutations: int = 25,
    crossovers: int = 10,
) -> str:
    """The paper's evolution: generations of `population` candidates, of which `elite` breed.

    The first one is the start, or the space's own seeds, then mutations of those and as many random
    draws; later ones have `mutations` mutants, `crossovers` children of two, and fresh draws. A
    space that opens up step by step says so by `at(generation)`.
    """
    where = "evolution"
    integer(where, "elite", elite, 1)
    integer(where, "mutations", mutations, 0)
    integer(where, "crossovers", crossovers, 0)
    integer(where, "population", population, 1)
    if mutations + crossovers > population:
        raise fail(where, "population", "at least mutations + crossovers", population)
    staged = getattr(space, "at", lambda generation: space)
    generation = _first_generation(staged(0), rng, start, population)
    number = 0
    while generation:
        ledger.ask(f"generation {number}", generation)
        breeders = sorted(ledger.values, key=lambda c: ledger.values[c])[:elite]
        number += 1
        sizes = population, mutations, crossovers
        generation = _next(staged(number), ledger, rng, breeders, sizes)
    return "no new candidate was drawn"


def _first_generation(
    space: Any, rng: np.random.Generator, start: Sequence[Candidate], population: int
) -> list[Candidate]:
    seeds = list(start) or getattr(space, "seeds", list)()
    found = dict.fromkeys(seeds)

    def add(draw: Any, count: int) -> None:
        for _ in range(count):
            if (candidate := fresh(draw, found, REDRAWS)) is not None:
                found[candidate] = None

    def varied() -> Candidate | None:
        return space.mutate(seeds[rng.integers(len(seeds))], rng, FIRST_RATE)

    if seeds:
        add(varied, population - population // 2 - len(seeds))
    add(lambda: space.random(rng), population - len(found))
    return list(found)


def _next(
    space: Any,
    ledger: Ledger,
    rng: np.random.Generator,
    breeders: list[Candidate],
    sizes: tuple[int, int, int],
) -> list[Candidate]:
    population, mutations, crossovers = sizes

    def parent() -> Candidate:
        return breeders[rng.integers(len(breeders))]

    found: list[Candidate] = []
    seen = set(ledger.values)
    for draw, count in (
        (lambda: space.mutate(parent(), rng), mutations),
        (lambda: space.cross(parent(), parent(), rng), crossovers),
        (lambda: space.random(rng), population),
    ):
        wanted = min(len(found) + count, population)
        for _ in range(wanted - len(found)):
            child = fresh(draw, seen, REDRAWS)
            if child is not None:
                found.append(child)
                seen.add(child)
    return found
