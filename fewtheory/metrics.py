"""Distances between laws in closed form: Kullback-Leibler and 2-Wasserstein between Gaussians.

Each distance is a sum over the common eigenbasis; the terms are given, so that a caller sees which
direction is wrong.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Vector = Float[np.ndarray, "d"]


def gaussian_kl_terms(mean: Vector, var: Vector, other_mean: Vector, other_var: Vector) -> Vector:
    """KL(N(mean, var) || N(other_mean, other_var)) a direction, in nats.

    (v/v* - 1 - log(v/v*) + (mu - mu*)^2 / v*) / 2, without cancellation at v = v*.
    """
    excess = (var - other_var) / other_var
    return 0.5 * (excess - np.log1p(excess) + (mean - other_mean) ** 2 / other_var)


def gaussian_w2_terms(mean: Vector, var: Vector, other_mean: Vector, other_var: Vector) -> Vector:
    """The squared 2-Wasserstein distance a direction: (mu - mu*)^2 + (sqrt v - sqrt v*)^2."""
    return (mean - other_mean) ** 2 + (np.sqrt(var) - np.sqrt(other_var)) ** 2
