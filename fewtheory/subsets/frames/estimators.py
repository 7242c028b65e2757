"""Estimators of a policy's gradient and their exact means and variances, baseline by baseline.

All are unbiased where the baseline does not look at S; what they cost is their variance and the
clips that they judge. A baseline may depend on the logits and on other draws. The best constant is
not J; the mode's clip and a second draw of which only the reward is used can be worse than nothing.
Source: OCSampler (arXiv 2201.04388); sheet `ocsampler`, claims C2 and C4.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import integer, number
from .plackett_luce import order_log_prob, order_score, set_mode
from .policy import SetLaw, _rewards


@dataclass(frozen=True, eq=False)
class EstimatorMoments:
    """An estimator's exact mean (T,) and the trace of its covariance, over its own draws."""

    mean: np.ndarray
    trace: float


def _moments(weights: np.ndarray, terms: np.ndarray) -> EstimatorMoments:
    mean = weights @ terms
    return EstimatorMoments(mean, float(weights @ (terms**2).sum(axis=1) - mean @ mean))


def set_estimator(law: SetLaw, rewards: Any, baseline: float | int = 0.0) -> EstimatorMoments:
    """(R(S) - b) grad log P(S), one draw, b a constant.

    >>> from fewtheory.subsets.frames.policy import set_law
    >>> set_estimator(set_law([0.0, 0.0], 1), [1.0, 0.0]).trace
    0.125
    """
    R = _rewards("set_estimator", law, rewards)
    b = number("set_estimator", "baseline", baseline, -math.inf)
    return _moments(law.probs, (R - b)[:, None] * law.scores)


def order_estimator(law: SetLaw, rewards: Any, baseline: float | int = 0.0) -> EstimatorMoments:
    """(R(S) - b) grad log P(I), one draw, with the score of the order I that was drawn.

    Given S its mean is that of `set_estimator` (E[grad log P(I) | S] = grad log P(S), claim C2), so
    its variance is never smaller. k at most 6.
    """
    R, k = _rewards("order_estimator", law, rewards), law.sets.shape[1]
    integer("order_estimator", "k", k, 1, 6)
    b = number("order_estimator", "baseline", baseline, -math.inf)
    orders = law.sets[:, np.array(list(itertools.permutations(range(k))))]  # (M, k!, k)
    weights = np.exp(order_log_prob(law.logits, orders))
    terms = (R - b)[:, None, None] * order_score(law.logits, orders)
    return _moments(weights.ravel(), terms.reshape(-1, law.logits.size))


def second_draw_estimator(law: SetLaw, rewards: Any) -> EstimatorMoments:
    """(R(S) - R(S')) grad log P(S), S' a second draw that is judged for this alone: two clips.

    Its trace is that of `set_estimator` at b = J, plus Var(R) E |grad log P(S)|^2.
    """
    R = _rewards("second_draw_estimator", law, rewards)
    terms = (R[:, None] - R)[..., None] * law.scores[:, None, :]
    return _moments(np.outer(law.probs, law.probs).ravel(), terms.reshape(-1, law.logits.size))


def shared_draws_estimator(law: SetLaw, rewards: Any) -> EstimatorMoments:
    """(R - R') (grad log P(S) - grad log P(S')) / 2, each draw the other's baseline: two clips."""
    R = _rewards("shared_draws_estimator", law, rewards)
    gap = law.scores[:, None, :] - law.scores
    terms = (R[:, None] - R)[..., None] * gap / 2
    return _moments(np.outer(law.probs, law.probs).ravel(), terms.reshape(-1, law.logits.size))


def mode_estimator(law: SetLaw, rewards: Any) -> EstimatorMoments:
    """(R(S) - R(mode)) grad log P(S), the k largest logits' clip as the baseline: two clips."""
    R = _rewards("mode_estimator", law, rewards)
    mode = set_mode(law.logits, law.sets.shape[1])
    (row,) = np.flatnonzero((law.sets == mode).all(axis=1))
    return set_estimator(law, R, float(R[row]))


def best_baseline(law: SetLaw, rewards: Any) -> float:
    """b* = E[R |grad log P|^2] / E |grad log P|^2, the constant of least variance; it is not J.

    >>> from fewtheory.subsets.frames.policy import set_law
    >>> best_baseline(set_law([0.0, 0.0], 1), [1.0, 0.0])
    0.5
    """
    R = _rewards("best_baseline", law, rewards)
    weight = law.probs * (law.scores**2).sum(axis=1)
    return float(weight @ R / weight.sum())
