"""The integrals of l, s and b along a step, by splines and Gauss points or by the paper's sums.

Sheet `dpm-solver-v3`, "Estimation in practice". Both rules give the same record of the way from s
to another lam, anchored at s, so that no exponential of an integral over the whole range is taken:
those overflow in single precision.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from .model_statistics import ModelStatistics

PANEL, POINTS = 0.25, 12  # exact to rounding for functions whose poles lie 0.25 off the line


class Along(NamedTuple):
    """The way from s: quadrature weights w over lam, int l, int s and B there, and at the end."""

    lam: np.ndarray
    w: np.ndarray
    L: np.ndarray
    S: np.ndarray
    B: np.ndarray
    end: tuple[Any, Any, Any]


@functools.cache
def collocation() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes x_j and weights on [-1, 1], and W_jk = int_{-1}^{x_j} l_k."""
    x, w = np.polynomial.legendre.leggauss(POINTS)
    legendre = np.polynomial.legendre
    degrees = np.eye(POINTS)
    values = legendre.legvander(x, POINTS - 1)  # P_m(x_j)
    integrals = legendre.legval(x, legendre.legint(degrees, lbnd=-1, axis=0)).T  # int_{-1}^{x_j}
    norms = np.arange(POINTS) + 0.5  # l_k = sum_m norms_m w_k P_m(x_k) P_m
    return x, w, integrals @ (norms[:, None] * (values * w[:, None]).T)


def smooth(statistics: ModelStatistics, s: float, t: float) -> Along:
    """Splines of l, s and b, panels of Gauss-Legendre points; s and t in either order."""
    x, w, W = collocation()
    panels = max(1, math.ceil(abs(t - s) / PANEL))
    half = 0.5 * (t - s) / panels
    lam = s + half * (2 * np.arange(panels)[:, None] + 1 + x)  # (panels, points)
    L, S = statistics.integrals(s, lam)
    rate = np.exp(-S) * statistics.at(lam).b
    whole = half * np.tensordot(w, rate, (0, 1))  # of each panel, (panels, *event)
    before = np.cumsum(whole, axis=0)
    B = (before - whole)[:, None] + half * np.moveaxis(np.tensordot(W, rate, (1, 1)), 0, 1)
    ends = (*statistics.integrals(s, t), before[-1])
    L, S, B = (v.reshape(-1, *v.shape[2:]) for v in (L, S, B))
    return Along(lam.ravel(), np.tile(half * w, panels), L, S, B, ends)


def trapezoid(statistics: ModelStatistics, s: float, t: float) -> Along:
    """The paper's sums over the statistics' own nodes, of which s and t are two."""
    first, last = (nearest(statistics, v) for v in (s, t))
    way = 1 if last >= first else -1
    chosen = np.arange(first, last + way, way)
    lam, curves = statistics.lams[chosen], [v[chosen] for v in statistics.curves]
    steps = np.diff(lam)
    w = 0.5 * (np.append(steps, 0.0) + np.append(0.0, steps))

    def running(values: np.ndarray) -> np.ndarray:
        each = np.reshape(steps, (-1,) + (1,) * (values.ndim - 1)) * (values[1:] + values[:-1]) / 2
        return np.concatenate([np.zeros_like(values[:1]), np.cumsum(each, axis=0)])

    L, S = (running(v) for v in curves[:2])
    B = running(np.exp(-S) * curves[2])
    return Along(lam, w, L, S, B, (L[-1], S[-1], B[-1]))


def nearest(statistics: ModelStatistics, lam: float) -> int:
    """The index of the node that is nearest to lam."""
    return int(np.argmin(np.abs(statistics.lams - lam)))
