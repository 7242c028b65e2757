"""How each student of the table is trained: a run is a world, a method, a number of steps, a seed.

Every method has the same networks, batches and number of moves of the fake score, and its own
losses. What differs is said here and nowhere else.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from distilled_worlds import World, world
from torch import nn

import fewtheory as ft
from fewtheory.distill import (
    Critic,
    FeatureCritic,
    FewSteps,
    Preference,
    Routed,
    dmd,
    flash_dmd,
    inner_levels,
    min_snr,
    msd,
    phases,
    sample,
    sample_phases,
    sid,
    tdm,
    train_phases,
)
from fewtheory.train import Player, fit

STEPS = {"mixture": 800, "product": 480, "digits": 1300, "digits, UNet": 400}
MORE = 300  # for digits in four steps, whose exits share the moves
RATE = 2e-4  # the students'
FASTER = 5.0  # the fake scores' and critics' rate over that: a few of their moves are enough
EVERY = 2  # moves of the fake score for one of the student
WORLDS = ("digits", "mixture", "product")  # the longest runs first
Draw = Callable[[int, torch.Generator], torch.Tensor]


@dataclass(frozen=True, order=True)
class Run:
    """One student: its world, its method, how many steps it takes, the seed of all draws."""

    world: str
    method: str
    steps: int
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """A student: draw(n, rng) makes samples; rows: network evaluations of its training, by whom.

    seconds: of one core, whatever else runs.
    """

    draw: Draw
    rows: Mapping[str, int]
    seconds: float


class Counting:
    """Rows that went through networks and the teacher."""

    def __init__(self) -> None:
        self.rows = {"students": 0, "teacher": 0}

    def network(self, module: nn.Module) -> nn.Module:
        """The module, counted whenever it or a copy of it is called."""
        rows = self.rows

        def count(_: nn.Module, inputs: Any) -> None:  # a function: a copy has the same
            rows["students"] += inputs[0].shape[0]

        module.register_forward_pre_hook(count)
        return module

    def teacher(self, model: ft.Model) -> ft.Model:
        """The teacher, counted."""

        def function(x: Any, t: Any, **cond: Any) -> Any:
            self.rows["teacher"] += x.shape[0]
            return model.function(x, t, **cond)

        return ft.Model(function, model.path, model.prediction)


def plain_difference(level: Any) -> Any:
    """w with which the gradient is the difference of the denoisers: no noise from a normaliser."""
    return (level.sigma / level.alpha) ** 2


def signal(level: Any) -> Any:
    """SiD's weight in few dimensions, where the normaliser breaks its identity: 1 / rho^2."""
    return (level.alpha / level.sigma) ** 2


@dataclass(frozen=True, eq=False)
class Bench:
    """What a method is given: the world, the run, counted networks.

    loops: how many runs of the loop, one after the other, share the world's number of steps.
    """

    run: Run
    world: World
    counting: Counting
    loops: int = 1

    @property
    def few(self) -> bool:
        """Whether the world has few dimensions."""
        return not self.world.name.startswith("digits")

    def network(self, told: int = 0) -> nn.Module:
        """A copy of the network from which all start."""
        return self.counting.network(self.world.network(told=told))

    def settings(self, share: float = 1.0) -> dict[str, Any]:
        """Of a player: Adam without momentum, half a cosine, clipped gradients."""
        steps = self.steps
        rate = share * RATE
        return {
            "optimizer": functools.partial(
                torch.optim.AdamW, lr=rate, betas=(0.0, 0.99), weight_decay=0.0, fused=True
            ),
            "schedule": ft.train.cosine_decay(steps, warmup=min(100, steps // 10), last=0.02),
            "clip": 10.0,
        }

    @property
    def steps(self) -> int:
        """Of one run of the loop."""
        four = self.run.steps == 4 and self.world.name == "digits"
        return (STEPS[self.world.name] + four * MORE) // self.loops

    @property
    def common(self) -> dict[str, Any]:
        """Both players' settings, the student's with an average."""
        return {
            "student_settings": {**self.settings(), "ema": 0.99},
            "fake_settings": self.settings(FASTER),
        }

    def renoising(self) -> FewSteps:
        """The student's steps with fresh noise."""
        return FewSteps(self.world.times(self.run.steps))

    def deterministic(self) -> FewSteps:
        """The student's steps with the noise that they imply."""
        return FewSteps(self.world.times(self.run.steps), "deterministic")

    def levels(self) -> Any:
        """Where SiD looks: as DMD does, not next to the data, where its weight has no mean."""
        return inner_levels() if self.few else ft.train.uniform_times(5.0, 0.02)

    def fit(self, players: Mapping[str, Player], data: Any = None) -> ft.train.Fitted:
        """Train them for the world's number of steps."""
        w = self.world
        return fit(
            players,
            w.data if data is None else data,
            self.steps,
            rng=torch.Generator().manual_seed(1 + self.run.seed),
            batch=w.batch,
        )

    def like(self, n: int) -> torch.Tensor:
        """Whose shape n samples take."""
        return torch.zeros(n, *self.world.shape)


def _two(bench: Bench, method: Callable[..., Any], steps: FewSteps, **given: Any) -> Draw:
    """A method with a student and a fake score, trained; how its student draws."""
    w = bench.world
    student, fake = bench.network(), given.pop("fake", None) or bench.network()
    teacher = bench.counting.teacher(w.teacher)
    settings = {**bench.common, **given}
    fitted = bench.fit(method(student, fake, w.as_model, teacher, steps, **settings))
    model = w.as_model(fitted.averages["student"])
    return lambda n, rng: sample(model, steps, bench.like(n), rng=rng)


def _weight(bench: Bench) -> dict[str, Any]:
    """Weights and levels of both losses, for DMD and what builds on it.

    On digits the levels of TDM's one step: above 5 no digit is seen, and Karras' grid has a quarter
    of its places below .05, where there is nothing left to learn.
    """
    if bench.few:
        return {"weight": plain_difference}
    levels = ft.train.uniform_times(5.0, 0.02)
    return {"levels": levels, "fake_levels": levels, "fake_weight": min_snr()}


def run_dmd(bench: Bench) -> Draw:
    """DMD2 without its critic, or DMD without its pairs."""
    return _two(bench, dmd, bench.renoising(), every=EVERY, **_weight(bench))


def run_dmd2(bench: Bench) -> Draw:
    """With DMD2's adversarial term: a head on the fake network sees real samples."""
    network: Any = bench.network()
    inner = network if bench.few else network.network
    width, name = inner.outer.in_features, "norm" if bench.few else "network.norm"
    critic = Critic(network, name, channels=width)
    return _two(
        bench,
        dmd,
        bench.renoising(),
        fake=critic,
        adversarial=(1e-2, 1e-2),
        every=EVERY,
        **_weight(bench),
    )


def of_level(level: Any) -> Any:
    """lambda with which TDM's gradient in x_s is a multiple of the denoisers' difference."""
    return level.sigma**2 / level.alpha


def above_data(bench: Bench) -> dict[str, Any]:
    """Settings where a fake score learns above the end of a step that is not clean.

    Its targets there vary like s^4 / beta^2, on EDM up to a hundred times more than the digits: it
    averages over more of them, and the student waits for it.
    """
    if bench.few or bench.run.steps == 1:
        return {"every": EVERY, **bench.common}
    slow = bench.settings(0.5)
    return {"every": 5, "student_settings": {**slow, "ema": 0.99}, "fake_settings": slow}


def run_tdm(bench: Bench, **given: Any) -> Draw:
    """Deterministic steps, each with the teacher's law."""
    form = {"loss": "kl", "weight": of_level} if bench.few else {"loss": "vector"}
    return _two(bench, tdm, bench.deterministic(), **form, **above_data(bench), **given)


def run_tdm_to_the_end(bench: Bench) -> Draw:
    """Each step looks at all levels above its own end, by a fake score that is told the step."""
    fake = bench.network(told=bench.run.steps)
    return run_tdm(bench, fake=fake, intervals="to the end", step_as="exit")


def run_phased(bench: Bench, **given: Any) -> Draw:
    """An expert a phase, two where there are steps for two; together they train as long."""
    w = bench.world
    times = w.times(bench.run.steps)
    middle = times[len(times) // 2]
    parts = phases([*times, 0.0], [middle] if len(times) > 1 else [])
    bench = replace(bench, loops=len(parts))
    experts = [bench.network() for _ in parts]
    teacher = bench.counting.teacher(w.teacher)
    settings = {"weight": of_level, **above_data(bench), **given}
    if not bench.few:
        settings["fake_weight"] = ft.train.edm_weight()
    fitted = train_phases(
        experts,
        bench.network(),
        w.as_model,
        teacher,
        parts,
        w.data,
        bench.steps,
        rng=torch.Generator().manual_seed(1 + bench.run.seed),
        settings=settings,
        batch=w.batch,
    )
    models = [w.as_model(f.averages["student"]) for f in fitted]
    return lambda n, rng: sample_phases(models, parts, bench.like(n), rng=rng)


def run_sid(bench: Bench, a: float, **given: Any) -> Draw:
    """Score identity distillation."""
    weight = signal if bench.few else "normalised"
    settings = {"a": a, "weight": weight, "levels": bench.levels(), "every": EVERY, **given}
    return _two(bench, sid, bench.renoising(), **settings)


def run_sid_told(bench: Bench, a: float) -> Draw:
    """SiD whose fake score is told the exit."""
    return run_sid(bench, a, fake=bench.network(told=bench.run.steps), exit_as="exit")


def run_flash(bench: Bench) -> Draw:
    """A loss a step: the last has the critic alone, which sees real samples."""
    return _flash(bench)[0]


def _flash(bench: Bench, told: bool = False) -> tuple[Draw, nn.Module, Any]:
    """Flash-DMD's first stage; told: the fake score knows the exit, and is not pulled."""
    w, steps = bench.world, bench.renoising()
    fake = bench.network(told=steps.count if told else 0)
    critic = bench.counting.network(critic_of(bench))
    settings = {**flash_settings(bench), **(TOLD if told else {})}
    teacher, start = bench.counting.teacher(w.teacher), bench.network()
    players = flash_dmd(start, fake, critic, w.as_model, teacher, steps, every=EVERY, **settings)
    fitted = bench.fit(players)
    student = fitted.averages["student"]
    model = w.as_model(student)
    return lambda n, rng: sample(model, steps, bench.like(n), rng=rng), student, (fake, critic)


TOLD = {"exit_as": "exit", "ema": 1.0}


def flash_settings(bench: Bench) -> dict[str, Any]:
    """All three players'."""
    return {**bench.common, "critic_settings": bench.settings(FASTER), **_weight(bench)}


def critic_of(bench: Bench) -> nn.Module:
    """Of clean samples: on the frozen classifier's features, or three layers."""
    if not bench.few:
        network = ft.zoo.load("digits-classifier").network
        return FeatureCritic(network, {"second": 64, "third": 64, "inner": 32})
    width = 128
    return nn.Sequential(
        nn.Linear(bench.world.shape[0], width),
        nn.SiLU(),
        nn.Linear(width, width),
        nn.SiLU(),
        nn.Linear(width, 1),
        nn.Flatten(0),
    )


def run_joint(bench: Bench) -> Draw:
    """Flash-DMD's second stage from its first: preferences for x_1 beside distillation.

    The fake score is told the exit: one for all would let the preferred steps go one way and the
    others go the other, to the same pooled law.
    """
    w, steps = bench.world, bench.renoising()
    _, student, (fake, critic) = _flash(bench, told=True)
    reference = w.as_model(copy.deepcopy(student))
    wanted = Preference(_first_coordinate, reference, at=(0, 1), k=4, beta=2.0, ratio=1)
    start = bench.counting.network(student.requires_grad_(True))
    teacher = bench.counting.teacher(w.teacher)
    settings = {**flash_settings(bench), **TOLD, "preference": wanted}
    fitted = bench.fit(flash_dmd(start, fake, critic, w.as_model, teacher, steps, **settings))
    model = w.as_model(fitted.averages["student"])
    return lambda n, rng: sample(model, steps, bench.like(n), rng=rng)


def _first_coordinate(z: torch.Tensor, t: float) -> torch.Tensor:
    return z[:, 0]


def run_msd(bench: Bench, count: int) -> Draw:
    """A student for each of so many parts of the law, told nothing but that it is asked."""
    w, steps = bench.world, bench.renoising()
    split = w.parts[count]
    students, fakes = ([bench.network() for _ in range(count)] for _ in range(2))
    teacher = bench.counting.teacher(split.teacher)
    parts = [[k] for k in range(count)]
    settings = {"every": EVERY, **bench.common, **_weight(bench)}
    fitted = bench.fit(
        msd(students, fakes, w.as_model, teacher, steps, parts, **settings), split.data
    )
    models = [w.as_model(fitted.averages[f"student {k}"]) for k in range(count)]
    routed = Routed(models, parts, steps)

    def draw(n: int, rng: torch.Generator) -> torch.Tensor:
        masses = torch.tensor(split.masses)
        label = torch.multinomial(masses, n, replacement=True, generator=rng)
        return routed.sample(bench.like(n), label, rng=rng)

    return draw


def run_told(bench: Bench) -> Draw:
    """DMD whose fake score is told the exit, which the papers do not tell it."""
    steps = bench.renoising()
    fake = bench.network(told=steps.count)
    return _two(bench, dmd, steps, fake=fake, exit_as="exit", every=EVERY, **_weight(bench))


@dataclass(frozen=True)
class Method:
    """One row's method: how it is trained, with how many steps in the plane and elsewhere."""

    train: Callable[[Bench], Draw]
    plane: Sequence[int] = (1, 2, 4)
    elsewhere: Sequence[int] = (1, 2, 4)


METHODS: Mapping[str, Method] = {
    "dmd": Method(run_dmd),
    "dmd, told the exit": Method(run_told, (2, 4), (4,)),
    "dmd2, with its critic": Method(run_dmd2, (1,), (1,)),
    "tdm": Method(run_tdm),
    "tdm, to the noisy end": Method(run_tdm_to_the_end, (2, 4), (4,)),
    "tdm, renoised law": Method(functools.partial(run_tdm, law="renoised"), (2, 4), (4,)),
    "phased-dmd": Method(run_phased),
    "phased-dmd, biased target": Method(functools.partial(run_phased, target="biased"), (4,), ()),
    "flash-dmd": Method(run_flash, (2, 4), (2, 4)),
    "flash-dmd, then jointly": Method(run_joint, (4,), ()),
    "msd, 1 part": Method(functools.partial(run_msd, count=1), (1,), ()),
    "msd, 2 parts": Method(functools.partial(run_msd, count=2)),
    "msd, 4 parts": Method(functools.partial(run_msd, count=4), (1,), ()),
    "msd, 8 parts": Method(functools.partial(run_msd, count=8), (1,), ()),
    "sid, a = .5": Method(functools.partial(run_sid, a=0.5), (1, 4), ()),
    "sid, a = 1": Method(functools.partial(run_sid, a=1.0)),
    "sid, a = 1, told the exit": Method(functools.partial(run_sid_told, a=1.0), (2, 4), (4,)),
    "sid, a = 1.2": Method(functools.partial(run_sid, a=1.2), (1, 4), ()),
}


def runs(seed: int = 0) -> Iterator[Run]:
    """All students of the table."""
    for name in WORLDS:
        for method, how in METHODS.items():
            counts = how.plane if name == "mixture" else how.elsewhere
            yield from (Run(name, method, steps, seed) for steps in counts)
    yield from (Run("digits, UNet", "tdm", steps, seed) for steps in (1, 4))


def trained(run: Run) -> Trained:
    """The run's student."""
    began, counting = time.process_time(), Counting()
    with torch.random.fork_rng([]):
        torch.manual_seed(run.seed)  # of critics' first weights alone
        draw = METHODS[run.method].train(Bench(run, world(run.world), counting))
    rows = dict(counting.rows)
    return Trained(draw, rows, time.process_time() - began)
