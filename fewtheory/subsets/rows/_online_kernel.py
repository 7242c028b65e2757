"""Online leverage, row by row, by the rotations that bring a row into a Cholesky factor.

With M = R^T R the matrix so far, rotation k has the tangent t_k = a_k / R_kk (a as the rotations
before have left it), and 1 + a^T M^{-1} a = prod (1 + t_k^2): the score comes with the update, and
nothing is subtracted. The plain twin is the same function without Numba (`online_scores.py_func`).
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
@no_type_check
def online_scores(rows, R, out):
    """out_i = a_i^T (R^T R)^{-1} a_i, then R^T R <- R^T R + a_i a_i^T; R (d, d) is overwritten."""
    n, d = rows.shape
    a = np.empty(d)
    for i in range(n):
        a[:] = rows[i]
        total = 0.0
        for k in range(d):
            t = a[k] / R[k, k]
            c = 1.0 / np.sqrt(1.0 + t * t)
            s = t * c
            total += t * t * (1.0 + total)
            for j in range(k, d):
                old = R[k, j]
                R[k, j] = c * old + s * a[j]
                a[j] = c * a[j] - s * old
        out[i] = total
