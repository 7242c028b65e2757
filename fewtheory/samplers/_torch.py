"""Model statistics by their definitions: Jacobians of a torch model in forward mode.

Zheng et al. (2023), arXiv 2310.13268, as they estimate; sheet `dpm-solver-v3`. In y = x / alpha the
diagonal of sigma d epshat/dx is that of 1 - dx0hat/dy, and along the ODE, dy/dlam = x0hat - y,

    f' = -l' y + (1 - l) dy/dlam - dx0hat/dlam - (dx0hat/dy) dy/dlam.
"""

# ruff: noqa: E741 - l is the paper's name

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..arrays import Array, Rng, as_like, standard_normal, to_numpy, uniform
from ..model import Model, over_event
from ..plan import grids
from ._statistics import Triple, fixed, slopes, states

Denoiser = Callable[[Array, Array], Array]


def denoiser(model: Model) -> Denoiser:
    """(y, lam) -> x0hat, for y (n, *event) and lam (n,)."""
    data = model.predicting("data")

    def at(y: Array, lam: Array) -> Array:
        alpha, _ = model.path.level(lam)
        return data.function(over_event(alpha, y) * y, model.path.t_at(lam), **data.cond)

    return at


def noise_slopes(at: Denoiser, y: Array, lam: Array, v: Array) -> Array:
    """v (J v) with J = sigma d epshat/dx = 1 - dx0hat/dy, (n, *event)."""
    moved = torch.func.jvp(at, (y, lam), (v, torch.zeros_like(lam)))[1]
    return v * (v - moved)


def along_ode(at: Denoiser, y: Array, lam: Array, l: Array, dl: Array) -> tuple[Array, Array]:
    """f = (1 - l) y - x0hat and f' = df/dlam along the ODE, (n, *event) each."""
    dy = at(y, lam) - y
    x0hat, moved = torch.func.jvp(at, (y, lam), (dy, torch.ones_like(lam)))[:2]
    return (1 - l) * y - x0hat, -dl * y + (1 - l) * dy - moved


def least_squares(
    f: np.ndarray, df: np.ndarray, least: Any = 0.0, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """s = Cov(f, f') / Var f and b = E f' - s E f over the rows; s = 0 where Var f <= least."""
    mean, dmean = (np.average(v, axis=0, weights=weights) for v in (f, df))
    var = np.average((f - mean) ** 2, axis=0, weights=weights)
    cov = np.average((f - mean) * (df - dmean), axis=0, weights=weights)
    live = var > least
    s = np.where(live, cov / np.where(live, var, 1.0), 0.0)
    return s, dmean - s * mean


def regressions(
    model: Model,
    x0: Array,
    nodes: np.ndarray,
    rng: Rng,
    l: Any,
    law: str,
    probes: int,
    floor: float,
) -> Triple:
    """See `ModelStatistics.from_jvp`: one pass for l, one for f' once l' is known."""
    at, grid = denoiser(model), grids.at_lams(model.path, nodes)
    noise = standard_normal(rng, x0.shape, x0)
    rows = torch.ones(x0.shape[0], dtype=x0.dtype, device=x0.device)
    with torch.no_grad():
        if l is None:
            probe = [torch.sign(uniform(rng, x0.shape, x0) - 0.5) for _ in range(probes)]
            found = []
            for p, x in states(model, x0, noise, grid, law):
                each = [noise_slopes(at, x / p.alpha, p.lam * rows, v).mean(0) for v in probe]
                found.append(np.mean([_wide(v) for v in each], axis=0))
            chosen = np.stack(found)
        else:
            chosen = fixed(l, (nodes.size, *x0.shape[1:]))
        least, parts = floor * _wide(x0).var(axis=0), []
        turning = slopes(nodes, chosen)
        for i, (p, x) in enumerate(states(model, x0, noise, grid, law)):
            l_i, dl_i = as_like(chosen[i], x), as_like(turning[i], x)
            f, df = along_ode(at, x / p.alpha, p.lam * rows, l_i, dl_i)
            parts.append(least_squares(_wide(f), _wide(df), least))
    s, b = (np.stack(v) for v in zip(*parts, strict=True))
    return chosen, s, b


def _wide(x: Array) -> np.ndarray:
    """The tensor in float64 on the host."""
    return to_numpy(x).astype(np.float64)
