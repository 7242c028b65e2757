"""Which part of a step is wrong: the moments of its weights against those that a step needs.

A step from s to i integrates the prediction against an exponential kernel. It takes the k-th
derivative of the prediction with the weight

    M_k = sum_j w_j (lam_j - lam_s)^k / k!,     needed: theta h^k phi_{k+1}(-theta),     data,
                                                        h^{k+1} phi_{k+1}(h),             noise,

h = lam_i - lam_s, in canonical coordinates, e^{-theta} the factor of the state: theta = h for
the ODE, (1 + eta) h for SDE-DPM-Solver++. The ratio of both is 1 for k = 0, and tends to 1 with
h for each k below the order; a ratio that tends to 1/2 is a weight that is half of what it should
be. Sheet `plan-algebra`, "Order from the coefficients".
"""

from __future__ import annotations

import math

import numpy as np

from ..plan.phi import phi
from .recovered import Recovered

OFF = 0.25  # of a ratio: what is right tends to 1 with h, a forgotten factor stays 1/2 away


def ratios(run: Recovered, count: int = 4) -> np.ndarray:
    """M_k / needed for each node, (n+1, count); NaN for what is no finite step."""
    rule = run.rule
    plan, base = rule.plan, rule.base
    out = np.full((plan.nodes, count), np.nan)
    data = plan.prediction == "data"
    if plan.stochastic and not data:
        return out
    for i in range(1, plan.nodes):
        s = int(base[i])
        h = float(plan.lam[i] - plan.lam[s])
        if not (math.isfinite(h) and h != 0 and plan.P[i, s] > 0):
            continue
        w = plan.B[i] / (plan.alpha[i] if data else -plan.sigma[i])
        used = np.flatnonzero(w)
        away = plan.lam[:-1][used] - plan.lam[s]
        if not np.all(np.isfinite(away)):
            continue
        theta = -math.log(plan.P[i, s] * plan.alpha[s] / plan.alpha[i]) if data else h
        if theta == 0:
            continue
        for k in range(count):
            needed = theta * h**k * phi(k + 1, -theta) if data else h ** (k + 1) * phi(k + 1, h)
            out[i, k] = float(w[used] @ away**k) / math.factorial(k) / needed
    return out


def weights_needed(run: Recovered, node: int) -> np.ndarray | None:
    """The weights on the same evaluations that match every moment, (n,); None for no such step.

    In the rule's own prediction; with k evaluations the step is then of order k.
    """
    plan, s = run.rule.plan, int(run.rule.base[node])
    data = plan.prediction == "data"
    used = np.flatnonzero(plan.B[node])
    h = float(plan.lam[node] - plan.lam[s])
    away = plan.lam[:-1][used] - plan.lam[s]
    if (plan.stochastic and not data) or not used.size or not math.isfinite(h) or h == 0:
        return None
    if not np.all(np.isfinite(away)) or np.unique(away).size < used.size:
        return None
    theta = -math.log(plan.P[node, s] * plan.alpha[s] / plan.alpha[node]) if data else h
    k = np.arange(used.size)
    needed = [
        theta * h**j * phi(j + 1, -theta) if data else h ** (j + 1) * phi(j + 1, h)
        for j in k.tolist()
    ]
    factorials = np.array([math.factorial(j) for j in k.tolist()], dtype=np.float64)
    out = np.zeros(plan.nodes - 1)
    solved = np.linalg.solve(away[None, :] ** k[:, None] / factorials[:, None], np.array(needed))
    out[used] = solved * (plan.alpha[node] if data else -plan.sigma[node])
    return out
