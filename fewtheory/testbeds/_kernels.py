"""Numba kernels of the testbeds: mixtures tile by tile, and the flow map of 1-D mixtures.

Each has a plain array twin (`mixture_sums.by_differences`, `inversion.flow_map`), its oracle in the
tests. They release the GIL; `tiles.in_parts` runs them on as many threads as BLAS may use.
Fast-math is limited to contraction to fused multiply-adds and to the absence of NaN.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # Cody and Waite
ROUND = 1.5 * 2.0**52
LOG_2PI = math.log(2 * math.pi)
SAFE = {"contract", "nnan", "nsz"}
OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy"}


@njit(fastmath={"contract"}, inline="always", **OPTIONS)
@no_type_check
def _exp_parts(x):
    """e^x = p 2^n for x <= 0: (p, n + ROUND); Taylor to degree 13 on |r| <= ln(2)/2.

    Adding ROUND rounds to an integer that stands in the last bits of the sum, `_power_of_two`.
    """
    x = max(x, -708.0)  # below, e^x is less than the smallest normal number
    shifted = x * LOG2_E + ROUND
    n = shifted - ROUND
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p, shifted


@njit(inline="always", **OPTIONS)
@no_type_check
def _power_of_two(bits):
    """The bits of 2^n from those of n + ROUND."""
    return (bits + 1023) << 52


@njit(fastmath=SAFE, **OPTIONS)
@no_type_check
def softmax_rows(logits, constant, squares, half_precision, log_total, share):
    """In place: logits (n, K) + constant_k + squares_i half_precision_k become e^(. - their
    maximum).

    log_total_i receives the logarithm of their sum, share_i one over the sum of what stands in the
    row: weights are row_k share_i. Passes without a branch, so that they run on vector registers;
    four chains of maxima and of additions, so that none waits for the one before.
    """
    n, K = logits.shape
    whole = K - K % 4
    scale = np.empty(K)
    bits = scale.view(np.int64)
    for i in range(n):
        row, s = logits[i], squares[i]
        for k in range(K):
            row[k] += constant[k] + s * half_precision[k]
        t0 = t1 = t2 = t3 = -np.inf
        for k in range(0, whole, 4):
            t0, t1 = max(t0, row[k]), max(t1, row[k + 1])
            t2, t3 = max(t2, row[k + 2]), max(t3, row[k + 3])
        for k in range(whole, K):
            t0 = max(t0, row[k])
        top = max(max(t0, t1), max(t2, t3))
        for k in range(K):
            row[k], scale[k] = _exp_parts(row[k] - top)
        for k in range(K):
            bits[k] = _power_of_two(bits[k])
        for k in range(K):
            row[k] *= scale[k]
        a = b = c = d = 0.0
        for k in range(0, whole, 4):
            a, b, c, d = a + row[k], b + row[k + 1], c + row[k + 2], d + row[k + 3]
        for k in range(whole, K):
            a += row[k]
        total = (a + b) + (c + d)
        log_total[i] = top + math.log(total)
        share[i] = 1 / total


@njit(fastmath=SAFE, **OPTIONS)
@no_type_check
def whitened_squares(y, shift, logits):
    """y (n, K, d) -= shift (K, d) in place, and logits_nk = -|y_nk|^2 / 2."""
    n, K, d = y.shape
    for i in range(n):
        for k in range(K):
            row = y[i, k]
            a = b = 0.0
            for j in range(0, d - 1, 2):
                row[j] -= shift[k, j]
                row[j + 1] -= shift[k, j + 1]
                a += row[j] * row[j]
                b += row[j + 1] * row[j + 1]
            if d % 2:
                row[d - 1] -= shift[k, d - 1]
                a += row[d - 1] * row[d - 1]
            logits[i, k] = -0.5 * (a + b)


@njit(fastmath=SAFE, **OPTIONS)
@no_type_check
def _terms_of_tile(b, xt, means, precision, whitening, constant, logits, y):
    """logits (K, tile) of b points xt (d, tile) by differences; elementwise without whitening."""
    d = xt.shape[0]
    full = whitening.shape[0] > 0
    for k in range(means.shape[0]):
        row = logits[k]
        for p in range(b):
            row[p] = 0.0
        for i in range(d):
            if full:
                w, m = whitening[k, i, 0], means[k, 0]
                for p in range(b):
                    y[p] = w * (xt[0, p] - m)
                for j in range(1, d - 1):
                    w, m = whitening[k, i, j], means[k, j]
                    for p in range(b):
                        y[p] += w * (xt[j, p] - m)
                if d > 1:
                    w, m = whitening[k, i, d - 1], means[k, d - 1]
                    for p in range(b):
                        z = y[p] + w * (xt[d - 1, p] - m)
                        row[p] += z * z
                else:
                    for p in range(b):
                        row[p] += y[p] * y[p]
            else:
                m, q = means[k, i], precision[k, i]
                for p in range(b):
                    z = xt[i, p] - m
                    row[p] += q * z * z
        for p in range(b):
            row[p] = constant[k] - 0.5 * row[p]


@njit(fastmath=SAFE, **OPTIONS)
@no_type_check
def _softmax_columns(b, logits, log_prob, share):
    """As `softmax_rows`, for each of the first b columns of logits (K, tile)."""
    K = logits.shape[0]
    scale, top = np.empty(b), np.full(b, -np.inf)
    bits = scale.view(np.int64)
    for k in range(K):
        row = logits[k]
        for p in range(b):
            top[p] = max(top[p], row[p])
    for p in range(b):
        share[p] = 0.0
    for k in range(K):
        row = logits[k]
        for p in range(b):
            row[p], scale[p] = _exp_parts(row[p] - top[p])
        for p in range(b):
            bits[p] = _power_of_two(bits[p])
        for p in range(b):
            row[p] *= scale[p]
            share[p] += row[p]
    for p in range(b):
        log_prob[p] = top[p] + math.log(share[p])
        share[p] = 1 / share[p]


@njit(fastmath=SAFE, **OPTIONS)
@no_type_check
def _sums_of_tile(b, xt, means, matrix, gain, base, logits, share, out):
    """out (d, tile) = share sum_k r_k (base_k + gain_k (x - m_k)), gain elementwise or a matrix."""
    d = xt.shape[0]
    full = matrix.shape[0] > 0
    for i in range(d):
        for p in range(b):
            out[i, p] = 0.0
    for k in range(means.shape[0]):
        r = logits[k]
        for i in range(d):
            o, c = out[i], base[k, i]
            if full:
                w, m = matrix[k, i, 0], means[k, 0]
                for p in range(b):
                    o[p] += r[p] * (c + w * (xt[0, p] - m))
                for j in range(1, d):
                    w, m = matrix[k, i, j], means[k, j]
                    for p in range(b):
                        o[p] += r[p] * (w * (xt[j, p] - m))
            else:
                g, m = gain[k, i], means[k, i]
                for p in range(b):
                    o[p] += r[p] * (c + g * (xt[i, p] - m))
    for i in range(d):
        for p in range(b):
            out[i, p] *= share[p]


@njit(**OPTIONS)
@no_type_check
def by_differences(
    x, means, precision, whitening, inverse, gain, gain_matrix, constant, data, tile,
    log_prob, pull_out, data_out,
):  # fmt: skip
    """log p, sum_k r_k S_k^{-1} (x - m_k) and sum_k r_k E_k[x_0], tile by tile of points.

    Elementwise forms give precision and gain (K, d), full ones whitening, inverse and gain_matrix
    (K, d, d); the others are empty. data: (K, d), the components' means of x_0. Outputs of length 0
    are not computed.
    """
    n, d = x.shape
    K = means.shape[0]
    # whole tiles in contiguous buffers, and the number of points in use: slices would have strides
    xt, logits, out = np.empty((d, tile)), np.empty((K, tile)), np.empty((d, tile))
    y, share, totals, zero = np.empty(tile), np.empty(tile), np.empty(tile), np.zeros((K, d))
    for start in range(0, n, tile):
        b = min(tile, n - start)
        for p in range(b):
            for i in range(d):
                xt[i, p] = x[start + p, i]
        _terms_of_tile(b, xt, means, precision, whitening, constant, logits, y)
        _softmax_columns(b, logits, totals, share)
        for p in range(b):
            log_prob[start + p] = totals[p]
        if pull_out.shape[0]:
            _sums_of_tile(b, xt, means, inverse, precision, zero, logits, share, out)
            for p in range(b):
                for i in range(d):
                    pull_out[start + p, i] = out[i, p]
        if data_out.shape[0]:
            _sums_of_tile(b, xt, means, gain_matrix, gain, data, logits, share, out)
            for p in range(b):
                for i in range(d):
                    data_out[start + p, i] = out[i, p]
