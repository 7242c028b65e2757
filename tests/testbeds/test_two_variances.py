"""The two-variance sample: its draws, informations and rates."""

import numpy as np
import pytest

from fewtheory.testbeds import TwoVarianceSample, mixture_1d


def test_each_level_has_its_own_noise(rng):
    world = TwoVarianceSample([4.0, 0.0], [0.0, 0.5, 1.0], [3, 20_000, 20_000])
    clean, some, most = world.sample(rng=rng)
    assert clean.shape == (3, 2)
    assert np.all(clean[:, 1] == 0)
    for x, v in ((some, 0.25), (most, 1.0)):
        # five standard errors of a variance
        assert x.var(axis=0) == pytest.approx([4 + v, v], rel=5 * np.sqrt(2 / 20_000))


def test_any_testbed_may_be_observed(rng):
    bed = mixture_1d([0.5, 0.5], [-1.0, 1.0], [0.1, 0.1])
    clean, noisy = TwoVarianceSample(bed, [0.0, 2.0], [50, 70]).sample(rng=rng)
    assert clean.shape == (50, 1)
    assert noisy.shape == (70, 1)
    assert np.all(np.abs(clean) < 2)


def test_informations_are_minus_the_curvature_of_the_likelihood():
    c, h = 0.7, 1e-3
    world = TwoVarianceSample([c], [0.0, 0.5], [10, 40])

    def expected(v):  # of log p under the law of variance c, by its two moments
        return sum(-n / 2 * (np.log(v + s) + (c + s) / (v + s)) for n, s in ((10, 0), (40, 0.25)))

    curvature = (expected(c + h) + expected(c - h) - 2 * expected(c)) / h**2
    assert world.information_of_variance()[0] == pytest.approx(-curvature, rel=1e-4)  # h^2 / c^2
    assert world.information_of_mean()[0] == pytest.approx(10 / 0.7 + 40 / 0.95)


def test_strengths_and_rates():
    world = TwoVarianceSample([1.0], [1.0, 2.0], [100, 6_400])
    assert world.strength(4) == 500.0
    assert world.strength(6) == 200.0
    assert world.minimax_rate(5, 2) == pytest.approx(0.01**0.25 + 200 ** (-1 / 6))
    assert TwoVarianceSample([1.0], [0.0, 2.0], [1, 1]).strength(4) == np.inf
    assert TwoVarianceSample([1.0], [0.0, 2.0], [0, 16]).strength(4) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TwoVarianceSample([1.0], [-1.0], [1]), "sigmas must be of shape"),
        (lambda: TwoVarianceSample([1.0], [1.0], [1, 2]), "counts must be 1, one for each"),
        (lambda: TwoVarianceSample([1.0], [1.0], [-1]), "counts must be at least 0"),
        (lambda: TwoVarianceSample([-1.0], [1.0], [1]), "law must be a testbed"),
        (lambda: TwoVarianceSample([1.0], [1.0], [1]).strength(0), "p must be at least 1"),
        (lambda: TwoVarianceSample([1.0], [1.0], [1]).minimax_rate(0, 2), "d must be at least"),
        (lambda: TwoVarianceSample([1.0], [1.0], [1]).minimax_rate(1, 0), "k must be at least"),
        (lambda: TwoVarianceSample([1.0], [1.0], [1]).sample(rng=3), "rng must be a numpy"),
        (
            lambda: TwoVarianceSample([0.0], [0.0], [1]).information_of_mean(),
            "law must be positive where",
        ),
        (
            lambda: TwoVarianceSample(
                mixture_1d([1.0], [0.0], [1.0]), [1.0], [1]
            ).information_of_variance(),
            "law must be variances",
        ),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
