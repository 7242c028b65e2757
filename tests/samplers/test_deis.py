"""DEIS, iPNDM, exponential Euler and rho-RK against formulas written another way."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from fewtheory import paths, samplers
from fewtheory.plan import grids
from fewtheory.samplers.deis import lagrange_integrals

EPS = np.finfo(np.float64).eps
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()
GRID = grids.power(VP, 7)


SMOOTH = [VP, EDM, RF, paths.VPCosine(), paths.Trigonometric()]  # a table's t(lam) has kinks


@pytest.mark.parametrize("path", SMOOTH, ids=lambda p: p.name)
@pytest.mark.parametrize("fit", ["t", "rho", "log_rho"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_weights_integrate_polynomials_in_their_variable(fit, count, path):
    # sum_j C_j z_j^k = int z^k drho, for k < count: the definition, by adaptive quadrature in lam
    grid = grids.log_snr(path, 8, start=float(path.t_at(-3.0)), end=float(path.t_at(3.0)))
    nodes, t = [grid[4 - j] for j in range(count)], grid[5]
    place = {"t": path.t_at, "rho": lambda lam: math.exp(-lam), "log_rho": lambda lam: -lam}[fit]
    z = [p.t if fit == "t" else place(p.lam) for p in nodes]
    found = lagrange_integrals(path, nodes, t, fit)
    for k in range(count):
        exact, error = quad(
            lambda lam, k=k: -math.exp(-lam) * place(lam) ** k, nodes[0].lam, t.lam,
            epsabs=1e-13, epsrel=1e-13, limit=200,
        )  # fmt: skip
        size = sum(abs(c * v**k) for c, v in zip(found, z, strict=True))
        total = sum(c * v**k for c, v in zip(found, z, strict=True))
        assert abs(total - exact) <= 1e-12 * (size + abs(exact)) + 2 * error


def test_short_steps_lose_no_digits():
    # as h -> 0 the weights over h tend to those of Adams and Bashforth: (3/2, -1/2) d rho / d lam
    h = 1e-7
    nodes = [grids.point(VP, 0.3), grids.point(VP, 0.3 - h)]
    found = np.array(lagrange_integrals(VP, nodes, grids.point(VP, 0.3 + h), "log_rho"))
    expected = -math.exp(-0.3) * h * np.array([1.5, -0.5])
    np.testing.assert_allclose(found, expected, rtol=4 * h)  # the next term of the expansion


def test_fewer_values_are_taken_while_there_are_fewer():
    plan = samplers.deis(VP, GRID, 3)
    used = [int(np.count_nonzero(row)) for row in plan.B[1:]]
    assert used == [1, 2, 3, 4, 4, 4, 4]


def test_a_runge_kutta_warm_up_costs_three_evaluations_a_step():
    for degree in range(4):
        assert samplers.deis(VP, GRID, degree, warmup="rk").nfe == 7 + 3 * degree


def test_the_warm_up_steps_are_rk4_in_rho():
    deis = samplers.deis(VP, GRID, 2, warmup="rk").canonical()
    rk = samplers.runge_kutta(VP, GRID, method="rk4", time="rho").canonical()
    size = 256 * EPS * math.exp(-GRID.lam[0])
    np.testing.assert_allclose(deis.B[:9, :9], rk.B[:9, :9], rtol=0, atol=size)


def test_a_step_to_clean_data_is_finite_for_a_polynomial_in_t_and_in_rho():
    for fit in ("t", "rho", "log_rho"):
        plan = samplers.deis(VP, GRID.to_clean(), 3, fit=fit)
        assert np.all(np.isfinite(plan.B))
        # constants are integrated exactly: a point mass is found
        alpha, sigma = plan.believed_levels()
        assert abs(alpha[-1] - 1) <= 1e-10
        assert sigma[-1] <= 1e-10


@pytest.mark.parametrize("path", [EDM, RF, VP], ids=["edm", "rectified flow", "vp"])
def test_rho_rk_on_any_path_is_runge_kutta_on_edm(path, lams):
    for method in ("euler", "heun", "ralston3", "rk4"):
        there = samplers.runge_kutta(path, grids.at_lams(path, lams), method=method, time="rho")
        here = samplers.runge_kutta(EDM, grids.at_lams(EDM, lams), method=method)
        size = (1 + np.abs(here.canonical().B).max()) * math.exp(-lams[0]) * here.nodes
        assert there.distance(here) <= 256 * EPS * size


def test_ipndm_of_one_value_is_ddim():
    one, two = samplers.ipndm(VP, GRID, 1), samplers.ddim(VP, GRID)
    assert one.distance(two) <= 256 * EPS * math.exp(-GRID.lam[0])


def test_ipndm_is_adams_bashforth_on_a_grid_that_is_equal_in_rho():
    grid = grids.karras(EDM, 8, rho=1.0)
    for k in (1, 2, 3, 4):
        one, two = samplers.ipndm(EDM, grid, k), samplers.deis(EDM, grid, k - 1, fit="rho")
        assert one.distance(two) <= 1e-11 * 80.0  # equal steps: nodes cancel to 1e-12


def test_exponential_euler_on_vp_is_the_papers_formula():
    # x_t = (a'/a) x + (a'/a - 1) score, score = -eps / sigma
    s, t = GRID[2], GRID[3]
    plan = samplers.exponential_euler(VP, [s.t, t.t])
    ratio = t.alpha / s.alpha
    assert plan.P[1, 0] == pytest.approx(ratio, rel=1e-13)
    assert plan.B[1, 0] == pytest.approx(-(ratio - 1) / s.sigma, rel=1e-12)
