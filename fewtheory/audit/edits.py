"""Edits of an expression, as whoever repairs a formula would make them.

`verify.sabotage` breaks a formula where it is told to; here every expression is tried, since nobody
knows yet where the formula is broken. The edits undo the mistakes that people make in formulas: a
sign, a factor, a ratio upside down, a level of another step, two exchanged names, a root.
"""

from __future__ import annotations

import ast
import copy
import functools
import itertools
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

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
    """(likely, what may stand here instead)."""
    node: Any = slot.node
    if isinstance(slot.parent, ast.stmt):
        for one, other in itertools.combinations(sorted(names(node, ast.Load) & set(known)), 2):
            if alike(one, other):
                yield 1, _Renamed({one: other, other: one}).visit(copy.deepcopy(node))
    match node:
        case ast.Constant() if type(node.value) in (int, float):
            yield from ((0, ast.Constant(w)) for w in _numbers(slot.node.value, slot.subscript))
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
        case ast.BinOp():
            yield from _of_arithmetic(slot, node.left, node.op, node.right)
    factor = isinstance(node, ast.Name) and _is(slot.parent, PRODUCTS)
    if factor or _is(node, TERMS):
        yield 2, ast.BinOp(node, ast.Pow(), ast.Constant(0.5))
    if factor:
        yield 2, ast.BinOp(node, ast.Pow(), ast.Constant(2))


def _of_arithmetic(
    slot: Slot, x: ast.expr, op: ast.operator, y: ast.expr
) -> Iterator[tuple[int, ast.expr]]:
    node = slot.node
    match op:
        case ast.Pow():
            yield 1, x
        case ast.Add() | ast.Sub():
            yield 0, ast.BinOp(x, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), y)
            if isinstance(op, ast.Sub):
                yield 1, ast.BinOp(y, op, x)
            if isinstance(y, ast.Constant) and y.value == 1:
                yield 0, x
        case ast.Mult() | ast.Div():
            if isinstance(op, ast.Div):
                yield 0, ast.BinOp(y, op, x)
            yield 2, ast.BinOp(x, ast.Div() if isinstance(op, ast.Mult) else ast.Mult(), y)
            if not _is(slot.parent, PRODUCTS):
                yield from ((0, _times(c, node)) for c in (2, 0.5))
                if not (_is(slot.parent, TERMS) and slot.field == "right"):
                    yield 0, _negative(node)


def _numbers(v: float | int, subscript: bool) -> Iterator[float | int]:
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


def _times(factor: float | int, x: ast.expr) -> ast.expr:
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
