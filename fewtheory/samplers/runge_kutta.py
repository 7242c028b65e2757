"""Euler, Heun and any explicit Runge-Kutta method on the probability-flow ODE dx/dt = v(x, t).

The time is the path's own. On the EDM path (alpha = 1, sigma = t) Heun is Karras et al.'s sampler
and any method here is what DEIS calls rho-RK; on the rectified flow Euler is flow matching's
sampler. On the VP paths Euler is not DDIM: the ODE is the same, its time is not.
Sheets `plan-algebra` and `deis`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import one_of
from ..paths import Path
from ..plan import GridLike, Plan, Point, Trace, Variant, sampler


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


EULER = Butcher(((),), (1.0,), 1)
METHODS = {
    "euler": EULER,
    "midpoint": Butcher(((), (0.5,)), (0.0, 1.0), 2),
    "heun": Butcher(((), (1.0,)), (0.5, 0.5), 2),
    "kutta3": Butcher(((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6), 3),
    "rk4": Butcher(((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4),
}


@sampler(
    *(
        Variant(f"Runge-Kutta ({name})", {"method": name}, order=m.order, per_step=len(m.b))
        for name, m in METHODS.items()
    )
)
def runge_kutta(path: Path, grid: GridLike, *, method: str = "rk4") -> Plan:
    """An explicit Runge-Kutta method in the path's own time.

    method: "euler", "midpoint", "heun", "kutta3" or "rk4". A step to sigma = 0, where the velocity
    has no value, is Euler's if the method has a stage there.

    >>> import fewtheory as ft
    >>> path = ft.paths.EDM()
    >>> runge_kutta(path, ft.plan.grids.karras(path, steps=4), method="heun").nfe
    8
    """
    one_of("runge_kutta", "method", method, METHODS)
    return _trace(Trace(runge_kutta, path, grid, {"method": method}), METHODS[method])


@sampler(Variant("Euler", order=1))
def euler(path: Path, grid: GridLike) -> Plan:
    """x_t = x_s + (t - s) v(x_s, s) in the path's own time."""
    return _trace(Trace(euler, path, grid), EULER)


@sampler(Variant("Heun", order=2, per_step=2))
def heun(path: Path, grid: GridLike) -> Plan:
    """x_t = x_s + (t - s) (v_s + v(x_s + (t - s) v_s, t)) / 2; on EDM, Karras et al.'s sampler."""
    return _trace(Trace(heun, path, grid), METHODS["heun"])


def _trace(trace: Trace, method: Butcher) -> Plan:
    path, x = trace.path, trace.start
    for s, t in trace.steps():
        rule = EULER if t.sigma == 0 and 1.0 in method.c else method
        dt, slopes, base = t.t - s.t, [], x
        for c, row in zip(rule.c, rule.a, strict=True):
            stage = sum((dt * a * k for a, k in zip(row, slopes, strict=True) if a), start=base)
            level = {0.0: s, 1.0: t}.get(c) or _between(path, s.t + c * dt)
            node, k = trace.velocity(stage, level)
            base = base if slopes else node
            slopes.append(k)
        x = sum((dt * b * k for b, k in zip(rule.b, slopes, strict=True) if b), start=base)
    return trace.plan(x)


def _between(path: Path, t: float) -> Point:
    return Point(t, path.alpha(t), path.sigma(t), path.lam(t))
