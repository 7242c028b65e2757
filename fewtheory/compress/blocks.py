"""Leaving blocks of a torch network out, by hooks, so that the network itself stays as it is.

A block that is left out returns its inputs: right for a residual block, whose branch is then off.
Which blocks are out may change from one evaluation to the next, as a searched plan wants it.
Sheets `autodiffusion` ("Real models") and `protenix-mini` (C8).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..arrays import Array
from ..errors import fail


class Skipping:
    """A context in which the blocks named in `skipped` return their inputs.

    blocks: modules whose output has the shape of their first input (or which return a tuple of as
    many tensors as they are given, in order); sets: None, or for each evaluation of a run the
    blocks to leave out: `at` is then the run's callback. Raises ValueError where a block changes
    its input's shape, at its first call.

    >>> import torch
    >>> from torch import nn
    >>> blocks = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    >>> with Skipping(list(blocks)) as out:
    ...     out.skipped = {0, 1}
    ...     bool((blocks[1](blocks[0](torch.ones(1, 3))) == 1).all())
    True
    """

    def __init__(
        self, blocks: Sequence[nn.Module], sets: Sequence[Collection[int]] | None = None
    ) -> None:
        self.blocks, self.sets = list(blocks), sets
        for k, block in enumerate(self.blocks):
            if not isinstance(block, nn.Module):
                raise TypeError(f"Skipping: blocks must be modules, got {block!r} at {k}")
        if not self.blocks:
            raise fail("Skipping", "blocks", "one or more", blocks)
        for chosen in sets or ():
            self._check(chosen)
        self.skipped: Collection[int] = frozenset()
        self._handles: list[Any] = []

    def _check(self, chosen: Collection[int]) -> None:
        if any(not 0 <= k < len(self.blocks) for k in chosen):
            raise fail("Skipping", "sets", f"of indices below {len(self.blocks)}", chosen)

    def at(self, node: int, state: Array = None) -> None:
        """Leave out what `sets` says for this evaluation; a callback of `Plan.run`."""
        if self.sets is not None and node < len(self.sets):
            self.skipped = frozenset(self.sets[node])

    def __enter__(self) -> Skipping:
        for k, block in enumerate(self.blocks):
            hook = block.register_forward_hook(self._returns_inputs(k), with_kwargs=True)
            self._handles.append(hook)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _returns_inputs(self, k: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
            if k not in self.skipped:
                return None
            given = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
            wanted = output if isinstance(output, tuple) else (output,)
            for one, two in zip(given, wanted, strict=False):
                if one.shape != two.shape:
                    allowed = f"of the shape of its input, {tuple(one.shape)}"
                    raise fail("Skipping", f"the output of block {k}", allowed, tuple(two.shape))
            return tuple(given[: len(wanted)]) if isinstance(output, tuple) else given[0]

        return hook
