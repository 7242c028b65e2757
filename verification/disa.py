"""DiSA (arXiv 2505.20297), claim by claim. Sheet `disa`.

The world is the Gaussian sequence x = L xi of exchangeable tokens with correlation q: a token
sampler whose standard deviation is r_i times the right one gives x = L diag(r) xi, and for Euler on
the rectified flow r is a product of cosines. `Plan.law`, which knows nothing of angles, and the
testbeds' exact flows are the truth that the closed forms are held against.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from fewtheory.metrics import gaussian_kl, gaussian_w2
from fewtheory.paths import RectifiedFlow
from fewtheory.plan.angles import equal_angles
from fewtheory.samplers import Autoregressive, annealed, annealed_steps, euler, probe
from fewtheory.samplers.annealing import (
    _kl,
    _ratio,
    allocation_law,
    coupling_error,
    equal_angle_grid,
    euler_constant,
    exchangeable_influence,
    exchangeable_stds,
    joint_kl,
    optimal_allocation,
    schedule_ratios,
    std_ratio,
    steps_needed,
    straightness,
)
from fewtheory.samplers.autoregressive import gaussian_factor
from fewtheory.samplers.heads import (
    cosine_table,
    euler_head,
    flowar_head,
    mar_head,
    respaced,
)
from fewtheory.testbeds import Gaussian, GaussianSequence, exchangeable_cov
from fewtheory.verify import bound, claim, identity, law, limit, optimum, sabotage, wrong
from fewtheory.verify.power import LEVEL, normal_quantile, samples_for_variance

FLOW = RectifiedFlow()
STDS = (0.03, 0.1, 0.5, 1.0, 3.0)


def known(found, value, digit, what):
    """Evidence that a number is the sheet's, rounded to `digit`."""
    why = "half a unit of the last digit of the known value"
    return optimum(found, value, tolerance=0.5 * digit, tolerance_from=why, what=what)


def compared(found, other, side, what):
    """Evidence of an inequality between two numbers without noise."""
    why = "an inequality between two exact numbers"
    return optimum(found, other, tolerance=0.0, tolerance_from=why, side=side, what=what)


def exactly(found, expected, what):
    """Evidence that integers are equal."""
    return identity(found, expected, operations=0, what=what)


# C1: straightness


def panels(split):
    """Nodes and weights on [0, 1]: Gauss-Legendre on panels that shrink towards `split`."""
    x, w = np.polynomial.legendre.leggauss(24)
    reach = np.concatenate([[0.0], 2.0 ** np.arange(-14.0, 1.0)])
    edges = np.unique(np.concatenate([split * (1 - reach), split + (1 - split) * reach]))
    low, width = edges[:-1, None], np.diff(edges)[:, None]
    return (low + width * (x + 1) / 2).ravel(), (width * w / 2).ravel()


def straightness_of_flow(bed, split):
    """int_0^1 E|(x_1 - x_0) - v(x_t, t)|^2 dt by quadrature on the exact flow, which is linear."""
    d = bed.event[0]
    flow, model, noise = bed.flow(FLOW), bed.model(FLOW, "velocity"), np.eye(d)
    chord = noise - flow(noise, 1.0, 0.0)
    times, weights = panels(split)
    bend = [chord - model(flow(noise, 1.0, float(t)), float(t)) for t in times]
    return float(weights @ [np.sum(v**2) for v in bend])


FACTOR = "_stds('straightness', std) * (2 - math.pi / 2)"


@claim(
    "C1a",
    kind="identity",
    of=straightness,
    saboteurs=[
        sabotage(
            straightness,
            FACTOR,
            "_stds('straightness', std) * (2 - math.pi / 2 + std)",
            "the chord ends at the conditional mean",
        ),
        sabotage(
            straightness,
            FACTOR,
            "1 + std ** 2 - std * math.pi / 2",
            "(1 - s)^2, the chord itself, is not subtracted",
        ),
    ],
)
def straight_paths(of):
    """The straightness of the rectified flow to N(m, s^2) is s (2 - pi/2): .0214601836603,
    .128761101961, .429203673205, 1.07300918301 for s = .05, .3, 1, 2.5."""
    values = {0.05: 0.0214601836603, 0.3: 0.128761101961, 1.0: 0.429203673205, 2.5: 1.07300918301}
    for s, value in values.items():
        flow = straightness_of_flow(Gaussian([0.0], s**2), s**2 / (1 + s**2))
        # 1/s times the digits of x_t enter the velocity; 24 points on panels of its own scale
        yield identity(of(s), flow, operations=4096, scale=1 / s, what=f"quadrature, s = {s}")
        yield identity(of(s), value, operations=4, scale=1e-12 / 2**-52, what=f"known, s = {s}")


@claim(
    "C1b",
    kind="identity",
    of=straightness,
    saboteurs=[
        wrong(lambda s: straightness(s**2), "the trace of C, not of its root"),
        wrong(lambda s: straightness(np.sqrt(np.sum(s**2))), "the root of the trace"),
    ],
)
def straight_paths_of_vectors(of):
    """Of N(m, C) it is (2 - pi/2) tr C^{1/2}, here of four correlated numbers."""
    root = np.random.default_rng(4).standard_normal((4, 4)) / 2
    cov = root @ root.T + 0.05 * np.eye(4)
    stds = np.sqrt(np.linalg.eigvalsh(cov))
    flow = straightness_of_flow(Gaussian(np.zeros(4), cov), 0.2)
    return identity(np.sum(of(stds)), flow, operations=4096, scale=4 / stds.min())


DRAWS = 4


def chords(plan, s):
    """sum (y_j - y_{j+1})^2 / dt - (y_0 - y_N)^2 of the plan's path from 1 on N(0, s^2)."""
    path = []
    model = Gaussian([0.0], s**2).model(FLOW, "flow")
    plan.run(model, np.ones((1, 1)), callback=lambda i, u: path.append(float(u[0, 0])))
    return float(np.sum(np.diff(path) ** 2) * plan.nfe - (path[0] - path[-1]) ** 2)


@claim(
    "C1c",
    kind="law",
    of=probe,
    saboteurs=[
        sabotage(
            probe,
            "draws.var(axis=0, ddof=1)",
            "draws.var(axis=0)",
            "the spread about the mean of the draws is divided by k, not k - 1",
        ),
        sabotage(
            probe,
            "standard_normal(rng, rows[:, i:, ...].shape, x)",
            "standard_normal(rng, rows[:, i:, ...].shape, x) * 1.2",
            "draws at a temperature",
        ),
    ],
)
def probes(of, rng):
    """The probes measure what is claimed: on Gaussian tokens the variance of k repeated draws, over
    (r_i s_i)^2, is chi-square of n (k - 1) degrees over their number, and straightness that of the
    plan's chords, of n k.

    The sample size sees a variance of (k - 1)/k of the right one."""
    from scipy.stats import chi2

    bed, plan = GaussianSequence(exchangeable_cov(3, 0.8)), euler_head(12)
    tests = 2 * bed.stds.size
    n = -(-samples_for_variance(1 - 1 / DRAWS, tests) // (DRAWS - 1))
    x = bed.sample(n, rng=rng)
    found = of(lambda i, x: bed.given(x).model(FLOW, "flow"), plan, x, rng, repeats=DRAWS)
    for i, s in enumerate(bed.stds.tolist()):
        for name, dof, expected in (
            ("variance", n * (DRAWS - 1), float(std_ratio(s, 12) * s) ** 2),
            ("straightness", n * DRAWS, chords(plan, s)),
        ):
            value = getattr(found, name).value[i] / expected * dof
            tail = float(min(chi2.cdf(value, dof), chi2.sf(value, dof)))
            z = normal_quantile(max(tail, 1e-300))
            yield law(z, level=LEVEL / tests, what=f"{name}, token {i}", n=n)


# C2: conditional standard deviations


@claim(
    "C2a",
    kind="identity",
    of=exchangeable_stds,
    saboteurs=[
        sabotage(exchangeable_stds, "np.arange(n)", "np.arange(1, n + 1)", "the index is one off"),
        sabotage(exchangeable_stds, "1 + i * q", "1 + q", "one earlier token, not i"),
    ],
)
def conditional_stds(of):
    """s_i^2 = (1 - q)(1 + i q)/(1 + (i-1) q) for exchangeable tokens, as Cholesky's diagonal."""
    for q in (0.0, 0.5, 0.8, 0.95):
        # a pivot of 64 subtractions from 1, divided by itself
        bed = GaussianSequence(exchangeable_cov(64, q))
        yield identity(of(64, q), bed.stds, operations=64, scale=1 / (1 - q), what=f"q = {q}")


@claim(
    "C2b",
    kind="rate",
    of=exchangeable_stds,
    saboteurs=[
        sabotage(exchangeable_stds, "1 + (i - 1) * q", "1 + i + q", "another denominator"),
        wrong(lambda n, q: 0 * np.arange(n) + math.sqrt(1 - q * q), "a chain, not a family"),
    ],
)
def stds_decrease(of):
    """s_i^2 decreases to 1 - q: not to zero, however many tokens there are."""
    n = [200, 400, 800, 1600]
    for q in (0.5, 0.95):
        yield limit([1 / v for v in n], [of(v, q)[-1] ** 2 for v in n], 1 - q, what=f"q = {q}")


@claim(
    "C2c",
    kind="identity",
    of=exchangeable_influence,
    saboteurs=[
        sabotage(exchangeable_influence, "n - 1 - i", "n - i", "one later token too many"),
        wrong(exchangeable_stds, "the spread of a token in place of its influence"),
    ],
)
def influence(of):
    """w_i^2 = s_i^2 (1 + (n - 1 - i) q^2/(1 + i q)^2), the norms of Cholesky's columns."""
    for q in (0.0, 0.5, 0.95):
        bed = GaussianSequence(exchangeable_cov(64, q))
        size = 8 / (1 - q)  # columns of 64 entries, each with a pivot's error
        yield identity(of(64, q), bed.influence, operations=64, scale=size, what=f"q = {q}")


# C3: how many steps a token needs


@claim(
    "C3a",
    kind="identity",
    of=std_ratio,
    saboteurs=[
        sabotage(
            std_ratio,
            "clean[..., :-1] * clean[..., 1:] + t[:-1] * t[1:]",
            "clean[..., :-1] * clean[..., 1:] - t[:-1] * t[1:]",
            "the cosine of the sum of the angles",
            inside=_ratio,
        ),
        sabotage(
            std_ratio,
            "(1 - t) * s[..., None]",
            "(1 - t) * s[..., None] ** 2",
            "the variance in place of the spread",
            inside=_ratio,
        ),
    ],
)
def product_of_cosines(of):
    """N Euler steps leave r = prod cos(theta_k - theta_{k+1}) of the standard deviation, and the
    mean exact: for every s, N, on the uniform grid and on the equal-angle one."""
    for s in STDS:
        for n in (1, 2, 9, 40):
            for grid, made in (
                ("uniform", np.linspace(1, 0, n + 1)),
                ("equal-angle", equal_angle_grid(s, n)),
            ):
                output = euler(FLOW, made).law(Gaussian([0.7], s**2), start=(0.0, 1.0))
                what, size = f"{grid}, s = {s}, N = {n}", 1 / min(s, 1)
                found = float(of(s, n, grid))
                yield identity(output.std_ratio[0], found, operations=16 * n, scale=size, what=what)
                yield identity(
                    output.mean[0], 0.7, operations=16 * n, scale=size, what=f"mean, {what}"
                )


C_TERM = "0.5 + math.pi * (1 + s ** 2) / (8 * s)"


@claim(
    "C3b",
    kind="rate",
    of=euler_constant,
    saboteurs=[
        sabotage(euler_constant, C_TERM, "math.pi * (1 + s ** 2) / (8 * s)", "C without the 1/2"),
        sabotage(euler_constant, C_TERM, "math.pi * (1 + s ** 2) / (4 * s)", "pi (1 + s^2)/(4 s)"),
    ],
)
def constant_of_the_uniform_grid(of):
    """N (1 - r) tends to C(s) = 1/2 + pi (1 + s^2)/(8 s) on the uniform grid: 13.60, 4.466, 1.482,
    1.285, 1.809 for s = .03, .1, .5, 1, 3."""
    steps = [250, 500, 1000, 2000]
    for s in STDS:
        scaled = [n * (1 - float(std_ratio(s, n))) for n in steps]
        yield limit([1 / n for n in steps], scaled, float(of(s)), what=f"s = {s}")


@claim(
    "C3c",
    kind="rate",
    of=euler_constant,
    saboteurs=[
        sabotage(euler_constant, C_TERM, "math.pi * (1 + s ** 2) / (4 * s)", "pi (1 + s^2)/(4 s)"),
        sabotage(euler_constant, C_TERM, "0.5 + math.pi / 8", "the same for every token"),
    ],
)
def absolute_error_does_not_vanish(of):
    """s C(s) tends to pi/8, not to 0, as s does: N times the absolute error of a token does not
    vanish with its spread."""
    s = [0.08, 0.04, 0.02, 0.01]
    return limit(s, [v * float(of(v)) for v in s], math.pi / 8)


@claim(
    "C3d",
    kind="bound",
    of=std_ratio,
    saboteurs=[
        wrong(lambda s, n, grid="uniform": std_ratio(1.0, n), "the ratio of s = 1 for every token"),
        wrong(lambda s, n, grid="uniform": 1 - euler_constant(s) / n, "the law of many steps"),
    ],
)
def absolute_error_saturates(of):
    """It only saturates at s: for a fixed number of steps r is between 0 and N s, so that the error
    of a token with s << 1/N is s, all of it."""
    s = np.geomspace(1e-5, 1e-2, 13)
    for n in (4, 16, 64):
        r = np.array([float(of(v, n)) for v in s])
        yield bound(r, n * s, x=s, what=f"r at most N s, N = {n}", x_label="s")
        yield bound(r, 0 * s, side="at least", x=s, what=f"r at least 0, N = {n}", x_label="s")


ANGLE = "np.tan(theta * (n - np.arange(1, n)) / n)"


@claim(
    "C3e",
    kind="rate",
    of=equal_angle_grid,
    saboteurs=[
        sabotage(
            equal_angle_grid,
            f"s * {ANGLE}",
            ANGLE,
            "the spread is left out",
            inside=equal_angles,
        ),
        sabotage(
            equal_angle_grid,
            ANGLE,
            "(n - np.arange(1, n)) / np.arange(1, n)",
            "equal steps in t",
            inside=equal_angles,
        ),
    ],
)
def constant_of_the_equal_angle_grid(of):
    """On the equal-angle grid N (1 - r) tends to pi^2/8 for every s: the absolute error is
    proportional to s."""
    steps = [32, 64, 128, 256]
    for s in (0.1, 0.5, 3.0):
        laws = [euler(FLOW, of(s, n)).law(Gaussian([0.0], s**2), (0.0, 1.0)) for n in steps]
        scaled = [n * (1 - float(v.std_ratio[0])) for n, v in zip(steps, laws, strict=True)]
        yield limit([1 / n for n in steps], scaled, math.pi**2 / 8, what=f"s = {s}")


# C4: steps for an absolute error of .02

ASKED = (1.0, 0.5, 0.2, 0.1, 0.06, 0.045, 0.02)
RELATIVE = sabotage(
    steps_needed,
    "s * (1 - float(std_ratio(s, n, grid)))",
    "1 - float(std_ratio(s, n, grid))",
    "the relative error",
)


@claim(
    "C4a",
    kind="identity",
    of=steps_needed,
    saboteurs=[
        RELATIVE,
        sabotage(
            steps_needed,
            "s * (1 - float(std_ratio(s, n, grid)))",
            "s * (1 - float(std_ratio(s, n + 1, grid)))",
            "one step short",
        ),
    ],
)
def steps_for_an_error(of):
    """An absolute error of .02 takes 64, 37, 25, 21, 19, 18, 1 steps for s = 1, .5, .2, .1, .06,
    .045, .02 on the uniform grid, and 62, 31, 12, 6, 4, 3, 1 on the equal-angle one."""
    for grid, expected in (
        ("uniform", [64, 37, 25, 21, 19, 18, 1]),
        ("equal-angle", [62, 31, 12, 6, 4, 3, 1]),
    ):
        yield exactly([of(0.02, s, grid) for s in ASKED], expected, grid)


@claim("C4b", kind="bound", of=steps_needed, saboteurs=[RELATIVE])
def late_switch(of):
    """On the uniform grid the requirement is nearly flat and then drops to 1: it is 25 to 18 from s
    = .2 to .045, and 1 from s = .02 on. On the equal-angle grid it falls in proportion to s: it is
    pi^2 s/(8 error), to a step.

    Annealing should look like two stages with a late switch in the one case, linear in s in the
    other."""
    flat = np.linspace(0.045, 0.2, 32)
    steps = [of(0.02, float(v)) for v in flat]
    yield bound(steps, np.full(32, 25.0), x=flat, what="at most 25", x_label="s")
    yield bound(steps, np.full(32, 18.0), side="at least", x=flat, what="18 or more", x_label="s")
    low = np.linspace(0.001, 0.02, 20)
    yield bound([of(0.02, float(v)) for v in low], np.ones(20), x=low, what="one", x_label="s")
    s = np.linspace(0.02, 1.0, 50)
    adapted = [of(0.02, float(v), "equal-angle") - math.pi**2 * v / 0.16 for v in s]
    yield bound(np.abs(adapted), np.ones(50), x=s, what="in proportion", x_label="s")


# C5: the joint law

SIX, RATIOS = GaussianSequence(exchangeable_cov(6, 0.8)), (0.9, 0.8, 0.95, 0.7, 0.99, 0.85)
KL_TERM = "(r ** 2 - 1) / 2 - np.log(r)"


def joint(bed, r):
    """The covariance of L diag(r) xi."""
    factor = bed.factor * np.asarray(r)
    return factor @ factor.T


@claim(
    "C5a",
    kind="identity",
    of=joint_kl,
    saboteurs=[
        sabotage(joint_kl, KL_TERM, "(r ** -2 - 1) / 2 + np.log(r)", "the other KL", inside=_kl),
        wrong(
            lambda r: float(np.sum(SIX.stds * [joint_kl([v]) for v in r])),
            "each token's KL multiplied by s_i",
        ),
    ],
)
def joint_divergence(of):
    """The KL of L diag(r) xi against L xi is sum_i [(r_i^2 - 1)/2 - log r_i], whatever L and s are:
    .181591570650 for n = 6."""
    odd = np.random.default_rng(6).standard_normal((6, 6))
    for what, bed in (
        ("q = .8", SIX),
        ("q = .3", GaussianSequence(exchangeable_cov(6, 0.3))),
        ("any L", GaussianSequence(odd @ odd.T + 0.5 * np.eye(6))),
    ):
        kl = float(gaussian_kl(np.zeros(6), joint(bed, RATIOS), np.zeros(6), bed.cov))
        size = 6 * np.linalg.cond(bed.cov)  # of whitening
        yield identity(of(RATIOS), kl, operations=16, scale=size, what=what)
    yield identity(of(RATIOS), 0.181591570650, operations=1, scale=5e-13 / 2**-52, what="known")


@claim(
    "C5b",
    kind="identity",
    of=coupling_error,
    saboteurs=[
        wrong(lambda w, r: coupling_error(SIX.stds, r), "weights s_i in place of w_i"),
        sabotage(
            coupling_error, "w ** 2 * (1 - r) ** 2", "w * (1 - r) ** 2", "the weight is not squared"
        ),
    ],
)
def coupling(of):
    """With one noise E|L diag(r) xi - L xi|^2 = sum_i w_i^2 (1 - r_i)^2: .10023267 for n = 6."""
    found = of(SIX.influence, RATIOS) ** 2
    apart = float(np.sum((SIX.factor * np.asarray(RATIOS) - SIX.factor) ** 2))
    yield identity(found, apart, operations=64, what="Frobenius norm")
    yield identity(found, 0.10023267, operations=1, scale=5e-9 / 2**-52, what="known")


@claim(
    "C5c",
    kind="bound",
    of=coupling_error,
    saboteurs=[
        wrong(lambda w, r: coupling_error(SIX.stds, r), "weights s_i in place of w_i"),
        wrong(lambda w, r: coupling_error(w, r) ** 2, "the square"),
    ],
)
def coupling_bounds_transport(of):
    """The coupling error is at least W2: of its square .10023267, W2's is .09137548."""
    rng, errors, distances = np.random.default_rng(5), [], []
    for r in [RATIOS, *rng.uniform(0.5, 1.0, (30, 6))]:
        zero = np.zeros(6)
        distances.append(float(gaussian_w2(zero, joint(SIX, r), zero, SIX.cov)))
        errors.append(of(SIX.influence, r))
    # W2 is a difference of roots of matrices: 6 eps |A| times the root of the condition number
    yield bound(errors, distances, side="at least", operations=4096)
    yield bound([abs(distances[0] ** 2 - 0.09137548)], [5e-9], what="known")


@claim(
    "C5d",
    kind="optimum",
    of=optimal_allocation,
    saboteurs=[
        sabotage(
            optimal_allocation,
            "_kl(r)",
            "float(s[i]) * _kl(r)",
            "each token's KL multiplied by s_i",
        ),
        wrong(
            lambda s, budget, grid, of: optimal_allocation(s, budget, s, grid=grid),
            "the coupling error in place of the KL",
        ),
    ],
)
def constrained_tokens_are_not_easier_in_kl(of):
    """In KL the best allocation is constant on equal-angle grids, and on uniform grids late tokens,
    being more constrained, take more steps: it never falls, and ends above where it began."""
    for q in (0.5, 0.95):
        s, what = exchangeable_stds(32, q), f"q = {q}"
        flat = of(s, 32 * 12, grid="equal-angle", of="kl")
        yield compared(int(np.ptp(flat)), 0, "equal", f"equal angles, {what}")
        rising = of(s, 32 * 80, grid="uniform", of="kl")
        yield compared(int(np.diff(rising).min()), 0, "at least", f"uniform, {what}")
        yield compared(int(rising[-1] - rising[0]), 1, "at least", f"from first to last, {what}")


# C6: the toy headline

TOKENS, BUDGET = 64, 1733
CONSTANT = np.where(np.arange(TOKENS) < 5, 28, 27)
TABLE = {  # L2 at q = .5 and .95, KL at q = .5 and .95, as in the sheet
    "linear": (0.5058, 0.3304, 0.484, 1.448),
    "cosine": (0.6390, 0.3899, 0.814, 2.462),
    "two-stage": (0.9779, 0.5530, 1.990, 6.090),
    "reversed": (1.2695, 1.8310, 0.470, 1.164),
    "constant": (0.3734, 0.3903, 0.149, 0.433),
    "constant 50": (0.2070, 0.2199, 0.044, 0.129),
}
REVERSED = sabotage(
    annealed_steps, "(up - i) * (hi - lo) // up", "i * (hi - lo) // up", "the index is reversed"
)
SWAPPED = wrong(
    lambda n, hi, lo, kind="linear": annealed_steps(n, hi, lo, kind)[::-1], "hi and lo swapped"
)


def schedules(of):
    """The schedules of the table, from 50 to 5."""
    kinds = {kind: of(TOKENS, 50, 5, kind) for kind in ("linear", "cosine", "two-stage")}
    fixed = {"constant": CONSTANT, "constant 50": np.full(TOKENS, 50)}
    return {**kinds, "reversed": kinds["linear"][::-1], **fixed}


def errors_of(steps, q, grid="uniform"):
    """L2 (coupling error) and joint KL of a schedule."""
    s, w = exchangeable_stds(TOKENS, q), exchangeable_influence(TOKENS, q)
    r = schedule_ratios(s, steps, grid)
    return coupling_error(w, r), joint_kl(r)


@claim("C6a", kind="optimum", of=annealed_steps, saboteurs=[REVERSED, SWAPPED])
def headline(of):
    """64 tokens on uniform grids, all at 1733 evaluations but cosine (1729), two-stage (1760) and
    constant 50 (3200): L2 at q = .5 and .95, then KL, of the sheet's table."""
    for name, steps in schedules(of).items():
        for k, q in enumerate((0.5, 0.95)):
            l2, kl = errors_of(steps, q)
            yield known(l2, TABLE[name][k], 1e-4, f"L2, {name}, q = {q}")
            yield known(kl, TABLE[name][2 + k], 1e-3, f"KL, {name}, q = {q}")


@claim("C6b", kind="optimum", of=annealed_steps, saboteurs=[REVERSED, SWAPPED])
def headline_on_equal_angles(of):
    """On equal-angle grids at q = .95 L2 is .2380 for linear, .3457 for constant, .1950 for
    constant 50."""
    table = schedules(of)
    for name, value in {"linear": 0.2380, "constant": 0.3457, "constant 50": 0.1950}.items():
        yield known(errors_of(table[name], 0.95, "equal-angle")[0], value, 1e-4, name)


@claim("C6c", kind="optimum", of=annealed_steps, saboteurs=[REVERSED, SWAPPED])
def when_annealing_pays(of):
    """At equal evaluations annealing beats constant where late tokens are strongly determined (L2
    at q = .95), loses where they are not (q = .5), and loses in KL in both; reversed it is 2.5 and
    5.5 times worse than linear."""
    table = schedules(of)
    for q, side in ((0.95, "at most"), (0.5, "at least")):
        linear, constant = (errors_of(table[name], q) for name in ("linear", "constant"))
        yield compared(linear[0], constant[0], side, f"L2, linear against constant, q = {q}")
        yield compared(linear[1], constant[1], "at least", f"KL, linear against constant, q = {q}")
        worse = errors_of(table["reversed"], q)[0] / linear[0]
        yield known(worse, 5.5 if q == 0.95 else 2.5, 0.1, f"reversed over linear, q = {q}")
        order = [errors_of(table[k], q)[0] for k in ("linear", "cosine", "two-stage", "reversed")]
        yield compared(min(np.diff(order)), 0.0, "at least", f"the order of the rows, q = {q}")


BY_STD = sabotage(
    optimal_allocation,
    "np.atleast_1d(_stds(where, influence, 'influence'))",
    "s",
    "allocated by s_i, not by influence",
)
SQUARED = sabotage(
    optimal_allocation,
    "w[i] ** 2 * (1 - r) ** 2",
    "w[i] * (1 - r)",
    "the distance of a token, not its square",
)


@claim("C6d", kind="optimum", of=optimal_allocation, saboteurs=[BY_STD, SQUARED])
def optimal_allocations(of):
    """The optimal allocation of 1733 steps has L2 .3238 (q = .5) and .1948 (q = .95), KL .166 and
    .558, on uniform grids; on equal angles L2 .1146 at q = .95, its head 228, 68, 48, 39 and its
    tail 21. It is at most every schedule of as many evaluations."""
    for q, l2, kl in ((0.5, 0.3238, 0.166), (0.95, 0.1948, 0.558)):
        s, w = exchangeable_stds(TOKENS, q), exchangeable_influence(TOKENS, q)
        found = errors_of(of(s, BUDGET, w), q)
        yield known(found[0], l2, 1e-4, f"L2, q = {q}")
        yield known(found[1], kl, 1e-3, f"KL, q = {q}")
        for name, steps in schedules(annealed_steps).items():
            if steps.sum() <= BUDGET:
                other = errors_of(steps, q)[0]
                yield compared(found[0], other, "at most", f"against {name}, q = {q}")
    best = of(s, BUDGET, w, grid="equal-angle")
    yield known(errors_of(best, 0.95, "equal-angle")[0], 0.1146, 1e-4, "L2, equal angles")
    for i, value in enumerate((228, 68, 48, 39)):
        yield compared(int(best[i]), value, "equal", f"equal angles, step {i}")
    yield compared(int(best[-1]), 21, "equal", "equal angles, the last step")


@claim("C6e", kind="bound", of=optimal_allocation, saboteurs=[BY_STD, SQUARED])
def no_exchange_improves(of):
    """No step moved from one token to another lowers the error of the allocation: with convex terms
    that is the optimum among all allocations of the budget."""
    for grid in ("uniform", "equal-angle"):
        for q in (0.5, 0.95):
            s, w = exchangeable_stds(16, q), exchangeable_influence(16, q)
            best = of(s, 400, w, grid=grid)

            def cost(steps, s=s, w=w, grid=grid):
                return w**2 * (1 - schedule_ratios(s, steps, grid)) ** 2

            lost = cost(best - 1) - cost(best)
            gained = cost(best) - cost(best + 1)
            moves = (lost[:, None] - gained[None, :])[~np.eye(16, dtype=bool)]
            yield bound(moves, 0 * moves, side="at least", what=f"{grid}, q = {q}")


@claim(
    "C6f",
    kind="identity",
    of=Autoregressive,
    saboteurs=[
        wrong(lambda c, plans: Autoregressive(c, plans[::-1]), "the schedule is reversed"),
        wrong(lambda c, plans: Autoregressive(lambda i, x: c(i, 0 * x), plans), "an empty prefix"),
    ],
)
def the_loop_is_the_closed_form(of):
    """The loop of annealed Euler samplers on exact conditional models, run, is L diag(r) xi: the
    numbers of the table are those of samples."""
    for q in (0.5, 0.95):
        bed, steps = GaussianSequence(exchangeable_cov(16, q)), annealed_steps(16, 50, 5)
        made = annealed(lambda i, x, bed=bed: bed.given(x).model(FLOW, "flow"), euler_head, steps)
        xi = np.random.default_rng(7).standard_normal((4, 16))
        found = of(made.conditional, made.plans).run(xi)
        expected = xi @ (bed.factor * schedule_ratios(bed.stds, steps)).T
        # innovations are solved for in 16 triangular systems
        size = float(np.linalg.cond(bed.factor) * np.abs(xi).max())
        yield identity(found, expected, operations=256, scale=size, what=f"q = {q}")


@claim(
    "C6g",
    kind="identity",
    of=gaussian_factor,
    saboteurs=[
        sabotage(
            gaussian_factor,
            "float(law.mean[0]) * pull @ A[:i, :i]",
            "float(law.mean[0]) * L[i, :i]",
            "means follow the true prefix",
        ),
        wrong(lambda bed, plans: gaussian_factor(bed, plans[::-1]), "the schedule is reversed"),
    ],
)
def the_factor_of_the_loop(of):
    """Where plans start at alpha = 0 the loop's factor is L diag(r); where means are not exact (the
    MAR head's cap) row i carries the shrunken rows before it."""
    bed, steps = GaussianSequence(exchangeable_cov(8, 0.8)), annealed_steps(8, 12, 3)
    exact = bed.factor * schedule_ratios(bed.stds, steps)
    found = of(bed, [euler_head(int(n)) for n in steps])
    yield identity(found, exact, operations=256, scale=1.0, what="Euler heads")
    plans, L = [mar_head(int(n)) for n in steps], bed.factor
    moved, rows = of(bed, plans), []
    for i, plan in enumerate(plans):  # by the noises: the k-th draw alone, through the recursion
        start = (0.0, float(plan.alpha[0] ** 2 + plan.sigma[0] ** 2))
        output = plan.law(Gaussian([1.0], L[i, i] ** 2), start=start)
        mean = L[i, :i] @ np.linalg.inv(L[:i, :i]) if i else np.zeros(0)
        row = np.zeros(8)
        for j in range(i):
            row += float(output.mean[0]) * mean[j] * rows[j]
        row[i] = math.sqrt(float(output.variance[0]))
        rows.append(row)
    yield identity(moved, np.array(rows), operations=256, scale=1.0, what="MAR heads")


# C7: the law of the allocation


@claim(
    "C7a",
    kind="optimum",
    of=allocation_law,
    saboteurs=[
        sabotage(allocation_law, "2 / 3", "1.0", "in proportion to the influence"),
        sabotage(allocation_law, "2 / 3", "1 / 2", "by its root"),
    ],
)
def two_thirds(of):
    """On equal-angle grids N_i ~ w_i^{2/3}: for w = (4, 2, 1, .5) and 4000 steps the law says
    1756.8, 1106.7, 697.2, 439.2, and the optimum is 1757, 1107, 697, 439."""
    w = np.array([4.0, 2.0, 1.0, 0.5])
    rule = of(w, np.ones(4), 4000)
    best = optimal_allocation(np.ones(4), 4000, w, grid="equal-angle")
    for i, (value, whole) in enumerate(
        zip((1756.8, 1106.7, 697.2, 439.2), (1757, 1107, 697, 439), strict=True)
    ):
        yield known(rule[i], value, 0.1, f"law, token {i}")
        yield compared(int(best[i]), whole, "equal", f"optimum, token {i}")
        yield compared(abs(best[i] - rule[i]), 1.0, "at most", f"a step apart, token {i}")


@claim(
    "C7b",
    kind="bound",
    of=allocation_law,
    saboteurs=[
        sabotage(allocation_law, "(w * c) ** (2 / 3)", "w ** (2 / 3)", "C(s) is left out"),
        sabotage(allocation_law, "2 / 3", "1 / 2", "by its root"),
    ],
)
def two_thirds_on_uniform_grids(of):
    """On uniform grids N_i ~ (w_i C(s_i))^{2/3}, to a step beside the next term of 1 - r.

    1 - r = (C/N)(1 + a/N) moves the optimum from the law by a_i - (law_i / B) sum_j a_j."""
    s, w, fine = np.array([1.0, 0.2, 0.1]), np.array([3.0, 1.0, 0.5]), 2000
    c = euler_constant(s)
    a = fine * (fine * (1 - std_ratio(s, fine)) / c - 1)
    for budget in (1000, 4000):
        rule = of(w, c, budget)
        apart = optimal_allocation(s, budget, w) - rule - (a - rule / budget * a.sum())
        yield bound(np.abs(apart), np.ones(3), what=f"B = {budget}")


# C8: the MAR head


def recursion(s, entries):
    """The sd ratio of DDPM's posterior sampling on betas, step by step, from the exact start."""
    bar = np.append(cosine_table().alphas_cumprod[entries], 1.0)
    variance = bar[0] * s**2 + 1 - bar[0]
    for now, after in itertools.pairwise(bar):
        beta = 1 - now / after
        shrink = math.sqrt(now) * s**2 / (now * s**2 + 1 - now)  # x0hat = shrink x
        mean = math.sqrt(after) * beta / (1 - now) * shrink
        mean += math.sqrt(now / after) * (1 - after) / (1 - now)
        variance = mean**2 * variance + (1 - after) / (1 - now) * beta
    return math.sqrt(variance) / s


LARGE = wrong(lambda n, capped: mar_head(n, capped=capped, variance=1.0), "the large variance")
DDIM = wrong(lambda n, capped: mar_head(n, method="ddim", capped=capped), "DDIM on those entries")


@claim("C8a", kind="optimum", of=mar_head, saboteurs=[LARGE, DDIM])
def spread_of_the_mar_head(of):
    """The ancestral sampler (small variance, no cap, exact start) leaves .6613, .8100, .9155,
    .9554, .9768 of a standard deviation of 1 in 5, 10, 25, 50, 100 steps, and of .1 .2329, .4431,
    .6800, .7922, .8724: small s takes more steps relatively, as in C3."""
    steps, narrow = (5, 10, 25, 50, 100), (0.2329, 0.4431, 0.6800, 0.7922, 0.8724)
    wide = (0.6613, 0.8100, 0.9155, 0.9554, 0.9768)
    for n, *values in zip(steps, wide, narrow, strict=True):
        plan = of(n, capped=False)
        found = [float(plan.law(Gaussian([0.0], s * s)).std_ratio[0]) for s in (1.0, 0.1)]
        for s, r, value in zip((1.0, 0.1), found, values, strict=True):
            yield known(r, value, 1e-4, f"s = {s}, N = {n}")
        yield compared(found[1], found[0], "at most", f"s = .1 against 1, N = {n}")


@claim("C8b", kind="identity", of=mar_head, saboteurs=[LARGE, DDIM])
def mar_head_is_ddpm(of):
    """It is DDPM's posterior sampling on the respaced betas: the exact variance recursion agrees,
    with the cap and without."""
    for capped in (False, True):
        for n in (5, 24, 60):
            entries = respaced(n, 950 if capped else None)
            for s in (0.1, 1.0):
                found = of(n, capped=capped).law(Gaussian([0.0], s * s)).std_ratio[0]
                what = f"s = {s}, N = {n}, " + ("capped" if capped else "not capped")
                # 1 - abar of the first entry is 4e-5: beta and its ratio lose as many digits
                yield identity(
                    found, recursion(s, entries), operations=16 * n, scale=1e4, what=what
                )


@claim(
    "C8c",
    kind="identity",
    of=respaced,
    saboteurs=[
        wrong(lambda n, cap: [min(i, cap) for i in respaced(n)], "steps beyond 950 do not merge"),
        wrong(lambda n, cap: [i for i in respaced(n) if i <= cap], "steps beyond 950 are dropped"),
    ],
)
def merged_steps(of):
    """Steps beyond 950 are moved to 950 and merge from N = 22 on: 50 requested are 48 performed,
    100 are 96; and the noise that it starts from then belongs to alpha^2 = .0058."""
    counts = [len(of(n, 950)) for n in (20, 21, 22, 50, 100)]
    yield exactly(counts, [20, 21, 21, 48, 96], "steps performed")
    first = [cosine_table().alphas_cumprod[of(n, 950)[0]] for n in (22, 50, 100)]
    half = 5e-5 / 2**-52
    yield identity(first, np.full(3, 0.0058), operations=1, scale=half, what="alpha^2 at the start")


# C9: schedules


@claim(
    "C9a",
    kind="identity",
    of=annealed_steps,
    saboteurs=[
        REVERSED,
        sabotage(annealed_steps, "np.arange(n), n - 1", "np.arange(n), n", "up is n, not n - 1"),
        wrong(
            lambda n, hi, lo, kind="linear": np.rint(
                lo + (n - 1 - np.arange(n)) / (n - 1) * (hi - lo)
            ).astype(int),
            "rounded, not truncated",
        ),
    ],
)
def schedule_tables(of):
    """n = 64 from 50 to 5: linear is 50, 49, 48, 47, .., 28, 27, 27, 26 (i = 30 to 33), .., 6, 5,
    of sum 1733. FlowAR, 25 to 15 over 5 scales, is 25, 22, 20, 17, 15; xAR, 50 to 15 over 4
    clusters, 50, 38, 26, 15."""
    linear = of(64, 50, 5)
    yield exactly(linear[:4], [50, 49, 48, 47], "head")
    yield exactly(linear[30:34], [28, 27, 27, 26], "middle")
    yield exactly([linear[-3], linear[-1], linear.sum()], [6, 5, 1733], "tail and sum")
    yield exactly(of(5, 25, 15), [25, 22, 20, 17, 15], "FlowAR")
    yield exactly(of(4, 50, 15), [50, 38, 26, 15], "xAR")


@claim(
    "C9b",
    kind="identity",
    of=annealed_steps,
    saboteurs=[
        sabotage(annealed_steps, "np.cos(np.pi * i / up)", "np.cos(np.pi * i / n)", "n for up"),
        sabotage(annealed_steps, "i < up / 2", "i < up // 2", "the switch is half a step early"),
    ],
)
def cosine_and_two_stage(of):
    """Cosine sums to 1729, from 50 to 5; two-stage is 50 for i < 31.5 and then 5, with sum 1760;
    a sequence of one step gets hi, where the published formula divides by zero."""
    cosine, two = of(64, 50, 5, "cosine"), of(64, 50, 5, "two-stage")
    yield exactly([cosine[0], cosine[-1], cosine.sum()], [50, 5, 1729], "cosine")
    yield exactly(two, np.where(np.arange(64) < 31.5, 50, 5), "two-stage")
    yield exactly(two.sum(), 1760, "two-stage, sum")
    odd = of(5, 50, 5, "two-stage")
    yield exactly(odd, [50, 50, 5, 5, 5], "two-stage of five")
    yield exactly(
        [of(1, 50, 5, k)[0] for k in ("linear", "cosine", "two-stage")], [50] * 3, "n = 1"
    )


def in_floating_point(n, hi, lo, kind="linear"):
    """int((up - i) / up * (hi - lo)) in floating point, as in the published code."""
    return np.array([lo + int((n - 1 - i) / (n - 1) * (hi - lo)) for i in range(n)])


@claim(
    "C9c",
    kind="identity",
    of=annealed_steps,
    saboteurs=[in_floating_point, REVERSED],
    erratum="int((up - i) / up * (hi - lo)) loses a step where the product is an integer and its "
    "floating-point value lies below: n = 46 from 50 to 5, i = 19 (30 for 31).",
)
def one_step_less_each_time(of):
    """Where hi - lo = n - 1 the linear rule is hi - i."""
    for n, hi in ((10, 14), (46, 50), (91, 95)):
        yield exactly(of(n, hi, 5), hi - np.arange(n), f"n = {n}")
    doubled = of(91, 50, 5)  # every other step is an integer
    yield exactly(doubled[::2], 50 - np.arange(46), "n = 91")


@claim(
    "C9d",
    kind="identity",
    of=flowar_head,
    saboteurs=[
        sabotage(flowar_head, "n == 50", "n == 0", "no uniform grid at 50"),
        sabotage(
            flowar_head,
            "np.linspace(1, 0.3, n // 2)",
            "np.linspace(1, 0.3, n - n // 2)",
            "the first piece takes the odd step",
        ),
    ],
)
def flowar_grids(of):
    """FlowAR's grid is uniform at N = 50 and of two pieces otherwise, and an odd N performs N - 1
    steps: annealing from 50 to 15 changes the grid after its first step."""
    performed = [of(n).nfe for n in (50, 49, 25, 24, 15)]
    yield exactly(performed, [50, 48, 24, 24, 14], "steps performed")
    yield identity(of(50).t, np.linspace(1, 0, 51), operations=4, scale=1.0, what="N = 50")
    pieces = np.concatenate([np.linspace(1, 0.3, 24), np.linspace(0.25, 0, 25)])
    yield identity(of(48).t, pieces, operations=4, scale=1.0, what="N = 48")
