"""Bussgang's split of a quantiser: a gain, which scaling undoes, and noise, which it does not.

Q(e) = g e + n with n uncorrelated with e, g = E[e Q] / E[e^2] (Bussgang 1952; sheet `q-sched`). On
a Gaussian input Stein's lemma makes g the mean slope, E[Q'(e)]: clipping at c keeps erf(c / sqrt 2
s), and a staircase the sum of its steps, each times the density where it stands. For endless
rounding that sum is a theta function: within 5e-9 of 1 at a step of one standard deviation, so that
rounding alone has no gain error and what c_e = 1/g undoes is clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, namespace
from ..errors import fail, finite_array, integer, number
from ..shapes import Float

SELF_DUAL = math.sqrt(2 * math.pi)  # step over std at which both forms of the sum are as short
TERMS = np.arange(1, 12)  # exp(-pi 11^2) is 1e-165 there
POINTS = 40  # Gauss and Legendre, on each piece between two breaks


@dataclass(frozen=True)
class MidTread:
    """step * round(x / step), clipped at +-levels steps (None: not at all); 0 is a level.

    Ties go to the even level. b bits are levels = 2^(b-1) - 1, symmetric.

    >>> MidTread(0.5, levels=3)(np.array([0.2, 0.3, -9.0]))
    array([ 0. ,  0.5, -1.5])
    """

    step: float | int
    levels: int | None = None

    def __post_init__(self) -> None:
        number("MidTread", "step", self.step, 1e-300)
        if self.levels is not None:
            integer("MidTread", "levels", self.levels, 1)

    def __call__(self, x: Array) -> Array:
        """The nearest level, of the kind of x."""
        xp = namespace(x)
        k = xp.round(x / self.step)
        return self.step * (k if self.levels is None else xp.clip(k, -self.levels, self.levels))

    @property
    def breaks(self) -> Float[np.ndarray, "breaks"]:
        """Where it jumps, (k + 1/2) step. Raises ValueError without levels: they never end."""
        if self.levels is None:
            raise fail("MidTread", "levels", "given, for its breaks", None)
        return self.step * (np.arange(-self.levels, self.levels) + 0.5)


@dataclass(frozen=True)
class Clipping:
    """x within [-limit, limit], the nearer end outside.

    >>> Clipping(1.5)(np.array([0.2, -9.0]))
    array([ 0.2, -1.5])
    """

    limit: float | int

    def __post_init__(self) -> None:
        number("Clipping", "limit", self.limit, 1e-300)

    def __call__(self, x: Array) -> Array:
        """The clipped x, of its kind."""
        return namespace(x).clip(x, -self.limit, self.limit)

    @property
    def breaks(self) -> Float[np.ndarray, "breaks"]:
        """Where its slope jumps."""
        return np.array([-self.limit, self.limit], dtype=np.float64)


def bussgang_gain(quantiser: MidTread | Clipping, std: float | int = 1.0) -> float:
    """g = E[e Q(e)] / E[e^2] = E[Q'(e)] for e ~ N(0, std^2), in closed form.

    >>> round(bussgang_gain(Clipping(1.5)), 12)
    0.866385597462
    """
    s = number("bussgang_gain", "std", std, 1e-300)
    if isinstance(quantiser, Clipping):
        return math.erf(quantiser.limit / (math.sqrt(2) * s))
    if not isinstance(quantiser, MidTread):
        kind = type(quantiser).__name__
        raise TypeError(f"bussgang_gain: quantiser must be MidTread or Clipping, got {kind}")
    d = quantiser.step / s
    if quantiser.levels is None and d < SELF_DUAL:
        return _theta(d)
    return _staircase(d, quantiser.levels)


def _theta(d: float) -> float:
    """1 + 2 sum (-1)^n exp(-2 pi^2 n^2 / D^2): endless rounding, short where D is small."""
    return 1 + 2 * float(np.sum((-1.0) ** TERMS * np.exp(-2 * (math.pi * TERMS / d) ** 2)))


def _staircase(d: float, levels: int | None) -> float:
    """sum over the jumps of D phi((k + 1/2) D): by Poisson the same, short where D is large."""
    k = np.arange(TERMS.size + 1 if levels is None else levels)
    density = np.exp(-0.5 * ((k + 0.5) * d) ** 2) / math.sqrt(2 * math.pi)
    return float(2 * d * density.sum())


@dataclass(frozen=True)
class Split:
    """Q = g e + n: the gain, E n^2 and E e^2, and the correlation of n and e that is left."""

    gain: float
    noise: float
    power: float
    correlation: float


def bussgang_split(e: Any, quantised: Any, weights: Any = None) -> Split:
    """g = E[e q] / E[e^2], and n = q - g e, from values (n,) and their weights.

    weights: non-negative, for example those of `broken_quadrature`; equal ones where None. Raises
    ValueError for shapes that differ, and where all e are 0.

    >>> bussgang_split([1.0, -1.0, 3.0, -3.0], [1.0, -1.0, 2.0, -2.0]).gain
    0.7
    """
    where = "bussgang_split"
    e, q, w = _columns(where, weights, e=e, quantised=quantised)
    power = float(w @ e**2)
    if power == 0:
        raise fail(where, "e", "not all 0", e)
    gain = float(w @ (e * q)) / power
    n = q - gain * e
    noise = float(w @ n**2)
    left = float(w @ (n * e)) / math.sqrt(noise * power) if noise > 0 else 0.0
    return Split(gain, noise, power, left)


@dataclass(frozen=True)
class Pair:
    """Two coefficients, and the mean squared error of the step that they leave."""

    c_x: float
    c_e: float
    mse: float


def optimal_pair(
    x: Any, e: Any, quantised: Any, A: float | int, B: float | int, weights: Any = None
) -> Pair:
    """The (c_x, c_e) for which c_x A x + c_e B q comes closest to the step A x + B e, in the mean.

    The normal equations [E X X, E X Q; E X Q, E Q Q] c = [E X Y, E Q Y], X = A x, Q = B q, Y = A x
    + B e, after a division by the root mean squares. For DDIM A = alpha'/alpha and B = sigma' -
    sigma A. The target is the full-precision *trajectory*: where n is large, the best pair shrinks
    everything and the law is lost (sheet `q-sched`, C5). Raises ValueError for columns that are
    proportional, which have no single best pair.

    >>> pair = optimal_pair([1.0, -1.0, 2.0], [0.5, 1.0, -1.0], [0.25, 0.5, -0.5], 1.0, -1.0)
    >>> round(pair.c_x, 12), round(pair.c_e, 12)
    (1.0, 2.0)
    """
    where = "optimal_pair"
    a, b = (number(where, name, v, float("-inf")) for name, v in (("A", A), ("B", B)))
    x, e, q, w = _columns(where, weights, x=x, e=e, quantised=quantised)
    X, Q, Y = a * x, b * q, a * x + b * e
    scale = [math.sqrt(float(w @ v**2)) for v in (X, Q)]
    if min(scale) == 0:
        raise fail(where, "quantised", "not proportional to x", quantised)
    X, Q = X / scale[0], Q / scale[1]
    overlap, on_x, on_q = (float(w @ v) for v in (X * Q, X * Y, Q * Y))
    det = (1 - overlap) * (1 + overlap)
    if det <= 1e-14:
        raise fail(where, "quantised", "not proportional to x", quantised)
    c = (on_x - overlap * on_q) / det, (on_q - overlap * on_x) / det
    mse = float(w @ (c[0] * X + c[1] * Q - Y) ** 2)
    return Pair(c[0] / scale[0], c[1] / scale[1], mse)


def step_mse(
    x: Any, e: Any, quantised: Any, A: float | int, B: float | int, c_x: float | int,
    c_e: float | int, weights: Any = None,
) -> float:  # fmt: skip
    """E (c_x A x + c_e B q - A x - B e)^2: what a pair leaves of one step's error."""
    x, e, q, w = _columns("step_mse", weights, x=x, e=e, quantised=quantised)
    return float(w @ (c_x * A * x + c_e * B * q - A * x - B * e) ** 2)


def broken_quadrature(
    function: Callable[[np.ndarray], np.ndarray],
    breaks: Any,
    low: float | int,
    high: float | int,
    *,
    pieces: int = 400,
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Nodes and weights on [low, high], cut wherever `function` crosses one of the breaks.

    A quantiser of the function jumps there; between two cuts it is smooth and 40 points a piece
    integrate it to rounding, where a sum over quantiles stops at the fourth digit. function: (n,)
    -> (n,), continuous; pieces: how finely crossings are looked for, and the cells that are cut.

    >>> x, w = broken_quadrature(lambda x: x, [0.3], 0.0, 1.0)
    >>> abs(float(w @ (x > 0.3)) - 0.7) < 1e-14
    True
    """
    where = "broken_quadrature"
    a, b = (number(where, k, v, float("-inf")) for k, v in (("low", low), ("high", high)))
    if not a < b:
        raise fail(where, "high", f"above low = {a:g}", high)
    edges = np.linspace(a, b, integer(where, "pieces", pieces, 1) + 1)
    cuts = [edges, *(_crossings(function, edges, v) for v in finite_array(where, "breaks", breaks))]
    ends = np.unique(np.concatenate(cuts))
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    half, middle = 0.5 * np.diff(ends)[:, None], 0.5 * (ends[1:] + ends[:-1])[:, None]
    return (middle + half * nodes).ravel(), (half * weights).ravel()


def _crossings(function: Callable[..., np.ndarray], edges: np.ndarray, level: float) -> np.ndarray:
    """The places where the function crosses the level, by bisection in all cells at once."""
    above = function(edges) > level
    changes = np.flatnonzero(above[1:] != above[:-1])
    low, high, start = edges[changes], edges[changes + 1], above[changes]
    for _ in range(60 if changes.size else 0):
        middle = 0.5 * (low + high)
        same = (function(middle) > level) == start
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return 0.5 * (low + high)


def _columns(where: str, weights: Any, **values: Any) -> Sequence[np.ndarray]:
    """The values as float64 arrays (n,) of one shape, then weights that sum to one."""
    columns = [finite_array(where, name, value) for name, value in values.items()]
    for name, column in zip(values, columns, strict=True):
        if column.ndim != 1 or column.size == 0 or column.shape != columns[0].shape:
            raise fail(where, name, "of shape (n,), the same for all", column.shape)
    n = columns[0].size
    w = np.full(n, 1 / n) if weights is None else finite_array(where, "weights", weights)
    if w.shape != (n,) or np.any(w < 0) or not w.sum() > 0:
        raise fail(where, "weights", f"non-negative, of shape ({n},), not all 0", weights)
    return [*columns, w / w.sum()]
