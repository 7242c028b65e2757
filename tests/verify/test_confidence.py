"""Confidence sequences: published constants, exact crossing probabilities, summed martingales."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtri
from scipy.stats import binom

from fewtheory.verify import LEVEL
from fewtheory.verify.confidence import (
    EmpiricalBernstein,
    HedgedCapital,
    NormalMixture,
    VarianceMixture,
    normal_mixture,
    stitched,
    tightest_rho,
)

EPS = np.finfo(np.float64).eps
STREAMS = {
    "normal mixture": lambda level: NormalMixture(0.5, level, effect=0.1),
    "variance mixture": lambda level: VarianceMixture(0.4, level, ratio=1.5),
    "empirical Bernstein": lambda level: EmpiricalBernstein((0, 1), level),
    "empirical Bernstein for an effect": lambda level: EmpiricalBernstein(
        (0, 1), level, effect=0.1
    ),
    "hedged": lambda level: HedgedCapital((0, 1), level, points=50),
    "hedged for an effect": lambda level: HedgedCapital((0, 1), level, effect=0.1, points=50),
}
BOUNDED = [n for n in STREAMS if "mixture" not in n]


def crossing(up, low=None, steps=2000):
    """The probability that a fair walk of +-1 steps is ever at or beyond its boundary."""
    law, lost = np.zeros(2 * steps + 1), 0.0
    law[steps] = 1.0
    place = np.arange(-steps, steps + 1)
    for n in range(1, steps + 1):
        law = (np.roll(law, 1) + np.roll(law, -1)) / 2  # the ends are empty before the last step
        out = (place >= up[n - 1]) | (place <= (-np.inf if low is None else low[n - 1]))
        lost += law[out].sum()
        law[out] = 0.0
    return lost


# boundaries


def test_the_normal_mixture_is_the_published_one():
    # confseq's unit tests, "from a reference implementation in R"
    assert normal_mixture(100, 0.05, 12.60056) == pytest.approx(30.35209, abs=1e-5)


def test_the_tightest_rho_beats_the_published_approximation():
    # confseq takes v / (L + log(1 + L)), L = 2 log(1 / level): 12.60056 at these two
    best = tightest_rho(100, 0.05)
    length = 2 * math.log(20)
    assert 100 / (length + math.log1p(length)) == pytest.approx(12.60056, abs=1e-5)
    assert normal_mixture(100, 0.05, best) < normal_mixture(100, 0.05, 12.60056)


@pytest.mark.parametrize("level", [0.9, 0.05, LEVEL, 1e-60])
@pytest.mark.parametrize("v", [0.1, 1000.0])
def test_the_tightest_boundary_is_the_root_of_lamberts_w_times_the_time(v, level):
    w = -mp.lambertw(-(mp.mpf(level) ** 2) / mp.e, -1)
    rho = tightest_rho(v, level)
    # near level 1 (w = 1 + 0.5) w - 1 loses a digit
    assert rho == pytest.approx(float(v / (w - 1)), rel=32 * EPS)
    assert normal_mixture(v, level, rho) == pytest.approx(float(mp.sqrt(w * v)), rel=16 * EPS)
    for other in (0.9 * rho, 1.1 * rho):
        assert normal_mixture(v, level, other) > normal_mixture(v, level, rho)


@given(st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.floats(1e-6, 0.9))
@settings(deadline=None, max_examples=40)
def test_at_the_boundary_the_mixed_martingale_is_one_over_the_level(v, rho, level):
    s = float(normal_mixture(v, level, rho))
    # exp(l s - l^2 v / 2) times N(0, 1/rho) in l: a Gaussian about s/(v + rho), precision v + rho
    centre, width = s / (v + rho), (v + rho) ** -0.5

    def mixed(z):
        x = centre + width * z
        return width * math.exp(x * s - x**2 * (v + rho) / 2) * math.sqrt(rho / (2 * math.pi))

    value, error = quad(mixed, -12, 12, epsrel=1e-10)
    assert value * level == pytest.approx(1, abs=1e-9 + 2 * level * error)


def test_the_exact_crossing_probability_is_that_of_the_reflection_principle():
    steps, b = 301, 23
    above = binom.sf((steps + b - 1) // 2, steps, 0.5)  # P(S >= b), S = 2 heads - steps
    expected = 2 * above - binom.pmf((steps + b) // 2, steps, 0.5)  # P(S >= b) + P(S > b)
    assert crossing(np.full(steps, b), steps=steps) == pytest.approx(expected, rel=1e-12)


def test_a_fair_walk_crosses_the_normal_mixture_less_often_than_the_level():
    # exact: 0.0345 of 0.05 by n = 2000; the rest is overshoot and the time beyond
    u = normal_mixture(np.arange(1, 2001), 0.05, tightest_rho(100, 0.05))
    assert 0.5 * 0.05 < crossing(u, -u) <= 0.05


def test_a_fair_walk_crosses_the_stitched_boundary_less_often_than_the_level():
    # exact: 0.0019 of 0.05 by n = 2000: each of 11 epochs pays for its line and has slack below it
    u = stitched(np.arange(1, 2001), 0.05)
    assert 0.02 * 0.05 < crossing(u) <= 0.05


def test_the_exact_crossing_probability_sees_a_boundary_of_one_sample_size():
    # the fixed-size interval 1.96 sqrt(n), looked at after every sample
    u = -ndtri(0.025) * np.sqrt(np.arange(1, 2001))
    assert crossing(u, -u) > 0.5


def test_the_stitched_boundary_has_the_published_constants():
    # u^2 / v = 1.7^2 (loglog(2 v) + 0.72 log(5.2 / level)), to the digits printed
    v, level = np.array([10.0, 1e6]), 0.05
    slope, offset = np.polyfit(np.log(np.log(2 * v)), stitched(v, level) ** 2 / v, 1)
    lower = stitched(v[:1], level / 10)[0] ** 2 / v[0] - stitched(v[:1], level)[0] ** 2 / v[0]
    per_log = lower / slope / math.log(10)
    assert math.sqrt(slope) == pytest.approx(1.7, abs=0.05)
    assert per_log == pytest.approx(0.72, abs=0.01)  # 1 / 1.4 = 0.7143, rounded up
    assert level * math.exp(offset / slope / per_log) == pytest.approx(5.2, abs=0.05)


@pytest.mark.parametrize(("c", "published"), [(3, 64.48755), (-1, 28.99389)])
def test_the_stitched_boundary_is_the_published_one(c, published):
    # confseq's unit tests are of the sub-gamma form sqrt(u^2 + (k2 c l)^2) + k2 c l, u ours
    k1, k2 = (2**0.25 + 2**-0.25) / math.sqrt(2), (math.sqrt(2) + 1) / 2
    u = float(stitched(100, 0.05, start=10))
    shift = k2 * c * u**2 / (k1**2 * 100)
    assert math.sqrt(u**2 + shift**2) + shift == pytest.approx(published, abs=1e-5)


def test_below_its_start_the_stitched_boundary_is_flat():
    assert (
        stitched([0.0, 5.0, 10.0], 0.05, start=10).tolist()
        == [float(stitched(10, 0.05, start=10))] * 3
    )


# streams


@pytest.fixture(params=list(STREAMS))
def make(request):
    """Each kind of stream, by level."""
    return STREAMS[request.param]


def test_samples_in_batches_give_the_same_intervals_as_all_at_once(make, rng):
    x = rng.random(700)
    whole, stream = make(0.05).update(x), make(0.05)
    parts = [stream.update(part) for part in np.split(x, [1, 2, 300, 611])]
    for name in ("n", "lower", "upper"):
        joined = np.concatenate([getattr(p, name) for p in parts])
        # sums of up to 700 terms, associated otherwise
        np.testing.assert_allclose(joined, getattr(whole, name), rtol=0, atol=700 * 8 * EPS)


def test_a_smaller_level_gives_a_wider_interval(make, rng):
    x = rng.random(500)
    wide, narrow = make(LEVEL).update(x), make(0.1).update(x)
    assert np.all(wide.lower <= narrow.lower)
    assert np.all(wide.upper >= narrow.upper)


def test_the_truth_is_ever_missed_less_often_than_the_level_says(make, rng):
    runs, n, level = 100, 400, 0.2
    missed = 0
    for _ in range(runs):
        if make is STREAMS["variance mixture"]:
            truth, x = 4.0, 0.4 + 2 * rng.standard_normal(n)
        else:
            truth, x = 0.3, (rng.random(n) < 0.3).astype(float)
        found = make(level).update(x)
        missed += bool(np.any((found.lower > truth) | (found.upper < truth)))
    assert missed <= binom.isf(LEVEL, runs, level)


def test_a_normal_mixture_is_tightest_where_its_half_width_is_the_effect():
    stream = NormalMixture(2.0, 0.05, effect=0.1)
    w = -float(mp.lambertw(-mp.mpf("0.0025") / mp.e, -1).real)
    n = w * 20**2  # u = sqrt(w n) = n / 20
    assert stream.half_width(n) == pytest.approx(0.1, rel=64 * EPS)
    for effect in (0.09, 0.11):
        assert NormalMixture(2.0, 0.05, effect=effect).half_width(n) > 0.1


@pytest.mark.parametrize("n", [1, 40, 4000])
def test_at_the_limits_of_a_variance_the_mixed_likelihood_ratio_is_one_over_the_level(n):
    stream = VarianceMixture(0.0, 0.01, ratio=1.3)
    k = mp.mpf(stream.k)
    for q in (float(v) * n for v in stream.quantiles(n) if v > 0):

        def mixed(z, q=q):
            tau = mp.e**z  # prior in log tau, so with one more power
            prior = k * mp.log(k) - mp.loggamma(k) + k * z - k * tau
            return mp.e ** (prior + n * z / 2 - (tau - 1) * q / 2)

        top = mp.log((k + n / 2) / (k + q / 2))  # of the integrand, with its width
        width = 1 / mp.sqrt(k + mp.mpf(n) / 2)
        value = mp.quad(mixed, [top + width * j for j in range(-14, 15, 2)])
        assert float(value) * 0.01 == pytest.approx(1, rel=1e-7)


def test_no_sample_is_too_small_for_a_variance_until_enough_have_been_seen():
    found = VarianceMixture(0.0, 0.01, ratio=1.3).update(np.zeros(200))
    assert np.isinf(found.upper[0])
    assert found.upper[-1] == 0.0  # all are zero: excludes every variance above it


# the processes behind bounded data

COINS = np.array(list(itertools.product([0.0, 1.0], repeat=8)))


@pytest.mark.parametrize("effect", [None, 0.2])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_a_bettor_gains_nothing_on_average_from_the_truth(p, effect):
    # all 256 sequences with their probabilities: the mean of the wealth is 1, of either bettor
    chance = p ** COINS.sum(1) * (1 - p) ** (8 - COINS.sum(1))
    ups, downs = np.zeros(256), np.zeros(256)
    for i, x in enumerate(COINS):
        stream = HedgedCapital((0, 1), 0.05, effect=effect, points=10)
        stream.update(x)
        at = round(10 * p) - 1
        ups[i], downs[i] = stream.up[at], stream.down[at]
    for wealth in (ups, downs):
        assert chance @ np.exp(wealth) == pytest.approx(1, abs=256 * 8 * EPS)
        assert wealth.std() > 0.1


@pytest.mark.parametrize("effect", [None, 0.2])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("side", [1, -1])
def test_the_empirical_bernstein_process_falls_on_average(p, side, effect):
    # exp(l (X - p) - (X - mean)^2 psi(l)): at most 1 (Fan's inequality), not far below it
    chance = p ** COINS.sum(1) * (1 - p) ** (8 - COINS.sum(1))
    total = 0.0
    for x, weight in zip(COINS, chance, strict=True):
        stream = EmpiricalBernstein((0, 1), 0.05, effect=effect)
        stream.update(x)
        bets, bet_x, penalty = stream.sums[:, 0] - [0, 0, math.log(2 / 0.05)]
        total += weight * math.exp(side * (bet_x - p * bets) - penalty)
    assert 0.3 < total <= 1


def test_the_bounded_sequences_are_the_papers_sums(rng):
    # Waudby-Smith and Ramdas, Theorems 2 and 3 and equation 15, one sample at a time
    x, level, m = rng.beta(2, 5, 60), 0.05, 0.25
    total, square, sums, penalty = 0.5, 0.25, np.zeros(2), math.log(2 / level)
    up = down = 1.0
    for t, value in enumerate(x, start=1):
        bet = math.sqrt(2 * math.log(2 / level) / (square / t * t * math.log(1 + t)))
        up *= 1 + min(bet, 0.5 / m) * (value - m)
        down *= 1 - min(bet, 0.5 / (1 - m)) * (value - m)
        bet = min(bet, 0.5)
        penalty += 4 * (value - total / t) ** 2 * (-math.log(1 - bet) - bet) / 4
        sums += [bet, bet * value]
        total += value
        square += (value - total / (t + 1)) ** 2
    found, hedged = (
        EmpiricalBernstein((0, 1), level).update(x),
        HedgedCapital((0, 1), level, points=4),
    )
    hedged.update(x)
    assert found.lower[-1] == pytest.approx(max((sums[1] - penalty) / sums[0], 0), rel=1e-12)
    assert found.upper[-1] == pytest.approx(min((sums[1] + penalty) / sums[0], 1), rel=1e-12)
    assert hedged.up[0] == pytest.approx(math.log(up), rel=1e-12)
    assert hedged.down[0] == pytest.approx(math.log(down), rel=1e-12)


def test_the_grids_limits_are_the_outermost_means_that_are_excluded(rng):
    stream = HedgedCapital((0, 1), 0.05, points=200)
    found = stream.update(rng.beta(2, 5, 300))
    edge = math.log(2 / 0.05)
    assert np.all(np.diff(stream.up) < 0)
    assert np.all(np.diff(stream.down) > 0)
    assert found.lower[-1] == pytest.approx(stream.grid[stream.up >= edge].max(), abs=EPS)
    assert found.upper[-1] == pytest.approx(stream.grid[stream.down >= edge].min(), abs=EPS)


@pytest.mark.parametrize("name", BOUNDED)
def test_an_interval_moves_with_its_samples(name, rng):
    # powers of two and whole numbers of them: x and 2 + 4 x are on [0, 1] to the last bit
    x = rng.integers(0, 1 << 20, 300) / (1 << 20)
    kind, effect = (EmpiricalBernstein if "Bern" in name else HedgedCapital), "effect" in name
    more = {"effect": 0.1} if effect else {}
    plain = kind((0, 1), 0.05, **more).update(x)
    more = {"effect": 0.4} if effect else {}
    moved = kind((2, 6), 0.05, **more).update(2 + 4 * x)
    np.testing.assert_allclose(moved.lower, 2 + 4 * plain.lower, rtol=4 * EPS)
    np.testing.assert_allclose(moved.upper, 2 + 4 * plain.upper, rtol=4 * EPS)


def test_a_small_variance_gives_a_narrow_interval(rng):
    # std 0.02: Hoeffding's assumes 0.5; the bets, at most 1/2, leave 2 log(2 / level) / n of width
    x = np.clip(0.5 + 0.02 * rng.standard_normal(2000), 0, 1)
    widths = {
        name: float(np.diff([(f := STREAMS[name](0.05).update(x)).lower[-1], f.upper[-1]])[0])
        for name in STREAMS
    }
    assert widths["empirical Bernstein"] < widths["normal mixture"] / 8
    assert widths["hedged"] <= widths["empirical Bernstein"] + 2 / 50


def test_an_intersection_holds_what_both_hold(rng):
    x = rng.random(50)
    one, two = (STREAMS[n](0.05).update(x) for n in ("normal mixture", "hedged"))
    both = one & two
    np.testing.assert_array_equal(both.lower, np.maximum(one.lower, two.lower))
    np.testing.assert_array_equal(both.upper, np.minimum(one.upper, two.upper))


@pytest.mark.parametrize("effect", [0.02, 0.1])
def test_bets_for_an_effect_make_half_widths_of_half_of_it_the_tightest(effect, rng):
    # half width (L + n v psi(l)) / (n l), L = log(2 / level), v = 1/4: with psi(l) = l^2 / 2 + ...
    # and l = effect / (2 v) both terms are effect / 4 at n = 8 L v / effect^2
    length, v, bet = math.log(2 / LEVEL), 0.25, 2 * effect
    n = round(8 * length * v / effect**2)
    found = EmpiricalBernstein((0, 1), LEVEL, effect=effect).update(rng.random(n) < 0.5)
    half = (found.upper[-1] - found.lower[-1]) / 2
    expected = (length + n * v * (-math.log1p(-bet) - bet)) / (n * bet)
    # the variance is estimated from n samples (exactly 1/4 but for the mean's square, 1/n), and
    # from few of them early on
    assert half == pytest.approx(expected, rel=0.03)
    assert expected == pytest.approx(effect / 2, rel=bet)  # psi(l) = l^2 / 2 (1 + 2 l / 3 + ...)


# bad input


@pytest.mark.parametrize(
    ("call", "where", "named"),
    [
        (lambda: tightest_rho(0.0, 0.05), "tightest_rho", "v"),
        (lambda: tightest_rho(1.0, 1.0), "tightest_rho", "level"),
        (lambda: normal_mixture(-1.0, 0.05, 1.0), "normal_mixture", "v"),
        (lambda: normal_mixture(math.nan, 0.05, 1.0), "normal_mixture", "v"),
        (lambda: normal_mixture(1.0, 0.0, 1.0), "normal_mixture", "level"),
        (lambda: normal_mixture(1.0, 0.05, 0.0), "normal_mixture", "rho"),
        (lambda: stitched(-1.0, 0.05), "stitched", "v"),
        (lambda: stitched(1.0, 2.0), "stitched", "level"),
        (lambda: stitched(1.0, 0.05, eta=1), "stitched", "eta"),
        (lambda: stitched(1.0, 0.05, power=1.0), "stitched", "power"),
        (lambda: stitched(1.0, 0.05, start=0), "stitched", "start"),
        (lambda: NormalMixture(0.0, 0.05, effect=0.1), "NormalMixture", "std"),
        (lambda: NormalMixture(1.0, 0.05, effect=0.0), "NormalMixture", "effect"),
        (lambda: NormalMixture(1.0, 1.0, effect=0.1), "NormalMixture", "level"),
        (lambda: VarianceMixture(math.inf, 0.05, ratio=2), "VarianceMixture", "mean"),
        (lambda: VarianceMixture(0.0, 0.05, ratio=1), "VarianceMixture", "ratio"),
        (lambda: VarianceMixture(0.0, math.nan, ratio=2), "VarianceMixture", "level"),
        (lambda: EmpiricalBernstein((1, 0), 0.05), "EmpiricalBernstein", "within"),
        (lambda: EmpiricalBernstein((0, 1, 2), 0.05), "EmpiricalBernstein", "within"),
        (lambda: EmpiricalBernstein((0, 1), -0.05), "EmpiricalBernstein", "level"),
        (lambda: HedgedCapital((0, 1), 0.05, effect=-1.0), "HedgedCapital", "effect"),
        (lambda: HedgedCapital((0, 1), 0.05, points=1), "HedgedCapital", "points"),
        (lambda: HedgedCapital((0, 1), 0.05).update([0.5, 1.5]), "HedgedCapital", "x"),
        (lambda: EmpiricalBernstein((0, 1), 0.05).update([-0.5]), "EmpiricalBernstein", "x"),
        (lambda: NormalMixture(1.0, 0.05, effect=1).update([]), "NormalMixture", "x"),
        (lambda: NormalMixture(1.0, 0.05, effect=1).update([[1.0]]), "NormalMixture", "x"),
        (lambda: VarianceMixture(0.0, 0.05, ratio=2).update([math.nan]), "VarianceMixture", "x"),
    ],
)
def test_a_bad_argument_is_named(call, where, named):
    with pytest.raises(ValueError, match=f"{where}: {named} must be "):
        call()
