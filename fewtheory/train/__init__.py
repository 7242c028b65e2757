"""Training: players, the one loop, and the losses that every diffusion model is trained with.

A method states its players (a network, its loss, how often it moves) and `fit` moves them. It
knows nothing of any method.

    players = ft.train.denoising(network, lambda net: ft.Model(net, path, "data"), ema=0.999)
    fitted = ft.train.fit(players, bed, steps=2000, rng=torch.Generator())
    model = ft.Model(fitted.averages["denoiser"], path, "data")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra
from .denoising import denoising, edm_weight, flow_matching, log_normal, logit_normal, uniform_times
from .player import Player, cosine_decay

if TYPE_CHECKING:
    from .loop import Diverged, Fitted, fit

__all__ = [
    "Diverged",
    "Fitted",
    "Player",
    "cosine_decay",
    "denoising",
    "edm_weight",
    "fit",
    "flow_matching",
    "log_normal",
    "logit_normal",
    "uniform_times",
]


def __getattr__(name: str) -> Any:
    """The loop needs accelerate, the losses do not."""
    if name in ("Diverged", "Fitted", "fit"):
        try:
            return getattr(importlib.import_module(".loop", __name__), name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("fewtheory"):
                raise
            raise MissingExtra("models", "fewtheory.train") from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
