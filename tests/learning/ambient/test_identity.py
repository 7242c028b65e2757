"""What is known of an earlier level, and consistency below the noise."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fewtheory.arrays import to_numpy
from fewtheory.learning.ambient.consistency import (
    consistency_gap,
    consistency_slope,
    consistent_gain,
    reverse_step,
)
from fewtheory.learning.ambient.identity import (
    ambient_coefficients,
    ambient_weights,
    earlier_mean,
    renoising,
)
from fewtheory.paths import EDM, RectifiedFlow, Table, VPLinear
from fewtheory.testbeds import Gaussian, mixture_1d

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "ambient-scaling.json").read_text())
EPS = np.finfo(float).eps


class TwoLevels(EDM):
    """A path given at two times only: the known answer's levels at t = 1 and at t = 2."""

    def _alpha(self, xp, t):
        i = KNOWN[0]["inputs"]
        return xp.where(t > 1.5, i["alpha_t"], i["alpha_s"]) + 0 * t

    def _sigma(self, xp, t):
        i = KNOWN[0]["inputs"]
        return xp.where(t > 1.5, i["sigma_t"], i["sigma_s"]) + 0 * t

    def _lam(self, xp, t):
        return xp.log(self._alpha(xp, t) / self._sigma(xp, t))


def test_the_conditional_mean_is_the_known_one():
    i = KNOWN[0]["inputs"]
    bed = mixture_1d(i["weights"], i["means"], np.sqrt(i["variances"]))
    model = bed.model(TwoLevels(), "data")
    found = earlier_mean(model, np.array([[i["x"]]]), 2.0, 1.0)
    assert found[0, 0] == pytest.approx(KNOWN[0]["expected"], abs=KNOWN[0]["tolerance"])


def test_every_path_and_array_gives_a_gaussians_regression(path, asarray):
    """E[x_s | x_t] = Cov / Var x_t for one Gaussian of variance 1.3."""
    s, t = (path.t_at(v) for v in (1.0, -0.5))
    x = asarray([[-1.0], [0.4], [2.0]])
    found = earlier_mean(Gaussian([0.0], [1.3]).model(path, "noise"), x, t, s)
    scale = path.alpha(t) / path.alpha(s)
    cov = scale * (path.alpha(s) ** 2 * 1.3 + path.sigma(s) ** 2)
    var = path.alpha(t) ** 2 * 1.3 + path.sigma(t) ** 2
    assert to_numpy(found) == pytest.approx(cov / var * to_numpy(x), rel=1e-12)


def test_arrays_of_times_give_what_numbers_give(path, asarray):
    s = np.array([path.t_at(v) for v in (2.0, 1.0, 0.9)])
    t = np.array([path.t_at(v) for v in (-1.0, 0.999, 0.9)])
    for function in (ambient_coefficients, renoising):
        found = function(path, asarray(s), asarray(t))
        told = [function(path, float(a), float(b)) for a, b in zip(s, t, strict=True)]
        for k in (0, 1):
            assert type(found[k]) is type(asarray(s) + 0)
            assert to_numpy(found[k]) == pytest.approx([v[k] for v in told], rel=1e-13, abs=0)


def test_a_number_meets_an_array_and_keeps_its_dtype():
    s = np.array([0.1, 0.2], dtype=np.float32)
    first, second = ambient_coefficients(RectifiedFlow(), s, 0.5)
    assert first.dtype == second.dtype == np.float32
    exact = ambient_coefficients(RectifiedFlow(), s.astype(float), 0.5)
    assert first == pytest.approx(exact[0], rel=8e-7)  # a few roundings of float32


def test_single_precision_keeps_its_digits_just_above_the_noise_level():
    s = np.array([0.3], dtype=np.float32)
    t = np.nextafter(s, np.float32(1.0))
    low, high = float(s[0]), float(t[0])
    exact = (high - low) * (high + low) / high**2
    assert float(ambient_coefficients(EDM(), s, t)[0][0]) == pytest.approx(exact, rel=1e-6)
    assert float(ambient_weights(s, t)[0][0]) == pytest.approx(exact, rel=1e-6)


def test_at_the_level_itself_the_state_is_the_answer(path):
    t = path.t_at(0.3)
    assert ambient_coefficients(path, t, t) == (0.0, 1.0)
    assert renoising(path, t, t) == (1.0, 0.0)


def test_at_the_ends_of_a_path_nothing_is_nan():
    assert ambient_coefficients(RectifiedFlow(), 0.0, 1.0) == (1.0, 0.0)
    assert ambient_coefficients(RectifiedFlow(), 0.0, 0.0) == (0.0, 1.0)
    assert ambient_coefficients(VPLinear(), 0.0, 0.5) == (1.0, 0.0)
    assert ambient_coefficients(EDM(sigma_min=0.0), 0.0, 3.0) == (1.0, 0.0)


def test_two_steps_of_noise_are_one(path):
    s, r, t = (path.t_at(v) for v in (1.0, 0.2, -0.5))
    (a, x), (b, y), (c, z) = (renoising(path, *p) for p in ((s, r), (r, t), (s, t)))
    assert a * b == pytest.approx(c, rel=1e-13)
    assert (b * x) ** 2 + y**2 == pytest.approx(z**2, rel=1e-12)


def test_a_table_with_kinks_is_exact_across_them():
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    path = Table(np.cumprod(1 - betas))
    s, t = 0.5004, 0.5021
    q = (path.alpha(t) * path.sigma(s) / (path.alpha(s) * path.sigma(t))) ** 2
    assert ambient_coefficients(path, s, t)[0] == pytest.approx(path.alpha(s) * (1 - q), rel=1e-11)


def test_the_weights_sum_to_one_and_are_edms(asarray):
    a, b = ambient_weights(asarray([0.0, 0.2, 0.4]), asarray([0.5, 0.5, 0.4]))
    assert to_numpy(a + b) == pytest.approx(1.0, abs=4 * EPS)
    assert to_numpy(a) == pytest.approx([1.0, 0.84, 0.0], abs=4 * EPS)


def test_the_consistent_gain_solves_its_equation(asarray):
    k, h = asarray([0.1, 0.5, 0.9]), 2.0**-10
    up, down = (to_numpy(consistent_gain(k, 0.5, 0.3 + e)) for e in (h, -h))
    at = consistent_gain(k, 0.5, 0.3)
    slope = to_numpy(consistency_slope(at, 0.3))
    assert (up - down) / (2 * h) == pytest.approx(slope, rel=1e-4)  # h^2 / 6 of k'''
    assert to_numpy(consistent_gain(at, 0.3, 0.5)) == pytest.approx(to_numpy(k), rel=1e-13)


def test_the_gain_is_one_at_the_data_unless_it_was_nothing():
    assert consistent_gain(np.array([0.0, 0.3, 1.0]), 0.5, 0.0).tolist() == [0.0, 1.0, 1.0]


def test_many_reverse_steps_have_the_denoisers_law(rng):
    """From the law at sigma = 1 of N(0, 0.5) down to 0.1 by exact denoisers."""
    sigmas = np.linspace(1.0, 0.1, 400)
    x = np.sqrt(1.5) * rng.standard_normal(20_000)
    for now, after in pairwise(sigmas):
        z = rng.standard_normal(x.shape)
        x = reverse_step(x, 0.5 / (0.5 + now**2) * x, z, float(now), float(after), noise="exact")
    # five standard errors, and steps of 1/400 of the way
    assert x.var() == pytest.approx(0.51, rel=5 * np.sqrt(2 / 20_000) + 0.01)


def test_half_the_gap_is_left_after_twice_the_steps():
    def gap(n):
        return consistency_gap(lambda s: 1 / (1 + s**2), np.linspace(0.5, 0.1, n + 1).tolist())

    assert gap(400) / gap(200) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ambient_coefficients(RectifiedFlow(), 0.5, 0.2), "s must be at most t"),
        (lambda: ambient_coefficients(RectifiedFlow(), -0.1, 0.2), "s must be in"),
        (lambda: ambient_coefficients(RectifiedFlow(), 0.1, 1.2), "t must be in"),
        (lambda: renoising(EDM(), 0.5, 0.2), "renoising: s must be at most t"),
        (lambda: ambient_weights(0.5, 0.2), "sigma_n must be in"),
        (lambda: ambient_weights(-0.5, 0.2), "sigma_n must be finite in"),
        (lambda: ambient_weights(np.array([0.1]), np.array([0.0])), "sigma_n must be in"),
        (lambda: consistency_slope(np.ones(1), 0.0), "sigma must be finite in"),
        (lambda: consistency_slope(["a"], 1.0), "k must be an array"),
        (lambda: consistent_gain(np.array([1.5]), 1.0, 0.5), "k_n must be in"),
        (lambda: consistent_gain(np.ones(1), 0.0, 0.5), "sigma_n must be finite in"),
        (lambda: consistent_gain(np.ones(1), 1.0, -0.5), "sigma must be finite in"),
        (lambda: reverse_step(1.0, 1.0, 0.0, 0.3, 0.5), "sigma_next must be finite in"),
        (lambda: reverse_step(1.0, 1.0, 0.0, 0.0, 0.0), "sigma must be finite in"),
        (lambda: reverse_step(1.0, 1.0, 0.0, 0.3, 0.2, noise="all"), "noise must be one of"),
        (lambda: consistency_gap(lambda s: s, [0.5]), "sigmas must be decreasing"),
        (lambda: consistency_gap(lambda s: s, [0.5, 0.6]), "sigmas must be decreasing"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
