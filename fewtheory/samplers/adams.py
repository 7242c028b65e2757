"""Adams-Bashforth on dy/drho = epshat: the noise prediction extrapolated from past evaluations.

In the canonical coordinates y = x / alpha, rho = sigma / alpha the probability-flow ODE is
dy/drho = epshat(y, rho), and a multistep method integrates the polynomial through the last noise
predictions. The polynomial may be one in rho (k-diffusion's LMS, DEIS's rho-AB) or in log rho
(DEIS's log-rho AB, the noise form of DPM-Solver's exact-phi multistep). Sheets `plan-algebra` and
`deis`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import integer, one_of
from ..paths import Path
from ..plan import GridLike, Plan, Trace, Variant, sampler

NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)  # exact for the polynomial, 1e-16 times e^lam


@sampler(
    Variant("rho-AB2 (LMS)", {"order": 2}, order=2),
    Variant("rho-AB3 (LMS)", {"order": 3}, order=2),  # its Euler first step is of order 1
    Variant("log-rho AB2", {"order": 2, "variable": "log_rho"}, order=2),
)
def adams_bashforth(path: Path, grid: GridLike, order: int = 4, *, variable: str = "rho") -> Plan:
    """y_t = y_s + sum_j w_j epshat_j, w_j = int_{rho_s}^{rho_t} l_j drho over the last nodes.

    order: how many past evaluations are used, 1 to 4 (fewer in the first steps); l_j are the
    Lagrange polynomials of those nodes in `variable`, "rho" or "log_rho".
    Source: sheet `plan-algebra`, C1 (LMS-4, rho-AB3, log-rho AB).
    """
    integer("adams_bashforth", "order", order, 1, 4)
    one_of("adams_bashforth", "variable", variable, ("rho", "log_rho"))
    trace = Trace(adams_bashforth, path, grid, {"order": order, "variable": variable}, "noise")
    x, history, nodes = trace.start, [], []
    for s, t in trace.steps():
        x, eps = trace.evaluate(x, s)
        history, nodes = [eps, *history][:order], [s.lam, *nodes][:order]
        weights = _integrated_lagrange(nodes, s.lam, t.lam, variable)
        y = x / s.alpha
        for w, m in zip(weights, history, strict=True):
            y = y + w * m
        x = t.alpha * y
    return trace.plan(x)


def _integrated_lagrange(nodes: Sequence[float], s: float, t: float, variable: str) -> list[float]:
    """int_{rho_s}^{rho_t} l_j drho; nodes, s and t in lam, rho = e^{-lam}."""
    if math.isinf(t) and variable == "log_rho":
        return [-math.exp(-s)] + [0.0] * (len(nodes) - 1)  # Euler: the polynomial has no limit
    place = {"rho": lambda lam: np.exp(-lam), "log_rho": lambda lam: -lam}[variable]
    v, a, b = place(np.array(nodes)), float(place(s)), float(place(t))
    at = 0.5 * (a + b) + 0.5 * (b - a) * NODES
    measure = 0.5 * (b - a) * WEIGHTS * (1.0 if variable == "rho" else np.exp(at))
    weights = []
    for j in range(v.size):
        others = np.delete(v, j)
        lagrange = np.prod((at[:, None] - others) / (v[j] - others), axis=1)
        weights.append(float(measure @ lagrange))
    return weights
