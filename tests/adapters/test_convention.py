"""What diffusers schedulers say of their networks."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

import fewtheory as ft
from fewtheory.adapters.diffusers import Convention, convention, grid, model
from fewtheory.adapters.diffusers.convention import PREDICTION_TYPES

TABLED = ["DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"]
FLOWS = ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"]


@pytest.mark.parametrize("name", TABLED)
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_a_table_of_betas_gives_its_own_levels_and_entries(name, kind):
    scheduler = getattr(diffusers, name)(prediction_type=kind)
    told = convention(scheduler)
    assert told.prediction == PREDICTION_TYPES[kind]
    entry = np.array([0, 17, 500, 999])
    t = told.timestep.inverse(entry)
    assert np.allclose(told.timestep(t), entry, rtol=0, atol=1e-9)
    alpha2 = scheduler.alphas_cumprod.double().numpy()[entry]
    assert np.allclose(told.path.alpha(t) ** 2, alpha2, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", FLOWS)
def test_flow_matching_is_the_straight_path_at_times_of_a_thousand(name):
    told = convention(getattr(diffusers, name)())
    assert (told.path, told.prediction) == (ft.paths.RectifiedFlow(), "flow")
    assert told.timestep(0.25) == 250.0


def test_flow_sigmas_on_another_scheduler_are_the_straight_path_too():
    scheduler = diffusers.UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    assert convention(scheduler).path == ft.paths.RectifiedFlow()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_preconditioning_is_the_schedulers_own(kind):
    scheduler = diffusers.EDMEulerScheduler(prediction_type=kind)
    told = convention(scheduler)
    rng = torch.Generator().manual_seed(3)
    x, out = (torch.randn(5, 2, generator=rng, dtype=torch.float64) for _ in range(2))
    for sigma in (0.01, 0.5, 70.0):
        value = torch.tensor(sigma, dtype=torch.float64)
        shown = scheduler.precondition_inputs(x, value)
        assert torch.allclose(told.scale_input(x, sigma), shown, rtol=1e-14, atol=0)
        meant = scheduler.precondition_outputs(x, out, value)
        assert torch.allclose(told.read_output(out, x, sigma), meant, rtol=1e-13, atol=1e-13)
        noise = scheduler.precondition_noise(value)
        assert told.timestep(sigma) == pytest.approx(float(noise), rel=1e-14)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers, on NumPy 2
def test_continuous_v_prediction_is_preconditioned_with_unit_data():
    """Stable Video's: its own step's denoised sample, x / (sigma^2 + 1) - sigma out / sqrt(..)."""
    scheduler = diffusers.EulerDiscreteScheduler(
        timestep_type="continuous",
        prediction_type="v_prediction",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
    )
    told = convention(scheduler)
    assert told.path.t_min == pytest.approx(0.002, rel=1e-6)  # its sigmas are float32
    assert told.path.t_max == pytest.approx(700.0, rel=1e-6)
    scheduler.set_timesteps(3)
    t, x, out = scheduler.timesteps[0], torch.tensor([[2.0, -300.0]]), torch.tensor([[0.5, -1.5]])
    sigma = float(scheduler.sigmas[0])
    assert told.timestep(sigma) == pytest.approx(float(t), rel=1e-6)
    shown = scheduler.scale_model_input(x, t)
    assert torch.allclose(told.scale_input(x, sigma), shown, rtol=1e-5, atol=0)
    meant = scheduler.step(out, t, x).pred_original_sample
    assert torch.allclose(told.read_output(out, x, sigma), meant, rtol=1e-5, atol=1e-5)


def test_continuous_noise_prediction_is_refused():
    with pytest.raises(ValueError, match="got 'EulerDiscreteScheduler'"):
        convention(diffusers.EulerDiscreteScheduler(timestep_type="continuous"))


def test_improved_pndm_reads_v_on_the_circle():
    """Its step forms sin(pi t / 2) x + cos(pi t / 2) out, which is eps if and only if out is v."""
    scheduler = diffusers.IPNDMScheduler()
    scheduler.set_timesteps(4)
    told = convention(scheduler)
    t = scheduler.timesteps.double().numpy()
    assert told.prediction == "v"
    assert np.allclose(told.path.sigma(told.timestep.inverse(t)), scheduler.betas[:-1], atol=1e-6)
    assert np.allclose(told.path.alpha(told.timestep.inverse(t)), scheduler.alphas[:-1], atol=1e-6)


def test_a_zero_terminal_snr_is_cut_off():
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    path = convention(scheduler).path
    assert path.t_max == pytest.approx(0.999)
    assert np.isfinite(path.lam(path.t_max))


def test_a_convention_stands_for_its_scheduler():
    told = convention(diffusers.DDPMScheduler())
    assert isinstance(told, Convention)
    assert convention(told) is told


@pytest.mark.parametrize(
    "name",
    ["DDIMScheduler", "DPMSolverMultistepScheduler", "EDMEulerScheduler", *FLOWS],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers, on NumPy 2
def test_a_grid_stands_where_the_scheduler_calls_its_network(name):
    scheduler = getattr(diffusers, name)()
    told, levels = convention(scheduler), grid(scheduler, 7)
    scheduler.set_timesteps(7)
    calls = np.unique(np.asarray(scheduler.timesteps, dtype=np.float64))[::-1]
    # its timesteps are float32, and log(sigma) / 4 of one is off by eps times 20, the ends' log
    assert np.allclose(told.timestep(levels.t[:-1]), calls, rtol=1e-6, atol=1e-6)
    assert levels.lam[-1] == np.inf


def test_a_grid_leaves_the_scheduler_as_it_was():
    scheduler = diffusers.DDIMScheduler()
    scheduler.set_timesteps(3)
    grid(scheduler, 9)
    assert len(scheduler.timesteps) == 3


def test_the_score_sde_tells_its_levels_but_no_grid():
    scheduler = diffusers.ScoreSdeVeScheduler()
    assert convention(scheduler).prediction == "score"
    with pytest.raises(ValueError, match="one whose timesteps its network takes"):
        grid(scheduler, 4)


@pytest.mark.parametrize(
    "name", ["CMStochasticIterativeScheduler", "SCMScheduler", "RePaintScheduler"]
)
def test_a_scheduler_that_is_not_read_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"convention: scheduler must be .* got '{name}'"):
        convention(getattr(diffusers, name)())


def test_inverted_sigmas_are_refused():
    with pytest.raises(ValueError, match="one whose time grows with the noise"):
        convention(diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True))


def test_what_is_no_scheduler_is_refused():
    with pytest.raises(TypeError, match="scheduler must be a diffusers scheduler, got 3"):
        convention(3)


# networks


class Speaks(torch.nn.Module):
    """An exact prediction in a network's clothes: network(x, timestep) in a scheduler's units."""

    def __init__(self, bed, told):
        super().__init__()
        self.exact, self.told = bed.model(told.path, told.prediction), told

    def forward(self, x, timestep, **cond):
        t = torch.as_tensor(self.told.timestep.inverse(timestep.double().numpy()), dtype=x.dtype)
        if self.told.sigma_data is None:
            return type("Out", (), {"sample": self.exact(x, t)})()
        state = x / self.told.scale_input(torch.ones_like(x), t)
        denoised = self.exact(state, t)
        one, none = torch.ones_like(x), torch.zeros_like(x)
        skip = self.told.read_output(none, state, t)
        return (denoised - skip) / (self.told.read_output(one, state, t) - skip)


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.DDPMScheduler(),
        diffusers.DDIMScheduler(prediction_type="v_prediction"),
        diffusers.DDIMScheduler(prediction_type="sample"),
        diffusers.FlowMatchEulerDiscreteScheduler(),
        diffusers.EDMEulerScheduler(),
        diffusers.EDMEulerScheduler(prediction_type="v_prediction"),
    ],
    ids=lambda s: f"{type(s).__name__}-{s.config.get('prediction_type')}",
)
def test_the_model_is_what_the_network_says_in_the_schedulers_tongue(scheduler, bimodal):
    told = convention(scheduler)
    adapted = model(Speaks(bimodal, told), scheduler)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    for rho in (0.1, 1.0, 10.0):
        t = told.path.t_at(-np.log(rho))
        exact = bimodal.model(told.path, "data")(x, t)
        # the network's time has float64's digits; through log(sigma) / 4 and 1000 t few are lost
        assert torch.allclose(adapted.predicting("data")(x, t), exact, rtol=0, atol=1e-10)


def test_a_network_that_learns_its_variance_too_has_it_left_out():
    def network(x, timestep):
        return torch.cat([2 * x, 0 * x + 7], dim=1)

    out = model(network, diffusers.DDPMScheduler())(torch.ones(2, 3, 4, 4), 0.5)
    assert torch.equal(out, torch.full((2, 3, 4, 4), 2.0))


def test_other_units_of_time_than_the_schedulers_are_taken():
    seen = []

    def network(x, timestep):
        seen.append(timestep)
        return x

    flux = model(network, diffusers.FlowMatchEulerDiscreteScheduler(), timestep=lambda t: t)
    flux(torch.ones(2, 3), 0.25)
    assert torch.equal(seen[0], torch.full((2,), 0.25))


def test_what_is_no_network_is_refused(own_checks):
    with pytest.raises(TypeError, match="network must be callable, got 3"):
        model(3, diffusers.DDPMScheduler())
