"""Statistics of an episode from Langevin iterates, and what a finite step and few steps do to them.

    theta <- theta - eta grad l(theta) + sqrt(2 eta) z

On a loss of curvature A the iterates are an AR(1) of rate r = 1 - eta A, so every moment is a
closed form. Their variance stands for A^{-1}; at a finite step it is 1 / (A (1 - eta A/2)), and
over a few small steps from m0 it says nothing about A: three steps of 1e-4 overestimate A = 4
2800-fold, and the clip decides. A mean taken before stationarity is shrunk to m0, and the episode's
posterior shrinks it again. Sheet `niwmeta`, M5 and C7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, Rng, check_rng, namespace, standard_normal
from ...errors import fail, integer, number
from .. import _forms as forms
from .episodes import Quadratic


@dataclass(frozen=True)
class SGLDMoments:
    """Exact moments on a quadratic of curvature A from a point.

    mean: of the average over steps 1..T; variance: of the iterate at step T; stationary: its limit;
    within: expected variance of the T iterates about their own average (divided by T), which is
    what a single trajectory shows.
    """

    mean: float
    variance: float
    stationary: float
    within: float


def sgld_moments(
    A: float | int,
    eta: float | int,
    T: int,
    *,
    mbar: float | int = 0.0,
    start: float | int = 0.0,
    gradient_noise: float | int = 0.0,
) -> SGLDMoments:
    """Closed forms of `SGLDMoments`, r = 1 - eta A, |r| < 1.

    mean = mbar + (start - mbar) r (1 - r^T) / (T (1 - r)), variance = (1 - r^{2T}) stationary,
    stationary = 1 / (A (1 - eta A/2)) + eta s^2 / (A (2 - eta A)), s the gradient's own deviation.
    Raises ValueError or TypeError by name, also where the recursion does not settle (eta A >= 2).
    Source: sheet `niwmeta`, C7 and "Pitfalls".

    >>> moments = sgld_moments(4.0, 0.1, 5, mbar=1.3, start=-0.5)
    >>> round(moments.mean, 6), round(moments.variance, 6), round(moments.stationary, 6)
    (0.80199, 0.31061, 0.3125)
    """
    where = "sgld_moments"
    A, eta = number(where, "A", A, 1e-300), number(where, "eta", eta, 1e-300)
    T = integer(where, "T", T, 1)
    mbar, start = (number(where, k, v, -math.inf) for k, v in (("mbar", mbar), ("start", start)))
    s = number(where, "gradient_noise", gradient_noise, 0.0)
    if not eta * A < 2:
        raise fail(where, "eta", f"below 2 / A = {2 / A:.6g}", eta)
    r = 1 - eta * A
    stationary = 1 / (A * (1 - eta * A / 2)) + eta * s**2 / (A * (2 - eta * A))
    mean = mbar + (start - mbar) * r * (1 - r**T) / (T * (1 - r))
    t = np.arange(1, T + 1)
    path = (start - mbar) * r**t
    var = stationary * (1 - r ** (2 * t))
    # Var of the average: Cov(x_s, x_t) = r^{t-s} Var(x_s) for s <= t
    ahead = np.array([np.sum(r ** (t[k:] - t[k])) for k in range(T)])
    of_average = float(np.sum(var * (2 * ahead - 1))) / T**2
    within = float(np.mean(var) - of_average + np.mean((path - path.mean()) ** 2))
    return SGLDMoments(float(mean), float(var[-1]), stationary, within)


@dataclass(frozen=True, eq=False)
class SGLDStatistics:
    """mean and variance (d,) of the iterates after the burn-in; last: the last iterate (d,)."""

    mean: Array
    variance: Array
    last: Array

    def episode(self, *, clip: float | int = math.inf) -> Quadratic:
        """The quadratic that they stand for: mbar = mean, A = min(1 / variance, clip), diagonal."""
        xp = namespace(self.variance)
        if not clip > 0:
            raise fail("SGLDStatistics.episode", "clip", "positive", clip)
        least = max(1 / clip, float(xp.finfo(self.variance.dtype).smallest_normal))
        return Quadratic(self.mean, 1 / xp.clip(self.variance, min=least))


def sgld(
    gradient: Callable[[Any], Any],
    start: Array,
    *,
    eta: float | int,
    steps: int,
    rng: Rng,
    burn_in: int = 0,
) -> SGLDStatistics:
    """Langevin iterates of a loss from `start` (d,), averaged after `burn_in` of `steps` steps.

    gradient(theta): of -log p(D | theta). A batch of chains is a start (..., d).
    Raises ValueError or TypeError by name. Source: sheet `niwmeta`, M5.

    >>> import numpy as np
    >>> found = sgld(lambda x: 4 * x, np.zeros(3), eta=0.1, steps=5, rng=np.random.default_rng(0))
    >>> found.mean.shape
    (3,)
    """
    check_rng("sgld", rng)
    number("sgld", "eta", eta, 1e-300)
    integer("sgld", "steps", steps, 1)
    integer("sgld", "burn_in", burn_in, 0, steps - 1)
    theta = forms.floating("sgld", "start", start)
    xp, kept = namespace(theta), []
    for k in range(steps):
        z = standard_normal(rng, theta.shape, theta)
        theta = theta - eta * gradient(theta) + math.sqrt(2 * eta) * z
        if k >= burn_in:
            kept.append(theta)
    trail = xp.stack(kept)
    return SGLDStatistics(xp.mean(trail, axis=0), xp.var(trail, axis=0), theta)


def precision_from_variance(variance: Array, eta: float | int) -> Array:
    """The A whose stationary variance this is: (1 - sqrt(1 - 2 eta / variance)) / eta.

    The step's bias is undone; eta A < 1 is assumed. A variance is never below 2 eta there, and
    smaller ones (of too few iterates) are taken for that, A = 1 / eta.

    >>> import numpy as np
    >>> precision_from_variance(np.array([0.3125]), 0.1).round(12).tolist()
    [4.0]
    """
    v = forms.floating("precision_from_variance", "variance", variance)
    number("precision_from_variance", "eta", eta, 1e-300)
    xp = namespace(v)
    if not bool(xp.all(v > 0)):
        raise fail("precision_from_variance", "variance", "positive", variance)
    # (1 - sqrt(1 - x)) / eta = x / eta / (1 + sqrt(1 - x)): no digits are lost for small eta
    x = xp.clip(2 * eta / v, max=1.0)
    return x / eta / (1 + xp.sqrt(1 - x))


def debiased_mean(mean: Array, start: Array, A: Array, eta: float | int, T: int) -> Array:
    """mbar from the average of steps 1..T begun at `start`, on a diagonal curvature A (d,).

    mean = mbar + (start - mbar) c, c = r (1 - r^T) / (T (1 - r)), is solved for mbar.

    >>> import numpy as np
    >>> one = np.ones(1)
    >>> debiased_mean(0.80199040 * one, -0.5 * one, 4 * one, 0.1, 5).round(6).tolist()
    [1.3]
    """
    where = "debiased_mean"
    given = (("mean", mean), ("start", start), ("A", A))
    mean, start, A = (forms.floating(where, k, v) for k, v in given)
    number(where, "eta", eta, 1e-300)
    integer(where, "T", T, 1)
    xp = namespace(mean)
    if not bool(xp.all((A > 0) & (eta * A < 2))):
        raise fail(where, "A", f"in (0, 2 / eta = {2 / eta:.6g})", A)
    r = 1 - eta * A
    c = r * (1 - r**T) / (T * (1 - r))
    return (mean - c * start) / (1 - c)
