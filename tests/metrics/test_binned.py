"""KL on a grid: cell masses against distribution functions, KL against closed forms, bad input."""

import math

import numpy as np
import pytest
from scipy.special import ndtr

from fewtheory import testbeds
from fewtheory.metrics import binned_kl, cell_masses

PLANE = testbeds.GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [[0.3, 0.2], [0.4, 0.5]])
LINE = testbeds.Gaussian([0.2], 0.25)
FINE = [np.linspace(-3.0, 3.0, 121)]


def test_cells_in_one_dimension_hold_what_the_distribution_function_says():
    edges = np.array([-2.0, -0.5, 0.0, 0.9, 2.2])
    expected = np.diff(ndtr((edges - 0.2) / 0.5))
    assert cell_masses(LINE, [edges]) == pytest.approx(expected, rel=0, abs=1e-5)  # 3 deviations
    narrow = np.linspace(-2.0, 2.2, 22)  # cells of .4 deviations: the nodes are exact to roundings
    expected = np.diff(ndtr((narrow - 0.2) / 0.5))
    assert cell_masses(LINE, [narrow]) == pytest.approx(expected, rel=0, abs=1e-12)


def test_cells_in_the_plane_have_an_axis_for_each_dimension():
    edges = np.linspace(-4.0, 4.0, 33), np.linspace(-3.0, 3.5, 27)
    found = cell_masses(PLANE, edges)
    expected = np.zeros((32, 26))
    for w, m, v in zip(PLANE.weights, PLANE.means, ([0.3, 0.2], [0.4, 0.5]), strict=True):
        along = [np.diff(ndtr((e - a) / math.sqrt(c))) for e, a, c in zip(edges, m, v, strict=True)]
        expected += w * np.outer(*along)
    assert found == pytest.approx(expected, rel=0, abs=1e-12)


def test_equal_laws_are_at_zero_but_for_the_noise(rng):
    n = 200_000
    found = binned_kl(PLANE.sample(n, rng=rng), PLANE, [np.linspace(-4.0, 4.0, 33)] * 2)
    k = 32 * 32 + 1  # 2 n KL is about chi-square of at most k - 1 degrees, less their number
    assert abs(found.value) < (6 * math.sqrt(2 * k) + k / 8) / (2 * n)


def test_a_shifted_law_is_as_far_as_its_closed_form(rng):
    x = LINE.sample(400_000, rng=rng) + 0.3
    found = binned_kl(x, LINE, FINE)
    exact = 0.3**2 / (2 * 0.25)
    lost = (0.05 * 0.3 / 0.25) ** 2 / 24  # the log ratio is linear: its variance inside a cell / 2
    assert abs(found.value - exact) < 5 * found.standard_error + lost
    assert found.standard_error == pytest.approx(0.3 / 0.5 / math.sqrt(400_000), rel=0.02)


def test_coarser_cells_see_less(rng):
    x = LINE.sample(100_000, rng=rng) * 1.3
    coarse, fine = (binned_kl(x, LINE, [np.linspace(-3.0, 3.0, k)]).value for k in (13, 121))
    assert 0 < coarse < fine


def test_what_is_outside_of_the_edges_is_one_cell(rng):
    x = np.array([[9.0], [-9.0], [0.1], [0.2]])
    found = binned_kl(x, LINE, [[-0.8, 1.2]])
    inside = 2 * ndtr(2.0) - 1
    expected = 0.5 * math.log(0.5 / inside) + 0.5 * math.log(0.5 / (1 - inside)) - 1 / 8
    assert found.value == pytest.approx(expected, abs=1e-3)  # one cell of four deviations


def test_array_libraries_agree(asarray, rng):
    x = LINE.sample(1000, rng=rng)
    assert binned_kl(asarray(x), LINE, FINE) == binned_kl(x, LINE, FINE)


@pytest.mark.parametrize(
    ("x", "law", "edges", "error", "message"),
    [
        (np.zeros((1, 1)), LINE, FINE, ValueError, "binned_kl: x must be of shape"),
        (np.zeros((5, 2)), LINE, FINE, ValueError, "binned_kl: edges must be 2 arrays"),
        (np.full((5, 1), np.nan), LINE, FINE, ValueError, "binned_kl: x must be finite"),
        (np.zeros((5, 1)), "law", FINE, TypeError, "binned_kl: law must have log_prob"),
        (np.zeros((5, 1)), LINE, [[1.0, 0.0]], ValueError, "binned_kl: edges must be increasing"),
        (np.zeros((5, 1)), LINE, [[1.0]], ValueError, "binned_kl: edges must be increasing"),
        (np.zeros((5, 1)), LINE, [], ValueError, "binned_kl: edges must be 1 to 3 arrays"),
    ],
)
def test_bad_input_is_named(x, law, edges, error, message):
    with pytest.raises(error, match=message):
        binned_kl(x, law, edges)
