"""Langevin statistics, curvature, point laws, prototypes, shrinkage and the PAC-Bayes bound."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fewtheory.arrays import to_numpy
from fewtheory.learning import (
    best_lam,
    debiased_mean,
    gauss_newton,
    implicit_gradient,
    inner_steps,
    laplace,
    maml_gradient,
    moreau,
    pac_bayes_bound,
    precision_from_variance,
    prototype_head,
    prototypes,
    sgld,
    sgld_moments,
    softmax_curvature,
)
from fewtheory.learning.niw import shrinkage as s
from fewtheory.learning.niw.sgld import SGLDStatistics

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "niwmeta.json").read_text())
EPS = np.finfo(float).eps
TAU2, V = np.array([4.0, 1.0, 0.05]), np.full(3, 0.5)


def test_langevin_moments_are_the_known_ones():
    i = KNOWN[3]["inputs"]
    at = sgld_moments(i["curvature"], i["eta"], i["T"], mbar=i["mbar"], start=i["start"])
    found = [at.mean, at.variance, at.stationary]
    # the file gives the mean to its last seven digits
    assert found == pytest.approx(KNOWN[3]["expected"], abs=5e-8)


def test_langevin_iterates_have_the_moments(rng):
    n, A = 20_000, 4.0
    found = sgld(lambda x: A * (x - 1.3), np.full(n, -0.5), eta=0.1, steps=5, rng=rng)
    at = sgld_moments(A, 0.1, 5, mbar=1.3, start=-0.5)
    for sample, mean in ((found.mean, at.mean), (found.variance, at.within)):
        assert abs(sample.mean() - mean) < 5 * sample.std() / math.sqrt(n)
    assert found.last.var() == pytest.approx(at.variance, rel=5 * math.sqrt(2 / n))


def test_a_noisy_gradient_adds_its_variance(rng):
    n, spread = 20_000, 3.0
    found = sgld(
        lambda x: 4 * x + spread * rng.standard_normal(n), np.zeros(n), eta=0.1, steps=40, rng=rng
    )
    at = sgld_moments(4.0, 0.1, 40, gradient_noise=spread)
    assert found.last.var() == pytest.approx(at.stationary, rel=5 * math.sqrt(2 / n))


def test_what_is_debiased_is_the_episodes_own(asarray):
    eta, A = 0.05, np.array([4.0, 0.5])
    at = [sgld_moments(float(a), eta, 7, mbar=1.0, start=3.0) for a in A]
    found = precision_from_variance(asarray([m.stationary for m in at]), eta)
    assert to_numpy(found) == pytest.approx(A, rel=1e-13)
    mean = debiased_mean(asarray([m.mean for m in at]), asarray([3.0, 3.0]), asarray(A), eta, 7)
    assert to_numpy(mean) == pytest.approx(1.0, rel=1e-11)


def test_burn_in_leaves_the_first_iterates_out(rng):
    kept = sgld(lambda x: 0 * x, np.zeros(1), eta=1e-12, steps=4, burn_in=3, rng=rng)
    assert kept.variance == 0
    assert kept.mean == kept.last


def test_statistics_become_an_episode_with_a_clip(asarray):
    found = SGLDStatistics(asarray([1.0, 2.0]), asarray([0.25, 1e-9]), asarray([0.0, 0.0]))
    assert to_numpy(found.episode(clip=1e3).A) == pytest.approx([4.0, 1e3])


def test_laplace_of_a_quadratic_is_the_quadratic(asarray):
    H, c = asarray([[2.0, 0.5], [0.5, 1.0]]), asarray([1.0, -3.0])
    found = laplace(
        lambda x: float(0.5 * (x - c) @ H @ (x - c)), lambda x: H @ (x - c), lambda x: H, 0 * c
    )
    assert to_numpy(found.mbar) == pytest.approx([1.0, -3.0], abs=1e-12)
    assert to_numpy(found.A) == pytest.approx(to_numpy(H))


def test_laplace_says_when_there_is_no_minimum():
    with pytest.raises(RuntimeError, match="no minimum in 3 steps"):
        laplace(
            lambda x: float(-x[0]), lambda x: -np.ones(1), lambda x: np.eye(1), np.ones(1), steps=3
        )


def test_gauss_newton_of_a_linear_softmax_is_its_hessian(asarray):
    rng = np.random.default_rng(0)
    x, W, h = rng.standard_normal((5, 2)), rng.standard_normal(6), 1e-4
    J = np.einsum("kc,ni->nkci", np.eye(3), x).reshape(5, 3, 6)  # outputs W x

    def gradient(w):
        z = x @ w.reshape(3, 2).T
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        return np.einsum("nk,nkd->d", p, J)  # the labels' part is constant

    z = x @ W.reshape(3, 2).T
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    found = to_numpy(gauss_newton(asarray(J), softmax_curvature(asarray(p))))
    differences = [(gradient(W + h * e) - gradient(W - h * e)) / (2 * h) for e in np.eye(6)]
    assert found == pytest.approx(np.array(differences), abs=10 * h**2)


def test_reptile_imaml_and_maml_agree_with_their_closed_forms_on_a_quadratic(asarray):
    A, c, m0 = np.array([[3.0, 0.5], [0.5, 1.0]]), np.array([1.0, 2.0]), np.array([-1.0, 0.3])
    H, centre = asarray(A), asarray(c)

    def gradient(x):
        return H @ (x - centre)

    def loss(x):
        return float(0.5 * (x - centre) @ gradient(x))

    near = moreau(loss, gradient, lambda x: H, asarray(m0), 0.7)
    shrunk = np.linalg.solve(np.eye(2) + 0.7 * A, A @ (m0 - c))
    assert to_numpy(near.gradient) == pytest.approx(shrunk, rel=1e-11)
    g = to_numpy(implicit_gradient(H, asarray(c), 0.7))
    assert g == pytest.approx(np.linalg.solve(np.eye(2) + 0.7 * A, c), rel=1e-13)
    power = np.linalg.matrix_power(np.eye(2) - 0.1 * A, 3)
    theta = to_numpy(inner_steps(gradient, asarray(m0), alpha=0.1, steps=3))
    assert theta == pytest.approx(c + power @ (m0 - c), rel=1e-12)
    found = maml_gradient(gradient, lambda x: H, lambda x: x, asarray(m0), alpha=0.1, steps=3)
    assert to_numpy(found) == pytest.approx(power @ theta, rel=1e-12)


def test_prototypes_are_class_means_and_their_head_finds_the_nearest(asarray, rng):
    x, y = rng.standard_normal((12, 3)), np.arange(12) % 4
    c = prototypes(asarray(x), asarray(y), 4)
    means = np.stack([x[y == k].mean(0) for k in range(4)])
    assert to_numpy(c) == pytest.approx(means, rel=1e-13)
    w, b = (to_numpy(v) for v in prototype_head(c))
    nearest = ((x[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (x @ w.T + b).argmax(1).tolist() == nearest.tolist()


def test_risks_are_the_known_ones(asarray):
    e = KNOWN[5]["expected"]
    tau2, v = asarray(TAU2), asarray(V)
    found = to_numpy(s.risk(s.bayes_gain(tau2, v), tau2, v)).sum()
    assert found == pytest.approx(e["bayes"], abs=1e-10)
    assert s.best_maml(tau2, v, 1)[1] == pytest.approx(e["maml1"], abs=1e-10)
    assert s.best_imaml(tau2, v)[1] == pytest.approx(e["maml1"], abs=1e-10)


def test_no_gain_has_less_risk_than_bayes(rng):
    tau2, v = rng.exponential(size=5), rng.exponential(size=5)
    best = s.risk(s.bayes_gain(tau2, v), tau2, v)
    for g in np.linspace(0, 1, 21):
        assert np.all(s.risk(g, tau2, v) >= best - 8 * EPS)
    for steps in (1, 3):
        assert s.best_maml(tau2, v, steps)[1] >= best.sum()


def test_with_unequal_curvatures_more_steps_of_maml_have_another_shape():
    v = np.array([0.1, 0.5, 2.0])
    found = [s.best_maml(TAU2, v, k)[1] for k in (1, 2, 5, 20)]
    assert len({round(f, 6) for f in found}) == 4
    alpha, value = s.best_maml(TAU2, v, 2)
    around = [s.risk(s.maml_gain(v, alpha * f, 2), TAU2, v).sum() for f in (0.999, 1.001)]
    assert min(around) >= value - 1e-12


def test_the_expected_log_loss_is_that_of_draws(rng):
    n, g = 100_000, np.array([0.7, 0.4, 0.2])
    theta = np.sqrt(TAU2) * rng.standard_normal((n, 3))
    ybar = theta + np.sqrt(V) * rng.standard_normal((n, 3))
    new = theta + math.sqrt(0.2) * rng.standard_normal((n, 3))
    loss = 0.5 * (np.log(2 * np.pi * 0.5) + (new - g * ybar) ** 2 / 0.5)
    told = s.predictive_log_loss(g, TAU2, V, 0.2, 0.3)
    assert np.all(np.abs(loss.mean(0) - told) < 5 * loss.std(0) / math.sqrt(n))


def test_the_bound_is_least_at_its_best_weight():
    best = best_lam(0.2, 3.0, 500, delta=0.1)
    value = pac_bayes_bound(0.2, 3.0, 500, delta=0.1, lam=best)
    others = [
        pac_bayes_bound(0.2, 3.0, 500, delta=0.1, lam=k) for k in np.linspace(0.01, 1.99, 199)
    ]
    assert value <= min(others)
    assert value < pac_bayes_bound(0.2, 3.0, 250, delta=0.1, lam=best)


def quad(x):
    return np.sum(x * x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: sgld_moments(4.0, 0.5, 3), "eta must be below 2 / A = 0.5"),
        (lambda r: sgld_moments(-1.0, 0.5, 3), "sgld_moments: A must be"),
        (lambda r: sgld_moments(4.0, 0.1, 0), "sgld_moments: T must be"),
        (lambda r: sgld(quad, np.zeros(2), eta=0.0, steps=3, rng=r), "sgld: eta must be"),
        (lambda r: sgld(quad, np.zeros(2), eta=0.1, steps=3, burn_in=3, rng=r), "burn_in must be"),
        (lambda r: sgld(quad, np.zeros(2), eta=0.1, steps=3, rng=1), "sgld: rng must be"),
        (lambda r: sgld(quad, np.array([np.nan]), eta=0.1, steps=3, rng=r), "start must be finite"),
        (lambda r: precision_from_variance(np.zeros(1), 0.1), "variance must be positive"),
        (lambda r: debiased_mean(np.ones(1), np.ones(1), np.zeros(1), 0.1, 3), "A must be in"),
        (lambda r: gauss_newton(np.ones((2, 1, 3)), np.ones((2, 2, 2))), "J must be of shape"),
        (lambda r: implicit_gradient(np.eye(3), np.ones(2), 1.0), "hessian must be of shape"),
        (lambda r: moreau(quad, quad, quad, np.ones(2), 0.0), "moreau: s2 must be"),
        (lambda r: inner_steps(quad, np.ones(2), alpha=0.1, steps=-1), "inner_steps: steps must"),
        (lambda r: prototypes(np.ones((2, 1)), np.array([0, 0]), 2), "labels must be such that"),
        (lambda r: prototypes(np.ones((2, 1)), np.array([0, 2]), 2), "labels must be of shape"),
        (lambda r: prototypes(np.ones((2, 1)), [0, 1], 2), "labels must be an array of integers"),
        (lambda r: prototype_head(np.ones(2)), "prototype_head: c must be"),
        (lambda r: s.bayes_gain(-np.ones(1), np.ones(1)), "tau2 must be not negative"),
        (lambda r: s.risk(0.5, np.ones(2), np.zeros(2)), "risk: v must be positive"),
        (lambda r: s.maml_gain(np.ones(1), -0.1, 1), "maml_gain: alpha must be"),
        (lambda r: s.imaml_gain(np.ones(1), -0.1), "imaml_gain: lam must be"),
        (lambda r: s.best_maml(np.ones(1), np.ones(1), 0), "best_maml: steps must be"),
        (lambda r: s.predictive_log_loss(0.5, np.ones(1), np.ones(1), 0.0, 1.0), "noise_variance"),
        (lambda r: pac_bayes_bound(0.1, 1.0, 10, delta=0.1, lam=2.0), "lam must be in"),
        (lambda r: pac_bayes_bound(1.1, 1.0, 10, delta=0.1, lam=1.0), "empirical must be"),
        (lambda r: pac_bayes_bound(0.1, -1.0, 10, delta=0.1, lam=1.0), "kl must be"),
        (lambda r: best_lam(0.1, 1.0, 10, delta=1.0), "delta must be in"),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(rng)
