"""Binary decision biases in language models (arXiv 2501.16356). Sheet `binary-bias`, its claims.

The worlds are coins with a memory: on a Markov coin the joint law of the number of ones and of runs
is a closed form, so that sizes and powers are sums; short series are enumerated, the probabilities
of a small causal network are multiplied out path by path. What is left to sampling is tested at the
fixed level.
"""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from fewtheory.inference import (
    SeriesLaw,
    binomial_test,
    blum,
    count_test,
    coverage,
    dispersion_test,
    expected_share,
    follows_probabilities,
    gram_counts,
    interval,
    ladder_statistics,
    ladder_total,
    psi2,
    psi2_law,
    psi2_tail,
    rung_noncentrality,
    rung_power,
    runs_law,
    runs_moments,
    runs_test,
    streak_rates,
    temperature_needed,
    tempered,
    tempered_variants,
    uniformity_power,
    uniformity_sample_size,
    von_neumann,
    von_neumann_correlation,
    von_neumann_yield,
)
from fewtheory.inference.coins.ladder import _from_counts, first_rung, rung_dfs
from fewtheory.inference.coins.power import battery_rejects
from fewtheory.inference.coins.runs import _even_and_odd, _tail
from fewtheory.inference.coins.serial import serial_statistics, serial_tails
from fewtheory.testbeds.coins import BalancingSeries, HistoryCoin, MarkovCoin, binary_entropy
from fewtheory.verify import bound, claim, identity, law, limit, sabotage, wrong
from fewtheory.verify.power import samples_for_mean

EPS = float(np.finfo(float).eps)
RHOS = (-0.4, -0.2, 0.2, 0.4)


def digits(value, expected, last, what):
    """A number that the sheet gives to so many digits: half a unit of the last."""
    return identity(value, expected, operations=1, eps=last / 2, scale=1.0, what=what)


def all_series(n):
    """The 2^n series, (2^n, n)."""
    return np.indices((2,) * n).reshape(n, -1).T


def fair_series(series, n, rng):
    """Fair independent answers (series, n); n a multiple of 8."""
    bits = np.unpackbits(np.frombuffer(rng.bytes(series * n // 8), dtype=np.uint8))
    return bits.reshape(series, n)


# C1: the rate


@claim(
    "C1a",
    kind="identity",
    of=uniformity_power,
    saboteurs=[
        wrong(functools.partial(uniformity_power, mid=True), "mid-p: may exceed the level"),
        wrong(lambda n, p: uniformity_power(n, p, alpha=0.1), "a one-sided level in each tail"),
        wrong(lambda n, p: uniformity_power(n, p, 0.5, alpha=0.025), "alpha / 2 for alpha"),
    ],
)  # fmt: skip
def exact_size_and_power(power):
    """The exact test's size is .02148, .03520, .04629 at n = 10, 100, 1000; its power at p = .43
    is .2408 (n = 100) and .99291 (n = 1000), at p = .55 .1352 and .8801."""
    for n, p, value, last in (
        (10, 0.5, 0.02148, 1e-5), (100, 0.5, 0.03520, 1e-5), (1000, 0.5, 0.04629, 1e-5),
        (100, 0.43, 0.2408, 1e-4), (1000, 0.43, 0.99291, 1e-5), (100, 0.55, 0.1352, 1e-4),
        (1000, 0.55, 0.8801, 1e-4),
    ):  # fmt: skip
        yield digits(float(power(n, p)), value, last, f"n = {n}, p = {p}")


def doubled(count, n, null=0.5):
    """Twice the smaller tail, without a cap: above 1 at the mean, another test at 3/10."""
    tails = (
        binomial_test(count, n, null, alternative="less"),
        binomial_test(count, n, null, alternative="greater"),
    )
    return 2 * min(tails)


@claim(
    "C1b",
    kind="identity",
    of=binomial_test,
    saboteurs=[
        doubled,
        wrong(functools.partial(binomial_test, mid=True), "mid-p for the exact p"),
        wrong(functools.partial(binomial_test, alternative="greater"), "one tail"),
    ],
)
def the_p_value_is_the_mass_of_what_is_not_likelier(test):
    """The two-sided p-value is the total probability of the outcomes that are not likelier than the
    observed one: in rational arithmetic, n = 12 at p = 1/2 and n = 11 at p = 3/10."""
    for n, p in ((12, Fraction(1, 2)), (11, Fraction(3, 10))):
        masses = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
        exact = [float(sum(m for m in masses if m <= own)) for own in masses]
        found = [test(k, n, float(p)) for k in range(n + 1)]
        # a binomial mass by gamma functions: some 8 roundings of log-gammas up to 20
        yield identity(found, exact, operations=8 * 20 + n, scale=1.0, what=f"p = {float(p)}")


def wald(count, n, *, alpha=0.05, method="clopper-pearson"):
    """Wald: p +- z sqrt(p (1 - p) / n), .7786 at p = .985."""
    p = np.asarray(count) / n
    half = 1.959963984540054 * np.sqrt(p * (1 - p) / n)
    return p - half, p + half


def covered(made, n, p):
    """The exact coverage of an interval at the rates p."""
    from scipy.stats import binom

    k = np.arange(n + 1)
    low, high = made(k, n)
    held = (low <= p[:, None]) & (p[:, None] <= high)
    return (binom.pmf(k, n, p[:, None]) * held).sum(axis=1)


GRID = np.arange(5, 996) / 1000
INTERVALS = [
    wald,
    sabotage(interval, "proportion.proportion_confint(k, n, level, METHODS[method])",
             "proportion.proportion_confint(k, n, 2 * level, METHODS[method])",
             "alpha in place of alpha / 2 in the Beta quantile"),
]  # fmt: skip


@claim("C1c", kind="bound", of=interval, saboteurs=[
    *INTERVALS, wrong(functools.partial(interval, method="wilson"), "Wilson: on average only"),
])  # fmt: skip
def clopper_pearson_covers(made):
    """Clopper-Pearson's coverage is at least .95 at every rate of the grid, n = 10, 37, 100."""
    for n in (10, 37, 100):
        found = covered(made, n, GRID)
        yield bound(found, 0.95, side="at least", x=GRID, operations=8 * 400, what=f"n = {n}")


@claim("C1d", kind="identity", of=interval, saboteurs=INTERVALS)
def coverage_at_100(made):
    """At n = 100 over p = .005, .006, .., .995: Clopper-Pearson's minimum is .9504, Wilson's .9102
    with mean .9511; Wald covers with .7786 at p = .985."""
    yield digits(covered(made, 100, GRID).min(), 0.9504, 1e-4, "Clopper-Pearson, minimum")
    found = covered(functools.partial(made, method="wilson"), 100, GRID)
    yield digits(found.min(), 0.9102, 1e-4, "Wilson, minimum")
    yield digits(found.mean(), 0.9511, 1e-4, "Wilson, mean")
    yield digits(covered(wald, 100, np.array([0.985]))[0], 0.7786, 1e-4, "Wald at .985")
    same = coverage(100, GRID, method="wilson")
    yield identity(same, found, operations=4 * 400, scale=1.0, what="coverage()")


@claim(
    "C1e",
    kind="identity",
    of=uniformity_sample_size,
    saboteurs=[
        sabotage(uniformity_sample_size, "int(n[below[-1]] + 1)", "int(n[reached >= target][0])",
                 "the first n that reaches the power: it falls below again"),
        sabotage(uniformity_sample_size, "open_share(where, 'alpha', alpha)",
                 "2 * open_share(where, 'alpha', alpha)", "one-sided"),
    ],
)  # fmt: skip
def the_power_stays(size):
    """From the sample size on the power is at or above .8 and just before it is not: p = .43, .6,
    .35, all n to twice the size; power is no monotone function of n."""
    for p in (0.43, 0.6, 0.35):
        n = size(p)
        later = np.array([float(uniformity_power(m, p)) for m in range(n, 2 * n)])
        yield identity(float((later < 0.8).sum()), 0.0, operations=1, scale=0.5 / EPS, what="after")
        before = float(uniformity_power(n - 1, p))
        yield identity(float(before >= 0.8), 0.0, operations=1, scale=0.5 / EPS, what="before")


# C2: a mean of flips that remember


@claim(
    "C2a",
    kind="identity",
    of=MarkovCoin.variance_of_mean,
    saboteurs=[
        sabotage(MarkovCoin.variance_of_mean, "(1 + rho) / (1 - rho) - drop",
                 "(1 - rho) / (1 + rho) - drop", "the factor inverted"),
        sabotage(MarkovCoin.variance_of_mean, "(1 + rho) / (1 - rho) - drop",
                 "(1 + rho) / (1 - rho)", "without the term of finite n"),
        sabotage(MarkovCoin.variance_of_mean, "1 - rho**n", "1 - rho**(n - 1)", "off by one"),
    ],
)  # fmt: skip
def variance_of_the_mean(variance):
    """Var = p (1 - p) / n [(1 + rho) / (1 - rho) - 2 rho (1 - rho^n) / (n (1 - rho)^2)]:
    5.38265e-4, 8.35069e-4, 1.871094e-3, 2.902778e-3 at n = 200, p = 1/2 and rho = -.4, -.2, .2,
    .4; the sum of all covariances p (1 - p) rho^|s - t|; p (1 - p)(1 + rho) / 2 at n = 2."""
    for rho, value, last in zip(RHOS, (5.38265e-4, 8.35069e-4, 1.871094e-3, 2.902778e-3),
                                (1e-9, 1e-9, 1e-9, 1e-9), strict=True):  # fmt: skip
        yield digits(variance(MarkovCoin(0.5, rho), 200), value, last, f"rho = {rho}")
    for p, rho, n in ((0.35, -0.5, 2), (0.7, 0.6, 2), (0.35, -0.5, 9), (0.2, 0.9, 40)):
        t = np.arange(n)
        exact = p * (1 - p) * (float(rho) ** np.abs(t[:, None] - t)).sum() / n**2
        size = p * (1 - p) / n * 2 / (1 - rho) ** 2
        yield identity(variance(MarkovCoin(p, rho), n), exact, operations=64, scale=size,
                       what=f"p = {p}, rho = {rho}, n = {n}")  # fmt: skip


@claim(
    "C2b",
    kind="law",
    of=MarkovCoin.sample,
    saboteurs=[
        sabotage(MarkovCoin.sample, "np.where(x[t - 1] == 1, b1, b0)",
                 "np.where(x[t - 1] == 1, b0, b1)", "the last answer's sign"),
        sabotage(MarkovCoin.sample, "np.where(x[t - 1] == 1, b1, b0)", "float(self.p)",
                 "no memory"),
    ],
)  # fmt: skip
def sampled_variance(sample, rng):
    """The mean of 200 flips, p = 1/2, has that variance: 40000 series, which is within 1.5% but for
    two in a thousand; the fourth moment of the count comes from its exact law."""
    n, series = 200, 40_000
    for rho in (-0.4, 0.4):
        coin = MarkovCoin(0.5, rho)
        count = sample(coin, n, rng=rng, series=series).sum(axis=1)
        k, exact = np.arange(n + 1), coin.count_law(n)
        second, fourth = exact @ (k - 100.0) ** 2, exact @ (k - 100.0) ** 4
        z = (((count - 100.0) ** 2).mean() - second) / math.sqrt((fourth - second**2) / series)
        yield law(z, what=f"rho = {rho}", n=series)


@claim(
    "C2c",
    kind="identity",
    of=MarkovCoin.count_law,
    saboteurs=[
        sabotage(MarkovCoin.count_law, "one * (1 - b1)", "one * b1", "1 -> 1 leads to 0"),
        sabotage(MarkovCoin.count_law, "(1 - p, p)", "(1.0, 0.0)",
                 "starts at 0, not in the stationary law"),
        wrong(lambda coin, n: MarkovCoin(coin.p, 0.0).count_law(n), "binomial"),
    ],
)  # fmt: skip
def recency_hides_bias(count_law):
    """At n = 200, p = 1/2 and rho = -.4, -.2, .2, .4 the normal test of fairness at 5% rejects with
    probability .0036, .0193, .1186, .2110 and the exact one with .0018, .0120, .0936, .1790; normal
    prediction .0028, .0164, .1095, .1995."""
    from scipy.special import ndtr, ndtri

    off = np.abs(np.arange(201) - 100)
    for rho, normal, exact, told in zip(RHOS, (0.0036, 0.0193, 0.1186, 0.2110),
                                        (0.0018, 0.0120, 0.0936, 0.1790),
                                        (0.0028, 0.0164, 0.1095, 0.1995), strict=True):  # fmt: skip
        found = count_law(MarkovCoin(0.5, rho), 200)
        yield digits(found[off >= 14].sum(), normal, 1e-4, f"normal test, rho = {rho}")
        yield digits(found[off >= 15].sum(), exact, 1e-4, f"exact test, rho = {rho}")
        factor = math.sqrt((1 - rho) / (1 + rho))
        yield digits(2 * ndtr(ndtri(0.025) * factor), told, 1e-4, f"normal prediction, rho = {rho}")
    mean = count_law(MarkovCoin(0.35, 0.4), 9) @ np.arange(10)
    yield identity(mean, 9 * 0.35, operations=64, what="mean")


@claim(
    "C2d",
    kind="identity",
    of=MarkovCoin.joint_law,
    saboteurs=[
        sabotage(MarkovCoin.joint_law, "_times_log(k, 1 - b1) + _times_log(k - 1, b0)",
                 "_times_log(k, 1 - b1) + _times_log(k, b0)", "one transition too many"),
        sabotage(MarkovCoin.joint_law, "np.exp(more_ones) + np.exp(more_zeros)",
                 "2 * np.exp(more_ones)", "odd numbers of runs start with a one"),
    ],
)  # fmt: skip
def joint_law_of_ones_and_runs(runs):
    """The joint law of the numbers of ones and of runs is the sum over all 2^10 series of their
    probabilities, and its margin is the count's law: sizes and powers below are sums over it."""
    for p, rho in ((0.35, -0.5), (0.5, -0.4), (0.7, 0.6)):
        coin, n = MarkovCoin(p, rho), 10
        x, mass = all_series(n), coin.law(n).table().table.reshape(-1)
        exact = np.zeros((n + 1, n + 1))
        np.add.at(exact, (x.sum(axis=1), 1 + (x[:, 1:] != x[:, :-1]).sum(axis=1)), mass)
        yield identity(runs(coin, n), exact, operations=16 * 20, scale=1.0, what=f"rho = {rho}")
        margin = runs(coin, 60).sum(axis=1)
        # each log-probability adds terms up to log 60! = 189
        yield identity(margin, coin.count_law(60), operations=8 * 189, scale=1.0, what="margin")


# C3: overlapping grams


def grams_in_line(x, m):
    """Counts of the windows that stay inside the series, n - m + 1 of them."""
    x = np.asarray(x, dtype=np.int64)
    if m == 0:
        return np.full((*x.shape[:-1], 1), x.shape[-1])
    windows = np.lib.stride_tricks.sliding_window_view(x, m, axis=-1)
    code = windows @ (1 << np.arange(m)[::-1])
    rows = code.reshape(-1, code.shape[-1])
    shifted = rows + (np.arange(len(rows)) << m)[:, None]
    counts = np.bincount(shifted.ravel(), minlength=len(rows) << m)
    return counts.reshape(*x.shape[:-1], 1 << m)


@claim(
    "C3a",
    kind="identity",
    of=psi2,
    saboteurs=[
        sabotage(psi2, "gram_counts(host, m)", "gram_counts(host[..., :-1], m)",
                 "the counts of n - 1 answers with the factor of n"),
        sabotage(psi2, "2**m", "2**(m - 1)", "a factor of the grams"),
        wrong(lambda x, m: (grams_in_line(x, m) ** 2.0).sum(axis=-1) * 2**m / 12 - 12,
              "counts that are not cyclic"),
    ],
)  # fmt: skip
def mean_of_psi2(statistic):
    """For fair independent answers E psi2_m = 2^m - 1 at every n >= 2 m, m = 0..3: the mean over
    all 2^12 series."""
    x = all_series(12)
    for m in range(4):
        found = float(statistic(x, m).mean())
        yield identity(found, 2**m - 1, operations=12 + 4, scale=12 * 2**m, what=f"m = {m}")


@claim(
    "C3b",
    kind="identity",
    of=psi2_tail,
    saboteurs=[
        wrong(lambda value, m: _chi2().sf(value, 2**m - 1), "chi-square on 2^m - 1"),
        sabotage(psi2_tail, "dfs.sum() + 2 * k", "dfs.sum() + k", "half the degrees of freedom"),
        sabotage(psi2_tail, "psi2_law(m)", "(psi2_law(m)[0], psi2_law(m)[1][::-1])",
                 "weights in the wrong order"),
    ],
)  # fmt: skip
def weighted_law(tail):
    """psi2_3 ~ 3 chi2(1) + 2 chi2(1) + chi2(2): mean 7 and variance 30 (a chi2(7) has 14); a
    chi-square test at 5% rejects with .1002. The tail by Ruben's mixture is that of the inversion
    of the characteristic function."""
    weights, dfs = psi2_law(3)
    yield identity(weights @ dfs, 7.0, operations=8, what="mean")
    yield identity(2 * weights**2 @ dfs, 30.0, operations=8, what="variance")
    yield digits(float(tail(_chi2().isf(0.05, 7), 3)), 0.1002, 1e-4, "size of the chi-square test")
    for m, value in ((4, 20.0), (5, 50.0)):
        exact, error = inverted(value, *psi2_law(m))
        yield identity(float(tail(value, m)), exact, operations=1, eps=error, scale=1.0,
                       what=f"m = {m}")  # fmt: skip


def _chi2():
    from scipy.stats import chi2

    return chi2


def inverted(value, weights, dfs):
    """P(sum w chi2 > value) by Imhof's integral, and the quadrature's error."""
    from scipy.integrate import quad

    def integrand(u):
        angle = 0.5 * (dfs * np.arctan(weights * u)).sum() - 0.5 * value * u
        return math.sin(angle) / (u * float(((1 + (weights * u) ** 2) ** (dfs / 4)).prod()))

    # |integrand| < u^{-1 - v} / prod w_j^{v_j / 2}, v half of all degrees of freedom
    total, error, end, v = 0.0, 0.0, 64.0, dfs.sum() / 2
    for a, b in itertools.pairwise((1e-12, 0.5, 1, 2, 4, 8, 16, 32, end)):
        part, rest = quad(integrand, a, b, limit=200, epsabs=1e-10)
        total, error = total + part, error + rest
    return 0.5 + total / math.pi, error + end**-v / v / float((weights ** (dfs / 2)).prod())


SERIES, LENGTH = 8000, 1024
# sizes at n = 1024 of SIMULATED series; their standard error is added to the test's
SIMULATED = 962_000
SIZES = {"weighted": 0.05, "first": 0.04986, "second": 0.05019, "chi-square": 0.09945}


def size_evidence(rejections, series, size, what):
    """Counts of rejections against a size that was itself found by simulation."""
    spread = math.sqrt(size * (1 - size) * (1 / series + 1 / SIMULATED))
    return law((rejections / series - size) / spread, what=what, n=series)


def chi_square_of_grams(values, m):
    """A chi-square test on overlapping grams: psi2_m against chi2(2^m - 1)."""
    out = serial_tails(values, m)
    out[..., 0] = _chi2().sf(np.asarray(values)[..., 0], 2**m - 1)
    return out


@claim(
    "C3c",
    kind="law",
    of=serial_tails,
    saboteurs=[
        chi_square_of_grams,
        sabotage(serial_tails, "2 ** (m - 1)", "2 ** m - 1", "all cells' degrees of freedom"),
        sabotage(serial_tails, "2 ** (m - 2)", "2 ** (m - 1)", "the first difference's"),
    ],
)  # fmt: skip
def sizes_of_the_serial_tests(tails, rng):
    """At n = 1024 the weighted law's, first and second differences' tests of 3-grams at 5% have
    sizes .050, .0499, .0502 (the differences' .0472, .0491 of 20000 in the sheet), where a
    chi-square test of psi2_3 has .0995 (.0953)."""
    values = serial_statistics(fair_series(SERIES, LENGTH, rng), 3)
    rejected = (tails(values, 3) <= 0.05).sum(axis=0)
    for name, count in zip(("weighted", "first", "second"), rejected, strict=True):
        yield size_evidence(int(count), SERIES, SIZES[name], name)
    naive = int((chi_square_of_grams(values, 3)[..., 0] <= 0.05).sum())
    yield size_evidence(naive, SERIES, SIZES["chi-square"], "chi-square")


@claim(
    "C3d",
    kind="identity",
    of=gram_counts,
    saboteurs=[
        grams_in_line,
        sabotage(gram_counts, "np.roll(flat, -k, axis=1)", "np.roll(flat, k, axis=1)",
                 "windows that read backwards"),
    ],
)  # fmt: skip
def cyclic_counts(counts):
    """Cyclic counts of length m are both margins of those of length m + 1, and sum to n; counts in
    line are neither, and the differences of psi2 need it."""
    x = np.random.default_rng(0).integers(0, 2, (8, 24))
    for m in (1, 2, 3):
        longer, own = counts(x, m + 1).reshape(8, -1, 2), counts(x, m)
        first = counts(x, m + 1).reshape(8, 2, -1).sum(axis=1)
        yield identity(longer.sum(axis=2), own, operations=1, what=f"last answer, m = {m}")
        yield identity(first, own, operations=1, what=f"first answer, m = {m}")
    one = np.array([0, 0, 0, 1, 0, 1, 1, 1])  # each 3-gram once, in this order
    yield identity(counts(one, 3), np.ones(8), operations=1, what="de Bruijn")
    found = counts(one, 4)
    yield identity([found[0b0010], found[0b0100]], [1, 0], operations=1, what="0010, not 0100")


# C4: the ladder


def ladder_in_line(x, order):
    """Counts that are not cyclic: the rungs no longer add up, by O(1)."""
    return _from_counts([grams_in_line(x, m) for m in range(order + 2)])


RUNG = "2 * (S[r + 2] - 2 * S[r + 1] + S[r])"
LADDERS = [
    ladder_in_line,
    sabotage(ladder_statistics, RUNG, RUNG + " / math.log(2)", "log base 2", inside=_from_counts),
    sabotage(ladder_statistics, RUNG, "2 * (S[r + 2] - S[r + 1])",
             "the lower order is not taken off", inside=_from_counts),
]  # fmt: skip


@claim("C4a", kind="identity", of=ladder_statistics, saboteurs=LADDERS)
def the_rungs_add_up(statistics):
    """G2_unif + sum_{r < R} G2_r = 2 [sum N_{R+1} log N_{R+1} - sum N_R log N_R + n log 2], to
    rounding, R = 0..4: fair, biased and remembering series of 1024, and one of 24."""
    rng = np.random.default_rng(1)
    series = [
        rng.integers(0, 2, (20, LENGTH)), rng.random((20, LENGTH)) < 0.8,
        MarkovCoin(0.5, -0.3).sample(LENGTH, rng=rng, series=20), rng.integers(0, 2, (20, 24)),
    ]  # fmt: skip
    for x in series:
        x = np.asarray(x, dtype=np.int8)
        for order in range(5):
            found, total = statistics(x, order).sum(axis=-1), ladder_total(x, order)
            # sums of N log N up to n log n, one rounding a gram and rung
            size = x.shape[-1] * math.log(x.shape[-1])
            yield identity(found, total, operations=4 * (order + 2), scale=size,
                           what=f"n = {x.shape[-1]}, R = {order}")  # fmt: skip


RUNGS = {0: 0.05135, 1: 0.05069, 2: 0.05143}  # the first by the exact law of ones and runs


@claim("C4b", kind="law", of=ladder_statistics, saboteurs=LADDERS[1:2])
def sizes_of_the_rungs(statistics, rng):
    """At n = 1024 the tests of G2_0, G2_1, G2_2 at 5% by chi2(1), chi2(2), chi2(4) have sizes
    .0514, .0507, .0514 under fair independent answers (.0472, .0532, .0495 of 20000 in the sheet),
    and the rungs are uncorrelated."""
    G = statistics(fair_series(SERIES, LENGTH, rng), 3)[:, 1:]
    for r in range(3):
        count = int((G[:, r] > _chi2().isf(0.05, 2**r)).sum())
        yield size_evidence(count, SERIES, RUNGS[r], f"G2_{r}")
    corr = np.corrcoef(G.T)
    for r, s in ((0, 1), (0, 2), (1, 2)):
        yield law(corr[r, s] * math.sqrt(SERIES), what=f"correlation of G2_{r}, G2_{s}", n=SERIES)


@claim(
    "C4c",
    kind="law",
    of=rung_dfs,
    saboteurs=[
        sabotage(rung_dfs, "2**r", "2**(r + 1)", "df 2^(r + 1): the larger model's"),
        sabotage(rung_dfs, "2**r", "1", "one degree of freedom a rung"),
    ],
)
def degrees_of_freedom(dfs, rng):
    """The mean of G2_r is its degrees of freedom, 1 for the rate and 2^r for order r, up to the
    O(1/n) of likelihood ratios, taken off as the mean at n and n / 2 extrapolate."""
    long = ladder_statistics(fair_series(SERIES, LENGTH, rng), 3)
    short = ladder_statistics(fair_series(SERIES, LENGTH // 2, rng), 3)
    mean = 2 * long.mean(axis=0) - short.mean(axis=0)
    spread = np.sqrt((4 * long.var(axis=0) + short.var(axis=0)) / SERIES)
    for r, df in enumerate(dfs(3)):
        yield law((mean[r] - df) / spread[r], what=f"rung {r}", n=SERIES)


def chi_square_power(n, p, rho):
    """The exact power of G2_0 against chi2(1) at 5%: a sum over the joint law of ones and runs."""
    n1 = np.arange(n + 1)[:, None]
    c = np.minimum(np.arange(n + 1)[None] // 2, np.minimum(n1, n - n1))
    rejected = first_rung(n1, n - n1, c) > _chi2().isf(0.05, 1)
    return float((MarkovCoin(p, rho).joint_law(n) * rejected).sum())


@claim(
    "C4d",
    kind="identity",
    of=rung_noncentrality,
    saboteurs=[
        sabotage(rung_noncentrality, "2 * n", "n", "half of it"),
        sabotage(rung_noncentrality, "2 * n", "2 * n / 0.6931", "entropies in bits"),
    ],
)
def power_of_the_first_rung(noncentrality):
    """At n = 1024 and p = 1/2 G2_0 has noncentrality 2 n (h_0 - h_1) = 10.257 at rho = -.1 (n rho^2
    = 10.24) and power .8930 by noncentral chi-square, .7262 at rho = .08; exactly .8992, .7200
    (sampled .905, .716 in the sheet), sums over the joint law of ones and runs."""
    for rho, nc, told, exact in ((-0.1, 10.257, 0.8930, 0.8992), (0.08, None, 0.7262, 0.7200)):
        found = noncentrality(1024, float(binary_entropy(0.5)), MarkovCoin(0.5, rho).entropy_rate)
        if nc is not None:
            yield digits(found, nc, 1e-3, f"noncentrality, rho = {rho}")
        yield digits(rung_power(found, 1), told, 1e-4, f"noncentral power, rho = {rho}")
        yield digits(chi_square_power(1024, 0.5, rho), exact, 1e-4, f"exact power, rho = {rho}")


@claim(
    "C4e",
    kind="bound",
    of=battery_rejects,
    saboteurs=[
        wrong(lambda test, coin, n: battery_rejects("rate", coin, n), "the rate test alone"),
        wrong(lambda test, coin, n: battery_rejects("recency", coin, n), "the runs test alone"),
    ],
)
def the_ladder_has_no_blind_spot(rejects):
    """At n = 200 the total of the first two rungs sees rho = -.4 and .4 at p = 1/2, and p = .35 at
    rho = 0 and -.3, each with power above .95; the rate test rejects rho = -.4 with .0018."""
    for p, rho in ((0.5, -0.4), (0.5, 0.4), (0.35, 0.0), (0.35, -0.3)):
        found = rejects("total", MarkovCoin(p, rho), 200)
        yield bound(found, 0.95, side="at least", what=f"p = {p}, rho = {rho}")


# C5: runs


def geometric_law(n1, n0):
    """Independent fair flips given nothing: R - 1 is binomial."""
    n = n1 + n0
    return np.array([0.0, *(math.comb(n - 1, r - 1) / 2 ** (n - 1) for r in range(1, n + 1))])


RUNS = [
    geometric_law,
    sabotage(runs_law, "np.exp(more_ones - whole) + np.exp(more_zeros - whole)",
             "np.exp(more_ones - whole)", "one term for odd R", inside=_even_and_odd),
    sabotage(runs_law, "2 * np.exp(ones + zeros - whole)", "np.exp(ones + zeros - whole)",
             "starts with a one", inside=_even_and_odd),
]  # fmt: skip


@claim("C5a", kind="identity", of=runs_law, saboteurs=RUNS)
def runs_given_the_counts(runs):
    """The law of R given n_1 and n_0 is that of the enumeration for every n_1 + n_0 <= 10 (so n_1 =
    4, n_0 = 6); it sums to 1 with mean 8.2 and variance 3.188571 at n_1 = 6, n_0 = 9, and with the
    stated mean and variance at n_1 = 40, n_0 = 90."""
    for n in (2, 5, 10):
        x = all_series(n)
        ones, R = x.sum(axis=1), 1 + (x[:, 1:] != x[:, :-1]).sum(axis=1)
        for n1 in range(1, n):
            exact = np.bincount(R[ones == n1], minlength=n + 1) / math.comb(n, n1)
            yield identity(runs(n1, n - n1), exact, operations=16 * 16, scale=1.0,
                           what=f"n1 = {n1}, n0 = {n - n1}")  # fmt: skip
    for n1, n0 in ((6, 9), (40, 90)):
        found, r = runs(n1, n0), np.arange(n1 + n0 + 1)
        mean, variance = runs_moments(n1, n0)
        logs = 4 * math.lgamma(n1 + n0 + 1)
        yield identity(found.sum(), 1.0, operations=int(logs) + n1 + n0, what="sum")
        yield identity(found @ r, mean, operations=int(logs) + n1 + n0, what="mean")
        yield identity(found @ (r - mean) ** 2, variance, operations=int(logs) + n1 + n0,
                       scale=max(n1, n0) ** 2, what="variance")  # fmt: skip
    yield digits(runs_moments(6, 9)[0], 8.2, 1e-12, "mean 8.2")
    yield digits(runs_moments(6, 9)[1], 3.188571, 1e-6, "variance 3.188571")


def exact_sizes(test, rates, n):
    """P(p-value <= .05) of a test that depends on (n_1, R), for independent answers, by rate."""
    laws = [MarkovCoin(p, 0.0).joint_law(n) for p in rates]
    possible = zip(*np.nonzero(laws[0] > 0), strict=True)
    seen = [(i, R) for i, R in possible if test(series_with(int(i), n - int(i), int(R))) <= 0.05]
    return [float(sum(law_[i, R] for i, R in seen)) for law_ in laws]


@functools.cache
def series_with(n1, n0, R):
    """A series with so many ones, zeros and runs."""
    first = 1 if (R + 1) // 2 <= n1 and R // 2 <= n0 else 0
    left, out = [n0, n1], []
    for i in range(R):
        value = first ^ (i & 1)
        last = i >= R - 2  # the last run of each kind takes what is left
        out += [value] * (left[value] if last else 1)
        left[value] -= left[value] if last else 1
    return tuple(out)


def from_statsmodels(x, alternative="two-sided", correction=True):
    """statsmodels' runstest_1samp with its small-sample correction."""
    from statsmodels.sandbox.stats import runs

    if min(x) == max(x):
        return 2.0 ** (2 - len(x))  # what it gives: its table of one kind of run is empty
    half: Any = 0.5
    return float(runs.runstest_1samp(np.array(x), cutoff=half, correction=correction)[1])


def from_package(x, alternative="two-sided"):
    """The package's, p-value alone."""
    return runs_test(np.array(x), alternative).p_value


@claim(
    "C5b",
    kind="bound",
    of=runs_test,
    saboteurs=[
        wrong(lambda x, alternative: type("Found", (), {"p_value": from_statsmodels(x)}),
              "statsmodels' normal law: a constant series is significant"),
        sabotage(runs_test, "law[R:].sum()", "law[R + 1 :].sum()", "strictly more runs",
                 inside=_tail),
    ],
    erratum="statsmodels 0.15's runstest_1samp gives a constant series p = 2^(2 - n), 3.8e-6 "
    "at n = 20: a model that says yes with 98% gives that series with probability .67.",
)  # fmt: skip
def the_runs_test_has_its_level(test):
    """At every rate (p = .02, .2, .5, .98) and n = 10, 20 the conditional test at 5% rejects
    independent answers with at most .05, one- and two-sided; a constant series has p = 1."""
    for alternative in ("more", "fewer", "two-sided"):
        for n in (10, 20):
            sizes = exact_sizes(
                lambda x, a=alternative: test(np.array(x), a).p_value, (0.02, 0.2, 0.5, 0.98), n
            )
            yield bound(sizes, 0.05, operations=4 * 400, what=f"{alternative}, n = {n}")
    constant = test(np.ones(20, dtype=int), "two-sided").p_value
    yield bound(constant, 1.0, side="at least", what="constant")


@claim(
    "C5c",
    kind="identity",
    of=from_package,
    saboteurs=[
        from_statsmodels,
        wrong(
            functools.partial(from_statsmodels, correction=False), "normal, 2 at the mean's side"
        ),
    ],
    erratum="statsmodels 0.15's runstest_1samp asks `rdemean < 0.5` in its small-sample correction "
    "where `< -0.5` is meant, which pushes values near the mean away from it.",
)
def what_is_likeliest_has_p_1(p_value):
    """The likeliest number of runs has the two-sided p-value 1: n_1 = n_0 = 5 and 8, n_1 = 4 and
    n_0 = 9. statsmodels' test gives .74 at the mean; its sizes for fair answers are .0137, .0299,
    .0370 at n = 10, 20, 49, without the correction .0625, .0467, .0481 (.015, .027, .039, .060,
    .042, .051 sampled in the sheet)."""
    for n1, n0 in ((5, 5), (8, 8), (4, 9)):
        x = series_with(n1, n0, int(runs_law(n1, n0).argmax()))
        yield identity(p_value(x), 1.0, operations=400, what=f"n1 = {n1}, n0 = {n0}")
    yield digits(from_statsmodels(series_with(5, 5, 6)), 0.74, 1e-2, "statsmodels at the mean")
    for n, corrected, plain in ((10, 0.0137, 0.0625), (20, 0.0299, 0.0467), (49, 0.0370, 0.0481)):
        for how, size in ((True, corrected), (False, plain)):
            test = functools.partial(from_statsmodels, correction=how)
            yield digits(exact_sizes(test, (0.5,), n)[0], size, 1e-4, f"correction {how}, n = {n}")


# C6: streaks


STREAKS = [
    wrong(lambda n, k=1, p=0.5: p, "no bias: 1/2"),
    sabotage(
        expected_share,
        "(p - (1 - rest**n) / n) * n / (n - 1)",
        "p - (1 - rest**n) / n",
        "without n / (n - 1)",
    ),
    sabotage(expected_share, "rest ** (n - 1)", "rest ** n", "an occasion at the last place"),
    wrong(lambda n, k=1, p=0.5: (p * n - 1) / (n - 1), "(n_1 - 1) / (n - 1) at the mean n_1"),
]


@claim("C6a", kind="identity", of=expected_share, saboteurs=STREAKS)
def share_after_a_streak(share):
    """A fair coin's mean share of ones after k ones: 17/42, .445423, .473685, .494949 at n = 4, 10,
    20, 100 (k = 1), .375055 (k = 2, n = 10), .354254 (k = 3, n = 16); by enumeration for n <= 12,
    rates .5 and .7."""
    yield identity(share(4), 17 / 42, operations=16, what="17/42")
    for n, k, value in ((10, 1, 0.445423), (20, 1, 0.473685), (100, 1, 0.494949),
                        (10, 2, 0.375055), (16, 3, 0.354254)):  # fmt: skip
        yield digits(share(n, k), value, 1e-6, f"n = {n}, k = {k}")
    for n, k, p in ((12, 1, 0.7), (9, 2, 0.5), (12, 3, 0.7)):
        exact, _ = enumerated_share(n, k, p)
        yield identity(
            share(n, k, p), exact, operations=16 * n, scale=1.0, what=f"n = {n}, k = {k}"
        )


@functools.cache
def enumerated_share(n, k, p):
    """(mean, standard deviation) of the share of ones after k ones, over all series."""
    x = all_series(n)
    after = np.lib.stride_tricks.sliding_window_view(x, k, axis=1)[:, :-1].all(axis=2)
    occasions, hits = after.sum(axis=1), (after & (x[:, k:] == 1)).sum(axis=1)
    weight = p ** x.sum(axis=1) * (1 - p) ** (n - x.sum(axis=1)) * (occasions > 0)
    shares = hits / np.maximum(occasions, 1)
    mean = weight @ shares / weight.sum()
    return float(mean), math.sqrt(float(weight @ (shares - mean) ** 2 / weight.sum()))


@claim(
    "C6b",
    kind="law",
    of=streak_rates,
    saboteurs=[
        wrong(lambda x, k: _with(streak_rates(x, k), pooled="mean_of_shares"),
              "the mean of shares tested against 1/2"),
        wrong(lambda x, k: streak_rates(x.reshape(-1), k), "one long series: streaks across calls"),
    ],
)  # fmt: skip
def pooled_rates_are_unbiased(rates, rng):
    """300000 fair series of 10: the pooled rate is .5 and the mean of shares .44540, its exact
    expectation; a perfectly fair model shows negative recency of 5 points under the latter."""
    series = 300_000
    found = rates(rng.integers(0, 2, (series, 10), dtype=np.int8), 1)
    yield law((found.pooled - 0.5) / math.sqrt(0.25 / found.occasions), what="pooled", n=series)
    mean, sd = enumerated_share(10, 1, 0.5)
    yield law((found.mean_of_shares - mean) / (sd / math.sqrt(series)), what="mean", n=series)


def _with(found, **names):
    import dataclasses

    return dataclasses.replace(found, **{k: getattr(found, v) for k, v in names.items()})


# C7: temperature


@claim(
    "C7a",
    kind="identity",
    of=tempered,
    saboteurs=[
        sabotage(tempered, "_over(logit, _temperature('tempered', T))",
                 "logit * _temperature('tempered', T)", "multiplied by T"),
        wrong(lambda p, T: p / T / (p / T + (1 - p)), "p over T"),
    ],
)  # fmt: skip
def one_token_an_answer(p_at):
    """p = .98 at T = 2 is 7/8 exactly and .43 is .46483; logit p_T = logit p / T, which is p^{1/T}
    / (p^{1/T} + (1 - p)^{1/T})."""
    yield identity(float(p_at(0.98, 2)), 0.875, operations=8, what="7/8")
    yield digits(float(p_at(0.43, 2)), 0.46483, 1e-5, ".43 at T = 2")
    p = np.array([0.02, 0.43, 0.7, 0.98])
    for T in (0.3, 1.0, 7.0):
        exact = p ** (1 / T) / (p ** (1 / T) + (1 - p) ** (1 / T))
        yield identity(p_at(p, T), exact, operations=16, scale=1 + 4 / T, what=f"T = {T}")


def group_logit(yes, no, T):
    """The logit of the group over T."""
    yes, no = np.asarray(yes), np.asarray(no)
    return tempered(float(np.exp(yes).sum() / (np.exp(yes).sum() + np.exp(no).sum())), T)


@claim(
    "C7b",
    kind="identity",
    of=tempered_variants,
    saboteurs=[
        group_logit,
        wrong(lambda yes, no, T: tempered_variants(yes[:1], no[:1], T), "the canonical variants"),
        wrong(lambda yes, no, T: tempered_variants(yes, no, 1 / T if T else 1.0), "z T"),
    ],
)
def variants_of_an_answer(p_at):
    """Y = (2, 1.5, -3), N = (3): .156210, .372446, .530226 at T = .5, 1, 2, across 1/2, 0 at T = 0
    and 3/4 at infinity; the group's logit over T gives .43515 at T = 2."""
    Y, N = np.array([2.0, 1.5, -3.0]), np.array([3.0])
    for T, value in ((0.5, 0.156210), (1.0, 0.372446), (2.0, 0.530226)):
        yield digits(float(p_at(Y, N, T)), value, 1e-6, f"T = {T}")
    yield identity(float(p_at(Y, N, math.inf)), 0.75, operations=4, what="T = infinity")
    yield identity(float(p_at(Y, N, 0.0)), 0.0, operations=4, scale=1.0, what="T = 0")
    yield digits(float(group_logit(Y, N, 2.0)), 0.43515, 1e-5, "group logit")


@claim(
    "C7c",
    kind="identity",
    of=temperature_needed,
    saboteurs=[
        sabotage(temperature_needed, "(math.log(0.5 + d) - math.log(0.5 - d))",
                 "math.log(0.5 + d) * -1", "log in place of logit"),
        sabotage(temperature_needed, "math.log(p) - math.log1p(-p)", "math.log(p)", "log p"),
    ],
)  # fmt: skip
def temperature_for_a_margin(needed):
    """|p_T - 1/2| <= d takes T = |logit p| / logit(1/2 + d): 19.394 from .98 to .55, 7.045 from .43
    to .49; there the rate is just that, so with T <= 2 no one-token 98% model can be made fair."""
    for p, d, value in ((0.98, 0.05, 19.394), (0.43, 0.01, 7.045)):
        T = needed(p, d)
        yield digits(T, value, 1e-3, f"p = {p}")
        yield identity(abs(float(tempered(p, T)) - 0.5), d, operations=32, scale=1.0, what="there")


# C8: balancing series


@claim(
    "C8a",
    kind="identity",
    of=BalancingSeries.variances,
    saboteurs=[
        sabotage(BalancingSeries.variances, "1 - 2 * float(self.gamma) / (t + float(self.tau))",
                 "1 - float(self.gamma) / (t + float(self.tau))", "gamma for 2 gamma"),
        sabotage(BalancingSeries.variances, "t + float(self.tau)", "t + 1 + float(self.tau)",
                 "off by one"),
    ],
)  # fmt: skip
def variance_of_the_excess(variances):
    """V_{t+1} = V_t (1 - 2 gamma / (t + tau)) + 1 is the variance of the exact law of the count
    (gamma = 1, tau = 0; 1.5, 4; -.3, 1), .25250 n at gamma = 1.5, tau = 4, n = 400; every position
    is fair."""
    for gamma, tau, n in ((1.0, 0.0, 40), (1.5, 4.0, 400), (-0.3, 1.0, 60)):
        bed = BalancingSeries(gamma, tau)
        S, exact = 2.0 * np.arange(n + 1) - n, bed.count_law(n)
        yield identity(variances(bed, n)[-1], exact @ S**2, operations=4 * n, scale=float(n),
                       what=f"gamma = {gamma}, tau = {tau}")  # fmt: skip
        yield identity(exact @ S, 0.0, operations=4 * n, scale=float(n), what="mean")
    found = variances(BalancingSeries(1.5, 4.0), 400)[-1] / 400
    yield digits(found, 0.25250, 1e-5, "n = 400")


@claim(
    "C8b",
    kind="rate",
    of=BalancingSeries.variances,
    saboteurs=[
        sabotage(BalancingSeries.variances, "1 - 2 * float(self.gamma) / (t + float(self.tau))",
                 "1 - float(self.gamma) / (t + float(self.tau))", "gamma for 2 gamma"),
        wrong(lambda bed, n: np.arange(1.0, n + 1), "a coin's variance"),
    ],
)  # fmt: skip
def limit_of_the_dispersion(variances):
    """Var(S_n) / n -> 1 / (1 + 2 gamma): 1/4 at gamma = 1.5, 1/3 at gamma = 1."""
    for gamma in (1.5, 1.0):
        n = np.array([800, 1600, 3200, 6400])
        V = variances(BalancingSeries(gamma, 4.0), 6400)
        yield limit(1 / n, V[n - 1] / n, 1 / (1 + 2 * gamma), what=f"gamma = {gamma}")


@claim(
    "C8c",
    kind="law",
    of=count_test,
    saboteurs=[
        wrong(lambda counts, n, dispersion: count_test(counts, n), "the binomial variance"),
        sabotage(count_test, "n * p * (1 - p) * f", "n * p * (1 - p) / f", "the factor inverted"),
    ],
)  # fmt: skip
def counts_over_calls(test, rng):
    """20000 calls of 400 answers, gamma = 1.5, tau = 4: with the factor V_n / n = .2525 the
    chi-square of the counts has mean 1 a call (sampled .25411 n in the sheet); without it the
    series pass for far too uniform."""
    bed, n, calls = BalancingSeries(1.5, 4.0), 400, 20_000
    counts = bed.sample(n, rng=rng, series=calls).sum(axis=1)
    factor = float(bed.variances(n)[-1]) / n
    S, exact = 2.0 * np.arange(n + 1) - n, bed.count_law(n)
    kurtosis = float(exact @ S**4) / (factor * n) ** 2
    found = test(counts, n, dispersion=factor).statistic / calls
    yield law((found - 1) / math.sqrt((kurtosis - 1) / calls), what="mean a call", n=calls)


@claim(
    "C8d",
    kind="bound",
    of=dispersion_test,
    saboteurs=[
        wrong(lambda counts, n: count_test(counts, n), "the upper tail alone"),
    ],
)
def too_uniform_is_seen(test):
    """Of 200 calls of 20 answers at the exact quantiles of a balancing series' count (gamma = 1,
    tau = 1: dispersion .3684) the two-sided dispersion test has p below 1e-6; of a coin's it has p
    above .1."""
    u = (np.arange(200) + 0.5) / 200
    law_ = np.cumsum(BalancingSeries(1.0, 1.0).count_law(20))
    yield bound(test(np.searchsorted(law_, u), 20).p_value, 1e-6, what="balancing")
    coin = np.cumsum(MarkovCoin(0.5, 0.0).count_law(20))
    yield bound(test(np.searchsorted(coin, u), 20).p_value, 0.1, side="at least", what="coin")


# C9: repair


def pairs_of(x):
    """The probability of each pair of neighbours, (2, 2), under a Markov coin x."""
    (b0, b1), p = x.after, float(x.p)
    return np.array([[(1 - p) * (1 - b0), (1 - p) * b0], [p * (1 - b1), p * b1]])


@claim(
    "C9a",
    kind="identity",
    of=von_neumann_yield,
    saboteurs=[
        wrong(lambda p, rho: p * (1 - p), "as for independent flips"),
        sabotage(von_neumann_yield, "coin.p * (1 - coin.p) * (1 - coin.rho)",
                 "2 * coin.p * (1 - coin.p) * (1 - coin.rho)", "bits a pair"),
    ],
)  # fmt: skip
def von_neumann_bits_are_fair(rate):
    """P(10) = P(01) = p (1 - p)(1 - rho) on a Markov coin, so each bit is exactly fair and the
    yield is that much a flip: .273 at p = .7, rho = -.3."""
    yield digits(rate(0.7, -0.3), 0.273, 1e-12, "p = .7, rho = -.3")
    for p, rho in ((0.7, -0.3), (0.5, 0.4), (0.35, 0.6)):
        pair = pairs_of(MarkovCoin(p, rho))
        yield identity(pair[0, 1], pair[1, 0], operations=16, scale=1.0, what="fair")
        both = (pair[0, 1] + pair[1, 0]) / 2
        yield identity(rate(p, rho), both, operations=16, scale=1.0, what=f"p = {p}, rho = {rho}")


def next_bit_correlation(coin):
    """The correlation of neighbouring von Neumann bits, by the chain of pairs absorbed at a bit."""
    b = np.array(coin.after)
    step = np.stack([1 - b, b], axis=1)  # from the last flip to the next one
    pair = step[:, :, None] * step[None]  # last flip, first, second
    stay = np.array([[pair[a, c, c] for c in (0, 1)] for a in (0, 1)])  # 00 or 11: go on
    ends = np.array([[pair[a, 0, 1], pair[a, 1, 0]] for a in (0, 1)])
    absorbed = np.linalg.solve(np.eye(2) - stay, ends)  # P(next bit | last flip)
    # after bit 1 (10) the last flip is 0, after bit 0 it is 1; bits are fair
    p11, p01 = absorbed[0, 1], absorbed[1, 1]
    return p11 - p01


@claim(
    "C9b",
    kind="identity",
    of=von_neumann_correlation,
    saboteurs=[
        wrong(lambda rho: 0.0, "independent bits"),
        wrong(lambda rho: rho / (2 + rho), "the sign"),
        wrong(lambda rho: -rho / (2 - rho), "2 - rho"),
    ],
)
def von_neumann_bits_remember(correlation):
    """Neighbouring output bits have correlation -rho / (2 + rho) at whatever rate: .176471 at rho =
    -.3 (p = .7 and .5), -.230769 at rho = .6 (p = .35); by the absorbing chain."""
    yield digits(correlation(-0.3), 0.176471, 1e-6, "rho = -.3")
    yield digits(correlation(0.6), -0.230769, 1e-6, "rho = .6")
    for p, rho in ((0.7, -0.3), (0.5, -0.3), (0.35, 0.6), (0.5, 0.4)):
        exact = next_bit_correlation(MarkovCoin(p, rho))
        yield identity(
            correlation(rho), exact, operations=32, scale=1.0, what=f"p = {p}, rho = {rho}"
        )


def output_law(extract, p, rho, n):
    """The law of an extractor's output on n flips of a Markov coin, in rational arithmetic."""
    b0, b1 = p * (1 - rho), p + rho * (1 - p)
    out = {}
    for x in itertools.product((0, 1), repeat=n):
        mass = p if x[0] else 1 - p
        for a, b in itertools.pairwise(x):
            up = b1 if a else b0
            mass *= up if b else 1 - up
        bits = tuple(int(v) for v in extract(list(x)))
        out[bits] = out.get(bits, Fraction(0)) + mass
    return out


def unevenness(law_):
    """The largest gap between the probabilities of two outputs of one length; 0 is fair bits."""
    gap = Fraction(0)
    for length in {len(k) for k in law_}:
        masses = [law_.get(k, Fraction(0)) for k in itertools.product((0, 1), repeat=length)]
        gap = max(gap, max(masses) - min(masses))
    return float(gap)


def second_exits(x):
    """A pair's bit is given out as its second exit is seen."""
    exits, out = [[], []], []
    for here, following in itertools.pairwise(x):
        exits[here].append(following)
        if len(exits[here]) == 2:
            first, second = exits[here]
            exits[here] = []
            out += [first] if first != second else []
    return out


@claim(
    "C9c",
    kind="identity",
    of=blum,
    saboteurs=[
        second_exits,
        wrong(von_neumann, "von Neumann: each bit fair, the bits correlated"),
        wrong(lambda x: von_neumann(np.repeat(x, 2)[1:-1]) if len(x) > 1 else np.array([]),
              "overlapping pairs"),
    ],
)  # fmt: skip
def blum_bits_are_independent(extract):
    """Given how many bits Blum's extractor gives on n flips, all outputs are equally likely,
    exactly, in rational arithmetic: n = 6, 8, 10; p = 7/10, rho = -3/10 and p = 7/20, rho = 3/5."""
    for n in (6, 8, 10):
        for p, rho in ((Fraction(7, 10), Fraction(-3, 10)), (Fraction(7, 20), Fraction(3, 5))):
            gap = unevenness(output_law(extract, p, rho, n))
            yield identity(gap, 0.0, operations=1, scale=1.0, what=f"n = {n}, rho = {float(rho)}")


# C10: the whole law


LOGISTIC = HistoryCoin(0.4, -1.2)


@claim(
    "C10a",
    kind="identity",
    of=SeriesLaw,
    saboteurs=[
        wrong(lambda law_: SeriesLaw(HistoryCoin(0.4, 1.2).law(law_.L)), "the slope's sign"),
        wrong(lambda law_: SeriesLaw(HistoryCoin(0.4, -1.2 / 2).law(law_.L)), "history coded 0, 1"),
        wrong(lambda law_: SeriesLaw(MarkovCoin(0.560734, -0.25).law(law_.L)), "a Markov coin"),
    ],
)
def exact_numbers_of_a_history_model(made):
    """The logistic history model (L = 8, .4, -1.2): rate .560734, alternation .571400, KL to fair
    independent answers .328622, variance of the count .920363."""
    found = made(LOGISTIC.law(8))
    for name, value in (("rate", 0.560734), ("alternation", 0.571400), ("kl_fair", 0.328622),
                        ("count_variance", 0.920363)):  # fmt: skip
        yield digits(getattr(found, name), value, 1e-6, name)


@claim(
    "C10b",
    kind="identity",
    of=SeriesLaw.kl_markov,
    saboteurs=[
        sabotage(SeriesLaw.kl_markov, "range(t - r, t)", "range(t - r - 1, t)",
                 "one answer more is remembered"),
        wrong(lambda law_, order: law_.kl_fair, "KL to fair answers"),
        wrong(lambda law_, order: law_.kl_markov(order + 1), "one order more"),
    ],
)  # fmt: skip
def distance_from_markov_models(kl):
    """KL to the best Markov model of order r is 0 from the law's own order on (a Markov coin: r =
    1), at r = 0 the KL to the product of its marginals, for a Markov coin (L - 1) I."""
    coin, L = MarkovCoin(0.6, 0.3), 7
    found = SeriesLaw(coin.law(L))
    information = (L - 1) * coin.mutual_information
    yield identity(kl(found, 0), information, operations=64 * 2**L, scale=1.0, what="order 0")
    for r in (1, 2):
        yield identity(kl(found, r), 0.0, operations=64 * 2**L, scale=1.0, what=f"order {r}")
    model = SeriesLaw(LOGISTIC.law(6))
    rates = model.rates
    product = np.prod(np.where(model.series == 1, rates, 1 - rates), axis=1)
    exact = float(model.probabilities @ np.log(model.probabilities / product))
    yield identity(kl(model, 0), exact, operations=64 * 64, scale=1.0, what="history model")


@claim(
    "C10c",
    kind="law",
    of=HistoryCoin.law,
    saboteurs=[
        wrong(lambda coin, L: HistoryCoin(0.4, 1.2).law(L), "the slope's sign"),
        sabotage(HistoryCoin.law, "NextTokenLaw(self._after, 2, L)",
                 "NextTokenLaw(lambda x: self._after(x[:, -1:]), 2, L)", "the last answer alone"),
    ],
)  # fmt: skip
def enumeration_is_sampling(made, rng):
    """200000 series drawn answer by answer have the rate and the alternation of the enumeration
    (.560725 and .572284 in the sheet's)."""
    n, exact = 200_000, SeriesLaw(LOGISTIC.law(8))
    x = made(LOGISTIC, 8).sample(n, rng=rng)
    moved = (exact.series[:, 1:] != exact.series[:, :-1]).mean(axis=1)
    for what, found, each in (
        ("rate", x.mean(), exact.series.mean(axis=1)),
        ("alternation", (x[:, 1:] != x[:, :-1]).mean(), moved),
    ):
        mean = float(exact.probabilities @ each)
        sd = math.sqrt(float(exact.probabilities @ (each - mean) ** 2))
        yield law((float(found) - mean) / (sd / math.sqrt(n)), what=what, n=n)


def small_network():
    """A causal network of one attention layer over twelve tokens, random weights, float64."""
    import torch

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            make = torch.Generator().manual_seed(5)
            draw = functools.partial(torch.randn, generator=make, dtype=torch.float64)
            self.token, self.place = torch.nn.Parameter(draw(12, 8)), draw(40, 8)
            self.key, self.value, self.out = draw(8, 8), draw(8, 8), draw(8, 12)

        def forward(self, input_ids):
            x = self.token[input_ids] + self.place[: input_ids.shape[1]]
            seen = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            scores = (x @ self.key @ x.mT / 8).masked_fill(~seen, -torch.inf)
            z = torch.tanh(scores.softmax(-1) @ x @ self.value / 3) @ self.out
            return type("Record", (), {"logits": z})

    return Small()


PROMPT, YES, NO, BETWEEN = [0, 4], [5, 6], [7], [2]


def law_of_answers(coin, length, **how):
    """The adapter's exact law."""
    return coin.series(length, **{"separator": BETWEEN, **how}).probabilities


@functools.cache
def path_by_path(length=4):
    """The same law, one forward pass a path and a place."""
    import torch

    network, out = small_network(), np.zeros(2**length)
    for path in itertools.product((*YES, *NO), repeat=length):
        ids, mass, index = list(PROMPT), 1.0, 0
        for token in path:
            with torch.no_grad():
                z = network(torch.tensor([ids])).logits[0, -1].numpy()
            own = np.exp(z[[*YES, *NO]])
            mass *= float(own[[*YES, *NO].index(token)] / own.sum())
            index = 2 * index + (token in YES)
            ids += [token, *BETWEEN]
        out[index] += mass
    return out


def not_renormalised(coin, length, **how):
    """Probabilities over the whole vocabulary, not renormalised: the sum is short of 1."""
    found = coin.series(length, separator=BETWEEN)
    return found.probabilities * np.prod(1 - found.leak)


@claim(
    "C10d",
    kind="identity",
    of=law_of_answers,
    saboteurs=[
        wrong(lambda coin, length: law_of_answers(coin, length, separator=[]), "no separator"),
        wrong(lambda coin, length: law_of_answers(coin, length, history="canonical"),
              "the history of the canonical variant"),
        not_renormalised,
    ],
)  # fmt: skip
def prefix_tree_of_a_network(answers):
    """The prefix tree's 16 probabilities for a causal network (two tokens for yes, one for no, a
    separator) sum to 1 and are those of all 81 paths, one forward pass at a time."""
    from fewtheory.adapters.decisions import lm_coin

    coin = lm_coin(small_network(), None, PROMPT, yes=YES, no=NO)
    found = answers(coin, 4)
    yield identity(found.sum(), 1.0, operations=256, what="sum")
    # logits of size up to 20, each a chain of some 60 roundings; four factors a path
    yield identity(found, path_by_path(), operations=4 * 60 * 20, scale=1.0, what="81 paths")


# C11: sampled answers follow the exact probabilities

PUBLIC = (
    ("Llama 3.2 3B", 0.5000, 0.4917, 0.0063, 1.3),
    ("GPT-4.1-nano", 0.3124, 0.3154, 0.0046, -0.7),
)


@claim(
    "C11a",
    kind="identity",
    of=follows_probabilities,
    saboteurs=[
        wrong(lambda x, q: follows_probabilities(x, np.full(len(x), np.mean(q))),
              "a coin of the mean rate: sd .0154"),
        wrong(lambda x, q: follows_probabilities(1 - x, q), "yes for no"),
    ],
)  # fmt: skip
def public_logs(test):
    """1050 yes/no calls whose probabilities have the published mean and sd of the share: Llama 3.2
    3B .5000 against .4917 with sd .0063, z = 1.3; GPT-4.1-nano .3124, .3154, .0046, z = -.7. A coin
    of the mean rate would have sd .0154: most prompts' rates are extreme."""
    for name, share, mean, sd, z in PUBLIC:
        x, q = calls_like(share, mean, sd)
        found = test(x, q)
        yield digits(found.share, share, 1e-3, f"{name}: share")
        yield digits(found.mean, mean, 1e-3, f"{name}: mean")
        yield digits(found.sd, sd, 1e-4, f"{name}: sd")
        yield digits(found.z, z, 1e-1, f"{name}: z")


def calls_like(share, mean, sd, n=1050):
    """Answers and probabilities with this share, mean and standard deviation of the share."""
    # a share w of calls at 1/2, the others at 0 and 1: sd^2 n = w / 4
    undecided = round(4 * sd**2 * n * n)
    ones = round(mean * n - undecided / 2)
    q = np.array([0.5] * undecided + [1.0] * ones + [0.0] * (n - undecided - ones))
    x = np.zeros(n, dtype=int)
    x[undecided : undecided + ones] = 1
    x[: round(share * n) - ones] = 1
    return x, q


@claim(
    "C11b",
    kind="law",
    of=follows_probabilities,
    saboteurs=[
        wrong(lambda x, q: follows_probabilities(x, np.full(len(x), np.mean(q))),
              "a coin of the mean rate"),
        sabotage(follows_probabilities, "(q * (1 - q)).sum()", "(q * q).sum()", "q^2"),
    ],
)  # fmt: skip
def answers_follow_their_probabilities(test, rng):
    """z = (share - mean q) / sd has mean 0 and variance 1 where each answer is drawn with its own
    probability: sets of 60 calls with rates from a Beta(.2, .2); tested by the mean of z^2."""
    q = rng.beta(0.2, 0.2, 60)
    c = q * (1 - q)
    # Var z^2 = E z^4 - 1, by the fourth cumulants of independent coins
    kurtosis = 3 + float((c * (1 - 6 * c)).sum()) / float(c.sum()) ** 2
    n = samples_for_mean(0.5 / math.sqrt(kurtosis - 1))
    x = rng.random((n, 60)) < q
    z2 = np.array([test(row, q).z ** 2 for row in x])
    yield law((z2.mean() - 1) / math.sqrt((kurtosis - 1) / n), what="mean of z^2", n=n)


@claim(
    "C11c",
    kind="identity",
    of=follows_probabilities,
    saboteurs=[
        wrong(lambda x, q: follows_probabilities(x, np.full(len(x), np.mean(q))),
              "a coin of the mean rate"),
        sabotage(follows_probabilities, "min(law[: k + 1].sum(), law[k:].sum())",
                 "law[k:].sum() / 2", "the upper tail alone"),
    ],
)  # fmt: skip
def exact_law_of_unequal_coins(test):
    """The p-value doubles the smaller exact tail of the sum of unequal coins: all 2^9 outcomes."""
    q = np.random.default_rng(3).random(9)
    x = all_series(9)
    mass, count = np.prod(np.where(x == 1, q, 1 - q), axis=1), x.sum(axis=1)
    for k in range(10):
        tails = mass[count <= k].sum(), mass[count >= k].sum()
        row = np.arange(9) < k
        found = test(row.astype(int), q).p_value
        yield identity(found, min(1.0, 2 * min(tails)), operations=64 + 512, scale=1.0, what=f"{k}")
