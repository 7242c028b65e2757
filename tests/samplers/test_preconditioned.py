"""Two coefficients a step in front of any sampler."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from fewtheory import Model, adapters, arrays, paths, samplers, zoo
from fewtheory.plan import Hook, grids
from fewtheory.plan.files import load
from fewtheory.samplers import exact_c_e, faded, precondition, step_factors
from fewtheory.testbeds import Gaussian, mixture_1d

EPS = np.finfo(np.float64).eps
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()
RHO = [8.0, 2.0, 0.6, 0.2]
C_X, C_E = (1.012, 0.967), (0.955, 1.099)
pytestmark = pytest.mark.usefixtures("one_thread")


def four_steps(path=VP):
    return grids.at_lams(path, [*(-np.log(RHO)), math.inf])


# known answers


def steps_of(rho):
    return grids.at_lams(VP, [*(-np.log(rho[:-1])), math.inf])


def std_ratio(rho, s, c_x, c_eps, gain):
    grid = steps_of(rho)
    return float(np.prod(step_factors(VP, grid, s, (c_x, 1), (c_eps, 1), gain)))


def exact_law(rho, s, gain):
    grid = steps_of(rho)
    return exact_c_e(VP, grid, s, 1.0, gain)


def trajectory(weights, means, sds, rho, x, c_x, c_eps, path):
    grid = steps_of(rho)
    plan = precondition(samplers.ddim(VP, grid), (c_x, 1), (c_eps, 1))
    return float(plan.run(mixture_1d(weights, means, sds).model(VP), np.array([[x]]))[0, 0])


ANSWERS = {"sd ratio": std_ratio, "c_eps that makes": exact_law, "one trajectory": trajectory}


def entries():
    file = Path(__file__).parents[1] / "data" / "q-sched.json"
    for entry in json.loads(file.read_text()):
        if not entry["what"].startswith("Bussgang"):  # those are of the quantisers
            yield pytest.param(entry, id=entry["what"][:40])


@pytest.mark.parametrize("entry", list(entries()))
def test_a_known_answer(entry):
    (function,) = [f for what, f in ANSWERS.items() if entry["what"].startswith(what)]
    found = function(**entry["inputs"])
    assert abs(found - entry["expected"]) <= entry["tolerance"] * abs(entry["expected"])


# what it does


def test_a_fading_correction_ends_at_one_and_a_single_step_keeps_it():
    assert faded(1.3, 4).tolist() == [1.3, 1.2, 1.1, 1.0]
    assert faded(0.7, 1).tolist() == [0.7]


@pytest.mark.parametrize("prediction", ["noise", "flow", "data", "v"])
def test_ones_change_nothing(prediction):
    plan = samplers.dpm_solver_pp(VP, grids.log_snr(VP, 5), order=2, eta=1.0)
    found = precondition(plan, 1.0, 1.0, prediction)
    assert found.prediction == prediction
    # a conversion and back: 8 roundings of canonical entries up to rho_0
    assert found.distance(plan) <= 64 * EPS * np.exp(-plan.lam[0])


def test_a_pair_an_array_and_a_number_are_the_same_coefficients():
    plan = samplers.ddim(VP, four_steps())
    pair = precondition(plan, C_X, (0.9, 0.9))
    assert pair.distance(precondition(plan, np.linspace(*C_X, 4), 0.9)) == 0.0
    assert precondition(plan, C_X, C_E).settings["c_x"] == np.linspace(*C_X, 4).tolist()


def test_the_model_sees_the_state_as_it_is():
    shown = []
    plan = samplers.ddim(VP, four_steps())
    model = Model(lambda x, t: shown.append(x) or 0 * x, VP, "noise")
    states = []
    precondition(plan, C_X, C_E).run(model, np.ones((1, 1)), callback=lambda i, u: states.append(u))
    assert all(np.array_equal(a, b) for a, b in zip(shown, states, strict=False))


def test_noises_and_constants_are_left_alone():
    plan = samplers.euler_ancestral(VP, four_steps())
    assert np.array_equal(precondition(plan, C_X, C_E).C, plan.C)
    assert precondition(plan, C_X, C_E).stochastic


def test_a_node_that_is_not_evaluated_has_no_coefficient():
    # the start of EDM's sampler with churn is one: the network first sees the raised level
    t = [50.0, 5.0, 0.5, 0.05]
    plan = samplers.edm_stochastic(EDM, grids.at_times(EDM, t), s_churn=3.0)
    assert not plan.evaluated[0]
    found = precondition(plan, 1.1, 1.0)
    assert np.array_equal(found.P[1], plan.predicting("noise").P[1])
    np.testing.assert_allclose(found.P[2, 1], 1.1 * plan.predicting("noise").P[2, 1], rtol=1e-14)


def test_the_gain_of_a_network_is_undone_by_its_inverse(bimodal, rng):
    plan, x = samplers.deis(VP, grids.log_snr(VP, 6)), rng.standard_normal((8, 1))
    exact = bimodal.model(VP, "noise")
    louder = Model(lambda x, t: 1.1 * exact.function(x, t), VP, "noise")
    found = precondition(plan, 1.0, 1 / 1.1).run(louder, x)
    # 2 roundings an output, six steps, denoiser slopes up to (alpha / 0.3)^2
    size = 12 * EPS * np.abs(plan.tableau().B).max() * 12 * (1 + np.abs(x).max())
    np.testing.assert_allclose(found, plan.run(exact, x), rtol=0, atol=8 * size)


def test_on_a_velocity_it_is_another_thing_than_on_a_noise():
    plan = samplers.euler(RF, grids.uniform(RF, 4, start=0.95))
    as_flow, as_noise = precondition(plan, C_X, C_E, "flow"), precondition(plan, C_X, C_E)
    assert as_flow.distance(as_noise) > 0.01
    t, c_x, c_e = plan.t, np.linspace(*C_X, 4), np.linspace(*C_E, 4)
    np.testing.assert_allclose(
        as_flow.B[np.arange(1, 5), np.arange(4)], np.diff(t) * c_e, rtol=1e-13
    )
    np.testing.assert_allclose(as_flow.P[np.arange(1, 5), np.arange(4)], c_x, rtol=1e-13)


def test_the_law_is_that_of_the_step_factors_on_every_path(path):
    lams = np.array([-2.0, -0.7, 0.5, 1.6])  # inside every path
    grid = grids.at_lams(path, lams)
    plan = precondition(samplers.ddim(path, grid), (0.95, 1), (1.07, 1))
    found = float(plan.law(Gaussian([0.0], 0.36)).std_ratio[0])
    factors = step_factors(path, grid, 0.6, (0.95, 1), (1.07, 1))
    assert found == pytest.approx(abs(float(np.prod(factors))), rel=1e-12)


@pytest.mark.parametrize("c_x", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("gain", [0.8, 1.0, 1.2])
def test_the_curve_of_exact_laws_goes_through_every_c_x(c_x, gain):
    c_e = exact_c_e(VP, four_steps(), 0.6, c_x, gain)
    assert np.prod(step_factors(VP, four_steps(), 0.6, (c_x, 1), (c_e, 1), gain)) == pytest.approx(
        1, rel=1e-12
    )


def test_one_step_is_corrected_by_its_own_coefficient():
    grid = grids.at_lams(VP, [-1.0, 2.0])
    c_e = exact_c_e(VP, grid, 0.6, 1.1)
    assert step_factors(VP, grid, 0.6, [1.1], [c_e])[0] == pytest.approx(1, rel=1e-13)


# metamorphic


def test_a_run_does_not_depend_on_the_models_path(path, bimodal, lams, rng):
    plan = precondition(samplers.dpm_solver_pp(VP, grids.at_lams(VP, lams), 2), C_X, C_E)
    y = rng.standard_normal((6, 1))
    runs = []
    for p in (path, VP):
        (alpha, _), (last, _) = p.level(lams[0]), p.level(lams[-1])
        runs.append(plan.run(bimodal.model(p, "data"), alpha * y) / last)
    # as every plan: roundings of coefficients up to rho_0 = 12, denoiser slopes up to 1 / 0.3^2
    np.testing.assert_allclose(runs[0], runs[1], rtol=0, atol=64 * EPS * 8 * 12 * 11 * 4)


def test_a_run_does_not_depend_on_the_array_library(asarray, bimodal, rng):
    plan, x = precondition(samplers.ddim(VP, four_steps()), C_X, C_E), rng.standard_normal((6, 1))
    found, expected = (plan.run(bimodal.model(VP), v) for v in (asarray(x), x))
    assert type(found) is type(asarray(x))
    np.testing.assert_allclose(arrays.to_numpy(found), expected, rtol=0, atol=64 * EPS * 8 * 16 * 4)


def test_single_precision_follows_double(bimodal, rng):
    plan, x = precondition(samplers.ddim(VP, four_steps()), C_X, C_E), rng.standard_normal((6, 1))
    wide = plan.run(bimodal.model(VP), x)
    narrow = plan.run(bimodal.model(VP), x.astype(np.float32))
    assert narrow.dtype == np.float32
    # 4 steps of 4 roundings on states up to 8, denoiser slopes up to 1 / 0.3^2 at the last two
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=16 * 1.2e-7 * 8 * 11)


def test_it_is_stored_and_loaded_like_every_plan(tmp_path):
    plan = precondition(samplers.ddim(VP, four_steps()), C_X, C_E)
    plan.save(tmp_path / "plan.json")
    again = load(tmp_path / "plan.json")
    assert again.distance(plan) == 0.0
    assert again.settings["c_e"] == plan.settings["c_e"]


# against a wrapper that multiplies what a diffusers scheduler is given


def network(x, t):
    """A smooth stand-in for a network, in float64, that looks at the time too."""
    return torch.tanh(0.7 * x) + 0.2 * torch.sin(x + 0.003 * t)


def wrapped(scheduler, x, c_x, c_e, **kwargs):
    """What a scheduler draws that is shown c_x x and c_e m."""
    for i, t in enumerate(scheduler.timesteps):
        m = network(x, float(t))
        x = scheduler.step(c_e[i] * m, t, c_x[i] * x, return_dict=False, **kwargs)[0]
    return x


def in_double(scheduler):
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    return scheduler


def start(rng):
    return torch.tensor(rng.standard_normal((3, 1, 2, 2)))


def test_it_is_ddim_in_diffusers_behind_a_wrapper(rng):
    scheduler = in_double(DDIMScheduler(clip_sample=False, set_alpha_to_one=True))
    scheduler.set_timesteps(4)
    told = adapters.diffusers.convention(scheduler)
    grid = grids.at_times(told.path, (scheduler.timesteps.numpy() + 1) / 1000).to_clean()
    plan, x = precondition(samplers.ddim(told.path, grid), C_X, C_E), start(rng)
    found = plan.run(Model(lambda x, t: network(x, told.timestep(t)), told.path, "noise"), x)
    expected = wrapped(scheduler, x, np.linspace(*C_X, 4), np.linspace(*C_E, 4))
    # sqrt of float32 constants of 1 stays exact; 8 roundings a step on x0 up to 1/alpha = 20 wide
    torch.testing.assert_close(found, expected, rtol=0, atol=32 * EPS * 20 * 4)


def test_it_is_flow_matching_in_diffusers_behind_a_wrapper(rng):
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    sigmas = scheduler.sigmas.double().numpy()
    plan = samplers.euler(RF, grids.at_times(RF, sigmas))
    x = start(rng)
    found = precondition(plan, C_X, C_E, "flow").run(
        Model(lambda x, t: network(x, 1000 * t), RF, "velocity"), x
    )
    expected = wrapped(scheduler, x, np.linspace(*C_X, 4), np.linspace(*C_E, 4))
    # its steps are in float32
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=4 * 8 * 1.2e-7 * 4)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers on NumPy 2
def test_a_multistep_scheduler_remembers_what_it_was_given(rng):
    scheduler = DPMSolverMultistepScheduler(
        solver_order=2, timestep_spacing="leading", final_sigmas_type="sigma_min"
    )
    scheduler.set_timesteps(6)
    sigmas = scheduler.sigmas.double().numpy()
    told = adapters.diffusers.convention(scheduler)
    grid = grids.at_lams(told.path, -np.log(sigmas))
    plan, x = samplers.dpm_solver_pp(told.path, grid, 2, solver_type="midpoint"), start(rng)
    c_x, c_e = np.linspace(*C_X, 6), np.linspace(*C_E, 6)
    times = iter(scheduler.timesteps.tolist())
    found = precondition(plan, c_x, c_e).run(
        Model(lambda x, t: network(x, next(times)), told.path, "noise"), x
    )
    expected = wrapped(scheduler, x, c_x, c_e)
    # its sigmas, and what is made of them, are float32; the x0 that it remembers is up to 150 wide
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=64 * 1.2e-7 * 150)


def test_it_runs_in_a_pipeline_of_diffusers_without_a_wrapper():
    entry = zoo.load("digits-unet-v")
    scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    grid = adapters.diffusers.grid(scheduler, 4)
    plan = precondition(samplers.ddim(grid.path, grid), C_X, C_E, "v")
    pipe = DDPMPipeline(entry.network, adapters.diffusers.scheduler(plan, scheduler))
    pipe.set_progress_bar_config(disable=True)
    made = pipe(2, torch.Generator().manual_seed(3), num_inference_steps=4, output_type="np")
    x = torch.randn((2, 1, 8, 8), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = (plan.run(entry.model, x) / 2 + 0.5).clamp(0, 1)
    np.testing.assert_allclose(made.images[..., 0], expected[:, 0].numpy(), rtol=0, atol=1e-4)


# bad input


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda p: precondition("ddim", 1.0, 1.0), TypeError, "plan must be a fewtheory Plan"),
        (lambda p: precondition(p, 1.0, 1.0, "score"), ValueError, "prediction must be one of"),
        (lambda p: precondition(p, [1.0] * 3, 1.0), ValueError, "c_x must be a number, a pair"),
        (lambda p: precondition(p, 1.0, [[1.0]]), ValueError, "c_e must be a number, a pair"),
        (lambda p: precondition(p, math.nan, 1.0), ValueError, "c_x must be finite"),
        (lambda p: precondition(p, 1.0, "much"), ValueError, "c_e must be an array of real"),
        (lambda p: faded(math.inf, 4), ValueError, "faded: c must be finite"),
        (lambda p: faded(1.0, 0), ValueError, "faded: steps must be at least 1"),
        (lambda p: step_factors(VP, p.t, 0.0, 1, 1), ValueError, "step_factors: std must be"),
        (lambda p: step_factors(VP, p.t, 1, 1, 1, math.nan), ValueError, "step_factors: gain must"),
        (lambda p: exact_c_e(VP, p.t, -1.0), ValueError, "exact_c_e: std must be"),
        (lambda p: exact_c_e(VP, p.t, 1.0, math.nan), ValueError, "exact_c_e: c_x must be"),
        (lambda p: exact_c_e(VP, p.t, 1.0, 1.0, 0.0), ValueError, "exact_c_e: gain must be"),
    ],
)
def test_a_bad_argument_is_named(call, error, named):
    with pytest.raises(error, match=named):
        call(samplers.ddim(VP, four_steps()))


def test_a_plan_with_a_hook_is_refused():
    hooked = replace(samplers.ddim(VP, four_steps()), hooks=(Hook("dynamic_threshold", {}),))
    with pytest.raises(ValueError, match="plan must be linear"):
        precondition(hooked, 1.0, 1.0)


def test_a_noise_prediction_at_pure_noise_is_refused():
    plan = samplers.ddim(RF, grids.at_times(RF, [1.0, 0.5, 0.0]))
    with pytest.raises(ValueError, match="prediction must be 'data', 'flow' or 'v' where alpha"):
        precondition(plan, 1.0, 1.0)
    assert precondition(plan, 1.0, 1.0, "flow").nfe == 2
