"""From a wrong number to the line: where a scheduler forms a state, and which edit would repair it.

The audit says what is wrong by number; whoever mends it needs the line. Two ways lead there. A run
on carriers, watched, says which statement made a state. And mutation-based fault localisation, the
inverse of a saboteur, says where the mistake may be: of all single edits of the code that ran,
those under which the sampler becomes right. Sheet `plan-algebra`, "Order from the coefficients".
"""

from __future__ import annotations

import ast
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from ..errors import fail, integer, number
from ..paths import Table
from .edits import Candidate, candidates, names
from .grid_checks import MISMATCH, TRUNCATED
from .method import Method, lines_of, methods, parsed, source_of
from .moments import ratios
from .probe import probe, quiet
from .recovered import Recovered, network_of, recover
from .subject import Made, Subject
from .watched import Line, Ran, formed, ran

SHORT = 20  # steps of the run that is watched: enough for a rule that repeats itself
SHOWN = 8  # lines of a statement
ENOUGH = 3  # lines with an edit that passes
REFINED = (20, 40, 160)  # steps: the first run rejects most of what is wrong
# A moment's ratio is 1 + c h + .., c = 1/6 for the midpoint's rule and 5/6 for Heun's in data form;
# twice that is allowed. A factor of 1/2, 2 or -1 leaves 1/2 or more; h = 0.04 allows 0.07.
SLOPE = 5 / 3


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

    The statement of the scheduler whose arithmetic made it; None for a state that is handed in, or
    handed on unchanged. Raises ValueError for a node that the run does not have and for what is no
    scheduler made from its class; what the scheduler raises is raised.

    >>> import diffusers; from fewtheory.audit.subject import subject
    >>> formed_at(subject(diffusers.FlowMatchEulerDiscreteScheduler), steps=4, node=1).source
    'prev_sample = sample + dt * model_output'
    """
    kind = _class_of("formed_at", judged)
    steps, node = integer("formed_at", "steps", steps, 1), integer("formed_at", "node", node, 0)
    states = formed(judged, kind, steps)
    line = states[integer("formed_at", "node", node, 0, len(states) - 1)]
    return None if line is None else _place(line)


def suspects(
    judged: Subject, good: Callable[[Subject], bool], seconds: float | int = 5.0
) -> list[Edit]:
    """Single edits of the scheduler's source under which `good` becomes true, on up to three lines.

    Empty where it is true already. Edited is what ran in a run of a few steps: the statement that
    forms the states, then what it is computed from, then the other methods, `set_timesteps` and
    `__init__` last. An edit that draws no more noise, or samples another range of times, is no
    repair. Stops after `seconds`. An edit is a suspicion: the mistake may be another with the same
    effect. Raises ValueError for what is no scheduler made from its class.
    """
    kind = _class_of("suspects", judged)
    end = time.monotonic() + number("suspects", "seconds", seconds, 0)
    found: dict[Line, Edit] = {}
    if _agrees(good, judged):
        return []
    (told, _), outline = network_of(judged), _outline(judged)

    def repairs(edit: tuple[Method, Candidate]) -> bool:
        other = _like(judged, edit[0].edited(edit[1]), told)
        return good(other) and _same_task(outline, _outline(other))

    for method, candidate in _ordered(judged, kind):
        if time.monotonic() > end or len(found) == ENOUGH:
            break
        line = Line(method.function.__code__, candidate.slot.node.lineno)
        if line not in found and _agrees(repairs, (method, candidate)):
            old, new = ast.unparse(candidate.slot.node), ast.unparse(candidate.new)
            found[line] = Edit(_place(line, exact=True), old, new)
    return list(found.values())


def order_is(named: int) -> Callable[[Subject], bool]:
    """Whether a sampler is linear, stands where it tells its network, and repeats an order-p rule.

    In the middle of runs of 20, 40 and 160 steps the moments of its weights for k < p are to O(h)
    what a step needs (`moments.ratios`); a stochastic sampler's levels hold its variance. Not
    judged are its first and last steps and, of a rule with stages, what couples them (p = 3).

    >>> import diffusers; from fewtheory.audit.subject import subject
    >>> order_is(2)(subject(diffusers.DPMSolverMultistepScheduler, {"solver_order": 2}))
    True
    """
    named = integer("order_is", "named", named, 1, 3)

    def good(judged: Subject) -> bool:
        told, _ = network_of(judged)
        with np.errstate(all="ignore"):  # NaN holds nowhere
            return all(_holds(recover(judged, steps, told), named) for steps in REFINED)

    return good


def _holds(run: Recovered, named: int) -> bool:
    if not _levels_hold(run):
        return False
    n, rule = run.probe.nfe, run.rule
    middle = rule.principal[(rule.principal >= n / 4) & (rule.principal <= 0.9 * n)]
    h = rule.plan.lam[middle] - rule.plan.lam[rule.base[middle]]
    if not (np.all(h > 0) or np.all(h < 0)):  # an inverse sampler goes to the noise
        return False
    if named == 1:  # the moment of k = 0 is 1 by the meaning of the levels
        return True
    off = np.abs((ratios(run, named)[middle, 1:] - 1) / h[:, None])
    return bool(np.all(np.median(off, axis=0) <= SLOPE))


def _levels_hold(run: Recovered) -> bool:
    """Whether told and believed levels agree, but for roundings of the network's time."""
    if not run.sound:
        return False
    if isinstance(run.told.path, Table):
        return bool(np.all(np.abs(run.off_entries) <= TRUNCATED))
    return bool(np.all(np.abs(run.off) <= MISMATCH))


def _agrees(good: Callable[[Any], bool], judged: Any) -> bool:
    """What `good` says; False where that raises, as it does for an edit that makes no sense."""
    try:
        with quiet():
            return bool(good(judged))
    except Exception:  # whatever somebody else's sampler, or an edit of it, raises
        return False


class _Outline(NamedTuple):
    """What a run of a sampler is about: its first and last time, whether noise is drawn."""

    first: float
    last: float
    noisy: bool


def _outline(judged: Subject) -> _Outline:
    found = probe(judged, SHORT)
    return _Outline(float(found.times[0]), float(found.times[-1]), bool(np.any(found.C)))


def _same_task(one: _Outline, other: _Outline) -> bool:
    """Whether noise is still drawn, if it was, and the same times are sampled, to a fifth of them.

    A mistake in the noise vanishes without noise, one at noisy levels in a run near the data.
    """
    near = abs(one.first - one.last) / 5
    ends = abs(one.first - other.first) <= near and abs(one.last - other.last) <= near
    return ends and one.noisy == other.noisy


def _class_of(where: str, judged: Subject) -> type:
    maker = getattr(judged.make, "maker", None)
    if judged.kind != "scheduler" or not isinstance(maker, type):
        raise fail(where, "judged", "a scheduler made from its class", judged.name)
    return maker


def _like(judged: Subject, kind: type, told: Any) -> Subject:
    """The sampler made from another class, for the same network."""
    made = Made(kind, judged.settings)
    other = Subject(judged.name, judged.kind, made, judged.settings, told, judged.arrays)
    for known in ("fast", "shared"):  # how its runs are to be made: found out once
        if known in judged.notes:
            other.notes[known] = judged.notes[known]
    return other


def _place(line: Line, exact: bool = False) -> Place:
    """The statement at this line; `exact`: keep the line."""
    code, text = line.code, source_of(line.code)
    file = PurePath(code.co_filename).name
    if text is None:
        return Place(file, line.number, code.co_qualname, "")
    every = [s for s in ast.walk(parsed(text)) if isinstance(s, ast.stmt)]
    around = [s for s in every if line.number in lines_of(s)]
    statement = max(around, key=lambda s: (s.lineno, s.col_offset))
    lines = lines_of(statement)
    shown = "\n".join(text.splitlines()[lines.start - 1 : lines.stop - 1][:SHOWN])
    first = line.number if exact else statement.lineno
    return Place(file, first, code.co_qualname, textwrap.dedent(shown).rstrip())


def _ordered(judged: Subject, kind: type) -> list[tuple[Method, Candidate]]:
    """Every candidate, the likely ones first."""
    seen, states = ran(judged, kind, SHORT), formed(judged, kind, SHORT)
    half = len(states) // 2
    blamed = [f for f in states[half : half + 2] if f is not None]  # two: a step may have stages
    found, first = methods(kind, seen.calls), {line.code for line in blamed}
    order = []
    # after the method that forms the states, what every step calls before what a few call
    ranked = sorted(found, key=lambda c: (c not in first, -seen.calls[c]))
    for rank, code in enumerate(ranked):
        starts = {line.number for line in blamed if line.code is code}
        for distance, candidate in _of_method(found[code], seen, starts):
            last = -candidate.slot.node.lineno  # where a rule's higher terms stand
            key = not seen.calls[code], rank, distance, candidate.likely, last
            order.append((key, found[code], candidate))
    return [(m, c) for _, m, c in sorted(order, key=lambda o: o[0])]


def _of_method(method: Method, seen: Ran, starts: set[int]) -> Iterator[tuple[int, Candidate]]:
    """(how many assignments away from the statement in question, candidate), of what ran."""
    lines = {n for file, n in seen.lines if file == method.function.__code__.co_filename}
    every = [s for s in method.statements if lines.intersection(lines_of(s))]
    arguments = {a.arg for a in method.definition.args.args}
    known = arguments.union(*(names(s, ast.Store) for s in every))
    front = [s for s in every if starts.intersection(lines_of(s))]
    front = front or [s for s in every if isinstance(s, ast.Return) and s.value is not None]
    rest, distance = [s for s in every if s not in front], 0
    while front or rest:
        for statement in front:
            yield from ((distance, c) for c in candidates(statement, known))
        wanted: set[str] = set().union(*(names(s, ast.Load) for s in front))
        near = [s for s in rest if names(s, ast.Store) & wanted]
        front, rest = near or rest, [s for s in rest if near and s not in near]
        distance += 1
