"""Rows of a table in CSV or JSON lines, each with its line, and what is malformed by its place.

Every place that is wrong is collected and all are told in one error, the first 20 by name.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

SHOWN = 20  # malformed places that are named one by one


class Malformed:
    """What is wrong with a file, place by place; `check` raises it in one error."""

    def __init__(self, file: str, where: str = "read_decisions"):
        self.file, self.where, self.count, self.named = file, where, 0, []

    def add(self, line: int, column: str, allowed: str, got: Any) -> None:
        self.count += 1
        if len(self.named) < SHOWN:
            place = f"line {line}, column {column}" if column else f"line {line}"
            self.named.append(f"{place} must be {allowed}, got {got!r}")

    def check(self) -> None:
        if self.count:
            more = self.count - len(self.named)
            tail = f"\n  and {more} more" if more else ""
            listed = "\n  ".join(self.named)
            raise ValueError(f"{self.where}: {self.file}: {self.count} malformed\n  {listed}{tail}")


def csv_rows(stream: Any, wrong: Malformed) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The columns of the header, and (line, fields) of each row that is not blank."""
    reader = csv.reader(stream)
    header = [name.strip() for name in next(reader, [])]
    if not header or len(set(header)) < len(header):
        raise ValueError(
            f"{wrong.where}: {wrong.file}: line 1 must name each column once, got {header}"
        )

    def rows() -> Iterator[tuple[int, list[str]]]:
        width = len(header)
        for row in reader:
            if len(row) == width:
                yield reader.line_num, row
            elif row:  # a blank line is none
                wrong.add(reader.line_num, "", f"of {width} fields", len(row))

    return header, rows()


def json_rows(stream: Any, wrong: Malformed) -> tuple[list[str], Iterator[tuple[int, list[Any]]]]:
    """JSON lines; the first record's keys are the columns, of all records."""
    found = _records(stream, wrong)
    line, first = next(found, (0, {}))
    if not first:  # no columns
        wrong.check()

    def rows() -> Iterator[tuple[int, list[Any]]]:
        columns, known = list(first), first.keys()
        if first:
            yield line, list(first.values())
        for number, record in found:
            if record.keys() == known:
                yield number, [record[name] for name in columns]
                continue
            for name in sorted(record.keys() ^ known):
                allowed = "there" if name in known else "in the first record too"
                wrong.add(number, name, allowed, record.get(name))

    return list(first), rows()


def _records(stream: Any, wrong: Malformed) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of the lines that hold one; by the scanner itself, three times as fast."""
    decoder: Any = json.JSONDecoder()
    scan = decoder.scan_once
    for line, raw in enumerate(stream, 1):
        text = raw.strip()
        if not text:
            continue
        try:
            found, end = scan(text, 0)
        except (StopIteration, ValueError):
            found, end = None, 0
        if type(found) is dict and end == len(text):
            yield line, found
        else:
            wrong.add(line, "", "a JSON object", text[:60])
