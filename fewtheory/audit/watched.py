"""A run of a scheduler, watched: which of its lines made each state, and which lines ran at all.

A scheduler's own code is that of the modules of its class and of the classes above it that can step
too. A torch function mode sees every operation on the state; whatever only hands a tensor on (a
cast, a view) leaves it where it was made.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

from .probe import _Carriers, _modules, quiet
from .subject import PROTOCOL, Call, Subject, drive

SETUP = {"__init__", "set_timesteps"}
HANDS_ON = frozenset(
    "to type float double half view reshape clone contiguous detach squeeze unsqueeze expand "
    "__getitem__".split()
)


class Line(NamedTuple):
    """A line of code; code: the function or method that it is part of."""

    code: CodeType
    number: int


def formed(judged: Subject, kind: type, steps: int) -> list[Line | None]:
    """The line of `kind`'s own code whose arithmetic made each state of a run, x_T the first."""
    from torch.overrides import TorchFunctionMode

    own, shape = own_modules(kind), (1, _Carriers(steps).width, 1, 1)
    made: dict[int, tuple[Line | None, Any]] = {}  # with the tensor, so that no id comes twice

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if getattr(out, "shape", None) == shape:
                line = _line(sys._getframe(1), own)
                if getattr(func, "__name__", "") in HANDS_ON:
                    line = next((made[id(a)][0] for a in args if id(a) in made), None)
                made[id(out)] = line, out
            return out

    with Watch():
        states = _run(judged, steps)
    return [made[id(u)][0] if id(u) in made else None for u in states]


class Ran(NamedTuple):
    """What ran. lines: (file, line); calls: how often each code was called beside the setup."""

    lines: set[tuple[str, int]]
    calls: dict[CodeType, int]


def ran(judged: Subject, kind: type, steps: int) -> Ran:
    """What of `kind`'s own code runs in a run, from making the scheduler to its last step."""
    with _traced(own_modules(kind)) as found:
        _run(judged, steps)
    return found


def own_modules(kind: type) -> set[str]:
    """The modules of the scheduler itself: of its class, and of those above that can step."""
    return {c.__module__ for c in kind.__mro__ if all(hasattr(c, m) for m in PROTOCOL)}


def _run(judged: Subject, steps: int) -> list[Any]:
    """The states of a run on carriers by a scheduler that is made for it, the output last."""
    from ._torch import exact, tensor

    carriers, drawn = _Carriers(steps), itertools.count()
    states: list[Any] = []

    def carrier(kind: str, i: int) -> Any:
        return tensor(carriers(kind, i).reshape(1, -1, 1, 1))

    def network(i: int, call: Call) -> Any:
        states.append(call.state)
        return carrier("m", i)

    with exact(_modules(judged), lambda: carrier("xi", next(drawn))), quiet():
        states.append(drive(judged, judged.make(), steps, carrier("x", 0), network, None))
    return states


def _line(frame: FrameType | None, own: set[str]) -> Line | None:
    """The innermost line of own code."""
    while frame is not None and frame.f_globals.get("__name__") not in own:
        frame = frame.f_back
    return None if frame is None else Line(frame.f_code, frame.f_lineno)


@contextlib.contextmanager
def _traced(own: set[str]) -> Iterator[Ran]:
    found = Ran(set(), {})

    def on_line(frame: FrameType, event: str, arg: Any) -> Any:
        found.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    def on_call(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_globals.get("__name__") not in own:
            return None
        callers, caller = set(), frame
        while caller is not None:
            callers.add(caller.f_code.co_name)
            caller = caller.f_back
        count = found.calls.get(frame.f_code, 0)
        found.calls[frame.f_code] = count + callers.isdisjoint(SETUP)
        return on_line

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield found
    finally:
        sys.settrace(before)
