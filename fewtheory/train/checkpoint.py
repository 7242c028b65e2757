"""Checkpoints of a training run: one file, written whole, read without running code."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..files import write_whole, writing

FORMAT, VERSION = "fewtheory-training", 1
FIELDS = {"seed", "step", "players", "scaler", "log"}


def file_in(folder: str | os.PathLike[str]) -> Path:
    """The checkpoint's place in a run's folder."""
    return Path(folder) / "checkpoint.pt"


def save(folder: str | os.PathLike[str], state: dict[str, Any]) -> Path:
    """Write checkpoint.pt and log.jsonl into the folder, each whole or not at all."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with writing(file_in(folder)) as stream:
        torch.save({"format": FORMAT, "version": VERSION, **state}, stream)
    lines = "".join(json.dumps(record) + "\n" for record in state["log"]["records"])
    write_whole(Path(folder) / "log.jsonl", lines)
    return file_in(folder)


def load(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint, to the CPU; ValueError that names the file for anything that is none."""
    file = file_in(folder)
    with open(file, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as parts:  # torch.load does not compare checksums
                damaged = parts.testzip()
            if damaged is not None:
                raise ValueError(f"its part {damaged} is damaged")
            stream.seek(0)
            state = torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # readers of foreign bytes raise anything
            raise ValueError(f"fit: {file} is no checkpoint ({str(error)[:80]})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"fit: {file} is no checkpoint of a fewtheory training")
    if state.get("version") != VERSION:
        raise ValueError(f"fit: {file} must be of version {VERSION}, got {state.get('version')!r}")
    if missing := FIELDS - state.keys():
        raise ValueError(f"fit: {file} must hold {sorted(missing)}, got {sorted(state)}")
    return state
