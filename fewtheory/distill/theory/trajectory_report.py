"""A student's states against the teacher's, step by step: which law it has been taught.

After each deterministic step the state x_s should have the law of alpha_s x_0 + sigma_s eps, and
its moments can be had from samples of the data: mean alpha_s m, variance alpha_s^2 V + sigma_s^2. A
student of re-noised predictions has the std alpha_s V^{1/2} + sigma_s in the middle, and only the
last step tells nothing. Beside it, the share of a batch that an importance weight would leave.
Sheet `tdm`, "report", C3, C4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...arrays import Rng, check_rng, standard_normal
from ...errors import fail
from ...model import Model
from ...paths import Path
from ...shapes import Float
from ..parts.importance import importance_log_weight, weight_wall
from ..parts.intervals import ending, step_down
from ..parts.student import FewSteps, predict, start


@dataclass(frozen=True, eq=False)
class TrajectoryReport:
    """Of each step's end, (K,), in the order of the steps.

    times: s, the last 0; std: the root of the mean variance of x_s over its elements; teacher_std:
    what it should be; renoised_std: what a fake score of re-noised predictions makes of it;
    mean_gap: the rms over elements of the mean's distance to the teacher's; fraction: the sampled
    effective share of the exact importance weight half-way up from the wall to t, and mean_fraction
    that of the demo's; wall: the tau below which the exact weight has no variance.
    """

    times: Float[np.ndarray, "K"]
    std: Float[np.ndarray, "K"]
    teacher_std: Float[np.ndarray, "K"]
    renoised_std: Float[np.ndarray, "K"]
    mean_gap: Float[np.ndarray, "K"]
    fraction: Float[np.ndarray, "K"]
    mean_fraction: Float[np.ndarray, "K"]
    wall: Float[np.ndarray, "K"]


@torch.no_grad()
def trajectory_report(
    student: Model, steps: FewSteps, data: torch.Tensor, *, rng: Rng, **cond: Any
) -> TrajectoryReport:
    """Run a student through all its steps and compare each state's moments with the teacher's.

    student: a `Model`; steps: deterministic; data: samples of the teacher's law (n, *event), two or
    more: as many of the student's are drawn. K evaluations. Raises ValueError or TypeError by name.

    >>> from fewtheory import paths, testbeds
    >>> exact = testbeds.Gaussian([0.0], 1.0).model(paths.Trigonometric(), "data")
    >>> data = torch.randn(4096, 1, generator=torch.Generator().manual_seed(0))
    >>> steps = FewSteps([1.0, 0.5], "deterministic")
    >>> report = trajectory_report(exact, steps, data, rng=torch.Generator().manual_seed(1))
    >>> [round(float(v), 1) for v in report.std]  # too narrow: a denoiser is not its secant
    [0.7, 0.5]
    """
    check_rng("trajectory_report", rng)
    if not isinstance(student, Model):
        wrong = type(student).__name__
        raise TypeError(f"trajectory_report: student must be a Model, got {wrong}")
    if not isinstance(steps, FewSteps) or steps.step != "deterministic":
        raise fail("trajectory_report", "steps", "FewSteps with deterministic steps", steps)
    if data.ndim < 2 or data.shape[0] < 2:
        allowed = "of shape (n, *event), n at least 2"
        raise fail("trajectory_report", "data", allowed, tuple(data.shape))
    for t in steps.times:
        student.path.check_t("trajectory_report", t, "steps.times")
    path, network = student.path, student.predicting("data")
    mean, variance = data.mean(0), float(data.var(0).mean())
    x, rows = start(student, steps, data, rng=rng), []
    for k, t in enumerate(steps.times):
        s = float(steps.times[k + 1]) if k + 1 < steps.count else 0.0
        x0 = predict(network, x, t, **cond)
        x = step_down(path, x, x0, float(t), s)
        alpha, sigma = ending(path, s)
        gap = float((x.mean(0) - alpha * mean).square().mean().sqrt())
        stds = _root(x.var(0).mean()), (alpha**2 * variance + sigma**2) ** 0.5
        wall = weight_wall(path, s)
        shares = _shares(path, x0, x, float(t), s, wall, rng)
        rows.append((s, *stds, alpha * variance**0.5 + sigma, gap, *shares, wall))
    return TrajectoryReport(*(np.array(column) for column in zip(*rows, strict=True)))


def _shares(
    path: Path, x0: torch.Tensor, x: torch.Tensor, t: float, s: float, wall: float, rng: Rng
) -> tuple[float, float]:
    """(sum w)^2 / (n sum w^2) of either weight; 0 where the step ends below the wall."""
    if wall >= t:
        return 0.0, 0.0
    eps, found = standard_normal(rng, x.shape, x), []
    for form in ("sum", "mean"):
        tau = (max(wall, s) + t) / 2
        log_w = importance_log_weight(path, x0, x, eps, s, tau, form=form)
        w = torch.exp(log_w - log_w.max())
        found.append(float(w.sum() ** 2 / (w.square().sum() * w.numel())))
    return found[0], found[1]


def _root(x: torch.Tensor) -> float:
    return float(x.sqrt())
