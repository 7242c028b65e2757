"""Noise schedules of discrete diffusion: the rate at which a token forgets its value.

Source: the sheets `lsd`, `svdd` and `fkc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..arrays import (
    Array,
)
from ..errors import fail, number
from ..paths import apply_elementwise


class Schedule:
    """sigma(t), sigma_bar(t) = int_0^t sigma and keep(t) = exp(-sigma_bar), t from 0 to 1.

    Methods take a number or an array of any kind and give back the same, differentiable on torch.
    """

    def _sigma_bar(self, xp: Any, t: Array) -> Array:
        raise TypeError("Schedule: use LogLinear, Geometric or Constant")

    _sigma = _t_at = _sigma_bar

    def sigma_bar(self, t: Array) -> Array:
        """The total noise int_0^t sigma (Geometric: it starts at sigma_min, not at 0)."""
        return apply_elementwise(self._sigma_bar, t)

    def sigma(self, t: Array) -> Array:
        """The rate at which a token forgets."""
        return apply_elementwise(self._sigma, t)

    def t_at(self, sigma_bar: Array) -> Array:
        """The time of this total noise."""
        return apply_elementwise(self._t_at, sigma_bar)

    def keep(self, t: Array) -> Array:
        """The probability exp(-sigma_bar(t)) that a clean token has not forgotten."""
        return apply_elementwise(lambda xp, t: xp.exp(-self._sigma_bar(xp, t)), t)

    def lost(self, t: Array, s: Array = None) -> Array:
        """1 - keep(t) / keep(s), s <= t; without s, 1 - keep(t): since the clean data."""
        gap = self.sigma_bar(t) if s is None else self.sigma_bar(t) - self.sigma_bar(s)
        return apply_elementwise(lambda xp, gap: -xp.expm1(-gap), gap)

    def reveal_rate(self, t: Array) -> Array:
        """sigma k / (1 - k), the rate at which the reverse process reveals a masked token."""
        return apply_elementwise(
            lambda xp, t: self._sigma(xp, t) / xp.expm1(self._sigma_bar(xp, t)), t
        )

    def reveal(self, t: Array, s: Array) -> Array:
        """(k_s - k_t) / (1 - k_t), the probability that a token masked at t is revealed at s."""
        return self.keep(s) * self.lost(t, s) / self.lost(t)


@dataclass(frozen=True)
class LogLinear(Schedule):
    """keep(t) = 1 - (1 - eps) t, so that sigma k / (1 - k) = 1 / t for every eps, also at t = 1.

    >>> LogLinear(0.0).reveal_rate(1.0), round(LogLinear().reveal(0.5, 0.4), 12)
    (1.0, 0.2)
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if number("LogLinear", "eps", self.eps, 0.0) >= 1:
            raise fail("LogLinear", "eps", "in [0, 1)", self.eps)

    def _sigma_bar(self, xp: Any, t: Array) -> Array:
        return -xp.log1p(-(1 - self.eps) * t)

    def _sigma(self, xp: Any, t: Array) -> Array:
        return (1 - self.eps) / (1 - (1 - self.eps) * t)

    def _t_at(self, xp: Any, sigma_bar: Array) -> Array:
        return -xp.expm1(-sigma_bar) / (1 - self.eps)

    def keep(self, t: Array) -> Array:
        """1 - (1 - eps) t."""
        return 1 - (1 - self.eps) * t

    def lost(self, t: Array, s: Array = None) -> Array:
        """(1 - eps) (t - s) / (1 - (1 - eps) s): no difference of logarithms."""
        start = 0.0 if s is None else s
        return (1 - self.eps) * (t - start) / self.keep(start)

    def reveal_rate(self, t: Array) -> Array:
        """1 / t."""
        return apply_elementwise(lambda xp, t: 1 / t, t)


@dataclass(frozen=True)
class Geometric(Schedule):
    """sigma_bar(t) = sigma_min^(1-t) sigma_max^t; at t = 0 the noise sigma_min is already there.

    >>> round(Geometric(1e-3, 7.0).reveal(0.62, 0.45), 6)
    0.756654
    """

    sigma_min: float
    sigma_max: float

    def __post_init__(self) -> None:
        if number("Geometric", "sigma_min", self.sigma_min, 0.0) == 0:
            raise fail("Geometric", "sigma_min", "positive", self.sigma_min)
        if not number("Geometric", "sigma_max", self.sigma_max, 0.0) > self.sigma_min:
            raise fail(
                "Geometric", "sigma_max", f"above sigma_min = {self.sigma_min}", self.sigma_max
            )

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def _sigma_bar(self, xp: Any, t: Array) -> Array:
        return self.sigma_min * xp.exp(self._log_ratio * t)

    def _sigma(self, xp: Any, t: Array) -> Array:
        return self._log_ratio * self._sigma_bar(xp, t)

    def _t_at(self, xp: Any, sigma_bar: Array) -> Array:
        return xp.log(sigma_bar / self.sigma_min) / self._log_ratio


@dataclass(frozen=True)
class Constant(Schedule):
    """sigma(t) = rate: a homogeneous chain, run for the time `rate`.

    >>> Constant(6.0).sigma_bar(0.5)
    3.0
    """

    rate: float = 1.0

    def __post_init__(self) -> None:
        if number("Constant", "rate", self.rate, 0.0) == 0:
            raise fail("Constant", "rate", "positive", self.rate)

    def _sigma_bar(self, xp: Any, t: Array) -> Array:
        return self.rate * t

    def _sigma(self, xp: Any, t: Array) -> Array:
        return self.rate * xp.ones_like(t)

    def _t_at(self, xp: Any, sigma_bar: Array) -> Array:
        return sigma_bar / self.rate
