"""Preference training: exact ratios, extremes, the loss on a student, where it ends, bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fewtheory import Model, paths, testbeds
from fewtheory.arrays import to_numpy
from fewtheory.distill import FewSteps
from fewtheory.distill.parts.preference import (
    Preference,
    best_and_worst,
    drawn,
    preference_loss,
    preference_margin,
    renoise_log_ratio,
)
from fewtheory.distill.theory.exploration import candidate_spread, redrawn_share
from fewtheory.distill.theory.preferences import (
    drift_law,
    joint_optimum,
    preference_drift,
    preference_slope,
    preference_value,
    range_mean,
    soft_optimum,
)
from fewtheory.distill.theory.reward_matching import reward_guidance, reward_shift, tilted_shift

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "flash-dmd.json").read_text())
RF, TRIG = paths.RectifiedFlow(), paths.Trigonometric()
EPS = np.finfo(np.float64).eps


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# known answers


def test_ranges_and_shares_are_known():
    for k, d in zip(KNOWN[0]["inputs"]["k"], KNOWN[0]["expected"]["d_k"], strict=True):
        assert range_mean(k) == pytest.approx(d, abs=KNOWN[0]["tolerance"])
    found = [redrawn_share(TRIG, t, KNOWN[5]["inputs"]["c"]) for t in KNOWN[5]["inputs"]["t"]]
    assert found == pytest.approx(KNOWN[5]["expected"]["share"], abs=KNOWN[5]["tolerance"])


@pytest.mark.parametrize("known", KNOWN[1:3])
def test_joint_optima_are_known(known):
    found = joint_optimum(**known["inputs"])
    assert found == pytest.approx(known["expected"]["m"], abs=known["tolerance"])


def test_the_soft_optimum_is_known():
    found = soft_optimum(**{k: KNOWN[3]["inputs"][k] for k in ("sigma", "g", "beta")})
    assert float(found) == pytest.approx(KNOWN[3]["expected"]["shift"], abs=1e-14)


def test_the_tilted_mixture_and_its_guidance_are_known():
    i, expected, room = KNOWN[6]["inputs"], KNOWN[6]["expected"], KNOWN[6]["tolerance"]
    base = testbeds.GaussianMixture(i["w"], np.array(i["mu"])[:, None], i["v"])
    tilt = testbeds.reward_tilt(base, testbeds.Reward([i["a"]], [[i["q"]]]))
    assert tilt.log_normaliser == pytest.approx(expected["log_normaliser"], abs=room)
    assert tilt.law.weights == pytest.approx(expected["weights"], abs=room)
    assert tilt.law.means[:, 0] == pytest.approx(expected["means"], abs=room)
    x, level = np.array([[i["x"]]]), (i["alpha"], i["sigma"])
    score = base.score_at(x, *level) + reward_guidance(tilt, x, *level)
    assert score[0, 0] == pytest.approx(expected["score"], abs=room)


# the exact terms


def test_array_libraries_agree(asarray, rng):
    w, lost, mean, reference = rng.standard_normal((4, 6, 2, 3))
    plain = preference_margin(w, lost, mean, reference, 0.4)
    given_ = [asarray(v) for v in (w, lost, mean, reference)]
    found = preference_margin(given_[0], given_[1], given_[2], given_[3], 0.4)
    # six products of order one over .16
    assert to_numpy(found) == pytest.approx(plain, rel=1e-13, abs=64 * EPS / 0.16)
    ratio = renoise_log_ratio(given_[0], given_[2], given_[3], 0.4)
    other = renoise_log_ratio(w, mean, reference, 0.4)
    assert to_numpy(ratio) == pytest.approx(other, rel=1e-13, abs=64 * EPS / 0.16)
    loss = float(preference_loss(found, 0.3))
    assert loss == pytest.approx(float(np.logaddexp(0, -0.3 * plain).mean()), rel=1e-13)
    z, scores = rng.standard_normal((4, 6, 2)), rng.standard_normal((4, 6))
    best, worst = best_and_worst(asarray(z), asarray(scores))
    for n in range(6):
        assert to_numpy(best)[n].tolist() == z[scores[:, n].argmax(), n].tolist()
        assert to_numpy(worst)[n].tolist() == z[scores[:, n].argmin(), n].tolist()


def test_a_margin_is_the_difference_of_two_log_ratios(rng):
    w, lost, mean, reference = rng.standard_normal((4, 7, 5))
    ratios = [renoise_log_ratio(z, mean, reference, 0.6) for z in (w, lost)]
    # ten squares of order ten over .36
    room = 64 * EPS * 100 / 0.36
    found = preference_margin(w, lost, mean, reference, 0.6)
    assert found == pytest.approx(ratios[0] - ratios[1], abs=room)


def test_margins_far_out_neither_overflow_nor_lose_the_slope():
    h = torch.tensor([-1e4, 1e4], dtype=torch.float64, requires_grad=True)
    loss = preference_loss(h, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(1e4, rel=1e-14)
    assert h.grad is not None
    assert h.grad.tolist() == pytest.approx([-1.0, 0.0], abs=1e-14)


# on a student


class Affine(nn.Module):
    def __init__(self, gain=0.3, shift=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([gain], dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor([shift], dtype=torch.float64))

    def forward(self, x, t):
        return self.gain * x + self.shift


def as_model(network):
    return Model(lambda x, t: network(x, t), RF, "data")


def reward(z, t):
    return z.flatten(1).sum(1)


def test_the_first_pull_on_a_student_is_that_of_the_range():
    steps, like = FewSteps([0.9, 0.4]), torch.zeros(60_000, 1, dtype=torch.float64)
    for k, beta in ((2, 2.0), (4, 0.7)):
        student = Affine()
        wanted = Preference(reward, as_model(Affine()), at=(0,), k=k, beta=beta)
        loss = wanted.loss(as_model(student), steps, like, rng=generator(k))
        assert loss.item() == pytest.approx(math.log(2), rel=1e-14)
        slope = torch.autograd.grad(loss, student.shift)[0].item()
        # m = alpha shift / sigma with alpha = .6 and sigma = .4 at the next level; a range has a
        # standard deviation under .9, beta / 2 times 1.5 of it, six standard errors
        room = 6 * 0.9 * 0.75 * beta / math.sqrt(60_000)
        assert slope == pytest.approx(1.5 * preference_slope(0.0, k, beta), abs=room)


def test_the_loss_of_a_moved_student_is_the_value_at_its_shift():
    steps, like = FewSteps([0.9, 0.4]), torch.zeros(60_000, 1, dtype=torch.float64)
    wanted = Preference(reward, as_model(Affine()), at=(0,), k=4, beta=2.0)
    loss = wanted.loss(as_model(Affine(shift=0.2)), steps, like, rng=np.random.default_rng(1))
    # m = .6 * .2 / .4; the loss's standard deviation is under beta m times a range's
    room = 6 * 2.0 * 0.3 * 0.9 / math.sqrt(60_000)
    assert loss.item() == pytest.approx(preference_value(0.3, 4, 2.0), abs=room)


def test_rewards_see_the_next_level_and_only_the_last_step_has_a_gradient():
    seen = []

    def told(z, t):
        seen.append((tuple(z.shape), t, z.requires_grad))
        return reward(z, t)

    steps = FewSteps([0.9, 0.6, 0.3])
    wanted = Preference(told, as_model(Affine()), at=(0, 1), k=3)
    like = torch.zeros(5, 2, dtype=torch.float64)
    for seed in range(12):
        wanted.loss(as_model(Affine()), steps, like, rng=generator(seed))
    assert {s for s in seen} == {((5, 2), 0.6, False), ((5, 2), 0.3, False)}


def test_draws_are_uniform_for_both_kinds_of_generator():
    for rng in (generator(), np.random.default_rng(0)):
        counts = np.bincount([drawn(3, rng) for _ in range(3000)], minlength=3)
        # six standard deviations of a count
        assert counts == pytest.approx(1000, abs=6 * math.sqrt(3000 * 2 / 9))


# where it ends


@given(st.integers(2, 12), st.floats(0.1, 5.0), st.floats(0.01, 20.0))
def test_the_joint_optimum_balances_both_slopes(k, beta, lam):
    m = joint_optimum(k, beta, lam)
    # the root is known to 8 eps of its bracket, beta d_k / 2 / lam, times the curvature, at most
    # lam + beta^2 E R^2 / 4, and the slope to a few more
    d = range_mean(k)
    room = 16 * EPS * beta * d * (1 + beta**2 * (d * d + 1) / (4 * lam))
    assert lam * m + preference_slope(m, k, beta) == pytest.approx(0.0, abs=room)
    assert 0 < m < beta * range_mean(k) / (2 * lam)


def test_a_strong_distillation_term_leaves_the_first_pull_over_its_curvature():
    assert joint_optimum(4, 2.0, 1e4) * 1e4 == pytest.approx(range_mean(4), rel=1e-3)


def test_the_slope_is_the_derivative_of_the_value():
    h = 1e-5
    for m in (0.0, 0.7, 4.0):
        quotient = (preference_value(m + h, 3, 2.0) - preference_value(m - h, 3, 2.0)) / (2 * h)
        # h^2 / 6 times a third derivative of order 20, and rounding over h
        assert preference_slope(m, 3, 2.0) == pytest.approx(quotient, abs=1e-9)


def test_beta_only_scales_the_shift_without_distillation():
    # steps of rate on L(beta m) are steps of rate beta^2 on L(m), for beta m
    one = preference_drift(3, 2.0, 50, rate=0.5)
    two = preference_drift(3, 1.0, 50, rate=2.0)
    assert 2 * one == pytest.approx(two, rel=1e-12)


def test_a_run_follows_its_law_and_stops_where_distillation_holds_it():
    run = preference_drift(4, 2.0, 4000)
    assert run[-1] == pytest.approx(drift_law(4, 2.0, 2000.0), rel=0.05)  # next term, 1 / m^2
    held = preference_drift(4, 2.0, 2000, lam=0.1)[-1]
    assert held == pytest.approx(joint_optimum(4, 2.0, 0.1), rel=1e-12)
    assert joint_optimum(4, 2.0, 0) == math.inf


def test_the_soft_optimum_is_the_mean_of_a_tilted_law():
    g = np.array([1.3, -0.4])
    law = testbeds.GaussianMixture([1.0], [[0.0, 0.0]], [0.25])
    tilted = testbeds.reward_tilt(law, testbeds.Reward(g), 2.0).law
    assert soft_optimum(g, 0.5, 2.0) == pytest.approx(tilted.mean, rel=1e-13)


def test_shares_depend_on_the_ratio_of_noise_to_signal_alone(all_paths):
    found = []
    for path in all_paths:
        t = float(path.t_at(0.3))
        found.append(redrawn_share(path, t, 0.8))
    # a table's level is interpolated and still is at this ratio
    assert found == pytest.approx([found[0]] * len(found), rel=1e-9)


def test_more_candidates_and_more_noise_spread_further():
    spreads = [[candidate_spread(k, TRIG, t, 0.8, -2.0) for t in (0.25, 0.75)] for k in (2, 8)]
    assert np.all(np.diff(spreads, axis=0) > 0)
    assert np.all(np.diff(spreads, axis=1) > 0)


def test_a_reward_in_the_loss_at_no_noise_is_the_tilt():
    teacher = testbeds.Gaussian([1.0, -1.0], [[1.0, 0.3], [0.3, 0.5]])
    g = [0.3, -0.2]
    assert reward_shift(teacher, g, RF, [0.0]) == pytest.approx(tilted_shift(teacher, g), rel=1e-12)
    assert reward_shift(testbeds.Gaussian([0.0], 1.0), [0.3], RF, [0.3]) == pytest.approx(
        [0.3 * 0.58 / 0.49], rel=1e-13
    )
    diagonal = testbeds.Gaussian([1.0, -1.0], [1.0, 0.5])
    full = testbeds.Gaussian([1.0, -1.0], np.diag([1.0, 0.5]))
    shifts = [reward_shift(bed, g, RF, [0.2, 0.6]) for bed in (diagonal, full)]
    assert shifts[0] == pytest.approx(shifts[1], rel=1e-13)


def test_guidance_is_the_gradient_of_the_soft_value(rng):
    base = testbeds.GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], [0.3, 0.5])
    tilt = testbeds.reward_tilt(base, testbeds.Reward([0.6, -0.2], np.eye(2)), 0.7)
    x, h = rng.standard_normal((4, 2)), 1e-5
    t, found = 0.4, reward_guidance(tilt, x, 0.6, 0.4)
    for axis in range(2):
        step = h * np.eye(2)[axis]
        values = [tilt.soft_value(RF, x + s * step, t) / tilt.tau for s in (1, -1)]
        # second differences: h^2, and rounding of 1e-15 over h
        assert found[:, axis] == pytest.approx((values[0] - values[1]) / (2 * h), abs=1e-8)


Z = np.zeros((2, 1))
EXACT = testbeds.Gaussian([0.0], 1.0).model(RF)
ONE = testbeds.Gaussian([0.0], 1.0)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: renoise_log_ratio(Z, Z, Z, 0.0), ValueError, "sigma must be above 0: the last"),
        (lambda: preference_margin(Z, Z[:1], Z, Z, 1.0), ValueError, "loser must be of the shape"),
        (lambda: preference_margin(Z, Z, Z, [0.0], 1.0), TypeError, "reference must be an array"),
        (lambda: best_and_worst(Z[:1], Z[:1]), ValueError, "candidates must be .* k at least 2"),
        (lambda: best_and_worst(Z[..., None], Z[:, :0]), ValueError, "scores must be of shape"),
        (lambda: preference_loss(Z[:, 0], -1.0), ValueError, "preference_loss: beta must be"),
        (lambda: Preference(None, EXACT, at=(0,)), TypeError, "Preference: reward must be call"),
        (lambda: Preference(reward, ONE, at=(0,)), TypeError, "reference must be a Model, got Ga"),
        (lambda: Preference(reward, EXACT, at=()), ValueError, "Preference: at must be one or"),
        (lambda: Preference(reward, EXACT, at=(-1,)), ValueError, "Preference: at must be at le"),
        (lambda: Preference(reward, EXACT, at=(0,), k=1), ValueError, "k must be at least 2"),
        (lambda: Preference(reward, EXACT, at=(0,), beta=0), ValueError, "beta must be above 0"),
        (lambda: Preference(reward, EXACT, at=(0,), ratio=0), ValueError, "ratio must be at le"),
        (lambda: range_mean(1), ValueError, "range_mean: k must be at least 2, got 1"),
        (lambda: preference_value(math.nan, 2, 1.0), ValueError, "preference_value: m must be fi"),
        (lambda: preference_slope(0.0, 2, 0.0), ValueError, "preference_slope: beta must be abo"),
        (lambda: preference_drift(2, 1.0, -1), ValueError, "preference_drift: steps must be at"),
        (lambda: preference_drift(2, 1.0, 1, rate=-1), ValueError, "drift: rate must be finite"),
        (lambda: drift_law(2, 1.0, -1.0), ValueError, "drift_law: distance must be finite in"),
        (lambda: joint_optimum(2, 1.0, -0.1), ValueError, "joint_optimum: lam must be finite in"),
        (lambda: soft_optimum([math.inf], 1.0, 1.0), ValueError, "soft_optimum: g must be finite"),
        (lambda: redrawn_share(RF, 0.5, 0.0), ValueError, "redrawn_share: c must be above 0"),
        (lambda: redrawn_share(RF, 1.5, 1.0), ValueError, "redrawn_share: t must be"),
        (lambda: candidate_spread(4, RF, 0.5, 1.0, math.nan), ValueError, "spread: g must be fi"),
        (lambda: reward_shift(ONE, [0.3], RF, []), ValueError, "times must be one or more"),
        (lambda: reward_shift(ONE, [0.3, 1.0], RF, [0.5]), ValueError, "g must be of shape"),
        (lambda: tilted_shift(EXACT, [0.3]), TypeError, "tilted_shift: teacher must be a Gauss"),
        (lambda: reward_guidance(ONE, Z, 1.0, 1.0), TypeError, "tilt must be a RewardTilt"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
