"""A diffusers network, with the scheduler that it was trained for, as a Model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...arrays import Array
from ...model import Model
from .. import torch as any_module
from .convention import convention


def model(
    network: Callable[..., Any],
    scheduler: Any,
    *,
    timestep: Callable[[Array], Array] | None = None,
    guidance: float | int = 1.0,
    null: Mapping[str, Any] | None = None,
    shared: Mapping[str, Any] | None = None,
    **cond: Any,
) -> Model:
    """The network as a Model of the path, prediction and units of time of its scheduler.

    network: a UNet or transformer, called as network(x, timestep=..., **cond). scheduler: the one
    that it was trained for, or its `Convention`. cond, guidance, null and shared as in
    `adapters.torch.model` (`class_labels`, `encoder_hidden_states`, ...; `shared` for Flux's
    `img_ids` and `txt_ids`, and `.given(guidance=...)` for what it calls guidance). timestep: other
    units of time than the scheduler's (Flux takes t itself). Of a network that learns its variance
    too (twice the channels) that part is left out. Raises what `convention` does.

    >>> from diffusers import DDPMScheduler, UNet2DModel
    >>> unet = UNet2DModel(8, 1, 1, block_out_channels=(8,), norm_num_groups=4,
    ...     down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    >>> model(unet, DDPMScheduler(prediction_type="sample")).prediction
    'data'
    """
    told = convention(scheduler)
    if not callable(network):
        raise TypeError(f"adapters.diffusers.model: network must be callable, got {network!r}")
    return any_module.model(
        _Called(network),
        told.path,
        told.prediction,
        timestep=told.timestep if timestep is None else timestep,
        scale_input=told.scale_input,
        read_output=told.read_output,
        guidance=guidance,
        null=null,
        shared=shared,
        **cond,
    )


class _Called(torch.nn.Module):
    """network(x, timestep=t, **cond), the mean alone where it also learns a variance."""

    def __init__(self, network: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, t: torch.Tensor, **cond: Any) -> torch.Tensor:
        out = any_module.tensor_of(self.network(x, timestep=t, **cond))
        return out[:, : x.shape[1]] if out.ndim > 1 and out.shape[1] == 2 * x.shape[1] else out
