"""DPM-Solver(++): schedules of orders, stages, special ends, thresholding, and bad arguments."""

import math
from functools import partial

import numpy as np
import pytest

from fewtheory import paths
from fewtheory.model import Model
from fewtheory.plan import Hook, grids
from fewtheory.plan.hooks import dynamic_threshold
from fewtheory.samplers import ddim, dpm_solver_pp, fast_orders
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()
single = partial(dpm_solver_pp, method="singlestep")


@pytest.fixture
def grid(lams):
    return grids.at_lams(VP, lams)


def step_orders(plan):
    """Model outputs that each row of a multistep plan uses."""
    return [int(np.count_nonzero(row)) for row in plan.B[1:]]


def canonical_weights(lam_s, lam_t, stages, solver_type="midpoint"):
    """The singlestep weights on (m_0, m_1, ..) in y = x / alpha, written out from the sheet."""
    h = lam_t - lam_s
    mu = [1 - math.exp(-h), h - 1 + math.exp(-h), h**2 / 2 - h + 1 - math.exp(-h)]
    r = [(v - lam_s) / h for v in stages]
    if len(r) == 1:
        w = mu[0] / (2 * r[0]) if solver_type == "midpoint" else mu[1] / h / r[0]
        return [mu[0] - w, w]
    if solver_type == "midpoint":
        w = mu[1] / (r[1] * h)
        return [mu[0] - w, 0.0, w]
    (r1, r2), d = r, r[1] - r[0]
    slope = [-(r2 / r1 - r1 / r2) / d, r2 / r1 / d, -r1 / r2 / d]
    second = [2 * (1 / r1 - 1 / r2) / d, -2 / r1 / d, 2 / r2 / d]
    w = [mu[1] / h * a + mu[2] / h**2 * b for a, b in zip(slope, second, strict=True)]
    return [mu[0] + w[0], w[1], w[2]]


@pytest.mark.parametrize(
    ("nfe", "order", "expected"),
    [
        (9, 3, [3, 3, 2, 1]),
        (10, 3, [3, 3, 3, 1]),
        (11, 3, [3, 3, 3, 2]),
        (3, 3, [2, 1]),
        (4, 2, [2, 2]),
        (5, 2, [2, 2, 1]),
        (4, 1, [1, 1, 1, 1]),
    ],
)
def test_fast_orders_are_the_repositorys(nfe, order, expected):
    assert fast_orders(nfe, order) == expected


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("nfe", range(3, 30))
def test_fast_orders_spend_the_budget(nfe, order):
    assert sum(fast_orders(nfe, order)) == nfe


def test_a_singlestep_plan_of_fast_orders_costs_its_budget():
    orders = fast_orders(11)
    plan = single(VP, grids.log_snr(VP, len(orders)), 3, orders=orders)
    assert plan.nfe == 11


@pytest.mark.parametrize("solver_type", ["midpoint", "taylor"])
@pytest.mark.parametrize("ratios", [(1 / 3, 2 / 3), (0.25, 0.5), (0.5, 1.0)])
def test_three_stages_have_the_weights_of_the_sheet(solver_type, ratios):
    lam = np.array([-0.6, 0.3])
    plan = single(EDM, grids.at_lams(EDM, lam), 3, solver_type=solver_type, ratios=ratios)
    stages = [lam[0] + r * (lam[1] - lam[0]) for r in ratios]
    expected = canonical_weights(*lam, stages, solver_type)
    np.testing.assert_allclose(plan.lam, [lam[0], *stages, lam[1]], rtol=0, atol=4 * EPS)
    # second differences divide by (r_2 - r_1) r_1 > 1/16, twice
    np.testing.assert_allclose(plan.B[-1], expected, rtol=0, atol=1024 * EPS)


@pytest.mark.parametrize("solver_type", ["midpoint", "taylor"])
@pytest.mark.parametrize("ratio", [0.5, 1 / 3, 1.0])
def test_two_stages_have_the_weights_of_the_sheet(solver_type, ratio):
    lam = np.array([-0.6, 0.3])
    plan = single(EDM, grids.at_lams(EDM, lam), 2, solver_type=solver_type, ratios=(ratio,))
    expected = canonical_weights(*lam, [lam[0] + ratio * 0.9], solver_type)
    np.testing.assert_allclose(plan.B[-1], expected, rtol=0, atol=64 * EPS)


@pytest.mark.parametrize("solver_type", ["midpoint", "taylor"])
def test_a_time_grids_own_points_are_the_stages(solver_type):
    # uniform times are not uniform in lam: r_1, r_2 are not 1/3, 2/3
    grid = grids.uniform(EDM, 6, start=3.0, end=0.3)
    plan = single(EDM, grid, 3, inner="grid", solver_type=solver_type)
    assert plan.lam.tolist() == grid.lam.tolist()
    assert plan.nfe == 6
    ratios = (grid.lam[4:6] - grid.lam[3]) / (grid.lam[6] - grid.lam[3])
    assert np.abs(ratios - [1 / 3, 2 / 3]).min() > 0.05
    expected = canonical_weights(grid.lam[3], grid.lam[6], grid.lam[4:6], solver_type)
    np.testing.assert_allclose(plan.B[-1, 3:], expected, rtol=0, atol=1024 * EPS)


def test_on_a_lam_grid_its_own_points_are_the_usual_stages():
    fine, coarse = grids.at_lams(VP, np.linspace(-2, 2, 7)), grids.at_lams(VP, [-2.0, 0.0, 2.0])
    assert single(VP, fine, 3, inner="grid").distance(single(VP, coarse, 3)) <= 1024 * EPS


def test_orders_split_a_grid_into_steps():
    grid = grids.log_snr(VP, 6)
    plan = single(VP, grid, 3, inner="grid", orders=(3, 2, 1))
    assert plan.lam.tolist() == grid.lam.tolist()
    # each step begins at its own state: rows 3, 5 and 6 end a step
    assert [np.flatnonzero(plan.P[i]).tolist() for i in (3, 5, 6)] == [[0], [3], [5]]


def test_lower_orders_in_between_keep_their_default_stages():
    grid = grids.at_lams(VP, [-2.0, 0.0, 2.0])
    plan = single(VP, grid, 3, orders=(2, 3), ratios=(0.2, 0.9))
    np.testing.assert_allclose(plan.lam, [-2, -1, 0, 0.4, 1.8, 2], rtol=0, atol=8 * EPS)


def test_a_schedule_that_was_written_out_is_not_refined():
    grid = grids.log_snr(VP, 3)
    assert single(VP, grid, 3, orders=(3, 2, 1)).family is None
    assert single(VP, grid, 3, inner="grid").family is None
    assert single(VP, grid, 3).family is not None


def test_multistep_warms_up_and_keeps_its_order(grid):
    assert step_orders(dpm_solver_pp(VP, grid, 3, lower_order_final=False)) == [1, 2, 3, 3, 3, 3, 3]


def test_lower_order_final_goes_down_to_one(grid):
    assert step_orders(dpm_solver_pp(VP, grid, 3, lower_order_final=True)) == [1, 2, 3, 3, 3, 2, 1]


@pytest.mark.parametrize(("steps", "last"), [(9, 1), (10, 2), (20, 2)])
def test_by_default_the_order_goes_down_under_ten_steps(steps, last):
    # the code's cut-off; its documentation says 15
    assert step_orders(dpm_solver_pp(VP, grids.log_snr(VP, steps), 2))[-1] == last


@pytest.mark.parametrize(
    "settings", [{}, {"method": "singlestep"}, {"eta": 1.0}, {"prediction": "noise"}]
)
def test_denoise_to_zero_ends_at_the_denoiser(settings, bimodal, rng):
    grid = grids.at_lams(VP, [-2.0, 0.0, 2.0])
    plain = dpm_solver_pp(VP, grid, 2, lower_order_final=False, **settings)
    plan = dpm_solver_pp(VP, grid, 2, lower_order_final=False, denoise_to_zero=True, **settings)
    assert plan.nfe == plain.nfe + 1
    assert plan.sigma[-1] == 0.0
    x, model = rng.standard_normal((4, 1)), bimodal.model(VP, "data")
    before, after = (p.run(model, x, np.random.default_rng(1)) for p in (plain, plan))
    expected = model(before, float(plain.t[-1]))
    np.testing.assert_allclose(after, expected, rtol=0, atol=1024 * EPS * 12 * np.abs(x).max())


def test_a_grid_that_ends_clean_needs_no_denoising_step():
    grid = grids.log_snr(VP, 3).to_clean()
    assert dpm_solver_pp(VP, grid, denoise_to_zero=True).nfe == dpm_solver_pp(VP, grid).nfe == 4


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_from_pure_noise_the_first_step_is_the_denoisers(order, method, rng):
    # alpha_T = 0: h is infinite, x_T is noise, and x_t = alpha_t x0hat + sigma_t x_T
    grid = grids.at_lams(RF, [-math.inf, -1.0, 0.0, 1.0])
    plan = dpm_solver_pp(RF, grid, order, method=method, lower_order_final=False)
    x, seen = rng.standard_normal((3, 1)), {}
    model = Model(lambda x, t: 0 * x + 0.25, RF, "data")
    out = plan.run(model, x, callback=lambda i, u: seen.update({i: u}))
    alpha, sigma = RF.level(-1.0)
    np.testing.assert_allclose(seen[1], alpha * 0.25 + sigma * x, rtol=0, atol=8 * EPS * 3)
    alpha, sigma = RF.level(1.0)  # point masses are exact all the way
    np.testing.assert_allclose(out, alpha * 0.25 + sigma * x, rtol=0, atol=256 * EPS * 3)


def test_from_pure_noise_the_third_evaluation_is_the_first_to_be_differenced():
    grid = grids.at_lams(RF, [-math.inf, -1.0, 0.0, 1.0, 2.0])
    assert step_orders(dpm_solver_pp(RF, grid, 3, lower_order_final=False)) == [1, 1, 2, 3]


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_the_noise_form_cannot_start_at_pure_noise(method):
    # it divides by alpha_s = 0
    grid = grids.at_lams(RF, [-math.inf, -1.0, 0.0])
    with pytest.raises(ValueError, match=r"dpm_solver_pp: grid must be .*"):
        dpm_solver_pp(RF, grid, prediction="noise", method=method)


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
def test_of_first_order_noise_and_data_are_one_sampler(grid, method):
    one = dpm_solver_pp(VP, grid, 1, method=method, prediction="noise")
    assert one.prediction == "noise"
    assert one.distance(ddim(VP, grid)) <= 256 * EPS * 12


@pytest.mark.parametrize("method", ["multistep", "singlestep"])
@pytest.mark.parametrize("order", [2, 3])
def test_of_higher_order_they_are_two(grid, method, order):
    data, noise = (
        dpm_solver_pp(VP, grid, order, method=method, prediction=p) for p in ("data", "noise")
    )
    assert data.distance(noise) > 1e-2


@pytest.mark.parametrize("order", [2, 3])
def test_the_noise_form_is_exact_for_noise_that_is_a_polynomial_in_lam(order, rng):
    # x_t = (alpha_t / alpha_s) x - sigma_t int e^{h - tau} eps, exact for eps of degree p - 1
    h, lam = 0.7, np.array([-1.0, -0.4, 0.1, 0.8])
    powers = rng.standard_normal(order)
    grid = grids.at_lams(VP, lam)
    plan = dpm_solver_pp(
        VP, grid, order, prediction="noise", solver_type="taylor", lower_order_final=False
    )
    row = sum(plan.B[3, j] * np.polyval(powers, lam[j] - lam[2]) for j in range(3))
    tau, w = np.polynomial.legendre.leggauss(20)
    tau, w = h * (tau + 1) / 2, h * w / 2
    exact = -grid[3].sigma * (w @ (np.exp(h - tau) * np.polyval(powers, tau)))
    assert row == pytest.approx(exact, abs=256 * EPS * np.abs(powers).sum())


def test_the_published_third_order_rule_differs_by_half_a_second_difference(grid):
    one, two = (
        dpm_solver_pp(VP, grid, 3, repaired=r, lower_order_final=False) for r in (True, False)
    )
    assert np.array_equal(one.B[:3], two.B[:3])  # the first two steps are the same
    gap = one.B[3] - two.B[3]
    # a second difference sees neither a constant nor a line in lam
    assert gap.sum() == pytest.approx(0, abs=64 * EPS)
    assert gap @ grid.lam[:-1] == pytest.approx(0, abs=64 * EPS * 3)
    assert np.abs(gap).max() > 1e-3


@pytest.mark.parametrize("eta", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_noise_of_every_eta_keeps_point_masses_exact(grid, eta, order):
    plan = dpm_solver_pp(VP, grid, order, eta=eta)
    alpha, sigma = plan.believed_levels()
    np.testing.assert_allclose(alpha, plan.alpha, rtol=0, atol=1024 * EPS * 12)
    np.testing.assert_allclose(sigma, plan.sigma, rtol=0, atol=1024 * EPS * 12)


def test_the_noise_sde_adds_the_variance_of_the_sheet():
    # sheet dpm-solver-pp, C5: 2 (rho_s - rho_t)^2 too much on a point mass, in y = x / alpha
    grid = grids.at_lams(EDM, [-0.5, 0.4])
    plan = dpm_solver_pp(EDM, grid, 1, prediction="noise", eta=1.0)
    law = plan.law(Gaussian([0.3], 0.0))
    rho_s, rho_t = math.exp(0.5), math.exp(-0.4)
    assert law.variance[0] == pytest.approx(rho_t**2 + 2 * (rho_s - rho_t) ** 2, rel=64 * EPS)


def test_a_step_that_adds_no_noise_draws_none(lams):
    # at sigma = 0 the last step of the SDE is the denoiser
    plan = dpm_solver_pp(VP, grids.at_lams(VP, lams).to_clean(), 1, eta=1.0)
    assert plan.C.shape[1] == plan.nfe - 1


def test_thresholding_clips_the_data_prediction(rng):
    grid = grids.at_lams(EDM, [-1.0, 1.0])
    plan = dpm_solver_pp(EDM, grid, 1, thresholding=True)
    assert not plan.linear
    assert plan.hooks == (Hook("dynamic_threshold", {"ratio": 0.995, "max_value": 1.0}),)
    x, ratio = 3 * rng.standard_normal((2, 50)), math.exp(-2)
    out = plan.run(Model(lambda x, t: 2 * x, EDM, "data"), x)
    expected = ratio * x + (1 - ratio) * dynamic_threshold(2 * x)
    np.testing.assert_allclose(out, expected, rtol=0, atol=16 * EPS * np.abs(x).max())


def test_thresholding_takes_settings_of_its_own(grid):
    hook = Hook("static_threshold", {"max_value": 2.0})
    assert dpm_solver_pp(VP, grid, thresholding=hook).hooks == (hook,)


def test_the_settings_are_kept_and_make_the_same_plan_again(grid):
    plan = dpm_solver_pp(VP, grid, 3, method="singlestep", solver_type="taylor", ratios=(0.3, 0.6))
    again = dpm_solver_pp(VP, grid, **plan.settings)
    assert plan.distance(again) == 0.0
    assert again.settings == plan.settings


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("order", "settings", "named"),
    [
        (0, {}, "order"),
        (4, {}, "order"),
        (2.5, {}, "order"),
        (True, {}, "order"),
        ("2", {}, "order"),
        (2, {"prediction": "v"}, "prediction"),
        (2, {"method": "heun"}, "method"),
        (2, {"solver_type": "heun"}, "solver_type"),
        (2, {"inner": "time"}, "inner"),
        (2, {"lower_order_final": "yes"}, "lower_order_final"),
        (2, {"eta": -1.0}, "eta"),
        (2, {"eta": math.nan}, "eta"),
        (2, {"eta": 1.0, "method": "singlestep"}, "eta"),
        (2, {"orders": (2, 1)}, "orders"),
        (2, {"ratios": (0.5,)}, "ratios"),
        (3, {"method": "singlestep", "orders": (3, 2)}, "orders"),
        (2, {"method": "singlestep", "orders": (2, 2, 2, 2, 2, 2, 3)}, "orders"),
        (2, {"method": "singlestep", "orders": (2, 2, 2, 2, 2, 2, 0)}, "orders"),
        (3, {"method": "singlestep", "inner": "grid"}, "orders"),
        (3, {"method": "singlestep", "inner": "grid", "orders": (3, 3)}, "orders"),
        (3, {"method": "singlestep", "ratios": (0.7, 0.3)}, "ratios"),
        (3, {"method": "singlestep", "ratios": (0.0, 0.5)}, "ratios"),
        (3, {"method": "singlestep", "ratios": (0.5, 1.5)}, "ratios"),
        (3, {"method": "singlestep", "ratios": (0.5, 0.5)}, "ratios"),
        (3, {"method": "singlestep", "ratios": (0.5,)}, "ratios"),
        (3, {"method": "singlestep", "ratios": (math.nan, 0.5)}, "ratios"),
        (2, {"inner": "grid"}, "inner"),
        (2, {"thresholding": True, "prediction": "noise"}, "thresholding"),
        (2, {"thresholding": "dynamic"}, "thresholding"),
    ],
)
def test_a_bad_argument_is_named(grid, order, settings, named):
    with pytest.raises((ValueError, TypeError), match=f"dpm_solver_pp: {named} must be "):
        dpm_solver_pp(VP, grid, order, **settings)


@pytest.mark.parametrize(("nfe", "order"), [(0, 1), (1, 2), (2, 3), (9, 4), (9, 0)])
def test_a_budget_that_buys_no_step_is_named(nfe, order):
    with pytest.raises(ValueError, match=r"fast_orders: (nfe|order) must be "):
        fast_orders(nfe, order)
