"""A model that takes one of two inputs, a rich and a poor one: what each is worth, and a switch.

x ~ N(0, prior^2); the rich input is x + N(0, rich^2), the poor one x + N(0, poor^2), as the
alignment of a protein and a language model's embedding both tell of its structure. The best head of
each input shrinks it by a gain of its own, so that one head can serve both only if it is told which
input it has. Gong et al. (2025), arXiv 2507.11839; sheet `protenix-mini`, C9.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, Rng, standard_normal
from ..errors import fail, finite_array, integer, number, one_of, state
from ..shapes import Float

INPUTS = ("rich", "poor")


@dataclass(frozen=True)
class SwitchableHead:
    """One head for two inputs, told by a flag which it has: where(flag, rich(y), poor(y)).

    rich, poor: callables of y (n, d) that return (n, k) of any array library, torch modules among
    them; gradients reach each from its own rows only.

    >>> head = SwitchableHead(lambda y: 0.9 * y, lambda y: 0.5 * y)
    >>> head(np.ones((2, 1)), np.array([True, False]))[:, 0]
    array([0.9, 0.5])
    """

    rich: Callable[[Array], Array]
    poor: Callable[[Array], Array]

    def __call__(self, y: Array, flag: Array) -> Array:
        """y: (n, d); flag: (n,) of bool, True where the row is a rich input."""
        xp = state("SwitchableHead", "y", y)
        shape = tuple(getattr(flag, "shape", ()))
        if shape != tuple(y.shape[:1]) or not xp.isdtype(flag.dtype, "bool"):
            raise fail("SwitchableHead", "flag", f"bool of shape ({y.shape[0]},)", flag)
        one, two = self.rich(y), self.poor(y)
        return xp.where(xp.reshape(flag, (-1,) + (1,) * (one.ndim - 1)), one, two)


@dataclass(frozen=True)
class SwitchedConditioning:
    """x ~ N(0, prior^2) seen through a rich or a poor input; risks are mean squared errors.

    prior, rich, poor: standard deviations, positive, rich < poor.

    >>> bed = SwitchedConditioning(1.0, 0.3, 0.9)
    >>> round(bed.risk("rich"), 6), round(bed.risk("poor"), 6), round(bed.information_gap, 6)
    (0.082569, 0.447514, 0.845038)
    """

    prior: float | int = 1.0
    rich: float | int = 0.3
    poor: float | int = 0.9

    def __post_init__(self) -> None:
        for name in ("prior", *INPUTS):
            number("SwitchedConditioning", name, getattr(self, name), 1e-150, 1e150)
        if not self.rich < self.poor:
            raise fail("SwitchedConditioning", "rich", f"below poor = {self.poor:g}", self.rich)

    def _noise(self, where: str, argument: str, name: str) -> float:
        one_of(f"SwitchedConditioning.{where}", argument, name, INPUTS)
        return float(self.rich if name == "rich" else self.poor)

    def gain(self, given: str) -> float:
        """The best head of this input ("rich" or "poor"): E[x | y] = gain y."""
        noise = self._noise("gain", "given", given)
        return self.prior**2 / (self.prior**2 + noise**2)

    def risk(self, given: str, head: str | None = None) -> float:
        """E (gain y - x)^2 of an input, through its own head (the Bayes risk) or the other's.

        (1 - g)^2 prior^2 + g^2 noise^2 with the gain g of `head`; with its own gain this is
        prior^2 noise^2 / (prior^2 + noise^2).
        """
        noise = self._noise("risk", "given", given)
        through = given if head is None else head
        other = self._noise("risk", "head", through)
        missing = other**2 / (self.prior**2 + other**2)  # 1 - gain, which would cancel
        return missing**2 * self.prior**2 + self.gain(through) ** 2 * noise**2

    @property
    def information_gap(self) -> float:
        """(1/2) log(risk(poor) / risk(rich)) in nats: what the rich input tells of x beyond the
        poor one."""
        return 0.5 * math.log(self.risk("poor") / self.risk("rich"))

    def switched_risk(self, share: float | int = 0.5) -> float:
        """The least risk of a head that is told its input, when `share` of them are rich."""
        p = number("SwitchedConditioning.switched_risk", "share", share, 0.0, 1.0)
        return p * self.risk("rich") + (1 - p) * self.risk("poor")

    def compromise(self, y: Any, share: float | int = 0.5) -> Any:
        """The best head that is not told its input: E[x | y] over which of the two it is.

        y: a number or NumPy, any shape. gain y with the posterior mean of the two gains, which
        depends on y^2: large inputs are poor ones, and the best compromise is not linear.
        """
        p = number("SwitchedConditioning.compromise", "share", share, 0.0, 1.0)
        y = finite_array("SwitchedConditioning.compromise", "y", y)
        rich, poor = (math.hypot(self.prior, noise) for noise in (self.rich, self.poor))
        with np.errstate(divide="ignore"):
            prior_odds = np.log(p) - np.log1p(-p)
        log_odds = prior_odds + math.log(poor / rich) - 0.5 * ((y / rich) ** 2 - (y / poor) ** 2)
        is_rich = np.exp(-np.logaddexp(0.0, -log_odds))
        return (self.gain("poor") + is_rich * (self.gain("rich") - self.gain("poor"))) * y

    def compromise_risk(self, share: float | int = 0.5) -> dict[str, float]:
        """Risk of the best head without a flag, {"rich", "poor", "mean"}: by quadrature.

        "mean" weighs the two by `share`; its excess over `switched_risk` is what the flag is worth.
        E (h(y) - x)^2 = risk + E (h(y) - gain y)^2 on each input, by 801 trapezoids over +-12
        standard deviations, exact to rounding for a smooth integrand that vanishes at the ends.
        """
        p = number("SwitchedConditioning.compromise_risk", "share", share, 0.0, 1.0)
        z = np.linspace(-12.0, 12.0, 802)
        weight = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
        found = {}
        for name in INPUTS:
            y = z * math.hypot(self.prior, self._noise("compromise_risk", "given", name))
            off = self.compromise(y, p) - self.gain(name) * y
            found[name] = self.risk(name) + float(weight @ off**2)
        return {**found, "mean": p * found["rich"] + (1 - p) * found["poor"]}

    def head(self) -> SwitchableHead:
        """The best head with a flag."""
        return SwitchableHead(
            lambda y: self.gain("rich") * y,
            lambda y: self.gain("poor") * y,
        )

    def sample(
        self, n: int, *, rng: Rng, like: Array | None = None
    ) -> tuple[Float[Array, "n 1"], Float[Array, "n 1"], Float[Array, "n 1"]]:
        """n draws of (x, rich input, poor input), each (n, 1); float64 NumPy unless `like`."""
        integer("SwitchedConditioning.sample", "n", n, 0)
        kind = np.empty(0) if like is None else like
        z = standard_normal(rng, (3, n, 1), kind)
        x = float(self.prior) * z[0, ...]
        return x, x + float(self.rich) * z[1, ...], x + float(self.poor) * z[2, ...]
