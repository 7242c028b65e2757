"""The adversarial term: a critic that tells real samples from the student's at a noise level.

With logit l the student minimises softplus(-l) on its samples, the critic softplus(l) there and
softplus(-l) on real ones. The best critic is l = log p/q, and with it the student's gradient is a
re-weighted score difference,

    E_q[q/(p + q) (s_q - s_p) dx] = grad (KL(q||p) - 2 JS)      (non-saturating, softplus(-l))
    E_q[p/(p + q) (s_q - s_p) dx] = grad 2 JS                   (saturating, -softplus(l)),

which add up to the gradient of KL: beside distribution matching of weight 1, the term counts half
near the optimum. What must not be confused: the printed critic objective -log D(real) + log D(fake)
of one paper has no minimum. Sheets `dmd-base`, "GAN term", C7, `flash-dmd`, C8.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import softplus

from ...arrays import Array, namespace
from ...errors import fail
from ...model import Model
from ...shapes import Float


def generator_loss(fake: torch.Tensor, *, saturating: bool = False) -> torch.Tensor:
    """mean softplus(-l) over the student's logits (n,); -softplus(l) where saturating.

    >>> round(float(generator_loss(torch.zeros(3))), 6)
    0.693147
    """
    return (-softplus(fake) if saturating else softplus(-fake)).mean()


def critic_loss(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """mean softplus(l) over the student's logits plus mean softplus(-l) over the real ones.

    >>> round(float(critic_loss(torch.zeros(3), torch.zeros(5))), 6)
    1.386294
    """
    return softplus(fake).mean() + softplus(-real).mean()


def ideal_gradient(
    log_q: Float[Array, "n"],
    log_p: Float[Array, "n"],
    score_q: Float[Array, "n d"],
    score_p: Float[Array, "n d"],
    *,
    saturating: bool = False,
) -> Float[Array, "n d"]:
    """The student's gradient at its samples with the best critic, q/(p + q) (s_q - s_p).

    log_q, log_p: log densities (n,); score_q, score_p: (n, d). p/(p + q) where saturating. Raises
    ValueError by name.

    >>> import numpy as np
    >>> one, two = np.zeros(1), np.ones((1, 1))
    >>> ideal_gradient(one, one, 2 * two, two).tolist()
    [[0.5]]
    """
    if log_q.shape != log_p.shape or tuple(score_q.shape[:1]) != tuple(log_q.shape):
        raise fail("ideal_gradient", "log_q", "(n,), as log_p and the scores' rows", log_q.shape)
    xp = namespace(log_q, log_p)
    difference = log_p - log_q if saturating else log_q - log_p
    return (1 / (1 + xp.exp(-difference)))[:, None] * (score_q - score_p)


class Critic(nn.Module):
    """A fake-score network with a critic's head on one of its layers, as in DMD2.

    network: called as before (`forward` is its own); layer: the name of a submodule whose output is
    the features; head: of the features pooled over positions, (n, channels) -> (n, 1), made as
    silu and one linear map of `channels` where None. As a player's module
    it moves the network and the head together. Raises ValueError or TypeError by name.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str,
        *,
        channels: int | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"Critic: network must be a torch module, got {network!r}")
        known = dict(network.named_modules())
        if layer not in known or not layer:
            raise fail("Critic", "layer", f"one of {[name for name in known if name]}", layer)
        if (channels is None) == (head is None):
            raise fail("Critic", "channels", "given, or a head in its place", channels)
        self.network, self.layer = network, layer
        like = next(network.parameters())
        made = head or nn.Sequential(nn.SiLU(), nn.Linear(channels or 1, 1))
        self.head = made.to(like.device, like.dtype)
        self._features: torch.Tensor | None = None
        known[layer].register_forward_hook(self._keep)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own output."""
        return self.network(*args, **kwargs)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._features = output[0] if isinstance(output, tuple) else output

    def logits(self, model: Model, x: torch.Tensor, t: torch.Tensor, **cond: Any) -> torch.Tensor:
        """l(x_t, t), (n,): `model` is this network's, whose call passes the layer."""
        self._features = None
        model(x, t, **cond)
        if self._features is None:
            raise fail("Critic.logits", "model", f"one that calls the layer {self.layer!r}", model)
        features, self._features = self._features, None
        pooled = features.flatten(2).mean(2) if features.ndim > 2 else features
        return self.head(pooled).flatten()
