"""The design on which sensitivity sampling needs more rows than its total: the odds of full rank.

A dense spherical design in k dimensions has l_1 sensitivities that sum to sqrt(pi k / 2) only, k
axes beside it sum to k; a sample of m rows by sensitivity gives the sphere m / sqrt(k) of them, and
it needs k. So m is at least about k^{3/2}, where Lewis weights or leverage added to the
sensitivities need k log k.

Source: sheet `lp-sensitivity`, claim C8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Rng
from ..errors import fail, integer, number
from ..shapes import Float
from .lp_designs import axes, sphere_rows, sphere_total


def rank_probability(k: int, sizes: tuple[int, int], q: tuple[float, float]) -> float:
    """P(Bin(n1, q1) >= k) (1 - (1 - q2)^copies)^k: all of a rank 2k is kept.

    sizes: (n1, copies), rows in general position in k dimensions, and copies of each of k axes; q:
    the probability to keep a row of either kind.

    >>> rank_probability(1, (1, 2), (0.5, 0.5))
    0.375
    """
    from scipy.stats import binom

    missed = (1 - q[1]) ** sizes[1]
    return float(binom.sf(k - 1, sizes[0], q[0])) * (1 - missed) ** k


@dataclass(frozen=True)
class TwoBlocks:
    """A dense spherical design in k dimensions (400 k rows) beside k axes of 200 copies; p = 1.

    Scores give all rows of a block the same probability, so the odds that a Bernoulli sample keeps
    the rank d = 2k are a binomial tail times a power, whatever the design (in general position).

    >>> TwoBlocks(2).d
    4
    """

    k: int
    per_dimension: int = 400
    copies: int = 200

    def __post_init__(self) -> None:
        integer("TwoBlocks", "k", self.k, 1)
        integer("TwoBlocks", "per_dimension", self.per_dimension, 1)
        integer("TwoBlocks", "copies", self.copies, 1)

    @property
    def d(self) -> int:
        """The rank, 2k."""
        return 2 * self.k

    def totals(self, family: str) -> tuple[float, float]:
        """The sum of the scores over each block: "sensitivity", "lewis" or "augmented"."""
        sphere, k = sphere_total(self.k, 1.0), float(self.k)
        known = {"sensitivity": (sphere, k), "lewis": (k, k), "augmented": (sphere + k, 2 * k)}
        if family not in known:
            raise fail("TwoBlocks.totals", "family", f"one of {', '.join(known)}", family)
        return known[family]

    def success(self, m: float | int, totals: tuple[float, float]) -> float:
        """P(rank kept) with m rows in the mean, split as the blocks' totals."""
        number("TwoBlocks.success", "m", m, 0.0)
        n1, n2 = self.per_dimension * self.k, self.copies * self.k
        q1, q2 = (m * t / sum(totals) / n for t, n in zip(totals, (n1, n2), strict=True))
        return rank_probability(self.k, (n1, self.copies), (min(q1, 1.0), min(q2, 1.0)))

    def median_budget(self, totals: tuple[float, float]) -> float:
        """The m at which half of all samples keep the rank."""
        from scipy.optimize import root_scalar

        most = float((self.per_dimension + self.copies) * self.k)
        over = lambda m: self.success(m, totals) - 0.5  # noqa: E731
        return float(root_scalar(over, bracket=(self.k, most), rtol=1e-12).root)

    def rows(self, *, rng: Rng) -> Float[np.ndarray, "n d"]:
        """The matrix, with independent directions for the spherical design."""
        sphere = sphere_rows(self.per_dimension * self.k, self.k, rng=rng)
        block = axes(self.k, self.copies).A
        zeros = np.zeros((len(sphere), self.k)), np.zeros((len(block), self.k))
        return np.block([[sphere, zeros[0]], [zeros[1], block]])
