"""Predictions are affine in one another: proved in symbols, then checked in numbers."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import arrays, paths
from fewtheory.model import (
    PREDICTIONS,
    Level,
    Model,
    classifier_guided,
    conversion,
    guided,
    over_event,
)
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
PAIRS = list(itertools.product(PREDICTIONS, PREDICTIONS))
SYMBOLS = Level(*sp.symbols("alpha sigma", positive=True), *sp.symbols("dalpha dsigma", real=True))
X0, NOISE = sp.symbols("x_0 epsilon", real=True)


def meaning(lv, x0, eps):
    """What each prediction is, from (x_0, eps): sheet 00-notation and plan-algebra's table."""
    return {
        "data": x0,
        "noise": eps,
        "score": -eps / lv.sigma,
        "velocity": lv.dalpha * x0 + lv.dsigma * eps,
        "v": lv.alpha * eps - lv.sigma * x0,
        "flow": eps - x0,
    }


def vanishes(expression):
    return sp.simplify(sp.nsimplify(expression)) == 0


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_every_prediction_gives_the_data(prediction):
    p, q = conversion(prediction, "data", SYMBOLS)
    x = SYMBOLS.alpha * X0 + SYMBOLS.sigma * NOISE
    assert vanishes(p * x + q * meaning(SYMBOLS, X0, NOISE)[prediction] - X0)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_every_prediction_gives_every_other(old, new):
    p, q = conversion(old, new, SYMBOLS)
    m, x = meaning(SYMBOLS, X0, NOISE), SYMBOLS.alpha * X0 + SYMBOLS.sigma * NOISE
    assert vanishes(p * x + q * m[old] - m[new])


@pytest.mark.parametrize(("old", "new"), PAIRS)
@given(t=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=10)
def test_there_and_back_is_the_identity(old, new, t):
    level = Level.at(paths.Trigonometric(), t)
    p1, q1 = conversion(old, new, level)
    p2, q2 = conversion(new, old, level)
    size = 1 + abs(q2 * p1) + abs(p2)
    assert q2 * q1 == pytest.approx(1, abs=8 * EPS)
    assert p2 + q2 * p1 == pytest.approx(0, abs=16 * EPS * size * (1 + abs(q2)))


@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.3, 0.999])
def test_a_conversion_loses_no_more_than_applying_it_does(old, new, t):
    level = Level.at(paths.Trigonometric(), t)
    with mp.workdps(60):
        exact = conversion(old, new, Level(*(mp.mpf(v) for v in level)))
        found = conversion(old, new, level)
        off = [abs(float(f - e)) for f, e in zip(found, exact, strict=True)]
    sizes = meaning(level, 1.0, -1.0)  # no prediction cancels: dalpha < 0
    x, m_old, m_new = level.alpha + level.sigma, abs(sizes[old]), abs(sizes[new])
    # p x + q m, rounded, is off by eps of its terms; the coefficients must not add more than that
    terms = abs(float(exact[0])) * x + abs(float(exact[1])) * m_old + m_new
    assert off[0] * x + off[1] * m_old <= 16 * EPS * terms


def test_noise_and_score_convert_without_the_data():
    assert conversion("noise", "score", Level(0.0, 0.5)) == (0.0, -2.0)
    assert conversion("score", "noise", Level(0.0, 0.5)) == (0.0, -0.5)


@pytest.mark.parametrize(("old", "new"), [("eps", "data"), ("data", "epsilon")])
def test_an_unknown_prediction_is_named(old, new):
    with pytest.raises(ValueError, match=r"conversion: (old|new) must be one of 'data', "):
        conversion(old, new, Level(0.6, 0.8))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_exact_model_predicts_what_the_word_means(path, prediction, asarray, rng):
    bed, x = Gaussian([1.0, -0.5], [0.3, 2.0]), rng.standard_normal((5, 2))
    t = float(path.t_at(0.4))
    x0 = arrays.to_numpy(bed.model(path, "data")(asarray(x), t))
    level = Level.at(path, t)
    eps = (x - level.alpha * x0) / level.sigma
    found = arrays.to_numpy(bed.model(path, prediction)(asarray(x), t))
    # sums of four terms of size |m| and |x| / sigma, each with a few roundings
    scale = 64 * EPS * (1 + np.abs(x).max()) * (1 + 1 / level.sigma) ** 2
    scale *= 1 + abs(level.dalpha) + abs(level.dsigma)
    np.testing.assert_allclose(found, meaning(level, x0, eps)[prediction], rtol=0, atol=scale)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_model_in_another_prediction_is_the_exact_one(old, new, rng):
    path, bed, x = paths.VPLinear(), Gaussian([1.0], 0.25), rng.standard_normal((4, 1))
    converted = bed.model(path, old).predicting(new)
    assert converted.prediction == new
    expected = bed.model(path, new)(x, 0.4)
    np.testing.assert_allclose(converted(x, 0.4), expected, rtol=1024 * EPS, atol=1024 * EPS)


def test_a_batch_of_times_is_a_loop_over_them(asarray, rng):
    model = Gaussian([1.0, 0.0], 0.25).model(paths.VPLinear(), "data").predicting("v")
    x, t = rng.standard_normal((4, 2)), np.array([0.1, 0.4, 0.6, 0.9])
    found = arrays.to_numpy(model(asarray(x), asarray(t)))
    loop = [arrays.to_numpy(model(asarray(x[i : i + 1]), float(t[i])))[0] for i in range(4)]
    np.testing.assert_allclose(found, loop, rtol=0, atol=64 * EPS * np.abs(x).max())


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_single_precision_stays_single(asarray, prediction):
    model = Model(lambda x, t: 0.5 * x, paths.VPLinear(), "noise").predicting(prediction)
    x = asarray(np.ones((2, 3), dtype=np.float32))
    assert model(x, 0.5).dtype == x.dtype
    assert model(x, asarray(np.array([0.2, 0.5], dtype=np.float32))).dtype == x.dtype


def test_a_model_is_differentiable_in_x_and_t():
    model = Gaussian([1.0], 0.25).model(paths.VPLinear(), "noise").predicting("data")
    x = torch.tensor([[0.3], [1.2]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, (x, t))


def test_predicting_the_same_thing_is_the_same_model():
    model = Gaussian([1.0], 0.25).model(paths.VPLinear())
    assert model.predicting("noise") is model


def test_over_event_shapes_times_for_a_product(asarray):
    assert over_event(asarray(np.zeros(4)), np.zeros((4, 3, 8, 8))).shape == (4, 1, 1, 1)
    assert over_event(0.5, np.zeros((4, 3))) == 0.5


@pytest.fixture
def conditional():
    return Model(lambda x, t, a=0.0, b=0.0: 0 * x + a + 10 * b, paths.EDM(), "data", {"a": 1.0})


def test_a_call_overrides_the_models_own_conditions(conditional):
    x = np.zeros((1, 1))
    assert conditional(x, 1.0)[0, 0] == 1.0
    assert conditional(x, 1.0, b=1.0)[0, 0] == 11.0
    assert conditional(x, 1.0, a=2.0)[0, 0] == 2.0


def test_given_fixes_conditions_and_leaves_the_model_alone(conditional):
    fixed = conditional.given(b=1.0)
    assert fixed(np.zeros((1, 1)), 1.0)[0, 0] == 11.0
    assert conditional(np.zeros((1, 1)), 1.0)[0, 0] == 1.0


def test_conditions_survive_a_change_of_prediction(conditional):
    found = conditional.predicting("noise").given(b=1.0)(np.zeros((1, 1)), 2.0)
    assert found[0, 0] == -11.0 / 2.0  # eps = (x - x_0) / sigma


@pytest.mark.parametrize(
    ("x", "t", "named"),
    [
        ([[1.0]], 1.0, "x must be an array"),
        (np.ones((2, 1), dtype=np.int64), 1.0, "x must be of a real floating dtype"),
        (np.ones((2, 1)), np.ones(3), "t must"),
        (np.ones((2, 1)), np.ones((2, 1)), "t must"),
        (np.ones((2, 1)), [1.0, 2.0], "t must"),
        (np.ones((2, 1)), 81.0, "t must be in"),
        (np.ones((2, 1)), math.nan, "t must be in"),
        (np.ones((2, 1)), np.array([1.0, -1.0]), "t must be in"),
    ],
)
def test_a_bad_call_names_the_argument(conditional, x, t, named):
    with pytest.raises((TypeError, ValueError), match=f"Model: {named}"):
        conditional(x, t)


def test_a_model_of_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match=r"Model: prediction must be one of .* got 'eps'"):
        Model(lambda x, t: x, paths.EDM(), "eps")
    with pytest.raises(
        ValueError, match=r"Model.predicting: prediction must be one of .* got 'x0'"
    ):
        Model(lambda x, t: x, paths.EDM(), "data").predicting("x0")


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_guidance_is_the_same_in_every_prediction(scale, prediction, rng):
    path, x = paths.VPLinear(), rng.standard_normal((4, 1))
    free, aware = Gaussian([0.0], 1.0), Gaussian([1.0], 0.1)
    one = guided(free.model(path, "noise"), aware.model(path, "data"), scale).predicting(prediction)
    two = guided(free.model(path, prediction), aware.model(path, prediction), scale)
    size = np.abs(two(x, 0.5)).max() + 1
    np.testing.assert_allclose(
        one(x, 0.5), two(x, 0.5), rtol=0, atol=256 * EPS * (1 + scale) * size
    )


def test_guidance_of_scale_zero_and_one_are_the_two_models(rng):
    path, x = paths.VPLinear(), rng.standard_normal((4, 1))
    free, aware = (Gaussian([m], 1.0).model(path, "data") for m in (0.0, 1.0))
    assert np.array_equal(guided(free, aware, 0.0)(x, 0.5), free(x, 0.5))
    bound = 4 * EPS * np.abs(x).max()  # a - b + b
    np.testing.assert_allclose(guided(free, aware, 1.0)(x, 0.5), aware(x, 0.5), rtol=0, atol=bound)


def test_conditions_reach_the_conditional_model_only(conditional):
    free = Model(lambda x, t: 0 * x, conditional.path, "data")
    assert guided(free, conditional, 2.0)(np.zeros((1, 1)), 1.0, b=1.0)[0, 0] == 22.0


def test_models_on_two_paths_do_not_guide_one_another(conditional):
    other = Gaussian([0.0], 1.0).model(paths.VPLinear())
    with pytest.raises(
        ValueError, match="guided: unconditional must be on the path of conditional"
    ):
        guided(other, conditional, 2.0)


@pytest.mark.parametrize("prediction", ["noise", "data"])
def test_classifier_guidance_of_scale_one_is_the_posterior(prediction, rng):
    # x_0 ~ N(m, c), y = x_0 + N(0, r): p(y | x_t) is Gaussian, and so is p(x_0 | y)
    m, c, r, y, path, t = 0.5, 0.8, 0.3, 1.7, paths.VPLinear(), 0.4
    bed, x = Gaussian([m], c), rng.standard_normal((6, 1))
    given_y = Gaussian([m + c / (c + r) * (y - m)], c * r / (c + r))

    def grad_log_prob(x, t):
        posterior = bed.posterior(path, x, t)
        mean, cov = posterior.mean(), posterior.covariance()[0]
        slope = (
            path.alpha(t) * c / (path.alpha(t) ** 2 * c + path.sigma(t) ** 2)
        )  # of the mean in x
        return slope * (y - mean) / (cov[0, 0] + r)

    found = classifier_guided(bed.model(path, prediction), grad_log_prob, 1.0)
    assert found.prediction == "noise"
    expected = given_y.model(path, "noise")(x, t)
    np.testing.assert_allclose(
        found(x, t), expected, rtol=0, atol=256 * EPS * (1 + np.abs(x).max())
    )
