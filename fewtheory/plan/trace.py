"""Writing a sampler as its paper does, and getting its coefficients.

A sampler is ordinary code over symbols: `trace.evaluate(x, level)` stands for a model call,
`trace.noise()` for a fresh N(0, I), and +, -, * build the state. What comes out is not a sample but
the step form of the plan. The state is a linear form in the nodes, model outputs and noises, and
evaluating it makes it a node.

    @sampler(Variant("DDIM", order=1))
    def ddim(path, grid):
        trace = Trace(ddim, path, grid)
        x = trace.start
        for s, t in trace.steps():
            x, m = trace.evaluate(x, s)
            x = t.sigma / s.sigma * x + (t.alpha - t.sigma / s.sigma * s.alpha) * m
        return trace.plan(x)
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from ..errors import fail, one_of
from ..model import PREDICTIONS, Level, conversion
from ..paths import Path
from . import grids
from .grids import GridLike, Point
from .hooks import Hook
from .plan import Plan

Symbol = tuple[str, int]  # ("u", node), ("m", node), ("xi", noise) or ("1", 0)
Coefficient = Any  # a float, or an array over the event


class Form:
    """A linear form in nodes, model outputs, noises and 1: what a sampler's state is."""

    __slots__ = ("terms",)
    __array_ufunc__ = None  # numpy scalars leave `c * form` to __rmul__

    def __init__(self, terms: Mapping[Symbol, Coefficient]):
        self.terms = dict(terms)

    def __add__(self, other: Form | float) -> Form:
        if not isinstance(other, Form):
            other = Form({("1", 0): other} if np.any(other) else {})
        out = dict(self.terms)
        for symbol, c in other.terms.items():
            out[symbol] = out[symbol] + c if symbol in out else c
            if not np.any(out[symbol]):
                del out[symbol]
        return Form(out)

    def __mul__(self, scale: Coefficient) -> Form:
        return Form({symbol: c * scale for symbol, c in self.terms.items()})

    def __neg__(self) -> Form:
        return self * -1.0

    def __sub__(self, other: Form | float) -> Form:
        return self + (-other)

    def __truediv__(self, scale: Coefficient) -> Form:
        return self * (1 / scale)

    def __rsub__(self, other: float) -> Form:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__


class Trace:
    """Records the step form of a sampler while the sampler runs on symbols.

    `made_by` is the sampler (so that the plan can be made again on a finer grid), or just a name;
    `settings` its keyword arguments, `prediction` the form in which it integrates the model.
    """

    def __init__(
        self,
        made_by: Callable[..., Plan] | str,
        path: Path,
        grid: GridLike,
        settings: Mapping[str, Any] | None = None,
        prediction: str = "data",
    ):
        self.name = made_by if isinstance(made_by, str) else made_by.__name__
        one_of(self.name, "prediction", prediction, PREDICTIONS)
        self.made_by, self.path, self.prediction = made_by, path, prediction
        self.settings = dict(settings or {})
        self.grid = grids.of(path, grid)
        self.points: list[Point] = [self.grid[0]]
        self.rows: list[Form] = [Form({})]
        self.start = Form({("u", 0): 1.0})
        self._noises = 0
        self._evaluated: set[int] = set()

    def steps(self) -> Iterator[tuple[Point, Point]]:
        """The grid's intervals (s, t), from noise to data."""
        points = [self.grid[i] for i in range(self.grid.steps + 1)]
        return itertools.pairwise(points)

    def node(self, x: Form, level: Point) -> Form:
        """The state as a node of its own at this level, so that later rows may refer to it."""
        here = len(self.rows) - 1
        if x.terms == {("u", here): 1.0} and self.points[here] == level:
            return x
        self.rows.append(x)
        self.points.append(level)
        return Form({("u", len(self.rows) - 1): 1.0})

    def evaluate(self, x: Form, level: Point) -> tuple[Form, Form]:
        """(the state as a node, the model's output there in the sampler's prediction)."""
        at = self.node(x, level)
        i = len(self.rows) - 1
        self._evaluated.add(i)
        return at, Form({("m", i): 1.0})

    def velocity(self, x: Form, level: Point) -> tuple[Form, Form]:
        """(the state as a node, dx/dt there on the sampler's own path)."""
        at, m = self.evaluate(x, level)
        p, q = conversion(self.prediction, "velocity", Level.at(self.path, level.t))
        return at, p * at + q * m

    def noise(self) -> Form:
        """A fresh N(0, I) of the event's shape."""
        self._noises += 1
        return Form({("xi", self._noises - 1): 1.0})

    def plan(self, x: Form, hooks: tuple[Hook, ...] = (), refinable: bool = True) -> Plan:
        """The plan whose output is x, at the grid's last level.

        refinable: whether the sampler, called with the same settings, makes sense on a finer grid.
        """
        rows = [*self.rows, x]
        points = [*self.points, self.grid[self.grid.steps]]
        n = len(rows) - 1
        blocks = {}
        for name, columns in (("u", n + 1), ("m", n), ("xi", self._noises), ("1", 1)):
            terms = [
                (i, j, c)
                for i, row in enumerate(rows)
                for (kind, j), c in row.terms.items()
                if kind == name
            ]
            event = np.broadcast_shapes(*(np.shape(c) for _, _, c in terms))
            blocks[name] = np.zeros((n + 1, columns, *event))
            for i, j, c in terms:
                blocks[name][i, j] = c
        lam = np.array([p.lam for p in points])
        return Plan(
            P=blocks["u"],
            B=blocks["m"],
            C=blocks["xi"],
            d=blocks["1"][:, 0],
            lam=lam,
            alpha=np.array([p.alpha for p in points]),
            sigma=np.array([p.sigma for p in points]),
            t=np.array([p.t for p in points]),
            prediction=self.prediction,
            hooks=hooks,
            name=self.name,
            settings=self.settings,
            family=self._family() if refinable else None,
        )

    def _family(self) -> Callable[[int], Plan] | None:
        if isinstance(self.made_by, str):
            return None
        return functools.partial(_finer, self.made_by, self.path, self.grid, self.settings)


def _finer(
    made_by: Callable[..., Plan], path: Path, grid: Any, settings: Mapping[str, Any], parts: int
) -> Plan:
    """The same sampler on a grid of which each interval is cut into `parts`."""
    return made_by(path, grid.refined(parts), **settings)


@dataclass(frozen=True)
class Variant:
    """A named way to call a sampler, and what the sampler says of itself then.

    `order` is that of the probability-flow ODE, or the weak order of the law for stochastic ones;
    `per_step` the evaluations an interval of the grid costs. `own_time`: the path's own time
    enters, so that the sampler is another one on another path; `point_exact`: it samples point
    masses exactly; `denoises`: a last step to sigma = 0 gives the data prediction of the last
    level.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    order: int = 1
    per_step: int = 1
    stochastic: bool = False
    own_time: bool = False
    point_exact: bool = True
    denoises: bool = True

    sampler: str = ""

    def __call__(self, path: Path, grid: GridLike) -> Plan:
        """The plan of this variant."""
        return SAMPLERS[self.sampler](path, grid, **self.settings)


SAMPLERS: dict[str, Callable[..., Plan]] = {}
VARIANTS: list[Variant] = []
F = TypeVar("F", bound=Callable[..., Plan])


def sampler(*variants: Variant) -> Callable[[F], F]:
    """Registers a function that returns a Plan, with the facts that it states of its variants."""

    def register(function: F) -> F:
        name = function.__name__
        if name in SAMPLERS:
            raise fail("sampler", "function", "registered once", name)
        SAMPLERS[name] = function
        for v in variants:
            VARIANTS.append(replace(v, sampler=name))
        return function

    return register
