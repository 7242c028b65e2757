"""An episode's curvature without sampling: Laplace's at its optimum, and Gauss-Newton's.

Gauss-Newton leaves out the second derivatives of the network and is never negative: A = J' H J with
J the Jacobian of the outputs and H the curvature of the loss in them (1/noise^2 for a Gaussian,
diag(p) - p p' for classes). Sheet `niwmeta`, M5 ("Alternative").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import Array, as_like, namespace, to_numpy
from ...errors import fail, integer, number
from .. import _forms as forms
from .episodes import Quadratic


def laplace(
    loss: Callable[[Any], Any],
    gradient: Callable[[Any], Any],
    hessian: Callable[[Any], Any],
    start: Array,
    *,
    tolerance: float | int = 1e-10,
    steps: int = 200,
) -> Quadratic:
    """The quadratic of a loss at a local minimum: mbar, the Hessian there, and the loss there.

    Newton steps on the Hessian's absolute eigenvalues, halved until the loss falls; ends where the
    gradient is below tolerance times 1 + |loss|. start (d,). Raises ValueError by name, and
    RuntimeError where no minimum with a positive semidefinite Hessian is reached.

    >>> import numpy as np
    >>> found = laplace(
    ...     lambda x: float(np.cosh(x).sum()), np.sinh, lambda x: np.diag(np.cosh(x)), np.ones(1)
    ... )
    >>> found.mbar.round(9).tolist(), found.A.round(9).tolist()
    ([0.0], [[1.0]])
    """
    number("laplace", "tolerance", tolerance, 0.0)
    integer("laplace", "steps", steps, 1)
    theta = forms.vector("laplace", "start", start)
    xp = namespace(theta)
    for _ in range(steps):
        value, g = float(loss(theta)), gradient(theta)
        H = hessian(theta)
        if float(xp.max(xp.abs(g))) <= tolerance * (1 + abs(value)):
            return Quadratic(theta, H, value)
        move, share = _newton(H, g), 1.0
        # near the minimum the loss is flat to rounding, and the full step is right
        slack = 1e-12 * (1 + abs(value))
        while not float(loss(theta - share * move)) <= value + slack and share > 1e-12:
            share /= 2
        theta = theta - share * move
    raise RuntimeError(f"laplace: no minimum in {steps} steps, gradient {to_numpy(g)}")


def _newton(H: Array, g: Array) -> Array:
    """|H|^{-1} g, |H| with the absolute eigenvalues of H: a descent, also where H is indefinite."""
    vals, vecs = np.linalg.eigh(to_numpy(H))
    vals = np.maximum(np.abs(vals), 1e-8 * np.abs(vals).max())
    return as_like(vecs @ ((vecs.T @ to_numpy(g)) / vals), g)


def gauss_newton(J: Array, H: Array) -> Array:
    """sum_n J_n' H_n J_n (d, d).

    J (n, k, d): Jacobians of k outputs; H (n, k, k): the loss's curvature in the outputs.
    Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> gauss_newton(np.ones((3, 1, 2)), np.ones((3, 1, 1))).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    J, H = (forms.floating("gauss_newton", k, v) for k, v in (("J", J), ("H", H)))
    if len(J.shape) != 3 or tuple(H.shape) != (J.shape[0], J.shape[1], J.shape[1]):
        shapes = (tuple(J.shape), tuple(H.shape))
        raise fail("gauss_newton", "J", "of shape (n, k, d) with H (n, k, k)", shapes)
    xp, d = namespace(J), J.shape[2]
    HJ = H @ J
    A = xp.reshape(J, (-1, d)).T @ xp.reshape(HJ, (-1, d))
    return (A + A.T) / 2


def softmax_curvature(p: Array) -> Array:
    """diag(p) - p p' of class probabilities (..., C): the curvature of the log loss in logits.

    >>> import numpy as np
    >>> softmax_curvature(np.array([0.5, 0.5])).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    p = forms.floating("softmax_curvature", "p", p)
    xp = namespace(p)
    eye = as_like([[float(i == j) for j in range(p.shape[-1])] for i in range(p.shape[-1])], p)
    return eye * p[..., None] - xp.matmul(p[..., :, None], p[..., None, :])
