"""Gaussian classes: a class is a parameter of the hierarchy, and its posterior predictive decides.

A class has a mean theta ~ the hierarchy's law, its examples are x = theta + noise e. ProtoNet takes
the examples' average for theta and one distance for all directions; with the law of classes known
the average is shrunk, each direction by its own gain, and what is still unknown of theta widens the
class. With V = 0, no shrinkage and an embedding of its own scale this is ProtoNet.
Sheet `niwmeta`, M6 and M9; C8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import to_numpy
from ...errors import fail, number
from .episodes import LocalLaw, Quadratic
from .prototypes import prototypes
from .student_prior import StudentPosterior


def class_episodes(x: Any, labels: Any, ways: int, *, noise: float | int) -> list[Quadratic]:
    """Each class's loss in its mean: mbar the average of its examples, A = n_c / noise^2 I.

    x (n, d); labels (n,) integers below ways. Raises ValueError or TypeError by name.

    >>> found = class_episodes(np.array([[0.0], [2.0]]), np.array([0, 0]), 1, noise=1.0)
    >>> found[0].mbar.tolist(), found[0].A.tolist()
    ([1.0], [[2.0]])
    """
    s2 = number("class_episodes", "noise", noise, 1e-150) ** 2
    means = to_numpy(prototypes(x, labels, ways))
    count = np.bincount(to_numpy(labels), minlength=ways)
    eye = np.eye(means.shape[1])
    return [Quadratic(c, eye * (n / s2)) for c, n in zip(means, count, strict=True)]


def class_log_prob(
    posteriors: Sequence[LocalLaw | StudentPosterior], x: Any, *, noise: float | int
) -> np.ndarray:
    """log p(class | x), (n, ways), equal classes a priori: log p(x | class) less its logsumexp.

    posteriors: of each class's mean, by `adapt` (Gaussian, full matrices) or `adapt_student`;
    x (n, d); noise: of an example around its mean, a standard deviation. Raises ValueError by name.

    >>> laws = [LocalLaw(np.array([c]), np.eye(1)) for c in (-1.0, 1.0)]
    >>> np.exp(class_log_prob(laws, np.array([[0.0]]), noise=1.0)).tolist()
    [[0.5, 0.5]]
    """
    where = "class_log_prob"
    s2 = number(where, "noise", noise, 0.0) ** 2
    x = np.asarray(to_numpy(x), dtype=np.float64)
    if not len(posteriors):
        raise fail(where, "posteriors", "one or more", posteriors)
    if x.ndim != 2:
        raise fail(where, "x", "of shape (n, d)", x.shape)
    joint = np.stack([_log_density(q, x, s2) for q in posteriors], axis=1)
    return joint - _logsumexp(joint)[:, None]


def _log_density(q: LocalLaw | StudentPosterior, x: np.ndarray, s2: float) -> np.ndarray:
    """log of the predictive density of x (n, d)."""
    if isinstance(q, StudentPosterior):
        means = q.m0 + q.means @ q.T.T  # (K, d)
        covs = (q.T * q.variances[:, None, :]) @ q.T.T
        log_weights = np.log(q.weights)
    else:
        means, covs, log_weights = to_numpy(q.m)[None], to_numpy(q.V)[None], np.zeros(1)
    if means.shape[1] != x.shape[1] or covs.shape[1:] != (x.shape[1],) * 2:
        allowed = f"of shape (n, {means.shape[1]}), with matrices in the posteriors"
        raise fail("class_log_prob", "x", allowed, x.shape)
    L = np.linalg.cholesky(covs + s2 * np.eye(x.shape[1]))  # (K, d, d)
    z = np.linalg.solve(L, np.swapaxes(x[None] - means[:, None], 1, 2))  # (K, d, n)
    logdet = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    d = x.shape[1]
    terms = log_weights[:, None] - 0.5 * (z * z).sum(axis=1) - logdet[:, None]
    return _logsumexp(terms.T) - d / 2 * math.log(2 * math.pi)


def _logsumexp(terms: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    top = terms.max(axis=-1)
    return top + np.log(np.exp(terms - top[..., None]).sum(axis=-1))
