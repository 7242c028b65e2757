"""Subintervals: targets, levels, weights and what their theory says, against closed forms."""

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewtheory import Model, paths
from fewtheory.distill.parts.intervals import interval_level, raised
from fewtheory.distill.parts.subinterval import (
    biased_loss,
    phase_weight,
    subinterval_coefficients,
    subinterval_loss,
    subinterval_target,
    subinterval_weight,
)
from fewtheory.distill.theory.mode_seeking import ModeTransition
from fewtheory.distill.theory.phases import (
    biased_error,
    biased_flow,
    carried,
    noised_kl,
    target_variance,
    unlocked_share,
)
from fewtheory.testbeds import Gaussian, GaussianMixture, mixture_1d

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "phased-dmd.json").read_text())
RF, TRIG, VP = paths.RectifiedFlow(), paths.Trigonometric(), paths.VPLinear()
NAMED = {"rectified-flow": RF, "trigonometric": TRIG}
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
FOUR = mixture_1d([0.25] * 4, [-1.0, 0.0, 1.0, 2.0], [1e-9] * 4)
ONE = np.ones((1, 1))


@pytest.mark.parametrize("known", KNOWN[:2])
def test_coefficients_are_known(known):
    path, s, t = NAMED[known["inputs"]["path"]], known["inputs"]["s"], known["inputs"]["t"]
    r, beta = interval_level(path, s, t)
    rows = {kind: subinterval_coefficients(path, s, t, kind) for kind in ("flow", "noise", "data")}
    found = {
        "alpha_ts": r,
        "sigma_ts": beta,
        "flow_xs": rows["flow"][0],
        "flow_eps": rows["flow"][1],
        "eps_target_eps": rows["noise"][1],
        "x0_target_xs": rows["data"][0],
        "x0_target_eps": rows["data"][1],
        "generator_weight": phase_weight(path, s, t),
    }
    assert found == pytest.approx(known["expected"], rel=1e-13)


def test_the_score_and_the_velocity_rows_are_affine_in_the_others():
    s, t = 0.3, 0.7
    score = subinterval_coefficients(TRIG, s, t, "score")
    assert score == pytest.approx((0.0, -1 / interval_level(TRIG, s, t)[1]), rel=1e-14)
    data, noise = (np.array(subinterval_coefficients(TRIG, s, t, k)) for k in ("data", "noise"))
    velocity = TRIG.dalpha(t) * data + TRIG.dsigma(t) * noise
    assert subinterval_coefficients(TRIG, s, t, "velocity") == pytest.approx(velocity, rel=1e-13)


def test_on_the_rectified_path_flow_is_the_velocity():
    a, b = (subinterval_coefficients(RF, 0.5, 0.8, kind) for kind in ("flow", "velocity"))
    assert a == pytest.approx(b, rel=1e-14)


def test_from_clean_samples_the_targets_are_the_usual_ones(asarray):
    x0, eps = asarray([[0.3], [-1.0]]), asarray([[1.0], [0.5]])
    t = asarray([0.4, 0.9])
    flow = subinterval_target(VP, x0, eps, 0, t)
    assert np.asarray(flow) == pytest.approx(np.asarray(eps - x0), rel=1e-12)
    data = subinterval_target(VP, x0, eps, 0.0, t, "data")
    assert np.asarray(data) == pytest.approx(np.asarray(x0), rel=1e-12)


def test_arrays_of_every_library_give_what_numbers_do(asarray):
    x, eps, t = asarray([[0.3], [-1.0]]), asarray([[1.0], [0.5]]), asarray([0.6, 0.9])
    for path in (RF, TRIG, VP, paths.VPCosine(), paths.Table(np.cumprod(1 - BETAS))):
        target = np.asarray(subinterval_target(path, x, eps, 0.5, t))
        up, w = np.asarray(raised(path, x, eps, 0.5, t)), subinterval_weight(path, 0.5, t)
        for i, u in enumerate((0.6, 0.9)):
            r, beta = interval_level(path, 0.5, u)
            a, b = subinterval_coefficients(path, 0.5, u)
            xi, ei = float(x[i, 0]), float(eps[i, 0])
            assert up[i, 0] == pytest.approx(r * xi + beta * ei, rel=1e-12)
            assert target[i, 0] == pytest.approx(a * xi + b * ei, rel=1e-12)
            assert float(w[i]) == pytest.approx(subinterval_weight(path, 0.5, u), rel=1e-12)


def test_single_precision_stays_and_keeps_its_digits():
    t = torch.tensor([0.50001, 0.5003])
    beta = interval_level(VP, 0.5, t)[1]
    assert beta.dtype == torch.float32
    exact = [interval_level(VP, 0.5, float(u))[1] for u in t]
    assert beta.numpy() == pytest.approx(np.array(exact), rel=1e-6)


@given(st.floats(0.01, 0.95), st.floats(1e-6, 1.0), st.sampled_from(["lin", "cos", "rf"]))
def test_levels_go_up_in_two_steps_as_in_one(s, part, name):
    path = {"lin": VP, "cos": paths.VPCosine(), "rf": RF}[name]
    t = s + part * (0.98 - s)
    middle = 0.5 * (s + t)
    (r1, b1), (r2, b2) = interval_level(path, s, middle), interval_level(path, middle, t)
    r, beta = interval_level(path, s, t)
    # t - s itself is known to eps / (t - s)
    rel = 1e-12 + 8 * 2.3e-16 / (t - s)
    assert r1 * r2 == pytest.approx(r, rel=1e-12)
    assert math.hypot(r2 * b1, b2) == pytest.approx(beta, rel=rel)


def test_the_level_at_s_is_without_noise():
    for path in (RF, TRIG, VP, paths.VPCosine(), paths.EDM()):
        assert interval_level(path, 0.5, 0.5) == (1.0, 0.0)


@pytest.mark.parametrize("interpolation", ["log", "linear"])
@pytest.mark.parametrize(("s", "t"), [(0.5002, 0.50021), (0.3001, 0.3021), (0.4999, 0.5001)])
def test_a_tables_levels_are_those_of_its_entries(interpolation, s, t):
    table = np.cumprod(1 - BETAS)
    path = paths.Table(table, interpolation=interpolation)

    def alpha2(u):
        at = mpmath.mpf(u) * 1000 - 1
        i = int(mpmath.floor(at))
        low, high = mpmath.mpf(float(table[i])), mpmath.mpf(float(table[i + 1]))
        if interpolation == "linear":
            return low + (at - i) * (high - low)
        return low * (high / low) ** (at - i)

    with mpmath.workdps(40):
        exact = float(mpmath.sqrt(1 - alpha2(t) / alpha2(s)))
    # t N - 1 is rounded to 1e-13 of an entry, of which a step of .01 entries is a part
    assert interval_level(path, s, t)[1] == pytest.approx(exact, rel=1e-11)


# the loss and its weight


def test_the_weight_is_one_away_from_s_and_none_at_s():
    assert subinterval_weight(RF, 0.5, 0.5) == 0.0
    assert subinterval_weight(RF, 0.5, 0.52) == pytest.approx(0.4, rel=1e-12)
    assert subinterval_weight(RF, 0.5, 0.9) == 1.0
    # clamping beta^2 from below at .01 is the limit 100: above .01, at beta^2 = .04, nothing
    assert subinterval_weight(RF, 0.5, 0.52, limit=100) == 1.0


def test_the_loss_is_the_weighted_regression():
    rng = torch.Generator().manual_seed(0)
    xs, eps = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64)
    t = torch.tensor([0.51, 0.52, 0.6, 0.8, 0.95], dtype=torch.float64)
    for kind in ("flow", "noise", "score"):
        model = Model(lambda x, t: 0.3 * x + 0.1, RF, kind)
        target = subinterval_target(RF, xs, eps, 0.5, t, kind)
        error = (model(raised(RF, xs, eps, 0.5, t), t) - target).square().mean(1)
        net = subinterval_weight(RF, 0.5, t)
        loss = subinterval_loss(model, xs, eps, 0.5, t)
        assert float(loss) == pytest.approx(float((net * error).mean()), rel=1e-12)
        plain = subinterval_loss(model, xs, eps, 0.5, t, limit=math.inf)
        assert float(plain) == pytest.approx(float(error.mean()), rel=1e-12)
        twice = subinterval_loss(model, xs, eps, 0.5, t, weight=lambda level: 2 * level.sigma**0)
        assert float(twice) == pytest.approx(2 * float(loss), rel=1e-12)


def test_at_s_itself_the_loss_and_its_gradient_are_finite():
    gain = torch.tensor(0.3, requires_grad=True)
    model = Model(lambda x, t: gain * x, RF, "flow")
    loss = subinterval_loss(model, torch.ones(2, 1), torch.ones(2, 1), 0.5, torch.full((2,), 0.5))
    (slope,) = torch.autograd.grad(loss, gain)
    # beta = 0: 10 (.5 eps / .5^2 (.5^2 + .5^2))^2 = 10, whatever the model says
    assert (loss.item(), slope.item()) == (pytest.approx(10.0), 0.0)


# theory


def test_the_bias_is_known():
    given_, expected = KNOWN[2]["inputs"], KNOWN[2]["expected"]
    found = biased_error(given_["m"], given_["c2"], RF, given_["s"], given_["t"])
    assert vars(found) == pytest.approx(expected, rel=1e-12)


def test_variances_and_the_net_weight_are_known():
    given_, expected = KNOWN[3]["inputs"], KNOWN[3]["expected"]
    c, s, t = given_["c2"], given_["s"], given_["t"]
    found = target_variance(c, RF, s, t)
    assert found == pytest.approx(expected["conditional_variance"], rel=1e-12)
    clean = target_variance(c, RF, 0.0, t)
    assert clean == pytest.approx(expected["clean_target_variance"], rel=1e-12)
    assert subinterval_weight(RF, s, t) == expected["net_clamped_weight"]


def test_the_fields_of_four_points_are_known():
    given_, expected = KNOWN[4]["inputs"], KNOWN[4]["expected"]
    x, s, t = np.array([[given_["x"]]]), given_["s"], given_["t"]
    model = FOUR.model(RF, "flow")
    assert float(model(x, t)[0, 0]) == pytest.approx(expected["velocity"], rel=1e-12)
    data = model.predicting("data")(x, t)
    assert float(data[0, 0]) == pytest.approx(expected["denoiser"], rel=1e-12)
    biased = biased_flow(model, x, s, t)
    assert float(biased[0, 0]) == pytest.approx(expected["biased_minimiser"], rel=1e-12)


def test_where_the_biased_field_leads_is_known():
    expected = KNOWN[5]["expected"]
    found = carried(FOUR, RF, 0.5, "biased", start=0.999, steps=16)
    for name in ("w2", "mean", "std"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=KNOWN[5]["tolerance"])


def test_at_clean_samples_the_biased_field_is_the_exact_one():
    x = np.array([[0.3], [-1.0]])
    exact = FOUR.model(RF, "flow")
    assert biased_flow(exact, x, 0.0, 0.8) == pytest.approx(exact(x, 0.8), rel=1e-11)


def test_the_noised_divergence_of_gaussians_is_the_closed_form():
    q, p = mixture_1d([1.0], [0.3], [1.2]), mixture_1d([1.0], [-0.2], [0.7])
    r, beta = interval_level(VP, 0.2, 0.6)
    v, w = (r * 1.2) ** 2 + beta**2, (r * 0.7) ** 2 + beta**2
    exact = 0.5 * (v / w - 1 - math.log(v / w) + (0.5 * r) ** 2 / w)
    assert noised_kl(q, p, VP, 0.2, 0.6) == pytest.approx(exact, rel=1e-12)


def test_levels_beyond_the_fold_are_counted_from_it():
    at_half = ModeTransition(0.5, 1.0, 1.0)  # rho = 1 is t = .5
    shares = [unlocked_share(at_half, RF, low, high) for low, high in ((0.5, 1), (0.25, 0.75))]
    assert shares == pytest.approx([1.0, 0.5], rel=1e-14)


# bad input


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: interval_level(RF, 0.5, 0.4), ValueError, "t must be at least s = 0.5, got"),
        (lambda: interval_level(RF, -0.1, 0.4), ValueError, "s must be finite in"),
        (lambda: interval_level(RF, 0.5, 1.4), ValueError, r"t must be in \[0, 1\] on"),
        (
            lambda: subinterval_coefficients(RF, 0.5, 0.8, "eps"),
            ValueError,
            "subinterval_coefficients: kind must be one of 'data'",
        ),
        (
            lambda: subinterval_target(RF, ONE, np.ones((2, 1)), 0.5, 0.8),
            ValueError,
            r"subinterval_target: eps must be of the shape of xs, \(1, 1\), got \(2, 1\)",
        ),
        (lambda: raised(RF, [1.0], ONE, 0.5, 0.8), TypeError, "raised: x must be an array"),
        (
            lambda: subinterval_weight(RF, 0.5, 0.8, limit=0.0),
            ValueError,
            "subinterval_weight: limit must be above 0, got 0.0",
        ),
        (
            lambda: subinterval_loss(
                FOUR.model(RF), torch.ones(1, 1), torch.ones(2, 1), 0.5, torch.tensor([0.6])
            ),
            ValueError,
            "subinterval_loss: eps must be of the shape of xs",
        ),
        (lambda: target_variance(-1.0, RF, 0.5, 0.8), ValueError, "target_variance: c must be"),
        (lambda: target_variance(1.0, RF, 0.5, 0.5), ValueError, "t must be above s = 0.5"),
        (lambda: biased_error(0.5, -1.0, RF, 0.5, 0.8), ValueError, "biased_error: c must be"),
        (
            lambda: carried(FOUR, RF, 0.5, "exact"),
            ValueError,
            "carried: field must be one of 'unbiased', 'biased', got 'exact'",
        ),
        (
            lambda: carried(Gaussian([0.0], 1.0), RF, 0.5),
            ValueError,
            "carried: law must be a mixture in one dimension",
        ),
        (lambda: carried(FOUR, RF, 0.5, start=0.4), ValueError, "start must be above s = 0.5"),
        (
            lambda: noised_kl(FOUR, GaussianMixture([1.0], [[0.0]], [1.0]), RF, 0.1, 0.5),
            ValueError,
            "noised_kl: p must be a mixture in one dimension",
        ),
        (
            lambda: unlocked_share(ModeTransition(0.5, 1.0, 1.0), RF, 0.5, 0.5),
            ValueError,
            "unlocked_share: low must be under high = 0.5, got 0.5",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_biased_loss_is_least_at_the_biased_flow():
    # x_s ~ N(m, v): slopes of a quadratic loss in the field a x + b, by points exact for quadratics
    m, c, s, t = 0.5, 0.49, 0.5, 0.75
    alpha, sigma = 1 - s, s
    std = math.sqrt(alpha**2 * c + sigma**2)
    points = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0], [0.0, -2.0]]).double() / 2**0.5
    xs, eps = alpha * m + std * points[:, :1], points[:, 1:]
    exact = Gaussian([m], c).model(RF)
    at = np.array([[0.0], [1.0]])
    b, a_and_b = biased_flow(exact, at, s, t)[:, 0]
    field = torch.tensor([a_and_b - b, b], requires_grad=True)
    model = Model(lambda x, t: field[0] * x + field[1], RF, "flow")
    times = torch.full((4,), t, dtype=torch.float64)
    loss = biased_loss(model, xs, eps, s, times)
    (slopes,) = torch.autograd.grad(loss, field)
    assert slopes.abs().max() < 1e-13
