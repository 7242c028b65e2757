"""Running torch code on carriers: in float64 throughout, with its noise source replaced.

A scheduler that says `dtype=torch.float32` would hide what is below 1e-7. Inside `exact`, whatever
asks torch or its module's NumPy for half or single precision is given double, and whatever draws
normal noise is given what `noise` returns. Nothing of the library is edited; all is undone after.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

SINGLE = {torch.float32, torch.float16, torch.bfloat16}
DRAWS = {torch.randn, torch.randn_like, torch.normal, torch.Tensor.normal_}
CASTS = {torch.Tensor.float: torch.Tensor.double, torch.Tensor.half: torch.Tensor.double}


class Exact(TorchFunctionMode):
    """Every torch function inside: dtypes widened, draws answered by `noise`."""

    def __init__(self, noise: Callable[[], torch.Tensor], wide: bool = True):
        super().__init__()
        self.noise, self.wide = noise, wide

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """See torch.overrides."""
        if func in DRAWS:
            return self.noise()
        kwargs = kwargs or {}
        if self.wide:
            args = tuple(_widened(a) for a in args)
            kwargs = {k: _widened(v) for k, v in kwargs.items()}
            func = CASTS.get(func, func)
        return func(*args, **kwargs)


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in SINGLE else value


class _WideNumPy:
    """NumPy in which float32 is float64."""

    float32 = float16 = np.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextlib.contextmanager
def exact(
    modules: Sequence[str], noise: Callable[[], torch.Tensor], wide: bool = True
) -> Iterator[None]:
    """Within it, the code of these modules computes in float64 (if `wide`)."""
    loaded = [sys.modules[m] for m in dict.fromkeys(modules) if m in sys.modules]
    patched = [m for m in loaded if vars(m).get("np") is np] if wide else []
    before = torch.get_default_dtype()
    try:
        for module in patched:
            vars(module)["np"] = _WideNumPy()
        if wide:
            torch.set_default_dtype(torch.float64)
        with Exact(noise, wide), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)
        for module in patched:
            vars(module)["np"] = np


def tensor(value: np.ndarray, wide: bool = True) -> torch.Tensor:
    """The array as a tensor of the carriers' dtype."""
    return torch.from_numpy(value).to(torch.float64 if wide else torch.float32)
