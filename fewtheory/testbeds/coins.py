"""Coins with a memory: yes/no series whose rate, counts, runs and correlations are closed forms.

A language model that is asked for many answers in one call feeds its own history back: `MarkovCoin`
remembers the last answer, `BalancingSeries` leans against the excess of yes so far (fair at every
place and never memoryless), `HistoryCoin` is a logistic regression on the mean of the past. Sheet
`binary-bias`, "Setting" (arXiv 2501.16356).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, Rng, as_like, check_rng, uniform
from ..errors import fail, integer, number
from ..shapes import Float, Int
from .autoregressive import NextTokenLaw, markov_chain

LONGEST = 4096  # flips of a joint law: its table has n^2 entries


def binary_entropy(p: Any) -> Any:
    """h(p) = -p log p - (1 - p) log(1 - p), in nats; floats or NumPy arrays."""
    from scipy.special import entr

    return entr(p) + entr(1.0 - np.asarray(p))


@functools.lru_cache(maxsize=4)
def _log_factorials(size: int) -> np.ndarray:
    """log k!, k = 0..size: looked up ten times faster than computed at each place."""
    from scipy.special import gammaln

    return gammaln(np.arange(size + 1) + 1.0)


def log_choose(n: Any, k: Any) -> Any:
    """log C(n, k) for whole numbers (ints or NumPy arrays), -inf outside 0 <= k <= n."""
    inside = (k >= 0) & (k <= n)
    n, k = np.where(inside, n, 0), np.where(inside, k, 0)
    table = _log_factorials(1 << int(np.max(n, initial=1)).bit_length())
    return np.where(inside, table[n] - table[k] - table[n - k], -np.inf)


def _times_log(k: Any, q: float) -> Any:
    """k log q, 0 for k = 0 even where q = 0; a k below 0 belongs to no series and counts as 0."""
    from scipy.special import xlogy

    return xlogy(np.maximum(k, 0), q)


@dataclass(frozen=True)
class MarkovCoin:
    """Stationary flips x_t in {0, 1} with rate p and correlation rho of neighbours.

    P(1 | 1) = p + rho (1 - p), P(1 | 0) = p (1 - rho); rho = 0 is an ordinary coin, rho < 0
    alternates too much. 0 < p < 1, max(-p / (1 - p), -(1 - p) / p) <= rho < 1. Entropies in nats.
    Raises ValueError or TypeError by name.

    >>> coin = MarkovCoin(0.5, -0.4)
    >>> [round(v, 6) for v in (coin.alternation, coin.autocorrelation(2), coin.variance_of_mean(2))]
    [0.7, 0.16, 0.075]
    """

    p: float | int = 0.5
    rho: float | int = 0.0

    def __post_init__(self) -> None:
        p = number("MarkovCoin", "p", self.p, 0.0, 1.0)
        if p in (0.0, 1.0):
            raise fail("MarkovCoin", "p", "strictly between 0 and 1", self.p)
        rho, least = number("MarkovCoin", "rho", self.rho, -1.0), max(-p / (1 - p), -(1 - p) / p)
        if not least - 1e-12 <= rho < 1.0:
            raise fail("MarkovCoin", "rho", f"in [{least:.6g}, 1) at p = {p:g}", self.rho)

    @property
    def after(self) -> tuple[float, float]:
        """(P(1 | 0), P(1 | 1))."""
        p, rho = float(self.p), float(self.rho)
        return min(p * (1 - rho), 1.0), max(p + rho * (1 - p), 0.0)

    @property
    def alternation(self) -> float:
        """P(x_{t+1} != x_t) = 2 p (1 - p)(1 - rho)."""
        return 2 * self.p * (1 - self.p) * (1 - self.rho)

    def autocorrelation(self, lag: int) -> float:
        """rho^lag."""
        return float(self.rho) ** integer("MarkovCoin.autocorrelation", "lag", lag, 0)

    @property
    def entropy_rate(self) -> float:
        """h_1 = p h(P(1 | 1)) + (1 - p) h(P(1 | 0))."""
        to_one = self.after
        h0, h1 = binary_entropy(to_one[0]), binary_entropy(to_one[1])
        return float(self.p * h1 + (1 - self.p) * h0)

    @property
    def mutual_information(self) -> float:
        """I(x_t; x_{t+1}) = h(p) - h_1, about rho^2 / 2 at p = 1/2."""
        return float(binary_entropy(self.p)) - self.entropy_rate

    def variance_of_mean(self, n: int) -> float:
        """p (1 - p) / n [(1 + rho) / (1 - rho) - 2 rho (1 - rho^n) / (n (1 - rho)^2)], exact."""
        n = integer("MarkovCoin.variance_of_mean", "n", n, 1)
        p, rho = float(self.p), float(self.rho)
        drop = 2 * rho * (1 - rho**n) / (n * (1 - rho) ** 2)
        return p * (1 - p) / n * ((1 + rho) / (1 - rho) - drop)

    def effective_size(self, n: int) -> float:
        """n (1 - rho) / (1 + rho): independent flips that say as much of p; n at least 1."""
        n = integer("MarkovCoin.effective_size", "n", n, 1)
        return n * (1 - self.rho) / (1 + self.rho) if self.rho > -1 else math.inf

    def law(self, L: int) -> NextTokenLaw:
        """The law of L flips."""
        (b0, b1), p = self.after, float(self.p)
        return markov_chain([1 - p, p], [[1 - b0, b0], [1 - b1, b1]], L)

    def count_law(self, n: int) -> Float[np.ndarray, "counts"]:
        """P(n_1 = k), k = 0..n, by the forward recursion; exact."""
        integer("MarkovCoin.count_law", "n", n, 1)
        (b0, b1), p = self.after, float(self.p)
        zero, one = np.zeros(n + 1), np.zeros(n + 1)
        zero[0], one[1] = 1 - p, p
        for _ in range(n - 1):
            stay, up = zero * (1 - b0) + one * (1 - b1), zero * b0 + one * b1
            zero, one = stay, np.concatenate([[0.0], up[:-1]])
        return zero + one

    def joint_law(self, n: int, ones: Any = None) -> Float[np.ndarray, "counts runs"]:
        """P(n_1 = i, R = r), the joint law of the number of ones and of runs, r = 0..n.

        Given both, a series' probability is a monomial in the four transitions, so the law is
        that monomial times how many series there are. ones: the values i of the rows, 0..n by
        default; n at most 4096.
        """
        integer("MarkovCoin.joint_law", "n", n, 1, LONGEST)
        n1 = np.arange(n + 1) if ones is None else np.asarray(ones, dtype=np.int64)
        n1, R = n1[:, None], np.arange(n + 1)[None, :]
        n0, k = n - n1, R // 2
        (b0, b1), p = self.after, float(self.p)
        both = _times_log(k, 1 - b1) + _times_log(k, b0)  # k times 1 -> 0 and k times 0 -> 1
        first = log_choose(n1 - 1, k - 1) + log_choose(n0 - 1, k - 1)
        # R = 2k starts with either; p (1 - b1) = (1 - p) b0, so that both have this probability
        even = math.log(2 * p) + first + _times_log(n1 - k, b1) + _times_log(n0 - k, 1 - b0)
        even += _times_log(k, 1 - b1) + _times_log(k - 1, b0)
        more_ones = log_choose(n1 - 1, k) + log_choose(n0 - 1, k - 1) + both + math.log(p)
        more_ones += _times_log(n1 - k - 1, b1) + _times_log(n0 - k, 1 - b0)
        more_zeros = log_choose(n1 - 1, k - 1) + log_choose(n0 - 1, k) + both + math.log1p(-p)
        more_zeros += _times_log(n1 - k, b1) + _times_log(n0 - k - 1, 1 - b0)
        out = np.where(R % 2 == 0, np.exp(even), np.exp(more_ones) + np.exp(more_zeros))
        constant = np.where(n1 == 0, (1 - p) * (1 - b0) ** (n - 1), p * b1 ** (n - 1))
        return np.where((n1 == 0) | (n0 == 0), np.where(R == 1, constant, 0.0), out)

    def sample(
        self, n: int, *, rng: Rng, series: int | None = None, like: Array | None = None
    ) -> Int[Any, "..."]:
        """n flips, (n,), or (series, n); int64 NumPy unless `like` (an integer array) says.

        One uniform number a flip: x_t = 1 where u_t < P(1 | x_{t-1}).
        """
        n = integer("MarkovCoin.sample", "n", n, 0)
        rows = 1 if series is None else integer("MarkovCoin.sample", "series", series, 0)
        check_rng("MarkovCoin.sample", rng)
        u = uniform(rng, (n, rows), np.empty(0))
        x, (b0, b1) = np.empty((n, rows), dtype=np.int64), self.after
        for t in range(n):
            x[t] = u[t] < (float(self.p) if t == 0 else np.where(x[t - 1] == 1, b1, b0))
        out = x.T if series is not None else x[:, 0]
        return as_like(out, np.empty(0, dtype=np.int64) if like is None else like)


@dataclass(frozen=True)
class BalancingSeries:
    """P(yes | history) = 1/2 - gamma S_t / (2 (t + tau)), S_t = #yes - #no of the t answers so far.

    The urn with negative reinforcement: fair at every place, counts with less spread than a coin's.
    gamma > -1/2 and tau >= 0; probabilities are clipped to [0, 1], which is never active for
    |gamma| <= 1 or small histories (`clipped`), and the variances hold where it is not.

    >>> series = BalancingSeries(1.5, 4)
    >>> round(float(series.variances(400)[-1]) / 400, 5), series.dispersion
    (0.2525, 0.25)
    """

    gamma: float | int = 1.0
    tau: float | int = 1.0

    def __post_init__(self) -> None:
        gamma = number("BalancingSeries", "gamma", self.gamma, -0.5)
        if gamma == -0.5:
            raise fail("BalancingSeries", "gamma", "above -1/2", self.gamma)
        number("BalancingSeries", "tau", self.tau, 0.0)

    def probability(self, t: int, S: Any) -> Any:
        """P(yes) after t answers with the excess S (a NumPy array)."""
        t = integer("BalancingSeries.probability", "t", t, 0)
        lean = float(self.gamma) * np.asarray(S, dtype=np.float64) / (2 * max(t + self.tau, 1e-300))
        return np.clip(0.5 - lean, 0.0, 1.0)

    @property
    def dispersion(self) -> float:
        """lim Var(S_n) / n = 1 / (1 + 2 gamma): by what counts spread less than a coin's."""
        return 1 / (1 + 2 * float(self.gamma))

    def variances(self, n: int) -> Float[np.ndarray, "n"]:
        """Var(S_t), t = 1..n: V_{t+1} = V_t (1 - 2 gamma / (t + tau)) + 1, V_0 = 0."""
        integer("BalancingSeries.variances", "n", n, 1)
        V = [1.0]
        for t in range(1, n):
            V.append(V[-1] * (1 - 2 * float(self.gamma) / (t + float(self.tau))) + 1)
        return np.array(V)

    def count_law(self, n: int) -> Float[np.ndarray, "counts"]:
        """P(#yes = k), k = 0..n, by the forward recursion over the urn's state."""
        integer("BalancingSeries.count_law", "n", n, 1)
        law = np.ones(1)
        for t in range(n):
            up = law * self.probability(t, 2 * np.arange(t + 1) - t)
            law = np.append(law - up, 0.0) + np.append(0.0, up)
        return law

    def clipped(self, n: int) -> bool:
        """Whether the clip is active in a history that n answers can reach."""
        integer("BalancingSeries.clipped", "n", n, 1)
        law = np.ones(1)
        for t in range(n):
            S = 2 * np.arange(t + 1) - t
            raw = 0.5 - self.gamma * S / (2 * max(t + self.tau, 1e-300))
            if np.any((law > 0) & ((raw < -1e-12) | (raw > 1 + 1e-12))):
                return True
            up = law * self.probability(t, S)
            law = np.append(law - up, 0.0) + np.append(0.0, up)
        return False

    def law(self, L: int) -> NextTokenLaw:
        """The law of L answers."""
        return NextTokenLaw(self._after, 2, L)

    def _after(self, prefix: np.ndarray) -> np.ndarray:
        t = prefix.shape[1]
        yes = self.probability(t, 2 * prefix.sum(axis=1) - t)
        return np.stack([1 - yes, yes], axis=1)

    def sample(self, n: int, *, rng: Rng, series: int = 1) -> Int[np.ndarray, "series n"]:
        """Series of n answers each, (series, n)."""
        n = integer("BalancingSeries.sample", "n", n, 0)
        rows = integer("BalancingSeries.sample", "series", series, 0)
        check_rng("BalancingSeries.sample", rng)
        u, S = uniform(rng, (n, rows), np.empty(0)), np.zeros(rows)
        x = np.empty((n, rows), dtype=np.int64)
        for t in range(n):
            x[t] = u[t] < self.probability(t, S)
            S += 2 * x[t] - 1
        return x.T


@dataclass(frozen=True)
class HistoryCoin:
    """logit P(yes | history) = intercept + slope times the mean of the past coded +-1 (0 at first).

    The shape of a language model that sees its own answers; L answers have 2^L histories, all of
    which `law(L).table()` lists.

    >>> HistoryCoin(0.4, -1.2).law(2).next_token(np.array([[1]])).round(4)
    array([[0.69, 0.31]])
    """

    intercept: float | int = 0.0
    slope: float | int = 0.0

    def __post_init__(self) -> None:
        number("HistoryCoin", "intercept", self.intercept, -math.inf)
        number("HistoryCoin", "slope", self.slope, -math.inf)

    def law(self, L: int) -> NextTokenLaw:
        """The law of L answers."""
        return NextTokenLaw(self._after, 2, L)

    def _after(self, prefix: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        t = prefix.shape[1]
        mean = (2.0 * prefix - 1).mean(axis=1) if t else np.zeros(prefix.shape[0])
        z = self.intercept + self.slope * mean
        return np.stack([expit(-z), expit(z)], axis=1)
