"""Testbeds fitted to data: moments are kept, a known mixture is found again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fewtheory.testbeds import fit_gaussian, fit_product_mixture, mixture_1d


def test_the_gaussian_has_the_sample_moments(rng):
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + [1.0, -2.0, 0.5]
    bed = fit_gaussian(x)
    np.testing.assert_allclose(bed.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(bed.cov, np.cov(x.T, bias=True), rtol=1e-12)


def test_the_product_mixture_keeps_mean_and_covariance(rng):
    # EM's fixed point matches the first two moments of each coordinate exactly; the principal axes
    # make the coordinates uncorrelated
    x = rng.normal(size=(400, 4)) ** 3 @ rng.normal(size=(4, 4))
    bed = fit_product_mixture(x, components=2)
    scale = np.abs(np.cov(x.T)).max()
    np.testing.assert_allclose(bed.mean, x.mean(0), atol=1e-10 * scale)
    np.testing.assert_allclose(bed.cov, np.cov(x.T, bias=True), atol=1e-8 * scale)


def test_a_known_mixture_is_found_again(rng):
    truth = mixture_1d([0.3, 0.7], [-2.0, 1.0], [0.3, 0.5])
    n = 20_000
    bed = fit_product_mixture(truth.sample(n, rng=rng), components=2)
    # separated components: the estimates are within 5 standard errors std / sqrt(n w)
    sign = 1.0 if bed.rotation is None else float(bed.rotation[0, 0])
    order = np.argsort(sign * bed.means[0])
    for k, j in enumerate(order):
        error = truth.stds[0, k] / np.sqrt(n * truth.weights[0, k])
        assert abs(sign * bed.means[0, j] - truth.means[0, k]) < 5 * error
        assert abs(bed.stds[0, j] - truth.stds[0, k]) < 5 * error
        assert abs(bed.weights[0, j] - truth.weights[0, k]) < 5 * np.sqrt(0.21 / n)


def test_more_iterations_never_lower_the_likelihood(rng):
    x = rng.standard_t(4, size=(300, 2))
    fits = [fit_product_mixture(x, components=3, iterations=k) for k in (1, 2, 4, 8, 16)]
    likelihood = [float(f.log_prob(x).sum()) for f in fits]
    # EM is monotone; the floor on the standard deviations is not reached here
    assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(likelihood))


def test_constant_coordinates_get_a_floor(rng):
    x = np.column_stack([rng.normal(size=200), np.full(200, 3.0)])
    bed = fit_product_mixture(x, components=2)
    assert np.all(bed.stds > 0)
    np.testing.assert_allclose(bed.mean[1], 3.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"x": np.zeros(5)}, "x"),
        ({"x": np.array([[1.0, np.nan], [0.0, 1.0]])}, "x"),
        ({"components": 0}, "components"),
        ({"components": 2.5}, "components"),
        ({"iterations": 0}, "iterations"),
        ({"floor": -0.1}, "floor"),
    ],
)
def test_bad_input_is_named(change, name):
    given = {"x": np.eye(4), "components": 2, **change}
    with pytest.raises((ValueError, TypeError), match=name):
        fit_product_mixture(**given)
