"""Moments of a step's weights: one where they are right, one half where a factor was forgotten."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import paths, samplers
from fewtheory.audit.moments import ratios, weights_needed
from fewtheory.audit.recovered import recover
from fewtheory.audit.subject import subject
from fewtheory.plan import grids

EPS = np.finfo(np.float64).eps
VP, EDM = paths.VPLinear(), paths.EDM()
FULL = {"lower_order_final": False}


def taken_apart(name, lam, path=VP, **chosen):
    """The run of a sampler on these levels."""
    judged = subject(
        lambda steps: samplers.SAMPLERS[name](path, grids.at_lams(path, lam), **chosen)
    )
    return recover(judged, len(lam) - 1, judged.told)


def roundings(run, lam):
    """Of a weighted sum: rows are differences of larger terms, weights of 1 / (r_0 r_1)."""
    gaps = np.diff(lam[np.isfinite(lam)])
    return 64 * EPS * len(lam) * run.rule.size.max() / gaps.min() ** 2


@st.composite
def levels(draw):
    """13 levels in [-3, 2], the longest step at most eight times the shortest."""
    gaps = np.array(draw(st.lists(st.floats(0.125, 1.0), min_size=12, max_size=12)))
    return -3.0 + np.append(0.0, np.cumsum(gaps)) * 5 / gaps.sum()


EXACT = [pytest.param(v, id=v.name) for v in samplers.VARIANTS if v.point_exact]


@pytest.mark.parametrize("variant", EXACT)
def test_the_zeroth_moment_is_right_for_what_is_exact_on_points(variant):
    lam = np.linspace(-3.0, 2.0, 13)
    run = taken_apart(variant.sampler, lam, EDM if variant.own_time else VP, **variant.settings)
    zeroth = ratios(run, 1)[1:, 0]
    known = np.isfinite(zeroth)
    assert known.any() or (run.rule.plan.stochastic and run.rule.plan.prediction == "noise")
    assert np.abs(zeroth[known] - 1).max(initial=0.0) <= roundings(run, lam)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@given(lam=levels())
@settings(deadline=None, max_examples=6)
def test_the_published_3m_has_half_of_the_second_moment(prediction, lam):
    run = taken_apart(
        "dpm_solver_pp",
        lam,
        order=3,
        solver_type="taylor",
        prediction=prediction,
        repaired=False,
        **FULL,
    )
    part = ratios(run, 3)[3:]
    assert np.abs(part - [1.0, 1.0, 0.5]).max() <= roundings(run, lam)


@pytest.mark.parametrize("prediction", ["data", "noise"])
@given(lam=levels())
@settings(deadline=None, max_examples=6)
def test_the_repaired_3m_has_all_of_it(prediction, lam):
    run = taken_apart(
        "dpm_solver_pp", lam, order=3, solver_type="taylor", prediction=prediction, **FULL
    )
    assert np.abs(ratios(run, 3)[3:] - 1).max() <= roundings(run, lam)


def test_the_midpoint_rule_is_right_to_the_order_of_its_step():
    # R_1 = h^2 (phi_1(-h) / 2 - phi_2(-h)) over h^2 phi_2(-h): phi_1 / (2 phi_2) - 1 = -h/6 + ..
    h = 5 / 64
    run = taken_apart("dpm_solver_pp", np.linspace(-3.0, 2.0, 65), order=2, **FULL)
    first = ratios(run, 2)[2:, 1]
    assert np.abs(first - 1 + h / 6).max() <= h**2 / 6


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_changes_the_kernel_and_not_the_ratios(eta):
    lam = np.linspace(-3.0, 2.0, 13)
    run = taken_apart("dpm_solver_pp", lam, order=2, solver_type="taylor", eta=eta, **FULL)
    assert run.rule.plan.stochastic
    assert np.abs(ratios(run, 2)[2:] - 1).max() <= roundings(run, lam)


def test_no_ratio_is_given_where_the_step_is_not_finite():
    lam = np.append(np.linspace(-3.0, 2.0, 12), math.inf)
    run = taken_apart("dpm_solver_pp", lam, order=2, **FULL)
    part = ratios(run, 2)
    assert np.isnan(part[0]).all()  # the start
    assert np.isnan(part[-1]).all()  # to sigma = 0
    assert np.isfinite(part[1:-1]).all()


def test_no_ratio_is_given_for_noise_and_a_noise_prediction():
    run = taken_apart(
        "dpm_solver_pp", np.linspace(-3.0, 2.0, 13), order=2, eta=1.0, prediction="noise", **FULL
    )
    assert np.isnan(ratios(run)).all()


# the weights that a step needs


@pytest.mark.parametrize("prediction", ["data", "noise"])
@given(lam=levels())
@settings(deadline=None, max_examples=6)
def test_the_weights_needed_repair_the_published_rule(prediction, lam):
    chosen = {"order": 3, "solver_type": "taylor", "prediction": prediction, **FULL}
    published = taken_apart("dpm_solver_pp", lam, **chosen, repaired=False)
    wanted = samplers.dpm_solver_pp(VP, grids.at_lams(VP, lam), **chosen).B
    size = roundings(published, lam)
    for node in range(3, 13):
        mended = weights_needed(published, node)
        assert mended is not None
        assert np.abs(mended - wanted[node]).max() <= size
        assert np.abs(published.rule.plan.B[node] - wanted[node]).max() > 1e3 * size


def test_one_evaluation_is_enough_for_ddim():
    run = taken_apart("ddim", np.linspace(-3.0, 2.0, 13))
    for node in range(1, 13):
        mended = weights_needed(run, node)
        assert mended is not None
        assert np.abs(mended - run.rule.plan.B[node]).max() <= roundings(run, run.rule.plan.lam)


@pytest.mark.parametrize("eta", [1.0])
def test_the_weights_of_a_stochastic_rule_are_its_kernels(eta):
    lam = np.linspace(-3.0, 2.0, 13)
    run = taken_apart("dpm_solver_pp", lam, order=2, eta=eta, **FULL)  # midpoint
    exact = samplers.dpm_solver_pp(
        VP, grids.at_lams(VP, lam), 2, solver_type="taylor", eta=eta, **FULL
    )
    for node in range(2, 13):
        mended = weights_needed(run, node)
        assert mended is not None
        assert np.abs(mended - exact.B[node]).max() <= roundings(run, lam)


@pytest.mark.parametrize(
    ("chosen", "path", "lam", "node"),
    [
        ({"order": 2, **FULL}, VP, [-3.0, -1.0, 1.0, math.inf], 3),  # to sigma = 0
        ({"order": 2, "eta": 1.0, "prediction": "noise", **FULL}, VP, [-3.0, -1.0, 1.0, 2.0], 2),
    ],
)
def test_no_weights_are_given_where_there_is_no_such_step(chosen, path, lam, node):
    run = taken_apart("dpm_solver_pp", np.array(lam), path, **chosen)
    assert weights_needed(run, node) is None


def test_no_weights_are_given_for_two_evaluations_at_one_level():
    def twice(model, x, steps):  # the mean of two equal calls
        for s, t in zip((8.0, 4.0), (4.0, 1.0), strict=True):
            x = x + 0.5 * (t - s) * (model(x, s) + model(x, s))
        return x

    judged = subject(twice, path=EDM, prediction="noise")
    assert weights_needed(recover(judged, 2, judged.told), 2) is None
