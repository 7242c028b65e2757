"""Lewis weights: known answers, the fixed point, its certificate, and the iteration's rates."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from fewtheory.arrays import to_numpy
from fewtheory.subsets import (
    leverage_scores,
    lewis_map,
    lewis_potential,
    lewis_weights,
)
from fewtheory.subsets.rows import _lewis_iteration
from fewtheory.subsets.rows.lewis import certificate

KNOWN = json.loads((Path(__file__).parents[2] / "data/lp-sensitivity.json").read_text())
NORMS = [1, 1.5, 2, 3, 4, 8, 32]


def heavy(rng, n=60, d=4, spread=2.0):
    """Gaussian rows times exp(spread N(0,1))."""
    return rng.standard_normal((n, d)) * np.exp(spread * rng.standard_normal(n))[:, None]


def hyperplane(c):
    """An orthonormal basis of {y : c.y = 0} as columns."""
    return np.linalg.svd(np.atleast_2d(c))[2][1:].T


def test_weights_of_a_hyperplane_are_known():
    case = KNOWN[1]
    for p, expected in zip(case["inputs"]["p"], case["expected"], strict=True):
        found = lewis_weights(hyperplane(case["inputs"]["c"]), p, tolerance=1e-13)
        assert found.weights == pytest.approx(expected, abs=case["tolerance"])


def test_weights_of_a_small_matrix_are_known(asarray):
    case = KNOWN[3]
    for p, expected in zip(case["inputs"]["p"], case["expected"], strict=True):
        found = lewis_weights(asarray(np.array(case["inputs"]["A"], float)), p, tolerance=1e-13)
        assert to_numpy(found.weights) == pytest.approx(expected, abs=case["tolerance"])


@pytest.mark.parametrize("p", NORMS)
def test_weights_are_a_fixed_point_that_sums_to_the_rank(rng, p):
    A = heavy(rng)
    found = lewis_weights(A, p)
    assert found.converged
    assert found.weights.sum() == pytest.approx(4, abs=4 * found.error)
    # the map itself is taken in another way, from one QR-like whitening of the scaled matrix
    off = np.abs(lewis_map(A, found.log_weights, p) - found.log_weights)
    assert off.max() < 2e-10
    assert np.exp(found.log_weights) == pytest.approx(found.weights)


def test_weights_of_p_2_are_leverage_scores(rng):
    A = heavy(rng)
    assert lewis_weights(A, 2).weights == pytest.approx(leverage_scores(A), rel=1e-9)


@pytest.mark.parametrize("p", NORMS)
def test_the_certificate_bounds_the_distance_to_the_solution(rng, p):
    A = heavy(rng, spread=1.0)
    solution = lewis_weights(A, p, tolerance=1e-12).log_weights
    for size in 10.0 ** rng.uniform(-4, 1, 40):
        for moved in (rng.standard_normal(60), 1.0 * (rng.random(60) < 0.2)):
            x = solution + size * moved
            residual = np.abs(lewis_map(A, x, p) - x).max()
            assert np.abs(x - solution).max() <= certificate(residual, p, 4) * (1 + 1e-9)


def test_the_certificate_is_attained_by_a_common_factor_below_two(rng):
    A = heavy(rng)
    x = lewis_weights(A, 1, tolerance=1e-13).log_weights + 0.3
    residual = np.abs(lewis_map(A, x, 1) - x).max()
    assert certificate(residual, 1, 4) == pytest.approx(0.3, rel=1e-9)


@pytest.mark.parametrize("p", [1, 1.5, 4, 16])
def test_rows_of_forty_orders_of_magnitude_converge(rng, p):
    A = heavy(rng, n=200, d=5, spread=40.0)
    A[3] = 0
    found = lewis_weights(A, p)
    assert found.converged
    assert found.weights[3] == 0
    assert found.log_weights[3] == -np.inf
    assert found.weights.sum() == pytest.approx(5, abs=1e-8)


def test_a_change_of_basis_and_dependent_columns_leave_weights_alone(rng):
    A = heavy(rng)
    weights = lewis_weights(A, 1).weights
    basis = rng.standard_normal((4, 4))
    assert lewis_weights(A @ basis, 1).weights == pytest.approx(weights, rel=1e-8)
    wide = lewis_weights(np.concatenate([A, A[:, :2]], axis=1), 1)
    assert wide.rank == 4
    assert wide.weights == pytest.approx(weights, rel=1e-8)


def test_one_column_has_the_shares_of_the_p_th_powers():
    a = np.array([[1.0], [2.0], [-3.0]])
    for p in NORMS:
        share = np.abs(a[:, 0]) ** p
        assert lewis_weights(a, p).weights == pytest.approx(share / share.sum(), rel=1e-9)


def test_chebyshev_needs_fewer_passes_than_the_best_damping(rng):
    A = heavy(rng)
    for p in (1, 3, 8, 20):
        damped = lewis_weights(A, p, step=4 / (p + 2), tolerance=1e-9)
        assert damped.converged
        assert lewis_weights(A, p, tolerance=1e-9).iterations < damped.iterations


def test_a_wrong_start_of_the_acceleration_falls_back_and_converges(rng, monkeypatch):
    A, real = heavy(rng), _lewis_iteration.chebyshev
    for p, gain in ((1, 2.5), (8, 1.0)):  # past 2 over the largest eigenvalue, 1 and 4
        begun = []

        def wild(p, begun=begun, gain=gain):
            begun.append(p)
            return itertools.repeat((0.0, gain)) if len(begun) == 1 else real(p)

        monkeypatch.setattr(_lewis_iteration, "chebyshev", wild)
        found = lewis_weights(A, p)
        assert len(begun) > 1
        assert found.converged


def test_the_unit_step_does_not_converge_at_four_and_diverges_beyond(rng):
    A = heavy(rng)
    stalled = lewis_weights(A, 4, step=1, max_iterations=100)
    assert not stalled.converged
    gone = lewis_weights(A, 8, step=1)
    assert not gone.converged
    assert gone.iterations < 20


def test_the_potential_never_falls_under_the_step_two_over_p(rng):
    A = heavy(rng, n=30, d=3)
    for p in (3, 6, 20):
        x = rng.standard_normal(30)
        values = []
        for _ in range(40):
            values.append(lewis_potential(A, x, p))
            x = x + 2 / p * (lewis_map(A, x, p) - x)
        rounding = 30 * np.finfo(float).eps * np.abs(values).max() * 10
        assert np.min(np.diff(values)) > -rounding


def test_stopping_early_says_so_and_certifies_what_it_has(rng):
    A = heavy(rng)
    early = lewis_weights(A, 1, max_iterations=3)
    assert not early.converged
    assert early.iterations == 3
    truth = lewis_weights(A, 1).log_weights
    assert np.abs(early.log_weights - truth).max() <= early.error


def test_single_precision_comes_back_single(rng):
    A = heavy(rng).astype(np.float32)
    found = lewis_weights(A, 1)
    assert found.weights.dtype == np.float32
    exact = lewis_weights(A.astype(np.float64), 1).weights
    assert found.weights == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.5}, "lewis_weights: p must be at least 1 and finite, got 0.5"),
        ({"p": np.inf}, "lewis_weights: p must be finite"),
        ({"tolerance": 0}, "lewis_weights: tolerance must be finite in"),
        ({"step": -1}, "lewis_weights: step must be finite in"),
        ({"max_iterations": 0}, "lewis_weights: max_iterations must be at least 1"),
        ({"A": np.full((3, 2), np.nan)}, "lewis_weights: A must be finite"),
        ({"A": np.zeros((3, 2))}, "lewis_weights: A must have a row that is not zero"),
        ({"A": np.ones((3, 2), complex)}, "lewis_weights: A must be of a real floating dtype"),
    ],
)
def test_bad_arguments_are_named(own_checks, change, message):
    arguments = {"A": np.eye(3), "p": 1, **change}
    with pytest.raises((ValueError, TypeError), match=message):
        lewis_weights(**arguments)


def test_the_map_refuses_weights_of_another_shape(own_checks):
    with pytest.raises(ValueError, match=r"lewis_map: log_weights must be of shape \(3,\)"):
        lewis_map(np.eye(3), np.zeros(2), 1)
