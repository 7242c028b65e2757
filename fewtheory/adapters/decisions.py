"""The exact law of a language model's yes and no: no sampling, no level, infinite power.

A causal model's answer is a token, so P(yes) is a softmax at one position, summed over the tokens
that say yes (yes, Yes, " yes", ...), and the law of L answers given in one call is a tree: each
answer is fed back, in the variant that was said, and the next one read off. What repeated calls
estimate with a standard error, this has to the rounding of the model's own dtype. Logits are
float64 before any softmax; half precision has rounded them before that (`grid`). Sheet
`binary-bias`, M6 and M7, claim C10 (arXiv 2501.16356).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..errors import fail, integer, number, one_of
from ..inference.coins.series_law import SeriesLaw
from ..inference.coins.temperature import tempered_variants
from ..shapes import Float
from .transformers import Conditionals

NAME = "lm_coin"
LEAVES = 2**20
HISTORIES = ("sampled", "canonical")


@dataclass(frozen=True, eq=False)
class LMCoin:
    """A model's answer to one prompt. Made by `lm_coin`.

    prompt: ids; yes, no: ids of the tokens that say so; tokenizer: for separators, or None; batch:
    rows of one forward pass.
    """

    module: torch.nn.Module
    prompt: tuple[int, ...]
    yes: tuple[int, ...]
    no: tuple[int, ...]
    tokenizer: Any
    batch: int

    @cached_property
    def logits(self) -> Float[np.ndarray, "vocab"]:
        """The logits after the prompt, as the model computed them, in float64."""
        z, _ = self._network.logits(self._row(), 1)
        return z[0, 0].to(torch.float64).cpu().numpy()

    @property
    def grid(self) -> float:
        """The step of the model's dtype at the largest of the answers' logits, which are known no
        better: 1/8 in bfloat16 at a logit of 16 to 32, steps of .03 in P."""
        top = np.abs(self.logits[list(self._tokens)]).max()
        dtype = self._network.logits(self._row(), 1)[0].dtype
        return float(torch.finfo(dtype).eps) * 2.0 ** math.floor(math.log2(max(top, 1e-30)))

    def rate(self, temperature: Any = 1.0) -> Any:
        """P_T(yes) of the answers that are yes or no, at one temperature or a list of them; exact.

        sum_{v in Y} e^{z_v / T} / sum_{v in Y u N} e^{z_v / T}.
        """
        both = self.logits[list(self.yes)], self.logits[list(self.no)]
        T = np.asarray(temperature, dtype=np.float64)
        found = np.array([float(tempered_variants(*both, float(t))) for t in T.ravel()])
        return float(found[0]) if T.ndim == 0 else found.reshape(T.shape)

    @property
    def leak(self) -> float:
        """1 - P(yes) - P(no) over the whole vocabulary, at temperature 1."""
        return self.leak_at(1.0)

    def leak_at(self, temperature: float | int) -> float:
        """The probability of any other token at this temperature."""
        T = _positive("LMCoin.leak_at", temperature)
        return float(_answers(torch.tensor(self.logits)[None], self._tokens, T)[1][0])

    def one_shot(self, length: int, *, temperature: float | int = 1.0) -> SeriesLaw:
        """The law of `length` separate calls: independent answers of one rate."""
        length = integer("LMCoin.one_shot", "length", length, 1, 20)
        p, law = self.rate(temperature), np.ones(1)
        for _ in range(length):
            law = np.outer(law, [1 - p, p]).reshape(-1)
        return SeriesLaw(law, np.full(length, self.leak_at(temperature)))

    def series(
        self,
        length: int,
        *,
        separator: Any = "",
        temperature: float | int = 1.0,
        history: str = "sampled",
    ) -> SeriesLaw:
        """The exact law of `length` answers given in one call, separated by `separator`.

        Each answer is one of the tokens of yes and no, renormalised at each position (the SeriesLaw
        has the expected leak), and is fed back with the separator's tokens. history: "sampled"
        feeds back the variant that was said ((|Y| + |N|)^length leaves, at most 2^20, added up to
        2^length); "canonical" always the first yes or no, as a program does that writes the
        answers itself. Raises ValueError or TypeError by name.
        """
        where = "LMCoin.series"
        length = integer(where, "length", length, 1, 20)
        T = _positive(where, temperature)
        between = _encoded(where, "separator", separator, self.tokenizer, empty=True)
        one_of(where, "history", history, HISTORIES)
        said = self._tokens if history == "sampled" else (self.yes[0], self.no[0])
        if len(said) ** length > LEAVES:
            raise fail(where, "length", f"such that {len(said)}^length <= {LEAVES}", length)
        self._room(where, len(self.prompt) + length * (1 + len(between)) - len(between))
        tree = _Tree(self, said, between, T)
        leaks = [tree.grow() for _ in range(length)]
        return SeriesLaw(tree.law(length), leaks)

    @cached_property
    def _tokens(self) -> tuple[int, ...]:
        return (*self.yes, *self.no)

    @cached_property
    def _network(self) -> Conditionals:
        return Conditionals(self.module, self.prompt, np.arange(1), 1.0, self.batch)

    def _row(self) -> torch.Tensor:
        return torch.tensor([self.prompt], device=self._network.device)

    def _room(self, where: str, needed: int) -> None:
        limit = getattr(getattr(self.module, "config", None), "max_position_embeddings", None)
        if isinstance(limit, int) and 0 < limit < needed:
            raise fail(where, "length", f"such that all ids fit into {limit} positions", needed)


class _Tree:
    """All histories of one length, their probabilities, and the answers that they spell.

    Rows are kept in order: row i has the children i V, .., i V + V - 1, so that a cache of keys and
    values follows by repeating its rows; it is given up once a level has more rows than a batch.
    """

    def __init__(self, coin: LMCoin, said: Sequence[int], between: tuple[int, ...], T: float):
        self.coin, self.T = coin, T
        self.said = torch.tensor(list(said), device=coin._network.device)
        self.steps = torch.tensor([[v, *between] for v in said], device=coin._network.device)
        self.bits = np.array([1 if v in coin.yes else 0 for v in said])
        self.ids = self.new = coin._row()
        self.cache: Any = None
        self.probability, self.answers = np.ones(1), np.zeros(1, dtype=np.int64)

    def grow(self) -> float:
        """One answer more; returns the expected leak at its position."""
        p, leak = self._next()
        expected = float(self.probability @ leak)
        rows, V = len(self.ids), len(self.said)
        self.probability = (self.probability[:, None] * p).reshape(-1)
        self.answers = (2 * self.answers[:, None] + self.bits).reshape(-1)
        self.new = self.steps.repeat(rows, 1)
        self.ids = torch.cat([self.ids.repeat_interleave(V, 0), self.new], dim=1)
        if rows * V > self.coin.batch:
            self.cache = None
        if self.cache is not None:
            self.cache.batch_repeat_interleave(V)
        return expected

    def _next(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows, V) the law of what is said next, and (rows,) the leak."""
        network, laws, leaks = self.coin._network, [], []
        first = len(self.ids) <= self.coin.batch
        for rows in network.chunks(len(self.ids)):
            cached = self.cache if first else None
            shown = self.ids[rows] if cached is None else self.new[rows]
            z, cache = network.logits(shown, 1, cached, store=first)
            self.cache = cache if hasattr(cache, "batch_repeat_interleave") else None
            p, leak = _answers(z[:, -1].to(torch.float64), self.coin._tokens, self.T)
            laws.append(p)
            leaks.append(leak)
        p = np.concatenate(laws)
        if len(self.said) != p.shape[1]:  # canonical: one token stands for all that say the same
            yes = p[:, : len(self.coin.yes)].sum(axis=1)
            p = np.stack([yes, 1 - yes], axis=1)
        return p, np.concatenate(leaks)

    def law(self, length: int) -> np.ndarray:
        """The probabilities of the 2^length series of answers."""
        return np.bincount(self.answers, self.probability, minlength=2**length)


def _answers(z: torch.Tensor, tokens: tuple[int, ...], T: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, V) the law of the answers' tokens among themselves, and (n,) what all others have."""
    z = (z - z.amax(dim=-1, keepdim=True)) / T
    own = z[:, list(tokens)]
    inside = torch.logsumexp(own, dim=-1)
    leak = -torch.expm1(inside - torch.logsumexp(z, dim=-1))
    p = torch.exp(own - inside[:, None])
    if bool(torch.isnan(p).any()):
        raise fail(NAME, "model's logits", "numbers, not -inf at all answers", own[0].tolist())
    return p.cpu().numpy(), leak.clamp(min=0.0).cpu().numpy()


def lm_coin(
    model: torch.nn.Module,
    tokenizer: Any,
    prompt: str | Sequence[int],
    *,
    yes: Sequence[str | int],
    no: Sequence[str | int],
    variants: bool = True,
    batch: int = 256,
) -> LMCoin:
    """A causal language model's yes or no to a prompt, exactly.

    model: transformers' AutoModelForCausalLM, or any module with .logits (n, i, vocab); tokenizer:
    its tokenizer (`encode(text, add_special_tokens=...)`), None where everything is given in ids;
    prompt: text, or ids (of a chat template, which the caller applies); yes, no: answers as text
    or ids. variants: of each text, every form that is one token: with and without a leading space,
    as given, capitalised, in lower case. batch: rows of one forward pass.

    Raises ValueError or TypeError where an argument is out of range, an answer is no single token,
    or a token says both.

    >>> from types import SimpleNamespace as Record
    >>> class Bigram(torch.nn.Module):
    ...     def forward(self, input_ids):
    ...         z = torch.tensor([[6.0, 2.0, 1.0, 1.0], [1.0, 1.0, 7.0, 1.0], [3.0, 6.0, 0.5, 0.5]])
    ...         return Record(logits=z.log()[input_ids])
    >>> coin = lm_coin(Bigram(), None, [0], yes=[1], no=[2])
    >>> round(coin.rate(), 6), round(coin.leak, 6), coin.series(2).probabilities.round(4).tolist()
    (0.666667, 0.7, [0.0256, 0.3077, 0.5833, 0.0833])
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"{NAME}: model must be a torch module, got {type(model).__name__}")
    batch = integer(NAME, "batch", batch, 1)
    ids = _encoded(NAME, "prompt", prompt, tokenizer, special=True)
    says = tuple(
        _said(name, texts, tokenizer, variants) for name, texts in (("yes", yes), ("no", no))
    )
    both = set(says[0]) & set(says[1])
    if both:
        raise fail(NAME, "yes and no", "of different tokens", sorted(both))
    coin = LMCoin(model, ids, says[0], says[1], tokenizer, batch)
    coin._room(NAME, len(ids))
    vocab = coin.logits.shape[0]
    for name, tokens in (("yes", says[0]), ("no", says[1])):
        if max(tokens) >= vocab:
            raise fail(NAME, name, f"of ids below the vocabulary's {vocab}", max(tokens))
    return coin


def _said(
    name: str, answers: Sequence[str | int], tokenizer: Any, variants: bool
) -> tuple[int, ...]:
    """The ids of all single tokens that say one of the answers, in their order, each once."""
    if isinstance(answers, (str, bytes)) or not isinstance(answers, Sequence) or not len(answers):
        raise TypeError(f"{NAME}: {name} must be a list of answers, got {answers!r}")
    found: dict[int, None] = {}
    for answer in answers:
        if not isinstance(answer, str):
            found[integer(NAME, name, answer, 0)] = None
            continue
        forms = (answer, answer.capitalize(), answer.lower()) if variants else (answer,)
        texts = [lead + form for form in forms for lead in (("", " ") if variants else ("",))]
        single = [e[0] for e in (_encode(tokenizer, name, t) for t in texts) if len(e) == 1]
        single = [i for i in single if i != getattr(tokenizer, "unk_token_id", None)]
        if not single:
            raise fail(NAME, name, "of answers that are one token in some form", answer)
        found.update(dict.fromkeys(single))
    return tuple(found)


def _encode(tokenizer: Any, name: str, text: str, special: bool = False) -> list[int]:
    if not hasattr(tokenizer, "encode"):
        kind = type(tokenizer).__name__
        raise TypeError(f"{NAME}: tokenizer must have .encode where {name} is text, got {kind}")
    return [int(i) for i in tokenizer.encode(text, add_special_tokens=special)]


def _encoded(
    where: str, name: str, value: Any, tokenizer: Any, special: bool = False, empty: bool = False
) -> tuple[int, ...]:
    """Text or ids as ids."""
    if isinstance(value, str):
        ids = _encode(tokenizer, name, value, special) if value else []
    else:
        try:
            ids = [integer(where, name, i, 0) for i in np.asarray(value).tolist()]
        except TypeError:
            told = f"{where}: {name} must be text or ids, got {value!r}"
            raise TypeError(told) from None
    if not ids and not empty:
        raise fail(where, name, "at least one token long", value)
    return tuple(ids)


def _positive(where: str, temperature: Any) -> float:
    T = number(where, "temperature", temperature, 0.0)
    if T == 0:
        raise fail(where, "temperature", "positive", temperature)
    return T
