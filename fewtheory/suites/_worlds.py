"""The testbeds and measurements that several suites share. Not a suite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fewtheory.model import Model
from fewtheory.paths import EDM, Path, VPLinear
from fewtheory.plan import Grid, Plan, Trace, grids
from fewtheory.testbeds import Gaussian, ProductMixture, mixture_1d

PATH = VPLinear()
WIDE = EDM(1e-7, 1e7)  # levels beyond any VP grid
BIMODAL = mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])
TRIMODAL = mixture_1d([0.3, 0.4, 0.3], [-1.0, 0.1, 0.8], [0.05, 0.05, 0.05])
POWER_LAW = Gaussian(np.zeros(32), np.arange(1, 33) ** -2.0)


def mid_quantiles(bed: ProductMixture, t: float, n: int) -> np.ndarray:
    """The (k + 1/2)/n quantiles of x_t on the VP path, (n, 1)."""
    return bed.at(PATH, t).quantile((np.arange(n) + 0.5)[:, None] / n)


def uniform_grid(steps: int, low: float = -3.0, high: float = 3.0) -> Grid:
    """Equal steps in lam."""
    return grids.at_lams(PATH, np.linspace(low, high, steps + 1))


def whole_line(steps: int) -> Grid:
    """Equal steps of length 28 / steps in lam, over all of the line where data act."""
    return grids.at_lams(WIDE, np.linspace(-13.0, 15.0, steps + 1))


def gaussian_constant(
    make: Callable[[Grid], Plan], power: int, c: float
) -> tuple[list[float], list[float]]:
    """Step lengths h, and (std / exact - 1) / h^power on centred Gaussian data of variance c."""
    steps = [128, 256, 512]
    h = [28.0 / n for n in steps]
    return h, [std_error(make(whole_line(n)), c) / v**power for n, v in zip(steps, h, strict=True)]


def uneven_grid(steps: int, low: float = -3.0, high: float = 3.0) -> Grid:
    """Steps that alternate 1 : 2, so that the step ratio stays away from 1 under refinement."""
    widths = np.tile([1.0, 2.0], steps)[:steps]
    return grids.at_lams(PATH, low + (high - low) * np.append(0, np.cumsum(widths)) / widths.sum())


def flow_error(plan: Plan, bed: ProductMixture = BIMODAL, points: int = 64) -> float:
    """Rms over quantile points of (plan's output - exact flow)."""
    x = mid_quantiles(bed, float(plan.t[0]), points)
    exact = bed.flow(PATH)(x, float(plan.t[0]), float(plan.t[-1]))
    return rms(plan.run(bed.model(PATH, plan.prediction), x) - exact)


def continued_error(
    plan: Plan, given: int, bed: ProductMixture = BIMODAL, points: int = 64
) -> float:
    """The same with the first `given` nodes exact: what the rule does without its warm-up.

    With given = all nodes but the last it is the local error of the last step.
    """
    model: Model = bed.model(PATH, plan.prediction)
    flow, x = bed.flow(PATH), mid_quantiles(bed, float(plan.t[0]), points)
    t = plan.t.tolist()
    u: list[np.ndarray] = []
    m: list[np.ndarray] = []
    for i in range(plan.nodes):
        if i < given:
            u.append(x if i == 0 else flow(x, t[0], t[i]))
        else:
            moved = np.tensordot(plan.P[i, :i], u, 1) + np.tensordot(plan.B[i, :i], m, 1)
            u.append(moved + plan.d[i])
        if i < plan.nodes - 1:
            m.append(model(u[i], t[i]))
    return rms(u[-1] - flow(x, t[0], t[-1]))


def rms(x: np.ndarray) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.asarray(x) ** 2)))


def errors_over(steps: list[int], make: Callable[[int], Plan]) -> list[float]:
    """flow_error of each refinement."""
    return [flow_error(make(n)) for n in steps]


def std_error(plan: Plan, c: float) -> float:
    """std of the output over the exact one, minus 1, on centred Gaussian data of variance c."""
    return float(plan.law(Gaussian([0.0], c)).std_ratio[0] - 1)


def lms(path: Path, grid: Grid, order: int = 4) -> Plan:
    """k-diffusion's linear multistep: Lagrange polynomials in rho, integrated as polynomials."""
    trace = Trace("lms", path, grid, prediction="noise")
    x, history, rhos = trace.start, [], []
    for s, t in trace.steps():
        x, eps = trace.evaluate(x, s)
        history, rhos = [eps, *history][:order], [np.exp(-s.lam), *rhos][:order]
        total = x / s.alpha
        for j, m in enumerate(history):
            others = np.delete(rhos, j)
            antiderivative = (np.poly1d(others, r=True) / np.prod(rhos[j] - others)).integ()
            total = total + (antiderivative(np.exp(-t.lam)) - antiderivative(rhos[0])) * m
        x = t.alpha * total
    return trace.plan(x)
