"""The score difference and DMD's gradient: predictions, paths, weights, precision, bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtheory import Model, paths, testbeds
from fewtheory.arrays import to_numpy
from fewtheory.distill import as_loss, dmd_gradient, score_difference
from fewtheory.model import PREDICTIONS

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "dmd-base.json").read_text())
EPS = np.finfo(np.float64).eps
RF, VE = paths.RectifiedFlow(), paths.EDM()
TEACHER = testbeds.Gaussian([1.0, -1.0], [[1.0, 0.3], [0.3, 0.5]])
STUDENT = testbeds.Gaussian([0.2, 0.1], [[0.64, 0.16], [0.16, 0.2]])


def constant(value, path=VE, prediction="data"):
    """A model that always predicts this."""
    return Model(lambda x, t: 0 * x + value, path, prediction)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_difference_does_not_depend_on_what_is_predicted(kind, rng):
    x = rng.standard_normal((6, 2))
    direct = STUDENT.score_at(x, 0.7, 0.3) - TEACHER.score_at(x, 0.7, 0.3)
    found = score_difference(x, 0.3, TEACHER.model(RF, kind), STUDENT.model(RF, "data"))
    assert found == pytest.approx(direct, rel=1e-12, abs=64 * EPS * np.abs(direct).max())


def test_nothing_cancels_at_high_noise_where_both_scores_are_alike():
    # F at rho: the difference is of order (c' - c) / rho^3, the scores of order 1 / rho
    wide, narrow = testbeds.Gaussian([0.0], 1.0), testbeds.Gaussian([0.0], 0.5)
    rho, x = 1e6, np.array([[1e6]])
    ve = paths.EDM(1e-7, 1e7)
    exact = x / (1.0 + rho**2) - x / (0.5 + rho**2)
    exact = -x * (1.0 - 0.5) / ((0.5 + rho**2) * (1.0 + rho**2))
    found = score_difference(x, rho, wide.model(ve, "data"), narrow.model(ve, "data"))
    assert found == pytest.approx(exact, rel=1e-9)


def test_the_repository_form_on_one_sample():
    known = KNOWN[7]
    x = np.array([known["inputs"]["x"]])
    fake, real = (np.array([known["inputs"][k]]) for k in ("x0_fake", "x0_real"))
    g = dmd_gradient(x, 0 * x, 1.0, constant(real), constant(fake), weight="dmd2")
    assert g[0] == pytest.approx(known["expected"]["gradient"], rel=1e-14)
    value = as_loss(torch.tensor(x), torch.tensor(g), over="elements")
    assert float(value) == pytest.approx(known["expected"]["loss"], rel=1e-14)


def test_the_weights_are_multiples_of_one_another_at_one_level(rng):
    x0, eps = rng.standard_normal((2, 5, 2))
    models = TEACHER.model(RF), STUDENT.model(RF)
    by = {w: dmd_gradient(x0, eps, 0.3, *models, weight=w) for w in ("kl", "dmd", "dmd2")}
    assert by["dmd"] == pytest.approx(0.7 * by["dmd2"], rel=1e-13)
    x = 0.7 * x0 + 0.3 * eps
    distance = np.abs(TEACHER.means_at(x, 0.7, 0.3)[0] - x0).mean(1, keepdims=True)
    assert by["dmd"] == pytest.approx(by["kl"] * (0.09 / 0.7) / distance, rel=1e-12)
    doubled = dmd_gradient(x0, eps, 0.3, *models, weight=lambda level: 2 * level.sigma)
    assert doubled == pytest.approx(0.6 * by["kl"], rel=1e-13)


def test_a_time_a_row_is_that_time_in_each_row(rng):
    x0, eps = rng.standard_normal((2, 3, 2))
    t, models = np.array([0.2, 0.5, 0.9]), (TEACHER.model(RF), STUDENT.model(RF, "velocity"))
    for weight in ("kl", "dmd", "dmd2", lambda level: level.alpha):
        whole = dmd_gradient(x0, eps, t, *models, weight=weight)
        for i in range(3):
            row = dmd_gradient(x0[i : i + 1], eps[i : i + 1], float(t[i]), *models, weight=weight)
            assert whole[i] == pytest.approx(row[0], rel=1e-13)


def test_array_libraries_agree(asarray, rng):
    x0, eps = rng.standard_normal((2, 4, 2))
    for weight in ("kl", "dmd2"):
        models = TEACHER.model(RF), STUDENT.model(RF, "data")
        found = dmd_gradient(asarray(x0), asarray(eps), 0.4, *models, weight=weight)
        plain = dmd_gradient(x0, eps, 0.4, *models, weight=weight)
        assert type(found) is type(asarray(x0))
        assert to_numpy(found) == pytest.approx(plain, rel=1e-12)


def test_a_half_precision_network_is_taken_in_single_precision():
    x = torch.ones(2, 3, dtype=torch.float32)
    half = Model(lambda x, t: (0.3 * x).to(torch.bfloat16), VE, "data")
    zero = Model(lambda x, t: (0.0 * x).to(torch.bfloat16), VE, "data")
    for weight in ("kl", "dmd2"):
        assert dmd_gradient(x, 0 * x, 1.0, zero, half, weight=weight).dtype == torch.float32


def test_where_the_teacher_leaves_a_sample_where_it_is_the_normalised_gradient_is_zero():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    g = dmd_gradient(x, 0 * x, 1.0, constant(x), constant(x + 1), weight="dmd2")
    assert g.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_network_that_gives_nan_is_seen():
    x = np.ones((1, 2))
    bad = Model(lambda x, t: x * np.nan, VE, "data")
    assert np.isnan(dmd_gradient(x, 0 * x, 1.0, constant(0.0), bad)).all()


def test_the_surrogate_has_the_gradient_given_and_half_its_square_for_a_value(rng):
    x = torch.tensor(rng.standard_normal((4, 2, 3)), requires_grad=True)
    g = torch.tensor(rng.standard_normal((4, 2, 3)))
    for over, n in (("samples", 4), ("elements", 24)):
        (found,) = torch.autograd.grad(loss := as_loss(x, g, over=over), x)
        assert found.numpy() == pytest.approx(g.numpy() / n, rel=1e-14)
        assert loss.item() == pytest.approx(float((g**2).sum()) / (2 * n), rel=1e-13)


X = np.zeros((2, 1))
ONE = testbeds.Gaussian([0.0], 1.0)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: score_difference(X, 0.5, ONE.model(RF), ONE.model(VE)),
            ValueError,
            "score_difference: fake must be on the path of the teacher",
        ),
        (
            lambda: score_difference(X, 0.5, ONE, ONE.model(RF)),
            TypeError,
            "score_difference: teacher must be a Model, got Gaussian",
        ),
        (
            lambda: dmd_gradient(X, X, 0.5, ONE.model(RF), None),
            TypeError,
            "dmd_gradient: fake must be a Model, got NoneType",
        ),
        (
            lambda: dmd_gradient(X, X[:1], 0.5, ONE.model(RF), ONE.model(RF)),
            ValueError,
            r"dmd_gradient: eps must be of the shape of x0, \(2, 1\)",
        ),
        (
            lambda: dmd_gradient(X, X, 0.5, ONE.model(RF), ONE.model(RF), weight="l1"),
            ValueError,
            "dmd_gradient: weight must be one of 'kl', 'dmd', 'dmd2', got 'l1'",
        ),
        (
            lambda: dmd_gradient([1.0], X, 0.5, ONE.model(RF), ONE.model(RF)),
            TypeError,
            "dmd_gradient: x0 must be an array, got list",
        ),
        (
            lambda: dmd_gradient(X, X, 1.5, ONE.model(RF), ONE.model(RF)),
            ValueError,
            "t must be in",
        ),
        (
            lambda: as_loss(torch.zeros(2), torch.zeros(3)),
            ValueError,
            r"as_loss: gradient must be of the shape of x, \(2,\)",
        ),
        (
            lambda: as_loss(torch.zeros(2), torch.zeros(2), over="batch"),
            ValueError,
            "as_loss: over must be one of 'elements', 'samples', got 'batch'",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
