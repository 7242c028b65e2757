"""Explicit Runge-Kutta methods on the probability-flow ODE, in the path's own time or in rho.

dx/dt = v(x, t) in the path's time: Euler on the rectified flow is flow matching's sampler, Heun on
the EDM path (alpha = 1, sigma = t) Karras et al.'s. dy/drho = epshat with y = x / alpha, rho =
sigma / alpha on any path: DEIS's rho-RK, of which Euler is DDIM and Heun again EDM's. On the VP
paths the two differ: the ODE is the same, its time is not. Sheets `plan-algebra` and `deis`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from ..errors import one_of
from ..paths import Path
from ..plan import Form, GridLike, Plan, Point, Trace, Variant, grids, sampler


@dataclass(frozen=True)
class Butcher:
    """An explicit Runge-Kutta method: k_i = v(x + dt sum_j a_ij k_j), x' = x + dt sum_i b_i k_i."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int

    @property
    def c(self) -> tuple[float, ...]:
        """The stages' times, c_i = sum_j a_ij."""
        return tuple(sum(row, 0.0) for row in self.a)

    @property
    def denoises(self) -> bool:
        """Whether a step to sigma = 0 is Euler's: the method has a stage there, or is Euler."""
        return 1.0 in self.c or len(self.b) == 1


EULER = Butcher(((),), (1.0,), 1)
METHODS = {
    "euler": EULER,
    "midpoint": Butcher(((), (0.5,)), (0.0, 1.0), 2),
    "heun": Butcher(((), (1.0,)), (0.5, 0.5), 2),
    "kutta3": Butcher(((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6), 3),
    "ralston3": Butcher(((), (0.5,), (0.0, 0.75)), (2 / 9, 1 / 3, 4 / 9), 3),
    "heun3": Butcher(((), (1 / 3,), (0.0, 2 / 3)), (0.25, 0.0, 0.75), 3),
    "houwen3": Butcher(((), (8 / 15,), (0.25, 5 / 12)), (0.25, 0.0, 0.75), 3),
    "ssprk3": Butcher(((), (1.0,), (0.25, 0.25)), (1 / 6, 1 / 6, 2 / 3), 3),
    "rk4": Butcher(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4),
}


@sampler(
    *(
        Variant(
            f"Runge-Kutta ({name})",
            {"method": name},
            order=m.order,
            per_step=len(m.b),
            own_time=True,
            denoises=m.denoises,
        )
        for name, m in METHODS.items()
    ),
    *(
        Variant(
            f"rho-RK ({name})",
            {"method": name, "time": "rho"},
            order=METHODS[name].order,
            per_step=len(METHODS[name].b),
        )
        for name in ("heun", "kutta3", "rk4")
    ),
)
def runge_kutta(path: Path, grid: GridLike, *, method: str = "rk4", time: str = "path") -> Plan:
    """An explicit Runge-Kutta method in the path's own time ("path") or in rho = sigma/alpha
    ("rho").

    method: "euler", "midpoint", "heun", "kutta3", "ralston3", "heun3", "houwen3", "ssprk3" or
    "rk4". A step to sigma = 0, where neither slope has a value, is Euler's if the method has a
    stage there. Source: sheets `plan-algebra` and `deis` ("rhoRK").

    >>> import fewtheory as ft
    >>> path = ft.paths.EDM()
    >>> runge_kutta(path, ft.plan.grids.karras(path, steps=4), method="heun").nfe
    8
    """
    one_of("runge_kutta", "method", method, METHODS)
    one_of("runge_kutta", "time", time, ("path", "rho"))
    prediction = "noise" if time == "rho" else "data"
    trace = Trace(runge_kutta, path, grid, {"method": method, "time": time}, prediction)
    return _trace(trace, METHODS[method], time)


@sampler(Variant("Euler", order=1, own_time=True))
def euler(path: Path, grid: GridLike) -> Plan:
    """x_t = x_s + (t - s) v(x_s, s) in the path's own time."""
    return _trace(Trace(euler, path, grid), EULER)


@sampler(Variant("Heun", order=2, per_step=2, own_time=True))
def heun(path: Path, grid: GridLike) -> Plan:
    """x_t = x_s + (t - s) (v_s + v(x_s + (t - s) v_s, t)) / 2; on EDM, Karras et al.'s sampler."""
    return _trace(Trace(heun, path, grid), METHODS["heun"])


def _trace(trace: Trace, method: Butcher, time: str = "path") -> Plan:
    x = trace.start
    for s, t in trace.steps():
        x = step(trace, method, x, s, t, time)
    return trace.plan(x)


def step(
    trace: Trace,
    method: Butcher,
    x: Form,
    s: Point,
    t: Point,
    time: str = "path",
    first: Form | None = None,
) -> Form:
    """One step from s to t. first: the slope at s, where it is known already (time = "rho")."""
    rule = EULER if t.sigma == 0 and method.denoises else method
    in_rho = time == "rho"
    evaluate = trace.evaluate if in_rho else trace.velocity
    start, stop = (math.exp(-p.lam) if in_rho else p.t for p in (s, t))
    base, slopes = x, [] if first is None else [first]
    moved = functools.partial(_moved, s, stop - start, in_rho)
    for c, row in list(zip(rule.c, rule.a, strict=True))[len(slopes) :]:
        level = {0.0: s, 1.0: t}.get(c) or _between(trace.path, start + c * (stop - start), in_rho)
        node, k = evaluate(moved(base, slopes, level, row), level)
        base = base if slopes else node
        slopes.append(k)
    return moved(base, slopes, t, rule.b)


def _moved(
    s: Point,
    h: float,
    in_rho: bool,
    base: Form,
    slopes: list[Form],
    level: Point,
    weights: tuple[float, ...],
) -> Form:
    """The state at a level: in rho it is alpha y, and y is what the slopes move."""
    scale = level.alpha if in_rho else 1.0
    out = (level.alpha / s.alpha) * base if in_rho else base
    for a, k in zip(weights, slopes, strict=True):
        out = out + scale * h * a * k if a else out
    return out


def _between(path: Path, time: float, in_rho: bool) -> Point:
    if in_rho:
        return grids.point(path, -math.log(time))
    return Point(time, path.alpha(time), path.sigma(time), path.lam(time))
