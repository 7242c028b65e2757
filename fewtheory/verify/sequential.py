"""Tests that stop as soon as the data decide, with a false alarm at most as probable as stated.

A test of fixed size pays for its hardest case in every run. These look after every sample, take
less than half as many on average from a claim that holds, a twelfth from a saboteur off by twice
what matters, and never need a retry. Whatever the stopping time, a true claim is rejected with
probability at most `level`, and one that is wrong by the stated `effect` or more passes with at
most `miss`:

* `sequential_mean`, `sequential_variance`: two confidence sequences. Rejected when the one at
  `level` excludes the claim; accepted when the one at `miss` lies within `effect` of it, for a
  truth farther off would have to be outside of it.
* `sprt` (`sprt.py`): the likelihood ratio of a success probability against a named wrong one.
* `sequential_p` (`repeated.py`): any test with a p-value, repeated while it is ambiguous.

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
    level, miss = levels(where, level, miss)
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
    level, miss = levels(where, level, miss)
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
    size = batch_size(q.where, batch, q.sure)
    seen: list[ConfidenceSequence] = []
    n, middle, half = 0, math.nan, 0.0
    while n < end and math.isnan(middle):
        x = drawn(q.where, draw, min(size, end - n), rng)
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


def drawn(where: str, draw: Callable[[int, Any], Any], n: int, rng: Rng) -> np.ndarray:
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


def _positive(where: str, name: str, value: Any) -> float:
    if not (out := number(where, name, value, 0)) > 0:
        raise fail(where, name, "more than 0", value)
    return out


def levels(where: str, level: Any, miss: Any) -> tuple[float, float]:
    """Both error probabilities as floats, or an error that names one."""
    return number(where, "level", level, TINY, 0.99), number(where, "miss", miss, TINY, 0.99)


def batch_size(where: str, batch: int | None, end: int) -> int:
    """The samples drawn at once: a hundredth of the largest size unless given."""
    return -(-end // LOOKS) if batch is None else integer(where, "batch", batch, 1)
