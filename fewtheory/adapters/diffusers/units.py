"""The units in which networks take time: functions of a path's t with their inverses, as data.

Three are in use: affine (a table's entry N t - 1, flow matching's 1000 t, sigma itself), EDM's
log(sigma) / 4, and the 2 arctan(sigma) / pi of Stable Audio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from ...arrays import Array
from ...errors import fail, number
from ...paths import apply_elementwise


@dataclass(frozen=True)
class Affine:
    """scale t + shift."""

    scale: float | int
    shift: float | int = 0.0

    def __post_init__(self) -> None:
        number("Affine", "shift", self.shift, -math.inf)
        if number("Affine", "scale", self.scale, -math.inf) == 0:
            raise fail("Affine", "scale", "other than 0", self.scale)

    def __call__(self, t: Array) -> Array:
        return t * self.scale + self.shift

    def inverse(self, time: np.ndarray) -> np.ndarray:
        """t at which the network takes this time."""
        return (time - self.shift) / self.scale


@dataclass(frozen=True)
class QuarterLog:
    """log(t) / 4, t = sigma."""

    def __call__(self, t: Array) -> Array:
        return apply_elementwise(lambda xp, s: 0.25 * xp.log(s), t)

    def inverse(self, time: np.ndarray) -> np.ndarray:
        """t at which the network takes this time."""
        return np.exp(4 * time)


@dataclass(frozen=True)
class Arctan:
    """2 arctan(t) / pi, t = sigma."""

    def __call__(self, t: Array) -> Array:
        return apply_elementwise(lambda xp, s: xp.atan(s) * (2 / math.pi), t)

    def inverse(self, time: np.ndarray) -> np.ndarray:
        """t at which the network takes this time."""
        return np.tan(time * (math.pi / 2))


Units: TypeAlias = Affine | QuarterLog | Arctan
NAMED: Mapping[str, type[Any]] = MappingProxyType(
    {"affine": Affine, "quarter log": QuarterLog, "arctan": Arctan}
)
