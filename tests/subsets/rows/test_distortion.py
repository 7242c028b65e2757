"""Distortions: exact ones against grids of directions, ascents against exact ones, lost ranks."""

import math

import numpy as np
import pytest

from fewtheory.arrays import to_numpy
from fewtheory.subsets.rows.coreset import coreset
from fewtheory.subsets.rows.distortion import distortion, row_weights
from fewtheory.subsets.rows.rays import orthogonal, profiles
from fewtheory.testbeds import lp_designs as designs

ANGLES = np.pi * np.arange(20000) / 20000
GRID = np.stack([np.cos(ANGLES), np.sin(ANGLES)])


@pytest.fixture
def sample(rng):
    """Thirty rows in the plane, and twelve of them with weights."""
    A = rng.standard_normal((30, 2)) * np.exp(rng.standard_normal((30, 1)))
    return A, np.sort(rng.choice(30, 12, replace=False)), rng.uniform(1.0, 3.0, 12)


def on_the_grid(sample, p):
    """The extreme ratios over a grid of directions of the plane."""
    A, index, weight = sample
    S = np.linalg.norm(weight[:, None] * (A[index] @ GRID), p, axis=0)
    ratio = S / np.linalg.norm(A @ GRID, p, axis=0)
    return ratio.max(), ratio.min()


@pytest.mark.parametrize("p", [1, 1.5, 2, 4])
@pytest.mark.parametrize("exact", [None, False])
def test_extremes_are_those_of_a_fine_grid(sample, p, exact, rng):
    found = distortion(*sample, p, exact=exact, rng=rng)
    high, low = on_the_grid(sample, p)
    assert found.exact == (exact is None and p in (1, 2))
    assert found.largest >= high * (1 - 1e-12)
    assert found.smallest <= low * (1 + 1e-12)
    # half a step of the grid is 8e-5; ratios change by their slope times it (p = 1: not smooth)
    assert found.largest == pytest.approx(high, rel=2e-3)
    assert found.smallest == pytest.approx(low, rel=2e-3)


@pytest.mark.parametrize("p", [1, 1.5, 2, 4])
def test_the_directions_show_the_ratios(sample, p, rng):
    A, index, weight = sample
    found = distortion(*sample, p, rng=rng)
    for x, ratio in ((found.largest_at, found.largest), (found.smallest_at, found.smallest)):
        top = np.linalg.norm(weight * (A[index] @ x), p)
        assert top / np.linalg.norm(A @ x, p) == pytest.approx(ratio, rel=1e-9)
    assert found.lower == max(found.largest - 1, 1 - found.smallest)
    assert found.upper == (found.lower if found.exact else math.inf)


def test_a_small_case_by_hand():
    # |x1| + |x2| doubled, over |x1| + |x2| + |x1 + x2| + |x1 - x2| (= 2 max) :
    # rays are (0, 1), (1, 0), (1, -1), (1, 1): 2/3, 2/3, 1, 1
    A = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    found = distortion(A, np.array([0, 1]), np.array([2.0, 2.0]), 1)
    assert (found.largest, found.smallest, found.how) == (
        pytest.approx(1.0),
        pytest.approx(2 / 3),
        "rays",
    )


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_rays_and_ascent_agree(d, rng):
    A = rng.standard_normal((18, d))
    index, weight = np.arange(0, 18, 2), np.full(9, 2.0)
    exact = distortion(A, index, weight, 1)
    climbed = distortion(A, index, weight, 1, exact=False, starts=200, rng=rng)
    assert exact.how == "rays"
    assert climbed.largest == pytest.approx(exact.largest, rel=1e-9)
    assert climbed.smallest == pytest.approx(exact.smallest, rel=1e-9)


def test_cuts_of_a_graph_and_rays_of_its_columns_agree(rng):
    A = designs.graph([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]], [3, 1, 4, 1, 5]).A
    index, weight = np.array([0, 2, 3, 4]), np.array([1.0, 2.0, 1.5, 1.0])
    cuts = distortion(A, index, weight, 1)
    rays = distortion(A @ rng.standard_normal((4, 4)), index, weight, 1)
    assert (cuts.how, rays.how) == ("cuts", "rays")
    assert cuts.largest == pytest.approx(rays.largest, rel=1e-9)
    assert cuts.smallest == pytest.approx(rays.smallest, rel=1e-9)


@pytest.mark.parametrize("p", [1, 1.5, 2, 4])
def test_a_sample_that_loses_rank_is_off_by_one_at_least(sample, p, rng):
    A, _, _ = sample
    found = distortion(A, np.array([3]), np.array([1.0]), p, rng=rng)
    assert found.smallest == 0.0
    assert found.lower == 1.0
    assert abs(A[3] @ to_numpy(found.smallest_at)) <= 1e-14 * np.abs(A[3]).max()


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_an_empty_sample_is_off_by_one(sample, p, rng):
    found = distortion(sample[0], np.zeros(0, dtype=int), np.zeros(0), p, rng=rng)
    assert (found.largest, found.smallest, found.lower) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_the_whole_matrix_is_not_off(sample, p, rng):
    found = distortion(sample[0], np.arange(30), np.ones(30), p, rng=rng)
    # two norms of thirty terms
    assert found.lower <= 256 * np.finfo(float).eps


@pytest.mark.parametrize("p", [1, 2])
def test_dependent_columns_change_nothing(sample, p):
    A, index, weight = sample
    wide = np.concatenate([A, A @ np.array([[1.0], [2.0]])], axis=1)
    one, two = distortion(A, index, weight, p), distortion(wide, index, weight, p)
    assert two.lower == pytest.approx(one.lower, rel=1e-9)
    assert two.largest_at.shape == (3,)


def test_a_row_that_comes_twice_counts_twice_in_the_norm():
    # (2^p + 2^p)^(1/p)
    found = row_weights("t", np.array([1, 1, 0]), np.array([2.0, 2.0, 3.0]), 3, 2.0)
    np.testing.assert_allclose(found, [3.0, math.sqrt(8), 0.0])


def test_many_samples_are_one_product(sample):
    A, index, weight = sample
    v = np.zeros((30, 2))
    v[index, 0], v[index[:6], 1] = weight, 2.0
    ratio = profiles(A) @ v
    for column, (rows, scale) in enumerate(((index, weight), (index[:6], np.full(6, 2.0)))):
        found = distortion(A, rows, scale, 1)
        assert ratio[:, column].max() == pytest.approx(found.largest, rel=1e-12)
        assert ratio[:, column].min() == pytest.approx(found.smallest, rel=1e-12)


@pytest.mark.parametrize("r", [1, 2, 3, 4, 5])
def test_a_ray_is_orthogonal_to_its_rows(r, rng):
    rows = rng.standard_normal((50, r - 1, r))
    z = orthogonal(rows)
    np.testing.assert_allclose(np.einsum("cij,cj->ci", rows, z), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, rtol=1e-12)


def test_dependent_rows_have_no_ray():
    assert orthogonal(np.ones((1, 2, 3))).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_every_library_gets_its_own_kind_back(asarray, sample, p, rng):
    A, index, weight = sample
    given = asarray(A)
    found = distortion(given, index, weight, p, rng=rng)
    assert type(found.largest_at) is type(given)
    assert found.largest_at.dtype == given.dtype


def test_a_coreset_tells_its_own_distortion(sample, rng):
    C = coreset(sample[0], 1, 15, rng=rng)
    found = C.distortion(sample[0])
    assert found.lower == distortion(sample[0], C.index, C.weight, 1).lower


BAD = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
ONE, TWO = np.array([0]), np.array([1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distortion(BAD, ONE, TWO, 0.5), "distortion: p must be finite in"),
        (lambda: distortion(BAD, ONE, TWO, math.inf), "distortion: p must be finite in"),
        (lambda: distortion(BAD * math.nan, ONE, TWO, 1), "distortion: A must be finite"),
        (lambda: distortion(BAD * 0, ONE, TWO, 1), "distortion: A must be not zero"),
        (lambda: distortion(BAD, np.array([3]), TWO, 1), r"index must be in \[0, 2\]"),
        (lambda: distortion(BAD, TWO, TWO, 1), "distortion: index must be row indices"),
        (lambda: distortion(BAD, ONE, -TWO, 1), "distortion: weight must be finite, not negative"),
        (
            lambda: distortion(BAD, ONE, np.ones(2), 1),
            "weight must be finite, not negative and one",
        ),
        (lambda: distortion(BAD, ONE, TWO, 1, exact="rays"), "exact must be True, False or None"),
        (lambda: distortion(BAD, ONE, TWO, 1.5, exact=True), "distortion: exact must be False or"),
        (lambda: distortion(BAD, ONE, TWO, 1, starts=0), "distortion: starts must be at least 1"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_ascent_needs_a_generator(own_checks):
    with pytest.raises(TypeError, match="distortion: rng must be a numpy"):
        distortion(BAD, ONE, TWO, 1.5)
