"""A few random combinations of all rows that keep every length: sparse sign sketches.

S has `width` rows; each column has eight entries +-1/sqrt(8) in random places (one entry, +-1, is a
CountSketch). |S A x| is |A x| up to a factor near 1 for all x at once when `width` is a few times
d, and S A costs eight additions an entry of A.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...arrays import Array, as_like, is_torch, to_numpy
from .._host import seed_sequence
from .blocks import Rows, add

NONZEROS = 8


def sketch(
    rows: Rows, width: int, rng: np.random.Generator, nonzeros: int = NONZEROS
) -> np.ndarray:
    """S A, (width, d), on the host."""
    part = functools.partial(sketched_block, width=width, nonzeros=nonzeros)
    return rows.sweep(part, combine=(add,), seed=seed_sequence(rng))[1][0]


def sketched_block(
    block: Array, *, width: int, nonzeros: int, rng: np.random.Generator
) -> tuple[tuple[()], tuple[Array]]:
    """The part of S A that these rows make."""
    n = block.shape[0]
    place = rng.integers(width, size=(n, nonzeros))
    sign = rng.choice([-1.0, 1.0], size=(n, nonzeros)) / np.sqrt(nonzeros)
    return (), (scattered(block, place, sign, width),)


def scattered(block: Array, place: np.ndarray, sign: np.ndarray, width: int) -> Array:
    """sum_ij sign_ij e_(place_ij) a_i^T, (width, d)."""
    if is_torch(block):
        import torch

        out = torch.zeros((width, block.shape[1]), dtype=block.dtype, device=block.device)
        for j in range(place.shape[1]):
            index = torch.as_tensor(place[:, j], device=block.device)
            out.index_add_(0, index, block * as_like(sign[:, j, None], block))
        return out
    from scipy.sparse import csc_array

    n, nonzeros = place.shape
    starts = np.arange(0, n * nonzeros + 1, nonzeros)
    S: Any = csc_array((sign.ravel(), place.ravel(), starts), shape=(width, n))
    return as_like(S @ to_numpy(block), block)
