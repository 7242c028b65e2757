"""The order of convergence of a sampler, from its coefficients alone.

The error of a plan against the exact flow is (I - B J)^{-1} Delta[m] to first order, where
Delta_i[f] = sum_j b_ij f(lam_j) - int_{lam_0}^{lam_i} e^{-(lam_i - tau)} f(tau) dtau in canonical
coordinates. So three families of numbers decide orders up to four: the quadrature error of the
output, its coupling through the stages (which quadrature alone misses), and the coupling twice.
The smallest slope under refinement is the order. For stochastic plans the weak order is read off
the exact law on Gaussian data instead. Sheet `plan-algebra`, "Order from the coefficients".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import fail
from .phi import phi
from .plan import EPS, Plan

# f = exp(kappa lam): active at the noisy end (a bad warm-up shows), in the middle, and at the clean
# end (a bad last step shows). Complex, and two an end, so that no norm crosses zero by accident.
RATES = {
    "noisy end": (-2.0 + 0.5j, -1.5 + 2.0j),
    "middle": (-0.5 + 1.5j, -1.0 + 2.5j),
    "clean end": (0.5 + 0.5j, 1.5 + 2.0j),
}
COUPLINGS = (0.0, 0.7j)  # J = exp(i omega lam)
FIRST = 128  # nodes of the coarsest of the three grids
MEASURES = ("quadrature", "coupling", "double coupling")


@dataclass(frozen=True)
class OrderReport:
    """The order, and the numbers that it follows from.

    `slopes` gives for each measure the smallest local slope, extrapolated to h = 0; `kind` is
    "ode" or "weak"; `steps` the numbers of nodes at which the measures were taken.
    """

    order: int
    kind: str
    slopes: dict[str, float]
    steps: tuple[int, ...]


def order(family: Callable[[int], Plan], parts: tuple[int, ...] | None = None) -> OrderReport:
    """The order of a family of plans: family(k) is the plan on the grid refined k times.

    parts: three refinements, each twice the one before (chosen by the number of steps otherwise).
    Raises ValueError when the slopes cannot be told from rounding.

    >>> import fewtheory as ft
    >>> path = ft.paths.EDM()
    >>> plan = ft.samplers.heun(path, ft.plan.grids.log_snr(path, 4))
    >>> plan.order().order
    2
    """
    if parts is None:
        base = max(1, round(FIRST / max(family(1).nodes - 1, 1)))
        parts = (base, 2 * base, 4 * base)
    plans = [family(k) for k in parts]
    weak = any(p.stochastic for p in plans)
    measured = [weak_defects(p) if weak else defects(p) for p in plans]
    slopes: dict[str, float] = {}
    for name in measured[0]:
        values = np.array([m[name] for m in measured])  # (3, functions)
        usable = values[-1] > 64 * EPS * plans[-1].nodes
        if usable.any():
            first, last = np.log2(values[0] / values[1]), np.log2(values[1] / values[2])
            slopes[name] = float(np.min((2 * last - first)[usable]))
    if not slopes:
        raise fail("order", "family", "away from rounding on the coarser grids", parts)
    p = math.floor(min(slopes.values()) + 0.5)
    return OrderReport(p, "weak" if weak else "ode", slopes, tuple(q.nodes - 1 for q in plans))


def defects(plan: Plan) -> dict[str, np.ndarray]:
    """|quadrature|, |coupling| and |double coupling| of the output, a norm for each end of the
    grid.

    Each is relative to the size of the exact integral.
    """
    tab = plan.canonical()
    if tab.a.ndim > 1:
        raise fail("order", "plan", "free of elementwise coefficients", plan)
    lam, b = tab.lam, tab.B
    span = lam - lam[0]
    out: dict[str, list[float]] = {name: [] for name in MEASURES}
    for rates in RATES.values():
        found: dict[str, list[float]] = {name: [] for name in MEASURES}
        for rate in rates:
            f = np.exp(rate * span[:-1])
            exact = np.exp(rate * span) * -np.expm1(-(1 + rate) * span) / (1 + rate)
            delta = b @ f - exact
            size = float(np.abs(exact[-1])) + float(np.abs(b[-1] * f).max())
            found["quadrature"].append(abs(delta[-1]) / size)
            for omega in COUPLINGS:
                bJ = b * np.exp(omega * span[:-1])
                found["coupling"].append(abs(bJ[-1] @ delta[:-1]) / size)
                found["double coupling"].append(abs(bJ[-1] @ (bJ[:-1] @ delta[:-1])) / size)
        for name, values in found.items():
            out[name].append(float(np.linalg.norm(values)))
    return {name: np.array(values) for name, values in out.items()}


def weak_defects(plan: Plan) -> dict[str, np.ndarray]:
    """Relative errors of the output's mean and variance on Gaussian data N(1, c)."""
    c = np.array([0.05, 0.25, 1.0])
    law = plan.law(_Spectrum(c))
    scale = np.sqrt(law.exact_variance)
    mean = np.abs(law.spectral_mean - law.exact_mean) / scale
    return {"mean": mean, "variance": np.abs(law.variance / law.exact_variance - 1)}


@dataclass(frozen=True, eq=False)
class _Spectrum:
    spectrum: np.ndarray
    basis: None = None

    @property
    def spectral_mean(self) -> np.ndarray:
        return np.ones_like(self.spectrum)


def defect_moments(plan: Plan, node: int, count: int = 3, base: int | None = None) -> np.ndarray:
    """R_k(i) = sum_j w_ij (lam_j - lam_s)^k / k! - h^{k+1} phi_{k+1}(-h), k = 0..count-1.

    The step ends at `node` and continues `base` (by default the one state that its row refers
    to); h = lam_i - lam_s, w_ij = b_ij - e^{-h} b_sj in canonical coordinates. R_k = 0 for all
    k < p is what a step of order p needs of its weights, to O(h^{p+1}).
    """
    if base is None:
        sources = np.flatnonzero(plan.predicting("data").P[node])
        if sources.size != 1:
            raise fail("defect_moments", "base", f"given: row {node} has states", sources.tolist())
        base = int(sources[0])
    tab = plan.canonical()
    h = float(tab.lam[node] - tab.lam[base])
    w = tab.B[node] - math.exp(-h) * tab.B[base]
    away = tab.lam[:-1] - tab.lam[base]
    return np.array(
        [
            float(w @ away**k) / math.factorial(k) - h ** (k + 1) * phi(k + 1, -h)
            for k in range(count)
        ]
    )
