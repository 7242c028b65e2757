"""What may be decided about a step of a solver schedule, and the known solvers as decisions.

Liu, Ning, Yang, Wang (2023), arXiv 2312.07243 (USF); sheet `usf-s3`. A `Decision` is one step:
model type, Taylor order, the nodes from which each derivative is taken, the scaling of the first,
the node to start from, the corrector. `solver_schedule` makes the plan.

| solver | name |
| --- | --- |
| DDIM | "ddim" |
| DPM-Solver++(2M), midpoint or exact phi; (3M), repaired | "2m-midpoint", "2m", "3m" |
| DPM-Solver++(2S), (3S), midpoint or Taylor | "2s-midpoint", "2s", "3s-midpoint", "3s" |
| UniPC-p, B(h) = h or e^h - 1 | "unipc-1-bh1" .. "unipc-3-bh2" |
| DEIS, log-rho Adams-Bashforth of degree r | "deis-1", "deis-2" |
| DPM-Solver-v3 with the repository's correctors | "v3-2", "v3-3", "v3-2-pseudo", "v3-3-pseudo" |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..errors import fail, finite_array, integer, number, one_of
from ..paths import Path
from ..plan import GridLike, grids
from ..plan.phi import phi
from .dpm_solver_v3 import derivative_weights

TYPES = ("data", "noise", "v3")
SCALINGS = ("bh1", "bh2", "0.5exp", "-0.5exp")
CORRECTORS = (None, "pseudo", "implicit")
AFS = ("none", "zero", "mean")
ORDERS = 5  # the most: an order-4 step and its corrector

Estimate: TypeAlias = int | tuple[int, ...] | None  # so many, these nodes, or all
Scaling: TypeAlias = str | float | int | None  # a named one, c of 1 + c h, or none


class Taylor(NamedTuple):
    """Order k, what each derivative is taken from (all of k - 1 nodes where not said), and s_1."""

    order: int
    estimates: tuple[Estimate, ...] = ()
    scaling: Scaling = None


@dataclass(frozen=True)
class Decision:
    """What is decided about one step. Nodes are counted back from the newest, which is -1.

    type: "data", "noise" or "v3"; order: k, 1 to 4. estimates: for derivative 1, 2, ..: None for
    the k - 1 newest nodes beside the start, e for the e newest, or the nodes themselves, such as
    (-1, -2). scaling: of the first derivative's term: "bh1", "bh2", "0.5exp", "-0.5exp", or c for
    1 + c h. start: the node from which the step goes. corrector: "pseudo" makes the step again with
    the value at the predicted state among the nodes, and keeps that value; "implicit" evaluates the
    corrected state too. correction: how the step is made then, by default of order k + 1 with every
    derivative from one more node, the new one, and no scaling. Raises ValueError for other values.

    >>> Decision("noise", 3, scaling=0.1)
    Decision(type='noise', order=3, estimates=(), scaling=0.1, start=-1, corrector=None)
    """

    type: str = "data"
    order: int = 2
    estimates: tuple[Estimate, ...] = ()
    scaling: Scaling = None
    start: int = -1
    corrector: str | None = None
    correction: Taylor | None = None

    def __post_init__(self) -> None:
        one_of("Decision", "type", self.type, TYPES)
        integer("Decision", "order", self.order, 1, ORDERS - 1)
        if not isinstance(self.start, int) or self.start >= 0:
            raise fail("Decision", "start", "-1 or an earlier node", self.start)
        one_of("Decision", "corrector", self.corrector, CORRECTORS)
        for what in (self.predictor, *([self.correction] if self.correction else [])):
            _check(what)

    def __repr__(self) -> str:
        shown = "type order estimates scaling start corrector".split()
        more = "" if self.correction is None else f", correction={self.correction!r}"
        return f"Decision({', '.join(f'{n}={getattr(self, n)!r}' for n in shown)}{more})"

    @property
    def predictor(self) -> Taylor:
        """How the step is predicted."""
        return Taylor(self.order, self.estimates, self.scaling)


def _check(what: Taylor) -> None:
    integer("Decision", "order", what.order, 1, ORDERS)
    if len(what.estimates) >= what.order:
        raise fail("Decision", "estimates", f"at most {what.order - 1} of them", what.estimates)
    for d, e in enumerate(what.estimates, start=1):
        nodes = [] if e is None else [e] if isinstance(e, int) else list(e)
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in nodes)
        enough = e is None or (e if isinstance(e, int) else len(set(nodes))) >= d
        if not (whole and enough and (isinstance(e, int) or all(v < 0 for v in nodes))):
            allowed = f"None, {d} or more, or as many nodes -1, -2, .., for derivative {d}"
            raise fail("Decision", "estimates", allowed, e)
    if isinstance(what.scaling, str):
        one_of("Decision", "scaling", what.scaling, SCALINGS)
    elif what.scaling is not None:
        number("Decision", "scaling", what.scaling, -math.inf)


def taylor_weights(offsets: Any, derivative: int) -> list[float]:
    """a_k with m^(d) = sum_k a_k (m_k - m_s): sum_k a_k delta_k^j / j! is 1 at j = d, else 0.

    offsets: delta_k = lam_k - lam_s, e different numbers that are not 0; derivative: d, 1 to e.
    Exact for polynomials of degree e, so that the error is O(h^{e-d+1}). Raises ValueError for
    other values. Source: sheet `usf-s3`, "Derivative estimation".

    >>> taylor_weights([-0.5], 1)
    [-2.0]
    """
    delta = finite_array("taylor_weights", "offsets", offsets)
    if delta.ndim != 1 or delta.size == 0 or len({0.0, *delta.tolist()}) <= delta.size:
        raise fail("taylor_weights", "offsets", "different numbers that are not 0", offsets)
    integer("taylor_weights", "derivative", derivative, 1, delta.size)
    return derivative_weights(delta.tolist(), derivative)


def scaling_factor(scaling: Scaling, kind: str, h: float) -> float:
    """s_1, the used over the exact first moment; hh = -h for data prediction, h for the others.

    bh2: mu_1 becomes h mu_0 / 2, phi_1 / (2 phi_2); bh1: h^2 / 2, 1 / (2 phi_2); "0.5exp" and
    "-0.5exp": 1 +- (e^hh - 1) / 2; a number c: 1 + c h, whatever the type.

    >>> round(scaling_factor("bh2", "data", 0.7), 6)
    0.896278
    """
    if scaling is None:
        return 1.0
    if not isinstance(scaling, str):
        return 1 + scaling * h
    hh = -h if kind == "data" else h
    if scaling == "bh2":
        return phi(1, hh) / (2 * phi(2, hh))
    if scaling == "bh1":
        return 1 / (2 * phi(2, hh))
    return 1 + (0.5 if scaling == "0.5exp" else -0.5) * math.expm1(hh)


def multistep(
    steps: int,
    type: str = "data",
    order: int = 2,
    scaling: str | None = None,
    corrector: bool = False,
    lower: bool = False,
) -> list[Decision]:
    """Order min(order, i + 1) at step i; `scaling` where a derivative is taken from one node."""
    found = []
    for i in range(steps):
        k = min(order, i + 1, steps - i if lower else steps)
        given = scaling if k == 2 else None
        if not corrector or i == steps - 1:
            found.append(Decision(type, k, (), given))
            continue
        correction = Taylor(k + 1, (), scaling if k == 1 else None)
        found.append(Decision(type, k, (), given, -1, "pseudo", correction))
    return found


def singlestep(
    steps: int, type: str = "data", order: int = 2, midpoint: bool = False
) -> list[Decision]:
    """Blocks of `order` steps from the block's start; what is left over are steps of order 1."""
    one, two = (-1,), (-1, -2)
    block = [Decision(type, 1), Decision(type, 2, (one,), None, -2)]
    if order == 2 and midpoint:
        block[1] = Decision(type, 2, (one,), "bh2", -2)
    if order == 3:
        slope = Decision(type, 2, (one,), None, -3)
        block.append(slope if midpoint else Decision(type, 3, (two, two), None, -3))
    whole, rest = divmod(steps, order)
    return block * whole + [Decision(type, 1)] * rest


def version_three(steps: int, order: int = 2, pseudo: bool = False) -> list[Decision]:
    """DPM-Solver-v3: predictor of order min(order, i + 1), corrector of the same, pseudo one more.

    Pseudo: derivative d from the d nearest values only. A corrector of order 1 is none.
    """
    found = []
    for i in range(steps):
        k = min(order, i + 1)
        counts = tuple(range(1, k)) if pseudo else ()
        c = k + pseudo
        if i == steps - 1 or c == 1:
            found.append(Decision("v3", k, counts))
            continue
        correction = Taylor(c, tuple(range(1, c)) if pseudo else ())
        found.append(Decision("v3", k, counts, None, -1, "pseudo", correction))
    return found


SOLVERS: Mapping[str, tuple[Callable[..., list[Decision]], Mapping[str, Any]]] = MappingProxyType(
    {
        "ddim": (multistep, {"order": 1}),
        "2m": (multistep, {"order": 2}),
        "2m-midpoint": (multistep, {"order": 2, "scaling": "bh2"}),
        "3m": (multistep, {"order": 3}),
        "2s": (singlestep, {"order": 2}),
        "2s-midpoint": (singlestep, {"order": 2, "midpoint": True}),
        "3s": (singlestep, {"order": 3}),
        "3s-midpoint": (singlestep, {"order": 3, "midpoint": True}),
        **{
            f"unipc-{p}-{bh}": (multistep, {"order": p, "scaling": bh, "corrector": True})
            for p in (1, 2, 3)
            for bh in ("bh1", "bh2")
        },
        **{f"deis-{r}": (multistep, {"type": "noise", "order": r + 1}) for r in (1, 2)},
        **{
            f"v3-{n}{'-pseudo' * pseudo}": (version_three, {"order": n, "pseudo": pseudo})
            for n in (2, 3)
            for pseudo in (False, True)
        },
    }
)


def known_schedule(
    name: str, steps: int, *, type: str | None = None, lower_order_final: bool = False
) -> list[Decision]:
    """The decisions of a known solver, a step each (2S takes two steps for one of its own).

    name: of the table above; type: "data" or "noise", in place of the solver's own (not for v3);
    lower_order_final: lower the order to 1 towards the last step, of multistep solvers, as
    libraries do. Raises ValueError for other values. Source: sheet `usf-s3`, "Known solvers as
    schedules".

    >>> [d.order for d in known_schedule("3m", 4)]
    [1, 2, 3, 3]
    """
    where = "known_schedule"
    one_of(where, "name", name, SOLVERS)
    integer(where, "steps", steps, 1)
    rule, settings = SOLVERS[name]
    given = dict(settings)
    if type is not None:
        one_of(where, "type", type, ("data", "noise") if rule is not version_three else ("v3",))
        given |= {} if rule is version_three else {"type": type}
    if lower_order_final:
        if rule is not multistep:
            raise fail(where, "lower_order_final", f"False with name={name!r}", lower_order_final)
        given["lower"] = True
    return rule(steps, **given)


def switching_schedule(
    path: Path, grid: GridLike, variance: float | int, order: int = 2
) -> list[Decision]:
    """Data prediction while rho^2 > variance, noise prediction after: each where it errs less.

    For Gaussian data of this variance c the leading local defects of second-order steps are as
    |data| / |noise| = |2 - 3 theta| / |1 - 3 theta|, theta = rho^2 / (c + rho^2), and a run that
    changes over at theta = 1/2 is of third order: the two halves cancel. Decided at each step's
    middle in lam. Source: sheet `usf-s3`, claim C3.

    >>> from fewtheory.paths import VPLinear
    >>> grid = grids.log_snr(VPLinear(), steps=4)
    >>> [d.type for d in switching_schedule(VPLinear(), grid, 0.09)]
    ['data', 'data', 'data', 'noise']
    """
    c = number("switching_schedule", "variance", variance, 0.0)
    integer("switching_schedule", "order", order, 1, ORDERS - 1)
    lam = grids.of(path, grid).lam
    middle = 0.5 * (lam[:-1] + lam[1:])
    types = np.where(np.exp(-2 * middle) > c, "data", "noise").tolist()
    return [Decision(kind, min(order, i + 1)) for i, kind in enumerate(types)]


def analytic_step_error(variance: Any, lam: float | int) -> Any:
    """Rms of x0hat - mean at half log-SNR lam, Gaussian data: V / sqrt(V + rho^2), rho = e^-lam.

    What the analytical first step `afs="mean"` neglects; it enters y = x / alpha of the next level
    times 1 - e^-h. Of any data as lam falls. variance: V, a number or an array.

    >>> round(float(analytic_step_error(1.8, -4.0)), 6)
    0.032958
    """
    V = finite_array("analytic_step_error", "variance", variance)
    if np.any(V < 0):
        raise fail("analytic_step_error", "variance", "non-negative", variance)
    rho = math.exp(-number("analytic_step_error", "lam", lam, -math.inf))
    return V / np.sqrt(V + rho**2)
