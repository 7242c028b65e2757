"""A method of a class as its source has it, and a subclass in which one expression is another.

What `mutants` does to expressions that are quoted, for any expression of any method whose source
can be read: the syntax tree is compiled with the expression replaced and stands in for the method,
inside whatever decorates it. No file and no class is changed.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from ..verify.sabotage import _twin
from .edits import Candidate
from .mutants import _subclass


@dataclass(frozen=True, eq=False)
class Method:
    """A method that a class has, with its source.

    kind: the class; name, value: the attribute, as the class holds it; function: what runs, inside
    whatever wraps it; definition: its tree, with the line numbers of its file.
    """

    kind: type
    name: str
    value: Any
    function: Any
    definition: ast.FunctionDef

    @property
    def statements(self) -> list[ast.stmt]:
        """Every statement in it, in the order of the source."""
        inside = [n for s in self.definition.body for n in ast.walk(s) if isinstance(n, ast.stmt)]
        return sorted(inside, key=lambda s: (s.lineno, s.col_offset))

    def edited(self, candidate: Candidate) -> type:
        """A subclass of the class, of its name, with this edit."""
        slot, old = candidate.slot, candidate.slot.node
        slot.put(ast.fix_missing_locations(ast.copy_location(copy.deepcopy(candidate.new), old)))
        try:
            code = _compiled(self.definition, self.function.__code__)
        finally:
            slot.put(old)
        new = _twin(self.function, self.function.__globals__, code)
        return _subclass(self.kind, self.name, _exchanged(self.value, self.function, new))


def methods(kind: type, ran: Collection[CodeType]) -> dict[CodeType, Method]:
    """Those of these pieces of code that are methods of the class and whose source can be read.

    Without those that a subclass has replaced: an edit of such a one would not be called.
    """
    found: dict[CodeType, Method] = {}
    held: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        held.update(vars(base))
    for name, value in held.items():
        for function in _inside(value):
            definition = definition_of(function.__code__) if function.__code__ in ran else None
            if definition is not None:
                own = copy.deepcopy(definition)
                found[function.__code__] = Method(kind, name, value, function, own)
    return found


def definition_of(code: CodeType) -> ast.FunctionDef | None:
    """The tree of the function with this code; None where its source cannot be read."""
    text = source_of(code)
    return _definitions(text).get((code.co_name, code.co_firstlineno)) if text else None


def source_of(code: CodeType) -> str | None:
    """The file in which this code stands; None where it cannot be read."""
    try:
        return "".join(inspect.findsource(code)[0])
    except OSError:
        return None


@functools.lru_cache(maxsize=8)
def parsed(text: str) -> ast.Module:
    """The tree of a file, which is not to be changed."""
    return ast.parse(text)


@functools.lru_cache(maxsize=8)
def _definitions(text: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """The functions of a file by name and first line, which is that of a decorator."""
    found = [n for n in ast.walk(parsed(text)) if isinstance(n, ast.FunctionDef)]
    return {(n.name, min(m.lineno for m in (n, *n.decorator_list))): n for n in found}


def lines_of(statement: ast.stmt) -> range:
    """The lines of a statement, without those of statements inside it."""
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno or 0
    return range(statement.lineno, max(last, statement.lineno) + 1)


def _inside(value: Any) -> Iterator[FunctionType]:
    """The functions in an attribute of a class, the wrappers first."""
    while value is not None:
        if isinstance(value, FunctionType):
            yield value
        value = getattr(value, "__wrapped__", getattr(value, "func", None))


def _exchanged(value: Any, old: Any, new: Any) -> Any:
    """The attribute with `new` for the function `old` inside it."""
    if value is old:
        return new
    if isinstance(value, staticmethod | classmethod):
        return type(value)(_exchanged(value.__func__, old, new))
    if isinstance(value, functools.partialmethod):
        return functools.partialmethod(
            _exchanged(value.func, old, new), *value.args, **value.keywords
        )
    inner = value.__wrapped__
    other = _exchanged(inner, old, new)
    cells = [CellType(other) if c.cell_contents is inner else c for c in value.__closure__]
    code, names = value.__code__, value.__globals__
    twin = FunctionType(code, names, value.__name__, value.__defaults__, tuple(cells))
    twin.__kwdefaults__ = value.__kwdefaults__
    return functools.update_wrapper(twin, other)


def _compiled(definition: ast.FunctionDef, code: CodeType) -> CodeType:
    """The function's code from its tree, in scopes that give it the same free variables."""
    owner = code.co_qualname.split(".")[-2:][0]
    free = [name for name in code.co_freevars if name != "__class__"]
    tree = ast.parse(f"def scope({', '.join(free)}):\n class {owner}: pass")
    scope: Any = tree.body[0]
    scope.body[0].body = [definition]
    whole = compile(tree, code.co_filename, "exec", dont_inherit=True)
    within = [whole]
    for one in within:
        within += [c for c in one.co_consts if isinstance(c, CodeType)]
    first = code.co_firstlineno
    new = next(c for c in within if (c.co_name, c.co_firstlineno) == (code.co_name, first))
    return new.replace(co_qualname=code.co_qualname)
