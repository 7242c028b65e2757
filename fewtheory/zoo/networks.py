"""The zoo's networks: a residual MLP, EDM's preconditioning and a digit classifier of its own.

The UNet, the transformer and the language model are the classes of diffusers and transformers with
a small config.
"""

from __future__ import annotations

import math

import torch
from torch import nn

LEAST = math.exp(-8)  # added to a classifier's rho, so that clean digits have a level too
BOS = 4  # the token before every sequence of the source


class LevelEmbedding(nn.Module):
    """cos and sin of a level's number at 16 fixed frequencies from 1/4 to 16, (n,) -> (n, 32).

    Taken in the dtype of the level, which is wide, and returned in that of the module.
    """

    own: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("own", torch.zeros(()), persistent=False)  # has the module's dtype

    def forward(self, c: torch.Tensor) -> torch.Tensor:
        frequencies = 2.0 ** torch.linspace(-2, 4, 16, dtype=c.dtype, device=c.device)
        angles = c[:, None] * frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1).to(self.own.dtype)


class ResidualBlock(nn.Module):
    """h + W_2 silu(W_1 norm(h) scaled and shifted by the level's embedding), (n, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.modulation = nn.Linear(width, 2 * width)

    def forward(self, h: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulation(e).chunk(2, dim=1)
        return h + self.second(nn.functional.silu(self.first(self.norm(h) * (1 + scale) + shift)))


class MLP(nn.Module):
    """A residual MLP (x, t, label) -> the shape of x, for events of d numbers.

    classes: K, and labels 0 .. K - 1; -1 is none. Without classes labels are refused.
    """

    def __init__(self, d: int, width: int = 256, depth: int = 3, classes: int = 0) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(d, width), nn.Linear(width, d)
        self.level = nn.Sequential(LevelEmbedding(), nn.Linear(32, width), nn.SiLU())
        self.labels = nn.Embedding(classes + 1, width) if classes else None
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.zeros_(self.outer.weight)

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, label: torch.Tensor | None = None
    ) -> torch.Tensor:
        e = self.level(t)
        if self.labels is not None:
            none = torch.full((x.shape[0],), -1, device=x.device)
            e = e + self.labels((none if label is None else label) + 1)
        elif label is not None:
            raise ValueError("MLP: label must be None: this network knows no classes")
        h = self.inner(x.flatten(1))
        for block in self.blocks:
            h = block(h, e)
        return self.outer(nn.functional.silu(self.norm(h))).reshape(x.shape)


class EDMPreconditioned(nn.Module):
    """D(x, sigma) = c_skip x + c_out F(c_in x, log(sigma) / 4), the denoiser of Karras et al. 2022.

    c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2), c_in^2 = 1 / (sigma^2 +
    s^2), s the data's standard deviation: F sees and is asked for unit variance at every level.
    """

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.network, self.sigma_data = network, sigma_data

    def forward(
        self, x: torch.Tensor, sigma: torch.Tensor, label: torch.Tensor | None = None
    ) -> torch.Tensor:
        s = self.sigma_data
        column = sigma.reshape(-1, *[1] * (x.ndim - 1))
        total = (column**2 + s**2).sqrt()
        out = self.network((x / total).to(x.dtype), sigma.log() / 4, label)
        return (s / total) ** 2 * x + (column * s / total) * out


class DigitClassifier(nn.Module):
    """Logits (n, 10) of digits (n, 1, 8, 8) seen with noise: x_0 + rho eps, any rho >= 0.

    `features(x)` are the 32 numbers before the last layer, for clean digits: the space of the
    zoo's Frechet distances. With noise the logits guide a sampler: grad log p(c | x_t) at x_t /
    alpha and rho = sigma / alpha.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.third = nn.Conv2d(2 * channels, 2 * channels, 3, stride=2, padding=1)
        self.level = nn.Sequential(LevelEmbedding(), nn.Linear(32, 2 * channels))
        self.inner, self.outer = nn.Linear(8 * channels, 32), nn.Linear(32, 10)

    def features(self, x: torch.Tensor, rho: torch.Tensor | float = 0.0) -> torch.Tensor:
        """(n, 32) at the noise level rho, a number or (n,)."""
        level = torch.as_tensor(rho, dtype=x.dtype, device=x.device).expand(x.shape[0])
        silu, column = nn.functional.silu, level.reshape(-1, 1, 1, 1)
        h = silu(self.first(x / (1 + column**2).sqrt()))
        h = self.second(h) + self.level((level + LEAST).log() / 4)[:, :, None, None]
        h = silu(self.third(silu(h)))
        return silu(self.inner(h.flatten(1)))

    def forward(self, x: torch.Tensor, rho: torch.Tensor | float = 0.0) -> torch.Tensor:
        return self.outer(self.features(x, rho))

    def grad_log_prob(
        self, x: torch.Tensor, rho: torch.Tensor | float, label: torch.Tensor
    ) -> torch.Tensor:
        """The gradient of log p(label | x) in x, of the shape of x."""
        with torch.enable_grad():
            seen = x.detach().requires_grad_(True)
            log_prob = self.forward(seen, rho).log_softmax(1)
            chosen = log_prob.gather(1, label[:, None]).sum()
            return torch.autograd.grad(chosen, seen)[0]


def unet(classes: int | None = None) -> nn.Module:
    """diffusers' UNet2DModel for digits: two levels, attention in the lower one."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=16,
        norm_num_groups=8,
        num_class_embeds=classes,
    )


def transformer() -> nn.Module:
    """diffusers' DiTTransformer2DModel for digits: 16 patches, four blocks of width 96."""
    from diffusers.models.embeddings import LabelEmbedding
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    network = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=24,
        in_channels=1,
        out_channels=1,
        num_layers=4,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    for part in network.modules():
        if isinstance(part, LabelEmbedding):  # each block would drop labels by itself
            part.dropout_prob = 0.0
    return network


def language_model() -> nn.Module:
    """transformers' LlamaForCausalLM of two layers, for four tokens and `BOS`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=5,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=16,
            bos_token_id=BOS,
            eos_token_id=None,
            pad_token_id=None,
        )
    )
