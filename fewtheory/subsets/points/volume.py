"""Volume-rescaled sampling: n points whose law carries the factor det(G), and unbiased fits.

For any reference law nu with w = dmu/dnu and u_i = sqrt(w(x_i)) phi(x_i), G = (1/n) sum u_i u_i^T,

    d gamma_n = (n-m)! n^m / n! det(G) d nu^n,

is a probability because E det(sum u u^T) = n! / (n-m)!. By Cauchy and Binet it is m points of the
projection DPP and n - m independent ones of nu, in random order. Least squares is unbiased on it.
Without replacement from a pool: reverse removal. Source: arXiv 2312.14057; Derezinski, Warmuth and
Hsu 2018; sheet `dpp-wls`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import Array, Rng, namespace, to_numpy
from ...errors import fail, integer, one_of, state
from ...shapes import Float
from .._host import host_rng
from .dpp import _determinant, projection_dpp, rows_like
from .reference import Reference, reference
from .spaces import FeatureSpace, Space


def volume_sample(space: Space, n: int, *, nu: str | Reference = "optimal", rng: Rng) -> np.ndarray:
    """n points of the volume-rescaled law, on the host: DPP points, then points of nu, shuffled.

    nu: "optimal" (nu_m, the leveraged law), "mu" (the classical one), "mixture", or a `Reference`.
    Weights for least squares are nu's own, dmu/dnu, for all points. Raises ValueError for n < m.

    >>> from fewtheory.subsets.points.spaces import PolySpace
    >>> volume_sample(PolySpace("legendre", 2), 5, rng=np.random.default_rng(0)).shape
    (5,)
    """
    n = integer("volume_sample", "n", n, space.m)
    law, rng = reference(space, nu), host_rng("volume_sample", rng)
    repelled = projection_dpp(space, rng=rng).x
    independent = law.draw(n - space.m, rng)
    return rng.permutation(np.concatenate([repelled, independent]))


def volume_density(phi: Array, weight: Array) -> Float[Any, "*batch"]:
    """d gamma_n / d nu^n = (n-m)! n^m / n! det(G); phi (.., n, m), weight (.., n).

    >>> volume_density(np.ones((3, 1)), np.array([1.0, 2.0, 3.0])).round(12)
    np.float64(2.0)
    """
    n, m = _tall("volume_density", phi)
    w = weight[..., None]
    gram = namespace(phi).matmul(namespace(phi).matrix_transpose(w * phi), phi)
    return _determinant(gram) / gram_determinant_mean(n, m)


def _tall(where: str, phi: Array) -> tuple[int, int]:
    if len(phi.shape) < 2 or phi.shape[-2] < phi.shape[-1]:
        raise fail(where, "phi", "of shape (.., n, m) with n >= m", tuple(phi.shape))
    return phi.shape[-2], phi.shape[-1]


def gram_determinant_mean(n: int, m: int) -> float:
    """E det(sum_i u_i u_i^T) = n! / (n-m)! for independent points of any nu with w = dmu/dnu.

    >>> gram_determinant_mean(4, 2)
    12.0
    """
    integer("gram_determinant_mean", "m", m, 1)
    integer("gram_determinant_mean", "n", n, m)
    return float(math.perm(n, m))


def gram_adjugate_mean(n: int, m: int) -> float:
    """E adj(sum_i u_i u_i^T) = n! / (n-m+1)! I: the factor of the identity.

    >>> gram_adjugate_mean(4, 2)
    4.0
    """
    integer("gram_adjugate_mean", "m", m, 1)
    integer("gram_adjugate_mean", "n", n, m)
    return float(math.perm(n, m - 1))


def volume_marginal(optimal: Array, nu: Array, n: int, m: int) -> Array:
    """The law of each point, (m/n) nu_m + (1 - m/n) nu, from densities or probabilities of both.

    >>> volume_marginal(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 4, 2)
    array([0.75, 0.25])
    """
    integer("volume_marginal", "n", n, m)
    return (m / n) * optimal + (1 - m / n) * nu


def removal_probabilities(A: Array) -> Float[Any, "s"]:
    """Of each of the s rows left, the probability that reverse removal takes it next.

    (1 - a_i^T (A^T A)^{-1} a_i) / (s - m): the leverage scores sum to m, and a row of leverage 1,
    without which the rank falls, stays. Raises ValueError unless s > m and the rank is m.

    >>> removal_probabilities(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])).round(4)
    array([0.1667, 0.6667, 0.1667])
    """
    xp = state("removal_probabilities", "A", A)
    if len(A.shape) != 2 or A.shape[0] <= A.shape[1]:
        raise fail("removal_probabilities", "A", "of shape (s, m) with s > m", tuple(A.shape))
    s, m = A.shape
    Q, R = xp.linalg.qr(A)
    pivots = xp.abs(xp.linalg.diagonal(R))
    if float(xp.min(pivots)) <= 1e-14 * float(xp.max(pivots)):
        raise fail("removal_probabilities", "A", "of full column rank", "a lower rank")
    return (1 - xp.sum(Q * Q, axis=1)) / (s - m)


def reverse_removal(A: Any, n: int, *, method: str = "rejection", rng: Rng) -> Any:
    """n of N rows without replacement, P(S) = det(A_S^T A_S) / (C(N-m, n-m) det(A^T A)).

    From all rows, one at a time, a row goes with `removal_probabilities`; least squares on what is
    left is unbiased, without weights. method: "rejection", a row at random that goes with 1 - its
    leverage, the inverse by Sherman and Morrison, O((N + m log(N/n)) m^2) in all; "direct", all
    probabilities at every step, O(N^2 m). A: (N, m) of full column rank, or a `FeatureSpace`.
    Indices of the kind of A. Raises ValueError by name.

    >>> A = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 4.0]])
    >>> reverse_removal(A, 3, rng=np.random.default_rng(0)).shape
    (3,)
    """
    where = "reverse_removal"
    one_of(where, "method", method, ("rejection", "direct"))
    space = A if isinstance(A, FeatureSpace) else FeatureSpace(A)
    rows = space.rows
    integer(where, "n", n, space.m, len(rows))
    if not isinstance(A, FeatureSpace) and space.m < space.A.shape[1]:
        raise fail(where, "A", f"of full column rank {space.A.shape[1]}", f"rank {space.m}")
    rng = host_rng(where, rng)
    if method == "rejection":
        return rows_like(_by_rejection(rows, n, rng), space)
    left = np.arange(len(rows))
    while left.size > n:
        p = np.maximum(to_numpy(removal_probabilities(rows[left])), 0.0)
        left = np.delete(left, rng.choice(left.size, p=p / p.sum()))
    return rows_like(left, space)


def _by_rejection(rows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    left, size = np.arange(len(rows)), len(rows)
    fresh, inverse = size, _inverse_gram(rows)
    while size > n:
        k = int(rng.integers(size))
        a = rows[left[k]]
        h = inverse @ a
        stays = float(a @ h)  # the leverage among the rows that are left
        if rng.random() >= 1 - stays:
            continue
        left[k] = left[size - 1]
        size -= 1
        if 2 * size <= fresh or 1 - stays < 1e-6:  # rounding has added up, or cancels here
            fresh, inverse = size, _inverse_gram(rows[left[:size]])
        else:
            inverse = inverse + np.outer(h, h / (1 - stays))
    return np.sort(left[:size])


def _inverse_gram(rows: np.ndarray) -> np.ndarray:
    from scipy.linalg import solve_triangular

    _, R = np.linalg.qr(rows)
    inverse = solve_triangular(R, np.eye(rows.shape[1]))
    return inverse @ inverse.T
