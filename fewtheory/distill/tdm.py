"""Trajectory distribution matching: a few deterministic steps, each with the teacher's law.

One step of the student is drawn, those before it run without a gradient, and its end x_s is noised
to levels tau of its interval. The fake score learns the law there, and moves the student by its
difference to the teacher. What "the law there" means is a choice: `law` = "trajectory" is that of
r x_s + beta eps, learnt with an unbiased target (`trajectory_target`), under which every step ends
with the teacher's law; "renoised" is the paper's, the clean prediction noised afresh, learnt by
regression on x0hat with an importance weight, under which the laws in between are too wide; "naive"
drops the weight, which at image size is what the demo's weight does. TDM (Luo et al., arXiv
2503.06674), sheet `tdm`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from .parts.importance import FORMS, weight_wall
from .parts.intervals import LevelWeight, step_down
from .parts.step_levels import Interval, step_intervals
from .parts.student import FewSteps
from .parts.trajectory_losses import (
    End,
    fake_regression,
    min_snr,
    student_divergence,
    student_regression,
)
from .theory.trajectories import LAWS

LOSSES = ("vector", "elements", "kl")


def unified_steps(last: float | int, counts: Sequence[int]) -> list[FewSteps]:
    """One student for several numbers of steps K: t_i = T i / K, for each K.

    last: T. Give them to `tdm` as `steps`, with `count_as`. Raises ValueError by name.

    >>> [steps.times for steps in unified_steps(0.9, [1, 2])]
    [(0.9,), (0.9, 0.45)]
    """
    top = number("unified_steps", "last", last, 0.0)
    if not counts or top == 0:
        name = "last" if top == 0 else "counts"
        raise fail("unified_steps", name, "above 0" if top == 0 else "one or more", last)
    every = [integer("unified_steps", "counts", K, 1) for K in counts]
    return [FewSteps([top * i / K for i in range(K, 0, -1)], "deterministic") for K in every]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What both players share: the students' steps, their intervals, what networks are told."""

    parts: Sequence[Distillation]
    intervals: Sequence[Sequence[Interval]]
    step_as: str | None
    count_as: str | None
    middle: float | None = None

    def end(self, networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> End:
        """One step of the student, drawn with its levels."""
        which = 0
        if len(self.parts) > 1:
            which = int(torch.randint(len(self.parts), (), generator=rng, device=rng.device))
        parts, spans = self.parts[which], self.intervals[which]
        x, cond = parts.split(batch)
        told = {} if self.count_as is None else {self.count_as: _all(parts.steps.count, x)}
        out = parts.leave(networks, x, rng, **cond, **told)
        here, path = spans[out.step], parts.teacher.path
        if self.middle is not None:
            u = float(torch.rand((), generator=rng, device=rng.device))
            here = _part_way(here, u, self.middle)
        low = step_down(path, out.x, out.x0, here.t, here.s)
        tau = here.draw(uniform(rng, (x.shape[0],), out.x0))
        eps = standard_normal(rng, out.x0.shape, out.x0)
        if self.step_as is not None:
            told[self.step_as] = _all(out.step, x)
        return End(out.x0, low, eps, tau, here, told)

    def models(
        self, networks: Mapping[str, nn.Module], batch: Batch, end: End
    ) -> tuple[Model, Model]:
        """(teacher, fake score), given what each is to know."""
        parts = self.parts[0]
        _, cond = parts.split(batch)
        return parts.teacher.given(**cond), parts.as_model(networks["fake"]).given(
            **cond, **end.told
        )


def _part_way(span: Interval, u: float, margin: float) -> Interval:
    """The step ended early, at a level between its own end and the top less two margins."""
    s = span.s + u * max(0.0, span.high - 2 * margin - span.s)
    return replace(span, s=s, low=max(span.low, s + margin))


def _all(value: int, x: torch.Tensor) -> torch.Tensor:
    return torch.full((x.shape[0],), value, device=x.device)


def tdm(
    student: nn.Module,
    fake: nn.Module,
    as_model: AsModel,
    teacher: Model,
    steps: FewSteps | Sequence[FewSteps],
    *,
    law: str = "trajectory",
    importance: str = "sum",
    intervals: str = "disjoint",
    loss: str = "vector",
    c: float | int | None = None,
    weight: LevelWeight | None = None,
    fake_weight: LossWeight | None = None,
    limit: float | int = 10.0,
    least: float | int = 0.02,
    margin: float | int = 0.01,
    middle: bool = False,
    step_as: str | None = None,
    count_as: str | None = None,
    every: int = 1,
    student_settings: Settings | None = None,
    fake_settings: Settings | None = None,
) -> dict[str, Player]:
    """The players of trajectory distribution matching, "student" and "fake".

    student, fake, as_model, teacher: as in `dmd`; guidance is the teacher's (`fewtheory.guided`),
    never the fake score's. steps: deterministic ones, or several (`unified_steps`), of which one is
    drawn each time. law: "trajectory", "renoised" (the paper) or "naive"; importance: of
    "renoised", "sum", the exact weight, whose levels start above `weight_wall`, or "mean", the
    demo's. intervals, least, margin: of `step_intervals`. loss: "vector", the paper's pseudo-Huber
    distance on x0hat; "elements", the demo's; or "kl", the gradient of lambda KL in x_s with
    `weight` = lambda of the level (1 where None). c: of the first two, .00054 sqrt d and 1e-3 where
    None. fake_weight: of the level, min(SNR, 5) where None; limit: of `subinterval_weight`, by
    which "trajectory" multiplies it where a step ends at s > 0. middle: the drawn step ends at a
    random level of its interval, not at s (the demo's regulariser). step_as: the name under which
    the fake score alone is told the step, (n,) integers, needed where intervals overlap
    (`exit_pooling`); count_as: that under which both networks are told K. every: fake steps a
    student step. A batch holds "x" (n, *event), whose shape the samples take, and conditions.
    Raises ValueError or TypeError by name.

    >>> from fewtheory import paths, testbeds
    >>> path, net = paths.RectifiedFlow(), lambda: nn.Linear(1, 1)
    >>> as_model = lambda network: Model(lambda x, t: network(x), path, "data")
    >>> teacher = testbeds.Gaussian([0.0], 1.0).model(path)
    >>> list(tdm(net(), net(), as_model, teacher, FewSteps([1.0, 0.5], "deterministic")))
    ['student', 'fake']
    """
    one_of("tdm", "law", law, LAWS)
    one_of("tdm", "importance", importance, FORMS)
    one_of("tdm", "loss", loss, LOSSES)
    integer("tdm", "every", every, 1)
    if number("tdm", "limit", limit, 0.0) == 0:
        raise fail("tdm", "limit", "above 0", limit)
    if c is not None and number("tdm", "c", c, 0.0) == 0:
        raise fail("tdm", "c", "above 0", c)
    several = list(steps) if isinstance(steps, Sequence) else [steps]
    parts = [Distillation("tdm", as_model, teacher, each) for each in several]
    _check(parts, {"student": student, "fake": fake}, step_as, count_as)
    spans = [step_intervals(each, intervals, least=least, margin=margin) for each in several]
    if law == "renoised" and importance == "sum":
        if middle:
            raise fail(
                "tdm", "middle", "False with the exact weight, whose wall moves with s", True
            )
        spans = [[_above_wall(teacher.path, span, float(margin)) for span in of] for of in spans]
    shared = Trajectory(parts, spans, step_as, count_as, float(margin) if middle else None)
    learning = min_snr() if fake_weight is None else fake_weight

    def student_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        end = shared.end(networks, batch, rng)
        real, seen = shared.models(networks, batch, end)
        if loss == "kl":
            return student_divergence(end, real, seen, weight)
        return student_regression(end, real, seen, loss, c)

    def fake_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        with torch.no_grad():
            end = shared.end(networks, batch, rng)
        _, seen = shared.models(networks, batch, end)
        return fake_regression(seen, end, law, importance, learning, limit)

    return {
        "student": Player(student, student_loss, every=every, **dict(student_settings or {})),
        "fake": Player(fake, fake_loss, **dict(fake_settings or {})),
    }


def _check(
    parts: Sequence[Distillation],
    networks: Mapping[str, nn.Module],
    step_as: str | None,
    count_as: str | None,
) -> None:
    if not parts:
        raise fail("tdm", "steps", "FewSteps, or one or more of them", [])
    for each in parts:
        each.check(**networks)
        if each.steps.step != "deterministic":
            raise fail("tdm", "steps", "deterministic: fresh noise needs none of this", each.steps)
    if count_as is None and len(parts) > 1:
        raise fail("tdm", "count_as", "the name of a condition for several numbers of steps", None)
    if count_as is not None and step_as == count_as:
        raise fail("tdm", "step_as", "another name than count_as", step_as)


def _above_wall(path: Path, span: Interval, margin: float) -> Interval:
    """The interval's levels above `weight_wall`, where the exact weight can have a variance."""
    low = max(span.low, weight_wall(path, span.s) + margin)
    if not low < span.high:
        allowed = f"of steps that reach above the weight's wall, {low:.4g} from s = {span.s:g}"
        raise fail("tdm", "steps", allowed, span.t)
    return replace(span, low=low)
