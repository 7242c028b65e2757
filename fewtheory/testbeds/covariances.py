"""Covariance matrices of a mixture's components, in the form in which they are cheap.

At a level (alpha, sigma) component k has the covariance S_k = alpha^2 C_k + sigma^2 I. Each form
answers the same questions without ever forming S_k: S_k^{-1} v, v' S_k^{-1} v as a sum of squares,
log det S_k and C_k v. So the formulas of the mixture are written once.

| form | C_k | S_k^{-1} through |
| --- | --- | --- |
| `Elementwise` | diagonal (K, d), isotropic (K, 1) | a division |
| `Full` | dense (K, d, d) | its eigenvectors, found once for all levels |
| `LowRank` | diag(D) + F F' | an r x r system (Woodbury), whose residual is positive |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, Rng, as_like, namespace, standard_normal
from ..errors import fail, finite_array
from ..shapes import Float

Levels = Any  # a number, or an array that broadcasts against (n, K, d)


def _apply(matrices: Array, v: Array) -> Array:
    """A_k v_k for matrices (K, i, j) and v (n, K, j): one product of matrices for each k."""
    xp = namespace(v)
    columns = xp.permute_dims(v, (1, 2, 0))  # (K, j, n)
    return xp.permute_dims(xp.matmul(matrices, columns), (2, 0, 1))


@dataclass(frozen=True, eq=False)
class Elementwise:
    """Diagonal covariances, variances (K, d); isotropic ones are (K, 1)."""

    variances: Float[np.ndarray, "K d_or_1"]
    d: int

    @property
    def singular(self) -> bool:
        """Whether some component has no density."""
        return bool(self.variances.min() == 0)

    def at(self, alpha: float, sigma: float) -> Elementwise:
        """The components at a level."""
        return Elementwise(alpha**2 * self.variances + sigma**2, self.d)

    def array(self) -> np.ndarray:
        """The covariances in the shape in which they were given, (K,) or (K, d)."""
        return self.variances[:, 0] if self.isotropic else self.variances

    @property
    def isotropic(self) -> bool:
        """Whether each component has one variance."""
        return self.variances.shape[1] == 1 and self.d > 1

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """sum_k weights_k C_k, (d, d)."""
        return np.diag(np.broadcast_to(weights @ self.variances, (self.d,)))

    def solve(self, v: Array, alpha: Levels, sigma: Levels) -> tuple[Array, Array]:
        """S_k^{-1} v_k and v_k' S_k^{-1} v_k, for v (n, K, d)."""
        pull = v / (alpha**2 * as_like(self.variances, v) + sigma**2)
        return pull, namespace(v).sum(v * pull, axis=-1)

    def log_det(self, like: Array, alpha: Levels, sigma: Levels) -> Array:
        """log det S_k, (K,) or (n, K)."""
        xp = namespace(like)
        logs = xp.log(alpha**2 * as_like(self.variances, like) + sigma**2)
        return xp.sum(logs, axis=-1) * (self.d // self.variances.shape[1])

    def times(self, v: Array) -> Array:
        """C_k v_k."""
        return as_like(self.variances, v) * v

    def draw(self, k: int, n: int, rng: Rng, like: Array) -> Array:
        """n draws of N(0, C_k), (n, d)."""
        return standard_normal(rng, (n, self.d), like) * as_like(np.sqrt(self.variances[k]), like)

    def take(self, chosen: np.ndarray) -> Elementwise:
        """The chosen components alone."""
        return Elementwise(self.variances[chosen], self.d)


@dataclass(frozen=True, eq=False)
class Full:
    """Dense covariances C_k = Q_k diag(spectrum_k) Q_k': spectrum (K, d), basis (K, d, d)."""

    spectrum: Float[np.ndarray, "K d"]
    basis: Float[np.ndarray, "K d d"]

    @property
    def singular(self) -> bool:
        """Whether some component has no density."""
        return bool(self.spectrum.min() == 0)

    def at(self, alpha: float, sigma: float) -> Full:
        """The components at a level."""
        return Full(alpha**2 * self.spectrum + sigma**2, self.basis)

    def array(self) -> np.ndarray:
        """The covariances, (K, d, d)."""
        return (self.basis * self.spectrum[:, None, :]) @ self.basis.transpose(0, 2, 1)

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """sum_k weights_k C_k, (d, d)."""
        return np.tensordot(weights, self.array(), 1)

    def solve(self, v: Array, alpha: Levels, sigma: Levels) -> tuple[Array, Array]:
        """S_k^{-1} v_k and v_k' S_k^{-1} v_k, for v (n, K, d)."""
        xp, Q = namespace(v), as_like(self.basis, v)
        y = _apply(xp.matrix_transpose(Q), v)
        z = y / (alpha**2 * as_like(self.spectrum, v) + sigma**2)
        return _apply(Q, z), xp.sum(y * z, axis=-1)

    def log_det(self, like: Array, alpha: Levels, sigma: Levels) -> Array:
        """log det S_k, (K,) or (n, K)."""
        xp = namespace(like)
        return xp.sum(xp.log(alpha**2 * as_like(self.spectrum, like) + sigma**2), axis=-1)

    def times(self, v: Array) -> Array:
        """C_k v_k."""
        Q = as_like(self.basis, v)
        y = _apply(namespace(v).matrix_transpose(Q), v)
        return _apply(Q, as_like(self.spectrum, v) * y)

    def draw(self, k: int, n: int, rng: Rng, like: Array) -> Array:
        """n draws of N(0, C_k), (n, d)."""
        root = np.sqrt(self.spectrum[k])[:, None] * self.basis[k].T
        return standard_normal(rng, (n, root.shape[0]), like) @ as_like(root, like)

    def take(self, chosen: np.ndarray) -> Full:
        """The chosen components alone."""
        return Full(self.spectrum[chosen], self.basis[chosen])


@dataclass(frozen=True, eq=False)
class LowRank:
    """C_k = diag(diagonal_k) + factors_k factors_k': diagonal (K, d), factors (K, d, r).

    >>> LowRank([[0.1, 0.1]], [[[1.0], [2.0]]]).array()
    array([[[1.1, 2. ],
            [2. , 4.1]]])
    """

    diagonal: Any
    factors: Any

    def __post_init__(self) -> None:
        D, F = (finite_array("LowRank", n, getattr(self, n)) for n in ("diagonal", "factors"))
        if D.ndim != 2 or D.size == 0:
            raise fail("LowRank", "diagonal", "of shape (K, d)", D.shape)
        if D.min() < 0:
            raise fail("LowRank", "diagonal", "non-negative", D)
        if F.ndim != 3 or F.shape[:2] != D.shape or F.shape[2] == 0:
            raise fail("LowRank", "factors", f"of shape {(*D.shape, 'r')}", F.shape)
        object.__setattr__(self, "diagonal", D)
        object.__setattr__(self, "factors", F)

    @property
    def singular(self) -> bool:
        """Whether some component may have no density: its diagonal part has a zero."""
        return bool(self.diagonal.min() == 0)

    def at(self, alpha: float, sigma: float) -> LowRank:
        """The components at a level."""
        return LowRank(alpha**2 * self.diagonal + sigma**2, alpha * self.factors)

    def array(self) -> np.ndarray:
        """The covariances, (K, d, d)."""
        dense = self.factors @ self.factors.transpose(0, 2, 1)
        return dense + self.diagonal[:, :, None] * np.eye(self.diagonal.shape[1])

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """sum_k weights_k C_k, (d, d)."""
        outer = np.einsum("k,kir,kjr->ij", weights, self.factors, self.factors)
        return outer + np.diag(weights @ self.diagonal)

    def _system(self, like: Array, alpha: Levels, sigma: Levels) -> tuple[Array, Array, Array]:
        """G = alpha^2 D + sigma^2, alpha F, and M = I + alpha^2 F' G^{-1} F, (.., K, r, r)."""
        xp, F = namespace(like), as_like(self.factors, like)
        G = alpha**2 * as_like(self.diagonal, like) + sigma**2
        scale = alpha if isinstance(alpha, float) else alpha[..., None]
        scaled = scale * F
        M = xp.matmul(xp.matrix_transpose(scaled), scaled / G[..., None])
        return G, scaled, M + as_like(np.eye(F.shape[-1]), like)

    def solve(self, v: Array, alpha: Levels, sigma: Levels) -> tuple[Array, Array]:
        """S_k^{-1} v_k and v_k' S_k^{-1} v_k, for v (n, K, d).

        With z = M^{-1} F' G^{-1} v and the residual e = v - F z, S^{-1} v = G^{-1} e and the form
        is e' G^{-1} e + z' z: its minimum over z, so that an error in z enters squared.
        """
        xp = namespace(v)
        G, F, M = self._system(v, alpha, sigma)
        right = xp.matmul(xp.matrix_transpose(F), (v / G)[..., None])  # (n, K, r, 1)
        z = xp.linalg.solve(xp.broadcast_to(M, (*right.shape[:-1], M.shape[-1])), right)
        e = v - xp.matmul(F, z)[..., 0]
        pull = e / G
        return pull, xp.sum(e * pull, axis=-1) + xp.sum(z[..., 0] ** 2, axis=-1)

    def log_det(self, like: Array, alpha: Levels, sigma: Levels) -> Array:
        """log det S_k, (K,) or (n, K): log det G + log det M."""
        xp = namespace(like)
        G, _, M = self._system(like, alpha, sigma)
        return xp.sum(xp.log(G), axis=-1) + xp.linalg.slogdet(M)[1]

    def times(self, v: Array) -> Array:
        """C_k v_k."""
        F = as_like(self.factors, v)
        inner = _apply(namespace(v).matrix_transpose(F), v)
        return as_like(self.diagonal, v) * v + _apply(F, inner)

    def draw(self, k: int, n: int, rng: Rng, like: Array) -> Array:
        """n draws of N(0, C_k), (n, d)."""
        d, r = self.factors.shape[1:]
        own = standard_normal(rng, (n, d), like) * as_like(np.sqrt(self.diagonal[k]), like)
        return own + standard_normal(rng, (n, r), like) @ as_like(self.factors[k].T, like)

    def take(self, chosen: np.ndarray) -> LowRank:
        """The chosen components alone."""
        return LowRank(self.diagonal[chosen], self.factors[chosen])


Form = Elementwise | Full | LowRank


def form_of(where: str, covs: Any, K: int, d: int) -> Form:
    """The form of covariances given as (K,), (K, d), (K, d, d) or a form.

    Raises ValueError for other shapes, negative variances, matrices that are not symmetric or not
    positive semidefinite.
    """
    if isinstance(covs, (Elementwise, Full, LowRank)):
        shape = covs.array().shape[:2] if not isinstance(covs, LowRank) else covs.diagonal.shape
        if shape not in ((K, d), (K,)):
            raise fail(where, "covs", f"{K} covariances in {d} dimensions", shape)
        return covs
    C = finite_array(where, "covs", covs)
    if C.shape not in ((K,), (K, d), (K, d, d)):
        raise fail(where, "covs", f"of shape ({K},), ({K}, {d}) or ({K}, {d}, {d})", C.shape)
    if C.ndim < 3:
        if C.min() < 0:
            raise fail(where, "covs", "non-negative variances", C)
        return Elementwise(C[:, None] if C.ndim == 1 else C, d)
    size = np.abs(C).max(axis=(1, 2), keepdims=True)
    if np.any(np.abs(C - C.transpose(0, 2, 1)) > 1e-12 * size):
        raise fail(where, "covs", "symmetric", C)
    spectrum, basis = np.linalg.eigh(C)
    if np.any(spectrum < -1e-12 * size[:, :, 0]):
        raise fail(where, "covs", "positive semidefinite", C)
    return Full(np.maximum(spectrum, 0.0), basis)
