"""One way to call every search: a space, an objective, a budget, a seed.

A space says what may be chosen and builds a plan of each candidate; an objective values a plan
(lower is better); a method asks. Methods are functions `method(space, ledger, rng, start,
**settings)` that ask the ledger until it is spent, and return why they stopped before.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import integer, one_of
from ..progress import bar
from .ledger import BudgetSpent, Candidate, Journal, Ledger, SearchResult, Trial, as_tuple, best

Method: TypeAlias = Callable[..., str]
METHODS: dict[str, Method] = {}


def method(*needs: str) -> Callable[[Method], Method]:
    """Registers a search method under its name, with what it needs of a space."""

    def register(function: Method) -> Method:
        vars(function)["needs"] = ("build", *needs)
        METHODS[function.__name__] = function
        return function

    return register


def run(
    space: Any,
    objective: Callable[[Any], Any],
    *,
    method: str | Method = "evolution",
    budget: int,
    seed: int = 0,
    start: Sequence[Candidate] = (),
    history: Sequence[Trial] = (),
    file: str | Path | None = None,
    progress: bool | Callable[[Trial, int], None] = False,
    **settings: Any,
) -> SearchResult:
    """The best plan of a space, after at most `budget` evaluations of the objective.

    space: for example `TimeSteps`, or an object with `build(candidate)` and what the method needs;
    objective: plan -> float, infinite where a plan is not allowed; method: a name of `METHODS`, or
    such a function; start: candidates to begin with, beside the space's own; history: the trials of
    an earlier result, from which this one goes on; file: a journal of every evaluation, from which
    a search that was stopped resumes to the same result; progress: a bar, or a function of (trial,
    how many so far); settings: of the method. The same seed gives the same result, and a larger
    budget continues a smaller one.

    Raises ValueError or TypeError for an unknown method, setting or a space that lacks something,
    for a journal of another search, and for an objective that is not a number.

    >>> import fewtheory as ft
    >>> path, data = ft.paths.VPLinear(), ft.testbeds.Gaussian([0.0], 0.25)
    >>> times = ft.search.even_times(path, 50)
    >>> space = ft.search.TimeSteps(path, times, 3, ft.samplers.ddim)
    >>> found = ft.search.run(space, lambda plan: plan.law(data).w2, budget=200, seed=1)
    >>> found.plan.nfe, found.evaluations, found.status
    (3, 200, 'budget spent')
    """
    if not callable(method):
        one_of("search.run", "method", method, METHODS)
        method = METHODS[method]
    name = method.__name__
    integer("search.run", "budget", budget, 1)
    integer("search.run", "seed", seed, 0)
    if not callable(objective):
        raise TypeError(f"search.run: objective must be callable, got {objective!r}")
    for need in getattr(method, "needs", ("build",)):
        if not hasattr(space, need):
            kind = type(space).__name__
            raise TypeError(f"search.run: space must have {need!r} for {name!r}, got {kind}")
    allowed = list(inspect.signature(method).parameters)[4:]
    for setting in settings:
        one_of("search.run", f"a setting of {name}", setting, allowed)
    header = {
        "search": name,
        "seed": seed,
        "space": repr(space),
        "start": start,
        "settings": settings,
    }
    journal = Journal(file, header) if file is not None else None
    known = {
        as_tuple(t.candidate): t.value for t in (*history, *(journal.trials if journal else ()))
    }
    with _telling(progress, budget) as tell:

        def record(trial: Trial) -> None:
            if journal is not None:
                journal.append(trial)
            tell(trial, len(ledger.history))

        ledger = Ledger(space, objective, budget, known, record)
        first = [as_tuple(c) for c in start]
        try:
            status = method(space, ledger, np.random.default_rng(seed), first, **settings)
        except BudgetSpent:
            status = "budget spent"
    winner = best(ledger.history)
    plan = space.build(winner.candidate)
    return SearchResult(plan, winner.candidate, winner.value, tuple(ledger.history), status)


@contextlib.contextmanager
def _telling(
    progress: bool | Callable[[Trial, int], None], budget: int
) -> Iterator[Callable[[Trial, int], None]]:
    if callable(progress):
        yield progress
        return
    with bar(progress, budget, "searching") as show:
        yield lambda trial, done: show(done)
