"""Everything that is known of a sampler before it is judged: its runs, its order, what raised.

The checks read it. Runs are recovered once for each number of steps.
"""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .names import named_order, promised_order
from .order import MeasuredOrder, rule_order
from .recovered import Recovered, network_of, recover
from .subject import Subject

ENTRY, LAM = 1.001, 0.05  # beyond what rounding a time to an entry, or a float32, explains
REFINED = ((50, 100, 200), (25, 50, 100), (12, 24, 48))  # of a thousand training levels


@dataclass(eq=False)
class Case:
    """A sampler with its runs.

    steps: those asked for; asked_order: the order promised, if told; most: runs in every number of
    steps from 1 to this are checked.
    """

    judged: Subject
    steps: tuple[int, ...]
    asked_order: int | None = None
    most: int = 60
    runs: dict[int, Recovered] = field(default_factory=dict)
    raised: dict[int, Exception] = field(default_factory=dict)

    @cached_property
    def _network(self) -> tuple[Any, str]:
        return network_of(self.judged)

    @property
    def told(self) -> Any:
        """The network's convention, or None."""
        return self._network[0]

    @property
    def untold(self) -> str:
        """Why the convention is not known."""
        return self._network[1]

    def run(self, steps: int) -> Recovered | None:
        """The run in so many steps; None where the sampler raises (see `raised`)."""
        if steps not in self.runs and steps not in self.raised:
            try:
                single = steps in self.steps and self.judged.kind != "plan"
                self.runs[steps] = recover(self.judged, steps, self.told, single)
            except Exception as error:  # whatever somebody else's sampler raises
                self.raised[steps] = error
        return self.runs.get(steps)

    @cached_property
    def every(self) -> list[Recovered]:
        """The runs in 1 to `most` steps that came to an end."""
        return [r for r in map(self.run, range(1, self.most + 1)) if r is not None]

    @property
    def asked(self) -> list[Recovered]:
        """The runs in the numbers of steps asked for."""
        return [r for r in map(self.run, self.steps) if r is not None]

    @cached_property
    def sound(self) -> list[Recovered]:
        """Those from which levels and a rule can be read."""
        return [r for r in self.every if r.sound]

    @property
    def linear(self) -> bool:
        """Whether no run left its own rows."""
        return all(r.probe.nonlinear_at is None for r in self.every if r.finite)

    @cached_property
    def named(self) -> tuple[int | None, str]:
        """The order promised, and where."""
        if self.asked_order is not None:
            return self.asked_order, "as asked"
        made = next((r.probe.made for r in self.every), None)
        return named_order(self.judged, made)

    @cached_property
    def promised(self) -> tuple[int | None, str]:
        """The order that its step must have, and why."""
        if self.asked_order is not None:
            return self.named
        made = next((r.probe.made for r in self.every), None)
        return promised_order(self.judged, made)

    @cached_property
    def refined(self) -> list[Recovered]:
        """Three runs, each of twice the steps of the one before; empty where there are none."""
        made = next((r.probe.made for r in self.every), None)
        config = dict(getattr(made, "config", {}))
        share = int(config.get("num_train_timesteps") or 1000) / 1000
        if self.judged.kind == "scheduler" and hasattr(self.told, "sigma_data"):
            share = share if getattr(self.told.path, "name", "") == "table" else 1.0
        for parts in REFINED:
            runs = [self.run(max(4, round(share * n))) for n in parts]
            if all(r is not None and r.sound for r in runs):
                return [r for r in runs if r is not None]
        return []

    @cached_property
    def misled(self) -> bool:
        """Whether the network is told levels that roundings of its time do not explain."""
        if not self.refined:
            return False
        counted = float(np.max(np.abs(self.refined[0].probe.times))) > 2  # entries, not t itself
        off = [
            np.abs(r.off_entries) / ENTRY if counted else np.abs(r.off) / LAM for r in self.refined
        ]
        return any(float(np.nanmax(o, initial=0.0)) > 1 for o in off)

    @cached_property
    def vanishing(self) -> bool:
        """Whether what the network is told tends to be true as steps shrink."""
        off = [float(np.sqrt(np.mean(r.off**2))) for r in self.refined]
        return self.misled and all(a > 1.2 * b for a, b in itertools.pairwise(off))

    @cached_property
    def stochastic(self) -> bool:
        """Whether its steps draw noise that reaches the output."""
        return bool(self.sound) and self.sound[-1].rule.plan.stochastic

    @cached_property
    def order(self) -> MeasuredOrder | None:
        """The order of the recurring rule; None where it cannot be had."""
        if not self.refined:
            return None
        try:
            return rule_order(self.refined, at_handed=self.misled)
        except ValueError:  # alpha = 0 in the middle of a run
            return None

    def variant(self, **changed: Any) -> Case:
        """The same sampler with other settings."""
        return Case(self.judged.with_settings(**changed), self.steps)

    def settings(self) -> dict[str, Any]:
        """The settings that it runs with, defaults among them."""
        made = next((r.probe.made for r in self.every), None)
        return {k: v for k, v in dict(getattr(made, "config", {})).items() if k[0] != "_"}

    def accepts(self, setting: str) -> bool:
        """Whether the sampler can be made with this setting."""
        maker = getattr(self.judged.make, "maker", None)
        return maker is not None and setting in inspect.signature(maker).parameters
