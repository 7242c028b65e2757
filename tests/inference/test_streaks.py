"""Streaks: pooled rates, and the exact bias of the mean of shares."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from fewtheory.inference import expected_share, streak_rates

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())
EPS = np.finfo(float).eps


def test_the_expected_share_is_the_known_one():
    (k,) = [k for k in KNOWN if k["what"].startswith("expected share")]
    found = [expected_share(n) for n in k["inputs"]["n"]]
    assert found == pytest.approx(k["expected"], abs=k["tolerance"])


@pytest.mark.parametrize(("n", "k", "p"), [(8, 1, 0.3), (8, 2, 0.5), (9, 3, 0.8)])
def test_the_expected_share_is_that_of_all_series(n, k, p):
    total = mass = 0.0
    for x in itertools.product((0, 1), repeat=n):
        after = [x[t] for t in range(k, n) if all(x[t - k : t])]
        if after:
            weight = p ** sum(x) * (1 - p) ** (n - sum(x))
            total, mass = total + weight * sum(after) / len(after), mass + weight
    assert expected_share(n, k, p) == pytest.approx(total / mass, rel=64 * n * EPS)


def test_the_recursion_agrees_with_the_closed_form_for_k_1(monkeypatch):
    from fewtheory.inference.coins.streaks import _share_and_mass

    for n, p in ((2, 0.5), (30, 0.4), (60, 0.9)):
        assert expected_share(n, 1, p) == pytest.approx(_share_and_mass(n, 1, p)[0], rel=1e-13)


def test_the_bias_fades_with_the_length_and_is_never_upwards():
    found = [expected_share(n) for n in (4, 10, 100, 10_000)]
    assert found == sorted(found)
    assert found[-1] < 0.5


def test_occasions_are_counted_by_hand(asarray):
    # 1 1 0 1 1 1: after 11 comes 0, then 1; after 1: 1, 0, 1, 1
    x = asarray(np.array([1, 1, 0, 1, 1, 1]))
    two, one = streak_rates(x, 2), streak_rates(x, 1)
    assert (two.hits, two.occasions) == (1, 2)
    assert (one.hits, one.occasions) == (3, 4)
    assert one.z == pytest.approx(1.0)


def test_series_without_an_occasion_are_dropped_from_the_mean_alone():
    found = streak_rates([[0, 0, 0], [1, 1, 0], [0, 1, 1, 1]])
    assert (found.hits, found.occasions, found.dropped) == (3, 4, 1)
    assert found.mean_of_shares == pytest.approx((1 / 2 + 1) / 2)
    lengths = [(3, 2), (4, 1)]
    used = [1 - 0.5 ** (n - 1) for n, _ in lengths]
    weights = [u * times for u, (_, times) in zip(used, lengths, strict=True)]
    expected = np.average([expected_share(3), expected_share(4)], weights=weights)
    assert found.expected_mean == pytest.approx(expected)


def test_nothing_to_pool_is_no_number():
    found = streak_rates([0, 0, 1], 1)
    assert math.isnan(found.pooled)
    assert math.isnan(found.z)
    assert math.isnan(streak_rates([1], 1).pooled)


def test_long_series_have_no_expected_mean(rng):
    assert streak_rates(rng.integers(0, 2, 129)).expected_mean is None


def test_the_mean_of_shares_of_fair_series_is_near_its_expectation(rng):
    found = streak_rates(rng.integers(0, 2, (20_000, 10)), 2)
    # a share has a standard deviation of at most 1/2
    assert abs(found.mean_of_shares - expected_share(10, 2)) < 5 * 0.5 / math.sqrt(15_000)
    assert abs(found.z) < 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: streak_rates([0, 1], 0), "streak_rates: k must be at least 1"),
        (lambda: streak_rates([0, 7]), "streak_rates: x must be of 0 and 1 only"),
        (lambda: expected_share(1), "expected_share: n must be at least 2"),
        (lambda: expected_share(500, 2), r"expected_share: n must be in \[3, 128\]"),
        (lambda: expected_share(5, 0), "expected_share: k must be at least 1"),
        (lambda: expected_share(5, 1, 0.0), "expected_share: p must be positive"),
        (lambda: expected_share(5, 1, 1.5), "expected_share: p must be finite in"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
