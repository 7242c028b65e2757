"""What the zoo's networks are trained on: real digits, and testbeds that are always the same.

The digits are scikit-learn's copy of the UCI handwritten digits: 1,797 images of 8 x 8, 16 grey
levels, here scaled to [-1, 1].
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from ..testbeds import GaussianMixture, NextTokenLaw, ProductMixture

SPLIT_SEED, HELD_OUT = 0, 360


class Digits(NamedTuple):
    """Images (n, 1, 8, 8) float32 in [-1, 1] and their labels (n,) int64."""

    x: torch.Tensor
    label: torch.Tensor


@cache
def _digits() -> tuple[Digits, Digits]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, label = load_digits(return_X_y=True)
    images = (x / 8 - 1).reshape(-1, 1, 8, 8).astype(np.float32)
    parts = train_test_split(
        images, label.astype(np.int64), test_size=HELD_OUT, random_state=SPLIT_SEED, stratify=label
    )
    train_x, held_x, train_y, held_y = map(torch.from_numpy, parts)
    return Digits(train_x, train_y), Digits(held_x, held_y)


def digits(part: str = "train") -> Digits:
    """The digits, "train" (1,437) or "held-out" (360), each digit in both in proportion.

    >>> digits("held-out").x.shape
    torch.Size([360, 1, 8, 8])
    """
    if part not in ("train", "held-out"):
        raise ValueError(f"digits: part must be 'train' or 'held-out', got {part!r}")
    train, held_out = _digits()
    return train if part == "train" else held_out


@cache
def mixture() -> GaussianMixture:
    """Eight Gaussians of unequal weights and shapes on a circle of radius 2, in the plane."""
    k = np.arange(8)
    angle = 2 * np.pi * k / 8
    means = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1)
    turn = turn.reshape(8, 2, 2)
    covs = turn @ np.diag([0.01, 0.09]) @ np.swapaxes(turn, 1, 2)
    return GaussianMixture((k + 1) / 36, means, covs)


@cache
def product() -> ProductMixture:
    """A rotated product of 16 one-dimensional mixtures of two, whose flow map is exact."""
    rng = np.random.default_rng(16)
    rotation, _ = np.linalg.qr(rng.standard_normal((16, 16)))
    share = rng.uniform(0.25, 0.75, 16)
    half = rng.uniform(0.6, 1.4, 16)
    return ProductMixture(
        np.stack([share, 1 - share], 1),
        np.stack([-half, half], 1),
        rng.uniform(0.2, 0.5, (16, 2)),
        rotation,
    )


@cache
def source() -> NextTokenLaw:
    """A Markov source of second order: 8 tokens of 4 symbols, the next one by the last two."""
    rng = np.random.default_rng(4)
    first = rng.dirichlet(np.ones(4))
    second = rng.dirichlet(np.ones(4), 4)
    third = rng.dirichlet(np.full(4, 0.7), (4, 4))

    def following(prefix: np.ndarray) -> np.ndarray:
        if prefix.shape[1] == 0:
            return np.broadcast_to(first, (prefix.shape[0], 4))
        if prefix.shape[1] == 1:
            return second[prefix[:, 0]]
        return third[prefix[:, -2], prefix[:, -1]]

    return NextTokenLaw(following, V=4, L=8)
