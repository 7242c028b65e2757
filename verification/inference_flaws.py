"""Inference Scaling fLaws (arXiv 2411.17501), claim by claim. Sheet `inference-flaws`.

Worlds before an imperfect verifier: easy and hard tasks, Beta, Beta-Beta and Dirichlet laws. What
is optimal is decided in fractions, sums are compared with quadrature, and estimators with all
orders listed. Where the authors' notebook is wrong its formula stands here as a saboteur.
"""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction

import numpy as np

from fewtheory.inference.verifiers import orderings as o
from fewtheory.inference.verifiers.counts import Counts
from fewtheory.inference.verifiers.orderings import first_accept_estimates, pass_at_k
from fewtheory.inference.verifiers.published import HUMANEVAL_PLUS, ceiling_line
from fewtheory.inference.verifiers.resampling import soundness_of_rates
from fewtheory.testbeds import _beta_moments as bm
from fewtheory.testbeds import verifier as v
from fewtheory.testbeds import verifier_optimum as best
from fewtheory.testbeds.verifier import first_accept
from fewtheory.testbeds.verifier_kinds import TaskKinds
from fewtheory.testbeds.verifier_laws import BetaBetaTasks, BetaTasks, DirichletTasks
from fewtheory.testbeds.verifier_optimum import (
    beta_attempts,
    beta_beta_attempts,
    dirichlet_attempts,
    two_kinds_attempts,
)
from fewtheory.verify import bound, claim, identity, law, limit, optimum, sabotage, wrong
from fewtheory.verify.power import samples_for_mean

PRIOR, SOLVE = ("0.58", "0.42"), ("0.87", "0.13")
TOY = (tuple(map(float, PRIOR)), tuple(map(float, SOLVE)), 0.75)
LLAMA = ((0.56, 0.44), (0.87382, 0.13824), 0.75160)
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 2, 4, 10)


def digits(value, expected, last, what):
    """Numbers that the sheet gives to so many digits: half a unit of the last."""
    return identity(value, expected, operations=1, eps=last / 2, scale=1.0, what=what)


def disagreements(found, truth, what):
    """No optimal K differs from the true one; math.inf equals itself alone."""
    number = sum(a != b for a, b in zip(found, truth, strict=True))
    return optimum(
        number, 0, tolerance=0.5, what=f"{what}, {len(truth)} worlds",
        tolerance_from="a whole number of disagreements, decided half way",
    )  # fmt: skip


# C1: a task's precision, and the ceiling


@claim(
    "C1a",
    kind="identity",
    of=first_accept,
    saboteurs=[
        sabotage(first_accept, "(1 - soundness) * (1 - solve)", "(1 - soundness) + 0 * solve",
                 "f = 1 - s, as if every attempt were wrong", inside=v.accepts),
        sabotage(first_accept, "a / safe * answered", "1 - (1 - a) ** K",
                 "false accepts do not end a run", inside=v.first_accept_of),
        sabotage(first_accept, "f / safe * answered", "f + 0 * answered",
                 "a wrong answer comes at the first attempt alone", inside=v.first_accept_of),
    ],
)  # fmt: skip
def precision_of_a_task(attempts):
    """On one task P(right | accept) = a / (a + f) for every K: resampling cannot change it; right,
    wrong and no answer have the probabilities of a sum over attempts, and add up to one."""
    r, s, c = np.array([0.87, 0.5, 0.13, 1e-6, 1.0]), 0.75, 0.9
    a, f = c * r, (1 - s) * (1 - r)
    for K in (1, 2, 7, 60):
        out = attempts(r, K, s, c)
        # K rejections: K products, and a sum over K attempts
        each = ((1 - a - f)[:, None] ** np.arange(K)).sum(axis=1)
        yield identity(out.precision, a / (a + f), operations=16, what=f"K = {K}: precision")
        yield identity(out.accuracy, a * each, operations=4 * K + 16, what=f"K = {K}: right")
        yield identity(out.wrong, f * each, operations=4 * K + 16, what=f"K = {K}: wrong")
        yield identity(out.accuracy + out.wrong + out.abstain, 1.0, operations=16, what="sum")


@claim(
    "C1b",
    kind="bound",
    of=first_accept,
    saboteurs=[
        sabotage(first_accept, "a / safe * answered", "K * a", "attempts add up",
                 inside=v.first_accept_of),
        sabotage(first_accept, "a / safe * answered", "a / safe * xp.exp(log_none)",
                 "the rejected are counted", inside=v.first_accept_of),
    ],
)  # fmt: skip
def accuracy_rises_to_the_ceiling(attempts):
    """A_K rises with K and stays below A_inf, on every task."""
    r = np.linspace(0.01, 0.99, 25)
    curve = np.stack([attempts(r, K, 0.75).accuracy for K in range(1, 40)])
    top = r / (r + 0.25 * (1 - r))
    yield bound(curve, np.broadcast_to(top, curve.shape), what="below A_inf")
    yield bound(np.diff(curve, axis=0), 0.0, side="at least", what="rises")


class AfterAnAccept(TaskKinds):
    """The kinds are weighed by whether they were accepted."""

    def outcomes(self, K):
        out = super().outcomes(K)
        return v.Outcomes(out.precision, out.wrong, out.abstain, out.attempts)


class Pooled(TaskKinds):
    """The ceiling is E a / E(a + f)."""

    def ceiling(self):
        return self.pooled_precision()


@claim("C1c", kind="identity", of=TaskKinds, saboteurs=[
    wrong(AfterAnAccept, "the kind is conditioned on after an accept"),
    wrong(Pooled, "pooled E a / E(a + f) = .8354 in place of the mean of ratios"),
])  # fmt: skip
def easy_and_hard(kinds):
    """In the toy world A_1 = .5592, A_2 = .644025, A_5 = .697646897161, A_20 = .716205125351 and
    A_inf = .716235875565; the pooled precision of one attempt is .8354."""
    world = kinds(*TOY)
    known = [0.5592, 0.644025, 0.697646897161, 0.716205125351]
    yield digits(world.outcomes([1, 2, 5, 20]).accuracy, known, 2e-12, "A_K")
    yield digits(world.ceiling(), 0.716235875565, 2e-12, "A_inf")
    yield digits(world.pooled_precision(), 0.8354, 1e-4, "pooled")


# C2: the optimal K of two kinds


def two_kind_worlds(n=2000):
    """Random worlds in two or three decimals, so that fractions are short: s + c > 1."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        P = round(rng.uniform(0.05, 0.95), 2)
        hard, easy = sorted(round(x, 2) for x in rng.uniform(0.02, 0.98, 2))
        s, c = round(rng.uniform(0.4, 0.99), 2), float(rng.choice([1.0, 0.9, 0.7]))
        lam = round(float(np.exp(rng.uniform(-2, 2.5))), 2)
        yield (P, round(1 - P, 2)), (easy + 0.01 * (easy == hard), hard), s, lam, c


def by_signs(world):
    """K* from the exact increments: their only change of sign is from + to -."""
    prior, solve, s, lam, c = world
    r, P = [v.exact(x) for x in solve], [v.exact(x) for x in prior]
    s, c, lam = v.exact(s), v.exact(c), v.exact(lam)
    gains = [c * x - lam * (1 - s) * (1 - x) for x in r]
    terms, q = [p * g for p, g in zip(P, gains, strict=True)], [s - (s + c - 1) * x for x in r]
    if gains[1] >= 0:
        return math.inf
    K = 0
    while sum(terms) > 0:
        terms = [t * x for t, x in zip(terms, q, strict=True)]
        K += 1
    return K


def threshold_without_soundness(prior, solve, s, lam, c=1):
    """Infinite below c r_2 / (1 - r_2), as if every wrong answer passed."""
    found = two_kinds_attempts(prior, solve, s, lam, c)
    if lam > c * solve[1] / (1 - solve[1]) and found == math.inf:
        return 1
    return found


@claim(
    "C2",
    kind="optimum",
    of=two_kinds_attempts,
    saboteurs=[
        sabotage(two_kinds_attempts, "math.ceil(real)", "math.floor(real)", "floor for ceil"),
        sabotage(two_kinds_attempts, "math.log(odds) / -_log_ratio(q1, q2)",
                 "math.log(odds) / -(2 * _log_ratio(q1, q2))",
                 "posterior in place of prior: the log ratio doubles"),
        sabotage(two_kinds_attempts, "near + 1 if odds * _power(q1 / q2, near) > 1 else near",
                 "near + 1", "at a tie the larger K"),
        threshold_without_soundness,
    ],
)  # fmt: skip
def optimal_k_of_two_kinds(attempts):
    """K* = ceil(log(P_1 g_1 / (P_2 |g_2|)) / log(q_2 / q_1)) is the first K of the greatest
    utility in 2000 random worlds, in exact ties, and is what the general search over exponential
    sums finds."""
    worlds = list(two_kind_worlds())
    found = [attempts(*w) for w in worlds]
    yield disagreements(found, [by_signs(w) for w in worlds], "signs of the increments")
    general = [TaskKinds(p, r, s, c).best_attempts(lam) for p, r, s, lam, c in worlds[:500]]
    yield disagreements(found[:500], general, "exponential sums")
    # P_1 g_1 q_1^m = P_2 |g_2| q_2^m at m = 2: r = (1/2, 0), q = (1/4, 1/2), g = (3/8, -1/4)
    tie = (Fraction(8, 11), Fraction(3, 11)), (Fraction(1, 2), 0), Fraction(1, 2), Fraction(1, 2)
    yield disagreements([attempts(*tie)], [by_signs((*tie, 1))], "a tie")


# C3: the published heat map


def notebook_rewards(kinds, lam, K):
    """The notebook's cumulative reward: both weights are the posterior's."""
    P, r, s, c = kinds._arrays()
    a, f = v.accepts(r, s, c)
    weights = P * (1 - a - f) ** np.arange(K)[:, None]
    post = weights / weights.sum(axis=1, keepdims=True)
    reached = (post * (1 - a - f) ** np.arange(K)[:, None]).sum(axis=1)
    return np.concatenate([[0.0], np.cumsum((post @ (a - lam * f)) * reached)])


class NotebookArgmax(TaskKinds):
    """The argmax of the notebook's float64 sums to K = 800: the published row."""

    def best_attempts(self, fp_cost, sample_cost=0):
        return int(notebook_rewards(self, fp_cost, 800).argmax())


class FloatArgmax(TaskKinds):
    """The argmax of a float64 cumulative sum to K = 800."""

    def best_attempts(self, fp_cost, sample_cost=0):
        right, failed, _ = self.terms(800)
        return int(np.concatenate([[0.0], np.cumsum(right - fp_cost * failed)]).argmax())


class Capped(TaskKinds):
    """The cap on K reported as an optimum."""

    def best_attempts(self, fp_cost, sample_cost=0):
        return min(super().best_attempts(fp_cost, sample_cost), 800)


@claim(
    "C3a",
    kind="optimum",
    of=TaskKinds,
    saboteurs=[
        wrong(NotebookArgmax, "the published row: the first K of a float64 plateau"),
        wrong(FloatArgmax, "argmax of a float64 cumulative sum"),
        wrong(Capped, "the largest K tried, reported as an optimum"),
    ],
    erratum="the published heat map's large optimal K (82, 81, 81, 80, 79, 76) are where float64 "
    "increments vanish: no number of attempts is optimal there",
)  # fmt: skip
def the_row_of_the_heat_map(kinds):
    """Llama 3.1 8B on HumanEval+: K* is infinite at the ratios .1 to .6, then 3, 2, 2, 2, 1, 1, 0
    at .7, .8, .9, 1, 2, 4, 10."""
    world = kinds(*LLAMA)
    truth = [math.inf] * 6 + [3, 2, 2, 2, 1, 1, 0]
    return disagreements([world.best_attempts(lam) for lam in RATIOS], truth, "ratios")


PUBLISHED = [82, 81, 81, 80, 79, 76, 3, 2, 2, 2, 1, 1, 0]


@claim(
    "C3b",
    kind="identity",
    of=notebook_rewards,
    saboteurs=[
        sabotage(notebook_rewards, "(post * (1 - a - f) ** np.arange(K)[:, None]).sum(axis=1)",
                 "weights.sum(axis=1)", "the prior's weights, which are the right ones"),
        sabotage(notebook_rewards, "np.concatenate([[0.0], np.cumsum((post @ (a - lam * f)) * "
                 "reached)])", "np.cumsum((post @ (a - lam * f)) * reached)",
                 "no attempt at all is not looked at"),
    ],
)  # fmt: skip
def where_the_published_row_comes_from(rewards):
    """The notebook's curve, its first argmax to K = 800, gives all 13 published cells: 82, 81, 81,
    80, 79, 76, 3, 2, 2, 2, 1, 1, 0."""
    world = TaskKinds(*LLAMA)
    cells = [int(rewards(world, lam, 800).argmax()) for lam in RATIOS]
    return identity(cells, PUBLISHED, operations=1, eps=0.5, scale=1.0, what="cells")


@claim("C3c", kind="identity", of=best.critical_cost, saboteurs=[
    sabotage(best.critical_cost, "(1 - r) * (1 - s)", "1 - r", "without the false-positive rate"),
    sabotage(best.critical_cost, "c * r", "1 - r", "the wrong solve rate"),
])  # fmt: skip
def where_the_optimum_becomes_finite(cost):
    """K* is finite just above lam_c = c r_2 / ((1 - r_2)(1 - s)) = .6458 and infinite at it."""
    lam_c = cost(LLAMA[1][1], LLAMA[2])
    yield digits(lam_c, 0.6458, 1e-4, "lam_c")
    world = TaskKinds(*LLAMA)
    r, s = v.exact(LLAMA[1][1]), v.exact(LLAMA[2])
    exact = r / ((1 - r) * (1 - s))
    yield identity(lam_c, float(exact), operations=4, what="in fractions")
    ends = [math.isinf(world.best_attempts(exact + d)) for d in (0, Fraction(1, 10**9))]
    yield identity(ends, [1, 0], operations=1, eps=0.5, scale=1.0, what="either side")


# C4: the survival weight


class NotebookUtility(TaskKinds):
    """The posterior mean of g times the posterior's survival."""

    def utility(self, K, fp_cost, sample_cost=0.0):
        return notebook_rewards(self, fp_cost, K)[-1]


class PosteriorMeans(TaskKinds):
    """The posterior mean of g alone: as if attempt k were always made."""

    def utility(self, K, fp_cost, sample_cost=0.0):
        right, failed, made = self.terms(K)
        return float(((right - fp_cost * failed) / made).sum())


@claim(
    "C4a",
    kind="identity",
    of=TaskKinds,
    saboteurs=[
        wrong(NotebookUtility, "survival weighed with the posterior: .5377, .3956, -.0781"),
        wrong(PosteriorMeans, "attempts after an accept are counted"),
    ],
    erratum="the notebook weighs the survival sum_i P_i q_i^{k-1} with the posterior, so its "
    "rewards are wrong (-.0781 for .1493 at ratio 2), though the sign of each increment is right",
)  # fmt: skip
def the_survival_weight(kinds):
    """The reward at K = 15 of the toy world at ratios .7, 1, 2 is .51764549, .43264674, .14931759:
    survival needs the prior's weights."""
    world = kinds(*TOY)
    found = [world.utility(15, lam) for lam in (0.7, 1, 2)]
    yield digits(found, [0.51764549, 0.43264674, 0.14931759], 1e-8, "known")
    r, s = np.array(TOY[1]), TOY[2]
    a, f = r, (1 - s) * (1 - r)
    sums = [
        sum(np.array(TOY[0]) @ ((1 - a - f) ** k * (a - lam * f)) for k in range(15))
        for lam in (0.7, 1, 2)
    ]
    yield identity(found, sums, operations=64, scale=1.0, what="sum over attempts")


@claim("C4b", kind="identity", of=notebook_rewards, saboteurs=[
    sabotage(notebook_rewards, "(post @ (a - lam * f)) * reached",
             "(post @ (a - lam * f)) * reached - 0.01", "a cost of attempts that is not there"),
    sabotage(notebook_rewards, "weights / weights.sum(axis=1, keepdims=True)", "P + 0 * weights",
             "no learning from rejections"),
])  # fmt: skip
def the_notebook_errs_in_size_not_in_sign(rewards):
    """The notebook's increments have the true signs for k to 15, and its rewards at K = 15 are
    .5377, .3956, -.0781."""
    world = TaskKinds(*TOY)
    for lam in (0.7, 1, 2):
        right, failed, _ = world.terms(15)
        signs = np.sign(np.diff(rewards(world, lam, 15)))
        truth = np.sign(right - lam * failed)
        yield identity(signs, truth, operations=1, eps=0.5, scale=1.0, what=f"signs at {lam}")
    found = [rewards(world, lam, 15)[-1] for lam in (0.7, 1, 2)]
    yield digits(found, [0.5377, 0.3956, -0.0781], 1e-4, "rewards")


# C5: Beta solve rates


def jacobi(a, b, n=8):
    """Nodes and weights of E[f(r)] for r ~ Beta(a, b), exact for polynomials to degree 2 n - 1."""
    from scipy.special import roots_jacobi

    x, w = roots_jacobi(n, b - 1, a - 1)
    return (1 + x) / 2, w / w.sum()


def soundness_for_z(a, b, s, c, M):
    """2F1(-m, a; a + b; s) in place of z = (s + c - 1) / s."""
    return s ** np.arange(M) * bm.linear_moments(a, b, 1.0, s, M)


@claim(
    "C5a",
    kind="identity",
    of=bm.linear_moments,
    saboteurs=[
        soundness_for_z,
        sabotage(bm.linear_moments, "(a + b + m)", "(a + b + m + 1)", "one step on"),
        sabotage(bm.linear_moments, "ratio_products(b, a + b, M)",
                 "ratio_products(b + 1, a + b, M)", "B(a, b + m) is off by one"),
    ],
)  # fmt: skip
def moments_of_a_rejection(moments):
    """E[q^m] = s^m 2F1(-m, a; a + b; z), z = (s + c - 1) / s, against Gauss-Jacobi quadrature."""
    for c in (1.0, 0.9):
        for a, b in ((0.6, 0.4), (1.6, 0.4), (0.6, 1.4)):
            r, w = jacobi(a, b)
            q = 0.8 - (0.8 + c - 1) * r
            exact = w @ q[:, None] ** np.arange(13)
            # nodes and weights come from an eigenvalue problem: some hundred roundings
            found = moments(a, b, 0.8, c, 13)
            yield identity(found, exact, operations=512, scale=1.0, what=f"c = {c}, a = {a}")


class OffByOne(BetaTasks):
    """E[r q^m] with B(a + 1, b + m + 1)."""

    def terms(self, M):
        right, failed, made = super().terms(M + 1)
        return right[1:], failed[:-1], made[:-1]


class SoundnessForZ(BetaTasks):
    """The ceiling 2F1(1, a + 1; a + b + 1; -s)."""

    def limit(self):
        from scipy.special import hyp2f1

        a, b, s, _ = self._floats
        A = a / (a + b) * float(hyp2f1(1, a + 1, a + b + 1, -s))
        return v.Outcomes(A, 1 - A, 0.0, math.nan)


@claim("C5b", kind="identity", of=BetaTasks, saboteurs=[
    wrong(OffByOne, "B(a + 1, b + k) off by one"),
    wrong(SoundnessForZ, "-s for -s / (1 - s) in the ceiling, without 1 / (1 - s)"),
])  # fmt: skip
def utilities_of_beta_tasks(tasks):
    """U_K at a = .6, b = .4, s = .8, lam = .5, c in {1, .9}, K in {1, 4, 12} agrees with quadrature
    to 5e-13, and A_inf = .77408651532103."""
    r, w = jacobi(0.6, 0.4)
    for c in (1.0, 0.9):
        world = tasks(0.6, 0.4, 0.8, c)
        a, f = c * r, 0.2 * (1 - r)
        for K in (1, 4, 12):
            exact = sum(w @ ((a - 0.5 * f) * (1 - a - f) ** k) for k in range(K))
            yield identity(world.utility(K, 0.5), exact, operations=1, eps=5e-13, scale=1.0,
                           what=f"c = {c}, K = {K}")  # fmt: skip
    ceiling = tasks(0.6, 0.4, 0.8).limit().accuracy
    yield digits(ceiling, 0.77408651532103, 1e-14 + 1e-15, "A_inf")


# C6: K* without a logarithm


def grid_worlds():
    """960 worlds in fractions, ties among them."""
    F = Fraction
    return list(itertools.product(
        (F(1, 10), F(3, 10), F(1, 2), F(1), F(2)), (F(1, 4), F(1, 2), F(1), F(3)),
        (F(1, 2), F(3, 4), F(4, 5), F(9, 10)), (F(1, 10), F(1, 2), F(1), F(4)),
        (F(0), F(1, 100), F(1, 20)),
    ))  # fmt: skip


def by_moments(a, b, s, lam, kappa):
    """K* from the exact increments E[g q^m], moment by moment."""
    K, moment = 0, Fraction(1)  # E[(1 - r)^m]
    while True:
        after = moment * (b + K) / (a + b + K)  # E[(1 - r)^{m + 1}]
        gain = (moment - after) - lam * (1 - s) * after - kappa * moment
        if gain <= 0:
            return K
        moment, K = after, K + 1


def in_floats(a, b, s, lam, kappa=0):
    """The formula in float64."""
    a, b, s, lam, kappa = map(float, (a, b, s, lam, kappa))
    if lam * (1 - s) + kappa == 0 or s == 0:
        return beta_attempts(a, b, s, lam, kappa)
    return max(0, math.ceil(a * (1 - kappa) / (lam * (1 - s) + kappa) - b))


FORMULA = "math.ceil(a * (1 - kappa) / price - b)"


@claim(
    "C6a",
    kind="optimum",
    of=beta_attempts,
    saboteurs=[
        sabotage(beta_attempts, FORMULA, FORMULA.replace("ceil", "floor"), "floor for ceil"),
        sabotage(beta_attempts, FORMULA, FORMULA.replace("- b", "- b - 1"), "b + k for b + k - 1"),
        sabotage(beta_attempts, "a * (1 - kappa)", "a", "the attempt that is right is free"),
        in_floats,
    ],
)  # fmt: skip
def optimal_k_of_beta_tasks(attempts):
    """K* = max(0, ceil(a (1 - kappa) / (lam (1 - s) + kappa) - b)) in 960 worlds in exact
    fractions, ties among them; floats give another K in some."""
    worlds = grid_worlds()
    truth = [by_moments(*w) for w in worlds]
    yield disagreements([attempts(*w) for w in worlds], truth, "exact moments")
    found = [attempts(0.3, 0.25, 0.75, lam) for lam in (0.1, 0.5, 1, 4)]
    yield disagreements(found, [12, 3, 1, 1], "known")
    yield disagreements([attempts(1, 1, 1, 3), attempts(5, 1, 0, 0.1)], [math.inf, 1], "s = 1, 0")


class ConstantOdds(BetaTasks):
    """(1 - s) b / a whatever k is."""

    def odds(self, k):
        return np.full(np.shape(k), super().odds(1))


class Late(BetaTasks):
    """(1 - s)(b + k) / a."""

    def odds(self, k):
        return super().odds(np.asarray(k) + 1)


ODDS = [wrong(ConstantOdds, "odds constant in k"), wrong(Late, "b + k for b + k - 1")]


@claim("C6b", kind="identity", of=BetaTasks, saboteurs=ODDS)
def odds_grow_linearly(tasks):
    """The odds that an accept at attempt k is wrong are (1 - s)(b + k - 1) / a: .20833, 1.04167,
    2.70833, 6.04167 at k = 1, 2, 4, 8 for a = .3, b = .25, s = .75."""
    k = np.array([1, 2, 4, 8])
    found = tasks(0.3, 0.25, 0.75).odds(k)
    right, failed, _ = BetaTasks(0.3, 0.25, 0.75).terms(8)
    yield identity(found, failed[k - 1] / right[k - 1], operations=64, what="moments")
    yield digits(found, [0.20833, 1.04167, 2.70833, 6.04167], 1e-5, "known")


def accepts_at(r, s, last, rng):
    """(right, wrong) first accepts at attempts 1 .. last, tasks drawn one by one."""
    out, left = [], np.ones(len(r), dtype=bool)
    for _ in range(last):
        right = rng.random(len(r)) < r
        passed = right | (rng.random(len(r)) >= s)
        out.append((int((left & right).sum()), int((left & passed & ~right).sum())))
        left &= ~passed
    return out


def test_of_odds(counts, odds, tests, what):
    """The wrong ones among the accepts are binomial given their number."""
    right, failed = counts
    n, p = right + failed, float(odds) / (1 + float(odds))
    z = (failed - n * p) / math.sqrt(n * p * (1 - p))
    return law(z, what=what, n=n)


@claim("C6c", kind="law", of=BetaTasks, saboteurs=ODDS)
def odds_of_sampled_runs(tasks, rng):
    """In sampled runs accepts at attempts 1, 2, 4 are wrong with these odds; tasks enough to see
    b + k for b + k - 1 at k = 4."""
    p, other = (x / (1 + x) for x in (0.25 * 3.25 / 0.3, 0.25 * 4.25 / 0.3))
    n = samples_for_mean((other - p) / math.sqrt(p * (1 - p)), math.sqrt(other * (1 - other)
                         / (p * (1 - p))))  # fmt: skip
    right, failed, _ = BetaTasks(0.3, 0.25, 0.75).terms(4)
    total = math.ceil(1.05 * n / (right[3] + failed[3]))
    r = rng.beta(0.3, 0.25, total)
    counts, world = accepts_at(r, 0.75, 4, rng), tasks(0.3, 0.25, 0.75)
    for k in (1, 2, 4):
        yield test_of_odds(counts[k - 1], world.odds(k), 3, f"k = {k}")


# C7: a power law becomes an exponential


class PowerLaw(BetaTasks):
    """A power law for both."""

    def leading_gap(self, K):
        return BetaTasks(self.a, self.b, 1).leading_gap(K)


class SlowerPower(BetaTasks):
    """K^{-a} for K^{-a - 1}, and one power less for a perfect verifier."""

    def leading_gap(self, K):
        return K * super().leading_gap(K)


class OtherPower(BetaTasks):
    """K^{-b}: the exponent of tasks that are easy."""

    def leading_gap(self, K):
        return K ** (self.a - self.b) * super().leading_gap(K)


TAILS = [
    wrong(SlowerPower, "K^{-a} in place of K^{-a - 1}"),
    wrong(OtherPower, "the exponent is b's"),
]


@claim("C7a", kind="identity", of=BetaTasks, saboteurs=TAILS)
def perfect_verifier_known(tasks):
    """With a perfect verifier K^a (1 - pass@K) Gamma(b) / Gamma(a + b) is .99880, .99988, .999988
    at K = 100, 1000, 10000 for a = .6, b = .4."""
    world, true = tasks(0.6, 0.4, 1), BetaTasks(0.6, 0.4, 1)
    found = [true.gap(K) / world.leading_gap(K) for K in (100, 1000, 10000)]
    yield digits(found[:2], [0.99880, 0.99988], 1e-5, "known")
    yield digits(found[2], 0.999988, 1e-6, "known, K = 10000")
    yield identity(true.gap(500), true.outcomes(500).abstain, operations=1024, what="no success")


@claim("C7b", kind="rate", of=BetaTasks, saboteurs=TAILS)
def perfect_verifier(tasks):
    """Repeated sampling with a perfect verifier is a power law: the ratio tends to 1."""
    world, true, K = tasks(0.6, 0.4, 1), BetaTasks(0.6, 0.4, 1), 64 * 2 ** np.arange(6)
    return limit(1 / K, [true.gap(int(k)) / world.leading_gap(int(k)) for k in K], 1.0)


@claim("C7c", kind="identity", of=BetaTasks, saboteurs=[
    wrong(PowerLaw, "a power law for both"), *TAILS,
])  # fmt: skip
def imperfect_verifier_known(tasks):
    """At s = .8 A_inf - A_K over s^K K^{-a - 1} a Gamma(a + b) / (Gamma(b)(1 - s)) is .751, .917,
    .977 at K = 20, 80, 320; the tail formula is the difference, where that has digits."""
    world, true = tasks(0.6, 0.4, 0.8), BetaTasks(0.6, 0.4, 0.8)
    found = [true.gap(K) / world.leading_gap(K) for K in (20, 80, 320)]
    yield digits(found, [0.751, 0.917, 0.977], 1e-3, "known")
    tail = [true.gap(K) for K in (4, 12, 20)]
    gap = true.ceiling() - true.outcomes([4, 12, 20]).accuracy
    yield identity(gap, tail, operations=64, scale=1.0, what="difference")


@claim("C7d", kind="rate", of=BetaTasks, saboteurs=[
    wrong(PowerLaw, "a power law for both"), *TAILS,
])  # fmt: skip
def imperfect_verifier(tasks):
    """With an imperfect one it is an exponential: that ratio is 1 - O(1 / K)."""
    world, true, K = tasks(0.6, 0.4, 0.8), BetaTasks(0.6, 0.4, 0.8), 80 * 2 ** np.arange(6)
    return limit(1 / K, [true.gap(int(k)) / world.leading_gap(int(k)) for k in K], 1.0)


# C8: estimators


@claim(
    "C8a",
    kind="identity",
    of=first_accept_estimates,
    saboteurs=[
        sabotage(first_accept_estimates, "np.maximum(n - m - i, 0) / np.maximum(n - i, 1)",
                 "(n - m) / n", "with replacement", inside=o.all_rejected),
        sabotage(first_accept_estimates, "all_rejected(counts.n, counts.accepted, every)",
                 "all_rejected(counts.n, counts.tp, every)",
                 "c = tp only, so that a false accept does not end a run"),
        sabotage(first_accept_estimates, "np.maximum(counts.accepted, 1)", "counts.n",
                 "shares of all attempts, not of the accepts"),
    ],
)  # fmt: skip
def averages_over_all_orders(estimates):
    """n = 6, tp = 2, fp = 1, K = 3: right 19/30, wrong 19/60, by listing all 720 orders; likewise
    for no answer and the attempts made, at every K."""
    attempts, runs = ["right", "right", "wrong", *["reject"] * 3], {}
    for K in range(1, 7):
        tally = {"right": 0, "wrong": 0, "reject": 0, "made": 0}
        for order in itertools.permutations(range(6)):
            seen = [attempts[i] for i in order[:K]]
            first = next((i for i, x in enumerate(seen) if x != "reject"), K - 1)
            tally[seen[first]] += 1
            tally["made"] += first + 1
        runs[K] = [tally[x] / 720 for x in ("right", "wrong", "reject", "made")]
    out = estimates(Counts(6, [2], [1]), list(runs))
    found = np.stack([out.accuracy[0], out.wrong[0], out.abstain[0], out.attempts[0]], axis=1)
    yield identity(found, list(runs.values()), operations=32, scale=1.0, what="all K")
    known = [19 / 30, 19 / 60]
    yield identity(found[2, :2], known, operations=16, what="known")


def plug_in(n, correct, k):
    """1 - (1 - c / n)^k: biased low."""
    return 1 - (1 - np.asarray(correct) / n) ** k


@claim(
    "C8b",
    kind="identity",
    of=pass_at_k,
    saboteurs=[
        plug_in,
        sabotage(pass_at_k, "np.maximum(n - many - i, 0)", "np.maximum(n - many - i - 1, 0)",
                 "off by one", inside=o._missed),
    ],
)  # fmt: skip
def unbiased_pass_at_k(estimate):
    """n = 9, p = 1/7, k = 4: the estimator's expectation is .4602249062890462 = 1 - (1 - p)^4;
    the plug-in's is .4033521697920791."""
    c = np.arange(10)
    weight = np.array([math.comb(9, i) * 6 ** (9 - i) / 7**9 for i in c])
    found = float(weight @ estimate(9, c, 4))
    yield identity(found, 1 - (6 / 7) ** 4, operations=64, scale=1.0, what="target")
    yield digits(found, 0.4602249062890462, 4e-16, "known")
    yield digits(float(weight @ plug_in(9, c, 4)), 0.4033521697920791, 4e-16, "plug-in")


# C9: seventeen models


def through_the_origin(base, ceilings):
    """No intercept."""
    found = ceiling_line(np.concatenate([base, -np.asarray(base)]),
                         np.concatenate([ceilings, -np.asarray(ceilings)]))  # fmt: skip
    return found


@claim(
    "C9a",
    kind="identity",
    of=ceiling_line,
    saboteurs=[
        through_the_origin,
        wrong(lambda x, y: ceiling_line(y, x), "A_1 over A_inf"),
        sabotage(ceiling_line, "float(dx @ dy) ** 2", "float(dx @ dy)", "r for r^2"),
    ],
)  # fmt: skip
def the_line_of_ceilings(line):
    """The 17 printed points (A_1, A_inf) of HumanEval+ have slope .21829, intercept .72471,
    R^2 .89182, and the line crosses .855 at A_1 = .597."""
    found = line(*zip(*((m.base, m.ceiling) for m in HUMANEVAL_PLUS), strict=True))
    numbers = [found.slope, found.intercept, found.r2]
    yield digits(numbers, [0.21829, 0.72471, 0.89182], 1e-5, "line")
    yield digits(found.reaches(0.855), 0.597, 1e-3, "crossing")


def models_below(accuracy):
    """How many models' ceilings lie below this."""
    return sum(m.ceiling < accuracy for m in HUMANEVAL_PLUS)


@claim("C9b", kind="identity", of=models_below, saboteurs=[
    sabotage(models_below, "m.ceiling < accuracy", "m.base < accuracy", "A_1 for A_inf"),
    sabotage(models_below, "m.ceiling < accuracy", "m.ceiling > accuracy", "above"),
])  # fmt: skip
def no_number_of_attempts_reaches_the_strongest(below):
    """12 of the 17 models have A_inf below the strongest model's A_1 = .855; each row's histogram
    counts 150 tasks."""
    strongest = max(m.base or 0.0 for m in HUMANEVAL_PLUS)
    yield identity(strongest, 0.855, operations=1, what="strongest")
    yield identity(below(strongest), 12, operations=1, eps=0.5, scale=1.0, what="below")
    totals = [sum(m.counts) for m in HUMANEVAL_PLUS]
    yield identity(totals, 150, operations=1, eps=0.5, scale=1.0, what="tasks")


# C10: soundness that varies


class MeanSoundness(BetaBetaTasks):
    """Soundness replaced by its mean u / (u + v)."""

    def _mean(self):
        return BetaTasks(self.a, self.b, self.u / (self.u + self.v))

    def odds(self, k):
        return self._mean().odds(k)


class FlatOdds(BetaBetaTasks):
    """v / a at every k, as in the Dirichlet law."""

    def odds(self, k):
        return np.full(np.shape(k), self.v / self.a)


SPREAD = [
    wrong(MeanSoundness, "soundness replaced by its mean"),
    wrong(FlatOdds, "odds v / a from the start"),
]


@claim("C10a", kind="identity", of=BetaBetaTasks, saboteurs=SPREAD)
def odds_saturate(tasks):
    """For r ~ Beta(.34, .27), s ~ Beta(3, 1) the odds are v (b + k - 1) / (a (u + v + k - 1)):
    .19853, 1.11275, 2.09729, 2.68605 at k = 1, 3, 10, 40, below v / a."""
    k = np.array([1, 3, 10, 40])
    found = tasks(0.34, 0.27, 3, 1).odds(k)
    right, failed, _ = BetaBetaTasks(0.34, 0.27, 3, 1).terms(40)
    yield identity(found, failed[k - 1] / right[k - 1], operations=256, what="moments")
    yield digits(found, [0.19853, 1.11275, 2.09729, 2.68605], 1e-5, "known")
    far = tasks(0.34, 0.27, 3, 1).odds(10**6)
    yield identity(far, 1 / 0.34, operations=1, eps=5e-6, what="v / a")


@claim("C10b", kind="law", of=BetaBetaTasks, saboteurs=SPREAD)
def odds_of_sampled_runs_with_varying_soundness(tasks, rng):
    """In sampled runs accepts at attempts 1, 3, 10 are wrong with these odds; tasks enough to see
    the mean soundness's odds at k = 3."""
    p, other = (x / (1 + x) for x in (1.11275, float(MeanSoundness(0.34, 0.27, 3, 1).odds(3))))
    n = samples_for_mean((other - p) / math.sqrt(p * (1 - p)), math.sqrt(other * (1 - other)
                         / (p * (1 - p))))  # fmt: skip
    right, failed, _ = BetaBetaTasks(0.34, 0.27, 3, 1).terms(3)
    total = math.ceil(1.1 * n / (right[2] + failed[2]))
    counts = accepts_at(rng.beta(0.34, 0.27, total), rng.beta(3, 1, total), 10, rng)
    world = tasks(0.34, 0.27, 3, 1)
    for k in (1, 3, 10):
        yield test_of_odds(counts[k - 1], world.odds(k), 3, f"k = {k}")


@functools.cache
def beta_beta_truth():
    """The worlds and their K*."""
    worlds = list(beta_beta_worlds())
    return worlds, [by_increments(*w) for w in worlds]


def beta_beta_worlds(n=3000):
    """Random worlds in one or two decimals, as fractions; lam = a / v among them."""
    rng, F = np.random.default_rng(1), Fraction
    for i in range(n):
        a, b, u, v_ = (F(int(x), 10) for x in rng.integers(1, 40, 4))
        lam = a / v_ if i % 10 == 0 else F(int(rng.integers(1, 400)), 100)
        yield a, b, u, v_, lam


def by_increments(a, b, u, v_, lam):
    """K* from exact increments; where later gains are to be weighed, from a sum of 20,000 terms."""
    m = 0
    while a * (u + v_ + m) - lam * v_ * (b + m) > 0:
        if lam * v_ <= a and m > 200:  # a linear function with no zero to come
            return math.inf
        m += 1
    if m > 0 or lam * v_ > a:
        return m
    if lam * v_ == a:
        return 0
    out = BetaBetaTasks(float(a), float(b), float(u), float(v_)).outcomes(20_000)
    rest = (out.abstain) * float(a) / float(a + v_)  # what is left at the odds v / a
    U = out.accuracy - float(lam) * out.wrong + rest - float(lam) * (out.abstain - rest)
    return math.inf if U > 0 else 0


@claim(
    "C10c",
    kind="optimum",
    of=beta_beta_attempts,
    saboteurs=[
        sabotage(beta_beta_attempts, "math.ceil(first / -slope)", "math.floor(first / -slope)",
                 "floor for ceil"),
        sabotage(beta_beta_attempts, "a * (u + v) - lam * v * b - kappa * (a + b) * (u + v)",
                 "a * (u + v) - lam * v * (b + 1) - kappa * (a + b) * (u + v)", "b + k"),
        wrong(lambda a, b, u, v, lam: beta_attempts(a, b, u / (u + v), lam),
              "soundness replaced by its mean"),
        wrong(lambda a, b, u, v, lam: math.inf if lam < a / v
              else beta_beta_attempts(a, b, u, v, lam), "always infinite for lam < a / v"),
    ],
)  # fmt: skip
def optimal_k_of_beta_beta_tasks(attempts):
    """K* = max(0, ceil((a (u + v) - lam v b) / (lam v - a))) for lam > a / v, infinite or 0 below
    and at it: 3000 worlds in fractions, a tenth of them at lam = a / v."""
    worlds, truth = beta_beta_truth()
    return disagreements([attempts(*w) for w in worlds], truth, "exact increments")


@claim("C10d", kind="optimum", of=dirichlet_attempts, saboteurs=[
    sabotage(dirichlet_attempts, "gain / kappa - (right + wrong + reject)", "gain / kappa",
             "rejections teach nothing"),
    wrong(lambda r, w, q, lam, kappa=0: beta_attempts(r, w + q, q / (q + w), lam, kappa),
          "soundness replaced by its mean"),
])  # fmt: skip
def dirichlet_is_all_or_nothing(attempts):
    """Dirichlet outcomes have constant odds and K* in {0, infinity} if attempts are free; they are
    the Beta-Beta law with u + v = b."""
    F, rng = Fraction, np.random.default_rng(2)
    worlds = [tuple(F(int(x), 10) for x in rng.integers(1, 40, 4)) for _ in range(300)]
    found = [attempts(*w) for w in worlds]
    truth = [math.inf if w[0] > w[3] * w[1] else 0 for w in worlds]
    yield disagreements(found, truth, "free attempts")
    for kappa in (F(0), F(1, 50)):
        same = [beta_beta_attempts(r, w + q, q, w, lam, kappa) for r, w, q, lam in worlds]
        yield disagreements([attempts(*w, kappa) for w in worlds], same, f"kappa = {kappa}")


class DirichletMean(DirichletTasks):
    """One soundness for all tasks."""

    def odds(self, k):
        right, wrong_, reject = self._floats
        return BetaTasks(right, wrong_ + reject, reject / (reject + wrong_)).odds(k)


@claim("C10e", kind="identity", of=DirichletTasks, saboteurs=[
    wrong(DirichletMean, "soundness replaced by its mean"),
])  # fmt: skip
def dirichlet_odds_are_flat(tasks):
    """The odds of Dirichlet outcomes are wrong / right at every k, like those of the Beta-Beta law
    with u + v = b, whose moments they share."""
    k = np.arange(1, 60)
    yield identity(tasks(2, 1, 3).odds(k), 0.5, operations=16, what="odds")
    yield identity(BetaBetaTasks(2, 4, 3, 1).odds(k), 0.5, operations=16, what="u + v = b")
    for mine, theirs in zip(tasks(2, 1, 3).terms(60), BetaBetaTasks(2, 4, 3, 1).terms(60),
                            strict=True):  # fmt: skip
        yield identity(mine, theirs, operations=512, what="moments")


# C11: the soundness is pooled


def macro_product(base, plus):
    """(1 - B - P + G B) / (1 - P) with the macro mean G of conditional accuracies."""
    ceiling = {0.55017: 0.82462}.get(plus, 0.6)
    return (1 - base - plus + ceiling * base) / (1 - plus)


@claim(
    "C11a",
    kind="identity",
    of=soundness_of_rates,
    saboteurs=[
        macro_product,
        sabotage(soundness_of_rates, "(1 - B) / (1 - P)", "1 - B", "not given that it is wrong"),
        sabotage(soundness_of_rates, "(1 - B) / (1 - P)", "P / B", "the precision"),
    ],
    erratum="the notebook's (1 - B - P + G B) / (1 - P) replaces a mean of products by a product "
    "of means: .7516 for .8067",
)  # fmt: skip
def soundness_is_pooled(soundness):
    """s = P(reject, wrong) / P(wrong) = (1 - B) / (1 - P) in any world of completeness 1; for
    Llama 3.1 8B it is .8067, and the pooled precision of one attempt .8635."""
    world = TaskKinds((0.3, 0.5, 0.2), (0.9, 0.4, 0.05), (0.5, 0.8, 0.95))
    P, r, s, _ = world._arrays()
    passed = float(P @ (r + (1 - s) * (1 - r)))
    exact = float(P @ (s * (1 - r))) / float(P @ (1 - r))
    yield identity(soundness(passed, float(P @ r)), exact, operations=16, what="three kinds")
    # B from the notebook's .7516 = (1 - B - P + G B) / (1 - P)
    B = (1 - 0.55017) * (1 - 0.7516) / (1 - 0.82462)
    yield digits(B, 0.6371, 1e-4, "implied B")
    yield digits(soundness(B, 0.55017), 0.8067, 1e-4, "Llama 3.1 8B")
    yield digits(0.55017 / B, 0.8635, 2e-4, "pooled precision")
