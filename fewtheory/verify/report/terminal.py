"""The run in a terminal: a progress bar while it lasts, then a table and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..engine import Result

COLOURS = {
    "holds": "green",
    "fails": "red",
    "blind": "magenta",
    "error": "red",
    "unavailable": "yellow",
    "deep": "cyan",
    "not asked": "dim",
}


class Terminal:
    """A progress bar over claims; `done` is called with each result, `table` at the end."""

    def __init__(self, total: int, console: Console | None = None):
        self.console = console or Console()
        self.progress = Progress(
            TextColumn("deciding"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("", total=total)

    def __enter__(self) -> Terminal:
        self.progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.__exit__(kind, error, trace)

    def done(self, result: Result) -> None:
        """Move the bar; say at once what does not hold."""
        self.progress.update(self.task, advance=1, description=f"{result.suite} {result.claim}")
        if result.verdict not in ("holds", "deep", "not asked"):
            verdict = f"[{COLOURS[result.verdict]}]{result.verdict}[/]"
            said = f"{verdict} {result.suite} {result.claim}: {escape(result.note)}"
            self.console.print(said, highlight=False)


def print_table(results: Sequence[Result], console: Console | None = None) -> None:
    """Claim, verdict, saboteurs caught, seconds, statement; then the counts."""
    console = console or Console()
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    used = 0
    for name, width in (
        ("suite", 14),
        ("claim", 5),
        ("kind", 8),
        ("verdict", 11),
        ("caught", 6),
        ("s", 4),
    ):
        right = name in ("caught", "s")
        table.add_column(name, no_wrap=True, width=width, justify="right" if right else "left")
        used += width + 1
    table.add_column(
        "statement", overflow="ellipsis", no_wrap=True, width=max(console.width - used - 1, 16)
    )
    previous = ""
    for r in results:
        caught = f"{sum(s.rejected for s in r.saboteurs)}/{len(r.saboteurs)}" if r.saboteurs else ""
        table.add_row(
            r.suite if r.suite != previous else "",
            r.claim,
            r.kind,
            f"[{COLOURS[r.verdict]}]{r.verdict}[/]",
            caught,
            f"{r.seconds:.1f}" if r.seconds else "",
            _remark(r) + escape(r.statement),
        )
        previous = r.suite
    console.print(table, highlight=False)
    console.print(summary(results), highlight=False)


def _remark(r: Result) -> str:
    deep = f"[cyan]last run: {r.note}.[/] " if r.verdict == "deep" else ""
    return deep + ("[yellow]erratum[/] " if r.erratum else "")


def summary(results: Sequence[Result]) -> str:
    """One line of counts."""
    verdicts = Counter(r.verdict for r in results)
    caught = sum(s.rejected for r in results for s in r.saboteurs)
    asked = sum(len(r.saboteurs) for r in results)
    plural = {"holds": "hold", "fails": "fail"}
    parts = ", ".join(
        f"{n} {name if n == 1 else plural.get(name, name)}" for name, n in verdicts.items()
    )
    noun = "claim" if len(results) == 1 else "claims"
    return f"{len(results)} {noun}: {parts}; {caught} of {asked} saboteurs caught"
