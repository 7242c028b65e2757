"""The search for Q-Sched's coefficients: its score, its space, its noise, and digits."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewtheory import compress, paths, samplers, search, zoo
from fewtheory.model import Model
from fewtheory.plan import grids
from fewtheory.search.qsched import (
    JAQ,
    CoefficientGrid,
    Rated,
    expected_log_density,
    generator,
    selection_regret,
    tune_coefficients,
)
from fewtheory.testbeds import Gaussian

VP = paths.VPLinear()
NORMAL = Gaussian([0.0], 0.36)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def plan():
    return samplers.ddim(VP, grids.at_lams(VP, [-2.0, -0.7, 0.5, 1.6]).to_clean())


def space(plan, **settings):
    return CoefficientGrid(plan, samplers.precondition, **settings)


def spread(x):
    """A score that is best where the standard deviation is the data's."""
    return -abs(float(x.std()) - 0.6)


# the score


def test_the_score_weighs_the_quality(asarray):
    score = JAQ(lambda x, y: x[:, 0] * y, lambda x: x[:, 0] + 1.0, k=0.5)
    assert score(asarray([[1.0], [3.0]]), 2.0) == 4.0 + 0.5 * 3.0


def test_a_score_that_is_not_one_a_sample_is_refused():
    score = JAQ(lambda x: x, lambda x: x[:, 0])
    with pytest.raises(ValueError, match=r"JAQ: compatibility must be one number a sample, \(2,\)"):
        score(np.ones((2, 3)))


def test_quality_alone_rewards_collapse():
    values = [expected_log_density(v, 0.6) for v in (0.0, 0.1, 0.36, 0.5)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(float(NORMAL.log_prob(np.zeros((1, 1)))[0]), rel=1e-14)


# the space


def test_the_grid_is_all_pairs_and_its_middle_is_the_plan(plan):
    grid = space(plan, box=(0.8, 1.2), n=3)
    assert list(grid) == list(itertools.product((0.8, 1.0, 1.2), repeat=2))
    assert grid.build((1.0, 1.0)).distance(plan) <= 1e-13  # a conversion and back
    assert grid.seeds() == [(1.0, 1.0)]


def test_a_pair_fades_out(plan):
    found = space(plan).build((1.2, 0.8)).settings
    assert found["c_x"] == pytest.approx(np.linspace(1.2, 1.0, 4))
    assert found["c_e"] == pytest.approx(np.linspace(0.8, 1.0, 4))


def test_free_ends_have_four_numbers(plan):
    grid = space(plan, n=2, free=True, box_e=(0.9, 1.3))
    assert grid.size == len(list(grid)) == 16
    found = grid.build((0.8, 1.1, 0.9, 1.3)).settings
    assert found["c_x"] == pytest.approx(np.linspace(0.8, 1.1, 4))
    assert found["c_e"] == pytest.approx(np.linspace(0.9, 1.3, 4))


def test_neighbours_differ_in_one_coefficient(plan, rng):
    grid = space(plan, n=4)
    c = grid.random(rng)
    for choice in (0, 1):
        found = list(grid.neighbours(c, choice))
        assert len(found) == 3
        assert all(n[1 - choice] == c[1 - choice] and n[choice] != c[choice] for n in found)


@pytest.mark.parametrize("method", ["exhaustive", "coordinate", "random"])
def test_every_search_runs_on_it(plan, method):
    grid, model = space(plan, n=4), NORMAL.model(VP)
    rated = Rated(spread, model, np.random.default_rng(0).standard_normal((64, 1)))
    found = search.run(grid, rated, method=method, budget=16, seed=0)
    assert found.evaluations <= 16
    assert found.value == min(t.value for t in found.history)


# tuning


def test_the_whole_grid_gives_the_best_point_and_the_untouched_one(plan):
    grid, model = space(plan, n=3), NORMAL.model(VP)
    x = np.random.default_rng(0).standard_normal((128, 1))
    found = tune_coefficients(grid, spread, model, x)
    loop = {c: spread(grid.build(c).run(model, x)) for c in grid}
    assert found.score == max(loop.values())
    assert found.found.candidate == max(loop, key=lambda c: loop[c])
    # (1, 1) is the plan but for a conversion and back
    assert found.untouched == pytest.approx(spread(plan.run(model, x)), abs=1e-13)
    assert found.control is None
    assert found.control_score is None


def test_the_control_has_the_same_starts_and_noises(plan):
    stochastic = samplers.euler_ancestral(VP, grids.at_lams(VP, plan.lam))
    x, model = np.random.default_rng(0).standard_normal((64, 1)), NORMAL.model(VP)
    found = tune_coefficients(space(stochastic, n=3), spread, model, x, control=model, seed=9)
    assert found.control_score == found.score
    assert found.control_untouched == found.untouched


def test_another_seed_is_another_noise_and_the_same_one_is_the_same(plan):
    stochastic = samplers.euler_ancestral(VP, grids.at_lams(VP, plan.lam))
    x, model = np.random.default_rng(0).standard_normal((64, 1)), NORMAL.model(VP)
    values = [Rated(spread, model, x, seed=s)(stochastic) for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_prompts_and_conditions_reach_their_functions(plan):
    seen = {}

    def function(x, t, label):
        seen["label"] = label
        return 0 * x

    def score(x, prompt):
        seen["prompt"] = prompt
        return 0.0

    model = Model(function, VP, "noise")
    tune_coefficients(space(plan, n=2), score, model, np.ones((2, 1)), ("a dog",), label=3)
    assert seen == {"label": 3, "prompt": "a dog"}


def test_torch_starts_are_run_without_a_graph_and_draw_torchs_noise(plan):
    stochastic = samplers.euler_ancestral(VP, grids.at_lams(VP, plan.lam))
    x = torch.ones(4, 1, dtype=torch.float64, requires_grad=True)
    out = Rated(spread, NORMAL.model(VP), x).samples(stochastic)
    assert not out.requires_grad
    assert isinstance(generator(0, x), torch.Generator)


# the regret of a choice


def test_the_regret_of_two_is_a_normal_tail():
    # the worse one wins when the difference of two noises, sd sqrt(2/2), exceeds 1
    expected = 0.5 * math.erfc(1 / math.sqrt(2))
    assert selection_regret([0.0, -1.0], 1.0, 2) == pytest.approx(expected, rel=1e-12)


def test_the_regret_falls_with_prompts_and_shared_noise_and_vanishes_without_noise():
    scores = -0.02 * np.linspace(-1, 1, 50) ** 2
    few, many = selection_regret(scores, 0.05, 5), selection_regret(scores, 0.05, 20)
    assert few > many > selection_regret(scores, 0.05, 2000) > 0
    assert selection_regret(scores, 0.05, 5, correlation=0.75) == pytest.approx(many, rel=1e-13)
    assert selection_regret(scores, 0.05, 5, correlation=1.0) == 0.0
    assert selection_regret(scores, 0.0, 5) == 0.0


def test_equal_scores_have_no_regret_and_huge_noise_the_mean_one():
    assert selection_regret(np.ones(7), 1.0, 1) == pytest.approx(0, abs=1e-13)
    # every point wins alike, up to gaps over noise
    assert selection_regret([0.0, -1.0, -2.0], 1e6, 1) == pytest.approx(1.0, abs=1e-5)


# digits


@pytest.fixture(scope="module")
def judge():
    """The prompt's log probability, and the log density of features among the training digits'."""
    classifier, digits = zoo.load("digits-classifier").network, zoo.digits()
    with torch.no_grad():
        features = classifier.features(digits.x).double().numpy()
    law = Gaussian(features.mean(0), np.cov(features.T) + 1e-3 * np.eye(32))

    def asked(x, label):
        return classifier(x).log_softmax(1).gather(1, label[:, None])[:, 0]

    def looks(x):
        return law.log_prob(classifier.features(x).double().numpy()) / 32

    return asked, looks


@pytest.mark.parametrize(
    ("name", "bits", "prediction"),
    [("digits-unet", (4, None), "noise"), ("digits-dit", (4, 4), "flow")],
)
def test_tuned_digits_score_more_and_so_does_the_control(judge, name, bits, prediction):
    entry, label = zoo.load(name), torch.arange(10)
    quantised = replace(entry, network=compress.fake_quantised(entry.network, *bits)).model
    path = entry.model.path
    first = 0.95 if prediction == "flow" else 1.0  # c_x and c_e of a flow are apart at alpha = 0
    plan = samplers.ddim(path, grids.at_times(path, np.linspace(first, 0.05, 4)).to_clean())
    x = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = tune_coefficients(
        space(plan, box=(0.9, 1.1), n=3, prediction=prediction),
        JAQ(*judge, k=0.5),
        quantised,
        x,
        (label,),
        control=entry.model,
        class_labels=label,
    )
    assert found.found.evaluations == 9
    # (1, 1) is on the grid: the same samples, up to single precision's roundings of the middle
    assert found.score >= found.untouched - 1e-3
    assert found.control_score >= found.control_untouched - 1e-3
    assert math.isfinite(found.control_score)


# bad input


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda p: JAQ("clip", len), TypeError, "JAQ: compatibility must be callable"),
        (lambda p: JAQ(len, None), TypeError, "JAQ: quality must be callable"),
        (lambda p: JAQ(len, len, -1.0), ValueError, "JAQ: k must be"),
        (lambda p: CoefficientGrid("ddim", len), TypeError, "plan must be a fewtheory Plan"),
        (lambda p: CoefficientGrid(p, 3), TypeError, "precondition must be callable"),
        (lambda p: space(p, n=0), ValueError, "CoefficientGrid: n must be"),
        (lambda p: space(p, box=(1.1, 0.8)), ValueError, "CoefficientGrid: box must be a range"),
        (lambda p: space(p, box_e=(1.0,)), ValueError, "CoefficientGrid: box_e must be a range"),
        (lambda p: space(p).build((1.0,)), ValueError, "candidate must be of 2 or 4 numbers"),
        (lambda p: selection_regret([], 1.0, 1), ValueError, "selection_regret: scores must be"),
        (lambda p: selection_regret([1.0], -1.0, 1), ValueError, "selection_regret: std must be"),
        (lambda p: selection_regret([1.0], 1.0, 0), ValueError, "selection_regret: prompts must"),
        (lambda p: selection_regret([1.0], 1.0, 1, correlation=2), ValueError, "correlation must"),
        (lambda p: expected_log_density(-1.0, 1.0), ValueError, "variance must be"),
        (lambda p: expected_log_density(1.0, 0.0), ValueError, "std must be"),
    ],
)
def test_a_bad_argument_is_named(plan, call, error, named):
    with pytest.raises(error, match=named):
        call(plan)
