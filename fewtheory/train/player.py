"""A player: one network that moves, its loss, and how often it moves.

Denoising has one player; distillation has two or three (student, fake score, discriminator), each
with a loss of its own that may call the others. What is derived here once: which parameters move,
their moving average, and the learning rate of a step.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from ..errors import fail, integer, number

Batch: TypeAlias = Mapping[str, torch.Tensor]
Loss: TypeAlias = Callable[[Mapping[str, nn.Module], Batch, torch.Generator], torch.Tensor]
After: TypeAlias = Callable[[Mapping[str, nn.Module], int], None]


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW with a learning rate of 1e-3 and no weight decay."""
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)


@dataclass(frozen=True, eq=False)
class Player:
    """One network that moves.

    module: trained in place; parameters that require no gradient stay as they are. loss(networks,
    batch, rng): a scalar, differentiable in this player's parameters; `networks` holds every
    player's module by name, `rng` is for whatever it draws. optimizer: made of the parameters that
    move. schedule(step): factor on its learning rates. every: it moves at steps divisible by this
    number, in the order of the players. ema: decay of the moving average of the weights, which
    after k moves is min(ema, (1 + k) / (10 + k)); None for no average. clip: largest gradient norm.
    after(networks, moves): called without gradients after each of its moves, their number so far
    included; it may change weights in place (pull one network towards another, reset one). Raises
    ValueError or TypeError by name.

    >>> player = Player(nn.Linear(2, 2), lambda networks, batch, rng: batch["x"].sum())
    >>> player.every, player.ema
    (1, None)
    """

    module: nn.Module
    loss: Loss
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] = adamw
    schedule: Callable[[int], float] | None = None
    every: int = 1
    ema: float | None = None
    clip: float | None = None
    after: After | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise TypeError(f"Player: module must be a torch module, got {self.module!r}")
        for name in ("loss", "optimizer"):
            if not callable(getattr(self, name)):
                raise TypeError(f"Player: {name} must be callable, got {getattr(self, name)!r}")
        for name in ("schedule", "after"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"Player: {name} must be callable or None, got {value!r}")
        if not any(p.requires_grad for p in self.module.parameters()):
            raise ValueError("Player: module must have parameters that require a gradient")
        integer("Player", "every", self.every, 1)
        if self.ema is not None and not 0 <= number("Player", "ema", self.ema, 0.0, 1.0) < 1:
            raise fail("Player", "ema", "in [0, 1)", self.ema)
        if self.clip is not None and not number("Player", "clip", self.clip, 0.0) > 0:
            raise fail("Player", "clip", "above 0", self.clip)


def cosine_decay(steps: int, warmup: int = 0, last: float | int = 0.0) -> Callable[[int], float]:
    """A schedule: linear from 0 in `warmup` steps, then half a cosine from 1 to `last` at `steps`.

    >>> schedule = cosine_decay(100, warmup=10)
    >>> schedule(4), schedule(10), round(schedule(55), 6), schedule(100)
    (0.5, 1.0, 0.5, 0.0)
    """
    integer("cosine_decay", "steps", steps, 1)
    integer("cosine_decay", "warmup", warmup, 0, steps - 1)
    end = number("cosine_decay", "last", last, 0.0, 1.0)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        part = min(1.0, (step - warmup) / (steps - warmup))
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * part))

    return factor


ACCELERATES = ("forward", "_original_forward", "_is_accelerate_prepared")


@contextlib.contextmanager
def as_found(modules: Iterable[nn.Module]) -> Iterator[None]:
    """However the run ends: who records gradients, and what accelerate put on a module."""
    modules = list(modules)
    before = [{k: m.__dict__[k] for k in ACCELERATES if k in m.__dict__} for m in modules]
    moving = [p for m in modules for p in m.parameters() if p.requires_grad]
    try:
        yield
    finally:
        for module, own in zip(modules, before, strict=True):
            for name in ACCELERATES:
                module.__dict__.pop(name, None)
            module.__dict__.update(own)
        for parameter in moving:
            parameter.requires_grad_(True)


class Mover:
    """A player inside a run: its prepared module, optimizer, average, and what moves."""

    def __init__(self, player: Player, accelerator: Any) -> None:
        self.player, self.moves, self._accelerator = player, 0, accelerator
        self.average = None
        if player.ema is not None:  # before the module is wrapped
            self.average = copy.deepcopy(player.module).requires_grad_(False).eval()
            self.average.to(accelerator.device)
        self.parameters = [p for p in player.module.parameters() if p.requires_grad]
        player.module.to(accelerator.device)
        pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        if self.average is not None:  # parameters and buffers, tied weights once
            mine, theirs = self.average, player.module
            pairs += zip(mine.parameters(), theirs.parameters(), strict=True)
            pairs += zip(mine.buffers(), theirs.buffers(), strict=True)
        self._floating = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counted = [pair for pair in pairs if not pair[0].is_floating_point()]
        self.optimizer = player.optimizer(self.parameters)
        self.prepared, self.wrapped = accelerator.prepare(player.module, self.optimizer)
        if self.average is not None:  # several processes start from the first one's weights
            self.average.load_state_dict(player.module.state_dict())
        self.rates = [group["lr"] for group in self.optimizer.param_groups]

    def free(self, moving: bool) -> None:
        """Let the parameters record gradients, or not, and set the mode that goes with it."""
        for parameter in self.parameters:
            parameter.requires_grad_(moving)
        self.player.module.train(moving)

    def rate(self, step: int) -> float:
        """Set the learning rates of this step; returns the first."""
        factor = 1.0 if self.player.schedule is None else float(self.player.schedule(step))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        return self.rates[0] * factor

    def move(self, loss: torch.Tensor, step: int) -> tuple[float, float]:
        """One step of the optimizer, unless the gradient is not finite; its norm, and the rate."""
        rate, scaler = self.rate(step), self._accelerator.scaler
        self.optimizer.zero_grad(set_to_none=True)
        if scaler is None:  # accelerate's own calls look for packages on disk each time: 0.6 ms
            loss.backward()
        else:
            self._accelerator.backward(loss)
            self._accelerator.unscale_gradients(self.wrapped)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        total = nn.utils.get_total_norm(gradients)
        norm = float(total)
        if scaler is None and not math.isfinite(norm):
            return norm, rate
        if self.player.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.player.clip, total)
        self.wrapped.step() if scaler is not None else self.optimizer.step()
        if scaler is not None and self.wrapped.step_was_skipped:  # it overflowed: a lower scale
            return 0.0, rate
        self._average()
        self.moves += 1
        return norm, rate

    def _average(self) -> None:
        if self.average is None or self.player.ema is None:
            return
        weight = 1 - min(self.player.ema, (1 + self.moves) / (10 + self.moves))
        with torch.no_grad():
            # private, but what torch's own AveragedModel calls: one kernel for all tensors
            lerp = torch._foreach_lerp_  # type: ignore[reportPrivateImportUsage]
            lerp([a for a, _ in self._floating], [v for _, v in self._floating], weight)
            for mine, value in self._counted:  # of batches, say
                mine.copy_(value)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "module": self.player.module.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "moves": self.moves,
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError unless what a checkpoint kept fits: loading stops half-way."""
        if missing := self.state().keys() - state.keys():
            raise ValueError(f"of which {sorted(missing)} is missing")
        if (state["average"] is None) != (self.average is None):
            raise ValueError("with and without a moving average (ema)")
        kept, mine = _shapes(state["module"]), _shapes(self.player.module.state_dict())
        if kept != mine:
            raise ValueError(f"module of {kept.items() - mine.items()}, got {mine}")
        kept, mine = (
            [(len(group["params"]), sorted(group)) for group in optimizer["param_groups"]]
            for optimizer in (state["optimizer"], self.optimizer.state_dict())
        )
        if kept != mine:
            raise ValueError(f"optimizer with the groups {kept}, got {mine}")

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.player.module.load_state_dict(state["module"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.moves = state["moves"]


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a module's state."""
    return {k: tuple(v.shape) for k, v in state.items() if isinstance(v, torch.Tensor)}
