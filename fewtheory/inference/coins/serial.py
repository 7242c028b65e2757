"""Are all k-grams equally frequent? Overlapping counts, and the laws that overlap leaves them.

psi2_m looks like a chi-square on 2^m - 1 degrees of freedom and has their mean, but neighbouring
windows share answers: its law is a weighted sum of chi-squares, and a chi-square test of it rejects
twice too often. Its first and second differences in m are chi-squares. Approximate entropy is the
likelihood version. Counts are cyclic. Sheet `binary-bias`, M4; claim C3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array
from ...errors import fail, finite_array, integer
from ...shapes import Float
from .ladder import ladder_total
from .series import LONGEST_GRAM, flips, flips_in_rows, gram_counts

HEAVIEST = 10  # length of grams to which the weighted law is summed


def psi2(x: Array, m: int) -> Float[Any, "..."]:
    """psi2_m = (2^m / n) sum_w N_w^2 - n of each series of x (..., n); psi2_0 = 0.

    >>> psi2(np.array([0, 1, 1, 1]), 1).tolist()
    1.0
    """
    host = flips_in_rows("psi2", x)
    N = gram_counts(host, m).astype(np.float64)
    return (N**2).sum(axis=-1) * 2**m / host.shape[-1] - host.shape[-1]


def psi2_law(m: int) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """The weights and degrees of freedom of psi2_m under fair independent answers, m >= 1.

    psi2_m = m chi2(1) + sum_{l=2}^m (m - l + 1) chi2(2^{l-2}), independent; mean 2^m - 1.

    >>> [v.tolist() for v in psi2_law(3)]
    [[3.0, 2.0, 1.0], [1.0, 1.0, 2.0]]
    """
    m = integer("psi2_law", "m", m, 1, LONGEST_GRAM)
    weights = np.arange(m, 0, -1.0)
    return weights, np.array([1.0, *(2.0 ** (length - 2) for length in range(2, m + 1))])


def psi2_tail(value: Any, m: int) -> Float[Any, "..."]:
    """P(psi2_m > value) under its weighted law, m <= 10; a float or an array of values.

    All weights are at least 1, so the law is a mixture of chi2(2^m - 1 + 2k) with weights c_k >= 0:
    c_0 = prod w_j^{-v_j / 2}, c_k = sum_{r<k} g_{k-r} c_r / k, g_k = sum_j v_j (1 - 1/w_j)^k / 2
    (Ruben 1962); summed until 1e-15 of the mass is left.

    >>> round(float(psi2_tail(14.067, 3)), 4)
    0.1002
    """
    m = integer("psi2_tail", "m", m, 1, HEAVIEST)
    value = finite_array("psi2_tail", "value", value)
    from scipy.stats import chi2

    weights, dfs = psi2_law(m)
    tail = np.zeros(value.shape)
    for k, c in enumerate(_mixture(weights, dfs)):
        tail += c * chi2.sf(value, dfs.sum() + 2 * k)
    return np.minimum(tail, 1.0)


def _mixture(weights: np.ndarray, dfs: np.ndarray) -> np.ndarray:
    """c_0, c_1, .. until what is left is 1e-15."""
    shrink, c = 1 - 1 / weights, [float(np.exp(-(dfs * np.log(weights)).sum() / 2))]
    g: list[float] = []
    total = c[0]
    while total < 1 - 1e-15 and len(c) < 20_000:
        g.append(float((dfs * shrink ** len(c)).sum() / 2))
        c.append(float(np.dot(g[::-1], c)) / len(c))
        if c[-1] < 1e-18 * total:  # past the bulk: rounding, not terms, is what is missing
            break
        total += c[-1]
    return np.array(c)


@dataclass(frozen=True)
class SerialTest:
    """psi2, first = psi2_m - psi2_{m-1}, second = psi2_m - 2 psi2_{m-1} + psi2_{m-2}, and the
    p-values of each: weighted law, chi2(2^{m-1}), chi2(2^{m-2}).
    """

    m: int
    psi2: float
    first: float
    second: float
    p_psi2: float
    p_first: float
    p_second: float


def serial_test(x: Any, m: int = 3) -> SerialTest:
    """The serial test of one series against fair independent answers, 2 <= m <= 10.

    Raises ValueError where 2^m exceeds n / 5 (the laws are asymptotic), or TypeError by name.

    >>> found = serial_test(np.array([0, 1] * 40))
    >>> found.psi2, found.first, found.second
    (240.0, 160.0, 80.0)
    """
    one, m = flips("serial_test", x), integer("serial_test", "m", m, 2, HEAVIEST)
    if 5 * 2**m > one.size:
        raise fail("serial_test", "m", f"such that 5 * 2^m is at most n = {one.size}", m)
    values = serial_statistics(one, m)
    return SerialTest(m, *values.tolist(), *serial_tails(values, m).tolist())


def serial_statistics(x: Array, m: int) -> Float[Any, "... three"]:
    """(psi2_m, its first difference in m, its second) of each series of x (..., n)."""
    host = flips_in_rows("serial_statistics", x)
    integer("serial_statistics", "m", m, 2, min(LONGEST_GRAM, host.shape[-1]))
    two, middle, top = (psi2(host, k) for k in (m - 2, m - 1, m))
    return np.stack([top, top - middle, top - 2 * middle + two], axis=-1)


def serial_tails(values: Any, m: int) -> Float[Any, "... three"]:
    """The p-values of `serial_statistics` (..., 3): weighted law, chi2(2^{m-1}), chi2(2^{m-2})."""
    m = integer("serial_tails", "m", m, 2, HEAVIEST)
    v = finite_array("serial_tails", "values", values)
    from scipy.stats import chi2

    first, second = chi2.sf(v[..., 1], 2 ** (m - 1)), chi2.sf(v[..., 2], 2 ** (m - 2))
    return np.stack([psi2_tail(v[..., 0], m), first, second], axis=-1)


def approximate_entropy(x: Array, m: int) -> Float[Any, "..."]:
    """phi_m - phi_{m+1}, phi_m = sum_w (N_w / n) log(N_w / n): the entropy of an answer given m.

    2 n (log 2 - it) ~ chi2(2^m) for fair independent answers; it is the ladder's total of order m.

    >>> approximate_entropy(np.array([0, 1] * 10), 1).tolist()
    0.0
    """
    host = flips_in_rows("approximate_entropy", x)
    rest = ladder_total(host, m) / (2 * host.shape[-1])
    return np.maximum(math.log(2) - rest, 0.0)


def approximate_entropy_test(x: Any, m: int = 2) -> tuple[float, float]:
    """(2 n (log 2 - approximate entropy), its p-value by chi2(2^m)) of one series.

    >>> approximate_entropy_test(np.array([0, 1] * 20), 1)[0].__round__(3)
    55.452
    """
    one = flips("approximate_entropy_test", x)
    statistic = float(ladder_total(one, m))
    from scipy.stats import chi2

    return statistic, float(chi2.sf(statistic, 2**m))
