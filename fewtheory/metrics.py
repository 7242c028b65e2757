"""Distances between laws in closed form: Kullback-Leibler and 2-Wasserstein between Gaussians.

Each distance is a sum over the common eigenbasis; the terms are given, so that a caller sees which
direction is wrong.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from .errors import fail

Vector = Float[np.ndarray, "d"]


def _check(where: str, var: Vector, other_var: Vector) -> None:
    for name, value in (("var", var), ("other_var", other_var)):
        if not np.all(value >= 0):
            raise fail(where, name, "non-negative", value)


def gaussian_kl_terms(mean: Vector, var: Vector, other_mean: Vector, other_var: Vector) -> Vector:
    """KL(N(mean, var) || N(other_mean, other_var)) a direction, in nats.

    (v/v* - 1 - log(v/v*) + (mu - mu*)^2 / v*) / 2, without cancellation at v = v*; infinite where
    one variance is 0 and the other is not.
    """
    _check("gaussian_kl_terms", var, other_var)
    excess = (var - other_var) / other_var
    return 0.5 * (excess - np.log1p(excess) + (mean - other_mean) ** 2 / other_var)


def gaussian_w2_terms(mean: Vector, var: Vector, other_mean: Vector, other_var: Vector) -> Vector:
    """The squared 2-Wasserstein distance a direction: (mu - mu*)^2 + (sqrt v - sqrt v*)^2."""
    _check("gaussian_w2_terms", var, other_var)
    return (mean - other_mean) ** 2 + (np.sqrt(var) - np.sqrt(other_var)) ** 2
