"""A denoiser of known layers."""

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.testbeds import Gaussian
from fewtheory.testbeds.layered import LayeredDenoiser, chebyshev_roots, residual

VP = paths.VPLinear()
STDS = np.array([1.4, 0.7, 0.25])
TIMES = [0.1, 0.4, 0.9]


def test_enough_layers_are_the_exact_denoiser():
    bed = LayeredDenoiser(STDS, VP, TIMES, 60)
    x = np.ones((1, 3))
    exact = Gaussian(np.zeros(3), STDS**2).model(VP, "noise")
    model = bed.model([()], [0.4])
    np.testing.assert_allclose(model(x, 0.4), exact(x, 0.4), rtol=1e-9)


def test_a_stack_is_the_best_polynomial_of_its_degree():
    # Chebyshev: the largest |prod (1 - lam/root)| is 1 / T_n(-middle/half) over the interval
    low, high, n = 0.4, 2.0, 10
    lam = np.linspace(low, high, 20_001)
    worst = np.abs(residual(lam, chebyshev_roots(low, high, n), range(n))).max()
    expected = 1 / np.cosh(n * np.arccosh((high + low) / (high - low)))
    assert worst == pytest.approx(expected, rel=1e-6)
    assert worst == pytest.approx(0.00013, abs=5e-6)  # sheet protenix-mini, C8


def test_leaving_everything_out_predicts_no_noise():
    bed = LayeredDenoiser(STDS, VP, TIMES, 4)
    assert np.array_equal(bed.gain(0.4, []), np.zeros(3))


def test_layers_are_left_out_at_their_own_times():
    bed = LayeredDenoiser(STDS, VP, TIMES, 4)
    model, x = bed.model([(0,), (1, 2)], [0.9, 0.4]), np.ones((1, 3))
    np.testing.assert_allclose(model(x, 0.9)[0], bed.gain(0.9, [1, 2, 3]))
    np.testing.assert_allclose(model(x, 0.4)[0], bed.gain(0.4, [0, 3]))
    np.testing.assert_allclose(model(x, 0.1)[0], bed.gain(0.1, range(4)))


def test_it_runs_in_a_plan_on_every_array(asarray):
    bed = LayeredDenoiser(STDS, VP, TIMES, 4)
    plan = samplers.ddim(VP, [0.9, 0.4, 0.1])
    out = plan.run(bed.model([(0,), (1,)], [0.9, 0.4]), asarray(np.ones((2, 3))))
    assert out.shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LayeredDenoiser([0.0], VP, TIMES), "LayeredDenoiser: stds must be positive"),
        (lambda: LayeredDenoiser([1.0], VP, [2.0]), "LayeredDenoiser: times must be in"),
        (lambda: LayeredDenoiser([1.0], VP, TIMES, 0), "chebyshev_roots: n must be at least 1"),
        (lambda: LayeredDenoiser([1.0], VP, TIMES).model([()], []), "skipped must be 0 sets"),
        (lambda: chebyshev_roots(2.0, 1.0, 3), "chebyshev_roots: high must be finite"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
