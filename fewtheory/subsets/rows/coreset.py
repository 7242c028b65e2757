"""Few reweighted rows that keep every l_p norm: |S A x|_p is near |A x|_p for all x at once.

A row drawn with probability q_i is scaled by q_i^{-1/p}: then |S A x|_p^p has the mean |A x|_p^p,
and its variance is small where q_i is at least a multiple of what the row can carry. Woodruff &
Yasuda (arXiv 2306.00732), sheet `lp-sensitivity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, Rng, as_like, check_rng, namespace
from ...errors import fail, integer, number, one_of
from .blocks import is_dask, rows_of
from .budget import DRAWS, draw_rows
from .lewis import norm_exponent
from .scores import in_range
from .scores import scores as score_rows


@dataclass(frozen=True)
class Coreset:
    """Rows of a matrix with weights.

    Attributes:
        index: (k,), which rows, in order; with replacement a row may come twice.
        weight: (k,), by how much each is multiplied: q^{-1/p}.
        probability: (k,), q: of being kept, or expected number of times.
        p: of the norm.
        n: rows of the matrix.
    """

    index: np.ndarray
    weight: np.ndarray
    probability: np.ndarray
    p: float
    n: int

    def rows(self, A: Any) -> Array:
        """S A, (k, d), of A's kind; a dask array's rows are collected."""
        if A.shape[0] != self.n:
            raise fail("Coreset.rows", "A", f"of {self.n} rows", tuple(A.shape))
        if is_dask(A):
            return A[self.index].compute() * self.weight[:, None]
        xp = namespace(A)
        where = xp.asarray(self.index, device=getattr(A, "device", None))
        return xp.take(A, where, axis=0) * as_like(self.weight[:, None], A)

    def distortion(self, A: Array, **how: Any) -> Any:
        """sup_x | |S A x|_p / |A x|_p - 1 |: `fewtheory.subsets.distortion` of this coreset."""
        from .distortion import distortion

        return distortion(A, self.index, self.weight, self.p, **how)


def coreset(
    A: Any,
    p: float | int,
    m: float | int,
    *,
    scores: str | Any = "lewis",
    draw: str = "bernoulli",
    reference: int | None = None,
    rng: Rng,
) -> Coreset:
    """About m reweighted rows of A for the l_p norm.

    Args:
        A: (n, d), NumPy, torch, or dask chunked by rows.
        p: of the norm, 1 <= p < infinity.
        m: rows, at least the number of columns; the expectation of their number, or the number
            itself for draw "fixed" and "replacement".
        scores: a family (`fewtheory.subsets.scores`), or an array (n,) of your own.
        draw: "bernoulli", "fixed" or "replacement", as of `fewtheory.subsets.draw_rows`.
        reference: for sensitivities of many rows, as of `fewtheory.subsets.scores`.
        rng: a numpy or torch generator.

    Raises: ValueError where p, the budget, the family or the draw is out of its range.

    Source: sheet `lp-sensitivity`, Method, Sampling.

    >>> import numpy as np
    >>> from fewtheory.subsets import coreset
    >>> A = np.random.default_rng(0).standard_normal((1000, 3))
    >>> C = coreset(A, 1, 50, draw="fixed", rng=np.random.default_rng(1))
    >>> C.rows(A).shape
    (50, 3)
    """
    name = "coreset"
    exponent = norm_exponent(name, p)
    one_of(name, "draw", draw, DRAWS)
    check_rng(name, rng)
    n, d = matrix_shape(name, A)
    budget = number(name, "m", m, d)
    if draw != "bernoulli":
        budget = integer(name, "m", m, d)
    if isinstance(scores, str):
        in_range(name, scores, p)
        scores = score_rows(A, exponent, scores, reference=reference, rng=rng)
    elif tuple(getattr(scores, "shape", ())) != (n,):
        raise fail(name, "scores", f"a family or of shape ({n},)", getattr(scores, "shape", scores))
    return drawn(scores, exponent, budget, draw, rng)


def drawn(scores: Any, p: float, m: float | int, how: str, rng: Rng) -> Coreset:
    """The coreset that these scores and this budget make."""
    index, q = draw_rows(scores, m, how=how, rng=rng)
    return Coreset(index, q ** (-1 / p), q, p, int(scores.shape[0]))


def matrix_shape(where: str, A: Any) -> tuple[int, int]:
    """(n, d) of a matrix of any kind, or an error that names it."""
    rows = rows_of(where, A)
    return rows.n, rows.d
