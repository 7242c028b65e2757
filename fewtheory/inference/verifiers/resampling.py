"""Resampling until a verifier accepts: what was gained, what can be, and when to stop.

    counts = resampling.record(model, tasks, verify, truth, n=50)     # per task: n, tp, fp, fn
    curve = resampling.accuracy(counts, range(1, 51))                 # exact over orderings
    plan = resampling.plan(counts, fp_cost=2.0, sample_cost=0.01)     # K*, in closed form

The accuracy of an accepted answer on one task does not depend on the number of attempts, so a curve
ends at the ceiling A_inf; a verifier that lets wrong answers pass makes attempts after the K*-th
cost more than they bring.

Source: Inference Scaling fLaws (arXiv 2411.17501); sheet `inference-flaws`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, number, one_of
from .counts import Counts, record
from .intervals import Interval, Uncertainty, probability_interval
from .orderings import attempt_limits, first_accept_estimates, pass_at_k
from .plans import Plan, plan, plans

__all__ = [
    "Curve",
    "Plan",
    "accuracy",
    "ceiling",
    "pass_at_k",
    "plan",
    "plans",
    "pooled_soundness",
    "precision",
    "record",
    "soundness_of_rates",
    "utility",
]


@dataclass(frozen=True, eq=False)
class Curve:
    """What at most K attempts give: an interval at each K.

    accuracy, wrong, abstain: right, wrong and no answer; attempts: the expected number made.
    """

    K: tuple[int, ...]
    accuracy: tuple[Interval, ...]
    wrong: tuple[Interval, ...]
    abstain: tuple[Interval, ...]
    attempts: tuple[float, ...]


def accuracy(counts: Counts, K: Any, *, by: Uncertainty | None = None) -> Curve:
    """The curve of accuracy against at most K attempts, averaged over tasks and all orders (M7).

    K: integers, at most the fewest attempts on any task. by: the intervals' level and how they are
    made, over tasks. Raises ValueError by name. Source: sheet `inference-flaws`, M7.

    >>> curve = accuracy(Counts(6, [2, 0, 5], [1, 1, 0]), [1, 3])
    >>> [round(v.value, 6) for v in curve.accuracy]
    [0.388889, 0.544444]
    """
    limits = attempt_limits("accuracy", counts, K)
    rows, w = counts.grouped()
    out = first_accept_estimates(rows, limits)
    right, failed, none = (
        tuple(probability_interval(np.minimum(v, 1.0), None, w, by=by) for v in values.T)
        for values in (out.accuracy, out.wrong, out.abstain)
    )
    attempts = (w @ out.attempts / w.sum()).tolist()
    return Curve(tuple(limits.tolist()), right, failed, none, tuple(attempts))


def utility(
    counts: Counts, K: int, fp_cost: float | int, sample_cost: float | int = 0.0, *,
    by: Uncertainty | None = None,
) -> Interval:  # fmt: skip
    """U_K = P(right) - fp_cost P(wrong) - sample_cost E[attempts], with its interval.

    Of a task it lies between -fp_cost - sample_cost K and 1.

    >>> utility(Counts(6, [2, 0, 5], [1, 1, 0]), 1, 1.0).value.__round__(6)
    0.277778
    """
    number("utility", "fp_cost", fp_cost, 0.0)
    number("utility", "sample_cost", sample_cost, 0.0)
    rows, w = counts.grouped()
    out = first_accept_estimates(rows, np.array([K]))
    worst = -fp_cost - sample_cost * K
    scaled = (out.utility(fp_cost, sample_cost)[:, 0] - worst) / (1 - worst)
    found = probability_interval(np.clip(scaled, 0.0, 1.0), None, w, by=by)
    value, low, high = (worst + (1 - worst) * v for v in (found.value, found.low, found.high))
    return Interval(value, low, high, found.level)


def ceiling(counts: Counts, *, never: str = "dropped", by: Uncertainty | None = None) -> Interval:
    """A_inf: the mean over tasks of tp / (tp + fp), where no number of attempts leads further (M2).

    never: tasks that were never accepted are "dropped", as in the paper (which flatters weak
    models), or count as "wrong" or "right": the bounds.

    >>> [round(ceiling(Counts(6, [2, 0, 5], [1, 0, 0]), never=n).value, 4)
    ...  for n in ("wrong", "dropped", "right")]
    [0.5556, 0.8333, 0.8889]
    """
    one_of("ceiling", "never", never, ("dropped", "wrong", "right"))
    rows, w = counts.grouped()
    seen = rows.accepted > 0
    if not seen.any() and never == "dropped":
        raise fail("ceiling", "counts", "with an accept on some task", rows.accepted)
    share = np.where(seen, rows.tp / np.maximum(rows.accepted, 1), float(never == "right"))
    y = seen.astype(float) if never == "dropped" else None
    return probability_interval(share * seen if never == "dropped" else share, y, w, by=by)


def precision(counts: Counts, *, by: Uncertainty | None = None) -> Interval:
    """The pooled P(right | accepted) of a single attempt: sum tp / n over sum (tp + fp) / n.

    >>> precision(Counts(6, [2, 0, 5], [1, 1, 0])).value.__round__(6)
    0.777778
    """
    rows, w = counts.grouped()
    if not rows.accepted.any():
        raise fail("precision", "counts", "with an accept on some task", rows.accepted)
    return probability_interval(rows.tp / rows.n, rows.accepted / rows.n, w, by=by)


def pooled_soundness(counts: Counts, *, by: Uncertainty | None = None) -> Interval:
    """s = P(reject, wrong) / P(wrong), pooled over tasks: never the mean of ratios (C11).

    >>> pooled_soundness(Counts(6, [2, 0, 5], [1, 1, 0])).value.__round__(6)
    0.818182
    """
    rows, w = counts.grouped()
    wrong = rows.n - rows.right
    if not wrong.any():
        raise fail("pooled_soundness", "counts", "with a wrong attempt on some task", wrong)
    return probability_interval((wrong - rows.fp) / rows.n, wrong / rows.n, w, by=by)


def soundness_of_rates(base: float | int, plus: float | int) -> float:
    """s = (1 - B) / (1 - P) from mean pass rates of the verifier (B) and the truth (P), c = 1.

    Source: sheet `inference-flaws`, C11.

    >>> round(soundness_of_rates(0.6371, 0.55017), 4)
    0.8067
    """
    P = number("soundness_of_rates", "plus", plus, 0.0, 1.0)
    B = number("soundness_of_rates", "base", base, P, 1.0)
    if P == 1:
        raise fail("soundness_of_rates", "plus", "less than 1", plus)
    return (1 - B) / (1 - P)
