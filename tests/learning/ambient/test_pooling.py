"""Pooled second moments, what the flow generates from them, and how far that errs."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtheory.arrays import to_numpy
from fewtheory.learning.ambient.generated import generated_variance
from fewtheory.learning.ambient.loss_share import loss_share
from fewtheory.learning.ambient.pooled import (
    SecondMoments,
    likelihood_variance,
    linear_denoiser,
    pooled_variance,
    second_moments,
)
from fewtheory.learning.ambient.spectrum import debiased_spectrum
from fewtheory.learning.ambient.weighting import (
    WEIGHTINGS,
    noisy_share,
    relative_variance,
    variance_floor,
    variance_slopes,
)
from fewtheory.testbeds import TwoVarianceSample

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "ambient-scaling.json").read_text())
EPS = np.finfo(float).eps
C = np.array([1.0, 0.02])


@pytest.mark.parametrize(("k", "how"), [(1, "inverse variance"), (2, "loss"), (3, "best")])
def test_the_relative_variance_is_the_known_one(k, how, asarray):
    i = KNOWN[k]["inputs"]
    sigma_n = float(np.sqrt(i["sigma_n2"]))
    found = relative_variance(asarray(np.array(i["c"], float)), sigma_n, i["n1"], i["n2"], how)
    assert to_numpy(found) == pytest.approx(KNOWN[k]["expected"], rel=1e-12)


@pytest.mark.parametrize("how", list(WEIGHTINGS))
def test_without_noisy_samples_every_weighting_is_the_clean_one(how):
    assert relative_variance(C, 0.2, 200, 0, how) == pytest.approx(0.01, rel=4 * EPS)


@pytest.mark.parametrize("how", list(WEIGHTINGS))
def test_without_noise_a_noisy_sample_is_a_clean_one(how):
    told = 2 / (200 if how == "clean" else 2000)
    assert relative_variance(C, 0.0, 200, 1800, how) == pytest.approx(told, rel=16 * EPS)


@pytest.mark.parametrize("how", list(WEIGHTINGS))
def test_twice_the_samples_halve_the_variance(how):
    once, twice = (relative_variance(C, 0.2, 200 * k, 1800 * k, how) for k in (1, 2))
    assert twice == pytest.approx(once / 2, rel=8 * EPS)


@pytest.mark.parametrize("how", list(WEIGHTINGS))
def test_slopes_are_those_of_a_homogeneous_function(how):
    """Euler: n1 dV/dn1 + n2 dV/dn2 = -V for V of degree -1."""
    for n2 in (0, 30, 1800, 10**7):
        a, b = variance_slopes(C, 0.2, 200, n2, how)
        V = relative_variance(C, 0.2, 200, n2, how)
        size = 200 * np.abs(a) + n2 * np.abs(b)
        assert np.abs(200 * a + n2 * b + V).max() <= 16 * EPS * size.max()


@given(st.floats(-6, 6), st.floats(-6, 6), st.sampled_from(["inverse variance", "loss", "clean"]))
def test_nothing_beats_the_best_and_the_best_no_likelihood(log_c, log_r, how):
    c, n2 = np.array([0.04 * 10**log_c]), 100 * 10**log_r
    some, best, most = (
        relative_variance(c, 0.2, 100, n2, w)[0] for w in (how, "best", "likelihood")
    )
    assert most <= best * (1 + 64 * EPS)
    assert best <= some * (1 + 64 * EPS)
    assert best >= variance_floor(c, 0.2, 100, how if how != "clean" else "best")[0] * (
        1 - 64 * EPS
    )


@given(st.floats(0, 1), st.floats(-8, 10))
def test_the_share_of_the_loss_joins_where_its_two_forms_meet(g, log_r):
    r = 10.0**log_r
    h, slope = (float(v[0]) for v in loss_share(np, np.array([g]), np.array([r])))
    assert 0 <= g * r * h <= g * (1 + 64 * EPS)
    assert slope < 0
    near = loss_share(np, np.array([g]), np.array([r * (1 + 1e-7)]))[0][0]
    # to the next order of the step, |h''| r^2 of the size of h
    assert near - h == pytest.approx(slope * r * 1e-7, abs=1e-12 * h)


def test_the_first_noisy_samples_of_a_faint_direction_do_harm_under_the_loss():
    """h(0) = 2 g is where they do not matter; h -> 1/3 for g -> 0."""
    faint, clear = np.array([0.04 * 0.05]), np.array([0.04])
    assert variance_slopes(faint, 0.2, 100, 0, "loss")[1][0] > 0
    assert variance_slopes(clear, 0.2, 100, 0, "loss")[1][0] < 0
    assert variance_slopes(faint, 0.2, 100, 0, "best")[1][0] < 0


def test_shares_never_pass_what_the_flow_allows():
    rho = 0.04 / (C + 0.04)
    assert noisy_share(C, 0.2, 10, 1e9, "best") == pytest.approx(1 - rho, rel=1e-6)
    assert np.all(noisy_share(C, 0.2, 10, 1e9, "loss") <= (1 - rho) * (1 + 64 * EPS))
    assert noisy_share(C, 0.2, 10, 1e9, "clean").tolist() == [0.0, 0.0]


def test_a_direction_without_variance_is_learnt_from_clean_samples():
    zero = np.zeros(1)
    for how in ("inverse variance", "best", "consistency"):
        assert relative_variance(zero, 0.2, 200, 1800, how)[0] == pytest.approx(0.01)
    # W2 d_2 stays finite: (1/c) of an error of c_2 of the size of sigma_n^2, times a share of c
    assert relative_variance(zero, 0.2, 200, 1800, "loss")[0] > 0.01


def test_without_clean_samples_only_consistency_reaches_the_data():
    assert relative_variance(C, 0.2, 0, 100, "loss").tolist() == [np.inf, np.inf]
    found = relative_variance(C, 0.2, 0, 100, "consistency")
    assert found == pytest.approx(2 / 100 * (1 + 0.04 / C) ** 2)
    assert variance_floor(C, 0.2, 0, "consistency").tolist() == [0.0, 0.0]
    assert variance_floor(C, 0.2, 0, "loss").tolist() == [np.inf, np.inf]


def test_moments_are_those_of_every_array(asarray, rng):
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((8, 3))
    full, thin = (second_moments(asarray(x), asarray(y), 0.5, diagonal=d) for d in (False, True))
    assert to_numpy(full.clean) == pytest.approx(x.T @ x / 5)
    assert to_numpy(full.noisy) == pytest.approx(y.T @ y / 8 - 0.25 * np.eye(3))
    assert to_numpy(thin.noisy) == pytest.approx(np.diag(to_numpy(full.noisy)))
    K = to_numpy(linear_denoiser(full, 0.8))
    told = pooled_variance(full, 0.8)
    assert K == pytest.approx(to_numpy(told) @ np.linalg.inv(to_numpy(told) + 0.64 * np.eye(3)))
    k = to_numpy(linear_denoiser(thin, 0.8))
    c = to_numpy(pooled_variance(thin, 0.8))
    assert k == pytest.approx(c / (c + 0.64))


def test_below_the_noise_only_clean_samples_speak():
    moments = SecondMoments(np.array([1.0]), np.array([9.0]), 3, 1000, 0.5)
    assert pooled_variance(moments, 0.5).tolist() == [1.0]
    assert pooled_variance(moments, 0.1).tolist() == [1.0]
    far = pooled_variance(moments, 1e8)
    assert far[0] == pytest.approx((3 + 9000) / 1003)


def test_one_kind_of_sample_may_be_missing():
    none = np.empty((0, 2))
    clean = second_moments(np.ones((4, 2)), none, 0.3)
    assert pooled_variance(clean, 2.0) == pytest.approx(np.ones((2, 2)))
    noisy = second_moments(none, np.ones((4, 2)), 0.3)
    assert pooled_variance(noisy, 0.1) == pytest.approx(np.ones((2, 2)) - 0.09 * np.eye(2))


def test_a_pole_of_noisy_samples_alone_is_warned_of():
    moments = SecondMoments(np.zeros(2), np.array([-0.04, 1.0]), 0, 9, 0.5)
    assert moments.poles() == pytest.approx([0.2])
    with pytest.warns(RuntimeWarning, match="at or below a pole, 0.2"):
        linear_denoiser(moments, 0.1)
    assert linear_denoiser(moments, 0.5)[1] == pytest.approx(0.8)  # above it: no warning
    with_clean = SecondMoments(np.ones(2), np.array([-0.04, 1.0]), 9, 9, 0.5)
    assert linear_denoiser(with_clean, 0.1)[0] == pytest.approx(1 / 1.01)


def test_the_generated_variance_of_equal_moments_is_theirs(asarray):
    c = np.array([1e-4, 0.3, 50.0])
    for share in (None, 0.0, 0.4, 1.0):
        found = generated_variance(asarray(c), asarray(c), 10, 90, 0.2, clean_share=share)
        assert to_numpy(found) == pytest.approx(c, rel=64 * EPS)


def test_its_slope_in_both_moments_is_the_share_of_each():
    for how, share in (("loss", None), ("clean", 1.0)):
        h = 1e-6
        up, down = (generated_variance(C, C * (1 + e), 200, 1800, 0.2, clean_share=share)
                    for e in (h, -h))  # fmt: skip
        slope = (np.log(up) - np.log(down)) / (2 * h)
        told = noisy_share(C, 0.2, 200, 1800, how)
        assert slope == pytest.approx(told, abs=1e-9)  # 2 eps / h of rounding


def test_the_likelihood_is_highest_there(asarray):
    c1, c2 = np.array([1.2, 0.03, 0.5]), np.array([0.9, -0.01, 0.5])
    c = to_numpy(likelihood_variance(asarray(c1), asarray(c2), 20, 90, 0.2))

    def minus_log(c):
        return 20 * (np.log(c) + c1 / c) + 90 * (np.log(c + 0.04) + (c2 + 0.04) / (c + 0.04))

    for factor in (0.99, 1.01):
        assert np.all(minus_log(c * factor) > minus_log(c))
    assert c[2] == pytest.approx(0.5, rel=8 * EPS)


def test_noisy_samples_alone_give_no_negative_variance():
    found = likelihood_variance(np.zeros(2), np.array([-0.01, 0.3]), 0, 90, 0.2)
    assert found.tolist() == [0.0, 0.3]


def test_the_spectrum_is_found_from_both_kinds_of_sample(asarray, rng):
    truth = np.array([9.0, 1.0, 0.1, 0.0])
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    x, y = TwoVarianceSample(truth, [0.0, 0.5], [1_000, 30_000]).sample(rng=rng)
    x, y = x @ turn + 3.0, y @ turn + 3.0
    found = to_numpy(debiased_spectrum(asarray(x), asarray(y), 0.5))
    # five standard deviations of 2 / n_eff in each direction, and the noise of an entry of C_2
    spread = np.sqrt(2 / (1_000 + 30_000 * (truth / (truth + 0.25)) ** 2))
    assert np.all(np.abs(found - truth) <= 5 * spread * truth + 0.25 / np.sqrt(30_000))


def test_the_spectrum_needs_only_one_kind(rng):
    x, y = TwoVarianceSample([4.0, 1.0], [0.0, 0.5], [5_000, 5_000]).sample(rng=rng)
    none = np.empty((0, 2))
    for a, b in ((x, none), (none, y)):
        assert debiased_spectrum(a, b, 0.5) == pytest.approx([4.0, 1.0], rel=0.15)  # 5 x 2.5%


M = np.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_variance(-M, 0.2, 1, 1, "loss"), "c must be not negative"),
        (lambda: relative_variance(M * np.nan, 0.2, 1, 1, "loss"), "c must be finite"),
        (lambda: relative_variance(M, -0.2, 1, 1, "loss"), "sigma_n must be finite in"),
        (lambda: relative_variance(M, 0.2, -1, 1, "loss"), "n_clean must be finite in"),
        (lambda: relative_variance(M, 0.2, 1, -1, "loss"), "n_noisy must be finite in"),
        (lambda: relative_variance(M, 0.2, 1, 1, "mine"), "weighting must be one of"),
        (lambda: variance_slopes(M, 0.2, 0, 1, "loss"), "variance_slopes: n_clean must be above 0"),
        (lambda: noisy_share(M, 0.2, 0, 1, "loss"), "noisy_share: n_clean must be above 0"),
        (lambda: variance_floor(M, 0.2, 1, "none"), "variance_floor: weighting must be one of"),
        (lambda: SecondMoments(np.ones((2, 3)), M, 1, 1, 0.1), "clean must be of shape"),
        (lambda: SecondMoments(M, np.ones(3), 1, 1, 0.1), "noisy must be of shape"),
        (lambda: SecondMoments(M, M, 0, 0, 0.1), "n_clean must be one or more"),
        (lambda: SecondMoments(M, M, 1, True, 0.1), "n_noisy must be an integer"),
        (lambda: SecondMoments(M, M, 1, 1, -0.1), "sigma_n must be finite in"),
        (lambda: second_moments(M, np.ones((2, 2)), 0.1), "clean must be of shape"),
        (lambda: second_moments(np.ones((2, 2)), np.ones((2, 3)), 0.1), "noisy must be of shape"),
        (lambda: second_moments(np.ones((2, 2)), np.ones((2, 2)), -1), "sigma_n must be finite"),
        (lambda: pooled_variance(SecondMoments(M, M, 1, 1, 0.1), 0.0), "sigma must be finite in"),
        (lambda: likelihood_variance(-M, M, 1, 1, 0.1), "c1 must be not negative"),
        (lambda: likelihood_variance(M, ["a"], 1, 1, 0.1), "c2 must be an array"),
        (lambda: likelihood_variance(M, M, 0, 0, 0.1), "n_clean must be one or more"),
        (lambda: likelihood_variance(M, M, 1, -1, 0.1), "n_noisy must be at least 0"),
        (lambda: likelihood_variance(M, M, 1, 1, np.inf), "sigma_n must be finite in"),
        (lambda: generated_variance(0 * M, M, 1, 1, 0.1), "c1 must be positive"),
        (lambda: generated_variance(M, -M, 1, 1, 0.1), "c2 must be at least"),
        (lambda: generated_variance(M, M, 0, 1, 0.1), "n_clean must be finite in"),
        (lambda: generated_variance(M, M, 1, -1, 0.1), "n_noisy must be finite in"),
        (lambda: generated_variance(M, M, 1, 1, -0.1), "sigma_n must be finite in"),
        (lambda: generated_variance(M, M, 1, 1, 0.1, clean_share=2), "clean_share must be finite"),
        (lambda: debiased_spectrum(M, M, 0.1), "clean must be of shape"),
        (lambda: debiased_spectrum(np.ones((2, 2)), M, 0.1), "noisy must be of shape"),
        (lambda: debiased_spectrum(np.ones((1, 2)), np.ones((0, 2)), 0.1), "two samples or more"),
        (lambda: debiased_spectrum(np.ones((2, 2)), np.ones((2, 2)), -1), "sigma_n must be finite"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
