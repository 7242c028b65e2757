"""The whole law of L answers: its numbers against sums by hand and against samples."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory.inference import SeriesLaw, streak_rates
from fewtheory.testbeds import HistoryCoin, MarkovCoin, TokenLaw

EPS = np.finfo(float).eps
tables = st.lists(st.floats(0.01, 1.0), min_size=16, max_size=16).map(
    lambda w: np.array(w) / np.sum(w)
)


def test_a_table_a_law_and_a_next_token_law_are_the_same():
    chain = MarkovCoin(0.4, 0.2).law(3)
    for given_ in (chain, chain.table(), chain.table().table.reshape(-1)):
        assert SeriesLaw(given_).alternation == pytest.approx(MarkovCoin(0.4, 0.2).alternation)


@settings(max_examples=25)
@given(tables)
def test_numbers_are_sums_over_all_series(table):
    law, x = SeriesLaw(table), np.indices((2,) * 4).reshape(4, -1).T
    assert law.rates == pytest.approx(table @ x)
    assert law.rate == pytest.approx((table @ x).mean())
    assert law.count_law == pytest.approx(np.bincount(x.sum(1), table, minlength=5))
    assert law.count_variance == pytest.approx(table @ (x.sum(1) - table @ x.sum(1)) ** 2)
    assert law.kl_fair == pytest.approx((table * np.log(table * 16)).sum(), abs=64 * 4 * EPS)


@settings(max_examples=25)
@given(tables)
def test_distances_fall_with_the_order_of_the_model_to_zero(table):
    law = SeriesLaw(table)
    found = [law.kl_markov(r) for r in range(5)]
    assert all(a >= b - 64 * 16 * EPS for a, b in itertools.pairwise(found))
    assert found[3] == found[4] == 0.0
    # to the best independent answers: off fair by the marginals' entropies
    rest = sum(math.log(2) - _h(p) for p in law.rates)
    assert found[0] + rest == pytest.approx(law.kl_fair, abs=64 * 16 * EPS)


def _h(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_fair_answers_are_at_distance_zero():
    law = SeriesLaw(np.full(32, 1 / 32))
    assert law.kl_fair == pytest.approx(0.0, abs=64 * EPS)
    assert law.entropy == pytest.approx(5 * math.log(2))
    assert law.streak_rate(2) == pytest.approx(0.5)


def test_streak_rates_of_samples_tend_to_the_laws(rng):
    law = SeriesLaw(HistoryCoin(0.4, -1.2).law(8))
    found = streak_rates(law.sample(50_000, rng=rng), 2)
    assert abs(found.pooled - law.streak_rate(2)) < 5 * 0.5 / math.sqrt(found.occasions) * 1.5


def test_a_single_answer_has_no_neighbours():
    law = SeriesLaw([0.3, 0.7])
    assert math.isnan(law.alternation)
    assert law.leak.tolist() == [0.0]


def test_streaks_that_never_occur_have_no_rate():
    table = np.zeros(8)
    table[0] = 1.0
    assert math.isnan(SeriesLaw(table).streak_rate(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SeriesLaw([0.5, 0.6]), "TokenLaw: table must be non-negative with sum 1"),
        (lambda: SeriesLaw(TokenLaw(np.full((3, 3), 1 / 9))), "SeriesLaw: table must be of two"),
        (lambda: SeriesLaw([0.5, 0.5], [0.1, 0.2]), r"SeriesLaw: leak must be of shape \(1,\)"),
        (lambda: SeriesLaw([0.5, 0.5]).kl_markov(-1), "kl_markov: order must be at least 0"),
        (lambda: SeriesLaw([0.25] * 4).streak_rate(2), r"streak_rate: k must be in \[1, 1\]"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
