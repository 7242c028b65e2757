"""A Gaussian chain in three dimensions: a polymer whose every law is known, for structure samplers.

n beads; the three coordinates are independent and have one covariance (n, n), so that the law of a
chain without a mean is the same in every rotated frame, as a structure predictor's should be. Bond
vectors have the rms length `bond` and correlate like persistence^|i - j|; with persistence 0 it is
the ideal chain, whose covariance is the pseudo-inverse of the path graph's Laplacian (Rouse modes).
The centre of mass is removed, from data and noise alike: the law lives on 3 (n - 1) dimensions.
`centred`, `random_rotations` and `augmented` are the moves that such samplers make between steps.
Sheets `protenix-mini` and `sid-protein`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arrays import Array, Rng, as_like, namespace, standard_normal, to_numpy
from ..errors import fail, finite_array, integer, number, state
from ..model import Model, over_event
from ..paths import Path
from ..shapes import Float
from .base import FlowMap, average_velocity, check_times, exact_model
from .gaussian import Gaussian


def centred(x: Float[Any, "b n 3"], mask: Any = None) -> Array:
    """x less the mean of its beads; mask (b, n) or (n,), 1 for beads that count, 0 for padding.

    Padded beads come back as 0, so that they enter no later sum.

    >>> centred(np.array([[[1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]]))[0, :, 0]
    array([-1.,  1.])
    """
    xp = state("centred", "x", x)
    if x.ndim != 3 or x.shape[-1] != 3 or x.shape[1] == 0:
        raise fail("centred", "x", "of shape (b, n, 3)", tuple(x.shape))
    if mask is None:
        return x - xp.mean(x, axis=1, keepdims=True)
    if tuple(mask.shape) not in (tuple(x.shape[:2]), (x.shape[1],)):
        raise fail("centred", "mask", f"of shape {tuple(x.shape[:2])}", tuple(mask.shape))
    m = xp.broadcast_to(xp.astype(mask, x.dtype), x.shape[:2])[..., None]
    count = xp.sum(m, axis=1, keepdims=True)
    if not bool(xp.all(count > 0)):
        raise fail("centred", "mask", "one that leaves a bead in every row", mask)
    return m * (x - xp.sum(m * x, axis=1, keepdims=True) / count)


def rotations(q: Float[Any, "b 4"]) -> Array:
    """The rotations (b, 3, 3) that these quaternions stand for, once normalised."""
    xp = namespace(q)
    q = q / xp.sqrt(xp.sum(q * q, axis=-1, keepdims=True))
    w, x, y, z = (q[:, i] for i in range(4))
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def random_rotations(n: int, *, rng: Rng, like: Array | None = None) -> Array:
    """n rotations of three dimensions from the Haar measure, (n, 3, 3): normalised quaternions."""
    integer("random_rotations", "n", n, 0)
    return rotations(standard_normal(rng, (n, 4), np.empty(0) if like is None else like))


def augmented(
    x: Float[Any, "b n 3"], *, rng: Rng, translation: float = 0.0, mask: Any = None
) -> Array:
    """Centre, rotate at random, translate by N(0, translation^2): each structure on its own.

    Source: AlphaFold 3, algorithm 19 (translation 1 angstrom); sheet `protenix-mini`.
    """
    number("augmented", "translation", translation, 0.0)
    x = centred(x, mask)
    xp = namespace(x)
    R = random_rotations(x.shape[0], rng=rng, like=x)
    turned = xp.matmul(x, xp.matrix_transpose(R))
    if translation == 0:
        return turned
    shift = translation * standard_normal(rng, (x.shape[0], 1, 3), x)
    return turned + (shift if mask is None else shift * xp.astype(mask, x.dtype)[..., None])


@dataclass(frozen=True, eq=False)
class GaussianChain:
    """n beads in three dimensions, centre of mass removed; samples are (b, n, 3).

    bond: rms length of a bond, in the units of x; persistence: correlation of neighbouring bonds,
    in [0, 1); mean: (n, 3), None for 0 (then the law is invariant under rotations). `spectrum` (n,)
    and `modes` (n, n) diagonalise the covariance of one coordinate, the first mode being the
    removed one.

    >>> chain = GaussianChain(8, bond=3.8)
    >>> chain.sample(2, rng=np.random.default_rng(0)).shape
    (2, 8, 3)
    """

    n: int
    bond: float = 1.0
    persistence: float = 0.0
    mean: Any = None
    cov: np.ndarray = field(init=False, repr=False)
    spectrum: np.ndarray = field(init=False, repr=False)
    modes: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        where = "GaussianChain"
        n = integer(where, "n", self.n, 2)
        bond = number(where, "bond", self.bond, 1e-300)
        if not 0 <= number(where, "persistence", self.persistence, 0.0) < 1:
            raise fail(where, "persistence", "in [0, 1)", self.persistence)
        m = np.zeros((n, 3)) if self.mean is None else finite_array(where, "mean", self.mean)
        if m.shape != (n, 3):
            raise fail(where, "mean", f"of shape ({n}, 3)", m.shape)
        steps = np.arange(n - 1)
        bonds = bond**2 / 3 * self.persistence ** np.abs(steps[:, None] - steps[None, :])
        walk = np.tril(np.ones((n, n - 1)), -1)  # bead i is the sum of the bonds before it
        walk = walk - walk.mean(axis=0)
        spectrum, modes = np.linalg.eigh(walk @ bonds @ walk.T)
        modes[:, 0], spectrum[0] = 1 / math.sqrt(n), 0.0  # exactly, the centre of mass
        for name, value in {
            "mean": m - m.mean(axis=0),
            "spectrum": np.maximum(spectrum, 0.0),
            "modes": modes,
            "cov": (modes * spectrum) @ modes.T,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def event(self) -> tuple[int, int]:
        """The shape of one sample, (n, 3)."""
        return (self.n, 3)

    @property
    def radius_of_gyration(self) -> float:
        """The root of the mean square distance of a bead from the centre of mass."""
        squares = 3 * self.spectrum.sum() + (self.mean**2).sum()
        return math.sqrt(squares / self.n)

    def coordinate(self, axis: int) -> Gaussian:
        """The law of one coordinate of all beads, for `Plan.law`: it is singular."""
        integer("GaussianChain.coordinate", "axis", axis, 0, 2)
        return Gaussian(self.mean[:, axis], 0.5 * (self.cov + self.cov.T))

    def _in(self, x: Array) -> Array:
        """Amplitudes of the modes, (b, n, 3)."""
        return namespace(x).matmul(as_like(self.modes.T, x), x)

    def _out(self, y: Array) -> Array:
        return namespace(y).matmul(as_like(self.modes, y), y)

    def sample(self, count: int, *, rng: Rng, like: Array | None = None) -> Array:
        """`count` chains, (count, n, 3), float64 NumPy unless `like` says otherwise."""
        integer("GaussianChain.sample", "count", count, 0)
        z = standard_normal(rng, (count, *self.event), np.empty(0) if like is None else like)
        scaled = z * as_like(np.sqrt(self.spectrum)[:, None], z)
        return as_like(self.mean, z) + self._out(scaled)

    def noise(self, count: int, *, rng: Rng, like: Array | None = None) -> Array:
        """Standard normal noise without its centre of mass, (count, n, 3)."""
        integer("GaussianChain.noise", "count", count, 0)
        kind = np.empty(0) if like is None else like
        return centred(standard_normal(rng, (count, *self.event), kind))

    def log_prob(self, x: Array, path: Path | None = None, t: float = 0.0) -> Array:
        """The log density of x (b, n, 3) on the centred subspace, (b,); with a path, of x_t.

        Raises ValueError where x is not centred (to 1e-6 of its size; 1e-3 in single precision).
        """
        xp = state("GaussianChain.log_prob", "x", x, self.event)
        if x.shape[0]:
            host = to_numpy(x)
            middle, size = float(np.abs(host.mean(axis=1)).max()), float(np.abs(host).max())
            if middle > (1e-6 if xp.finfo(x.dtype).bits > 32 else 1e-3) * (1 + size):
                raise fail("GaussianChain.log_prob", "x", "centred", middle)
        if path is not None:
            path.check_t("GaussianChain.log_prob", t)
        alpha, sigma = (1.0, 0.0) if path is None else (path.alpha(t), path.sigma(t))
        var = (alpha**2 * self.spectrum + sigma**2)[1:]
        y = self._in(x - alpha * as_like(self.mean, x))[:, 1:, :]
        constant = 1.5 * float(np.log(2 * math.pi * var).sum())
        return -0.5 * xp.sum(y * y / as_like(var[:, None], x), axis=(1, 2)) - constant

    def means_at(self, x: Array, alpha: Array, sigma: Array) -> tuple[Array, Array]:
        """E[x_0 | x_t] and E[eps | x_t] at the level (alpha, sigma), broadcast against x."""
        c = as_like(self.spectrum[:, None], x)
        pull = self._in(x - alpha * as_like(self.mean, x)) / (alpha**2 * c + sigma**2)
        return as_like(self.mean, x) + self._out(alpha * c * pull), self._out(sigma * pull)

    def score_at(self, x: Array, alpha: Array, sigma: Array) -> Array:
        """grad log p_t(x) at the level (alpha, sigma), broadcast against x."""
        c = as_like(self.spectrum[:, None], x)
        y = self._in(x - alpha * as_like(self.mean, x))
        return self._out(-y / (alpha**2 * c + sigma**2))

    def model(self, path: Path, prediction: str = "noise") -> Model:
        """The exact model on this path; a centre of mass that x has is taken for noise."""
        return exact_model(self, path, prediction)

    def flow(self, path: Path) -> FlowMap:
        """The exact flow map (x, t, s) of the probability-flow ODE."""

        def flow(x: Array, t: Array, s: Array) -> Array:
            check_times("GaussianChain.flow", path, x, self.event, t, s)
            c, m = as_like(self.spectrum[:, None], x), as_like(self.mean, x)
            (a0, s0), (a1, s1) = (
                (over_event(path.alpha(v), x), over_event(path.sigma(v), x)) for v in (t, s)
            )
            ratio = ((a1**2 * c + s1**2) / (a0**2 * c + s0**2)) ** 0.5
            return a1 * m + self._out(ratio * self._in(x - a0 * m))

        return flow

    def average_velocity(self, path: Path) -> FlowMap:
        """The exact average velocity (x, t, s)."""
        return average_velocity(self.flow(path), self.model(path, "velocity"))
