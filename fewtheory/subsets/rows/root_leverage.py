"""Root leverage: sampling by tau^{p/2} for p <= 2, in rounds.

tau^{p/2} needs nothing but leverage scores, but their sum may be as large as n^{1-p/2} d^{p/2}.
Each round samples what the last one left, and the number of rows falls to d eps^{-4/p}. Woodruff &
Yasuda (arXiv 2306.00732), sheet `lp-sensitivity`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Rng, check_rng
from ...errors import integer, number
from .budget import draw_rows
from .coreset import Coreset, matrix_shape
from .leverage import leverage_scores
from .scores import in_range


def recursion_limit(d: int, distortion: float | int, p: float | int) -> float:
    """d eps^{-4/p}: the fixed point of m' = eps^{-2} m^{1-p/2} d^{p/2}, rows of root leverage.

    Args:
        d: rank, at least 1.
        distortion: eps > 0.
        p: 1 <= p <= 2.

    Source: sheet `lp-sensitivity`, Method, Root-leverage recursion, and C12.

    >>> from fewtheory.subsets import recursion_limit
    >>> recursion_limit(6, 0.25, 1)
    1536.0
    """
    name = "recursion_limit"
    in_range(name, "root-leverage", p)
    eps = number(name, "distortion", distortion, np.finfo(float).tiny)
    return integer(name, "d", d, 1) * eps ** (-4 / float(p))


def root_leverage_budget(m: float | int, d: int, distortion: float | int, p: float | int) -> float:
    """eps^{-2} m^{1-p/2} d^{p/2}: rows that a round keeps of m rows."""
    return m ** (1 - p / 2) * d ** (p / 2) / distortion**2


def root_leverage_coreset(
    A: Any, p: float | int, distortion: float | int, *, rng: Rng, shrink: float | int = 0.9
) -> tuple[Coreset, tuple[float, ...]]:
    """Rows kept by root leverage in rounds, each on what the last one left; 1 <= p <= 2.

    One round needs n^{1-p/2} d^{p/2} rows because the sum of tau^{p/2} may be as large; in rounds
    the logarithm of the distance to d eps^{-4/p} shrinks by 1-p/2 each time.

    Args:
        A: (n, d), NumPy or torch.
        p: of the norm.
        distortion: eps of each round's budget eps^{-2} m^{1-p/2} d^{p/2} (constants are 1).
        rng: a numpy or torch generator.
        shrink: the rounds end when the next would keep more than this share of the rows.

    Returns: the coreset, whose probabilities are products over rounds, and the budgets.

    Raises: ValueError for a p outside [1, 2], distortion <= 0 and shrink outside (0, 1).

    Source: sheet `lp-sensitivity`, Method, Root-leverage recursion.

    >>> import numpy as np
    >>> from fewtheory.subsets import root_leverage_coreset
    >>> A = np.random.default_rng(0).standard_normal((20000, 2))
    >>> C, budgets = root_leverage_coreset(A, 1.5, 0.3, rng=np.random.default_rng(1))
    >>> [round(b) for b in budgets]
    [222, 71, 54]
    """
    name = "root_leverage_coreset"
    in_range(name, "root-leverage", p)
    eps = number(name, "distortion", distortion, np.finfo(float).tiny)
    share = number(name, "shrink", shrink, np.finfo(float).tiny, 1 - np.finfo(float).eps)
    check_rng(name, rng)
    n, d = matrix_shape(name, A)
    index, q, budgets = np.arange(n), np.ones(n), []
    while (budget := root_leverage_budget(len(index), d, eps, float(p))) < share * len(index):
        B = Coreset(index, q ** (-1 / float(p)), q, float(p), n).rows(A)
        kept, chance = draw_rows(leverage_scores(B) ** (float(p) / 2), max(budget, d), rng=rng)
        index, q = index[kept], q[kept] * chance
        budgets.append(budget)
    return Coreset(index, q ** (-1 / float(p)), q, float(p), n), tuple(budgets)
