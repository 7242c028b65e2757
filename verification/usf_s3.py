"""USF and S^3 (arXiv 2312.07243), claim by claim. Sheet `usf-s3`.

A schedule of solver decisions is a plan, so that known solvers, orders and local defects are read
off coefficients; on the bimodal mixture the flow is exact, and the 864 schedules of five steps can
all be valued, so that a search is measured against the optimum itself.
"""

from __future__ import annotations

import functools
import itertools
import math
from functools import partial

import numpy as np

from fewtheory import search
from fewtheory.plan import grids
from fewtheory.samplers import ModelStatistics, ddim, deis, dpm_solver_pp, dpm_solver_v3, unipc
from fewtheory.samplers.solver_decisions import (
    Decision,
    analytic_step_error,
    known_schedule,
    switching_schedule,
    taylor_weights,
)
from fewtheory.samplers.solver_schedule import _driver, _kernel, _step, solver_schedule
from fewtheory.samplers.solver_space import SolverSpace
from fewtheory.search.predictor import _fitted, _proposed, predictor
from fewtheory.suites import _worlds as w
from fewtheory.testbeds import Gaussian
from fewtheory.verify import bound, claim, identity, limit, optimum, order, sabotage, wrong

VP = w.PATH
UNEVEN = w.uneven_grid(6)
NO_FACTORIAL = sabotage(
    solver_schedule,
    "derivative_weights(delta.tolist(), derivative)",
    "[a / math.factorial(derivative) for a in derivative_weights(delta.tolist(), derivative)]",
    "derivative weights without 1/j!: half of the second derivative, the published 3M",
    inside=taylor_weights,
)
UNSCALED = sabotage(
    solver_schedule,
    "moments[d] * factor * a",
    "moments[d] * a",
    "the scaling of the first derivative is forgotten",
    inside=_step,
)
NEXT_NODE = sabotage(
    solver_schedule,
    "nodes[i].level.lam - s.level.lam",
    "nodes[i].level.lam - t.lam",
    "offsets are counted from the end of the step",
    inside=_step,
)
full = partial(dpm_solver_pp, lower_order_final=False)
phi, single = {"solver_type": "taylor"}, {"method": "singlestep", "inner": "grid"}
SAME = {
    "ddim": ddim,
    "2m-midpoint": partial(full, order=2),
    "2m": partial(full, order=2, **phi),
    "3m": partial(full, order=3, **phi),
    "2s-midpoint": partial(full, order=2, **single),
    "2s": partial(full, order=2, **single, **phi),
    "3s-midpoint": partial(full, order=3, **single),
    "3s": partial(full, order=3, **single, **phi),
    "deis-1": partial(deis, degree=1, fit="log_rho"),
    "deis-2": partial(deis, degree=2, fit="log_rho"),
    **{
        f"unipc-{p}-{bh}": partial(unipc, order=p, bh=bh)
        for p in (1, 2, 3)
        for bh in ("bh1", "bh2")
    },
}


@claim("C1a", kind="identity", of=solver_schedule, saboteurs=[NO_FACTORIAL, UNSCALED])
def known_solvers_are_schedules(make):
    """DDIM, ++2M, repaired ++3M, ++2S, ++3S, log-rho Adams-Bashforth and UniPC-p with both B(h)
    have the canonical tableaus of their schedules, on uneven steps."""
    for name, sampler in SAME.items():
        distance = make(VP, UNEVEN, name).distance(sampler(VP, UNEVEN))
        # rows of at most 4 terms, carried through 6 steps; noise forms hold rho_T = e^3
        yield identity(distance, 0.0, operations=64, scale=math.exp(3.0), what=name)


@claim(
    "C1b",
    kind="identity",
    of=dpm_solver_pp,
    saboteurs=[wrong(partial(dpm_solver_pp, repaired=False), "the rule as it is published")],
    erratum="++3M as published is no Taylor schedule: it halves the second derivative.",
)
def third_order_is_the_repaired_rule(sampler):
    """++3M is the schedule of order 3 with two nodes if and only if its second-derivative term is
    whole (on five to ten steps of lam -3..3 the published rule is off by .15 to .09)."""
    for n in (5, 6, 8, 10):
        grid = w.uniform_grid(n)
        plan = sampler(VP, grid, 3, lower_order_final=False, **phi)
        distance = plan.distance(solver_schedule(VP, grid, "3m"))
        yield identity(distance, 0.0, operations=64, scale=math.exp(3.0), what=f"N = {n}")


@functools.cache
def bimodal_statistics():
    """The exact statistics of the bimodal mixture."""
    return ModelStatistics.exact(w.BIMODAL, np.linspace(-3.1, 3.1, 61))


def last_row(plan):
    """(a, d, weights of the evaluations) of the output in canonical form."""
    tab = plan.canonical()
    return np.array([tab.a[-1], tab.d[-1], *tab.B[-1][plan.evaluated]])


UNANCHORED = sabotage(
    solver_schedule,
    "anchored(statistics, s.level.lam, value, nodes[i].level.lam)",
    "value",
    "f of another node is not brought to the start node",
    inside=_step,
)
UNBIASED = sabotage(
    solver_schedule,
    "-t.alpha * A * bias",
    "0.0 * bias",
    "the bias of the constants is left out",
    inside=_kernel,
)


@claim("C1c", kind="identity", of=solver_schedule, saboteurs=[UNANCHORED, UNBIASED])
def version_three_is_a_schedule(make):
    """DPM-Solver-v3 of order 2 and 3, with full and pseudo derivatives and the repository's
    correctors, is a schedule of type v3."""
    statistics = bimodal_statistics()
    how = {"corrector": "repository", "lower_order_final": False}
    for n, pseudo in itertools.product((2, 3), (False, True)):
        other = dpm_solver_v3(
            VP, UNEVEN, statistics, n, pseudo=pseudo, corrector_pseudo=pseudo, **how
        )
        name = f"v3-{n}" + "-pseudo" * pseudo
        found = make(VP, UNEVEN, name, statistics=statistics)
        # about 20 roundings in each of 6 steps, on terms up to rho_T = e^3
        yield identity(
            last_row(found), last_row(other), operations=128, scale=math.exp(3.0), what=name
        )


def alternating(n):
    """Third-order steps in noise and data prediction by turns."""
    return [Decision(("noise", "data")[i % 2], min(3, i + 1)) for i in range(n)]


def orders(make, decisions, expected, what):
    """Evidence of the order from exact start values."""
    steps = [40, 80, 160]
    errors = [
        w.continued_error(make(VP, w.uniform_grid(n), d), 3)
        for n, d in ((n, decisions(n) if callable(decisions) else decisions) for n in steps)
    ]
    return order(steps, errors, expected, what=what)


@claim("C2a", kind="order", of=solver_schedule, saboteurs=[NO_FACTORIAL, NEXT_NODE])
def full_schedules_keep_their_order(make):
    """From exact start values data, noise and steps that alternate between them, of order 3 with
    full estimates, are of order 3."""
    for kind in ("data", "noise"):
        yield orders(make, Decision(kind, 3), 3, kind)
    yield orders(make, alternating, 3, "alternating")


@claim(
    "C2b",
    kind="order",
    of=solver_schedule,
    saboteurs=[
        UNSCALED,
        wrong(
            lambda path, grid, d: solver_schedule(path, grid, Decision(d.type, d.order)),
            "the order that the decision says, k",
        ),
    ],
)
def the_searched_space_is_of_second_order(make):
    """A first derivative from one point, a scaling 1 + h/2 and bh2 make third-order steps second
    order; a second-order step with scaling 1 + h/2 stays of second order."""
    for decision, what in (
        (Decision("data", 3, (1,)), "k = 3, one point"),
        (Decision("data", 3, (), 0.5), "k = 3, 1 + h/2"),
        (Decision("data", 3, (), "bh2"), "k = 3, bh2"),
        (Decision("data", 2, (), 0.5), "k = 2, 1 + h/2"),
    ):
        yield orders(make, decision, 2, what)


@claim(
    "C2c",
    kind="order",
    of=solver_schedule,
    saboteurs=[
        wrong(
            lambda path, grid, d: solver_schedule(path, grid, Decision(d.type, d.order)),
            "no corrector",
        ),
        sabotage(
            solver_schedule,
            "new._replace(x=x)",
            "new",
            "the corrected state is thrown away",
            inside=_driver,
        ),
    ],
)
def a_pseudo_corrector_adds_an_order(make):
    """Second-order steps with a pseudo corrector are of order 3, from scratch."""
    steps = [40, 80, 160, 320]
    decision = Decision("data", 2, corrector="pseudo")
    errors = w.errors_over(steps, lambda n: make(VP, w.uniform_grid(n), decision))
    return order(steps, errors, 3)


C = 0.09
LAM_C = -0.5 * math.log(C)


def local_defect(make, kind, lam, h, c=C):
    """The error of one second-order step from lam to lam + h, exact history, x = 1 at lam - h."""
    bed = Gaussian([0.0], c)
    grid = grids.at_lams(VP, [lam - h, lam, lam + h])
    plan = make(VP, grid, [Decision(kind, 1), Decision(kind, 2)])
    flow, model, t = bed.flow(VP), bed.model(VP, plan.prediction), plan.t.tolist()
    u = [np.ones((1, 1)), flow(np.ones((1, 1)), t[0], t[1])]
    m = [model(x, v) for x, v in zip(u, t, strict=False)]
    out = sum(plan.P[2, j] * u[j] + plan.B[2, j] * m[j] for j in (0, 1))
    return float((out - flow(u[0], t[0], t[2]))[0, 0])


MIDPOINT = wrong(
    lambda path, grid, decisions: solver_schedule(
        path,
        grid,
        [Decision(d.type, d.order, (), "bh2" if d.order == 2 else None) for d in decisions],
    ),
    "midpoint steps in place of exact phi",
)


@claim("C3a", kind="rate", of=solver_schedule, saboteurs=[MIDPOINT])
def the_ratio_of_local_defects(make):
    """Gaussian data N(0, c): the leading local defects of second-order steps are in ratio |data| /
    |noise| = |2 - 3 theta| / |1 - 3 theta|, theta = rho^2 / (c + rho^2): .3911, .0673, 1, 14.9,
    2.557 at lam_c - 1, -.3, 0, +.3, +1 (c = .09)."""
    h = [0.02, 0.01, 0.005]
    for d in (-1.0, -0.3, 0.0, 0.3, 1.0):
        rho2 = math.exp(-2 * (LAM_C + d))
        theta = rho2 / (C + rho2)
        values = [
            abs(
                local_defect(make, "data", LAM_C + d, v) / local_defect(make, "noise", LAM_C + d, v)
            )
            for v in h
        ]
        expected = abs(2 - 3 * theta) / abs(1 - 3 * theta)
        yield limit(h, values, expected, what=f"lam_c {d:+g}")


AT_RHO = sabotage(switching_schedule, "np.exp(-2 * middle)", "np.exp(-middle)", "switch at rho = c")
REVERSED = sabotage(
    switching_schedule,
    "np.where(np.exp(-2 * middle) > c, 'data', 'noise')",
    "np.where(np.exp(-2 * middle) > c, 'noise', 'data')",
    "noise first, then data",
)


@claim("C3b", kind="bound", of=switching_schedule, saboteurs=[AT_RHO, REVERSED])
def data_while_rho_is_large(switching):
    """Data prediction has the smaller local defect if and only if rho^2 > c: at 24 levels around
    lam_c the chosen type's defect is the smaller one."""
    distances = np.concatenate([-np.geomspace(0.05, 3, 12), np.geomspace(0.05, 3, 12)])
    h, chosen, other = 0.02, [], []
    for d in distances.tolist():
        grid = grids.at_lams(VP, np.array([-h, 0.0, h]) + LAM_C + d)
        kind = switching(VP, grid, C)[1].type
        found = {k: abs(local_defect(solver_schedule, k, LAM_C + d, h)) for k in ("data", "noise")}
        chosen.append(found.pop(kind) / max(found.values()))
        other.append(1.0)
    return bound(chosen, other, x=distances, what="chosen over other", x_label="lam - lam_c")


def around(n, width=3.0):
    """n equal steps of lam around lam_c."""
    return grids.at_lams(w.WIDE, np.linspace(LAM_C - width, LAM_C + width, n + 1))


@claim("C3c", kind="order", of=switching_schedule, saboteurs=[AT_RHO])
def switching_cancels(switching):
    """A run that goes from data to noise at theta = 1/2 has a standard deviation of third order;
    data and noise alone of second."""
    steps = [40, 80, 160, 320]
    for what, expected in (("switch", 3), ("data", 2), ("noise", 2)):
        errors = []
        for n in steps:
            grid = around(n, 8.0)
            made = switching(w.WIDE, grid, C)
            chosen = made if what == "switch" else Decision(what, 2)
            errors.append(abs(w.std_error(solver_schedule(w.WIDE, grid, chosen), C)))
        yield order(steps, errors, expected, what=what)


@claim("C3d", kind="optimum", of=switching_schedule, saboteurs=[AT_RHO, REVERSED])
def whole_runs(switching):
    """lam_c - 3..+3, errors of the standard deviation at 20 and 80 steps: data 9.6e-3 and 5.8e-4,
    noise 8.8e-3 and 5.8e-4, the switch at theta = 1/2 2.9e-3 and 5.2e-5. Reversed, 3.3e-3 and
    5.3e-5: the two halves cancel there too, with terms five times as large."""
    for n, data, noise, switch in ((20, 9.6e-3, 8.8e-3, 2.9e-3), (80, 5.8e-4, 5.8e-4, 5.2e-5)):
        grid = grids.at_lams(VP, around(n).lam)
        chosen = switching(VP, grid, C)
        for what, decisions, value in (
            ("data", Decision("data", 2), data),
            ("noise", Decision("noise", 2), noise),
            ("switch", chosen, switch),
        ):
            found = abs(w.std_error(solver_schedule(VP, grid, decisions), C))
            yield known(found, value, 2, f"N = {n}, {what}")


def known(found, value, digits, what):
    """Evidence that a number is the known one to its digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    why = "half a unit of the known value's last digit"
    return optimum(found, value, tolerance=unit / 2, tolerance_from=why, what=what)


@claim("C3e", kind="rate", of=solver_schedule, saboteurs=[MIDPOINT])
def what_each_half_contributes(make):
    """In units of h^2, over all of the line, second-order data steps contribute -5/192 to the
    standard deviation's relative error before theta = 1/2 and 25/192 after, noise steps -25/192 and
    5/192: in all +5/48 and -5/48. Third-order steps stand on the other half."""
    halves = {"data": (-5 / 192, 25 / 192), "noise": (-25 / 192, 5 / 192)}
    steps = [80, 160, 320, 640]
    h = [16 / n for n in steps]
    for kind, (before, after) in halves.items():
        for what, expected in (("before", before), ("after", after)):
            values = []
            for n, v in zip(steps, h, strict=True):
                second = range(n // 2) if what == "before" else range(n // 2, n)
                decisions = [Decision(kind, min(i + 1, 2 if i in second else 3)) for i in range(n)]
                plan = make(w.WIDE, around(n, 8.0), decisions)
                values.append(w.std_error(plan, C) / v**2)
            yield limit(h, values, expected, what=f"{kind}, {what}")


FIVE = grids.at_lams(VP, np.linspace(-4.0, 3.0, 6))
MIXED = (("data", 1), ("data", 2), ("noise", 3), ("noise", 3), ("data", 3))
BEST = ("none", None, *((kind, k, None, None, None) for kind, k in MIXED))


@functools.cache
def exact():
    """(model, start, output of the exact flow) at 64 quantiles of the bimodal mixture."""
    t0, t1 = float(FIVE.t[0]), float(FIVE.t[-1])
    x = w.mid_quantiles(w.BIMODAL, t0, 64)
    return w.BIMODAL.model(VP, "data"), x, w.BIMODAL.flow(VP)(x, t0, t1)


def flow_rms(plan):
    """Rms error of y = x / alpha at the output."""
    model, x, end = exact()
    return w.rms(plan.run(model, x) - end) / float(plan.alpha[-1])


def all_values(make):
    """The rms of each of the 864 candidates."""
    space = SolverSpace(VP, FIVE, 5)
    return {c: flow_rms(make(VP, FIVE, space.decisions(c))) for c in space}


@claim("C4", kind="optimum", of=solver_schedule, saboteurs=[NO_FACTORIAL])
def mixed_schedules_beat_uniform_ones(make):
    """Five steps of lam -4..3 on the bimodal mixture, all 864 schedules (type x order <= 3), rms of
    y over 64 quantiles: best .0668, (data 1, data 2, noise 3, noise 3, data 3); median .167, worst
    .442. Best uniform .0809 (noise 3), 1.21 times that; ++2M .205 (midpoint .128), with a
    lower-order end .128 (.120), repaired ++3M .326."""
    values = all_values(make)
    best = min(values, key=lambda c: values[c])
    yield optimum(float(best == BEST), 1.0, tolerance=0.0, tolerance_from="which", what="which")
    uniform = min(
        flow_rms(make(VP, FIVE, known_schedule(name, 5, type=kind, lower_order_final=low)))
        for name in ("ddim", "2m", "3m")
        for kind in ("data", "noise")
        for low in (False, True)
    )
    lower = partial(known_schedule, lower_order_final=True)
    for what, found, value, digits in (
        ("how many", len(values), 864, 3),
        ("best", values[best], 0.0668, 3),
        ("median", float(np.median(list(values.values()))), 0.167, 3),
        ("worst", max(values.values()), 0.442, 3),
        ("best uniform", uniform, 0.0809, 3),
        ("best uniform over best", uniform / values[best], 1.21, 3),
        ("++2M", flow_rms(make(VP, FIVE, "2m")), 0.205, 3),
        ("++2M, midpoint", flow_rms(make(VP, FIVE, "2m-midpoint")), 0.128, 3),
        ("++2M, lower-order end", flow_rms(make(VP, FIVE, lower("2m", 5))), 0.128, 3),
        ("both", flow_rms(make(VP, FIVE, lower("2m-midpoint", 5))), 0.120, 3),
        ("++3M, repaired", flow_rms(make(VP, FIVE, "3m")), 0.326, 3),
    ):
        yield known(found, value, digits, what)


class Valued(SolverSpace):
    """The 864 candidates as the objective takes them: values and features are looked up."""

    def build(self, candidate):
        return candidate

    def seeds(self):
        return []

    def __iter__(self):
        return iter(table())

    @property
    def size(self):
        return len(table())

    def features(self, candidate):
        return looked_up()[candidate]


@functools.cache
def table():
    """The rms of every candidate, as the package makes their plans."""
    return all_values(solver_schedule)


@functools.cache
def looked_up():
    """The features of every candidate."""
    space = SolverSpace(VP, FIVE, 5)
    return {c: space.features(c) for c in table()}


SHUFFLED = sabotage(
    predictor,
    "np.log(values)",
    "rng.permutation(np.log(values))",
    "trained on shuffled scores",
    inside=_fitted,
)
WORST_FIRST = sabotage(
    predictor,
    "[found[i] for i in np.argsort(score(found), kind='stable')]",
    "[found[i] for i in np.argsort(-score(found), kind='stable')]",
    "the candidates of highest predicted error are taken",
    inside=_proposed,
)


@claim(
    "C5",
    kind="optimum",
    of=predictor,
    saboteurs=[SHUFFLED, WORST_FIRST, wrong(search.random, "random search")],
)
def a_predictor_finds_more(method):
    """On that space a search with a budget of 60 (20 at random, then 4 predicted and 1 random at a
    time) comes within 2% of the optimum in at least 1.7 times as many of 60 seeds as random search
    does in expectation, 1 - C(N - m, 60) / C(N, 60), m of N candidates being that good; so too with
    a budget of 100."""
    values = table()
    good = 1.02 * min(values.values())
    m, size = sum(v <= good for v in values.values()), len(values)
    runs = [
        search.run(Valued(VP, FIVE, 5), values.__getitem__, method=method, budget=100, seed=s)
        for s in range(60)
    ]
    for budget in (60, 100):
        miss = math.comb(size - m, budget) / math.comb(size, budget)
        hits = sum(float(r.best_so_far[budget - 1]) <= good for r in runs)
        yield optimum(
            hits,
            1.7 * 60 * (1 - miss),
            tolerance=0.0,
            tolerance_from="the claim's own factor times the exact expectation",
            side="at least",
            what=f"budget {budget}, hits of 60",
        )


NO_NOISE = sabotage(
    solver_schedule,
    "Form({}) + (plain(mu) if afs == 'mean' else 0.0)",
    "trace.start / grid[0].alpha",
    "the noise prediction is 0 in place of x0hat the mean",
)


FIRST_STEP = [
    sabotage(analytic_step_error, "rho**2", "rho", "rho stands where its square should"),
    wrong(lambda V, lam: np.sqrt(V * 1.0), "the spread of the data: x0hat := 0 on centred data"),
]


@claim(
    "C6a",
    kind="identity",
    of=analytic_step_error,
    saboteurs=FIRST_STEP,
)
def the_error_of_the_first_step(error):
    """The rms of x0hat - mean is V / sqrt(V + rho^2) exactly for Gaussian data, V = 1.8."""
    bed = Gaussian([0.4], 1.8)
    for lam in (-4.0, -1.0, 0.5):
        alpha, sigma = VP.level(lam)
        # x0hat is affine in x, and x has two equally likely values of the right variance
        x = alpha * 0.4 + np.sqrt(alpha**2 * 1.8 + sigma**2) * np.array([[-1.0], [1.0]])
        found = w.rms(bed.model(VP, "data")(x, VP.t_at(lam)) - 0.4)
        yield identity(error(1.8, lam), found, operations=64, scale=1 / alpha, what=f"lam = {lam}")


def mixture_error(variance, lam):
    """The same for the bimodal mixture, by quadrature of its own x0hat."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x, t = 12.0 * nodes[:, None], float(VP.t_at(lam))
    density = np.exp(w.BIMODAL.at(VP, t).log_prob(x)).ravel()
    off = (w.BIMODAL.model(VP, "data")(x, t) - w.BIMODAL.mean).ravel()
    return math.sqrt(float(12.0 * weights @ (density * off**2)))


@claim("C6b", kind="optimum", of=analytic_step_error, saboteurs=FIRST_STEP)
def and_for_any_data(error):
    """It tends to that for any data as lam falls: the bimodal mixture has .220924, .0821996,
    .0302867, .0111442 at lam = -2..-5, the formula .220529, .0821795, .0302857, .0111441."""
    V = float(np.asarray(w.BIMODAL.cov).ravel()[0])
    for lam, mixture, formula in (
        (-2.0, 0.220924, 0.220529),
        (-3.0, 0.0821996, 0.0821795),
        (-4.0, 0.0302867, 0.0302857),
        (-5.0, 0.0111442, 0.0111441),
    ):
        yield known(mixture_error(V, lam), mixture, 6, f"mixture, lam = {lam:g}")
        yield known(float(error(V, lam)), formula, 6, f"formula, lam = {lam:g}")


@claim("C6c", kind="identity", of=solver_schedule, saboteurs=[NO_NOISE])
def what_it_does_to_the_first_step(make):
    """The analytical first step moves y of the next level by 1 - e^-h times that error for "mean";
    "zero" has the mean as a further error: sqrt(error^2 + mean^2)."""
    mean, V, lam, h = 0.4, 1.8, -3.0, 0.7
    bed, grid = Gaussian([mean], V), grids.at_lams(VP, [lam, lam + h])
    alpha, sigma = VP.level(lam)
    x = alpha * mean + math.sqrt(alpha**2 * V + sigma**2) * np.array([[-1.0], [1.0]])
    error = float(analytic_step_error(V, lam))
    evaluated = make(VP, grid, "ddim").run(bed.model(VP), x)
    for afs, expected in (("mean", error), ("zero", math.hypot(error, mean))):
        plan = make(VP, grid, "ddim", afs=afs, mean=mean)
        found = w.rms(plan.run(bed.model(VP), x) - evaluated) / float(plan.alpha[-1])
        # y is as large as rho_T
        yield identity(
            found, -math.expm1(-h) * expected, operations=64, scale=math.exp(3.0), what=afs
        )
        yield identity(plan.nfe, 0, operations=0, scale=1.0, what=f"{afs}, evaluations")


WEIGHTS = [
    sabotage(
        taylor_weights,
        "derivative_weights(delta.tolist(), derivative)",
        "[a / math.factorial(derivative) for a in derivative_weights(delta.tolist(), derivative)]",
        "the weights of m^(d) / d!",
    ),
    sabotage(
        taylor_weights,
        "derivative_weights(delta.tolist(), derivative)",
        "[-a for a in derivative_weights((-delta).tolist(), derivative)]",
        "the offsets have the wrong sign",
    ),
]


@claim("C7a", kind="identity", of=taylor_weights, saboteurs=WEIGHTS)
def weights_are_exact_on_polynomials(weights):
    """sum_k a_k delta_k^j / j! = [j = d] for j = 1..e: Taylor differences are exact on polynomials
    of degree e, for one to four uneven nodes."""
    for e in (1, 2, 3, 4):
        delta = np.array([-0.5, -0.9, -1.6, -2.1][:e])
        for d in range(1, e + 1):
            a = np.array(weights(delta, d))
            powers = np.array([delta**j / math.factorial(j) for j in range(1, e + 1)])
            size = float((np.abs(powers) @ np.abs(a)).max())
            # a solve of up to 4 equations
            yield identity(
                powers @ a,
                1.0 * (np.arange(1, e + 1) == d),
                operations=64,
                scale=size,
                what=f"e = {e}, d = {d}",
            )


@claim("C7b", kind="order", of=taylor_weights, saboteurs=WEIGHTS[1:])
def the_error_of_a_taylor_difference(weights):
    """Of a smooth function derivative d from e points has an error O(h^(e-d+1)): e^x + sin 2x at
    .3, d = 1, 2 of one to three uneven nodes."""

    def f(x):
        return np.exp(x) + np.sin(2 * x)

    x = 0.3
    exact = {1: math.exp(x) + 2 * math.cos(2 * x), 2: math.exp(x) - 4 * math.sin(2 * x)}
    h = [0.08, 0.04, 0.02, 0.01]
    for e in (1, 2, 3):
        for d in range(1, min(e, 2) + 1):
            errors = []
            for v in h:
                delta = v * np.array([-1.0, -1.8, -3.2][:e])
                a = np.array(weights(delta, d))
                errors.append(abs(float(a @ (f(x + delta) - f(x))) - exact[d]))
            what = f"e = {e}, d = {d}"
            yield order([1 / v for v in h], errors, e - d + 1, what=what, x_label="1/h")
