"""Wasserstein distances in one dimension, where the optimal coupling is the sorted one.

W_p^p = int_0^1 |F^{-1}(u) - G^{-1}(u)|^p du. Between samples this is a sum over the steps of both
quantile functions. Between a sample and a Gaussian mixture it is a sum of partial moments of
Gaussians over the cells [F^{-1}((i-1)/n), F^{-1}(i/n)] of the mixture: nothing is sampled or
integrated over. In more dimensions, the mean over random directions (Rabin, Peyre, Delon and
Bernot, "Wasserstein barycenter and its application to texture mixing", 2011).
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import Array, Rng, as_like, check_rng, namespace, standard_normal, to_numpy
from ..errors import fail, finite_array, integer, number, one_of, state
from ..shapes import Float
from ..testbeds import ProductMixture
from .estimate import Estimate, pair

NARROW = 0.5  # in standard deviations: below, the closed forms cancel and 8 Gauss nodes are exact
NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
BLOCK = 2**22  # numbers in one block of projections


def wasserstein_1d(
    x: Float[Array, "n"],
    y: Float[Array, "m"],
    p: float | int = 2,
    *,
    x_weights: Any = None,
    y_weights: Any = None,
) -> Array:
    """W_p between the samples x (n,) and y (m,), in the units of the data.

    W_p^p = int_0^1 |F^{-1}(u) - G^{-1}(u)|^p du, p >= 1; weights: non-negative with a positive sum,
    equal ones where None. On torch differentiable in x and y (for p > 1 where W_p > 0). Raises
    ValueError or TypeError for other arguments. Source: POT's `wasserstein_1d` computes W_p^p.

    >>> float(wasserstein_1d(np.array([0.0, 1.0]), np.array([3.0]), 1))
    2.5
    """
    where = "wasserstein_1d"
    p = number(where, "p", p, 1)
    xp = _line(where, "x", x)
    if _line(where, "y", y) is not xp:
        raise TypeError(f"{where}: y must be an array of the kind of x, got {type(y).__name__}")
    w = _weights(where, "x_weights", x_weights, x)
    v = _weights(where, "y_weights", y_weights, y)
    equal = x_weights is None and y_weights is None
    steps = _steps(x.shape[0], y.shape[0]) if equal else _weighted_steps(w, v)
    return _cost(xp, xp.sort(x), xp.sort(y), steps, p) ** (1 / p)


def sliced_wasserstein(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    projections: int,
    *,
    rng: Rng,
    p: float | int = 2,
) -> Estimate:
    """SW_p = (E W_p^p(<theta, x>, <theta, y>))^(1/p) over uniform directions theta, p >= 1.

    x: (n, d); y: (m, d); projections: how many directions, at least 2. The standard error is that
    of the draw of directions, the samples given, by the delta method; what the samples themselves
    leave open (a bias of order n^-1/2 where the laws agree) is not in it. No gradient.
    Raises ValueError or TypeError for other arguments.

    >>> x = np.array([[0.0], [1.0]])
    >>> sliced_wasserstein(x, x + 1, 4, rng=np.random.default_rng(0))
    Estimate(value=1.0, standard_error=0.0)
    """
    where = "sliced_wasserstein"
    xp, x, y = pair(where, x, y, least=1)
    projections, p = integer(where, "projections", projections, 2), number(where, "p", p, 1)
    check_rng(where, rng)
    (n, d), m = x.shape, y.shape[0]
    steps, each = _steps(n, m), max(1, BLOCK // (n + m))
    costs = []
    for start in range(0, projections, each):
        theta = standard_normal(rng, (d, min(each, projections - start)), x)
        theta = theta / xp.sqrt(xp.sum(theta**2, axis=0))
        on_x, on_y = xp.sort(x @ theta, axis=0), xp.sort(y @ theta, axis=0)
        costs.append(to_numpy(_cost(xp, on_x, on_y, steps, p)))
    cost = np.concatenate(costs)
    mean, error = float(cost.mean()), float(cost.std(ddof=1)) / math.sqrt(projections)
    value = mean ** (1 / p)
    return Estimate(value, error * value / (p * mean) if mean > 0 else 0.0)


def wasserstein_1d_to_mixture(x: Array, bed: ProductMixture, p: int = 2) -> Array:
    """The exact W_p, p = 1 or 2, of the empirical law of x to a 1-D Gaussian mixture.

    W_p^p = sum_i int |x_(i) - y|^p p(y) dy over [F^{-1}((i-1)/n), F^{-1}(i/n)]; each cell is cut at
    x_(i), so that all terms are positive. x: (n,) or (n, 1); bed: `testbeds.mixture_1d`. Error of
    W_p^p: about 1e-14 of it, and 1e-15 range^p (between far modes, mass at i/n rounds to the wrong
    one). The value is not 0 for exact draws: compare it with that of draws of `bed`. Computed in
    float64, no gradient. Raises ValueError or TypeError for other arguments.

    >>> from fewtheory.testbeds import mixture_1d
    >>> float(wasserstein_1d_to_mixture(np.zeros(1), mixture_1d([1.0], [0.0], [2.0])))
    2.0
    """
    where = "wasserstein_1d_to_mixture"
    xp = _line(where, "x", x[:, 0] if len(getattr(x, "shape", ())) == 2 else x)
    if len(x.shape) == 2 and x.shape[1] != 1:
        raise fail(where, "x", "of shape (n,) or (n, 1)", tuple(x.shape))
    if not isinstance(bed, ProductMixture):
        raise TypeError(f"{where}: bed must be a ProductMixture, got {type(bed).__name__}")
    if bed.event != (1,):
        raise fail(where, "bed", "one-dimensional", bed.event)
    one_of(where, "p", p, (1, 2))
    side = 1.0 if bed.rotation is None else float(bed.rotation[0, 0])  # or -1, a reflection
    z = np.sort(side * to_numpy(x).astype(np.float64).reshape(-1))
    inner = np.arange(1, z.size)[:, None] / z.size
    quantiles = side * bed.quantile(inner)[:, 0] if z.size > 1 else inner[:, 0]
    low, high = np.append(-np.inf, quantiles), np.append(quantiles, np.inf)
    cut = np.clip(z, low, high)
    total = _moment(bed, z, low, cut, p) + _moment(bed, z, cut, high, p)
    return xp.reshape(as_like(np.asarray(total ** (1 / p)), x), ())


def _moment(bed: ProductMixture, z: np.ndarray, low: np.ndarray, high: np.ndarray, p: int) -> float:
    """sum_i int_low_i^high_i |y - z_i|^p p(y) dy, no z_i strictly inside its interval."""
    w, m, s = bed.weights[0], bed.means[0], bed.stds[0]
    a, b, centre = ((v[:, None] - m) / s for v in (low, high, z))
    narrow = b - a <= NARROW
    near_a, near_b, near = (np.where(narrow, v, 0.0) for v in (a, b, centre))
    inside = _by_nodes(near_a, near_b, near, p)
    whole = _in_closed_form(a, b, centre, p)
    return float(np.sum(w * s**p * np.where(narrow, inside, np.maximum(whole, 0.0))))


def _by_nodes(a: np.ndarray, b: np.ndarray, centre: np.ndarray, p: int) -> np.ndarray:
    """int_a^b |y - centre|^p phi(y) dy on narrow intervals, by Gauss and Legendre."""
    half, middle, total = 0.5 * (b - a), 0.5 * (a + b), np.zeros_like(a)
    for node, weight in zip(NODES, WEIGHTS, strict=True):
        y = middle + half * node
        total += weight * half * np.abs(y - centre) ** p * _phi(y)
    return total


def _in_closed_form(a: np.ndarray, b: np.ndarray, centre: np.ndarray, p: int) -> np.ndarray:
    """The same on wide and infinite ones; masses are differences of the smaller tails."""
    from scipy.special import ndtr

    right = a > 0
    mass = np.where(right, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))
    first = _phi(a) - _phi(b)  # int y phi
    if p == 1:
        return np.abs(first - centre * mass)
    ends = [np.where(np.isfinite(v), v, 0.0) * _phi(v) for v in (a, b)]
    return (centre**2 + 1) * mass - 2 * centre * first + ends[0] - ends[1]


def _phi(y: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * y**2) / math.sqrt(2 * math.pi)


Steps = tuple[np.ndarray, np.ndarray, np.ndarray]


def _steps(n: int, m: int) -> Steps:
    """Lengths of the steps of both quantile functions, and the order statistics on each.

    Edges i/n and j/m in whole multiples of 1/(nm): exact.
    """
    edges = np.union1d(m * np.arange(1, n + 1), n * np.arange(1, m + 1))
    starts = np.append(0, edges[:-1])
    return (edges - starts) / (n * m), starts // m, starts // n


def _weighted_steps(x_weights: np.ndarray, y_weights: np.ndarray) -> Steps:
    """The same for weights in the order of the sorted samples."""
    sums = [np.cumsum(w) for w in (x_weights, y_weights)]
    edges = [s / s[-1] for s in sums]
    every = np.union1d(*edges)
    starts = np.append(0.0, every[:-1])
    middle = 0.5 * (starts + every)
    i, j = (np.searchsorted(e, middle) for e in edges)
    return every - starts, i, j


def _cost(xp: Any, x: Array, y: Array, steps: Steps, p: float) -> Array:
    """W_p^p of the sorted x (n, ..) and y (m, ..), along the first axis."""
    device = array_api_compat.device(x)
    length, i, j = steps[0], *(xp.asarray(v, device=device) for v in steps[1:])
    gap = xp.abs(xp.take(x, i, axis=0) - xp.take(y, j, axis=0))
    over = as_like(length.reshape(-1, *(1,) * (x.ndim - 1)), x)
    return xp.sum(over * gap**p, axis=0)


def _line(where: str, name: str, x: Array) -> Any:
    xp = state(where, name, x)
    if len(x.shape) != 1 or x.shape[0] < 1:
        raise fail(where, name, "of shape (n,), n at least 1", tuple(x.shape))
    if not bool(xp.all(xp.isfinite(x))):
        raise fail(where, name, "finite", x)
    return xp


def _weights(where: str, name: str, weights: Any, x: Array) -> np.ndarray:
    """The weights (float64 NumPy) in the order of the sorted x."""
    if weights is None:
        return np.ones(x.shape[0])
    host = finite_array(where, name, to_numpy(weights))
    if host.shape != tuple(x.shape):
        raise fail(where, name, f"of shape {tuple(x.shape)}", host.shape)
    if np.any(host < 0) or host.sum() <= 0:
        raise fail(where, name, "non-negative with a positive sum", weights)
    return host[to_numpy(namespace(x).argsort(x))]
