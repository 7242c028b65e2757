"""Which blocks of a stack can go: probes that leave blocks out, without retraining, and measure.

A residual block that is left out returns its input. One block at a time says little of several
together: the scores do not add, because each block works on what the others left. So a ranking by
single scores is the cheapest probe and the worst; the greedy one measures again after each drop;
the exhaustive one is the truth for small stacks. Found in this way, the mini models of the paper
keep 16 (tiny: 8) of 48 pairformer blocks, 1 of 4 alignment blocks, 8 of 24 blocks of the diffusion
transformer and 1 of 3 of each atom transformer, and are then trained.
Gong et al. (2025), arXiv 2507.11839; sheet `protenix-mini`, "Compact models" and C8.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import fail, integer, one_of
from .blocks import Skipping

MODES = ("one-shot", "greedy", "exhaustive", "first", "last")
LIMIT = 2**16  # sets of blocks that an exhaustive probe may measure


@dataclass(frozen=True)
class BlockProbe:
    """What a probe found.

    dropped: the blocks to leave out, in the order in which they were chosen (exhaustive: sorted);
    loss: with all of them out; baseline: with none; scores: the loss with one block out, for each
    block (one-shot and greedy; None otherwise); trail: the loss after the first drop, the first
    two, ... (exhaustive: the last alone); evaluations: how often the loss was measured.
    """

    mode: str
    dropped: tuple[int, ...]
    loss: float
    baseline: float
    scores: tuple[float, ...] | None
    trail: tuple[float, ...]
    evaluations: int

    def kept(self, blocks: int) -> tuple[int, ...]:
        """The blocks that stay, of so many."""
        return tuple(k for k in range(blocks) if k not in self.dropped)


def probe_blocks(
    blocks: Sequence[nn.Module] | int,
    loss: Callable[..., Any],
    *,
    mode: str = "greedy",
    drop: int = 1,
) -> BlockProbe:
    """Choose `drop` blocks to leave out, by the loss of the network without them.

    blocks: the modules of a stack, and then `loss()` runs the network and returns a number (each
    block is residual, or returns a tuple of the shapes of its inputs: see `Skipping`); or how many
    there are, and then `loss(dropped)` takes a frozenset of indices. The loss must be
    deterministic, since differences of it are compared; NaN counts as infinite.
    mode: "one-shot" drops the blocks whose loss alone is least; "greedy" the best one, then the
    best one beside it, ...; "exhaustive" tries every set of `drop` blocks; "first" and "last" drop
    these and look at no loss. Ties go to the smaller index. Evaluations: L + drop, about L drop, L
    choose drop, and drop. Raises ValueError for drop above the number of blocks, for a loss that is
    not finite with every block in, and for more than 65,536 sets.
    Source: sheet `protenix-mini`, "Compact models".

    >>> probe_blocks(3, lambda out: sum(2.0**k for k in out), mode="greedy", drop=2).dropped
    (0, 1)
    """
    where = "probe_blocks"
    one_of(where, "mode", mode, MODES)
    n = blocks if isinstance(blocks, int) else len(blocks)
    integer(where, "blocks", n, 1)
    integer(where, "drop", drop, 0, n)
    if not callable(loss):
        raise TypeError(f"{where}: loss must be callable, got {loss!r}")
    if mode == "exhaustive" and math.comb(n, drop) > LIMIT:
        raise fail(where, "mode", f"'greedy' or another with over {LIMIT} sets", mode)
    if isinstance(blocks, int):
        return _probe(n, loss, mode, drop)
    with Skipping(blocks) as out:

        def without(dropped: frozenset[int]) -> Any:
            out.skipped = dropped
            return loss()

        return _probe(n, without, mode, drop)


class _Measured:
    """The loss of a set of blocks left out, each set measured once."""

    def __init__(self, loss: Callable[[frozenset[int]], Any]) -> None:
        self.loss, self.known = loss, {}

    def __call__(self, *dropped: int) -> float:
        key = frozenset(dropped)
        if key not in self.known:
            value = float(self.loss(key))
            self.known[key] = math.inf if math.isnan(value) else value
        return self.known[key]


def _probe(n: int, loss: Callable[[frozenset[int]], Any], mode: str, drop: int) -> BlockProbe:
    measured = _Measured(loss)
    baseline = measured()
    if not math.isfinite(baseline):
        raise fail("probe_blocks", "loss", "finite with every block in", baseline)
    scores = None
    if mode in ("one-shot", "greedy"):
        scores = tuple(measured(k) for k in range(n))
    dropped = _chosen(n, measured, mode, drop)
    trail = [measured(*dropped[:k]) for k in range(1, drop + 1)] if mode != "exhaustive" else []
    value = measured(*dropped)
    trail = trail or [value]
    return BlockProbe(mode, dropped, value, baseline, scores, tuple(trail), len(measured.known))


def _chosen(n: int, loss: _Measured, mode: str, drop: int) -> tuple[int, ...]:
    """The blocks that a mode leaves out."""
    if mode == "first":
        return tuple(range(drop))
    if mode == "last":
        return tuple(range(n - 1, n - 1 - drop, -1))
    if mode == "one-shot":
        return ranked(n, loss)[:drop]
    if mode == "exhaustive":
        return min(itertools.combinations(range(n), drop), key=lambda out: loss(*out))
    return greedy(n, loss, drop)


def ranked(n: int, loss: Callable[..., float]) -> tuple[int, ...]:
    """All blocks, the one whose loss alone is least first."""
    return tuple(sorted(range(n), key=lambda k: loss(k)))


def greedy(n: int, loss: Callable[..., float], drop: int) -> tuple[int, ...]:
    """Blocks in the order in which each is the least loss beside those already out."""
    out: tuple[int, ...] = ()
    for _ in range(drop):
        left = [k for k in range(n) if k not in out]
        out = (*out, min(left, key=lambda k: loss(*out, k)))
    return out
