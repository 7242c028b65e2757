"""Step annealing for autoregressive generation: many denoising steps for early tokens, few later.

Later tokens are more constrained by what has been drawn, and the idea is that they need fewer
steps. On a Gaussian sequence x = L xi everything about it is closed: a token sampler whose standard
deviation is r_i times the right one gives x = L diag(r) xi, so that a schedule has a joint KL and a
coupling error, both known before a run, and there is a best schedule. In these numbers annealing
pays where late tokens are strongly determined and errors are counted in the units of the whole
sequence; counted in KL, it never does.

Zhao et al. (2025), arXiv 2505.20297; sheet `disa`.
"""

from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number, one_of
from ..paths import RectifiedFlow
from ..plan import Grid
from ..plan.angles import equal_angles
from ..shapes import Float, Int

KINDS = ("linear", "cosine", "two-stage", "constant")
GRIDS = ("uniform", "equal-angle")


def annealed_steps(n: int, hi: int = 50, lo: int = 5, kind: str = "linear") -> Int[np.ndarray, "n"]:
    """The number of denoising steps of each step i = 0 .. n - 1 of the sequence, up = n - 1.

    "linear": lo + floor((up - i)(hi - lo) / up), which is also FlowAR's rule (n scales) and xAR's
    (n clusters); "cosine": lo + floor((1 + cos(pi i / up)) / 2 (hi - lo)); "two-stage": hi while
    i < up / 2, then lo; "constant": lo, as in the published code. n = 1 gives hi. Steps are in 1 <=
    lo <= hi; anything else raises a ValueError. A schedule that rises is one read backwards.
    Source: arXiv 2505.20297 and its repository; sheet `disa`, "Schedules". The linear rule is in
    integers: in floating point int((up - i) / up * (hi - lo)) loses a step here and there (n = 46,
    50 to 5, i = 19).

    >>> annealed_steps(5, 25, 15).tolist(), annealed_steps(5, 25, 15, "two-stage").tolist()
    ([25, 22, 20, 17, 15], [25, 25, 15, 15, 15])
    """
    where = "annealed_steps"
    integer(where, "n", n, 1)
    integer(where, "lo", lo, 1)
    integer(where, "hi", hi, lo)
    one_of(where, "kind", kind, KINDS)
    i, up = np.arange(n), n - 1
    if kind == "constant":
        return np.full(n, lo)
    if n == 1:
        return np.array([hi])
    if kind == "linear":
        return lo + (up - i) * (hi - lo) // up
    if kind == "cosine":
        return lo + ((np.cos(np.pi * i / up) + 1) / 2 * (hi - lo)).astype(np.int64)
    return np.where(i < up / 2, hi, lo)


def exchangeable_stds(n: int, rho: float | int) -> Float[np.ndarray, "n"]:
    """s_i of n exchangeable tokens of variance 1: s_i^2 = (1 - rho)(1 + i rho) / (1 + (i-1) rho).

    They fall to sqrt(1 - rho); rho in [0, 1). Source: sheet `disa`, C2.

    >>> exchangeable_stds(3, 0.8).round(4)
    array([1.    , 0.6   , 0.5375])
    """
    integer("exchangeable_stds", "n", n, 1)
    q, i = _correlation("exchangeable_stds", rho), np.arange(n)
    return np.sqrt((1 - q) * (1 + i * q) / (1 + (i - 1) * q))


def exchangeable_influence(n: int, rho: float | int) -> Float[np.ndarray, "n"]:
    """w_i = |L e_i| of n exchangeable tokens: L_ji = s_i rho / (1 + i rho) for every later j.

    So w_i^2 = s_i^2 (1 + (n - 1 - i) rho^2 / (1 + i rho)^2); rho in [0, 1).

    >>> exchangeable_influence(3, 0.8).round(4)
    array([1.51  , 0.6566, 0.5375])
    """
    integer("exchangeable_influence", "n", n, 1)
    q, i = _correlation("exchangeable_influence", rho), np.arange(n)
    return exchangeable_stds(n, q) * np.sqrt(1 + (n - 1 - i) * (q / (1 + i * q)) ** 2)


def _correlation(where: str, rho: float) -> float:
    q = number(where, "rho", rho, 0.0, 1.0)
    if q == 1:
        raise fail(where, "rho", "in [0, 1)", rho)
    return q


def straightness(std: Any) -> Any:
    """int_0^1 E|(x_1 - x_0) - v(x_t, t)|^2 dt = s (2 - pi/2) along the rectified flow to N(m, s^2).

    std: a number or any shape; of N(m, C) it is the sum over the roots s of C's eigenvalues, (2 -
    pi/2) tr C^{1/2}. Paths grow straight linearly as tokens get determined. Source: sheet `disa`,
    C1: S_t^2 = (1-t)^2 s^2 + t^2, int S'^2 = 1 + s^2 - pi s / 2, less (1 - s)^2.

    >>> round(float(straightness(0.3)), 9)
    0.128761102
    """
    return _stds("straightness", std) * (2 - math.pi / 2)


def euler_constant(std: Any) -> Any:
    """C(s) = 1/2 + pi (1 + s^2) / (8 s), the limit of N (1 - r) for N equal Euler steps.

    std: a number or any shape, above 0. s C(s) tends to pi / 8, not to 0: the absolute error of a
    token does not vanish with its spread. Source: sheet `disa`, C3.
    """
    s = _stds("euler_constant", std, above=True)
    return 0.5 + math.pi * (1 + s**2) / (8 * s)


def std_ratio(std: Any, steps: int, grid: str = "uniform") -> Any:
    """r: the standard deviation of N Euler steps of the rectified flow to N(m, s^2), over s.

    From noise at t = 1. "uniform": t_k = 1 - k/N, r = prod_k cos(theta_k - theta_{k+1}) with theta
    = atan2(t, (1 - t) s); "equal-angle": `equal_angle_grid` of this s, r = cos(pi / (2 N))^N
    whatever s is. std: a number or any shape, at least 0. The mean is exact. Source: sheet `disa`.

    >>> round(float(std_ratio(0.3, 10)), 9), round(float(std_ratio(0.3, 10, "equal-angle")), 9)
    (0.822884977, 0.883485184)
    """
    s = _stds("std_ratio", std)
    n = integer("std_ratio", "steps", steps, 1)
    one_of("std_ratio", "grid", grid, GRIDS)
    return _ratio(s, n, grid)


def _ratio(s: Any, n: int, grid: str) -> Any:
    if grid == "equal-angle":
        return np.full(s.shape, math.sin(0.5 * math.pi * (1 - 1 / n)) ** n)  # 0 at N = 1
    t = 1 - np.arange(n + 1) / n
    clean = (1 - t) * s[..., None]
    size = np.hypot(clean, t)  # cos and sin of theta are clean / size and t / size
    size[..., -1] = np.where(s > 0, size[..., -1], 1.0)  # s = 0: the last product is 0 all the same
    turned = clean[..., :-1] * clean[..., 1:] + t[:-1] * t[1:]
    return np.prod(turned / (size[..., :-1] * size[..., 1:]), axis=-1)


def equal_angle_grid(std: float | int, steps: int) -> Grid:
    """The best grid for N(m, s^2): rho_k = s tan((N - k) pi / (2 N)), from noise to data.

    On the rectified path, where t = rho / (1 + rho). The std must be above 0. Source: sheets
    `disa`, C3, and `00-notation`, "Angle coordinates".

    >>> equal_angle_grid(0.5, 4).t.round(4)
    array([1.    , 0.5469, 0.3333, 0.1716, 0.    ])
    """
    s = float(_stds("equal_angle_grid", std, above=True))
    integer("equal_angle_grid", "steps", steps, 1)
    return equal_angles(RectifiedFlow(), steps, s, rho_max=math.inf)


def steps_needed(error: float | int, std: float | int, grid: str = "uniform") -> int:
    """The least N with s (1 - r(N)) <= error: what a token of this spread asks for.

    error: above 0, in the units of the token; 1 where error >= s. Source: sheet `disa`, C4.

    >>> [steps_needed(0.02, s) for s in (1.0, 0.1, 0.02)]
    [64, 21, 1]
    """
    s = float(_stds("steps_needed", std))
    if not number("steps_needed", "error", error, 0.0) > 0:
        raise fail("steps_needed", "error", "above 0", error)
    one_of("steps_needed", "grid", grid, GRIDS)
    low, high = 0, 1

    def enough(n: int) -> bool:
        return s * (1 - float(std_ratio(s, n, grid))) <= error

    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:  # r grows with N
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def joint_kl(ratios: Any) -> float:
    """KL of L diag(r) xi against L xi: sum_i [(r_i^2 - 1)/2 - log r_i], for every L and every s.

    In nats; infinite where an r_i is 0. Source: sheet `disa`, C5.

    >>> round(joint_kl([0.9, 0.8, 1.0]), 6)
    0.053504
    """
    return _kl(_stds("joint_kl", ratios, "ratios"))


def _kl(r: Any) -> float:
    with np.errstate(divide="ignore"):
        return float(np.sum((r**2 - 1) / 2 - np.log(r)))


def coupling_error(influence: Any, ratios: Any) -> float:
    """sqrt(sum_i w_i^2 (1 - r_i)^2): the rms distance of L diag(r) xi to L xi, at least their W2.

    influence: w_i = |L e_i|, ratios: r_i, of one shape. Source: sheet `disa`, C5.

    >>> coupling_error([3.0, 1.0], [1.0, 0.5])
    0.5
    """
    w, r = (
        _stds("coupling_error", influence, "influence"),
        _stds("coupling_error", ratios, "ratios"),
    )
    if w.shape != r.shape:
        raise fail("coupling_error", "ratios", f"of shape {w.shape}", r.shape)
    return math.sqrt(float(np.sum(w**2 * (1 - r) ** 2)))


def schedule_ratios(stds: Any, steps: Any, grid: str = "uniform") -> Float[np.ndarray, "..."]:
    """r_i of each token when token i takes steps_i Euler steps: `std_ratio`, one a token.

    stds: (n,), or (n, d) for tokens of d innovations; steps: (n,) integers, at least 1.
    """
    s, where = np.atleast_1d(_stds("schedule_ratios", stds, "stds")), "schedule_ratios"
    counts = [integer(where, "steps", v, 1) for v in np.asarray(steps).ravel()]
    if len(counts) != s.shape[0]:
        raise fail(where, "steps", f"{s.shape[0]} integers, one a token", steps)
    return np.stack([std_ratio(v, n, grid) for v, n in zip(s, counts, strict=True)])


def optimal_allocation(
    stds: Any, budget: int, influence: Any = None, *, grid: str = "uniform", of: str = "coupling"
) -> Int[np.ndarray, "n"]:
    """The steps N_i >= 1, sum N_i = budget, that minimise the error of the whole sequence.

    of: "coupling", sum_i w_i^2 (1 - r_i(N_i))^2 with w = `influence` (of the shape of stds), or
    "kl", `joint_kl`, which knows no influence. stds: (n,), or (n, d) for tokens of d innovations.
    Every term is convex and falls in N_i, so that spending each step where it gains most is the
    optimum. For many steps N_i tends to `allocation_law`. Raises ValueError for a budget below n.
    Source: sheet `disa`, "Our extension".

    >>> optimal_allocation([1.0, 0.3], 20, [2.0, 0.3]).tolist()
    [15, 5]
    """
    where = "optimal_allocation"
    s = np.atleast_1d(_stds(where, stds, "stds"))
    one_of(where, "of", of, ("coupling", "kl"))
    n, w = s.shape[0], np.ones(s.shape)
    if of == "coupling":
        if influence is None:
            raise fail(where, "influence", "given (of='coupling')", None)
        w = np.atleast_1d(_stds(where, influence, "influence"))
        if w.shape != s.shape:
            raise fail(where, "influence", f"of the shape of stds, {s.shape}", w.shape)
    integer(where, "budget", budget, n)

    one_of(where, "grid", grid, GRIDS)

    def cost(i: int, steps: int) -> float:
        r = _ratio(s[i], steps, grid)
        return _kl(r) if of == "kl" else float(np.sum(w[i] ** 2 * (1 - r) ** 2))

    steps, queue = np.ones(n, dtype=np.int64), []
    for i in range(n):
        now, after = cost(i, 1), cost(i, 2)
        queue.append((after - now, i, after))
    heapq.heapify(queue)
    for _ in range(budget - n):
        _, i, now = queue[0]
        steps[i] += 1
        after = cost(i, int(steps[i]) + 1)
        heapq.heapreplace(queue, (after - now, i, after))
    return steps


def allocation_law(influence: Any, constants: Any, budget: float | int) -> Float[np.ndarray, "n"]:
    """N_i = budget (w_i C_i)^{2/3} / sum: the optimum of `optimal_allocation` for many steps.

    1 - r_i ~ C_i / N_i: `constants` is `euler_constant` of the stds on uniform grids, pi^2 / 8 (any
    equal numbers) on equal-angle ones. Real numbers. Source: sheet `disa`, C7.

    >>> allocation_law([8.0, 1.0], [1.0, 1.0], 10)
    array([8., 2.])
    """
    where = "allocation_law"
    w = np.atleast_1d(_stds(where, influence, "influence", above=True))
    c = np.atleast_1d(_stds(where, constants, "constants", above=True))
    total = number(where, "budget", budget, 0.0)
    if c.shape != w.shape:
        raise fail(where, "constants", f"of shape {w.shape}", c.shape)
    share = (w * c) ** (2 / 3)
    return total * share / share.sum()


def _stds(where: str, value: Any, name: str = "std", above: bool = False) -> np.ndarray:
    """Non-negative numbers, or positive ones, of any shape."""
    out = finite_array(where, name, value)
    if np.any(out < 0) or (above and np.any(out == 0)):
        raise fail(where, name, "above 0" if above else "at least 0", value)
    return out
