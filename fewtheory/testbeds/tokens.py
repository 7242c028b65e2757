"""Laws of short token sequences as tables, and the named ones that the sheets use.

With V symbols and L tokens a law is V^L numbers: marginals, conditionals, entropies and divergences
are sums over a table, without approximation. Sheets `lsd`, `svdd` and `distilled-decoding-2`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import (
    Array,
    Rng,
    as_like,
    namespace,
    to_numpy,
    uniform,
)
from ..errors import fail, finite_array, integer, number
from ..shapes import Float, Int

LIMIT = 2**20  # entries of a table: 8 MB

Table = Float[np.ndarray, "..."]


def check_tokens(where: str, argument: str, x: Array, V: int, L: int) -> Int[np.ndarray, "n L"]:
    """The states (n, L) with entries in 0..V-1 as NumPy integers, or an error that names them."""
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise TypeError(f"{where}: {argument} must be an array, got {type(x).__name__}")
    if x.ndim != 2 or x.shape[1] != L:
        raise fail(where, argument, f"of shape (n, {L})", tuple(x.shape))
    host = to_numpy(x)
    if host.dtype.kind not in "iu":
        raise TypeError(f"{where}: {argument} must be of an integer dtype, got {x.dtype}")
    if host.size and not (0 <= host.min() and host.max() < V):
        raise fail(where, argument, f"tokens in 0..{V - 1}", [int(host.min()), int(host.max())])
    return host.astype(np.int64)


def check_prefix(where: str, prefix: Array, V: int, L: int) -> Int[np.ndarray, "n i"]:
    """The prefixes (n, i), i < L, as NumPy integers, or an error that names them."""
    i = prefix.shape[1] if getattr(prefix, "ndim", 0) == 2 else 0
    if i >= L:
        raise fail(where, "prefix", f"shorter than {L}", i)
    return check_tokens(where, "prefix", prefix, V, i)


def like_tokens(value: np.ndarray, x: Array) -> Array:
    """A NumPy result as an array of the library and device of the states x, in its own dtype."""
    return namespace(x).asarray(np.array(value), device=array_api_compat.device(x))


def all_states(V: int, L: int) -> Int[np.ndarray, "states L"]:
    """The V^L sequences in lexicographic order."""
    return np.indices((V,) * L).reshape(L, V**L).T


@dataclass(frozen=True, eq=False)
class TokenLaw:
    """A law of sequences of L tokens with V symbols, as a table of its V^L probabilities.

    table: shape (V,) * L, or flat in lexicographic order with V given; non-negative with sum 1, at
    most 2^20 entries.

    >>> law = TokenLaw([0.4, 0.1, 0.15, 0.35], V=2)
    >>> law.marginal([1]).table, round(law.total_correlation([0, 1]), 6)
    (array([0.55, 0.45]), 0.132505)
    """

    table: Any
    V: int = 0

    def __post_init__(self) -> None:
        table = finite_array("TokenLaw", "table", self.table)
        V = integer("TokenLaw", "V", self.V, 0) or (table.shape[0] if table.ndim else 0)
        L = round(math.log(max(table.size, 1), V)) if self.V > 1 else table.ndim
        if V < 1 or L < 1 or table.shape not in ((V,) * L, (V**L,)):
            raise fail("TokenLaw", "table", "of shape (V,) * L, or flat with V given", table.shape)
        if table.size > LIMIT:
            raise fail("TokenLaw", "table", f"of at most {LIMIT} entries", table.size)
        if np.any(table < 0) or abs(table.sum() - 1) > 1e-9:
            raise fail("TokenLaw", "table", "non-negative with sum 1", self.table)
        object.__setattr__(self, "table", table.reshape((V,) * L))
        object.__setattr__(self, "V", V)

    @property
    def L(self) -> int:
        """The number of tokens."""
        return self.table.ndim

    def log_prob(self, x: Array) -> Float[Any, "n"]:
        """log p(x) of the states x (n, L), -inf where p is 0."""
        host = check_tokens("TokenLaw.log_prob", "x", x, self.V, self.L)
        with np.errstate(divide="ignore"):
            return like_tokens(np.log(self.table[tuple(host.T)]), x)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Int[Any, "n L"]:
        """n draws, int64 NumPy unless `like` (an integer array) says otherwise."""
        integer("TokenLaw.sample", "n", n, 0)
        edges = np.cumsum(self.table)
        drawn = uniform(rng, (n,), np.empty(0))
        flat = np.searchsorted(edges / edges[-1], drawn, side="right")
        x = np.stack(np.unravel_index(flat, self.table.shape), axis=1)
        return as_like(x, np.empty(0, dtype=np.int64) if like is None else like)

    def _tokens(self, where: str, argument: str, tokens: Sequence[int]) -> list[int]:
        out = [integer(where, argument, i, 0, self.L - 1) for i in tokens]
        if len(set(out)) < len(out):
            raise fail(where, argument, "distinct", list(tokens))
        return out

    def marginal(self, tokens: Sequence[int]) -> TokenLaw:
        """The law of these tokens (at least one), in this order."""
        kept = self._tokens("TokenLaw.marginal", "tokens", tokens)
        if not kept:
            raise fail("TokenLaw.marginal", "tokens", "at least one", tokens)
        return TokenLaw(np.einsum(self.table, list(range(self.L)), kept))

    def next_token(self, prefix: Array) -> Float[Any, "n V"]:
        """p(x_i | x_<i) after the prefixes (n, i), i < L; uniform after an impossible one."""
        x = check_prefix("TokenLaw.next_token", prefix, self.V, self.L)
        joint = self.marginal(range(x.shape[1] + 1)).table[tuple(x.T)]
        joint = np.broadcast_to(joint, (x.shape[0], self.V))
        return like_tokens(normalised(joint, np.ones_like(joint)), prefix)

    def entropy(self) -> float:
        """-sum p log p, in nats."""
        from scipy.special import entr

        return float(entr(self.table).sum())

    def total_correlation(self, tokens: Sequence[int], given: Sequence[int] = ()) -> float:
        """TC(B | C) = sum_{i in B} H(x_i | x_C) - H(x_B | x_C), in nats.

        What decoding the tokens B at once, each from its own conditional, costs after C.
        """
        where = "TokenLaw.total_correlation"
        both = self._tokens(where, "tokens and given", [*tokens, *given])
        rest = both[len(tokens) :]

        def h(part: list[int]) -> float:
            return self.marginal(part).entropy() if part else 0.0

        each = sum(h([i, *rest]) - h(rest) for i in both[: len(tokens)])
        return each - (h(both) - h(rest))

    def kl(self, other: TokenLaw) -> float:
        """KL(self || other) in nats, a sum of terms p log(p/q) - p + q >= 0."""
        from scipy.special import kl_div

        return float(kl_div(self.table, self._same("TokenLaw.kl", other)).sum())

    def tv(self, other: TokenLaw) -> float:
        """The total variation distance, half the sum of absolute differences."""
        return 0.5 * float(np.abs(self.table - self._same("TokenLaw.tv", other)).sum())

    def _same(self, where: str, other: TokenLaw) -> np.ndarray:
        if other.table.shape != self.table.shape:
            raise fail(where, "other", f"a law on {self.table.shape}", other.table.shape)
        return other.table


def normalised(weights: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Rows (over all axes but the first) that sum to 1; `fallback`'s where a row is all 0."""
    axes = tuple(range(1, weights.ndim))
    total = weights.sum(axes, keepdims=True)
    out = weights / np.where(total > 0, total, 1.0)
    return np.where(total > 0, out, fallback / fallback.sum(axes, keepdims=True))


def _chain(initial: np.ndarray, transition: np.ndarray, L: int) -> np.ndarray:
    table = initial
    for _ in range(L - 1):
        table = table[..., None] * transition
    return table


def _checked_size(where: str, V: Any, L: Any, low: int = 2) -> None:
    integer(where, "V", V, low)
    if V ** integer(where, "L", L, 1, 20) > LIMIT:
        raise fail(where, "L", f"such that V^L is at most {LIMIT}", L)


def markov_chain_law(V: int, L: int, stay: float) -> Table:
    """Uniform first token; each next one stays with probability `stay`, else any other equally.

    >>> markov_chain_law(2, 2, 0.9)
    array([[0.45, 0.05],
           [0.05, 0.45]])
    """
    _checked_size("markov_chain_law", V, L)
    stay = number("markov_chain_law", "stay", stay, 0.0, 1.0)
    move = (1 - stay) / (V - 1)
    return _chain(np.full(V, 1 / V), move + (stay - move) * np.eye(V), L)


def countdown_law(V: int, L: int) -> Table:
    """Uniform first token; a > 0 is followed by a - 1, and 0 by a uniform token (sheet `lsd`).

    >>> countdown_law(2, 2)
    array([[0.25, 0.25],
           [0.5 , 0.  ]])
    """
    _checked_size("countdown_law", V, L)
    transition = np.eye(V, k=-1)
    transition[0] = 1 / V
    return _chain(np.full(V, 1 / V), transition, L)


def parity_law(eps: float, L: int = 3) -> Table:
    """L bits, uniform given their parity, which is odd with probability eps.

    >>> parity_law(0.05)[0, 0]
    array([0.2375, 0.0125])
    """
    _checked_size("parity_law", 2, L)
    eps = number("parity_law", "eps", eps, 0.0, 1.0)
    odd = np.indices((2,) * L).sum(0) % 2
    return np.where(odd == 1, eps, 1 - eps) / 2 ** (L - 1)


def dirichlet_law(V: int, L: int, concentration: float, *, rng: np.random.Generator) -> Table:
    """A random table: `rng.dirichlet` with V^L equal parameters, in lexicographic order.

    >>> dirichlet_law(3, 2, 0.6, rng=np.random.default_rng(4)).shape
    (3, 3)
    """
    _checked_size("dirichlet_law", V, L, 1)
    if number("dirichlet_law", "concentration", concentration, 0.0) == 0:
        raise fail("dirichlet_law", "concentration", "positive", concentration)
    if not isinstance(rng, np.random.Generator):
        name = type(rng).__name__
        raise TypeError(f"dirichlet_law: rng must be a numpy.random.Generator, got {name}")
    return rng.dirichlet(np.full(V**L, float(concentration))).reshape((V,) * L)
