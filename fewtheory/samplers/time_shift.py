"""Time shift: ask the network at the time that fits the state, not at the nominal one.

No training and no further evaluation: a plan gets a hook, `plan.retime` does what it says in the
same run. What depends on the data is not linear, so such a plan has no tableau. It helps where
pixels vary less (or more) than 1: at variance 1 every time looks alike and there is nothing to
shift. Source: Li et al., arXiv 2305.15583; sheet `time-shift`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number
from ..paths import Path
from ..plan import Hook, Plan
from ..plan.retime import pixel_variance, steps_of, time_of_variance

__all__ = [
    "expected_pixel_variance",
    "pixel_variance",
    "pixel_variance_spread",
    "time_of_variance",
    "time_resolution",
    "time_shift",
]


def time_shift(
    plan: Plan,
    shift: str = "query",
    *,
    criterion: str = "noise",
    window: float | int | None = None,
    cutoff: float | int = 0.0,
    data_var: float | int | str | None = None,
) -> Plan:
    """The plan with its times shifted, sample by sample and step by step.

    plan: deterministic and multistep in data or noise prediction (DDIM, DEIS, iPNDM, DPM-Solver) or
    DDIM with noise (eta > 0, DDPM at 1), every node evaluated. After the step to time t:

    | shift | what is done while t > cutoff |
    | --- | --- |
    | "query" | the paper's: the model is asked at the time of the state's pixel variance near t |
    | "target" | the step (but the first) lands at the time, near t, of the variance before it |
    | "target-from-current" | it lands a nominal step below the time of the variance before it |
    | "rescale" | the state is scaled to the variance of t: no time moves |

    criterion: the pixel variance at a time is sigma^2 ("noise", the paper's) or sigma^2 + alpha^2
    data_var ("marginal"); data_var: mean pixel variance of clean data, or "auto", from the data
    predictions as if they were Gaussian; window: width of the search about t, in units of t, None
    for the whole path; cutoff: a time, below which nothing is shifted. The paper's settings, in
    steps of 1000: window 5 and cutoff 550 for 100 steps, 30 and 300 for 5 steps of DPM-Solver, 10
    and 900 of DEIS, 80 and 300 of DDIM.

    Raises ValueError for other values and for a plan whose rows look further back than one state.

    >>> import fewtheory as ft
    >>> path = ft.paths.Trigonometric()
    >>> plan = ft.samplers.ddim(path, ft.plan.grids.uniform(path, 5))
    >>> time_shift(plan, criterion="marginal", data_var=0.25)
    <Plan ddim, time shift: 5 evaluations, deterministic, data prediction, time_shift>
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"time_shift: plan must be a Plan, got {type(plan).__name__}")
    if any(h.on == "time" for h in plan.hooks):
        raise fail("time_shift", "plan", "without a time shift yet", plan)
    settings = {
        "shift": shift,
        "criterion": criterion,
        "window": window,
        "cutoff": cutoff,
        "data_var": data_var,
    }
    hook = Hook("time_shift", settings)
    steps_of(plan, "time_shift")
    return replace(plan, hooks=(*plan.hooks, hook), name=f"{plan.name}, time shift", family=None)


def expected_pixel_variance(variance: float | int, offset: Any) -> float:
    """E s^2 of x + e for i.i.d. entries of x and a fixed offset e: v + (|e|^2 - d mean(e)^2)/(d-1).

    variance: v; offset: (d,), d at least 2. It is what the coupled time of a state with network
    error e follows. Source: sheet `time-shift`, theorem 3.1 as it holds (a correction with another
    factor 1/d is printed).

    >>> expected_pixel_variance(0.7, [0.1, -0.1])
    0.72
    """
    e = _offset("expected_pixel_variance", offset)
    v = number("expected_pixel_variance", "variance", variance, 0.0)
    return v + float(((e - e.mean()) ** 2).sum()) / (e.size - 1)


def pixel_variance_spread(variance: float | int, offset: Any) -> float:
    """The variance of s^2 for Gaussian entries: 2 v^2/(d-1) + 4 v (|e|^2 - d mean(e)^2)/(d-1)^2.

    >>> pixel_variance_spread(1.0, [0.0] * 51)
    0.04
    """
    e = _offset("pixel_variance_spread", offset)
    v = number("pixel_variance_spread", "variance", variance, 0.0)
    squares = float(((e - e.mean()) ** 2).sum())
    return 2 * v**2 / (e.size - 1) + 4 * v * squares / (e.size - 1) ** 2


def time_resolution(path: Path, t: float | int, data_var: float | int, d: int) -> float:
    """The standard deviation of the time that the variance of d Gaussian pixels tells.

    v sqrt(2/(d-1)) / |dv/dt| with v = sigma^2 + alpha^2 data_var; infinite where v stands still. A
    window narrower than twice this is pointless.

    >>> from fewtheory.paths import Trigonometric
    >>> round(time_resolution(Trigonometric(), 0.5, 0.25, 3 * 32 * 32), 4)
    0.0135
    """
    where = "time_resolution"
    time = number(where, "t", t, path.t_min, path.t_max)
    s2 = number(where, "data_var", data_var, 0.0)
    integer(where, "d", d, 2)
    alpha, sigma = path.alpha(time), path.sigma(time)
    slope = abs(2 * sigma * path.dsigma(time) + 2 * s2 * alpha * path.dalpha(time))
    v = sigma**2 + s2 * alpha**2
    return v * math.sqrt(2 / (d - 1)) / slope if slope > 0 else math.inf


def _offset(where: str, offset: Any) -> np.ndarray:
    e = finite_array(where, "offset", offset)
    if e.ndim != 1 or e.size < 2:
        raise fail(where, "offset", "of shape (d,), d at least 2", e.shape)
    return e
