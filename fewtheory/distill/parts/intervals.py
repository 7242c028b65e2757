"""One step of a few-step student and the law that it leaves above itself, at every level.

A deterministic step goes from x_t down to x_s = alpha_s x0hat + sigma_s epshat, where epshat =
(x_t - alpha_t x0hat) / sigma_t is the same sample's and not independent of x0hat. Above s the
trajectory law is

    x_tau = r x_s + beta eps,    r = alpha_tau / alpha_s,    beta^2 = sigma_tau^2 - r^2 sigma_s^2.

With rho = sigma / alpha and g = 1 - rho_s / rho_tau, taken analytically where tau is near s,
beta = sigma_tau (g (2 - g))^{1/2}, and dx_s / dx0hat = alpha_s g(s, t): nothing cancels. What must
not be confused: alpha_tau x0hat + sigma_tau eps is another law, equal to this one at s = 0 only.
The end of the last step is s = 0, clean data on every path. TDM (Luo et al., arXiv 2503.06674),
sheet `tdm`, "Setting", "Objective", C1, C2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from ...arrays import Array, is_torch, namespace
from ...errors import fail, number, state
from ...model import Level, Model, over_event
from ...paths import (
    EDM,
    Path,
    RectifiedFlow,
    Table,
    Trigonometric,
    VPCosine,
    VPLinear,
    apply_elementwise,
)
from ...shapes import Float
from .score_difference import score_difference

LevelWeight: TypeAlias = Callable[[Level], Array]


def noise_gap(path: Path, s: float | int, t: Array) -> Array:
    """1 - rho_s / rho_t without cancellation, 0 at t = s and 1 at s = 0.

    s: where the step ends, 0 for clean data; t >= s: a number or (n,), taken in float64. Raises
    ValueError by name.

    >>> from fewtheory.paths import Trigonometric
    >>> round(noise_gap(Trigonometric(), 0.5, 0.75), 12)
    0.585786437627
    """
    low = _end("noise_gap", path, s)
    path.check_t("noise_gap", t)
    if low == 0:
        return 1.0 if isinstance(t, (int, float)) else 0 * t + 1.0
    lowest = _lowest(t, low)
    if lowest < low:
        raise fail("noise_gap", "t", f"at least s = {low}", lowest)
    if isinstance(t, (int, float)):
        return apply_elementwise(lambda xp, v: _gap(xp, path, low, v), float(t))
    xp = namespace(t)
    gap = _gap(xp, path, low, xp.astype(t, xp.float64))
    return xp.astype(xp.clip(gap, min=0.0), t.dtype)


def _lowest(t: Array, low: float) -> float:
    """The smallest t, within rounding of s; CUDA tensors are not read."""
    if isinstance(t, (int, float)):
        return float(t)
    if (is_torch(t) and t.is_cuda) or 0 in t.shape:
        return low
    smallest, slack = float(namespace(t).min(t)), 4 * float(namespace(t).finfo(t.dtype).eps)
    return smallest if smallest < low * (1 - slack) else low


def _gap(xp: Any, path: Path, s: float, t: Array) -> Array:
    if isinstance(path, RectifiedFlow):
        return (t - s) / (t * (1 - s))
    if isinstance(path, EDM):
        return (t - s) / t
    if isinstance(path, Trigonometric):
        turn = 0.5 * math.pi
        return xp.sin(turn * (t - s)) / (math.sin(turn * (1 - s)) * xp.sin(turn * t))
    return -xp.expm1(path.lam(t) - path.lam(s))


def step_gain(path: Path, t: float | int, s: float | int) -> float:
    """dx_s / dx0hat = alpha_s - sigma_s alpha_t / sigma_t of a deterministic step from t to s.

    >>> from fewtheory.paths import Trigonometric
    >>> round(step_gain(Trigonometric(), 0.75, 0.5), 12)
    0.414213562373
    """
    return ending(path, s)[0] * float(noise_gap(path, s, float(t)))


def step_down(
    path: Path, x: Float[Array, "n *event"], x0: Float[Array, "n *event"], t: float, s: float
) -> Float[Array, "n *event"]:
    """x_s = alpha_s x0hat + sigma_s epshat from x_t and the clean prediction x0hat at it.

    >>> import numpy as np
    >>> from fewtheory.paths import RectifiedFlow
    >>> step_down(RectifiedFlow(), np.ones((1, 1)), np.zeros((1, 1)), 1.0, 0.25).tolist()
    [[0.25]]
    """
    return step_gain(path, t, s) * x0 + ending(path, s)[1] / float(path.sigma(t)) * x


def ending(path: Path, s: float | int) -> tuple[float, float]:
    """(alpha_s, sigma_s) where a step ends; (1, 0) at s = 0 on every path."""
    low = _end("ending", path, s)
    return (1.0, 0.0) if low == 0 else (float(path.alpha(low)), float(path.sigma(low)))


def interval_level(path: Path, s: float | int, tau: Array) -> tuple[Array, Array]:
    """(r, beta) of the trajectory law x_tau = r x_s + beta eps, with no difference of near numbers.

    Where alpha^2 + sigma^2 = 1, beta^2 = 1 - r^2 from the schedule's own integral of d log alpha; a
    table is exact within an entry, and to its entries' rounding beyond. s: where the step ends, 0
    for clean data; tau >= s: a number or (n,), taken in float64. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> interval_level(RectifiedFlow(), 0.5, 0.50001)[1]
    0.004472135954989403
    """
    g = noise_gap(path, s, tau)
    r, low = path.alpha(tau) / ending(path, s)[0], float(s)
    if low == 0 or not isinstance(path, (VPLinear, VPCosine, Table)):
        return r, path.sigma(tau) * (g * (2 - g)) ** 0.5
    if isinstance(tau, (int, float)):
        return r, apply_elementwise(lambda xp, v: xp.sqrt(_lost(xp, path, low, v)), float(tau))
    xp = namespace(tau)
    lost = _lost(xp, path, low, xp.astype(tau, xp.float64))
    return r, xp.astype(xp.sqrt(xp.clip(lost, min=0.0)), tau.dtype)


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


def raised(
    path: Path,
    x: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    s: float | int,
    tau: Array,
) -> Float[Array, "n *event"]:
    """x_tau = r x_s + beta eps. x: x_s (n, *event); eps: of that shape; tau: a number or (n,).

    Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> from fewtheory.paths import RectifiedFlow
    >>> one = np.ones((1, 1))
    >>> raised(RectifiedFlow(), one, 0 * one, 0.5, 0.8).round(4).tolist()
    [[0.4]]
    """
    same("raised", "x", x, eps)
    r, beta = (over_event(v, x) for v in interval_level(path, s, tau))
    return r * x + beta * eps


def trajectory_target(
    path: Path,
    x: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    s: float | int,
    tau: Array,
) -> Float[Array, "n *event"]:
    """What a data prediction regresses to become the trajectory law's score, with no weight.

    (x_s - alpha_tau sigma_s^2 / (alpha_s beta) eps) / alpha_s, whose mean given x_tau is
    (x_tau + sigma_tau^2 s(x_tau)) / alpha_tau; its variance grows like 1 / beta^2 next to s. The
    prediction x0hat itself is the target for s = 0 only. x: x_s (n, *event). Raises ValueError by
    name.

    >>> import numpy as np
    >>> from fewtheory.paths import RectifiedFlow
    >>> one = np.ones((1, 1))
    >>> trajectory_target(RectifiedFlow(), one, one, 0.5, 0.8).round(4).tolist()
    [[1.7418]]
    """
    alpha, sigma = ending(path, s)
    if sigma == 0:
        return x / alpha
    r, beta = (over_event(v, x) for v in interval_level(path, s, tau))
    return (x - r * sigma**2 / beta * eps) / alpha


def interval_gradient(
    x: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    s: float | int,
    tau: Array,
    teacher: Model,
    fake: Model,
    *,
    weight: LevelWeight | None = None,
    **cond: Any,
) -> Float[Array, "n *event"]:
    """The gradient in x_s of lambda KL(trajectory law at tau || p_tau), each sample's share.

    lambda r (s_fake - s_teacher)(r x_s + beta eps); times `step_gain` it is that in x0hat. x: x_s
    (n, *event); eps: noise of that shape; tau: a number or (n,); weight: lambda, a function of the
    `Level`, 1 where None. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> from fewtheory import paths, testbeds
    >>> wide, narrow = (testbeds.Gaussian([0.0], v).model(paths.EDM()) for v in (3.0, 1.0))
    >>> one = np.ones((1, 1))
    >>> interval_gradient(one, 0 * one, 0.5, 1.0, narrow, wide).round(4).tolist()
    [[0.25]]
    """
    same("interval_gradient", "x", x, eps)
    if not isinstance(teacher, Model):
        raise TypeError(f"interval_gradient: teacher must be a Model, got {type(teacher).__name__}")
    path = teacher.path
    r, _ = interval_level(path, s, tau)
    lam = 1.0 if weight is None else weight(Level.at(path, tau))
    up = raised(path, x, eps, s, tau)
    return over_event(lam * r, x) * score_difference(up, tau, teacher, fake, **cond)


def _end(where: str, path: Path, s: float | int) -> float:
    low = number(where, "s", s, 0.0)
    if low > 0:
        path.check_t(where, low, "s")
        if float(path.alpha(low)) == 0:
            raise fail(where, "s", "where alpha is above 0", s)
    return low


def same(where: str, argument: str, x: Array, eps: Array) -> None:
    """Raise unless x is a state and its noise has that shape."""
    state(where, argument, x)
    if tuple(getattr(eps, "shape", ())) != tuple(x.shape):
        shape = getattr(eps, "shape", eps)
        raise fail(where, "eps", f"of the shape of {argument}, {tuple(x.shape)}", shape)
