"""A test with p-values, repeated on fresh samples while its answer is ambiguous.

Repeating a test until it passes has no level; repeating it on a schedule of levels that add up
has. Source: Gandy and Scott, "Unit testing for MCMC and other Monte Carlo methods", 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import to_numpy
from ..errors import fail, integer, number
from .evidence import Evidence, Series
from .power import LEVEL


def ambiguous_level(level: int | float = LEVEL, repeats: int = 7) -> float:
    """gamma = (level / k)^(1 / k): how often a step of `sequential_p` asks for another.

    >>> round(ambiguous_level(1e-5, 7), 3)
    0.146
    """
    number("ambiguous_level", "level", level, 1e-100, 0.99)
    return (level / integer("ambiguous_level", "repeats", repeats, 1)) ** (1 / repeats)


def sequential_p(
    pvalues: Callable[[int], Any],
    *,
    samples: int,
    level: int | float = LEVEL,
    repeats: int = 7,
    growth: int | float = 4,
    what: str = "",
) -> Evidence:
    """A test with p-values, run again on fresh samples while its answer is ambiguous.

    pvalues(n): the p-values (m,) of one or more tests on n fresh samples, each at most u with
    probability at most u under the claim; combined by Bonferroni, q = m min(p). With
    beta = level / k, gamma = beta^(1/k), k = repeats: step i rejects if q < beta_i,
    accepts if q > gamma + beta_i, and else goes on with beta_{i+1} = beta_i / gamma; what k steps
    do not reject is accepted. A step goes on with probability gamma under the claim and so rejects
    with gamma^(i-1) beta_i = beta, k times: `level` in all. As in the paper n grows once, by
    `growth`, after the first step.

    A wrong law is missed at most k times as often as q exceeds `ambiguous_level(level, repeats)` on
    `samples` samples: choose `samples` so that the test at that mild level misses it with MISS / k.
    Raises ValueError for what is out of range. Source: Gandy and Scott 2020, Algorithm 1.

    >>> rng = np.random.default_rng(1)
    >>> sequential_p(lambda n: rng.random(2), samples=100).stands
    True
    """
    n = integer("sequential_p", "samples", samples, 1)
    number("sequential_p", "level", level, 1e-100, 0.99)
    integer("sequential_p", "repeats", repeats, 1)
    number("sequential_p", "growth", growth, 1)
    beta, gamma = level / repeats, ambiguous_level(level, repeats)
    seen: list[tuple[int, float]] = []
    q = math.nan
    for step in range(repeats):
        q = _bonferroni(pvalues(n))
        seen.append((n, q))
        if not beta <= q <= gamma + beta or step == repeats - 1:  # NaN stops too
            break
        beta = beta / gamma
        n = math.ceil(n * growth) if step == 0 else n
    sizes, found = zip(*seen, strict=True)
    return Evidence(
        kind="law",
        measured=-math.log(max(q, 1e-300)) if q == q else math.nan,
        expected=0.0,
        tolerance=-math.log(beta),
        tolerance_from=f"-log p below that of step {len(seen)} of {repeats}, "
        f"level {level:.2g} over all steps; {sum(sizes)} samples",
        relation="at most",
        what=what,
        series=(Series(range(1, len(seen) + 1), found, "p-value", "step", "p", False),),
    )


def _bonferroni(p: Any) -> float:
    """m min(p), at most 1; NaN if one is not a number."""
    p = np.atleast_1d(np.asarray(to_numpy(p), dtype=np.float64))
    if p.ndim != 1 or p.size < 1 or np.any((p < 0) | (p > 1)):
        raise fail("sequential_p", "pvalues", "a function that gives (m,) numbers in [0, 1]", p)
    return min(float(p.size * p.min()), 1.0) if not np.any(np.isnan(p)) else math.nan
