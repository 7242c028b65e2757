"""The moment space: which numbers are moments of a law on an interval, and the nearest that are.

It is the convex hull of the curve (x, x^2, ..., x^{2k-1}), |x| <= radius, so the nearest point is
found by Wolfe's algorithm, whose only question to the hull is where a polynomial is least. A point
that moves ends on the boundary, which has one law, of at most k atoms; one that does not has the
k-point Gauss rule. Sheet `ambient-scaling`, M10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import fail, finite_array, integer, number
from .moments import atoms_from_moments, hermite_moments
from .worst_pairs import Rule

STEPS = 100  # a dozen do
GAP = 1e-12  # of duality, a bound on the squared distance that is left
SAME = 1e-4  # corners of the hull that are closer are steps towards one
CLOSE = 1e-3  # atoms of the nearest law that are closer are one, found at different steps


def nearest_law(moments: Any, *, radius: float | int = 1.0) -> Rule:
    """The law of at most k atoms in [-radius, radius] whose m_1..m_{2k-1} are nearest to these.

    Nearest: least sum_r ((m_r - m^_r) / radius^r)^2, to about 1e-6. moments (2k - 1,), of any
    numbers. Raises ValueError or TypeError by name.

    >>> [v.round(4).tolist() for v in nearest_law([0.0, 1.5, 0.0])]
    [[-1.0, 1.0], [0.5, 0.5]]
    """
    where = "nearest_law"
    m, radius = finite_array(where, "moments", moments), number(where, "radius", radius, 1e-150)
    if m.ndim != 1 or m.size % 2 == 0:
        raise fail(where, "moments", "of shape (2k - 1,)", m.shape)
    m = m / radius ** np.arange(1, m.size + 1)
    atoms, weights, gap = _nearest(m)
    if np.sqrt(gap @ gap) <= 2 * math.sqrt(GAP):  # inside the hull
        x, w = atoms_from_moments(m)
        if np.abs(x).max() <= 1 + 1e-6:
            return radius * x, w
    x, w = _polished(m, *_merged(atoms, weights, (m.size + 1) // 2))
    return radius * x, w


def denoised_law(
    samples: Sequence[Any],
    sigmas: Sequence[float],
    k: int,
    *,
    radius: float | int = 1.0,
    pilot: Any = None,
) -> Rule:
    """The denoised method of moments: k atoms in [-radius, radius] from samples (n_i,) at sigma_i.

    Arguments as `hermite_moments` and `nearest_law`; pilot None: weights for a uniform law.
    Source: sheet `ambient-scaling`, M10.

    >>> rng = np.random.default_rng(0)
    >>> x = np.where(rng.random(40_000) < 0.6, -0.6, 0.9)
    >>> y = [x[:4_000], x[4_000:] + 0.8 * rng.standard_normal(36_000)]
    >>> denoised_law(y, [0.0, 0.8], 2)[0].round(1).tolist()
    [-0.6, 0.9]
    """
    k = integer("denoised_law", "k", k, 1)
    if pilot is None:
        pilot = [radius**r * (1 - r % 2) / (r + 1) for r in range(1, 4 * k - 1)]
    return nearest_law(hermite_moments(samples, sigmas, 2 * k - 1, pilot=pilot), radius=radius)


def _nearest(m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms, weights and the point's difference from m, by Wolfe's nearest-point algorithm."""
    powers = np.arange(1, m.size + 1)
    atoms = np.array([np.clip(m[0], -1.0, 1.0)])
    weights = np.ones(1)
    for _ in range(STEPS):
        P = atoms[:, None] ** powers - m
        y = weights @ P
        x = _argmin(y)
        if y @ y - y @ (x**powers - m) <= GAP * (1 + y @ y) or np.any(x == atoms):
            break
        far = np.abs(atoms - x) > SAME  # a corner beside the new one is replaced: it moves
        moved = weights[~far].sum()
        atoms, weights = np.append(atoms[far], x), np.append(weights[far], moved)
        atoms, weights = _minor_cycle(atoms, weights, np.vstack([P[far], x**powers - m]))
    return atoms, weights, weights @ (atoms[:, None] ** powers - m)


def _minor_cycle(x: np.ndarray, w: np.ndarray, P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point of the hull of some corners: affine minima until all weights stay."""
    while True:
        n = w.size
        K = np.block([[P @ P.T, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
        v = np.linalg.lstsq(K, np.append(np.zeros(n), 1.0), rcond=1e-15)[0][:n]
        if np.all(v > 1e-14):
            return x, v / v.sum()
        falling = v <= 1e-14
        step = min(1.0, float(np.min(w[falling] / np.maximum(w[falling] - v[falling], 1e-300))))
        w = w + step * (v - w)
        kept = w > 1e-14
        if np.all(kept) or kept.sum() < 1:
            return x, np.maximum(w, 0.0) / np.maximum(w, 0.0).sum()
        x, w, P = x[kept], w[kept] / w[kept].sum(), P[kept]
        if n == 1 or w.size == 1:
            return x, w


def _argmin(y: np.ndarray) -> float:
    """Where sum_r y_r x^r is least on [-1, 1]."""
    slope = (np.arange(1, y.size + 1) * y)[::-1]
    roots = np.roots(slope)
    real = np.clip(roots.real[np.abs(roots.imag) < 1e-4], -1.0, 1.0)
    x = np.concatenate([real, [-1.0, 1.0]])
    return float(x[np.argmin((x[:, None] ** np.arange(1, y.size + 1)) @ y)])


def _merged(x: np.ndarray, w: np.ndarray, most: int) -> Rule:
    """At most so many atoms: neighbours that are steps towards one become one, closest first."""
    way = np.argsort(x)
    x, w = x[way], w[way]
    while x.size > 1 and (x.size > most or np.diff(x).min() <= CLOSE):
        i = int(np.argmin(np.diff(x)))
        mass = w[i] + w[i + 1]
        x[i + 1], w[i + 1] = (w[i] * x[i] + w[i + 1] * x[i + 1]) / mass, mass
        x, w = np.delete(x, i), np.delete(w, i)
    return x, w


def _distances(z: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Differences of the moments of atoms and all weights but the last, packed, from m."""
    n = (z.size + 1) // 2
    w = np.append(z[n:], 1 - z[n:].sum())
    return w @ (z[:n, None] ** np.arange(1, m.size + 1)) - m


def _polished(m: np.ndarray, x: np.ndarray, w: np.ndarray) -> Rule:
    """The nearest law of so many atoms, by least squares from one that is close."""
    from scipy.optimize import least_squares

    n, start = x.size, np.append(x, w[:-1])
    inside = np.clip(start, np.repeat([-1.0, 0.0], [n, n - 1]), 1.0)
    bounds = (np.repeat([-1.0, 0.0], [n, n - 1]) - 1e-12, np.full(2 * n - 1, 1 + 1e-12))
    found = least_squares(
        _distances, inside, args=(m,), bounds=bounds, xtol=1e-14, ftol=1e-15, gtol=1e-15
    )
    last = 1 - found.x[n:].sum()
    if last < 0 or 2 * found.cost > np.sum(_distances(start, m) ** 2):
        return x, w
    return np.clip(found.x[:n], -1.0, 1.0), np.append(np.maximum(found.x[n:], 0.0), last)
