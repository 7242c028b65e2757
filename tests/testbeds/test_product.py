"""Mixtures and their rotated products against mpmath, torch's gradients, quadrature and samples."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from fewtheory import arrays, paths
from fewtheory.testbeds import ProductMixture, mixture_1d

EPS = np.finfo(np.float64).eps
VP, RF = paths.VPLinear(), paths.RectifiedFlow()
WORLDS = {
    "bimodal": mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3]),
    "one component": mixture_1d([1.0], [0.3], [0.7]),
    "far apart": mixture_1d([0.5, 0.5], [-5.0, 5.0], [0.1, 0.2]),
    "a weight of 1e-12": mixture_1d([1e-12, 1 - 1e-12], [4.0, 0.0], [0.1, 0.5]),
    "narrow and wide": mixture_1d([0.3, 0.7], [0.0, 0.1], [1e-3, 2.0]),
}


class Oracle:
    """The law of x_t of a 1-D mixture in mpmath: tails as tails, so that no digit is lost."""

    def __init__(self, bed, path, t):
        alpha, sigma = mp.mpf(path.alpha(t)), mp.mpf(path.sigma(t))
        self.parts = [
            (mp.mpf(w), alpha * mp.mpf(m), mp.sqrt((alpha * mp.mpf(s)) ** 2 + sigma**2))
            for w, m, s in zip(bed.weights[0], bed.means[0], bed.stds[0], strict=True)
        ]

    def mass(self, x, side):
        """P(X < x) for side = -1, P(X > x) for side = 1."""
        return sum(w * mp.erfc(side * (x - m) / s / mp.sqrt(2)) / 2 for w, m, s in self.parts)

    def density(self, x):
        return sum(w * mp.npdf(x, m, s) for w, m, s in self.parts)

    def image(self, x, other):
        """y with the same mass to its left (or its right, whichever is less) under `other`."""
        side = 1 if self.mass(x, 1) < mp.mpf("0.5") else -1
        target = self.mass(x, side)
        zetas = [(x - m) / s for _, m, s in self.parts]
        ends = [m + s * z for _, m, s in other.parts for z in (min(zetas), max(zetas))]
        low, high = min(ends) - mp.mpf("1e-3"), max(ends) + mp.mpf("1e-3")
        for _ in range(70):  # plain bisection, to 1e-19: nothing to go wrong on a plateau
            y = (low + high) / 2
            low, high = (y, high) if side * (other.mass(y, side) - target) > 0 else (low, y)
        return (low + high) / 2


@pytest.mark.parametrize("world", list(WORLDS))
@pytest.mark.parametrize(("t", "s"), [(0.9, 1e-3), (0.5, 0.05), (0.02, 0.7)])
def test_the_flow_map_is_the_inversion_at_high_precision(world, t, s):
    bed = WORLDS[world]
    mean, std = bed.at(VP, t).mean[0], math.sqrt(bed.at(VP, t).cov[0, 0])
    spread = np.array([-12.0, -5.0, -1.0, 0.0, 0.3, 2.0, 6.0, 12.0])
    middle = VP.alpha(t) * bed.means[0].mean()  # the gap between two modes
    x = np.append(mean + std * spread, [middle, middle + 1e-3])[:, None]
    found = bed.flow(VP)(x, t, s)[:, 0]
    with mp.workdps(220 if world == "far apart" else 40):  # the gap's mass: 1e-196 where it counts
        here, there = Oracle(bed, VP, t), Oracle(bed, VP, s)
        exact = [here.image(mp.mpf(v), there) for v in x[:, 0].tolist()]
        slope = [
            float(here.density(mp.mpf(v)) / there.density(y))
            for v, y in zip(x[:, 0].tolist(), exact, strict=True)
        ]
        error = [abs(float(y - f)) for y, f in zip(exact, found.tolist(), strict=True)]
    assert np.all(np.array(error) <= 1e-12 * np.maximum(1, slope))  # the stated bound


@st.composite
def mixtures(draw):
    """1-D mixtures of up to four components, weights down to 1e-12, stds from 0.01 to 1."""
    k = draw(st.integers(1, 4))
    raw = np.array([10.0 ** draw(st.integers(-12, 0)) for _ in range(k)])
    means = [draw(st.floats(-3, 3)) for _ in range(k)]
    stds = [10.0 ** draw(st.floats(-2, 0)) for _ in range(k)]
    return mixture_1d(raw / raw.sum(), means, stds)


def density_ratio(bed, path, x, t, y, s):
    """dPhi/dx = p_t(x) / p_s(y)."""
    return np.exp(bed.at(path, t).log_prob(x) - bed.at(path, s).log_prob(y))[:, None]


@given(mixtures(), st.floats(0.05, 0.99), st.floats(0.02, 0.9), st.floats(-4, 4))
@settings(deadline=None, max_examples=40)
def test_the_flow_back_undoes_the_flow(bed, t, s, z):
    x = np.array([[bed.at(VP, t).mean[0] + z * math.sqrt(bed.at(VP, t).cov[0, 0])]])
    flow = bed.flow(VP)
    y = flow(x, t, s)
    slope = density_ratio(bed, VP, x, t, y, s)
    # each flow is off by 1e-12 max(1, its slope); the first error returns over the slope
    bound = 2e-12 * (np.maximum(1, slope) / slope + np.maximum(1, 1 / slope))
    assert np.all(np.abs(flow(y, s, t) - x) <= bound)


@given(mixtures(), st.floats(-4, 4))
@settings(deadline=None, max_examples=40)
def test_the_flow_through_a_time_between_is_the_flow(bed, z):
    t, r, s = 0.9, 0.5, 0.1
    x = np.array([[bed.at(VP, t).mean[0] + z * math.sqrt(bed.at(VP, t).cov[0, 0])]])
    flow = bed.flow(VP)
    middle, y = flow(x, t, r), flow(x, t, s)
    onward = density_ratio(bed, VP, middle, r, y, s)
    whole = density_ratio(bed, VP, x, t, y, s)
    first = density_ratio(bed, VP, x, t, middle, r)
    bound = 2e-12 * (np.maximum(1, whole) + np.maximum(1, onward) + onward * np.maximum(1, first))
    assert np.all(np.abs(flow(middle, r, s) - y) <= bound)


@given(mixtures(), st.floats(0.05, 0.95), st.floats(-6, 6))
@settings(deadline=None, max_examples=40)
def test_the_score_is_the_gradient_of_the_log_density(bed, t, x):
    point = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(bed.at(VP, t).log_prob(point).sum(), point)
    score = bed.model(VP, "score")(point.detach(), t)
    at = bed.at(VP, t)
    # the weights are exponentials of squares: their relative error is eps times the exponent
    worst = np.abs((x - at.means) / at.stds).max()
    bound = 16 * EPS * (1 + worst**2) * (1 + worst / at.stds.min())
    assert abs(float(score) - float(grad)) <= bound


def test_the_score_in_three_dimensions_is_the_gradient(rotated, path, rng):
    t = float(path.t_at(0.5))
    x = torch.tensor(rng.standard_normal((6, 3)), requires_grad=True)
    (grad,) = torch.autograd.grad(rotated.at(path, t).log_prob(x).sum(), x)
    found = rotated.model(path, "score")(x.detach(), t)
    np.testing.assert_allclose(found, grad, rtol=0, atol=2048 * EPS * float(grad.abs().max()))


def test_the_flow_moves_with_the_velocity(rotated, path, rng):
    t, lam = float(path.t_at(-0.5)), 0.8
    x, n = torch.tensor(rng.standard_normal((5, 3))), 5
    s = torch.full((n,), float(path.t_at(lam)), dtype=torch.float64, requires_grad=True)
    y = rotated.flow(path)(x, t, s)
    slope = [torch.autograd.grad(y[:, j].sum(), s, retain_graph=True)[0] for j in range(3)]
    velocity = rotated.model(path, "velocity")(y.detach(), s.detach())
    bound = 4096 * EPS * float(velocity.abs().max())
    np.testing.assert_allclose(torch.stack(slope, 1), velocity, rtol=0, atol=bound)


def test_the_derivative_in_x_is_the_ratio_of_densities(bimodal, rng):
    x = torch.tensor(rng.standard_normal((6, 1)), requires_grad=True)
    y = bimodal.flow(VP)(x, 0.7, 0.1)
    (slope,) = torch.autograd.grad(y.sum(), x)
    x, y = x.detach().numpy(), y.detach().numpy()
    expected = density_ratio(bimodal, VP, x, 0.7, y, 0.1)
    np.testing.assert_allclose(slope, expected, rtol=1e-10)  # y is off by 1e-12, and p_s has slope


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_the_flow_is_differentiable_in_x_t_and_s(rotated, check, rng):
    x = torch.tensor(rng.standard_normal((2, 3)), requires_grad=True)
    t = torch.tensor([0.6, 0.4], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([0.2, 0.5], dtype=torch.float64, requires_grad=True)
    assert check(rotated.flow(RF), (x, t, s))


def test_forward_mode_is_the_derivative_in_every_argument(bimodal):
    # MeanFlow's total derivative d/dt along (v, 1, 0) of the exact flow map is zero
    x = torch.tensor([[0.3], [-1.0]], dtype=torch.float64)
    t, s = (torch.full((2,), v, dtype=torch.float64) for v in (0.6, 0.2))
    v = bimodal.model(RF, "velocity")(x, t)
    tangents = (v, torch.ones_like(t), torch.zeros_like(s))
    _, moved = torch.func.jvp(bimodal.flow(RF), (x, t, s), tangents)
    np.testing.assert_allclose(moved, 0.0, atol=1e-11)


def test_the_model_is_differentiable_in_x_and_t(rotated, rng):
    x = torch.tensor(rng.standard_normal((2, 3)), requires_grad=True)
    t = torch.tensor([0.6, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotated.model(VP, "data"), (x, t))


def test_the_average_velocity_is_the_displacement_over_time(rotated, rng):
    x, t, s = rng.standard_normal((4, 3)), 0.8, 0.3
    u = rotated.average_velocity(RF)(x, t, s)
    np.testing.assert_allclose(
        x + (s - t) * u, rotated.flow(RF)(x, t, s), rtol=0, atol=32 * EPS * 8
    )


def test_the_average_velocity_over_no_time_is_the_velocity(rotated, rng):
    x, t = rng.standard_normal((3, 3)), np.array([0.2, 0.5, 0.7])
    u = rotated.average_velocity(RF)(x, t, t)
    v = rotated.model(RF, "velocity")(x, t)
    np.testing.assert_allclose(u, v, rtol=0, atol=64 * EPS * np.abs(v).max())


def test_the_average_velocity_is_the_mean_of_the_velocity_along_the_flow(bimodal):
    x, t, s = np.array([[0.4]]), 0.8, 0.3
    flow, v = bimodal.flow(RF), bimodal.model(RF, "velocity")
    total, error = quad(lambda r: v(flow(x, t, r), r)[0, 0], t, s, epsabs=1e-12)
    u = bimodal.average_velocity(RF)(x, t, s)[0, 0]
    assert u == pytest.approx(total / (s - t), abs=4 * (error + 1e-12) / abs(s - t))


@pytest.mark.parametrize("x", [-4.0, -0.2, 0.1, 2.5])
@pytest.mark.parametrize("t", [0.1, 0.6])
def test_the_posterior_is_bayes_rule(bimodal, x, t):
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    scale = math.exp(bimodal.at(VP, t).log_prob(np.array([[x]]))[0])

    def joint(x0):
        prior = math.exp(bimodal.log_prob(np.array([[x0]]))[0])
        return prior * norm.pdf(x, alpha * x0, sigma) / scale

    points = [-1.0, 1.5, x / alpha] if abs(x / alpha) < 9 else [-1.0, 1.5]
    numbers = [
        quad(lambda u, k=k: u**k * joint(u), -9, 9, points=points, limit=200) for k in range(3)
    ]
    (mass, e0), (mean, e1), (second, e2) = numbers
    found = bimodal.posterior(VP, np.array([[x]]), t)
    assert mass == pytest.approx(1, abs=1e-8)
    assert found.mean()[0, 0] == pytest.approx(mean, abs=1e-8 + 2 * e1)
    assert found.covariance()[0, 0, 0] == pytest.approx(second - mean**2, abs=1e-7 + 2 * (e0 + e2))
    density = math.exp(found.log_prob(np.array([[0.7]]))[0])
    assert density == pytest.approx(joint(0.7), rel=1e-10)


def test_the_posterior_mean_is_the_denoiser(rotated, path, asarray, rng):
    t, x = float(path.t_at(0.3)), rng.standard_normal((4, 3))
    found = arrays.to_numpy(rotated.posterior(path, asarray(x), t).mean())
    denoised = rotated.model(path, "data")(x, t)
    bound = 256 * EPS * (1 + np.abs(x).max() / path.alpha(t)) * 4
    np.testing.assert_allclose(found, denoised, rtol=0, atol=bound)


def test_the_posterior_covariance_is_the_jacobian_of_the_denoiser(rotated, rng):
    # Cov[x_0 | x_t] = (sigma^2 / alpha) d x0hat / dx
    t, x = 0.4, torch.tensor(rng.standard_normal((1, 3)))
    jacobian = torch.autograd.functional.jacobian(lambda u: rotated.model(VP, "data")(u, t), x)
    expected = VP.sigma(t) ** 2 / VP.alpha(t) * jacobian[0, :, 0, :]
    found = rotated.posterior(VP, x, t).covariance()[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=4096 * EPS)


def test_posterior_samples_have_the_posterior_moments(rotated, rng):
    n, x = 100_000, np.array([[0.3, -0.5, 1.0], [2.0, 0.0, -1.0]])
    law = rotated.posterior(VP, x, 0.4)
    drawn, mean, cov = law.sample(n, rng=rng), law.mean(), law.covariance()
    assert drawn.shape == (n, 2, 3)
    limit = norm.isf(1e-6 / 6 / 2)
    std = np.sqrt(np.einsum("bii->bi", cov) / n)
    assert np.all(np.abs(drawn.mean(0) - mean) / std < limit)
    squares = (drawn - mean) ** 2
    spread = squares.std(0) / math.sqrt(n)
    assert np.all(np.abs(squares.mean(0) - np.einsum("bii->bi", cov)) / spread < limit)


def test_posterior_density_of_a_padded_law_is_the_unpadded_one(asarray):
    padded = mixture_1d([0.4, 0.6, 0.0], [-1.0, 1.5, 0.0], [0.5, 0.3, 1.0])
    x, x0 = asarray([[0.3]]), asarray([[0.7]])
    plain = WORLDS["bimodal"].posterior(VP, x, 0.4).log_prob(x0)
    found = padded.posterior(VP, x, 0.4).log_prob(x0)
    assert float(found[0]) == pytest.approx(float(plain[0]), rel=8 * EPS)


def test_samples_have_the_mean_and_the_covariance(rotated, rng):
    n = 200_000
    x = rotated.sample(n, rng=rng)
    limit = norm.isf(1e-6 / 9 / 2)  # two-sided over nine numbers
    y = x - rotated.mean
    assert np.all(np.abs(y.mean(0)) * math.sqrt(n) / np.sqrt(np.diag(rotated.cov)) < limit)
    for i, j in zip(*np.triu_indices(3), strict=True):
        product = y[:, i] * y[:, j]
        assert abs(product.mean() - rotated.cov[i, j]) * math.sqrt(n) / product.std() < limit


def test_samples_fall_into_the_modes_by_their_weights(rng):
    n, bed = 200_000, WORLDS["far apart"]
    right = (bed.sample(n, rng=rng)[:, 0] > 0).sum()
    assert abs(right - n / 2) / math.sqrt(n / 4) < norm.isf(1e-6 / 2)


def test_samples_are_of_the_kind_asked_for(rotated, asarray, rng):
    like = asarray(np.zeros(1, dtype=np.float32))
    x = rotated.sample(5, rng=rng, like=like)
    assert type(x) is type(like)
    assert x.dtype == like.dtype


def test_quantiles_have_the_probability_that_they_say(bimodal, asarray):
    p = np.array([1e-12, 0.01, 0.4, 0.5, 0.9999])[:, None]
    x = arrays.to_numpy(bimodal.quantile(asarray(p)))[:, 0]
    cdf = sum(
        w * norm.cdf(x, m, s)
        for w, m, s in zip(bimodal.weights[0], bimodal.means[0], bimodal.stds[0], strict=True)
    )
    density = np.exp(bimodal.log_prob(x[:, None]))
    # x = F^{-1}(p) to 1e-12 max(1, slope of the map from the normal)
    slope = norm.pdf(norm.ppf(p[:, 0])) / density
    assert np.all(
        np.abs(cdf - p[:, 0]) <= 2e-12 * np.maximum(1, slope) * density + 8 * EPS * p[:, 0]
    )


def test_a_rotated_product_has_the_rotated_score_flow_and_samples(rotated, rng):
    plain = ProductMixture(rotated.weights, rotated.means, rotated.stds)
    R, z = rotated.rotation, rng.standard_normal((4, 3))
    for one, two in (
        (rotated.model(VP, "score")(z @ R.T, 0.3), plain.model(VP, "score")(z, 0.3)),
        (rotated.flow(VP)(z @ R.T, 0.8, 0.1), plain.flow(VP)(z, 0.8, 0.1)),
        (
            rotated.sample(9, rng=np.random.default_rng(1)),
            plain.sample(9, rng=np.random.default_rng(1)),
        ),
    ):
        np.testing.assert_allclose(one, two @ R.T, rtol=0, atol=1e-11 * (1 + np.abs(two).max()))


def test_a_batch_of_times_is_a_loop_over_them(rotated, asarray, rng):
    x, t, s = rng.standard_normal((3, 3)), np.array([0.9, 0.5, 0.2]), np.array([0.1, 0.7, 0.2])
    flow = rotated.flow(VP)
    found = arrays.to_numpy(flow(asarray(x), asarray(t), asarray(s)))
    for i in range(3):
        alone = flow(x[i : i + 1], float(t[i]), float(s[i]))
        np.testing.assert_allclose(found[i : i + 1], alone, rtol=0, atol=1e-11)


def test_a_flow_in_single_precision_is_the_one_in_double_rounded(bimodal, asarray):
    x = np.array([[-3.0], [-0.4], [0.2], [5.0]], dtype=np.float32)
    found = bimodal.flow(VP)(asarray(x), 0.8, 0.01)
    exact = bimodal.flow(VP)(x.astype(np.float64), 0.8, 0.01)
    assert found.dtype == asarray(x).dtype
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=np.finfo(np.float32).eps)


@pytest.mark.parametrize("prediction", ["score", "data", "velocity"])
def test_a_model_in_single_precision_is_near_the_one_in_double(rotated, asarray, prediction, rng):
    x = rng.standard_normal((4, 3)).astype(np.float32)
    found = rotated.model(VP, prediction)(asarray(x), 0.4)
    exact = rotated.model(VP, prediction)(x.astype(np.float64), 0.4)
    assert found.dtype == asarray(x).dtype
    worst = np.abs(rotated.means).max() + 4  # zeta^2 / 2 in an exponent, as in double precision
    bound = 16 * np.finfo(np.float32).eps * (1 + worst**2) * (1 + np.abs(exact).max())
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("method", ["log_prob", "score", "flow", "sample", "posterior"])
def test_padding_with_weight_zero_changes_nothing(bimodal, asarray, method):
    padded = mixture_1d([0.4, 0.6, 0.0], [-1.0, 1.5, 90.0], [0.5, 0.3, 1e-3])
    x = asarray([[-3.0], [0.1], [2.0]])
    calls = {
        "log_prob": lambda bed: bed.log_prob(x),
        "score": lambda bed: bed.model(VP, "score")(x, 0.3),
        "flow": lambda bed: bed.flow(VP)(x, 0.8, 0.1),
        "sample": lambda bed: bed.sample(50, rng=np.random.default_rng(2), like=x),
        "posterior": lambda bed: bed.posterior(VP, x, 0.5).covariance(),
    }
    found, expected = (arrays.to_numpy(calls[method](bed)) for bed in (padded, bimodal))
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_gradients_do_not_see_padding():
    padded = mixture_1d([0.4, 0.6, 0.0], [-1.0, 1.5, 90.0], [0.5, 0.3, 1e-3])
    x = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    for y in (padded.log_prob(x), padded.flow(VP)(x, 0.8, 0.1)):
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert torch.isfinite(grad).all()


class Last(np.random.Generator):
    """A generator whose uniform draw is the largest float64 below 1."""

    def random(self, size=None, **_):
        return np.full(size, np.nextafter(1.0, 0.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_component_of_weight_zero_is_never_drawn(dtype):
    bed = mixture_1d([0.1] * 10 + [0.0], [0.0] * 10 + [1e6], [1.0] * 11)
    x = bed.sample(3, rng=Last(np.random.PCG64(0)), like=np.zeros(1, dtype=dtype))
    assert np.all(np.abs(x) < 100)


@pytest.mark.parametrize(
    ("weights", "means", "stds", "named"),
    [
        ([0.5, 0.6], [0.0, 1.0], [1.0, 1.0], "weights"),
        ([1.5, -0.5], [0.0, 1.0], [1.0, 1.0], "weights"),
        ([math.nan, 1.0], [0.0, 1.0], [1.0, 1.0], "weights"),
        ([], [], [], "weights"),
        ([0.5, 0.5], [0.0], [1.0, 1.0], "means"),
        ([0.5, 0.5], [0.0, math.inf], [1.0, 1.0], "means"),
        ([0.5, 0.5], [0.0, 1.0], [1.0, 0.0], "stds"),
        ([0.5, 0.5], [0.0, 1.0], [1.0, -1.0], "stds"),
        ([0.5, 0.5], [0.0, 1.0], [1.0], "stds"),
    ],
)
def test_what_is_no_mixture_is_named(weights, means, stds, named):
    with pytest.raises(ValueError, match=f"ProductMixture: {named} must be "):
        mixture_1d(weights, means, stds)


@pytest.mark.parametrize("rotation", [np.eye(2), 2 * np.eye(1), [[math.nan]], [1.0]])
def test_what_is_no_rotation_is_named(rotation):
    with pytest.raises(ValueError, match="ProductMixture: rotation must be "):
        ProductMixture([[1.0]], [[0.0]], [[1.0]], rotation)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda b: b.at(VP, -0.1), "t"),
        (lambda b: b.log_prob(np.zeros((2, 2))), "x"),
        (lambda b: b.model(VP)(np.zeros((2, 2)), 0.5), "x"),
        (lambda b: b.model(VP, "x0"), "prediction"),
        (lambda b: b.flow(VP)(np.zeros((2, 2)), 0.5, 0.1), "x"),
        (lambda b: b.flow(VP)(np.array([[math.nan]]), 0.5, 0.1), "x"),
        (lambda b: b.flow(VP)(np.array([[math.inf]]), 0.5, 0.1), "x"),
        (lambda b: b.flow(VP)(np.zeros((2, 1)), math.nan, 0.1), "t"),
        (lambda b: b.flow(VP)(np.zeros((2, 1)), 0.5, 1.1), "s"),
        (lambda b: b.flow(VP)(np.zeros((2, 1)), 0.5, np.full((2, 1), 0.5)), "s"),
        (lambda b: b.average_velocity(VP)(np.zeros((2, 1)), 1.5, 0.5), "t"),
        (lambda b: b.posterior(VP, np.zeros((2, 1)), 1.5), "t"),
        (
            lambda b: b.posterior(VP, np.zeros((2, 1)), 0.5).sample(
                -1, rng=np.random.default_rng(0)
            ),
            "n",
        ),
        (lambda b: b.quantile(np.array([[0.0]])), "p"),
        (lambda b: b.quantile(np.array([[1.0]])), "p"),
        (lambda b: b.quantile(np.array([[math.nan]])), "p"),
        (lambda b: b.sample(-1, rng=np.random.default_rng(0)), "n"),
    ],
)
def test_a_bad_argument_is_named(bimodal, call, named):
    with pytest.raises(ValueError, match=rf": {named} must "):
        call(bimodal)
