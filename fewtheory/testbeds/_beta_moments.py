"""Moments of a linear function of a Beta variable, and sums of hypergeometric series.

Source: sheet `inference-flaws`, M5; the recurrence is Gauss's contiguous relation in the first
argument of 2F1(-m, a; a + b; z).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from ..errors import fail


def ratio_products(p: float, q: float, M: int) -> np.ndarray:
    """(p)_m / (q)_m for m = 0 .. M - 1; with q = p + x: E[y^m] for y ~ Beta(p, x)."""
    i = np.arange(max(M - 1, 0))
    return np.concatenate([[1.0], np.cumprod((p + i) / (q + i))])[:M]


def linear_moments(a: float, b: float, s: float, c: float, M: int) -> np.ndarray:
    """E[(s - (s + c - 1) r)^m] for r ~ Beta(a, b) and m = 0 .. M - 1.

        (a + b + m) G_{m + 1} = ((2 m + a + b) s - (m + a)(s + c - 1)) G_m - m s (1 - c) G_{m - 1}

    The other solution falls faster, so running it forward is stable. For c = 1 one term is left.
    """
    if c == 1:
        return s ** np.arange(M) * ratio_products(b, a + b, M)
    out, before, t = np.ones(M), 0.0, s + c - 1
    now = 1.0
    for m in range(M - 1):
        gained = ((2 * m + a + b) * s - (m + a) * t) * now - m * s * (1 - c) * before
        before, now = now, gained / (a + b + m)
        out[m + 1] = now
    return out


def geometric_series(p: float, q: float, x: float) -> float:
    """2F1(1, p; q; x) = sum_m (p)_m / (q)_m x^m for 0 <= x < 1 and p <= q: terms of at most x^m."""
    if x == 0:
        return 1.0
    M = math.ceil(37 / -math.log(x)) + 1
    if M > 10**7:
        from scipy.special import hyp2f1

        return float(hyp2f1(1, p, q, x))
    return math.fsum((x ** np.arange(M) * ratio_products(p, q, M)).tolist())


def log_odds_rule(
    a: float, b: float, left: float | None = None, right: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes x = logit r and weights of E[f(r)] for r ~ Beta(a, b): the trapezoid rule in x.

    Beta's density in x and what is averaged here are analytic for |Im x| < pi / 2, so a step h
    leaves e^{-pi^2 / h}; it resolves the peak, of width (a b / (a + b))^{-1/2}. left, right: the
    rates at which the tails of f times the density fall, where they differ from a and b.
    """
    h = min(0.25, 0.5 / math.sqrt(a * b / (a + b)))
    centre = math.log(a / b)
    below = 45 / min(1.0, a if left is None else left)
    above = 45 / min(1.0, b if right is None else right)
    nodes = min(4000, math.ceil((below + above) / h))
    x = np.linspace(centre - below, centre + above, max(nodes, 16) + 1)
    log_weight = -a * np.logaddexp(0, -x) - b * np.logaddexp(0, x)
    weight = np.exp(log_weight - log_weight.max())
    return x, weight / weight.sum()


def accepted_share(a: float, b: float, u: float, v: float) -> float:
    """E[r / (r + (1 - s)(1 - r))] for r ~ Beta(a, b), s ~ Beta(u, v): a rule in both log odds.

    With x = logit r and y = logit s it is the mean of 1 / (1 + e^{-x - log(1 + e^y)}).
    """
    x, weight = log_odds_rule(a, b)
    y, other = log_odds_rule(u, v)
    kept = other > 1e-18 * other.max()
    reach = np.logaddexp(0, y[kept])
    total = 0.0
    for first in range(0, len(x), 1024):
        z = x[first : first + 1024, None] + reach
        share = 0.5 * (1 + np.tanh(0.5 * z))
        total += float(weight[first : first + 1024] @ (share @ other[kept]))
    return total


def expected_attempts(a: float, b: float, u: float, v: float) -> float:
    """E[1 / (r + (1 - s)(1 - r))] for the same laws; infinite unless a + v > 1."""
    room = a + v - 1
    if room <= 0:
        return math.inf
    x, weight = log_odds_rule(a, b, left=min(a, room))
    y, other = log_odds_rule(u, v, right=min(v, room))
    r, rest = np.exp(-np.logaddexp(0, -x)), np.exp(-np.logaddexp(0, x))
    small, total = np.exp(-np.logaddexp(0, y)), 0.0
    for first in range(0, len(x), 1024):
        rows = slice(first, first + 1024)
        accepted = r[rows, None] + small * rest[rows, None]
        total += float(weight[rows] @ ((1 / np.maximum(accepted, 1e-300)) @ other))
    return total


def chance_is_positive(
    a: Fraction, b: Fraction, s: Fraction, c: Fraction, lam: Fraction, kappa: Fraction
) -> int:
    """The number of attempts before the posterior mean of g turns from positive, for s + c > 1.

    g = c r - lam (1 - s)(1 - r) - kappa falls with the posterior mean of r, which falls with every
    rejection: doubling, then bisection; in fractions where floats do not see the sign.
    """
    high = 1
    while _gain_sign(a, b, s, c, lam, kappa, high - 1) > 0:
        high *= 2
        if high > 2**52:
            raise fail("best_attempts", "fp_cost", "such that K* < 2^52", float(lam))
    low = high // 2
    while low < high:  # the smallest m with no gain
        middle = (low + high) // 2
        if _gain_sign(a, b, s, c, lam, kappa, middle) > 0:
            low = middle + 1
        else:
            high = middle
    return low


def _gain_sign(
    a: Fraction, b: Fraction, s: Fraction, c: Fraction, lam: Fraction, kappa: Fraction, m: int
) -> int:
    """The sign of E[g | m rejections]."""
    gain, price = c + lam * (1 - s), lam * (1 - s) + kappa
    mean = posterior_mean(float(a), float(b), float(s), float(c), m)
    value, size = float(gain) * mean - float(price), float(gain) * mean + float(price)
    if abs(value) > 1e-10 * size or m > 400:
        return (value > 0) - (value < 0)
    exact = gain * _exact_moment(a, b, s, c, m, a + 1) * a / (a + b)
    exact -= price * _exact_moment(a, b, s, c, m, a)
    return (exact > 0) - (exact < 0)


def posterior_mean(a: float, b: float, s: float, c: float, m: int) -> float:
    """E[r q^m] / E[q^m], r ~ Beta(a, b), q = s (1 - r) + (1 - c) r: a trapezoid rule in logit r.

    The integrand is analytic for |Im x| < pi / 2, so steps of 1/8 leave e^{-2 pi (pi / 2) 8} of it.
    """
    step = min(0.125, 0.5 / math.sqrt(a * b / (a + b)))
    below, above = 45 / min(1.0, a) + math.log1p(m), 45 / min(1.0, b) + math.log1p(m)
    centre = math.log(a / b)
    nodes = min(200_000, math.ceil((below + above) / step))
    x = np.linspace(centre - below, centre + above, nodes)
    log_r, log_rest = -np.logaddexp(0, -x), -np.logaddexp(0, x)
    log_weight = a * log_r + b * log_rest
    if m:
        with np.errstate(divide="ignore"):  # q = 0 where s = 0 or c = 1 and r is 0 or 1
            log_weight = log_weight + m * np.log(s * np.exp(log_rest) + (1 - c) * np.exp(log_r))
    weight = np.exp(log_weight - log_weight.max())
    return float((weight * np.exp(log_r)).sum() / weight.sum())


def _exact_moment(
    a: Fraction, b: Fraction, s: Fraction, c: Fraction, m: int, alpha: Fraction
) -> Fraction:
    """E[q^m] for r ~ Beta(alpha, b), q = s (1 - r) + (1 - c) r: binomial, in fractions."""
    total, weight = Fraction(0), Fraction(1)
    # E[(1 - r)^{m - j} r^j] = (b)_{m - j} (alpha)_j / (alpha + b)_m
    for i in range(m):
        weight *= s * (b + i) / (alpha + b + i)
    for j in range(m + 1):
        total += weight
        if j < m:
            step = Fraction(m - j, j + 1) * (1 - c) / s
            weight *= step * (alpha + j) / (b + m - j - 1)
    return total
