"""A language model's yes and no: the prefix tree against one path at a time, on real networks."""

import itertools
import math
from types import MappingProxyType
from types import SimpleNamespace as Record

import numpy as np
import pytest
import torch

from fewtheory.adapters.decisions import lm_coin
from fewtheory.adapters.transformers import next_token_law
from fewtheory.inference import tempered_variants

transformers = pytest.importorskip("transformers")

EPS = np.finfo(np.float64).eps
PROMPT, YES, NO, SEPARATOR = [0, 5, 7, 9], [3, 4], [8], [2]


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def llama():
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def drawn(build):
    """The network in float64, weights N(0, 0.5^2) from a generator of its own, training."""
    with torch.random.fork_rng(devices=[]):
        network = build()
    generator = torch.Generator().manual_seed(20261122)
    for p in network.parameters():
        if p.ndim > 1:
            p.data = 0.5 * torch.randn(p.shape, generator=generator)
    return network.double()


NETWORKS = {"gpt2": drawn(gpt2), "llama": drawn(llama)}


@pytest.fixture(params=list(NETWORKS))
def network(request):
    """Each of the networks."""
    return NETWORKS[request.param]


@pytest.fixture
def coin(network):
    """Two tokens for yes, one for no."""
    return lm_coin(network, None, PROMPT, yes=YES, no=NO)


def logits(network, ids):
    network.eval()
    with torch.no_grad():
        return network(input_ids=torch.tensor([ids])).logits[0, -1].double()


def by_paths(network, length, T=1.0, separator=SEPARATOR, said=(*YES, *NO)):
    """The law of the answers, one forward pass a path and a place, and the expected leaks."""
    table, leaks = np.zeros(2**length), np.zeros(length)
    for path in itertools.product(range(len(said)), repeat=length):
        ids, mass, index = list(PROMPT), 1.0, 0
        for i in path:
            z = logits(network, ids) / T
            mass *= float(z[list(said)].softmax(0)[i])
            index = 2 * index + (said[i] in YES)
            ids += [said[i], *separator]
        table[index] += mass
    for t in range(length):
        for path in itertools.product(range(len(said)), repeat=t):
            ids, mass = list(PROMPT), 1.0
            for i in path:
                mass *= float((logits(network, ids) / T)[list(said)].softmax(0)[i])
                ids += [said[i], *separator]
            whole = (logits(network, ids) / T).softmax(0)
            leaks[t] += mass * (1 - float(whole[list(said)].sum()))
    return table, leaks


# float64 networks: logits of some 10, each a chain of about 100 roundings, four to a path
TIGHT = 4 * 100 * 10 * EPS


def test_the_rate_is_the_softmax_over_the_answers(network, coin):
    z = logits(network, PROMPT)
    for T in (0.3, 1.0, 2.0):
        own = (z[[*YES, *NO]] / T).softmax(0)
        assert coin.rate(T) == pytest.approx(float(own[:2].sum()), abs=TIGHT)
        whole = (z / T).softmax(0)
        assert coin.leak_at(T) == pytest.approx(1 - float(whole[[*YES, *NO]].sum()), abs=TIGHT)
    assert coin.leak == coin.leak_at(1.0)
    assert coin.rate([0.3, 1.0]).tolist() == [coin.rate(0.3), coin.rate(1.0)]
    assert coin.rate() == float(tempered_variants(coin.logits[YES], coin.logits[NO]))


@pytest.mark.parametrize("T", [1.0, 2.0])
def test_the_tree_is_the_sum_over_all_paths(network, coin, T):
    found = coin.series(3, separator=SEPARATOR, temperature=T)
    table, leaks = by_paths(network, 3, T)
    assert found.probabilities == pytest.approx(table, abs=TIGHT)
    assert found.leak == pytest.approx(leaks, abs=TIGHT)
    assert found.probabilities.sum() == pytest.approx(1.0, abs=64 * EPS)


@pytest.mark.parametrize("batch", [1, 2, 5, 27, 1000])
def test_batches_and_the_cache_change_nothing(network, batch):
    one, other = (
        lm_coin(network, None, PROMPT, yes=YES, no=NO, batch=b).series(4, separator=SEPARATOR)
        for b in (256, batch)
    )
    assert other.probabilities == pytest.approx(one.probabilities, abs=TIGHT)


def test_a_network_without_a_cache_gives_the_same(network, coin):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, input_ids):
            return self.network(input_ids=input_ids, use_cache=False)

    plain = lm_coin(Plain(), None, PROMPT, yes=YES, no=NO)
    found = plain.series(3, separator=SEPARATOR).probabilities
    assert found == pytest.approx(coin.series(3, separator=SEPARATOR).probabilities, abs=TIGHT)


def test_one_token_each_and_no_separator_is_the_next_token_law(network):
    coin = lm_coin(network, None, PROMPT, yes=[3], no=[8])
    law = next_token_law(network, 5, start=PROMPT, tokens=[8, 3]).table()
    found = coin.series(5)
    assert found.probabilities == pytest.approx(law.table.reshape(-1), abs=TIGHT)
    assert found.table.kl(law) < 1e-10


def test_the_canonical_history_is_another_law(coin):
    exact = coin.series(4, separator=SEPARATOR)
    canonical = coin.series(4, separator=SEPARATOR, history="canonical")
    assert canonical.probabilities.sum() == pytest.approx(1.0, abs=64 * EPS)
    assert canonical.rates[0] == pytest.approx(exact.rates[0], abs=TIGHT)
    assert abs(canonical.probabilities - exact.probabilities).max() > 1e-5


def test_separate_calls_are_independent_answers_of_the_rate(coin):
    one = coin.one_shot(4)
    assert one.rates == pytest.approx([coin.rate()] * 4, abs=64 * EPS)
    assert one.kl_markov(0) == pytest.approx(0.0, abs=64 * 16 * EPS)
    few = coin.series(4, separator=SEPARATOR)
    assert few.rates[0] == pytest.approx(one.rates[0], abs=TIGHT)
    assert few.table.kl(one.table) > 0


def test_sampled_series_follow_the_law(network, coin):
    """Tokens drawn one after another by torch itself: chi-square on 15 degrees of freedom."""
    from scipy.stats import chi2

    generator, n = torch.Generator().manual_seed(1), 20_000
    ids = torch.tensor([PROMPT]).repeat(n, 1)
    index = torch.zeros(n, dtype=torch.int64)
    said = torch.tensor([*YES, *NO])
    network.eval()
    for _ in range(4):
        distinct, back = torch.unique(ids, dim=0, return_inverse=True)
        with torch.no_grad():
            z = network(input_ids=distinct).logits[:, -1][:, said]
        drawn_now = torch.multinomial(z.softmax(-1)[back], 1, generator=generator)[:, 0]
        token = said[drawn_now]
        index = 2 * index + torch.isin(token, torch.tensor(YES))
        ids = torch.cat([ids, token[:, None], torch.full((n, 1), SEPARATOR[0])], dim=1)
    expected = n * coin.series(4, separator=SEPARATOR).probabilities
    counts = np.bincount(index.numpy(), minlength=16)
    kept = expected > 5
    statistic = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    rest = counts[~kept].sum(), expected[~kept].sum()
    statistic += (rest[0] - rest[1]) ** 2 / max(rest[1], 1.0)
    assert statistic < chi2.isf(1e-6, 15)


def test_the_network_is_left_as_it_was(network):
    network.train()
    coin = lm_coin(network, None, PROMPT, yes=YES, no=NO)
    assert coin.series(2).probabilities.tolist() == coin.series(2).probabilities.tolist()
    assert network.training  # and no dropout within
    assert all(p.grad is None for p in network.parameters())


def test_half_precision_has_a_coarse_grid(network):
    fine = lm_coin(network, None, PROMPT, yes=YES, no=NO)
    import copy

    half = lm_coin(copy.deepcopy(network).bfloat16(), None, PROMPT, yes=YES, no=NO)
    top = np.abs(fine.logits[[*YES, *NO]]).max()
    assert fine.grid == EPS * 2.0 ** math.floor(math.log2(top))
    assert half.grid >= 2**-7 * 2.0 ** math.floor(math.log2(top)) / 2
    steps = half.logits / half.grid
    assert np.abs(steps[YES] * 256 - np.rint(steps[YES] * 256)).max() < 1e-6


class Words:
    """A tokenizer of whole words, a leading space being part of a word."""

    unk_token_id = 39
    vocabulary = MappingProxyType({
        "yes": 3, " yes": 4, "Yes": 10, "no": 8, " no": 11, " No": 12, ", ": 2, "flip": 5, "": 0,
    })  # fmt: skip

    def encode(self, text, add_special_tokens):
        start = [0] if add_special_tokens else []
        if text in self.vocabulary:
            return [*start, self.vocabulary[text]]
        return [*start, 39] if len(text) < 4 else [*start, 39, 39]


def test_all_forms_that_are_one_token_say_the_answer(network):
    coin = lm_coin(network, Words(), "flip", yes=["yes"], no=["No"])
    assert coin.prompt == (0, 5)
    assert coin.yes == (3, 4, 10)
    assert coin.no == (12, 8, 11)
    exact = lm_coin(network, Words(), "flip", yes=["yes"], no=["no"], variants=False)
    assert (exact.yes, exact.no) == ((3,), (8,))
    assert coin.series(2, separator=", ").probabilities == pytest.approx(
        coin.series(2, separator=[2]).probabilities
    )


def test_the_zoos_language_model_follows_its_source():
    from fewtheory import zoo
    from fewtheory.zoo.data import source

    entry = zoo.load("source-llama")
    coin = lm_coin(entry.network, None, [4], yes=[0], no=[1, 2, 3])
    law = coin.series(6)
    table = source().table().table.sum(axis=(6, 7))
    exact = np.array([np.take(table, 0, axis=i).sum() for i in range(6)])
    # the card's KL of 8 tokens bounds the total variation of each marginal: sqrt(KL / 2)
    kl = entry.card["numbers"]["KL"]["value"]
    assert law.rates == pytest.approx(exact, abs=math.sqrt(kl / 2) + 1e-3)
    assert coin.leak < 0.01  # the start token alone is neither
    assert law.rate == pytest.approx(exact.mean(), abs=math.sqrt(kl / 2) + 1e-3)


class Fixed(torch.nn.Module):
    """The same logits after everything."""

    def forward(self, input_ids):
        z = torch.tensor([0.0, 1.0, -1.0, 0.5])
        return Record(logits=z.expand(*input_ids.shape, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lm_coin("gpt2", None, [0], yes=[1], no=[2]), "lm_coin: model must be a torch"),
        (lambda: lm_coin(Fixed(), None, [], yes=[1], no=[2]), "prompt must be at least one token"),
        (lambda: lm_coin(Fixed(), None, "hi", yes=[1], no=[2]), "tokenizer must have .encode"),
        (lambda: lm_coin(Fixed(), None, [0], yes=[], no=[2]), "yes must be a list of answers"),
        (lambda: lm_coin(Fixed(), None, [0], yes="yes", no=[2]), "yes must be a list of answers"),
        (lambda: lm_coin(Fixed(), None, [0], yes=[1], no=[1]), "must be of different tokens"),
        (lambda: lm_coin(Fixed(), None, [0], yes=[1], no=[9]), "no must be of ids below the voc"),
        (lambda: lm_coin(Fixed(), None, [0], yes=[-1], no=[2]), "yes must be at least 0"),
        (lambda: lm_coin(Fixed(), None, [0], yes=[1], no=[2], batch=0), "batch must be at least"),
        (
            lambda: lm_coin(Fixed(), Words(), [0], yes=["perhaps"], no=[2]),
            "yes must be of answers that are one token in some form, got 'perhaps'",
        ),
        (lambda: fixed().series(0), r"LMCoin.series: length must be in \[1, 20\]"),
        (lambda: fixed(no=[2, 3]).series(20), "length must be such that 3.length <= 1048576"),
        (lambda: fixed().series(2, temperature=0), "temperature must be positive"),
        (lambda: fixed().series(2, history="all"), "history must be one of"),
        (lambda: fixed().series(2, separator=", "), "tokenizer must have .encode"),
        (lambda: fixed().series(2, separator=3.5), "separator must be text or ids"),
        (lambda: fixed().leak_at(-1), "leak_at: temperature must be finite in"),
        (lambda: fixed().one_shot(0), r"one_shot: length must be in \[1, 20\]"),
        (
            lambda: lm_coin(NETWORKS["gpt2"], None, [0], yes=[1], no=[2]).series(
                20, separator=[5] * 9
            ),
            "length must be such that all ids fit into 64 positions",
        ),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def fixed(no=(2,)):
    return lm_coin(Fixed(), None, [0], yes=[1], no=list(no))
