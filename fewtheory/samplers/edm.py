"""EDM's stochastic sampler: raise the noise a little, then a Heun step down past where it was.

Karras, Aittala, Aila, Laine (2022), arXiv 2206.00364, algorithm 2. In y = x / alpha and rho = sigma
/ alpha a step from rho adds noise up to rho (1 + gamma), which is exact in law, and follows the
probability-flow ODE from there with Heun's method. With s_churn = 0 it is Heun's sampler; with
s_noise = 1 the noise is consistent and the law converges to order 2.
"""

from __future__ import annotations

import math

from ..errors import fail, number
from ..paths import Path
from ..plan import GridLike, Plan, Trace, Variant, grids, sampler
from .runge_kutta import METHODS, step


@sampler(
    Variant("EDM stochastic", {"s_churn": 1.0}, order=2, per_step=2, stochastic=True),
    Variant("EDM, no churn (rho-RK heun)", order=2, per_step=2),
)
def edm_stochastic(
    path: Path,
    grid: GridLike,
    *,
    s_churn: float = 0.0,
    s_min: float = 0.0,
    s_max: float = math.inf,
    s_noise: float = 1.0,
) -> Plan:
    """rho_hat = rho (1 + gamma), y_hat = y + s_noise sqrt(rho_hat^2 - rho^2) z, then Heun to rho'.

    gamma = min(s_churn / N, sqrt 2 - 1) where s_min <= rho <= s_max, else 0. s_churn: total churn;
    s_min, s_max: the range of rho in which there is any; s_noise: the inflation of its standard
    deviation (1.003 to 1.007 in the paper, against the loss of detail; the law is then not p_0).
    Two evaluations a step, one in a last step to sigma = 0. The raised level must lie on the path:
    a ValueError names s_max where it does not. Source: arXiv 2206.00364, algorithm 2.

    >>> import fewtheory as ft
    >>> path = ft.paths.EDM()
    >>> plan = edm_stochastic(path, ft.plan.grids.karras(path, 8), s_churn=4.0, s_max=50.0)
    >>> plan.nfe, plan.stochastic
    (16, True)
    """
    where = "edm_stochastic"
    number(where, "s_churn", s_churn, 0.0)
    number(where, "s_min", s_min, 0.0)
    if not s_max >= s_min:
        raise fail(where, "s_max", f"at least s_min = {s_min:g}", s_max)
    number(where, "s_noise", s_noise, 0.0)
    settings = {"s_churn": s_churn, "s_min": s_min, "s_max": s_max, "s_noise": s_noise}
    trace = Trace(edm_stochastic, path, grid, settings, "noise")
    x, most = trace.start, math.sqrt(2) - 1
    for s, t in trace.steps():
        rho = math.exp(-s.lam)
        gamma = min(s_churn / trace.grid.steps, most) if s_min <= rho <= s_max else 0.0
        if gamma > 0:
            raised = grids.point(path, s.lam - math.log1p(gamma))
            if not path.t_min <= raised.t <= path.t_max:
                allowed = f"below a level whose noise can be raised on {path!r}"
                raise fail(where, "s_max", allowed, s_max)
            added = s_noise * rho * math.sqrt(gamma * (2 + gamma))
            x = raised.alpha * (x / s.alpha + added * trace.noise())
            s = raised
        x = step(trace, METHODS["heun"], x, s, t, "rho")
    return trace.plan(x)
