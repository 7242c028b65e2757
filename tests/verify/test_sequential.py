"""Sequential tests: exact operating characteristics, sample numbers, and claims that use them."""

from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

import fewtheory.suites
from fewtheory.verify import (
    LEVEL,
    MISS,
    run,
    sequential_mean,
    sequential_p,
    sequential_variance,
    sprt,
)
from fewtheory.verify.confidence import NormalMixture
from fewtheory.verify.power import samples_for_mean
from fewtheory.verify.sequential import ambiguous_level

NAN = math.nan


def normal(mean=0.0, std=1.0):
    return lambda n, rng: mean + std * rng.standard_normal(n)


def coins(p):
    return lambda n, rng: (rng.random(n) < p).astype(float)


def stopped(evidence):
    """The sample size at which a test stopped: the last point of its plot."""
    return evidence.series[0].x[-1]


def share(found):
    """How many of these tests rejected, and of how many."""
    return sum(e.finite and not e.stands for e in found), len(found)


def agrees(count, runs, chance):
    """Whether a count is between the quantiles of its binomial law at the fixed level."""
    low, high = binom.ppf([LEVEL / 2, 1 - LEVEL / 2], runs, chance)
    return low <= count <= high


# the mean


def walked(p, up, rejects, accepts):
    """P(rejected), P(accepted), E n of a walk of +-1 steps with P(+1) = p, exactly.

    rejects, accepts: (n, 2 up + 1) regions of the sum after each step; rejection comes first.
    """
    law, place = np.zeros(2 * up + 3), np.arange(-up - 1, up + 2)
    law[up + 1] = 1.0
    rejected = accepted = mean = 0.0
    for n in range(1, up + 1):
        mean += law.sum()
        law = p * np.roll(law, 1) + (1 - p) * np.roll(law, -1)
        out = rejects(n, place)
        rejected += law[out].sum()
        law[out] = 0.0
        inside = accepts(n, place)
        accepted += law[inside].sum()
        law[inside] = 0.0
    return rejected, accepted, mean


@pytest.fixture(scope="module")
def rule():
    """The regions of the test of mean 0 at level and miss 0.05 for steps of +-1 and effect 0.4."""
    stream = NormalMixture(1.0, 0.05, effect=0.4)

    def rejects(n, s):
        return np.abs(s) > n * stream.half_width(n)

    def accepts(n, s):
        return np.abs(s) + n * stream.half_width(n) < 0.4 * n

    half = stream.half_width(np.arange(1, 1000))
    return 1 + int(np.argmax(2 * half <= 0.4 * (1 - 1e-9))), rejects, accepts


def test_a_true_mean_is_rejected_less_often_than_the_level_exactly(rule):
    # exact: 0.020 of 0.05 (the walk jumps over the boundary by part of a step of 1)
    rejected, accepted, _ = walked(0.5, *rule)
    assert 0.01 < rejected <= 0.05
    assert rejected + accepted == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("deviation", [0.4, -0.4, 0.6])
def test_a_wrong_mean_passes_less_often_than_the_miss_exactly(rule, deviation):
    # +-1 with mean m is sub-Gaussian with standard deviation 1 whatever m (Hoeffding)
    rejected, accepted, _ = walked((1 + deviation) / 2, *rule)
    assert accepted <= 0.05
    assert rejected + accepted == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("mean", [0.0, 0.2, 0.4])
def test_the_test_decides_as_often_and_as_early_as_the_exact_law_says(rule, mean, rng):
    p, runs = (1 + mean) / 2, 400
    rejected, _, length = walked(p, *rule)
    told = {"effect": 0.4, "std": 1, "level": 0.05, "miss": 0.05, "batch": 7, "rng": rng}
    found = [sequential_mean(lambda n, r: 2 * coins(p)(n, r) - 1, 0.0, **told) for _ in range(runs)]
    assert agrees(share(found)[0], runs, rejected)
    sizes = np.array([stopped(e) for e in found])
    assert abs(sizes.mean() - length) < norm.isf(LEVEL / 2) * sizes.std() / math.sqrt(runs)


def test_a_decision_is_sure_at_the_largest_sample_size_and_not_before(rule, rng):
    # samples that are all effect / 2: neither far from 0 nor within the effect, to the last
    told = {"effect": 0.4, "std": 1, "level": 0.05, "miss": 0.05, "rng": rng}
    sure, *_ = rule
    found = sequential_mean(lambda n, rng: np.full(n, 0.2), 0.0, **told)
    assert found.finite
    assert stopped(found) == sure
    assert not sequential_mean(lambda n, rng: np.full(n, 0.2), 0.0, maximum=sure - 1, **told).finite


def test_a_sample_size_that_is_too_small_to_decide_is_no_evidence(rng):
    found = sequential_mean(normal(), 0.0, effect=0.1, std=1, maximum=50, rng=rng)
    assert not found.finite
    assert not found.stands


@pytest.mark.parametrize(
    ("deviation", "most"),
    # of the samples of the fixed test: the boundaries are reached when u = n |effect - deviation| or
    # n |deviation|, at 38 / 111 and 36 / 111 for a walk without noise; noise costs the acceptance
    [(0.0, 0.55), (0.1, 0.45), (0.2, 0.12)],
)
def test_it_takes_fewer_samples_than_the_fixed_test_of_the_same_power(deviation, most, rng):
    fixed = samples_for_mean(0.1)
    told = {"effect": 0.1, "std": 1, "rng": rng}
    found = [sequential_mean(normal(deviation), 0.0, **told) for _ in range(40)]
    assert share(found) == (0 if deviation == 0 else 40, 40)
    assert np.mean([stopped(e) for e in found]) < most * fixed
    assert max(stopped(e) for e in found) < 1.4 * fixed


def test_a_mean_within_an_interval_is_rejected_less_often_than_the_level(rng):
    told = {"effect": 0.1, "within": (0, 1), "level": 0.1, "miss": 0.1, "rng": rng}
    found = [sequential_mean(coins(0.3), 0.3, **told) for _ in range(300)]
    assert all(e.finite for e in found)
    assert share(found)[0] <= binom.isf(LEVEL, 300, 0.1)


@pytest.mark.parametrize("deviation", [0.1, -0.1, 0.25])
def test_a_wrong_mean_within_an_interval_passes_less_often_than_the_miss(deviation, rng):
    told = {"effect": 0.1, "within": (0, 1), "level": 0.1, "miss": 0.1, "rng": rng}
    found = [sequential_mean(coins(0.3 + deviation), 0.3, **told) for _ in range(300)]
    rejected, runs = share(found)
    assert runs - rejected <= binom.isf(LEVEL, 300, 0.1)


def test_a_small_variance_within_an_interval_is_used(rng):
    # std 1/16 of the interval: the assumption of the worst case takes (16 / 2)^2 times as long
    told = {"effect": 0.005, "rng": rng}
    used = sequential_mean(lambda n, r: r.beta(30, 30, n), 0.5, within=(0, 1), **told)
    worst = sequential_mean(lambda n, r: r.beta(30, 30, n), 0.5, std=0.5, **told)
    assert used.stands
    assert worst.stands
    assert stopped(used) < stopped(worst) / 20


def test_a_rare_event_may_have_a_wrong_mean_beyond_the_interval(rng):
    # expected - effect < 0: no wrong law lies there
    told = {"effect": 0.01, "within": (0, 1), "rng": rng}
    assert sequential_mean(coins(0.002), 0.002, **told).stands
    assert not sequential_mean(coins(0.012), 0.002, **told).stands


def test_the_evidence_says_where_it_stopped_and_plots_how(rng):
    found = sequential_mean(normal(), 0.0, effect=0.5, std=1, rng=rng, what="the mean")
    lower, upper = found.series
    assert (found.kind, found.what, found.relation) == ("law", "the mean", "equal")
    assert lower.x == upper.x
    assert lower.y[-1] == pytest.approx(found.measured - found.tolerance)
    assert upper.y[-1] == pytest.approx(found.measured + found.tolerance)
    assert f"n = {stopped(found):g} of at most" in found.tolerance_from
    assert "level 2e-07" in found.tolerance_from


# the variance


def test_a_true_variance_is_rejected_less_often_than_the_level(rng):
    told = {"ratio": 1.4, "mean": 2.0, "level": 0.1, "miss": 0.1, "rng": rng}
    found = [sequential_variance(normal(2.0, 3.0), 9.0, **told) for _ in range(300)]
    assert all(e.finite for e in found)
    assert share(found)[0] <= binom.isf(LEVEL, 300, 0.1)


@pytest.mark.parametrize("ratio", [1.4, 1 / 1.4, 2.5, 0.1])
def test_a_wrong_variance_passes_less_often_than_the_miss(ratio, rng):
    told = {"ratio": 1.4, "level": 0.1, "miss": 0.1, "rng": rng}
    found = [sequential_variance(normal(0, ratio**0.5), 1.0, **told) for _ in range(200)]
    assert all(e.finite for e in found)
    rejected, runs = share(found)
    assert runs - rejected <= binom.isf(LEVEL, 200, 0.1)


def test_a_variance_in_another_unit_is_decided_alike(rng):
    # a factor of 2 on the data, exact in floating point
    told = {"ratio": 1.3}
    one = sequential_variance(normal(), 1.0, rng=np.random.default_rng(3), **told)
    two = sequential_variance(normal(0, 2), 4.0, rng=np.random.default_rng(3), **told)
    assert stopped(one) == stopped(two)
    assert two.measured == pytest.approx(4 * one.measured, rel=1e-14)


def test_samples_that_do_not_vary_are_rejected_at_once_by_finite_evidence(rng):
    found = sequential_variance(lambda n, rng: np.zeros(n), 1.0, ratio=1.1, rng=rng)
    assert found.finite
    assert not found.stands


def test_constant_samples_show_a_decision_that_is_sure_for_a_variance(rng):
    # a mean square of sqrt(ratio) is the hardest: it is decided, and close to the end
    told = {"ratio": 1.3, "rng": rng}
    found = sequential_variance(lambda n, rng: np.full(n, 1.3**0.25), 1.0, **told)
    assert found.finite
    end = int(found.tolerance_from.split("at most ")[1].split(";")[0])
    assert 0.5 * end < stopped(found) <= end


# a success probability against a named wrong one


def ratio_walk(truth, p, q, level, miss):
    """P(rejected), P(accepted), P(undecided), E n of the ratio test, by its walk over successes."""
    up, down = -math.log(level), -math.log(miss)
    affinity = math.sqrt(p * q) + math.sqrt((1 - p) * (1 - q))
    end = math.ceil(max(up + down / 2, down + up / 2) / -math.log(affinity))
    law, k = np.zeros(end + 1), np.arange(end + 1)
    law[0] = 1.0
    rejected = accepted = mean = 0.0
    for n in range(1, end + 1):
        mean += law.sum()
        law = (1 - truth) * law + truth * np.concatenate([[0.0], law[:-1]])
        ratio = k * math.log(q / p) + (n - k) * math.log((1 - q) / (1 - p))
        rejected, accepted = rejected + law[ratio > up].sum(), accepted + law[ratio < -down].sum()
        law[(ratio > up) | (ratio < -down)] = 0.0
    return rejected, accepted, law.sum(), mean


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.6), (0.5, 0.4), (0.05, 0.1), (0.9, 0.95)])
@pytest.mark.parametrize(("level", "miss"), [(0.05, 0.1), (0.01, 0.001), (LEVEL, MISS)])
def test_walds_errors_are_at_most_as_stated_exactly(p, q, level, miss):
    rejected, accepted, undecided, _ = ratio_walk(p, p, q, level, miss)
    assert level / 4 < rejected <= level  # the walk leaves by a part of a step, not by more
    assert undecided <= level
    rejected, accepted, undecided, _ = ratio_walk(q, p, q, level, miss)
    assert miss / 4 < accepted <= miss
    assert undecided <= miss


def test_a_truth_on_the_far_side_is_rejected_more_rarely_still():
    assert ratio_walk(0.48, 0.5, 0.6, 0.05, 0.05)[0] < ratio_walk(0.5, 0.5, 0.6, 0.05, 0.05)[0]
    assert ratio_walk(0.62, 0.5, 0.6, 0.05, 0.05)[1] < ratio_walk(0.6, 0.5, 0.6, 0.05, 0.05)[1]


@pytest.mark.parametrize("truth", [0.5, 0.55, 0.6])
def test_the_ratio_test_decides_as_the_exact_walk_does(truth, rng):
    runs, told = 400, {"level": 0.05, "miss": 0.1, "batch": 13, "rng": rng}
    rejected, _, undecided, length = ratio_walk(truth, 0.5, 0.6, 0.05, 0.1)
    found = [sprt(coins(truth), 0.5, 0.6, **told) for _ in range(runs)]
    assert agrees(share(found)[0], runs, rejected)
    assert agrees(sum(not e.finite for e in found), runs, undecided)
    sizes = np.array([stopped(e) for e in found])
    assert abs(sizes.mean() - length) < norm.isf(LEVEL / 2) * sizes.std() / math.sqrt(runs)


def test_walds_test_takes_fewer_samples_than_the_fixed_one():
    # exact, at the default levels: 0.32 of the fixed test's under the claim (its limit for small
    # effects is 2 log(1/miss) / (z + z')^2 = 34 / 111)
    fixed = samples_for_mean(0.1 / 0.5, std_ratio=0.24**0.5 / 0.5)
    assert ratio_walk(0.5, 0.5, 0.6, LEVEL, MISS)[3] < fixed / 3
    assert ratio_walk(0.6, 0.5, 0.6, LEVEL, MISS)[3] < fixed / 3


# p-values again and again


def edges(level, repeats):
    """The p-values below which each step rejects and above which it accepts, by bisection."""

    def outcome(prefix, p):
        given = iter([*prefix, p])
        found = sequential_p(lambda n: [next(given)], samples=1, level=level, repeats=repeats)
        return "rejects" if not found.stands else "accepts"

    def steps(prefix, p):
        """Whether the test asks for more after this p."""
        given = iter([*prefix, p])
        with pytest.raises(StopIteration):
            sequential_p(lambda n: [next(given)], samples=1, level=level, repeats=repeats)

    def edge(left, right, is_left):
        for _ in range(60):
            middle = (left + right) / 2
            left, right = (middle, right) if is_left(middle) else (left, middle)
        return right

    def goes_on(prefix, p):
        try:
            steps(prefix, p)
        except (AssertionError, pytest.fail.Exception):
            return False
        return True

    prefix, found = [], []
    gamma = ambiguous_level(level, repeats)
    for _ in range(repeats - 1):
        inside = next(p for p in np.geomspace(gamma, level / repeats, 50) if goes_on(prefix, p))
        low = edge(0.0, inside, lambda p, prefix=prefix: outcome_or_none(prefix, p) == "rejects")
        high = edge(inside, 1.0, lambda p, prefix=prefix: goes_on(prefix, p))
        found.append((low, high))
        prefix = [*prefix, inside]
    last = edge(0.0, 1.0, lambda p: outcome(prefix, p) == "rejects")
    return [*found, (last, last)]
