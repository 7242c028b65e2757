"""The imperfect verifier: known answers, sums against quadrature, K* in fractions, bad input."""

import json
import math
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory.arrays import to_numpy
from fewtheory.inference import first_accept_estimates, pass_at_k
from fewtheory.inference.verifiers.counts import Counts
from fewtheory.testbeds import (
    BetaBetaTasks,
    BetaTasks,
    DirichletTasks,
    TaskKinds,
    first_accept,
)
from fewtheory.testbeds import _beta_moments as moments
from fewtheory.testbeds import verifier_optimum as best
from fewtheory.testbeds.verifier import exact

FILE = Path(__file__).parents[1] / "data" / "inference-flaws.json"
KNOWN = json.loads(FILE.read_text(encoding="utf-8"))
EPS = float(np.finfo(float).eps)


def kinds(i):
    return TaskKinds(tuple(i["prior"]), tuple(i["solve"]), i["soundness"], i["completeness"])


def beta(i):
    return BetaTasks(i["a"], i["b"], i["soundness"], i.get("completeness", 1))


def estimates(i):
    out = first_accept_estimates(Counts(i["n"], [i["true_accepts"]], [i["false_accepts"]]), i["k"])
    return np.stack([out.accuracy[0], out.wrong[0]], axis=1)


ANSWERS = [
    lambda i: kinds(i).utility(i["K"], i["fp_cost"]),
    lambda i: [kinds(i).best_attempts(lam) for lam in i["fp_cost"]],
    lambda i: beta(i).utility(i["K"], i["fp_cost"], i["sample_cost"]),
    lambda i: beta(i).utility(i["K"], i["fp_cost"], i["sample_cost"]),
    lambda i: beta(i).ceiling(),
    lambda i: [beta(i).best_attempts(lam) for lam in i["fp_cost"]],
    lambda i: beta(i).odds(i["k"]),
    lambda i: BetaBetaTasks(i["a"], i["b"], i["u"], i["v"]).odds(i["k"]),
    lambda i: pass_at_k(i["n"], i["correct"], i["k"]),
    estimates,
]


@pytest.mark.parametrize(
    ("known", "answer"),
    list(zip(KNOWN, ANSWERS, strict=True)),
    ids=[f"{i}: {k['what']}" for i, k in enumerate(KNOWN)],
)
def test_known_answers(known, answer):
    """Known to so many digits; float64 rounds numbers above 1 by more than 1e-14."""
    found = np.asarray(answer(known["inputs"]), dtype=float)
    expected = np.array(known["expected"], dtype=object)
    expected[expected == None] = math.inf  # noqa: E711
    expected = expected.astype(float)
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    found, expected = (np.where(np.isinf(v), 0.0, v) for v in (found, expected))
    assert np.all(np.abs(found - expected) <= known["tolerance"] * np.maximum(1, expected))


# one task


def test_outcomes_are_sums_over_attempts_on_every_array_library(asarray):
    r = asarray(np.array([0.0, 0.13, 0.5, 1.0]))
    for K in (0, 1, 5):
        out = first_accept(r, K, 0.75, 0.9)
        a, f = 0.9 * to_numpy(r), 0.25 * (1 - to_numpy(r))
        made = ((1 - a - f)[:, None] ** np.arange(K)).sum(axis=1)
        # K powers and as many sums
        for found, expected in (
            (out.accuracy, a * made),
            (out.wrong, f * made),
            (out.attempts, made),
            (out.abstain, (1 - a - f) ** K),
        ):
            assert type(found) is type(r)
            assert to_numpy(found) == pytest.approx(expected, abs=(8 * K + 8) * EPS)


def test_a_rate_for_each_task_and_single_precision_are_kept(asarray):
    r = asarray(np.array([0.2, 0.7], dtype=np.float32))
    out = first_accept(r, 3, asarray(np.array([0.5, 0.9], dtype=np.float32)))
    assert out.accuracy.dtype == r.dtype
    alone = [first_accept(np.array([x]), 3, s).accuracy[0] for x, s in ((0.2, 0.5), (0.7, 0.9))]
    assert to_numpy(out.accuracy) == pytest.approx(alone, rel=16 * 1.2e-7)


def test_without_a_limit_a_task_that_is_never_accepted_abstains():
    out = first_accept(np.array([0.0, 0.4]), math.inf, 1.0)
    assert out.abstain.tolist() == [1.0, 0.0]
    assert out.accuracy.tolist() == [0.0, 1.0]
    assert out.attempts.tolist() == [math.inf, 2.5]


def test_tiny_rates_keep_their_digits():
    # K a (1 - (K - 1) a / 2 + ..), no cancellation of 1 - q^K
    out = first_accept(np.array([1e-14]), 10, 1.0)
    assert out.accuracy[0] == pytest.approx(1e-13 * (1 - 4.5e-14), rel=8 * EPS)


def test_outcomes_differentiate_in_the_solve_rate():
    import torch

    r = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    first_accept(r, 4, 0.8).accuracy.sum().backward()
    h = 1e-6
    up, down = (first_accept(np.array([0.3, 0.6]) + d, 4, 0.8).accuracy for d in (h, -h))
    # a third derivative of order ten times h^2, and roundings over h
    assert r.grad.numpy() == pytest.approx((up - down) / (2 * h), abs=10 * h**2 + 16 * EPS / h)


# worlds

WORLDS = [
    TaskKinds((0.3, 0.5, 0.2), (0.9, 0.4, 0.0), (0.5, 0.8, 1.0), 0.9),
    BetaTasks(0.6, 0.4, 0.8),
    BetaTasks(0.6, 0.4, 0.8, 0.7),
    BetaTasks(2.5, 0.3, 0.2, 0.3),
    BetaBetaTasks(0.34, 0.27, 3, 1),
    DirichletTasks(0.5, 0.2, 1.5),
]


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_outcomes_of_a_world_are_averages_over_its_tasks(world, rng):
    tasks = 200_000
    r, s, c = (np.broadcast_to(v, tasks) for v in world.rates(tasks, rng))
    for K in (1, 6):
        each = first_accept(np.array(r), K, np.array(s), np.array(c))
        out = world.outcomes(K)
        for name in ("accuracy", "wrong", "abstain", "attempts"):
            v = getattr(each, name)
            # five standard errors: one in a million each
            assert abs(v.mean() - getattr(out, name)) < 5 * v.std() / math.sqrt(tasks) + 1e-12


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_draws_count_what_the_world_says(world, rng):
    tp, fp, fn = world.draw(50_000, 7, rng=rng)
    r, s, c = world.rates(200_000, rng)
    for counts, p in ((tp, c * r), (fp, (1 - s) * (1 - r)), (fn, (1 - c) * r)):
        spread = counts.std() / 7 / math.sqrt(50_000) + np.std(p) / math.sqrt(200_000)
        assert abs(counts.mean() / 7 - np.mean(p)) <= 5 * spread + 1e-12
    assert np.all(tp + fp + fn <= 7)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_probabilities_add_up_and_accuracy_rises_to_the_limit(world):
    out = world.outcomes(np.arange(60))
    assert out.accuracy + out.wrong + out.abstain == pytest.approx(np.ones(60), abs=512 * EPS)
    assert np.all(np.diff(out.accuracy) >= 0)
    assert out.accuracy[-1] <= world.limit().accuracy + 512 * EPS
    assert world.odds([1]) == pytest.approx(out.wrong[1] / out.accuracy[1], rel=1e-10)


def test_a_torch_generator_draws_too():
    import torch

    tp, _, _ = BetaTasks(1, 1, 0.5).draw(10, 5, rng=torch.Generator().manual_seed(0))
    again, _, _ = BetaTasks(1, 1, 0.5).draw(10, 5, rng=torch.Generator().manual_seed(0))
    assert tp.tolist() == again.tolist()


def test_odds_do_not_vanish_with_the_probability_of_getting_there():
    far = 10**6  # q^k underflows
    assert BetaTasks(0.3, 0.25, 0.5).odds(far) == pytest.approx(0.5 * (0.25 + far - 1) / 0.3)
    two = TaskKinds((0.5, 0.5), (0.9, 0.2), 0.5)
    assert two.odds(far) == pytest.approx(0.5 * 0.8 / 0.2)
    some = BetaTasks(0.3, 0.25, 0.5, 0.9)
    assert some.odds([3]) == pytest.approx(some.terms(3)[1][2] / some.terms(3)[0][2], rel=1e-11)


@pytest.mark.parametrize(("s", "c"), [(0.8, 1.0), (0.999, 1.0), (0.8, 0.6), (0.2, 0.3)])
def test_the_ceiling_of_beta_tasks_is_a_hypergeometric_series(s, c):
    a, b = 0.7, 1.9
    with mpmath.workdps(30):
        z = (mpmath.mpf(s) + c - 1) / c
        exact_ = mpmath.mpf(a) / (a + b) * mpmath.hyp2f1(1, b, mpmath.mpf(a) + b + 1, z)
        attempts = mpmath.hyp2f1(1, b, mpmath.mpf(a) + b, z) / c
    out = BetaTasks(a, b, s, c).limit()
    # 1 - z loses as many digits as it has leading zeros
    assert out.accuracy == pytest.approx(float(exact_), rel=64 * EPS / (1 - s))
    assert out.attempts == pytest.approx(float(attempts), rel=64 * EPS / (1 - s))


@pytest.mark.parametrize("law", [(0.34, 0.27, 3.0, 1.0), (1.3, 13.5, 6.6, 0.3), (0.4, 2, 400, 90)])
def test_the_ceiling_of_beta_beta_tasks_is_the_sum_of_its_terms(law):
    world, M = BetaBetaTasks(*law), 200_000
    right, _, made = world.terms(M)
    a, _, _, v = law
    # what is left goes to right and wrong at odds v / a, but for O(1 / M) of it
    rest = made[-1] * a / (a + v)
    sum_error = 4 * sum(law) ** 2 / M * made[-1] + 1e-12
    assert world.ceiling() == pytest.approx(right.sum() + rest, abs=sum_error)


def test_expected_attempts_of_beta_beta_tasks():
    # r ~ Beta(a, b), s = 1 almost: E[1 / r] = (a + b - 1) / (a - 1)
    assert BetaBetaTasks(3, 2, 1e6, 1).limit().attempts == pytest.approx(2.0, rel=1e-4)
    assert BetaBetaTasks(0.3, 2, 3, 0.6).limit().attempts == math.inf
    world = BetaBetaTasks(2, 1, 3, 2)
    assert world.limit().attempts == pytest.approx(world.outcomes(10**5).attempts, rel=1e-6)


def test_dirichlet_tasks_are_beta_beta_tasks_with_u_plus_v_equal_to_b():
    for mine, theirs in zip(
        DirichletTasks(2, 1, 3).terms(40), BetaBetaTasks(2, 4, 3, 1).terms(40), strict=True
    ):
        assert mine == pytest.approx(theirs, rel=160 * EPS)


def test_a_moment_in_fractions_is_the_moment_in_floats():
    F = Fraction
    got = moments._exact_moment(F(3, 10), F(1, 4), F(3, 4), F(9, 10), 12, F(3, 10))
    found = moments.linear_moments(0.3, 0.25, 0.75, 0.9, 13)[12]
    assert found == pytest.approx(float(got), rel=256 * EPS)


# K*


def by_fractions(terms, most=400):
    """The smallest K to `most` of the greatest exact sum of w x^m, m < K."""
    K, best_K, total, best_total = 0, 0, Fraction(0), Fraction(0)
    powers = [w for w, _ in terms]
    for K in range(1, most + 1):
        total += sum(powers)
        powers = [p * x for p, (_, x) in zip(powers, terms, strict=True)]
        if total > best_total:
            best_K, best_total = K, total
    return best_K, best_total


tenths = st.integers(0, 20).map(lambda i: Fraction(i, 20))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 9), tenths, tenths, tenths), min_size=1, max_size=4),
    st.sampled_from([Fraction(1, 5), Fraction(1), Fraction(7, 2)]),
    st.sampled_from([Fraction(0), Fraction(1, 50)]),
)
def test_the_optimum_of_any_kinds_is_that_of_the_exact_sums(rows, lam, kappa):
    total = sum(row[0] for row in rows)
    P = [Fraction(row[0], total) for row in rows]
    r, s, c = ([row[i] for row in rows] for i in (1, 2, 3))
    world = TaskKinds(tuple(P), tuple(r), tuple(s), tuple(c))
    found = world.best_attempts(lam, kappa)
    terms = [(p * g, q) for p, g, q in world._gains(lam, kappa)]
    K, value = by_fractions(terms, 400 if found == math.inf else max(400, 2 * int(found)))
    if found != math.inf:
        assert found == K
    else:  # what follows K is a gain
        rest = [(w, x) for w, x in terms if w != 0]
        later = sum(w * x**K / (1 - x) for w, x in rest if x < 1)
        assert later > 0 or any(x == 1 and w > 0 for w, x in rest)
    assert value >= 0


def test_equal_kinds_and_kinds_that_are_never_accepted_do_not_matter():
    two = TaskKinds((0.58, 0.42), (0.87, 0.13), 0.75)
    more = TaskKinds((0.29, 0.29, 0.42), (0.87, 0.87, 0.13), 0.75)
    never = TaskKinds((0.29, 0.21, 0.5), (0.87, 0.13, 0.0), (0.75, 0.75, 1.0))
    for lam in (0.7, 1, 2, 20):
        assert two.best_attempts(lam) == more.best_attempts(lam) == never.best_attempts(lam)


def test_kinds_that_hardly_differ_have_a_late_optimum():
    # found by bisection, settled in fractions
    K = best.two_kinds_attempts((0.5, 0.5), (0.50001, 0.5), 0.999999, 999000)
    world = TaskKinds((0.5, 0.5), (0.50001, 0.5), 0.999999)
    assert world.best_attempts(999000) == K


def test_a_float_is_the_decimal_that_it_prints_as():
    # a / (lam (1 - s)) - b = 3 exactly; in binary 1 - 0.9 is too small, and the ceiling 4
    assert exact(0.1) == Fraction(1, 10)
    assert best.beta_attempts(0.35, 0.5, 0.9, 1) == 3
    assert math.ceil(0.35 / (1 * (1 - 0.9)) - 0.5) == 4


@settings(deadline=None, max_examples=40)
@given(
    *(st.integers(1, 60).map(lambda i: Fraction(i, 20)) for _ in range(2)),
    *(st.integers(1, 20).map(lambda i: Fraction(i, 20)) for _ in range(2)),
    st.integers(1, 80).map(lambda i: Fraction(i, 20)),
    st.sampled_from([Fraction(0), Fraction(1, 20)]),
)
def test_rejecting_right_answers_keeps_the_optimum_right(a, b, s, c, lam, kappa):
    world = BetaTasks(a, b, s, c)
    K = world.best_attempts(lam, kappa)
    U = np.asarray(world.utility(np.arange(300), float(lam), float(kappa)))
    value = world.limit().utility(float(lam), float(kappa)) if K == math.inf else (
        world.utility(int(K), float(lam), float(kappa)))  # fmt: skip
    assert value >= U.max() - 1e-11


@settings(deadline=None, max_examples=40)
@given(
    *(st.integers(1, 60).map(lambda i: Fraction(i, 20)) for _ in range(4)),
    st.integers(1, 80).map(lambda i: Fraction(i, 20)),
    st.sampled_from([Fraction(1, 500), Fraction(1, 20)]),
)
def test_paid_attempts_on_beta_beta_tasks_have_a_last_one(a, b, u, v, lam, kappa):
    world = BetaBetaTasks(a, b, u, v)
    K = world.best_attempts(lam, kappa)
    U = world.utility(np.arange(6000), float(lam), float(kappa))
    assert K < 6000
    assert U[int(K)] >= U.max() - 1e-12
    assert K == 0 or U[int(K)] > U[int(K) - 1] - 1e-14


def test_a_verifier_that_rejects_nothing_makes_one_attempt():
    assert best.beta_attempts(5, 1, 0, 0.1) == 1
    assert BetaTasks(5, 1, 0).outcomes(50).attempts == 1.0


def test_rejections_that_speak_for_a_task():
    # s + c < 1: right answers are rejected more often than wrong ones
    world = BetaTasks(1, 1, Fraction(1, 10), Fraction(1, 5))
    assert world.best_attempts(Fraction(1, 10)) == math.inf
    assert world.best_attempts(20) == 0


# bad input

BAD = [
    (lambda: first_accept([0.5], 1, 0.5), "first_accept: solve must be an array of a real"),
    (lambda: first_accept(np.array([1.5]), 1, 0.5), r"first_accept: solve must be in \[0, 1\]"),
    (lambda: first_accept(np.array([np.nan]), 1, 0.5), r"solve must be in \[0, 1\]"),
    (lambda: first_accept(np.array([0.5]), -1, 0.5), "first_accept: K must be at least 0"),
    (lambda: first_accept(np.array([0.5]), 1.5, 0.5), "first_accept: K must be an integer"),
    (lambda: first_accept(np.array([0.5]), 1, 2), "first_accept: soundness must be"),
    (lambda: first_accept(np.array([0.5]), 1, 0.5, -1), "first_accept: completeness must be"),
    (lambda: TaskKinds((0.5, 0.6), (0.1, 0.2), 0.5), "TaskKinds: prior must be"),
    (lambda: TaskKinds((0.5, 0.5), (0.1, 1.2), 0.5), r"TaskKinds: solve must be in \[0, 1\]"),
    (lambda: TaskKinds((0.5, 0.5), (0.1,), 0.5), "TaskKinds: solve must be of shape"),
    (lambda: TaskKinds((1.0,), (0.1,), (0.5, 0.5)), "TaskKinds: soundness must be of shape"),
    (lambda: WORLDS[0].outcomes(-1), "TaskKinds.outcomes: K must be"),
    (lambda: WORLDS[0].outcomes(1.5), "TaskKinds.outcomes: K must be an integer"),
    (lambda: WORLDS[0].increments(0, 1), "TaskKinds.increments: k must be at least 1"),
    (lambda: WORLDS[0].best_attempts(-1), "TaskKinds.best_attempts: fp_cost must be"),
    (lambda: WORLDS[1].best_attempts(1, -1), "BetaTasks.best_attempts: sample_cost must be"),
    (lambda: WORLDS[1].outcomes([1.5]), "BetaTasks.outcomes: K must be integers in"),
    (lambda: WORLDS[1].odds(0), "BetaTasks.odds: k must be integers of at least 1"),
    (lambda: WORLDS[1].gap(-1), "BetaTasks.gap: K must be at least 0"),
    (lambda: WORLDS[1].draw(-1, 1, rng=np.random.default_rng(0)), "BetaTasks.draw: tasks must"),
    (lambda: BetaTasks(0, 1, 0.5), "BetaTasks: a must be positive"),
    (lambda: BetaTasks(1, -1, 0.5), "BetaTasks: b must be finite"),
    (lambda: BetaTasks(1, 1, 1.5), "BetaTasks: soundness must be"),
    (lambda: BetaBetaTasks(1, 1, 0, 1), "BetaBetaTasks: u must be positive"),
    (lambda: DirichletTasks(1, 1, math.nan), "DirichletTasks: reject must be finite"),
    (lambda: best.two_kinds_attempts((0.5, 0.5), (0.1, 0.9), 0.9, 1), "solve must be of the easy"),
    (lambda: best.two_kinds_attempts((0.5, 0.5), (0.9, 0.1), 0.1, 1, 0.5), "soundness must be gr"),
    (lambda: best.two_kinds_attempts((0.5, 0), (0.9, 0.1), 0.9, 1), "prior_2 must be positive"),
    (lambda: best.beta_attempts(1, 1, 0.5, math.inf), "beta_attempts: fp_cost must be finite"),
    (lambda: best.critical_cost(1.5, 0.5), "critical_cost: solve must be"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
