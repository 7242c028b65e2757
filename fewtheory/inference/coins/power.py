"""Exact size and power of the battery on a Markov coin, and the answers that each test needs.

The rate test, the runs test and the first rungs of the ladder depend on a series through its number
of ones and of runs alone, and on a Markov coin the joint law of the two is a closed form: what each
test does against a wrong rate and a wrong memory at once is a sum. Negative recency hides bias from
the rate test, positive recency rings it falsely; the ladder has no blind spot. Sheet `binary-bias`,
C2 and "Figure".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, integer, one_of
from ...shapes import Float
from ...testbeds.coins import MarkovCoin, binary_entropy
from .ladder import first_rung
from .runs import runs_laws
from .uniformity import binomial_p_values, open_share

TESTS = ("rate", "recency", "streaks", "memory", "total")
EXACT_TO = 1500  # answers: beyond, sample sizes are the asymptotic ones
AHEAD = 24  # sample sizes that must follow without falling below the power


def rejected(
    test: str, n: int, alpha: float | int = 0.05, ones: Any = None
) -> Float[np.ndarray, "counts runs"]:
    """Where a test at level alpha rejects: 1 or 0 at each (n_1, R), R = 0..n.

    test: "rate" (exact binomial, two-sided), "recency" (runs, too many), "streaks" (runs, too few),
    "memory" (the first rung G2_0 by its exact conditional law) or "total" (G2_unif + G2_0 against
    chi2(2)). ones: the values of n_1, 0..n by default.

    >>> rejected("rate", 10)[:, 0].astype(int).tolist()
    [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    """
    one_of("rejected", "test", test, TESTS)
    n, alpha = integer("rejected", "n", n, 2), open_share("rejected", "alpha", alpha)
    rows = np.arange(n + 1) if ones is None else np.asarray(ones, dtype=np.int64)
    if test == "rate":
        region = binomial_p_values(n)[rows] <= alpha
        return np.repeat(region[:, None], n + 1, axis=1).astype(np.float64)
    if test == "total":
        from scipy.stats import chi2

        n1, c = rows[:, None].astype(float), np.minimum(np.arange(n + 1) // 2, n // 2)[None, :]
        c = np.minimum(c, np.minimum(n1, n - n1))  # larger ones have probability 0
        uniform = 2 * (n * math.log(2) - n * binary_entropy(n1 / n))
        return (uniform + first_rung(n1, n - n1, c) > chi2.isf(alpha, 2)).astype(np.float64)
    tail = _conditional_tails(test, n, rows)
    return (tail <= alpha).astype(np.float64)


def _conditional_tails(test: str, n: int, rows: np.ndarray) -> np.ndarray:
    """The p-value at each (n_1, R), R = 0..n, given n_1."""
    law = runs_laws(n, rows)
    if test == "recency":
        return np.cumsum(law[:, ::-1], axis=1)[:, ::-1]
    if test == "streaks":
        return np.cumsum(law, axis=1)
    c = np.arange(n // 2 + 1)[None, :]  # the cyclic pairs 10: floor(R / 2)
    pairs = np.zeros((len(rows), c.size))
    pairs += law[:, 0::2]
    pairs[:, : (n + 1) // 2] += law[:, 1::2]
    least = np.minimum(rows, n - rows)[:, None]
    value = np.where(
        c <= least, first_rung(rows[:, None], n - rows[:, None], np.minimum(c, least)), -1.0
    )
    order = np.argsort(-value, axis=1, kind="stable")
    tail = np.cumsum(np.take_along_axis(pairs, order, axis=1), axis=1)
    ranked = np.take_along_axis(value, order, axis=1)
    for i in range(ranked.shape[1] - 2, -1, -1):  # what is as large shares the larger tail
        same = ranked[:, i] - ranked[:, i + 1] <= 1e-9 * np.maximum(ranked[:, i], 1.0)
        tail[:, i] = np.where(same, tail[:, i + 1], tail[:, i])
    p = np.empty_like(tail)
    np.put_along_axis(p, order, tail, axis=1)
    return p[:, np.arange(n + 1) // 2]


def battery_rejects(test: str, coin: MarkovCoin, n: int, *, alpha: float | int = 0.05) -> float:
    """The exact probability that a test of `rejected` rejects n flips of a Markov coin.

    >>> round(battery_rejects("rate", MarkovCoin(0.5, -0.4), 200), 4)
    0.0018
    """
    integer("battery_rejects", "n", n, 2)
    if test == "rate":
        return float(coin.count_law(n) @ (binomial_p_values(n) <= alpha))
    ones = _likely(coin, n)
    return float((coin.joint_law(n, ones) * rejected(test, n, alpha, ones)).sum())


def _likely(coin: MarkovCoin, n: int) -> np.ndarray:
    """The counts of all but 1e-12 of the series."""
    law = coin.count_law(n)
    below, above = np.cumsum(law) > 5e-13, np.cumsum(law[::-1])[::-1] > 5e-13
    return np.flatnonzero(below & above)


@dataclass(frozen=True)
class Needed:
    """n answers for the power asked, None where no n will do; exact: by exact power."""

    n: int | None
    exact: bool


@dataclass(frozen=True)
class BatteryPlan:
    """How many answers each test needs against a Markov coin of rate p and correlation rho."""

    p: float
    rho: float
    power: float
    alpha: float
    rate: Needed
    recency: Needed
    memory: Needed
    total: Needed

    def __str__(self) -> str:
        lines = [
            f"rate {self.p:g}, correlation {self.rho:g}: power {self.power:g}, level {self.alpha:g}"
        ]
        for test in ("rate", "recency", "memory", "total"):
            found: Needed = getattr(self, test)
            n = "never" if found.n is None else f"{found.n}{'' if found.exact else ' (asymptotic)'}"
            lines.append(f"  {test:8} {n}")
        return "\n".join(lines)


def battery_power(
    p: float | int = 0.5,
    rho: float | int = 0.0,
    power: float | int = 0.8,
    *,
    alpha: float | int = 0.05,
) -> BatteryPlan:
    """The answers that each test of the battery needs to see a Markov coin (p, rho) with `power`.

    alpha: the level of each test; for Holm over m tests, alpha / m is on the safe side. Power is a
    sawtooth in n: the n given is the first from which it holds at the next 24 sizes too; beyond
    1500 answers it is the asymptotic one. A rate of 1/2 cannot be seen by the rate test, rho >= 0
    not by the recency test. Raises ValueError or TypeError by name.

    >>> plan = battery_power(p=0.55, rho=-0.1)
    >>> plan.rate.n, plan.recency.n
    (770, 638)
    """
    where = "battery_power"
    target, level = open_share(where, "power", power), open_share(where, "alpha", alpha)
    if target <= level:
        raise fail(where, "power", f"above alpha = {level:g}", power)
    coin = MarkovCoin(p, rho)
    needed = {t: _needed(t, coin, target, level) for t in ("rate", "recency", "memory", "total")}
    return BatteryPlan(float(p), float(rho), target, level, **needed)


def _needed(test: str, coin: MarkovCoin, target: float, alpha: float) -> Needed:
    guess = _asymptotic(test, coin, target, alpha)
    if guess is None:
        return Needed(None, True)
    if guess > EXACT_TO:
        return Needed(math.ceil(guess), False)
    return Needed(_first_that_stays(lambda n: _at(test, coin, n, alpha), target, guess), True)


def _at(test: str, coin: MarkovCoin, n: int, alpha: float) -> float:
    return battery_rejects(test, coin, n, alpha=alpha)


def _first_that_stays(power_at: Callable[[int], float], target: float, guess: float) -> int:
    """By doubling and bisection to where the power crosses, then past the sawtooth."""
    low, high = 2, max(4, math.ceil(guess))
    while power_at(high) < target:
        low, high = high, math.ceil(1.3 * high)
    low = max(low, high // 2) if power_at(max(2, high // 2)) < target else low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power_at(middle) < target else (low, middle)
    n, last = high, high + AHEAD
    candidate = high
    while n < last:
        n += 1
        if power_at(n) < target:
            candidate, last = n + 1, n + AHEAD
    return candidate


def _asymptotic(test: str, coin: MarkovCoin, target: float, alpha: float) -> float | None:
    """The sample size by normal and noncentral chi-square laws; None where there is none."""
    from scipy.special import ndtri

    p, rho = float(coin.p), float(coin.rho)
    if test == "rate":
        if p == 0.5:
            return None
        spread = math.sqrt(p * (1 - p) * (1 + rho) / (1 - rho))
        return ((-ndtri(alpha / 2) / 2 + ndtri(target) * spread) / (p - 0.5)) ** 2
    if test == "recency":
        if rho >= 0:
            return None
        return ((-ndtri(alpha) + ndtri(target) * math.sqrt(1 - rho**2)) / rho) ** 2
    df = 1 if test == "memory" else 2
    top = float(binary_entropy(p)) if test == "memory" else math.log(2)
    nats = top - coin.entropy_rate
    return None if nats < 1e-12 else _noncentrality(target, df, alpha) / (2 * nats)


def _noncentrality(target: float, df: int, alpha: float) -> float:
    """The noncentrality at which a chi-square test has this power."""
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    threshold = chi2.isf(alpha, df)
    root: Any = brentq(lambda nc: ncx2.sf(threshold, df, nc) - target, 1e-6, 1e3)
    return float(root)
