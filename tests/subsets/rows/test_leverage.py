"""Leverage scores against a QR, with what a Gram matrix loses given back."""

import mpmath
import numpy as np
import pytest
import torch

from fewtheory.arrays import to_numpy
from fewtheory.subsets import leverage_scores
from fewtheory.subsets.rows.blocks import InMemory
from fewtheory.subsets.rows.sketch import sketch

EPS = np.finfo(float).eps


def design(rng, n=400, d=5, condition=1.0):
    """A random matrix of this condition, whose scores the rows of U give."""
    U, _ = np.linalg.qr(rng.standard_normal((n, d)))
    V, _ = np.linalg.qr(rng.standard_normal((d, d)))
    return (U * np.geomspace(1, 1 / condition, d)) @ V, np.sum(U * U, axis=1)


@pytest.mark.parametrize("method", ["auto", "exact", "preconditioned"])
def test_scores_are_the_squared_rows_of_an_orthonormal_basis(rng, asarray, method):
    A, truth = design(rng)
    found = leverage_scores(asarray(A), method=method)
    assert type(found) is type(asarray(A))
    # a sum of n squares in the Gram matrix, at condition 1
    assert np.max(np.abs(to_numpy(found) / truth - 1)) < 400 * EPS


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e7, 1e9])
def test_the_error_grows_with_the_condition_not_its_square(rng, condition):
    A, truth = design(rng, condition=condition)
    # A itself is rounded, which moves scores by condition eps in units of sqrt(tau); beyond
    # ACCURATE = 1e3 the Gram matrix is taken again, below it eps condition^2 < 1e-9 is accepted
    allowed = 100 * EPS * max(condition, min(condition, 1e3) ** 2)
    found = leverage_scores(A)
    assert np.max(np.abs(found - truth) / np.sqrt(truth)) < allowed
    assert found.sum() == pytest.approx(5, abs=allowed)


def test_a_gram_matrix_alone_loses_the_square(rng):
    A, truth = design(rng, condition=1e6)
    lost = np.max(np.abs(leverage_scores(A, method="exact") - truth))
    assert lost > 1e3 * np.max(np.abs(leverage_scores(A) - truth))


def test_fifty_digits_agree():
    A = np.vander(np.linspace(0, 1, 9), 4)
    with mpmath.workdps(50):
        M = mpmath.matrix(A.tolist())
        G = (M.T * M) ** -1
        truth = [float((M[i, :] * G * M[i, :].T)[0]) for i in range(9)]
    condition = np.linalg.cond(A)
    assert leverage_scores(A) == pytest.approx(truth, rel=20 * EPS * condition**2)


def test_dependent_columns_leave_the_scores_of_the_row_space(rng, asarray):
    A, truth = design(rng, d=3)
    wide = np.concatenate([A, A @ rng.standard_normal((3, 2)), np.zeros((400, 1))], axis=1)
    found = to_numpy(leverage_scores(asarray(wide)))
    assert np.max(np.abs(found / truth - 1)) < 1e4 * EPS


def test_zero_rows_have_score_zero(rng):
    A = np.insert(design(rng)[0], 3, 0.0, axis=0)
    assert leverage_scores(A)[3] == 0


def test_columns_of_any_scale_make_no_difference(rng):
    A, truth = design(rng)
    scaled = A * np.array([1e-60, 1.0, 1e60, 1e-5, 1e5])
    assert np.max(np.abs(leverage_scores(scaled) / truth - 1)) < 1e4 * EPS


def test_blocks_and_threads_do_not_change_the_scores(rng, monkeypatch):
    A, _ = design(rng, n=3000)
    one = leverage_scores(A)
    monkeypatch.setattr("fewtheory.subsets.rows.blocks.IN_CACHE", 7)  # 64 rows a block
    many = leverage_scores(A)
    assert np.max(np.abs(many / one - 1)) < 3000 * EPS


def test_single_precision_in_and_out_double_within(rng):
    A = design(rng, condition=1e3)[0].astype(np.float32)
    found = leverage_scores(A)
    assert found.dtype == np.float32
    exact = leverage_scores(A.astype(np.float64))
    assert np.max(np.abs(found / exact - 1)) < np.finfo(np.float32).eps


def test_a_projection_multiplies_scores_by_a_chi_square_over_its_degrees(rng):
    A, truth = design(rng, n=50)
    ratios = np.stack(
        [leverage_scores(A, method="projected", width=16, rng=rng) / truth for _ in range(300)]
    )
    # each row's ratio is chi^2_16 / 16, variance 1/8, fourth central moment (12 + 48/16)/ (16 * 8)
    assert np.max(np.abs(ratios.mean(axis=0) - 1)) < 5 * np.sqrt(0.125 / 300)
    spread = np.sqrt((15 / 128 - 0.125**2) / 300)
    assert np.max(np.abs(((ratios - 1) ** 2).mean(axis=0) - 0.125)) < 6 * spread


def test_a_sketch_keeps_lengths_within_its_distortion(rng, asarray):
    A, truth = design(rng, n=2000, d=4)
    found = to_numpy(leverage_scores(asarray(A), method="sketched", width=2000, rng=rng))
    # 80 rows of 8 entries for d = 4: singular values within 1 +- sqrt(4/80) a few times over
    assert np.all((found / truth > 0.3) & (found / truth < 3))
    assert not np.allclose(found, truth, rtol=1e-6)


def test_a_sketch_has_the_same_gram_matrix_in_the_mean(rng):
    A, _ = design(rng, n=60, d=3)
    grams = [S.T @ S for S in (sketch(InMemory(A), 40, rng) for _ in range(400))]
    spread = np.std(grams, axis=0) / np.sqrt(400)
    assert np.all(np.abs(np.mean(grams, axis=0) - np.eye(3)) < 5 * spread + 1e-12)


def test_torch_draws_come_from_a_torch_generator(rng):
    A = torch.tensor(design(rng)[0])
    both = [
        leverage_scores(A, method="projected", rng=torch.Generator().manual_seed(3))
        for _ in range(2)
    ]
    assert torch.equal(*both)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": [[1.0]]}, "leverage_scores: A must be an array"),
        ({"A": np.ones(3)}, r"leverage_scores: A must be a matrix of shape \(n, d\)"),
        ({"A": np.ones((0, 2))}, r"leverage_scores: A must be a matrix of shape \(n, d\)"),
        ({"A": np.ones((3, 2), int)}, "leverage_scores: A must be of a real floating dtype"),
        ({"A": np.array([[1.0, np.nan], [1, 2]])}, "leverage_scores: A must be finite"),
        ({"A": np.array([[1.0, np.inf], [1, 2]])}, "leverage_scores: A must be finite"),
        ({"A": np.zeros((4, 2))}, "leverage_scores: A must have a row that is not zero"),
        ({"method": "fast"}, "leverage_scores: method must be one of"),
        ({"width": 3}, "leverage_scores: width must be left out for method 'auto'"),
        ({"method": "sketched", "width": 0}, "leverage_scores: width must be at least 1"),
        ({"method": "sketched"}, "leverage_scores: rng must be a"),
        ({"A": np.ones((4, 2)), "method": "exact"}, "leverage_scores: A must have independent"),
    ],
)
def test_bad_arguments_are_named(own_checks, change, message):
    arguments = {"A": np.eye(3)[:, :2], **change}
    with pytest.raises((ValueError, TypeError), match=message):
        leverage_scores(**arguments)
