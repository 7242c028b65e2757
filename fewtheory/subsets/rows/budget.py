"""From scores to probabilities that add up to a budget, and draws with these probabilities.

q_i = min(1, c s_i) with c such that sum q_i = m: rows that are worth more than one are kept for
certain, and what they leave of the budget goes to the others (water-filling). m sum(s)^{-1} s_i
alone would spend less than m.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...arrays import Array, Rng, namespace, to_numpy
from ...errors import fail, integer, number, one_of
from .._host import host_rng, seed_sequence
from .blocks import Rows, add, larger, rows_of, smaller

DRAWS = ("bernoulli", "fixed", "replacement")


def inclusion_probabilities(scores: Array, m: float | int) -> Array:
    """q_i = min(1, c s_i) with sum q_i = m, (n,).

    Args:
        scores: (n,), finite, not negative; NumPy, torch or dask.
        m: expected number of rows, 0 < m; where fewer scores are positive, all of these have q = 1.

    Raises: ValueError for scores that are negative, not finite or all zero, and m <= 0.

    Source: sheet `lp-sensitivity`, Method, Sampling.

    >>> import numpy as np
    >>> from fewtheory.subsets import inclusion_probabilities
    >>> inclusion_probabilities(np.array([6.0, 1.0, 1.0, 2.0]), 2).round(3).tolist()
    [1.0, 0.25, 0.25, 0.5]
    """
    name = "inclusion_probabilities"
    budget = number(name, "m", m, np.finfo(float).tiny)
    column = as_column(name, scores)
    check_scores(name, column)
    c = rate(column, budget)
    return column.of_rows(column.sweep(functools.partial(probability_of_block, c=c))[0][0])


def as_column(where: str, scores: Any) -> Rows:
    """Scores as a matrix of one column, in rows."""
    if len(getattr(scores, "shape", ())) != 1:
        raise fail(where, "scores", "of shape (n,)", getattr(scores, "shape", scores))
    return rows_of(where, scores[:, None], "scores")


def check_scores(where: str, column: Rows) -> None:
    """Raise unless scores are finite, not negative, and one of them is positive."""
    least, most = column.sweep(extremes_of_block, combine=(smaller, larger))[1]
    if not (math.isfinite(float(least)) and math.isfinite(float(most)) and least >= 0):
        raise fail(where, "scores", "finite and not negative", (float(least), float(most)))
    if most == 0:
        raise fail(where, "scores", "positive for a row", 0.0)


def extremes_of_block(block: Array) -> tuple[tuple[()], tuple[Array, Array]]:
    """The least and the largest score; NaN where there is one."""
    xp = namespace(block)
    return (), (xp.min(block), xp.max(block))


def rate(column: Rows, m: float) -> float:
    """c of q = min(1, c s): each round keeps for certain what the last c saturates.

    c only grows, so that rows once saturated stay so; the rounds end when none is added.
    """
    c = 0.0
    before = -1
    while True:
        part = functools.partial(shares_of_block, c=c)
        saturated, rest, positive = (
            float(v) for v in column.sweep(part, combine=(add, add, add))[1]
        )
        if positive <= m:
            return math.inf
        if saturated == before:
            return c
        c, before = (m - saturated) / rest, saturated


def shares_of_block(block: Array, *, c: float) -> tuple[tuple[()], tuple[Array, Array, Array]]:
    """How many scores c saturates, the sum of the others, and how many are positive."""
    xp = namespace(block)
    full = c * block >= 1
    return (), (
        xp.sum(xp.astype(full, xp.float64)),
        xp.sum(xp.where(full, 0.0, block)),
        xp.sum(xp.astype(block > 0, xp.float64)),
    )


def probability_of_block(block: Array, *, c: float) -> tuple[tuple[Array], tuple[()]]:
    """min(1, c s), 1 for every positive score where c is infinite."""
    xp = namespace(block)
    s = block[:, 0]
    if math.isinf(c):
        return (xp.astype(s > 0, xp.float64),), ()
    return (xp.clip(c * s, max=1.0),), ()


def draw_rows(
    scores: Array, m: float | int, *, how: str = "bernoulli", rng: Rng
) -> tuple[np.ndarray, np.ndarray]:
    """(index, probability) of the rows that a budget of m buys, on the host, in row order.

    Args:
        scores: (n,), as of `inclusion_probabilities`.
        m: expected number of rows; an integer for "fixed" and "replacement".
        how: "bernoulli" keeps each row by itself with probability q_i; "fixed" takes exactly m rows
            (or all positive ones, if fewer), each with probability q_i, by systematic sampling in
            random order; "replacement" draws m times from s / sum s: a row may come twice, and its
            probability is the expected number of times, m s_i / sum s.
        rng: a numpy or torch generator.

    Returns: index (k,) of int64 and probability (k,).

    Raises: ValueError for bad scores, budgets and names.

    Source: sheet `lp-sensitivity`, Method, Sampling; "fixed" has the same inclusion probabilities,
        hence the same means, but not the independence that the bounds assume.

    >>> import numpy as np
    >>> from fewtheory.subsets import draw_rows
    >>> index, q = draw_rows(np.array([5.0, 0.0, 5.0]), 2, rng=np.random.default_rng(0))
    >>> index.tolist(), q.tolist()
    ([0, 2], [1.0, 1.0])
    """
    one_of("draw_rows", "how", how, DRAWS)
    own = host_rng("draw_rows", rng)
    if how == "replacement":
        times = integer("draw_rows", "m", m, 1)
        column = as_column("draw_rows", scores)
        check_scores("draw_rows", column)
        share = host(scores)
        share = share / share.sum()
        index = np.sort(own.choice(len(share), size=times, p=share))
        return index, times * share[index]
    if how == "fixed":
        integer("draw_rows", "m", m, 1)
        q = host(inclusion_probabilities(scores, m))
        index = systematic(q, own)
        return index, q[index]
    q = inclusion_probabilities(scores, m)
    kept = as_column("draw_rows", q).sweep(kept_of_block, seed=seed_sequence(own))[0][0]
    index = np.flatnonzero(host(kept))
    return index, host(q)[index]


def host(values: Any) -> np.ndarray:
    """Values for each row, as a NumPy array; a cluster's are collected."""
    return to_numpy(values.compute() if hasattr(values, "compute") else values)


def kept_of_block(block: Array, *, rng: np.random.Generator) -> tuple[tuple[Array], tuple[()]]:
    """Which rows are kept, 1 or 0."""
    xp = namespace(block)
    drawn = xp.asarray(rng.random(block.shape[0]), device=getattr(block, "device", None))
    return (xp.astype(drawn < block[:, 0], xp.float64),), ()


def systematic(q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows, in random order, met on their cumulated q by a comb of unit distance and random offset.

    A row of length q <= 1 is met at most once, with probability q.
    """
    order = rng.permutation(len(q))
    ends = np.cumsum(q[order])
    count = round(float(ends[-1]))
    ends *= count / ends[-1]
    met = np.searchsorted(ends, rng.random() + np.arange(count), side="right")
    return np.sort(order[np.minimum(met, len(q) - 1)])
