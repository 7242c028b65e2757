"""The schedulers of few-step models as plans: LCM, TCD and Euler ancestral.

A consistency model jumps from any level to clean data; its schedulers then put noise back. LCM goes
all the way down and up again (Luo et al., arXiv 2310.04378), TCD to an earlier level s = (1 - eta)
t' and up to t' (Zheng et al., arXiv 2402.19159; PCM's too), Euler ancestral keeps what the
posterior keeps (k-diffusion; SDXL-Turbo's). What they do to a *denoiser* is in the plan: except for
TCD with eta = 0, which is DDIM, and Euler ancestral, which is DDPM's posterior, their law does not
converge to the data as steps are added. Sheet `q-sched`, "Method".
"""

from __future__ import annotations

import math

from ..errors import integer, number
from ..paths import Path, Table
from ..plan import GridLike, Plan, Point, Trace, Variant, grids, sampler


def lcm(
    path: Path,
    grid: GridLike,
    *,
    sigma_data: float | int = 0.5,
    timestep_scaling: float | int = 10.0,
    entries: int = 1000,
) -> Plan:
    """f = c_skip x + c_out x0hat, x' = alpha' f + sigma' z: down to the data, and noise again.

    Boundary scalings c_skip = d^2 / (tau^2 + d^2), c_out = tau / sqrt(tau^2 + d^2), d = sigma_data,
    tau = timestep_scaling times the network's timestep: a table's own entry, else t times entries.
    At timestep 0 f is x. A grid that ends at sigma = 0 (`to_clean`) has no noise in its last step,
    as diffusers' LCMScheduler. Raises ValueError for a negative setting.
    Source: arXiv 2310.04378; sheet `q-sched`, "Method".

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> lcm(path, ft.plan.grids.uniform(path, 4).to_clean()).stochastic
    True
    """
    d = number("lcm", "sigma_data", sigma_data, 1e-12)
    scaling = number("lcm", "timestep_scaling", timestep_scaling, 0.0)
    integer("lcm", "entries", entries, 1)
    settings = {"sigma_data": d, "timestep_scaling": scaling, "entries": entries}
    trace = Trace(lcm, path, grid, settings)
    x = trace.start
    for s, t in trace.steps():
        x, x0 = trace.evaluate(x, s)
        tau = scaling * _timestep(path, s.t, entries)
        f = (d**2 / (tau**2 + d**2)) * x + tau / math.hypot(tau, d) * x0
        x = t.alpha * f
        if t.sigma > 0:
            x = x + t.sigma * trace.noise()
    return trace.plan(x, refinable=False)


def _timestep(path: Path, t: float, entries: int) -> float:
    """The time that the network is given."""
    return path.timestep(t) if isinstance(path, Table) else t * entries


@sampler(Variant("TCD, eta = 0"))
def tcd(path: Path, grid: GridLike, *, eta: float | int = 0.0) -> Plan:
    """x_s = alpha_s x0hat + sigma_s epshat at s = (1 - eta) t', and up: x' = (alpha'/alpha_s) x_s +
    sqrt(sigma'^2 - (alpha'/alpha_s)^2 sigma_s^2) z.

    eta in [0, 1], the paper's gamma: 0 is DDIM, 1 goes to the data. On a table s is a whole entry,
    floor((1 - eta) entry of t'); elsewhere a time, not before the path's first. The last step has
    no noise, and diffusers' TCDScheduler makes it to entry 0: end the grid there.
    Source: arXiv 2402.19159; sheet `q-sched`, "Method".

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> tcd(path, ft.plan.grids.uniform(path, 4), eta=0.3)
    <Plan tcd: 4 evaluations, stochastic, data prediction>
    """
    kept = 1 - number("tcd", "eta", eta, 0.0, 1.0)
    trace = Trace(tcd, path, grid, {"eta": eta})
    x, last = trace.start, trace.grid.steps - 1
    for i, (s, t) in enumerate(trace.steps()):
        x, x0 = trace.evaluate(x, s)
        eps = (x - s.alpha * x0) / s.sigma
        low = _earlier(path, t, kept) if eta > 0 and i < last else t
        x = low.alpha * x0 + low.sigma * eps
        if low.lam > t.lam:
            up = t.alpha / low.alpha
            x = up * x + math.sqrt(t.sigma**2 - (up * low.sigma) ** 2) * trace.noise()
    return trace.plan(x, refinable=eta == 0)


def _earlier(path: Path, t: Point, kept: float) -> Point:
    """The level at (1 - eta) t, a whole entry of a table; never noisier than t itself."""
    if math.isinf(t.lam):
        return t
    if isinstance(path, Table):
        entry = math.floor(kept * round(path.timestep(t.t), 9) + 1e-9)
        time = (entry + 1) / path.entries
    else:
        time = max(kept * t.t, path.t_min)
    found = grids.point(path, float(path.lam(time)))
    return found if found.lam > t.lam else t


@sampler(Variant("Euler ancestral", stochastic=True))
def euler_ancestral(path: Path, grid: GridLike) -> Plan:
    """y' = y + (y - x0hat) / rho (rho_down - rho) + rho_up z, y = x / alpha, rho = sigma / alpha.

    rho_up^2 = rho'^2 (rho^2 - rho'^2) / rho^2 and rho_down^2 = rho'^2 - rho_up^2 = rho'^4 / rho^2:
    DDPM's posterior, DDIM with eta = 1. Source: k-diffusion; sheet `q-sched`, "Method".

    >>> import fewtheory as ft
    >>> path = ft.paths.EDM()
    >>> grid = ft.plan.grids.karras(path, 4)
    >>> euler_ancestral(path, grid).distance(ft.samplers.ddim(path, grid, eta=1.0)) < 1e-12
    True
    """
    trace = Trace(euler_ancestral, path, grid)
    x = trace.start
    for s, t in trace.steps():
        x, x0 = trace.evaluate(x, s)
        rho, rho_t = math.exp(-s.lam), math.exp(-t.lam)
        down = rho_t**2 / rho
        up = rho_t * math.sqrt(-math.expm1(-2 * (t.lam - s.lam)))
        y = x / s.alpha
        y = y + (y - x0) / rho * (down - rho)
        if up > 0:
            y = y + up * trace.noise()
        x = t.alpha * y
    return trace.plan(x)
