"""A dask array chunked by rows, as blocks of rows on whatever scheduler is active.

Each chunk is swept in memory by the worker that has it; sums are brought together in pairs, in the
order of the chunks. What a sweep gives for each row stays on the cluster, and is made again from
the chunks where a worker is lost: randomness comes from a seed for each chunk, so that the result
does not change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import fail
from .blocks import InMemory, Rows, Sweep, together


class DaskRows(Rows):
    """The rows of a dask array (n, d) with one chunk of columns."""

    def __init__(self, where: str, A: Any, argument: str = "A"):
        if A.ndim != 2 or A.npartitions == 0:
            raise fail(where, argument, "a matrix of shape (n, d), n >= 1, d >= 1", A.shape)
        if any(math.isnan(size) for sizes in A.chunks for size in sizes):
            raise fail(where, argument, "of known chunk sizes (compute_chunk_sizes)", A.shape)
        if 0 in A.shape:
            raise fail(where, argument, "a matrix of shape (n, d), n >= 1, d >= 1", A.shape)
        if len(A.chunks[1]) != 1:
            raise fail(where, argument, "chunked by rows: A.rechunk({1: -1})", A.chunks[1])
        if A.dtype.kind != "f":
            raise TypeError(f"{where}: {argument} must be of a real floating dtype, got {A.dtype}")
        self.A, (self.n, self.d) = A, A.shape

    def sweep(
        self, function: Sweep, *per_row: Any, combine: Sequence[Any] = (), seed: Any = None
    ) -> tuple[tuple[Any, ...], tuple[np.ndarray, ...]]:
        """One pass; values for each row are kept by the workers, sums are brought here."""
        import dask.array as da
        from dask.base import compute, persist
        from dask.delayed import delayed

        sizes = self.A.chunks[0]
        chunks = self.A.to_delayed().ravel()
        columns = [v.rechunk((sizes, *v.chunks[1:])).to_delayed().ravel() for v in per_row]
        seeds = [None] * len(sizes) if seed is None else seed.spawn(len(sizes))
        sent = delayed(function, pure=False)
        part, join = delayed(sweep_of_chunk), delayed(joined)
        swept = [
            part(sent, chunk, rows, list(combine), start)
            for chunk, start, *rows in zip(chunks, seeds, *columns, strict=True)
        ]
        swept = persist(*swept)
        sums = [s[1] for s in swept]
        while len(sums) > 1:
            pairs = [sums[k : k + 2] for k in range(0, len(sums), 2)]
            sums = [join(list(combine), *pair) if len(pair) == 2 else pair[0] for pair in pairs]
        total, shapes = compute(sums[0], swept[0][2])
        made = [
            da.concatenate(
                [
                    da.from_delayed(s[0][k], (size, *shape), dtype=np.float64)
                    for s, size in zip(swept, sizes, strict=True)
                ]
            )
            for k, shape in enumerate(shapes)
        ]
        return tuple(made), tuple(np.asarray(t) for t in total)

    def of_rows(self, values: Any) -> Any:
        """Values in the input's own dtype."""
        return values.astype(self.A.dtype)


def sweep_of_chunk(
    function: Sweep,
    chunk: np.ndarray,
    rows: Sequence[np.ndarray],
    combine: Sequence[Any],
    seed: Any,
) -> tuple[tuple, tuple, tuple]:
    """What one chunk gives for each row, its sums, and the shape of a row's values."""
    columns, sums = InMemory(chunk).sweep(function, *rows, combine=combine, seed=seed)
    return columns, sums, tuple(column.shape[1:] for column in columns)


def joined(combine: Sequence[Any], left: tuple, right: tuple) -> tuple:
    """The sums of two parts, brought together."""
    return together(combine, left, right)
