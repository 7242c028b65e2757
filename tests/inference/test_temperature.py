"""Temperature: one token an answer, variants, and the T that a margin takes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtheory.arrays import to_numpy
from fewtheory.inference import temperature_needed, tempered, tempered_variants

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())
EPS = np.finfo(float).eps
rates = st.floats(1e-6, 1 - 1e-6)


def test_variants_have_the_known_rates(asarray):
    (k,) = [k for k in KNOWN if k["what"].startswith("P(yes) at temperature")]
    yes, no = (asarray(np.array(k["inputs"][name])) for name in ("yes", "no"))
    found = [float(tempered_variants(yes, no, T)) for T in k["inputs"]["T"]]
    assert found == pytest.approx(k["expected"], abs=k["tolerance"])


@given(rates, st.floats(0.1, 20))
def test_the_logit_is_divided(p, T):
    found = float(tempered(p, T))
    logit = math.log(p) - math.log1p(-p)
    assert found == pytest.approx(1 / (1 + math.exp(-logit / T)), rel=1e-12, abs=1e-300)
    assert float(tempered(1 - p, T)) == pytest.approx(1 - found, abs=1e-9)  # 1 - p is rounded


@given(rates, st.floats(0.1, 5), st.floats(0.1, 5))
def test_temperatures_multiply(p, a, b):
    once = float(tempered(p, a))
    if 1e-9 < once < 1 - 1e-9:
        twice = float(tempered(once, b))
        assert twice == pytest.approx(
            float(tempered(p, a * b)), rel=1e-5
        )  # 1 - once keeps 7 digits


def test_limits_are_the_likelier_answer_and_one_half(asarray):
    p = asarray(np.array([0.2, 0.5, 0.9]))
    assert to_numpy(tempered(p, 0)).tolist() == [0.0, 0.5, 1.0]
    assert to_numpy(tempered(p, math.inf)).tolist() == [0.5] * 3
    assert float(tempered(0.9, 1e-300)) == 1.0


def test_kind_dtype_and_shape_stay(asarray):
    p = asarray(np.full((2, 3), 0.3, dtype=np.float32))
    found = tempered(p, 2)
    assert type(found) is type(p) or isinstance(found, np.ndarray)
    assert found.dtype == p.dtype
    assert found.shape == (2, 3)
    assert tempered_variants(p, p, 2).shape == (2,)


def test_with_one_token_each_variants_are_the_plain_rate():
    z = np.array([1.3, -0.4])
    p = 1 / (1 + np.exp(z[1] - z[0]))
    for T in (0.3, 1.0, 4.0):
        assert tempered_variants(z[:1], z[1:], T) == pytest.approx(float(tempered(p, T)), rel=1e-13)


def test_logits_may_be_shifted_and_huge():
    yes, no = np.array([2.0, 1.5]), np.array([3.0, 0.1])
    found = tempered_variants(yes, no, 0.7)
    assert tempered_variants(yes + 9000, no + 9000, 0.7) == pytest.approx(float(found), rel=1e-10)
    assert tempered_variants(yes, no, 1e-3) == 0.0
    assert float(tempered_variants(np.array([3.0, 1.0]), np.array([3.0, 3.0]), 0)) == pytest.approx(
        1 / 3
    )
    assert tempered_variants(np.array([-np.inf, 1.0]), no, 1.0) < 1


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.49))
def test_at_the_temperature_needed_the_margin_is_met(p, within):
    T = temperature_needed(p, within)
    if T > 1e-3:
        assert abs(float(tempered(p, T)) - 0.5) == pytest.approx(within, rel=1e-10)
    assert T == pytest.approx(temperature_needed(1 - p, within), abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tempered(np.array([0.0]), 1), "tempered: p must be strictly between 0 and 1"),
        (lambda: tempered(np.array([np.nan]), 1), "tempered: p must be strictly"),
        (lambda: tempered(np.array([1]), 1), "tempered: p must be of a real floating dtype"),
        (lambda: tempered("half", 1), "tempered: p must be an array, got str"),
        (lambda: tempered(["half"], 1), "tempered: p must be an array of real numbers"),
        (lambda: tempered(0.5, -1), "tempered: T must be finite in"),
        (lambda: tempered(0.5, np.nan), "tempered: T must be finite in"),
        (lambda: tempered_variants(np.empty(0), np.ones(1)), "tempered_variants: yes must be log"),
        (lambda: tempered_variants(np.ones(1), np.array([np.nan])), "tempered_variants: no must"),
        (lambda: temperature_needed(1.0, 0.1), "temperature_needed: p must be strictly"),
        (lambda: temperature_needed(0.7, 0.5), "temperature_needed: within must be strictly"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
