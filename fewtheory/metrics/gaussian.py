"""Distances between Gaussians in closed form: Kullback-Leibler and 2-Wasserstein.

Both are small differences of large traces where the two laws nearly agree, so neither is computed
as one. The divergence is a sum of e - log(1 + e) over the eigenvalues e of the *difference* of the
covariances, and the distance is |A - B U| for roots A A' = C, B B' = C* and the orthogonal U that
brings them closest (Bhatia, Jain and Lim, "On the Bures-Wasserstein distance between positive
definite matrices", 2019). Sheet `plan-algebra`, "Exact Gaussian law", for the diagonal terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, as_like, is_numpy, is_torch, namespace, solve_triangular
from ..errors import fail, state
from ..shapes import Float

NEAR = 0.25  # |e| below which e - log(1 + e) would lose digits
Vector = Float[Array, "d"]
SERIES = 9  # terms: r^2 <= 1/49 there, and 49^-9 / 19 < eps


def _check(where: str, var: Array, other_var: Array) -> None:
    for name, value in (("var", var), ("other_var", other_var)):
        if not bool(namespace(value).all(value >= 0)):
            raise fail(where, name, "non-negative", value)


def _excess(xp: Any, e: Array, ratio: Array) -> Array:
    """e - log(1 + e) >= 0 for ratio = 1 + e; infinite where ratio is 0.

    Near 0, log(1 + e) = 2 atanh r with r = e / (2 + e), and e - 2 r = e r: what is left is
    r (e - 2 r^2 (1/3 + r^2/5 + ...)), in which nothing cancels.
    """
    near = xp.abs(e) < NEAR
    small = xp.where(near, e, 0.0)
    r = small / (2.0 + small)
    tail = r * 0.0
    for k in range(SERIES, 0, -1):
        tail = tail * r**2 + 1.0 / (2 * k + 1)
    far = xp.where(near | (ratio <= 0), 1.0, ratio)
    large = xp.where(ratio > 0, e - xp.log(far), xp.inf)
    return xp.where(near, r * (small - 2.0 * r**2 * tail), large)


def gaussian_kl_terms(mean: Vector, var: Vector, other_mean: Vector, other_var: Vector) -> Vector:
    """KL(N(mean, var) || N(other_mean, other_var)) a direction, in nats.

    (v/v* - 1 - log(v/v*) + (mu - mu*)^2 / v*) / 2, without cancellation at v = v*; infinite where
    one variance is 0 and the other is not, or where both are and the means differ. All (d,).
    Raises ValueError for a negative variance. Source: sheet `plan-algebra`, "Exact Gaussian law".

    >>> import numpy as np
    >>> gaussian_kl_terms(np.ones(1), np.ones(1), np.zeros(1), np.ones(1))
    array([0.5])
    """
    _check("gaussian_kl_terms", var, other_var)
    xp = namespace(mean, var)
    point, shift = other_var == 0, (mean - other_mean) ** 2
    scale = xp.where(point, 1.0, other_var)
    terms = 0.5 * (_excess(xp, (var - other_var) / scale, var / scale) + shift / scale)
    apart = xp.where((var == 0) & (shift == 0), xp.zeros_like(terms), xp.inf)
    return xp.where(point, apart, terms)


def gaussian_w2_terms(mean: Vector, var: Vector, other_mean: Vector, other_var: Vector) -> Vector:
    """The squared 2-Wasserstein distance a direction: (mu - mu*)^2 + (sqrt v - sqrt v*)^2.

    All (d,); the units are those of the variance. Raises ValueError for a negative variance.
    Source: sheet `plan-algebra`, "Exact Gaussian law".

    >>> import numpy as np
    >>> gaussian_w2_terms(np.zeros(1), np.ones(1), np.ones(1), 4 * np.ones(1))
    array([2.])
    """
    _check("gaussian_w2_terms", var, other_var)
    xp = namespace(mean, var)
    v, other_v = xp.where(var > 0, var, 1.0), xp.where(other_var > 0, other_var, 1.0)
    total = xp.where(var > 0, xp.sqrt(v), 0.0) + xp.where(other_var > 0, xp.sqrt(other_v), 0.0)
    stds = (var - other_var) / xp.where(total > 0, total, 1.0)  # the difference of the roots
    return (mean - other_mean) ** 2 + stds**2


def gaussian_kl(mean: Array, cov: Array, other_mean: Array, other_cov: Array) -> Array:
    """KL(N(mean, cov) || N(other_mean, other_cov)) in nats.

    (sum_i [e_i - log(1 + e_i)] + |L^{-1} (mu - mu*)|^2) / 2 with L L' = C* and e_i the eigenvalues
    of L^{-1} (C - C*) L^{-T} (1 + e_i those of L^{-1} C L^{-T}, where e_i is not small). Means
    (d,), covariances (d, d), (d,) for diagonal or a number for isotropic. A singular `cov` (to
    rounding, if full) is at infinite divergence; a singular `other_cov` is refused: whether the
    divergence is infinite would hang on a rounding error. On torch the result is differentiable.
    Computed in float64. Raises ValueError or TypeError for what is no Gaussian.

    >>> import numpy as np
    >>> float(gaussian_kl(np.ones(2), 1.0, np.zeros(2), np.ones(2)))
    1.0
    """
    where = "gaussian_kl"
    xp, m, C, other_m, other_C = _pair(where, mean, cov, other_mean, other_cov)
    lowest, highest = _extremes(xp, other_C)
    d = m.shape[0]
    if lowest <= (d * xp.finfo(m.dtype).eps * highest if other_C.ndim == 2 else 0.0):
        raise fail(where, "other_cov", "positive definite", other_cov)
    if C.ndim == 1:
        total = xp.sum(gaussian_kl_terms(m, C, other_m, other_C))
    else:
        L = xp.linalg.cholesky(other_C)
        e, ratio = (xp.linalg.eigvalsh(_whitened(L, v)) for v in (C - other_C, C))  # ascending
        ratio = xp.where(ratio > d * xp.finfo(m.dtype).eps * xp.max(ratio), ratio, 0.0)
        pull = solve_triangular(L, (m - other_m)[:, None])
        total = 0.5 * (xp.sum(_excess(xp, e, ratio)) + xp.sum(pull**2))
    return xp.astype(total, mean.dtype)


def gaussian_w2(
    mean: Array, cov: Array, other_mean: Array, other_cov: Array, *, squared: bool = False
) -> Array:
    """The 2-Wasserstein distance of N(mean, cov) and N(other_mean, other_cov).

    W^2 = |mu - mu*|^2 + |A - B U|_F^2, A = C^{1/2}, B = C*^{1/2}, U the polar factor of B A. Means
    (d,), covariances (d, d), (d,) for diagonal or a number for isotropic, singular ones too
    (eigenvalues below d eps of the largest are 0). The error is about d eps |A| times the root of
    the condition number, and never above d sqrt(eps) |A|: that of rounding the covariances. On
    torch the result is differentiable once; squared: give W^2, which has a gradient also where the
    laws agree. Computed in float64. Raises ValueError or TypeError for what is no Gaussian.

    >>> import numpy as np
    >>> float(gaussian_w2(np.zeros(2), 4.0, np.zeros(2), np.eye(2), squared=True))
    2.0
    """
    xp, m, C, other_m, other_C = _pair("gaussian_w2", mean, cov, other_mean, other_cov)
    if C.ndim == 1:
        total = xp.sum(gaussian_w2_terms(m, C, other_m, other_C))
    else:
        if is_torch(C):
            from ._torch import bures

            spread = bures(C, other_C)
        else:
            spread = xp.sum(residual(xp, C, other_C).R ** 2)
        total = xp.sum((m - other_m) ** 2) + spread
    return xp.astype(total if squared else xp.sqrt(total), mean.dtype)


def _whitened(L: Array, C: Array) -> Array:
    """L^{-1} C L^{-T}."""
    return _symmetric(solve_triangular(L, solve_triangular(L, C).T))


class Residual(NamedTuple):
    """R = A - B U with the polar factor U of B A, and the pseudoinverses of the roots A and B."""

    R: Array
    U: Array
    A_inverse: Array
    B_inverse: Array


def residual(xp: Any, C: Array, other_C: Array) -> Residual:
    """A - B U: of all roots B U of C* the closest to A = C^{1/2}; |R|_F is the distance."""
    (A, A_inverse), (B, B_inverse) = _root(xp, C), _root(xp, other_C)
    P, _, Q = xp.linalg.svd(B @ A)
    U = P @ Q
    return Residual(A - B @ U, U, A_inverse, B_inverse)


def _root(xp: Any, C: Array) -> tuple[Array, Array]:
    """The symmetric square root and its pseudoinverse."""
    spectrum, basis = xp.linalg.eigh(C)
    kept = spectrum > C.shape[0] * xp.finfo(C.dtype).eps * xp.max(spectrum)
    std = xp.sqrt(xp.where(kept, spectrum, 1.0))
    over = xp.where(kept, 1.0 / std, 0.0)
    return (basis * xp.where(kept, std, 0.0)) @ basis.T, (basis * over) @ basis.T


def _symmetric(C: Array) -> Array:
    return 0.5 * (C + C.T)


def _pair(where: str, mean: Array, cov: Array, other_mean: Array, other_cov: Array) -> tuple:
    """The namespace, and means (d,) and covariances in float64: both (d, d), or both (d,)."""
    xp = _mean(where, "mean", mean, None)
    _mean(where, "other_mean", other_mean, mean)
    m, other_m = (xp.astype(v, xp.float64) for v in (mean, other_mean))
    C = _covariance(where, "cov", cov, m)
    other_C = _covariance(where, "other_cov", other_cov, m)
    if C.ndim != other_C.ndim:  # one is diagonal, and the other is not
        eye = as_like(np.eye(m.shape[0]), m)
        C, other_C = (eye * v if v.ndim == 1 else v for v in (C, other_C))
    return xp, m, C, other_m, other_C


def _mean(where: str, name: str, value: Array, like: Array | None) -> Any:
    xp = state(where, name, value)
    shape = "(d,)" if like is None else str(tuple(like.shape))
    if value.ndim != 1 or value.shape[0] < 1 or (like is not None and value.shape != like.shape):
        raise fail(where, name, f"of shape {shape}", tuple(value.shape))
    if like is not None and is_numpy(value) != is_numpy(like):
        raise TypeError(f"{where}: {name} must be of the kind of mean, got {type(value).__name__}")
    if not bool(xp.all(xp.isfinite(value))):
        raise fail(where, name, "finite", value)
    return xp


def _covariance(where: str, name: str, cov: Any, like: Array) -> Array:
    """The covariance, (d, d) symmetric or (d,), in the kind and dtype of `like` (d,)."""
    xp, d = namespace(like), like.shape[0]
    if isinstance(cov, (bool, str)) or not (isinstance(cov, (int, float)) or hasattr(cov, "dtype")):
        raise TypeError(f"{where}: {name} must be an array or a number, got {type(cov).__name__}")
    own = isinstance(cov, (int, float, np.generic)) or (is_numpy(cov) and not is_numpy(like))
    C = as_like(cov, like) if own else xp.astype(cov, like.dtype)
    if tuple(C.shape) not in ((), (d,), (d, d)):
        raise fail(where, name, f"({d}, {d}), ({d},) or a number", tuple(C.shape))
    if not bool(xp.all(xp.isfinite(C))):
        raise fail(where, name, "finite", cov)
    C = xp.broadcast_to(C, (d,)) if C.ndim < 2 else C
    narrow = like.dtype if own else getattr(cov, "dtype", like.dtype)
    rounding = 8 * d * float(xp.finfo(narrow).eps)
    if C.ndim == 2 and bool(xp.max(xp.abs(C - C.T)) > rounding * xp.max(xp.abs(C))):
        raise fail(where, name, "symmetric", cov)
    C = C if C.ndim == 1 else _symmetric(C)
    lowest, highest = _extremes(xp, C)
    if lowest < (-rounding * max(highest, 0.0) if C.ndim == 2 else 0.0):
        raise fail(where, name, "positive semidefinite", cov)
    return C


def _extremes(xp: Any, C: Array) -> tuple[float, float]:
    """The least and the largest eigenvalue of a covariance (d, d) or (d,)."""
    spectrum = C if C.ndim == 1 else xp.linalg.eigvalsh(C)
    spectrum = spectrum.detach() if is_torch(spectrum) else spectrum
    return float(xp.min(spectrum)), float(xp.max(spectrum))
