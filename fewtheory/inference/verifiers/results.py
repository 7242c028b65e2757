"""A file of results, read as it stands: nothing is guessed, and what is malformed is named.

CSV with a header, JSON lines (.jsonl, .ndjson) or Parquet, in one of two forms, told by columns:

| one row a problem | one row an attempt |
| --- | --- |
| n, tp, fp: attempts, accepted and right, accepted and wrong | task: any label |
| fn (optional): right but rejected | accepted: true or false, 1 or 0 |
| or n, c: attempts and right ones, where no verifier was at work | correct: likewise |
| task (optional): a label, each once | |

Other columns are left alone. Sheet `inference-flaws`, "Real models".
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import fail
from ..table_rows import Malformed, csv_rows, json_rows
from .counts import Counts

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
BOOLEANS: dict[Any, bool] = {
    "1": True, "true": True, "True": True, "TRUE": True,
    "0": False, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
ATTEMPT = ("task", "accepted", "correct")


def read_results(file: str | os.PathLike[str]) -> tuple[Counts, bool]:
    """The counts in a file, and whether a verifier's accepts are in it (not for columns n, c).

    Raises ValueError that names line and column of what is malformed (the first 20 of them), and
    the columns that are missing, and an ImportError that names what to install for Parquet.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "results.csv"
    >>> _ = file.write_text("n,tp,fp\\n6,2,1\\n6,0,1\\n")
    >>> read_results(file)[0].tp.tolist()
    [2, 0]
    """
    path = Path(file)
    wrong = Malformed(str(path), "read_results")
    if path.suffix == ".parquet":
        columns, rows = _parquet(path)
        return _read(columns, rows, wrong)
    with open(path, encoding="utf-8-sig", newline="") as stream:
        try:
            is_json = path.suffix in JSON_SUFFIXES
            columns, rows = (json_rows if is_json else csv_rows)(stream, wrong)
            return _read(columns, rows, wrong)
        except UnicodeDecodeError as error:
            raise ValueError(f"read_results: {path}: must be UTF-8 text, {error}") from None


def _parquet(path: Path) -> tuple[list[str], Iterable[tuple[int, list[Any]]]]:
    """Columns and rows, counted from 1, through pandas and pyarrow."""
    try:
        import pandas

        importlib.import_module("pyarrow")  # pandas needs it for Parquet
    except ModuleNotFoundError as error:
        raise ImportError(
            f"read_results: a Parquet file needs pandas and pyarrow ({error.name} is missing): "
            "pip install pandas pyarrow"
        ) from None
    try:
        frame = pandas.read_parquet(path)
    except OSError as error:
        if not path.exists():
            raise
        raise ValueError(f"read_results: {path}: must be a Parquet file, {error}") from None
    values = zip(*(frame[name].tolist() for name in frame.columns), strict=True)
    return [str(c) for c in frame.columns], ((i, list(v)) for i, v in enumerate(values, 1))


def _read(
    columns: list[str], rows: Iterable[tuple[int, list[Any]]], wrong: Malformed
) -> tuple[Counts, bool]:
    """Counts from rows of either form."""
    attempts = set(ATTEMPT) <= set(columns)
    forms = [names for names in (("n", "tp", "fp"), ("n", "c")) if set(names) <= set(columns)]
    if len(forms) + attempts != 1:
        wrong.check()
        allowed = "n, tp, fp (and fn) or n, c or task, accepted, correct: one of these three"
        raise fail("read_results", "columns", allowed, columns)
    if attempts:
        return _attempts([columns.index(name) for name in ATTEMPT], rows, wrong), True
    names = [*forms[0], *(["fn"] if "fn" in columns and "tp" in forms[0] else [])]
    label = columns.index("task") if "task" in columns else None
    return _problems(names, [columns.index(v) for v in names], label, rows, wrong), "tp" in names


def _attempts(places: list[int], rows: Any, wrong: Malformed) -> Counts:
    """Counts of rows that are attempts."""
    at_task, at_accepted, at_correct = places
    index: dict[Any, int] = {}
    tasks, codes = [], []
    known = BOOLEANS.get
    for line, row in rows:
        task, a, c = row[at_task], row[at_accepted], row[at_correct]
        accepted = a if a is True or a is False else known(a)
        correct = c if c is True or c is False else known(c)
        if accepted is None or correct is None or task is None or task == "":
            _name_attempt(line, task, (a, accepted), (c, correct), wrong)
            continue
        tasks.append(index.setdefault(task, len(index)))
        codes.append(2 * accepted + correct)
    wrong.check()
    _some(tasks)
    at, code = np.array(tasks), np.array(codes)
    table = np.bincount(4 * at + code, minlength=4 * len(index)).reshape(-1, 4)
    return Counts(table.sum(axis=1), table[:, 3], table[:, 2], table[:, 1])


def _name_attempt(line: int, task: Any, accepted: Any, correct: Any, wrong: Malformed) -> None:
    if task is None or task == "":
        wrong.add(line, "task", "a label", task)
    for name, (raw, read) in (("accepted", accepted), ("correct", correct)):
        if read is None:
            wrong.add(line, name, "true or false, 1 or 0", raw)


def _problems(
    names: list[str], places: list[int], label: int | None, rows: Any, wrong: Malformed
) -> Counts:
    """Counts of rows that are problems."""
    kept: list[list[int]] = []
    seen: set[Any] = set()
    known: dict[Any, Any] = {}  # texts that were read before: counts repeat
    for line, row in rows:
        numbers = []
        for i in places:
            raw = row[i]
            if type(raw) is not str:
                numbers.append(_whole(raw))
                continue
            if raw not in known:
                known[raw] = _whole(raw)
            numbers.append(known[raw])
        if None in numbers:
            for name, i, number in zip(names, places, numbers, strict=True):
                if number is None:
                    wrong.add(line, name, "a whole number of at least 0", row[i])
            continue
        if numbers[0] < 1 or sum(numbers[1:]) > numbers[0]:
            name = "n" if numbers[0] < 1 else " + ".join(names[1:])
            allowed = "at least 1" if numbers[0] < 1 else f"at most n = {numbers[0]}"
            wrong.add(line, name, allowed, numbers[0] if numbers[0] < 1 else sum(numbers[1:]))
        elif label is not None and row[label] in seen:
            wrong.add(line, "task", "a label not used before", row[label])
        else:
            kept.append(numbers)
        if label is not None:
            seen.add(row[label])
    wrong.check()
    _some(kept)
    n, *rest = np.array(kept, dtype=np.int64).T
    return Counts(n, rest[0], np.zeros_like(n)) if names == ["n", "c"] else Counts(n, *rest)


def _whole(value: Any) -> Any:
    """The value as an integer of at least 0, or None: no sign, no blank, no fraction."""
    if type(value) is str:
        return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None
    return value if type(value) is int and 0 <= value < 10**15 else None


def _some(rows: list[Any]) -> None:
    if not rows:
        raise fail("read_results", "file", "with a row of data", "none")
