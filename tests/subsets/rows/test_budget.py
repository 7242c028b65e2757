"""Budgets: probabilities that add up to them, and draws with these probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtheory.arrays import to_numpy
from fewtheory.subsets import draw_rows, inclusion_probabilities
from fewtheory.subsets.rows.budget import systematic


def by_sorting(s, m):
    """Water-filling as the sheet has it: sorted once, a saturated prefix of length k."""
    ordered = np.sort(s)[::-1]
    for k in range(len(s)):
        c = (m - k) / ordered[k:].sum()
        if c * ordered[k] < 1:
            return np.minimum(1, c * s)
    return np.ones_like(s)


@given(
    st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
def test_probabilities_spend_the_budget_as_sorting_does(values, share):
    s = np.array(values)
    m = share * len(s)
    q = inclusion_probabilities(s, m)
    assert q.sum() == pytest.approx(m, rel=1e-12 * len(s))
    assert q == pytest.approx(by_sorting(s, m), rel=1e-9)


def test_where_fewer_rows_are_positive_all_of_them_are_kept(asarray):
    q = inclusion_probabilities(asarray(np.array([0.0, 3.0, 1e-30])), 2.5)
    assert to_numpy(q).tolist() == [0.0, 1.0, 1.0]


def test_scaling_the_scores_or_splitting_them_in_blocks_changes_nothing(rng, monkeypatch):
    s = rng.exponential(size=1000)
    q = inclusion_probabilities(s, 30)
    assert inclusion_probabilities(1e7 * s, 30) == pytest.approx(q, rel=1e-12)
    monkeypatch.setattr("fewtheory.subsets.rows.blocks.IN_CACHE", 1)
    assert inclusion_probabilities(s, 30) == pytest.approx(q, rel=1e-12)


@pytest.mark.parametrize("how", ["bernoulli", "fixed", "replacement"])
def test_rows_come_as_often_as_their_probability_says(rng, how):
    s = np.array([5.0, 1.0, 0.0, 1.0, 2.0, 3.0])
    runs, counts = 1000, np.zeros(6)
    for _ in range(runs):
        index, q = draw_rows(s, 3, how=how, rng=rng)
        assert len(q) == len(index)
        np.add.at(counts, index, 1)
    expected = 3 * s / s.sum() if how == "replacement" else inclusion_probabilities(s, 3)
    # a count of a row has at most the variance of a binomial one, or of 3 draws
    spread = np.sqrt(runs * np.maximum(expected * (1 - np.minimum(expected, 1) / 3), 1e-12))
    assert np.all(np.abs(counts - runs * expected) <= 5 * spread + 1e-9)


def test_the_probabilities_belong_to_the_rows(rng, asarray):
    s = rng.exponential(size=50)
    index, q = draw_rows(asarray(s), 10, rng=rng)
    assert np.all(np.diff(index) > 0)
    assert q == pytest.approx(inclusion_probabilities(s, 10)[index])


def test_a_fixed_draw_has_exactly_m_distinct_rows(rng):
    s = rng.exponential(size=200) ** 3
    for m in (1, 7, 199):
        index, _ = draw_rows(s, m, how="fixed", rng=rng)
        assert len(set(index.tolist())) == m


def test_a_comb_meets_a_certain_row_always(rng):
    q = np.array([0.5, 1.0, 0.25, 0.25, 1.0])
    assert all({1, 4} <= set(systematic(q, rng).tolist()) for _ in range(200))


def test_draws_repeat_with_the_generator(rng):
    s = rng.exponential(size=100)
    first, second = (draw_rows(s, 10, rng=np.random.default_rng(1))[0] for _ in range(2))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: inclusion_probabilities(np.ones(3), 0), "inclusion_probabilities: m must be"),
        (lambda r: inclusion_probabilities(-np.ones(3), 1), "scores must be finite and not neg"),
        (lambda r: inclusion_probabilities(np.array([1, np.nan]), 1), "scores must be finite"),
        (lambda r: inclusion_probabilities(np.array([1, np.inf]), 1), "scores must be finite"),
        (lambda r: inclusion_probabilities(np.zeros(3), 1), "scores must be positive for a row"),
        (lambda r: inclusion_probabilities(np.ones((3, 2)), 1), r"scores must be of shape \(n,\)"),
        (lambda r: draw_rows(np.ones(3), 1, how="luck", rng=r), "draw_rows: how must be one of"),
        (lambda r: draw_rows(np.ones(3), 1.5, how="fixed", rng=r), "draw_rows: m must be an int"),
        (lambda r: draw_rows(np.ones(3), 1, rng=None), "draw_rows: rng must be a"),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(rng)
