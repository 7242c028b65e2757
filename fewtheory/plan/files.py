"""Plans in files: JSON, exact to the last bit, written whole or not at all, never code."""

from __future__ import annotations

import json
import os
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from ..files import write_whole
from .hooks import Hook
from .plan import Plan

FORMAT, VERSION = "fewtheory-plan", 1
ARRAYS = ("P", "B", "C", "d", "lam", "alpha", "sigma", "t")


def record(plan: Plan) -> dict[str, Any]:
    """The plan as plain data that JSON holds to the last bit: what a file or a config stores."""
    out: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": plan.name,
        "prediction": plan.prediction,
        "hooks": [{"name": h.name, "settings": dict(h.settings)} for h in plan.hooks],
        "settings": {k: _plain(v) for k, v in plan.settings.items()},
    }
    for name in ARRAYS:
        value = getattr(plan, name)
        flat = [v if np.isfinite(v) else repr(float(v)) for v in value.ravel().tolist()]
        out[name] = {"shape": list(value.shape), "values": flat}
    return out


def _plain(value: Any) -> Any:
    """A setting as JSON: numbers, strings and sequences of them; else its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else repr(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return repr(value)


def from_record(record: Any, where: str) -> Plan:
    """The plan of a record; a ValueError names `where` and the field for anything else."""

    def bad(field: str, why: str) -> ValueError:
        return ValueError(f"{where}: field {field!r} {why}")

    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise bad("format", f"must be {FORMAT!r}")
    if record.get("version") != VERSION:
        raise bad("version", f"must be {VERSION}, got {record.get('version')!r}")
    arrays = {}
    for name in ARRAYS:
        try:
            entry = record[name]
            values = np.array([float(v) for v in entry["values"]], dtype=np.float64)
            arrays[name] = values.reshape([int(k) for k in entry["shape"]])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise bad(name, f"is not an array ({error})") from None
    for name in ("name", "prediction"):
        if not isinstance(record.get(name), str):
            raise bad(name, "must be a string")
    try:
        hooks = tuple(Hook(h["name"], h["settings"]) for h in record["hooks"])
    except (KeyError, TypeError, ValueError) as error:
        raise bad("hooks", f"is not a list of hooks ({error})") from None
    settings = record.get("settings")
    if not isinstance(settings, dict):
        raise bad("settings", "must be an object")
    facts = {"name": record["name"], "prediction": record["prediction"], "settings": settings}
    try:
        return Plan(**arrays, **facts, hooks=hooks)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def save(plan: Plan, file: str | os.PathLike[str]) -> None:
    """See `Plan.save`."""
    write_whole(file, json.dumps(record(plan), allow_nan=False) + "\n")


def load(file: str | os.PathLike[str]) -> Plan:
    """Read a plan written by `Plan.save`.

    Raises ValueError that names the file and the field for anything else. A loaded plan has no
    `family`: give one to `Plan.order`.
    """
    where = f"load: {os.fspath(file)}"
    try:
        found = json.loads(FilePath(file).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not a plan file (not JSON: {error})") from None
    return from_record(found, where)
