"""Time shift: ask the network at the time that fits the state, not at the nominal one.

No training and no further evaluation: a plan gets a hook, `plan.retime` does what it says in the
same run. What depends on the data is not linear, so such a plan has no tableau. It helps where
pixels vary less (or more) than 1: at variance 1 every time looks alike and there is nothing to
shift. Source: Li et al., arXiv 2305.15583; sheet `time-shift`.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import fail
from ..plan import Hook, Plan
from ..plan.retime import pixel_variance, steps_of, time_of_variance

__all__ = ["pixel_variance", "time_of_variance", "time_shift"]


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
