"""What every testbed shares: the exact model and the average velocity, from score and flow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from ..arrays import Array, namespace
from ..errors import fail, state
from ..model import MEANING, Level, Model, over_event
from ..paths import Path

FlowMap = Callable[[Array, Array, Array], Array]


@runtime_checkable
class HasMeans(Protocol):
    """A law of x_0 about which E[x_0 | x_t] and E[eps | x_t] are known."""

    @property
    def event(self) -> tuple[int, ...]: ...

    # (x, alpha, sigma, **conditions): a testbed names the conditions that it knows
    @property
    def means_at(self) -> Callable[..., tuple[Array, Array]]: ...

    @property
    def score_at(self) -> Callable[..., Array]: ...


def exact_model(bed: HasMeans, path: Path, prediction: str) -> Model:
    """The testbed's exact E[. | x_t] as a Model; also at the ends, where alpha or sigma is 0.

    Conditions of a call (a class label) go to the testbed, which refuses those it does not know.
    """
    return Model(partial(_predict, bed, path, prediction), path, prediction)


def _predict(bed: HasMeans, path: Path, prediction: str, x: Array, t: Array, **cond: Any) -> Array:
    state("testbed model", "x", x, bed.event)
    level = Level.at(path, t)
    alpha, sigma = over_event(level.alpha, x), over_event(level.sigma, x)
    if prediction == "score":
        return bed.score_at(x, alpha, sigma, **cond)
    data, noise = bed.means_at(x, alpha, sigma, **cond)
    if prediction in ("data", "noise"):
        return data if prediction == "data" else noise
    a, b = MEANING[prediction](level)
    return over_event(a, x) * data + over_event(b, x) * noise


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
    xp = state(where, "x", x, event)
    if not bool(xp.all(xp.isfinite(x))):
        raise fail(where, "x", "finite", x)
    for name, t in zip(("t", "s"), times, strict=False):
        shape = tuple(getattr(t, "shape", ()))
        if shape not in ((), (x.shape[0],)):
            raise ValueError(f"{where}: {name} must be a number or ({x.shape[0]},), got {shape}")
        path.check_t(where, t, name)
