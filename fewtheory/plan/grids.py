"""Grids: the levels at which a sampler calls its model, from noise to data.

A grid is a sequence of half log-SNRs, increasing; on a path it has times, alphas and sigmas too.
So a grid made on one path can be used on another: the levels of noise are what it fixes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..errors import fail, finite_array, integer, number
from ..paths import Path, Table
from ..shapes import Float


class Point(NamedTuple):
    """One level: time, alpha, sigma and lam = log(alpha / sigma)."""

    t: float
    alpha: float
    sigma: float
    lam: float


def point(path: Path, lam: float) -> Point:
    """The level of this half log-SNR on a path."""
    return Point(path.t_at(lam), *path.level(lam), lam)


@dataclass(frozen=True, eq=False)
class Grid:
    """N steps through the levels lam_0 < lam_1 < ... < lam_N of a path; lam_N may be +inf.

    >>> from fewtheory.paths import VPLinear
    >>> log_snr(VPLinear(), steps=4).lam.round(2)
    array([-5.02, -2.63, -0.23,  2.16,  4.56])
    """

    path: Path
    lam: Float[np.ndarray, "levels"]
    t: Any = None  # (levels,), made from lam unless given

    def __post_init__(self) -> None:
        lam = np.array(self.lam, dtype=np.float64)
        if lam.ndim != 1 or lam.size < 2:
            raise fail("Grid", "lam", "one-dimensional with two or more levels", lam.shape)
        if np.any(np.isnan(lam)) or np.any(np.diff(lam) <= 0):
            raise fail("Grid", "lam", "strictly increasing", lam)
        t = np.array([self.path.t_at(v) for v in lam.tolist()] if self.t is None else self.t)
        lam.setflags(write=False)
        t.setflags(write=False)
        object.__setattr__(self, "lam", lam)
        object.__setattr__(self, "t", t)

    @property
    def steps(self) -> int:
        """N, the number of intervals."""
        return self.lam.size - 1

    def __getitem__(self, i: int) -> Point:
        lam = float(self.lam[i])
        return Point(float(self.t[i]), *self.path.level(lam), lam)

    def to_clean(self) -> Grid:
        """The same grid with one more step, to sigma = 0."""
        if math.isinf(self.lam[-1]):
            return self
        return Grid(
            self.path, np.append(self.lam, np.inf), np.append(self.t, self.path.t_at(math.inf))
        )

    def refined(self, parts: int) -> Grid:
        """Each interval cut into equal parts in lam; a last step to sigma = 0 is left out."""
        integer("Grid.refined", "parts", parts, 1)
        lam = self.lam[np.isfinite(self.lam)]
        inner = [np.linspace(a, b, parts, endpoint=False) for a, b in itertools.pairwise(lam)]
        return Grid(self.path, np.append(np.concatenate(inner), lam[-1]))

    def on(self, path: Path) -> Grid:
        """The same levels of noise on another path."""
        return self if path is self.path else Grid(path, self.lam)


GridLike: TypeAlias = Grid | Sequence[float] | np.ndarray  # a grid, or decreasing times


def of(path: Path, grid: GridLike) -> Grid:
    """A grid, or decreasing times on a path, as a grid on that path."""
    if not isinstance(path, Path):
        raise TypeError(f"grid: path must be a Path, got {path!r}")
    return grid.on(path) if isinstance(grid, Grid) else at_times(path, grid)


def at_times(path: Path, t: Sequence[float] | np.ndarray) -> Grid:
    """An arbitrary grid: strictly decreasing times within the path's range."""
    times = finite_array("grid", "t", t)
    if times.ndim != 1 or times.size < 2 or np.any(np.diff(times) >= 0):
        raise fail("grid", "t", "one-dimensional and strictly decreasing", t)
    path.check_t("grid", times)
    return Grid(path, path.lam(times), times)


def at_lams(path: Path, lam: Sequence[float] | np.ndarray) -> Grid:
    """An arbitrary grid: strictly increasing half log-SNRs (the last one may be +inf)."""
    grid = Grid(path, np.asarray(lam, dtype=np.float64))
    inside = grid.t[np.isfinite(grid.lam)]
    path.check_t("grid", inside, "lam")
    return grid


def _ends(path: Path, start: float | None, end: float | None, steps: int) -> tuple[float, float]:
    integer("grid", "steps", steps, 1)
    first = path.start if start is None else number("grid", "start", start, 0.0)
    last = path.end if end is None else number("grid", "end", end, 0.0)
    path.check_t("grid", first, "start")
    path.check_t("grid", last, "end")
    if not first > last:
        raise fail("grid", "start", f"above end = {last:g}", start)
    return first, last


def uniform(
    path: Path, steps: int, *, start: float | None = None, end: float | None = None
) -> Grid:
    """Equal steps in t, from `start` to `end` (the path's own ends by default)."""
    return at_times(path, np.linspace(*_ends(path, start, end, steps), steps + 1))


def power(
    path: Path,
    steps: int,
    *,
    exponent: float = 2.0,
    start: float | None = None,
    end: float | None = None,
) -> Grid:
    """Equal steps in t^(1/exponent) (DEIS's `ts_order`, 2 by default); `start` and `end` are
    times."""
    first, last = _ends(path, start, end, steps)
    q = number("grid", "exponent", exponent, 1e-3)
    times = np.linspace(first ** (1 / q), last ** (1 / q), steps + 1) ** q
    times[0], times[-1] = first, last
    return at_times(path, times)


def quadratic(
    path: Path, steps: int, *, start: float | None = None, end: float | None = None
) -> Grid:
    """Equal steps in sqrt(t) (DDIM's "quad", DPM-Solver's "time_quadratic")."""
    return power(path, steps, exponent=2.0, start=start, end=end)


def log_snr(
    path: Path, steps: int, *, start: float | None = None, end: float | None = None
) -> Grid:
    """Equal steps in lam (DPM-Solver's "logSNR"); `start` and `end` are times."""
    first, last = _ends(path, start, end, steps)
    return at_lams(path, np.linspace(path.lam(first), path.lam(last), steps + 1))


def karras(
    path: Path,
    steps: int,
    *,
    rho: float = 7.0,
    start: float | None = None,
    end: float | None = None,
) -> Grid:
    """Equal steps in (sigma/alpha)^(1/rho) (Karras et al.); `start` and `end` are times."""
    first, last = _ends(path, start, end, steps)
    power = number("grid", "rho", rho, 1e-3)
    ends = [math.exp(-path.lam(t) / power) for t in (first, last)]
    lam = -power * np.log(np.linspace(ends[0], ends[1], steps + 1))
    lam[0], lam[-1] = path.lam(first), path.lam(last)
    return at_lams(path, lam)


def on_entries(path: Table, grid: GridLike) -> Grid:
    """The grid moved to a network's own timesteps: each time to the nearest entry of its table.

    Where two fall on one entry the later takes the nearest unused one towards the data, or, past
    the last, towards the noise. Raises ValueError for more levels than entries. Source: sheet
    `deis`, "Discrete models".

    >>> path = Table([0.9, 0.7, 0.5, 0.3, 0.1])
    >>> on_entries(path, [1.0, 0.95, 0.5]).t
    array([1. , 0.8, 0.6])
    """
    if not isinstance(path, Table):
        raise TypeError(f"grid: path must be a Table, got {path!r}")
    times = of(path, grid).t
    wanted = np.rint(path.timestep(times)).astype(int).tolist()
    low, high = 0, round(path.timestep(path.t_max))
    if len(wanted) > high - low + 1:
        raise fail("grid", "grid", f"of at most {high - low + 1} levels", len(wanted))
    used: set[int] = set()
    for i in wanted:
        below = [j for j in range(min(i, high), low - 1, -1) if j not in used]
        used.add(below[0] if below else next(j for j in range(i, high + 1) if j not in used))
    return at_times(path, (np.array(sorted(used, reverse=True)) + 1) / path.entries)
