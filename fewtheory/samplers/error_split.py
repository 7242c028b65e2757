"""The two errors of few-step sampling, told apart: the network's, and that of finite steps.

A network e in place of epshat is wrong even with infinitely many steps (the approximation error); a
solver with few steps is wrong even on epshat (the discretisation error); a sampler in use has both,
and they do not add up. On a testbed with an exact flow each of the three outputs is known
(`error_split`). On Gaussian data N(m, s^2) all of it is trigonometry: with theta = arctan(rho / s)
and z = (x - alpha m) / (its standard deviation), epshat = sin(theta) z, the exact flow keeps z, and
an error dy/drho = epshat + delta of y = x / alpha is dz/dtheta = delta / cos(theta) on every path.
Source: sheet `dualfast` ("Dual-error disentanglement", C4 to C6).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..arrays import Array, namespace
from ..errors import fail, finite_array, integer, number
from ..model import Model, over_event
from ..paths import Path
from ..plan import Plan, grids
from .runge_kutta import runge_kutta

Scale = float | int | Callable[[Any], Any]  # kappa, or kappa(lam)
POINTS = 40  # of Gauss-Legendre, see _quadrature


@runtime_checkable
class ExactFlow(Protocol):
    """A testbed whose model and whose flow map are exact."""

    def model(self, path: Path, prediction: str = ...) -> Model: ...

    def flow(self, path: Path) -> Callable[[Array, Any, Any], Array]: ...


@dataclass(frozen=True, eq=False)
class ErrorSplit:
    """Outputs from one start: of the exact flow, and with one error, the other, and both.

    Arrays (n, *event), or ratios to the exact standard deviation; `ode_error` is the largest error
    of the fine solution behind `approximation`, estimated.
    """

    exact: Any
    approximation: Any
    discretisation: Any
    both: Any
    ode_error: float = 0.0

    @property
    def interaction(self) -> Any:
        """What of the total error is not the sum of the two."""
        return (
            (self.both - self.exact)
            - (self.approximation - self.exact)
            - (self.discretisation - self.exact)
        )

    def rms(self) -> dict[str, float]:
        """The root mean square of each error and of the interaction, in the units of the state."""
        names = ("approximation", "discretisation", "both")
        errors = {name: getattr(self, name) - self.exact for name in names}
        errors["interaction"] = self.interaction
        xp = namespace(self.exact)
        return {name: float(xp.mean(e * e)) ** 0.5 for name, e in errors.items()}


def error_split(
    plan: Plan, model: Model, testbed: ExactFlow, x: Array, *, fine: int = 64, **cond: Any
) -> ErrorSplit:
    """What of a plan's error comes from the network and what from its steps.

    x: (n, *event), at the plan's first level of the model's path. Approximation only: the ODE of
    the model by `fine` Runge-Kutta steps in rho, equal in lam, with half as many beside them for
    the error estimate; discretisation only: the plan on the testbed's own model. cond goes to the
    model. Raises ValueError for a stochastic plan and for one that ends at sigma = 0.

    >>> import fewtheory as ft
    >>> path, bed = ft.paths.VPLinear(), ft.testbeds.Gaussian([0.0], 0.25)
    >>> plan = ft.samplers.ddim(path, ft.plan.grids.at_lams(path, np.linspace(-3, 3, 11)))
    >>> split = error_split(plan, noise_scaled(bed.model(path), 0.05), bed, np.ones((1, 1)))
    >>> {k: round(v / float(split.exact[0, 0]), 4) for k, v in split.rms().items()}
    {'approximation': 0.1684, 'discretisation': 0.138, 'both': 0.3336, 'interaction': 0.0272}
    """
    where = "error_split"
    if not isinstance(plan, Plan) or plan.stochastic:
        raise fail(where, "plan", "a deterministic Plan", plan)
    if not isinstance(model, Model):
        raise TypeError(f"{where}: model must be a fewtheory Model, got {type(model).__name__}")
    if not isinstance(testbed, ExactFlow):
        raise TypeError(f"{where}: testbed must have an exact model and flow, got {testbed!r}")
    if not math.isfinite(plan.lam[0]) or not math.isfinite(plan.lam[-1]):
        raise fail(where, "plan", "one between finite levels lam", plan.lam)
    integer(where, "fine", fine, 2)
    path, (first, last) = model.path, (float(v) for v in plan.lam[[0, -1]])
    runs = []
    for steps in (fine // 2, fine // 2 * 2):
        grid = grids.at_lams(path, np.linspace(first, last, steps + 1))
        runs.append(runge_kutta(path, grid, method="rk4", time="rho").run(model, x, **cond))
    gap = abs(runs[1] - runs[0]) / 15  # of order 4: the first run's error is 16 times as large
    return ErrorSplit(
        exact=testbed.flow(path)(x, path.t_at(first), path.t_at(last)),
        approximation=runs[1],
        discretisation=plan.run(testbed.model(path, model.prediction), x),
        both=plan.run(model, x, **cond),
        ode_error=float(namespace(x).max(gap)),
    )


def noise_scaled(model: Model, kappa: Scale) -> Model:
    """The model with noise (1 + kappa) epshat: one whose approximation error is known.

    kappa: a number, or a function of lam; "epsilon scaling" divides a network's noise by 1 + kappa.
    Source: sheet `dualfast`, "Dual-error disentanglement".
    """
    factor = _as_function("noise_scaled", kappa)
    noise = model.predicting("noise")

    def scaled(x: Array, t: Array, **cond: Any) -> Array:
        return over_event(1 + factor(model.path.lam(t)), x) * noise.function(x, t, **cond)

    return Model(scaled, model.path, "noise", model.cond)


def angle(lam: float | int, s: float | int) -> float:
    """theta = arctan(rho / s), rho = e^{-lam}: pi/2 at the noisy end, 0 at the clean one.

    >>> round(angle(0.0, 1.0) / math.pi, 12)
    0.25
    """
    return math.atan2(math.exp(-lam), s)


def step_factor(theta: float, theta_next: float, kappa: float | int = 0.0) -> float:
    """z'/z of a first-order step with noise (1 + kappa) epshat: cos D - kappa tan(theta) sin D.

    D = theta - theta_next, angles of N(m, s^2) (`angle`), on every path. Source: sheet `dualfast`.
    """
    D = theta - theta_next
    return math.cos(D) - kappa * math.tan(theta) * math.sin(D)


def cancelling_kappa(theta: float, theta_next: float) -> float:
    """kappa = -tan(D/2) / tan(theta), at which `step_factor` is 1: under-predicted noise undoes the
    step's own shrinking. It is what epsilon scaling tunes."""
    return -math.tan((theta - theta_next) / 2) / math.tan(theta)


def ode_factor(lam_start: float, lam_end: float, s: float | int, kappa: Scale) -> float:
    """z_out/z_in of the ODE of (1 + kappa) epshat: exp(-int_{theta_end}^{theta_start} kappa tan).

    For a number kappa it is (cos theta_start / cos theta_end)^kappa; for a function of lam the
    integral is taken in lam, dtheta = -sin cos dlam. Raises ValueError unless lam_start < lam_end
    and s > 0. Source: sheet `dualfast`, C5.

    >>> round(ode_factor(-2.0, 2.5, 0.5, 0.05), 12)
    0.874496754447
    """
    a, b = _interval("ode_factor", lam_start, lam_end, s)
    if not callable(kappa):
        k = number("ode_factor", "kappa", kappa, -math.inf)
        return float(_cos(a, s) / _cos(b, s)) ** k
    lam, weights = _quadrature(a, b)
    sine = np.exp(-lam) * _cos(lam, s) / s
    return math.exp(-float(weights @ (kappa(lam) * sine**2)))


def gaussian_error_split(
    lam: Sequence[float] | np.ndarray, s: float | int, kappa: Scale
) -> ErrorSplit:
    """The `ErrorSplit` of a first-order sampler on N(m, s^2) with noise (1 + kappa) epshat.

    lam: increasing levels (N + 1,); the four numbers are standard deviations over the exact one.

    >>> split = gaussian_error_split([-2.0, -1.0, 0.25, 1.0, 2.5], 0.5, 0.05)
    >>> round(split.both, 12), round(split.approximation, 12)
    (0.592080043737, 0.874496754447)
    """
    where = "gaussian_error_split"
    levels = finite_array(where, "lam", lam)
    if levels.ndim != 1 or levels.size < 2 or np.any(np.diff(levels) <= 0):
        raise fail(where, "lam", "one-dimensional and strictly increasing", lam)
    _interval(where, float(levels[0]), float(levels[-1]), s)
    factor = _as_function(where, kappa)
    points = levels.tolist()
    steps = [(angle(a, s), angle(b, s), factor(a)) for a, b in itertools.pairwise(points)]
    return ErrorSplit(
        exact=1.0,
        approximation=ode_factor(points[0], points[-1], s, kappa),
        discretisation=math.prod(step_factor(a, b) for a, b, _ in steps),
        both=math.prod(step_factor(a, b, float(k)) for a, b, k in steps),
    )


def exact_mix(lam_tau: float, lam: float, lam_next: float, s: float | int) -> float:
    """c* at which DualFast's first-order step from lam to lam_next is exact on N(m, s^2).

    c* = (sin theta - D) / (sin theta_tau - sin theta), D = sin((theta + theta')/2) / cos((theta -
    theta')/2), for values from the exact trajectory; (lam' - lam) / (2 (lam - lam_tau)) as steps
    shrink. Raises ValueError unless lam_tau < lam < lam_next and s > 0.
    Source: sheet `dualfast`, C4.

    >>> round(exact_mix(-1.2, -0.3, 0.8, 0.5), 12)
    1.677374872434
    """
    _interval("exact_mix", lam_tau, lam, s)
    _interval("exact_mix", lam, lam_next, s)
    theta_tau, theta, theta_next = (angle(v, s) for v in (lam_tau, lam, lam_next))
    half, back = (theta - theta_next) / 2, (theta_tau - theta) / 2
    # sin theta - D = cos theta tan(half): both differences without their cancellation
    return math.cos(theta) * math.tan(half) / (2 * math.cos(theta + back) * math.sin(back))


def first_source_factor(lam_start: float, lam_end: float, s: float | int, c: float | int) -> float:
    """z_out/z_in to which DualFast with tau = "first" and a fixed c converges on N(m, s^2).

    dz/dtheta = c (sin(theta) z - sin(theta_0) z_0) / cos(theta), hence r = (cos_0 / cos_1)^c + c
    sin_0 cos_1^{-c} int_{theta_1}^{theta_0} cos^{c-1} dtheta, theta_0 the noisy end: not 1.
    Raises ValueError unless lam_start < lam_end, s > 0 and c >= 0. Source: sheet `dualfast`, C3.

    >>> first_source_factor(-3.0, 4.0, 0.5, 0.0), round(first_source_factor(-3.0, 4.0, 0.5, 0.1), 4)
    (1.0, 1.064)
    """
    a, b = _interval("first_source_factor", lam_start, lam_end, s)
    share = number("first_source_factor", "c", c, 0.0)
    lam, weights = _quadrature(a, b)
    sine = np.exp(-lam) * _cos(lam, s) / s
    integral = float(weights @ (_cos(lam, s) ** share * sine))  # dtheta = -sin cos dlam
    cos_0, cos_1 = (float(_cos(v, s)) for v in (a, b))
    return (cos_0 / cos_1) ** share + share * math.sin(angle(a, s)) * cos_1**-share * integral


def mixed_variance(
    c: float | int, v: float | int, v_tau: float | int, correlation: float | int = 0.0
) -> float:
    """Variance of the error of (1 + c) e - c e_tau, from those of the errors of e and e_tau.

    (1 + c)^2 v + c^2 v_tau - 2 c (1 + c) correlation sqrt(v v_tau): at correlation 0 it is v or
    more for every c >= 0; at 1 with v_tau = q^2 v it is (1 + c (1 - q))^2 v, below v only where
    1 < q < 1 + 2/c. Raises ValueError for a negative variance and a correlation beyond 1.
    Source: sheet `dualfast`, C6.

    >>> round(mixed_variance(0.5, 0.01, 0.0036), 12)
    0.0234
    """
    where = "mixed_variance"
    share, now = number(where, "c", c, -math.inf), number(where, "v", v, 0.0)
    before = number(where, "v_tau", v_tau, 0.0)
    r = number(where, "correlation", correlation, -1.0, 1.0)
    cross = 2 * share * (1 + share) * r * math.sqrt(now * before)
    return (1 + share) ** 2 * now + share**2 * before - cross


def _cos(lam: Any, s: float | int) -> Any:
    """cos theta = s / sqrt(s^2 + rho^2): from the angle itself it would lose digits near pi/2."""
    return s / np.hypot(s, np.exp(-lam))


def _quadrature(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [a, b], in panels of length 6 at most.

    sin^2 theta has its poles pi/2 off the real axis of lam: 40 points a panel leave 1e-17.
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    edges = np.linspace(a, b, math.ceil((b - a) / 6) + 1)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    return np.add.outer(middle, half[0] * nodes).ravel(), np.tile(half[0] * weights, half.size)


def _interval(where: str, low: float, high: float, s: float | int) -> tuple[float, float]:
    a, b = (number(where, "lam", v, -math.inf) for v in (low, high))
    if not a < b:
        raise fail(where, "lam", "increasing", (low, high))
    if not number(where, "s", s, 0.0) > 0:
        raise fail(where, "s", "positive", s)
    return a, b


def _as_function(where: str, kappa: Scale) -> Callable[[Any], Any]:
    if callable(kappa):
        return kappa
    value = number(where, "kappa", kappa, -math.inf)
    return lambda lam: value
