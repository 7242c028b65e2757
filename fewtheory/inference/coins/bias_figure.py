"""The picture of a bias report: each cell's rate and each cell's memory, side by side.

Left the rate of yes with its exact limits, the band in which a rate counts as fair, and the exact
rate where probabilities were given; right how often neighbours alternate against what independent
answers of that rate would. A filled mark is significant. Sheet `binary-bias`, "Figure".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MissingExtra
from ...files import writing
from .bias_report import BiasReport, CellReport

MOST = 60  # cells that are drawn: those with the smallest q
RATE, MEMORY = "#1f77b4", "#d62728"


def draw_bias(report: BiasReport, file: str | os.PathLike[str]) -> None:
    """Draw a report to a .png, .pdf or .svg file, written whole. Needs matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra("verify", "inference.draw_bias") from error
    cells = [c for c in report.cells if c.battery is not None]
    if len(cells) > MOST:
        kept = {id(c) for c in sorted(cells, key=lambda c: c.q)[:MOST]}
        cells = [c for c in cells if id(c) in kept]
    fig = Figure(figsize=(10, 1.6 + 0.32 * max(len(cells), 1)), layout="constrained")
    FigureCanvasAgg(fig)
    rates, memory = fig.subplots(1, 2, sharey=True)
    _rates(rates, cells, report)
    _memory(memory, cells)
    rates.set_yticks(range(len(cells)), [c.name for c in cells])
    rates.set_ylim(len(cells) - 0.4, -0.6)
    for axis in (rates, memory):
        axis.grid(axis="x", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    left = len([c for c in report.cells if c.battery is not None]) - len(cells)
    if left:
        fig.suptitle(f"{len(cells)} cells of the smallest q; {left} more are not drawn", fontsize=9)
    with writing(file) as stream:
        fig.savefig(stream, dpi=160, format=Path(file).suffix.lower()[1:])


def _rates(axis: Any, cells: list[CellReport], report: BiasReport) -> None:
    axis.axvspan(0.5 - report.margin, 0.5 + report.margin, color="0.9", lw=0, label="fair enough")
    axis.axvline(0.5, color="0.5", lw=0.8)
    for row, cell in enumerate(cells):
        found = cell.battery
        assert found is not None
        axis.plot([found.low, found.high], [row, row], color=RATE, lw=1.6)
        fill = RATE if "rate" in found.rejected else "white"
        axis.plot(found.rate, row, "o", color=RATE, mfc=fill, ms=5)
        if cell.exact_rate is not None:
            label = "exact" if row == 0 else None
            axis.plot(cell.exact_rate, row, "|", color="0.1", ms=11, mew=1.6, label=label)
    axis.set(xlim=(-0.02, 1.02), xlabel="rate of yes", title="Is it fair?")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28 / max(len(cells) / 4, 1)), ncols=2,
                frameon=False, fontsize=8)  # fmt: skip


def _memory(axis: Any, cells: list[CellReport]) -> None:
    axis.axvline(0.0, color="0.5", lw=0.8)
    for row, cell in enumerate(cells):
        found = cell.battery
        assert found is not None
        if np.isnan(found.correlation):
            axis.text(0.0, row, "one answer", ha="center", va="center", fontsize=7, color="0.4")
            continue
        width = 1.96 / np.sqrt(max(found.n - found.calls, 1))  # of a memoryless series, about
        axis.plot([-width, width], [row, row], color="0.75", lw=5, solid_capstyle="butt")
        seen = any(name != "rate" for name in found.rejected)
        axis.plot(found.correlation, row, "o", color=MEMORY, mfc=MEMORY if seen else "white", ms=5)
    largest = max((abs(c.battery.correlation) for c in cells if c.battery
                   and not np.isnan(c.battery.correlation)), default=0.1)  # fmt: skip
    edge = max(1.15 * largest, 0.1)
    axis.set(xlim=(-edge, edge), xlabel="correlation of neighbours (below 0: alternates too much)",
             title="Is it memoryless?")  # fmt: skip
