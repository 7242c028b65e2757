"""DPM-Solver-v3: Taylor steps in the combination of state, output and constants that varies least.

Zheng, Lu, Chen, Zhu (2023), arXiv 2310.13268; sheet `dpm-solver-v3`. With y = x / alpha, f = (1 -
l) y - x0hat and the statistics l, s, b of `ModelStatistics`, the probability-flow ODE from s to t
is

    y_t = A [y_s - int_s^t E (g + B) dlam],   g = e^{-int_s s} f - B,   B = int_s e^{-int_s s} b,
    A = e^{-int_s^t l},   E = e^{int_s (l + s)},

and g, anchored at s, is replaced by a Taylor polynomial through values at other nodes. It is affine
in the state and the outputs, elementwise: a Plan with arrays for coefficients and a bias. (l, s, b)
= (1, 0, 0) is DPM-Solver++ with exact weights and its third order whole, (0, -1, 0) its noise form.

The corrector re-uses the evaluation at a predicted state: it makes the step again, the new value
among the nodes, and keeps f. "Pseudo" orders take each derivative from the nearest values only, as
a divided difference. That lowers the order of convergence to two, whatever the pair is called.

| setting (the authors') | grid | `PRESETS` |
| --- | --- | --- |
| CIFAR-10, ScoreSDE | equal in lam, to t = 1e-3, or 1e-4 above 10 evaluations | "cifar10" |
| CIFAR-10, EDM | equal in lam, sigma 80 to 0.002; corrector up to 6 evaluations only | "cifar10" |
| LSUN, latent | equal in t | "lsun" |
| ImageNet, guided | equal in t; statistics with l = 1 | "guided" |
| Stable Diffusion | equal in t; N = 250 nodes from K = 1024 samples | "guided" |

At 5 evaluations on CIFAR-10 (ScoreSDE) the predictor is pseudo too. Statistics of the unguided
model serve guided sampling up to a scale of about 15.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..errors import fail, integer, one_of
from ..paths import Path
from ..plan import Form, Grid, GridLike, Plan, Trace, Variant, grids, sampler
from ._quadrature import Along, nearest, smooth, trapezoid
from .model_statistics import ModelStatistics

REPOSITORY = {"corrector": "repository"}
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "cifar10": {"order": 3, **REPOSITORY},
        "lsun": {"order": 3, "corrector_pseudo": True, **REPOSITORY},
        "guided": {"order": 2, "corrector_pseudo": True, **REPOSITORY},
    }
)
CONSTANTS = {"data": (1.0, 0.0, 0.0), "noise": (0.0, -1.0, 0.0)}


class Integrals(NamedTuple):
    """Of a step: A = e^{-int l}, E[k] = int E (lam - s)^k / k! and bias = int E B."""

    A: Any
    E: list[Any]
    bias: Any


def along(statistics: ModelStatistics, s: float, t: float) -> Along:
    """The way from s to t by the statistics' own rule."""
    return (smooth if statistics.rule == "spline" else trapezoid)(statistics, s, t)


def integrals(statistics: ModelStatistics, s: float, t: float, count: int) -> Integrals:
    """A, E[0..count-1] and the bias of the step from lam = s to t, anchored at s."""
    lam, w, L, S, B, end = along(statistics, s, t)
    E = np.exp(L + S)
    weights = [w * (lam - s) ** k / math.factorial(k) for k in range(count)]
    moments = [plain(np.tensordot(v, E, (0, 0))) for v in weights]
    return Integrals(plain(np.exp(-end[0])), moments, plain(np.tensordot(w, E * B, (0, 0))))


def anchored(statistics: ModelStatistics, s: float, f: Form, lam: float) -> Form:
    """g = e^{-int_s^lam s} f - B at lam, anchored at s."""
    _, S, B = along(statistics, s, lam).end
    return plain(np.exp(-S)) * f - plain(B)


def plain(value: Any) -> Any:
    """A number as a Python float: sums of symbols are quick on those."""
    return float(value) if np.ndim(value) == 0 else value


def derivative_weights(deltas: Sequence[float], d: int) -> list[float]:
    """a_k with g^(d) = sum_k a_k (g_k - g_s), exact for polynomials of degree len(deltas).

    deltas: lam_k - lam_s, different and not 0, at least d of them. sum_k a_k delta_k^q / q! is 1
    at q = d and 0 for the other q up to their number.

    >>> [round(a, 6) for a in derivative_weights([-0.4, -0.9], 1)]
    [-4.5, 0.888889]
    """
    size = max(abs(v) for v in deltas)
    q = np.arange(1, len(deltas) + 1)
    rows = (np.array(deltas) / size)[None, :] ** q[:, None]
    return (np.linalg.solve(rows, 1.0 * (q == d)) * math.factorial(d) / size**d).tolist()


def full(count: int) -> list[int]:
    """Every derivative from all of the other values: exact on polynomials of degree count."""
    return [count] * count


def pseudo_order(count: int) -> list[int]:
    """Derivative d from the d nearest values: a divided difference."""
    return list(range(1, count + 1))


def local_update(
    statistics: ModelStatistics,
    y: Form,
    f: Sequence[Form],
    lams: Sequence[float],
    t: float,
    points: Sequence[int],
    *,
    scale: float = 1.0,
) -> Form:
    """y_t = A [y_s - bias - sum_d E^(d) g^(d)], d = 0..len(points), from s = lams[0] to lam = t.

    y: the state over alpha at s; f: (1 - l) y - x0hat at each of lams; g^(d) is taken from the
    points[d-1] values that follow the first (`full`, `pseudo_order`, or any number from d up).
    scale: a factor of the first derivative's term (relaxation). Source: sheet `dpm-solver-v3`,
    "(n+1)-th order local update".
    """
    s = lams[0]
    A, E, bias = integrals(statistics, s, t, len(points) + 1)
    others = max(points, default=0)
    rises = [anchored(statistics, s, f[k], lams[k]) - f[0] for k in range(1, others + 1)]
    total = E[0] * f[0] + bias
    for d, used in enumerate(points, start=1):
        weights = derivative_weights([v - s for v in lams[1 : used + 1]], d)
        factor = scale * E[d] if d == 1 else E[d]
        for a, rise in zip(weights, rises, strict=False):
            total = total + factor * a * rise
    return A * (y - total)


@sampler(  # sigma = 0 is refused
    Variant(
        "DPM-Solver-v3 (1, 0, 0), 2 + corrector 3",
        {"statistics": "data", "order": 2, "lower_order_final": False},
        order=3,
        denoises=False,
    ),
    Variant(
        "DPM-Solver-v3 (0, -1, 0), 2",
        {"statistics": "noise", "order": 2, "corrector": None, "lower_order_final": False},
        order=2,
        denoises=False,
    ),
    Variant(
        "DPM-Solver-v3 (1, 0, 0), 3 + corrector 3, lower-order end",
        {"statistics": "data"},
        order=2,
        denoises=False,
    ),
    Variant(
        "DPM-Solver-v3 (1, 0, 0), 2 + pseudo corrector 3",
        {"statistics": "data", "lower_order_final": False, **PRESETS["guided"]},
        order=2,
        denoises=False,
    ),
    Variant(
        "DPM-Solver-v3 (1, 0, 0), singlestep",
        {"statistics": "data", "method": "singlestep"},
        order=3,
        per_step=3,
        denoises=False,
    ),
)
def dpm_solver_v3(
    path: Path,
    grid: GridLike,
    statistics: ModelStatistics | str,
    order: int = 3,
    *,
    corrector: int | str | None = "auto",
    pseudo: bool = False,
    corrector_pseudo: bool = False,
    lower_order_final: bool = True,
    half_corrector: str | None = None,
    method: str = "multistep",
) -> Plan:
    """DPM-Solver-v3 of order 1, 2 or 3 with the statistics of a model, or with constant ones.

    statistics: a `ModelStatistics` whose lam cover the grid; "data" is (1, 0, 0), "noise" (0, -1,
    0). With rule="trapezoid" the levels move to the nearest nodes of the statistics.
    corrector: the order of the corrector, 2 to 4 (at most i + 1 at node i); None for none; "auto"
    is order + 1, at most 3; "repository", as the authors' code runs, is that of the predictor that
    led to the node, one more if pseudo, and none where that is 1. No corrector after the last step.
    pseudo, corrector_pseudo: derivatives from the nearest values only.
    lower_order_final: lower the order to 1 towards the last step (the authors' default); it limits
    the order of convergence to 2.
    half_corrector: correct a step only if it starts at t <= 0.5 ("paper") or at t > 0.5
    ("repository": the two contradict each other); for paths with t in [0, 1].
    method: "multistep", one evaluation an interval; "singlestep", `order` evaluations at equal
    distances in lam, each from the interval's start and the values in it, no corrector.
    Raises ValueError for other values, for levels outside the statistics, and for a grid that
    starts at alpha = 0 or ends at sigma = 0. Source: arXiv 2310.13268; sheet `dpm-solver-v3`.

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> dpm_solver_v3(path, ft.plan.grids.log_snr(path, steps=10), "data")
    <Plan dpm_solver_v3: 10 evaluations, deterministic, data prediction>
    """
    settings = {k: v for k, v in locals().items() if k not in ("path", "grid")}
    _check(settings, path)
    grid = grids.of(path, grid)
    if not np.all(np.isfinite(grid.lam)):
        allowed = "one that starts at alpha > 0 and ends at sigma > 0"
        raise fail("dpm_solver_v3", "grid", allowed, grid.lam)
    if isinstance(statistics, str):
        statistics = ModelStatistics.constant(*CONSTANTS[statistics])
    statistics.check(grid.lam)
    snapped = statistics.rule == "trapezoid"
    trace = Trace(dpm_solver_v3, path, _snapped(statistics, grid) if snapped else grid, settings)
    run = _multistep if method == "multistep" else _singlestep
    return trace.plan(run(trace, statistics, settings), refinable=not snapped)


def _check(given: Mapping[str, Any], path: Path) -> None:
    where, statistics = "dpm_solver_v3", given["statistics"]
    if not isinstance(statistics, ModelStatistics):
        one_of(where, "statistics", statistics, CONSTANTS)
    integer(where, "order", given["order"], 1, 3)
    one_of(where, "method", given["method"], ("multistep", "singlestep"))
    single = given["method"] == "singlestep"
    corrector = given["corrector"]
    if isinstance(corrector, str):
        one_of(where, "corrector", corrector, ("auto", "repository"))
    elif corrector is not None:
        integer(where, "corrector", corrector, 2, 4)
    if single and corrector not in (None, "auto"):
        raise fail(where, "corrector", "None with method='singlestep'", corrector)
    for name in ("pseudo", "corrector_pseudo", "lower_order_final"):
        if not isinstance(given[name], bool):
            raise TypeError(f"{where}: {name} must be True or False, got {given[name]!r}")
    half = given["half_corrector"]
    one_of(where, "half_corrector", half, (None, "paper", "repository"))
    if half is not None and (single or getattr(path, "t_max", 1.0) > 1):
        allowed = "None with method='singlestep' and on paths whose t is not in [0, 1]"
        raise fail(where, "half_corrector", allowed, half)


def _snapped(statistics: ModelStatistics, grid: Grid) -> Grid:
    """The grid on the statistics' own nodes."""
    chosen = [nearest(statistics, v) for v in grid.lam.tolist()]
    if len(set(chosen)) < len(chosen):
        allowed = "coarser than the nodes of the statistics where rule='trapezoid'"
        raise fail("dpm_solver_v3", "grid", allowed, grid.lam)
    return grids.at_lams(grid.path, statistics.lams[chosen])


def _corrections(
    how: Mapping[str, Any], orders: Sequence[int], times: Sequence[float]
) -> list[int]:
    """The corrector's order at each node, 1 where there is none."""
    chosen, half = how["corrector"], how["half_corrector"]
    if chosen == "repository":
        wanted = [
            o + how["corrector_pseudo"] if o + how["corrector_pseudo"] > 1 else 1 for o in orders
        ]
    else:
        most = {None: 1, "auto": min(how["order"] + 1, 3)}.get(chosen, chosen)
        wanted = [min(most, i + 2) for i in range(len(orders))]
    if half is not None:
        wanted = [
            c if (t <= 0.5) == (half == "paper") else 1 for c, t in zip(wanted, times, strict=True)
        ]
    return [1, *wanted[:-1]]  # the step into node i is step i - 1


def _multistep(trace: Trace, statistics: ModelStatistics, how: Mapping[str, Any]) -> Form:
    N, lower = trace.grid.steps, how["lower_order_final"]
    orders = [min(how["order"], i + 1, N - i if lower else N) for i in range(N)]
    corrections = _corrections(how, orders, trace.grid.t[:-1].tolist())
    predict = pseudo_order if how["pseudo"] else full
    correct = pseudo_order if how["corrector_pseudo"] else full
    x, y, f, lams = trace.start, trace.start, [], []
    for (s, t), o, c in zip(trace.steps(), orders, corrections, strict=True):
        x, x0hat = trace.evaluate(x, s)
        value = plain(1 - statistics.at(s.lam).l) * (x / s.alpha) - x0hat
        f, lams = [value, *f][:4], [s.lam, *lams][:4]  # the corrected state keeps this f
        if c > 1:
            chosen = [1, 0, 2, 3][:c]  # from the node before, the new value the nearest
            values, nodes = [f[k] for k in chosen], [lams[k] for k in chosen]
            y = local_update(statistics, y, values, nodes, s.lam, correct(c - 1))
            x = trace.node(s.alpha * y, s)
        y = x / s.alpha
        x = t.alpha * local_update(statistics, y, f[:o], lams[:o], t.lam, predict(o - 1))
    return x


def _singlestep(trace: Trace, statistics: ModelStatistics, how: Mapping[str, Any]) -> Form:
    x, order = trace.start, how["order"]
    points = pseudo_order if how["pseudo"] else full
    for s, t in trace.steps():
        f, lams, y = [], [], None
        ends = [s.lam + (t.lam - s.lam) * k / order for k in range(order)] + [t.lam]
        for k in range(order):
            level = s if k == 0 else grids.point(trace.path, ends[k])
            x, x0hat = trace.evaluate(x, level)
            y = x / s.alpha if y is None else y
            f.append(plain(1 - statistics.at(level.lam).l) * (x / level.alpha) - x0hat)
            lams.append(level.lam)
            y_next = local_update(statistics, y, f, lams, ends[k + 1], points(k))
            alpha = t.alpha if k == order - 1 else grids.point(trace.path, ends[k + 1]).alpha
            x = alpha * y_next
    return x
