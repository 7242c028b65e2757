"""Sample sizes, against the exact distributions of the test statistics."""

from __future__ import annotations

import math

import pytest
from scipy.special import chdtr, chdtri, ndtr, ndtri

from fewtheory.verify import LEVEL, MISS
from fewtheory.verify.power import normal_quantile, samples_for_mean, samples_for_variance


def missed_mean(n, shift, std_ratio, tests):
    """P(|T| <= z) for T = sqrt(n) mean / std ~ N(sqrt(n) shift, std_ratio^2) under the wrong law,
    z the two-sided quantile of the right one."""
    z = -ndtri(LEVEL / tests / 2)
    return ndtr((z - math.sqrt(n) * shift) / std_ratio) - ndtr(
        (-z - math.sqrt(n) * shift) / std_ratio
    )


def missed_variance(n, ratio, tests):
    """P(lower <= ratio X <= upper), X chi-square with n - 1 degrees, between the two quantiles."""
    tail = LEVEL / tests / 2
    lower, upper = chdtri(n - 1, 1 - tail), chdtri(n - 1, tail)
    return chdtr(n - 1, upper / ratio) - chdtr(n - 1, lower / ratio)


def test_the_levels_are_those_of_the_design():
    assert (LEVEL, MISS) == (1e-4 / 512, 1e-4 / 2048)


@pytest.mark.parametrize("tail", [0.4, 0.025, LEVEL / 2, 1e-12])
def test_a_normal_quantile_has_its_tail_above_it(tail):
    # erfc is relatively exact in the tail; d log(tail)/dz is about -z, so z's rounding is amplified
    z = normal_quantile(tail)
    assert math.erfc(z / math.sqrt(2)) / 2 == pytest.approx(tail, rel=1e-13)


MEANS = [(s, r, k) for s in (0.01, 0.1, 0.7) for r in (0.5, 1.0, 2.0) for k in (1, 6)]


@pytest.mark.parametrize(("shift", "std_ratio", "tests"), MEANS)
def test_a_wrong_mean_is_missed_with_at_most_the_stated_probability(shift, std_ratio, tests):
    n = samples_for_mean(shift, std_ratio, tests)
    assert missed_mean(n, shift, std_ratio, tests) <= MISS


@pytest.mark.parametrize(("shift", "std_ratio", "tests"), MEANS)
def test_one_sample_less_would_miss_a_wrong_mean(shift, std_ratio, tests):
    n = samples_for_mean(shift, std_ratio, tests)
    assert missed_mean(n - 1, shift, std_ratio, tests) > MISS


def test_the_sign_of_a_shift_does_not_matter():
    assert samples_for_mean(-0.1) == samples_for_mean(0.1)


RATIOS = [(r, k) for r in (0.2, 0.9, 0.98, 1.03, 1.2, 3.0) for k in (1, 6)]


@pytest.mark.parametrize(("ratio", "tests"), RATIOS)
def test_a_wrong_variance_is_missed_with_at_most_the_stated_probability(ratio, tests):
    n = samples_for_variance(ratio, tests)
    assert missed_variance(n, ratio, tests) <= MISS


@pytest.mark.parametrize(("ratio", "tests"), RATIOS)
def test_one_sample_less_would_miss_a_wrong_variance(ratio, tests):
    n = samples_for_variance(ratio, tests)
    assert missed_variance(n - 1, ratio, tests) > MISS


def test_a_variance_test_of_many_samples_tends_to_the_normal_one():
    # log of the sample variance has variance 2/n: a shift of log(ratio) in units of sqrt(2);
    # the next term of the expansion is relatively of order n^{-1/2} z, here below 1%
    ratio = 1.005
    n = samples_for_variance(ratio)
    assert n == pytest.approx(samples_for_mean(math.log(ratio) / math.sqrt(2)), rel=0.01)


@pytest.mark.parametrize("shift", [0.0, math.nan, math.inf])
def test_a_shift_is_finite_and_not_zero(shift):
    with pytest.raises(ValueError, match="samples_for_mean: shift must be"):
        samples_for_mean(shift)


@pytest.mark.parametrize("std_ratio", [-1.0, math.nan, math.inf])
def test_a_ratio_of_standard_deviations_is_finite_and_not_negative(std_ratio):
    with pytest.raises(ValueError, match="samples_for_mean: std_ratio must be"):
        samples_for_mean(0.1, std_ratio)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.0, math.nan, math.inf])
def test_a_ratio_of_variances_is_positive_and_not_one(ratio):
    with pytest.raises(ValueError, match="samples_for_variance: ratio must be"):
        samples_for_variance(ratio)


@pytest.mark.parametrize("sizes", [samples_for_mean, samples_for_variance])
def test_there_is_at_least_one_test(sizes):
    with pytest.raises(ValueError, match=f"{sizes.__name__}: tests must be"):
        sizes(0.5, tests=0)
