"""How many samples for this error: of noisy ones beside given clean ones, or the cheapest mix.

The expected error is homogeneous, E(n1, n2) = Phi(n2 / n1) / n1. Beside a clean set that is too
small every weighting but consistency has a floor that no noisy samples lower, and the plan says so,
with the clean samples that would be needed. Under the loss's weights the first noisy samples can do
harm, so E need not fall in n2, and the first crossing is searched for on a grid of ratios.
Sheet `ambient-scaling`, M7, M8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...arrays import Array, to_numpy
from ...errors import fail, integer, number, one_of
from .._forms import vector
from .frechet import frechet_error, frechet_floor
from .weighting import WEIGHTINGS

MOST = 10**15  # noisy samples; beyond it integers are no longer exact floats
PER_DECADE = 8  # ratios n2 / n1 tried: Phi changes by factors, over factors, of the ratio


@dataclass(frozen=True)
class NoisyNeeded:
    """n_noisy: the smallest number that reaches the target beside n_clean, None if none does.

    error: E there (at the floor if none does); floor: E with infinitely many noisy samples;
    clean_needed: the smallest number of clean samples beside which some number of noisy ones
    reaches the target; clean_alone: the clean samples that reach it without any noisy one.
    """

    n_noisy: int | None
    error: float
    floor: float
    clean_needed: int
    clean_alone: int

    @property
    def feasible(self) -> bool:
        """Whether some number of noisy samples reaches the target."""
        return self.n_noisy is not None


def noisy_needed(
    target: float | int,
    spectrum: Array,
    sigma_n: float | int,
    n_clean: int,
    weighting: str = "loss",
) -> NoisyNeeded:
    """The noisy samples that bring the expected squared Frechet distance to the target.

    target: above 0, in squared units of the data; spectrum (d,), sigma_n and weighting as
    `frechet_error`, spectrum not all 0; n_clean: clean samples at hand, 0 for consistency only.
    At most 1e15 noisy samples are tried. Raises ValueError or TypeError by name.

    >>> spectrum = 1 / np.arange(1, 65)
    >>> noisy_needed(1e-4, spectrum, 0.2, 5_000, "best").n_noisy
    52821
    >>> plan = noisy_needed(1e-5, spectrum, 0.2, 5_000, "best")
    >>> plan.feasible, plan.clean_needed
    (False, 27729)
    """
    where = "noisy_needed"
    target, c = _target(where, target, spectrum, weighting)
    n1 = integer(where, "n_clean", n_clean, 0)
    if n1 == 0 and not WEIGHTINGS[weighting].reaches_below:
        raise fail(where, "n_clean", "1 or more without consistency", n_clean)
    error = partial(frechet_error, c, sigma_n, n1, weighting=weighting)
    floor, one = (frechet_floor(c, sigma_n, n, weighting) for n in (n1, 1))
    alone = _clean_alone(c, target)
    needed = min(alone, math.floor(one / target) + 1) if one > 0 else 0
    n2 = _first(error, target) if floor < target or error(0) <= target else None
    return NoisyNeeded(n2, floor if n2 is None else error(n2), floor, needed, alone)


@dataclass(frozen=True)
class Mix:
    """n_clean and n_noisy samples, what they cost, and the expected error E that they leave."""

    n_clean: int
    n_noisy: int
    cost: float
    error: float


def cheapest_mix(
    target: float | int,
    spectrum: Array,
    sigma_n: float | int,
    *,
    clean_cost: float | int,
    noisy_cost: float | int,
    weighting: str = "best",
) -> Mix:
    """The cheapest clean and noisy samples that bring the expected error to the target.

    Minimises clean_cost + noisy_cost r times Phi(r) over the ratio r = n2 / n1, ends included,
    then rounds so that the target is kept. Costs: positive, per sample. Everything else as
    `noisy_needed`.

    >>> spectrum = 1 / np.arange(1, 65)
    >>> mix = cheapest_mix(1e-4, spectrum, 0.2, clean_cost=10, noisy_cost=1)
    >>> mix.cost < 0.6 * 10 * noisy_needed(1e-4, spectrum, 0.2, 1).clean_alone
    True
    """
    where = "cheapest_mix"
    target, c = _target(where, target, spectrum, weighting)
    dear, cheap = (
        number(where, k, v, 1e-300)
        for k, v in (("clean_cost", clean_cost), ("noisy_cost", noisy_cost))
    )
    cost = partial(_cost, c, sigma_n, weighting, dear, cheap)
    ratio = _least(cost, 10.0 ** np.arange(-6, 9.01, 1 / PER_DECADE))
    sizes = {_clean_alone(c, target)} | ({0} if WEIGHTINGS[weighting].reaches_below else set())
    if cost(ratio) < cost(0.0):
        exact = frechet_error(c, sigma_n, 1, ratio, weighting) / target
        sizes |= {max(math.floor(exact), 1), math.ceil(exact)}
    found = []
    for n1 in sizes:
        n2 = noisy_needed(target, c, sigma_n, n1, weighting).n_noisy
        if n2 is not None:
            error = frechet_error(c, sigma_n, n1, n2, weighting)
            found.append(Mix(n1, n2, dear * n1 + cheap * n2, error))
    return min(found, key=lambda mix: mix.cost)


def _target(where: str, target: Any, spectrum: Array, weighting: str) -> tuple[float, np.ndarray]:
    """The target and the spectrum on the host, or an error that names what is wrong."""
    one_of(where, "weighting", weighting, tuple(WEIGHTINGS))
    c = np.asarray(to_numpy(vector(where, "spectrum", spectrum)), dtype=np.float64)
    if np.any(c < 0) or not np.any(c > 0):
        raise fail(where, "spectrum", "not negative, one positive", spectrum)
    return number(where, "target", target, 1e-300), c


def _clean_alone(c: np.ndarray, target: float) -> int:
    """The clean samples that reach the target without noisy ones, sum c / (2 n) <= target."""
    n = math.ceil(float(c.sum()) / (2 * target))
    return n - 1 if n > 1 and frechet_error(c, 0.0, n - 1, 0, "clean") <= target else n


def _first(error: Callable[[int], float], target: float) -> int | None:
    """The first n at which the error falls to the target, on a grid and then by bisection."""
    if error(0) <= target:
        return 0
    low = 0
    for power in range(math.ceil(math.log10(MOST) * PER_DECADE) + 1):
        high = max(low + 1, math.floor(10 ** (power / PER_DECADE)))
        if error(high) <= target:
            break
        low = high
    else:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if error(middle) <= target else (middle, high)
    return high


def _cost(
    c: np.ndarray, sigma_n: float, weighting: str, dear: float, cheap: float, ratio: float
) -> float:
    """(k1 + k2 r) Phi(r)."""
    return (dear + cheap * ratio) * frechet_error(c, sigma_n, 1, ratio, weighting)


def _least(function: Callable[[float], float], grid: np.ndarray) -> float:
    """Where the function is least: on the grid, then by golden sections in log r about it."""
    k = int(np.argmin([function(float(r)) for r in grid]))
    low, high = math.log(grid[max(k - 1, 0)]), math.log(grid[min(k + 1, grid.size - 1)])
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-8:
        a, b = high - golden * (high - low), low + golden * (high - low)
        at_a, at_b = function(math.exp(a)), function(math.exp(b))
        low, high = (low, b) if at_a <= at_b else (a, high)
    return math.exp((low + high) / 2)
