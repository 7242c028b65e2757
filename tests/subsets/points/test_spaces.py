"""Spaces: orthonormality, exact draws, pools of any matrix, array libraries, bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from fewtheory.arrays import to_numpy
from fewtheory.subsets.points._orthogonal import FAMILIES
from fewtheory.subsets.points.spaces import FeatureSpace, PolySpace, Space, christoffel

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "dpp-wls.json").read_text())
EPS = np.finfo(np.float64).eps
NAMES = ["legendre", "hermite", "chebyshev", "fourier"]


def known(words):
    (found,) = [k for k in KNOWN if words in k["what"]]
    return found


def rule(name, n):
    """Quadrature of the family's mu, exact for products of functions of degree below n."""
    if name == "chebyshev":
        return np.cos(np.pi * (np.arange(n) + 0.5) / n), np.full(n, 1 / n)
    if name == "fourier":
        return np.arange(2 * n) / (2 * n), np.full(2 * n, 1 / (2 * n))
    poly = np.polynomial
    gauss = poly.legendre.leggauss if name == "legendre" else poly.hermite_e.hermegauss
    x, w = gauss(n)
    return x, w / w.sum()


def test_christoffel_numbers_are_the_known_ones():
    given = known("K(x,x) and the weight")
    x = np.array(given["inputs"]["x"])
    K = christoffel(PolySpace("legendre", given["inputs"]["m"] - 1), x)
    np.testing.assert_allclose(K, given["expected"]["K"], rtol=given["tolerance"])
    np.testing.assert_allclose(5 / K, given["expected"]["w"], rtol=given["tolerance"])


@pytest.mark.parametrize("name", NAMES)
def test_features_are_orthonormal_for_a_probability(name):
    x, mu = rule(name, 14)
    phi = PolySpace(name, 12).features(x)
    # a recurrence of 12 steps, terms up to max |phi|^2 mu
    bound = 64 * EPS * max(1.0, float((phi**2 * mu[:, None]).max() * len(x)))
    np.testing.assert_allclose(phi.T @ (phi * mu[:, None]), np.eye(phi.shape[1]), atol=bound)


@pytest.mark.parametrize("index_set", ["total", "hyperbolic", "tensor"])
def test_tensor_products_of_different_families_are_orthonormal(index_set):
    space = PolySpace(["legendre", "fourier"], 3, index_set=index_set)
    (x, a), (y, b) = rule("legendre", 6), rule("fourier", 8)
    points = np.stack([np.repeat(x, len(y)), np.tile(y, len(x))], axis=1)
    phi, mu = space.features(points), np.repeat(a, len(y)) * np.tile(b, len(x))
    np.testing.assert_allclose(phi.T @ (phi * mu[:, None]), np.eye(space.m), atol=1024 * EPS)


@pytest.mark.parametrize(
    ("index_set", "expected"),
    [
        ("total", {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)}),
        ("hyperbolic", {(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)}),
        ("tensor", {(i, j) for i in range(3) for j in range(3)}),
    ],
)
def test_index_sets_hold_the_degrees_of_their_definition(index_set, expected):
    space = PolySpace("hermite", 2, dim=2, index_set=index_set)
    assert {tuple(row) for row in space.indices.tolist()} == expected


def test_a_list_of_indices_is_the_space_itself():
    space = PolySpace("legendre", dim=2, indices=[(3, 0), (0, 2)])
    x = np.array([[0.3, -0.7], [0.1, 0.9]])
    full = PolySpace("legendre", 3, dim=2, index_set="tensor")
    columns = [full.indices.tolist().index(i) for i in ([3, 0], [0, 2])]
    np.testing.assert_array_equal(space.features(x), full.features(x)[:, columns])
    assert PolySpace("legendre", indices=[1, 4]).ensemble is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("j", [0, 1, 4, 7])
def test_draws_of_each_squared_function_have_its_distribution(name, j, rng):
    x = FAMILIES[name].draw_squared(np.full(3000, j), rng)
    grid = {
        "legendre": np.linspace(-1, 1, 4001),
        "hermite": np.linspace(-12, 12, 4001),
        "chebyshev": np.linspace(0, np.pi, 4001),
        "fourier": np.linspace(0, 1, 4001),
    }[name]
    at = np.cos(grid) if name == "chebyshev" else grid
    density = FAMILIES[name].values(at, max(j, 1))[:, j] ** 2
    if name == "hermite":
        density = density * np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    cdf = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2))
    value = np.arccos(x) if name == "chebyshev" else x
    # level 1e-6; the tabulated distribution is wrong by 1e-5, the test sees .05
    assert kstest(value, lambda v: np.interp(v, grid, cdf / cdf[-1])).pvalue > 1e-6


def test_the_hermite_distribution_is_closed(rng):
    # derivative of the distribution function = phi_j^2 mu, by central differences, error h^2 F'''/6
    x, h = np.linspace(-4, 4, 41), 1e-4
    for j in (0, 1, 5):
        orders = np.full(x.size, j)
        family = FAMILIES["hermite"]
        slope = (family.distribution(x + h, orders) - family.distribution(x - h, orders)) / (2 * h)
        exact = family.values(x, max(j, 1))[:, j] ** 2 * np.exp(-(x**2) / 2) / math.sqrt(2 * np.pi)
        np.testing.assert_allclose(slope, exact, atol=1e-6)


def test_half_of_the_legendre_proposals_are_accepted():
    # the arcsine proposal has twice the mass of the bound: count what one pass keeps
    class Counting:
        def __init__(self):
            self.rng, self.asked = np.random.default_rng(3), 0

        def random(self, n):
            self.asked += n
            return self.rng.random(n)

    rng, n = Counting(), 20_000
    FAMILIES["legendre"].draw_squared(np.full(n, 6), rng)
    proposals = rng.asked / 2
    # n accepted of a binomial with share 1/2: sd of n / proposals is .25 / sqrt(n)
    assert n / proposals == pytest.approx(0.5, abs=6 * 0.36 / math.sqrt(2 * n))


@pytest.mark.parametrize("name", NAMES)
def test_optimal_draws_make_the_gram_matrix_the_identity(name, rng):
    space = PolySpace(name, 3, dim=2)
    x = space.draw_optimal(5000, rng=rng)
    phi = space.features(x)
    u = phi * np.sqrt(space.m / christoffel(space, x))[:, None]
    # entries are means of n numbers of size at most m
    np.testing.assert_allclose(u.T @ u / len(x), np.eye(space.m), atol=6 * space.m / 70)


def test_features_come_back_in_the_library_of_the_points(asarray):
    x = asarray(np.array([0.1, -0.4]))
    phi = PolySpace("legendre", 3).features(x)
    assert type(phi) is type(x)
    expected = PolySpace("legendre", 3).features(np.array([0.1, -0.4]))
    np.testing.assert_allclose(to_numpy(phi), expected, rtol=0, atol=8 * EPS)
    single = PolySpace("legendre", 3).features(np.array([0.1, -0.4], dtype=np.float32))
    np.testing.assert_allclose(single, expected, rtol=0, atol=32 * np.finfo(np.float32).eps)


def test_features_of_many_variables_on_every_library(asarray):
    x = np.array([[0.1, 0.4], [-0.3, 0.9]])
    for family in ("hermite", ["legendre", "fourier"]):
        space = PolySpace(family, 2, dim=2, index_set="hyperbolic")
        np.testing.assert_allclose(
            to_numpy(space.features(asarray(x))), space.features(x), atol=8 * EPS
        )


def test_a_torch_generator_draws_too_and_repeats():
    space = PolySpace("hermite", 3)
    one, two = (space.draw_optimal(5, rng=torch.Generator().manual_seed(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_pool_is_orthonormal_for_its_weights_and_spans_its_columns(asarray, rng):
    A, mu = rng.standard_normal((40, 5)), rng.dirichlet(np.ones(40))
    space = FeatureSpace(asarray(A), asarray(mu))
    phi = space.rows
    np.testing.assert_allclose(phi.T @ (phi * mu[:, None]), np.eye(5), atol=256 * EPS)
    np.testing.assert_allclose(A @ to_numpy(space.T), phi, rtol=0, atol=1e-12)
    assert isinstance(space, Space)
    assert type(space.features(np.array([1, 2]))) is type(asarray(A))


def test_dependent_columns_are_a_space_of_lower_dimension(rng):
    A = rng.standard_normal((30, 4)) @ rng.standard_normal((4, 7))
    A[:, 3] = 0
    space = FeatureSpace(A)
    assert space.m == 4
    inside = space.rows @ (space.rows.T @ A / 30)
    np.testing.assert_allclose(inside, A, rtol=0, atol=1e-12)


def test_rows_of_weight_zero_have_features_and_are_never_drawn(rng):
    A = rng.standard_normal((20, 3))
    mu = np.r_[np.zeros(5), np.full(10, 0.1), np.zeros(5)]
    space = FeatureSpace(A, mu)
    np.testing.assert_allclose(A @ space.T, space.rows, atol=1e-12)
    for draw in (space.draw, space.draw_optimal):
        x = draw(4000, rng=rng)
        assert x.min() >= 5
        assert x.max() < 15


def test_pools_in_single_precision_agree_with_double(rng):
    A = rng.standard_normal((50, 4))
    one, two = FeatureSpace(A.astype(np.float32)), FeatureSpace(A)
    np.testing.assert_allclose(one.leverage, two.leverage, atol=64 * np.finfo(np.float32).eps)


def test_leverage_is_not_changed_by_a_change_of_columns(rng):
    A, change = rng.standard_normal((50, 4)), rng.standard_normal((4, 4))
    np.testing.assert_allclose(
        FeatureSpace(A).leverage, FeatureSpace(A @ change).leverage, atol=1e-11
    )


def test_the_guide_finds_what_bisection_finds(rng):
    table = FeatureSpace(
        rng.standard_normal((300, 3)) * rng.exponential(size=(300, 1)) ** 3
    ).tables[1]
    u = np.r_[
        0.0, np.arange(300) / 300, np.nextafter(1, 0), table.cumulative[:-1], rng.random(5000)
    ]
    np.testing.assert_array_equal(table(u), table.plain(u))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PolySpace("jacobi", 3), "PolySpace: family must be one of"),
        (lambda: PolySpace("legendre", -1), "PolySpace: degree must be at least 0, got -1"),
        (lambda: PolySpace("legendre"), "PolySpace: degree must be given, or else indices"),
        (lambda: PolySpace("legendre", 3, dim=0), "PolySpace: dim must be at least 1, got 0"),
        (
            lambda: PolySpace(["legendre", "hermite"], 3, dim=3),
            "PolySpace: family must be one name",
        ),
        (lambda: PolySpace("legendre", 3, index_set="all"), "PolySpace: index_set must be one of"),
        (lambda: PolySpace("legendre", indices=[-1]), "PolySpace: indices must be non-negative"),
        (lambda: PolySpace("legendre", indices=[1, 1]), "PolySpace: indices must be all different"),
        (lambda: PolySpace("legendre", 3).features(np.ones((2, 2))), "x must have shape"),
        (lambda: FeatureSpace(np.ones(3)), r"FeatureSpace: A must be of shape \(N, p\)"),
        (lambda: FeatureSpace(np.full((3, 1), math.nan)), "FeatureSpace: A must be finite"),
        (lambda: FeatureSpace(np.zeros((3, 1))), "FeatureSpace: A must be nonzero"),
        (lambda: FeatureSpace(np.ones((3, 1)), [1, 1, 1]), "weights must be probabilities"),
        (lambda: FeatureSpace(np.ones((3, 1)), [2, -1, 0]), "weights must be non-negative"),
        (lambda: FeatureSpace(np.ones((3, 1))).features(np.array([3])), r"x must be in \[0, 3\)"),
        (lambda: FeatureSpace(np.ones((3, 1))).features(np.array([0.5])), "x must be of shape"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_seed_is_no_generator(own_checks):
    with pytest.raises(TypeError, match=r"PolySpace.draw: rng must be a numpy.random.Generator"):
        PolySpace("legendre", 3).draw(2, rng=0)
    with pytest.raises(TypeError, match="A must be of a real floating dtype"):
        FeatureSpace(np.ones((3, 1), dtype=np.int64))
