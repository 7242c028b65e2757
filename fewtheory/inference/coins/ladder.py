"""Fair and memoryless, one likelihood ratio a cause: the rungs of a ladder that add up exactly.

G2_unif asks whether the rate is 1/2, G2_r whether the answer depends on the one r + 1 places back
once the last r are known. On cyclic counts their sum is the one test of "fair and memoryless up to
order R", so nothing is lost by asking each separately; under that hypothesis they are independent
chi-squares in the limit. The first rung's law given the number of yes is also known exactly. Sheet
`binary-bias`, M3; claim C4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array
from ...errors import fail, integer, number
from ...shapes import Float
from .runs import runs_law
from .series import LONGEST_GRAM, flips_in_rows, gram_counts, n_log_n, separate_series

ENOUGH = 5.0  # expected counts in each cell from which chi-square is trusted (Cochran)


@dataclass(frozen=True)
class Rung:
    """statistic ~ chi2(df) under the hypothesis; p_value; exact: whether the p-value is the exact
    conditional law's; trusted: whether each expected count is at least 5 (or the p-value exact).
    """

    name: str
    statistic: float
    df: int
    p_value: float
    exact: bool
    trusted: bool


@dataclass(frozen=True)
class Ladder:
    """n: answers in all; uniform: the rung of the rate; rungs: order r against r + 1; total: their
    sum, "fair and memoryless up to the order len(rungs)".
    """

    n: int
    uniform: Rung
    rungs: tuple[Rung, ...]
    total: Rung


def ladder_statistics(x: Array, order: int) -> Float[Any, "... rungs"]:
    """(G2_unif, G2_0, .., G2_{order - 1}) of each series of x (..., n), in nats.

    G2_unif = 2 [sum_i N_i log N_i - n log(n / 2)],
    G2_r = 2 [sum N_{r+2} log N_{r+2} - 2 sum N_{r+1} log N_{r+1} + sum N_r log N_r],
    sums over the cyclic grams of that length; the empty gram counts n.

    >>> ladder_statistics(np.array([0, 1, 1, 0, 1, 0, 0, 0]), 1).round(4).tolist()
    [0.5053, 0.0358]
    """
    host = flips_in_rows("ladder_statistics", x)
    integer("ladder_statistics", "order", order, 0, min(LONGEST_GRAM, host.shape[-1]) - 1)
    return _from_counts([gram_counts(host, m) for m in range(order + 2)])


def _from_counts(counts: list[np.ndarray]) -> np.ndarray:
    """The rungs from the counts of the grams of length 0, 1, .., order + 1."""
    n = counts[0][..., 0]
    S = [n_log_n(N) for N in counts]
    uniform = 2 * (S[1] - n * np.log(n / 2))
    rungs = [2 * (S[r + 2] - 2 * S[r + 1] + S[r]) for r in range(len(counts) - 2)]
    return np.maximum(np.stack([uniform, *rungs], axis=-1), 0.0)  # rounding


def ladder_total(x: Array, order: int) -> Float[Any, "..."]:
    """2 [sum N_{R+1} log N_{R+1} - sum N_R log N_R + n log 2], R = order: the sum of all rungs."""
    host = flips_in_rows("ladder_total", x)
    order = integer("ladder_total", "order", order, 0, min(LONGEST_GRAM, host.shape[-1]) - 1)
    long, short = gram_counts(host, order + 1), gram_counts(host, order)
    return 2 * (n_log_n(long) - n_log_n(short) + host.shape[-1] * math.log(2))


def rung_dfs(order: int) -> tuple[int, ...]:
    """Degrees of freedom of (G2_unif, G2_0, .., G2_{order - 1}): 1, then 2^r.

    >>> rung_dfs(3)
    (1, 1, 2, 4)
    """
    return (1, *(2**r for r in range(integer("rung_dfs", "order", order, 0))))


def ladder(x: Any, order: int | None = None) -> Ladder:
    """The ladder of one series, or of several that are kept apart (their counts are added).

    order: the number R of rungs above the rate, by default the largest up to 3 for which a fair
    series of n answers would have 5 of each gram of length R + 1. Series shorter than 2 R + 2 are
    refused. Raises ValueError or TypeError by name.

    >>> found = ladder(np.array([0, 1] * 20), 1)
    >>> round(found.rungs[0].statistic, 3), round(found.total.statistic, 3)
    (55.452, 55.452)
    """
    every = separate_series("ladder", x)
    n, shortest = sum(one.size for one in every), min(one.size for one in every)
    if order is None:
        order = min(3, max(0, int(math.log2(n / ENOUGH)) - 1 if n >= ENOUGH else 0))
        order = min(order, shortest // 2 - 1) if shortest >= 2 else 0
    else:
        order = integer("ladder", "order", order, 0, LONGEST_GRAM - 1)
        if shortest < 2 * order + 2 and order > 0:
            raise fail("ladder", "x", f"of {2 * order + 2} answers or more a series", shortest)
    counts = [_summed(every, m) for m in range(order + 2)]
    values = _from_counts(counts)
    uniform = _rung("uniform", values[0], 1, np.full(2, n / 2))
    rungs = []
    for r, value in enumerate(values[1:]):
        expected = _expected(counts[r + 1], counts[r])
        rungs.append(_rung(f"order {r} against {r + 1}", value, 2**r, expected))
    if rungs and len(every) == 1:
        rungs[0] = _exact_first(rungs[0], int(counts[1][1]), n, int(counts[2][2]))
    fair = np.full(2 ** (order + 1), n / 2 ** (order + 1))
    total = _rung(f"fair, memoryless to order {order}", values.sum(), 2**order, fair)
    return Ladder(n, uniform, tuple(rungs), total)


def _summed(every: list[np.ndarray], m: int) -> np.ndarray:
    """The counts of the grams of length m over all series; series of one length in one go."""
    total = np.zeros(1 << m, dtype=np.int64)
    for length in {one.size for one in every}:
        rows = np.stack([one for one in every if one.size == length])
        total += gram_counts(rows, m).sum(axis=0)
    return total


def _expected(longer: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    """E N(a w b) = N(a w) N(w b) / N(w) under order r, w of length r, from the lengths r + 1, r."""
    with np.errstate(divide="ignore", invalid="ignore"):
        product = longer.reshape(2, -1, 1) * longer.reshape(-1, 2)[None] / shorter[None, :, None]
    return np.nan_to_num(product, nan=0.0, posinf=0.0)


def _rung(name: str, statistic: Any, df: int, expected: np.ndarray) -> Rung:
    from scipy.stats import chi2

    trusted = bool(expected.min() >= ENOUGH)
    return Rung(name, float(statistic), df, float(chi2.sf(statistic, df)), False, trusted)


def _exact_first(rung: Rung, n1: int, n: int, pairs: int) -> Rung:
    """The first rung's p-value by its exact law given n_1: G2_0 depends on the cyclic pairs 10."""
    c, law = cyclic_pairs_law(n1, n - n1)
    value = first_rung(n1, n - n1, c)
    own = first_rung(n1, n - n1, np.array([pairs]))[0]
    p = float(min(law[value >= own - 1e-9 * max(own, 1.0)].sum(), 1.0))
    return Rung(rung.name, rung.statistic, rung.df, p, True, True)


def first_rung(n1: Any, n0: Any, c: Any) -> Float[Any, "..."]:
    """G2_0 of a series with n_1 ones, n_0 zeros and c cyclic pairs 10 (as many are 01)."""
    ones, zeros, c = (np.asarray(v, dtype=np.float64) for v in (n1, n0, c))
    pairs = np.stack(np.broadcast_arrays(zeros - c, c, c, ones - c), axis=-1)
    single = np.stack(np.broadcast_arrays(zeros, ones), axis=-1)
    n = ones + zeros
    return np.maximum(2 * (n_log_n(pairs) - 2 * n_log_n(single) + n * np.log(n)), 0.0)


def cyclic_pairs_law(n1: int, n0: int) -> tuple[np.ndarray, np.ndarray]:
    """(c, P(c | n_1, n_0)): the number of cyclic pairs 10, floor(R / 2) of R runs.

    >>> c, law = cyclic_pairs_law(2, 2)
    >>> c.tolist(), law.round(4).tolist()
    ([0, 1, 2], [0.0, 0.6667, 0.3333])
    """
    runs = runs_law(n1, n0)
    padded = np.append(runs, np.zeros(runs.size % 2))
    law = padded.reshape(-1, 2).sum(axis=1)[: min(n1, n0) + 1]
    return np.arange(law.size), law


def rung_noncentrality(n: int, before: float | int, after: float | int) -> float:
    """2 n (h_r - h_{r+1}): the noncentrality of G2_r where the entropy rates in nats are these.

    >>> from fewtheory.testbeds.coins import MarkovCoin, binary_entropy
    >>> round(rung_noncentrality(1024, binary_entropy(0.5), MarkovCoin(0.5, -0.1).entropy_rate), 3)
    10.257
    """
    where = "rung_noncentrality"
    n, top = integer(where, "n", n, 1), number(where, "before", before, 0.0)
    return 2 * n * (top - number(where, "after", after, 0.0, top))


def rung_power(noncentrality: float | int, df: int, *, alpha: float | int = 0.05) -> float:
    """P(chi2(df, noncentrality) > the level's quantile): the rung's asymptotic power.

    >>> round(rung_power(10.257, 1), 4)
    0.893
    """
    from scipy.stats import chi2, ncx2

    nc = number("rung_power", "noncentrality", noncentrality, 0.0)
    df = integer("rung_power", "df", df, 1)
    threshold = chi2.isf(number("rung_power", "alpha", alpha, 1e-300, 1.0), df)
    return float(ncx2.sf(threshold, df, nc) if nc > 0 else chi2.sf(threshold, df))
