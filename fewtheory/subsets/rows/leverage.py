"""Leverage scores: how far a row alone can move a least-squares fit.

    tau_i = max_x (a_i.x)^2 / |A x|^2 = a_i^T (A^T A)^+ a_i = |a_i^T T|^2,   (A T)^T (A T) = I

T comes from the Cholesky factor of a Gram matrix, summed over blocks of rows: two passes over A and
2 n d^2 operations in matrix products, against 4 n d^2 in Householder reflections of a QR. What a
Gram matrix loses (eps cond^2) a preconditioner gives back: where the condition of A is above 1e3,
the Gram matrix is taken once more in the coordinates of the first, and above 1e7, or where columns
depend on each other, the coordinates come from a pivoted QR of a sketch, which also tells the rank.
Woodruff & Yasuda (arXiv 2306.00732), sheet `lp-sensitivity`.
"""

from __future__ import annotations

import functools
from typing import cast

import numpy as np

from ...arrays import Array, Rng, as_like, check_rng, namespace, standard_normal
from ...errors import fail, integer, one_of
from .._host import host_rng
from .blocks import Rows, add, rows_of
from .sketch import sketch

METHODS = ("auto", "exact", "preconditioned", "projected", "sketched")
ACCURATE = 1e3  # condition up to which one Gram matrix keeps ten digits
SAFE = 1e7  # condition up to which its Cholesky factor exists for certain


def leverage_scores(
    A: Array, *, method: str = "auto", width: int | None = None, rng: Rng = None
) -> Array:
    """tau_i = a_i^T (A^T A)^+ a_i of every row; they sum to the rank.

    Args:
        A: (n, d), NumPy, torch, or dask chunked by rows. Zero rows have score 0; where columns
            depend on each other, scores are those of the row space.
        method: "exact" takes one Gram matrix, whatever its condition; "preconditioned" first takes
            coordinates from a QR of a sketch; "auto" does so where it must; "projected" replaces
            |a_i^T T|^2 by its length after a random projection to `width` dimensions, chi^2_width /
            width times the score; "sketched" also takes T from the sketch alone.
        width: dimensions of the projection, at least 1 (default 16).
        rng: for "projected" and "sketched"; a preconditioner needs none, its randomness is not
            seen in the result.

    Returns: (n,), of A's kind, dtype and device.

    Raises: ValueError for what is not a finite matrix, an unknown method, and, for "exact", columns
        that depend on each other.

    Source: sheet `lp-sensitivity`, Method, p = 2.

    >>> import numpy as np
    >>> from fewtheory.subsets import leverage_scores
    >>> leverage_scores(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])).round(3).tolist()
    [1.0, 0.5, 0.5]
    """
    name = "leverage_scores"
    one_of(name, "method", method, METHODS)
    rows, drawn = rows_of(name, A), method in ("projected", "sketched")
    k = integer(name, "width", 16 if width is None else width, 1)
    if width is not None and not drawn:
        raise fail(name, "width", f"left out for method {method!r}", width)
    if drawn:
        check_rng(name, rng)
    if method == "sketched":
        T = from_sketch(name, rows, host_rng(name, rng))
    else:
        T = whitening(name, rows, method="auto" if method == "projected" else method)
    if drawn:
        T = T @ standard_normal(rng, (T.shape[1], k), T) / np.sqrt(k)
    return rows.of_rows(squared_norms(rows, T))


def squared_norms(rows: Rows, T: np.ndarray) -> Array:
    """|a_i^T T|^2, (n,), in double precision."""
    return rows.sweep(functools.partial(norms_of_block, T=T))[0][0]


def norms_of_block(block: Array, *, T: np.ndarray) -> tuple[tuple[Array], tuple[()]]:
    """|a^T T|^2 of each row."""
    Y = block @ as_like(T, block)
    return (namespace(Y).vecdot(Y, Y),), ()


def gram(rows: Rows, T: np.ndarray | None = None) -> np.ndarray:
    """(A T)^T (A T), (r, r), summed over blocks."""
    return rows.sweep(functools.partial(gram_of_block, T=T), combine=(add,))[1][0]


def gram_of_block(block: Array, *, T: np.ndarray | None) -> tuple[tuple[()], tuple[Array]]:
    """The Gram matrix of these rows in the coordinates T."""
    Y = block if T is None else block @ as_like(T, block)
    return (), (Y.T @ Y,)


def whitening(where: str, rows: Rows, method: str = "auto") -> np.ndarray:
    """T (d, r) with (A T)^T (A T) = I, r the rank of A; raises where A is not finite or zero.

    method: as of `leverage_scores`. Columns of A T span those of A.
    """
    G = checked_gram(where, rows)
    if method != "preconditioned":
        factor, condition = inverse_factor(G)
        if factor is not None and (condition <= SAFE or method == "exact"):
            return factor if condition <= ACCURATE or method == "exact" else again(rows, factor)
        if method == "exact":
            raise ValueError(
                f"{where}: A must have independent columns for method 'exact', got a Gram matrix "
                "that is singular; method 'auto' finds the row space"
            )
    return again(rows, from_sketch(where, rows, np.random.default_rng(0)))


def checked_gram(where: str, rows: Rows) -> np.ndarray:
    """A^T A, or an error: what is not finite in A is not finite in its diagonal."""
    with np.errstate(over="ignore", invalid="ignore"):
        G = gram(rows)
    if not np.all(np.isfinite(G)):
        raise ValueError(f"{where}: A must be finite, with squares that do not overflow")
    if not np.any(np.diag(G) > 0):
        raise ValueError(f"{where}: A must have a row that is not zero")
    return G


def again(rows: Rows, T: np.ndarray) -> np.ndarray:
    """T such that A T is orthonormal, from one for which it nearly is: rounding is undone."""
    factor, _ = inverse_factor(gram(rows, T))
    assert factor is not None, "a sketch of full rank left dependent columns"
    return T @ factor


def inverse_factor(G: np.ndarray) -> tuple[np.ndarray | None, float]:
    """(T, condition) with T^T G T = I, or (None, inf) where G is singular.

    The condition is that of A after its columns have been scaled to length one: scaling is free.
    """
    scale = np.sqrt(np.diag(G))
    if np.any(scale == 0):
        return None, np.inf
    C = G / np.outer(scale, scale)
    values = np.linalg.eigvalsh(C)
    condition = np.sqrt(values[-1] / values[0]) if values[0] > 0 else np.inf
    try:
        L = np.linalg.cholesky(C)
    except np.linalg.LinAlgError:
        return None, np.inf
    return np.linalg.inv(L).T / scale[:, None], float(condition)


def from_sketch(where: str, rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """T (d, r) for which A T is nearly orthonormal: the inverse R of a pivoted QR of S A."""
    from scipy.linalg import qr

    width = 4 * rows.d + 64
    SA = sketch(rows, width, rng)
    if not np.all(np.isfinite(SA)):
        raise ValueError(f"{where}: A must be finite, with squares that do not overflow")
    scale = np.linalg.norm(SA, axis=0)
    scale[scale == 0] = 1.0
    R, pivot = cast("tuple[np.ndarray, np.ndarray]", qr(SA / scale, mode="r", pivoting=True))
    size = np.abs(np.diag(R))
    rank = int(np.sum(size > width * np.finfo(float).eps * size[0]))
    if rank == 0:
        raise ValueError(f"{where}: A must have a row that is not zero")
    T = np.zeros((rows.d, rank))
    T[pivot[:rank]] = np.linalg.inv(R[:rank, :rank])
    return T / scale[:, None]
