"""Matrices whose l_p scores are known: sensitivities, Lewis weights, and cuts of graphs.

sigma_i(p) = sup_x |a_i.x|^p / ||Ax||_p^p of row i. Where a symmetry of the rows fixes row i up to
sign, convexity puts a maximiser x among the vectors that the symmetry fixes too; for the half
polygon and the cube only x = a_i is left, so that sigma_i(p) = |a_i|^{2p} / sum_j |a_j.a_i|^p for
every p. Rows that are a basis of a hyperplane {y: c.y = 0} leave one linear condition, on which
Hoelder's inequality is attained. For the edges of a graph and p = 1 a sensitivity is a minimum
cut.

Source: sheet `lp-sensitivity`, claims C2, C9, C10 and C14.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Rng, check_rng, standard_normal
from ..errors import fail, finite_array, integer, number
from ..shapes import Float

Scores = Callable[[float], np.ndarray]


@dataclass(frozen=True, eq=False)
class LpDesign:
    """A matrix with its exact scores.

    A: the rows, (n, d); rank: theirs; sensitivity_of, lewis_of: p -> (n,), for every finite p >= 1
    unless the design says otherwise (`lewis_of` may be missing).

    >>> simplex(2).total(1.0)  # (d + 1) / (1 + d^(1 - p))
    1.5
    """

    A: np.ndarray
    rank: int
    sensitivity_of: Scores
    lewis_of: Scores | None = None

    def sensitivities(self, p: float | int) -> Float[np.ndarray, "n"]:
        """sigma_i(p)."""
        return self.sensitivity_of(number("sensitivities", "p", p, 1.0))

    def lewis_weights(self, p: float | int) -> Float[np.ndarray, "n"]:
        """The l_p Lewis weights; a ValueError where no closed form is known."""
        if self.lewis_of is None:
            raise ValueError(
                "LpDesign.lewis_weights: design must have Lewis weights in closed form"
            )
        return self.lewis_of(number("lewis_weights", "p", p, 1.0))

    def total(self, p: float | int) -> float:
        """S_p, the sum of all sensitivities."""
        return float(self.sensitivities(p).sum())


def codimension_one(c: Any, *, rng: Rng | None = None) -> LpDesign:
    """A basis of the hyperplane {y: c.y = 0} as columns, n = d + 1 rows.

    sigma_i = 1 / (1 + (|c_i| / ||c_rest||_q)^p) with 1/p + 1/q = 1. c: (n,), two entries or more
    that are not 0; rng: mixes the basis (its choice changes no score).
    """
    c = finite_array("codimension_one", "c", c)
    if c.ndim != 1 or np.count_nonzero(c) < 2:
        raise fail("codimension_one", "c", "one-dimensional with two entries that are not 0", c)
    basis = np.linalg.qr(c[:, None], mode="complete")[0][:, 1:]
    if rng is not None:
        basis = basis @ standard_normal(rng, (c.size - 1, c.size - 1), basis)

    def sensitivities(p: float) -> np.ndarray:
        rest = np.where(np.eye(c.size, dtype=bool), 0.0, np.abs(c))
        q = math.inf if p == 1 else p / (p - 1)
        return 1 / (1 + (np.abs(c) / np.linalg.norm(rest, q, axis=1)) ** p)

    return LpDesign(basis, c.size - 1, sensitivities, lambda p: _hyperplane_lewis(np.abs(c), p))


def _hyperplane_lewis(c: np.ndarray, p: float) -> np.ndarray:
    """w_i = 1 - v_i^2 / ||v||^2 with v_i = w_i^(1/p - 1/2) c_i: one scalar equation in the end.

    h(w) = w^(1 - 2/p) (1 - w) = c_i^2 / ||v||^2. The w_i sum to n - 1, so that all but the one of
    the largest c_i are at least 1/2, where h decreases; given that one, h gives the others, and the
    sum decides.
    """
    from scipy.optimize import root_scalar

    top, power = int(np.argmax(c)), 1 - 2 / p

    def all_of(w: float) -> np.ndarray:
        level = w**power * (1 - w) * (c / c[top]) ** 2
        turn = power / (1 + power) if power > 0 else 0.0  # h decreases above
        low, high = np.full(c.size, turn), np.ones(c.size)
        for _ in range(64):
            middle = (low + high) / 2
            below = middle**power * (1 - middle) > level
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        out = (low + high) / 2
        out[top] = w
        return out

    excess = lambda w: float((1 - all_of(w)).sum() - 1)  # noqa: E731
    ends = (1e-15, 1 - 1e-15)
    return all_of(float(root_scalar(excess, bracket=ends, xtol=1e-16, rtol=1e-15).root))


def simplex(d: int) -> LpDesign:
    """The d + 1 vertices of a regular simplex in d dimensions: S_p = (d + 1) / (1 + d^(1-p))."""
    return codimension_one(np.ones(integer("simplex", "d", d, 1) + 1))


def _all_alike(A: np.ndarray) -> LpDesign:
    """Rows that symmetries carry to one another, the first being an extreme direction itself."""
    n, d = A.shape
    inner = np.abs(A @ A[0])
    return LpDesign(
        A,
        d,
        lambda p: np.full(n, inner[0] ** p / (inner**p).sum()),
        lambda p: np.full(n, d / n),
    )


def half_polygon(n: int) -> LpDesign:
    """Rows (cos(pi i / n), sin(pi i / n)): S_1 is n tan(pi/2n) for even n, n sin(pi/2n) for odd."""
    angles = np.pi * np.arange(integer("half_polygon", "n", n, 2)) / n
    return _all_alike(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def cube(d: int) -> LpDesign:
    """The 2^(d-1) rows (1, +-1, .., +-1): S_4 = d^3 / (3d - 2)."""
    bits = np.arange(2 ** (integer("cube", "d", d, 1, 20) - 1))[:, None] >> np.arange(d - 1) & 1
    return _all_alike(np.concatenate([np.ones((len(bits), 1)), 1.0 - 2 * bits], axis=1))


def sphere_total(d: int, p: float | int) -> float:
    """S_p of the uniform law on the sphere in d dimensions, the limit of dense spherical designs.

    sqrt(pi) Gamma((d+p)/2) / (Gamma(d/2) Gamma((p+1)/2)).

    >>> round(sphere_total(10, 4), 12)
    40.0
    """
    from scipy.special import poch

    d, p = integer("sphere_total", "d", d, 1), number("sphere_total", "p", p, 1.0)
    return math.sqrt(math.pi) / math.gamma((p + 1) / 2) * float(poch(d / 2, p / 2))


def sphere_rows(n: int, d: int, *, rng: Rng) -> Float[np.ndarray, "n d"]:
    """n independent uniform directions in d dimensions: a dense design as n / d grows."""
    n, d = integer("sphere_rows", "n", n, 1), integer("sphere_rows", "d", d, 1)
    check_rng("sphere_rows", rng)
    rows = standard_normal(rng, (n, d), np.empty(0))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def direct_sum(designs: Sequence[LpDesign]) -> LpDesign:
    """A block-diagonal matrix: its scores are those of its blocks."""
    if not designs:
        raise fail("direct_sum", "designs", "one design or more", designs)
    A = np.zeros(np.sum([d.A.shape for d in designs], axis=0))
    i = j = 0
    for design in designs:
        n, d = design.A.shape
        A[i : i + n, j : j + d] = design.A
        i, j = i + n, j + d
    known = all(d.lewis_of is not None for d in designs)
    return LpDesign(
        A,
        sum(d.rank for d in designs),
        lambda p: np.concatenate([d.sensitivities(p) for d in designs]),
        (lambda p: np.concatenate([d.lewis_weights(p) for d in designs])) if known else None,
    )


def one_column(a: Any) -> LpDesign:
    """A single column: sigma_i = w_i = |a_i|^p / ||a||_p^p."""
    a = np.abs(finite_array("one_column", "a", a)).ravel()
    if not a.any():
        raise fail("one_column", "a", "not all 0", a)

    def share(p: float) -> np.ndarray:
        return (a / a.max()) ** p / ((a / a.max()) ** p).sum()

    return LpDesign(a[:, None], 1, share, share)


def axes(k: int, copies: int = 1) -> LpDesign:
    """Each of k unit vectors `copies` times: every score is 1 / copies."""
    k, copies = integer("axes", "k", k, 1), integer("axes", "copies", copies, 1)
    alike = lambda p: np.full(k * copies, 1 / copies)  # noqa: E731
    return LpDesign(np.repeat(np.eye(k), copies, axis=0), k, alike, alike)


def heavy_row(n: int = 10_000, small: float = 0.05) -> LpDesign:
    """One row 1 and n rows `small`: at p = 4 it is nearly all, to leverage next to nothing."""
    n, small = integer("heavy_row", "n", n, 1), number("heavy_row", "small", small, 1e-12)
    return one_column(np.append(1.0, np.full(n, small)))


def graph(edges: Any, weights: Any = None) -> LpDesign:
    """Rows w_e (e_u - e_v) of a graph's edges, with their l_1 sensitivities w_e / mincut(u, v).

    edges: (n, 2) nodes from 0; weights: (n,) positive integers (maximum flows count in integers),
    by default 1. The rank is nodes - components. For p = 1 alone.
    """
    e, w = _checked_graph(edges, weights)
    nodes, n = int(e.max()) + 1, len(e)
    A = np.zeros((n, nodes))
    A[np.arange(n), e[:, 0]], A[np.arange(n), e[:, 1]] = w, -w

    def sensitivities(p: float) -> np.ndarray:
        if p != 1:
            raise fail("graph", "p", "1", p)
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_flow

        ends = (np.concatenate([e[:, 0], e[:, 1]]), np.concatenate([e[:, 1], e[:, 0]]))
        capacity = csr_array((np.tile(w, 2), ends), shape=(nodes, nodes), dtype=np.int32)
        cuts = {
            (u, v): maximum_flow(capacity, u, v).flow_value
            for u, v in {tuple(pair) for pair in e.tolist()}
        }
        return w / np.array([cuts[tuple(pair)] for pair in e.tolist()], dtype=float)

    return LpDesign(A, int(np.linalg.matrix_rank(A)), sensitivities)


def _checked_graph(edges: Any, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    e = np.asarray(edges)
    if e.ndim != 2 or e.shape[1:] != (2,) or e.dtype.kind not in "iu" or not e.size:
        raise fail("graph", "edges", "integers of shape (n, 2)", edges)
    if e.min() < 0 or np.any(e[:, 0] == e[:, 1]):
        raise fail("graph", "edges", "pairs of two nodes counted from 0", edges)
    w = np.ones(len(e), dtype=np.int64) if weights is None else np.asarray(weights)
    if w.shape != (len(e),) or w.dtype.kind not in "iu" or w.min() < 1 or w.sum() >= 2**31:
        raise fail("graph", "weights", "one positive integer an edge, below 2^31 together", weights)
    return e.astype(np.int64), w.astype(np.int64)


def complete_graph(nodes: int) -> LpDesign:
    """K_N with unit weights: every sensitivity is 1 / (N - 1)."""
    nodes = integer("complete_graph", "nodes", nodes, 2)
    return graph(np.stack(np.triu_indices(nodes, 1), axis=1))


def cycle_graph(weights: Any) -> LpDesign:
    """A cycle with these weights: the cut is the edge's own weight and the least of the others."""
    n = len(weights)
    return graph(np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1), weights)


def mixed_rows(*, rng: Rng) -> Float[np.ndarray, "120 3"]:
    """The figure's world: 100 flat Gaussian rows, 12 along one direction, 8 Gaussian rows x 8."""
    check_rng("mixed_rows", rng)
    like = np.empty(0)
    flat = standard_normal(rng, (100, 3), like) * np.array([1.0, 1.0, 0.02])
    line = 0.25 * standard_normal(rng, (12, 1), like) * np.array([0.2, 0.1, 1.0])
    return np.concatenate([flat, line, 8 * standard_normal(rng, (8, 3), like)])
