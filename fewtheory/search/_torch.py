"""Derivatives of torch models, for the searches that weigh an error by where it goes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def columns(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> list[torch.Tensor]:
    """The derivatives of function(x) in each coordinate of an event, each of the shape of x."""
    basis = torch.eye(math.prod(x.shape[1:]), dtype=x.dtype, device=x.device)
    found = []
    for row in basis:
        tangent = row.reshape(x.shape[1:]).expand_as(x).contiguous()
        found.append(torch.func.jvp(function, (x,), (tangent,))[1].detach())
    return found
