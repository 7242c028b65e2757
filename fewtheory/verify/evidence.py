"""Evidence: what a check measured, what it expected, and where the tolerance comes from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

RELATIONS = ("equal", "at most", "at least")


@dataclass(frozen=True)
class Series:
    """Points behind a number, for the plot beside it: y against x, with labels and scales."""

    x: Any  # made tuples of floats
    y: Any
    label: str = ""
    x_label: str = ""
    y_label: str = ""
    log: bool = True

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))


@dataclass(frozen=True)
class Evidence:
    """One comparison. It stands if |measured - expected| <= tolerance ("equal"), or if measured is
    at most expected + tolerance, or at least expected - tolerance.

    `tolerance_from` says in words how the tolerance follows from rounding, asymptotics or a level.
    """

    kind: str
    measured: Any  # made floats
    expected: Any
    tolerance: Any
    tolerance_from: str
    relation: str = "equal"
    what: str = ""
    series: tuple[Series, ...] = ()

    def __post_init__(self) -> None:
        for name in ("measured", "expected", "tolerance"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.relation not in RELATIONS:
            raise ValueError(
                f"Evidence: relation must be one of {RELATIONS}, got {self.relation!r}"
            )
        if not self.tolerance >= 0:
            raise ValueError(f"Evidence: tolerance must be at least 0, got {self.tolerance}")

    @property
    def finite(self) -> bool:
        """Whether there is a number to judge."""
        return all(math.isfinite(v) for v in (self.measured, self.expected, self.tolerance))

    @property
    def stands(self) -> bool:
        """Whether the comparison comes out as expected."""
        gap = self.measured - self.expected
        if self.relation == "equal":
            return abs(gap) <= self.tolerance
        return gap <= self.tolerance if self.relation == "at most" else -gap <= self.tolerance

    def record(self) -> dict[str, Any]:
        """As JSON; what is not finite becomes text."""
        out = asdict(self)
        out["stands"] = self.stands
        return _plain(out)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value
