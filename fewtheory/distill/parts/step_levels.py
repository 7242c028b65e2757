"""At which levels a loss looks for each step of a few-step student: its own, or all above it.

Where the levels of several steps overlap, one fake score serves several laws unless it is told the
step (`exit_pooling`). Sheet `tdm`, "Intervals".
"""

from __future__ import annotations

from dataclasses import dataclass

from ...arrays import as_like
from ...errors import fail, number, one_of
from ...shapes import Float
from .student import FewSteps

INTERVALS = ("disjoint", "to the end")


@dataclass(frozen=True)
class Interval:
    """A step from t to s and the levels [low, high] at which its law is looked at."""

    t: float
    s: float
    low: float
    high: float

    @property
    def levels(self) -> tuple[float, float]:
        """(low, high)."""
        return self.low, self.high

    def draw(self, u: Float[Array, "n"]) -> Float[Array, "n"]:
        """tau uniform on the levels, from u uniform on [0, 1]."""
        return as_like(self.low, u) + (self.high - self.low) * u


def step_intervals(
    steps: FewSteps,
    intervals: str = "disjoint",
    *,
    least: float | int = 0.02,
    margin: float | int = 0.01,
) -> list[Interval]:
    """The levels of each step: tau from max(least, s + margin) to t - margin, or to T - margin.

    intervals: "disjoint", each step its own, which one fake score can serve without being told the
    step; or "to the end", up to the first step's T. The last step ends at s = 0. least, margin: in
    the path's time. Raises ValueError by name, also where a step is shorter than that leaves room
    for.

    >>> from fewtheory.distill.parts.student import FewSteps
    >>> [part.levels for part in step_intervals(FewSteps([1.0, 0.5], "deterministic"))]
    [(0.51, 0.99), (0.02, 0.49)]
    """
    one_of("step_intervals", "intervals", intervals, INTERVALS)
    lowest = number("step_intervals", "least", least, 0.0)
    room = number("step_intervals", "margin", margin, 0.0)
    ends = [float(t) for t in steps.times[1:]] + [0.0]
    parts = []
    for t, s in zip(steps.times, ends, strict=True):
        top = float(t) if intervals == "disjoint" else float(steps.times[0])
        low, high = max(lowest, s + room), top - room
        if not low < high:
            allowed = f"small enough for the step from {t:g} to {s:g} (least = {lowest:g})"
            raise fail("step_intervals", "margin", allowed, margin)
        parts.append(Interval(float(t), s, low, high))
    return parts
