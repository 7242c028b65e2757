"""LCM, TCD and Euler ancestral, against the schedulers of diffusers that they are."""

import math

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, LCMScheduler, TCDScheduler

from fewtheory import Model, paths, samplers
from fewtheory.adapters.diffusers import convention
from fewtheory.plan import grids
from fewtheory.samplers import euler_ancestral, lcm, precondition, tcd
from fewtheory.testbeds import Gaussian

EPS, SINGLE = np.finfo(np.float64).eps, float(np.finfo(np.float32).eps)
VP, EDM = paths.VPLinear(), paths.EDM()
C_X, C_E = (1.012, 0.967), (0.955, 1.099)
PAIRS = pytest.mark.parametrize("pairs", [None, (C_X, C_E)], ids=["untouched", "preconditioned"])


def network(x, t):
    """A smooth stand-in for a network, in float64, that looks at the time too."""
    return torch.tanh(0.7 * x) + 0.2 * torch.sin(x + 0.003 * t)


def start(rng):
    return torch.tensor(rng.standard_normal((3, 1, 2, 2)))


def scaled(plan, pairs):
    return plan if pairs is None else precondition(plan, *pairs)


def stepped(scheduler, x, pairs, time=int, **kwargs):
    """What the scheduler draws, shown c_x x and c_e m where there are pairs.

    A timestep that is a tensor makes LCM's boundary scalings float32, an int does not.
    """
    ones = (1.0, 1.0)
    c_x, c_e = (np.linspace(*p, len(scheduler.timesteps)) for p in pairs or (ones, ones))
    generator = torch.Generator().manual_seed(7)
    for i, t in enumerate(scheduler.timesteps):
        m = network(scheduler.scale_model_input(x, t), float(t))
        given = c_e[i] * m, time(t), c_x[i] * x
        x = scheduler.step(*given, generator=generator, return_dict=False, **kwargs)[0]
    return x


def ready(scheduler, steps):
    """The scheduler with float64 constants and its timesteps set, and what its network expects."""
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(steps)
    return convention(scheduler)


def ran(plan, told, x):
    model = Model(lambda x, t: network(x, told.timestep(t)), told.path, "noise")
    return plan.run(model, x, torch.Generator().manual_seed(7))


def noisiest(told):
    """1/alpha at the first level: what an error of the noise is multiplied with in x0."""
    return 1 / float(told.path.alpha(1.0))


@PAIRS
@pytest.mark.parametrize("scaling", [10.0, 0.01])  # at .01 the boundary terms matter
def test_lcm_is_the_scheduler_of_diffusers(rng, pairs, scaling):
    scheduler = LCMScheduler(timestep_scaling=scaling)
    told, x = ready(scheduler, 4), start(rng)
    grid = grids.at_times(told.path, (scheduler.timesteps.numpy() + 1) / 1000).to_clean()
    plan = scaled(lcm(told.path, grid, timestep_scaling=scaling), pairs)
    # 16 roundings a step, on x0 of up to 1/alpha at the first and a network of slope 1
    bound = 64 * EPS * noisiest(told) * 8
    torch.testing.assert_close(ran(plan, told, x), stepped(scheduler, x, pairs), rtol=0, atol=bound)


@PAIRS
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd_is_the_scheduler_of_diffusers(rng, pairs, eta):
    scheduler = TCDScheduler()
    told, x = ready(scheduler, 4), start(rng)
    grid = grids.at_times(told.path, (np.append(scheduler.timesteps.numpy(), 0) + 1) / 1000)
    plan = scaled(tcd(told.path, grid, eta=eta), pairs)
    assert plan.stochastic == (eta > 0)
    bound = 64 * EPS * noisiest(told) * 8
    expected = stepped(scheduler, x, pairs, eta=eta)
    torch.testing.assert_close(ran(plan, told, x), expected, rtol=0, atol=bound)


@PAIRS
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers on NumPy 2
def test_euler_ancestral_is_the_scheduler_of_diffusers(rng, pairs):
    scheduler = EulerAncestralDiscreteScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(4)
    sigmas = scheduler.sigmas.double().numpy()
    grid = grids.at_lams(paths.EDM(0.002, 200.0), [*-np.log(sigmas[:-1]), math.inf])
    plan = scaled(euler_ancestral(grid.path, grid), pairs)
    times = iter(scheduler.timesteps.tolist())

    def shown(y, sigma):
        return network(y / math.hypot(1.0, sigma), next(times))

    x = start(rng) * sigmas[0]
    found = plan.run(Model(shown, grid.path, "noise"), x, torch.Generator().manual_seed(7))
    expected = stepped(scheduler, x.float(), pairs, time=lambda t: t).double()
    # it works in float32: 16 roundings a step on states up to the first sigma times a few
    bound = 64 * SINGLE * float(x.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)


def test_the_boundary_of_lcm_is_the_identity():
    table = convention(LCMScheduler()).path
    plan = lcm(table, grids.at_times(table, [0.5, 1 / 1000]).to_clean())
    last = plan.predicting("data")
    assert (last.P[-1, 1], last.B[-1, 1]) == (table.level(math.inf)[0] * 1.0, 0.0)


def test_tcd_of_eta_zero_is_ddim(lams):
    grid = grids.at_lams(VP, lams)
    assert tcd(VP, grid).distance(samplers.ddim(VP, grid)) <= 256 * EPS * 12


@pytest.mark.parametrize("eta", [0.2, 0.7, 1.0])
def test_tcd_puts_back_the_noise_between_its_two_levels(path, eta):
    # point masses are then sampled with their own variance, on paths that keep one or none
    low, high = path.t_at(2.0), path.t_at(-2.0)
    plan = tcd(path, grids.at_times(path, np.linspace(high, low, 5)), eta=eta)
    alpha, sigma = plan.believed_levels()
    bound = 256 * EPS * plan.nodes * np.exp(2.0) * max(1.0, *plan.sigma)
    assert np.abs(alpha - plan.alpha).max() <= bound
    assert np.abs(sigma - plan.sigma).max() <= bound


def test_euler_ancestral_is_ddpm(lams):
    grid = grids.at_lams(VP, lams)
    ddpm = samplers.ddim(VP, grid, eta=1.0)
    assert euler_ancestral(VP, grid).distance(ddpm) <= 256 * EPS * 12**2  # of a covariance


def test_renoising_a_denoiser_loses_the_law_however_many_the_steps():
    # why LCM and TCD with eta > 0 are no variants of an order: they want a consistency model
    bed = Gaussian([0.0], 0.25)
    grid = grids.at_lams(VP, np.linspace(-3, 3, 65)).to_clean()
    for plan in (lcm(VP, grid), tcd(VP, grid, eta=1.0)):
        assert plan.law(bed).std_ratio[0] < 0.7  # an order would give .99 with 64 steps
        assert plan.family is None


def test_a_last_step_to_clean_data_draws_nothing():
    grid = grids.at_lams(VP, [-2.0, 0.0, 2.0]).to_clean()
    for plan in (lcm(VP, grid), tcd(VP, grid, eta=0.5), euler_ancestral(VP, grid)):
        assert not np.any(plan.C[-1])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda g: lcm(VP, g, sigma_data=0.0), "lcm: sigma_data must be"),
        (lambda g: lcm(VP, g, timestep_scaling=-1.0), "lcm: timestep_scaling must be"),
        (lambda g: lcm(VP, g, entries=0), "lcm: entries must be"),
        (lambda g: tcd(VP, g, eta=-0.1), "tcd: eta must be"),
        (lambda g: tcd(VP, g, eta=1.1), "tcd: eta must be"),
        (lambda g: euler_ancestral(VP, g.t[::-1]), "t must be"),
    ],
)
def test_a_bad_argument_is_named(lams, call, named):
    with pytest.raises(ValueError, match=named):
        call(grids.at_lams(VP, lams))
