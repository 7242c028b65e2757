"""An orthonormal basis of a matrix's columns, row by row as accurate as the rows themselves.

Scores do not depend on the basis, so every method works in one. Columns are scaled to unit length
and a pivoted QR finds the rank; then each row is divided by R on its own (twice, the second R being
nearly I): a row of size 1e-12 beside rows of size 1 keeps its digits, which Q of Householder's
method would lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ...arrays import to_numpy
from ...errors import fail
from .blocks import matrix as real_matrix

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Basis:
    """Q (n, r) with B[:, kept] / scale = Q (R2 R); the other columns follow from the kept ones."""

    Q: np.ndarray
    kept: np.ndarray
    rest: np.ndarray
    scale: np.ndarray
    R: np.ndarray
    R_rest: np.ndarray
    R2: np.ndarray

    @property
    def rank(self) -> int:
        """r."""
        return self.Q.shape[1]

    def coordinates(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """b with b.z = a.x where Qz = Bx, one a row a; and which rows lie in the row space of B."""
        rows = rows / self.scale
        half = _over(rows[:, self.kept], self.R)
        off = np.abs(rows[:, self.rest] - half @ self.R_rest).max(axis=1, initial=0.0)
        size = (np.abs(half) @ np.abs(self.R)).max(axis=1, initial=0.0)
        size = np.maximum(size, np.abs(rows).max(axis=1, initial=0.0))
        inside = off <= 64 * max(self.Q.shape[0], rows.shape[1]) * EPS * size
        return _over(half, self.R2), inside

    def direction(self, z: np.ndarray) -> np.ndarray:
        """An x with Bx = Qz, 0 in the columns that are not kept; z is (r,) or (r, k)."""
        x = np.zeros((self.scale.size, *z.shape[1:]))
        x[self.kept] = _solve(self.R, _solve(self.R2, z))
        return (x.T / self.scale).T

    def kernel_direction(self, rows: np.ndarray) -> np.ndarray:
        """For each row outside the row space a unit x with Bx = 0 and a.x != 0, (k, d)."""
        back = -_solve(self.R, self.R_rest)  # Bx = 0: kept columns undo the others
        kernel = np.zeros((self.scale.size, self.rest.size))
        kernel[self.kept], kernel[self.rest] = back, np.eye(self.rest.size)
        kernel = np.linalg.qr(kernel / self.scale[:, None])[0]
        x = rows @ kernel @ kernel.T
        return x / np.linalg.norm(x, axis=1, keepdims=True)


def _over(rows: np.ndarray, R: np.ndarray) -> np.ndarray:
    """rows R^{-1} for an upper triangular R."""
    from scipy.linalg import solve_triangular

    return solve_triangular(R, rows.T, trans=1, check_finite=False).T if len(R) else rows


def _solve(R: np.ndarray, b: np.ndarray) -> np.ndarray:
    """R^{-1} b for an upper triangular R."""
    from scipy.linalg import solve_triangular

    return solve_triangular(R, b, check_finite=False) if len(R) else b


def triangle(M: np.ndarray) -> np.ndarray:
    """R of a QR."""
    return cast(np.ndarray, np.linalg.qr(M, mode="r"))


def pivoted(R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R and the order of columns of a QR with column pivots."""
    from scipy.linalg import qr

    return cast("tuple[np.ndarray, np.ndarray]", qr(R, mode="r", pivoting=True))


def basis(B: np.ndarray) -> Basis:
    """The basis of the columns of B, of their numerical rank."""
    scale = np.linalg.norm(B, axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    scaled = B / scale
    R, order = pivoted(triangle(scaled))
    size = np.abs(np.diagonal(R))
    r = int((size > max(B.shape) * EPS * size.max(initial=0.0)).sum())
    kept, rest = order[:r], order[r:]
    half = _over(scaled[:, kept], R[:r, :r])
    R2 = triangle(half)
    Q = np.ascontiguousarray(_over(half, R2))
    return Basis(Q, kept, rest, scale, R[:r, :r], R[:r, r:], R2)


def matrix(where: str, argument: str, A: Any) -> np.ndarray:
    """A as a finite (n, d) float64 array on the host, or an error that names it."""
    real_matrix(where, A, argument)
    host = to_numpy(A).astype(np.float64, copy=False)
    if not np.all(np.isfinite(host)):
        raise fail(where, argument, "finite", A)
    return host
