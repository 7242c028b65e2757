"""DualFast (arXiv 2506.13058), claim by claim. Sheet `dualfast`.

Gaussian world: N(0, 1/4), lam from -3 to 4, every output law exact. Mixture world: weights .3, .5,
.2 at -1, .2, 1.5 with stds .3, .2, .4, lam from -3 to 3.5, its flow exact by CDF inversion. Both on
VP-linear, where nothing depends on the path but through lam.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from fewtheory.paths import EDM, RectifiedFlow
from fewtheory.plan import Form, Plan, Trace, grids
from fewtheory.samplers import ddim, dpm_solver_pp
from fewtheory.samplers.dualfast import _coefficients, _rows, blend, dualfast, ramp
from fewtheory.samplers.error_split import (
    angle,
    cancelling_kappa,
    error_split,
    exact_mix,
    first_source_factor,
    gaussian_error_split,
    mixed_variance,
    noise_scaled,
    ode_factor,
    step_factor,
)
from fewtheory.suites import _worlds as w
from fewtheory.testbeds import Gaussian, mixture_1d
from fewtheory.verify import (
    bound,
    claim,
    identity,
    limit,
    optimum,
    order,
    sabotage,
    wrong,
)
from fewtheory.verify import known as published

S = 0.5
NORMAL = Gaussian([0.0], S**2)
MIXTURE = mixture_1d([0.3, 0.5, 0.2], [-1.0, 0.2, 1.5], [0.3, 0.2, 0.4])
NOISE_2M: dict[str, Any] = {"order": 2, "prediction": "noise", "lower_order_final": False}
ROOM = math.exp(3.0)  # the largest entry of a canonical tableau from lam = -3 is rho there

rows = partial(sabotage, dualfast, inside=_rows)
chosen = partial(sabotage, dualfast, inside=_coefficients)
SECOND = "(lam[i + 1] - lam[i]) / (2 * (lam[i] - lam[older[i]]))"
BOTH = "((s, c[row]), (tau, -c[row]))"
TOWARDS = rows(BOTH, "((s, -c[row]), (tau, c[row]))", "the sign of c: towards the older noise")
SWAPPED = rows(BOTH, "((s, -1 - c[row]), (tau, 1 + c[row]))", "1 + c stands on the older noise")
TWO_BACK = wrong(partial(dualfast, tau=2), "tau is two steps back")


def gaussian_grid(steps):
    """Equal steps in lam over the Gaussian world."""
    return w.uniform_grid(steps, -3.0, 4.0)


def mixture_grid(steps):
    """Equal steps in lam over the mixture world."""
    return w.uniform_grid(steps, -3.0, 3.5)


def std_error(plan):
    """The output's standard deviation over the exact one, minus 1, in the Gaussian world."""
    return w.std_error(plan, S**2)


@cache
def trajectories(points):
    """Mid-quantiles of the mixture world at lam = -3, and where the exact flow takes them."""
    start, end = w.PATH.t_at(-3.0), w.PATH.t_at(3.5)
    x = w.mid_quantiles(MIXTURE, start, points)
    return x, MIXTURE.flow(w.PATH)(x, start, end)


@cache
def plain_std_error(steps):
    """That of DDIM."""
    return std_error(ddim(w.PATH, gaussian_grid(steps)))


def mixture_errors(plan, points=64):
    """The plan's output minus the exact flow's, one a point."""
    x, exact = trajectories(points)
    return plan.run(MIXTURE.model(w.PATH, plan.prediction), x) - exact


@cache
def plain_mixture_errors(steps, points):
    """Those of DDIM."""
    return mixture_errors(ddim(w.PATH, mixture_grid(steps)), points)


known = partial(published, kind="optimum")


def compared(found, other, side, what):
    """Evidence of an inequality between two exact numbers."""
    why = "an inequality between two numbers without noise"
    return optimum(found, other, tolerance=0.0, tolerance_from=why, side=side, what=what)


def blended(grid, share):
    """alpha' x0hat + sigma' ((1 - share) e + share e_before), from the second step on."""
    trace = Trace("blended", w.PATH, grid, prediction="noise")
    x, before = trace.start, None
    for s, t in trace.steps():
        x, e = trace.evaluate(x, s)
        explicit = e if before is None else (1 - share) * e + share * before
        x, before = t.alpha * (x - s.sigma * e) / s.alpha + t.sigma * explicit, e
    return trace.plan(x)


def random_grid(rng):
    """Seven random levels from -3 to 3."""
    return grids.at_lams(w.PATH, np.sort(rng.uniform(-3.0, 3.0, 7)))


@claim("C1a", kind="identity", of=dualfast, saboteurs=[TOWARDS, SWAPPED, TWO_BACK])
def explicit_blend(sampler, rng):
    """Blending the explicit noise of x' = alpha' x0hat + sigma' e by w towards the older one is
    DualFast with c = w / expm1(h), on seven random levels and for every model."""
    grid = random_grid(rng)
    for share in (0.1, 0.3, 1.0):
        distance = sampler(w.PATH, grid, c=blend(share)).distance(blended(grid, share))
        # a coefficient is some ten products, carried on through six steps
        yield identity(distance, 0.0, operations=64, scale=ROOM, what=f"w = {share:g}")


@claim(
    "C1b",
    kind="identity",
    of=blend,
    saboteurs=[
        sabotage(
            blend,
            "share / float(np.expm1(lams[i + 1] - lams[i]))",
            "-share / float(np.expm1(lams[i] - lams[i + 1]))",
            "expm1(-h), as in the data form",
        ),
        sabotage(blend, "lams[i + 1] - lams[i]", "lams[i] - lams[i - 1]", "h of the step before"),
    ],
)
def blend_coefficient(schedule, rng):
    """The extrapolation that is a blend by w has c = w / (e^h - 1) >= 0, h the step's own length,
    whatever the prediction in which the base is written."""
    grid = random_grid(rng)
    for prediction in ("noise", "data"):
        how: dict[str, Any] = {"order": 1, "prediction": prediction}
        plan = dualfast(w.PATH, grid, "dpm_solver_pp", c=schedule(0.3), **how)
        distance = plan.distance(blended(grid, 0.3))
        yield identity(distance, 0.0, operations=64, scale=ROOM, what=prediction)


@claim(
    "C2",
    kind="identity",
    of=dualfast,
    saboteurs=[
        chosen(
            SECOND,
            "(lam[i] - lam[older[i]]) / (2 * (lam[i + 1] - lam[i]))",
            "the ratio of the steps is inverted",
        ),
        chosen(
            SECOND,
            "(lam[min(i + 2, N)] - lam[i + 1]) / (2 * (lam[i + 1] - lam[i]))",
            "the index of h is off by one",
        ),
        wrong(partial(dualfast, c=0.5), "the constant 1/2, on an uneven grid"),
        TOWARDS,
        SWAPPED,
    ],
)
def second_order_is_2m(sampler, rng):
    """On the first-order solver with c_i = h_i / (2 h_{i-1}) and tau the step before, DualFast is
    the second-order multistep noise solver (DPM-Solver-2M, midpoint), on any grid, whether the
    solver is written as DDIM, DPM-Solver or DPM-Solver++."""
    for what, grid in (("uneven", w.uneven_grid(8)), ("random", random_grid(rng))):
        other = dpm_solver_pp(w.PATH, grid, **NOISE_2M)
        for base, how in (
            ("ddim", {}),
            ("dpm_solver_pp", {"order": 1, "prediction": "noise"}),
            ("dpm_solver_pp", {"order": 1, "prediction": "data"}),
        ):
            distance = sampler(w.PATH, grid, base, **how).distance(other)
            # a dozen roundings a step; c is a quotient of differences of levels up to 3, and so
            # is off by 3 eps / h of its size
            close = 3.0 / float(np.diff(grid.lam).min())
            yield identity(
                distance, 0.0, operations=64, scale=ROOM * close, what=f"{what}, {base} {how}"
            )


def without_a_first_step(path, grid, base="ddim", *, c):
    """c is applied at i = 0, to a history that begins with zeros."""
    plan = dualfast(path, grid, base, c=c).predicting("noise")
    B = plan.B.copy()
    B[1, 0] *= 1 + c
    return replace(plan, B=B)


RATIO = (TWO_BACK, TOWARDS, SWAPPED, without_a_first_step)


@claim("C3a", kind="rate", of=dualfast, saboteurs=RATIO)
def constants_gaussian(sampler):
    """On DDIM with equal steps in lam, err(c) / err(0) tends to 1 - 2c: Gaussian world, c = .25,
    .5, .75, 1."""
    steps = [40, 80, 160, 320]
    plain = [plain_std_error(n) for n in steps]
    for c in (0.25, 0.5, 0.75, 1.0):
        errors = [std_error(sampler(w.PATH, gaussian_grid(n), c=c)) for n in steps]
        ratios = np.array(errors) / plain
        yield limit([7.0 / n for n in steps], ratios, 1 - 2 * c, what=f"c = {c:g}")


def projected(sampler, steps, c, points=64):
    """err(c) projected on err(0), over trajectories of the mixture world."""
    out = []
    for n in steps:
        one = mixture_errors(sampler(w.PATH, mixture_grid(n), c=c), points)
        plain = plain_mixture_errors(n, points)
        out.append(float((one * plain).sum() / (plain * plain).sum()))
    return out


@claim("C3b", kind="rate", of=dualfast, saboteurs=[TWO_BACK, SWAPPED])
def constants_mixture(sampler):
    """So it does in the mixture world, err(c) projected on err(0): c = .25, .5, 1."""
    steps = [40, 80, 160, 320]
    for c in (0.25, 0.5, 1.0):
        found = projected(sampler, steps, c)
        yield limit([6.5 / n for n in steps], found, 1 - 2 * c, what=f"c = {c:g}")


@claim("C3c", kind="optimum", of=dualfast, saboteurs=[TWO_BACK])
def constants_in_numbers(sampler):
    """The ratios are .50052, .00138, -.49742, -.99588 in the Gaussian world at N = 1280 for c =
    .25, .5, .75, 1, and .5012, .0033, -.9901 in the mixture world at N = 640 for c = .25, .5,
    1."""
    plain = plain_std_error(1280)
    for c, value in ((0.25, 0.50052), (0.5, 0.00138), (0.75, -0.49742), (1.0, -0.99588)):
        ratio = std_error(sampler(w.PATH, gaussian_grid(1280), c=c)) / plain
        yield known(ratio, value, 5, f"Gaussian, c = {c:g}")
    for c, value in ((0.25, 0.5012), (0.5, 0.0033), (1.0, -0.9901)):
        (ratio,) = projected(sampler, [640], c, 256)
        yield known(ratio, value, 4, f"mixture, c = {c:g}")


@claim("C3d", kind="order", of=dualfast, saboteurs=RATIO)
def only_one_half_is_second_order(sampler):
    """On DDIM with equal steps the order is 2 at c = 1/2 and 1 at c = .25, .75 and 1."""
    steps = [40, 80, 160, 320]
    for c, p in ((0.25, 1), (0.5, 2), (0.75, 1), (1.0, 1)):
        errors = [abs(std_error(sampler(w.PATH, gaussian_grid(n), c=c))) for n in steps]
        yield order(steps, errors, p, what=f"c = {c:g}")


def ignores_first(path, grid, *, c, tau):
    """tau = "first" is taken for the step before: it converges to the flow."""
    return dualfast(path, grid, c=c)


@claim(
    "C3e",
    kind="rate",
    of=dualfast,
    saboteurs=[ignores_first, TOWARDS],
)
def first_step_as_source_does_not_converge(sampler):
    """With tau the first step any fixed c > 0 converges to a wrong limit: r = (cos_0/cos_1)^c + c
    sin_0 cos_1^{-c} int cos^{c-1} dtheta, which is 1.064 for c = .1 and 1.36 for c = .5."""
    steps = [80, 160, 320, 640]
    for c in (0.1, 0.5):
        plans = [sampler(w.PATH, gaussian_grid(n), c=c, tau="first") for n in steps]
        found = [1 + std_error(plan) for plan in plans]
        expected = first_source_factor(-3.0, 4.0, S, c)
        yield limit([7.0 / n for n in steps], found, expected, what=f"c = {c:g}")


@claim("C3f", kind="optimum", of=dualfast, saboteurs=[ignores_first, TOWARDS])
def first_step_in_numbers(sampler):
    """With tau the first step and c = .1, r - 1 is .0200, .0528, .0612 at N = 40, 160, 640."""
    for n, value in ((40, 0.0200), (160, 0.0528), (640, 0.0612)):
        plan = sampler(w.PATH, gaussian_grid(n), c=0.1, tau="first")
        yield known(std_error(plan), value, 4, f"N = {n}")


def one_step(levels, s, c):
    """z'/z of a DualFast step between the last two of three levels, values exact before it."""
    plan = dualfast(w.PATH, grids.at_lams(w.PATH, levels), c=[0.0, c])
    S_t = np.hypot(plan.alpha * s, plan.sigma)  # the exact trajectory, z = 1
    x0 = plan.alpha[:2] * s**2 / S_t[:2]
    return float(plan.P[2, :2] @ S_t[:2] + plan.B[2] @ x0) / float(S_t[2])


EQUAL_STEPS = sabotage(
    exact_mix, "(theta_tau - theta) / 2", "(theta - theta_next) / 2", "both steps of equal angle"
)
COS_FOR_SIN = sabotage(
    exact_mix, "math.cos(theta) * math.tan(half)", "math.sin(theta) * math.tan(half)", "sin for cos"
)
TRIPLES = ((0.5, (-1.2, -0.3, 0.8)), (0.5, (-1.0, -0.5, 0.5)), (1.0, (0.1, 0.2, 1.0)))


@claim("C4a", kind="optimum", of=exact_mix, saboteurs=[EQUAL_STEPS, COS_FOR_SIN])
def exact_coefficient(mix):
    """In N(m, s^2) a step is exact if and only if c = c* = (sin theta - D) / (sin theta_tau - sin
    theta), D = sin((theta + theta')/2) / cos((theta - theta')/2): too long below c* and too short
    above, or the reverse, since it is affine in c."""
    for s, levels in TRIPLES:
        c = mix(*levels, s)
        below, at, above = (one_step(levels, s, k * c) for k in (0.9, 1.0, 1.1))
        # D is a difference of terms of size 1 + 2c; the step has a dozen roundings on them
        tolerance = 64 * np.finfo(float).eps * (1 + 2 * c) * math.exp(levels[2] - levels[1])
        yield optimum(
            at,
            1.0,
            tolerance=tolerance,
            tolerance_from="64 roundings on terms of size (1 + 2c) e^h",
            what=f"lam = {levels}, s = {s}",
        )
        yield compared((below - 1) * (above - 1), 0.0, "at most", f"the sides differ, {levels}")


@claim("C4b", kind="optimum", of=exact_mix, saboteurs=[EQUAL_STEPS, COS_FOR_SIN])
def exact_coefficient_in_numbers(mix):
    """For s = .5 and lam = (-1.2, -.3, .8), c* is 1.677374872434."""
    return known(mix(-1.2, -0.3, 0.8, S), 1.677374872434, 12, "c*")


@claim("C4c", kind="rate", of=exact_mix, saboteurs=[EQUAL_STEPS, COS_FOR_SIN])
def exact_coefficient_of_short_steps(mix):
    """As steps shrink c* tends to h / (2 h_prev), the value that makes DDIM second order (C2)."""
    h = [0.2 / 2**k for k in range(5)]
    for ratio in (0.5, 0.8, 2.0):
        found = [mix(0.3 - ratio * v, 0.3, 0.3 + v, S) for v in h]
        yield limit(h, found, 1 / (2 * ratio), what=f"h_prev = {ratio:g} h")


COT = sabotage(
    gaussian_error_split,
    "math.tan(theta)",
    "1 / math.tan(theta)",
    "cot for tan",
    inside=step_factor,
)
SWAPPED_ENDS = sabotage(
    gaussian_error_split,
    "float(_cos(a, s) / _cos(b, s)) ** k",
    "float(_cos(b, s) / _cos(a, s)) ** k",
    "the limits of the integral are swapped",
    inside=ode_factor,
)
TEN = np.linspace(-3.0, 3.0, 11)
KAPPAS = (0.05, -0.05, lambda lam: 0.1 * np.tanh(lam))


@claim("C5a", kind="identity", of=gaussian_error_split, saboteurs=[COT])
def factors_by_simulation(split):
    """In N(m, s^2) a first-order step with noise (1 + kappa) epshat multiplies z by cos D - kappa
    tan(theta) sin D on every path, D = theta - theta': the products are the outputs of DDIM on the
    exact model and on the wrong one."""
    for path, kappa in itertools.product((w.PATH, EDM(0.01, 50.0), RectifiedFlow()), KAPPAS):
        plan = ddim(path, grids.at_lams(path, TEN))
        start, end = (np.hypot(plan.alpha[i] * S, plan.sigma[i]) for i in (0, -1))
        x, exact = np.full((1, 1), start), NORMAL.model(path, "noise")
        found = split(TEN, S, kappa)
        for model, value in (
            (exact, found.discretisation),
            (noise_scaled(exact, kappa), found.both),
        ):
            ratio = plan.run(model, x)[0, 0] / end
            # ten steps of a few roundings each; t(lam) on a path is off by eps of the range
            yield identity(value, ratio, operations=256, scale=1.0, what=f"{path!r}")


@claim(
    "C5b",
    kind="identity",
    of=gaussian_error_split,
    saboteurs=[
        SWAPPED_ENDS,
        sabotage(
            gaussian_error_split,
            "kappa(lam) * sine**2",
            "kappa(lam) * sine",
            "dtheta = -sin cos dlam is taken for -cos dlam",
            inside=ode_factor,
        ),
    ],
)
def approximation_by_integration(split):
    """The ODE of (1 + kappa) epshat multiplies z by exp(-int kappa tan(theta) dtheta), (cos theta_T
    / cos theta_0)^kappa for a number kappa: against an adaptive ODE solver."""
    from scipy.integrate import solve_ivp

    rtol, path = 1e-12, w.PATH
    for kappa in KAPPAS:
        model = noise_scaled(NORMAL.model(path, "noise"), kappa)

        def slope(lam, y, model=model):  # dy/drho = e, in lam
            alpha, _ = path.level(lam)
            return -math.exp(-lam) * model(alpha * y[:, None], path.t_at(lam))[:, 0]

        sd = np.sqrt(S**2 + np.exp(-2 * TEN[[0, -1]]))  # of y
        made = solve_ivp(slope, TEN[[0, -1]], sd[:1], "DOP853", rtol=rtol, atol=1e-13)
        steps = made.t.size
        ratio = made.y[0, -1] / sd[1]
        # the solver keeps each step's error under rtol |y|; nothing grows relative to the sd
        yield identity(split(TEN, S, kappa).approximation, ratio, operations=steps, eps=rtol)


@claim("C5c", kind="optimum", of=gaussian_error_split, saboteurs=[COT, SWAPPED_ENDS])
def split_in_numbers(split):
    """s = .5, lam = -3, -2.4, .., 3: r_disc .862019, and for kappa = +.05 r_approx .831581, r_both
    .666436, for kappa = -.05 r_approx 1.202528, r_both 1.105009."""
    for kappa, values in (
        (0.05, (0.862019, 0.831581, 0.666436)),
        (-0.05, (0.862019, 1.202528, 1.105009)),
    ):
        found = split(TEN, S, kappa)
        for name, value in zip(("discretisation", "approximation", "both"), values, strict=True):
            yield known(getattr(found, name), value, 6, f"kappa = {kappa}, {name}")


def added(lam, s, kappa):
    """The total error is taken for the sum of the two."""
    found = gaussian_error_split(lam, s, kappa)
    return replace(found, both=found.approximation + found.discretisation - 1)


@claim("C5d", kind="optimum", of=gaussian_error_split, saboteurs=[added, COT, SWAPPED_ENDS])
def errors_do_not_add_up(split):
    """The two errors are not additive: at kappa = .05 they sum to .3064, while the total is .3336;
    the interaction, .0272, is reported."""
    found = split(TEN, S, 0.05)
    apart = (1 - found.approximation) + (1 - found.discretisation)
    yield known(apart, 0.3064, 4, "sum of the two")
    yield known(1 - found.both, 0.3336, 4, "both")
    yield known(-found.interaction, 0.0272, 4, "interaction")


@claim(
    "C5e",
    kind="identity",
    of=error_split,
    saboteurs=[
        sabotage(
            error_split,
            "plan.run(testbed.model(path, model.prediction), x)",
            "plan.run(model, x, **cond)",
            "the discretisation error is measured on the network",
        ),
        sabotage(
            error_split,
            "testbed.flow(path)(x, path.t_at(first), path.t_at(last))",
            "runs[1]",
            "the fine solution of the network is taken for the truth",
        ),
    ],
)
def measured_split(split):
    """The decomposition of runs on a testbed, measured by an exact flow and a fine ODE, is the
    closed form on a Gaussian, with the error that it states of its ODE."""
    model = noise_scaled(NORMAL.model(w.PATH, "noise"), 0.05)
    plan, closed = ddim(w.PATH, grids.at_lams(w.PATH, TEN)), gaussian_error_split(TEN, S, 0.05)
    found = split(plan, model, NORMAL, np.ones((1, 1)))
    scale = found.exact[0, 0]
    for name in ("discretisation", "both"):
        ratio = getattr(found, name)[0, 0] / scale
        yield identity(ratio, getattr(closed, name), operations=256, scale=1.0, what=name)
    ratio = found.approximation[0, 0] / scale
    # the estimate is that of the coarser of two solutions, scaled to the finer; four of it
    yield identity(
        ratio, closed.approximation, operations=4, eps=found.ode_error / scale, what="approximation"
    )


@claim(
    "C5f",
    kind="identity",
    of=cancelling_kappa,
    saboteurs=[
        sabotage(cancelling_kappa, "(theta - theta_next) / 2", "theta - theta_next", "D for D/2"),
        wrong(lambda a, b: math.tan((a - b) / 2) / math.tan(a), "kappa > 0"),
        wrong(lambda a, b: -math.tan((a - b) / 2) * math.tan(a), "tan for cot"),
    ],
)
def under_prediction_cancels_the_step(kappa):
    """kappa = -tan(D/2) / tan(theta) cancels the discretisation of its step exactly: the zero of
    the total error lies at kappa < 0, which is what epsilon scaling finds."""
    for a, b in itertools.pairwise(TEN.tolist()):
        plan = ddim(w.PATH, grids.at_lams(w.PATH, [a, b]))
        model = noise_scaled(NORMAL.model(w.PATH, "noise"), kappa(angle(a, S), angle(b, S)))
        start, end = np.hypot(plan.alpha * S, plan.sigma)
        ratio = plan.run(model, np.full((1, 1), start))[0, 0] / end
        yield identity(ratio, 1.0, operations=64, scale=math.exp(b - a), what=f"lam = {a:g}")


def weights_of(plan):
    """The weights of e and e_before in the noise that the last step holds constant."""
    noise = plan.predicting("noise")
    return noise.B[-1, -2:] / (-plan.sigma[-1] * math.expm1(plan.lam[-1] - plan.lam[-2]))


THREE = grids.at_lams(w.PATH, [-1.2, -0.3, 0.8])
MIXES = np.linspace(0.0, 2.0, 41)


@claim(
    "C6a",
    kind="bound",
    of=dualfast,
    saboteurs=[TOWARDS],
    erratum="Presented as reducing the network's error; if errors are uncorrelated it cannot.",
)
def uncorrelated_errors_grow(sampler):
    """If the network's errors at t and tau are uncorrelated, with variances v_t and v_tau, that of
    the mixed noise is (1 + c)^2 v_t + c^2 v_tau >= v_t for every c >= 0: the gain of the rule is
    not there. Equality at c = 0."""
    for v, v_tau in ((0.01, 0.0036), (0.01, 0.0), (0.01, 0.1)):
        weights = [weights_of(sampler(w.PATH, THREE, c=[0.0, c])) for c in MIXES]
        found = np.array([old**2 * v_tau + now**2 * v for old, now in weights])
        yield bound(
            found / v,
            np.ones(MIXES.size),
            side="at least",
            x=MIXES,
            x_label="c",
            what=f"v_tau = {v_tau}",
        )


NO_HISTORY = sabotage(
    mixed_variance, "share**2 * before", "0 * share * before", "the older error does not count"
)
AVERAGE = sabotage(
    mixed_variance, "(1 + share) ** 2 * now", "(1 - share) ** 2 * now", "an average's weight"
)


@claim(
    "C6b",
    kind="identity",
    of=mixed_variance,
    saboteurs=[
        NO_HISTORY,
        AVERAGE,
        sabotage(mixed_variance, "2 * share * (1 + share) * r", "2 * share * r", "cross term"),
    ],
)
def variance_of_the_mix(variance, rng):
    """The variance of the mixed error is that of the plan's own weights, k^T Sigma k; for v =
    .01, .0036, uncorrelated, and c = .5 it is .0234."""
    for c in (0.0, 0.3, 0.5, 1.2):
        before, now = weights_of(dualfast(w.PATH, THREE, c=[0.0, c]))
        v, v_tau, r = *rng.uniform(0.0, 1.0, 2), rng.uniform(-1.0, 1.0)
        exact = now**2 * v + before**2 * v_tau + 2 * now * before * r * math.sqrt(v * v_tau)
        scale = (1 + 2 * c) ** 2
        yield identity(variance(c, v, v_tau, r), exact, operations=64, scale=scale, what=f"c = {c}")
    yield identity(variance(0.5, 0.01, 0.0036), 0.0234, operations=8, what="in numbers")


@claim(
    "C6c",
    kind="identity",
    of=mixed_variance,
    saboteurs=[
        NO_HISTORY,
        wrong(lambda c, v, v_tau, r: mixed_variance(c, v_tau, v, r), "the noisier step errs less"),
    ],
    erratum="Its premise, that noisier steps err less (q < 1), is where mixing cannot help.",
)
def correlated_errors(variance):
    """If delta_tau = q delta_t the variance is multiplied by (1 + c(1 - q))^2, which is below 1 if
    and only if 1 < q < 1 + 2/c: the older prediction has to be the *worse* one."""
    for c in (0.25, 0.5, 1.0):
        q = np.array([0.0, 0.5, 0.99, 1.01, 1.5, 1 + 1.99 / c, 1 + 2.01 / c, 6 / c])
        found = np.array([variance(c, 0.01, 0.01 * v**2, 1.0) / 0.01 for v in q])
        scale = (1 + c * (1 + q.max())) ** 2
        yield identity(found, (1 + c * (1 - q)) ** 2, operations=64, scale=scale, what=f"c = {c:g}")
        inside = (q > 1) & (q < 1 + 2 / c)
        yield identity(found < 1, inside, operations=0, what=f"below 1, c = {c:g}")


def cached_mix(path, grid, base, *, c, **how):
    """The history that is mixed and differenced holds mixed values: a cache behind a wrapper."""
    trace = Trace(cached_mix, path, grid, prediction="noise")
    x, history, nodes = trace.start, [], []
    for s, t in trace.steps():
        x, e = trace.evaluate(x, s)
        D = (1 + c) * e - c * history[0] if history else e
        D = Form({key: v for key, v in D.terms.items() if abs(v) > 1e-18})  # c^k of long ago
        held, h = D, t.lam - s.lam
        if history:
            held = D + h / (2 * (s.lam - nodes[0].lam)) * (D - history[0])
        history, nodes = [D], [s]
        x = t.alpha / s.alpha * x - t.sigma * math.expm1(h) * held
    return trace.plan(x)


def base_alone(path, grid, base, *, c, **how):
    """The base without the mix."""
    return dpm_solver_pp(path, grid, **how)


MULTISTEP = [cached_mix, base_alone, TOWARDS, TWO_BACK]


@claim("C7a", kind="rate", of=dualfast, saboteurs=MULTISTEP)
def constant_on_2m(sampler):
    """2M with a constant c falls back to order 1: err / (-2c err(DDIM)) tends to 1 in the Gaussian
    world, on DPM-Solver and on DPM-Solver++, c = .25 and .5.

    A cache that holds the mixed values makes it 1 / (1 + c).
    """
    steps = [40, 80, 160, 320]
    plain = np.array([plain_std_error(n) for n in steps])
    for prediction, c in (("noise", 0.25), ("noise", 0.5), ("data", 0.25)):
        how = {**NOISE_2M, "prediction": prediction}
        plans = [sampler(w.PATH, gaussian_grid(n), "dpm_solver_pp", c=c, **how) for n in steps]
        found = np.array([std_error(p) for p in plans]) / (-2 * c * plain)
        yield limit([7.0 / n for n in steps], found, 1.0, what=f"{prediction}, c = {c:g}")


@claim("C7b", kind="order", of=dualfast, saboteurs=[base_alone])
def order_on_higher_bases(sampler):
    """With c = .25 the order is 1 on 2M, 3M, 2S and UniPC-2, although theirs is 2 or 3."""
    steps = [80, 160, 320]
    for base, how in (
        ("dpm_solver_pp", NOISE_2M),
        ("dpm_solver_pp", {**NOISE_2M, "order": 3}),
        ("dpm_solver_pp", {"order": 2, "method": "singlestep"}),
        ("unipc", {"order": 2}),
    ):
        plans = [sampler(w.PATH, gaussian_grid(n), base, c=0.25, **how) for n in steps]
        yield order(steps, [abs(std_error(p)) for p in plans], 1, what=f"{base} {how}")


@claim("C7c", kind="optimum", of=dualfast, saboteurs=MULTISTEP)
def constant_on_2m_in_numbers(sampler):
    """For c = .25 on the noise 2M that quotient is .683, .918, .979 at N = 20, 80, 320."""
    for n, value in ((20, 0.683), (80, 0.918), (320, 0.979)):
        grid = gaussian_grid(n)
        mixed = std_error(sampler(w.PATH, grid, "dpm_solver_pp", c=0.25, **NOISE_2M))
        yield known(mixed / (-0.5 * plain_std_error(n)), value, 3, f"N = {n}")


def mixes_data(path, grid, base="ddim", *, c, **how):
    """The data prediction is mixed, with the same c: x0 + c (x0 - x0_before)."""
    plan = (dpm_solver_pp if how else ddim)(path, grid, **how).predicting("data")
    B, lam = plan.B.copy(), plan.lam
    for i in range(1, grid.steps):
        share = c(i, lam) if callable(c) else c
        weight = -plan.alpha[i + 1] * math.expm1(lam[i] - lam[i + 1])
        B[i + 1, [i, i - 1]] += weight * share * np.array([1.0, -1.0])
    return replace(plan, B=B)


def rms_errors(sampler, n):
    """The columns of the table at N = n: DDIM, c = .5, ramp .75, 2M, 2M with c = .25."""
    grid = mixture_grid(n)
    plans: list[Plan] = [
        ddim(w.PATH, grid),
        sampler(w.PATH, grid, c=0.5),
        sampler(w.PATH, grid, c=ramp(0.75)),
        dpm_solver_pp(w.PATH, grid, **NOISE_2M),
        sampler(w.PATH, grid, "dpm_solver_pp", c=0.25, **NOISE_2M),
    ]
    return [w.rms(mixture_errors(p, 4000)) for p in plans]


TABLE = {
    3: (0.4353, 0.2375, 0.2492, 0.2375, 0.1496),
    5: (0.2659, 0.0915, 0.1117, 0.0915, 0.0385),
    8: (0.1719, 0.0380, 0.0609, 0.0380, 0.0291),
    10: (0.1399, 0.0260, 0.0484, 0.0260, 0.0296),
    20: (0.0724, 0.0075, 0.0236, 0.0075, 0.0239),
}
COLUMNS = ("DDIM", "c = .5", "ramp .75", "2M", "2M, c = .25")
WRONG = [TOWARDS, SWAPPED, TWO_BACK, mixes_data]


@claim("C8a", kind="optimum", of=dualfast, saboteurs=WRONG)
def toy_headline(sampler):
    """With an exact network, L2 against the exact flow at N = 3, 5, 8, 10, 20: DDIM .4353 to .0724,
    DualFast c = .5 .2375 to .0075, ramp .75 .2492 to .0236, 2M .2375 to .0075, 2M with c = .25
    .1496, .0385, .0291, .0296, .0239."""
    for n, values in TABLE.items():
        for name, found, value in zip(COLUMNS, rms_errors(sampler, n), values, strict=True):
            yield known(found, value, 4, f"N = {n}, {name}")


@claim(
    "C8b",
    kind="optimum",
    of=dualfast,
    saboteurs=WRONG,
    erratum="The gains at few steps need no network error: they are higher-order extrapolation.",
)
def pattern_without_a_network(sampler):
    """The paper's pattern appears with no network error at all: on top of 2M the mix gains at N =
    3, 5 and 8 and loses at 10 and 20."""
    for n in TABLE:
        *_, base, mix = rms_errors(sampler, n)
        yield compared(mix, base, "at most" if n < 9 else "at least", f"N = {n}, against 2M")


@claim("C8c", kind="identity", of=dualfast, saboteurs=WRONG)
def one_half_is_2m(sampler):
    """On equal steps the column c = .5 is 2M, plan for plan, and 2M with c is DDIM with c + 1/2:
    its order and its constant, 1 - 2(c + 1/2) = -2c (C7), are those of C3."""
    for n in TABLE:
        grid = mixture_grid(n)
        for c in (0.0, 0.25):
            mixed = sampler(w.PATH, grid, "dpm_solver_pp", c=c, **NOISE_2M)
            distance = sampler(w.PATH, grid, c=c + 0.5).distance(mixed)
            yield identity(
                distance, 0.0, operations=64 * n, scale=ROOM, what=f"N = {n}, c = {c:g} on 2M"
            )


@claim("C8d", kind="optimum", of=dualfast, saboteurs=[TOWARDS, SWAPPED])
def pattern_in_data_prediction(sampler):
    """On DPM-Solver++'s 2M (data prediction) the same mix gains at N = 3 only."""
    how: dict[str, Any] = {**NOISE_2M, "prediction": "data"}
    for n in TABLE:
        grid = mixture_grid(n)
        base = w.rms(mixture_errors(dpm_solver_pp(w.PATH, grid, **how)))
        mix = w.rms(mixture_errors(sampler(w.PATH, grid, "dpm_solver_pp", c=0.25, **how)))
        yield compared(mix, base, "at most" if n < 4 else "at least", f"N = {n}, against ++2M")
