"""Counts over calls, and answers against their exact probabilities."""

import math

import numpy as np
import pytest
from scipy.stats import binom, ttest_1samp

from fewtheory.inference import count_test, dispersion_test, follows_probabilities, rate_over_calls
from fewtheory.inference.coins.calls import sum_of_coins
from fewtheory.testbeds import BalancingSeries, MarkovCoin


def test_the_count_chi_square_is_its_sum(asarray):
    k = asarray(np.array([5, 7, 4]))
    found = count_test(k, 10, dispersion=0.5)
    assert found.statistic == pytest.approx((0 + 4 + 1) / (2.5 * 0.5))
    assert found.dispersion == pytest.approx((0 + 4 + 1) / 2.5 / 3)


def test_calls_of_different_lengths_weigh_by_their_variance():
    found = count_test([2, 9], [4, 16], null=0.5)
    assert found.statistic == pytest.approx(0 / 1 + 1 / 4)


def test_balancing_calls_are_too_uniform_and_remembering_ones_too_spread(rng):
    even = BalancingSeries(1.0, 1.0).sample(20, rng=rng, series=300).sum(axis=1)
    found = dispersion_test(even, 20)
    assert found.p_value < 1e-10
    assert found.dispersion < 0.6
    spread = MarkovCoin(0.5, 0.4).sample(20, rng=rng, series=300).sum(axis=1)
    found = dispersion_test(spread, 20)
    assert found.p_value < 1e-10
    assert found.dispersion > 1.5


def test_the_right_factor_keeps_the_level_of_the_count_test(rng):
    bed, calls, runs = BalancingSeries(1.0, 1.0), 50, 400
    factor = bed.variances(40)[-1] / 40
    counts = bed.sample(40, rng=rng, series=calls * runs).sum(axis=1).reshape(runs, calls)
    share = np.mean([count_test(k, 40, dispersion=factor).p_value <= 0.05 for k in counts])
    assert share == pytest.approx(0.05, abs=5 * math.sqrt(0.05 * 0.95 / runs))
    assert np.mean([count_test(k, 40).p_value <= 0.05 for k in counts]) == 0.0


def test_all_answers_equal_say_nothing_of_their_spread():
    assert dispersion_test([10, 10, 10], 10).p_value == 1.0


def test_calls_of_one_length_have_students_t(rng):
    k = rng.binomial(10, 0.6, 12)
    found, expected = rate_over_calls(k, 10), ttest_1samp(k, 5)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_counts_that_never_vary_are_infinitely_sure_or_not_at_all():
    assert rate_over_calls([6, 6, 6], 10).p_value == 0.0
    assert rate_over_calls([5, 5, 5], 10).p_value == 1.0


def test_its_level_holds_whatever_the_memory(rng):
    runs, calls = 600, 12
    for coin in (MarkovCoin(0.5, -0.4), MarkovCoin(0.5, 0.4)):
        counts = coin.sample(30, rng=rng, series=calls * runs).sum(axis=1).reshape(runs, calls)
        share = np.mean([rate_over_calls(k, 30).p_value <= 0.05 for k in counts])
        assert share == pytest.approx(0.05, abs=5 * math.sqrt(0.05 * 0.95 / runs))


def test_equal_coins_have_a_binomial_sum():
    assert sum_of_coins(np.full(30, 0.3)) == pytest.approx(
        binom.pmf(np.arange(31), 30, 0.3), rel=1e-11
    )


def test_certain_answers_that_came_are_followed_and_impossible_ones_are_not():
    assert follows_probabilities([1, 0], [1.0, 0.0]).p_value == 1.0
    assert follows_probabilities([0, 0], [1.0, 0.0]).p_value == 0.0


def test_long_logs_take_the_normal_law_with_nearly_the_same_p(rng, monkeypatch):
    q = rng.beta(0.5, 0.5, 1900)
    x = (rng.random(1900) < q).astype(int)
    exact = follows_probabilities(x, q)
    monkeypatch.setattr("fewtheory.inference.coins.calls.EXACT", 10)
    normal = follows_probabilities(x, q)
    assert (exact.exact, normal.exact) == (True, False)
    assert normal.p_value == pytest.approx(exact.p_value, abs=5e-3)  # 1 / sqrt(sum q (1 - q)) / 3
    assert normal.z == exact.z


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count_test([3], 10), r"count_test: counts must be of shape \(calls,\), two"),
        (lambda: count_test([3, 11], 10), r"count_test: counts must be in \[0, lengths\]"),
        (lambda: count_test([3, 4], [10, 10, 10]), "count_test: counts must be in"),
        (lambda: count_test([3, 4], 10, null=1), "count_test: null must be strictly"),
        (lambda: count_test([3, 4], 10, dispersion=0), "count_test: dispersion must be finite in"),
        (lambda: dispersion_test([np.nan, 4], 10), "dispersion_test: counts must be finite"),
        (lambda: rate_over_calls([3, 4], 0), "rate_over_calls: counts must be in"),
        (lambda: rate_over_calls([3, 4], 10, 0), "rate_over_calls: null must be strictly"),
        (lambda: follows_probabilities([0, 1], [0.5]), r"probabilities must be in \[0, 1\], of sh"),
        (lambda: follows_probabilities([0, 1], [0.5, 1.5]), "probabilities must be in"),
        (lambda: follows_probabilities([0, 2], [0.5, 0.5]), "x must be of 0 and 1 only"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
