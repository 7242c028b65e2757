"""The audit of a whole library, and the audit of the audit.

- `python -m fewtheory.audit table FILE.json`: every scheduler of diffusers in every variant
- `python -m fewtheory.audit kill FILE.json`: broken schedulers beside their unbroken controls

Each takes minutes. One sampler in seconds: `fewtheory audit PACKAGE:OBJECT`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole
from .kill import kills
from .mutants import MUTANTS
from .table import rows
from .variants import checked, library, names, unaudited


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0 if all is well, 1 where our own code failed, 2 for misuse."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except (ValueError, ImportError, OSError) as error:
        print(f"fewtheory.audit: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m fewtheory.audit", description=_line(__doc__))
    commands = top.add_subparsers(required=True, metavar="command")
    for name, command in (("table", _table), ("kill", _kill)):
        one = commands.add_parser(name, help=_line(command.__doc__))
        one.set_defaults(command=command)
        one.add_argument("file", metavar="FILE.json")
        one.add_argument("--only", nargs="+", default=[], metavar="SCHEDULER")
        one.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    return top


def _line(text: str | None) -> str:
    return (text or "").split("\n")[0]


def table(only: Sequence[str] = (), jobs: int = 2) -> dict[str, Any]:
    """Plain data: the library, the rows, and why other classes cannot be audited."""
    chosen = checked("table", only)
    with progress("schedulers") as on_row:
        found = rows(only, jobs, on_row)
    beyond = {n: why for n in chosen if (why := unaudited(n))}
    return {"library": library(), "rows": [r.plain() for r in found], "unaudited": beyond}


def matrix(only: Sequence[str] = (), jobs: int = 2) -> dict[str, Any]:
    """Plain data: the library and the mutants' fates."""
    chosen = checked("kill", only)
    with progress("controls and mutants") as on_row:
        found = kills([m for m in MUTANTS if m.scheduler in chosen], jobs, on_row)
    return {"library": library(), "mutants": [k.plain() for k in found]}


def _table(a: argparse.Namespace) -> int:
    """Every scheduler of diffusers in every variant."""
    _writable(a.file)
    found = table(a.only, a.jobs)
    failed = [r for r in found["rows"] if r["error"]]
    audited = {r["scheduler"] for r in found["rows"]}
    print(
        f"{len(found['rows'])} rows of {len(audited)} of {len(names())} classes; "
        f"{len(failed)} on which the audit itself fails"
    )
    return _written(a.file, found, failed)


def _kill(a: argparse.Namespace) -> int:
    """Broken schedulers beside their unbroken controls."""
    _writable(a.file)
    found = matrix(a.only, a.jobs)
    failed = [m for m in found["mutants"] if m["error"]]
    killed = sum(m["killed"] for m in found["mutants"])
    print(
        f"{killed} of {len(found['mutants'])} mutants killed; "
        f"{len(failed)} on which the audit itself fails"
    )
    return _written(a.file, found, failed)


def _writable(file: str) -> None:
    if not Path(file).absolute().parent.is_dir():
        raise ValueError(f"FILE.json must lie in a folder that exists, got {file!r}")


def _written(file: str, found: dict[str, Any], failed: Sequence[Any]) -> int:
    write_whole(file, json.dumps(found, indent=1) + "\n")
    print(f"wrote {file}")
    return 1 if failed else 0


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal that is told (done, of)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)


if __name__ == "__main__":
    sys.exit(main())
