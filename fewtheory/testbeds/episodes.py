"""Episodes: small tasks of one kind, with the best possible prediction known for each.

In the Gaussian hierarchy every task's parameters are one draw of N(mean, cov) and its data are
linear in them, so posterior, evidence and prediction are closed forms; no learner can have a lower
expected log loss than they. Lines and sines, the usual toy of few-shot regression, are linear in
two numbers given a phase, so their posterior is a sum over a grid of phases and amplitudes.
Few-shot digits are real, with no truth but the held-out classes. Sheet `niwmeta`, "Setting" and
"Figure".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number, one_of
from ..shapes import Float


@dataclass(frozen=True, eq=False)
class Episode:
    """support and query: (x, y) each, NumPy; truth: the parameters behind them, if any."""

    support: tuple[np.ndarray, np.ndarray]
    query: tuple[np.ndarray, np.ndarray]
    truth: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class GaussianEpisodes:
    """theta ~ N(mean, cov), y = x.theta + noise e: the hierarchy when everything is Gaussian.

    mean (d,); cov (d, d), positive semidefinite; noise: a standard deviation. x is N(0, I), or with
    design "coordinates" each of the d unit vectors in turn, so that every episode has the same
    curvature. Raises ValueError by name.

    >>> world = GaussianEpisodes([0.0, 0.0], [[4.0, 0.0], [0.0, 1.0]], 0.5)
    >>> episode = world.draw(3, 5, rng=np.random.default_rng(0))
    >>> world.log_predictive(*episode.support, *episode.query).shape
    (5,)
    """

    mean: Any
    cov: Any
    noise: float | int
    design: str = "gaussian"

    def __post_init__(self) -> None:
        mean = finite_array("GaussianEpisodes", "mean", self.mean)
        cov = finite_array("GaussianEpisodes", "cov", self.cov)
        if mean.ndim != 1 or cov.shape != (mean.size, mean.size):
            raise fail("GaussianEpisodes", "cov", "of shape (d, d), d of the mean", cov.shape)
        if not np.allclose(cov, cov.T) or np.linalg.eigvalsh(cov)[0] < -1e-12 * np.abs(cov).max():
            raise fail("GaussianEpisodes", "cov", "symmetric and positive semidefinite", self.cov)
        number("GaussianEpisodes", "noise", self.noise, 1e-150)
        one_of("GaussianEpisodes", "design", self.design, ("gaussian", "coordinates"))
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "cov", cov)

    def draw(self, shots: int, queries: int, *, rng: np.random.Generator) -> Episode:
        """One task with this many rows of support and of query."""
        integer("GaussianEpisodes.draw", "shots", shots, 1)
        integer("GaussianEpisodes.draw", "queries", queries, 0)
        d = self.mean.size
        vals, vecs = np.linalg.eigh(self.cov)
        theta = self.mean + vecs @ (np.sqrt(np.maximum(vals, 0)) * rng.standard_normal(d))
        x = rng.standard_normal((shots + queries, d))
        if self.design == "coordinates":
            x = np.eye(d)[np.arange(shots + queries) % d]
        y = x @ theta + self.noise * rng.standard_normal(shots + queries)
        return Episode((x[:shots], y[:shots]), (x[shots:], y[shots:]), theta)

    def posterior(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (d,) and covariance (d, d) of theta given support."""
        C = self.cov
        S = x @ C @ x.T + self.noise**2 * np.eye(len(y))
        gain = np.linalg.solve(S, x @ C).T
        return self.mean + gain @ (y - x @ self.mean), C - gain @ x @ C

    def log_evidence(self, x: np.ndarray, y: np.ndarray) -> float:
        """log p(y | x), all rows together."""
        S = x @ self.cov @ x.T + self.noise**2 * np.eye(len(y))
        u = y - x @ self.mean
        logdet = float(np.linalg.slogdet(2 * math.pi * S)[1])
        return -0.5 * (logdet + float(u @ np.linalg.solve(S, u)))

    def log_predictive(
        self, x: np.ndarray, y: np.ndarray, x_new: np.ndarray, y_new: np.ndarray
    ) -> Float[np.ndarray, "n"]:
        """log p(y_j | support) of each new row for itself: the least expected log loss there is."""
        m, V = self.posterior(x, y)
        s = np.sum((x_new @ V) * x_new, axis=1) + self.noise**2
        return -0.5 * (np.log(2 * math.pi * s) + (y_new - x_new @ m) ** 2 / s)


FAMILIES = ("sine", "line")


@dataclass(frozen=True)
class FunctionEpisodes:
    """Noisy values of a random sine or line on [-5, 5].

    a sin(x + b), a uniform on [0.1, 5], b on [0, pi]; a x + b, both uniform on [-3, 3]; each family
    of `families` as likely. noise: a standard deviation. Raises ValueError or TypeError by name.
    Source: Finn et al. 2017, 2018.

    >>> world = FunctionEpisodes(("sine",))
    >>> episode = world.draw(10, 4, rng=np.random.default_rng(0))
    >>> world.log_predictive(*episode.support, *episode.query).shape
    (4,)
    """

    families: tuple[str, ...] = FAMILIES
    noise: float | int = 0.3

    def __post_init__(self) -> None:
        if not self.families or set(self.families) - set(FAMILIES):
            raise fail("FunctionEpisodes", "families", f"some of {FAMILIES}", self.families)
        number("FunctionEpisodes", "noise", self.noise, 1e-3)

    def draw(self, shots: int, queries: int, *, rng: np.random.Generator) -> Episode:
        """One function with this many points of support and of query: x (n, 1), y (n,)."""
        integer("FunctionEpisodes.draw", "shots", shots, 1)
        integer("FunctionEpisodes.draw", "queries", queries, 0)
        x = rng.uniform(-5, 5, (shots + queries, 1))
        if self.families[int(rng.integers(len(self.families)))] == "sine":
            a, b = rng.uniform(0.1, 5), rng.uniform(0, math.pi)
            f = a * np.sin(x[:, 0] + b)
        else:
            a, b = rng.uniform(-3, 3, 2)
            f = a * x[:, 0] + b
        y = f + self.noise * rng.standard_normal(len(f))
        return Episode((x[:shots], y[:shots]), (x[shots:], y[shots:]), np.array([a, b]))

    def predictive(
        self, x: np.ndarray, y: np.ndarray, x_new: np.ndarray
    ) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """Exact mean and variance of a new y at each x_new."""
        w, f = self._functions(x, y, x_new)
        mean = w @ f
        return mean, w @ (f - mean) ** 2 + self.noise**2

    def log_predictive(
        self, x: np.ndarray, y: np.ndarray, x_new: np.ndarray, y_new: np.ndarray
    ) -> Float[np.ndarray, "n"]:
        """log p(y_j | support), each for itself, of the exact mixture over functions."""
        w, f = self._functions(x, y, x_new)
        terms = -0.5 * ((y_new - f) / self.noise) ** 2 + np.log(w)[:, None]
        top = terms.max(axis=0)
        log_sum = top + np.log(np.exp(terms - top).sum(axis=0))
        return log_sum - 0.5 * math.log(2 * math.pi * self.noise**2)

    def _functions(
        self, x: np.ndarray, y: np.ndarray, x_new: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Posterior weights (K,) of the functions of a quadrature grid, and their values (K, n)."""
        s2, parts = self.noise**2, []
        for family in self.families:
            # u(b, x) and v(b, x): a function is a u + v
            (a, w_a), (b, w_b) = _nodes(family)
            u, v = _basis(family, b, x[:, 0])
            rest = y - v
            fit = (np.outer(a, np.sum(u * rest, 1)) - 0.5 * np.outer(a * a, np.sum(u * u, 1))) / s2
            log_w = fit - 0.5 * np.sum(rest * rest, axis=1) / s2 + np.log(np.outer(w_a, w_b))
            i, j = np.nonzero(log_w > log_w.max() - 60)
            u_new, v_new = _basis(family, b, x_new[:, 0])
            parts.append((log_w[i, j], a[i, None] * u_new[j] + v_new[j]))
        log_w, f = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
        keep = log_w > log_w.max() - 60
        w = np.exp(log_w[keep] - log_w.max())
        return w / w.sum(), f[keep]


@cache
def _nodes(family: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Gauss-Legendre nodes and weights, of total 1, of the family's two parameters."""
    z, w = np.polynomial.legendre.leggauss(400)
    spans = ((0.1, 5.0), (0.0, math.pi)) if family == "sine" else ((-3.0, 3.0), (-3.0, 3.0))
    low, high = (((p + q) / 2 + (q - p) / 2 * z, w / 2) for p, q in spans)
    return low, high


def _basis(family: str, b: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(u, v), each (K, n): the function is a u + v."""
    if family == "sine":
        return np.sin(x + b[:, None]), np.zeros((len(b), len(x)))
    return np.broadcast_to(x, (len(b), len(x))), np.broadcast_to(b[:, None], (len(b), len(x)))


@dataclass(frozen=True)
class FewShotDigits:
    """Episodes of scikit-learn's 8 x 8 digits, some of which are never trained on.

    A class is a digit after some quarter turns, as is usual for small sets of characters: 24
    classes of the digits 0 to 5 for part "train", 16 of 6 to 9 for "novel". ways: classes of an
    episode, drawn and relabelled at random. Images are in [0, 1], flattened to 64; an episode's
    truth are its classes, 4 times the digit plus the turns. Needs scikit-learn.
    Raises ValueError or TypeError by name.

    >>> episode = FewShotDigits(ways=3).draw(5, 4, rng=np.random.default_rng(0))
    >>> episode.support[0].shape, episode.query[1].shape
    ((15, 64), (12,))
    """

    ways: int = 3
    part: str = "train"

    def __post_init__(self) -> None:
        one_of("FewShotDigits", "part", self.part, ("train", "novel"))
        integer("FewShotDigits", "ways", self.ways, 2, len(_classes(self.part)))

    def draw(self, shots: int, queries: int, *, rng: np.random.Generator) -> Episode:
        """`shots` images of each class for support and `queries` others for query."""
        integer("FewShotDigits.draw", "shots", shots, 1)
        integer("FewShotDigits.draw", "queries", queries, 0)
        integer("FewShotDigits.draw", "shots + queries", shots + queries, 1, 174)
        images, labels = _digits()
        support, query = [], []
        chosen = rng.choice(_classes(self.part), self.ways, replace=False)
        for digit, turns in (divmod(int(c), 4) for c in chosen):
            rows = rng.choice(np.nonzero(labels == digit)[0], shots + queries, replace=False)
            turned = np.rot90(images[rows], turns, axes=(1, 2)).reshape(-1, 64)
            support.append(turned[:shots])
            query.append(turned[shots:])
        names = np.arange(self.ways)
        return Episode(
            (np.concatenate(support), np.repeat(names, shots)),
            (np.concatenate(query), np.repeat(names, queries)),
            chosen,
        )


def _classes(part: str) -> np.ndarray:
    return np.arange(24) if part == "train" else np.arange(24, 40)


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 8, 8) in [0, 1] and labels; each digit has 174 images or more."""
    from sklearn.datasets import load_digits

    loaded: Any = load_digits(return_X_y=True)
    x, label = loaded
    return x.reshape(-1, 8, 8) / 16, label.astype(np.int64)
