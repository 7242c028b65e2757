"""Spaces to approximate in: orthonormal features, the probability behind them, draws from it.

A space is what weighted least squares knows about V = span(phi_1, .., phi_m) in L2(mu): the
features phi(x), orthonormal with respect to a *probability* mu; K(x, x) = |phi(x)|^2; draws from mu
and from the optimal law nu_m = K(x, x) / m mu. `PolySpace` has points that are numbers or vectors;
in `FeatureSpace` a point is a row of a pool. Source: arXiv 2312.14057; sheet `dpp-wls`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...arrays import Array, Rng, as_like, is_torch, namespace, to_numpy
from ...errors import fail, finite_array, integer, one_of, state
from ...shapes import Float, Int
from .._host import Table, host_rng
from ..rows.blocks import InMemory
from ..rows.leverage import again, whitening
from ._orthogonal import FAMILIES

SETS = ("total", "hyperbolic", "tensor")


@runtime_checkable
class Space(Protocol):
    """V in L2(mu): m orthonormal features of points x, (n,) or (n, d), and draws of points."""

    @property
    def m(self) -> int:
        """The dimension of V."""
        ...

    @property
    def finite(self) -> bool:
        """Whether points are rows of a pool."""
        ...

    def features(self, x: Array) -> Any:
        """phi(x), (n, m)."""
        ...

    def draw(self, n: int, *, rng: Rng) -> Any:
        """n points from mu."""
        ...

    def draw_optimal(self, n: int, *, rng: Rng) -> Any:
        """n points from nu_m."""
        ...


def christoffel(space: Space, x: Array) -> Float[Any, "n"]:
    """K(x, x) = |phi(x)|^2 at each point; m / K(x, x) is the weight of a point from nu_m.

    >>> christoffel(PolySpace("legendre", 4), np.array([0.0, 0.3])).round(4)
    array([3.5156, 3.0081])
    """
    phi = space.features(x)
    return namespace(phi).sum(phi * phi, axis=1)


@dataclass(frozen=True, eq=False)
class PolySpace:
    """Orthonormal polynomials or trigonometric functions of one or more variables.

    family: "legendre" (dx/2 on [-1, 1]), "hermite" (N(0, 1)), "chebyshev" or "arcsine" (arcsine law
    on [-1, 1]), "fourier" (uniform on [0, 1)), or one for each variable. degree: the largest
    degree, or frequency: "fourier" has 2 degree + 1 functions. index_set: with dim > 1 the degrees
    q with sum q_i <= degree ("total"), prod (q_i + 1) <= degree + 1 ("hyperbolic") or max q_i <=
    degree ("tensor"). indices: (m, dim), the functions themselves in place of a degree, any set:
    j is the degree, for "fourier" 0, 1, 2, 3 are 1, cos, sin, cos of frequency 2. Points are (n,)
    for dim = 1 and else (n, dim). Raises ValueError by name for what is not allowed.

    >>> PolySpace("legendre", 3, dim=2).m, PolySpace("fourier", 3).m
    (10, 7)
    """

    family: str | Sequence[str]
    degree: int | None = None
    dim: int | None = None
    index_set: str = "total"
    indices: Any = None
    _families: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [self.family] if isinstance(self.family, str) else list(self.family)
        for name in names:
            one_of("PolySpace", "family", name, FAMILIES)
        dim = len(names) if self.dim is None else integer("PolySpace", "dim", self.dim, 1)
        if len(names) not in (1, dim):
            raise fail("PolySpace", "family", f"one name or {dim}", self.family)
        one_of("PolySpace", "index_set", self.index_set, SETS)
        families = [FAMILIES[name] for name in names] * (dim if len(names) == 1 else 1)
        if (self.degree is None) == (self.indices is None):
            raise fail("PolySpace", "degree", "given, or else indices", (self.degree, self.indices))
        if self.degree is not None:
            degree = integer("PolySpace", "degree", self.degree, 0)
            found = np.array(list(_functions(self.index_set, degree, families)))
        else:
            found = _own_indices(self.indices, dim)
        object.__setattr__(self, "dim", dim)
        object.__setattr__(self, "_families", families)
        object.__setattr__(self, "indices", found)

    @property
    def m(self) -> int:
        """The number of functions."""
        return self.indices.shape[0]

    @property
    def finite(self) -> bool:
        """False: points are numbers."""
        return False

    @property
    def ensemble(self) -> str | None:
        """The matrix model of its projection DPP ("jacobi", "hermite", "fourier"), if any.

        One variable, and all functions up to a degree.
        """
        own = self._families[0]
        levels = sorted(self.indices[:, 0].tolist())
        whole = levels == list(range(self.m)) and not (own.name == "fourier" and self.m % 2 == 0)
        if self.dim != 1 or not whole:
            return None
        return "jacobi" if own.jacobi is not None else own.name

    def features(self, x: Array) -> Float[Any, "n m"]:
        """phi(x), (n, m) of the kind of x: products of one function for each variable."""
        event = () if self.dim == 1 else (len(self._families),)
        xp = state("PolySpace.features", "x", x, event)
        out = None
        for i, family in enumerate(self._families):
            j = self.indices[:, i]
            values = family.values(x if self.dim == 1 else x[:, i], int(j.max()))
            if not (j.size == values.shape[1] and np.all(j == np.arange(j.size))):
                values = xp.take(values, _index_like(j, x), axis=1)
            out = values if out is None else out * values
        return out

    def draw(self, n: int, *, rng: Rng) -> Float[np.ndarray, "n *dim"]:
        """n points from mu, NumPy."""
        rng = host_rng("PolySpace.draw", rng)
        return self._points([family.draw(n, rng) for family in self._families])

    def draw_optimal(self, n: int, *, rng: Rng) -> Float[np.ndarray, "n *dim"]:
        """n points from nu_m: a function of the m at random, then phi_j^2 mu, by components."""
        rng = host_rng("PolySpace.draw_optimal", rng)
        j = self.indices[rng.integers(self.m, size=n)]
        columns = enumerate(self._families)
        return self._points([family.draw_squared(j[:, i], rng) for i, family in columns])

    def _points(self, columns: list[np.ndarray]) -> np.ndarray:
        return columns[0] if self.dim == 1 else np.stack(columns, axis=1)


def _own_indices(indices: Any, dim: int) -> np.ndarray:
    found = np.asarray(indices)
    found = found[:, None] if found.ndim == 1 and dim == 1 else found
    shaped = found.ndim == 2 and found.shape[1:] == (dim,) and found.shape[0] > 0
    if not shaped or found.dtype.kind not in "iu" or np.any(found < 0):
        raise fail("PolySpace", "indices", f"non-negative integers of shape (m, {dim})", indices)
    if len(np.unique(found, axis=0)) != len(found):
        raise fail("PolySpace", "indices", "all different", indices)
    return found.astype(np.int64)


def _functions(kind: str, degree: int, families: list[Any]) -> Iterator[tuple[int, ...]]:
    """The functions of all degrees that the set allows, in lexicographic order of degrees."""
    if not families:
        yield ()
        return
    for q in range(degree + 1):
        left = {"total": degree - q, "hyperbolic": (degree + 1) // (q + 1) - 1, "tensor": degree}
        for tail in _functions(kind, left[kind], families[1:]):
            yield from ((j, *tail) for j in families[0].at_level(q))


def _index_like(j: np.ndarray, x: Array) -> Array:
    """Integers as an index array of the library and device of x."""
    import array_api_compat

    xp = namespace(x)
    return xp.asarray(j, device=array_api_compat.device(x))


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The column space of any matrix of features over a pool; a point is the index of a row.

    A: (N, p), NumPy, torch or other, one row for each candidate (last-layer features, say);
    weights: (N,) probabilities mu of the rows, 1/N each by default. The orthonormal features are
    phi = A T; m is the numerical rank, so columns may be dependent (dead units). Two Gram matrices
    of N p^2 operations each in A's own library, float64; points are drawn on the host. Raises
    ValueError for a matrix that is not finite, has fewer than one row or column, or is zero; for
    bad weights.

    >>> FeatureSpace([[1.0, 0.0, 2.0], [1.0, 1.0, 2.0], [1.0, 2.0, 2.0]]).m
    2
    """

    A: Any
    weights: Any = None
    m: int = field(init=False)
    T: Any = field(init=False, repr=False)  # (p, m): phi = A T
    rows: Any = field(init=False, repr=False)  # (N, m): phi of all rows, on the host

    def __post_init__(self) -> None:
        A: Any = self.A if hasattr(self.A, "dtype") else np.asarray(self.A, dtype=np.float64)
        if len(A.shape) != 2 or min(A.shape) < 1:
            raise fail("FeatureSpace", "A", "of shape (N, p)", tuple(A.shape))
        xp = state("FeatureSpace", "A", A)
        wide = xp.astype(A.detach() if is_torch(A) else A, xp.float64)
        if not bool(xp.all(xp.isfinite(wide))):
            raise fail("FeatureSpace", "A", "finite", "NaN or infinity")
        mu = _probabilities(self.weights, A.shape[0])
        scaled = InMemory(wide * as_like(np.sqrt(mu)[:, None], wide))
        if not bool(xp.any(scaled.A != 0)):
            raise fail("FeatureSpace", "A", "nonzero on rows of positive weight", "zero")
        # twice: what the first Gram matrix has lost the second one gives back
        T = as_like(again(scaled, whitening("FeatureSpace", scaled)), wide)
        rank, rows = T.shape[1], to_numpy(wide @ T)
        for name, value in (("A", A), ("weights", mu), ("m", rank), ("T", T)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "rows", np.ascontiguousarray(rows))

    @property
    def finite(self) -> bool:
        """True: points are rows."""
        return True

    @property
    def leverage(self) -> Float[np.ndarray, "N"]:
        """mu_i K(i, i): leverage scores of the rows, their sum is m."""
        return self.weights * np.einsum("ij,ij->i", self.rows, self.rows)

    @cached_property
    def tables(self) -> tuple[Table, Table]:
        """Tables of mu and of nu_m."""
        return Table(self.weights), Table(self.leverage)

    def features(self, x: Array) -> Float[Any, "n m"]:
        """phi of the rows x, (n, m) float64, of the kind of A."""
        i = np.asarray(to_numpy(x))
        if i.ndim != 1 or i.dtype.kind not in "iu":
            raise fail("FeatureSpace.features", "x", "of shape (n,), integers", x)
        if i.size and (i.min() < 0 or i.max() >= self.rows.shape[0]):
            raise fail("FeatureSpace.features", "x", f"in [0, {self.rows.shape[0]})", x)
        return as_like(self.rows[i], self.T)

    def draw(self, n: int, *, rng: Rng) -> Int[np.ndarray, "n"]:
        """n rows from mu, with replacement."""
        return self.tables[0].draw(n, host_rng("FeatureSpace.draw", rng))

    def draw_optimal(self, n: int, *, rng: Rng) -> Int[np.ndarray, "n"]:
        """n rows from nu_m, with replacement: proportional to leverage."""
        return self.tables[1].draw(n, host_rng("FeatureSpace.draw_optimal", rng))


def _probabilities(weights: Any, n: int) -> np.ndarray:
    if weights is None:
        return np.full(n, 1 / n)
    mu = finite_array("FeatureSpace", "weights", to_numpy(weights))
    if mu.shape != (n,) or np.any(mu < 0):
        raise fail("FeatureSpace", "weights", f"non-negative, of shape ({n},)", weights)
    if abs(mu.sum() - 1) > 1e-6:
        raise fail("FeatureSpace", "weights", "probabilities, with sum 1", mu.sum())
    return mu / mu.sum()
