"""Solver schedules: decisions, the driver, known solvers, known answers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fewtheory import arrays, paths, samplers
from fewtheory.plan import grids
from fewtheory.samplers import ModelStatistics, solver_schedule
from fewtheory.samplers.solver_decisions import (
    SOLVERS,
    Decision,
    Taylor,
    analytic_step_error,
    known_schedule,
    scaling_factor,
    switching_schedule,
    taylor_weights,
)
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
VP, RF = paths.VPLinear(), paths.RectifiedFlow()
ENTRIES = json.loads((Path(__file__).parents[1] / "data" / "usf-s3.json").read_text())
FACTS = {e["what"]: e for e in ENTRIES}
TWO = [Decision("data", 1), Decision("noise", 2)]


def fact(start):
    """(inputs, expected, tolerance) of the known answer whose `what` starts so."""
    (entry,) = [e for what, e in FACTS.items() if what.startswith(start)]
    return entry["inputs"], entry["expected"], entry["tolerance"]


@pytest.fixture
def grid(lams):
    return grids.at_lams(VP, lams)


@pytest.fixture
def three(lams):
    return grids.at_lams(VP, lams[[0, 3, 5, 7]])


def test_the_known_weights_of_every_derivative():
    given, expected, tolerance = fact("Taylor-difference weights")
    for d in (1, 2, 3):
        found = taylor_weights(given["delta"], d)
        np.testing.assert_allclose(found, expected[f"derivative {d}"], rtol=tolerance)


def test_the_known_relaxation_factors():
    given, expected, tolerance = fact("relaxation factors")
    named = {"bh2": "bh2", "bh1": "bh1", "linear": given["c"]}
    for name, scaling in named.items():
        found = scaling_factor(scaling, "data", given["h"])
        assert found == pytest.approx(expected[name], rel=tolerance)


def test_the_known_tableau_of_a_mixed_schedule():
    given, expected, tolerance = fact("canonical tableau")
    decisions = [Decision(kind, k) for kind, k in given["schedule"]]
    tab = solver_schedule(VP, grids.at_lams(VP, given["lam_grid"]), decisions).canonical()
    found = [tab.a[-1], *tab.B[-1]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_the_known_defect_ratios_of_data_and_noise():
    # two-sided difference of ratios at h and h/2 removes the O(h) term: O(h^2) is left
    given, expected, _ = fact("leading local-defect ratio")
    bed, h = Gaussian([0.0], given["c"]), 0.02

    def defect(kind, lam, h):
        plan = solver_schedule(
            VP, grids.at_lams(VP, [lam - h, lam, lam + h]), [Decision(kind, 1), Decision(kind, 2)]
        )
        flow, t, x = bed.flow(VP), plan.t.tolist(), np.ones((1, 1))
        model = bed.model(VP, plan.prediction)
        u = [x, flow(x, t[0], t[1])]
        row = [plan.P[2, j] * u[j] + plan.B[2, j] * model(u[j], t[j]) for j in (0, 1)]
        return abs(float((sum(row) - flow(x, t[0], t[2]))[0, 0]))

    for lam, ratio in zip(given["lams"], expected, strict=True):
        a, b = (defect("data", lam, v) / defect("noise", lam, v) for v in (h, h / 2))
        assert 2 * b - a == pytest.approx(ratio, rel=4 * h**2 * max(1, ratio))


def test_the_known_error_of_the_analytic_step():
    given, expected, tolerance = fact("rms error of the analytic first step")
    found = analytic_step_error(given["V"], given["lam_T"])
    assert float(found) == pytest.approx(expected, rel=tolerance * 10)


def test_bh_scalings_are_what_they_say_of_the_moments():
    # mu_1 = h^2 phi_2(hh) becomes h mu_0 / 2 and h^2 / 2, hh = -h for data and h for noise
    h = 0.7
    for kind, hh in (("data", -h), ("noise", h)):
        mu0 = math.expm1(hh) / hh * h
        mu1 = (math.expm1(hh) - hh) / hh**2 * h**2
        assert scaling_factor("bh2", kind, h) * mu1 == pytest.approx(h * mu0 / 2, rel=32 * EPS)
        assert scaling_factor("bh1", kind, h) * mu1 == pytest.approx(h * h / 2, rel=32 * EPS)
        half = 0.5 * math.expm1(hh)
        assert scaling_factor("0.5exp", kind, h) == pytest.approx(1 + half, rel=4 * EPS)
        assert scaling_factor("-0.5exp", kind, h) == pytest.approx(1 - half, rel=4 * EPS)
        assert scaling_factor(-0.2, kind, h) == 1 - 0.2 * h  # the sign of h is not flipped
        assert scaling_factor(None, kind, h) == 1.0


def test_noise_schedules_are_those_of_unipc(grid):
    for p in (1, 2, 3):
        one = solver_schedule(VP, grid, known_schedule(f"unipc-{p}-bh2", 7, type="noise"))
        other = samplers.unipc(VP, grid, p, prediction="noise")
        assert one.distance(other) <= 64 * EPS * 12  # rho_T = e^2.5


def test_a_lower_order_end_is_the_libraries(grid):
    one = solver_schedule(VP, grid, known_schedule("3m", 7, lower_order_final=True))
    other = samplers.dpm_solver_pp(VP, grid, 3, solver_type="taylor", lower_order_final=True)
    assert one.distance(other) <= 64 * EPS * 12


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_a_known_schedule_runs_at_one_evaluation_a_step(name, grid):
    statistics = ModelStatistics.constant(0.6, -0.1, 0.05)
    decisions = known_schedule(name, grid.steps)
    plan = solver_schedule(VP, grid, decisions, statistics=statistics)
    assert (len(decisions), plan.nfe) == (7, 7)
    assert decisions[-1].corrector is None


def test_constant_statistics_make_version_three_data_or_noise(grid):
    for constants, kind in (((1.0, 0.0, 0.0), "data"), ((0.0, -1.0, 0.0), "noise")):
        statistics = ModelStatistics.constant(*constants)
        for decision in (Decision("v3", 3), Decision("v3", 2, (), 0.3, corrector="pseudo")):
            twin = Decision(kind, decision.order, (), decision.scaling, -1, decision.corrector)
            one = solver_schedule(VP, grid, decision, statistics=statistics)
            two = solver_schedule(VP, grid, twin)
            # 40 quadrature points a weight, seven steps, states of rho_T = e^2.5
            assert one.distance(two) <= 512 * EPS * 12


def test_one_decision_is_capped_in_the_warm_up_and_not_corrected_last(grid):
    one = solver_schedule(VP, grid, Decision("data", 3, (1,), 0.2, corrector="pseudo"))
    first = Decision("data", 1, (), 0.2, corrector="pseudo")
    second = Decision("data", 2, (1,), 0.2, corrector="pseudo")
    third = Decision("data", 3, (1,), 0.2, corrector="pseudo")
    every = [first, second, *[third] * 4, Decision("data", 3, (1,), 0.2)]
    assert one.distance(solver_schedule(VP, grid, every)) == 0.0


def test_nodes_can_be_named(grid):
    # all of two nodes, a number of them, or the nodes themselves in any order
    plans = [
        solver_schedule(VP, grid, [*TWO, *[Decision("noise", 3, e)] * 5])
        for e in ((), (2, None), ((-3, -2), (-2, -3)))
    ]
    assert plans[0].distance(plans[1]) == 0.0
    assert plans[0].distance(plans[2]) <= 64 * EPS * 12


def test_a_corrector_takes_the_predictors_nodes_and_the_new_one(grid):
    # by default the correction of (order 2, node -2) has order 3 and nodes -1 and -3
    given = Decision("data", 2, ((-2,),), 0.1, -1, "pseudo")
    spelled = Decision(
        "data", 2, ((-2,),), 0.1, -1, "pseudo", Taylor(3, ((-1, -3), (-1, -3)), None)
    )
    first, rest = Decision("data", 1), Decision("data", 2)
    one, two = (solver_schedule(VP, grid, [first, d, *[rest] * 5]) for d in (given, spelled))
    assert one.distance(two) == 0.0


def test_an_implicit_corrector_costs_an_evaluation_a_step(grid):
    decisions = [Decision("data", 1, corrector="implicit"), *[Decision("data", 2)] * 6]
    plan = solver_schedule(VP, grid, decisions)
    assert plan.nfe == 8
    assert plan.dead_evaluations() == []
    np.testing.assert_array_equal(plan.lam[1:3], plan.lam[1])  # predicted and corrected state


def test_a_corrector_after_the_last_step_costs_one_evaluation(grid):
    for kind in ("pseudo", "implicit"):
        decisions = [*[Decision("data", 1)] * 6, Decision("data", 2, corrector=kind)]
        assert solver_schedule(VP, grid, decisions).nfe == 8


def test_the_analytic_first_step_saves_the_first_evaluation(grid, bimodal, rng):
    mean = float(np.ravel(bimodal.mean)[0])
    for kind in ("data", "noise"):
        plan = solver_schedule(VP, grid, Decision(kind, 2), afs="mean", mean=mean)
        assert (plan.nfe, plan.evaluated[0]) == (6, False)
        x = rng.standard_normal((4, 1))
        seen = []
        plan.run(bimodal.model(VP), x, callback=lambda i, u, seen=seen: seen.append(u))
        s, t = grid[0], grid[1]
        by_hand = t.sigma / s.sigma * x + (t.alpha - t.sigma / s.sigma * s.alpha) * mean
        np.testing.assert_allclose(seen[1], by_hand, rtol=0, atol=64 * EPS * np.abs(x).max())


def test_a_mean_of_the_events_shape_is_a_constant_of_the_plan(grid, rng):
    mean = np.array([0.5, -0.2])
    bed = Gaussian(mean, [1e-12, 1e-12])  # a point: x0hat is the mean from the start
    plan = solver_schedule(VP, grid, "2m", afs="mean", mean=mean)
    assert plan.d.shape == (8, 2)
    # 1e-12 of variance moves x0hat by 1e-12 x / sigma^2, less than 1e-10 here
    x = rng.standard_normal((3, 2))
    found, full = plan.run(bed.model(VP), x), solver_schedule(VP, grid, "2m").run(bed.model(VP), x)
    np.testing.assert_allclose(found, full, rtol=0, atol=1e-10)


def test_zero_is_mean_zero(grid):
    one = solver_schedule(VP, grid, "3m", afs="zero")
    two = solver_schedule(VP, grid, "3m", afs="mean", mean=0.0)
    assert one.distance(two) == 0.0


@pytest.mark.usefixtures("own_checks")  # many nodes: the type checker is slow
def test_a_name_and_a_single_decision_are_refined_and_a_list_is_not(three):
    assert solver_schedule(VP, three, "2m").order().order == 2
    assert solver_schedule(VP, three, Decision("data", 2)).order().order == 2
    with pytest.raises(ValueError, match=r"Plan\.order: family must be given"):
        solver_schedule(VP, three, known_schedule("2m", 3)).order()


def test_a_schedule_is_the_same_on_every_path(path, lams):
    decisions = [*TWO, Decision("noise", 3, (1,), 0.2, corrector="pseudo"), *[Decision()] * 4]
    one = solver_schedule(VP, grids.at_lams(VP, lams), decisions)
    two = solver_schedule(path, grids.at_lams(path, lams), decisions)
    assert one.distance(two) <= 256 * EPS * 12 * one.nodes


def test_a_run_does_not_depend_on_the_array_library(asarray, three, bimodal, rng):
    plan = solver_schedule(
        VP, three, [*TWO, Decision("data", 3, (1,), "bh2")], afs="mean", mean=0.3
    )
    x = rng.standard_normal((5, 1))
    found = plan.run(bimodal.model(VP), asarray(x))
    assert type(found) is type(asarray(x))
    expected = plan.run(bimodal.model(VP), x)
    np.testing.assert_allclose(arrays.to_numpy(found), expected, rtol=0, atol=1e4 * EPS)


def test_float32_is_float64_to_its_own_rounding(three, bimodal, rng):
    plan = solver_schedule(VP, three, [*TWO, Decision("noise", 3)])
    x = rng.standard_normal((5, 1))
    exact = plan.run(bimodal.model(VP), x)
    found = plan.run(bimodal.model(VP), x.astype(np.float32))
    assert found.dtype == np.float32
    size = np.abs(plan.canonical().B).max() + math.exp(-plan.lam[0])
    slope = 1 / 0.3**2  # of the denoiser
    bound = 64 * np.finfo(np.float32).eps * size * slope
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


def test_steps_to_and_from_infinite_levels_are_of_first_order():
    grid = grids.at_lams(RF, [-math.inf, -1.0, 1.0, math.inf])
    data = [Decision("data", 1)] * 3
    one, two = solver_schedule(RF, grid, data), samplers.ddim(RF, grid)
    np.testing.assert_allclose(one.tableau().B, two.tableau().B, rtol=0, atol=16 * EPS)
    last = grids.at_lams(VP, [-1.0, 1.0, math.inf])
    one, two = (solver_schedule(VP, last, Decision(k, 1)) for k in ("data", "noise"))
    np.testing.assert_allclose(one.canonical().B[-1], two.canonical().B[-1], atol=64 * EPS)
    with pytest.raises(ValueError, match="of order 1 at alpha = 0 and sigma = 0"):
        solver_schedule(VP, last, Decision("data", 2))
    with pytest.raises(ValueError, match="of order 1 at alpha = 0 and sigma = 0"):
        solver_schedule(RF, grid, [data[0], Decision("data", 2), data[0]])


def test_the_switch_is_where_the_spread_of_data_and_noise_are_equal():
    lam_c = -0.5 * math.log(0.09)
    grid = grids.at_lams(VP, [lam_c - 1, lam_c - 0.5, lam_c, lam_c + 0.5])
    found = switching_schedule(VP, grid, 0.09, 3)
    assert [(d.type, d.order) for d in found] == [("data", 1), ("data", 2), ("noise", 3)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Decision("v"), "Decision: type must be one of"),
        (lambda: Decision("data", 5), r"Decision: order must be in \[1, 4\], got 5"),
        (lambda: Decision("data", 0), r"Decision: order must be in \[1, 4\], got 0"),
        (
            lambda: Decision("data", 2, start=0),
            "Decision: start must be -1 or an earlier node, got 0",
        ),
        (lambda: Decision("data", 2, (1, 1)), "Decision: estimates must be at most 1 of them"),
        (lambda: Decision("data", 3, (1, 1)), "Decision: estimates must be None, 2 or more"),
        (lambda: Decision("data", 2, ((1,),)), "Decision: estimates must be None, 1 or more"),
        (lambda: Decision("data", 2, (), "bh3"), "Decision: scaling must be one of"),
        (lambda: Decision("data", 2, (), math.nan), "Decision: scaling must be finite"),
        (lambda: Decision(corrector="real"), "Decision: corrector must be one of"),
        (lambda: known_schedule("euler", 3), "known_schedule: name must be one of"),
        (lambda: known_schedule("2m", 0), "known_schedule: steps must be at least 1"),
        (lambda: known_schedule("2m", 3, type="v3"), "known_schedule: type must be one of"),
        (lambda: known_schedule("v3-2", 3, type="data"), "known_schedule: type must be one of"),
        (
            lambda: known_schedule("2s", 4, lower_order_final=True),
            "known_schedule: lower_order_final must be False with name='2s'",
        ),
        (lambda: taylor_weights([0.0, 1.0], 1), "taylor_weights: offsets must be different"),
        (lambda: taylor_weights([1.0, 1.0], 1), "taylor_weights: offsets must be different"),
        (lambda: taylor_weights([1.0], 2), r"taylor_weights: derivative must be in \[1, 1\]"),
        (lambda: switching_schedule(VP, [0.5, 0.1], -1.0), "switching_schedule: variance must be"),
        (lambda: switching_schedule(VP, [0.5, 0.1], 1.0, 5), "switching_schedule: order must be"),
        (lambda: analytic_step_error(-1.0, 0.0), "analytic_step_error: variance must be non-neg"),
        (lambda: analytic_step_error(1.0, math.inf), "analytic_step_error: lam must be finite"),
    ],
)
def test_a_bad_decision_is_named(own_checks, make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decisions": "euler"}, "known_schedule: name must be one of"),
        ({"decisions": TWO}, "decisions must be 3 of Decision, one a step"),
        ({"decisions": [1, 2, 3]}, "decisions must be 3 of Decision, one a step"),
        ({"decisions": [Decision("data", 2)] * 3}, "such that derivative 1 has 1 of the nodes"),
        ({"decisions": [Decision("data", 1, start=-2)] * 3}, "a start that is there, -1 to -1"),
        ({"afs": "first"}, "solver_schedule: afs must be one of"),
        ({"mean": math.nan, "afs": "mean"}, "solver_schedule: mean must be finite"),
        ({"decisions": Decision("v3", 2)}, "statistics must be a ModelStatistics"),
    ],
)
def test_a_bad_schedule_is_named(own_checks, three, given, message):
    given = {"decisions": "2m", **given}
    with pytest.raises((ValueError, TypeError), match=message):
        solver_schedule(VP, three, given.pop("decisions"), **given)


def test_the_papers_statistics_want_the_grid_on_their_nodes(three):
    lams = np.linspace(-3, 3, 25)
    statistics = ModelStatistics(lams, 0 * lams + 0.5, 0 * lams, 0 * lams, "trapezoid")
    with pytest.raises(ValueError, match="grid must be on the nodes of the statistics"):
        solver_schedule(VP, three, Decision("v3", 2), statistics=statistics)
    on_nodes = grids.at_lams(VP, lams[[2, 9, 15, 20]])
    assert solver_schedule(VP, on_nodes, Decision("v3", 2), statistics=statistics).nfe == 3


def test_a_schedule_samples_digits_with_a_network_at_three_evaluations():
    import torch

    from fewtheory import zoo

    model = zoo.load("digits-mlp").model
    levels = grids.log_snr(model.path, 4, start=20.0, end=0.02)
    decisions = [*TWO, Decision("noise", 3, (1,)), Decision("data", 3)]
    plan = solver_schedule(model.path, levels, decisions, afs="mean", mean=-0.4)
    x = 20.0 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    calls = []

    def counted(x, t):
        calls.append(t)
        return model(x, t)

    from fewtheory.model import Model

    with torch.no_grad():
        out = plan.run(Model(counted, model.path, model.prediction), x)
    assert len(calls) == 3
    assert out.shape == x.shape
    assert bool(torch.isfinite(out).all())
