"""Laws of k atoms: rates, Hermite moments, the moment space, worst pairs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory.arrays import to_numpy
from fewtheory.learning.ambient.mixtures import (
    crossover,
    effective_size,
    mixture_error,
    noise_norm,
    sample_price,
    top_subspace,
    weighted_covariance,
)
from fewtheory.learning.ambient.moment_space import denoised_law, nearest_law
from fewtheory.learning.ambient.moments import (
    atoms_from_moments,
    hermite_covariance,
    hermite_moments,
    hermite_polynomials,
    law_moments,
    moment_weights,
    two_atoms,
)
from fewtheory.learning.ambient.worst_pairs import (
    chi_square_series,
    gauss_rule,
    price_exponent,
    worst_pair,
)

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "ambient-scaling.json").read_text())
EPS = np.finfo(float).eps
ATOMS, MASS = np.array([-0.6, 0.9]), np.array([0.6, 0.4])


def test_the_chi_square_series_is_the_known_one():
    i = KNOWN[4]["inputs"]
    first, second = ((np.array(i[f"x{k}"]), np.array(i[f"w{k}"])) for k in (1, 2))
    found = [chi_square_series(first, second, float(s)) for s in i["s"]]
    # the means differ by rounding alone: (0.2 * 2 - 0.8 * 0.5)^2 / s^2 is nothing
    assert found == pytest.approx(KNOWN[4]["expected"], rel=KNOWN[4]["tolerance"])


def test_the_hermite_variance_is_the_known_one():
    i = KNOWN[5]["inputs"]
    moments = law_moments(i["atoms"], i["weights"], 10)
    found = np.diag(hermite_covariance(moments, i["sigma"], 5))
    told = KNOWN[5]["expected"]
    assert [found[r - 1] for r in i["r"]] == pytest.approx(told, rel=1e-12)


def test_two_atoms_are_the_known_ones(asarray):
    e = KNOWN[6]["expected"]
    atoms, weights = two_atoms(asarray(KNOWN[6]["inputs"]["m"]))
    assert to_numpy(atoms) == pytest.approx(e["atoms"], abs=KNOWN[6]["tolerance"])
    assert to_numpy(weights) == pytest.approx(e["weights"], abs=KNOWN[6]["tolerance"])
    general = atoms_from_moments(KNOWN[6]["inputs"]["m"])
    assert general[0] == pytest.approx(e["atoms"], abs=KNOWN[6]["tolerance"])
    assert general[1] == pytest.approx(e["weights"], abs=KNOWN[6]["tolerance"])


def test_many_triples_of_moments_are_recovered_at_once(asarray):
    m = np.stack([law_moments([-0.5, 0.1 * k], [0.3, 0.7], 3) for k in range(5)])
    atoms, _ = two_atoms(asarray(m))
    assert to_numpy(atoms)[:, 0] == pytest.approx(-0.5, abs=1e-13)
    assert to_numpy(atoms)[:, 1] == pytest.approx(0.1 * np.arange(5), abs=1e-13)


def test_the_polynomials_are_hermites(asarray):
    x = np.array([-1.3, 0.0, 2.1])
    found = to_numpy(hermite_polynomials(asarray(x), 0.5, 4))
    for r in range(1, 5):
        told = 0.5**r * np.polynomial.hermite_e.hermeval(x / 0.5, np.eye(5)[r])
        assert found[r - 1] == pytest.approx(told, abs=1e-14)
    assert to_numpy(hermite_polynomials(asarray(x), 0.0, 3))[2] == pytest.approx(x**3)


def test_without_noise_the_covariance_is_that_of_powers():
    m = law_moments(ATOMS, MASS, 6)
    told = np.array([[m[r + s + 1] - m[r] * m[s] for s in range(3)] for r in range(3)])
    assert hermite_covariance(m, 0.0, 3) == pytest.approx(told, abs=1e-15)


def test_weights_are_inverse_variances():
    m = law_moments(ATOMS, MASS, 6)
    w = moment_weights([0.5, 2.0], [10, 1000], 3, pilot=m)
    for r in range(3):
        a, b = (n / hermite_covariance(m, s, 3)[r, r] for s, n in ((0.5, 10), (2.0, 1000)))
        assert w[r] == pytest.approx([a / (a + b), b / (a + b)])


def test_estimates_are_unbiased_in_mixed_samples(asarray, rng):
    n = [4_000, 30_000]
    x = [rng.choice(ATOMS, k, p=MASS) + s * rng.standard_normal(k) for k, s in zip(n, (0.3, 0.9),
         strict=True)]  # fmt: skip
    m = law_moments(ATOMS, MASS, 6)
    found = hermite_moments([asarray(v) for v in x], [0.3, 0.9], 3, pilot=m)
    precision = sum(k / np.diag(hermite_covariance(m, s, 3)) for k, s in zip(n, (0.3, 0.9),
                    strict=True))  # fmt: skip
    assert np.all(np.abs(found - m[:3]) < 5 / np.sqrt(precision))


@given(st.integers(1, 4), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_gauss_rules_are_recovered_from_their_moments(k, seed):
    rng = np.random.default_rng(seed)
    atoms = np.linspace(-1, 1, 2 * k + 1)[1::2] + 0.3 / k * rng.uniform(-1, 1, k)
    weights = 0.5 / k + 0.5 * rng.dirichlet(np.ones(k))
    found = atoms_from_moments(law_moments(atoms, weights, 2 * k - 1))
    # the Hankel matrix of four atoms at these distances has a condition number under 1e6
    assert found[0] == pytest.approx(atoms, abs=1e-8)
    assert found[1] == pytest.approx(weights, abs=1e-8)


def test_moments_of_fewer_atoms_give_fewer_atoms():
    for atoms in ([0.3], [-0.5, 0.2]):
        weights = np.ones(len(atoms)) / len(atoms)
        found = atoms_from_moments(law_moments(atoms, weights, 7))
        assert found[0] == pytest.approx(atoms, abs=1e-7)


@given(st.integers(1, 4), st.floats(-3, 0.5), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_the_nearest_law_satisfies_the_hulls_inequality(k, log_noise, seed):
    """Optimal over a convex hull: (p - y).(y - m) >= 0 for every point p of it."""
    rng = np.random.default_rng(seed)
    m = law_moments(rng.uniform(-1, 1, k), rng.dirichlet(np.ones(k)), 2 * k - 1)
    m = m + 10**log_noise * rng.standard_normal(m.size)
    x, w = nearest_law(m)
    assert len(x) <= k
    assert np.all(np.abs(x) <= 1 + 2e-6)
    y = law_moments(x, w, 2 * k - 1)
    curve = np.linspace(-1, 1, 801)[:, None] ** np.arange(1, 2 * k)
    # to 1e-6 of the distances involved
    assert np.min((curve - y) @ (y - m)) >= -5e-6 * (1 + np.linalg.norm(y - m))


def test_a_law_inside_the_ball_is_its_own_nearest():
    x, w = nearest_law(3.0 ** np.arange(1, 4) * law_moments(ATOMS, MASS, 3), radius=3)
    assert x == pytest.approx(3 * ATOMS, abs=1e-5)
    assert w == pytest.approx(MASS, abs=1e-5)


def test_three_atoms_are_found_in_clean_and_noisy_samples(rng):
    atoms, mass = np.array([-0.8, 0.0, 0.7]), np.array([0.3, 0.4, 0.3])
    x = rng.choice(atoms, 30_000, p=mass)
    y = rng.choice(atoms, 100_000, p=mass) + 0.5 * rng.standard_normal(100_000)
    found = denoised_law([x, y], [0.0, 0.5], 3)
    # the moments err by 1/sqrt(30000) = 0.006, and atoms half a unit apart amplify that tenfold
    assert found[0] == pytest.approx(atoms, abs=0.1)
    assert found[1] == pytest.approx(mass, abs=0.1)


def test_a_worst_pair_is_two_laws_that_agree():
    for k in (2, 3, 5):
        (x, w), (y, v) = worst_pair(k, b=0.4, D=0.2)
        assert len(x) == len(y) == k
        assert w.sum() == pytest.approx(1.0)
        first, second = law_moments(x, w, 2 * k - 1), law_moments(y, v, 2 * k - 1)
        assert first[:-1] == pytest.approx(second[:-1], abs=16 * EPS)
        assert second[-1] - first[-1] == pytest.approx(0.2 * 0.4 ** (2 * k - 2), rel=1e-11)


def test_equal_laws_are_at_no_distance_and_far_ones_settle():
    one, other = (np.array([0.0]), np.ones(1)), (np.array([0.5]), np.ones(1))
    assert chi_square_series(one, one, 1.0) == 0.0
    # int (phi(x) - phi(x - a))^2 / phi = exp(a^2) - 1
    assert chi_square_series(one, other, 1.0) == pytest.approx(np.expm1(0.25), rel=1e-14)
    with pytest.raises(ValueError, match="terms must be more"):
        chi_square_series(one, other, 0.05, terms=20)


def test_rates_and_prices():
    assert effective_size([0.5], 2) == 4.0
    assert mixture_error([1.0, 2.0], 16, 2, [0, 256])[0] == pytest.approx(1.0)
    assert mixture_error([2.0], 1, 3, [2**10])[1] == pytest.approx(1.0)
    assert sample_price(0.5, 1.0, 2) == 2.0 ** price_exponent(2) == 64.0
    for k in (2, 3, 5):
        n = crossover(50, k)
        subspace, moments = mixture_error([1.0], 50, k, [n])
        assert subspace == pytest.approx(moments, rel=1e-12)


def test_the_weighted_covariance_is_unbiased_and_finds_the_plane(asarray, rng):
    atoms = np.array([[0.8, 0.0, 0.0, 0.0], [0.0, 0.6, 0.0, 0.0], [-0.5, -0.5, 0.0, 0.0]])
    sigma = np.repeat([0.5, 1.0], [20_000, 40_000])
    x = atoms[rng.integers(3, size=60_000)] + sigma[:, None] * rng.standard_normal((60_000, 4))
    cov = weighted_covariance(asarray(x), asarray(sigma))
    error = to_numpy(cov) - atoms.T @ atoms / 3
    # the noise's norm, and the atoms' own spread of size 1 in a sample of weight 20000
    slack = 2 * noise_norm(4, effective_size([0.5, 1.0], 4, [20_000, 40_000])) + 5 / 141
    assert np.linalg.norm(error, 2) < slack
    plane = to_numpy(top_subspace(cov, 2))
    assert plane.T @ plane == pytest.approx(np.eye(2), abs=1e-13)
    # sin(angle) <= error / gap
    assert np.linalg.norm(plane[2:], 2) < slack / np.linalg.eigvalsh(atoms.T @ atoms / 3)[2]


R = (np.array([0.0]), np.ones(1))
NO_PAIR: Any = 3.0
X = np.ones(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_size([0.0], 4), "sigmas must be of shape"),
        (lambda: effective_size([1.0], 4, [-1]), "counts must be of shape"),
        (lambda: effective_size([1.0], 0), "p must be at least 1"),
        (lambda: mixture_error([1.0], 0, 2), "d must be at least 1"),
        (lambda: mixture_error([1.0], 2, 0), "k must be at least 1"),
        (lambda: sample_price(0.0, 1.0), "sigma_1 must be finite in"),
        (lambda: sample_price(1.0, -1.0), "sigma_2 must be finite in"),
        (lambda: sample_price(1.0, 1.0, 0), "k must be at least 1"),
        (lambda: crossover(10, 1), "k must be at least 2"),
        (lambda: crossover(0, 2), "d must be at least 1"),
        (lambda: weighted_covariance(X, X), "x must be of shape"),
        (lambda: weighted_covariance(np.ones((3, 2)), 0 * X), "sigma must be of shape"),
        (lambda: top_subspace(X, 1), "cov must be of shape"),
        (lambda: top_subspace(np.eye(2), 3), "k must be in"),
        (lambda: noise_norm(0, 1.0), "d must be at least 1"),
        (lambda: noise_norm(1, 0.0), "strength must be finite in"),
        (lambda: hermite_polynomials(np.eye(2), 1.0, 2), "x must be of shape"),
        (lambda: hermite_polynomials(X, -1.0, 2), "sigma must be finite in"),
        (lambda: hermite_polynomials(X, 1.0, 0), "order must be at least 1"),
        (lambda: hermite_covariance(X, 1.0, 2), "moments must be of shape"),
        (lambda: hermite_covariance(X, -1.0, 1), "sigma must be finite in"),
        (lambda: hermite_covariance(X, 1.0, 0), "order must be at least 1"),
        (lambda: law_moments(X, np.ones(2), 2), "weights must be of shape"),
        (lambda: law_moments(X, X, 0), "order must be at least 1"),
        (lambda: moment_weights([1.0], [0], 1), "counts must be of shape"),
        (lambda: moment_weights([0.0], [1], 1, pilot=[0, 0]), "pilot must be moments"),
        (lambda: moment_weights([1.0], [1], 0), "order must be at least 1"),
        (lambda: hermite_moments([X], [1.0, 2.0], 1), "sigmas must be one for each"),
        (lambda: hermite_moments([np.eye(2)], [1.0], 1), "samples must be of shape"),
        (lambda: atoms_from_moments([0.0, 1.0]), "moments must be of shape"),
        (lambda: two_atoms(np.ones(2)), "moments must be of shape"),
        (lambda: nearest_law([0.0, 1.0]), "moments must be of shape"),
        (lambda: nearest_law([0.0], radius=0), "radius must be finite in"),
        (lambda: denoised_law([X], [1.0], 0), "k must be at least 1"),
        (lambda: gauss_rule([[0.0]], []), "diagonal must be of shape"),
        (lambda: gauss_rule([0.0], [1.0]), "off_diagonal must be of shape"),
        (lambda: worst_pair(0), "k must be at least 1"),
        (lambda: worst_pair(2, b=0), "b must be finite in"),
        (lambda: worst_pair(2, D=-1), "D must be finite in"),
        (lambda: chi_square_series(R, NO_PAIR, 1.0), "second must be a pair"),
        (lambda: chi_square_series((X, X), R, 1.0), "first must be"),
        (lambda: chi_square_series(R, R, 0.0), "sigma must be finite in"),
        (lambda: chi_square_series(R, R, 1.0, agree=-1), "agree must be at least 0"),
        (lambda: chi_square_series(R, R, 1.0, terms=0), "terms must be at least 1"),
        (lambda: price_exponent(0), "k must be at least 1"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
