"""What a run may do that is not linear in the state and the model outputs.

A hook is named, so that a plan with one can be saved without code, and a plan with one says that it
is not linear: no tableau describes it. It acts on one of three things:

| on | what it changes | hooks |
| --- | --- | --- |
| data | the data prediction of each evaluation | `dynamic_threshold`, `static_threshold` |
| state | the state at some nodes, before anything is made of it; it may draw | `augment` |
| time | the time at which the model is asked, row by row | `time_shift` (`plan.retime`) |
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from ..arrays import Array, namespace, quantile
from ..errors import fail, integer, number, one_of

Draw: TypeAlias = Callable[[Sequence[int], Array], Array]  # (shape, like) -> N(0, I)


def dynamic_threshold(x0: Array, ratio: float = 0.995, max_value: float = 1.0) -> Array:
    """clip(x0, -s, s) max_value / s with s = max(quantile_ratio(|x0|), max_value), a sample.

    x0: (n, *event), the quantile runs over the event. The result lies in [-max_value, max_value]
    and is scale-free where the quantile exceeds max_value, hence not linear.
    Source: Saharia et al. (Imagen); sheet `dpm-solver-pp`, "Dynamic thresholding", C8.
    """
    number("dynamic_threshold", "ratio", ratio, 0.0, 1.0)
    number("dynamic_threshold", "max_value", max_value, 1e-300)
    xp = namespace(x0)
    flat = xp.reshape(x0, (x0.shape[0], math.prod(x0.shape[1:])))
    s = xp.clip(quantile(xp.abs(flat), ratio), min=max_value)[:, None]
    clipped = xp.minimum(xp.maximum(flat, -s), s) * (max_value / s)
    return xp.reshape(clipped, x0.shape)


def static_threshold(x0: Array, max_value: float = 1.0) -> Array:
    """clip(x0, -max_value, max_value)."""
    return namespace(x0).clip(x0, min=-max_value, max=max_value)


def augment(x: Array, draw: Draw, nodes: Sequence[int] = (), translation: float = 1.0) -> Array:
    """Centres each structure (n, beads, 3), rotates it at random and translates it by N(0,
    translation^2).

    nodes: those of the plan at which it is done. Source: AlphaFold 3, algorithm 19; sheet
    `protenix-mini`.
    """
    from ..testbeds.chain import centred, rotations

    x = centred(x)
    xp = namespace(x)
    R = rotations(draw((x.shape[0], 4), x))
    return xp.matmul(x, xp.matrix_transpose(R)) + translation * draw((x.shape[0], 1, 3), x)


def time_shift(
    variance: Array,
    shift: str = "query",
    criterion: str = "noise",
    window: float | None = None,
    cutoff: float = 0.0,
    data_var: float | str | None = None,
) -> Array:
    """The settings of a data-dependent time shift; `plan.retime` is what a run then does."""
    raise TypeError("time_shift: a plan's run does it, it is no function of an array")


ON: Mapping[str, str] = MappingProxyType(
    {
        "dynamic_threshold": "data",
        "static_threshold": "data",
        "augment": "state",
        "time_shift": "time",
    }
)
HOOKS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "dynamic_threshold": dynamic_threshold,
        "static_threshold": static_threshold,
        "augment": augment,
        "time_shift": time_shift,
    }
)
SHIFTS = ("query", "target", "target-from-current", "rescale")


def _limits(
    low: float, high: float = math.inf, optional: bool = False
) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> None:
        if not (optional and value is None):
            number("Hook", name, value, low, high)

    return check


def _nodes(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"Hook: {name} must be a list of nodes, got {value!r}")
    for node in value:
        integer("Hook", name, node, 0)


def _data_var(name: str, value: Any) -> None:
    if value is not None and value != "auto":
        number("Hook", name, value, 1e-300)


SETTINGS: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(
    {
        "ratio": _limits(0.0, 1.0),
        "max_value": _limits(1e-300),
        "nodes": _nodes,
        "translation": _limits(0.0),
        "shift": lambda name, value: one_of("Hook", name, value, SHIFTS),
        "criterion": lambda name, value: one_of("Hook", name, value, ("noise", "marginal")),
        "window": _limits(0.0, optional=True),
        "cutoff": _limits(0.0),
        "data_var": _data_var,
    }
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
        allowed = list(inspect.signature(HOOKS[self.name]).parameters)
        allowed = [name for name in allowed[1:] if name != "draw"]
        for key, value in self.settings.items():
            one_of("Hook", f"a setting of {self.name}", key, allowed)
            SETTINGS[key](key, value)
        needed = self.settings.get("criterion") == "marginal"
        if needed and self.settings.get("data_var") is None:
            raise fail("Hook", "data_var", "a variance or 'auto' with criterion='marginal'", None)

    @property
    def on(self) -> str:
        """What it acts on: "data", "state" or "time"."""
        return ON[self.name]

    def __call__(self, x: Array, *draw: Draw) -> Array:
        return HOOKS[self.name](x, *draw, **self.settings)
