"""DualFast: the noise of an earlier, noisier step is subtracted from the current one, for free.

Yu, Luo, Wang, Zhao (2025), arXiv 2506.13058; sheet `dualfast`. Where a solver would hold the noise
prediction e_i constant over its step, it is given

    D_i = (1 + c_i) e_i - c_i e_tau,    c_i >= 0, tau the step before, from the second step on

and its higher differences are kept. The weight of a constant noise is the same in every solver that
samples point masses exactly, x' = (alpha'/alpha) x - sigma' expm1(h) D, so the rule is one more
term, - sigma' expm1(h) c_i (e_i - e_tau), in each row of a plan: DDIM, DPM-Solver, DPM-Solver++ and
UniPC need no code of their own. It is extrapolation: c_i = h_i / (2 h_{i-1}) on DDIM is the
second-order multistep noise solver, and any other constant leaves order 1. Its gain at few steps
comes from there, not from the network's errors (`error_split`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from ..errors import fail, integer, number, one_of
from ..model import Level, conversion
from ..paths import Path
from ..plan import GridLike, Plan, Point, Variant, sampler
from ..plan.plan import entries
from .ddim import ddim
from .dpm_solver_pp import Rule, dpm_solver_pp, kernel
from .unipc import unipc

BASES: dict[str, Callable[..., Plan]] = {
    "ddim": ddim,
    "dpm_solver_pp": dpm_solver_pp,
    "unipc": unipc,
}
LEVEL = ("t", "alpha", "sigma", "lam")
Schedule: TypeAlias = Callable[[int, np.ndarray], Any]  # c_i of (i, the N + 1 levels lam)
Mixing: TypeAlias = str | float | int | Sequence[float | int] | np.ndarray | Schedule


def ramp(c_max: float | int) -> Schedule:
    """c_i = c_max i / (N - 1): little at the noisy end, c_max in the last step.

    The paper's values were not at hand; 0.25 to 0.75 serve for 3 to 10 steps. Raises ValueError
    for a negative c_max. Source: sheet `dualfast`, "Schedule".

    >>> [ramp(0.75)(i, np.zeros(5)) for i in (1, 2, 3)]
    [0.25, 0.5, 0.75]
    """
    top = number("ramp", "c_max", c_max, 0.0)
    return lambda i, lams: top * i / (len(lams) - 2)


def blend(w: float | int) -> Schedule:
    """c_i = w / expm1(h_i): the explicit noise of x' = alpha' x0hat + sigma' e, blended by w.

    There (1 - w) e_i + w e_tau goes *towards* the older noise; x0hat holds e_i too, and with both
    together it is an extrapolation *away* from it. w in [0, 1]; raises ValueError outside.
    Source: sheet `dualfast`, C1.

    >>> blend(0.3)(1, np.array([-1.0, 0.0, 1.1]))
    0.14968819769195843
    """
    share = number("blend", "w", w, 0.0, 1.0)
    return lambda i, lams: share / float(np.expm1(lams[i + 1] - lams[i]))


@sampler(
    Variant("DualFast-DDIM, second order", order=2),  # DPM-Solver(2M), noise, by another name
    Variant("DualFast-DDIM, c = 1/4", {"c": 0.25}, order=1),
    Variant(
        "DualFast-UniPC-2 (noise), c = 1/4",
        {"base": "unipc", "order": 2, "prediction": "noise", "c": 0.25},
        order=1,
        denoises=False,
    ),
)
def dualfast(
    path: Path,
    grid: GridLike,
    base: str = "ddim",
    *,
    c: Mixing = "second-order",
    tau: str | int = "previous",
    c_last: float | int = 0.0,
    **settings: Any,
) -> Plan:
    """DDIM, DPM-Solver, DPM-Solver++ or UniPC with D_i = (1 + c_i) e_i - c_i e_tau for e_i.

    path, grid: where the levels live; a Grid, or decreasing times. base: "ddim", "dpm_solver_pp"
    (DPM-Solver as prediction="noise") or "unipc"; settings: the base's own (order, prediction,
    method, ...). c, tau and c_last as in `mixed`. With a base of second order a fixed c > 0 can
    gain at a handful of steps, and loses at many: the order is 1.
    Raises ValueError for other values and for a stochastic base. Source: arXiv 2506.13058.

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> dualfast(path, ft.plan.grids.log_snr(path, steps=5), "dpm_solver_pp", order=2, c=0.25)
    <Plan dualfast: 5 evaluations, deterministic, data prediction>
    """
    one_of("dualfast", "base", base, BASES)
    make = BASES[base]
    allowed = list(inspect.signature(make).parameters)[2:]
    for name in settings:
        one_of("dualfast", f"a setting of {base}", name, allowed)
    return mixed(make(path, grid, **settings), c=c, tau=tau, c_last=c_last)


def mixed(
    plan: Plan,
    *,
    c: Mixing = "second-order",
    tau: str | int = "previous",
    c_last: float | int = 0.0,
) -> Plan:
    """Any deterministic plan with D_i = (1 + c_i) e_i - c_i e_tau for the noise e_i held constant.

    c: "second-order", h_i / (2 (lam_i - lam_tau)), for plans of first order; or a number, one c_i a
    step (c_0 is not used), or a function of i and the steps' N + 1 levels lam (`ramp`, `blend`).
    tau: "previous", a lag in steps, or "first", which for a fixed c converges to a wrong limit.
    c_last: that of a step to sigma = 0, whatever c says: its D is the last word, and an e_tau that
    is much noisier harms it.
    Raises ValueError for other values and for a plan with a row that continues several states.
    Source: sheet `dualfast`, "Method".

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> mixed(ft.samplers.deis(path, [0.9, 0.5, 0.1], 1), c=0.2).settings["base"]
    'deis'
    """
    if plan.stochastic:
        raise fail("dualfast", "plan", "deterministic", plan)
    number("dualfast", "c_last", c_last, 0.0)
    source = _sources(plan)
    starts = np.unique(source[1:])  # a step begins at each; stages inside it continue its state
    older = _older(tau, starts.size)
    values = _coefficients(c, c_last, plan, source, plan.lam[[*starts, -1]], older)
    step = np.searchsorted(starts, source)
    earlier = [int(starts[older[i]]) for i in step]
    P, B = _rows(plan, source, earlier, np.array(values)[step])
    how, family = {"tau": tau, "c_last": c_last}, plan.family
    scales = isinstance(c, str) or callable(c) or np.ndim(c) == 0  # to any number of steps
    finer = (lambda parts: mixed(family(parts), c=c, **how)) if family and scales else None
    settings = {"base": plan.name, **plan.settings, "c": values, **how}
    return replace(plan, P=P, B=B, name="dualfast", settings=settings, family=finer)


def _rows(
    plan: Plan, source: np.ndarray, earlier: Sequence[int], c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """P and B with the weight of a constant noise times c (e_s - e_tau) added to each row."""
    P, B = plan.P.copy(), plan.B.copy()
    at = Level(plan.alpha[:-1], plan.sigma[:-1])
    p, q = (np.broadcast_to(v, source[1:].shape) for v in conversion(plan.prediction, "noise", at))
    points = [Point(*v) for v in zip(*(getattr(plan, n).tolist() for n in LEVEL), strict=True)]
    for row in range(1, plan.nodes):
        s, tau = int(source[row]), earlier[row]
        if c[row] == 0:
            continue
        weight = kernel(points[s], points[row], Rule("noise")).mu[0]  # -sigma' expm1(h)
        for node, share in ((s, c[row]), (tau, -c[row])):  # e = p u + q m
            P[row, node] += weight * share * p[node]
            B[row, node] += weight * share * q[node]
    return P, B


def _sources(plan: Plan) -> np.ndarray:
    """The node that each row continues, its one state; the first row, which is given, its own.

    A step to sigma = 0 may have no state left: it is the data prediction of the node it continues.
    """
    source = np.zeros(plan.nodes, dtype=int)
    for row, (nodes, outputs) in enumerate(zip(entries(plan.P), entries(plan.B), strict=True)):
        if row == 0:
            continue
        nodes = nodes or outputs
        if len(nodes) != 1:
            got = f"{plan.name}, row {row} with the states {nodes}"
            raise fail("dualfast", "plan", "one whose rows continue one state each", got)
        source[row] = nodes[0]
    return source


def _older(tau: str | int, steps: int) -> list[int]:
    """The step that tau is for each step: the first one where there is none so far back."""
    if isinstance(tau, str):
        one_of("dualfast", "tau", tau, ("previous", "first"))
        tau = 1 if tau == "previous" else steps
    lag = integer("dualfast", "tau", tau, 1)
    return [max(i - lag, 0) for i in range(steps)]


def _coefficients(
    c: Mixing, c_last: Any, plan: Plan, source: np.ndarray, lam: np.ndarray, older: list[int]
) -> list[float]:
    """c_0 .. c_{N-1}, c_0 = 0: the first step has no history."""
    N, chosen = lam.size - 1, list[Any]()
    if isinstance(c, str):
        one_of("dualfast", "c", c, ("second-order",))
        if any(set(used) - {int(s)} for used, s in zip(entries(plan.B), source, strict=True)):
            allowed = f"a number or a schedule on {plan.name} of a higher order"
            raise fail("dualfast", "c", allowed, c)
        chosen = [(lam[i + 1] - lam[i]) / (2 * (lam[i] - lam[older[i]])) for i in range(1, N)]
    elif callable(c):
        chosen = [c(i, lam) for i in range(1, N)]
    elif isinstance(c, (Sequence, np.ndarray)) and np.ndim(c) == 1:
        if len(c) != N:
            raise fail("dualfast", "c", f"of length {N}, one a step", c)
        chosen = list(c)[1:]
    else:
        chosen = [c] * (N - 1)
    if chosen and math.isinf(lam[-1]):
        chosen[-1] = c_last
    return [0.0, *(number("dualfast", "c", v, 0.0) for v in chosen)]
