"""Limits of a rate with the memory in them: they cover, and are open where nothing was seen."""

import math

import numpy as np
import pytest

from fewtheory.inference import battery, interval, memory_limits
from fewtheory.testbeds import MarkovCoin

LEVEL, RUNS = 0.95, 100
ERROR = 4 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)  # four standard errors of a coverage


@pytest.mark.parametrize(("p", "rho", "n"), [(0.5, 0.6, 150), (0.2, 0.9, 30), (0.5, -0.2, 150)])
def test_limits_of_a_markov_coin_cover_at_least_at_their_level(p, rho, n, own_checks, rng):
    coin = MarkovCoin(p, rho)
    found = [memory_limits(coin.sample(n, rng=rng)) for _ in range(RUNS)]
    hits = np.mean([low <= p <= high for low, high in found])
    assert hits >= LEVEL - ERROR


def test_binomial_limits_of_a_coin_that_repeats_itself_do_not(own_checks, rng):
    # the control: rho = .6 has four times a coin's variance, 2 Phi(-1.96 / 2) = .33 lie outside
    coin = MarkovCoin(0.5, 0.6)
    found = [interval(int(coin.sample(150, rng=rng).sum()), 150) for _ in range(RUNS)]
    assert np.mean([low <= 0.5 <= high for low, high in found]) < LEVEL - ERROR


def test_calls_are_the_units_where_there_are_enough(own_checks, rng):
    # each call has a rate of its own, .2 or .6: nothing else has these limits right
    hits = 0
    for _ in range(RUNS):
        rates = rng.choice([0.2, 0.6], 25)
        low, high = memory_limits([rng.random(20) < r for r in rates])
        hits += low <= 0.4 <= high
    assert hits / RUNS >= LEVEL - ERROR


def test_a_series_of_one_answer_alone_says_little():
    low, high = memory_limits(np.ones(30, dtype=int))
    # a zero was never left: u is not known, and all rates below are open
    assert low < 0.05
    assert high == 1.0
    assert memory_limits(np.zeros(30, dtype=int)) == pytest.approx((1 - high, 1 - low), abs=1e-8)


def test_limits_turn_with_the_answers_and_the_sure_ones_hold_them(rng):
    x = MarkovCoin(0.3, 0.4).sample(80, rng=rng)
    low, high = memory_limits(x)
    assert memory_limits(1 - x) == pytest.approx((1 - high, 1 - low), abs=0.01)
    sure = memory_limits(x, how="sure")
    assert sure[0] < low < x.mean() < high < sure[1]


def test_without_memory_they_come_near_the_binomial_ones(rng):
    x = rng.integers(0, 2, 4000)
    # correlation 0 +- .016: widths within its double, and a percent of discreteness
    found, own = memory_limits(x), interval(int(x.sum()), 4000)
    ratio = (found[1] - found[0]) / (own[1] - own[0])
    assert ratio == pytest.approx(1, abs=4 * 0.016 + 0.03)


def test_a_report_of_a_cell_has_them(rng):
    x = MarkovCoin(0.5, 0.5).sample(300, rng=rng)
    found = battery(x)
    assert found.memory_limits == memory_limits(x)
    assert f"limits [{found.memory_limits[0]:.4f}" in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: memory_limits([0, 2]), "memory_limits: x must"),
        (lambda: memory_limits([0, 1], alpha=1.0), "memory_limits: alpha must be strictly"),
        (lambda: memory_limits([0, 1], how="luck"), "memory_limits: how must be one of"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
