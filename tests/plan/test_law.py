"""The exact law of a plan's output against matrices propagated one by one, and its gradient."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from fewtheory import paths, samplers
from fewtheory.plan import Hook, Trace, grids
from fewtheory.plan.law import tableau_gradient
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
VP = paths.VPLinear()
MEAN = np.array([1.0, -0.5, 0.2])
COV = np.array([[1.0, 0.4, -0.2], [0.4, 0.5, 0.1], [-0.2, 0.1, 0.3]])
SAMPLERS = {
    "DDIM": lambda g: samplers.ddim(VP, g),
    "DDPM": lambda g: samplers.ddim(VP, g, eta=1.0),
    "SDE++2M": lambda g: samplers.dpm_solver_pp(VP, g, 2, eta=1.0),
    "++3S": lambda g: samplers.dpm_solver_pp(VP, g, 3, method="singlestep"),
    "UniPC-2": lambda g: samplers.unipc(VP, g, 2),
    "noise 2M": lambda g: samplers.dpm_solver_pp(VP, g, 2, prediction="noise"),
    "Heun": lambda g: samplers.heun(VP, g),
}
every_sampler = pytest.mark.parametrize("make", list(SAMPLERS.values()), ids=list(SAMPLERS))


def propagate(plan, mean, cov, start_mean, start_cov):
    """Mean and covariance of the output, each node an affine map of (x_T, xi_1, .., xi_q)."""
    plan, d, q = plan.predicting("data"), mean.size, plan.C.shape[1]
    maps, shifts = [np.hstack([np.eye(d), np.zeros((d, q * d))])], [np.zeros(d)]
    denoised = []
    for i in range(1, plan.nodes):
        a, s = plan.alpha[i - 1], plan.sigma[i - 1]
        gain = a * cov @ np.linalg.inv(a**2 * cov + s**2 * np.eye(d))
        denoised.append((gain @ maps[-1], mean + gain @ (shifts[-1] - a * mean)))
        noise = np.hstack([np.zeros((d, d)), *(c * np.eye(d) for c in plan.C[i])])
        sources = [(plan.P[i, j], maps[j], shifts[j]) for j in range(i)]
        sources += [(plan.B[i, j], *denoised[j]) for j in range(i)]
        maps.append(sum((c * M for c, M, _ in sources), start=noise))
        shifts.append(sum((c * v for c, _, v in sources), start=plan.d[i] * np.ones(d)))
    A, S = maps[-1][:, :d], maps[-1][:, d:]
    return A @ start_mean + shifts[-1], A @ start_cov @ A.T + S @ S.T


def kl(m, S, other_m, other_S):
    inverse, gap = np.linalg.inv(other_S), m - other_m
    logdet = np.linalg.slogdet(other_S)[1] - np.linalg.slogdet(S)[1]
    return 0.5 * (np.trace(inverse @ S) + gap @ inverse @ gap - m.size + logdet)


def w2(m, S, other_m, other_S):
    root = sqrtm(other_S).real
    cross = sqrtm(root @ S @ root).real
    return np.sqrt(((m - other_m) ** 2).sum() + np.trace(S + other_S - 2 * cross))


@pytest.fixture
def grid(lams):
    return grids.at_lams(VP, lams)


@pytest.fixture
def ode(grid):
    return samplers.dpm_solver_pp(VP, grid, 2, lower_order_final=False)


@every_sampler
def test_the_law_is_that_of_matrices_propagated_node_by_node(make, grid):
    plan, bed = make(grid), Gaussian(MEAN, COV)
    a, s = plan.alpha[[0, -1]], plan.sigma[[0, -1]]
    start = a[0] * MEAN, a[0] ** 2 * COV + s[0] ** 2 * np.eye(3)
    mean, cov = propagate(plan, MEAN, COV, *start)
    law = plan.law(bed)
    exact = a[1] * MEAN, a[1] ** 2 * COV + s[1] ** 2 * np.eye(3)
    # coefficients up to rho_0 = 12, nodes 15, condition of the last covariance below 20
    np.testing.assert_allclose(law.mean, mean, rtol=0, atol=1024 * EPS * 12)
    np.testing.assert_allclose(law.covariance, cov, rtol=0, atol=1024 * EPS * 12)
    assert law.kl == pytest.approx(kl(mean, cov, *exact), abs=1024 * EPS * 12 * 20)
    # W2^2 is known to the accuracy of a matrix root, and W2 to that over W2
    assert law.w2**2 == pytest.approx(w2(mean, cov, *exact) ** 2, abs=1024 * EPS * 12 * 20)


@every_sampler
def test_the_start_may_be_standard_normal_noise(make, grid):
    plan, bed = make(grid), Gaussian(MEAN, COV)
    mean, cov = propagate(plan, MEAN, COV, np.zeros(3), np.eye(3))
    law = plan.law(bed, start=(0.0, 1.0))
    np.testing.assert_allclose(law.mean, mean, rtol=0, atol=1024 * EPS * 12)
    np.testing.assert_allclose(law.covariance, cov, rtol=0, atol=1024 * EPS * 12)


@pytest.mark.parametrize("cov", [COV, np.diag(COV)], ids=["full", "diagonal"])
def test_the_mean_of_the_start_is_in_the_datas_own_coordinates(ode, cov):
    dense = cov if cov.ndim == 2 else np.diag(cov)
    mean, _ = propagate(ode, MEAN, dense, np.ones(3), np.eye(3))
    law = ode.law(Gaussian(MEAN, cov), start=(1.0, 1.0))
    np.testing.assert_allclose(law.mean, mean, rtol=0, atol=1024 * EPS * 12)


def test_constants_shift_the_mean_in_the_datas_own_coordinates(ode):
    d = np.zeros((ode.nodes, 3))
    d[3], d[-1] = [0.1, 0.2, 0.3], [1.0, -1.0, 0.5]
    shifted = replace(ode, d=d)
    a, s = ode.alpha[0], ode.sigma[0]
    mean, cov = propagate(shifted, MEAN, COV, a * MEAN, a**2 * COV + s**2 * np.eye(3))
    law = shifted.law(Gaussian(MEAN, COV))
    np.testing.assert_allclose(law.mean, mean, rtol=0, atol=1024 * EPS * 12)
    np.testing.assert_allclose(law.covariance, cov, rtol=0, atol=1024 * EPS * 12)


@given(st.lists(st.floats(-13, 3).map(lambda e: 10.0**e), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_on_any_spectrum_each_direction_is_a_law_of_its_own(spectrum):
    plan = SAMPLERS["SDE++2M"](grids.at_lams(VP, [-2.0, -0.5, 0.7, 2.0]))
    law = plan.law(Gaussian(np.zeros(len(spectrum)), spectrum))
    alone = [plan.law(Gaussian([0.0], c)) for c in spectrum]
    assert law.variance.tolist() == [one.variance[0] for one in alone]
    assert law.kl == pytest.approx(sum(one.kl for one in alone), rel=16 * EPS)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_point_mass_is_sampled_exactly(grid, eta):
    plan = samplers.dpm_solver_pp(VP, grid, 2, eta=eta)
    law = plan.law(Gaussian(MEAN, 0.0))
    np.testing.assert_allclose(law.std_ratio, 1.0, rtol=1024 * EPS * 12)
    np.testing.assert_allclose(law.mean, law.exact_mean, rtol=0, atol=1024 * EPS * 12)


def one_step(grid, scale):
    """u_1 = 0.2 x_T + scale m_0."""
    trace = Trace(samplers.ddim, VP, grid)
    x, m = trace.evaluate(trace.start, grid[0])
    return trace.plan(0.2 * x + scale * m)


def test_elementwise_plans_have_a_law_a_coordinate_on_diagonal_data(grid):
    scale, var = [0.5, 1.0, 1.5], [1.0, 0.5, 0.3]
    law = one_step(grid, np.array(scale)).law(Gaussian(MEAN, var))
    for k in range(3):
        alone = one_step(grid, scale[k]).law(Gaussian(MEAN[[k]], var[k]))
        assert law.mean[k] == pytest.approx(alone.mean[0], rel=8 * EPS)
        assert law.variance[k] == pytest.approx(alone.variance[0], rel=8 * EPS)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("noise", "start must be one of 'marginal'"),
        ((0.0, -1.0), "start must be "),
        ((0.0, np.nan), "start must be "),
        ((np.inf, 1.0), "start must be "),
        ((np.zeros(2), 1.0), "start must be "),
    ],
)
def test_a_bad_start_is_named(ode, start, said):
    with pytest.raises(ValueError, match=said):
        ode.law(Gaussian(MEAN, COV), start=start)


def test_a_plan_with_a_hook_has_no_law(ode):
    with pytest.raises(ValueError, match="the plan must be linear"):
        replace(ode, hooks=(Hook("static_threshold"),)).law(Gaussian(MEAN, COV))


def test_a_law_of_another_dimension_than_the_coefficients_is_refused(ode):
    with pytest.raises(ValueError, match=r"Plan.law: gaussian must be of dimension"):
        replace(ode, d=np.zeros((ode.nodes, 2))).law(Gaussian(MEAN, COV))


def test_elementwise_coefficients_need_diagonal_data(ode):
    wide = replace(ode, C=np.zeros((ode.nodes, 1, 3)) + 0.1 * np.tri(ode.nodes, 1, -1)[..., None])
    with pytest.raises(ValueError, match=r"Plan.law: gaussian must be diagonal"):
        wide.law(Gaussian(MEAN, COV))


@pytest.mark.parametrize("of", ["kl", "w2_squared"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("start", ["marginal", (0.0, 1.0)])
def test_the_gradient_is_the_difference_quotient(grid, of, eta, start):
    plan = samplers.dpm_solver_pp(VP, grids.at_lams(VP, grid.lam[::2]), 2, eta=eta)
    bed, tab, h = Gaussian(MEAN, COV), plan.canonical(), 1e-3
    found = plan.law_gradient(bed, of, start)
    if start == "marginal":
        begin = bed.spectral_mean, bed.spectrum + np.exp(-2 * tab.lam[0])
    else:
        begin = np.zeros(3), np.ones(3) / plan.alpha[0] ** 2

    def value(name, index, step):
        moved = getattr(tab, name).copy()
        moved[index] += step
        args = (bed.spectral_mean, bed.spectrum, begin, of)
        return tableau_gradient(replace(tab, **{name: moved}), *args).value

    n = tab.lam.size - 1
    places = [("a", (i,), found.a[i]) for i in range(1, n + 1)]
    places += [("B", (i, j), found.B[i, j]) for i in range(1, n + 1) for j in range(i)]
    places += [("C", (n, k), found.C[n, k]) for k in range(tab.C.shape[1])]
    places += [("lam", (j,), found.lam[j]) for j in range(n)]
    for name, index, stated in places:
        coarse, fine, finest = (
            (value(name, index, h * r) - value(name, index, -h * r)) / (2 * h * r)
            for r in (1, 0.5, 0.25)
        )
        # Richardson twice; what is left is below the last correction, and rounding over the step
        once, twice = (4 * fine - coarse) / 3, (4 * finest - fine) / 3
        limit = (16 * twice - once) / 15
        rounding = 64 * EPS * (1 + abs(found.value)) * 12 / h
        assert stated == pytest.approx(limit, abs=abs(twice - limit) + rounding), (name, index)


def test_the_gradient_belongs_to_the_value_of_the_law(ode):
    bed = Gaussian(MEAN, COV)
    assert ode.law_gradient(bed, "kl").value == pytest.approx(ode.law(bed).kl, rel=1e-9)
    scale = ode.alpha[-1]  # the gradient's W2 is in y = x / alpha
    w2_squared = ode.law_gradient(bed, "w2_squared").value
    assert np.sqrt(w2_squared) * scale == pytest.approx(ode.law(bed).w2, rel=1e-9)


def test_an_unknown_distance_is_named(ode):
    with pytest.raises(
        ValueError, match=r"Plan.law_gradient: of must be one of 'kl', 'w2_squared'"
    ):
        ode.law_gradient(Gaussian(MEAN, COV), "tv")


def test_the_gradient_of_an_elementwise_plan_is_refused(ode):
    wide = replace(ode, B=ode.B[..., None] * np.ones(3))
    with pytest.raises(ValueError, match=r"Plan.law_gradient: plan must be free of elementwise"):
        wide.law_gradient(Gaussian(MEAN, [1.0, 0.5, 0.3]))
