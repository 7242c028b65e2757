"""The samplers that draw one token in autoregressive models with a diffusion head, as plans.

MAR and Harmon: DDPM's ancestral sampler on the 1000-step cosine table, respaced. FlowAR: Euler on
the rectified flow, on a grid of two pieces. xAR: Euler-Maruyama on the rectified flow with w = 2 t.
A head is a function of a number of steps; an annealed schedule is that many of its plans, one a
step of the sequence (`Autoregressive`). All are linear in the model's outputs, so that what each
does to a token's spread is `Plan.law`.

Zhao et al. (2025), arXiv 2505.20297; sheet `disa`, "Heads".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ..errors import fail, integer, number, one_of
from ..paths import Path, RectifiedFlow, Table
from ..plan import GridLike, Plan, Trace, Variant, grids, sampler
from .ddim import ddim
from .runge_kutta import euler

ENTRIES, MOST = 1000, 0.999  # of MAR's table, and the cap on its betas
CAPS: Mapping[str, int] = MappingProxyType({"ddpm": 950, "ddim": 980})
FLOW = RectifiedFlow()
LAST = 0.04  # xAR's last level before the data


@sampler(
    Variant("DDPM ancestral, small variance", order=1, stochastic=True),
    Variant(
        "DDPM ancestral, large variance",
        {"variance": 1.0},
        order=1,
        stochastic=True,
        own_time=True,
        point_exact=False,
    ),
)
def ancestral(
    path: Path, grid: GridLike, *, variance: float | int = 0.0, temperature: float | int = 1.0
) -> Plan:
    """DDPM's step: the mean of q(x_t | x_s, x0hat), and noise of a variance between two bounds.

    With h = lam_t - lam_s the posterior's own variance is sigma_t^2 (1 - e^{-2h}) ("fixed small"),
    the forward process's, beta, is sigma_s^2 (1 - e^{-2h}) ("fixed large"), and `variance` in [0,
    1] interpolates their logarithms, as a network with a learned range does state by state (here it
    is one number for all). temperature >= 0 multiplies the noise; what is not 1 is not a sampler of
    the data. The last step to sigma = 0 is without noise. Source: Ho et al. 2020, Nichol and
    Dhariwal 2021 eq. 15; sheet `disa`, "Heads".

    >>> import fewtheory as ft
    >>> path = ft.paths.VPCosine()
    >>> ancestral(path, ft.plan.grids.uniform(path, 10)).stochastic
    True
    """
    v = number("ancestral", "variance", variance, 0.0, 1.0)
    hot = number("ancestral", "temperature", temperature, 0.0)
    trace = Trace(ancestral, path, grid, {"variance": v, "temperature": hot})
    x = trace.start
    for s, t in trace.steps():
        x, x0 = trace.evaluate(x, s)
        fresh = -math.expm1(-2 * (t.lam - s.lam))  # 1 - e^{-2h}
        eps = (x - s.alpha * x0) / s.sigma
        x = t.alpha * x0 + t.sigma * math.sqrt(1 - fresh) * eps
        if hot > 0 and t.sigma > 0:
            std = t.sigma ** (1 - v) * s.sigma**v * math.sqrt(fresh)
            x = x + hot * std * trace.noise()
    return trace.plan(x)


@sampler(
    Variant(
        "Euler-Maruyama", order=1, stochastic=True, own_time=True, point_exact=False, denoises=False
    )
)
def euler_maruyama(path: Path, grid: GridLike, *, churn: float | int = 1.0) -> Plan:
    """x_t = x_s + (t - s) (v - w score / 2) + sqrt(w |t - s|) z with w = churn d(sigma^2)/dt at s.

    The reverse-time SDE whose marginals are the path's, for every w >= 0. On the rectified flow w =
    2 t (xAR's, churn = 1), on EDM's path it is the variance-exploding one. A last step to sigma = 0
    is without noise, as in SiT, but not without the score. churn: >= 0; 0 is Euler. Source: sheet
    `disa`, "Heads".

    >>> import fewtheory as ft
    >>> path = ft.paths.RectifiedFlow()
    >>> euler_maruyama(path, ft.plan.grids.uniform(path, 10)).nfe
    10
    """
    scale = number("euler_maruyama", "churn", churn, 0.0)
    trace = Trace(euler_maruyama, path, grid, {"churn": scale})
    x = trace.start
    for s, t in trace.steps():
        x, x0 = trace.evaluate(x, s)
        eps = (x - s.alpha * x0) / s.sigma
        slope = path.dsigma(s.t)  # - w score / 2 = churn slope eps
        x = x + (t.t - s.t) * (path.dalpha(s.t) * x0 + (1 + scale) * slope * eps)
        if scale > 0 and t.sigma > 0:
            x = x + math.sqrt(2 * scale * s.sigma * slope * (s.t - t.t)) * trace.noise()
    return trace.plan(x)


@functools.cache
def cosine_table() -> Table:
    """The cosine schedule's 1000 levels, alpha^2 = prod (1 - min(beta_i, 0.999)), as a path."""
    f = np.cos((np.arange(ENTRIES + 1) / ENTRIES + 0.008) / 1.008 * 0.5 * np.pi) ** 2
    return Table(np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], MOST)))


def respaced(steps: int, cap: int | None = None) -> list[int]:
    """The entries round(999 i / (N - 1)) of the table, from noise to data; those above `cap` are
    it, once.

    So that fewer than N may be left: from N = 22 on with cap = 950 (48 of 50, 96 of 100). steps: 2
    to 1000; cap: 1 to 999. Source: sheet `disa`, "Heads" and "Pitfalls", after improved-diffusion.

    >>> respaced(5), respaced(5, cap=950)
    ([999, 749, 500, 250, 0], [950, 749, 500, 250, 0])
    """
    n = integer("respaced", "steps", steps, 2, ENTRIES)
    most = ENTRIES - 1 if cap is None else integer("respaced", "cap", cap, 1, ENTRIES - 1)
    wanted = np.rint((ENTRIES - 1) * np.arange(n) / (n - 1)).astype(int)
    return sorted({min(i, most) for i in wanted.tolist()}, reverse=True)


def mar_head(
    steps: int,
    *,
    method: str = "ddpm",
    capped: bool = True,
    variance: float | int = 0.0,
    temperature: float | int = 1.0,
) -> Plan:
    """MAR's and Harmon's token sampler with N steps requested: `ancestral`, or DDIM, on the cosine
    table, at the entries `respaced(N, cap)` and then to the data.

    method: "ddpm" or "ddim" (which draws no noise and takes no variance or temperature). capped: as
    under annealing, at entry 950 (DDPM) or 980 (DDIM): what is noise to start with then stands for
    alpha^2 = 0.0058 (0.0009) and not for 0; False is the original. variance, temperature: as in
    `ancestral`. Raises ValueError by name. Source: sheet `disa`, "Heads".

    >>> mar_head(50), mar_head(50, capped=False).nfe
    (<Plan ancestral: 48 evaluations, stochastic, data prediction>, 50)
    """
    one_of("mar_head", "method", method, CAPS)
    if method == "ddim" and (variance, temperature) != (0, 1):
        raise fail("mar_head", "method", "'ddpm' where variance or temperature is set", method)
    path, entries = cosine_table(), respaced(steps, CAPS[method] if capped else None)
    grid = grids.at_times(path, [(i + 1) / ENTRIES for i in entries]).to_clean()
    if method == "ddim":
        return ddim(path, grid)
    return ancestral(path, grid, variance=variance, temperature=temperature)


def euler_head(steps: int) -> Plan:
    """N equal Euler steps on the rectified flow, from t = 1 to 0: the world of `std_ratio`."""
    n = integer("euler_head", "steps", steps, 1)
    return euler(FLOW, np.linspace(1, 0, n + 1))


def flowar_head(steps: int) -> Plan:
    """FlowAR's token sampler: Euler on a grid of two pieces of the rectified flow.

    t = linspace(1, .3, N // 2), then linspace(.25, 0, N // 2 + 1); but uniform for N = 50. An odd N
    performs N - 1 steps, and annealing from 50 to 15 changes the grid after the first step. steps:
    at least 2. Source: sheet `disa`, "Heads" and "Pitfalls".

    >>> flowar_head(25).nfe, flowar_head(4).t.round(3)
    (24, array([1.   , 0.3  , 0.25 , 0.125, 0.   ]))
    """
    n = integer("flowar_head", "steps", steps, 2)
    if n == 50:
        return euler_head(n)
    pieces = np.linspace(1, 0.3, n // 2), np.linspace(0.25, 0, n // 2 + 1)
    return euler(FLOW, np.concatenate(pieces))


def xar_head(steps: int, *, churn: float | int = 1.0) -> Plan:
    """xAR's token sampler: `euler_maruyama` on t = linspace(1, .04, N) and 0.

    The last step, without noise, still carries the score's drift: it ends at x0hat - .04 epshat,
    and not at x0hat. steps: at least 2. Source: sheet `disa`, "Heads".

    >>> xar_head(3).t
    array([1.  , 0.52, 0.04, 0.  ])
    """
    n = integer("xar_head", "steps", steps, 2)
    return euler_maruyama(FLOW, [*np.linspace(1, LAST, n), 0.0], churn=churn)


@dataclass(frozen=True)
class Setting:
    """A published setting: `hi` to `lo` steps over n steps of the sequence, and the guidance."""

    hi: int
    lo: int
    n: int | None = None
    guidance: float | None = None
    kind: str = "linear"


PUBLISHED: Mapping[str, Setting] = MappingProxyType(
    {
        "MAR-B": Setting(50, 5, 64, 2.9),  # the baseline: 256 iterations of 100 steps
        "MAR-L": Setting(50, 5, 64, 3.0),
        "MAR-H": Setting(50, 5, 64, 3.3),
        "FlowAR-S": Setting(25, 15, 5),
        "FlowAR-L": Setting(25, 15, 5),
        "FlowAR-H": Setting(50, 15, 5),
        "xAR": Setting(50, 15, 4),
        "Harmon": Setting(50, 5),
        "Harmon-25": Setting(25, 5),
        "Harmon-100": Setting(100, 5),
    }
)
