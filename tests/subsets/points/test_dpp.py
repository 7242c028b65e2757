"""Projection DPPs: the chain rule, its kernel and its twin, matrix models, pools."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from fewtheory.arrays import to_numpy
from fewtheory.subsets.points import dpp as chain
from fewtheory.subsets.points._dpp_kernels import judge_kernel
from fewtheory.subsets.points.dpp import (
    DPPDraw,
    dpp,
    dpp_density,
    expected_proposals,
    judge,
    projection_dpp,
)
from fewtheory.subsets.points.ensembles import (
    ensemble,
    fourier_ensemble,
    hermite_ensemble,
    jacobi_ensemble,
    largest_probability,
    pair_moment,
    sum_variance,
)
from fewtheory.subsets.points.spaces import FeatureSpace, PolySpace

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "dpp-wls.json").read_text())
EPS = np.finfo(np.float64).eps


def known(words):
    (found,) = [k for k in KNOWN if words in k["what"]]
    return found


def test_linear_statistics_are_the_known_ones():
    given = known("variance of the sum")
    spaces = [PolySpace("legendre", m - 1) for m in given["inputs"]["m"]]
    for function, key in ((sum_variance, "variance"), (pair_moment, "pair")):
        found = [function(space) for space in spaces]
        np.testing.assert_allclose(found, given["expected"][key], rtol=given["tolerance"])


def test_the_law_of_the_largest_point_is_the_known_one():
    given = known("P(largest point <= t)")
    space = PolySpace("legendre", given["inputs"]["m"] - 1)
    found = [largest_probability(space, t) for t in given["inputs"]["t"]]
    np.testing.assert_allclose(found, given["expected"], rtol=given["tolerance"], atol=1e-14)


@pytest.mark.parametrize("name", ["legendre", "hermite", "chebyshev"])
def test_the_largest_point_has_a_distribution_function(name):
    space = PolySpace(name, 3)
    ends = (-9.0, 9.0) if name == "hermite" else (-1.0, 1.0)
    found = [largest_probability(space, t) for t in (ends[0], 0.3, 0.5, ends[1])]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(1, abs=1e-9)


def test_numbers_of_proposals_are_the_known_ones():
    given = known("mean number of proposals")
    found = [expected_proposals(m) for m in given["inputs"]["m"]]
    np.testing.assert_allclose(found, given["expected"], rtol=given["tolerance"])


def test_the_kernel_decides_as_its_twin(rng):
    phi, v = rng.standard_normal((200, 7)), rng.random(200)
    phi[50] = phi[49]  # a repeated proposal
    one, two = np.zeros((7, 7)), np.zeros((7, 7))
    a, b = judge(phi, v, one, 0), judge_kernel(phi, v, two, 0)
    np.testing.assert_array_equal(a[0], b[0])
    assert a[1:] == b[1:]
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)


def test_a_row_within_the_span_is_never_accepted():
    for decide in (judge, judge_kernel):
        basis = np.zeros((2, 2))
        phi = np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [2.0, 1.0]])
        picked, found, used = decide(phi, np.zeros(4), basis, 0)
        assert (picked.tolist(), found, used) == ([0, 3], 2, 4)


def test_the_basis_stays_orthonormal_at_a_hundred_functions(rng):
    x = PolySpace("legendre", 99).draw_optimal(3000, rng=rng)
    phi = PolySpace("legendre", 99).features(x)
    for decide in (judge, judge_kernel):
        basis = np.zeros((100, 100))
        assert decide(phi, rng.random(3000), basis, 0)[1] == 100
        np.testing.assert_allclose(basis @ basis.T, np.eye(100), atol=100 * 32 * EPS)


def test_blocks_do_not_change_what_is_drawn_from_a_pool(rng):
    # one proposal at a time against all at once: the same law, compared by pair counts
    space = FeatureSpace(rng.standard_normal((5, 2)))
    pairs = list(itertools.combinations(range(5), 2))
    Q = space.rows / math.sqrt(5)
    p = np.array([np.linalg.det(Q[list(s)]) ** 2 for s in pairs])
    assert p.sum() == pytest.approx(1)
    for how in ({"block": 1}, {"block": 3, "compiled": False}, {}, {"method": "sequential"}):
        seen = Counter(
            tuple(sorted(projection_dpp(space, rng=rng, **how).x.tolist())) for _ in range(400)
        )
        assert chisquare([seen[s] for s in pairs], 400 * p).pvalue > 1e-6, how


@pytest.mark.parametrize("method", ["rejection", "sequential"])
def test_fewer_points_than_the_rank_have_the_law_of_a_k_dpp(method, rng):
    A = rng.standard_normal((5, 3))
    K = FeatureSpace(A).rows @ FeatureSpace(A).rows.T / 5
    pairs = list(itertools.combinations(range(5), 2))
    p = np.array([np.linalg.det(K[np.ix_(s, s)]) for s in pairs]) / 3  # e_2(1, 1, 1) = 3
    assert p.sum() == pytest.approx(1)
    space = FeatureSpace(A)
    seen = Counter(
        tuple(sorted(projection_dpp(space, size=2, method=method, rng=rng).x.tolist()))
        for _ in range(800)
    )
    assert chisquare([seen[s] for s in pairs], 800 * p).pvalue > 1e-6


def test_weights_of_rows_count(rng):
    A, mu = rng.standard_normal((4, 2)), np.array([0.1, 0.2, 0.3, 0.4])
    pairs = list(itertools.combinations(range(4), 2))
    Q = np.linalg.qr(A * np.sqrt(mu)[:, None])[0]
    p = np.array([np.linalg.det(Q[list(s)]) ** 2 for s in pairs])
    space = FeatureSpace(A, mu)
    seen = Counter(tuple(sorted(dpp(space, rng=rng).tolist())) for _ in range(600))
    assert chisquare([seen[s] for s in pairs], 600 * p).pvalue > 1e-6


@pytest.mark.parametrize("name", ["legendre", "hermite", "chebyshev", "fourier"])
def test_matrix_models_and_the_chain_rule_agree(name, rng):
    space = PolySpace(name, 2)
    x = np.stack([projection_dpp(space, method="rejection", rng=rng).x for _ in range(120)])
    y = ensemble(space, repeats=4000, rng=rng)
    for statistic in (
        lambda z: (z**2).sum(1),
        lambda z: np.cos(z).prod(1),
        lambda z: np.abs(z).max(1),
    ):
        a, b = statistic(x), statistic(y)
        gap = abs(a.mean() - b.mean()) / math.sqrt(a.var() / len(a) + b.var() / len(b))
        assert gap < 6


def test_an_uneven_jacobi_weight_has_its_known_mean(rng):
    # E sum x_i = sum of diagonal recurrence coefficients; first: (b - a) / (a + b + 2)
    x = jacobi_ensemble(1, 1.0, 2.5, repeats=20_000, rng=rng)
    assert x.mean() == pytest.approx(1.5 / 5.5, abs=6 * x.std() / math.sqrt(x.size))
    a, b, m = 1.0, 2.5, 3
    k = np.arange(1, m)
    expected = (b - a) / (a + b + 2) + np.sum(
        (b * b - a * a) / ((2 * k + a + b) * (2 * k + a + b + 2))
    )
    total = jacobi_ensemble(m, a, b, repeats=20_000, rng=rng).sum(axis=1)
    assert total.mean() == pytest.approx(expected, abs=6 * total.std() / math.sqrt(20_000))


def test_large_matrices_take_the_tridiagonal_solver(rng):
    for model in (hermite_ensemble, jacobi_ensemble):
        x = model(40, repeats=300, rng=rng)
        assert x.shape == (300, 40)
        assert np.all(np.diff(x, axis=1) > 0)
    # rigidity: the sum of 40 points varies by 1/4, as that of one
    assert x.sum(axis=1).var() == pytest.approx(0.25, rel=0.6)


def test_points_of_the_circle_repel(rng):
    x = fourier_ensemble(7, repeats=2000, rng=rng)
    gaps = np.diff(x, axis=1)
    # two points within .02 of the circle: density 1 - (sin / sin)^2 leaves next to none
    assert (gaps < 0.02).mean() < 0.01
    assert x.min() >= 0
    assert x.max() < 1


def test_a_space_with_gaps_is_drawn_by_rejection(rng):
    space = PolySpace("legendre", dim=3, indices=[(0, 0, 0), (2, 1, 0), (0, 0, 5)])
    draw = projection_dpp(space, rng=rng)
    assert isinstance(draw, DPPDraw)
    assert draw.x.shape == (3, 3)
    assert draw.proposals >= 3
    assert abs(np.linalg.det(space.features(draw.x))) > 0


def test_indices_are_of_the_library_of_the_pool(asarray, rng):
    A = asarray(rng.standard_normal((30, 4)))
    index = dpp(A, rng=rng)
    assert type(index) is type(A)
    assert sorted(set(to_numpy(index).tolist())) == sorted(to_numpy(index).tolist())
    assert len(to_numpy(dpp(A, 2, rng=rng))) == 2


def test_torch_generators_give_the_same_rows_again():
    A = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    one, two = (dpp(A, rng=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


def test_the_density_is_a_square(asarray):
    phi = np.array([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]])
    np.testing.assert_allclose(to_numpy(dpp_density(asarray(phi))), [2.0, 0.5], rtol=8 * EPS)


def test_memory_bounds_the_block(monkeypatch):
    monkeypatch.setattr(chain, "LARGEST_BLOCK", 50)
    assert chain._proposals_wanted(10, 10) == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: dpp(np.ones((4, 2)), 2, rng=r),
            r"projection_dpp: size must be in \[1, 1\], got 2",
        ),
        (
            lambda r: projection_dpp(PolySpace("legendre", 2), method="luck", rng=r),
            "method must be",
        ),
        (
            lambda r: projection_dpp(PolySpace("legendre", 2), method="sequential", rng=r),
            "method must be 'rejection' or 'ensemble' unless points are rows",
        ),
        (
            lambda r: projection_dpp(PolySpace("legendre", 2, dim=2), method="ensemble", rng=r),
            "this space has no matrix model",
        ),
        (
            lambda r: projection_dpp(PolySpace("legendre", 2), block=0, rng=r),
            "block must be at least",
        ),
        (lambda r: dpp_density(np.ones((2, 3))), "dpp_density: phi must be of shape"),
        (lambda r: expected_proposals(0), "expected_proposals: m must be at least 1"),
        (lambda r: expected_proposals(3, 4), r"expected_proposals: size must be in \[1, 3\]"),
        (
            lambda r: ensemble(PolySpace("fourier", indices=[0, 1]), rng=r),
            "ensemble: space must be",
        ),
        (lambda r: hermite_ensemble(0, rng=r), "hermite_ensemble: m must be at least 1"),
        (lambda r: fourier_ensemble(3, repeats=0, rng=r), "fourier_ensemble: repeats must be"),
        (lambda r: jacobi_ensemble(3, -1, rng=r), "jacobi_ensemble: a must be more than -1"),
        (lambda r: jacobi_ensemble(3, 0, -2, rng=r), "jacobi_ensemble: b must be finite in"),
        (
            lambda r: sum_variance(PolySpace("fourier", 2)),
            "sum_variance: space must be polynomials",
        ),
        (lambda r: pair_moment(PolySpace("fourier", 2)), "pair_moment: space must be polynomials"),
        (
            lambda r: largest_probability(PolySpace("legendre", 2), math.nan),
            "largest_probability: t must be finite",
        ),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(rng)
