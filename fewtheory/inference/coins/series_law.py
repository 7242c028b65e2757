"""The whole law of L answers, and everything that tests of samples only estimate.

With 2^L probabilities in hand the rate at each position, the alternation, the law of the count, the
distance from fair coins and from the best Markov model are sums: no sample, no level, no power.
Sheet `binary-bias`, M7; claim C10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arrays import Rng
from ...errors import finite_array, integer
from ...shapes import Float, Int
from ...testbeds import NextTokenLaw, TokenLaw

LONGEST = 20


@dataclass(frozen=True, eq=False)
class SeriesLaw:
    """The law of L binary answers.

    table: 2^L probabilities in lexicographic order (first answer highest), or a TokenLaw or a
    NextTokenLaw of two symbols, 1 = yes; leak: (L,), the expected probability at each position of
    saying neither yes nor no, zeros unless known. Raises ValueError or TypeError by name.

    >>> from fewtheory.testbeds.coins import HistoryCoin
    >>> law = SeriesLaw(HistoryCoin(0.4, -1.2).law(8))
    >>> round(law.rate, 6), round(law.alternation, 6), round(law.kl_fair, 6)
    (0.560734, 0.5714, 0.328622)
    """

    table: Any
    leak: Any = field(default=())

    def __post_init__(self) -> None:
        law = self.table.table() if isinstance(self.table, NextTokenLaw) else self.table
        law = law if isinstance(law, TokenLaw) else TokenLaw(law, 2)
        if law.V != 2:
            raise ValueError(f"SeriesLaw: table must be of two symbols, got {law.V}")
        leak = finite_array(
            "SeriesLaw", "leak", self.leak if np.size(self.leak) else np.zeros(law.L)
        )
        if leak.shape != (law.L,):
            raise ValueError(f"SeriesLaw: leak must be of shape ({law.L},), got {leak.shape}")
        object.__setattr__(self, "table", law)
        object.__setattr__(self, "leak", leak)

    @property
    def L(self) -> int:
        """The number of answers."""
        return self.table.L

    @property
    def probabilities(self) -> Float[np.ndarray, "states"]:
        """The 2^L probabilities, in lexicographic order."""
        return self.table.table.reshape(-1)

    @property
    def series(self) -> Int[np.ndarray, "states L"]:
        """The 2^L series, in the same order."""
        return np.indices((2,) * self.L).reshape(self.L, -1).T

    @property
    def rates(self) -> Float[np.ndarray, "L"]:
        """P(x_t = 1) at each position."""
        return self.probabilities @ self.series

    @property
    def rate(self) -> float:
        """The expected share of yes."""
        return float(self.rates.mean())

    @property
    def alternation(self) -> float:
        """The mean over neighbours of P(x_{t+1} != x_t); NaN for L = 1."""
        if self.L == 1:
            return math.nan
        x = self.series
        return float(self.probabilities @ (x[:, 1:] != x[:, :-1]).mean(axis=1))

    @property
    def count_law(self) -> Float[np.ndarray, "counts"]:
        """P(#yes = k), k = 0..L."""
        return np.bincount(self.series.sum(axis=1), self.probabilities, minlength=self.L + 1)

    @property
    def count_variance(self) -> float:
        """The variance of #yes (a fair coin: L / 4)."""
        k, law = np.arange(self.L + 1), self.count_law
        return float(law @ (k - law @ k) ** 2)

    @property
    def entropy(self) -> float:
        """-sum P log P, in nats (fair coins: L log 2)."""
        return self.table.entropy()

    @property
    def kl_fair(self) -> float:
        """KL to independent fair answers: sum P log P + L log 2, in nats."""
        return self.L * math.log(2) - self.entropy

    def kl_markov(self, order: int) -> float:
        """KL to the best Markov model of this order, position by position, in nats.

        sum_t I(x_t; x_1..x_{t-r-1} | x_{t-r}..x_{t-1}); order 0: to the best independent answers.
        """
        r = integer("SeriesLaw.kl_markov", "order", order, 0)
        total = 0.0
        for t in range(r + 1, self.L):  # H(x_t | the last r) - H(x_t | all before)
            recent, past = range(t - r, t), range(t)
            total += self._joint([*recent, t]) - self._joint(recent)
            total -= self._joint([*past, t]) - self._joint(past)
        return max(total, 0.0)

    def _joint(self, positions: Any) -> float:
        """The entropy of the answers at these positions."""
        kept = list(positions)
        return self.table.marginal(kept).entropy() if kept else 0.0

    def streak_rate(self, k: int) -> float:
        """P(yes | the k before were yes), occasions of all positions pooled; NaN if there are none.

        The ratio of the expected number of hits to that of occasions, to which pooled estimates
        tend (`inference.streak_rates`).
        """
        k = integer("SeriesLaw.streak_rate", "k", k, 1, self.L - 1)
        x = self.series
        after = np.lib.stride_tricks.sliding_window_view(x, k, axis=1)[:, :-1].all(axis=2)
        occasions = self.probabilities @ after.sum(axis=1)
        hits = self.probabilities @ (after & (x[:, k:] == 1)).sum(axis=1)
        return float(hits / occasions) if occasions > 0 else math.nan

    def sample(self, n: int, *, rng: Rng) -> Int[np.ndarray, "n L"]:
        """n series."""
        return self.table.sample(n, rng=rng)
