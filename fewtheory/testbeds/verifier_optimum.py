"""How often to try at most: the closed forms of K*, in exact arithmetic.

Attempt k adds I_k to the utility; K* is the number of attempts before I_k turns negative, so no sum
is looked at, and where every attempt pays it is math.inf. At an integer two values of K tie (I = 0)
and the smaller one is meant, so all of it is done in fractions: floats are read as decimals.

Source: sheet `inference-flaws`, M4 to M6 (derived there).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from ..errors import fail, number
from ._exponential_sums import _log_ratio, _power
from .verifier import Attempts, costs, exact


def positive(where: str, **parameters: Any) -> list[Fraction]:
    """The parameters as fractions, or an error that names the one that is not positive."""
    for name, value in parameters.items():
        if number(where, name, value, 0.0) == 0:
            raise fail(where, name, "positive", value)
    return [exact(v) for v in parameters.values()]


def rates(where: str, **parameters: Any) -> list[Fraction]:
    """The probabilities as fractions, or an error that names the one that is none."""
    for name, value in parameters.items():
        number(where, name, value, 0.0, 1.0)
    return [exact(v) for v in parameters.values()]


def critical_cost(solve: Any, soundness: Any, completeness: Any = 1) -> float:
    """lam_c = c r / ((1 - r)(1 - s)): below it an attempt on a task of solve rate r pays.

    Of the hard kind this is where K* turns from infinite to finite (M4). math.inf if no wrong
    answer is ever accepted.

    >>> round(critical_cost(0.13824, 0.75160), 4)
    0.6458
    """
    r, s, c = rates("critical_cost", solve=solve, soundness=soundness, completeness=completeness)
    wrong = (1 - r) * (1 - s)
    return float(c * r / wrong) if wrong else math.inf


def two_kinds_attempts(
    prior: Any, solve: Any, soundness: Any, fp_cost: Any, completeness: Any = 1
) -> Attempts:
    """K* of easy and hard tasks (M4), for r_1 > r_2, s + c > 1 and attempts that cost nothing.

        K* = ceil(log(P_1 g_1 / (P_2 |g_2|)) / log(q_2 / q_1)),  g = c r - lam (1 - s)(1 - r)

    prior: (P_1, P_2); solve: (r_1, r_2); fp_cost: lam. Infinite where g_2 >= 0, 0 where the first
    attempt does not pay. Raises ValueError or TypeError by name. Source: sheet `inference-flaws`.

    >>> two_kinds_attempts((0.58, 0.42), (0.87, 0.13), 0.75, 0.7)
    3
    """
    where = "two_kinds_attempts"
    P1, P2 = positive(where, prior_1=prior[0], prior_2=prior[1])
    r1, r2, s, c = rates(where, solve_1=solve[0], solve_2=solve[1], soundness=soundness,
                         completeness=completeness)  # fmt: skip
    lam, _ = costs(where, fp_cost, 0)
    if r1 <= r2:
        raise fail(where, "solve", "of the easy kind first, r_1 > r_2", solve)
    if s + c <= 1:
        raise fail(where, "soundness", "greater than 1 - completeness", soundness)
    g1, g2 = (c * r - lam * (1 - s) * (1 - r) for r in (r1, r2))
    q1, q2 = (s - (s + c - 1) * r for r in (r1, r2))
    if P1 * g1 + P2 * g2 <= 0:
        return 0
    if g2 >= 0:
        return math.inf if q2 > 0 and (g2 > 0 or q1 > 0) else 1
    if q1 == 0:
        return 1
    odds = (P1 * g1) / (P2 * -g2)
    real = math.log(odds) / -_log_ratio(q1, q2)
    near = round(real)
    if abs(real - near) > 1e-9 * max(1.0, real):
        return math.ceil(real)
    # I_{near + 1} > 0 iff odds (q_1 / q_2)^near > 1
    return near + 1 if odds * _power(q1 / q2, near) > 1 else near


def beta_attempts(a: Any, b: Any, soundness: Any, fp_cost: Any, sample_cost: Any = 0) -> Attempts:
    """K* for solve rates r ~ Beta(a, b) and a verifier of completeness 1 (M5).

        K* = max(0, ceil(a (1 - kappa) / (lam (1 - s) + kappa) - b))

    After k - 1 rejections the solve rate is Beta(a, b + k - 1). Infinite where the denominator is
    0; at most 1 for s = 0, where there is no second attempt. Raises ValueError or TypeError by
    name. Source: sheet `inference-flaws`, M5.

    >>> [beta_attempts(0.3, 0.25, 0.75, lam) for lam in (0.1, 0.5, 1, 4)]
    [12, 3, 1, 1]
    """
    a, b = positive("beta_attempts", a=a, b=b)
    (s,) = rates("beta_attempts", soundness=soundness)
    lam, kappa = costs("beta_attempts", fp_cost, sample_cost)
    price = lam * (1 - s) + kappa
    last = 1 if s == 0 else math.inf
    if price == 0:
        return last
    return min(last, max(0, math.ceil(a * (1 - kappa) / price - b)))


def beta_beta_attempts(
    a: Any, b: Any, u: Any, v: Any, fp_cost: Any, sample_cost: Any = 0
) -> Attempts:
    """K* for r ~ Beta(a, b), s ~ Beta(u, v) independent, completeness 1 (M6).

    Attempt m + 1 adds E[q^m] / ((a + b + m)(u + v + m)) times

        a (u + v + m) - lam v (b + m) - kappa (a + b + m)(u + v + m).

    For kappa = 0 and lam > a / v: max(0, ceil((a (u + v) - lam v b) / (lam v - a))); for
    lam < a / v infinite, unless a first loss outweighs all later gains: then 0. For kappa > 0 the
    quadratic is positive on at most one interval, at whose end K* is, or at 0. Raises ValueError or
    TypeError by name. Source: sheet `inference-flaws`, M6; kappa > 0 derived here.

    >>> [beta_beta_attempts(0.34, 0.27, 3, 1, lam) for lam in (0.2, 0.5, 1, 4)]
    [inf, 8, 2, 1]
    """
    a, b, u, v = positive("beta_beta_attempts", a=a, b=b, u=u, v=v)
    lam, kappa = costs("beta_beta_attempts", fp_cost, sample_cost)
    slope = a - lam * v - kappa * (a + b + u + v)
    first = a * (u + v) - lam * v * b - kappa * (a + b) * (u + v)
    if kappa == 0:
        if slope < 0:
            return max(0, math.ceil(first / -slope))
        if first >= 0:
            return math.inf if (slope, first) != (0, 0) else 0
        return math.inf if slope > 0 and _gain(a, b, u, v, lam, kappa, None) > 0 else 0
    square = slope**2 + 4 * kappa * first
    if square <= 0:
        return 0
    # the last m at which the quadratic is positive, plus one: the smallest m >= the larger root
    K = max(0, math.floor((float(slope) + math.sqrt(square)) / (2 * float(kappa))) - 1)
    while 2 * kappa * K < slope or first + slope * K - kappa * K**2 > 0:
        K += 1
    return K if first > 0 or (K > 0 and _gain(a, b, u, v, lam, kappa, K) > 0) else 0


def _gain(
    a: Fraction, b: Fraction, u: Fraction, v: Fraction, lam: Fraction, kappa: Fraction,
    K: int | None,
) -> float:  # fmt: skip
    """U_K (None: without limit, attempts free) of the Beta-Beta world."""
    from .verifier_laws import BetaBetaTasks

    world = BetaBetaTasks(float(a), float(b), float(u), float(v))
    if K is None:
        share = world.ceiling()
        return share - float(lam) * (1 - share)
    return float(world.utility(K, float(lam), float(kappa)))


def dirichlet_attempts(
    right: Any, wrong: Any, reject: Any, fp_cost: Any, sample_cost: Any = 0
) -> Attempts:
    """K* for (a, f, q) ~ Dirichlet(right, wrong, reject): the odds never change (M6).

    Infinite or 0 for kappa = 0; else max(0, ceil((right - lam wrong) / kappa - their sum)).

    >>> [dirichlet_attempts(2, 1, 1, lam) for lam in (1, 2)], dirichlet_attempts(2, 1, 1, 1, 0.1)
    ([inf, 0], 6)
    """
    right, wrong, reject = positive("dirichlet_attempts", right=right, wrong=wrong, reject=reject)
    lam, kappa = costs("dirichlet_attempts", fp_cost, sample_cost)
    gain = right - lam * wrong
    if kappa == 0:
        return math.inf if gain > 0 else 0
    return max(0, math.ceil(gain / kappa - (right + wrong + reject)))
