"""Evidence: one comparison, judged by its relation, and as strict JSON."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from fewtheory.verify import Evidence, Series

INF, NAN = math.inf, math.nan


def evidence(measured, relation="equal", expected=1.0, tolerance=0.25, **more):
    return Evidence("identity", measured, expected, tolerance, "by construction", relation, **more)


# measured, then whether it stands as "equal", "at most", "at least" 1 within 1/4
TABLE = [
    (0.5, False, True, False),
    (0.75, True, True, True),
    (1.0, True, True, True),
    (1.25, True, True, True),
    (1.5, False, False, True),
]


@pytest.mark.parametrize(("measured", "equal", "at_most", "at_least"), TABLE)
def test_a_relation_is_judged_with_the_tolerance_on_its_side(measured, equal, at_most, at_least):
    assert evidence(measured).stands == equal
    assert evidence(measured, "at most").stands == at_most
    assert evidence(measured, "at least").stands == at_least


def test_without_tolerance_equal_means_equal():
    assert evidence(1.0, tolerance=0.0).stands
    assert not evidence(math.nextafter(1.0, 2.0), tolerance=0.0).stands


@pytest.mark.parametrize("relation", ["equal", "at most", "at least"])
def test_nan_never_stands(relation):
    assert not evidence(NAN, relation).stands
    assert not evidence(1.0, relation, expected=NAN).stands


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_not_a_number_is_not_finite(value):
    assert not evidence(value).finite
    assert not evidence(0.0, expected=value).finite


def test_an_infinite_tolerance_is_not_finite():
    assert not evidence(1.0, tolerance=INF).finite


def test_numbers_are_finite():
    assert evidence(-1e300).finite


@pytest.mark.parametrize("tolerance", [-1e-300, -INF, NAN])
def test_a_tolerance_is_at_least_zero(tolerance):
    with pytest.raises(ValueError, match="Evidence: tolerance must be at least 0, got"):
        evidence(1.0, tolerance=tolerance)


def test_an_unknown_relation_is_refused():
    with pytest.raises(ValueError, match=r"Evidence: relation must be one of .* got 'below'"):
        evidence(1.0, "below")


def test_what_is_measured_becomes_a_float():
    import numpy as np

    found = Evidence("identity", np.float32(0.5), np.int64(1), 1, "by construction")
    assert [type(v) for v in (found.measured, found.expected, found.tolerance)] == [float] * 3


def test_evidence_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence(1.0).measured = 2.0


def test_a_record_is_strict_json():
    series = Series((1.0, 2.0), (NAN, -INF), "error")
    record = evidence(NAN, expected=INF, series=(series,)).record()
    text = json.dumps(record, allow_nan=False)
    assert float(json.loads(text)["expected"]) == INF
    assert math.isnan(float(json.loads(text)["measured"]))


def test_a_record_says_whether_it_stands():
    assert evidence(1.0).record()["stands"] is True
    assert evidence(2.0).record()["stands"] is False


def test_a_record_keeps_every_field():
    names = {f.name for f in dataclasses.fields(Evidence)}
    assert set(evidence(1.0).record()) == names | {"stands"}
