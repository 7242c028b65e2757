"""Plans fitted to a Gaussian by the exact gradient of their output law.

The W2 distance of the output to the exact law is a smooth function of the canonical tableau and of
the levels, with a gradient in closed form, so BFGS finds few-step plans that no rule gives. They
are fitted to one spectrum: on other data they need not be better (sheet `plan-algebra`, C6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import fail, integer
from ..plan import Plan, Tableau
from ..plan.law import LawGradient, law, start_law, tableau_gradient
from .driver import method, run
from .ledger import Candidate, Ledger, SearchResult

SMOOTHING = 1e-9  # added under the root of W2^2, whose gradient does not exist at zero


def _plan_of(tab: Tableau, like: Plan) -> Plan:
    """A plan on y = u / alpha (alpha = 1, sigma = rho) whose step form is this tableau."""
    n = tab.lam.size - 1
    P = np.zeros((n + 1, n + 1))
    P[1:, 0] = tab.a[1:]
    rho = np.exp(-tab.lam)
    return Plan(
        P=P,
        B=tab.B,
        C=tab.C,
        d=tab.d,
        lam=tab.lam,
        alpha=np.ones(n + 1),
        sigma=rho,
        t=rho,
        name=f"{like.name} (fitted)",
        settings=dict(like.settings),
    )


@dataclass(frozen=True, eq=False)
class LawDistance:
    """The objective plan -> W2 between its exact output law and the data, for Gaussian data."""

    gaussian: Any

    def __call__(self, plan: Plan) -> float:
        return float(law(plan, self.gaussian).w2)

    def gradient(self, tab: Tableau) -> LawGradient:
        """The derivatives of W2^2 in a canonical tableau whose first level is the start."""
        m, c = self.gaussian.spectral_mean, self.gaussian.spectrum
        begin = start_law("marginal", self.gaussian, 1.0, float(np.exp(-tab.lam[0])))
        return tableau_gradient(tab, m, c, begin, "w2_squared")


@dataclass(frozen=True, eq=False)
class Coefficients:
    """All plans with the levels' ends and the noises of a plan: its tableau and interior levels.

    A candidate lists the interior levels, then the free weights. point_mass: every node stays exact
    on point masses (a_i = rho_i / rho_0, rows of B that sum to 1 - a_i), which one weight a row is
    spent on. What is built stands on the path alpha = 1; `plan.on(path)` moves it.
    """

    plan: Plan
    point_mass: bool = True

    def __post_init__(self) -> None:
        if self.plan.stochastic:
            raise fail("Coefficients", "plan", "deterministic", self.plan)

    @cached_property
    def start(self) -> Tableau:
        """The plan's own canonical tableau."""
        return self.plan.canonical()

    @cached_property
    def free(self) -> np.ndarray:
        """Which weights of B are chosen."""
        n = self.plan.nodes - 1
        free = np.tril(np.ones((n + 1, n), dtype=bool), -1)
        free[:, 0] &= not self.point_mass
        return free

    def seeds(self) -> list[Candidate]:
        """The plan itself."""
        n = self.plan.nodes - 1
        rest = np.empty(0) if self.point_mass else self.start.a[1:]
        found = np.concatenate([self.start.lam[1:n], self.start.B[self.free], rest])
        return [tuple(found.tolist())]

    def tableau(self, candidate: Candidate) -> Tableau:
        """The tableau of a candidate."""
        n, theta, tab = self.plan.nodes - 1, np.asarray(candidate), self.start
        lam, B, a = tab.lam.copy(), np.zeros_like(tab.B), tab.a.copy()
        lam[1:n] = theta[: n - 1]
        weights = theta[n - 1 :]
        B[self.free] = weights[: self.free.sum()]
        if self.point_mass:
            a = np.exp(lam[0] - lam)
            B[1:, 0] = 1 - a[1:] - B[1:, 1:].sum(1)
        else:
            a[1:] = weights[self.free.sum() :]
        return replace(tab, a=a, B=B, lam=lam)

    def build(self, candidate: Candidate) -> Plan:
        """The plan of a candidate."""
        return _plan_of(self.tableau(candidate), self.plan)


def _slope(space: Coefficients, tab: Tableau, g: LawGradient) -> np.ndarray:
    """Derivatives in the tableau as derivatives in the candidate."""
    n, d_lam = space.plan.nodes - 1, np.append(g.lam, 0.0)
    if not space.point_mass:
        return np.concatenate([d_lam[1:n], g.B[space.free], g.a[1:]])
    d_B = g.B - g.B[:, :1]  # a_i = e^{lam_0 - lam_i}, and b_i0 = 1 - a_i - sum_j b_ij
    d_lam += np.append(0.0, (g.B[1:, 0] - g.a[1:]) * tab.a[1:])
    return np.concatenate([d_lam[1:n], d_B[space.free]])


@method("tableau", "free", "seeds")
def gradient(
    space: Coefficients, ledger: Ledger, rng: np.random.Generator, start: Sequence[Candidate]
) -> str:
    """BFGS from the first start, for an objective that knows its `gradient`."""
    from scipy.optimize import minimize

    if not hasattr(ledger.objective, "gradient"):
        kind = type(ledger.objective).__name__
        raise TypeError(f"search.run: objective must have 'gradient' for 'gradient', got {kind}")

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        candidate = tuple(theta.tolist())
        ledger.ask("descent", [candidate])
        tab = space.tableau(candidate)
        g = ledger.objective.gradient(tab)
        value = np.sqrt(max(g.value, 0.0) + SMOOTHING**2)
        return float(value), _slope(space, tab, g) / (2 * value)

    begin = np.array((list(start) or space.seeds())[0])
    options = {"maxiter": ledger.budget, "gtol": 1e-9}
    return str(minimize(objective, begin, jac=True, method="BFGS", options=options).message)


def fit_to_law(
    plan: Plan, gaussian: Any, *, point_mass: bool = True, budget: int = 4000
) -> SearchResult:
    """Minimises the output's W2 distance over all coefficients and interior levels, by BFGS.

    plan: deterministic and linear, the starting point; gaussian: the data, whose spectrum is
    fitted; point_mass: see `Coefficients`. `value` of the result is the W2 distance on the path
    alpha = 1, on which its plan stands. Sheet `plan-algebra`, C6.
    """
    integer("fit_to_law", "budget", budget, 1)
    if plan.stochastic:
        raise fail("fit_to_law", "plan", "deterministic", plan)
    space = Coefficients(plan, point_mass)
    return run(space, LawDistance(gaussian), method=gradient, budget=budget)


def refit_last_row(plan: Plan, gaussian: Any) -> Plan:
    """The plan with the last row of its canonical tableau chosen by linear least squares.

    With the earlier rows fixed, the output A_n x_T + q_n m is linear in the last row, so the
    W2-optimal one (in standard deviation, over the spectrum) solves a least-squares problem; the
    point-mass constraint eliminates the first weight. For a deterministic plan and centred data.
    """
    if plan.stochastic:
        raise fail("refit_last_row", "plan", "deterministic", plan)
    if np.any(gaussian.spectral_mean):
        raise fail("refit_last_row", "gaussian", "centred", gaussian.spectral_mean)
    tab, c = plan.canonical(), gaussian.spectrum
    n, rho2 = plan.nodes - 1, np.exp(-2 * tab.lam)[:, None]
    g = c / (c + rho2[:-1])
    A = np.zeros((n, c.size))
    for i in range(n):
        A[i] = tab.a[i] + (tab.B[i, :i, None] * g[:i] * A[:i]).sum(0)
    carried, std_T = g * A, np.sqrt(c + rho2[0])  # x0hat_j per unit of x_T
    target = np.sqrt(c + rho2[n]) - (tab.a[n] + (1 - tab.a[n]) * carried[0]) * std_T
    columns = (carried[1:] - carried[0]) * std_T
    weights, *_ = np.linalg.lstsq(columns.T, target, rcond=None)
    B = tab.B.copy()
    B[n] = np.concatenate([[1 - tab.a[n] - weights.sum()], weights])
    return _plan_of(replace(tab, B=B), plan)
