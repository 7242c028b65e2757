"""`fewtheory bias DECISIONS.csv`: the battery of every cell, with multiplicity across cells.

Within a cell Holm, across cells Benjamini and Hochberg on each cell's smallest adjusted p-value;
refusals and leaks stand beside the rates that they do not enter. Where rows carry exact
probabilities, the exact rate, which has no sampling error, stands beside the sampled one, and the
answers are asked whether they follow it. Sheet `binary-bias`, M9, C11 and "Pitfalls".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...errors import fail, one_of
from ...files import write_whole
from .battery import ALTERNATIVES, Battery, battery
from .decisions import Cell, Decisions, read_decisions
from .multiplicity import benjamini_hochberg
from .temperature import temperature_needed
from .uniformity import interval, open_share


@dataclass(frozen=True)
class CellReport:
    """One cell: rows of the file, refusals and their share's limits, the battery (None without a
    yes or no), p (the smallest Holm p), q (Benjamini-Hochberg), the exact rate and leak where
    probabilities were given, and the temperature that brings the rate within the margin of 1/2 if
    an answer is one token (from the cell's own temperature; None where it has none).
    """

    name: str
    key: tuple[tuple[str, str], ...]
    rows: int
    refusals: int
    refusal_limits: tuple[float, float]
    battery: Battery | None
    p: float
    q: float
    exact_rate: float | None
    leak: float | None
    temperature: float | None


@dataclass(frozen=True)
class BiasReport:
    """Every cell of a file, the columns not used, and the settings."""

    file: str
    cells: tuple[CellReport, ...]
    ignored: tuple[str, ...]
    alpha: float
    margin: float
    alternatives: str

    def __str__(self) -> str:
        lines = [f"{self.file}: {len(self.cells)} cells, {sum(c.rows for c in self.cells)} rows"]
        if self.ignored:
            lines.append(f"columns not used: {', '.join(self.ignored)}")
        for cell in self.cells:
            lines += ["", *_lines(cell)]
        found = [c.name for c in self.cells if c.q <= self.alpha]
        told = f"{len(found)} of {len(self.cells)} cells are not fair, memoryless coins"
        lines += ["", f"{told} (false discovery rate {self.alpha:g})"]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The report as JSON, numbers that do not exist as null."""
        return json.dumps(_plain(asdict(self)), indent=1) + "\n"


def _lines(cell: CellReport) -> list[str]:
    columns = ", ".join(f"{name} {value}" for name, value in cell.key)
    out = [f"== {columns or 'all rows'}"]
    if cell.refusals:
        low, high = cell.refusal_limits
        share = cell.refusals / cell.rows
        out.append(f"{cell.refusals} of {cell.rows} refusals: {share:.4f} [{low:.4f}, {high:.4f}]")
    if cell.exact_rate is not None:
        leak = "" if cell.leak is None else f", leak {cell.leak:.4f}"
        out.append(f"exact rate {cell.exact_rate:.4f}{leak}")
    if cell.battery is None:
        return [*out, "no yes or no: nothing to test"]
    out.append(str(cell.battery))
    followed = cell.battery.followed
    if followed is not None:
        told = "follow" if followed.p_value > cell.battery.alpha else "do not follow"
        out.append(
            f"answers {told} the probabilities: z {followed.z:+.2f}, p {followed.p_value:.3g}"
        )
    if cell.temperature is not None:
        out.append(f"one token an answer: temperature {cell.temperature:.4g} for the margin")
    return [*out, f"smallest adjusted p {cell.p:.3g}; across cells q {cell.q:.3g}"]


def _plain(value: Any) -> Any:
    """Nested data without NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def bias_report(
    decisions: Decisions,
    *,
    alternatives: str = "recency",
    alpha: float | int = 0.05,
    margin: float | int = 0.05,
    on_cell: Callable[[int], None] = lambda done: None,
) -> BiasReport:
    """The battery of each cell of `read_decisions`, and the false discovery rate across cells.

    on_cell: called with the number of cells done. Raises ValueError or TypeError by name, and
    MissingExtra (statsmodels).
    """
    where = "bias_report"
    if not isinstance(decisions, Decisions):
        raise TypeError(f"{where}: decisions must come from read_decisions, got {decisions!r}")
    one_of(where, "alternatives", alternatives, ALTERNATIVES)
    alpha, margin = open_share(where, "alpha", alpha), open_share(where, "margin", margin)
    if margin >= 0.5:
        raise fail(where, "margin", "below 1/2", margin)
    settings = {"alpha": alpha, "margin": margin}
    found: list[tuple[Cell, Battery | None, float]] = []
    for done, cell in enumerate(decisions.cells, 1):
        one = _battery(cell, alternatives, settings)
        p = 1.0 if one is None else float(np.nanmin([t.adjusted for t in one.tests]))
        found.append((cell, one, p))
        on_cell(done)
    q = benjamini_hochberg([p for _, _, p in found])
    cells = tuple(
        _reported(c, b, p, float(qi), alpha, margin) for (c, b, p), qi in zip(found, q, strict=True)
    )
    return BiasReport(decisions.file, cells, decisions.ignored, alpha, margin, alternatives)


def _battery(cell: Cell, alternatives: str, settings: dict[str, Any]) -> Battery | None:
    series = cell.series
    if not series:
        return None
    p = cell.probabilities
    if p is not None:
        p = p[cell.answered]
    if len(series) == 1:
        series = series[0]
    return battery(series, alternatives, probabilities=p, **settings)


def _reported(
    cell: Cell, found: Battery | None, p: float, q: float, alpha: float, margin: float
) -> CellReport:
    exact = cell.probabilities
    rate = None if exact is None else float(np.nanmean(exact))
    best = rate if rate is not None else (None if found is None else found.rate)
    at = float(dict(cell.key).get("temperature", 1.0))
    needed = None
    if best is not None and 0 < best < 1 and at > 0:
        needed = at * temperature_needed(best, margin)
    low, high = interval(cell.refusals, cell.rows, alpha=alpha)
    refused = (cell.rows, cell.refusals, (low, high))
    return CellReport(cell.name, cell.key, *refused, found, p, q, rate, cell.leak, needed)


def bias(
    file: str | os.PathLike[str],
    *,
    yes: Sequence[str] = ("yes", "1"),
    no: Sequence[str] = ("no", "0"),
    refusal: Sequence[str] = ("refusal",),
    cells: Sequence[str] | None = None,
    alternatives: str = "recency",
    alpha: float | int = 0.05,
    margin: float | int = 0.05,
    json_file: str | os.PathLike[str] | None = None,
    figure: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> BiasReport:
    """Read a file of decisions, judge every cell, and write what was asked for.

    What `read_decisions` and `bias_report` take; json_file, figure: where to write the numbers and
    the picture, whole or not at all. Raises ValueError, TypeError, OSError, MissingExtra.
    """
    from ...progress import bar

    _places(json_file, figure)
    decisions = read_decisions(file, yes=yes, no=no, refusal=refusal, cells=cells)
    with bar(progress and len(decisions.cells) > 1, len(decisions.cells), "cells") as done:
        report = bias_report(
            decisions, alternatives=alternatives, alpha=alpha, margin=margin, on_cell=done
        )
    if json_file is not None:
        write_whole(json_file, report.to_json())
    if figure is not None:
        from .bias_figure import draw_bias

        draw_bias(report, figure)
    return report


def _places(json_file: Any, figure: Any) -> None:
    """Raise before any work where a file to be written has no folder, or no known format."""
    from pathlib import Path

    for name, file in (("json_file", json_file), ("figure", figure)):
        if file is not None and not Path(file).absolute().parent.is_dir():
            raise fail("bias", name, "in a folder that exists", str(file))
    if figure is not None:
        one_of("bias", "figure's suffix", Path(figure).suffix.lower(), (".png", ".pdf", ".svg"))
