"""Gaussian sequences against conditioning by inverses, the joint Gaussian and published numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, multivariate_normal, norm

from fewtheory import arrays, paths
from fewtheory.testbeds import Gaussian
from fewtheory.testbeds.gaussian_sequence import GaussianSequence, GaussianToken, exchangeable_cov

EPS = np.finfo(np.float64).eps
RF, VP = paths.RectifiedFlow(), paths.VPLinear()
COV = np.array(
    [[1.0, 0.5, -0.3, 0.2], [0.5, 2.0, 0.4, 0.0], [-0.3, 0.4, 0.7, 0.1], [0.2, 0, 0.1, 1]]
)
BED = GaussianSequence(COV)


@st.composite
def sequences(draw):
    """Covariances of one to five tokens with a condition number up to 1e6."""
    n = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    basis, _ = np.linalg.qr(rng.standard_normal((n, n)))
    cov = (basis * 10.0 ** rng.uniform(-6, 0, n)) @ basis.T
    return GaussianSequence(0.5 * (cov + cov.T))


def test_exchangeable_tokens_have_the_known_conditional_stds_and_influences():
    bed = GaussianSequence(exchangeable_cov(8, 0.8))  # known answers of sheet `disa`
    stds = [
        *[1.0, 0.6, 0.5374838498865699, 0.5114083119567588],
        *[0.4970501217477084, 0.4879500364742666, 0.48166378315169184, 0.477059961531621],
    ]
    influence = [
        *[2.3409399821439254, 0.8869423130433379, 0.6524116994973538, 0.565205284453941],
        *[0.5234019295263751, 0.5002856326996751, 0.48622401535038173, 0.47705996153162117],
    ]
    np.testing.assert_allclose(bed.stds, stds, rtol=1e-13)
    np.testing.assert_allclose(bed.influence, influence, rtol=1e-12)


@given(sequences(), st.data())
@settings(deadline=None, max_examples=40)
def test_a_token_given_the_ones_before_is_the_conditional_gaussian(bed, data):
    n = bed.cov.shape[0]
    i = data.draw(st.integers(0, n - 1))
    x = bed.sample(3, rng=np.random.default_rng(data.draw(st.integers(0, 99))))
    found = bed.given(x[:, :i])
    gain = np.linalg.solve(bed.cov[:i, :i], bed.cov[:i, i])
    variance = bed.cov[i, i] - bed.cov[:i, i] @ gain
    # solves are backward stable: their errors are eps times the condition number
    loss = 64 * n * EPS * np.linalg.cond(bed.cov)
    scale = math.sqrt(bed.cov[i, i])
    np.testing.assert_allclose(found.means[:, 0], x[:, :i] @ gain, rtol=0, atol=8 * loss * scale)
    assert found.std**2 == pytest.approx(variance, abs=loss * scale**2)


def test_conditional_log_densities_add_up_to_the_joint_one(asarray, rng):
    x = BED.sample(5, rng=rng)
    total = sum(
        arrays.to_numpy(BED.given(asarray(x[:, :i])).log_prob(asarray(x[:, i : i + 1])))
        for i in range(4)
    )
    joint = multivariate_normal(np.zeros(4), COV).logpdf(x)
    np.testing.assert_allclose(total, joint, rtol=64 * EPS * np.linalg.cond(COV))


def test_innovations_rebuild_the_sequence(asarray, rng):
    xi = rng.standard_normal((4, 4))
    x = xi @ BED.factor.T
    for i in range(5):
        found = arrays.to_numpy(BED.innovations(asarray(x[:, :i])))
        atol = 64 * EPS * np.linalg.cond(COV) * np.abs(xi).max()
        np.testing.assert_allclose(found, xi[:, :i], rtol=0, atol=atol)


def test_influence_is_how_far_an_innovation_moves_the_sequence():
    # x at xi = e_1, from cov alone: e_1's column of L is cov[:, 0] / sqrt(cov[0, 0])
    assert BED.influence[0] == pytest.approx(np.linalg.norm(COV[:, 0]), rel=8 * EPS)
    assert (BED.influence**2).sum() == pytest.approx(np.trace(COV), rel=32 * EPS)


@pytest.mark.parametrize("seed", [np.random.default_rng(2), torch.Generator().manual_seed(2)])
def test_draws_are_white_after_whitening(seed):
    # a wrong law, the factor transposed, has variances 1.38 and 0.79: 20 standard errors off
    n, level = 20_000, 1e-6 / 4
    xi = np.linalg.solve(BED.factor, BED.sample(n, rng=seed).T)
    for row in xi:
        assert chi2.isf(1 - level / 2, n) < (row**2).sum() < chi2.isf(level / 2, n)
    fisher = np.arctanh(np.corrcoef(xi)[np.triu_indices(4, 1)]) * math.sqrt(n - 3)  # N(0, 1)
    assert np.abs(fisher).max() < norm.isf(1e-6 / 6 / 2)


@pytest.mark.parametrize("prediction", ["noise", "data", "score", "velocity"])
def test_the_model_at_a_position_is_that_of_the_conditional_gaussian(
    path, asarray, prediction, rng
):
    t, prefix, x = float(path.t_at(0.2)), rng.standard_normal((3, 2)), rng.standard_normal((3, 1))
    token = BED.given(asarray(prefix))
    found = arrays.to_numpy(token.model(path, prediction)(asarray(x), t))
    for i in range(3):
        plain = Gaussian([float(token.means[i, 0])], [token.std**2])
        alone = plain.model(path, prediction)(x[i : i + 1], t)
        np.testing.assert_allclose(found[i : i + 1], alone, rtol=64 * EPS, atol=64 * EPS)


def test_the_flow_at_a_position_is_that_of_the_conditional_gaussian(path, asarray, rng):
    t, s = float(path.t_at(-0.5)), float(path.t_at(0.7))
    prefix, x = rng.standard_normal((3, 2)), rng.standard_normal((3, 1))
    token = BED.given(asarray(prefix))
    found = arrays.to_numpy(token.flow(path)(asarray(x), t, s))
    u = arrays.to_numpy(token.average_velocity(path)(asarray(x), t, s))
    for i in range(3):
        plain = Gaussian([float(token.means[i, 0])], [token.std**2])
        alone = plain.flow(path)(x[i : i + 1], t, s)
        np.testing.assert_allclose(found[i : i + 1], alone, rtol=64 * EPS, atol=64 * EPS)
    atol = 64 * EPS * (1 + np.abs(found).max())
    np.testing.assert_allclose(x + (s - t) * u, found, rtol=0, atol=atol)


def test_the_flow_from_noise_position_by_position_is_the_cholesky_factor(rng):
    # at t = 1 the state is noise alone, so token i is its conditional mean + L_ii eps_i: x = L eps
    eps, x = rng.standard_normal((5, 4)), np.empty((5, 0))
    for i in range(4):
        token = BED.given(x).flow(RF)(eps[:, i : i + 1], 1.0, 0.0)
        x = np.concatenate([x, token], axis=1)
    atol = 64 * EPS * np.linalg.cond(COV) * np.abs(eps).max()
    np.testing.assert_allclose(x, eps @ BED.factor.T, rtol=0, atol=atol)


def test_the_score_is_the_gradient_of_the_log_density(rng):
    x = torch.tensor(rng.standard_normal((3, 1)), requires_grad=True)
    token = BED.given(torch.tensor(rng.standard_normal((3, 1))))
    (grad,) = torch.autograd.grad(token.at(VP, 0.4).log_prob(x).sum(), x)
    score = token.model(VP, "score")(x.detach(), 0.4)
    np.testing.assert_allclose(score, grad, rtol=0, atol=16 * EPS * float(grad.abs().max()))


def test_draws_of_a_position_are_its_gaussian(rng):
    token = GaussianToken(np.full((20_000, 1), 1.5), 0.3)
    z = (token.sample(rng=rng) - 1.5) / 0.3
    level = 1e-6  # a wrong law, variance for std, is 3.3 times off
    assert abs(z.sum()) / math.sqrt(z.size) < norm.isf(level / 2)
    assert chi2.isf(1 - level / 2, z.size) < (z**2).sum() < chi2.isf(level / 2, z.size)


def test_results_are_of_the_kind_of_the_prefix(asarray, rng):
    like = asarray(np.zeros(1, dtype=np.float32))
    x = BED.sample(3, rng=rng, like=like)
    token = BED.given(x[:, :2])
    for out in (x, token.means, token.sample(rng=rng), token.model(RF)(x[:, :1], 0.5)):
        assert type(out) is type(like)
        assert out.dtype == like.dtype


X = np.zeros((2, 1))
TOKEN = BED.given(np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: GaussianSequence([1.0, 2.0]), "cov"),
        (lambda: GaussianSequence([[1.0, 0.5], [0.4, 1.0]]), "cov"),
        (lambda: GaussianSequence([[1.0, 2.0], [2.0, 1.0]]), "cov"),
        (lambda: GaussianSequence([[math.nan]]), "cov"),
        (lambda: exchangeable_cov(0, 0.5), "n"),
        (lambda: exchangeable_cov(3, 1.0), "rho"),
        (lambda: exchangeable_cov(3, -0.5), "rho"),
        (lambda: exchangeable_cov(3, math.nan), "rho"),
        (lambda: BED.sample(-1, rng=np.random.default_rng(0)), "n"),
        (lambda: BED.innovations(np.zeros((2, 5))), "x"),
        (lambda: BED.given(np.zeros((2, 4))), "prefix"),
        (lambda: BED.given(np.zeros(2)), "prefix"),
        (lambda: BED.innovations(np.zeros(2)), "x"),
        (lambda: TOKEN.at(RF, 1.5), "t"),
        (lambda: TOKEN.log_prob(np.zeros((3, 1))), "x"),
        (lambda: TOKEN.model(RF)(np.zeros((3, 1)), 0.5), "x"),
        (lambda: TOKEN.model(RF)(X, 1.5), "t"),
        (lambda: TOKEN.model(RF, "x0"), "prediction"),
        (lambda: TOKEN.flow(RF)(np.zeros((2, 2)), 0.5, 0.1), "x"),
        (lambda: TOKEN.flow(RF)(X, 0.5, -0.1), "s"),
        (lambda: GaussianToken(X, 0.0), "std"),
        (lambda: GaussianToken(X[:, 0], 1.0), "means"),
    ],
)
def test_a_bad_argument_is_named(own_checks, call, named):
    with pytest.raises(ValueError, match=rf": {named} must "):
        call()


def test_a_prefix_of_integers_is_named(own_checks):
    with pytest.raises(TypeError, match=": prefix must "):
        BED.given(np.zeros((2, 1), dtype=int))
