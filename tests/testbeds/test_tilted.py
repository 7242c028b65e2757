"""Tilted laws against quadrature, against each other, and where they have no normaliser."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import arrays, paths
from fewtheory.testbeds import Gaussian, GaussianMixture
from fewtheory.testbeds.tilted import (
    Reward,
    geometric_average,
    power,
    power_product,
    product,
    reward_tilt,
)

EPS = np.finfo(np.float64).eps
VP = paths.VPLinear()
ONE = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.5, 0.0]], [[0.3, 0.5], [0.2, 0.4]])
TWO = GaussianMixture([0.6, 0.4], [[0.0, 0.0], [1.0, -1.0]], [0.5, 0.8])
BLOB = Gaussian([0.5, -0.5], [[0.6, 0.2], [0.2, 0.5]])
WIDE = Gaussian([0.0, 0.2], 1.5)
LINE = np.linspace(-13.0, 13.0, 521)
GRID = np.stack(np.meshgrid(LINE, LINE, indexing="ij"), -1).reshape(-1, 2)
CELL = (LINE[1] - LINE[0]) ** 2  # the trapezoidal rule on Gaussians this wide: exact to rounding


def same_law(found, log_density):
    """The tilted law is exp(log_density) / Z, normaliser, mean and covariance by quadrature."""
    values = log_density(GRID)
    top = values.max()
    mass = np.exp(values - top) * CELL
    z = mass.sum()
    bound = 1e-11  # sums of 1e5 numbers, exponents up to 1e3
    assert abs(found.log_normaliser - (top + math.log(z))) <= bound
    mean = mass @ GRID / z
    np.testing.assert_allclose(found.law.mean, mean, rtol=0, atol=bound)
    cov = (mass[:, None] * (GRID - mean)).T @ (GRID - mean) / z
    np.testing.assert_allclose(found.law.cov, cov, rtol=0, atol=10 * bound)
    near = GRID[::997]
    expected = log_density(near) - found.log_normaliser
    np.testing.assert_allclose(found.law.log_prob(near), expected, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("tau", [0.5, 1.0, 3.0])
def test_a_reward_tilts_the_density(tau):
    reward = Reward([1.0, -0.5], [[0.4, 0.3], [0.3, -0.2]], 0.7)
    same_law(reward_tilt(ONE, reward, tau), lambda x: ONE.log_prob(x) + reward(x) / tau)


def test_a_product_multiplies_the_densities():
    same_law(product(ONE, TWO), lambda x: ONE.log_prob(x) + TWO.log_prob(x))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_power_of_a_mixture_is_multiplied_out(n):
    same_law(power(ONE, n), lambda x: n * ONE.log_prob(x))


@pytest.mark.parametrize("exponent", [0.5, 1.7, 4.0])
def test_a_gaussian_has_any_positive_power(exponent):
    same_law(power(BLOB, exponent), lambda x: exponent * BLOB.log_prob(x))


@pytest.mark.parametrize("weight", [-0.1, 0.0, 0.3, 1.0, 2.5])
def test_a_geometric_average_goes_beyond_its_ends(weight):
    found = geometric_average(WIDE, BLOB, weight)
    same_law(found, lambda x: (1 - weight) * WIDE.log_prob(x) + weight * BLOB.log_prob(x))


def test_a_mixture_squared_over_a_wide_gaussian_is_a_law():
    found = power_product([ONE, WIDE], [2, -0.5])
    same_law(found, lambda x: 2 * ONE.log_prob(x) - 0.5 * WIDE.log_prob(x))


def test_the_cube_of_the_bimodal_law_is_the_known_one():
    # sheet `fkc`, C6, "truth by expanding the cube", at the last level of its path, sigma = 0.02
    data = GaussianMixture([0.5, 0.5], [[-2.0], [2.0]], [0.09, 1.0])
    bed = data.at(paths.EDM(), 0.02)
    cube = power(bed, 3)
    assert cube.log_normaliser == pytest.approx(-1.976130727613, abs=1e-12)
    z = -cube.law.means[:, 0] / np.sqrt(np.reshape(cube.law.covs, -1))
    below = cube.law.weights @ np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z])
    assert below == pytest.approx(0.917186208619, abs=1e-12)


def test_a_singular_component_may_be_tilted():
    flat = GaussianMixture([0.5, 0.5], [[0.0, 1.0], [1.0, -1.0]], [[0.5, 0.0], [0.3, 0.0]])
    thin = GaussianMixture(flat.weights, flat.means, np.add(flat.covs, [0.0, 1e-10]))
    reward = Reward([1.0, 0.5], [[0.3, 0.1], [0.1, 0.2]])
    one, other = reward_tilt(flat, reward), reward_tilt(thin, reward)
    assert one.log_normaliser == pytest.approx(other.log_normaliser, abs=1e-9)  # the covariance
    np.testing.assert_allclose(one.law.means, other.law.means, rtol=0, atol=1e-9)


@given(st.floats(-2, 2), st.floats(-0.5, 2), st.floats(0.3, 3))
@settings(deadline=None, max_examples=40)
def test_the_tilted_law_is_optimal(slope, bend, tau):
    # E r - tau KL(q || p) is tau log Z at the tilted law and less at p itself
    reward = Reward([slope, 0.5], bend * np.eye(2))
    tilted = reward_tilt(ONE, reward, tau)
    value = tilted.expected_reward - tau * tilted.kl_to_base
    size = 64 * EPS * (1 + abs(value) + abs(tilted.expected_reward) + tau)
    assert abs(value - tau * tilted.log_normaliser) <= size
    assert tilted.kl_to_base >= -size / tau
    assert reward.mean(ONE) <= tau * tilted.log_normaliser + size


def test_kl_to_the_base_is_the_integral_that_defines_it():
    tilted = reward_tilt(ONE, Reward([1.0, 0.3], 0.2 * np.eye(2)), 0.8)
    log_q = tilted.law.log_prob(GRID)
    kl = (np.exp(log_q) * (log_q - ONE.log_prob(GRID))).sum() * CELL
    assert tilted.kl_to_base == pytest.approx(kl, abs=1e-11)


@pytest.mark.parametrize("t", [0.2, 0.6])
def test_the_soft_value_is_a_posterior_expectation(t, rng):
    reward, tau = Reward([1.0, 0.3], 0.2 * np.eye(2)), 0.8
    tilted, x = reward_tilt(ONE, reward, tau), rng.standard_normal((3, 2))
    found = tilted.soft_value(VP, x, t)
    for i in range(3):
        log_post = ONE.posterior(VP, np.repeat(x[i : i + 1], len(GRID), 0), t).log_prob(GRID)
        exact = tau * math.log(np.exp(log_post + reward(GRID) / tau).sum() * CELL)
        assert found[i] == pytest.approx(exact, abs=1e-10)


def test_means_far_apart_keep_the_digits_of_the_normaliser():
    # exp(-|m - m'|^2 / (2 (C + C'))): the exponent is 1e6, its terms in x are 1e12 larger
    far = GaussianMixture([1.0], [[1e6]], [1.0]), GaussianMixture([1.0], [[1e6 + 1e3]], [3.0])
    exact = -0.5 * (1e6 / 4 + math.log(2 * math.pi * 4))
    assert product(*far).log_normaliser == pytest.approx(exact, rel=16 * EPS)


def test_a_reward_is_an_array_function(asarray, rng):
    reward, x = Reward([1.0, -2.0], [[1.0, 0.5], [0.5, 2.0]], 3.0), rng.standard_normal((4, 2))
    expected = [3 + v @ [1.0, -2.0] - 0.5 * v @ [[1.0, 0.5], [0.5, 2.0]] @ v for v in x]
    found = reward(asarray(x))
    assert type(found) is type(asarray(x))
    np.testing.assert_allclose(arrays.to_numpy(found), expected, rtol=0, atol=64 * EPS * 10)


def test_a_reward_is_differentiable():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(Reward([1.0, 0.0], 2 * np.eye(2))(x).sum(), x)
    assert grad.tolist() == [[-1.0, -4.0]]


def test_classes_survive_a_reward():
    bed = GaussianMixture([0.5, 0.5], [[0.0], [1.0]], [1.0, 1.0], classes=[1, 0])
    assert reward_tilt(bed, Reward([1.0])).law.classes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Reward([[1.0]]), "Reward: linear"),
        (lambda: Reward([math.nan]), "Reward: linear"),
        (lambda: Reward([1.0, 0.0], [[1.0]]), "Reward: quadratic"),
        (lambda: Reward([1.0, 0.0], [[1.0, 1.0], [0.0, 1.0]]), "Reward: quadratic"),
        (lambda: Reward([1.0], None, math.inf), "Reward: constant"),
        (lambda: Reward([1.0])(np.zeros((2, 2))), "Reward: x"),
        (lambda: reward_tilt(ONE, Reward([1.0])), "reward_tilt: reward"),
        (lambda: reward_tilt(ONE, Reward([0.0, 0.0], -9 * np.eye(2))), "reward_tilt: reward"),
        (lambda: reward_tilt(ONE, Reward([1.0, 0.0]), 0.0), "reward_tilt: tau"),
        (lambda: reward_tilt(ONE, Reward([1.0, 0.0]), math.nan), "reward_tilt: tau"),
        (lambda: power(ONE, 0.5), "power_product: exponents"),
        (lambda: power(ONE, -1), "power_product: exponents"),
        (lambda: power(ONE, 0), "power_product: exponents"),
        (lambda: power(BLOB, 0.0), "power_product: exponents"),
        (lambda: power(BLOB, math.nan), "power_product: exponents"),
        (lambda: power(ONE, 30_000), "power_product: exponents"),
        (lambda: geometric_average(WIDE, BLOB, -9.0), "power_product: exponents"),
        (lambda: power_product([ONE], [1, 1]), "power_product: exponents"),
        (lambda: power_product([], []), "power_product: exponents"),
        (lambda: product(ONE, Gaussian([0.0], 1.0)), "power_product: laws"),
        (lambda: product(ONE, Gaussian([0.0, 0.0], 0.0)), "power_product: laws"),
    ],
)
def test_a_bad_argument_is_named(call, named):
    with pytest.raises(ValueError, match=f"{named} must "):
        call()


def test_what_is_no_law_is_refused():
    with pytest.raises(TypeError, match="laws must be Gaussians or mixtures, got list"):
        power([0.5, 0.5], 2)
