"""Where batches come from: a testbed, tensors, or a function that draws.

A batch is a mapping of tensors with one row a sample, on the run's device. It is a function of the
step alone (and of the process), never of what was drawn before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

from ..errors import fail

Data: TypeAlias = Any  # a testbed, a tensor, a mapping of tensors, or (n, rng) -> batch
Generators: TypeAlias = Callable[..., torch.Generator]


def batches(data: Data, batch: int, accelerator: Any) -> Callable[[int, Generators], dict]:
    """draw(step, generator): this process's part of the batch of a step."""
    rank, world = accelerator.process_index, accelerator.num_processes
    if batch % world:
        raise fail("fit", "batch", f"a multiple of the {world} processes", batch)
    mine = batch // world
    if hasattr(data, "sample") or callable(data):
        function = _sampling(data) if hasattr(data, "sample") else data

        def drawn(step: int, generator: Generators) -> dict:
            return _as_batch(function(mine, generator(step, 0, rank)), mine, accelerator.device)

        return drawn
    tensors = _tensors(data)
    n = next(iter(tensors.values())).shape[0]
    if batch > n:
        raise fail("fit", "batch", f"at most the {n} rows of data", batch)
    tensors = {name: value.to(accelerator.device) for name, value in tensors.items()}
    orders: dict[int, torch.Tensor] = {}  # of the last epoch used

    def chosen(step: int, generator: Generators) -> dict:
        epoch, place = divmod(step, n // batch)  # an epoch's last rows, short of a batch, are left
        if epoch not in orders:
            orders.clear()
            rng = generator(epoch, 0)  # of every process: nothing else here draws for place 0
            orders[epoch] = torch.randperm(n, generator=rng, device=rng.device)
        rows = orders[epoch][place * batch + rank * mine :][:mine]
        return {name: value[rows] for name, value in tensors.items()}

    return chosen


def _sampling(testbed: Any) -> Callable[[int, torch.Generator], torch.Tensor]:
    def draw(n: int, rng: torch.Generator) -> torch.Tensor:
        like = torch.empty(0, dtype=torch.get_default_dtype(), device=rng.device)
        return testbed.sample(n, rng=rng, like=like)

    return draw


def _as_batch(drawn: Any, n: int, device: torch.device) -> dict[str, torch.Tensor]:
    tensors = {name: value.to(device) for name, value in _tensors(drawn).items()}
    for name, value in tensors.items():
        if value.shape[0] != n:
            raise fail("fit", f"data's {name!r}", f"of {n} rows", tuple(value.shape))
    return tensors


def _tensors(data: Any) -> dict[str, torch.Tensor]:
    """A tensor or a mapping of tensors as a mapping of tensors with rows."""
    named = {"x": data} if isinstance(data, torch.Tensor) else data
    if not isinstance(named, Mapping) or not named:
        raise TypeError(
            "fit: data must be a testbed, a tensor, a mapping of tensors or a function (n, rng), "
            f"got {type(data).__name__}"
        )
    lengths = set()
    for name, value in named.items():
        if not isinstance(value, torch.Tensor) or value.ndim < 1:
            raise TypeError(f"fit: data[{name!r}] must be a tensor with rows, got {value!r}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise fail("fit", f"data[{name!r}]", "finite", value)
        lengths.add(value.shape[0])
    if len(lengths) > 1:
        raise fail("fit", "data", "tensors of the same number of rows", sorted(lengths))
    return dict(named)
