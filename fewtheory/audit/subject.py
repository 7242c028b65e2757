"""What is judged: anybody's sampler, and how one run of it is driven.

A sampler comes as a scheduler with diffusers' protocol (`set_timesteps`, `timesteps`, `step`), as a
function that returns a `Plan`, or as a function `sample(model, x, steps)`. All three are run the
same way here: from a state, with a callback in the place of the network, which sees the state,
what the network is shown of it, and the time that it is told.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, namespace
from ..errors import MissingExtra, fail, one_of
from ..model import PREDICTIONS
from ..paths import Path
from ..plan import SAMPLERS, VARIANTS, Plan

PROTOCOL = ("set_timesteps", "step")


class Call(NamedTuple):
    """One call of the network: the state, what is shown of it, and the time told."""

    state: Array
    shown: Array
    time: float


Network = Callable[[int, Call], Array]


@dataclass(frozen=True)
class Told:
    """What a sampler's network expects: its path, what it predicts, and t as its time.

    It has the fields of `adapters.diffusers.Convention`, and stands for one where there is no
    scheduler.
    """

    path: Path
    prediction: str
    sigma_data: float | None = None
    sign: int = 1

    @staticmethod
    def timestep(t: Array) -> Array:
        """The network's time at t: t itself."""
        return t


@dataclass(frozen=True)
class Subject:
    """A sampler under audit.

    name, settings: as a user writes them; kind: "scheduler", "function" or "plan"; make: a fresh
    scheduler (or the function itself); told: the network's convention, where it was given; arrays:
    what it computes with, "torch" or "numpy"; draws: whether a function takes `rng`; notes: what
    need not be found out twice.
    """

    name: str
    kind: str
    make: Callable[..., Any]
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    told: Any = None
    arrays: str = "torch"
    draws: bool = False
    notes: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fresh(self, precision: str) -> Any:
        """A scheduler as it is when just made; it is made once for each precision, and copied.

        Some take a second to be made.
        """
        if precision not in self.notes:
            self.notes[precision] = self.make()
        return copy.deepcopy(self.notes[precision])

    @property
    def title(self) -> str:
        """The name with its settings, as a call."""
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"

    def with_settings(self, **changed: Any) -> Subject:
        """The same sampler with other settings."""
        settings = {**self.settings, **changed}
        maker = getattr(self.make, "maker", None)
        if maker is None:
            raise fail("audit", "subject", "a class, to be made with other settings", self.name)
        return Subject(self.name, self.kind, Made(maker, settings), settings, self.told)


class Made:
    """A class or factory with its keyword arguments."""

    def __init__(self, maker: Callable[..., Any], settings: Mapping[str, Any]):
        self.maker, self.settings = maker, dict(settings)

    def __call__(self) -> Any:
        try:
            return self.maker(**self.settings)
        except TypeError as error:
            raise TypeError(f"audit: {_name(self.maker)} cannot be made: {error}") from error


def subject(
    factory: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    path: Path | None = None,
    prediction: str | None = None,
    arrays: str = "numpy",
) -> Subject:
    """The sampler that `factory` stands for.

    factory: a scheduler class or object, a function without arguments that returns a scheduler, a
    function of the number of steps (`steps`) that returns a Plan, one of `fewtheory.samplers`, or a
    function `sample(model, x, steps)`, with `rng` if it draws by NumPy. path, prediction: what the
    network of such a function expects; arrays: what it computes with, "numpy" or "torch".
    Raises TypeError for what is none of these and for a scheduler that lacks a method, by name.
    """
    settings = MappingProxyType(dict(settings or {}))
    told = None
    if prediction is not None:
        one_of("audit", "prediction", prediction, PREDICTIONS)
    if path is not None:
        told = Told(path, prediction or "noise")
    if isinstance(factory, type):
        _require_protocol(factory, _name(factory))
        return Subject(_name(factory), "scheduler", Made(factory, settings), settings, told)
    if hasattr(factory, "set_timesteps") or hasattr(factory, "step"):
        return _of_object(factory, settings, told)
    if not callable(factory):
        raise TypeError(
            "audit: factory must be a scheduler, a function that returns one or a Plan, or a "
            f"function sample(model, x, steps), got {factory!r}"
        )
    one_of("audit", "arrays", arrays, ("numpy", "torch"))
    return _of_function(factory, settings, told, arrays)


def _of_object(scheduler: Any, settings: Mapping[str, Any], told: Any) -> Subject:
    kind, config = type(scheduler), getattr(scheduler, "config", None)
    _require_protocol(kind, kind.__name__)
    if config is None or not hasattr(kind, "from_config"):
        raise TypeError(
            f"audit: {kind.__name__} must have a config, or be given as a function that makes it"
        )
    chosen = {k: v for k, v in dict(config).items() if not k.startswith("_")}
    made = Made(lambda **changed: kind.from_config({**chosen, **changed}), settings)
    return Subject(kind.__name__, "scheduler", made, settings, told)


def _of_function(
    function: Callable[..., Any], settings: Mapping[str, Any], told: Any, arrays: str
) -> Subject:
    name = _name(function)
    parameters = inspect.signature(function).parameters
    if function in SAMPLERS.values():
        return _of_sampler(function, settings, told)
    if {"model", "x", "steps"} <= set(parameters):
        if told is None:
            raise fail("audit", "path", f"given: it says what the network of {name} expects", None)

        def sample(model: Any, x: Array, steps: int, **drawing: Any) -> Array:
            return function(model, x, steps, **settings, **drawing)

        sample.__module__ = function.__module__
        draws = "rng" in parameters
        return Subject(name, "function", sample, settings, told, arrays, draws)
    if "steps" in parameters:
        return Subject(name, "plan", lambda steps: function(steps=steps, **settings), settings)
    made = Made(function, settings)
    scheduler = made()
    _require_protocol(type(scheduler), f"what {name} returns")
    named = type(scheduler).__name__
    return Subject(named, "scheduler", made, settings, told)


def _of_sampler(function: Callable[..., Any], settings: Mapping[str, Any], told: Any) -> Subject:
    """One of the package's own samplers, on equal steps in lam of a path (VP by default)."""
    from ..paths import VPLinear
    from ..plan import grids

    path = told.path if told is not None else VPLinear()
    every = {v.per_step for v in VARIANTS if v.sampler == function.__name__}
    if not every:
        raise fail("audit", "factory", "a registered sampler", function)

    def plan(steps: int) -> Plan:
        return function(path, grids.log_snr(path, steps), **settings)

    return Subject(function.__name__, "plan", plan, settings)


def _require_protocol(kind: type, name: str) -> None:
    missing = [m for m in PROTOCOL if not callable(getattr(kind, m, None))]
    if missing:
        raise TypeError(f"audit: {name} must have the method {' and '.join(missing)}")


def _name(thing: Any) -> str:
    return getattr(thing, "__qualname__", type(thing).__name__)


def imported(target: str, where: str = "audit: the target") -> Any:
    """The object that PACKAGE:OBJECT names; ValueError says which part of it is not there."""
    module, _, path = target.partition(":")
    if not module or not path:
        raise ValueError(f"{where} must look like PACKAGE:OBJECT, got {target!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == "diffusers":
            raise MissingExtra("models", f"{where} {target!r}") from error
        raise ValueError(f"{where} {target!r}: {error}") from None
    except ImportError as error:
        raise ValueError(f"{where} {target!r}: {error}") from None
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ValueError(f"{where} {target!r}: {module} has no {path}") from None
        if type(found).__name__ == "DummyObject":  # diffusers' stand-in for what needs a library
            needs = ", ".join(getattr(found, "_backends", ["a library"]))
            raise ValueError(f"{where} {target!r} needs {needs}, not all of which are installed")
    return found


def drive(judged: Subject, made: Any, steps: int, x: Array, network: Network, rng: Any) -> Array:
    """One run from x in `steps` steps: the state that comes out.

    network(i, call) answers the i-th call of the network; `made` is what `judged.make` made.
    """
    if judged.kind == "function":
        return _drive_function(judged, steps, x, network, rng)
    made.set_timesteps(steps)
    shows = getattr(made, "scale_model_input", None)
    for i, t in enumerate(made.timesteps):
        shown = x if shows is None else shows(x, t)
        out = made.step(network(i, Call(x, shown, float(t))), t, x)
        x = out[0] if isinstance(out, tuple) else getattr(out, "prev_sample", out)
    return x


def _drive_function(judged: Subject, steps: int, x: Array, network: Network, rng: Any) -> Array:
    count = 0

    def model(u: Array, t: Any) -> Array:
        nonlocal count
        time = float(np.ravel(np.asarray(t, dtype=np.float64))[0])
        out = network(count, Call(u, u, time))
        count += 1
        return out

    drawing = {"rng": rng} if judged.draws else {}
    out = judged.make(model, x, steps, **drawing)
    namespace(out)
    return out
