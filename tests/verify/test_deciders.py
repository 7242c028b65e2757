"""Deciders: each accepts a right example, rejects a wrong one, and says when it cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, t

from fewtheory.verify import LEVEL, bound, half_way, identity, law, limit, optimum, order, rate

EPS = np.finfo(np.float64).eps
STEPS = np.array([16, 32, 64, 128])
NAN, INF = math.nan, math.inf


# identity


def test_two_expressions_that_differ_by_rounding_agree(rng):
    x = rng.standard_normal((50, 8))
    scale = np.abs(x).sum(1).max()
    assert identity(x.sum(1), x[:, ::-1].sum(1), operations=16, scale=scale).stands


def test_two_expressions_that_differ_by_more_than_rounding_do_not_agree():
    a = np.array([1.0, 2.0])
    assert identity(a + np.array([0, 16 * EPS]), a, operations=8).stands
    assert not identity(a + np.array([0, 18 * EPS]), a, operations=8).stands


def test_the_scale_is_that_of_the_largest_term():
    assert not identity(1e-9, 0.0, operations=8).stands
    assert identity(1e-9, 0.0, operations=8, scale=[1.0, -1e7]).stands


def test_the_roundings_are_those_of_the_dtype_compared():
    single = float(np.finfo(np.float32).eps)
    assert not identity(np.float32(0.1), 0.1, operations=1).stands
    assert identity(np.float32(0.1), 0.1, operations=1, eps=single).stands


def test_a_number_is_compared_with_every_entry():
    assert identity([1.0, 1.0], 1.0, operations=1).stands
    assert not identity([1.0, 2.0], 1.0, operations=1).stands


@pytest.mark.parametrize("value", [NAN, INF])
def test_one_entry_that_is_no_number_is_no_evidence(value):
    assert not identity([1.0, value], [1.0, 1.0], operations=8).finite


# order


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_an_order_is_accepted_and_its_neighbours_are_not(p):
    errors = 3.0 * STEPS ** -float(p)
    assert order(STEPS, errors, p).stands
    assert not order(STEPS, errors, p - 1).stands
    assert not order(STEPS, errors, p + 1).stands


def test_a_pure_power_gives_its_exponent():
    found = order(STEPS, 0.3 * STEPS**-2.0, 2).measured
    assert found == pytest.approx(2, abs=16 * EPS / math.log(2))  # roundings of two logarithms


@pytest.mark.parametrize("p", [1, 2, 3])
def test_before_the_asymptotics_the_slopes_are_extrapolated(p):
    # h^p (1 + c h) with c h = 1 at the last point: the last slope is p + log2(3/2), beyond half
    # way; extrapolated it is p + 2 log2(3/2) - log2(5/3) = p + 0.43
    h = 1 / STEPS
    errors = h**p * (1 + h / h[-1])
    found = order(STEPS, errors, p)
    assert found.measured == pytest.approx(p + 2 * math.log2(1.5) - math.log2(5 / 3), abs=1e-13)
    assert found.stands
    assert not order(STEPS, errors, p + 1).stands


def test_a_correction_of_the_other_sign_does_not_hide_the_order():
    h = 1 / STEPS
    errors = h**2 * (1 - h / (8 * h[-1]) / 2)
    assert order(STEPS, errors, 2).stands
    assert not order(STEPS, errors, 1).stands


def test_points_where_rounding_rules_are_left_out():
    n = np.array([16, 32, 64, 128, 256, 512])
    errors = np.maximum(1e-8 * (n / 16.0) ** -4, 3e-13)  # stagnates under 1e4 eps
    assert order(n, errors, 4).stands


def test_the_floor_can_be_moved():
    n = np.array([16, 32, 64, 128, 256])
    errors = np.maximum((n / 16.0) ** -2, 1 / 64 + 0 * n)
    assert not order(n, errors, 2).stands
    assert order(n, errors, 2, floor=1 / 64).stands


def test_fewer_than_three_points_above_rounding_are_no_evidence():
    errors = [1e-3, 1e-6, 1e-15, 1e-16]
    assert math.isnan(order(STEPS, errors, 10).measured)
    assert not order(STEPS, errors, 10).finite


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_error_that_is_no_number_is_no_evidence_of_order(value, place):
    steps = np.array([16, 32, 64, 128, 256, 512])  # three good points remain wherever it stands
    errors = steps**-2.0
    errors[place] = value
    assert not order(steps, errors, 2).finite


@pytest.mark.parametrize("steps", [[16, 16, 32, 64], [64, 32, 16, 8], [16, 32, 64]])
def test_steps_increase_and_are_as_many_as_errors(steps):
    with pytest.raises(ValueError, match="order: steps must be increasing, one an error"):
        order(steps, [1.0, 0.5, 0.25, 0.125], 1)


# limit

H = np.array([0.4, 0.2, 0.1, 0.05])


def test_a_limit_is_found_and_another_one_rejected():
    values = np.exp(-H) + H  # 1 + h^2/2 - ...
    assert limit(H, values, 1.0).stands
    assert not limit(H, values, 1.001).stands  # the last of the values is 1.0012


def test_richardson_removes_as_many_powers_as_there_are_points_but_one():
    values = 2.0 + 3 * H - 5 * H**2 + 7 * H**3
    assert limit(H, values, 2.0).measured == pytest.approx(2.0, abs=2e3 * EPS)  # weights add to 90


def test_the_expansion_may_start_at_a_higher_power():
    values = 2.0 + 3 * H**2 - 5 * H**3 + 7 * H**4
    found = limit(H, values, 2.0, next_power=2)
    assert found.measured == pytest.approx(2.0, abs=2e3 * EPS)
    assert abs(limit(H, values, 2.0).measured - 2.0) > 1e-4  # eliminates h, h^2, h^3 only


def test_the_tolerance_bounds_the_error_of_the_extrapolation():
    for f in (np.exp, np.cos, np.sinc, lambda h: 1 / (1 + h)):
        found = limit(H, f(H), float(f(0.0)))
        assert abs(found.measured - found.expected) <= found.tolerance < 0.01


@pytest.mark.parametrize("h", [[0.2, 0.1], [0.1, 0.2, 0.4], [0.4, 0.2, 0.2], [0.4, 0.2, 0.1, 0.05]])
def test_three_or_more_decreasing_steps_one_a_value_are_needed(h):
    with pytest.raises(ValueError, match="limit: h must be three or more, decreasing"):
        limit(h, [1.0] * (3 if len(h) == 4 else len(h)), 1.0)


def test_steps_that_do_not_decrease_by_a_constant_factor_are_refused():
    with pytest.raises(ValueError, match="limit: h must be"):
        limit([0.4, 0.2, 0.15], [1.4, 1.2, 1.15], 1.0)


# bound


@pytest.mark.parametrize(("side", "sign"), [("at most", 1), ("at least", -1)])
def test_the_worst_point_of_an_inequality_is_judged(side, sign):
    values, limits = sign * np.array([1.0, 2.0, 3.0]), sign * np.array([2.0, 2.5, 9.0])
    found = bound(values, limits, side=side)
    assert (found.measured, found.expected) == (sign * 2.0, sign * 2.5)
    assert found.stands
    assert not bound(values + sign * np.array([0, 1, 0]), limits, side=side).stands


def test_a_bound_that_is_attained_stands_within_rounding():
    assert bound([1 + 32 * EPS], [1.0], operations=64).stands
    assert not bound([1 + 66 * EPS], [1.0], operations=64).stands


def test_one_bound_serves_all_points():
    assert bound([0.5, 1.0], 1.0).stands
    assert not bound([0.5, 1.5], 1.0).stands


def test_rounding_at_a_large_bound_does_not_hide_a_violation_at_a_small_one():
    # 1e10 + 1e-5 is within 64 roundings of 1e10 (1.4e-4); 1 + 1e-6 is far outside those of 1
    assert bound([1e10 + 1e-5], [1e10]).stands
    assert not bound([1.0 + 1e-6], [1.0]).stands
    assert not bound([1e10 + 1e-5, 1.0 + 1e-6], [1e10, 1.0]).stands


@pytest.mark.parametrize("side", ["at most", "at least"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_is_never_within_a_bound(side, place):
    values = np.ones(3)
    values[place] = NAN
    found = bound(values, np.ones(3), side=side)
    assert not found.stands
    assert not found.finite


def test_an_unknown_side_is_refused():
    with pytest.raises(ValueError, match="got 'below'"):
        bound([1.0], [2.0], side="below")


# law


def test_the_law_is_accepted_up_to_the_quantile_of_the_level_on_both_sides():
    edge = 1.959963984540054  # of N(0, 1), 2.5 per cent above
    for sign in (-1, 1):
        assert law(sign * edge * (1 - 1e-12), level=0.05).stands
        assert not law(sign * edge * (1 + 1e-12), level=0.05).stands


def test_the_default_is_the_fixed_level():
    edge = law(0.0).tolerance
    assert math.erfc(edge / math.sqrt(2)) == pytest.approx(LEVEL, rel=1e-12)


def test_false_alarms_are_as_many_as_the_level_says(rng):
    draws, level = 20_000, 0.01
    alarms = sum(not law(z, level=level).stands for z in rng.standard_normal(draws))
    low, high = binom.ppf([LEVEL / 2, 1 - LEVEL / 2], draws, level)
    assert low <= alarms <= high


def test_a_statistic_that_is_no_number_is_no_evidence():
    assert not law(NAN).finite


# rate


def noisy(rng, exponent, n=40):
    x = np.geomspace(1, 1000, n)
    return x, 2 * x**exponent * np.exp(0.1 * rng.standard_normal(n))


def test_an_exponent_is_accepted_and_another_one_rejected(rng):
    x, y = noisy(rng, -0.5)
    assert rate(x, y, -0.5).stands
    assert not rate(x, y, -1.0).stands
    assert not rate(x, y, 0.0).stands


def test_the_tolerance_is_the_half_width_of_students_interval(rng):
    x, y = noisy(rng, 1.5)
    found = rate(x, y, 1.5, level=0.01)
    u, v = np.log(x) - np.log(x).mean(), np.log(y) - np.log(y).mean()
    slope = (u @ v) / (u @ u)
    residual = np.sqrt(((v - slope * u) ** 2).sum() / (x.size - 2) / (u @ u))
    assert found.measured == pytest.approx(slope, rel=1e-12)
    assert found.tolerance == pytest.approx(t.isf(0.005, x.size - 2) * residual, rel=1e-9)


def test_the_interval_misses_the_exponent_as_often_as_the_level_says(rng):
    runs, level = 400, 0.1
    missed = sum(not rate(*noisy(rng, 1.0, 6), 1.0, level=level).stands for _ in range(runs))
    low, high = binom.ppf([LEVEL / 2, 1 - LEVEL / 2], runs, level)
    assert low <= missed <= high


# optimum


def test_a_minimum_is_reached_or_not():
    told = {"tolerance": 1e-6, "tolerance_from": "the optimiser's gradient tolerance"}
    assert optimum(1.0 + 5e-7, 1.0, **told).stands
    assert not optimum(1.0 + 2e-6, 1.0, **told).stands
    assert not optimum(1.0 - 2e-6, 1.0, **told).stands


def test_a_known_best_is_beaten_or_not():
    told = {"tolerance": 0.0, "tolerance_from": "no noise"}
    assert optimum(0.5, 1.0, side="at most", **told).stands
    assert not optimum(1.5, 1.0, side="at most", **told).stands
    assert optimum(1.5, 1.0, side="at least", **told).stands


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (identity(1.0, 1.0, operations=1), "identity"),
        (order(STEPS, 1 / STEPS, 1), "order"),
        (limit(H, H, 0.0), "rate"),
        (bound([1.0], 1.0), "bound"),
        (law(0.0), "law"),
        (rate([1, 2, 4, 8], [1, 2.1, 4, 8.1], 1.0), "rate"),
        (optimum(1, 1, tolerance=0, tolerance_from="no noise"), "optimum"),
    ],
)
def test_every_decider_says_its_kind_and_where_the_tolerance_comes_from(made, kind):
    assert made.kind == kind
    assert made.tolerance_from


def test_a_sequence_that_does_not_settle_is_no_limit():
    h = [0.4, 0.2, 0.1, 0.05]
    # grows like 1/h: its last change is of the size of the values, which is no tolerance
    evidence = limit(h, [1 / v for v in h], 60.0)
    assert evidence.finite
    assert not evidence.stands


def test_runs_that_end_where_they_should_are_told_from_a_wrong_formulas_end():
    ends = 1.0 + 0.01 * np.array([-1.0, 1.0, -1.0, 1.0, 0.5, -0.5])
    assert half_way(ends, 1.0, [2.0, 0.2]).stands
    assert not half_way(ends, 1.5, [2.0]).stands
    assert not half_way(ends + 1.0, 1.0, [2.0]).stands


def test_half_of_the_way_to_the_nearest_wrong_end_less_students_interval():
    ends = np.array([0.9, 1.1, 1.0, 1.2])
    unsure = t.ppf(1 - LEVEL / 2, 3) * np.std(ends, ddof=1) / 2
    found = half_way(ends, 1.0, [90.0, -60.0, 80.0])
    assert found.measured == pytest.approx(1.05, rel=1e-14)
    assert found.tolerance == pytest.approx(61 / 2 - unsure, rel=1e-9)


def test_runs_that_scatter_too_much_to_tell_decide_nothing():
    assert half_way([0.0, 2.0], 1.0, [1.5]).tolerance == 0.0
    assert half_way([1.0, 1.0 + 1e-9, 1.0], 1.0, [1.5], kind="rate").kind == "rate"


def test_one_run_is_none():
    with pytest.raises(ValueError, match="half_way: ends must be two or more"):
        half_way([1.0], 1.0, [2.0])
