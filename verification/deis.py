"""DEIS (arXiv 2204.13902), claim by claim. Sheet `deis`.

World A is the bimodal mixture on VP-linear, lam from -3 to 3, its flow exact by CDF inversion;
world B the Gaussian N(0, diag k^-2), k = 1..256, on which every output law is exact.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from fewtheory.paths import EDM
from fewtheory.plan import Trace, grids
from fewtheory.plan.grids import power
from fewtheory.samplers import (
    ddim,
    deis,
    dpm_solver_pp,
    euler,
    exponential_euler,
    heun,
    ipndm,
    runge_kutta,
)
from fewtheory.samplers.deis import gauss_legendre
from fewtheory.samplers.runge_kutta import METHODS, _moved, step
from fewtheory.suites import _worlds as w
from fewtheory.testbeds import Gaussian
from fewtheory.verify import claim, identity, limit, optimum, order, sabotage, wrong

VP = w.PATH
T, END = VP.t_at(-3.0), VP.t_at(3.0)
WORLD_B = Gaussian(np.zeros(256), np.arange(1, 257) ** -2.0)
FITS = ("t", "rho", "log_rho")

SWAPPED = sabotage(
    deis,
    "[s, *nodes][: degree + 1]",
    "[s, *nodes][: degree + 1][::-1]",
    "newest and oldest node of the Lagrange polynomials are swapped",
)
NEXT_NODE = sabotage(
    deis,
    "lagrange_integrals(path, nodes, t, fit)",
    "lagrange_integrals(path, [t, *nodes[1:]], t, fit)",
    "the newest value is placed at the end of the step",
)


def frozen(path, grid, weight):
    """Steps x_t = (alpha_t/alpha_s) x_s + weight(s, t) epshat_s."""
    trace = Trace("frozen", path, grid, prediction="noise")
    x = trace.start
    for s, t in trace.steps():
        x, eps = trace.evaluate(x, s)
        x = t.alpha / s.alpha * x + weight(s, t) * eps
    return trace.plan(x)


def inverted_transition(path, grid, degree, **how):
    """The transition Psi(t', tau) is inverted under the integral."""

    def weight(s, t):
        (points, weights), a, b = gauss_legendre(), math.exp(-s.lam), math.exp(-t.lam)
        rho = 0.5 * (a + b) + 0.5 * (b - a) * points
        alpha = np.array([path.level(-v)[0] for v in np.log(rho).tolist()])
        return float(0.5 * (b - a) * weights @ alpha**2) / t.alpha

    return frozen(path, grid, weight)


def left_rectangles(path, grid, degree, **how):
    """The weight is a sum of 10^4 left rectangles in t, as in the authors' repository."""

    def weight(s, t):
        tau = np.linspace(s.t, t.t, 10_001)[:-1]
        rho = path.sigma(tau) / path.alpha(tau)
        slope = rho * (path.dsigma(tau) / path.sigma(tau) - path.dalpha(tau) / path.alpha(tau))
        return t.alpha * float(slope.sum() * (t.t - s.t) / 10_000)

    return frozen(path, grid, weight)


@claim("C1", kind="identity", of=deis, saboteurs=[inverted_transition, left_rectangles])
def degree_zero_is_ddim(sampler):
    """Degree 0 is DDIM for a polynomial in t, rho and log rho, on equal, quadratic and uneven
    grids.

    A sum of 10^4 left rectangles in t is off by 1e-4 relative in the first step.
    """
    for what, grid in (
        ("equal in t", grids.uniform(VP, 8)),
        ("quadratic", power(VP, 8)),
        ("uneven in lam", w.uneven_grid(8)),
    ):
        for fit in FITS:
            distance = sampler(VP, grid, 0, fit=fit).distance(ddim(VP, grid))
            # weights are 40 products on numbers up to rho_T, carried on through 8 steps
            scale = math.exp(-grid.lam[0])
            yield identity(distance, 0.0, operations=64, scale=scale, what=f"{what}, {fit}")


def extrapolated(sampler, fit):
    """Evidence that degree r has order r + 1 from exact history, on steps that alternate 1 : 2."""
    steps = [40, 80, 160, 320]
    for r in range(4):
        plans = [sampler(VP, w.uneven_grid(n), r, fit=fit) for n in steps]
        yield order(steps, [w.continued_error(p, r + 1) for p in plans], r + 1, what=f"degree {r}")


@claim("C2a", kind="order", of=deis, saboteurs=[NEXT_NODE])
def order_in_t(sampler):
    """With exact history tAB of degree r has order r + 1, r = 0 to 3."""
    yield from extrapolated(sampler, "t")


@claim("C2b", kind="order", of=deis, saboteurs=[NEXT_NODE])
def order_in_rho(sampler):
    """With exact history rho-AB of degree r has order r + 1, r = 0 to 3."""
    yield from extrapolated(sampler, "rho")


@claim("C2c", kind="order", of=deis, saboteurs=[NEXT_NODE])
def order_in_log_rho(sampler):
    """With exact history log-rho AB of degree r has order r + 1, r = 0 to 3."""
    yield from extrapolated(sampler, "log_rho")


UNEVEN = np.array([-3.4, -2.1, -0.8, 0.0, 1.0])


@claim("C2d", kind="order", of=deis, saboteurs=[SWAPPED, NEXT_NODE])
def local_error(sampler):
    """One step on exact and uneven history has local error O(h^{r+2}), r = 1 to 3, for each fit.

    Swapped nodes make the method unstable, so that no order of convergence could judge them.
    """
    widths = [0.16 / 2**k for k in range(4)]
    for fit in FITS:
        for r in (1, 2, 3):
            plans = [
                sampler(VP, grids.at_lams(VP, 0.3 + h * UNEVEN[3 - r :]), r, fit=fit)
                for h in widths
            ]
            errors = [w.continued_error(p, p.nodes - 1) for p in plans]
            inverse = [1 / h for h in widths]
            yield order(
                inverse, errors, r + 2, what=f"{fit}, degree {r}", floor=1e-11, x_label="1/h"
            )


def quadratic_errors(sampler, degree, steps, **how):
    """flow_error from scratch on grids that are equal in sqrt(t)."""
    made = [power(VP, n, start=T, end=END) for n in steps]
    return [w.flow_error(sampler(VP, g, degree, **how)) for g in made]


@claim(
    "C3a",
    kind="order",
    of=deis,
    saboteurs=[
        wrong(partial(deis, warmup="rk"), "the order that the degree promises, 3 and 4"),
        NEXT_NODE,
    ],
    erratum="As shipped, tAB-DEIS is of order 2 for every degree: its first step is DDIM's.",
)
def warm_up_caps_the_order(sampler):
    """With its low-order warm-up tAB of degree 2 and 3 has order 2, on the quadratic grid."""
    steps = [80, 160, 320, 640]
    for degree in (2, 3):
        errors = quadratic_errors(sampler, degree, steps)
        yield order(steps, errors, 2, what=f"degree {degree}")


@claim(
    "C3b",
    kind="order",
    of=deis,
    saboteurs=[
        sabotage(deis, "i < degree", "i < 1", "only the first step is a Runge-Kutta step"),
        sabotage(
            deis,
            "step(trace, METHODS['rk4'], x, s, t, 'rho', first=eps)",
            "step(trace, METHODS['heun'], x, s, t, 'rho', first=eps)",
            "the warm-up is Heun's: of order 2, its local error O(h^3) once",
        ),
    ],
)
def runge_kutta_warm_up_restores_it(sampler):
    """With Runge-Kutta steps (rk4 in rho) as warm-up, tAB of degree 3 has order 4.

    Two of the three would do: one step of degree 2 has a local error O(h^4), once.
    """
    steps = [80, 160, 320, 640]
    errors = quadratic_errors(sampler, 3, steps, warmup="rk")
    return order(steps, errors, 4, floor=1e-11)


TIME_MIDPOINT = sabotage(
    runge_kutta,
    "_between(trace.path, start + c * (stop - start), in_rho)",
    "_between(trace.path, s.t + c * (t.t - s.t), False)",
    "a stage stands at the level of the time between, not of the rho between",
    inside=step,
)
UNSCALED = sabotage(
    runge_kutta,
    "(level.alpha / s.alpha) * base",
    "1.0 * base",
    "the stage's state is not rescaled by alpha",
    inside=_moved,
)


@claim("C4a", kind="order", of=runge_kutta, saboteurs=[TIME_MIDPOINT, UNSCALED])
def rho_rk_orders(sampler):
    """rho-RK has the order of its tableau: five of order 3, and rk4 of order 4."""
    steps = [16, 32, 64, 128]
    for method in ("kutta3", "ralston3", "heun3", "houwen3", "ssprk3", "rk4"):
        errors = [
            w.flow_error(sampler(VP, w.uniform_grid(n), method=method, time="rho")) for n in steps
        ]
        yield order(steps, errors, METHODS[method].order, what=method)


@claim("C4b", kind="order", of=runge_kutta, saboteurs=[UNSCALED])
def rho_rk_low_orders(sampler):
    """rho-RK with Euler has order 1; with Heun and the midpoint rule order 2."""
    steps = [32, 64, 128, 256]
    for method in ("euler", "heun", "midpoint"):
        errors = [
            w.flow_error(sampler(VP, w.uniform_grid(n), method=method, time="rho")) for n in steps
        ]
        yield order(steps, errors, METHODS[method].order, what=method)


NOISE: dict[str, Any] = {
    "prediction": "noise",
    "solver_type": "taylor",
    "lower_order_final": False,
}


@claim("C5a", kind="identity", of=deis, saboteurs=[SWAPPED, NEXT_NODE])
def deis_by_other_names(sampler):
    """log-rho AB of degree 1 and 2 is DPM-Solver's multistep on noise, order 2 and 3, exact phi,
    third order repaired; rho-AB of degree 3 is LMS-4."""
    grid = w.uneven_grid(8)
    for what, one, two in (
        ("log-rho AB1", sampler(VP, grid, 1, fit="log_rho"), dpm_solver_pp(VP, grid, 2, **NOISE)),
        ("log-rho AB2", sampler(VP, grid, 2, fit="log_rho"), dpm_solver_pp(VP, grid, 3, **NOISE)),
        ("rho-AB3", sampler(VP, grid, 3, fit="rho"), w.lms(VP, grid)),
    ):
        # a weight is 40 products of 8 factors, used in the steps that follow
        yield identity(one.distance(two), 0.0, operations=512, scale=math.exp(3.0), what=what)


@claim(
    "C5b",
    kind="identity",
    of=dpm_solver_pp,
    saboteurs=[wrong(partial(dpm_solver_pp, repaired=False), "the rule as it is published")],
    erratum="DPM-Solver-3M as published is not log-rho AB2: it halves the second derivative.",
)
def third_order_is_log_rho_ab(sampler):
    """DPM-Solver's 3M on noise is log-rho AB2 if and only if its second-derivative term is
    whole."""
    grid = w.uneven_grid(8)
    distance = sampler(VP, grid, 3, **NOISE).distance(deis(VP, grid, 2, fit="log_rho"))
    return identity(distance, 0.0, operations=512, scale=math.exp(3.0))


@claim("C5c", kind="identity", of=runge_kutta, saboteurs=[UNSCALED, TIME_MIDPOINT])
def rho_heun_is_edm_heun(sampler):
    """rho-RK with Heun's tableau on any path is EDM's Heun; with the midpoint rule on VP it is the
    midpoint rule in sigma on EDM."""
    grid, edm = w.uneven_grid(8), EDM(0.01, 50.0)
    for what, method, other in (
        ("Heun", "heun", heun(edm, grid.on(edm))),
        ("midpoint", "midpoint", runge_kutta(edm, grid.on(edm), method="midpoint")),
    ):
        distance = sampler(VP, grid, method=method, time="rho").distance(other)
        yield identity(distance, 0.0, operations=256, scale=math.exp(3.0), what=what)


SIGN_SLIP = sabotage(
    ipndm,
    "PNDM[len(history)]",
    "[-c if (k, len(history)) == (2, 4) else c for k, c in enumerate(PNDM[len(history)])]",
    "-37/24 in the table of four values",
)


@claim(
    "C6a",
    kind="order",
    of=ipndm,
    saboteurs=[
        SIGN_SLIP,
        wrong(
            lambda path, grid, k: deis(path, grid, k - 1, warmup="rk"),
            "the order that the name says, k",
        ),
    ],
    erratum='iPNDM is called "fourth order"; on a grid that is equal in t its order is 2.',
)
def ipndm_is_second_order(sampler):
    """iPNDM on the uniform t grid is of order 1 with one value and 2 with two, three or four."""
    steps = [80, 160, 320, 640]
    for k in (1, 2, 3, 4):
        plans = [sampler(VP, grids.uniform(VP, n, start=T, end=END), k) for n in steps]
        yield order(steps, [w.flow_error(p) for p in plans], min(k, 2), what=f"{k} values")


@claim("C6b", kind="rate", of=ipndm, saboteurs=[SIGN_SLIP, wrong(deis, "weights against drho")])
def ipndm_defect(sampler):
    """Four values leave the local defect f' w' h^3 / 12, w = drho/dt: on f(t) = t the quadrature
    error over h^2 tends to (w(T) - w(t_end))/12 - w(T)/2, the last term from the DDIM first
    step."""

    def speed(t):
        rho = VP.sigma(t) / VP.alpha(t)
        return rho * (VP.dsigma(t) / VP.sigma(t) - VP.dalpha(t) / VP.alpha(t))

    nodes, weights = np.polynomial.legendre.leggauss(200)
    lam = 3.0 * nodes
    exact = float(-3.0 * weights @ (np.exp(-lam) * VP.t_at(lam)))  # int t drho
    h, scaled = [], []
    for n in (160, 320, 640, 1280):
        plan = sampler(VP, grids.uniform(VP, n, start=T, end=END))
        tab = plan.tableau()
        found = float(tab.B[-1] @ plan.t[:-1]) / plan.alpha[-1]
        h.append((T - END) / n)
        scaled.append((found - exact) / h[-1] ** 2)
    expected = (speed(T) - speed(END)) / 12 - speed(T) / 2
    return limit(h, scaled, expected)


def w2(plan):
    """W2 of the output law in world B."""
    return plan.law(WORLD_B).w2


def known(found, value, what):
    """Evidence that a number is the known one to its three digits."""
    digit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return optimum(
        found,
        value,
        tolerance=digit / 2,
        tolerance_from="half a unit of the third digit of the known value",
        what=what,
    )


def compared(found, other, side, what):
    """Evidence of an inequality between two exact numbers."""
    why = "an inequality between two numbers without noise"
    return optimum(found, other, tolerance=0.0, tolerance_from=why, side=side, what=what)


@claim("C7a", kind="optimum", of=deis, saboteurs=[SWAPPED, NEXT_NODE])
def ingredients_noise_prediction(sampler):
    """World B, T = 1 to 1e-3, equal steps in t: W2 is .373, .269, .235, .218 for degree 0 to 3 at
    ten evaluations, .570, .434, .377, .351 at five."""
    for n, values in ((10, (0.373, 0.269, 0.235, 0.218)), (5, (0.570, 0.434, 0.377, 0.351))):
        for r, value in enumerate(values):
            found = w2(sampler(VP, grids.uniform(VP, n), r))
            yield known(found, value, f"N = {n}, degree {r}")


@claim(
    "C7b",
    kind="optimum",
    of=exponential_euler,
    saboteurs=[
        sabotage(
            exponential_euler,
            "eps / -s.sigma",
            "eps / -t.sigma",
            "the score is taken at the end of the step",
        ),
        wrong(ddim, "the noise prediction is held constant in place of the score"),
    ],
)
def ingredient_exponential_integrator(sampler):
    """There the exponential integrator with the score held has W2 3.45 at ten evaluations and 6.34
    at five: worse than Euler. The noise prediction is what pays, not the integrator."""
    for n, value in ((10, 3.45), (5, 6.34)):
        plan = sampler(VP, grids.uniform(VP, n))
        yield known(w2(plan), value, f"N = {n}")
        yield compared(w2(plan), w2(euler(VP, grids.uniform(VP, n))), "at least", f"Euler, N = {n}")


@claim(
    "C7c",
    kind="optimum",
    of=euler,
    saboteurs=[
        wrong(lambda path, grid: runge_kutta(path, grid, method="euler", time="rho"), "in rho"),
    ],
)
def euler_is_not_always_worse(sampler):
    """Euler on the probability-flow ODE in t has W2 .462 at ten evaluations and 2.41 at five, worse
    than DDIM; at twenty it has .178 and is better (.238)."""
    for n, value, better in ((10, 0.462, False), (5, 2.41, False), (20, 0.178, True)):
        plan, other = sampler(VP, grids.uniform(VP, n)), ddim(VP, grids.uniform(VP, n))
        yield known(w2(plan), value, f"N = {n}")
        side = "at most" if better else "at least"
        yield compared(w2(plan), w2(other), side, f"DDIM, N = {n}")


POINTS = np.array([-2.0, -1.1, -0.3, 0.4, 1.2, 2.3])[:, None]


def square_of_equal_times(path, steps, *, exponent, start, end):
    """Squares of equally spaced times: it starts at T^2 and ends at eps^2."""
    return grids.at_times(path, np.linspace(start, end, steps + 1) ** exponent)


@claim("C8", kind="optimum", of=power, saboteurs=[square_of_equal_times])
def grids_decide(make):
    """World A, tAB3 at ten evaluations, the largest error over six points: .121 on the grid that is
    equal in t, .0305 on the quadratic one; .0511 on the one that is equal in log rho."""
    exact = w.BIMODAL.flow(VP)(POINTS, T, END)
    for what, value, grid in (
        ("equal in t", 0.121, make(VP, 10, exponent=1.0, start=T, end=END)),
        ("quadratic", 0.0305, make(VP, 10, exponent=2.0, start=T, end=END)),
        ("equal in log rho", 0.0511, grids.log_snr(VP, 10, start=T, end=END)),
    ):
        found = deis(VP, grid, 3).run(w.BIMODAL.model(VP), POINTS) - exact
        yield known(float(np.abs(found).max()), value, what)
