"""Many tests: Holm, Benjamini-Hochberg, equivalence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import power_binom_tost

from fewtheory.inference import benjamini_hochberg, equivalence_power, equivalence_test, holm

lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(max_examples=3)  # statsmodels collects garbage at each call
@given(lists)
def test_holm_is_that_of_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-14)


def test_the_false_discovery_rate_is_that_of_the_step_up_by_hand():
    # m p_(i) / i, then the minimum from above
    found = benjamini_hochberg([0.005, 0.9, 0.02, 0.03])
    assert found == pytest.approx([0.02, 0.9, 0.04, 0.04])


def test_equivalence_is_the_worse_of_two_tails():
    n, k, d = 400, 205, 0.1
    expected = max(binom.sf(k - 1, n, 0.5 - d), binom.cdf(k, n, 0.5 + d))
    assert equivalence_test(k, n, d) == pytest.approx(expected)


def test_its_power_is_the_mass_of_the_counts_that_establish_it():
    n, d = 400, 0.08
    region = [equivalence_test(k, n, d) <= 0.05 for k in range(n + 1)]
    for p in (0.5, 0.53, 0.58):
        exact = binom.pmf(np.arange(n + 1), n, p)[region].sum()
        assert equivalence_power(n, p, margin=d) == pytest.approx(exact, abs=1e-12)
    assert equivalence_power(n, 0.5 + d, margin=d) <= 0.05  # its size


def test_too_few_answers_have_no_power_where_statsmodels_is_below_zero():
    assert power_binom_tost(0.45, 0.55, 100, 0.5) < 0
    assert equivalence_power(100) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: holm([]), "holm: p_values must be one or more numbers in"),
        (lambda: holm([0.1, 1.2]), "holm: p_values must be one or more numbers in"),
        (lambda: holm([np.nan]), "holm: p_values must be finite"),
        (lambda: benjamini_hochberg([-0.1]), "benjamini_hochberg: p_values must be"),
        (lambda: equivalence_test(5, 4), r"equivalence_test: count must be in \[0, 4\]"),
        (lambda: equivalence_test(1, 4, 0.5), "equivalence_test: margin must be strictly"),
        (lambda: equivalence_power(0), "equivalence_power: n must be at least 1"),
        (lambda: equivalence_power(9, 2), "equivalence_power: p must be finite in"),
        (lambda: equivalence_power(9, alpha=0), "equivalence_power: alpha must be strictly"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
