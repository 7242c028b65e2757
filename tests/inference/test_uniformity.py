"""The rate: exact tests, intervals that cover, sample sizes that hold."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from fewtheory.inference import (
    binomial_p_values,
    binomial_test,
    coverage,
    interval,
    uniformity_power,
    uniformity_sample_size,
)
from fewtheory.inference.coins.uniformity import normal_sample_size

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())


def test_clopper_pearson_is_the_known_interval():
    (k,) = [k for k in KNOWN if k["what"].startswith("Clopper")]
    low, high = interval(np.array(k["inputs"]["k"]), k["inputs"]["n"])
    assert np.stack([low, high], axis=1) == pytest.approx(
        np.array(k["expected"]), abs=k["tolerance"]
    )


@settings(max_examples=20)
@given(st.integers(1, 25), st.floats(0.05, 0.95))
def test_all_p_values_at_once_are_those_of_scipys_test(n, null):
    found = binomial_p_values(n, null)
    each = [binomial_test(k, n, null) for k in range(n + 1)]
    assert found == pytest.approx(each, rel=1e-9)
    mids = [binomial_test(k, n, null, mid=True) for k in range(n + 1)]
    assert binomial_p_values(n, null, mid=True) == pytest.approx(mids, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_one_sided_p_values_are_tails(p):
    assert binomial_test(7, 20, p, alternative="greater") == pytest.approx(binom.sf(6, 20, p))
    assert binomial_test(7, 20, p, alternative="less") == pytest.approx(binom.cdf(7, 20, p))
    mid = binomial_test(7, 20, p, alternative="less", mid=True)
    assert mid == pytest.approx(binom.cdf(6, 20, p) + binom.pmf(7, 20, p) / 2)


def test_the_mid_p_is_half_the_observed_outcomes_less():
    # 12 of 20 is as likely as 8 of 20: half of both
    exact = binomial_test(12, 20)
    assert binomial_test(12, 20, mid=True) == pytest.approx(exact - binom.pmf(12, 20, 0.5))


@pytest.mark.parametrize("method", ["clopper-pearson", "wilson", "jeffreys"])
def test_yes_and_no_change_places(method):
    low, high = interval(np.arange(31), 30, method=method)
    assert low == pytest.approx(1 - high[::-1], abs=1e-12)
    assert np.all((low >= 0) & (low < high) & (high <= 1))


def test_the_limits_at_no_yes_are_the_rule_of_the_first_success():
    # (1 - p)^n = alpha / 2
    assert interval(0, 100) == (0.0, pytest.approx(1 - 0.025 ** (1 / 100)))


@pytest.mark.parametrize("n", [5, 30])
def test_clopper_pearson_covers_everywhere_and_jeffreys_near_the_ends_too(n):
    p = np.linspace(0, 1, 401)
    assert coverage(n, p).min() >= 0.95 - 1e-12
    assert coverage(n, np.array([1e-9]), method="jeffreys") > 0.99


def test_sampled_coverage_is_the_exact_one(rng):
    n, p, runs = 40, 0.3, 20_000
    for method in ("clopper-pearson", "wilson", "jeffreys"):
        low, high = interval(rng.binomial(n, p, runs), n, method=method)
        held = ((low <= p) & (p <= high)).mean()
        exact = coverage(n, p, method=method)
        assert abs(held - exact) < 5 * math.sqrt(exact * (1 - exact) / runs)


def test_the_size_is_never_above_the_level():
    assert all(uniformity_power(n, 0.5) <= 0.05 for n in range(1, 200))
    assert uniformity_power(25, 0.3, 0.3) <= 0.05


def test_from_the_sample_size_on_the_power_holds():
    for p, null in ((0.6, 0.5), (0.45, 0.3)):
        n = uniformity_sample_size(p, null=null)
        assert uniformity_power(n - 1, p, null) < 0.8
        assert all(uniformity_power(m, p, null) >= 0.8 for m in range(n, n + 60))


def test_sample_sizes_are_near_the_normal_ones_where_effects_are_small():
    # the exact test is conservative by up to its lattice: 1 / (2 n |p - 1/2|) of n, twice
    assert uniformity_sample_size(0.52) == pytest.approx(normal_sample_size(0.52, 0.8), rel=0.02)
    assert normal_sample_size(0.453, 0.8) == pytest.approx(
        ((1.959964 / 2 + 0.841621 * math.sqrt(0.453 * 0.547)) / 0.047) ** 2, rel=1e-5
    )
    assert uniformity_sample_size(1.0) == 6  # 2 / 2^6 is the first below .05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binomial_test(1, 0), "binomial_test: n must be at least 1"),
        (lambda: binomial_test(5, 4), r"binomial_test: count must be in \[0, 4\]"),
        (lambda: binomial_test(1, 4, 1.0), "null must be strictly between 0 and 1"),
        (lambda: binomial_test(1, 4, alternative="both"), "alternative must be one of"),
        (lambda: binomial_p_values(0), "binomial_p_values: n must be at least 1"),
        (lambda: binomial_p_values(3, 0.0), "binomial_p_values: null must be strictly"),
        (lambda: interval(3, 2), r"interval: count must be whole numbers in \[0, 2\]"),
        (lambda: interval(0.5, 2), "interval: count must be whole numbers"),
        (lambda: interval(1, 0), "interval: n must be at least 1"),
        (lambda: interval(1, 2, alpha=0), "interval: alpha must be strictly"),
        (lambda: interval(1, 2, method="wald"), "interval: method must be one of"),
        (lambda: coverage(5, 1.5), "coverage: p must be rates in"),
        (lambda: uniformity_power(5, -0.1), "uniformity_power: p must be rates in"),
        (lambda: uniformity_power(5, 0.4, alpha=1), "uniformity_power: alpha must be strictly"),
        (lambda: uniformity_sample_size(0.5), "p must be at least 1e-4 away from 0.5"),
        (lambda: uniformity_sample_size(2.0), "uniformity_sample_size: p must be finite in"),
        (lambda: uniformity_sample_size(0.4, power=1), "power must be strictly"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
