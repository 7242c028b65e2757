"""Lewis weights: the reweighting under which l_p behaves like l_2.

    w_i = F_i(w) = (a_i^T (A^T W^{1-2/p} A)^{-1} a_i)^{p/2}

the unique positive solution, summing to the rank. In x = log w the map x - log F(x) has the
Jacobian I + (p/2-1) D(x), D row-stochastic and similar to a positive semidefinite matrix, so its
spectrum lies between 1 and p/2 and everything follows from that interval:

* the damped iteration x <- x + eta (log F - x) contracts near the solution by |1-p/2| for eta = 1
  (Cohen & Peng), by |1-2/p| for eta = 2/p (weights become leverage scores), and at best, for eta =
  4/(p+2), by |p-2|/(p+2);
* Chebyshev's iteration on that interval contracts by |sqrt(2/p)-1|/(sqrt(2/p)+1): .17 at p = 1,
  where the best damping has .33. It is the default. Where its residual grows it falls back on a
  step that converges from everywhere (eta = 1 below p = 2, eta = 2/p above);
* a residual r = max |log F - x| certifies |x - x*| <= r / (1 - |1-p/2|) for p < 4 and, along the
  path on which the residual shrinks to nothing, |x - x*| <= r (1 + (p/2-1) sqrt(d)) for p >= 2:
  (I + a D)^{-1} v = v - a D (I + a D)^{-1} v, and |D u|_inf <= |u|_tau, |u|_tau <= |v|_tau <=
  sqrt(d) |v|_inf in the norm weighted by the leverage scores tau of the scaled matrix.

One pass over A serves an iteration: it applies the last step and sums the next Gram matrix.
Woodruff & Yasuda (arXiv 2306.00732), sheet `lp-sensitivity`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, as_like, namespace, to_numpy
from ...errors import fail, integer, number
from ._lewis_iteration import iterate, log_norms, scales
from .blocks import rows_of
from .leverage import whitening


@dataclass(frozen=True)
class LewisWeights:
    """Lewis weights with their certificate.

    Attributes:
        weights: (n,), 0 for zero rows.
        log_weights: (n,), -inf for zero rows; what was iterated.
        p, rank: of the norm, and of A.
        residual: max |log F(w) - log w|.
        error: a bound on max |log w - log w*|, up to rounding.
        iterations, converged: passes over A, and whether the residual is below the tolerance.
        residuals: of every iterate.
    """

    weights: Array
    log_weights: Array
    p: float
    rank: int
    residual: float
    error: float
    iterations: int
    converged: bool
    residuals: tuple[float, ...]


def lewis_weights(
    A: Array,
    p: float | int,
    *,
    tolerance: float | int = 1e-10,
    step: float | int | None = None,
    max_iterations: int = 500,
) -> LewisWeights:
    """The l_p Lewis weights of the rows of A, with a certificate.

    Args:
        A: (n, d), NumPy, torch, or dask chunked by rows; of any rank but 0.
        p: of the norm, 1 <= p < infinity.
        tolerance: on the residual; rounding leaves about 1e-14 p times the condition of A.
        step: eta of the damped iteration; None for Chebyshev's with its fall-back.
        max_iterations: passes over A after which it stops and says so.

    Raises: ValueError for what is not a finite matrix with a row that is not zero, p outside its
        range, tolerance <= 0, step <= 0.

    Source: sheet `lp-sensitivity`, Method, Lewis weights; Chebyshev's iteration and the bound for
        p >= 4 are derived here.

    >>> import numpy as np
    >>> from fewtheory.subsets import lewis_weights
    >>> found = lewis_weights(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 4.0]]), 1)
    >>> found.weights.round(4).tolist(), found.converged
    ([0.5416, 0.373, 0.3568, 0.7286], True)
    """
    name = "lewis_weights"
    exponent = norm_exponent(name, p)
    least = number(name, "tolerance", tolerance, np.finfo(float).tiny)
    eta = None if step is None else number(name, "step", step, np.finfo(float).tiny)
    most = integer(name, "max_iterations", max_iterations, 1)
    rows = rows_of(name, A)
    T = whitening(name, rows)
    x, residual, residuals = iterate(rows, exponent, T, least, eta, most)
    return LewisWeights(
        rows.of_rows(namespace(x).exp(x)),
        rows.of_rows(x),
        exponent,
        T.shape[1],
        residual,
        certificate(residual, exponent, T.shape[1]),
        len(residuals),
        residual <= least,
        tuple(residuals),
    )


def norm_exponent(where: str, p: Any) -> float:
    """p as a float in [1, infinity), or an error that names it."""
    exponent = number(where, "p", p, -math.inf)
    if not exponent >= 1:
        raise fail(where, "p", "at least 1 and finite", p)
    return exponent


def certificate(residual: float, p: float | int, d: int) -> float:
    """A bound on max |log w - log w*| from the residual max |log F(w) - log w| in dimension d.

    Source: sheet `lp-sensitivity`, Method, for p < 4; derived here for p >= 4.

    >>> from fewtheory.subsets.rows.lewis import certificate
    >>> certificate(0.125, 1, 5), certificate(0.125, 8, 4)
    (0.25, 0.875)
    """
    contraction = residual / (1 - abs(1 - p / 2)) if p < 4 else math.inf
    path = residual * (1 + (p / 2 - 1) * math.sqrt(d)) if p >= 2 else math.inf
    return min(contraction, path)


def lewis_map(A: Array, log_weights: Array, p: float | int) -> Array:
    """log F(w) at the weights w: (p/2) log a_i^T (A^T W^{1-2/p} A)^+ a_i, of shape (n,).

    Args:
        A: (n, d), in memory.
        log_weights: (n,), finite where the row is not zero.
        p: 1 <= p < infinity.

    Raises: ValueError for arguments that do not fit.

    Source: sheet `lp-sensitivity`, Method, Lewis weights.

    >>> import numpy as np
    >>> from fewtheory.subsets import lewis_map
    >>> np.exp(lewis_map(np.eye(2), np.log([0.5, 1.0]), 1)).round(4).tolist()
    [0.7071, 1.0]
    """
    name = "lewis_map"
    exponent, rows = norm_exponent(name, p), rows_of(name, A)
    if tuple(getattr(log_weights, "shape", ())) != (rows.n,):
        raise fail(name, "log_weights", f"of shape ({rows.n},)", getattr(log_weights, "shape", ()))
    scaled = scaled_whitening(name, A, log_weights, exponent)
    return rows.of_rows(exponent / 2 * log_norms(A @ as_like(scaled, A)))


def lewis_potential(A: Array, log_weights: Array, p: float | int) -> float:
    """logdet(A^T W^{1-2/p} A) - (1-2/p) sum w: for p > 2 concave in w, largest at Lewis weights.

    Args: as of `lewis_map`; A of full column rank.

    Source: sheet `lp-sensitivity`, Method, Lewis weights.

    >>> import numpy as np
    >>> from fewtheory.subsets import lewis_potential
    >>> round(lewis_potential(np.eye(2), np.log([1.0, 1.0]), 4), 6)
    -1.0
    """
    exponent = norm_exponent("lewis_potential", p)
    T = scaled_whitening("lewis_potential", A, log_weights, exponent)
    # (S A T)^T (S A T) = I: det(A^T S^2 A) = det(T)^-2
    logdet = -2 * float(np.linalg.slogdet(T)[1])
    return logdet - (1 - 2 / exponent) * float(np.exp(to_numpy(log_weights)).sum())


def scaled_whitening(where: str, A: Array, log_weights: Array, p: float) -> np.ndarray:
    """T for which W^{1/2-1/p} A T is orthonormal."""
    scale = scales(as_like(to_numpy(log_weights), A), p)
    return whitening(where, rows_of(where, A * scale[:, None]))
