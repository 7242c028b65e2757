"""Sensitivities: the largest share of ||Ax||_p^p that one row can have, with certificates.

    sigma_i(p) = sup_x |a_i.x|^p / ||Bx||_p^p,   B = A unless another matrix is given
    sigma_i^{1/p} = max {a_i.x : ||Bx||_p <= 1} = min {||y||_q : B^T y = a_i},   1/p + 1/q = 1

Any x bounds sigma_i from below and any y from above, so both bounds are always given. p = 2: the
leverage scores, exact. p = 1: vertices of a linear program (`_programs`). Else Newton's method for
all rows at once (`_newton`). Sensitivities belong to the column space: the work is done in an
orthonormal basis of it, of the numerical rank. All of it on the host, in float64.

Source: Woodruff & Yasuda (arXiv 2306.00732), sheet `lp-sensitivity`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ...arrays import Array, as_like, namespace, to_numpy
from ...errors import fail, integer, number, one_of
from ...shapes import Float, Int
from . import _newton, _programs
from ._basis import EPS, Basis, basis, matrix
from .lewis import norm_exponent

METHODS = ("auto", "vertices", "highs")


@dataclass(frozen=True, eq=False)
class Sensitivities:
    """Bounds of the sensitivities of some rows.

    lower, upper: (k,), of A's library and dtype; index: which rows; p; iterations: Newton steps,
    pivots or simplex iterations of each row; converged: upper - lower <= tolerance * upper;
    directions: (k, d), the x at which each row reaches `lower`. A row outside the row space of
    `against` has sensitivity infinity, converged, and an x with Bx = 0.
    """

    lower: Float[Any, "k"]
    upper: Float[Any, "k"]
    index: Int[Any, "k"]
    p: float
    iterations: Int[Any, "k"]
    converged: Any
    directions: Float[Any, "k d"]

    @property
    def value(self) -> Float[Any, "k"]:
        """The middle of the two bounds."""
        return self.lower + (self.upper - self.lower) / 2 if self.finite else self.upper

    @property
    def finite(self) -> bool:
        """Whether no row is outside the row space."""
        return bool(namespace(self.upper).all(namespace(self.upper).isfinite(self.upper)))


def sensitivities(
    A: Array,
    p: float | int,
    *,
    rows: Any = None,
    against: Array | None = None,
    tolerance: float | int = 1e-10,
    max_iterations: int = 300,
    method: str = "auto",
) -> Sensitivities:
    """sigma_i(p) = sup_x |a_i.x|^p / ||Bx||_p^p, from below and from above.

    A: (n, d), of any rank; p: in [1, infinity); rows: indices, default (or "all") every row;
    against: B (m, d), default A; tolerance: of (upper - lower) / upper; max_iterations: of Newton;
    method, for p = 1: "auto" takes pivots and HiGHS where they end in a tie, "vertices" and "highs"
    one of them. Computed on the host. Raises ValueError or TypeError by the argument's name.

    Source: sheet `lp-sensitivity`, Method.

    >>> A = np.array([[1.0, 0], [1, 1], [1, 2], [1, 4]])
    >>> sensitivities(A, 1).value.round(6).tolist()
    [0.444444, 0.333333, 0.285714, 0.6]
    """
    where = "sensitivities"
    host, exponent = matrix(where, "A", A), norm_exponent(where, p)
    chosen = _chosen(where, rows, len(host))
    number(where, "tolerance", tolerance, EPS, 1.0)
    integer(where, "max_iterations", max_iterations, 1)
    one_of(where, "method", method, METHODS)
    other = host if against is None else matrix(where, "against", against)
    if other.shape[1] != host.shape[1]:
        raise fail(where, "against", f"of shape (m, {host.shape[1]})", other.shape)
    own = basis(other)
    if against is None:
        targets, inside = own.Q[chosen], np.ones(len(chosen), dtype=bool)
    else:
        targets, inside = own.coordinates(host[chosen])
    lower, upper, steps, z = _bounds(
        own, targets, inside, exponent, float(tolerance), max_iterations, method
    )
    x = own.direction(z.T).T
    x[~inside] = own.kernel_direction(host[chosen][~inside])
    converged = ~(lower < (1 - tolerance) * upper)  # true for infinity on both sides
    place = functools.partial(namespace(A).asarray, device=array_api_compat.device(A))
    return Sensitivities(
        as_like(lower, A),
        as_like(upper, A),
        place(chosen),
        exponent,
        place(steps),
        place(converged),
        as_like(x, A),
    )


def _bounds(
    own: Basis,
    targets: np.ndarray,
    inside: np.ndarray,
    p: float,
    tolerance: float,
    cap: int,
    method: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(lower, upper, iterations, z) of targets (k, r): 0 for zero rows, infinity outside."""
    lower = np.where(inside, 0.0, np.inf)
    upper, steps = lower.copy(), np.zeros(len(lower), dtype=np.int64)
    z = targets.copy()  # p = 2: the maximiser
    work = np.flatnonzero(inside & targets.any(axis=1))
    if p == 2:
        lower[work] = upper[work] = (targets[work] ** 2).sum(axis=1)
    elif own.rank == 1:  # one direction: nothing to search
        size = np.abs(own.Q).max()
        total = float(((np.abs(own.Q) / size) ** p).sum())
        lower[work] = upper[work] = (np.abs(targets[work, 0]) / size) ** p / total
    elif work.size and p == 1:
        found = _programs.solve(own.Q, targets[work], tolerance, method)
        lower[work], upper[work], z[work], steps[work] = found
    elif work.size:
        found = _newton.solve(own.Q, targets[work], p, tolerance, cap)
        lower[work], upper[work], z[work], steps[work] = found
    return lower, upper, steps, z


def _chosen(where: str, rows: Any, n: int) -> np.ndarray:
    """Row indices in [0, n) as an integer array."""
    if rows is None or (isinstance(rows, str) and rows == "all"):
        return np.arange(n)
    found = np.atleast_1d(to_numpy(rows))
    if found.dtype.kind not in "iu" or found.ndim != 1 or not found.size:
        raise fail(where, "rows", "'all' or row indices", rows)
    if found.min() < 0 or found.max() >= n:
        raise fail(where, "rows", f"in [0, {n - 1}]", rows)
    return found.astype(np.int64)
