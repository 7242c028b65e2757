"""Rows from a frozen network: what one of its blocks says of each example, batch by batch.

    stream = subsets.StreamingCoreset(p=1, m=2000, rng=rng)
    for rows in adapters.features.rows(network, batches, block="model.layers.3"):
        stream.push(rows)
    kept = stream.result()          # kept.index of the examples, kept.weight of their rows

The rows are pooled to one vector an example, so that a head, a probe or a student of the network
can be fitted on few of them, reweighted (sheet `lp-sensitivity`), or few of them labelled (`dpp-
wls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ..errors import one_of

POOLS = ("mean", "last", "flatten")


def rows(
    network: torch.nn.Module,
    batches: Iterable[Any],
    *,
    block: str | None = None,
    pool: str = "mean",
) -> Iterator[torch.Tensor]:
    """The pooled output of a block, (b, F), for each batch; no gradient, the network's mode kept.

    network: any torch module; it is put in evaluation mode during each batch. batches: each a
    tensor, a tuple of positional arguments or a mapping of keyword arguments. block: a submodule's
    dotted name, None for the network's own output; a tuple or a record stands for its first tensor.
    pool: "mean" over positions (b, L, F), with an `attention_mask` among the keywords over those it
    keeps, or over pixels (b, C, H, W); "last", the last position that the mask keeps; "flatten".
    Outputs (b, F) stay as they are. Raises ValueError for a block that the network does not have or
    does not call, an unknown pool, and outputs that pool does not fit.

    >>> import torch
    >>> network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU())
    >>> [r.shape for r in rows(network, [torch.ones(2, 3)], block="0")]
    [torch.Size([2, 5])]
    """
    where = "adapters.features.rows"
    one_of(where, "pool", pool, POOLS)
    if block is not None and block not in (names := [n for n, _ in network.named_modules()]):
        shown = ", ".join(repr(n) for n in names[1:13])
        raise ValueError(f"{where}: block must be a submodule's name ({shown}, ..), got {block!r}")
    return _rows(network, batches, block, pool)


def _rows(
    network: torch.nn.Module, batches: Iterable[Any], block: str | None, pool: str
) -> Iterator[torch.Tensor]:
    watched = network if block is None else network.get_submodule(block)
    for batch in batches:
        seen: list[Any] = []
        hook = watched.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out))
        before = network.training
        try:
            network.eval()
            with torch.no_grad():
                _call(network, batch)
        finally:
            hook.remove()
            network.train(before)
        if not seen:
            raise ValueError(
                f"adapters.features.rows: block must be called by the network, {block!r} was not"
            )
        yield _pooled(_first(seen[-1]), pool, _mask(batch))


def _call(network: torch.nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        network(**batch)
    elif isinstance(batch, (tuple, list)):
        network(*batch)
    else:
        network(batch)


def _mask(batch: Any) -> torch.Tensor | None:
    return batch.get("attention_mask") if isinstance(batch, Mapping) else None


def _first(out: Any) -> torch.Tensor:
    """The first tensor of an output."""
    if isinstance(out, torch.Tensor):
        return out
    values = out.values() if isinstance(out, Mapping) else out
    for value in values if isinstance(out, (Mapping, tuple, list)) else vars(out).values():
        if isinstance(value, torch.Tensor):
            return value
    raise ValueError(f"adapters.features.rows: block must give a tensor, got {type(out).__name__}")


def _pooled(out: torch.Tensor, pool: str, mask: torch.Tensor | None) -> torch.Tensor:
    """(b, F) from (b, F), (b, L, F) or (b, C, H, W)."""
    if out.ndim == 2:
        return out
    if pool == "flatten":
        return out.flatten(1)
    if out.ndim == 4 and pool == "mean":
        return out.mean(dim=(2, 3))
    if out.ndim != 3:
        raise ValueError(
            f"adapters.features.rows: pool must fit the block's output, {pool!r} does not fit "
            f"{tuple(out.shape)}"
        )
    keep = torch.ones(out.shape[:2], device=out.device) if mask is None else mask.to(out.device)
    if pool == "mean":
        weight = keep.to(out.dtype)[..., None]
        return (out * weight).sum(dim=1) / weight.sum(dim=1)
    last = (keep * torch.arange(1, out.shape[1] + 1, device=out.device)).argmax(dim=1)
    return out[torch.arange(out.shape[0], device=out.device), last]
