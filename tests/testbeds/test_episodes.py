"""Episodes whose best prediction is known: checked by other formulas, draws and finer grids."""

import math

import numpy as np
import pytest
from scipy import stats

from fewtheory.testbeds import FewShotDigits, FunctionEpisodes, GaussianEpisodes
from fewtheory.testbeds import episodes as e

WORLD = GaussianEpisodes([1.0, -1.0], [[2.0, 0.8], [0.8, 0.5]], 0.5)


def test_the_gaussian_posterior_is_that_of_the_joint_law(rng):
    x, y = WORLD.draw(4, 0, rng=rng).support
    m, V = WORLD.posterior(x, y)
    P = np.linalg.inv(WORLD.cov) + x.T @ x / 0.25
    assert np.linalg.inv(P) == pytest.approx(V, rel=1e-10)
    b = np.linalg.inv(WORLD.cov) @ WORLD.mean + x.T @ y / 0.25
    assert np.linalg.solve(P, b) == pytest.approx(m, rel=1e-10)


def test_evidence_is_the_product_of_predictions(rng):
    x, y = WORLD.draw(4, 0, rng=rng).support
    S = x @ WORLD.cov @ x.T + 0.25 * np.eye(4)
    told = stats.multivariate_normal.logpdf(y, x @ WORLD.mean, S)
    assert WORLD.log_evidence(x, y) == pytest.approx(told, rel=1e-12)
    steps = [WORLD.log_evidence(x[:k], y[:k]) for k in range(1, 5)]
    for k in (1, 2, 3):
        one = WORLD.log_predictive(x[:k], y[:k], x[k : k + 1], y[k : k + 1])[0]
        assert steps[k] - steps[k - 1] == pytest.approx(one, rel=1e-10)


@pytest.mark.parametrize(
    "world", [WORLD, FunctionEpisodes(("sine",)), FunctionEpisodes()], ids=["gauss", "sine", "both"]
)
def test_predictions_are_calibrated_and_no_other_is_better(rng, world):
    losses, wide, squares = [], [], []
    for _ in range(40):
        episode = world.draw(4, 3, rng=rng)
        losses.append(-world.log_predictive(*episode.support, *episode.query).mean())
        (xs, ys), (xq, yq) = episode.support, episode.query
        if world is WORLD:
            m, V = world.posterior(xs, ys)
            mean, var = xq @ m, np.sum((xq @ V) * xq, axis=1) + 0.25
        else:
            mean, var = world.predictive(xs, ys, xq)
        squares.append(((yq - mean) ** 2 / var).mean())
        wide.append((0.5 * (np.log(2 * math.pi * 2 * var) + (yq - mean) ** 2 / (2 * var))).mean())
    # squared errors are as large as is said: five standard errors
    assert abs(np.mean(squares) - 1) < 5 * np.std(squares) / math.sqrt(40)
    assert np.mean(losses) < np.mean(wide)


def test_a_finer_grid_changes_nothing(rng, monkeypatch):
    world = FunctionEpisodes()
    drawn = [world.draw(k, 5, rng=rng) for k in (1, 10, 25)]
    coarse = [world.log_predictive(*k.support, *k.query) for k in drawn]
    nodes = np.polynomial.legendre.leggauss(700)
    e._nodes.cache_clear()
    monkeypatch.setattr(np.polynomial.legendre, "leggauss", lambda n: nodes)
    fine = [world.log_predictive(*k.support, *k.query) for k in drawn]
    e._nodes.cache_clear()
    # what is e^-60 of the best function is left out
    assert np.concatenate(coarse) == pytest.approx(np.concatenate(fine), abs=1e-6)


def test_without_noise_to_speak_of_the_function_is_found(rng):
    world = FunctionEpisodes(("line",), noise=0.3)
    episode = world.draw(30, 20, rng=rng)
    mean, var = world.predictive(*episode.support, episode.query[0])
    a, b = episode.truth
    assert np.abs(mean - (a * episode.query[0][:, 0] + b)).max() < 5 * 0.3 * math.sqrt(2 / 30) * 2
    assert np.all(var > 0.09)


def test_each_coordinate_is_seen_in_turn(rng):
    world = GaussianEpisodes(np.zeros(3), np.eye(3), 0.5, design="coordinates")
    x, _ = world.draw(6, 0, rng=rng).support
    assert (x.T @ x).tolist() == (2 * np.eye(3)).tolist()


def test_digits_of_the_two_parts_are_different_and_queries_are_not_in_support(rng):
    seen = {}
    for part in ("train", "novel"):
        episodes = [FewShotDigits(4, part).draw(2, 3, rng=rng) for _ in range(30)]
        seen[part] = {int(c) // 4 for k in episodes for c in k.truth}
        for k in episodes:
            rows = np.concatenate([k.support[0], k.query[0]])
            assert len(np.unique(rows, axis=0)) >= len(rows) - 1  # two images may be the same
            assert k.support[1].tolist() == np.repeat(np.arange(4), 2).tolist()
    assert seen == {"train": {0, 1, 2, 3, 4, 5}, "novel": {6, 7, 8, 9}}


def test_a_seed_draws_the_same_episode():
    for world in (WORLD, FunctionEpisodes(), FewShotDigits()):
        a, b = (world.draw(2, 2, rng=np.random.default_rng(4)) for _ in range(2))
        assert a.support[0].tolist() == b.support[0].tolist()
        assert a.query[1].tolist() == b.query[1].tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: GaussianEpisodes([0.0], np.eye(2), 1.0), "cov must be of shape"),
        (lambda r: GaussianEpisodes([0.0], [[-1.0]], 1.0), "cov must be symmetric and positive"),
        (lambda r: GaussianEpisodes([0.0], [[1.0]], 0.0), "noise must be"),
        (lambda r: GaussianEpisodes([0.0], [[1.0]], 1.0, design="grid"), "design must be one of"),
        (lambda r: GaussianEpisodes([math.nan], [[1.0]], 1.0), "mean must be finite"),
        (lambda r: WORLD.draw(0, 1, rng=r), "shots must be"),
        (lambda r: FunctionEpisodes(("cosine",)), "families must be some of"),
        (lambda r: FunctionEpisodes(()), "families must be some of"),
        (lambda r: FunctionEpisodes(noise=0.0), "noise must be"),
        (lambda r: FunctionEpisodes().draw(2, -1, rng=r), "queries must be"),
        (lambda r: FewShotDigits(1), "ways must be"),
        (lambda r: FewShotDigits(17, "novel"), "ways must be"),
        (lambda r: FewShotDigits(part="test"), "part must be one of"),
        (lambda r: FewShotDigits().draw(100, 100, rng=r), "shots . queries must be"),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(rng)
