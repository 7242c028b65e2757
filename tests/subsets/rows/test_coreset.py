"""Coresets: unbiased norms, families, flattening and rounds of root leverage."""

import itertools

import numpy as np
import pytest

from fewtheory.arrays import to_numpy
from fewtheory.subsets import (
    FAMILIES,
    Coreset,
    coreset,
    flatten,
    inclusion_probabilities,
    leverage_scores,
    lewis_weights,
    recursion_limit,
    root_leverage_coreset,
    rows_needed,
    scores,
    sensitivities,
)


def heavy(rng, n=300, d=3):
    """Gaussian rows times exp(N(0,1))."""
    return rng.standard_normal((n, d)) * np.exp(rng.standard_normal(n))[:, None]


def test_the_mean_over_all_outcomes_is_the_norm_itself(rng):
    A, p = heavy(rng, n=8), 1.5
    q = inclusion_probabilities(scores(A, p, "lewis"), 4)
    t = np.abs(A @ rng.standard_normal(3)) ** p
    mean = 0.0
    for kept in itertools.product([False, True], repeat=8):
        kept = np.array(kept)
        chance = np.prod(np.where(kept, q, 1 - q))
        C = Coreset(np.flatnonzero(kept), q[kept] ** (-1 / p), q[kept], p, 8)
        mean += chance * np.sum(C.weight**p * t[C.index])
    assert mean == pytest.approx(t.sum(), rel=1e-13)


@pytest.mark.parametrize("how", ["bernoulli", "fixed", "replacement"])
@pytest.mark.parametrize("p", [1, 3])
def test_reweighted_rows_keep_norms_in_the_mean(rng, how, p):
    A = heavy(rng, n=40)
    x, s = rng.standard_normal(3), scores(A, p, "lewis")
    norms = []
    for _ in range(400):
        C = coreset(A, p, 12, scores=s, draw=how, rng=rng)
        norms.append(np.sum(np.abs(C.rows(A) @ x) ** p))
    truth = np.sum(np.abs(A @ x) ** p)
    assert abs(np.mean(norms) - truth) < 5 * np.std(norms) / np.sqrt(400)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "uniform"])
def test_every_family_has_a_small_distortion_with_many_rows(rng, family):
    A = heavy(rng, n=2000, d=2)
    p = {"root-leverage": 1, "augmented": 1.5, "leverage+sensitivity": 3}.get(family, 2)
    C = coreset(A, p, 800, scores=family, reference=400, rng=rng)
    assert len(C.index) < 1000
    # eps ~ sqrt(d / m) for every one of them at constant d: .05
    assert C.distortion(A, rng=rng).lower < 0.2


def test_families_are_what_the_table_says(rng):
    A, p = heavy(rng, n=30), 1.5
    tau, sigma = leverage_scores(A), sensitivities(A, p).upper
    assert scores(A, p, "leverage") == pytest.approx(tau)
    assert scores(A, p, "root-leverage") == pytest.approx(tau**0.75)
    assert scores(A, p, "sensitivity") == pytest.approx(sigma)
    assert scores(A, p, "augmented") == pytest.approx(tau + sigma)
    assert scores(A, p, "lewis") == pytest.approx(lewis_weights(A, p).weights, rel=1e-5)
    three = sensitivities(A, 3).upper
    both = tau / tau.sum() + three / three.sum()
    assert scores(A, 3, "leverage+sensitivity") == pytest.approx(both)
    A[4] = 0
    assert scores(A, p, "uniform").tolist() == [1.0] * 4 + [0.0] + [1.0] * 25


def test_a_reference_stands_for_all_rows_up_to_its_distortion(rng):
    A = heavy(rng, n=3000, d=2)
    exact = sensitivities(A[:50], 1.5, against=A).upper
    near = scores(A, 1.5, "sensitivity", reference=1000, rng=rng)[:50]
    # eps ~ sqrt(d / m) of the norm, p times that of its p-th power; twice for the spread of draws
    assert near == pytest.approx(exact, rel=2 * 1.5 * np.sqrt(2 / 1000))


def test_the_cheapest_family_depends_on_the_total():
    # p > 2: sensitivities beat Lewis weights below S = d^{p^2 / (4 (p-1))}, the mixture below
    # d^{(p+2)/4}
    d, p = 1000, 4
    edge = d ** (p * p / (4 * (p - 1)))
    for S in (0.9 * edge, 1.1 * edge):
        sensitive, lewis = rows_needed("sensitivity", p, d, S), rows_needed("lewis", p, d, S)
        assert (sensitive < lewis) == (edge > S)
    for factor in (0.9, 1.1):
        S = factor * d ** ((p + 2) / 4)
        mixed = rows_needed("leverage+sensitivity", p, d, S)
        assert (mixed < rows_needed("lewis", p, d, S)) == (factor < 1)


def test_coresets_of_every_kind_of_array(rng, asarray):
    A = heavy(rng)
    C = coreset(asarray(A), 1, 20, rng=np.random.default_rng(0))
    D = coreset(A, 1, 20, rng=np.random.default_rng(0))
    assert C.index.tolist() == D.index.tolist()
    assert to_numpy(C.rows(asarray(A))) == pytest.approx(A[D.index] * D.weight[:, None])


@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_flattened_rows_keep_norms_and_have_equal_shares(rng, p):
    A = heavy(rng, n=40)
    sigma = sensitivities(A, p).upper
    B, copies = flatten(A, p, sigma)
    assert len(B) == copies.sum() <= 80
    x = rng.standard_normal(3)
    assert np.sum(np.abs(B @ x) ** p) == pytest.approx(np.sum(np.abs(A @ x) ** p), rel=1e-12)
    assert np.all(sensitivities(B, p).upper <= sigma.sum() / 40 * (1 + 1e-6))


def test_rounds_of_root_leverage_end_near_their_fixed_point(rng):
    A, p, eps = rng.standard_normal((30_000, 2)), 1, 0.5
    C, budgets = root_leverage_coreset(A, p, eps, rng=rng)
    limit = recursion_limit(2, eps, p)
    assert limit == 32
    # log(m / limit) is halved by a round at p = 1, until it is below .9
    expected, m = [], 30_000.0
    while (new := (m * 2) ** 0.5 / eps**2) < 0.9 * m:
        expected.append(new)
        m = new
    assert len(budgets) == pytest.approx(len(expected), abs=1)
    assert budgets[:2] == pytest.approx(expected[:2], rel=0.2)
    assert 0.5 * limit < len(C.index) < 3 * limit
    assert C.distortion(A, rng=rng).lower < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": 0.9}, "coreset: p must be at least 1"),
        ({"m": 2}, r"coreset: m must be finite in \[3, inf\], got 2"),
        ({"m": 5.5, "draw": "fixed"}, "coreset: m must be an integer"),
        ({"draw": "best"}, "coreset: draw must be one of"),
        ({"scores": "wolf"}, "coreset: family must be one of"),
        ({"scores": np.ones(4)}, r"coreset: scores must be a family or of shape \(300,\)"),
        ({"scores": "root-leverage", "p": 3}, r"p must be in \[1, 2\] for 'root-leverage'"),
        ({"scores": "leverage+sensitivity"}, r"p must be in \[2, inf\]"),
        ({"scores": "sensitivity", "reference": 1}, "scores: reference must be at least 3"),
        ({"rng": 0}, "coreset: rng must be a"),
        ({"A": np.full((300, 3), np.nan)}, "A must be finite"),
        ({"A": np.ones(3)}, "coreset: A must be a matrix"),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, change, message):
    arguments = {"A": heavy(rng), "p": 1, "m": 20, "rng": rng, **change}
    A, p, m = (arguments.pop(name) for name in ("A", "p", "m"))
    with pytest.raises((ValueError, TypeError), match=message):
        coreset(A, p, m, **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flatten(np.eye(2), 1, np.ones(3)), r"flatten: sensitivities must be of shape"),
        (lambda: flatten(np.eye(2), 1, np.zeros(2)), "flatten: sensitivities must be finite"),
        (lambda: rows_needed("lewis", 1, 4, 5.0), r"rows_needed: total must be in \[2, 4\]"),
        (lambda: recursion_limit(2, 0, 1), "recursion_limit: distortion must be finite in"),
        (lambda: recursion_limit(2, 0.1, 3), "recursion_limit: p must be in"),
        (lambda: root_leverage_coreset(np.eye(2), 1, 0.1, shrink=1, rng=None), "shrink must be"),
        (lambda: Coreset(*[np.ones(1)] * 3, 1.0, 2).rows(np.eye(3)), "A must be of 2 rows"),
    ],
)
def test_bad_arguments_of_the_others_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
