"""What a pivot is made of: sums over rows of a few columns, small inverses, weighted medians."""

from __future__ import annotations

from typing import no_type_check

from numba import njit

OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy"}


@njit(**OPTIONS)
@no_type_check
def dot(a, b):
    """a.b, of any strides."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(**OPTIONS)
@no_type_check
def add(total, factor, row):
    """total += factor row, in place."""
    for i in range(len(row)):
        total[i] += factor * row[i]


@njit(**OPTIONS)
@no_type_check
def largest(x):
    """max |x_i|."""
    out = 0.0
    for i in range(len(x)):
        out = max(out, abs(x[i]))
    return out


@njit(**OPTIONS)
@no_type_check
def inverse(M, N):
    """N = M^{-1} by Gauss and Jordan with row pivots, M is used up; False where M is singular."""
    r = len(M)
    for i in range(r):
        size = largest(M[i])
        if size == 0:
            return False
        for j in range(r):
            M[i, j] /= size  # rows of any length
            N[i, j] = 1 / size if i == j else 0.0
    for k in range(r):
        top = k
        for i in range(k + 1, r):
            if abs(M[i, k]) > abs(M[top, k]):
                top = i
        if not abs(M[top, k]) > 1e-13:
            return False
        for j in range(r):
            M[k, j], M[top, j] = M[top, j], M[k, j]
            N[k, j], N[top, j] = N[top, j], N[k, j]
        pivot = M[k, k]
        for j in range(r):
            M[k, j] /= pivot
            N[k, j] /= pivot
        for i in range(r):
            if i != k:
                factor = M[i, k]
                for j in range(r):
                    M[i, j] -= factor * M[k, j]
                    N[i, j] -= factor * N[k, j]
    return True


@njit(**OPTIONS)
@no_type_check
def crossing(t, w, order, count, need):
    """The point of order[:count] (by t) at which the weights w sum to `need`: (its index, how many
    points lie strictly before it). Quickselect; of equal points the one of largest weight.
    """
    low, high = 0, count
    while True:
        pivot = t[order[(low + high) // 2]]
        a, i, b = low, low, high
        below = equal = 0.0
        best = -1
        while i < b:
            k = order[i]
            if t[k] < pivot:
                order[i], order[a] = order[a], k
                below += w[k]
                a += 1
                i += 1
            elif t[k] > pivot:
                b -= 1
                order[i], order[b] = order[b], k
            else:
                equal += w[k]
                if best < 0 or w[k] > w[best]:
                    best = k
                i += 1
        if below >= need and a > low:
            high = a
        elif below + equal >= need or b >= count:
            return best, a
        else:
            need -= below + equal
            low = b
            if low >= high:
                return best, a
