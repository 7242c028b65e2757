"""Is a rate 1/2? Exact tests, intervals that cover, and the sample size that the question needs.

A count is binomial for independent answers, so its test, its size, its power and the coverage of
every interval are finite sums. The intervals are statsmodels', the test is SciPy's; mid-p, exact
size and power, and the sample size are built here. Sheet `binary-bias`, M1; claim C1. A series with
a memory is another matter: see `battery`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import MissingExtra, fail, integer, number, one_of
from ...shapes import Float

METHODS = {"clopper-pearson": "beta", "wilson": "wilson", "jeffreys": "jeffreys"}
ALTERNATIVES = ("two-sided", "greater", "less")
SAME = 1 + 1e-7  # probabilities this close are a tie, as in SciPy's binomtest


def statsmodels_part(name: str, needed_for: str) -> Any:
    """A module of statsmodels, or an error that names the extra."""
    import importlib

    try:
        return importlib.import_module(f"statsmodels.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra("verify", needed_for) from error


def open_share(where: str, argument: str, value: Any) -> float:
    """The value as a float strictly between 0 and 1, or an error that names it."""
    out = number(where, argument, value, 0.0, 1.0)
    if out in (0.0, 1.0):
        raise fail(where, argument, "strictly between 0 and 1", value)
    return out


def binomial_test(
    count: int,
    n: int,
    null: float | int = 0.5,
    *,
    alternative: str = "two-sided",
    mid: bool = False,
) -> float:
    """The exact p-value of `count` yes in n independent answers against the rate `null`.

    Two-sided: the total probability of the outcomes not likelier than the observed one. mid: half
    of the outcomes as likely as it (one-sided: of itself); closer to the level on average, yet no
    longer below it for certain. Raises ValueError or TypeError by name.

    >>> round(binomial_test(60, 100), 4), round(binomial_test(60, 100, mid=True), 4)
    (0.0569, 0.046)
    """
    where = "binomial_test"
    n = integer(where, "n", n, 1)
    count, q = integer(where, "count", count, 0, n), open_share(where, "null", null)
    one_of(where, "alternative", alternative, ALTERNATIVES)
    from scipy.stats import binom, binomtest

    p = float(binomtest(count, n, q, alternative=alternative).pvalue)
    if not mid:
        return p
    own = binom.pmf(count, n, q)
    if alternative == "two-sided":
        pmf = binom.pmf(np.arange(n + 1), n, q)
        own = pmf[(pmf <= own * SAME) & (pmf >= own / SAME)].sum()
    return max(p - float(own) / 2, 0.0)


def binomial_p_values(
    n: int, null: float | int = 0.5, *, mid: bool = False
) -> Float[np.ndarray, "counts"]:
    """The two-sided exact (or mid-) p-values of all counts 0..n.

    >>> binomial_p_values(4).tolist()
    [0.125, 0.625, 1.0, 0.625, 0.125]
    """
    where = "binomial_p_values"
    n, q = integer(where, "n", n, 1), open_share(where, "null", null)
    from scipy.stats import binom

    pmf = binom.pmf(np.arange(n + 1), n, q)
    ordered = np.sort(pmf)
    up_to = np.append(0.0, np.cumsum(ordered))
    not_likelier = up_to[np.searchsorted(ordered, pmf * SAME, side="right")]
    less_likely = up_to[np.searchsorted(ordered, pmf / SAME, side="left")]
    return np.minimum((not_likelier + less_likely) / 2 if mid else not_likelier, 1.0)


def interval(
    count: Any, n: int, *, alpha: float | int = 0.05, method: str = "clopper-pearson"
) -> tuple[Any, Any]:
    """Confidence limits (low, high) of a rate from `count` (an int or an array) yes in n answers.

    method: "clopper-pearson" covers with at least 1 - alpha at every rate; "wilson" and "jeffreys"
    do on average and are shorter (Jeffreys' limits are 0 and 1 at the counts 0 and n, without which
    it would never cover a rate near them). There is no Wald: at a rate of .985 and n = 100 its 95%
    interval covers with .7786. Raises ValueError, TypeError, or MissingExtra (statsmodels).

    >>> [round(float(v), 4) for v in interval(43, 100)]
    [0.3314, 0.5329]
    """
    where = "interval"
    n = integer(where, "n", n, 1)
    level = open_share(where, "alpha", alpha)
    one_of(where, "method", method, METHODS)
    k = np.asarray(count)
    if k.dtype.kind not in "iu" or k.size == 0 or k.min() < 0 or k.max() > n:
        raise fail(where, "count", f"whole numbers in [0, {n}]", count)
    proportion = statsmodels_part("stats.proportion", "inference.interval")
    low, high = proportion.proportion_confint(k, n, level, METHODS[method])
    low, high = np.where(k == 0, 0.0, low), np.where(k == n, 1.0, high)
    return (float(low), float(high)) if k.ndim == 0 else (low, high)


def coverage(
    n: int, p: Any, *, alpha: float | int = 0.05, method: str = "clopper-pearson"
) -> Float[Any, "..."]:
    """The exact probability that the interval of n answers holds the true rate, at each rate p.

    >>> round(float(coverage(100, 0.5)), 4)
    0.9648
    """
    p = np.asarray(p, dtype=np.float64)
    if p.size == 0 or not np.all((p >= 0) & (p <= 1)):
        raise fail("coverage", "p", "rates in [0, 1]", p)
    from scipy.stats import binom

    k = np.arange(integer("coverage", "n", n, 1) + 1)
    low, high = interval(k, n, alpha=alpha, method=method)
    held = (low <= p[..., None]) & (p[..., None] <= high)
    return np.where(held, binom.pmf(k, n, p[..., None]), 0.0).sum(axis=-1)


def uniformity_power(
    n: int,
    p: Any,
    null: float | int = 0.5,
    *,
    alpha: float | int = 0.05,
    mid: bool = False,
) -> Float[Any, "..."]:
    """The exact probability that the two-sided exact test at level alpha rejects, at each rate p.

    At p = null it is the size, at most alpha (without mid).

    >>> [round(float(uniformity_power(100, p)), 4) for p in (0.5, 0.43)]
    [0.0352, 0.2408]
    """
    p = np.asarray(p, dtype=np.float64)
    if p.size == 0 or not np.all((p >= 0) & (p <= 1)):
        raise fail("uniformity_power", "p", "rates in [0, 1]", p)
    level = open_share("uniformity_power", "alpha", alpha)
    from scipy.stats import binom

    rejected = np.flatnonzero(binomial_p_values(n, null, mid=mid) <= level)
    return binom.pmf(rejected, n, p[..., None]).sum(axis=-1)


def uniformity_sample_size(
    p: float | int,
    *,
    power: float | int = 0.8,
    null: float | int = 0.5,
    alpha: float | int = 0.05,
) -> int:
    """The smallest n from which the exact test's power at the rate p stays at or above `power`.

    Power is a sawtooth in n: what counts is the last n below it, sought from .7 to 1.4 times the
    normal approximation (and 50 more). Raises ValueError or TypeError by name.

    >>> uniformity_sample_size(0.43)
    422
    """
    where = "uniformity_sample_size"
    target, level = open_share(where, "power", power), open_share(where, "alpha", alpha)
    p, q = number(where, "p", p, 0.0, 1.0), open_share(where, "null", null)
    if abs(p - q) < 1e-4:
        raise fail(where, "p", f"at least 1e-4 away from {q:g}", p)
    guess = normal_sample_size(p, target, q, level)
    n = np.arange(max(1, math.floor(0.7 * guess)), math.ceil(1.4 * guess) + 51)
    reached = _powers(n, p, q, level)
    below = np.flatnonzero(reached < target)
    if below.size and below[-1] == n.size - 1:
        raise RuntimeError(f"{where}: the power is still below {target} at n = {n[-1]}")
    if not below.size and n[0] > 1:  # the guess was too high: start from one answer
        n = np.arange(1, n[-1] + 1)
        below = np.flatnonzero(_powers(n, p, q, level) < target)
    return int(n[below[-1]] + 1) if below.size else 1


def normal_sample_size(p: float, power: float, null: float = 0.5, alpha: float = 0.05) -> float:
    """((z_{alpha/2} sqrt(q (1 - q)) + z_power sqrt(p (1 - p))) / (p - q))^2, q the null.

    >>> round(normal_sample_size(0.453, 0.8))
    886
    """
    from scipy.special import ndtri

    at_null = -ndtri(alpha / 2) * math.sqrt(null * (1 - null))
    return float(((at_null + ndtri(power) * math.sqrt(p * (1 - p))) / (p - null)) ** 2)


def _powers(n: np.ndarray, p: float, null: float, alpha: float) -> np.ndarray:
    """The exact test's power at each n; at 1/2 its region is two equal tails, found at once."""
    from scipy.stats import binom

    if null != 0.5:
        return np.array([float(uniformity_power(int(m), p, null, alpha=alpha)) for m in n])
    least = binom.isf(alpha / 2, n, 0.5) + 1  # the smallest c with P(X >= c) <= alpha / 2
    return binom.sf(least - 1, n, p) + binom.cdf(n - least, n, p)
