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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
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


@contextmanager
def outputs(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """What these layers give, by name, while their network is called inside.

    Of a layer that is called twice the last; of one with several outputs the first.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    >>> with outputs({"first": net[0]}) as seen:
    ...     out = net(torch.zeros(5, 2))
    >>> seen["first"].shape
    torch.Size([5, 3])
    """
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        layer.register_forward_hook(partial(_kept, seen, name)) for name, layer in layers.items()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _kept(
    seen: dict[str, torch.Tensor], name: str, module: nn.Module, inputs: Any, output: Any
) -> None:
    seen[name] = output[0] if isinstance(output, tuple) else output


def pooled(features: torch.Tensor, channels_last: bool = False) -> torch.Tensor:
    """The mean over positions: (n, channels, ..) -> (n, channels), or (n, .., channels).

    >>> pooled(torch.ones(2, 3, 8, 8)).shape, pooled(torch.ones(2, 64, 3), True).shape
    (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    if features.ndim <= 2:
        return features
    return features.flatten(1, -2).mean(1) if channels_last else features.flatten(2).mean(2)


class _Borrowed:
    """A layer of another network: no part of the critic, and the same for its copies."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __deepcopy__(self, memo: Any) -> _Borrowed:
        return self


class Critic(nn.Module):
    """A fake-score network with a critic's head on one of its layers, as in DMD2.

    network: called as before (`forward` is its own); layer: the name of a submodule whose output is
    the features, or, of a network that borrows another's layers (`adapters.lora`), that layer
    itself; head: of the features pooled over positions, (n, channels) -> (n, 1), made as silu and
    one linear map of `channels` where None. channels_last: a transformer's features, (n, positions,
    channels). As a player's module it moves the network and the head together. Raises ValueError or
    TypeError by name.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: str | nn.Module,
        *,
        channels: int | None = None,
        head: nn.Module | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"Critic: network must be a torch module, got {network!r}")
        names: dict[Any, str] = {module: name for name, module in network.named_modules() if name}
        at = names.get(layer, layer)  # of its own layers the name: a copy has its own, too
        if not isinstance(at, nn.Module) and at not in names.values():
            allowed = f"one of {[*names.values()]}, or a layer that it borrows"
            raise fail("Critic", "layer", allowed, layer)
        if (channels is None) == (head is None):
            raise fail("Critic", "channels", "given, or a head in its place", channels)
        self.network, self.channels_last = network, channels_last
        self._layer: str | _Borrowed = at if isinstance(at, str) else _Borrowed(at)
        like = next(network.parameters())
        made = head or nn.Sequential(nn.SiLU(), nn.Linear(channels or 1, 1))
        self.head = made.to(like.device, like.dtype)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's own output."""
        return self.network(*args, **kwargs)

    def logits(self, model: Model, x: torch.Tensor, t: torch.Tensor, **cond: Any) -> torch.Tensor:
        """l(x_t, t), (n,): `model` is this network's, whose call passes the layer."""
        at = self._layer
        layer = self.network.get_submodule(at) if isinstance(at, str) else at.layer
        with outputs({"layer": layer}) as seen:
            model(x, t, **cond)
        if not seen:
            raise fail("Critic.logits", "model", f"one that calls the layer {layer!r}", model)
        features = pooled(seen["layer"], self.channels_last)
        weight = next(self.head.parameters(), features)  # an adapter's: wider than its backbone's
        return self.head(features.to(weight.dtype)).flatten()
