"""Runs: the exact conditional law, one series or many."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtheory.inference import count_runs, runs_law, runs_moments, runs_test
from fewtheory.inference.coins.runs import runs_laws
from fewtheory.testbeds import MarkovCoin

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())
EPS = np.finfo(float).eps


def test_the_law_is_the_known_one():
    (k,) = [k for k in KNOWN if k["what"].startswith("number of runs")]
    found = runs_law(k["inputs"]["n1"], k["inputs"]["n0"])
    assert {str(r): p for r, p in enumerate(found) if p} == pytest.approx(
        k["expected"], abs=k["tolerance"]
    )


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_law_has_the_stated_moments_whichever_answer_is_called_one(n1, n0):
    if n1 + n0 == 0:
        return
    found, r = runs_law(n1, n0), np.arange(n1 + n0 + 1)
    tolerance = 64 * 300 * EPS  # logarithms of factorials up to 80!, 273
    assert found.sum() == pytest.approx(1.0, abs=tolerance)
    mean, variance = runs_moments(n1, n0)
    assert found @ r == pytest.approx(mean, rel=tolerance)
    assert found @ (r - mean) ** 2 == pytest.approx(variance, rel=tolerance, abs=80 * tolerance)
    assert found == pytest.approx(runs_law(n0, n1), abs=tolerance)


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_all_laws_of_one_length_are_each_of_them(n):
    found = runs_laws(n, np.arange(n + 1))
    for n1 in range(n + 1):
        assert found[n1] == pytest.approx(runs_law(n1, n - n1), abs=64 * 30 * EPS)


def test_a_series_of_one_answer_has_one_run_and_says_nothing(asarray):
    found = runs_test(asarray(np.ones(20, dtype=np.int64)))
    assert (found.runs, found.p_value, found.z, found.exact) == (1, 1.0, 0.0, True)


def test_tails_add_up_to_one_and_the_observed(rng):
    x = rng.integers(0, 2, 30)
    more, fewer = (runs_test(x, a).p_value for a in ("more", "fewer"))
    n1 = int(x.sum())
    own = runs_law(n1, 30 - n1)[count_runs(x)]
    assert more + fewer - own == pytest.approx(1.0, abs=64 * 100 * EPS)


def test_zeros_and_ones_may_change_places_and_time_may_run_backwards(rng, asarray):
    x = rng.integers(0, 2, 25)
    first = runs_test(asarray(x)).p_value
    assert runs_test(asarray(1 - x)).p_value == pytest.approx(first)
    assert runs_test(asarray(x[::-1].copy())).p_value == first


def test_calls_are_kept_apart():
    assert count_runs([[1, 1], [1, 0]]) == 3
    assert count_runs([1, 1, 1, 0]) == 2


def test_the_sum_over_calls_has_the_convolved_law():
    x = [[1, 0, 1, 0], [1, 1, 0], [0, 1]]
    law = np.ones(1)
    for one in x:
        law = np.convolve(law, runs_law(sum(one), len(one) - sum(one)))
    found = runs_test(x)
    assert found.exact
    assert found.p_value == pytest.approx(law[4 + 2 + 2 :].sum(), abs=64 * EPS)


def test_many_long_calls_take_the_normal_law_with_nearly_the_same_tail(rng, monkeypatch):
    x = MarkovCoin(0.4, -0.05).sample(100, rng=rng, series=150)
    for alternative in ("more", "fewer", "two-sided"):
        exact = runs_test(x, alternative)
        monkeypatch.setattr("fewtheory.inference.coins.runs.EXACT_TOTAL", 10)
        normal = runs_test(x, alternative)
        monkeypatch.undo()
        assert (exact.exact, normal.exact) == (True, False)
        # the next term of Edgeworth's series, of the order 1 / n
        assert normal.p_value == pytest.approx(exact.p_value, abs=2e-3)


def test_a_million_answers_take_the_exact_law():
    x = np.zeros(10**6, dtype=np.int8)
    x[::2] = 1
    found = runs_test(x)
    assert found.exact
    assert found.p_value == 0.0  # 2 / C(10^6, 5 10^5): below the smallest number
    assert runs_test(x, "fewer").p_value == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: runs_law(-1, 3), "runs_law: n1 must be at least 0"),
        (lambda: runs_law(1, 2.5), "runs_law: n0 must be an integer"),
        (lambda: runs_moments(1, -1), "runs_moments: n0 must be at least 0"),
        (lambda: runs_test([0, 1], "greater"), "runs_test: alternative must be one of"),
        (lambda: runs_test([0, 2]), "runs_test: x must be of 0 and 1 only, got 2"),
        (lambda: runs_test(np.array([0.5])), "runs_test: x must be of 0 and 1 only, got 0.5"),
        (lambda: runs_test(np.array([np.nan])), "runs_test: x must be of 0 and 1 only"),
        (lambda: runs_test([]), r"runs_test: x must be of shape \(n,\)"),
        (lambda: runs_test(["yes"]), "runs_test: x must be an array of 0 and 1"),
        (lambda: runs_test([[0, 1], [0, 3]]), r"runs_test: x\[1\] must be of 0 and 1 only"),
        (lambda: count_runs(np.zeros((2, 2, 2))), "count_runs: x must be of shape"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
