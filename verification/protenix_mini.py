"""Protenix-Mini (arXiv 2507.11839), claim by claim. Sheet `protenix-mini`.

Given the trunk a coordinate is N(m, s^2): the sampler's variance then follows a recursion, exactly,
and gamma, lambda, eta and the levels can be judged without a network. Two conformers are a mixture
with an exact flow, a structure is a Gaussian chain in three dimensions, a stack of blocks a product
of known factors, the two inputs of a switchable model a joint Gaussian. Angstrom throughout.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np

from fewtheory.compress.blocks import Skipping
from fewtheory.compress.pruning import greedy, probe_blocks, ranked
from fewtheory.model import Model
from fewtheory.paths import EDM
from fewtheory.plan import Grid, grids
from fewtheory.plan.angles import equal_angles, std_ratio
from fewtheory.samplers.af3 import (
    af3,
    af3_levels,
    af3_stationary_variance,
    af3_variance,
    best_intermediate_level,
    low_temperature_ratio,
)
from fewtheory.testbeds import Gaussian, mixture_1d
from fewtheory.testbeds.chain import GaussianChain, centred
from fewtheory.testbeds.conditioning import SwitchableHead, SwitchedConditioning
from fewtheory.testbeds.layered import chebyshev_roots, residual
from fewtheory.verify import (
    bound,
    claim,
    identity,
    limit,
    optimum,
    sabotage,
    sequential_variance,
    sprt,
    wrong,
)

PATH, C0 = EDM(0.0, 5120.0), 2560.0
ODE: dict[str, Any] = {"gamma0": 0.0, "step_scale": 1.0}
HOT: dict[str, Any] = {"gamma0": 0.0, "step_scale": 1.5}

UN_NOISED = sabotage(
    af3, "y - x0", "x / s.alpha - x0", "d is taken from the un-noised state, as AF3 prints it"
)
ON_CURRENT = sabotage(
    af3, "after > gamma_min", "c > gamma_min", "gamma_min is compared with the current level"
)
ROOT_LAMBDA = sabotage(
    af3, "noise_scale * c", "math.sqrt(noise_scale) * c", "lambda is taken for a variance"
)
ETA_ON_DATA = sabotage(
    af3,
    "y + step_scale * (after / t - 1) * (y - x0)",
    "y + (after / t - 1) * (y - step_scale * x0)",
    "eta scales the denoiser's output",
)
FROM_UNRAISED = sabotage(
    af3, "after / t - 1", "after / c - 1", "the step is as long as from the un-raised level"
)
LONG_STEPS = wrong(
    lambda path, grid, **how: af3(path, grid, gamma0=0.0), "eta stays at its default, 1.5"
)
ALL_DEFAULTS = wrong(lambda path, grid, **how: af3(path, grid), "AF3's defaults, for 200 steps")


def law_std(sampler, levels, s, start="noise", **how):
    """The exact standard deviation of the sampler's output on N(0, s^2)."""
    plan = sampler(PATH, levels, **how)
    first = (0.0, C0**2) if start == "noise" else start
    return math.sqrt(float(plan.law(Gaussian([0.0], s**2), first).variance[0]))


def known(found, value, unit, what=""):
    """Evidence that a number is the known one, to half a unit of its last digit."""
    why = "half a unit of the known value's last digit"
    return optimum(found, value, tolerance=unit / 2, tolerance_from=why, what=what)


def rounded(found, value, unit, what=""):
    """The same as evidence of an identity."""
    return identity(found, value, operations=1, eps=unit / 2, scale=1.0, what=what)


def compared(found, other, side, what=""):
    """Evidence of an inequality between two exact numbers."""
    why = "an inequality between two numbers without noise"
    return optimum(found, other, tolerance=0.0, tolerance_from=why, side=side, what=what)


# C1: the exact law of the whole sampler


SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    ODE,
    HOT,
    {"noise_scale": 1.5, "gamma_min": 30.0},
    {"gamma0": 0.3, "step_scale": 1.1},
)


def recursion_against_law(recursion, sampler):
    """Evidence that the recursion is the law of the sampler, for four s and five settings."""
    s = np.array([0.1, 1.0, 2.0, 16.0])
    for how in SETTINGS:
        for n in (2, 20):
            levels = af3_levels(n, path=PATH)
            found = recursion(PATH, levels, s, start="noise", **how)[-1] ** 0.5 / s
            law = np.array([law_std(sampler, levels, v, **how) for v in s]) / s
            # a dozen roundings a step, over |F| where F = 1 + eta (..) cancels: once to .008 here
            operations = 12 * (2 * n + 125)
            yield identity(found / law, 1.0, operations=operations, what=f"N = {n}, {how}")


@claim("C1a", kind="identity", of=af3_variance, saboteurs=[
    sabotage(af3_variance, "noise_scale**2", "noise_scale", "lambda without its square"),
    sabotage(af3_variance, "after > gamma_min", "c > gamma_min", "gamma is tested on c_i"),
    sabotage(af3_variance, "t**2 - c**2", "(t - c) ** 2", "standard deviations are subtracted"),
    sabotage(af3_variance, "s**2 + t**2", "s**2 + c**2", "the denoiser is that of c, not t"),
])  # fmt: skip
def the_recursion_is_the_law(recursion):
    """v' = F^2 (v + lambda^2 (t^2 - c^2)), F = 1 + eta (c' - t) t / (s^2 + t^2), is the variance of
    the sampler's output on N(m, s^2)."""
    yield from recursion_against_law(recursion, af3)


@claim(
    "C1b",
    kind="identity",
    of=af3,
    saboteurs=[UN_NOISED, ON_CURRENT, ROOT_LAMBDA, ETA_ON_DATA, FROM_UNRAISED],
    erratum="AF3 prints d = (x - D)/t with the un-noised x; the law that it is used for, and its"
    " code, have the noised one.",
)
def the_sampler_has_that_law(sampler):
    """The law of the sampler as implemented is the recursion's: .17317 for s = 2, twenty steps and
    AF3's defaults, where lambda without its square would move it by .15%."""
    levels = af3_levels(20, path=PATH)
    yield rounded(law_std(sampler, levels, 2.0), 0.17317, 1e-5, "s = 2, N = 20")
    yield from recursion_against_law(af3_variance, sampler)


@claim("C1c", kind="law", of=af3, saboteurs=[UN_NOISED, ON_CURRENT, ETA_ON_DATA])
def samples_have_that_law(sampler, rng):
    """Samples have it: standard deviation .17317, s = 2, N = 20, AF3's defaults."""
    levels, bed = af3_levels(20, path=PATH), Gaussian([0.0], 4.0)
    plan, model = sampler(PATH, levels), bed.model(PATH)
    expected = float(af3_variance(PATH, levels, 2.0, start="noise")[-1, 0])

    def draw(n, rng):
        return plan.run(model, C0 * rng.standard_normal((n, 1)), rng)[:, 0]

    return sequential_variance(draw, expected, ratio=1.05, rng=rng)


@claim("C1d", kind="identity", of=af3, saboteurs=[
    sabotage(af3, "after / t - 1", "math.log(after / t) if after else -1.0", "steps in log c"),
    LONG_STEPS,
    wrong(
        lambda path, grid, **how: af3(path, grid, gamma0=0.8, step_scale=1.0),
        "gamma_0 stays at its default",
    ),
])  # fmt: skip
def the_few_step_ode_is_a_product_of_cosines(sampler):
    """With gamma_0 = 0, eta = 1 and an exact start sd/s = prod cos(theta_i - theta_{i+1}): s = 1:
    .017859607581 (N = 2), .524951776029 (5), .796181595383 (20)."""
    ode = partial(sampler, gamma0=0.0, step_scale=1.0)
    for n, value in ((2, 0.017859607581), (5, 0.524951776029), (20, 0.796181595383)):
        levels = af3_levels(n, path=PATH)
        found = law_std(ode, levels, 1.0, start="marginal")
        yield rounded(found, value, 1e-12, f"N = {n}")
        cosines = float(std_ratio(PATH, levels, 1.0)[0])
        # the cosine of a difference of angles near pi/2 is above .017: 3 N roundings over that
        yield identity(found, cosines, operations=180 * n, what=f"N = {n}, cosines")


CHAIN = GaussianChain(5, bond=3.8)


@claim("C1e", kind="law", of=af3, saboteurs=[UN_NOISED, ON_CURRENT, ETA_ON_DATA])
def augmentation_changes_no_law_that_is_the_same_in_every_frame(sampler, rng):
    """On a Gaussian chain, whose law no rotation changes, every inner mode of the sampler's output
    with centring, random rotations and translations has the variance of the recursion."""
    levels, modes = af3_levels(10, path=PATH), np.sqrt(CHAIN.spectrum[1:])
    plan = sampler(PATH, levels, augment=True)
    model = CHAIN.model(PATH, "data")
    std = af3_variance(PATH, levels, modes, start="noise")[-1] ** 0.5

    def draw(n, rng):
        x = C0 * rng.standard_normal((n, *CHAIN.event))
        y = CHAIN.modes.T @ plan.run(model, x, rng)
        return (y[:, 1:, 0] / std).reshape(-1)

    # one coordinate of each mode: they are independent N(0, 1), four a chain
    return sequential_variance(lambda n, rng: draw(-(-n // 4), rng)[:n], 1.0, ratio=1.1, rng=rng)


@claim("C1f", kind="law", of=af3, saboteurs=[
    sabotage(
        af3, "len(trace.rows) - 1", "len(trace.rows)", "the state is moved after its noise is added"
    ),
    sabotage(
        af3,
        '{"nodes": moved, "translation": translation}',
        '{"nodes": moved, "translation": 0.0}',
        "the structure is not translated",
    ),
    wrong(lambda path, grid, **how: af3(path, grid), "nothing is moved"),
])  # fmt: skip
def a_structure_is_moved_before_its_noise_is_added(sampler, rng):
    """The centre of mass that the network sees has the variance 1 + lambda^2 (t^2 - c^2) / n: that
    of the translation and of the noise that comes after it."""
    levels = af3_levels(3, path=PATH)
    plan = sampler(PATH, levels, augment=True)
    model, shown = CHAIN.model(PATH, "data"), []

    def network(x, t):
        shown.append(x.mean(axis=1))
        return model.function(x, t)

    seen = Model(network, PATH, "data")
    c = levels.t
    t = c[:-1] * np.where(c[1:] > 1.0, 1.8, 1.0)
    std = np.sqrt(1.0 + 1.003**2 * (t**2 - c[:-1] ** 2) / CHAIN.n)
    for i in range(levels.steps):

        def draw(n, rng, i=i):
            shown.clear()
            plan.run(seen, C0 * rng.standard_normal((n, *CHAIN.event)), rng)
            return shown[i][:, 0] / std[i]

        yield sequential_variance(draw, 1.0, ratio=1.2, rng=rng, what=f"evaluation {i}")


UNIT = np.eye(18).reshape(18, 6, 3)


@claim("C1g", kind="identity", of=centred, saboteurs=[
    sabotage(
        centred,
        "xp.sum(m * x, axis=1, keepdims=True) / count",
        "xp.mean(m * x, axis=1, keepdims=True)",
        "padded beads are counted in the mean",
    ),
    sabotage(
        centred,
        "m * (x - xp.sum(m * x, axis=1, keepdims=True) / count)",
        "x - xp.sum(m * x, axis=1, keepdims=True) / count",
        "padded beads are moved, not set to 0",
    ),
])  # fmt: skip
def centring_removes_three_degrees_of_freedom(centre):
    """Centring m beads of iid noise leaves 3 (m - 1) degrees of freedom, and each bead with (m -
    1)/m of its variance; a mask leaves those of the beads that count, and padding at 0."""
    for mask in (None, np.array([1, 1, 1, 1, 0, 0]), np.array([0, 1, 0, 0, 0, 1])):
        P = (centre(UNIT) if mask is None else centre(UNIT, mask)).reshape(18, 18)
        counts = np.ones(6) if mask is None else mask
        m = int(counts.sum())
        what = f"{m} beads"
        rank = int(np.linalg.matrix_rank(P))
        yield identity(rank, 3 * (m - 1), operations=0, what=f"{what}, degrees of freedom")
        # the map is a projection: its diagonal is the variance that is left
        exact = np.repeat(counts * (m - 1) / m, 3)
        yield identity(np.diag(P.T @ P), exact, operations=64, scale=1.0, what=what)


# C2: half the noise it is told


def wrong_sign(ratio, *, gamma=0.8, noise_scale=1.003, step_scale=1.5):
    """The sign of eta - 1 in F."""
    F = step_scale - 1 + step_scale * ratio / (1 + gamma)
    return F**2 * noise_scale**2 * gamma * (2 + gamma) / (ratio**2 - F**2)


@claim("C2a", kind="identity", of=af3_stationary_variance, saboteurs=[
    wrong_sign,
    sabotage(af3_stationary_variance, "lam**2", "lam", "lambda without its square"),
    sabotage(af3_stationary_variance, "q**2 - F**2", "1 - F**2", "c' is not smaller than c"),
])  # fmt: skip
def geometric_levels_have_a_stationary_variance(stationary):
    """On geometric levels far above s, v/c^2 = F^2 lambda^2 ((1 + gamma)^2 - 1) / (q^2 - F^2), F =
    1 - eta + eta q / (1 + gamma): q = .96, gamma = .8, lambda = 1.003: 1.006009 (eta = 1),
    .523036809816 (1.25), .243880969697 (1.5); and the recursion settles there."""
    lam = -math.log(C0) - math.log(0.96) * np.arange(101)
    levels = grids.at_lams(PATH, lam)
    for eta, value in ((1.0, 1.006009), (1.25, 0.523036809816), (1.5, 0.243880969697)):
        found = stationary(0.96, step_scale=eta)
        yield rounded(found, value, 1e-12 if eta > 1 else 1e-6, f"eta = {eta:g}")
        v = af3_variance(PATH, levels, 0.0, gamma_min=0.0, step_scale=eta)
        # (F/q)^2 <= .31 for each eta: 100 steps forget the start; levels are off by log(C0) eps
        yield identity(
            float(v[-1, 0]) * math.exp(2 * lam[-1]),
            found,
            operations=512,
            scale=1.0,
            what=f"eta = {eta:g}, recursion",
        )


@claim("C2b", kind="identity", of=af3_stationary_variance, saboteurs=[
    sabotage(af3_stationary_variance, "churn * (2 + churn)", "churn**2", "adds (t - c)^2"),
    sabotage(af3_stationary_variance, "lam**2", "lam", "lambda without its square"),
])  # fmt: skip
def noise_is_consistent_for_eta_one(stationary):
    """eta = 1 gives v/c^2 = lambda^2 for every q and gamma: the noise is what the network is
    told, but for lambda."""
    for q in (0.5, 0.9, 0.99):
        for gamma in (0.1, 0.8, 2.0):
            found = stationary(q, gamma=gamma, noise_scale=1.2, step_scale=1.0)
            # q^2 - F^2 cancels by 1 / (1 - (1 + gamma)^-2) < 6
            yield identity(found, 1.44, operations=96, what=f"q = {q:g}, gamma = {gamma:g}")


@claim("C2c", kind="bound", of=af3_variance, saboteurs=[
    wrong(partial(af3_variance, step_scale=1.0), "eta = 1, for which the noise is consistent"),
    sabotage(af3_variance, "t**2 - c**2", "(t - c) ** 2", "standard deviations are subtracted"),
    sabotage(
        af3_variance,
        "s**2 + (1 - step_scale) * t**2 + step_scale * after * t",
        "s**2 + t**2 + step_scale * (after - c) * t",
        "the step is as long as from the un-raised level",
    ),
])  # fmt: skip
def the_network_sees_half_the_noise(recursion):
    """In the 200-step schedule v/c^2 is between .25 and .24 at c = 1340 to 68 (s small): with eta =
    1.5 the network is fed states with half the noise it is told."""
    levels = af3_levels(200, path=PATH)
    inside = (levels.t <= 1340) & (levels.t >= 68)
    c = levels.t[inside]
    V = recursion(PATH, levels, 0.0)[inside, 0] / c**2
    yield bound(V, 0.255, x=c, what=".25 rounded", x_label="c")
    yield bound(V, 0.235, side="at least", x=c, what=".24 rounded", x_label="c")


# C3: low temperature


LOW_TEMPERATURE = {
    (2.0, 1.25): 0.167185,
    (2.0, 1.5): 0.027951,
    (0.5, 1.25): 0.118218,
    (0.5, 1.5): 0.013975,
}
EXPONENT = 'number(where, "step_scale", step_scale, 0.0) - 1'
WARM = [
    sabotage(low_temperature_ratio, EXPONENT, EXPONENT[:-4], "the exponent is eta"),
    sabotage(low_temperature_ratio, EXPONENT, f"-({EXPONENT})", "the sign of eta - 1"),
    sabotage(
        low_temperature_ratio,
        "s / np.hypot(s, c0)",
        "(s / np.hypot(s, c0)) ** 2",
        "variances stand for standard deviations",
    ),
]


@claim("C3a", kind="identity", of=low_temperature_ratio, saboteurs=WARM)
def a_longer_step_is_a_low_temperature(ratio):
    """The ODE with eta != 1 in many steps has sd/s = (s/S_T)^(eta - 1): s = 2: .167185 (eta =
    1.25), .027951 (1.5); s = .5: .118218, .013975."""
    for (s, eta), value in LOW_TEMPERATURE.items():
        yield rounded(float(ratio(s, C0, eta)[0]), value, 1e-6, f"s = {s:g}, eta = {eta:g}")


@claim("C3b", kind="rate", of=low_temperature_ratio, saboteurs=WARM)
def the_sampler_tends_to_it(ratio):
    """The sampler's exact law tends to that ratio as its steps become many."""
    steps = [500, 1000, 2000, 4000]
    for s, eta in LOW_TEMPERATURE:
        found = float(ratio(s, C0, eta)[0])
        many = []
        for n in steps:  # the last level, 1e-6, is 0 to 1e-12 of the variance
            levels = grids.karras(PATH, n, start=C0, end=1e-6)
            v = af3_variance(PATH, levels, s, gamma0=0.0, step_scale=eta)[-1, 0]
            many.append(math.sqrt(v) / s)
        yield limit([1 / n for n in steps], many, found, what=f"s = {s:g}, eta = {eta:g}")


@claim("C3c", kind="identity", of=af3_variance, saboteurs=[
    wrong(partial(af3_variance, step_scale=1.0), "eta = 1"),
    wrong(partial(af3_variance, gamma0=0.0), "no churn"),
    wrong(partial(af3_variance, gamma_min=0.0), "churn down to the data"),
])  # fmt: skip
def churn_makes_it_milder(recursion):
    """AF3's defaults in 200 steps: sd/s = .124, .301, .433, .568, .685 for s = .1, .5, 1, 2, 16."""
    s = np.array([0.1, 0.5, 1.0, 2.0, 16.0])
    found = recursion(PATH, af3_levels(200, path=PATH), s, start="noise")[-1] ** 0.5 / s
    for v, f, value in zip(s, found, (0.124, 0.301, 0.433, 0.568, 0.685), strict=True):
        yield rounded(float(f), value, 1e-3, f"s = {v:g}")


# C4: why few steps need eta = 1


@claim("C4a", kind="identity", of=af3, saboteurs=[
    sabotage(af3, "after / t - 1", "1 - after / t", "the step goes away from the data"),
    sabotage(af3, "after / t - 1", "math.log(after / t) if after else -1.0", "steps in log c"),
    wrong(lambda path, grid, **how: af3(path, grid, **ODE), "eta is ignored"),
])  # fmt: skip
def a_point_is_missed_by_a_product(sampler):
    """Without churn a point at 0 is missed by |x_N| = c_0 prod |1 - eta + eta c_{i+1} / c_i|, whose
    last factor is |1 - eta|: half the last level but one with eta = 1.5."""
    origin = Model(lambda x, t: 0.0 * x, PATH, "data")
    for n in (1, 2, 3, 5):
        for eta in (1.0, 1.25, 1.5):
            levels = af3_levels(n, path=PATH)
            plan = sampler(PATH, levels, gamma0=0.0, step_scale=eta)
            found = abs(float(plan.run(origin, np.full((1, 1), C0))[0, 0]))
            ratios = np.exp(levels.lam[:-1] - levels.lam[1:])
            exact = C0 * float(np.prod(np.abs(1 - eta + eta * ratios)))
            what = f"N = {n}, eta = {eta:g}"
            yield identity(found, exact, operations=16 * n, scale=C0, what=what)


TABLE = {  # output sd for s = 1: ODE eta = 1, ODE eta = 1.5, AF3's defaults
    1: (0.0004, 1280.0, 1280.0),
    2: (0.0179, 597.4, 1111.0),
    3: (0.1226, 193.8, 443.7),
    5: (0.5250, 1.291, 24.70),
    10: (0.6437, 0.0, 1.249),
    20: (0.7962, 0.0012, 0.1372),
    200: (0.9774, 0.0164, 0.4326),
}


def rows(std):
    """Evidence that std(n, settings) is the table's, to 1e-3 relative and half of 1e-4."""
    for n, values in TABLE.items():
        for name, how, value in zip(("eta = 1", "1.5", "AF3"), (ODE, HOT, {}), values, strict=True):
            yield optimum(
                std(n, how),
                value,
                tolerance=1e-3 * value + 5e-5,
                tolerance_from="1e-3 of the known value, and half a unit of its fourth decimal",
                what=f"N = {n}, {name}",
            )


def ends_at_s_min(steps, **how):
    """The last level is s_min, not 0."""
    lam = af3_levels(steps, **how).lam.copy()
    lam[-1] = -math.log(16 * 4e-4)
    return Grid(PATH, lam)


def karras_own(steps, **how):
    """Karras' own grid: the levels divide by N - 1, and a 0 is appended."""
    if steps == 1:
        return af3_levels(1, **how)
    return grids.karras(PATH, steps - 1, start=C0, end=16 * 4e-4).to_clean()


@claim("C4b", kind="optimum", of=af3_levels, saboteurs=[
    ends_at_s_min,
    karras_own,
    sabotage(af3_levels, "i / n", "(i + 1) / n", "an index off by one"),
    wrong(partial(af3_levels, sigma_data=1.0), "sigma_data is left out"),
])  # fmt: skip
def a_longer_step_explodes_in_few(levels_of):
    """Output sd for s = 1: at 1, 2, 3, 5 steps .0004, .0179, .1226, .5250 with eta = 1; 1280,
    597.4, 193.8, 1.291 with 1.5; 1280, 1111, 443.7, 24.70 with AF3's defaults; at 200 .9774,
    .0164, .4326."""

    def std(n, how):
        v = af3_variance(PATH, levels_of(n, path=PATH), 1.0, start="noise", **how)
        return math.sqrt(float(v[-1, 0]))

    yield from rows(std)


@claim(
    "C4c",
    kind="optimum",
    of=af3,
    saboteurs=[ETA_ON_DATA, UN_NOISED, ON_CURRENT, FROM_UNRAISED],
)
def the_sampler_explodes_so(sampler):
    """The same table from the exact law of the sampler as implemented."""
    yield from rows(lambda n, how: law_std(sampler, af3_levels(n, path=PATH), 1.0, **how))


@claim("C4d", kind="bound", of=af3, saboteurs=[
    LONG_STEPS,
    sabotage(af3, "after / t - 1", "after / t - 1 + 1e-3", "steps a little too short"),
])  # fmt: skip
def eta_one_never_exceeds_s(sampler):
    """The ODE with eta = 1 never has a standard deviation above s, whatever the grid and s."""
    rng, ratios = np.random.default_rng(0), []
    made = [af3_levels(n, path=PATH) for n in (1, 2, 3, 5, 10, 50)]
    for n in (2, 4, 8, 40):
        made += [
            Grid(PATH, np.append(np.sort(rng.uniform(-7.8, 5.0, n)), math.inf)) for _ in range(10)
        ]
    for levels in made:
        plan = sampler(PATH, levels, gamma0=0.0, step_scale=1.0)
        law = plan.law(Gaussian(np.zeros(5), np.array([0.01, 0.5, 1.0, 16.0, 300.0]) ** 2))
        ratios.append(law.std_ratio)
    return bound(np.array(ratios).ravel(), 1.0, operations=1024)


# C5: the best level in between


def geometric_mean(std, start=C0):
    """The geometric mean of the ends, 2560 and .0064."""
    return math.sqrt(start * 16 * 4e-4)


def karras_level(std, start=C0):
    """Karras' rho = 7, whatever s: 55.97."""
    return float(af3_levels(2).t[1])


def two_steps(c1, s):
    """sd/s of two ODE steps from p_T through the level c1."""
    levels = grids.at_lams(PATH, [-math.log(C0), -math.log(c1), math.inf])
    return float(af3_variance(PATH, levels, s, **ODE)[-1, 0]) ** 0.5 / s


@claim("C5a", kind="optimum", of=best_intermediate_level, saboteurs=[
    geometric_mean,
    karras_level,
    sabotage(best_intermediate_level, "math.atan2(c0, s) / 2", "math.atan2(c0, s) / 3", "a third"),
])  # fmt: skip
def the_best_level_halves_the_angle(level):
    """Two ODE steps from c_0 are best through c_1 = s tan(theta_0/2), about s: .099996, .999609,
    15.900312 for s = .1, 1, 16, where sd/s = cos^2(theta_0/2), .500020, .500195, .503125."""
    from scipy.optimize import minimize_scalar

    for s, value, ratio in (
        (0.1, 0.099996, 0.500020),
        (1.0, 0.999609, 0.500195),
        (16.0, 15.900312, 0.503125),
    ):
        found = level(s, C0)
        yield known(found, value, 1e-6, f"s = {s:g}, level")
        yield known(two_steps(found, s), ratio, 1e-6, f"s = {s:g}, ratio")
        half = math.cos(math.atan(C0 / s) / 2) ** 2
        yield optimum(
            two_steps(found, s),
            half,
            tolerance=64 * np.finfo(float).eps,
            tolerance_from="64 roundings of 2.2e-16",
            what=f"s = {s:g}, closed form",
        )
        best: Any = minimize_scalar(
            lambda u, s=s: -two_steps(math.exp(u), s),
            bounds=(math.log(0.01 * s), math.log(50 * s)),
            method="bounded",
            options={"xatol": 1e-10},
        )
        yield optimum(
            two_steps(found, s),
            -float(best.fun),
            tolerance=1e-12,
            tolerance_from="an error of 1e-6 in log c_1 is 1e-12 of the ratio at its maximum",
            what=f"s = {s:g}, against a search",
        )


@claim("C5b", kind="identity", of=af3_levels, saboteurs=[
    karras_own,
    wrong(lambda steps, **how: equal_angles(PATH, steps, 1.0, rho_max=C0), "equal angles"),
    wrong(partial(af3_levels, rho=5.0), "rho = 5"),
])  # fmt: skip
def the_default_level_is_far_from_it(levels_of):
    """Through the default 55.97 the ratio is .001787, .017860, .264719 instead of one half."""
    levels = levels_of(2, path=PATH)
    yield rounded(float(levels.t[1]), 55.9747929842, 1e-10, "c_1")
    for s, value in ((0.1, 0.001787), (1.0, 0.017860), (16.0, 0.264719)):
        found = float(af3_variance(PATH, levels, s, **ODE)[-1, 0]) ** 0.5 / s
        yield rounded(found, value, 1e-6, f"s = {s:g}")


# C6: two conformers


SEPARATIONS = (1, 5, 20)
STARTS = 20_000


@cache
def conformers(a):
    """The mixture of two conformers at +-a, deterministic normal quantiles, and its own."""
    from scipy.special import ndtri

    p = (np.arange(STARTS)[:, None] + 0.5) / STARTS
    bed = mixture_1d([0.5, 0.5], [-a, a], [0.5, 0.5])
    return bed, ndtri(p), bed.quantile(p)


def conformer_run(levels, a, sampler=af3):
    """(W2 to the mixture, fraction strictly between the modes) of the ODE on these levels."""
    bed, z, exact = conformers(a)
    plan = sampler(PATH, levels, **ODE)
    y = np.sort(plan.run(bed.model(PATH), float(levels.t[0]) * z), axis=0)
    w2 = math.sqrt(float(np.mean((y - exact) ** 2)))
    return w2, float(np.mean(np.abs(y) < a - 1.5))


def two_percent(found, value, what):
    """Evidence of a known value to 2%, the accuracy at which it is stated."""
    why = "2% of the known value"
    return optimum(found, value, tolerance=0.02 * value, tolerance_from=why, what=what)


@claim("C6a", kind="optimum", of=af3_levels, saboteurs=[
    wrong(partial(af3_levels, s_max=1.0), "it starts at sigma_data, not at s_max sigma_data"),
    karras_own,
])  # fmt: skip
def two_default_steps_return_the_mean(levels_of):
    """Two conformers at +-a, sd .5: W2 in 2, 5 and 20 steps 1.096, .458, .180 (a = 1), 4.649,
    1.014, .297 (5), 15.03, 1.732, .250 (20); between the modes lie 100%, 11%, 4% (5) and 100%,
    45%, 2% (20) of the samples, which are no structures."""
    distances = {1: (1.096, 0.458, 0.180), 5: (4.649, 1.014, 0.297), 20: (15.03, 1.732, 0.250)}
    between = {5: (1.0, 0.11, 0.04), 20: (1.0, 0.45, 0.02)}
    for a in SEPARATIONS:
        for k, n in enumerate((2, 5, 20)):
            w2, fraction = conformer_run(levels_of(n, path=PATH), a)
            yield two_percent(w2, distances[a][k], f"a = {a}, N = {n}, W2")
            if a > 1:
                yield optimum(
                    fraction,
                    between[a][k],
                    tolerance=0.02 * between[a][k] + 0.005,
                    tolerance_from="2% of the known value and half a per cent, its last digit",
                    what=f"a = {a}, N = {n}, between",
                )


@claim("C6b", kind="optimum", of=af3, saboteurs=[
    sabotage(af3, "after / t - 1", "1.05 * (after / t - 1)", "steps 5% too long"),
    wrong(lambda path, grid, **how: af3(path, grid, gamma0=0.0, step_scale=1.25), "eta = 1.25"),
])  # fmt: skip
def another_level_helps(sampler):
    """The best two-step level is c_1 = .86, 1.34, 1.74 for a = 1, 5, 20, with W2 .476, 1.442,
    3.496: the schedule and not the number of steps decides the collapse."""
    from scipy.optimize import minimize_scalar

    def distance(u, a):
        levels = grids.at_lams(PATH, [-math.log(C0), -u, math.inf])
        return conformer_run(levels, a, sampler)[0]

    table = ((1, 0.86, 0.476, 1.096), (5, 1.34, 1.442, 4.649), (20, 1.74, 3.496, 15.03))
    for a, level, value, default in table:
        best: Any = minimize_scalar(
            distance,
            args=(a,),
            bounds=(math.log(0.3), math.log(5.0)),
            method="bounded",
            options={"xatol": 1e-4},
        )
        yield two_percent(float(best.fun), value, f"a = {a}, W2")
        yield two_percent(math.exp(best.x), level, f"a = {a}, c_1")
        yield compared(float(best.fun), 0.5 * default, "at most", f"a = {a}, half the default's")


def outcome(sampler, a):
    """draw(n, rng): |x| of n samples of AF3's 200 steps on two conformers."""
    bed = conformers(a)[0]
    plan = sampler(PATH, af3_levels(200, path=PATH))
    model = bed.model(PATH)

    def draw(n, rng):
        return np.abs(plan.run(model, C0 * rng.standard_normal((n, 1)), rng)[:, 0])

    return draw


def few_steps(path, grid, **how):
    """The five-step ODE."""
    return af3(path, af3_levels(5, path=path), **ODE)


@claim("C6c", kind="law", of=af3, saboteurs=[
    few_steps,
    wrong(lambda path, grid: af3(path, af3_levels(3, path=path)), "three steps of it"),
])  # fmt: skip
def many_stochastic_steps_leave_nothing_between(sampler, rng):
    """AF3's 200 steps leave 0% (to the per cent) between the modes at a = 5 and 20."""
    for a in (5, 20):
        draw = outcome(sampler, a)
        yield sprt(
            lambda n, rng, draw=draw, a=a: draw(n, rng) < a - 1.5,
            0.005,
            0.03,
            rng=rng,
            batch=512,
            what=f"a = {a}",
        )


@claim("C6d", kind="law", of=af3, saboteurs=[
    wrong(lambda path, grid: af3(path, grid, step_scale=1.0), "eta = 1"),
    wrong(lambda path, grid: af3(path, grid, gamma0=0.0), "no churn"),
])  # fmt: skip
def they_are_over_concentrated(sampler, rng):
    """They are over-concentrated: each far mode, a = 20, has the standard deviation .301 x .5 of
    the Gaussian recursion."""
    levels = af3_levels(200, path=PATH)
    expected = float(af3_variance(PATH, levels, 0.5, start="noise")[-1, 0])
    draw = outcome(sampler, 20)
    return sequential_variance(
        lambda n, rng: draw(n, rng) - 20.0, expected, ratio=1.3, rng=rng, batch=512
    )


# C7: what makes few steps work


@claim("C7a", kind="optimum", of=af3, saboteurs=[ETA_ON_DATA, ON_CURRENT, UN_NOISED])
def the_error_of_two_steps_is_small_if_the_law_is_narrow(sampler):
    """W2 of two ODE steps is .0998, .4955, .982, 2.840, of AF3's 200 steps .0876, .349, .567,
    1.133, for s = .1, .5, 1, 3: up to s = .5 both are below the least threshold of LDDT, .5."""
    stds = np.array([0.1, 0.5, 1.0, 3.0])
    bed, start = Gaussian(np.zeros(4), stds**2), (0.0, C0**2)
    laws = [
        sampler(PATH, af3_levels(n, path=PATH), **how).law(bed, start)
        for n, how in ((2, ODE), (200, {}))
    ]
    errors = [np.abs(stds - np.sqrt(law.variance)) for law in laws]
    for s, one, other, few, stochastic in zip(
        stds.tolist(),
        *(e.tolist() for e in errors),
        (0.0998, 0.4955, 0.982, 2.840),
        (0.0876, 0.349, 0.567, 1.133),
        strict=True,
    ):
        yield known(one, few, 1e-4 if s < 1 else 1e-3, f"s = {s:g}, two steps")
        yield known(other, stochastic, 1e-4 if s < 0.5 else 1e-3, f"s = {s:g}, AF3")
        if s <= 0.5:
            yield compared(max(one, other), 0.5, "at most", f"s = {s:g}, LDDT's threshold")


@claim("C7b", kind="bound", of=af3, saboteurs=[
    LONG_STEPS,
    ALL_DEFAULTS,
])  # fmt: skip
def the_error_never_exceeds_s(sampler):
    """For a unimodal conditional law the W2 of any ODE with eta = 1 is s (1 - r) <= s."""
    stds = np.array([0.1, 0.5, 1.0, 3.0, 16.0])
    for n in (1, 2, 3, 5, 10, 20):
        plan = sampler(PATH, af3_levels(n, path=PATH), gamma0=0.0, step_scale=1.0)
        found = np.array([plan.law(Gaussian([0.0], s**2)).w2 for s in stds])
        yield bound(found, stds, x=stds, what=f"N = {n}", x_label="s")


@claim("C7c", kind="identity", of=af3, saboteurs=[
    LONG_STEPS,
    ALL_DEFAULTS,
])  # fmt: skip
def the_error_is_what_the_cosines_leave(sampler):
    """That W2 is s (1 - r) with r = prod cos(theta_i - theta_{i+1}) from an exact start."""
    for n in (1, 2, 3, 5, 10, 20):
        levels = af3_levels(n, path=PATH)
        plan = sampler(PATH, levels, gamma0=0.0, step_scale=1.0)
        for s in (0.1, 1.0, 16.0):
            found = plan.law(Gaussian([0.0], s**2)).w2
            exact = s * (1 - float(std_ratio(PATH, levels, s)[0]))
            yield identity(found, exact, operations=4096, scale=s, what=f"N = {n}, s = {s:g}")


@claim("C7d", kind="bound", of=af3, saboteurs=[
    ALL_DEFAULTS,
    wrong(
        lambda path, grid, **how: af3(path, equal_angles(path, 2, 1.0, rho_max=C0), **ODE),
        "the best level, which keeps half of the diversity",
    ),
])  # fmt: skip
def diversity_is_what_is_lost(sampler):
    """Two default steps keep the mean to 1e-5 of its distance from 0, and .0018, .0179, .2647 of
    the diversity (sd ratio) at s = .1, 1, 16: accuracy alone does not see it."""
    plan = sampler(PATH, af3_levels(2, path=PATH), gamma0=0.0, step_scale=1.0)
    for s, ratio in ((0.1, 0.0018), (1.0, 0.0179), (16.0, 0.2647)):
        law = plan.law(Gaussian([30.0], s**2), (0.0, C0**2))
        # the start has mean 0 for m: what is left of it is the gain sd / c_0
        off = abs(float(law.mean[0]) - 30.0) / 30.0
        yield bound(off, s * ratio * 1.01 / C0 + 1e-12, what=f"s = {s:g}, mean")
        yield bound(float(law.std_ratio[0]), ratio + 5e-5, what=f"s = {s:g}, sd ratio")


# C8: which blocks can go


LAM = np.linspace(0.4, 2.0, 2001)
ROOTS = chebyshev_roots(0.4, 2.0, 10)
NUMBERS = {
    "exhaustive": (0.0023, 0.0083, 0.055),
    "greedy": (0.0023, 0.023, 0.077),
    "one-shot": (0.0070, 0.050, 0.18),
    "last": (0.031, 0.16, 0.36),
    "first": (0.59, 16.0, 36.0),
}


def worst(dropped):
    """The worst residual over lam of the stack without these blocks."""
    return float(np.abs(residual(LAM, ROOTS, [k for k in range(10) if k not in dropped])).max())


REUSED = sabotage(
    probe_blocks,
    "loss(*out, k)",
    "loss(k)",
    "greedy: the first scores are used again, without a re-evaluation",
    inside=greedy,
)


@claim("C8a", kind="optimum", of=probe_blocks, saboteurs=[
    REUSED,
    sabotage(probe_blocks, "loss(k)", "-loss(k)", "the most important go first", inside=ranked),
    sabotage(
        probe_blocks,
        "min(left, key=lambda k: loss(*out, k))",
        "max(left, key=lambda k: loss(*out, k))",
        "greedy: the worst goes",
        inside=greedy,
    ),
])  # fmt: skip
def known_stacks_lose_known_amounts(probe):
    """Ten Chebyshev blocks on [.4, 2], worst residual .00013: after dropping 2 / 4 / 6 blocks
    exhaustive .0023 / .0083 / .055, greedy .0023 / .023 / .077, one-shot .0070 / .050 / .18, last
    .031 / .16 / .36, first .59 / 16 / 36."""
    yield known(worst(()), 0.00013, 1e-5, "nothing dropped")
    for mode, values in NUMBERS.items():
        for drop, value in zip((2, 4, 6), values, strict=True):
            found = probe(10, worst, mode=mode, drop=drop).loss
            two_digits = 10.0 ** (math.floor(math.log10(value)) - 1)
            yield known(found, value, two_digits, f"{mode}, {drop} dropped")


def largest_first(blocks, loss, **how):
    """The exhaustive probe takes the set with the largest loss."""
    if how["mode"] != "exhaustive":
        return probe_blocks(blocks, loss, **how)
    found = probe_blocks(blocks, lambda out: 1 / loss(out), **how)
    return probe_blocks(
        blocks, lambda out: loss(out) if len(out) == 0 else loss(found.dropped), **how
    )


@claim("C8b", kind="bound", of=probe_blocks, saboteurs=[
    largest_first,
    sabotage(probe_blocks, "min(left, key=lambda k: loss(*out, k))",
             "max(left, key=lambda k: loss(*out, k))", "greedy: the worst goes", inside=greedy),
])  # fmt: skip
def the_more_a_probe_measures_the_less_is_lost(probe):
    """exhaustive <= greedy and exhaustive <= one-shot; on this stack greedy <= one-shot too."""
    for drop in range(1, 8):
        loss = {m: probe(10, worst, mode=m, drop=drop).loss for m in NUMBERS}
        for less, more in (
            ("exhaustive", "greedy"),
            ("exhaustive", "one-shot"),
            ("greedy", "one-shot"),
        ):
            what = f"{less} <= {more}, {drop} dropped"
            yield bound(loss[less], loss[more], operations=1, what=what)


def additive(blocks, loss, **how):
    """The loss of several blocks is taken for the sum of what each costs alone."""
    base = loss(frozenset())
    return probe_blocks(
        blocks, lambda out: base + sum(loss(frozenset({k})) - base for k in out), **how
    )


@claim("C8c", kind="bound", of=probe_blocks, saboteurs=[additive])
def single_scores_do_not_add(probe):
    """Single-block scores do not add: together the first two blocks of the greedy probe cost less
    than half the sum of what each costs alone, its six over 4 times and the ranking's six over 16
    times as much."""
    for mode, drop, factor, side in (
        ("greedy", 2, 0.5, "at most"),
        ("greedy", 6, 4.0, "at least"),
        ("one-shot", 6, 16.0, "at least"),
    ):
        found = probe(10, worst, mode=mode, drop=drop)
        alone = sum(found.scores[k] - found.baseline for k in found.dropped)
        together = found.loss - found.baseline
        yield bound(together / alone, factor, side=side, what=f"{mode}, {drop} dropped")


def richardson():
    """The stack in torch: block l takes e to e + (1 - lam e) / root_l, and the loss of e."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, root):
            super().__init__()
            self.root = root

        def forward(self, e):
            return e + (1 - torch.from_numpy(LAM) * e) / self.root

    blocks = [Block(root) for root in ROOTS.tolist()]

    def loss():
        e = torch.zeros(LAM.size, dtype=torch.float64)
        for block in blocks:
            e = block(e)
        return float((1 - torch.from_numpy(LAM) * e).abs().max())

    return blocks, loss


class Zeroed(Skipping):
    """A left-out block returns 0: the residual branch is cut with it."""

    def _returns_inputs(self, k):
        inner = super()._returns_inputs(k)

        def hook(module, args, kwargs, output):
            kept = inner(module, args, kwargs, output)
            return None if kept is None else 0 * kept

        return hook


def zeroing(blocks, loss, **how):
    """A block's output is set to zero, the residual stream included."""
    with Zeroed(blocks) as out:

        def without(dropped):
            out.skipped = dropped
            return loss()

        return probe_blocks(len(blocks), without, **how)


@claim("C8d", kind="identity", of=probe_blocks, saboteurs=[zeroing, REUSED], requires=["verify"])
def a_torch_stack_is_probed_as_the_formula_is(probe):
    """The same blocks as torch modules, left out by hooks, give the same sets and losses as the
    closed form of the stack."""
    blocks, loss = richardson()
    for mode, drop in (("one-shot", 4), ("greedy", 4), ("exhaustive", 2), ("last", 6)):
        found = probe(blocks, loss, mode=mode, drop=drop)
        exact = probe_blocks(10, worst, mode=mode, drop=drop)
        same = float(found.dropped == exact.dropped)
        yield identity(same, 1.0, operations=0, what=f"{mode}, the same blocks")
        # e is at most 3; ten steps of four roundings, each step a factor |1 - lam/root| <= 4
        yield identity(found.loss, exact.loss, operations=4096, scale=3.0, what=f"{mode}, loss")


# C9: one head, two inputs


BED = SwitchedConditioning(1.0, 0.3, 0.9)


class OwnHead(SwitchedConditioning):
    """The poor input goes through its own head."""

    def risk(self, given, head=None):
        return super().risk(given)


class Variances(SwitchedConditioning):
    """Standard deviations are taken for variances."""

    def risk(self, given, head=None):
        as_std = SwitchedConditioning(self.prior, self.rich**0.5, self.poor**0.5)
        return as_std.risk(given, head)


class WholeGap(SwitchedConditioning):
    """The gap without its half."""

    @property
    def information_gap(self):
        return 2 * super().information_gap


@claim("C9a", kind="identity", of=SwitchedConditioning, saboteurs=[OwnHead, Variances, WholeGap])
def each_input_has_its_risk(bed_of):
    """Prior 1, noises .3 and .9: Bayes risks .082569 and .447514, the poor input through the rich
    head .688578, information gap (1/2) log(risk ratio) = .845038 nats."""
    bed = bed_of(1.0, 0.3, 0.9)
    exact = (0.09 / 1.09, 0.81 / 1.81, (0.09 / 1.09) ** 2 + 0.81 / 1.09**2)
    values = (0.082569, 0.447514, 0.688578)
    found = (bed.risk("rich"), bed.risk("poor"), bed.risk("poor", "rich"))
    for f, e, v in zip(found, exact, values, strict=True):
        yield identity(f, e, operations=16, what=f"{v:g}")
        yield rounded(f, v, 1e-6, f"{v:g}")
    yield rounded(bed.information_gap, 0.845038, 1e-6, "information gap")


@claim("C9b", kind="law", of=SwitchedConditioning, saboteurs=[OwnHead, Variances])
def samples_have_these_risks(bed_of, rng):
    """Samples of the joint Gaussian have these risks: the error of each head on each input is
    N(0, risk)."""
    bed = bed_of(1.0, 0.3, 0.9)
    for given, head in (("rich", "rich"), ("poor", "poor"), ("poor", "rich")):

        def draw(n, rng, given=given, head=head):
            x, rich, poor = BED.sample(n, rng=rng)
            y = rich if given == "rich" else poor
            return (BED.gain(head) * y - x)[:, 0]

        what = f"{given} input, {head} head"
        yield sequential_variance(draw, bed.risk(given, head), ratio=1.1, rng=rng, what=what)


class Told(SwitchedConditioning):
    """The head without a flag is one that has it."""

    def compromise_risk(self, share=0.5):
        parts = {name: self.risk(name) for name in ("rich", "poor")}
        return {**parts, "mean": self.switched_risk(share)}


@claim("C9c", kind="bound", of=SwitchedConditioning, saboteurs=[Told])
def without_the_flag_there_is_only_a_compromise(bed_of):
    """The best head without a flag misses both risks for every share of rich inputs, and at equal
    shares its mean risk is above the switched one's by more than 5%."""
    bed = bed_of(1.0, 0.3, 0.9)
    for share in (0.1, 0.5, 0.9):
        found = bed.compromise_risk(share)
        for name in ("rich", "poor"):
            least = BED.risk(name) * (1 + 1e-3)
            yield bound(found[name], least, side="at least", what=f"share {share:g}, {name}")
        if share == 0.5:
            least = 1.05 * BED.switched_risk(share)
            yield bound(found["mean"], least, side="at least", what="equal shares, mean")


class LinearCompromise(SwitchedConditioning):
    """The best linear head: the posterior of the input's kind is ignored."""

    def compromise(self, y, share=0.5):
        noise = share * self.rich**2 + (1 - share) * self.poor**2
        return self.prior**2 / (self.prior**2 + noise) * np.asarray(y)


@claim("C9d", kind="optimum", of=SwitchedConditioning, saboteurs=[LinearCompromise])
def the_compromise_is_the_best(bed_of):
    """Its mean risk is that of E[x | y] when the input's kind is unknown: no polynomial of y of
    degree 1, 3, .., 9 has less, and the one of degree 9 has it to 1e-5."""
    bed, share = bed_of(1.0, 0.3, 0.9), 0.5
    found = bed.compromise_risk(share)["mean"]
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = weight / weight.sum()
    best = math.inf
    for degree in (1, 3, 5, 7, 9):
        powers = np.arange(1, degree + 1, 2)
        gram, moment = np.zeros((powers.size, powers.size)), np.zeros(powers.size)
        for name, p in (("rich", share), ("poor", 1 - share)):
            y = math.hypot(1.0, getattr(BED, name)) * z
            features = y[:, None] ** powers
            gram += p * (features.T * weight) @ features
            moment += p * BED.gain(name) * (features.T * weight) @ y  # E[x | y, kind] = gain y
        best = 1.0 - float(moment @ np.linalg.solve(gram, moment))
        yield compared(found, best + 1e-12, "at most", f"degree {degree}")
    yield optimum(
        found,
        best,
        tolerance=1e-5,
        tolerance_from="what a polynomial of degree 9 leaves, as stated",
        what="degree 9",
    )


class Deaf(SwitchableHead):
    """The flag is not heard: both inputs go through one head."""

    def __call__(self, y, flag):
        return self.rich(y)


class Crossed(SwitchableHead):
    """The flag is inverted half of the time: the head cannot tell."""

    def __call__(self, y, flag):
        import torch

        other = torch.arange(flag.shape[0]) % 2 == 0
        return super().__call__(y, flag ^ other)


@claim(
    "C9e",
    kind="optimum",
    of=SwitchableHead,
    saboteurs=[Deaf, Crossed],
    requires=["verify"],
)
def training_with_the_flag_reaches_both_risks(head_of):
    """One head trained on both inputs with a switch flag reaches both Bayes risks."""
    import torch
    from torch import nn

    z, weight = np.polynomial.hermite_e.hermegauss(8)  # exact for the squares of linear heads
    first, second = (torch.from_numpy(v.ravel()) for v in np.meshgrid(z, z))
    mass = torch.from_numpy(np.outer(weight, weight).ravel() / weight.sum() ** 2)
    x = torch.cat([first, first])[:, None]
    y = torch.cat([first + BED.rich * second, first + BED.poor * second])[:, None]
    flag = torch.arange(2 * first.numel()) < first.numel()
    layers = [nn.Linear(1, 1, dtype=torch.float64) for _ in range(2)]
    for layer, start in zip(layers, (0.2, -0.4), strict=True):
        nn.init.constant_(layer.weight, start)
        nn.init.zeros_(layer.bias)
    head = head_of(*layers)
    optimiser = torch.optim.LBFGS(
        [p for layer in layers for p in layer.parameters()],
        max_iter=100,
        tolerance_grad=1e-10,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def risks():
        errors = (head(y, flag) - x)[:, 0] ** 2
        return [(mass * part).sum() for part in errors.split(first.numel())]

    def closure():
        optimiser.zero_grad()
        loss: Any = sum(risks())
        loss.backward()
        return loss

    optimiser.step(closure)
    for name, found in zip(("rich", "poor"), risks(), strict=True):
        yield optimum(
            float(found.detach()),
            BED.risk(name),
            tolerance=1e-9,
            tolerance_from="a gradient of 1e-10 on a quadratic of curvature above 2, and rounding",
            what=name,
        )
