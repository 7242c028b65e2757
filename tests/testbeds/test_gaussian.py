"""The Gaussian testbed against linear algebra written another way, torch and samples."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import multivariate_normal, norm

from fewtheory import arrays, paths
from fewtheory.testbeds import Gaussian, ProductMixture

EPS = np.finfo(np.float64).eps
VP = paths.VPLinear()
COV = np.array([[1.0, 0.4, -0.2], [0.4, 0.5, 0.1], [-0.2, 0.1, 0.3]])
FULL = Gaussian([1.0, -0.5, 0.2], COV)
BEDS = [FULL, Gaussian([1.0, -0.5, 0.2], [1.0, 0.1, 0.5]), Gaussian([1.0, -0.5, 0.2], 0.25)]
IDS = ["full", "diagonal", "isotropic"]
bed_of_each_kind = pytest.mark.parametrize("bed", BEDS, ids=IDS)


def dense(bed):
    return bed.cov if bed.cov.ndim == 2 else np.diag(bed.cov)


@st.composite
def nearly_singular(draw):
    """A 3-D Gaussian whose covariance has eigenvalues from 1 down to 1e-13."""
    seed = draw(st.integers(0, 2**32 - 1))
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    spectrum = np.array([1.0, 10.0 ** draw(st.integers(-7, 0)), 10.0 ** draw(st.integers(-13, -1))])
    cov = (q * spectrum) @ q.T
    return Gaussian(q[0], (cov + cov.T) / 2)


@bed_of_each_kind
def test_log_prob_is_the_normal_density(bed, asarray, rng):
    x = rng.standard_normal((5, 3))
    expected = multivariate_normal(bed.mean, dense(bed)).logpdf(x)
    found = arrays.to_numpy(bed.log_prob(asarray(x)))
    condition = bed.spectrum.max() / bed.spectrum.min()
    np.testing.assert_allclose(found, expected, rtol=64 * EPS * condition)


@bed_of_each_kind
def test_the_law_of_x_t_is_that_of_the_path(bed, path):
    t = float(path.t_at(0.3))
    at, alpha, sigma = bed.at(path, t), path.alpha(t), path.sigma(t)
    np.testing.assert_array_equal(at.mean, alpha * bed.mean)
    expected = alpha**2 * dense(bed) + sigma**2 * np.eye(3)
    np.testing.assert_allclose(dense(at), expected, rtol=4 * EPS)


@bed_of_each_kind
def test_the_score_is_the_gradient_of_the_log_density(bed, path):
    t = float(path.t_at(0.3))
    x = torch.tensor([[0.3, -1.0, 2.0], [5.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(bed.at(path, t).log_prob(x).sum(), x)
    score = bed.model(path, "score")(x.detach(), t)
    np.testing.assert_allclose(score, grad, rtol=0, atol=256 * EPS * float(grad.abs().max()))


@given(nearly_singular(), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=40)
def test_the_denoiser_of_a_nearly_singular_law_is_the_regression_on_x_t(bed, t):
    x, (alpha, sigma) = np.array([[0.3, -1.0, 2.0]]), (VP.alpha(t), VP.sigma(t))
    gain = np.linalg.solve(alpha**2 * bed.cov + sigma**2 * np.eye(3), alpha * bed.cov).T
    expected = bed.mean + (x - alpha * bed.mean) @ gain.T
    condition = 1 + alpha**2 / sigma**2  # of the matrix that is solved; eigenvalues are at most 1
    bound = 64 * EPS * condition * (1 + np.abs(x).max()) / sigma**2
    np.testing.assert_allclose(bed.posterior(VP, x, t).mean(), expected, rtol=0, atol=bound)
    bound += 16 * EPS * (1 + np.abs(x).max()) / alpha  # the model is (x + sigma^2 score) / alpha
    np.testing.assert_allclose(bed.model(VP, "data")(x, t), expected, rtol=0, atol=bound)


@given(nearly_singular(), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=40)
def test_the_posterior_covariance_is_what_regression_leaves(bed, t):
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    S = alpha**2 * bed.cov + sigma**2 * np.eye(3)
    expected = bed.cov - alpha**2 * bed.cov @ np.linalg.solve(S, bed.cov)
    found = bed.posterior(VP, np.zeros((1, 3)), t).covariance()[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * EPS * (1 + 1 / sigma**2))
    assert np.linalg.eigvalsh(found).min() >= -16 * EPS


@bed_of_each_kind
def test_the_flow_map_is_the_one_with_matrix_roots(bed, path, asarray, rng):
    t, s = float(path.t_at(-0.5)), float(path.t_at(1.5))
    x = rng.standard_normal((4, 3))
    roots = [
        sqrtm(path.alpha(v) ** 2 * dense(bed) + path.sigma(v) ** 2 * np.eye(3)).real for v in (t, s)
    ]
    away = np.linalg.solve(roots[0], (x - path.alpha(t) * bed.mean).T)
    expected = path.alpha(s) * bed.mean + (roots[1] @ away).T
    found = arrays.to_numpy(bed.flow(path)(asarray(x), t, s))
    condition = np.linalg.cond(roots[0]) ** 2
    bound = 256 * EPS * condition * np.abs(x).max()  # Schur's root is as stable as its eigenvectors
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


@bed_of_each_kind
def test_the_flow_back_undoes_the_flow(bed, path, rng):
    x, t, s = rng.standard_normal((4, 3)), path.start, path.end
    flow = bed.flow(path)
    back = flow(flow(x, t, s), s, t)
    # what is contracted to a standard deviation of sqrt(c) and back is rounded in between
    worst = math.sqrt(path.alpha(t) ** 2 * 1.2 + path.sigma(t) ** 2) / math.sqrt(bed.spectrum.min())
    np.testing.assert_allclose(back, x, rtol=0, atol=64 * EPS * (1 + worst / path.alpha(s)) * 3)


@bed_of_each_kind
def test_the_flow_through_a_time_between_is_the_flow(bed, path, rng):
    x, (t, r, s) = rng.standard_normal((4, 3)), (float(path.t_at(v)) for v in (-2.0, 0.1, 2.0))
    flow = bed.flow(path)
    through = flow(flow(x, t, r), r, s)
    np.testing.assert_allclose(through, flow(x, t, s), rtol=0, atol=64 * EPS * 10)


@bed_of_each_kind
def test_the_velocity_is_the_derivative_of_the_flow(bed, path, rng):
    x, t = torch.tensor(rng.standard_normal((4, 3))), float(path.t_at(0.2))
    s = torch.full((4,), t, dtype=torch.float64, requires_grad=True)
    moved = bed.flow(path)(x, t, s)
    slope = [torch.autograd.grad(moved[:, j].sum(), s, retain_graph=True)[0] for j in range(3)]
    velocity = bed.model(path, "velocity")(x, t)
    bound = 512 * EPS * float(velocity.abs().max())
    np.testing.assert_allclose(torch.stack(slope, 1), velocity, rtol=0, atol=bound)


def test_forward_mode_gives_the_velocity_too(rng):
    x, s = torch.tensor(rng.standard_normal((4, 3))), torch.full((4,), 0.4, dtype=torch.float64)
    _, slope = torch.func.jvp(lambda s: FULL.flow(VP)(x, 0.4, s), (s,), (torch.ones_like(s),))
    velocity = FULL.model(VP, "velocity")(x, 0.4)
    np.testing.assert_allclose(
        slope, velocity, rtol=0, atol=512 * EPS * float(velocity.abs().max())
    )


@bed_of_each_kind
def test_the_average_velocity_moves_x_to_its_image(bed, path, rng):
    x, t, s = rng.standard_normal((4, 3)), float(path.t_at(-1.0)), float(path.t_at(1.0))
    moved = x + (s - t) * bed.average_velocity(path)(x, t, s)
    np.testing.assert_allclose(moved, bed.flow(path)(x, t, s), rtol=0, atol=16 * EPS * 8)


def test_the_average_velocity_over_no_time_is_the_velocity(asarray, rng):
    x, t = rng.standard_normal((3, 3)), np.array([0.2, 0.5, 0.7])
    s = np.array([0.2, 0.3, 0.7])  # the first and the last stand still
    u = arrays.to_numpy(FULL.average_velocity(VP)(asarray(x), asarray(t), asarray(s)))
    v = FULL.model(VP, "velocity")(x, t)
    np.testing.assert_allclose(u[[0, 2]], v[[0, 2]], rtol=0, atol=64 * EPS * np.abs(v).max())


@bed_of_each_kind
def test_samples_have_the_mean_and_the_covariance(bed, rng):
    n, limit = 200_000, norm.isf(1e-6 / 9 / 2)  # two-sided, over the nine numbers that are tested
    x = bed.sample(n, rng=rng)
    std = np.sqrt(np.diag(dense(bed)))
    assert np.all(np.abs(x.mean(0) - bed.mean) * math.sqrt(n) / std < limit)
    y, v = x - bed.mean, dense(bed)
    for i, j in zip(*np.triu_indices(3), strict=True):  # var(y_i y_j) = v_ii v_jj + v_ij^2
        spread = math.sqrt((v[i, i] * v[j, j] + v[i, j] ** 2) / n)
        assert abs((y[:, i] * y[:, j]).mean() - v[i, j]) / spread < limit


def test_samples_are_of_the_kind_asked_for(asarray, rng):
    like = asarray(np.zeros(1, dtype=np.float32))
    x = FULL.sample(5, rng=rng, like=like)
    assert type(x) is type(like)
    assert x.dtype == like.dtype
    assert tuple(x.shape) == (5, 3)


def test_a_rotated_law_has_the_rotated_score_and_flow(rng):
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    cov = q @ COV @ q.T
    turned, x = Gaussian(q @ FULL.mean, (cov + cov.T) / 2), rng.standard_normal((4, 3))
    for one, two in (
        (turned.model(VP, "score")(x @ q.T, 0.3), FULL.model(VP, "score")(x, 0.3)),
        (turned.flow(VP)(x @ q.T, 0.8, 0.1), FULL.flow(VP)(x, 0.8, 0.1)),
    ):
        np.testing.assert_allclose(one, two @ q.T, rtol=0, atol=512 * EPS * np.abs(two).max())


def test_a_batch_of_times_is_a_loop_over_them(asarray, rng):
    x, t, s = rng.standard_normal((3, 3)), np.array([0.9, 0.5, 0.2]), np.array([0.1, 0.7, 0.2])
    found = arrays.to_numpy(FULL.flow(VP)(asarray(x), asarray(t), asarray(s)))
    loop = [FULL.flow(VP)(x[i : i + 1], float(t[i]), float(s[i]))[0] for i in range(3)]
    np.testing.assert_allclose(found, loop, rtol=0, atol=64 * EPS * np.abs(x).max())


@pytest.mark.parametrize("prediction", ["score", "data"])
def test_single_precision_is_double_precision_rounded(asarray, prediction, rng):
    x = rng.standard_normal((4, 3)).astype(np.float32)
    model = FULL.model(VP, prediction)
    found = model(asarray(x), 0.4)
    assert found.dtype == asarray(x).dtype
    exact = model(x.astype(np.float64), 0.4)
    bound = 64 * np.finfo(np.float32).eps * np.abs(exact).max()
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=0, atol=bound)


def test_a_point_mass_is_denoised_to_its_point(rng):
    bed, x = Gaussian([1.0, 2.0], 0.0), rng.standard_normal((4, 2))
    np.testing.assert_array_equal(bed.posterior(VP, x, 0.5).mean(), np.tile([1.0, 2.0], (4, 1)))
    bound = 8 * EPS * (np.abs(x).max() + 2) / VP.alpha(0.5)
    np.testing.assert_allclose(bed.model(VP, "data")(x, 0.5), np.tile([1, 2], (4, 1)), atol=bound)


@pytest.mark.parametrize("kind", [paths.RectifiedFlow, paths.Trigonometric])
def test_at_pure_noise_the_denoiser_is_the_mean(kind, rng):
    path, x = kind(), rng.standard_normal((4, 3))
    np.testing.assert_array_equal(FULL.model(path, "data")(x, 1.0), np.tile(FULL.mean, (4, 1)))
    velocity = path.dalpha(1.0) * FULL.mean + path.dsigma(1.0) * x
    np.testing.assert_allclose(FULL.model(path, "velocity")(x, 1.0), velocity, rtol=8 * EPS)


@pytest.mark.parametrize("kind", [paths.RectifiedFlow, paths.Trigonometric])
def test_at_clean_data_the_denoiser_is_the_state(kind, rng):
    path, x = kind(), rng.standard_normal((4, 3))
    atol = 64 * EPS * (1 + np.abs(x).max())  # into the eigenbasis and back: sums of three terms
    np.testing.assert_allclose(FULL.model(path, "data")(x, 0.0), x, rtol=0, atol=atol)
    velocity = path.dalpha(0.0) * x  # E[eps | x_0] = 0
    np.testing.assert_allclose(
        FULL.model(path, "velocity")(x, 0.0), velocity, rtol=0, atol=4 * atol
    )


def test_a_point_mass_has_no_density():
    with pytest.raises(ValueError, match=r"Gaussian.log_prob: cov must be positive definite"):
        Gaussian([1.0, 2.0], [0.0, 1.0]).log_prob(np.zeros((1, 2)))


@bed_of_each_kind
def test_draws_of_the_posterior_have_its_moments(bed, rng):
    x, n = rng.standard_normal((2, 3)), 40_000
    law = bed.posterior(VP, x, 0.5)
    drawn = law.sample(n, rng=rng)
    assert drawn.shape == (n, 2, 3)
    cov = law.covariance()
    # six means, each off by more than 6 standard errors with probability 2e-9
    std = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    assert np.all(np.abs(drawn.mean(0) - law.mean()) < 6 * std / np.sqrt(n))
    # a sample covariance has standard error sqrt((c_ij^2 + c_ii c_jj) / n)
    for k in range(2):
        error = np.sqrt((cov[k] ** 2 + np.outer(std[k], std[k]) ** 2) / n)
        assert np.all(np.abs(np.cov(drawn[:, k].T) - cov[k]) < 6 * error)


def test_prior_times_likelihood_is_posterior_times_evidence(rng):
    x0, t = rng.standard_normal((5, 3)), 0.4
    x = rng.standard_normal((5, 3))
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    likelihood = Gaussian(np.zeros(3), sigma**2).log_prob(x - alpha * x0)
    joint = FULL.log_prob(x0) + likelihood
    found = FULL.posterior(VP, x, t).log_prob(x0) + FULL.at(VP, t).log_prob(x)
    np.testing.assert_allclose(found, joint, rtol=0, atol=1024 * EPS * np.abs(joint).max())


def test_a_point_mass_without_noise_has_no_posterior():
    with pytest.raises(ValueError, match=r"Gaussian.posterior: t must be a level with noise"):
        Gaussian([1.0], 0.0).posterior(paths.RectifiedFlow(), np.zeros((1, 1)), 0.0)


def test_a_covariance_that_is_symmetric_to_rounding_is_accepted(rng):
    # (R v) R^T with equal v: off the diagonal nothing but rounding is left, and it is not symmetric
    q, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    one = np.ones((5, 1))
    bed = ProductMixture(one, 0 * one, 0.3 * one, q)
    np.testing.assert_allclose(Gaussian(bed.mean, bed.cov).spectrum, 0.09, rtol=32 * EPS)


@pytest.mark.parametrize(
    ("mean", "cov", "named"),
    [
        ([[0.0]], 1.0, "mean"),
        ([], 1.0, "mean"),
        ([math.nan], 1.0, "mean"),
        ([0.0, 0.0], [1.0], "cov"),
        ([0.0, 0.0], np.ones((3, 3)), "cov"),
        ([0.0, 0.0], [[1.0, 0.5], [0.4, 1.0]], "cov"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "cov"),
        ([0.0, 0.0], [1.0, -1e-6], "cov"),
        ([0.0], -1.0, "cov"),
        ([0.0], math.inf, "cov"),
    ],
)
def test_what_is_no_gaussian_is_named(mean, cov, named):
    with pytest.raises(ValueError, match=f"Gaussian: {named} must be "):
        Gaussian(mean, cov)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: FULL.at(VP, 1.5), "t"),
        (lambda: FULL.log_prob(np.zeros((2, 4))), "x"),
        (lambda: FULL.model(VP)(np.zeros((2, 4)), 0.5), "x"),
        (lambda: FULL.flow(VP)(np.zeros((2, 4)), 0.5, 0.1), "x"),
        (lambda: FULL.flow(VP)(np.zeros((2, 3)), 1.5, 0.1), "t"),
        (lambda: FULL.flow(VP)(np.zeros((2, 3)), 0.5, -0.1), "s"),
        (lambda: FULL.flow(VP)(np.zeros((2, 3)), np.full(3, 0.5), 0.1), "t"),
        (lambda: FULL.posterior(VP, np.zeros((2, 3)), 2.0), "t"),
        (lambda: FULL.sample(-1, rng=np.random.default_rng(0)), "n"),
        (lambda: FULL.model(VP, "eps"), "prediction"),
    ],
)
def test_a_bad_argument_is_named(call, named):
    with pytest.raises(ValueError, match=rf": {named} must "):
        call()
