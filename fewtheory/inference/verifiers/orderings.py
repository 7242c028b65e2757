"""Estimates from n recorded attempts: the exact average over all orders in which they could come.

A run of at most K attempts on a task with n recorded ones is a draw of K without replacement, so
the average over all n! orders is a ratio of binomials, unbiased for every K <= n. No permutation is
drawn. The familiar estimator of pass@k is the case without false accepts; the plug-in
1 - (1 - c / n)^k is biased low.

Source: Inference Scaling fLaws (arXiv 2411.17501); sheet `inference-flaws`, M7.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import to_numpy
from ...errors import fail
from ...testbeds.verifier import Outcomes
from .counts import Counts


def pass_at_k(n: Any, correct: Any, k: Any) -> np.ndarray:
    """The unbiased estimate of P(one of k attempts is right): 1 - C(n - c, k) / C(n, k).

    As a product, 1 - prod_{i = n - c + 1}^{n} (1 - k / i), over the shorter of c and k factors.
    n, correct, k: integers that broadcast, 0 <= c <= n and 0 <= k <= n. Raises ValueError or
    TypeError by name. Source: sheet `inference-flaws`, M7.

    >>> pass_at_k(200, [0, 1, 3, 150], 50).round(9).tolist()
    [0.0, 0.25, 0.580249734, 1.0]
    """
    arrays = [np.asarray(to_numpy(v)) for v in (n, correct, k)]
    for name, value in zip(("n", "correct", "k"), arrays, strict=True):
        if value.dtype.kind not in "iu":
            raise TypeError(f"pass_at_k: {name} must hold integers, got {value!r}")
    n, c, k = np.broadcast_arrays(*(v.astype(np.int64) for v in arrays))
    if np.any(n < 1):
        raise fail("pass_at_k", "n", "at least 1", n)
    for name, value in (("correct", c), ("k", k)):
        if np.any((value < 0) | (value > n)):
            raise fail("pass_at_k", name, "in [0, n]", value)
    return np.asarray(1 - _missed(n, c, k))


def _missed(n: np.ndarray, m: np.ndarray, k: np.ndarray) -> np.ndarray:
    """C(n - m, k) / C(n, k): none of m marked attempts is among k of n drawn."""
    few, many = np.minimum(m, k), np.maximum(m, k)
    out = np.ones(n.shape)
    for i in range(int(few.max(initial=0))):
        factor = np.maximum(n - many - i, 0) / np.maximum(n - i, 1)
        out = np.where(i < few, out * factor, out)
    return out


def all_rejected(n: Any, accepted: Any, K: Any) -> np.ndarray:
    """P(the first K of n attempts are all rejected), (tasks, len(K)).

    n, accepted: (tasks,); K: increasing or not, each at most n. One product runs through all K.
    """
    n, m, K = np.asarray(n), np.asarray(accepted), np.asarray(K)
    out = np.empty((len(n), len(K)))
    running, done = np.ones(len(n)), 0
    for column in np.argsort(K, kind="stable"):
        for i in range(done, int(K[column])):
            running = running * (np.maximum(n - m - i, 0) / np.maximum(n - i, 1))
        done = int(K[column])
        out[:, column] = running
    return out


def attempt_limits(where: str, counts: Counts, K: Any) -> np.ndarray:
    """K as integers (len(K),) from 0 to the fewest attempts on any task, or an error by name."""
    limits = np.atleast_1d(np.asarray(K))
    if limits.ndim != 1 or limits.size == 0 or limits.dtype.kind not in "iu":
        raise fail(where, "K", "an integer or several", K)
    most = int(counts.n.min())
    if np.any((limits < 0) | (limits > most)):
        raise fail(where, "K", f"in [0, {most}], the fewest attempts on a task", K)
    return limits


def first_accept_estimates(counts: Counts, K: Any) -> Outcomes:
    """For each task, what at most K attempts end in, averaged over all orders of its n (M7).

        Q = 1 - C(n - tp - fp, K) / C(n, K);  right Q tp / (tp + fp), wrong Q fp / (tp + fp)

    and sum_{k < K} C(n - tp - fp, k) / C(n, k) attempts are made. Arrays (tasks, len(K)), each
    entry unbiased for its task's probability. K: integers, at most the fewest attempts on any task.
    Raises ValueError by name. Source: sheet `inference-flaws`, M7.

    >>> out = first_accept_estimates(Counts(6, [2], [1]), [3])
    >>> (60 * out.accuracy).round(12).tolist(), (60 * out.wrong).round(12).tolist()
    ([[38.0]], [[19.0]])
    """
    limits = attempt_limits("first_accept_estimates", counts, K)
    every = np.arange(int(limits.max()) + 1)
    none = all_rejected(counts.n, counts.accepted, every)
    made = np.concatenate([np.zeros((counts.tasks, 1)), np.cumsum(none, axis=1)], axis=1)
    share = np.maximum(counts.accepted, 1)[:, None]
    answered = 1 - none[:, limits]
    right, wrong = (counts.tp[:, None] / share, counts.fp[:, None] / share)
    return Outcomes(answered * right, answered * wrong, none[:, limits], made[:, limits])
