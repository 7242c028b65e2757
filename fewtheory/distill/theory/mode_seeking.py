"""Mode seeking: which Gaussian student reverse KL likes best, at each noise level.

A student N(b, a^2) of a mixture in one dimension, both blurred by rho: KL(N(b, v) || p_rho), v =
a^2 + rho^2. With little noise a student locked on one mode is the best (KL tends to -log of its
weight), with much noise one that covers all; between them the locked one stops being the best
(`cross`) and then stops being an optimum (`fold`): a first-order transition, the reason why the
levels at which a distillation loss looks decide about lost modes. By Stein's identity each
derivative of KL is a moment of the teacher's score s,

    dKL/db = -E s,   dKL/dv = -1/(2v) - E[s u] / (2v),   u = x - b,

taken by the trapezoid rule, which converges geometrically here (Gauss-Hermite does not: 200 nodes
are wrong in the third digit). Sheet `dmd-base`, C3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...arrays import logsumexp
from ...errors import fail, number
from ...testbeds import ProductMixture

NODES, WIDTH = 2001, 9.0  # of the trapezoid rule, and how many standard deviations to either side


@dataclass(frozen=True)
class GaussianFit:
    """An optimum of reverse KL: the clean student N(mean, std^2), and its KL at the level.

    stable: a minimum (else a saddle or a maximum); gradient: what is left of it, by size.
    """

    mean: float
    std: float
    kl: float
    stable: bool
    gradient: float


@dataclass(frozen=True)
class ModeTransition:
    """rho_cross: from here on covering is the better optimum; rho_fold: here the locked one ends.

    mean_at_fold: the locked student's mean where it ends.
    """

    rho_cross: float
    rho_fold: float
    mean_at_fold: float


def reverse_kl_fit(
    teacher: ProductMixture,
    rho: float | int,
    start: tuple[float | int, float | int],
) -> GaussianFit:
    """The optimum of KL(N(b, a^2 + rho^2) || p_rho) that descent from `start` = (b, a) reaches.

    teacher: a mixture in one dimension (`testbeds.mixture_1d`); rho >= 0: the noise at alpha = 1.
    Trust-region Newton in (b, log v). Raises ValueError by name.

    >>> from fewtheory.testbeds import mixture_1d
    >>> two = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.5, 0.5])
    >>> locked = reverse_kl_fit(two, 0.05, (2.0, 0.5))
    >>> round(locked.mean, 2), round(locked.kl, 4)
    (2.0, 0.693)
    """
    from scipy.optimize import minimize

    blurred = _blurred("reverse_kl_fit", teacher, rho)
    mean = number("reverse_kl_fit", "start[0]", start[0], -math.inf)
    std = number("reverse_kl_fit", "start[1]", start[1], 0.0)
    if std == 0 and blurred.rho == 0:
        raise fail("reverse_kl_fit", "start", "of a positive std where rho = 0", start)
    x = np.array([mean, math.log(std**2 + blurred.rho**2)])
    options = {"gtol": 1e-10, "initial_trust_radius": 0.1, "max_trust_radius": 0.5}
    found = minimize(
        lambda y: _reverse_kl(blurred, y)[0],
        x,
        jac=lambda y: _reverse_kl(blurred, y)[1],
        hess=lambda y: _reverse_kl(blurred, y)[2],
        method="trust-exact",
        options=options,
    )
    return _fit(blurred, _polished(blurred, found.x))


def mode_transition(teacher: ProductMixture) -> ModeTransition:
    """Where the student locked on the last mode loses to covering, and where it ceases to exist.

    teacher: a mixture of two equal components in one dimension, symmetric or not. Both are found
    by continuation in rho from a fit locked on the component of the largest mean, then Newton on
    (gradient, determinant of the Hessian) = 0. Everything scales: mu and s times k give rho times
    k. Raises ValueError by name.

    >>> from fewtheory.testbeds import mixture_1d
    >>> found = mode_transition(mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.5, 0.5]))
    >>> round(found.rho_cross, 9), round(found.rho_fold, 9)
    (0.510072662, 0.66137795)
    """
    from scipy.optimize import brentq, root

    k = int(np.argmax(teacher.means[0]))
    mean, std = float(teacher.means[0, k]), float(teacher.stds[0, k])
    unit = float(np.ptp(teacher.means[0])) / 2 or std
    locked, rho = reverse_kl_fit(teacher, 1e-3 * unit, (mean, std)), 1e-3 * unit
    step = 0.02 * unit
    while step > 1e-4 * unit:  # follow the locked optimum until it jumps
        ahead = reverse_kl_fit(teacher, rho + step, (locked.mean, locked.std))
        if abs(ahead.mean - locked.mean) < 10 * step + 0.05 * unit:
            locked, rho = ahead, rho + step
        else:
            step /= 4
        if rho > 4 * unit:
            raise fail(
                "mode_transition", "teacher", "of modes so far apart that one locks", teacher
            )

    def fold(y: np.ndarray) -> np.ndarray:
        level = _blurred("mode_transition", teacher, float(y[2]))
        _, gradient, hessian = _reverse_kl(level, y[:2])
        return np.array([*gradient, np.linalg.det(hessian)])

    at = root(fold, [locked.mean, math.log(locked.std**2 + rho**2), rho], tol=1e-13)
    spread = math.sqrt(float(teacher.cov[0, 0] if teacher.cov.ndim == 2 else teacher.cov[0]))

    def lead(level: float) -> float:
        mode = _followed(teacher, level, (mean, std))
        return reverse_kl_fit(teacher, level, (float(teacher.mean[0]), spread)).kl - mode.kl

    cross: Any = brentq(lead, 0.05 * at.x[2], 0.98 * at.x[2], xtol=1e-13)
    return ModeTransition(float(cross), float(at.x[2]), float(at.x[0]))


def _followed(
    teacher: ProductMixture, rho: float, start: tuple[float, float], parts: int = 8
) -> GaussianFit:
    """The optimum at rho reached by raising the noise from an eighth of it."""
    fit = reverse_kl_fit(teacher, rho / parts, start)
    for k in range(2, parts + 1):
        fit = reverse_kl_fit(teacher, rho * k / parts, (fit.mean, fit.std))
    return fit


class _Blurred(NamedTuple):
    """The mixture at a level: log weights, means and variances (K,)."""

    log_w: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    rho: float


def _reverse_kl(p: _Blurred, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """KL(N(b, v) || p) at y = (b, log v), with its gradient and Hessian in y."""
    b, v = float(y[0]), math.exp(float(y[1]))
    z = np.linspace(-WIDTH, WIDTH, NODES)
    weight = np.exp(-0.5 * z * z)
    weight /= weight.sum()
    gap = (b + math.sqrt(v) * z)[:, None] - p.means
    terms = p.log_w - 0.5 * (np.log(2 * math.pi * p.variances) + gap**2 / p.variances)
    log_p = logsumexp(terms, axis=1)
    s = -(np.exp(terms - log_p[:, None]) * gap / p.variances).sum(1)
    hermite = [np.ones_like(z), z, z * z - 1, z**3 - 3 * z]
    E = [float((weight * s * h).sum()) / v ** (k / 2) for k, h in enumerate(hermite)]
    value = -0.5 * math.log(2 * math.pi * math.e * v) - float((weight * log_p).sum())
    db, dv = -E[0], -0.5 / v - 0.5 * E[1]  # E[k]: the mean of the k-th derivative of s
    dbb, dbv, dvv = -E[1], -0.5 * E[2], 0.5 / v**2 - 0.25 * E[3]
    hessian = np.array([[dbb, v * dbv], [v * dbv, v * v * dvv + v * dv]])
    return value, np.array([db, v * dv]), hessian


def _fit(p: _Blurred, y: np.ndarray) -> GaussianFit:
    """What stands at y = (b, log v), as a clean student."""
    value, gradient, hessian = _reverse_kl(p, y)
    variance = math.exp(float(y[1])) - p.rho**2
    stable = bool(np.linalg.eigvalsh(hessian)[0] > 0)
    left = float(np.abs(gradient).max())
    return GaussianFit(float(y[0]), math.sqrt(max(variance, 0.0)), value, stable, left)


def _polished(p: _Blurred, y: np.ndarray) -> np.ndarray:
    """Newton steps until they no longer help: the trust region stops on the value's rounding."""
    _, gradient, hessian = _reverse_kl(p, y)
    for _ in range(8):
        moved = y - np.linalg.solve(hessian, gradient)
        _, ahead, hessian = _reverse_kl(p, moved)
        if not np.abs(ahead).max() < np.abs(gradient).max():
            break
        y, gradient = moved, ahead
    return y


def _blurred(where: str, teacher: ProductMixture, rho: float | int) -> _Blurred:
    if not isinstance(teacher, ProductMixture) or teacher.event != (1,):
        raise fail(where, "teacher", "a mixture in one dimension (testbeds.mixture_1d)", teacher)
    noise = number(where, "rho", rho, 0.0)
    variances = teacher.stds[0] ** 2 + noise**2
    return _Blurred(np.log(teacher.weights[0]), teacher.means[0], variances, noise)
