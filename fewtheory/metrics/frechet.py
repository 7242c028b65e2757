"""The Frechet distance of two samples of features (FID), and how much of it is bias.

Squared W2 between the Gaussians fitted to the samples. The roots of the covariances are the centred
samples themselves, so that n < d needs nothing special and no covariance is squared or inverted.
The plug-in estimate is biased upwards by b/n, for equal laws too (Chong and Forsyth, "Effectively
unbiased FID and Inception Score and where to find them", 2020): the floor says how much of a number
that is, and the limit takes it away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import Array, Rng, as_like, check_rng, namespace, standard_normal, to_numpy
from ..errors import fail, integer, number
from ..shapes import Float
from .estimate import Estimate, pair, sample


def frechet_distance(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Array:
    """The squared 2-Wasserstein distance of the Gaussians fitted to x (n, d) and y (m, d), as FID.

    |mean x - mean y|^2 + |A - B U|_F^2 with A A' = cov x, B B' = cov y (divisors n - 1 and m - 1)
    and U the polar factor of B' A; in squared units of the data. The error is about d eps times the
    traces, the sign never negative. Computed in float64, no gradient. Raises ValueError or
    TypeError for what are no two samples of at least 2 rows.

    >>> x = np.array([[0.0], [2.0], [4.0]])
    >>> float(frechet_distance(x, 2 * x + 1))
    13.0
    """
    xp, wide_x, wide_y = pair("frechet_distance", x, y, least=2)
    return xp.astype(_distance(xp, wide_x, wide_y), x.dtype)


def frechet_noise_floor(x: Float[Array, "n d"], m: int, *, rng: Rng, repeats: int = 10) -> Estimate:
    """The mean distance of two disjoint parts of x, m rows each: what m rows give for equal laws.

    x: (n, d), n at least 2 m; repeats: random splits, at least 2. The standard error is that of the
    draw of splits, x given. For m well above d it falls as 1/m; for N(0, s^2 I) it is
    s^2 (2 d + d (d + 1) / 2) / m to first order. Raises ValueError or TypeError otherwise.

    >>> x = np.random.default_rng(0).standard_normal((400, 2))
    >>> floor = frechet_noise_floor(x, 200, rng=np.random.default_rng(1), repeats=20)
    >>> abs(floor.value - 7 / 200) < 7 / 200
    True
    """
    where = "frechet_noise_floor"
    x = sample(where, "x", x, least=4)
    m = integer(where, "m", m, 2, x.shape[0] // 2)
    repeats = integer(where, "repeats", repeats, 2)
    check_rng(where, rng)
    xp, found = namespace(x), []
    for _ in range(repeats):
        mixed = _shuffled(xp, x, rng)
        found.append(float(_distance(xp, mixed[:m, :], mixed[m : 2 * m, :])))
    return Estimate(float(np.mean(found)), float(np.std(found, ddof=1)) / math.sqrt(repeats))


@dataclass(frozen=True)
class FrechetLimit:
    """The Frechet distance of two laws, extrapolated from samples to n = infinity.

    value: the intercept; standard_error: its standard deviation over new samples; at_n: the
    distance of the whole samples; floor: the part of it that the fit calls bias; n, m: the sample
    sizes; parts, distances: the fitted points, the mean distance at n / k and m / k rows.
    """

    value: float
    standard_error: float
    at_n: float
    floor: float
    n: int
    m: int
    parts: tuple[int, ...]
    distances: tuple[float, ...]


def frechet_limit(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    *,
    rng: Rng,
    parts: Sequence[int] = (1, 2, 4),
    groups: int = 10,
) -> FrechetLimit:
    """The intercept of the least-squares line through the distances at n / k rows, against k / n.

    For each k of `parts` both samples are cut, in random order, into k disjoint blocks, and the
    distances of the k pairs are averaged. The points share their data, so the scatter about the
    line says nothing of the intercept's error: the standard error is the jackknife's over `groups`
    disjoint groups of rows. Regime: blocks with well more than d rows (below, the bias is no line),
    and laws that differ; where they agree, the error is not normal and the jackknife too wide.
    Raises ValueError or TypeError for samples too small to be cut. Cost: (groups + 1) sum(parts)
    distances.

    >>> x = np.random.default_rng(0).standard_normal((2000, 2))
    >>> limit = frechet_limit(x[:1000], x[1000:] + 1.0, rng=np.random.default_rng(1))
    >>> abs(limit.value - 2.0) < 4 * limit.standard_error
    True
    """
    where = "frechet_limit"
    ks = [integer(where, "parts", k, 1) for k in parts]
    if len(set(ks)) != len(ks) or len(ks) < 2:
        raise fail(where, "parts", "at least two distinct numbers", parts)
    groups = integer(where, "groups", groups, 2)
    check_rng(where, rng)
    xp, x, y = pair(where, x, y, least=8 * max(ks))  # two rows a block, half of all left out
    n, m = x.shape[0], y.shape[0]
    integer(where, "groups", groups, 2, min(n, m) // 2)
    x, y = _shuffled(xp, x, rng), _shuffled(xp, y, rng)
    rows = np.arange(n), np.arange(m)
    distances = [_at(xp, x, y, k, *rows) for k in ks]
    intercept, slope = _line(ks, distances)
    left_out = []
    for g in range(groups):
        rest = [np.delete(r, _group(r.size, g, groups)) for r in rows]
        left_out.append(_line(ks, [_at(xp, x, y, k, rest[0], rest[1]) for k in ks])[0])
    spread = float(np.var(left_out)) * (groups - 1)
    whole = float(_distance(xp, x, y))
    return FrechetLimit(
        intercept, math.sqrt(spread), whole, slope, n, m, tuple(ks), tuple(distances)
    )


def _line(ks: Sequence[int], distances: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope of distance = value + floor k: the bias at n / k rows is k times b/n."""
    slope, intercept = np.polyfit(ks, distances, 1)
    return float(intercept), float(slope)


def _at(xp: Any, x: Array, y: Array, k: int, kept_x: np.ndarray, kept_y: np.ndarray) -> float:
    """The mean distance of k disjoint blocks of the kept rows of x and y.

    A row's block is its number modulo k, so that rows left out move no other row to another block:
    that would add to the jackknife.
    """
    blocks = [
        (_rows(xp, x, kept_x[kept_x % k == j]), _rows(xp, y, kept_y[kept_y % k == j]))
        for j in range(k)
    ]
    return sum(float(_distance(xp, a, b)) for a, b in blocks) / k


def _group(n: int, g: int, groups: int) -> slice:
    """The g-th of `groups` runs of n rows."""
    return slice(g * n // groups, (g + 1) * n // groups)


def _rows(xp: Any, x: Array, rows: np.ndarray) -> Array:
    return xp.take(x, xp.asarray(rows, device=array_api_compat.device(x)), axis=0)


def _shuffled(xp: Any, x: Array, rng: Rng) -> Array:
    return _rows(xp, x, np.argsort(to_numpy(standard_normal(rng, (x.shape[0],), np.empty(0)))))


def _distance(xp: Any, x: Array, y: Array) -> Array:
    (mean_x, A), (mean_y, B) = _root(xp, x), _root(xp, y)
    rows = max(A.shape[0], B.shape[0])
    A, B = (_padded(xp, v, rows) for v in (A, B))
    P, _, Q = xp.linalg.svd(B @ A.T)
    return xp.sum((mean_x - mean_y) ** 2) + xp.sum((A.T - B.T @ (P @ Q)) ** 2)


def _root(xp: Any, x: Array) -> tuple[Array, Array]:
    """The mean, and A' (k, d) with A A' the covariance and k at most d."""
    n, d = x.shape
    mean = xp.mean(x, axis=0)
    centred = (x - mean) / math.sqrt(n - 1)
    return mean, centred if n <= d else xp.linalg.qr(centred)[1]


def _padded(xp: Any, A: Array, rows: int) -> Array:
    """A' with rows of zeros, which change no covariance: roots of one shape have a rotation."""
    missing = rows - A.shape[0]
    return xp.concat([A, as_like(np.zeros((missing, A.shape[1])), A)], axis=0)


def expected_frechet(std: float | int, n: int) -> float:
    """E of the Frechet distance of n draws of N(m, std^2) to it: std^2/n + 2 std^2 (1 - c4(n)).

    What a perfect one-dimensional sampler scores, with the unbiased sample variance; c4 =
    sqrt(2/(n-1)) Gamma(n/2) / Gamma((n-1)/2). Source: sheet `autodiffusion`, C6.

    >>> round(expected_frechet(0.7, 50), 6)
    0.014787
    """
    s = number("expected_frechet", "std", std, 0.0)
    integer("expected_frechet", "n", n, 2)
    log_c4 = 0.5 * math.log(2 / (n - 1)) + math.lgamma(n / 2) - math.lgamma((n - 1) / 2)
    return s**2 / n - 2 * s**2 * math.expm1(log_c4)


def frechet_bias(d: int, n: int) -> float:
    """E of the Frechet distance of n draws of N(0, I) in d dimensions to it, to first order in 1/n.

    d/n from the mean and d(d + 1)/(4 n) from the full covariance; the same for every candidate of a
    search, so that ranks survive and values do not.

    >>> round(frechet_bias(6, 400), 6)
    0.04125
    """
    integer("frechet_bias", "d", d, 1)
    integer("frechet_bias", "n", n, 2)
    return d / n + d * (d + 1) / (4 * n)
