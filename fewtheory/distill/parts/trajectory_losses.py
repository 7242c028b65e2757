"""The losses of a trajectory's two networks at one drawn step and level.

The fake score regresses clean predictions on x_tau = r x_s + beta eps; which target and which
weight decide whose score it becomes. The student's x0hat is drawn to x0hat + x0hat_p - x0hat_fake
by a pseudo-Huber distance over mean |x0hat - x0hat_p|, or x_s is moved by the gradient of KL
itself; the two differ by a positive factor a sample. TDM (arXiv 2503.06674), sheet `tdm`, "Fake
score regression", "Generator step".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...errors import number
from ...model import Level, Model
from ...paths import Path
from ...train.denoising import Weight as LossWeight
from .huber import huber_scale, pseudo_huber
from .importance import importance_log_weight
from .intervals import LevelWeight, interval_gradient, raised, trajectory_target
from .score_difference import full_precision
from .step_levels import Interval
from .subinterval import subinterval_weight
from .surrogate import as_loss


@dataclass(frozen=True, eq=False)
class End:
    """A drawn step of the student and a level above its end.

    x0 = G(x_t, t) and x = x_s carry the gradient; tau: (n,); eps: the noise of x_tau = r x_s + beta
    eps; interval: the step; told: what the fake score is told of it.
    """

    x0: torch.Tensor
    x: torch.Tensor
    eps: torch.Tensor
    tau: torch.Tensor
    interval: Interval
    told: Mapping[str, torch.Tensor]


def min_snr(most: float | int = 5.0) -> LossWeight:
    """w = min(alpha^2 / sigma^2, most), of a data prediction.

    >>> min_snr()(Level(torch.tensor(0.6), torch.tensor(0.8))).item()
    0.5625
    """
    top = number("min_snr", "most", most, 0.0)
    return lambda level: torch.clamp((level.alpha / level.sigma) ** 2, max=top)


def fake_weights(
    end: End, path: Path, law: str, form: str, weight: LossWeight, limit: float | int = 10.0
) -> torch.Tensor:
    """Of each sample's regression, (n,): the level's weight, times what the law asks for.

    "renoised": the importance weight; "trajectory": min(1, limit beta^2), for the target's
    variance, which is finite at s = 0; neither changes with the fake score.
    """
    s, out = end.interval.s, weight(Level.at(path, end.tau))
    if law == "renoised":
        out = out * torch.exp(
            importance_log_weight(path, end.x0, end.x, end.eps, s, end.tau, form=form)
        )
    elif law == "trajectory" and s > 0:
        out = out * subinterval_weight(path, s, end.tau, limit=limit)
    return out


def fake_regression(
    fake: Model, end: End, law: str, form: str, weight: LossWeight, limit: float | int = 10.0
) -> torch.Tensor:
    """mean_i w_i |x0hat_fake(x_tau, tau) - target|^2 / d, a scalar.

    The target is `trajectory_target` for law "trajectory", x0hat for the others.
    """
    path, s = fake.path, end.interval.s
    own = law == "trajectory"
    target = trajectory_target(path, end.x, end.eps, s, end.tau) if own else end.x0
    up = raised(path, end.x, end.eps, s, end.tau)
    out = full_precision(fake.predicting("data")(up, end.tau))
    error = (out - target).square().reshape(up.shape[0], -1).mean(1)
    return (fake_weights(end, path, law, form, weight, limit) * error).mean()


def student_regression(
    end: End, teacher: Model, fake: Model, loss: str, c: float | int | None = None
) -> torch.Tensor:
    """Pseudo-Huber distance of x0hat to x0hat + x0hat_p - x0hat_fake, over mean |x0hat - x0hat_p|.

    A scalar whose gradient enters through x0hat alone; both predictions are at x_tau, the teacher's
    guided if it is. loss: "vector" or "elements"; c as in `tdm`.
    """
    x0 = full_precision(end.x0)
    with torch.no_grad():
        up = raised(teacher.path, end.x, end.eps, end.interval.s, end.tau)
        real, seen = (full_precision(m.predicting("data")(up, end.tau)) for m in (teacher, fake))
        size = (x0 - real).abs().reshape(x0.shape[0], -1).mean(1)
        target = x0 + real - seen
    scale = (huber_scale(x0[0].numel()) if loss == "vector" else 1e-3) if c is None else c
    each = pseudo_huber(x0, target, scale, norm=loss)
    return (each / size.clamp(min=torch.finfo(size.dtype).tiny ** 0.5)).mean()


def student_divergence(
    end: End, teacher: Model, fake: Model, weight: LevelWeight | None = None
) -> torch.Tensor:
    """A scalar with the gradient of lambda KL(trajectory law || p_tau) in x_s (`as_loss`)."""
    with torch.no_grad():
        g = interval_gradient(end.x, end.eps, end.interval.s, end.tau, teacher, fake, weight=weight)
    return as_loss(end.x, g)
