"""Plans fitted by the exact gradient, against the sheet's numbers and least squares elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.plan import grids
from fewtheory.plan.law import law
from fewtheory.search import fit_to_law, refit_last_row
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
EDM = paths.EDM(1e-3, 1e3)  # alpha = 1: W2 in canonical coordinates
POWER_LAW = Gaussian(np.zeros(32), np.arange(1, 33) ** -2.0)
GRID = grids.at_lams(EDM, np.linspace(-4.0, 3.0, 5))


@pytest.fixture(scope="module")
def two_m():
    return samplers.dpm_solver_pp(EDM, GRID, 2, lower_order_final=False)


@pytest.fixture(scope="module")
def fitted():
    return fit_to_law(samplers.unipc(EDM, GRID, 2), POWER_LAW)


@pytest.mark.parametrize(
    ("make", "expected"),
    [  # sheet plan-algebra, C6, to its last digit
        (lambda: samplers.ddim(EDM, GRID), "0.448"),
        (lambda: samplers.dpm_solver_pp(EDM, GRID, 2, lower_order_final=False), "0.1371"),
        (lambda: samplers.unipc(EDM, GRID, 2), "0.1011"),
        (lambda: samplers.deis(EDM, GRID, 3, fit="log_rho"), "0.1249"),
        (
            lambda: refit_last_row(
                samplers.dpm_solver_pp(EDM, GRID, 2, lower_order_final=False), POWER_LAW
            ),
            "0.0414",
        ),
    ],
    ids=["DDIM", "++2M", "UniPC-2", "log-rho AB3", "++2M, last row re-fitted"],
)
def test_plans_of_four_evaluations_have_the_distances_of_the_sheet(make, expected):
    digits = len(expected) - 2
    assert f"{make().law(POWER_LAW).w2:.{digits}f}" == expected


def test_a_fitted_plan_is_better_than_every_rule(fitted):
    # sheet plan-algebra, C6: <= 1e-3 under the point-mass constraint
    assert fitted.value <= 1e-3
    assert fitted.value == fitted.plan.law(POWER_LAW).w2


def test_a_fit_tells_how_it_went(fitted):
    assert fitted.value == fitted.best_so_far[-1] == min(t.value for t in fitted.history)
    assert fitted.history[0].value == pytest.approx(0.1011, abs=5e-5)  # it starts at UniPC-2


def test_a_fitted_plan_keeps_point_masses_and_its_ends(fitted):
    plan = fitted.plan
    alpha, sigma = plan.believed_levels()
    np.testing.assert_allclose(
        alpha, plan.alpha, rtol=0, atol=64 * EPS * np.abs(plan.B).sum(1).max()
    )
    np.testing.assert_allclose(sigma, plan.sigma, rtol=64 * EPS)
    assert (plan.lam[0], plan.lam[-1]) == (-4.0, 3.0)
    assert plan.nfe == 4


def test_a_fitted_plan_runs_and_moves_to_other_paths(fitted, rng):
    path, x = paths.VPLinear(), rng.standard_normal((3, 32))
    alpha = path.level(-4.0)[0]
    wide = paths.EDM(1e-3, 1e3)
    one = fitted.plan.run(POWER_LAW.model(wide, "data"), x / alpha)
    two = fitted.plan.on(path).run(POWER_LAW.model(path, "data"), x) / path.level(3.0)[0]
    # coefficients of size |B| on states of size |x| / alpha, each denoiser over alpha once more
    bound = 64 * EPS * 5 * np.abs(fitted.plan.B).max() ** 2 * np.abs(x).max() / alpha**2
    np.testing.assert_allclose(one, two, rtol=0, atol=bound)


def test_without_the_point_mass_constraint_every_weight_is_free():
    bed = Gaussian(np.array([0.3, 0.0, -0.2]), [1.0, 0.25, 0.05])
    plan = samplers.ddim(EDM, grids.at_lams(EDM, np.linspace(-2.0, 2.0, 4)))
    result = fit_to_law(plan, bed, point_mass=False, budget=200)
    assert result.value < plan.law(bed).w2 / 10
    believed = result.plan.believed_levels()[0]
    assert np.abs(believed - result.plan.alpha).max() > 1e-6


def test_a_full_covariance_is_fitted_as_its_spectrum(rng):
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    spectrum = np.array([1.0, 0.3, 0.1])
    cov = (q * spectrum) @ q.T
    plan = samplers.ddim(EDM, grids.at_lams(EDM, [-2.0, 0.0, 2.0]))
    one = fit_to_law(plan, Gaussian(np.zeros(3), (cov + cov.T) / 2), budget=50)
    two = fit_to_law(plan, Gaussian(np.zeros(3), spectrum), budget=50)
    assert one.value == pytest.approx(two.value, rel=1e-3)


def test_a_spent_budget_is_reported(two_m):
    result = fit_to_law(two_m, POWER_LAW, budget=3)
    assert (result.evaluations, result.status) == (3, "budget spent")


def test_no_other_last_row_does_better(two_m, rng):
    best = refit_last_row(two_m, POWER_LAW)
    least = best.law(POWER_LAW).w2
    for scale in (1e-3, 1e-1):
        for _ in range(10):
            B = best.B.copy()
            step = scale * rng.standard_normal(4)
            B[-1] += step - step.mean()  # keeps the row's sum: the point-mass constraint
            assert law(replace(best, B=B), POWER_LAW).w2 > least


def test_a_refitted_plan_keeps_its_other_rows_and_point_masses(two_m):
    best = refit_last_row(two_m, POWER_LAW)
    np.testing.assert_allclose(best.tableau().B[:-1], two_m.tableau().B[:-1], rtol=0, atol=64 * EPS)
    alpha, _ = best.believed_levels()
    np.testing.assert_allclose(
        alpha, best.alpha, rtol=0, atol=64 * EPS * np.abs(best.B).sum(1).max()
    )


@pytest.mark.parametrize("search", [fit_to_law, refit_last_row])
def test_a_stochastic_plan_is_refused(search):
    plan = samplers.ddim(EDM, GRID, eta=1.0)
    with pytest.raises(ValueError, match=f"{search.__name__}: plan must be deterministic"):
        search(plan, POWER_LAW)


@pytest.mark.parametrize("search", [fit_to_law, refit_last_row])
def test_a_plan_with_a_hook_is_refused(search):
    plan = samplers.dpm_solver_pp(EDM, GRID, thresholding=True)
    with pytest.raises(ValueError, match="the plan must be linear"):
        search(plan, POWER_LAW)


def test_data_that_are_not_centred_are_refused_where_they_are_not_meant(two_m):
    with pytest.raises(ValueError, match="refit_last_row: gaussian must be centred"):
        refit_last_row(two_m, Gaussian(np.ones(32), POWER_LAW.cov))


def test_no_budget_is_refused(two_m):
    with pytest.raises(ValueError, match="fit_to_law: budget must be at least 1, got 0"):
        fit_to_law(two_m, POWER_LAW, budget=0)
