"""Any torch module as a Model.

A network differs from a testbed's exact model in four small ways: it has a dtype and a device of
its own, it wants its time in its own units and one a row, it names its conditions, and it may wrap
its output in a record. This file states the four; everything else of the package then runs on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..arrays import Array, as_like, is_torch, to_numpy
from ..errors import fail, number
from ..model import Model
from ..paths import Path


def model(
    module: Callable[..., Any],
    path: Path,
    prediction: str = "noise",
    *,
    timestep: Callable[[Array], Array] | None = None,
    scale_input: Callable[[Array, Array], Array] | None = None,
    read_output: Callable[[Array, Array, Array], Array] | None = None,
    guidance: float | int = 1.0,
    null: Mapping[str, Any] | None = None,
    shared: Mapping[str, Any] | None = None,
    **cond: Any,
) -> Model:
    """The module as a Model: module(x, timestep(t), **cond) in the module's own dtype.

    module: called with x (n, *event), times (n,) and the conditions as keywords; it returns a
    tensor of the shape of x, or a tuple or record (`.sample`) that starts with one. timestep: from
    the path's t to the module's own time, t itself by default; passed in float32 or float64.
    Preconditioning: the module is shown scale_input(x, t), and read_output(out, x, t) is the
    prediction, both in the state's dtype. cond: conditions of every call; one number stands for all
    rows. guidance w: classifier-free, m(null) + w (m(cond) - m(null)) in one call on 2 n rows;
    null: the conditions that stand for none, each of which a call must then have too. shared:
    keywords of no sample (positions of tokens, say), passed as they are and never repeated. The
    state may be of another dtype, or a NumPy array (then no gradient is recorded): the result is
    what the state is. Raises ValueError and TypeError as `Model` does, and where guidance other
    than 1 comes without null, or a call without one of its conditions.

    >>> import torch
    >>> from fewtheory import paths
    >>> halve = model(lambda x, t: x / 2, paths.EDM(), "data")
    >>> halve(torch.ones(2, 3), 1.0).sum()
    tensor(3.)
    """
    if not callable(module):
        raise TypeError(f"adapters.torch.model: module must be callable, got {module!r}")
    w = number("adapters.torch.model", "guidance", guidance, float("-inf"))
    if w != 1 and not null:
        raise ValueError(
            "adapters.torch.model: null must name the conditions that stand for none where "
            f"guidance is not 1, got null={null!r} and guidance={guidance!r}"
        )

    def function(x: Array, t: Array, **given: Any) -> Array:
        if not is_torch(x):
            with torch.no_grad():
                on_host = torch.tensor(to_numpy(x))
                return as_like(to_numpy(function(on_host, torch.as_tensor(t), **given)), x)
        dtype, n = _dtype_of(module, x.dtype), x.shape[0]
        given = {name: rows(value, n, x.device) for name, value in given.items()}
        u = (x if scale_input is None else scale_input(x, t)).to(dtype)
        if w != 1:
            if missing := sorted((null or {}).keys() - given.keys()):
                where = "adapters.torch.model"
                raise fail(where, "the conditions", f"with {missing}, to guide by", sorted(given))
            free = {**given, **{name: rows(v, n, x.device) for name, v in (null or {}).items()}}
            u = torch.cat([u, u])
            given = {name: _both(free[name], given[name]) for name in free}
        given = {**_on(shared or {}, x.device), **given}
        out = tensor_of(_called(module, u, times(timestep, t, u), given)).to(x.dtype)
        if w != 1:
            without, with_cond = out.chunk(2)
            out = without + w * (with_cond - without)
        return out if read_output is None else read_output(out, x, t)

    return Model(function, path, prediction, cond)


def times(timestep: Callable[[Array], Array] | None, t: Array, x: torch.Tensor) -> torch.Tensor:
    """The module's times (rows,), float64 where x is and float32 otherwise."""
    units = t if timestep is None else timestep(t)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    one = torch.as_tensor(units, dtype=wide, device=x.device)
    if one.ndim == 1 and one.shape[0] < x.shape[0]:  # both halves of a guided call
        return one.repeat(x.shape[0] // one.shape[0])
    return one.expand(x.shape[0])


def rows(value: Any, n: int, device: torch.device) -> Any:
    """A condition with one row a sample: numbers are repeated, arrays moved, the rest left."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return torch.full((n,), value, device=device)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = torch.as_tensor(value, device=device)
        return value.expand(n, *value.shape[1:]) if value.ndim and value.shape[0] == 1 else value
    return value


def tensor_of(out: Any) -> torch.Tensor:
    """The tensor in a module's output: itself, `.sample`, or the first of a tuple."""
    if isinstance(out, torch.Tensor):
        return out
    if isinstance(out, tuple):
        return out[0]
    if hasattr(out, "sample"):
        return out.sample
    raise TypeError(
        "adapters: a module's output must be a tensor, a tuple or a record with .sample, "
        f"got {type(out).__name__}"
    )


def _dtype_of(module: Any, default: torch.dtype) -> torch.dtype:
    """The dtype of the module's first floating parameter."""
    if isinstance(module, torch.nn.Module):
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
    return default


def _both(free: Any, given: Any) -> Any:
    return torch.cat([free, given]) if is_torch(free) else free


def _on(shared: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in shared.items()}


def _called(module: Callable[..., Any], x: torch.Tensor, t: torch.Tensor, given: Any) -> Any:
    """The module's output; an error is told which conditions there were: one may be missing."""
    try:
        return module(x, t, **given)
    except (AttributeError, TypeError, ValueError) as error:
        error.add_note(f"adapters.torch.model: called with the conditions {sorted(given)}")
        raise
