"""Finite discrete diffusion against matrix exponentials, Bayes' rule and published numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import chi2, ncx2

from fewtheory import arrays
from fewtheory.testbeds import (
    Constant,
    Geometric,
    LogLinear,
    MaskedDiffusion,
    TokenLaw,
    UniformDiffusion,
    countdown_law,
    dirichlet_law,
    markov_chain_law,
    parity_law,
)

EPS = np.finfo(np.float64).eps
LEVEL, MISS = 1e-6, 1e-6
P0 = np.array([0.3, 0.05, 0.1, 0.05, 0.02, 0.13, 0.15, 0.2])  # known answers of sheet `lsd`
BITS = TokenLaw(P0, V=2)
KINDS = {"masked": MaskedDiffusion, "uniform": UniformDiffusion}
NOISES = {
    "log-linear": LogLinear(),
    "log-linear to the end": LogLinear(0.0),
    "geometric": Geometric(1e-3, 7.0),
    "constant": Constant(3.0),
}


@pytest.fixture(params=list(KINDS))
def kind(request):
    """Masked and uniform noise."""
    return KINDS[request.param]


@pytest.fixture(params=list(NOISES))
def noise(request):
    """Each of the noise schedules."""
    return NOISES[request.param]


@st.composite
def laws(draw):
    """Laws of one to three tokens of two or three symbols, most with states of probability 0."""
    V, L = draw(st.integers(2, 3)), draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    raw = rng.dirichlet(np.full(V**L, draw(st.sampled_from([0.1, 1.0, 5.0]))))
    raw = raw * (rng.random(V**L) < draw(st.sampled_from([0.4, 0.8, 1.0])))
    raw = raw if raw.sum() > 0 else np.eye(V**L)[0]
    return TokenLaw(raw / raw.sum(), V=V)


kinds, times = st.sampled_from(list(KINDS.values())), st.floats(0.05, 1.0)
noises = st.sampled_from(list(NOISES.values()))


# noise schedules


def test_sigma_bar_is_the_integral_of_sigma(noise):
    t, s = 0.7, 0.2
    nodes, weights = np.polynomial.legendre.leggauss(60)  # analytic: exact to rounding
    at = 0.5 * (t - s) * nodes + 0.5 * (t + s)
    total = 0.5 * (t - s) * weights @ noise.sigma(at)
    assert noise.sigma_bar(t) - noise.sigma_bar(s) == pytest.approx(total, rel=64 * EPS)


def test_a_schedule_in_torch_has_sigma_as_the_derivative_of_sigma_bar(noise):
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(noise.sigma_bar(t).sum(), t)
    np.testing.assert_allclose(slope, noise.sigma(t).detach(), rtol=16 * EPS)


def test_a_schedule_gives_back_what_it_gets(noise, asarray):
    t, s = np.array([0.3, 0.6]), np.array([0.1, 0.6])
    for f in (noise.sigma, noise.sigma_bar, noise.keep, noise.lost, noise.reveal_rate, noise.t_at):
        found = f(asarray(t))
        assert type(found) is type(asarray(t))
        assert type(f(0.3)) is float
        np.testing.assert_allclose(arrays.to_numpy(found)[0], f(0.3), rtol=16 * EPS)
    for f in (noise.lost, noise.reveal):
        found = arrays.to_numpy(f(asarray(t), asarray(s)))
        np.testing.assert_allclose(found, [f(0.3, 0.1), 0.0], rtol=16 * EPS)


@given(noises, st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=40)
def test_t_at_is_the_inverse_of_sigma_bar(noise, t):
    # t and sigma_bar are each good to a few eps; an error of sigma_bar returns over its slope
    bar = noise.sigma_bar(t)
    bound = 8 * EPS * (1 + bar * (1 + abs(math.log(bar))) / noise.sigma(t))
    assert abs(noise.t_at(bar) - t) <= bound


@given(noises, st.floats(0.01, 0.99), st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=40)
def test_lost_and_reveal_are_the_ratios_that_define_them(noise, t, fraction):
    s = fraction * t
    k_t, k_s = noise.keep(t), noise.keep(s)
    # the plain differences lose eps absolutely, the stable forms do not
    assert noise.lost(t, s) == pytest.approx(1 - k_t / k_s, abs=16 * EPS)
    plain = (k_s - k_t) / (1 - k_t)
    assert noise.reveal(t, s) == pytest.approx(plain, abs=16 * EPS / (1 - k_t))


@given(noises, st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=40)
def test_the_reveal_rate_is_the_score_factor_times_sigma(noise, t):
    k, lost = noise.keep(t), noise.lost(t)
    assert noise.reveal_rate(t) == pytest.approx(noise.sigma(t) * k / lost, rel=64 * EPS)


def test_log_linear_noise_is_stable_where_sigma_is_infinite():
    noise = LogLinear(0.0)
    assert noise.sigma(1.0) == math.inf
    assert noise.keep(1.0) == 0.0
    assert noise.reveal_rate(1.0) == 1.0
    assert noise.reveal(1.0, 0.75) == 0.25
    assert noise.lost(1.0, 0.3) == 1.0


def test_log_linear_noise_reveals_the_step_over_the_time():
    # sheet `lsd`, C2 and its known answers: Euler = analytic = h / t
    noise, t, h = LogLinear(1e-3), 0.62, 0.17
    assert noise.reveal(t, t - h) == pytest.approx(0.2741935483870968, rel=1e-13)
    assert h * noise.reveal_rate(t) == pytest.approx(0.2741935483870968, rel=1e-13)
    assert noise.keep(t) / noise.lost(t) == pytest.approx(0.6145177435500015, rel=1e-13)


def test_geometric_noise_has_the_known_reveal_probabilities():
    noise, t, h = Geometric(1e-3, 7.0), 0.62, 0.17  # known answers of sheet `lsd`
    assert noise.keep(t) / noise.lost(t) == pytest.approx(3.6510017474598397, rel=1e-12)
    assert h * noise.reveal_rate(t) == pytest.approx(1.3302854878277774, rel=1e-12)
    assert noise.reveal(t, t - h) == pytest.approx(0.756654409577184, rel=1e-12)


# the forward process


@pytest.mark.parametrize("s", [None, 0.3])
def test_the_kernel_is_the_exponential_of_the_full_generator(kind, noise, s):
    bed, t = kind(BITS, noise), 0.8
    gap = noise.sigma_bar(t) - (0.0 if s is None else noise.sigma_bar(s))
    full = expm(gap * bed.generator().toarray())
    one, product = bed.transition(t, s), np.eye(1)
    for _ in range(bed.L):
        product = np.kron(product, one)
    # expm squares about log2(norm) times, each time n roundings of entries below 1
    np.testing.assert_allclose(full, product, rtol=0, atol=256 * full.shape[0] * EPS)


def test_the_marginal_is_the_data_law_moved_by_the_full_kernel(kind, noise):
    bed, t = kind(BITS, noise), 0.6
    start = np.zeros((bed.symbols,) * 3)
    start[:2, :2, :2] = BITS.table
    moved = start.reshape(-1) @ expm(noise.sigma_bar(t) * bed.generator().toarray())
    np.testing.assert_allclose(
        bed.at(t).table.reshape(-1), moved, rtol=0, atol=256 * moved.size * EPS
    )


@given(kinds, noises, st.lists(st.floats(0, 1), min_size=3, max_size=3))
@settings(deadline=None, max_examples=40)
def test_kernels_compose(kind, noise, three):
    s, r, t = sorted(three)
    bed = kind(BITS, noise)
    whole = bed.transition(r, s) @ bed.transition(t, r)
    # numbers at most 1, good to a few eps, but keep(t) / keep(r): keep = 1 - r loses eps / keep(r)
    near = 16 * EPS / max(noise.keep(r), 1e-300)
    np.testing.assert_allclose(whole, bed.transition(t, s), rtol=0, atol=near)


def test_rows_of_the_rates_sum_to_zero_and_the_resting_law_rests(kind):
    bed = kind(BITS, LogLinear())
    np.testing.assert_allclose(bed.rate_matrix.sum(1), 0, atol=4 * EPS)
    np.testing.assert_allclose(bed.resting @ bed.rate_matrix, 0, atol=4 * EPS)


def test_at_time_zero_the_law_is_the_data_law_and_at_the_end_all_is_masked():
    bed = MaskedDiffusion(BITS, LogLinear(0.0))
    assert bed.at(0.0).table[:2, :2, :2].tolist() == BITS.table.tolist()
    assert bed.at(1.0).table[2, 2, 2] == pytest.approx(1, rel=8 * EPS)
    assert bed.at(1.0).table.sum() == bed.at(1.0).table[2, 2, 2]


def test_at_the_end_of_uniform_noise_all_states_are_equal():
    table = UniformDiffusion(BITS, LogLinear(0.0)).at(1.0).table
    np.testing.assert_allclose(table, 1 / 8, rtol=16 * EPS)


def test_the_log_probability_is_read_from_the_table(kind, noise, asarray):
    bed = kind(countdown_law(3, 2), noise)
    x = bed.states()
    found = arrays.to_numpy(bed.log_prob(asarray(x), 0.4))
    np.testing.assert_array_equal(np.exp(found) > 0, bed.at(0.4).table.reshape(-1) > 0)
    np.testing.assert_allclose(np.exp(found), bed.at(0.4).table.reshape(-1), rtol=16 * EPS)


# draws


def sample_size(law, wrong):
    """The n at which a chi-square test at LEVEL sees `wrong`, but for MISS."""
    cells = law > 0
    shift = float(((wrong - law)[cells] ** 2 / law[cells]).sum())
    limit, n = chi2.isf(LEVEL, cells.sum() - 1), 64
    while ncx2.cdf(limit, cells.sum() - 1, n * shift) > MISS:
        n *= 2
    return n, limit


def chi_square(x, law, symbols):
    """The statistic of counts against a law; infinite where the law is 0 and a count is not."""
    flat = np.ravel_multi_index(tuple(arrays.to_numpy(x).T), (symbols,) * x.shape[1])
    counts, expected = np.bincount(flat, minlength=law.size), len(flat) * law
    if counts[law == 0].any():
        return math.inf
    cells = law > 0
    return float(((counts - expected)[cells] ** 2 / expected[cells]).sum())


def product_of_marginals(law):
    one = [law.marginal([i]).table for i in range(law.L)]
    out = np.ones(1)
    for p in one:
        out = np.multiply.outer(out, p)
    return out.reshape(-1)


@pytest.mark.parametrize("seed", [np.random.default_rng(3), torch.Generator().manual_seed(3)])
def test_draws_of_clean_data_have_the_law_of_the_table(seed):
    bed = MaskedDiffusion(countdown_law(3, 3), LogLinear())
    law = bed.p0.table.reshape(-1)
    n, limit = sample_size(law, product_of_marginals(bed.p0))  # a wrong law: independent tokens
    assert chi_square(bed.sample(n, rng=seed), law, 3) < limit


@pytest.mark.parametrize("seed", [np.random.default_rng(4), torch.Generator().manual_seed(4)])
def test_noised_draws_have_the_law_of_the_marginal(kind, seed):
    bed, t = kind(BITS, LogLinear()), 0.45
    law, wrong = (bed.at(v).table.reshape(-1) for v in (t, 1.1 * t))  # a wrong law: 10% late
    n, limit = sample_size(law, wrong)
    x0 = bed.sample(n, rng=seed)
    assert chi_square(bed.noised(x0, t, rng=seed), law, bed.symbols) < limit


def test_each_row_has_its_own_time(kind, rng):
    bed = kind(BITS, LogLinear(0.0))
    x0 = bed.sample(4000, rng=rng)
    t = np.where(np.arange(4000) < 2000, 0.0, 1.0)
    x = bed.noised(x0, t, rng=rng)
    assert np.all(x[:2000] == x0[:2000])
    if kind is MaskedDiffusion:
        assert np.all(x[2000:] == 2)
    else:  # 6000 fair coins against a wrong law, all kept: sd is 0.0065
        assert abs((x[2000:] == x0[2000:]).mean() - 0.5) < 0.0065 * 6


def test_draws_are_of_the_kind_asked_for(asarray, rng):
    bed = MaskedDiffusion(BITS, LogLinear())
    like = asarray(np.zeros((1, 3), dtype=np.int32))
    x0 = bed.sample(5, rng=rng, like=like)
    x = bed.noised(x0, 0.5, rng=rng)
    for out in (x0, x):
        assert type(out) is type(like)
        assert out.dtype == like.dtype
        assert tuple(out.shape) == (5, 3)


class Always(np.random.Generator):
    """A generator with one uniform draw for ever."""

    def __init__(self, number):
        super().__init__(np.random.PCG64(0))
        self.number = number

    def random(self, size=None, **_):
        return np.full(size, self.number)


def test_a_state_of_probability_zero_is_never_drawn():
    law = TokenLaw([0.0] + [0.1] * 10 + [0.0, 0.0])
    assert law.sample(1, rng=Always(0.0)).tolist() == [[1]]
    assert law.sample(1, rng=Always(np.nextafter(1.0, 0.0))).tolist() == [[10]]


# ratios and reverse rates


@given(laws(), kinds, noises, times)
@settings(deadline=None, max_examples=40)
def test_the_score_is_the_ratio_of_probabilities(law, kind, noise, t):
    bed = kind(law, noise)
    p, x = bed.at(t).table, bed.states()
    score = bed.score(x, t)
    for row, ratios in zip(x, score, strict=True):
        for i, a in itertools.product(range(bed.L), range(bed.symbols)):
            other = row.copy()
            other[i] = a
            if p[tuple(row)] > 0:
                expected = p[tuple(other)] / p[tuple(row)]
                assert ratios[i, a] == pytest.approx(expected, rel=4 * EPS)
        assert np.all(ratios[np.arange(bed.L), row] == 1)


@given(laws(), kinds, noises, times)
@settings(deadline=None, max_examples=40)
def test_in_an_impossible_state_every_conditional_is_that_of_uniform_data(law, kind, noise, t):
    bed = kind(law, noise)
    V, L = law.V, law.L
    flat = kind(TokenLaw(np.full(V**L, V**-L), V=V), noise)
    x = bed.states()[(bed.at(t).table == 0).reshape(-1) & (flat.at(t).table > 0).reshape(-1)]
    if len(x) == 0:
        return
    s = 0.5 * t
    for name, arguments in (
        ("score", (t,)),
        ("posterior", (t,)),
        ("token_posterior", (t,)),
        ("reverse", (t, s)),
        ("token_reverse", (t, s)),
    ):
        found, expected = (getattr(b, name)(x, *arguments) for b in (bed, flat))
        np.testing.assert_allclose(found, expected, rtol=64 * EPS, atol=64 * EPS)


def test_a_masked_token_in_an_impossible_context_is_uniform():
    bed = MaskedDiffusion(countdown_law(3, 3), LogLinear())
    x = np.array([[2, 0, 3]])  # 2 must be followed by 1
    assert bed.token_posterior(x, 0.5)[0].tolist() == [[0, 0, 1], [1, 0, 0], [1 / 3] * 3]


@given(laws(), noises, times)
@settings(deadline=None, max_examples=40)
def test_for_masked_noise_time_enters_the_score_by_a_scalar(law, noise, t):
    # RADD, sheet `lsd`, C1: k / (1 - k) p0(x_i = a | unmasked tokens), from p0 alone
    bed = MaskedDiffusion(law, noise)
    x, factor = bed.states(), noise.keep(t) / noise.lost(t)
    score = bed.score(x, t)
    for row, ratios in zip(x, score, strict=True):
        seen = [i for i in range(law.L) if row[i] < law.V]
        for i in set(range(law.L)) - set(seen):
            joint = law.marginal([*seen, i]).table[tuple(row[seen])]
            if joint.sum() > 0:
                expected = factor * joint / joint.sum()
                np.testing.assert_allclose(ratios[i, : law.V], expected, rtol=256 * EPS)


@given(laws(), kinds, noises, times)
@settings(deadline=None, max_examples=40)
def test_reverse_flows_are_forward_flows(law, kind, noise, t):
    # p_t(x) Qbar(x, y) = sigma Q(y, x) p_t(y), whose sum over y is the balance of the master eq.
    bed = kind(law, noise)
    sigma = noise.sigma(t)
    if not math.isfinite(sigma):
        return
    p, x, Q = bed.at(t).table, bed.states(), sigma * bed.generator().toarray()
    rates = bed.reverse_rates(x, t)
    for row, out, r in zip(range(len(x)), p.reshape(-1), rates, strict=True):
        for i, a in itertools.product(range(bed.L), range(bed.symbols)):
            if a == x[row, i] or out == 0:
                continue
            other = x[row].copy()
            other[i] = a
            y = np.ravel_multi_index(tuple(other), p.shape)
            flow = Q[y, row] * p.reshape(-1)[y]
            assert out * r[i, a] == pytest.approx(flow, rel=512 * EPS, abs=1e-300)
    np.testing.assert_allclose(rates.sum(-1), 0, atol=8 * EPS * np.abs(rates).max())


def test_reverse_rates_run_the_marginals_backwards(kind):
    # d p_t / dt = -p_t Qbar: against the marginals' own central difference
    bed, t, h = kind(BITS, LogLinear()), 0.5, 1e-5
    x, p = bed.states(), bed.at(t).table.reshape(-1)
    rates, moved = bed.reverse_rates(x, t), np.zeros_like(p)
    for row in range(len(x)):
        for i, a in itertools.product(range(3), range(bed.symbols)):
            other = x[row].copy()
            other[i] = a
            y = np.ravel_multi_index(tuple(other), (bed.symbols,) * 3)
            moved[y] += p[row] * rates[row, i, a]
    slope = (bed.at(t + h).table - bed.at(t - h).table).reshape(-1) / (2 * h)
    # a cubic polynomial in t with derivatives below 6 and eps / h of rounding
    np.testing.assert_allclose(moved, -slope, rtol=0, atol=6 * h**2 + 4 * EPS / h)


def test_masked_rates_are_finite_where_sigma_is_infinite():
    bed = MaskedDiffusion(BITS, LogLinear(0.0))
    rates = bed.reverse_rates(np.array([[2, 2, 2]]), 1.0)[0]
    one = [BITS.marginal([i]).table for i in range(3)]
    np.testing.assert_allclose(rates[:, :2], one, rtol=16 * EPS)
    np.testing.assert_allclose(rates[:, 2], -1, rtol=16 * EPS)


# conditionals


@given(laws(), kinds, noises, times, st.floats(0, 0.95))
@settings(deadline=None, max_examples=40)
def test_the_reverse_kernel_takes_the_law_back_exactly(law, kind, noise, t, fraction):
    bed, s = kind(law, noise), fraction * t
    p_t, p_s = (bed.at(v).table.reshape(-1) for v in (t, s))
    kernel = bed.reverse(bed.states(), t, s).reshape(p_t.size, -1)
    np.testing.assert_allclose(kernel.sum(1), 1, rtol=p_t.size * 4 * EPS)
    np.testing.assert_allclose(p_t @ kernel, p_s, rtol=0, atol=p_t.size * 16 * EPS)


@given(laws(), kinds, noises, times, st.floats(0, 0.95))
@settings(deadline=None, max_examples=40)
def test_the_reverse_kernel_is_bayes_rule(law, kind, noise, t, fraction):
    bed, s = kind(law, noise), fraction * t
    step, x = bed.transition(t, s), bed.states()
    forward = np.ones((len(x), len(x)))
    for i in range(law.L):
        forward = forward * step[x[:, i][:, None], x[:, i][None, :]]
    joint = bed.at(s).table.reshape(-1)[:, None] * forward
    reach = joint.sum(0)
    kernel = bed.reverse(x, t, s).reshape(len(x), -1)
    seen = reach > 1e-290  # joint itself underflows where keep is 0 to rounding
    np.testing.assert_allclose(
        kernel[seen], (joint[:, seen] / reach[seen]).T, rtol=0, atol=len(x) * 8 * EPS
    )


@given(laws(), kinds, noises, times)
@settings(deadline=None, max_examples=40)
def test_the_posterior_is_bayes_rule(law, kind, noise, t):
    bed = kind(law, noise)
    kernel, x = bed.transition(t)[: law.V], bed.states()
    found = bed.posterior(x, t)
    y = np.indices(law.table.shape).reshape(law.L, -1).T
    for row, table in zip(x, found, strict=True):
        joint = law.table.reshape(-1).copy()
        for i in range(law.L):
            joint = joint * kernel[y[:, i], row[i]]
        if joint.sum() > 0:
            expected = joint / joint.sum()
            np.testing.assert_allclose(table.reshape(-1), expected, rtol=0, atol=len(y) * 8 * EPS)


@given(laws(), noises, times, st.floats(0.0, 0.95))
@settings(deadline=None, max_examples=40)
def test_a_masked_token_is_revealed_from_its_posterior(law, noise, t, fraction):
    # Tweedie, sheet `lsd`: revealed with (k_s - k_t) / (1 - k_t), the token from the conditional
    bed, s = MaskedDiffusion(law, noise), fraction * t
    x = bed.states()
    reveal = noise.reveal(t, s)
    masked = (x == law.V)[:, :, None]
    expected = np.zeros((*x.shape, law.V + 1))
    expected[:, :, :-1] = np.where(masked, reveal, 1.0) * bed.token_posterior(x, t)
    expected[:, :, -1:] = np.where(masked, 1 - reveal, 0.0)
    possible = (bed.at(t).table > 0).reshape(-1)
    found = bed.token_reverse(x[possible], t, s)
    np.testing.assert_allclose(found, expected[possible], rtol=0, atol=256 * EPS)


@given(laws(), noises, times, st.floats(0.0, 0.95))
@settings(deadline=None, max_examples=40)
def test_one_token_conditionals_are_the_analytic_ones_of_uniform_noise(law, noise, t, fraction):
    # Tweedie, sheet `lsd`, C4: [P_st^{-T} score]_a P_st(a -> x_i), where P_st has an inverse
    bed, s = UniformDiffusion(law, noise), fraction * t
    step, x = bed.transition(t, s), bed.states()
    kept = 1 - noise.lost(t, s)
    if kept < 1e-3:
        return
    pulled = bed.score(x, t) @ np.linalg.inv(step)
    expected = pulled * step.T[x]
    # solving loses 1 / kept of the largest ratio; the ratios are at most 1 / (lost / V)^1 each
    size = np.abs(bed.score(x, t)).max() / kept
    np.testing.assert_allclose(
        bed.token_reverse(x, t, s), expected, rtol=0, atol=64 * EPS * size * law.V
    )


def test_uniform_noise_has_the_known_conditionals_and_ratios(asarray):
    bed = UniformDiffusion(BITS, LogLinear(1e-3))  # known answers of sheet `lsd`
    x, t, s = asarray(np.array([[0, 0, 1]])), 0.62, 0.45
    tweedie = [
        [0.8361158527104787, 0.16388414728952144],
        [0.855480487129893, 0.14451951287010728],
        [0.2188204607483632, 0.7811795392516371],
    ]
    score = [[1, 1.0509827415996698], [1, 0.9483509213070808], [1.342143097552094, 1]]
    euler = [0.2344705992930902, 0.21157379665490725, 0.29942746342450766]
    found = arrays.to_numpy(bed.token_reverse(x, t, s))[0]
    np.testing.assert_allclose(found, tweedie, rtol=1e-12)
    np.testing.assert_allclose(arrays.to_numpy(bed.score(x, t))[0], score, rtol=1e-12)
    rates = arrays.to_numpy(bed.reverse_rates(x, t))[0]
    np.testing.assert_allclose((t - s) * rates[[0, 1, 2], [1, 1, 0]], euler, rtol=1e-12)


@pytest.mark.parametrize("kind", list(KINDS.values()))
def test_a_batch_gives_back_its_rows_on_every_backend(kind, asarray):
    bed = kind(countdown_law(3, 2), LogLinear())
    x = np.array([[0, 1], [2, 1], [0, 1], [1, 0]])
    calls = [("score", (0.5,)), ("reverse_rates", (0.5,)), ("reverse", (0.5, 0.2))]
    calls += [("posterior", (0.5,)), ("token_posterior", (0.5,)), ("token_reverse", (0.5, 0.2))]
    for name, arguments in calls:
        found = getattr(bed, name)(asarray(x), *arguments)
        assert type(found) is type(asarray(x))
        alone = np.concatenate([getattr(bed, name)(x[i : i + 1], *arguments) for i in range(4)])
        np.testing.assert_array_equal(arrays.to_numpy(found), alone)


def test_an_empty_batch_gives_empty_results(kind, asarray):
    bed, x = kind(BITS, LogLinear()), asarray(np.zeros((0, 3), dtype=np.int64))
    assert tuple(bed.score(x, 0.5).shape) == (0, 3, bed.symbols)
    assert tuple(bed.posterior(x, 0.5).shape) == (0, 2, 2, 2)
    assert tuple(bed.token_reverse(x, 0.5, 0.2).shape) == (0, 3, bed.symbols)
    assert tuple(bed.noised(x, 0.5, rng=np.random.default_rng(0)).shape) == (0, 3)


def test_the_path_bound_of_masked_sampling_is_a_mean_of_total_correlations():
    # known answers of sheet `lsd`: each token revealed at one of M steps, uniformly
    known = {1: 0.22866094870475506, 2: 0.11729920953211082, 3: 0.07885919195023683}
    for M, expected in known.items():
        total = 0.0
        for steps in itertools.product(range(M), repeat=3):
            for k in range(M):
                block = [i for i in range(3) if steps[i] == k]
                before = [i for i in range(3) if steps[i] < k]
                total += BITS.total_correlation(block, before) / M**3
        assert total == pytest.approx(expected, abs=1e-12)


# named laws


def test_the_countdown_law_counts_down():
    law = TokenLaw(countdown_law(4, 3))
    for x in np.argwhere(law.table > 0):
        assert all(b == a - 1 for a, b in itertools.pairwise(x) if a > 0)
    np.testing.assert_allclose(law.table[3, 2, 1], 1 / 4, rtol=4 * EPS)
    np.testing.assert_allclose(law.table[0, 0, 0], 1 / 64, rtol=4 * EPS)


def test_the_markov_law_has_the_known_entropy():
    # sheet `lsd`, C9: true entropy 1.993479 at V = 2, L = 5, stay 0.9
    assert TokenLaw(markov_chain_law(2, 5, 0.9)).entropy() == pytest.approx(1.993479, abs=5e-7)


def test_the_markov_law_stays_with_the_given_probability():
    law = TokenLaw(markov_chain_law(3, 3, 0.7))
    row = law.next_token(np.array([[0, 2]]))[0]
    np.testing.assert_allclose(row, [0.15, 0.15, 0.7], rtol=16 * EPS)


@pytest.mark.parametrize("L", [1, 3, 4])
def test_the_parity_law_is_odd_with_the_given_probability(L):
    table = parity_law(0.05, L)
    odd = np.indices(table.shape).sum(0) % 2 == 1
    assert table[odd].sum() == pytest.approx(0.05, rel=4 * EPS)
    assert np.ptp(table[odd]) == 0
    assert table.sum() == pytest.approx(1, rel=8 * EPS)


def test_the_random_law_is_numpys_dirichlet_draw():
    # sheet `lsd`, C3: default_rng(1).dirichlet(5 * 1_27), total correlation .0582
    table = dirichlet_law(3, 3, 5.0, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(
        table.reshape(-1), np.random.default_rng(1).dirichlet(np.full(27, 5.0))
    )
    assert TokenLaw(table).total_correlation([0, 1, 2]) == pytest.approx(0.0582, abs=5e-5)


# bad input

MASKED, UNIFORM = (kind(BITS, LogLinear()) for kind in KINDS.values())
X = np.zeros((2, 3), dtype=np.int64)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: LogLinear(1.0), "eps"),
        (lambda: LogLinear(-0.1), "eps"),
        (lambda: Geometric(0.0, 1.0), "sigma_min"),
        (lambda: Geometric(1.0, 1.0), "sigma_max"),
        (lambda: Constant(0.0), "rate"),
        (lambda: MaskedDiffusion(np.full((2,) * 14, 2.0**-14), LogLinear()), "p0"),
        (lambda: MaskedDiffusion([[0.5, 0.4]], LogLinear()), "table"),
        (lambda: UniformDiffusion(np.full((2,) * 13, 2.0**-13), Constant()).generator(), "p0"),
        (lambda: MASKED.transition(1.5), "t"),
        (lambda: MASKED.transition(0.5, 0.6), "s"),
        (lambda: MASKED.transition(0.5, -0.1), "s"),
        (lambda: MASKED.at(math.nan), "t"),
        (lambda: MASKED.sample(-1, rng=RNG), "n"),
        (lambda: MASKED.noised(X + 2, 0.5, rng=RNG), "x0"),
        (lambda: MASKED.noised(X, 1.5, rng=RNG), "t"),
        (lambda: MASKED.noised(X, np.zeros(3), rng=RNG), "t"),
        (lambda: MASKED.noised(X, np.array([0.5, math.nan]), rng=RNG), "t"),
        (lambda: MASKED.score(X[:, :2], 0.5), "x"),
        (lambda: MASKED.score(X[0], 0.5), "x"),
        (lambda: MASKED.score(X + 3, 0.5), "x"),
        (lambda: UNIFORM.score(X + 2, 0.5), "x"),
        (lambda: UNIFORM.score(X - 1, 0.5), "x"),
        (lambda: MASKED.reverse_rates(X, 0.0), "t"),
        (lambda: MASKED.reverse_rates(X, -1.0), "t"),
        (lambda: UNIFORM.reverse_rates(X, 1.1), "t"),
        (lambda: MASKED.posterior(X, 2.0), "t"),
        (lambda: MASKED.token_posterior(X, 2.0), "t"),
        (lambda: MASKED.reverse(X, 0.5, 0.5), "s"),
        (lambda: MASKED.token_reverse(X, 0.5, 0.7), "s"),
        (lambda: markov_chain_law(1, 3, 0.9), "V"),
        (lambda: markov_chain_law(2, 3, 1.1), "stay"),
        (lambda: markov_chain_law(2, 21, 0.9), "L"),
        (lambda: countdown_law(11, 6), "L"),
        (lambda: countdown_law(3, 0), "L"),
        (lambda: parity_law(-0.1), "eps"),
        (lambda: dirichlet_law(2, 2, 0.0, rng=RNG), "concentration"),
    ],
)
def test_a_bad_argument_is_named(own_checks, call, named):
    with pytest.raises(ValueError, match=rf": {named} must "):
        call()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: MaskedDiffusion(BITS, 0.5), "noise"),
        (lambda: MASKED.score(X.astype(float), 0.5), "x"),
        (lambda: MASKED.score([[0, 0, 0]], 0.5), "x"),
        (lambda: MASKED.noised(X, 0.5, rng=3), "rng"),
        (lambda: MASKED.noised(X, "now", rng=RNG), "t"),
        (lambda: MASKED.at("now"), "t"),
        (lambda: dirichlet_law(2, 2, 1.0, rng=torch.Generator()), "rng"),
        (lambda: countdown_law(2.5, 3), "V"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(own_checks, call, named):
    with pytest.raises(TypeError, match=rf": {named} must "):
        call()
