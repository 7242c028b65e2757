"""Many tests, many cells, and the question whether a rate is fair enough.

Within a cell (one model, prompt and temperature) Holm holds the chance of any false alarm, whatever
the tests' dependence; across cells Benjamini and Hochberg hold the share of false alarms among the
alarms. "Not significantly biased" is no evidence of fairness: two one-sided tests are, and they are
statsmodels'. Sheet `binary-bias`, M9.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import fail, finite_array, integer, number
from ...shapes import Float
from .uniformity import open_share, statsmodels_part


def holm(p_values: Any) -> Float[np.ndarray, "tests"]:
    """Holm's adjusted p-values, max_{j <= i} min(1, (m - j + 1) p_(j)) of the i-th smallest.

    One below alpha is significant at family level alpha. Equal to statsmodels' `multipletests`,
    which collects garbage at each call, 0.1 s: a report has one call a cell.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _p_values("holm", p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(adjusted, 1.0)
    return out


def benjamini_hochberg(p_values: Any) -> Float[np.ndarray, "tests"]:
    """Benjamini and Hochberg's: those below alpha have a false discovery rate of at most alpha.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    p = _p_values("benjamini_hochberg", p_values)
    multitest = statsmodels_part("stats.multitest", "inference.benjamini_hochberg")
    return np.asarray(multitest.multipletests(p, method="fdr_bh")[1])


def _p_values(where: str, p_values: Any) -> np.ndarray:
    p = finite_array(where, "p_values", p_values)
    if p.ndim != 1 or p.size == 0 or np.any((p < 0) | (p > 1)):
        raise fail(where, "p_values", "one or more numbers in [0, 1]", p_values)
    return p


def equivalence_test(count: int, n: int, margin: float | int = 0.05) -> float:
    """The exact p-value of two one-sided tests: small where |p - 1/2| < margin is established.

    >>> round(equivalence_test(1000, 2000, 0.05), 6), round(equivalence_test(50, 100, 0.05), 4)
    (4e-06, 0.1827)
    """
    where = "equivalence_test"
    n, d = integer(where, "n", n, 1), _margin(where, margin)
    count = integer(where, "count", count, 0, n)
    proportion = statsmodels_part("stats.proportion", f"inference.{where}")
    return float(proportion.binom_tost(count, n, 0.5 - d, 0.5 + d)[0])


def equivalence_power(
    n: int, p: float | int = 0.5, *, margin: float | int = 0.05, alpha: float | int = 0.05
) -> float:
    """The exact probability that fairness within the margin is established at the rate p.

    0 where n is too small for any count to do so (statsmodels' `power_binom_tost` is then below 0).

    >>> equivalence_power(100), round(equivalence_power(1500), 4)
    (0.0, 0.9718)
    """
    where = "equivalence_power"
    n, d = integer(where, "n", n, 1), _margin(where, margin)
    p, level = number(where, "p", p, 0.0, 1.0), open_share(where, "alpha", alpha)
    proportion = statsmodels_part("stats.proportion", f"inference.{where}")
    return max(0.0, float(proportion.power_binom_tost(0.5 - d, 0.5 + d, n, p, level)))


def _margin(where: str, margin: Any) -> float:
    d = number(where, "margin", margin, 0.0, 0.5)
    if d in (0.0, 0.5):
        raise fail(where, "margin", "strictly between 0 and 1/2", margin)
    return d
