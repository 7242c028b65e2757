"""Running torch code on carriers: in float64 throughout, with its noise source replaced.

A scheduler that says `dtype=torch.float32` would hide what is below 1e-7. Inside `exact`, whatever
asks torch or NumPy for half or single precision is given double, and whatever draws normal noise is
given what `noise` returns. `thorough` watches every torch function (torch's own function mode);
otherwise the modules' names `torch` and `np` stand for a torch and a NumPy that are wide, three
times as fast. `probe` uses the fast way where both agree. Nothing is edited; all is undone after.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

SINGLE = {torch.float32, torch.float16, torch.bfloat16}
FUNCTIONS = (torch.randn, torch.randn_like, torch.normal)
DRAWS = {*FUNCTIONS, torch.Tensor.normal_}
CASTS = {torch.Tensor.float: torch.Tensor.double, torch.Tensor.half: torch.Tensor.double}
Noise = Callable[[], torch.Tensor]


class Exact(TorchFunctionMode):
    """Every torch function inside: dtypes widened (if `wide`), draws answered by `noise`."""

    def __init__(self, noise: Noise, wide: bool = True):
        super().__init__()
        self.noise, self.wide = noise, wide

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """See torch.overrides."""
        if func in DRAWS:
            return _drawn(func, self.noise(), args, kwargs or {})
        if self.wide:
            if func in CASTS:
                func = CASTS[func]
            elif any(type(a) is torch.dtype for a in args):
                args = tuple(map(_widened, args))
            if kwargs and "dtype" in kwargs:
                kwargs = {**kwargs, "dtype": _widened(kwargs["dtype"])}
        return func(*args, **(kwargs or {}))


def _drawn(func: Any, noise: torch.Tensor, args: tuple, kwargs: dict) -> torch.Tensor:
    """What this draw gives with this standard normal noise."""
    if func in (torch.randn, torch.randn_like):
        return noise
    named = dict(zip(("mean", "std"), args[func is torch.Tensor.normal_ :], strict=False))
    value = (
        named.get("mean", kwargs.get("mean", 0.0))
        + named.get("std", kwargs.get("std", 1.0)) * noise
    )
    return args[0].copy_(value) if func is torch.Tensor.normal_ else value


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in SINGLE else value


def _draw(func: Any, noise: Noise, *args: Any, **kwargs: Any) -> torch.Tensor:
    return _drawn(func, noise(), args, kwargs)


class _Stand:
    """A module in which some names mean something else."""

    def __init__(self, module: types.ModuleType, **other: Any):
        self._module = module
        vars(self).update(other)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextlib.contextmanager
def exact(
    modules: Sequence[str], noise: Noise, wide: bool = True, thorough: bool = True
) -> Iterator[None]:
    """Within it, the code of these modules computes in float64 (if `wide`) on `noise`'s draws."""
    stands: dict[str, _Stand] = {}
    if wide:
        stands["np"] = _Stand(np, float32=np.float64, float16=np.float64)
    if not thorough:
        draws = {f.__name__: functools.partial(_draw, f, noise) for f in FUNCTIONS}
        dtypes = {str(d).split(".")[1]: torch.float64 for d in SINGLE} if wide else {}
        stands["torch"] = _Stand(torch, **draws, **dtypes)
    real = {"np": np, "torch": torch}
    patched = [
        (names, key)
        for names in _namespaces(modules)
        for key in stands
        if names.get(key) is real[key]
    ]
    before = torch.get_default_dtype()
    try:
        for names, key in patched:
            names[key] = stands[key]
        if wide:
            torch.set_default_dtype(torch.float64)
        with Exact(noise, wide) if thorough else contextlib.nullcontext(), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)
        for names, key in patched:
            names[key] = real[key]


def _namespaces(modules: Sequence[str]) -> list[dict[str, Any]]:
    """The names of these modules, and of those from which they import functions."""
    loaded = [vars(sys.modules[m]) for m in dict.fromkeys(modules) if m in sys.modules]
    functions = [v for names in loaded for v in names.values() if isinstance(v, types.FunctionType)]
    found = {id(names): names for names in [*loaded, *(f.__globals__ for f in functions)]}
    return list(found.values())


def tensor(value: np.ndarray, wide: bool = True) -> torch.Tensor:
    """The array as a tensor of the carriers' dtype."""
    return torch.from_numpy(value).to(torch.float64 if wide else torch.float32)
