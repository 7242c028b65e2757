"""First-order steps in angles: closed forms against plans, and the best grid."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import paths, samplers
from fewtheory.plan import grids
from fewtheory.plan.angles import angle_costs, equal_angles, first_order_w2, std_ratio
from fewtheory.testbeds import Gaussian

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "autodiffusion.json").read_text())
EPS = np.finfo(np.float64).eps
WIDE = paths.EDM(1e-9, 1e17)
DDPM = paths.Table(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))


def known(what):
    (found,) = [k for k in KNOWN if k["what"].startswith(what)]
    return found["inputs"], found["expected"], found["tolerance"]


def test_the_ratio_of_a_grid_is_the_known_one():
    inputs, expected, tolerance = known("sd ratio of DDIM")
    rho = np.array(inputs["rho"])
    grid = grids.at_lams(WIDE, [*(-np.log(rho[:-1])), math.inf])
    assert std_ratio(WIDE, grid, inputs["s"])[0] == pytest.approx(expected, rel=8 * tolerance)


def test_the_best_grid_is_the_known_one():
    inputs, (ratio, *rho), tolerance = known("best sd ratio")
    grid = equal_angles(WIDE, inputs["N"], inputs["s"], rho_max=inputs["rho_max"])
    assert std_ratio(WIDE, grid, inputs["s"])[0] == pytest.approx(ratio, rel=8 * tolerance)
    np.testing.assert_allclose(np.exp(-grid.lam[1:-1]), rho, rtol=8 * tolerance)


def test_the_distance_from_standard_noise_is_the_known_one():
    inputs, expected, tolerance = known("exact FID")
    grid = grids.at_times(DDPM, (np.array(inputs["steps"][::-1]) + 1) / 1000).to_clean()
    found = first_order_w2(DDPM, grid, inputs["means"], inputs["sds"], start="normal") ** 2
    assert found == pytest.approx(expected, rel=64 * tolerance)  # 8 coordinates of 5 cosines


@pytest.mark.parametrize("start", ["marginal", "normal"])
def test_the_distance_is_that_of_a_plan(path, lams, start):
    means, stds = np.array([1.0, -0.3, 0.0]), np.array([1.5, 0.4, 0.1])
    grid = grids.at_lams(path, lams)
    plan, data = samplers.ddim(path, grid), Gaussian(means, stds**2)
    law = plan.law(data, start="marginal" if start == "marginal" else (0.0, 1.0))
    found = first_order_w2(path, grid, means, stds, start=start)
    if path.alpha(path.t_max) < 0.5 or isinstance(path, paths.RectifiedFlow) or start == "marginal":
        assert found == pytest.approx(law.w2, rel=256 * EPS)


def test_the_ratio_is_that_of_a_plan(path, lams):
    grid = grids.at_lams(path, lams)
    for s in (0.1, 1.0, 3.0):
        law = samplers.ddim(path, grid).law(Gaussian([0.0], s * s))
        assert std_ratio(path, grid, s)[0] == pytest.approx(law.std_ratio[0], rel=256 * EPS)


@given(st.lists(st.floats(0.01, 1.5), min_size=3, max_size=6, unique=True), st.floats(0.05, 20.0))
@settings(deadline=None, max_examples=60)
def test_no_grid_beats_equal_angles(inner, s):
    theta = np.sort(inner)[::-1]
    grid = grids.at_lams(WIDE, [*(-np.log(s * np.tan(theta))), math.inf])
    best = equal_angles(WIDE, grid.steps, s, rho_max=float(s * np.tan(theta[0])))
    assert std_ratio(WIDE, grid, s)[0] <= std_ratio(WIDE, best, s)[0] + 64 * EPS


def test_costs_add_up_to_the_logarithm_of_the_ratio():
    grid = equal_angles(paths.RectifiedFlow(), 6, 0.3, rho_max=50.0)
    costs = angle_costs(grid.path, grid, 0.3)
    total = sum(costs[i, i + 1] for i in range(6))
    assert math.exp(-total) == pytest.approx(std_ratio(grid.path, grid, 0.3)[0], rel=64 * EPS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: std_ratio(WIDE, [1.0, 0.1], [0.0]), "angles: stds must be positive"),
        (lambda: first_order_w2(WIDE, [1.0, 0.1], [0.0, 1.0], [1.0]), "means must be of shape"),
        (lambda: first_order_w2(WIDE, [1.0, 0.1], [0.0], [1.0], start="x"), "start must be one of"),
        (lambda: equal_angles(WIDE, 0, 1.0), "equal_angles: steps must be at least 1, got 0"),
        (lambda: equal_angles(WIDE, 3, 0.0), "equal_angles: std must be finite"),
        (lambda: equal_angles(WIDE, 3, 1.0, rho_max=-1.0), "rho_max must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
