"""Draws on the host: a numpy Generator behind either kind, and a table of weights."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import Rng, check_rng

WORDS = 8  # 8 x 31 bits of seed


def host_rng(where: str, rng: Rng) -> np.random.Generator:
    """The numpy Generator itself, or one seeded by the next draws of a torch.Generator."""
    check_rng(where, rng)
    if isinstance(rng, np.random.Generator):
        return rng
    import torch

    words = torch.randint(2**31 - 1, (WORDS,), generator=rng, device=rng.device)
    return np.random.default_rng(words.cpu().tolist())


def seed_sequence(rng: np.random.Generator) -> np.random.SeedSequence:
    """The root of parallel streams, from the next draws of a generator."""
    return np.random.SeedSequence(rng.integers(2**63, size=2).tolist())


class Table:
    """Indices with given probabilities, from uniform numbers, at a cost that does not grow with N.

    An index is the first whose cumulative sum exceeds u; a guide from equal steps of u to where the
    search starts makes that a step or two (Chen and Asau 1974).
    """

    def __init__(self, weights: Any):
        sums = np.cumsum(np.asarray(weights, dtype=np.float64))
        last = int(np.flatnonzero(np.asarray(weights))[-1])
        self.cumulative = sums / sums[-1]
        self.cumulative[last:] = 1.0  # rounding must not reach rows of weight zero at the end

    @cached_property
    def guide(self) -> np.ndarray:
        """For each of N equal steps of u, the index at which it begins."""
        n = self.cumulative.size
        return np.searchsorted(self.cumulative, np.arange(n) / n, side="right")

    def plain(self, u: np.ndarray) -> np.ndarray:
        """The indices of uniform numbers in [0, 1) by bisection."""
        return np.searchsorted(self.cumulative, u, side="right")

    def __call__(self, u: np.ndarray) -> np.ndarray:
        """The same indices through the guide."""
        from .points._dpp_kernels import guided

        return guided(self.cumulative, self.guide, u)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n independent indices."""
        return self(rng.random(n))
