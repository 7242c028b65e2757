"""AutoDiffusion (arXiv 2309.10438), claim by claim. Sheet `autodiffusion`.

In angles every first-order step is a cosine, on every path and grid, so that the best grid, the
exact Frechet distance of any candidate and the optimum of a whole space are known numbers.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from fewtheory import search
from fewtheory.metrics import mmd2
from fewtheory.metrics.frechet import expected_frechet, frechet_bias
from fewtheory.model import guided
from fewtheory.paths import EDM, RectifiedFlow, Table, Trigonometric
from fewtheory.plan import angles as ang
from fewtheory.plan import grids
from fewtheory.plan.angles import equal_angles, first_order_w2, std_ratio
from fewtheory.search.evolution import _next, evolution
from fewtheory.search.layers import LayeredSteps
from fewtheory.search.timesteps import TimeSteps
from fewtheory.suites import _worlds as w
from fewtheory.testbeds import Gaussian
from fewtheory.testbeds.layered import LayeredDenoiser
from fewtheory.verify import (
    bound,
    claim,
    identity,
    limit,
    optimum,
    sabotage,
    sequential_mean,
    wrong,
)

VP, RF, TRIG, WIDE = w.PATH, RectifiedFlow(), Trigonometric(), EDM(1e-9, 1e17)
DDPM = Table(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
STDS = np.array([1.5, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05])
MEANS = np.array([1.0, 0.5, 0, 0, 0, 0, 0, 0])
TIMES = np.arange(10, 1001, 10) / 1000  # entries 9, 19, ..., 999 of the table


OF_SIGMA = sabotage(
    std_ratio, "alpha * s", "s", "the angle is that of sigma, not of rho", inside=ang.angles
)


@claim(
    "C1",
    kind="identity",
    of=std_ratio,
    saboteurs=[
        OF_SIGMA,
        sabotage(
            std_ratio,
            "np.arctan2(sigma, alpha * s)",
            "np.arctan2(sigma * s, alpha)",
            "rho s stands where rho / s should",
            inside=ang.angles,
        ),
    ],
)  # fmt: skip
def a_product_of_cosines(ratio):
    """The output's standard deviation over the exact one is prod cos(theta_i - theta_{i+1}): s = .4
    at t = .97, .6, .3, .1, .02 on VP-linear, trigonometric and rectified paths, .717333104212120,
    .739233495421749, .711930581394295, with a step to 0 .704254364500, .736962520402,
    .711005779646; and what the law of a DDIM plan says."""
    from fewtheory.samplers import ddim

    t = [0.97, 0.6, 0.3, 0.1, 0.02]
    for path, known, to_clean in (
        (VP, 0.717333104212120, 0.704254364500),
        (TRIG, 0.739233495421749, 0.736962520402),
        (RF, 0.711930581394295, 0.711005779646),
    ):
        grid = grids.at_times(path, t)
        found = float(ratio(path, grid, 0.4)[0])
        yield identity(found, known, operations=1, eps=5e-14, scale=1.0, what=repr(path))
        law = float(ddim(path, grid).law(Gaussian([0.0], 0.16)).std_ratio[0])
        yield identity(found, law, operations=256, scale=1.0, what=f"{path!r}, law")
        clean = float(ratio(path, grid.to_clean(), 0.4)[0])
        yield identity(clean, to_clean, operations=1, eps=5e-13, scale=1.0, what=f"{path!r}, to 0")


def uniform_rho(path, steps, std, rho_max):
    """Equal steps in rho."""
    rho = np.linspace(rho_max, 0, steps + 1)
    return grids.at_lams(path, [*(-np.log(rho[:-1])), math.inf])


def uniform_lam(path, steps, std, rho_max):
    """Equal steps in lam, down to a fiftieth of s, and a step to 0."""
    return grids.at_lams(
        path, [*np.linspace(-math.log(rho_max), -math.log(std / 50), steps), math.inf]
    )


def lost(inner, theta):
    """-log of the product of cosines of a grid with these inner angles."""
    steps = np.diff(np.concatenate([[0.0], np.sort(inner), [theta]]))
    return -float(np.log(np.cos(steps)).sum())


def karras_seven(path, steps, std, rho_max):
    """Karras' rho = 7."""
    rho = np.linspace(rho_max ** (1 / 7), 0.002 ** (1 / 7), steps) ** 7
    return grids.at_lams(path, [*(-np.log(rho)), math.inf])


@claim("C2", kind="optimum", of=equal_angles, saboteurs=[uniform_rho, uniform_lam, karras_seven])
def equal_angles_are_best(grid_of):
    """No grid beats equal angles: Theta = pi/2 - .02 and 2, 3, 4, 6 steps give .509999333347,
    .657004267290, .734571021388 and .816534499870 = cos(Theta/N)^N, and minimising over the inner
    angles from random starts ends there."""
    from scipy.optimize import minimize

    theta = math.pi / 2 - 0.02
    rng = np.random.default_rng(0)
    known = {2: 0.509999333347, 3: 0.657004267290, 4: 0.734571021388, 6: 0.816534499870}
    for n, value in known.items():
        found = float(std_ratio(WIDE, grid_of(WIDE, n, 1.0, rho_max=math.tan(theta)), 1.0)[0])
        starts = [np.sort(rng.uniform(0.01, theta - 0.01, n - 1)) for _ in range(3)]
        best = max(math.exp(-minimize(lost, x, args=(theta,), tol=1e-14).fun) for x in starts)
        for what, other in (("known", value), ("random starts", best)):
            yield optimum(
                found,
                other,
                tolerance=1e-9,
                tolerance_from="BFGS with a gradient tolerance of 1e-5, squared over its curvature",
                what=f"N = {n}, {what}",
            )


def trailing(path, steps, std, rho_max):
    """DDPM's uniform trailing steps, 249, 499, 749, 999 for four."""
    t = np.arange(1000 // steps, 1001, 1000 // steps)[::-1] / 1000
    return grids.at_times(DDPM, t).to_clean()


@claim("C3a", kind="rate", of=equal_angles, saboteurs=[trailing])
def the_constant_of_pure_noise(grid_of):
    """From pure noise N (1 - r) tends to pi^2/8 on equal angles (1.0858 at 4, 1.1651 at 10, 1.2188
    at 50 steps)."""
    steps = [4, 8, 20, 40, 100, 200]
    steps = [5, 10, 20, 40]
    values = []
    for n in steps:
        grid = grid_of(WIDE, n, 1.0, rho_max=1e16)
        values.append(n * (1 - float(std_ratio(grid.path, grid, 1.0)[0])))
    yield limit([1 / n for n in steps], values, math.pi**2 / 8)


@claim("C3b", kind="identity", of=std_ratio, saboteurs=[
    OF_SIGMA,
])  # fmt: skip
def uniform_steps_lose_more(ratio):
    """DDPM's uniform trailing steps lose .3905, .1706 and .0364 (4, 10, 50 steps, s = 1), equal
    angles .2714, .1165 and .0244."""
    for n, uniform, equal in ((4, 0.3905, 0.2714), (10, 0.1706, 0.1165), (50, 0.0364, 0.0244)):
        loss = 1 - float(ratio(DDPM, trailing(DDPM, n, 1.0, None), 1.0)[0])
        yield identity(loss, uniform, operations=1, eps=5e-5, scale=1.0, what=f"uniform, N = {n}")
        grid = equal_angles(WIDE, n, 1.0, rho_max=1e16)
        best = 1 - float(ratio(WIDE, grid, 1.0)[0])
        yield identity(best, equal, operations=1, eps=5e-5, scale=1.0, what=f"equal, N = {n}")


def not_rescaled(path, steps, std, rho_max):
    """The grid of s = 1, whatever the data."""
    return equal_angles(path, steps, 1.0, rho_max=rho_max)


@claim("C4", kind="optimum", of=equal_angles, saboteurs=[not_rescaled])
def another_spectrum_another_grid(grid_of):
    """Six steps from rho = 80: tuned to the data's own s the loss is .1877, .1873, .1851, .1744
    (s = .05, .2, 1, 5); on another's grid it is .816 (s = .05 on 1), .806 (1 on .05), .793 (5 on
    .2)."""
    table = [(0.05, 0.05, 0.1877), (0.2, 0.2, 0.1873), (1.0, 1.0, 0.1851), (5.0, 5.0, 0.1744)]
    table += [(0.05, 1.0, 0.816), (1.0, 0.05, 0.806), (5.0, 0.2, 0.793)]
    for s, tuned, known in table:
        grid = grid_of(WIDE, 6, tuned, rho_max=80.0)
        yield optimum(
            1 - float(std_ratio(WIDE, grid, s)[0]),
            known,
            tolerance=5e-5 if known < 0.5 else 5e-4,
            tolerance_from="half a unit of the known value's last digit",
            what=f"s = {s:g} on the grid of {tuned:g}",
        )


class Chosen(TimeSteps):
    """Time steps whose candidates are what the objective takes."""

    def build(self, candidate):
        return candidate


def entry_levels(times):
    """(alpha, sigma) of the table at these times."""
    return DDPM.alpha(times), DDPM.sigma(times)


class ExactFid:
    """FID of a candidate from N(0, I), by table: `first_order_w2` squared, in microseconds."""

    def __init__(self, times=TIMES):
        self.alpha, sigma = entry_levels(times)
        theta = np.arctan2(sigma[:, None], self.alpha[:, None] * STDS)
        self.step = np.cos(theta[:, None] - theta[None])
        self.last, self.first = (
            np.cos(theta),
            1 / np.hypot(self.alpha[:, None] * STDS, sigma[:, None]),
        )

    def output(self, candidate):
        """(mean error, standard deviation) of the output."""
        c = list(candidate)[::-1]
        r = self.first[c[0]] * self.last[c[-1]]
        for i, j in itertools.pairwise(c):
            r = r * self.step[i, j]
        return STDS * r * self.alpha[c[0]] * MEANS, STDS * r

    def __call__(self, candidate):
        mean, std = self.output(candidate)
        return float((mean**2).sum() + ((std - STDS) ** 2).sum())

    def best(self, k):
        """The least value over all choices of k times, with the choice."""
        found = (math.inf, ())
        for high in range(k - 1, 100):
            r0 = self.first[high]
            for second in range(k - 2, high):
                r = r0 * self.step[high, second]
                if k == 3:
                    lows = np.arange(second)
                    all_r = r * self.step[second, lows] * self.last[lows]
                else:
                    mid, low = np.tril_indices(second, -1)
                    all_r = r * self.step[second, mid] * self.step[mid, low] * self.last[low]
                mean = (STDS * all_r * self.alpha[high] * MEANS) ** 2
                value = mean.sum(1) + ((STDS * (1 - all_r)) ** 2).sum(1)
                if value.size and value.min() < found[0]:
                    i = int(value.argmin())
                    inner = (int(lows[i]),) if k == 3 else (int(low[i]), int(mid[i]))
                    found = (float(value[i]), (*inner, second, high))
        return found


def space_of(k):
    return Chosen(DDPM, TIMES, k, grids.of)


def from_the_exact_start(path, grid, means, stds, start):
    """Started at p_T, as if N(0, I) were it."""
    return first_order_w2(path, grid, means, stds, start="marginal")


@claim("C5a", kind="optimum", of=first_order_w2, saboteurs=[from_the_exact_start])
def the_optimum_of_the_space(distance):
    """DDPM-linear, entries 9, 19, ..., 999, eight Gaussian coordinates, from N(0, I): enumeration
    gives .412246222213 at {119, 299, 519} for three steps; {89, 219, 379, 589} has .283814999602,
    the uniform steps .938512 and .599941."""
    value, where = ExactFid().best(3)
    entries = [10 * i + 9 for i in where]
    for what, found, known, digits in (
        ("enumeration of 161700", value, 0.412246222213, 5e-13),
        ("where", float(entries == [119, 299, 519]), 1.0, 0.0),
        ("N = 3", distance_of(distance, (119, 299, 519)), 0.412246222213, 1e-11),
        ("N = 4", distance_of(distance, (89, 219, 379, 589)), 0.283814999602, 1e-11),
        ("uniform, 3", distance_of(distance, (9, 339, 669)), 0.938512, 5e-7),
        ("uniform, 4", distance_of(distance, (9, 259, 509, 759)), 0.599941, 5e-7),
    ):
        yield optimum(
            found, known, tolerance=digits, tolerance_from="the known value's digits", what=what
        )


def distance_of(distance, entries):
    """FID of the grid at these entries of the table."""
    grid = grids.at_times(DDPM, (np.array(entries[::-1]) + 1) / 1000).to_clean()
    return distance(DDPM, grid, MEANS, STDS, start="normal") ** 2


class Unsorted(Chosen):
    """Children are not sorted, so that one set has several names."""

    def cross(self, one, two, rng):
        picked = np.where(rng.random(self.k) < 0.5, one, rng.permutation(two))
        return tuple(int(i) for i in picked) if np.unique(picked).size == self.k else None


def unsorted_children(space, ledger, rng, start):
    """Crossover without sorting, and a memory of unsorted tuples."""
    return evolution(Unsorted(DDPM, TIMES, space.k, grids.of), ledger, rng, start)


FORGETFUL = sabotage(
    evolution,
    "sorted(ledger.values, key=lambda c: ledger.values[c])",
    "sorted(generation, key=lambda c: ledger.values[c])",
    "the elite is not carried over",
)
OPTIMA = {3: 0.4122462222134874, 4: 0.28381499960190454}


@claim(
    "C5b",
    kind="optimum",
    of=evolution,
    saboteurs=[unsorted_children, FORGETFUL, wrong(search.random, "random search")],
)
def evolution_against_the_optimum(method):
    """With 500 evaluations evolution comes within 1.04 of the optimum in the median of 20 seeds
    (N = 4), random search does not (1.074); its elite is the best of all so far, and every tuple
    that it asks for is increasing and, as a set, new."""
    fid = ExactFid()
    for k, limit_of in ((3, 1.02), (4, 1.04)):
        runs = [search.run(space_of(k), fid, method=method, budget=500, seed=s) for s in range(20)]
        yield optimum(
            float(np.median([r.value for r in runs])) / OPTIMA[k],
            limit_of,
            tolerance=0.0,
            tolerance_from="the claim's own bound",
            side="at most",
            what=f"N = {k}, median over the optimum",
        )
    asked = [t.candidate for t in runs[0].history]
    flaws = (
        sum(list(c) != sorted(set(c)) for c in asked)
        + len(asked)
        - len({frozenset(c) for c in asked})
    )
    yield optimum(
        flaws, 0, tolerance=0.0, tolerance_from="a count", what="tuples unsorted or asked twice"
    )
    yield optimum(
        strangers(method),
        0,
        tolerance=0.0,
        tolerance_from="a count",
        what="parents not of the elite",
    )


class Watched(Chosen):
    """Remembers who the parents were."""

    def mutate(self, candidate, rng, rate=None):
        self.parents.append(candidate)
        return super().mutate(candidate, rng, rate)

    @property
    def parents(self):
        return vars(self).setdefault("seen", [])


def strangers(method):
    """How many parents were not among the ten best of all that had been valued before.

    The first generation's are the seeds; later ones are told apart by what was known when the
    generation was asked for.
    """
    space, fid = Watched(DDPM, TIMES, 4, grids.of), ExactFid()
    bred = []

    def told(trial, done):
        bred.append((done, len(space.parents)))

    found = search.run(space, fid, method=method, budget=500, seed=0, progress=told)
    count, before = 0, 0
    for done, seen in bred:
        if seen > before and done > 1:  # the parents of this generation, bred after `done` - 1
            known = sorted(found.history[: done - 1], key=lambda t: t.value)[:10]
            elite = {t.candidate for t in known}
            first = not done > 50
            count += 0 if first else sum(c not in elite for c in space.parents[before:seen])
            before = seen
        before = max(before, seen)
    return count


@claim(
    "C5c",
    kind="bound",
    of=evolution,
    saboteurs=[
        wrong(search.random, "random search"),
        sabotage(
            evolution, "space.mutate(parent(), rng)", "space.random(rng)",
            "mutants are fresh draws", inside=_next,
        ),
    ],
)  # fmt: skip
def what_mutation_and_crossover_do(method):
    """Twice the budget brings the median of evolution to 1.007 (N = 4); under 1.012 here over 20
    seeds."""
    fid = ExactFid()
    found = [
        search.run(space_of(4), fid, method=method, budget=1000, seed=s).value for s in range(20)
    ]
    yield bound(float(np.median(found)) / OPTIMA[4], 1.012, what="1000 evaluations")


HALVED = sabotage(expected_frechet, "2 * s**2 * math.expm1(log_c4)", "s**2 * math.expm1(log_c4)",
                  "the factor 2 is dropped")  # fmt: skip


@claim("C6a", kind="law", of=expected_frechet, saboteurs=[HALVED])
def finite_sample_fid_in_one_dimension(expected, rng):
    """A perfect sampler scores s^2/n + 2 s^2 (1 - c4(n)) in the mean: .014787 for s = .7 and
    n = 50."""
    s, n = 0.7, 50

    def draw(count, rng):
        mean = s * rng.standard_normal(count) / math.sqrt(n)
        std = s * np.sqrt(rng.chisquare(n - 1, count) / (n - 1))
        return mean**2 + (std - s) ** 2

    return sequential_mean(draw, expected(s, n), effect=0.002, std=0.0172, rng=rng)


@claim(
    "C6b",
    kind="law",
    of=frechet_bias,
    saboteurs=[wrong(lambda d, n: d / n + d / (2 * n), "a diagonal covariance")],
)
def finite_sample_fid_with_a_covariance(bias, rng):
    """With a full covariance it is d/n + d(d+1)/(4n) to first order: .04125 for d = 6, n = 400."""
    d, n = 6, 400

    def draw(count, rng):
        return np.array([_frechet_to_unit(rng.standard_normal((n, d))) for _ in range(count)])

    # what is left out is of order 1/n^2: 3e-4 here by simulation, a thirtieth of the effect
    return sequential_mean(draw, bias(d, n), effect=0.008, std=0.0125, rng=rng, batch=256)


def _frechet_to_unit(x):
    """|mean|^2 + |C^{1/2} - I|^2 against N(0, I) itself."""
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(x.T)), 0.0))
    return float((x.mean(0) ** 2).sum() + ((roots - 1) ** 2).sum())


def with_the_diagonal(x, y, **how):
    """The V-statistic: k(x_i, x_i) is kept."""
    n = len(x)
    found = mmd2(x, y, **how).value
    diagonal = [float(((v * v).sum(1) + 1).__pow__(3).mean()) for v in (x, y)]
    k = [((v @ v.T + 1) ** 3).sum() for v in (x, y)]
    off = [(total - n * diag) / (n * (n - 1)) for total, diag in zip(k, diagonal, strict=True)]
    return type("V", (), {"value": found + sum(total / n**2 for total in k) - sum(off)})()


@claim("C7", kind="law", of=mmd2, saboteurs=[with_the_diagonal])
def kid_is_unbiased(estimate, rng):
    """KID's U-statistic with (xy + 1)^3 is unbiased: N(0, .64) against N(0, 1) has .388800, at n =
    20."""

    def draw(count, rng):
        return np.array(
            [
                estimate(
                    0.8 * rng.standard_normal((20, 1)),
                    rng.standard_normal((20, 1)),
                    kernel="polynomial",
                ).value
                for _ in range(count)
            ]
        )

    return sequential_mean(draw, 0.3888, effect=0.5, std=3.0, rng=rng, batch=256)


def sampled_winners(method, n, seeds):
    """(reported over true, true over the optimum) of the winner of noisy searches, N = 4."""
    fid, reported, reached = ExactFid(), [], []
    for seed in range(seeds):
        rng = np.random.default_rng(1000 + seed)

        def noisy(candidate, rng=rng):
            mean, std = fid.output(candidate)
            mean = mean + std * rng.standard_normal(8) / math.sqrt(n)
            std = std * np.sqrt(rng.chisquare(n - 1, 8) / (n - 1))
            return float((mean**2).sum() + ((std - STDS) ** 2).sum())

        found = search.run(space_of(4), noisy, method=method, budget=500, seed=seed)
        true = fid(found.candidate)
        reported.append(found.value / true)
        reached.append(true / OPTIMA[4])
    return float(np.mean(reported)), float(np.mean(reached))


def reports_the_truth(space, ledger, rng, start):
    """The reported fitness is taken for the true one: a search on exact values stands for it."""
    fid = ExactFid()
    ledger.objective = fid
    return evolution(space, ledger, rng, start)


@claim("C8", kind="optimum", of=evolution, saboteurs=[reports_the_truth])
def winners_curse(method):
    """The winner of 500 sampled fitnesses reports .50, .79, .94 of its true one (n = 50, 500, 5000
    samples), and its true one is 1.23, 1.08, 1.04 of the optimum: always value it again."""
    for n, curse, regret in ((50, 0.50, 1.23), (500, 0.79, 1.08), (5000, 0.94, 1.04)):
        reported, reached = sampled_winners(method, n, 20)
        for what, found, known in (("reported", reported, curse), ("reached", reached, regret)):
            yield optimum(
                found,
                known,
                tolerance=0.06,
                tolerance_from="the known values' own spread over seeds, .06",
                what=f"n = {n}, {what}",
            )


A_STDS = STDS[:6]
B_STDS = 1.3 * A_STDS**1.2


def gain_table(guide, stds, scale):
    """DDIM's factor from every of the 100 levels to every later one and to 0, (101, 101, d)."""
    free = Gaussian(np.zeros(6), stds**2 + 0.25).model(DDPM, "noise")
    model = guide(free, Gaussian(np.zeros(6), stds**2).model(DDPM, "noise"), scale)
    t = TIMES[::-1]
    e = np.stack([model.function(np.ones((1, 6)), float(v))[0] for v in t])
    alpha, sigma = (
        np.append(v[::-1], end) for v, end in zip(entry_levels(TIMES), (1.0, 0.0), strict=True)
    )
    ratio = alpha[None, :] / alpha[:100, None]
    return ratio[..., None] + (sigma[None, :] - sigma[:100, None] * ratio)[..., None] * e[:, None]


def transfer_error(table, triples):
    """Distance of the output gains of three steps to those of all 100, for each triple."""
    fine = np.prod([table[i, i + 1] for i in range(100)], axis=0)
    i, j, k = triples
    out = table[i, j] * table[j, k] * table[k, 100]
    return np.sqrt(((out - fine) ** 2).sum(axis=1))


def exchanged(free, conditional, scale):
    """w and 1 - w are exchanged."""
    return guided(free, conditional, 1 - scale)


@claim("C9", kind="bound", of=guided, saboteurs=[exchanged])
def what_transfers(guide):
    """Three of 100 steps, found for one model and scale and used for another, over the target's own
    optimum (161700 triples): same model, other guidance scale at most 1.05; other model, same scale
    1.19 to 1.42. Here the data's spectrum matters more than the scale."""
    triples = np.array(list(itertools.combinations(range(100), 3))).T
    errors = {
        (name, scale): transfer_error(gain_table(guide, stds, scale), triples)
        for name, stds in (("A", A_STDS), ("B", B_STDS))
        for scale in (1, 3)
    }
    best = {key: int(v.argmin()) for key, v in errors.items()}

    def borrowed(target, source):
        return float(errors[target][best[source]] / errors[target].min())

    for name in ("A", "B"):
        for one, two in ((1, 3), (3, 1)):
            found = borrowed((name, two), (name, one))
            yield bound(found, 1.05, what=f"{name}, scale {one} for {two}")
    known = {("A", "B", 1): 1.228, ("A", "B", 3): 1.192, ("B", "A", 1): 1.286, ("B", "A", 3): 1.414}
    for (source, target, scale), value in known.items():
        found = borrowed((target, scale), (source, scale))
        yield bound(abs(found - value), 5e-4, what=f"{source} to {target}, scale {scale}")


LAYER_STDS = np.array([1.4, 1.0, 0.7, 0.5, 0.35, 0.25])
TWENTY = np.arange(30, 1001, 50) / 1000  # entries 29, 79, ..., 979
SETS = [s for n in range(5) for s in itertools.combinations(range(4), n)]


class LayeredErrors:
    """The squared errors of two steps with any layers, from one stack's gains."""

    def __init__(self, stack):
        bed = stack(LAYER_STDS, DDPM, TWENTY, 4)
        self.gain = np.array([[bed.gain(float(t), run) for run in SETS] for t in TWENTY])
        self.alpha, self.sigma = entry_levels(TWENTY)

    def factor(self, i, run, j):
        """The state's factor from time i to time j (None: to the data) with this set."""
        alpha, sigma = (1.0, 0.0) if j is None else (self.alpha[j], self.sigma[j])
        ratio = alpha / self.alpha[i]
        return ratio + (sigma - self.sigma[i] * ratio) * self.gain[i, run]

    def error(self, high, run_high, low, run_low):
        out = self.factor(high, run_high, low) * self.factor(low, run_low, None)
        return float(((np.abs(out) - LAYER_STDS) ** 2).sum())

    def __call__(self, layered):
        """The error of a candidate of `LayeredSteps`, whose sets are in the order of sampling."""
        (low, high), (out_high, out_low) = layered.plan, layered.skipped
        index = [
            SETS.index(tuple(k for k in range(4) if k not in out)) for out in (out_high, out_low)
        ]
        return self.error(high, index[0], low, index[1])

    def best(self, budget, times=None, exactly=True):
        """The least error with that many layers, over all pairs of times or those given."""
        pairs = times or [(h, lo) for h in range(20) for lo in range(h)]
        counts = [
            (a, b) for a in range(16) for b in range(16) if len(SETS[a]) + len(SETS[b]) == budget
        ]
        found = math.inf
        for high, low in pairs:
            first = np.stack([self.factor(high, a, low) for a in range(16)])
            last = np.stack([self.factor(low, b, None) for b in range(16)])
            out = np.stack([first[a] * last[b] for a, b in counts])
            found = min(found, float(((np.abs(out) - LAYER_STDS) ** 2).sum(1).min()))
        return found

    def best_time(self):
        """The pair of times that is best with every layer."""
        pairs = [(h, lo) for h in range(20) for lo in range(h)]
        return min(pairs, key=lambda p: self.error(p[0], 15, p[1], 15))


def equally_spaced(stds, path, times, layers):
    """Roots equally spaced over the range of lam."""
    bed = LayeredDenoiser(stds, path, times, layers)
    object.__setattr__(bed, "roots", np.linspace(bed.roots.min(), bed.roots.max(), layers))
    return bed


@claim(
    "C10a",
    kind="optimum",
    of=LayeredDenoiser,
    saboteurs=[equally_spaced],
    erratum="A pruned network with searched steps beats the full one: its smaller noise cancels "
    "discretisation.",
)
def a_pruned_network_beats_the_full_one(stack):
    """Two steps of a stack of four layers, budget 5 of 8: searched jointly .01504, time first and
    then layers .07075, layers on the uniform steps .62888, all eight layers at the best time
    .14052; budgets 4 and 6 .03425 and .01149."""
    errors = LayeredErrors(stack)
    first = errors.best_time()
    for what, found, known in (
        ("jointly, 5", errors.best(5), 0.01504),
        ("time first, 5", errors.best(5, [first]), 0.07075),
        ("uniform steps, 5", errors.best(5, [(10, 0)]), 0.62888),
        ("all eight layers", errors.best(8), 0.14052),
        ("jointly, 4", errors.best(4), 0.03425),
        ("jointly, 6", errors.best(6), 0.01149),
    ):
        yield optimum(
            found,
            known,
            tolerance=5e-6,
            tolerance_from="half a unit of the known value's last digit",
            what=what,
        )


def layered_space(cls=LayeredSteps):
    steps = Chosen(DDPM, TWENTY, 2, grids.of)
    return cls(steps, 4, most=5, skip=(0.25, 0.75))


class UniformSteps(LayeredSteps):
    """Layers are searched on the uniform grid."""

    def build(self, candidate):
        return super().build(((0, 10), candidate[1]))


class IdleMutation(LayeredSteps):
    """A comparison stands where an assignment should: no layer is ever replaced."""

    def _varied(self, skipped, rng, p):
        return skipped


@claim("C10b", kind="optimum", of=LayeredSteps, saboteurs=[UniformSteps])
def evolution_over_steps_and_layers(space):
    """Evolution over steps and layers (600 evaluations, six seeds) has a median error below that of
    the best time with the best layers for it, .07075, and never below the joint optimum .01504."""
    errors = LayeredErrors(LayeredDenoiser)
    found = [
        search.run(layered_space(space), errors, method=evolution, budget=600, seed=s).value
        for s in range(6)
    ]
    for what, value, limit_of, side in (
        ("median", float(np.median(found)), 0.07075, "at most"),
        ("least", min(found), errors.best(5) * 0.9999, "at least"),
    ):
        yield optimum(
            value,
            limit_of,
            tolerance=0.0,
            tolerance_from="the claim's own bound",
            side=side,
            what=what,
        )


@claim(
    "C10c",
    kind="law",
    of=LayeredSteps,
    saboteurs=[IdleMutation],
    erratum="In the authors' repository an assignment is written as a comparison: no layer moves.",
)
def a_mutation_moves_layers(space, rng):
    """A mutation replaces each layer that is left out, with its probability of 1/4, by one that
    runs."""
    made = layered_space(space)

    def draw(count, rng):
        mutants = [made.mutate(((0, 10), ((1,), (0, 1))), rng) for _ in range(count)]
        return np.array([float(c is not None and c[1][0] != (1,)) for c in mutants])

    return sequential_mean(draw, 0.25, effect=0.1, std=math.sqrt(3) / 4, rng=rng, batch=64)
