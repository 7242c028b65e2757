"""The point laws inside the hierarchy: Reptile, iMAML and MAML are its special cases.

With Dirac laws and Sigma = s2 I the objective is the average Moreau envelope of the episodes'
losses. Its gradient (m0 - theta*) / s2 is Reptile with an inner loop that has converged; a separate
query loss gives the implicit gradient of iMAML with lambda = 1 / s2; k inner gradient steps in
place of the minimiser give MAML, whose gradient unrolls them. Sheet `niwmeta`, M9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...arrays import Array, as_like, namespace
from ...errors import fail, integer, number
from .. import _forms as forms
from .curvature import laplace

Function: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Proximal:
    """theta (d,): the minimiser of l(theta) + |theta - m0|^2 / (2 s2); value: that minimum;
    gradient (d,): its derivative in m0."""

    theta: Array
    value: float
    gradient: Array


@dataclass(frozen=True)
class _Near:
    """l(theta) + |theta - m0|^2 / (2 s2) with its derivatives."""

    loss: Function
    gradient: Function
    hessian: Function
    m0: Array
    s2: float

    def value(self, theta: Array) -> Array:
        u = theta - self.m0
        return self.loss(theta) + namespace(u).sum(u * u) / (2 * self.s2)

    def slope(self, theta: Array) -> Array:
        return self.gradient(theta) + (theta - self.m0) / self.s2

    def curvature(self, theta: Array) -> Array:
        return self.hessian(theta) + _eye(theta) / self.s2


def moreau(
    loss: Function, gradient: Function, hessian: Function, m0: Array, s2: float | int
) -> Proximal:
    """The Moreau envelope of a loss at m0 (d,) and its gradient (m0 - theta*) / s2.

    Raises ValueError by name, and RuntimeError where no minimum is found.
    Source: sheet `niwmeta`, M9.

    >>> import numpy as np
    >>> half_square = lambda x: 0.5 * float(x @ x)
    >>> moreau(half_square, lambda x: x, lambda x: np.eye(1), np.ones(1), 1.0).gradient.tolist()
    [0.5]
    """
    m0, s2 = forms.vector("moreau", "m0", m0), number("moreau", "s2", s2, 1e-300)
    near = _Near(loss, gradient, hessian, m0, s2)
    found = laplace(near.value, near.slope, near.curvature, m0, tolerance=1e-13)
    return Proximal(found.mbar, float(found.constant), (m0 - found.mbar) / s2)


def implicit_gradient(hessian: Array, query_gradient: Array, s2: float | int) -> Array:
    """d/dm0 of l_query(theta*(m0)): (I + s2 H)^{-1} grad l_query, both at theta*, not at m0.

    hessian (d, d) of the support loss; query_gradient (d,). Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> implicit_gradient(np.eye(1), np.ones(1), 1.0).tolist()
    [0.5]
    """
    g = forms.vector("implicit_gradient", "query_gradient", query_gradient)
    H = forms.floating("implicit_gradient", "hessian", hessian)
    if tuple(H.shape) != (g.shape[0], g.shape[0]):
        allowed = f"of shape ({g.shape[0]}, {g.shape[0]})"
        raise fail("implicit_gradient", "hessian", allowed, tuple(H.shape))
    s2 = number("implicit_gradient", "s2", s2, 0.0)
    return namespace(g).linalg.solve(_eye(g) + s2 * H, g)


def inner_steps(gradient: Function, m0: Array, *, alpha: float | int, steps: int) -> Array:
    """MAML's inner loop: theta <- theta - alpha grad l(theta), `steps` times from m0 (d,).

    >>> import numpy as np
    >>> inner_steps(lambda x: x, np.ones(1), alpha=0.5, steps=2).tolist()
    [0.25]
    """
    theta = forms.vector("inner_steps", "m0", m0)
    number("inner_steps", "alpha", alpha, 0.0)
    for _ in range(integer("inner_steps", "steps", steps, 0)):
        theta = theta - alpha * gradient(theta)
    return theta


def maml_gradient(
    gradient: Function,
    hessian: Function,
    query_gradient: Function,
    m0: Array,
    *,
    alpha: float | int,
    steps: int,
) -> Array:
    """d/dm0 of l_query after `steps` inner steps: prod_k (I - alpha H(theta_k)) grad l_query.

    It keeps every theta_k, as unrolling does. First-order MAML leaves the product out.

    >>> import numpy as np
    >>> half, eye = (lambda x: x), (lambda x: np.eye(1))
    >>> maml_gradient(half, eye, half, np.ones(1), alpha=0.5, steps=2).tolist()
    [0.0625]
    """
    theta = forms.vector("maml_gradient", "m0", m0)
    number("maml_gradient", "alpha", alpha, 0.0)
    trail = []
    for _ in range(integer("maml_gradient", "steps", steps, 0)):
        trail.append(theta)
        theta = theta - alpha * gradient(theta)
    g = query_gradient(theta)
    for theta in reversed(trail):
        g = g - alpha * (hessian(theta) @ g)
    return g


def _eye(like: Array) -> Array:
    d = like.shape[0]
    return as_like([[float(i == j) for j in range(d)] for i in range(d)], like)
