"""Episodes' posteriors, one-time and finite training, adaptation."""

import json
from pathlib import Path

import numpy as np
import pytest

from fewtheory.arrays import to_numpy
from fewtheory.learning import (
    NIW,
    LocalLaw,
    OnlineNIW,
    Quadratic,
    adapt,
    adapt_student,
    average_objective,
    condition,
    envelope_gradient,
    fit,
    full_objective,
    law_excess,
    linear_episode,
    local_objective,
    local_posterior,
    one_time,
)
from fewtheory.testbeds import GaussianEpisodes

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "niwmeta.json").read_text())
EPS = np.finfo(float).eps
WORLD = GaussianEpisodes([1.0, -1.0], [[2.0, 0.8], [0.8, 0.5]], 0.5)


def law(**changes):
    """The sheet's law."""
    given = {"m0": np.array([0.3, -0.2]), "l0": 3.0, "V0": np.array([[2.0, 0.4], [0.4, 1.0]])}
    return NIW(**{**given, "n0": 9.0, **changes})


def some(n, rng, shots=3):
    """Quadratic losses of n episodes of WORLD."""
    drawn = (WORLD.draw(shots, 0, rng=rng).support for _ in range(n))
    return [linear_episode(x, y, noise=0.5) for x, y in drawn]


def test_the_posterior_is_the_known_one(asarray):
    i, e = KNOWN[1]["inputs"], KNOWN[1]["expected"]
    q = local_posterior(
        NIW(asarray(i["m0"]), 1.0, asarray(i["V0"]), i["n0"]),
        Quadratic(asarray(i["mbar"]), asarray(i["A"])),
    )
    assert to_numpy(q.m) == pytest.approx(np.array(e["m"]), abs=1e-12)
    assert to_numpy(q.V) == pytest.approx(np.array(e["V"]), abs=1e-12)


def test_a_diagonal_is_a_matrix_with_zeros():
    V, A, mbar = np.array([2.0, 1.0]), np.array([5.0, 0.0]), np.array([1.0, 7.0])
    thin = local_posterior(law(V0=V), Quadratic(mbar, A))
    full = local_posterior(law(V0=np.diag(V)), Quadratic(mbar, np.diag(A)))
    assert np.diag(thin.V) == pytest.approx(full.V, rel=8 * EPS)
    assert thin.m == pytest.approx(full.m, rel=8 * EPS)
    assert thin.m[1] == pytest.approx(
        -0.2, rel=8 * EPS
    )  # nothing was said about it: the mean stays


def test_a_linear_episode_is_minus_the_log_likelihood(rng, asarray):
    x, y = WORLD.draw(4, 0, rng=rng).support
    episode, theta = linear_episode(asarray(x), asarray(y), noise=0.5), np.array([0.3, 0.4])
    rest = (y - x @ theta) / 0.5
    expected = 0.5 * rest @ rest + 4 * np.log(0.5 * np.sqrt(2 * np.pi))
    assert float(episode(asarray(theta))) == pytest.approx(expected, rel=1e-12)
    slope = to_numpy(episode.gradient(asarray(theta)))
    assert slope == pytest.approx(-x.T @ rest / 0.5, rel=1e-11)


def test_the_expected_loss_is_the_mean_over_the_posterior(rng):
    episode, q = some(1, rng)[0], LocalLaw(np.zeros(2), np.array([[0.5, 0.2], [0.2, 0.3]]))
    theta = rng.multivariate_normal(q.m, q.V, 4000)
    values = np.array([float(episode(t)) for t in theta])
    assert abs(values.mean() - float(episode.expected(q))) < 5 * values.std() / np.sqrt(4000)


def test_the_objective_of_a_sharp_law_is_the_evidence_of_its_point(rng):
    x, y = WORLD.draw(3, 0, rng=rng).support
    n = 1e9
    sharp = NIW(WORLD.mean, n, WORLD.cov * n, n)
    found = -float(local_objective(sharp, linear_episode(x, y, noise=0.5)))
    # d (d + 1) / (4 n) + d / (2 n) away, and rounding of log|V0|
    assert found == pytest.approx(WORLD.log_evidence(x, y), abs=1e-8)


def test_adapting_under_a_sharp_student_prior_is_the_worlds_own_posterior(rng):
    x, y = WORLD.draw(3, 0, rng=rng).support
    n = 1e7
    sharp = NIW(WORLD.mean, n, WORLD.cov * n, n)
    found = adapt_student(sharp, linear_episode(x, y, noise=0.5))
    m, V = WORLD.posterior(x, y)
    assert found.mean() == pytest.approx(m, abs=1e-5)
    assert found.covariance() == pytest.approx(V, abs=1e-5)
    assert found.log_evidence == pytest.approx(WORLD.log_evidence(x, y), abs=1e-5)
    x_new, y_new = WORLD.draw(3, 0, rng=rng).support
    log_p = found.log_prob(x_new, y_new, noise=0.5)
    assert log_p == pytest.approx(WORLD.log_predictive(x, y, x_new, y_new), abs=1e-5)


def test_student_weights_add_up_and_the_grid_does_not_matter(rng):
    episode = some(1, rng)[0]
    for n0 in (2.1, 3.0, 9.0, 1e4):
        coarse, fine = (adapt_student(law(n0=n0), episode, nodes=k) for k in (400, 1600))
        assert coarse.weights.sum() == pytest.approx(1.0, abs=1e-13)
        assert coarse.log_evidence == pytest.approx(fine.log_evidence, abs=1e-10)
        assert coarse.covariance() == pytest.approx(fine.covariance(), abs=1e-9)


def test_a_heavy_prior_follows_an_outlier_and_the_modes_gaussian_does_not():
    episode = Quadratic(np.array([30.0, 0.0]), np.eye(2))
    heavy = adapt_student(law(n0=3.5), episode).mean()[0]
    assert heavy > 25 > adapt(law(n0=3.5), episode).m[0]


def test_one_visit_each_reaches_the_worlds_law(rng):
    stream = some(400, rng)
    start = NIW(np.zeros(2), 1e6, 50 * np.eye(2), 100.0)
    found = one_time(start, stream, rate=0.1)
    assert found.visits == 400
    # a mean of 400 episodes of deviation up to 1.5, the last hundred of which count
    assert np.abs(found.law.m0 - WORLD.mean).max() < 5 * 1.5 / 10
    assert np.abs(found.law.V0 / 100 - WORLD.cov).max() < 5 * 2 * np.sqrt(2) / 10
    held_out = some(60, rng)
    world = NIW(WORLD.mean, 1e6, WORLD.cov * 100, 100.0)
    before, after, best = (float(average_objective(k, held_out)) for k in (start, found.law, world))
    assert after - best < 0.05 * (before - best)


def test_a_product_is_trained_as_well(rng):
    episodes = [Quadratic(rng.normal(3.0, 2.0, 2), np.full(2, 4.0)) for _ in range(250)]
    found = one_time(NIW(np.zeros(2), 1e6, np.full(2, 10.0), 10.0), episodes, rate=0.1).law
    # mbar has the variance 4, its mean over a hundred episodes a deviation of 0.2
    assert np.all(np.abs(found.m0 - 3) < 5 * 0.2)
    # the prior has what curvature 4 leaves of it
    assert np.all(np.abs(found.V0 / 10 - (4 - 0.25)) < 5 * 4 * np.sqrt(2) / 10)


def test_the_gradient_vanishes_where_sweeps_of_the_stationary_equations_end(rng):
    episodes, now, n0 = some(6, rng, shots=40), NIW(np.zeros(2), 1e9, 9 * np.eye(2), 9.0), 9.0
    for _ in range(60):
        q = [local_posterior(now, e) for e in episodes]
        m = np.mean([k.m for k in q], axis=0)
        spread = np.mean([k.V + np.outer(k.m - m, k.m - m) for k in q], axis=0)
        now = NIW(m, 1e9, n0 * spread, n0)
    grads = [envelope_gradient(now, local_posterior(now, e)) for e in episodes]
    # a sweep keeps the share V_i / Sigma of the distance, below 1/2 in each direction
    assert np.abs(sum(g for g, _ in grads)).max() < 1e-6
    assert np.abs(sum(g for _, g in grads)).max() < 1e-6


def test_sweeps_lower_the_whole_objective_each_time(rng):
    episodes, prior = some(10, rng), NIW(np.zeros(2), 0.1, np.eye(2), 4.0)
    found = fit(prior, episodes)
    assert found.converged
    assert np.all(np.diff(found.objective) <= 1e-10)
    again = full_objective(found.law, prior, episodes, found.posteriors)
    assert found.objective[-1] == pytest.approx(float(again), rel=1e-14)
    assert not fit(prior, episodes, sweeps=1).converged


def test_online_without_discount_is_the_law_of_all_posteriors(rng):
    prior = law(l0=0.5)
    online = OnlineNIW(prior)
    seen = [online.visit(e) for e in some(6, rng)]
    whole = condition(prior, np.stack([q.m for q in seen]), np.stack([q.V for q in seen]))
    assert online.law.V0 == pytest.approx(whole.V0, rel=1e-12)
    assert online.law.m0 == pytest.approx(whole.m0, rel=1e-12)
    assert (online.law.l0, online.law.n0) == (whole.l0, whole.n0)


def test_with_a_discount_old_episodes_are_forgotten(rng):
    online = OnlineNIW(law(), discount=0.9)
    for centre in (0.0, 50.0):
        for _ in range(200):
            online.add(LocalLaw(centre + 0.1 * rng.standard_normal(2), 0.01 * np.eye(2)))
    assert online.law.l0 == pytest.approx(3 + 10)  # 1 / (1 - 0.9)
    # the prior's mean still counts for 3 of 13
    assert online.law.m0 == pytest.approx((3 * law().m0 + 10 * 50) / 13, rel=0.01)


def test_the_cost_of_a_law_is_the_asymptotic_one():
    for d in (1, 3, 10):
        n = 1e5
        told = d * (d + 1) / (4 * n) + d / (2 * 50.0)
        assert law_excess(n, 50.0, d) == pytest.approx(told, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Quadratic(np.zeros(2), -np.eye(2)), "A must be positive semidefinite"),
        (lambda: Quadratic(np.zeros(2), np.eye(3)), "Quadratic: A must be of shape"),
        (
            lambda: local_posterior(law(), Quadratic(np.zeros(2), np.ones(2))),
            "episode must be with",
        ),
        (
            lambda: adapt(law(), Quadratic(np.zeros(2), np.eye(2)), prior="mean"),
            "prior must be one",
        ),
        (lambda: linear_episode(np.zeros((3, 2)), np.zeros(2), noise=1.0), "X must be of shape"),
        (lambda: linear_episode(np.zeros((3, 2)), np.zeros(3), noise=0.0), "noise must be finite"),
        (lambda: adapt_student(law(V0=np.ones(2)), Quadratic(np.zeros(2), np.ones(2))), "law must"),
        (
            lambda: adapt_student(law(n0=2.0), Quadratic(np.zeros(2), np.eye(2))),
            "dof must be above 1",
        ),
        (lambda: fit(law(), []), "fit: episodes must be one or more"),
        (lambda: full_objective(law(), law(), [], []), "posteriors must be one for each"),
        (lambda: OnlineNIW(law(), discount=0.0), "discount must be in"),
        (lambda: OnlineNIW(law()).add(LocalLaw(np.zeros(3), np.eye(3))), "m must be of shape"),
        (lambda: law_excess(1.0, 1.0, 3), "multidigamma: x must be above"),
        (lambda: law_excess(4.0, 0.0, 2), "law_excess: l0 must be positive"),
        (lambda: one_time(law(), [], rate=-1.0), "one_time: rate must be"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
