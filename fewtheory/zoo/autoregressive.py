"""Digits patch by patch: a causal transformer gives each patch a condition, a small head draws it.

The shape of MAR, FlowAR and xAR at the size of a test: an image is a sequence of 16 patches of 2 x
2 pixels, z_i = transformer(x_<i), and p(x_i | x_<i) is the law to which the flow of the velocity
head(x, t; z_i) carries noise, on the rectified path. Sheet `disa`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..model import Model
from ..paths import RectifiedFlow
from ..plan import Plan
from ..samplers import Autoregressive
from .networks import LevelEmbedding, ResidualBlock

SIDE, GRID = 2, 4  # pixels of a patch's side, patches of an image's side
PIXELS, PATCHES = SIDE**2, GRID**2


def patches_of(images: torch.Tensor) -> torch.Tensor:
    """Images (n, 1, 8, 8) as sequences (n, 16, 4): patches row by row, pixels row by row."""
    x = images.reshape(-1, GRID, SIDE, GRID, SIDE)
    return x.permute(0, 1, 3, 2, 4).reshape(-1, PATCHES, PIXELS)


def images_of(patches: torch.Tensor) -> torch.Tensor:
    """The inverse of `patches_of`."""
    x = patches.reshape(-1, GRID, GRID, SIDE, SIDE)
    return x.permute(0, 1, 3, 2, 4).reshape(-1, 1, GRID * SIDE, GRID * SIDE)


class CausalBlock(nn.Module):
    """h + attention(norm(h)), each place seeing those up to itself; then h + mlp(norm(h))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        split = self.inner(self.first(h)).unflatten(2, (3, self.heads, -1))  # (n, i, 3, heads, .)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.outer(seen.transpose(1, 2).flatten(2))
        return h + self.mlp(self.second(h))


class FlowHead(nn.Module):
    """The velocity eps - x_0 of a patch (n, 4) at times (n,), its condition being z (n, width)."""

    def __init__(self, condition: int, width: int, depth: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(PIXELS, width), nn.Linear(width, PIXELS)
        self.level = nn.Sequential(LevelEmbedding(), nn.Linear(32, width))
        self.condition = nn.Linear(condition, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: torch.Tensor, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        e = nn.functional.silu(self.level(t) + self.condition(z))
        h = self.inner(x)
        for block in self.blocks:
            h = block(h, e)
        return self.outer(nn.functional.silu(self.norm(h)))


class PatchAutoregression(nn.Module):
    """p(x) = prod_i p(x_i | x_<i) over the patches of a digit; `conditional` are its factors."""

    path = RectifiedFlow()

    def __init__(
        self, width: int = 64, depth: int = 3, heads: int = 4, head: int = 80, layers: int = 2
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(PIXELS, width)
        self.places = nn.Parameter(0.02 * torch.randn(PATCHES, width))  # the first has no patch
        self.blocks = nn.ModuleList(CausalBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = FlowHead(width, head, layers)

    def conditions(self, prefix: torch.Tensor) -> torch.Tensor:
        """z_0, .., z_i (n, i + 1, width) of patches 0, .., i, of a prefix (n, i, 4), i < 16."""
        known = nn.functional.pad(self.inner(prefix), (0, 0, 1, 0))
        h = known + self.places[: known.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.norm(h)

    def conditional(self, i: int, prefix: torch.Tensor) -> Model:
        """The law of patch i given the prefix (n, i, 4), as a Model of (n, 1, 4): its velocity."""
        dtype = self.places.dtype
        z = self.conditions(prefix.to(dtype))[:, i]

        def velocity(x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
            wide = torch.float64 if x.dtype == torch.float64 else torch.float32
            times = torch.as_tensor(t, dtype=wide, device=x.device).expand(x.shape[0])
            return self.head(x[:, 0].to(dtype), times, z)[:, None].to(x.dtype)

        return Model(velocity, self.path, "flow")

    def draw(self, noise: torch.Tensor, plans: Sequence[Plan]) -> torch.Tensor:
        """Digits (n, 1, 8, 8) from noise of that shape, patch i by plans[i]."""
        return images_of(Autoregressive(self.conditional, plans).run(patches_of(noise)))

    def forward(self, x0: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Velocities of patches (n, 16, 4) at x_t, each given the clean ones before it.

        t: (k, n, 16) and eps: (k, n, 16, 4), several levels of each patch at once.
        """
        z = self.conditions(x0[:, :-1]).expand(t.shape[0], -1, -1, -1)
        x = (1 - t)[..., None] * x0 + t[..., None] * eps
        return self.head(x.flatten(0, 2), t.flatten(), z.flatten(0, 2)).reshape(x.shape)
