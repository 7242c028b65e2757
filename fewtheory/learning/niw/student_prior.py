"""A novel episode under the law itself: the prior of theta is Student's t, not its mode's Gaussian.

    theta = m0 + (S / w)^{1/2} z,  w ~ chi2_dof / dof,  S = V0 (1 + 1/l0) / dof,  dof = n0 - d + 1

Given w everything is Gaussian, so the exact posterior is a mixture over one number, here on a grid
in log w. In the coordinates in which prior and curvature are both diagonal each w costs d
multiplications. The plug-in of the mode takes the covariance V0 / (n0 + d + 2) instead, smaller by
(n0 - d - 1) / (n0 + d + 2). Sheet `niwmeta`, M6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...arrays import Array, as_like, to_numpy
from ...errors import fail, integer, number
from .episodes import LocalLaw, Quadratic
from .hierarchy import NIW


@dataclass(frozen=True, eq=False)
class StudentPosterior:
    """A mixture over w: theta = m0 + T z, z given w ~ N(means, diag(variances)).

    weights (K,), means and variances (K, d), T (d, d), m0 (d,); log_evidence: log of the integral
    of exp(-l(theta)) under the prior.
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    T: np.ndarray
    m0: np.ndarray
    log_evidence: float

    def mean(self) -> np.ndarray:
        """E theta (d,)."""
        return self.m0 + self.T @ (self.weights @ self.means)

    def covariance(self) -> np.ndarray:
        """Cov theta (d, d)."""
        mean = self.weights @ self.means
        away = self.means - mean
        inner = (self.weights[:, None] * away).T @ away + np.diag(self.weights @ self.variances)
        return self.T @ inner @ self.T.T

    def log_prob(self, X: Array, y: Array, *, noise: float | int) -> np.ndarray:
        """log p(y_j | episode) of y_j = x_j.theta + noise e_j, each by itself: X (n, d), y (n,)."""
        away, s = self._away("StudentPosterior.log_prob", X, y, noise)
        terms = -0.5 * (np.log(2 * math.pi * s) + away**2 / s)
        terms = terms + np.log(self.weights)[:, None]
        top = terms.max(axis=0)
        return top + np.log(np.exp(terms - top).sum(axis=0))

    def cdf(self, X: Array, y: Array, *, noise: float | int) -> np.ndarray:
        """P(Y_j <= y_j | episode) of each row by itself: uniform where predictions are right."""
        from scipy.special import ndtr

        away, s = self._away("StudentPosterior.cdf", X, y, noise)
        return self.weights @ ndtr(away / np.sqrt(s))

    def _away(
        self, where: str, X: Array, y: Array, noise: float | int
    ) -> tuple[np.ndarray, np.ndarray]:
        """y less its mean, and its variance, at each w: (K, n)."""
        H, target = to_numpy(X) @ self.T, to_numpy(y) - to_numpy(X) @ self.m0
        variance = number(where, "noise", noise, 0.0) ** 2
        return target - self.means @ H.T, self.variances @ (H * H).T + variance


def adapt_student(law: NIW, episode: Quadratic, *, nodes: int = 400) -> StudentPosterior:
    """The exact posterior of a novel episode whose prior is `law.predictive()`.

    nodes: of the trapezoidal rule in log w, whose error falls like exp(-pi^2 / step). Computed in
    float64 NumPy. Raises ValueError for a product of laws (d numbers w, not one), where
    the predictive mean does not exist (n0 - d + 1 <= 1), or where shapes differ.

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> found = adapt_student(law, Quadratic(np.ones(1), np.eye(1)))
    >>> found.mean().round(4).tolist()
    [0.457]
    """
    if law.product:
        raise fail("adapt_student", "law", "one of a matrix V0", law.V0)
    law.predictive().mean()  # refuses where there is none
    if tuple(episode.A.shape) != tuple(law.V0.shape):
        allowed = f"with A of shape {tuple(law.V0.shape)}"
        raise fail("adapt_student", "episode", allowed, tuple(episode.A.shape))
    integer("adapt_student", "nodes", nodes, 16)
    prior = law.predictive()
    m0, S, A = (to_numpy(v).astype(np.float64) for v in (prior.loc, prior.scale, episode.A))
    root = np.linalg.cholesky(S)
    b, U = np.linalg.eigh(root.T @ A @ root)
    b, T = np.maximum(b, 0.0), root @ U  # theta = m0 + T z: prior N(0, I/w), curvature b
    g = np.linalg.solve(T, to_numpy(episode.mbar) - m0)
    t, log_weight = _log_w(float(prior.dof), 0.5 * float(np.sum(g * g * b / (b + 1))), nodes)
    w = np.exp(t)[:, None]
    log_z = 0.5 * np.sum(np.log(w / (b + w)) - g * g * b * w / (b + w), axis=1)
    terms = log_weight + log_z
    top, keep = terms.max(), terms > terms.max() - 80.0
    total = np.exp(terms - top).sum()
    return StudentPosterior(
        np.exp(terms - top)[keep] / total,
        (g * b / (b + w))[keep],
        (1 / (b + w))[keep],
        T,
        m0,
        float(top + math.log(total) - episode.constant),
    )


def _log_w(dof: float, gain: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """A grid in t = log w and the log weights of the law of t, density ~ exp(dof/2 (t - e^t)).

    It reaches to where the density is e^-(45 + gain) of its top; gain: by how much the evidence can
    favour another w than 1. e^{-s} - 1 + s >= s^2 / (2 + s), and e^t - 1 - t >= t^2 / 2.
    """
    k = 2 * (45 + gain) / dof
    t = np.linspace(
        -(k + math.sqrt(k * k + 8 * k)) / 2, min(math.sqrt(2 * k), 5 + math.log1p(k)), nodes
    )
    log_density = dof / 2 * (t + math.log(dof / 2) - np.exp(t)) - math.lgamma(dof / 2)
    return t, log_density + math.log(t[1] - t[0])


def plug_in(law: NIW, posterior: StudentPosterior) -> LocalLaw:
    """The Gaussian of the posterior's mean and covariance, as arrays like the law's."""
    return LocalLaw(as_like(posterior.mean(), law.m0), as_like(posterior.covariance(), law.m0))
