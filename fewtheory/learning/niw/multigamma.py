"""The multivariate gamma function and its derivative, constants of every Wishart law.

    Gamma_d(x) = pi^{d(d-1)/4} prod_{j=1..d} Gamma(x + (1 - j)/2),   psi_d = (log Gamma_d)'

Sheet `niwmeta`, "Setting".
"""

from __future__ import annotations

import math

import numpy as np

from ...errors import fail, integer, number


def multidigamma(x: float | int, d: int) -> float:
    """psi_d(x) = sum_{j=1..d} psi(x + (1 - j)/2), for x > (d - 1)/2.

    >>> round(multidigamma(4.5, 2), 6)
    2.644989
    """
    from scipy.special import digamma

    _checked("multidigamma", x, d)
    return math.fsum(digamma(x - np.arange(d) / 2))


def log_multigamma(x: float | int, d: int) -> float:
    """log Gamma_d(x), for x > (d - 1)/2.

    >>> round(log_multigamma(4.5, 1), 6)  # log Gamma(4.5)
    2.453737
    """
    from scipy.special import gammaln

    _checked("log_multigamma", x, d)
    return d * (d - 1) / 4 * math.log(math.pi) + math.fsum(gammaln(x - np.arange(d) / 2))


def _checked(where: str, x: float | int, d: int) -> None:
    integer(where, "d", d, 1)
    if not number(where, "x", x, -math.inf) > (d - 1) / 2:
        raise fail(where, "x", f"above (d - 1)/2 = {(d - 1) / 2}", x)
