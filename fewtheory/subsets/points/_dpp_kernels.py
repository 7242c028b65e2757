"""Numba kernels of the chain rule: judging proposals in turn, and a table's look-up.

Each has a plain twin that is its oracle in the tests: `dpp.judge`, `Table.plain`.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy"}


@njit(**OPTIONS)
@no_type_check
def guided(cumulative, guide, u):
    """The first index whose cumulative sum exceeds u, from the guide on."""
    out, n = np.empty(u.size, np.int64), guide.size
    for i in range(u.size):
        k = guide[min(int(u[i] * n), n - 1)]
        while k > 0 and cumulative[k - 1] > u[i]:  # u n may round up to the next step
            k -= 1
        while cumulative[k] <= u[i]:
            k += 1
        out[i] = k
    return out


@njit(fastmath={"contract", "reassoc", "nsz"}, **OPTIONS)
@no_type_check
def _dot(a, b):
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@njit(fastmath={"contract", "reassoc", "nsz"}, **OPTIONS)
@no_type_check
def judge_kernel(phi, v, basis, found):
    """As `dpp.judge`: rejects as soon as the part within the span is too large."""
    m = phi.shape[1]
    picked, r, rest = np.empty(m, np.int64), np.empty(m), 0
    for i in range(phi.shape[0]):
        if found == m:
            return picked[:rest], found, i
        row = phi[i]
        square = _dot(row, row)
        allowed, part, k = (1.0 - v[i]) * square, 0.0, 0
        while k < found and part < allowed:
            part += _dot(basis[k], row) ** 2
            k += 1
        if part >= allowed:
            continue
        r[:] = row
        for _ in range(2):
            for k in range(found):
                c = _dot(basis[k], r)
                for j in range(m):
                    r[j] -= c * basis[k, j]
        left = _dot(r, r)
        if left <= 1e-28 * square:  # in the span but for rounding
            continue
        basis[found] = r / np.sqrt(left)
        picked[rest] = i
        rest, found = rest + 1, found + 1
    return picked[:rest], found, phi.shape[0]
