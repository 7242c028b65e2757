"""Time steps and layers together: budgets, stages, and a search on a real network."""

import numpy as np
import pytest
import torch

from fewtheory import paths, samplers, search, zoo
from fewtheory.compress import Skipping
from fewtheory.search import TimeSteps
from fewtheory.search.layers import LayeredSteps
from fewtheory.testbeds.layered import LayeredDenoiser

VP = paths.VPLinear()
TIMES = np.linspace(0.05, 1.0, 12)


@pytest.fixture
def steps():
    return TimeSteps(VP, TIMES, 3, samplers.ddim)


@pytest.fixture
def space(steps):
    return LayeredSteps(steps, 6, most=14, skip=(0.1, 0.7))


def test_a_plan_comes_with_its_sets_in_the_order_of_sampling(space):
    built = space.build(((1, 4, 9), ((0,), (), (2, 3))))
    np.testing.assert_allclose(built.plan.t[:3], TIMES[[9, 4, 1]])
    assert built.skipped == ((2, 3), (), (0,))


def test_every_candidate_keeps_to_the_budget(space, rng):
    found = 0
    for _ in range(300):
        one, two = space.random(rng), space.random(rng)
        if one is None or two is None:
            continue
        for c in (one, space.mutate(one, rng), space.cross(one, two, rng)):
            if c is not None:
                found += 1
                assert space.cost(c) <= 14
                assert list(c[0]) == sorted(set(c[0]))
                assert all(list(s) == sorted(set(s)) for s in c[1])
    assert found > 100


def test_pruned_layers_pay_for_steps_where_their_number_is_free(steps, rng):
    space = LayeredSteps(steps, 6, most=18, skip=(0.3, 0.7), free=True)
    drawn = [space.random(rng) for _ in range(200)]
    assert all(space.cost(c) <= 18 for c in drawn)
    assert max(len(c[0]) for c in drawn) > 3  # more than 18/6 whole networks
    assert all(space.cost(c) + 6 > 18 for c in drawn)  # none could take a whole step more


def test_a_search_begins_with_time_alone_and_then_opens(steps, rng):
    space = LayeredSteps(steps, 6, skip=(0.2, 0.5))
    highs = [space.at(g).skip[1] for g in range(12)]
    assert highs[:5] == [0.0] * 5
    np.testing.assert_allclose(highs[5:11], [0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert space.at(5).skip[0] == 0.0
    assert space.at(9).skip[0] == 0.2
    assert all(not s for s in space.at(0).random(rng)[1])


def test_a_budget_below_the_whole_network_is_open_from_the_start(steps):
    space = LayeredSteps(steps, 6, most=14, skip=(0.1, 0.7))
    assert space.at(0).skip == (0.1, 0.7)


def test_all_of_a_small_space_is_listed(steps):
    space = LayeredSteps(TimeSteps(VP, TIMES[:3], 2, samplers.ddim), 2, most=3, skip=(0.0, 0.5))
    every = list(space)
    assert len(set(every)) == len(every) == 3 * (3 * 3 - 1)  # 3 sets a step, less the full pair


def test_a_set_goes_with_its_step_to_a_child(space, rng):
    one, two = ((0, 1, 2), ((0,), (1,), (2,))), ((9, 10, 11), ((3,), (4,), (5,)))
    of = {**dict(zip(*one, strict=True)), **dict(zip(*two, strict=True))}
    for _ in range(20):
        child = LayeredSteps(space.steps, 6, skip=(0.1, 0.7)).cross(one, two, rng)
        assert child is not None
        assert all(of[step] == kept for step, kept in zip(*child, strict=True))


def test_a_joint_search_beats_time_alone_on_a_stack_of_known_layers():
    stds, times = np.array([1.4, 1.0, 0.7, 0.5, 0.35, 0.25]), np.linspace(0.03, 0.98, 20)
    bed = LayeredDenoiser(stds, VP, times, 4)
    x = np.ones((1, 6))

    def error(layered):
        model = bed.model(layered.skipped, layered.plan.t[:-1].tolist())
        return float(((np.abs(layered.plan.run(model, x)[0]) - stds) ** 2).sum())

    steps = TimeSteps(VP, times, 2, samplers.ddim)
    joint = search.run(LayeredSteps(steps, 4, most=5, skip=(0.2, 0.8)), error, budget=500, seed=1)
    full = search.run(LayeredSteps(steps, 4, skip=(0.0, 0.0)), error, method="random", budget=190)
    assert joint.value < full.value  # five layers of eight, and better (sheet autodiffusion, C10)


def test_a_search_of_steps_and_blocks_on_a_trained_transformer(one_thread):
    entry = zoo.load("digits-dit")
    blocks, path = list(entry.network.transformer_blocks), entry.model.path
    x = torch.randn(8, *entry.recipe.shape, generator=torch.Generator().manual_seed(0))
    labels = {"class_labels": torch.arange(8)}
    fine = samplers.euler(path, np.linspace(path.start, path.end, 25))
    steps = TimeSteps(
        path, np.linspace(0.05, 0.95, 12), 2, samplers.euler, first=1.0, last=path.end
    )
    with torch.no_grad():
        target = fine.run(entry.model, x, **labels)

        def distance(layered):
            with Skipping(blocks, layered.skipped) as out:
                found = layered.plan.run(entry.model, x, callback=out.at, **labels)
            return float(((found - target) ** 2).mean().sqrt())

        space = LayeredSteps(steps, len(blocks), skip=(0.0, 0.5))
        found = search.run(
            space, distance, budget=24, seed=0, population=8, elite=3, mutations=4, crossovers=2
        )
    uniform = next(t for t in found.history if t.candidate == space.seeds()[0])
    assert found.value <= uniform.value
    assert found.evaluations == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "LayeredSteps: layers must be at least 1"),
        ({"skip": (0.5, 0.2)}, "LayeredSteps: skip must be a range within"),
        ({"skip": (0.0, 1.2)}, "LayeredSteps: skip must be finite in"),
        ({"most": 2}, "LayeredSteps: most must be at least 3, got 2"),
        ({"free": True}, "LayeredSteps: most must be given where the number of steps is free"),
        ({"rate": 2.0}, "LayeredSteps: rate must be finite in"),
    ],
)
def test_bad_spaces_are_named(steps, change, message):
    given = {"layers": 6, "skip": (0.0, 0.5), **change}
    with pytest.raises(ValueError, match=message):
        LayeredSteps(steps, **given)
