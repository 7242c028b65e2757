"""The eigenvalues of a data law's covariance from noisy and clean samples together.

Prices are stated per direction, so a data set's price list needs its spectrum: the eigenvectors of
a covariance that is pooled with the weights of a typical direction, then the most likely variance
in each of them. Sheet `ambient-scaling`, "Real models".
"""

from __future__ import annotations

from ...arrays import Array, namespace
from ...errors import fail, number
from .._forms import floating
from .pooled import likelihood_variance, second_moments


def debiased_spectrum(clean: Array, noisy: Array, sigma_n: float | int) -> Array:
    """Eigenvalues (d,) of the clean law's covariance, descending, never negative.

    clean (n1, d), noisy (n2, d), either may be empty, two samples or more together; sigma_n: the
    noisy ones' level, in the data's units. Means are taken off. Eigenvalues of few samples spread
    (the largest are too large, by about d / n): take n well above d. Raises ValueError or TypeError
    by name.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = np.array([3.0, 1.0]) * rng.standard_normal((4000, 2))
    >>> y = x[400:] + 0.5 * rng.standard_normal((3600, 2))
    >>> debiased_spectrum(x[:400], y, 0.5).round().tolist()
    [9.0, 1.0]
    """
    where = "debiased_spectrum"
    x, y = floating(where, "clean", clean), floating(where, "noisy", noisy)
    v = number(where, "sigma_n", sigma_n, 0.0) ** 2
    if len(x.shape) != 2 or x.shape[1] < 1:
        raise fail(where, "clean", "of shape (n, d)", tuple(x.shape))
    if len(y.shape) != 2 or y.shape[1] != x.shape[1]:
        raise fail(where, "noisy", f"of shape (n, {x.shape[1]})", tuple(y.shape))
    xp, (n1, n2) = namespace(x, y), (x.shape[0], y.shape[0])
    if n1 + n2 < 2:
        raise fail(where, "clean", "two samples or more together with noisy", n1 + n2)
    mean = (xp.sum(x, axis=0) + xp.sum(y, axis=0)) / (n1 + n2)
    freedom = ((n1 + n2) / (n1 + n2 - 1)) ** 0.5  # what the mean takes
    found = second_moments(freedom * (x - mean), freedom * (y - mean), sigma_n)
    C1, C2 = found.clean, found.noisy
    typical = float(xp.linalg.trace((n1 * C1 + n2 * C2) / (n1 + n2))) / x.shape[1]
    g = max(typical, 0.0) / (max(typical, 0.0) + v) if v > 0 else 1.0
    weight = n2 * max(g, 1e-3) ** 2
    basis = xp.linalg.eigh((n1 * C1 + weight * C2) / (n1 + weight))[1]
    c1, c2 = (xp.sum(basis * (C @ basis), axis=0) for C in (C1, C2))
    spectrum = likelihood_variance(xp.clip(c1, min=0.0), c2, n1, n2, sigma_n)
    return xp.flip(xp.sort(spectrum), axis=0)
