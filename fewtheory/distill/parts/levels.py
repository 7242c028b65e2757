"""At which noise levels a distillation loss looks: draws of t, beside those of `train`.

Sheets `dmd-base`, `sid-protein`: a uniform place on a grid of Karras et al., log-uniform times.
"""

from __future__ import annotations

import math

import torch

from ...errors import fail, number
from ...paths import Path
from ...train.denoising import Levels


def karras_levels(
    low: float | int = 0.002,
    high: float | int = 80.0,
    power: float | int = 7.0,
    until: float | int = 1.0,
) -> Levels:
    """rho = (high^{1/p} + (1 - u) (low^{1/p} - high^{1/p}))^p with u uniform on [0, until].

    u = 0 is the lowest noise-to-signal ratio. DMD2 draws from all of the grid (until = 1), SiD up
    to until = .8 of it (24.4 of 80). Raises ValueError by name.

    >>> from fewtheory.paths import EDM
    >>> t = karras_levels(until=0.8)(EDM(), 1000, torch.Generator())
    >>> round(float(t.min()), 3) >= 0.002 and float(t.max()) < 24.41
    True
    """
    bottom = number("karras_levels", "low", low, 0.0)
    top = number("karras_levels", "high", high, 0.0)
    if not 0 < bottom < top:
        raise fail("karras_levels", "low", f"above 0 and under high = {top}", low)
    p = number("karras_levels", "power", power, 1e-3)
    share = number("karras_levels", "until", until, 0.0, 1.0)
    a, b = bottom ** (1 / p), top ** (1 / p)

    def draw(path: Path, n: int, rng: torch.Generator) -> torch.Tensor:
        u = share * torch.rand(n, generator=rng, device=rng.device, dtype=torch.float64)
        rho = (b + (1 - u) * (a - b)) ** p
        return path.t_at(-torch.log(rho)).to(torch.get_default_dtype())

    return draw


def log_uniform_times(low: float | int = 0.01, high: float | int = 1.0) -> Levels:
    """t = 10^{-j}, j uniform: every decade of time alike, cut to the path's range.

    >>> from fewtheory.paths import RectifiedFlow
    >>> t = log_uniform_times(0.01, 0.9)(RectifiedFlow(), 1000, torch.Generator())
    >>> bool((t >= 0.01).all() and (t <= 0.9).all())
    True
    """
    a, b = (
        number("log_uniform_times", "low", low, 0.0),
        number("log_uniform_times", "high", high, 0),
    )
    if not 0 < a < b:
        raise fail("log_uniform_times", "low", f"above 0 and under high = {b}", low)

    def draw(path: Path, n: int, rng: torch.Generator) -> torch.Tensor:
        u = torch.rand(n, generator=rng, device=rng.device)
        t = torch.exp(math.log(a) + u * (math.log(b) - math.log(a)))
        return torch.clamp(t, path.end, path.start)

    return draw
