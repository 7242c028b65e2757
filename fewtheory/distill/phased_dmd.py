"""Phased DMD: one expert for each stretch of noise levels, matched at the end of its own stretch.

Phase k takes the law of x at t_{k-1} to that at t_k. Its student is an expert of its own; those
before it are frozen, and their deterministic sampler makes its input, without a gradient. An exit
inside the phase is drawn, the steps before it run without a gradient, and the last one goes to
t_k, to x_s itself and not to a prediction that is noised again. Its law is matched at levels above
s = t_k: the fake score learns there with `subinterval_loss`, and the gradient in x_s is

    E[ w_{t|s} (v_teacher(x_t, t) - v_fake(x_t, t)) ],    x_t = r x_s + beta eps.

What must not be confused: phases make samples at t_k only, so that no clean prediction of an early
step is ever matched; but several exits inside one phase are again served by one fake score, unless
it is told which (`exit_pooling`). Fan et al., arXiv 2510.27684, sheet `phased-dmd`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..arrays import standard_normal, uniform
from ..errors import fail, integer, number, one_of
from ..model import Model
from ..paths import Path
from ..train.denoising import AsModel
from ..train.denoising import Weight as LossWeight
from ..train.player import Batch, Player
from .dmd import Distillation, Settings
from .parts.intervals import LevelWeight, interval_gradient, step_down
from .parts.levels import place, placed
from .parts.student import FewSteps, predict, start
from .parts.subinterval import biased_loss, subinterval_loss
from .parts.surrogate import as_loss

INTERVALS = ("nested", "disjoint")
TARGETS = ("unbiased", "biased")


@dataclass(frozen=True)
class Phase:
    """One expert's steps, from times[0] through all of `times` (K,) to `end`, decreasing.

    Raises ValueError or TypeError by name.

    >>> Phase((1.0, 0.75), 0.5).steps.count
    2
    """

    times: tuple[float, ...]
    end: float

    def __post_init__(self) -> None:
        grid = [*(number("Phase", "times", t, 0.0) for t in self.times)]
        grid.append(number("Phase", "end", self.end, 0.0))
        if len(grid) < 2 or any(b >= a for a, b in itertools.pairwise(grid)):
            allowed = f"one or more, decreasing, above end = {self.end}"
            raise fail("Phase", "times", allowed, self.times)

    @property
    def steps(self) -> FewSteps:
        """The steps, deterministic."""
        return FewSteps(self.times, "deterministic")

    def levels(
        self, path: Path, intervals: str = "nested", *, margin: float | int = 0.02
    ) -> tuple[float, float]:
        """(low, high) of the levels at which the expert's loss looks.

        low: a margin above `end`, and above the path's; high: a margin below the path's start
        ("nested", which the paper found better), or where the phase starts ("disjoint"). margin: as
        a part of the path's range (`placed`). Raises ValueError by name.

        >>> from fewtheory.paths import RectifiedFlow
        >>> [round(v, 4) for v in Phase((1.0, 0.75), 0.5).levels(RectifiedFlow())]
        [0.52, 0.979]
        """
        one_of("Phase.levels", "intervals", intervals, INTERVALS)
        room = number("Phase.levels", "margin", margin, 0.0, 0.5)
        places = place(path, max(self.end, path.end)) + room, 1 - room
        low, high = (float(placed(path, path.end, path.start, u)) for u in places)
        if intervals == "disjoint":
            high = min(high, self.times[0])
        if not low < high:
            allowed = f"small enough for the phase from {self.times[0]:g} to {self.end:g}"
            raise fail("Phase.levels", "margin", allowed, margin)
        return low, high


def phases(levels: Sequence[float | int], boundaries: Sequence[float | int] = ()) -> list[Phase]:
    """The phases of a sampler through `levels`, cut where `boundaries` are.

    levels: (N + 1,), decreasing, the last usually 0; boundaries: some of those in between. Raises
    ValueError by name.

    >>> [(part.times, part.end) for part in phases([1, 0.75, 0.5, 0.25, 0], [0.5])]
    [((1.0, 0.75), 0.5), ((0.5, 0.25), 0.0)]
    """
    grid = [number("phases", "levels", t, 0.0) for t in levels]
    if len(grid) < 2 or any(b >= a for a, b in itertools.pairwise(grid)):
        raise fail("phases", "levels", "two or more, decreasing", levels)
    cuts = sorted((number("phases", "boundaries", t, 0.0) for t in boundaries), reverse=True)
    if not set(cuts) <= set(grid[1:-1]) or len(set(cuts)) < len(cuts):
        raise fail("phases", "boundaries", f"different ones among {grid[1:-1]}", boundaries)
    ends = [0, *(grid.index(t) for t in cuts), len(grid) - 1]
    return [Phase(tuple(grid[a:b]), grid[b]) for a, b in itertools.pairwise(ends)]


@dataclass(frozen=True, eq=False)
class _Expert:
    """One phase: its student's Distillation, its place, and the experts before it."""

    parts: Distillation
    phase: Phase
    before: tuple[tuple[nn.Module, Phase], ...]
    exit_as: str | None

    def leave(
        self, networks: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """x_s of a drawn exit, differentiable through its last step, and what the fake is told."""
        like, cond = self.parts.split(batch)
        as_model = self.parts.as_model
        student, times = as_model(networks["student"]).predicting("data"), self.phase.times
        exit = int(torch.randint(len(times), (), generator=rng, device=rng.device))
        with torch.no_grad():
            first = self.before[0][1] if self.before else self.phase
            x = start(student, first.steps, like, rng=rng)
            for expert, phase in self.before:
                x = run_steps(as_model(expert), phase.times, phase.end, x, **cond)
            x = run_steps(student, times[:exit], times[exit], x, **cond)
        xs = run_steps(student, times[exit : exit + 1], self.phase.end, x, **cond)
        if self.exit_as is not None:
            cond[self.exit_as] = torch.full((like.shape[0],), exit, device=like.device)
        return xs, cond


def run_steps(
    expert: Model, times: Sequence[float], end: float, x: torch.Tensor, **cond: Any
) -> torch.Tensor:
    """All deterministic steps of these times, the last one to `end`: x (n, *event) at times[0].

    >>> from fewtheory import paths
    >>> zero = Model(lambda x, t: 0 * x, paths.RectifiedFlow(), "data")
    >>> run_steps(zero, (1.0, 0.75), 0.5, torch.ones(1, 1)).tolist()
    [[0.5]]
    """
    data = expert.predicting("data")
    for t, s in zip(times, [*times[1:], end], strict=False):  # none: x itself
        x = step_down(expert.path, x, predict(data, x, t, **cond), t, s)
    return x


def phased_dmd(
    student: nn.Module,
    fake: nn.Module,
    as_model: AsModel,
    teacher: Model,
    parts: Sequence[Phase],
    earlier: Sequence[nn.Module] = (),
    *,
    intervals: str = "nested",
    margin: float | int = 0.02,
    weight: LevelWeight | None = None,
    fake_margin: float | int = 0.0,
    fake_weight: LossWeight | None = None,
    limit: float | int = 10.0,
    target: str = "unbiased",
    exit_as: str | None = None,
    every: int = 5,
    over: str = "samples",
    student_settings: Settings | None = None,
    fake_settings: Settings | None = None,
) -> dict[str, Player]:
    """The players of phase number len(earlier): "student", its expert, and "fake".

    student, fake, as_model, teacher: as in `dmd`, the fake a fresh copy of the teacher in each
    phase; parts: all `phases`; earlier: the trained experts of those before, which nothing moves.
    intervals, margin: of `Phase.levels`; weight: of `interval_gradient`. The fake score learns on
    the same levels with `fake_margin` for a margin (the public trainer's is .02; zero is safe with
    `limit`); limit, fake_weight: of `subinterval_loss` (limit and weight). target: "biased" is
    `biased_loss`, which the paper refutes, for comparison. exit_as: the name under which the fake
    score alone is told the exit inside the phase, (n,) integers; the paper does not tell it. every:
    fake steps a student step. over: of `as_loss`. settings: of either `Player`. A batch holds "x"
    (n, *event), whose shape the samples take, and conditions. Raises ValueError or TypeError by
    name.

    >>> from fewtheory import paths, testbeds
    >>> path, net = paths.RectifiedFlow(), lambda: nn.Linear(1, 1)
    >>> as_model = lambda network: Model(lambda x, t: network(x), path, "data")
    >>> teacher, parts = testbeds.Gaussian([0.0], 1.0).model(path), phases([1, 0.5, 0], [0.5])
    >>> list(phased_dmd(net(), net(), as_model, teacher, parts, [net()]))
    ['student', 'fake']
    """
    integer("phased_dmd", "every", every, 1)
    one_of("phased_dmd", "target", target, TARGETS)
    phase = _current(parts, earlier)
    shared = Distillation("phased_dmd", as_model, teacher, phase.steps)
    shared.check(student=student, fake=fake, **{f"earlier{k}": e for k, e in enumerate(earlier)})
    path, s = teacher.path, phase.end
    if s > 0 and float(path.alpha(s)) == 0:
        raise fail("phased_dmd", "parts", "phases that end where alpha is above 0", s)
    expert = _Expert(shared, phase, tuple(zip(earlier, parts, strict=False)), exit_as)
    low, high = phase.levels(path, intervals, margin=margin)
    bottom, top = phase.levels(path, intervals, margin=fake_margin)

    def student_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        xs, cond = expert.leave(networks, batch, rng)
        t = placed(path, low, high, uniform(rng, xs.shape[:1], xs))
        seen, real = as_model(networks["fake"]).given(**cond), shared.split(batch)[1]
        with torch.no_grad():
            eps = standard_normal(rng, xs.shape, xs)
            g = interval_gradient(xs, eps, s, t, teacher.given(**real), seen, weight=weight)
        return as_loss(xs, g, over=over)

    def fake_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        with torch.no_grad():
            xs, cond = expert.leave(networks, batch, rng)
        t = placed(path, bottom, top, uniform(rng, xs.shape[:1], xs))
        eps = standard_normal(rng, xs.shape, xs)
        seen = as_model(networks["fake"])
        if target == "biased":
            return biased_loss(seen, xs, eps, s, t, weight=fake_weight, **cond)
        return subinterval_loss(seen, xs, eps, s, t, limit=limit, weight=fake_weight, **cond)

    return {
        "student": Player(student, student_loss, every=every, **dict(student_settings or {})),
        "fake": Player(fake, fake_loss, **dict(fake_settings or {})),
    }


def _current(parts: Sequence[Phase], earlier: Sequence[nn.Module]) -> Phase:
    """The first phase without an expert."""
    if not parts or not all(isinstance(part, Phase) for part in parts):
        raise TypeError(f"phased_dmd: parts must be phases, got {parts!r}")
    if any(a.end != b.times[0] for a, b in itertools.pairwise(parts)):
        raise fail("phased_dmd", "parts", "phases that begin where the one before ends", parts)
    if not len(earlier) < len(parts):
        raise fail("phased_dmd", "earlier", f"fewer than the {len(parts)} phases", len(earlier))
    return parts[len(earlier)]
