"""A student of a few steps: predict the data, go to the next level, predict again.

    x0hat_k = G(x_{t_k}, t_k),     x_{t_{k+1}} = alpha x0hat_k + sigma n_k

n_k is fresh noise (the stochastic sampler of consistency models, LCM and DMD2), fresh noise scaled
by gamma, or the noise that the step itself predicts (DDIM). It starts from y_0 = 0, so from sigma n
at the first level, which need not be pure noise. Training draws one exit, runs the steps before it
without a gradient, and differentiates through the last step alone. One step is K = 1. Sheets
`dmd-base`, "Several steps", `tdm`, `sid-protein`, "K-step generator".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...arrays import Rng, check_rng, standard_normal
from ...errors import fail, integer, number
from ...model import Model, over_event
from .score_difference import full_precision

STEPS = ("renoise", "deterministic")


@dataclass(frozen=True)
class FewSteps:
    """The levels of a student, from noisy to clean, and how it goes from one to the next.

    times: (K,) on the student's path, decreasing. step:
    "renoise", fresh noise, or "deterministic", the noise that the prediction implies. noise_scale:
    gamma, by which fresh noise is multiplied when sampling (`sample`), never when training. Raises
    ValueError or TypeError by name.

    >>> FewSteps([1.0, 0.75, 0.5, 0.25]).count
    4
    """

    times: Sequence[float | int]
    step: str = "renoise"
    noise_scale: float | int = 1.0

    def __post_init__(self) -> None:
        values = [number("FewSteps", "times", t, 0.0) for t in self.times]
        if not values or any(b >= a for a, b in itertools.pairwise(values)):
            raise fail("FewSteps", "times", "one or more, decreasing", self.times)
        if self.step not in STEPS:
            raise fail("FewSteps", "step", f"one of {STEPS}", self.step)
        if not number("FewSteps", "noise_scale", self.noise_scale, 0.0) > 0:
            raise fail("FewSteps", "noise_scale", "above 0", self.noise_scale)
        object.__setattr__(self, "times", tuple(values))

    @property
    def count(self) -> int:
        """K, the number of evaluations."""
        return len(self.times)


@dataclass(frozen=True, eq=False)
class Exit:
    """Where a student was left: x the state at time t, (n, *event), and x0 = G(x, t).

    Only x0 carries a gradient. step: which one it was, from 0.
    """

    x: torch.Tensor
    t: float
    x0: torch.Tensor
    step: int


def leave(
    student: Model,
    steps: FewSteps,
    like: torch.Tensor,
    *,
    rng: Rng,
    exit: int | None = None,
    **cond: Any,
) -> Exit:
    """Run a student to one of its steps, differentiable through that step alone.

    student: a `Model` of any prediction; like: (n, *event), whose shape, dtype and device the
    samples take; exit: which step, from 0; drawn uniformly where None. Raises ValueError or
    TypeError by name.
    """
    check_rng("leave", rng)
    _check("leave", student, steps)
    if exit is None:
        device = rng.device if isinstance(rng, torch.Generator) else "cpu"
        drawn = (
            torch.rand(1, generator=rng, device=device)
            if isinstance(rng, torch.Generator)
            else rng.random(1)
        )
        exit = min(int(float(drawn[0]) * steps.count), steps.count - 1)
    last = integer("leave", "exit", exit, 0, steps.count - 1)
    data = student.predicting("data")
    with torch.no_grad():
        x = start(student, steps, like, rng=rng)
        for k in range(last):
            x0 = predict(data, x, steps.times[k], **cond)
            x = advance(student, steps, k, x, x0, rng=rng)
    return Exit(x, steps.times[last], predict(data, x, steps.times[last], **cond), last)


def sample(
    student: Model, steps: FewSteps, like: torch.Tensor, *, rng: Rng, **cond: Any
) -> torch.Tensor:
    """Samples of a student, (n, *event): all its steps, its fresh noise scaled by `noise_scale`.

    like: (n, *event), whose shape, dtype and device the samples take; K evaluations. Raises
    ValueError or TypeError by name.

    >>> import torch
    >>> from fewtheory import paths, testbeds
    >>> exact = testbeds.Gaussian([0.5], 0.0).model(paths.EDM(), "data")  # all mass at one half
    >>> sample(exact, FewSteps([80.0]), torch.zeros(2, 1), rng=torch.Generator()).tolist()
    [[0.5], [0.5]]
    """
    check_rng("sample", rng)
    _check("sample", student, steps)
    data, gamma = student.predicting("data"), float(steps.noise_scale)
    with torch.no_grad():
        x = gamma * start(student, steps, like, rng=rng)
        x0 = predict(data, x, steps.times[0], **cond)
        for k in range(1, steps.count):
            x = advance(student, steps, k - 1, x, x0, rng=rng, noise_scale=gamma)
            x0 = predict(data, x, steps.times[k], **cond)
    return x0


def start(student: Model, steps: FewSteps, like: torch.Tensor, *, rng: Rng) -> torch.Tensor:
    """sigma n at the first level."""
    sigma = float(student.path.sigma(steps.times[0]))
    return sigma * standard_normal(rng, like.shape, like)


def advance(
    student: Model,
    steps: FewSteps,
    k: int,
    x: torch.Tensor,
    x0: torch.Tensor,
    *,
    rng: Rng,
    noise_scale: float | int = 1.0,
) -> torch.Tensor:
    """From step k's state and prediction to the state at step k + 1."""
    path, t, s = student.path, steps.times[k], steps.times[k + 1]
    if steps.step == "deterministic":
        noise = (x - float(path.alpha(t)) * x0) / float(path.sigma(t))
    else:
        noise = float(noise_scale) * standard_normal(rng, x0.shape, x0)
    return float(path.alpha(s)) * x0 + float(path.sigma(s)) * noise


def predict(data: Model, x: torch.Tensor, t: float, **cond: Any) -> torch.Tensor:
    """The data prediction at one time, as a network takes it: t of shape (n,), at least float32."""
    wide = torch.promote_types(x.dtype, torch.float32)  # bfloat16 has 8 bits: .999 would be 1
    return full_precision(data(x, x.new_full((x.shape[0],), t, dtype=wide), **cond))


def renoised(
    path: Any, x0: torch.Tensor, t: torch.Tensor, rng: Rng
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x_t, eps): samples at fresh noise, t (n,)."""
    eps = standard_normal(rng, x0.shape, x0)
    alpha, sigma = over_event(path.alpha(t), x0), over_event(path.sigma(t), x0)
    return alpha * x0 + sigma * eps, eps


def _check(where: str, student: Model, steps: FewSteps) -> None:
    if not isinstance(student, Model):
        raise TypeError(f"{where}: student must be a Model, got {type(student).__name__}")
    if not isinstance(steps, FewSteps):
        raise TypeError(f"{where}: steps must be FewSteps, got {type(steps).__name__}")
    for t in steps.times:
        student.path.check_t(where, t, "steps.times")
