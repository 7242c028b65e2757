"""The autoregressive loop: one plan a block, each on the law given what was drawn before."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtheory import Model, arrays, samplers
from fewtheory.paths import RectifiedFlow, VPCosine
from fewtheory.plan import grids
from fewtheory.samplers import annealing as an
from fewtheory.samplers.autoregressive import gaussian_factor, innovations
from fewtheory.samplers.heads import euler_head, flowar_head, mar_head
from fewtheory.testbeds import (
    CodebookSequence,
    GaussianSequence,
    exchangeable_cov,
    markov_chain,
)

EPS = np.finfo(float).eps
FLOW = RectifiedFlow()
BED = GaussianSequence(exchangeable_cov(6, 0.8))
STEPS = an.annealed_steps(6, 12, 4)


def exact(path=FLOW, prediction="flow"):
    return lambda i, prefix: BED.given(prefix).model(path, prediction)


@pytest.fixture
def loop():
    return samplers.annealed(exact(), euler_head, STEPS)


def test_the_loop_is_l_diag_r_xi(loop, rng):
    xi = rng.standard_normal((5, 6))
    r = an.schedule_ratios(BED.stds, STEPS)
    bound = 256 * EPS * np.linalg.cond(BED.factor) * np.abs(xi).max()  # innovations are solved for
    np.testing.assert_allclose(loop.run(xi), xi @ (BED.factor * r).T, rtol=0, atol=bound)
    np.testing.assert_allclose(
        gaussian_factor(BED, loop.plans), BED.factor * r, rtol=0, atol=64 * EPS
    )


def test_the_loop_says_that_it_is_not_one_linear_plan(loop):
    assert not loop.linear
    assert all(plan.linear for plan in loop.plans)
    assert loop.nfe == STEPS.sum()
    assert not loop.stochastic
    assert samplers.annealed(exact(), mar_head, [4, 3]).stochastic


def test_equal_numbers_of_steps_share_one_plan():
    loop = samplers.annealed(exact(), euler_head, [4, 3, 4])
    assert loop.plans[0] is loop.plans[2]


def test_the_loop_does_not_depend_on_the_array_library(loop, asarray, rng):
    xi = rng.standard_normal((4, 6))
    found = loop.run(asarray(xi))
    assert type(found) is type(asarray(xi))
    bound = 256 * EPS * np.linalg.cond(BED.factor) * np.abs(xi).max()
    np.testing.assert_allclose(arrays.to_numpy(found), loop.run(xi), rtol=0, atol=bound)


def test_the_loop_does_not_depend_on_the_models_path_where_the_plan_starts_at_noise_and_signal(rng):
    plans = [samplers.ddim(FLOW, grids.log_snr(FLOW, n).to_clean()) for n in STEPS.tolist()]
    xi = rng.standard_normal((4, 6))
    one = samplers.Autoregressive(exact(), plans).run(xi)
    # the same sizes: N(0, alpha^2 + sigma^2) is another start on each path by alpha sigma, 1e-3
    two = samplers.Autoregressive(exact(VPCosine(), "noise"), plans).run(xi * 1.0)
    sizes = [
        math.hypot(*p.level(float(plans[0].lam[0]))) / sum(p.level(float(plans[0].lam[0])))
        for p in (FLOW, VPCosine())
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-9)
    bound = 4096 * EPS * np.exp(-plans[0].lam[0]) * np.abs(xi).max()
    np.testing.assert_allclose(two, one, rtol=0, atol=bound)


def test_blocks_of_several_tokens_are_drawn_at_once(rng):
    seen = []

    def conditional(i, prefix):
        seen.append(prefix.shape)
        return Model(lambda x, t: x, FLOW, "data")

    blocks = samplers.masked_blocks(4, 16)
    loop = samplers.Autoregressive(conditional, [flowar_head(4)] * 4, blocks)
    got = {}
    out = loop.run(rng.standard_normal((3, 16, 2)), callback=lambda i, x: got.update({i: x.shape}))
    assert out.shape == (3, 16, 2)
    assert seen == [(3, k, 2) for k in (0, *np.cumsum(blocks)[:-1])]
    assert [got[i] for i in range(4)] == [(3, k, 2) for k in blocks]


def test_a_stochastic_loop_has_the_law_of_its_factor():
    plans = [mar_head(int(n)) for n in (6, 4)]
    bed = GaussianSequence(exchangeable_cov(2, 0.8))
    A = gaussian_factor(bed, plans)
    loop = samplers.Autoregressive(lambda i, p: bed.given(p).model(VPCosine()), plans)
    rng, n = np.random.default_rng(5), 20_000
    x = loop.run(rng.standard_normal((n, 2)), rng)
    cov = A @ A.T
    # Var of a sample covariance: (c_ii c_jj + c_ij^2) / n; 5 standard errors, three numbers
    error = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / n)
    assert np.all(np.abs(x.T @ x / n - cov) <= 5 * error)


def test_the_factor_carries_a_mean_that_is_not_exact():
    plans = [mar_head(5)] * 3
    bed = GaussianSequence(exchangeable_cov(3, 0.8))
    A, L = gaussian_factor(bed, plans), bed.factor
    assert np.all(np.abs(A[np.tril_indices(3, -1)]) < L[np.tril_indices(3, -1)])
    assert not np.allclose(A[2, 0] / A[0, 0], L[2, 0] / L[0, 0], rtol=1e-6)


def test_tokens_of_a_codebook_come_from_the_chain():
    """Enough steps of the exact flow, and each block is a code, in the proportions of the chain."""
    chain = markov_chain([0.3, 0.7], [[0.9, 0.1], [0.2, 0.8]], L=3)
    bed = CodebookSequence(chain, [[-1.0], [1.0]], std=0.05)

    def conditional(i, prefix):
        model = bed.given((prefix[:, :, 0] > 0).astype(np.int64)).model(FLOW, "flow")
        return Model(lambda x, t: model.function(x[:, 0], t)[:, None], FLOW, "flow")

    n, rng = 4000, np.random.default_rng(6)
    x = samplers.annealed(conditional, euler_head, [60, 60, 60]).run(rng.standard_normal((n, 3, 1)))
    tokens = (x[:, :, 0] > 0).astype(int)
    counts = np.bincount(tokens @ [4, 2, 1], minlength=8)
    p = chain.table().table.ravel()
    assert ((counts - n * p) ** 2 / (n * p)).sum() < 40  # chi2 with 7 degrees: P < 1e-6
    assert np.abs(np.abs(x) - 1).max() < 0.3  # six of the codes' stds


def test_innovations_of_single_numbers_are_stds_and_influence():
    s, w = innovations(BED.cov, 1)
    np.testing.assert_allclose(s[:, 0], BED.stds, rtol=8 * EPS)
    np.testing.assert_allclose(w[:, 0], BED.influence, rtol=8 * EPS)


def test_innovations_of_vectors_are_those_of_their_conditional_laws(rng):
    """Each direction's spread shrunk by its own r is L diag(r) in turned coordinates: the coupling
    error of the sampled sequence is that of stds and influence."""
    root = rng.standard_normal((6, 6))
    cov = root @ root.T + 0.2 * np.eye(6)
    s, w = innovations(cov, 2)
    L = np.linalg.cholesky(cov)
    for i in range(3):
        b = slice(2 * i, 2 * i + 2)
        schur = cov[b, b] - cov[b, : 2 * i] @ np.linalg.solve(
            cov[: 2 * i, : 2 * i], cov[: 2 * i, b]
        )
        spread = np.sqrt(np.linalg.eigvalsh(schur))[::-1]
        np.testing.assert_allclose(s[i], spread, rtol=64 * EPS * np.linalg.cond(cov))
    # every axis's influence squared: together they are the trace, |L|_F^2 = tr cov
    assert (w**2).sum() == pytest.approx(np.trace(cov), rel=64 * EPS)
    assert np.all(w >= s)
    assert (w[:1] ** 2).sum() == pytest.approx((L[:, :2] ** 2).sum(), rel=64 * EPS)


# probes


@pytest.fixture(scope="module")
def probes():
    x = BED.sample(300, rng=np.random.default_rng(1))
    fine = samplers.runge_kutta(FLOW, np.linspace(1, 0, 33), method="heun")
    return samplers.probe(exact(), fine, x, np.random.default_rng(2), repeats=6)


@pytest.mark.parametrize("name", ["variance", "regression"])
def test_spread_and_error_are_the_conditional_variance(probes, name):
    found = getattr(probes, name)
    # six positions at 5 standard errors; Heun's own error of 32 steps is far below them
    assert np.all(np.abs(found.value - BED.stds**2) <= 5 * found.error)
    assert np.all(found.error < 0.2 * BED.stds**2)


def test_straightness_is_that_of_chords_and_tends_to_its_closed_form(probes):
    t = np.linspace(1, 0, 33)[:, None]
    size = np.hypot((1 - t) * BED.stds, t)  # standard deviation of x_t on the exact flow
    chords = (np.diff(size, axis=0) ** 2 * 32).sum(0) - (1 - BED.stds) ** 2
    found = probes.straightness
    assert np.all(np.abs(found.value - chords) <= 5 * found.error)
    # a chord leaves out h^2 / 12 int S''^2: S'' <= (1 + s^2)^2 / s near t = s^2 / (1 + s^2)
    assert np.all(an.straightness(BED.stds) - chords >= 0)
    assert np.all(an.straightness(BED.stds) - chords < 0.02 * an.straightness(BED.stds))


@pytest.mark.usefixtures("own_checks")  # many nodes: the type checker is slow
def test_of_nodes_at_one_level_the_last_counts():
    """Heun's predicted states are no part of the path: its chords are those of a fine Euler run.

    The states that Euler predicts would leave the flow by h^2 S''/2 in each step: with them the sum
    of squared chords would be several times as large near the data.
    """
    x = BED.sample(40, rng=np.random.default_rng(3))
    heun, euler = (
        samplers.probe(exact(), plan, x, np.random.default_rng(4), repeats=2).straightness.value
        for plan in (
            samplers.runge_kutta(FLOW, np.linspace(1, 0, 65), method="heun"),
            euler_head(256),
        )
    )
    np.testing.assert_allclose(heun, euler, rtol=0.03)  # Euler's own error of 256 steps


def test_the_probe_measures_a_real_sequence_of_vectors_on_torch(asarray):
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)
    still = samplers.probe(
        lambda i, prefix: Model(lambda u, t: 0 * u, FLOW, "data"),
        euler_head(4),
        asarray(x),
        np.random.default_rng(1),
        repeats=2,
    )
    # everything is drawn at 0: no spread, the error is the token itself, and the paths are straight
    assert np.all(still.variance.value == 0)
    np.testing.assert_allclose(still.regression.value, (x**2).mean((0, 2)), rtol=1e-6)
    assert np.abs(still.straightness.value).max() < 64 * np.finfo(np.float32).eps * 10


BAD = {
    "Autoregressive: conditional": lambda: samplers.Autoregressive(None, [euler_head(2)]),
    "Autoregressive: plans": lambda: samplers.Autoregressive(exact(), []),
    "Autoregressive: blocks": lambda: samplers.Autoregressive(exact(), [euler_head(2)], [1, 1]),
    "Autoregressive.run: noise": lambda: samplers.Autoregressive(exact(), [euler_head(2)]).run(
        np.zeros((2, 3))
    ),
    "annealed: steps": lambda: samplers.annealed(exact(), euler_head, [2, 0]),
    "gaussian_factor: plans": lambda: gaussian_factor(BED, [euler_head(2)]),
    "innovations: size": lambda: innovations(BED.cov, 4),
    "GaussianSequence: cov": lambda: innovations(-BED.cov, 1),
    "masked_blocks: n": lambda: samplers.masked_blocks(5, 4),
    "masked_blocks: tokens": lambda: samplers.masked_blocks(1, 0),
    "probe: repeats": lambda: samplers.probe(
        exact(), euler_head(2), np.zeros((2, 6)), 1, repeats=1
    ),
    "probe: x": lambda: samplers.probe(exact(), euler_head(2), np.zeros((1, 6)), 1),
    "probe: plan": lambda: samplers.probe(exact(), mar_head(2), np.zeros((2, 6)), 1),
}


@pytest.mark.parametrize("named", list(BAD))
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(named):
    with pytest.raises((ValueError, TypeError), match=f"^{named} must be "):
        BAD[named]()


def test_every_iteration_of_mar_draws_a_token_and_together_all():
    for n, tokens in ((64, 256), (256, 256), (1, 7), (7, 7), (8, 9)):
        blocks = samplers.masked_blocks(n, tokens)
        assert blocks.sum() == tokens
        assert blocks.min() >= 1
    assert np.all(np.diff(samplers.masked_blocks(16, 4096)) >= 0)  # a growing number
