"""Prices, expected distances and how many samples an error needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory.arrays import to_numpy
from fewtheory.learning.ambient.frechet import (
    frechet_error,
    frechet_floor,
    stopped_frechet,
    stopped_variance,
)
from fewtheory.learning.ambient.planning import cheapest_mix, noisy_needed
from fewtheory.learning.ambient.price import (
    marginal_price,
    mean_price,
    noisy_price,
    target_price,
    variance_price,
)
from fewtheory.learning.ambient.weighting import WEIGHTINGS
from fewtheory.testbeds import TwoVarianceSample

EPS = np.finfo(float).eps
SPECTRUM = 1 / np.arange(1, 65)
UNIT = frechet_error(SPECTRUM, 0.2, 50_000, 0)
WITH_FLOOR = ("inverse variance", "loss", "best")


def test_prices_are_ratios_of_informations(asarray):
    c = np.array([0.02, 1.0, 30.0])
    one, other = (TwoVarianceSample(c, [s], [1]) for s in (0.0, 0.3))
    told = one.information_of_mean() / other.information_of_mean()
    assert to_numpy(mean_price(asarray(c), 0.3)) == pytest.approx(told, rel=8 * EPS)
    told = one.information_of_variance() / other.information_of_variance()
    assert to_numpy(variance_price(asarray(c), 0.3)) == pytest.approx(told, rel=8 * EPS)


def test_a_draw_at_the_noise_level_itself_says_nothing():
    assert target_price(np.ones(2), 0.3, 0.3).tolist() == [np.inf, np.inf]
    assert target_price(np.ones(1), 0.0, 0.3).tolist() == [1.0]


def test_the_price_with_consistency_is_that_of_information(asarray):
    c = np.array([0.02, 1.0, 30.0])
    found = to_numpy(marginal_price(asarray(c), 0.3, 100, 500, "consistency"))
    assert found == pytest.approx((1 + 0.09 / c) ** 2, rel=64 * EPS)
    assert marginal_price(c, 0.3, 100, 500, "clean").tolist() == [np.inf] * 3


def test_a_price_list_adds_up(asarray):
    found = noisy_price(asarray(SPECTRUM), 0.2, 5_000, 45_000, "best")
    alone = to_numpy(found.clean_equivalents)
    assert float(np.sum(SPECTRUM / (2 * alone))) == pytest.approx(
        frechet_error(SPECTRUM, 0.2, 5_000, 45_000, "best"), rel=64 * EPS
    )
    assert found.total == pytest.approx(50_000 / 2.266775, rel=1e-6)  # the sheet's 2.27
    assert found.total_worth == pytest.approx((found.total - 5_000) / 45_000)
    assert to_numpy(found.worth) == pytest.approx((alone - 5_000) / 45_000)
    assert found.floor_reached == pytest.approx(
        frechet_floor(SPECTRUM, 0.2, 5_000, "best")
        / frechet_error(SPECTRUM, 0.2, 5_000, 45_000, "best")
    )


def test_a_smooth_direction_costs_less_than_a_rough_one():
    price = noisy_price(SPECTRUM, 0.2, 5_000, 20_000, "loss").price
    assert np.all(np.diff(price[:20]) > 0)
    assert 1 < price[0] < 1.5  # c = 25 sigma_n^2


def test_the_first_noisy_sample_is_worth_its_marginal_price():
    first, few = (noisy_price(SPECTRUM, 0.2, 5_000, n, "best") for n in (0, 1e-3))
    assert few.worth == pytest.approx(first.worth, rel=1e-5)
    assert few.total_worth == pytest.approx(first.total_worth, rel=1e-5)


def test_the_worth_of_clean_copies_is_one():
    found = noisy_price(SPECTRUM, 0.0, 100, 900)
    assert found.worth == pytest.approx(np.ones(64))
    assert (found.total, found.total_worth) == pytest.approx((1000, 1.0))


@pytest.mark.parametrize("how", list(WEIGHTINGS))
def test_errors_scale_with_the_data_and_its_noise(how, asarray):
    one = frechet_error(asarray(SPECTRUM), 0.2, 500, 900, how)
    assert frechet_error(9 * SPECTRUM, 0.6, 500, 900, how) == pytest.approx(9 * one, rel=1e-12)


def test_directions_without_variance_add_nothing():
    padded = np.append(SPECTRUM, [0.0, 0.0])
    for how in WEIGHTINGS:
        told = frechet_error(SPECTRUM, 0.2, 500, 900, how)
        assert frechet_error(padded, 0.2, 500, 900, how) == pytest.approx(told, rel=8 * EPS)
    assert frechet_error(padded, 0.2, 0, 900, "consistency") < np.inf
    assert stopped_frechet(padded, 0.2) == pytest.approx(stopped_frechet(SPECTRUM, 0.2))


def test_a_simulated_generator_has_the_expected_distance(rng):
    """Plain variance estimates from n clean samples: the formula's clean set."""
    n, c = 400, np.array([1.0, 0.3])
    found = c * rng.chisquare(n, (20_000, 2)) / n
    distance = np.sum((np.sqrt(found) - np.sqrt(c)) ** 2, axis=1)
    told = frechet_error(c, 0.2, n, 0)
    # five standard errors and the next order of 1/n
    slack = 5 * distance.std() / np.sqrt(20_000) + told / n
    assert distance.mean() == pytest.approx(told, abs=slack)


def test_the_stopped_law_is_too_narrow(asarray):
    c = np.array([0.0, 0.04, 4.0])
    found = to_numpy(stopped_variance(asarray(c), 0.2))
    assert found == pytest.approx([0.0, 0.02, 16 / 4.04])
    assert stopped_variance(c, 0.0).tolist() == c.tolist()
    told = np.sum((np.sqrt(c) - np.sqrt(found)) ** 2)
    assert stopped_frechet(c, 0.2) == pytest.approx(told)


@settings(max_examples=25, deadline=None)  # each plans anew
@given(st.floats(1.2, 9.0), st.sampled_from(list(WEIGHTINGS)))
def test_the_planned_number_is_the_smallest(units, how):
    plan = noisy_needed(units * UNIT, SPECTRUM, 0.2, 5_000, how)
    if plan.n_noisy is None:
        assert plan.floor >= units * UNIT
        assert plan.error == plan.floor
        assert plan.clean_needed > 5_000
        return
    assert frechet_error(SPECTRUM, 0.2, 5_000, plan.n_noisy, how) == plan.error <= units * UNIT
    assert frechet_error(SPECTRUM, 0.2, 5_000, plan.n_noisy - 1, how) > units * UNIT


@pytest.mark.parametrize("how", WITH_FLOOR)
def test_the_clean_set_that_is_needed_is_the_smallest(how):
    plan = noisy_needed(0.5 * UNIT, SPECTRUM, 0.2, 5_000, how)
    assert not plan.feasible
    enough, short = plan.clean_needed, plan.clean_needed - 1
    assert frechet_floor(SPECTRUM, 0.2, enough, how) < 0.5 * UNIT
    assert frechet_floor(SPECTRUM, 0.2, short, how) >= 0.5 * UNIT * (1 - 4 * EPS)
    assert noisy_needed(0.5 * UNIT, SPECTRUM, 0.2, 2 * enough, how).feasible
    assert plan.clean_alone == 100_000


def test_enough_clean_samples_need_no_noisy_ones():
    for how in WEIGHTINGS:
        assert noisy_needed(1.001 * UNIT, SPECTRUM, 0.2, 50_000, how).n_noisy == 0


def test_consistency_plans_without_any_clean_sample():
    plan = noisy_needed(UNIT, SPECTRUM, 0.2, 0, "consistency")
    # the sheet's table: all noisy with consistency is 2.78 units at 50000
    assert plan.n_noisy == pytest.approx(50_000 * 2.780817, rel=1e-5)
    assert plan.clean_needed == 0


def test_the_first_crossing_is_found_where_noisy_samples_do_harm_first():
    """A faint direction under the loss: the error rises before it falls."""
    c = np.array([0.002])
    start = frechet_error(c, 0.2, 100, 0)
    assert frechet_error(c, 0.2, 100, 50) > start
    needed = noisy_needed(0.97 * start, c, 0.2, 100).n_noisy
    assert needed is not None
    assert needed > 50
    before = [frechet_error(c, 0.2, 100, n) for n in range(0, needed, needed // 50)]
    assert min(before) > 0.97 * start


@pytest.mark.parametrize("how", list(WEIGHTINGS))
def test_no_other_mix_is_cheaper(how):
    costs, target = (7.0, 1.0), 2 * UNIT
    mix = cheapest_mix(target, SPECTRUM, 0.2, clean_cost=7, noisy_cost=1, weighting=how)
    assert mix.error <= target
    assert mix.error == frechet_error(SPECTRUM, 0.2, mix.n_clean, mix.n_noisy, how)
    assert mix.cost == 7 * mix.n_clean + mix.n_noisy
    for n1 in np.geomspace(1_000, 30_000, 7).astype(int).tolist():
        n2 = noisy_needed(target, SPECTRUM, 0.2, n1, how).n_noisy
        if n2 is not None:
            assert costs[0] * n1 + costs[1] * n2 >= mix.cost - sum(costs)


def test_dear_noisy_samples_are_not_bought():
    mix = cheapest_mix(UNIT, SPECTRUM, 0.2, clean_cost=1, noisy_cost=5)
    assert (mix.n_clean, mix.n_noisy) == (50_000, 0)


def test_cheap_noisy_samples_alone_suffice_consistency():
    mix = cheapest_mix(UNIT, SPECTRUM, 0.2, clean_cost=100, noisy_cost=1, weighting="consistency")
    assert mix.n_clean == 0


C = np.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_price(0 * C, 0.1), "mean_price: c must be positive"),
        (lambda: mean_price(C, -0.1), "mean_price: sigma_n must be finite in"),
        (lambda: variance_price(-C, 0.1), "variance_price: c must be positive"),
        (lambda: variance_price(C, np.nan), "variance_price: sigma_n must be finite in"),
        (lambda: target_price(-C, 0.1, 0.2), "target_price: c must be positive"),
        (lambda: target_price(C, 0.3, 0.2), "target_price: sigma_n must be finite in"),
        (lambda: target_price(C, 0.3, 0.0), "target_price: sigma must be finite in"),
        (lambda: marginal_price(C, 0.3, 0, 1), "n_clean must be above 0"),
        (lambda: marginal_price(C, 0.3, 1, 1, "my"), "weighting must be one of"),
        (lambda: noisy_price(0 * C, 0.3, 1, 1), "spectrum must be not negative, one positive"),
        (lambda: noisy_price(np.ones((2, 2)), 0.3, 1, 1), "spectrum must be of shape"),
        (lambda: noisy_price(C, -0.3, 1, 1), "sigma_n must be finite in"),
        (lambda: noisy_price(C, 0.3, 0, 1), "noisy_price: n_clean must be finite in"),
        (lambda: noisy_price(C, 0.3, 1, -1), "noisy_price: n_noisy must be finite in"),
        (lambda: noisy_price(C, 0.3, 1, 1, "my"), "weighting must be one of"),
        (lambda: frechet_error(np.ones((2, 2)), 0.3, 1, 1), "spectrum must be of shape"),
        (lambda: frechet_floor(np.ones((2, 2)), 0.3, 1), "spectrum must be of shape"),
        (lambda: stopped_variance(-C, 0.3), "c must be not negative"),
        (lambda: stopped_variance(C, -0.3), "sigma_n must be finite in"),
        (lambda: stopped_frechet(-C, 0.3), "spectrum must be not negative"),
        (lambda: stopped_frechet(C, -0.3), "sigma_n must be finite in"),
        (lambda: noisy_needed(0.0, C, 0.3, 1), "target must be finite in"),
        (lambda: noisy_needed(0.1, 0 * C, 0.3, 1), "spectrum must be not negative"),
        (lambda: noisy_needed(0.1, C, -0.3, 1), "sigma_n must be finite in"),
        (lambda: noisy_needed(0.1, C, 0.3, 0), "n_clean must be 1 or more without"),
        (lambda: noisy_needed(0.1, C, 0.3, True), "n_clean must be an integer"),
        (lambda: noisy_needed(0.1, C, 0.3, 1, "my"), "weighting must be one of"),
        (
            lambda: cheapest_mix(0.1, C, 0.3, clean_cost=0, noisy_cost=1),
            "clean_cost must be finite in",
        ),
        (
            lambda: cheapest_mix(0.1, C, 0.3, clean_cost=1, noisy_cost=-1),
            "noisy_cost must be finite in",
        ),
        (
            lambda: cheapest_mix(-0.1, C, 0.3, clean_cost=1, noisy_cost=1),
            "target must be finite in",
        ),
        (
            lambda: cheapest_mix(0.1, C, 0.3, clean_cost=1, noisy_cost=1, weighting="my"),
            "weighting must be one of",
        ),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
