"""One clip of k frames for a frozen classifier: what a choice is worth, and against what.

A judge gives the chosen clip class scores; the stated reward is the score of the label when it wins
and what is missing to the winner otherwise. A baseline clip is drawn by one of four rules. Beside
them stand, under names of their own, the shortcuts of the authors' code for log P(S) and for the
reward, which are not the gradient or not the objective (claim C5), to be audited and not used.
Source: OCSampler (arXiv 2201.04388) and its code; sheet `ocsampler`, "Method".
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

from ...arrays import Array, Rng, check_rng, namespace, uniform
from ...errors import fail, integer, one_of
from ...shapes import Float, Int
from .plackett_luce import _checked, draw_order, order_log_prob, set_mode

REWARDS = ("stated", "confidence", "frame mean", "best frame")
BASELINES = ("second draw", "mode", "segments", "random")


def clip_reward(scores: Array, label: Any, *, kind: str = "stated") -> Float[Any, "..."]:
    """The reward of a clip: R = p_label where the label wins, else p_label - max_c p_c.

    scores: class probabilities of the clip, (..., C), or of each of its frames, (..., k, C), for
    the last two kinds; label: an integer, or integers (...). kind: "stated"; "frame mean", its mean
    over frames (the code's kind 2); "best frame", max over frames of p_label (kind 3); or
    "confidence", max_c p_c, the code's default (kind 1), into which the label does not enter: it
    rewards being sure, not being right. A tie counts as a win. Raises ValueError or TypeError by
    name. Source: sheet `ocsampler`, "Reward".

    >>> import numpy as np
    >>> clip_reward(np.array([[0.7, 0.3], [0.4, 0.6]]), 0).round(6).tolist()
    [0.7, -0.2]
    """
    one_of("clip_reward", "kind", kind, REWARDS)
    framed = kind in ("frame mean", "best frame")
    xp = _scores("clip_reward", scores, 2 if framed else 1)
    if kind == "confidence":
        return xp.max(scores, axis=-1)
    p = _of_label("clip_reward", scores, label, framed)
    if kind == "best frame":
        return xp.max(p, axis=-1)
    best = xp.max(scores, axis=-1)
    reward = xp.where(p >= best, p, p - best)
    return xp.mean(reward, axis=-1) if framed else reward


def _scores(where: str, scores: Array, axes: int) -> Any:
    xp = namespace(scores)
    if not hasattr(scores, "dtype") or not xp.isdtype(scores.dtype, "real floating"):
        raise TypeError(
            f"{where}: scores must be an array of a real floating dtype, got {scores!r}"
        )
    if len(scores.shape) < axes or scores.shape[-1] < 1:
        wanted = "(..., C)" if axes == 1 else "(..., k, C)"
        raise fail(where, "scores", f"of shape {wanted}", tuple(scores.shape))
    if not bool(xp.all(xp.isfinite(scores))):
        raise fail(where, "scores", "finite", scores)
    return xp


def _of_label(where: str, scores: Array, label: Any, framed: bool = False) -> Array:
    """The scores (..) of the label, one label for all frames of a clip."""
    xp, C = namespace(scores), scores.shape[-1]
    lead = tuple(scores.shape[:-2] if framed else scores.shape[:-1])
    if isinstance(label, (int, np.integer)):
        integer(where, "label", int(label), 0, C - 1)
        return scores[..., int(label)]
    kind = getattr(label, "dtype", None)
    if kind is None or not namespace(label).isdtype(kind, "integral"):
        raise TypeError(f"{where}: label must be an integer or an array of them, got {label!r}")
    if tuple(label.shape) != lead:
        raise fail(where, "label", f"of shape {lead}", tuple(label.shape))
    if not bool(xp.all((label >= 0) & (label < C))):
        raise fail(where, "label", f"in [0, {C - 1}]", label)
    index = xp.astype(label, xp.int64)[..., None]
    index = index[..., None, :] if framed else index
    index = xp.broadcast_to(index, (*scores.shape[:-1], 1))
    return xp.take_along_axis(scores, index, axis=-1)[..., 0]


def segment_clip(T: int, k: int, *, rng: Rng, n: int, like: Array) -> Int[Any, "n k"]:
    """One random frame in each of k segments of length L = T // k, n clips ("tsn" of the code).

    Segment i starts at floor(i (T - L) / (k - 1)). Where 2k > T the segments have one frame each
    and the clip is fixed: {0, 1, 3, 5, 7, 9} for T = 10 and k = 6, a published setting.

    >>> import numpy as np
    >>> segment_clip(10, 6, rng=np.random.default_rng(0), n=1, like=np.zeros(1)).tolist()
    [[0, 1, 3, 5, 7, 9]]
    """
    integer("segment_clip", "T", T, 1)
    integer("segment_clip", "k", k, 1, T)
    integer("segment_clip", "n", n, 0)
    xp, L = namespace(like), T // k
    starts = [i * (T - L) // max(k - 1, 1) for i in range(k)]
    first = xp.asarray(starts, dtype=xp.int64, device=array_api_compat.device(like))
    shift = xp.astype(xp.floor(L * uniform(rng, (n, k), like)), xp.int64)
    return first + shift


def baseline_clip(logits: Array, k: int, kind: str, *, rng: Rng) -> Int[Any, "... k"]:
    """The clip S' whose reward is taken off, by the code's four rules.

    logits: (..., T), one clip a row. kind: "second draw", another draw of the policy; "mode", the
    k largest logits; "segments", as in `segment_clip`; "random", k frames at random. None of them
    looks at S, so that each leaves the gradient unbiased; "mode" can be worse than none (claim C4).

    >>> import numpy as np
    >>> baseline_clip(np.array([0.1, 0.5, 0.2]), 2, "mode", rng=np.random.default_rng(0)).tolist()
    [1, 2]
    """
    one_of("baseline_clip", "kind", kind, BASELINES)
    check_rng("baseline_clip", rng)
    if kind == "mode":
        return set_mode(logits, k)
    xp = namespace(logits)
    if kind == "segments":
        lead, T = tuple(logits.shape[:-1]), logits.shape[-1]
        n = math.prod(lead)
        return xp.reshape(segment_clip(T, k, rng=rng, n=n, like=logits), (*lead, k))
    return draw_order(logits if kind == "second draw" else xp.zeros_like(logits), k, rng=rng)


def leave_one_out(*rewards: Array) -> Float[Any, "draws ..."]:
    """Advantages R_i - mean of the other R_j of m independent draws, (m, ...).

    Each draw is the others' baseline, so no clip is judged for the baseline alone. For two draws
    these are R - R' and R' - R, and the estimator is (R - R') (score - score') / 2.
    Raises ValueError unless there are two or more, all of one shape.

    >>> import numpy as np
    >>> leave_one_out(np.array([1.0]), np.array([0.25])).tolist()
    [[0.75], [-0.75]]
    """
    shapes = [tuple(getattr(r, "shape", ())) for r in rewards]
    if len(rewards) < 2 or len(set(shapes)) > 1:
        raise fail("leave_one_out", "rewards", "two or more arrays of one shape", shapes)
    xp = namespace(*rewards)
    R, m = xp.stack([xp.asarray(r) for r in rewards]), len(rewards)
    return (R - xp.mean(R, axis=0)) * (m / (m - 1))


def fewest_frames(scores: Array, label: Any, q: float | int) -> Int[Any, "..."]:
    """The supervised target N*: the fewest frames that are right with a confidence of q at least.

    scores: (..., N_max, C), of the clips of 1, .., N_max frames. Where no clip is, N_max.

    >>> import numpy as np
    >>> fewest_frames(np.array([[0.4, 0.6], [0.7, 0.3], [0.9, 0.1]]), 0, 0.8)
    np.int64(3)
    """
    xp = _scores("fewest_frames", scores, 2)
    if not 0 <= q <= 1:
        raise fail("fewest_frames", "q", "in [0, 1]", q)
    p = _of_label("fewest_frames", scores, label, framed=True)
    good = (p >= xp.max(scores, axis=-1)) & (p >= q)
    least = xp.argmax(xp.astype(good, xp.int64), axis=-1)  # the first that is good
    last = xp.full_like(least, scores.shape[-2] - 1)
    return xp.where(xp.any(good, axis=-1), least, last) + 1


def clip_advantage(scores: Array, other: Array, label: Any) -> Float[Any, "..."]:
    """R(S) - R(S'), the stated reward of the clip less that of the baseline's clip.

    scores, other: class probabilities (..., C) of S and of S'; label as in `clip_reward`.

    >>> import numpy as np
    >>> clip_advantage(np.array([0.7, 0.3]), np.array([0.4, 0.6]), 0).round(6)
    np.float64(0.9)
    """
    _scores("clip_advantage", other, 1)
    return clip_reward(scores, label) - clip_reward(other, label)


def crossed_advantage(scores: Array, other: Array, label: Any) -> Float[Any, "..."]:
    """R(S) - R(S') with the winner and its score taken from S for both: p_label(S) - p_label(S').

    An easy slip where both clips are judged in one loop. What is missing to the winner cancels, so
    the expected update is the gradient of E p_label, not of the reward (claim C5).
    """
    xp = _scores("crossed_advantage", scores, 1)
    _scores("crossed_advantage", other, 1)
    p, b = (_of_label("crossed_advantage", s, label) for s in (scores, other))
    best = xp.max(scores, axis=-1)
    won = p >= best
    return xp.where(won, p, p - best) - xp.where(won, b, b - best)


def two_order_log_prob(logits: Array, chosen: Array) -> Float[Any, "..."]:
    """log of k!/2 (P(rarest first) + P(rarest last)): the code's "approximate" for a 3-D judge.

    Only the 8 rarest of S enter for k > 8; probabilities are clamped to [1e-15, 1 - 1e-15]. It is
    no law: at the sheet's logits its masses add up to 1.0417, and its mean score is not 0.
    """
    theta, index, _ = _checked("two_order_log_prob", logits, chosen)
    xp, k = namespace(theta), min(index.shape[-1], 8)
    p = _clamped(xp, theta, index)
    up = xp.sort(p, axis=-1)[..., :k]
    ways = [_by_cumulated(xp, q) for q in (up, xp.flip(up, axis=-1))]
    total = (xp.prod(ways[0], axis=-1) + xp.prod(ways[1], axis=-1)) / 2 * math.factorial(k)
    return xp.astype(xp.log(total), logits.dtype)


def clamped_order_log_prob(logits: Array, order: Array) -> Float[Any, "..."]:
    """sum_j log(p_{i_j} / (1 - sum_{l<j} p_{i_l}) + 1e-9): "approximate" for a 2-D judge.

    The probability of the order drawn, not of the set; clamped, so that a dead frame has no
    gradient.
    """
    theta, index, _ = _checked("clamped_order_log_prob", logits, order)
    xp = namespace(theta)
    factors = _by_cumulated(xp, _clamped(xp, theta, index))
    return xp.astype(xp.sum(xp.log(factors + 1e-9), axis=-1), logits.dtype)


def _clamped(xp: Any, theta: Array, index: Array) -> Array:
    p = xp.exp(order_log_prob(theta[..., None, :], index[..., None]))  # softmax at the chosen
    return xp.clip(p, 1e-15, 1 - 1e-15)


def _by_cumulated(xp: Any, p: Array) -> Array:
    """p_j / (1 - sum_{l<j} p_l)."""
    return p / (1 - (xp.cumulative_sum(p, axis=-1) - p))
