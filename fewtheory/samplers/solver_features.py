"""What may be chosen at a step of a solver schedule, how it is drawn, and what a predictor sees.

The parts of `SolverSpace` that know no grid; arXiv 2312.07243, sheet `usf-s3`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..shapes import Float
from .solver_decisions import AFS, CORRECTORS, SCALINGS, TYPES

Step: TypeAlias = tuple[Any, ...]  # (type, order, estimate, scaling, corrector)
Candidate: TypeAlias = tuple[Any, ...]  # (afs, times, step, step, ..)

ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "types": TYPES,
    "orders": (1, 2, 3, 4),
    "estimates": ("full", 1, 2, 3),
    "correctors": CORRECTORS,
    "afs": AFS,
    "scalings": (None, "linear", *SCALINGS),
}
LINEAR_STD = 0.03  # of a mutation of c in 1 + c h
WEIGHTS: Mapping[Any, float] = {  # of the repository; other options have weight .5
    **{1: 0.2, 2: 0.4, 3: 0.3, 4: 0.1},
    **{"noise": 0.3, "data": 0.3, "v3": 0.4},
    **{"none": 0.3, "zero": 0.3, "mean": 0.4},
}


@functools.lru_cache(maxsize=256)
def options(own: tuple[tuple[Any, ...], ...], i: int, last: bool) -> tuple[Step, ...]:
    """The different steps at place i: own holds types, orders, estimates, scalings, correctors."""
    every = itertools.product(*own)
    made = (fitting((*s[:2], count(s[2]), *s[3:]), i, last, own[0]) for s in every)
    return tuple(dict.fromkeys(made))


def fitting(step: Step, i: int, last: bool, types: Sequence[str]) -> Step:
    """The step as it is at place i: order capped, what cannot matter left out."""
    kind, order, estimate, scaling, corrector = step
    order = min(order, i + 1)
    if i == 0 and kind != "v3" and order == 1:
        kind = next(k for k in types if k != "v3")
    if order == 1:
        estimate = scaling = None
    if estimate is not None and estimate >= order - 1:
        estimate = None
    return kind, order, estimate, scaling, None if last else corrector


def _columns(space: Any) -> list[tuple[Any, ...]]:
    """What each group of columns of a step tells apart; one that is always the same is left out."""
    orders = sorted({*space.orders, *range(1, max(space.orders))})
    groups = [
        tuple(itertools.product(space.types, orders)),
        tuple(dict.fromkeys(["full", *space.estimates])),
        tuple(dict.fromkeys([None, *space.scalings])),
        tuple(dict.fromkeys([None, *space.correctors])),
    ]
    return [g if len(g) > 1 else () for g in groups]


def solver_features(space: Any, candidate: Candidate) -> Float[np.ndarray, "features"]:
    """What a predictor sees: one-hot (type, order), estimate, scaling and corrector of each step,
    products of neighbouring steps (`pairs`), the linear coefficients, the first step, and lam of
    the times with its square where times move. Shorter schedules end in zeros."""
    afs, times, *steps = candidate
    most, groups = space.range[1], _columns(space)
    codes, slopes = np.zeros((most, sum(map(len, groups)))), np.zeros(most)
    for i, (kind, order, estimate, scaling, corrector) in enumerate(steps):
        linear = isinstance(scaling, float)
        slopes[i] = scaling if linear else 0.0
        values = (
            (kind, order),
            "full" if estimate is None else estimate,
            "linear" if linear else scaling,
            corrector,
        )
        hot = [float(v == value) for g, value in zip(groups, values, strict=True) for v in g]
        codes[i] = hot
    parts = [codes.ravel(), [float(afs == a) for a in space.afs]]
    if space.pairs:
        parts.append((codes[:-1, :, None] * codes[1:, None, :]).ravel())
    if "linear" in space.scalings:
        parts.append(slopes)
    if times is not None:
        lam = np.zeros(most)
        lam[: len(times)] = space.path.lam(np.array(times))
        parts += [lam, lam**2]
    return np.concatenate(parts)


def count(estimate: Any) -> int | None:
    """ "full" as a candidate holds it, None."""
    return None if estimate == "full" else estimate


def draw(values: Sequence[Any], rng: np.random.Generator) -> Any:
    """One of them, by the repository's probabilities."""
    p = np.array([WEIGHTS.get(v, 0.5) for v in values])
    return values[rng.choice(len(values), p=p / p.sum())]


def varied(space: Any, step: Step, rng: np.random.Generator, p: float) -> Step:
    """Each choice of a step, with probability p, drawn again."""
    kind, order, estimate, scaling, corrector = step
    if rng.random() < p:
        kind = draw(space.types, rng)
    if rng.random() < p:
        order = int(draw(space.orders, rng))
    if rng.random() < p:
        estimate = count(draw(space.estimates, rng))
    if rng.random() < p:
        drawn = draw(space.scalings, rng)
        old = scaling if isinstance(scaling, float) else 0.0
        scaling = old + float(rng.normal(0, LINEAR_STD)) if drawn == "linear" else drawn
    if rng.random() < p:
        corrector = draw(space.correctors, rng)
    return kind, order, estimate, scaling, corrector
