"""Samples with weights, volume sampling, least squares and its bounds, kernels, real features."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from fewtheory import zoo
from fewtheory.arrays import to_numpy
from fewtheory.subsets.points.designs import (
    Sample,
    UnstableDesign,
    gram,
    greedy_removal,
    lambda_min,
    sample,
)
from fewtheory.subsets.points.guarantees import (
    expected_draws,
    expected_inverse,
    expected_noise_error,
    expected_noise_vector,
    noise_overlap,
    points_for_stability,
    quasi_optimality,
    stability_probability,
    stability_rate,
)
from fewtheory.subsets.points.kernels import (
    Kernel,
    kappa,
    kernel_space,
    natural_reference,
    residual_diagonal,
    sobolev_kernel,
    sobolev_values,
)
from fewtheory.subsets.points.least_squares import error_terms, rkhs_bound, sup_bound, wls
from fewtheory.subsets.points.reference import Reference, reference
from fewtheory.subsets.points.spaces import FeatureSpace, PolySpace, christoffel
from fewtheory.subsets.points.volume import (
    removal_probabilities,
    reverse_removal,
    volume_density,
    volume_sample,
)

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "dpp-wls.json").read_text())
EPS = np.finfo(np.float64).eps
V = PolySpace("legendre", 4)


def known(words):
    (found,) = [k for k in KNOWN if words in k["what"]]
    return found


def subset_law(A, n):
    now = {tuple(range(len(A))): 1.0}
    while len(next(iter(now))) > n:
        after = Counter()
        for rows, p in now.items():
            for i, q in enumerate(removal_probabilities(A[list(rows)])):
                after[rows[:i] + rows[i + 1 :]] += p * q
        now = after
    return now


def test_reverse_removal_has_the_known_law():
    given = known("without replacement: law of the subset")
    A, n = np.array(given["inputs"]["A"], dtype=float), given["inputs"]["n"]
    law = subset_law(A, n)
    found = [law[s] for s in itertools.combinations(range(len(A)), n)]
    np.testing.assert_allclose(found, given["expected"], rtol=0, atol=given["tolerance"])


def test_size_m_volume_sampling_has_the_known_loss():
    given = known("size-m volume sampling, labels")
    A = np.array(given["inputs"]["A"], dtype=float)
    y = np.array([(3 * i * i + 2 * i + 1) % 7 for i in range(5)], dtype=float)
    full = np.linalg.lstsq(A, y)[0]
    np.testing.assert_allclose(full, given["expected"]["w"], rtol=1e-9)
    law = subset_law(A, 2)
    losses = {s: ((A @ np.linalg.solve(A[list(s)], y[list(s)]) - y) ** 2).sum() for s in law}
    mean = sum(p * losses[s] for s, p in law.items())
    assert mean == pytest.approx(given["expected"]["expected_loss"], rel=given["tolerance"])


def test_stability_constants_are_the_known_ones():
    given = known("i.i.d. optimal sampling: c_delta")
    triples = given["inputs"]["m_delta_eta"]
    found = [stability_rate(d) for _, d, _ in triples]
    np.testing.assert_allclose(found, given["expected"]["c"], rtol=given["tolerance"])
    assert [points_for_stability(m, d, eta) for m, d, eta in triples] == given["expected"]["n"]


def test_the_noise_vector_is_the_known_one():
    given = known("noise vector b")["expected"]
    x, w = np.polynomial.legendre.leggauss(60)
    phi = PolySpace("legendre", 2).features(x)
    g = x**6 - phi @ (phi.T @ (x**6 * w / 2))
    T = noise_overlap(phi, g, w / 2)
    assert float(w @ g**2 / 2) == pytest.approx(given["g2"], rel=1e-10)
    assert T == pytest.approx(given["T"], rel=1e-10)
    assert expected_noise_vector(given["g2"], 9, 3) == pytest.approx(given["iid"], rel=1e-10)
    found = expected_noise_vector(given["g2"], 9, 3, T, kind="repeated_dpp")
    assert found == pytest.approx(given["rdpp"], rel=1e-10)


@pytest.mark.parametrize("method", ["rejection", "direct"])
def test_both_ways_of_removal_draw_that_law(method, rng):
    A = np.array([[1.0, 0], [1, 1], [1, 2], [1, 4], [1, 5]])
    law = subset_law(A, 3)
    space = FeatureSpace(A)
    n = 600
    seen = Counter(
        tuple(sorted(reverse_removal(space, 3, method=method, rng=rng).tolist())) for _ in range(n)
    )
    assert chisquare([seen[s] for s in law], n * np.array(list(law.values()))).pvalue > 1e-6


def test_removal_keeps_rows_without_which_the_rank_falls(rng):
    A = np.zeros((12, 3))
    A[:10, :2] = rng.standard_normal((10, 2))
    A[10, 2] = 1.0
    A[11, 2] = 1e-3
    for _ in range(20):
        left = reverse_removal(A, 3, rng=rng)
        assert np.linalg.matrix_rank(A[left]) == 3


def test_removal_is_of_the_kind_of_the_rows(asarray, rng):
    A = asarray(rng.standard_normal((12, 3)))
    left = reverse_removal(A, 5, rng=rng)
    assert type(left) is type(A)
    assert len(set(to_numpy(left).tolist())) == 5


def test_volume_density_is_the_determinant(asarray, rng):
    phi, w = rng.standard_normal((4, 5, 2)), rng.random((4, 5))
    G = np.einsum("sni,sn,snj->sij", phi, w, phi)
    found = to_numpy(volume_density(asarray(phi), asarray(w)))
    np.testing.assert_allclose(found, np.linalg.det(G) / 20, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "how", "size"),
    [
        ("iid", {"n": 30}, 30),
        ("iid", {"n": 30, "reference": "mixture"}, 30),
        ("volume", {"n": 20, "reference": "mu"}, 20),
        ("dpp", {}, 5),
        ("repeated_dpp", {"repeats": 3}, 15),
        ("repeated_dpp", {"n": 15}, 15),
    ],
)
def test_every_kind_gives_points_weights_and_its_own_gram_matrix(kind, how, size, rng):
    S = sample(V, kind, rng=rng, **how)
    assert (S.n, S.draws, S.kind, S.index) == (size, 1, kind, None)
    nu = reference(V, how.get("reference", "optimal"))
    np.testing.assert_allclose(S.weight, nu.weight(S.x), rtol=1e-12)
    G = gram(V.features(S.x), S.weight)
    assert S.lambda_min == pytest.approx(max(np.linalg.eigvalsh(G)[0], 0), abs=1e-12)


def test_conditioning_hands_out_stable_samples_only(rng):
    found = [sample(V, "iid", n=20, delta=0.5, rng=rng) for _ in range(30)]
    assert min(s.lambda_min for s in found) >= 0.5 - 1e-12
    assert max(s.draws for s in found) > 1


def test_a_hopeless_condition_ends_with_the_facts(rng):
    with pytest.raises(UnstableDesign, match=r"max_draws = 5 of kind 'iid' \(n = 5, m = 5"):
        sample(V, "iid", n=5, delta=0.5, max_draws=5, rng=rng)


def test_greedy_removal_keeps_about_a_quarter(rng):
    # sheet dpp-wls, Figure: from 50 points at m = 10, 11.5 on average, 10 to 13
    space = PolySpace("legendre", 9)
    left = []
    for _ in range(6):
        S = sample(space, repeats=5, delta=0.5, rng=rng)
        thin = greedy_removal(space, S)
        assert thin.lambda_min >= 0.5 - 1e-12
        assert lambda_min(space.features(thin.x), thin.weight) == pytest.approx(thin.lambda_min)
        assert set(thin.x.tolist()) <= set(S.x.tolist())
        left.append(thin.n)
    assert 10 <= min(left)
    assert max(left) <= 14
    assert np.mean(left) == pytest.approx(11.5, abs=1.5)


def test_a_function_of_the_space_is_found_exactly(asarray, rng):
    S = sample(V, "volume", n=12, rng=rng)
    y = S.x**3 - 2 * S.x + 1
    fit = wls(V, S, asarray(y))
    assert type(fit.coef) is type(asarray(y))
    x = np.linspace(-1, 1, 9)
    # errors are amplified by lambda_min^{-1/2}
    bound = 256 * EPS / math.sqrt(S.lambda_min)
    np.testing.assert_allclose(to_numpy(fit.predict(x)), x**3 - 2 * x + 1, rtol=0, atol=bound)
    assert fit.residual <= bound**2


def test_the_fit_is_the_minimiser(rng):
    S = sample(V, repeats=3, rng=rng)
    y = np.exp(S.x)
    fit, root = wls(V, S, y), np.sqrt(S.weight)
    expected = np.linalg.lstsq(root[:, None] * V.features(S.x), root * y)[0]
    np.testing.assert_allclose(fit.coef, expected, rtol=0, atol=1e-10)
    many = wls(V, S, np.stack([y, 2 * y], axis=1))
    np.testing.assert_allclose(many.coef, np.stack([fit.coef, 2 * fit.coef], axis=1), atol=1e-10)
    G = gram(V.features(S.x), S.weight)
    assert fit.noise_error(2.0) == pytest.approx(2 * np.trace(np.linalg.inv(G)) / S.n)


def test_weights_cancel_where_the_fit_interpolates(rng):
    S = sample(V, "dpp", rng=rng)
    other = Sample(S.x, None, np.ones(5), S.lambda_min, 1, "dpp")
    one, two = wls(V, S, np.exp(S.x)), wls(V, other, np.exp(S.x))
    np.testing.assert_allclose(one.coef, two.coef, rtol=0, atol=1e-9)


def test_the_error_is_what_its_terms_say(rng):
    # |f - fhat|^2 = |g|^2 + |G^{-1} b|^2, and the excess is at most mean(w g^2) / lambda_min
    x, w = np.polynomial.legendre.leggauss(40)
    c = V.features(x).T @ (np.exp(x) * w / 2)
    S = sample(V, "iid", n=25, rng=rng)
    g = np.exp(S.x) - V.features(S.x) @ c
    excess, _, noise = error_terms(V.features(S.x), S.weight, g)
    fit = wls(V, S, np.exp(S.x))
    assert ((fit.coef - c) ** 2).sum() == pytest.approx(excess, rel=1e-6)
    assert excess <= noise / S.lambda_min


def test_gradients_flow_through_the_fit():
    A = torch.randn(40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    S = sample(FeatureSpace(A), repeats=3, rng=torch.Generator().manual_seed(1))
    y = A[S.index, 0].clone().requires_grad_()
    wls(FeatureSpace(A), S, y).coef.sum().backward()
    assert torch.isfinite(y.grad).all()
    assert y.grad.abs().max() > 0


def test_single_precision_answers_give_single_precision_fits(rng):
    S = sample(V, repeats=3, rng=rng)
    one, two = wls(V, S, np.exp(S.x).astype(np.float32)), wls(V, S, np.exp(S.x))
    assert one.coef.dtype == np.float32
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(one.coef, two.coef, atol=64 * eps / math.sqrt(S.lambda_min))


def test_last_layer_features_of_a_network_choose_their_own_labels(one_thread):
    # rows = features of a frozen network over a pool of images, torch in and out; the answer is
    # the network's own logit, linear in the features, so m labels find it
    images = zoo.data.digits("held-out").x
    network = zoo.load("digits-classifier").network
    with torch.no_grad():
        features, logits = network.features(images), network(images)
    A = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    space = FeatureSpace(A)
    S = sample(space, repeats=2, rng=torch.Generator().manual_seed(0))
    assert S.weight.dtype == torch.float32
    fit = wls(space, S, logits[S.index])
    # single-precision logits, amplified by the condition of the fit
    bound = 64 * torch.finfo(torch.float32).eps * float(logits.abs().max())
    gap = fit.predict(torch.arange(len(A))) - logits
    assert gap.abs().max() <= bound * 33 / math.sqrt(S.lambda_min)


def test_on_pixels_dpps_determine_a_fit_that_uniform_choice_does_not(rng):
    # 61 pixels and a constant over 360 digits: some pixels are lit in a handful of images alone
    images = to_numpy(zoo.data.digits("held-out").x).reshape(360, -1).astype(np.float64)
    space = FeatureSpace(np.column_stack([images, np.ones(360)]))
    y = np.abs(images).sum(axis=1)
    best = space.rows @ (space.rows.T @ y / 360)
    floor = ((best - y) ** 2).mean()
    loss = []
    for _ in range(5):
        S = sample(space, repeats=2, rng=rng)
        fit = wls(space, S, y[S.index])
        loss.append(((fit.predict(np.arange(360)) - y) ** 2).mean() / floor)
    uniform = [sample(space, "iid", n=S.n, reference="mu", rng=rng).lambda_min for _ in range(5)]
    assert max(uniform) < 1e-10
    assert np.median(loss) < 10


def test_a_reference_of_ones_own_is_used(rng):
    nu = Reference(
        "left", lambda n, rng: 2 * rng.random(n) ** 2 - 1, lambda x: np.sqrt((x + 1) * 2)
    )
    S = sample(V, "iid", n=20, reference=nu, rng=rng)
    np.testing.assert_allclose(S.weight, np.sqrt((S.x + 1) * 2))
    assert volume_sample(V, 8, nu=nu, rng=rng).shape == (8,)


@pytest.mark.parametrize("nu", ["mu", "optimal", "mixture"])
def test_reference_laws_undo_themselves(nu, rng):
    # E_nu w = 1, and E_nu w x^2 = 1/3
    law = reference(V, nu)
    x = law.draw(20_000, rng)
    w = law.weight(x)
    for values, expected in ((w, 1.0), (w * x * x, 1 / 3)):
        assert values.mean() == pytest.approx(expected, abs=6 * values.std() / 141 + 1e-12)


def test_the_natural_reference_draws_what_it_weighs(rng):
    t = np.linspace(0.1, 1, 12)
    space, kernel = kernel_space(np.minimum(t[:, None], t), 3)
    nu = natural_reference(space, kernel)
    p = space.weights / nu.weight(np.arange(12))
    assert p.sum() == pytest.approx(1)
    assert chisquare(np.bincount(nu.draw(4000, rng), minlength=12), 4000 * p).pvalue > 1e-6
    circle = PolySpace("fourier", 2)
    uniform = natural_reference(circle, sobolev_kernel(circle))
    np.testing.assert_allclose(uniform.weight(uniform.draw(5, rng)), 1.0)


def test_eigenfunctions_of_a_kernel_span_its_space():
    t = np.linspace(0.1, 1, 12)
    K = np.minimum(t[:, None], t)
    space, kernel = kernel_space(K, 4)
    # int k(x, y) phi_j(y) dmu(y) = lambda_j phi_j(x)
    bound = 1024 * EPS * kernel.trace
    np.testing.assert_allclose(K @ space.rows / 12, space.rows * kernel.eigenvalues, atol=bound)
    assert kernel.trace == pytest.approx(np.trace(K) / 12)
    rest = residual_diagonal(kernel, space, np.arange(12))
    assert rest @ np.full(12, 1 / 12) == pytest.approx(kernel.trace - kernel.eigenvalues.sum())


def test_the_sobolev_kernel_is_its_series():
    x, y, j = 0.3, 0.85, np.arange(1, 200_001)
    series = 1 + 2 * (np.cos(2 * np.pi * j * (x - y)) / j**2).sum()
    assert sobolev_values(np.array([x]), np.array([y]))[0] == pytest.approx(series, abs=2e-5)


def test_bounds_are_the_formulas_of_the_sheet(rng):
    assert sup_bound(0.0, 1.0, 2.0, 0.5) == pytest.approx(2.0)
    assert rkhs_bound(3.0, 4.0, 0.5, 0.5) == pytest.approx(5.0)
    assert kappa(np.array([1.0, 3.0]), np.array([2.0, 1.0])) == 3.0
    assert stability_probability(200, 10, 0.5, kind="volume") < stability_probability(200, 10)
    assert stability_probability(15, 10, 0.5, kind="volume") == 0.0
    assert expected_noise_error(6, 3, 1.0) == pytest.approx(3 * expected_inverse(6, 3) / 6)
    S = sample(V, repeats=3, rng=rng)
    fit = wls(V, S, np.exp(S.x))
    assert fit.error_bound(hnorm=1.0, kappa=2.0) == pytest.approx(
        math.sqrt(2 + 2 / S.lambda_min), rel=1e-9
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: sample(V, "grid", rng=r), "sample: kind must be one of"),
        (lambda r: sample(V, "iid", rng=r), "sample: n must be given for kind 'iid'"),
        (lambda r: sample(V, "iid", n=4, rng=r), "sample: n must be at least 5, got 4"),
        (lambda r: sample(V, "iid", n=9, repeats=2, rng=r), "sample: repeats must be None"),
        (lambda r: sample(V, "dpp", n=4, rng=r), "sample: n must be 5 or None"),
        (lambda r: sample(V, n=12, rng=r), "sample: n must be a multiple of m = 5"),
        (lambda r: sample(V, rng=r), "sample: repeats must be given, or else n"),
        (lambda r: sample(V, repeats=0, rng=r), "sample: repeats must be at least 1"),
        (lambda r: sample(V, repeats=2, delta=1.0, rng=r), "sample: delta must be more than 0"),
        (lambda r: sample(V, repeats=2, max_draws=0, rng=r), "max_draws must be at least 1"),
        (lambda r: sample(V, repeats=2, reference="mu", rng=r), "reference must be 'optimal'"),
        (lambda r: sample(V, "iid", n=9, reference="best", rng=r), "reference: nu must be one of"),
        (lambda r: volume_sample(V, 4, rng=r), "volume_sample: n must be at least 5"),
        (lambda r: volume_density(np.ones((1, 2)), np.ones(1)), "volume_density: phi must be"),
        (
            lambda r: removal_probabilities(np.ones((2, 2))),
            "removal_probabilities: A must be of shape",
        ),
        (lambda r: removal_probabilities(np.ones((3, 2))), "A must be of full column rank"),
        (lambda r: reverse_removal(np.ones((3, 2)), 2, rng=r), "A must be of full column rank"),
        (lambda r: reverse_removal(np.eye(3), 4, rng=r), r"n must be in \[3, 3\], got 4"),
        (lambda r: reverse_removal(np.eye(3), 3, method="x", rng=r), "method must be one of"),
        (lambda r: stability_rate(1.0), "stability_rate: delta must be more than 0"),
        (lambda r: stability_probability(4, 5), "stability_probability: n must be at least 5"),
        (lambda r: stability_probability(9, 5, sup=0.5), "stability_probability: sup must be"),
        (lambda r: points_for_stability(5, failure=0), "failure must be more than 0"),
        (lambda r: quasi_optimality(9, 5, 0.5, 0), "probability must be more than 0"),
        (lambda r: expected_draws(0), "expected_draws: probability must be more than 0"),
        (lambda r: expected_noise_error(9, 5, -1), "variance must be finite in"),
        (lambda r: expected_noise_vector(1.0, 9, 5, kind="repeated_dpp"), "n must be a multiple"),
        (lambda r: Kernel(lambda x: x, 0.0), "Kernel: trace must be positive"),
        (lambda r: sobolev_kernel(V), "sobolev_kernel: space must be"),
        (
            lambda r: residual_diagonal(Kernel(lambda x: x, 1.0), V, np.ones(1)),
            "kernel must be with 5",
        ),
        (lambda r: natural_reference(V, Kernel(lambda x: x, 1.0)), "kernel must be with a sup"),
        (lambda r: kernel_space(np.ones((2, 3)), 1), "kernel_space: K must be of shape"),
        (lambda r: kernel_space(np.array([[1.0, 2], [0, 1]]), 1), "K must be symmetric"),
        (lambda r: kernel_space(-np.eye(2), 1), "K must be positive semidefinite"),
        (lambda r: kernel_space(np.ones((2, 2)), 2), "m must be at most the rank"),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(rng)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.ones(3)}, r"wls: y must be of shape \(15,\) or \(15, k\)"),
        ({"y": np.full(15, math.nan)}, "wls: y must be finite"),
        ({"x": np.zeros(15)}, "wls: sample must be of points that determine the fit"),
        ({"sup": None}, "error_bound: sup must be given, or else hnorm"),
        ({"hnorm": 1.0, "sup": None}, "error_bound: kappa must be given with hnorm"),
        ({"screen": 0}, "greedy_removal: screen must be at least 1"),
        ({"delta": 2.0}, "greedy_removal: delta must be finite in"),
        ({"columns": 1}, "Fit.column_coef: space must be a FeatureSpace"),
    ],
)
def test_bad_fits_are_named(own_checks, rng, change, message):
    S = sample(V, repeats=3, rng=rng)
    with pytest.raises(ValueError, match=message):  # noqa: PT012
        if "screen" in change or "delta" in change:
            greedy_removal(V, S, **{"delta": 0.999, **change})
        x = change.pop("x", S.x)
        moved = Sample(x, None, S.weight, S.lambda_min, 1, "given")
        fit = wls(V, moved, change.pop("y", np.exp(S.x)))
        if change.pop("columns", None):
            fit.column_coef  # noqa: B018
        fit.error_bound(**change)


def test_an_unstable_sample_is_not_thinned(own_checks, rng):
    S = Sample(np.zeros(5), None, np.ones(5), 0.0, 1, "iid")
    with pytest.raises(ValueError, match=r"greedy_removal: sample must be stable at delta = 0\.5"):
        greedy_removal(V, S, 0.5)


def test_a_reference_is_a_name_or_a_law(own_checks):
    with pytest.raises(TypeError, match="reference: nu must be a name or a Reference, got int"):
        reference(V, 3)


def test_optimal_weights_are_bounded_by_m():
    x = np.linspace(-1, 1, 201)
    assert np.max(V.m / christoffel(V, x)) <= V.m
