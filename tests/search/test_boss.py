"""Bellman's shortest paths: known plans, costs against closed forms, derivatives, real networks."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtheory import paths, samplers, zoo
from fewtheory.search import StepCosts
from fewtheory.search.boss import (
    bellman_steps,
    error_bound,
    euler_costs,
    gaussian_costs,
    shortest_path,
    teacher_trajectory,
)
from fewtheory.search.jacobians import flow_jacobians, velocity_jacobian
from fewtheory.testbeds import Gaussian, mixture_1d

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "boss.json").read_text())
RF = paths.RectifiedFlow()
EPS = np.finfo(np.float64).eps


@pytest.mark.parametrize("known", [k for k in KNOWN if "K_max" in k["inputs"]])
@pytest.mark.parametrize("by", ["recursion", "program"])
def test_plans_of_gaussian_costs_are_the_known_ones(known, by):
    given = known["inputs"]
    costs = gaussian_costs(
        given["s"],
        np.linspace(1, 0, given["K_max"] + 1),
        teacher="euler" if "euler" in known["what"] else "exact",
        adjoint="adjoint" in known["what"],
    )
    value, nodes = shortest_path(costs, given["K"], by=by)
    assert nodes == known["expected"][1:]
    assert value == pytest.approx(known["expected"][0], rel=known["tolerance"])


def test_the_cost_of_one_step_is_the_known_one():
    (known,) = [k for k in KNOWN if "t_from" in k["inputs"]]
    given = known["inputs"]
    costs = gaussian_costs(given["s"], [given["t_from"], given["t_to"]], teacher="exact")
    assert costs[0, 1] == pytest.approx(known["expected"], rel=known["tolerance"])


@pytest.mark.parametrize("by", ["recursion", "program"])
def test_the_path_through_any_matrix_is_the_known_one(by):
    (known,) = [k for k in KNOWN if "c" in k["inputs"]]
    value, nodes = shortest_path(known["inputs"]["c"], known["inputs"]["K"], by=by)
    assert [value, *nodes] == known["expected"]


def test_a_tie_goes_to_the_earliest_node():
    assert shortest_path(np.ones((6, 6)), 3)[1] == [0, 1, 2, 5]


def test_what_lies_below_the_diagonal_is_not_read(rng):
    costs = np.triu(rng.random((8, 8)), 1)
    assert shortest_path(costs, 3) == shortest_path(costs - 9 * np.tril(np.ones((8, 8))), 3)


@pytest.fixture
def world():
    """A flow in two dimensions, its velocity, and starts with exactly the moments of N(0, I)."""
    bed = Gaussian(np.zeros(2), [0.09, 1.0])
    x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    return bed.model(RF, "data"), x, np.linspace(1, 0, 21)


def test_sampled_costs_of_exact_moments_are_the_closed_form(world):
    model, x, times = world
    trajectory = teacher_trajectory(model.predicting("velocity"), x, times)
    found = euler_costs(*trajectory, times)
    np.testing.assert_allclose(found, gaussian_costs([0.3, 1.0], times), rtol=0, atol=256 * EPS)


def test_weighted_costs_are_those_of_the_data(world):
    # the Euler teacher's derivative is the product of its cosines, S_0 / S_k times: check the costs
    # with the exact flow's own derivative s / S_k
    model, x, times = world
    stds = np.array([0.3, 1.0])
    S = np.hypot((1 - times[:, None]) * stds, times[:, None])
    exact = (stds / S)[:, None, :, None] * np.eye(2)
    J = np.broadcast_to(exact, (21, 4, 2, 2))
    trajectory = teacher_trajectory(model.predicting("velocity"), x, times)
    found = euler_costs(*trajectory, times, jacobians=J)
    expected = gaussian_costs(stds, times, adjoint=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=256 * EPS)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_derivative_of_the_remaining_steps_is_the_product_of_their_factors(world, kind):
    model, x, times = world
    x = torch.tensor(x) if kind == "torch" else x
    velocity = model.predicting("velocity")
    states, _ = teacher_trajectory(velocity, x, times)
    J = flow_jacobians(velocity, states[:-1], times)
    s = np.array([0.3, 1.0])
    theta = np.arctan2(times[:, None], (1 - times[:, None]) * s)
    S = np.hypot((1 - times[:, None]) * s, times[:, None])
    factors = np.cos(np.diff(theta, axis=0)) * S[1:] / S[:-1]
    for k in (0, 7, 19):
        expected = np.diag(factors[k:].prod(axis=0))
        # central differences: a third of the digits are left, on each of up to twenty factors
        bound = 1e-8 if kind == "numpy" else 1024 * EPS
        np.testing.assert_allclose(J[k][0], expected, rtol=0, atol=bound)


def test_differences_and_forward_mode_agree_on_a_mixture(rng):
    bed = mixture_1d([0.3, 0.7], [-1.0, 1.0], [0.3, 0.2])
    velocity, x = bed.model(RF, "velocity"), rng.standard_normal((5, 1))
    one = velocity_jacobian(velocity, x, 0.5)
    two = velocity_jacobian(velocity, torch.tensor(x), 0.5)
    # the difference quotient's error is step^2 v''' / 6, v''' up to 1/sigma_min^6 here
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-6 * max(1.0, np.abs(two).max()))


@pytest.mark.parametrize("weight", ["none", "adjoint"])
def test_a_search_finds_the_shortest_path_of_its_costs(world, weight):
    model, x, times = world
    found = bellman_steps(model, x, 4, anchors=20, weight=weight)
    assert (found.evaluations, found.status) == (1, "shortest path")
    assert found.plan.nfe == 4
    if weight == "none":
        value, nodes = shortest_path(gaussian_costs([0.3, 1.0], times), 4)
        np.testing.assert_allclose(found.plan.t, times[nodes], rtol=0, atol=1e-12)
        assert found.value == pytest.approx(value, rel=1e-10)


def test_the_plan_is_eulers_own(world):
    model, x, _ = world
    plan = bellman_steps(model, x, 4, anchors=20).plan
    other = samplers.euler(RF, plan.t)
    np.testing.assert_allclose(plan.P, other.P, rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(plan.B, other.B, rtol=0, atol=64 * EPS)


def test_roots_and_squares_weigh_steps_differently(world):
    model, x, times = world
    trajectory = teacher_trajectory(model.predicting("velocity"), x, times)
    squares = euler_costs(*trajectory, times)
    roots = euler_costs(*trajectory, times, objective="roots")
    np.testing.assert_allclose(roots**2, squares, rtol=1e-12)


def test_anchors_may_be_any_times(world):
    model, x, _ = world
    times = np.linspace(1, 0, 21) ** 2
    plan = bellman_steps(model, x, 3, anchors=times).plan
    assert np.all(np.isin(plan.t, times))


def test_no_grid_of_the_lattice_beats_the_adjoint_weights_by_much():
    # sheet boss, C5: 8-D, K = 6: the best plan has W2 .42217, the adjoint-weighted one .42390
    stds = np.array([1.5, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05])
    times = np.linspace(1, 0, 101)
    nodes = list(shortest_path(gaussian_costs(stds, times, adjoint=True), 6)[1])
    angles = np.arctan2(times, (1 - times) * stds[:, None])

    def w2(nodes):
        kept = np.cos(np.diff(angles[:, nodes], axis=1)).prod(axis=1)  # of the standard deviation
        return np.sqrt(((stds * (1 - kept)) ** 2).sum())

    plan = samplers.euler(RF, times[nodes])
    assert plan.law(Gaussian(np.zeros(8), stds**2)).w2 == pytest.approx(w2(nodes), rel=1e-9)
    assert f"{w2(nodes):.5f}" == "0.42390"
    for _ in range(20):  # coordinate descent: no single node can be moved to advantage
        for i in range(1, 6):
            moved = [
                [*nodes[:i], k, *nodes[i + 1 :]] for k in range(nodes[i - 1] + 1, nodes[i + 1])
            ]
            nodes = min(moved, key=w2)
    assert f"{w2(nodes):.5f}" == "0.42217"


def test_the_largest_single_step_costs_little():
    # sheet boss, C3
    costs = gaussian_costs([0.3, 1.0], np.linspace(1, 0, 21), teacher="exact")
    assert f"{np.diagonal(costs, 1).max():.1e}" == "2.5e-05"


def test_a_networks_plan_costs_less_than_the_uniform_one(one_thread):
    # the zoo's flow network of a 2-D mixture: a real torch model on the rectified flow
    entry = zoo.load("mixture-mlp-flow")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, *entry.recipe.shape, generator=generator)
    with torch.no_grad():
        found = bellman_steps(entry.model, x, 4, anchors=40)
        states, velocities = teacher_trajectory(
            entry.model.predicting("velocity"), x, np.linspace(1, 0, 41)
        )
    costs = StepCosts(np.linspace(1, 0, 41), euler_costs(states, velocities, np.linspace(1, 0, 41)))
    uniform = samplers.euler(entry.model.path, np.linspace(1, 0, 5))
    assert found.value <= costs(uniform)
    assert found.value == pytest.approx(costs(found.plan), rel=1e-6)
    assert torch.isfinite(found.plan.run(entry.model, x)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shortest_path(np.ones((2, 3)), 1), "shortest_path: costs must be of shape"),
        (lambda: shortest_path(np.ones((4, 4)), 4), r"shortest_path: edges must be in \[1, 3\]"),
        (lambda: shortest_path(np.ones((4, 4)), 2, by="luck"), "shortest_path: by must be one of"),
        (
            lambda: shortest_path(np.full((4, 4), math.nan), 2),
            "shortest_path: costs must be finite",
        ),
        (lambda: gaussian_costs([0.0], [1, 0]), "gaussian_costs: stds must be positive"),
        (lambda: gaussian_costs([1.0], [0, 1]), "gaussian_costs: times must be decreasing"),
        (lambda: gaussian_costs([1.0], [1, 0], teacher="me"), "teacher must be one of"),
        (lambda: error_bound([1.0], [1.0, 2.0]), "error_bound: lipschitz must be non-negative"),
        (lambda: error_bound([-1.0], [1.0]), "error_bound: costs must be non-negative"),
        (lambda: euler_costs([], [], [1.0, 0.0]), "states and velocities must be 2 and 1 arrays"),
        (lambda: euler_costs([1], [1], [0.0, 1.0]), "times must be one-dimensional and decreasing"),
        (
            lambda: euler_costs(
                [np.ones((3, 2))] * 2, [np.ones((3, 2))], [1.0, 0.0], jacobians=np.ones((2, 2))
            ),
            r"euler_costs: jacobians must be of shape \(2, 3, 2, 2\)",
        ),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 1}, r"bellman_steps: steps must be in \[2, 20\], got 1"),
        ({"steps": 21}, r"bellman_steps: steps must be in \[2, 20\], got 21"),
        ({"anchors": 1}, "bellman_steps: anchors must be at least 2, got 1"),
        ({"weight": "all"}, "bellman_steps: weight must be one of 'none', 'adjoint'"),
        ({"objective": "max"}, "objective must be one of 'squares', 'roots'"),
    ],
)
def test_bad_searches_are_named(world, change, message):
    model, x, _ = world
    given = {"steps": 4, "anchors": 20, **change}
    with pytest.raises(ValueError, match=message):
        bellman_steps(model, x, given.pop("steps"), **given)


def test_a_noise_prediction_has_no_velocity_at_pure_noise(world):
    model, x, _ = world
    with pytest.raises(ValueError, match="bellman_steps: the model's prediction must be 'data'"):
        bellman_steps(model.predicting("noise"), x, 4, anchors=20)


def test_costs_know_only_plans_on_their_anchors(world):
    costs = StepCosts(np.linspace(1, 0, 21), np.zeros((21, 21)))
    with pytest.raises(ValueError, match="StepCosts: plan must be on the anchors"):
        costs(samplers.euler(RF, [1.0, 0.33, 0.0]))
