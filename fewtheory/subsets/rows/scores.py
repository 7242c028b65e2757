"""Which rows matter: the score families, each with the number of rows that it needs.

| family | s_i | rows for a constant distortion, but for logarithms |
| --- | --- | --- |
| `uniform` | 1 | any number may be too few: the control |
| `leverage` | tau_i | d at p = 2; beyond p = 2 any number may be too few |
| `root-leverage` | tau_i^{p/2} | d, in the rounds of `root_leverage_coreset`; p <= 2 |
| `sensitivity` | sigma_i(p) | d^{1-p/2} S for p <= 2, S^{2-2/p} above |
| `lewis` | w_i | d for p <= 2, d^{p/2} above |
| `augmented` | sigma_i(p) + tau_i | S + d, p <= 2 |
| `leverage+sensitivity` | tau_i/d + sigma_i/S | d^{2/p} S^{2-4/p}, p >= 2 |

S is the total sensitivity. Woodruff & Yasuda (arXiv 2306.00732) prove S^{2/p} for sensitivities and
p < 2; the sharper d^{1-p/2} S is Chen & Derezinski's, the augmented scores are Munteanu & Omlor's.
Sheet `lp-sensitivity`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...arrays import Array, Rng, check_rng, namespace
from ...errors import fail, integer, number, one_of
from .blocks import is_dask, matrix, rows_of
from .leverage import leverage_scores
from .lewis import lewis_weights, norm_exponent
from .sensitivities import sensitivities


@dataclass(frozen=True)
class Question:
    """Whose rows are scored, in which norm, and how sensitivities are found.

    reference: None for exact ones, or the number of rows of a Lewis coreset to which they are
    relative; rng draws that coreset.
    """

    A: Any
    p: float
    reference: int | None
    rng: Rng

    def leverage(self) -> Any:
        """tau_i."""
        return leverage_scores(self.A)

    def lewis(self) -> Any:
        """w_i to six digits: scores that are off by a factor cost that factor in rows."""
        return lewis_weights(self.A, self.p, tolerance=1e-6).weights

    def sensitivity(self) -> Any:
        """sigma_i(p)."""
        if self.reference is None:
            return sensitivities(self.A, self.p).upper
        from .coreset import coreset  # which scores rows itself

        B = coreset(self.A, self.p, self.reference, scores="lewis", rng=self.rng).rows(self.A)
        rows = rows_of("scores", self.A)
        part = functools.partial(sensitivities_of_block, p=self.p, B=B)
        return rows.of_rows(rows.sweep(part)[0][0])


def sensitivities_of_block(block: Array, *, p: float, B: Array) -> tuple[tuple[Array], tuple[()]]:
    """Upper bounds of max_x |a.x|^p / |B x|_p^p for these rows, at most 1."""
    xp = namespace(block)
    return (xp.clip(sensitivities(block, p, against=B).upper, max=1.0),), ()


@dataclass(frozen=True)
class Family:
    """A way to score rows.

    Attributes:
        name: of the family.
        score: a question to (n,).
        rows: (d, S, p) to rows needed, up to constants and logarithms; infinite where no number is
            enough for every matrix.
        low, high: the norms p for which it is meant.
    """

    name: str
    score: Callable[[Question], Any]
    rows: Callable[[float, float, float], float]
    low: float = 1.0
    high: float = math.inf


def mixed(q: Question) -> Any:
    """tau_i / d + sigma_i / S."""
    tau, sigma = q.leverage(), q.sensitivity()
    return tau / float(tau.sum()) + sigma / float(sigma.sum())


FAMILIES = {
    family.name: family
    for family in (
        Family("uniform", lambda q: ones(q.A), lambda d, S, p: math.inf),
        Family("leverage", lambda q: q.leverage(), lambda d, S, p: d if p == 2 else math.inf),
        Family("root-leverage", lambda q: q.leverage() ** (q.p / 2), lambda d, S, p: d, high=2.0),
        Family(
            "sensitivity",
            lambda q: q.sensitivity(),
            lambda d, S, p: d ** (1 - p / 2) * S if p <= 2 else S ** (2 - 2 / p),
        ),
        Family("lewis", lambda q: q.lewis(), lambda d, S, p: d if p <= 2 else d ** (p / 2)),
        Family(
            "augmented",
            lambda q: q.sensitivity() + q.leverage(),
            lambda d, S, p: S + d,
            high=2.0,
        ),
        Family(
            "leverage+sensitivity",
            mixed,
            lambda d, S, p: d ** (2 / p) * S ** (2 - 4 / p),
            low=2.0,
        ),
    )
}


def ones(A: Any) -> Any:
    """One for each row, of A's kind, dtype and device; 0 for zero rows, which matter to nobody."""
    rows = rows_of("scores", A)
    return rows.of_rows(rows.sweep(ones_of_block)[0][0])


def ones_of_block(block: Array) -> tuple[tuple[Array], tuple[()]]:
    """Whether a row is not zero."""
    xp = namespace(block)
    return (xp.astype(xp.any(block != 0, axis=1), xp.float64),), ()


def scores(
    A: Any, p: float | int, family: str = "lewis", *, reference: int | None = None, rng: Rng = None
) -> Any:
    """Scores of the rows for sampling in l_p, (n,), of A's kind, dtype and device.

    Args:
        A: (n, d), NumPy, torch, or dask chunked by rows.
        p: of the norm, 1 <= p < infinity, and inside the family's own range.
        family: a name of the table of this module.
        reference: for families with sensitivities. None: exact, n programs with n rows each. A
            number: relative to a Lewis coreset of about as many rows, which keeps l_p up to its
            distortion; a dask array needs one.
        rng: draws the reference.

    Raises: ValueError for an unknown family, a p outside its range, and, on dask arrays,
        sensitivities without a reference.

    Source: sheet `lp-sensitivity`, Method, Score families.

    >>> import numpy as np
    >>> from fewtheory.subsets import scores
    >>> scores(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), 1, "sensitivity").round(3).tolist()
    [1.0, 0.5, 0.5]
    """
    name = "scores"
    chosen = in_range(name, family, p)
    exponent = norm_exponent(name, p)
    if not is_dask(A):
        matrix(name, A)
    sensitive = family in ("sensitivity", "augmented", "leverage+sensitivity")
    if sensitive and reference is None and is_dask(A):
        raise fail(name, "reference", "a number of rows for dask arrays and this family", None)
    if reference is not None:
        integer(name, "reference", reference, A.shape[1])
        check_rng(name, rng)
    return chosen.score(Question(A, exponent, reference, rng))


def in_range(where: str, family: str, p: Any) -> Family:
    """The family of this name, or an error where it is unknown or not meant for p."""
    one_of(where, "family", family, FAMILIES)
    exponent, chosen = norm_exponent(where, p), FAMILIES[family]
    if not chosen.low <= exponent <= chosen.high:
        limit = f"in [{chosen.low:g}, {chosen.high:g}] for {family!r} scores"
        raise fail(where, "p", limit, p)
    return chosen


def rows_needed(family: str, p: float | int, d: float | int, total: float | int) -> float:
    """Rows that a family needs for a constant distortion, up to constants and logarithms.

    Args:
        family: a name of the table of this module.
        p: of the norm.
        d: rank of the matrix.
        total: its total sensitivity, between d and d^{p/2}.

    Returns: the value of the table; infinite where no number is enough for every matrix.

    Raises: ValueError for a p outside the family's range, and totals that no matrix has.

    Source: sheet `lp-sensitivity`, Method, Score families, and C3 for the range of totals.

    >>> from fewtheory.subsets import rows_needed
    >>> [rows_needed(f, 1, 100, 16) for f in ("lewis", "sensitivity", "augmented")]
    [100.0, 160.0, 116.0]
    """
    chosen = in_range("rows_needed", family, p)
    rank = integer("rows_needed", "d", d, 1)
    ends = sorted((float(rank), rank ** (float(p) / 2)))
    S, slack = number("rows_needed", "total", total, 0.0), 1e-9 * ends[1]
    if not ends[0] - slack <= S <= ends[1] + slack:
        raise fail("rows_needed", "total", f"in [{ends[0]:g}, {ends[1]:g}]", total)
    return float(chosen.rows(rank, S, float(p)))
