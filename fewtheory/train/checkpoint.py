"""Checkpoints of a training run: one file, written whole, read without running code."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ..files import write_whole, writing

FORMAT, VERSION = "fewtheory-training", 1


def file_in(folder: str | os.PathLike[str]) -> Path:
    """The checkpoint's place in a run's folder."""
    return Path(folder) / "checkpoint.pt"


def save(folder: str | os.PathLike[str], state: dict[str, Any]) -> Path:
    """Write checkpoint.pt and log.jsonl into the folder, each whole or not at all."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with writing(file_in(folder)) as stream:
        torch.save({"format": FORMAT, "version": VERSION, **state}, stream)
    write_whole(Path(folder) / "log.jsonl", "".join(json.dumps(r) + "\n" for r in state["log"]))
    return file_in(folder)


def load(folder: str | os.PathLike[str], device: torch.device) -> dict[str, Any]:
    """Read a checkpoint; ValueError that names the file for anything that is none."""
    file = file_in(folder)
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"fit: {file} is no checkpoint ({str(error)[:80]})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"fit: {file} is no checkpoint of a fewtheory training")
    if state.get("version") != VERSION:
        raise ValueError(f"fit: {file} must be of version {VERSION}, got {state.get('version')!r}")
    return state
