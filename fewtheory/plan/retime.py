"""Time labels that fit the states that a run has reached, row by row.

With few steps a state does not have the law of its level: deterministic first-order steps leave it
too little variance. Its pixel variance s^2 says at which time tau it would be typical,

    s^2 = sigma_tau^2 ("noise")    or    s^2 = sigma_tau^2 + alpha_tau^2 data_var ("marginal"),

and the model is asked there, or the step lands there. The sampler's rule is left as it is: a step
moves x = alpha a + sigma b along constant a and b, for every deterministic sampler whose rows take
the state before them alone, so re-anchoring it at another time changes a (if the sampler holds the
noise b) or b (if it holds the data a) and nothing else. Source: Li et al., "Alleviating Exposure
Bias in Diffusion Models through Sampling with Shifted Time Steps", arXiv 2305.15583; sheet
`time-shift`, whose variants these are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, linear_combination, namespace
from ..errors import fail, one_of
from ..model import Level, conversion, over_event
from ..paths import Path
from .hooks import Draw, Hook
from .plan import Plan

BISECTIONS = 60  # halvings of an interval of length at most 1e3: below a rounding


def pixel_variance(x: Array) -> Array:
    """s^2 = sum_i (x_i - mean)^2 / (d - 1) over all d entries of each sample, (n,).

    >>> pixel_variance(np.array([[1.0, 3.0]]))
    array([2.])
    """
    xp = namespace(x)
    d = math.prod(x.shape[1:])
    if d < 2:
        raise fail("pixel_variance", "x", "of two or more entries a sample", tuple(x.shape))
    return xp.var(xp.reshape(x, (x.shape[0], d)), axis=1, correction=1)


def time_of_variance(
    path: Path, variance: Array, data_var: float | int, low: Array, high: Array, nominal: Array
) -> Array:
    """The time in [low, high] at which sigma^2 + alpha^2 data_var = variance, row by row.

    data_var = 0 is the noise criterion. Clamped to the nearer end where there is none. On a path
    whose variance has a minimum inside (flows: at t = v / (1 + v)) only the part above it counts.
    Where the variance does not depend on time (data_var = 1 on variance-preserving paths) the
    nominal time comes back: the method is blind there.
    """

    def total(t: Array) -> Array:
        return path.sigma(t) ** 2 + data_var * path.alpha(t) ** 2

    xp = namespace(variance)
    low = xp.maximum(low, xp.full_like(low, _turning_point(path, data_var)))
    high = xp.maximum(low, high)
    at_low, at_high = total(low), total(high)
    rising = xp.sign(at_high - at_low)
    flat = xp.abs(at_high - at_low) <= 8 * float(xp.finfo(low.dtype).eps) * at_high
    below, above = low, high
    for _ in range(BISECTIONS):
        middle = 0.5 * (below + above)
        later = (variance - total(middle)) * rising > 0  # the time lies above the middle
        below, above = xp.where(later, middle, below), xp.where(later, above, middle)
    found = 0.5 * (below + above)
    found = xp.where((variance - at_low) * rising <= 0, low, found)
    found = xp.where((variance - at_high) * rising >= 0, high, found)
    return xp.where(flat, nominal, found)


def _turning_point(path: Path, data_var: float) -> float:
    """Where the marginal variance is least, if that is inside the path's range; else its start."""

    def slope(t: float) -> float:
        return path.sigma(t) * path.dsigma(t) + data_var * path.alpha(t) * path.dalpha(t)

    low, high = path.t_min, path.t_max
    inner = low + 1e-9 * (high - low)  # sigma' may be infinite at the very end
    if not slope(inner) < 0 < slope(high):
        return low
    for _ in range(BISECTIONS):
        middle = 0.5 * (inner + high)
        inner, high = (middle, high) if slope(middle) < 0 else (inner, middle)
    return 0.5 * (inner + high)


class Step(NamedTuple):
    """One row in the plan's own prediction: w = P u + sum_j B_j m_j, then c times a fresh noise."""

    P: float
    B: list[tuple[int, float]]
    c: float


def steps_of(plan: Plan, where: str) -> list[Step]:
    """The rows of a plan that can be re-timed, or an error that says why there are none."""
    one_of(where, "the plan's prediction", plan.prediction, ("data", "noise"))
    allowed = "one whose rows take the state before them alone, all of them evaluated"
    before = np.eye(plan.nodes, k=-1)
    if plan._event_axes() or np.any(plan.P * (1 - before)) or np.any(plan.d):
        raise fail(where, "plan", allowed, plan)
    if not np.all(plan.evaluated) or np.any((plan.C != 0).sum(axis=1) > 1):
        raise fail(where, "plan", allowed, plan)
    steps = []
    for i in range(1, plan.nodes):
        weights = [(j, float(plan.B[i, j])) for j in np.flatnonzero(plan.B[i]).tolist()]
        c = float(plan.C[i].sum())
        if c and [j for j, _ in weights] != [i - 1]:
            raise fail(where, "plan", "of one evaluation a row where it draws noise", plan)
        steps.append(Step(float(plan.P[i, i - 1]), weights, c))
    return steps


def retimed(
    plan: Plan,
    path: Path,
    prediction: str,
    x: Array,
    draw: Draw,
    callback: Callable[[int, Array], None] | None = None,
) -> Generator[tuple[Any, Array], tuple[Array, Array], Array]:
    """The run of a plan with a time shift, as `run.stepping`: the yielded times are (n,) arrays.

    The first evaluation is at its own time, and so is every one that the hook leaves alone.
    """
    xp, moved = namespace(x), plan.rescaled(path)
    steps = steps_of(moved, "Plan.run")
    rule, data_var = Rule.of(moved, path, next(h for h in plan.hooks if h.on == "time"))
    data_hooks = [h for h in plan.hooks if h.on == "data"]
    half = xp.finfo(x.dtype).bits < 32
    u = xp.astype(x, xp.float32) if half else x
    q, outputs = _like(float(moved.t[0]), u), []
    for i, step in enumerate(steps):
        if callback is not None:
            callback(i, u)
        m, given = yield q, (xp.astype(u, x.dtype) if half else u)
        if m.shape != x.shape:
            raise ValueError(f"Plan.run: the model must return shape {x.shape}, got {m.shape}")
        u, m = (xp.astype(v, u.dtype) for v in (given, m))
        outputs.append(_converted(path, prediction, moved.prediction, q, u, m, data_hooks))
        w = linear_combination(
            [step.P, *(b for _, b in step.B)], [u, *(outputs[j] for j, _ in step.B)]
        )
        data_var = _estimated(rule, u, outputs[i], q, data_var)
        u, q = _advance(rule, i, u, w, step.c, q, data_var, draw)
    if callback is not None:
        callback(len(steps), u)
    return xp.astype(u, x.dtype) if half else u


def _converted(
    path: Path, old: str, new: str, t: Array, u: Array, m: Array, hooks: list[Hook]
) -> Array:
    """The model's output in the plan's prediction, at the times at which it was asked."""
    level = Level.at(path, t)
    for via in ("data", new) if hooks else (new,):
        p, q = conversion(old, via, level)
        m = over_event(p, u) * u + over_event(q, u) * m if old != via else m
        old = via
        if via == "data":
            for hook in hooks:
                m = hook(m)
    return m


@dataclass(frozen=True, eq=False)
class Rule:
    """How a run is re-timed: a plan on its path, and the settings of its hook."""

    plan: Plan
    path: Path
    shift: str
    automatic: bool  # data_var is estimated on the way
    window: float
    cutoff: float
    low: float
    high: float

    @classmethod
    def of(cls, plan: Plan, path: Path, hook: Hook) -> tuple[Rule, float | None]:
        """(the rule, the variance of the data: 0 for the noise criterion, None if estimated)."""
        given = dict(hook.settings)
        marginal = given.get("criterion", "noise") == "marginal"
        automatic = marginal and given["data_var"] == "auto"
        window, low = given.get("window"), path.t_min
        if path.sigma(low) == 0:  # a noise is told apart from the state at sigma > 0 alone
            low += 1e-3 * (path.end - path.t_min)
        rule = cls(
            plan,
            path,
            given.get("shift", "query"),
            automatic,
            math.inf if window is None else window,
            given.get("cutoff", 0.0),
            low,
            path.t_max,
        )
        return rule, None if automatic else float(given["data_var"]) if marginal else 0.0


def _like(t: float, u: Array) -> Array:
    """A time for every row."""
    return namespace(u).full((u.shape[0],), t, dtype=u.dtype, device=u.device)


def _at(path: Path, t: Array, u: Array) -> tuple[Array, Array]:
    """(alpha, sigma) at each row's time, shaped to multiply u."""
    return over_event(path.alpha(t), u), over_event(path.sigma(t), u)


def _advance(
    rule: Rule, i: int, u: Array, w: Array, c: float, q: Array, data_var: float | None, draw: Draw
) -> tuple[Array, Array]:
    """(the state of row i + 1, the times at which the model is asked there)."""
    xp, plan = namespace(u), rule.plan
    now, after = float(plan.t[i]), float(plan.t[i + 1])
    free = after > rule.cutoff and i + 1 < plan.nodes - 1 and data_var is not None
    land = ask = _like(after, u)
    if not free or data_var is None:
        return _moved(rule, i, u, w, c, q, land, draw), ask
    if i > 0 and rule.shift == "target":
        land = _time(rule, u, after, data_var)
    elif i > 0 and rule.shift == "target-from-current":
        land = xp.clip(_time(rule, u, now, data_var) - (now - after), min=rule.low, max=rule.high)
    moved = _moved(rule, i, u, w, c, q, land, draw)
    if rule.shift == "rescale":
        alpha, sigma = float(rule.path.alpha(after)), float(rule.path.sigma(after))
        wanted = sigma**2 + alpha**2 * data_var
        moved = moved * over_event(xp.sqrt(wanted / pixel_variance(moved)), moved)
    elif rule.shift == "query":
        ask = _time(rule, moved, after, data_var)
    return moved, ask


def _time(rule: Rule, x: Array, about: float, data_var: float) -> Array:
    """The time of each state's pixel variance, within the window about a time."""
    low, high = max(about - rule.window / 2, rule.low), min(about + rule.window / 2, rule.high)
    ends = _like(low, x), _like(high, x)
    return time_of_variance(rule.path, pixel_variance(x), data_var, *ends, _like(about, x))


def _moved(
    rule: Rule, i: int, u: Array, w: Array, c: float, q: Array, land: Array, draw: Draw
) -> Array:
    """The step of row i + 1, from the times q to the times `land`.

    w is where the row takes u from its nominal level to the next one: u = alpha a + sigma b and
    w = alpha' a + kept b, kept^2 = sigma'^2 - c^2.
    """
    xp, plan = namespace(u), rule.plan
    alpha, sigma = float(plan.alpha[i]), float(plan.sigma[i])
    alpha_n, sigma_n = float(plan.alpha[i + 1]), float(plan.sigma[i + 1])
    kept = math.sqrt(max(sigma_n**2 - c**2, 0.0))
    det = alpha_n * sigma - alpha * kept
    a, b = (sigma * w - kept * u) / det, (alpha_n * u - alpha * w) / det
    alpha_q, sigma_q = _at(rule.path, q, u)
    if plan.prediction == "noise":  # b is held
        known = alpha_q > 0
        a = xp.where(known, (u - sigma_q * b) / xp.where(known, alpha_q, 1.0 + alpha_q), a)
    else:
        b = (u - alpha_q * a) / sigma_q
    alpha_l, sigma_l = _at(rule.path, land, u)
    if c == 0:
        return alpha_l * a + sigma_l * b
    eta = c / (sigma_n * math.sqrt(1 - (alpha * sigma_n / (sigma * alpha_n)) ** 2))
    ratio = (alpha_q * sigma_l) / (sigma_q * alpha_l)  # rho_land / rho_q
    noise = eta * sigma_l * xp.sqrt(xp.clip(1 - ratio**2, min=0.0))
    left = xp.sqrt(sigma_l**2 - noise**2)
    return alpha_l * a + left * b + noise * draw(u.shape, u)


def _estimated(rule: Rule, u: Array, m: Array, q: Array, before: float | None) -> float | None:
    """The data's variance from that of x0hat, the batch's mean; as before at alpha = 0.

    For Gaussian data of variance s^2 that of x0hat is s^4 alpha^2 / (alpha^2 s^2 + sigma^2).
    """
    alpha, sigma = float(rule.path.alpha(q[0])), float(rule.path.sigma(q[0]))
    if not rule.automatic or alpha == 0:
        return before
    if rule.plan.prediction == "noise":
        alpha_q, sigma_q = _at(rule.path, q, u)
        m = (u - sigma_q * m) / alpha_q
    v, rho = float(namespace(u).mean(pixel_variance(m))), sigma / alpha
    return 0.5 * (v + math.sqrt(v * v + 4 * v * rho * rho))
