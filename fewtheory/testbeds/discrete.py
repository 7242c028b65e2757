"""Finite discrete diffusion: L tokens of V symbols, small enough that every law is a table.

Each token on its own forgets its value at the rate sigma(t) and takes one drawn from a resting
law pi: rate matrix Q = 1 pi' - I, so that P_{s->t} = k I + (1 - k) 1 pi' with k = keep(t) /
keep(s). Masked noise rests on a symbol of its own, uniform noise on all of them. Marginals, ratios,
reverse rates, posteriors and one-step conditionals follow by summing tables: no approximation.

In a state of probability 0 conditionals are 0/0, and samplers with independent tokens do visit such
states. There the data law is replaced by the uniform law, so a masked token is uniform.

Source: the worlds of the sheets `lsd`, `svdd` and `fkc`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, Rng, categorical, check_rng, namespace, to_numpy, uniform
from ..errors import fail, number
from ..model import over_event
from ..shapes import Float, Int
from .schedules import Schedule
from .tokens import LIMIT, TokenLaw, all_states, check_tokens, like_tokens, normalised

DENSE = 2**12  # states of a full generator


@dataclass(frozen=True, eq=False)
class TokenDiffusion:
    """Independent token noise on a law p0 of sequences; use `MaskedDiffusion`, `UniformDiffusion`.

    p0: a `TokenLaw` or its table, shape (V,) * L; noise: a `Schedule`. States x are integer arrays
    (n, L) with entries below `symbols` (V, or V + 1 with a mask); laws of x_t are tables of
    symbols^L entries, at most 2^20. Results for a batch are float64 of the library of x. Clean
    data, x_0 below, lie at total noise 0. Bad arguments raise a ValueError or TypeError by name.
    """

    p0: Any
    noise: Schedule

    def __post_init__(self) -> None:
        law = self.p0 if isinstance(self.p0, TokenLaw) else TokenLaw(self.p0)
        if not isinstance(self.noise, Schedule):
            raise TypeError(f"{self._name}: noise must be a Schedule, got {self.noise!r}")
        object.__setattr__(self, "p0", law)
        if self.symbols**law.L > LIMIT:
            raise fail(self._name, "p0", f"of at most {LIMIT} states", self.symbols**law.L)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def resting(self) -> Float[np.ndarray, "symbols"]:
        """The law pi of a token that has forgotten."""
        raise TypeError("TokenDiffusion: use MaskedDiffusion or UniformDiffusion")

    def _likelihood(self, t: float, s: float | None = None) -> Float[np.ndarray, "a b"]:
        """transition(t, s) up to a factor for each column, one that is right where k_t is 0."""
        return self.transition(t, s)

    @property
    def symbols(self) -> int:
        """The number of values of a token of x_t."""
        return self.resting.size

    @property
    def L(self) -> int:
        """The number of tokens."""
        return self.p0.L

    def _time(self, where: str, t: Any, argument: str = "t") -> float:
        return number(f"{self._name}.{where}", argument, t, 0.0, 1.0)

    def _step(self, where: str, t: Any, s: Any) -> tuple[float, float]:
        t, s = self._time(where, t), self._time(where, s, "s")
        if not s < t:
            raise fail(f"{self._name}.{where}", "s", f"below t = {t}", s)
        return t, s

    def states(self) -> Int[np.ndarray, "states L"]:
        """All states of x_t, in lexicographic order."""
        return all_states(self.symbols, self.L)

    @property
    def rate_matrix(self) -> Float[np.ndarray, "symbols symbols"]:
        """Q = 1 pi' - I of one token, rows = from; the rates at t are sigma(t) Q."""
        return self.resting - np.eye(self.symbols)

    def generator(self) -> Any:
        """Q acting on every token, a sparse (symbols^L, symbols^L); refuses above 4096 states.

        For oracles: matrix exponentials and master equations. Rows = from, states in order.
        """
        if self.symbols**self.L > DENSE:
            raise fail(
                f"{self._name}.generator", "p0", f"of at most {DENSE} states", self.symbols**self.L
            )
        from scipy.sparse import csr_array, eye_array, kron

        total = csr_array((1, 1))
        for i in range(self.L):  # kron(A, B) orders by A first, as the states
            grown = kron(total, eye_array(self.symbols))
            total = grown + kron(eye_array(self.symbols**i), self.rate_matrix)
        return csr_array(total)

    def transition(self, t: float, s: float | None = None) -> Float[np.ndarray, "symbols symbols"]:
        """P_{s->t} of one token, rows = from: k I + (1 - k) 1 pi', k = keep(t) / keep(s).

        Without s: from the clean data to t.
        """
        t = self._time("transition", t)
        if s is not None and self._time("transition", s, "s") == t:
            return np.eye(self.symbols)
        if s is not None:
            t, s = self._step("transition", t, s)
        kept = self.noise.keep(t) / (1.0 if s is None else self.noise.keep(s))
        return kept * np.eye(self.symbols) + self.noise.lost(t, s) * self.resting

    def at(self, t: float) -> TokenLaw:
        """The law of x_t, on `symbols` symbols."""
        kernel, table = self.transition(self._time("at", t))[: self.p0.V], self.p0.table
        for _ in range(self.L):  # each pass moves the next axis through the kernel to the end
            table = np.tensordot(table, kernel, axes=(0, 0))
        return TokenLaw(table)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Int[Any, "n L"]:
        """n draws of clean data x_0, int64 NumPy unless `like` says otherwise."""
        return self.p0.sample(n, rng=rng, like=like)

    def noised(self, x0: Array, t: Any, *, rng: Rng) -> Int[Any, "n L"]:
        """A draw of x_t given clean x_0 (n, L): each token kept with keep(t), else from pi.

        t: a number, or (n,) of x_0's library with a time for each row.
        """
        where = f"{self._name}.noised"
        check_tokens(where, "x0", x0, self.p0.V, self.L)
        check_rng(where, rng)
        if not hasattr(t, "shape"):
            t = number(where, "t", t, 0.0, 1.0)
        elif tuple(t.shape) not in ((), (x0.shape[0],)):
            raise fail(where, "t", f"a number or of shape ({x0.shape[0]},)", tuple(t.shape))
        elif not bool(namespace(t).all((t >= 0) & (t <= 1))):
            raise fail(where, "t", "in [0, 1]", t)
        pi = like_tokens(self.resting, x0)
        xp, shape = namespace(x0), tuple(x0.shape)
        kept = uniform(rng, shape, pi) < over_event(self.noise.keep(t), x0)
        return xp.where(kept, x0, xp.astype(categorical(rng, pi, shape), x0.dtype))

    def log_prob(self, x: Array, t: float) -> Float[Any, "n"]:
        """log p_t(x), -inf where it is 0."""
        t = self._time("log_prob", t)
        return self._each("log_prob", x, lambda states: self.at(t).log_prob(states))

    def _each(self, where: str, x: Array, function: Callable[[np.ndarray], np.ndarray]) -> Array:
        """function at the distinct states of x, (m, L) -> (m, ..), given back row by row."""
        host = check_tokens(f"{self._name}.{where}", "x", x, self.symbols, self.L)
        shape = (self.symbols,) * self.L
        flat, back = np.unique(np.ravel_multi_index(tuple(host.T), shape), return_inverse=True)
        states = np.stack(np.unravel_index(flat, shape), axis=1)
        return like_tokens(function(states)[back], x)

    def _uniform_at(self, t: float) -> Float[np.ndarray, "symbols"]:
        """The law of one token of x_t if the data were uniform."""
        return self.transition(t)[: self.p0.V].mean(0)

    def score(self, x: Array, t: float) -> Float[Any, "n L symbols"]:
        """The concrete score p_t(x with token i -> a) / p_t(x); 1 at a = x_i.

        Infinite at a mask where no token can be masked (keep(t) = 1).
        """
        t = self._time("score", t)

        def ratios(states: np.ndarray) -> np.ndarray:
            p, m = self.at(t).table, self._uniform_at(t)
            here, out = p[tuple(states.T)][:, None], []
            for i in range(self.L):
                own = states[:, i]
                near = np.moveaxis(p, i, -1)[tuple(np.delete(states, i, 1).T)]
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = np.where(here > 0, near / here, m / m[own][:, None])
                ratio[np.arange(len(own)), own] = 1.0
                out.append(ratio)
            return np.stack(out, axis=1)

        return self._each("score", x, ratios)

    def reverse_rates(self, x: Array, t: float) -> Float[Any, "n L symbols"]:
        """sigma Q(a, x_i) p_t(x with token i -> a) / p_t(x); minus their sum at a = x_i."""
        t, score = self._time("reverse_rates", t), self.score(x, t)
        rates = self.noise.sigma(t) * to_numpy(score) * self.resting[to_numpy(x)][:, :, None]
        return like_tokens(self._with_diagonal(rates, to_numpy(x)), x)

    def _with_diagonal(self, rates: np.ndarray, x: np.ndarray) -> np.ndarray:
        own = x[:, :, None] == np.arange(self.symbols)
        rates = np.where(own, 0.0, rates)
        return np.where(own, -rates.sum(-1, keepdims=True), rates)

    def posterior(self, x: Array, t: float) -> Float[Any, "n *V"]:
        """p(x_0 | x_t = x) as tables, (n, V, .., V)."""
        t = self._time("posterior", t)
        return self._each("posterior", x, lambda states: self._posterior(states, t))

    def _posterior(self, states: np.ndarray, t: float) -> np.ndarray:
        uniform = np.ones(self.p0.V)
        return self._bayes(states, self.p0.table, uniform, self._likelihood(t)[: self.p0.V])

    def _bayes(
        self, states: np.ndarray, prior: np.ndarray, fallback: np.ndarray, likelihood: np.ndarray
    ) -> np.ndarray:
        """Tables prior(y) prod_i likelihood(y_i, x_i), normalised; where 0, prior = fallback^L."""
        weights, instead = prior[None], np.ones((1,) * (self.L + 1))
        for i in range(self.L):
            shape = (-1, *(1,) * i, fallback.size, *(1,) * (self.L - 1 - i))
            column = likelihood[:, states[:, i]].T
            weights = weights * column.reshape(shape)
            instead = instead * (fallback * column).reshape(shape)
        return normalised(weights, instead)

    def token_posterior(self, x: Array, t: float) -> Float[Any, "n L V"]:
        """p(x_0^i = a | x_t = x) of each token; for masked noise p0(x_i = a | unmasked tokens)."""
        t = self._time("token_posterior", t)
        return self._each("token_posterior", x, lambda z: self._each_token(self._posterior(z, t)))

    def _each_token(self, tables: np.ndarray) -> np.ndarray:
        axes = range(1, self.L + 1)
        return np.stack([tables.sum(tuple(j for j in axes if j != i)) for i in axes], axis=1)

    def reverse(self, x: Array, t: float, s: float) -> Float[Any, "n *symbols"]:
        """p(x_s | x_t = x) jointly, s < t, as tables (n, symbols, .., symbols)."""
        t, s = self._step("reverse", t, s)
        return self._each("reverse", x, lambda states: self._reverse(states, t, s))

    def _reverse(self, states: np.ndarray, t: float, s: float) -> np.ndarray:
        return self._bayes(states, self.at(s).table, self._uniform_at(s), self._likelihood(t, s))

    def token_reverse(self, x: Array, t: float, s: float) -> Float[Any, "n L symbols"]:
        """p(x_s^i = a | x_t = x) of each token, s < t: the marginals of `reverse`."""
        t, s = self._step("token_reverse", t, s)
        return self._each("token_reverse", x, lambda z: self._each_token(self._reverse(z, t, s)))


class MaskedDiffusion(TokenDiffusion):
    """Absorbing noise: a forgotten token becomes the mask, symbol V.

    >>> from fewtheory.testbeds import LogLinear
    >>> bed = MaskedDiffusion([[0.4, 0.1], [0.15, 0.35]], LogLinear())
    >>> bed.token_posterior(np.array([[0, 2]]), 0.5)[0]
    array([[1. , 0. ],
           [0.8, 0.2]])
    """

    @property
    def resting(self) -> Float[np.ndarray, "symbols"]:
        """All mass on the mask."""
        return np.append(np.zeros(self.p0.V), 1.0)

    def _likelihood(self, t: float, s: float | None = None) -> Float[np.ndarray, "a b"]:
        out = np.eye(self.symbols)  # an unmasked token was what it is, also where none should be
        out[:-1, -1] = 1.0 if s is None else self.noise.lost(t, s)
        return out

    def reverse_rates(self, x: Array, t: float) -> Float[Any, "n L symbols"]:
        """At a masked token sigma k / (1 - k) p0(x_i = a | unmasked tokens), elsewhere 0.

        t needs noise, keep(t) < 1; also where sigma is infinite (LogLinear(0) at t = 1).
        """
        if self.noise.lost(self._time("reverse_rates", t)) <= 0:
            raise fail(f"{self._name}.reverse_rates", "t", "a time with noise", t)
        token, host = to_numpy(self.token_posterior(x, t)), to_numpy(x)
        rates = np.zeros((*host.shape, self.symbols))
        rates[:, :, :-1] = self.noise.reveal_rate(t) * token * (host == self.p0.V)[:, :, None]
        return like_tokens(self._with_diagonal(rates, host), x)


class UniformDiffusion(TokenDiffusion):
    """Uniform noise: a forgotten token is drawn from all V symbols.

    >>> from fewtheory.testbeds import Constant
    >>> bed = UniformDiffusion([0.9, 0.1], Constant())
    >>> bed.at(1.0).table.round(6)
    array([0.647152, 0.352848])
    """

    @property
    def resting(self) -> Float[np.ndarray, "symbols"]:
        """1 / V each."""
        return np.full(self.p0.V, 1 / self.p0.V)
