"""A progress bar for long runs, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(shown: bool, total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar of this many units, moved by the function that it gives to how many are done."""
    if not shown:
        yield lambda done: None
        return
    from rich.progress import Progress

    with Progress() as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
