"""DPM-Solver++ and DPM-Solver: exponential integrators of the data or the noise prediction.

Lu, Zhou, Bao, Chen, Li, Zhu (2022), arXiv 2211.01095; sheet `dpm-solver-pp`. From a level s to t,
h = lam_t - lam_s, with the linear part solved exactly,

    data:   x_t = (sigma_t/sigma_s) x_s + alpha_t int_0^h e^{-(h-tau)} x0hat(lam_s + tau) dtau
    noise:  x_t = (alpha_t/alpha_s) x_s - sigma_t int_0^h e^{h-tau} epshat(lam_s + tau) dtau

and the integrand replaced by its Taylor polynomial, whose derivatives come from past evaluations
(multistep) or from stages inside the step (singlestep). The stochastic family replaces e^{-h} by
e^{-(1+eta) h} and adds the noise that keeps point masses exact.

The third-order multistep rule is published with half of the second-derivative term, in the
authors' repository and in everything copied from it; it is then of second order. `repaired=True`,
the default, is the rule that the derivation gives; `repaired=False` the published one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import fail, integer, number, one_of
from ..paths import Path
from ..plan import Grid, GridLike, Hook, Plan, Point, Trace, Variant, grids, sampler
from ..plan.phi import kernel_moments

CUT_OFF = 10  # lower_order_final="auto": the authors' code lowers the order below this many steps


class Rule(NamedTuple):
    """What the step formulas share: which prediction is integrated, how, with how much noise."""

    prediction: str = "data"
    solver_type: str = "midpoint"
    eta: float = 0.0
    repaired: bool = True


class Kernel(NamedTuple):
    """One step's linear factor A, kernel moments mu_0, mu_1, mu_2 and noise standard deviation."""

    A: float
    mu: list[float]
    noise: float


def kernel(s: Point, t: Point, rule: Rule) -> Kernel:
    """A, mu_k = int kernel tau^k / k! dtau and the noise of the step s -> t.

    data: mu_k = (1+eta) alpha_t h^{k+1} phi_{k+1}(-(1+eta) h); noise: mu_k = -(1+eta) sigma_t
    h^{k+1} phi_{k+1}(h). Limits where h is infinite (sigma_t = 0 or alpha_s = 0): order 1 only.
    """
    h, eta = t.lam - s.lam, rule.eta
    if rule.prediction == "data":
        decay = math.exp(-eta * h) if eta else 1.0
        mu = [(1 + eta) * t.alpha * m for m in kernel_moments(h, 3, -(1 + eta))]
        noise = t.sigma * math.sqrt(-math.expm1(-2 * eta * h)) if eta else 0.0
        return Kernel(t.sigma / s.sigma * decay, mu, noise)
    A = t.alpha / s.alpha
    if math.isinf(h):  # to sigma = 0 the step is the denoiser; the SDE's own limit keeps its noise
        return Kernel(A, [-A * s.sigma, math.nan, math.nan], 0.0)
    mu = [-(1 + eta) * t.sigma * m for m in kernel_moments(h, 3, 1.0)]
    return Kernel(A, mu, t.sigma * math.sqrt(eta * math.expm1(2 * h)))


def first(x: Any, m: Any, s: Point, t: Point, rule: Rule) -> Any:
    """Order 1, DDIM where eta = 0: x_t = A x + mu_0 m_s."""
    A, mu, _ = kernel(s, t, rule)
    return A * x + mu[0] * m


def multistep(x: Any, history: list[Any], nodes: list[Point], t: Point, rule: Rule) -> Any:
    """Order len(history): derivatives at s = nodes[0] from past evaluations, newest first."""
    s = nodes[0]
    A, mu, _ = kernel(s, t, rule)
    h = t.lam - s.lam
    m0, m1 = history[:2]
    r0 = (s.lam - nodes[1].lam) / h
    D0 = (m0 - m1) / r0
    if len(history) == 2:
        if rule.solver_type == "midpoint":
            return A * x + mu[0] * (m0 + 0.5 * D0)
        return A * x + mu[0] * m0 + mu[1] / h * D0
    r1 = (nodes[1].lam - nodes[2].lam) / h
    D1 = (m1 - history[2]) / r1
    half_second = (D0 - D1) / (r0 + r1)  # h^2 m'' / 2
    slope = D0 + r0 * half_second  # h m'
    second = 2 * half_second if rule.repaired else half_second
    return A * x + mu[0] * m0 + mu[1] / h * slope + mu[2] / h**2 * second


def singlestep_2(x: Any, m0: Any, m1: Any, s: Point, s1: Point, t: Point, rule: Rule) -> Any:
    """2S: m1 is the model at the stage s1, r_1 = (lam_s1 - lam_s) / h."""
    A, mu, _ = kernel(s, t, rule)
    h = t.lam - s.lam
    D = (m1 - m0) / ((s1.lam - s.lam) / h)
    if rule.solver_type == "midpoint":
        return A * x + mu[0] * (m0 + 0.5 * D)
    return A * x + mu[0] * m0 + mu[1] / h * D


def stage_2(x: Any, m0: Any, m1: Any, s: Point, s1: Point, s2: Point, rule: Rule) -> Any:
    """The second stage of 3S: the exact-phi step s -> s2 with the slope through s1."""
    A, mu, _ = kernel(s, s2, rule)
    return A * x + mu[0] * m0 + mu[1] / (s1.lam - s.lam) * (m1 - m0)


def singlestep_3(x: Any, m: Sequence[Any], nodes: Sequence[Point], t: Point, rule: Rule) -> Any:
    """3S: m = (m_0, m_1, m_2) at nodes = (s, s1, s2)."""
    s, s1, s2 = nodes
    A, mu, _ = kernel(s, t, rule)
    h = t.lam - s.lam
    r1, r2 = (s1.lam - s.lam) / h, (s2.lam - s.lam) / h
    if rule.solver_type == "midpoint":
        return A * x + mu[0] * m[0] + mu[1] / (r2 * h) * (m[2] - m[0])
    D10, D11 = (m[1] - m[0]) / r1, (m[2] - m[0]) / r2
    slope = (r2 * D10 - r1 * D11) / (r2 - r1)
    second = 2 * (D11 - D10) / (r2 - r1)
    return A * x + mu[0] * m[0] + mu[1] / h * slope + mu[2] / h**2 * second


def fast_orders(nfe: int, order: int = 3) -> list[int]:
    """The orders of the outer steps that spend `nfe` evaluations ("DPM-Solver-fast").

    Order 3: K = nfe // 3 + 1 steps, [3]*(K-2)+[2,1], [3]*(K-1)+[1], [3]*(K-1)+[2] for nfe mod 3 =
    0, 1, 2; order 2: [2]*K (+[1]).

    >>> fast_orders(9), fast_orders(10), fast_orders(11), fast_orders(5, order=2)
    ([3, 3, 2, 1], [3, 3, 3, 1], [3, 3, 3, 2], [2, 2, 1])
    """
    integer("fast_orders", "order", order, 1, 3)
    integer("fast_orders", "nfe", nfe, order)
    if order == 3:
        K, rest = nfe // 3 + 1, nfe % 3
        return [[3] * (K - 2) + [2, 1], [3] * (K - 1) + [1], [3] * (K - 1) + [2]][rest]
    return [order] * (nfe // order) + [1] * (nfe % order)


@sampler(
    Variant("DPM-Solver++(2M)", {"order": 2}, order=2),
    Variant("DPM-Solver++(2M), exact phi", {"order": 2, "solver_type": "taylor"}, order=2),
    Variant("DPM-Solver++(3M), repaired", {"order": 3}, order=2),  # its first step is DDIM's
    Variant("DPM-Solver++(3M), published", {"order": 3, "repaired": False}, order=2),
    Variant("DPM-Solver++(2S)", {"order": 2, "method": "singlestep"}, order=2, per_step=2),
    Variant("DPM-Solver++(3S)", {"order": 3, "method": "singlestep"}, order=3, per_step=3),
    Variant("DPM-Solver(2M), noise", {"order": 2, "prediction": "noise"}, order=2),
    Variant(
        "DPM-Solver(3S), noise",
        {"order": 3, "prediction": "noise", "method": "singlestep"},
        order=3,
        per_step=3,
    ),
    Variant("SDE-DPM-Solver++(1)", {"order": 1, "eta": 1.0}, order=1, stochastic=True),
    Variant("SDE-DPM-Solver++(2M)", {"order": 2, "eta": 1.0}, order=2, stochastic=True),
    Variant(
        "SDE-DPM-Solver(2M), noise",
        {"order": 2, "eta": 1.0, "prediction": "noise"},
        order=2,
        stochastic=True,
        point_exact=False,  # the excess variance of the sheet's C5
    ),
)
def dpm_solver_pp(
    path: Path,
    grid: GridLike,
    order: int = 2,
    *,
    prediction: str = "data",
    method: str = "multistep",
    solver_type: str = "midpoint",
    eta: float = 0.0,
    repaired: bool = True,
    lower_order_final: bool | str = "auto",
    orders: Sequence[int] | None = None,
    ratios: Sequence[float] | None = None,
    inner: str = "ratio",
    thresholding: bool | Hook = False,
    denoise_to_zero: bool = False,
) -> Plan:
    """DPM-Solver++ (data prediction) or DPM-Solver (noise prediction) of order 1, 2 or 3.

    path, grid: where the levels live; a Grid, or decreasing times. Authors' advice: guided
    sampling, multistep order 2 on data; unguided, singlestep order 3.

    method: "multistep" (one evaluation an interval) or "singlestep" (order evaluations a step).
    solver_type: "midpoint", or "taylor" (exact phi; libraries call it "heun", which it is not).
    eta: 0 the ODE, 1 SDE-DPM-Solver(++); the share of the reverse SDE's noise. Multistep only.
    repaired: the third-order multistep rule as derived (True) or as published (False).
    lower_order_final: lower the order to 1 towards the last step; "auto" for under 10 steps.
    orders: singlestep, one a step (`fast_orders`); default, `order` everywhere.
    ratios: singlestep, the stages' places in h, default (1/2,) and (1/3, 2/3).
    inner: singlestep, "ratio": each interval of the grid is a step with stages at `ratios`;
        "grid": the grid's own points are the stages (the repository's time grids).
    thresholding: dynamic thresholding of the data prediction (True or a Hook): no longer linear.
    denoise_to_zero: one more evaluation, a last step to sigma = 0.
    Raises ValueError for values outside these. Source: arXiv 2211.01095; sheet `dpm-solver-pp`.

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> dpm_solver_pp(path, ft.plan.grids.log_snr(path, steps=10), order=2)
    <Plan dpm_solver_pp: 10 evaluations, deterministic, data prediction>
    """
    settings = {k: v for k, v in locals().items() if k not in ("path", "grid")}
    _check(settings)
    grid = grids.of(path, grid)
    if prediction == "noise" and math.isinf(grid.lam[0]):
        raise fail("dpm_solver_pp", "grid", "one that starts at alpha > 0 for noise", grid.lam[0])
    rule = Rule(prediction, solver_type, float(eta), repaired)
    hooks = _hooks(thresholding)
    trace = Trace(
        dpm_solver_pp, path, grid.to_clean() if denoise_to_zero else grid, settings, prediction
    )
    if method == "multistep":
        x = _run_multistep(trace, _multistep_orders(trace.grid, order, lower_order_final), rule)
    else:
        x = _run_singlestep(trace, _intervals(trace.grid, order, orders, ratios, inner), rule)
    return trace.plan(x, hooks=hooks, refinable=orders is None and inner == "ratio")


def _check(given: dict[str, Any]) -> None:
    where = "dpm_solver_pp"
    if given["order"] not in (1, 2, 3) or isinstance(given["order"], bool):
        raise fail(where, "order", "1, 2 or 3", given["order"])
    one_of(where, "prediction", given["prediction"], ("data", "noise"))
    one_of(where, "method", given["method"], ("multistep", "singlestep"))
    one_of(where, "solver_type", given["solver_type"], ("midpoint", "taylor"))
    one_of(where, "inner", given["inner"], ("ratio", "grid"))
    one_of(where, "lower_order_final", given["lower_order_final"], (True, False, "auto"))
    number(where, "eta", given["eta"], 0.0)
    single = given["method"] == "singlestep"
    if given["eta"] and single:  # fresh noise inside a step destroys its order; see claim C5
        raise fail(where, "eta", "0 with method='singlestep'", given["eta"])
    for name in ("orders", "ratios"):
        if given[name] is not None and not single:
            raise fail(where, name, "None with method='multistep'", given[name])
    if single is False and given["inner"] != "ratio":
        raise fail(where, "inner", "'ratio' with method='multistep'", given["inner"])
    if given["ratios"] is not None:
        _check_ratios(given["ratios"], given["order"])
    if not isinstance(given["thresholding"], (bool, Hook)):
        raise fail(where, "thresholding", "True, False or a Hook", given["thresholding"])
    if given["thresholding"] and given["prediction"] != "data":
        raise fail(where, "thresholding", "False with prediction='noise'", given["thresholding"])


def _check_ratios(ratios: Sequence[float], order: int) -> None:
    edges = [0.0, *ratios]
    rising = all(a < b <= 1 for a, b in itertools.pairwise(edges))
    if len(ratios) != order - 1 or not rising:
        raise fail("dpm_solver_pp", "ratios", f"{order - 1} increasing in (0, 1]", ratios)


def _hooks(thresholding: bool | Hook) -> tuple[Hook, ...]:
    if isinstance(thresholding, Hook):
        return (thresholding,)
    return (Hook("dynamic_threshold", {"ratio": 0.995, "max_value": 1.0}),) if thresholding else ()


def _multistep_orders(grid: Grid, order: int, lower_order_final: bool | str) -> list[int]:
    """The order of each step: 1, 2, .. at the start, and down to 1 at the end if asked."""
    N = grid.steps
    lower = N < CUT_OFF if lower_order_final == "auto" else lower_order_final
    out = [min(order, i + 1, N - i if lower else order) for i in range(N)]
    if math.isinf(grid.lam[-1]):
        out[-1] = 1  # a step to sigma = 0 is infinite in lam
    if math.isinf(grid.lam[0]):
        out = [min(o, max(i, 1)) for i, o in enumerate(out)]  # alpha_T = 0 is no node to difference
    return out


def _run_multistep(trace: Trace, orders: Sequence[int], rule: Rule) -> Any:
    x, history, nodes = trace.start, [], []
    for (s, t), o in zip(trace.steps(), orders, strict=True):
        x, m = trace.evaluate(x, s)
        history, nodes = [m, *history][:3], [s, *nodes][:3]
        noise = kernel(s, t, rule).noise
        x = first(x, m, s, t, rule) if o == 1 else multistep(x, history[:o], nodes[:o], t, rule)
        if noise > 0:
            x = x + noise * trace.noise()
    return x


def _intervals(
    grid: Grid, order: int, orders: Sequence[int] | None, ratios: Sequence[float] | None, inner: str
) -> list[list[Point]]:
    """The nodes [s, stages.., t] of each singlestep step."""
    where = "dpm_solver_pp"
    if inner == "grid":
        chosen = [order] * (grid.steps // order) if orders is None else list(orders)
        if sum(chosen) != grid.steps:
            raise fail(where, "orders", f"orders that add up to the {grid.steps} intervals", chosen)
    else:
        chosen = [order] * grid.steps if orders is None else list(orders)
        if len(chosen) != grid.steps:
            raise fail(where, "orders", f"{grid.steps} orders, one an interval", chosen)
    if any(o not in range(1, order + 1) for o in chosen):
        raise fail(where, "orders", f"between 1 and order = {order}", chosen)
    out, start = [], 0
    for o in chosen:
        stop = start + (o if inner == "grid" else 1)
        s, t = grid[start], grid[stop]
        if math.isinf(t.lam - s.lam):
            o = 1
        if inner == "grid":
            stages = [grid[j] for j in range(start + 1, start + o)]
        else:
            places = _places(o, ratios)
            stages = [grids.point(grid.path, s.lam + r * (t.lam - s.lam)) for r in places]
        out.append([s, *stages, t])
        start = stop
    return out


def _places(o: int, ratios: Sequence[float] | None) -> Sequence[float]:
    """The stages' places in a step of order o; a step of lower order keeps its default."""
    default = {1: (), 2: (0.5,), 3: (1 / 3, 2 / 3)}[o]
    return default if ratios is None or len(ratios) != len(default) else ratios


def _run_singlestep(trace: Trace, intervals: list[list[Point]], rule: Rule) -> Any:
    x = trace.start
    for s, *stages, t in intervals:
        x, m0 = trace.evaluate(x, s)
        if not stages:
            x = first(x, m0, s, t, rule)
            continue
        s1 = stages[0]
        _, m1 = trace.evaluate(first(x, m0, s, s1, rule), s1)
        if len(stages) == 1:
            x = singlestep_2(x, m0, m1, s, s1, t, rule)
            continue
        s2 = stages[1]
        _, m2 = trace.evaluate(stage_2(x, m0, m1, s, s1, s2, rule), s2)
        x = singlestep_3(x, (m0, m1, m2), (s, s1, s2), t, rule)
    return x
