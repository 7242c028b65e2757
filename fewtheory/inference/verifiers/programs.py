"""Real programs before real unit tests: small known-correct functions, and their mutants.

An attempt at a task is its program, with probability (1 - edit) to the number of its places, or one
single mutant of it: a comparison, an operator, a constant, a condition changed as a tired person
would change it. The verifier is the task's few published tests (`base`), the truth a
fuller set that contains them (`plus`), so nothing right is rejected and the soundness is what the
few tests see. All distinct attempts can be run (`survey`), which gives each task's solve rate and
soundness exactly, and with them curves and K* without sampling.

Source: sheet `inference-flaws`, "Base / plus".
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Rng, check_rng
from ...errors import fail, integer, number
from ...progress import bar
from ...testbeds.clips import _host_rng
from ...testbeds.verifier_kinds import TaskKinds
from .program_tasks import SOURCES
from .sandbox import Limits, Verdict, run

LIMITS = Limits(seconds=3.0, check_seconds=0.2, memory=2**28)
COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Add,), ast.FloorDiv: (ast.Mod,),
    ast.Mod: (ast.FloorDiv,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip


@dataclass(frozen=True)
class ProgramTask:
    """A function to be written.

    name: of the function; source: a correct program; base, plus: arguments of its tests, the
    verifier's few and the rest.
    """

    name: str
    source: str
    base: tuple[tuple[Any, ...], ...]
    plus: tuple[tuple[Any, ...], ...]

    def checks(self) -> tuple[list[str], list[str]]:
        """The tests of both sets as assertions; what is right is what the correct program gives."""
        space: dict[str, Any] = {}
        exec(compile(self.source, self.name, "exec"), space)
        base, plus = (
            [self._check(space[self.name], arguments) for arguments in rows]
            for rows in (self.base, self.plus)
        )
        return base, plus

    def _check(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
        expected = function(*copy.deepcopy(arguments))
        return f"assert {self.name}(*{arguments!r}) == {expected!r}"

    def mutants(self) -> list[str]:
        """Every distinct program that differs from the correct one in one place."""
        tree = ast.parse(self.source)
        found = dict.fromkeys(ast.unparse(mutant) for mutant in _mutants(tree))
        found.pop(ast.unparse(tree), None)
        return list(found)

    def judge(self, source: str, limits: Limits = LIMITS) -> tuple[bool, bool]:
        """(accepted by the verifier, right) of a program, run in the sandbox."""
        base, plus = self.checks()
        verdict: Verdict = run(source, [*base, *plus], limits)
        return verdict.passed >= len(base), verdict.ok


def program_tasks() -> tuple[ProgramTask, ...]:
    """The tasks of the package.

    >>> [task.name for task in program_tasks()][:3]
    ['clamp', 'is_leap', 'gcd']
    """
    return tuple(ProgramTask(*row) for row in SOURCES)


def _mutants(tree: ast.Module) -> Iterator[ast.Module]:
    """The tree with one node changed, for each node and each change."""
    nodes = list(ast.walk(tree))
    for index, node in enumerate(nodes):
        for change in range(_changes(node)):
            mutant = copy.deepcopy(tree)
            _change(list(ast.walk(mutant))[index], change)
            yield ast.fix_missing_locations(mutant)


def _changes(node: ast.AST) -> int:
    """The number of ways in which a node can be changed."""
    if isinstance(node, ast.Compare):
        return len(COMPARISONS.get(type(node.ops[0]), ()))
    if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        return len(OPERATORS.get(type(node.op), ()))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return 2
    return int(isinstance(node, (ast.If, ast.While, ast.IfExp)))


def _change(node: Any, change: int) -> None:
    """Change a node in place, in the way of this number."""
    if isinstance(node, ast.Compare):
        node.ops[0] = COMPARISONS[type(node.ops[0])][change]()
    elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        node.op = OPERATORS[type(node.op)][change]()
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    else:
        node.value += (1, -1)[change]


@dataclass(frozen=True, eq=False)
class Survey:
    """All attempts at all tasks, run once.

    tasks: names; sources: of each task, the correct program first; accepted, right: of each of
    them; chance: the probability of each attempt. `world` is exact.
    """

    tasks: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    accepted: tuple[tuple[bool, ...], ...]
    right: tuple[tuple[bool, ...], ...]
    chance: tuple[Any, ...]

    @property
    def world(self) -> TaskKinds:
        """The tasks as kinds of equal share, with their solve rates and soundnesses."""
        solve, soundness = [], []
        for chance, accepted, right in zip(self.chance, self.accepted, self.right, strict=True):
            r = float(chance @ np.array(right))
            passed = float(chance @ (np.array(accepted) & ~np.array(right)))
            solve.append(min(r, 1.0))
            soundness.append(1 - passed / (1 - r) if r < 1 else 1.0)
        share = np.full(len(solve), 1 / len(solve))
        return TaskKinds(tuple(share), tuple(solve), tuple(soundness))

    def model(self, *, rng: Rng) -> Callable[[int, int], list[tuple[int, int]]]:
        """A proposer for `record`: attempts at task i are (i, index of a program)."""
        check_rng("Survey.model", rng)
        host = _host_rng(rng)

        def propose(task: int, n: int) -> list[tuple[int, int]]:
            chance = self.chance[task]
            drawn = host.choice(len(chance), size=n, p=chance / chance.sum())
            return [(task, int(i)) for i in drawn]

        return propose

    def verify(self, task: int, attempt: tuple[int, int]) -> bool:
        """Whether the few tests accept it."""
        return self.accepted[task][attempt[1]]

    def truth(self, task: int, attempt: tuple[int, int]) -> bool:
        """Whether it passes all tests."""
        return self.right[task][attempt[1]]


def survey(
    tasks: Sequence[ProgramTask] | None = None, *, edit: float | int = 0.25, mutants: int = 0,
    limits: Limits = LIMITS, jobs: int = 1, progress: bool = False,
) -> Survey:  # fmt: skip
    """Run the correct program and the mutants of each task in the sandbox.

    edit: the probability that a place is changed: a task with M mutants is left correct with
    probability (1 - edit)^{M / 2}, and is else one of them at random. mutants: at most so many a
    task, evenly spaced (0: all). jobs: sandboxes at a time. Raises ValueError or TypeError by name.

    >>> found = survey(program_tasks()[:1], mutants=2)
    >>> found.right[0][0], len(found.sources[0])
    (True, 3)
    """
    number("survey", "edit", edit, 0.0, 1.0)
    integer("survey", "mutants", mutants, 0)
    integer("survey", "jobs", jobs, 1)
    chosen = program_tasks() if tasks is None else tuple(tasks)
    if not chosen:
        raise fail("survey", "tasks", "one or more", tasks)
    sources, chances = [], []
    for task in chosen:
        every = task.mutants()
        keep = (1 - edit) ** (len(every) / 2)
        kept = every[:: -(-len(every) // mutants)] if mutants else every
        sources.append((task.source, *kept))
        chances.append(np.array([keep, *([(1 - keep) / max(len(kept), 1)] * len(kept))]))
    work = [(task, s) for task, own in zip(chosen, sources, strict=True) for s in own]
    judged = []
    with bar(progress, len(work), "programs") as show:
        for verdict in _each(work, limits, jobs):
            judged.append(verdict)
            show(len(judged))
    rows, at = [], 0
    for own in sources:
        rows.append(judged[at : at + len(own)])
        at += len(own)
    accepted, right = (tuple(tuple(v[i] for v in row) for row in rows) for i in (0, 1))
    names = tuple(task.name for task in chosen)
    return Survey(names, tuple(sources), accepted, right, tuple(chances))


def _each(
    work: list[tuple[ProgramTask, str]], limits: Limits, jobs: int
) -> Iterator[tuple[bool, bool]]:
    """Judge every program, so many at a time; a thread waits for each process."""
    if jobs == 1:
        yield from (task.judge(source, limits) for task, source in work)
        return
    from joblib import Parallel, delayed

    run_all: Any = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
    yield from run_all(delayed(task.judge)(source, limits) for task, source in work)
