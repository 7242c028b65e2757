"""The ladder: rungs that add up, exact where the law is known, refused where it is not."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from fewtheory.arrays import to_numpy
from fewtheory.inference import (
    cyclic_pairs_law,
    gram_counts,
    ladder,
    ladder_statistics,
    ladder_total,
    rung_noncentrality,
    rung_power,
)
from fewtheory.inference.coins.ladder import first_rung, rung_dfs
from fewtheory.testbeds import MarkovCoin

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())
EPS = np.finfo(float).eps
series = st.lists(st.integers(0, 1), min_size=6, max_size=60).map(np.array)


def known_series():
    (k,) = [k for k in KNOWN if k["what"].startswith("statistics of a series")]
    return np.array([int(c) for c in k["inputs"]["series"]]), k["expected"], k["tolerance"]


def test_the_statistics_are_the_known_ones(asarray):
    x, expected, tolerance = known_series()
    found = ladder_statistics(asarray(x), 2)
    assert found[0] == pytest.approx(expected["g2_uniform"], abs=tolerance)
    assert found[1:] == pytest.approx(expected["g2_order"], abs=tolerance)


@given(series, st.integers(0, 4))
def test_the_rungs_add_up_to_the_total(x, order):
    total = ladder_total(x, order)
    size = x.size * np.log(x.size)
    assert ladder_statistics(x, order).sum() == pytest.approx(total, abs=4 * 7 * size * EPS)


@given(series)
def test_neither_a_turn_of_the_ring_nor_the_names_of_the_answers_matter(x):
    found, size = ladder_statistics(x, 2), x.size * np.log(x.size)
    for other in (np.roll(x, 3), 1 - x, x[::-1]):
        assert ladder_statistics(other, 2) == pytest.approx(found, abs=32 * size * EPS)


@given(series, st.integers(1, 5))
def test_grams_are_counted_one_window_at_a_time(x, m):
    ring = np.concatenate([x, x])
    expected = np.zeros(2**m, dtype=int)
    for t in range(x.size):
        expected[int("".join(map(str, ring[t : t + m])), 2)] += 1
    assert gram_counts(x, m).tolist() == expected.tolist()


def test_rows_are_series_of_their_own(rng, asarray):
    x = rng.integers(0, 2, (3, 4, 20))
    found = ladder_statistics(asarray(x), 1)
    assert found.shape == (3, 4, 2)
    assert found[1, 2] == pytest.approx(ladder_statistics(x[1, 2], 1))


def test_the_first_rung_is_a_function_of_the_ones_and_the_cyclic_pairs(rng):
    x = rng.integers(0, 2, (200, 17))
    n1, c = x.sum(axis=1), ((x == 1) & (np.roll(x, -1, axis=1) == 0)).sum(axis=1)
    found = ladder_statistics(x, 1)[:, 1]
    assert first_rung(n1, 17 - n1, c) == pytest.approx(found, abs=64 * 50 * EPS)


def test_its_exact_p_value_is_that_of_all_arrangements():
    x = np.array([1, 1, 0, 1, 0, 0, 0, 0, 1])
    own = ladder_statistics(x, 1)[1]
    others = []
    for ones in itertools.combinations(range(9), 4):
        y = np.zeros(9, dtype=int)
        y[list(ones)] = 1
        others.append(ladder_statistics(y, 1)[1])
    expected = np.mean(np.array(others) >= own - 1e-9)
    assert ladder(x, 1).rungs[0].p_value == pytest.approx(expected, abs=1e-12)


def test_the_law_of_cyclic_pairs_is_that_of_all_arrangements():
    c, law = cyclic_pairs_law(3, 5)
    counts = np.zeros(c.size)
    for ones in itertools.combinations(range(8), 3):
        y = np.zeros(8, dtype=int)
        y[list(ones)] = 1
        counts[((y == 1) & (np.roll(y, -1) == 0)).sum()] += 1
    assert law == pytest.approx(counts / counts.sum(), abs=1e-13)


def test_calls_are_pooled_and_no_gram_crosses_from_one_to_the_next(rng):
    x = rng.integers(0, 2, (30, 12))
    found = ladder(x, 2)
    S = [
        (lambda N: (N * np.log(np.maximum(N, 1))).sum())(gram_counts(x, m).sum(0))
        for m in (2, 3, 4)
    ]
    assert found.rungs[1].statistic == pytest.approx(2 * (S[1] - 2 * S[0] + _single(x)))
    assert found.n == 360
    assert not found.rungs[0].exact


def _single(x):
    N = gram_counts(x, 1).sum(0)
    return (N * np.log(N)).sum()


def test_calls_of_different_lengths_are_pooled_too():
    found = ladder([[0, 1, 1, 0, 1, 0], [1, 1, 0, 0]], 1)
    assert found.n == 10
    assert found.uniform.statistic == pytest.approx(0.0, abs=1e-12)  # five of ten


def test_a_rung_without_enough_counts_is_not_trusted():
    x = np.zeros(200, dtype=int)
    x[[3, 80]] = 1
    found = ladder(x, 3)
    assert [r.trusted for r in found.rungs] == [True, False, False]  # the first one is exact


def test_the_default_order_grows_with_the_series(rng):
    orders = [len(ladder(rng.integers(0, 2, n)).rungs) for n in (1, 4, 20, 40, 80, 10_000)]
    assert orders == [0, 0, 1, 2, 3, 3]


def test_an_order_one_chain_is_seen_by_the_first_rung_alone(rng):
    x = MarkovCoin(0.5, -0.3).sample(4000, rng=rng)
    found = ladder(x, 3)
    assert found.rungs[0].p_value < 1e-10
    # the other rungs hold under order 1: at 1e-4 each
    assert all(r.p_value > 1e-4 for r in found.rungs[1:])
    assert rung_dfs(3) == (1, 1, 2, 4)
    assert found.total.df == 8


def test_power_grows_with_the_noncentrality_from_the_level():
    assert rung_power(0.0, 2) == pytest.approx(0.05)
    assert rung_power(10.0, 1, alpha=0.01) < rung_power(10.0, 1) < rung_power(20.0, 1)
    assert rung_power(chi2.isf(0.05, 1), 1) == pytest.approx(0.5, abs=1e-3)  # a normal's mean


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ladder_statistics([0, 1], 2), r"ladder_statistics: order must be in \[0, 1\]"),
        (lambda: ladder_statistics([[]], 0), r"x must be of shape \(..., n\)"),
        (lambda: ladder_total([0, 3], 0), "ladder_total: x must be of 0 and 1 only"),
        (lambda: ladder([0, 1, 1], 1), "ladder: x must be of 4 answers or more a series, got 3"),
        (lambda: ladder([0, 1, 1], -1), "ladder: order must be in"),
        (lambda: gram_counts([0, 1], 3), r"gram_counts: m must be in \[0, 2\]"),
        (lambda: rung_noncentrality(0, 0.6, 0.5), "rung_noncentrality: n must be at least 1"),
        (lambda: rung_noncentrality(5, 0.5, 0.6), "rung_noncentrality: after must be finite in"),
        (lambda: rung_power(-1, 1), "rung_power: noncentrality must be finite in"),
        (lambda: rung_power(1, 0), "rung_power: df must be at least 1"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_statistics_stay_on_the_host_as_float64(asarray):
    found = ladder_statistics(asarray(np.array([0, 1, 1, 0])), 0)
    assert to_numpy(found).dtype == np.float64
