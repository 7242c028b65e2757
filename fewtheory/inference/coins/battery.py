"""The battery: is a series of yes and no fair, and is it memoryless? Both axes, each with a level.

One cell (a model, a prompt, a temperature) is asked for its rate (exact binomial), for negative
recency (exact runs test, one-sided) and for memory order by order (the ladder's rungs); Holm holds
the chance of any false alarm. A uniform rate says nothing of memory, and a memoryless series
nothing of the rate: negative recency hides a wrong rate from the rate test, so the rate is also
judged with the memory in its variance. Fairness itself takes an equivalence test. Sheet
`binary-bias`, M9.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import integer, one_of
from ...testbeds.coins import MarkovCoin
from .calls import Followed, dispersion_test, follows_probabilities, rate_over_calls
from .ladder import ladder
from .memory_limits import memory_limits
from .multiplicity import equivalence_test, holm
from .runs import runs_test
from .series import separate_series
from .uniformity import binomial_test, interval, open_share

ALTERNATIVES = {"recency": "more", "streaks": "fewer", "two-sided": "two-sided"}
CALLS = 10  # from which the spread of the counts over calls is tested


@dataclass(frozen=True)
class Test:
    """One question: name, statistic, p_value, adjusted (Holm within the cell), exact or asymptotic.

    p_value and adjusted are NaN where the test says nothing (`note` has why).
    """

    __test__ = False  # no test of pytest's

    name: str
    statistic: float
    p_value: float
    adjusted: float
    exact: bool
    note: str = ""


@dataclass(frozen=True)
class Battery:
    """What `battery` found.

    n answers in `calls` series, `count` yes; rate with its Clopper-Pearson limits; alternation, and
    what independent answers of this rate would have; correlation of neighbours, 1 - alternation /
    expected; tests; rate_given_memory: the p-value of a rate of 1/2 with the memory in its variance
    (asymptotic); memory_limits: of the rate, with the memory in them (the Clopper-Pearson ones are
    for independent answers); equivalence: the p-value of "within `margin` of 1/2", for memoryless
    answers; followed: against the exact probabilities, where they were given.
    """

    n: int
    calls: int
    count: int
    rate: float
    low: float
    high: float
    alternation: float
    expected_alternation: float
    correlation: float
    tests: tuple[Test, ...]
    rate_given_memory: float
    memory_limits: tuple[float, float]
    equivalence: float
    alpha: float
    margin: float
    followed: Followed | None = None

    @property
    def rejected(self) -> tuple[str, ...]:
        """The names of the tests that are significant at the family's level."""
        return tuple(t.name for t in self.tests if t.adjusted <= self.alpha)

    @property
    def verdict(self) -> str:
        """Both axes in words: the rate, then the memory."""
        names = self.rejected
        rate = "rate not 1/2" if "rate" in names else "rate undecided"
        if "rate" not in names and self.equivalence <= self.alpha:
            rate = f"rate within {self.margin:g} of 1/2"
        memory = [n for n in names if n != "rate"]
        return f"{rate}; {'memory: ' + ', '.join(memory) if memory else 'no memory seen'}"

    def __str__(self) -> str:
        lines = [
            f"{self.count} of {self.n} yes in {self.calls} series: "
            f"{self.rate:.4f} [{self.low:.4f}, {self.high:.4f}]",
            f"alternation {self.alternation:.4f}, independent {self.expected_alternation:.4f}, "
            f"correlation {self.correlation:+.4f}",
        ]
        for t in self.tests:
            how = "exact" if t.exact else "asymptotic"
            tail = t.note or f"p {t.p_value:.3g}, Holm {t.adjusted:.3g}, {how}"
            lines.append(f"  {t.name:24} {t.statistic:10.4g}  {tail}")
        low, high = self.memory_limits
        told = f"p {self.rate_given_memory:.3g}, limits [{low:.4f}, {high:.4f}]"
        lines.append(f"  {'rate given memory':24} {'':10}  {told}")
        lines.append(f"  {f'within {self.margin:g} of 1/2':24} {'':10}  p {self.equivalence:.3g}")
        return "\n".join([*lines, self.verdict])


def battery(
    x: Any,
    alternatives: str = "recency",
    *,
    alpha: float | int = 0.05,
    margin: float | int = 0.05,
    order: int | None = None,
    probabilities: Any = None,
) -> Battery:
    """All tests of one cell on its answers.

    x: answers in {0, 1} in their order: (n,), or several series that are kept apart, (calls, n) or
    a list (few-shot: one a call). alternatives: "recency" (too many runs), "streaks" (too few) or
    "two-sided". order: rungs of the ladder, by default as many as n supports, up to 3. margin: of
    the equivalence test. probabilities: each answer's exact P(yes), in the order of x.
    A rung whose expected counts are below 5 is named and not tested. From 10 calls of two or more
    answers the spread of their counts is tested too. Raises ValueError or TypeError by name, and
    MissingExtra (statsmodels).

    >>> found = battery([1, 0] * 50)
    >>> found.rejected[:2], round(found.correlation, 3)
    (('recency', 'order 0 against 1'), -1.0)
    """
    where = "battery"
    one_of(where, "alternatives", alternatives, ALTERNATIVES)
    alpha = open_share(where, "alpha", alpha)
    if order is not None:
        integer(where, "order", order, 0)
    every = separate_series(where, x)
    counts, lengths = (
        np.array(v) for v in zip(*((int(s.sum()), s.size) for s in every), strict=True)
    )
    n, count = int(lengths.sum()), int(counts.sum())
    low, high = interval(count, n, alpha=alpha)
    tests = _family(every, counts, lengths, ALTERNATIVES[alternatives], alternatives, order)
    alternation, expected = _alternation(every, count / n)
    correlation = 1 - alternation / expected if expected > 0 else math.nan
    followed = None
    if probabilities is not None:
        followed = follows_probabilities(np.concatenate(every), probabilities)
    return Battery(
        n, len(every), count, count / n, low, high, alternation, expected, correlation,
        _with_holm(tests), _rate_given_memory(counts, lengths, correlation),
        memory_limits(every, alpha=alpha, calls=CALLS), equivalence_test(count, n, margin), alpha,
        float(margin), followed,
    )  # fmt: skip


def _family(
    every: list[np.ndarray],
    counts: np.ndarray,
    lengths: np.ndarray,
    alternative: str,
    name: str,
    order: int | None,
) -> list[Test]:
    """The tests of the family, before Holm."""
    n, count = int(lengths.sum()), int(counts.sum())
    runs = runs_test(every, alternative)
    nothing = "" if 0 < count < n else "one answer never came"
    tests = [
        Test("rate", (count - n / 2) / math.sqrt(n / 4), binomial_test(count, n), math.nan, True),
        Test(name, runs.z, runs.p_value, math.nan, runs.exact, nothing),
    ]
    for rung in ladder(every, order).rungs:
        note = nothing or ("" if rung.trusted else "not tested: expected counts below 5")
        p = rung.p_value if rung.trusted else math.nan
        tests.append(Test(rung.name, rung.statistic, p, math.nan, rung.exact, note))
    if len(every) >= CALLS and int(lengths.min()) > 1:
        spread = dispersion_test(counts, lengths)
        tests.append(
            Test("spread over calls", spread.dispersion, spread.p_value, math.nan, False, nothing)
        )
    return tests


def _with_holm(tests: list[Test]) -> tuple[Test, ...]:
    asked = [i for i, t in enumerate(tests) if not math.isnan(t.p_value)]
    adjusted = dict(zip(asked, holm([tests[i].p_value for i in asked]).tolist(), strict=True))
    return tuple(
        dataclasses.replace(t, adjusted=adjusted.get(i, math.nan)) for i, t in enumerate(tests)
    )


def _alternation(every: list[np.ndarray], rate: float) -> tuple[float, float]:
    """The share of neighbours that differ, and 2 q (1 - q)."""
    pairs = sum(one.size - 1 for one in every)
    differ = sum(int((one[1:] != one[:-1]).sum()) for one in every)
    return differ / pairs if pairs else math.nan, 2 * rate * (1 - rate)


def _rate_given_memory(counts: np.ndarray, lengths: np.ndarray, correlation: float) -> float:
    """p of a rate of 1/2: calls as units where there are enough, else a Markov coin's variance."""
    if counts.size >= CALLS:
        return rate_over_calls(counts, lengths).p_value
    if math.isnan(correlation):
        return math.nan
    from scipy.special import ndtr

    coin = MarkovCoin(0.5, min(max(correlation, -0.99), 0.99))
    n = int(lengths.sum())
    # several calls: each has a variance of its own
    variance = sum(int(m) ** 2 * coin.variance_of_mean(int(m)) for m in lengths) / n**2
    z = (counts.sum() / n - 0.5) / math.sqrt(variance)
    return float(2 * ndtr(-abs(z)))
