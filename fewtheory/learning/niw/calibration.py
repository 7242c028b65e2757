"""Are predictions as sure as they should be? Coverage of intervals, and confidence over accuracy.

A log loss says how good a prediction is, not which way it errs; these do, without the truth.
Sheet `niwmeta`, C6 (the mode's plug-in is overconfident by the dimension).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import to_numpy
from ...errors import fail, integer, number


def interval_coverage(cdf: Any, level: float | int = 0.9) -> float:
    """How many outcomes fall within the central intervals of `level`: right is `level`.

    cdf (n,): each outcome's place in its own predictive law, P(Y <= y), in [0, 1].
    Raises ValueError by name.

    >>> interval_coverage([0.02, 0.3, 0.5, 0.96], 0.9)
    0.5
    """
    u = _shares("interval_coverage", "cdf", cdf)
    number("interval_coverage", "level", level, 0.0, 1.0)
    return float(np.mean(np.abs(u - 0.5) <= level / 2))


def calibration_error(probabilities: Any, y: Any, *, bins: int = 10) -> float:
    """sum_b n_b / n |accuracy_b - confidence_b|, confidence the largest probability, in equal bins.

    probabilities (n, ways), rows that add up to one; y (n,) integers. It is not 0 for a perfect
    predictor of n cases: about sum_b sqrt(2 n_b accuracy_b (1 - accuracy_b) / pi) / n.
    Raises ValueError or TypeError by name.

    >>> calibration_error([[0.75, 0.25], [0.75, 0.25]], [0, 1])
    0.25
    """
    where = "calibration_error"
    p, labels = to_numpy(probabilities), to_numpy(y)
    p, labels = np.asarray(p, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or p.shape[0] < 1 or np.any(np.abs(p.sum(axis=1) - 1) > 1e-4) or np.any(p < 0):
        raise fail(where, "probabilities", "of shape (n, ways), rows that add up to one", p)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{where}: y must hold integers, got {labels.dtype}")
    if labels.shape != p.shape[:1] or np.any((labels < 0) | (labels >= p.shape[1])):
        raise fail(where, "y", f"of shape ({p.shape[0]},) in [0, {p.shape[1] - 1}]", labels)
    bins = integer(where, "bins", bins, 1)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(at, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def _shares(where: str, argument: str, u: Any) -> np.ndarray:
    u = np.asarray(to_numpy(u), dtype=np.float64).ravel()
    if u.size < 1 or not np.all((u >= 0) & (u <= 1)):
        raise fail(where, argument, "one or more numbers in [0, 1]", u)
    return u
