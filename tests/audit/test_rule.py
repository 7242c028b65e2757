"""The rule behind the rows: the step form in which a sampler was written."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import paths, samplers
from fewtheory.audit.recovered import recover
from fewtheory.audit.subject import subject
from fewtheory.model import Level, Model, conversion
from fewtheory.plan import grids

EPS = np.finfo(np.float64).eps
VP, FLOW, EDM = paths.VPLinear(), paths.RectifiedFlow(), paths.EDM()


def as_function(make, prediction):
    """A plan's step form as a NumPy function of a network of this prediction."""

    def sample(model, x, steps, rng):
        plan = make(steps).predicting("data")
        xi = [rng.standard_normal(x.shape) for _ in range(plan.C.shape[1])]
        u, x0 = [x], []
        for i in range(plan.nodes - 1):
            level = Level(plan.alpha[i], plan.sigma[i])
            p, q = conversion(prediction, "data", level)
            x0.append(p * u[i] + q * model(u[i], plan.t[i]))
            row = [plan.P[i + 1, j] * v for j, v in enumerate(u)]
            row += [plan.B[i + 1, j] * v for j, v in enumerate(x0)]
            row += [plan.C[i + 1, k] * v for k, v in enumerate(xi)]
            u.append(sum(row))
        return u[-1]

    return sample


def taken_apart(make, steps, prediction="noise", path=VP):
    """A plan's run as a black box, taken apart."""
    judged = subject(as_function(make, prediction), path=path, prediction=prediction)
    return recover(judged, steps, judged.told)


def on(name, path=VP, ends=(-3.0, 2.5), **chosen):
    """steps -> the plan of a sampler on equal steps in lam."""
    return lambda steps: samplers.SAMPLERS[name](
        path, grids.at_lams(path, np.linspace(*ends, steps + 1)), **chosen
    )


FULL = {"lower_order_final": False}
FORMS = {  # sampler -> (prediction, uses of the first steps, how many nodes a step has)
    "DDIM": (on("ddim"), "data", [1, 1, 1, 1], 1),
    "DDPM": (on("ddim", eta=1.0), "data", [1, 1, 1, 1], 1),
    "2M": (on("dpm_solver_pp", order=2, **FULL), "data", [1, 2, 2, 2], 1),
    "2M, noise": (
        on("dpm_solver_pp", order=2, prediction="noise", **FULL),
        "noise",
        [1, 2, 2, 2],
        1,
    ),
    "SDE 2M": (on("dpm_solver_pp", order=2, eta=1.0, **FULL), "data", [1, 2, 2, 2], 1),
    "3M": (on("dpm_solver_pp", order=3, **FULL), "data", [1, 2, 3, 3], 1),
    "LMS-4": (on("deis", degree=3, fit="rho"), "noise", [1, 2, 3, 4], 1),
    # a corrected state is the predicted one and the difference of three values
    "UniPC-2": (on("unipc", order=2), "data", [1, 2, 3, 3], 1),
    "2S": (on("dpm_solver_pp", order=2, method="singlestep"), "data", [1, 1, 1, 1], 2),
    "3S": (on("dpm_solver_pp", order=3, method="singlestep"), "data", [1, 2, 2, 1], 3),
    "rk4": (on("runge_kutta", method="rk4", time="rho"), "noise", [1, 1, 1, 4], 4),
}
every_form = pytest.mark.parametrize("name", FORMS)


@every_form
@pytest.mark.parametrize("prediction", ["noise", "data", "v", "flow"])
def test_the_rule_is_found_whatever_the_network_predicts(name, prediction):
    make, integrated, uses, nodes = FORMS[name]
    rule = taken_apart(make, 16, prediction).rule
    starts = np.arange(16 * nodes) // nodes * nodes
    assert rule.plan.prediction == integrated
    assert rule.uses[1:5].tolist() == uses
    assert rule.base.tolist() == [-1, *starts]
    assert rule.principal.tolist() == [*range(0, 16 * nodes + 1, nodes)]


@every_form
def test_the_weights_are_those_that_the_sampler_was_written_with(name):
    make, integrated, _, _ = FORMS[name]
    found, plan = taken_apart(make, 16, "v"), make(16).predicting(integrated)
    if name == "UniPC-2":  # its own rows refer to the predicted state and to corrections
        wanted = plan.tableau().B
        wanted[1:] -= (plan.tableau().a[1:] / plan.tableau().a[:-1])[:, None] * wanted[:-1]
    else:
        wanted = plan.B
    # weights are differences of rows, whose terms have this size; a rounding a node
    size = 64 * plan.nodes * EPS * found.rule.size.max()
    assert np.abs(found.rule.plan.B - wanted).max() <= size


@every_form
def test_the_rule_makes_the_rows_that_it_was_read_from(name):
    found = taken_apart(FORMS[name][0], 16, "flow")
    rule, rows = found.rule.plan.predicting("data").tableau(), found.plan.tableau()
    size = 64 * found.rule.plan.nodes * EPS * max(1.0, np.abs(rows.B).max())
    assert np.abs(rule.a - rows.a).max() <= size
    assert np.abs(rule.B - rows.B).max() <= size
    assert np.abs(rule.C @ rule.C.T - rows.C @ rows.C.T).max() <= size


@pytest.mark.parametrize("prediction", ["noise", "v"])
def test_the_recovered_plan_runs_as_the_black_box_does(bimodal, rng, prediction):
    make = on("dpm_solver_pp", order=3, **FULL)
    found, x = taken_apart(make, 8, prediction), rng.standard_normal((50, 1))
    model = bimodal.model(VP, prediction)
    box = as_function(make, prediction)(lambda u, t: model(u, float(t)), x, 8, rng)
    assert isinstance(model, Model)
    ours = found.plan.run(model, x)
    # the law's modes are 2.5 apart and narrow: an exponent's roundings grow by 1 / 0.3^2 a node
    assert np.abs(ours - box).max() <= 8 * 64 * EPS / 0.3**2 / found.plan.alpha[0]


@given(
    gaps=st.lists(st.floats(0.05, 1.0), min_size=8, max_size=12),
    order=st.integers(1, 2),
    prediction=st.sampled_from(["data", "noise"]),
)
@settings(deadline=None, max_examples=12)
def test_unequal_steps_do_not_hide_the_rule(gaps, order, prediction):
    lam = -3.0 + np.append(0.0, np.cumsum(gaps) * 5.0 / sum(gaps))

    def make(steps):
        return samplers.dpm_solver_pp(
            VP, grids.at_lams(VP, lam), order, prediction=prediction, **FULL
        )

    rule = taken_apart(make, len(gaps)).rule
    assert rule.uses.tolist() == [0, 1] + [order] * (len(gaps) - 1)
    assert rule.base.tolist() == [-1, *range(len(gaps))]
    if order == 2:
        assert rule.plan.prediction == prediction
    size = 64 * len(rule.size) * EPS * rule.size.max() / min(gaps)
    wanted = make(0).predicting(rule.plan.prediction)
    assert np.abs(rule.plan.B - wanted.B).max() <= size


@pytest.mark.parametrize("steps", [3, 4, 5, 7, 9, 12])
@pytest.mark.parametrize("name", ["2M", "3M", "DDIM"])
def test_short_runs_of_a_multistep_method_have_no_stages(name, steps):
    assert taken_apart(FORMS[name][0], steps).rule.base.tolist() == [-1, *range(steps)]


@pytest.mark.parametrize(("name", "steps"), [("3M", 8), ("UniPC-2", 8), ("LMS-4", 10)])
def test_a_warm_up_is_not_taken_for_stages(name, steps):
    assert taken_apart(FORMS[name][0], steps).rule.base.tolist() == [-1, *range(steps)]


def test_heun_is_two_nodes_a_step_and_stands_at_one_level_twice():
    rule = taken_apart(on("heun", EDM), 4, path=EDM).rule
    assert rule.base.tolist() == [-1, 0, 0, 2, 2, 4, 4, 6, 6]
    assert rule.uses.tolist() == [0, 1, 2, 1, 2, 1, 2, 1, 2]
    assert np.abs(rule.plan.lam[1::2] - rule.plan.lam[2::2]).max() <= 64 * EPS * 20 / math.exp(-2.5)


def test_a_last_step_to_clean_data_is_a_step():
    def make(steps):
        grid = grids.at_lams(VP, np.append(np.linspace(-3, 2.5, steps), math.inf))
        return samplers.dpm_solver_pp(VP, grid, 2, **FULL)

    rule = taken_apart(make, 9).rule
    assert rule.base.tolist() == [-1, *range(9)]
    assert rule.uses[-1] == 1  # the data prediction of the last level, and nothing else
    # a ratio of terms as large as 1 / alpha_0 by a noise prediction
    assert abs(rule.plan.B[-1, -1] - 1) <= 64 * EPS / rule.plan.alpha[0]
    assert np.count_nonzero(rule.plan.P[-1]) == 0


def test_a_start_in_pure_noise_has_a_rule_in_data():
    def make(steps):
        return samplers.euler(FLOW, np.linspace(1.0, 0.1, steps + 1))

    rule = taken_apart(make, 8, "flow", FLOW).rule
    assert rule.plan.alpha[0] == 0.0
    assert rule.plan.prediction == "data"
    assert rule.uses.tolist() == [0] + [1] * 8
