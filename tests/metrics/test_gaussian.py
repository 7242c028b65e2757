"""Distances between Gaussians against quadrature, mpmath, transport in one dimension and POT."""

import mpmath as mp
import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from fewtheory.metrics import gaussian_kl, gaussian_kl_terms, gaussian_w2, gaussian_w2_terms

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


@pytest.mark.parametrize(
    "excess", [1e-15, 1e-8, 1e-6, -1e-4, 1e-2, 0.2499, -0.2499, 0.2501, -0.2501, -0.5, 3.0]
)
def test_kl_keeps_its_digits_where_the_variances_nearly_agree(excess):
    v = 1.0 + excess
    with mp.workdps(50):
        e = mp.mpf(v) - 1
        exact = float((e - mp.log1p(e)) / 2)
    found = one(gaussian_kl_terms, 0.0, v, 0.0, 1.0)
    # a dozen roundings in the series; at |e| = 1/4 a difference that is 1/9 of its terms
    assert found == pytest.approx(exact, rel=32 * EPS, abs=0)


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


@pytest.mark.parametrize("ratio", [1e-300, 1e-30, 1e-17])
def test_kl_of_a_far_smaller_variance_is_finite(ratio):
    exact = (ratio - 1 - np.log(ratio)) / 2  # 1 + (v - v*) / v* would round to 0
    assert one(gaussian_kl_terms, 0.0, ratio, 0.0, 1.0) == pytest.approx(exact, rel=4 * EPS)


@pytest.mark.parametrize(
    ("numbers", "exact"),
    [
        ((0.0, 0.0, 0.0, 1.0), np.inf),
        ((0.0, 1.0, 0.0, 0.0), np.inf),
        ((1.0, 0.0, 0.0, 0.0), np.inf),
        ((1.0, 0.0, 1.0, 0.0), 0.0),
    ],
)
def test_kl_of_points_is_infinite_unless_they_are_one(numbers, exact):
    assert one(gaussian_kl_terms, *numbers) == exact


@pytest.mark.parametrize("gap", [1e-12, 1e-6, 0.5])
def test_w2_keeps_its_digits_where_the_variances_nearly_agree(gap):
    v = 2.0 + gap
    with mp.workdps(50):
        exact = float((mp.sqrt(mp.mpf(v)) - mp.sqrt(2)) ** 2)
    assert one(gaussian_w2_terms, 0.0, v, 0.0, 2.0) == pytest.approx(exact, rel=16 * EPS, abs=0)


# full covariances


def spd(rng, d, low=0.1):
    """A covariance with eigenvalues from `low` to 1, and nothing diagonal about it."""
    q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    C = (q * np.geomspace(low, 1.0, d)) @ q.T
    return (C + C.T) / 2


def near(rng, d, distance):
    """A covariance, and one at about this distance from it."""
    C = spd(rng, d)
    step = rng.standard_normal((d, d))
    return C + distance * 0.02 * (step + step.T), C


def high_precision_kl(C, other_C):
    with mp.workdps(60):
        A, B = mp.matrix(C.tolist()), mp.matrix(other_C.tolist())
        ratio = mp.inverse(B) * A
        trace = sum(ratio[i, i] - 1 for i in range(A.rows))
        return float((trace - mp.log(mp.det(A)) + mp.log(mp.det(B))) / 2)


def high_precision_w2(C, other_C):
    with mp.workdps(60):
        A, B = mp.matrix(C.tolist()), mp.matrix(other_C.tolist())
        values, vectors = mp.eigsy(A)
        root = vectors * mp.diag([mp.sqrt(v) for v in values]) * vectors.T
        cross = mp.eigsy(root * B * root, eigvals_only=True)
        trace = sum(A[i, i] + B[i, i] for i in range(A.rows))
        return float(mp.sqrt(trace - 2 * sum(mp.sqrt(v) for v in cross)))


@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-7, 1e-11])
def test_kl_of_full_covariances_is_that_at_high_precision(distance, rng):
    d = 4
    C, other_C = near(rng, d, distance)
    found = gaussian_kl(np.zeros(d), C, np.zeros(d), other_C)
    # two triangular solves (d eps cond(L) each) on an exact difference, then a square: e^2 / 2
    bound = 4 * 2 * d * np.linalg.cond(other_C) * EPS
    assert float(found) == pytest.approx(high_precision_kl(C, other_C), rel=bound, abs=0)


@pytest.mark.parametrize("ratio", [1e-30, 1e-8, 1e8])
def test_kl_of_a_full_covariance_far_smaller_or_larger(ratio, rng):
    C, zero = spd(rng, 3), np.zeros(3)
    exact = 3 * (ratio - 1 - np.log(ratio)) / 2
    # the whitened matrix is ratio I to d cond(C) eps, relative to ratio
    bound = 4 * 3 * 10 * EPS
    assert float(gaussian_kl(zero, ratio * C, zero, C)) == pytest.approx(exact, rel=bound)


@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-7, 1e-11, 0.0])
def test_w2_of_full_covariances_is_that_at_high_precision(distance, rng):
    d = 4
    C, other_C = near(rng, d, distance)
    found = gaussian_w2(np.zeros(d), C, np.zeros(d), other_C)
    bound = 4 * d * EPS * np.sqrt(np.linalg.norm(C, 2) * np.linalg.cond(C))  # the docstring's
    assert float(found) == pytest.approx(high_precision_w2(C, other_C), rel=0, abs=bound)


@pytest.mark.parametrize("low", [1e-2, 1e-6, 1e-10])
def test_a_law_of_any_condition_is_at_rounding_from_itself(low, rng):
    C = spd(rng, 5, low)
    bound = 4 * 5 * EPS / np.sqrt(low)  # d eps |A| sqrt(cond); the trace form has sqrt(eps)
    assert float(gaussian_w2(np.ones(5), C, np.ones(5), C)) <= bound
    assert float(gaussian_kl(np.ones(5), C, np.ones(5), C)) == 0.0


def test_w2_of_full_covariances_is_that_of_pot(rng):
    d = 6
    m, other_m = rng.standard_normal((2, d))
    C, other_C = spd(rng, d), spd(rng, d, 0.3)
    exact = ot.gaussian.bures_wasserstein_distance(m, other_m, C, other_C)
    # POT takes the root of a difference of traces, 2 d at most, and roots of roots
    assert float(gaussian_w2(m, C, other_m, other_C)) == pytest.approx(exact, rel=256 * d * EPS)


def test_w2_of_two_segments_is_that_of_their_directions(rng):
    u, v = rng.standard_normal((2, 3))  # u Z and v Z, Z ~ N(0, 1): coupled by Z = Z' or Z = -Z'
    exact = min(np.linalg.norm(u - v), np.linalg.norm(u + v))
    zero = np.zeros(3)
    found = float(gaussian_w2(zero, np.outer(u, u), zero, np.outer(v, v)))
    bound = 3 * np.sqrt(EPS) * np.linalg.norm(u)  # the docstring's, for singular covariances
    assert found == pytest.approx(exact, rel=0, abs=bound)


def test_a_singular_law_is_at_rounding_from_itself(rng):
    X = rng.standard_normal((6, 2))
    C = X @ X.T  # rank 2
    bound = 6 * 6 * EPS * np.linalg.norm(X, 2)  # null directions count as 0 in both roots
    assert float(gaussian_w2(np.zeros(6), C, np.zeros(6), C)) <= bound


@given(
    st.lists(st.tuples(st.floats(1e-4, 1e4), st.floats(1e-4, 1e4)), min_size=1, max_size=5),
    st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=40)
def test_a_common_rotation_changes_nothing(pairs, seed):
    v, other_v = np.array(pairs).T
    d, rng = v.size, np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    m, other_m = rng.standard_normal((2, d))
    C, other_C = ((q * w) @ q.T for w in (v, other_v))
    cond = max(v.max() / v.min(), other_v.max() / other_v.min())
    flat = float(gaussian_w2(m, v, other_m, other_v))
    turned = float(gaussian_w2(q @ m, C, q @ other_m, other_C))
    bound = 16 * d * EPS * np.sqrt(max(v.max(), other_v.max()) * cond)  # C itself was rounded too
    assert turned == pytest.approx(flat, rel=16 * d * EPS, abs=bound)
    flat = float(gaussian_kl(m, v, other_m, other_v))
    turned = float(gaussian_kl(q @ m, C, q @ other_m, other_C))
    ratio = (v / other_v).max() / (v / other_v).min()
    scale = ratio + (v / other_v).max() + ((m - other_m) ** 2 / other_v.min()).sum()
    # eigenvalues off by eps cond of the largest; the least of them stand in a logarithm
    assert turned == pytest.approx(flat, rel=0, abs=16 * d**2 * EPS * cond * scale)


@pytest.mark.parametrize("metric", [gaussian_kl, gaussian_w2])
def test_numbers_diagonals_and_full_covariances_mean_the_same(metric, asarray, rng):
    m, other_m = asarray(rng.standard_normal(3)), asarray(rng.standard_normal(3))
    forms = [0.7, asarray(np.full(3, 0.7)), asarray(0.7 * np.eye(3))]
    found = [metric(m, a, other_m, b) for a in forms for b in forms]
    assert {type(f) for f in found} == {type(m[0])}
    assert {f.dtype for f in found} == {m.dtype}
    np.testing.assert_allclose([float(f) for f in found], float(found[0]), rtol=64 * EPS)


@pytest.mark.parametrize("metric", [gaussian_kl, gaussian_w2])
def test_every_backend_gives_numpys_numbers(metric, asarray, rng):
    arguments = rng.standard_normal(4), spd(rng, 4), rng.standard_normal(4), spd(rng, 4)
    found = float(metric(*map(asarray, arguments)))
    assert found == pytest.approx(float(metric(*arguments)), rel=256 * EPS)  # other LAPACKs


@pytest.mark.parametrize("metric", [gaussian_kl, gaussian_w2])
def test_single_precision_is_kept_and_computed_in_double(metric, rng):
    wide = rng.standard_normal(3), spd(rng, 3), rng.standard_normal(3), spd(rng, 3)
    narrow = [v.astype(np.float32) for v in wide]
    found = metric(*narrow)
    assert found.dtype == np.float32
    exact = metric(*(((v + v.T) / 2 if v.ndim == 2 else v).astype(np.float64) for v in narrow))
    assert float(found) == pytest.approx(float(exact), rel=2.0**-23)


def roots(rng, d):
    return torch.tensor(rng.standard_normal((d, d)), requires_grad=True)


@pytest.mark.parametrize("squared", [True, False])
def test_w2_is_differentiable_in_means_and_covariances(squared, rng):
    m = torch.tensor(rng.standard_normal(3), requires_grad=True)
    L, M = roots(rng, 3), roots(rng, 3)
    eye = torch.eye(3, dtype=torch.float64)

    def distance(m, L, M):
        zero = torch.zeros_like(m)
        return gaussian_w2(m, L @ L.T + eye, zero, M @ M.T + eye, squared=squared)

    assert torch.autograd.gradcheck(distance, (m, L, M))


def test_w2_has_a_gradient_where_eigenvalues_repeat(rng):
    M, zero = roots(rng, 3), torch.zeros(3, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)

    def distance(scale, M):
        return gaussian_w2(zero, scale**2 * eye, zero, M @ M.T + eye, squared=True)

    assert torch.autograd.gradcheck(distance, (torch.tensor(1.5).double().requires_grad_(), M))


def test_w2_squared_has_gradient_zero_where_the_laws_agree(rng):
    C = torch.tensor(spd(rng, 3), requires_grad=True)
    zero = torch.zeros(3, dtype=torch.float64)
    (grad,) = torch.autograd.grad(gaussian_w2(zero, C, zero, C.detach(), squared=True), C)
    bound = 64 * 3 * EPS / 0.1  # R A^{-1}: the error of R over the least root, cond 10
    np.testing.assert_allclose(grad, 0.0, atol=bound)


def test_a_second_derivative_of_w2_is_refused(rng):
    L, zero = roots(rng, 2), torch.zeros(2, dtype=torch.float64)
    value = gaussian_w2(zero, L @ L.T, zero, torch.eye(2).double(), squared=True)
    with pytest.raises(RuntimeError, match="gaussian_w2: differentiable once"):
        torch.autograd.grad(value, L, create_graph=True)


def test_kl_is_differentiable_in_all_arguments(rng):
    m, other_m = (torch.tensor(rng.standard_normal(3), requires_grad=True) for _ in range(2))
    eye = torch.eye(3, dtype=torch.float64)

    def divergence(m, L, other_m, M):
        return gaussian_kl(m, L @ L.T + eye, other_m, M @ M.T + eye)

    assert torch.autograd.gradcheck(divergence, (m, roots(rng, 3), other_m, roots(rng, 3)))


def test_kl_of_a_singular_law_is_infinite(asarray):
    zero, line = asarray(np.zeros(2)), asarray(np.ones((2, 2)))
    assert float(gaussian_kl(zero, line, zero, asarray(np.eye(2)))) == np.inf
    assert float(gaussian_kl(zero, asarray(np.array([1.0, 0.0])), zero, 1.0)) == np.inf


@pytest.mark.parametrize("other", [np.ones((2, 2)), np.array([1.0, 0.0]), 0.0])
def test_kl_to_a_singular_law_is_refused(other):
    with pytest.raises(ValueError, match="gaussian_kl: other_cov must be positive definite"):
        gaussian_kl(np.zeros(2), 1.0, np.zeros(2), other)


GOOD = {"mean": np.zeros(2), "cov": np.eye(2), "other_mean": np.zeros(2), "other_cov": np.eye(2)}
BAD = {
    "a matrix of means": ("mean", np.zeros((2, 2)), r"mean must be of shape \(d,\)"),
    "another dimension": ("other_mean", np.zeros(3), r"other_mean must be of shape \(2,\)"),
    "a mean that is not finite": ("mean", np.array([0.0, np.nan]), "mean must be finite"),
    "a list": ("mean", [0.0, 0.0], "mean must be an array"),
    "whole numbers": ("mean", np.zeros(2, int), "mean must be of a real floating dtype"),
    "another kind": ("other_mean", torch.zeros(2), "other_mean must be of the kind of mean"),
    "a covariance of three": ("cov", np.eye(3), r"cov must be \(2, 2\), \(2,\) or a number"),
    "one that is not symmetric": ("cov", np.array([[1.0, 0.1], [0, 1]]), "cov must be symmetric"),
    "one below 0": ("cov", -1.0, "cov must be positive semidefinite"),
    "one with a negative direction": (
        "other_cov",
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        "other_cov must be positive semidefinite",
    ),
    "one that is not finite": ("cov", np.array([1.0, np.inf]), "cov must be finite"),
    "a word": ("cov", "identity", "cov must be an array or a number"),
}


@pytest.mark.parametrize("metric", [gaussian_kl, gaussian_w2])
@pytest.mark.parametrize("case", list(BAD))
def test_what_is_no_gaussian_is_named(metric, case, own_checks):
    name, value, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=f"{metric.__name__}: {message}"):
        metric(**{**GOOD, name: value})
