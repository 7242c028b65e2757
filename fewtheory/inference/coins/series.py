"""Binary series: what counts as one, the grams in it, and what their counts say in nats.

A series is answers x_1, .., x_n in {0, 1} (1 = yes) in their order. Several series (one a call of a
model that gives many answers) are kept apart: no gram and no run crosses from one to the next.
Counts are cyclic: the series is closed to a ring, so that every position starts a gram and the
counts of length m are marginals of those of length m + 1. Sheet `binary-bias`, M3 and M4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array, to_numpy
from ...errors import fail, integer
from ...shapes import Float, Int

LONGEST_GRAM = 16


def flips(where: str, x: Any, argument: str = "x") -> Int[np.ndarray, "n"]:
    """One series as int8 NumPy, or an error that names it: any array or list of 0, 1, or bool."""
    host = _zeros_and_ones(where, argument, x)
    if host.ndim != 1 or host.size < 1:
        raise fail(where, argument, "of shape (n,), n at least 1", host.shape)
    return host


def flips_in_rows(where: str, x: Any, argument: str = "x") -> Int[np.ndarray, "... n"]:
    """Series of one length as int8 NumPy (..., n), or an error that names them."""
    host = _zeros_and_ones(where, argument, x)
    if host.ndim < 1 or host.shape[-1] < 1:
        raise fail(where, argument, "of shape (..., n), n at least 1", host.shape)
    return host


def separate_series(where: str, x: Any, argument: str = "x") -> list[Int[np.ndarray, "n"]]:
    """Series that are kept apart: one (n,), rows of (calls, n), or a list of series."""
    if isinstance(x, (list, tuple)) and x and np.ndim(x[0]) > 0:
        return [flips(where, one, f"{argument}[{i}]") for i, one in enumerate(x)]
    host = _zeros_and_ones(where, argument, x)
    if host.ndim == 2 and host.size:
        return list(host)
    return [flips(where, host, argument)]


def _zeros_and_ones(where: str, argument: str, x: Any) -> np.ndarray:
    try:
        host = np.asarray(x) if isinstance(x, (list, tuple)) else to_numpy(x)
    except ValueError:
        raise fail(where, argument, "an array of 0 and 1", x) from None
    if host.dtype.kind not in "biuf":
        raise TypeError(f"{where}: {argument} must be an array of 0 and 1, got {host.dtype}")
    strays = host[(host != 0) & (host != 1)]
    if strays.size:
        raise fail(where, argument, "of 0 and 1 only", strays.ravel()[0].item())
    return host.astype(np.int8)


def gram_counts(x: Array, m: int) -> Int[Any, "... grams"]:
    """N_w, the number of cyclic windows of length m that read w, (..., 2^m); the series sum to n.

    x: (..., n), n >= m; grams are numbered as binary numbers, first answer highest. m = 0: n.
    Raises ValueError or TypeError by name.

    >>> gram_counts(np.array([0, 1, 1, 0, 1]), 2).tolist()
    [0, 2, 2, 1]
    """
    host = flips_in_rows("gram_counts", x)
    integer("gram_counts", "m", m, 0, min(LONGEST_GRAM, host.shape[-1]))
    flat = host.reshape(-1, host.shape[-1]).astype(np.int32)
    code = np.zeros_like(flat)
    for k in range(m):
        code = 2 * code + np.roll(flat, -k, axis=1)
    code += (np.arange(flat.shape[0], dtype=np.int32) << m)[:, None]
    counts = np.bincount(code.ravel(), minlength=flat.shape[0] << m)
    return counts.reshape(*host.shape[:-1], 1 << m)


def n_log_n(counts: Any) -> Float[Any, "..."]:
    """sum_w N_w log N_w over the last axis, 0 log 0 = 0."""
    from scipy.special import xlogy

    return xlogy(counts, counts).sum(axis=-1)
