"""Maximum mean discrepancy and energy distance: unbiased, with standard errors and an exact test.

Both are one U-statistic, U = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j)
- 2 mean_ij k(x_i, y_j), with k(x, y) = -|x - y| for the energy distance. U is a sum of
uncorrelated parts, of first order (one sum over x, one over y) and of second (pairs), so
Var U = V1 + V2, and where the laws agree V1 = 0. From sums over rows of the kernel matrices:

    V2 = 2 s_xx / (n (n-1)) + 2 s_yy / (m (m-1)) + 4 s_xy / (n m),  s = E[doubly centred k]^2,

with unbiased s (Szekely and Rizzo, "Partial distance correlation with methods for dissimilarities",
2014, for s_xx), while deleting one row at a time, the jackknife, estimates V1 + 2 V2: so
V1 = max(jackknife - 2 V2, 0). That is unbiased where V1 dominates. Where the laws agree, the
jackknife scatters about 2 V2 as widely as its mean and Var U is overstated, up to twice (one
eigenvalue). Papers: Gretton et al., "A kernel two-sample test", 2012; Binkowski
et al., "Demystifying MMD GANs", 2018 (KID); Szekely and Rizzo, "Energy statistics", 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import Array, Rng, as_like, check_rng, standard_normal, to_numpy
from ..errors import fail, integer, number, one_of
from ..shapes import Float
from .estimate import Estimate, pair

Kernel = Callable[[Array, Array], Array]
TILE = 384  # rows and columns of the kernel matrix at a time: a tile fits the cache
SUBSAMPLE = 1024  # rows in the median heuristic
DIRECT = 8  # dimensions up to which squared distances are sums of squared differences


def mmd2(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    *,
    kernel: str = "gaussian",
    bandwidth: float | int | Sequence[float | int] | str = "median",
    degree: int = 3,
) -> Estimate:
    """The squared maximum mean discrepancy of the laws of x (n, d) and y (m, d), unbiased.

    "gaussian": k = sum_h exp(-|x - y|^2 / (2 h^2)) over the bandwidths h, in the units of the data,
    or "median", the median distance of pooled points; "polynomial": k = (x.y / d + 1)^degree, of
    degree 3 for KID. n and m at least 4. The value may be negative. The standard error is
    sqrt(V1 + V2) (above), the bandwidth given; an interval of +- z standard errors has its level
    where the value is many of them (at 3, the value too low and its error too small go together,
    and a 95 % interval misses in 10 % of cases). Where the laws agree the error is a weighted sum
    of chi-squares: test with `mmd_test`. No n x m matrix is stored. Computed in float64, no
    gradient. Raises ValueError or TypeError for other arguments.

    >>> x = np.zeros((4, 1))
    >>> mmd2(x, x + 100.0, bandwidth=1.0).value
    2.0
    """
    where = "mmd2"
    xp, x, y = pair(where, x, y, least=4)
    x, y, k = _kernel(where, xp, x, y, kernel, bandwidth, degree)
    return _estimate(xp, k, x, y)


def energy_distance(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Estimate:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, unbiased, in units of the data; 0 for equal laws alone.

    x: (n, d), y: (m, d), n and m at least 4. The value may be negative; standard error and its
    regime as of `mmd2`. SciPy's `energy_distance` is the square root of this for the two empirical
    laws, in one dimension. Computed in float64, no gradient. Raises ValueError or TypeError for
    other arguments.

    >>> x = np.arange(6.0)[:, None]
    >>> round(energy_distance(x, x + 10.0).value, 4)
    15.3333
    """
    xp, x, y = pair("energy_distance", x, y, least=4)
    x, y = _centred(xp, x, y)
    return _estimate(xp, lambda a, b: -xp.sqrt(_squared_distances(xp, a, b)), x, y)


@dataclass(frozen=True)
class PermutationTest:
    """A two-sample test by permutation.

    value: the statistic; p_value: (1 + permutations that reach it) / (1 + permutations), so under
    equal laws P(p_value <= a) <= a for every a and all sample sizes; permutations: how many.
    """

    value: float
    p_value: float
    permutations: int


def mmd_test(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    *,
    rng: Rng,
    permutations: int = 199,
    kernel: str = "gaussian",
    bandwidth: float | int | Sequence[float | int] | str = "median",
    degree: int = 3,
) -> PermutationTest:
    """Whether x (n, d) and y (m, d) have one law, by `mmd2` over random relabellings.

    kernel: also "energy"; the other arguments are those of `mmd2`. Exact at its level: the median
    bandwidth depends on the pooled points alone. Cost: one pass over the pooled kernel matrix,
    (n + m)^2 (d + permutations) multiplications. Raises ValueError or TypeError otherwise.

    >>> x = np.arange(8.0)[:, None]
    >>> mmd_test(x, x + 20.0, rng=np.random.default_rng(0), permutations=99).p_value
    0.01
    """
    where = "mmd_test"
    xp, x, y = pair(where, x, y, least=4)
    permutations = integer(where, "permutations", permutations, 1)
    check_rng(where, rng)
    x, y, k = _kernel(where, xp, x, y, kernel, bandwidth, degree, extra=("energy",))
    pooled, n, m = xp.concat([x, y], axis=0), x.shape[0], y.shape[0]
    keys = to_numpy(standard_normal(rng, (n + m, permutations), np.empty(0)))
    labels = np.argsort(np.argsort(keys, axis=0), axis=0) < n
    labels = np.concatenate([(np.arange(n + m) < n)[:, None], labels], axis=1)
    s = as_like(labels.astype(np.float64), pooled)
    sums, quadratic = _Sums.zeros(n + m, n + m), xp.zeros_like(s[0, :])
    for r, c, block in _blocks(xp, k, pooled, pooled, same=True):
        sums.add(xp, r, c, block, same=True)
        twice = 1.0 if r == c else 2.0
        quadratic = quadratic + twice * xp.sum(s[r, :] * (block @ s[c, :]), axis=0)
    xx, one, total = to_numpy(quadratic), sums.rows @ labels, sums.rows.sum()  # s'Ks, 1'Ks, 1'K1
    within, other = xx / (n * (n - 1)), (total - 2 * one + xx) / (m * (m - 1))
    between = -2 * (one - xx) / (n * m)
    parts, found = (within, other, between), within + other + between
    rounding = 64 * np.finfo(np.float64).eps * (n + m) * max(np.abs(v).max() for v in parts)
    reached = int(np.sum(found[1:] >= found[0] - rounding))  # a tie counts as reached
    return PermutationTest(float(found[0]), (1 + reached) / (1 + permutations), permutations)


@dataclass
class _Sums:
    """Sums of a kernel matrix, on the host: rows, columns, squares. It adds up, so not frozen."""

    rows: np.ndarray
    columns: np.ndarray
    squares: float

    @classmethod
    def zeros(cls, n: int, m: int) -> _Sums:
        return cls(np.zeros(n), np.zeros(m), 0.0)

    def add(self, xp: Any, r: slice, c: slice, block: Array, same: bool) -> None:
        by_row, by_column = (to_numpy(xp.sum(block, axis=axis)) for axis in (1, 0))
        squares = float(xp.sum(block * block))
        self.rows[r] += by_row
        self.columns[c] += by_column
        self.squares += squares
        if same and r != c:  # the block below the diagonal
            self.rows[c] += by_column
            self.columns[r] += by_row
            self.squares += squares


def _sums(xp: Any, k: Kernel, x: Array, y: Array, same: bool) -> _Sums:
    sums = _Sums.zeros(x.shape[0], y.shape[0])
    for r, c, block in _blocks(xp, k, x, y, same):
        sums.add(xp, r, c, block, same)
    return sums


def _blocks(xp: Any, k: Kernel, x: Array, y: Array, same: bool) -> Any:
    """Tiles (rows, columns, k). same: x is y, only tiles on and above the diagonal, itself 0."""
    n, m = x.shape[0], y.shape[0]
    index = xp.arange(TILE, device=array_api_compat.device(x))
    for i in range(0, n, TILE):
        r = slice(i, min(i + TILE, n))
        for j in range(i if same else 0, m, TILE):
            c = slice(j, min(j + TILE, m))
            block = k(x[r, :], y[c, :])
            if same and r == c:
                own = index[: r.stop - i]
                block = xp.where(own[:, None] == own[None, :], 0.0, block)
            yield r, c, block


def _estimate(xp: Any, k: Kernel, x: Array, y: Array) -> Estimate:
    """U and sqrt(V1 + V2)."""
    n, m = x.shape[0], y.shape[0]
    xx, yy, xy = (
        _sums(xp, k, a, b, same) for a, b, same in ((x, x, True), (y, y, True), (x, y, False))
    )
    value = xx.rows.sum() / (n * (n - 1)) + yy.rows.sum() / (m * (m - 1))
    value -= 2 * xy.rows.sum() / (n * m)
    pairs = 2 * _within(xx) / (n * (n - 1)) + 2 * _within(yy) / (m * (m - 1))
    pairs += 4 * _between(xy) / (n * m)
    jackknife = _jackknife(xx.rows, xy.rows, m) + _jackknife(yy.rows, xy.columns, n)
    return Estimate(float(value), math.sqrt(max(jackknife - 2 * pairs, 0.0) + pairs))


def _jackknife(own: np.ndarray, cross: np.ndarray, m: int) -> float:
    """(n-1)/n sum_i (U_i - mean U_i)^2 over U_i, the statistic without row i of one sample."""
    n = own.size
    without = -2 * own / ((n - 1) * (n - 2)) + 2 * cross / ((n - 1) * m)  # but for a constant
    return (n - 1) * float(np.var(without))


def _within(k: _Sums) -> float:
    """The unbiased E[k - E k(x, .) - E k(., x') + E k]^2 of one sample: U-centred squares."""
    n, rows = k.rows.size, k.rows
    squares = k.squares - 2 * (rows @ rows) / (n - 2) + rows.sum() ** 2 / ((n - 1) * (n - 2))
    return max(float(squares), 0.0) / (n * (n - 3))


def _between(k: _Sums) -> float:
    """The same of two samples: the interaction's mean square of a two-way table."""
    n, m = k.rows.size, k.columns.size
    squares = k.squares - k.rows @ k.rows / m - k.columns @ k.columns / n
    return max(float(squares + k.rows.sum() ** 2 / (n * m)), 0.0) / ((n - 1) * (m - 1))


def _centred(xp: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """Both less their pooled mean: distances stay, and |x|^2 + |y|^2 - 2 x.y cancels less."""
    middle = xp.mean(xp.concat([x, y], axis=0), axis=0)
    return x - middle, y - middle


def _squared_distances(xp: Any, x: Array, y: Array) -> Array:
    """|x_i - y_j|^2, (n, m)."""
    if x.shape[1] <= DIRECT:
        total = (x[:, 0][:, None] - y[:, 0][None, :]) ** 2
        for c in range(1, x.shape[1]):
            total = total + (x[:, c][:, None] - y[:, c][None, :]) ** 2
        return total
    squares = xp.sum(x * x, axis=1)[:, None] + xp.sum(y * y, axis=1)[None, :]
    return xp.clip(squares - 2.0 * (x @ y.T), min=0.0)


def _kernel(
    where: str,
    xp: Any,
    x: Array,
    y: Array,
    kernel: str,
    bandwidth: Any,
    degree: int,
    extra: tuple[str, ...] = (),
) -> tuple[Array, Array, Kernel]:
    """The samples, centred where the kernel is one of differences, and the kernel."""
    one_of(where, "kernel", kernel, ("gaussian", "polynomial", *extra))
    degree = integer(where, "degree", degree, 1)
    if kernel == "polynomial":
        return x, y, lambda a, b: (a @ b.T / a.shape[1] + 1.0) ** degree
    x, y = _centred(xp, x, y)
    if kernel == "energy":
        return x, y, lambda a, b: -xp.sqrt(_squared_distances(xp, a, b))
    widths = _bandwidths(where, xp, x, y, bandwidth)

    def gaussian(a: Array, b: Array) -> Array:
        squares = _squared_distances(xp, a, b)
        return sum((xp.exp(squares * (-0.5 / h**2)) for h in widths), start=0.0)

    return x, y, gaussian


def _bandwidths(where: str, xp: Any, x: Array, y: Array, bandwidth: Any) -> list[float]:
    if isinstance(bandwidth, str):
        one_of(where, "bandwidth", bandwidth, ("median",))
        middle = _median_distance(xp, xp.concat([x, y], axis=0))
        if middle == 0:
            raise fail(where, "bandwidth", "a number (the median distance is 0)", bandwidth)
        return [middle]
    several = bandwidth if isinstance(bandwidth, (Sequence, np.ndarray)) else [bandwidth]
    tiny = float(np.finfo(np.float64).tiny) ** 0.5  # below, h^2 underflows
    widths = [number(where, "bandwidth", h, tiny) for h in several]
    if not widths:
        raise fail(where, "bandwidth", "'median', a number or numbers", bandwidth)
    return widths


def _median_distance(xp: Any, pooled: Array) -> float:
    """The median distance of pairs; of many points, of a share at even ranks of |x - mean|.

    Not every k-th row: it must not depend on which sample a point is from, or the test is not
    exact.
    """
    total = pooled.shape[0]
    if total > SUBSAMPLE:
        ranked = xp.argsort(xp.sum(pooled**2, axis=1))
        at = np.linspace(0, total - 1, SUBSAMPLE).round().astype(np.int64)
        ranked = xp.take(ranked, xp.asarray(at, device=array_api_compat.device(pooled)), axis=0)
        pooled = xp.take(pooled, ranked, axis=0)
    distances = np.sqrt(to_numpy(_squared_distances(xp, pooled, pooled)))
    return float(np.median(distances[np.triu_indices(pooled.shape[0], 1)]))
