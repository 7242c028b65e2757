"""The one training loop: it moves players and knows nothing of what they learn.

Every draw of a run is a function of (seed, step, player, process): the batch, the noise of a loss,
dropout. So a run that was stopped and resumed gives the same numbers as one that was not, and
nothing of a generator's state has to be kept.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from ..arrays import Rng, check_rng
from ..errors import fail, integer
from ..progress import bar
from . import checkpoint
from .data import Data, batches
from .hardware import accelerating
from .log import Record, Window
from .player import Mover, Player, as_found


class Diverged(FloatingPointError):
    """A loss, its gradient or a weight was not finite; the step that met it was not taken.

    step, player: where; checkpoint: the last good one, or None.
    """

    def __init__(self, what: str, step: int, player: str, kept: Path | None) -> None:
        last = "none" if kept is None else str(kept)
        super().__init__(
            f"fit: step {step}: {what} of player {player!r} is not finite; last checkpoint: {last}"
        )
        self.step, self.player, self.checkpoint = step, player, kept


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a run gives back.

    networks: the players' modules, trained in place; averages: their moving averages, or the
    modules themselves where a player keeps none; log: one record a player and `log_every` steps
    (step, player, loss and gradient_norm as means since the last record, learning_rate, seconds);
    steps; seconds of this call; checkpoint: the file, or None.
    """

    networks: Mapping[str, nn.Module]
    averages: Mapping[str, nn.Module]
    log: list[Record]
    steps: int
    seconds: float
    checkpoint: Path | None


def fit(
    players: Mapping[str, Player],
    data: Data,
    steps: int,
    *,
    rng: Rng,
    batch: int = 128,
    precision: str = "no",
    device: str | torch.device | None = None,
    folder: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    log_every: int = 100,
    progress: bool = False,
    on_record: Callable[[Record], None] | None = None,
    accelerator: Accelerator | None = None,
) -> Fitted:
    """Train the players: at each step those whose turn it is move once, in their order.

    players: by name. data: a testbed (anything with `sample`), a tensor (n, ...), a mapping of
    tensors of n rows, gone through in shuffled epochs, or a function (n, rng) that draws a batch;
    a batch is a mapping of tensors, a lone tensor is its "x". batch: rows a step, over all
    processes. precision: "no", "bf16" or "fp16" (CUDA only). folder: where checkpoint.pt and
    log.jsonl are written every `checkpoint_every` steps and at the end; a run that finds a
    checkpoint there goes on from it, with its seed, to the same numbers. device: "cpu" or "cuda".
    progress: a bar. on_record: called with each record of the log. accelerator: accelerate's, for
    several processes or devices; made here unless given. Only the player that moves records
    gradients and is in training mode; at the end all are in evaluation mode. Global random state is
    left as it was found. Raises ValueError or TypeError by name before any work, and `Diverged` at
    the first loss or gradient that is not finite, or where a weight is not.

    >>> import torch
    >>> from fewtheory.train import Player, fit
    >>> line = torch.nn.Linear(1, 1, bias=False)
    >>> def loss(networks, batch, rng):
    ...     return ((networks["line"](batch["x"]) - 3 * batch["x"]) ** 2).mean()
    >>> sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.5)
    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> fitted = fit({"line": Player(line, loss, sgd)}, x, 100, rng=torch.Generator(), batch=2)
    >>> round(line.weight.item(), 4)
    3.0
    """
    _check(players, rng)
    for name, value in {
        "steps": steps,
        "batch": batch,
        "checkpoint_every": checkpoint_every,
        "log_every": log_every,
    }.items():
        integer("fit", name, value, 1)
    with (
        accelerating(precision, device, accelerator) as ready,
        as_found(player.module for player in players.values()),
    ):
        run = _Run(players, data, batch, ready, _seed_from(rng, ready), folder)
        window = Window(run.log, log_every, on_record)
        run.resume(steps, window)
        return run.to(steps, checkpoint_every, window, progress)


class _Run:
    """One run: the movers, the batches, the step at which it stands, and its log."""

    def __init__(
        self,
        players: Mapping[str, Player],
        data: Data,
        batch: int,
        accelerator: Accelerator,
        seed: int,
        folder: str | os.PathLike[str] | None,
    ) -> None:
        self.accelerator, self.folder, self.step, self.seed = accelerator, folder, 0, seed
        self.log: list[Record] = []
        self.kept: Path | None = None
        self.draw = batches(data, batch, accelerator)
        self.movers = {name: Mover(player, accelerator) for name, player in players.items()}

    def to(self, steps: int, checkpoint_every: int, window: Window, progress: bool) -> Fitted:
        """Move on to this number of steps."""
        began, device = time.monotonic(), self.accelerator.device
        forked = [device] if device.type == "cuda" else []
        shown = progress and self._first
        with torch.random.fork_rng(forked), bar(shown, steps, "training") as show:
            for step in range(self.step, steps):
                self.step = step
                batch = self.draw(self.step, self._generator)
                for place, (name, mover) in enumerate(self.movers.items()):
                    if self.step % mover.player.every == 0:
                        window.add(name, *self._move(name, mover, batch, place))
                done = self.step + 1
                window.close(done, done == steps)
                if done % checkpoint_every == 0 or done == steps:
                    self._check_weights()
                    self._save(done, window)
                show(done)
        networks = {name: m.player.module.eval() for name, m in self.movers.items()}
        averages = {
            name: networks[name] if m.average is None else m.average
            for name, m in self.movers.items()
        }
        seconds = time.monotonic() - began
        return Fitted(networks, averages, self.log, steps, seconds, self.kept)

    def _move(
        self, name: str, mover: Mover, batch: Mapping[str, torch.Tensor], place: int
    ) -> tuple[float, float, float]:
        """One move of one player: loss, gradient norm, learning rate."""
        for other in self.movers.values():
            other.free(other is mover)
        # the others unwrapped: processes exchange gradients of the one that moves alone
        networks = {
            n: m.prepared if m is mover else m.player.module for n, m in self.movers.items()
        }
        key = (self.step, place + 1, self.accelerator.process_index)
        rng = self._generator(*key)
        self._seed_dropout(self._word(*key, 1))  # not rng's: masks would copy its draws
        with self.accelerator.autocast():
            loss = mover.player.loss(networks, batch, rng)
        if not isinstance(loss, torch.Tensor) or loss.ndim != 0:
            raise fail("fit", f"the loss of player {name!r}", "a scalar tensor", loss)
        if not loss.requires_grad:
            allowed = "differentiable in the player's parameters"
            raise fail("fit", f"the loss of player {name!r}", allowed, loss)
        value: Any = loss.detach()
        if self.accelerator.num_processes > 1:
            value = self.accelerator.reduce(value, "mean")
        value = float(value)
        if not math.isfinite(value):
            raise Diverged("the loss", self.step, name, self.kept)
        norm, rate = mover.move(loss, self.step)
        if not math.isfinite(norm):
            raise Diverged("the gradient", self.step, name, self.kept)
        if mover.player.after is not None:
            with torch.no_grad():
                modules = {n: m.player.module for n, m in self.movers.items()}
                mover.player.after(modules, mover.moves)
        return value, norm, rate

    def _generator(self, *key: int) -> torch.Generator:
        """The generator of this (step, player, process)."""
        return torch.Generator(self.accelerator.device).manual_seed(self._word(*key))

    def _word(self, *key: int) -> int:
        words = np.random.SeedSequence([self.seed, *key]).generate_state(1, np.uint64)
        return int(words[0] >> 1)

    def _seed_dropout(self, seed: int) -> None:
        """Layers that draw do so from the global generator: the caller's state is forked away."""
        torch.default_generator.manual_seed(seed)
        if self.accelerator.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    @property
    def _first(self) -> bool:
        return self.accelerator.is_main_process

    def _check_weights(self) -> None:
        for name, mover in self.movers.items():
            if not all(bool(torch.isfinite(p).all()) for p in mover.player.module.parameters()):
                raise Diverged("a weight", self.step, name, self.kept)

    def _save(self, done: int, window: Window) -> None:
        if self.folder is None:
            return
        if self._first:
            scaler = self.accelerator.scaler
            state = {
                "seed": self.seed,
                "step": done,
                "players": {name: mover.state() for name, mover in self.movers.items()},
                "scaler": None if scaler is None else scaler.state_dict(),
                "log": window.state(),
            }
            self.kept = checkpoint.save(self.folder, state)
        self.accelerator.wait_for_everyone()

    def resume(self, steps: int, window: Window) -> None:
        """Go on from the folder's checkpoint, where there is one."""
        folder = self.folder
        if folder is None or not checkpoint.file_in(folder).exists():
            return
        state = checkpoint.load(folder)
        if steps < state["step"]:
            allowed = f"at least {state['step']}, those of the checkpoint in {folder}"
            raise fail("fit", "steps", allowed, steps)
        if list(state["players"]) != list(self.movers):
            raise fail(
                "fit", "players", f"{list(state['players'])}, as in {folder}", [*self.movers]
            )
        for name, mover in self.movers.items():
            try:
                mover.check(state["players"][name])
            except ValueError as error:
                raise ValueError(
                    f"fit: player {name!r} must fit the checkpoint in {folder}: {error}"
                ) from None
        for name, mover in self.movers.items():
            mover.load(state["players"][name])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.seed, self.step = state["seed"], state["step"]
        window.load(state["log"], further=steps > self.step)
        self.kept = checkpoint.file_in(folder)


def _check(players: Mapping[str, Player], rng: Rng) -> None:
    if not isinstance(players, Mapping) or not players:
        raise TypeError(f"fit: players must be a mapping of names to Player, got {players!r}")
    for name, player in players.items():
        if not isinstance(player, Player):
            raise TypeError(f"fit: players[{name!r}] must be a Player, got {player!r}")
    moving = [{id(p) for p in q.module.parameters() if p.requires_grad} for q in players.values()]
    if len(set().union(*moving)) < sum(map(len, moving)):
        raise fail("fit", "players", "without a common parameter that moves", list(players))
    check_rng("fit", rng)


def _seed_from(rng: Rng, accelerator: Accelerator) -> int:
    """One seed for all processes, the first one's."""
    if isinstance(rng, np.random.Generator):
        seed = int(rng.integers(2**62))
    else:
        seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    return broadcast_object_list([seed])[0] if accelerator.num_processes > 1 else seed
