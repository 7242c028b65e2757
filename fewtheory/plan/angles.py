"""First-order steps on Gaussian data, in angles.

For N(m, s^2) and theta = arctan(rho / s), rho = sigma / alpha, every first-order step (DDIM,
DPM-Solver-1, Euler on the rectified flow or on EDM's path) multiplies the state over its own
standard deviation by cos(theta - theta'), on every path. So a grid's output law is a product of
cosines, the best grid of N steps has equal angles, and -log cos is a cost that adds up along a
grid. Sheets `00-notation`, `autodiffusion` and `disa`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number, one_of
from ..paths import Path
from ..shapes import Float
from .grids import Grid, GridLike, of


def angles(path: Path, grid: GridLike, stds: Any) -> Float[np.ndarray, "levels d"]:
    """theta = arctan(sigma / (alpha s)) of each level, pi/2 at pure noise and 0 at the data.

    stds: (d,) positive.
    """
    s = _positive("angles", "stds", stds)
    levels = [path.level(v) for v in of(path, grid).lam.tolist()]
    alpha, sigma = (np.array([v[k] for v in levels])[:, None] for k in (0, 1))
    return np.arctan2(sigma, alpha * s)


def std_ratio(path: Path, grid: GridLike, stds: Any) -> Float[np.ndarray, "d"]:
    """Standard deviation of the output over the exact one, from p_T: prod cos(theta_i - theta_j).

    >>> from fewtheory.paths import RectifiedFlow
    >>> std_ratio(RectifiedFlow(), [1.0, 0.5, 0.0], 1.0).round(4)
    array([0.5])
    """
    return np.cos(np.diff(angles(path, grid, stds), axis=0)).prod(axis=0)


def first_order_w2(
    path: Path, grid: GridLike, means: Any, stds: Any, *, start: str = "marginal"
) -> float:
    """W2 of a first-order sampler's output to N(means, diag stds^2) at the grid's last level.

    means, stds: (d,); start: "marginal" (p_T) or "normal" (N(0, I), as samplers really start): its
    standard deviation is then off by 1/S_T and its mean by -alpha_T m. The square is the Frechet
    distance (FID) of the identity features.

    >>> from fewtheory.paths import VPLinear
    >>> round(first_order_w2(VPLinear(), [1.0, 0.5, 0.0], [0.0], [0.5]), 4)
    0.4283
    """
    where = "first_order_w2"
    one_of(where, "start", start, ("marginal", "normal"))
    s = _positive(where, "stds", stds)
    m = np.atleast_1d(finite_array(where, "means", means))
    if m.shape != s.shape:
        raise fail(where, "means", f"of shape {s.shape}", m.shape)
    made = of(path, grid)
    r = std_ratio(path, made, s)
    (alpha, sigma), (alpha_n, sigma_n) = (path.level(float(made.lam[i])) for i in (0, -1))
    exact = np.hypot(alpha_n * s, sigma_n)
    mean = np.zeros_like(s)
    if start == "normal":
        r = r / np.hypot(alpha * s, sigma)
        mean = exact * r * alpha * m
    return float(np.sqrt((mean**2 + (exact * (1 - r)) ** 2).sum()))


def equal_angles(path: Path, steps: int, std: float | int, *, rho_max: float | None = None) -> Grid:
    """The best grid of a first-order sampler for N(m, std^2): rho_i = std tan(Theta (N - i)/N).

    It ends at sigma = 0; Theta = arctan(rho_max / std), rho_max that of the path's start unless
    given (inf: pure noise, on a path that has it). Its ratio is cos(Theta/N)^N, and no grid of N
    steps from there has a larger one.

    >>> from fewtheory.paths import RectifiedFlow
    >>> equal_angles(RectifiedFlow(), 4, 0.5, rho_max=1e9).t.round(4)
    array([1.    , 0.5469, 0.3333, 0.1716, 0.    ])
    """
    s = number("equal_angles", "std", std, 1e-300)
    n = integer("equal_angles", "steps", steps, 1)
    rho = math.exp(-path.lam(path.start)) if rho_max is None else rho_max
    if not rho > 0:
        raise fail("equal_angles", "rho_max", "above 0", rho_max)
    theta = math.atan2(rho, s) if rho < math.inf else math.pi / 2
    inner = s * np.tan(theta * (n - np.arange(1, n)) / n)
    return Grid(path, np.concatenate([[-math.log(rho)], -np.log(inner), [math.inf]]))


def angle_costs(path: Path, grid: GridLike, std: float | int) -> Float[np.ndarray, "levels levels"]:
    """-log cos(theta_j - theta_k) for j < k: of one step from level j to k, for shortest paths.

    Their sum along a plan is -log of its std_ratio, so that the shortest path is the best plan in
    one dimension.
    """
    theta = angles(path, grid, number("angle_costs", "std", std, 1e-300))[:, 0]
    step = np.clip(np.triu(theta[:, None] - theta[None, :], 1), 0.0, math.pi / 2)
    with np.errstate(divide="ignore"):
        return -np.log(np.maximum(np.cos(step), 1e-300))


def _positive(where: str, name: str, value: Any) -> np.ndarray:
    out = np.atleast_1d(finite_array(where, name, value))
    if out.ndim != 1 or np.any(out <= 0):
        raise fail(where, name, "positive, of shape (d,)", value)
    return out
