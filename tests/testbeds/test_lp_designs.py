"""Designs with known l_p scores: known answers, and the definition on a grid of directions."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fewtheory import testbeds
from fewtheory.testbeds import lp_designs as designs
from fewtheory.testbeds.two_blocks import TwoBlocks, rank_probability

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "lp-sensitivity.json").read_text())


def known(words):
    """The only known answer whose description has these words."""
    (found,) = [k for k in KNOWN if words in k["what"]]
    return found["inputs"], found["expected"], found["tolerance"]


def test_sensitivities_of_a_hyperplanes_basis_are_the_known_ones():
    given, expected, tolerance = known("l_p sensitivities of any basis")
    design = designs.codimension_one(given["c"])
    for p, answer in zip(given["p"], expected, strict=True):
        np.testing.assert_allclose(design.sensitivities(p), answer["sensitivities"], rtol=tolerance)
        assert design.total(p) == pytest.approx(answer["total"], rel=tolerance)


def test_lewis_weights_of_a_hyperplanes_basis_are_the_known_ones():
    given, expected, tolerance = known("Lewis weights of any basis")
    design = designs.codimension_one(given["c"])
    for p, answer in zip(given["p"], expected, strict=True):
        np.testing.assert_allclose(design.lewis_weights(p), answer, rtol=tolerance)


def test_totals_of_half_polygons_are_the_known_ones():
    given, expected, tolerance = known("half polygon")
    found = [designs.half_polygon(n).total(1) for n in given["n"]]
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_totals_of_cubes_are_the_known_ones():
    given, expected, tolerance = known("hypercube")
    for p in (1, 4):
        found = [designs.cube(d).total(p) for d in given["d"]]
        np.testing.assert_allclose(found, expected[f"p{p}"], rtol=tolerance)


def test_totals_of_spheres_are_the_known_ones():
    given, expected, tolerance = known("sphere")
    found = [designs.sphere_total(int(d), p) for d, p in given["d_p"]]
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_cuts_of_graphs_are_the_known_ones():
    given, expected, tolerance = known("cycle graph")
    found = designs.cycle_graph(given["weights"]).sensitivities(1)
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    given, expected, tolerance = known("complete graph")
    complete = designs.complete_graph(given["N"])
    np.testing.assert_allclose(complete.sensitivities(1), expected["each"], rtol=tolerance)
    assert complete.total(1) == pytest.approx(expected["total"], rel=tolerance)


PLANE = [
    designs.half_polygon(5),
    designs.cube(2),
    designs.codimension_one([1.0, 0.5, 2.0]),
    designs.direct_sum([designs.one_column([1.0, 2.0]), designs.one_column([3.0, 0.5])]),
    designs.axes(2, copies=3),
]


@pytest.mark.parametrize("design", PLANE)
@pytest.mark.parametrize("p", [1, 1.5, 3])
def test_no_direction_of_the_plane_has_a_larger_share(design, p):
    angles = np.pi * np.arange(20000) / 20000
    size = np.abs(design.A @ np.stack([np.cos(angles), np.sin(angles)])) ** p
    best = (size / size.sum(axis=0)).max(axis=1)
    exact = design.sensitivities(p)
    assert np.all(best <= exact * (1 + 1e-12))
    # half a step of the grid is 8e-5: the best direction is missed by it, in first order (p = 1)
    np.testing.assert_allclose(best, exact, rtol=2e-3)


def test_spherical_rows_approach_the_spheres_total(rng):
    # mean of 1 / (n mean |u.a|^p): relative error O(1/sqrt(n)) of each row's mean
    A = designs.sphere_rows(4000, 3, rng=rng)
    leverage = np.einsum("ij,jk,ik->i", A, np.linalg.inv(A.T @ A), A)
    np.testing.assert_allclose(np.linalg.norm(A, axis=1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(leverage, 3 / 4000, rtol=0.2)


def test_the_figures_world_has_flat_rows_a_line_and_large_rows(rng):
    A = designs.mixed_rows(rng=rng)
    assert A.shape == (120, 3)
    assert np.linalg.matrix_rank(A[100:112]) == 1
    assert np.abs(A[:100, 2]).max() < 0.1 < 5 < np.abs(A[112:]).max()


def test_rank_probability_is_that_of_enumeration():
    # one dimension, two rows of the sphere, two copies of one axis: (1 - (1-q1)^2)(1 - (1-q2)^2)
    assert rank_probability(1, (2, 2), (0.25, 0.5)) == pytest.approx((1 - 0.75**2) * (1 - 0.25))


def test_half_of_the_samples_keep_the_rank_at_the_median_budget():
    for family in ("sensitivity", "lewis", "augmented"):
        bed = TwoBlocks(16)
        totals = bed.totals(family)
        assert bed.success(bed.median_budget(totals), totals) == pytest.approx(0.5, abs=1e-9)


def test_the_two_blocks_have_the_rows_that_they_say(rng):
    bed = TwoBlocks(2, per_dimension=5, copies=3)
    A = bed.rows(rng=rng)
    assert A.shape == (16, 4)
    assert np.linalg.matrix_rank(A) == bed.d


def test_the_package_shows_the_designs():
    assert testbeds.lp_designs.simplex(2).total(1) == pytest.approx(1.5)
    assert testbeds.TwoBlocks is TwoBlocks


def test_a_design_without_lewis_weights_says_so():
    with pytest.raises(ValueError, match="must have Lewis weights in closed form"):
        designs.complete_graph(4).lewis_weights(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: designs.codimension_one([1.0]), "codimension_one: c must be one-dimensional"),
        (lambda: designs.codimension_one([0.0, 1.0]), "with two entries that are not 0"),
        (lambda: designs.codimension_one([1.0, math.nan]), "codimension_one: c must be finite"),
        (lambda: designs.half_polygon(1), "half_polygon: n must be at least 2, got 1"),
        (lambda: designs.cube(21), r"cube: d must be in \[1, 20\], got 21"),
        (lambda: designs.simplex(0), "simplex: d must be at least 1, got 0"),
        (lambda: designs.sphere_total(3, 0.5), "sphere_total: p must be finite in"),
        (lambda: designs.cube(3).sensitivities(math.inf), "sensitivities: p must be finite"),
        (lambda: designs.direct_sum([]), "direct_sum: designs must be one design or more"),
        (lambda: designs.one_column([0.0]), "one_column: a must be not all 0"),
        (lambda: designs.axes(0), "axes: k must be at least 1"),
        (lambda: designs.heavy_row(small=0.0), "heavy_row: small must be finite in"),
        (lambda: designs.graph([[0, 0]]), "graph: edges must be pairs of two nodes"),
        (lambda: designs.graph([[0.0, 1.0]]), "graph: edges must be integers of shape"),
        (lambda: designs.graph([[0, 1]], [0]), "graph: weights must be one positive integer"),
        (lambda: designs.graph([[0, 1]], [0.5]), "graph: weights must be one positive integer"),
        (lambda: designs.complete_graph(4).sensitivities(2), "graph: p must be 1, got 2"),
        (lambda: TwoBlocks(0), "TwoBlocks: k must be at least 1"),
        (lambda: TwoBlocks(2).totals("best"), "TwoBlocks.totals: family must be one of"),
        (lambda: TwoBlocks(2).success(-1.0, (1.0, 1.0)), "TwoBlocks.success: m must be finite"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_draw_needs_a_generator(own_checks):
    for call in (lambda: designs.sphere_rows(3, 2, rng=0), lambda: designs.mixed_rows(rng=0)):
        with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator"):
            call()
