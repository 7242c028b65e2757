"""The phi-functions against mpmath at 50 digits, near their thresholds and far out."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory.plan.phi import kernel_moments, phi

EPS = np.finfo(np.float64).eps


def exact(k, z):
    """phi_k(z) = 1F1(1; k + 1; z) / k!."""
    with mp.workdps(50):
        return mp.hyp1f1(1, k + 1, mp.mpf(z)) / mp.factorial(k)


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize(
    "z",
    [
        0.0,
        1e-300,
        1e-8,
        -1e-3,
        0.3,
        -0.9,
        1.0,
        -2.0,
        -2.999,
        2.999,
        -3.0,
        3.001,
        -8.0,
        20.0,
        -700.0,
    ],
)
def test_phi_is_its_definition_to_rounding(k, z):
    found, value = phi(k, z), exact(k, z)
    # a few roundings for each step of the recurrence
    assert abs(float((found - value) / value)) <= 4 * (k + 2) * EPS


@given(st.floats(-30, 30), st.integers(0, 4))
@settings(deadline=None, max_examples=40)
def test_phi_obeys_its_recurrence(z, k):
    # z phi_{k+1} = phi_k - 1/k!, whose right side is rounded at the size of its terms
    left, right = z * phi(k + 1, z), phi(k, z) - 1 / math.factorial(k)
    size = abs(phi(k, z)) + 1 / math.factorial(k)
    assert left == pytest.approx(right, abs=4 * (k + 4) * EPS * size)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_phi_vanishes_at_minus_infinity(k):
    assert phi(k, -math.inf) == 0.0


@pytest.mark.parametrize("rate", [-1.0, -2.0, 1.0, -1.5])
@pytest.mark.parametrize("h", [1e-6, 0.1, 0.7, 4.0, 12.0])
def test_kernel_moments_are_the_integrals(rate, h):
    with mp.workdps(50):
        for k, found in enumerate(kernel_moments(h, 3, rate)):
            value = mp.quad(
                lambda tau, k=k: mp.exp(rate * (h - tau)) * tau**k / mp.factorial(k), [0, h / 2, h]
            )
            assert abs(float((found - value) / value)) <= 4 * (k + 5) * EPS


def test_over_an_infinite_step_only_the_zeroth_moment_is_left():
    zeroth, first, second = kernel_moments(math.inf, 3, -2.0)
    assert zeroth == 0.5  # int_0^inf e^{-2 tau}
    assert math.isnan(first)
    assert math.isnan(second)
