"""Flattening: copies of sensitive rows, until no row is sensitive and every norm is as it was.

Woodruff & Yasuda (arXiv 2306.00732), sheet `lp-sensitivity`: the step that turns a bound for rows
of equal sensitivity into one for all.
"""

from __future__ import annotations

import math

import numpy as np

from ...arrays import Array, to_numpy
from ...errors import fail
from .coreset import Coreset, matrix_shape
from .lewis import norm_exponent


def flatten(A: Array, p: float | int, sensitivities: Array) -> tuple[Array, np.ndarray]:
    """Rows split so that none is sensitive: k_i = ceil(n sigma_i / S) copies of a_i / k_i^{1/p}.

    |A x|_p stays as it was, there are at most 2 n rows, and each sensitivity and Lewis weight is
    1/k_i of what it was; leverage scores of p != 2 change in another way.

    Args:
        A: (n, d), NumPy or torch.
        p: of the norm, 1 <= p < infinity.
        sensitivities: (n,), positive where the row is not zero.

    Returns: the rows, copies side by side, and k (n,).

    Raises: ValueError for sensitivities of the wrong shape, negative or all zero.

    Source: sheet `lp-sensitivity`, Method, Flattening.

    >>> import numpy as np
    >>> from fewtheory.subsets import flatten
    >>> rows, copies = flatten(np.array([[1.0], [3.0]]), 1, np.array([0.25, 0.75]))
    >>> rows.tolist(), copies.tolist()
    ([[1.0], [1.5], [1.5]], [1, 2])
    """
    exponent = norm_exponent("flatten", p)
    n, _ = matrix_shape("flatten", A)
    sigma = to_numpy(sensitivities).astype(np.float64)
    if sigma.shape != (n,):
        raise fail("flatten", "sensitivities", f"of shape ({n},)", sigma.shape)
    if not (np.all(np.isfinite(sigma)) and np.all(sigma >= 0) and np.any(sigma > 0)):
        raise fail("flatten", "sensitivities", "finite, not negative, one positive", sigma)
    share = n * sigma / math.fsum(sigma)
    copies = np.maximum(np.ceil(share * (1 - 4 * np.finfo(float).eps)), 1).astype(np.int64)
    index = np.repeat(np.arange(n), copies)
    scale = copies[index] ** (-1 / exponent)
    return Coreset(index, scale, scale**-exponent, exponent, n).rows(A), copies
