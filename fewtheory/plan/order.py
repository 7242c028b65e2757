"""The order of convergence of a sampler, from its coefficients alone.

The error of a plan against the exact flow is (I - B J)^{-1} Delta[m] to first order, where Delta[f]
is the plan's error on the forced equation y' = -y + f(lam) in canonical coordinates. So three
families of numbers decide orders up to four: the quadrature error of the output, its coupling
through the stages (which quadrature alone misses), and the coupling twice. The smallest slope under
refinement is the order. For stochastic plans the weak order is read off the exact law on Gaussian
data instead. Sheet `plan-algebra`, "Order from the coefficients".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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


def defects(
    plan: Plan,
    first: int = 1,
    at: Sequence[int] | None = None,
    families: Mapping[str, tuple[complex, ...]] = RATES,
) -> dict[str, np.ndarray]:
    """|quadrature|, |coupling| and |double coupling| of the plan, a norm for each family of rates.

    first: the nodes before it are exact (1: the start alone), so that a warm-up does not count;
    at: the nodes at which the errors are taken (the output). Each is relative to the size of the
    exact solution of y' = -y + f, which is f / (1 + kappa) for f = exp(kappa lam).
    """
    nodes = np.array([plan.nodes - 1] if at is None else at)
    last = int(nodes.max())
    P, B, lam = canonical_steps(plan, first, last)
    span = (lam - lam[first - 1])[:, None]
    rates = np.concatenate([np.array(r) for r in families.values()])
    f = np.exp(rates * span)
    exact = f / (1 + rates)
    delta = _continued(P, B @ f[:last], exact, first) - exact
    size = np.abs(exact[nodes]) + np.abs(B[nodes][:, :, None] * f[:last]).max(axis=1)
    found: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
    found["quadrature"].append(delta[nodes])
    for omega in COUPLINGS:
        J = np.exp(omega * span[:last])
        once = _continued(P, B @ (J * delta[:last]), 0 * f, first)
        twice = _continued(P, B @ (J * once[:last]), 0 * f, first)
        found["coupling"].append(once[nodes])
        found["double coupling"].append(twice[nodes])
    split = (-1, len(nodes), len(families), len(rates) // len(families))
    return {
        name: np.linalg.norm((np.abs(values) / size).reshape(split), axis=(0, 3)).mean(axis=0)
        for name, values in found.items()
    }


def canonical_steps(plan: Plan, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P and B of y = u / alpha in data prediction and lam, up to node `last`.

    Only what the rows from `first` on refer to must have alpha > 0; other earlier nodes are left
    out of P and B.
    """
    if plan._event_axes():
        raise fail("order", "plan", "free of elementwise coefficients", plan)
    plan._require_linear("order")
    data = plan.predicting("data")
    P, B = data.P[: last + 1, : last + 1], data.B[: last + 1, :last]
    used = np.any(P[first:] != 0, axis=0) | np.append(np.any(B[first:] != 0, axis=0), True)
    used[first - 1 :] = True
    if np.any(plan.alpha[: last + 1][used] <= 0):
        raise fail("order", "plan", "one with alpha > 0 at its nodes", plan.alpha)
    alpha = np.where(used, plan.alpha[: last + 1], 1.0)[:, None]
    lam = np.where(used, plan.lam[: last + 1], plan.lam[first - 1])
    return P * alpha[:, 0] / alpha, B / alpha, lam


def _continued(P: np.ndarray, source: np.ndarray, start: np.ndarray, first: int) -> np.ndarray:
    """y_i = sum_j P_ij y_j + source_i, from the values that `start` gives before `first`."""
    y = start.astype(np.complex128)
    for i in range(first, len(y)):
        y[i] = P[i, :i] @ y[:i] + source[i]
    return y


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
