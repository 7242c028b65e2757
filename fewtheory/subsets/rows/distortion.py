"""How far a reweighted sample can be from the norm that it stands for, over all directions.

    eps = sup_x | ||SAx||_p / ||Ax||_p - 1 |     (of the norm, not of its p-th power)

Exact where the extremes are known: p = 2, singular values of SQ; p = 1 in few dimensions, because
the ratio is quasilinear on each cell of the arrangement {a_j.x = 0} and so has its extremes on rays
orthogonal to r - 1 rows; p = 1 on a graph, cuts. Elsewhere by monotone ascent from many starts,
x <- argmin ||Ax||_p^p / p - grad(||SAx_k||_p^p / p).x, whose ratio never falls: the directions that
it finds are certified lower bounds. Computed on the host, in float64.

Source: sheet `lp-sensitivity`, Method, distortion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, Rng, as_like, to_numpy
from ...errors import fail, integer, number
from ...shapes import Float
from .._host import host_rng
from . import _newton, _programs
from ._basis import Basis, basis, matrix
from .rays import directions, way


@dataclass(frozen=True, eq=False)
class Distortion:
    """eps of a sample, with the two directions that show it.

    lower, upper: bounds of eps (equal where exact; infinity where the ascent knows no upper bound);
    largest, smallest: the extreme ratios ||SAx||_p / ||Ax||_p that were found, at largest_at and
    smallest_at, x (d,); exact; how: "singular values", "rays", "cuts" or "ascent". A sample that
    loses rank has the smallest ratio 0, so that eps is at least 1.
    """

    lower: float
    upper: float
    largest: float
    smallest: float
    largest_at: Float[Any, "d"]
    smallest_at: Float[Any, "d"]
    exact: bool
    how: str


def distortion(
    A: Array,
    index: Any,
    weight: Any,
    p: float | int,
    *,
    exact: bool | None = None,
    starts: int = 32,
    rng: Rng | None = None,
) -> Distortion:
    """sup_x | ||SAx||_p / ||Ax||_p - 1 | of the rows index, each times its weight.

    A: (n, d), not zero; index, weight: (k,), the kept rows and their scales (q^{-1/p}), a row may
    come twice; p: in [1, infinity); exact: True demands it (p = 2, or p = 1 with few rays or cuts),
    False never, None where it is cheap; starts: of the ascent, drawn with rng (needed there).
    Raises ValueError or TypeError by the argument's name.

    Source: sheet `lp-sensitivity`, Method, distortion.

    >>> A = np.array([[1.0, 0], [0, 1], [1, 1], [1, -1]])
    >>> found = distortion(A, np.array([0, 1]), np.array([2.0, 2.0]), 1)
    >>> round(found.largest, 6), round(found.smallest, 6), found.how
    (1.0, 0.666667, 'rays')
    """
    where = "distortion"
    host, exponent = matrix(where, "A", A), number(where, "p", p, 1.0)
    if not host.any():
        raise fail(where, "A", "not zero", A)
    weights = row_weights(where, index, weight, len(host), exponent)
    if exact not in (None, True, False):
        raise fail(where, "exact", "True, False or None", exact)
    count, own = integer(where, "starts", starts, 1), basis(host)
    how = way(where, host, own.rank, exponent, exact)
    if how == "singular values":
        found = _singular(own, weights)
    elif how == "ascent":
        found = _ascents(own, weights, exponent, count, host_rng(where, rng))
    else:
        found = _extremes(host, own, weights, how)
    largest, smallest, x_largest, x_smallest = found
    lower = max(largest - 1, 1 - smallest)
    sure = how != "ascent"
    return Distortion(
        lower,
        lower if sure else math.inf,
        largest,
        smallest,
        as_like(x_largest, A),
        as_like(x_smallest, A),
        sure,
        how,
    )


def row_weights(where: str, index: Any, weight: Any, n: int, p: float) -> np.ndarray:
    """Scales v (n,) with ||SAx||_p = ||diag(v) Ax||_p: rows that come twice add in p-th powers."""
    rows, scale = to_numpy(index), to_numpy(weight).astype(np.float64)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise fail(where, "index", "row indices of shape (k,)", index)
    if rows.size and not (0 <= rows.min() and rows.max() < n):
        raise fail(where, "index", f"in [0, {n - 1}]", index)
    if scale.shape != rows.shape or not np.all(np.isfinite(scale)) or np.any(scale < 0):
        raise fail(where, "weight", "finite, not negative and one an index", weight)
    powers = np.bincount(rows.astype(np.int64), scale**p, minlength=n)
    return powers ** (1 / p)


def _singular(own: Basis, weights: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
    """The extreme singular values of SQ and their directions."""
    _, size, V = np.linalg.svd(weights[:, None] * own.Q, full_matrices=False)
    small = float(size[-1]) if _full_rank(own, weights) else 0.0
    return float(size[0]), small, own.direction(V[0]), own.direction(V[-1])


def _full_rank(own: Basis, weights: np.ndarray) -> bool:
    """Whether the kept rows have the rank of all."""
    kept = own.Q[weights > 0]
    return len(kept) >= own.rank and basis(kept).rank == own.rank


def _extremes(
    A: np.ndarray, own: Basis, weights: np.ndarray, how: str
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """The largest and the smallest ratio over all rays or cuts."""
    best, least = (-math.inf, np.zeros(0)), (math.inf, np.zeros(0))
    for z in directions(A, own, how):
        size = np.abs(z @ (A if how == "cuts" else own.Q).T)
        total = size.sum(axis=1)
        z, size, total = z[total > 0], size[total > 0], total[total > 0]
        if not len(z):
            continue
        ratio = size @ weights / total
        high, low = int(np.argmax(ratio)), int(np.argmin(ratio))
        if ratio[high] > best[0]:
            best = float(ratio[high]), z[high]
        if ratio[low] < least[0]:
            least = float(ratio[low]), z[low]
    at = (lambda x: x) if how == "cuts" else own.direction
    smallest = least[0] if _full_rank(own, weights) else 0.0
    return best[0], smallest, at(best[1]), at(least[1])


def _ascents(
    own: Basis, weights: np.ndarray, p: float, starts: int, rng: np.random.Generator
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Extreme ratios by ascent; the smallest is one over the largest of the roles swapped."""
    z = rng.standard_normal((starts, own.rank))
    if not weights.any():
        return 0.0, 0.0, own.direction(z[0]), own.direction(z[0])
    sampled = weights[:, None] * own.Q
    high, z_high = ascent(own.Q, sampled, p, z)
    if not _full_rank(own, weights):
        gone = np.linalg.svd(sampled, full_matrices=True)[2][-1]
        return high, 0.0, own.direction(z_high), own.direction(gone)
    kept = basis(sampled[weights > 0])
    inverse, y = ascent(kept.Q, own.Q @ _change(kept, own.rank), p, z)
    return high, 1 / inverse, own.direction(z_high), own.direction(kept.direction(y))


def _change(kept: Basis, r: int) -> np.ndarray:
    """The matrix that takes coordinates of SQ's basis to those of Q."""
    return np.stack([kept.direction(e) for e in np.eye(r)], axis=1)


def ascent(
    Q: np.ndarray, P: np.ndarray, p: float, z: np.ndarray, *, most: int = 100
) -> tuple[float, np.ndarray]:
    """The largest ||Pz||_p / ||Qz||_p that ascent finds from the starts z (k, r), and where.

    z <- argmin ||Qz||_p^p / p - g.z with g the gradient of ||Pz_k||_p^p / p: a sensitivity of the
    vector g. Q with orthonormal columns.
    """
    ratio = _ratios(Q, P, p, z)
    for _ in range(most):
        u = z @ P.T
        u /= np.abs(u).max(axis=1, keepdims=True)
        g = np.copysign(np.abs(u) ** (p - 1), u) @ P
        if p == 1:
            new = _programs.solve(Q, g, 1e-9)[2]
        elif p == 2:
            new = g
        else:
            new = _newton.solve(Q, g, p, 1e-9, 100)[2]
        new = new / np.linalg.norm(new, axis=1, keepdims=True)
        found = _ratios(Q, P, p, new)
        better = found > ratio * (1 + 1e-12)
        if not better.any():
            break
        z = np.where(better[:, None], new, z)
        ratio = np.where(better, found, ratio)
    top = int(np.argmax(ratio))
    return float(ratio[top]), z[top]


def _ratios(Q: np.ndarray, P: np.ndarray, p: float, z: np.ndarray) -> np.ndarray:
    """||Pz||_p / ||Qz||_p, each row z."""
    return np.linalg.norm(z @ P.T, p, axis=1) / np.linalg.norm(z @ Q.T, p, axis=1)
