"""Sensitivities without all the programs: their total from a few, bounds of all from few or none.

The total S_p decides how many rows a sample needs, and O(sqrt d) sensitivities estimate it; random
combinations of rows bound all l_1 sensitivities with n / bucket programs; a p near 1 brackets p = 1
by Newton's method alone; Lewis weights bracket every p. On the host, in float64.

Source: Woodruff & Yasuda (arXiv 2306.00732), sheet `lp-sensitivity`; the buckets are those of
Padmanabhan, Woodruff & Zhang (2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, Rng, as_like, to_numpy
from ...errors import fail, integer, number
from ...shapes import Float
from .._host import Table, host_rng
from ._basis import matrix
from .lewis import lewis_weights, norm_exponent
from .sensitivities import Sensitivities, sensitivities


@dataclass(frozen=True)
class TotalSensitivity:
    """S_p = sum_i sigma_i(p).

    value: the sum, or the mean over draws; standard_error: of that mean, 0 for the sum; lower,
    upper: value with the certificates of the sensitivities that it is made of; draws: how many.
    """

    value: float
    standard_error: float
    lower: float
    upper: float
    draws: int


def total_sensitivity(
    A: Array,
    p: float | int,
    *,
    draws: int | None = None,
    rng: Rng | None = None,
    tolerance: float | int = 1e-10,
) -> TotalSensitivity:
    """S_p, by all n sensitivities or from `draws` of them.

    Estimator: the mean of d sigma_i / w_i over i ~ w / d, w the Lewis weights. The relative
    variance of a draw is at most d / S - 1 <= d^{1-p/2} - 1 for p < 2 and d^{p/2} / S - 1 for p >
    2, so O(sqrt d) draws do at p = 1. rng: needed with draws.

    Source: sheet `lp-sensitivity`, Method, scalable approximations (iii).

    >>> round(total_sensitivity(np.array([[1.0, 0], [1, 1], [1, 2], [1, 4]]), 1).value, 6)
    1.663492
    """
    where = "total_sensitivity"
    host, exponent = matrix(where, "A", A), norm_exponent(where, p)
    if draws is None:
        found = sensitivities(host, exponent, tolerance=tolerance)
        low, high = float(found.lower.sum()), float(found.upper.sum())
        return TotalSensitivity((low + high) / 2, 0.0, low, high, 0)
    count, generator = integer(where, "draws", draws, 1), host_rng(where, rng)
    w = to_numpy(lewis_weights(host, exponent).weights)
    drawn, times = np.unique(Table(w).draw(count, generator), return_counts=True)
    found = sensitivities(host, exponent, rows=drawn, tolerance=tolerance)
    each = ratio_estimates(found.value, w, drawn)
    mean = float((times * each).sum() / count)
    spread = float((times * (each - mean) ** 2).sum()) / max(count - 1, 1)
    width = ratio_estimates((found.upper - found.lower) / 2, w, drawn)
    half = float((times * width).sum() / count)
    error = math.sqrt(spread / count) if count > 1 else math.inf
    return TotalSensitivity(mean, error, mean - half, mean + half, count)


def ratio_estimates(sigma: np.ndarray, w: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """S_p from single draws i ~ w / sum(w): sum(w) sigma_i / w_i, unbiased.

    >>> ratio_estimates(np.array([0.5]), np.array([1.0, 1.0]), np.array([0]))
    array([1.])
    """
    return w.sum() * sigma / w[drawn]


def bucket_sensitivities(
    A: Array, *, buckets: int | None = None, repeats: int | None = None, rng: Rng
) -> Float[Any, "n"]:
    """All l_1 sensitivities up to a factor, from few linear programs.

    Rows are split at random into buckets; the rows of a bucket are added with random signs and the
    sum's sensitivity against A is given to all of them; the maximum over repetitions. At least
    sigma_i with probability 1/2 a repetition (one of the two signs of row i is as large), at most
    the bucket's own total. buckets: default n / 4; repeats: default log2(n) + 4.

    Source: sheet `lp-sensitivity`, Method, scalable approximations (ii).

    >>> bucket_sensitivities(np.eye(3), buckets=3, rng=np.random.default_rng(0)).tolist()
    [1.0, 1.0, 1.0]
    """
    where = "bucket_sensitivities"
    host = matrix(where, "A", A)
    n = len(host)
    generator = host_rng(where, rng)
    count = integer(where, "buckets", -(-n // 4) if buckets is None else buckets, 1, n)
    times = (
        math.ceil(math.log2(n)) + 4 if repeats is None else integer(where, "repeats", repeats, 1)
    )
    best = np.zeros(n)
    for _ in range(times):
        bucket = generator.permutation(n) % count
        signs = generator.choice([-1.0, 1.0], size=n)
        best = np.maximum(best, signed_buckets(host, bucket, signs)[bucket])
    return as_like(best, A)


def signed_buckets(A: np.ndarray, bucket: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The l_1 sensitivities against A of sum_{i in bucket} s_i a_i, one for each bucket.

    bucket: (n,) from 0; signs: (n,).

    >>> signed_buckets(np.eye(2), np.array([0, 0]), np.array([1.0, -1.0])).tolist()
    [1.0]
    """
    sums = np.zeros((int(bucket.max()) + 1, A.shape[1]))
    np.add.at(sums, bucket, signs[:, None] * A)
    return sensitivities(sums, 1, against=A).upper


def bracket(
    A: Array, p: float | int = 1.1, *, target: float | int = 1, rows: Any = None
) -> Sensitivities:
    """Bounds of sigma_i(target) from sigma_i(p) at a nearby p > target, without linear programs.

    (n^{1/p - 1/t} sigma(p)^{1/p})^t <= sigma(t) <= sigma(p)^{t/p}: within a factor n^{1 - t/p}.

    Source: sheet `lp-sensitivity`, C4.

    >>> found = bracket(np.array([[1.0, 0], [1, 1], [1, 2], [1, 4]]))
    >>> bool(found.lower[3] <= 0.6 <= found.upper[3])
    True
    """
    near, low = number("bracket", "p", p, 1.0), number("bracket", "target", target, 1.0)
    if not near > low:
        raise fail("bracket", "p", f"above target = {low}", p)
    found = sensitivities(A, near, rows=rows)
    factor = A.shape[0] ** (low / near - 1)
    return Sensitivities(
        factor * found.lower ** (low / near),
        found.upper ** (low / near),
        found.index,
        low,
        found.iterations,
        found.converged,
        found.directions,
    )


def lewis_range(weights: Array, p: float | int, d: int) -> tuple[Array, Array]:
    """(lower, upper) bounds of all sensitivities from the l_p Lewis weights of a matrix of rank d.

    d^{p/2-1} w_i <= sigma_i <= w_i for p <= 2, w_i <= sigma_i <= d^{p/2-1} w_i for p >= 2.

    Source: sheet `lp-sensitivity`, C3.

    >>> lewis_range(np.array([0.5]), 4, 2)
    (array([0.5]), array([1.]))
    """
    exponent, rank = number("lewis_range", "p", p, 1.0), integer("lewis_range", "d", d, 1)
    factor = rank ** (exponent / 2 - 1)
    scaled = factor * weights
    return (scaled, weights) if exponent <= 2 else (weights, scaled)
