"""Distances between Gaussians against quadrature, mpmath and transport in one dimension."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from fewtheory.metrics import gaussian_kl_terms, gaussian_w2_terms

EPS = np.finfo(np.float64).eps
means, variances = st.floats(-5, 5), st.floats(1e-6, 1e6)


def one(function, *numbers):
    return float(function(*(np.array([v]) for v in numbers))[0])


@given(means, variances)
@settings(deadline=None, max_examples=40)
def test_a_law_is_at_no_distance_from_itself(mean, var):
    assert one(gaussian_kl_terms, mean, var, mean, var) == 0.0
    assert one(gaussian_w2_terms, mean, var, mean, var) == 0.0


@pytest.mark.parametrize(
    "numbers", [(0.0, 1.0, 0.0, 4.0), (1.0, 0.5, -0.5, 0.2), (2.0, 3.0, 0.0, 1.0)]
)
def test_kl_is_the_integral_that_defines_it(numbers):
    m, v, other_m, other_v = numbers
    p, q = norm(m, v**0.5), norm(other_m, other_v**0.5)
    exact, error = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), m - 40, m + 40, limit=200)
    assert one(gaussian_kl_terms, *numbers) == pytest.approx(exact, abs=2 * error)


@given(means, st.floats(1e-3, 1e3), means, st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=40)
def test_w2_is_the_distance_of_quantile_functions(m, v, other_m, other_v):
    # the quantile functions differ by (m - m') + (s - s') z, whose mean square over z ~ N(0, 1) ..
    z, weights = np.polynomial.hermite_e.hermegauss(4)  # .. this rule integrates exactly
    gap = (m - other_m) + (v**0.5 - other_v**0.5) * z
    exact = weights @ gap**2 / weights.sum()
    assert one(gaussian_w2_terms, m, v, other_m, other_v) == pytest.approx(
        exact, rel=1e-12, abs=1e-13
    )


@pytest.mark.parametrize("excess", [1e-8, 1e-6, -1e-4, 1e-2, -0.5, 3.0])
def test_kl_keeps_its_digits_where_the_variances_nearly_agree(excess):
    v = 1.0 + excess
    with mp.workdps(50):
        e = mp.mpf(v) - 1
        exact = float((e - mp.log1p(e)) / 2)
    assert one(gaussian_kl_terms, 0.0, v, 0.0, 1.0) == pytest.approx(exact, rel=64 * EPS)


def test_kl_is_never_negative(rng):
    m, other_m = rng.standard_normal((2, 1000))
    v, other_v = np.exp(rng.standard_normal((2, 1000)))
    assert np.all(gaussian_kl_terms(m, v, other_m, other_v) >= 0)


def test_each_direction_has_its_own_term():
    terms = gaussian_w2_terms(np.array([0.0, 3.0]), np.array([1.0, 1.0]), np.zeros(2), np.ones(2))
    assert terms.tolist() == [0.0, 9.0]


@pytest.mark.parametrize("metric", [gaussian_kl_terms, gaussian_w2_terms])
@pytest.mark.parametrize("place", [1, 3])
@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_what_is_no_variance_is_named(metric, place, bad):
    arguments = [np.zeros(1), np.ones(1), np.zeros(1), np.ones(1)]
    arguments[place] = np.array([bad])
    with pytest.raises(ValueError, match="var must be "):
        metric(*arguments)
