"""Adaptive DPM-Solver++ against the plan of its accepted levels and the exact flow."""

import math

import numpy as np
import pytest

from fewtheory import arrays, paths
from fewtheory.model import Model
from fewtheory.plan import grids
from fewtheory.samplers import dpm_solver_adaptive, dpm_solver_pp

EPS = np.finfo(np.float64).eps
VP, EDM = paths.VPLinear(), paths.EDM()


@pytest.fixture
def x(bimodal):
    """Quantiles of x_t at t = 0.9."""
    return bimodal.at(VP, 0.9).quantile((np.arange(8)[:, None] + 0.5) / 8)


@pytest.fixture
def solve(bimodal, x):
    def solve(**settings):
        return dpm_solver_adaptive(bimodal.model(VP), x, **{"start": 0.9, "end": 0.01, **settings})

    return solve


def test_it_reaches_the_end(solve):
    result = solve()
    assert result.success
    assert result.status == "reached the end"
    assert result.lam[0] == VP.lam(0.9)
    assert result.lam[-1] == VP.lam(0.01)
    assert np.all(np.diff(result.lam) > 0)
    assert result.accepted == len(result.lam) - 1


@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("solver_type", ["midpoint", "taylor"])
@pytest.mark.parametrize("order", [2, 3])
def test_its_sample_is_that_of_the_plan_of_its_levels(
    solve, bimodal, x, order, solver_type, prediction
):
    settings = {"prediction": prediction, "solver_type": solver_type}
    result = solve(order=order, **settings)
    plan = dpm_solver_pp(VP, grids.at_lams(VP, result.lam), order, method="singlestep", **settings)
    expected = plan.run(bimodal.model(VP), x)
    # the same formulas on arrays: eps a term, over all nodes, times rho_0 and the denoiser's slope
    bound = 64 * EPS * plan.nodes * math.exp(-result.lam[0]) * np.abs(x).max() / 0.3**2
    np.testing.assert_allclose(result.x, expected, rtol=0, atol=bound)


def test_every_attempt_is_counted(bimodal, x):
    calls, model = [], bimodal.model(VP)

    def counted(x, t):
        calls.append(t)
        return model.function(x, t)

    result = dpm_solver_adaptive(Model(counted, VP, "noise"), x, start=0.9, end=0.01, h_init=2.0)
    assert result.nfe == len(calls) == 3 * (result.accepted + result.rejected)
    assert result.rejected > 0


@pytest.mark.parametrize("order", [2, 3])
def test_a_smaller_tolerance_comes_closer_to_the_flow(solve, bimodal, x, order):
    exact = bimodal.flow(VP)(x, 0.9, 0.01)
    loose, tight = (solve(order=order, atol=a, rtol=10 * a) for a in (1e-2, 1e-4))
    errors = [np.abs(r.x - exact).max() for r in (loose, tight)]
    assert errors[1] < errors[0] / 4
    assert tight.nfe > loose.nfe


def test_a_tolerance_is_met_a_step(solve, bimodal, x):
    # each of the accepted steps errs by at most atol + rtol |x|, and the flow contracts
    result = solve(atol=1e-4, rtol=1e-4)
    exact = bimodal.flow(VP)(x, 0.9, 0.01)
    assert np.abs(result.x - exact).max() <= result.accepted * 1e-4 * (1 + np.abs(x).max())


def test_the_worst_sample_decides_however_many_there_are(bimodal, x):
    # the maximum over samples, not the mean: 999 easy ones change nothing
    pair = x[[0, 4]]
    crowd = np.concatenate([np.repeat(x[:1], 999, axis=0), x[4:5]])
    one, two = (
        dpm_solver_adaptive(bimodal.model(VP), v, start=0.9, end=0.01) for v in (pair, crowd)
    )
    np.testing.assert_allclose(one.lam, two.lam, rtol=0, atol=1024 * EPS * one.accepted)


def test_a_budget_that_is_spent_is_reported(solve):
    result = solve(max_nfe=10)
    assert not result.success
    assert result.nfe <= 10
    assert result.status.startswith("stopped at lam = ")
    assert result.lam[-1] < VP.lam(0.01)


def test_by_default_it_goes_from_the_paths_start_to_its_end(bimodal):
    result = dpm_solver_adaptive(bimodal.model(EDM), 80 * np.ones((1, 1)))
    assert result.lam[0] == EDM.lam(80.0)
    assert result.lam[-1] == EDM.lam(0.002)


def test_every_backend_gives_numpys_sample(bimodal, x, asarray):
    model = bimodal.model(VP)
    found = dpm_solver_adaptive(model, asarray(x), start=0.9, end=0.01)
    expected = dpm_solver_adaptive(model, x, start=0.9, end=0.01)
    assert type(found.x) is type(asarray(x))
    assert found.nfe == expected.nfe
    # eps a term, over all nodes, times rho_0 and the denoiser's slope; levels round as much
    bound = 128 * EPS * found.nfe * math.exp(-found.lam[0]) * np.abs(x).max() / 0.3**2
    np.testing.assert_allclose(arrays.to_numpy(found.x), expected.x, rtol=0, atol=bound)


def test_single_precision_stays_single(bimodal, x, asarray):
    found = dpm_solver_adaptive(
        bimodal.model(VP), asarray(x.astype(np.float32)), start=0.9, end=0.01
    )
    assert found.x.dtype == asarray(x.astype(np.float32)).dtype


def test_the_callers_array_is_left_alone(bimodal, x, asarray):
    mine = asarray(x)
    dpm_solver_adaptive(bimodal.model(VP), mine, start=0.9, end=0.01)
    assert np.array_equal(arrays.to_numpy(mine), x)


def test_conditions_reach_the_model():
    model = Model(lambda x, t, a: 0 * x + a, EDM, "data")
    out = dpm_solver_adaptive(model, np.ones((1, 1)), start=2.0, end=0.002, a=0.7)
    # a point mass is exact: the noise shrinks by 1000
    assert out.x[0, 0] == pytest.approx(0.7 + (1 - 0.7) / 1000, rel=1e-12)


def test_images_are_states_too():
    model = Model(lambda x, t: 0 * x, EDM, "data")
    assert dpm_solver_adaptive(model, np.ones((2, 3, 4, 4))).x.shape == (2, 3, 4, 4)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"order": 1}, "order"),
        ({"order": 4}, "order"),
        ({"prediction": "v"}, "prediction"),
        ({"solver_type": "heun"}, "solver_type"),
        ({"start": 1.5}, "start"),
        ({"end": -0.1}, "end"),
        ({"start": 0.01, "end": 0.9}, "start"),
        ({"h_init": 0.0}, "h_init"),
        ({"h_init": math.inf}, "h_init"),
        ({"atol": -1.0}, "atol"),
        ({"rtol": math.nan}, "rtol"),
        ({"theta": 0.0}, "theta"),
        ({"max_nfe": "many"}, "max_nfe"),
        ({"max_nfe": -1}, "max_nfe"),
    ],
)
def test_a_bad_argument_is_named(solve, settings, named):
    with pytest.raises((ValueError, TypeError), match=f"dpm_solver_adaptive: {named} must be "):
        solve(**settings)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_start_that_is_not_finite_is_named_before_any_work(bimodal, bad):
    calls = []
    model = Model(lambda x, t: calls.append(t) or 0 * x, VP, "data")
    with pytest.raises(ValueError, match="dpm_solver_adaptive: x must be finite"):
        dpm_solver_adaptive(model, np.array([[bad]]), max_nfe=30)
    assert calls == []


@pytest.mark.usefixtures("own_checks")
def test_a_bare_function_is_no_model(x):
    with pytest.raises(TypeError, match="dpm_solver_adaptive: model must be a fewtheory Model"):
        dpm_solver_adaptive(lambda x, t: x, x)
