"""The Gaussian chain against its Rouse modes, the flattened Gaussian, and the moves on it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from fewtheory import arrays, paths, samplers
from fewtheory.plan import grids
from fewtheory.testbeds import Gaussian
from fewtheory.testbeds.chain import GaussianChain, augmented, centred, random_rotations

EPS = np.finfo(np.float64).eps
VP, EDM = paths.VPLinear(), paths.EDM()
CHAINS = {
    "ideal": GaussianChain(7, bond=3.8),
    "persistent": GaussianChain(7, bond=3.8, persistence=0.8),
    "two beads": GaussianChain(2),
    "with a mean": GaussianChain(5, mean=np.arange(15.0).reshape(5, 3) ** 1.2 / 4),
}
every_chain = pytest.mark.parametrize("chain", list(CHAINS.values()), ids=list(CHAINS))


def test_the_ideal_chain_has_the_rouse_spectrum():
    # the path graph's Laplacian has eigenvalues 4 sin^2(pi k / 2n); each coordinate bond^2 / 3
    chain, k = CHAINS["ideal"], np.arange(1, 7)
    exact = np.sort(3.8**2 / 3 / (4 * np.sin(math.pi * k / 14) ** 2))
    np.testing.assert_allclose(np.sort(chain.spectrum)[1:], exact, rtol=1e-12)


def test_the_ideal_chain_has_the_known_radius_of_gyration():
    # <Rg^2> = b^2 (n^2 - 1) / (6 n)
    exact = math.sqrt(3.8**2 * (7**2 - 1) / (6 * 7))
    assert CHAINS["ideal"].radius_of_gyration == pytest.approx(exact, rel=1e-12)


@given(st.integers(2, 12), st.floats(0, 0.95), st.floats(0.1, 10))
@settings(deadline=None, max_examples=40)
def test_bonds_have_their_length_and_correlation(n, persistence, bond):
    chain = GaussianChain(n, bond, persistence)
    D = np.diff(np.eye(n), axis=0)  # from beads to bonds
    i = np.arange(n - 1)
    exact = bond**2 / 3 * persistence ** np.abs(i[:, None] - i)
    bound = 64 * EPS * n * np.abs(chain.cov).max()
    np.testing.assert_allclose(D @ chain.cov @ D.T, exact, rtol=0, atol=bound)
    np.testing.assert_allclose(chain.cov.sum(axis=0), 0.0, rtol=0, atol=bound)


def flattened(chain):
    """The same law of (3n,) vectors."""
    return Gaussian(chain.mean.ravel(), np.kron(chain.cov + chain.cov.T, np.eye(3)) / 2)


@every_chain
@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "score"])
def test_the_model_is_that_of_the_flattened_gaussian(chain, prediction, asarray, path, rng):
    x, t = rng.standard_normal((4, *chain.event)), float(path.t_at(0.3))
    found = arrays.to_numpy(chain.model(path, prediction)(asarray(x), t)).reshape(4, -1)
    exact = flattened(chain).model(path, prediction)(x.reshape(4, -1), t)
    bound = 256 * EPS * (1 + chain.spectrum.max() / path.sigma(t) ** 2) * (1 + np.abs(exact).max())
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@every_chain
def test_the_flow_is_that_of_the_flattened_gaussian(chain, asarray, rng):
    x = rng.standard_normal((4, *chain.event))
    found = arrays.to_numpy(chain.flow(VP)(asarray(x), 0.8, 0.1)).reshape(4, -1)
    exact = flattened(chain).flow(VP)(x.reshape(4, -1), 0.8, 0.1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=4096 * EPS * np.abs(exact).max())


@every_chain
def test_the_density_integrates_the_score_along_the_subspace(chain, rng):
    x = torch.tensor(chain.sample(3, rng=rng), requires_grad=True)
    (grad,) = torch.autograd.grad(chain.log_prob(centred(x), VP, 0.3).sum(), x)
    exact = chain.model(VP, "score")(x.detach(), 0.3)
    bound = 256 * EPS / VP.sigma(0.3) ** 2 * (1 + float(x.detach().abs().max()))
    np.testing.assert_allclose(grad, exact, rtol=0, atol=bound)


@pytest.mark.parametrize("t", [0.0, 0.4])
def test_the_density_of_two_beads_is_that_of_their_bond(t):
    # x = (-b/2, b/2): on the subspace the unit vector is (-1, 1)/sqrt 2, of amplitude b / sqrt 2
    chain, b = CHAINS["two beads"], np.array([0.3, -0.5, 0.9])
    x = np.stack([-b / 2, b / 2])[None]
    alpha, sigma = VP.alpha(t), VP.sigma(t)
    std = math.sqrt(alpha**2 * (1 / 3) / 2 + sigma**2)
    exact = norm.logpdf(b / math.sqrt(2), scale=std).sum()
    assert chain.log_prob(x, VP, t)[0] == pytest.approx(exact, rel=64 * EPS)


@every_chain
def test_data_noise_and_what_comes_of_them_stay_centred(chain, asarray, rng):
    like = asarray(np.zeros(1))
    x = VP.alpha(0.5) * chain.sample(5, rng=rng, like=like)
    x = x + VP.sigma(0.5) * chain.noise(5, rng=rng, like=like)
    for y in (x, chain.model(VP, "data")(x, 0.5), chain.flow(VP)(x, 0.5, 0.1)):
        middle = np.abs(arrays.to_numpy(y).mean(axis=1)).max()
        assert middle <= 64 * EPS * (1 + np.abs(arrays.to_numpy(y)).max())


def test_samples_have_the_covariance(rng):
    n, chain = 100_000, CHAINS["persistent"]
    x = chain.sample(n, rng=rng)
    tests = 7 * 8 / 2 * 3
    for i in range(7):
        for j in range(i + 1):
            products = x[:, i] * x[:, j]
            error = (products.mean(0) - chain.cov[i, j]) * math.sqrt(n) / products.std(0)
            assert np.all(np.abs(error) < norm.isf(1e-6 / tests / 2))


@pytest.mark.parametrize("name", ["ideal", "persistent"])
def test_a_chain_without_a_mean_looks_the_same_in_every_frame(name, rng):
    chain = CHAINS[name]
    x, R = chain.sample(3, rng=rng), random_rotations(1, rng=rng)[0]
    bound = 256 * EPS * (1 + np.abs(chain.log_prob(x)).max())
    np.testing.assert_allclose(chain.log_prob(x @ R.T), chain.log_prob(x), rtol=0, atol=bound)
    denoise = chain.model(EDM, "data")
    np.testing.assert_allclose(
        denoise(x @ R.T, 2.0), denoise(x, 2.0) @ R.T, rtol=0, atol=256 * EPS * np.abs(x).max()
    )


def test_a_sampler_on_a_chain_has_the_law_of_its_coordinates(rng):
    # the output is linear in x_T: its covariance, mode by mode, is the plan's exact law
    chain = CHAINS["ideal"]
    plan = samplers.ddim(EDM, grids.karras(EDM, 6))
    law = plan.law(chain.coordinate(0))
    x = chain.noise(1, rng=rng) * 80.0
    start = math.sqrt(80.0**2 + chain.spectrum[-1])
    y = plan.run(chain.model(EDM), x)
    gain = (chain.modes[:, -1] @ y[0, :, 0]) / (chain.modes[:, -1] @ x[0, :, 0])
    assert abs(gain) * start == pytest.approx(math.sqrt(law.variance[-1]), rel=1e-9)


# the moves


def test_centring_is_a_projection_that_forgets_padding(asarray, rng):
    x, mask = rng.standard_normal((2, 4, 3)), np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    found = arrays.to_numpy(centred(asarray(x), asarray(mask)))
    for row, m in zip(range(2), mask, strict=True):
        kept = x[row][m == 1]
        expected = kept - kept.mean(0)
        np.testing.assert_allclose(found[row][m == 1], expected, rtol=0, atol=16 * EPS)
        assert np.all(found[row][m == 0] == 0)
    again = arrays.to_numpy(centred(asarray(found), asarray(mask)))
    np.testing.assert_allclose(again, found, rtol=0, atol=16 * EPS)


def test_rotations_are_rotations(asarray, rng):
    R = arrays.to_numpy(random_rotations(50, rng=rng, like=asarray(np.zeros(1))))
    unit = np.broadcast_to(np.eye(3), R.shape)
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), unit, rtol=0, atol=32 * EPS)
    np.testing.assert_allclose(np.linalg.det(R), 1.0, rtol=0, atol=32 * EPS)


def test_rotations_are_uniform(rng):
    # under the Haar measure the angle has the density (1 - cos a) / pi and any entry is U(-1, 1)
    R = random_rotations(20_000, rng=rng)
    angle = np.arccos(np.clip((np.einsum("nii->n", R) - 1) / 2, -1, 1))
    assert kstest(angle, lambda a: (a - np.sin(a)) / math.pi).pvalue > 1e-6 / 2
    assert kstest(R[:, 0, 2], "uniform", args=(-1, 2)).pvalue > 1e-6 / 2


def test_augmentation_changes_no_distance_between_beads(asarray, rng):
    x = rng.standard_normal((3, 5, 3))
    y = arrays.to_numpy(augmented(asarray(x), rng=rng, translation=1.0))

    def distances(v):
        return np.linalg.norm(v[:, :, None] - v[:, None], axis=-1)

    np.testing.assert_allclose(distances(y), distances(x), rtol=0, atol=256 * EPS)
    assert np.abs(y.mean(1)).min() > 0  # it was moved


def test_an_augmented_chain_is_a_draw_of_the_same_law(rng):
    # every entry of a chain without a mean keeps its variance
    n, chain = 50_000, CHAINS["ideal"]
    y = augmented(chain.sample(n, rng=rng), rng=rng)
    squares = y**2
    error = (squares.mean(0) - np.diag(chain.cov)[:, None]) * math.sqrt(n) / squares.std(0)
    assert np.abs(error).max() < norm.isf(1e-6 / error.size / 2)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: GaussianChain(1), "GaussianChain: n"),
        (lambda: GaussianChain(4, bond=0.0), "GaussianChain: bond"),
        (lambda: GaussianChain(4, bond=math.inf), "GaussianChain: bond"),
        (lambda: GaussianChain(4, persistence=1.0), "GaussianChain: persistence"),
        (lambda: GaussianChain(4, persistence=-0.1), "GaussianChain: persistence"),
        (lambda: GaussianChain(4, mean=np.zeros((3, 3))), "GaussianChain: mean"),
        (lambda: GaussianChain(4, mean=np.full((4, 3), math.nan)), "GaussianChain: mean"),
        (lambda: GaussianChain(4).log_prob(np.zeros((2, 3, 3))), "GaussianChain.log_prob: x"),
        (lambda: GaussianChain(4).log_prob(np.ones((2, 4, 3))), "GaussianChain.log_prob: x"),
        (lambda: GaussianChain(4).model(VP)(np.zeros((2, 3, 3)), 0.5), "testbed model: x"),
        (lambda: GaussianChain(4).flow(VP)(np.zeros((2, 4, 3)), 0.5, 2.0), "flow: s"),
        (lambda: GaussianChain(4).coordinate(3), "coordinate: axis"),
        (lambda: GaussianChain(4).sample(-1, rng=np.random.default_rng(0)), "sample: count"),
        (lambda: GaussianChain(4).noise(-1, rng=np.random.default_rng(0)), "noise: count"),
        (lambda: centred(np.zeros((4, 3))), "centred: x"),
        (lambda: centred(np.zeros((2, 4, 3)), np.ones(3)), "centred: mask"),
        (lambda: centred(np.zeros((2, 4, 3)), np.zeros(4)), "centred: mask"),
        (lambda: random_rotations(-1, rng=np.random.default_rng(0)), "random_rotations: n"),
        (
            lambda: augmented(np.zeros((1, 4, 3)), rng=np.random.default_rng(0), translation=-1.0),
            "augmented: translation",
        ),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(call, named):
    with pytest.raises(ValueError, match=f"{named} must "):
        call()
