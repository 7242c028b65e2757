"""USF's solver schedules: from the `.pth` files of its repository to plans.

Liu, Ning, Yang, Wang (2023), arXiv 2312.07243, `thu-nics/USF`; sheet `usf-s3`, "Real models". A
file holds a dict, or a list that begins with one, of

    timesteps (M + 1), orders, prediction_types, start_points, derivative_types, corrector_types,
    afs, skip_coefficients,

a derivative being {estimate, active_points, relaxation, relaxation_coefficient} and a corrector
{type, start_point, taylor_order, derivative_type}. What to know before comparing with its code:

- skip coefficients change the network; a plan cannot hold them;
- an "implicit" corrector runs there as a pseudo one: the test for it is never true;
- "zero_x0" on EDM puts noise = x / sigma but data = x - sigma x, as if it were noise = x: the two
  contradict each other (data is -79 x at sigma = 80). Here both mean x0hat = 0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..arrays import to_numpy
from ..errors import MissingExtra, fail, finite_array
from ..paths import Path
from ..plan import Plan
from .model_statistics import ModelStatistics
from .solver_decisions import Decision, Estimate, Scaling, Taylor
from .solver_schedule import solver_schedule

TYPES = {
    "data_prediction": "data",
    "noise_prediction": "noise",
    "dpmsolver_v3_prediction": "v3",
}
SCALINGS = {
    None: None,
    "no_relaxation": None,
    "dpmsolver-2": "bh2",
    "unipc-bh2": "bh2",
    "unipc-bh1": "bh1",
    "0.5exp": "0.5exp",
    "-0.5exp": "-0.5exp",
}
AFS = {"no_afs": "none", "zero_x0": "zero", "average_x0": "mean"}
CORRECTORS = {"no_corrector": None, "pseudo": "pseudo", "implicit": "implicit"}
LISTS = ("orders", "prediction_types", "start_points", "derivative_types", "corrector_types")


class UsfSchedule(NamedTuple):
    """A file's content: times from noise to data, decisions, afs and the skip coefficients."""

    times: list[float]
    decisions: list[Decision]
    afs: str
    skip_coefficients: list[float]


def load_usf(
    file: str | os.PathLike[str],
    path: Path,
    *,
    mean: Any = 0.0,
    statistics: ModelStatistics | None = None,
) -> Plan:
    """The plan of a file of USF on the path that it was searched on.

    mean: of the data, for afs="average_x0"; statistics: for steps of type "dpmsolver_v3". Raises
    ValueError that names the file and the key for anything else, and for skip coefficients other
    than 1, which `read_usf` gives. Loading executes no code.
    """
    found = read_usf(file)
    if any(c != 1 for c in found.skip_coefficients):
        allowed = "1 for a plan: others change the network (`read_usf` gives them)"
        raise fail(f"load_usf: {os.fspath(file)}", "skip_coefficients", allowed, found[3])
    chosen = {"afs": found.afs, "mean": mean, "statistics": statistics}
    return solver_schedule(path, found.times, found.decisions, **chosen)


def read_usf(file: str | os.PathLike[str], *, implicit: str = "pseudo") -> UsfSchedule:
    """What a file says. implicit: how its implicit correctors are taken, "pseudo" as the repository
    runs them, or "implicit" as they are meant."""
    if implicit not in ("pseudo", "implicit"):
        raise fail("read_usf", "implicit", "'pseudo' or 'implicit'", implicit)
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("verify", "read_usf") from error
    where = f"read_usf: {os.fspath(file)}"
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises several kinds, for a file that is none and for code
        raise ValueError(f"{where}: not a file of tensors and plain data ({error})") from None
    return from_usf(held, where, implicit=implicit)


def from_usf(held: Any, where: str = "from_usf", *, implicit: str = "pseudo") -> UsfSchedule:
    """The schedule of a dict as USF's files hold it; a ValueError names `where` and the key."""
    if isinstance(held, (list, tuple)) and held:
        held = held[0]
    if not isinstance(held, Mapping):
        raise fail(where, "content", "a dict, or a list that begins with one", type(held).__name__)
    for key in ("timesteps", *LISTS):
        if key not in held:
            raise fail(where, "content", f"a dict with {key!r}", sorted(held))
    times = finite_array(where, "timesteps", to_numpy(held["timesteps"]))
    steps = times.size - 1
    for key in LISTS:
        if not isinstance(held[key], Sequence) or len(held[key]) != steps:
            raise fail(where, key, f"{steps} entries, one a step", held[key])
    columns = [held[key] for key in LISTS]
    decisions = [_decision(where, row, implicit) for row in zip(*columns, strict=True)]
    afs = _named(where, "afs", held.get("afs", "no_afs"), AFS)
    skip = finite_array(where, "skip_coefficients", to_numpy(held.get("skip_coefficients", [])))
    return UsfSchedule(times.tolist(), decisions, afs, skip.tolist())


def _decision(where: str, row: Sequence[Any], implicit: str) -> Decision:
    order, kind, start, derivatives, corrector = row
    kind = _named(where, "prediction_types", kind, TYPES)
    if not isinstance(corrector, Mapping):
        raise fail(where, "corrector_types", "a dict a step", corrector)
    correct = _named(where, "corrector_types", corrector.get("type"), CORRECTORS)
    taylor = _taylor(where, "derivative_types", order, derivatives)
    try:
        if correct is None:
            return Decision(kind, *taylor, start)
        if corrector.get("start_point") != start - 1:
            raise fail(where, "corrector_types", f"from start_point {start - 1}", corrector)
        wanted = corrector.get("taylor_order"), corrector.get("derivative_type")
        correction = _taylor(where, "corrector_types", *wanted)
        how = implicit if correct == "implicit" else "pseudo"
        return Decision(kind, *taylor, start, how, correction)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def _taylor(where: str, key: str, order: Any, derivatives: Any) -> Taylor:
    """Order, active points and the first derivative's relaxation."""
    if not isinstance(order, int) or not isinstance(derivatives, (list, tuple)):
        raise fail(where, key, "an order and a list of derivatives", (order, derivatives))
    estimates: list[Estimate] = []
    scaling: Scaling = None
    for d, entry in enumerate(derivatives[: order - 1], start=1):
        if not isinstance(entry, Mapping):
            raise fail(where, key, "dicts, one a derivative", entry)
        estimates.append(_estimate(where, key, entry))
        name = entry.get("relaxation")  # of the first derivative alone; others are not read
        if d == 1 and name == "linear":
            scaling = float(entry.get("relaxation_coefficient", 0.0))
        elif d == 1:
            scaling = _named(where, key, name, SCALINGS)
    if len(estimates) < order - 1:
        raise fail(where, key, f"{order - 1} derivatives at order {order}", derivatives)
    return Taylor(order, tuple(estimates), scaling)


def _estimate(where: str, key: str, entry: Mapping[str, Any]) -> Estimate:
    """The active points, as many as "Difference_n" says; n of the newest where none are named."""
    kind, _, count = str(entry.get("estimate")).partition("_")
    points = entry.get("active_points")
    named = points is None or (isinstance(points, (list, tuple)) and len(points) == int(count or 0))
    if kind != "Difference" or not count.isdigit() or not named:
        raise fail(where, key, "'Difference_n' of n active_points", dict(entry))
    return int(count) if points is None else tuple(points)


def _named(where: str, key: str, value: Any, names: Mapping[Any, Any]) -> Any:
    if not (value is None or isinstance(value, str)) or value not in names:
        allowed = "one of " + ", ".join(repr(n) for n in names)
        raise fail(where, key, allowed, value)
    return names[value]
