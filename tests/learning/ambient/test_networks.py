"""The same loss on diffusers' networks, through the adapter, and on a CUDA device."""

import math

import pytest
import torch

import fewtheory as ft
from fewtheory.learning.ambient import _torch as ambient
from fewtheory.learning.ambient._torch import ambient_denoising, ambient_loss
from fewtheory.learning.ambient.martingale._torch import consistency_loss
from fewtheory.train.denoising import regression_loss

EPS32 = torch.finfo(torch.float32).eps


def generator(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def unet(scheduler):
    """A tiny UNet2DModel as the Model of its scheduler, and the network itself."""
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # of the first weights
        network = diffusers.UNet2DModel(
            sample_size=8,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(8,),
            norm_num_groups=4,
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
        )
    made = getattr(diffusers, scheduler)()
    told = ft.adapters.diffusers.convention(made)
    return network, lambda net: ft.adapters.diffusers.model(net, told)


@pytest.fixture
def digits():
    return torch.randn(6, 1, 8, 8, generator=generator(1))


@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "EDMEulerScheduler"])
@pytest.mark.usefixtures("one_thread")
def test_a_unet_of_either_kind_learns_from_noisy_images(scheduler, digits):
    network, as_model = unet(scheduler)
    before = [p.detach().clone() for p in network.parameters()]
    players = ambient_denoising(network, as_model, consistency=0.1, consistency_rows=2)
    data = {"x": digits, "noise_level": torch.tensor([0.0, 0.0, 0.2, 0.2, 0.8, 0.8])}
    fitted = ft.train.fit(players, data, 3, rng=generator(), batch=6)
    assert all(math.isfinite(record["loss"]) for record in fitted.log)
    moved = [not torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True)]
    assert all(moved)


@pytest.mark.usefixtures("one_thread")
def test_a_noise_predicting_unet_on_clean_images_is_ddpm_with_the_weight_in_data(digits):
    """D - x_0 = -rho (eps_hat - eps): the plain loss, weighted by w rho^2."""
    network, as_model = unet("DDPMScheduler")
    model = as_model(network)
    assert model.prediction == "noise"
    t = 0.4
    found = ambient_loss(model, digits, 0.0, t, rng=generator(2), weight=lambda level: 3.0)
    eps = torch.randn(digits.shape, generator=generator(2))
    rho2 = math.exp(-2 * model.path.lam(t))
    plain = regression_loss(model, digits, torch.full((6,), t), eps)
    # rho^2 cancels between two float32 terms of its size: eps rho^2 of each of them, twice over
    assert float(found.detach()) == pytest.approx(3 * rho2 * float(plain.detach()), rel=100 * EPS32)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_both_losses_say_there_what_they_say_here(monkeypatch):
    x = torch.randn(16, 3, generator=generator(1), dtype=torch.float64)
    y = x + 0.3 * torch.randn(x.shape, generator=generator(2), dtype=torch.float64)
    z = torch.randn(x.shape, generator=generator(3), dtype=torch.float64)
    exact = ft.testbeds.Gaussian([0.0, 0.0, 0.0], [0.2, 0.5, 1.0]).model(
        ft.paths.VPLinear(), "data"
    )
    t = torch.linspace(0.3, 0.9, 16, dtype=torch.float64)
    monkeypatch.setattr(ambient, "standard_normal", lambda rng, shape, like: z.to(like))
    here = ambient_loss(exact, y, 0.3, t, rng=generator())
    there = ambient_loss(exact, y.cuda(), 0.3, t.cuda(), rng=generator(device="cuda"))
    assert there.device.type == "cuda"
    assert float(there) == pytest.approx(float(here), rel=1e-10)  # sums of 48 terms
    rng = generator(device="cuda")
    loss = consistency_loss(exact, y.cuda(), t.cuda(), 0.5 * t.cuda(), rng=rng)
    assert loss.device.type == "cuda"
    network = torch.nn.Linear(3, 3).double().cuda()
    players = ambient_denoising(
        network, lambda net: ft.Model(lambda x, t: net(x), ft.paths.EDM(), "data"), consistency=1.0
    )
    batch = {"x": y.cuda(), "noise_level": torch.full((16,), 0.3, device="cuda")}
    players["denoiser"].loss({"denoiser": network}, batch, rng).backward()
    assert network.weight.grad is not None
