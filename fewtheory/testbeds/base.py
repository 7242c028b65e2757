"""What every testbed shares: the exact model and the average velocity, from score and flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from ..arrays import Array, namespace
from ..errors import state
from ..model import Level, Model, conversion, over_event
from ..paths import Path

FlowMap = Callable[[Array, Array, Array], Array]


@runtime_checkable
class HasScore(Protocol):
    """A law of x_0 whose diffused score is known."""

    @property
    def event(self) -> tuple[int, ...]: ...

    def score_at(self, x: Array, alpha: Array, sigma: Array) -> Array: ...


def exact_model(bed: HasScore, path: Path, prediction: str) -> Model:
    """The testbed's exact E[. | x_t] as a Model."""

    def predict(x: Array, t: Array) -> Array:
        state("testbed model", "x", x, bed.event)
        level = Level.at(path, t)
        alpha, sigma = over_event(level.alpha, x), over_event(level.sigma, x)
        score = bed.score_at(x, alpha, sigma)
        if prediction == "score":
            return score
        p, q = conversion("score", prediction, level)
        return over_event(p, x) * x + over_event(q, x) * score

    return Model(predict, path, prediction)


def average_velocity(flow: FlowMap, velocity: Model) -> FlowMap:
    """u(x; t -> s) = (Phi(x; t -> s) - x) / (s - t), and v(x, t) where s = t.

    Close to s = t the difference loses digits: its error is that of the flow over |s - t|.
    """

    def u(x: Array, t: Array, s: Array) -> Array:
        xp = namespace(x)
        gap = over_event(xp.asarray(s, dtype=x.dtype) - xp.asarray(t, dtype=x.dtype), x)
        still = gap == 0
        moved = (flow(x, t, s) - x) / xp.where(still, xp.ones_like(gap), gap)
        return xp.where(still, velocity.function(x, t), moved) if bool(xp.any(still)) else moved

    return u


def check_times(where: str, path: Path, x: Array, event: tuple[int, ...], *times: Any) -> None:
    """Raise unless x is (n, *event) and each time lies on the path and is a number or (n,)."""
    state(where, "x", x, event)
    for name, t in zip(("t", "s"), times, strict=False):
        shape = tuple(getattr(t, "shape", ()))
        if shape not in ((), (x.shape[0],)):
            raise ValueError(f"{where}: {name} must be a number or ({x.shape[0]},), got {shape}")
        path.check_t(where, t, name)
