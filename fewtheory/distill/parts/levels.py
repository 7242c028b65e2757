"""At which noise levels a distillation loss looks: draws of t, beside those of `train`.

Sheets `dmd-base`, `sid-protein`: a uniform place on a grid of Karras et al., log-uniform times. A
path in sigma's own units has no use for uniform times: between .002 and 80 all but one in fifty
would be above 1.6, where images of deviation .5 are hardly seen.
"""

from __future__ import annotations

import math

import torch

from ...arrays import Array
from ...errors import fail, number
from ...paths import EDM, Path
from ...train.denoising import Levels

POWER = 7.0  # of Karras et al.'s grid


def placed(path: Path, low: float | int, high: float | int, u: Array) -> Array:
    """Times between low and high at the places u in [0, 1]: even in t, on EDM in t^{1/7}.

    >>> from fewtheory.paths import RectifiedFlow
    >>> placed(RectifiedFlow(), 0.2, 0.6, 0.5), round(placed(EDM(), 0.002, 80.0, 0.5), 3)
    (0.4, 2.515)
    """
    if not isinstance(path, EDM):
        return low + (high - low) * u
    a, b = low ** (1 / POWER), high ** (1 / POWER)
    return (a + (b - a) * u) ** POWER


def place(path: Path, t: float) -> float:
    """Where t is between the path's end and its start, in the measure of `placed`: from 0 to 1.

    >>> round(place(EDM(), placed(EDM(), 0.002, 80.0, 0.3)), 12)
    0.3
    """
    power = 1 / POWER if isinstance(path, EDM) else 1.0
    low, high, here = (v**power for v in (path.end, path.start, t))
    return (here - low) / (high - low)


def inner_levels(margin: float | int = 0.02) -> Levels:
    """All of the path's levels but a margin at both ends, evenly `placed`.

    >>> from fewtheory.paths import RectifiedFlow
    >>> t = inner_levels()(RectifiedFlow(), 1000, torch.Generator())
    >>> bool((t >= 0.02).all() and (t <= 0.98).all())
    True
    """
    room = number("inner_levels", "margin", margin, 0.0, 0.5)

    def draw(path: Path, n: int, rng: torch.Generator) -> torch.Tensor:
        u = room + (1 - 2 * room) * torch.rand(n, generator=rng, device=rng.device)
        return torch.clamp(placed(path, path.end, path.start, u), path.end, path.start)

    return draw


def karras_levels(
    low: float | int = 0.002,
    high: float | int = 80.0,
    power: float | int = POWER,
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
