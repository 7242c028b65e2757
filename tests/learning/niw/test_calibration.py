"""Calibration, classes that are tasks, and baselines whose width is fitted."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fewtheory import learning as fl  # noqa: E402
from fewtheory.learning.niw.calibration import calibration_error, interval_coverage  # noqa: E402
from fewtheory.learning.niw.classes import class_episodes, class_log_prob  # noqa: E402
from fewtheory.learning.niw.episodes import LocalLaw, posterior_under  # noqa: E402


def test_right_predictions_are_covered_at_their_level(rng):
    u = rng.random(20_000)
    for level in (0.5, 0.9):
        error = math.sqrt(level * (1 - level) / u.size)
        assert interval_coverage(u, level) == pytest.approx(level, abs=5 * error)


def test_too_narrow_predictions_are_covered_less(rng):
    from scipy.special import ndtr

    # half the standard deviation: 2 Phi(1.645 / 2) - 1
    found = interval_coverage(ndtr(2 * rng.standard_normal(20_000)), 0.9)
    assert found == pytest.approx(2 * ndtr(1.6449 / 2) - 1, abs=5 * 0.5 / math.sqrt(20_000))


def test_the_calibration_error_is_confidence_less_accuracy():
    p = np.array([[0.9, 0.1]] * 4 + [[0.35, 0.65]] * 4)
    y = np.array([0, 0, 1, 1, 1, 1, 1, 0])
    # .9 said and .5 right, .65 said and .75 right, half of the cases each
    assert calibration_error(p, y) == pytest.approx((0.4 + 0.1) / 2)
    assert calibration_error(torch.tensor(p), torch.tensor(y)) == pytest.approx(0.25)


def test_labels_drawn_from_their_probabilities_have_the_error_of_chance(rng):
    p = rng.dirichlet(np.ones(3), size=20_000)
    y = (p.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    # each of ten bins: a mean of n_b coins, E|.| at most sqrt(2 / pi) sqrt(n_b) / 2; its double
    assert calibration_error(p, y) < 2 * math.sqrt(10 * 20_000) / 2 / 20_000


def world(rng, d=4):
    root = rng.standard_normal((d, d))
    return root @ root.T


def test_a_student_posterior_knows_its_own_distribution(rng):
    law = fl.NIW(np.zeros(4), 2.0, 6 * world(rng), 9.0)
    episode = fl.Quadratic(rng.standard_normal(4), np.eye(4))
    found, X, h = fl.adapt_student(law, episode), rng.standard_normal((5, 4)), 1e-4
    y = X @ found.mean() + rng.standard_normal(5)
    slope = (found.cdf(X, y + h, noise=0.5) - found.cdf(X, y - h, noise=0.5)) / (2 * h)
    # central differences: h^2 / 6 times a second derivative of the density, below 1 / noise^3
    assert slope == pytest.approx(np.exp(found.log_prob(X, y, noise=0.5)), abs=h**2 / 0.5**3)
    assert found.cdf(X, y - 1e4, noise=0.5) == pytest.approx(np.zeros(5), abs=1e-6)


def test_the_posterior_of_a_class_is_that_of_its_average(rng):
    x, y = rng.standard_normal((12, 3)), np.repeat(np.arange(4), 3)
    law = fl.NIW(np.zeros(3), 1.0, 5 * world(rng, 3), 8.0)
    for c, q in enumerate(class_episodes(x, y, 4, noise=0.7)):
        assert q.mbar == pytest.approx(x[y == c].mean(axis=0))
        assert q.A == pytest.approx(np.eye(3) * 3 / 0.49)
        # all examples as rows of one linear episode: the same posterior
        rows = fl.linear_episode(np.tile(np.eye(3), (3, 1)), x[y == c].ravel(), noise=0.7)
        assert fl.adapt(law, q).m == pytest.approx(fl.adapt(law, rows).m, abs=1e-12)


def test_wide_flat_classes_are_prototypes(rng):
    # V = 0: log odds of two classes are (|x - c|^2 - |x - c'|^2) / (2 noise^2)
    c, x = rng.standard_normal((2, 3)), rng.standard_normal((6, 3))
    laws = [LocalLaw(row, np.zeros((3, 3))) for row in c]
    found = class_log_prob(laws, x, noise=0.8)
    far = ((x[:, None] - c) ** 2).sum(-1) / (2 * 0.64)
    assert found[:, 0] - found[:, 1] == pytest.approx(far[:, 1] - far[:, 0], abs=1e-12)


def test_a_student_class_of_many_degrees_of_freedom_is_the_gaussian_one(rng):
    C, n0 = world(rng), 1e7
    law = fl.NIW(np.zeros(4), 1e9, n0 * C, n0)
    x, y = rng.standard_normal((8, 4)), np.repeat(np.arange(2), 4)
    every = class_episodes(x, y, 2, noise=1.0)
    new = rng.standard_normal((5, 4))
    student = class_log_prob([fl.adapt_student(law, q) for q in every], new, noise=1.0)
    P = np.linalg.inv(C)
    exact = class_log_prob([posterior_under(P, np.zeros(4), q) for q in every], new, noise=1.0)
    # 1 / dof is 1e-7, times squared distances of some tens
    assert student == pytest.approx(exact, abs=1e-4)


def test_class_probabilities_are_right_in_the_mean(rng):
    # under the true law sampled classes are covered as said: the calibration error is of chance
    C, P = 4 * np.eye(2), np.eye(2) / 4
    said, labels = [], []
    for _ in range(150):
        theta = 2 * rng.standard_normal((3, 2))
        y = np.repeat(np.arange(3), 2)
        x = theta[y] + rng.standard_normal((6, 2))
        new = np.arange(12) % 3
        laws = [posterior_under(P, np.zeros(2), q) for q in class_episodes(x, y, 3, noise=1.0)]
        points = theta[new] + rng.standard_normal((12, 2))
        said.append(np.exp(class_log_prob(laws, points, noise=1.0)))
        labels.append(new)
    assert C.shape == P.shape
    # twelve cases of an episode hang together: as if there were 150 of them
    assert calibration_error(np.concatenate(said), np.concatenate(labels)) < 2 * math.sqrt(10 / 150)


def episodes(rng, n=6):
    def one():
        x = torch.tensor(rng.uniform(-1, 1, (8, 1)), dtype=torch.float32)
        return x, 2 * x + 0.3 * torch.tensor(rng.standard_normal((8, 1)), dtype=torch.float32)

    return [(one(), one()) for _ in range(n)]


def test_mamls_noise_is_the_one_of_least_log_loss(rng):
    torch.manual_seed(0)
    m, data = fl.MAML(nn.Linear(1, 1), steps=2, alpha=0.1, noise=5.0), episodes(rng)

    def loss():
        return -float(np.mean([m.adapt(s).log_prob(*q).mean() for s, q in data]))

    before, least = loss(), m.calibrate(data)
    assert least == pytest.approx(loss(), abs=1e-5)
    assert least < before
    best = float(m.log_noise)
    for away in (-0.05, 0.05):
        m.log_noise.fill_(best + away)
        assert loss() > least


@pytest.mark.parametrize("kind", ["MAML", "ProtoNet"])
def test_a_temperature_is_the_one_of_least_log_loss(kind, rng):
    torch.manual_seed(0)
    if kind == "MAML":
        m = fl.MAML(nn.Linear(2, 2), likelihood="categorical", steps=3, alpha=3.0)
    else:
        m = fl.ProtoNet(nn.Linear(2, 2), ways=2)
    y = torch.tensor([0, 1] * 4)

    def one():
        return torch.randn(8, 2) + y[:, None], y

    data = [(one(), one()) for _ in range(8)]
    before = -np.mean([float(m.adapt(s).log_prob(*q).mean()) for s, q in data])
    least = m.calibrate(data)
    after = -np.mean([float(m.adapt(s).log_prob(*q).mean()) for s, q in data])
    assert after == pytest.approx(least, abs=1e-5)
    assert after <= before
    s, (x, _) = data[0]
    p = m.adapt(s).predict(x)[0]
    assert m.adapt(s).log_prob(x, y).exp().tolist() == pytest.approx(
        p.gather(1, y[:, None])[:, 0].tolist(), rel=1e-5
    )


BAD = [
    (lambda: interval_coverage([]), "interval_coverage: cdf must be one or more"),
    (lambda: interval_coverage([2.0]), "interval_coverage: cdf must be one or more"),
    (lambda: interval_coverage([0.5], 2.0), "interval_coverage: level must be"),
    (lambda: calibration_error([[0.5, 0.6]], [0]), "calibration_error: probabilities must be"),
    (lambda: calibration_error([[0.5, 0.5]], [0.0]), "calibration_error: y must hold integers"),
    (lambda: calibration_error([[0.5, 0.5]], [2]), "calibration_error: y must be of shape"),
    (lambda: calibration_error([[0.5, 0.5]], [1], bins=0), "calibration_error: bins must be"),
    (lambda: class_log_prob([], np.zeros((1, 2)), noise=1.0), "class_log_prob: posteriors must"),
    (lambda: class_log_prob([LocalLaw(np.zeros(2), np.eye(2))], np.zeros(2), noise=1.0),
     "class_log_prob: x must be of shape"),
    (lambda: class_log_prob([LocalLaw(np.zeros(2), np.eye(2))], np.zeros((1, 3)), noise=1.0),
     "class_log_prob: x must be of shape"),
    (lambda: class_episodes(np.zeros((2, 1)), np.array([0, 0]), 1, noise=0.0),
     "class_episodes: noise must be"),
    (lambda: fl.MAML(nn.Linear(1, 1)).calibrate([]), "MAML.calibrate: episodes must be one"),
    (lambda: fl.NIWMeta(nn.Linear(1, 1)).calibrate(episodes(np.random.default_rng(0))),
     "NIWMeta.calibrate: episodes must be"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
