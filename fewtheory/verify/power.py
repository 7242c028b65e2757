"""Fixed levels, and the sample sizes that follow from them.

Each random claim tests at LEVEL, so that a suite of 512 random claims rings falsely once in 10^4
runs; each random saboteur is rejected with probability at least 1 - MISS.
"""

from __future__ import annotations

import math

from ..errors import fail, integer, number

LEVEL = 1e-4 / 512
MISS = 1e-4 / 2048


def normal_quantile(tail: float) -> float:
    """z with P(N(0, 1) > z) = tail."""
    from scipy.special import ndtri

    return -float(ndtri(tail))


def samples_for_mean(shift: float, std_ratio: float = 1.0, tests: int = 1) -> int:
    """The n at which a two-sided z-test at LEVEL / tests sees a wrong mean, but for MISS.

    shift: |data's mean - tested mean| over the tested standard deviation; std_ratio: the data's
    standard deviation over the tested one. From P(|Z + sqrt(n) shift| <= z_level) <= MISS.
    """
    number("samples_for_mean", "shift", abs(shift), 1e-12)
    number("samples_for_mean", "std_ratio", std_ratio, 0.0)
    integer("samples_for_mean", "tests", tests, 1)
    threshold = normal_quantile(LEVEL / tests / 2) + std_ratio * normal_quantile(MISS)
    return math.ceil((threshold / abs(shift)) ** 2)


def samples_for_variance(ratio: float, tests: int = 1) -> int:
    """The n at which a chi-square test at LEVEL / tests sees a wrong variance, but for MISS.

    ratio: the data's variance over the one that is tested. Exact for Gaussian samples: searched on
    the chi-square distribution, smallest power of two first, then by bisection.
    """
    from scipy.stats import chi2

    integer("samples_for_variance", "tests", tests, 1)
    if not 0 < ratio < math.inf or abs(math.log(ratio)) < 1e-6:
        raise fail("samples_for_variance", "ratio", "positive, finite and not 1", ratio)

    def missed(n: int) -> float:
        low, high = chi2.ppf([LEVEL / tests / 2, 1 - LEVEL / tests / 2], n - 1)
        return float(chi2.cdf(high / ratio, n - 1) - chi2.cdf(low / ratio, n - 1))

    high = 4
    while missed(high) > MISS:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if missed(middle) <= MISS else (middle, high)
    return high
