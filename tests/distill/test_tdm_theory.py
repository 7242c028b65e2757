"""Trajectory laws, their weights and fixed points, pooled exits, greedy steps: closed forms."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewtheory import paths
from fewtheory.distill.parts.huber import huber_scale, pseudo_huber
from fewtheory.distill.parts.importance import (
    effective_fraction,
    importance_log_weight,
    weight_wall,
)
from fewtheory.distill.parts.intervals import (
    interval_gradient,
    interval_level,
    noise_gap,
    raised,
    step_down,
    step_gain,
    trajectory_target,
)
from fewtheory.distill.parts.step_levels import step_intervals
from fewtheory.distill.parts.student import FewSteps
from fewtheory.distill.theory.exit_pooling import exit_gradients, exit_pooling, pooled_kl
from fewtheory.distill.theory.greedy_steps import greedy_steps, particle_kl
from fewtheory.distill.theory.trajectories import exact_gain, gaussian_trajectory, state_gain
from fewtheory.testbeds import Gaussian, mixture_1d

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "tdm.json").read_text())
TRIG, RF, VE = paths.Trigonometric(), paths.RectifiedFlow(), paths.EDM()
TWO = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.5, 0.5])
NARROW = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.3, 0.3])


@pytest.mark.parametrize("known", KNOWN[:2])
def test_the_fixed_points_are_known(known):
    inputs = known["inputs"]
    found = gaussian_trajectory(inputs["c"] ** 2, TRIG, inputs["grid"], inputs["fake"])
    expected = np.array(known["expected"]["gain_and_variance"])
    assert found.gains == pytest.approx(expected[:, 0], rel=1e-12)
    assert found.variances == pytest.approx(expected[:, 1], rel=1e-12)


def test_the_weights_moment_and_wall_are_known():
    i, expected = KNOWN[2]["inputs"], KNOWN[2]["expected"]
    share = effective_fraction(TRIG, i["t"], i["s"], i["tau"], i["g"], i["var_t"])
    assert 1 / share == pytest.approx(expected["second_moment"], rel=1e-11)
    assert weight_wall(TRIG, i["s"]) == pytest.approx(expected["tau_threshold"], rel=1e-12)


def test_pooled_gradients_are_known():
    i, expected = KNOWN[3]["inputs"], KNOWN[3]["expected"]
    found = exit_gradients(i["b"], i["s"], TWO, i["rho"])
    assert found == pytest.approx([expected["grad_b1"], expected["grad_b2"]], rel=1e-10)
    own = exit_gradients(i["b"], i["s"], TWO, i["rho"], pooled=False)
    assert own[0] == pytest.approx(expected["own_grad_b1"], rel=1e-10)


def test_the_huber_loss_is_known(asarray):
    i, expected = KNOWN[4]["inputs"], KNOWN[4]["expected"]
    found = pseudo_huber(asarray([i["x"]]), asarray([i["y"]]), i["c"])
    assert float(found[0]) == pytest.approx(expected["loss"], rel=1e-13)
    x = torch.tensor([i["x"]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(
        pseudo_huber(x, torch.tensor([i["y"]], dtype=torch.float64), i["c"]).sum(), x
    )
    assert slope[0].tolist() == pytest.approx(expected["gradient"], rel=1e-13)


def test_the_gain_of_a_step_is_known():
    i = KNOWN[5]["inputs"]
    assert step_gain(TRIG, i["t"], i["s"]) == pytest.approx(KNOWN[5]["expected"], rel=1e-13)


# one step and its law


TIMES = {"edm": (0.5, 1.0, 3.0)}


def test_the_law_above_a_step_has_the_subtracted_variance(path):
    s, low, high = TIMES.get(path.name, (0.3, 0.5, 0.9))
    for tau in (low, high):
        r, beta = interval_level(path, s, tau)
        expected = path.sigma(tau) ** 2 - r**2 * path.sigma(s) ** 2
        assert beta**2 == pytest.approx(expected, rel=1e-12)
        gap = 1 - path.sigma(s) * path.alpha(tau) / (path.alpha(s) * path.sigma(tau))
        assert noise_gap(path, s, tau) == pytest.approx(gap, rel=1e-12)


@pytest.mark.parametrize("path", [TRIG, RF, VE], ids=lambda p: p.name)
def test_nothing_cancels_next_to_the_step(path):
    # beta^2 = sigma^2 g (2 - g) and g = (t - s) / (sigma alpha_s) to first order on all three
    mpmath = pytest.importorskip("mpmath")
    s, tau = 0.5, 0.5 + 2.0**-30
    with mpmath.workdps(40):
        S, T = mpmath.mpf(s), mpmath.mpf(tau)
        alpha, sigma = {
            "edm": (lambda t: mpmath.mpf(1), lambda t: t),
            "rectified-flow": (lambda t: 1 - t, lambda t: t),
            "trigonometric": (
                lambda t: mpmath.cos(mpmath.pi * t / 2),
                lambda t: mpmath.sin(mpmath.pi * t / 2),
            ),
        }[path.name]
        expected = mpmath.sqrt(sigma(T) ** 2 - (alpha(T) / alpha(S) * sigma(S)) ** 2)
        # a dozen roundings, and half of one in the root
        assert interval_level(path, s, tau)[1] == pytest.approx(float(expected), rel=16 * 2.3e-16)


def test_the_law_of_a_batch_of_levels_is_that_of_each(asarray, path):
    s, low, high = TIMES.get(path.name, (0.3, 0.5, 0.9))
    taus = asarray(np.linspace(low, high, 5))
    r, beta = interval_level(path, s, taus)
    for k, tau in enumerate(np.linspace(low, high, 5)):
        one = interval_level(path, s, float(tau))
        assert float(r[k]) == pytest.approx(one[0], rel=1e-12)
        assert float(beta[k]) == pytest.approx(one[1], rel=1e-12)


def test_single_precision_keeps_its_digits_next_to_the_step():
    tau = torch.tensor([0.501, 0.51, 0.6], dtype=torch.float32)
    beta = interval_level(RF, 0.5, tau)[1]
    wide = interval_level(RF, 0.5, tau.double())[1]
    assert beta.dtype == torch.float32
    assert beta.tolist() == pytest.approx(wide.tolist(), rel=8 * 1.2e-7)


def test_raising_twice_is_raising_once(path):
    s, low, high = TIMES.get(path.name, (0.3, 0.5, 0.9))
    (r1, b1), (r2, b2), (r, b) = (
        interval_level(path, *pair) for pair in ((s, low), (low, high), (s, high))
    )
    assert r1 * r2 == pytest.approx(r, rel=1e-12)
    assert math.hypot(r2 * b1, b2) == pytest.approx(b, rel=1e-12)


def test_arrays_of_every_library_go_through_a_step(asarray):
    x, x0, eps = (asarray(np.full((2, 3), v)) for v in (1.0, 0.5, -0.3))
    down = step_down(TRIG, x, x0, 0.75, 0.5)
    up, target = (f(TRIG, down, eps, 0.5, 0.6) for f in (raised, trajectory_target))
    expected = step_gain(TRIG, 0.75, 0.5) * 0.5 + float(TRIG.sigma(0.5) / TRIG.sigma(0.75))
    r, beta = interval_level(TRIG, 0.5, 0.6)
    assert float(down[0, 0]) == pytest.approx(expected, rel=1e-14)
    assert float(up[1, 2]) == pytest.approx(r * expected - 0.3 * beta, rel=1e-13)
    told = (expected + 0.3 * r * float(TRIG.sigma(0.5)) ** 2 / beta) / float(TRIG.alpha(0.5))
    assert float(target[0, 1]) == pytest.approx(told, rel=1e-13)
    for form in ("sum", "mean"):
        assert importance_log_weight(TRIG, x0, down, eps, 0.5, 0.6, form=form).shape == (2,)


def test_at_the_clean_end_the_target_is_the_sample_and_the_weight_is_one(rng):
    x, eps = rng.standard_normal((2, 4, 3))
    assert np.array_equal(trajectory_target(TRIG, x, eps, 0.0, 0.4), x)
    assert importance_log_weight(TRIG, x, x, eps, 0.0, 0.4) == pytest.approx(0.0, abs=1e-14)
    assert interval_level(TRIG, 0.0, 0.4) == (TRIG.alpha(0.4), TRIG.sigma(0.4))


def test_the_gradient_vanishes_at_the_teachers_own_law(rng):
    x, eps = rng.standard_normal((2, 6, 2))
    teacher = Gaussian([0.3, -0.2], [0.5, 1.0]).model(TRIG)
    assert np.array_equal(interval_gradient(x, eps, 0.4, 0.7, teacher, teacher), 0 * x)


# fixed points, weights


@given(st.floats(0.05, 4.0), st.floats(0.05, 0.95), st.floats(0.05, 0.9))
def test_the_exact_gain_lands_on_the_teachers_variance(c, t, part):
    s = t * part
    v = float(TRIG.alpha(t)) ** 2 * c + float(TRIG.sigma(t)) ** 2
    h = state_gain(TRIG, t, s, exact_gain(c, TRIG, t, s))
    expected = float(TRIG.alpha(s)) ** 2 * c + float(TRIG.sigma(s)) ** 2
    assert h * h * v == pytest.approx(expected, rel=1e-11)


def test_the_effective_share_falls_like_a_power_and_the_demos_does_not():
    one, many = (effective_fraction(TRIG, 1, 0.5, 0.9, 0.7, 1, d) for d in (1, 64))
    assert many == pytest.approx(one**64, rel=1e-12)
    demo = effective_fraction(TRIG, 1, 0.5, 0.9, 0.7, 1, 64, form="mean")
    assert 0.9996 < demo < 0.99961


def test_the_effective_share_is_that_of_samples(rng):
    n, d = 400_000, 3
    x_t, eps = rng.standard_normal((2, n, d))
    x = step_down(TRIG, x_t, 0.7 * x_t, 1.0, 0.5)
    for form in ("sum", "mean"):
        w = np.exp(importance_log_weight(TRIG, 0.7 * x_t, x, eps, 0.5, 0.9, form=form))
        found = w.mean() ** 2 / (w * w).mean()
        exact = effective_fraction(TRIG, 1, 0.5, 0.9, 0.7, 1, d, form=form)
        # w^2 has a relative std under 1 here: five standard errors
        assert found == pytest.approx(exact, rel=5 / math.sqrt(n))


# pooled exits


def test_overlapping_exits_are_warned_of():
    steps = FewSteps([1.0, 0.75, 0.5, 0.25], "deterministic")
    disjoint = exit_pooling([p.levels for p in step_intervals(steps)])
    assert not disjoint.pooled
    assert disjoint.alone.tolist() == [1.0] * 4
    with pytest.warns(UserWarning, match="one fake score serves several exits"):
        found = exit_pooling([p.levels for p in step_intervals(steps, "to the end")])
    assert found.pooled
    assert found.alone[:3].tolist() == [0.0, 0.0, 0.0]
    assert found.alone[3] == pytest.approx((0.26 - 0.02) / (0.99 - 0.02))
    assert "25%" in found.advice
    assert not exit_pooling([(0.02, 0.98)] * 4, told=True).pooled
    assert not exit_pooling([(0.02, 0.98)]).pooled


def test_one_exit_has_one_gradient_whoever_is_told():
    pooled, own = (exit_gradients([0.7], 0.5, TWO, 0.8, pooled=p) for p in (True, False))
    assert pooled == pytest.approx(own, rel=1e-12)


def test_pooled_exits_may_hold_one_mode_each():
    assert pooled_kl([2.0, -2.0], 0.5, TWO, 0.3) == pytest.approx(0.0, abs=1e-13)
    assert pooled_kl([-2.0], 0.5, TWO, 0.3) == pytest.approx(math.log(2), abs=2e-3)


# greedy steps


def test_the_divergence_of_particles_is_exact_for_one_gaussian():
    value, gradient = particle_kl([0.4], 0.7, mixture_1d([1.0], [1.0], [0.5]))
    expected = math.log(0.5 / 0.7) + (0.49 + 0.36) / 0.5 - 0.5
    assert value == pytest.approx(expected, rel=1e-12)
    assert gradient == pytest.approx([-0.6 / 0.25], rel=1e-12)


def test_the_trajectory_law_is_the_better_student_at_two_steps():
    runs = [
        greedy_steps(NARROW, TRIG, [1, 0.5, 0], law, particles=60)
        for law in ("trajectory", "renoised")
    ]
    assert runs[0].distances[1] < 0.6 * runs[1].distances[1]
    assert runs[0].distances[0] < 0.2 * runs[1].distances[0]
    assert runs[0].states.shape == (2, 60)
    assert runs[0].parameters.shape == (2, 4)


# bad input


STEPS = FewSteps([1.0, 0.5], "deterministic")
X = np.ones((2, 3))


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: noise_gap(RF, -0.1, 0.5), ValueError, "noise_gap: s must be"),
        (lambda: noise_gap(RF, 0.5, 0.4), ValueError, "noise_gap: t must be at least s = 0.5"),
        (lambda: noise_gap(RF, 0.5, np.array([0.6, 0.4])), ValueError, "noise_gap: t must be at"),
        (lambda: noise_gap(RF, 0.5, 1.5), ValueError, "noise_gap: t must be in"),
        (lambda: noise_gap(RF, 1.0, 1.0), ValueError, "noise_gap: s must be where alpha is abo"),
        (lambda: step_gain(RF, 0.5, 0.6), ValueError, "noise_gap: t must be at least s = 0.6"),
        (
            lambda: interval_gradient(X, X[:1], 0.5, 0.6, STEPS, STEPS),
            ValueError,
            "interval_gradient: eps must be of the shape of x",
        ),
        (
            lambda: interval_gradient(X, X, 0.5, 0.6, STEPS, STEPS),
            TypeError,
            "interval_gradient: teacher must be a Model, got FewSteps",
        ),
        (lambda: step_intervals(STEPS, "all"), ValueError, "step_intervals: intervals must be"),
        (lambda: step_intervals(STEPS, margin=0.4), ValueError, "step_intervals: margin must be"),
        (
            lambda: importance_log_weight(RF, X, X, X, 0.5, 0.6, form="max"),
            ValueError,
            "importance_log_weight: form must be one of",
        ),
        (
            lambda: importance_log_weight(RF, X[:1], X, X, 0.5, 0.6),
            ValueError,
            "importance_log_weight: x0 must be of the shape of x",
        ),
        (
            lambda: effective_fraction(RF, 1, 0.5, 0.9, 0.7, -1.0),
            ValueError,
            "effective_fraction: variance must be",
        ),
        (
            lambda: effective_fraction(RF, 1, 0.5, 0.9, 0.7, 1.0, 0),
            ValueError,
            "effective_fraction: d must be at least 1",
        ),
        (lambda: huber_scale(0), ValueError, "huber_scale: d must be at least 1"),
        (lambda: pseudo_huber(X, X, 0.0), ValueError, "pseudo_huber: c must be above 0"),
        (lambda: pseudo_huber(X, X[:1], 1.0), ValueError, "pseudo_huber: y must be of the shape"),
        (lambda: pseudo_huber(X, X, 1.0, norm="l1"), ValueError, "pseudo_huber: norm must be one"),
        (
            lambda: gaussian_trajectory(0.0, RF, [1, 0]),
            ValueError,
            "gaussian_trajectory: c must be above 0",
        ),
        (
            lambda: gaussian_trajectory(0.5, RF, [0, 1]),
            ValueError,
            "gaussian_trajectory: times must be two or more, decreasing",
        ),
        (
            lambda: gaussian_trajectory(0.5, RF, [2, 0]),
            ValueError,
            "gaussian_trajectory: times must be in",
        ),
        (
            lambda: gaussian_trajectory(0.5, RF, [1, 0], "exact"),
            ValueError,
            "gaussian_trajectory: law must be one of",
        ),
        (lambda: exact_gain(0.5, RF, 0.5, 0.5), ValueError, "exact_gain: s must be under t"),
        (lambda: exact_gain(-1.0, RF, 0.5, 0.4), ValueError, "exact_gain: c must be"),
        (lambda: exit_pooling([]), ValueError, "exit_pooling: levels must be pairs"),
        (lambda: exit_pooling([(0.5, 0.5)]), ValueError, "exit_pooling: levels must be pairs"),
        (
            lambda: exit_gradients([[1.0]], 0.5, TWO, 1.0),
            ValueError,
            r"exit_gradients: means must be of shape \(K,\)",
        ),
        (lambda: exit_gradients([1.0], 0.0, TWO, 1.0), ValueError, "exit_gradients: std must be"),
        (lambda: exit_gradients([1.0], 0.5, TWO, -1.0), ValueError, "exit_gradients: rho must be"),
        (
            lambda: exit_gradients([1.0], 0.5, Gaussian([0.0], 1.0), 1.0),
            ValueError,
            "exit_gradients: teacher must be a mixture in one dimension",
        ),
        (
            lambda: pooled_kl([1.0, 2.0], 0.5, TWO, 1.0, shares=[0.5, 0.6]),
            ValueError,
            "pooled_kl: shares must be 2 of them",
        ),
        (lambda: greedy_steps(3, RF, [1, 0]), ValueError, "greedy_steps: teacher must be a mixt"),
        (lambda: greedy_steps(TWO, RF, [0, 1]), ValueError, "greedy_steps: times must be two or"),
        (lambda: greedy_steps(TWO, RF, [1, 0], "naive"), ValueError, "greedy_steps: law must be"),
        (
            lambda: greedy_steps(TWO, RF, [1, 0], particles=1),
            ValueError,
            "greedy_steps: particles must be at least 2",
        ),
        (
            lambda: greedy_steps(TWO, RF, [1, 0], fractions=[1.0]),
            ValueError,
            "greedy_steps: fractions must be strictly between",
        ),
        (
            lambda: greedy_steps(TWO, RF, [1, 0], start=[1.0]),
            ValueError,
            "greedy_steps: start must be four numbers",
        ),
        (lambda: particle_kl([], 1.0, TWO), ValueError, "particle_kl: means must be of shape"),
        (lambda: particle_kl([0.0], 0.0, TWO), ValueError, "particle_kl: std must be above 0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
