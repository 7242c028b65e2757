"""Empirical model statistics: which combination of state, output and constants varies slowly.

Zheng, Lu, Chen, Zhu (2023), arXiv 2310.13268; sheet `dpm-solver-v3`. In the coordinates y = x /
alpha, rho = sigma / alpha the probability-flow ODE is dy/dlam = -y + x0hat = -l y - f with f = (1 -
l) y - x0hat. Three functions of lam, elementwise, make f as nearly constant as a linear change can:

    l* = E[diag(sigma d epshat/dx)],   s* = Cov(f, f') / Var f,   b* = E f' - s* E f,

f' = df/dlam along the ODE. None of the Jacobians is needed. The law of f is carried by the ODE, so
that s* = (log Var f)' / 2 and b* = (E f)' - s* E f for any model; and for an exact denoiser of data
of mean mu and variance V, whose denoising loss is M(lam) = E (x_0 - x0hat)^2, elementwise,

    l* = 1 - M / rho^2,   E f = -l mu,   Var f = (1-l)^2 (V + rho^2) - 2 (1-l) V + V - M.

So a loss curve, or means and variances of outputs, are enough. The paper's own estimate, with
forward-mode derivatives, is in `_torch`.
"""

# ruff: noqa: E741 - l is the paper's name

from __future__ import annotations

import functools
import os
import zipfile
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, Rng, check_rng, is_torch
from ..errors import fail, finite_array, integer, number, one_of, state
from ..files import writing
from ..model import Model
from ..plan.plan import with_event
from ..shapes import Float
from ._statistics import FLOOR, Triple, closed_form, mmse, moments_of_outputs, slopes, spline

RULES = ("spline", "trapezoid")
LAWS = ("forward", "own")


class Curves(NamedTuple):
    """l, s and b at some lam, of shape (*lam.shape, *event)."""

    l: Any
    s: Any
    b: Any


@dataclass(frozen=True, eq=False)
class ModelStatistics:
    """l, s and b on a grid of lam, elementwise.

    lams: (n,), increasing; l, s, b: (n, *event), or (n,) for numbers that all elements share. One
    node stands for constants at every lam. rule: how a sampler integrates them. "spline" goes
    through splines of degree five and Gauss-Legendre; "trapezoid", the paper's, sums over the nodes
    and moves the sampler's levels to the nearest ones. Raises ValueError for other values.

    >>> import fewtheory as ft
    >>> bed = ft.testbeds.mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])
    >>> ModelStatistics.exact(bed, np.linspace(-3, 3, 61)).at(0.0).l.round(6)
    np.float64(0.472367)
    """

    lams: Float[np.ndarray, "nodes"]
    l: Float[np.ndarray, "nodes ..."]
    s: Float[np.ndarray, "nodes ..."]
    b: Float[np.ndarray, "nodes ..."]
    rule: str = "spline"

    def __post_init__(self) -> None:
        where = "ModelStatistics"
        one_of(where, "rule", self.rule, RULES)
        lams = _nodes(where, self.lams)
        found = [finite_array(where, name, getattr(self, name)) for name in ("l", "s", "b")]
        for name, value in zip(("l", "s", "b"), found, strict=True):
            if value.shape[:1] != lams.shape:
                raise fail(where, name, f"of shape ({lams.size}, *event)", value.shape)
        shapes = [v.shape for v in found]
        try:
            event = np.broadcast_shapes(*(shape[1:] for shape in shapes))
        except ValueError:
            raise fail(where, "l, s and b", "of events that broadcast", shapes) from None
        if self.rule == "trapezoid" and lams.size < 2:
            raise fail(where, "lams", "two or more nodes for rule='trapezoid'", lams)
        object.__setattr__(self, "lams", lams)
        for name, value in zip(("l", "s", "b"), found, strict=True):
            deep = with_event(value, 1, len(event))
            whole = np.broadcast_to(deep, (lams.size, *event))
            object.__setattr__(self, name, whole)

    def __repr__(self) -> str:
        ends = f"lam from {self.lams[0]:g} to {self.lams[-1]:g}"
        where = f"{self.lams.size} nodes, {ends}" if self.lams.size > 1 else "every lam"
        return f"<ModelStatistics: {where}, event {self.event}, {self.rule}>"

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of the coefficients at one lam."""
        return self.l.shape[1:]

    @property
    def curves(self) -> Curves:
        """l, s and b at the nodes."""
        return Curves(self.l, self.s, self.b)

    @classmethod
    def constant(cls, l: Any, s: Any, b: Any) -> ModelStatistics:
        """The same l, s and b at every lam: (1, 0, 0) is data prediction, (0, -1, 0) noise."""
        one = [np.asarray(v, dtype=np.float64)[None] for v in (l, s, b)]
        return cls(np.zeros(1), one[0], one[1], one[2])

    @classmethod
    def exact(
        cls,
        bed: Any,
        lams: Any,
        *,
        l: Any = None,
        floor: float | int = FLOOR,
    ) -> ModelStatistics:
        """The statistics of a testbed's exact model, by quadrature of its posterior covariance.

        bed: any Gaussian or ProductMixture, a GaussianMixture in one or two dimensions; of one
        dimension it gives numbers, (n,), as the estimates do. l, floor: as in `from_loss`. Raises
        TypeError and ValueError for others.
        """
        nodes = _nodes("ModelStatistics.exact", lams)
        found = zip(*(mmse(bed, v) for v in nodes.tolist()), strict=True)
        M, explained, slope = (np.stack(v) for v in found)
        cov = np.asarray(bed.cov)
        law = (bed.mean, cov if cov.ndim == 1 else np.diag(cov))
        found = closed_form(nodes, M, slope, *law, l, floor=floor, explained=explained)
        return cls(nodes, *_numbers(found))

    @classmethod
    def from_loss(
        cls, lams: Any, loss: Any, mean: Any, var: Any, *, l: Any = None, floor: float | int = FLOOR
    ) -> ModelStatistics:
        """The statistics of a denoiser from its loss curve: no Jacobian, no sample.

        lams: (n,); loss: M = E (x_0 - x0hat)^2 at each, (n, *event) or (n,); mean, var: of the
        data, (*event) or numbers. l: None for l*, or what l is fixed to. floor: where Var f is
        under floor * var, it is not told from zero: s = 0 and b = (E f)' there; take the relative
        error of a measured curve. Raises ValueError for negative losses or variances.
        """
        where = "ModelStatistics.from_loss"
        nodes, M = _nodes(where, lams), finite_array(where, "loss", loss)
        mu, V = finite_array(where, "mean", mean), finite_array(where, "var", var)
        if M.shape[:1] != nodes.shape or np.any(M < 0):
            raise fail(where, "loss", f"non-negative, of shape ({nodes.size}, *event)", loss)
        if np.any(V < 0):
            raise fail(where, "var", "non-negative", var)
        number(where, "floor", floor, 0.0)
        try:
            event = np.broadcast_shapes(M.shape[1:], mu.shape, V.shape)
        except ValueError:
            shapes = M.shape, mu.shape, V.shape
            raise fail(where, "loss, mean, var", "of events that broadcast", shapes) from None
        M = with_event(M, 1, len(event))
        return cls(nodes, *closed_form(nodes, M, slopes(nodes, M), mu, V, l, floor=floor))

    @classmethod
    def from_outputs(
        cls,
        model: Model,
        x0: Array,
        lams: Any,
        *,
        rng: Rng,
        l: Any = None,
        law: str = "forward",
        floor: float | int = FLOOR,
    ) -> ModelStatistics:
        """The statistics of any model from means and variances of its outputs.

        x0: (K, *event) data, NumPy or torch as the model wants it; noised once, by the same noise
        at each lam, so that the moments are smooth in lam. law: "forward", x_lam = alpha x0 + sigma
        eps; "own", the model's own ODE from the first lam on, from there in third-order steps from
        node to node (the law under which the steps are unbiased for a model that errs). l: None
        for 1 - M / rho^2 with the loss on x0. An elementwise s takes thousands of samples this way,
        hundreds by `from_jvp`. Source: sheet `dpm-solver-v3`, "Closed forms".
        """
        where = "ModelStatistics.from_outputs"
        nodes = _sampled(where, model, x0, lams, rng, law, floor)
        return cls(
            nodes, *_numbers(moments_of_outputs(model, x0, nodes, rng, l, law, float(floor)))
        )

    @classmethod
    def from_jvp(
        cls,
        model: Model,
        x0: Array,
        lams: Any,
        *,
        rng: Rng,
        l: Any = None,
        law: str = "forward",
        probes: int = 1,
        floor: float | int = FLOOR,
    ) -> ModelStatistics:
        """The paper's estimate on torch: Hutchinson's diagonal, then forward-mode slopes.

        x0, lams, law: as in `from_outputs`, x0 a tensor. l: None for the mean of v (J v) over
        Rademacher `probes` v, J = sigma d epshat/dx; its own derivative in lam goes through a
        spline. s, b: least squares of f' on f and 1, one Jacobian-vector product a node.
        """
        where = "ModelStatistics.from_jvp"
        nodes = _sampled(where, model, x0, lams, rng, law, floor)
        if not is_torch(x0):
            raise TypeError(f"{where}: x0 must be a torch tensor, got {type(x0).__name__}")
        integer(where, "probes", probes, 1)
        from ._torch import regressions

        return cls(
            nodes, *_numbers(regressions(model, x0, nodes, rng, l, law, probes, float(floor)))
        )

    @functools.cached_property
    def _splines(self) -> tuple[Any, Any]:
        """The spline of (l, s, b) and its antiderivative."""
        curves = spline(self.lams, np.stack(self.curves, axis=1))
        return curves, curves.antiderivative()

    def at(self, lam: Any) -> Curves:
        """l, s and b at lam, a number or an array. Raises ValueError outside the nodes."""
        self.check(lam)
        if self.lams.size == 1:
            extra = np.zeros(np.shape(lam) + (1,) * len(self.event))
            return Curves(*(v[0] + extra for v in self.curves))
        return Curves(*np.moveaxis(self._splines[0](lam), np.ndim(lam), 0))

    def integrals(self, start: float, lam: Any) -> tuple[Any, Any]:
        """int_start^lam l and int_start^lam s, of shape (*lam.shape, *event)."""
        if self.lams.size == 1:
            span = np.reshape(lam - start, np.shape(lam) + (1,) * len(self.event))
            return span * self.l[0], span * self.s[0]
        rise = self._splines[1](lam) - self._splines[1](start)
        L, S, _ = np.moveaxis(rise, np.ndim(lam), 0)
        return L, S

    def check(self, lam: Any) -> None:
        """Raise a ValueError unless lam lies between the first and the last node."""
        low, high = float(np.min(lam)), float(np.max(lam))
        slack = 1e-9 * (1 + np.abs(self.lams).max())
        inside = self.lams[0] - slack <= low and high <= self.lams[-1] + slack
        if not inside and self.lams.size > 1:
            ends = f"within the statistics' lam, {self.lams[0]:g} to {self.lams[-1]:g}"
            raise fail("ModelStatistics", "lam", ends, low if low < self.lams[0] else high)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the statistics as npz, whole or not at all."""
        with writing(file) as stream:
            np.savez(stream, lams=self.lams, l=self.l, s=self.s, b=self.b, rule=np.array(self.rule))

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> ModelStatistics:
        """Read statistics written by `save`; a ValueError names the file for anything else."""
        try:
            with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as held:
                found = {name: held[name] for name in ("lams", "l", "s", "b", "rule")}
        except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"ModelStatistics.load: {file}: not statistics ({error})") from None
        return cls(**{**found, "rule": str(found["rule"])})


def _numbers(found: Triple) -> Triple:
    """(n,) in place of (n, 1): of one dimension a plan has numbers for coefficients."""
    l, s, b = (v[:, 0] if v.shape[1:] == (1,) else v for v in found)
    return l, s, b


def _nodes(where: str, lams: Any) -> np.ndarray:
    nodes = finite_array(where, "lams", lams)
    if nodes.ndim != 1 or nodes.size == 0 or np.any(np.diff(nodes) <= 0):
        raise fail(where, "lams", "one-dimensional and strictly increasing", lams)
    return nodes


def _sampled(
    where: str, model: Any, x0: Any, lams: Any, rng: Any, law: Any, floor: Any
) -> np.ndarray:
    """Checks of what the estimates from samples share; the nodes."""
    if not isinstance(model, Model):
        raise TypeError(f"{where}: model must be a fewtheory Model, got {type(model).__name__}")
    xp = state(where, "x0", x0)
    if x0.shape[0] < 2 or not bool(xp.all(xp.isfinite(x0))):
        raise fail(where, "x0", "finite, two or more rows", tuple(x0.shape))
    check_rng(where, rng)
    one_of(where, "law", law, LAWS)
    number(where, "floor", floor, 0.0)
    nodes = _nodes(where, lams)
    if nodes.size < 2:
        raise fail(where, "lams", "two or more nodes", lams)
    return nodes
