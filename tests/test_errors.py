"""A bad argument is named, with its value and what is allowed."""

import math

import numpy as np
import pytest

from fewtheory import errors
from fewtheory.arrays import namespace


def test_a_failure_names_place_argument_allowed_and_value():
    assert str(errors.fail("f", "k", "1 or 2", 3)) == "f: k must be 1 or 2, got 3"


def test_a_missing_extra_says_how_to_get_it():
    error = errors.MissingExtra("verify", "fewtheory.verify")
    assert error.extra == "verify"
    assert "pip install 'fewtheory[verify]'" in str(error)
    assert isinstance(error, ImportError)


def test_one_of_lists_what_is_allowed():
    with pytest.raises(ValueError, match=r"f: color must be one of 'red', 'blue', got 'green'"):
        errors.one_of("f", "color", "green", ("red", "blue"))


def test_one_of_lets_an_allowed_value_pass():
    assert errors.one_of("f", "color", "red", ("red", "blue")) is None


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_of_every_kind_become_python_ints(value):
    found = errors.integer("f", "k", value, 1)
    assert type(found) is int
    assert found == 3


@pytest.mark.parametrize("value", [True, 2.0, "2", None, np.float64(2)])
def test_what_is_no_integer_is_a_type_error(value):
    with pytest.raises(TypeError, match="f: k must be an integer, got "):
        errors.integer("f", "k", value, 0)


@pytest.mark.parametrize(
    ("value", "limits", "said"),
    [(0, (1,), "at least 1"), (5, (1, 4), r"in \[1, 4\]"), (-1, (0, 4), r"in \[0, 4\]")],
)
def test_an_integer_outside_its_range_names_the_range(value, limits, said):
    with pytest.raises(ValueError, match=f"f: k must be {said}, got {value}"):
        errors.integer("f", "k", value, *limits)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), np.array(0.5)])
def test_numbers_of_every_kind_become_python_floats(value):
    assert type(errors.number("f", "eta", value, 0.0, 1.0)) is float


@pytest.mark.parametrize("value", ["a", None, [1.0, 2.0], np.ones(2)])
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="f: eta must be a number, got "):
        errors.number("f", "eta", value, 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e-300, 1.5])
def test_a_number_outside_its_range_is_a_value_error(value):
    with pytest.raises(ValueError, match=r"f: eta must be finite in \[0.0, 1.0\], got "):
        errors.number("f", "eta", value, 0.0, 1.0)


def test_a_number_without_limits_needs_only_be_finite():
    assert errors.number("f", "x", -1e300, -math.inf) == -1e300
    with pytest.raises(ValueError, match="f: x must be finite, got nan"):
        errors.number("f", "x", math.nan, -math.inf)


def test_a_finite_array_is_a_read_only_copy():
    mine = np.ones(3)
    found = errors.finite_array("f", "w", mine)
    mine[0] = 2.0
    assert found.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0.0


@pytest.mark.parametrize("value", [[0.0, math.nan], [math.inf], -math.inf])
def test_an_array_that_is_not_finite_is_named(value):
    with pytest.raises(ValueError, match="f: w must be finite, got "):
        errors.finite_array("f", "w", value)


@pytest.mark.parametrize("value", ["abc", [[1.0], [1.0, 2.0]], {"a": 1}, None, [1 + 2j]])
def test_what_is_no_array_of_numbers_is_named(value):
    with pytest.raises((TypeError, ValueError), match="f: w must be "):
        errors.finite_array("f", "w", value)


def test_a_state_gives_its_namespace(asarray):
    x = asarray(np.zeros((2, 3)))
    assert errors.state("f", "x", x, (3,)) is namespace(x)


@pytest.mark.parametrize("x", [1.0, [1.0], None])
def test_a_state_must_be_an_array(x):
    with pytest.raises(TypeError, match="f: x must be an array, got "):
        errors.state("f", "x", x)


def test_a_state_of_no_dimension_is_refused():
    with pytest.raises(ValueError, match=r"f: x must have shape \(n, \*event\), got \(\)"):
        errors.state("f", "x", np.array(1.0))


def test_a_state_of_another_event_names_both_shapes(asarray):
    with pytest.raises(ValueError, match=r"f: x must have shape \(n, 3\), got \(2, 4\)"):
        errors.state("f", "x", asarray(np.zeros((2, 4))), (3,))


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex128])
def test_a_state_must_be_of_a_real_floating_dtype(asarray, dtype):
    with pytest.raises(TypeError, match="f: x must be of a real floating dtype, got "):
        errors.state("f", "x", asarray(np.zeros((2, 1), dtype=dtype)))
