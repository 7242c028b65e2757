"""What the ambient loss learns when the denoiser is linear: pooled second moments.

With all draws of noise averaged, the minimiser over D = K x of the mixed loss at level sigma is

    K = C_w (C_w + sigma^2 I)^{-1},   C_w = (n1 C_1 + n2 a^2 C_2) / (n1 + n2 a^2),
    C_1 = mean x_0 x_0^T,   C_2 = mean y y^T - sigma_n^2 I,   a = 1 - sigma_n^2 / sigma^2,

so the loss gives a noisy sample the weight a^2 of a clean one, whatever w(sigma); below sigma_n
only clean samples are used. Sheet `ambient-scaling`, M6 ("ours"). A diagonal (d,) stands for d
directions that are fitted each for itself.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from ...arrays import Array, as_like, namespace, to_numpy
from ...errors import fail, integer, number
from .._forms import floating, is_diagonal
from .identity import ambient_weights


@dataclass(frozen=True, eq=False)
class SecondMoments:
    """clean: C_1; noisy: C_2, debiased; (d, d) or diagonals (d,); from n_clean and n_noisy samples.

    sigma_n: the noisy ones' level. C_2 may have negative eigenvalues, never below -sigma_n^2.
    Raises ValueError or TypeError by name.
    """

    clean: Array
    noisy: Array
    n_clean: int
    n_noisy: int
    sigma_n: float | int

    def __post_init__(self) -> None:
        where = "SecondMoments"
        C1, C2 = floating(where, "clean", self.clean), floating(where, "noisy", self.noisy)
        shape, d = tuple(C1.shape), C1.shape[0] if C1.shape else 0
        if shape not in ((d,), (d, d)) or d < 1:
            raise fail(where, "clean", "of shape (d, d) or (d,)", shape)
        if tuple(C2.shape) != shape:
            raise fail(where, "noisy", f"of shape {shape}", tuple(C2.shape))
        n1 = integer(where, "n_clean", self.n_clean, 0)
        if n1 + integer(where, "n_noisy", self.n_noisy, 0) < 1:
            raise fail(where, "n_clean", "one or more where n_noisy is 0", self.n_clean)
        number(where, "sigma_n", self.sigma_n, 0.0)

    def poles(self) -> np.ndarray:
        """The levels sqrt(-c) of the negative eigenvalues c of C_2, where C_2 alone has poles.

        They lie at or below sigma_n, so that no level on which noisy samples are trained has one.
        """
        C2 = np.asarray(to_numpy(self.noisy), dtype=np.float64)
        c = C2 if C2.ndim == 1 else np.linalg.eigvalsh(C2)
        return np.sqrt(-c[c < 0])


def second_moments(
    clean: Array, noisy: Array, sigma_n: float | int, *, diagonal: bool = False
) -> SecondMoments:
    """The second moments of clean (n1, d) and noisy (n2, d) samples about 0, n1 or n2 may be 0.

    Take off a known mean first. Raises ValueError or TypeError by name.

    >>> found = second_moments(np.ones((4, 1)), 2 * np.ones((3, 1)), 0.5)
    >>> found.clean.tolist(), found.noisy.tolist()
    ([[1.0]], [[3.75]])
    """
    where = "second_moments"
    x, y = floating(where, "clean", clean), floating(where, "noisy", noisy)
    if len(x.shape) != 2 or x.shape[1] < 1:
        raise fail(where, "clean", "of shape (n, d)", tuple(x.shape))
    if len(y.shape) != 2 or y.shape[1] != x.shape[1]:
        raise fail(where, "noisy", f"of shape (n, {x.shape[1]})", tuple(y.shape))
    v = number(where, "sigma_n", sigma_n, 0.0) ** 2
    xp, d, (n1, n2) = namespace(x, y), x.shape[1], (x.shape[0], y.shape[0])
    if diagonal:
        C1, C2 = xp.sum(x * x, axis=0) / max(n1, 1), xp.sum(y * y, axis=0) / max(n2, 1) - v
    else:
        eye = as_like(np.eye(d), x)
        C1, C2 = x.T @ x / max(n1, 1), y.T @ y / max(n2, 1) - v * eye
    return SecondMoments(C1, C2 if n2 else 0 * C2, n1, n2, float(sigma_n))


def pooled_variance(moments: SecondMoments, sigma: float | int) -> Array:
    """C_w at the level sigma: that of the clean samples alone at and below sigma_n.

    Without clean samples C_2 stands at every level, which below sigma_n is what consistency, not
    the loss, would say. Raises ValueError for sigma not above 0.

    >>> half = SecondMoments(np.array([1.0]), np.array([2.0]), 10, 10, 0.5)
    >>> pooled_variance(half, 0.4).tolist(), pooled_variance(half, 1e6).round(9).tolist()
    ([1.0], [1.5])
    """
    n1, n2 = moments.n_clean, moments.n_noisy
    sigma = number("pooled_variance", "sigma", sigma, 1e-150)
    if n1 == 0:
        return moments.noisy
    a = ambient_weights(moments.sigma_n, sigma)[0] if sigma > moments.sigma_n else 0.0
    return (n1 * moments.clean + n2 * a**2 * moments.noisy) / (n1 + n2 * a**2)


def linear_denoiser(moments: SecondMoments, sigma: float | int) -> Array:
    """K = C_w (C_w + sigma^2 I)^{-1}, (d, d) or its diagonal (d,): the loss's minimiser D = K x.

    Warns where only noisy samples are given, sigma lies below sigma_n and C_w + sigma^2 I has an
    eigenvalue that is not positive: beyond a pole of the minimiser nothing of it is meant.

    >>> linear_denoiser(SecondMoments(np.array([1.0]), np.array([1.0]), 9, 0, 0.0), 1.0).tolist()
    [0.5]
    """
    C, v = pooled_variance(moments, sigma), float(sigma) ** 2
    xp = namespace(C)
    if moments.n_clean == 0 and moments.poles().max(initial=0.0) >= sigma:
        warnings.warn(
            f"linear_denoiser: sigma = {sigma:g} lies at or below a pole, "
            f"{moments.poles().max():g}: the noisy samples' debiased variance is negative",
            RuntimeWarning,
            stacklevel=2,
        )
    if is_diagonal(C):
        return C / (C + v)
    return xp.linalg.solve(C + v * as_like(np.eye(C.shape[0]), C), C)  # the two commute


def likelihood_variance(
    c1: Array, c2: Array, n_clean: int, n_noisy: int, sigma_n: float | int
) -> Array:
    """The most likely variance in each direction, of c_1, c_2 (...) from n1, n2 Gaussian samples.

    The root of n1 (c1 - c) / c^2 + n2 (c2 - c) / (c + sigma_n^2)^2 = 0, by bisection; 0 where noisy
    samples alone would make it negative. Raises ValueError or TypeError by name.

    >>> likelihood_variance(np.array([1.0]), np.array([2.0]), 10, 10, 0.0).round(12).tolist()
    [1.5]
    """
    where = "likelihood_variance"
    c1, c2 = floating(where, "c1", c1), floating(where, "c2", c2)
    n1, n2 = integer(where, "n_clean", n_clean, 0), integer(where, "n_noisy", n_noisy, 0)
    v, xp = number(where, "sigma_n", sigma_n, 0.0) ** 2, namespace(c1, c2)
    if n1 + n2 == 0:
        raise fail(where, "n_clean", "one or more where n_noisy is 0", n_clean)
    if not bool(xp.all(c1 >= 0)):
        raise fail(where, "c1", "not negative", c1)
    if n1 == 0:
        return xp.clip(c2, min=0.0)
    # the derivative is positive below both and negative above both; c1 > 0 keeps the root above 0
    low, high = xp.clip(xp.minimum(c1, c2), min=0.0), xp.maximum(c1, c2)
    for _ in range(200):
        c = 0.5 * (low + high)
        rises = n1 * (c1 - c) * (c + v) ** 2 + n2 * (c2 - c) * c**2 > 0
        low, high = xp.where(rises, c, low), xp.where(rises, high, c)
        if bool(xp.all(high - low <= 4 * float(xp.finfo(c1.dtype).eps) * high)):
            break
    return 0.5 * (low + high)
