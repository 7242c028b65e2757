"""Causal language models as laws of sequences: against themselves in float64, and known chains."""

import copy
import functools
import pickle
import subprocess
import sys
from types import SimpleNamespace as Record
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import kl_div, log_softmax
from scipy.stats import binomtest

from fewtheory.adapters.transformers import CausalLaw, next_token_law
from fewtheory.testbeds import NextTokenLaw, chain_kl, markov_chain
from fewtheory.testbeds.tokens import all_states

transformers = pytest.importorskip("transformers")

EPS = np.finfo(np.float64).eps
VOCAB, BOS, L, HIDDEN = 5, 3, 3, 16
STATES = all_states(VOCAB, L)
SIZES = {"vocab_size": VOCAB, "bos_token_id": BOS, "eos_token_id": 0, "pad_token_id": None}


def llama():
    config = transformers.LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=12,
        **SIZES,
    )
    return transformers.LlamaForCausalLM(config)


def gpt2():  # its dropout is 0.1 by default
    config = transformers.GPT2Config(
        n_embd=HIDDEN, n_inner=HIDDEN, n_layer=2, n_head=2, n_positions=12, **SIZES
    )
    return transformers.GPT2LMHeadModel(config)


def drawn(build):
    """The network in float64 with weights N(0, 0.3^2) from a generator of its own, evaluating."""
    with torch.random.fork_rng(devices=[]):
        network = build()
    generator = torch.Generator().manual_seed(20261122)
    for p in network.parameters():
        if p.ndim > 1:  # the norms keep their ones and zeros
            p.data = 0.3 * torch.randn(p.shape, generator=generator)
    return network.double().eval()


NETWORKS = {"llama": drawn(llama), "gpt2": drawn(gpt2)}


@pytest.fixture(params=list(NETWORKS))
def network(request):
    """A network that the test may change."""
    return copy.deepcopy(NETWORKS[request.param])


class Plain(torch.nn.Module):
    """The same network behind forward(input_ids) alone: no cache, all logits."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, input_ids):
        return self.network(input_ids=input_ids, use_cache=False)


class Bigram(torch.nn.Module):
    """Logits that are a table's row of the last id; it takes ids and nothing else."""

    logits: torch.Tensor
    config: Any = None

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", torch.tensor(np.asarray(logits)))

    def forward(self, input_ids):
        return Record(logits=self.logits[input_ids])


def logits_of(network, start, prefix):
    """The network's own logits after start and each prefix, row by row, in float64."""
    out = []
    with torch.no_grad():
        for row in prefix:
            ids = torch.tensor([[*start, *row]], device=next(network.parameters()).device)
            out.append(network(input_ids=ids).logits[0, -1].double().cpu().numpy())
    return np.array(out)


@functools.cache
def logit_error(kind):
    """A bound for what rounding does to a logit of a float64 network, to first order.

    A rounded product of a weight matrix is the exact one with weights off by at most the number of
    terms (16) times eps, relatively; 4 times that covers norms, attention and activations. So a
    logit is off by at most 64 eps sum_w |w dz/dw|.
    """
    network = next(n for n in NETWORKS.values() if type(n) is kind)
    weights, largest = list(network.parameters()), 0.0
    for row in ([BOS, 0, 1, 2, 4], [BOS, 3, 3, 3, 3]):
        for z in network(input_ids=torch.tensor([row])).logits[0, 1:].flatten():
            slopes = torch.autograd.grad(z, weights, retain_graph=True)
            size = sum(
                float((w * s).detach().abs().sum()) for w, s in zip(weights, slopes, strict=True)
            )
            largest = max(largest, size)
    return 64 * EPS * largest


def log_error(network):
    """Of log p, between two passes: each log p moves by twice what its logits do."""
    return 4 * logit_error(type(network)) + 8 * EPS


# the law is the network's


def test_the_next_token_law_is_the_softmax_of_the_networks_own_logits(network):
    law = next_token_law(network, L)
    for i in range(L):
        prefix = all_states(VOCAB, i)
        expected = log_softmax(logits_of(network, [BOS], prefix), axis=1)
        found = np.log(law.next_token(prefix))
        np.testing.assert_allclose(found, expected, rtol=0, atol=log_error(network))


def test_the_table_sums_to_one_and_is_far_from_uniform(network):
    table = next_token_law(network, L).table().table
    # 5^3 products of three conditionals; each conditional's own sum is good to 8 eps
    assert abs(table.sum() - 1) <= 8 * L * EPS
    assert table.max() > 4 * table.mean()  # else these tests would see nothing


def test_one_pass_gives_what_one_pass_a_position_gives(network, rng):
    law = next_token_law(network, 8)
    x = rng.integers(0, VOCAB, (40, 8))
    found, expected = law.log_prob(x), NextTokenLaw.log_prob(law, x)
    np.testing.assert_allclose(found, expected, rtol=8 * EPS, atol=8 * log_error(network))


def test_one_pass_gives_the_logarithm_of_the_table(network):
    law = next_token_law(network, L)
    expected = law.table().log_prob(STATES)
    np.testing.assert_allclose(law.log_prob(STATES), expected, rtol=0, atol=L * log_error(network))


def test_log_prob_is_one_forward_pass_a_chunk(network):
    law, lengths = next_token_law(network, L, batch=50), []
    network.register_forward_pre_hook(
        lambda _, args, given: lengths.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    law.log_prob(STATES)
    assert lengths == [(50, L), (50, L), (25, L)]  # bos and two tokens: the third is not shown


def test_chunks_change_nothing(network):
    one, many = next_token_law(network, L), next_token_law(network, L, batch=7)
    off, prefix = log_error(network), all_states(VOCAB, 2)
    np.testing.assert_allclose(one.log_prob(STATES), many.log_prob(STATES), atol=L * off)
    np.testing.assert_allclose(one.next_token(prefix), many.next_token(prefix), rtol=off)


def test_a_prompt_is_a_prefix_that_has_been_said(network):
    prompt = next_token_law(network, 2, start=[BOS, 1, 4])
    longer = next_token_law(network, 4)
    prefix = all_states(VOCAB, 1)
    expected = longer.next_token(np.insert(prefix, [0, 0], [1, 4], axis=1))
    np.testing.assert_allclose(prompt.next_token(prefix), expected, rtol=log_error(network))


def test_the_configs_first_token_is_the_default_start(network):
    found, expected = next_token_law(network, 1), next_token_law(network, 1, start=[BOS])
    np.testing.assert_array_equal(found.table().table, expected.table().table)
    every = np.arange(VOCAB)[:, None]
    assert np.exp(found.log_prob(every)).sum() == pytest.approx(1, abs=log_error(network))
    other = next_token_law(network, 1, start=np.array([0]))
    assert np.abs(found.table().table - other.table().table).max() > 0.01


def test_of_a_composite_config_the_text_part_counts():
    network = Bigram(np.eye(4))
    text = Record(bos_token_id=2, max_position_embeddings=3)
    network.config = Record(bos_token_id=None, get_text_config=lambda: text)
    assert next_token_law(network, 2).function.start == (2,)
    with pytest.raises(ValueError, match="length must be at most 3"):
        next_token_law(network, 3)


def test_no_rows_are_no_work():
    law = next_token_law(NETWORKS["llama"], L)
    none = np.empty((0, L), dtype=np.int64)
    assert law.next_token(none[:, :2]).shape == (0, VOCAB)
    assert law.log_prob(none).shape == (0,)
    assert law.sample(0, rng=np.random.default_rng(0)).shape == (0, L)


def test_tensors_in_are_tensors_out():
    law = next_token_law(NETWORKS["llama"], L)
    x = torch.tensor(STATES[:4], dtype=torch.int32)
    assert law.next_token(x[:, :1]).dtype == law.log_prob(x).dtype == torch.float64
    like = law.sample(4, rng=torch.Generator().manual_seed(1), like=x)
    assert like.dtype == torch.int32


# temperature and tokens


@pytest.mark.parametrize("tau", [0.5, 2, 30.0])
def test_a_temperature_is_a_power_of_each_conditional(network, tau):
    prefix = all_states(VOCAB, 2)
    power = next_token_law(network, L).next_token(prefix) ** (1 / tau)
    found = next_token_law(network, L, temperature=tau).next_token(prefix)
    expected = power / power.sum(1, keepdims=True)
    off = log_error(network) * max(1, 1 / tau)  # log p is divided by tau
    np.testing.assert_allclose(found, expected, rtol=off)


def test_at_a_tiny_temperature_the_likeliest_token_is_certain(network):
    prefix = all_states(VOCAB, 2)
    best = next_token_law(network, L).next_token(prefix).argmax(1)
    found = next_token_law(network, L, temperature=5e-324).next_token(prefix)  # the smallest
    np.testing.assert_array_equal(found, np.eye(VOCAB)[best])


def test_some_tokens_are_the_law_given_that_the_next_token_is_among_them(network):
    kept = np.array([4, 0, 3])  # not in order: symbol 0 is id 4
    law = next_token_law(network, L, tokens=kept)
    prefix = all_states(3, 2)
    whole = next_token_law(network, L).next_token(kept[prefix])[:, kept]
    expected = whole / whole.sum(1, keepdims=True)
    assert law.V == 3
    np.testing.assert_allclose(law.next_token(prefix), expected, rtol=log_error(network))


def test_a_token_at_minus_infinity_never_comes():
    law = next_token_law(Bigram([[0.0, -np.inf], [0.0, 0.0]]), 2, start=[1])
    np.testing.assert_array_equal(law.table().table, [[0.5, 0.0], [0.25, 0.25]])
    np.testing.assert_array_equal(law.log_prob(np.array([[0, 1]])), [-np.inf])


# a known chain

STEP = np.array([[0.7, 0.2, 0.1], [0.0, 0.8, 0.2], [0.25, 0.25, 0.5]])
FIRST = np.array([0.3, 0.6, 0.1])


@pytest.fixture
def chain():
    """A Markov chain, and the law of a network whose logits are its log transition.

    Id 3 is its start: its row is the first law. Nothing is known of its column.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(np.vstack([STEP, FIRST]))
    logits = np.insert(logits, 3, 7.0, axis=1)
    known = markov_chain(FIRST, STEP, 5)
    return known, next_token_law(Bigram(logits), 5, start=[3], tokens=[0, 1, 2])


def test_a_network_of_log_transitions_is_the_chain(chain):
    known, law = chain
    for i in range(5):
        prefix = all_states(3, i)
        # log and exp of numbers in [0.1, 1]: 1 + log 10 roundings each, and a sum of 3
        np.testing.assert_allclose(law.next_token(prefix), known.next_token(prefix), rtol=8 * EPS)
    # KL is quadratic in 8 eps: what is left is the rounding of its three terms below 1
    assert np.all(np.abs(chain_kl(known, law)) <= 4 * EPS)
    x = all_states(3, 5)
    np.testing.assert_allclose(law.log_prob(x), known.log_prob(x), rtol=8 * EPS, atol=40 * EPS)


def test_a_network_of_log_transitions_draws_what_the_chain_draws(chain):
    known, law = chain
    found = law.sample(300, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(found, known.sample(300, rng=np.random.default_rng(5)))


# draws


@pytest.mark.parametrize("make", [np.random.default_rng, torch.Generator().manual_seed])
@pytest.mark.parametrize("batch", [1024, 60])
def test_draws_do_not_depend_on_the_cache(network, make, batch):
    cached = next_token_law(network, 8, batch=batch)
    plain = next_token_law(Plain(network), 8, start=[BOS])
    found = cached.sample(200, rng=make(3))
    # a draw would differ with probability below 200 * 8 * VOCAB * log_error, 1e-8
    np.testing.assert_array_equal(found, plain.sample(200, rng=make(3)))
    np.testing.assert_array_equal(found, NextTokenLaw.sample(cached, 200, rng=make(3)))


def test_with_the_cache_each_pass_shows_one_token_and_returns_one_row_of_logits(network):
    law, seen = next_token_law(network, 5, start=[BOS, 1]), []
    network.register_forward_hook(
        lambda _, args, given, out: seen.append((given["input_ids"].shape[1], out.logits.shape[1])),
        with_kwargs=True,
    )
    law.sample(3, rng=np.random.default_rng(0))
    assert seen == [(2, 1), (1, 1), (1, 1), (1, 1), (1, 1)]


LEVEL = 1e-6  # of the test of one law: the chance that it rejects the true one


def rejects(x, table):
    """Whether some sequence's count is too far off: exact binomial tests, each at LEVEL / cells."""
    counts = np.bincount(x @ VOCAB ** np.arange(L)[::-1], minlength=table.size)
    p = [
        binomtest(int(k), len(x), min(q, 1.0)).pvalue
        for k, q in zip(counts, table.reshape(-1), strict=True)
    ]
    return min(p) < LEVEL / table.size


def test_draws_follow_the_table_and_not_that_of_another_start_or_temperature(network, rng):
    law = next_token_law(network, L)
    x = law.sample(8000, rng=rng)
    assert not rejects(x, law.table().table)
    assert rejects(x, next_token_law(network, L, start=[0]).table().table)
    assert rejects(x, next_token_law(network, L, temperature=1.5).table().table)


# precision


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tau", [1.0, 0.7])
def test_a_narrower_network_is_off_by_what_its_logits_are(network, dtype, tau):
    """Logits off by e in all: log p is off by 2 e / tau, and KL is at most (e / tau)^2 / 2.

    For KL(p || p') = A(z') - A(z) - p (z' - z) with A = logsumexp is half a variance of z' - z
    under a law between p and p', and a variable in [-e, e] has variance e^2 at most.
    """
    narrow = Plain(copy.deepcopy(network).to(dtype))
    exact = next_token_law(network, L, temperature=tau)
    # row by row, as the logits below: in bfloat16 other shapes may be rounded otherwise
    law = next_token_law(narrow, L, start=[BOS], temperature=tau, batch=1)
    terms = chain_kl(exact, law)
    for i in range(L):
        prefix = all_states(VOCAB, i)
        z, rounded = (logits_of(f, [BOS], prefix) for f in (network, narrow))
        e, p, q = np.abs(z - rounded).max(), exact.next_token(prefix), law.next_token(prefix)
        slack = log_error(network) / min(tau, 1)
        assert e > 0  # it did run in the narrower dtype
        assert np.abs(np.log(p) - np.log(q)).max() <= 2 * e / tau + slack
        # p log(p/q) - p + q is rounded to 4 eps of p, and moves by slack times 2 e / tau
        floor = 4 * EPS + slack * (2 * e / tau + slack)
        assert kl_div(p, q).sum(1).max() <= (e / tau) ** 2 / 2 + floor
        assert terms[i] <= (e / tau) ** 2 / 2 + floor


# the network is left as it was


def test_training_mode_changes_no_law_and_stays(network):
    expected = next_token_law(network, L).table().table
    network.train()
    frozen = list(network.modules())[3]
    frozen.training = False
    modes = [m.training for m in network.modules()]
    law = next_token_law(network, L)
    np.testing.assert_array_equal(law.table().table, expected)  # GPT-2's dropout is off
    law.log_prob(STATES)
    law.sample(5, rng=np.random.default_rng(0))
    assert [m.training for m in network.modules()] == modes
    assert set(modes) == {True, False}  # both were there to be lost


def test_the_mode_comes_back_after_an_error(network):
    law = next_token_law(network.train(), L)
    network.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        law.next_token(STATES[:, :1])
    assert all(m.training for m in network.modules())


def test_no_global_random_state_is_read_or_set_and_no_gradient_recorded(network):
    def states():
        return torch.get_rng_state().tolist(), pickle.dumps(np.random.get_state())  # noqa: NPY002 (it is watched)

    before = states()
    law = next_token_law(network.train(), L)
    law.table()
    law.log_prob(STATES)
    law.sample(5, rng=torch.Generator().manual_seed(2))
    assert states() == before
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert torch.is_grad_enabled()


def test_the_library_itself_is_not_needed():
    script = "import fewtheory.adapters.transformers, sys; print('transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# bad input

FLAT = Bigram(np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"length": 0}, ValueError, "length must be at least 1, got 0"),
        ({"length": 2.0}, TypeError, "length must be an integer, got 2.0"),
        ({"start": [4]}, ValueError, r"start must be in \[0, 3\], got 4"),
        ({"start": [-1]}, ValueError, r"start must be in \[0, 3\], got -1"),
        ({"start": []}, ValueError, r"start must be at least one id, got \[\]"),
        ({"start": 0}, TypeError, "start must be a sequence of ids, got 0"),
        ({"start": "ab"}, TypeError, "start must be an integer, got 'a'"),
        ({"start": None}, ValueError, "start must be given: no bos_token_id"),
        ({"tokens": [0, 4]}, ValueError, r"tokens must be in \[0, 3\], got 4"),
        ({"tokens": [0, 1, 0]}, ValueError, r"tokens must be distinct, got \[0, 1, 0\]"),
        ({"tokens": torch.tensor([1, 1])}, ValueError, "tokens must be distinct"),
        ({"tokens": ()}, ValueError, "tokens must be at least one id"),
        ({"tokens": [0.0]}, TypeError, "tokens must be an integer, got 0.0"),
        ({"temperature": 0}, ValueError, "temperature must be positive, got 0"),
        ({"temperature": -1.0}, ValueError, "temperature must be finite in .*, got -1.0"),
        ({"temperature": np.inf}, ValueError, "temperature must be finite in .*, got inf"),
        ({"batch": 0}, ValueError, "batch must be at least 1, got 0"),
        ({"model": FLAT.forward}, TypeError, "model must be a torch module, got method"),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(given, error, message):
    arguments = {"model": FLAT, "length": 2, "start": [0], **given}
    with pytest.raises(error, match=f"next_token_law: {message}"):
        next_token_law(**arguments)


def test_a_config_without_a_first_token_asks_for_one(network):
    network.config.bos_token_id = None
    with pytest.raises(ValueError, match="next_token_law: start must be given: no bos_token_id"):
        next_token_law(network, L)


def test_a_first_token_outside_the_vocabulary_is_named(network):
    network.config.bos_token_id = 50256
    with pytest.raises(ValueError, match=r"next_token_law: start must be in \[0, 4\], got 50256"):
        next_token_law(network, L)


def test_the_sequence_must_fit_the_context(network):
    assert next_token_law(network, 10, start=[BOS, 0]).L == 10
    message = r"len\(start\) \+ length must be at most 12, config.max_position_embeddings, got 13"
    with pytest.raises(ValueError, match=message):
        next_token_law(network, 11, start=[BOS, 0])


def test_a_network_without_logits_is_named():
    message = "model must return .logits of shape .*, got BaseModelOutput"
    with pytest.raises(TypeError, match=message):
        next_token_law(NETWORKS["llama"].model, L)


class Averaged(Bigram):
    """Each position sees all ids, later ones too."""

    def forward(self, input_ids):
        mean = self.logits[input_ids].mean(dim=1, keepdim=True)
        return Record(logits=mean.expand(-1, input_ids.shape[1], -1))


def bert():
    config = transformers.BertConfig(
        hidden_size=HIDDEN,
        intermediate_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        vocab_size=VOCAB,
        pad_token_id=None,
    )
    return transformers.BertForMaskedLM(config)


def test_a_network_that_sees_later_tokens_is_no_law_of_sequences():
    for both_ways in (Averaged(np.eye(3)), drawn(bert)):
        with pytest.raises(ValueError, match="next_token_law: model must be causal"):
            next_token_law(both_ways, 2, start=[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_law_are_named(bad):
    law = next_token_law(Bigram([[0.0, 0.0], [bad, bad]]), 2, start=[0])
    calls = (
        lambda: law.next_token(np.array([[1]])),
        lambda: law.log_prob(np.array([[1, 0]])),
        lambda: law.sample(50, rng=np.random.default_rng(0)),
    )
    for call in calls:
        with pytest.raises(ValueError, match="next_token_law: model's logits must be numbers or"):
            call()


@pytest.mark.usefixtures("own_checks")
def test_bad_arguments_of_the_law_are_named():
    law = next_token_law(FLAT, 2, start=[0])
    with pytest.raises(ValueError, match=r"CausalLaw.log_prob: x must be of shape \(n, 2\)"):
        law.log_prob(np.zeros((1, 3), dtype=np.int64))
    with pytest.raises(ValueError, match=r"CausalLaw.sample: n must be at least 0, got -1"):
        law.sample(-1, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"CausalLaw.sample: rng must be a numpy"):
        law.sample(0, rng=0)


def test_the_law_is_a_next_token_law_of_the_vocabulary():
    law = next_token_law(NETWORKS["gpt2"], L)
    assert isinstance(law, CausalLaw)
    assert isinstance(law, NextTokenLaw)
    assert (law.V, law.L) == (VOCAB, L)


# devices


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_law_is_the_one_on_the_cpu(network):
    exact = next_token_law(network, L)
    there = next_token_law(copy.deepcopy(network).cuda(), L)
    # Llama takes its norms and rotations in float32, whatever its dtype
    off = L * log_error(network) * float(np.finfo(np.float32).eps) / EPS
    np.testing.assert_allclose(there.log_prob(STATES), exact.log_prob(STATES), rtol=0, atol=off)
    np.testing.assert_allclose(there.table().table, exact.table().table, rtol=off)
    x = torch.tensor(STATES, device="cuda")
    assert there.log_prob(x).device == there.next_token(x[:, :1]).device == x.device
    drawn_there = there.sample(99, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(drawn_there, exact.sample(99, rng=np.random.default_rng(4)))
    on_device = there.sample(9, rng=torch.Generator("cuda").manual_seed(1), like=x)
    assert on_device.device == x.device
