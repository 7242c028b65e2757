"""Two sets of levels: where the network is called, and where the sampler believes to stand.

The network is told a time, and what it is shown is the state times a factor: together they say at
which level (alpha, sigma) of the state it answers. The sampler has its own opinion, and its rows
betray it: a point mass at x_0 stays a point mass, so let the model answer exactly, m_j = A_j x_0 +
E_j eps_j, and the coefficients of x_0 and of the noise in each state *are* its alpha and sigma.
Where both sets agree the sampler tells its network the truth. Sheet `plan-algebra`, "Consistency".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..model import MEANING, Level
from ..paths import Path
from .probe import Probe


@dataclass(frozen=True, eq=False)
class Levels:
    """A level a node, in the coordinates of the state: u = alpha x_0 + sigma eps.

    alpha, sigma: (k,); t: the times of the network's path, NaN beyond its range.
    """

    alpha: np.ndarray
    sigma: np.ndarray
    t: np.ndarray

    @property
    def lam(self) -> np.ndarray:
        """log(alpha / sigma), +-inf at the ends."""
        with np.errstate(divide="ignore"):
            return np.log(self.alpha) - np.log(self.sigma)

    def __getitem__(self, index: Any) -> Levels:
        return Levels(self.alpha[index], self.sigma[index], self.t[index])


def meaning(told: Any, lam: float) -> tuple[float, float]:
    """(A, E): the network's output is A x_0 + E eps at this half log-SNR."""
    alpha, sigma = _on_path(told.path, lam)
    if told.sigma_data is None:
        a, e = MEANING[told.prediction](Level(alpha, sigma))
        return float(a), float(e)
    s = told.sigma_data  # x_0 = c_skip x + sign c_out F, and x = x_0 + sigma eps
    total = sigma**2 + s**2
    skip, out = s**2 / total, told.sign * sigma * s / math.sqrt(total)
    if out == 0:
        return 0.0, 0.0
    return (1 - skip) / out, -skip * sigma / out


def _on_path(path: Path, lam: float) -> tuple[float, float]:
    if lam == math.inf and path.t_min > 0:
        return 1.0, 0.0
    alpha, sigma = path.level(lam)
    return float(alpha), float(sigma)


def told_levels(found: Probe, told: Any) -> Levels:
    """Where the network is called: (n,) levels, from its times and from what it is shown."""
    if hasattr(found.made, "predicting"):  # a plan
        plan = found.made
        return Levels(plan.alpha[:-1], plan.sigma[:-1], plan.t[:-1])
    path = told.path
    inverse = getattr(told.timestep, "inverse", None)
    t = found.times if inverse is None else np.asarray(inverse(found.times))
    t = np.where(np.abs(t - path.t_min) < 1e-9 * max(1.0, path.t_max), path.t_min, t)
    inside = (t >= path.t_min * (1 - 1e-6)) & (t <= path.t_max * (1 + 1e-6))
    within = np.clip(t, path.t_min, path.t_max)
    alpha, sigma = np.asarray(path.alpha(within)), np.asarray(path.sigma(within))
    shown = 1.0 if told.sigma_data is None else (sigma**2 + told.sigma_data**2) ** -0.5
    scale = shown / found.scales
    return Levels(
        np.where(inside, alpha * scale, np.nan),
        np.where(inside, sigma * scale, np.nan),
        np.where(inside, t, np.nan),
    )


def believed_levels(found: Probe, told: Any, first: Levels) -> Levels:
    """Where the sampler takes point masses: (n+1,) levels, the output's among them.

    R_i = a_i R_0 + sum_j B_ij (A_j x_0 + E_j eps_j) + sum_k C_ik xi_k over x_0 and the noises, with
    eps_j the noise part of R_j at unit variance. Sound from the first level on.
    """
    if hasattr(found.made, "predicting"):
        plan = found.made
        alpha, sigma = plan.believed_levels()
        return Levels(alpha, sigma, plan.t)
    n, q = found.nfe, found.C.shape[1]
    R = np.zeros((n + 1, 2 + q))  # coefficients of x_0, of the first noise, of the later ones
    M = np.zeros((n, 2 + q))
    R[0, :2] = first.alpha[0], first.sigma[0]
    for i in range(n + 1):
        if i:
            R[i] = found.a[i] * R[0] + found.B[i, :i] @ M[:i]
            R[i, 2:] += found.C[i]
        if i < n:
            alpha, sigma = R[i, 0], float(np.linalg.norm(R[i, 1:]))
            with np.errstate(divide="ignore", invalid="ignore"):
                lam = float(np.log(max(alpha, 0.0)) - np.log(sigma))
            A, E = meaning(told, lam)
            M[i, 0] = A
            M[i] += E * np.append(0.0, R[i, 1:]) / (sigma if sigma > 0 else 1.0)
    sigma = np.linalg.norm(R[:, 1:], axis=1)
    sigma = np.where(sigma < 1e-12 * np.abs(R[:, 0]), 0.0, sigma)  # what cancels leaves roundings
    levels = Levels(R[:, 0], sigma, np.full(n + 1, np.nan))
    return Levels(levels.alpha, levels.sigma, _times(told.path, levels.lam))


def _times(path: Path, lam: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.array([path.t_at(v) if not math.isnan(v) else math.nan for v in lam.tolist()])
