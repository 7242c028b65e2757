"""One way to call every search: budget, seed, history, journal, errors."""

import json
import math
import re

import numpy as np
import pytest

from fewtheory import paths, samplers, search
from fewtheory.search import METHODS, TimeSteps
from fewtheory.testbeds import Gaussian

PATH = paths.VPLinear()
DATA = Gaussian(np.zeros(3), [1.0, 0.1, 0.01])


def objective(plan):
    return plan.law(DATA).w2


@pytest.fixture
def space():
    return TimeSteps(PATH, np.linspace(0.05, 1.0, 12), 3, samplers.ddim)


on_grids = pytest.mark.parametrize("name", sorted(set(METHODS) - {"bellman", "gradient"}))


class Stopped(Exception):
    pass


def stopping_after(n):
    calls = []

    def counted(plan):
        if len(calls) == n:
            raise Stopped
        calls.append(plan)
        return objective(plan)

    return counted


@on_grids
def test_a_search_keeps_to_its_budget_and_values_nothing_twice(name, space):
    found = search.run(space, objective, method=name, budget=40, seed=3)
    asked = [trial.candidate for trial in found.history]
    assert found.evaluations == len(set(asked)) == 40
    assert found.status == "budget spent"


@on_grids
def test_the_result_is_the_best_of_its_history(name, space):
    found = search.run(space, objective, method=name, budget=40, seed=3)
    assert found.value == min(t.value for t in found.history) == found.best_so_far[-1]
    assert found.value == objective(found.plan)
    assert found.success


@on_grids
def test_a_seed_decides_a_search_and_a_larger_budget_continues_a_smaller(name, space):
    short = search.run(space, objective, method=name, budget=25, seed=3)
    long = search.run(space, objective, method=name, budget=60, seed=3)
    assert long.history[:25] == short.history


@on_grids
def test_a_search_that_was_stopped_resumes_to_the_same_result(name, space, tmp_path):
    whole = search.run(space, objective, method=name, budget=60, seed=3)
    journal = tmp_path / "journal"
    with pytest.raises(Stopped):
        search.run(space, stopping_after(25), method=name, budget=60, seed=3, file=journal)
    assert len(journal.read_text().splitlines()) == 26  # the header, and what was valued
    rest = stopping_after(35)
    again = search.run(space, rest, method=name, budget=60, seed=3, file=journal)
    assert again.history == whole.history
    with pytest.raises(Stopped):  # all 35 calls were used: 25 came from the journal
        rest(whole.plan)


def test_a_history_is_gone_on_from_without_valuing_it_again(space):
    short = search.run(space, objective, budget=60, seed=3)
    rest = stopping_after(40)
    long = search.run(space, rest, budget=100, seed=3, history=short.history)
    assert long.history == search.run(space, objective, budget=100, seed=3).history


def test_a_line_that_was_cut_off_is_valued_again(space, tmp_path):
    journal = tmp_path / "journal"
    whole = search.run(space, objective, budget=60, seed=3, file=journal)
    journal.write_text(journal.read_text()[:-30])
    again = search.run(space, objective, budget=60, seed=3, file=journal)
    assert again.history == whole.history
    assert len(journal.read_text().splitlines()) == 61


def test_a_journal_of_another_search_is_refused_and_left_alone(space, tmp_path):
    journal = tmp_path / "journal"
    search.run(space, objective, budget=5, seed=3, file=journal)
    before = journal.read_text()
    with pytest.raises(ValueError, match=r"search: file must be the journal of .*\"seed\": 4"):
        search.run(space, objective, budget=5, seed=4, file=journal)
    assert journal.read_text() == before


def test_a_broken_journal_is_named_by_its_line(space, tmp_path):
    journal = tmp_path / "journal"
    search.run(space, objective, budget=5, seed=3, file=journal)
    lines = journal.read_text().splitlines()
    lines[3] = json.dumps({"candidate": [1, 2, 3]})
    journal.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"must hold a trial in line 4"):
        search.run(space, objective, budget=5, seed=3, file=journal)


def test_all_of_a_small_space_is_found_by_exhaustion():
    space = TimeSteps(PATH, np.linspace(0.05, 1.0, 7), 3, samplers.ddim)
    found = search.run(space, objective, method="exhaustive", budget=1000)
    assert (found.evaluations, found.status) == (35, "every candidate was evaluated")
    for name in ("random", "evolution"):
        other = search.run(space, objective, method=name, budget=1000)
        assert other.value == found.value
        assert other.status == "no new candidate was drawn"


def test_the_start_is_valued_first(space):
    start = [(0, 4, 9), (1, 2, 3)]
    for name in ("evolution", "random", "coordinate"):
        found = search.run(space, objective, method=name, budget=12, start=start)
        assert found.history[0].candidate == start[0]


def test_the_elite_never_gets_worse_and_children_are_sets(space):
    seen = []
    found = search.run(
        TimeSteps(PATH, np.linspace(0.02, 1.0, 40), 4, samplers.ddim),
        objective,
        budget=300,
        seed=1,
        progress=lambda trial, done: seen.append((trial, done)),
    )
    assert [done for _, done in seen] == list(range(1, 301))
    assert all(list(t.candidate) == sorted(set(t.candidate)) for t in found.history)
    assert {len(t.candidate) for t in found.history} == {4}


def test_coordinate_descent_ends_where_no_single_change_helps(space):
    found = search.run(space, objective, method="coordinate", budget=10_000, seed=2)
    values = {t.candidate: t.value for t in found.history}
    for choice in range(3):
        assert all(values[c] >= found.value for c in space.neighbours(found.candidate, choice))


def test_regret_is_relative_to_a_known_optimum(space):
    best = search.run(space, objective, method="exhaustive", budget=1000).value
    found = search.run(space, objective, budget=30, seed=5)
    regret = found.regret(best)
    assert regret[-1] == found.value / best - 1
    assert np.all(np.diff(regret) <= 0)
    assert np.all(regret >= 0)


def test_an_infinite_value_is_a_plan_that_is_not_allowed(space):
    def late_starts_only(plan):
        return objective(plan) if plan.t[0] < 0.9 else math.inf

    found = search.run(space, late_starts_only, budget=60, seed=0)
    assert found.plan.t[0] < 0.9
    nothing = search.run(space, lambda plan: math.inf, budget=10, seed=0)
    assert not nothing.success


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "search.run: method must be one of .*, got 'magic'"),
        ({"budget": 0}, "search.run: budget must be at least 1, got 0"),
        ({"seed": -1}, "search.run: seed must be at least 0, got -1"),
        ({"elite": 0}, "evolution: elite must be at least 1, got 0"),
        ({"population": 5}, r"evolution: population must be at least mutations \+ crossovers"),
        ({"sigma": 1}, "search.run: a setting of evolution must be one of .*, got 'sigma'"),
        ({"method": "bellman", "objective": objective}, "objective must be StepCosts"),
        ({"objective": 3.0}, "search.run: objective must be callable, got 3.0"),
        ({"objective": lambda plan: math.nan}, "search: objective must be a number at candidate"),
        ({"space": object()}, "search.run: space must have 'build' for 'evolution', got object"),
        ({"start": [(3, 1, 2)]}, "TimeSteps.grid: candidate must be 3 increasing indices below 12"),
    ],
)
def test_bad_arguments_are_named(own_checks, space, change, message):
    given = {"space": space, "objective": objective, "budget": 10, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        search.run(given.pop("space"), given.pop("objective"), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0.3, 0.2]}, "TimeSteps: times must be one-dimensional and increasing"),
        ({"times": [0.3, 1.2]}, "TimeSteps: t"),
        ({"k": 13}, r"TimeSteps: k must be in \[1, 12\], got 13"),
        ({"rate": 1.5}, "TimeSteps: rate must be finite in"),
        ({"first": 0.5}, "TimeSteps: first must be later than 1"),
        ({"last": 0.5}, "TimeSteps: last must be earlier than 0.05"),
    ],
)
def test_bad_spaces_are_named(own_checks, change, message):
    given = {"times": np.linspace(0.05, 1.0, 12), "k": 3, "sampler": samplers.ddim, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        TimeSteps(PATH, **given)


def test_a_space_lists_as_many_candidates_as_it_says(space):
    everything = list(space)
    assert len(set(everything)) == len(everything) == space.size == math.comb(12, 3)


def test_the_ends_of_a_grid_are_those_of_the_space():
    flow = paths.RectifiedFlow()
    space = TimeSteps(flow, [0.2, 0.5, 0.8], 2, samplers.euler, first=1.0, last=0.0)
    np.testing.assert_array_equal(space.build((0, 2)).t, [1.0, 0.8, 0.2, 0.0])
    one = TimeSteps(PATH, [0.2, 0.5, 0.8], 1, samplers.ddim).build((1,))
    np.testing.assert_allclose(one.t, [0.5, 0.0], rtol=1e-12)


def test_mutants_and_children_are_candidates(space, rng):
    for _ in range(200):
        one, two = space.random(rng), space.random(rng)
        child = space.cross(one, two, rng)
        for c in (one, space.mutate(one, rng), *([] if child is None else [child])):
            assert re.fullmatch(r"\d+,\d+,\d+", ",".join(map(str, c)))
            assert list(c) == sorted(set(c))
        assert child is None or set(child) <= {*one, *two}
        assert space.mutate(one, rng, 0.0) == one


def test_even_times_are_those_of_the_uniform_grid():
    times = search.even_times(PATH, 11)
    assert times[0] == pytest.approx(samplers.ddim(PATH, [1.0, times[0]]).t[-1])
    np.testing.assert_allclose(np.diff(times), np.diff(times)[0])
    with pytest.raises(ValueError, match="even_times: n must be at least 2, got 1"):
        search.even_times(PATH, 1)
