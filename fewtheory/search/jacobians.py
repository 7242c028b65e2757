"""How a small change of a state on a teacher's trajectory moves the data that it ends in.

The derivative of the remaining Euler steps, with J_K = I multiplied backwards from the data:

    J_k = J_{k+1} (I + (t_{k+1} - t_k) dv/dx(x_k, t_k)).

Sheet `boss`, "Our extension: adjoint weighting".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array, is_torch, namespace, to_numpy
from ..model import Model
from ..shapes import Float

STEP = float(np.finfo(np.float64).eps ** (1 / 3))  # of a central difference


def flow_jacobians(
    velocity: Model, states: Sequence[Array], times: Any
) -> Float[np.ndarray, "anchors n d d"]:
    """J_k of every anchor, (K_max + 1, n, d, d): the data's derivative in the state there.

    velocity: predicts dx/dt; states: K_max arrays (n, *event), those that are evaluated; times:
    (K_max + 1,). Derivatives are torch's (forward mode) or central differences on other arrays.
    """
    t = np.asarray(times, dtype=np.float64)
    n, d = states[0].shape[0], math.prod(states[0].shape[1:])
    out = np.empty((t.size, n, d, d))
    out[-1] = np.eye(d)
    for k in reversed(range(t.size - 1)):
        A = velocity_jacobian(velocity, states[k], float(t[k]))
        out[k] = out[k + 1] @ (np.eye(d) + (t[k + 1] - t[k]) * A)
    return out


def velocity_jacobian(velocity: Model, x: Array, t: float) -> Float[np.ndarray, "n d d"]:
    """dv/dx of each row, (n, d, d), row index first: A[:, i, j] = dv_i / dx_j."""
    if is_torch(x):
        from ._torch import columns

        found = columns(lambda y: velocity(y, t), x)
    else:
        found = [_difference(velocity, x, t, j) for j in range(math.prod(x.shape[1:]))]
    flat = [np.asarray(to_numpy(c), dtype=np.float64).reshape(x.shape[0], -1) for c in found]
    return np.stack(flat, axis=2)


def _difference(velocity: Model, x: Array, t: float, j: int) -> Array:
    xp = namespace(x)
    basis = np.zeros(math.prod(x.shape[1:]))
    basis[j] = STEP
    step = xp.asarray(basis.reshape(x.shape[1:]), dtype=x.dtype)
    return (velocity(x + step, t) - velocity(x - step, t)) / (2 * STEP)
