"""SiD on a Gaussian chain: students of a few steps, and what scaled noise makes of them, exactly.

Each step of a student is a linear map of the beads, so that the law of its samples at any scale
gamma of the noise is a covariance that needs no samples. Sheet `sid-protein`, C8: with exact steps
it is gamma^2 C, whatever the number of steps. What training leaves is the distance to that.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

import fewtheory as ft
from fewtheory.distill import FewSteps, log_uniform_times, protein_times, sid
from fewtheory.testbeds.chain import GaussianChain, centred

BEADS, BOND, PERSISTENCE = 8, 0.38, 0.6  # nanometres between C-alpha atoms
GAMMAS = (1.0, 0.7, 0.45)
COUNTS = (1, 2, 4)
STEPS, BATCH = 1500, 256  # of the loop for each exit: a step trains one of them
EVERY = 4  # moves of the fake score for one of the student: less, and later exits outrun it
PATH = ft.paths.RectifiedFlow()


class LinearSteps(nn.Module):
    """x0hat = M_k x at the k-th time of a student, on centred beads: (n, beads, 3).

    M_k starts as the teacher's denoiser there.
    """

    def __init__(self, times: Sequence[float], cov: np.ndarray) -> None:
        super().__init__()
        self.times = torch.tensor(times, dtype=torch.float64)
        seen = [(1 - t) ** 2 * cov + t**2 * np.eye(BEADS) for t in times]
        maps = [(1 - t) * cov @ np.linalg.inv(S) for t, S in zip(times, seen, strict=True)]
        self.maps = nn.Parameter(torch.tensor(np.stack(maps)))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        k = int((self.times - t[0]).abs().argmin())  # a student's rows are all at one time
        return centred(self.maps[k] @ centred(x))


class GaussianDenoiser(nn.Module):
    """The exact denoiser of chains of covariance L L', L free: a fake score that can be exact.

    One L for each exit that it can be told. They start as the teacher's, a little wider (a singular
    one would not move along all directions), and move by factors on the right: a step of the
    optimiser is as long along a stiff direction as along a loose one.
    """

    def __init__(self, cov: np.ndarray, exits: int) -> None:
        super().__init__()
        wider = cov + 1e-3 * np.trace(cov) / BEADS * np.eye(BEADS)
        self.start = torch.tensor(np.linalg.cholesky(wider))
        self.factors = nn.Parameter(torch.eye(BEADS, dtype=torch.float64).repeat(exits, 1, 1))

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, exit: torch.Tensor | None = None
    ) -> torch.Tensor:
        root = self.start @ self.factors[0 if exit is None else int(exit[0])]
        cov, u = root @ root.T, t[:, None, None]
        alpha, sigma = 1 - u, u
        seen = alpha**2 * cov + sigma**2 * torch.eye(BEADS, dtype=cov.dtype)
        return centred(alpha * cov @ torch.linalg.solve(seen, centred(x)))


def as_model(network: nn.Module) -> ft.Model:
    """Networks see centred beads in float64 and give centred ones: noise need not be centred."""
    return ft.adapters.torch.model(network, PATH, "data")


def signal(level: Any) -> Any:
    """The weight of both losses, 1 / rho^2."""
    return (level.alpha / level.sigma) ** 2


def student(count: int, a: float, told: bool, seed: int = 0) -> tuple[LinearSteps, FewSteps, float]:
    """A trained student of so many steps, its steps, and the seconds that it took."""
    chain = GaussianChain(BEADS, BOND, PERSISTENCE)
    steps = FewSteps(protein_times(count) if count > 1 else [0.63])
    network, fake = LinearSteps(steps.times, chain.cov), GaussianDenoiser(chain.cov, count)
    settings = [
        {
            "optimizer": functools.partial(torch.optim.Adam, lr=rate, betas=(0.0, 0.99)),
            "schedule": ft.train.cosine_decay(count * STEPS, warmup=100, last=0.01),
        }
        for rate in (1e-2, 2e-2)
    ]
    players = sid(
        network,
        fake,
        as_model,
        chain.model(PATH, "data"),
        steps,
        a=a,
        weight=signal,
        levels=log_uniform_times(0.02, 0.98),
        fake_weight=signal,
        every=EVERY,
        exit_as="exit" if told else None,
        student_settings={**settings[0], "ema": 0.99},
        fake_settings=settings[1],
    )

    def data(n: int, rng: torch.Generator) -> torch.Tensor:
        return torch.zeros(n, BEADS, 3, dtype=torch.float64)  # their shape alone

    began = time.process_time()
    rng = torch.Generator().manual_seed(seed)
    fitted = ft.train.fit(players, data, count * STEPS, rng=rng, batch=BATCH)
    average: Any = fitted.averages["student"]
    return average, steps, time.process_time() - began


def covariance(network: LinearSteps, steps: FewSteps, gamma: float) -> np.ndarray:
    """Of one coordinate of the student's samples, (beads, beads)."""
    middle = np.eye(BEADS) - 1 / BEADS
    cov = np.zeros((BEADS, BEADS))
    for t, M in zip(steps.times, network.maps.detach().numpy(), strict=True):
        seen = (1 - t) ** 2 * cov + (gamma * t) ** 2 * np.eye(BEADS)
        if t == steps.times[0]:
            seen = (gamma * t) ** 2 * np.eye(BEADS)
        cov = middle @ M @ middle @ seen @ middle @ M.T @ middle
    return cov


Student = tuple[int, float, bool]
STUDENTS: list[Student] = [
    (count, a, told)
    for count, a, told in itertools.product(COUNTS, (0.5, 1.0), (False, True))
    if count > 1 or not told
]


def rows(count: int, a: float, told: bool, seed: int) -> list[dict[str, Any]]:
    """A student's distance to gamma^2 C and the size of its chains, at each scale of the noise."""
    torch.set_num_threads(1)
    chain, found = GaussianChain(BEADS, BOND, PERSISTENCE), []
    network, steps, seconds = student(count, a, told, seed)
    for gamma in GAMMAS:
        cov, exact = covariance(network, steps, gamma), gamma**2 * chain.cov
        off = np.linalg.norm(cov - exact) / np.linalg.norm(exact)
        size = np.sqrt(np.trace(cov) / np.trace(chain.cov))
        found.append(
            {
                "steps": count,
                "a": a,
                "told": told,
                "seed": seed,
                "gamma": gamma,
                "distance": float(f"{off:.3g}"),
                "size": float(f"{size:.4g}"),
                "seconds": round(seconds, 1),
            }
        )
    return found
