"""The iteration for Lewis weights in x = log w: one pass over A a step.

A pass takes the last step, d <- keep d + gain (log F - x), and sums the Gram matrix that the next
one needs, in coordinates T in which the last scaled matrix was orthonormal: so rounding does not
build up, however the scales of rows move. `lewis` says which steps are taken and why.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...arrays import Array, as_like, namespace
from .blocks import Rows, add, larger
from .leverage import SAFE, inverse_factor

TINY = 1e-280  # squared norms below are taken again from scaled rows
STALE = 25  # passes without progress after which rounding is to blame


def scales(x: Array, p: float) -> Array:
    """w^{1/2-1/p} of each row from x = log w; 0 for zero rows, whose x is -inf."""
    xp = namespace(x)
    there = x > -math.inf
    exponent = (0.5 - 1 / p) * xp.where(there, x, 0.0)
    # weights are at most 1: an exponent beyond 300 is a step gone wrong, whose square must not
    # overflow before its residual is seen
    return xp.where(there, xp.exp(xp.clip(exponent, max=300.0)), 0.0)


def log_norms(Y: Array) -> Array:
    """log |y_i|^2 of each row, (n,), -inf for zero rows; rows below 1e-140 are scaled first."""
    xp = namespace(Y)
    square = xp.vecdot(Y, Y)
    if not bool(xp.any(square < TINY)):
        return xp.log(square)
    top = xp.max(xp.abs(Y), axis=1)
    safe = xp.where(top > 0, top, xp.ones_like(top))
    Z = Y / safe[:, None]
    log = 2 * xp.log(safe) + xp.log(xp.where(top > 0, xp.vecdot(Z, Z), xp.ones_like(top)))
    return xp.where(top > 0, log, -math.inf)


def step_of_block(
    block: Array, x: Array, d: Array, *, T: np.ndarray, p: float, keep: float, gain: float
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """x + d and the step d <- keep d + gain (log F - x) that was taken, row by row; the Gram matrix
    of W^{1/2-1/p} A T there, and the largest |log F - x| before. Zero rows go to x = -inf."""
    xp = namespace(block)
    Y = block @ as_like(T, block)
    log_F = p / 2 * log_norms(Y)
    there = (log_F > -math.inf) & (x > -math.inf)
    f = xp.where(there, log_F - xp.where(there, x, 0.0), 0.0)
    d = keep * d + gain * f
    new = xp.where(there, x + d, -math.inf)
    scaled = Y * scales(new, p)[:, None]
    return (new, d), (scaled.T @ scaled, xp.max(xp.abs(f)))


def scaled_gram_of_block(
    block: Array, x: Array, *, T: np.ndarray, p: float
) -> tuple[tuple[()], tuple[Array]]:
    """The Gram matrix of W^{1/2-1/p} A T."""
    scaled = (block @ as_like(T, block)) * scales(x, p)[:, None]
    return (), (scaled.T @ scaled,)


def constants_of_block(block: Array, *, value: float) -> tuple[tuple[Array, Array], tuple[()]]:
    """The start x = value, and d = 0."""
    xp = namespace(block)
    return (xp.zeros_like(block[:, 0]) + value, xp.zeros_like(block[:, 0])), ()


def chebyshev(p: float) -> Iterator[tuple[float, float]]:
    """(keep, gain) of d <- keep d + gain f, for a Jacobian with its spectrum between 1 and p/2."""
    middle, half = (1 + p / 2) / 2, abs(1 - p / 2) / 2
    yield 0.0, 1 / middle
    rho = half / middle
    while True:
        # 1 / (2 middle/half - rho), written so that half = 0 (p = 2) is allowed
        following = half / (2 * middle - half * rho)
        yield following * rho, 2 / (2 * middle - half * rho)
        rho = following


def iterate(
    rows: Rows, p: float, T: np.ndarray, tolerance: float, eta: float | None, most: int
) -> tuple[Array, float, list[float]]:
    """(x, its residual, all residuals) of the damped iteration, or of Chebyshev's for eta = None.

    Each pass takes the step that the last one's Gram matrix allows, and knows the residual of the x
    that it started from: that x is returned. T whitens A.
    """
    value = math.log(T.shape[1] / rows.n)
    (x, d), _ = rows.sweep(functools.partial(constants_of_block, value=value))
    now = State(x, d, T * math.exp(-(0.5 - 1 / p) * value))
    steering: Damped | Accelerated = Accelerated(p) if eta is None else Damped(eta)
    residuals: list[float] = []
    while True:
        keep, gain = steering.coefficients()
        step = functools.partial(step_of_block, T=now.T, p=p, keep=keep, gain=gain)
        (new, taken), (G, largest) = rows.sweep(step, now.x, now.d, combine=(add, larger))
        residuals.append(float(largest))
        back = steering.judge(residuals[-1], now)
        if residuals[-1] <= tolerance or len(residuals) >= most or steering.stuck:
            return steering.best.x, steering.least, residuals
        now = back or State(new, taken, settled(rows, new, now.T, G, p))


class State(NamedTuple):
    """log w, the last step, and T for which W^{1/2-1/p} A T is orthonormal."""

    x: Array
    d: Array
    T: np.ndarray


class Damped:
    """x <- x + eta (log F - x); its last iterate is its best, and it is stuck when it diverges."""

    def __init__(self, eta: float):
        self.eta, self.stuck, self.first = eta, False, math.nan

    def coefficients(self) -> tuple[float, float]:
        """(keep, gain) of the next step."""
        return 0.0, self.eta

    def judge(self, residual: float, state: State) -> None:
        """Takes note of the residual of a state."""
        self.first = residual if math.isnan(self.first) else self.first
        self.best, self.least = state, residual
        self.stuck = not residual <= 100 + 2 * self.first


class Accelerated:
    """Chebyshev's steps, or safe ones (eta = 1 below p = 2, else 2/p) where they go wrong.

    They go wrong where a residual exceeds four times the least one; then the search goes back there
    and takes safe steps until the residual is halved. It is stuck where rounding rules.
    """

    def __init__(self, p: float):
        self.p, self.steps, self.leave = p, chebyshev(p), math.inf
        self.least, self.goal, self.stale, self.stuck = math.inf, math.inf, 0, False

    def coefficients(self) -> tuple[float, float]:
        """(keep, gain) of the next step."""
        return next(self.steps)

    def judge(self, residual: float, state: State) -> State | None:
        """Takes note of the residual of a state; the state to go back to, if any."""
        if residual < self.goal:
            self.goal, self.stale = residual / 2, 0
        else:
            self.stale += 1
        if residual < self.least:
            self.best, self.least = State(state.x, 0.0 * state.d, state.T), residual
        self.stuck = self.stale > STALE and self.least < 1e-6
        if not residual <= 4 * self.least:
            self.leave = self.least / 2
            self.steps = itertools.repeat((0.0, 1.0 if self.p < 2 else 2 / self.p))
            return self.best
        if residual <= self.leave < math.inf:
            self.leave, self.steps = math.inf, chebyshev(self.p)
        return None


def settled(rows: Rows, x: Array, T: np.ndarray, G: np.ndarray, p: float) -> np.ndarray:
    """T that makes W^{1/2-1/p} A T orthonormal, from the Gram matrix G for the T given.

    A long step may leave G without a Cholesky factor: then its eigenvalues are floored, which
    brings the condition down by 1e6 a pass, and G is summed again.
    """
    for _ in range(8):
        factor, condition = inverse_factor(G)
        if factor is not None and condition <= SAFE:
            return T @ factor
        values, vectors = np.linalg.eigh(G)
        T = T @ (vectors / np.sqrt(np.maximum(values, 1e-13 * values[-1])))
        gram = functools.partial(scaled_gram_of_block, T=T, p=p)
        G = rows.sweep(gram, x, combine=(add,))[1][0]
    raise ArithmeticError("lewis_weights: the scales of the rows are beyond double precision")
