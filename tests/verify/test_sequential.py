"""Sequential tests: exact operating characteristics, sample numbers, and claims that use them."""

from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

import fewtheory.suites
from fewtheory.verify import (
    LEVEL,
    MISS,
    run,
    sequential_mean,
    sequential_p,
    sequential_variance,
    sprt,
)
from fewtheory.verify.confidence import EmpiricalBernstein, NormalMixture
from fewtheory.verify.power import samples_for_mean
from fewtheory.verify.repeated import ambiguous_level

NAN = math.nan


def normal(mean=0.0, std=1.0):
    return lambda n, rng: mean + std * rng.standard_normal(n)


def coins(p):
    return lambda n, rng: (rng.random(n) < p).astype(float)


def stopped(evidence):
    """The sample size at which a test stopped: the last point of its plot."""
    return evidence.series[0].x[-1]


def share(found):
    """How many of these tests rejected, and of how many."""
    return sum(e.finite and not e.stands for e in found), len(found)


def agrees(count, runs, chance):
    """Whether a count is between the quantiles of its binomial law at the fixed level."""
    low, high = binom.ppf([LEVEL / 2, 1 - LEVEL / 2], runs, chance)
    return low <= count <= high


# the mean


def walked(p, up, rejects, accepts):
    """P(rejected), P(accepted), E n of a walk of +-1 steps with P(+1) = p, exactly.

    rejects, accepts: (n, 2 up + 1) regions of the sum after each step; rejection comes first.
    """
    law, place = np.zeros(2 * up + 3), np.arange(-up - 1, up + 2)
    law[up + 1] = 1.0
    rejected = accepted = mean = 0.0
    for n in range(1, up + 1):
        mean += law.sum()
        law = p * np.roll(law, 1) + (1 - p) * np.roll(law, -1)
        out = rejects(n, place)
        rejected += law[out].sum()
        law[out] = 0.0
        inside = accepts(n, place)
        accepted += law[inside].sum()
        law[inside] = 0.0
    return rejected, accepted, mean


@pytest.fixture(scope="module")
def rule():
    """The regions of the test of mean 0 at level and miss 0.05 for steps of +-1 and effect 0.4."""
    stream = NormalMixture(1.0, 0.05, effect=0.4)

    def rejects(n, s):
        return np.abs(s) > n * stream.half_width(n)

    def accepts(n, s):
        return np.abs(s) + n * stream.half_width(n) < 0.4 * n

    half = stream.half_width(np.arange(1, 1000))
    return 1 + int(np.argmax(2 * half <= 0.4 * (1 - 1e-9))), rejects, accepts


def test_a_true_mean_is_rejected_less_often_than_the_level_exactly(rule):
    # exact: 0.0221 of 0.05 (the walk jumps over the boundary by part of a step of 1)
    rejected, accepted, _ = walked(0.5, *rule)
    assert 0.01 < rejected <= 0.05
    assert rejected + accepted == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("deviation", [0.4, -0.4, 0.6])
def test_a_wrong_mean_passes_less_often_than_the_miss_exactly(rule, deviation):
    # +-1 with mean m is sub-Gaussian with standard deviation 1 whatever m (Hoeffding)
    rejected, accepted, _ = walked((1 + deviation) / 2, *rule)
    assert accepted <= 0.05
    assert rejected + accepted == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("mean", [0.0, 0.2, 0.4])
def test_the_test_decides_as_often_and_as_early_as_the_exact_law_says(rule, mean, rng):
    p, runs = (1 + mean) / 2, 150
    rejected, _, length = walked(p, *rule)
    told = {"effect": 0.4, "std": 1, "level": 0.05, "miss": 0.05, "batch": 47, "rng": rng}
    found = [sequential_mean(lambda n, r: 2 * coins(p)(n, r) - 1, 0.0, **told) for _ in range(runs)]
    assert agrees(share(found)[0], runs, rejected)
    sizes = np.array([stopped(e) for e in found])
    assert abs(sizes.mean() - length) < norm.isf(LEVEL / 2) * sizes.std() / math.sqrt(runs)


def test_a_decision_is_sure_at_the_largest_sample_size_and_not_before(rule, rng):
    # samples that are all effect / 2: neither far from 0 nor within the effect, to the last
    told = {"effect": 0.4, "std": 1, "level": 0.05, "miss": 0.05, "rng": rng}
    sure, *_ = rule
    found = sequential_mean(lambda n, rng: np.full(n, 0.2), 0.0, **told)
    assert found.finite
    assert stopped(found) == sure
    assert not sequential_mean(lambda n, rng: np.full(n, 0.2), 0.0, maximum=sure - 1, **told).finite


def test_a_sample_size_that_is_too_small_to_decide_is_no_evidence(rng):
    found = sequential_mean(normal(), 0.0, effect=0.1, std=1, maximum=50, rng=rng)
    assert not found.finite
    assert not found.stands


@pytest.mark.parametrize(
    ("deviation", "most"),
    # of the samples of the fixed test, 111: without noise the boundaries are reached at 38 and 36,
    # and noise costs the acceptance another ten; a deviation of twice the effect costs a quarter
    [(0.0, 0.55), (0.1, 0.45), (0.2, 0.12)],
)
def test_it_takes_fewer_samples_than_the_fixed_test_of_the_same_power(deviation, most, rng):
    fixed = samples_for_mean(0.1)
    told = {"effect": 0.1, "std": 1, "rng": rng}
    found = [sequential_mean(normal(deviation), 0.0, **told) for _ in range(40)]
    assert share(found) == (0 if deviation == 0 else 40, 40)
    assert np.mean([stopped(e) for e in found]) < most * fixed
    assert max(stopped(e) for e in found) < 1.4 * fixed


def test_a_mean_within_an_interval_is_rejected_less_often_than_the_level(rng):
    told = {"effect": 0.1, "within": (0, 1), "level": 0.1, "miss": 0.1, "batch": 300, "rng": rng}
    found = [sequential_mean(coins(0.3), 0.3, **told) for _ in range(150)]
    assert all(e.finite for e in found)
    assert share(found)[0] <= binom.isf(LEVEL, 150, 0.1)


@pytest.mark.parametrize("deviation", [0.1, -0.1, 0.25])
def test_a_wrong_mean_within_an_interval_passes_less_often_than_the_miss(deviation, rng):
    told = {"effect": 0.1, "within": (0, 1), "level": 0.1, "miss": 0.1, "batch": 300, "rng": rng}
    found = [sequential_mean(coins(0.3 + deviation), 0.3, **told) for _ in range(150)]
    rejected, runs = share(found)
    assert runs - rejected <= binom.isf(LEVEL, 150, 0.1)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_within_an_interval_each_of_two_sequences_has_half_of_each_level(p):
    told = {"effect": 0.05, "level": 0.05, "miss": 0.2, "batch": 5000}
    found = sequential_mean(coins(p), p, within=(0, 1), rng=np.random.default_rng(2), **told)
    x = coins(p)(5000, np.random.default_rng(2))[: int(stopped(found))]
    hoeffding = NormalMixture(0.5, 0.025, effect=0.05).update(x)
    bernstein = EmpiricalBernstein((0, 1), 0.025, effect=0.05).update(x)
    assert bool(bernstein.upper[-1] < hoeffding.upper[-1]) == (p == 0.05)
    both = hoeffding & bernstein
    assert found.series[0].y[-1] == both.lower[-1]
    assert found.series[1].y[-1] == both.upper[-1]
    # the last sample size: Hoeffding's, for a standard deviation of 1/2 at half of each level
    told = {"effect": 0.05, "std": 0.5, "level": 0.025, "miss": 0.1}
    alone = sequential_mean(coins(p), p, rng=np.random.default_rng(2), **told)
    last = [e.tolerance_from.split("at most ")[1].split(";")[0] for e in (found, alone)]
    assert last[0] == last[1]


def test_a_small_variance_within_an_interval_is_used(rng):
    # std 1/16 of the interval: the assumption of the worst case takes (16 / 2)^2 times as long
    told = {"effect": 0.005, "rng": rng}
    used = sequential_mean(lambda n, r: r.beta(30, 30, n), 0.5, within=(0, 1), **told)
    worst = sequential_mean(lambda n, r: r.beta(30, 30, n), 0.5, std=0.5, **told)
    assert used.stands
    assert worst.stands
    assert stopped(used) < stopped(worst) / 20


def test_a_rare_event_may_have_a_wrong_mean_beyond_the_interval(rng):
    # expected - effect < 0: no wrong law lies there
    told = {"effect": 0.01, "within": (0, 1), "rng": rng}
    assert sequential_mean(coins(0.002), 0.002, **told).stands
    assert not sequential_mean(coins(0.012), 0.002, **told).stands


def test_the_evidence_says_where_it_stopped_and_plots_how(rng):
    found = sequential_mean(normal(), 0.0, effect=0.5, std=1, rng=rng, what="the mean")
    lower, upper = found.series
    assert (found.kind, found.what, found.relation) == ("law", "the mean", "equal")
    assert lower.x == upper.x
    assert lower.y[-1] == pytest.approx(found.measured - found.tolerance)
    assert upper.y[-1] == pytest.approx(found.measured + found.tolerance)
    assert f"n = {stopped(found):g} of at most" in found.tolerance_from
    assert "level 2e-07" in found.tolerance_from


# the variance


def test_a_true_variance_is_rejected_less_often_than_the_level(rng):
    told = {"ratio": 1.4, "mean": 2.0, "level": 0.1, "miss": 0.1, "batch": 100, "rng": rng}
    found = [sequential_variance(normal(2.0, 3.0), 9.0, **told) for _ in range(150)]
    assert all(e.finite for e in found)
    assert share(found)[0] <= binom.isf(LEVEL, 150, 0.1)


@pytest.mark.parametrize("ratio", [1.4, 1 / 1.4, 2.5, 0.1])
def test_a_wrong_variance_passes_less_often_than_the_miss(ratio, rng):
    told = {"ratio": 1.4, "level": 0.1, "miss": 0.1, "batch": 100, "rng": rng}
    found = [sequential_variance(normal(0, ratio**0.5), 1.0, **told) for _ in range(100)]
    assert all(e.finite for e in found)
    rejected, runs = share(found)
    assert runs - rejected <= binom.isf(LEVEL, 100, 0.1)


def test_a_variance_in_another_unit_is_decided_alike(rng):
    # a factor of 2 on the data, exact in floating point
    told = {"ratio": 1.3}
    one = sequential_variance(normal(), 1.0, rng=np.random.default_rng(3), **told)
    two = sequential_variance(normal(0, 2), 4.0, rng=np.random.default_rng(3), **told)
    assert stopped(one) == stopped(two)
    assert two.measured == pytest.approx(4 * one.measured, rel=1e-14)


def test_samples_that_do_not_vary_are_rejected_at_once_by_finite_evidence(rng):
    found = sequential_variance(lambda n, rng: np.zeros(n), 1.0, ratio=1.1, rng=rng)
    assert found.finite
    assert not found.stands


def test_constant_samples_show_a_decision_that_is_sure_for_a_variance(rng):
    # a mean square of sqrt(ratio) is the hardest: it is decided, and close to the end
    told = {"ratio": 1.3, "rng": rng}
    found = sequential_variance(lambda n, rng: np.full(n, 1.3**0.25), 1.0, **told)
    assert found.finite
    end = int(found.tolerance_from.split("at most ")[1].split(";")[0])
    assert 0.5 * end < stopped(found) <= end


# a success probability against a named wrong one


def ratio_walk(truth, p, q, level, miss):
    """P(rejected), P(accepted), P(undecided), E n of the ratio test, by its walk over successes."""
    up, down = -math.log(level), -math.log(miss)
    affinity = math.sqrt(p * q) + math.sqrt((1 - p) * (1 - q))
    end = math.ceil(max(up + down / 2, down + up / 2) / -math.log(affinity))
    law, k = np.zeros(end + 1), np.arange(end + 1)
    law[0] = 1.0
    rejected = accepted = mean = 0.0
    for n in range(1, end + 1):
        mean += law.sum()
        law = (1 - truth) * law + truth * np.concatenate([[0.0], law[:-1]])
        ratio = k * math.log(q / p) + (n - k) * math.log((1 - q) / (1 - p))
        rejected, accepted = rejected + law[ratio > up].sum(), accepted + law[ratio < -down].sum()
        law[(ratio > up) | (ratio < -down)] = 0.0
    return rejected, accepted, law.sum(), mean


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.6), (0.9, 0.8), (0.05, 0.1)])
@pytest.mark.parametrize(("level", "miss"), [(0.05, 0.1), (0.01, 0.001), (LEVEL, MISS)])
def test_walds_errors_are_at_most_as_stated_exactly(p, q, level, miss):
    rejected, accepted, undecided, _ = ratio_walk(p, p, q, level, miss)
    assert level / 2 < rejected <= level  # the walk leaves by a part of a step, not by more
    assert undecided <= level
    rejected, accepted, undecided, _ = ratio_walk(q, p, q, level, miss)
    assert miss / 2 < accepted <= miss
    assert undecided <= miss


def test_a_truth_on_the_far_side_is_rejected_more_rarely_still():
    assert ratio_walk(0.48, 0.5, 0.6, 0.05, 0.05)[0] < ratio_walk(0.5, 0.5, 0.6, 0.05, 0.05)[0]
    assert ratio_walk(0.62, 0.5, 0.6, 0.05, 0.05)[1] < ratio_walk(0.6, 0.5, 0.6, 0.05, 0.05)[1]


@pytest.mark.parametrize("truth", [0.5, 0.55, 0.6])
def test_the_ratio_test_decides_as_the_exact_walk_does(truth, rng):
    runs, told = 300, {"level": 0.05, "miss": 0.1, "batch": 83, "rng": rng}
    rejected, _, undecided, length = ratio_walk(truth, 0.5, 0.6, 0.05, 0.1)
    found = [sprt(coins(truth), 0.5, 0.6, **told) for _ in range(runs)]
    assert agrees(share(found)[0], runs, rejected)
    assert agrees(sum(not e.finite for e in found), runs, undecided)
    sizes = np.array([stopped(e) for e in found])
    assert abs(sizes.mean() - length) < norm.isf(LEVEL / 2) * sizes.std() / math.sqrt(runs)


def test_walds_test_takes_fewer_samples_than_the_fixed_one():
    # exact, at the default levels: 0.31 and 0.28 of the fixed test's (for small effects it is
    # 2 log(1/miss) / (z + z')^2 = 34 / 111 and 2 log(1/level) / (z + z')^2 = 31 / 111)
    fixed = samples_for_mean(0.1 / 0.5, std_ratio=0.24**0.5 / 0.5)
    assert ratio_walk(0.5, 0.5, 0.6, LEVEL, MISS)[3] < fixed / 3
    assert ratio_walk(0.6, 0.5, 0.6, LEVEL, MISS)[3] < fixed / 3


# p-values again and again


class MoreWanted(Exception):
    """The test asks for another step."""


def answer(ps, level, repeats):
    """What the test says to these p-values, one a step."""
    given = iter(ps)

    def pvalues(n):
        for p in given:
            return [p]
        raise MoreWanted

    try:
        found = sequential_p(pvalues, samples=1, level=level, repeats=repeats)
    except MoreWanted:
        return "goes on"
    return "accepts" if found.stands else "rejects"


def edges(level, repeats):
    """(where a step stops to reject, where it begins to accept), step by step, by bisection."""

    def edge(ps, low, high, below):
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if answer([*ps, middle], *told) in below else (low, middle)
        return high

    told, ps, found = (level, repeats), [], []
    for _ in range(repeats):
        found.append((edge(ps, 0, 1, {"rejects"}), edge(ps, 0, 1, {"rejects", "goes on"})))
        ps.append(sum(found[-1]) / 2)
    return found


@pytest.mark.parametrize(("level", "repeats"), [(0.05, 1), (0.05, 3), (1e-5, 7), (LEVEL, 7)])
def test_repeated_p_values_reject_a_true_claim_exactly_as_often_as_the_level(level, repeats):
    rejected, reached = 0.0, 1.0
    for low, high in edges(level, repeats):
        rejected += reached * low  # uniform p-values, independent
        reached *= high - low
    assert rejected == pytest.approx(level, rel=1e-12)


def test_the_steps_are_the_papers():
    # Gandy and Scott's defaults: level 1e-5, 7 steps, so beta = 1.43e-6 and gamma = 0.146
    beta, gamma = 1e-5 / 7, (1e-5 / 7) ** (1 / 7)
    for i, (low, high) in enumerate(edges(1e-5, 7)[:-1]):
        assert low == pytest.approx(beta / gamma**i, rel=1e-12)
        assert high == pytest.approx(gamma + beta / gamma**i, rel=1e-12)


@given(st.floats(1e-6, 0.3), st.integers(1, 8), st.lists(st.floats(0, 1), min_size=8, max_size=8))
@settings(deadline=None, max_examples=40)
def test_a_discrete_or_cautious_p_value_rejects_no_more_often(level, repeats, fractions):
    # P(q <= u) <= u, else arbitrary: step i rejects with probability r <= beta_i and rejects or
    # goes on with at most gamma + beta_i; worked back from the last step
    beta, gamma = level / repeats, ambiguous_level(level, repeats)
    rejected = 0.0
    for i in reversed(range(repeats)):
        edge = beta / gamma**i
        r = fractions[i] * edge
        rejected = r + min(gamma + edge - r, 1) * rejected
    assert rejected <= level * (1 + 1e-12)


def test_repeated_p_values_miss_a_shift_no_more_often_than_promised():
    # z-tests of a mean, of a size at which the one at gamma misses the shift with miss / k
    level, k, miss, shift = 1e-3, 4, 0.02, 0.1
    gamma = ambiguous_level(level, k)
    n = math.ceil(((norm.isf(gamma / 2) + norm.isf(miss / k)) / shift) ** 2)

    def below(p, n):
        z = norm.isf(p / 2)
        return norm.sf(z - shift * math.sqrt(n)) + norm.cdf(-z - shift * math.sqrt(n))

    missed, reached = 0.0, 1.0
    for i, (low, high) in enumerate(edges(level, k)):
        size = n if i == 0 else 4 * n
        missed += reached * (1 - below(high, size))
        reached *= below(high, size) - below(low, size)
    assert missed <= miss
    fixed = ((norm.isf(level / 2) + norm.isf(miss)) / shift) ** 2
    assert n < 0.75 * fixed


def test_several_p_values_are_combined_by_bonferroni():
    level = 0.01
    for count in (1, 2, 5):
        edge = level / 7 / count
        for factor, stands in ((0.999, False), (1.001, None)):
            seen = iter([[0.9] * (count - 1) + [factor * edge], [1.0]])
            found = sequential_p(lambda n, seen=seen: next(seen), samples=1, level=level)
            assert found.stands is (stands is None)


def test_samples_grow_once_after_the_first_step():
    seen = []
    told = {"samples": 10, "level": 1e-5, "repeats": 4, "growth": 2.5}  # gamma is 0.04
    sequential_p(lambda n: seen.append(n) or [0.01], **told)
    assert seen == [10, 25, 25, 25]
    seen.clear()
    sequential_p(lambda n: seen.append(n) or [0.1], **told)
    assert seen == [10]


def test_a_p_value_of_zero_is_a_rejection_by_finite_evidence():
    found = sequential_p(lambda n: np.array([0.0, 1.0]), samples=1)
    assert found.finite
    assert not found.stands


def test_a_p_value_that_is_no_number_is_no_evidence():
    assert not sequential_p(lambda n: [NAN, 0.0], samples=1).finite


# all of them

TESTS = {
    "mean": lambda draw, rng: sequential_mean(draw, 0.5, effect=0.2, std=0.5, rng=rng),
    "mean within": lambda draw, rng: sequential_mean(draw, 0.5, effect=0.2, within=(0, 1), rng=rng),
    "variance": lambda draw, rng: sequential_variance(draw, 0.5, ratio=1.5, rng=rng),
    "ratio": lambda draw, rng: sprt(draw, 0.5, 0.7, rng=rng),
    "p": lambda draw, rng: sequential_p(
        lambda n: binom.cdf(draw(n, rng).sum(), n, 0.5), samples=100
    ),
}


@pytest.fixture(params=list(TESTS))
def decide(request):
    """Each test, of a coin that should be fair."""
    return TESTS[request.param]


def test_the_same_seed_gives_the_same_evidence(decide):
    one, two = (decide(coins(0.5), np.random.default_rng(11)) for _ in range(2))
    assert one == two


def test_evidence_is_of_a_law_and_says_where_its_tolerance_comes_from(decide, rng):
    found = decide(coins(0.5), rng)
    assert found.kind == "law"
    assert "level" in found.tolerance_from
    assert found.stands
    assert found.series


@pytest.mark.parametrize("value", [NAN, math.inf])
@pytest.mark.parametrize("name", ["mean", "variance", "ratio"])
def test_samples_that_are_no_numbers_are_no_evidence(name, value, rng):
    calls = []

    def draw(n, rng):
        calls.append(n)
        return np.where(np.arange(n) == 3, value, 0.5 if name != "ratio" else 1.0)

    assert not TESTS[name](draw, rng).finite
    assert len(calls) <= 3


def test_torch_samples_are_decided_like_numpy_ones(rng):
    torch = pytest.importorskip("torch")

    def draw(n, rng):
        return torch.as_tensor(coins(0.5)(n, rng), dtype=torch.float32)

    one = TESTS["mean"](draw, np.random.default_rng(5))
    assert one == TESTS["mean"](coins(0.5), np.random.default_rng(5))


# in a suite

SUITE = '''
"""Coins and bells."""
import numpy as np
from fewtheory.verify import claim, sequential_mean, sequential_p, sequential_variance, sprt, wrong

def fair(n, rng):
    return (rng.random(n) < 0.5) * 1.0

def bent(n, rng):
    """Falls on one side more often."""
    return (rng.random(n) < 0.6) * 1.0

def lost(n, rng):
    """Is lost."""
    return np.full(n, np.nan)

@claim("C1", kind="law", of=fair, saboteurs=[bent])
def mean(draw, rng):
    """The mean is 1/2."""
    return sequential_mean(draw, 0.5, within=(0, 1), effect=0.1, rng=rng)

@claim("C2", kind="law", of=fair, saboteurs=[bent])
def ratio(draw, rng):
    """It is 1/2, not 0.6."""
    return sprt(draw, 0.5, 0.6, rng=rng)

@claim("C3", kind="law", of=fair, saboteurs=[lost])
def lost_mean(draw, rng):
    """The mean is 1/2, and a coin is not lost."""
    return sequential_mean(draw, 0.5, within=(0, 1), effect=0.1, rng=rng)

@claim("C4", kind="law", of=fair, saboteurs=[bent])
def undecided(draw, rng):
    """The mean is 1/2, from ten samples."""
    return sequential_mean(draw, 0.5, within=(0, 1), effect=0.1, rng=rng, maximum=10)

@claim("C5", kind="law", of=fair, saboteurs=[bent])
def blind(draw, rng):
    """The mean is 1/2, but for 0.4."""
    return sequential_mean(draw, 0.5, within=(0, 1), effect=0.4, rng=rng)
'''


def test_claims_that_stop_early_are_decided_by_the_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(fewtheory.suites, "__path__", [*fewtheory.suites.__path__, str(tmp_path)])
    (tmp_path / "coins_and_bells.py").write_text(SUITE)
    importlib.invalidate_caches()
    found = run("coins-and-bells", jobs=1)
    sys.modules.pop("fewtheory.suites.coins_and_bells", None)
    assert [r.verdict for r in found] == ["holds", "holds", "error", "error", "blind"]
    assert "gave no finite evidence" in found[2].note
    assert found[3].note == "the evidence is not finite"


# bad input


def mean(draw=None, expected=0.5, **told):
    """A call of `sequential_mean` with one thing wrong."""
    told = {"effect": 0.1, "within": (0, 1), "rng": np.random.default_rng(0), **told}
    return sequential_mean(draw or coins(0.5), expected, **told)


def variance(draw=None, expected=1.0, **told):
    """A call of `sequential_variance` with one thing wrong."""
    told = {"ratio": 2, "rng": np.random.default_rng(0), **told}
    return sequential_variance(draw or normal(), expected, **told)


def ratio(draw=None, expected=0.5, wrong=0.6, **told):
    """A call of `sprt` with one thing wrong."""
    return sprt(draw or coins(0.5), expected, wrong, **{"rng": np.random.default_rng(0), **told})


@pytest.mark.parametrize(
    ("call", "where", "named"),
    [
        (lambda: mean(expected=NAN), "sequential_mean", "expected"),
        (lambda: mean(expected=1.5), "sequential_mean", "expected"),
        (lambda: mean(effect=0.0), "sequential_mean", "effect"),
        (lambda: mean(effect=math.inf), "sequential_mean", "effect"),
        (lambda: mean(std=1.0), "sequential_mean", "std"),
        (lambda: mean(within=None), "sequential_mean", "std"),
        (lambda: mean(within=None, std=-1.0), "sequential_mean", "std"),
        (lambda: mean(within=(1, 0)), "sequential_mean", "within"),
        (lambda: mean(level=0.0), "sequential_mean", "level"),
        (lambda: mean(miss=1.0), "sequential_mean", "miss"),
        (lambda: mean(batch=0), "sequential_mean", "batch"),
        (lambda: mean(maximum=0), "sequential_mean", "maximum"),
        (lambda: mean(lambda n, rng: np.full(n, 1.5)), "sequential_mean", "draw"),
        (lambda: mean(lambda n, rng: np.zeros((n, 1))), "sequential_mean", "draw"),
        (lambda: mean(lambda n, rng: np.zeros(n + 1)), "sequential_mean", "draw"),
        (lambda: mean(lambda n, rng: np.zeros(n) + 1j), "sequential_mean", "draw"),
        (lambda: variance(expected=0.0), "sequential_variance", "expected"),
        (lambda: variance(ratio=1.0), "sequential_variance", "ratio"),
        (lambda: variance(ratio=0.5), "sequential_variance", "ratio"),
        (lambda: variance(mean=math.inf), "sequential_variance", "mean"),
        (lambda: variance(level=2.0), "sequential_variance", "level"),
        (lambda: ratio(expected=0.0), "sprt", "expected"),
        (lambda: ratio(wrong=1.0), "sprt", "wrong"),
        (lambda: ratio(wrong=0.5), "sprt", "wrong"),
        (lambda: ratio(level=-0.1), "sprt", "level"),
        (lambda: ratio(batch=0), "sprt", "batch"),
        (lambda: ratio(lambda n, rng: np.full(n, 0.5)), "sprt", "draw"),
        (lambda: sequential_p(lambda n: [0.5], samples=0), "sequential_p", "samples"),
        (lambda: sequential_p(lambda n: [0.5], samples=1, level=1.0), "sequential_p", "level"),
        (lambda: sequential_p(lambda n: [0.5], samples=1, repeats=0), "sequential_p", "repeats"),
        (lambda: sequential_p(lambda n: [0.5], samples=1, growth=0.5), "sequential_p", "growth"),
        (lambda: sequential_p(lambda n: [1.5], samples=1), "sequential_p", "pvalues"),
        (lambda: sequential_p(lambda n: [], samples=1), "sequential_p", "pvalues"),
        (lambda: ambiguous_level(0.0), "ambiguous_level", "level"),
        (lambda: ambiguous_level(0.1, 0), "ambiguous_level", "repeats"),
    ],
)
def test_a_bad_argument_is_named(call, where, named):
    with pytest.raises(ValueError, match=f"{where}: {named} must be "):
        call()


@pytest.mark.parametrize("call", [mean, variance, ratio])
def test_what_is_no_generator_is_named(call):
    with pytest.raises(TypeError, match=r"rng must be a numpy\.random\.Generator"):
        call(rng=7)


def test_nothing_is_drawn_for_a_bad_argument():
    def draw(n, rng):
        raise AssertionError

    for call in (lambda: mean(draw, batch=0), lambda: variance(draw, maximum=0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            call()
