"""Two numbers a step in front of any sampler: the state times c_x, the model's output times c_e.

Q-Sched: Frumkin and Marculescu (2025), arXiv 2509.01624; sheet `q-sched`. A quantised model's
output is a gain times the true one plus noise (`fewtheory.compress.bussgang`), and a first-order
sampler shrinks the data in its own right (`fewtheory.plan.angles`): a scheduler that is shown
c_x x and c_e m in place of x and m can undo gain and shrinkage, without a weight being touched. In
a plan this is a scaling of columns. So a preconditioned sampler is a plan again, has its exact law,
and runs in a diffusers pipeline through `adapters.diffusers.scheduler` like every other: there is
no wrapper around a scheduler, and the step index is the row of the plan, not a counter.

Epsilon scaling, as other papers have it, is c_x = 1 and c_e = 1 / scale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number, one_of
from ..paths import Path
from ..plan import GridLike, Plan, grids
from ..plan.plan import with_event
from ..shapes import Float

PREDICTIONS = ("noise", "flow", "data", "v")  # what networks predict


def faded(c: float | int, steps: int) -> Float[np.ndarray, "steps"]:
    """linspace(c, 1, K): a correction that fades out, the last step untouched; K = 1: c itself.

    >>> faded(1.3, 4)
    array([1.3, 1.2, 1.1, 1. ])
    """
    integer("faded", "steps", steps, 1)
    return np.linspace(number("faded", "c", c, float("-inf")), 1.0, steps)


def precondition(plan: Plan, c_x: Any, c_e: Any, prediction: str = "noise") -> Plan:
    """Before any formula of the sampler the state is c_x[i] x and the model's output c_e[i] m.

    c_x, c_e: one number for each of the K evaluations, or a pair (start, end) for linspace(start,
    end, K), or one number for all. prediction: the model's own: a c_e of a noise, of a velocity or
    flow ("flow", FLUX), of clean data and of v are four different things. The model sees x itself.
    With outputs in that prediction, u_i = sum_j P_ij c_x[j] u_j + B_ij c_e[j] m_j.

    The constants d and noises are untouched; later rows that look back see what the scheduler
    stored, scaled once. Raises ValueError for other shapes, for a plan that is not linear (a hook
    would act on an x_0 in which c_x and c_e are not), and for the noise prediction at alpha = 0.
    Source: arXiv 2509.01624; sheet `q-sched`, "Preconditioned step".

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> plan = ft.samplers.ddim(path, ft.plan.grids.log_snr(path, steps=4))
    >>> precondition(plan, (1.012, 0.967), (0.955, 1.099))
    <Plan ddim, preconditioned: 4 evaluations, deterministic, noise prediction>
    """
    where = "precondition"
    if not isinstance(plan, Plan):
        raise TypeError(f"{where}: plan must be a fewtheory Plan, got {type(plan).__name__}")
    if not plan.linear:
        raise fail(where, "plan", "linear (without hooks)", plan)
    one_of(where, "prediction", prediction, PREDICTIONS)
    blind = plan.evaluated & (plan.alpha[:-1] == 0)
    if prediction == "noise" and plan.prediction != "noise" and np.any(blind):
        raise fail(where, "prediction", "'data', 'flow' or 'v' where alpha = 0", prediction)
    scales = {
        "c_x": _coefficients("c_x", c_x, plan.nfe),
        "c_e": _coefficients("c_e", c_e, plan.nfe),
    }
    own = plan.predicting(prediction)
    of_state, of_output = np.ones(plan.nodes), np.ones(plan.nodes - 1)
    of_state[:-1][plan.evaluated] = scales["c_x"]
    of_output[plan.evaluated] = scales["c_e"]
    return replace(
        own,
        P=own.P * with_event(of_state[None, :], 2, own.P.ndim - 2),
        B=own.B * with_event(of_output[None, :], 2, own.B.ndim - 2),
        name=f"{plan.name}, preconditioned",
        settings={**plan.settings, **{k: v.tolist() for k, v in scales.items()}},
        family=None,  # a correction that does not vanish with the step has no order
    )


def _coefficients(name: str, value: Any, steps: int) -> np.ndarray:
    """One number for each evaluation: an array as it is, a pair's linspace, a number repeated."""
    c = finite_array("precondition", name, value)
    if c.shape == (2,):
        return np.linspace(c[0], c[1], steps)
    if c.shape not in ((), (steps,)):
        allowed = f"a number, a pair (start, end) or of shape ({steps},)"
        raise fail("precondition", name, allowed, value)
    return np.broadcast_to(c, (steps,))


def step_factors(
    path: Path, grid: GridLike, std: float | int, c_x: Any, c_e: Any, gain: float | int = 1.0
) -> Float[np.ndarray, "steps"]:
    """What each preconditioned first-order step multiplies z = x / S with, on N(0, std^2).

    [(alpha'/alpha) c_x + (sigma' - sigma alpha'/alpha) c_e g sigma / S^2] S / S', S^2 = alpha^2
    std^2 + sigma^2, for a noise prediction g epshat and c_e of noises. With c_x = c_e = g = 1 it is
    cos(theta - theta'). The product is the output's standard deviation over the exact one.

    >>> from fewtheory.paths import RectifiedFlow
    >>> step_factors(RectifiedFlow(), [0.75, 0.5, 0.0], 0.6, (1.1, 1), (1.06, 1)).round(4)
    array([1.1032, 0.5145])
    """
    where = "step_factors"
    s = number(where, "std", std, 1e-300)
    made = grids.of(path, grid)
    k = made.steps
    c_x, c_e = _coefficients("c_x", c_x, k), _coefficients("c_e", c_e, k)
    g = number(where, "gain", gain, float("-inf"))
    kept, removed = _halves(path, made, s)
    return kept * c_x - removed * (g * c_e)


def _halves(path: Path, grid: grids.Grid, std: float) -> tuple[np.ndarray, np.ndarray]:
    """The two terms of a step's factor: of the state, and, negated, of the noise prediction."""
    alpha, sigma = np.array([path.level(v) for v in grid.lam.tolist()]).T
    S = np.hypot(alpha * std, sigma)
    ratio = alpha[1:] / alpha[:-1]
    weight = sigma[1:] - sigma[:-1] * ratio  # negative: a step removes noise
    return ratio * S[:-1] / S[1:], -weight * sigma[:-1] / (S[:-1] * S[1:])


def exact_c_e(
    path: Path, grid: GridLike, std: float | int, c_x: float | int = 1.0, gain: float | int = 1.0
) -> float:
    """The c_e at which DDIM, preconditioned with faded(c_x) and faded(c_e), samples N(0, std^2).

    The root of prod step_factors = 1. Each factor falls in c_e, so it is unique where all factors
    are positive: for each c_x one c_e, and no score that knows the law alone can tell the pairs of
    this curve apart. Raises ValueError for a gain that is not positive, and where the last step
    alone, which no correction reaches, annihilates the data.

    >>> from fewtheory.paths import EDM
    >>> round(exact_c_e(EDM(1e-9, 80.0), [8.0, 2.0, 0.6, 0.2, 0.002], 0.6), 3)
    0.92
    """
    where = "exact_c_e"
    s, g = number(where, "std", std, 1e-300), number(where, "gain", gain, 1e-300)
    start = number(where, "c_x", c_x, float("-inf"))
    made = grids.of(path, grid)
    kept, removed = _halves(path, made, s)
    ends = faded(0.0, made.steps)  # faded(c) = c (1 - ends) + ends
    a, b = kept * faded(start, made.steps) - g * removed * ends, g * removed * (1 - ends)
    fades = b > 0
    if np.any(a[~fades] <= 0):
        raise fail(where, "grid", "one whose last step leaves some of the data", grid)
    from scipy.optimize import brentq

    def excess(c: float) -> float:
        return float(np.log(a - b * c).sum())

    high = float(np.min(a[fades] / b[fades]))  # the first factor to vanish: the product is 0 there
    width = 1.0
    while excess(high - width) < 0:
        width *= 2
    near = width
    while excess(high - near) > 0:
        near /= 2
    root: Any = brentq(excess, high - width, high - near, xtol=1e-15)
    return float(root)
