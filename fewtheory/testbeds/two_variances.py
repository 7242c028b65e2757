"""Clean and noisy samples of one law: how much each kind says, in closed form.

n_1 samples carry noise sigma_1, n_2 carry sigma_2 (0 is clean). In a direction of variance c a
sample at level sigma has the Fisher information 1 / (c + sigma^2) on the mean and
1 / (2 (c + sigma^2)^2) on the variance; a law of k atoms is learnt at the rate that N_4 and
N_{4k-2} allow, N_p = sum_i sigma_i^{-p}. Sheets `00-notation` and `ambient-scaling`, "Setting".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Rng, check_rng, standard_normal
from ..errors import fail, finite_array, integer


@dataclass(frozen=True, eq=False)
class TwoVarianceSample:
    """counts[i] samples of one law, observed with N(0, sigmas[i]^2 I) added.

    law: anything with `sample(n, rng=rng)` -> (n, d) (a testbed), or a sequence of variances (d,)
    for N(0, diag), of which the informations are known; sigmas, counts: (2,), or any number of
    levels. Raises ValueError by name.

    >>> world = TwoVarianceSample([1.0], [0.0, 1.0], [10, 40])
    >>> world.information_of_variance().tolist()  # 10 / 2 + 40 / 8
    [10.0]
    """

    law: Any
    sigmas: Any
    counts: Any

    def __post_init__(self) -> None:
        where = "TwoVarianceSample"
        s = finite_array(where, "sigmas", self.sigmas)
        if s.ndim != 1 or s.size < 1 or np.any(s < 0):
            raise fail(where, "sigmas", "of shape (m,), not negative", self.sigmas)
        if len(self.counts) != s.size:
            raise fail(where, "counts", f"{s.size}, one for each of sigmas", len(self.counts))
        counts = tuple(integer(where, "counts", n, 0) for n in self.counts)
        law = self.law
        if not hasattr(law, "sample"):
            law = finite_array(where, "law", law)
            if law.ndim != 1 or law.size < 1 or np.any(law < 0):
                raise fail(where, "law", "a testbed, or variances (d,)", self.law)
        for name, value in {"law": law, "sigmas": s, "counts": counts}.items():
            object.__setattr__(self, name, value)

    def sample(self, *, rng: Rng) -> tuple[np.ndarray, ...]:
        """One array (counts[i], d) for each level."""
        check_rng("TwoVarianceSample.sample", rng)
        out, like = [], np.empty(0)
        for n, sigma in zip(self.counts, self.sigmas.tolist(), strict=True):
            if isinstance(self.law, np.ndarray):
                x = np.sqrt(self.law) * standard_normal(rng, (n, self.law.size), like)
            else:
                x = self.law.sample(n, rng=rng)
            out.append(x + sigma * standard_normal(rng, x.shape, like) if sigma else x)
        return tuple(out)

    def information_of_mean(self) -> np.ndarray:
        """sum_i n_i / (c + sigma_i^2), (d,): 1 over it bounds the variance of a mean."""
        return self._information(1)

    def information_of_variance(self) -> np.ndarray:
        """sum_i n_i / (2 (c + sigma_i^2)^2), (d,): on c, the mean known."""
        return self._information(2) / 2

    def strength(self, p: int) -> float:
        """N_p = sum_i n_i sigma_i^{-p}; infinite where clean samples are among them."""
        integer("TwoVarianceSample.strength", "p", p, 1)
        if any(n > 0 and s == 0 for n, s in zip(self.counts, self.sigmas, strict=True)):
            return float("inf")
        used = [(n, s) for n, s in zip(self.counts, self.sigmas.tolist(), strict=True) if n]
        return float(sum(n * s**-p for n, s in used))

    def minimax_rate(self, d: int, k: int) -> float:
        """(d / N_4)^{1/4} + N_{4k-2}^{-1/(4k-2)}: W1 error of k atoms in a unit ball of R^d, up to
        factors in k."""
        integer("TwoVarianceSample.minimax_rate", "d", d, 1)
        p = 4 * integer("TwoVarianceSample.minimax_rate", "k", k, 1) - 2
        return (d / self.strength(4)) ** 0.25 + self.strength(p) ** (-1 / p)

    def _information(self, power: int) -> np.ndarray:
        if not isinstance(self.law, np.ndarray):
            raise fail("TwoVarianceSample", "law", "variances (d,) for an information", self.law)
        total = np.zeros(self.law.size)
        for n, sigma in zip(self.counts, self.sigmas, strict=True):
            if n and np.any(self.law + sigma**2 == 0):
                raise fail("TwoVarianceSample", "law", "positive where a clean sample is", self.law)
            total += n / (self.law + sigma**2) ** power if n else 0.0
        return total
