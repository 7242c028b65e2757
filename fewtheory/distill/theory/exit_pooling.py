"""One fake score for several exits matches their mixture, not the last one.

A fake score that is not told from which exit a sample came learns the score of the pooled law
sum_i pi_i q_i, and the exits' gradients become that of KL(sum_i pi_i q_i || p), not of the mean of
their KLs: a student whose exits hold one mode each has zero loss and zero gradient at every level,
though the last exit, which is what the sampler returns, has lost half of the law. It cannot happen
at levels that only one exit sees, nor where the fake score is told the exit. `exit_pooling` looks
at a run's levels before it starts. Sheets `tdm`, C5, `dmd-base`, "Pooled exits", `phased-dmd`,
"SGTS".
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, finite_array, number
from ...paths import EDM
from ...shapes import Float
from ...testbeds import ProductMixture, mixture_1d

NODES, WIDTH = 4001, 10.0  # of the trapezoid rule, and how many standard deviations to either side
CLEAN = EDM(0.0, 1e9)


@dataclass(frozen=True, eq=False)
class Pooling:
    """What one fake score would see.

    alone: (K,), the part of each exit's levels that no other exit looks at; pooled: whether some
    exit shares levels with another and the fake score is not told which it sees; advice: one
    line.
    """

    alone: Float[np.ndarray, "K"]
    pooled: bool
    advice: str


def exit_pooling(levels: Sequence[tuple[float, float]], *, told: bool = False) -> Pooling:
    """Whether a run's fake score serves several exits at common levels; warns where it does.

    levels: (low, high) of each exit, the last one last: `step_intervals` has TDM's, and plain
    DMD with K steps looks at the same levels for all K. told: the fake score is given the exit as
    a condition. Warns with `UserWarning`. Raises ValueError by name.

    >>> exit_pooling([(0.51, 0.99), (0.02, 0.49)]).pooled
    False
    >>> exit_pooling([(0.51, 0.99), (0.02, 0.99)], told=True).alone.round(3).tolist()
    [0.0, 0.505]
    """
    spans = [
        (number("exit_pooling", "levels", a, 0.0), number("exit_pooling", "levels", b, 0.0))
        for a, b in levels
    ]
    if not spans or any(not a < b for a, b in spans):
        raise fail("exit_pooling", "levels", "pairs (low, high), low under high", levels)
    alone = np.array([_alone(spans, k) for k in range(len(spans))])
    shared = bool((alone < 1).any())
    if not shared:
        return Pooling(alone, False, "each exit has its levels to itself: one fake score is enough")
    if told:
        return Pooling(alone, False, "exits share levels, and the fake score is told which it sees")
    rest = f"the last exit has {100 * alone[-1]:.0f}% of its levels to itself"
    advice = f"one fake score serves several exits and matches their mixture ({rest}): tell it the "
    advice += "exit, or give each exit its own levels"
    warnings.warn(f"exit_pooling: {advice}", UserWarning, stacklevel=2)
    return Pooling(alone, True, advice)


def _alone(spans: Sequence[tuple[float, float]], k: int) -> float:
    """The part of span k that no other span covers."""
    low, high = spans[k]
    others = [span for j, span in enumerate(spans) if j != k]
    cuts = sorted({low, high, *(min(max(x, low), high) for span in others for x in span)})
    free = 0.0
    for a, b in itertools.pairwise(cuts):
        if not any(lo < (a + b) / 2 < hi for lo, hi in others):
            free += b - a
    return free / (high - low)


def exit_gradients(
    means: Any,
    std: float | int,
    teacher: ProductMixture,
    rho: float | int,
    *,
    shares: Any = None,
    pooled: bool = True,
) -> Float[np.ndarray, "K"]:
    """The gradient in each exit's mean, (K,), exits N(b_i, std^2), at noise rho (alpha = 1).

    pooled: pi_i E_{q_i}[s_mix - s_p], one fake score for all, which is the gradient of `pooled_kl`;
    else E_{q_i}[s_i - s_p], each exit its own, without the factor pi_i. teacher: a mixture in one
    dimension; shares: pi (K,), equal where None. By the trapezoid rule. Raises ValueError by name.

    >>> two = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.5, 0.5])
    >>> exit_gradients([1.2, -0.4], 0.5, two, 1.0).round(6).tolist()
    [-0.256827, 0.247341]
    """
    exits, pi = _exits("exit_gradients", means, std, teacher, rho, shares)
    x, step = _nodes(exits, rho)
    real = teacher.score_at(x, 1.0, float(rho))[:, 0]
    mixed = exits.score_at(x, 1.0, float(rho))[:, 0]
    var, gradients = float(std) ** 2 + float(rho) ** 2, []
    for k, b in enumerate(exits.means[0]):
        z = x[:, 0] - b
        density = step * np.exp(-0.5 * z * z / var) / math.sqrt(2 * math.pi * var)
        fake = mixed if pooled else -z / var
        factor = pi[k] if pooled else 1.0
        gradients.append(factor * float((density * (fake - real)).sum()))
    return np.array(gradients)


def pooled_kl(
    means: Any, std: float | int, teacher: ProductMixture, rho: float | int, *, shares: Any = None
) -> float:
    """KL(sum_i pi_i N(b_i, std^2 + rho^2) || p_rho), arguments as in `exit_gradients`.

    >>> two = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.5, 0.5])
    >>> abs(pooled_kl([2.0, -2.0], 0.5, two, 1.0)) < 1e-12  # each exit holds one mode
    True
    """
    exits, _ = _exits("pooled_kl", means, std, teacher, rho, shares)
    x, step = _nodes(exits, rho)
    log_q, log_p = (bed.at(CLEAN, float(rho)).log_prob(x) for bed in (exits, teacher))
    return float((step * np.exp(log_q) * (log_q - log_p)).sum())


def _nodes(exits: ProductMixture, rho: float | int) -> tuple[np.ndarray, float]:
    reach = WIDTH * math.hypot(float(exits.stds.max()), float(rho))
    low, high = float(exits.means.min()) - reach, float(exits.means.max()) + reach
    return np.linspace(low, high, NODES)[:, None], (high - low) / (NODES - 1)


def _exits(
    where: str, means: Any, std: float | int, teacher: Any, rho: float | int, shares: Any
) -> tuple[ProductMixture, np.ndarray]:
    b = finite_array(where, "means", means)
    if b.ndim != 1 or b.size < 1:
        raise fail(where, "means", "of shape (K,)", b.shape)
    if not number(where, "std", std, 0.0) > 0:
        raise fail(where, "std", "above 0", std)
    number(where, "rho", rho, 0.0)
    if not isinstance(teacher, ProductMixture) or teacher.event != (1,):
        raise fail(where, "teacher", "a mixture in one dimension (testbeds.mixture_1d)", teacher)
    pi = np.full(b.size, 1 / b.size) if shares is None else finite_array(where, "shares", shares)
    if pi.shape != b.shape or (pi < 0).any() or abs(pi.sum() - 1) > 1e-12:
        raise fail(where, "shares", f"{b.size} of them, not negative, summing to one", shares)
    return mixture_1d(list(pi), list(b), [float(std)] * b.size), pi
