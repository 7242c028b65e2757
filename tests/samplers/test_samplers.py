"""What every sampler must do, looped over the variants that the samplers state of themselves."""

import math

import numpy as np
import pytest

from fewtheory import arrays, paths, samplers
from fewtheory.plan import VARIANTS, grids
from fewtheory.testbeds import Gaussian, ProductMixture, mixture_1d

EPS = np.finfo(np.float64).eps
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()


def over(variants):
    return pytest.mark.parametrize("variant", list(variants), ids=lambda v: v.name)


def own(variant):
    """A path in whose time the variant is itself: on EDM's, time is rho."""
    return EDM if variant.own_time else VP


every_variant = over(VARIANTS)
in_lam = over(v for v in VARIANTS if not v.own_time)


@pytest.fixture
def grid(lams):
    return grids.at_lams(VP, lams)


@pytest.fixture
def run(rng):
    """Runs a plan on a testbed and a path, from points of the size of the first level."""

    def run(plan, bed, path, y, seed=3):
        alpha, _ = path.level(float(plan.lam[0]))
        out = plan.run(bed.model(path, "data"), alpha * y, np.random.default_rng(seed))
        return out / path.level(float(plan.lam[-1]))[0]

    return run


def rounding(plan, bed, y):
    """eps, times what a run multiplies it with: coefficients, nodes, the denoiser's slope."""
    tab = plan.canonical()
    slope = 1 / bed.stds[bed.weights > 0].min() ** 2
    size = np.abs(tab.B).max() + np.exp(-plan.lam[0])
    return 64 * EPS * plan.nodes * size * slope * (1 + np.abs(y).max())


@every_variant
def test_a_variant_costs_what_it_says(variant, grid):
    plan = variant(VP, grid)
    assert plan.nfe == variant.per_step * grid.steps
    assert plan.stochastic == variant.stochastic
    assert plan.dead_evaluations() == []


@every_variant
def test_the_output_is_at_the_grids_last_level(variant, grid):
    plan = variant(VP, grid)
    assert (plan.lam[0], plan.lam[-1]) == (grid.lam[0], grid.lam[-1])
    assert (plan.t[0], plan.t[-1]) == (grid.t[0], grid.t[-1])


@in_lam
def test_the_sampler_of_every_path_is_one_sampler(variant, path, grid):
    here, there = variant(VP, grid), variant(path, grid.on(path))
    # lam survives a time of the path to eps over the slope of t in lam; canonical sizes below
    size = (1 + np.abs(here.canonical().B).max()) * np.exp(-grid.lam[0]) * here.nodes
    assert there.distance(here) <= 256 * EPS * size


@every_variant
def test_a_run_does_not_depend_on_the_models_path(variant, path, grid, bimodal, run, rng):
    plan, y = variant(VP, grid), 12 * rng.standard_normal((6, 1))
    found, expected = run(plan, bimodal, path, y), run(plan, bimodal, VP, y)
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(plan, bimodal, y))


@every_variant
def test_a_run_does_not_depend_on_the_array_library(variant, grid, asarray, bimodal, rng):
    plan, x, model = variant(VP, grid), rng.standard_normal((6, 1)), bimodal.model(VP)
    found = plan.run(model, asarray(x), np.random.default_rng(3))
    assert type(found) is type(asarray(x))
    expected = plan.run(model, x, np.random.default_rng(3))
    bound = rounding(plan, bimodal, x / VP.level(float(plan.lam[0]))[0])
    np.testing.assert_allclose(arrays.to_numpy(found), expected, rtol=0, atol=bound)


@every_variant
def test_point_masses_are_sampled_exactly_where_the_variant_says_so(variant, lams):
    plan = variant(own(variant), grids.at_lams(own(variant), lams))
    alpha, sigma = plan.believed_levels()
    bound = 64 * EPS * plan.nodes * np.exp(-lams[0]) * (1 + np.abs(plan.canonical().B).max())
    off = max(np.abs(alpha - plan.alpha).max(), np.abs(sigma - plan.sigma).max())
    assert (off <= bound) == variant.point_exact


@over(v for v in VARIANTS if not v.stochastic)  # the noises would have to be rotated too
def test_a_rotation_of_the_data_rotates_the_sample(variant, grid, rotated, run, rng):
    plan, z = variant(VP, grid), 12 * rng.standard_normal((4, 3))
    plain = ProductMixture(rotated.weights, rotated.means, rotated.stds)
    R = rotated.rotation
    found, expected = run(plan, rotated, VP, z @ R.T), run(plan, plain, VP, z) @ R.T
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(plan, rotated, z))


@every_variant
def test_a_shift_of_the_data_shifts_the_sample(variant, lams, bimodal, run, rng):
    # because the mean of a point mass is sampled exactly: u_i -> u_i + alpha_i c
    plan = variant(own(variant), grids.at_lams(own(variant), lams))
    y, c = 12 * rng.standard_normal((6, 1)), 0.7
    moved = mixture_1d(bimodal.weights, bimodal.means + c, bimodal.stds)
    found, expected = run(plan, moved, VP, y + c), run(plan, bimodal, VP, y) + c
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(plan, bimodal, y))


@every_variant
def test_a_change_of_units_changes_the_units_of_the_sample(variant, bimodal, run, rng):
    # on alpha = 1: data k times as large with k times the noise
    k, lams = 4.0, np.array([-1.5, -0.7, 0.1, 1.2, 2.0])
    large = mixture_1d(bimodal.weights, k * bimodal.means, k * bimodal.stds)
    small_plan = variant(EDM, grids.at_lams(EDM, lams))
    large_plan = variant(EDM, grids.at_lams(EDM, lams - math.log(k)))
    y = 4 * rng.standard_normal((6, 1))
    found = large_plan.run(large.model(EDM), k * y, np.random.default_rng(3))
    expected = k * small_plan.run(bimodal.model(EDM), y, np.random.default_rng(3))
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=k * rounding(small_plan, bimodal, k * y)
    )


@over(v for v in VARIANTS if not v.stochastic)
@pytest.mark.usefixtures("own_checks")  # many nodes: the type checker is slow
def test_more_steps_come_closer_to_the_flow(variant, bimodal):
    path, errors = own(variant), []
    for n in (8, 64):
        plan = variant(path, grids.at_lams(path, np.linspace(-3, 3, n + 1)))
        x = bimodal.at(path, float(plan.t[0])).quantile((np.arange(9)[:, None] + 0.5) / 9)
        exact = bimodal.flow(path)(x, float(plan.t[0]), float(plan.t[-1]))
        errors.append(np.abs(plan.run(bimodal.model(path), x) - exact).max())
    assert errors[1] <= errors[0] / 4  # 8 times the steps, at least order 1


@over(v for v in VARIANTS if v.stochastic)
def test_more_steps_come_closer_to_the_law(variant):
    bed = Gaussian([1.0], 0.25)
    few, many = (
        variant(VP, grids.at_lams(VP, np.linspace(-3, 2, n + 1))).law(bed).w2 for n in (8, 64)
    )
    assert many <= few / 4  # 8 times the steps, at least order 1


@every_variant
def test_a_sampler_takes_times_as_well_as_a_grid(variant):
    one = variant(VP, [0.9, 0.5, 0.2, 0.05])
    two = variant(VP, grids.at_times(VP, [0.9, 0.5, 0.2, 0.05]))
    assert one.distance(two) == 0.0


@every_variant
@pytest.mark.usefixtures("own_checks")
def test_a_grid_that_is_none_is_named(variant):
    with pytest.raises(ValueError, match="t must be one-dimensional and strictly decreasing"):
        variant(VP, [0.1, 0.5])
    with pytest.raises(TypeError, match="path must be a Path"):
        variant("vp", [0.5, 0.1])


@over(v for v in VARIANTS if v.denoises)
def test_a_last_step_to_clean_data_gives_the_denoiser_of_the_last_level(variant, bimodal, rng):
    # order 1 is all that a step of infinite length in lam has
    path = own(variant)
    plan, seen = variant(path, grids.at_lams(path, [-2.0, 0.0, 2.0, math.inf])), {}
    assert plan.sigma[-1] == 0.0
    x = rng.standard_normal((5, 1)) * path.level(-2.0)[1]
    model = bimodal.model(path, "data")
    out = plan.run(model, x, np.random.default_rng(1), callback=lambda i, u: seen.update({i: u}))
    last = plan.nodes - 2
    expected = model(seen[last], float(plan.t[last]))
    np.testing.assert_allclose(out, expected, rtol=0, atol=rounding(plan, bimodal, x))


def test_unipc_asks_for_a_grid_that_ends_above_zero():
    with pytest.raises(ValueError, match="unipc: grid must be one that ends at sigma > 0"):
        samplers.unipc(VP, grids.log_snr(VP, 4).to_clean())


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda g: samplers.ddim(VP, g, eta=-0.1), "ddim: eta"),
        (lambda g: samplers.ddim(VP, g, eta=1.1), "ddim: eta"),
        (lambda g: samplers.ddim(VP, g, eta=math.nan), "ddim: eta"),
        (lambda g: samplers.deis(VP, g, -1), "deis: degree"),
        (lambda g: samplers.deis(VP, g, 4), "deis: degree"),
        (lambda g: samplers.deis(VP, g, fit="log_snr"), "deis: fit"),
        (lambda g: samplers.deis(VP, g, warmup="heun"), "deis: warmup"),
        (lambda g: samplers.ipndm(VP, g, 0), "ipndm: order"),
        (lambda g: samplers.ipndm(VP, g, 5), "ipndm: order"),
        (lambda g: samplers.runge_kutta(VP, g, time="lam"), "runge_kutta: time"),
        (lambda g: samplers.edm_stochastic(VP, g, s_churn=-1.0), "edm_stochastic: s_churn"),
        (lambda g: samplers.edm_stochastic(VP, g, s_min=math.nan), "edm_stochastic: s_min"),
        (lambda g: samplers.edm_stochastic(VP, g, s_min=2.0, s_max=1.0), "edm_stochastic: s_max"),
        (lambda g: samplers.edm_stochastic(VP, g, s_noise=-1.0), "edm_stochastic: s_noise"),
        (lambda g: samplers.runge_kutta(VP, g, method="rk5"), "runge_kutta: method"),
        (lambda g: samplers.unipc(VP, g, 4), "unipc: order"),
        (lambda g: samplers.unipc(VP, g, bh="bh3"), "unipc: bh"),
        (lambda g: samplers.unipc(VP, g, prediction="v"), "unipc: prediction"),
    ],
)
def test_a_bad_argument_is_named(grid, call, named):
    with pytest.raises(ValueError, match=f"{named} must be "):
        call(grid)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_is_the_first_order_dpm_solver(grid, eta):
    # eta of DDIM scales the posterior's std, that of the SDE family the noise: equal at 0 and 1
    ddim, dpm = samplers.ddim(VP, grid, eta=eta), samplers.dpm_solver_pp(VP, grid, 1, eta=eta)
    assert (ddim.distance(dpm) <= 256 * EPS * 12) == (eta in (0.0, 1.0))


@pytest.mark.parametrize("fit", ["t", "rho", "log_rho"])
def test_deis_of_degree_zero_is_ddim(grid, fit):
    assert samplers.deis(VP, grid, 0, fit=fit).distance(samplers.ddim(VP, grid)) <= 256 * EPS * 12


def test_euler_on_the_straight_paths_is_ddim(lams):
    reference = samplers.ddim(VP, grids.at_lams(VP, lams))
    for path in (EDM, RF):
        assert samplers.euler(path, grids.at_lams(path, lams)).distance(reference) <= 256 * EPS * 12


def test_heun_is_runge_kuttas_heun(lams):
    grid = grids.at_lams(EDM, lams)
    assert samplers.heun(EDM, grid).distance(samplers.runge_kutta(EDM, grid, method="heun")) == 0.0


def test_unip_of_order_two_is_2m(grid):
    one = samplers.unipc(VP, grid, 2, corrector=False)
    assert (
        one.distance(samplers.dpm_solver_pp(VP, grid, 2, lower_order_final=False)) <= 256 * EPS * 12
    )
