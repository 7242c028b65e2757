"""The plan: a few-step sampler on a fixed grid, as data.

A plan is the step form of its sampler, one row a node,

    u_i = sum_j P_ij u_j + sum_j B_ij m_j + d_i + sum_k C_ik xi_k,     m_j = model(u_j; level_j),

with u_0 = x_T, strictly lower triangular P and B, xi_k iid N(0, I), and output u_n. Substituting
the rows into one another gives the tableau, the rows from x_T; written in y = u / alpha and data
prediction it is canonical: two samplers are the same if and only if their canonical tableaus and
levels agree. Order, exact law, gradients and equality are read off these numbers. A node whose
column of B is zero is never evaluated. Sheet `plan-algebra`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array, Rng
from ..errors import fail, finite_array, one_of
from ..model import PREDICTIONS, Level, Model, conversion
from ..paths import Path
from ..shapes import Float
from .hooks import Hook

if TYPE_CHECKING:
    from .law import Law, LawGradient
    from .order import OrderReport

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Tableau:
    """The rows of a plan from x_T: u_i = a_i x_T + d_i + sum_j B_ij m_j + sum_k C_ik xi_k."""

    a: Float[np.ndarray, "nodes ..."]
    B: Float[np.ndarray, "nodes evaluations ..."]
    C: Float[np.ndarray, "nodes noises ..."]
    d: Float[np.ndarray, "nodes ..."]
    alpha: Float[np.ndarray, "nodes"]
    sigma: Float[np.ndarray, "nodes"]
    lam: Float[np.ndarray, "nodes"]
    prediction: str


@dataclass(frozen=True, eq=False)
class Plan:
    """A few-step sampler as data: the step form, and for each node its level and time.

    P: (n+1, n+1), B: (n+1, n), C: (n+1, q), d: (n+1,), each with further axes of the event where a
    coefficient acts elementwise; lam, alpha, sigma, t: (n+1,). `prediction` says in which form the
    model outputs m enter; `hooks` what a run does that is not linear; `settings` how the sampler
    was called. Made by a function of `fewtheory.samplers`, or by `Trace`.
    """

    P: Float[np.ndarray, "nodes nodes ..."]
    B: Float[np.ndarray, "nodes evaluations ..."]
    C: Float[np.ndarray, "nodes noises ..."]
    d: Float[np.ndarray, "nodes ..."]
    lam: Float[np.ndarray, "nodes"]
    alpha: Float[np.ndarray, "nodes"]
    sigma: Float[np.ndarray, "nodes"]
    t: Float[np.ndarray, "nodes"]
    prediction: str = "data"
    hooks: tuple[Hook, ...] = ()
    name: str = "plan"
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: Callable[[int], Plan] | None = None  # the same sampler on a finer grid
    _programs: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        one_of("Plan", "prediction", self.prediction, PREDICTIONS)
        if self.prediction == "velocity":
            raise _velocity("Plan")
        for name in ("P", "B", "C", "d", "alpha", "sigma"):
            object.__setattr__(self, name, finite_array("Plan", name, getattr(self, name)))
        nodes = self.d.shape[0]
        for name, columns in (("P", nodes), ("B", nodes - 1)):
            value = getattr(self, name)
            if value.ndim < 2 or value.shape[:2] != (nodes, columns):
                raise fail("Plan", name, f"of shape ({nodes}, {columns})", value.shape)
            upper = np.arange(columns)[None, :] >= np.arange(nodes)[:, None]
            if np.any(value[upper]):
                raise fail("Plan", name, "strictly lower triangular", value)
        if self.C.ndim < 2 or self.C.shape[0] != nodes:
            raise fail("Plan", "C", f"of shape ({nodes}, q)", self.C.shape)
        for name in ("alpha", "sigma", "lam", "t"):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != (nodes,) or np.any(np.isnan(value)):
                raise fail("Plan", name, f"{nodes} numbers, one a node", value)
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        self._check_levels()

    def _check_levels(self) -> None:
        """alpha and sigma are non-negative, and lam is the logarithm of their ratio."""
        for name in ("alpha", "sigma"):
            if np.any(getattr(self, name) < 0):
                raise fail("Plan", name, "non-negative", getattr(self, name))
        with np.errstate(divide="ignore", invalid="ignore"):
            lam = np.log(self.alpha) - np.log(self.sigma)
            off = np.where(lam == self.lam, 0.0, np.abs(lam - self.lam))
        if not np.all(off <= 1e-9 * (1 + np.abs(np.nan_to_num(self.lam)))):
            raise fail("Plan", "lam", "log(alpha / sigma)", self.lam)

    def __repr__(self) -> str:
        kind = "stochastic" if self.stochastic else "deterministic"
        hooks = "".join(f", {h.name}" for h in self.hooks)
        evaluations = f"{self.nfe} evaluations, {kind}, {self.prediction} prediction"
        return f"<Plan {self.name}: {evaluations}{hooks}>"

    @property
    def nodes(self) -> int:
        """n + 1, the number of rows."""
        return self.d.shape[0]

    @property
    def evaluated(self) -> np.ndarray:
        """Which nodes call the model: those whose column of B is not zero."""
        return np.any(self.B.reshape(self.nodes, self.nodes - 1, -1) != 0, axis=(0, 2))

    @property
    def nfe(self) -> int:
        """The number of model evaluations."""
        return int(self.evaluated.sum())

    @property
    def linear(self) -> bool:
        """Whether the run is linear in the state and the model outputs (no hook)."""
        return not self.hooks

    @property
    def stochastic(self) -> bool:
        """Whether the run draws: noise, or at random in a hook on the state."""
        return bool(np.any(self.C)) or any(h.on == "state" for h in self.hooks)

    def _event_axes(self) -> int:
        return max(self.P.ndim - 2, self.B.ndim - 2, self.C.ndim - 2, self.d.ndim - 1)

    def predicting(self, prediction: str) -> Plan:
        """The same plan with the model outputs in another prediction.

        m_old = p u + q m_new node by node, so B m moves partly into P: the step form stays local.
        """
        one_of("Plan.predicting", "prediction", prediction, PREDICTIONS)
        if prediction == "velocity":
            raise _velocity("Plan.predicting")
        if prediction == self.prediction:
            return self
        level = Level(self.alpha[:-1], self.sigma[:-1])
        p, q = (
            np.broadcast_to(c, (self.nodes - 1,))
            for c in conversion(prediction, self.prediction, level)
        )
        extra = max(self.P.ndim, self.B.ndim) - 2
        B, (p, q) = with_event(self.B, 2, extra), (with_event(c, 1, extra) for c in (p, q))
        moved = np.concatenate([B * p, np.zeros_like(B[:, :1])], axis=1)
        return replace(self, P=with_event(self.P, 2, extra) + moved, B=B * q, prediction=prediction)

    def on(self, path: Path) -> Plan:
        """The same plan on another path: nodes are matched by lam, states rescale by their level.

        The model outputs are first put in data prediction, which does not depend on the path.
        """
        return self.predicting("data").rescaled(path)

    def rescaled(self, path: Path) -> Plan:
        """As `on`, in the plan's own prediction: data or noise, which mean the same on every path.

        Raises ValueError for another prediction.
        """
        one_of("Plan.rescaled", "prediction", self.prediction, ("data", "noise"))
        points = [path.level(v) for v in self.lam.tolist()]
        alpha, sigma = np.array([p[0] for p in points]), np.array([p[1] for p in points])
        t = np.array([path.t_at(v) for v in self.lam.tolist()])
        c = (alpha + sigma) / (self.alpha + self.sigma)  # alpha'/alpha = sigma'/sigma at equal lam
        return replace(
            self,
            P=self.P * with_event(c[:, None] / c[None, :], 2, self.P.ndim - 2),
            B=self.B * with_event(c[:, None], 2, self.B.ndim - 2),
            C=self.C * with_event(c[:, None], 2, self.C.ndim - 2),
            d=self.d * with_event(c, 1, self.d.ndim - 1),
            alpha=alpha,
            sigma=sigma,
            t=t,
        )

    def _require_linear(self, where: str) -> None:
        if not self.linear:
            names = ", ".join(h.name for h in self.hooks)
            raise ValueError(f"{where}: the plan must be linear, but its run applies {names}")

    def tableau(self) -> Tableau:
        """The rows from x_T, by forward substitution in the plan's own prediction."""
        self._require_linear("Plan.tableau")
        extra = self._event_axes()
        P, B, C = (with_event(v, 2, extra) for v in (self.P, self.B, self.C))
        d = with_event(self.d, 1, extra)
        event = np.broadcast_shapes(*(v.shape[2:] for v in (P, B, C)), d.shape[1:])
        n, q = self.nodes - 1, C.shape[1]
        rows = np.zeros((n + 1, n + q + 2, *event))
        rows[0, 0] = 1.0
        rows[:, 1 : n + 1] += B
        rows[:, n + 1 : n + q + 1] += C
        rows[:, n + q + 1] += d
        sources = entries(P)
        for i in range(1, n + 1):
            for j in sources[i]:
                rows[i] += P[i, j] * rows[j]
        split = (rows[:, 0], rows[:, 1 : n + 1], rows[:, n + 1 : n + q + 1], rows[:, n + q + 1])
        return Tableau(*split, self.alpha, self.sigma, self.lam, self.prediction)

    def canonical(self) -> Tableau:
        """The tableau in data prediction and y = u / alpha; levels are then lam alone."""
        if np.any(self.alpha <= 0):
            raise fail("Plan.canonical", "alpha", "positive at every node", self.alpha)
        tab = self.predicting("data").tableau()
        extra = tab.a.ndim - 1
        inverse = with_event(1 / self.alpha, 1, extra)
        one, rho = np.ones_like(self.alpha), np.exp(-self.lam)
        return Tableau(
            tab.a * inverse * self.alpha[0],
            tab.B * inverse[:, None],
            tab.C * inverse[:, None],
            tab.d * inverse,
            one,
            rho,
            self.lam,
            "data",
        )

    def distance(self, other: Plan) -> float:
        """The largest difference between two canonical forms; infinite where the nodes differ.

        Compared are a, B, d, the noise covariance C C^T (a rotation of the noises is the same law)
        and the levels (in rho, relative).
        """
        if self.nodes != other.nodes:
            return np.inf
        one, two = self.canonical(), other.canonical()
        with np.errstate(invalid="ignore"):
            lam = np.abs(np.expm1(one.lam - two.lam))
        lam = np.where(one.lam == two.lam, 0.0, lam)
        parts = [
            one.a - two.a,
            one.B - two.B,
            one.d - two.d,
            _covariance(one) - _covariance(two),
            lam,
        ]
        return max(float(np.max(np.abs(p), initial=0.0)) for p in parts)

    def dead_evaluations(self) -> list[int]:
        """Nodes whose model output never reaches the plan's output: evaluations for nothing."""
        B = np.abs(self.tableau().B.reshape(self.nodes, self.nodes - 1, -1)).max(axis=2)
        matters = np.zeros(self.nodes, dtype=bool)
        matters[-1] = True
        for i in reversed(range(self.nodes)):  # node i is made of the outputs of row i
            if matters[i]:
                matters[:-1] |= B[i] > 8 * EPS * self.nodes * B[i].max(initial=0.0)
        return np.flatnonzero(self.evaluated & ~matters[:-1]).tolist()

    def believed_levels(self) -> tuple[np.ndarray, np.ndarray]:
        """(alpha_i, sigma_i) in which the integrator believes: where it takes point masses.

        sigma_i = a_i sigma_0 and alpha_i = a_i alpha_0 + sum_j b_ij for deterministic plans; with
        noises sigma_i^2 gains sum_k c_ik^2. They equal the plan's own levels if and only if the
        plan is exact on point masses.
        """
        tab = self.predicting("data").tableau()
        alpha = tab.a * self.alpha[0] + tab.B.sum(axis=1)
        return alpha, np.sqrt((tab.a * self.sigma[0]) ** 2 + (tab.C**2).sum(axis=1))

    def run(
        self,
        model: Model,
        x: Array,
        rng: Rng = None,
        *,
        callback: Callable[[int, Array], None] | None = None,
        **cond: Any,
    ) -> Array:
        """Sample: start from x at the first level and apply the steps to a model.

        x: (n, *event), at the first node's level of the model's own path; returns the state at the
        last node's level. Nodes are matched to the model's path by lam and the coefficients are
        converted once into its prediction. `callback(i, u_i)` sees each node; `cond` goes to the
        model. Raises ValueError for x of wrong shape or not finite, and for a missing rng.

        >>> import numpy as np, fewtheory as ft
        >>> path, bed = ft.paths.VPLinear(), ft.testbeds.Gaussian([1.0, 0.0], 0.25)
        >>> plan = ft.samplers.ddim(path, ft.plan.grids.log_snr(path, steps=8))
        >>> plan.run(bed.model(path), np.zeros((5, 2))).shape
        (5, 2)
        """
        from .run import run

        return run(self, model, x, rng, callback=callback, **cond)

    def law(self, gaussian: Any, start: Any = "marginal") -> Law:
        """The exact law of the output for Gaussian data (see `fewtheory.plan.law`)."""
        from .law import law

        return law(self, gaussian, start)

    def law_gradient(self, gaussian: Any, of: str = "kl", start: Any = "marginal") -> LawGradient:
        """The exact gradient of the output law's KL or squared W2 in the canonical tableau."""
        from .law import law_gradient

        return law_gradient(self, gaussian, of, start)

    def order(self, family: Callable[[int], Plan] | None = None) -> OrderReport:
        """The order of convergence of this sampler, from its coefficients on refined grids."""
        from .order import order

        chosen = family or self.family
        if chosen is None:
            raise ValueError(
                f"Plan.order: family must be given for {self.name!r}: order is a statement about "
                "refined grids, and this plan does not know how it was made"
            )
        return order(chosen)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the plan as JSON, whole or not at all."""
        from .files import save

        save(self, file)


def _velocity(where: str) -> ValueError:
    return fail(where, "prediction", "free of the path (use 'flow' or 'v')", "velocity")


def with_event(value: np.ndarray, lead: int, axes: int) -> np.ndarray:
    """The array with `axes` event axes after its `lead` axes; new ones have length one.

    They go before those it has, so that events broadcast as NumPy's shapes do.
    """
    event = value.shape[lead:]
    return value.reshape(value.shape[:lead] + (1,) * (axes - len(event)) + event)


def entries(block: np.ndarray) -> list[list[int]]:
    """For each row of a coefficient block, the columns that hold anything but zero."""
    held = np.any(block != 0, axis=tuple(range(2, block.ndim)))
    return [np.flatnonzero(row).tolist() for row in held]


def _covariance(tab: Tableau) -> np.ndarray:
    return np.einsum("ik...,jk...->ij...", tab.C, tab.C)
