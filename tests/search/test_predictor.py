"""Search by a predictor: fits, stages, what it finds; the tournament beside it."""

import math

import numpy as np
import pytest

from fewtheory import paths, samplers, search
from fewtheory.plan import grids
from fewtheory.samplers import SolverSpace
from fewtheory.search import TimeSteps, Trial, best_of_each
from fewtheory.search.predictor import predictor, ranking, ridge
from fewtheory.testbeds import Gaussian

VP = paths.VPLinear()
BED = Gaussian([0.0, 0.0], [1.0, 0.04])


def w2(plan):
    return plan.law(BED).w2


@pytest.fixture
def space(own_checks):  # many plans: the type checker is slow
    return SolverSpace(VP, grids.log_snr(VP, 4), 4)


def test_ridge_is_least_squares_where_the_penalty_vanishes(rng):
    X, w = rng.standard_normal((40, 5)), rng.standard_normal(5)
    found = ridge(X, X @ w + 0.7, 1e-10)
    new = rng.standard_normal((9, 5))
    # the penalty moves w by 1e-10 over the least eigenvalue, some 10
    np.testing.assert_allclose(found(new), new @ w + 0.7, rtol=0, atol=1e-9)


def test_ridge_solves_its_normal_equations(rng):
    X, y, penalty = rng.standard_normal((12, 30)), rng.standard_normal(12), 0.3
    score = ridge(X, y, penalty)
    w = score(np.eye(30)) - score(np.zeros((1, 30)))
    Z = X - X.mean(axis=0)
    residual = Z.T @ (Z @ w - (y - y.mean())) + penalty * w
    assert np.abs(residual).max() <= 1e4 * 2.3e-16 * np.abs(Z.T @ Z).max()


def test_ranking_orders_what_a_line_orders(rng):
    X, w = rng.standard_normal((40, 6)), rng.standard_normal(6)
    y = np.exp(3 * X @ w)  # only the order counts
    score = ranking(X, y, 1e-6)
    assert np.array_equal(np.argsort(score(X)), np.argsort(y))


def test_ranking_has_no_gradient_left(rng):
    X, y, penalty = rng.standard_normal((20, 4)), rng.standard_normal(20), 0.5
    score = ranking(X, y, penalty)
    w = -score(np.eye(4))

    def loss(w):
        F = X @ w
        pairs = [(i, j) for i in range(20) for j in range(20) if y[i] < y[j]]
        return sum(max(0, 1 - (F[i] - F[j])) ** 2 for i, j in pairs) + penalty * w @ w

    here, step = loss(w), 1e-4
    # L-BFGS-B stops at a relative decrease of 2e-9; a step of 1e-4 is above that and not below
    for k in range(4):
        for sign in (-1, 1):
            assert loss(w + sign * step * np.eye(4)[k]) > here - 1e-8 * here


class Valued(SolverSpace):
    """Candidates as the objective takes them."""

    def build(self, candidate):
        return candidate


def test_it_comes_nearer_than_random_draws_and_reaches_the_optimum(space):
    values = {c: w2(space.build(c)) for c in space}
    valued, best = Valued(VP, grids.log_snr(VP, 4), 4), min(values.values())
    regrets = {}
    for name, method, how in (
        ("ridge", "predictor", {"loss": "ridge"}),
        ("ranking", "predictor", {"loss": "ranking"}),
        ("random", "random", {}),
    ):
        runs = [
            search.run(valued, values.__getitem__, method=method, budget=40, seed=s, **how)
            for s in range(4)
        ]
        regrets[name] = [r.regret(best)[-1] for r in runs]
    for loss in ("ridge", "ranking"):
        assert np.mean(regrets[loss]) < np.mean(regrets["random"])
        assert min(regrets[loss]) == 0.0


def test_the_seeds_come_first_then_random_ones_then_stages(space):
    found = search.run(space, w2, method="predictor", budget=29, seed=0, first=14, batch=5)
    seeds, stages = space.seeds(), [t.stage for t in found.history]
    assert [t.candidate for t in found.history[: len(seeds)]] == seeds
    assert stages[: len(seeds) + 14] == ["first"] * 20
    assert stages[20:] == ["stage 1"] * 5 + ["stage 2"] * 4


def test_the_proposed_are_better_than_the_first(space):
    found = search.run(space, w2, method="predictor", budget=60, seed=2, explore=0)
    first = [t.value for t in found.history if t.stage == "first"]
    proposed = [t.value for t in found.history if t.stage != "first"]
    assert np.median(proposed) < np.median(first)


@pytest.mark.usefixtures("own_checks")
def test_a_space_larger_than_the_pool_is_searched_under_the_score():
    space = SolverSpace(
        VP, grids.log_snr(VP, 6), 6, scalings=(None, "linear"), correctors=(None, "pseudo")
    )
    assert space.size == math.inf
    found = search.run(space, w2, method="predictor", budget=60, seed=0, pool=200)
    seeds = min(w2(space.build(c)) for c in space.seeds())
    assert found.evaluations == 60
    assert found.value < seeds


@pytest.mark.usefixtures("own_checks")
def test_a_small_space_is_searched_to_its_end():
    space = TimeSteps(VP, np.linspace(0.05, 1.0, 7), 3, samplers.ddim)
    best = search.run(space, w2, method="exhaustive", budget=100).value
    for method in ("predictor", "tournament"):
        found = search.run(space, w2, method=method, budget=100)
        assert (found.evaluations, found.status) == (35, "no new candidate was drawn")
        assert found.value == best


def test_an_infinite_value_ranks_last_and_is_left_out_of_the_regression(space):
    def only_data(plan):
        return (
            w2(plan) if abs(plan.P[-1, -2] - plan.sigma[-1] / plan.sigma[-2]) < 1e-9 else math.inf
        )

    for loss in ("ridge", "ranking"):
        found = search.run(space, only_data, method="predictor", budget=40, seed=0, loss=loss)
        assert found.success
        nothing = search.run(
            space, lambda plan: math.inf, method="predictor", budget=30, seed=0, loss=loss
        )
        assert not nothing.success
        assert nothing.evaluations == 30


def test_values_that_are_not_positive_need_the_ranking_loss(space):
    def shifted(plan):
        return w2(plan) - 1.0

    with pytest.raises(
        ValueError, match="predictor: objective must be positive, or loss='ranking'"
    ):
        search.run(space, shifted, method="predictor", budget=30)
    assert search.run(space, shifted, method="predictor", budget=30, loss="ranking").success


@pytest.mark.usefixtures("own_checks")
def test_schedules_compete_with_their_equals_in_a_tournament():
    space = SolverSpace(VP, lambda steps: grids.log_snr(VP, steps), (3, 5), move_times=0.08)
    found = search.run(space, w2, method="tournament", budget=120, seed=0)
    fronts = best_of_each(found.history, space.nfe)
    assert list(fronts) == [3, 4, 5]
    gains = []
    for nfe, trial in fronts.items():
        seeds = [w2(space.build(c)) for c in space.seeds() if space.nfe(c) == nfe]
        gains.append(trial.value / min(seeds))
    assert max(gains) <= 1.0
    assert min(gains) < 0.9


def test_the_best_of_each_is_the_first_of_least_value():
    trials = [Trial((k,), v, "a") for k, v in enumerate([3.0, 1.0, 2.0, 1.0])]
    assert best_of_each(trials, lambda c: c[0] % 2) == {0: trials[2], 1: trials[1]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first": 1}, "predictor: first must be at least 2, got 1"),
        ({"batch": 0}, "predictor: batch must be at least 1, got 0"),
        ({"explore": 6}, r"predictor: explore must be in \[0, 5\], got 6"),
        ({"pool": 2}, "predictor: pool must be at least 5, got 2"),
        ({"opens": -1}, "predictor: opens must be at least 0, got -1"),
        ({"loss": "hinge"}, "predictor: loss must be one of"),
        ({"penalty": 0.0}, "predictor: penalty must be finite in"),
    ],
)
def test_a_bad_setting_is_named(own_checks, space, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        search.run(space, w2, method=predictor, budget=10, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"best": 0}, "tournament: best must be at least 1, got 0"),
        ({"first": 0}, "tournament: first must be at least 1, got 0"),
        ({"crossover": 1.5}, "tournament: crossover must be finite in"),
    ],
)
def test_a_bad_tournament_is_named(own_checks, space, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        search.run(space, w2, method="tournament", budget=10, **settings)


@pytest.mark.usefixtures("own_checks")
def test_a_schedule_that_was_searched_on_a_network_holds_up_on_fresh_noise():
    """Distance to a fine solution on the digits at 5 evaluations: better than ++2M on held-out
    starts too."""
    import torch

    from fewtheory import zoo

    model = zoo.load("digits-mlp").model
    path, ends = model.path, {"start": 20.0, "end": 0.02}
    level, fine = grids.log_snr(path, 5, **ends), grids.log_snr(path, 48, **ends)

    @torch.no_grad()
    def distance(seed):
        x = 20.0 * torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        end = samplers.dpm_solver_pp(path, fine, order=3).run(model, x)
        return lambda plan: float((plan.run(model, x) - end).square().mean().sqrt())

    with torch.no_grad():
        space = SolverSpace(path, level, 5)
        found = search.run(space, distance(0), method="predictor", budget=35, seed=0)
        held_out = distance(1)
        assert held_out(found.plan) < held_out(samplers.dpm_solver_pp(path, level, order=2))
