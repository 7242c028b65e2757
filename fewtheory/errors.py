"""The package's own exceptions and the checks that every public function starts with.

A bad argument is named, with its value and what is allowed, before any work is done.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from .arrays import Array, namespace


class MissingExtra(ImportError):
    """A named extra of the package is not installed."""

    def __init__(self, extra: str, needed_for: str):
        super().__init__(
            f"{needed_for} needs the extra '{extra}': pip install 'fewtheory[{extra}]'"
        )
        self.extra = extra


def fail(where: str, argument: str, allowed: str, got: Any) -> ValueError:
    """The error for a bad value: `where: argument must be ALLOWED, got VALUE`."""
    return ValueError(f"{where}: {argument} must be {allowed}, got {got!r}")


def one_of(where: str, argument: str, value: Any, allowed: Collection[Any]) -> None:
    """Raise unless value is one of the allowed ones."""
    if value not in allowed:
        names = ", ".join(repr(a) for a in allowed)
        raise fail(where, argument, f"one of {names}", value)


def integer(where: str, argument: str, value: Any, low: int, high: int | float = math.inf) -> int:
    """The value as an int in [low, high], or an error that names it."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{where}: {argument} must be an integer, got {value!r}")
    if not low <= value <= high:
        limit = f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
        raise fail(where, argument, limit, value)
    return int(value)


def number(
    where: str, argument: str, value: Any, low: int | float, high: int | float = math.inf
) -> float:
    """The value as a finite float in [low, high], or an error that names it."""
    try:
        out = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{where}: {argument} must be a number, got {value!r}") from None
    if not (math.isfinite(out) and low <= out <= high):
        limit = "finite" if (low, high) == (-math.inf, math.inf) else f"finite in [{low}, {high}]"
        raise fail(where, argument, limit, value)
    return out


def finite_array(where: str, argument: str, value: Any) -> np.ndarray:
    """The value as a read-only float64 NumPy array of its own, or an error that names it."""
    try:
        out = np.array(value)
        if out.dtype.kind not in "biuf":
            raise TypeError
        out = out.astype(np.float64)
    except (TypeError, ValueError):
        raise fail(where, argument, "an array of real numbers", value) from None
    if not np.all(np.isfinite(out)):
        raise fail(where, argument, "finite", value)
    out.setflags(write=False)
    return out


def state(where: str, argument: str, x: Array, event: tuple[int, ...] | None = None) -> Any:
    """The namespace of a state of shape (n, *event), or an error that names it."""
    shape = getattr(x, "shape", None)
    if shape is None or not hasattr(x, "dtype"):
        raise TypeError(f"{where}: {argument} must be an array, got {type(x).__name__}")
    if len(shape) < 1 or (event is not None and tuple(shape[1:]) != tuple(event)):
        wanted = "(n, *event)" if event is None else f"(n, {', '.join(map(str, event))})"
        raise ValueError(f"{where}: {argument} must have shape {wanted}, got {tuple(shape)}")
    xp = namespace(x)
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(f"{where}: {argument} must be of a real floating dtype, got {x.dtype}")
    return xp
