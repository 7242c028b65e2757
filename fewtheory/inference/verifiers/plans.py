"""How many attempts to allow, from recorded counts: the law that fits, its K* and its ceiling.

Source: Inference Scaling fLaws (arXiv 2411.17501); sheet `inference-flaws`, M4 to M8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, number
from ...testbeds.verifier import Attempts, VerifierWorld
from .counts import Counts
from .fits import LAWS, LawFit, fit_law
from .intervals import Interval, Uncertainty
from .orderings import first_accept_estimates


@dataclass(frozen=True, eq=False)
class Plan:
    """How many attempts to allow, from recorded counts.

    K: the smallest optimal number, math.inf if there is no last one; K_low, K_high: its limits;
    seen: the best K up to the attempts recorded, without any law (`at_edge`: it is the last one, so
    the optimum may lie beyond); utility: at K; ceiling: A_inf of the law; fit: the law; others: the
    laws not chosen, with their AIC or the reason why they have none.
    """

    fp_cost: float
    sample_cost: float
    K: Attempts
    K_low: Attempts
    K_high: Attempts
    seen: int
    at_edge: bool
    utility: float
    ceiling: Interval
    fit: LawFit
    others: dict[str, float | str]


def plan(
    counts: Counts, *, fp_cost: float | int, sample_cost: float | int = 0.0, law: str | None = None,
    soundness: Any = None, level: float | int = 0.95,
) -> Plan:  # fmt: skip
    """K* in closed form from the law of tasks that fits the counts, with the ceiling of accuracy.

    fp_cost: what a wrong answer costs, in right answers; sample_cost: what an attempt costs. law:
    "beta" (one soundness), "beta-beta" or "dirichlet"; None: the one of least AIC. soundness: if it
    is known from elsewhere (then "beta"). Limits of K are quantiles over the likelihood's normal
    approximation; K infinite is not the largest K looked at but no last one. Raises ValueError by
    name, also where no law can be fitted. Source: sheet `inference-flaws`, M4 to M8.

    >>> counts = Counts(10, [0, 3, 10, 6, 1, 9, 2], [2, 2, 0, 0, 3, 1, 0])
    >>> plan(counts, fp_cost=1.0, law="beta").K
    2
    """
    return plans(counts, [fp_cost], sample_cost=sample_cost, law=law, soundness=soundness,
                 level=level)[0]  # fmt: skip


def plans(
    counts: Counts, fp_costs: Sequence[float | int], *, sample_cost: float | int = 0.0,
    law: str | None = None, soundness: Any = None, level: float | int = 0.95,
) -> list[Plan]:  # fmt: skip
    """`plan` for several costs of a wrong answer, from one fit.

    >>> counts = Counts(10, [0, 3, 10, 6, 1, 9, 2], [2, 2, 0, 0, 3, 1, 0])
    >>> [p.K for p in plans(counts, [0.5, 1.0, 4.0], law="beta")]
    [5, 2, 1]
    """
    costs = [number("plan", "fp_cost", v, 0.0) for v in fp_costs]
    kappa = number("plan", "sample_cost", sample_cost, 0.0)
    level = Uncertainty(level).level
    best, others = _least_aic(counts, law, soundness)
    ceiling_of_law = law_ceiling(best, level)
    found = []
    for lam, (seen, edge) in zip(costs, best_seen(counts, costs, kappa), strict=True):
        K = best.world.best_attempts(lam, kappa)
        low, high = _limits_of_K(best, lam, kappa, level)
        if K == math.inf:
            value = _limit_utility(best.world, lam, kappa)
        else:
            value = float(best.world.utility(int(K), lam, kappa))
        found.append(Plan(lam, kappa, K, min(low, K), max(high, K), seen, edge, value,
                          ceiling_of_law, best, others))  # fmt: skip
    return found


def _limit_utility(world: VerifierWorld, lam: float, kappa: float) -> float:
    if kappa == 0:
        share = world.ceiling()
        return share - lam * (1 - share)
    return float(world.limit().utility(lam, kappa))


def _least_aic(
    counts: Counts, law: str | None, soundness: Any
) -> tuple[LawFit, dict[str, float | str]]:
    """The law that fits best, and what became of the others."""
    asked = LAWS if law is None else (law,)
    if soundness is not None and law is None:
        asked = ("beta",)
    fits = {name: fit_law(counts, name, soundness=soundness) for name in asked}
    ready = [f for f in fits.values() if isinstance(f, LawFit)]
    if not ready:
        raise fail("plan", "counts", "such that a law of tasks can be fitted", fits)
    best = min(ready, key=_aic)
    return best, {
        n: f.aic if isinstance(f, LawFit) else f for n, f in fits.items() if f is not best
    }


def _aic(fit: LawFit) -> float:
    return fit.aic


def best_seen(
    counts: Counts, fp_costs: Sequence[float | int], sample_cost: float | int = 0.0
) -> list[tuple[int, bool]]:
    """The best K up to the fewest attempts recorded, without any law, at each cost.

    The second entry: whether it is the last K, so that the best may lie beyond.

    >>> best_seen(Counts(6, [2, 0, 5], [1, 1, 0]), [0.1, 4.0])
    [(4, False), (0, False)]
    """
    rows, w = counts.grouped()
    most = int(rows.n.min())
    out = first_accept_estimates(rows, np.arange(most + 1))
    right, wrong, made = ((w @ v) / w.sum() for v in (out.accuracy, out.wrong, out.attempts))
    found = []
    for cost in fp_costs:
        U = right - cost * wrong - sample_cost * made
        # a plateau of rounding is no rise
        best = int(np.argmax(U > U.max() - 1e-13 * max(1.0, np.abs(U).max())))
        found.append((best, best == most))
    return found


def law_ceiling(fit: LawFit, level: float | int = 0.95) -> Interval:
    """A_inf of a fitted law; its limits by the delta method in log odds."""
    value, h, slope = fit.world.ceiling(), 1e-4, []
    if not 0 < value < 1:
        return Interval(value, value, value, float(level))
    for row in np.eye(len(fit.logs)):
        up, down = (fit.at(fit.logs + d * h * row).ceiling() for d in (1, -1))
        slope.append((_logit(up) - _logit(down)) / (2 * h))
    reach = fit.reach(level) * math.sqrt(np.array(slope) @ fit.covariance @ slope)
    low, high = (1 / (1 + math.exp(-(_logit(value) + d * reach))) for d in (-1, 1))
    return Interval(value, low, high, float(level))


def _logit(p: float) -> float:
    return math.log(p / (1 - p)) if 0 < p < 1 else math.copysign(40.0, p - 0.5)


def _limits_of_K(
    fit: LawFit, lam: float, kappa: float, level: float, points: int = 511
) -> tuple[Attempts, Attempts]:
    """Quantiles of K* over N(logs, covariance) at a lattice's points: the same each time."""
    from scipy.special import ndtri

    d = len(fit.logs)
    ratio = 1.5
    for _ in range(40):  # the root of x^{d + 1} = x + 1: Kronecker's sequence of its powers
        ratio = (1 + ratio) ** (1 / (d + 1))
    u = (0.5 + np.arange(1, points + 1)[:, None] * ratio ** -np.arange(1.0, d + 1)) % 1
    root = np.linalg.cholesky(fit.covariance + 1e-15 * np.eye(d))
    root = root * (fit.reach(level) / float(ndtri((1 + level) / 2)))
    moved = fit.logs + ndtri(u) @ root.T
    found = sorted(fit.at(np.clip(row, -30.0, 30.0)).best_attempts(lam, kappa) for row in moved)
    edge = (1 - level) / 2
    return found[int(edge * points)], found[math.ceil((1 - edge) * points) - 1]
