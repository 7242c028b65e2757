"""The pseudo-Huber loss: a distance far away, a square near by.

sqrt(|x - y|^2 + c^2) - c for a whole sample, whose gradient D / sqrt(|D|^2 + c^2) has a norm under
1; or element by element, sum_i (sqrt(D_i^2 + c^2) - c), whose gradient has a norm up to sqrt d.
TDM's paper has the first with c = .00054 sqrt d, its demo the second with c = 1e-3. Sheet `tdm`,
"Generator step", C7.
"""

from __future__ import annotations

import math

from ...arrays import Array
from ...errors import fail, integer, number, one_of, state
from ...shapes import Float

NORMS = ("vector", "elements")


def huber_scale(d: int) -> float:
    """c = .00054 sqrt d of a sample of d elements.

    >>> round(huber_scale(16384), 5)
    0.06912
    """
    return 0.00054 * math.sqrt(integer("huber_scale", "d", d, 1))


def pseudo_huber(
    x: Float[Array, "n *event"],
    y: Float[Array, "n *event"],
    c: float | int,
    *,
    norm: str = "vector",
) -> Float[Array, "n"]:
    """sqrt(|x - y|^2 + c^2) - c of each sample, (n,).

    c > 0: where it turns from a square to a distance. norm: "vector", over the whole sample;
    "elements", of each element, summed. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> pseudo_huber(np.array([[3.0, 4.0]]), np.zeros((1, 2)), 1e-9).round(6).tolist()
    [5.0]
    """
    xp = state("pseudo_huber", "x", x)
    one_of("pseudo_huber", "norm", norm, NORMS)
    if tuple(y.shape) != tuple(x.shape):
        raise fail("pseudo_huber", "y", f"of the shape of x, {tuple(x.shape)}", y.shape)
    scale = number("pseudo_huber", "c", c, 0.0)
    if scale == 0:
        raise fail("pseudo_huber", "c", "above 0: the distance has no gradient at 0", c)
    squares = xp.reshape((x - y) ** 2, (x.shape[0], -1))
    if norm == "vector":
        squares = xp.sum(squares, axis=1, keepdims=True)
    # sqrt(q + c^2) - c without cancellation
    return xp.sum(squares / (xp.sqrt(squares + scale**2) + scale), axis=1)
