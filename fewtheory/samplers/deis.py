"""DEIS: Adams-Bashforth on dy/drho = epshat, with the polynomial in a variable of one's choice.

Zhang and Chen (2022), arXiv 2204.13902; sheet `deis`. In the coordinates y = x / alpha, rho = sigma
/ alpha the probability-flow ODE is dy/drho = epshat, and a multistep method integrates against drho
the polynomial through the last noise predictions. The polynomial may be one in t (tAB, the
paper's), in rho (k-diffusion's LMS) or in log rho (the one in diffusers, and the noise form of
DPM-Solver's exact-phi multistep). Degree 0 is DDIM in all three. Beside it stand the two methods to
which the paper compares its ingredients: the exponential integrator with the *score* held constant,
and iPNDM, whose fixed Adams-Bashforth weights belong to an equal grid in the variable of
integration and are used on one in t.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from ..errors import integer, one_of
from ..paths import Path
from ..plan import GridLike, Plan, Point, Trace, Variant, sampler
from .runge_kutta import METHODS, step

FITS = ("t", "rho", "log_rho")
PNDM = {1: (1.0,), 2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12)}
PNDM[4] = (55 / 24, -59 / 24, 37 / 24, -9 / 24)


@sampler(
    *(  # the DDIM first step is of order 1
        Variant(f"tAB{r}-DEIS", {"degree": r}, order=2, own_time=True, denoises=False)
        for r in (1, 2, 3)
    ),
    Variant("rho-AB1 (LMS-2)", {"degree": 1, "fit": "rho"}, order=2, denoises=False),
    Variant("rho-AB3 (LMS-4)", {"degree": 3, "fit": "rho"}, order=2, denoises=False),
    Variant("log-rho AB1", {"degree": 1, "fit": "log_rho"}, order=2),
    Variant("log-rho AB2", {"degree": 2, "fit": "log_rho"}, order=2),
)
def deis(
    path: Path, grid: GridLike, degree: int = 3, *, fit: str = "t", warmup: str = "lower"
) -> Plan:
    """y_t = y_s + sum_j C_j epshat_j, C_j = int_{rho_s}^{rho_t} l_j drho over the last degree + 1
    nodes, l_j their Lagrange polynomials in the variable `fit`.

    degree: 0 to 3 (diffusers' `solver_order` is degree + 1); fit: "t", "rho" or "log_rho". warmup:
    the first steps, where values are missing: "lower" takes the degree there is, as published, and
    the order of convergence is then 2 for every degree >= 1; "rk" takes fourth-order Runge-Kutta
    steps in rho (three more evaluations each), and it is degree + 1.
    Raises ValueError for other values. Source: arXiv 2204.13902; sheet `deis`, "AB family".

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> deis(path, ft.plan.grids.power(path, steps=10))
    <Plan deis: 10 evaluations, deterministic, noise prediction>
    """
    integer("deis", "degree", degree, 0, 3)
    one_of("deis", "fit", fit, FITS)
    one_of("deis", "warmup", warmup, ("lower", "rk"))
    settings = {"degree": degree, "fit": fit, "warmup": warmup}
    trace = Trace(deis, path, grid, settings, "noise")
    x, history, nodes = trace.start, [], []
    for i, (s, t) in enumerate(trace.steps()):
        x, eps = trace.evaluate(x, s)
        history, nodes = [eps, *history][: degree + 1], [s, *nodes][: degree + 1]
        if warmup == "rk" and i < degree:
            x = step(trace, METHODS["rk4"], x, s, t, "rho", first=eps)
            continue
        y = x / s.alpha
        for c, m in zip(lagrange_integrals(path, nodes, t, fit), history, strict=True):
            y = y + c * m
        x = t.alpha * y
    return trace.plan(x)


@functools.cache
def gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of 40 points on [-1, 1], computed when the first weight is."""
    return np.polynomial.legendre.leggauss(40)


def lagrange_integrals(path: Path, nodes: Sequence[Point], t: Point, fit: str) -> list[float]:
    """C_j = int_{rho_s}^{rho_t} l_j drho for nodes s = nodes[0], nodes[1], .., by Gauss-Legendre.

    Quadrature in log rho, where t(rho) is smooth (in t itself drho/dt blows up like t^{-1/2}); 40
    points integrate e^u times a cubic to rounding, without the cancellation of antiderivatives in
    short steps. In rho, for a polynomial in rho and for a step to sigma = 0.
    """
    s, (points, weights) = nodes[0], gauss_legendre()
    a, b = math.exp(-s.lam), math.exp(-t.lam)
    if fit == "log_rho" and b == 0:
        return [-a] + [0.0] * (len(nodes) - 1)  # Euler: the polynomial has no limit
    if fit == "rho" or b == 0:
        rho = 0.5 * (a + b) + 0.5 * (b - a) * points
        measure = 0.5 * (b - a) * weights
    else:
        h = t.lam - s.lam
        rho = np.exp(-(s.lam + 0.5 * h * (1 + points)))
        measure = -0.5 * h * weights * rho
    at, z = _places(path, rho, fit), _places(path, np.exp([-p.lam for p in nodes]), fit)
    if fit == "t":
        z = np.array([p.t for p in nodes])
    return [
        float(measure @ np.prod((at[:, None] - np.delete(z, j)) / (z[j] - np.delete(z, j)), axis=1))
        for j in range(len(nodes))
    ]


def _places(path: Path, rho: np.ndarray, fit: str) -> np.ndarray:
    """The variable of the polynomial at these rho."""
    if fit == "rho":
        return rho
    return np.log(rho) if fit == "log_rho" else path.t_at(-np.log(rho))


@sampler(
    Variant("iPNDM-2", {"order": 2}, order=2, denoises=False),
    Variant(
        "iPNDM-4", {"order": 4}, order=2, denoises=False
    ),  # on any grid that is not equal in rho
)
def ipndm(path: Path, grid: GridLike, order: int = 4) -> Plan:
    """DDIM with epshat replaced by the Adams-Bashforth combination of the last `order` values.

    order: 1 to 4, the number of values (fewer in the first steps): (1), (3, -1)/2, (23, -16, 5)/12,
    (55, -59, 37, -9)/24. The weights integrate against a variable in which the grid is equal, the
    ODE against rho: whatever the table, the order of convergence is 2. Meant for a grid that is
    equal in t. Source: sheet `deis`, "iPNDM", after Zhang and Chen and PNDM's table.
    """
    integer("ipndm", "order", order, 1, 4)
    trace = Trace(ipndm, path, grid, {"order": order}, "noise")
    x, history = trace.start, []
    for s, t in trace.steps():
        x, eps = trace.evaluate(x, s)
        history = [eps, *history][:order]
        y = x / s.alpha
        for c, m in zip(PNDM[len(history)], history, strict=True):
            y = y + (math.exp(-t.lam) - math.exp(-s.lam)) * c * m
        x = t.alpha * y
    return trace.plan(x)


@sampler(
    Variant("exponential Euler (score)", order=1, own_time=True, point_exact=False, denoises=False)
)
def exponential_euler(path: Path, grid: GridLike) -> Plan:
    """y_t = y_s - score int_{rho_s}^{rho_t} alpha rho drho: the linear drift solved, the score
    held.

    On VP paths x_t = (alpha_t/alpha_s) x_s + (alpha_t/alpha_s - 1) score. It is the exponential
    integrator without DEIS's other ingredient, the noise prediction; it is worse than Euler.
    Source: sheet `deis`, "Plain baselines".
    """
    trace = Trace(exponential_euler, path, grid, prediction="noise")
    x, (points, weights) = trace.start, gauss_legendre()
    for s, t in trace.steps():
        x, eps = trace.evaluate(x, s)
        score = eps / -s.sigma
        a, b = math.exp(-s.lam), math.exp(-t.lam)
        rho = 0.5 * (a + b) + 0.5 * (b - a) * points
        alpha = np.array([path.level(-v)[0] for v in np.log(rho).tolist()])
        x = t.alpha * (x / s.alpha - float(0.5 * (b - a) * weights @ (alpha * rho)) * score)
    return trace.plan(x)
