"""A policy over sets of k of T, exactly: every set listed, J, its gradient, ascent without noise.

With few frames all sets can be listed. Their probabilities follow from those of their subsets by
the recursion P(A) = sum_{i in A} P(A - i) r_i / (sum of r outside A - i), positive terms only, and
so do their scores; the objective J = E R(S) and its gradient are then finite sums, and gradient
ascent has no noise. The number of frames can be drawn as well: N from a softmax of its own, at a
price of c a frame.
Source: OCSampler (arXiv 2201.04388); sheet `ocsampler`, claims C3, C7 and C8.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import fail, finite_array, integer, number
from ...shapes import Float, Int

LIMIT = 2**16  # sets that are listed


@dataclass(frozen=True, eq=False)
class SetLaw:
    """Every set of k of T with its probability and its score; made by `set_law`.

    logits: (T,); sets: (M, k) in lexicographic order, M = C(T, k); probs: (M,); scores: (M, T),
    the gradients of log P(S) in the logits.
    """

    logits: np.ndarray
    sets: np.ndarray
    probs: np.ndarray
    scores: np.ndarray


@lru_cache(maxsize=32)
def _lattice(T: int, k: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For sizes 1..k: the sets (M, j), the place of S less its i-th among the smaller ones, and who
    is outside of those."""
    levels: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    place: dict[tuple[int, ...], int] = {(): 0}
    for j in range(1, k + 1):
        sets = list(itertools.combinations(range(T), j))
        below = [[place[s[:i] + s[i + 1 :]] for i in range(j)] for s in sets]
        outside = np.ones((len(place), T))
        for s, row in place.items():
            outside[row, list(s)] = 0.0
        levels.append((np.array(sets), np.array(below), outside))
        place = {s: i for i, s in enumerate(sets)}
    return levels


def set_law(logits: Any, k: int) -> SetLaw:
    """The law of the set of k of T, all C(T, k) of them (at most 65,536).

        P(A) = sum_{i in A} P(A - i) r_i / sum_{j not in A - i} r_j,   r = e^theta.

    logits: (T,), at most 700 / k apart: beyond, probabilities leave float64 (`set_log_prob` does
    not). Computed on the host. Raises ValueError by name.

    >>> law = set_law([0.0, 0.0, 0.0], 2)
    >>> law.sets.tolist(), law.probs.round(6).tolist()
    ([[0, 1], [0, 2], [1, 2]], [0.333333, 0.333333, 0.333333])
    """
    theta = finite_array("set_law", "logits", logits)
    if theta.ndim != 1 or theta.size < 1:
        raise fail("set_law", "logits", "of shape (T,)", theta.shape)
    T = theta.size
    integer("set_law", "k", k, 1, T)
    if max(math.comb(T, j) for j in range(k + 1)) > LIMIT:
        raise fail("set_law", "k", f"such that at most {LIMIT} sets are listed", k)
    if k * (theta.max() - theta.min()) > 700:
        raise fail("set_law", "logits", f"at most {700 / k:.4g} apart", logits)
    return _law(theta, k)


def _law(theta: np.ndarray, k: int) -> SetLaw:
    r = np.exp(theta - theta.max())
    eye = np.eye(theta.size)
    probs, slopes = np.ones(1), np.zeros((1, theta.size))  # P and dP of the sets of one size
    levels = _lattice(theta.size, k)
    for sets, below, outside in levels:
        left = outside @ r
        share = (outside * r) / left[:, None]  # of each frame outside
        w = r[sets] / left[below]  # (M, j)
        moved = slopes[below] + probs[below][..., None] * (eye[sets] - share[below])
        probs, slopes = (probs[below] * w).sum(axis=1), (moved * w[..., None]).sum(axis=1)
    return SetLaw(theta, levels[-1][0], probs, slopes / probs[:, None])


def _rewards(where: str, law: SetLaw, rewards: Any) -> np.ndarray:
    R = finite_array(where, "rewards", rewards)
    if R.shape != law.probs.shape:
        raise fail(where, "rewards", f"of shape {law.probs.shape}, one a set", R.shape)
    return R


def expected_reward(law: SetLaw, rewards: Any) -> float:
    """J = E R(S) = sum_S P(S) R(S); rewards: (M,), one a set of the law.

    >>> expected_reward(set_law([0.0, 0.0], 1), [1.0, 0.0])
    0.5
    """
    return float(law.probs @ _rewards("expected_reward", law, rewards))


def expected_reward_gradient(law: SetLaw, rewards: Any) -> Float[np.ndarray, "T"]:
    """grad J = sum_S P(S) R(S) grad log P(S), in the logits; it sums to 0.

    >>> expected_reward_gradient(set_law([0.0, 0.0], 1), [1.0, 0.0]).tolist()
    [0.25, -0.25]
    """
    return (law.probs * _rewards("expected_reward_gradient", law, rewards)) @ law.scores


@dataclass(frozen=True, eq=False)
class Ascent:
    """What exact ascent went through: the last logits (T,), J at every step (steps + 1,), and the
    gradient of J, without the entropy's, at the end (T,)."""

    logits: np.ndarray
    objective: np.ndarray
    gradient: np.ndarray


def ascend_reward(
    rewards: Any,
    k: int,
    steps: int,
    *,
    start: Any,
    rate: float | int = 2.0,
    entropy: float | int = 0.0,
    judged_by: Any = None,
) -> Ascent:
    """Gradient ascent on J + lam H(p) without noise: theta += rate (grad J + lam grad H).

    rewards: (M,) of the sets in lexicographic order, what is ascended; start: theta (T,); entropy:
    lam of H = -sum p log p over single frames (the code's explore_rate, .1), which keeps the policy
    away from the optimum; judged_by: the rewards of the J that is recorded, `rewards` by default.
    sup J = max_S R(S), at infinity: it is approached like 1 / steps.

    >>> found = ascend_reward([1.0, 0.0], 1, 100, start=[0.0, 0.0])
    >>> found.objective[[0, 1, 100]].round(3).tolist()
    [0.5, 0.731, 0.997]
    """
    law = set_law(start, k)
    R = _rewards("ascend_reward", law, rewards)
    truth = R if judged_by is None else _rewards("ascend_reward", law, judged_by)
    integer("ascend_reward", "steps", steps, 0)
    step = number("ascend_reward", "rate", rate, 0.0)
    lam = number("ascend_reward", "entropy", entropy, 0.0)
    values = np.empty(steps + 1)
    values[0] = law.probs @ truth
    for i in range(steps):
        up = (law.probs * R) @ law.scores + lam * frame_entropy_gradient(law.logits)
        law = _law(law.logits + step * up, k)
        values[i + 1] = law.probs @ truth
    return Ascent(law.logits, values, (law.probs * truth) @ law.scores)


def frame_entropy_gradient(logits: Any) -> Float[np.ndarray, "T"]:
    """d H / d theta_j = -p_j (log p_j + H), H = -sum p log p over frames, p = softmax(theta).

    >>> frame_entropy_gradient([0.0, 0.0]).tolist()
    [0.0, 0.0]
    """
    theta = finite_array("frame_entropy_gradient", "logits", logits)
    log_p = theta - theta.max()
    log_p = log_p - np.log(np.exp(log_p).sum())
    p = np.exp(log_p)
    return -p * (log_p - p @ log_p) + 0.0


@dataclass(frozen=True, eq=False)
class FrameBudget:
    """E[R(S) - c N] with a drawn number of frames, and its exact gradients; made by `frame_budget`.

    value: of the objective; sizes: pi (N_max,) over 1..N_max; utilities: U_N = J_N - c N; in_budget
    (N_max,) and in_logits (T,): gradients in the budget's and the frames' logits.
    """

    value: float
    sizes: np.ndarray
    utilities: np.ndarray
    in_budget: np.ndarray
    in_logits: np.ndarray

    @property
    def best(self) -> int:
        """The N of the largest utility, the smallest where two are equal."""
        return int(self.utilities.argmax()) + 1


def frame_budget(
    budget_logits: Any, logits: Any, rewards: Sequence[Any], cost: float | int
) -> FrameBudget:
    """N ~ softmax(phi) on 1..N_max, S | N the set law with k = N: E[R(S) - c N], exactly.

        d / d phi_N = pi_N (U_N - sum_n pi_n U_n),   d / d theta = sum_N pi_N grad J_N.

    budget_logits: phi (N_max,); logits: theta (T,); rewards: N_max arrays, those of the sets of
    N frames in lexicographic order; cost: c of one frame. Source: sheet `ocsampler`, "Frame budget"
    (the natural formulation; the authors' code has none), claim C8.

    >>> found = frame_budget([0.0, 0.0], [0.0, 0.0], [[1.0, 0.0], [0.9]], 0.1)
    >>> round(found.value, 6), found.utilities.round(6).tolist(), found.best
    (0.55, [0.4, 0.7], 2)
    """
    phi = finite_array("frame_budget", "budget_logits", budget_logits)
    theta = finite_array("frame_budget", "logits", logits)
    if phi.ndim != 1 or not 1 <= phi.size <= theta.size:
        raise fail(
            "frame_budget", "budget_logits", f"of shape (N_max,), N_max in [1, {theta.size}]", phi
        )
    if len(rewards) != phi.size:
        raise fail("frame_budget", "rewards", f"{phi.size} arrays, one a size", len(rewards))
    c = number("frame_budget", "cost", cost, -math.inf)
    laws = [set_law(theta, N) for N in range(1, phi.size + 1)]
    J = np.array([expected_reward(law, R) for law, R in zip(laws, rewards, strict=True)])
    U = J - c * np.arange(1, phi.size + 1)
    pi = np.exp(phi - phi.max())
    pi = pi / pi.sum()
    slopes = [expected_reward_gradient(law, R) for law, R in zip(laws, rewards, strict=True)]
    value = float(pi @ U)
    return FrameBudget(value, pi, U, pi * (U - value), pi @ np.stack(slopes))


def best_set(law: SetLaw, rewards: Any) -> tuple[float, Int[np.ndarray, "k"]]:
    """max_S R(S), which is sup J over all logits, and the set that attains it.

    >>> best_set(set_law([0.0, 0.0], 1), [1.0, 0.0])
    (1.0, array([0]))
    """
    R = _rewards("best_set", law, rewards)
    row = int(R.argmax())
    return float(R[row]), law.sets[row]
