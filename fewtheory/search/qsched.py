"""Q-Sched's search: two coefficients of a scheduler, scored on samples without references.

Frumkin and Marculescu (2025), arXiv 2509.01624; sheet `q-sched`. The state and the model's output
are scaled by c_x and c_e before each step; both fade to 1 at the last one, so that a plan has two
numbers, and the whole grid of them is tried. A point's score is JAQ, alignment + k quality, higher
is better, on the same prompts, starts and noises at each point. What scales is an argument
(`fewtheory.samplers.precondition`), as are both halves of the score.

Tuning repairs what a few steps do to the samples as much as what quantisation does: the same
search on the full-precision model is the control without which a gain means nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import Array, is_torch, to_numpy
from ..errors import fail, finite_array, integer, number
from ..model import Model
from ..plan import Plan
from .driver import run
from .ledger import Candidate, SearchResult

Precondition = Callable[..., Plan]  # (plan, c_x, c_e, prediction) -> Plan
NODES = 400  # over the law of the largest value


@dataclass(frozen=True)
class JAQ:
    """mean compatibility(x, prompts) + k mean quality(x), higher is better.

    compatibility: (samples, *prompts) -> one number a sample, how well it is what was asked for;
    quality: samples -> one number a sample; k: the weight of the quality, 2 in the paper. Raises
    ValueError for a k that is negative and for scores that are not one a sample.

    >>> JAQ(lambda x, y: -abs(x - y), lambda x: -(x**2), k=0.5)(np.array([1.0, 3.0]), 1.0)
    -3.5
    """

    compatibility: Callable[..., Any]
    quality: Callable[[Any], Any]
    k: float | int = 2.0

    def __post_init__(self) -> None:
        for name in ("compatibility", "quality"):
            if not callable(getattr(self, name)):
                raise TypeError(f"JAQ: {name} must be callable, got {getattr(self, name)!r}")
        number("JAQ", "k", self.k, 0.0)

    def __call__(self, samples: Array, *prompts: Any) -> float:
        """The score of these samples."""
        asked = _mean("compatibility", self.compatibility(samples, *prompts), samples)
        return asked + self.k * _mean("quality", self.quality(samples), samples)


def _mean(name: str, values: Any, samples: Array) -> float:
    found = to_numpy(values)
    if found.shape != tuple(samples.shape[:1]):
        raise fail("JAQ", name, f"one number a sample, ({samples.shape[0]},)", found.shape)
    return float(found.mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class CoefficientGrid:
    """All pairs (c_x, c_e) of an n x n grid, and the preconditioned plan of each; a search's space.

    plan: the sampler to be corrected; precondition: (plan, c_x, c_e, prediction) -> Plan, as
    `fewtheory.samplers.precondition`; box: the range of c_x, and of c_e unless box_e is given;
    n: points a side (the paper's default is 10 on (.8, 1.1), its script 50 on (.8, 1.2)). A
    candidate (c_x, c_e) fades to 1 at the last step; with free=True it is (start, end of c_x,
    start, end of c_e), n^4 of them, for the method `coordinate`. Raises ValueError for a bad box.

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> plan = ft.samplers.ddim(path, ft.plan.grids.log_snr(path, steps=4))
    >>> space = CoefficientGrid(plan, ft.samplers.precondition, box=(0.8, 1.2), n=3)
    >>> [tuple(round(c, 3) for c in pair) for pair in space][:3], space.size
    ([(0.8, 0.8), (0.8, 1.0), (0.8, 1.2)], 9)
    """

    plan: Plan
    precondition: Precondition
    box: tuple[float, float] = (0.8, 1.1)
    n: int = 10
    box_e: tuple[float, float] | None = None
    prediction: str = "noise"
    free: bool = False
    _axes: tuple[tuple[float, ...], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        where = "CoefficientGrid"
        if not isinstance(self.plan, Plan):
            kind = type(self.plan).__name__
            raise TypeError(f"{where}: plan must be a fewtheory Plan, got {kind}")
        if not callable(self.precondition):
            raise TypeError(f"{where}: precondition must be callable, got {self.precondition!r}")
        integer(where, "n", self.n, 1)
        axes = []
        for name, box in (("box", self.box), ("box_e", self.box_e or self.box)):
            ends = finite_array(where, name, box)
            if ends.shape != (2,) or not ends[0] < ends[1]:
                raise fail(where, name, "a range (low, high)", box)
            axes += [tuple(np.linspace(ends[0], ends[1], self.n).tolist())] * (
                2 if self.free else 1
            )
        object.__setattr__(self, "_axes", tuple(axes))

    def __repr__(self) -> str:
        box = f"{self.box}, {self.box_e or self.box}"
        return f"CoefficientGrid({self.plan!r}, {box}, {self.n}, {self.prediction}, {self.free})"

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.n ** len(self._axes)

    def build(self, candidate: Candidate) -> Plan:
        """The plan with these coefficients; (1, 1) is the plan untouched."""
        if len(candidate) not in (2, 4):
            raise fail("CoefficientGrid", "candidate", "of 2 or 4 numbers", candidate)
        x0, x1, e0, e1 = candidate if len(candidate) == 4 else (candidate[0], 1, candidate[1], 1)
        return self.precondition(self.plan, (x0, x1), (e0, e1), self.prediction)

    def __iter__(self) -> Iterator[Candidate]:
        return itertools.product(*self._axes)

    def seeds(self) -> list[Candidate]:
        """The plan untouched."""
        return [(1.0,) * len(self._axes)]

    def random(self, rng: np.random.Generator) -> Candidate:
        """A uniform draw."""
        return tuple(axis[int(rng.integers(self.n))] for axis in self._axes)

    def neighbours(self, candidate: Candidate, choice: int) -> Iterator[Candidate]:
        """The candidates with another value of this coefficient."""
        for value in self._axes[choice]:
            if value != candidate[choice]:
                yield (*candidate[:choice], value, *candidate[choice + 1 :])


@dataclass(frozen=True, eq=False)
class Rated:
    """An objective for `search.run`: minus the score of a plan's samples, on fixed starts.

    score: (samples, *prompts) -> a number, higher is better; model, x, cond: as in `Plan.run`;
    seed: of the run's noises, the same for every plan, so that their difference has little noise.
    """

    score: Callable[..., float]
    model: Model
    x: Array
    prompts: tuple[Any, ...] = ()
    seed: int = 0
    cond: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, plan: Plan) -> float:
        """Minus the score: lower is better."""
        return -float(self.score(self.samples(plan), *self.prompts))

    def samples(self, plan: Plan) -> Array:
        """What the plan draws; no gradient is recorded."""
        rng = generator(self.seed, self.x)
        if not is_torch(self.x):
            return plan.run(self.model, self.x, rng, **self.cond)
        import torch

        with torch.no_grad():
            return plan.run(self.model, self.x, rng, **self.cond)


def generator(seed: int, like: Array) -> Any:
    """A generator of this seed that draws where `like` is: torch's on its device, or NumPy's."""
    if not is_torch(like):
        return np.random.default_rng(seed)
    import torch

    return torch.Generator(array_api_compat.device(like)).manual_seed(seed)


@dataclass(frozen=True)
class Tuned:
    """What a search over the coefficients found, beside what it has to be compared with.

    found: of the model to be used (`found.plan` runs it); untouched: its score at (1, 1); control,
    control_untouched: the same of the full-precision model, None where none was given.
    """

    found: SearchResult
    untouched: float
    control: SearchResult | None = None
    control_untouched: float | None = None

    @property
    def score(self) -> float:
        """The best score, higher is better."""
        return -self.found.value

    @property
    def control_score(self) -> float | None:
        """The best score of the full-precision model."""
        return None if self.control is None else -self.control.value


def tune_coefficients(
    space: CoefficientGrid,
    score: Callable[..., float],
    model: Model,
    x: Array,
    prompts: tuple[Any, ...] = (),
    *,
    control: Model | None = None,
    seed: int = 0,
    method: str = "exhaustive",
    budget: int | None = None,
    **cond: Any,
) -> Tuned:
    """The coefficients of best score for a (quantised) model, and for its control.

    space: the grid of coefficients; score: (samples, *prompts) -> a number, such as a `JAQ`; x: the
    starts, (n, *event) at the plan's first level; control: the model in full precision; budget: all
    of the grid unless given; cond: conditions of the model. Every point, of both models, has the
    same starts and the same seed.
    Source: arXiv 2509.01624; sheet `q-sched`, "Search", with the control of its C7.

    >>> import fewtheory as ft
    >>> path, bed = ft.paths.VPLinear(), ft.testbeds.Gaussian([0.0], 0.36)
    >>> plan = ft.samplers.ddim(path, ft.plan.grids.log_snr(path, steps=4))
    >>> space = CoefficientGrid(plan, ft.samplers.precondition, n=4)
    >>> spread = lambda x: -abs(float(x.std()) - 0.6)
    >>> x = np.random.default_rng(0).standard_normal((256, 1))
    >>> found = tune_coefficients(space, spread, bed.model(path), x)
    >>> found.score > found.untouched
    True
    """
    budget = space.size if budget is None else budget
    found: list[Any] = []
    for each in (model, control):
        if each is None:
            found += [None, None]
            continue
        rated = Rated(score, each, x, prompts, seed, cond)
        found.append(run(space, rated, method=method, budget=budget, seed=seed))
        found.append(-rated(space.build(space.seeds()[0])))
    return Tuned(*found)


def expected_log_density(variance: float | int, std: float | int) -> float:
    """E log N(x; 0, std^2) under x ~ N(0, variance): -log(2 pi s^2)/2 - v / (2 s^2).

    A quality without references rewards a smaller spread, down to a point at the mode.

    >>> round(expected_log_density(0.25, 0.6), 6)
    -0.755335
    """
    v = number("expected_log_density", "variance", variance, 0.0)
    s2 = number("expected_log_density", "std", std, 1e-150) ** 2
    return -0.5 * math.log(2 * math.pi * s2) - v / (2 * s2)


def selection_regret(
    scores: Any, std: float | int, prompts: int, *, correlation: float | int = 0.0
) -> float:
    """max s - E s_I for the choice I that has the largest s_i + noise of standard deviation std.

    scores: (m,) true scores; std: of one prompt's score at one point; prompts: how many are
    averaged; correlation: of the noises of two points, the same prompts and seed at each: what they
    share cancels, and tau = std sqrt((1 - r) / P) remains. Exact, by quadrature over the largest
    value z: E s_I = int prod_j Phi((z - s_j)/tau) sum_i s_i phi_i/(tau Phi_i) dz.
    Source: sheet `q-sched`, C9.

    >>> round(selection_regret([0.0, -1.0], 1.0, 2), 4)  # Phi(-1)
    0.1587
    """
    where = "selection_regret"
    s = finite_array(where, "scores", scores)
    if s.ndim != 1 or s.size < 1:
        raise fail(where, "scores", "of shape (m,)", s.shape)
    shared = number(where, "correlation", correlation, 0.0, 1.0)
    P = integer(where, "prompts", prompts, 1)
    tau = number(where, "std", std, 0.0) * math.sqrt((1 - shared) / P)
    if tau == 0:
        return 0.0
    from scipy.special import log_ndtr

    low, high = (s.max() + d * tau for d in (-9.0, 9.0 + math.sqrt(2 * math.log(s.size))))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    z = 0.5 * (low + high) + 0.5 * (high - low) * nodes
    a = (z[:, None] - s) / tau
    log_cdf = log_ndtr(a)
    largest = np.exp(log_cdf.sum(axis=1))  # P(no value above z)
    hazard = np.exp(-0.5 * a**2 - log_cdf) / (tau * math.sqrt(2 * math.pi))
    return float((0.5 * (high - low) * weights * largest) @ (hazard @ (s.max() - s)))
