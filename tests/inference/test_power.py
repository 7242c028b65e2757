"""Exact size and power on a Markov coin."""

import math

import numpy as np
import pytest

from fewtheory.inference import battery_power, battery_rejects, binomial_test, ladder, runs_test
from fewtheory.inference.coins.power import TESTS, rejected
from fewtheory.testbeds import MarkovCoin
from fewtheory.testbeds.tokens import all_states


def decisions(x):
    """What the tests of single series decide at 5%."""
    from scipy.stats import chi2

    found = ladder(x, 1)
    total = found.uniform.statistic + found.rungs[0].statistic
    return {
        "rate": binomial_test(int(x.sum()), x.size) <= 0.05,
        "recency": runs_test(x, "more").p_value <= 0.05,
        "streaks": runs_test(x, "fewer").p_value <= 0.05,
        "memory": found.rungs[0].p_value <= 0.05,
        "total": total > chi2.isf(0.05, 2),
    }


def test_the_regions_are_the_decisions_of_the_single_tests(rng):
    n = 14
    regions = {t: rejected(t, n) for t in TESTS}
    for x in all_states(2, n)[rng.permutation(2**n)[:120]]:
        at = int(x.sum()), 1 + int((x[1:] != x[:-1]).sum())
        for test, decided in decisions(x).items():
            assert regions[test][at] == decided, (test, x)


@pytest.mark.parametrize("test", TESTS)
def test_sampled_series_are_rejected_as_often_as_the_exact_power_says(rng, test):
    coin, n, runs = MarkovCoin(0.45, -0.25), 60, 20_000
    x = coin.sample(n, rng=rng, series=runs)
    region = rejected(test, n)
    share = region[x.sum(axis=1), 1 + (x[:, 1:] != x[:, :-1]).sum(axis=1)].mean()
    exact = battery_rejects(test, coin, n)
    assert abs(share - exact) < 5 * math.sqrt(max(exact * (1 - exact), 1e-4) / runs)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_conditional_tests_have_their_level_at_every_rate(p):
    for test in ("recency", "streaks", "memory"):
        for n in (9, 40, 151):
            assert battery_rejects(test, MarkovCoin(p, 0.0), n) <= 0.05


def test_rows_are_the_chosen_counts():
    for test in TESTS:
        some = rejected(test, 20, 0.05, [3, 10])
        assert some == pytest.approx(rejected(test, 20)[[3, 10]])


def test_a_plan_reaches_its_power_and_one_answer_less_does_not():
    plan = battery_power(0.6, -0.3, 0.8)
    coin = MarkovCoin(0.6, -0.3)
    for test in ("rate", "recency", "memory", "total"):
        n = getattr(plan, test).n
        assert getattr(plan, test).exact
        assert all(battery_rejects(test, coin, n + k) >= 0.8 for k in range(5))
        assert battery_rejects(test, coin, n - 1) < 0.8
    assert "rate" in str(plan)


def test_what_cannot_be_seen_takes_no_n():
    plan = battery_power(0.5, 0.3)
    assert plan.rate.n is None
    assert plan.recency.n is None
    assert "never" in str(plan)
    plan = battery_power(0.6, 0.0)
    assert plan.memory.n is None
    assert plan.total.n is not None


def test_small_effects_take_the_asymptotic_size_and_say_so():
    plan = battery_power(0.51, -0.02)
    assert not plan.rate.exact
    assert plan.rate.n == pytest.approx((0.98 + 0.8416 * 0.5 * 0.98) ** 2 / 0.01**2, rel=0.01)
    assert "asymptotic" in str(plan)


def test_a_lower_level_takes_more_answers():
    assert battery_power(0.7, alpha=0.01).rate.n > battery_power(0.7).rate.n


def test_the_likely_counts_hold_all_but_nothing():
    from fewtheory.inference.coins.power import _likely

    coin = MarkovCoin(0.3, 0.2)
    assert coin.count_law(300)[_likely(coin, 300)].sum() == pytest.approx(1.0, abs=1e-11)
    assert np.all(np.diff(_likely(coin, 300)) == 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rejected("luck", 9), "rejected: test must be one of"),
        (lambda: rejected("rate", 1), "rejected: n must be at least 2"),
        (lambda: rejected("rate", 9, 0.0), "rejected: alpha must be strictly"),
        (lambda: battery_rejects("rate", MarkovCoin(), 1), "battery_rejects: n must be at least"),
        (lambda: battery_power(0.5, power=1.0), "battery_power: power must be strictly"),
        (lambda: battery_power(0.5, power=0.04), "battery_power: power must be above alpha"),
        (lambda: battery_power(1.5), "MarkovCoin: p must be finite in"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
