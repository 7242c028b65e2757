"""A coreset of a stream: merge and reduce.

Batches become leaves of about 2 m rows, each reduced to m; two coresets of one height are put
together and reduced again, as carries run in binary addition. So log2(n / 2m) coresets of m rows
are held, each row has been drawn at most as many times, and |S A x|_p^p keeps its mean at every
height. The distortions of the heights compound. Woodruff & Yasuda (arXiv 2306.00732), sheet `lp-
sensitivity`, scalable approximations (iv).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...arrays import Array, Rng, as_like, check_rng, namespace, to_numpy
from ...errors import fail, integer, one_of
from .blocks import matrix
from .budget import DRAWS, draw_rows
from .coreset import Coreset
from .lewis import norm_exponent
from .scores import in_range, scores


@dataclass(frozen=True)
class Kept:
    """Rows of the stream as they came, where they stood and how probably they are still here."""

    rows: Array
    index: np.ndarray
    probability: np.ndarray

    def scaled(self, p: float) -> Array:
        """The rows times q^{-1/p}."""
        return self.rows * as_like(self.probability[:, None] ** (-1 / p), self.rows)

    def take(self, which: np.ndarray, chance: np.ndarray) -> Kept:
        """Some of them, each with its new chance times the old."""
        xp = namespace(self.rows)
        where = xp.asarray(which, device=getattr(self.rows, "device", None))
        rows = xp.take(self.rows, where, axis=0)
        return Kept(rows, self.index[which], self.probability[which] * chance)


class StreamingCoreset:
    """About m reweighted rows of a stream of batches, in one pass and O(m log n) memory.

    Args:
        p: of the norm, 1 <= p < infinity.
        m: expected number of rows of each reduction, at least the number of columns.
        scores: a family (`fewtheory.subsets.scores`).
        leaf: rows of a leaf, more than m (default 2 m).
        draw: "bernoulli" or "fixed".
        rng: a numpy or torch generator.

    Raises: ValueError for arguments out of their ranges; `push` for a batch of another width or
        kind.

    Source: sheet `lp-sensitivity`, Method, Scalable approximations (iv).

    >>> import numpy as np
    >>> from fewtheory.subsets import StreamingCoreset
    >>> rng = np.random.default_rng(0)
    >>> stream = StreamingCoreset(p=1, m=40, draw="fixed", rng=rng)
    >>> for _ in range(10):
    ...     stream.push(rng.standard_normal((100, 3)))
    >>> stream.result().n, stream.rows().shape
    (1000, (40, 3))
    """

    def __init__(
        self,
        p: float | int,
        m: int,
        *,
        scores: str = "lewis",
        leaf: int | None = None,
        draw: str = "bernoulli",
        rng: Rng,
    ):
        name = "StreamingCoreset"
        self.p, self.m = norm_exponent(name, p), integer(name, "m", m, 1)
        in_range(name, scores, p)
        one_of(name, "draw", draw, [how for how in DRAWS if how != "replacement"])
        check_rng(name, rng)
        self.leaf = integer(name, "leaf", 2 * self.m if leaf is None else leaf, self.m + 1)
        self.scores, self.how, self.rng = scores, draw, rng
        self.n, self._pending = 0, None
        self._heights: list[Kept | None] = []

    def push(self, batch: Array) -> None:
        """Takes a batch of rows (b, d)."""
        name = "StreamingCoreset.push"
        matrix(name, batch, "batch")
        if batch.shape[1] > self.m:
            raise fail(name, "batch", f"of at most m = {self.m} columns", tuple(batch.shape))
        xp = namespace(batch)
        if not bool(xp.all(xp.isfinite(batch))):
            raise ValueError(f"{name}: batch must be finite")
        there = np.flatnonzero(to_numpy(xp.any(batch != 0, axis=1)))  # zero rows matter to nobody
        new = Kept(batch, np.arange(self.n, self.n + len(batch)), np.ones(len(batch)))
        new = new.take(there, np.ones(len(there)))
        self._pending = new if self._pending is None else joined(name, self._pending, new)
        self.n += len(batch)
        while len(self._pending.index) >= self.leaf:
            head, tail = np.split(np.arange(len(self._pending.index)), [self.leaf])
            leaf = self.reduced(self._pending.take(head, np.ones(len(head))))
            self._pending = self._pending.take(tail, np.ones(len(tail)))
            self.carry(leaf)

    def carry(self, new: Kept) -> None:
        """Puts a coreset at height 0, or with the one that is there a height further up."""
        for height, old in enumerate(self._heights):
            if old is None:
                self._heights[height] = new
                return
            self._heights[height] = None
            new = self.reduced(joined("StreamingCoreset", old, new))
        self._heights.append(new)

    def reduced(self, kept: Kept) -> Kept:
        """About m of these rows, scored as they are scaled now."""
        if len(kept.index) <= self.m:
            return kept
        scored = scores(kept.scaled(self.p), self.p, self.scores)
        return kept.take(*draw_rows(scored, self.m, how=self.how, rng=self.rng))

    def everything(self) -> Kept:
        """All that is held, the oldest rows first, reduced to about m; the stream may go on."""
        if self._pending is None:
            raise ValueError("StreamingCoreset.result: batch must have been pushed, got none")
        held = [kept for kept in reversed(self._heights) if kept is not None]
        whole = held[0] if held else self._pending
        for kept in [*held[1:], *([self._pending] if held else [])]:
            whole = joined("StreamingCoreset", whole, kept)
        return self.reduced(whole)

    def result(self) -> Coreset:
        """The coreset of all rows so far. It draws anew at each call: keep what it returns."""
        self._last = self.everything()
        q = self._last.probability
        return Coreset(self._last.index, q ** (-1 / self.p), q, self.p, self.n)

    def rows(self) -> Array:
        """S A (k, d) of the last result, for a stream that is not kept."""
        if not hasattr(self, "_last"):
            self.result()
        return self._last.scaled(self.p)


def joined(where: str, first: Kept, second: Kept) -> Kept:
    """The rows of both."""
    a, b = first.rows, second.rows
    if a.shape[1] != b.shape[1] or namespace(a) is not namespace(b) or a.dtype != b.dtype:
        allowed = f"of {a.shape[1]} columns, {a.dtype}, as the ones before"
        raise fail(where, "batch", allowed, (tuple(b.shape), str(b.dtype)))
    return Kept(
        namespace(a).concat([a, b]),
        np.concatenate([first.index, second.index]),
        np.concatenate([first.probability, second.probability]),
    )
