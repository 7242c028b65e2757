"""Two time scales: how many fake-score steps a generator step needs, before a run.

Near the optimum, in any smooth family with a well-specified fake model, the generator's gradient is
the loss's Hessian times the fake model's parameters: it sees the fake score alone. In units of
inverse curvature, with step sizes g (generator) and f (fake score) and n fake steps a cycle,

    u <- u - g psi,   psi <- u + c (psi - u),   c = ema (1 - f)^n,

a 2 x 2 map of determinant c (for the usual order) and trace 1 + c - (1 - c) g. It creeps without
ringing where g <= (1 - sqrt c) / (1 + sqrt c) and rings with radius sqrt c above. With g = f four
fake steps are the smallest number that never rings, for every g < (sqrt 5 - 1) / 2, which is why
five work. `ema` < 1: the fake network is pulled towards the generator's after its step, which is
worth log(ema) / log(1 - f) further fake steps. Sheets `dmd-base`, C5, `flash-dmd`, "Two-time-scale
law with EMA", C4.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np

from ...errors import fail, integer, number, one_of
from ...shapes import Float

ORDERS = ("fresh", "reference", "stale")


@dataclass(frozen=True, eq=False)
class TwoTimeScale:
    """A cycle's linear map of (generator, fake score), and what it does.

    matrix: (2, 2); radius: the factor of an error per cycle in the long run; rings: whether the
    error changes sign for ever (complex eigenvalues, or negative ones).
    """

    matrix: Float[np.ndarray, "2 2"]
    radius: float
    rings: bool

    @property
    def cycles(self) -> float:
        """How many cycles divide the error by ten; infinite where it does not fall."""
        return -math.log(10) / math.log(self.radius) if 0 < self.radius < 1 else math.inf

    def run(self, start: Float[np.ndarray, "2"], cycles: int) -> Float[np.ndarray, "cycles 2"]:
        """(u, psi) after 0, 1, ..., `cycles` cycles, (cycles + 1, 2)."""
        states = [np.asarray(start, dtype=np.float64)]
        for _ in range(integer("TwoTimeScale.run", "cycles", cycles, 0)):
            states.append(self.matrix @ states[-1])
        return np.stack(states)


def two_time_scale(
    g: float | int, f: float | int, n: int, *, ema: float | int = 1.0, order: str = "fresh"
) -> TwoTimeScale:
    """The cycle of one generator step and n fake-score steps.

    g, f: learning rate times curvature of either, in (0, 1]; ema: the part of the fake network that
    is kept when it is pulled towards the generator after its step (1: all). order: "fresh", all n
    fake steps on samples of the moved generator; "reference", the first on samples drawn before it
    moved, as DMD2's repository does; "stale", all of them. Raises ValueError by name.

    >>> [round(two_time_scale(0.1, 0.1, n).radius, 6) for n in (1, 4, 5)]
    [0.948683, 0.848082, 0.873652]
    >>> two_time_scale(0.1, 0.1, 1, ema=0.7).rings
    False
    """
    g, f = _rate("two_time_scale", "g", g), _rate("two_time_scale", "f", f)
    n = integer("two_time_scale", "n", n, 1)
    kept = number("two_time_scale", "ema", ema, 0.0, 1.0)
    one_of("two_time_scale", "order", order, ORDERS)
    # rows of psi as combinations of (u, psi) before the cycle
    u_moved, psi = np.array([1.0, -g]), np.array([0.0, 1.0])
    targets = {"fresh": u_moved, "stale": np.array([1.0, 0.0]), "reference": np.array([1.0, 0.0])}
    psi = kept * psi + (1 - kept) * u_moved
    psi = targets[order] + (1 - f) * (psi - targets[order])
    later = targets["stale"] if order == "stale" else u_moved
    psi = later + (1 - f) ** (n - 1) * (psi - later)
    matrix = np.stack([u_moved, psi])
    half_trace = float(matrix[0, 0] + matrix[1, 1]) / 2
    determinant = float(np.linalg.det(matrix))
    gap = half_trace**2 - determinant
    slow = half_trace + cmath.sqrt(gap) if half_trace >= 0 else half_trace - cmath.sqrt(gap)
    rings = gap < 0 or half_trace < 0 or determinant < 0
    return TwoTimeScale(matrix, abs(slow), bool(rings))


def monotone_step(f: float | int, n: int, *, ema: float | int = 1.0) -> float:
    """The largest generator step g without ringing, (1 - sqrt c) / (1 + sqrt c).

    >>> round(monotone_step(0.1, 5), 6)
    0.130944
    """
    f = _rate("monotone_step", "f", f)
    n = integer("monotone_step", "n", n, 1)
    root = math.sqrt(number("monotone_step", "ema", ema, 0.0, 1.0) * (1 - f) ** n)
    return (1 - root) / (1 + root)


def fake_steps(g: float | int, f: float | int, *, ema: float | int = 1.0) -> int:
    """The smallest number of fake-score steps per generator step that does not ring.

    n >= (2 log((1 - g) / (1 + g)) - log ema) / log(1 - f), and at least 1.

    >>> fake_steps(0.1, 0.1), fake_steps(0.1, 0.1, ema=0.7)
    (4, 1)
    """
    g, f = _rate("fake_steps", "g", g), _rate("fake_steps", "f", f)
    kept = number("fake_steps", "ema", ema, 0.0, 1.0)
    if g == 1 and f < 1:
        raise fail("fake_steps", "g", "under 1: no number of fake steps is enough", g)
    if f == 1 or kept == 0:
        return 1
    least = (2 * (math.log1p(-g) - math.log1p(g)) - math.log(kept)) / math.log1p(-f)
    return max(1, math.ceil(least - 1e-12 * abs(least)))


def _rate(where: str, name: str, value: float | int) -> float:
    out = number(where, name, value, 0.0, 1.0)
    if out == 0:
        raise fail(where, name, "above 0", value)
    return out
