"""The package's own samplers beside the one under audit: which of them it is, and which is better.

Two samplers are the same where their rows agree at equal levels. They are compared step by step,
each step by its weights relative to the state that it continues, so that a sampler which differs
in its last steps alone is found to be the same but for those.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import samplers
from ..paths import EDM, Path, VPLinear
from ..plan import Grid, Plan, grids
from .outcome import FLOW, flow_error
from .recovered import Recovered

SAME = 1e-8  # of a step's largest weight: float64 rows after a change of coordinates
WIDE = EDM(0.0, 1e9)


@dataclass(frozen=True)
class Twin:
    """A known sampler: the call that makes it, the largest difference of the steps that agree, and
    the nodes at which it differs."""

    call: str
    difference: float
    differs_at: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether every step agrees."""
        return not self.differs_at


def twins(run: Recovered) -> list[Twin]:
    """The known samplers that take most of the steps of this run, the closest first."""
    plan = run.rule.plan
    lam = plan.lam[run.rule.principal]
    if lam.size < 2 or np.any(np.diff(lam) <= 0):
        return []
    mine, found = _local(plan, run.rule.base), {}
    for call, make in _known(run):
        try:
            other = make(lam)
        except (ValueError, ZeroDivisionError, FloatingPointError):
            continue
        missing = plan.nodes - other.nodes  # 1: a sampler that refuses a last step to sigma = 0
        if missing not in (0, 1) or other.stochastic != plan.stochastic:
            continue
        differs, difference = _compared(mine, _local(other, run.rule.base), missing)
        if len(differs) <= plan.nodes // 2:
            twin = Twin(call, difference, tuple(differs))
            plain = call.replace(", lower_order_final=True", "")
            if plain not in found or len(differs) < len(found[plain].differs_at):
                found[plain] = twin
    return sorted(found.values(), key=lambda t: len(t.differs_at))[:2]


def _compared(mine: np.ndarray, theirs: np.ndarray, missing: int) -> tuple[list[int], float]:
    """(the nodes whose weights differ, the largest relative difference of the others)."""
    k = len(mine) - missing
    if missing:  # the factor and the evaluations up to then; only deterministic samplers refuse
        mine, theirs = mine[:k, :k], theirs[:, :k]
    size = np.abs(mine).max(axis=1) + 1e-300
    difference = np.abs(mine - theirs).max(axis=1) / size
    same = difference < SAME
    differs = [*np.flatnonzero(~same).tolist(), *range(k, k + missing)]
    return differs, float(difference[same].max(initial=0.0))


def _local(plan: Plan, base: np.ndarray) -> np.ndarray:
    """Each node's weights relative to its base, in u / (alpha + sigma) and data prediction."""
    tab = plan.predicting("data").tableau()
    scale = 1 / (tab.alpha + tab.sigma)
    a = tab.a * scale / scale[0]
    noises = np.einsum("ik,jk->ij", tab.C, tab.C) * scale[:, None] * scale  # up to rotations
    rows = np.concatenate([tab.B * scale[:, None], noises], axis=1)
    out = np.zeros((len(a), 1 + rows.shape[1]))
    for i in range(1, len(a)):
        s = base[i]
        c = a[i] / a[s] if abs(a[s]) > 1e-13 else 0.0
        out[i] = np.append(c, rows[i] - c * rows[s])
    return out


def _known(run: Recovered) -> Iterator[tuple[str, Callable[[np.ndarray], Plan]]]:
    """(call, from principal lams to the plan) of every sampler that might be the one at hand."""

    def on(
        path: Path, function: Callable[..., Plan], **settings: Any
    ) -> Callable[[np.ndarray], Plan]:
        return lambda lam: function(path, grids.at_lams(path, lam), **settings)

    told = run.told.path if run.told is not None else VPLinear()
    for eta in (0.0, 1.0):
        yield _call("ddim", eta=eta), on(FLOW, samplers.ddim, eta=eta)
    settings = [
        {"order": o, "prediction": p, "eta": eta, "solver_type": kind, "repaired": repaired}
        for o, kind, repaired in (
            (1, "midpoint", True),
            (2, "midpoint", True),
            (2, "taylor", True),
            (3, "midpoint", True),
            (3, "midpoint", False),
            (3, "taylor", True),
            (3, "taylor", False),
        )
        for p in ("data", "noise")
        for eta in (0.0, 1.0)
    ]
    for chosen in settings:
        for lower in (False, True):
            full = {**chosen, "lower_order_final": lower}
            yield _call("dpm_solver_pp", **full), on(FLOW, samplers.dpm_solver_pp, **full)
    for degree in (1, 2, 3):
        for fit, path in (("log_rho", FLOW), ("rho", FLOW), ("t", told)):
            yield (
                _call("deis", degree=degree, fit=fit),
                on(path, samplers.deis, degree=degree, fit=fit),
            )
    for order in (2, 3, 4):
        yield _call("ipndm", order=order), on(FLOW, samplers.ipndm, order=order)
    options = {
        "order": (1, 2, 3),
        "bh": ("bh2", "bh1"),
        "prediction": ("data", "noise"),
        "corrector": (True, False),
        "lower_order_final": (False, True),
    }
    for values in itertools.product(*options.values()):
        full = dict(zip(options, values, strict=True))
        yield _call("unipc", **full), _finite_end(FLOW, full)
    for label, path in (("EDM()", WIDE), ("RectifiedFlow()", FLOW)):
        yield f"heun on {label}", on(path, samplers.heun)
    for method in ("midpoint", "heun"):
        yield (
            _call("runge_kutta", method=method, time="rho"),
            on(FLOW, samplers.runge_kutta, method=method, time="rho"),
        )
    yield from _singlestep(run)


def _finite_end(path: Path, settings: dict[str, Any]) -> Callable[[np.ndarray], Plan]:
    """UniPC refuses sigma = 0: compared without a last step there."""
    return lambda lam: samplers.unipc(path, grids.at_lams(path, lam[np.isfinite(lam)]), **settings)


def _singlestep(run: Recovered) -> Iterator[tuple[str, Callable[[np.ndarray], Plan]]]:
    orders = np.diff(run.rule.principal).tolist()
    if not 2 <= max(orders) <= 3:
        return
    lam = run.rule.plan.lam
    for prediction in ("data", "noise"):
        for kind in ("midpoint", "taylor"):
            full = {"order": max(orders), "prediction": prediction, "solver_type": kind}
            call = _call("dpm_solver_pp", method="singlestep", inner="grid", **full)

            def make(_: np.ndarray, full: dict[str, Any] = full) -> Plan:
                return samplers.dpm_solver_pp(
                    FLOW,
                    grids.at_lams(FLOW, lam),
                    method="singlestep",
                    inner="grid",
                    orders=orders,
                    **full,
                )

            yield call, make


def _call(name: str, **settings: Any) -> str:
    """The call as a user would write it: defaults that say nothing are left out."""
    silent = {"eta": 0.0, "repaired": True, "prediction": "data", "lower_order_final": False}
    silent |= {"corrector": True, "bh": "bh2"}
    if name == "dpm_solver_pp":
        silent |= {"solver_type": "midpoint"}
    shown = {k: v for k, v in settings.items() if silent.get(k) != v}
    if settings.get("order") == 1:
        shown.pop("solver_type", None)
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


@dataclass(frozen=True)
class Best:
    """The best of the plans that we know: its call, its grid, and its rms flow error."""

    call: str
    grid: str
    flow: float


@functools.lru_cache(maxsize=256)
def best(nfe: int, first: float, last: float, clean: bool) -> Best | None:
    """The plan of `nfe` evaluations with the least flow error on the bimodal law.

    first, last: lam of its first and of its last evaluated level; clean: whether it then denoises
    to sigma = 0, with its nfe-th evaluation at `last`, or ends at `last`.
    """
    found = []
    for spacing, lam in _spacings(nfe, first, last, clean):
        for call, make in _contenders(nfe):
            try:
                plan = make(Grid(FLOW, lam))
            except (ValueError, ZeroDivisionError):
                continue
            if plan.nfe == nfe:
                error = flow_error(plan, 1, [plan.nodes - 1])
                found.append(Best(call, spacing, error))
    return min(found, key=lambda b: b.flow, default=None)


def _contenders(nfe: int) -> list[tuple[str, Callable[[Grid], Plan]]]:
    s = samplers
    lower = nfe < 15
    return [
        ("ddim()", lambda g: s.ddim(FLOW, g)),
        (
            f"dpm_solver_pp(order=2, lower_order_final={lower})",
            lambda g: s.dpm_solver_pp(FLOW, g, order=2, lower_order_final=lower),
        ),
        (
            f"dpm_solver_pp(order=3, lower_order_final={lower})",
            lambda g: s.dpm_solver_pp(FLOW, g, order=3, lower_order_final=lower),
        ),
        ("deis(degree=2, fit='log_rho')", lambda g: s.deis(FLOW, g, degree=2, fit="log_rho")),
        ("unipc(order=2)", lambda g: s.unipc(FLOW, g, order=2)),
        ("unipc(order=3)", lambda g: s.unipc(FLOW, g, order=3)),
    ]


def _spacings(nfe: int, first: float, last: float, clean: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Grids of nfe evaluations between these ends: equal in lam, Karras's, equal in flow time."""
    first = max(first, -12.0)
    if not first < last:
        return
    count = nfe if clean else nfe + 1
    if count < 2:
        return
    ends = np.exp(-np.array([first, last]))
    time = ends / (1 + ends)
    u = np.linspace(0, 1, count)
    for name, lam in {
        "equal steps in lam": first + (last - first) * u,
        "Karras": -7.0 * np.log(ends[0] ** (1 / 7) * (1 - u) + ends[1] ** (1 / 7) * u),
        "equal steps in flow time": -np.log(
            (time[0] + (time[1] - time[0]) * u) / (1 - time[0] - (time[1] - time[0]) * u)
        ),
    }.items():
        yield name, np.append(lam, math.inf) if clean else lam
