"""The flow map of 1-D mixtures, point by point: Numba twin of `inversion.on_arrays`.

The same equation, bracket, Newton steps and stopping rule, with the sums of tails themselves in
place of their logarithms. Where they could underflow the point is marked hard and left to the twin.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from ._kernels import OPTIONS

ROOT_HALF = math.sqrt(0.5)
INVERSE_ROOT_2PI = 1 / math.sqrt(2 * math.pi)
EPS = float(np.finfo(np.float64).eps)
SMALLEST = 1e-280  # sums of tails below this may have lost terms to underflow
ITERATIONS = 200


@njit(**OPTIONS)
@no_type_check
def _sides(y, w, m, s, left):
    """R, L and the densities p_R, p_L of the components to the right and to the left, at y."""
    right = lefts = p_right = p_left = 0.0
    for k in range(w.size):
        zeta = (y - m[k]) / s[k]
        density = w[k] * INVERSE_ROOT_2PI * math.exp(-0.5 * zeta * zeta) / s[k]
        if left[k]:
            lefts += 0.5 * w[k] * math.erfc(zeta * ROOT_HALF)
            p_left += density
        else:
            right += 0.5 * w[k] * math.erfc(-zeta * ROOT_HALF)
            p_right += density
    return right, lefts, p_right, p_left


@njit(**OPTIONS)
@no_type_check
def _start(x, w, m, s, m2, s2, left):
    """Each component alone maps x to m2 + s2 zeta: their mean by responsibility, and the extremes.

    The last number is whether the responsibilities are numbers (they underflow far out).
    """
    lowest, highest, total, mean = np.inf, -np.inf, 0.0, 0.0
    for k in range(w.size):
        left[k] = x > m[k]
        if w[k] > 0:
            zeta = (x - m[k]) / s[k]
            lowest, highest = min(lowest, zeta), max(highest, zeta)
            r = w[k] * math.exp(-0.5 * zeta * zeta) / s[k]
            total += r
            mean += r * (m2[k] + s2[k] * zeta)
    low, high = np.inf, -np.inf
    for k in range(w.size):
        if w[k] > 0:
            low, high = min(low, m2[k] + s2[k] * lowest), max(high, m2[k] + s2[k] * highest)
    return mean / max(total, SMALLEST), low, high, total > SMALLEST


@njit(**OPTIONS)
@no_type_check
def _solve(g, y, low, high, w, m, s, left):
    """(y, whether it is settled): R(y) - L(y) = g by Newton steps on the logarithms in a
    bracket."""
    step = high - low
    for _ in range(ITERATIONS):
        y = min(max(y, low), high)
        right, lefts, p_right, p_left = _sides(y, w, m, s, left)
        top, bottom = (right, lefts + g) if g >= 0 else (right - g, lefts)
        if not (top > SMALLEST and bottom > SMALLEST):
            return y, False
        log_top = math.log(top)
        h = log_top - math.log(bottom)
        if abs(h) <= 8 * EPS * (1 + abs(log_top)):
            return y, True
        if h < 0:
            low = y
        else:
            high = y
        newton = -h / (p_right / top + p_left / bottom)
        target = y + newton
        # Newton where it stays inside and shrinks; else the middle
        inside = low <= target <= high and abs(newton) <= 0.5 * abs(step)
        new = target if inside else 0.5 * (low + high)
        step, y = new - y, new
        if abs(step) <= 2 * EPS * abs(y):
            return y, True
    return y, False


@njit(**OPTIONS)
@no_type_check
def flow_points(x, w, m, s, m2, s2, y, hard):
    """y (n, d) with F_s(y) = F_t(x) in each coordinate; w, m, s, m2, s2: (d, K).

    hard (n, d) marks the points that are left undone.
    """
    left = np.empty(w.shape[1], np.bool_)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            first, low, high, known = _start(x[i, j], w[j], m[j], s[j], m2[j], s2[j], left)
            right, lefts, _, _ = _sides(x[i, j], w[j], m[j], s[j], left)
            known = known and max(right, lefts) > SMALLEST
            settled = False
            if known:
                y[i, j], settled = _solve(right - lefts, first, low, high, w[j], m2[j], s2[j], left)
            hard[i, j] = not settled
