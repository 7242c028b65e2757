"""Model statistics: closed forms against each other, against samples and against networks."""

# ruff: noqa: E741 - l is the paper's name

import math
import re

import numpy as np
import pytest
import torch

from fewtheory import arrays, paths, testbeds, zoo
from fewtheory.model import Model
from fewtheory.samplers import ModelStatistics
from fewtheory.samplers._statistics import mmse
from fewtheory.zoo import data

EPS = np.finfo(np.float64).eps
VP, EDM = paths.VPLinear(), paths.EDM(0.01, 100.0)
LAMS = np.linspace(-2.0, 2.5, 41)
CURVES = ("l", "s", "b")

pytestmark = pytest.mark.usefixtures("one_thread")


def gap(one, two, names=CURVES):
    """The largest difference of two statistics."""
    assert one.event == two.event
    return max(np.abs(getattr(one, k) - getattr(two, k)).max() for k in names)


@pytest.fixture(scope="module")
def exact(bimodal):
    return ModelStatistics.exact(bimodal, LAMS)


# the record


def test_one_dimensional_laws_give_numbers(exact):
    assert exact.event == ()
    assert exact.l.shape == exact.s.shape == exact.b.shape == (41,)


def test_constants_hold_at_every_lam():
    held = ModelStatistics.constant(1.0, [0.0, 2.0], -0.5)
    assert held.event == (2,)
    assert np.array_equal(held.at(17.0).s, [0.0, 2.0])
    assert np.array_equal(held.at(np.array([0.0, 9.0])).l, np.ones((2, 2)))
    L, S = held.integrals(-1.0, np.array([0.0, 1.0]))
    assert np.array_equal(L, [[1.0, 1.0], [2.0, 2.0]])
    assert np.array_equal(S, [[0.0, 2.0], [0.0, 4.0]])


@pytest.mark.parametrize(("nodes", "degree"), [(2, 1), (4, 3), (6, 5)])
def test_splines_reproduce_polynomials_of_their_degree(nodes, degree):
    lams, curve = (
        np.linspace(-1.0, 2.0, nodes),
        np.polynomial.Polynomial(np.arange(1.0, degree + 2)),
    )
    held = ModelStatistics(lams, curve(lams), -curve(lams), 2 * curve(lams))
    at = np.linspace(-1.0, 2.0, 7)
    size = 64 * EPS * curve(2.0)
    np.testing.assert_allclose(held.at(at).b, 2 * curve(at), rtol=0, atol=2 * size)
    L, S = held.integrals(0.5, at)
    integral = curve.integ()
    np.testing.assert_allclose(L, integral(at) - integral(0.5), rtol=0, atol=3 * size)
    np.testing.assert_allclose(S, -L, rtol=0, atol=3 * size)


def test_numbers_and_arrays_may_be_mixed():
    held = ModelStatistics(LAMS, np.ones(41), np.zeros((41, 3)), np.zeros((41, 2, 1)))
    assert held.event == (2, 3)
    assert held.at(0.3).l.shape == (2, 3)


def test_a_file_holds_the_same_numbers(exact, tmp_path):
    exact.save(tmp_path / "held.npz")
    back = ModelStatistics.load(tmp_path / "held.npz")
    assert gap(exact, back) == 0.0
    assert back.rule == exact.rule


@pytest.mark.parametrize("content", [b"", b"words", b"PK\x03\x04words"])
def test_a_file_of_something_else_is_named(tmp_path, content):
    file = tmp_path / "held.npz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape("held.npz: not statistics")):
        ModelStatistics.load(file)


def test_a_file_with_a_missing_curve_is_named(tmp_path):
    np.savez(tmp_path / "held.npz", lams=LAMS, l=LAMS)
    with pytest.raises(ValueError, match=re.escape("held.npz: not statistics")):
        ModelStatistics.load(tmp_path / "held.npz")
    np.save(tmp_path / "other.npy", LAMS)
    with pytest.raises(ValueError, match=re.escape("other.npy: not statistics")):
        ModelStatistics.load(tmp_path / "other.npy")


# exact


@pytest.mark.parametrize("l", [None, 0.5, 1.0])
def test_a_loss_curve_is_enough(bimodal, l):
    lams = np.linspace(-2.0, 2.5, 161)
    loss = np.array([mmse(bimodal, v)[0][0] for v in lams.tolist()])
    found = ModelStatistics.from_loss(lams, loss, bimodal.mean[0], bimodal.cov[0, 0], l=l)
    # dM/dlam by splines instead of a third posterior moment: sixth order, relative to Var f / V
    coarse = ModelStatistics.from_loss(
        lams[::2], loss[::2], bimodal.mean[0], bimodal.cov[0, 0], l=l
    )
    exact = ModelStatistics.exact(bimodal, lams, l=l)
    assert gap(found, exact) <= gap(coarse, ModelStatistics.exact(bimodal, lams[::2], l=l)) / 8
    assert gap(found, exact) < 1e-4


def test_the_gaussian_mixture_of_one_dimension_is_the_product_of_one(bimodal, exact):
    same = testbeds.GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [[0.25], [0.09]])
    assert gap(ModelStatistics.exact(same, LAMS), exact, ("l", "b")) <= 1e-9  # V / Var f roundings


def test_the_gaussian_mixture_of_two_dimensions_is_a_product_where_it_is_one():
    product = testbeds.ProductMixture(
        [[0.4, 0.6], [0.5, 0.5]], [[-1.0, 1.5], [-0.7, 0.6]], [[0.5, 0.3], [0.4, 0.5]]
    )
    w, m, s = product.weights, product.means, product.stds
    pairs = [(i, j) for i in range(2) for j in range(2)]
    mixture = testbeds.GaussianMixture(
        [w[0, i] * w[1, j] for i, j in pairs],
        [[m[0, i], m[1, j]] for i, j in pairs],
        [[s[0, i] ** 2, s[1, j] ** 2] for i, j in pairs],
    )
    lams = np.array([-1.0, 0.0, 1.0, 2.0])
    one, two = ModelStatistics.exact(mixture, lams), ModelStatistics.exact(product, lams)
    # step 1/6, poles pi std / distance = 0.38 off the line: exp(-2 pi 0.38 6) of V, over Var f
    assert gap(one, two) <= math.exp(-2 * math.pi * 0.38 * 6) / 5e-3


def test_a_gaussian_is_a_rotated_product_of_one_component(rotated):
    R, c = rotated.rotation, np.array([0.3, 1.0, 2.0])
    gaussian = testbeds.Gaussian(R @ [1.0, -1.0, 0.5], (R * c) @ R.T)
    product = testbeds.ProductMixture(
        np.ones((3, 1)), [[1.0], [-1.0], [0.5]], np.sqrt(c)[:, None], R
    )
    for l in (None, 1.0):
        one, two = (ModelStatistics.exact(bed, LAMS, l=l) for bed in (gaussian, product))
        assert gap(one, two) <= 1e-9  # as above: V / Var f is 1e3 at lam = -2


def test_a_change_of_units_moves_lam_and_scales_the_bias(bimodal, exact):
    k = 4.0
    large = testbeds.mixture_1d(bimodal.weights, k * bimodal.means, k * bimodal.stds)
    found = ModelStatistics.exact(large, LAMS - math.log(k))
    assert np.abs(found.l - exact.l).max() <= 1e-13
    assert np.abs(found.s - exact.s).max() <= 1e-10  # 1e4 roundings: V / Var f at lam = -2
    assert np.abs(found.b - k * exact.b).max() <= 1e-10


def test_where_f_does_not_vary_s_is_zero_and_b_the_slope_of_its_mean():
    # N(m, c): l* = rho^2 / (c + rho^2), f = -l* m, so that b = -dl*/dlam m
    m, c, rho2 = 0.7, 0.36, np.exp(-2 * LAMS)
    found = ModelStatistics.exact(testbeds.Gaussian([m], c), LAMS)
    assert np.array_equal(found.s, np.zeros(41))
    expected = 2 * c * rho2 / (c + rho2) ** 2 * m
    np.testing.assert_allclose(found.b, expected, rtol=256 * EPS)


# from samples


def samples(bed, K=512, seed=5):
    return bed.sample(K, rng=np.random.default_rng(seed))


def estimated(model, x0, lams=LAMS, **how):
    return ModelStatistics.from_outputs(model, x0, lams, rng=np.random.default_rng(7), **how)


def test_an_estimate_does_not_depend_on_the_array_library(bimodal, asarray):
    x0 = samples(bimodal)
    found, expected = (estimated(bimodal.model(EDM), v) for v in (asarray(x0), x0))
    assert gap(found, expected) <= 1e-9  # roundings over Var f / V, through a spline's derivative


@pytest.mark.parametrize("law", ["forward", "own"])
def test_an_estimate_does_not_depend_on_the_path_or_the_prediction(bimodal, law):
    x0 = samples(bimodal, 64)
    one = estimated(bimodal.model(EDM, "data"), x0, law=law)
    two = estimated(bimodal.model(VP, "v"), x0, law=law)
    assert gap(one, two) <= 1e-8


def test_single_precision_gives_the_same_to_its_digits(bimodal):
    x0 = samples(bimodal)
    one, two = (
        estimated(bimodal.model(EDM, "data"), torch.tensor(x0, dtype=t), np.linspace(-1, 2.5, 21))
        for t in (torch.float32, torch.float64)
    )
    # f is a difference of numbers up to e, and Var f / V > 5e-3 from lam = -1 on
    assert gap(one, two) <= 64 * np.finfo(np.float32).eps * math.e / 5e-3


@pytest.mark.parametrize("l", [None, 1.0])
def test_estimates_converge_at_the_rate_of_a_mean(bimodal, l):
    lams, counts = np.linspace(-1.0, 2.5, 21), (256, 4096)
    exact = ModelStatistics.exact(bimodal, lams, l=l)
    errors = []
    for K in counts:
        runs = [
            estimated(bimodal.model(EDM, "data"), samples(bimodal, K, s), lams, l=l)
            for s in range(8)
        ]
        errors.append(np.mean([gap(r, exact, ("s", "b")) for r in runs]))
    # 16 times the samples: a quarter of the error; twice that is far outside 8 repetitions' spread
    assert errors[1] < errors[0] / 2


def test_moments_along_the_models_own_ode_are_the_regression_on_it(bimodal):
    # (log Var f)' / 2 = Cov(f, f') / Var f for particles that the ODE moves, however few
    x0, lams = torch.tensor(samples(bimodal, 32)), np.linspace(-1.0, 1.5, 31)
    off = bimodal.model(EDM, "data")
    model = Model(lambda x, t: off.function(x, t) + 0.3 * torch.sin(2 * x), EDM, "data")
    coarse, fine = (
        gap(
            *(
                make(model, x0, nodes, rng=np.random.default_rng(7), l=0.5, law="own")
                for make in (ModelStatistics.from_outputs, ModelStatistics.from_jvp)
            )
        )
        for nodes in (lams[::2], lams)
    )
    assert fine <= coarse / 6  # third-order steps between the nodes
    assert fine < 0.1  # and it has left the order of s itself, 2


def test_the_diagonal_is_exact_in_one_dimension(bimodal):
    # a Rademacher probe squared is 1; the mean over samples of 1 - dx0hat/dy is left
    x0, lams = torch.tensor(samples(bimodal, 64)), np.array([-0.5, 0.0, 0.5])
    found = ModelStatistics.from_jvp(bimodal.model(EDM), x0, lams, rng=np.random.default_rng(7))
    noise = torch.tensor(np.random.default_rng(7).standard_normal((64, 1)))
    mixture = testbeds.GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [[0.25], [0.09]])
    for lam, l in zip(lams.tolist(), found.l, strict=True):
        rho = math.exp(-lam)
        slopes = mixture.jvp(EDM, x0 + rho * noise, rho, torch.ones_like(x0), "data")
        assert abs(float(l) - (1 - float(slopes.mean()))) <= 64 * EPS


def test_more_probes_are_averaged(rotated):
    x0 = torch.tensor(samples(rotated, 32))
    exact = ModelStatistics.exact(rotated, [0.0, 0.5])
    errors = [
        np.mean(
            [
                np.abs(
                    ModelStatistics.from_jvp(
                        rotated.model(EDM), x0, [0.0, 0.5], rng=np.random.default_rng(s), probes=k
                    ).l
                    - exact.l
                ).mean()
                for s in range(3)
            ]
        )
        for k in (1, 8)
    ]
    assert errors[1] < errors[0]


# networks


def test_a_networks_statistics_are_those_of_the_law_that_it_learned():
    """mixture-mlp: from lam = -1 on, where its error is small beside Var f."""
    bed, lams, K = data.mixture(), np.linspace(-1.0, 2.0, 9), 1024
    model, x0 = zoo.load("mixture-mlp").model, torch.tensor(samples(bed, K)).float()
    exact = ModelStatistics.exact(bed, lams)
    found = estimated(model, x0, lams)
    # an estimate from K samples of the exact model, repeated, says how far chance takes it
    own = [estimated(bed.model(EDM, "data"), samples(bed, K, s), lams) for s in range(8)]
    for name in CURVES:
        true = getattr(exact, name)
        spread = np.sqrt(np.mean([(getattr(o, name) - true) ** 2 for o in own], axis=0))
        # 18 numbers, 8 repetitions: Student's t with 8 degrees of freedom at 1e-5 is 9; and the
        # network's excess loss, 1e-4 at rho = 0.2 by its card, is 0.003 of l there
        assert np.all(np.abs(getattr(found, name) - true) <= 9 * spread + 0.01)


def test_two_estimates_from_a_network_agree():
    bed, lams = data.mixture(), np.linspace(-1.0, 2.0, 9)
    model, x0 = zoo.load("mixture-mlp").model, torch.tensor(samples(bed, 512)).float()
    one = estimated(model, x0, lams)
    two = ModelStatistics.from_jvp(model, x0, lams, rng=np.random.default_rng(7), probes=2)
    # two estimates of one number from 512 samples: four standard errors of either, 4 sqrt(2 / 512)
    assert np.abs(one.l - two.l).max() < 0.25
    assert np.median(np.abs(one.s - two.s)) < 0.25


def test_a_digits_networks_statistics_slide_from_one_towards_zero():
    model, x0 = zoo.load("digits-mlp").model, zoo.digits().x[:128]
    found = estimated(model, x0, np.linspace(-4.0, 4.0, 17))
    assert found.event == (1, 8, 8)
    live = x0.numpy().var(axis=0) > 1e-3  # some pixels are black in every image
    mean = np.array([v[live].mean() for v in found.l])
    assert mean[0] > 0.99  # M <= V <= 1 and rho = e^4: V / rho^2 is 3e-4
    assert np.all(np.diff(mean) < 0)
    assert mean[-1] < 0.5
    assert np.all(np.isfinite(found.s))
    assert np.all(np.isfinite(found.b))


# bad input


def cls(**given):
    whole = {"lams": LAMS, "l": np.ones(41), "s": np.ones(41), "b": np.ones(41), **given}
    return ModelStatistics(**whole)


def loss(**given):
    whole = {"lams": LAMS, "loss": np.ones(41), "mean": 0.0, "var": 1.0, **given}
    return ModelStatistics.from_loss(**whole)


def outputs(**given):
    model = testbeds.Gaussian([0.0], 1.0).model(EDM)
    whole = {"model": model, "x0": np.ones((4, 1)), "lams": LAMS, "rng": np.random.default_rng(1)}
    return ModelStatistics.from_outputs(**{**whole, **given})


def jvp(**given):
    model = testbeds.Gaussian([0.0], 1.0).model(EDM)
    whole = {"model": model, "x0": torch.ones(4, 1), "lams": LAMS, "rng": np.random.default_rng(1)}
    return ModelStatistics.from_jvp(**{**whole, **given})


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "kind", "named"),
    [
        (lambda: cls(lams=LAMS[::-1]), ValueError, "ModelStatistics: lams must be"),
        (lambda: cls(lams=LAMS[:, None]), ValueError, "ModelStatistics: lams must be"),
        (lambda: cls(lams=[0.0, math.nan]), ValueError, "ModelStatistics: lams must be"),
        (lambda: cls(l=np.ones(40)), ValueError, "ModelStatistics: l must be"),
        (lambda: cls(s=np.full(41, math.inf)), ValueError, "ModelStatistics: s must be"),
        (lambda: cls(b="b"), ValueError, "ModelStatistics: b must be"),
        (
            lambda: cls(l=np.ones((41, 2)), s=np.ones((41, 3))),
            ValueError,
            "ModelStatistics: l, s and b must be",
        ),
        (lambda: cls(rule="simpson"), ValueError, "ModelStatistics: rule must be"),
        (
            lambda: ModelStatistics(np.zeros(1), *np.zeros((3, 1)), rule="trapezoid"),
            ValueError,
            "ModelStatistics: lams must be two or more",
        ),
        (lambda: cls().at(2.6), ValueError, "ModelStatistics: lam must be within"),
        (lambda: cls().at(np.array([-3.0, 0.0])), ValueError, "lam must be within .* got -3"),
        (lambda: ModelStatistics.exact("bed", LAMS), TypeError, "exact: bed must be"),
        (
            lambda: ModelStatistics.exact(
                testbeds.GaussianMixture([1.0], np.zeros((1, 3)), [1.0]), LAMS
            ),
            TypeError,
            "exact: bed must be",
        ),
        (lambda: ModelStatistics.exact(testbeds.Gaussian([0.0], 1.0), []), ValueError, "lams must"),
        (
            lambda: ModelStatistics.exact(testbeds.Gaussian([0.0], 1.0), LAMS, l="data"),
            ValueError,
            "ModelStatistics: l must be",
        ),
        (
            lambda: ModelStatistics.exact(testbeds.Gaussian([0.0], 1.0), LAMS, l=np.ones(3)),
            ValueError,
            "ModelStatistics: l must be a number",
        ),
        (lambda: outputs(l=np.ones(3)), ValueError, "ModelStatistics: l must be a number"),
        (lambda: jvp(l=math.nan), ValueError, "ModelStatistics: l must be finite"),
        (lambda: loss(loss=-np.ones(41)), ValueError, "from_loss: loss must be non-negative"),
        (lambda: loss(loss=np.ones(40)), ValueError, "from_loss: loss must be"),
        (lambda: loss(var=-1.0), ValueError, "from_loss: var must be"),
        (lambda: loss(mean=math.nan), ValueError, "from_loss: mean must be"),
        (lambda: loss(mean=np.zeros(2), var=np.ones(3)), ValueError, "from_loss: loss, mean, var"),
        (lambda: loss(floor=-1.0), ValueError, "from_loss: floor must be"),
        (lambda: outputs(model=len), TypeError, "from_outputs: model must be"),
        (lambda: outputs(x0=np.ones((1, 1))), ValueError, "from_outputs: x0 must be"),
        (lambda: outputs(x0=np.full((4, 1), math.nan)), ValueError, "from_outputs: x0 must be"),
        (lambda: outputs(x0=[[1.0]]), TypeError, "from_outputs: x0 must be"),
        (lambda: outputs(rng=3), TypeError, "from_outputs: rng must be"),
        (lambda: outputs(law="data"), ValueError, "from_outputs: law must be"),
        (lambda: outputs(floor=math.inf), ValueError, "from_outputs: floor must be"),
        (lambda: outputs(lams=[0.0]), ValueError, "from_outputs: lams must be two or more"),
        (lambda: outputs(lams=[-9.0, 0.0]), ValueError, "lam must be in"),
        (lambda: jvp(x0=np.ones((4, 1))), TypeError, "from_jvp: x0 must be a torch tensor"),
        (lambda: jvp(probes=0), ValueError, "from_jvp: probes must be"),
    ],
)
def test_a_bad_argument_is_named(call, kind, named):
    with pytest.raises(kind, match=named):
        call()


def test_outputs_stay_where_they_were(bimodal):
    x0 = samples(bimodal, 8)
    before = arrays.to_numpy(x0).copy()
    estimated(bimodal.model(EDM), x0, law="own")
    assert np.array_equal(x0, before)
