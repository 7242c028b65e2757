"""Tests that stop as soon as the data decide, with a false alarm at most as probable as stated.

A test of fixed size pays for its hardest case in every run. These look after every sample, take
less than half as many on average from a claim that holds, a twelfth from a saboteur off by twice
what matters, and never need a retry. Whatever the stopping time, a true claim is rejected with
probability at most `level`, and one that is wrong by the stated `effect` or more passes with at
most `miss`:

* `sequential_mean`, `sequential_variance`: two confidence sequences. Rejected when the one at
  `level` excludes the claim; accepted when the one at `miss` lies within `effect` of it, for a
  truth farther off would have to be outside of it.
* `sprt`: Wald's likelihood ratio of a success probability against a named wrong one.
* `sequential_p`: any test with a p-value, repeated while it is ambiguous (Gandy and Scott).

No decision is no evidence: the measured value is then NaN, which the engine reports as an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Rng, check_rng, to_numpy
from ..errors import fail, integer, number
from .confidence import (
    ConfidenceSequence,
    EmpiricalBernstein,
    NormalMixture,
    Stream,
    VarianceMixture,
    interval,
)
from .evidence import Evidence, Series
from .power import LEVEL, MISS

LOOKS = 100  # batches to the largest sample size, and points of a plot
RARE = 1e-9  # a success probability nearer to 0 or 1 than this is no random one
TINY = 1e-90  # its square is still a float
SLACK = 1e-9  # the last look must decide in spite of rounding


@dataclass(frozen=True)
class _Question:
    """Is it `expected`, or outside of `near`? Decided by two sequences, surely at n = `sure`."""

    where: str
    expected: float
    near: tuple[float, float]
    claim: Stream  # at `level`: excludes what is rejected
    wrong: Stream  # at `miss`: within `near` when the claim is accepted
    sure: int
    told: str
    within: tuple[float, float] = (-math.inf, math.inf)  # where samples must lie


def sequential_mean(
    draw: Callable[[int, Any], Any],
    expected: int | float,
    *,
    effect: int | float,
    rng: Rng,
    std: int | float | None = None,
    within: Any = None,
    level: int | float = LEVEL,
    miss: int | float = MISS,
    batch: int | None = None,
    maximum: int | None = None,
    what: str = "",
) -> Evidence:
    """Whether independent samples have this mean, decided as early as they allow, two-sided.

    draw(n, rng): n samples, in any unit. effect: the smallest deviation of the mean that matters,
    in that unit: one at least as large passes with probability at most `miss`, none is rejected
    with more than `level`; in between either may happen. Exactly one of
    std: the samples' standard deviation under the claim and under what it must tell apart
    (sub-Gaussian: exp(l (X - mean)) has mean at most exp(l^2 std^2 / 2));
    within: (a, b), an interval that holds every sample; a small variance is then found and used.

    With half widths u_level(n) and u_miss(n) a decision is sure once u_level + u_miss <= effect:
    150 (std / effect)^2 samples at the default levels; on average 48 if the claim is exact and 36
    if it is off by `effect` (the fixed test of that power takes 111). batch: samples drawn at once,
    by default a hundredth of that. maximum: fewer samples; a test that ends undecided at them is no
    evidence, so it takes nothing from level and miss.
    Raises ValueError for what is out of range, before anything is drawn.
    Source: Howard et al. 2021; Waudby-Smith and Ramdas 2024.

    >>> rng = np.random.default_rng(1)
    >>> found = sequential_mean(
    ...     lambda n, rng: rng.random(n), 0.5, within=(0, 1), effect=0.01, rng=rng
    ... )
    >>> found.stands
    True
    """
    where = "sequential_mean"
    check_rng(where, rng)
    expected = number(where, "expected", expected, -math.inf)
    effect = _positive(where, "effect", effect)
    level, miss = _levels(where, level, miss)
    if (std is None) == (within is None):
        raise fail(where, "std", "given, or else within", (std, within))
    if within is None:
        spread, share = _positive(where, "std", std), 1.0
        low, high = -math.inf, math.inf
    else:
        low, high = interval(where, within)
        number(where, "expected", expected, low, high)
        spread, share = (high - low) / 2, 0.5  # of each level, for each of the two sequences
    claim, wrong = (NormalMixture(spread, share * a, effect=effect) for a in (level, miss))
    enough = effect * (1 - SLACK)
    sure = _smallest(lambda n: bool(claim.half_width(n) + wrong.half_width(n) <= enough))
    both: tuple[Stream, Stream] = (claim, wrong)
    if within is not None:
        first, second = (EmpiricalBernstein(within, a / 2, effect=effect) for a in (level, miss))
        both = (_Both(claim, first), _Both(wrong, second))
    told = f"off by {effect:g} is missed with probability at most {miss:.2g}"
    near = (expected - effect, expected + effect)
    question = _Question(where, expected, near, *both, sure, told, (low, high))
    return _decide(question, draw, rng, level, batch, maximum, what)


def sequential_variance(
    draw: Callable[[int, Any], Any],
    expected: int | float,
    *,
    ratio: int | float,
    rng: Rng,
    mean: int | float = 0.0,
    level: int | float = LEVEL,
    miss: int | float = MISS,
    batch: int | None = None,
    maximum: int | None = None,
    what: str = "",
) -> Evidence:
    """Whether independent Gaussian samples of known mean have this variance, two-sided.

    ratio > 1: a variance off by this factor or more, either way, passes with probability at most
    `miss`. Everything else as in `sequential_mean`; a wrong mean counts as variance, (X - mean)^2.

    >>> rng = np.random.default_rng(1)
    >>> sequential_variance(lambda n, rng: rng.standard_normal(n), 1.0, ratio=1.1, rng=rng).stands
    True
    """
    where = "sequential_variance"
    check_rng(where, rng)
    expected = _positive(where, "expected", expected)
    mean = number(where, "mean", mean, -math.inf)
    level, miss = _levels(where, level, miss)
    ratio = number(where, "ratio", ratio, 1.0001)
    claim, wrong = (VarianceMixture(mean, a, ratio=ratio) for a in (level, miss))
    enough = ratio * (1 - SLACK)

    def decides(n: int) -> bool:
        # while `claim` holds 1, Q / n lies in (low, high) and `wrong` in (low / top, high / bottom)
        (low, high), (bottom, top) = claim.quantiles(n), wrong.quantiles(n)
        return bool(high <= enough * bottom and top <= enough * low)

    told = f"off by a factor {ratio:g} is missed with probability at most {miss:.2g}"
    near = (expected / ratio, expected * ratio)
    question = _Question(where, expected, near, claim, wrong, _smallest(decides), told)
    return _decide(question, draw, rng, level, batch, maximum, what)


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
    level, miss = _levels("sprt", level, miss)
    check_rng("sprt", rng)
    up, down = -math.log(level), -math.log(miss)
    affinity = math.sqrt(p * q) + math.sqrt((1 - p) * (1 - q))
    maximum = math.ceil(max(up + down / 2, down + up / 2) / -math.log(affinity))
    size = _batch("sprt", batch, maximum)
    success, failure = math.log(q / p), math.log1p(-q) - math.log1p(-p)
    walk = np.zeros(1)
    ratio = math.nan
    while walk.size <= maximum:
        x = _drawn("sprt", draw, min(size, maximum + 1 - walk.size), rng)
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


def _decide(
    question: _Question,
    draw: Callable[[int, Any], Any],
    rng: Rng,
    level: float,
    batch: int | None,
    maximum: int | None,
    what: str,
) -> Evidence:
    """Draw until the claim's sequence excludes it, or the other one lies within what is near."""
    q = question
    end = q.sure if maximum is None else min(q.sure, integer(q.where, "maximum", maximum, 1))
    size = _batch(q.where, batch, q.sure)
    seen: list[ConfidenceSequence] = []
    n, middle, half = 0, math.nan, 0.0
    while n < end and math.isnan(middle):
        x = _drawn(q.where, draw, min(size, end - n), rng)
        if np.any(astray := (x < q.within[0]) | (x > q.within[1])):
            raise fail(q.where, "draw", f"a function that stays in {q.within}", x[astray][0])
        if not np.all(np.isfinite(x)):
            break
        seen.append(found := q.claim.update(x))
        other = q.wrong.update(x)
        centre, width = (found.lower + found.upper) / 2, (found.upper - found.lower) / 2
        width = np.maximum(width, 0.0)  # an empty interval excludes everything
        decided = np.abs(centre - q.expected) > width
        decided |= (q.near[0] < other.lower) & (other.upper < q.near[1])
        stops = np.flatnonzero(decided & np.isfinite(width))
        last = stops[0] if stops.size else x.size - 1
        n = int(found.n[last])
        if stops.size:
            middle, half = float(centre[last]), float(width[last])
    return Evidence(
        kind="law",
        measured=middle,
        expected=q.expected,
        tolerance=half,
        tolerance_from=f"confidence sequence at level {level:.2g}, stopped at n = {n} of at most "
        f"{end}; {q.told}",
        what=what,
        series=_limits(seen, n),
    )


class _Both:
    """Two confidence sequences as one, their intersection."""

    def __init__(self, first: Stream, second: Stream):
        self.first, self.second = first, second

    def update(self, x: Any) -> ConfidenceSequence:
        return self.first.update(x) & self.second.update(x)


def _limits(seen: list[ConfidenceSequence], n: int) -> tuple[Series, ...]:
    """Lower and upper limits against the sample size up to n, once they are worth a look."""
    if not n:
        return ()
    at = np.unique(np.linspace(n / 20, n, LOOKS).astype(int).clip(1)) - 1
    lower, upper = (np.concatenate([getattr(s, k) for s in seen])[at] for k in ("lower", "upper"))
    return tuple(
        Series(at + 1, limit, label, "n", "confidence sequence", False)
        for limit, label in ((lower, "lower limit"), (upper, "upper limit"))
    )


def _drawn(where: str, draw: Callable[[int, Any], Any], n: int, rng: Rng) -> np.ndarray:
    """The next n samples as float64, or an error that names the draw."""
    x = to_numpy(draw(n, rng))
    if x.shape != (n,) or x.dtype.kind not in "biuf":
        raise fail(where, "draw", f"a function that gives ({n},) real numbers", (x.shape, x.dtype))
    return x.astype(np.float64)


def _smallest(holds: Callable[[int], bool]) -> int:
    """The smallest n >= 1 at which something holds that holds from there on."""
    high = 1
    while not holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _bonferroni(p: Any) -> float:
    """m min(p), at most 1; NaN if one is not a number."""
    p = np.atleast_1d(np.asarray(to_numpy(p), dtype=np.float64))
    if p.ndim != 1 or p.size < 1 or np.any((p < 0) | (p > 1)):
        raise fail("sequential_p", "pvalues", "a function that gives (m,) numbers in [0, 1]", p)
    return min(float(p.size * p.min()), 1.0) if not np.any(np.isnan(p)) else math.nan


def _positive(where: str, name: str, value: Any) -> float:
    if not (out := number(where, name, value, 0)) > 0:
        raise fail(where, name, "more than 0", value)
    return out


def _levels(where: str, level: Any, miss: Any) -> tuple[float, float]:
    return number(where, "level", level, TINY, 0.99), number(where, "miss", miss, TINY, 0.99)


def _batch(where: str, batch: int | None, end: int) -> int:
    return -(-end // LOOKS) if batch is None else integer(where, "batch", batch, 1)
