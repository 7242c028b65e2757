"""MMD and energy distance against double loops, SciPy, closed forms and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from fewtheory.metrics import energy_distance, kernel, mmd2, mmd_test

EPS = np.finfo(np.float64).eps


def rbf(*widths):
    return lambda a, b: sum(math.exp(-((a - b) @ (a - b)) / (2 * h**2)) for h in widths)


def cubic(a, b):
    return (a @ b / a.size + 1) ** 3


def minus_distance(a, b):
    return -math.sqrt((a - b) @ (a - b))


def matrix(k, x, y):
    return np.array([[k(a, b) for b in y] for a in x])


def statistic(k, x, y):
    """The U-statistic by its definition."""
    n, m = len(x), len(y)
    own_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    own_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    cross = sum(k(a, b) for a in x for b in y)
    return own_x / (n * (n - 1)) + own_y / (m * (m - 1)) - 2 * cross / (n * m)


CASES = {
    "gaussian": (lambda x, y: mmd2(x, y, bandwidth=0.8), rbf(0.8)),
    "a sum of gaussians": (lambda x, y: mmd2(x, y, bandwidth=[0.5, 1, 2.0]), rbf(0.5, 1, 2)),
    "polynomial": (lambda x, y: mmd2(x, y, kernel="polynomial"), cubic),
    "energy": (energy_distance, minus_distance),
}


@pytest.fixture
def samples(rng):
    """Nine and seven points in three dimensions, of two laws."""
    return rng.standard_normal((9, 3)), 1.5 * rng.standard_normal((7, 3)) + 0.4


@pytest.mark.parametrize("case", list(CASES))
def test_the_value_is_the_double_sum_on_every_backend(case, asarray, samples):
    measure, k = CASES[case]
    x, y = samples
    scale = max(np.abs(matrix(k, a, b)).max() for a in samples for b in samples)
    found = measure(asarray(x), asarray(y)).value
    bound = 4 * 16 * EPS * scale  # three means of at most 16 terms a row
    assert found == pytest.approx(statistic(k, x, y), rel=0, abs=bound)


def u_centred(K):
    """Szekely and Rizzo's centring of a matrix, entry by entry, off the diagonal."""
    n = len(K)
    K = K - np.diag(np.diag(K))
    rows, total = K.sum(1), K.sum()
    return [
        K[i, j] - rows[i] / (n - 2) - rows[j] / (n - 2) + total / ((n - 1) * (n - 2))
        for i in range(n)
        for j in range(n)
        if i != j
    ]


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_standard_error_is_that_of_deleted_rows_less_that_of_pairs(case, shift, samples):
    measure, k = CASES[case]
    x, y = samples[0], samples[1] + shift
    n, m = len(x), len(y)
    without_x = [statistic(k, np.delete(x, i, 0), y) for i in range(n)]
    without_y = [statistic(k, x, np.delete(y, j, 0)) for j in range(m)]
    jackknife = (n - 1) * np.var(without_x) + (m - 1) * np.var(without_y)
    s_xx, s_yy = (
        np.sum(np.square(u_centred(matrix(k, v, v)))) / (len(v) * (len(v) - 3)) for v in (x, y)
    )
    C = matrix(k, x, y)
    C = C - C.mean(0) - C.mean(1)[:, None] + C.mean()
    s_xy = (C**2).sum() / ((n - 1) * (m - 1))
    pairs = 2 * s_xx / (n * (n - 1)) + 2 * s_yy / (m * (m - 1)) + 4 * s_xy / (n * m)
    exact = math.sqrt(max(jackknife - 2 * pairs, 0) + pairs)
    # sums of squares of kernel values, from which those of the means are subtracted
    scale = max(np.abs(matrix(k, a, b)).max() for a in (x, y) for b in (x, y))
    bound = 64 * EPS * scale**2 / exact
    assert measure(x, y).standard_error == pytest.approx(exact, rel=0, abs=bound)


def test_scipys_energy_distance_is_the_biased_twin(rng):
    x, y = rng.standard_normal(40), rng.standard_normal(30) + 1
    mean_x, mean_y = (
        np.abs(v[:, None] - v).sum() / (v.size * (v.size - 1)) for v in (x, y)
    )  # E|X - X'|, off the diagonal
    unbiased = energy_distance(x[:, None], y[:, None]).value
    biased = unbiased + mean_x / 40 + mean_y / 30
    exact = stats.energy_distance(x, y) ** 2
    assert biased == pytest.approx(exact, rel=256 * EPS)  # sums of 70 terms on either side


@pytest.mark.parametrize("case", list(CASES))
def test_tiles_add_up_to_the_whole_matrix(case, monkeypatch, samples):
    measure, _ = CASES[case]
    whole = measure(*samples)
    monkeypatch.setattr(kernel, "TILE", 3)  # 9 rows are three tiles, 7 are two and a row
    tiled = measure(*samples)
    # the same means of kernel values below 100 in another order, 16 terms; their squares in the
    # variance, divided by twice its root
    assert tiled.value == pytest.approx(whole.value, rel=0, abs=4 * 16 * EPS * 100)
    bound = 16 * EPS * 100**2 / (2 * whole.standard_error)
    assert tiled.standard_error == pytest.approx(whole.standard_error, rel=0, abs=bound)


@pytest.mark.parametrize("case", ["gaussian", "energy"])
def test_many_dimensions_are_computed_as_few_are(case, rng):
    measure, _ = CASES[case]
    x, y = rng.standard_normal((30, 4)) + 5, rng.standard_normal((25, 4)) + 5.5
    wide = [np.concatenate([v, np.zeros((len(v), 8))], axis=1) for v in (x, y)]
    # |x|^2 + |y|^2 - 2 x.y, centred: 16 roundings of at most 16, over the least distance, 0.1
    bound = 4 * 16 * EPS * 16 / 0.1
    assert measure(*wide).value == pytest.approx(measure(x, y).value, rel=0, abs=bound)


def test_the_median_bandwidth_is_the_median_of_all_pairs(samples):
    pooled = np.concatenate(samples)
    distances = [math.dist(a, b) for i, a in enumerate(pooled) for b in pooled[:i]]
    named = mmd2(*samples, bandwidth=float(np.median(distances)))
    assert mmd2(*samples).value == pytest.approx(named.value, rel=256 * EPS)


def test_the_median_of_many_points_does_not_know_the_samples(rng):
    pooled = rng.standard_normal((3000, 2))
    values = []
    for _ in range(3):
        rng.shuffle(pooled)
        values.append(kernel._bandwidths("mmd2", np, pooled[:1000], pooled[1000:], "median")[0])
    assert max(values) - min(values) <= 64 * EPS * values[0]
    # |X - X'| / 2 is Rayleigh's with scale 1 / sqrt 2: median sqrt(4 ln 2); a median of points at
    # even ranks is off by less than one of as many independent points, sd about 1 / sqrt(1024)
    assert values[0] == pytest.approx(math.sqrt(4 * math.log(2)), abs=4 / math.sqrt(1024))


# the laws themselves


def expected_gaussian_kernel(a, b, h):
    """E k(X, Y) of two 1-D mixtures (weights, means, stds): a Gaussian integral a pair."""
    total = 0.0
    for w, m, s in zip(*a, strict=True):
        for v, q, r in zip(*b, strict=True):
            var = h**2 + s**2 + r**2
            total += w * v * h / math.sqrt(var) * math.exp(-((m - q) ** 2) / (2 * var))
    return total


def expected_distance(gap, std):
    """E|Z| for Z ~ N(gap, std^2)."""
    z = gap / std
    return 2 * std * stats.norm.pdf(z) + gap * (2 * stats.norm.cdf(z) - 1)


MIX = ([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])
FAR = ([0.7, 0.3], [3.0, 0.5], [0.6, 1.2])


def draw(law, n, rng):
    w, m, s = map(np.array, law)
    which = rng.choice(w.size, n, p=w)
    return (m[which] + s[which] * rng.standard_normal(n))[:, None]


def mmd_case(rng, n, m):
    x, y = draw(MIX, n, rng), draw(FAR, m, rng)
    return mmd2(x, y, bandwidth=0.7)


def energy_case(rng, n, m):
    x, y = rng.standard_normal((n, 1)), 3 + 2 * rng.standard_normal((m, 1))
    return energy_distance(x, y)


def kid_case(rng, n, m):
    x, y = 0.5 * rng.standard_normal((n, 1)), 2 + 0.5 * rng.standard_normal((m, 1))
    return mmd2(x, y, kernel="polynomial")


POPULATION = {
    mmd_case: expected_gaussian_kernel(MIX, MIX, 0.7)
    + expected_gaussian_kernel(FAR, FAR, 0.7)
    - 2 * expected_gaussian_kernel(MIX, FAR, 0.7),
    energy_case: 2 * expected_distance(3.0, math.sqrt(5))
    - expected_distance(0, math.sqrt(2))
    - expected_distance(0, math.sqrt(8)),
    # (1 + xy)^3 has features 1, sqrt3 x, sqrt3 x^2, x^3; their means 0, 1/4, 0 under N(0, 1/4)
    # and 2, 4 + 1/4, 8 + 3 * 2 / 4 under N(2, 1/4)
    kid_case: 3 * 2**2 + 3 * 4**2 + 9.5**2,
}


@pytest.mark.parametrize("case", list(POPULATION), ids=lambda f: f.__name__)
def test_the_estimate_is_unbiased_and_its_interval_covers(case, rng):
    # level 1e-4 each. The mean of 400 by its own scatter. 95 % intervals: errors off by sqrt 2
    # would miss in 66 cases or in 2 instead of 20. Values are 8 to 10 standard errors
    runs, exact = 400, POPULATION[case]
    found = [case(rng, 150, 120) for _ in range(runs)]
    values, errors = np.array([(f.value, f.standard_error) for f in found]).T
    assert stats.ttest_1samp(values, exact).pvalue > 1e-4
    misses = int(np.sum(np.abs(values - exact) > 1.96 * errors))
    assert stats.binomtest(misses, runs, 0.05).pvalue > 1e-4


@pytest.mark.parametrize("measure", [energy_distance, lambda x, y: mmd2(x, y, bandwidth=1.0)])
def test_where_the_laws_agree_the_value_is_unbiased_and_its_error_not_understated(measure, rng):
    # the value's law has kurtosis up to 15 (one chi-square), so 1200 draws give its variance to
    # sqrt(14 / 1200) = 11 %; the stated range of the estimate is 1 to 2 times the variance
    found = [
        measure(rng.standard_normal((40, 1)), rng.standard_normal((30, 1))) for _ in range(1200)
    ]
    values, errors = np.array([(f.value, f.standard_error) for f in found]).T
    ratio = np.mean(errors**2) / values.var(ddof=1)
    assert 1 - 4 * 0.11 < ratio < 2 * (1 + 4 * 0.11)
    # the mean of a skew law (skewness up to 2.8) of 1200: normal to 2.8 / 6 / sqrt(1200) = 1.4 %
    assert abs(values.mean()) < 4.5 * values.std() / math.sqrt(1200)


# the permutation test


@pytest.mark.parametrize("kind", ["gaussian", "polynomial", "energy"])
def test_the_test_reports_the_unbiased_value(kind, asarray, samples):
    x, y = samples
    found = mmd_test(asarray(x), asarray(y), rng=np.random.default_rng(0), kernel=kind)
    exact = energy_distance(x, y) if kind == "energy" else mmd2(x, y, kernel=kind)
    k = {"gaussian": 1.0, "energy": 8.0, "polynomial": 2e2}[kind]  # the largest kernel value
    assert found.value == pytest.approx(exact.value, rel=0, abs=4 * 16 * EPS * k * 4)


def test_each_permutation_is_a_relabelling_of_the_pooled_points(samples):
    x, y = samples
    n, m, count = len(x), len(y), 50
    found = mmd_test(x, y, rng=np.random.default_rng(3), permutations=count, bandwidth=1.0)
    keys = np.random.default_rng(3).standard_normal((n + m, count))
    ranks, pooled, values = np.argsort(np.argsort(keys, axis=0), axis=0), np.concatenate([x, y]), []
    for b in range(count):
        first = ranks[:, b] < n
        values.append(mmd2(pooled[first], pooled[~first], bandwidth=1.0).value)
    reached = np.sum(np.array(values) >= mmd2(x, y, bandwidth=1.0).value)
    assert found.p_value == (1 + reached) / (1 + count)


@pytest.mark.parametrize("kind", ["gaussian", "polynomial", "energy"])
def test_the_test_in_tiles_is_the_test(kind, monkeypatch, samples):
    whole = mmd_test(*samples, rng=np.random.default_rng(0), kernel=kind)
    monkeypatch.setattr(kernel, "TILE", 5)  # 16 points: three tiles and a row
    tiled = mmd_test(*samples, rng=np.random.default_rng(0), kernel=kind)
    assert tiled.p_value == whole.p_value
    assert tiled.value == pytest.approx(whole.value, rel=0, abs=4 * 16 * EPS * 200)


@pytest.mark.parametrize("kind", ["gaussian", "energy"])
def test_the_test_is_exact_at_its_level(kind, rng):
    # P(p <= 0.1) = 0.1 with 19 permutations and no ties; 1000 cases, binomial at 1e-4: a test that
    # left out the 1 + would reject in 1 case of 20 or fewer
    rejected = 0
    for _ in range(1000):
        x, y = rng.standard_normal((8, 2)), rng.standard_normal((6, 2))
        rejected += mmd_test(x, y, rng=rng, permutations=19, kernel=kind).p_value <= 0.1
    assert stats.binomtest(rejected, 1000, 0.1).pvalue > 1e-4


def test_relabellings_that_tie_count_as_reached():
    x = np.zeros((5, 1))
    y = np.zeros((5, 1))
    assert mmd_test(x, y, rng=np.random.default_rng(0), bandwidth=1.0).p_value == 1.0


def test_the_test_sees_another_spread(rng):
    x, y = rng.standard_normal((150, 2)), 2 * rng.standard_normal((150, 2))
    assert mmd_test(x, y, rng=rng, permutations=199).p_value == 1 / 200


def test_the_test_takes_a_torch_generator(samples):
    x, y = (torch.tensor(v, requires_grad=True) for v in samples)
    found = mmd_test(x, y + 9, rng=torch.Generator().manual_seed(0), permutations=99)
    assert found.p_value == 0.01


# bad arguments

PLANE, RNG = np.random.default_rng(0).standard_normal((5, 2)), np.random.default_rng(0)
BAD = {
    "a line": (mmd2, (PLANE[:, 0], PLANE), {}, "x must be of shape"),
    "three points": (mmd2, (PLANE, PLANE[:3]), {}, "y must be of shape .* n at least 4"),
    "another dimension": (mmd2, (PLANE, PLANE[:, :1]), {}, "y must be of shape"),
    "another kind": (mmd2, (PLANE, torch.tensor(PLANE)), {}, "y must be an array of the kind"),
    "not finite": (mmd2, (PLANE * np.nan, PLANE), {}, "x must be finite"),
    "an unknown kernel": (mmd2, (PLANE, PLANE), {"kernel": "laplace"}, "kernel must be one of"),
    "energy has a name": (mmd2, (PLANE, PLANE), {"kernel": "energy"}, "kernel must be one of"),
    "no bandwidth": (mmd2, (PLANE, PLANE), {"bandwidth": 0.0}, "bandwidth must be"),
    "a negative one": (mmd2, (PLANE, PLANE), {"bandwidth": [1.0, -1.0]}, "bandwidth must be"),
    "none at all": (mmd2, (PLANE, PLANE), {"bandwidth": []}, "bandwidth must be"),
    "an unknown rule": (mmd2, (PLANE, PLANE), {"bandwidth": "mean"}, "bandwidth must be one of"),
    "one point": (mmd2, (0 * PLANE, 0 * PLANE), {}, "bandwidth must be a number"),
    "degree 0": (mmd2, (PLANE, PLANE), {"kernel": "polynomial", "degree": 0}, "degree must be"),
    "a list": (energy_distance, ([[0.0]], PLANE), {}, "x must be an array"),
    "two points": (energy_distance, (PLANE[:2], PLANE), {}, "x must be of shape"),
    "no permutation": (mmd_test, (PLANE, PLANE), {"rng": RNG, "permutations": 0}, "permutations"),
    "a seed": (mmd_test, (PLANE, PLANE), {"rng": 0}, "rng must be a numpy.random"),
    "a kernel": (mmd_test, (PLANE, PLANE), {"rng": RNG, "kernel": "rbf"}, "kernel must be one of"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_arguments_are_named(case, own_checks):
    function, arguments, options, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=f"{function.__name__}: {message}"):
        function(*arguments, **options)
