"""Wasserstein distances against POT, SciPy, quadrature and mpmath."""

import math

import mpmath as mp
import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, wasserstein_distance

from fewtheory.arrays import standard_normal
from fewtheory.metrics import (
    sliced_wasserstein,
    transport,
    wasserstein_1d,
    wasserstein_1d_to_mixture,
)
from fewtheory.testbeds import Gaussian, ProductMixture, mixture_1d

EPS = np.finfo(np.float64).eps
numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


# two samples


@given(numbers, numbers, st.sampled_from([1.0, 1.5, 2.0, 3.0]))
@settings(deadline=None, max_examples=40)
def test_samples_repeated_to_one_size_are_paired_in_order(x, y, p):
    x, y = np.array(x), np.array(y)
    size = math.lcm(x.size, y.size)
    a, b = (np.sort(np.repeat(v, size // v.size)) for v in (x, y))
    exact = (np.abs(a - b) ** p).mean() ** (1 / p)
    assert float(wasserstein_1d(x, y, p)) == pytest.approx(exact, rel=64 * EPS, abs=1e-300)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_samples_of_unequal_size_are_at_pots_distance(p, weighted, rng):
    x, y = rng.standard_normal(30), rng.standard_normal(47) + 0.5
    weights = [None, None] if not weighted else [rng.dirichlet(np.ones(v.size)) for v in (x, y)]
    exact = ot.wasserstein_1d(x, y, *weights, p=p) ** (1 / p)
    found = wasserstein_1d(x, y, p, x_weights=weights[0], y_weights=weights[1])
    # cumulated weights: an edge that is off by 77 eps moves that much mass over the range, 6
    bound = 77 * EPS * 6**p / (p * exact ** (p - 1))
    assert float(found) == pytest.approx(exact, rel=0, abs=bound)


def test_one_sample_may_be_weighted_alone(rng):
    x, y, w = rng.standard_normal(20), rng.standard_normal(35), rng.random(20)
    exact = wasserstein_distance(x, y, w)
    assert float(wasserstein_1d(x, y, 1, x_weights=w)) == pytest.approx(exact, rel=55 * 6 * EPS)


def test_weights_are_relative_and_zero_means_absent(rng):
    x, y = rng.standard_normal(5), rng.standard_normal(4)
    w = np.array([0.0, 1.0, 2.0, 0.0, 1.0])
    found = wasserstein_1d(x, y, x_weights=w)
    exact = wasserstein_1d(np.repeat(x, w.astype(int)), y)
    assert float(found) == pytest.approx(float(exact), rel=64 * EPS)


@given(numbers, st.floats(-10, 10), st.floats(1, 4))
@settings(deadline=None, max_examples=40)
def test_a_shift_moves_a_sample_by_its_length(x, shift, p):
    x = np.array(x)
    bound = 4 * EPS * (100 + abs(shift))  # rounding of x + shift, and its root and power
    assert float(wasserstein_1d(x, x + shift, p)) == pytest.approx(abs(shift), abs=bound)


def test_every_backend_gives_the_same_distance(asarray, rng):
    x, y = rng.standard_normal(8), rng.standard_normal(5)
    found = wasserstein_1d(asarray(x), asarray(y))
    assert type(found) is type(asarray(x)[0])
    assert found.dtype == asarray(x).dtype
    assert float(found) == pytest.approx(float(wasserstein_1d(x, y)), rel=32 * EPS)


@pytest.mark.parametrize("weights", [None, [0.1, 0.4, 0.2, 0.3]])
def test_the_distance_of_samples_is_differentiable(weights, rng):
    x = torch.tensor(rng.standard_normal(4), requires_grad=True)
    y = torch.tensor(rng.standard_normal(6), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, y: wasserstein_1d(x, y, x_weights=weights and np.array(weights)), (x, y)
    )


# a sample and a mixture

BEDS = {
    "bimodal": mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3]),
    "one component": mixture_1d([1.0], [0.3], [0.7]),
    "narrow and wide": mixture_1d([0.3, 0.7], [0.0, 0.1], [0.02, 2.0]),
    "padded": mixture_1d([0.5, 0.0, 0.5], [-1.0, 9.0, 1.0], [0.4, 1.0, 0.4]),
}


def density(bed, y):
    return (bed.weights[0] * norm.pdf(y, bed.means[0], bed.stds[0])).sum()


def cdf(bed, y):
    return (bed.weights[0] * norm.cdf(y, bed.means[0], bed.stds[0])).sum()


def spread(bed):
    """Where the components bend: quadrature's own error bound is right between such points."""
    pairs = zip(bed.means[0], bed.stds[0], strict=True)
    return [m + k * s for m, s in pairs for k in (-6, -3, -1, 0, 1, 3, 6)]


def integral(function, a, b, points):
    """Quadrature between sorted break points inside (a, b), with the sum of its error bounds."""
    ends = np.concatenate([[a], np.sort([v for v in points if a < v < b]), [b]])
    parts = [
        quad(function, *ends[i : i + 2], epsabs=1e-13, epsrel=1e-11) for i in range(len(ends) - 1)
    ]
    return sum(v for v, _ in parts), sum(e for _, e in parts)


@pytest.mark.parametrize("bed", BEDS.values(), ids=BEDS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_w1_is_the_area_between_the_distribution_functions(bed, n, rng):
    x = np.sort(3 * rng.standard_normal(n))
    far = 30.0

    def gap(y):
        return abs(np.mean(x <= y) - cdf(bed, y))

    crossings = [
        brentq(lambda y, u=i / n: cdf(bed, y) - u, -far, far, xtol=1e-14) for i in range(1, n)
    ]
    exact, error = integral(gap, -far, far, [*x, *crossings, *spread(bed)])  # smooth in between
    found = float(wasserstein_1d_to_mixture(x, bed, 1))
    assert found == pytest.approx(exact, rel=0, abs=2 * error + 64 * EPS * 2 * far)


@pytest.mark.parametrize("bed", BEDS.values(), ids=BEDS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_w2_is_the_distance_of_quantile_functions(bed, n, rng):
    x, far = np.sort(3 * rng.standard_normal(n)), 30.0
    edges = [brentq(lambda y, u=i / n: cdf(bed, y) - u, -far, far, xtol=1e-14) for i in range(1, n)]
    edges = [-far, *edges, far]
    cells = [
        integral(
            lambda y, i=i: (x[i] - y) ** 2 * density(bed, y), edges[i], edges[i + 1], spread(bed)
        )
        for i in range(n)
    ]
    exact, error = (sum(v) for v in zip(*cells, strict=True))
    found = float(wasserstein_1d_to_mixture(x, bed, 2))
    # an edge off by 1e-14 moves that much mass over less than 100^2
    assert found**2 == pytest.approx(exact, rel=0, abs=2 * error + 1e-14 * 100**2 * n)


def high_precision(x, bed, p):
    """W_p^p in mpmath at 40 digits: Newton's method for the edges, antiderivatives for the rest."""
    numbers = (v[0].tolist() for v in (bed.weights, bed.means, bed.stds))
    parts = [tuple(map(mp.mpf, part)) for part in zip(*numbers, strict=True)]

    def below(y, c):  # int_{-inf}^y (t - c)^p p(t) dt
        total = mp.mpf(0)
        for w, m, s in parts:
            z, b = (y - m) / s, (m - c) / s
            F, f = mp.ncdf(z), mp.npdf(z)
            total += w * s**p * (b * F - f if p == 1 else (b**2 + 1) * F - (2 * b + z) * f)
        return total

    n, edges = len(x), [mp.mpf(-30)]
    for i in range(1, n):
        y = mp.mpf(brentq(lambda y, u=i / n: cdf(bed, y) - u, -30, 30, xtol=1e-13))
        for _ in range(2):  # 1e-13, 1e-25, 1e-40
            mass = sum(w * mp.ncdf(y, m, s) for w, m, s in parts)
            y -= (mass - mp.mpf(i) / n) / sum(w * mp.npdf(y, m, s) for w, m, s in parts)
        edges.append(y)
    edges.append(mp.mpf(30))
    total = mp.mpf(0)
    for i, c in enumerate(map(mp.mpf, np.sort(x).tolist())):
        cut = min(max(c, edges[i]), edges[i + 1])
        low, middle, high = (below(v, c) for v in (edges[i], cut, edges[i + 1]))
        total += abs(middle - low) + abs(high - middle)
    return float(total)


def medians(bed, n):
    """The medians of n cells of equal mass: the closest sample in W_1, nearly so in W_2."""
    return bed.quantile((np.arange(n)[:, None] + 0.5) / n)[:, 0]


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("name", ["bimodal", "narrow and wide"])
def test_the_closest_sample_keeps_its_digits(p, name):
    # W_p^p is of order n^-p, a small part of any moment it is made of
    x = medians(BEDS[name], 40)
    with mp.workdps(40):
        exact = high_precision(x, BEDS[name], p)
    found = float(wasserstein_1d_to_mixture(x, BEDS[name], p)) ** p
    assert found == pytest.approx(exact, rel=0, abs=1e-15 * np.ptp(x) ** p)  # the docstring's


def test_the_closest_of_many_keeps_them_too(bimodal):
    x = medians(bimodal, 400)
    with mp.workdps(40):
        exact = high_precision(x, bimodal, 2)
    found = float(wasserstein_1d_to_mixture(x, bimodal, 2)) ** 2
    # positive terms of a dozen factors, one of them the exponential of 12 or less; an edge or a
    # point that is off by a rounding is near its optimum and changes nothing to first order
    assert found == pytest.approx(exact, rel=128 * EPS, abs=0)


def test_a_level_on_the_plateau_between_modes_splits_the_sample(rng):
    bed = mixture_1d([0.5, 0.5], [-5.0, 5.0], [0.1, 0.2])
    left, right = -5 + 0.1 * rng.standard_normal(6), 5 + 0.2 * rng.standard_normal(6)
    found = float(wasserstein_1d_to_mixture(np.concatenate([right, left]), bed)) ** 2
    halves = [
        float(wasserstein_1d_to_mixture(x, mixture_1d([1.0], [m], [s]))) ** 2
        for x, m, s in ((left, -5.0, 0.1), (right, 5.0, 0.2))
    ]
    assert found == pytest.approx(np.mean(halves), rel=0, abs=1e-15 * 10.5**2)  # the docstring's


@given(st.floats(-50, 50), st.floats(-3, 3), st.floats(0.01, 5))
@settings(deadline=None, max_examples=40)
def test_one_point_is_at_its_root_mean_square_distance(x, mean, std):
    found = float(wasserstein_1d_to_mixture(np.array([x]), mixture_1d([1.0], [mean], [std])))
    assert found == pytest.approx(math.hypot(x - mean, std), rel=64 * EPS)


def test_a_large_sample_is_at_the_distance_of_a_larger_one(bimodal, rng):
    x = bimodal.sample(500, rng=rng)
    for p in (1, 2):
        N = 200 * 500
        quantiles = bimodal.quantile((np.arange(N)[:, None] + 0.5) / N)
        sampled = float(wasserstein_1d(x[:, 0], quantiles[:, 0], p))
        # the triangle inequality, with N medians of cells for the law itself
        slack = float(wasserstein_1d_to_mixture(quantiles, bimodal, p))
        assert abs(float(wasserstein_1d_to_mixture(x, bimodal, p)) - sampled) <= slack


def test_a_reflected_mixture_is_at_the_distance_of_the_reflected_sample(bimodal, rng):
    mirror = ProductMixture(bimodal.weights, bimodal.means, bimodal.stds, [[-1.0]])
    x = rng.standard_normal(9)
    found, exact = wasserstein_1d_to_mixture(x, mirror), wasserstein_1d_to_mixture(-x, bimodal)
    assert float(found) == float(exact)


def test_the_distance_to_a_mixture_is_of_the_samples_kind(bimodal, asarray, rng):
    x = rng.standard_normal((6, 1))
    found = wasserstein_1d_to_mixture(asarray(x), bimodal)
    assert type(found) is type(asarray(np.array(1.0)))
    assert float(found) == float(wasserstein_1d_to_mixture(x[:, 0], bimodal))


# projections


@pytest.mark.parametrize("p", [1, 2])
def test_the_sliced_distance_is_pots_on_the_same_directions(p, rng):
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((25, 3)) + 0.4
    found = sliced_wasserstein(x, y, 50, rng=np.random.default_rng(5), p=p)
    theta = standard_normal(np.random.default_rng(5), (3, 50), x)
    theta /= np.linalg.norm(theta, axis=0)
    exact = ot.sliced_wasserstein_distance(x, y, projections=theta, p=p)
    assert found.value == pytest.approx(exact, rel=65 * 10 * EPS)  # POT cumulates 65 weights


def test_the_sliced_distance_of_a_shift_and_its_standard_error(rng):
    # <theta, s>^2 has mean |s|^2 / d; intervals of 1.96 standard errors miss in 1 of 20 cases. In
    # 400 cases errors off by sqrt 2 would miss in 66 or in 2
    x, shift, runs = rng.standard_normal((5, 4)), np.array([1.0, -0.5, 0.0, 2.0]), 400
    found = [sliced_wasserstein(x, x + shift, 200, rng=rng) for _ in range(runs)]
    exact = np.linalg.norm(shift) / 2
    misses = sum(abs(f.value - exact) > 1.96 * f.standard_error for f in found)
    assert binomtest(misses, runs, 0.05).pvalue > 1e-4


def test_blocks_of_directions_are_one_draw(monkeypatch, rng):
    x, y = rng.standard_normal((10, 2)), rng.standard_normal((12, 2))
    monkeypatch.setattr(transport, "BLOCK", 22)  # one direction at a time
    found = sliced_wasserstein(x, y, 30, rng=np.random.default_rng(1))
    costs = []
    draw = np.random.default_rng(1)
    for _ in range(30):
        theta = draw.standard_normal((2, 1))
        theta /= np.linalg.norm(theta)
        costs.append(float(wasserstein_1d((x @ theta)[:, 0], (y @ theta)[:, 0])) ** 2)
    assert found.value == pytest.approx(np.sqrt(np.mean(costs)), rel=64 * EPS)


def test_a_sample_is_at_sliced_distance_zero_from_itself(asarray, rng):
    x = asarray(rng.standard_normal((6, 3)))
    found = sliced_wasserstein(x, x, 5, rng=rng)
    assert (found.value, found.standard_error) == (0.0, 0.0)


def test_a_torch_generator_draws_directions(rng):
    x = torch.tensor(rng.standard_normal((6, 3)), requires_grad=True)
    draw = torch.Generator().manual_seed(0)
    assert sliced_wasserstein(x, x + 1, 5, rng=draw).value > 0


# bad arguments

LINE, PLANE, RNG = np.zeros(3), np.zeros((3, 2)), np.random.default_rng(0)
BED = BEDS["bimodal"]
BAD = {
    "a plane": (wasserstein_1d, (PLANE, LINE), {}, r"x must be of shape \(n,\)"),
    "nothing": (wasserstein_1d, (LINE, LINE[:0]), {}, r"y must be of shape \(n,\)"),
    "another kind": (wasserstein_1d, (LINE, torch.zeros(3)), {}, "y must be an array of the kind"),
    "not finite": (wasserstein_1d, (LINE, LINE + np.inf), {}, "y must be finite"),
    "p below 1": (wasserstein_1d, (LINE, LINE, 0.5), {}, "p must be finite in"),
    "weights of another size": (
        wasserstein_1d,
        (LINE, LINE),
        {"x_weights": np.ones(2)},
        r"x_weights must be of shape \(3,\)",
    ),
    "negative weights": (
        wasserstein_1d,
        (LINE, LINE),
        {"y_weights": np.array([1.0, -1.0, 1.0])},
        "y_weights must be non-negative",
    ),
    "no weight": (
        wasserstein_1d,
        (LINE, LINE),
        {"y_weights": np.zeros(3)},
        "y_weights must be non-negative with a positive sum",
    ),
    "no mixture": (
        wasserstein_1d_to_mixture,
        (LINE, Gaussian([0.0], 1.0)),
        {},
        "bed must be a ProductMixture",
    ),
    "a mixture in two dimensions": (
        wasserstein_1d_to_mixture,
        (LINE, ProductMixture(np.ones((2, 1)), np.zeros((2, 1)), np.ones((2, 1)))),
        {},
        "bed must be one-dimensional",
    ),
    "p of 3": (wasserstein_1d_to_mixture, (LINE, BED, 3), {}, "p must be one of 1, 2"),
    "a plane, to a mixture": (wasserstein_1d_to_mixture, (PLANE, BED), {}, "x must be of shape"),
    "a list": (wasserstein_1d_to_mixture, ([0.0], BED), {}, "x must be an array"),
    "a line": (sliced_wasserstein, (LINE, PLANE, 5), {"rng": RNG}, "x must be of shape"),
    "another dimension": (
        sliced_wasserstein,
        (PLANE, np.zeros((3, 4)), 5),
        {"rng": RNG},
        r"y must be of shape \(m, 2\) like x",
    ),
    "one direction": (sliced_wasserstein, (PLANE, PLANE, 1), {"rng": RNG}, "projections must be"),
    "a seed": (sliced_wasserstein, (PLANE, PLANE, 5), {"rng": 0}, "rng must be a numpy.random"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_arguments_are_named(case, own_checks):
    function, arguments, options, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=f"{function.__name__}: {message}"):
        function(*arguments, **options)
