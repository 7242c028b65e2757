"""Projection determinantal point processes: m points that repel each other, drawn exactly.

The points (x_1, .., x_m) have density det(phi(x_i))^2 / m! with respect to mu^m. By the chain rule
each next point has density |r(x)|^2 / (m - k) there, r(x) = phi(x) less its projection on the
features of the k points found. |r|^2 <= |phi|^2, so a point of the optimal law nu_m is a proposal
that is accepted with |r|^2 / |phi|^2: exact, m H_m proposals on average (H harmonic), whatever the
size of the pool or the dimension of x. Every point alone has law nu_m.
Source: arXiv 2312.14057, with the rejection of Gautier, Bardenet and Valko; sheet `dpp-wls`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, Rng, is_torch, namespace
from ...errors import fail, integer, one_of
from ...shapes import Float
from .._host import host_rng
from .spaces import FeatureSpace, Space

METHODS = ("auto", "rejection", "sequential", "ensemble")
LARGEST_BLOCK = 2**22  # entries of the features of one block of proposals


@dataclass(frozen=True, eq=False)
class DPPDraw:
    """Points of a projection DPP, in random order, and the proposals that they took.

    x: (m,) or (m, d), for a pool the indices of rows; proposals: 0 for a method without rejection.

    >>> DPPDraw(np.array([3, 1]), 4).proposals
    4
    """

    x: Any
    proposals: int


def dpp(
    A: Any,
    size: int | str = "rank",
    *,
    weights: Any = None,
    method: str = "auto",
    rng: Rng,
) -> Any:
    """Indices of rows of a pool from the projection DPP on its column space.

    P(S) = det(Q_S)^2 for an orthonormal basis Q of the columns of diag(weights)^{1/2} A.
    A: (N, p) features, NumPy or torch, or a `FeatureSpace`, which keeps its factorisation for the
    next draw; size: "rank", or fewer rows (then P(S) is proportional to det(Q_S Q_S^T)); method: as
    in `projection_dpp`. Gives integers of the kind of A. Raises ValueError for size above the rank.

    >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 4.0]])
    >>> len(set(dpp(A, rng=np.random.default_rng(0)).tolist()))
    2
    """
    space = A if isinstance(A, FeatureSpace) else FeatureSpace(A, weights)
    return rows_like(projection_dpp(space, size=size, method=method, rng=rng).x, space)


def rows_like(index: np.ndarray, space: FeatureSpace) -> Array:
    """Indices as integers of the library and device of the pool."""
    import array_api_compat

    xp = namespace(space.A)
    return xp.asarray(index, device=array_api_compat.device(space.A))


def projection_dpp(
    space: Space,
    *,
    size: int | str = "rank",
    method: str = "auto",
    block: int | None = None,
    compiled: bool = True,
    rng: Rng,
) -> DPPDraw:
    """One draw of the projection DPP of a space, exact, on the host.

    method: "rejection", the chain rule with proposals from nu_m, O(m^3 log m); "sequential", all
    residual norms of a pool updated, O(N m^2); "ensemble", eigenvalues of a random matrix, where
    the space has one; "auto", the last where it can and else the first. size: "rank" for m, or
    fewer points, a uniformly random subspace of V that many functions span. block: proposals drawn
    at once (default: about as many as needed); compiled: whether Numba judges them. Raises
    ValueError by name.

    >>> from fewtheory.subsets.points.spaces import PolySpace
    >>> draw = projection_dpp(PolySpace("legendre", 4), rng=np.random.default_rng(0))
    >>> draw.x.shape, draw.proposals
    ((5,), 0)
    """
    where, m = "projection_dpp", space.m
    one_of(where, "method", method, METHODS)
    points = m if size == "rank" else integer(where, "size", size, 1, m)
    if block is not None:
        integer(where, "block", block, 1)
    rng = host_rng(where, rng)
    model = getattr(space, "ensemble", None)
    if method == "sequential":
        if not isinstance(space, FeatureSpace):
            raise fail(where, "method", "'rejection' or 'ensemble' unless points are rows", method)
        return DPPDraw(_sequential(space, points, rng), 0)
    if method == "ensemble" and (model is None or points < m):
        raise fail(where, "method", "'rejection': this space has no matrix model", method)
    if method == "ensemble" or (method == "auto" and model is not None and points == m):
        from .ensembles import ensemble

        return DPPDraw(rng.permutation(ensemble(space, rng=rng)), 0)
    x, proposals = _rejection(space, points, block, compiled, rng)
    return DPPDraw(x, proposals)


def judge(
    phi: np.ndarray, v: np.ndarray, basis: np.ndarray, found: int
) -> tuple[np.ndarray, int, int]:
    """The chain rule's decisions on proposals in turn: (accepted, rows found, proposals used).

    phi: (B, m) features of proposals from nu_m; v: (B,) uniform; basis: (m, m), whose first `found`
    rows are orthonormal, extended in place. The oracle of `_dpp_kernels.judge_kernel`.
    """
    picked = []
    for i, row in enumerate(phi):
        if found == len(basis):
            return np.array(picked, dtype=np.int64), found, i
        E = basis[:found]
        r = row - E.T @ (E @ row)
        if not v[i] * (row @ row) < r @ r:
            continue
        r = r - E.T @ (E @ r)  # one pass alone loses orthogonality by m ~ 100
        square = r @ r
        if square <= 1e-28 * (row @ row):  # in the span but for rounding
            continue
        basis[found] = r / math.sqrt(square)
        picked.append(i)
        found += 1
    return np.array(picked, dtype=np.int64), found, len(phi)


def _rejection(
    space: Space, points: int, block: int | None, compiled: bool, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    if compiled:
        from ._dpp_kernels import judge_kernel as decide
    else:
        decide = judge
    m = space.m
    basis, found, proposals, kept = np.zeros((m, m)), m - points, 0, []
    if found:  # fewer points: what lies in a random part of the features counts as found
        basis[:found] = np.linalg.qr(rng.standard_normal((m, m)))[0][:found]
    while found < m:
        size = block or _proposals_wanted(m, m - found)
        x = space.draw_optimal(size, rng=rng)
        phi = np.ascontiguousarray(_rows(space, x))
        picked, found, used = decide(phi, rng.random(size), basis, found)
        proposals += used
        kept.append(x[picked])
    return np.concatenate(kept), proposals


def _rows(space: Space, x: np.ndarray) -> np.ndarray:
    """phi on the host."""
    return space.rows[x] if isinstance(space, FeatureSpace) else space.features(x)


def _proposals_wanted(m: int, left: int) -> int:
    """Their mean number and not quite a standard deviation (which is below 1.3 m) more."""
    wanted = math.ceil(expected_proposals(m, left)) + m
    return max(1, min(wanted, LARGEST_BLOCK // m))


def expected_proposals(m: int, size: int | None = None) -> float:
    """m H_size, the mean number of proposals for `size` of m points; H_k = 1 + 1/2 + .. + 1/k.

    >>> round(expected_proposals(100), 2)
    518.74
    """
    integer("expected_proposals", "m", m, 1)
    size = m if size is None else integer("expected_proposals", "size", size, 1, m)
    return m * sum(1 / k for k in range(1, size + 1))


def _sequential(space: FeatureSpace, points: int, rng: np.random.Generator) -> np.ndarray:
    Q = space.rows * np.sqrt(space.weights)[:, None]
    if points < space.m:
        Q = Q @ np.linalg.qr(rng.standard_normal((space.m, space.m)))[0][:, :points]
    left, basis, chosen = np.einsum("ij,ij->i", Q, Q), np.zeros((points, points)), []
    for k in range(points):
        cumulative = np.cumsum(left)
        i = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        r = Q[i]
        for _ in range(2):
            r = r - basis[:k].T @ (basis[:k] @ r)
        basis[k] = r / np.sqrt(r @ r)
        left = np.maximum(left - (Q @ basis[k]) ** 2, 0.0)
        left[i] = 0.0  # a row is not drawn twice
        chosen.append(i)
    return np.array(chosen, dtype=np.int64)


def dpp_density(phi: Array) -> Float[Any, "*batch"]:
    """det(phi)^2 / m!, the density of ordered points with respect to mu^m; phi (.., m, m).

    >>> dpp_density(np.array([[1.0, -1.0], [1.0, 1.0]])).round(12)
    np.float64(2.0)
    """
    if len(phi.shape) < 2 or phi.shape[-1] != phi.shape[-2]:
        raise fail("dpp_density", "phi", "of shape (.., m, m)", tuple(phi.shape))
    det = _determinant(phi)
    return det**2 * (1 / math.factorial(phi.shape[-1]))


def _determinant(a: Array) -> Array:
    if is_torch(a):
        import torch

        return torch.linalg.det(a)
    return namespace(a).linalg.det(a)
