"""Search by a predictor of the objective, and the tournament that it is compared with.

Liu, Ning, Yang, Wang (2023), arXiv 2312.07243 (S^3); sheet `usf-s3`. An evaluation is dear, a
prediction is cheap: fit a score to what was evaluated, search under the score, evaluate the best
few, and again. Early stages stay near what is known (small mutations), later ones take the whole
space. The score is linear in the space's features, fitted to log values by ridge regression, or to
their order by the paper's pairwise loss

    sum_{y_i < y_j} max(0, margin - (F_i - F_j))^2 + penalty |w|^2,   F = features . w, high is good

`tournament` is the evolution of the authors' repository, one true evaluation a child.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import fail, integer, number, one_of
from ..shapes import Float
from .driver import method
from .ledger import Candidate, Ledger, Trial
from .simple import fresh

GENERATIONS, ELITE = 5, 25  # of the search under the score
NARROW = 0.1  # the mutations of early stages
MARGIN = 1.0
REDRAWS = 100

Score = Callable[[Float[np.ndarray, "candidates features"]], Float[np.ndarray, "candidates"]]


def ridge(
    X: Float[np.ndarray, "candidates features"],
    y: Float[np.ndarray, "candidates"],
    penalty: float | int = 1.0,
) -> Score:
    """X -> predicted y: least squares of y on X and 1, with penalty |w|^2 on the rest.

    w = X^T (X X^T + penalty I)^-1 y, both centred.
    """
    centre, level = X.mean(axis=0), y.mean()
    Z = X - centre
    dual = np.linalg.solve(Z @ Z.T + penalty * np.eye(len(y)), y - level)
    w = Z.T @ dual
    return lambda new: level + (new @ w - centre @ w)


def ranking(
    X: Float[np.ndarray, "candidates features"],
    y: Float[np.ndarray, "candidates"],
    penalty: float | int = 1.0,
) -> Score:
    """X -> -F(X), lower for candidates that should have lower y: the squared pairwise hinge."""
    from scipy.optimize import minimize

    i, j = np.nonzero(y[:, None] < y[None, :])
    better = X[i] - X[j]  # (pairs, features): F_i should exceed F_j by the margin

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        short = np.maximum(0.0, MARGIN - better @ w)
        return float(short @ short + penalty * w @ w), 2 * (penalty * w - better.T @ short)

    w = minimize(loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B").x
    return lambda new: -(new @ w)


LOSSES = {"ridge": ridge, "ranking": ranking}


@method("random", "mutate", "cross", "features")
def predictor(
    space: Any,
    ledger: Ledger,
    rng: np.random.Generator,
    start: Sequence[Candidate],
    *,
    first: int = 20,
    batch: int = 5,
    explore: int = 1,
    loss: str = "ridge",
    penalty: float = 0.1,
    pool: int = 2000,
    opens: int = 3,
) -> str:
    """S^3: the start, or the space's own seeds, and `first` random draws are evaluated; then stage
    by stage the batch - explore candidates of best score, and `explore` at random.

    loss: "ridge" on log values, which must be positive, or "ranking"; penalty: of the weights;
    pool: how many candidates are scored in a stage, all where the space is no larger; opens: stages
    that only vary what is known to be good, by small mutations, before the whole space is searched.
    Candidates of infinite value rank last, and are left out of a regression.
    """
    where = "predictor"
    integer(where, "first", first, 2)
    integer(where, "batch", batch, 1)
    integer(where, "explore", explore, 0, batch)
    integer(where, "pool", pool, batch)
    integer(where, "opens", opens, 0)
    one_of(where, "loss", loss, LOSSES)
    number(where, "penalty", penalty, 1e-12)
    seeds = list(dict.fromkeys(start or getattr(space, "seeds", list)()))
    ledger.ask("first", seeds)
    for _ in range(first):
        if (candidate := fresh(lambda: space.random(rng), ledger)) is not None:
            ledger.ask("first", [candidate])
    rows = _Rows(space)
    stage = 0
    while True:
        stage += 1
        score = _fitted(rows, ledger, rng, loss, penalty)
        chosen = _proposed(space, ledger, rng, score, pool, stage <= opens)[: batch - explore]
        for _ in range(batch - len(chosen)):
            seen = {*ledger.values, *chosen}
            candidate = fresh(lambda: space.random(rng), seen)
            chosen += [] if candidate is None else [candidate]
        if not chosen:
            return "no new candidate was drawn"
        ledger.ask(f"stage {stage}", chosen)


class _Rows:
    """The features of candidates, each computed once."""

    def __init__(self, space: Any):
        self.space, self.table = space, np.zeros((0, 0))
        self.index: dict[Candidate, int] = {}

    def __call__(self, candidates: Sequence[Candidate]) -> np.ndarray:
        new = [c for c in candidates if c not in self.index]
        if new:
            added = np.stack([self.space.features(c) for c in new])
            self.index.update({c: len(self.index) + i for i, c in enumerate(new)})
            self.table = np.concatenate([self.table, added]) if len(self.table) else added
        return self.table[[self.index[c] for c in candidates]]


def _fitted(
    rows: _Rows, ledger: Ledger, rng: np.random.Generator, loss: str, penalty: float
) -> Callable[[Sequence[Candidate]], np.ndarray]:
    """The score of candidates by what the ledger holds."""
    asked = [c for c, v in ledger.values.items() if loss == "ranking" or math.isfinite(v)]
    if not asked:
        return lambda candidates: rng.random(len(candidates))
    values = np.array([ledger.values[c] for c in asked])
    if loss == "ridge" and np.any(values <= 0):
        raise fail("predictor", "objective", "positive, or loss='ranking'", float(values.min()))
    targets = np.log(values) if loss == "ridge" else values
    score = LOSSES[loss](rows(asked), targets, penalty)
    return lambda candidates: score(rows(candidates))


def _proposed(
    space: Any,
    ledger: Ledger,
    rng: np.random.Generator,
    score: Callable[[Sequence[Candidate]], np.ndarray],
    pool: int,
    narrow: bool,
) -> list[Candidate]:
    """New candidates, best score first: all of a small space, or an evolution under the score."""
    if getattr(space, "size", math.inf) <= pool and hasattr(space, "__iter__"):
        found = [c for c in space if c not in ledger.values]
        return [found[i] for i in np.argsort(score(found), kind="stable")] if found else []
    found, parents = {}, sorted(ledger.values, key=lambda c: ledger.values[c])[:ELITE]
    for _ in range(GENERATIONS):
        for _ in range(pool // GENERATIONS):
            child = _child(space, parents, rng, narrow)
            if child is not None and child not in ledger.values:
                found[child] = None
        every = [*ledger.values, *found]
        parents = [every[i] for i in np.argsort(score(every), kind="stable")[:ELITE]]
    new = list(found)
    return [new[i] for i in np.argsort(score(new), kind="stable")] if new else []


def _child(
    space: Any, parents: list[Candidate], rng: np.random.Generator, narrow: bool
) -> Candidate | None:
    one, two = (parents[rng.integers(len(parents))] for _ in range(2))
    kind = rng.random()
    if narrow or kind < 0.5:
        return space.mutate(one, rng, NARROW) if narrow else space.mutate(one, rng)
    return space.cross(one, two, rng) if kind < 0.8 else space.random(rng)


@method("random", "mutate", "cross")
def tournament(
    space: Any,
    ledger: Ledger,
    rng: np.random.Generator,
    start: Sequence[Candidate],
    *,
    best: int = 15,
    crossover: float = 0.3,
    first: int = 20,
) -> str:
    """The repository's evolution: a child of the `best` candidates of one number of evaluations.

    That number is drawn uniformly from those seen (`space.nfe`, where the space has it): schedules
    compete with their equals alone. crossover: how likely a child has two parents (.3, for ScoreSDE
    .5), else it is a mutant of one. The first are the start, or the space's seeds, and random ones.
    """
    where = "tournament"
    integer(where, "best", best, 1)
    integer(where, "first", first, 1)
    number(where, "crossover", crossover, 0.0, 1.0)
    seeds = list(dict.fromkeys(start or getattr(space, "seeds", list)()))
    ledger.ask("first", seeds)
    for _ in range(first - len(seeds)):
        if (candidate := fresh(lambda: space.random(rng), ledger)) is not None:
            ledger.ask("first", [candidate])
    cost = getattr(space, "nfe", lambda candidate: 0)

    def child() -> Candidate | None:
        classes = sorted({cost(c) for c in ledger.values})
        wanted = classes[rng.integers(len(classes))]
        equals = [c for c in ledger.values if cost(c) == wanted]
        parents = sorted(equals, key=lambda c: ledger.values[c])[:best]
        one, two = (parents[rng.integers(len(parents))] for _ in range(2))
        return space.cross(one, two, rng) if rng.random() < crossover else space.mutate(one, rng)

    while True:
        candidate = fresh(child, ledger, REDRAWS) or fresh(lambda: space.random(rng), ledger)
        if candidate is None:
            return "no new candidate was drawn"
        ledger.ask("tournament", [candidate])


def best_of_each(history: Sequence[Trial], kind: Callable[[Candidate], Any]) -> dict[Any, Trial]:
    """The best trial of each kind, for example of each number of evaluations (`space.nfe`).

    >>> trials = [Trial((1,), 0.5, "a"), Trial((2, 3), 0.1, "a"), Trial((4,), 0.2, "b")]
    >>> {kind: trial.value for kind, trial in best_of_each(trials, len).items()}
    {1: 0.2, 2: 0.1}
    """
    found: dict[Any, Trial] = {}
    for trial in history:
        key = kind(trial.candidate)
        if key not in found or trial.value < found[key].value:
            found[key] = trial
    return dict(sorted(found.items()))
