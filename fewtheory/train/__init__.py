"""Training: players, the one loop, and the losses that every diffusion model is trained with.

A method states its players (a network, its loss, how often it moves) and `fit` moves them. It
knows nothing of any method.

    players = ft.train.denoising(network, lambda net: ft.Model(net, path, "data"), ema=0.999)
    fitted = ft.train.fit(players, bed, steps=2000, rng=torch.Generator())
    model = ft.Model(fitted.averages["denoiser"], path, "data")
"""

from __future__ import annotations

from .denoising import denoising, edm_weight, flow_matching, log_normal, logit_normal, uniform_times
from .loop import Diverged, Fitted, fit
from .player import Player, cosine_decay

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
