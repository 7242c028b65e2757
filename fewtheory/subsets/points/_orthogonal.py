"""Orthonormal functions of one variable: values, draws from mu and from phi_j^2 mu.

Each family is orthonormal with respect to a *probability* mu. Polynomials follow the three-term
recurrence x p_k = a_{k+1} p_{k+1} + a_k p_{k-1} (all mu here are symmetric), p_0 = 1. A draw from
phi_j^2 mu is exact: rejection from a proved envelope, a period of cos^2, or the inverse of a closed
distribution function. Source: sheet `dpp-wls`, "Sampling nu_m".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import Array, namespace


class Polynomials:
    """What the three families of polynomials share."""

    name = ""
    jacobi: float | None = None  # a = b of the Jacobi weight, where there is one

    def recurrence(self, k: int) -> float:
        """a_k, k at least 1."""
        raise NotImplementedError

    def level(self, j: int) -> int:
        """The degree of the j-th function."""
        return j

    def at_level(self, q: int) -> list[int]:
        """The functions of degree q."""
        return [q]

    def values(self, x: Array, top: int) -> Array:
        """phi_0(x), .., phi_top(x): (n,) to (n, top + 1)."""
        xp = namespace(x)
        columns = [xp.ones_like(x), x / self.recurrence(1)]
        for k in range(1, top):
            ahead = x * columns[k] - self.recurrence(k) * columns[k - 1]
            columns.append(ahead / self.recurrence(k + 1))
        return xp.stack(columns[: top + 1], axis=-1)


class Legendre(Polynomials):
    """sqrt(2j + 1) P_j, mu = dx / 2 on [-1, 1]."""

    name, jacobi = "legendre", 0.0

    def recurrence(self, k: int) -> float:
        return k / math.sqrt(4 * k * k - 1)

    def draw(self, n: int, rng: Any) -> np.ndarray:
        return 2 * rng.random(n) - 1

    def draw_squared(self, orders: np.ndarray, rng: Any) -> np.ndarray:
        """Rejection from the arcsine law.

        Bernstein: phi_j^2 / 2 <= 2 / (pi sqrt(1 - x^2)), twice the proposal, so half are accepted.
        """

        def proposal(j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            theta = np.pi * rng.random(j.size)
            x, top = np.cos(theta), int(j.max())
            phi = self.values(x, top)[np.arange(j.size), j]
            return x, rng.random(j.size) * 4 < np.pi * np.sin(theta) * phi**2

        return _until_accepted(proposal, orders)


class Chebyshev(Polynomials):
    """sqrt(2) T_j, T_0 = 1, mu the arcsine law on [-1, 1]."""

    name, jacobi = "chebyshev", -0.5

    def recurrence(self, k: int) -> float:
        return math.sqrt(0.5) if k == 1 else 0.5

    def draw(self, n: int, rng: Any) -> np.ndarray:
        return np.cos(np.pi * rng.random(n))

    def draw_squared(self, orders: np.ndarray, rng: Any) -> np.ndarray:
        """cos(theta), theta of density (1 + cos 2 j theta) / pi: one of its j periods."""
        j = np.maximum(orders, 1)
        period = (_cosine_squared(orders.size, rng) + np.pi * rng.integers(j)) / j
        return np.cos(np.where(orders == 0, np.pi * rng.random(orders.size), period))


class Hermite(Polynomials):
    """He_j / sqrt(j!), mu = N(0, 1)."""

    name = "hermite"

    def recurrence(self, k: int) -> float:
        return math.sqrt(k)

    def draw(self, n: int, rng: Any) -> np.ndarray:
        return rng.standard_normal(n)

    def distribution(self, x: np.ndarray, orders: np.ndarray) -> np.ndarray:
        """int_{-inf}^x phi_j^2 dmu = Phi(x) - density(x) sum_{k<=j} phi_k phi_{k-1} / sqrt(k)."""
        return self._distribution_and_density(x, orders)[0]

    def _distribution_and_density(
        self, x: np.ndarray, orders: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        from scipy.special import ndtr

        phi, each = self.values(x, max(int(orders.max()), 1)), np.arange(x.size)
        k = np.arange(1, phi.shape[1])
        terms = np.cumsum(phi[:, 1:] * phi[:, :-1] / np.sqrt(k), axis=1)
        total = np.append(np.zeros((x.size, 1)), terms, axis=1)[each, orders]
        normal = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        return ndtr(x) - normal * total, normal * phi[each, orders] ** 2

    def draw_squared(self, orders: np.ndarray, rng: Any) -> np.ndarray:
        """The inverse of the distribution function on one side; the sign is fair.

        Newton's step where it stays in the bracket, else its middle.
        """
        if not orders.size:
            return np.empty(0)
        u = 0.5 * rng.random(orders.size)
        # beyond 2 sqrt(j) + 10 lies less mass than a rounding
        low, high = -2 * np.sqrt(orders) - 10, np.zeros(orders.size)
        x = 0.5 * (low + high)
        for _ in range(60):
            F, density = self._distribution_and_density(x, orders)
            low, high = np.where(F < u, x, low), np.where(F < u, high, x)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                step = x - (F - u) / density
            inside = (low < step) & (step < high)
            x, before = np.where(inside, step, 0.5 * (low + high)), x
            if np.all(np.abs(x - before) <= 1e-13 * (1 + np.abs(x))):
                break
        return np.where(rng.random(orders.size) < 0.5, x, -x)


class Fourier:
    """1, sqrt(2) cos 2 pi k x, sqrt(2) sin 2 pi k x, mu uniform on [0, 1)."""

    name = "fourier"
    jacobi: float | None = None

    def level(self, j: int) -> int:
        """The frequency of the j-th function."""
        return (j + 1) // 2

    def at_level(self, q: int) -> list[int]:
        """The functions of frequency q."""
        return [0] if q == 0 else [2 * q - 1, 2 * q]

    def values(self, x: Array, top: int) -> Array:
        """phi_0(x), .., phi_top(x): (n,) to (n, top + 1)."""
        xp = namespace(x)
        columns = [xp.ones_like(x)]
        for k in range(1, self.level(top) + 1):
            angle = 2 * math.pi * k * x
            columns += [math.sqrt(2) * xp.cos(angle), math.sqrt(2) * xp.sin(angle)]
        return xp.stack(columns[: top + 1], axis=-1)

    def draw(self, n: int, rng: Any) -> np.ndarray:
        return rng.random(n)

    def draw_squared(self, orders: np.ndarray, rng: Any) -> np.ndarray:
        """One of the 2 k periods of cos^2; sin^2 is a quarter turn later."""
        k = np.maximum((orders + 1) // 2, 1)
        turn = np.where(orders % 2 == 0, np.pi / 2, 0.0)
        period = (_cosine_squared(orders.size, rng) + turn) % np.pi
        x = (period + np.pi * rng.integers(2 * k)) / (2 * np.pi * k)
        return np.where(orders == 0, rng.random(orders.size), x)


FAMILIES: dict[str, Any] = {f.name: f for f in (Legendre(), Hermite(), Chebyshev(), Fourier())}
FAMILIES["arcsine"] = FAMILIES["chebyshev"]


def _cosine_squared(n: int, rng: Any) -> np.ndarray:
    """Angles in [0, pi) of density (1 + cos 2 theta) / pi."""

    def proposal(j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta = np.pi * rng.random(j.size)
        return theta, rng.random(j.size) < np.cos(theta) ** 2

    return _until_accepted(proposal, np.zeros(n, dtype=np.int64))


def _until_accepted(proposal: Any, orders: np.ndarray) -> np.ndarray:
    """proposal(orders) -> (x, accepted), asked again for those that were not accepted."""
    out, left = np.empty(orders.size), np.arange(orders.size)
    while left.size:
        x, accepted = proposal(orders[left])
        out[left[accepted]] = x[accepted]
        left = left[~accepted]
    return out
