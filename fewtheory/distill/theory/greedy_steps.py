"""A student trained step by step on exact KLs in one dimension: what each law's optimum is worth.

Each step is x0hat = a x + b tanh(k x) + e, with its own four numbers; its samples are the quantiles
of the start carried along, so that any law above it is a mixture of equal Gaussians and its KL to
the teacher an integral, with its gradient. Nothing is sampled and no score is learnt: what differs
is which law is matched, the trajectory's r x_s + beta eps or the re-noised alpha x0hat + sigma eps.
A step's states come from the steps before it, which do not move any more. Sheet `tdm`, C8.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...errors import fail, finite_array, integer, number, one_of
from ...paths import Path
from ...shapes import Float
from ...testbeds import ProductMixture
from ..parts.intervals import ending, interval_level, step_gain

WIDTH = 8.0  # standard deviations of the noise beyond the outermost particle
START = (0.2, 1.8, 1.5, 0.0)
LAWS = ("trajectory", "renoised")


@dataclass(frozen=True, eq=False)
class GreedySteps:
    """A student of K steps and how far each of its laws is from the teacher's.

    times: (K,), where each step ends; parameters: (K, 4), (a, b, k, e) of each; states: (K,
    particles), x_s; losses: (K,), the summed KL reached; distances: (K,), W2 of x_s to the
    teacher's law there.
    """

    times: Float[np.ndarray, "K"]
    parameters: Float[np.ndarray, "K 4"]
    states: Float[np.ndarray, "K particles"]
    losses: Float[np.ndarray, "K"]
    distances: Float[np.ndarray, "K"]


def greedy_steps(
    teacher: ProductMixture,
    path: Path,
    times: Sequence[float | int],
    law: str = "trajectory",
    *,
    particles: int = 400,
    fractions: Sequence[float | int] = (0.15, 0.4, 0.8),
    start: Sequence[float | int] = START,
) -> GreedySteps:
    """Train each step in turn on the sum of KLs at a few levels of its interval.

    teacher: a mixture in one dimension; times: (K + 1,), decreasing, the last 0 or above; law:
    which one is matched, "trajectory" or "renoised". fractions: of the way from s back to t, where
    the levels are; start: (a, b, k, e) of the first step, the later ones start from the step
    before. BFGS on the exact gradient. Raises ValueError by name.

    >>> from fewtheory.paths import Trigonometric
    >>> from fewtheory.testbeds import mixture_1d
    >>> two = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.3, 0.3])
    >>> round(float(greedy_steps(two, Trigonometric(), [1, 0], particles=100).distances[-1]), 2)
    0.08
    """
    from scipy.optimize import minimize
    from scipy.special import ndtri

    _check_teacher("greedy_steps", teacher)
    one_of("greedy_steps", "law", law, LAWS)
    n = integer("greedy_steps", "particles", particles, 2)
    grid, parts, p = _check_steps(path, times, fractions, start)
    u = (np.arange(n) + 0.5) / n
    x = float(path.sigma(grid[0])) * ndtri(u)
    found: list[tuple[np.ndarray, np.ndarray, float, float]] = []
    for t, s in itertools.pairwise(grid):
        step = _Step(x, teacher, path, t, s, tuple(s + (t - s) * f for f in parts), law)
        best = minimize(partial(_loss, step), p, jac=True, method="BFGS", options={"gtol": 1e-7})
        p, x = best.x, _states(step, _student(x, best.x)[0])
        exact = teacher.at(path, s) if s > 0 else teacher
        gap = np.sort(x) - exact.quantile(u[:, None])[:, 0]
        found.append((p, x, float(best.fun), math.sqrt(float((gap**2).mean()))))
    parameters, states, losses, distances = (
        np.array(column) for column in zip(*found, strict=True)
    )
    return GreedySteps(np.array(grid[1:]), parameters, states, losses, distances)


def _check_steps(
    path: Path, times: Any, fractions: Any, start: Any
) -> tuple[list[float], list[float], np.ndarray]:
    grid = [number("greedy_steps", "times", t, 0.0) for t in times]
    if len(grid) < 2 or any(b >= a for a, b in itertools.pairwise(grid)):
        raise fail("greedy_steps", "times", "two or more, decreasing", times)
    path.check_t("greedy_steps", grid[0], "times")
    parts = [number("greedy_steps", "fractions", f, 0.0, 1.0) for f in fractions]
    if not parts or not 0 < min(parts) <= max(parts) < 1:
        raise fail("greedy_steps", "fractions", "strictly between 0 and 1", fractions)
    p = finite_array("greedy_steps", "start", start)
    if p.shape != (4,):
        raise fail("greedy_steps", "start", "four numbers (a, b, k, e)", start)
    return grid, parts, p


def particle_kl(
    means: Any, std: float | int, teacher: ProductMixture
) -> tuple[float, Float[np.ndarray, "n"]]:
    """KL(1/n sum_j N(m_j, std^2) || teacher) and its gradient in the means, (n,).

    dKL/dm_j = 1/n int N_j (x - m_j) / std^2 log(q/p) dx, by the trapezoid rule with two nodes a
    std, and two where log p turns between modes of distance D, over a length s^2 / D. Raises
    ValueError by name.

    >>> from fewtheory.testbeds import mixture_1d
    >>> value, gradient = particle_kl([0.0], 1.0, mixture_1d([1.0], [0.5], [1.0]))
    >>> round(value, 9), gradient.round(9).tolist()
    (0.125, [-0.5])
    """
    _check_teacher("particle_kl", teacher)
    m = finite_array("particle_kl", "means", means)
    if m.ndim != 1 or m.size < 1:
        raise fail("particle_kl", "means", "of shape (n,)", m.shape)
    if not number("particle_kl", "std", std, 0.0) > 0:
        raise fail("particle_kl", "std", "above 0", std)
    low, high = float(m.min()) - WIDTH * std, float(m.max()) + WIDTH * std
    turn = float(np.ptp(teacher.means[0])) / float(teacher.stds[0].min()) ** 2
    x = np.linspace(low, high, math.ceil(max(2 / std, 2 * turn) * (high - low)) + 2)
    z = (x[:, None] - m) / std
    each = np.exp(-0.5 * z * z) * ((x[1] - x[0]) / (std * math.sqrt(2 * math.pi) * m.size))
    q = each.sum(1)  # times the spacing of nodes, as `each`
    log_q = np.log(np.maximum(q, 1e-300)) - math.log(x[1] - x[0])
    ratio = log_q - teacher.log_prob(x[:, None])
    return float(q @ ratio), ratio @ (each * z) / std


class _Step(NamedTuple):
    """One step: the states x_t, the teacher, where it goes, its levels, the law matched."""

    x: np.ndarray
    teacher: ProductMixture
    path: Path
    t: float
    s: float
    taus: tuple[float, ...]
    law: str


def _student(x: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x0hat (n,) and its derivatives in (a, b, k, e), (4, n)."""
    a, b, k, e = p
    bend = np.tanh(k * x)
    return a * x + b * bend + e, np.stack([x, bend, b * (1 - bend**2) * x, np.ones_like(x)])


def _states(step: _Step, x0: np.ndarray) -> np.ndarray:
    """x_s of a deterministic step."""
    ratio = ending(step.path, step.s)[1] / float(step.path.sigma(step.t))
    return step_gain(step.path, step.t, step.s) * x0 + ratio * step.x


def _law(step: _Step, x0: np.ndarray, tau: float) -> tuple[np.ndarray, float, float]:
    """Means (n,), std and d mean / dx0hat of the law that is matched at tau."""
    if step.law == "renoised":
        alpha = float(step.path.alpha(tau))
        return alpha * x0, float(step.path.sigma(tau)), alpha
    r, beta = interval_level(step.path, step.s, tau)
    return r * _states(step, x0), beta, r * step_gain(step.path, step.t, step.s)


def _loss(step: _Step, p: np.ndarray) -> tuple[float, np.ndarray]:
    """The summed KL of a step at its parameters, and its gradient."""
    x0, slopes = _student(step.x, p)
    value, gradient = 0.0, np.zeros(4)
    for tau in step.taus:
        means, std, slope = _law(step, x0, tau)
        kl, towards = particle_kl(means, std, step.teacher.at(step.path, tau))
        value, gradient = value + kl, gradient + slopes @ (slope * towards)
    return value, gradient


def _check_teacher(where: str, teacher: Any) -> None:
    if not isinstance(teacher, ProductMixture) or teacher.event != (1,):
        raise fail(where, "teacher", "a mixture in one dimension (testbeds.mixture_1d)", teacher)
