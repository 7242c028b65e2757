"""DPM-Solver-v3: known answers, special cases, the corrector, the paper's sums, real networks."""

# ruff: noqa: E741 - l is the paper's name

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtheory import arrays, paths, plan, samplers, testbeds, zoo
from fewtheory.plan import Trace, grids
from fewtheory.plan.phi import kernel_moments
from fewtheory.samplers import ModelStatistics, dpm_solver_v3
from fewtheory.samplers._statistics import mmse
from fewtheory.samplers.dpm_solver_v3 import (
    PRESETS,
    derivative_weights,
    full,
    integrals,
    local_update,
    pseudo_order,
)

EPS = np.finfo(np.float64).eps
VP, WIDE = paths.VPLinear(), paths.EDM(1e-7, 1e7)
PLAIN = {"corrector": None, "lower_order_final": False}
GRID = grids.at_lams(VP, [-2.5, -2.0, -1.2, -0.7, 0.2, 0.6, 1.3, 2.0])
ROUNDING = 256 * EPS * math.exp(2.5)  # of canonical coefficients on GRID

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def exact(bimodal):
    return ModelStatistics.exact(bimodal, np.linspace(-2.5, 2.0, 91))


# known answers

FILE = Path(__file__).parents[1] / "data" / "dpm-solver-v3.json"
MIXTURE, NORMAL, STEP, SLOPES = json.loads(FILE.read_text())


def test_known_statistics_of_a_mixture():
    bed = testbeds.mixture_1d(*(MIXTURE["inputs"][k] for k in "wms"))
    for known in MIXTURE["expected"]:
        lam, bound = known["lam"], MIXTURE["tolerance"]
        M = float(mmse(bed, lam)[0][0])
        held = ModelStatistics.exact(bed, [lam])
        found = {"mmse": M, "l": held.l[0], "s": held.s[0], "b": held.b[0]}
        found["var_f"] = held.l[0] * (bed.cov[0, 0] * held.l[0] - M)
        assert {**found, "lam": lam}.keys() == known.keys()
        for name, value in found.items():
            assert abs(value - known[name]) <= bound * abs(known[name]), name


def test_known_statistics_of_a_gaussian():
    """The file's s for l = 0 is that of epshat = f / rho; by the file's own Var f, s of f is that
    less 1: half the slope of log(rho^4 / (c + rho^2)), where rho^2 is e^{-2 lam}."""
    bed = testbeds.Gaussian([0.0], NORMAL["inputs"]["c"])
    for known in NORMAL["expected"]:
        free, one, zero = (
            ModelStatistics.exact(bed, [known["lam"]], l=l) for l in (None, 1.0, 0.0)
        )
        assert abs(free.l[0] - known["l_star"]) <= NORMAL["tolerance"]
        assert abs(one.s[0] - known["s_for_l1"]) <= NORMAL["tolerance"]
        assert abs(zero.s[0] - (known["s_for_l0"] - 1)) <= NORMAL["tolerance"]


def test_known_first_step():
    given = STEP["inputs"]
    bed = testbeds.mixture_1d(*(given[k] for k in "wms"))
    held = ModelStatistics.exact(bed, np.linspace(-0.5, 1.0, 121), l=1.0)
    grid = grids.at_lams(WIDE, [given["lam_s"], given["lam_t"]])
    both = dpm_solver_v3(WIDE, grid, held, 1), samplers.ddim(WIDE, grid)
    for made, known in zip(both, STEP["expected"], strict=True):
        found = made.run(bed.model(WIDE), np.array([[given["y"]]]))[0, 0]
        assert abs(found - known) <= STEP["tolerance"]


def test_known_derivatives():
    deltas, g = SLOPES["inputs"]["delta"], np.array(SLOPES["inputs"]["g"])
    for name, points in (("full", full(2)), ("pseudo", pseudo_order(2))):
        found = [
            float(np.dot(derivative_weights(deltas[:used], d), g[1 : used + 1] - g[0]))
            for d, used in enumerate(points, start=1)
        ]
        np.testing.assert_allclose(found, SLOPES["expected"][name], rtol=SLOPES["tolerance"])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_derivatives_of_cubics_are_exact(d):
    deltas, curve = [0.3, -0.2, -0.7], np.polynomial.Polynomial([0.4, -1.0, 2.0, 0.5])
    weights = derivative_weights(deltas, d)
    rises = [curve(v) - curve(0.0) for v in deltas]
    bound = 64 * EPS * np.abs(np.multiply(weights, rises)).sum()
    assert abs(np.dot(weights, rises) - curve.deriv(d)(0.0)) <= bound


# special cases


@pytest.mark.parametrize("name", ["data", "noise"])
def test_constants_may_be_given_by_name(name):
    values = {"data": (1.0, 0.0, 0.0), "noise": (0.0, -1.0, 0.0)}[name]
    one, two = (dpm_solver_v3(VP, GRID, v) for v in (name, ModelStatistics.constant(*values)))
    assert one.distance(two) == 0.0


@pytest.mark.parametrize("order", [1, 2])
def test_singlestep_with_the_data_prediction_is_dpm_solver_pp(order):
    one = dpm_solver_v3(VP, GRID, "data", order, method="singlestep")
    two = samplers.dpm_solver_pp(VP, GRID, order, method="singlestep", solver_type="taylor")
    assert one.distance(two) <= ROUNDING


def test_singlestep_of_order_three_is_the_taylor_rule_at_one_and_two_thirds():
    two = samplers.dpm_solver_pp(VP, GRID, 3, method="singlestep", solver_type="taylor")
    assert dpm_solver_v3(VP, GRID, "data", method="singlestep").distance(two) <= ROUNDING


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"order": 1, "corrector": None}, 1),
        ({"order": 2, "corrector": None}, 2),
        ({"order": 3, "corrector": None}, 2),  # its first step is of order 1
        ({"order": 1, "corrector": 2}, 2),
        ({"order": 3, "corrector": "repository"}, 2),  # no corrector at the first node
    ],
)
@pytest.mark.usefixtures("own_checks")  # many nodes: the type checker is slow
def test_the_order_with_the_warm_up(settings, expected):
    grid = grids.at_lams(VP, np.linspace(-4.0, 3.0, 5))
    made = dpm_solver_v3(VP, grid, "data", lower_order_final=False, **settings)
    assert plan.order(made.family, (16, 32, 64)).order == expected


def test_l_one_is_exact_in_law_on_gaussian_data():
    bed, lams = testbeds.Gaussian([0.7, -0.2], [0.36, 1.5]), np.linspace(-3.0, 3.0, 241)
    held, grid = ModelStatistics.exact(bed, lams, l=1.0), grids.at_lams(WIDE, [-3.0, 0.0, 3.0])
    assert dpm_solver_v3(WIDE, grid, held, 1).law(bed).w2 <= 1e-9  # splines: see suite, C2a
    assert samplers.ddim(WIDE, grid).law(bed).w2 > 0.1


def test_each_coordinate_of_a_product_is_solved_on_its_own():
    weights, means, stds = [[0.4, 0.6], [0.5, 0.5]], [[-1.0, 1.5], [0.0, 2.0]], [[0.5, 0.3]] * 2
    lams, y = np.linspace(-2.5, 2.0, 61), np.array([[3.0, -2.0], [-5.0, 1.0]])
    both = testbeds.ProductMixture(weights, means, stds)
    whole = dpm_solver_v3(VP, GRID, ModelStatistics.exact(both, lams)).run(both.model(VP), y)
    for k in range(2):
        one = testbeds.mixture_1d(weights[k], means[k], stds[k])
        made = dpm_solver_v3(VP, GRID, ModelStatistics.exact(one, lams))
        found = made.run(one.model(VP), y[:, k : k + 1])
        # the denoiser's slope, 1 / std^2, on roundings of numbers up to 10 over 8 steps
        np.testing.assert_allclose(found[:, 0], whole[:, k], rtol=0, atol=ROUNDING * 10 / 0.09)


# the corrector


def correct_at(made):
    """The levels with two nodes: the predicted state and the corrected one."""
    return set(made.lam[1:][np.diff(made.lam) == 0].tolist())


def test_a_corrected_state_is_a_node_that_is_not_evaluated(exact):
    made = dpm_solver_v3(VP, GRID, exact, 2)
    assert made.nfe == 7
    assert correct_at(made) == set(GRID.lam[1:-1].tolist())
    assert made.dead_evaluations() == []


def test_correcting_keeps_f(exact):
    # the step made again with the new value among the nodes gives the corrected state, and the
    # value is f of the predicted one: (1 - l) y_p - x0hat
    made = dpm_solver_v3(VP, grids.at_lams(VP, GRID.lam[:4]), exact, 1, lower_order_final=False)
    trace = Trace("by hand", VP, grids.at_lams(VP, GRID.lam[:4]))
    (s, t, *_), x = [trace.grid[i] for i in range(4)], trace.start
    x, m = trace.evaluate(x, s)
    y, f0 = x / s.alpha, (1 - float(exact.at(s.lam).l)) * (x / s.alpha) - m
    x, m = trace.evaluate(t.alpha * local_update(exact, y, [f0], [s.lam], t.lam, []), t)
    f1 = (1 - float(exact.at(t.lam).l)) * (x / t.alpha) - m
    row = t.alpha * local_update(exact, y, [f0, f1], [s.lam, t.lam], t.lam, [1])
    for (kind, j), value in row.terms.items():
        held = {"u": made.P[2], "m": made.B[2], "1": made.d[2:]}[kind]
        assert abs(held[j] - value) <= 16 * EPS * abs(value)


def test_the_repositorys_corrector_has_the_order_of_the_predictor(exact):
    steps = set(GRID.lam[1:-1].tolist())
    for order, corrector_pseudo, skipped in ((3, False, 1), (3, True, 0), (1, False, 6)):
        made = dpm_solver_v3(
            VP,
            GRID,
            exact,
            order,
            corrector="repository",
            corrector_pseudo=corrector_pseudo,
            lower_order_final=False,
        )
        assert correct_at(made) == steps - set(GRID.lam[1 : 1 + skipped].tolist())


def test_the_two_half_correctors_share_the_steps_between_them():
    whole, paper, repository = (
        correct_at(dpm_solver_v3(VP, GRID, "data", half_corrector=v))
        for v in (None, "paper", "repository")
    )
    assert paper | repository == whole
    assert paper & repository == set()
    starts = {float(b): float(t) for b, t in zip(GRID.lam[1:], GRID.t, strict=False)}
    assert paper == {v for v in whole if starts[v] <= 0.5}
    assert paper
    assert repository


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_settings(exact, name):
    made = dpm_solver_v3(VP, GRID, exact, **PRESETS[name])
    assert made.nfe == 7
    assert correct_at(made) >= set(GRID.lam[2:-1].tolist())


# the local update


def test_scaling_the_first_derivative_makes_2m_midpoint_of_exact_phi():
    trace, other = Trace("by hand", VP, GRID), samplers.dpm_solver_pp
    held, x, f, lams = ModelStatistics.constant(1.0, 0.0, 0.0), trace.start, [], []
    for s, t in trace.steps():
        x, m = trace.evaluate(x, s)
        f, lams = [-m, *f], [s.lam, *lams]
        _, E, _ = integrals(held, s.lam, t.lam, 2)
        half = (t.lam - s.lam) * E[0] / (2 * E[1])
        points = full(min(len(f) - 1, 1))
        x = t.alpha * local_update(held, x / s.alpha, f, lams, t.lam, points, scale=half)
    expected = other(VP, GRID, 2, lower_order_final=False)
    assert trace.plan(x).distance(expected) <= ROUNDING


def test_the_integrals_of_constants_are_phi_functions():
    for h in (1e-3, 0.3, 4.0):
        A, E, bias = integrals(ModelStatistics.constant(1.0, 0.0, 0.5), 0.2, 0.2 + h, 3)
        moments = kernel_moments(h, 3, -1.0)
        np.testing.assert_allclose(A, math.exp(-h), rtol=16 * EPS)
        np.testing.assert_allclose([A * e for e in E], moments, rtol=64 * EPS)
        np.testing.assert_allclose(A * bias, 0.5 * moments[1], rtol=64 * EPS)


# the paper's sums


def test_sums_over_nodes_move_the_levels_to_the_nearest_ones(exact):
    made = dpm_solver_v3(VP, GRID, replace(exact, rule="trapezoid"), **PLAIN)
    nearest = [exact.lams[np.abs(exact.lams - v).argmin()] for v in GRID.lam]
    assert np.array_equal(made.lam, nearest)
    assert np.abs(made.lam - GRID.lam).max() <= 0.025 + 1e-12  # half a cell
    assert made.family is None  # finer grids have no nodes of their own


def test_sums_over_nodes_tend_to_the_integrals(bimodal):
    grid, gaps = grids.at_lams(VP, np.linspace(-2.5, 2.0, 6)), []
    for n in (91, 181, 361):
        held = ModelStatistics.exact(bimodal, np.linspace(-2.5, 2.0, n))
        one, two = (dpm_solver_v3(VP, grid, v) for v in (held, replace(held, rule="trapezoid")))
        gaps.append(one.distance(two))
    ratios = np.divide(gaps[:-1], gaps[1:])
    assert np.all(np.abs(ratios - 4) < 0.5)  # second order in the distance of the nodes


def test_sums_ask_for_nodes_finer_than_the_grid(exact):
    lams = np.linspace(-2.5, 2.0, 7)
    coarse = ModelStatistics(lams, *exact.at(lams), rule="trapezoid")
    with pytest.raises(ValueError, match="dpm_solver_v3: grid must be coarser than the nodes"):
        dpm_solver_v3(VP, GRID, coarse)


# arrays, files and networks


def test_a_run_does_not_depend_on_the_array_library(rotated, asarray, rng):
    held = ModelStatistics.exact(rotated, np.linspace(-2.5, 2.0, 41))
    made, x, model = dpm_solver_v3(VP, GRID, held), rng.standard_normal((5, 3)), rotated.model(VP)
    found = made.run(model, asarray(x))
    assert type(found) is type(asarray(x))
    bound = ROUNDING * 10 / 0.04  # as for a product above; the smallest std is 0.2
    np.testing.assert_allclose(arrays.to_numpy(found), made.run(model, x), rtol=0, atol=bound)


def test_single_precision_keeps_its_digits(rotated, rng):
    held = ModelStatistics.exact(rotated, np.linspace(-2.5, 2.0, 41))
    made, x = dpm_solver_v3(VP, GRID, held), rng.standard_normal((5, 3))
    one, two = (made.run(rotated.model(VP), x.astype(t)) for t in (np.float32, np.float64))
    assert one.dtype == np.float32
    assert np.abs(one - two).max() <= np.finfo(np.float32).eps / EPS * ROUNDING * 10 / 0.04


@pytest.mark.parametrize("other", [paths.RectifiedFlow(), paths.EDM(), paths.VPCosine()])
def test_every_path_gives_the_same_plan(exact, other):
    here, there = dpm_solver_v3(VP, GRID, exact), dpm_solver_v3(other, GRID.on(other), exact)
    assert there.distance(here) <= ROUNDING * 8


def test_a_file_holds_the_elementwise_plan(rotated, tmp_path):
    held = ModelStatistics.exact(rotated, np.linspace(-2.5, 2.0, 41))
    made = dpm_solver_v3(VP, GRID, held)
    made.save(tmp_path / "plan.json")
    assert plan.load(tmp_path / "plan.json").distance(made) == 0.0


def test_elementwise_steps_converge_to_a_networks_own_ode():
    """digits-mlp: at 24 evaluations a third-order rule is far ahead of DDIM."""
    model, rng = zoo.load("digits-mlp").model, np.random.default_rng(3)
    lams = np.linspace(-3.0, 2.5, 23)
    held = ModelStatistics.from_outputs(model, zoo.digits().x[:512], lams, rng=rng)
    x = torch.tensor(math.exp(3.0) * rng.standard_normal((8, 1, 8, 8)), dtype=torch.float32)
    errors = {}
    with torch.no_grad():
        fine = grids.at_lams(model.path, np.linspace(-3.0, 2.5, 121))
        exact = samplers.runge_kutta(model.path, fine, method="rk4").run(model, x)
        for n in (6, 24):
            grid = grids.at_lams(model.path, np.linspace(-3.0, 2.5, n + 1))
            for name, made in (
                ("v3", dpm_solver_v3(model.path, grid, held, 2, lower_order_final=False)),
                ("DDIM", samplers.ddim(model.path, grid)),
            ):
                errors[name, n] = float((made.run(model, x) - exact).square().mean().sqrt())
    assert errors["v3", 24] < errors["v3", 6] / 16  # four times the steps, more than order 2
    assert errors["v3", 24] < errors["DDIM", 24] / 4


def test_statistics_of_an_unguided_unet_serve_the_guided_one():
    entry, rng = zoo.load("digits-unet"), np.random.default_rng(3)
    free, guided = entry.guided(0.0), entry.guided(3.0).given(class_labels=4)
    held = ModelStatistics.from_outputs(
        free.given(class_labels=10), zoo.digits().x[:16], np.linspace(-2.5, 2.5, 5), rng=rng, l=1.0
    )
    grid = grids.at_lams(guided.path, np.linspace(-2.5, 2.5, 5))
    made = dpm_solver_v3(guided.path, grid, held, **PRESETS["guided"])
    with torch.no_grad():
        out = made.run(guided, torch.tensor(rng.standard_normal((2, 1, 8, 8))).float())
    assert out.dtype == torch.float32
    assert bool(out.isfinite().all())
    assert float(out.abs().max()) < 4.0  # images lie in [-1, 1]


# bad input


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("settings", "kind", "named"),
    [
        ({"statistics": "flow"}, ValueError, "statistics must be one of 'data', 'noise'"),
        ({"statistics": None}, ValueError, "statistics must be one of"),
        ({"order": 0}, ValueError, "order must be in [1, 3]"),
        ({"order": 4}, ValueError, "order must be in [1, 3]"),
        ({"order": True}, TypeError, "order must be an integer"),
        ({"corrector": 1}, ValueError, "corrector must be in [2, 4]"),
        ({"corrector": 5}, ValueError, "corrector must be in [2, 4]"),
        ({"corrector": 2.5}, TypeError, "corrector must be an integer"),
        ({"corrector": "paper"}, ValueError, "corrector must be one of"),
        ({"corrector": 3, "method": "singlestep"}, ValueError, "corrector must be None"),
        ({"pseudo": 1}, TypeError, "pseudo must be True or False"),
        ({"corrector_pseudo": "yes"}, TypeError, "corrector_pseudo must be True or False"),
        ({"lower_order_final": "auto"}, TypeError, "lower_order_final must be True or False"),
        ({"half_corrector": True}, ValueError, "half_corrector must be one of"),
        ({"half_corrector": "paper", "method": "singlestep"}, ValueError, "half_corrector must be"),
        ({"half_corrector": "paper", "path": WIDE}, ValueError, "half_corrector must be None"),
        ({"method": "two"}, ValueError, "method must be one of"),
        ({"grid": GRID.to_clean()}, ValueError, "grid must be one that starts at alpha > 0 and"),
    ],
)
def test_a_bad_argument_is_named(settings, kind, named):
    given = {"path": VP, "grid": GRID, "statistics": "data", **settings}
    with pytest.raises(kind, match=re.escape(f"dpm_solver_v3: {named}")):
        dpm_solver_v3(**given)


def test_levels_outside_the_statistics_are_named(exact):
    with pytest.raises(ValueError, match=re.escape("lam must be within the statistics' lam")):
        dpm_solver_v3(VP, grids.at_lams(VP, [-3.0, 0.0, 1.0]), exact)
