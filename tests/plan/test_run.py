"""Running a plan: one loop for every path, prediction, array library, precision and event."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewtheory import arrays, paths, samplers
from fewtheory.model import PREDICTIONS, Level, Model
from fewtheory.plan import Hook, Plan, Trace, grids
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()


@pytest.fixture
def grid(lams):
    return grids.at_lams(VP, lams)


@pytest.fixture
def plan(grid):
    return samplers.dpm_solver_pp(VP, grid, 2, lower_order_final=False)


@pytest.fixture
def stochastic(grid):
    return samplers.dpm_solver_pp(VP, grid, 2, eta=1.0, lower_order_final=False)


def amplification(plan):
    """The largest coefficient in the canonical tableau, times the nodes: what rounding grows by."""
    tab = plan.canonical()
    return plan.nodes * (1 + np.abs(tab.B).max()) * np.exp(-plan.lam[0])


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_all_paths_and_predictions_give_one_sample(plan, path, prediction, bimodal, rng):
    y = 0.3 + 12 * rng.standard_normal((16, 1))  # x / alpha at the first level
    reference = plan.run(bimodal.model(VP, "data"), plan.alpha[0] * y) / plan.alpha[-1]
    alpha, _ = path.level(float(plan.lam[0]))
    found = (
        plan.run(bimodal.model(path, prediction), alpha * y) / path.level(float(plan.lam[-1]))[0]
    )
    # each evaluation is off by eps |x| / alpha, times the slope of the denoiser, at most 1 / std^2
    bound = 64 * EPS * amplification(plan) * np.abs(y).max() / bimodal.stds.min() ** 2
    np.testing.assert_allclose(found, reference, rtol=0, atol=bound)


def test_a_run_is_the_formula_of_its_paper(bimodal, rng):
    # DDIM by hand on the EDM path, where x_t = x0hat + sigma_t / sigma_s (x - x0hat)
    grid, model, x = (
        grids.at_times(EDM, [20.0, 3.0, 0.5]),
        bimodal.model(EDM, "data"),
        rng.standard_normal((9, 1)),
    )
    u = 20 * x
    for s, t in ((20.0, 3.0), (3.0, 0.5)):
        u = model(u, s) + t / s * (u - model(u, s))
    found = samplers.ddim(EDM, grid).run(model, 20 * x)
    np.testing.assert_allclose(found, u, rtol=0, atol=64 * EPS * 20 * np.abs(x).max())


def test_every_backend_gives_numpys_sample(plan, asarray, bimodal, rng):
    x = rng.standard_normal((8, 1))
    model = bimodal.model(VP, "noise")
    found = plan.run(model, asarray(x))
    assert type(found) is type(asarray(x))
    bound = 64 * EPS * amplification(plan) * np.abs(x).max() / bimodal.stds.min() ** 2
    np.testing.assert_allclose(arrays.to_numpy(found), plan.run(model, x), rtol=0, atol=bound)


def test_a_batch_is_a_loop_over_its_samples(plan, rotated, rng):
    x, model = rng.standard_normal((5, 3)), rotated.model(VP)
    alone = np.concatenate([plan.run(model, x[i : i + 1]) for i in range(5)])
    bound = 64 * EPS * amplification(plan) * np.abs(x).max() / rotated.stds.min() ** 2
    np.testing.assert_allclose(plan.run(model, x), alone, rtol=0, atol=bound)


def test_no_samples_are_no_samples(plan, bimodal):
    assert plan.run(bimodal.model(VP), np.zeros((0, 1))).shape == (0, 1)


def test_an_image_is_a_batch_of_pixels(plan, asarray, rng):
    x = rng.standard_normal((2, 3, 8, 8))
    pixels = Gaussian([0.5], 0.2)

    def denoise(x, t):  # the same Gaussian for every pixel, in any shape
        level = Level.at(VP, t)
        gain = level.alpha * 0.2 / (level.alpha**2 * 0.2 + level.sigma**2)
        return 0.5 + gain * (x - level.alpha * 0.5)

    found = plan.run(Model(denoise, VP, "data"), asarray(x))
    flat = plan.run(pixels.model(VP, "data"), x.reshape(-1, 1)).reshape(x.shape)
    assert tuple(found.shape) == x.shape
    bound = 64 * EPS * amplification(plan) * np.abs(x).max() * 10
    np.testing.assert_allclose(arrays.to_numpy(found), flat, rtol=0, atol=bound)


@pytest.mark.parametrize("kind", [lambda x: x.astype(np.float16), lambda x: torch.tensor(x).half()])
def test_a_half_precision_state_is_updated_in_single_precision(kind):
    # 1000 steps x_t = (1 - 1e-4) x_s, each too small for half precision to notice
    t = 10.0 * (1 - 1e-4) ** np.arange(1001)
    plan = samplers.ddim(EDM, grids.at_times(EDM, t))
    seen = []

    def nothing(x, t):
        seen.append(x.dtype)
        return 0 * x

    x = kind(np.ones((2, 1)))
    out = plan.run(Model(nothing, EDM, "data"), x)
    assert out.dtype == x.dtype
    assert set(seen) == {x.dtype}  # the model gets what it was given
    exact = t[-1] / t[0]  # 0.905
    bound = np.finfo(np.float16).eps + 1000 * np.finfo(np.float32).eps
    np.testing.assert_allclose(np.asarray(out, dtype=np.float64), exact, rtol=0, atol=bound)


def test_bfloat16_is_a_half_precision_too(plan):
    x = torch.ones((2, 1), dtype=torch.bfloat16)
    out = plan.run(Model(lambda x, t: 0.5 * x, VP, "data"), x)
    assert out.dtype == torch.bfloat16


def test_single_precision_stays_single(plan, asarray, rng):
    x = rng.standard_normal((3, 1)).astype(np.float32)
    model = Model(lambda x, t: 0.5 * x, VP, "noise")
    found = plan.run(model, asarray(x))
    assert found.dtype == asarray(x).dtype
    exact = plan.run(model, x.astype(np.float64))
    bound = 16 * np.finfo(np.float32).eps * amplification(plan) * np.abs(x).max()
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=0, atol=bound)


def test_the_callers_array_is_left_alone(plan, asarray, bimodal):
    x = asarray(np.ones((2, 1)))
    plan.run(bimodal.model(VP), x)
    assert np.array_equal(arrays.to_numpy(x), np.ones((2, 1)))


def test_the_models_outputs_are_left_alone(plan):
    given = []

    def model(x, t):
        given.append((0.5 * x, (0.5 * x).copy()))
        return given[-1][0]

    plan.run(Model(model, VP, "data"), np.ones((2, 1)))
    assert all(np.array_equal(kept, before) for kept, before in given)


def test_gradients_flow_through_a_run(plan):
    # on Gaussian data the output is A x + const, and A is the output's std over the start's
    bed = Gaussian([1.0], 0.25)
    x = torch.tensor([[0.3], [2.0]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(plan.run(bed.model(VP), x).sum(), x)
    law = plan.law(bed)
    start = math.sqrt(plan.alpha[0] ** 2 * 0.25 + plan.sigma[0] ** 2)
    slope = math.sqrt(law.variance[0]) / start
    np.testing.assert_allclose(grad, slope, rtol=64 * EPS * amplification(plan))


@pytest.mark.parametrize("transform", ["jvp", "grad"])
def test_functional_transforms_see_through_a_run(plan, transform):
    bed, x = Gaussian([1.0], 0.25), torch.tensor([[0.3], [2.0]], dtype=torch.float64)
    model = bed.model(VP)
    if transform == "jvp":
        _, found = torch.func.jvp(lambda x: plan.run(model, x), (x,), (torch.ones_like(x),))
    else:
        found = torch.func.grad(lambda x: plan.run(model, x).sum())(x)
    start = math.sqrt(plan.alpha[0] ** 2 * 0.25 + plan.sigma[0] ** 2)
    slope = math.sqrt(plan.law(bed).variance[0]) / start
    np.testing.assert_allclose(found, slope, rtol=64 * EPS * amplification(plan))


def test_gradients_reach_the_models_parameters(plan):
    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x = torch.ones((1, 1), dtype=torch.float64)

    def out(w):
        return plan.run(Model(lambda x, t: torch.tanh(w * x), VP, "data"), x)

    assert torch.autograd.gradcheck(out, (w,))


def test_a_stochastic_plan_needs_a_generator(stochastic, bimodal):
    with pytest.raises(
        ValueError, match=r"Plan.run: rng must be given: 'dpm_solver_pp' draws noise"
    ):
        stochastic.run(bimodal.model(VP), np.zeros((1, 1)))


@pytest.mark.parametrize("rng", [0, "seed", np.random.RandomState(0)])
def test_what_is_no_generator_is_refused_before_the_model_is_called(stochastic, rng):
    calls = []
    model = Model(lambda x, t: calls.append(t) or 0 * x, VP, "data")
    with pytest.raises(
        TypeError, match=r"rng must be a numpy.random.Generator or a torch.Generator"
    ):
        stochastic.run(model, np.zeros((1, 1)), rng)
    assert calls == []


def test_one_seed_is_one_sample(stochastic, asarray, bimodal, rng):
    x, model = rng.standard_normal((4, 1)), bimodal.model(VP)
    one, two = (
        arrays.to_numpy(stochastic.run(model, v, np.random.default_rng(5))) for v in (x, asarray(x))
    )
    bound = 64 * EPS * amplification(stochastic) * 20 / bimodal.stds.min() ** 2
    np.testing.assert_allclose(one, two, rtol=0, atol=bound)
    assert not np.allclose(one, stochastic.run(model, x, np.random.default_rng(6)))


def test_a_stochastic_plan_gives_one_sample_on_every_path(stochastic, path, bimodal, rng):
    y = 12 * rng.standard_normal((8, 1))
    found = [
        stochastic.run(
            bimodal.model(p, "data"),
            p.level(float(stochastic.lam[0]))[0] * y,
            np.random.default_rng(1),
        )
        / p.level(float(stochastic.lam[-1]))[0]
        for p in (VP, path)
    ]
    bound = 64 * EPS * amplification(stochastic) * np.abs(y).max() / bimodal.stds.min() ** 2
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=bound)


def test_noises_have_unit_variance_and_are_independent(lams):
    trace = Trace(samplers.ddim, VP, grids.at_lams(VP, lams[:2]))
    plan = trace.plan(0.0 * trace.start + 3.0 * trace.noise() + 4.0 * trace.noise())
    x = plan.run(
        Model(lambda x, t: x, VP, "data"), np.zeros((100_000, 1)), np.random.default_rng(3)
    )
    total = float((x**2).sum()) / 25  # chi-square of 100,000 degrees, if the two are independent
    assert abs(total - 1e5) / math.sqrt(2e5) < 4.9  # two-sided level 1e-6


def test_a_deterministic_plan_draws_nothing(plan, bimodal, rng):
    before = rng.bit_generator.state
    plan.run(bimodal.model(VP), np.zeros((1, 1)), rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_hooks_act_on_the_data_prediction(grid, prediction, bimodal, rng):
    # as if the denoiser itself were clipped
    plan = samplers.dpm_solver_pp(
        VP, grid, 2, thresholding=Hook("static_threshold", {"max_value": 0.9})
    )
    denoiser, x = bimodal.model(VP, "data"), rng.standard_normal((9, 1))
    clipped = Model(lambda x, t: np.clip(denoiser.function(x, t), -0.9, 0.9), VP, "data")
    expected = samplers.dpm_solver_pp(VP, grid, 2).run(clipped, x)
    found = plan.run(bimodal.model(VP, prediction), x)
    assert np.abs(expected - samplers.dpm_solver_pp(VP, grid, 2).run(denoiser, x)).max() > 0.1
    bound = 64 * EPS * amplification(samplers.dpm_solver_pp(VP, grid, 2)) * np.abs(x).max() / 0.3**2
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def test_hooks_apply_one_after_the_other(grid, bimodal, rng):
    dynamic, static = (
        Hook("dynamic_threshold", {"ratio": 0.5}),
        Hook("static_threshold", {"max_value": 0.4}),
    )
    x, denoiser = rng.standard_normal((4, 3)), Model(lambda x, t: 2 * x, VP, "data")
    both = replace(samplers.ddim(VP, grid), hooks=(dynamic, static))
    by_hand = Model(lambda x, t: static(dynamic(2 * x)), VP, "data")
    expected = samplers.ddim(VP, grid).run(by_hand, x)
    bound = 64 * EPS * amplification(samplers.ddim(VP, grid)) * 2 * np.abs(x).max()
    np.testing.assert_allclose(both.run(denoiser, x), expected, rtol=0, atol=bound)


def test_a_hook_that_is_named_twice_acts_twice_on_the_data(grid, rng):
    # clipping twice is clipping once
    hook, x = Hook("static_threshold", {"max_value": 0.5}), rng.standard_normal((4, 3))
    once, twice = (replace(samplers.ddim(VP, grid), hooks=(hook,) * k) for k in (1, 2))
    model = Gaussian([1.0, 0.0, -1.0], 0.3).model(VP, "noise")
    bound = 64 * EPS * amplification(samplers.ddim(VP, grid)) * np.abs(x).max() / 0.3
    np.testing.assert_allclose(twice.run(model, x), once.run(model, x), rtol=0, atol=bound)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_coefficients_may_act_on_each_channel_and_pixel(path, prediction, rng):
    scale, bias = rng.uniform(0.5, 1.5, (3, 1, 1)), rng.standard_normal((3, 4, 4))
    grid = grids.at_lams(VP, [-2.0, 0.0, 1.5])
    trace = Trace(samplers.ddim, VP, grid)
    x, m = trace.evaluate(trace.start, grid[0])
    y, n = trace.evaluate(0.5 * x + scale * m + bias, grid[1])
    plan = trace.plan(0.3 * y + 0.7 * n)

    def denoise(x, t):
        return np.tanh(x / path.alpha(t))

    x = rng.standard_normal((2, 3, 4, 4))
    a, b = (grid[i].alpha for i in (0, 1))
    u = 0.5 * x + scale * np.tanh(x / a) + bias
    expected = 0.3 * u + 0.7 * np.tanh(u / b)
    (first, _), (last, _) = (path.level(float(plan.lam[i])) for i in (0, -1))
    model = Model(denoise, path, "data").predicting(prediction)
    found = plan.run(model, x * first / a) * grid[2].alpha / last
    # values below 10; converting at the first level divides by alpha = 0.13 twice
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * EPS * 10 / 0.13**2)


def test_elementwise_coefficients_run_on_every_backend(asarray, rng):
    grid, scale = grids.at_lams(VP, [-1.0, 1.0]), np.array([1.0, 2.0])
    trace = Trace(samplers.ddim, VP, grid)
    x, m = trace.evaluate(trace.start, grid[0])
    plan, x = trace.plan(scale * x + 0.5 * m + scale), rng.standard_normal((3, 2))
    found = plan.run(Model(lambda x, t: 2 * x, VP, "data"), asarray(x))
    np.testing.assert_allclose(arrays.to_numpy(found), scale * x + x + scale, rtol=0, atol=32 * EPS)


def test_a_row_without_state_and_model_is_its_constant(asarray):
    plan = Plan(
        np.zeros((2, 2)),
        np.zeros((2, 1)),
        np.zeros((2, 0)),
        np.array([0.0, 3.0]),
        np.zeros(2),
        np.ones(2),
        np.ones(2),
        np.ones(2),
    )
    found = plan.run(Model(lambda x, t: x, EDM, "data"), asarray(np.ones((2, 1))))
    assert arrays.to_numpy(found).tolist() == [[3.0], [3.0]]


def test_the_callback_sees_every_node(plan, bimodal):
    seen = {}
    x = np.ones((1, 1))
    out = plan.run(bimodal.model(VP), x, callback=lambda i, u: seen.update({i: u.copy()}))
    assert list(seen) == list(range(plan.nodes))
    assert np.array_equal(seen[0], x)
    assert np.array_equal(seen[plan.nodes - 1], out)


def test_conditions_reach_the_model(plan):
    model = Model(lambda x, t, a, b=0.0: 0 * x + a + b, VP, "data", {"a": 1.0})
    out = [plan.run(model, np.zeros((1, 1)), **cond)[0, 0] for cond in ({}, {"b": 1.0}, {"a": 2.0})]
    assert out[1] == out[2] == pytest.approx(2 * out[0], rel=4 * EPS)


def test_the_model_is_called_at_its_own_paths_times(plan, path):
    times = []
    model = Model(lambda x, t: times.append(t) or 0 * x, path, "data")
    plan.run(model, np.zeros((1, 1)))
    assert all(type(t) is float for t in times)
    np.testing.assert_allclose(times, [path.t_at(v) for v in plan.lam[:-1].tolist()], rtol=0)


@pytest.mark.parametrize("prediction", ["data", "velocity", "flow", "v"])
@pytest.mark.parametrize("make", [samplers.ddim, samplers.euler, samplers.dpm_solver_pp])
def test_a_run_may_start_at_pure_noise(make, prediction, rng):
    # rectified flow's own grid, t from 1 to 0; x_1 is noise and the first denoiser is the mean
    plan = make(RF, grids.at_lams(RF, [-math.inf, -1.0, 0.0, 1.0, math.inf]))
    model = Model(lambda x, t: 0 * x + 0.25, RF, "data")
    named = {
        "data": model,
        "velocity": Model(lambda x, t: (x - 0.25) / t, RF, "velocity"),
        "flow": Model(lambda x, t: (x - 0.25) / t, RF, "flow"),
        "v": Model(lambda x, t: (1 - t) * (x - (1 - t) * 0.25) / t - t * 0.25, RF, "v"),
    }
    out = plan.run(named[prediction], rng.standard_normal((3, 2)))
    np.testing.assert_allclose(out, 0.25, rtol=0, atol=64 * EPS * 4)


@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        ([[0.0]], TypeError, "x must be an array"),
        (np.zeros((1, 1), dtype=np.int64), TypeError, "x must be of a real floating dtype"),
        (np.array(0.0), ValueError, "x must have shape"),
        (np.array([[np.nan]]), ValueError, "x must be finite"),
        (np.array([[np.inf]]), ValueError, "x must be finite"),
    ],
)
def test_a_bad_start_is_named(plan, bimodal, x, error, said):
    with pytest.raises(error, match=f"Plan.run: {said}"):
        plan.run(bimodal.model(VP), x)


def test_a_model_that_returns_another_shape_is_named(plan):
    with pytest.raises(
        ValueError, match=r"Plan.run: the model must return shape \(2, 1\), got \(2, 2\)"
    ):
        plan.run(Model(lambda x, t: np.zeros((2, 2)), VP, "data"), np.zeros((2, 1)))


@pytest.mark.usefixtures("own_checks")
def test_a_bare_function_is_no_model(plan):
    with pytest.raises(TypeError, match=r"Plan.run: model must be a fewtheory Model, got function"):
        plan.run(lambda x, t: x, np.zeros((1, 1)))


def test_levels_outside_the_models_path_are_named(plan):
    model = Model(lambda x, t: x, paths.EDM(sigma_max=5.0), "data")
    with pytest.raises(
        ValueError, match=r"Plan.run: the plan's levels as t must be in \[0.002, 5\]"
    ):
        plan.run(model, np.zeros((1, 1)))


def test_coefficients_of_events_of_two_depths_broadcast_as_arrays_do(rng):
    a, b = rng.standard_normal((8, 8)), rng.standard_normal((3, 8, 8))
    trace = Trace("mixed", VP, grids.log_snr(VP, 2))
    x = trace.start
    for s, _ in trace.steps():
        x, m = trace.evaluate(x, s)
        x = a * x + b * m + 0.1
    plan, start = trace.plan(x), rng.standard_normal((2, 3, 8, 8))
    found = plan.run(Model(lambda u, t: 0.3 * u, VP, "noise"), start)
    expected = start
    for t in plan.t[:-1].tolist():
        data = (expected - VP.sigma(t) * 0.3 * expected) / VP.alpha(t)
        expected = a * expected + b * data + 0.1
    # alpha_T is 0.0066: a data prediction there is a sum of terms 150 times the state
    bound = 64 * EPS * np.abs(expected).max() / VP.alpha(float(plan.t[0]))
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
    back = plan.predicting("noise").predicting("data")
    np.testing.assert_allclose(back.P[:, :, 1], plan.P, rtol=0, atol=bound)
