"""Saboteurs: the real code with one plausible mistake, so that a check can be seen to fail.

`sabotage(function, old, new, why)` takes the function's own source, replaces the expression `old`
by `new` and builds the function again: nothing is copied, and when the code changes so that `old`
is gone or ambiguous, it refuses. With `inside=` the mistake sits in another function that
`function` calls, of the same module or imported into it.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Saboteur:
    """A mistake: `build()` gives the object to be judged, `why` says what is wrong with it."""

    build: Callable[[], Any]
    why: str


def wrong(subject: Any, why: str) -> Saboteur:
    """A saboteur that is simply another object: wrong arguments, weights or law."""
    return Saboteur(lambda: subject, why)


def sabotage(
    function: Callable[..., Any],
    old: str,
    new: str,
    why: str,
    *,
    inside: Callable[..., Any] | None = None,
) -> Saboteur:
    """`function` with the expression `old` replaced by `new` in its body (or that of `inside`).

    Expressions are compared as syntax trees, so spacing does not matter. Raises ValueError, when
    built, unless `old` occurs exactly once.
    """
    return Saboteur(lambda: _build(function, old, new, inside or function), why)


def _build(function: Any, old: str, new: str, inside: Any) -> Any:
    """A twin of `function` in a copy of its module's names, where `inside` is the broken one.

    The module's other functions are twinned too, so that the mistake is seen through any chain of
    calls inside the module.
    """
    function, inside = _unchecked(function), _unchecked(inside)
    broken, names = _replaced(inside, old, new), dict(function.__globals__)
    plain = {n: _unchecked(v) for n, v in names.items() if isinstance(v, types.FunctionType)}
    if inside is not function and not any(v is inside for v in plain.values()):
        raise ValueError(
            f"sabotage: {inside.__qualname__} is not a name in {function.__module__}, "
            f"where {function.__qualname__} would look for it"
        )
    for name, value in plain.items():
        found = broken if value is inside else value
        if found.__globals__ is function.__globals__:
            names[name] = _twin(found, names)
        elif found is broken:
            names[name] = broken
    return _twin(broken if inside is function else function, names)


def _unchecked(function: Any) -> Any:
    """The function without the run-time type checks that an import hook may have put around it."""
    while hasattr(function, "__wrapped__") and any(
        checker in function.__code__.co_filename for checker in ("jaxtyping", "beartype")
    ):
        function = function.__wrapped__
    return function


def _replaced(function: Any, old: str, new: str) -> Any:
    """The function, compiled again with the expression replaced."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    found = _Replace(ast.dump(ast.parse(old, mode="eval").body), ast.parse(new, mode="eval").body)
    definition.body = [found.visit(statement) for statement in definition.body]
    if found.count != 1:
        raise ValueError(
            f"sabotage: {old!r} must occur exactly once in {function.__qualname__}, "
            f"found {found.count}"
        )
    definition.decorator_list, definition.returns = [], None
    _bare_arguments(definition.args)
    ast.fix_missing_locations(tree)
    space: dict[str, Any] = {}
    exec(
        compile(tree, f"<sabotaged {function.__qualname__}>", "exec", dont_inherit=True), {}, space
    )
    return _twin(function, function.__globals__, space[definition.name].__code__)


def _bare_arguments(arguments: ast.arguments) -> None:
    """Drop annotations and default values: the originals are attached again afterwards."""
    everyone = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for argument in [*everyone, arguments.vararg, arguments.kwarg]:
        if argument is not None:
            argument.annotation = None
    arguments.defaults = []
    arguments.kw_defaults = [None] * len(arguments.kwonlyargs)


def _twin(function: Any, names: dict[str, Any], code: types.CodeType | None = None) -> Any:
    """The same function over other globals, with other code if given."""
    twin = types.FunctionType(
        code or function.__code__,
        names,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__kwdefaults__, twin.__doc__ = function.__kwdefaults__, function.__doc__
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    twin.__dict__.update(function.__dict__)
    return twin


class _Replace(ast.NodeTransformer):
    def __init__(self, wanted: str, new: ast.expr):
        self.wanted, self.new, self.count = wanted, new, 0

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.expr) and ast.dump(node) == self.wanted:
            self.count += 1
            return self.new
        return self.generic_visit(node)
