"""A denoiser made of layers whose every subset is known: what leaving layers out does, exactly.

Layer l is a Richardson step on lam e = sigma x with lam = alpha^2 s^2 + sigma^2, the equation of
the noise prediction of N(0, diag s^2): it multiplies the residual by 1 - lam / root_l. With a set
`run` of layers the network predicts

    e = sigma [1 - prod_{l in run} (1 - lam / root_l)] / lam x,

the exact prediction times 1 minus the residual. With Chebyshev roots the whole stack is the best
polynomial of its degree. Sheets `autodiffusion`, C10, and `protenix-mini`, C8.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import Array, as_like
from ..errors import fail, finite_array, integer, number
from ..model import Model
from ..paths import Path
from ..shapes import Float


def chebyshev_roots(low: float | int, high: float | int, n: int) -> Float[np.ndarray, "n"]:
    """The n Chebyshev roots of [low, high]: middle + half cos((2l + 1) pi / (2n)).

    >>> chebyshev_roots(0.4, 2.0, 2).round(4)
    array([1.7657, 0.6343])
    """
    integer("chebyshev_roots", "n", n, 1)
    low = number("chebyshev_roots", "low", low, -math.inf)
    high = number("chebyshev_roots", "high", high, low)
    angle = (2 * np.arange(n) + 1) * math.pi / (2 * n)
    return (low + high) / 2 + (high - low) / 2 * np.cos(angle)


def residual(lam: Any, roots: Any, run: Collection[int]) -> Any:
    """prod over the layers that run of (1 - lam / root_l): what they leave of the residual.

    lam: any shape; roots: (layers,); run: indices of layers.
    """
    value = np.ones_like(np.asarray(lam, dtype=np.float64))
    for layer in run:
        value = value * (1 - lam / roots[layer])
    return value


@dataclass(frozen=True, eq=False)
class LayeredDenoiser:
    """A stack of `layers` that denoises N(0, diag stds^2) on a path.

    stds: (d,) positive; times: the times at which it will be asked: its Chebyshev roots cover lam
    over all of them and all coordinates.

    >>> from fewtheory.paths import VPLinear
    >>> bed = LayeredDenoiser([1.4, 0.5], VPLinear(), [0.1, 0.5, 0.9], 4)
    >>> bed.gain(0.5, range(4)).round(3), bed.gain(0.5, [0]).round(3)
    (array([0.842, 0.981]), array([0.533, 0.533]))
    """

    stds: Any
    path: Path
    times: Any
    layers: int = 4
    roots: Float[np.ndarray, "layers"] = field(init=False)

    def __post_init__(self) -> None:
        where = "LayeredDenoiser"
        stds = np.atleast_1d(finite_array(where, "stds", self.stds))
        if stds.ndim != 1 or np.any(stds <= 0):
            raise fail(where, "stds", "positive, of shape (d,)", self.stds)
        object.__setattr__(self, "stds", stds)
        times = finite_array(where, "times", self.times)
        self.path.check_t(where, times, "times")
        lam = self._lam(times[:, None])
        roots = chebyshev_roots(float(lam.min()), float(lam.max()), self.layers)
        object.__setattr__(self, "roots", roots)

    def _lam(self, t: Any) -> np.ndarray:
        return self.path.alpha(t) ** 2 * self.stds**2 + self.path.sigma(t) ** 2

    def gain(self, t: float | int, run: Collection[int]) -> Float[np.ndarray, "d"]:
        """e over x with these layers at this time: what the prediction is a multiple of."""
        lam = self._lam(float(t))
        return self.path.sigma(float(t)) * (1 - residual(lam, self.roots, run)) / lam

    def model(self, skipped: Sequence[Collection[int]], times: Sequence[float]) -> Model:
        """The noise prediction in which layers are left out at each of these times.

        skipped: for each time the layers that do not run there; every layer runs at other times.
        """
        if len(skipped) != len(times):
            raise fail("LayeredDenoiser.model", "skipped", f"{len(times)} sets", skipped)
        left_out = dict(zip((round(float(t), 12) for t in times), skipped, strict=True))

        def noise(x: Array, t: Array) -> Array:
            out = left_out.get(round(float(t), 12), ())
            run = [layer for layer in range(self.layers) if layer not in out]
            return as_like(self.gain(float(t), run), x) * x

        return Model(noise, self.path, "noise")
