"""Approximation of functions from a reproducing-kernel space: bounds on each draw, a safe law.

H has kernel k, trace tr = int k(x, x) dmu. With kappa = sup w(x) k(x, x) every draw obeys
|f - fhat|^2 <= |g|^2 + (kappa / lambda_min) |g|_H^2. nu_m alone may leave kappa infinite; the
natural reference nu = (K / m + k / tr) mu / 2 has w k <= 2 tr and w K <= 2 m, so it at most doubles
n. Source: arXiv 2312.14057; sheet `dpp-wls`, "Constants".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, as_like, namespace, to_numpy
from ...errors import fail, finite_array, integer, number
from ...shapes import Float
from .reference import Reference, half_and_half
from .spaces import FeatureSpace, PolySpace, Space, christoffel


@dataclass(frozen=True, eq=False)
class Kernel:
    """What the bounds need of a kernel: k(x, x), its trace, its supremum.

    diagonal(x) gives k(x, x); trace: int k(x, x) dmu; sup: sup k(x, x), or None if unknown or
    infinite; eigenvalues: (m,) those of the features of a space, where they are eigenfunctions.
    Raises ValueError unless the trace is positive.

    >>> Kernel(lambda x: 1 + 0 * x, 1.0).trace
    1.0
    """

    diagonal: Callable[[Any], Any]
    trace: float
    sup: float | None = None
    eigenvalues: Any = None

    def __post_init__(self) -> None:
        if number("Kernel", "trace", self.trace, 0) == 0:
            raise fail("Kernel", "trace", "positive", self.trace)
        if self.eigenvalues is not None:
            values = finite_array("Kernel", "eigenvalues", to_numpy(self.eigenvalues))
            if values.ndim != 1 or np.any(values < 0):
                raise fail("Kernel", "eigenvalues", "non-negative, of shape (m,)", values)
            object.__setattr__(self, "eigenvalues", values)


def sobolev_kernel(space: PolySpace) -> Kernel:
    """k = 1 + 2 sum_{j>=1} cos(2 pi j (x - y)) / j^2 on the circle, for a Fourier space.

    Trace and diagonal are 1 + pi^2 / 3; the eigenvalue of frequency j is 1 / j^2. Raises ValueError
    for another family.

    >>> round(sobolev_kernel(PolySpace("fourier", 2)).trace, 6)
    4.289868
    """
    if not isinstance(space, PolySpace) or space.dim != 1 or space._families[0].name != "fourier":
        raise fail("sobolev_kernel", "space", "PolySpace('fourier', degree)", space)
    frequency = (space.indices[:, 0] + 1) // 2
    trace = 1 + math.pi**2 / 3
    values = 1 / np.maximum(frequency, 1) ** 2
    return Kernel(lambda x: trace + 0 * x, trace, trace, values)


def sobolev_values(x: Array, y: Array) -> Float[Any, "*n"]:
    """k(x, y) of `sobolev_kernel` in closed form: 1 + 2 pi^2 (t^2 - t + 1/6), t = x - y mod 1.

    >>> sobolev_values(np.array([0.0]), np.array([0.0])).round(6)
    array([4.289868])
    """
    t = (x - y) % 1.0
    return 1 + 2 * math.pi**2 * (t * t - t + 1 / 6)


def residual_diagonal(kernel: Kernel, space: Space, x: Array) -> Float[Any, "n"]:
    """k(x, x) - sum_j lambda_j phi_j(x)^2, the diagonal of the kernel of H less V.

    For features that are eigenfunctions of the kernel: then Pf is also the projection in H, and
    this may stand for k in the bounds. At least 0.

    >>> V = PolySpace("fourier", 2)
    >>> residual_diagonal(sobolev_kernel(V), V, np.array([0.3])).round(6)
    array([0.789868])
    """
    if kernel.eigenvalues is None or kernel.eigenvalues.shape != (space.m,):
        raise fail("residual_diagonal", "kernel", f"with {space.m} eigenvalues", kernel.eigenvalues)
    phi = space.features(x)
    xp = namespace(phi)
    inside = xp.matmul(phi * phi, as_like(kernel.eigenvalues, phi))
    diagonal = as_like(to_numpy(kernel.diagonal(x)), phi)
    return xp.clip(diagonal - inside, min=0.0)


def natural_reference(space: Space, kernel: Kernel) -> Reference:
    """nu = (1/2) (K / m + k(x, x) / tr) mu: w K <= 2 m and w k <= 2 tr at every point.

    Its second half is drawn from a pool's table, or by rejection from mu with kernel.sup.
    Raises ValueError where points are not rows and the kernel has no sup.

    >>> V = PolySpace("fourier", 2)
    >>> nu = natural_reference(V, sobolev_kernel(V))
    >>> nu.weight(np.array([0.3])).round(6)
    array([1.])
    """

    def density(x: Any) -> Any:
        K = christoffel(space, x)
        k = as_like(to_numpy(kernel.diagonal(x)), K)
        return 0.5 * (K / space.m + k / kernel.trace)

    if isinstance(space, FeatureSpace):
        from .._host import Table

        k = to_numpy(kernel.diagonal(np.arange(space.rows.shape[0])))
        if np.any(k < 0):
            raise fail("natural_reference", "kernel", "of a non-negative diagonal", float(k.min()))
        table = Table(space.weights * k)

        def second(n: int, *, rng: np.random.Generator) -> np.ndarray:
            return table.draw(n, rng)
    elif kernel.sup is None:
        raise fail("natural_reference", "kernel", "with a sup unless points are rows", None)
    else:

        def second(n: int, *, rng: np.random.Generator) -> np.ndarray:
            return _tilted(space, kernel, n, rng)

    return half_and_half("natural", (space.draw_optimal, second), density, None)


def _tilted(space: Space, kernel: Kernel, n: int, rng: np.random.Generator) -> np.ndarray:
    """n points of k(x, x) / tr mu, by rejection from mu."""
    kept, count, sup = [space.draw(0, rng=rng)], 0, kernel.sup or 0.0
    while count < n:
        x = space.draw(max(2 * (n - count), 16), rng=rng)
        taken = x[rng.random(len(x)) * sup < to_numpy(kernel.diagonal(x))][: n - count]
        kept.append(taken)
        count += len(taken)
    return np.concatenate(kept)


def kappa(weight: Any, diagonal: Any) -> float:
    """sup w(x) k(x, x) over the points given: all rows of a pool, or a grid.

    >>> float(kappa(np.array([1.0, 0.5]), np.array([2.0, 3.0])))
    2.0
    """
    return float(np.max(to_numpy(weight) * to_numpy(diagonal)))


def kernel_space(K: Any, m: int, *, weights: Any = None) -> tuple[FeatureSpace, Kernel]:
    """The space of the m leading eigenfunctions of a kernel on a pool, and the kernel for it.

    K: (N, N) symmetric positive semidefinite values k(x_i, x_j); weights: (N,) probabilities mu.
    Eigenfunctions of k in L2(mu) are orthonormal there. Raises ValueError by name.

    >>> space, kernel = kernel_space(np.array([[2.0, 1.0], [1.0, 2.0]]), 1)
    >>> kernel.trace, kernel.eigenvalues
    (2.0, array([1.5]))
    """
    values = finite_array("kernel_space", "K", to_numpy(K))
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise fail("kernel_space", "K", "of shape (N, N)", values.shape)
    if not np.allclose(values, values.T, rtol=0, atol=1e-8 * np.abs(values).max()):
        raise fail("kernel_space", "K", "symmetric", "another matrix")
    integer("kernel_space", "m", m, 1, len(values))
    base = FeatureSpace(np.ones((len(values), 1)), weights)
    root = np.sqrt(base.weights)
    eigenvalues, vectors = np.linalg.eigh(root[:, None] * values * root)
    if eigenvalues[0] < -1e-8 * abs(eigenvalues[-1]):
        raise fail("kernel_space", "K", "positive semidefinite", f"eigenvalue {eigenvalues[0]}")
    lead = np.maximum(eigenvalues[::-1][:m], 0.0)
    if lead[-1] <= 1e-14 * lead[0]:
        raise fail("kernel_space", "m", "at most the rank of K", m)
    phi = values @ (root[:, None] * vectors[:, ::-1][:, :m]) / lead  # also where mu is 0
    space, diagonal = FeatureSpace(phi, base.weights), np.diag(values).copy()
    trace = float(base.weights @ diagonal)
    return space, Kernel(lambda x: diagonal[to_numpy(x)], trace, float(diagonal.max()), lead)
