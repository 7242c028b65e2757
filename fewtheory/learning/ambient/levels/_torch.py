"""Laws of noise levels that can be cut at a sample's own level.

A noisy sample teaches nothing at its own level and below. Clamping the draw there (as the paper's
code does) wastes it; drawing from the law that is cut there does not, and the probability of what
was kept says what its weight is. Sheet `ambient-scaling`, M3 and "Pitfalls".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from ....errors import fail, number
from ....paths import Path


@runtime_checkable
class Levels(Protocol):
    """A law of noise levels that can be cut: draws rho in [low, high] and says how likely that is.

    low, high: (n,) float64, in units of rho; returns rho (n,) and the probability (n,) that the
    uncut law falls there.
    """

    def between(
        self, path: Path, low: torch.Tensor, high: torch.Tensor, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


@dataclass(frozen=True)
class LogNormalLevels:
    """log rho normal (EDM, -1.2 and 1.2), the mass beyond the path's ends put on them.

    >>> rng, low = torch.Generator().manual_seed(0), torch.tensor([0.2, 0.2], dtype=torch.float64)
    >>> from fewtheory.paths import EDM
    >>> rho, share = LogNormalLevels().between(EDM(), low, low * torch.inf, rng)
    >>> bool((rho >= low).all()), round(float(share[0]), 4)  # of clamped draws 36.65% are lost
    (True, 0.6335)
    """

    mean: float | int = -1.2
    std: float | int = 1.2

    def __post_init__(self) -> None:
        number("LogNormalLevels", "mean", self.mean, -math.inf)
        if not number("LogNormalLevels", "std", self.std, 0.0) > 0:
            raise fail("LogNormalLevels", "std", "positive", self.std)

    def between(
        self, path: Path, low: torch.Tensor, high: torch.Tensor, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """rho in [low, high], and the share of the law that lies there."""
        # of the upper tail, which is where noisy samples learn: no digits are lost there
        below = torch.special.ndtr((self.mean - low.log()) / self.std)
        above = torch.special.ndtr((self.mean - high.log()) / self.std)
        share = below - above
        u = torch.rand(low.shape, generator=rng, device=low.device, dtype=low.dtype)
        rho = torch.exp(self.mean - self.std * torch.special.ndtri(above + u * share))
        ends = (ratio(path, path.end), ratio(path, path.start))
        return torch.minimum(torch.maximum(rho.clamp(*ends), low), high), share


@dataclass(frozen=True)
class UniformLevels:
    """t uniform between the path's own ends, cut to the levels asked for."""

    def between(
        self, path: Path, low: torch.Tensor, high: torch.Tensor, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """rho in [low, high], and the share of the law that lies there."""
        ends = (ratio(path, path.end), ratio(path, path.start))
        least, most = (path.t_at(-v.clamp(*ends).log()) for v in (low, high))
        u = torch.rand(low.shape, generator=rng, device=low.device, dtype=low.dtype)
        t = least + (most - least) * u
        share = (most - least) / (path.start - path.end)
        return torch.minimum(torch.maximum(torch.exp(-path.lam(t)), low), high), share


def ratio(path: Path, t: float) -> float:
    """rho = sigma / alpha at a time of the path."""
    return math.exp(-float(path.lam(t)))
