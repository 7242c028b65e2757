"""The Frechet distance against Gaussian W2, embeddings, known biases and coverage."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fewtheory.metrics import (
    expected_frechet,
    frechet_bias,
    frechet_distance,
    frechet_limit,
    frechet_noise_floor,
    gaussian_w2,
)

EPS = np.finfo(np.float64).eps


def test_it_is_the_distance_of_the_fitted_gaussians_on_every_backend(asarray, rng):
    x, y = rng.standard_normal((40, 4)), 1.5 * rng.standard_normal((30, 4)) + 0.3
    fits = x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T)
    exact = float(gaussian_w2(*fits, squared=True))
    found = frechet_distance(asarray(x), asarray(y))
    assert type(found) is type(asarray(x)[0, 0])
    bound = 16 * 4 * EPS * (np.trace(fits[1]) + np.trace(fits[3]))  # d eps times the traces
    assert float(found) == pytest.approx(exact, rel=0, abs=bound)


def test_fewer_samples_than_features_are_no_special_case(rng):
    # three features that vary, seen in sixty dimensions through a rotation
    x, y = rng.standard_normal((9, 3)), rng.standard_normal((7, 3)) + 0.5
    q, _ = np.linalg.qr(rng.standard_normal((60, 3)))
    bound = 16 * 60 * EPS * (np.trace(np.cov(x.T)) + np.trace(np.cov(y.T)))
    found = float(frechet_distance(x @ q.T, y @ q.T))
    assert found == pytest.approx(float(frechet_distance(x, y)), rel=0, abs=bound)


def test_two_points_a_sample_are_two_segments(rng):
    # covariances u u' and v v': |u|^2 + |v|^2 - 2 |u.v|, with u = (x_1 - x_0) / sqrt 2
    x, y = rng.standard_normal((2, 5)), rng.standard_normal((2, 5))
    u, v = (w[1] - w[0] for w in (x / math.sqrt(2), y / math.sqrt(2)))
    means = np.sum((x.mean(0) - y.mean(0)) ** 2)
    exact = means + u @ u + v @ v - 2 * abs(u @ v)
    assert float(frechet_distance(x, y)) == pytest.approx(exact, rel=64 * EPS)


@pytest.mark.parametrize("n", [5, 40])
def test_a_sample_is_at_no_distance_from_itself_or_its_copy(n, rng):
    x = rng.standard_normal((n, 12)) * np.geomspace(1, 1e-6, 12)
    bound = 16 * 12 * EPS * np.trace(np.cov(x.T))  # d eps times the trace, never below 0
    assert 0 <= float(frechet_distance(x, x)) <= bound
    assert 0 <= float(frechet_distance(x, x[rng.permutation(n)])) <= bound


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 6), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_it_is_symmetric_and_blind_to_a_common_rotation(n, m, d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, d)), 2 * rng.standard_normal((m, d))
    q, _ = np.linalg.qr(rng.standard_normal((d, d)))
    exact = float(frechet_distance(x, y))
    bound = 64 * d * EPS * ((x**2).sum() + (y**2).sum())
    assert float(frechet_distance(y, x)) == pytest.approx(exact, rel=0, abs=bound)
    assert float(frechet_distance(x @ q + 1, y @ q + 1)) == pytest.approx(exact, rel=0, abs=bound)


def test_single_precision_is_kept(rng):
    x = rng.standard_normal((20, 3)).astype(np.float32)
    assert frechet_distance(x, x + 1).dtype == np.float32


# the floor


def test_the_floor_of_a_standard_normal_is_its_formula(rng):
    # 200 data sets, level 1e-4; the formula's next term is of relative order d / m
    d, m = 3, 150
    values = [
        frechet_noise_floor(rng.standard_normal((2 * m, d)), m, rng=rng, repeats=2).value
        for _ in range(200)
    ]
    exact = (2 * d + d * (d + 1) / 2) / m
    slack = stats.norm.isf(5e-5) * np.std(values) / math.sqrt(200)
    assert np.mean(values) == pytest.approx(exact, rel=0, abs=slack + exact * d / m)


def test_the_floors_standard_error_is_that_of_its_splits(rng):
    # 150 repetitions on one data set: their variance is known to sqrt(2 / 149) = 12 %
    x, floors = rng.standard_normal((60, 2)), []
    for _ in range(150):
        floors.append(frechet_noise_floor(x, 20, rng=rng, repeats=8))
    ratio = np.mean([f.standard_error**2 for f in floors]) / np.var([f.value for f in floors])
    assert abs(ratio - 1) < 4 * 0.12


def test_the_floor_is_of_disjoint_rows():
    # four rows have three splits in two pairs, each with its distance; pairs that shared a row
    # would be found at other values
    x = np.array([[0.0], [1.0], [2.0], [4.0]])
    possible = {float(frechet_distance(x[[0, j]], np.delete(x, [0, j], axis=0))) for j in (1, 2, 3)}
    for seed in range(20):
        found = frechet_noise_floor(x, 2, rng=np.random.default_rng(seed), repeats=2)
        pairs = {(a + b) / 2 for a in possible for b in possible}
        assert min(abs(found.value - v) for v in pairs) <= 64 * EPS * 16


# the limit


def population(shift, scales):
    d = len(scales)
    return float(
        gaussian_w2(np.zeros(d), np.ones(d), np.array(shift), np.array(scales) ** 2, squared=True)
    )


def test_the_limit_is_unbiased_where_the_distance_is_not_and_its_interval_covers(rng):
    # level 1e-4 each. 300 cases; the bias at n = 100 is 6 of the errors of the mean. t with 9
    # degrees of freedom (10 groups); errors off by sqrt 2 would miss in 44 cases or in 3, not 15
    shift, scales, n, runs = [1.5, 0.0, 0.0, 0.0], [1.3, 0.8, 1.0, 1.0], 100, 300
    exact, found = population(shift, scales), []
    for _ in range(runs):
        x = rng.standard_normal((n, 4))
        y = shift + rng.standard_normal((n, 4)) * scales
        found.append(frechet_limit(x, y, rng=rng, parts=(1, 2), groups=10))
    values, whole = (np.array([getattr(f, k) for f in found]) for k in ("value", "at_n"))
    assert stats.ttest_1samp(values, exact).pvalue > 1e-4
    assert stats.ttest_1samp(whole, exact).pvalue < 1e-4
    reach = stats.t.ppf(0.975, 9)
    misses = sum(abs(f.value - exact) > reach * f.standard_error for f in found)
    assert stats.binomtest(misses, runs, 0.05).pvalue > 1e-4


def test_the_limit_is_the_intercept_of_its_points(rng):
    x, y = rng.standard_normal((80, 2)), rng.standard_normal((64, 2)) + 1
    found = frechet_limit(x, y, rng=rng, parts=[1, 2, 4], groups=4)
    line = np.polynomial.Polynomial.fit(found.parts, found.distances, 1).convert().coef
    np.testing.assert_allclose([found.value, found.floor], line, rtol=256 * EPS)
    assert (found.n, found.m, found.parts) == (80, 64, (1, 2, 4))
    assert found.at_n == pytest.approx(float(frechet_distance(x, y)), rel=256 * EPS)
    assert found.distances[0] == found.at_n


def test_the_limit_takes_a_torch_generator(rng):
    x = torch.tensor(rng.standard_normal((40, 2)), requires_grad=True)
    draw = torch.Generator().manual_seed(0)
    assert frechet_limit(x, x + 3, rng=draw, groups=4).value == pytest.approx(18, rel=0.2)


# bad arguments

PLANE, RNG = np.random.default_rng(0).standard_normal((40, 2)), np.random.default_rng(0)
WITH = {"rng": RNG}
BAD = {
    "a line": (frechet_distance, (PLANE[:, 0], PLANE), {}, "x must be of shape"),
    "one row": (frechet_distance, (PLANE[:1], PLANE), {}, "x must be of shape .* n at least 2"),
    "another dimension": (frechet_distance, (PLANE, PLANE[:, :1]), {}, "y must be of shape"),
    "another kind": (frechet_distance, (PLANE, torch.tensor(PLANE)), {}, "y must be an array of"),
    "not finite": (frechet_distance, (PLANE, PLANE * np.inf), {}, "y must be finite"),
    "whole numbers": (frechet_distance, (PLANE.astype(int), PLANE), {}, "x must be of a real"),
    "parts too large": (frechet_noise_floor, (PLANE, 21), WITH, r"m must be in \[2, 20\]"),
    "one repeat": (frechet_noise_floor, (PLANE, 5), {**WITH, "repeats": 1}, "repeats must be"),
    "a seed": (frechet_noise_floor, (PLANE, 5), {"rng": 1}, "rng must be a numpy.random"),
    "one size": (frechet_limit, (PLANE, PLANE), {**WITH, "parts": [2]}, "parts must be at least"),
    "a size twice": (frechet_limit, (PLANE, PLANE), {**WITH, "parts": [2, 2]}, "parts must be"),
    "no part": (frechet_limit, (PLANE, PLANE), {**WITH, "parts": [0, 1]}, "parts must be"),
    "too small": (frechet_limit, (PLANE, PLANE[:31]), WITH, "y must be of shape .* at least 32"),
    "one group": (frechet_limit, (PLANE, PLANE), {**WITH, "groups": 1}, "groups must be"),
    "many groups": (frechet_limit, (PLANE, PLANE), {**WITH, "groups": 21}, "groups must be in"),
    "no generator": (frechet_limit, (PLANE, PLANE), {"rng": None}, "rng must be a numpy.random"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_arguments_are_named(case, own_checks):
    function, arguments, options, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=f"{function.__name__}: {message}"):
        function(*arguments, **options)


def test_a_perfect_sampler_scores_what_is_expected(rng):
    # sheet autodiffusion, C6 and known answers: s^2/n + 2 s^2 (1 - c4(n)), .014786921423661833
    assert expected_frechet(0.7, 50) == pytest.approx(0.014786921423661833, rel=1e-13)
    x = 0.7 * rng.standard_normal((20_000, 50))
    scores = x.mean(axis=1) ** 2 + (x.std(axis=1, ddof=1) - 0.7) ** 2
    # five standard errors of the mean of 20,000 scores
    assert abs(scores.mean() - expected_frechet(0.7, 50)) < 5 * scores.std() / math.sqrt(20_000)


def test_the_bias_of_many_samples_is_that_of_first_order():
    # 1 - c4(n) = 1/(4n) + O(1/n^2), so that one dimension has 1/n + 1/(2n) in both
    for n in (1_000, 10_000):
        assert expected_frechet(1.0, n) == pytest.approx(frechet_bias(1, n), rel=2 / n)
    assert frechet_bias(6, 400) == pytest.approx(0.04125, rel=1e-15)  # sheet autodiffusion, C6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_frechet(-1.0, 5), "expected_frechet: std must be finite"),
        (lambda: expected_frechet(1.0, 1), "expected_frechet: n must be at least 2, got 1"),
        (lambda: frechet_bias(0, 5), "frechet_bias: d must be at least 1, got 0"),
        (lambda: frechet_bias(2, 1), "frechet_bias: n must be at least 2, got 1"),
    ],
)
def test_bad_sizes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
