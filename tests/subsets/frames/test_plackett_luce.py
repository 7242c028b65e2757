"""The law of a set drawn without replacement: known answers, four ways, limits, bad input."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory.subsets.frames.inclusion import set_inclusion, set_inclusion_gradient
from fewtheory.subsets.frames.plackett_luce import (
    draw_order,
    order_log_prob,
    order_score,
    set_log_prob,
    set_log_prob_by_inclusion_exclusion,
    set_log_prob_by_orders,
    set_mode,
    set_score,
)

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "ocsampler.json").read_text())
THETA = np.array(KNOWN[0]["inputs"]["logits"])
SETS = np.array(list(itertools.combinations(range(6), 3)))
EPS = np.finfo(np.float64).eps


def host(x):
    """The array on the host, whatever library it is of."""
    return np.asarray(x.detach() if isinstance(x, torch.Tensor) else x)


def test_the_probabilities_of_all_sets_are_the_known_ones(asarray):
    found = host(set_log_prob(asarray(THETA), asarray(SETS)))
    expected = KNOWN[0]["expected"]["set_probs"]
    np.testing.assert_allclose(np.exp(found), expected, rtol=0, atol=KNOWN[0]["tolerance"])


def test_inclusion_is_the_known_one(asarray):
    found = host(set_inclusion(asarray(THETA), 3))
    expected = KNOWN[0]["expected"]["inclusion"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=KNOWN[0]["tolerance"])


def test_the_scores_of_the_first_and_the_last_set_are_the_known_ones(asarray):
    found = host(set_score(asarray(THETA), asarray(SETS[[0, -1]])))
    expected = [KNOWN[1]["expected"][name] for name in ("first", "last")]
    np.testing.assert_allclose(found, expected, rtol=0, atol=KNOWN[1]["tolerance"])


def test_twenty_of_forty_frames_are_the_known_ones(asarray):
    known = KNOWN[4]
    logits = asarray(np.array(known["inputs"]["logits"]))
    found = float(host(set_log_prob(logits, asarray(np.arange(20)))))
    assert found == pytest.approx(known["expected"], abs=known["tolerance"])


def test_the_additive_reward_is_the_known_one():
    known = KNOWN[3]
    found = set_inclusion(np.array(known["inputs"]["logits"]), 3) @ known["inputs"]["r"]
    assert found == pytest.approx(known["expected"], abs=known["tolerance"])


def test_orders_add_up_to_the_set(asarray):
    found = host(set_log_prob_by_orders(asarray(THETA), asarray(SETS)))
    expected = KNOWN[0]["expected"]["set_probs"]
    np.testing.assert_allclose(np.exp(found), expected, rtol=0, atol=KNOWN[0]["tolerance"])


@pytest.mark.parametrize(
    ("k", "T", "scale"), [(1, 20, 30.0), (2, 9, 1.0), (8, 12, 5.0), (10, 14, 30.0), (15, 16, 3.0)]
)
def test_the_integral_is_inclusion_exclusion_in_decimals(k, T, scale, rng):
    theta, S = scale * rng.standard_normal(T), rng.permutation(T)[:k]
    expected = set_log_prob_by_inclusion_exclusion(theta, S)
    # k + 2 terms, each as large as its exponent
    size = max(abs(expected), k * np.abs(theta).max())
    assert set_log_prob(theta, S) == pytest.approx(expected, abs=16 * EPS * size)


@pytest.mark.parametrize("rest", [-20.0, 0.0, 12.0])
@pytest.mark.parametrize("k", [1, 20, 21, 100, 800])
def test_hundreds_of_frames_are_a_beta_function(k, rest):
    # int_0^1 (1 - u^{1/c})^k du = prod_{m = 1}^k m / (c + m); a fixed step fails from k = 40 on
    expected = -math.fsum(np.log1p(math.exp(rest) / np.arange(1, k + 1)))
    found = set_log_prob(np.append(np.zeros(k), rest), np.arange(k))
    assert found == pytest.approx(expected, abs=(k + 64) * EPS * max(1.0, abs(expected)))


def test_all_frames_are_certain():
    assert set_log_prob(THETA, np.arange(6)) == 0
    assert not set_score(THETA, np.arange(6)).any()
    assert set_log_prob_by_inclusion_exclusion(THETA, np.arange(6)) == 0
    assert (set_inclusion(THETA, 6) == 1).all()
    assert not set_inclusion_gradient(THETA, 6, THETA).any()


def test_one_frame_is_a_softmax():
    p = np.exp(THETA) / np.exp(THETA).sum()
    found = set_log_prob(THETA, np.arange(6)[:, None])
    np.testing.assert_allclose(found, np.log(p), rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(set_inclusion(THETA, 1), p, rtol=64 * EPS)
    np.testing.assert_allclose(
        set_score(THETA, np.arange(6)[:, None]), np.eye(6) - p, rtol=0, atol=64 * EPS
    )


def test_equal_logits_make_all_sets_equally_likely():
    found = set_log_prob(np.full(12, 3.0), np.arange(5))
    assert found == pytest.approx(-math.log(math.comb(12, 5)), abs=64 * EPS * 7)


@settings(max_examples=25)
@given(
    st.lists(st.floats(-60, 60), min_size=3, max_size=8),
    st.integers(1, 7),
    st.floats(-500, 500),
)
def test_a_common_shift_changes_nothing_and_the_order_of_the_indices_neither(values, k, shift):
    theta, k = np.array(values), min(k, len(values) - 1)
    S = np.arange(k)
    before, after = set_log_prob(theta, S), set_log_prob(theta + shift, S[::-1].copy())
    # the shift rounds each logit by eps (60 + 500); log P is 2k-Lipschitz in them, k + 2 terms each
    assert after == pytest.approx(before, abs=(2 * k + 64) * EPS * 600)


@settings(max_examples=25)
@given(st.lists(st.floats(-60, 60), min_size=3, max_size=7), st.integers(1, 6))
def test_scores_sum_to_zero_and_lie_between_their_bounds(values, k):
    theta, k = np.array(values), min(k, len(values) - 1)
    score = set_score(theta, np.arange(k))
    assert score.sum() == pytest.approx(0, abs=64 * EPS * k)
    assert np.all(score[:k] >= 0)
    assert np.all(score[:k] <= 1 + 64 * EPS)
    assert np.all(score[k:] <= 0)


@settings(max_examples=25)
@given(st.lists(st.floats(-40, 40), min_size=2, max_size=7), st.integers(1, 6))
def test_inclusion_sums_to_k_and_rises_with_the_logit(values, k):
    theta = np.array(values)
    k = min(k, theta.size)
    pi = set_inclusion(theta, k)
    assert pi.sum() == pytest.approx(k, abs=256 * EPS * k)
    assert np.all(np.diff(pi[np.argsort(theta, kind="stable")]) >= -256 * EPS)


def test_rare_frames_are_included_with_relative_accuracy():
    # T = 2, k = 1: a softmax, here down to e^-60
    found = set_inclusion(np.array([0.0, -60.0]), 1)
    assert found[1] == pytest.approx(math.exp(-60) / (1 + math.exp(-60)), rel=256 * EPS)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_inclusion_is_the_sum_over_sets(k):
    sets = np.array(list(itertools.combinations(range(6), k)))
    member = (sets[:, :, None] == np.arange(6)).any(axis=1)
    expected = np.exp(set_log_prob(3 * THETA, sets)) @ member
    np.testing.assert_allclose(set_inclusion(3 * THETA, k), expected, rtol=0, atol=128 * EPS)


def test_the_gradient_of_inclusion_is_the_mean_of_reward_times_score(asarray, rng):
    w = rng.standard_normal(6)
    P, scores = np.exp(set_log_prob(THETA, SETS)), set_score(THETA, SETS)
    expected = (P * w[SETS].sum(axis=1)) @ scores
    found = host(set_inclusion_gradient(asarray(THETA), 3, asarray(w)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=128 * EPS * np.abs(w).max() * 3)


def test_the_jacobian_of_inclusion_is_symmetric_and_its_rows_sum_to_zero():
    eye = np.eye(6)
    jacobian = set_inclusion_gradient(np.broadcast_to(THETA, (6, 6)), 3, eye)
    np.testing.assert_allclose(jacobian, jacobian.T, rtol=0, atol=64 * EPS)
    np.testing.assert_allclose(jacobian.sum(axis=1), 0, rtol=0, atol=64 * EPS)


def test_rows_that_are_worked_on_in_parts_are_the_same(monkeypatch, rng):
    theta, w = rng.standard_normal((7, 9)), rng.standard_normal((7, 9))
    whole = set_inclusion(theta, 4), set_inclusion_gradient(theta, 4, w)
    monkeypatch.setattr("fewtheory.subsets.frames.inclusion.ROOM", 1)
    parts = set_inclusion(theta, 4), set_inclusion_gradient(theta, 4, w)
    # each row has its own nodes, but the number of them is the longest row's
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=64 * EPS * np.abs(w).max())


def test_a_batch_is_its_rows(asarray, rng):
    theta, S = rng.standard_normal((4, 1, 7)), np.array([[0, 5, 2], [3, 1, 6]])
    found = host(set_log_prob(asarray(theta), asarray(S)))
    rows = [[set_log_prob(t[0], s) for s in S] for t in theta]
    np.testing.assert_allclose(found, rows, rtol=0, atol=64 * EPS * 8)


def test_an_empty_batch_stays_empty():
    none = np.zeros((0, 6))
    assert set_log_prob(none, np.zeros((0, 3), dtype=int)).shape == (0,)
    assert set_score(none, np.array([0, 1])).shape == (0, 6)
    assert set_inclusion(none, 2).shape == (0, 6)


@pytest.mark.parametrize("function", [set_log_prob, set_score, order_log_prob, order_score])
def test_single_precision_comes_back_and_is_the_double_one_rounded(function, asarray):
    narrow = asarray(THETA.astype(np.float32))
    found = function(narrow, asarray(SETS))
    assert found.dtype == narrow.dtype
    expected = function(THETA.astype(np.float32).astype(np.float64), SETS)
    np.testing.assert_allclose(host(found), expected, rtol=2**-24, atol=1e-12)


def test_order_probabilities_and_scores_are_the_definition():
    r, order = np.exp(THETA), [4, 0, 2]
    p, left = 1.0, r.sum()
    for i in order:
        p, left = p * r[i] / left, left - r[i]
    found = order_log_prob(THETA, np.array(order))
    assert found == pytest.approx(math.log(p), abs=64 * EPS * 8)
    h = 2.0**-10
    slopes = [
        (
            order_log_prob(THETA + h * e, np.array(order))
            - order_log_prob(THETA - h * e, np.array(order))
        )
        / (2 * h)
        for e in np.eye(6)
    ]  # third derivatives below one: h^2 / 6
    np.testing.assert_allclose(order_score(THETA, np.array(order)), slopes, rtol=0, atol=h**2)


def test_autograd_through_the_integral_is_the_score():
    theta = torch.tensor(THETA, requires_grad=True)
    set_log_prob(theta, torch.tensor(SETS[7])).backward()
    expected = set_score(THETA, SETS[7])
    np.testing.assert_allclose(theta.grad, expected, rtol=0, atol=256 * EPS)


@pytest.mark.parametrize("by", ["gumbel", "sequential"])
def test_both_draws_have_the_inclusion_probabilities(by, asarray, rng):
    n = 4000
    drawn = host(draw_order(asarray(THETA), 3, rng=rng, n=n, by=by))
    counts = (drawn[:, :, None] == np.arange(6)).sum(axis=(0, 1))
    pi = set_inclusion(THETA, 3)
    # six binomial counts, each within 5 standard deviations but for 6e-7
    assert np.all(np.abs(counts - n * pi) < 5 * np.sqrt(n * pi * (1 - pi)))
    assert drawn.shape == (n, 3)
    assert all(len(set(row)) == 3 for row in drawn.tolist())


def test_a_draw_is_a_function_of_its_generator():
    theta = torch.tensor(THETA).expand(5, 6)
    for by in ("gumbel", "sequential"):
        one, two = (
            draw_order(theta, 4, rng=torch.Generator().manual_seed(3), by=by) for _ in range(2)
        )
        assert one.shape == (5, 4)
        assert torch.equal(one, two)


@pytest.mark.parametrize("by", ["gumbel", "sequential"])
def test_frames_a_thousand_logits_apart_come_in_order(by, rng):
    theta = np.array([0.0, 3000.0, 1000.0, 2000.0])
    assert draw_order(theta, 4, rng=rng, by=by).tolist() == [1, 3, 2, 0]


def test_the_mode_is_the_likeliest_set_in_order_of_time(asarray):
    likeliest = SETS[np.argmax(KNOWN[0]["expected"]["set_probs"])]
    assert host(set_mode(asarray(THETA), 3)).tolist() == likeliest.tolist()


def test_ties_go_to_the_earliest_frame(asarray):
    assert host(set_mode(asarray(np.zeros((2, 5))), 2)).tolist() == [[0, 1], [0, 1]]


LOGITS, S = np.zeros(4), np.array([0, 2])
BAD = [
    ({"logits": [0.0, 1.0]}, TypeError, "logits"),
    ({"logits": np.zeros(4, dtype=int)}, TypeError, "logits"),
    ({"logits": np.zeros(())}, ValueError, "logits"),
    ({"logits": np.array([0.0, np.nan, 0.0])}, ValueError, "logits"),
    ({"logits": np.array([0.0, -np.inf, 0.0])}, ValueError, "logits"),
    ({"chosen": np.array([0.0, 1.0])}, TypeError, "chosen"),
    ({"chosen": np.array(0)}, ValueError, "chosen"),
    ({"chosen": np.array([0, 4])}, ValueError, "chosen"),
    ({"chosen": np.array([-1, 2])}, ValueError, "chosen"),
    ({"chosen": np.array([1, 1])}, ValueError, "chosen"),
    ({"chosen": np.arange(5)}, ValueError, "chosen"),
    ({"logits": np.zeros((2, 4)), "chosen": np.zeros((3, 1), dtype=int)}, ValueError, "chosen"),
]


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize("function", [set_log_prob, set_score, order_log_prob, order_score])
@pytest.mark.parametrize(("change", "error", "name"), BAD)
def test_bad_sets_are_refused_by_name(function, change, error, name):
    given = {"logits": LOGITS, "chosen": S, **change}
    with pytest.raises(error, match=f"{function.__name__}: .*{name}"):
        function(given["logits"], given["chosen"])


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: draw_order(LOGITS, 5, rng=np.random.default_rng(0)), ValueError, "k must"),
        (lambda: draw_order(LOGITS, 2, rng=0), TypeError, "rng must"),
        (
            lambda: draw_order(LOGITS, 2, rng=np.random.default_rng(0), by="x"),
            ValueError,
            "by must",
        ),
        (lambda: draw_order(LOGITS, 2, rng=np.random.default_rng(0), n=-1), ValueError, "n must"),
        (lambda: set_mode(LOGITS, 0), ValueError, "k must"),
        (lambda: set_inclusion(LOGITS, 5), ValueError, "k must"),
        (lambda: set_inclusion(LOGITS, 1.5), TypeError, "k must"),
        (lambda: set_inclusion_gradient(LOGITS, 2, np.zeros(3)), ValueError, "rewards must"),
        (lambda: set_inclusion_gradient(LOGITS, 2, np.full(4, np.nan)), ValueError, "rewards must"),
        (lambda: set_log_prob_by_orders(np.zeros(9), np.arange(9)), ValueError, "k must"),
        (
            lambda: set_log_prob_by_inclusion_exclusion(np.zeros(30), np.arange(21)),
            ValueError,
            "chosen must",
        ),
        (
            lambda: set_log_prob_by_inclusion_exclusion(LOGITS, S, digits=3),
            ValueError,
            "digits must",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
