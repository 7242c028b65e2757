"""A critic on decoded samples: trainable heads on several layers of a frozen feature network.

The logit is the sum of one head a layer, of features pooled over positions. The network is any
module (a vision encoder, say); its weights never move, and gradients pass through it to the
sample. Beside a `Critic`, whose head sits on the fake score at a noise level, this one sees clean
samples, and leaves the fake score to denoising alone. Flash-DMD (arXiv 2511.20549), sheet
`flash-dmd`, "Stage 1".
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ...errors import fail, integer
from .adversary import outputs, pooled


class FeatureCritic(nn.Module):
    """Logits (n,) of samples, from frozen features.

    network: called with the samples; its parameters are set to require no gradient. layers: from
    the names of submodules to the channels of their outputs, (n, channels, ...) or, for a
    transformer's (n, positions, channels), with `channels_last`. Raises ValueError or TypeError by
    name.

    >>> critic = FeatureCritic(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4)), {"0": 8})
    >>> critic(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    def __init__(
        self, network: nn.Module, layers: Mapping[str, int], *, channels_last: bool = False
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"FeatureCritic: network must be a torch module, got {network!r}")
        known = dict(network.named_modules())
        if not layers or any(name not in known or not name for name in layers):
            allowed = f"from {[name for name in known if name]} to their channels"
            raise fail("FeatureCritic", "layers", allowed, dict(layers))
        self.network = network.requires_grad_(False).eval()
        self.channels_last = channels_last
        like = next(network.parameters(), torch.zeros(()))
        heads = []
        for channels in layers.values():
            integer("FeatureCritic", "layers", channels, 1)
            head = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1))
            heads.append(head.to(like.device, like.dtype))
        self.names, self.heads = tuple(layers), nn.ModuleList(heads)

    def train(self, mode: bool = True) -> FeatureCritic:
        """The heads alone change their mode: the features are frozen."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """l(x), (n,)."""
        with outputs({name: self.network.get_submodule(name) for name in self.names}) as seen:
            self.network(x)
        if missing := [name for name in self.names if name not in seen]:
            raise fail("FeatureCritic", "layers", "called by the network", missing)
        total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        for name, head in zip(self.names, self.heads, strict=True):
            total = total + head(pooled(seen[name], self.channels_last)).flatten()
        return total
