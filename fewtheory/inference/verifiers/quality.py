"""Are wrong answers that pass also worse written? A property of answers, given what became of them.

Source: Inference Scaling fLaws (arXiv 2411.17501), "code quality"; sheet `inference-flaws`, M9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail
from .intervals import Interval, Uncertainty, contrast_interval, probability_interval


@dataclass(frozen=True, eq=False)
class Quality:
    """P(property | what became of the answer), averaged over tasks that have such answers.

    correct; accepted: by the verifier, right or not; false_positive: accepted and wrong;
    difference: correct less false positive, its interval from the tasks' joint influence.
    """

    correct: Interval
    accepted: Interval
    false_positive: Interval
    difference: Interval


def quality(
    task: Any, has_property: Any, accepted: Any, correct: Any, *, by: Uncertainty | None = None
) -> Quality:
    """Compare P(t | correct), P(t | accepted) and P(t | false positive), macro-averaged (M9).

    One entry an attempt: task, any labels; three arrays of booleans. A task without such an answer
    does not count in that average. Raises ValueError by name, also where no task has one.
    Source: sheet `inference-flaws`, M9.

    >>> T, F = True, False
    >>> out = quality(["a", "a", "b", "b"], [T, F, T, T], [T, T, T, T], [T, F, T, F])
    >>> out.correct.value, out.false_positive.value, out.difference.value
    (1.0, 0.5, 0.5)
    """
    labels, t = np.asarray(task), np.asarray(has_property)
    a, c = np.asarray(accepted), np.asarray(correct)
    for name, column in (("has_property", t), ("accepted", a), ("correct", c)):
        if column.dtype != bool or column.shape != labels.shape or labels.ndim != 1:
            raise fail("quality", name, "booleans, one an attempt", column)
    _, index = np.unique(labels, return_inverse=True)
    tasks = int(index.max(initial=-1)) + 1
    parts = {"correct": c, "accepted": a, "false_positive": a & ~c}
    shares = {}
    for name, among in parts.items():
        total = np.bincount(index[among], minlength=tasks)
        if not total.any():
            raise fail("quality", name, "true of an attempt", among)
        hits = np.bincount(index[among & t], minlength=tasks)
        shares[name] = (hits / np.maximum(total, 1), (total > 0).astype(float))
    right, passed, false = (probability_interval(*shares[name], by=by) for name in parts)
    terms = [(1.0, *shares["correct"]), (-1.0, *shares["false_positive"])]
    return Quality(right, passed, false, contrast_interval(terms, by=by))
