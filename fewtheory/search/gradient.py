"""Plans fitted to a Gaussian by the exact gradient of their output law.

The W2 distance of the output to the exact law is a smooth function of the canonical tableau and of
the levels, with a gradient in closed form, so BFGS finds few-step plans that no rule gives. They
are fitted to one spectrum: on other data they need not be better (sheet `plan-algebra`, C6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import fail, integer
from ..plan import Plan, Tableau
from ..plan.law import law, start_law, tableau_gradient

SMOOTHING = 1e-9  # added under the root of W2^2, whose gradient does not exist at zero


@dataclass(frozen=True)
class FitResult:
    """The fitted plan, its W2 distance in canonical coordinates, and how the search went."""

    plan: Plan
    w2: float
    success: bool
    status: str
    evaluations: int
    history: tuple[float, ...]


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


def fit_to_law(
    plan: Plan, gaussian: Any, *, point_mass: bool = True, iterations: int = 2000
) -> FitResult:
    """Minimise the output's W2 distance over all coefficients and interior levels, by BFGS.

    plan: deterministic and linear, the starting point; gaussian: the data, whose spectrum is
    fitted; point_mass: keep every node exact on point masses (a_i = rho_i / rho_0, rows of B that
    sum to 1 - a_i), which one weight a row is spent on. The first and last levels stay. The result
    is on the path alpha = 1; `plan.on(path)` moves it. Sheet `plan-algebra`, C6.
    """
    from scipy.optimize import minimize

    integer("fit_to_law", "iterations", iterations, 1)
    if plan.stochastic:
        raise fail("fit_to_law", "plan", "deterministic", plan)
    tab, m, c = plan.canonical(), gaussian.spectral_mean, gaussian.spectrum
    n = plan.nodes - 1
    free = np.tril(np.ones((n + 1, n), dtype=bool), -1)
    if point_mass:
        free[:, 0] = False
    begin = start_law("marginal", gaussian, 1.0, float(np.exp(-tab.lam[0])))
    history: list[float] = []

    def unpack(theta: np.ndarray) -> Tableau:
        lam, B, a = tab.lam.copy(), np.zeros((n + 1, n)), tab.a.copy()
        lam[1:n] = theta[: n - 1]
        weights = theta[n - 1 :]
        B[free] = weights[: free.sum()]
        if point_mass:
            a = np.exp(lam[0] - lam)
            B[1:, 0] = 1 - a[1:] - B[1:, 1:].sum(1)
        else:
            a[1:] = weights[free.sum() :]
        return replace(tab, a=a, B=B, lam=lam)

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        at = unpack(theta)
        g = tableau_gradient(at, m, c, begin, "w2_squared")
        d_lam = np.append(g.lam, 0.0)
        if point_mass:  # a_i = e^{lam_0 - lam_i}, and b_i0 = 1 - a_i - sum_j b_ij
            d_B = g.B - g.B[:, :1]
            d_lam += np.append(0.0, (g.B[1:, 0] - g.a[1:]) * at.a[1:])
            rest = np.empty(0)
        else:
            d_B, rest = g.B, g.a[1:]
        value = np.sqrt(max(g.value, 0.0) + SMOOTHING**2)
        history.append(float(value))
        return float(value), np.concatenate([d_lam[1:n], d_B[free], rest]) / (2 * value)

    start = [tab.lam[1:n], tab.B[free], np.empty(0) if point_mass else tab.a[1:]]
    found = minimize(
        objective,
        np.concatenate(start),
        jac=True,
        method="BFGS",
        options={"maxiter": iterations, "gtol": 1e-9},
    )
    fitted = _plan_of(unpack(found.x), plan)
    return FitResult(
        fitted,
        float(law(fitted, gaussian).w2),
        bool(found.success),
        str(found.message),
        found.nfev,
        tuple(history),
    )


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
