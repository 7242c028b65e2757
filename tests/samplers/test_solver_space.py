"""The space of solver schedules: candidates, their costs, variation and features."""

import itertools
import json
import math

import numpy as np
import pytest

from fewtheory import paths, samplers, search
from fewtheory.plan import grids
from fewtheory.samplers import ModelStatistics, SolverSpace
from fewtheory.samplers.solver_decisions import Decision, known_schedule
from fewtheory.search.ledger import as_tuple
from fewtheory.testbeds import Gaussian

VP = paths.VPLinear()


def even(steps):
    return grids.log_snr(VP, steps)


def data(order, **more):
    return ("data", order, more.get("estimate"), more.get("scaling"), more.get("corrector"))


@pytest.fixture
def space():
    return SolverSpace(VP, even, 5)


@pytest.fixture
def whole():
    """Everything free: steps, times, types, estimates, scalings, correctors, the first step."""
    return SolverSpace(
        VP,
        even,
        (3, 6),
        types=("data", "noise", "v3"),
        orders=(1, 2, 3, 4),
        estimates=("full", 1, 2),
        correctors=(None, "pseudo", "implicit"),
        afs=("none", "zero", "mean"),
        scalings=(None, "linear", "bh2"),
        mean=0.3,
        statistics=ModelStatistics.constant(0.5, 0.0, 0.1),
        move_times=0.08,
        last=(1e-3, 2e-3),
    )


def drawn(space, rng, count):
    found = [space.random(rng) for _ in range(count)]
    return [c for c in found if c is not None]


def test_five_steps_of_two_types_and_three_orders_are_864(space):
    # the first step is DDIM's; the second has 2 x 2 options, the others 2 x 3
    everything = list(space)
    assert len(everything) == len(set(everything)) == space.size == 4 * 6**3


@pytest.mark.parametrize(
    "options",
    [
        {"correctors": (None, "pseudo", "implicit"), "afs": ("none", "mean")},
        {"correctors": (None, "implicit"), "afs": ("none", "zero"), "evaluations": 3},
        {"estimates": ("full", 1), "scalings": (None, "bh1"), "steps": (2, 3)},
        {"orders": (2, 3), "types": ("noise",)},
    ],
)
def test_a_space_lists_as_many_candidates_as_it_says(options):
    space = SolverSpace(VP, even, **{"steps": 3, **options})
    everything = list(space)
    assert len(everything) == len(set(everything)) == space.size
    for c in everything[::20]:
        assert space.build(c).nfe == space.nfe(c)
    if space.evaluations:
        assert {space.nfe(c) for c in everything} == {3}


def test_a_candidate_is_the_plan_of_its_decisions(space):
    steps = [("data", 1), ("data", 2), ("noise", 3), ("noise", 2), ("data", 3)]
    candidate = ("none", None, *((kind, k, None, None, None) for kind, k in steps))
    plan = samplers.solver_schedule(VP, even(5), [Decision(kind, k) for kind, k in steps])
    assert candidate in set(space)
    assert space.build(candidate).distance(plan) == 0.0


def test_the_seeds_are_known_solvers(space):
    built = [space.build(c) for c in space.seeds()]
    for name in ("ddim", "2m", "3m", "deis-1", "deis-2"):
        known = samplers.solver_schedule(VP, even(5), known_schedule(name, 5))
        # the same steps, traced in data prediction: rho_T = 152 here
        assert min(plan.distance(known) for plan in built) <= 64 * 2.3e-16 * 152


@pytest.mark.usefixtures("own_checks")
def test_mutants_children_and_draws_are_candidates_of_their_cost(whole, rng):
    some = drawn(whole, rng, 60)
    length = whole.features(some[0]).size
    for one, two in itertools.pairwise(some):
        for c in (one, whole.mutate(one, rng), whole.cross(one, two, rng)):
            if c is None:
                continue
            plan = whole.build(c)
            assert plan.nfe == whole.nfe(c)
            assert whole.features(c).size == length
            assert plan.t[0] == even(3).t[0]
            assert as_tuple(json.loads(json.dumps(c))) == c  # a journal gives it back


def test_a_mutation_of_rate_zero_is_none(whole, space, rng):
    for own in (whole, space):
        for c in drawn(own, rng, 20):
            assert own.mutate(c, rng, 0.0) == c


def test_an_order_never_exceeds_the_history(whole, rng):
    some = drawn(whole, rng, 80)
    found = [c for one, two in itertools.pairwise(some) for c in (whole.cross(one, two, rng),)]
    found = [c for c in found if c is not None]
    assert len(found) > 10
    for c in found:
        assert all(step[1] <= i + 1 for i, step in enumerate(c[2:]))


def test_what_cannot_matter_is_the_same_candidate(whole):
    made = whole._made("none", None, [("noise", 4, 1, 0.3, "pseudo"), *[data(2, estimate=1)] * 2])
    assert made[2] == data(1, corrector="pseudo")  # DDIM's step, which has no derivative
    assert made[3:] == (data(2), data(2))  # one node is all that there is at order 2
    assert whole._made("none", None, [data(1), data(1), data(1, corrector="pseudo")])[-1] == data(1)


def test_children_are_made_of_their_parents(space, rng):
    for _ in range(50):
        one, two = space.random(rng), space.random(rng)
        child = space.cross(one, two, rng)
        for a, b, c in zip(one[2:], two[2:], child[2:], strict=True):
            assert c[0] in (a[0], b[0])
            assert c[1] in (a[1], b[1])


def test_neighbours_differ_in_one_choice(space, rng):
    one = space.random(rng)
    for choice in range(2, 7):
        found = list(space.neighbours(one, choice))
        assert len(found) == len(space.options(choice - 2, 5)) - 1
        for c in found:
            assert [k for k in range(7) if c[k] != one[k]] == [choice]
    assert list(space.neighbours(one, 0)) == list(space.neighbours(one, 1)) == []


def test_neighbours_of_times_and_linear_scalings_are_near(rng):
    space = SolverSpace(VP, even, 4, scalings=("linear",), move_times=0.01)
    one = next(c for c in drawn(space, rng, 50) if c[3][1] == 2)
    assert len(list(space.neighbours(one, 1))) == 6  # three inner times, up and down
    near = {c[3][3] - one[3][3] for c in space.neighbours(one, 3) if c[3][:2] == one[3][:2]}
    assert sorted(near) == pytest.approx([-0.03, 0.03])


@pytest.mark.usefixtures("own_checks")
def test_times_that_move_stay_between_the_ends(rng):
    space = SolverSpace(VP, even, 5, move_times=0.5, last=(1e-3, 2e-3))
    one = space.seeds()[0]
    for _ in range(100):
        one = space.mutate(one, rng, 0.8)
        times = [1.0, *one[1]]
        assert all(a > b for a, b in itertools.pairwise(times))
        assert 1e-3 <= times[-1] <= max(2e-3, even(5).t[-1])
        space.build(one)


def test_steps_are_inserted_and_left_out(rng):
    space = SolverSpace(VP, even, (3, 6), move_times=0.08)
    one, seen = space.seeds()[0], set()
    for _ in range(100):
        one = space.mutate(one, rng) or one
        assert len(one[1]) == len(one) - 2
        seen.add(space.nfe(one))
    assert seen == {3, 4, 5, 6}


def test_features_tell_schedules_apart(space):
    rows = np.stack([space.features(c) for c in space])
    assert len(np.unique(rows, axis=0)) == space.size
    plain = SolverSpace(VP, even, 5, pairs=False)
    assert plain.features(next(iter(plain))).size == 5 * 6 + 1  # six codes a step, the first step


@pytest.mark.usefixtures("own_checks")  # many plans: the type checker is slow
def test_every_search_takes_the_space(space):
    bed = Gaussian([0.0], 0.25)
    optimum = math.inf
    for method in ("coordinate", "evolution", "predictor", "tournament", "random"):
        found = search.run(space, lambda plan: plan.law(bed).w2, method=method, budget=40, seed=1)
        assert found.evaluations == 40
        optimum = min(optimum, found.value)
    baseline = min(space.build(c).law(bed).w2 for c in space.seeds())
    assert optimum < baseline


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "SolverSpace: steps must be at least 1, got 0"),
        ({"steps": (4, 3)}, "SolverSpace: steps must be at least 4, got 3"),
        ({"steps": 2.5}, "SolverSpace: steps must be an integer, got 2.5"),
        ({"grid": grids.log_snr(VP, 4)}, "SolverSpace: grid must be of 3 steps, got 4"),
        ({"types": ("data", "x0")}, "SolverSpace: types must be one of"),
        ({"types": ()}, "SolverSpace: types must be a sequence of options"),
        ({"orders": (5,)}, "SolverSpace: orders must be one of"),
        ({"estimates": "full"}, "SolverSpace: estimates must be a sequence of options"),
        ({"correctors": ("real",)}, "SolverSpace: correctors must be one of"),
        ({"afs": ("first",)}, "SolverSpace: afs must be one of"),
        ({"scalings": ("bh3",)}, "SolverSpace: scalings must be one of"),
        ({"evaluations": 0}, "SolverSpace: evaluations must be at least 1"),
        ({"move_times": -0.1}, "SolverSpace: move_times must be finite in"),
        ({"last": (1e-3, 2e-3)}, "SolverSpace: last must be None where times do not move"),
        ({"rate": 1.1}, "SolverSpace: rate must be finite in"),
    ],
)
def test_a_bad_space_is_named(own_checks, change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SolverSpace(**{"path": VP, "grid": even, "steps": 3, **change})


def test_an_infinite_space_is_not_gone_through(whole):
    assert whole.size == math.inf
    with pytest.raises(ValueError, match="SolverSpace: size must be finite"):
        list(whole)


def test_what_is_no_candidate_is_named(space):
    with pytest.raises(
        ValueError, match=r"SolverSpace: candidate must be \(afs, times, step, ..\)"
    ):
        space.build(("none", None, (1, 2)))
