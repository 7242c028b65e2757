"""What runs on NumPy runs on a CUDA device, stays there, and says the same.

In float64, where results of two libraries differ by roundings alone.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fewtheory as ft

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PATH = ft.paths.VPLinear()
CLOSE = {"rtol": 1e-10, "atol": 1e-10}  # sums of tens of terms and a few exponentials of eps each


def on_cuda(x):
    return torch.tensor(np.asarray(x), device="cuda")


def same(there, here, **tolerance):
    assert there.device.type == "cuda"
    assert np.allclose(there.cpu().numpy(), here, **{**CLOSE, **tolerance})


def full():
    rng = np.random.default_rng(3)
    root = rng.standard_normal((4, 3, 3))
    covs = root @ np.swapaxes(root, 1, 2) + 0.3 * np.eye(3)
    return ft.testbeds.GaussianMixture(
        [0.1, 0.2, 0.3, 0.4], rng.standard_normal((4, 3)), covs, classes=[0, 0, 1, 1]
    )


BEDS = {
    "gaussian": lambda: ft.testbeds.Gaussian([1.0, 0.0, -1.0], np.diag([0.2, 0.5, 1.0])),
    "mixture": full,
    "diagonal mixture": lambda: ft.testbeds.GaussianMixture(
        [0.5, 0.5], [[0.0, 1.0, 2.0], [1.0, -1.0, 0.0]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    ),
    "product": lambda: ft.testbeds.ProductMixture(
        np.full((3, 2), 0.5), np.array([[-1.0, 1.0]] * 3), np.full((3, 2), 0.4)
    ),
}


@pytest.fixture(params=list(BEDS))
def bed(request):
    return BEDS[request.param]()


@pytest.fixture
def x():
    return np.random.default_rng(5).standard_normal((64, 3))


@pytest.mark.parametrize("name", ["mixture", "diagonal mixture"])
def test_scores_and_log_densities(name, x):
    at = BEDS[name]().at(PATH, 0.4)
    same(at.log_prob(on_cuda(x)), at.log_prob(x))
    same(at.score(on_cuda(x)), at.score(x))


@pytest.mark.parametrize("prediction", ["data", "noise", "score", "velocity", "v"])
def test_predictions_at_one_time_and_at_times_by_row(bed, x, prediction):
    model, t = bed.model(PATH, prediction), np.linspace(0.05, 0.95, 64)
    same(model(on_cuda(x), 0.4), model(x, 0.4))
    same(model(on_cuda(x), on_cuda(t)), model(x, t))


def test_draws_come_from_a_generator_on_the_device(bed):
    rng = torch.Generator("cuda").manual_seed(0)
    drawn = bed.sample(1000, rng=rng, like=torch.empty(0, device="cuda", dtype=torch.float64))
    assert drawn.device.type == "cuda"
    assert drawn.shape == (1000, 3)


def test_flow_maps(x):
    for make in (BEDS["gaussian"], BEDS["product"]):
        flow = make().flow(PATH)
        # an inversion to 1e-12 in the worst of 1000 standard deviations' conditioning
        same(flow(on_cuda(x), 0.9, 0.1), flow(x, 0.9, 0.1), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("variant", ft.samplers.VARIANTS, ids=lambda v: v.name)
def test_plans(variant, x):
    model = full().model(PATH)
    plan = variant(PATH, ft.plan.grids.log_snr(PATH, 4, start=0.9))  # churn raises a level
    if variant.stochastic:
        rng = torch.Generator("cuda").manual_seed(1)
        assert plan.run(model, on_cuda(x), rng).device.type == "cuda"
    else:  # four steps of rules whose weights reach tens each, at CLOSE an output
        same(plan.run(model, on_cuda(x)), plan.run(model, x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_states_are_updated_in_float32(x, dtype):
    """The exact model of N(0, I): each state shown and each output is rounded once."""
    bed = ft.testbeds.Gaussian([0.0, 0.0, 0.0], 1.0)
    exact = bed.model(PATH, "data")
    plan = ft.samplers.ddim(PATH, ft.plan.grids.log_snr(PATH, 8))
    state = on_cuda(x).to(dtype)
    seen = []
    out = plan.run(exact, state, callback=lambda i, u: seen.append(u.dtype))
    assert out.dtype == dtype
    assert set(seen) == {torch.float32}
    # an output is off by eps max|u| (the state shown and itself, half an ulp each); the outputs'
    # weights sum to alpha <= 1; fed back into later outputs at most as much again; a last rounding
    bound = 4 * torch.finfo(dtype).eps * float(state.abs().max())
    reference = plan.run(exact, state.double())
    assert float((out.double() - reference).abs().max()) <= bound


def test_distances(x):
    y = x[::-1] * 1.5 + 0.1
    same(ft.metrics.frechet_distance(on_cuda(x), on_cuda(y)), ft.metrics.frechet_distance(x, y))
    here = ft.metrics.mmd2(x, np.ascontiguousarray(y))
    there = ft.metrics.mmd2(on_cuda(x), on_cuda(y))
    assert there.value == pytest.approx(here.value, rel=1e-8)


def test_gradients_flow_through_a_plan_on_the_device(x):
    model, start = full().model(PATH), on_cuda(x).requires_grad_(True)
    plan = ft.samplers.dpm_solver_pp(PATH, ft.plan.grids.log_snr(PATH, 4), order=2)
    plan.run(model, start).square().sum().backward()
    on_host = torch.tensor(x, requires_grad=True)
    plan.run(model, on_host).square().sum().backward()
    same(start.grad, on_host.grad.numpy(), rtol=1e-8, atol=1e-8)


def test_networks_of_the_zoo_say_there_what_they_say_here():
    for name in ("digits-mlp", "digits-unet", "digits-dit"):
        entry = ft.zoo.load(name)
        x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        cond = {} if entry.recipe.null is None else {"class_labels": torch.arange(4)}
        # TF32, with its 10 bits, is what convolutions take there unless told otherwise
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            here = entry.model(x, 0.5, **cond)
            entry.network.double()
            exact = entry.model(x.double(), 0.5, **cond)
            entry.network.float().cuda()
            there = entry.model(x.cuda(), 0.5, **cond)
        # both are off by float32's roundings, of which the host's are a sample
        off = float((here - exact).abs().max())
        assert float((there.cpu() - exact).abs().max()) <= 10 * off
