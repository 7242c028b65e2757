"""From a wrong number to the line: where a scheduler forms a state, and which edit would repair it.

The audit says what is wrong by number; whoever mends it needs the line. Two ways lead there. A run
on carriers, watched, says which statement made a state. And mutation-based fault localisation, the
inverse of a saboteur, says where the mistake may be: of all single edits of the code that ran,
those under which the sampler becomes right.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any

import numpy as np

from ..errors import fail, integer, number
from ..paths import Table
from .case import Case
from .edits import Candidate, Method, candidates, definition_of, methods, names, tree_of
from .grid_checks import MISMATCH, TRUNCATED
from .moments import ratios
from .probe import _Carriers, _modules, _quiet
from .recovered import Recovered, recover
from .subject import PROTOCOL, Subject, _Made, drive

SHORT = 20  # steps of the run that is watched: enough for a rule that repeats itself
LINES = 8  # of a statement that are shown
REFINED = (20, 40, 80)  # steps
# A ratio is 1 + c h + .., c = 1/6 for the midpoint's rule, 5/6 for Heun's in data form, and twice
# that is allowed. A wrong factor, 1/2 or 2 or -1, leaves 1/2 or more, of which 80 steps allow 1/8.
SLOPE = 5 / 3
ENOUGH = 3  # edits that pass
SETUP = ("__init__", "set_timesteps")
# what hands a tensor on: what it returns was formed where its argument was
HANDS_ON = set("to type float double half view reshape clone contiguous detach squeeze".split()) | {
    "unsqueeze",
    "expand",
    "__getitem__",
}


@dataclass(frozen=True)
class Place:
    """A statement in a scheduler's source.

    file: its name without folders; line: the first of the statement, or that of the expression in
    question, from 1; method: as Class.method; source: the statement, "" where it cannot be read.
    """

    file: str
    line: int
    method: str
    source: str


@dataclass(frozen=True)
class Edit:
    """At this place, the expression `old` become `new`."""

    place: Place
    old: str
    new: str


def formed_at(judged: Subject, steps: int, node: int) -> Place | None:
    """Where the state after `node` calls of the network is formed, in a run of `steps` steps.

    The statement of the scheduler whose arithmetic made it; None for a state that is handed in or
    handed on unchanged. Raises ValueError for a node that the run does not have and for what is no
    scheduler made from a class; what the scheduler raises is raised.

    >>> import diffusers, torch
    >>> from fewtheory.audit.subject import subject
    >>> formed_at(subject(diffusers.FlowMatchEulerDiscreteScheduler), 4, 1).source
    'prev_sample = sample + dt * model_output'
    """
    kind = _class_of("formed_at", judged)
    steps = integer("formed_at", "steps", steps, 1)
    formed = _formed(judged, kind, steps)
    found = formed[integer("formed_at", "node", node, 0, len(formed) - 1)]
    return None if found is None else _place(*found)


def suspects(
    judged: Subject, good: Callable[[Subject], bool], seconds: float | int = 5.0
) -> list[Edit]:
    """Single edits of the scheduler's source under which `good` becomes true, at most three.

    None where it is true already. What ran in a run of a few steps is edited: the statement that
    forms the states first, then what it is computed from, then the other methods, `set_timesteps`
    and `__init__` last. No more are tried after `seconds`. Raises ValueError for what is no
    scheduler made from a class.
    """
    kind = _class_of("suspects", judged)
    end = time.monotonic() + number("suspects", "seconds", seconds, 0)
    told = Case(judged, ()).told
    found: list[Edit] = []
    if _passes(good, _like(judged, kind, told)):
        return found
    for method, candidate in _ordered(judged, kind):
        if time.monotonic() > end or len(found) == ENOUGH:
            break
        try:
            edited = method.edited(candidate)
        except (ValueError, SyntaxError):  # no code of the same free variables
            continue
        if _passes(good, _like(judged, edited, told)):
            found.append(_edit(method, candidate))
    return found


def order_is(named: int) -> Callable[[Subject], bool]:
    """Whether a sampler is linear, tells its network its own levels, and repeats a rule of order p.

    In the middle of runs of 20, 40 and 80 steps the moments of its weights for k < p are to O(h) what
    a step needs (`moments.ratios`). The levels of a stochastic sampler hold its variance.

    >>> import diffusers, torch
    >>> from fewtheory.audit.subject import subject
    >>> order_is(2)(subject(diffusers.DPMSolverMultistepScheduler, {"solver_order": 2}))
    True
    """
    named = integer("order_is", "named", named, 1, 3)

    def good(judged: Subject) -> bool:
        told = Case(judged, ()).told
        # the coarsest run rejects most of what is wrong
        return all(_holds(recover(judged, steps, told), named) for steps in REFINED)

    return good


def _holds(run: Recovered, named: int) -> bool:
    if not _levels_hold(run):
        return False
    n, rule = run.probe.nfe, run.rule
    middle = rule.principal[(rule.principal >= n / 4) & (rule.principal <= 0.9 * n)]
    h = np.abs(rule.plan.lam[middle] - rule.plan.lam[rule.base[middle]])
    off = np.abs(ratios(run, named)[middle, 1:] - 1)
    return bool(np.all(np.median(off / h[:, None], axis=0) <= SLOPE))  # NaN is not


def _levels_hold(run: Recovered) -> bool:
    if not run.sound:
        return False
    if isinstance(run.told.path, Table):
        return bool(np.all(np.abs(run.off_entries) <= TRUNCATED))
    return bool(np.all(np.abs(run.off) <= MISMATCH))


def _passes(good: Callable[[Subject], bool], judged: Subject) -> bool:
    try:
        with _quiet(), np.errstate(all="ignore"):
            return bool(good(judged))
    except Exception:  # an edit may raise whatever it likes: it is no repair
        return False


def _class_of(where: str, judged: Subject) -> type:
    maker = getattr(judged.make, "maker", None)
    if judged.kind != "scheduler" or not isinstance(maker, type):
        raise fail(where, "judged", "a scheduler made from its class", judged.name)
    return maker


def _like(judged: Subject, kind: type, told: Any) -> Subject:
    """The sampler made from another class, for the same network."""
    settings = judged.settings
    other = Subject(judged.name, judged.kind, _Made(kind, settings), settings, told, judged.arrays)
    if "fast" in judged.notes:  # how it may be run: no edit changes that
        other.notes["fast"] = judged.notes["fast"]
    return other


# one run, watched


def _run(judged: Subject, steps: int) -> list[Any]:
    """The states of a run on carriers, x_T first and the output last."""
    from ._torch import exact, tensor

    carriers, drawn = _Carriers(steps), itertools.count()
    states: list[Any] = []

    def carrier(kind: str, i: int) -> Any:
        return tensor(carriers(kind, i).reshape(1, -1, 1, 1))

    def network(i: int, call: Any) -> Any:
        states.append(call.state)
        return carrier("m", i)

    with exact(_modules(judged), lambda: carrier("xi", next(drawn))), _quiet():
        states.append(drive(judged, judged.make(), steps, carrier("x", 0), network, None))
    return states


def _own(kind: type) -> set[str]:
    """The modules of the scheduler itself: of its class and those above it that can step."""
    return {c.__module__ for c in kind.__mro__ if all(hasattr(c, m) for m in PROTOCOL)}


Line = tuple[CodeType, int]


def _formed(judged: Subject, kind: type, steps: int) -> list[Line | None]:
    """For each state of a run, the scheduler's line whose arithmetic made it."""
    from torch.overrides import TorchFunctionMode

    own, size = _own(kind), (1, _Carriers(steps).width, 1, 1)
    made: dict[int, tuple[Line | None, Any]] = {}  # with the tensor, so that no id comes twice

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if getattr(out, "shape", None) == size:
                given = [made[id(a)][0] for a in args if id(a) in made]
                handed_on = getattr(func, "__name__", "") in HANDS_ON
                line = (given or [None])[0] if handed_on else _line_of(sys._getframe(1), own)
                made[id(out)] = line, out
            return out

    with Watch():
        states = _run(judged, steps)
    return [made.get(id(u), (None,))[0] for u in states]


def _line_of(frame: FrameType | None, own: set[str]) -> Line | None:
    while frame is not None and frame.f_globals.get("__name__") not in own:
        frame = frame.f_back
    return None if frame is None else (frame.f_code, frame.f_lineno)


def _place(code: CodeType, line: int, exact: bool = False) -> Place:
    """The statement at this line; `exact`: keep the line."""
    file, tree = PurePath(code.co_filename).name, tree_of(code)
    if tree is None:
        return Place(file, line, code.co_qualname, "")
    inside = [s for s in ast.walk(tree) if isinstance(s, ast.stmt) and s.lineno <= line <= _end(s)]
    statement = max(inside, key=lambda s: s.lineno)
    return Place(
        file, line if exact else statement.lineno, code.co_qualname, _source(code, statement)
    )


def _end(statement: ast.stmt) -> int:
    """The statement's last line, without those of statements inside it."""
    body = getattr(statement, "body", None)
    return body[0].lineno - 1 if body else statement.end_lineno or statement.lineno


def _source(code: CodeType, statement: ast.stmt) -> str:
    import inspect

    lines = inspect.findsource(code)[0][statement.lineno - 1 : _end(statement)]
    return textwrap.dedent("".join(lines[:LINES])).rstrip()


def _edit(method: Method, candidate: Candidate) -> Edit:
    old = candidate.slot.node
    place = _place(method.function.__code__, old.lineno, exact=True)
    return Edit(place, ast.unparse(old), ast.unparse(ast.fix_missing_locations(candidate.new)))


# the order in which edits are tried


@contextlib.contextmanager
def _traced(own: set[str]) -> Iterator[tuple[dict[CodeType, set[int]], Counter[CodeType]]]:
    """(the lines that ran, by code and the code called last at the end; what steps used)."""
    lines: dict[CodeType, set[int]] = {}
    stepping: Counter[CodeType] = Counter()

    def on_line(frame: FrameType, event: str, arg: Any) -> Any:
        lines[frame.f_code].add(frame.f_lineno)
        return on_line

    def on_call(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_globals.get("__name__") not in own:
            return None
        code = frame.f_code
        lines.setdefault(code, set())
        callers, f = [], frame
        while f is not None:
            callers.append(f.f_code.co_name)
            f = f.f_back
        if not set(callers) & set(SETUP):
            stepping[code] += 1
        return on_line

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield lines, stepping
    finally:
        sys.settrace(before)


def _ordered(judged: Subject, kind: type) -> list[tuple[Method, Candidate]]:
    """Every candidate, the likely ones first."""
    with _traced(_own(kind)) as (lines, stepping):
        _run(judged, SHORT)
    formed = _formed(judged, kind, SHORT)
    half = len(formed) // 2
    blamed = [f for f in formed[half : half + 2] if f is not None]  # two: a step may have stages
    found, order = methods(kind, lines), []
    first = {code for code, _ in blamed}
    recent = sorted(found, key=lambda c: (c not in first, -stepping[c]))
    for rank, code in enumerate(recent):
        starts = {line for c, line in blamed if c is code}
        late = not stepping[code]
        for distance, candidate in _of_method(found[code], lines[code], starts):
            key = (late, rank, distance, candidate.likely, -candidate.slot.node.lineno)
            order.append((key, found[code], candidate))
    return [(m, c) for _, m, c in sorted(order, key=lambda o: o[0])]


def _of_method(method: Method, ran: set[int], starts: set[int]) -> Iterator[tuple[int, Candidate]]:
    """(how far from the statement in question, candidate) of the statements that ran."""
    every = [s for s in method.statements if ran & set(range(s.lineno, _end(s) + 1))]
    arguments = {a.arg for a in method.definition.args.args}
    known = set().union(arguments, *(names(s, ast.Store) for s in every))
    front = [s for s in every if starts & set(range(s.lineno, _end(s) + 1))]
    front = front or [s for s in every if isinstance(s, ast.Return) and s.value is not None]
    rest, distance = [s for s in every if s not in front], 0
    while front or rest:
        for statement in front:
            yield from ((distance, c) for c in candidates(statement, known))
        wanted = set().union(*(names(s, ast.Load) for s in front))
        front = [s for s in rest if names(s, ast.Store) & wanted] if front else rest
        rest, distance = [s for s in rest if s not in front], distance + 1
