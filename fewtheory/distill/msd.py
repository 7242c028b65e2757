"""Multi-student distillation: K one-step students, each for a part of the conditions.

Stage 0 (only where the students' networks differ from the teacher's): teacher score matching,
E w |x0hat_phi(x_t) - x0hat_p(x_t)|^2 on real samples, which has the minimiser of denoising score
matching in any class of students, without the variance of x_0 given x_t. Stage 1: distribution
matching on each part's conditions. Stage 2: the same with an adversarial term. Sampling looks the
part up and calls one student. Song et al. (arXiv 2410.23274), sheet `msd`, "Method".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..arrays import Rng, standard_normal
from ..errors import fail
from ..model import Level, Model, over_event
from ..shapes import Float
from ..train.denoising import AsModel, Levels, uniform_times
from ..train.denoising import Weight as LossWeight
from ..train.player import Batch, Player
from .dmd import PAIR, Distillation, dmd
from .parts.score_difference import full_precision
from .parts.student import FewSteps, sample
from .theory.partition import Parts


def tsm_loss(
    student: Model,
    teacher: Model,
    x0: Float[torch.Tensor, "n *event"],
    eps: Float[torch.Tensor, "n *event"],
    t: Any,
    weight: LossWeight | None = None,
    **cond: Any,
) -> torch.Tensor:
    """mean_i w |x0hat_student(x_t) - x0hat_teacher(x_t)|^2 / d at x_t = alpha x_0 + sigma eps.

    x0: real samples (n, *event), not the student's own. Raises ValueError by name.

    >>> from fewtheory import paths, testbeds
    >>> one = testbeds.Gaussian([0.0], 1.0).model(paths.EDM())
    >>> x = torch.ones(2, 1)
    >>> float(tsm_loss(one, one, x, x, 1.0))
    0.0
    """
    if student.path != teacher.path:
        raise fail(
            "tsm_loss", "student", f"on the path of the teacher, {teacher.path!r}", student.path
        )
    alpha, sigma = (over_event(c, x0) for c in (teacher.path.alpha(t), teacher.path.sigma(t)))
    x = alpha * x0 + sigma * eps
    with torch.no_grad():
        told = full_precision(teacher.predicting("data")(x, t, **cond))
    gap = full_precision(student.predicting("data")(x, t, **cond)) - told
    error = gap.square().reshape(x0.shape[0], -1).mean(1)
    return (error if weight is None else weight(Level.at(teacher.path, t)) * error).mean()


def teacher_score_matching(
    network: nn.Module,
    as_model: AsModel,
    teacher: Model,
    *,
    levels: Levels | None = None,
    weight: LossWeight | None = None,
    **settings: Any,
) -> dict[str, Player]:
    """Stage 0: one player, "student", that regresses the teacher's denoiser on real samples.

    A batch holds "x" and conditions. levels: uniform times by default; weight: of the level;
    settings: of the `Player`. Raises ValueError or TypeError by name.

    >>> from fewtheory import paths, testbeds
    >>> path = paths.RectifiedFlow()
    >>> as_model = lambda net: Model(lambda x, t: net(x), path, "data")
    >>> bed = testbeds.Gaussian([0.0], 1.0)
    >>> list(teacher_score_matching(nn.Linear(1, 1), as_model, bed.model(path)))
    ['student']
    """
    if not isinstance(teacher, Model):
        wrong = type(teacher).__name__
        raise TypeError(f"teacher_score_matching: teacher must be a Model, got {wrong}")
    draw = uniform_times() if levels is None else levels
    if as_model(network).path != teacher.path:
        allowed = f"on the path of the teacher, {teacher.path!r}"
        raise fail("teacher_score_matching", "as_model", allowed, as_model(network).path)

    def loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        cond = dict(batch)
        x0 = cond.pop("x")
        t = draw(teacher.path, x0.shape[0], rng).to(x0)
        eps = standard_normal(rng, x0.shape, x0)
        return tsm_loss(as_model(networks["student"]), teacher, x0, eps, t, weight, **cond)

    return {"student": Player(network, loss, **settings)}


def msd(
    students: Sequence[nn.Module],
    fakes: Sequence[nn.Module],
    as_model: AsModel,
    teacher: Model,
    steps: FewSteps,
    parts: Parts,
    *,
    condition: str = "label",
    filter_pairs: bool = False,
    **settings: Any,
) -> dict[str, Player]:
    """Stages 1 and 2: the players "student 0", "fake 0", "student 1", ... of all parts.

    students, fakes: one network a part (restart them for another stage); parts: lists of values of
    the batch's `condition` (integers). Each player sees the rows of its own part; a batch without
    any is an error, so draw batches large enough. Real samples are filtered too; the pairs of a
    regression (with their conditions, "pair_label") are not unless asked. settings: of `dmd`, with
    `adversarial` weights and `Critic` fakes for stage 2. Raises ValueError or TypeError by name.
    """
    chosen = [sorted({int(y) for y in part}) for part in parts]
    if not chosen or len({y for part in chosen for y in part}) != sum(map(len, chosen)):
        raise fail("msd", "parts", "disjoint lists of conditions", parts)
    for name, networks in {"students": students, "fakes": fakes}.items():
        if len(networks) != len(chosen):
            raise fail("msd", name, f"{len(chosen)} networks, one a part", len(networks))
        named = {f"{name}[{k}]": network for k, network in enumerate(networks)}
        Distillation("msd", as_model, teacher, steps).check(**named)
    players: dict[str, Player] = {}
    for k, part in enumerate(chosen):
        own = dmd(students[k], fakes[k], as_model, teacher, steps, **settings)
        for name, player in own.items():
            rule = _OfPart(player, k, tuple(part), condition, filter_pairs)
            players[f"{name} {k}"] = _with_loss(player, rule)
    return players


@dataclass(frozen=True, eq=False)
class _OfPart:
    """A player's loss on the rows of one part."""

    player: Player
    k: int
    part: tuple[int, ...]
    condition: str
    filter_pairs: bool

    def __call__(self, networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        if self.condition not in batch:
            raise fail("msd", "a batch", f"a mapping with {self.condition!r}", list(batch))
        rows = self._rows(batch[self.condition])
        paired = slice(None)
        if self.filter_pairs:
            paired = self._rows(batch[PAIR + self.condition])
        mine = {k: v[paired] if k.startswith(PAIR) else v[rows] for k, v in batch.items()}
        both = {name: networks[f"{name} {self.k}"] for name in ("student", "fake")}
        return self.player.loss(both, mine, rng)

    def _rows(self, y: torch.Tensor) -> torch.Tensor:
        rows = torch.isin(y, torch.tensor(self.part, dtype=y.dtype, device=y.device))
        if not bool(rows.any()):
            raise fail("msd", "a batch", f"with rows of part {self.k}, {list(self.part)}", y)
        return rows


def _with_loss(player: Player, loss: Any) -> Player:
    from dataclasses import replace

    return replace(player, loss=loss)


@dataclass(frozen=True, eq=False)
class Routed:
    """Students behind one door: each condition goes to its part's student, one evaluation each.

    students: `Model`s; parts: lists of conditions; steps: theirs; condition: its name.
    """

    students: Sequence[Model]
    parts: Parts
    steps: FewSteps
    condition: str = "label"

    def sample(self, like: torch.Tensor, label: torch.Tensor, *, rng: Rng) -> torch.Tensor:
        """Samples (n, *event) of the conditions `label` (n,); raises ValueError for an unknown
        one."""
        known = [
            torch.tensor(list(part), dtype=label.dtype, device=label.device) for part in self.parts
        ]
        routed = [torch.isin(label, part) for part in known]
        if not bool(torch.stack(routed).any(0).all()):
            raise fail("Routed.sample", "label", f"of the parts {list(self.parts)}", label)
        out = torch.empty_like(like)
        for student, rows in zip(self.students, routed, strict=True):
            if bool(rows.any()):
                cond = {self.condition: label[rows]}
                out[rows] = sample(student, self.steps, like[rows], rng=rng, **cond)
        return out
