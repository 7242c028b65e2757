"""A law of k atoms from noisy draws of it: Hermite moments, then the moment space, then atoms.

sigma^r He_r(x / sigma) is an unbiased estimate of the r-th moment of what was observed with noise
sigma; its variance is a finite sum, so samples at several levels are weighed by inverse variances.
2k - 1 moments that belong to a law determine its k-point Gauss rule; estimates that belong to none
are first moved to the nearest that do. Sheet `ambient-scaling`, M10 (denoised method of moments,
Wu and Yang 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import Array, namespace
from ...errors import fail, finite_array, integer, number
from .._forms import vector
from .worst_pairs import Rule, gauss_rule


def hermite_polynomials(x: Array, sigma: float | int, order: int) -> Array:
    """sigma^r He_r(x / sigma), r = 1..order, (order, n), by H_{r+1} = x H_r - r sigma^2 H_{r-1}.

    Each has mean E X^r if x = X + sigma eps; at sigma = 0 they are the powers.

    >>> hermite_polynomials(np.array([2.0]), 1.0, 3).tolist()
    [[2.0], [3.0], [2.0]]
    """
    x = vector("hermite_polynomials", "x", x)
    v = number("hermite_polynomials", "sigma", sigma, 0.0) ** 2
    order = integer("hermite_polynomials", "order", order, 1)
    rows = [namespace(x).ones_like(x), x]
    for r in range(1, order):
        rows.append(x * rows[-1] - r * v * rows[-2])
    return namespace(x).stack(rows[1:])


def hermite_covariance(moments: Any, sigma: float | int, order: int) -> np.ndarray:
    """Covariance of the order estimates of one sample, (order, order).

    Cov_rs = sum_j C(r,j) C(s,j) j! sigma^{2j} m_{r+s-2j} - m_r m_s; moments: m_1..m_{2 order} of
    the law without noise. Raises ValueError or TypeError by name.

    >>> hermite_covariance([0.0, 0.54, 0.162, 0.34, 0.2, 0.24], 0.8, 2).round(4).tolist()[0][0]
    1.18
    """
    where = "hermite_covariance"
    order = integer(where, "order", order, 1)
    m = finite_array(where, "moments", moments)
    if m.ndim != 1 or m.size < 2 * order:
        raise fail(where, "moments", f"of shape ({2 * order},) or longer", m.shape)
    v, m = number(where, "sigma", sigma, 0.0) ** 2, np.concatenate([[1.0], m])
    out = np.empty((order, order))
    for r in range(1, order + 1):
        for s in range(1, order + 1):
            terms = [
                math.comb(r, j) * math.comb(s, j) * math.factorial(j) * v**j * m[r + s - 2 * j]
                for j in range(min(r, s) + 1)
            ]
            out[r - 1, s - 1] = math.fsum([*terms, -m[r] * m[s]])
    return out


def law_moments(atoms: Any, weights: Any, order: int) -> np.ndarray:
    """m_1..m_order of a law of atoms (k,) with weights (k,).

    >>> law_moments([-0.6, 0.9], [0.6, 0.4], 3).round(6).tolist()
    [0.0, 0.54, 0.162]
    """
    x, w = (finite_array("law_moments", n, v) for n, v in (("atoms", atoms), ("weights", weights)))
    if x.ndim != 1 or x.shape != w.shape:
        raise fail("law_moments", "weights", f"of shape {x.shape}", w.shape)
    return np.array([w @ x**r for r in range(1, integer("law_moments", "order", order, 1) + 1)])


def moment_weights(
    sigmas: Sequence[float], counts: Sequence[int], order: int, *, pilot: Any = None
) -> np.ndarray:
    """The weights of each level's mean in m^_r, (order, m): inverse variances, rows sum to 1.

    sigmas (m,), not negative; counts (m,), one positive; pilot: moments m_1..m_{2 order} for which
    the variances are computed, by default those of the uniform law on [-1, 1].
    Raises ValueError or TypeError by name.

    >>> moment_weights([1.0, 2.0], [10, 10], 1, pilot=[0.0, 0.0]).tolist()
    [[0.8, 0.2]]
    """
    where = "moment_weights"
    n = finite_array(where, "counts", counts)
    if n.ndim != 1 or n.shape != (len(sigmas),) or np.any(n < 0) or not np.any(n > 0):
        raise fail(where, "counts", f"of shape ({len(sigmas)},), one positive", counts)
    r = np.arange(1, 2 * integer(where, "order", order, 1) + 1)
    m = (1 - r % 2) / (r + 1) if pilot is None else pilot
    variances = np.array([np.diag(hermite_covariance(m, s, order)) for s in sigmas]).T
    if np.any(variances <= 0):
        raise fail(where, "pilot", "moments of a law that leave every variance positive", pilot)
    w = n / variances
    return w / w.sum(axis=1, keepdims=True)


def hermite_moments(
    samples: Sequence[Array], sigmas: Sequence[float], order: int, *, pilot: Any = None
) -> np.ndarray:
    """Unbiased estimates m^_1..m^_order of the law's moments from samples (n_i,) at sigma_i.

    Weighed by inverse variances under `pilot` (`moment_weights`). Raises ValueError or TypeError
    by name.

    >>> hermite_moments([np.array([2.0]), np.array([4.0])], [1.0, 1.0], 2).tolist()
    [3.0, 9.0]
    """
    where = "hermite_moments"
    if len(samples) != len(sigmas) or len(samples) < 1:
        raise fail(where, "sigmas", "one for each of samples, one or more", sigmas)
    counts = [vector(where, "samples", x).shape[0] for x in samples]
    w = moment_weights(sigmas, counts, order, pilot=pilot)
    means = []
    for x, s in zip(samples, sigmas, strict=True):
        rows = hermite_polynomials(x, s, order)
        means.append([float(v) for v in namespace(rows).mean(rows, axis=1)])
    return np.sum(w * np.array(means).T, axis=1)


def atoms_from_moments(moments: Any) -> Rule:
    """(atoms, weights) of the law of at most k atoms with these moments m_1..m_{2k-1}.

    Gauss's rule: the Jacobi matrix from the Cholesky factor of the Hankel matrix (m_{i+j}). Where
    that is positive definite only up to j < k rows, m_1..m_{2j-1} are kept and j atoms returned.
    Raises ValueError by name.

    >>> [v.round(6).tolist() for v in atoms_from_moments([0.1, 0.5, 0.3])]
    [[-0.461875, 0.972079], [0.608164, 0.391836]]
    """
    where = "atoms_from_moments"
    m = finite_array(where, "moments", moments)
    if m.ndim != 1 or m.size % 2 == 0:
        raise fail(where, "moments", "of shape (2k - 1,)", m.shape)
    m, k = np.concatenate([[1.0], m]), (m.size + 1) // 2
    R = np.zeros((k, k + 1))  # rows of the upper Cholesky factor, one column more
    a, b = [], []
    for i in range(k):
        row = np.array([m[i + j] if i + j < m.size else 0.0 for j in range(i, k + 1)])
        row -= R[:i, i].T @ R[:i, i:]
        # a pivot of the size of its own rounding is none: the law has i atoms
        if not row[0] > 64 * np.finfo(float).eps * max(m[2 * i], m[i] ** 2):
            break
        R[i, i:] = row / math.sqrt(row[0])
        a.append(R[i, i + 1] / R[i, i] - (R[i - 1, i] / R[i - 1, i - 1] if i else 0.0))
        if i:
            b.append(R[i, i] / R[i - 1, i - 1])
    return gauss_rule(a, b)


def two_atoms(moments: Array) -> tuple[Array, Array]:
    """(atoms, weights) (..., 2) of two-point laws from m_1, m_2, m_3 (..., 3), in closed form.

    v = m2 - m1^2, g = (m3 - 3 m1 m2 + 2 m1^3) / v, atoms m1 + g/2 -+ sqrt(g^2/4 + v), weights
    1/2 +- g / (4 sqrt(g^2/4 + v)); one atom m1 where v <= 0.

    >>> [v.round(6).tolist() for v in two_atoms(np.array([0.1, 0.5, 0.3]))]
    [[-0.461875, 0.972079], [0.608164, 0.391836]]
    """
    xp = namespace(moments)
    if moments.shape[-1] != 3:
        raise fail("two_atoms", "moments", "of shape (..., 3)", tuple(moments.shape))
    m1, m2, m3 = moments[..., 0], moments[..., 1], moments[..., 2]
    v = m2 - m1**2
    two = v > 0
    some = xp.where(two, v, xp.ones_like(v))
    g = xp.where(two, (m3 - 3 * m1 * m2 + 2 * m1**3) / some, 0 * v)
    root = xp.sqrt(g**2 / 4 + xp.where(two, v, 0 * v))
    lean = g / (4 * xp.where(two, root, xp.ones_like(root)))
    atoms = xp.stack([m1 + g / 2 - root, m1 + g / 2 + root], axis=-1)
    return atoms, xp.stack([0.5 + lean, 0.5 - lean], axis=-1)
