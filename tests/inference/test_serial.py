"""Overlapping grams: their statistics and the laws that overlap leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from fewtheory.inference import (
    approximate_entropy,
    approximate_entropy_test,
    ladder,
    psi2,
    psi2_law,
    psi2_tail,
    serial_test,
)
from fewtheory.inference.coins.serial import serial_statistics, serial_tails

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())


def test_psi2_is_the_known_one(asarray):
    (k,) = [k for k in KNOWN if k["what"].startswith("statistics of a series")]
    x = asarray(np.array([int(c) for c in k["inputs"]["series"]]))
    found = [float(psi2(x, m)) for m in (1, 2, 3)]
    assert found == pytest.approx(k["expected"]["psi2"], abs=k["tolerance"])
    assert psi2(x, 0) == 0.0


@pytest.mark.parametrize("m", range(1, 11))
def test_the_weighted_law_has_the_mean_of_all_grams(m):
    weights, dfs = psi2_law(m)
    assert weights @ dfs == 2**m - 1
    assert psi2_tail(0.0, m) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("m", [2, 3, 6])
def test_the_weighted_tail_is_that_of_sampled_sums(rng, m):
    weights, dfs = psi2_law(m)
    drawn = sum(w * rng.chisquare(v, 200_000) for w, v in zip(weights, dfs, strict=True))
    for level in (0.5, 0.9, 0.99):
        value = np.quantile(drawn, level)
        # a quantile's own error: 5 standard errors of the share beyond it
        spread = 5 * np.sqrt(level * (1 - level) / 200_000)
        assert psi2_tail(value, m) == pytest.approx(1 - level, abs=spread)


def test_grams_of_one_answer_have_a_chi_square():
    assert psi2_tail(3.0, 1) == pytest.approx(chi2.sf(3.0, 1), rel=1e-14)
    found = psi2_tail(np.array([[1.0, 2.0], [3.0, 4.0]]), 2)
    assert found.shape == (2, 2)


def test_a_de_bruijn_series_has_every_gram_equally_often():
    x = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    assert [float(psi2(x, m)) for m in (1, 2, 3)] == [0.0, 0.0, 0.0]


def test_the_test_of_one_series_is_its_row_of_the_many(rng):
    x = rng.integers(0, 2, (4, 64))
    values = serial_statistics(x, 3)
    tails = serial_tails(values, 3)
    one = serial_test(x[2], 3)
    assert [one.psi2, one.first, one.second] == pytest.approx(values[2])
    assert [one.p_psi2, one.p_first, one.p_second] == pytest.approx(tails[2])


def test_approximate_entropy_is_the_ladders_total(rng):
    x = rng.integers(0, 2, 100)
    statistic, p = approximate_entropy_test(x, 2)
    total = ladder(x, 2).total
    assert statistic == pytest.approx(total.statistic)
    assert p == pytest.approx(total.p_value)
    assert statistic == pytest.approx(200 * (np.log(2) - approximate_entropy(x, 2)))


def test_approximate_entropy_is_phi_m_less_phi_m_plus_one(rng):
    x = rng.integers(0, 2, 50)
    ring = np.concatenate([x, x])

    def phi(m):
        _, N = np.unique([ring[t : t + m] for t in range(50)], axis=0, return_counts=True)
        return (N / 50 * np.log(N / 50)).sum()

    assert approximate_entropy(x, 2) == pytest.approx(phi(2) - phi(3), abs=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: psi2([0, 1], 3), r"gram_counts: m must be in \[0, 2\]"),
        (lambda: psi2([0, 5], 1), "psi2: x must be of 0 and 1 only"),
        (lambda: psi2_law(0), "psi2_law: m must be in"),
        (lambda: psi2_tail(1.0, 11), r"psi2_tail: m must be in \[1, 10\]"),
        (lambda: psi2_tail(np.nan, 2), "psi2_tail: value must be finite"),
        (lambda: serial_test([0, 1] * 10, 3), "m must be such that 5 [*] 2.m is at most n = 20"),
        (lambda: serial_test([0, 1] * 10, 1), r"serial_test: m must be in \[2, 10\]"),
        (lambda: serial_tails(np.ones(3), 1), r"serial_tails: m must be in \[2, 10\]"),
        (lambda: approximate_entropy([0, 1], 2), "ladder_total: order must be in"),
        (
            lambda: approximate_entropy_test([[0, 1]], 1),
            "approximate_entropy_test: x must be of sh",
        ),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
