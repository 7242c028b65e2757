"""l_1 sensitivities by vertices: min ||Qz||_1 over b.z = 1, and its bounded dual, certified.

A vertex z has r - 1 rows J with q_j.z = 0. Signs on the other rows and y_J from
Q^T y = s b (r equations for y_J and s) make the dual: where all |y_j| <= 1 the vertex is optimal, s
= ||Qz||_1 = 1/sigma. Otherwise the row j of the steepest descent leaves and z moves along the edge
to the exact minimum, a weighted median of the points where other rows change sign: a pivot of
O(n r). Rows start from the vertex that gives them the best bound so far.

Ties can stop the pivots; `_programs` then asks HiGHS, which is the oracle of this kernel too.

Source: sheet `lp-sensitivity`, Method, p = 1.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from ._pivoting import OPTIONS, add, crossing, dot, inverse, largest


@njit(**OPTIONS)
@no_type_check
def _steepest(N, g):
    """(k, y_k): the row of J whose release descends steepest, or -1 where all |y| <= 1."""
    r = len(g)
    best, leave, y_leave = 0.0, -1, 0.0
    for k in range(r - 1):
        edge = N[:, k]
        y = -dot(edge, g)
        gain = (abs(y) - 1) / np.sqrt(dot(edge, edge))
        if abs(y) > 1 + 1e-11 and gain > best:
            best, leave, y_leave = gain, k, y
    return leave, y_leave


@njit(**OPTIONS)
@no_type_check
def _exchange(N, row, k):
    """N = M^{-1} once row k of M has become `row`."""
    edge = N[:, k].copy()
    over = dot(row, edge)
    for j in range(len(N)):
        if j != k:
            add(N[:, j], -dot(row, N[:, j]) / over, edge)
    for i in range(len(N)):
        N[i, k] = edge[i] / over


@njit(**OPTIONS)
@no_type_check
def _pivot(Q, N, J, u, s, g, free, work):
    """One pivot in place; False where the vertex is optimal.

    N: inverse of the rows [Q_J; b]; u = Qz; s: signs of the rows outside J; g = sum of s_i q_i.
    """
    k, y_k = _steepest(N, g)
    if k < 0:
        return False
    t, w, v, order = work
    side, edge = (1.0 if y_k > 0 else -1.0), N[:, k].copy()
    small, count = 1e-12 * np.sqrt(dot(edge, edge)), 0  # |v| = |edge|
    for i in range(len(Q)):
        v[i] = side * dot(Q[i], edge)
        if free[i] and s[i] * v[i] < -small:
            t[i], w[i] = abs(u[i] / v[i]), 2 * abs(v[i])
            order[count] = i
            count += 1
    if count == 0:
        return False
    enter, passed = crossing(t, w, order, count, abs(y_k) - 1)
    step, leave = t[enter], J[k]
    for i in order[:passed]:
        s[i] = -s[i]
        add(g, 2 * s[i], Q[i])
    add(u, step, v)
    add(g, -s[enter], Q[enter])
    add(g, side, Q[leave])
    free[enter], free[leave] = False, True
    u[enter], u[leave], s[leave] = 0.0, side * step, side
    J[k] = enter
    _exchange(N, Q[enter], k)
    return True


@njit(**OPTIONS)
@no_type_check
def _factor(Q, b, J, s, first, N, u, free, g):
    """N, u, free and g of a vertex from its rows J; signs s are those of u where `first` or not 0.

    False where the rows [Q_J; b] are dependent.
    """
    n, r = Q.shape
    M = np.empty((r, r))
    for j in range(r - 1):
        for i in range(r):
            M[j, i] = Q[J[j], i]
    for i in range(r):
        M[r - 1, i] = b[i]
    if not inverse(M, N):
        return False
    for i in range(n):
        u[i] = dot(Q[i], N[:, r - 1])
    for i in range(n):
        free[i] = True
    for j in range(r - 1):
        free[J[j]] = False
        u[J[j]] = 0.0
    small = 1e-13 * largest(u)
    for i in range(n):
        if first or abs(u[i]) > small:
            s[i] = 1.0 if u[i] >= 0 else -1.0
    for i in range(r):
        g[i] = 0.0
    for i in range(n):
        if free[i]:
            add(g, s[i], Q[i])
    return True


@njit(**OPTIONS)
@no_type_check
def _certificate(Q, b, J, s, N, u, free, g):
    """(lower, upper): |b.z| / ||Qz||_1, and max |y| / s once y fits Q^T y = s b to rounding."""
    n, r = Q.shape
    z = N[:, r - 1].copy()
    y = s.copy()
    for j in range(r - 1):
        y[J[j]] = -dot(N[:, j], g)
    total = dot(z, g)
    off, size, top = np.zeros(r), 0.0, 0.0
    add(off, -total, b)
    for i in range(n):
        add(off, y[i], Q[i])
        size += abs(dot(Q[i], z))
    for i in range(n):
        top = max(top, abs(y[i] - dot(Q[i], off)))
    return abs(dot(b, z)) / size, top / total


@njit(**OPTIONS)
@no_type_check
def _start(Q, b, J, known, independent, first, state):
    """Puts a first vertex for b into J and the state: a known one, or r - 1 independent rows.

    Of the independent rows the one is left out that b has most of; first: their inverse.
    """
    N, u, s, g, free = state
    if len(known) > 0 and known[0] >= 0:
        J[:] = known
        if _factor(Q, b, J, s, True, N, u, free, g):
            return True
    left_out = np.argmax(np.abs(first.T @ b))
    J[:left_out] = independent[:left_out]
    J[left_out:] = independent[left_out + 1 :]
    return _factor(Q, b, J, s, True, N, u, free, g)


@njit(**OPTIONS)
@no_type_check
def _optimum(Q, b, J, state, work, tolerance, cap):
    """(lower, upper, pivots) from the vertex J on; z stays in the last column of N."""
    N, u, s, g, free = state
    lower, upper, pivots = 0.0, np.inf, 0
    for _ in range(3):  # the second and third time on a fresh factorisation
        while pivots < cap and _pivot(Q, N, J, u, s, g, free, work):
            pivots += 1
        if not _factor(Q, b, J, s, False, N, u, free, g):
            break
        lower, high = _certificate(Q, b, J, s, N, u, free, g)
        if 0 < high < upper:
            upper = high
        if lower >= (1 - tolerance) * upper:
            break
    return lower, upper, pivots


@njit(**OPTIONS)
@no_type_check
def by_pivots(Q, targets, independent, tolerance, cap):
    """(lower, upper, z, pivots) for each target b, (k, r); not certified where upper is far above.

    Q: (n, r) orthonormal columns; independent: r rows of Q that are a basis; cap: pivots a target.
    """
    n, r = Q.shape
    count = len(targets)
    lower, upper, reached = np.zeros(count), np.full(count, np.inf), np.zeros(count)
    Z, pivots = np.zeros((count, r)), np.zeros(count, dtype=np.int64)
    vertex = np.full((count, r - 1), -1, dtype=np.int64)
    first, J = np.empty((r, r)), np.empty(r - 1, dtype=np.int64)
    inverse(Q[independent], first)
    free = np.empty(n, dtype=np.bool_)
    state = (np.empty((r, r)), np.empty(n), np.empty(n), np.empty(r), free)
    work = (np.empty(n), np.empty(n), np.empty(n), np.empty(n, dtype=np.int64))
    for c in range(count):
        b = targets[c]
        if not _start(Q, b, J, vertex[c], independent, first, state):
            continue
        lower[c], upper[c], pivots[c] = _optimum(Q, b, J, state, work, tolerance, cap)
        z = state[0][:, r - 1].copy()
        Z[c] = z
        size = 0.0
        for i in range(n):
            size += abs(dot(Q[i], z))
        for i in range(c + 1, count):  # where this vertex is the best so far, start from it
            bound = abs(dot(targets[i], z)) / size
            if bound > reached[i]:
                reached[i] = bound
                vertex[i] = J
    return lower, upper, Z, pivots
