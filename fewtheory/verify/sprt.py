"""Wald's sequential probability ratio test: a success probability against a named wrong one.

Of all tests with its errors it takes the fewest samples, on average, under either probability.
Source: Wald, Annals of Mathematical Statistics 1945.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays import Rng, check_rng
from ..errors import fail, number
from .evidence import Evidence, Series
from .power import LEVEL, MISS
from .sequential import LOOKS, batch_size, drawn, levels

RARE = 1e-9  # a success probability nearer to 0 or 1 than this is no random one


def sprt(
    draw: Callable[[int, Any], Any],
    expected: int | float,
    wrong: int | float,
    *,
    rng: Rng,
    level: int | float = LEVEL,
    miss: int | float = MISS,
    batch: int | None = None,
    what: str = "",
) -> Evidence:
    """Wald's sequential test of a success probability against a named wrong one.

    draw(n, rng): n outcomes, 0 or 1. The log likelihood ratio of `wrong` over `expected` walks
    until it leaves [log(miss), log(1 / level)]. The ratio has mean 1 under the claim, its inverse
    under the wrong one: a true claim is rejected with probability at most `level` (also if the
    truth is on the side away from `wrong`), and `wrong`, or worse, passes with at most `miss`.
    By Markov's inequality for the root of the ratio, under either it takes more than
    (log(1/level) + log(1/miss) / 2) / -log(sum_x sqrt(p(x) q(x))) steps (or with level and miss
    exchanged) as rarely as it errs; then it is undecided, which is no evidence. A truth half way
    between the two often ends so. Raises ValueError for what is out of range.
    Source: Wald 1945.

    >>> rng = np.random.default_rng(1)
    >>> sprt(lambda n, rng: rng.random(n) < 0.5, 0.5, 0.6, rng=rng).stands
    True
    """
    p = number("sprt", "expected", expected, RARE, 1 - RARE)
    q = number("sprt", "wrong", wrong, RARE, 1 - RARE)
    if p == q:
        raise fail("sprt", "wrong", "another probability than expected", wrong)
    level, miss = levels("sprt", level, miss)
    check_rng("sprt", rng)
    up, down = -math.log(level), -math.log(miss)
    affinity = math.sqrt(p * q) + math.sqrt((1 - p) * (1 - q))
    maximum = math.ceil(max(up + down / 2, down + up / 2) / -math.log(affinity))
    size = batch_size("sprt", batch, maximum)
    success, failure = math.log(q / p), math.log1p(-q) - math.log1p(-p)
    walk = np.zeros(1)
    ratio = math.nan
    while walk.size <= maximum:
        x = drawn("sprt", draw, min(size, maximum + 1 - walk.size), rng)
        if not np.all(np.isfinite(x)):
            break
        if not np.all((x == 0) | (x == 1)):
            raise fail("sprt", "draw", "a function that gives 0 and 1", x[(x != 0) & (x != 1)][0])
        steps = walk[-1] + np.cumsum(np.where(x == 1, success, failure))
        left = np.flatnonzero((steps > up) | (steps < -down))
        walk = np.concatenate([walk, steps[: left[0] + 1] if left.size else steps])
        if left.size:
            ratio = walk[-1]
            break
    n = walk.size - 1
    shown = np.unique(np.linspace(0, n, LOOKS).astype(int))
    return Evidence(
        kind="law",
        measured=ratio,
        expected=0.0,
        tolerance=up,
        tolerance_from=f"log likelihood ratio of {q:g} over {p:g} against log(1 / level), level "
        f"{level:.2g}, stopped at n = {n}; {q:g} is missed with probability at most {miss:.2g}",
        relation="at most",
        what=what,
        series=(Series(shown, walk[shown], "log likelihood ratio", "n", "", False),),
    )
