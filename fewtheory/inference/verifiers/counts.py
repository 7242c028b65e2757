"""What was recorded: for each task, how many attempts were accepted, rightly and wrongly.

Source: sheet `inference-flaws`, "Real models".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import to_numpy
from ...errors import fail, integer
from ...progress import bar


@dataclass(frozen=True, eq=False)
class Counts:
    """n attempts on each task: tp accepted and right, fp accepted and wrong, fn right but rejected.

    Arrays of integers (tasks,); n may be one number. fn: None where rejected attempts were not
    checked against the truth; then nothing right is taken to be rejected (completeness 1).
    Raises ValueError or TypeError by name.

    >>> counts = Counts(6, [2, 0], [1, 0])
    >>> counts.tasks, counts.accepted.tolist()
    (2, [3, 0])
    """

    n: Any
    tp: Any
    fp: Any
    fn: Any = None

    def __post_init__(self) -> None:
        tp = _whole("tp", self.tp)
        if tp.ndim != 1 or tp.size == 0:
            raise fail("Counts", "tp", "of shape (tasks,), one or more", tp.shape)
        columns = {"tp": tp, "fp": _whole("fp", self.fp)}
        n = _whole("n", self.n)
        columns["n"] = np.broadcast_to(n, tp.shape) if n.ndim == 0 else n
        if self.fn is not None:
            columns["fn"] = _whole("fn", self.fn)
        for name, column in columns.items():
            if column.shape != tp.shape:
                raise fail("Counts", name, f"of shape {tp.shape}", column.shape)
            if np.any(column < (1 if name == "n" else 0)):
                raise fail("Counts", name, f"at least {int(name == 'n')}", column.min())
            object.__setattr__(self, name, column)
        names = [name for name in columns if name != "n"]
        used = np.sum([columns[name] for name in names], axis=0)
        if np.any(used > columns["n"]):
            task = int(np.argmax(used > columns["n"]))
            allowed = f"at most n = {columns['n'][task]} (task {task})"
            raise fail("Counts", " + ".join(names), allowed, int(used[task]))

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return len(self.tp)

    @property
    def accepted(self) -> np.ndarray:
        """tp + fp of each task."""
        return self.tp + self.fp

    @property
    def right(self) -> np.ndarray:
        """Right attempts of each task, accepted or not."""
        return self.tp if self.fn is None else self.tp + self.fn

    def grouped(self) -> tuple[Counts, np.ndarray]:
        """The distinct rows, and how many tasks have each: no sum over tasks needs more."""
        return self._grouped

    @cached_property
    def _grouped(self) -> tuple[Counts, np.ndarray]:
        names = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        rows = np.stack([getattr(self, name) for name in names], axis=1)
        base = rows.max(axis=0).astype(object) + 1
        if np.prod(base) < 2**62:  # one number a row sorts ten times as fast
            key = np.zeros(len(rows), dtype=np.int64)
            for column, top in zip(rows.T, base, strict=True):
                key = key * int(top) + column
            _, first, weight = np.unique(key, return_index=True, return_counts=True)
        else:
            _, first, weight = np.unique(rows, axis=0, return_index=True, return_counts=True)
        return Counts(**dict(zip(names, rows[first].T, strict=True))), weight

    @classmethod
    def of_attempts(cls, task: Any, accepted: Any, correct: Any) -> Counts:
        """From one entry an attempt: its task (any labels) and two booleans.

        >>> Counts.of_attempts(["a", "a", "b"], [True, False, True], [True, True, False]).fn
        array([1, 0])
        """
        columns = [np.asarray(task), *(np.asarray(v) for v in (accepted, correct))]
        for name, column in zip(("accepted", "correct"), columns[1:], strict=True):
            if column.dtype != bool or column.shape != columns[0].shape or column.ndim != 1:
                raise fail("Counts.of_attempts", name, "booleans, one an attempt", column)
        _, index = np.unique(columns[0], return_inverse=True)
        tasks, a, c = int(index.max(initial=-1)) + 1, columns[1], columns[2]
        kinds = (index, index[a & c], index[a & ~c], index[~a & c])
        return cls(*(np.bincount(i, minlength=tasks) for i in kinds))


def _whole(name: str, value: Any) -> np.ndarray:
    """The value as integers, or an error that names it."""
    found = np.asarray(to_numpy(value))
    if found.dtype.kind not in "iu":
        raise TypeError(f"Counts: {name} must hold integers, got {value!r}")
    return found.astype(np.int64)


def record(
    model: Callable[[Any, int], Sequence[Any]],
    tasks: Iterable[Any],
    verify: Callable[[Any, Any], bool],
    truth: Callable[[Any, Any], bool] | None = None,
    *,
    n: int,
    file: str | Path | None = None,
    progress: bool = False,
) -> Counts:
    """Sample n attempts on each task, judge each by the verifier and by the truth, and count.

    model(task, n): n attempts; verify(task, attempt): the verifier's accept; truth(task, attempt):
    whether it is right (None: every accept is right). file: a JSON-lines file to which each
    finished task is added; tasks that it already holds are not sampled again, so that an
    interrupted recording goes on. `fewtheory flaws` reads it. Raises ValueError or TypeError by
    name, also for a model that gives another number of attempts and a judge that gives no boolean.
    Source: sheet `inference-flaws`, "Real models".

    >>> record(lambda task, n: [task] * n, [1, 2], lambda t, x: x > 0, lambda t, x: x > 1, n=3).tp
    array([0, 3])
    """
    integer("record", "n", n, 1)
    asked = list(tasks)
    if not asked:
        raise fail("record", "tasks", "one or more", asked)
    rows = _kept(Path(file), n, len(asked)) if file is not None else []
    with bar(progress, len(asked), "tasks") as show:
        for index, task in enumerate(asked):
            if index < len(rows):
                continue
            row = {"task": index, "n": n, **_judged(model, task, verify, truth, n)}
            rows.append(row)
            if file is not None:
                with open(file, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
            show(index + 1)
    return Counts(n, *([row[name] for row in rows] for name in ("tp", "fp", "fn")))


def _judged(model: Any, task: Any, verify: Any, truth: Any, n: int) -> dict[str, int]:
    """The counts of one task."""
    attempts = model(task, n)
    if len(attempts) != n:
        raise fail("record", "model", f"a function that gives n = {n} attempts", len(attempts))
    row = {"tp": 0, "fp": 0, "fn": 0}
    for attempt in attempts:
        accepted = verify(task, attempt)
        right = accepted if truth is None else truth(task, attempt)
        for name, said in (("verify", accepted), ("truth", right)):
            if not isinstance(said, (bool, np.bool_)):
                raise TypeError(f"record: {name} must give True or False, got {said!r}")
        if accepted or right:
            row["tp" if accepted and right else "fp" if accepted else "fn"] += 1
    return row


def _kept(file: Path, n: int, tasks: int) -> list[dict[str, int]]:
    """The tasks that a recording has finished, in order; a last line cut short is dropped."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    rows = [json.loads(line) for line in whole.splitlines()]
    for index, row in enumerate(rows):
        if row.get("task") != index or row.get("n") != n or index >= tasks:
            wanted = f"a recording of these {tasks} tasks with n = {n}"
            raise fail("record", "file", wanted, row)
    if whole != text:
        file.write_text(whole, encoding="utf-8")
    return rows
