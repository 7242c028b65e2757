"""A causal language model as an exact law of sequences.

A causal network shown k_1, .., k_i returns in one pass the logits of every next token, so that it
is a next-token law and its log p(x) is a sum over positions: whatever the package measures on a
law of sequences (`testbeds.NextTokenLaw`, `testbeds.chain_kl`) holds for a real model, up to the
rounding of its own dtype. Sheets `distilled-decoding-1` and `distilled-decoding-2`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..arrays import Array, Rng, as_like, categorical, check_rng, is_torch, to_numpy
from ..errors import fail, integer, number
from ..shapes import Float, Int
from ..testbeds import NextTokenLaw
from ..testbeds.tokens import check_tokens, like_tokens

NAME = "next_token_law"


@dataclass(frozen=True, eq=False)
class Conditionals:
    """p(x_i = v | x_<i) = softmax_v(z_{k_v} / tau), z the logits after start and x_<i.

    module: the network; start: ids before every prefix; tokens: the id k_v of each symbol v;
    temperature: tau; batch: rows of one forward pass. Called with int64 NumPy prefixes (n, i) it
    returns float64 NumPy probabilities (n, V); made and checked by `next_token_law`.
    """

    module: torch.nn.Module
    start: tuple[int, ...]
    tokens: np.ndarray
    temperature: float
    batch: int

    def __call__(self, prefix: Int[np.ndarray, "n i"]) -> Float[np.ndarray, "n V"]:
        out = np.empty((prefix.shape[0], len(self.tokens)))
        for rows in self.chunks(prefix.shape[0]):
            out[rows] = to_numpy(self.after(prefix[rows])[0])
        return out

    def chunks(self, n: int) -> list[slice]:
        """The rows of each forward pass."""
        return [slice(k, min(k + self.batch, n)) for k in range(0, n, self.batch)]

    def ids(self, x: Int[np.ndarray, "n i"]) -> Int[torch.Tensor, "n ids"]:
        """What the network is shown: start, then the id of each symbol; on its device."""
        start = np.broadcast_to(np.array(self.start), (x.shape[0], len(self.start)))
        return torch.tensor(np.concatenate([start, self.tokens[x]], axis=1), device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the network's first parameter or buffer is; the CPU where it has none."""
        held = itertools.chain(self.module.parameters(), self.module.buffers())
        return next((x.device for x in held), torch.device("cpu"))

    def logits(
        self, ids: torch.Tensor, positions: int, cache: Any = None, store: bool = False
    ) -> tuple[Float[torch.Tensor, "n positions vocab"], Any]:
        """The logits at the last positions, and the cache where the network keeps one.

        cache: the network's keys and values of all ids before these; store: whether to ask for it.
        """
        known = inspect.signature(self.module.forward).parameters
        options: dict[str, Any] = {"use_cache": False, "logits_to_keep": positions}
        caching = store and {"use_cache", "past_key_values"} <= set(known)
        if caching:
            options |= {"use_cache": True, "past_key_values": cache}
        with evaluating(self.module):
            out = self.module(input_ids=ids, **{k: v for k, v in options.items() if k in known})
        z = getattr(out, "logits", None)
        if not isinstance(z, torch.Tensor) or z.ndim != 3 or z.shape[1] < positions:
            got = f".logits {tuple(z.shape)}" if isinstance(z, torch.Tensor) else type(out).__name__
            raise TypeError(f"{NAME}: model must return .logits of shape (n, i, vocab), got {got}")
        return z[:, -positions:], getattr(out, "past_key_values", None) if caching else None

    def log_law(self, logits: Float[torch.Tensor, "n vocab"]) -> Float[torch.Tensor, "n V"]:
        """log softmax_v(z_{k_v} / tau) in float64."""
        z = logits[:, torch.tensor(self.tokens, device=logits.device)].to(torch.float64)
        z = z - z.amax(dim=-1, keepdim=True)  # before the division: a small tau cannot overflow
        log_p = torch.log_softmax(z / self.temperature, dim=-1)
        if bool(torch.isnan(log_p).any()):
            allowed = "numbers or -inf, not -inf at all of tokens"
            raise fail(NAME, "model's logits", allowed, logits[torch.isnan(log_p).any(dim=1)][0])
        return log_p

    def after(
        self, x: Int[np.ndarray, "n i"], cache: Any = None, store: bool = False
    ) -> tuple[Float[torch.Tensor, "n V"], Any]:
        """The law of the next token of one chunk, from the cache of all but its last id or none."""
        ids = self.ids(x)
        z, cache = self.logits(ids if cache is None else ids[:, -1:], 1, cache, store)
        return self.log_law(z[:, 0]).exp(), cache

    def log_prob(self, x: Int[np.ndarray, "n L"]) -> Float[torch.Tensor, "n"]:
        """log p(x) of one chunk in one pass: position i sees start and x_<i alone."""
        z, _ = self.logits(self.ids(x[:, :-1]), x.shape[1])
        said = torch.tensor(x, device=z.device)[..., None]
        # one position at a time: the float64 copy is (n, V), not (n, L, V)
        steps = [self.log_law(z[:, i]).gather(1, said[:, i]) for i in range(x.shape[1])]
        return torch.cat(steps, dim=1).sum(dim=1)


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """No gradients and no dropout within; each submodule's training flag is put back after."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:  # not eval(): some networks merge weights in it
            part.training = False
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


@dataclass(frozen=True, eq=False)
class CausalLaw(NextTokenLaw):
    """The law of sequences of L tokens with V symbols that a causal network defines.

    A NextTokenLaw whose `log_prob` takes one forward pass, and whose `sample` goes on from the
    network's cache of keys and values where it has one. Made by `next_token_law`.
    """

    function: Conditionals

    def log_prob(self, x: Array) -> Float[Any, "n"]:
        """log p(x) = sum_i log p(x_i | x_<i) of the states x (n, L), all i in one pass."""
        host = check_tokens("CausalLaw.log_prob", "x", x, self.V, self.L)
        total = np.empty(host.shape[0])
        for rows in self.function.chunks(host.shape[0]):
            total[rows] = to_numpy(self.function.log_prob(host[rows]))
        return like_tokens(total, x)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Int[Any, "n L"]:
        """n draws, token by token; int64 NumPy unless `like` (an integer array) says otherwise.

        The numbers drawn from rng are those of `NextTokenLaw.sample` and do not depend on batch or
        cache, and so are the tokens, but where rounding moves a probability across such a number.
        All n rows' caches are held at once: where they do not fit, draw fewer at a time.
        """
        integer("CausalLaw.sample", "n", n, 0)
        check_rng("CausalLaw.sample", rng)
        chunks = self.function.chunks(n)
        x, caches = np.empty((n, 0), dtype=np.int64), [None] * len(chunks)
        for _ in range(self.L if n else 0):
            p = []
            for k, rows in enumerate(chunks):
                law, caches[k] = self.function.after(x[rows], caches[k], store=True)
                p.append(law)
            drawn = to_numpy(categorical(rng, torch.cat(p), (n,)))
            x = np.concatenate([x, drawn[:, None]], axis=1)
        x = x.reshape(n, self.L)
        return as_like(x, np.empty(0, dtype=np.int64) if like is None else like)


def next_token_law(
    model: torch.nn.Module,
    length: int,
    *,
    start: Sequence[int] | Array | None = None,
    tokens: Sequence[int] | Array | None = None,
    temperature: float | int = 1.0,
    batch: int = 1024,
) -> CausalLaw:
    """A causal language model as the exact law of the `length` tokens that follow `start`.

        p(x_i = v | x_<i) = exp(z_{k_v} / tau) / sum_w exp(z_{k_w} / tau),

    z the logits after the ids start, k_{x_1}, .., k_{x_{i-1}}, in the model's own dtype and on its
    device; the softmax is taken in float64. Gradients and dropout are off for the call, and the
    model is left as it was.

    model: a torch module; model(input_ids=(n, i)) returns a record with .logits (n, i, vocab).
    start: at least one id, [config.bos_token_id] by default. tokens: the ids k_0, .., k_{V-1} that
    the symbols 0..V-1 stand for, all of the vocabulary by default. temperature: tau > 0. Both act
    on one token at a time: the law is in general neither p(x)^(1/tau) normalised, nor the model's
    law given that the whole sequence lies in tokens. batch: rows (n) of one forward pass.

    Raises ValueError or TypeError where an argument is out of its range, start is None and the
    config names no bos_token_id, len(start) + length exceeds config.max_position_embeddings, the
    model returns no logits, or its logits depend on later tokens.

    >>> from types import SimpleNamespace as Record
    >>> class Bigram(torch.nn.Module):
    ...     def forward(self, input_ids):
    ...         return Record(logits=torch.tensor([[9.0, 1.0], [2.0, 8.0]]).log()[input_ids])
    >>> law = next_token_law(Bigram(), 2, start=[0])
    >>> law.next_token(np.array([[1]])).round(6), law.table().table.round(6).tolist()
    (array([[0.2, 0.8]]), [[0.81, 0.09], [0.02, 0.08]])
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"{NAME}: model must be a torch module, got {type(model).__name__}")
    length = integer(NAME, "length", length, 1)
    tau = number(NAME, "temperature", temperature, 0.0)
    if tau == 0:
        raise fail(NAME, "temperature", "positive", temperature)
    batch = integer(NAME, "batch", batch, 1)
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):  # of a model that also sees or hears
        config = config.get_text_config()
    bos = getattr(config, "bos_token_id", None)
    if start is None and bos is None:
        raise ValueError(f"{NAME}: start must be given: no bos_token_id in a config, got None")
    one = Conditionals(model, (0,), np.arange(1), 1.0, 1)  # 0 is an id of every vocabulary
    vocab = one.logits(one.ids(np.empty((1, 0), dtype=np.int64)), 1)[0].shape[-1]
    before = _ids("start", [bos] if start is None else start, vocab)
    symbols = _ids("tokens", range(vocab) if tokens is None else tokens, vocab)
    if len(set(symbols)) < len(symbols):
        raise fail(NAME, "tokens", "distinct", tokens)
    limit = getattr(config, "max_position_embeddings", None)
    if isinstance(limit, int) and len(before) + length > limit > 0:  # -1: a word for no limit
        allowed = f"at most {limit}, config.max_position_embeddings"
        raise fail(NAME, "len(start) + length", allowed, len(before) + length)
    function = Conditionals(model, tuple(before), np.array(symbols), tau, batch)
    function.tokens.setflags(write=False)
    _check_causal(function)
    return CausalLaw(function, len(symbols), length)


def _ids(argument: str, value: Any, vocab: int) -> list[int]:
    """The ids as a list, or an error that names them."""
    value = to_numpy(value) if is_torch(value) else value
    try:
        each = list(value)
    except TypeError:
        raise TypeError(f"{NAME}: {argument} must be a sequence of ids, got {value!r}") from None
    if not each:
        raise fail(NAME, argument, "at least one id", value)
    return [integer(NAME, argument, k, 0, vocab - 1) for k in each]


def _check_causal(function: Conditionals) -> None:
    """Raise unless the logits after start are the same whichever of two symbols follows."""
    pair = np.array([[0], [len(function.tokens) - 1]])
    z = function.logits(function.ids(pair), 2)[0][:, 0, torch.tensor(function.tokens)]
    size = float(torch.nan_to_num(z, 0, 0, 0).abs().max())
    # rounding may differ by row, in the last digits; what leaks shows in the first half of them
    close = size * torch.finfo(z.dtype).eps ** 0.5
    if not torch.allclose(z[0], z[1], rtol=0, atol=close, equal_nan=True):
        allowed = f"causal: logits at a token that differ by at most {close:.1e} with the next one"
        raise fail(NAME, "model", allowed, float(torch.nan_to_num(z[0] - z[1]).abs().max()))
