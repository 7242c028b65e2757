"""The order of the rule that recurs: what each sampler states of itself, seen from its rows."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.audit.order import rule_order, slopes_of, upto
from fewtheory.audit.outcome import flow_error
from fewtheory.audit.recovered import recover
from fewtheory.audit.subject import subject
from fewtheory.plan import Trace, grids
from fewtheory.plan.order import defects

VP, EDM = paths.VPLinear(), paths.EDM()
REFINED = (24, 48, 96)  # steps: three, each twice the one before
LATE = {"SDE-DPM-Solver++(2M)": (48, 96, 192)}  # one variance of three errs with both signs before
pytestmark = pytest.mark.usefixtures("own_checks")  # plans of hundreds of nodes

# a variant states the order of a whole run; where its first or last steps cap it, the rule has more
RULE = {
    **{f"tAB{r}-DEIS": r + 1 for r in (1, 2, 3)},  # Adams-Bashforth with r + 1 values
    "rho-AB3 (LMS-4)": 4,
    "log-rho AB2": 3,
    "DPM-Solver++(3M), repaired": 3,
    "DPM-Solver++(3M), published": 2,  # half of its second derivative is missing
    "UniPC-3 (lower-order end)": 4,  # its corrector has one more than its predictor
}
FIRST = {(v.sampler, v.order): v for v in reversed(samplers.VARIANTS) if v.per_step < 3}
CHOSEN = {v.name: v for v in samplers.VARIANTS if v.name in RULE or v in FIRST.values()}
CHOSEN |= {v.name: v for v in samplers.VARIANTS if v.stochastic or v.name == "DPM-Solver++(3S)"}


def plans(make, path=VP, ends=(-3.0, 2.0)):
    """A subject whose plan in so many steps is make(path, grid)."""

    def of_steps(steps):
        return make(path, grids.at_lams(path, np.linspace(*ends, steps + 1)))

    return subject(of_steps)


def measured(make, path=VP, refined=REFINED, at_handed=False, told=None, ends=(-3.0, 2.0)):
    """The order of the rule of make(path, grid)."""
    judged = plans(make, path, ends)
    return rule_order([recover(judged, n, told or judged.told) for n in refined], at_handed)


@pytest.mark.parametrize("variant", CHOSEN.values(), ids=CHOSEN)
def test_the_order_of_the_rule_is_what_the_sampler_states(variant):
    refined = LATE.get(variant.name, REFINED)
    found = measured(variant, EDM if variant.own_time else VP, refined)
    wanted = RULE.get(variant.name, variant.order)
    assert found.algebra == wanted
    assert abs(found.measured - wanted) < 0.5  # to the nearest integer
    assert found.kind == ("weak" if variant.stochastic else "ode")
    assert found.steps == refined


# saboteurs: the order is not read off a name


def two_step(slope):
    """DPM-Solver++(2M) with this factor before the difference of the last two predictions."""

    def make(path, grid):
        trace = Trace("two_step", path, grid)
        x, last = trace.start, None
        for s, t in trace.steps():
            x, m = trace.evaluate(x, s)
            h, A = t.lam - s.lam, t.sigma / s.sigma
            weight = t.alpha * -np.expm1(-h)
            difference = 0.0 * m if last is None else (m - last[0]) * (h / (s.lam - last[1]))
            x, last = A * x + weight * (m + slope * difference), (m, s.lam)
        return trace.plan(x)

    return make


@pytest.mark.parametrize(("slope", "wanted"), [(0.5, 2), (0.25, 1), (-0.5, 1), (0.0, 1)])
def test_a_wrong_first_moment_is_of_first_order(slope, wanted):
    found = measured(two_step(slope))
    assert found.algebra == wanted
    assert abs(found.measured - wanted) < 0.5


def with_row(row, change):
    """DPM-Solver++(2M) with one row of B changed and its base's weight made to fit."""

    def make(path, grid):
        plan = samplers.dpm_solver_pp(path, grid, 2, lower_order_final=False)
        i = row % plan.nodes
        B = plan.B.copy()
        B[i, i - 1] += change * B[i, i - 1]
        if i > 1:
            B[i, i - 2] -= change * plan.B[i, i - 1]
        return replace(plan, B=B)

    return make


@functools.cache
def unchanged():
    """The order of DPM-Solver++(2M)."""
    return measured(with_row(2, 0.0))


@pytest.mark.parametrize("row", [2, -1])
def test_the_first_and_the_last_steps_change_nothing(row):
    good, bad = unchanged(), measured(with_row(row, 0.5))
    # by design, but for roundings of 1e-16 in the rows, of errors that are 1e-4 of the state
    assert bad.algebra == good.algebra
    assert np.allclose(bad.errors, good.errors, rtol=1e-9)


@pytest.mark.parametrize("row", [2, -1])
def test_a_whole_run_feels_its_first_and_its_last_steps(row):
    grid = grids.at_lams(VP, np.linspace(-3.0, 2.0, 25))
    good, bad = (flow_error(with_row(row, c)(VP, grid), 1, [24]) for c in (0.0, 0.5))
    assert abs(bad / good - 1) > 1e-3  # a million times the bound above


def test_a_bad_step_in_the_middle_is_seen():
    good = unchanged()
    bad = measured(lambda path, grid: with_row(grid.steps // 2, 0.5)(path, grid))
    # one local error of first order, h^2, among global ones of second: the order stays, errors grow
    assert bad.errors[-1] > 1.2 * good.errors[-1]


def test_a_warm_up_does_not_count_where_the_start_is_exact():
    lam = np.linspace(-3.0, 2.0, 33)
    plan = samplers.dpm_solver_pp(VP, grids.at_lams(VP, lam), 2, lower_order_final=False)
    B = plan.B.copy()
    B[1:9] *= 1.1  # rows that are not even exact on points
    spoilt = replace(plan, B=B)
    for name, value in defects(plan, first=9, at=[20, 30]).items():
        assert np.array_equal(value, defects(spoilt, first=9, at=[20, 30])[name])
        assert not np.array_equal(defects(plan)[name], defects(spoilt)[name])


def test_errors_are_taken_at_the_nodes_asked_for():
    plan = samplers.ddim(VP, grids.at_lams(VP, np.linspace(-3.0, 2.0, 33)))
    at = [defects(plan, at=[i])["quadrature"] for i in (10, 20)]
    both = defects(plan, at=[10, 20])["quadrature"]
    assert np.allclose(both, (at[0] + at[1]) / 2, rtol=1e-13)  # the mean over the nodes


def test_what_errs_by_roundings_alone_has_no_slope():
    slopes = slopes_of([{"flow": np.array([v])} for v in (1e-13, 3e-13, 2e-13)])
    assert slopes == {}


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_slopes_are_extrapolated_and_the_smallest_is_told(p):
    # error h^p + h^{p+1}: slopes p + O(h), of which twice the second less the first is p + O(h^2)
    h = np.array([1 / 8, 1 / 16, 1 / 32])
    errors = [np.array([e, e**2]) for e in h**p * (1 + h)]
    found = slopes_of([{"one": e} for e in errors])["one"]
    assert abs(found - p) <= 2 * h[0] ** 2


# parts


def test_a_plan_is_cut_at_a_node():
    plan = samplers.dpm_solver_pp(VP, grids.at_lams(VP, np.linspace(-3, 2, 13)), 2, eta=1.0)
    part = upto(plan, 7)
    whole, cut = plan.tableau(), part.tableau()
    assert (part.nodes, part.lam[-1]) == (8, plan.lam[7])
    assert np.array_equal(cut.a, whole.a[:8])
    assert np.array_equal(cut.B, whole.B[:8, :7])
    assert np.array_equal(cut.C, whole.C[:8])


def test_the_levels_told_can_be_judged_instead_of_those_believed():
    def tells_late(model, x, steps):  # the network hears the level of the step's end
        sigma = np.geomspace(8.0, 0.125, steps + 1).tolist()
        for i, (s, t) in enumerate(itertools.pairwise(sigma)):
            told = s if i == 0 else t
            x = x + (t - s) * model(x, told)
        return x

    judged = subject(tells_late, path=EDM, prediction="noise")
    runs = [recover(judged, n, judged.told) for n in (12, 24, 48)]
    believed, handed = rule_order(runs, at_handed=False), rule_order(runs, at_handed=True)
    true = subject(straight, path=EDM)
    ddim = rule_order([recover(true, n, judged.told) for n in (12, 24, 48)], at_handed=False)
    assert believed.algebra == handed.algebra == 1
    # by its beliefs it is Euler's method; what it tells the network costs accuracy
    assert np.allclose(believed.errors, ddim.errors, rtol=1e-9)
    assert handed.errors[-1] > 1.2 * believed.errors[-1]


def straight(model, x, steps):
    """Euler's method in sigma, which tells the truth."""
    sigma = np.geomspace(8.0, 0.125, steps + 1).tolist()
    for s, t in itertools.pairwise(sigma):
        x = x + (t - s) * model(x, s)
    return x
