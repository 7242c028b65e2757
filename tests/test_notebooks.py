"""Every notebook runs from top to bottom and writes its figures and their data."""

from __future__ import annotations

import json
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
# what networks learn in the notebook itself: a processor that rounds in another way trains another
TRAINED = {"niwmeta": "networks", "ocsampler": "digits"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: f.stem)
def test_notebook_runs_and_writes_what_is_committed(file, tmp_path):
    (tmp_path / "paper_figs").mkdir()
    (tmp_path / "docs").symlink_to(ROOT / "docs")  # committed results, which some read
    notebook = nbformat.read(file, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    written = sorted((tmp_path / "paper_figs").iterdir())
    records = [f for f in written if f.suffix == ".json"]
    assert {f.stem for f in records} == {f.stem for f in written if f.suffix == ".png"} != set()
    for record in records:
        fresh = json.loads(record.read_text())
        kept = json.loads((ROOT / "paper_figs" / record.name).read_text())
        learnt = TRAINED.get(record.stem)
        if learnt is not None:
            again, before = (_numbers(r.pop(learnt)) for r in (fresh, kept))
            assert len(again) == len(before) > 0
            assert np.all(np.isfinite(again))
        # another LAPACK may turn the axes of constant pixels, whose share of an error is under 1e-3
        assert _numbers(fresh) == pytest.approx(_numbers(kept), rel=1e-2), record.name


def _numbers(record):
    """Every number of a nested record, in order."""
    if isinstance(record, dict):
        return [n for value in record.values() for n in _numbers(value)]
    if isinstance(record, list):
        return [n for value in record for n in _numbers(value)]
    return [record] if isinstance(record, (int, float)) else []
