"""Flash-DMD (arXiv 2511.20549), claim by claim.

Sheet `flash-dmd`. One-dimensional worlds. Means over the range of k normals, over pairs of
candidates and over laws are quadratures; means of linear fields are taken over a cubature that is
exact for quadratics; what is claimed of samples (C3d, C5c, C5d, C6b) is sampled, and C10 are
training runs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit
from torch import nn

from fewtheory.distill.flash_dmd import STATES, _low_output, _student_loss, flash_dmd, pulling
from fewtheory.distill.parts.adversary import critic_loss, generator_loss, ideal_gradient
from fewtheory.distill.parts.preference import (
    Preference,
    best_and_worst,
    preference_margin,
    renoise_log_ratio,
)
from fewtheory.distill.parts.score_difference import dmd_gradient
from fewtheory.distill.parts.student import FewSteps, sample
from fewtheory.distill.theory.exploration import candidate_spread, redrawn_share
from fewtheory.distill.theory.preferences import (
    drift_law,
    joint_optimum,
    preference_drift,
    preference_slope,
    preference_value,
    range_mean,
    soft_optimum,
)
from fewtheory.distill.theory.reward_matching import reward_guidance, reward_shift, tilted_shift
from fewtheory.distill.theory.split_by_step import (
    joint_mean,
    largest_ema,
    low_offset,
    mean_pulls,
    split_bias,
    split_run,
)
from fewtheory.distill.theory.two_time_scale import fake_steps, two_time_scale
from fewtheory.model import Model
from fewtheory.paths import RectifiedFlow, Trigonometric
from fewtheory.testbeds import Gaussian, GaussianMixture, Reward, reward_tilt
from fewtheory.train import cosine_decay
from fewtheory.verify import (
    Evidence,
    bound,
    claim,
    half_way,
    identity,
    known,
    law,
    optimum,
    sabotage,
    wrong,
)
from fewtheory.verify.power import samples_for_mean

RF, TRIG = RectifiedFlow(), Trigonometric()
KS = (2, 3, 4, 8)
D_K = (1.1283791670955126, 1.692568750643269, 2.058750746007928, 2.8472006120905555)
TIMES = (0.999, 0.749, 0.499, 0.249)
NO_NOISE = "an inequality between two numbers without noise"


def normal(nodes=401, width=9.0):
    """Points and weights of N(0, 1) by the trapezoid rule."""
    z = np.linspace(-width, width, nodes)
    return z, np.exp(-0.5 * z * z) * (2 * width / (nodes - 1)) / math.sqrt(2 * math.pi)


def cubature(d):
    """Points (2d, d) whose mean of any quadratic is that of N(0, I)."""
    axes = math.sqrt(d) * np.eye(d)
    return np.concatenate([axes, -axes])


# C1: the log ratio of a pair is linear


def unequal(winner, loser, mean, reference, sigma):
    """The reference's variance is a tenth larger: quadratic parts stay."""

    def log_density(z, at, s):
        return -0.5 * ((z - at) ** 2).sum(1) / s**2

    ratios = [
        log_density(z, mean, sigma) - log_density(z, reference, 1.1 * sigma)
        for z in (winner, loser)
    ]
    return ratios[0] - ratios[1]


def pair_world(rng, d=5, n=16):
    """Two means and two states in d dimensions."""
    mean, reference = rng.standard_normal((2, n, d))
    winner, loser = mean + rng.standard_normal((2, n, d))
    return winner, loser, mean, reference


def exact_ratio(z, mean, reference, sigma):
    """log N(z; mean) / N(z; reference) from the testbed's densities."""
    rows = zip(z, mean, reference, strict=True)
    one = [
        float(
            (Gaussian(m, sigma**2).log_prob(x[None]) - Gaussian(r, sigma**2).log_prob(x[None]))[0]
        )
        for x, m, r in rows
    ]
    return np.array(one)


@claim(
    "C1a",
    kind="identity",
    of=preference_margin,
    saboteurs=[
        wrong(unequal, "unequal variances of policy and reference"),
        sabotage(
            preference_margin,
            "_per_sample(xp, (mean - reference) * (winner - loser)) / s**2",
            "_per_sample(xp, (mean - reference) * (winner - loser)) / s",
            "sigma for its square",
        ),
        sabotage(preference_margin, "winner - loser", "loser - winner", "labels exchanged"),
    ],
)
def margin_is_linear(margin, rng):
    """log p/p_ref of the winner minus that of the loser is (mean - reference) . (w - l) / sigma^2:
    two Gaussian densities each in d = 5, and no quadratic part."""
    for sigma in (0.3, 1.0):
        won, lost, mean, reference = pair_world(rng)
        both = [exact_ratio(z, mean, reference, sigma) for z in (won, lost)]
        size = sum(np.abs(r).max() for r in both) + 5 * 25 / sigma**2
        found = margin(won, lost, mean, reference, sigma)
        yield identity(found, both[0] - both[1], operations=64, scale=size, what=f"sigma {sigma:g}")


@claim(
    "C1b",
    kind="identity",
    of=renoise_log_ratio,
    saboteurs=[
        sabotage(
            renoise_log_ratio,
            "z - 0.5 * (mean + reference)",
            "z - 0.5 * (mean - reference)",
            "the middle of the two means with a wrong sign",
        ),
        sabotage(
            renoise_log_ratio, "z - 0.5 * (mean + reference)", "z", "the quadratic part forgotten"
        ),
    ],
)
def log_ratio_is_exact(ratio, rng):
    """The log ratio of two re-noising steps at one state is that of their Gaussian densities."""
    for sigma in (0.3, 1.0):
        z, _, mean, reference = pair_world(rng)
        exact = exact_ratio(z, mean, reference, sigma)
        size = np.abs(exact).max() + 5 * 25 / sigma**2
        yield identity(ratio(z, mean, reference, sigma), exact, operations=64, scale=size)


# C2: soft labels


def soft_label_slope(shift, sigma, g, beta, label):
    """The population slope in the mean's shift of the loss with labels P(first over second)."""
    z, w = normal(161)
    first, second = np.meshgrid(sigma * z, sigma * z, indexing="ij")
    W = np.outer(w, w)
    told = label(g, first, second)
    gap = beta * (first - second) / sigma**2  # of beta H, per shift
    return float((W * gap * (expit(gap * shift) - told)).sum())


def bradley_terry(g, first, second):
    """sigmoid(g (first - second))."""
    return expit(g * (first - second))


def winner_alone(g, sigma, beta):
    """The optimum with labels from the winner's own reward."""

    def slope(shift):
        return soft_label_slope(shift, sigma, g, beta, lambda g, first, second: expit(g * first))

    return np.asarray(brentq(slope, 0.0, 1.0, xtol=1e-14))


@claim(
    "C2",
    kind="optimum",
    of=soft_optimum,
    saboteurs=[
        sabotage(soft_optimum, "sigma**2", "sigma", "sigma g / beta"),
        wrong(winner_alone, "labels from the winner only"),
        sabotage(
            soft_optimum,
            "sigma**2 * finite_array('soft_optimum', 'g', g) / beta",
            "sigma**2 * finite_array('soft_optimum', 'g', g)",
            "beta forgotten",
        ),
    ],
)
def soft_labels_recover_the_tilt(best):
    """With labels sigmoid(g (w - l)), sigma = .5, g = 1.3, beta = 2, the shift sigma^2 g / beta =
    .1625 makes the loss stationary, is found by its root, and is the mean of p_ref exp(r/beta)."""
    sigma, g, beta = 0.5, 1.3, 2.0
    told = float(best(g, sigma, beta))
    yield known(told, 0.1625, 14, kind="optimum", what="closed form")
    args = (sigma, g, beta, bradley_terry)
    why = "26000 roundings on terms up to 20 (a gap of 9 standard deviations times beta / sigma)"
    room = 26000 * 2.3e-16 * 20
    slope = soft_label_slope(told, *args)
    yield optimum(slope, 0.0, tolerance=room, tolerance_from=why, what="slope there")
    found: Any = brentq(lambda s: soft_label_slope(s, *args), 0.0, 1.0, xtol=1e-13)
    why = "the slope's rounding over its curvature, at least 1, and the root's tolerance"
    yield optimum(told, found, tolerance=room + 1e-12, tolerance_from=why, what="the root")
    tilt = reward_tilt(GaussianMixture([1.0], [[0.0]], [sigma**2]), Reward([g]), beta)
    yield optimum(
        told, float(tilt.law.mean[0]), tolerance=1e-15, tolerance_from="4 roundings", what="tilt"
    )


# C3: hard labels


@claim(
    "C3a",
    kind="identity",
    of=preference_value,
    saboteurs=[
        wrong(lambda m, k, beta: preference_value(m, 3, beta), "another number of candidates"),
        sabotage(preference_value, "-beta * m * r", "-m * r", "beta forgotten"),
        sabotage(preference_value, "-beta * m * r", "beta * m * r", "the worst is preferred"),
    ],
)
def losses_fall(value):
    """beta = 2, k = 2: L = .693147, .207017, .046140, .009278 at m = 0, 1, 5, 25; for k = 2 the
    range is |N(0, 2)|."""
    values = [value(m, 2, 2.0) for m in (0.0, 1.0, 5.0, 25.0)]
    yield known(values, [0.693147, 0.207017, 0.046140, 0.009278], 6, what="k = 2")
    z, w = normal(4001)  # softplus of width 1 / (2 m) on steps of .0045
    for m in (0.3, 1.0):
        plain = float(w @ np.logaddexp(0.0, -2.0 * m * math.sqrt(2) * np.abs(z)))
        # the kink of |z| costs h^2 / 12 times the jump of the slope, 2 sqrt 2 m phi(0)
        kink = 0.0045**2 / 12 * 2 * math.sqrt(2) * m
        why = "the trapezoid rule at the kink of |z|"
        yield Evidence("identity", value(m, 2, 2.0), plain, kink, why, what=f"m = {m:g}")


SLOPE = [
    wrong(lambda m, k, beta: preference_slope(m, 2, beta), "a random pair: d_2 for all k"),
    sabotage(preference_slope, "expit(-beta * m * r)", "expit(beta * m * r)", "the sign inside"),
    sabotage(
        preference_slope, "r * expit(-beta * m * r)", "expit(-beta * m * r)", "range left out"
    ),
]


@claim("C3b", kind="bound", of=preference_slope, saboteurs=SLOPE)
def no_finite_optimum(slope):
    """The slope at 0 is -beta d_k / 2, -1.128379 for k = 2 and -2.058751 for k = 4 (beta = 2), and
    it is negative at every m, falling like m^{-k}: the reference holds nothing back."""
    for k, d in zip(KS, D_K, strict=True):
        yield bound(abs(slope(0.0, k, 2.0) + d), 1e-12, what=f"slope at 0, k = {k}")
        grid = np.geomspace(1e-3, 1e3, 25)
        yield bound([slope(m, k, 2.0) for m in grid], 0.0, x=grid, what=f"sign, k = {k}")
        fall = math.log2(slope(400.0, k, 2.0) / slope(800.0, k, 2.0))
        # the next term of the range's density is r^2 smaller: 1 / (2 m)^2 times about 10 k^2
        yield bound(abs(fall - k), 10 * k * k / 800.0**2, what=f"power, k = {k}")


@claim(
    "C3c",
    kind="rate",
    of=preference_drift,
    saboteurs=[
        wrong(
            lambda k, beta, steps, **s: preference_drift(2, beta, steps, **s),
            "a random pair: d_2 for all k",
        ),
        sabotage(preference_drift, "lam * m[i]", "0.1 * m[i]", "the reference taken for a penalty"),
        sabotage(preference_drift, "expit(-bend * m[i])", "expit(-r * m[i])", "beta once only"),
    ],
)
def drift_without_end(drift):
    """beta = 2, steps of .5, k = 2: m = 1.38, 3.17, 6.98, 15.13 after 10, 100, 1000, 10000 steps,
    2.166 in the last decade; m^{k+1} grows in proportion to the steps for k = 2, 3, 4, with the
    constant that the range's density near 0 gives."""
    run = drift(2, 2.0, 10_000)
    at = [10, 100, 1000, 10_000]
    yield known(run[at], [1.38, 3.17, 6.98, 15.13], 2, kind="rate", what="k = 2")
    yield known(run[10_000] / run[1000], 2.166, 3, kind="rate", what="last decade")
    for k in (2, 3, 4):
        n = np.array([1000, 10_000])
        m = (run if k == 2 else drift(k, 2.0, 10_000))[n]
        power, own = float(np.log(m[1] / m[0]) / np.log(n[1] / n[0])), 1 / (k + 1)
        why = f"one over an integer: {k + 1} against {k + 2}, half way"
        yield Evidence("rate", power, own, (own - 1 / (k + 2)) / 2, why, what=f"power, k = {k}")
        # the density is c r^{k-2} (1 - a r^2), r^2 is about 1.2 k (k + 1) / (beta m)^2 there, and
        # m^{k+1} integrates the slope's relative error to m^{k-1} / (k - 1)
        a = 0.25 + (k - 2) * (1 - 1 / k) / 24
        room = 2 * a * 1.2 * k * (k + 1) / ((k - 1) * (2 * m[1]) ** 2)
        ratio = m[1] / drift_law(k, 2.0, 0.5 * n[1])
        why = "twice the next term of the range's density"
        yield Evidence("rate", float(ratio), 1.0, room, why, what=f"constant, k = {k}")


def declared_converged(k, beta, lam):
    """Where steps of .5 move by less than 4e-3 a step."""
    run = preference_drift(k, beta, 1000, rate=min(0.5, 0.5 / max(lam, 0.1)), lam=lam)
    still = np.flatnonzero(np.diff(run) < 4e-3)
    return float(run[still[0]])


@claim(
    "C3d",
    kind="optimum",
    of=joint_optimum,
    saboteurs=[
        wrong(declared_converged, "lam = 0 declared converged"),
        wrong(lambda k, beta, lam: joint_optimum(2, beta, lam), "a random pair: d_2 for all k"),
        sabotage(
            joint_optimum,
            "lam * m + preference_slope(m, k, beta)",
            "2 * lam * m + preference_slope(m, k, beta)",
            "lam m^2 for half of it",
        ),
    ],
)
def distillation_makes_it_well_posed(best):
    """beta = 2: k = 2, lam = .1, 1, 10: m = 1.22566, .447301790, .0943017; k = 4, 8 at .1:
    .997534185, .808108, so more candidates shift less there, and more where lam = 10; gradient
    steps end there, the loss is strictly convex, and with lam = 0 there is no end."""
    for k, lam, m, digits in (
        (2, 0.1, 1.22566, 5),
        (2, 1.0, 0.447301790, 9),
        (2, 10.0, 0.09430166, 8),
        (4, 0.1, 0.997534185, 9),
        (8, 0.1, 0.808108, 6),
    ):
        found = best(k, 2.0, lam)
        yield known(found, m, digits, kind="optimum", what=f"k = {k}, lam = {lam:g}")
        if lam < 10:  # steps of .5 overshoot above 2 / .5
            end = float(preference_drift(k, 2.0, 3000, lam=lam)[-1])
            why = "(1 - .5 (lam + L''))^3000 and 600 roundings over the curvature"
            yield optimum(found, end, tolerance=2e-12, tolerance_from=why, what="gradient steps")
        slopes = [lam * m + preference_slope(m, k, 2.0) for m in np.linspace(0, 3, 31)]
        rise = float(np.diff(slopes).min())
        yield optimum(
            rise, 0.0, tolerance=0.0, tolerance_from=NO_NOISE, side="at least", what="convex"
        )
    for lam, sign in ((0.1, -1.0), (10.0, 1.0)):
        gap = float((sign * np.diff([best(k, 2.0, lam) for k in KS])).min())
        what = f"order in k, lam = {lam:g}"
        yield optimum(gap, 0.0, tolerance=0.0, tolerance_from=NO_NOISE, side="at least", what=what)
    endless = float(math.isinf(best(2, 2.0, 0.0)))
    yield optimum(endless, 1.0, tolerance=0.0, tolerance_from="a yes or no", what="lam = 0")


def random_pair(candidates, scores):
    """Two candidates, the better of them first."""
    return best_and_worst(candidates[:2], scores[:2])


def best_and_second(candidates, scores):
    """The best against the next."""
    order = np.argsort(scores, axis=0)
    return tuple(
        np.take_along_axis(candidates, order[i][None, :, None], axis=0)[0] for i in (-1, -2)
    )


@claim(
    "C3e",
    kind="law",
    of=best_and_worst,
    saboteurs=[
        wrong(random_pair, "a random pair instead of the best and the worst"),
        wrong(best_and_second, "the best against the second"),
        sabotage(
            best_and_worst,
            "f(scores, axis=0) * n + columns",
            "f(scores, axis=0) * n",
            "the first state's candidates for all",
        ),
    ],
)
def range_of_the_candidates(choose, rng):
    """w - l of the best and the worst of k draws of one step, by a linear reward, has in its
    direction the mean sigma d_k and in the others 0; d_k = 1.12838, 1.69257, 2.05875, 2.84720."""
    for k, d in zip(KS, D_K, strict=True):
        yield known(range_mean(k), d, 11, kind="law", what=f"d_{k}")
    n, k, sigma = 4 * samples_for_mean(0.3), 4, 0.7
    centre = 3.0 * rng.standard_normal((n, 2))
    z = centre + sigma * rng.standard_normal((k, n, 2))
    winner, loser = choose(z, z[..., 0] - centre[:, 0])
    along, across = ((winner - loser) / sigma).T
    root = math.sqrt(n)
    yield law((along.mean() - D_K[2]) / along.std() * root, n=n, what="along the reward")
    yield law(across.mean() / across.std() * root, n=n, what="across it")


# C4: the pull of the fake network


@claim(
    "C4a",
    kind="bound",
    of=fake_steps,
    saboteurs=[
        sabotage(
            fake_steps,
            "2 * (math.log1p(-g) - math.log1p(g)) - math.log(kept)",
            "2 * (math.log1p(-g) - math.log1p(g)) + math.log(kept)",
            "the pull costs steps",
        ),
        wrong(lambda g, f, ema=1.0: fake_steps(g, f), "the pull is worth nothing"),
    ],
)
def pull_replaces_fake_steps(smallest):
    """g = f = .1: the smallest number of fake steps that does not ring is 4, 4, 3, 2, 1 for ema =
    1, .95, .9, .8, .7; the eigenvalues agree."""
    for ema, n in ((1.0, 4), (0.95, 4), (0.9, 3), (0.8, 2), (0.7, 1)):
        yield bound(abs(smallest(0.1, 0.1, ema=ema) - n), 0.0, what=f"ema {ema:g}")
        rings = [two_time_scale(0.1, 0.1, m, ema=ema).rings for m in (n, max(1, n - 1))]
        yield bound(float(rings[0]), 0.0, what=f"rings with n = {n}, ema {ema:g}")
        if n > 1:
            yield bound(float(rings[1]), 1.0, side="at least", what=f"n = {n - 1}, ema {ema:g}")


OLD = sabotage(
    two_time_scale,
    "kept * psi + (1 - kept) * u_moved",
    "kept * psi + (1 - kept) * np.array([1.0, 0.0])",
    "pulled towards the generator before its step",
)


def generator_pulled(g, f, n, *, ema=1.0):
    """The generator is pulled towards the fake score's network, which is left alone."""
    cycle = two_time_scale(g, f, n)
    moved = ema * np.array([1.0, -g]) + (1 - ema) * np.array([0.0, 1.0])
    kept = (1 - f) ** n
    matrix = np.stack([moved, kept * np.array([0.0, 1.0]) + (1 - kept) * moved])
    values = np.linalg.eigvals(matrix)
    return replace(
        cycle,
        matrix=matrix,
        radius=float(np.abs(values).max()),
        rings=bool(np.any(values.imag != 0)),
    )


def changes(run):
    """Sign changes of the student's error, where it is above rounding."""
    u = run[:, 0]
    return float((np.diff(np.sign(u[np.abs(u) > 1e-300])) != 0).sum())


@claim(
    "C4b",
    kind="rate",
    of=two_time_scale,
    saboteurs=[OLD, wrong(generator_pulled, "the pull is on the generator")],
)
def one_step_with_a_pull_is_as_fast_as_five(cycle):
    """g = f = .1: n = 1 without a pull has radius .948683 and 6 sign changes in 200 cycles; n = 1
    with .7 has .862925 and none, n = 2 with .8 .854159, n = 5 without .873652; determinant ema (1 -
    f)^n."""
    for n, ema, radius, rings in (
        (1, 1.0, 0.948683, True),
        (1, 0.7, 0.862925, False),
        (2, 0.8, 0.854159, False),
        (5, 1.0, 0.873652, False),
    ):
        found = cycle(0.1, 0.1, n, ema=ema)
        what = f"n = {n}, ema {ema:g}"
        yield known(found.radius, radius, 6, kind="rate", what=what)
        turned = changes(found.run(np.ones(2), 200))
        yield known(turned, 6 if rings else 0, 0, kind="rate", what=f"sign changes, {what}")
        c = float(np.linalg.det(found.matrix))
        why = "16 roundings on terms of order one"
        yield Evidence("rate", c, ema * 0.9**n, 16 * 2.3e-16, why, what=f"determinant, {what}")


@claim(
    "C4c",
    kind="identity",
    of=largest_ema,
    saboteurs=[
        sabotage(largest_ema, "((1 - g) / (1 + g)) ** 2", "(1 - g) / (1 + g)", "not squared"),
        sabotage(
            largest_ema,
            "((1 - g) / (1 + g)) ** 2 / (1 - f) ** n",
            "((1 - g) / (1 + g)) ** 2",
            "the fake steps are not counted",
        ),
    ],
)
def strongest_needed_pull(largest):
    """One fake step does not ring if and only if ema <= ((1 - g)/(1 + g))^2 / (1 - f): .743801653
    for g = f = .1, .970493 for .01; the eigenvalues turn there."""
    yield known(largest(0.1, 0.1), 0.743801653, 9, what=".1")
    yield known(largest(0.01, 0.01), 0.970493, 6, what=".01")
    for g, f, n in ((0.1, 0.1, 1), (0.01, 0.01, 1), (0.2, 0.05, 3), (0.1, 0.1, 2)):
        edge = largest(g, f, n)
        told = [two_time_scale(g, f, n, ema=min(1.0, s * edge)).rings for s in (1 - 1e-6, 1 + 1e-6)]
        yield known(told, [0.0, 1.0], 0, what=f"rings, g = {g:g}, f = {f:g}, n = {n}")


class Weight(nn.Module):
    """One number."""

    def __init__(self, value=1.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([value], dtype=torch.float64))


def exchanged(name, towards, kept):
    """The generator is the one that is moved."""
    return pulling(towards, name, kept)


@claim(
    "C4d",
    kind="identity",
    of=pulling,
    saboteurs=[
        wrong(exchanged, "the pull is on the generator"),
        sabotage(
            pulling,
            "1 - number('pulling', 'kept', kept, 0.0, 1.0)",
            "number('pulling', 'kept', kept, 0.0, 1.0)",
            "what is kept for what is taken",
        ),
    ],
)
def networks_follow_the_law(pull):
    """Cycles of two one-parameter networks, the generator's step by g times the fake's error, the
    pull, n fake steps by f, run as the law's matrix says."""
    for n, ema in ((1, 0.7), (2, 0.8)):
        networks = {"student": Weight(), "fake": Weight()}
        after, g, f = pull("fake", "student", ema), 0.1, 0.1
        expected = two_time_scale(g, f, n, ema=ema).run(np.ones(2), 30)
        run = [(1.0, 1.0)]
        with torch.no_grad():
            u, psi = (networks[name].w for name in ("student", "fake"))
            for cycle in range(30):
                u -= g * psi
                after(networks, cycle + 1)
                for _ in range(n):
                    psi -= f * (psi - u)
                run.append((float(u), float(psi)))
        yield identity(np.array(run), expected, operations=30 * 8, scale=1.0, what=f"n = {n}")


# C5: two losses that disagree


def saturating_pulls(b, teacher, data=0.0):
    """log (1 - D) in the generator: E[p / (p + q)]."""
    dm, adversarial = mean_pulls(b, teacher, data)
    return dm, (b - data) - adversarial


@claim(
    "C5a",
    kind="bound",
    of=mean_pulls,
    saboteurs=[
        sabotage(mean_pulls, "b - m", "b + m", "the teacher's mean with a wrong sign"),
        wrong(
            lambda b, m: tuple(-v for v in mean_pulls(b, m)[:1]) + mean_pulls(b, m)[1:], "uphill"
        ),
        wrong(saturating_pulls, "log (1 - D), whose pull is another"),
    ],
)
def opposed_in_between(pulls):
    """Teacher mean .2, data mean 0: the two gradients in the mean are opposed exactly between 0 and
    .2; the adversarial one is that of the best critic."""
    grid = np.array([-1.0, -0.3, -1e-3, 1e-3, 0.1, 0.199, 0.201, 0.5, 2.0])
    for b in grid:
        dm, adversarial = pulls(b, 0.2)
        sign = 1.0 if 0 < b < 0.2 else -1.0
        yield bound(sign * dm * adversarial, 0.0, what=f"b = {b:g}")
        z, w = normal()
        x = (b + z)[:, None]
        laws = Gaussian([b], 1.0), Gaussian([0.0], 1.0)
        parts = [bed.log_prob(x) for bed in laws], [bed.score_at(x, 1.0, 0.0) for bed in laws]
        exact = float(w @ ideal_gradient(*parts[0], *parts[1])[:, 0])
        yield bound(abs(adversarial - exact), 0.0, operations=401, what=f"best critic, b = {b:g}")


@claim(
    "C5b",
    kind="optimum",
    of=joint_mean,
    saboteurs=[
        wrong(lambda m, d=0.0, w=1.0: d + (m - d) / (1 + w), "a curvature of 1 for 1/2"),
        wrong(lambda m, d=0.0, w=1.0: d, "no bias"),
        sabotage(joint_mean, "dm + w * adversarial", "dm + w * 2 * adversarial", "twice the term"),
    ],
)
def a_joint_loss_is_biased(rest):
    """A student with both losses rests at .133138, not at the data's mean 0 (teacher .2, weight 1);
    for small errors of the teacher at m / (1 + weight / 2)."""
    yield known(rest(0.2), 0.133138, 6, kind="optimum", what="weight 1")
    for w in (0.5, 1.0, 2.0):
        why = "the next term, of order m^2"
        small = rest(1e-3, 0.0, w) / 1e-3
        expected = 1 / (1 + w / 2)
        yield optimum(small, expected, tolerance=1e-6, tolerance_from=why, what=f"weight {w:g}")


class Affine(nn.Module):
    """A four-step student with exact noisy steps, N(first, 1), and a last step x / S + b.

    One shift a step, which moves.
    """

    def __init__(self, first=0.2, b=0.0):
        super().__init__()
        self.shifts = nn.Parameter(torch.tensor([first] * 3 + [b], dtype=torch.float64))

    def forward(self, x, t):
        at = float(t.ravel()[0])
        k = int(np.argmin(np.abs(np.array(TIMES) - at)))
        alpha, sigma = 1 - at, at
        if k == 0:  # the first state is sigma n
            return x / sigma + self.shifts[0]
        inner = alpha * float(self.shifts[0].detach()) if k < 3 else 0.0
        return (x - inner) / math.hypot(alpha, sigma) + self.shifts[k]


class Fake(nn.Module):
    """The exact denoiser of N(first, 1)."""

    def __init__(self, first=0.2):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor([first], dtype=torch.float64))

    def forward(self, x, t):
        alpha, sigma = 1 - t.reshape(-1, 1), t.reshape(-1, 1)
        return self.mean + alpha / (alpha**2 + sigma**2) * (x - alpha * self.mean)


class Recorder(nn.Module):
    """A critic that keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
        self.seen = torch.zeros(0)

    def forward(self, x):
        self.seen = x.detach()
        return self.gain * x[:, 0]


def as_model(network):
    """x0hat of a network on the rectified flow."""
    return Model(lambda x, t: network(x, t), RF, "data")


def players_of(method, student, **settings):
    """The players with a teacher off by .2, and their networks."""
    teacher = Gaussian([0.2], 1.0).model(RF, "data")
    settings = {"weight": "kl", "ema": 1.0, **settings}
    critic, fake = Recorder(), Fake(0.4)
    players = method(student, fake, critic, as_model, teacher, FewSteps(TIMES), **settings)
    return players, {name: player.module for name, player in players.items()}


BOTH = sabotage(
    flash_dmd,
    "_low_output(terms, model, here, rng, **cond)",
    "here.x0",
    "split by the noise level of the losses: one output has both",
    inside=_student_loss,
)


@claim(
    "C5c",
    kind="law",
    of=flash_dmd,
    saboteurs=[
        BOTH,
        sabotage(
            flash_dmd,
            "terms.low_state == 'own'",
            "terms.low_state != 'own'",
            "the last step is trained on its own output, noised again",
            inside=_low_output,
        ),
    ],
)
def split_by_step_has_no_bias(method, rng):
    """Noisy steps with a bias of .2, -.5 or 1, the last one at the shift that gives the trained
    output the data's law: the critic is shown samples of mean 0, and the student's samples have
    mean 0, as data have."""
    n = samples_for_mean(0.09)
    like = torch.zeros(n, 1, dtype=torch.float64)
    for first in (0.2, -0.5, 1.0):
        student = Affine(first, low_offset(RF, TIMES[-1], first))
        players, networks = players_of(method, student)
        draw = torch.Generator().manual_seed(int(rng.integers(2**62)))
        players["student"].loss(networks, {"x": like}, draw)
        seen: Any = networks["critic"].seen
        made = sample(as_model(student), FewSteps(TIMES), like, rng=draw)
        for x, what in ((seen, "shown to the critic"), (made, "sampled")):
            yield law(float(x.mean()) * math.sqrt(n), n=n, what=f"{what}, bias {first:g} before")


@claim(
    "C5d",
    kind="law",
    of=split_bias,
    saboteurs=[
        wrong(lambda *a, state="own", **s: split_bias(*a, **s), "no bias, as with its own state"),
        sabotage(
            split_bias,
            "low_offset(path, t, first, c=c, state=state) + through * mean",
            "through * mean",
            "the last step's shift forgotten",
        ),
    ],
    erratum="the adversarial step is trained on the finished sample, noised again, where sampling "
    "never enters it (as the procedure is reported): about half of an earlier step's bias is left",
)
def rediffusing_leaves_a_bias(bias, rng):
    """Trained on its own finished output, noised again, the last step shows the critic samples of
    mean 0 when the student's samples have still the mean .097393 (h alpha / (1 + h alpha) of .2, at
    t = .249)."""
    n = samples_for_mean(0.09)
    like = torch.zeros(n, 1, dtype=torch.float64)
    yield known(bias(RF, 0.249, 0.2, state="rediffused"), 0.097393, 6, kind="law", what="closed")
    student = Affine(0.2, low_offset(RF, TIMES[-1], 0.2, state="rediffused"))
    players, networks = players_of(flash_dmd, student, low_state="rediffused")
    draw = torch.Generator().manual_seed(int(rng.integers(2**62)))
    players["student"].loss(networks, {"x": like}, draw)
    seen: Any = networks["critic"].seen
    yield law(float(seen.mean()) * math.sqrt(n), n=n, what="shown to the critic")
    made = sample(as_model(student), FewSteps(TIMES), like, rng=draw)
    off = float(made.mean()) - bias(RF, TIMES[-1], 0.2, state="rediffused")
    yield law(off * math.sqrt(n), n=n, what="sampled")


def no_weight(level):
    """Matching switched off."""
    return 0.0 * level.alpha


@claim(
    "C5e",
    kind="identity",
    of=flash_dmd,
    saboteurs=[
        BOTH,
        sabotage(
            flash_dmd,
            "terms.step('dm', rng)",
            "None",
            "matching at every step, the last among them",
            inside=_student_loss,
        ),
    ],
)
def each_step_has_one_loss(method, rng):
    """The weight of the adversarial term changes nothing for the noisy steps, and that of matching
    nothing for the last: each is moved by one of them, and by that it is moved."""
    like = {"x": torch.zeros(4, 1, dtype=torch.float64)}
    moved = np.zeros(2)
    gaps = np.zeros(2)
    worlds = []
    for weight, adversarial in (("kl", 1.0), ("kl", 0.0), (no_weight, 1.0)):
        student = Affine(0.3, 0.1)
        told = {"weight": weight, "adversarial": adversarial}
        worlds.append((student, *players_of(method, student, **told)))
    for _ in range(64):  # (3/4)^64 that no draw shows a fourth step with matching
        seed, slopes = int(rng.integers(2**62)), []
        for student, players, networks in worlds:
            loss = players["student"].loss(networks, like, torch.Generator().manual_seed(seed))
            slopes.append(torch.autograd.grad(loss, [student.shifts])[0].numpy())
        both, matching, critic = slopes
        gaps += [np.abs(both - matching)[:3].max(), abs(both - critic)[3]]
        moved += [np.abs(both)[:3].max(), abs(both[3])]
    for gap, size, what in zip(gaps, moved, ("noisy steps", "last step"), strict=True):
        yield identity(gap, 0.0, operations=4, scale=max(size, 1e-300), what=what)
        yield known(float(size > 0), 1.0, 0, what=f"{what} move")


# C6: exploration


SHARE = [
    sabotage(
        redrawn_share,
        "sigma**2 / (alpha**2 * float(c) ** 2 + sigma**2)",
        "sigma**2",
        "sigma^2 alone",
    ),
    sabotage(
        redrawn_share,
        "alpha**2 * float(c) ** 2",
        "alpha**2",
        "data of unit variance, whatever c",
    ),
]


@claim("C6a", kind="identity", of=redrawn_share, saboteurs=SHARE)
def fresh_noise_decides_a_share(share):
    """c = .8, trigonometric path: fresh noise at t = .25, .5, .75 decides .211408, .609756, .901058
    of the final variance: the square of the exact map's slope in the noise over c^2."""
    flow = Gaussian([0.4], 0.64).flow(TRIG)
    for t, told in ((0.25, 0.211408), (0.5, 0.609756), (0.75, 0.901058)):
        found = share(TRIG, t, 0.8)
        yield known(found, told, 6, what=f"t = {t:g}")
        alpha, sigma = float(TRIG.alpha(t)), float(TRIG.sigma(t))
        z = alpha * 1.3 + sigma * np.array([[0.0], [1.0]])
        ends = flow(z, t, 0.0)[:, 0]
        exact = float(ends[1] - ends[0]) ** 2 / 0.64
        yield identity(found, exact, operations=64, scale=4.0, what=f"the map's slope, t = {t:g}")


def alone(k, path, t, c, g=1.0):
    """sigma^2 alone."""
    return range_mean(k) * abs(g) * c * float(path.sigma(t))


@claim(
    "C6b",
    kind="law",
    of=candidate_spread,
    saboteurs=[
        wrong(alone, "sigma^2 alone"),
        wrong(lambda k, path, t, c, g=1.0: candidate_spread(2, path, t, c, g), "a random pair"),
    ],
)
def exploration_is_at_high_noise(spread, rng):
    """Best minus worst of 4 candidates at t = .25, .5, .75, run on by the exact map, is on average
    .757276, 1.286091, 1.563400 (c = .8, unit slope)."""
    bed = Gaussian([0.4], 0.64)
    flow, n = bed.flow(TRIG), samples_for_mean(0.05)
    for t, told in ((0.25, 0.757276), (0.5, 1.286091), (0.75, 1.563400)):
        expected = spread(4, TRIG, t, 0.8)
        yield known(expected, told, 6, kind="law", what=f"t = {t:g}")
        x0hat = rng.standard_normal((n, 1))
        noise = rng.standard_normal((4, n, 1))
        z = float(TRIG.alpha(t)) * x0hat + float(TRIG.sigma(t)) * noise
        ends = flow(z.reshape(-1, 1), t, 0.0).reshape(4, n, 1)
        best, worst = best_and_worst(ends, ends[..., 0])
        gap = (best - worst)[:, 0]
        yield law((gap.mean() - expected) / gap.std() * math.sqrt(n), n=n, what=f"t = {t:g}")


# C7: a reward inside the loss


def tilt_for_shift(teacher, g, path, times):
    """The tilted law's mean, taken for the resting place."""
    return tilted_shift(teacher, g)


@claim(
    "C7a",
    kind="identity",
    of=reward_shift,
    saboteurs=[
        wrong(tilt_for_shift, "the tilted law"),
        sabotage(
            reward_shift,
            "alpha**2 * np.linalg.solve(S, np.eye(d))",
            "alpha * np.linalg.solve(S, np.eye(d))",
            "one alpha forgotten",
        ),
    ],
)
def reward_in_the_loss_overshoots(shift):
    """Teacher N(0, 1), slope .3, rectified flow: the mean rests at .3 for t -> 0 (the tilted
    law's), .355102 for t = .3, .6 for t in {.2, .4, .6, .8}, twice the nominal strength; in two
    dimensions DMD's mean gradient is the reward's slope there."""
    one = Gaussian([0.0], 1.0)
    yield identity(shift(one, [0.3], RF, [0.0]), [0.3], operations=16, what="t = 0")
    yield identity(tilted_shift(one, [0.3]), [0.3], operations=16, what="tilted")
    yield known(shift(one, [0.3], RF, [0.3]), [0.355102], 6, what="t = .3")
    times = [0.2, 0.4, 0.6, 0.8]
    yield identity(shift(one, [0.3], RF, times), [0.6], operations=64, what="four levels")
    bed, g = Gaussian([1.0, -1.0], [[1.0, 0.3], [0.3, 0.5]]), np.array([0.3, -0.2])
    moved = Gaussian(bed.mean + shift(bed, g, RF, times), bed.cov)
    points, root = cubature(4), np.linalg.cholesky(bed.cov)
    x0 = points[:, :2] @ root.T + moved.mean
    models = [law_.model(RF) for law_ in (bed, moved)]
    pulls = [dmd_gradient(x0, points[:, 2:], t, *models, weight="kl").mean(0) for t in times]
    # scores are noises over sigma >= .2, of terms up to 25
    yield identity(np.mean(pulls, 0), g, operations=512, scale=25.0, what="DMD's gradient")


def plain_tilt():
    """The mixture tilted by exp(-.4 x^2 + .6 x)."""
    base = GaussianMixture([0.7, 0.3], [[-1.5], [2.0]], [0.3, 0.5])
    return reward_tilt(base, Reward([0.6], [[0.8]]))


@claim(
    "C7b",
    kind="identity",
    of=reward_tilt,
    saboteurs=[
        sabotage(
            reward_tilt,
            "log_w + height + 0.5 * float(pull @ pull) - 0.5 * log_det",
            "log_w + height + 0.5 * float(pull @ pull) + 0.5 * log_det",
            "the determinant with a wrong sign",
        ),
        sabotage(
            reward_tilt,
            "log_w + height + 0.5 * float(pull @ pull) - 0.5 * log_det",
            "log_w + height - 0.5 * log_det",
            "the components do not move towards the reward",
        ),
    ],
)
def the_tilted_mixture(tilt):
    """(.7, .3; -1.5, 2; .3, .5) times exp(-.4 x^2 + .6 x): log Z -1.030144122488, which is the
    quadrature's, weights .4307829003, .5692170997."""
    base = GaussianMixture([0.7, 0.3], [[-1.5], [2.0]], [0.3, 0.5])
    found = tilt(base, Reward([0.6], [[0.8]]))
    yield known(found.log_normaliser, -1.030144122488, 12, what="log Z")
    yield known(found.law.weights, [0.4307829003, 0.5692170997], 10, what="weights")
    x = np.linspace(-9, 9, 4001)[:, None]
    mass = np.exp(base.log_prob(x) - 0.4 * x[:, 0] ** 2 + 0.6 * x[:, 0]).sum() * (18 / 4000)
    yield identity(found.log_normaliser, math.log(mass), operations=4001, scale=1.0, what="Z")


def slope_of_reward(tilt, x, alpha, sigma):
    """grad r at x_t."""
    return tilt.reward.linear - x @ tilt.reward.quadratic


@claim(
    "C7c",
    kind="identity",
    of=reward_guidance,
    saboteurs=[
        wrong(slope_of_reward, "grad r at x_t"),
        wrong(
            lambda tilt, x, alpha, sigma: slope_of_reward(tilt, x / alpha, alpha, sigma) / alpha,
            "grad r at x_t / alpha",
        ),
    ],
)
def what_guidance_a_tilt_needs(guidance):
    """At (alpha, sigma, x) = (.7, .6, .8) the diffused tilted law's score is .386477136, the
    teacher's plus grad log E[exp r(x_0) | x_t], which quadrature gives too; with grad r it would be
    .4641."""
    tilt, alpha, sigma = plain_tilt(), 0.7, 0.6
    x0 = np.linspace(-9, 9, 4001)
    for x in (0.8, -1.0, 2.0):
        at = np.array([[x]])
        found = guidance(tilt, at, alpha, sigma)
        plain = tilt.base.log_prob(x0[:, None]) - 0.5 * ((x - alpha * x0) / sigma) ** 2
        slopes = -(x - alpha * x0) / sigma**2
        shares = [np.exp(v - v.max()) for v in (plain - 0.4 * x0**2 + 0.6 * x0, plain)]
        one, two = (float((s * slopes).sum() / s.sum()) for s in shares)
        # both scores are posterior means of terms up to 20
        yield identity(found, one - two, operations=4001, scale=20.0, what=f"quadrature, x = {x:g}")
        if x == 0.8:
            score = tilt.base.score_at(at, alpha, sigma) + found
            yield known(score, [[0.386477136]], 9, what="tilted score")
            mistaken = tilt.base.score_at(at, alpha, sigma) + slope_of_reward(
                tilt, at, alpha, sigma
            )
            yield known(mistaken, [[0.4641]], 4, what="with grad r")


# C8: the critic's objective


def logits(gain):
    """gain log p/q on a grid symmetric between real N(0, 1) and fake N(1, 1), and shares."""
    x = 0.5 + np.linspace(-9.5, 9.5, 3801)
    shares = [np.exp(-0.5 * (x - m) ** 2) / math.sqrt(2 * math.pi) * 0.005 for m in (0.0, 1.0)]
    return torch.tensor(gain * (0.5 - x)), *(torch.tensor(s) for s in shares)


def population(loss, gain):
    """A critic's loss over both laws, up to the constant of logits 0."""
    told, real, fake = logits(gain)
    zero = torch.zeros(1, dtype=torch.float64)
    on_fake = torch.vmap(lambda one: loss(one[None], zero))(told)
    on_real = torch.vmap(lambda one: loss(zero, one[None]))(told)
    return float((fake * on_fake).sum() + (real * on_real).sum())


def printed(fake, real):
    """-log D(real) + log D(fake)."""
    return generator_loss(real) - generator_loss(fake)


@claim(
    "C8a",
    kind="optimum",
    of=critic_loss,
    saboteurs=[
        wrong(printed, "-log D(real) + log D(fake), as printed"),
        sabotage(
            critic_loss,
            "softplus(fake).mean() + softplus(-real).mean()",
            "softplus(-fake).mean() + softplus(real).mean()",
            "labels exchanged",
        ),
    ],
    erratum="the critic's objective is printed as -log D(real) + log D(fake), which has no minimum",
)
def the_standard_critic_has_a_minimum(loss):
    """Real N(0, 1), fake N(1, 1), logits a gain times the log ratio: the loss is smallest at gain
    1.000000."""
    from scipy.optimize import minimize_scalar

    best: Any = minimize_scalar(
        partial(population, loss), bounds=(0.1, 5.0), method="bounded", options={"xatol": 1e-9}
    )
    # a minimum's place is known to the square root of its value's rounding, 1e-15, over its
    # curvature .1
    yield known(best.x, 1.000000, 6, kind="optimum", what="gain")
    here = population(loss, 1.0)
    for gain in (0.5, 0.9, 1.1, 2.0, 10.0, 100.0):
        off = population(loss, gain) - here
        what = f"gain {gain:g}"
        yield optimum(off, 0.0, tolerance=0.0, tolerance_from=NO_NOISE, side="at least", what=what)


@claim(
    "C8b",
    kind="identity",
    of=generator_loss,
    saboteurs=[
        sabotage(generator_loss, "softplus(-fake)", "softplus(fake)", "labels exchanged"),
        sabotage(
            generator_loss,
            "-softplus(fake) if saturating else softplus(-fake)",
            "-softplus(fake)",
            "log (1 - D) for -log D, which turns it around",
        ),
    ],
)
def the_printed_objective_is_unbounded(minus_log):
    """With the generator's term -log D at a logit, log(1 + exp(-l)), the printed -log D(real) + log
    D(fake) is -.5, -5, -50 at the gains 1, 10, 100: -gain KL(real | fake), without a bound."""
    for one in (-3.0, 0.0, 2.0):
        found = float(minus_log(torch.tensor([one], dtype=torch.float64)))
        yield identity(found, math.log1p(math.exp(-one)), operations=8, what=f"at logit {one:g}")
    for gain in (1.0, 10.0, 100.0):
        told, real, fake = logits(gain)
        each = torch.vmap(lambda one: minus_log(one[None]))(told)
        value = float((real * each).sum() - (fake * each).sum())
        why = "torch's softplus is linear from 20 on: exp(-20), under a total mass of 1"
        yield Evidence("identity", value, -gain / 2, 2.1e-9, why, what=f"gain {gain:g}")


# C9: the headline at toy scale


def by_cycles(*arguments, **settings):
    """Cycles taken for fake-score steps."""
    return replace(split_run(*arguments, **settings), n=1)


@claim(
    "C9",
    kind="rate",
    of=split_run,
    saboteurs=[
        wrong(by_cycles, "cycles instead of fake-score steps"),
        wrong(lambda *a, ema=1.0, **s: split_run(*a, **s), "the pull is left out"),
        sabotage(
            split_run,
            "2 * float(g) * _adversarial(last)",
            "float(g) * _adversarial(last)",
            "the term's curvature is not normalised",
        ),
        wrong(lambda *a, split="step", **s: split_run(*a, split="joint", **s), "never split"),
    ],
)
def unbiased_and_cheaper(run):
    """Teacher .2, data 0, g = f = .1, from 1, settled within 1e-3: a joint loss with n = 5 takes 30
    cycles, 150 fake steps, to a bias of .133138; by step there is none, after 114 fake steps with n
    = 1 (ringing), 65 with a pull of .7 (48 for the noisy steps), 130 with n = 2 and .8."""
    joint = run(0.1, 0.1, 5, split="joint")
    yield known(max(joint.settled()), 30, 0, kind="rate", what="joint, cycles")
    yield known(joint.fake_steps(), 150, 0, kind="rate", what="joint, fake steps")
    yield known(joint.bias, 0.133138, 6, kind="rate", what="joint, bias")
    for n, ema, steps in ((1, 1.0, 114), (1, 0.7, 65), (2, 0.8, 130)):
        found, what = run(0.1, 0.1, n, ema=ema), f"n = {n}, ema {ema:g}"
        yield known(found.fake_steps(), steps, 0, kind="rate", what=what)
        why = "the last step's factor 1 - g a cycle, 600 cycles"
        yield Evidence("rate", found.bias, 0.0, 1e-16, why, what=f"bias, {what}")
    yield known(run(0.1, 0.1, 1, ema=0.7).settled()[0], 48, 0, kind="rate", what="noisy steps")
    rings = float(changes(run(0.1, 0.1, 1).means[:150] - [0.2, 0.0]) > 0)
    yield known(rings, 1.0, 0, kind="rate", what="n = 1 rings")


# C10: training runs

RUNS = 16  # coordinates of one run: each has its own networks and noise
DOUBLE: Any = {"dtype": torch.float64}


class Means(nn.Module):
    """A student of two steps from t = 1: x + mean_0, then h x + mean_1, both of variance 1."""

    def __init__(self, coordinates):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2, coordinates, **DOUBLE))

    def forward(self, x, t):
        return x + self.mean[0] if float(t[0]) == 1.0 else THROUGH * x + self.mean[1]


class OneMean(nn.Module):
    """The denoiser of N(mean, 1)."""

    def __init__(self, coordinates):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(coordinates, **DOUBLE))

    def forward(self, x, t):
        alpha, sigma = 1 - t[:, None], t[:, None]
        return self.mean + alpha / (alpha**2 + sigma**2) * (x - alpha * self.mean)


class Lines(nn.Module):
    """A critic of each coordinate, l = slope x + offset."""

    def __init__(self, coordinates):
        super().__init__()
        self.slope, self.offset = (
            nn.Parameter(torch.zeros(coordinates, **DOUBLE)) for _ in ("slope", "offset")
        )

    def forward(self, x):
        return self.slope * x + self.offset


THROUGH = 1 / math.sqrt(0.5)  # at t = 1/2 of the rectified flow, unit variance
TWO_STEPS = FewSteps([1.0, 0.5])


def at_half(path, n, rng):
    """The losses look at t = 1/2."""
    return torch.full((n,), 0.5)


def trained(players, student, teacher, steps, rates, rng, batch, **settings):
    """Train from t = 1 with plain steps of these rates: the student's, the fake score's, and the
    critic's, times a cosine unless there is another schedule; real samples are N(0, 1)."""
    from fewtheory.train import fit

    d = student.mean.shape[1]
    schedule = settings.pop("schedule", cosine_decay(steps))
    own = [{"optimizer": partial(torch.optim.SGD, lr=rate), "schedule": schedule} for rate in rates]
    moving = players(
        student,
        OneMean(d),
        Lines(d),
        lambda network: Model(network, RF, "data"),
        Gaussian([teacher] * d, 1.0).model(RF, "data"),
        TWO_STEPS,
        weight=settings.pop("weight", "kl"),
        levels=at_half,
        fake_levels=at_half,
        ema=1.0,
        student_settings=own[0],
        fake_settings=own[1],
        critic_settings=own[2],
        **settings,
    )
    fit(
        moving,
        lambda n, rng: torch.randn(n, d, generator=rng, **DOUBLE),
        steps,
        rng=rng,
        batch=batch,
    )


MOVES, RATE, HALF = 150, 0.6, 0.4  # of the student; HALF: the weight of KL, so that lam is .04


def preferred(players, runs, rng, **settings):
    """m at the end of so many runs: reward z, beta = 2, 8 candidates, five updates for one."""
    first = Model(Means(1), RF, "data")
    wanted = Preference(lambda z, t: z[:, 0], first, at=(0,), k=8, beta=2.0, ratio=5)
    given = {"preference": wanted, "adversarial": 0.0, **settings}
    students = [Means(1) for _ in range(runs)]
    for student in students:
        trained(players, student, 0.0, MOVES, (RATE, 1.0, 0.0), rng, 256, **given)
    # alpha / sigma is 1 where the second step begins: m is the first step's mean
    return np.array([student.mean[0, 0].item() for student in students])


def pairs(*arguments, preference, **settings):
    """Two candidates for k."""
    return flash_dmd(*arguments, preference=replace(preference, k=2), **settings)


def blind_labels(*arguments, preference, **settings):
    """Best and worst by a number that has nothing to do with the reward."""
    other = replace(preference, reward=lambda z, t: torch.sin(1e6 * z[:, 0]))
    return flash_dmd(*arguments, preference=other, **settings)


@claim(
    "C10a",
    kind="optimum",
    of=flash_dmd,
    saboteurs=[
        pairs,
        blind_labels,
        sabotage(
            flash_dmd,
            "drawn(1 + wanted.ratio, rng) > 0",
            "drawn(1 + wanted.ratio, rng) == 0",
            "the ratio of the updates upside down",
            inside=_student_loss,
        ),
    ],
    deep=True,
    requires=("models",),
)
def joint_runs_end_at_the_joint_optimum(players, rng):
    """Training runs, five preference updates (best and worst of 8, beta = 2) for one of
    distillation, lam = .04: they end at the joint optimum m = .980519, not at the 1.721283 of two
    candidates, the .436706 of the ratio upside down or the 0 of labels that know no reward. Without
    distillation 125 preference steps of .6 lead to m = 1.869513, and it goes on."""
    # KL's curvature in the mean is alpha^2 / S_p = 1/2; one update of six has it, and five the
    # preference loss's, in the same m
    curvature = HALF * 0.5
    right, two, upside = (
        joint_optimum(k, 2.0, lam)
        for k, lam in ((8, curvature / 5), (2, curvature / 5), (8, curvature * 5))
    )
    joint = preferred(players, 32, rng, weight=lambda level: HALF)
    yield half_way(joint, right, [two, upside, 0.0], "joint")
    alone = preference_drift(8, 2.0, MOVES * 5 // 6, rate=RATE)[-1]
    without = preferred(players, 8, rng, weight=lambda level: 0.0, schedule=None)
    yield half_way(without, alone, [right], "preference training alone")


@claim(
    "C10b",
    kind="optimum",
    of=flash_dmd,
    saboteurs=[
        sabotage(
            flash_dmd,
            "terms.low_state == 'own'",
            "terms.low_state != 'own'",
            "the two states taken for each other",
            inside=_low_output,
        ),
        wrong(
            lambda *a, adversarial, **s: flash_dmd(*a, adversarial=0.0, **s),
            "no adversarial term: the first step's bias passes on",
        ),
    ],
    deep=True,
    requires=("models",),
)
def split_runs_lose_the_teachers_bias(players, rng):
    """Training runs of two steps, teacher mean 1, data mean 0: the noisy step ends at the
    teacher's, the last one at the data's where it starts from its own state; from the rediffused
    sample a bias of .414214 is left. Without the term .707107 would pass on."""
    passed = THROUGH * 0.5
    for state in ("own", "rediffused"):
        student = Means(RUNS)
        settings = {"adversarial": float(RUNS), "low_state": state}
        rates = (0.2, RUNS * 0.4, RUNS * 0.5)
        trained(players, student, 1.0, 400, rates, rng, 256, **settings)
        first, offset = student.mean.detach().numpy()
        others = [split_bias(RF, 0.5, 1.0, state=s) for s in STATES if s != state]
        right = split_bias(RF, 0.5, 1.0, state=state)
        yield half_way(first, 1.0, [0.0], f"noisy step, {state}")
        yield half_way(offset + passed * first, right, [*others, passed], f"last, {state}")
