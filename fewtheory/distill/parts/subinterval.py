"""Learning a score above s when samples exist at s alone: targets, their weight, stable levels.

From x_s, whatever its law, x_t = r x_s + beta eps with r = alpha_t / alpha_s and beta^2 = sigma_t^2
- r^2 sigma_s^2 has the conditional score -eps / beta, so by denoising score matching every affine
function of it and x_t is an unbiased target for what a network predicts:

| prediction | target from (x_s, eps) |
| --- | --- |
| score | -eps / beta |
| noise | (sigma_t / beta) eps |
| data | (x_s - (alpha_t sigma_s^2 / (alpha_s beta)) eps) / alpha_s |
| flow (eps - x_0) | noise row - data row |
| velocity | alpha'_t (data row) + sigma'_t (noise row) |

At s = 0 they are the usual ones. Their variance grows like 1 / beta^2 as t -> s, which the paper's
clamped loss takes back. What must not be confused: eps - x_s is no such target, its bias stays at
high noise. Fan et al., arXiv 2510.27684, sheet `phased-dmd`, "Fake score in a subinterval", C1, C8.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ...arrays import Array, namespace
from ...errors import fail, number, one_of
from ...model import MEANING, PREDICTIONS, Level, Model, over_event
from ...paths import Path
from ...shapes import Float
from ...train.denoising import Weight as LossWeight
from .intervals import ending, interval_level, raised, same
from .score_difference import full_precision


def subinterval_coefficients(
    path: Path, s: float | int, t: Array, kind: str = "flow"
) -> tuple[Array, Array]:
    """(a, b) of the unbiased target a x_s + b eps of a prediction; infinite at t = s.

    kind: one of the predictions of a `Model`; other arguments as in `interval_level`. Raises
    ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> a, b = subinterval_coefficients(RectifiedFlow(), 0.5, 0.8)
    >>> a, round(b, 12)
    (-2.0, 1.290994448736)
    """
    of_x, of_eps, beta = _times_beta("subinterval_coefficients", path, s, t, kind)
    return of_x / beta, of_eps / beta


def _times_beta(
    where: str, path: Path, s: float | int, t: Array, kind: str
) -> tuple[Array, Array, Array]:
    """beta a, beta b and beta: finite at t = s."""
    one_of(where, "kind", kind, PREDICTIONS)
    r, beta = interval_level(path, s, t)
    alpha_s, sigma_s = ending(path, s)
    level = Level.at(path, t)
    of_data, of_noise = MEANING[kind](level)
    of_eps = of_noise * level.sigma - of_data * r * sigma_s**2 / alpha_s
    return of_data * beta / alpha_s, of_eps, beta


def subinterval_target(
    path: Path,
    xs: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    s: float | int,
    t: Array,
    kind: str = "flow",
) -> Float[Array, "n *event"]:
    """What a prediction of this kind regresses at x_t = r x_s + beta eps.

    xs: samples at s (n, *event); eps: the noise of x_t, of that shape; t > s: a number or (n,).
    "flow" is the paper's, eps - x_0, and a path's velocity on the rectified path alone. Raises
    ValueError or TypeError by name.

    >>> import numpy as np
    >>> from fewtheory.paths import RectifiedFlow
    >>> one = np.ones((1, 1))
    >>> subinterval_target(RectifiedFlow(), one, one, 0.5, 0.8).round(4).tolist()
    [[-0.709]]
    """
    same("subinterval_target", "xs", xs, eps)
    a, b = subinterval_coefficients(path, s, t, kind)
    return over_event(a, xs) * xs + over_event(b, xs) * eps


def subinterval_weight(path: Path, s: float | int, t: Array, *, limit: float | int = 10.0) -> Array:
    """min(1, limit beta^2): what the paper's loss amounts to on the plain regression.

    It multiplies prediction and target by beta, and the square by 1 / beta^2 clamped to `limit`;
    clamping beta^2 from below at 1 / limit is the same. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> round(subinterval_weight(RectifiedFlow(), 0.5, 0.52), 12)
    0.4
    """
    most = _limit("subinterval_weight", limit)
    beta = interval_level(path, s, t)[1]
    if isinstance(beta, (int, float)):
        return min(1.0, most * float(beta) ** 2)
    return namespace(beta).clip(most * beta**2, max=1.0)


def phase_weight(path: Path, s: float | int, t: Array) -> Array:
    """w_{t|s} = alpha_t r / (alpha_t sigma_t + sigma_t^2), of v_teacher - v_fake in the gradient.

    v is eps - x_0; with it the generator's gradient in x_s is that of KL at t, w = 1. On the
    rectified path it is alpha_t r / sigma_t. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> round(phase_weight(RectifiedFlow(), 0.5, 0.8), 12)
    0.1
    """
    r = interval_level(path, s, t)[0]
    alpha, sigma = path.alpha(t), path.sigma(t)
    return alpha * r / (alpha * sigma + sigma**2)


def subinterval_loss(
    model: Model,
    xs: torch.Tensor,
    eps: torch.Tensor,
    s: float | int,
    t: torch.Tensor,
    *,
    limit: float | int = 10.0,
    weight: LossWeight | None = None,
    **cond: Any,
) -> torch.Tensor:
    """mean_i w_i min(1 / beta^2, limit) |beta model(x_t, t) - beta target|^2 / d, a scalar.

    beta times the target is finite as t -> s, so nothing is lost there. The target is of the
    model's own prediction. xs, eps: (n, *event); t: (n,), at least s; limit: infinite for the plain
    regression (then t > s); weight: w of the level. Raises ValueError or TypeError by name.

    >>> from fewtheory import paths
    >>> zero = Model(lambda x, t: 0 * x, paths.RectifiedFlow(), "noise")
    >>> one = torch.ones(1, 1)
    >>> loss = subinterval_loss(zero, one, one, 0.5, torch.tensor([0.52]))  # .4 (.52^2 / .04)
    >>> round(float(loss), 4)
    2.704
    """
    same("subinterval_loss", "xs", xs, eps)
    most = _limit("subinterval_loss", limit)
    of_x, of_eps, beta = (
        over_event(v, xs)
        for v in _times_beta("subinterval_loss", model.path, s, t, model.prediction)
    )
    out = full_precision(model(raised(model.path, xs, eps, s, t), t, **cond))
    error = (beta * out - (of_x * xs + of_eps * eps)).square().reshape(xs.shape[0], -1).mean(1)
    error = error * torch.clamp(beta.reshape(-1) ** -2, max=most)
    return (error if weight is None else weight(Level.at(model.path, t)) * error).mean()


def biased_loss(
    model: Model,
    xs: torch.Tensor,
    eps: torch.Tensor,
    s: float | int,
    t: torch.Tensor,
    *,
    weight: LossWeight | None = None,
    **cond: Any,
) -> torch.Tensor:
    """mean_i w_i |v(x_t, t) - (eps - x_s)|^2 / d: x_s taken for data, as the paper warns not to.

    v is eps - x_0 in the model's prediction; the minimiser is `biased_flow`. It is here to be
    measured against `subinterval_loss`, whose arguments it takes. Raises ValueError or TypeError by
    name.

    >>> from fewtheory import paths
    >>> one = torch.ones(1, 1)
    >>> zero = Model(lambda x, t: 0 * x, paths.RectifiedFlow(), "flow")
    >>> float(biased_loss(zero, 2 * one, one, 0.5, torch.tensor([0.52])))
    1.0
    """
    same("biased_loss", "xs", xs, eps)
    out = full_precision(model.predicting("flow")(raised(model.path, xs, eps, s, t), t, **cond))
    error = (out - (eps - xs)).square().reshape(xs.shape[0], -1).mean(1)
    return (error if weight is None else weight(Level.at(model.path, t)) * error).mean()


def _limit(where: str, limit: float | int) -> float:
    if limit == math.inf:
        return math.inf
    if number(where, "limit", limit, 0.0) == 0:
        raise fail(where, "limit", "above 0", limit)
    return float(limit)
