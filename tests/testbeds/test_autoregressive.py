"""Laws of token sequences against enumeration, mpmath and published numbers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, ncx2, norm

from fewtheory import arrays, paths
from fewtheory.testbeds import (
    CodebookMixture,
    CodebookSequence,
    NextTokenLaw,
    TokenLaw,
    chain_kl,
    markov_chain,
)
from fewtheory.testbeds.tokens import all_states

EPS = np.finfo(np.float64).eps
LEVEL, MISS = 1e-6, 1e-6
RF = paths.RectifiedFlow()
CODES, P, Q = [[-1.5], [0.2], [0.9], [2.0]], [0.15, 0.35, 0.4, 0.1], [0.3, 0.2, 0.4, 0.1]
BOOK = CodebookMixture(P, CODES)  # book A of the sheets `distilled-decoding-1` and -2
STEP = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
CHAIN = markov_chain([0.3125, 0.5208333333333334, 0.1666666666666666], STEP, 4)  # sheet 1, C4
BITS = TokenLaw([0.3, 0.05, 0.1, 0.05, 0.02, 0.13, 0.15, 0.2], V=2)


@st.composite
def tables(draw):
    """Laws of one to four tokens of two or three symbols, some with impossible sequences."""
    V, L = draw(st.integers(2, 3)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    raw = rng.dirichlet(np.full(V**L, 0.5)) * (rng.random(V**L) < draw(st.sampled_from([0.5, 1])))
    raw = raw if raw.sum() > 0 else np.eye(V**L)[0]
    return TokenLaw(raw / raw.sum(), V=V)


def flat(law):
    return law.table.reshape(-1)


# laws of sequences


@given(tables())
@settings(deadline=None, max_examples=40)
def test_the_next_token_laws_multiply_to_the_table(law):
    again = NextTokenLaw(law.next_token, law.V, law.L)
    np.testing.assert_allclose(flat(again.table()), flat(law), rtol=0, atol=16 * law.L * EPS)
    x = all_states(law.V, law.L)
    found, expected = again.log_prob(x), law.log_prob(x)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    sure = np.isfinite(expected)
    # each of the L logarithms takes a ratio of sums with an error of a few eps
    np.testing.assert_allclose(found[sure], expected[sure], rtol=8 * EPS, atol=128 * law.L * EPS)


@given(tables(), st.data())
@settings(deadline=None, max_examples=40)
def test_a_marginal_is_the_sum_over_the_other_tokens(law, data):
    tokens = data.draw(st.permutations(range(law.L)))[: data.draw(st.integers(1, law.L))]
    found = law.marginal(tokens).table
    expected = np.zeros_like(found)
    for x in all_states(law.V, law.L):
        expected[tuple(x[tokens])] += law.table[tuple(x)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=law.table.size * EPS)


@given(tables(), tables())
@settings(deadline=None, max_examples=40)
def test_the_chain_rule_gives_the_joint_kl(law, other):
    if law.table.shape != other.table.shape:
        return
    mixed = TokenLaw(0.5 * law.table + 0.5 * other.table)
    terms = chain_kl(law, mixed)
    assert np.all(terms >= 0)
    # the sums are of size log 2; the conditionals of rare prefixes are good to a few eps each
    assert terms.sum() == pytest.approx(law.kl(mixed), abs=64 * law.table.size * EPS)


def test_the_chain_rule_takes_prefixes_from_the_first_law():
    # by hand: p(0) = 1 - a, and only after 0 do the second tokens differ
    p = markov_chain([0.75, 0.25], [[0.5, 0.5], [0.5, 0.5]], 2)
    q = markov_chain([0.5, 0.5], [[0.9, 0.1], [0.5, 0.5]], 2)
    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    second = 0.75 * 0.5 * (math.log(0.5 / 0.9) + math.log(0.5 / 0.1))
    np.testing.assert_allclose(chain_kl(p, q), [first, second], rtol=16 * EPS)


def test_a_law_outside_the_support_is_at_infinite_distance():
    p, q = TokenLaw([0.5, 0.5]), TokenLaw([1.0, 0.0])
    assert p.kl(q) == math.inf
    assert q.kl(p) == pytest.approx(math.log(2), rel=4 * EPS)
    assert p.tv(q) == 0.5


def test_after_an_impossible_prefix_the_next_token_is_uniform():
    law = TokenLaw([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert law.next_token(np.array([[1], [0]])).tolist() == [[1 / 3] * 3, [0.5, 0.5, 0.0]]


def test_the_total_correlation_of_a_chain_is_its_published_value():
    # sheet `distilled-decoding-1`, C4: (n - 1) I = .73553916286, TV to the product .4673
    law = CHAIN.table()
    assert law.total_correlation(range(4)) == pytest.approx(0.73553916286, abs=5e-12)
    one = [law.marginal([i]).table for i in range(4)]
    product = TokenLaw(np.einsum("a,b,c,d->abcd", *one))
    assert law.kl(product) == pytest.approx(law.total_correlation(range(4)), rel=1e-13)
    assert law.tv(product) == pytest.approx(0.4673, abs=5e-5)


def test_the_total_correlation_of_a_binary_chain_is_known():
    chain = markov_chain([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], 5)  # known answers, sheet 1
    found = chain.table().total_correlation(range(5))
    assert found == pytest.approx(1.4722568286739883, rel=1e-13)


@given(tables(), st.data())
@settings(deadline=None, max_examples=40)
def test_total_correlation_is_a_mean_of_divergences(law, data):
    order = data.draw(st.permutations(range(law.L)))
    block, given_ = order[: (law.L + 1) // 2], order[(law.L + 1) // 2 :]
    expected = 0.0
    for context in itertools.product(range(law.V), repeat=len(given_)):
        joint = law.marginal([*given_, *block]).table[context]
        if joint.sum() > 0:
            here = TokenLaw(joint / joint.sum())
            product = np.ones(())
            for i in range(here.L):
                product = np.multiply.outer(product, here.marginal([i]).table)
            expected += joint.sum() * here.kl(TokenLaw(product))
    found = law.total_correlation(block, given_)
    # entropies of size L log V, differenced
    assert found == pytest.approx(expected, abs=64 * law.table.size * EPS)


def test_entropy_is_that_of_a_uniform_law_in_nats():
    assert TokenLaw(np.full((2, 2), 0.25)).entropy() == pytest.approx(math.log(4), rel=4 * EPS)


def channel(table, flip):
    """The table after each of its binary tokens flips with this probability."""
    step = np.array([[1 - flip, flip], [flip, 1 - flip]])
    for _ in range(table.ndim):
        table = np.tensordot(table, step, axes=(0, 0))
    return table


@pytest.mark.parametrize(
    ("flip", "n", "expected"),
    [
        (0.01, 2, [0.0013333008281373655, 0.0003474538187850341]),
        (0.1, 5, [0.40942384598050613, 0.11786981107300648]),
    ],
)
def test_errors_conditioned_on_either_prefix_have_the_known_divergence(flip, n, expected):
    # known answers of sheet `distilled-decoding-2` (C8): KL of a student to a chain that stays .9
    step = np.array([[0.9, 0.1], [0.1, 0.9]])
    teacher = markov_chain([0.5, 0.5], step, n)
    on_teacher = TokenLaw(channel(teacher.table().table, flip))
    on_student = markov_chain([0.5, 0.5], step @ np.array([[1 - flip, flip], [flip, 1 - flip]]), n)
    for student, known in zip((on_teacher, on_student), expected, strict=True):
        assert chain_kl(student, teacher).sum() == pytest.approx(known, rel=1e-12)


def sample_size(law, wrong):
    """The n at which a chi-square test at LEVEL sees `wrong`, but for MISS, and its threshold."""
    shift = float(((wrong - law) ** 2 / law).sum())
    limit, n = chi2.isf(LEVEL, law.size - 1), 64
    while ncx2.cdf(limit, law.size - 1, n * shift) > MISS:
        n *= 2
    return n, limit


def chi_square(x, law, V):
    index = np.ravel_multi_index(tuple(np.asarray(x).T), (V,) * x.shape[1])
    counts = np.bincount(index, minlength=law.size)
    return float(((counts - len(index) * law) ** 2 / (len(index) * law)).sum())


def reversed_chain():
    """A wrong law: the transition matrix transposed, as if columns were from."""
    wrong = STEP.T / STEP.T.sum(1, keepdims=True)
    return flat(markov_chain([0.3125, 0.5208333333333334, 0.1666666666666666], wrong, 4).table())


@pytest.mark.parametrize("seed", [np.random.default_rng(1), torch.Generator().manual_seed(1)])
def test_sequences_have_the_law_of_the_chain(seed):
    law = flat(CHAIN.table())
    n, limit = sample_size(law, reversed_chain())
    assert chi_square(CHAIN.sample(n, rng=seed), law, 3) < limit


def test_the_flow_of_noise_draws_sequences_of_the_chain(rng):
    # sheet `distilled-decoding-1`: one noise a position, each carried to its token by the flow
    bed, law = CodebookSequence(CHAIN, [[-1.0], [0.2], [1.5]]), flat(CHAIN.table())
    n, limit = sample_size(law, reversed_chain())
    eps, tokens = rng.standard_normal((n, 4)), np.empty((n, 0), dtype=np.int64)
    for i in range(4):
        token = bed.given(tokens).token(RF, eps[:, i : i + 1], 1.0)
        tokens = np.concatenate([tokens, token[:, None]], axis=1)
    assert chi_square(tokens, law, 3) < limit


def test_sequences_of_vectors_are_codes_with_noise_around(rng, asarray):
    codes = np.array([[0.0, 1.0], [2.0, -1.0], [5.0, 5.0]])
    like = asarray(np.zeros(1, dtype=np.float32))
    tokens, x = CodebookSequence(CHAIN, codes).sample(20, rng=rng, like=like)
    assert type(x) is type(tokens) is type(like)
    assert x.dtype == like.dtype
    assert tuple(x.shape) == (20, 4, 2)
    np.testing.assert_array_equal(arrays.to_numpy(x), codes[arrays.to_numpy(tokens)])
    tokens, x = CodebookSequence(CHAIN, codes, std=0.5).sample(5000, rng=rng)
    z = (x - codes[tokens]) / 0.5
    # 40,000 standard normals against a wrong law, std twice: mean and variance at LEVEL
    assert abs(z.mean()) * math.sqrt(z.size) < norm.isf(LEVEL / 2)
    assert chi2.isf(1 - LEVEL / 2, z.size) < (z**2).sum() < chi2.isf(LEVEL / 2, z.size)


def test_draws_are_of_the_kind_asked_for(asarray, rng):
    like = asarray(np.zeros((1, 4), dtype=np.int32))
    for law in (CHAIN, CHAIN.table()):
        x = law.sample(5, rng=rng, like=like)
        assert type(x) is type(like)
        assert x.dtype == like.dtype
        assert tuple(x.shape) == (5, 4)


def test_each_row_has_its_own_prefix(asarray):
    prefix = asarray(np.array([[0, 2], [1, 1], [2, 0]]))
    for law in (CHAIN, CHAIN.table()):
        found = law.next_token(prefix)
        assert type(found) is type(prefix)
        np.testing.assert_allclose(arrays.to_numpy(found), STEP[[2, 1, 0]], rtol=32 * EPS)


def test_draws_of_a_position_have_its_weights(rng):
    law, wrong = np.array(P), np.array(Q)
    n, limit = sample_size(law, wrong)
    tokens, x = BOOK.sample(n, rng=rng)
    assert chi_square(tokens[:, None], law, 4) < limit
    np.testing.assert_array_equal(x, np.array(CODES)[tokens])


# bad input

RNG = np.random.default_rng(0)


def wrong_rows(prefix):
    return np.full((len(prefix), 2), 0.6)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: TokenLaw([0.5, 0.6]), "table"),
        (lambda: TokenLaw([1.5, -0.5]), "table"),
        (lambda: TokenLaw([math.nan, 1.0]), "table"),
        (lambda: TokenLaw([[0.5, 0.5]]), "table"),
        (lambda: TokenLaw(1.0), "table"),
        (lambda: TokenLaw([]), "table"),
        (lambda: TokenLaw(np.full(6, 1 / 6), V=2), "table"),
        (lambda: TokenLaw(np.full(2**21, 2.0**-21)), "table"),
        (lambda: TokenLaw([0.5, 0.5], V=-1), "V"),
        (lambda: BITS.marginal([]), "tokens"),
        (lambda: BITS.marginal([0, 3]), "tokens"),
        (lambda: BITS.marginal([1, 1]), "tokens"),
        (lambda: BITS.total_correlation([0, 1], [1]), "tokens and given"),
        (lambda: BITS.kl(TokenLaw([0.5, 0.5])), "other"),
        (lambda: BITS.tv(TokenLaw([0.5, 0.5])), "other"),
        (lambda: BITS.log_prob(np.array([[0, 1, 2]])), "x"),
        (lambda: BITS.next_token(np.array([[0, 1, 1]])), "prefix"),
        (lambda: BITS.next_token(np.array([[2]])), "prefix"),
        (lambda: BITS.next_token(np.array([2])), "prefix"),
        (lambda: BITS.sample(-1, rng=RNG), "n"),
        (lambda: NextTokenLaw(wrong_rows, 0, 3), "V"),
        (lambda: NextTokenLaw(wrong_rows, 2, 0), "L"),
        (lambda: NextTokenLaw(wrong_rows, 2, 3).table(), r"function\(prefix\)"),
        (lambda: NextTokenLaw(wrong_rows, 3, 3).table(), r"function\(prefix\)"),
        (lambda: CHAIN.next_token(np.zeros((1, 4), dtype=int)), "prefix"),
        (lambda: CHAIN.log_prob(np.zeros((1, 3), dtype=int)), "x"),
        (lambda: CHAIN.sample(-1, rng=RNG), "n"),
        (lambda: markov_chain([0.5, 0.5], np.eye(2), 21).table(), r"V\^L"),
        (lambda: markov_chain([0.5, 0.6], np.eye(2), 3), "initial"),
        (lambda: markov_chain(1.0, np.eye(2), 3), "initial"),
        (lambda: markov_chain([0.5, 0.5], np.eye(3), 3), "transition"),
        (lambda: markov_chain([0.5, 0.5], 2 * np.eye(2), 3), "transition"),
        (lambda: chain_kl(CHAIN, BITS), "other"),
        (lambda: chain_kl(*[markov_chain([0.5, 0.5], np.eye(2), 21)] * 2), r"V\^L"),
    ],
)
def test_a_bad_argument_is_named(own_checks, call, named):
    with pytest.raises(ValueError, match=rf": {named} must "):
        call()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: NextTokenLaw("law", 2, 3), "function"),
        (lambda: NextTokenLaw(wrong_rows, 2.5, 3), "V"),
        (lambda: BITS.next_token(np.zeros((1, 1))), "prefix"),
        (lambda: BITS.next_token([[0]]), "prefix"),
        (lambda: BITS.marginal([0.5]), "tokens"),
        (lambda: BITS.sample(2, rng=3), "rng"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(own_checks, call, named):
    with pytest.raises(TypeError, match=rf": {named} must "):
        call()
