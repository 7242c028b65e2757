"""What a distance of two samples is: a number with a standard error, from a checked pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arrays import Array, is_torch, namespace
from ..errors import fail, state


@dataclass(frozen=True)
class Estimate:
    """A number that was measured, and how well.

    value: the estimate; standard_error: the estimated standard deviation of its error, over what
    the function that returns it says (new samples, new projections, new splits).

    >>> Estimate(0.5, 0.1).standard_error
    0.1
    """

    value: float
    standard_error: float


def sample(where: str, name: str, x: Array, least: int) -> Array:
    """The sample x (n, d) in float64, without its graph; an error unless n is at least `least`."""
    xp = state(where, name, x)
    if len(x.shape) != 2 or x.shape[0] < least or x.shape[1] < 1:
        raise fail(where, name, f"of shape (n, d) with n at least {least}", tuple(x.shape))
    if not bool(xp.all(xp.isfinite(x))):
        raise fail(where, name, "finite", x)
    return xp.astype(x.detach() if is_torch(x) else x, xp.float64)


def pair(where: str, x: Array, y: Array, least: int) -> tuple[Any, Array, Array]:
    """The namespace of two samples (n, d) and (m, d) and both in float64, or an error by name."""
    x, y = sample(where, "x", x, least), sample(where, "y", y, least)
    if x.shape[1] != y.shape[1]:
        raise fail(where, "y", f"of shape (m, {x.shape[1]}) like x", tuple(y.shape))
    if namespace(x) is not namespace(y):
        raise TypeError(f"{where}: y must be an array of the kind of x, got {type(y).__name__}")
    return namespace(x), x, y
