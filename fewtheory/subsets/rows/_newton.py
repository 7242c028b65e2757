"""l_p sensitivities for 1 < p < infinity: Newton for many rows at once, with dual certificates.

For each target b: min ||Qz||_p^p / p over b.z = 1, Hessian (p - 1) Q^T diag(|Qz|^{p-2}) Q. The
problem is homogeneous, so no power of sigma (1e-200 at p near 1) enters. Columns: U = QZ is one
matrix product, all Hessians another one with the products Q_ij Q_ik. At the optimum
y = |u|^{p-1} sign(u) / ||u||_p^p solves Q^T y = b; anywhere, y - Q (Q^T y - b) does, and
||y||_q^p bounds sigma from above. The iteration stops on that gap, for f itself loses its digits.

Source: sheet `lp-sensitivity`, Method, 1 < p < infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 1e-12  # of |u| over its maximum, p < 2: |u|^{p-2} stays finite where a row vanishes
ROUNDING = 1e-14  # of slopes
WORDS = 2**21  # of U, and of a block of products


@dataclass
class _Columns:
    """The state of some targets: z, u = Qz, u's maximum, (|u|/top)^{p-2}, log ||u||_p^p."""

    z: np.ndarray
    u: np.ndarray
    top: np.ndarray
    weight: np.ndarray
    log_f: np.ndarray


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    """x^exponent for x >= 0 in a new array, by products where the exponent is 1 or 2."""
    if exponent == 1:
        return x.copy()
    return x * x if exponent == 2 else x**exponent


def _columns(z: np.ndarray, u: np.ndarray, p: float) -> _Columns:
    share = np.abs(u)
    top = share.max(axis=0)
    share /= top
    weight = _power(np.maximum(share, FLOOR) if p < 2 else share, p - 2)
    share *= share
    log_f = np.log(np.einsum("ic,ic->c", share, weight)) + p * np.log(top)
    return _Columns(z, u, top, weight, log_f)


class _Hessians:
    """Q^T diag(w) Q for every column of w, (c, r, r)."""

    def __init__(self, Q: np.ndarray):
        self.Q, self.pairs = Q, np.triu_indices(Q.shape[1])
        self.rows = max(1, WORDS // len(self.pairs[0]))
        self.kept = self._products(slice(None)) if self.rows >= len(Q) else None

    def _products(self, rows: slice) -> np.ndarray:
        block = self.Q[rows]
        return np.ascontiguousarray((block[:, self.pairs[0]] * block[:, self.pairs[1]]).T)

    def __call__(self, w: np.ndarray) -> np.ndarray:
        n, r = self.Q.shape
        if self.kept is not None:
            flat = self.kept @ w
        else:
            flat = np.zeros((len(self.pairs[0]), w.shape[1]))
            for i in range(0, n, self.rows):
                rows = slice(i, i + self.rows)
                flat += self._products(rows) @ w[rows]
        out = np.empty((w.shape[1], r, r))
        out[:, self.pairs[0], self.pairs[1]] = out[:, self.pairs[1], self.pairs[0]] = flat.T
        return out


def _direction(
    Q: np.ndarray, b: np.ndarray, at: _Columns, hessians: _Hessians, p: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Newton's dz with b.dz = 0, minus the slope of log f along it over p, and m.

    m: Q^T diag(weight) (u + (p - 1) Q dz) = m b, the multiplier of the constraint.
    """
    g = Q.T @ (at.weight * at.u)
    H = hessians(at.weight)
    trace = np.einsum("cii->c", H)
    H += (1e-15 * trace)[:, None, None] * np.eye(len(b))
    x = np.linalg.solve(H, np.stack([g.T, b.T], axis=2))
    x_g, x_b = x[:, :, 0].T, x[:, :, 1].T
    multiplier = (b * x_g).sum(axis=0) / (b * x_b).sum(axis=0)
    dz = (multiplier * x_b - x_g) / (p - 1)
    scale = np.exp(at.log_f - (p - 2) * np.log(at.top))  # ||u||_p^p in the units of weight u^2
    return dz, -(g * dz).sum(axis=0) / scale, multiplier


def _certificates(
    Q: np.ndarray, b: np.ndarray, at: _Columns, v: np.ndarray, m: np.ndarray, p: float
) -> tuple[np.ndarray, np.ndarray]:
    """log lower and log upper bounds of sigma for b.z = 1.

    The dual point is that of the Newton step, weight (u + (p - 1) v) / m: where y is small it is
    changed by little, which matters at large p (q near 1).
    """
    low = -at.log_f
    if p < 2:  # without the floor
        low = -(np.log(((np.abs(at.u) / at.top) ** p).sum(axis=0)) + p * np.log(at.top))
    y = at.weight * (at.u + (p - 1) * v) / m
    y -= Q @ (Q.T @ y - b)
    y = np.abs(y, out=y)
    q, top = p / (p - 1), y.max(axis=0)
    y /= top
    return low, (p - 1) * np.log((y**q).sum(axis=0)) + p * np.log(top)


def _searched(at: _Columns, dz: np.ndarray, v: np.ndarray, slope: np.ndarray, p: float) -> _Columns:
    """The columns after an Armijo search along dz, v = Q dz."""
    new = _columns(at.z + dz, at.u + v, p)
    step, noise = np.ones(at.z.shape[1]), 1e-14 * (1 + np.abs(at.log_f))
    for _ in range(40):
        back = np.flatnonzero(~(new.log_f <= at.log_f - 1e-4 * step * p * slope + noise))
        if not back.size:
            break
        step[back] /= 2
        part = at.u[:, back] + step[back] * v[:, back]
        tried = _columns(at.z[:, back] + step[back] * dz[:, back], part, p)
        new.z[:, back], new.u[:, back], new.weight[:, back] = tried.z, tried.u, tried.weight
        new.top[back], new.log_f[back] = tried.top, tried.log_f
    return new


def _chunk(
    Q: np.ndarray, b: np.ndarray, p: float, tolerance: float, cap: int, hessians: _Hessians
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """log lower, log upper, z and iterations for unit targets b, (r, c)."""
    count = b.shape[1]
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    Z, used = b.copy(), np.zeros(count, dtype=np.int64)
    settled = np.zeros(count, dtype=np.int64)  # iterations at the level of rounding
    active, at = np.arange(count), _columns(b.copy(), Q @ b, p)
    for k in range(cap + 1):
        target = b[:, active]
        dz, slope, m = _direction(Q, target, at, hessians, p)
        v = Q @ dz
        # log f is p slope / 2 above its least value, the dual bound one Newton step closer
        test = np.flatnonzero((slope <= max(2 * tolerance / p, ROUNDING)) | (k == cap))
        if test.size:
            where, part = active[test], _taken(at, test)
            found = _certificates(Q, target[:, test], part, v[:, test], m[test], p)
            better = found[0] > low[where]
            Z[:, where[better]] = part.z[:, better]
            low[where] = np.maximum(low[where], found[0])
            high[where] = np.minimum(high[where], found[1])
        used[active] = k
        settled[active] += slope < ROUNDING
        go = (high[active] - low[active] > tolerance) & (settled[active] < 4) & (k < cap)
        if not go.any():
            break
        if not go.all():
            active, dz, v, slope, at = active[go], dz[:, go], v[:, go], slope[go], _taken(at, go)
        at = _searched(at, dz, v, np.maximum(slope, 0.0), p)
    return low, high, Z, used


def _taken(at: _Columns, which: np.ndarray) -> _Columns:
    """Some of the columns."""
    parts = at.z[:, which], at.u[:, which], at.top[which], at.weight[:, which], at.log_f[which]
    return _Columns(*parts)


def solve(
    Q: np.ndarray, targets: np.ndarray, p: float, tolerance: float, cap: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(lower, upper, z, iterations) of max |b.z|^p / ||Qz||_p^p for targets (k, r), none 0.

    Q: (n, r) orthonormal columns; tolerance: of (upper - lower) / upper; cap: iterations. In chunks
    of columns, so that memory stays at a few times 16 MB.
    """
    norm = np.linalg.norm(targets, axis=1)
    unit = np.ascontiguousarray((targets / norm[:, None]).T)
    hessians, width = _Hessians(Q), max(16, WORDS // len(Q))
    parts = [
        _chunk(Q, unit[:, i : i + width], p, tolerance, cap, hessians)
        for i in range(0, len(targets), width)
    ]
    low, high = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    Z, used = np.concatenate([part[2] for part in parts], axis=1), [part[3] for part in parts]
    scale = p * np.log(norm)
    return np.exp(low + scale), np.exp(np.maximum(low, high) + scale), Z.T, np.concatenate(used)
