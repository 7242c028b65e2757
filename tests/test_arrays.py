"""The differences between array libraries, on every backend, against NumPy, SciPy and mpmath."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fewtheory import arrays as fa

EPS = np.finfo(np.float64).eps
finite = st.floats(-1e3, 1e3)


def phi(x):
    """The normal CDF at 50 digits, with the tail that is small computed as a tail."""
    return mpmath.erfc(-mpmath.mpf(x) / mpmath.sqrt(2)) / 2


def test_without_an_array_the_namespace_is_numpys():
    assert isinstance(fa.namespace(1.0).zeros(2), np.ndarray)


def test_as_like_gives_the_kind_and_dtype_of_its_model(asarray):
    like = asarray(np.zeros(2, dtype=np.float32))
    out = fa.as_like(np.array([0.1, 0.2]), like)
    assert type(out) is type(like)
    assert out.dtype == like.dtype


def test_as_like_never_shares_memory_with_its_value():
    value = np.zeros(2)
    fa.as_like(value, torch.zeros(2, dtype=torch.float64))[0] = 1.0
    assert value[0] == 0.0


def test_to_numpy_leaves_the_graph():
    x = torch.ones(2, requires_grad=True)
    assert isinstance(fa.to_numpy(x * 2), np.ndarray)


@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=3), elements=st.floats(-700, 700)))
@settings(deadline=None, max_examples=40)
def test_logsumexp_is_the_logarithm_of_a_sum_of_exponentials(x):
    with mpmath.workdps(40):
        flat = np.reshape(x, (-1, x.shape[-1]))
        exact = [float(mpmath.log(sum(mpmath.exp(mpmath.mpf(v)) for v in row))) for row in flat]
    # one exp and one sum over the axis, then a logarithm next to its largest term
    bound = EPS * (4 + x.shape[-1] + np.abs(exact))
    assert np.all(np.abs(fa.logsumexp(x).ravel() - exact) <= bound)


def test_logsumexp_does_not_overflow(asarray):
    x = asarray([[1e4, 1e4], [-1e4, -1e4]])
    expected = np.array([1e4, -1e4]) + np.log(2)
    np.testing.assert_allclose(fa.to_numpy(fa.logsumexp(x)), expected, rtol=2 * EPS)


def test_logsumexp_of_nothing_is_minus_infinity(asarray):
    x = asarray([[-np.inf, -np.inf], [-np.inf, 0.5]])
    assert fa.to_numpy(fa.logsumexp(x)).tolist() == [-np.inf, 0.5]


def test_logsumexp_has_a_finite_gradient_beside_a_term_of_weight_zero():
    x = torch.tensor([0.3, -torch.inf, 0.3], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(fa.logsumexp(x), x)
    assert grad.tolist() == pytest.approx([0.5, 0.0, 0.5], abs=4 * EPS)


def test_log_ndtr_keeps_its_digits_in_both_tails(asarray):
    x = np.array([-300.0, -38.0, -5.0, -1.0, 0.0, 0.5, 3.0, 8.0, 20.0])
    found = fa.to_numpy(fa.log_ndtr(asarray(x)))
    with mpmath.workdps(50):
        # right of 0 log Phi = log1p(-tail), or the logarithm loses every digit
        exact = np.array(
            [float(mpmath.log1p(-phi(-v)) if v > 0 else mpmath.log(phi(v))) for v in x]
        )
    # the tail e^{-x^2/2} turns a rounded argument into a relative error x^2 eps
    assert np.all(np.abs(found - exact) <= EPS * (8 + x**2) * np.abs(exact))


def test_ndtri_inverts_the_normal_cdf(asarray):
    p = np.array([1e-300, 1e-20, 0.02, 0.3, 0.5, 0.9, 1 - 1e-9])
    x = fa.to_numpy(fa.ndtri(asarray(p)))
    with mpmath.workdps(50):
        # |dx| = |dPhi| / density
        error = [
            float(abs(phi(v) - mpmath.mpf(q)) / mpmath.npdf(v)) for v, q in zip(x, p, strict=True)
        ]
    assert np.all(np.array(error) <= 8 * EPS * np.maximum(1, np.abs(x)))


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=finite),
    st.floats(0, 1),
    st.sampled_from([0, 1, -1]),
)
@settings(deadline=None, max_examples=40)
def test_quantile_is_numpys(x, q, axis):
    found, expected = fa.quantile(x, q, axis), np.quantile(x, q, axis=axis)
    n = x.shape[axis]  # the fractional index q (n - 1) is rounded, and multiplies a difference
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * n * EPS * 2e3)


def test_quantile_runs_on_every_backend(asarray):
    x = asarray([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])
    assert fa.to_numpy(fa.quantile(x, 0.25)).tolist() == [1.5, 2.0]


@pytest.mark.parametrize("lower", [True, False])
def test_solve_triangular_solves_its_system(asarray, rng, lower):
    a = rng.standard_normal((4, 4)) + 4 * np.eye(4)
    a, b = (np.tril(a) if lower else np.triu(a)), rng.standard_normal((4, 2))
    x = fa.to_numpy(fa.solve_triangular(asarray(a), asarray(b), lower=lower))
    # substitution is backward stable: |a x - b| <= d eps |a| |x|
    assert np.all(np.abs(a @ x - b) <= 2 * 4 * EPS * (np.abs(a) @ np.abs(x)))


@pytest.mark.parametrize("draw", [fa.standard_normal, fa.uniform])
class TestDraws:
    def test_a_number_is_no_generator(self, draw):
        with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator or a torch"):
            draw(0, (2,), np.zeros(2))

    def test_the_kind_and_dtype_are_those_asked_for(self, draw, asarray, rng):
        like = asarray(np.zeros(1, dtype=np.float32))
        out = draw(rng, (2, 3), like)
        assert type(out) is type(like)
        assert out.dtype == like.dtype
        assert tuple(out.shape) == (2, 3)

    def test_a_numpy_generator_draws_the_same_on_every_backend(self, draw, asarray):
        on_numpy = draw(np.random.default_rng(1), (5,), np.zeros(1))
        there = draw(np.random.default_rng(1), (5,), asarray(np.zeros(1)))
        assert fa.to_numpy(there).tolist() == on_numpy.tolist()

    def test_a_torch_generator_draws_the_same_for_numpy_and_torch(self, draw):
        make = [torch.Generator().manual_seed(3) for _ in range(2)]
        on_torch = draw(make[0], (5,), torch.zeros(1, dtype=torch.float64))
        assert draw(make[1], (5,), np.zeros(1)).tolist() == on_torch.tolist()


class Largest(np.random.Generator):
    """A generator whose uniform draw is the largest float64 below 1."""

    def random(self, size=None, **_):
        return np.full(size, np.nextafter(1.0, 0.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_stays_below_one_in_every_precision(dtype):
    drawn = fa.uniform(Largest(np.random.PCG64(0)), (2,), np.zeros(1, dtype=dtype))
    assert np.all(drawn < 1)


def test_linear_combination_adds_what_it_says(asarray, rng):
    x = rng.standard_normal((3, 2, 2))
    out = fa.linear_combination([0.5, -2.0, 3.0], [asarray(v) for v in x])
    expected = 0.5 * x[0] - 2.0 * x[1] + 3.0 * x[2]
    # torch may fuse a product and a sum: one rounding less
    np.testing.assert_allclose(
        fa.to_numpy(out), expected, rtol=0, atol=4 * EPS * np.abs(x).max() * 6
    )


def test_linear_combination_takes_coefficients_that_act_elementwise(asarray, rng):
    x, c = rng.standard_normal((2, 3, 2)), np.array([1.0, 2.0])
    out = fa.linear_combination([asarray(c), 0.5], [asarray(v) for v in x])
    np.testing.assert_allclose(fa.to_numpy(out), c * x[0] + 0.5 * x[1], rtol=0, atol=16 * EPS)


@pytest.mark.parametrize("coefficients", [[1.0], [1.0, 1.0]])
def test_linear_combination_leaves_its_operands_alone(asarray, coefficients):
    operands = [asarray(np.ones(3)) for _ in coefficients]
    out = fa.linear_combination(coefficients, operands)
    assert all(out is not x for x in operands)
    assert all(fa.to_numpy(x).tolist() == [1.0, 1.0, 1.0] for x in operands)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_gradients_flow_through_each_operand_of_a_linear_combination(which):
    x = [torch.ones(2, dtype=torch.float64, requires_grad=k == which) for k in range(3)]
    (grad,) = torch.autograd.grad(fa.linear_combination([2.0, 3.0, 5.0], x).sum(), x[which])
    assert grad.tolist() == [[2.0, 3.0, 5.0][which]] * 2


def test_single_precision_stays_single(asarray):
    x = asarray(np.ones(2, dtype=np.float32))
    assert fa.linear_combination([0.1, 0.2], [x, x]).dtype == x.dtype
