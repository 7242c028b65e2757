"""Flash-DMD: each step of the student has one loss, and the fake score is pulled along.

Three players. At a drawn noisy step the student has distribution matching alone; it is run on from
there to a low step without a gradient, and the output of that one has an adversarial term alone, so
that no output is pulled to two laws at once (`split_by_step`). The critic sees clean samples,
decoded if wanted. The fake score learns by denoising and nothing else, once or twice for each of
the student's steps, and after these it is pulled towards the student, which is worth further fake
steps (`two_time_scale`). With a `Preference` the student's updates alternate with preference
training, which the others hold in place. What must not be confused: the split is by the student's
own step, not by the noise level at which a loss looks at one output. Chen et al. (arXiv
2511.20549), sheet `flash-dmd`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn

from ..arrays import standard_normal
from ..errors import fail, integer, number, one_of
from ..model import Model
from ..train.denoising import AsModel, Levels
from ..train.denoising import Weight as LossWeight
from ..train.player import After, Batch, Player
from .dmd import Distillation, Settings, unwrapped
from .parts.adversary import critic_loss, generator_loss
from .parts.levels import inner_levels
from .parts.preference import Preference, drawn
from .parts.score_difference import Weight, dmd_gradient
from .parts.student import Exit, FewSteps, advance, leave, predict, renoised
from .parts.surrogate import as_loss

Decode: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
ROLES = ("dm", "adv")
STATES = ("rediffused", "own")
REAL = "real"  # a batch's column of real samples as the critic sees them


def by_step(steps: FewSteps, low: int = 1) -> tuple[str, ...]:
    """Flash-DMD's roles: "dm" for all steps but the last `low`, which are "adv".

    >>> by_step(FewSteps([0.999, 0.749, 0.499, 0.249]))
    ('dm', 'dm', 'dm', 'adv')
    """
    low = integer("by_step", "low", low, 1, steps.count - 1)
    return ("dm",) * (steps.count - low) + ("adv",) * low


def back_simulated(
    student: Model, steps: FewSteps, here: Exit, until: int | None = None, *, rng: Any, **cond: Any
) -> Exit:
    """The student's remaining steps after an exit, without a gradient.

    until: the step at whose exit it stops, by default the last: a state x there, and the clean
    sample x0. Raises ValueError by name.
    """
    last = steps.count - 1
    stop = last if until is None else integer("back_simulated", "until", until, here.step, last)
    data, x, x0 = student.predicting("data"), here.x, here.x0.detach()
    with torch.no_grad():
        for k in range(here.step, stop):
            x = advance(student, steps, k, x, x0, rng=rng)
            x0 = predict(data, x, steps.times[k + 1], **cond)
    return Exit(x, steps.times[stop], x0, stop)


def pulling(name: str, towards: str, kept: float | int) -> After:
    """What a `Player` does after its moves: w <- kept w + (1 - kept) w', by parameter.

    name, towards: of two players whose networks are of one architecture and parametrisation; the
    first is moved. Raises ValueError by name.

    >>> one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> with torch.no_grad(): pulling("one", "two", 0.0)({"one": one, "two": two}, 1)
    >>> bool((one.weight == two.weight).all())
    True
    """
    share = 1 - number("pulling", "kept", kept, 0.0, 1.0)

    def after(networks: Mapping[str, nn.Module], moves: int) -> None:
        mine, theirs = (dict(unwrapped(networks[n]).named_parameters()) for n in (name, towards))
        for key, parameter in mine.items():
            parameter.lerp_(theirs[key].to(parameter), share)

    return after


@dataclass(frozen=True, eq=False)
class _Terms:
    """What the losses share: see `flash_dmd`."""

    parts: Distillation
    roles: tuple[str, ...]
    weight: str | Weight
    see: Levels
    learn: Levels
    fake_weight: LossWeight | None
    adversarial: float
    low_state: str
    decode: Decode
    preference: Preference | None
    over: str

    def split(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """("x", the conditions) of a batch."""
        x, cond = self.parts.split(batch)
        return x, {name: value for name, value in cond.items() if name != REAL}

    def step(self, role: str, rng: Any) -> int:
        """One of the student's steps of this role, drawn."""
        steps = [k for k, r in enumerate(self.roles) if r == role]
        return steps[drawn(len(steps), rng)]


def flash_dmd(
    student: nn.Module,
    fake: nn.Module,
    critic: nn.Module,
    as_model: AsModel,
    teacher: Model,
    steps: FewSteps,
    *,
    roles: Sequence[str] | None = None,
    weight: str | Weight = "dmd2",
    levels: Levels | None = None,
    fake_levels: Levels | None = None,
    fake_weight: LossWeight | None = None,
    every: int = 1,
    ema: float | int = 0.9,
    adversarial: float | int = 1.0,
    low_state: str = "own",
    decode: Decode | None = None,
    preference: Preference | None = None,
    over: str = "samples",
    exit_as: str | None = None,
    student_settings: Settings | None = None,
    fake_settings: Settings | None = None,
    critic_settings: Settings | None = None,
) -> dict[str, Player]:
    """The players of Flash-DMD: "student", "fake" and "critic".

    student, fake: of one architecture; as_model, teacher, steps, weight, levels, fake_levels,
    fake_weight, over, exit_as: as in `dmd`. critic: a module from clean samples to logits (n,), a
    `FeatureCritic`, say. roles: "dm" or "adv" a step; `by_step` by default. every: n, fake and
    critic steps for one of the student. ema: what the fake network keeps when it is pulled towards
    the student after the latter's move; not printed in what was at hand, see `largest_ema`; one
    that keeps little makes the fake score the student's own map, which is no score off the
    student's levels. adversarial: the term's weight. low_state: what the adversarial step starts
    from: "own", the state in which sampling enters it; "rediffused", the finished sample noised to
    its level, as the paper is reported to: part of an earlier step's bias stays (`split_bias`).
    decode: from samples to what the critic sees; real ones are a batch's "real" where it has that
    column, else "x", decoded. settings: of each `Player`.

    preference: then an update of the student is one of preference training with probability ratio /
    (1 + ratio), drawn each time, and fake and critic move n times for each of the others. Raises
    ValueError or TypeError by name.

    >>> from fewtheory import paths, testbeds
    >>> path, net = paths.RectifiedFlow(), lambda: nn.Linear(1, 1)
    >>> as_model = lambda network: Model(lambda x, t: network(x), path, "data")
    >>> teacher = testbeds.Gaussian([0.0], 1.0).model(path)
    >>> steps = FewSteps([1.0, 0.5])
    >>> list(flash_dmd(net(), net(), net(), as_model, teacher, steps))
    ['student', 'fake', 'critic']
    """
    parts = Distillation("flash_dmd", as_model, teacher, steps, exit_as)
    parts.check(student=student, fake=fake)
    terms = _Terms(
        parts,
        by_step(steps) if roles is None else tuple(roles),
        weight,
        inner_levels() if levels is None else levels,
        inner_levels(0.0) if fake_levels is None else fake_levels,
        fake_weight,
        number("flash_dmd", "adversarial", adversarial, 0.0),
        low_state,
        _as_it_is if decode is None else decode,
        preference,
        over,
    )
    _check(student, fake, critic, terms, every, ema)
    if ema != 1 and "after" in (student_settings or {}):
        raise fail("flash_dmd", "student_settings", "without 'after' where ema is not 1", ema)
    pull = {} if ema == 1 else {"after": pulling("fake", "student", ema)}
    rest = 1 if preference is None else 1 + preference.ratio
    own = {"every": every, **pull, **dict(student_settings or {})}
    return {
        "student": Player(student, partial(_student_loss, terms), **own),
        "fake": Player(fake, partial(_fake_loss, terms), every=rest, **dict(fake_settings or {})),
        "critic": Player(
            critic, partial(_critic_loss, terms), every=rest, **dict(critic_settings or {})
        ),
    }


def _student_loss(
    terms: _Terms, networks: Mapping[str, nn.Module], batch: Batch, rng: Any
) -> torch.Tensor:
    """Matching at a noisy step and the critic at a low one; or preference training, drawn."""
    x, cond = terms.split(batch)
    model, wanted = terms.parts.as_model(networks["student"]), terms.preference
    if wanted is not None and drawn(1 + wanted.ratio, rng) > 0:
        return wanted.loss(model, terms.parts.steps, x, rng=rng, **cond)
    here = leave(model, terms.parts.steps, x, rng=rng, exit=terms.step("dm", rng), **cond)
    loss = _matching(terms, networks, here, rng, **cond)
    shown = terms.decode(_low_output(terms, model, here, rng, **cond))
    return loss + terms.adversarial * generator_loss(networks["critic"](shown))


def _matching(
    terms: _Terms, networks: Mapping[str, nn.Module], here: Exit, rng: Any, **cond: Any
) -> torch.Tensor:
    """The surrogate of distribution matching on an output."""
    teacher, x0 = terms.parts.teacher, here.x0
    t = terms.see(teacher.path, x0.shape[0], rng).to(x0)
    eps = standard_normal(rng, x0.shape, x0)
    with torch.no_grad():
        models = teacher.given(**cond), terms.parts.seen(networks, here, **cond)
        g = dmd_gradient(x0.detach(), eps, t, *models, weight=terms.weight)
    return as_loss(x0, g, over=terms.over)


def _low_output(terms: _Terms, model: Model, here: Exit, rng: Any, **cond: Any) -> torch.Tensor:
    """The output of a low step, whose input comes from an exit without a gradient."""
    steps, k = terms.parts.steps, terms.step("adv", rng)
    t = steps.times[k]
    if terms.low_state == "own":
        low = back_simulated(model, steps, here, k, rng=rng, **cond).x
    else:
        clean = back_simulated(model, steps, here, rng=rng, **cond).x0
        low = renoised(model.path, clean, clean.new_full((clean.shape[0],), t), rng)[0]
    return predict(model.predicting("data"), low, t, **cond)


def _fake_loss(
    terms: _Terms, networks: Mapping[str, nn.Module], batch: Batch, rng: Any
) -> torch.Tensor:
    """Denoising on the outputs whose score is asked for, those of the noisy steps."""
    x, cond = terms.split(batch)
    model = terms.parts.as_model(networks["student"])
    with torch.no_grad():
        here = leave(model, terms.parts.steps, x, rng=rng, exit=terms.step("dm", rng), **cond)
    return terms.parts.fake_loss(networks, here, terms.learn, terms.fake_weight, rng, **cond)


def _critic_loss(
    terms: _Terms, networks: Mapping[str, nn.Module], batch: Batch, rng: Any
) -> torch.Tensor:
    """Real samples against the outputs of the low steps."""
    x, cond = terms.split(batch)
    model = terms.parts.as_model(networks["student"])
    with torch.no_grad():
        here = leave(model, terms.parts.steps, x, rng=rng, exit=terms.step("dm", rng), **cond)
        fake = terms.decode(_low_output(terms, model, here, rng, **cond))
        real = batch[REAL] if REAL in batch else terms.decode(x)
    critic = networks["critic"]
    return critic_loss(critic(fake).flatten(), critic(real).flatten())


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x


def _check(
    student: nn.Module,
    fake: nn.Module,
    critic: nn.Module,
    terms: _Terms,
    every: int,
    ema: float | int,
) -> None:
    """Raise unless the settings fit one another."""
    where, steps, roles = terms.parts.where, terms.parts.steps, terms.roles
    if not isinstance(critic, nn.Module):
        raise TypeError(f"{where}: critic must be a torch module, got {critic!r}")
    if len(roles) != steps.count or set(roles) != set(ROLES):
        raise fail(where, "roles", f"{steps.count} of {ROLES}, each at least once", roles)
    if "dm" in roles[roles.index("adv") :]:
        raise fail(where, "roles", "such that 'dm' comes before 'adv'", roles)
    one_of(where, "low_state", terms.low_state, STATES)
    integer(where, "every", every, 1)
    kept = number(where, "ema", ema, 0.0, 1.0)
    shapes = [{k: v.shape for k, v in m.named_parameters()} for m in (student, fake)]
    if kept < 1 and shapes[0] != shapes[1]:
        raise fail(where, "ema", "1 where fake and student are not of one architecture", ema)
    if terms.preference is not None:
        terms.preference.check(where, steps, terms.parts.teacher.path)
