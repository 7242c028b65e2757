"""Token sequences drawn one after another, from a next-token law.

Any function of the prefix is a law of sequences; small ones can be written out as a table. The
divergence of two of them is a sum over positions (the chain rule), each under the first law's own
prefixes. Source: sheets `distilled-decoding-1` and `distilled-decoding-2`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..arrays import (
    Array,
    Rng,
    as_like,
    categorical,
)
from ..errors import fail, finite_array, integer
from ..shapes import Float, Int
from .tokens import LIMIT, TokenLaw, all_states, check_prefix, check_tokens, like_tokens


@runtime_checkable
class SequenceLaw(Protocol):
    """A law of sequences of L tokens with V symbols whose next-token law is known."""

    @property
    def V(self) -> int: ...

    @property
    def L(self) -> int: ...

    def next_token(self, prefix: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class NextTokenLaw:
    """A law of sequences of L tokens with V symbols, given by p(x_i | x_<i).

    function(prefix) takes int64 NumPy prefixes (n, i), 0 <= i < L, and returns probabilities
    (n, V). Nothing is enumerated but by `table`, so L and V may be large.

    >>> law = markov_chain([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], L=3)
    >>> law.next_token(np.array([[0, 1]])), round(law.table().entropy(), 6)
    (array([[0.1, 0.9]]), 1.343313)
    """

    function: Callable[[np.ndarray], Any]
    V: int
    L: int

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"NextTokenLaw: function must be callable, got {self.function!r}")
        integer("NextTokenLaw", "V", self.V, 1)
        integer("NextTokenLaw", "L", self.L, 1)

    def next_token(self, prefix: Array) -> Float[Any, "n V"]:
        """p(x_i | x_<i) after the prefixes (n, i), i < L; one row for each."""
        x = check_prefix("NextTokenLaw.next_token", prefix, self.V, self.L)
        p = finite_array("NextTokenLaw.next_token", "function(prefix)", self.function(x))
        if p.shape != (x.shape[0], self.V):
            raise fail(
                "NextTokenLaw", "function(prefix)", f"of shape {(x.shape[0], self.V)}", p.shape
            )
        if np.any(p < 0) or np.any(np.abs(p.sum(1) - 1) > 1e-9):
            raise fail("NextTokenLaw", "function(prefix)", "non-negative with row sums 1", p)
        return like_tokens(p, prefix)

    def log_prob(self, x: Array) -> Float[Any, "n"]:
        """log p(x) = sum_i log p(x_i | x_<i) of the states x (n, L)."""
        host = check_tokens("NextTokenLaw.log_prob", "x", x, self.V, self.L)
        rows, total = np.arange(host.shape[0]), np.zeros(host.shape[0])
        with np.errstate(divide="ignore"):
            for i in range(self.L):
                total = total + np.log(self.next_token(host[:, :i])[rows, host[:, i]])
        return like_tokens(total, x)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Int[Any, "n L"]:
        """n draws, token by token; int64 NumPy unless `like` (an integer array) says otherwise."""
        integer("NextTokenLaw.sample", "n", n, 0)
        x = np.empty((n, 0), dtype=np.int64)
        for _ in range(self.L):
            drawn = categorical(rng, self.next_token(x), (n,))
            x = np.concatenate([x, drawn[:, None]], axis=1)
        return as_like(x, np.empty(0, dtype=np.int64) if like is None else like)

    def table(self) -> TokenLaw:
        """The same law as a table, by enumeration; refuses more than 2^20 sequences."""
        if self.V**self.L > LIMIT:
            raise fail("NextTokenLaw.table", "V^L", f"at most {LIMIT}", self.V**self.L)
        p = np.ones(1)
        for i in range(self.L):
            p = (p[:, None] * self.next_token(all_states(self.V, i))).reshape(-1)
        return TokenLaw(p, self.V)


def markov_chain(initial: Any, transition: Any, L: int) -> NextTokenLaw:
    """The Markov chain p(x_0) = initial (V,), p(x_i = b | x_{i-1} = a) = transition[a, b] (V, V).

    Rows that are not laws raise a ValueError.
    """
    first = finite_array("markov_chain", "initial", initial)
    step = finite_array("markov_chain", "transition", transition)
    if first.ndim != 1 or first.size < 1:
        raise fail("markov_chain", "initial", "of shape (V,)", first.shape)
    if step.shape != (first.size, first.size):
        raise fail("markov_chain", "transition", f"({first.size}, {first.size})", step.shape)
    for name, rows in (("initial", first[None]), ("transition", step)):
        if np.any(rows < 0) or np.any(np.abs(rows.sum(1) - 1) > 1e-9):
            raise fail("markov_chain", name, "non-negative with sum 1", rows)

    def following(prefix: np.ndarray) -> np.ndarray:
        if prefix.shape[1] == 0:
            return np.broadcast_to(first, (prefix.shape[0], first.size))
        return step[prefix[:, -1]]

    return NextTokenLaw(following, first.size, L)


def chain_kl(law: SequenceLaw, other: SequenceLaw) -> Float[np.ndarray, "L"]:
    """KL(law || other) by the chain rule, one term a position; their sum is the joint KL, in nats.

    Term i is E_{x_<i ~ law} KL(law(x_i | x_<i) || other(x_i | x_<i)): prefixes come from the first
    law. Enumerates them, and refuses more than 2^20. Source: sheet `distilled-decoding-2`, C2.
    """
    from scipy.special import kl_div

    V, L = law.V, law.L
    if (other.V, other.L) != (V, L):
        raise fail("chain_kl", "other", f"a law of {L} tokens with {V} symbols", (other.V, other.L))
    if V**L > LIMIT:
        raise fail("chain_kl", "V^L", f"at most {LIMIT}", V**L)
    terms, reach = np.zeros(L), np.ones(1)
    for i in range(L):
        prefix = all_states(V, i)
        p, q = law.next_token(prefix), other.next_token(prefix)
        seen = reach > 0  # a prefix that never occurs may disagree without bound
        terms[i] = float(reach[seen] @ kl_div(p, q).sum(1)[seen])
        reach = (reach[:, None] * p).reshape(-1)
    return terms
