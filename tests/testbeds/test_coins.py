"""Coins with a memory: their closed forms against enumeration and against samples."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory.testbeds import BalancingSeries, HistoryCoin, MarkovCoin
from fewtheory.testbeds.coins import binary_entropy, log_choose
from fewtheory.testbeds.tokens import all_states

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())
EPS = np.finfo(float).eps


def known(what):
    (found,) = [k for k in KNOWN if k["what"].startswith(what)]
    return found


def table(bed, L):
    """The probabilities of all series, in order."""
    return bed.law(L).table().table.reshape(-1)


def test_the_variance_of_the_mean_is_the_known_one():
    k = known("exact variance of the mean")
    coin = MarkovCoin(k["inputs"]["p"], k["inputs"]["rho"])
    found = [coin.variance_of_mean(n) for n in k["inputs"]["n"]]
    assert found == pytest.approx(k["expected"], abs=k["tolerance"])


def test_the_mutual_information_of_neighbours_is_the_known_one():
    k = known("mutual information")
    pairs = zip(k["inputs"]["p"], k["inputs"]["rho"], strict=True)
    found = [MarkovCoin(p, rho).mutual_information for p, rho in pairs]
    # h(p) - h_1 is a difference of numbers near 0.7
    assert found == pytest.approx(k["expected"], abs=max(k["tolerance"], 8 * EPS))


coins = st.builds(
    lambda p, share: MarkovCoin(p, share + (1 - share) * max(-p / (1 - p), -(1 - p) / p)),
    st.floats(0.05, 0.95),
    st.floats(0.0, 0.95),
)


@settings(max_examples=25)
@given(coins)
def test_a_markov_coin_is_stationary_with_the_stated_correlation(coin):
    x, mass = all_states(2, 4), table(coin, 4)
    assert mass @ x == pytest.approx(np.full(4, coin.p), abs=64 * EPS)
    variance = coin.p * (1 - coin.p)
    for lag in (1, 2, 3):
        product = mass @ (x[:, 0] * x[:, lag]) - coin.p**2
        assert product / variance == pytest.approx(
            coin.autocorrelation(lag), abs=64 * EPS / variance
        )
    assert mass @ (x[:, 0] != x[:, 1]) == pytest.approx(coin.alternation, abs=64 * EPS)


@given(coins)
def test_entropies_are_those_of_the_law(coin):
    L = 5
    whole = coin.law(L).table().entropy()
    expected = float(binary_entropy(coin.p)) + (L - 1) * coin.entropy_rate
    assert whole == pytest.approx(expected, abs=64 * 2**L * EPS)


@settings(max_examples=25)
@given(coins)
def test_the_laws_of_the_counts_and_runs_are_sums_over_all_series(coin):
    n = 7
    x, mass = all_states(2, n), table(coin, n)
    joint = np.zeros((n + 1, n + 1))
    np.add.at(joint, (x.sum(axis=1), 1 + (x[:, 1:] != x[:, :-1]).sum(axis=1)), mass)
    # each entry is e to a sum of logarithms: log p times up to 7 answers
    tolerance = 64 * 7 * 40 * EPS
    assert np.abs(coin.joint_law(n) - joint).max() < tolerance
    assert coin.count_law(n) == pytest.approx(joint.sum(axis=1), abs=tolerance)
    assert coin.joint_law(n, [2, 5]) == pytest.approx(joint[[2, 5]], abs=tolerance)


def test_a_coin_that_always_alternates_has_n_runs():
    coin = MarkovCoin(0.5, -1)
    assert coin.joint_law(6)[3, 6] == pytest.approx(1.0)
    assert coin.effective_size(5) == np.inf


def test_samples_have_the_rate_and_the_alternation(rng):
    coin = MarkovCoin(0.3, -0.2)
    x = coin.sample(40, rng=rng, series=5000)
    assert x.shape == (5000, 40)
    sd = np.sqrt(coin.variance_of_mean(40) / 5000)
    assert abs(x.mean() - 0.3) < 5 * sd
    moved = (x[:, 1:] != x[:, :-1]).mean()
    assert abs(moved - coin.alternation) < 5 * np.sqrt(0.25 / (5000 * 39)) * 2  # neighbours overlap


def test_either_generator_draws_and_a_tensor_comes_back_where_asked(rng):
    coin = MarkovCoin(0.5, 0.3)
    assert coin.sample(5, rng=torch.Generator().manual_seed(0)).dtype == np.int64
    found = coin.sample(5, rng=rng, like=torch.zeros(1, dtype=torch.int32))
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.int32
    assert coin.sample(0, rng=rng).shape == (0,)


@pytest.mark.parametrize(("gamma", "tau"), [(1.0, 0.0), (1.5, 4.0), (-0.3, 1.0)])
def test_a_balancing_series_has_the_variances_and_the_counts_of_its_law(gamma, tau):
    bed, L = BalancingSeries(gamma, tau), 8
    x, mass = all_states(2, L), table(bed, L)
    assert not bed.clipped(L)
    for t in range(1, L + 1):
        S = 2 * x[:, :t].sum(axis=1) - t
        assert mass @ S**2 == pytest.approx(bed.variances(L)[t - 1], abs=64 * L * EPS)
    assert bed.count_law(L) == pytest.approx(np.bincount(x.sum(axis=1), mass), abs=64 * EPS)
    assert mass @ x == pytest.approx(np.full(L, 0.5), abs=64 * EPS)  # fair at every place


def test_the_clip_is_found_where_it_is_active():
    assert BalancingSeries(1.5, 0.0).clipped(2)
    assert not BalancingSeries(1.5, 0.0).clipped(1)


def test_sampled_counts_have_their_spread(rng):
    bed = BalancingSeries(1.0, 1.0)
    count = bed.sample(30, rng=rng, series=8000).sum(axis=1)
    k, exact = np.arange(31), bed.count_law(30)
    second, fourth = exact @ (k - 15.0) ** 2, exact @ (k - 15.0) ** 4
    z = (((count - 15.0) ** 2).mean() - second) / np.sqrt((fourth - second**2) / 8000)
    assert abs(z) < 5


def test_a_history_coin_reads_the_mean_of_its_past():
    from scipy.special import expit

    law = HistoryCoin(0.4, -1.2).law(4)
    found = law.next_token(np.array([[1, 1, 0]]))[0, 1]
    assert found == pytest.approx(expit(0.4 - 1.2 / 3), abs=4 * EPS)
    assert law.next_token(np.empty((1, 0), dtype=np.int64))[0, 1] == pytest.approx(expit(0.4))


@given(st.integers(0, 60), st.integers(-3, 63))
def test_log_choose_is_that_of_whole_numbers(n, k):
    import math

    expected = math.log(math.comb(n, k)) if 0 <= k <= n else -np.inf
    assert log_choose(n, k) == pytest.approx(expected, abs=8 * 190 * EPS)  # log 60! = 189


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: MarkovCoin(0.0), "MarkovCoin: p must be strictly between 0 and 1"),
        (lambda r: MarkovCoin(1.2), "MarkovCoin: p must be finite in"),
        (lambda r: MarkovCoin("half"), "MarkovCoin: p must be a number"),
        (lambda r: MarkovCoin(0.8, -0.5), r"MarkovCoin: rho must be in \[-0.25, 1\) at p = 0.8"),
        (lambda r: MarkovCoin(0.5, 1.0), "MarkovCoin: rho must be in"),
        (lambda r: MarkovCoin().autocorrelation(-1), "autocorrelation: lag must be at least 0"),
        (lambda r: MarkovCoin().variance_of_mean(0), "variance_of_mean: n must be at least 1"),
        (lambda r: MarkovCoin().effective_size(0), "effective_size: n must be at least 1"),
        (lambda r: MarkovCoin().count_law(0), "count_law: n must be at least 1"),
        (lambda r: MarkovCoin().joint_law(5000), r"joint_law: n must be in \[1, 4096\]"),
        (lambda r: MarkovCoin().sample(-1, rng=r), "sample: n must be at least 0"),
        (lambda r: MarkovCoin().sample(1, rng=r, series=-1), "sample: series must be at least 0"),
        (lambda r: MarkovCoin().sample(1, rng=None), "MarkovCoin.sample: rng must be a"),
        (lambda r: BalancingSeries(-0.5), "BalancingSeries: gamma must be above -1/2"),
        (lambda r: BalancingSeries(1.0, -1), "BalancingSeries: tau must be finite in"),
        (lambda r: BalancingSeries().probability(-1, 0), "probability: t must be at least 0"),
        (lambda r: BalancingSeries().variances(0), "variances: n must be at least 1"),
        (lambda r: BalancingSeries().count_law(0), "count_law: n must be at least 1"),
        (lambda r: BalancingSeries().clipped(0), "clipped: n must be at least 1"),
        (lambda r: BalancingSeries().sample(1, rng=7), "BalancingSeries.sample: rng must be a"),
        (lambda r: HistoryCoin(np.nan), "HistoryCoin: intercept must be finite"),
        (lambda r: HistoryCoin(0.0, np.inf), "HistoryCoin: slope must be finite"),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(rng)
