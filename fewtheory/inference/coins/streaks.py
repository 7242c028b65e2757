"""How often yes after k times yes? Pooled, not averaged: the mean of shares is biased downwards.

In a short series a one uses up a one, and a series with few streaks weighs as much as one with
many, so a perfectly fair coin shows a share of ones after a one of .445 on average over series of
10. Numerators and denominators that are pooled over all series have no such bias, and the bias of
the mean of shares is known exactly. Sheet `binary-bias`, M5; claim C6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, integer, number
from .series import separate_series

LONGEST = 128  # answers of a series whose expected share is computed by the recursion (n^3 steps)


@dataclass(frozen=True)
class StreakRates:
    """Answers that follow k ones in a row.

    pooled: hits / occasions over all series; mean_of_shares: the mean of the series' own shares,
    `dropped` series without an occasion left out; expected_mean: what the latter is for a fair
    coin in series of these lengths (None where one is longer than 128); z: (hits - occasions / 2) /
    sqrt(occasions / 4), a sum of martingale differences, N(0, 1) for fair answers in the limit.
    """

    k: int
    hits: int
    occasions: int
    pooled: float
    mean_of_shares: float
    dropped: int
    expected_mean: float | None
    z: float


def streak_rates(x: Any, k: int = 1) -> StreakRates:
    """The rate of ones after k ones, of one series or several that are kept apart.

    NaN where no series has an occasion. Raises ValueError or TypeError by name.

    >>> found = streak_rates([[1, 1, 0, 1], [0, 1, 0, 1]])
    >>> found.pooled, found.mean_of_shares
    (0.3333333333333333, 0.25)
    """
    every, k = separate_series("streak_rates", x), integer("streak_rates", "k", k, 1)
    lengths = [one.size for one in every]
    rows = [np.stack([one for one in every if one.size == n]) for n in set(lengths)]
    pairs = np.concatenate([_hits_and_occasions(x, k) for x in rows])
    used = pairs[pairs[:, 1] > 0]
    hits, occasions = (int(v) for v in pairs.sum(axis=0))
    expected = None
    if max(lengths) <= LONGEST:
        expected = _expected_over(lengths, k)
    return StreakRates(
        k,
        hits,
        occasions,
        hits / occasions if occasions else math.nan,
        float((used[:, 0] / used[:, 1]).mean()) if len(used) else math.nan,
        len(every) - len(used),
        expected,
        (hits - occasions / 2) / math.sqrt(occasions / 4) if occasions else math.nan,
    )


def _hits_and_occasions(x: np.ndarray, k: int) -> np.ndarray:
    """(series, 2) of series of one length (series, n)."""
    if x.shape[1] <= k:
        return np.zeros((x.shape[0], 2), dtype=np.int64)
    sums = np.cumsum(np.pad(x, ((0, 0), (1, 0))), axis=1, dtype=np.int64)
    after = sums[:, k:-1] - sums[:, : -k - 1] == k
    return np.stack([(x[:, k:] & after).sum(axis=1), after.sum(axis=1)], axis=1)


def _expected_over(lengths: list[int], k: int) -> float:
    """E of the mean of shares over series of these lengths, each weighed by how often it counts."""
    total = weight = 0.0
    for length in set(lengths):
        if length > k:
            share, used = _share_and_mass(length, k, 0.5)
            total += lengths.count(length) * used * share
            weight += lengths.count(length) * used
    return total / weight if weight else math.nan


def expected_share(n: int, k: int = 1, p: float | int = 0.5) -> float:
    """E[share of ones after k ones | there is an occasion] in n independent answers of rate p.

    k = 1: [p - (1 - (1 - p)^n) / n] n / (n - 1) / (1 - (1 - p)^{n-1}); else a recursion over the
    running streak, the occasions and the hits so far, n at most 128. Below p in every case.

    >>> round(expected_share(4), 6), round(expected_share(10, 2), 6)
    (0.404762, 0.375055)
    """
    where = "expected_share"
    k = integer(where, "k", k, 1)
    n = integer(where, "n", n, k + 1, math.inf if k == 1 else LONGEST)
    p = number(where, "p", p, 0.0, 1.0)
    if p == 0.0:
        raise fail(where, "p", "positive: else there is no occasion", p)
    if k == 1:
        rest = 1 - p
        return (p - (1 - rest**n) / n) * n / (n - 1) / (1 - rest ** (n - 1))
    return _share_and_mass(n, k, p)[0]


def _share_and_mass(n: int, k: int, p: float) -> tuple[float, float]:
    """(E[share | an occasion], P(an occasion)) by the law of (streak, occasions, hits)."""
    most = n - k + 1
    law = np.zeros((k + 1, most, most))  # the streak counts up to k
    law[0, 0, 0] = 1.0
    for _ in range(n):
        new = np.zeros_like(law)
        for streak in range(k):
            new[0] += (1 - p) * law[streak]
            new[streak + 1] += p * law[streak]
        new[0, 1:] += (1 - p) * law[k, :-1]
        new[k, 1:, 1:] += p * law[k, :-1, :-1]
        law = new
    joint = law.sum(axis=0)[1:]  # no occasion: dropped
    shares = np.arange(most) / np.arange(1, most)[:, None]
    used = float(joint.sum())
    return float((joint * shares).sum()) / used, used
