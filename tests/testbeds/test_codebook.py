"""Codebook mixtures and their flow against mpmath, gradients, quadrature and published numbers."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from fewtheory import arrays, paths
from fewtheory.testbeds import (
    CodebookMixture,
    CodebookSequence,
    TokenLaw,
    markov_chain,
    mixture_1d,
)

EPS = np.finfo(np.float64).eps
RF, VP = paths.RectifiedFlow(), paths.VPLinear()
CODES, P, Q = [[-1.5], [0.2], [0.9], [2.0]], [0.15, 0.35, 0.4, 0.1], [0.3, 0.2, 0.4, 0.1]
BOOK = CodebookMixture(P, CODES)  # book A of the sheets `distilled-decoding-1` and -2
STEP = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
CHAIN = markov_chain([0.3125, 0.5208333333333334, 0.1666666666666666], STEP, 4)  # sheet 1, C4


# one position: a mixture around codes


def exact_moments(weights, codes, std, alpha, sigma, x):
    """(E[x_0|x], E[eps|x], score, log density) of one row in mpmath."""
    alpha, sigma, std = mp.mpf(alpha), mp.mpf(sigma), mp.mpf(std)
    v, d = alpha**2 * std**2 + sigma**2, len(x)
    gaps = [[mp.mpf(a) - alpha * mp.mpf(b) for a, b in zip(x, c, strict=True)] for c in codes]
    terms = [
        mp.mpf(w) * mp.exp(-sum(g**2 for g in gap) / (2 * v))
        for w, gap in zip(weights, gaps, strict=True)
    ]
    total = sum(terms)
    pull = [sum(w * gap[k] for w, gap in zip(terms, gaps, strict=True)) / total for k in range(d)]
    mean = [
        sum(w * mp.mpf(c[k]) for w, c in zip(terms, codes, strict=True)) / total for k in range(d)
    ]
    data = [m + alpha * std**2 / v * g for m, g in zip(mean, pull, strict=True)]
    density = mp.log(total) - mp.mpf(d) / 2 * mp.log(2 * mp.pi * v)
    return data, [sigma / v * g for g in pull], [-g / v for g in pull], density


@pytest.mark.parametrize("std", [0.0, 1e-3, 0.4])
@pytest.mark.parametrize("t", [1.0, 0.7, 1e-2, 1e-5])
def test_predictions_are_those_of_a_brute_force_mixture(asarray, std, t):
    rng = np.random.default_rng(5)
    codes, weights = rng.standard_normal((5, 3)), rng.dirichlet(np.ones(5), size=4)
    weights[0] = [0.5, 0.5 - 1e-12, 1e-12, 0.0, 0.0]
    weights[1] = [0.4, 0.6, 0.0, 0.0, 0.0]
    alpha, sigma = RF.alpha(t), RF.sigma(t)
    far = 3e5 * np.cross(codes[0] - codes[1], [1.0, 0.0, 0.0])  # as near to the one as the other
    x = alpha * np.stack([codes[2] + 1e-6, 0.5 * (codes[0] + codes[1]), codes[3], 30 * codes[1]])
    x[1] += far
    bed = CodebookMixture(weights, codes, std)
    found = [
        arrays.to_numpy(bed.model(RF, name)(asarray(x), t)) for name in ("data", "noise", "score")
    ]
    log = arrays.to_numpy(bed.at(RF, t).log_prob(asarray(x)))
    v = alpha**2 * std**2 + sigma**2
    for i in range(4):
        with mp.workdps(60):
            exact = exact_moments(weights[i], codes, std, alpha, sigma, x[i].tolist())
            data, noise, score = (np.array([float(u) for u in part]) for part in exact[:3])
            density = float(exact[3])
        gap = np.abs(x[i] - alpha * codes)
        live = weights[i] > 0
        k = np.argmin(np.where(live, (gap**2).sum(1), np.inf))
        # a gap g = x - alpha c is good to eps (|x| + |alpha c|); log weights are sums of
        # alpha (c_k - c_j) (g_j + g_k) / 2v with that error; codes 40 below the likeliest weigh
        # nothing to rounding, whatever theirs is
        place = np.abs(x[i]) + np.abs(alpha * codes).max(0)
        size = (np.abs(alpha * (codes[k] - codes)) * place).sum(1) / v
        below = ((gap**2).sum(1) - (gap[k] ** 2).sum()) / (2 * v) - 40
        error = 32 * EPS * (1 + size[live & (below < 1e-6 * size)].max())
        reach = gap[live].max()
        pulled = alpha * std**2 / v * reach
        assert np.abs(found[0][i] - data).max() <= error * (np.abs(codes).max() + pulled)
        assert np.abs(found[1][i] - noise).max() <= error * (1 + sigma / v * reach)
        assert np.abs(found[2][i] - score).max() <= error * (1 + reach / v)
        assert abs(log[i] - density) <= error * (1 + abs(density)) + 4 * EPS * gap[k] @ place / v


def test_far_points_and_tiny_noise_overflow_nowhere(asarray):
    x = asarray([[1e8], [-1e8], [0.55]])
    for t in (1e-7, 1e-3, 1.0):
        for name in ("data", "noise", "score", "velocity"):
            assert np.all(np.isfinite(arrays.to_numpy(BOOK.model(RF, name)(x, t))))
    data = arrays.to_numpy(BOOK.model(RF, "data")(x, 1e-7))
    assert data[:2, 0].tolist() == [2.0, -1.5]


def test_the_book_of_the_sheet_has_the_known_denoiser_velocity_and_score(asarray):
    x, t = asarray([[0.37]]), 0.45  # known answers of sheet `distilled-decoding-1`
    found = [float(BOOK.model(RF, name)(x, t)[0, 0]) for name in ("data", "velocity", "score")]
    known = [0.6354746192305624, -0.5899435982901386, -0.10118004653427504]
    assert found == pytest.approx(known, rel=1e-13)


@pytest.mark.parametrize("t", [0.9, 0.5, 0.1])
def test_velocity_and_score_are_one_field(t, rng):
    # sheets: v = (x - x0hat) / t = -(t s + x) / (1 - t), s = -E[eps|x] / t
    x = rng.standard_normal((6, 1))
    data, noise, s, v = (BOOK.model(RF, n)(x, t) for n in ("data", "noise", "score", "velocity"))
    size = 64 * EPS * (1 + np.abs(x).max()) / (t * t * (1 - t))
    np.testing.assert_allclose(v, (x - data) / t, rtol=0, atol=size)
    np.testing.assert_allclose(v, -(t * s + x) / (1 - t), rtol=0, atol=size)
    np.testing.assert_allclose(s, -noise / t, rtol=0, atol=size)


@given(st.sampled_from([0.0, 0.3]), st.floats(0.05, 1.0), st.floats(-4, 4), st.floats(-4, 4))
@settings(deadline=None, max_examples=40)
def test_the_score_is_the_gradient_of_the_log_density(std, t, a, b):
    codes = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 2.0]]
    bed = CodebookMixture([0.4, 0.3, 0.3 - 1e-9, 1e-9], codes, std)
    x = torch.tensor([[a, b]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(bed.at(VP, t).log_prob(x).sum(), x)
    score = bed.model(VP, "score")(x.detach(), t)
    v = VP.alpha(t) ** 2 * std**2 + VP.sigma(t) ** 2
    reach = 4 * math.sqrt(2) + math.sqrt(5)
    # weights are exponentials of reach^2 / 2v, good to eps times that; each pulls by reach / v
    bound = 32 * EPS * (1 + reach**2 / (2 * v)) * (1 + reach / v)
    np.testing.assert_allclose(score, grad, rtol=0, atol=bound)


@pytest.mark.parametrize("t", [0.3, 0.8])
def test_the_density_integrates_to_one_and_gives_the_mean(t):
    def density(u):
        return math.exp(BOOK.at(RF, t).log_prob(np.array([[u]]))[0])

    points = [c[0] * (1 - t) for c in CODES]
    mass, e0 = quad(density, -12, 12, points=points, epsabs=1e-13, limit=200)
    mean, e1 = quad(lambda u: u * density(u), -12, 12, points=points, epsabs=1e-13, limit=200)
    assert mass == pytest.approx(1, abs=2 * e0)
    expected = (1 - t) * float(np.dot(P, np.ravel(CODES)))
    assert mean == pytest.approx(expected, abs=2 * e1)


def test_the_fisher_divergence_of_two_books_is_the_known_one():
    # known answers of sheet `distilled-decoding-2`, C2: E_q |s_q - s_p|^2 and KL(q_t || p_t)
    x, t = np.linspace(-9, 9, 6001)[:, None], 0.5  # trapezoid of an analytic function: exact
    p, q = CodebookMixture(P, CODES), CodebookMixture(Q, CODES)
    log_p, log_q = (b.at(RF, t).log_prob(x) for b in (p, q))
    gap = (q.model(RF, "score")(x, t) - p.model(RF, "score")(x, t))[:, 0]
    step = float(x[1, 0] - x[0, 0])
    fisher, kl = ((np.exp(log_q) * u).sum() * step for u in (gap**2, log_q - log_p))
    assert fisher == pytest.approx(0.18724836170251294, rel=1e-11)
    assert kl == pytest.approx(0.030178411555840442, rel=1e-11)
    assert TokenLaw(Q).kl(TokenLaw(P)) == pytest.approx(0.09602099658089906, rel=1e-12)


def test_the_token_posterior_is_bayes_rule_and_gives_the_denoiser(path, asarray, rng):
    t, x = float(path.t_at(0.2)), rng.standard_normal((3, 1))
    alpha, sigma = path.alpha(t), path.sigma(t)
    found = arrays.to_numpy(BOOK.token_posterior(path, asarray(x), t))
    joint = np.array(P) * norm.pdf(x, alpha * np.ravel(CODES), sigma)
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=512 * EPS)
    data = arrays.to_numpy(BOOK.model(path, "data")(asarray(x), t))
    np.testing.assert_allclose(data, found @ np.array(CODES), rtol=0, atol=16 * EPS * 2)


def test_a_batch_of_prefixes_and_times_is_a_loop_over_them(asarray, rng):
    bed = CodebookSequence(CHAIN, [[0.0, 1.0], [2.0, -1.0], [5.0, 5.0]], std=0.1)
    prefix, x = np.array([[0], [1], [2]]), rng.standard_normal((3, 2))
    t = np.array([0.9, 0.5, 0.01])
    for name in ("noise", "data", "score", "velocity"):
        model = bed.given(asarray(prefix)).model(RF, name)
        found = arrays.to_numpy(model(asarray(x), asarray(t)))
        for i in range(3):
            alone = bed.given(prefix[i : i + 1]).model(RF, name)(x[i : i + 1], float(t[i]))
            np.testing.assert_allclose(found[i : i + 1], alone, rtol=64 * EPS)


def test_the_model_is_differentiable_in_x_and_t(rng):
    bed = CodebookMixture([0.5, 0.3, 0.2], [[0.0, 1.0], [2.0, -1.0], [1.0, 1.0]])
    x = torch.tensor(rng.standard_normal((2, 2)), requires_grad=True)
    t = torch.tensor([0.6, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bed.model(VP, "data"), (x, t))


def test_codes_of_weight_zero_leave_no_trace(asarray):
    padded = CodebookMixture([*P, 0.0], [*CODES, [0.5]])
    x = np.array([[-2.0], [0.1], [0.5]])
    for name in ("data", "score"):
        found = arrays.to_numpy(padded.model(RF, name)(asarray(x), 0.3))
        np.testing.assert_allclose(found, BOOK.model(RF, name)(x, 0.3), rtol=16 * EPS)
    point = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(padded.at(RF, 0.3).log_prob(point).sum(), point)
    assert torch.isfinite(grad).all()


# the flow in one dimension


def test_noise_falls_to_the_tokens_between_the_known_boundaries(asarray):
    # sheet `distilled-decoding-1`, C2: Phi^{-1} of the cumulated weights
    edges = np.array([-1.0364333894937896, 0.0, 1.2815515655446006])
    near = np.concatenate([edges - 1e-12, edges + 1e-12])[:, None]
    assert arrays.to_numpy(BOOK.token(RF, asarray(near), 1.0)).tolist() == [0, 1, 2, 1, 2, 3]


def test_the_separatrix_inside_the_flow_is_the_known_one():
    b = 0.3704481136428423  # known answers of sheet `distilled-decoding-1`: t = .3, codes 1 | 2
    assert BOOK.token(RF, np.array([[b - 1e-12], [b + 1e-12]]), 0.3).tolist() == [1, 2]


def test_unsorted_codes_keep_the_order_of_the_line(asarray):
    order = [2, 0, 3, 1]
    shuffled = CodebookMixture(np.array(P)[order], np.array(CODES)[order])
    x = np.linspace(-3, 3, 41)[:, None]
    found = arrays.to_numpy(shuffled.token(RF, asarray(x), 0.8))
    np.testing.assert_array_equal(np.array(order)[found], BOOK.token(RF, x, 0.8))


def test_far_noises_fall_to_tokens_of_tiny_weight():
    # boundary at -Phi^{-1}(1e-30) = 11.46: 1 - 1e-30 is 1 in float64, a tail is not
    bed = CodebookMixture([1.0 - 1e-30, 1e-30], [[0.0], [1.0]])
    edge = norm.isf(1e-30)
    x = np.array([[edge - 1e-9], [edge + 1e-9]])
    assert bed.token(RF, x, 1.0).tolist() == [0, 1]


@given(st.floats(-5, 5), st.floats(0.2, 1.0), st.floats(0.02, 0.9))
@settings(deadline=None, max_examples=40)
def test_the_token_is_constant_along_the_flow(x, t, fraction):
    x, s = np.array([[x]]), fraction * t
    y, token = BOOK.flow(RF)(x, t, s), BOOK.token(RF, x, t)
    tails = np.array([-1.0364333894937896, 0.0, 1.2815515655446006])
    noise = BOOK.flow(RF)(x, t, 1.0)
    if np.abs(noise - tails).min() < 1e-9:  # closer than the flow's error times its slope
        return
    assert BOOK.token(RF, y, s).tolist() == token.tolist()
    assert BOOK.flow(RF)(y, s, 0.0)[0, 0] == CODES[token[0]][0]


def test_the_flow_ends_near_the_code_as_the_noise_vanishes():
    x = np.array([[-1.2], [-0.5], [0.4], [2.0]])
    y = BOOK.flow(RF)(x, 1.0, 1e-6)
    # inside its cell a point ends within a few sigma of its code
    np.testing.assert_allclose(y, CODES, rtol=0, atol=8e-6)
    np.testing.assert_array_equal(BOOK.flow(RF)(x, 1.0, 0.0), CODES)


def test_wide_codes_flow_as_the_mixture_that_they_are(asarray, rng):
    wide = CodebookMixture(P, CODES, std=0.3)
    plain = mixture_1d(P, np.ravel(CODES), [0.3] * 4)
    x = rng.standard_normal((6, 1))
    for t, s in ((0.9, 0.0), (0.2, 0.7)):
        found = arrays.to_numpy(wide.flow(VP)(asarray(x), t, s))
        exact = plain.flow(VP)(x, t, s)
        slope = np.exp(plain.at(VP, t).log_prob(x) - plain.at(VP, s).log_prob(exact))
        bound = 2e-12 * np.maximum(1, slope)[:, None]  # the bound that the inversion states, twice
        assert np.all(np.abs(found - exact) <= bound)


@pytest.mark.parametrize("std", [0.0, 0.2])
def test_the_flow_moves_with_the_velocity(std):
    bed = CodebookMixture([P, Q], CODES, std)
    x, t = torch.tensor([[0.3], [-0.7]], dtype=torch.float64), 0.9
    s = torch.tensor([0.4, 0.6], dtype=torch.float64, requires_grad=True)
    y = bed.flow(RF)(x, t, s)
    (slope,) = torch.autograd.grad(y.sum(), s)
    velocity = bed.model(RF, "velocity")(y.detach(), s.detach())[:, 0]
    np.testing.assert_allclose(
        slope, velocity, rtol=0, atol=4096 * EPS * float(velocity.abs().max())
    )


def test_rows_of_the_flow_have_their_own_prefix_and_times(asarray):
    bed = CodebookMixture([P, Q, P], CODES)
    x, t, s = np.array([[0.3], [0.3], [-1.2]]), np.array([0.9, 0.9, 0.5]), np.array([0.0, 0.4, 0.0])
    found = arrays.to_numpy(bed.flow(RF)(asarray(x), asarray(t), asarray(s)))
    for i in range(3):
        alone = CodebookMixture(bed.weights[i], CODES).flow(RF)(x[i : i + 1], t[i], s[i])
        np.testing.assert_allclose(found[i : i + 1], alone, rtol=0, atol=1e-11)


def test_the_average_velocity_is_the_displacement_over_time():
    x, t = np.array([[0.3], [-1.2]]), 0.8
    u = BOOK.average_velocity(RF)(x, t, 0.0)
    codes = np.array(CODES)[BOOK.token(RF, x, t)]
    np.testing.assert_allclose(x - t * u, codes, rtol=0, atol=16 * EPS)


@pytest.mark.parametrize("s", [0.2, 0.0])
def test_the_end_of_a_trajectory_stays_when_its_start_moves_along_it(s):
    # MeanFlow's total derivative d/dt along (v, 1, 0) of the exact flow map is zero
    x = torch.tensor([[0.3], [-1.0]], dtype=torch.float64)
    t, s = (torch.full((2,), u, dtype=torch.float64) for u in (0.6, s))
    tangents = (BOOK.model(RF, "velocity")(x, t), torch.ones_like(t), torch.zeros_like(s))
    _, moved = torch.func.jvp(BOOK.flow(RF), (x, t, s), tangents)
    np.testing.assert_allclose(moved, 0.0, atol=1e-11)  # the flow's error, 1e-12, times slopes


def test_a_book_of_one_code_and_an_empty_batch_are_no_exceptions(asarray):
    one = CodebookMixture([1.0], [[0.5]])
    assert arrays.to_numpy(one.token(RF, asarray([[3.0], [-9.0]]), 1.0)).tolist() == [0, 0]
    assert arrays.to_numpy(one.flow(RF)(asarray([[3.0]]), 1.0, 0.0)).tolist() == [[0.5]]
    nothing = asarray(np.zeros((0, 1)))
    assert tuple(BOOK.flow(RF)(nothing, 1.0, 0.0).shape) == (0, 1)
    assert tuple(BOOK.model(RF)(nothing, 0.5).shape) == (0, 1)


def test_single_precision_is_double_precision_rounded(asarray):
    x = np.array([[-3.0], [-0.4], [0.2]], dtype=np.float32)
    found = BOOK.flow(RF)(asarray(x), 0.8, 0.1)
    assert found.dtype == asarray(x).dtype
    exact = BOOK.flow(RF)(x.astype(np.float64), 0.8, 0.1)
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=np.finfo(np.float32).eps)
    score = BOOK.model(RF, "score")(asarray(x), 0.5)
    assert score.dtype == asarray(x).dtype


# bad input

BED = CodebookSequence(CHAIN, [[0.0], [1.0], [2.0]])
RNG = np.random.default_rng(0)
X = np.zeros((2, 1))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: CodebookMixture([0.5, 0.6], [[0.0], [1.0]]), "weights"),
        (lambda: CodebookMixture([1.5, -0.5], [[0.0], [1.0]]), "weights"),
        (lambda: CodebookMixture([1.0], [[0.0], [1.0]]), "weights"),
        (lambda: CodebookMixture([0.5, 0.5], [0.0, 1.0]), "codes"),
        (lambda: CodebookMixture([0.5, 0.5], [[0.0], [math.inf]]), "codes"),
        (lambda: CodebookMixture([0.5, 0.5], [[0.0], [1.0]], -0.1), "std"),
        (lambda: BOOK.log_prob(X), "std"),
        (lambda: BOOK.at(RF, 1.5), "t"),
        (lambda: BOOK.model(RF)(X, 0.0), "t"),
        (lambda: BOOK.model(RF)(X, np.array([0.5, 0.0])), "t"),
        (lambda: BOOK.model(RF)(np.zeros((2, 2)), 0.5), "x"),
        (lambda: BOOK.model(RF, "x0"), "prediction"),
        (lambda: CodebookMixture([P] * 3, CODES).model(RF)(X, 0.5), "x"),
        (lambda: CodebookMixture([P] * 3, CODES).sample(2, rng=RNG), "x"),
        (lambda: BOOK.token(RF, X, 0.0), "t"),
        (lambda: CodebookMixture(P, CODES, 0.1).token(RF, X, 0.5), "std"),
        (lambda: CodebookMixture([1.0], [[0.0, 1.0]]).token(RF, X, 0.5), "codes"),
        (lambda: CodebookMixture([1.0], [[0.0, 1.0]]).flow(RF), "codes"),
        (lambda: BOOK.flow(RF)(X, 0.0, 0.5), "t"),
        (lambda: BOOK.flow(RF)(X, 0.5, 1.5), "s"),
        (lambda: BOOK.flow(RF)(np.array([[math.nan]]), 0.5, 0.1), "x"),
        (lambda: BOOK.token_posterior(RF, X, 0.0), "t"),
        (lambda: BOOK.sample(-1, rng=RNG), "n"),
        (lambda: CodebookSequence(CHAIN, [[0.0], [1.0]]), "codes"),
        (lambda: CodebookSequence(CHAIN, [[0.0], [1.0], [2.0]], -1.0), "std"),
        (lambda: BED.given(np.array([[3]])), "prefix"),
        (lambda: BED.sample(-1, rng=RNG), "n"),
    ],
)
def test_a_bad_argument_is_named(own_checks, call, named):
    with pytest.raises(ValueError, match=rf": {named} must "):
        call()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: CodebookSequence([0.5, 0.5], [[0.0], [1.0]]), "tokens"),
        (lambda: BOOK.model(RF)(np.zeros((2, 1), dtype=int), 0.5), "x"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(own_checks, call, named):
    with pytest.raises(TypeError, match=rf": {named} must "):
        call()
