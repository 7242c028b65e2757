"""What a run may do that is not linear in the state and the model outputs.

A hook acts on the data prediction of each evaluation. It is named, so that a plan with one can be
saved without code, and a plan with one says that it is not linear: no tableau describes it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..arrays import Array, namespace, quantile
from ..errors import number, one_of

LIMITS = {"ratio": (0.0, 1.0), "max_value": (1e-300, math.inf)}


def dynamic_threshold(x0: Array, ratio: float = 0.995, max_value: float = 1.0) -> Array:
    """clip(x0, -s, s) max_value / s with s = max(quantile_ratio(|x0|), max_value), a sample.

    x0: (n, *event), the quantile runs over the event. The result lies in [-max_value, max_value]
    and is scale-free where the quantile exceeds max_value, hence not linear.
    Source: Saharia et al. (Imagen); sheet `dpm-solver-pp`, "Dynamic thresholding", C8.
    """
    number("dynamic_threshold", "ratio", ratio, *LIMITS["ratio"])
    number("dynamic_threshold", "max_value", max_value, *LIMITS["max_value"])
    xp = namespace(x0)
    flat = xp.reshape(x0, (x0.shape[0], math.prod(x0.shape[1:])))
    s = xp.clip(quantile(xp.abs(flat), ratio), min=max_value)[:, None]
    clipped = xp.minimum(xp.maximum(flat, -s), s) * (max_value / s)
    return xp.reshape(clipped, x0.shape)


def static_threshold(x0: Array, max_value: float = 1.0) -> Array:
    """clip(x0, -max_value, max_value)."""
    return namespace(x0).clip(x0, min=-max_value, max=max_value)


HOOKS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {"dynamic_threshold": dynamic_threshold, "static_threshold": static_threshold}
)


@dataclass(frozen=True)
class Hook:
    """A named hook with its settings, e.g. Hook("dynamic_threshold", {"ratio": 0.995})."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("Hook", "name", self.name, HOOKS)
        if not isinstance(self.settings, Mapping):
            raise TypeError(f"Hook: settings must be a mapping, got {self.settings!r}")
        allowed = list(inspect.signature(HOOKS[self.name]).parameters)[1:]
        for key, value in self.settings.items():
            one_of("Hook", f"a setting of {self.name}", key, allowed)
            number("Hook", key, value, *LIMITS[key])

    def __call__(self, x0: Array) -> Array:
        return HOOKS[self.name](x0, **self.settings)
