"""How often each of T frames is among the k first clocks, and how that moves with the logits.

Frame i is chosen when it rings while at most k - 1 of the others have:

    pi_i = int_0^inf r_i e^{-r_i t} P(N_{-i}(t) <= k - 1) dt,

N_{-i}(t) a sum of independent coins of bias 1 - e^{-r_j t} (Poisson-binomial). The counts of the
frames before i and of those after i come from two passes of the recursion over frames, so that a
node costs O(T k) for all frames together; nothing is subtracted and no digit is lost. The gradient
of any linear reward sum_i w_i pi_i, with no draw at all, rides on the same passes.
Source: OCSampler (arXiv 2201.04388); sheet `ocsampler`, "Inclusion", claims C1 and C6.
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat

from ...arrays import Array, logsumexp
from ...errors import fail, integer
from ...shapes import Float
from .plackett_luce import LOG_EPS, _logits

ROOM = 2**22  # float64 numbers that one pass over the frames may hold


def set_inclusion(logits: Array, k: int) -> Float[Any, "... T"]:
    """pi_i, the probability that frame i is among the k of T drawn without replacement.

    logits: (..., T). The pi_i sum to k, and are 1 for k = T. Raises ValueError or TypeError by
    name.

    >>> import numpy as np
    >>> set_inclusion(np.log([1.0, 2.0, 3.0]), 2).round(6).tolist()
    [0.416667, 0.733333, 0.85]
    """
    xp, T = _logits("set_inclusion", logits)
    integer("set_inclusion", "k", k, 1, T)
    if k == T:
        return xp.ones_like(logits)
    theta = xp.reshape(xp.astype(logits, xp.float64), (-1, T))
    parts = [_inclusion(xp, theta[rows, :], k) for rows in _chunks(theta, k)]
    out = xp.concat([*parts, theta[:0, :]], axis=0)
    return xp.astype(xp.reshape(out, tuple(logits.shape)), logits.dtype)


def set_inclusion_gradient(logits: Array, k: int, rewards: Array) -> Float[Any, "... T"]:
    """The gradient in the logits of J = sum_i w_i pi_i, exact: an additive reward needs no draws.

        dJ / d theta_j = sum_i (w_j - w_i) M_ij,
        M_ij = int t r_i r_j e^{-(r_i + r_j) t} P(N_{-ij}(t) = k - 1) dt = - d pi_i / d theta_j.

    rewards: w (..., T), one for each frame; otherwise as in `set_inclusion`. Also the
    backward pass of `SubsetPolicy.inclusion`, w being the gradient that arrives.

    >>> import numpy as np
    >>> set_inclusion_gradient(np.zeros(2), 1, np.array([1.0, 0.0])).round(6).tolist()
    [0.25, -0.25]
    """
    where = "set_inclusion_gradient"
    xp, T = _logits(where, logits)
    integer(where, "k", k, 1, T)
    if tuple(getattr(rewards, "shape", ())) != tuple(logits.shape):
        got = getattr(rewards, "shape", rewards)
        raise fail(where, "rewards", f"of the shape of logits, {tuple(logits.shape)}", got)
    if not bool(xp.all(xp.isfinite(rewards))):
        raise fail(where, "rewards", "finite", rewards)
    if k == T:
        return xp.zeros_like(logits)
    theta = xp.reshape(xp.astype(logits, xp.float64), (-1, T))
    w = xp.reshape(xp.astype(rewards, xp.float64), (-1, T))
    parts = [_gradient(xp, theta[rows, :], k, w[rows, :]) for rows in _chunks(theta, 3 * k)]
    out = xp.concat([*parts, theta[:0, :]], axis=0)
    return xp.astype(xp.reshape(out, tuple(logits.shape)), logits.dtype)


def _chunks(theta: Array, numbers: int) -> list[slice]:
    """Rows that are worked on together, `numbers` a frame and (about 400) nodes."""
    n, rows = theta.shape[0], max(1, ROOM // (400 * theta.shape[1] * numbers))
    return [slice(i, min(i + rows, n)) for i in range(0, n, rows)]


def _nodes(xp: Any, theta: Array, k: int) -> tuple[float, Array]:
    """The step h and x = r t at the nodes, (rows, nodes, T), of the trapezoid rule in log t.

    Of pi_i >= r_i / (e R), R the sum of all rates, less than e^-39 lies below t = e^-41 / R.
    At t the T - k + 1 frames at least that have not rung leave C(T, k - 1) e^{-st}, s the sum of
    the smallest T - k + 1 rates: with A = 41 + log C(T, k - 1) + log(R / s) that is negligible from
    st = A + log A + 1 on. The step is that of the set law.
    """
    T = theta.shape[1]
    h = 0.125 * min(1.0, math.sqrt(21 / (k + 1)))
    log_R = logsumexp(theta)
    log_s = logsumexp(xp.sort(theta, axis=-1)[:, : T - k + 1])
    ways = math.lgamma(T + 1) - math.lgamma(k) - math.lgamma(T - k + 2)
    A = LOG_EPS + ways + log_R - log_s
    low, high = -LOG_EPS - log_R, xp.log(A + xp.log(A) + 1) - log_s
    n = math.ceil(float(xp.max(high - low)) / h) + 1
    steps = xp.astype(xp.arange(n, device=array_api_compat.device(theta)), xp.float64)
    y = low[:, None] + h * steps
    return h, xp.exp(xp.clip(theta[:, None, :] + y[..., None], -700.0, 700.0))


def _later(xp: Any, p: Array) -> Array:
    """An array of counts (..., m) moved to m + 1, the last one dropped: one more has rung."""
    return xp.concat([xp.zeros_like(p[..., :1]), p[..., :-1]], axis=-1)


def _inclusion(xp: Any, theta: Array, k: int) -> Array:
    h, x = _nodes(xp, theta, k)
    off, on = xp.exp(-x), -xp.expm1(-x)  # has not rung, has rung
    T = theta.shape[1]
    none = xp.zeros((*x.shape[:2], k), dtype=x.dtype, device=array_api_compat.device(x))
    none = none + xp.astype(xp.arange(k, device=array_api_compat.device(x)) == 0, x.dtype)
    after, suffix = none, [none] * T  # P(count of the frames after i = m)
    for i in range(T - 1, 0, -1):
        after = off[..., i, None] * after + on[..., i, None] * _later(xp, after)
        suffix[i - 1] = after
    before, out = none, []
    for i in range(T):
        at_most = xp.flip(xp.cumulative_sum(suffix[i], axis=-1), axis=-1)  # k - 1 - m
        others = xp.sum(before * at_most, axis=-1)  # P(N_{-i} <= k - 1)
        out.append(h * xp.sum(x[..., i] * off[..., i] * others, axis=-1))
        before = off[..., i, None] * before + on[..., i, None] * _later(xp, before)
    return xp.stack(out, axis=-1)


def _gradient(xp: Any, theta: Array, k: int, w: Array) -> Array:
    """Beside the counts P, two marked ones: the sums over i of a_i P(N_{-i} = m) and of w_i times
    that, a_i = r_i t e^{-r_i t}; a marked frame rings neither before t nor after, but at t."""
    h, x = _nodes(xp, theta, k)
    off, on = xp.exp(-x), -xp.expm1(-x)
    a, T = x * off, theta.shape[1]
    marks = xp.stack([xp.zeros_like(w), xp.ones_like(w), w], axis=1)[
        :, None, :, :
    ]  # (rows, 1, 3, T)

    def add(counts: Array, i: int) -> Array:  # counts: (rows, nodes, 3, m)
        stay, ring = off[..., i, None, None], on[..., i, None, None]
        mark = a[..., i, None, None] * marks[..., i, None]
        return stay * counts + ring * _later(xp, counts) + mark * counts[..., :1, :]

    none = xp.zeros((*x.shape[:2], 3, k), dtype=x.dtype, device=array_api_compat.device(x))
    start = xp.zeros((3, k), dtype=x.dtype, device=array_api_compat.device(x))
    start[0, 0] = 1.0
    after = none + start
    suffix, before, out = [after] * T, after, []
    for i in range(T - 1, 0, -1):
        after = add(after, i)
        suffix[i - 1] = after
    for j in range(T):
        back = xp.flip(suffix[j], axis=-1)  # k - 1 - m
        marked = before[..., :1, :] * back[..., 1:, :] + before[..., 1:, :] * back[..., :1, :]
        M = xp.sum(marked, axis=-1)  # sum over i of M_ij and of w_i M_ij, (rows, nodes, 2)
        change = w[:, None, j] * M[..., 0] - M[..., 1]
        out.append(h * xp.sum(a[..., j] * change, axis=-1))
        before = add(before, j)
    return xp.stack(out, axis=-1)
