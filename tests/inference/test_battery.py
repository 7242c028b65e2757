"""The battery: one series or many calls, both axes, levels that hold."""

import math

import numpy as np
import pytest

from fewtheory.inference import battery, binomial_test, holm, interval, runs_test
from fewtheory.testbeds import BalancingSeries, MarkovCoin


def names(found):
    return [t.name for t in found.tests]


def test_its_parts_are_the_single_tests(rng, asarray):
    x = MarkovCoin(0.4, -0.1).sample(300, rng=rng)
    found = battery(asarray(x))
    by = {t.name: t for t in found.tests}
    assert by["rate"].p_value == binomial_test(int(x.sum()), 300)
    assert by["recency"].p_value == runs_test(x, "more").p_value
    assert (found.low, found.high) == interval(int(x.sum()), 300)
    asked = [t for t in found.tests if not math.isnan(t.p_value)]
    assert [t.adjusted for t in asked] == holm([t.p_value for t in asked]).tolist()


def test_negative_recency_is_seen_and_the_rate_is_fair_enough(rng):
    found = battery(MarkovCoin(0.5, -0.4).sample(2000, rng=rng))
    assert "recency" in found.rejected
    assert "rate" not in found.rejected
    assert found.correlation == pytest.approx(-0.4, abs=5 / math.sqrt(2000))
    assert found.verdict.startswith("rate within 0.05 of 1/2; memory: recency")


def test_streaks_are_asked_for_by_name(rng):
    x = MarkovCoin(0.5, 0.4).sample(1000, rng=rng)
    assert "recency" not in battery(x).rejected
    assert "streaks" in battery(x, "streaks").rejected
    assert "two-sided" in battery(x, "two-sided").rejected


def test_a_biased_memoryless_series_is_biased_alone(rng):
    found = battery((rng.random(400) < 0.9).astype(int))
    assert found.rejected == ("rate",)
    assert found.verdict == "rate not 1/2; no memory seen"
    untested = [t for t in found.tests if "expected counts below 5" in t.note]
    assert all(math.isnan(t.p_value) and math.isnan(t.adjusted) for t in untested)
    assert len(untested) >= 1


def test_a_constant_series_says_nothing_of_memory():
    found = battery([1] * 20)
    assert found.rejected == ("rate",)
    assert math.isnan(found.correlation)
    assert math.isnan(found.rate_given_memory)
    assert "one answer never came" in str(found)


def test_one_answer_is_enough_to_be_undecided():
    found = battery([1])
    assert found.rejected == ()
    assert found.verdict == "rate undecided; no memory seen"


def test_the_rate_is_judged_with_the_memory_too(rng):
    # a biased coin that alternates: the binomial test sees less than the one with the memory in it
    x = MarkovCoin(0.42, -0.5).sample(200, rng=rng)
    found = battery(x)
    assert found.rate_given_memory < binomial_test(int(x.sum()), 200)


def test_the_rate_given_memory_keeps_its_level(rng):
    runs = 800
    for rho in (-0.4, 0.4):
        x = MarkovCoin(0.5, rho).sample(200, rng=rng, series=runs)
        from fewtheory.inference.coins.battery import _alternation, _rate_given_memory

        p = []
        for one in x:
            moved, expected = _alternation([one], one.mean())
            count, length = np.array([one.sum()]), np.array([200])
            p.append(_rate_given_memory(count, length, 1 - moved / expected))
        share = np.mean(np.array(p) <= 0.05)
        # asymptotic: the estimated correlation adds O(1 / n) to a level of .05
        assert share == pytest.approx(0.05, abs=0.01 + 5 * math.sqrt(0.05 * 0.95 / runs))


def test_calls_show_their_spread(rng):
    found = battery(BalancingSeries(1.0, 1.0).sample(20, rng=rng, series=200))
    assert found.calls == 200
    assert "spread over calls" in found.rejected
    assert "spread over calls" not in names(battery(rng.integers(0, 2, (5, 20))))


def test_families_of_fair_series_are_rejected_with_at_most_the_level(rng):
    runs = 150
    x = rng.integers(0, 2, (runs, 60))
    wrong = np.mean([bool(battery(one).rejected) for one in x])
    assert wrong <= 0.05 + 5 * math.sqrt(0.05 * 0.95 / runs)


def test_exact_probabilities_are_followed_or_not(rng):
    q = 0.5 + rng.random(200) / 2
    x = (rng.random(200) < q).astype(int)
    followed = battery(x, probabilities=q).followed
    assert followed.p_value > 1e-4
    assert battery(x, probabilities=1 - q).followed.p_value < 1e-10
    assert battery(x).followed is None


def test_the_report_names_every_test(rng):
    found = battery(rng.integers(0, 2, 200))
    text = str(found)
    assert all(t.name in text for t in found.tests)
    assert "rate given memory" in text
    assert "within 0.05 of 1/2" in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: battery([0, 1], "luck"), "battery: alternatives must be one of"),
        (lambda: battery([0, 1], alpha=0), "battery: alpha must be strictly"),
        (lambda: battery([0, 1], margin=0.5), "equivalence_test: margin must be strictly"),
        (lambda: battery([0, 1], order=-1), "battery: order must be at least 0"),
        (lambda: battery([0, 1, 0], order=2), "ladder: x must be of 6 answers or more"),
        (lambda: battery([0, 9]), "battery: x must be of 0 and 1 only, got 9"),
        (lambda: battery([[0, 1], [9]]), r"battery: x\[1\] must be of 0 and 1 only"),
        (lambda: battery([0, 1], probabilities=[0.5]), "probabilities must be in"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
