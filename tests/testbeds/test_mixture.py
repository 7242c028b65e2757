"""Gaussian mixtures in every form against mpmath, torch's derivatives, quadrature and samples."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, norm

from fewtheory import arrays, guided, paths
from fewtheory.model import PREDICTIONS, classifier_guided
from fewtheory.testbeds import Gaussian, GaussianMixture, LowRank, mixture_1d

EPS = np.finfo(np.float64).eps
VP, RF, EDM = paths.VPLinear(), paths.RectifiedFlow(), paths.EDM()
FORMS = ("full", "diagonal", "isotropic", "low rank")
K, D = 4, 3


def mixture(form, k=K, d=D, seed=0, scale=1.0, classes=None):
    """A mixture with covariances of this form, of size 0.1 to 2."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((k, d, d)) / math.sqrt(d)
    covs = {
        "full": A @ A.transpose(0, 2, 1) + 0.1 * np.eye(d),
        "diagonal": rng.uniform(0.1, 1, (k, d)),
        "isotropic": rng.uniform(0.1, 1, k),
        "low rank": LowRank(rng.uniform(0.1, 1, (k, d)), rng.standard_normal((k, d, 2)) / 2),
    }[form]
    means = scale * rng.standard_normal((k, d))
    return GaussianMixture(rng.dirichlet(np.ones(k)), means, covs, classes)


def dense(bed):
    """The covariances as (K, d, d) NumPy arrays, from the shape in which they were given."""
    covs = bed.covs.array() if isinstance(bed.covs, LowRank) else bed.covs
    d = bed.means.shape[1]
    if covs.ndim == 3:
        return covs
    return np.stack([np.diag(np.broadcast_to(c, (d,))) for c in covs])


def oracle(bed, x, alpha=1.0, sigma=0.0, digits=60):
    """log p_t(x) and its gradient for one point, by mpmath from the definition."""
    with mp.workdps(digits):
        total, grad = mp.mpf(0), mp.zeros(len(x), 1)
        for w, m, C in zip(bed.weights.tolist(), bed.means, dense(bed), strict=True):
            S = mp.mpf(alpha) ** 2 * mp.matrix(C.tolist()) + mp.mpf(sigma) ** 2 * mp.eye(len(x))
            u = mp.matrix(x.tolist()) - mp.mpf(alpha) * mp.matrix(m.tolist())
            pull = mp.lu_solve(S, u)
            density = mp.mpf(w) * mp.exp(-(u.T * pull)[0] / 2) / mp.sqrt(mp.det(2 * mp.pi * S))
            total, grad = total + density, grad - density * pull
        return float(mp.log(total)), np.array([float(g / total) for g in grad])


every_form = pytest.mark.parametrize("form", FORMS)


def size(bed, x):
    """|x - m|^2 over the least variance: what the exponents of a mixture are made of."""
    least = np.linalg.eigvalsh(dense(bed)).min()
    return 1 + (np.abs(x).max() + np.abs(bed.means).max()) ** 2 * x.shape[-1] / least


@every_form
def test_log_density_and_score_are_those_of_the_definition(form, asarray, rng):
    bed, x = mixture(form), 2 * rng.standard_normal((5, D))
    log_prob, score = (arrays.to_numpy(v) for v in bed.log_prob_and_score(asarray(x)))
    for i in range(5):
        exact, gradient = oracle(bed, x[i])
        bound = 16 * EPS * size(bed, x)
        assert abs(log_prob[i] - exact) <= bound
        limits = bound * (1 + np.abs(gradient).max())
        np.testing.assert_allclose(score[i], gradient, rtol=0, atol=limits)


@st.composite
def hard_mixtures(draw):
    """Full covariances with eigenvalues down to 1e-12, weights down to 1e-12, up to 3
    dimensions."""
    k, d = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    raw = np.array([10.0 ** draw(st.integers(-12, 0)) for _ in range(k)])
    Q = np.linalg.qr(rng.standard_normal((k, d, d)))[0]
    spectrum = np.array([[10.0 ** draw(st.integers(-12, 0)) for _ in range(d)] for _ in range(k)])
    covs = (Q * spectrum[:, None, :]) @ Q.transpose(0, 2, 1)
    covs = (covs + covs.transpose(0, 2, 1)) / 2
    return GaussianMixture(raw / raw.sum(), rng.standard_normal((k, d)), covs), rng


@given(hard_mixtures(), st.floats(0.02, 0.98))
@settings(deadline=None, max_examples=40)
def test_nearly_singular_covariances_and_tiny_weights_keep_their_digits(world, t):
    bed, rng = world
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    x = alpha * bed.sample(1, rng=rng) + sigma * rng.standard_normal((1, bed.event[0]))
    score = bed.model(VP, "score")(x, t)[0]
    log_prob = bed.at(VP, t).log_prob(x)[0]
    exact, gradient = oracle(bed, x[0], alpha, sigma)
    # |x|/sigma standard deviations at most: exponents of size (|x|/sigma)^2, scores of |x|/sigma^2
    reach = (np.abs(x).max() + np.abs(bed.means).max()) / sigma
    assert abs(log_prob - exact) <= 64 * EPS * (1 + reach**2)
    bound = 64 * EPS * (1 + reach**2) * (1 + reach) / sigma
    np.testing.assert_allclose(score, gradient, rtol=0, atol=bound)


# the three ways to compute the sums agree


SIZES = [("full", 5, 2), ("full", 5, 12), ("diagonal", 7, 2), ("diagonal", 7, 20)]
SIZES += [("isotropic", 9, 3), ("isotropic", 9, 20), ("low rank", 4, 12), ("full", 1, 1)]


@pytest.mark.parametrize(("form", "k", "d"), SIZES)
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [1.0, 300.0])  # multiplied out, and by differences
def test_the_kernels_equal_the_array_twin(form, k, d, t, scale, rng):
    from fewtheory.testbeds.mixture_sums import by_differences, sums

    bed = mixture(form, k, d, scale=scale)
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    x = alpha * bed.sample(700, rng=rng) + sigma * rng.standard_normal((700, d))
    parts = bed._parts(x)
    fast, plain = sums(parts, x, alpha, sigma), by_differences(parts, x, alpha, sigma)
    least = np.linalg.eigvalsh(dense(bed.at(VP, t))).min()
    # differences of numbers up to |x|; multiplied out, squares within CLOSE = 1e4 of the variance
    units = 64 * EPS * math.sqrt(d) * (1 + np.abs(x).max() / math.sqrt(least) + 1e4)
    reach = 1 + np.sqrt(np.abs(plain.log_prob).max())
    for one, two, unit in zip(fast, plain, (reach, 1 / math.sqrt(least), scale), strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=units * reach * unit)


@every_form
def test_torch_equals_numpy(form, path, rng):
    bed, x, t = mixture(form, 6, 12), rng.standard_normal((50, 12)), float(path.t_at(0.2))
    for prediction in PREDICTIONS:
        model = bed.model(path, prediction)
        found, expected = model(torch.tensor(x), t), model(x, t)
        bound = 1024 * EPS * (1 + np.abs(expected).max()) * size(bed, x)
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def test_the_result_does_not_depend_on_the_number_of_rows_in_a_call(rng):
    bed = mixture("isotropic", 50, 20)
    x = bed.sample(5000, rng=rng)
    whole, parts = bed.log_prob(x), [bed.log_prob(x[i : i + 1]) for i in range(0, 5000, 500)]
    np.testing.assert_allclose(whole[::500], np.concatenate(parts), rtol=64 * EPS)


@pytest.mark.parametrize("rows", [0, 1, 17])
@every_form
def test_any_number_of_rows_is_a_batch(form, rows):
    bed, x = mixture(form), np.zeros((rows, D))
    assert bed.log_prob(x).shape == (rows,)
    assert bed.score(x).shape == bed.model(VP, "data")(x, 0.5).shape == (rows, D)


def test_a_far_point_has_a_finite_log_density_and_the_score_of_the_nearest(asarray):
    bed = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 0.0]], [1.0, 1.0])
    x = asarray([[1e6, 0.0]])
    log_prob, score = (arrays.to_numpy(v) for v in bed.log_prob_and_score(x))
    assert log_prob[0] == pytest.approx(-0.5 * (1e6 - 1) ** 2, rel=1e-9)
    assert score[0, 0] == pytest.approx(-(1e6 - 1), rel=1e-12)


@pytest.mark.parametrize("d", [2, 12])
@every_form
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_is_no_number_stays_none(form, d, asarray):
    x = np.zeros((3, d))
    x[0, 0], x[1, -1] = np.nan, np.inf
    bed = mixture(form, d=d)
    for found in (*bed.log_prob_and_score(asarray(x)), bed.model(VP, "data")(asarray(x), 0.4)):
        rows = arrays.to_numpy(found).reshape(3, -1)
        assert not np.isfinite(rows[:2]).all(axis=1).any()
        assert np.isfinite(rows[2]).all()


@every_form
def test_float32_is_float64_to_its_rounding(form, asarray, rng):
    bed, x = mixture(form), rng.standard_normal((20, D)).astype(np.float32)
    exact = bed.model(VP, "data")(x.astype(np.float64), 0.4)
    found = bed.model(VP, "data")(asarray(x), 0.4)
    assert found.dtype == asarray(x).dtype
    bound = 16 * np.finfo(np.float32).eps * size(bed, x) * (1 + np.abs(exact).max())
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=0, atol=bound)


# derivatives


@every_form
def test_the_score_is_the_gradient_of_the_log_density(form, path, rng):
    bed, t = mixture(form), float(path.t_at(0.5))
    x = torch.tensor(rng.standard_normal((6, D)), requires_grad=True)
    (grad,) = torch.autograd.grad(bed.at(path, t).log_prob(x).sum(), x)
    found = bed.model(path, "score")(x.detach(), t)
    bound = 2048 * EPS * (1 + float(grad.abs().max())) * size(bed, x.detach().numpy())
    np.testing.assert_allclose(found, grad, rtol=0, atol=bound)


@every_form
def test_the_hessian_vector_product_is_the_derivative_of_the_score(form, asarray, rng):
    bed, x, v = mixture(form), rng.standard_normal((5, D)), rng.standard_normal((5, D))
    _, exact = torch.autograd.functional.jvp(bed.score, torch.tensor(x), torch.tensor(v))
    found = arrays.to_numpy(bed.hessian_vector(asarray(x), asarray(v)))
    bound = 1024 * EPS * size(bed, x) * (1 + float(exact.abs().max()))
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@every_form
def test_the_jacobian_is_the_derivative_of_the_model(form, prediction, rng):
    bed, x = mixture(form), torch.tensor(rng.standard_normal((1, D)))
    model = bed.model(VP, prediction)
    exact = torch.autograd.functional.jacobian(lambda u: model(u, 0.4), x)[0, :, 0, :]
    found = bed.jacobian(VP, x, 0.4, prediction)[0]
    bound = 2048 * EPS * (1 + float(exact.abs().max())) * size(bed, x.numpy())
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


def test_the_jacobian_of_the_denoiser_has_its_limits_at_both_ends():
    # x0hat = x / alpha at sigma = 0 and E[x_0] at alpha = 0
    bed, x = mixture("full"), np.array([[0.3, -0.2, 1.0]])
    np.testing.assert_allclose(bed.jacobian(RF, x, 0.0)[0], np.eye(D), rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(bed.jacobian(RF, x, 1.0)[0], np.zeros((D, D)), rtol=0, atol=64 * EPS)


@every_form
def test_the_model_is_differentiable_in_x_and_t(form, rng):
    x = torch.tensor(rng.standard_normal((2, D)), requires_grad=True)
    t = torch.tensor([0.6, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mixture(form).model(VP, "data"), (x, t))


def test_the_score_can_be_differentiated_twice(rng):
    x = torch.tensor(rng.standard_normal((2, D)), requires_grad=True)
    assert torch.autograd.gradgradcheck(mixture("isotropic").log_prob, (x,))


# the level


@every_form
def test_a_batch_of_times_is_a_loop_over_them(form, asarray, path, rng):
    bed, x = mixture(form), rng.standard_normal((4, D))
    t = np.array([float(path.t_at(v)) for v in (-1.5, 0.0, 0.7, 1.9)])
    model = bed.model(path, "data")
    found = arrays.to_numpy(model(asarray(x), asarray(t)))
    for i in range(4):
        alone = model(x[i : i + 1], float(t[i]))
        bound = 256 * EPS * (1 + np.abs(alone).max()) * size(bed, x)
        np.testing.assert_allclose(found[i : i + 1], alone, rtol=0, atol=bound)


@every_form
def test_the_law_at_a_level_through_another_is_the_law_at_the_level(form, rng):
    # a semigroup: noise on noise is noise
    bed, x, (t, s) = mixture(form), rng.standard_normal((6, D)), (0.7, 0.3)
    alpha = VP.alpha(t) / VP.alpha(s)
    sigma = math.sqrt(VP.sigma(t) ** 2 - (alpha * VP.sigma(s)) ** 2)

    class Between(paths.Path):
        def alpha(self, t):
            return alpha

        def sigma(self, t):
            return sigma

    once, twice = bed.at(VP, t).log_prob(x), bed.at(VP, s).at(Between(), 0.5).log_prob(x)
    np.testing.assert_allclose(twice, once, rtol=64 * EPS * size(bed, x))


@every_form
def test_all_paths_have_one_model(form, path, rng):
    bed, y = mixture(form), rng.standard_normal((5, D))
    t, s = float(path.t_at(0.3)), VP.t_at(0.3)
    found = bed.model(path, "data")(path.alpha(t) * y, t)
    expected = bed.model(VP, "data")(VP.alpha(s) * y, s)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1024 * EPS * size(bed, y))


def turned(bed, R, shift):
    """The law of R x + shift."""
    covs = R @ dense(bed) @ R.T
    covs = (covs + covs.transpose(0, 2, 1)) / 2
    return GaussianMixture(bed.weights, bed.means @ R.T + shift, covs)


@every_form
def test_a_rotated_and_shifted_law_has_the_rotated_score_and_denoiser(form, rng):
    bed, x, shift = mixture(form), rng.standard_normal((6, D)), np.array([1.0, -2.0, 0.5])
    R = np.linalg.qr(rng.standard_normal((D, D)))[0]
    other, moved = turned(bed, R, shift), x @ R.T + VP.alpha(0.4) * shift
    bound = 512 * EPS * size(other, moved)
    score = bed.model(VP, "score")(x, 0.4) @ R.T
    np.testing.assert_allclose(other.model(VP, "score")(moved, 0.4), score, rtol=0, atol=bound)
    data = bed.model(VP, "data")(x, 0.4) @ R.T + shift
    np.testing.assert_allclose(other.model(VP, "data")(moved, 0.4), data, rtol=0, atol=bound)


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations(FORMS[:3], 2)))
def test_one_law_in_two_forms_is_one_law(one, two, rng):
    w, m, v = [0.3, 0.7], rng.standard_normal((2, D)), np.array([0.4, 1.5])
    covs = {
        "full": v[:, None, None] * np.eye(D),
        "diagonal": np.repeat(v[:, None], D, 1),
        "isotropic": v,
    }
    x = rng.standard_normal((7, D))
    found, expected = (GaussianMixture(w, m, covs[f]).model(VP, "v")(x, 0.6) for f in (one, two))
    np.testing.assert_allclose(found, expected, rtol=0, atol=256 * EPS)


def test_a_low_rank_law_is_the_full_one(rng):
    low = mixture("low rank")
    full, x = GaussianMixture(low.weights, low.means, dense(low)), rng.standard_normal((7, D))
    for a, b in zip(low.log_prob_and_score(x), full.log_prob_and_score(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * EPS * size(low, x))


def test_factors_that_dwarf_the_diagonal_cost_no_digits_of_the_density():
    # v'G^{-1}v = 2.5e11 less nearly all of it would leave four digits of 1.25
    bed = GaussianMixture([1.0], [[0.0, 0.0]], LowRank([[1e-6, 1e-6]], [[[1e3], [0.0]]]))
    x, big = np.array([[500.0, 1e-3]]), 1e6 + 1e-6
    exact = -0.5 * (500**2 / big + 1 + math.log(big) + math.log(1e-6) + 2 * math.log(2 * math.pi))
    assert bed.log_prob(x)[0] == pytest.approx(exact, rel=64 * EPS)
    bound = 16 * EPS * 500 / 1e-6  # |S^{-1}| |x|
    np.testing.assert_allclose(bed.score(x), [[-500 / big, -1e3]], rtol=0, atol=bound)


def test_one_component_is_the_gaussian(rng, asarray):
    bed, x = mixture("full", k=1), rng.standard_normal((5, D))
    one = Gaussian(bed.means[0], bed.covs[0])
    for a, b in (
        (bed.model(VP)(asarray(x), 0.4), one.model(VP)(x, 0.4)),
        (bed.flow(VP)(asarray(x), 0.8, 0.1), one.flow(VP)(x, 0.8, 0.1)),
    ):
        np.testing.assert_allclose(arrays.to_numpy(a), b, rtol=0, atol=512 * EPS * size(bed, x))


def test_in_one_dimension_it_is_the_product_with_its_flow(rng):
    bed = GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [0.25, 0.09])
    one, x = mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3]), rng.standard_normal((9, 1))
    for name in ("model", "flow", "average_velocity"):
        times = (0.7,) if name == "model" else (0.7, 0.2)
        found, expected = (getattr(b, name)(VP)(x, *times) for b in (bed, one))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


# moments, samples, posteriors


def limit(tests):
    """The two-sided normal quantile at which all of these tests ring falsely once in 1e6 runs."""
    return norm.isf(1e-6 / tests / 2)


@every_form
def test_samples_have_the_moments_at_every_level(form, rng):
    n, t = 200_000, 0.3
    bed = mixture(form).at(VP, t)
    y = bed.sample(n, rng=rng) - bed.mean
    assert np.all(np.abs(y.mean(0)) * math.sqrt(n) / np.sqrt(np.diag(bed.cov)) < limit(D * 5))
    for i, j in itertools.combinations_with_replacement(range(D), 2):
        product = y[:, i] * y[:, j]
        assert abs(product.mean() - bed.cov[i, j]) * math.sqrt(n) / product.std() < limit(D * 5)


def test_samples_fall_to_the_components_by_their_weights(rng):
    n, w = 100_000, np.array([0.05, 0.2, 0.75])
    bed = GaussianMixture(w, [[-50.0], [0.0], [50.0]], [1.0, 1.0, 1.0])
    counts = np.bincount(np.digitize(bed.sample(n, rng=rng)[:, 0], [-25, 25]))
    assert ((counts - n * w) ** 2 / (n * w)).sum() < chi2.isf(1e-6, 2)


@every_form
def test_samples_are_of_the_kind_asked_for(form, asarray, rng):
    like = asarray(np.zeros(1, dtype=np.float32))
    x = mixture(form).sample(5, rng=rng, like=like)
    assert (type(x), x.dtype, tuple(x.shape)) == (type(like), like.dtype, (5, D))


@every_form
def test_the_posterior_is_bayes_rule(form, path, rng):
    # p(x_0 | x) p(x) = p(x_0) N(x; alpha x_0, sigma^2), with p(x) from the law at the level
    bed, t = mixture(form), float(path.t_at(0.4))
    x0, x = rng.standard_normal((2, 6, D))
    alpha, sigma = path.alpha(t), path.sigma(t)
    noise = norm.logpdf(x, alpha * x0, sigma).sum(1)
    found = bed.posterior(path, x, t)
    expected = bed.log_prob(x0) + noise - bed.at(path, t).log_prob(x)
    bound = 256 * EPS * size(bed, np.maximum(np.abs(x), np.abs(x0))) * (1 + 1 / sigma**2)
    np.testing.assert_allclose(found.log_prob(x0), expected, rtol=0, atol=bound)


@every_form
def test_the_posterior_density_is_that_of_its_own_components(form, rng):
    # the same density from weights, means and sigma^2 C S^{-1}, which Bayes' rule does not use
    bed, t, x, x0 = mixture(form), 0.4, rng.standard_normal((1, D)), rng.standard_normal((1, D))
    law, alpha, sigma = bed.posterior(VP, x, t), VP.alpha(t), VP.sigma(t)
    C = dense(bed)
    covs = sigma**2 * C @ np.linalg.inv(alpha**2 * C + sigma**2 * np.eye(D))
    covs = (covs + covs.transpose(0, 2, 1)) / 2
    own = GaussianMixture(law.weights[0], law.means[0], covs)
    bound = 1024 * EPS * size(own, x0)
    np.testing.assert_allclose(law.log_prob(x0), own.log_prob(x0), rtol=0, atol=bound)
    np.testing.assert_allclose(law.mean()[0], own.mean, rtol=0, atol=bound)
    np.testing.assert_allclose(law.covariance()[0], own.cov, rtol=0, atol=bound)


@every_form
def test_the_posterior_mean_is_the_denoiser(form, asarray, path, rng):
    bed, x = mixture(form), rng.standard_normal((4, D))
    t = np.array([float(path.t_at(v)) for v in (-1.0, 0.2, 0.9, 1.5)])
    found = arrays.to_numpy(bed.posterior(path, asarray(x), asarray(t)).mean())
    exact = bed.model(path, "data")(x, t)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1024 * EPS * size(bed, x))


@every_form
def test_the_posterior_covariance_is_the_jacobian_of_the_denoiser(form, asarray, rng):
    # Cov[x_0 | x_t] = (sigma^2 / alpha) d x0hat / dx
    bed, x, t = mixture(form), rng.standard_normal((3, D)), 0.4
    found = arrays.to_numpy(bed.posterior(VP, asarray(x), t).covariance())
    exact = VP.sigma(t) ** 2 / VP.alpha(t) * bed.jacobian(VP, x, t)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1024 * EPS * size(bed, x))


@every_form
def test_posterior_samples_have_the_posterior_moments(form, rng):
    n, x, t = 60_000, rng.standard_normal((2, D)), np.array([0.3, 0.5])
    law = mixture(form).posterior(VP, x, t)
    drawn, mean, cov = law.sample(n, rng=rng), law.mean(), law.covariance()
    assert drawn.shape == (n, 2, D)
    y, tests = drawn - mean, 2 * D * (D + 3) / 2
    std = np.sqrt(np.einsum("bii->bi", cov) / n)
    assert np.all(np.abs(y.mean(0)) / std < limit(tests))
    for i, j in itertools.combinations_with_replacement(range(D), 2):
        product = y[:, :, i] * y[:, :, j]
        error = (product.mean(0) - cov[:, i, j]) * math.sqrt(n) / product.std(0)
        assert np.all(np.abs(error) < limit(tests))


# classes


@pytest.fixture
def labelled():
    """Six components in three classes."""
    return mixture("full", 6, D, classes=[0, 1, 2, 0, 1, 0])


def test_the_model_given_a_class_is_that_of_its_law(labelled, asarray, rng):
    x = rng.standard_normal((5, D))
    for label in range(3):
        found = arrays.to_numpy(labelled.model(VP)(asarray(x), 0.4, label=label))
        exact = labelled.given(label).model(VP)(x, 0.4)
        np.testing.assert_allclose(found, exact, rtol=0, atol=256 * EPS * size(labelled, x))


def test_each_row_may_have_its_own_class_or_none(labelled, asarray, rng):
    x, labels = rng.standard_normal((4, D)), np.array([2, -1, 0, 1])
    model = labelled.model(VP)
    found = arrays.to_numpy(model(asarray(x), 0.4, label=asarray(labels)))
    for i, label in enumerate(labels.tolist()):
        alone = model(x[i : i + 1], 0.4, label=label)
        bound = 256 * EPS * size(labelled, x)
        np.testing.assert_allclose(found[i : i + 1], alone, rtol=0, atol=bound)


def test_the_classes_add_up_to_the_whole(labelled, asarray, rng):
    x = rng.standard_normal((5, D))
    log_p = arrays.to_numpy(labelled.class_log_probs(asarray(x)))
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1.0, rtol=64 * EPS * size(labelled, x))
    mass = np.bincount(labelled.classes, labelled.weights)
    for c in range(3):  # p(c | x) = p(c) p(x | c) / p(x)
        bayes = np.log(mass[c]) + labelled.given(c).log_prob(x) - labelled.log_prob(x)
        np.testing.assert_allclose(log_p[:, c], bayes, rtol=0, atol=64 * EPS * size(labelled, x))


def test_the_class_gradient_is_the_gradient_of_the_class_probability(labelled, rng):
    x = torch.tensor(rng.standard_normal((5, D)), requires_grad=True)
    log_p = labelled.at(VP, 0.4).class_log_probs(x)[:, 1]
    (exact,) = torch.autograd.grad(log_p.sum(), x)
    found = labelled.class_gradient(VP, 1)(x.detach(), 0.4)
    bound = 512 * EPS * size(labelled, x.detach().numpy())
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


def test_guidance_by_a_classifier_is_guidance_by_a_pair(labelled, rng):
    x, scale, free = rng.standard_normal((5, D)), 2.5, labelled.model(VP)
    pair = guided(free, free.given(label=2), scale)
    by_class = classifier_guided(free, labelled.class_gradient(VP, 2), scale)
    bound = 1024 * EPS * size(labelled, x)
    np.testing.assert_allclose(by_class(x, 0.4), pair(x, 0.4), rtol=0, atol=bound)


def test_a_class_of_no_weight_has_probability_zero():
    bed = GaussianMixture([0.0, 1.0], [[0.0], [0.0]], [1.0, 1.0], classes=[0, 1])
    assert bed.class_log_probs(np.zeros((1, 1))).tolist() == [[-np.inf, 0.0]]


# bad input


def test_what_is_singular_has_no_density_but_a_model():
    bed = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [0.0, 0.0])
    for call in (bed.log_prob, bed.score, bed.responsibilities):
        with pytest.raises(ValueError, match="covs must be positive definite"):
            call(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="t must be a level with noise"):
        bed.model(VP, "data")(np.zeros((1, 2)), 0.0)
    np.testing.assert_allclose(bed.model(EDM, "data")(np.array([[0.9, 0.9]]), 0.01), [[1.0, 1.0]])


BAD = [
    ({"weights": [0.5, 0.6]}, "weights"),
    ({"weights": [1.5, -0.5]}, "weights"),
    ({"weights": [math.nan, 1.0]}, "weights"),
    ({"weights": [[0.5, 0.5]]}, "weights"),
    ({"weights": []}, "weights"),
    ({"means": [[0.0, 0.0]]}, "means"),
    ({"means": [0.0, 1.0]}, "means"),
    ({"means": [[0.0, math.inf], [0.0, 0.0]]}, "means"),
    ({"covs": [1.0]}, "covs"),
    ({"covs": [1.0, -1.0]}, "covs"),
    ({"covs": [1.0, math.nan]}, "covs"),
    ({"covs": [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]}, "covs"),
    ({"covs": [[[1.0, 0.5], [0.0, 1.0]]] * 2}, "covs"),
    ({"covs": [[[1.0, 2.0], [2.0, 1.0]]] * 2}, "covs"),
    ({"covs": LowRank([[1.0, 1.0, 1.0]], [[[1.0]] * 3])}, "covs"),
    ({"classes": [0]}, "classes"),
    ({"classes": [0.0, 1.0]}, "classes"),
    ({"classes": [0, -1]}, "classes"),
]


@pytest.mark.parametrize(("change", "named"), BAD)
def test_what_is_no_mixture_is_named(change, named):
    good = {"weights": [0.5, 0.5], "means": [[0.0, 0.0], [1.0, 1.0]], "covs": [1.0, 1.0]}
    with pytest.raises(ValueError, match=f"GaussianMixture: {named} must be "):
        GaussianMixture(**{**good, **change})


@pytest.mark.parametrize(
    ("diagonal", "factors", "named"),
    [
        ([1.0, 1.0], [[[1.0], [1.0]]], "diagonal"),
        ([[1.0, -1.0]], [[[1.0], [1.0]]], "diagonal"),
        ([[1.0, math.nan]], [[[1.0], [1.0]]], "diagonal"),
        ([[1.0, 1.0]], [[[1.0]]], "factors"),
        ([[1.0, 1.0]], [[1.0, 1.0]], "factors"),
        ([[1.0, 1.0]], [[[math.inf], [1.0]]], "factors"),
    ],
)
def test_what_is_no_low_rank_form_is_named(diagonal, factors, named):
    with pytest.raises(ValueError, match=f"LowRank: {named} must be "):
        LowRank(diagonal, factors)


X = np.zeros((2, D))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda b: b.log_prob(np.zeros((2, 2))), "x"),
        (lambda b: b.score(np.zeros(3)), "x"),
        (lambda b: b.hessian_vector(X, np.zeros((2, 2))), "v"),
        (lambda b: b.at(VP, 1.5), "t"),
        (lambda b: b.model(VP)(X, math.nan), "t"),
        (lambda b: b.model(VP, "x0"), "prediction"),
        (lambda b: b.model(VP)(X, 0.5, label=3), "label"),
        (lambda b: b.model(VP)(X, 0.5, label=np.array([0, 7])), "label"),
        (lambda b: b.model(VP)(X, 0.5, label=np.array([0])), "label"),
        (lambda b: b.given(9), "label"),
        (lambda b: b.jacobian(VP, X, 0.5, "x0"), "prediction"),
        (lambda b: b.jvp(VP, X, 0.5, np.zeros((2, 2))), "v"),
        (lambda b: b.posterior(VP, X, -0.5), "t"),
        (lambda b: b.posterior(VP, X * math.nan, 0.5), "x"),
        (lambda b: b.posterior(VP, X, 0.5).sample(-1, rng=np.random.default_rng(0)), "n"),
        (lambda b: b.posterior(VP, X, 0.5).log_prob(np.zeros((2, 2))), "x0"),
        (lambda b: b.sample(-1, rng=np.random.default_rng(0)), "n"),
        (lambda b: b.flow(VP), "means"),
        (lambda b: mixture("full").given(0), "classes"),
        (lambda b: mixture("full").model(VP)(X, 0.5, label=0), "classes"),
        (lambda b: mixture("full").class_log_probs(X), "classes"),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(labelled, call, named):
    with pytest.raises(ValueError, match=rf": {named} must "):
        call(labelled)
