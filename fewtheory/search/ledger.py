"""What a search has found out: each candidate's value once, in order, within a budget.

A search is a deterministic function of its seed and of the values that it is told. So it resumes by
being run again with the values that are known already: it asks for the same candidates, is answered
from memory, and goes on where it stopped. No method keeps a state of its own that would have to be
saved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import fail
from ..files import write_whole
from ..shapes import Float

Candidate: TypeAlias = tuple[Any, ...]  # of numbers, strings, None and such tuples


@dataclass(frozen=True)
class Trial:
    """One evaluation: the candidate, its value (lower is better), and the stage that asked."""

    candidate: Candidate
    value: float
    stage: str


@dataclass(frozen=True)
class SearchResult:
    """The best plan, and every evaluation that led to it.

    plan: what the space builds of the best candidate; value: its objective; evaluations: distinct
    candidates that were valued; status: why the search ended; success: whether any value is finite.
    """

    plan: Any
    candidate: Candidate
    value: float
    history: tuple[Trial, ...]
    status: str

    @property
    def evaluations(self) -> int:
        """How many candidates were valued."""
        return len(self.history)

    @property
    def success(self) -> bool:
        """Whether the best value is finite."""
        return math.isfinite(self.value)

    @property
    def best_so_far(self) -> Float[np.ndarray, "evaluations"]:
        """The best value after each evaluation."""
        return np.minimum.accumulate([trial.value for trial in self.history])

    def regret(self, optimum: float) -> Float[np.ndarray, "evaluations"]:
        """best_so_far / optimum - 1: how far the search is from a known positive optimum."""
        if not optimum > 0:
            raise fail("SearchResult.regret", "optimum", "positive", optimum)
        return self.best_so_far / optimum - 1


class BudgetSpent(Exception):
    """The next evaluation would be one too many. Only a search's driver sees it."""


class Ledger:
    """Values candidates, each once: `ask(stage, candidates)` gives their values in order.

    objective: of what the space builds; known: values from an earlier run, which are not computed
    again; record: called with each trial that was computed.
    """

    def __init__(
        self,
        space: Any,
        objective: Callable[[Any], Any],
        budget: int,
        known: Mapping[Candidate, float],
        record: Callable[[Trial], None],
    ):
        self.space, self.objective, self.budget = space, objective, budget
        self.known, self.record = known, record
        self.history: list[Trial] = []
        self.values: dict[Candidate, float] = {}

    def __contains__(self, candidate: Candidate) -> bool:
        return candidate in self.values

    def ask(self, stage: str, candidates: Iterable[Candidate]) -> list[float]:
        """Their values; raises BudgetSpent before an evaluation beyond the budget."""
        return [self._ask(stage, c) for c in candidates]

    def _ask(self, stage: str, candidate: Candidate) -> float:
        if candidate not in self.values:
            if len(self.history) >= self.budget:
                raise BudgetSpent
            is_new = candidate not in self.known
            value = (
                float(self.objective(self.space.build(candidate)))
                if is_new
                else self.known[candidate]
            )
            if math.isnan(value):
                raise fail("search", "objective", f"a number at candidate {candidate}", value)
            trial = Trial(candidate, value, stage)
            self.history.append(trial)
            self.values[candidate] = value
            if is_new:
                self.record(trial)
        return self.values[candidate]


class Journal:
    """A ledger on disk: a header that says which search it is, then one JSON line a trial.

    A last line that was cut off is dropped. Raises ValueError where the file is of another search.
    """

    def __init__(self, file: str | Path, header: Mapping[str, Any]):
        self.file = Path(file)
        self.trials: list[Trial] = []
        first = json.dumps(header, default=repr)
        if self.file.exists():
            whole = self.file.read_text(encoding="utf-8").split("\n")[:-1]
            if not whole or whole[0] != first:
                raise fail("search", "file", f"the journal of {first}", whole[:1])
            self.trials = [self._trial(i, line) for i, line in enumerate(whole[1:], start=2)]
        lines = [first, *(self._line(t) for t in self.trials)]
        write_whole(self.file, "\n".join(lines) + "\n")

    def _trial(self, number: int, line: str) -> Trial:
        try:
            entry = json.loads(line)
            return Trial(as_tuple(entry["candidate"]), float(entry["value"]), entry["stage"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"search: file {self.file} must hold a trial in line {number}, got {line!r}"
            ) from None

    def _line(self, trial: Trial) -> str:
        entry = {"candidate": trial.candidate, "value": trial.value, "stage": trial.stage}
        return json.dumps(entry)

    def append(self, trial: Trial) -> None:
        """Add a trial; it is on disk when this returns."""
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(self._line(trial) + "\n")


def as_tuple(value: Any) -> Any:
    """Nested lists, as JSON gives them, as nested tuples."""
    return tuple(as_tuple(v) for v in value) if isinstance(value, (list, tuple)) else value


def best(history: Sequence[Trial]) -> Trial:
    """The trial of least value, the first one among equals."""
    return min(history, key=lambda trial: trial.value)
