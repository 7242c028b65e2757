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
from ...errors import fail, number, one_of, state
from ...model import MEANING, PREDICTIONS, Level, Model, over_event
from ...paths import Path, Table, VPCosine, VPLinear, apply_elementwise
from ...shapes import Float
from ...train.denoising import Weight as LossWeight
from .intervals import ending, interval_level
from .score_difference import full_precision


def subinterval_level(path: Path, s: float | int, t: Array) -> tuple[Array, Array]:
    """(r, beta) of x_t = r x_s + beta eps, with the difference taken in t - s on every path.

    As `interval_level`; where alpha^2 + sigma^2 = 1, beta^2 = 1 - r^2 from the schedule's own
    integral of d log alpha. A table is exact within an entry, and to its entries' rounding beyond.
    s: 0 for clean data; t >= s: a number or (n,), taken in float64. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> subinterval_level(RectifiedFlow(), 0.5, 0.50001)[1]
    0.004472135954989403
    """
    r, beta = interval_level(path, s, t)
    if float(s) == 0 or not isinstance(path, (VPLinear, VPCosine, Table)):
        return r, beta
    low = float(s)
    if isinstance(t, (int, float)):
        return r, apply_elementwise(lambda xp, v: xp.sqrt(_lost(xp, path, low, v)), float(t))
    xp = namespace(t)
    lost = _lost(xp, path, low, xp.astype(t, xp.float64))
    return r, xp.astype(xp.sqrt(xp.clip(lost, min=0.0)), t.dtype)


def _lost(xp: Any, path: Path, s: float, t: Array) -> Array:
    """1 - (alpha_t / alpha_s)^2."""
    if isinstance(path, VPLinear):
        rate = path.beta_min + 0.5 * (path.beta_max - path.beta_min) * (t + s)
        return -xp.expm1(-(t - s) * rate)
    if isinstance(path, VPCosine):
        quarter = 0.5 * math.pi / (1 + path.s)
        below = math.cos(quarter * (s + path.s)) ** 2
        return xp.sin(quarter * (t - s)) * xp.sin(quarter * (t + s + 2 * path.s)) / below
    assert isinstance(path, Table)
    fall = _table_fall(xp, path, s, t)
    return -xp.expm1(-2 * fall) if path.interpolation == "log" else fall / path.alpha(s) ** 2


def _table_fall(xp: Any, path: Table, s: float, t: Array) -> Array:
    """-log alpha ("log") or -alpha^2 ("linear"), which are linear in an entry, from s to t."""
    n = path.entries
    right = (math.floor(s * n - 1) + 2) / n  # where the entry of s ends
    left = (xp.floor(t * n - 1) + 1) / n  # where that of t begins
    edge, at_s = right + 0 * t, _slope(path, s)
    over = _value(xp, path, xp.maximum(left, edge)) - _value(xp, path, edge)
    beyond = at_s * (right - s) + over + _slope(path, t) * (t - left)
    return xp.where(left < edge, at_s * (t - s), beyond)


def _slope(path: Table, t: Array) -> Array:
    log = path.interpolation == "log"
    return -path.dalpha(t) * (1 / path.alpha(t) if log else 2 * path.alpha(t))


def _value(xp: Any, path: Table, t: Array) -> Array:
    return -xp.log(path.alpha(t)) if path.interpolation == "log" else -(path.alpha(t) ** 2)


def subinterval_coefficients(
    path: Path, s: float | int, t: Array, kind: str = "flow"
) -> tuple[Array, Array]:
    """(a, b) of the unbiased target a x_s + b eps of a prediction; infinite at t = s.

    kind: one of the predictions of a `Model`; other arguments as in `subinterval_level`. Raises
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
    r, beta = subinterval_level(path, s, t)
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
    _same("subinterval_target", xs, eps)
    a, b = subinterval_coefficients(path, s, t, kind)
    return over_event(a, xs) * xs + over_event(b, xs) * eps


def lifted(
    path: Path,
    xs: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    s: float | int,
    t: Array,
) -> Float[Array, "n *event"]:
    """x_t = r x_s + beta eps. Arguments as in `subinterval_target`.

    >>> import numpy as np
    >>> from fewtheory.paths import RectifiedFlow
    >>> one = np.ones((1, 1))
    >>> lifted(RectifiedFlow(), one, 0 * one, 0.5, 0.8).round(4).tolist()
    [[0.4]]
    """
    _same("lifted", xs, eps)
    r, beta = (over_event(v, xs) for v in subinterval_level(path, s, t))
    return r * xs + beta * eps


def subinterval_weight(path: Path, s: float | int, t: Array, *, limit: float | int = 10.0) -> Array:
    """min(1, limit beta^2): what the paper's loss amounts to on the plain regression.

    It multiplies prediction and target by beta, and the square by 1 / beta^2 clamped to `limit`;
    clamping beta^2 from below at 1 / limit is the same. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> round(subinterval_weight(RectifiedFlow(), 0.5, 0.52), 12)
    0.4
    """
    most = _limit("subinterval_weight", limit)
    beta = subinterval_level(path, s, t)[1]
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
    r = subinterval_level(path, s, t)[0]
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
    _same("subinterval_loss", xs, eps)
    most = _limit("subinterval_loss", limit)
    of_x, of_eps, beta = (
        over_event(v, xs)
        for v in _times_beta("subinterval_loss", model.path, s, t, model.prediction)
    )
    out = full_precision(model(lifted(model.path, xs, eps, s, t), t, **cond))
    error = (beta * out - (of_x * xs + of_eps * eps)).square().reshape(xs.shape[0], -1).mean(1)
    error = error * torch.clamp(beta.reshape(-1) ** -2, max=most)
    return (error if weight is None else weight(Level.at(model.path, t)) * error).mean()


def _limit(where: str, limit: float | int) -> float:
    if limit == math.inf:
        return math.inf
    if number(where, "limit", limit, 0.0) == 0:
        raise fail(where, "limit", "above 0", limit)
    return float(limit)


def _same(where: str, xs: Array, eps: Array) -> None:
    state(where, "xs", xs)
    if tuple(getattr(eps, "shape", ())) != tuple(xs.shape):
        shape = getattr(eps, "shape", eps)
        raise fail(where, "eps", f"of the shape of xs, {tuple(xs.shape)}", shape)
