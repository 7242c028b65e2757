"""Time shift: known answers, what it leaves alone, and what it refuses."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtheory import arrays, paths, samplers, zoo
from fewtheory.model import Model
from fewtheory.plan import Hook, grids, load
from fewtheory.plan.retime import pixel_variance, time_of_variance
from fewtheory.samplers.time_shift import (
    expected_pixel_variance,
    pixel_variance_spread,
    time_resolution,
    time_shift,
)
from fewtheory.testbeds import Gaussian
from fewtheory.zoo.data import digits as digits_of

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "time-shift.json").read_text())
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()
EPS = np.finfo(np.float64).eps


def known(what):
    (found,) = [k for k in KNOWN if k["what"].startswith(what)]
    return found["inputs"], found["expected"], found["tolerance"]


def recorded(model):
    """The model, and a list of the times at which it is asked."""
    asked = []

    def function(x, t, **cond):
        asked.append(np.broadcast_to(arrays.to_numpy(t) if hasattr(t, "shape") else t, len(x)))
        return model.function(x, t, **cond)

    return replace(model, function=function), asked


def of_infinitely_many_pixels(path, s, t=1.0):
    """Two pixels whose sample variance is exactly that of N(0, s^2) data at t."""
    scale = math.sqrt(path.alpha(t) ** 2 * s * s + path.sigma(t) ** 2)
    return np.array([[1.0, -1.0]]) * scale / math.sqrt(2)


def ratio_and_times(inputs, shift="query", **settings):
    """(sd over s, the times asked) on VP-linear."""
    s = inputs["s"]
    plan = time_shift(samplers.ddim(VP, inputs["grid"]), shift, **settings)
    model, asked = recorded(Gaussian(np.zeros(2), [s * s] * 2).model(VP))
    out = plan.run(model, of_infinitely_many_pixels(VP, s))
    return out[0, 0] * math.sqrt(2) / s, [t[0] for t in asked]


def test_the_marginal_criterion_gives_the_known_times_and_output():
    inputs, expected, tolerance = known("time-shift, marginal")
    found, times = ratio_and_times(inputs, criterion="marginal", data_var=inputs["s"] ** 2)
    np.testing.assert_allclose([found, *times], expected, rtol=tolerance)


def test_the_noise_criterion_gives_the_known_times_and_output():
    inputs, expected, tolerance = known("time-shift, noise")
    found, times = ratio_and_times(inputs, window=inputs["w"], cutoff=inputs["tc"])
    np.testing.assert_allclose([found, *times], expected, rtol=tolerance)


def test_landing_levels_give_the_known_output():
    inputs, expected, tolerance = known("landing-level")
    found, times = ratio_and_times(inputs, "target", window=inputs["w"], cutoff=inputs["tc"])
    np.testing.assert_allclose(found, expected[0], rtol=tolerance)
    np.testing.assert_allclose(times, inputs["grid"][:-1], rtol=1e-12)  # asked at nominal times


def test_without_a_shift_the_output_is_the_known_one():
    inputs, expected, tolerance = known("VP-linear")
    found, _ = ratio_and_times(inputs, cutoff=1.0)
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_the_spurious_shift_is_the_known_one():
    inputs, expected, tolerance = known("spurious")
    t = np.array([inputs["t"]])
    v = VP.sigma(t) ** 2 + VP.alpha(t) ** 2 * inputs["s2"]
    found = time_of_variance(VP, v, 0.0, np.array([1e-3]), np.array([1.0]), t) - t
    # a rounding of the time is relative to it, not to its shift
    np.testing.assert_allclose(found, expected, rtol=tolerance * inputs["t"] / expected)


def test_the_expected_variance_is_the_known_one():
    inputs, expected, tolerance = known("expected pixel variance")
    offset = 0.1 * np.arange(inputs["d"])
    assert expected_pixel_variance(inputs["v"], offset) == pytest.approx(expected, rel=tolerance)


def test_the_formulas_of_the_theorem_have_the_sheets_numbers():
    # sheet time-shift, C6
    offset = np.linspace(-0.1, 0.2, 64)
    assert f"{expected_pixel_variance(0.7, offset):.5f}" == "0.70786"
    assert f"{pixel_variance_spread(0.7, 0 * offset):.4e}" == "1.5556e-02"
    assert f"{pixel_variance_spread(0.7, offset):.4e}" == "1.5905e-02"


@pytest.fixture
def images(rng):
    """Five samples of 6 x 6 pixels at the first level of VP-linear, and the exact model."""
    bed = Gaussian(np.zeros(36), np.full(36, 0.2))
    x = rng.standard_normal((5, 1, 6, 6))

    def noise(x, t):
        xp = arrays.namespace(x)
        flat = xp.reshape(x, (x.shape[0], 36))
        return xp.reshape(bed.model(VP, "noise").function(flat, t), x.shape)

    return Model(noise, VP, "noise"), x


BASES = {
    "ddim": lambda: samplers.ddim(VP, GRID),
    "ddim in noise": lambda: samplers.ddim(VP, GRID).predicting("noise"),
    "2M": lambda: samplers.dpm_solver_pp(VP, GRID, 2),
    "2M in noise": lambda: samplers.dpm_solver_pp(VP, GRID, 2, prediction="noise"),
    "deis": lambda: samplers.deis(VP, GRID, 2),
    "unipc": lambda: samplers.unipc(VP, GRID, 2),
    "ipndm": lambda: samplers.ipndm(VP, GRID, 4),
}
GRID = grids.uniform(VP, 8)
every_base = pytest.mark.parametrize("base", list(BASES.values()), ids=list(BASES))
SETTINGS = {"criterion": "marginal", "data_var": 0.2}


@every_base
def test_with_a_cutoff_before_the_start_nothing_changes(base, images):
    model, x = images
    found = time_shift(base(), cutoff=1.0).run(model, x)
    expected = base().run(model, x)
    # levels enter by sums and differences of numbers up to rho_T
    size = 64 * EPS * 8 * np.exp(-GRID.lam[0]) * np.abs(x).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=size)


def test_a_state_without_error_is_not_shifted():
    # two pixels of exactly the variance of their time: data and states of one Gaussian
    fine = grids.at_times(VP, [0.5, 0.499, 0.498])
    plan = samplers.ddim(VP, fine)
    model, asked = recorded(Gaussian(np.zeros(2), [0.2] * 2).model(VP))
    time_shift(plan, **SETTINGS).run(model, of_infinitely_many_pixels(VP, math.sqrt(0.2), 0.5))
    # one step of DDIM loses (d theta)^2 / 2 of its standard deviation
    theta = np.arctan2(VP.sigma(fine.t), VP.alpha(fine.t) * math.sqrt(0.2))
    lost = (theta[1] - theta[0]) ** 2
    assert abs(asked[1][0] - 0.499) < lost / abs(np.diff(theta)[0] / 1e-3) * 4


@every_base
def test_each_sample_is_shifted_by_itself(base, images):
    model, x = images
    plan = time_shift(base(), **SETTINGS)
    x = x * np.array([1.0, 0.9, 1.1, 0.8, 1.2])[:, None, None, None]
    found = plan.run(model, x)
    one_by_one = np.concatenate([plan.run(model, row[None]) for row in x])
    np.testing.assert_allclose(found, one_by_one, rtol=1e-9, atol=1e-12)


@every_base
def test_a_run_does_not_depend_on_the_array_library(base, images, asarray):
    model, x = images
    plan = time_shift(base(), **SETTINGS)
    found = plan.run(model, asarray(x))
    assert type(found) is type(asarray(x))
    np.testing.assert_allclose(arrays.to_numpy(found), plan.run(model, x), rtol=1e-9, atol=1e-12)


def test_float32_is_kept_and_agrees_with_float64(images):
    model, x = images
    plan = time_shift(samplers.ddim(VP, GRID), **SETTINGS)
    narrow = plan.run(model, x.astype(np.float32))
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, plan.run(model, x), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_a_stochastic_step_keeps_its_law(eta, rng):
    # DDPM on N(0, s^2) with a shift to the exact times: variances follow the recursion in eta
    s, n = 0.6, 20_000
    plan = samplers.ddim(VP, [0.8, 0.6, 0.4], eta=eta)
    model, asked = recorded(Gaussian(np.zeros(2), [s * s] * 2).model(VP))
    x = np.sqrt(VP.alpha(0.8) ** 2 * s * s + VP.sigma(0.8) ** 2) * rng.standard_normal((n, 2))
    found = time_shift(plan, window=0.0).run(model, x, rng)  # no room to shift: DDIM with noise
    law = plan.law(Gaussian(np.zeros(2), [s * s] * 2))
    # the sample variance of 2 n normal numbers has relative spread 1/sqrt(n); five of them
    np.testing.assert_allclose(found.var(), law.variance[0], rtol=5 / math.sqrt(n))
    np.testing.assert_allclose(asked[1], 0.6, rtol=1e-12)


def test_a_shifted_ddpm_step_adds_the_posteriors_noise(rng):
    # with x0 = 0: from the time q of the state to t' it is left/sigma_q u + noise z with noise =
    # sigma' sqrt(1 - rho'^2/rho_q^2), left^2 + noise^2 = sigma'^2
    plan = time_shift(samplers.ddim(VP, [0.8, 0.6, 0.4], eta=1.0), window=0.2, **SETTINGS)
    model, asked = recorded(Model(lambda x, t: 0 * x, VP, "data"))
    states = []
    x = rng.standard_normal((400, 64))
    plan.run(model, x, rng, callback=lambda i, u: states.append(u))
    q = asked[1][:, None]
    rho_q, rho = VP.sigma(q) / VP.alpha(q), VP.sigma(0.4) / VP.alpha(0.4)
    noise = VP.sigma(0.4) * np.sqrt(1 - (rho / rho_q) ** 2)
    left = np.sqrt(VP.sigma(0.4) ** 2 - noise**2)
    z = (states[2] - left / VP.sigma(q) * states[1]) / noise
    assert q.std() > 1e-3
    assert abs(z.mean()) < 5 / math.sqrt(z.size)
    assert abs(z.var() - 1) < 5 * math.sqrt(2 / z.size)


def test_rescaling_gives_the_state_the_variance_of_its_time():
    s = 0.5
    plan = time_shift(samplers.ddim(VP, GRID), "rescale", criterion="marginal", data_var=s * s)
    model, asked = recorded(Gaussian(np.zeros(2), [s * s] * 2).model(VP))
    states = []
    plan.run(model, of_infinitely_many_pixels(VP, s), callback=lambda i, u: states.append(u))
    for i in range(1, 8):
        v = plan.sigma[i] ** 2 + plan.alpha[i] ** 2 * s * s
        assert pixel_variance(states[i])[0] == pytest.approx(v, rel=64 * EPS)
        assert asked[i][0] == pytest.approx(plan.t[i], rel=1e-12)


def test_landing_below_the_current_time_keeps_the_stride():
    # ADM's variant: the landing time is the state's own time less a nominal step
    s = 0.5
    inputs = {"s": s, "grid": [1.0, 0.8, 0.6, 0.4, 0.2, 0.0]}
    states = []
    plan = time_shift(
        samplers.ddim(VP, inputs["grid"]),
        "target-from-current",
        criterion="marginal",
        data_var=s * s,
    )
    model = Gaussian(np.zeros(2), [s * s] * 2).model(VP)
    plan.run(model, of_infinitely_many_pixels(VP, s), callback=lambda i, u: states.append(u))
    t = np.array([0.8])
    low, high = np.array([1e-6]), np.array([1.0])
    own = float(time_of_variance(VP, pixel_variance(states[1]), s * s, low, high, t)[0])
    landed = own - 0.2
    x0 = model.predicting("data")(states[1], 0.8)
    eps = (states[1] - VP.alpha(0.8) * x0) / VP.sigma(0.8)
    expected = VP.alpha(landed) * x0 + VP.sigma(landed) * eps
    np.testing.assert_allclose(states[2], expected, rtol=1e-10)


def test_an_automatic_variance_is_that_of_gaussian_data():
    s = 0.5
    grid = [0.9, 0.7, 0.5, 0.3, 0.1]
    times = []
    for data_var in (s * s, "auto"):
        plan = time_shift(samplers.ddim(VP, grid), criterion="marginal", data_var=data_var)
        model, asked = recorded(Gaussian(np.zeros(2), [s * s] * 2).model(VP))
        plan.run(model, of_infinitely_many_pixels(VP, s, 0.9))
        times.append([t[0] for t in asked])
    # after the first evaluation the states are a little too small, and so are later estimates
    assert times[1][1] == pytest.approx(times[0][1], abs=1e-9)
    np.testing.assert_allclose(times[1], times[0], atol=0.02)


@pytest.mark.parametrize("path", [VP, paths.VPCosine(), paths.Trigonometric(), EDM, RF])
@pytest.mark.parametrize("data_var", [0.0, 0.3])
def test_the_time_of_a_variance_is_found_on_every_path(path, data_var):
    low, high = (0.3, 0.9) if path is not EDM else (0.5, 20.0)
    if path is RF and data_var:
        low = max(low, data_var / (1 + data_var))
    t = np.linspace(low, high, 7)
    v = path.sigma(t) ** 2 + data_var * path.alpha(t) ** 2
    ends = np.full(7, low), np.full(7, high)
    found = time_of_variance(path, v, data_var, *ends, np.full(7, high))
    slope = np.gradient(v, t).min() / v.max()
    np.testing.assert_allclose(found, t, rtol=0, atol=256 * EPS / slope * high)


def test_a_flow_path_is_searched_above_its_minimum():
    t = np.array([0.05])  # below t = v / (1 + v), where the variance falls with t
    v = RF.sigma(t) ** 2 + 0.5 * RF.alpha(t) ** 2
    found = time_of_variance(RF, v, 0.5, np.array([0.0]), np.array([1.0]), t)
    assert found[0] > 0.5 / 1.5
    assert RF.sigma(found)[0] ** 2 + 0.5 * RF.alpha(found)[0] ** 2 == pytest.approx(v[0])


def test_the_resolution_is_the_spread_of_the_time_that_pixels_tell(rng):
    t, d, s2 = 0.5, 3000, 0.25
    path = paths.Trigonometric()
    v = path.sigma(t) ** 2 + s2 * path.alpha(t) ** 2
    x = math.sqrt(v) * rng.standard_normal((4000, d))
    ends = np.full(4000, 0.01), np.full(4000, 1.0)
    times = time_of_variance(path, pixel_variance(x), s2, *ends, np.full(4000, t))
    # the spread of a sample's standard deviation is 1/sqrt(2n) of it; five of them
    assert times.std() == pytest.approx(time_resolution(path, t, s2, d), rel=5 / math.sqrt(8000))
    assert time_resolution(path, t, 1.0, d) > 1e6  # unit variance: blind


def test_a_shifted_plan_is_not_linear_and_survives_a_file(tmp_path, images):
    model, x = images
    plan = time_shift(samplers.ddim(VP, GRID), window=0.05, **SETTINGS)
    assert not plan.linear
    with pytest.raises(ValueError, match="must be linear, but its run applies time_shift"):
        plan.law(Gaussian([0.0], 1.0))
    plan.save(tmp_path / "plan.json")
    again = load(tmp_path / "plan.json")
    np.testing.assert_array_equal(again.run(model, x), plan.run(model, x))


def test_thresholds_act_before_the_step_and_the_variance_is_of_the_state(images):
    model, x = images
    plan = samplers.dpm_solver_pp(VP, GRID, 1, thresholding=Hook("static_threshold"))
    found = time_shift(plan, cutoff=1.0).run(model, x)
    np.testing.assert_allclose(found, plan.run(model, x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            lambda: samplers.dpm_solver_pp(VP, GRID, 2, method="singlestep"),
            "time_shift: plan must be one whose rows take",
        ),
        (lambda: samplers.heun(VP, GRID), "time_shift: plan must be one whose rows take"),
        (
            lambda: samplers.dpm_solver_pp(VP, GRID, 2, eta=1.0),
            "time_shift: plan must be of one evaluation a row where it draws noise",
        ),
        (
            lambda: time_shift(samplers.ddim(VP, GRID)),
            "time_shift: plan must be without a time shift yet",
        ),
        (lambda: "ddim", "time_shift: plan must be a Plan, got str"),
    ],
)
def test_plans_that_cannot_be_shifted_are_refused(own_checks, plan, message):
    with pytest.raises((ValueError, TypeError), match=message):
        time_shift(plan())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pixel_variance(np.ones((3, 1))), "pixel_variance: x must be of two or more"),
        (lambda: expected_pixel_variance(0.5, [0.1]), "expected_pixel_variance: offset must be"),
        (lambda: expected_pixel_variance(-1.0, [0.1, 0.2]), "variance must be finite"),
        (lambda: pixel_variance_spread(math.nan, [0.1, 0.2]), "variance must be finite"),
        (lambda: time_resolution(VP, 1.5, 0.2, 9), "time_resolution: t must be finite"),
        (lambda: time_resolution(VP, 0.5, 0.2, 1), "time_resolution: d must be at least 2"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def network():
    return zoo.load("digits-unet")


@pytest.fixture(scope="module")
def digits():
    """The pixel variance of clean digits, (1, 8, 8) in [-1, 1]."""
    images = digits_of("train").x
    return float(pixel_variance(images).mean())


def seeded(rows):
    return torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_trained_network_keeps_more_variance_with_a_narrow_shift(one_thread, network, digits):
    # digits have pixel variance below 1: five steps of DDIM lose some of it, a shift keeps more;
    # the window has to be narrow, since 64 pixels tell the time to no better than a tenth
    path = network.model.path
    assert time_resolution(path, 0.6, digits, 64) > 0.1
    plan = samplers.ddim(path, grids.uniform(path, 5))
    labels = {"class_labels": torch.arange(64) % 10}
    shifted = time_shift(plan, criterion="marginal", data_var=digits, window=0.03)
    with torch.no_grad():
        runs = [p.run(network.model, seeded(64), **labels) for p in (plan, shifted)]
    lost = [abs(float(pixel_variance(x).mean()) - digits) for x in runs]
    assert lost[1] < lost[0]


def test_a_pipeline_whose_network_follows_draws_what_a_run_does(one_thread, network, digits):
    from diffusers import DDPMPipeline

    from fewtheory.adapters import diffusers as fd
    from fewtheory.zoo.recipes import ddpm

    told = fd.convention(ddpm())
    plan = samplers.ddim(told.path, fd.grid(ddpm(), 5))
    plan = time_shift(plan, criterion="marginal", data_var=digits, window=0.2)
    scheduler = fd.scheduler(plan, ddpm())
    x, labels = seeded(6), torch.arange(6)
    handle = fd.follow_times(network.network, scheduler)
    try:
        scheduler.set_timesteps(5)
        state = x
        with torch.no_grad():
            for t in scheduler.timesteps:
                m = network.network(state, t, class_labels=labels).sample
                state = scheduler.step(m, t, state).prev_sample
    finally:
        handle.remove()
    with torch.no_grad():
        expected = plan.run(network.model, x, class_labels=labels)
    torch.testing.assert_close(state, expected, rtol=1e-4, atol=1e-4)
    assert DDPMPipeline(network.network, scheduler).scheduler is scheduler


def test_a_pipeline_whose_network_does_not_follow_is_stopped(own_checks, network):
    from fewtheory.adapters import diffusers as fd
    from fewtheory.zoo.recipes import ddpm

    plan = samplers.ddim(fd.convention(ddpm()).path, fd.grid(ddpm(), 5))
    with pytest.raises(ValueError, match="follow_times: scheduler must be of a plan with a time"):
        fd.follow_times(network.network, fd.scheduler(plan, ddpm()))
    scheduler = fd.scheduler(time_shift(plan), ddpm())
    scheduler.set_timesteps(5)
    x = seeded(2)
    with pytest.raises(ValueError, match="the scheduler must be attached to the network"):
        scheduler.step(x, scheduler.timesteps[0], x)
    with pytest.raises(TypeError, match="follow_times: network must be a torch module"):
        fd.follow_times(lambda x: x, scheduler)


def test_a_doubled_batch_shares_the_times_of_its_pairs(network, digits):
    from fewtheory.adapters import diffusers as fd
    from fewtheory.zoo.recipes import ddpm

    plan = samplers.ddim(fd.convention(ddpm()).path, fd.grid(ddpm(), 5))
    shifted = time_shift(plan, criterion="marginal", data_var=digits, window=0.3)
    scheduler = fd.scheduler(shifted, ddpm())
    scheduler.followed = True
    scheduler.set_timesteps(5)
    x = seeded(3)
    assert scheduler.asked_times(torch.cat([x, x])).tolist() == [float(scheduler.timesteps[0])] * 6
    noise = torch.tensor([0.97, 0.98, 0.99])[:, None, None, None] * x
    out = scheduler.step(noise, scheduler.timesteps[0], x).prev_sample
    times = scheduler.asked_times(torch.cat([out, out]))
    assert times[:3].tolist() == times[3:].tolist()
    assert len(set(times[:3].tolist())) > 1
    with pytest.raises(ValueError, match="asked_times: x must be 3 rows, or times that, got 4"):
        scheduler.asked_times(seeded(4))
