"""The phases one after the other, and the sampler that their experts make, one active a step.

A run of phase k begins when that of phase k - 1 has ended, with a fake score that is a fresh copy
of the teacher. (A public trainer alternates the phases within one run: its second phase then learns
on an input law that still moves.) Sheet `phased-dmd`, "Progressive phases", "Pitfalls".
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..arrays import Rng, check_rng
from ..errors import fail
from ..model import Model
from ..train.denoising import AsModel
from .parts.student import start
from .phased_dmd import Phase, phased_dmd, run_steps

if TYPE_CHECKING:
    from ..train.loop import Fitted


def train_phases(
    experts: Sequence[nn.Module],
    fake: nn.Module,
    as_model: AsModel,
    teacher: Model,
    parts: Sequence[Phase],
    data: Any,
    steps: int,
    *,
    rng: Rng,
    settings: Mapping[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    on_phase: Callable[[int, Fitted], None] | None = None,
    **run: Any,
) -> list[Fitted]:
    """Train the experts in place, phase by phase, each for so many steps.

    experts: one network a phase; fake: the teacher's network, of which every phase trains a copy;
    data, steps, rng and `run`: of `fewtheory.train.fit`; settings: of `phased_dmd`; folder: where
    phase k keeps its checkpoint, in `phase-k`, from which a stopped run goes on. on_phase(k,
    fitted): called after each. Raises ValueError or TypeError by name.
    """
    from ..train.loop import fit

    if len(experts) != len(parts):
        raise fail("train_phases", "experts", f"one for each of the {len(parts)} phases", experts)
    check_rng("train_phases", rng)
    given, done = dict(settings or {}), []
    for k, expert in enumerate(experts):
        players = phased_dmd(
            expert, copy.deepcopy(fake), as_model, teacher, parts, experts[:k], **given
        )
        here = None if folder is None else Path(folder) / f"phase-{k}"
        done.append(fit(players, data, steps, rng=rng, folder=here, **run))
        if on_phase is not None:
            on_phase(k, done[-1])
    return done


@torch.no_grad()
def sample_phases(
    experts: Sequence[Model], parts: Sequence[Phase], like: torch.Tensor, *, rng: Rng, **cond: Any
) -> torch.Tensor:
    """Samples (n, *event) of the experts in a row, each through its own steps.

    experts: a `Model` a phase, the first ones alone for a state in between; like: (n, *event),
    whose shape, dtype and device the samples take. Raises ValueError or TypeError by name.

    >>> from fewtheory import paths
    >>> from fewtheory.distill.phased_dmd import phases
    >>> half = Model(lambda x, t: 0 * x + 0.5, paths.RectifiedFlow(), "data")
    >>> parts = phases([1, 0.75, 0.5, 0.25, 0], [0.5])
    >>> sample_phases([half, half], parts, torch.zeros(2, 1), rng=torch.Generator()).tolist()
    [[0.5], [0.5]]
    """
    check_rng("sample_phases", rng)
    if not 1 <= len(experts) <= len(parts):
        allowed = f"one for each of the {len(parts)} phases, or the first of them"
        raise fail("sample_phases", "experts", allowed, len(experts))
    for expert in experts:
        if not isinstance(expert, Model):
            wrong = type(expert).__name__
            raise TypeError(f"sample_phases: experts must be Models, got {wrong}")
        if expert.path != experts[0].path:
            allowed = f"on one path, {experts[0].path!r}"
            raise fail("sample_phases", "experts", allowed, expert.path)
    x = start(experts[0], parts[0].steps, like, rng=rng)
    for expert, phase in zip(experts, parts, strict=False):
        x = run_steps(expert, phase.times, phase.end, x, **cond)
    return x
