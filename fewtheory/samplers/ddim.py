"""DDIM: the first-order step that every other sampler corrects.

Song, Meng, Ermon (2020); sheets `plan-algebra` and `dpm-solver-pp`. With eta = 0 it is the exact
flow of a constant data prediction; with eta = 1 each step samples the DDPM posterior of x_t given
x_s and the predicted x_0 (which k-diffusion calls ancestral Euler).
"""

from __future__ import annotations

import math

from ..errors import number
from ..paths import Path
from ..plan import GridLike, Plan, Trace, Variant, sampler


@sampler(
    Variant("DDIM", order=1),
    Variant("DDPM (DDIM, eta = 1)", {"eta": 1.0}, order=1, stochastic=True),
)
def ddim(path: Path, grid: GridLike, *, eta: float = 0.0) -> Plan:
    """x_t = alpha_t x0hat + sqrt(sigma_t^2 - v) epshat + sqrt(v) z.

    path: where the grid's times live; grid: a Grid or decreasing times; eta in [0, 1] scales the
    posterior's standard deviation: v = (eta sigma_t)^2 (1 - e^{-2h}), h = lam_t - lam_s.
    Source: arXiv 2010.02502, eq. 12 and 16, in lam so that it holds on every path.

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> ddim(path, ft.plan.grids.log_snr(path, steps=10))
    <Plan ddim: 10 evaluations, deterministic, data prediction>
    """
    number("ddim", "eta", eta, 0.0, 1.0)
    trace = Trace(ddim, path, grid, {"eta": eta})
    x = trace.start
    for s, t in trace.steps():
        x, x0 = trace.evaluate(x, s)
        eps = (x - s.alpha * x0) / s.sigma
        std = eta * t.sigma * math.sqrt(-math.expm1(-2 * (t.lam - s.lam)))
        x = t.alpha * x0 + math.sqrt(t.sigma**2 - std**2) * eps
        if std > 0:
            x = x + std * trace.noise()
    return trace.plan(x)
