"""Code vectors that tokens stand for: what a continuous model of a token sequence denoises.

Each position, given the tokens before it, is a mixture of points (or of Gaussians of one width) at
the codes, so that on any path the law of x_t is a Gaussian mixture: weights
softmax_j(log p_j - |x - alpha c_j|^2 / (2 v)), v = alpha^2 std^2 + sigma^2, give the exact
denoiser, score and velocity; in one dimension the flow map is exact too, and with points it is a
deterministic map from noise to tokens.

Source: sheets `distilled-decoding-1`, `distilled-decoding-2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import (
    Array,
    Rng,
    as_like,
    categorical,
    is_torch,
    log_ndtr,
    logsumexp,
    namespace,
    standard_normal,
    to_numpy,
)
from ..errors import fail, finite_array, integer, number, state
from ..model import Model, over_event
from ..paths import Path
from ..shapes import Float, Int
from . import inversion
from .autoregressive import SequenceLaw
from .base import FlowMap, average_velocity, check_times, exact_model
from .inversion import LOG_2PI, Components
from .tokens import like_tokens


@dataclass(frozen=True, eq=False)
class CodebookMixture:
    """One position given its prefix: x_0 = c_j + std z with probability weights_j.

    weights: (K,) for one law, or (n, K) for a law of its own for each row of x; codes: (K, d);
    std >= 0, where 0 is a law of points: it has a density, a score and a model at noise only.

    >>> book = CodebookMixture([0.15, 0.35, 0.4, 0.1], [[-1.5], [0.2], [0.9], [2.0]])
    >>> from fewtheory.paths import RectifiedFlow
    >>> book.flow(RectifiedFlow())(np.array([[-1.1], [-1.0], [0.1]]), 1.0, 0.0)[:, 0]
    array([-1.5,  0.2,  0.9])
    """

    weights: Any
    codes: Any
    std: float = 0.0

    def __post_init__(self) -> None:
        codes = finite_array("CodebookMixture", "codes", self.codes)
        w = finite_array("CodebookMixture", "weights", self.weights)
        if codes.ndim != 2 or codes.size == 0:
            raise fail("CodebookMixture", "codes", "of shape (K, d)", codes.shape)
        if w.ndim not in (1, 2) or w.shape[-1] != codes.shape[0]:
            K = codes.shape[0]
            raise fail("CodebookMixture", "weights", f"of shape ({K},) or (n, {K})", w.shape)
        if np.any(w < 0) or np.any(np.abs(w.sum(-1) - 1) > 1e-9):
            raise fail("CodebookMixture", "weights", "non-negative with sum 1", w)
        std = number("CodebookMixture", "std", self.std, 0.0)
        for name, value in {"codes": codes, "weights": w, "std": std}.items():
            object.__setattr__(self, name, value)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one sample, (d,)."""
        return self.codes.shape[1:]

    def at(self, path: Path, t: float) -> CodebookMixture:
        """The law of x_t."""
        path.check_t("CodebookMixture.at", t)
        alpha, sigma = path.alpha(t), path.sigma(t)
        std = math.hypot(alpha * self.std, sigma)
        return CodebookMixture(self.weights, alpha * self.codes, std)

    def _check(self, where: str, x: Array) -> None:
        state(where, "x", x, self.event)
        if self.weights.ndim == 2 and x.shape[0] != self.weights.shape[0]:
            raise fail(where, "x", f"of {self.weights.shape[0]} rows, one a prefix", x.shape[0])

    def _variance(self, where: str, alpha: Array, sigma: Array) -> Array:
        """v = alpha^2 std^2 + sigma^2, numbers or (n, 1); refused where it is 0."""
        v = alpha**2 * self.std**2 + sigma**2
        if is_torch(v) and v.is_cuda:  # not read, as in Path.check_t
            return v
        try:
            clean = v == 0 if isinstance(v, float) else bool(np.any(to_numpy(v) == 0))
        except RuntimeError:  # a tensor inside a torch.func transform has no values to read
            clean = False
        if clean:
            raise fail(where, "t", "a level with noise (the codes are points)", 0.0)
        return v

    def _terms(self, x: Array, alpha: Array, v: Array) -> tuple[Array, Array, Array]:
        """g_j = x - alpha c_j, (n, K, d), log p_j - (|g_j|^2 - |g_k|^2) / (2 v), (n, K), and
        -|g_k|^2 / (2 v), (n,), where k is the likeliest code of the row.

        |g_j|^2 - |g_k|^2 = alpha (c_k - c_j) . (g_j + g_k): squares of a far x would cancel.
        """
        xp, codes = namespace(x), as_like(self.codes, x)
        scale = alpha if isinstance(alpha, float) else alpha[..., None]
        with np.errstate(divide="ignore"):
            log_w = as_like(np.log(self.weights), x)
        gap = x[:, None, :] - scale * codes
        k = xp.argmax(log_w - 0.5 * xp.sum(gap**2, axis=-1) / v, axis=1)
        top = xp.take(codes, k, axis=0)[:, None, :]
        near = x[:, None, :] - scale * top
        log = log_w - 0.5 * xp.sum(scale * (top - codes) * (gap + near), axis=-1) / v
        return gap, log, (-0.5 * xp.sum(near**2, axis=-1) / v)[:, 0]

    def log_prob(self, x: Array) -> Float[Any, "n"]:
        """The log density at x (n, d); points (std = 0) have none and are refused."""
        self._check("CodebookMixture.log_prob", x)
        if self.std == 0:
            raise fail("CodebookMixture.log_prob", "std", "positive (no density)", self.std)
        _, log, top = self._terms(x, 1.0, self.std**2)
        return logsumexp(log) + top - x.shape[1] * (math.log(self.std) + 0.5 * LOG_2PI)

    def token_posterior(self, path: Path, x: Array, t: Array) -> Float[Any, "n K"]:
        """P(token = j | x_t = x): softmax_j(log p_j - |x - alpha c_j|^2 / (2 v))."""
        self._check("CodebookMixture.token_posterior", x)
        check_times("CodebookMixture.token_posterior", path, x, self.event, t)
        level = (over_event(path.alpha(t), x), over_event(path.sigma(t), x))
        return self._posterior("CodebookMixture.token_posterior", x, *level)[0]

    def _posterior(self, where: str, x: Array, alpha: Array, sigma: Array) -> tuple[Array, ...]:
        """The token posterior (n, K), E[x - alpha c | x_t] (n, d) and v."""
        self._check(where, x)
        v = self._variance(where, alpha, sigma)
        gap, log, _ = self._terms(x, alpha, v)
        xp = namespace(x)
        r = xp.exp(log - logsumexp(log)[:, None])
        return r, xp.sum(r[:, :, None] * gap, axis=1), v

    def means_at(self, x: Array, alpha: Array, sigma: Array) -> tuple[Array, Array]:
        """E[x_0 | x_t] and E[eps | x_t] at the level (alpha, sigma), numbers or (n, 1)."""
        r, gap, v = self._posterior("CodebookMixture model", x, alpha, sigma)
        return r @ as_like(self.codes, x) + alpha * self.std**2 / v * gap, sigma / v * gap

    def score_at(self, x: Array, alpha: Array, sigma: Array) -> Array:
        """grad log p_t(x) at the level (alpha, sigma), numbers or (n, 1)."""
        _, gap, v = self._posterior("CodebookMixture model", x, alpha, sigma)
        return -gap / v

    def model(self, path: Path, prediction: str = "noise") -> Model:
        """The exact model on this path, given the prefixes."""
        return exact_model(self, path, prediction)

    def _components(self, like: Array, alpha: Array, sigma: Array) -> Components:
        """The mixture at a level in one dimension, broadcast over (n, 1, K)."""
        xp = namespace(like)
        with np.errstate(divide="ignore"):
            log_w = as_like(np.log(self.weights), like)
        alpha, sigma = (v if isinstance(v, float) else v[..., None] for v in (alpha, sigma))
        means = alpha * as_like(self.codes[:, 0], like)
        v = alpha**2 * self.std**2 + sigma**2
        stds = v**0.5 if isinstance(v, float) else xp.sqrt(v)
        return Components(log_w[..., None, :], means, xp.zeros_like(means) + stds)

    def _one_dimension(self, where: str) -> None:
        if self.event != (1,):
            raise fail(where, "codes", "of shape (K, 1): exact in one dimension", self.codes.shape)

    def token(self, path: Path, x: Array, t: Array) -> Int[Any, "n"]:
        """The index of the point to which the flow carries x (n, 1), for std = 0.

        The flow keeps order and mass: x falls to the sorted code k where P_{k-1} <= F_t(x) < P_k,
        P the cumulated weights. F_t - P_k is a difference of tails, so far noises are exact too.
        Source: sheet `distilled-decoding-1`, C1 and C2.
        """
        where = "CodebookMixture.token"
        self._one_dimension(where)
        if self.std > 0:
            raise fail(where, "std", "0: wide codes overlap", self.std)
        self._check(where, x)
        check_times(where, path, x, self.event, t)
        level = (over_event(path.alpha(t), x), over_event(path.sigma(t), x))
        self._variance(where, *level)
        return self._token(x, *level)

    def _token(self, x: Array, alpha: Array, sigma: Array) -> Array:
        xp, at = namespace(x), self._components(x, alpha, sigma)
        zeta, device = at.zeta(x), array_api_compat.device(x)
        order = np.argsort(self.codes[:, 0], kind="stable")
        rank = np.argsort(order)
        lower = xp.asarray(rank <= np.arange(len(order) - 1)[:, None], device=device)  # (K-1, K)
        above = xp.where(lower, at.log_w + log_ndtr(-zeta), -xp.inf)  # (n, K-1, K)
        below = xp.where(lower, -xp.inf, at.log_w + log_ndtr(zeta))
        passed = xp.astype(logsumexp(below) >= logsumexp(above), xp.int64)  # F_t(x) >= P_k
        return xp.take(xp.asarray(order, device=device), xp.sum(passed, axis=-1), axis=0)

    def flow(self, path: Path) -> FlowMap:
        """The exact flow map (x, t, s) for d = 1, differentiable on torch.

        By the inversion F_s^{-1}(F_t(x)) of `ProductMixture.flow`, to the same accuracy; to a level
        without noise (points) by `token`.
        """
        where = "CodebookMixture.flow"
        self._one_dimension(where)

        def flow(x: Array, t: Array, s: Array) -> Array:
            self._check(where, x)
            check_times(where, path, x, self.event, t, s)
            xp = namespace(x)
            z = xp.astype(x, xp.float64)
            times = [as_like(v, z) if isinstance(v, (int, float)) else v for v in (t, s)]
            times = [xp.broadcast_to(xp.astype(v, xp.float64), z.shape[:1]) for v in times]
            here, there = ((path.alpha(v)[:, None], path.sigma(v)[:, None]) for v in times)
            self._variance(where, *here)
            point = there[1] == 0 if self.std == 0 else there[1] < 0
            levels = [here, (there[0], xp.where(point, 1.0, there[1]))]
            if is_torch(x):
                from ._torch import flow_map

                y = flow_map(self._components, z, levels)
            else:
                y = inversion.flow_map(self._components, z, levels)
            if bool(xp.any(point)):
                code = xp.take(as_like(self.codes, z), self._token(z, *here), axis=0)
                y = xp.where(point, there[0] * code, y)
            return xp.astype(y, x.dtype)

        return flow

    def average_velocity(self, path: Path) -> FlowMap:
        """The exact average velocity (x, t, s) for d = 1."""
        return average_velocity(self.flow(path), self.model(path, "velocity"))

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> tuple[Array, Array]:
        """n draws: tokens (n,) int64 and vectors (n, d), float64 NumPy unless `like` says more."""
        integer("CodebookMixture.sample", "n", n, 0)
        z = standard_normal(rng, (n, *self.event), np.empty(0) if like is None else like)
        self._check("CodebookMixture.sample", z)
        tokens = categorical(rng, self.weights, (n,))
        return like_tokens(tokens, z), as_like(self.codes[tokens], z) + self.std * z


@dataclass(frozen=True, eq=False)
class CodebookSequence:
    """Sequences of L vectors codes[token] + std z, whose tokens follow an autoregressive law.

    tokens: a `NextTokenLaw` or `TokenLaw` with V symbols; codes: (V, d); std >= 0.

    >>> from fewtheory.testbeds import markov_chain
    >>> chain = markov_chain([0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], L=3)
    >>> bed = CodebookSequence(chain, [[-1.0], [1.0]])
    >>> bed.given(np.array([[0], [1]])).weights
    array([[0.9, 0.1],
           [0.1, 0.9]])
    """

    tokens: Any
    codes: Any
    std: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, SequenceLaw):
            raise TypeError(
                f"CodebookSequence: tokens must be a law of sequences, got {self.tokens!r}"
            )
        codes = finite_array("CodebookSequence", "codes", self.codes)
        if codes.ndim != 2 or codes.size == 0 or codes.shape[0] != self.tokens.V:
            raise fail("CodebookSequence", "codes", f"of shape ({self.tokens.V}, d)", codes.shape)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "std", number("CodebookSequence", "std", self.std, 0.0))

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one sample, (L, d)."""
        return (self.tokens.L, self.codes.shape[1])

    def given(self, prefix: Array) -> CodebookMixture:
        """The law of the vector at position i given token prefixes (n, i), one for each row."""
        return CodebookMixture(to_numpy(self.tokens.next_token(prefix)), self.codes, self.std)

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> tuple[Array, Array]:
        """n draws: tokens (n, L) int64 and vectors (n, L, d), float64 NumPy unless `like` says."""
        tokens = self.tokens.sample(n, rng=rng)
        z = standard_normal(rng, (n, *self.event), np.empty(0) if like is None else like)
        return like_tokens(tokens, z), as_like(self.codes[tokens], z) + self.std * z
