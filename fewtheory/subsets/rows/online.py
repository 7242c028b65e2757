"""Online leverage: scores of rows that must be kept or dropped as they come.

    l_i = a_i^T (A_{<i}^T A_{<i} + lam I)^{-1} a_i

of the rows before only. det(I + A^T A / lam) grows by the factor 1 + l_i with row i, so sum log(1 +
l_i) is fixed by the whole matrix, and with it how many rows are kept. Woodruff & Yasuda (arXiv
2306.00732), sheet `lp-sensitivity`, scalable approximations (v).
"""

from __future__ import annotations

import numpy as np

from ...arrays import Array, Rng, as_like, check_rng, to_numpy, uniform
from ...errors import fail, integer, number
from .blocks import matrix


class OnlineLeverage:
    """Scores rows as they come, against all rows before and lam I.

    Args:
        d: columns.
        lam: > 0, what stands for the rows before the first; l is finite for every row.

    Source: sheet `lp-sensitivity`, Method, Scalable approximations (v).

    >>> import numpy as np
    >>> from fewtheory.subsets import OnlineLeverage
    >>> online = OnlineLeverage(1, lam=1.0)
    >>> online.push(np.array([[1.0], [1.0]])).round(4).tolist()
    [1.0, 0.5]
    >>> online.push(np.array([[1.0]])).round(4).tolist()
    [0.3333]
    """

    def __init__(self, d: int, lam: float | int):
        self.d = integer("OnlineLeverage", "d", d, 1)
        self.lam = number("OnlineLeverage", "lam", lam, np.finfo(float).tiny)
        self.R = np.sqrt(self.lam) * np.eye(self.d)

    def push(self, batch: Array) -> Array:
        """l of each row of a batch (b, d), which then counts as seen; of the batch's kind."""
        name = "OnlineLeverage.push"
        matrix(name, batch, "batch")
        from ._online_kernel import online_scores

        rows = to_numpy(batch).astype(np.float64)
        if rows.shape[1] != self.d:
            raise fail(name, "batch", f"of {self.d} columns", rows.shape)
        if not np.all(np.isfinite(rows)):
            raise ValueError(f"{name}: batch must be finite")
        out = np.empty(len(rows))
        online_scores(np.ascontiguousarray(rows), self.R, out)
        return as_like(out, batch)


def online_leverage(A: Array, lam: float | int) -> Array:
    """l_i = a_i^T (A_{<i}^T A_{<i} + lam I)^{-1} a_i of every row in order, (n,).

    Args:
        A: (n, d), NumPy or torch; the work is done on the host.
        lam: > 0.

    Returns: (n,), of A's kind and dtype; sum log(1 + l_i) = logdet(I + A^T A / lam).

    Raises: ValueError for what is not a finite matrix, and lam <= 0.

    Source: sheet `lp-sensitivity`, Method, Scalable approximations (v).

    >>> import numpy as np
    >>> from fewtheory.subsets import online_leverage
    >>> online_leverage(np.array([[3.0], [4.0]]), 1.0).tolist()
    [9.0, 1.6]
    """
    matrix("online_leverage", A)
    return OnlineLeverage(A.shape[1], lam).push(A)


def online_coreset(
    A: Array, c: float | int, lam: float | int, *, rng: Rng
) -> tuple[np.ndarray, np.ndarray]:
    """(index, probability) of rows kept as they come, each with probability min(1, c l_i).

    Args:
        A: (n, d), NumPy or torch.
        c: > 0; log(d) / eps^2 times a constant for a distortion of eps in l_2.
        lam: > 0, below the square of the least singular value that matters.
        rng: a numpy or torch generator.

    Returns: index (k,) and q (k,), on the host; the rows' weights are q^{-1/2}.

    Source: sheet `lp-sensitivity`, Method, Scalable approximations (v).

    >>> import numpy as np
    >>> from fewtheory.subsets import online_coreset
    >>> online_coreset(np.eye(2), 1.0, 0.1, rng=np.random.default_rng(0))[1].tolist()
    [1.0, 1.0]
    """
    factor = number("online_coreset", "c", c, np.finfo(float).tiny)
    check_rng("online_coreset", rng)
    q = np.minimum(1.0, factor * to_numpy(online_leverage(A, lam)).astype(np.float64))
    index = np.flatnonzero(uniform(rng, q.shape, q) < q)
    return index, q[index]
