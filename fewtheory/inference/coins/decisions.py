"""A file of yes/no decisions, read as it stands: nothing is guessed, what is malformed is named.

CSV with a header, or JSON lines (.jsonl, .ndjson): one answer a row, in the order in which they
were given.

| column | holds |
| --- | --- |
| answer | a word for yes, for no, or for a refusal |
| model, prompt, temperature | what tells cells apart; any that are there (or others, by name) |
| call | optional: answers of one call are a series of its own (few-shot) |
| p_yes, p_no | optional: exact probabilities of that answer's position |

A row may lack an answer (empty, or null) only where it has p_yes. Refusals are counted and left out
of the series. Sheet `binary-bias`, "Pitfalls" and C11.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..table_rows import Malformed, csv_rows, json_rows

CELLS = ("model", "prompt", "temperature")
YES, NO, REFUSAL, NOTHING = 1, 0, -1, -2
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_Lists: TypeAlias = tuple[list[int], list[float], list[float]]


@dataclass(eq=False)
class Cell:
    """One cell's answers. key: (column, value) pairs; answers: a list of codes for each call, 1 is
    yes, 0 no, -1 a refusal, -2 none given; p_yes, p_no: likewise, NaN where not given.
    """

    key: tuple[tuple[str, str], ...]
    answers: dict[str, list[int]] = field(default_factory=dict)
    p_yes: dict[str, list[float]] = field(default_factory=dict)
    p_no: dict[str, list[float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The values of the cell's columns; "all" where there are none."""
        return ", ".join(value for _, value in self.key) or "all"

    def _all(self, held: dict[str, list[Any]], dtype: Any) -> np.ndarray:
        return np.concatenate([np.array(v, dtype=dtype) for v in held.values()])

    @property
    def refusals(self) -> int:
        """How many answers are neither."""
        return int((self._all(self.answers, np.int8) == REFUSAL).sum())

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(len(v) for v in self.answers.values())

    @property
    def series(self) -> list[np.ndarray]:
        """The yes and no of each call in their order, refusals left out; calls without any too."""
        kept = (np.array(v, dtype=np.int8) for v in self.answers.values())
        return [s for s in (v[v >= 0] for v in kept) if s.size]

    @property
    def probabilities(self) -> np.ndarray | None:
        """P(yes) among yes and no of each row, (rows,); None unless every row has p_yes."""
        if not self.p_yes:
            return None
        yes, no = self._all(self.p_yes, np.float64), self._all(self.p_no, np.float64)
        if np.any(np.isnan(yes)):
            return None
        whole = yes + np.where(np.isnan(no), 1 - yes, no)
        return np.divide(yes, whole, out=np.full(yes.shape, np.nan), where=whole > 0)

    @property
    def leak(self) -> float | None:
        """The mean of 1 - p_yes - p_no over the rows that have both; None where none has."""
        if not self.p_yes:
            return None
        rest = 1 - self._all(self.p_yes, np.float64) - self._all(self.p_no, np.float64)
        rest = rest[~np.isnan(rest)]
        return float(np.clip(rest, 0, None).mean()) if rest.size else None

    @property
    def answered(self) -> np.ndarray:
        """Which rows hold a yes or a no, (rows,)."""
        return self._all(self.answers, np.int8) >= 0


@dataclass(frozen=True, eq=False)
class Decisions:
    """The cells of a file, in the order in which they first appear, and the columns not used."""

    file: str
    cells: tuple[Cell, ...]
    ignored: tuple[str, ...]


def read_decisions(
    file: str | os.PathLike[str],
    *,
    yes: Collection[str] = ("yes", "1"),
    no: Collection[str] = ("no", "0"),
    refusal: Collection[str] = ("refusal",),
    cells: Sequence[str] | None = None,
) -> Decisions:
    """Read a CSV or JSON-lines file of decisions.

    yes, no, refusal: the words for each, compared without regard to case and surrounding space
    (JSON's true, 1 and false, 0 are "1" and "0"). cells: the columns that tell cells apart, by
    default those of model, prompt, temperature that the file has. Raises ValueError with the line
    and column of what is malformed (the first 20, and how many more), and OSError.
    """
    words = _words(yes, no, refusal)
    place, rows = Path(file), json_rows if Path(file).suffix in JSON_SUFFIXES else csv_rows
    wrong, made = Malformed(str(file)), None
    try:
        with open(place, encoding="utf-8-sig", newline="") as stream:
            columns, found = rows(stream, wrong)
            made = _Reader(columns, words, cells, wrong)
            for line, values in found:
                made.row(line, values)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"read_decisions: {file} must be a text file in UTF-8: {error}") from None
    wrong.check()
    if not made.cells:
        raise ValueError(f"read_decisions: {file} must hold at least one row below its header")
    return Decisions(str(file), tuple(made.cells.values()), made.ignored)


def _words(yes: Collection[str], no: Collection[str], refusal: Collection[str]) -> dict[str, int]:
    """Each word and what it says; a word that says two things is refused."""
    out: dict[str, int] = {}
    for name, group, code in (("yes", yes, YES), ("no", no, NO), ("refusal", refusal, REFUSAL)):
        if isinstance(group, str) or not (group or name == "refusal"):
            raise ValueError(f"read_decisions: {name} must be a list of words, got {group!r}")
        for word in group:
            plain = word.strip().casefold()
            if out.setdefault(plain, code) != code:
                raise ValueError(f"read_decisions: {name} must not repeat another's word {word!r}")
    return out


class _Reader:
    """Rows into cells. What a value means is looked up once for each distinct one."""

    def __init__(
        self,
        columns: list[str],
        words: dict[str, int],
        cells: Sequence[str] | None,
        wrong: Malformed,
    ):
        self.columns, self.words, self.wrong = columns, words, wrong
        asked = [c for c in CELLS if c in columns] if cells is None else list(cells)
        for name in asked:
            if name not in columns:
                raise ValueError(f"read_decisions: cells must be columns of the file, got {name!r}")
        if "answer" not in columns and "p_yes" not in columns:
            raise ValueError(
                f"read_decisions: {wrong.file} must have a column answer or p_yes, got {columns}"
            )
        self.names, at = asked, {name: i for i, name in enumerate(columns)}
        self.answer, self.p_yes, self.p_no = (at.get(c) for c in ("answer", "p_yes", "p_no"))
        self.called = "call" in at
        self.places = [at[name] for name in (*asked, *(["call"] if self.called else []))]
        used = {*asked, "answer", "call", "p_yes", "p_no"}
        self.ignored = tuple(c for c in columns if c not in used)
        self.cells: dict[tuple[str, ...], Cell] = {}
        self.held: dict[Any, _Lists] = {}
        self.meaning: dict[Any, int | None] = {}

    def row(self, line: int, values: list[Any]) -> None:
        """One row to its cell, or to what is malformed."""
        raw = tuple([values[i] for i in self.places])
        try:
            held = self.held.get(raw)
        except TypeError:  # a list or an object as a value
            held = None
        if held is None:
            held = self._lists(line, raw)
            if held is None:
                return
            self.held[raw] = held
        answers, yes, no = held
        code = NOTHING if self.answer is None else self._code(line, values[self.answer])
        if code is None:
            return
        if self.p_yes is not None:
            pair = self._probabilities(line, values)
            if pair is None:
                return
            yes.append(pair[0])
            no.append(pair[1])
        if code == NOTHING and (self.p_yes is None or math.isnan(yes[-1])):
            got = None if self.answer is None else values[self.answer]
            self.wrong.add(line, "answer", "given where p_yes is not", got)
            return
        answers.append(code)

    def _lists(self, line: int, raw: tuple[Any, ...]) -> _Lists | None:
        """Where the rows with these values go. Temperatures are compared as numbers."""
        key: list[str] = []
        for name, value in zip((*self.names, "call"), raw, strict=False):
            text = str(value).strip() if isinstance(value, (str, int, float)) else ""
            if not text:
                self.wrong.add(line, name, "a value", value)
                return None
            if name == "temperature":
                number = _number(text)
                if number is None or number < 0:
                    self.wrong.add(line, name, "a number, 0 or more", value)
                    return None
                text = f"{number:g}"
            key.append(text)
        call = key.pop() if self.called else ""
        named = tuple(zip(self.names, key, strict=True))
        cell = self.cells.setdefault(tuple(key), Cell(named))
        lists = (cell.answers.setdefault(call, []), [], [])
        if self.p_yes is not None:
            lists = (lists[0], cell.p_yes.setdefault(call, []), cell.p_no.setdefault(call, []))
        return lists

    def _code(self, line: int, value: Any) -> int | None:
        try:
            code = self.meaning[value]
        except KeyError:
            code = self.meaning[value] = self._meaning(value)
        except TypeError:
            code = None
        if code is None:
            self.wrong.add(line, "answer", f"one of {', '.join(map(repr, self.words))}", value)
        return code

    def _meaning(self, value: Any) -> int | None:
        if value is None:
            return NOTHING
        if isinstance(value, (bool, int)):
            value = str(int(value))
        if not isinstance(value, str):
            return None
        plain = value.strip().casefold()
        return self.words.get(plain, None if plain else NOTHING)

    def _probabilities(self, line: int, values: list[Any]) -> tuple[float, float] | None:
        """(p_yes, p_no) of a row, NaN where not given, or None."""
        assert self.p_yes is not None  # asked of rows only where there is such a column
        given = (values[self.p_yes], None if self.p_no is None else values[self.p_no])
        yes, no = given
        if type(yes) is not float or yes != yes:
            yes = _probability(yes)
        if type(no) is not float or no != no:
            no = _probability(no)
        for name, p, value in (("p_yes", yes, given[0]), ("p_no", no, given[1])):
            if p is None or p < 0 or p > 1:
                self.wrong.add(line, name, "a number in [0, 1]", value)
                return None
        assert yes is not None
        assert no is not None
        if yes + no > 1 + 1e-6 or yes + no == 0:  # neither holds where one is not given
            allowed = "such that 0 < p_yes + p_no <= 1"
            self.wrong.add(line, "p_no", allowed, given[1])
            return None
        return yes, no


def _probability(value: Any) -> float | None:
    """A number, NaN where none is given, None where it is no number."""
    return math.nan if value is None or value == "" else _number(value)


def _number(value: Any) -> float | None:
    """A finite float, or None."""
    if isinstance(value, (bool, list, dict)):
        return None
    try:
        out = float(value)
    except (TypeError, ValueError):
        return None
    return out if math.isfinite(out) else None
