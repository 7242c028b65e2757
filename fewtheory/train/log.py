"""What a training run says of itself: records of means."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Record: TypeAlias = dict[str, Any]


class Window:
    """The means since the last record of a log."""

    def __init__(
        self, log: list[Record], every: int, on_record: Callable[[Record], None] | None
    ) -> None:
        self.log, self.every, self.on_record, self.began = log, every, on_record, time.monotonic()
        self.values: dict[str, list[tuple[float, float, float]]] = {}
        self.early = 0  # records at the log's end that a longer run would not have written yet

    def add(self, name: str, loss: float, norm: float, rate: float) -> None:
        """One move of a player: its loss, gradient norm and learning rate."""
        self.values.setdefault(name, []).append((loss, norm, rate))

    def close(self, done: int, last: bool) -> None:
        """Write the records that are due after `done` steps, and at the last whatever there is."""
        due = done % self.every == 0
        if not due and not last:
            return
        for name, values in self.values.items():
            loss, norm, _ = np.mean(values, axis=0).tolist()
            record: Record = {
                "step": done,
                "player": name,
                "loss": loss,
                "gradient_norm": norm,
                "learning_rate": values[-1][2],
                "seconds": time.monotonic() - self.began,
            }
            self.log.append(record)
            if self.on_record is not None:
                self.on_record(record)
        if due:
            self.values = {}
        else:
            self.early = len(self.values)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a longer run has the log of one that never stopped."""
        return {"records": self.log, "early": self.early, "values": self.values}

    def load(self, state: dict[str, Any], further: bool) -> None:
        """Go on from what a checkpoint kept; without early records if there is further to go."""
        kept = len(state["records"]) - (state["early"] if further else 0)
        self.log[:] = state["records"][:kept]
        self.values, self.early = state["values"], 0 if further else state["early"]
