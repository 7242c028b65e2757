"""A tall matrix, seen one block of rows at a time.

Scores of rows need two things of a matrix: sums over its rows (a Gram matrix) and something for
each row (a squared norm in new coordinates). A sweep gives both in a pass, so that each formula is
written once, for a few rows, and holds for arrays in memory and for arrays on a cluster
(`_dask.DaskRows`). Blocks stay in cache; NumPy's are shared among threads, each with a BLAS of one
thread. The order in which sums are taken depends on the shape alone.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arrays import Array, is_numpy, namespace, to_numpy
from ...errors import fail
from ...tiles import in_parts

IN_CACHE = 1 << 17  # numbers of a NumPy block: 1 MB
ON_DEVICE = 1 << 24  # numbers of any other array's block
GROUPS = 32  # of blocks, each with running sums of its own

Sweep = Callable[..., tuple[tuple[Array, ...], tuple[Array, ...]]]


class Rows:
    """What a matrix of shape (n, d) must offer: sweeps over its rows."""

    n: int
    d: int

    def sweep(
        self, function: Sweep, *per_row: Any, combine: Sequence[Any] = (), seed: Any = None
    ) -> tuple[tuple[Any, ...], tuple[np.ndarray, ...]]:
        """function(block, *rows of the block) over all blocks.

        It returns values for each row, which are put end to end, and summands, which the functions
        in `combine` bring together two at a time. With a `seed` (a SeedSequence) the function is
        given a generator as `rng`.
        """
        raise NotImplementedError

    def of_rows(self, values: Any) -> Any:
        """Values for each row, as the input's kind, dtype and device."""
        raise NotImplementedError


class InMemory(Rows):
    """The rows of a NumPy array, a torch tensor or any other array of the standard."""

    def __init__(self, A: Array):
        self.A, (self.n, self.d) = A, A.shape
        self.xp = namespace(A)

    def edges(self) -> list[int]:
        """Where blocks begin, and the end."""
        size = max(64, (IN_CACHE if is_numpy(self.A) else ON_DEVICE) // self.d)
        return [*range(0, self.n, size), self.n]

    def sweep(
        self, function: Sweep, *per_row: Array, combine: Sequence[Any] = (), seed: Any = None
    ) -> tuple[tuple[Array, ...], tuple[np.ndarray, ...]]:
        """One pass; blocks are given in double precision."""
        edges = self.edges()
        blocks = len(edges) - 1
        groups = min(GROUPS, blocks, max(4, (1 << 22) // self.d**2))
        seeds = [None] * blocks if seed is None else seed.spawn(blocks)
        ends = [blocks * g // groups for g in range(groups + 1)]
        pieces = [(edges[a : b + 1], seeds[a:b]) for a, b in itertools.pairwise(ends)]
        done: list[Any] = [None] * groups
        sweep = functools.partial(self.group, function, per_row, combine)
        work = functools.partial(filled, done, sweep, pieces)
        if is_numpy(self.A):
            in_parts(groups, self.n * self.d**2, work)
        else:
            work(0, groups)
        columns = [part for parts, _ in done for part in parts]
        total = functools.reduce(functools.partial(together, combine), (sums for _, sums in done))
        stacked = tuple(self.xp.concat(parts) for parts in zip(*columns, strict=True))
        return stacked, tuple(to_numpy(t) for t in total)

    def group(
        self, function: Sweep, per_row: Any, combine: Any, edges: list[int], seeds: Any
    ) -> tuple[list[tuple[Array, ...]], tuple[Array, ...]]:
        """Some blocks, one after the other: values for their rows, and their sums."""
        columns, sums = [], ()
        for start, stop, seed in zip(edges, edges[1:], seeds, strict=False):
            rows = self.xp.astype(self.A[start:stop, ...], self.xp.float64, copy=False)
            drawn = {} if seed is None else {"rng": np.random.default_rng(seed)}
            values, new = function(rows, *(v[start:stop, ...] for v in per_row), **drawn)
            columns.append(values)
            sums = together(combine, sums, new)
        return columns, sums

    def of_rows(self, values: Array) -> Array:
        """Values in the input's own dtype."""
        return self.xp.astype(values, self.A.dtype, copy=False)


def filled(done: list[Any], sweep: Any, pieces: Any, first: int, last: int) -> None:
    """Puts the results of some pieces where they belong."""
    for g in range(first, last):
        done[g] = sweep(*pieces[g])


def together(combine: Sequence[Any], left: tuple, right: tuple) -> tuple:
    """The summands of two parts, brought together; () is nothing."""
    if not left or not right:
        return left or right
    return tuple(join(a, b) for join, a, b in zip(combine, left, right, strict=True))


def add(a: Array, b: Array) -> Array:
    """A sum, as a function that travels to other processes."""
    return a + b


def larger(a: Array, b: Array) -> Array:
    """The larger one of two, elementwise; NaN wins."""
    return namespace(a).maximum(a, b)


def smaller(a: Array, b: Array) -> Array:
    """The smaller one of two, elementwise; NaN wins."""
    return namespace(a).minimum(a, b)


def is_dask(A: Any) -> bool:
    """Whether this is a dask array; does not import dask."""
    dask = sys.modules.get("dask.array")
    return dask is not None and isinstance(A, dask.Array)


def rows_of(where: str, A: Any, argument: str = "A") -> Rows:
    """The matrix as blocks of rows, or an error that names the argument.

    Its numbers are looked at in the first sweep: a pass over a large matrix is work.
    """
    if is_dask(A):
        from ._dask import DaskRows

        return DaskRows(where, A, argument)
    matrix(where, A, argument)
    return InMemory(A)


def matrix(where: str, A: Any, argument: str = "A") -> Any:
    """The namespace of a matrix of real floating numbers with n >= 1 rows and d >= 1 columns."""
    shape = getattr(A, "shape", None)
    if shape is None or not hasattr(A, "dtype"):
        raise TypeError(f"{where}: {argument} must be an array, got {type(A).__name__}")
    if len(shape) != 2 or 0 in shape:
        raise fail(where, argument, "a matrix of shape (n, d), n >= 1, d >= 1", tuple(shape))
    xp = namespace(A)
    if not xp.isdtype(A.dtype, "real floating"):
        raise TypeError(f"{where}: {argument} must be of a real floating dtype, got {A.dtype}")
    return xp
