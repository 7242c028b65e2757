"""Edits of a method: one expression of its source replaced, as whoever repairs it would.

`verify.sabotage` breaks a formula where it is told to; here every expression is tried, since nobody
knows yet where the formula is broken. The edits undo the mistakes that people make in formulas: a
sign, a factor, a ratio upside down, a level of another step, a root. Nothing is written to a file:
the method's syntax tree is compiled with the one expression replaced and put into a subclass.
"""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple

from ..verify.sabotage import _twin
from .mutants import _subclass

TERMS, PRODUCTS = (ast.Add, ast.Sub), (ast.Mult, ast.Div)


class Slot(NamedTuple):
    """Where an expression stands in a tree: a field of its parent, an index where that is a list.

    subscript: whether it is part of one.
    """

    parent: ast.AST
    field: str
    index: int | None
    subscript: bool = False

    @property
    def node(self) -> Any:
        """The expression that stands there."""
        value = getattr(self.parent, self.field)
        return value if self.index is None else value[self.index]

    def put(self, node: ast.expr) -> None:
        """Let another expression stand there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


class Candidate(NamedTuple):
    """What may stand in a slot instead; likely: 0 for the commonest mistakes, then 1, 2."""

    slot: Slot
    new: ast.expr
    likely: int


@dataclass(frozen=True, eq=False)
class Method:
    """A method that a class has, with its source.

    kind: the class; name, value: the attribute, as the class holds it; function: what runs, inside
    whatever wraps it; definition: its tree, with the line numbers of its file.
    """

    kind: type
    name: str
    value: Any
    function: FunctionType
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
    tree = tree_of(code)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min(n.lineno for n in (node, *node.decorator_list))
            if first == code.co_firstlineno:
                return node
    return None


def tree_of(code: CodeType) -> ast.Module | None:
    """The tree of the file in which this code stands; None where it cannot be read."""
    try:
        return _parsed("".join(inspect.findsource(code)[0]))
    except (OSError, SyntaxError):
        return None


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _inside(value: Any) -> Iterator[FunctionType]:
    """The functions in an attribute of a class, the wrappers first."""
    while value is not None:
        if isinstance(value, FunctionType):
            yield value
        value = getattr(value, "__wrapped__", getattr(value, "func", None))


def _exchanged(value: Any, old: FunctionType, new: FunctionType) -> Any:
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


# which edits


def slots(node: ast.AST, subscript: bool = False) -> Iterator[Slot]:
    """Every expression of a statement that is computed, without those of statements inside it."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        inside = subscript or (isinstance(node, ast.Subscript) and field == "slice")
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(child, ast.expr) and field != "func":
                yield Slot(node, field, index, inside)
            if isinstance(child, ast.expr | ast.keyword | ast.comprehension):
                yield from slots(child, inside)


def names(node: ast.AST, context: type) -> set[str]:
    """The names that a tree loads (ast.Load) or assigns to (ast.Store)."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def candidates(statement: ast.stmt, known: Collection[str]) -> Iterator[Candidate]:
    """The edits of a statement. known: the names of its function, among which one may stand for
    another where they are alike."""
    seen = set()
    for slot in slots(statement):
        node = slot.node
        if isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store):
            for likely, new in _others(slot, known):
                key = id(slot.parent), slot.field, slot.index, ast.dump(new)
                if key not in seen and ast.dump(new) != ast.dump(node):
                    seen.add(key)
                    yield Candidate(slot, new, likely)


def _others(slot: Slot, known: Collection[str]) -> Iterator[tuple[int, ast.expr]]:
    node, parent = slot.node, slot.parent
    if isinstance(parent, ast.stmt):
        for one, other in itertools.combinations(sorted(names(node, ast.Load) & set(known)), 2):
            if alike(one, other):
                yield 1, _Renamed({one: other, other: one}).visit(copy.deepcopy(node))
    match node:
        case ast.Constant(value=v) if type(v) in (int, float):
            yield from ((0, ast.Constant(w)) for w in _numbers(v, slot.subscript))
        case ast.Name(id=name):
            yield from ((1, ast.Name(n, ast.Load())) for n in sorted(known) if alike(name, n))
        case ast.UnaryOp(op=ast.USub(), operand=x):
            yield 0, x
        case ast.Tuple(elts=parts):
            for i, j in itertools.combinations(range(len(parts)), 2):
                swapped = list(parts)
                swapped[i], swapped[j] = parts[j], parts[i]
                yield 1, ast.Tuple(swapped, ast.Load())
        case ast.Call(func=f, args=[x]) if _called(f) in ("exp", "expm1"):
            yield 0, ast.Call(f, [_negative(x)], node.keywords)
            if not _is(x, PRODUCTS):
                yield from ((1, ast.Call(f, [_times(c, x)], node.keywords)) for c in (2, 0.5))
        case ast.Call(func=f, args=[x]) if _called(f) == "sqrt":
            yield 1, x
        case ast.BinOp(left=x, op=ast.Pow()):
            yield 1, x
        case ast.BinOp(left=x, op=ast.Add() | ast.Sub() as op, right=y):
            yield 0, ast.BinOp(x, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), y)
            if isinstance(op, ast.Sub):
                yield 1, ast.BinOp(y, op, x)
            if isinstance(y, ast.Constant) and y.value == 1:
                yield 0, x
        case ast.BinOp(left=x, op=ast.Mult() | ast.Div() as op, right=y):
            if isinstance(op, ast.Div):
                yield 0, ast.BinOp(y, op, x)
            yield 2, ast.BinOp(x, ast.Div() if isinstance(op, ast.Mult) else ast.Mult(), y)
            if not _is(parent, PRODUCTS):
                yield from ((0, _times(c, node)) for c in (2, 0.5))
                if not (_is(parent, TERMS) and slot.field == "right"):
                    yield 0, _negative(node)
    if _is(node, TERMS) or isinstance(node, ast.Name) and _is(parent, PRODUCTS):
        yield 2, ast.BinOp(node, ast.Pow(), ast.Constant(0.5))
    if isinstance(node, ast.Name) and _is(parent, PRODUCTS):
        yield 2, ast.BinOp(node, ast.Pow(), ast.Constant(2))


def _numbers(v: float, subscript: bool) -> Iterator[float]:
    if v and not subscript:
        yield v * 2
        yield v // 2 if v % 2 == 0 and isinstance(v, int) else v / 2
        yield -v
    if isinstance(v, int):
        yield from (w for w in (v + 1, v - 1) if w >= 0)


def _is(node: ast.AST, operators: tuple[type, ...]) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, operators)


def _called(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def _negative(x: ast.expr) -> ast.expr:
    if isinstance(x, ast.UnaryOp) and isinstance(x.op, ast.USub):
        return x.operand
    return ast.UnaryOp(ast.USub(), x)


def _times(factor: float, x: ast.expr) -> ast.expr:
    return ast.BinOp(ast.Constant(factor), ast.Mult(), x)


class _Renamed(ast.NodeTransformer):
    def __init__(self, other: dict[str, str]):
        self.other = other

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.other.get(node.id, node.id), node.ctx)


def alike(one: str, other: str) -> bool:
    """Whether two names are of one kind: lambda_s0 and lambda_t, h and h_0, D1 and D2."""
    return one != other and bool(_stems(one) & _stems(other))


@functools.lru_cache(maxsize=4096)
def _stems(name: str) -> frozenset[str]:
    stem = re.sub(r"(_[a-z0-9]{1,2}|\d)_?$", "", name) or name
    words = {w for w in name.split("_") if len(w) > 3}
    return frozenset({stem, re.sub(r"\d+$", "", stem) or stem, *words})
