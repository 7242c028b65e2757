"""Limits of a rate when answers depend on the one before: the binomial ones are too narrow.

A coin that repeats itself with correlation .6 is held by Clopper and Pearson's 95% limits with
probability .69. The rate of a Markov coin is p = u / (u + v), u = P(1 | 0) and v = P(0 | 1); given
the counts of the four transitions u and v are rates of two series of independent answers, and

    low:  P(u / (u + v) > low)  = 1 - tail,   u ~ Beta(n01, n00 + 1), v ~ Beta(n10 + 1, n11)
    high: P(u / (u + v) > high) = tail,       u ~ Beta(n01 + 1, n00), v ~ Beta(n10, n11 + 1)

are Clopper and Pearson's limits of both at once: a transition that was never seen leaves its end
open. The default takes the mean of both chances in both places (mid-p). Measured at level .95,
rates .05 to .5, correlations -.2 to .9, 30 to 1000 answers: .946 to .987 ("sure": .956 to .996).

Sheet `binary-bias`, M3 (the Markov coin) and M9.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...errors import one_of
from ..verifiers.intervals import HOW, Uncertainty, probability_interval
from .series import separate_series
from .uniformity import open_share

NODES = (np.arange(200) + 0.5) / 200


def memory_limits(
    x: Any, *, alpha: float | int = 0.05, how: str = "mid", calls: int = 10
) -> tuple[float, float]:
    """Limits (low, high) of the rate of ones in a series with a memory, or in several.

    From `calls` series on the series are the units, whatever their memory (and rate) is; with fewer
    the answers are those of a Markov coin. how: "mid" or "sure". Raises ValueError or TypeError by
    name.

    >>> [round(v, 3) for v in memory_limits([1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1])]
    [0.127, 0.898]
    """
    where = "memory_limits"
    every = separate_series(where, x)
    level = open_share(where, "alpha", alpha)
    one_of(where, "how", how, HOW)
    if len(every) >= calls:
        length = np.array([one.size for one in every], dtype=np.float64)
        count = np.array([one.sum() for one in every], dtype=np.float64)
        by = Uncertainty(1 - level, how)
        found = probability_interval(count / length.max(), length / length.max(), by=by)
        return found.low, found.high
    codes = np.concatenate([2 * one[:-1].astype(int) + one[1:] for one in every])
    n = np.bincount(codes, minlength=4).astype(float)
    below = (n[1], n[0] + 1, n[2] + 1, n[3]), (n[1] + 1, n[0], n[2], n[3] + 1)
    pairs = (below[:1], below[1:]) if how == "sure" else (below, below)
    return _crossing(pairs[0], 1 - level / 2), _crossing(pairs[1], level / 2)


def _crossing(betas: Any, target: float) -> float:
    """The p at which the chance that u / (u + v) is above it, falling in p, is the target."""
    from scipy.optimize import brentq
    from scipy.special import betaincinv

    laws = []
    for a, b, c, d in betas:  # a parameter 0: all the mass is at that end
        v = np.zeros(1) if c == 0 else np.ones(1) if d == 0 else betaincinv(c, d, NODES)
        laws.append((a, b, v))
    function = partial(_excess, laws, target)
    ends = 1e-9, 1 - 1e-9
    if function(ends[0]) <= 0:
        return 0.0
    if function(ends[1]) >= 0:
        return 1.0
    root: Any = brentq(function, *ends, xtol=1e-7)
    return float(root)


def _excess(laws: Any, target: float, p: float) -> float:
    from scipy.special import betainc

    total = 0.0
    for a, b, v in laws:
        least = np.minimum(v * p / (1 - p), 1.0)  # of u
        if a > 0:
            total += float((least < 1).mean() if b == 0 else (1 - betainc(a, b, least)).mean())
    return total / len(laws) - target
