"""Does a series alternate too much? The exact law of the number of runs, given how many are yes.

Given n_1 ones and n_0 zeros every arrangement of an exchangeable series is equally likely, whatever
the rate, so the runs test has its level at every rate and every n, and says nothing where one
answer never came. statsmodels 0.15's `runstest_1samp` uses a normal law with a correction that
moves values near the mean away from it, and for a constant series the unconditional 2^(2 - n).
Sheet `binary-bias`, M2; claim C5.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import integer, one_of
from ...shapes import Float, Int
from ...testbeds.coins import log_choose
from .series import separate_series

DIRECTIONS = ("more", "fewer", "two-sided")
EXACT_TOTAL = 20_000  # answers in all, to which the laws of several series are convolved
TIE = 1 + 1e-7


def runs_law(n1: int, n0: int) -> Float[np.ndarray, "runs"]:
    """P(R = r | n_1, n_0), r = 0..n.

    P(R = 2k) = 2 C(n1 - 1, k - 1) C(n0 - 1, k - 1) / C(n, n1),
    P(R = 2k + 1) = [C(n1 - 1, k) C(n0 - 1, k - 1) + C(n1 - 1, k - 1) C(n0 - 1, k)] / C(n, n1).

    >>> runs_law(2, 1).round(4).tolist()
    [0.0, 0.0, 0.6667, 0.3333]
    """
    n1, n0 = integer("runs_law", "n1", n1, 0), integer("runs_law", "n0", n0, 0)
    law = np.zeros(n1 + n0 + 1)
    if min(n1, n0) == 0:
        law[min(n1 + n0, 1)] = 1.0
        return law
    k = np.arange(1, min(n1, n0) + 1)
    even, odd = _even_and_odd(n1, n0, k)
    inside = 2 * k + 1 <= n1 + n0
    law[2 * k], law[2 * k[inside] + 1] = even, odd[inside]
    return law


def _even_and_odd(n1: Any, n0: Any, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(R = 2k), P(R = 2k + 1) for k >= 1 and n1, n0 >= 1 that broadcast."""
    whole = log_choose(n1 + n0, n1)
    ones, zeros = log_choose(n1 - 1, k - 1), log_choose(n0 - 1, k - 1)
    more_ones, more_zeros = log_choose(n1 - 1, k) + zeros, ones + log_choose(n0 - 1, k)
    even = 2 * np.exp(ones + zeros - whole)
    return even, np.exp(more_ones - whole) + np.exp(more_zeros - whole)


def runs_laws(n: int, ones: Int[np.ndarray, "rows"]) -> Float[np.ndarray, "rows runs"]:
    """`runs_law(n1, n - n1)` for each n1 of `ones`, as rows R = 0..n.

    >>> runs_laws(3, np.array([0, 2])).round(4).tolist()
    [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.6667, 0.3333]]
    """
    n = integer("runs_laws", "n", n, 1)
    law = np.zeros((len(ones), n + 2 - n % 2))
    law[:, 1] = (ones == 0) | (ones == n)
    mixed = np.flatnonzero((ones > 0) & (ones < n))
    n1 = np.asarray(ones, dtype=np.int64)[mixed, None]
    even, odd = _even_and_odd(n1, n - n1, np.arange(1, law.shape[1] // 2)[None, :])
    law[mixed, 2::2], law[mixed, 3::2] = even, odd
    return law[:, : n + 1]


def runs_moments(n1: int, n0: int) -> tuple[float, float]:
    """(mean, variance) of R: 1 + 2 n1 n0 / n and 2 n1 n0 (2 n1 n0 - n) / (n^2 (n - 1)).

    >>> runs_moments(6, 9)
    (8.2, 3.1885714285714286)
    """
    n1, n0 = integer("runs_moments", "n1", n1, 0), integer("runs_moments", "n0", n0, 0)
    n, twice = n1 + n0, 2 * n1 * n0
    if min(n1, n0) == 0:
        return float(min(n, 1)), 0.0
    return 1 + twice / n, twice * (twice - n) / (n**2 * (n - 1))


@dataclass(frozen=True)
class RunsTest:
    """runs: R in all series; expected, std: its conditional mean and standard deviation; p_value;
    z: (R - expected) / std, 0 without information; exact: whether the p-value is the exact law's.
    """

    runs: int
    expected: float
    std: float
    z: float
    p_value: float
    exact: bool


def count_runs(x: Any) -> int:
    """The number of runs of equal answers in a series, or the total of several series.

    >>> count_runs(np.array([1, 1, 0, 1]))
    3
    """
    return sum(_runs(one) for one in separate_series("count_runs", x))


def _runs(one: np.ndarray) -> int:
    return 1 + int((one[1:] != one[:-1]).sum())


def runs_test(x: Any, alternative: str = "more") -> RunsTest:
    """The exact conditional runs test of one series, or of several that are kept apart.

    alternative: "more" (too many runs: negative recency), "fewer" (streaks) or "two-sided" (the
    probability of what is not likelier than the observed). Several series: the law of the sum, by
    convolution up to 20000 answers in all, else by its mean and variance with a correction for
    continuity (`exact` is False). Where no series holds both answers there is no information: the
    p-value is 1. Raises ValueError or TypeError by name.

    >>> found = runs_test(np.array([0, 1] * 6))
    >>> found.runs, round(found.p_value, 6)
    (12, 0.002165)
    """
    one_of("runs_test", "alternative", alternative, DIRECTIONS)
    every = separate_series("runs_test", x)
    kinds = Counter((int(one.sum()), int(one.size - one.sum())) for one in every)
    R = sum(_runs(one) for one in every)
    moments = [(runs_moments(*kind), times) for kind, times in kinds.items()]
    mean = math.fsum(m * times for (m, _), times in moments)
    std = math.sqrt(math.fsum(v * times for (_, v), times in moments))
    if all(min(kind) == 0 for kind in kinds):
        return RunsTest(R, mean, 0.0, 0.0, 1.0, True)
    z = (R - mean) / std if std > 0 else 0.0
    if len(every) > 1 and sum(one.size for one in every) > EXACT_TOTAL:
        return RunsTest(R, mean, std, z, _normal_tail(R, mean, std, alternative), False)
    return RunsTest(R, mean, std, z, _tail(_law_of_the_sum(kinds), R, alternative), True)


def _law_of_the_sum(kinds: Counter[tuple[int, int]]) -> np.ndarray:
    """The law of a sum of independent R; absolute errors of some eps times the number of laws."""
    if sum(kinds.values()) == 1:
        return runs_law(*next(iter(kinds)))
    size = 1 + sum((n1 + n0) * times for (n1, n0), times in kinds.items())
    transform = np.ones(size // 2 + 1, dtype=np.complex128)
    for kind, times in kinds.items():
        transform *= np.fft.rfft(runs_law(*kind), size) ** times
    return np.clip(np.fft.irfft(transform, size), 0.0, 1.0)


def _tail(law: np.ndarray, R: int, alternative: str) -> float:
    if alternative == "more":
        tail = law[R:].sum()
    elif alternative == "fewer":
        tail = law[: R + 1].sum()
    else:
        tail = law[law <= law[R] * TIE].sum()
    return float(min(tail, 1.0))


def _normal_tail(R: int, mean: float, std: float, alternative: str) -> float:
    from scipy.special import ndtr

    if alternative == "more":
        return float(ndtr((mean - R + 0.5) / std))
    if alternative == "fewer":
        return float(ndtr((R + 0.5 - mean) / std))
    return float(min(1.0, 2 * ndtr(-max(abs(R - mean) - 0.5, 0.0) / std)))
