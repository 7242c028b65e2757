"""Sensitivities: known answers, certificates, bases and ranks, totals from few of them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtheory.arrays import to_numpy
from fewtheory.subsets.rows import _newton
from fewtheory.subsets.rows.lewis import lewis_weights
from fewtheory.subsets.rows.sensitivities import sensitivities
from fewtheory.subsets.rows.total_sensitivity import (
    bracket,
    bucket_sensitivities,
    lewis_range,
    signed_buckets,
    total_sensitivity,
)
from fewtheory.testbeds import lp_designs as designs

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "lp-sensitivity.json").read_text())
EXPONENTS = [1, 1.2, 1.5, 2, 3, 8]


@pytest.fixture
def A(rng):
    """Forty rows in four dimensions, of unequal lengths."""
    return rng.standard_normal((40, 4)) * np.exp(rng.standard_normal((40, 1)))


def test_sensitivities_of_a_small_matrix_are_the_known_ones():
    (known,) = [k for k in KNOWN if k["what"].startswith("l_p sensitivities of a small dense")]
    matrix = np.array(known["inputs"]["A"], dtype=float)
    for p, expected in zip(known["inputs"]["p"], known["expected"], strict=True):
        found = sensitivities(matrix, p, tolerance=1e-11)
        np.testing.assert_allclose(found.value, expected["sensitivities"], rtol=known["tolerance"])
        assert total_sensitivity(matrix, p).value == pytest.approx(expected["total"], rel=1e-9)


@pytest.mark.parametrize("p", EXPONENTS)
def test_every_library_gets_its_own_kind_back(asarray, A, p):
    given = asarray(A)
    found = sensitivities(given, p)
    expected = sensitivities(A, p)
    for name in ("lower", "upper", "value", "directions"):
        value = getattr(found, name)
        assert type(value) is type(given)
        assert value.dtype == given.dtype
        np.testing.assert_allclose(to_numpy(value), getattr(expected, name), rtol=1e-12, atol=1e-14)
    for name in ("index", "iterations", "converged"):
        assert type(getattr(found, name)) is type(given)


def test_single_precision_comes_back_as_it_went_in(A):
    found = sensitivities(torch.tensor(A, dtype=torch.float32), 1.5)
    assert found.lower.dtype == torch.float32
    # rounding the entries of A changes a score by a few units of single precision
    np.testing.assert_allclose(found.value.numpy(), sensitivities(A, 1.5).value, rtol=1e-4)


@pytest.mark.parametrize("p", EXPONENTS)
def test_bounds_meet_and_the_direction_reaches_the_lower_one(A, p):
    found = sensitivities(A, p)
    assert np.all(found.converged)
    assert np.all(found.lower <= found.upper)
    x = found.directions
    share = np.abs((A * x).sum(axis=1)) ** p / (np.abs(A @ x.T) ** p).sum(axis=0)
    np.testing.assert_allclose(share, found.lower, rtol=1e-11)


@pytest.mark.parametrize("p", EXPONENTS)
def test_no_direction_tried_exceeds_the_upper_bound(A, p, rng):
    size = np.abs(A @ rng.standard_normal((4, 2000))) ** p
    tried = (size / size.sum(axis=0)).max(axis=1)
    assert np.all(tried <= sensitivities(A, p).upper)


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_the_order_and_the_signs_of_rows_do_not_matter(A, p, rng):
    order, signs = rng.permutation(40), rng.choice([-1.0, 1.0], size=(40, 1))
    moved = sensitivities((signs * A)[order], p)
    np.testing.assert_allclose(moved.value, sensitivities(A, p).value[order], rtol=1e-9)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_dependent_columns_change_nothing(A, p):
    wide = np.concatenate([A, A[:, :1] - 3 * A[:, 1:2], 0 * A[:, :1]], axis=1)
    found = sensitivities(wide, p)
    np.testing.assert_allclose(found.value, sensitivities(A, p).value, rtol=1e-9)
    assert found.directions.shape == wide.shape


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_columns_of_any_scale_are_columns(A, p):
    found = sensitivities(A * np.array([1e-150, 1.0, 1e30, 1e150]), p)
    np.testing.assert_allclose(found.value, sensitivities(A, p).value, rtol=1e-8)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_zero_rows_have_sensitivity_zero(A, p):
    A[[3, 7]] = 0.0
    found = sensitivities(A, p)
    assert found.upper[3] == found.upper[7] == found.lower[3] == 0.0
    rest = np.delete(A, [3, 7], axis=0)
    np.testing.assert_allclose(
        np.delete(found.value, [3, 7]), sensitivities(rest, p).value, rtol=1e-9
    )


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_a_matrix_of_zeros_has_no_sensitive_row(p):
    assert sensitivities(np.zeros((3, 2)), p).upper.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_tiny_rows_keep_their_digits(p):
    # two columns, mixed: the shares of each are those of its own entries
    a = np.array([1.0, 1e-9, 3e-5])
    design = designs.direct_sum([designs.one_column(a), designs.one_column(a[::-1])])
    found = sensitivities(design.A @ np.array([[1.0, 2.0], [-0.5, 1.0]]), p)
    np.testing.assert_allclose(found.value, design.sensitivities(p), rtol=1e-9)


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_rows_are_chosen_by_index(A, p):
    found = sensitivities(A, p, rows=np.array([5, 2, 5]))
    assert found.index.tolist() == [5, 2, 5]
    np.testing.assert_allclose(
        found.value, sensitivities(A, p, rows="all").value[[5, 2, 5]], rtol=1e-9
    )


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_against_two_copies_of_the_matrix_half_is_left(A, p):
    found = sensitivities(A, p, against=np.concatenate([A, A]))
    np.testing.assert_allclose(found.value, sensitivities(A, p).value / 2, rtol=1e-9)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_a_row_outside_of_the_row_space_has_infinite_sensitivity(p):
    B = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    rows = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])  # the first is 1 and 2 times B's
    found = sensitivities(rows, p, against=B)
    assert np.isfinite(found.upper[0])
    assert found.lower[1] == found.upper[1] == found.value[1] == math.inf
    assert found.converged.tolist() == [True, True]
    np.testing.assert_allclose(B @ found.directions[1], 0.0, atol=1e-15)
    assert abs(rows[1] @ found.directions[1]) > 0.1


DEGENERATE = [
    designs.cube(5),
    designs.complete_graph(8),
    designs.axes(3, copies=20),
    designs.half_polygon(12),
    designs.simplex(5),
    designs.graph([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]], [3, 1, 4, 1, 5]),
]


@pytest.mark.parametrize("design", DEGENERATE)
@pytest.mark.parametrize("method", ["auto", "highs"])
def test_ties_are_decided(design, method):
    found = sensitivities(design.A, 1, method=method)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.value, design.sensitivities(1), rtol=1e-9)


def test_pivots_and_highs_find_the_same_optimum(A):
    pivots = sensitivities(A, 1, method="vertices")
    assert np.all(pivots.converged)
    np.testing.assert_allclose(pivots.value, sensitivities(A, 1, method="highs").value, rtol=1e-9)


@pytest.mark.parametrize("p", [1.01, 1.05, 30, 100])
def test_extreme_exponents_converge_to_certified_bounds(A, p):
    found = sensitivities(A, p, max_iterations=1000)
    assert np.all(found.converged)
    # monotone in p (sheet, C4): sigma^(1/p) lies between its neighbours
    low, high = (sensitivities(A, q).value ** (1 / q) for q in ((1, 1.2) if p < 2 else (8, 200)))
    root = found.value ** (1 / p)
    assert np.all((low <= root * (1 + 1e-9)) & (root <= high * (1 + 1e-9)))


def test_what_has_not_converged_says_so_and_still_has_two_bounds(A):
    found = sensitivities(A, 1.2, max_iterations=3)
    exact = sensitivities(A, 1.2).value
    assert not np.all(found.converged)
    assert np.all((found.lower <= exact * (1 + 1e-9)) & (exact <= found.upper * (1 + 1e-9)))


def test_chunks_of_rows_and_columns_give_the_same_numbers(A, monkeypatch):
    whole = sensitivities(A, 3)
    monkeypatch.setattr(_newton, "WORDS", 40)
    parts = sensitivities(A, 3)
    np.testing.assert_allclose(parts.value, whole.value, rtol=1e-10)


def test_a_read_only_matrix_is_not_written_to(A):
    A.setflags(write=False)
    before = A.copy()
    for p in (1, 1.5, 2):
        sensitivities(A, p)
    np.testing.assert_array_equal(A, before)


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_a_total_from_draws_lies_where_it_says(A, p, rng):
    exact = total_sensitivity(A, p)
    found = total_sensitivity(A, p, draws=200, rng=rng)
    assert exact.standard_error == 0.0
    assert exact.lower <= exact.value <= exact.upper
    assert found.lower <= found.value <= found.upper
    # six standard errors: one failure in 10^9
    assert abs(found.value - exact.value) <= 6 * found.standard_error


def test_one_draw_has_no_standard_error(A, rng):
    assert total_sensitivity(A, 1, draws=1, rng=rng).standard_error == math.inf


def test_buckets_bound_every_sensitivity_from_above(asarray, A, rng):
    exact = sensitivities(A, 1).value
    found = to_numpy(bucket_sensitivities(asarray(A), repeats=30, rng=rng))
    # below with probability 2^-30 a row
    assert np.all(found >= exact * (1 - 1e-9))
    assert np.all(found <= 1 + 1e-9) or found.max() <= exact.sum()


def test_buckets_of_one_row_are_exact(A):
    found = signed_buckets(A, np.arange(40), np.ones(40))
    np.testing.assert_allclose(found, sensitivities(A, 1).value, rtol=1e-9)


def test_a_nearby_exponent_brackets_p_equal_one(asarray, A):
    found, exact = bracket(asarray(A), 1.05), sensitivities(A, 1).value
    assert np.all(to_numpy(found.lower) <= exact)
    assert np.all(exact <= to_numpy(found.upper))
    # sheet, C4: a factor n^(1 - 1/p), 1.19 here
    np.testing.assert_allclose(
        to_numpy(found.upper) / to_numpy(found.lower), 40 ** (1 - 1 / 1.05), rtol=1e-8
    )


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_lewis_weights_bracket_sensitivities(A, p):
    low, high = lewis_range(lewis_weights(A, p).weights, p, 4)
    sigma = sensitivities(A, p).value
    assert np.all((low <= sigma * (1 + 1e-9)) & (sigma <= high * (1 + 1e-9)))


GOOD = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sensitivities(GOOD, 0.5), "sensitivities: p must be at least 1"),
        (lambda: sensitivities(GOOD, math.inf), "sensitivities: p must be finite"),
        (lambda: sensitivities(GOOD, math.nan), "sensitivities: p must be finite"),
        (lambda: sensitivities(GOOD[0], 1), "sensitivities: A must be a matrix"),
        (lambda: sensitivities(GOOD[:0], 1), "sensitivities: A must be a matrix"),
        (lambda: sensitivities(np.full((3, 2), math.nan), 1), "sensitivities: A must be finite"),
        (lambda: sensitivities(GOOD, 1, rows=[3]), r"sensitivities: rows must be in \[0, 2\]"),
        (lambda: sensitivities(GOOD, 1, rows=[0.5]), "sensitivities: rows must be 'all' or row"),
        (lambda: sensitivities(GOOD, 1, rows="some"), "sensitivities: rows must be 'all' or row"),
        (lambda: sensitivities(GOOD, 1, against=GOOD[:, :1]), "against must be of shape"),
        (lambda: sensitivities(GOOD, 1, against=GOOD + math.inf), "against must be finite"),
        (lambda: sensitivities(GOOD, 1, tolerance=0.0), "sensitivities: tolerance must be finite"),
        (lambda: sensitivities(GOOD, 3, max_iterations=0), "max_iterations must be at least 1"),
        (lambda: sensitivities(GOOD, 1, method="luck"), "sensitivities: method must be one of"),
        (lambda: total_sensitivity(GOOD, 0.9), "total_sensitivity: p must be at least 1"),
        (
            lambda: total_sensitivity(GOOD, 1, draws=0, rng=np.random.default_rng(0)),
            "total_sensitivity: draws must be at least 1",
        ),
        (
            lambda: bucket_sensitivities(GOOD, buckets=4, rng=np.random.default_rng(0)),
            r"bucket_sensitivities: buckets must be in \[1, 3\]",
        ),
        (
            lambda: bucket_sensitivities(GOOD, repeats=0, rng=np.random.default_rng(0)),
            "bucket_sensitivities: repeats must be at least 1",
        ),
        (lambda: bracket(GOOD, 1.0), "bracket: p must be above target = 1.0"),
        (lambda: bracket(GOOD, 2.0, target=0.5), "bracket: target must be finite in"),
        (lambda: lewis_range(GOOD[:, 0], 0.5, 2), "lewis_range: p must be finite in"),
        (lambda: lewis_range(GOOD[:, 0], 1, 0), "lewis_range: d must be at least 1"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_types_are_named(own_checks):
    for call, message in (
        (lambda: sensitivities([[1.0]], 1), "sensitivities: A must be an array"),
        (
            lambda: sensitivities(np.ones((3, 2), dtype=int), 1),
            "A must be of a real floating dtype",
        ),
        (lambda: total_sensitivity(GOOD, 1, draws=3), "total_sensitivity: rng must be a numpy"),
        (lambda: bucket_sensitivities(GOOD, rng=0), "bucket_sensitivities: rng must be a numpy"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
