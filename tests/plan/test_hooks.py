"""What a run may do that is not linear."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as np_arrays

from fewtheory import arrays
from fewtheory.plan import Hook
from fewtheory.plan.hooks import HOOKS, ON, augment, dynamic_threshold, static_threshold

EPS = np.finfo(np.float64).eps
batches = np_arrays(np.float64, (3, 2, 4), elements=st.floats(-50, 50))


@given(batches)
@settings(deadline=None, max_examples=40)
def test_thresholded_data_stay_in_their_range(x):
    assert np.abs(dynamic_threshold(x)).max() <= 1 + 2 * EPS
    assert np.abs(static_threshold(x)).max() <= 1


@given(batches)
@settings(deadline=None, max_examples=40)
def test_dynamic_thresholding_is_clipping_at_the_quantile_and_dividing_by_it(x):
    s = np.maximum(np.quantile(np.abs(x).reshape(3, -1), 0.9, axis=1), 1.0)[:, None, None]
    expected = np.clip(x, -s, s) / s
    np.testing.assert_allclose(dynamic_threshold(x, 0.9), expected, rtol=0, atol=64 * EPS)


@given(batches, st.floats(1.0, 9.0))
@settings(deadline=None, max_examples=40)
def test_dynamic_thresholding_is_scale_free_above_one(x, scale):
    large = x[np.quantile(np.abs(x).reshape(3, -1), 0.995, axis=1) > 1]
    assume(large.size > 0)
    found = dynamic_threshold(scale * large)
    np.testing.assert_allclose(found, dynamic_threshold(large), rtol=0, atol=64 * EPS)


def test_small_data_pass_unchanged(asarray):
    x = np.array([[0.5, -0.9], [0.1, 1.0]])
    assert np.array_equal(arrays.to_numpy(dynamic_threshold(asarray(x))), x)
    assert np.array_equal(arrays.to_numpy(static_threshold(asarray(x))), x)


def test_each_sample_has_its_own_threshold():
    x = np.array([[[4.0, 2.0]], [[0.5, -0.5]]])
    assert dynamic_threshold(x, ratio=1.0).tolist() == [[[1.0, 0.5]], [[0.5, -0.5]]]


def test_the_range_may_be_another_than_one():
    x = np.array([[4.0, 2.0, -1.0]])
    assert dynamic_threshold(x, ratio=1.0, max_value=2.0).tolist() == [[2.0, 1.0, -0.5]]
    assert static_threshold(x, max_value=1.5).tolist() == [[1.5, 1.5, -1.0]]


on_data = pytest.mark.parametrize("name", [name for name in HOOKS if ON[name] == "data"])


@on_data
def test_a_hook_is_its_function_with_its_settings(name, asarray):
    x = asarray([[3.0, -2.0, 0.5, 0.0]])
    found = Hook(name, {"max_value": 1.5})(x)
    assert type(found) is type(x)
    assert np.array_equal(arrays.to_numpy(found), arrays.to_numpy(HOOKS[name](x, max_value=1.5)))


@on_data
def test_an_empty_batch_stays_empty(name):
    assert Hook(name)(np.zeros((0, 2, 4))).shape == (0, 2, 4)


def test_a_hook_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Hook("static_threshold").name = "other"


def test_an_unknown_hook_is_named():
    with pytest.raises(ValueError, match=r"Hook: name must be one of 'dynamic_threshold', "):
        Hook("exec", {})


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_setting_outside_its_range_is_named(value):
    with pytest.raises(ValueError, match="Hook: max_value must be finite"):
        Hook("static_threshold", {"max_value": value})


def test_a_setting_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="Hook: max_value must be a number"):
        Hook("static_threshold", {"max_value": "one"})


def test_a_setting_that_the_hook_does_not_have_is_named_when_it_is_made():
    with pytest.raises(ValueError, match=r"Hook: .*rato"):
        Hook("dynamic_threshold", {"rato": 0.9})


@pytest.mark.parametrize("ratio", [-0.1, 1.5, math.nan])
def test_a_ratio_outside_zero_to_one_is_named(ratio):
    with pytest.raises(ValueError, match="dynamic_threshold: ratio must be finite in"):
        dynamic_threshold(np.ones((1, 2)), ratio)


def test_a_ratio_outside_zero_to_one_is_named_when_the_hook_is_made():
    with pytest.raises(ValueError, match="ratio must be "):
        Hook("dynamic_threshold", {"ratio": 1.5})


def draws(rng):
    return lambda shape, like: arrays.standard_normal(rng, shape, like)


def test_an_augmented_structure_has_its_distances_and_another_place(asarray, rng):
    x = rng.standard_normal((3, 5, 3))
    found = arrays.to_numpy(augment(asarray(x), draws(rng), translation=2.0))
    for one, two in zip(x, found, strict=True):
        np.testing.assert_allclose(
            np.linalg.norm(one[:, None] - one, axis=-1),
            np.linalg.norm(two[:, None] - two, axis=-1),
            rtol=0,
            atol=64 * EPS * np.abs(x).max(),
        )
        assert np.linalg.det(np.linalg.lstsq(one - one.mean(0), two - two.mean(0))[0]) > 0
    assert np.abs(found.mean(axis=1)).max() > 0.1


def test_without_a_translation_the_centre_is_the_origin(rng):
    found = augment(rng.standard_normal((3, 5, 3)) + 7.0, draws(rng), translation=0.0)
    assert np.abs(found.mean(axis=1)).max() <= 64 * EPS * 10


@pytest.mark.parametrize(
    ("name", "settings_", "message"),
    [
        ("augment", {"nodes": 3}, "Hook: nodes must be a list of nodes, got 3"),
        ("augment", {"nodes": [-1]}, "Hook: nodes must be at least 0, got -1"),
        ("augment", {"translation": -1.0}, "Hook: translation must be finite"),
        ("augment", {"draw": 1}, "Hook: a setting of augment must be one of"),
        ("time_shift", {"shift": "both"}, "Hook: shift must be one of 'query'"),
        ("time_shift", {"criterion": "data"}, "Hook: criterion must be one of"),
        ("time_shift", {"window": -0.1}, "Hook: window must be finite"),
        ("time_shift", {"cutoff": math.nan}, "Hook: cutoff must be finite"),
        ("time_shift", {"data_var": 0.0}, "Hook: data_var must be finite"),
        ("time_shift", {"criterion": "marginal"}, "Hook: data_var must be a variance or 'auto'"),
    ],
)
def test_settings_of_hooks_on_states_and_times_are_checked(name, settings_, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Hook(name, settings_)
