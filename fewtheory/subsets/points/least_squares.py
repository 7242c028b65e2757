"""Weighted least squares in a space from few evaluations, and what its error can be.

    minimise (1/n) sum_i w_i (y_i - v(x_i))^2 over v in V,

by QR of U = diag(w)^{1/2} phi, never by forming G^{-1}. With g = f - Pf and b = (1/n) sum w g phi,
for any points

    |f - fhat|^2 = |g|^2 + |G^{-1} b|^2 <= |g|^2 + lambda_min(G)^{-1} (1/n) sum w g^2.

Source: arXiv 2312.14057; sheet `dpp-wls`, "Constants". Bounds in expectation are in `_guarantees`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, as_like, namespace, to_numpy
from ...errors import fail, number, state
from .designs import Sample, gram
from .designs import lambda_min as smallest_eigenvalue
from .guarantees import (
    expected_draws,
    expected_inverse,
    expected_noise_error,
    expected_noise_vector,
    noise_overlap,
    points_for_stability,
    quasi_optimality,
    stability_probability,
    stability_rate,
)
from .spaces import FeatureSpace, Space

__all__ = [
    "Fit",
    "expected_draws",
    "expected_inverse",
    "expected_noise_error",
    "expected_noise_vector",
    "noise_overlap",
    "points_for_stability",
    "quasi_optimality",
    "rkhs_bound",
    "stability_probability",
    "stability_rate",
    "sup_bound",
    "wls",
]


@dataclass(frozen=True, eq=False)
class Fit:
    """A weighted least-squares fit v = phi . coef.

    coef: (m,) or (m, k) in the orthonormal features, of the kind of y; space; lambda_min and
    mean_weight of the sample; inverse_trace: tr G^{-1}; residual: (1/n) sum w (y - v)^2, summed
    over outputs; n: points.

    >>> from fewtheory.subsets.points.spaces import PolySpace
    >>> fit = Fit(np.array([1.0, 0.0]), PolySpace("legendre", 1), 0.5, 1.0, 3.0, 0.0, 4)
    >>> fit.error_bound(sup=0.1).round(4)
    np.float64(0.2414)
    """

    coef: Any
    space: Space
    lambda_min: float
    mean_weight: float
    inverse_trace: float
    residual: float
    n: int

    def predict(self, x: Array) -> Any:
        """v at points x (indices of rows for a pool), of the kind of coef."""
        phi = as_like(to_numpy(self.space.features(x)), self.coef)
        return namespace(self.coef).matmul(phi, self.coef)

    @property
    def column_coef(self) -> Any:
        """For a pool: coefficients of A's own columns, (p,) or (p, k); A_new times them is v."""
        if not isinstance(self.space, FeatureSpace):
            raise fail("Fit.column_coef", "space", "a FeatureSpace", type(self.space).__name__)
        return namespace(self.coef).matmul(as_like(to_numpy(self.space.T), self.coef), self.coef)

    def error_bound(
        self,
        *,
        sup: int | float | None = None,
        hnorm: int | float | None = None,
        kappa: int | float | None = None,
        l2: int | float | None = None,
    ) -> np.float64:
        """A bound on |f - fhat| in L2(mu) on this very draw, without expectation.

        With f - v for any v in V (the best in the sup norm, say, or Pf): sup >= |f - v|_inf gives
        `sup_bound`; hnorm >= |f - v|_H with kappa >= sup w(x) k(x, x) `rkhs_bound`; l2 >= |f - v|
        (default: sup, or for hnorm sqrt(kappa) hnorm, which needs E k <= kappa, as kappa has).
        Raises ValueError unless exactly one of sup and hnorm is given.
        """
        where = "Fit.error_bound"
        if (sup is None) == (hnorm is None):
            raise fail(where, "sup", "given, or else hnorm", (sup, hnorm))
        if l2 is not None:
            number(where, "l2", l2, 0)
        if sup is not None:
            number(where, "sup", sup, 0)
            return sup_bound(sup if l2 is None else l2, sup, self.mean_weight, self.lambda_min)
        if kappa is None or hnorm is None:
            raise fail(where, "kappa", "given with hnorm", kappa)
        number(where, "hnorm", hnorm, 0)
        number(where, "kappa", kappa, 0)
        own = math.sqrt(kappa) * hnorm if l2 is None else l2
        return rkhs_bound(own, hnorm, kappa, self.lambda_min)

    def noise_error(self, variance: int | float) -> float:
        """s^2 tr(G^{-1}) / n: the mean error by noise of variance s^2 / w_i, given the points."""
        return number("Fit.noise_error", "variance", variance, 0) * self.inverse_trace / self.n


def wls(space: Space, sample: Sample, y: Array) -> Fit:
    """The weighted least-squares fit of evaluations y, (n,) or (n, k), at the sample's points.

    Gives coefficients of the kind, dtype and device of y, differentiable in y on torch; the
    algebra is in float64. Raises ValueError for y that does not fit or is not finite, or a sample
    whose points do not determine the fit.

    >>> from fewtheory.subsets.points.designs import sample
    >>> from fewtheory.subsets.points.spaces import PolySpace
    >>> V = PolySpace("legendre", 2)
    >>> S = sample(V, repeats=2, rng=np.random.default_rng(0))
    >>> wls(V, S, S.x**2).coef.round(4) + 0.0
    array([0.3333, 0.    , 0.2981])
    """
    xp = state("wls", "y", y)
    if len(y.shape) not in (1, 2) or y.shape[0] != sample.n:
        raise fail("wls", "y", f"of shape ({sample.n},) or ({sample.n}, k)", tuple(y.shape))
    if not bool(xp.all(xp.isfinite(y))):
        raise fail("wls", "y", "finite", y)
    phi = to_numpy(space.features(sample.x))
    w = to_numpy(sample.weight).astype(np.float64)
    smallest = smallest_eigenvalue(phi, w)
    root = np.sqrt(w)[:, None]
    Q, R = np.linalg.qr(root * phi)
    pivots = np.abs(np.diag(R))
    if sample.n < space.m or pivots.min() <= pivots.max() * space.m * np.finfo(np.float64).eps:
        raise fail(
            "wls", "sample", "of points that determine the fit", f"lambda_min {smallest:.2g}"
        )
    from scipy.linalg import solve_triangular

    inverse = solve_triangular(R, np.eye(space.m))  # R^{-1}, m x m: of U, not of G
    wide = xp.astype(y, xp.float64)
    columns = wide if len(y.shape) == 2 else wide[:, None]
    coef = _solved(Q, R, root, columns)
    left = to_numpy(columns) - phi @ to_numpy(coef)
    residual = float((w[:, None] * left * left).sum()) / sample.n
    return Fit(
        xp.astype(coef if len(y.shape) == 2 else coef[:, 0], y.dtype),
        space,
        smallest,
        float(w.mean()),
        float(sample.n * (inverse**2).sum()),
        residual,
        sample.n,
    )


def _solved(Q: np.ndarray, R: np.ndarray, root: np.ndarray, y: Array) -> Array:
    """R^{-1} Q^T diag(root) y in the library of y."""
    from ...arrays import solve_triangular

    right = as_like(Q.T * root[:, 0], y) @ y
    return solve_triangular(as_like(R, y), right, lower=False)


def sup_bound(
    l2: int | float, sup: int | float, mean_weight: int | float, lambda_min: int | float
) -> np.float64:
    """|f - fhat| <= |f - v| + (mean w / lambda_min)^{1/2} |f - v|_inf, for every v in V, any draw.

    >>> sup_bound(0.1, 0.1, 1.0, 0.5).round(4)
    np.float64(0.2414)
    """
    return np.float64(l2 + np.sqrt(mean_weight / np.float64(lambda_min)) * sup)


def rkhs_bound(
    l2: int | float, hnorm: int | float, kappa: int | float, lambda_min: int | float
) -> np.float64:
    """(|g|^2 + (kappa / lambda_min) |g|_H^2)^{1/2}, g = f - Pf, kappa >= sup w(x) k(x, x).

    If Pf is also the projection in H, the residual kernel may stand for k. For another v in V:
    `l2 + sqrt(kappa / lambda_min) hnorm`, the triangle's; this form is for v = Pf.

    >>> rkhs_bound(0.0, 1.0, 0.5, 0.5)
    np.float64(1.0)
    """
    return np.float64(np.sqrt(l2**2 + (kappa / np.float64(lambda_min)) * hnorm**2))


def error_terms(phi: Any, weight: Any, g: Any) -> tuple[float, float, float]:
    """(|G^{-1} b|^2, |b|^2, (1/n) sum w g^2) of a sample: its excess error, and what bounds it.

    phi: (n, m) features, weight (n,), g (n,) = f - Pf at the points.

    >>> error_terms(np.ones((2, 1)), np.ones(2), np.array([1.0, 0.0]))
    (0.25, 0.25, 0.5)
    """
    phi, w, g = (np.asarray(to_numpy(v), dtype=np.float64) for v in (phi, weight, g))
    b = phi.T @ (w * g) / len(g)
    excess = np.linalg.solve(gram(phi, w), b)
    return float(excess @ excess), float(b @ b), float((w * g * g).mean())
