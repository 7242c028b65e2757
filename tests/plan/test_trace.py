"""Writing a sampler as code over symbols, and what comes out of it."""

import numpy as np
import pytest

from fewtheory import paths
from fewtheory.model import Level, conversion
from fewtheory.plan import SAMPLERS, VARIANTS, Form, Hook, Plan, Trace, grids, sampler

VP, EDM = paths.VPLinear(), paths.EDM()


def toy(path, grid, **settings):
    """DDIM with a name of its own."""
    trace = Trace(toy, path, grid, settings)
    x = trace.start
    for s, t in trace.steps():
        x, m = trace.evaluate(x, s)
        x = t.sigma / s.sigma * x + (t.alpha - t.sigma / s.sigma * s.alpha) * m
    return trace.plan(x)


@pytest.fixture
def trace(lams):
    return Trace(toy, VP, grids.at_lams(VP, lams))


def test_forms_add_term_by_term():
    x, m = Form({("u", 0): 1.0}), Form({("m", 0): 2.0})
    assert (3.0 * x - m / 4 + 0.5 * x).terms == {("u", 0): 3.5, ("m", 0): -0.5}
    assert (-x).terms == {("u", 0): -1.0}


def test_terms_that_cancel_are_gone():
    x = Form({("u", 0): 1.0})
    assert (x - x).terms == {}


def test_a_number_is_a_constant_term():
    x = Form({("u", 0): 1.0})
    assert (x + 2.0).terms == (2.0 + x).terms == {("u", 0): 1.0, ("1", 0): 2.0}
    assert (x + 0.0).terms == x.terms


def test_subtracting_from_a_number_is_a_form():
    x = Form({("u", 0): 1.0})
    assert (2.0 - x).terms == {("u", 0): -1.0, ("1", 0): 2.0}


@pytest.mark.parametrize("scale", [np.float64(2.0), np.float32(2.0), np.array([2.0, 3.0])])
def test_numpy_scalars_and_arrays_leave_the_product_to_the_form(scale):
    found = scale * Form({("u", 0): 1.0})
    assert isinstance(found, Form)
    assert np.array_equal(found.terms["u", 0], scale)


def test_operations_make_new_forms():
    x = Form({("u", 0): 1.0})
    y = x + Form({("m", 0): 1.0})
    assert x.terms == {("u", 0): 1.0}
    assert y is not x


def test_evaluating_makes_a_node(trace):
    x, m = trace.evaluate(trace.start, trace.grid[0])
    y, n = trace.evaluate(x + m, trace.grid[1])
    assert (x.terms, m.terms) == ({("u", 0): 1.0}, {("m", 0): 1.0})
    assert (y.terms, n.terms) == ({("u", 1): 1.0}, {("m", 1): 1.0})


def test_evaluating_the_last_node_again_makes_no_new_one(trace):
    x, _ = trace.evaluate(trace.start, trace.grid[0])
    again, _ = trace.evaluate(x, trace.grid[0])
    assert again.terms == x.terms


def test_the_same_state_at_another_level_is_another_node(trace):
    x, _ = trace.evaluate(trace.start, trace.grid[0])
    moved, _ = trace.evaluate(x, trace.grid[1])
    assert moved.terms == {("u", 1): 1.0}


def test_a_velocity_is_the_models_output_converted(trace):
    s = trace.grid[0]
    _, v = trace.velocity(trace.start, s)
    p, q = conversion("data", "velocity", Level.at(VP, s.t))
    assert v.terms == {("u", 0): p, ("m", 0): q}


def test_each_noise_is_fresh(trace):
    assert trace.noise().terms == {("xi", 0): 1.0}
    assert trace.noise().terms == {("xi", 1): 1.0}


def test_a_plan_has_the_rows_of_its_sampler(lams):
    plan = toy(VP, grids.at_lams(VP, lams[:3]))
    a, s = plan.alpha, plan.sigma
    ratio = s[1:] / s[:-1]
    assert plan.P.tolist() == [[0, 0, 0], [ratio[0], 0, 0], [0, ratio[1], 0]]
    weights = a[1:] - ratio * a[:-1]
    assert plan.B.tolist() == [[0, 0], [weights[0], 0], [0, weights[1]]]
    assert np.array_equal(plan.lam, lams[:3])
    assert plan.name == "toy"


def test_a_plan_knows_itself_on_a_finer_grid(lams):
    plan = toy(VP, grids.at_lams(VP, lams[:3]), depth=2)
    finer = plan.family(3)
    assert finer.nfe == 6
    assert finer.settings == plan.settings == {"depth": 2}


def test_a_plan_that_makes_no_sense_refined_has_no_family(trace):
    x, m = trace.evaluate(trace.start, trace.grid[0])
    assert trace.plan(x + m, refinable=False).family is None


def test_hooks_reach_the_plan(trace):
    x, m = trace.evaluate(trace.start, trace.grid[0])
    hooks = (Hook("static_threshold"),)
    assert trace.plan(x + m, hooks=hooks).hooks == hooks


def test_times_are_a_grid_too():
    assert np.array_equal(toy(EDM, [10.0, 1.0, 0.1]).t, [10.0, 1.0, 0.1])


def test_coefficients_may_act_elementwise(trace):
    x, m = trace.evaluate(trace.start, trace.grid[0])
    y, n = trace.evaluate(x + np.ones((3, 1, 1)) * m, trace.grid[1])
    bias = np.arange(192.0).reshape(3, 8, 8)
    plan = trace.plan(0.5 * y + n + bias)
    assert plan.P.shape == (3, 3)
    assert plan.B.shape == (3, 2, 3, 1, 1)
    assert np.array_equal(plan.B[:, :, 1, 0, 0], [[0, 0], [1, 0], [0, 1]])
    assert np.array_equal(plan.d[2], bias)


def test_elementwise_coefficients_of_two_shapes_broadcast(trace):
    x, m = trace.evaluate(trace.start, trace.grid[0])
    y, n = trace.evaluate(x + np.full((3, 1, 1), 2.0) * m, trace.grid[1])
    plan = trace.plan(y + np.full((1, 8, 8), 3.0) * n)
    assert np.broadcast_shapes(plan.B.shape[2:], (3, 8, 8)) == (3, 8, 8)
    assert np.all(plan.B[1, 0] == 2.0)
    assert np.all(plan.B[2, 1] == 3.0)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_an_unknown_prediction_is_named(prediction, lams):
    with pytest.raises(ValueError, match="toy: prediction must be one of "):
        Trace(toy, VP, grids.at_lams(VP, lams), prediction=prediction)


def test_a_sampler_is_registered_once():
    with pytest.raises(ValueError, match="sampler: function must be registered once, got 'ddim'"):
        sampler()(SAMPLERS["ddim"])


def test_every_variant_names_a_sampler_and_is_named_once():
    assert {v.sampler for v in VARIANTS} <= set(SAMPLERS)
    assert len({v.name for v in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_states_its_facts_in_a_variant(name):
    assert any(v.sampler == name for v in VARIANTS)


def test_a_variant_is_a_call_of_its_sampler(lams):
    grid = grids.at_lams(VP, lams)
    for variant in VARIANTS:
        plan = variant(VP, grid)
        assert isinstance(plan, Plan)
        assert plan.name == variant.sampler
