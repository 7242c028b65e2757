"""Conventions as plain data, which a saved scheduler keeps, and the one that a plan implies.

What a network expects must survive a file, and a file holds no code: the path and the units of time
are a name and numbers each.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch

from ...arrays import Array, as_like, to_numpy
from ...errors import fail, one_of
from ...model import PREDICTIONS, over_event
from ...paths import EDM, NAMED, Path, RectifiedFlow, Table, _VariancePreserving
from ...plan import Plan
from . import units
from .convention import Convention
from .units import Affine

ENTRIES = 1000  # of the tables that diffusers' networks are trained on
ENDS = {"inf": math.inf, "-inf": -math.inf}  # which JSON has no numbers for


@dataclass(frozen=True)
class Levels(_VariancePreserving):
    """A variance-preserving path known at some levels, log alpha linear in t between them.

    lams: increasing, finite; times: decreasing, in the network's own units; both (levels,). What
    the path does between is a guess, so it has no derivatives: they raise TypeError.
    """

    lams: tuple[float, ...]
    times: tuple[float, ...]
    name: ClassVar[str] = "levels"

    def __post_init__(self) -> None:
        lams, times = (np.array(v, dtype=np.float64) for v in (self.lams, self.times))
        if lams.ndim != 1 or lams.size < 1 or not np.all(np.isfinite(lams)):
            raise fail("Levels", "lams", "finite, one or more", self.lams)
        if np.any(np.diff(lams) <= 0):
            raise fail("Levels", "lams", "strictly increasing", self.lams)
        if times.shape != lams.shape or not np.all(np.diff(times) <= 0):
            raise fail("Levels", "times", "as many as lams, and decreasing", self.times)
        ends = {"t_min": times[-1], "t_max": times[0], "start": times[0], "end": times[-1]}
        for name, value in ends.items():
            object.__setattr__(self, name, float(value))

    @property
    def _values(self) -> np.ndarray:
        return 0.5 * np.logaddexp(0.0, -2 * np.array(self.lams))  # -log alpha, decreasing

    def _g(self, xp: Any, t: Array) -> Array:
        value = np.interp(to_numpy(t), self.times[::-1], self._values[::-1])
        return value if xp is np else as_like(value, t)

    def _t_of_g(self, xp: Any, g: Array) -> Array:
        value = np.interp(to_numpy(g), self._values[::-1], self.times[::-1])
        return value if xp is np else as_like(value, g)


PATHS: Mapping[str, type[Path]] = MappingProxyType({**NAMED, Levels.name: Levels})


def implied(plan: Plan) -> Convention:
    """What a network is taken to expect when only the plan is known: that it is on the plan's path.

    alpha = 1: it takes sigma and predicts the data. alpha + sigma = 1: flow matching, 1000 t.
    alpha^2 + sigma^2 = 1: it takes the entry 1000 t - 1 of a table and predicts the noise. Raises
    ValueError for levels on none of these.

    >>> import fewtheory as ft
    >>> path = ft.paths.RectifiedFlow()
    >>> implied(ft.samplers.euler(path, [0.9, 0.5, 0.1])).prediction
    'flow'
    """
    alpha, sigma = plan.alpha, plan.sigma
    if np.all(alpha == 1):
        path = EDM(min(EDM.sigma_min, sigma[sigma > 0].min()), max(EDM.sigma_max, sigma.max()))
        return Convention(path, "data", Affine(1.0, 0.0))
    if np.allclose(alpha + sigma, 1, rtol=0, atol=1e-9):
        return Convention(RectifiedFlow(), "flow", Affine(float(ENTRIES), 0.0))
    if not np.allclose(np.hypot(alpha, sigma), 1, rtol=0, atol=1e-9):
        raise ValueError(
            "scheduler: like must be given (the scheduler that the plan replaces) for a plan whose "
            f"levels are on no usual path, got None and alpha={alpha}, sigma={sigma}"
        )
    lams, at = np.unique(plan.lam, return_index=True)
    kept = np.isfinite(lams)
    times = ENTRIES * plan.t[at][kept] - 1
    return Convention(
        Levels(tuple(lams[kept].tolist()), tuple(times.tolist())), "noise", Affine(1.0, 0.0)
    )


def record(told: Convention) -> dict[str, Any]:
    """The convention as plain data. Raises ValueError for units of time that have no record."""
    if type(told.path) not in PATHS.values():
        raise fail("scheduler", "like", "on one of the package's paths", told.path)
    path: Any = told.path  # each of PATHS is a dataclass, which their base does not say
    names = [f.name for f in dataclasses.fields(path) if f.init]
    return {
        "path": told.path.name,
        "values": {name: _plain(getattr(told.path, name)) for name in names},
        "prediction": told.prediction,
        "units": _units(told),
        "sigma_data": told.sigma_data,
        "sign": told.sign,
    }


def _units(told: Convention) -> dict[str, Any]:
    for name, kind in units.NAMED.items():
        if type(told.timestep) is kind:
            return {"name": name, **dataclasses.asdict(told.timestep)}
    raise fail("scheduler", "like", f"with units of time of {[*units.NAMED]}", told.timestep)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return list(value)
    return repr(value) if value in ENDS.values() else value


def from_record(record: Any, where: str) -> Convention:
    """The convention of a record; a ValueError names `where` for anything else."""
    try:
        one_of(where, "path", record["path"], PATHS)
        one_of(where, "prediction", record["prediction"], PREDICTIONS)
        values = {name: _number(v) for name, v in record["values"].items()}
        path, told = PATHS[record["path"]](**values), dict(record["units"])
        one_of(where, "units", told["name"], units.NAMED)
        timestep = units.NAMED[told.pop("name")](**told)
        sigma_data, sign = record["sigma_data"], int(record["sign"])
        one_of(where, "sign", sign, (1, -1))
        if sigma_data is not None:
            sigma_data = float(sigma_data)
        return Convention(path, record["prediction"], timestep, sigma_data, sign)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: convention is not a record of one ({error})") from None


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return ENDS[value] if value in ENDS else value


def level_at(told: Convention, where: str, timesteps: Any, like: Any) -> tuple[Array, Array]:
    """(alpha, sigma) at the network's times, a number or one a row of `like`, which they multiply.

    Raises ValueError for times that are not the network's.
    """
    path, host = told.path, np.atleast_1d(to_numpy(torch.as_tensor(timesteps).double()))
    if host.ndim > 1 or host.size not in (1, like.shape[0]):
        raise fail(where, "timesteps", f"a number or {like.shape[0]} of them", timesteps)
    t = told.timestep.inverse(host)
    high = 1.0 if isinstance(path, Table) else path.t_max  # of a table its clipped end too
    slack = 1e-5 * high  # the times may have been rounded to float32
    if not np.all((t >= path.t_min - slack) & (t <= high + slack)):
        raise fail(where, "timesteps", "within the network's", timesteps)
    t = np.clip(t, path.t_min, path.t_max)
    alpha, sigma = (as_like(v, like) for v in (path.alpha(t), path.sigma(t)))
    return over_event(alpha, like), over_event(sigma, like)
