"""The plan as data: what it refuses, its forms, and what can be read off them."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.model import PREDICTIONS
from fewtheory.plan import Hook, Plan, Trace, grids

EPS = np.finfo(np.float64).eps
VP = paths.VPLinear()
LINEAR = [p for p in PREDICTIONS if p != "velocity"]
every_prediction = pytest.mark.parametrize("prediction", LINEAR)


@pytest.fixture
def plan(lams):
    """A stochastic plan with stages that refer to several nodes."""
    return samplers.dpm_solver_pp(VP, grids.at_lams(VP, lams), 2, eta=0.5, lower_order_final=False)


@pytest.fixture
def ode(lams):
    return samplers.dpm_solver_pp(VP, grids.at_lams(VP, lams), 3, method="singlestep")


def size(plan):
    """The largest coefficient on the way to the canonical form: what rounding is relative to."""
    rho = np.exp(-plan.lam)
    return plan.nodes * max(np.abs(plan.B).max(), 1.0) * rho.max() / rho.min()


def small():
    """The fields of a plan of two evaluations that does nothing but add."""
    return {
        "P": np.diag([1.0, 1.0], -1),
        "B": np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]),
        "C": np.zeros((3, 0)),
        "d": np.zeros(3),
        "lam": np.array([-1.0, 0.0, 1.0]),
        "alpha": np.ones(3),
        "sigma": np.exp([1.0, 0.0, -1.0]),
        "t": np.exp([1.0, 0.0, -1.0]),
    }


def test_a_plan_of_arrays_is_a_plan():
    plan = Plan(**small())
    assert (plan.nodes, plan.nfe, plan.linear, plan.stochastic) == (3, 2, True, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("P", np.eye(3)),
        ("P", np.zeros((3, 2))),
        ("P", np.full((3, 3), np.nan)),
        ("P", np.zeros(3)),
        ("B", np.eye(3)[:, :2]),
        ("B", np.zeros((3, 3))),
        ("B", np.triu(np.ones((3, 2)), 1)),
        ("C", np.zeros((2, 1))),
        ("C", np.zeros(3)),
        ("d", np.array([0.0, np.inf, 0.0])),
        ("lam", np.array([-1.0, np.nan, 1.0])),
        ("lam", np.array([-1.0, 1.0])),
        ("alpha", np.array([1.0, np.inf, 1.0])),
        ("alpha", np.ones(2)),
        ("alpha", -np.ones(3)),
        ("sigma", np.ones(4)),
        ("sigma", -np.ones(3)),
        ("lam", np.array([5.0, 6.0, 7.0])),
        ("t", np.array([0.0, np.nan, 1.0])),
        ("prediction", "velocity"),
        ("prediction", "x0"),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_what_is_no_plan_is_named(field, value):
    with pytest.raises(ValueError, match=f"Plan: {field} must be "):
        Plan(**{**small(), field: value})


def test_a_plan_is_frozen(plan):
    with pytest.raises(FrozenInstanceError):
        plan.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        plan.B[1, 0] = 0.0


def test_a_plan_keeps_copies_of_its_arrays():
    fields = small()
    plan = Plan(**fields)
    fields["B"][1, 0] = 9.0
    assert plan.B[1, 0] == 0.5


def test_its_text_says_what_it_is(plan):
    assert repr(plan) == "<Plan dpm_solver_pp: 7 evaluations, stochastic, data prediction>"


def test_a_node_that_nobody_uses_is_not_evaluated(lams):
    trace = Trace(test_a_node_that_nobody_uses_is_not_evaluated, VP, grids.at_lams(VP, lams[:3]))
    x, m = trace.evaluate(trace.start, trace.grid[0])
    trace.evaluate(0.5 * x + m, trace.grid[1])
    plan = trace.plan(x + m)
    assert plan.evaluated.tolist() == [True, False]
    assert plan.nfe == 1


def test_an_evaluation_that_never_reaches_the_output_is_dead(lams):
    trace = Trace(
        test_an_evaluation_that_never_reaches_the_output_is_dead, VP, grids.at_lams(VP, lams[:4])
    )
    x, m = trace.evaluate(trace.start, trace.grid[0])
    y, unused = trace.evaluate(0.5 * x + m, trace.grid[1])
    z, _ = trace.evaluate(y + unused, trace.grid[2])
    plan = trace.plan(x + m + 0.0 * z)
    assert plan.nfe == 2  # node 1 is called for node 2, which nothing comes of
    assert plan.dead_evaluations() == [1]


def test_no_evaluation_of_a_good_sampler_is_dead(plan, ode):
    assert plan.dead_evaluations() == []
    assert ode.dead_evaluations() == []


@every_prediction
def test_another_prediction_and_back_is_the_same_plan(plan, prediction):
    back = plan.predicting(prediction).predicting("data")
    for name in ("P", "B", "C", "d"):
        np.testing.assert_allclose(
            getattr(back, name), getattr(plan, name), rtol=0, atol=16 * EPS * size(plan)
        )


@every_prediction
def test_every_prediction_has_one_canonical_form(plan, prediction):
    moved = plan.predicting(prediction)
    assert moved.prediction == prediction
    assert moved.distance(plan) <= 16 * EPS * size(plan)


def test_its_own_prediction_is_the_plan_itself(plan):
    assert plan.predicting("data") is plan


def test_velocity_is_no_prediction_of_a_plan(plan):
    with pytest.raises(ValueError, match="prediction must be free of the path"):
        plan.predicting("velocity")


def test_an_unknown_prediction_is_named(plan):
    with pytest.raises(ValueError, match=r"must be one of .* got 'x0'"):
        plan.predicting("x0")


@every_prediction
def test_on_another_path_it_is_the_same_sampler(plan, path, prediction):
    moved = plan.predicting(prediction).on(path)
    # lam from a time of this path: off by eps over the slope of t in lam
    assert moved.distance(plan) <= 64 * EPS * size(plan)
    assert np.array_equal(moved.lam, plan.lam)
    np.testing.assert_allclose(moved.alpha, [path.level(v)[0] for v in plan.lam.tolist()])


def test_on_another_path_and_back_it_is_itself(plan, path):
    back = plan.on(path).on(VP)
    for name in ("P", "B", "C", "d", "alpha", "sigma", "t"):
        np.testing.assert_allclose(
            getattr(back, name), getattr(plan, name), rtol=0, atol=64 * EPS * size(plan)
        )


def test_the_tableau_is_the_run_written_from_the_start(plan, rng):
    m, xi = rng.standard_normal(plan.nodes - 1), rng.standard_normal(plan.C.shape[1])
    u = [1.7]
    for i in range(1, plan.nodes):
        u.append(plan.P[i, :i] @ u + plan.B[i] @ m + plan.C[i] @ xi + plan.d[i])
    tab = plan.tableau()
    rows = tab.a * 1.7 + tab.B @ m + tab.C @ xi + tab.d
    np.testing.assert_allclose(rows, u, rtol=0, atol=16 * EPS * size(plan))


def test_the_canonical_form_is_that_of_the_state_over_alpha(plan):
    tab, own = plan.canonical(), plan.tableau()
    assert tab.prediction == "data"
    assert np.array_equal(tab.alpha, np.ones(plan.nodes))
    np.testing.assert_allclose(tab.B * plan.alpha[:, None], own.B, rtol=4 * EPS, atol=0)
    np.testing.assert_allclose(tab.a * plan.alpha / plan.alpha[0], own.a, rtol=4 * EPS)
    np.testing.assert_allclose(tab.sigma, plan.sigma / plan.alpha, rtol=64 * EPS)


def test_without_signal_there_is_no_canonical_form():
    plan = Plan(**{**small(), "alpha": np.array([0.0, 1.0, 1.0]), "lam": np.array([-np.inf, 0, 1])})
    with pytest.raises(ValueError, match=r"Plan.canonical: alpha must be positive at every node"):
        plan.canonical()


def test_two_samplers_are_told_apart(ode, lams):
    other = samplers.dpm_solver_pp(
        VP, grids.at_lams(VP, lams), 3, method="singlestep", solver_type="taylor"
    )
    assert ode.distance(other) > 1e-3
    assert ode.distance(ode) == 0.0


def test_plans_of_different_length_are_infinitely_far_apart(plan, ode):
    assert plan.distance(ode) == np.inf


def test_plans_at_different_levels_are_apart(plan):
    # rho moved by one in a thousand, the coefficients left alone
    moved = replace(plan, lam=plan.lam + 1e-3, sigma=plan.sigma * np.exp(-1e-3))
    assert moved.distance(plan) >= 0.99e-3


def test_rotated_noises_are_the_same_sampler(plan, rng):
    q, _ = np.linalg.qr(rng.standard_normal((plan.C.shape[1],) * 2))
    turned = replace(plan, C=plan.C @ q)
    assert turned.distance(plan) <= 16 * EPS * size(plan)


def test_plans_that_end_at_clean_data_can_be_compared(lams):
    grid = grids.at_lams(VP, lams).to_clean()
    one, two = samplers.ddim(VP, grid), samplers.dpm_solver_pp(VP, grid, 1)
    assert one.distance(two) <= 16 * EPS * size(samplers.ddim(VP, grids.at_lams(VP, lams)))


def test_a_sound_sampler_believes_in_its_own_levels(plan, ode):
    for each in (plan, ode):
        alpha, sigma = each.believed_levels()
        np.testing.assert_allclose(alpha, each.alpha, rtol=0, atol=16 * EPS * size(each))
        np.testing.assert_allclose(sigma, each.sigma, rtol=0, atol=16 * EPS * size(each))


@every_prediction
def test_what_a_sampler_believes_does_not_depend_on_the_prediction(ode, prediction):
    alpha, _ = ode.predicting(prediction).believed_levels()
    np.testing.assert_allclose(alpha, ode.alpha, rtol=0, atol=16 * EPS * size(ode))


def test_the_levels_of_the_integrator_show_behind_those_of_the_network(ode):
    # a scheduler that hands the network other levels than it integrates with
    wrong = replace(ode, alpha=0.9 * ode.alpha, sigma=0.9 * ode.sigma)
    alpha, sigma = wrong.believed_levels()
    np.testing.assert_allclose(sigma / wrong.sigma[0], ode.sigma / ode.sigma[0], rtol=1e-12)
    assert abs(alpha[-1] - wrong.alpha[-1]) > 1e-2


@pytest.mark.parametrize("method", ["tableau", "canonical", "dead_evaluations", "believed_levels"])
def test_a_plan_with_a_hook_has_no_tableau(ode, method):
    hooked = replace(ode, hooks=(Hook("static_threshold"),))
    assert not hooked.linear
    with pytest.raises(
        ValueError, match="the plan must be linear, but its run applies static_threshold"
    ):
        getattr(hooked, method)()


def test_elementwise_coefficients_have_elementwise_tableaus():
    fields = small()
    scale = np.array([1.0, 2.0, 3.0])
    wide = Plan(**{**fields, "B": fields["B"][..., None] * scale})
    narrow = Plan(**fields).tableau()
    np.testing.assert_array_equal(wide.tableau().B, narrow.B[..., None] * scale)
    np.testing.assert_array_equal(wide.tableau().a, np.repeat(narrow.a[:, None], 3, axis=1))
