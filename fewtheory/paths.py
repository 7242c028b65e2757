"""Gaussian probability paths x_t = alpha_t x_0 + sigma_t eps, data at t = 0, noise at the far end.

A path is a pair of scalar functions of t with their derivatives, the half log-SNR
lam = log(alpha / sigma), which decreases in t, and its inverse. Everything else in the package
asks a path only for these, so that a sampler written on one path runs on a model of another.
Closed forms are the ones that lose no digits at either end. Notation: sheet `00-notation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .arrays import Array, as_like, is_numpy, is_torch, namespace, to_numpy
from .errors import fail, finite_array, number, one_of

TINY = 1e-30  # keeps 0/0 out of inverses whose limit is 0; a float32 holds it
SLACK = 1e-12  # t_at(lam(t)) may leave the range of t by rounding


class Path:
    """A Gaussian path. Its methods take a number or an array of t and give back the same kind.

    `t_min` and `t_max` bound t; `start` and `end` are the default ends of a grid, inside the
    range where lam is finite.
    """

    name: ClassVar[str]
    t_min: float = 0.0
    t_max: float = 1.0
    start: float = 0.999
    end: float = 1e-3

    def _alpha(self, xp: Any, t: Array) -> Array:
        raise TypeError("Path: use one of the named paths")

    _sigma = _dalpha = _dsigma = _lam = _t_at = _alpha

    def alpha(self, t: Array) -> Array:
        """The signal scale alpha_t."""
        return apply_elementwise(self._alpha, t)

    def sigma(self, t: Array) -> Array:
        """The noise scale sigma_t."""
        return apply_elementwise(self._sigma, t)

    def dalpha(self, t: Array) -> Array:
        """d alpha / dt."""
        return apply_elementwise(self._dalpha, t)

    def dsigma(self, t: Array) -> Array:
        """d sigma / dt; infinite at t = 0 on variance-preserving paths."""
        return apply_elementwise(self._dsigma, t)

    def lam(self, t: Array) -> Array:
        """The half log-SNR log(alpha_t / sigma_t)."""
        return apply_elementwise(self._lam, t)

    def t_at(self, lam: Array) -> Array:
        """The time at which the half log-SNR is lam."""
        return apply_elementwise(self._t_at, lam)

    def level(self, lam: Array) -> tuple[Array, Array]:
        """(alpha, sigma) at this half log-SNR; lam = +-inf are the path's clean and noise ends."""
        t = self.t_at(lam)
        return self.alpha(t), self.sigma(t)

    def check_t(self, where: str, t: Array, argument: str = "t") -> None:
        """Raise a ValueError unless t lies in the path's range (CUDA tensors are not read)."""
        if is_torch(t) and t.is_cuda:
            return
        if isinstance(t, (int, float)):
            low = high = float(t)
        else:
            try:
                host = to_numpy(t)
            except RuntimeError:  # a tensor inside a torch.func transform has no values to read
                return
            low, high = (float(host.min()), float(host.max())) if host.size else (1.0, 1.0)
        slack = SLACK * max(1.0, self.t_max)
        if not (self.t_min - slack <= low and high <= self.t_max + slack):
            outside = low if low < self.t_min - slack else high
            raise fail(where, argument, f"in [{self.t_min:g}, {self.t_max:g}] on {self!r}", outside)


def apply_elementwise(function: Callable[[Any, Array], Array], t: Array) -> Array:
    """function(namespace, t) for arrays; a Python float for numbers, which promote nothing."""
    if isinstance(t, (int, float)):
        with np.errstate(divide="ignore"):
            return float(function(np, np.float64(t)))
    if is_numpy(t):
        with np.errstate(divide="ignore"):
            return function(np, t)
    return function(namespace(t), t)


def _on_unit_circle(lam: Array) -> tuple[Array, Array]:
    """(alpha, sigma) with alpha^2 + sigma^2 = 1 and log(alpha / sigma) = lam."""
    return apply_elementwise(_circle_alpha, lam), apply_elementwise(_circle_alpha, -lam)


def _circle_alpha(xp: Any, lam: Array) -> Array:
    return xp.exp(-0.5 * xp.logaddexp(xp.zeros_like(lam), -2 * lam))


class _VariancePreserving(Path):
    """alpha = exp(-g), sigma^2 = 1 - alpha^2, for an increasing g(t) = -log alpha."""

    def _g(self, xp: Any, t: Array) -> Array:
        raise TypeError("a variance-preserving path states g, its derivative and its inverse")

    _dg = _t_of_g = _g

    def _alpha(self, xp: Any, t: Array) -> Array:
        return xp.exp(-self._g(xp, t))

    def _sigma(self, xp: Any, t: Array) -> Array:
        return xp.sqrt(-xp.expm1(-2 * self._g(xp, t)))

    def _dalpha(self, xp: Any, t: Array) -> Array:
        return -self._dg(xp, t) * self._alpha(xp, t)

    def _dsigma(self, xp: Any, t: Array) -> Array:
        return self._dg(xp, t) * self._alpha(xp, t) ** 2 / self._sigma(xp, t)

    def _lam(self, xp: Any, t: Array) -> Array:
        g = self._g(xp, t)
        return -g - 0.5 * xp.log(-xp.expm1(-2 * g))

    def _t_at(self, xp: Any, lam: Array) -> Array:
        return self._t_of_g(xp, 0.5 * xp.logaddexp(xp.zeros_like(lam), -2 * lam))

    def level(self, lam: Array) -> tuple[Array, Array]:
        """(alpha, sigma) at this half log-SNR, from lam alone."""
        return _on_unit_circle(lam)


@dataclass(frozen=True)
class VPLinear(_VariancePreserving):
    """Variance preserving with beta(t) linear from beta_min to beta_max (DDPM, Score SDE).

    >>> round(VPLinear().alpha(1.0), 6)
    0.006572
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    name: ClassVar[str] = "vp-linear"
    start: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        number("VPLinear", "beta_min", self.beta_min, 0.0)
        if not number("VPLinear", "beta_max", self.beta_max, 0.0) > self.beta_min:
            raise fail("VPLinear", "beta_max", f"above beta_min = {self.beta_min}", self.beta_max)

    def _g(self, xp: Any, t: Array) -> Array:
        return t * (0.5 * self.beta_min + 0.25 * (self.beta_max - self.beta_min) * t)

    def _dg(self, xp: Any, t: Array) -> Array:
        return 0.5 * (self.beta_min + (self.beta_max - self.beta_min) * t)

    def _t_of_g(self, xp: Any, g: Array) -> Array:
        # the root of the quadratic g(t) that does not cancel
        root = xp.sqrt(self.beta_min**2 + 4 * (self.beta_max - self.beta_min) * g)
        return 4 * g / xp.clip(self.beta_min + root, min=TINY)  # 0 at g = 0, also for beta_min = 0


@dataclass(frozen=True)
class VPCosine(_VariancePreserving):
    """Variance preserving with alpha = cos(a) / cos(b), a = pi/2 (t+s)/(1+s), b = a at t = 0.

    Improved DDPM's schedule; alpha = 0 at t = 1, so that grids start at 0.9946 by default.
    """

    s: float = 0.008
    name: ClassVar[str] = "vp-cosine"
    start: ClassVar[float] = 0.9946

    def __post_init__(self) -> None:
        number("VPCosine", "s", self.s, 0.0, 1.0)

    @property
    def _b(self) -> float:
        return 0.5 * math.pi * self.s / (1 + self.s)

    def _turned(self, t: Array) -> Array:
        return 0.5 * math.pi * t / (1 + self.s)  # a - b

    def _g(self, xp: Any, t: Array) -> Array:
        # t < 1/2: 1 - alpha^2 = sin(a-b) sin(a+b) / cos^2 b does not cancel; above: the logarithm
        turned, b = self._turned(t), self._b
        near = xp.clip(xp.sin(turned) * xp.sin(turned + 2 * b) / math.cos(b) ** 2, max=0.75)
        far = xp.clip(xp.cos(turned + b), min=0.0) / math.cos(b)
        return xp.where(t < 0.5, -0.5 * xp.log1p(-near), -xp.log(far))

    def _dg(self, xp: Any, t: Array) -> Array:
        return 0.5 * math.pi / (1 + self.s) * xp.tan(self._turned(t) + self._b)

    def _t_of_g(self, xp: Any, g: Array) -> Array:
        # tan(a - b) with the difference of squares in closed form, so that small sigma is exact
        sin_b, cos_b = math.sin(self._b), math.cos(self._b)
        sigma2 = -xp.expm1(-2 * g)
        sin_a, cos_a = xp.sqrt(sin_b**2 + sigma2 * cos_b**2), xp.exp(-g) * cos_b
        rise = sigma2 * cos_b**2 / xp.clip(sin_a * cos_b + cos_a * sin_b, min=TINY)
        angle = xp.atan2(rise, cos_a * cos_b + sin_a * sin_b)
        return angle * (1 + self.s) / (0.5 * math.pi)


@dataclass(frozen=True, eq=False)
class Table(_VariancePreserving):
    """Variance preserving, from a network's own table of `alphas_cumprod` (alpha_i^2), (N,).

    Entry i stands at t = (i + 1) / N; `timestep(t) = N t - 1` is what the network takes. Between
    entries log alpha is linear ("log", DPM-Solver's convention for discrete models) or alpha^2 is
    ("linear", DEIS's). Entries below `clip_lam` are dropped from the noisy end (cosine tables, zero
    terminal SNR).

    >>> import numpy as np
    >>> betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2        # Stable Diffusion's
    >>> path = Table(np.cumprod(1 - betas))
    >>> round(path.timestep(path.t_at(0.0)), 3)
    353.89
    """

    alphas_cumprod: Any
    clip_lam: float = -math.inf
    interpolation: str = "log"
    name: ClassVar[str] = "table"
    t_min: float = field(init=False)
    t_max: float = field(init=False)
    start: float = field(init=False)
    end: float = field(init=False)
    entries: int = field(init=False)
    _values: np.ndarray = field(init=False, repr=False)  # what is linear: -log alpha, or -alpha^2

    def __post_init__(self) -> None:
        one_of("Table", "interpolation", self.interpolation, ("log", "linear"))
        table = finite_array("Table", "alphas_cumprod", self.alphas_cumprod)
        if table.ndim != 1 or table.size < 2:
            raise fail("Table", "alphas_cumprod", "one-dimensional, two or more", table.shape)
        lowest = 1 / (1 + math.exp(-2 * self.clip_lam)) if self.clip_lam > -300 else 0.0
        kept = table[table > lowest]
        if kept.size < 2 or np.any(np.diff(kept) >= 0) or kept[0] >= 1 or np.any(table < 0):
            raise fail("Table", "alphas_cumprod", "strictly decreasing inside (0, 1)", table)
        if self.clip_lam == -math.inf and kept.size < table.size:
            raise fail("Table", "alphas_cumprod", "above 0 (or give clip_lam)", table[-1])
        n = table.size
        ends = {"t_min": 1 / n, "t_max": kept.size / n, "start": kept.size / n, "end": 1 / n}
        values = -0.5 * np.log(kept) if self.interpolation == "log" else -kept
        given = {**ends, "alphas_cumprod": table, "entries": n, "_values": values}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Table(<{self.entries} alphas_cumprod>)"

    def timestep(self, t: Array) -> Array:
        """The (fractional) index that the network takes as its time."""
        return t * self.entries - 1

    def _cell(self, xp: Any, t: Array) -> tuple[Array, Array, Array]:
        """The cell's left value, its slope, and t's distance from the left end."""
        position = xp.clip(t * self.entries - 1, min=0.0, max=self._values.size - 1.0)
        left = xp.clip(xp.floor(position), max=self._values.size - 2.0)
        if xp is np:
            i, table = np.asarray(left, dtype=np.int64), self._values.astype(position.dtype)
            return table[i], np.diff(table)[i] * self.entries, (position - left) / self.entries
        i = xp.astype(left, xp.int64)
        table = xp.asarray(self._values, dtype=t.dtype, device=t.device)
        low, flat = xp.take(table, xp.reshape(i, (-1,))), xp.take(table, xp.reshape(i + 1, (-1,)))
        low, high = xp.reshape(low, i.shape), xp.reshape(flat, i.shape)
        return low, (high - low) * self.entries, (position - left) / self.entries

    def _g(self, xp: Any, t: Array) -> Array:
        low, slope, step = self._cell(xp, t)
        value = low + slope * step
        return value if self.interpolation == "log" else -0.5 * xp.log(-value)

    def _dg(self, xp: Any, t: Array) -> Array:
        low, slope, step = self._cell(xp, t)
        return slope if self.interpolation == "log" else -0.5 * slope / (low + slope * step)

    def _t_of_g(self, xp: Any, g: Array) -> Array:
        times = np.arange(1, self._values.size + 1) / self.entries
        value = g if self.interpolation == "log" else -xp.exp(-2 * g)
        if xp is np:
            return np.interp(value, self._values, times)
        return as_like(np.interp(to_numpy(value), self._values, times), g)


@dataclass(frozen=True)
class EDM(Path):
    """Variance exploding, alpha = 1 and sigma = t (Karras et al.'s coordinates)."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    name: ClassVar[str] = "edm"

    def __post_init__(self) -> None:
        number("EDM", "sigma_min", self.sigma_min, 0.0)
        if not number("EDM", "sigma_max", self.sigma_max, 0.0) > self.sigma_min:
            raise fail("EDM", "sigma_max", f"above sigma_min = {self.sigma_min}", self.sigma_max)
        for name, value in {
            "t_min": self.sigma_min,
            "t_max": self.sigma_max,
            "start": self.sigma_max,
            "end": self.sigma_min if self.sigma_min > 0 else 0.002,
        }.items():
            object.__setattr__(self, name, value)

    def _alpha(self, xp: Any, t: Array) -> Array:
        return xp.ones_like(t)

    def _sigma(self, xp: Any, t: Array) -> Array:
        return t

    def _dalpha(self, xp: Any, t: Array) -> Array:
        return xp.zeros_like(t)

    def _dsigma(self, xp: Any, t: Array) -> Array:
        return xp.ones_like(t)

    def _lam(self, xp: Any, t: Array) -> Array:
        return -xp.log(t)

    def _t_at(self, xp: Any, lam: Array) -> Array:
        return xp.exp(-lam)


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """The straight path alpha = 1 - t, sigma = t (flow matching, rectified flow)."""

    name: ClassVar[str] = "rectified-flow"

    def _alpha(self, xp: Any, t: Array) -> Array:
        return 1 - t

    def _sigma(self, xp: Any, t: Array) -> Array:
        return t

    def _dalpha(self, xp: Any, t: Array) -> Array:
        return -xp.ones_like(t)

    def _dsigma(self, xp: Any, t: Array) -> Array:
        return xp.ones_like(t)

    def _lam(self, xp: Any, t: Array) -> Array:
        return xp.log1p(-t) - xp.log(t)

    def _t_at(self, xp: Any, lam: Array) -> Array:
        return xp.exp(-xp.logaddexp(xp.zeros_like(lam), lam))

    def level(self, lam: Array) -> tuple[Array, Array]:
        """(alpha, sigma) at this half log-SNR, from lam alone."""
        return apply_elementwise(self._t_at, -lam), apply_elementwise(self._t_at, lam)


@dataclass(frozen=True)
class Trigonometric(Path):
    """The circular path alpha = cos(pi t / 2), sigma = sin(pi t / 2) (TrigFlow, v-diffusion)."""

    name: ClassVar[str] = "trigonometric"

    def _alpha(self, xp: Any, t: Array) -> Array:
        return xp.sin(0.5 * math.pi * (1 - t))

    def _sigma(self, xp: Any, t: Array) -> Array:
        return xp.sin(0.5 * math.pi * t)

    def _dalpha(self, xp: Any, t: Array) -> Array:
        return -0.5 * math.pi * xp.sin(0.5 * math.pi * t)

    def _dsigma(self, xp: Any, t: Array) -> Array:
        return 0.5 * math.pi * xp.sin(0.5 * math.pi * (1 - t))

    def _lam(self, xp: Any, t: Array) -> Array:
        return xp.log(self._alpha(xp, t)) - xp.log(self._sigma(xp, t))

    def _t_at(self, xp: Any, lam: Array) -> Array:
        return xp.atan(xp.exp(-lam)) / (0.5 * math.pi)

    def level(self, lam: Array) -> tuple[Array, Array]:
        """(alpha, sigma) at this half log-SNR, from lam alone."""
        return _on_unit_circle(lam)


NAMED = {c.name: c for c in (VPLinear, VPCosine, Table, EDM, RectifiedFlow, Trigonometric)}
