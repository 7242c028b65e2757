"""One run of a sampler, taken apart: its rows, both sets of levels, its rule, and itself as a plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..plan import Plan
from .levels import Levels, believed_levels, told_levels
from .probe import Probe, probe
from .rule import Rule, plan_of, rule
from .subject import Subject


@dataclass(frozen=True, eq=False)
class Recovered:
    """A run in `steps` steps: the probe, and what follows from it and the network's convention.

    told: the convention, None where it is not known; then only the rows are.
    """

    steps: int
    probe: Probe
    told: Any

    @cached_property
    def handed(self) -> Levels:
        """Where the network is called, (n,)."""
        return told_levels(self.probe, self.told)

    @cached_property
    def believed(self) -> Levels:
        """Where the sampler believes that it stands, (n+1,)."""
        return believed_levels(self.probe, self.told, self.handed)

    @cached_property
    def rule(self) -> Rule:
        """The step form at the believed levels."""
        return rule(self.probe, self.told, self.believed)

    @cached_property
    def plan(self) -> Plan:
        """What the sampler does with a true network: called where it is told to be called."""
        levels, last = self.handed, self.believed[-1:]
        both = (np.append(getattr(levels, k), getattr(last, k)) for k in ("alpha", "sigma", "t"))
        return plan_of(self.probe, self.told, Levels(*both))

    @property
    def sound(self) -> bool:
        """Whether there are levels to speak of: linear, finite, and a known network."""
        if self.told is None or self.probe.nonlinear_at is not None or not self.finite:
            return False
        # alpha_T = 0 with a noise prediction leaves no x_0 to be predicted
        levels = (self.handed.alpha, self.handed.sigma, self.believed.alpha, self.believed.sigma)
        return bool(all(np.all(np.isfinite(v)) and np.all(v >= 0) for v in levels))

    @property
    def finite(self) -> bool:
        """Whether every row is finite."""
        rows = (self.probe.a, self.probe.B, self.probe.C, self.probe.d)
        return bool(all(np.all(np.isfinite(r)) for r in rows))

    @cached_property
    def dead(self) -> list[int]:
        """Calls of the network whose output never reaches the sampler's own."""
        B = np.abs(self.probe.B)
        matters = np.zeros(len(B), dtype=bool)
        matters[-1] = True
        for i in reversed(range(len(B))):
            if matters[i]:
                matters[:-1] |= B[i] > 1e-12 * B[i].max(initial=0.0)
        return np.flatnonzero(~matters[:-1]).tolist()

    @cached_property
    def off(self) -> np.ndarray:
        """believed - handed in lam at each call, (n,); 0 where both are infinite."""
        lam = self.believed.lam[:-1]
        with np.errstate(invalid="ignore"):
            return np.where(lam == self.handed.lam, 0.0, lam - self.handed.lam)

    @cached_property
    def off_entries(self) -> np.ndarray:
        """The same in the network's time, (n,): by how much the time told is wrong."""
        t = np.clip(self.believed.t[:-1], self.told.path.t_min, self.told.path.t_max)
        return np.asarray(self.told.timestep(t)) - self.probe.times


def recover(judged: Subject, steps: int, told: Any, single: bool = False) -> Recovered:
    """Take apart a run in `steps` steps; what the sampler raises is raised."""
    return Recovered(steps, probe(judged, steps, single), told)


def network_of(judged: Subject) -> Any:
    """The convention of the sampler's network; None where a scheduler does not tell it."""
    if judged.told is not None or judged.kind != "scheduler":
        return judged.told
    from ..adapters.diffusers import convention
    from ._torch import exact, tensor

    with exact([type(judged.make()).__module__], lambda: tensor(np.zeros(1))):
        try:
            return convention(judged.make())
        except (TypeError, ValueError):
            return None
