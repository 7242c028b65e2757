"""AlphaFold 3's structure sampler: raise the noise, then an Euler step that is too long on purpose.

Gong et al. (2025), arXiv 2507.11839; sheet `protenix-mini`. In y = x / alpha and rho = sigma /
alpha a step from c adds noise up to t = c (1 + gamma), and goes eta times as far as Euler's towards
the next level c'. On N(m, s^2) the variance follows v' = F^2 (v + lambda^2 (t^2 - c^2)) with F = 1
+ eta (c' - t) t / (s^2 + t^2): everything about gamma, lambda and eta can be read off it. With eta
= 1 the added noise is consistent and the output never exceeds s; with eta = 1.5 the network sees
half the noise it is told, and few steps explode. Few steps therefore want the ODE, gamma_0 = 0 and
eta = 1. In angles that is a product of cosines (`plan.angles`); what limits two steps is then the
level in between, best near s itself.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number, one_of
from ..paths import EDM, Path
from ..plan import Grid, GridLike, Hook, Plan, Point, Trace, Variant, grids, sampler
from ..shapes import Float


def af3_levels(
    steps: int,
    *,
    path: Path | None = None,
    sigma_data: float | int = 16.0,
    s_max: float | int = 160.0,
    s_min: float | int = 4e-4,
    rho: float | int = 7.0,
) -> Grid:
    """c_i = sigma_data [s_max^(1/rho) + (i/N) (s_min^(1/rho) - s_max^(1/rho))]^rho, c_N = 0.

    steps: N, the number of evaluations; path: None for an EDM path with room for churn (gamma up to
    1) above c_0. sigma_data in the units of the state (angstrom), s_max and s_min in those of
    sigma_data. The last level, sigma_data s_min, is replaced by 0: s_min is never evaluated, and
    two steps evaluate at 2560 and 56. Karras' own grid divides by N - 1 and appends the 0.
    Raises ValueError for steps below 1, unless s_max > s_min > 0, and where a level leaves the
    path. Source: sheet `protenix-mini`, "Levels".

    >>> af3_levels(2).t.round(3)
    array([2560.   ,   55.975,    0.   ])
    """
    where = "af3_levels"
    n = integer(where, "steps", steps, 1)
    scale = number(where, "sigma_data", sigma_data, 1e-300)
    low = number(where, "s_min", s_min, 1e-300)
    high, power = number(where, "s_max", s_max, 1e-300), number(where, "rho", rho, 1e-3)
    if not high > low:
        raise fail(where, "s_max", f"above s_min = {low:g}", s_max)
    i = np.arange(n)
    c = scale * (high ** (1 / power) + i / n * (low ** (1 / power) - high ** (1 / power))) ** power
    own = EDM(0.0, 2 * scale * high) if path is None else path
    own.check_t(where, np.array([own.t_at(v) for v in (-np.log(c)).tolist()]), "the levels as t")
    return Grid(own, np.append(-np.log(c), math.inf))


def _checked(
    where: str, gamma0: Any, gamma_min: Any, noise_scale: Any, step_scale: Any
) -> tuple[float, float, float, float]:
    """The sampler's four numbers as floats, or an error that names one."""
    return (
        number(where, "gamma0", gamma0, 0.0),
        number(where, "gamma_min", gamma_min, 0.0),
        number(where, "noise_scale", noise_scale, 0.0),
        number(where, "step_scale", step_scale, 0.0),
    )


def _raised(path: Path, s: Point, gamma: float) -> Point:
    """The level whose rho is 1 + gamma times that of s."""
    point = grids.point(path, s.lam - math.log1p(gamma))
    if not path.t_min <= point.t <= path.t_max:
        allowed = f"small enough that every raised level lies on {path!r}"
        raise fail("af3", "gamma0", allowed, gamma)
    return point


@sampler(Variant("AF3 few-step ODE", {"gamma0": 0.0, "step_scale": 1.0}))
def af3(
    path: Path,
    grid: GridLike,
    *,
    gamma0: float | int = 0.8,
    gamma_min: float | int = 1.0,
    noise_scale: float | int = 1.003,
    step_scale: float | int = 1.5,
    augment: bool = False,
    translation: float | int = 1.0,
) -> Plan:
    """t = c (1 + gamma), x = x + lambda sqrt(t^2 - c^2) xi, x' = x + eta (c' - t) (x - x0hat) / t.

    gamma0, gamma_min: gamma is gamma0 where the *next* level c' exceeds gamma_min (in the units of
    the state), else 0; noise_scale: lambda; step_scale: eta. The few-step ODE is gamma0=0,
    step_scale=1, which is DDIM; the defaults are AlphaFold 3's, for 200 steps. With any churn the
    law does not converge to the data's as steps are added: each raises the noise by as much.
    augment: before a step's noise is added, centre each structure (n, beads, 3), rotate it at
    random and translate it by N(0, translation^2); right for a law that is the same in every
    rotated frame. The plan is then not linear. Meant for EDM's path, where a structure predictor's
    network D(x, c) is Model(D, path, "data"); on others y = x / alpha.
    Raises ValueError for a negative number, and where a raised level leaves the path.
    Source: arXiv 2507.11839; AlphaFold 3, algorithm 18 as implemented; sheet `protenix-mini`.

    >>> grid = af3_levels(2)
    >>> af3(grid.path, grid, gamma0=0, step_scale=1)
    <Plan af3: 2 evaluations, deterministic, data prediction>
    """
    gamma0, gamma_min, noise_scale, step_scale = _checked(
        "af3", gamma0, gamma_min, noise_scale, step_scale
    )
    one_of("af3", "augment", augment, (True, False))
    translation = number("af3", "translation", translation, 0.0)
    settings = {"gamma0": gamma0, "gamma_min": gamma_min, "noise_scale": noise_scale}
    settings |= {"step_scale": step_scale, "augment": augment, "translation": translation}
    trace = Trace(af3, path, grid, settings)
    x, moved = trace.start, []
    for s, u in trace.steps():
        if augment:  # a node of its own, which is not evaluated where the noise is raised after it
            x = trace.node(x, s)
            moved.append(len(trace.rows) - 1)
        c, after = math.exp(-s.lam), math.exp(-u.lam)
        gamma = gamma0 if after > gamma_min else 0.0
        raised, noisy = s, x
        if gamma > 0:
            raised = _raised(path, s, gamma)
            added = noise_scale * c * math.sqrt(gamma * (2 + gamma))  # lambda sqrt(t^2 - c^2)
            noisy = raised.alpha * (x / s.alpha + added * trace.noise())
        t = c * (1 + gamma)
        noisy, x0 = trace.evaluate(noisy, raised)
        y = noisy / raised.alpha
        x = u.alpha * (y + step_scale * (after / t - 1) * (y - x0))
    hooks = (Hook("augment", {"nodes": moved, "translation": translation}),) if augment else ()
    return trace.plan(x, hooks)


def af3_variance(
    path: Path,
    grid: GridLike,
    stds: Any,
    *,
    gamma0: float | int = 0.8,
    gamma_min: float | int = 1.0,
    noise_scale: float | int = 1.003,
    step_scale: float | int = 1.5,
    start: str = "marginal",
) -> Float[np.ndarray, "levels d"]:
    """The variance of y = x / alpha at each level of the grid on N(m, stds^2), exactly.

    v' = F^2 (v + lambda^2 (t^2 - c^2)), F = 1 + eta (c' - t) t / (s^2 + t^2). stds: (d,) or a
    number, not negative (0: a point mass); start: "marginal" (variance s^2 + c_0^2) or "noise"
    (c_0^2, as the sampler really starts). It is the law of `af3`'s plan at linear cost.
    Source: sheet `protenix-mini`, "Gaussian recursion".

    >>> grid = af3_levels(2)
    >>> af3_variance(grid.path, grid, 1.0, gamma0=0, step_scale=1)[-1] ** 0.5
    array([0.01785961])
    """
    where = "af3_variance"
    gamma0, gamma_min, noise_scale, step_scale = _checked(
        where, gamma0, gamma_min, noise_scale, step_scale
    )
    one_of(where, "start", start, ("marginal", "noise"))
    s = np.atleast_1d(finite_array(where, "stds", stds))
    if s.ndim != 1 or np.any(s < 0):
        raise fail(where, "stds", "not negative, of shape (d,)", stds)
    levels = np.exp(-grids.of(path, grid).lam).tolist()
    v = np.empty((len(levels), s.size))
    v[0] = levels[0] ** 2 + (s**2 if start == "marginal" else 0.0)
    for i, (c, after) in enumerate(itertools.pairwise(levels)):
        gamma = gamma0 if after > gamma_min else 0.0
        t = c * (1 + gamma)
        # 1 + eta (c' - t) t / (s^2 + t^2), which for eta = 1 and small s would cancel
        F = (s**2 + (1 - step_scale) * t**2 + step_scale * after * t) / (s**2 + t**2)
        v[i + 1] = F**2 * (v[i] + noise_scale**2 * (t**2 - c**2))
    return v


def af3_stationary_variance(
    ratio: float | int,
    *,
    gamma: float | int = 0.8,
    noise_scale: float | int = 1.003,
    step_scale: float | int = 1.5,
) -> float:
    """V = v / c^2 to which the state settles at levels far above s with c' = ratio c.

    V = F^2 lambda^2 ((1 + gamma)^2 - 1) / (ratio^2 - F^2), F = 1 - eta + eta ratio / (1 + gamma);
    lambda^2 for eta = 1. The network is told that V = 1. Raises ValueError for a ratio outside (0,
    1), without churn, and where |F| >= ratio: the variance then grows without bound against c^2.
    Source: sheet `protenix-mini`, C2.

    >>> [round(af3_stationary_variance(0.96, step_scale=eta), 6) for eta in (1.0, 1.5)]
    [1.006009, 0.243881]
    """
    where = "af3_stationary_variance"
    q = number(where, "ratio", ratio, 1e-12, 1 - 1e-12)
    churn = number(where, "gamma", gamma, 1e-12)
    lam = number(where, "noise_scale", noise_scale, 0.0)
    eta = number(where, "step_scale", step_scale, 0.0)
    F = 1 - eta + eta * q / (1 + churn)
    added = churn * (2 + churn)  # (1 + gamma)^2 - 1
    if abs(F) >= q:
        allowed = f"one for which |F| = {abs(F):.3g} is below {q:g}"
        raise fail(where, "step_scale", allowed, step_scale)
    return F**2 * lam**2 * added / (q**2 - F**2)


def low_temperature_ratio(
    stds: Any, start: float | int, step_scale: float | int
) -> Float[np.ndarray, "d"]:
    """(s / S_T)^(eta - 1), S_T^2 = s^2 + start^2: output over exact standard deviation without
    churn, in many steps from p_T.

    Above eta = 1 it samples at a low temperature, whose strength depends on where it starts. stds:
    (d,) positive; start: c_0. Source: sheet `protenix-mini`, C3.

    >>> low_temperature_ratio(2.0, 2560, 1.25).round(6)
    array([0.167185])
    """
    where = "low_temperature_ratio"
    s = np.atleast_1d(finite_array(where, "stds", stds))
    if s.ndim != 1 or np.any(s <= 0):
        raise fail(where, "stds", "positive, of shape (d,)", stds)
    c0 = number(where, "start", start, 0.0)
    return (s / np.hypot(s, c0)) ** (number(where, "step_scale", step_scale, 0.0) - 1)


def best_intermediate_level(std: float | int, start: float | int = 2560.0) -> float:
    """c_1 = s tan(theta_0 / 2), theta_0 = arctan(start / s): the best level between two ODE steps.

    From start to 0 through c_1 the output's standard deviation over s is cos^2(theta_0 / 2), about
    1/2, the largest that two steps reach. Source: sheet `protenix-mini`, C5.

    >>> round(best_intermediate_level(16.0), 6)
    15.900312
    """
    s = number("best_intermediate_level", "std", std, 1e-300)
    c0 = number("best_intermediate_level", "start", start, 1e-300)
    return s * math.tan(math.atan2(c0, s) / 2)
