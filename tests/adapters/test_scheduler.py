"""A plan driven step by step by a pipeline's loop is the plan's own run."""

import copy
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    ScoreSdeVeScheduler,
)

from fewtheory import paths, samplers
from fewtheory.adapters import diffusers as adapters
from fewtheory.adapters.diffusers import Convention, PlanScheduler, convention, scheduler
from fewtheory.adapters.diffusers.units import Affine, Arctan
from fewtheory.plan import VARIANTS, Trace, grids
from fewtheory.testbeds import Gaussian

EPS, EPS32 = torch.finfo(torch.float64).eps, torch.finfo(torch.float32).eps
DDIM = DDIMScheduler(clip_sample=False)
LIKES = {
    "noise on a table": DDIM,
    "v on a table": DDPMScheduler(prediction_type="v_prediction"),
    "flow": FlowMatchEulerDiscreteScheduler(),
    "preconditioned": EDMEulerScheduler(),
    "preconditioned, arctan": Convention(paths.EDM(), "data", Arctan(), 0.5, -1),
    "score": ScoreSdeVeScheduler(sigma_min=0.01, sigma_max=50.0),
}
BED = Gaussian([1.0], 0.25)
every_like = pytest.mark.parametrize("like", list(LIKES.values()), ids=list(LIKES))
bad = pytest.mark.usefixtures("own_checks")


class Exact:
    """The testbed's exact model, affine at each level, as the network that a scheduler expects.

    It knows the times of its calls in float64: a pipeline's are float32, and stand for those.
    """

    def __init__(self, like, plan):
        self.told = told = convention(like)
        self.t = plan.on(told.path).t[:-1][plan.evaluated]
        self.times = np.array([told.timestep(t) for t in self.t.tolist()])
        model, zero = BED.model(told.path, told.prediction), np.zeros((self.t.size, 1))
        self.at_zero = model(zero, self.t)[:, 0]
        self.slope = model(zero + 1, self.t)[:, 0] - self.at_zero

    def __call__(self, x, timestep):
        i = int(np.argmin(np.abs(self.times - timestep.reshape(-1)[0].item())))
        told, t = self.told, float(self.t[i])
        if told.sigma_data is not None:
            x = x / told.scale_input(torch.ones_like(x), t)  # c_in
        m = float(self.slope[i]) * x + float(self.at_zero[i])
        if told.sigma_data is None:
            return m
        skip = told.read_output(torch.zeros_like(x), x, t)  # c_skip x
        return (m - skip) / told.read_output(torch.ones_like(x), torch.zeros_like(x), t)  # by c_out


def loop(made, network, x, generator=None):
    """What every pipeline does."""
    made.set_timesteps()
    for t in made.timesteps:
        out = network(made.scale_model_input(x, t), timestep=t)
        x = made.step(out, t, x, generator=generator).prev_sample
    return x


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def x():
    return torch.randn((6, 1), generator=seeded(0), dtype=torch.float64)


NAMES = list(LIKES)
CASES = [  # each variant on a table, and on one of the others in turn
    pytest.param(variant, LIKES[name], id=f"{variant.name}, {name}")
    for i, variant in enumerate(VARIANTS)
    for name in (NAMES[0], NAMES[1 + i % (len(NAMES) - 1)])
]


@pytest.mark.parametrize(("variant", "like"), CASES)
@pytest.mark.usefixtures("own_checks")  # many nodes: the type checker is slow
def test_a_pipelines_loop_is_the_plans_run(variant, like, lams, x):
    path = convention(like).path
    plan = variant(path, grids.at_lams(path, lams[:6]))
    network, seen, rng = Exact(like, plan), {}, seeded()
    expected = plan.run(
        adapters.model(network, like), x, rng, callback=lambda i, u: seen.update({i: u})
    )
    made, ours = scheduler(plan, like), seeded()
    first = int(np.argmax(plan.evaluated))
    if first:  # EDM's churn before the first evaluation: the pipeline starts after it
        torch.randn(x.shape, generator=ours, dtype=x.dtype)
    assert len(made.timesteps) == plan.nfe
    # the same operations on the same numbers in the same order
    assert torch.equal(loop(made, network, seen[first], ours), expected)
    assert torch.equal(ours.get_state(), rng.get_state())


def elementwise():
    """One step whose coefficients differ over the event, and one of DDIM."""
    grid = adapters.grid(DDIM, 2)
    trace = Trace("elementwise", grid.path, grid)
    x, m = trace.evaluate(trace.start, grid[0])
    x = np.array([0.5, 1 / 3]) * x + np.array([0.2, 0.4]) * m + np.array([0.2, -0.7])
    x, m = trace.evaluate(x, grid[1])
    return trace.plan(0.1 * x + 0.9 * m)


def on_table(sampler, **settings):
    grid = adapters.grid(DDIM, 5)
    return sampler(grid.path, grid, **settings)


PLANS = {
    "to clean data": lambda: on_table(samplers.ddim),
    "thresholded": lambda: on_table(samplers.dpm_solver_pp, order=2, thresholding=True),
    "stochastic": lambda: on_table(samplers.dpm_solver_pp, order=2, eta=1.0),
    "elementwise": elementwise,
    "saved to a file": lambda: replace(on_table(samplers.heun), family=None),
}


@pytest.mark.parametrize("make", list(PLANS.values()), ids=list(PLANS))
def test_a_plan_of_any_kind_runs(make):
    plan, x = make(), torch.randn((6, 2), generator=seeded(0), dtype=torch.float64)
    network = Exact(DDIM, plan)
    expected = plan.run(adapters.model(network, DDIM), x, seeded())
    assert torch.equal(loop(scheduler(plan, DDIM), network, x, seeded()), expected)


# the schedulers that it replaces


def test_a_plan_of_ddim_is_the_scheduler_of_ddim(x):
    # its defaults: t = 750, 500, 250, 0 and then alpha = 1, the levels of `grid`
    own, plan = DDIMScheduler(clip_sample=False), on_table(samplers.ddim)
    own.alphas_cumprod = own.alphas_cumprod.double()
    own.set_timesteps(plan.nfe)
    made, network = scheduler(plan, own), Exact(own, plan)
    assert torch.equal(made.timesteps, own.timesteps)
    y = x
    for t in own.timesteps:
        y = own.step(network(y, timestep=t), t, y).prev_sample
    # a step of the exact model contracts; it rounds terms of size |x| / alpha a few times
    bound = 16 * EPS * plan.nfe * x.abs().max() / plan.alpha[0]
    torch.testing.assert_close(loop(made, network, x), y, rtol=0, atol=float(bound))


# diffusers' own set_timesteps hands tensors to NumPy
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_plan_of_second_order_is_the_multistep_scheduler(x):
    own = DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, solver_type="midpoint"
    )
    grid = adapters.grid(own, 6)  # its own timesteps, then sigma = 0 by a step of order 1
    plan = samplers.dpm_solver_pp(grid.path, grid, order=2, lower_order_final=False)
    made, network = scheduler(plan, own), Exact(own, plan)
    own.set_timesteps(6)
    assert torch.equal(made.timesteps, own.timesteps)
    torch.testing.assert_close(made.sigmas, own.sigmas, rtol=4 * EPS32, atol=0)
    y = x
    for t in own.timesteps:
        y = own.step(network(y, timestep=t), t, y).prev_sample
    # its steps and sigmas are float32; as above, and the extrapolation has weights of size 2
    bound = 32 * EPS32 * plan.nfe * x.abs().max() / plan.alpha[0]
    torch.testing.assert_close(loop(made, network, x), y, rtol=0, atol=float(bound))


@pytest.mark.parametrize(
    "own", [FlowMatchEulerDiscreteScheduler(shift=3.0), EDMEulerScheduler()], ids=["flow", "edm"]
)
def test_euler_on_the_straight_paths_is_their_scheduler(own, x):
    own.set_timesteps(6)
    path = convention(own).path
    times = own.sigmas[:-1].double().numpy().clip(path.t_min, path.t_max)  # float32 of 80 and 0.002
    plan = samplers.euler(path, grids.at_times(path, times).to_clean())
    made, network = scheduler(plan, own), Exact(own, plan)
    torch.testing.assert_close(made.timesteps, own.timesteps, rtol=0, atol=4 * EPS32 * 1000)
    torch.testing.assert_close(made.sigmas, own.sigmas, rtol=4 * EPS32, atol=0)
    start = x * own.sigmas[0].double()
    y = start
    scale = getattr(own, "scale_model_input", lambda y, t: y)
    for t in own.timesteps:
        y = own.step(network(scale(y, t), timestep=t), t, y).prev_sample
    # in x over its standard deviation a step contracts, and float32 rounds it a few times
    bound = 16 * EPS32 * plan.nfe * max(1.0, x.abs().max())
    torch.testing.assert_close(loop(made, network, start), y.double(), rtol=0, atol=float(bound))


# what pipelines ask for


@pytest.fixture
def four():
    """DDIM on four entries of a table."""
    grid = adapters.grid(DDIM, 4)
    return scheduler(samplers.ddim(grid.path, grid), DDIM)


def test_times_on_the_entries_of_a_table_are_integers(four):
    assert torch.equal(four.timesteps, torch.tensor([750, 500, 250, 0]))


def test_times_between_the_entries_of_a_table_are_numbers():
    path = convention(DDIM).path
    made = scheduler(samplers.ddim(path, [0.8, 0.5004, 0.1]), DDIM)
    assert made.timesteps.dtype == torch.float32
    torch.testing.assert_close(made.timesteps, torch.tensor([799.0, 499.4]))


@pytest.mark.parametrize(
    ("like", "std"),
    [
        (DDIM, 1.0),  # alpha^2 + sigma^2 = 1, whatever the first level
        (EDMEulerScheduler(), math.exp(2.5)),  # sigma = exp(-lam)
        (FlowMatchEulerDiscreteScheduler(), 1 / (1 + math.exp(-2.5))),
    ],
    ids=["table", "edm", "flow"],
)
def test_the_starting_noise_is_that_of_the_first_level(like, std, lams):
    path = convention(like).path
    made = scheduler(samplers.ddim(path, grids.at_lams(path, lams)), like)
    assert made.init_noise_sigma == pytest.approx(std, rel=8 * EPS)


def test_a_churned_sampler_starts_at_its_raised_level():
    path = paths.EDM()
    plan = samplers.edm_stochastic(path, [40.0, 10.0, 2.0], s_churn=0.5)
    made = scheduler(plan, EDMEulerScheduler())
    assert made.init_noise_sigma == pytest.approx(40.0 * 1.25, rel=8 * EPS)  # 1 + s_churn / 2
    assert len(made.timesteps) == plan.nfe == 4


def test_pipelines_read_what_the_network_is_off_the_config(four):
    config = four.config
    assert (config.num_train_timesteps, config.prediction_type) == (1000, "epsilon")
    assert (len(four), four.order, config.use_flow_sigmas) == (1000, 1, False)
    assert scheduler(four.plan, LIKES["flow"]).config.use_flow_sigmas


@every_like
def test_noise_is_added_at_any_time_of_the_network(like, rng):
    path = convention(like).path
    made = scheduler(samplers.ddim(path, grids.at_lams(path, [-1.0, 0.0, 1.0])), like)
    t = np.array([path.t_at(v) for v in (-2.0, 0.5, 3.0)])
    x0, eps = (torch.tensor(rng.standard_normal((3, 2))) for _ in range(2))
    alpha, sigma = (torch.tensor(v)[:, None] for v in (path.alpha(t), path.sigma(t)))
    times = torch.tensor([float(convention(like).timestep(v)) for v in t])  # float32
    # t off by a few eps32; d log sigma / dt is 1 / t at most on EDM's and flow, and lam's slope
    # below 100 on the table, whose t is at least 0.01 here
    bound = 64 * EPS32 * float((abs(x0) + abs(eps)).max() * sigma.max().clamp(min=1))
    found = made.add_noise(x0, eps, times)
    torch.testing.assert_close(found, alpha * x0 + sigma * eps, rtol=0, atol=bound)
    assert torch.equal(made.scale_noise(x0, times, eps), found)
    velocity = made.get_velocity(x0, eps, times)
    torch.testing.assert_close(velocity, alpha * eps - sigma * x0, rtol=0, atol=bound)
    assert torch.equal(made.add_noise(x0, eps, times[:1])[0], found[0])


def test_noise_on_a_table_is_ddims(four, rng):
    x0, eps = (torch.tensor(rng.standard_normal((3, 2)), dtype=torch.float32) for _ in range(2))
    at = torch.tensor([0, 400, 999])
    for name in ("add_noise", "get_velocity"):
        found, own = getattr(four, name)(x0, eps, at), getattr(DDIM, name)(x0, eps, at)
        # sqrt(1 - alpha^2) in float32 is off by eps / 2 sigma, and sigma = 0.01 at entry 0
        torch.testing.assert_close(found, own, rtol=0, atol=100 * EPS32 * float(abs(eps).max()))


def test_times_that_float32_moved_past_an_end_are_that_end(rng):
    path = paths.RectifiedFlow()
    made, eps = scheduler(samplers.ddim(path, [0.9, 0.1])), torch.tensor(rng.standard_normal(3))
    assert torch.equal(made.add_noise(torch.ones(3).double(), eps, 1000 * (1 + EPS32)), eps)


def test_the_last_entry_of_a_table_without_signal_is_noise(rng):
    own = DDIMScheduler(rescale_betas_zero_snr=True)
    path = convention(own).path
    made = scheduler(samplers.ddim(path, grids.at_lams(path, [-1.0, 1.0])), own)
    x0, eps = (torch.tensor(rng.standard_normal((2, 3))) for _ in range(2))
    alpha, sigma = path.alpha(path.t_max), path.sigma(path.t_max)  # where the path is cut off
    assert alpha < 1e-3
    assert torch.equal(made.add_noise(x0, eps, torch.tensor([999, 999])), alpha * x0 + sigma * eps)


def test_a_learned_variance_is_left_out(four, x):
    out = torch.cat([x, x + 1], dim=1)
    four.set_timesteps(4)
    found = four.step(out, 750, x, return_dict=False)[0]
    four.set_timesteps(4)
    assert torch.equal(found, four.step(x, 750, x).prev_sample)


def test_a_sample_that_the_pipeline_changed_is_the_one_that_goes_on(four, x):
    four.set_timesteps(4)
    four.step(x, 750, x)
    four.step(x, 500, x)
    changed = four.step(x, 250, 2 * x).prev_sample
    four.set_timesteps(4)
    four.set_begin_index(2)  # a step of DDIM knows nothing of those before
    assert torch.equal(changed, four.step(x, 250, 2 * x).prev_sample)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sample_that_was_written_into_is_the_one_that_goes_on(four, x, dtype):
    x = x.to(dtype)
    for write in (False, True):
        four.set_timesteps(4)
        y = four.step(x, 750, x).prev_sample
        y = y.zero_() if write else torch.zeros_like(y)
        found = four.step(x, 500, y).prev_sample
        if not write:
            expected = found
    assert torch.equal(found, expected)


def test_a_run_may_begin_at_a_later_step_of_a_single_step_sampler(x):
    plan = on_table(samplers.heun)  # two evaluations a step, one in the last
    made, network = scheduler(plan, DDIM), Exact(DDIM, plan)
    seen = {}
    expected = plan.run(adapters.model(network, DDIM), x, callback=lambda i, u: seen.update({i: u}))
    made.set_timesteps()
    made.set_begin_index(4)
    y = seen[4]
    for k in range(4, plan.nfe):
        assert made.step_index == (None if k == 4 else k)
        t = made.timesteps[k]
        y = made.step(network(y, timestep=t), t, y).prev_sample
    assert torch.equal(y, expected)
    assert made.begin_index == 4


@bad
@pytest.mark.parametrize("k", [1, 3])
def test_a_run_may_not_begin_where_steps_use_what_came_before(k):
    for plan in (on_table(samplers.heun), on_table(samplers.dpm_solver_pp, order=2)):
        made = scheduler(plan, DDIM)
        made.set_begin_index(0)
        with pytest.raises(ValueError, match=r"set_begin_index: begin_index must be 0 for .* got"):
            made.set_begin_index(k)


@bad
def test_a_run_may_not_begin_between_two_uses_of_one_noise():
    grid = adapters.grid(DDIM, 2)
    trace = Trace("reused", grid.path, grid)
    x, xi = trace.start, trace.noise()
    for i in range(2):
        x, m = trace.evaluate(x, grid[i])
        x = 0.5 * x + 0.5 * m + xi
    with pytest.raises(ValueError, match="set_begin_index: begin_index must be 0"):
        scheduler(trace.plan(x), DDIM).set_begin_index(1)


def test_a_restart_forgets_the_run_before(four, x):
    network = Exact(DDIM, four.plan)
    whole = loop(four, network, x)
    four.set_timesteps(4)
    four.step(x, 750, x)
    assert torch.equal(loop(four, network, x), whole)


def test_inference_mode_is_a_mode_like_others(four, x):
    expected = loop(four, Exact(DDIM, four.plan), x)
    with torch.inference_mode():
        assert torch.equal(loop(four, Exact(DDIM, four.plan), x), expected)


def test_a_time_on_a_device_is_not_read(four, x):
    four.set_timesteps(4)
    unreadable = torch.tensor(1, device="meta")
    four.step(x, unreadable, x)
    with pytest.raises(RuntimeError, match="meta"):
        float(unreadable)


def test_gradients_reach_the_start(four):
    x = torch.ones((1, 1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loop(four, Exact(DDIM, four.plan), x), (x,))


@pytest.mark.parametrize(("state", "out"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_the_result_is_of_the_samples_dtype(four, x, state, out):
    state, out = getattr(torch, state), getattr(torch, out)
    found = loop(four, lambda x, timestep: x.to(out), x.to(state))
    assert found.dtype == state


def test_a_preconditioned_output_in_half_precision_is_read_in_single():
    # one step to clean data is x_0 = c_skip x + c_out F itself, here with terms that cancel
    like, path = LIKES["preconditioned"], convention(LIKES["preconditioned"]).path
    plan = samplers.ddim(path, grids.at_lams(path, [math.log(2.0), math.inf]))  # sigma = 0.5
    x = torch.randn((256, 1), generator=seeded(0)).to(torch.bfloat16)
    F = (-0.8 * x).to(torch.bfloat16)
    exact = 0.5 * x.double() + 0.5**0.5 * 0.5 * F.double()  # sigma = s = 1/2
    found = loop(scheduler(plan, like), lambda x, timestep: F, x)
    once = torch.finfo(torch.bfloat16).eps / 2 * abs(exact)
    assert torch.all(abs(found.double() - exact) <= once + 8 * EPS32 * abs(x.double()))


# files


@every_like
def test_a_saved_scheduler_draws_the_same_samples(like, lams, x, tmp_path):
    path = convention(like).path
    plan = samplers.dpm_solver_pp(path, grids.at_lams(path, lams), order=2, eta=1.0)
    made, network = scheduler(plan, like), Exact(like, plan)
    made.save_pretrained(tmp_path)
    loaded = PlanScheduler.from_pretrained(tmp_path)
    expected = loop(made, network, x, seeded())
    for other in (loaded, PlanScheduler.from_config(made.config), scheduler(plan, made)):
        assert torch.equal(other.timesteps, made.timesteps)
        assert torch.equal(loop(other, network, x, seeded()), expected)
        times = made.timesteps.double()
        assert torch.equal(other.add_noise(x, x, times[:1]), made.add_noise(x, x, times[:1]))


def unclipped():
    """A convention with an infinite number, clip_lam = -inf, and a plan for it."""
    path = paths.Table(np.linspace(0.99, 0.01, 10))
    return samplers.ddim(path, [1.0, 0.5, 0.1]), Convention(
        path, "noise", Affine(path.entries, -1.0)
    )


def from_pure_noise():
    """A plan with infinite numbers: lam of both ends."""
    path = paths.RectifiedFlow()
    return samplers.ddim(path, grids.at_lams(path, [-math.inf, 0.0, math.inf])), None


@pytest.mark.parametrize("make", [unclipped, from_pure_noise])
def test_a_saved_scheduler_is_strict_json(make, tmp_path):
    made = scheduler(*make())
    made.save_pretrained(tmp_path)

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "scheduler_config.json").read_text()
    json.loads(text, parse_constant=refuse)
    loaded = PlanScheduler.from_pretrained(tmp_path)
    assert torch.equal(loaded.timesteps, made.timesteps)
    assert loaded.convention.path.__dict__.get("clip_lam", -math.inf) == -math.inf


@pytest.mark.parametrize("again", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_begins_anew(four, x, again):
    network = Exact(DDIM, four.plan)
    expected = loop(four, network, x)
    four.set_timesteps(4)
    four.step(x, 750, x)
    assert torch.equal(loop(again(four), network, x), expected)


def test_text_in_a_config_stays_text(four, tmp_path):
    marker = tmp_path / "executed"
    code = f"__import__('os').mkdir({str(marker)!r})"
    made = PlanScheduler.from_config({**four.config, "plan": {**four.config.plan, "name": code}})
    assert made.plan.name == code
    assert not marker.exists()


# a plan alone


@pytest.mark.parametrize(
    ("path", "prediction", "times"),
    [
        (paths.EDM(0.01, 120.0), "data", [100.0, 1.0]),  # sigma
        (paths.RectifiedFlow(), "flow", [900.0, 500.0]),  # 1000 t
        (paths.VPLinear(), "noise", [899, 499]),  # entries 1000 t - 1 of a table
        (convention(DDIM).path, "noise", [899, 499]),
    ],
    ids=lambda p: getattr(p, "name", None),
)
def test_a_plan_alone_says_what_network_it_is_for(path, prediction, times, x):
    t = [100.0, 1.0, 0.02] if path.name == "edm" else [0.9, 0.5, 0.02]
    plan = samplers.heun(path, t)
    made = scheduler(plan)
    assert made.convention.prediction == prediction
    assert made.timesteps.tolist()[0::2] == pytest.approx(times, abs=0.5 * EPS32 * max(times))
    told = Convention(path, prediction, made.convention.timestep)
    if prediction == "noise":
        told = replace(told, timestep=Affine(1000.0, -1.0))
    network = Exact(told, plan)
    # lam survives alpha and sigma of the implied path to a few eps; coefficients stay below 1 / t
    bound = 64 * EPS * plan.nodes * float(abs(x).max()) * made.init_noise_sigma / plan.alpha[0]
    expected = plan.run(BED.model(path, prediction), made.init_noise_sigma * x)
    found = loop(made, network, made.init_noise_sigma * x)
    torch.testing.assert_close(found, expected, rtol=0, atol=float(bound))


@bad
def test_a_plan_alone_on_no_usual_path_asks_for_its_scheduler():
    plan = samplers.ddim(paths.VPLinear(), [0.9, 0.5, 0.1])
    odd = replace(plan, alpha=2 * plan.alpha, sigma=2 * plan.sigma)
    with pytest.raises(ValueError, match="scheduler: like must be given"):
        scheduler(odd)
    assert len(scheduler(odd, DDIM)) == 1000


# bad input


@bad
def test_what_is_no_plan_is_named(four):
    with pytest.raises(TypeError, match="scheduler: plan must be a fewtheory Plan, got DDIM"):
        scheduler(DDIM)
    with pytest.raises(TypeError, match="convention: scheduler must be a diffusers scheduler"):
        scheduler(four.plan, 3)
    for plan in (None, four.plan):
        with pytest.raises(TypeError, match="PlanScheduler: plan must be made by scheduler"):
            PlanScheduler(plan)


@bad
def test_a_plan_that_leaves_the_networks_levels_is_named():
    plan = samplers.ddim(paths.EDM(0.002, 200.0), [200.0, 1.0])  # the network ends at 80
    with pytest.raises(ValueError, match=r"scheduler: plan does not fit its network: .*levels"):
        scheduler(plan, EDMEulerScheduler())
    path = paths.RectifiedFlow()
    plan = samplers.ddim(path, grids.at_lams(path, [-math.inf, 0.0]))  # noise says nothing there
    with pytest.raises(ValueError, match=r"scheduler: plan does not fit its network: .*prediction"):
        scheduler(plan, Convention(path, "noise", Affine(1.0)))


@bad
@pytest.mark.parametrize(
    ("like", "named"),
    [
        ((paths.VPLinear(), "noise", lambda t: t**2), "with units of time of .'affine', "),
        ((type("Own", (paths.VPLinear,), {})(), "noise", Affine(1.0)), "on one of the package's"),
    ],
)
def test_a_convention_that_cannot_be_written_down_is_named(four, like, named):
    with pytest.raises(ValueError, match=f"scheduler: like must be .*{named}"):
        scheduler(four.plan, Convention(*like))


@bad
@pytest.mark.parametrize(
    "change",
    [
        {"path": "os.path"},
        {"path": ["table"]},
        {"values": {"beta": 3}},
        {"values": None},
        {"prediction": "epsilon"},
        {"units": "eval"},
        {"units": [0.0, 1.0]},
        {"units": {"name": "eval"}},
        {"units": {"name": "affine", "scale": 0.0}},
        {"units": {"name": "arctan", "scale": 1.0}},
        {"sigma_data": "x"},
        {"sign": 2},
    ],
    ids=str,
)
def test_a_convention_that_is_none_is_named(four, change):
    convention = {**four.config.convention, **change}
    with pytest.raises(ValueError, match="PlanScheduler: convention is not a record of one"):
        PlanScheduler.from_config({**four.config, "convention": convention})


@bad
def test_a_plan_record_that_is_none_is_named(four):
    with pytest.raises(ValueError, match="PlanScheduler: field 'P' is not an array"):
        PlanScheduler.from_config({**four.config, "plan": {**four.config.plan, "P": 3}})


@bad
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_inference_steps": 50}, "num_inference_steps must be 4, the evaluations of <Plan"),
        ({"sigmas": [1.0, 0.5]}, "num_inference_steps must be 4"),
        ({"sigmas": [1.0, 0.9, 0.8, 0.7]}, "sigmas must be None"),
        ({"timesteps": [3, 2, 1, 0]}, "timesteps must be None"),
    ],
)
def test_levels_that_are_not_the_plans_are_named(four, settings, named):
    with pytest.raises(ValueError, match=f"PlanScheduler.set_timesteps: {named}"):
        four.set_timesteps(**settings)


def test_the_sigmas_that_every_flow_pipeline_passes_are_no_wish(four):
    four.set_timesteps(sigmas=np.linspace(1.0, 1 / 4, 4), mu=0.7)
    assert four.num_inference_steps == 4


@bad
def test_a_step_out_of_turn_is_named(four, x):
    with pytest.raises(ValueError, match=r"step: set_timesteps must be called before each run"):
        four.step(x, 750, x)
    four.set_timesteps(4)
    with pytest.raises(ValueError, match=r"step: timestep must be 750, number 0 of .* got 500"):
        four.step(x, 500, x)
    for t in four.timesteps:
        four.step(x, t, x)
    with pytest.raises(ValueError, match=r"step: set_timesteps must be called before each run"):
        four.step(x, 0, x)


@bad
@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"model_output": None}, TypeError, "model_output must be a floating tensor"),
        ({"sample": torch.ones((6, 1), dtype=torch.int64)}, TypeError, "sample must be a floating"),
        ({"model_output": torch.ones(6, 3)}, ValueError, r"model_output must be of shape \(6, 1\)"),
        ({"timestep": torch.tensor([750, 750])}, ValueError, "timestep must be 750"),
        ({"eta": 0.5}, ValueError, "eta must be left out"),
        ({"use_clipped_model_output": True}, ValueError, "use_clipped_model_output must be left"),
    ],
)
def test_a_bad_step_is_named(four, x, change, error, named):
    four.set_timesteps(4)
    given = {"model_output": x, "timestep": 750, "sample": x, "eta": 0.0}
    with pytest.raises(error, match=f"PlanScheduler.step: {named}"):
        four.step(**{**given, **change})
    four.step(**given)  # the run is where it was
    with pytest.raises(ValueError, match=r"PlanScheduler.step: sample must be of shape \(6, 1\)"):
        four.step(x[:2], 500, x[:2])


@bad
@pytest.mark.parametrize("times", [-1, 1000, [1, 2, 3], [[1], [2]]])
def test_times_that_are_not_the_networks_are_named(four, times):
    x = torch.ones((2, 1))
    with pytest.raises(ValueError, match=r"PlanScheduler.add_noise: timesteps must be "):
        four.add_noise(x, x, torch.tensor(times))
    with pytest.raises(ValueError, match=r"PlanScheduler.get_velocity: timesteps must be "):
        four.get_velocity(x, x, torch.tensor(times))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_like
def test_a_run_on_a_gpu_is_the_run_on_the_host_and_never_waits(like, lams, x):
    path = convention(like).path
    plan = samplers.dpm_solver_pp(path, grids.at_lams(path, lams), order=2)
    made = scheduler(plan, like)
    expected = loop(made, lambda x, timestep: x / 2, x)
    made.set_timesteps(device="cuda")
    y = x.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for t in made.timesteps:
            y = made.step(made.scale_model_input(y, t) / 2, t, y).prev_sample
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # fused multiply-adds round once where the host rounds twice
    bound = 64 * EPS * plan.nodes * float(abs(x).max()) * (1 + np.abs(plan.canonical().B).max())
    torch.testing.assert_close(y.cpu(), expected, rtol=0, atol=bound / plan.alpha[0])
