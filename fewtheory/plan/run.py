"""Running a plan: the loop that every sampler of the package shares.

Before the first model call the plan is compiled for the model's path and prediction into a list of
(time, terms); the loop then only calls the model and adds. A state in half precision is updated in
float32. Nothing is ever written into the caller's array.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..arrays import (
    Array,
    Rng,
    as_like,
    check_rng,
    is_torch,
    linear_combination,
    namespace,
    scalar_combination,
    standard_normal,
)
from ..errors import fail, state
from ..model import Level, Model, conversion
from ..paths import Path
from .hooks import Draw
from .plan import Plan, entries, with_event
from .retime import retimed


class Row(NamedTuple):
    """One node: whether and when to call the model, then how to make the next state."""

    t: float | None  # None: the node is not evaluated
    to_data: tuple[float, float]  # (p, q) of x_0 = p u + q m, for hooks
    operands: Callable[[list[Any]], tuple[Any, ...]]  # picks those of the next state from the slots
    coefficients: tuple[Any, ...]  # floats, or arrays over the event
    elementwise: bool  # some coefficient is an array
    constant: Any  # None, or d
    noises: tuple[int, ...]  # noise slots to draw first
    dead: tuple[int, ...]  # slots not used again


def compile_rows(plan: Plan, path: Path, prediction: str) -> list[Row]:
    """The plan as a program for a model of this path and prediction.

    Slots: states at 0..n, model outputs at n+1.., noises at 2n+1...
    """
    moved = plan.on(path)
    path.check_t("Plan.run", moved.t[:-1], "the plan's levels as t")
    n, evaluated = plan.nodes - 1, plan.evaluated
    level = Level(moved.alpha[:-1], moved.sigma[:-1])
    if prediction == "velocity":
        level = Level.at(path, moved.t[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = (np.broadcast_to(c, (n,)) for c in conversion(prediction, "data", level))
    blind = plan.evaluated & ~(np.isfinite(p) & np.isfinite(q))
    if np.any(blind):  # x_0 = (u - sigma eps) / alpha at alpha = 0
        allowed = f"'data', 'velocity', 'v' or 'flow' at alpha = {moved.alpha[:-1][blind][0]:g}"
        raise fail("Plan.run", "the model's prediction", allowed, prediction)
    P, B = moved.P, moved.B
    if not any(h.on == "data" for h in plan.hooks):
        extra = max(P.ndim, B.ndim) - 2
        B = with_event(B, 2, extra)
        shift = B * with_event(p, 1, extra)
        P = with_event(P, 2, extra) + np.pad(shift, [(0, 0), (0, 1)] + [(0, 0)] * extra)
        B = B * with_event(q, 1, extra)
    terms = [
        [(j, P[i, j]) for j in from_P]
        + [(n + 1 + j, B[i, j]) for j in from_B]
        + [(2 * n + 1 + k, moved.C[i, k]) for k in from_C]
        for i, (from_P, from_B, from_C) in enumerate(
            zip(entries(P), entries(B), entries(moved.C), strict=True)
        )
    ]
    first_use: dict[int, int] = {}
    last_use: dict[int, int] = {}
    for i, row in enumerate(terms):
        for slot, _ in row:
            first_use.setdefault(slot, i)
            last_use[slot] = i
    dead: list[list[int]] = [[] for _ in range(n + 1)]
    for slot, i in last_use.items():
        dead[i].append(slot)
    rows = []
    for i in range(n):
        used = terms[i + 1]
        rows.append(
            Row(
                t=float(moved.t[i]) if evaluated[i] else None,
                to_data=(float(p[i]), float(q[i])),
                operands=_picker([s for s, _ in used]),
                coefficients=tuple(float(c) if np.ndim(c) == 0 else c for _, c in used),
                elementwise=any(np.ndim(c) > 0 for _, c in used),
                constant=moved.d[i + 1] if np.any(moved.d[i + 1]) else None,
                noises=tuple(s for s, _ in used if s > 2 * n and first_use[s] == i + 1),
                dead=tuple(dead[i + 1]),
            )
        )
    return rows


def _picker(slots: list[int]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """A function that takes these entries of a list, as a tuple."""
    if len(slots) > 1:
        return itemgetter(*slots)
    return lambda values: tuple(values[k] for k in slots)


def _program(plan: Plan, path: Path, prediction: str) -> list[Row]:
    key = (path, prediction)
    if key not in plan._programs:
        plan._programs[key] = compile_rows(plan, path, prediction)
    return plan._programs[key]


def stepping(
    plan: Plan,
    path: Path,
    prediction: str,
    x: Array,
    draw: Draw,
    callback: Callable[[int, Array], None] | None = None,
) -> Generator[tuple[Any, Array], tuple[Array, Array], Array]:
    """The run as a coroutine: it yields (t, u) where the model is to be called, and returns u_n.

    Send it (m, u): the model's output there, and the state from which to go on, the yielded one
    unless the caller changed it. `draw(shape, like)` returns N(0, I) of this shape. t is a number,
    or (n,) where the plan has a time shift. Whoever drives it owns the model call: `run` here, a
    diffusers pipeline through `adapters.diffusers.scheduler`.
    """
    if any(h.on == "time" for h in plan.hooks):
        return (yield from retimed(plan, path, prediction, x, draw, callback))
    xp, rows, n = namespace(x), _program(plan, path, prediction), plan.nodes - 1
    half = xp.finfo(x.dtype).bits < 32
    slots: list[Any] = [None] * (2 * n + 1 + plan.C.shape[1])
    u = slots[0] = xp.astype(x, xp.float32) if half else x
    shape, records = x.shape, is_torch(x)
    hooks = [h for h in plan.hooks if h.on == "data"]
    moves = {k: h for h in plan.hooks if h.on == "state" for k in h.settings.get("nodes", ())}
    in_place = not (records and x.requires_grad)
    for i, (t, to_data, operands, coefficients, elementwise, d, noises, dead) in enumerate(rows):
        if i in moves:
            u = slots[i] = moves[i](u, draw)
        if callback is not None:
            callback(i, u)
        if t is not None:
            shown = xp.astype(u, x.dtype) if half else u
            m, given = yield t, shown
            if m.shape != shape:
                raise ValueError(f"Plan.run: the model must return shape {shape}, got {m.shape}")
            if given is not shown:
                u = slots[i] = xp.astype(given, u.dtype)
            if half:
                m = xp.astype(m, xp.float32)
            if hooks:
                m = linear_combination(to_data, (u, m))
                for hook in hooks:
                    m = hook(m)
            if records and m.requires_grad:
                in_place = False
            slots[n + 1 + i] = m
        for k in noises:
            slots[k] = draw(shape, u)
        used = operands(slots)
        if elementwise:
            c = [c if type(c) is float else as_like(c, u) for c in coefficients]
            u = linear_combination(c, used)
        elif used:
            u = scalar_combination(coefficients, used, in_place)
        else:  # a constant row
            u = xp.zeros_like(u)
        if d is not None:
            u = u + as_like(d, u)
        slots[i + 1] = u
        for k in dead:
            slots[k] = None
    if callback is not None:
        callback(n, u)
    return xp.astype(u, x.dtype) if half else u


def run(
    plan: Plan,
    model: Model,
    x: Array,
    rng: Rng = None,
    *,
    callback: Callable[[int, Array], None] | None = None,
    **cond: Any,
) -> Array:
    """See `Plan.run`."""
    xp = state("Plan.run", "x", x)
    if not isinstance(model, Model):
        raise TypeError(f"Plan.run: model must be a fewtheory Model, got {type(model).__name__}")
    if not bool(xp.all(xp.isfinite(x))):
        raise fail("Plan.run", "x", "finite", x)
    if plan.stochastic:
        if rng is None:
            raise ValueError(f"Plan.run: rng must be given: {plan.name!r} draws noise, got None")
        check_rng("Plan.run", rng)
    function, given = model.function, {**model.cond, **cond}
    walk = stepping(
        plan,
        model.path,
        model.prediction,
        x,
        lambda shape, like: standard_normal(rng, shape, like),
        callback,
    )
    try:
        t, u = next(walk)
        while True:
            t, u = walk.send((function(u, t, **given), u))
    except StopIteration as done:
        return done.value
