"""Distribution matching distillation: a student of one or a few steps, its fake score, a critic.

Two players. The student is moved by the difference of the fake score and the teacher's at its own
noised samples (`dmd_gradient`), the fake score by plain denoising on those samples, `every` times
as often. Beside it, if asked for: a critic's head on the fake network with the adversarial terms of
DMD2, and DMD's regression to the teacher's own pairs of noise and image. DMD (Yin et al., arXiv
2311.18828), DMD2 (2405.14867), Diff-Instruct (2305.18455), sheet `dmd-base`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from ..arrays import Rng, standard_normal
from ..errors import fail, integer, number
from ..model import Model
from ..train.denoising import AsModel, Levels, regression_loss
from ..train.denoising import Weight as LossWeight
from ..train.player import Batch, Player
from .parts.adversary import Critic, critic_loss, generator_loss
from .parts.levels import inner_levels
from .parts.score_difference import Weight, dmd_gradient
from .parts.student import Exit, FewSteps, leave, predict, renoised
from .parts.surrogate import as_loss

Distance: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Settings: TypeAlias = Mapping[str, Any]

PAIR = "pair_"  # what a batch's columns for the regression begin with: noise, data, conditions


def mean_square(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean squared distance, a scalar."""
    return (x - y).square().mean()


@dataclass(frozen=True, eq=False)
class Distillation:
    """What the players of a distillation share: who they are, and how they see a batch.

    as_model(network): the student's or the fake score's network as a `Model` on the teacher's path;
    teacher: a `Model`, guided if wanted; steps: the student's. A batch holds "x" (n, *event), real
    samples (their shape where no loss looks at data) and conditions, passed on by name; what begins
    with "pair_" is of a regression. exit_as: the name under which the fake score alone is told the
    student's step, (n,) integers, or None.
    """

    where: str
    as_model: AsModel
    teacher: Model
    steps: FewSteps
    exit_as: str | None = None

    def check(self, **networks: nn.Module) -> None:
        """Raise unless the networks are modules whose models are on the teacher's path."""
        if not isinstance(self.teacher, Model):
            wrong = type(self.teacher).__name__
            raise TypeError(f"{self.where}: teacher must be a Model, got {wrong}")
        if not isinstance(self.steps, FewSteps):
            raise TypeError(f"{self.where}: steps must be FewSteps, got {self.steps!r}")
        for name, network in networks.items():
            if not isinstance(network, nn.Module):
                raise TypeError(f"{self.where}: {name} must be a torch module, got {network!r}")
            model = self.as_model(network)
            if not isinstance(model, Model):
                wrong = type(model).__name__
                raise TypeError(f"{self.where}: as_model must return a Model, got {wrong}")
            if model.path != self.teacher.path:
                allowed = f"on the path of the teacher, {self.teacher.path!r}"
                raise fail(self.where, f"as_model({name})", allowed, model.path)
        for t in self.steps.times:
            self.teacher.path.check_t(self.where, t, "steps.times")

    def split(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """("x", the conditions) of a batch."""
        if "x" not in batch:
            raise fail(self.where, "a batch", "a mapping with 'x'", list(batch))
        cond = {k: v for k, v in batch.items() if k != "x" and not k.startswith(PAIR)}
        return batch["x"], cond

    def leave(
        self, networks: Mapping[str, nn.Module], x: torch.Tensor, rng: Rng, **cond: Any
    ) -> Exit:
        """The student's prediction at a drawn exit."""
        return leave(self.as_model(networks["student"]), self.steps, x, rng=rng, **cond)

    def seen(self, networks: Mapping[str, nn.Module], exit: Exit, **cond: Any) -> Model:
        """The fake score, given the conditions and, where it is told, the exit."""
        if self.exit_as is not None:
            if self.exit_as in cond:
                raise fail(
                    self.where, "exit_as", f"none of the conditions {list(cond)}", self.exit_as
                )
            n, device = exit.x0.shape[0], exit.x0.device
            cond[self.exit_as] = torch.full((n,), exit.step, device=device)
        return self.as_model(networks["fake"]).given(**cond)

    def fake_loss(
        self,
        networks: Mapping[str, nn.Module],
        exit: Exit,
        levels: Levels,
        weight: LossWeight | None,
        rng: torch.Generator,
        **cond: Any,
    ) -> torch.Tensor:
        """Denoising on the student's samples at an exit, as if they were data."""
        x0 = exit.x0
        t = levels(self.teacher.path, x0.shape[0], rng).to(x0)
        eps = standard_normal(rng, x0.shape, x0)
        return regression_loss(self.seen(networks, exit, **cond), x0, t, eps, weight)


def dmd(
    student: nn.Module,
    fake: nn.Module,
    as_model: AsModel,
    teacher: Model,
    steps: FewSteps,
    *,
    weight: str | Weight = "dmd2",
    levels: Levels | None = None,
    fake_levels: Levels | None = None,
    fake_weight: LossWeight | None = None,
    every: int = 5,
    adversarial: tuple[float | int, float | int] = (0.0, 0.0),
    regression: float | int = 0.0,
    distance: Distance = mean_square,
    over: str = "samples",
    exit_as: str | None = None,
    student_settings: Settings | None = None,
    fake_settings: Settings | None = None,
) -> dict[str, Player]:
    """The players of DMD, DMD2 and Diff-Instruct: "student" and "fake".

    student, fake: networks that `as_model` turns into models on the teacher's path, both usually
    copies of the teacher's network; teacher: a `Model` (for guidance, `fewtheory.guided`'s); steps:
    the student's levels, one for a one-step student. weight: of `dmd_gradient`. levels: where the
    student's loss looks, `inner_levels` by default; fake_levels: where the fake score learns,
    `inner_levels(0.0)`, all of the path; fake_weight: of its loss (`edm_weight` for
    data prediction). every: fake-score steps a student step, which comes first. adversarial: the
    weights of the student's and the critic's adversarial terms; then `fake` is a `Critic`, and the
    batch's "x" are real samples. regression: the weight of DMD's `distance` (a mean square, or any
    perceptual distance) between the one-step student's output at a batch's "pair_noise" and its
    "pair_data", under its conditions "pair_" + name, or the batch's own. over: of `as_loss`.
    exit_as: the name under which the fake score, and its critic, are told the student's step, (n,)
    integers; the papers do not tell it, so that it learns the pooled law of all exits, under which
    the last one may miss a part of the teacher's law (`exit_pooling`). settings: of either `Player`
    (optimizer, ema, clip, ...).

    A batch holds "x" (n, *event), whose shape the samples take, and conditions. Raises ValueError
    or TypeError by name.

    >>> from fewtheory import paths, testbeds
    >>> path, net = paths.RectifiedFlow(), lambda: nn.Linear(1, 1)
    >>> as_model = lambda network: Model(lambda x, t: network(x), path, "data")
    >>> teacher = testbeds.Gaussian([0.0], 1.0).model(path)
    >>> list(dmd(net(), net(), as_model, teacher, FewSteps([1.0])))
    ['student', 'fake']
    """
    parts = Distillation("dmd", as_model, teacher, steps, exit_as)
    parts.check(student=student, fake=fake)
    for_student, for_critic = (number("dmd", "adversarial", a, 0.0) for a in adversarial)
    pairs = number("dmd", "regression", regression, 0.0)
    integer("dmd", "every", every, 1)
    if (for_student > 0 or for_critic > 0) and not isinstance(fake, Critic):
        raise fail("dmd", "fake", "a Critic where there are adversarial terms", type(fake).__name__)
    if pairs > 0 and steps.count > 1:
        raise fail("dmd", "steps", "one step where there is a regression to pairs", steps)
    path = teacher.path
    see = inner_levels() if levels is None else levels
    learn = inner_levels(0.0) if fake_levels is None else fake_levels

    def logits(
        networks: Mapping[str, nn.Module], out: Exit, x0: torch.Tensor, rng: Any, **cond: Any
    ) -> torch.Tensor:
        critic = unwrapped(networks["fake"])
        t = learn(path, x0.shape[0], rng).to(x0)
        model = parts.seen({"fake": critic}, out, **cond)
        return critic.logits(model, renoised(path, x0, t, rng)[0], t)

    def student_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        x, cond = parts.split(batch)
        out = parts.leave(networks, x, rng, **cond)
        x0 = out.x0
        t = see(path, x0.shape[0], rng).to(x0)
        eps = standard_normal(rng, x0.shape, x0)
        with torch.no_grad():
            models = teacher.given(**cond), parts.seen(networks, out, **cond)
            g = dmd_gradient(x0.detach(), eps, t, *models, weight=weight)
        loss = as_loss(x0, g, over=over)
        if for_student > 0:
            loss = loss + for_student * generator_loss(logits(networks, out, x0, rng, **cond))
        if pairs > 0:
            z, y = batch[f"{PAIR}noise"], batch[f"{PAIR}data"]
            told = {k: batch.get(PAIR + k, v) for k, v in cond.items()}
            model = as_model(networks["student"]).predicting("data")
            start = float(path.sigma(steps.times[0])) * z
            loss = loss + pairs * distance(predict(model, start, steps.times[0], **told), y)
        return loss

    def fake_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        x, cond = parts.split(batch)
        with torch.no_grad():
            out = parts.leave(networks, x, rng, **cond)
        loss = parts.fake_loss(networks, out, learn, fake_weight, rng, **cond)
        if for_critic > 0:
            told = [logits(networks, out, sample, rng, **cond) for sample in (out.x0, x)]
            loss = loss + for_critic * critic_loss(*told)
        return loss

    return {
        "student": Player(student, student_loss, every=every, **dict(student_settings or {})),
        "fake": Player(fake, fake_loss, **dict(fake_settings or {})),
    }


def unwrapped(network: nn.Module) -> Any:
    """The module inside what a parallel run wraps around it."""
    inner = getattr(network, "module", None)
    return inner if isinstance(inner, nn.Module) else network
