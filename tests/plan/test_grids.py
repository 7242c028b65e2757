"""Grids: where a sampler calls its model."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fewtheory import paths
from fewtheory.plan import Grid, grids

EPS = np.finfo(np.float64).eps
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()
MAKERS = [grids.uniform, grids.power, grids.quadratic, grids.log_snr, grids.karras]
every_maker = pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)


@every_maker
def test_a_grid_goes_from_the_paths_start_to_its_end(path, make):
    grid = make(path, steps=7)
    assert grid.steps == 7
    assert grid.t.shape == grid.lam.shape == (8,)
    assert grid.lam[[0, -1]].tolist() == [path.lam(path.start), path.lam(path.end)]
    assert np.all(np.diff(grid.t) < 0)


@every_maker
def test_a_grid_takes_explicit_ends(make):
    grid = make(VP, 3, start=0.9, end=0.1)
    assert grid.lam[[0, -1]].tolist() == [VP.lam(0.9), VP.lam(0.1)]


def test_uniform_steps_are_equal_in_t():
    np.testing.assert_allclose(np.diff(grids.uniform(VP, 5).t), -0.999 / 5, rtol=8 * EPS)


def test_quadratic_steps_are_equal_in_the_root_of_t():
    steps = np.diff(np.sqrt(grids.quadratic(VP, 5).t))
    np.testing.assert_allclose(steps, (math.sqrt(1e-3) - 1) / 5, rtol=8 * EPS)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0, 7.0])
def test_power_steps_are_equal_in_the_power_of_t(exponent):
    steps = np.diff(grids.power(VP, 5, exponent=exponent).t ** (1 / exponent))
    expected = (1e-3 ** (1 / exponent) - 1) / 5
    np.testing.assert_allclose(steps, expected, rtol=64 * EPS / 1e-3 ** (1 / exponent))


TABLE = paths.Table(np.cumprod(1 - np.linspace(1e-4, 0.02, 100)))


@given(st.lists(st.floats(0.011, 0.999), min_size=2, max_size=60, unique=True))
@settings(deadline=None, max_examples=40)
def test_a_grid_on_the_entries_of_a_table_keeps_its_number_of_levels(times):
    times = sorted(times, reverse=True)
    assume(min(-np.diff(times)) >= 1e-9)
    grid = grids.on_entries(TABLE, times)
    steps = TABLE.timestep(grid.t)
    assert grid.steps == len(times) - 1
    np.testing.assert_allclose(steps, np.rint(steps), rtol=0, atol=1e-10)


def test_levels_on_one_entry_take_the_next_unused_ones():
    # entries 98, 98 and 97 of 0..99: the second moves to 97, the third to 96
    grid = grids.on_entries(TABLE, [0.99, 0.9895, 0.98])
    np.testing.assert_allclose(TABLE.timestep(grid.t), [98, 97, 96], rtol=0, atol=1e-10)


def test_a_grid_that_fits_the_entries_stays():
    t = np.array([1.0, 0.6, 0.3, 0.01])
    np.testing.assert_allclose(grids.on_entries(TABLE, t).t, t, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("own_checks")
def test_more_levels_than_entries_are_refused():
    small = paths.Table([0.9, 0.5, 0.1])
    with pytest.raises(ValueError, match="grid: grid must be of at most 3 levels"):
        grids.on_entries(small, [1.0, 0.9, 0.8, 0.7])
    with pytest.raises(TypeError, match="grid: path must be a Table"):
        grids.on_entries(VP, [0.9, 0.1])


@given(st.lists(st.floats(-5, 4.5), min_size=2, max_size=12, unique=True), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_any_increasing_levels_are_a_grid_on_every_path_and_back(lams, parts):
    lam = np.sort(lams)
    assume(np.diff(lam).min() >= 1e-6)
    wide = paths.EDM(1e-3, 1e3)
    grid = grids.at_lams(wide, lam)
    assert grid.on(RF).on(wide).lam.tolist() == grid.lam.tolist()
    finer = grid.refined(parts)
    assert finer.steps == parts * grid.steps
    assert finer.lam[::parts].tolist() == grid.lam.tolist()
    back = grids.at_times(wide, grid.t)
    np.testing.assert_allclose(back.lam, grid.lam, rtol=0, atol=16 * EPS * 5)


def test_log_snr_steps_are_equal_in_lam(path):
    lam = grids.log_snr(path, 5).lam
    np.testing.assert_allclose(np.diff(lam), (lam[-1] - lam[0]) / 5, rtol=16 * EPS * 10)


def test_karras_sigmas_are_the_papers():
    # Karras et al., eq. 5, on the path where sigma / alpha is sigma
    i, (low, high) = np.arange(6) / 5, (0.002 ** (1 / 7), 80 ** (1 / 7))
    expected = (high + i * (low - high)) ** 7
    np.testing.assert_allclose(grids.karras(EDM, 5).t, expected, rtol=256 * EPS)


def test_karras_with_rho_one_is_uniform_in_sigma():
    np.testing.assert_allclose(
        grids.karras(EDM, 4, rho=1.0).t, np.linspace(80, 0.002, 5), rtol=1e-12
    )


def test_a_point_is_a_level_of_the_path(path):
    grid = grids.log_snr(path, 3)
    for i in range(4):
        point = grid[i]
        assert point.lam == grid.lam[i]
        assert point.t == grid.t[i]
        assert math.log(point.alpha / point.sigma) == pytest.approx(point.lam, abs=1e-11)


def test_the_last_point_counts_from_the_end_too():
    grid = grids.log_snr(VP, 3)
    assert grid[-1] == grid[3]


def test_a_grid_to_clean_data_has_one_more_step(path):
    grid = grids.log_snr(path, 3).to_clean()
    assert grid.steps == 4
    assert grid[4].sigma == 0.0
    assert grid[4].alpha == 1.0


def test_a_grid_that_ends_clean_stays_as_it_is():
    grid = grids.log_snr(VP, 3).to_clean()
    assert grid.to_clean() is grid


def test_a_refined_grid_keeps_the_levels_and_halves_the_steps():
    grid = grids.at_lams(VP, [-2.0, 0.0, 3.0])
    assert grid.refined(2).lam.tolist() == [-2.0, -1.0, 0.0, 1.5, 3.0]
    assert grid.refined(1).lam.tolist() == grid.lam.tolist()


def test_a_refined_grid_leaves_the_step_to_clean_data_out():
    assert grids.at_lams(VP, [-2.0, 0.0]).to_clean().refined(1).lam.tolist() == [-2.0, 0.0]


def test_on_another_path_the_levels_are_the_same(path, lams):
    grid = grids.at_lams(VP, lams).on(path)
    assert grid.path is path
    assert grid.lam.tolist() == lams.tolist()
    bound = 64 * EPS * (1 + np.abs(lams).max())
    np.testing.assert_allclose(path.lam(grid.t), lams, rtol=0, atol=bound * path.t_max)


def test_decreasing_times_are_a_grid(path):
    times = np.linspace(path.start, path.end, 4)
    grid = grids.of(path, times)
    assert grid.t.tolist() == times.tolist()
    assert grids.of(path, grid) is grid
    assert grids.of(path, times.tolist()).lam.tolist() == grid.lam.tolist()


@pytest.mark.parametrize("kind", [paths.VPLinear, paths.RectifiedFlow, paths.Trigonometric])
def test_times_may_end_at_clean_data(kind):
    grid = grids.at_times(kind(), [0.9, 0.5, 0.0])
    assert grid.lam[-1] == math.inf
    assert grid[2].sigma == 0.0


@pytest.mark.parametrize("kind", [paths.RectifiedFlow, paths.Trigonometric])
def test_times_may_start_at_pure_noise(kind):
    grid = grids.uniform(kind(), 4, start=1.0)
    assert grid.lam[0] == -math.inf
    assert grid[0].alpha == 0.0


def test_lams_may_be_infinite_at_both_ends():
    grid = grids.at_lams(RF, [-math.inf, 0.0, math.inf])
    assert [grid[i].t for i in range(3)] == [1.0, 0.5, 0.0]


def test_a_grid_is_frozen():
    grid = grids.log_snr(VP, 3)
    with pytest.raises(ValueError, match="read-only"):
        grid.lam[0] = 0.0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: grids.at_times(VP, [0.5]), "t"),
        (lambda: grids.at_times(VP, [0.1, 0.5]), "t"),
        (lambda: grids.at_times(VP, [0.5, 0.5]), "t"),
        (lambda: grids.at_times(VP, [0.5, math.nan]), "t"),
        (lambda: grids.at_times(VP, [1.5, 0.5]), "t"),
        (lambda: grids.at_times(VP, np.array([[0.5, 0.1]])), "t"),
        (lambda: grids.at_lams(VP, [1.0, -1.0]), "lam"),
        (lambda: grids.at_lams(VP, [math.nan, 1.0]), "lam"),
        (lambda: grids.at_lams(VP, [-9.0, 1.0]), "lam"),
        (lambda: grids.at_lams(EDM, [0.0, 99.0]), "lam"),
        (lambda: Grid(VP, np.array([0.0])), "lam"),
        (lambda: grids.uniform(VP, 0), "steps"),
        (lambda: grids.uniform(VP, 4, start=2.0), "start"),
        (lambda: grids.uniform(VP, 4, end=-1.0), "end"),
        (lambda: grids.log_snr(VP, 4, start=0.1, end=0.5), "start"),
        (lambda: grids.log_snr(VP, 4, start=math.nan), "start"),
        (lambda: grids.karras(VP, 4, rho=0.0), "rho"),
        (lambda: grids.log_snr(VP, 4).refined(0), "parts"),
    ],
)
def test_what_is_no_grid_is_named(call, named):
    with pytest.raises(ValueError, match=rf": {named} must be "):
        call()


def test_a_path_must_be_a_path():
    with pytest.raises(TypeError, match="path"):
        grids.of("vp", [0.5, 0.1])
