"""Counts over calls: a model that answers many times in one call has counts of its own spread.

Within a call the history is in the context. A model that leans against its own excess has counts
with less variance than a coin's (1 / (1 + 2 gamma) of it in the limit), one that repeats itself has
more; either way the binomial variance is wrong, and it is the calls that are independent. Sheet
`binary-bias`, C8; and C11 for answers whose exact probabilities are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import to_numpy
from ...errors import fail, finite_array, number
from .series import flips
from .uniformity import open_share

EXACT = 2000  # answers up to which the law of a sum of unequal coins is computed


@dataclass(frozen=True)
class CountTest:
    """statistic, its p-value, and the dispersion: the counts' variance over a coin's."""

    statistic: float
    p_value: float
    dispersion: float


def _counts(where: str, counts: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray]:
    """Counts and lengths as float (calls,), or an error that names them."""
    k, n = finite_array(where, "counts", to_numpy(counts)), finite_array(where, "lengths", lengths)
    if k.ndim != 1 or k.size < 2:
        raise fail(where, "counts", "of shape (calls,), two or more", k.shape)
    n = np.broadcast_to(n, k.shape) if n.ndim == 0 else n
    if n.shape != k.shape or np.any(n < 1) or np.any((k < 0) | (k > n)):
        raise fail(where, "counts", "in [0, lengths], one a call", (counts, lengths))
    return k, n


def count_test(
    counts: Any,
    lengths: Any,
    *,
    null: float | int = 0.5,
    dispersion: float | int = 1.0,
) -> CountTest:
    """sum_i (k_i - n_i p)^2 / (n_i p (1 - p) f) ~ chi2(calls), upper tail: is every call fair?

    counts, lengths: (calls,), lengths may be one number; dispersion: f, the counts' variance over
    the binomial one under the null: 1 without memory, 1 / (1 + 2 gamma) for a balancing series.

    >>> round(count_test([5, 7, 4], 10).p_value, 4)
    0.5724
    """
    where = "count_test"
    k, n = _counts(where, counts, lengths)
    p, f = open_share(where, "null", null), number(where, "dispersion", dispersion, 1e-300)
    from scipy.stats import chi2

    statistic = float(((k - n * p) ** 2 / (n * p * (1 - p) * f)).sum())
    return CountTest(statistic, float(chi2.sf(statistic, k.size)), statistic * f / k.size)


def dispersion_test(counts: Any, lengths: Any) -> CountTest:
    """sum_i (k_i - n_i q)^2 / (n_i q (1 - q)) ~ chi2(calls - 1), q the pooled rate, two-sided.

    Rejects where answers within a call depend on each other (either way) or calls differ in rate;
    p-value 1 where all answers are equal.

    >>> dispersion_test([5, 5, 5, 5, 5, 5, 5, 5, 5, 5], 10).p_value
    0.0
    """
    k, n = _counts("dispersion_test", counts, lengths)
    q = k.sum() / n.sum()
    if q in (0.0, 1.0):
        return CountTest(0.0, 1.0, 1.0)
    from scipy.stats import chi2

    statistic, df = float(((k - n * q) ** 2 / (n * q * (1 - q))).sum()), k.size - 1
    tails = chi2.cdf(statistic, df), chi2.sf(statistic, df)
    return CountTest(statistic, float(min(1.0, 2 * min(tails))), statistic / df)


def rate_over_calls(counts: Any, lengths: Any, null: float | int = 0.5) -> CountTest:
    """Student's t of the pooled rate, calls as the units: valid whatever the memory within a call.

    t = sum_i e_i / sqrt(m / (m - 1) sum_i (e_i - mean)^2), e_i = k_i - n_i null, m calls.

    >>> round(rate_over_calls([6, 7, 5, 6], 10).p_value, 4)
    0.0917
    """
    k, n = _counts("rate_over_calls", counts, lengths)
    p = open_share("rate_over_calls", "null", null)
    from scipy.stats import t

    e, m = k - n * p, k.size
    spread = math.sqrt(m / (m - 1) * float(((e - e.mean()) ** 2).sum()))
    value = float(e.sum()) / spread if spread > 0 else math.copysign(math.inf, e.sum())
    value = 0.0 if spread == 0 and e.sum() == 0 else value
    ratio = float(((e - e.mean()) ** 2).sum() / (m - 1) / (n * p * (1 - p)).mean())
    return CountTest(value, float(2 * t.sf(abs(value), m - 1)), ratio)


@dataclass(frozen=True)
class Followed:
    """Do answers follow the exact probabilities? share of yes, mean of the probabilities, sd of the
    share under them, z = (share - mean) / sd, the two-sided p-value, and whether it is exact.
    """

    share: float
    mean: float
    sd: float
    z: float
    p_value: float
    exact: bool


def follows_probabilities(x: Any, probabilities: Any) -> Followed:
    """Sampled answers (n,) against each call's own exact P(yes), (n,).

    The count is a sum of unequal coins: sd^2 = sum q_i (1 - q_i) / n^2, less than a coin's of the
    mean rate. The p-value doubles the smaller tail: exact up to n = 2000, by
    convolution, else normal with a correction for continuity.

    >>> follows_probabilities([1, 0, 1], [0.9, 0.2, 0.6]).z.__round__(4)
    0.4286
    """
    where = "follows_probabilities"
    one, q = flips(where, x), finite_array(where, "probabilities", to_numpy(probabilities))
    if q.shape != one.shape or np.any((q < 0) | (q > 1)):
        raise fail(where, "probabilities", f"in [0, 1], of shape {one.shape}", probabilities)
    n, k, mean = one.size, int(one.sum()), float(q.sum())
    sd = math.sqrt(float((q * (1 - q)).sum()))
    if n <= EXACT:
        law = sum_of_coins(q)
        p = min(1.0, 2 * min(law[: k + 1].sum(), law[k:].sum()))
    else:
        from scipy.special import ndtr

        p = min(1.0, 2 * ndtr(-max(abs(k - mean) - 0.5, 0.0) / sd)) if sd > 0 else float(k == mean)
    z = (k - mean) / sd if sd > 0 else 0.0
    return Followed(k / n, mean / n, sd / n, z, float(p), n <= EXACT)


def sum_of_coins(q: np.ndarray) -> np.ndarray:
    """P(sum of independent coins of rates q (n,) = k), k = 0..n, by convolution.

    >>> sum_of_coins(np.array([0.5, 0.5])).tolist()
    [0.25, 0.5, 0.25]
    """
    law = np.ones(1)
    for rate in q:
        law = np.append(law, 0.0) * (1 - rate) + np.append(0.0, law) * rate
    return law
