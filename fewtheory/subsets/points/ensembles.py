"""Points of projection DPPs as eigenvalues of random matrices, without rejection.

Where V holds all polynomials below degree m in one variable, the DPP is an orthogonal polynomial
ensemble, and that is the spectrum of a random tridiagonal matrix: O(m^2) operations.
Hermite (GUE): diagonal N(0, 1), squared off-diagonal Gamma(k, 1). Jacobi, weight
(1 - x)^a (1 + x)^b: Verblunsky coefficients with (1 - alpha) / 2 from Beta laws. Fourier: the
angles of a Haar unitary matrix.
Source: Dumitriu and Edelman 2002; Killip and Nenciu 2004; sheet `dpp-wls` (not in the paper).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Rng
from ...errors import fail, integer, number
from ...shapes import Float
from .._host import host_rng
from .spaces import PolySpace, Space

DENSE = 24  # up to this order a batch of dense solves is faster than as many tridiagonal ones


def ensemble(
    space: Space, *, repeats: int | None = None, rng: Rng
) -> Float[np.ndarray, "*repeats m"]:
    """Points of the space's projection DPP, ascending: (m,), or (repeats, m) independent draws.

    Raises ValueError for a space without a matrix model: more variables than one, gaps in the
    degrees, or an even number of trigonometric functions.

    >>> ensemble(PolySpace("hermite", 3), rng=np.random.default_rng(0)).shape
    (4,)
    """
    model = space.ensemble if isinstance(space, PolySpace) else None
    if model is None or not isinstance(space, PolySpace):
        raise fail("ensemble", "space", "of one variable and all functions up to a degree", space)
    if model == "jacobi":
        a = space._families[0].jacobi
        return jacobi_ensemble(space.m, a, a, repeats=repeats, rng=rng)
    return {"hermite": hermite_ensemble, "fourier": fourier_ensemble}[model](
        space.m, repeats=repeats, rng=rng
    )


def hermite_ensemble(
    m: int, *, repeats: int | None = None, rng: Rng
) -> Float[np.ndarray, "*repeats m"]:
    """Eigenvalues of the Gaussian unitary ensemble: the DPP of Hermite polynomials, mu = N(0, 1).

    >>> hermite_ensemble(3, repeats=2, rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    rng, n = _begin("hermite_ensemble", m, repeats, rng)
    diagonal = rng.standard_normal((n, m))
    off = np.sqrt(rng.standard_gamma(np.arange(1.0, m), size=(n, m - 1)))
    return _shaped(_eigenvalues(diagonal, off), repeats)


def jacobi_ensemble(
    m: int, a: int | float = 0, b: int | float = 0, *, repeats: int | None = None, rng: Rng
) -> Float[np.ndarray, "*repeats m"]:
    """The DPP of polynomials on [-1, 1], mu proportional to (1 - x)^a (1 + x)^b, a, b > -1.

    a = b = 0 is Legendre, a = b = -1/2 Chebyshev (arcsine).

    >>> jacobi_ensemble(3, rng=np.random.default_rng(0)).shape
    (3,)
    """
    for name, value in (("a", a), ("b", b)):
        if number("jacobi_ensemble", name, value, -1) == -1:
            raise fail("jacobi_ensemble", name, "more than -1", value)
    rng, n = _begin("jacobi_ensemble", m, repeats, rng)
    alpha = _verblunsky(m, a, b, n, rng)  # alpha_{-1}, alpha_0, .., alpha_{2m-1}
    odd_before, even, odd = alpha[:, 0:-1:2], alpha[:, 1::2], alpha[:, 2::2]
    even_before = np.append(np.zeros((n, 1)), even[:, :-1], axis=1)  # its factor is 0 at k = 0
    diagonal = (1 - odd_before) * even - (1 + odd_before) * even_before
    off = np.sqrt((1 - odd_before) * (1 - even**2) * (1 + odd))[:, :-1]
    return _shaped(_eigenvalues(diagonal / 2, off / 2), repeats)


def _verblunsky(
    m: int, a: int | float, b: int | float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """(n, 2m + 1): alpha_{-1} = -1, alpha_k with (1 - alpha_k) / 2 ~ Beta(s, t), alpha_{2m-1} = -1.

    k even: s, t = (2m - k - 2) / 2 + 1 + (a, b); odd: (2m - k - 3) / 2 + 2 + a + b, (2m - k - 1)/2.
    """
    k = np.arange(2 * m - 1)
    s = np.where(k % 2 == 0, (2 * m - k - 2) / 2 + a + 1, (2 * m - k - 3) / 2 + a + b + 2)
    t = np.where(k % 2 == 0, (2 * m - k - 2) / 2 + b + 1, (2 * m - k - 1) / 2)
    alpha = 1 - 2 * rng.beta(s, t, size=(n, k.size))
    ends = np.full((n, 1), -1.0)
    return np.concatenate([ends, alpha, ends], axis=1)


def fourier_ensemble(
    m: int, *, repeats: int | None = None, rng: Rng
) -> Float[np.ndarray, "*repeats m"]:
    """Angles / 2 pi in [0, 1) of a Haar unitary: the DPP of 1, cos, sin, .., m odd functions.

    A unitary factor of a complex Gaussian matrix is Haar once the phases of R's diagonal are
    divided out. (For even m: the DPP of m consecutive complex exponentials.)

    >>> fourier_ensemble(3, rng=np.random.default_rng(0)).shape
    (3,)
    """
    rng, n = _begin("fourier_ensemble", m, repeats, rng)
    Z = rng.standard_normal((n, m, m)) + 1j * rng.standard_normal((n, m, m))
    Q, R = np.linalg.qr(Z)
    diagonal = np.einsum("nii->ni", R)
    U = Q * (diagonal / np.abs(diagonal))[:, None, :]
    angles = np.angle(np.linalg.eigvals(U)) / (2 * np.pi)
    return _shaped(np.sort(angles % 1.0, axis=1), repeats)


def sum_variance(space: PolySpace) -> float:
    """Var(x_1 + .. + x_m) of the projection DPP, all degrees below m in one variable: a_m^2.

    a_m is the recurrence coefficient that leads out of V (the commutator of x with the projection);
    m independent points from nu_m have a variance that grows with m.

    >>> round(sum_variance(PolySpace("legendre", 3)), 6)
    0.253968
    """
    return _polynomials("sum_variance", space).recurrence(space.m) ** 2


def pair_moment(space: PolySpace) -> float:
    """E sum_{i != j} x_i x_j of the projection DPP: -2 (a_1^2 + .. + a_{m-1}^2).

    >>> round(pair_moment(PolySpace("legendre", 3)), 6)
    -1.714286
    """
    family = _polynomials("pair_moment", space)
    return float(-2 * sum(family.recurrence(k) ** 2 for k in range(1, space.m)))


def largest_probability(space: PolySpace, t: int | float) -> float:
    """P(max x_i <= t) of the projection DPP of polynomials: det of int_{x <= t} phi phi^T dmu.

    By Gauss quadrature in a variable in which mu is smooth, exact for Legendre.

    >>> round(largest_probability(PolySpace("legendre", 3), 0.8), 6)
    0.185302
    """
    family = _polynomials("largest_probability", space)
    t, m = number("largest_probability", "t", t, -np.inf), space.m
    nodes, weights = np.polynomial.legendre.leggauss(m if family.jacobi == 0 else 4 * m + 60)
    if family.name == "hermite":
        low = -2 * np.sqrt(m) - 10  # less than a rounding is below
        x, half = low + (nodes + 1) / 2 * (t - low), max(t - low, 0.0) / 2
        density = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    elif family.name == "chebyshev":  # x = -cos(theta), uniform on [0, pi]
        half = np.arccos(-np.clip(t, -1.0, 1.0)) / 2
        x, density = -np.cos(half * (nodes + 1)), 1 / np.pi
    else:
        half = (np.clip(t, -1.0, 1.0) + 1) / 2
        x, density = half * (nodes + 1) - 1, 0.5
    phi = space.features(x)
    return float(np.linalg.det(phi.T @ (phi * (weights * half * density)[:, None])))


def _polynomials(where: str, space: PolySpace) -> Any:
    if not isinstance(space, PolySpace) or space.ensemble not in ("jacobi", "hermite"):
        raise fail(where, "space", "polynomials of one variable up to a degree", space)
    return space._families[0]


def _begin(where: str, m: int, repeats: int | None, rng: Rng) -> tuple[np.random.Generator, int]:
    integer(where, "m", m, 1)
    n = 1 if repeats is None else integer(where, "repeats", repeats, 1)
    return host_rng(where, rng), n


def _shaped(points: np.ndarray, repeats: int | None) -> np.ndarray:
    return points[0] if repeats is None else points


def _eigenvalues(diagonal: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Of n symmetric tridiagonal matrices, ascending; diagonal (n, m), off (n, m - 1)."""
    n, m = diagonal.shape
    if m > DENSE:
        from scipy.linalg import eigvalsh_tridiagonal

        pairs = zip(diagonal, off, strict=True)
        return np.stack([eigvalsh_tridiagonal(d, e, check_finite=False) for d, e in pairs])
    T, i = np.zeros((n, m, m)), np.arange(m)
    T[:, i, i] = diagonal
    T[:, i[1:], i[:-1]] = off  # the lower triangle is read
    return np.linalg.eigvalsh(T)
