"""One run of a sampler, taken apart: rows, levels told and believed, rule, and itself as a plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..paths import Path, RectifiedFlow
from ..plan import Plan
from .levels import Levels, believed_levels, told_levels
from .probe import Probe, probe
from .rule import Rule, plan_of, rule
from .subject import Subject, Told

MISLED = 0.05  # rms in lam: beyond the roundings of timesteps


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
    def told_rule(self) -> Rule:
        """The step form at the levels that the network is told, for where the beliefs go astray."""
        return rule(self.probe, self.told, self._with_last())

    @cached_property
    def plan(self) -> Plan:
        """What the sampler does with a true network: called where it is told to be called."""
        return plan_of(self.probe, self.told, self._with_last())

    def _with_last(self) -> Levels:
        levels, last = self.handed, self._last
        both = (np.append(getattr(levels, k), getattr(last, k)) for k in ("alpha", "sigma", "t"))
        return Levels(*both)

    @property
    def _last(self) -> Levels:
        """The output's level. No time is told there: the believed one, unless noise misleads.

        Then alpha, which noise leaves alone, tells it where alpha varies; else the smallest level.
        """
        last, path = self.believed[-1:], self.told.path
        off = self.off[np.isfinite(self.off)]
        if not (np.any(self.probe.C) and off.size and np.sqrt(np.mean(off**2)) > MISLED):
            return last
        alpha = float(last.alpha[0])
        lam = path.lam(path.t_min) if path.t_min > 0 else np.inf
        if path.alpha(path.t_max) < 0.5 * path.alpha(path.t_min) and alpha < path.alpha(path.t_min):
            lam = _lam_where(path, alpha)
        return Levels(*(np.array([v]) for v in (alpha, alpha * np.exp(-lam), path.t_at(lam))))

    @property
    def sound(self) -> bool:
        """Whether there are levels to speak of: linear, finite, and a known network."""
        if self.told is None or self.probe.nonlinear_at is not None or not self.finite:
            return False
        # alpha_T = 0 with a noise prediction leaves no x_0 to be predicted
        levels = (self.handed.alpha, self.handed.sigma, self.believed.alpha, self.believed.sigma)
        nowhere = np.isnan(self.believed.lam)  # alpha = sigma = 0
        if not (np.all(self.handed.sigma > 0) and np.all(self.believed.sigma[:-1] > 0)):
            return False  # a noise-like output at sigma = 0 tells no x_0
        return bool(
            all(np.all(np.isfinite(v)) and np.all(v >= 0) for v in levels) and not any(nowhere)
        )

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


def _lam_where(path: Path, alpha: float) -> float:
    """lam at which the path has this alpha, which decreases in t."""
    low, high = path.t_min, path.t_max
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if path.alpha(middle) > alpha else (low, middle)
    return float(path.lam(0.5 * (low + high)))


def recover(judged: Subject, steps: int, told: Any, single: bool = False) -> Recovered:
    """Take apart a run in `steps` steps; what the sampler raises is raised."""
    return Recovered(steps, probe(judged, steps, single), told)


def network_of(judged: Subject) -> tuple[Any, str]:
    """(the convention of the sampler's network, ""), or (None, why it is not known)."""
    if judged.kind == "plan":
        return Told(RectifiedFlow(), "data"), ""  # a plan has its own levels
    if judged.told is not None or judged.kind != "scheduler":
        return judged.told, ""
    from ..adapters.diffusers import convention
    from ._torch import exact, tensor

    with exact([type(judged.make()).__module__], lambda: tensor(np.zeros(1))):
        try:
            return convention(judged.make()), ""
        except (TypeError, ValueError) as error:
            return None, " ".join(str(error).split())[:160]
