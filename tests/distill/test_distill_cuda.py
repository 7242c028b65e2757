"""The methods on classes of diffusers on a CUDA device, in bfloat16, against float64 on the host.

The same functions run on the CPU in `test_real_models`.
"""

from __future__ import annotations

import pytest
import torch

from fewtheory.adapters import lora
from fewtheory.train import fit

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
every_method = pytest.mark.parametrize("method", ["dmd", "sid", "tdm"])


@every_method
@pytest.mark.usefixtures("own_checks")  # NumPy draws, which are the same there and here
def test_bfloat16_losses_and_slopes_are_float64s_up_to_roundings(real, method, in_precision):
    in_precision(real, method, half=True, device="cuda")


@every_method
@pytest.mark.usefixtures("own_checks")
def test_float64_there_is_float64_here_up_to_float32s_roundings(real, method, in_precision):
    """diffusers' embeddings of time are float32 in any precision; the rest is far below that."""
    in_precision(real, method, half=False, device="cuda", dtype=torch.float64)


@every_method
def test_a_run_in_mixed_precision(real, method, in_half):
    fitted = in_half(real, method, "cuda")
    for network in fitted.networks.values():
        assert {p.device.type for p in network.parameters()} == {"cuda"}


@pytest.mark.parametrize("name", ["UNet2DConditionModel", "SD3Transformer2DModel"])
def test_adapters_take_their_backbone_along(reals, players, name):
    real = reals[name]
    network = real.network()
    made = lora.adapters(network, ["student", "fake"], rng=torch.Generator(), rank=2)
    moving = players(real, "tdm", {"teacher": network, **made})
    rng = torch.Generator().manual_seed(0)
    fitted = fit(moving, real.batch(4), 3, rng=rng, batch=2, precision="bf16", device="cuda")
    for module in (network, *fitted.networks.values()):
        assert {p.device.type for p in module.parameters()} == {"cuda"}
    assert all(torch.isfinite(torch.tensor(record["loss"])) for record in fitted.log)
