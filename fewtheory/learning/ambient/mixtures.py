"""How fast a law of k atoms is learnt from samples of unequal noise, and what a noisy one costs.

    W1(D^, D) <~ (d / N_4)^{1/4} + N_{4k-2}^{-1/(4k-2)},   N_p = sum_i sigma_i^{-p},

up to factors in k: the subspace of the atoms, then the moments inside it. A noisy sample costs
(sigma_2 / sigma_1)^4 clean ones while the first term rules, (sigma_2 / sigma_1)^(4k - 2) when the
second does, which for equal noise it does from n = d^((2k-1)/(2k-3)) on: for large data sets
exponentially (in k) worse. Theorem shapes as the sheet reconstructs them, without constants.
Sheet `ambient-scaling`, M9.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import Array, as_like, namespace
from ...errors import fail, finite_array, integer, number
from .._forms import floating
from .worst_pairs import price_exponent


def effective_size(sigmas: Any, p: int, counts: Any = None) -> float:
    """N_p = sum_i counts_i sigma_i^{-p}: samples at unit noise that say as much.

    sigmas (m,): noise levels, above 0; counts (m,): samples at each, one by default.
    Raises ValueError or TypeError by name.

    >>> effective_size([1.0, 2.0], 6, [1_000, 64_000])
    2000.0
    """
    where = "effective_size"
    s = finite_array(where, "sigmas", sigmas)
    if s.ndim != 1 or s.size < 1 or np.any(s <= 0):
        raise fail(where, "sigmas", "of shape (m,), positive", sigmas)
    n = finite_array(where, "counts", np.ones(s.size) if counts is None else counts)
    if n.shape != s.shape or np.any(n < 0):
        raise fail(where, "counts", f"of shape ({s.size},), not negative", counts)
    return float(np.sum(n * s ** -integer(where, "p", p, 1)))


def mixture_error(sigmas: Any, d: int, k: int, counts: Any = None) -> tuple[float, float]:
    """The two terms ((d / N_4)^{1/4}, N_{4k-2}^{-1/(4k-2)}) of the rate, without constants.

    d: the dimension of the data; k: the number of atoms, in a unit ball; noise in its radii.

    >>> [round(v, 4) for v in mixture_error([1.0], 100, 2, [1_000_000])]
    [0.1, 0.1]
    """
    d = integer("mixture_error", "d", d, 1)
    p = price_exponent(integer("mixture_error", "k", k, 1))
    subspace = (d / effective_size(sigmas, 4, counts)) ** 0.25
    return subspace, effective_size(sigmas, p, counts) ** (-1 / p)


def sample_price(sigma_1: float | int, sigma_2: float | int, k: int | None = None) -> float:
    """(sigma_2 / sigma_1)^4 noisy samples for one at sigma_1, or to the 4k - 2 once moments decide.

    k None: the subspace's price. Raises ValueError or TypeError by name.

    >>> sample_price(1.0, 2.0), sample_price(1.0, 2.0, 3)
    (16.0, 1024.0)
    """
    s1 = number("sample_price", "sigma_1", sigma_1, 1e-150)
    s2 = number("sample_price", "sigma_2", sigma_2, 1e-150)
    return (s2 / s1) ** (4 if k is None else price_exponent(k))


def crossover(d: int, k: int) -> float:
    """n = d^((2k-1)/(2k-3)) samples at unit noise, from which the moments' term rules; k >= 2.

    One atom's mean has no such regime: k = 1 is refused.

    >>> crossover(100, 2), round(crossover(100, 3))
    (1000000.0, 2154)
    """
    k = integer("crossover", "k", k, 2)
    return float(integer("crossover", "d", d, 1)) ** ((2 * k - 1) / (2 * k - 3))


def weighted_covariance(x: Array, sigma: Array) -> Array:
    """sum_i sigma_i^{-4} (x_i x_i^T - sigma_i^2 I) / sum_i sigma_i^{-4}, (d, d).

    x (n, d); sigma (n,) above 0. Its error has the norm 2 sqrt(d / N_4) where noise rules: the
    weights are the inverse variances of its entries. Raises ValueError or TypeError by name.

    >>> weighted_covariance(np.array([[2.0], [6.0]]), np.array([1.0, 2.0])).round(6).tolist()
    [[4.705882]]
    """
    x, s = floating("weighted_covariance", "x", x), floating("weighted_covariance", "sigma", sigma)
    if len(x.shape) != 2 or x.shape[0] < 1:
        raise fail("weighted_covariance", "x", "of shape (n, d)", tuple(x.shape))
    xp = namespace(x, s)
    if tuple(s.shape) != (x.shape[0],) or not bool(xp.all(s > 0)):
        raise fail("weighted_covariance", "sigma", f"of shape ({x.shape[0]},), positive", sigma)
    w = s**-4
    total = xp.sum(w)
    square = (x * w[:, None]).T @ x
    return square / total - xp.sum(w * s**2) / total * as_like(np.eye(x.shape[1]), x)


def top_subspace(cov: Array, k: int) -> Array:
    """The k leading eigenvectors (d, k) of a symmetric matrix (d, d).

    >>> abs(top_subspace(np.diag([1.0, 3.0]), 1)).tolist()
    [[0.0], [1.0]]
    """
    C = floating("top_subspace", "cov", cov)
    if len(C.shape) != 2 or C.shape[0] != C.shape[1]:
        raise fail("top_subspace", "cov", "of shape (d, d)", tuple(C.shape))
    k = integer("top_subspace", "k", k, 1, C.shape[0])
    xp = namespace(C)
    return xp.linalg.eigh((C + C.T) / 2)[1][:, C.shape[0] - k :]


def noise_norm(d: int, strength: float | int) -> float:
    """2 sqrt(d / N_4): the operator norm of the weighted covariance's error, at N_4 >> d >> 1.

    >>> round(noise_norm(60, 4_000), 4)
    0.2449
    """
    n = number("noise_norm", "strength", strength, 1e-300)
    return 2 * math.sqrt(integer("noise_norm", "d", d, 1) / n)
