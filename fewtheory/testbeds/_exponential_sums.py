"""Where partial sums of sum_i w_i x_i^m are greatest: zeros of exponential sums, signs exact.

A sum of n real exponentials has at most n - 1 zeros, and between two neighbours of the zeros of its
derivative (a sum of n - 1 exponentials once the slowest is divided out) it is monotone: so all
zeros are found by recursion and bisection. A sign at an integer is taken in floats where these see
it, and in fractions where they do not.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np

Weighted = list[tuple[Fraction, Fraction]]  # (w, x), 0 <= x <= 1


def best_count(terms: Weighted) -> int | float:
    """The smallest K that maximises sum_{m < K} sum_i w_i x_i^m; math.inf if none does.

    >>> best_count([(Fraction(1), Fraction(1, 4)), (Fraction(-1, 4), Fraction(1, 2))])
    2
    """
    merged: dict[Fraction, Fraction] = {}
    for w, x in terms:
        merged[x] = merged.get(x, Fraction(0)) + w
    at_zero = merged.pop(Fraction(0), Fraction(0))  # 0^0 = 1: these count in the first term alone
    kept = sorted(((w, x) for x, w in merged.items() if w != 0), key=lambda t: -t[1])
    first = at_zero + sum(w for w, _ in kept)
    if not kept:
        return 1 if first > 0 else 0
    found = {0, 1, *(_settled(kept, root) for root in _zeros(kept))}
    best, value = 0, Fraction(0)
    for K in sorted(found):
        gained = (at_zero if K > 0 else Fraction(0)) + _partial(kept, K)
        if gained > value:
            best, value = K, gained
    # the slowest term decides the far end: its sign, and what is still to come after `best`
    if kept[0][0] > 0 and _sign_of_tail(kept, best, at_zero) > 0:
        return math.inf
    return best


def _settled(terms: Weighted, root: float) -> int:
    """The number of terms before the sum turns from positive, near this zero."""
    K = max(1, math.ceil(root))
    while _sign(terms, K) > 0 and K < root + 2:
        K += 1
    while K > 1 and _sign(terms, K - 1) <= 0 and K > root - 2:
        K -= 1
    return K


def _sign(terms: Weighted, m: int) -> int:
    """The sign of sum_i w_i x_i^m, the slowest factor x_0^m divided out."""
    top = terms[0][1]
    logs = [_log_ratio(x, top) for _, x in terms]
    parts = [float(w) * math.exp(m * v) for (w, _), v in zip(terms, logs, strict=True)]
    total, size = math.fsum(parts), math.fsum(map(abs, parts))
    if abs(total) > 1e-13 * size:  # the parts, y^m with an error of eps m |log y| y^m, see it
        return 1 if total > 0 else -1
    value = sum(w * _power(x / top, m) for w, x in terms)
    return (value > 0) - (value < 0)


def _log_ratio(x: Fraction, top: Fraction) -> float:
    """log(x / top), accurate where both are nearly equal."""
    return math.log1p(float((x - top) / top)) if x > 0 else -math.inf


def _partial(terms: Weighted, K: int) -> Fraction:
    """sum_{m < K} sum_i w_i x_i^m, each x's powers to 60 digits or more."""
    total = Fraction(0)
    for w, x in terms:
        total += w * (K if x == 1 else (1 - _power(x, K)) / (1 - x))
    return total


def _power(x: Fraction, K: int) -> Fraction:
    """x^K for 0 <= x <= 1: exact while it is short, else rounded to 256 bits at each product."""
    if K * x.denominator.bit_length() < 20_000:
        return x**K
    out, square = (1, 0), _rounded(x.numerator * 2**320 // x.denominator, -320)
    while K:
        if K & 1:
            out = _rounded(out[0] * square[0], out[1] + square[1])
        square, K = _rounded(square[0] ** 2, 2 * square[1]), K >> 1
    return Fraction(out[0], 2 ** -out[1])


def _rounded(mantissa: int, exponent: int) -> tuple[int, int]:
    """mantissa 2^exponent with 256 bits, and nothing below 2^-5000."""
    spare = max(mantissa.bit_length() - 256, -5000 - exponent, 0)
    return mantissa >> spare, exponent + spare


def _sign_of_tail(terms: Weighted, K: int, at_zero: Fraction) -> int:
    """The sign of sum_{m >= K} sum_i w_i x_i^m, where the slowest term has w > 0."""
    if terms[0][1] == 1:
        return 1
    total = at_zero if K == 0 else Fraction(0)
    for w, x in terms:
        total += w * _power(x, K) / (1 - x)
    return (total > 0) - (total < 0)


def _zeros(terms: Weighted) -> list[float]:
    """All t >= 0 at which sum_i w_i x_i^t changes its sign."""
    top = terms[0][1]
    w = np.array([float(v) for v, _ in terms])
    return _zeros_of(w, -np.array([_log_ratio(x, top) for _, x in terms]))


def _zeros_of(w: np.ndarray, decay: np.ndarray) -> list[float]:
    """The sign changes of sum_i w_i e^{-decay_i t} on t >= 0; decay_0 = 0 < decay_1 < .."""
    if np.all(w >= 0) or np.all(w <= 0):
        return []
    slope = -w[1:] * decay[1:]
    turns = _zeros_of(slope, decay[1:] - decay[1])
    edges, out = [0.0, *turns, math.inf], []
    for low, high in itertools.pairwise(edges):
        start = _at(w, decay, low)
        end = float(w[0]) if high == math.inf else _at(w, decay, high)
        if start * end < 0:
            out.append(_bisected(w, decay, low, high, start))
    return out


def _at(w: np.ndarray, decay: np.ndarray, t: float) -> float:
    return math.fsum((w * np.exp(-decay * t)).tolist())


def _bisected(w: np.ndarray, decay: np.ndarray, low: float, high: float, start: float) -> float:
    """The zero between low and high, to half a unit in its last place or 1e-9."""
    if high == math.inf:
        high = low + 1.0
        while _at(w, decay, high) * start > 0:
            low, high = high, 2 * high
    while high - low > 1e-9 * max(1.0, high):
        middle = 0.5 * (low + high)
        if _at(w, decay, middle) * start > 0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
