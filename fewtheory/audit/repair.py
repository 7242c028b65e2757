"""The same sampler, mended: a plan that a pipeline can run today.

What is mended are the rows that were recovered. Weights that miss a moment are solved for anew over
the same evaluations; a step of zero length goes, or, where the run ends before the data, becomes
the denoising step that is missing; and the plan tells its network the levels in which it
integrates, fractions of a timestep included. Nothing is fitted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..plan import Plan
from .moments import OFF, ratios, weights_needed
from .recovered import Recovered
from .rule import SHORT, step_lengths


def mended(run: Recovered, named: int | None, name: str, noisy_end: bool = False) -> Plan:
    """This run with its weights, steps and levels put right.

    named: the order that its step should have (None: leave the weights); noisy_end: whether it
    stops before the data, so that a last step to sigma = 0 is due.
    """
    plan = run.rule.plan
    if named is not None:
        plan = _reweighted(run, named)
    plan = _without_empty_steps(plan, run.rule.base, noisy_end)
    return replace(plan, name=f"{name}, mended", family=None)


def _reweighted(run: Recovered, named: int) -> Plan:
    """Rows whose moments below the named order are off, with the weights that match them."""
    plan, B = run.rule.plan, run.rule.plan.B.copy()
    off = np.abs(ratios(run, named) - 1) > OFF
    for i in np.flatnonzero(np.any(off, axis=1)):
        uses = int(run.rule.uses[i])
        needed = weights_needed(run, int(i)) if np.any(off[i, :uses]) else None
        if needed is not None:
            B[i] = needed
    return replace(plan, B=B)


def _without_empty_steps(plan: Plan, base: np.ndarray, noisy_end: bool) -> Plan:
    """The plan without the nodes that repeat the one that they continue."""
    P, B = plan.P.copy(), plan.B.copy()
    n = plan.nodes - 1
    still = np.abs(step_lengths(plan.lam, base)) <= SHORT
    empty = [i for i in range(1, n + 1) if still[i] and not np.any(B[i])]
    if noisy_end and n in empty:
        return _to_the_data(plan)
    if n in empty:  # the output repeats the last state: that state is the output
        plan = replace(
            plan,
            P=plan.P[:n, :n],
            B=plan.B[:n, : n - 1],
            C=plan.C[:n],
            **{k: getattr(plan, k)[:n] for k in ("d", "lam", "alpha", "sigma", "t")},
        )
        return _without_empty_steps(plan, base[:n], False)
    for i in empty:
        s = int(base[i])
        P[:, s] += P[:, i]
        if i < n:
            B[:, s] += B[:, i]
    keep = np.setdiff1d(np.arange(n + 1), empty)
    return replace(
        plan,
        P=P[np.ix_(keep, keep)],
        B=B[np.ix_(keep, keep[:-1])],
        C=plan.C[keep],
        **{k: getattr(plan, k)[keep] for k in ("d", "lam", "alpha", "sigma", "t")},
    )


def _to_the_data(plan: Plan) -> Plan:
    """The plan whose last evaluation, at the level where it stops, gives the data prediction."""
    plan = plan.predicting("data")
    n = plan.nodes - 1
    P, B, C = plan.P.copy(), plan.B.copy(), plan.C.copy()
    P[n], B[n], C[n] = 0.0, 0.0, 0.0
    B[n, n - 1] = 1.0
    ends = {"lam": np.inf, "alpha": 1.0, "sigma": 0.0, "t": plan.t[n - 1]}
    moved = {k: np.append(getattr(plan, k)[:n], v) for k, v in ends.items()}
    return replace(plan, P=P, B=B, C=C, **moved)
