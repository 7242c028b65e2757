"""Step schedules, their closed forms, and the best allocation."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from fewtheory.metrics import gaussian_kl, gaussian_w2
from fewtheory.paths import RectifiedFlow
from fewtheory.samplers import annealing as a
from fewtheory.samplers import euler
from fewtheory.testbeds import Gaussian, GaussianSequence, exchangeable_cov

EPS = np.finfo(float).eps
FLOW = RectifiedFlow()
STDS = (0.03, 0.3, 1.0, 4.0)

FOUND = {
    "straightness of": lambda s: float(a.straightness(s)),
    "sd ratio of N uniform Euler steps": lambda s, N: float(a.std_ratio(s, N)),
    "limit of N(1-r)": lambda s: float(a.euler_constant(s)),
    "conditional sds": lambda n, rho: a.exchangeable_stds(n, rho),
    "influence of each innovation": lambda n, rho: a.exchangeable_influence(n, rho),
    "steps per autoregressive step, linear": lambda n_ar, upper, lower: a.annealed_steps(
        n_ar, upper, lower
    ),
    "steps per autoregressive step, cosine": lambda n_ar, upper, lower: a.annealed_steps(
        n_ar, upper, lower, "cosine"
    ),
    "steps per autoregressive step, two-stage": lambda n_ar, upper, lower: a.annealed_steps(
        n_ar, upper, lower, "two-stage"
    ),
}
ANSWERS = json.loads((Path(__file__).parents[1] / "data" / "disa.json").read_text())


@pytest.mark.parametrize("entry", ANSWERS, ids=lambda e: e["what"][:50])
def test_an_independent_computation_gives_the_same(entry):
    (function,) = [f for start, f in FOUND.items() if entry["what"].startswith(start)]
    found, expected = np.array(function(**entry["inputs"])), np.array(entry["expected"])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=entry["tolerance"], atol=0)


# schedules


@pytest.mark.parametrize("kind", ["linear", "cosine", "two-stage"])
@pytest.mark.parametrize("n", [2, 3, 16, 64])
def test_a_schedule_falls_from_hi_to_lo(kind, n):
    steps = a.annealed_steps(n, 50, 5, kind)
    assert (steps[0], steps[-1]) == (50, 5)
    assert np.all(np.diff(steps) <= 0)


def test_a_schedule_of_one_step_is_hi_and_the_constant_one_is_lo():
    for kind in ("linear", "cosine", "two-stage"):
        assert a.annealed_steps(1, 50, 5, kind).tolist() == [50]
    assert a.annealed_steps(3, 50, 5, "constant").tolist() == [5, 5, 5]  # as published


def test_the_linear_rule_is_exact_where_floating_point_loses_a_step():
    # up = hi - lo: the rule is hi - i; 26 / 45 * 45 is 25.999999999999996
    assert a.annealed_steps(46, 50, 5).tolist() == list(range(50, 4, -1))
    assert int((45 - 19) / 45 * 45) == 25


@pytest.mark.parametrize(("n", "hi", "lo"), [(64, 50, 5), (5, 25, 15), (5, 50, 15), (4, 50, 15)])
def test_flowars_and_xars_rules_are_the_linear_one(n, hi, lo):
    i, up = np.arange(n), n - 1
    flowar = [int((hi - lo) * (up - j) / up + lo) for j in i]
    xar = [int((up - j) / up * (hi - lo) + lo) for j in i]
    assert flowar == xar == a.annealed_steps(n, hi, lo).tolist()


# closed forms


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
@pytest.mark.parametrize("std", STDS)
def test_the_ratio_is_that_of_the_plans_exact_law(std, steps):
    bed, uniform = Gaussian([0.7], std**2), np.linspace(1, 0, steps + 1)
    for grid, made in (("uniform", uniform), ("equal-angle", a.equal_angle_grid(std, steps))):
        law = euler(FLOW, made).law(bed, start=(0.0, 1.0))
        # a product of N factors; 1/s enters the law's denoiser where the two parts of x cancel
        assert abs(law.std_ratio[0] - a.std_ratio(std, steps, grid)) <= 16 * steps * EPS / min(
            std, 1
        )
        assert abs(law.mean[0] - 0.7) <= 16 * steps * EPS / min(std, 1)


def test_on_the_uniform_grid_s_and_its_inverse_lose_as_much():
    # t -> 1 - t turns the angle of s into a right angle less that of 1 / s
    for s in (0.02, 0.3):
        forth, back = a.std_ratio(s, 12), a.std_ratio(1 / s, 12)
        assert back == pytest.approx(float(forth), rel=64 * EPS)
        assert a.euler_constant(1 / s) == pytest.approx(float(a.euler_constant(s)), rel=8 * EPS)


def test_the_equal_angle_grid_is_the_best_one(rng):
    # no perturbation of its levels comes closer: the angles' cosines have their largest product
    bed, best = Gaussian([0.0], 0.09), a.equal_angle_grid(0.3, 6)
    top = a.std_ratio(0.3, 6, "equal-angle")
    for _ in range(20):
        t = best.t.copy()
        t[1:-1] *= 1 + 0.05 * rng.standard_normal(5)
        other = euler(FLOW, np.sort(t)[::-1]).law(bed, start=(0.0, 1.0)).std_ratio[0]
        assert other < top


def test_a_token_without_spread_is_exact_and_one_step_draws_the_mean():
    assert a.std_ratio([0.0, 1.0], 1).tolist() == [0.0, 0.0]
    assert np.all(np.isfinite(a.std_ratio([0.0, 1e-300], 9)))
    assert a.steps_needed(0.02, 0.0) == 1


def test_the_closed_forms_take_any_shape():
    s = np.array([[0.1, 0.5], [1.0, 2.0]])
    for function in (a.straightness, a.euler_constant, lambda v: a.std_ratio(v, 5)):
        each = [[float(function(v)) for v in row] for row in s]
        np.testing.assert_allclose(function(s), each, rtol=4 * EPS, atol=0)
    assert a.schedule_ratios(s, [3, 4]).shape == (2, 2)
    assert np.array_equal(a.schedule_ratios(s, [3, 4])[1], a.std_ratio(s[1], 4))


def test_the_steps_needed_are_the_least():
    for grid, std in itertools.product(a.GRIDS, (0.05, 0.3, 2.0)):
        n = a.steps_needed(0.02, std, grid)
        assert std * (1 - a.std_ratio(std, n, grid)) <= 0.02
        assert std * (1 - a.std_ratio(std, n - 1, grid)) > 0.02


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_exchangeable_tokens_have_the_cholesky_factor_of_their_covariance(rho):
    bed = GaussianSequence(exchangeable_cov(64, rho))
    bound = 64 * EPS / (1 - rho)  # a factor of 64 rows, divided by the smallest pivot
    np.testing.assert_allclose(a.exchangeable_stds(64, rho), bed.stds, rtol=bound)
    np.testing.assert_allclose(a.exchangeable_influence(64, rho), bed.influence, rtol=bound)


def test_joint_kl_and_coupling_are_those_of_the_two_laws(rng):
    bed, r = GaussianSequence(exchangeable_cov(6, 0.8)), rng.uniform(0.7, 1.1, 6)
    factor = bed.factor * r
    zero, cov = np.zeros(6), factor @ factor.T
    size = 6 * np.linalg.cond(bed.cov)  # of the whitening, in roundings
    assert a.joint_kl(r) == pytest.approx(
        float(gaussian_kl(zero, cov, zero, bed.cov)), abs=64 * EPS * size
    )
    coupling = a.coupling_error(bed.influence, r)
    assert coupling == pytest.approx(np.linalg.norm(factor - bed.factor), rel=64 * EPS)
    assert coupling >= float(gaussian_w2(zero, cov, zero, bed.cov))


# the optimum


@pytest.mark.parametrize("grid", a.GRIDS)
@pytest.mark.parametrize("of", ["coupling", "kl"])
def test_the_allocation_is_the_best_of_all(grid, of):
    stds, influence, budget = np.array([1.0, 0.4, 0.1]), np.array([2.0, 0.7, 0.1]), 14

    def error(steps):
        r = a.schedule_ratios(stds, steps, grid)
        return a.joint_kl(r) if of == "kl" else a.coupling_error(influence, r)

    found = a.optimal_allocation(stds, budget, influence, grid=grid, of=of)
    others = [error([i, j, budget - i - j]) for i in range(1, budget) for j in range(1, budget - i)]
    assert found.sum() == budget
    assert error(found) == min(others)


@pytest.mark.parametrize("grid", a.GRIDS)
@pytest.mark.parametrize("std", [0.005, 0.05, 0.3, 1.0, 3.0])
def test_every_term_is_convex_and_falls_so_that_greedy_is_the_optimum(std, grid):
    r = np.array([float(a.std_ratio(std, n, grid)) for n in range(1, 200)])
    with np.errstate(divide="ignore"):
        terms = ((1 - r) ** 2, ((r**2 - 1) / 2 - np.log(r))[1:])  # the KL is infinite at N = 1
    for term in terms:
        slack = 8 * 200 * EPS * term.max()
        assert np.all(np.diff(term) < slack)
        assert np.all(np.diff(term, 2) > -slack)


def test_tokens_of_several_innovations_share_their_steps():
    # two equal innovations weigh as one of sqrt(2) times the influence
    one = a.optimal_allocation([1.0, 0.4], 20, np.sqrt(2) * np.array([2.0, 0.5]))
    two = a.optimal_allocation([[1.0, 1.0], [0.4, 0.4]], 20, [[2.0, 2.0], [0.5, 0.5]])
    assert one.tolist() == two.tolist()


def test_the_law_of_many_steps_holds_with_unequal_constants():
    stds, influence = np.array([1.0, 0.1, 0.05]), np.array([3.0, 1.0, 0.5])
    law = a.allocation_law(influence, a.euler_constant(stds), 6000)
    found = a.optimal_allocation(stds, 6000, influence)
    # 1 - r = C/N + D/N^2: N is off by about D/C, here at most C's size
    assert np.abs(found - law).max() <= a.euler_constant(stds).max()


BAD = {
    "annealed_steps: n": lambda: a.annealed_steps(0),
    "annealed_steps: lo": lambda: a.annealed_steps(4, 5, 0),
    "annealed_steps: hi": lambda: a.annealed_steps(4, 5, 6),
    "annealed_steps: kind": lambda: a.annealed_steps(4, kind="exponential"),
    "exchangeable_stds: n": lambda: a.exchangeable_stds(0, 0.5),
    "exchangeable_stds: rho": lambda: a.exchangeable_stds(4, 1.0),
    "exchangeable_influence: n": lambda: a.exchangeable_influence(0, 0.5),
    "exchangeable_influence: rho": lambda: a.exchangeable_influence(4, -0.1),
    "straightness: std": lambda: a.straightness(-1.0),
    "euler_constant: std": lambda: a.euler_constant([1.0, 0.0]),
    "std_ratio: std": lambda: a.std_ratio(math.nan, 4),
    "std_ratio: steps": lambda: a.std_ratio(1.0, 0),
    "std_ratio: grid": lambda: a.std_ratio(1.0, 4, "log"),
    "equal_angle_grid: std": lambda: a.equal_angle_grid(0.0, 4),
    "equal_angle_grid: steps": lambda: a.equal_angle_grid(1.0, 0),
    "steps_needed: error": lambda: a.steps_needed(0.0, 1.0),
    "steps_needed: std": lambda: a.steps_needed(0.1, -1.0),
    "steps_needed: grid": lambda: a.steps_needed(0.1, 1.0, "log"),
    "joint_kl: ratios": lambda: a.joint_kl([-0.1]),
    "coupling_error: influence": lambda: a.coupling_error([-1.0], [1.0]),
    "coupling_error: ratios": lambda: a.coupling_error([1.0], [1.0, 1.0]),
    "schedule_ratios: stds": lambda: a.schedule_ratios([-1.0], [2]),
    "schedule_ratios: steps": lambda: a.schedule_ratios([1.0], [2, 3]),
    "optimal_allocation: stds": lambda: a.optimal_allocation([math.inf], 4, [1.0]),
    "optimal_allocation: budget": lambda: a.optimal_allocation([1.0, 1.0], 1, [1.0, 1.0]),
    "optimal_allocation: influence": lambda: a.optimal_allocation([1.0], 4),
    "optimal_allocation: grid": lambda: a.optimal_allocation([1.0], 4, [1.0], grid="log"),
    "optimal_allocation: of": lambda: a.optimal_allocation([1.0], 4, [1.0], of="w2"),
    "allocation_law: influence": lambda: a.allocation_law([0.0], [1.0], 4),
    "allocation_law: constants": lambda: a.allocation_law([1.0], [1.0, 1.0], 4),
    "allocation_law: budget": lambda: a.allocation_law([1.0], [1.0], -4),
}


@pytest.mark.parametrize("named", list(BAD))
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(named):
    with pytest.raises((ValueError, TypeError), match=f"^{named} must be "):
        BAD[named]()


def test_influence_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="influence must be of the shape of stds"):
        a.optimal_allocation([1.0, 0.5], 4, [1.0])
