"""A covariance is a matrix (d, d), or its diagonal (d,): what both can be asked.

With a diagonal, a normal-inverse-Wishart law stands for a product of d laws of one dimension, the
only form that millions of weights allow; each function here does for it what its formula for
matrices says, one coordinate at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, namespace, to_numpy
from ..errors import fail


def vector(where: str, argument: str, x: Any, d: int | None = None) -> Array:
    """x as a finite array (d,) of a real floating dtype, or an error that names it."""
    x = floating(where, argument, x)
    if len(x.shape) != 1 or x.shape[0] < 1 or (d is not None and x.shape[0] != d):
        raise fail(where, argument, f"of shape ({'d' if d is None else d},)", tuple(x.shape))
    return x


def floating(where: str, argument: str, x: Any) -> Array:
    """x as a finite array of a real floating dtype (lists become float64), or an error."""
    if not hasattr(x, "dtype"):
        try:
            x = np.asarray(x, dtype=np.float64)
        except (TypeError, ValueError):
            raise fail(where, argument, "an array of real numbers", x) from None
    xp = namespace(x)
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(f"{where}: {argument} must be of a real floating dtype, got {x.dtype}")
    if not bool(xp.all(xp.isfinite(x))):
        raise fail(where, argument, "finite", x)
    return x


def positive(where: str, argument: str, V: Any, d: int, *, semi: bool = False) -> Array:
    """V as a covariance (d, d) or (d,), positive definite (semi: or semidefinite), or an error."""
    V = floating(where, argument, V)
    if tuple(V.shape) not in ((d,), (d, d)):
        raise fail(where, argument, f"of shape ({d}, {d}) or ({d},)", tuple(V.shape))
    host = np.asarray(to_numpy(V), dtype=np.float64)
    least = host.min() if host.ndim == 1 else np.linalg.eigvalsh(host)[0]
    # an eigenvalue of a semidefinite matrix is rounded by d eps times the largest
    slack = d * float(namespace(V).finfo(V.dtype).eps) * np.abs(host).max()
    if host.ndim == 2 and np.abs(host - host.T).max() > 8 * slack:
        raise fail(where, argument, "symmetric", V)
    if least < -8 * slack if semi else not least > 0:
        name = "semidefinite" if semi else "definite"
        raise fail(where, argument, f"positive {name}", V)
    return V


def is_diagonal(V: Array) -> bool:
    """Whether V is given by its diagonal."""
    return len(V.shape) == 1


def inverse(V: Array) -> Array:
    """V^{-1}, in the same form; symmetric to the last digit."""
    if is_diagonal(V):
        return 1 / V
    out = namespace(V).linalg.inv(V)
    return (out + out.T) / 2


def times(V: Array, x: Array) -> Array:
    """V x for x (d,)."""
    return V * x if is_diagonal(V) else V @ x


def logdet(V: Array) -> Array:
    """log |V|."""
    xp = namespace(V)
    return xp.sum(xp.log(V)) if is_diagonal(V) else xp.linalg.slogdet(V)[1]


def trace_of_product(P: Array, V: Array) -> Array:
    """tr(P V) for symmetric P, V of one form."""
    return namespace(P).sum(P * V)


def outer(x: Array) -> Array:
    """x x^T (d, d)."""
    return x[:, None] * x[None, :]


def square(x: Array, like: Array) -> Array:
    """x x^T, or its diagonal, in the form of `like`."""
    return x * x if is_diagonal(like) else outer(x)


def factor(V: Array) -> Array:
    """S with S S^T = V: the Cholesky factor, or the square roots of a diagonal."""
    xp = namespace(V)
    return xp.sqrt(V) if is_diagonal(V) else xp.linalg.cholesky(V)
