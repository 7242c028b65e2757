"""The three sums that every quantity of a Gaussian mixture is made of, at a level (alpha, sigma).

With S_k = alpha^2 C_k + sigma^2 I and the posterior weights r_k of the components given x_t = x,

    log p_t(x),    pull = sum_k r_k S_k^{-1} (x - alpha m_k) = -score,
    data = sum_k r_k (m_k + alpha C_k S_k^{-1} (x - alpha m_k)) = E[x_0 | x_t = x].

They are computed in one of three ways, which agree to rounding:

* `by_differences`: x - alpha m_k for every pair. It is the definition, for any form, any level
  (also one a row) and any array library, and the oracle of the others.
* `expanded`: |x - alpha m_k|^2 multiplied out, two matrix products. Where the means are many
  standard deviations apart that cancels: `Expansion.of` refuses it beyond 100 of them.
* `on_numpy`: tiles that stay in cache, with Numba kernels between the matrix products.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, as_like, is_numpy, logsumexp, namespace
from ..tiles import in_parts
from .covariances import Elementwise, Form, Full, Levels, LowRank

LOG_2PI = math.log(2 * math.pi)
CLOSE = 1e4  # |m - centre|^2 over the variance: multiplying out loses 1e4 eps in log p
SMALL = 8  # up to this dimension differences in a kernel beat matrix products
BLOCK = 1 << 22  # numbers of the (rows, K, d) temporaries
TILE = 1 << 17  # numbers of the (rows, K) or (rows, K d) buffer of a tile: 1 MB


class Sums(NamedTuple):
    """log p_t (n,), and pull and data (n, d), empty where they were not asked for."""

    log_prob: Array
    pull: Array
    data: Array


class Parts(NamedTuple):
    """A mixture's numbers: log weights (K,) or (n, K), means (K, d), covariances."""

    log_w: Array
    means: np.ndarray
    form: Form


def pairs(parts: Parts, x: Array, alpha: Levels, sigma: Levels) -> tuple[Array, Array, Array]:
    """log p (n,), weights r (n, K) and pulls S_k^{-1} (x - alpha m_k) (n, K, d)."""
    xp, d = namespace(x), x.shape[-1]
    diff = x[:, None, :] - alpha * as_like(parts.means, x)
    pulls, squares = parts.form.solve(diff, alpha, sigma)
    log_w = as_like(parts.log_w, x) if is_numpy(parts.log_w) else parts.log_w
    terms = log_w - 0.5 * (squares + parts.form.log_det(x, alpha, sigma) + d * LOG_2PI)
    log_prob = logsumexp(terms)
    return log_prob, xp.exp(terms - log_prob[:, None]), pulls


def by_differences(parts: Parts, x: Array, alpha: Levels, sigma: Levels) -> Sums:
    """All three sums, for any form, level and array library."""
    xp, (n, d), K = namespace(x), x.shape, parts.means.shape[0]
    rows, found = max(1, BLOCK // (K * d)), []
    for start in range(0, max(n, 1), rows):
        cut = slice(start, min(start + rows, n))
        a, s = (v if not _by_row(v) else v[cut, ...] for v in (alpha, sigma))
        log_w = parts.log_w[cut, :] if parts.log_w.ndim == 2 else parts.log_w
        log_prob, r, pulls = pairs(Parts(log_w, *parts[1:]), x[cut, :], a, s)
        each = as_like(parts.means, x) + a * parts.form.times(pulls)
        weighed = [xp.sum(r[..., None] * v, axis=1) for v in (pulls, each)]
        found.append((log_prob, *weighed))
    if len(found) == 1:
        return Sums(*found[0])
    return Sums(*(xp.concat(list(v), axis=0) for v in zip(*found, strict=True)))


def _by_row(level: Levels) -> bool:
    return not isinstance(level, float) and level.ndim == 3 and level.shape[0] > 1


class Expansion(NamedTuple):
    """The matrices of |x - alpha m_k|^2 multiplied out, for x measured from `centre` (d,).

    log r_k + const = x @ linear + x^2 @ squares + constant; r @ back gives sum r p m, sum r p and
    sum r p C (p the precisions), from which pull and data follow.
    """

    centre: np.ndarray  # (d,)
    linear: np.ndarray  # (d, K)
    squares: np.ndarray  # (1, K) isotropic, against |x|^2; (d, K) diagonal
    constant: np.ndarray  # (K,)
    back: np.ndarray  # (K, d + 2 w), w = 1 isotropic, d diagonal
    alpha: float
    sigma: float

    @classmethod
    def of(cls, form: Form, means: np.ndarray, alpha: Any, sigma: Any) -> Expansion | None:
        """The expansion of a mixture at a level, or None where it would lose digits."""
        if not (isinstance(form, Elementwise) and isinstance(alpha, float)):
            return None
        centre = means.mean(axis=0)
        m, d = means - centre, means.shape[1]
        p = 1 / (alpha**2 * form.variances + sigma**2)
        reach = alpha**2 * np.broadcast_to(p, m.shape) * m**2
        if not reach.sum(axis=1).max() <= CLOSE:
            return None
        log_det = -np.log(p).sum(axis=1) * (d // p.shape[1])
        constant = -0.5 * (log_det + d * LOG_2PI + reach.sum(axis=1))
        back = np.concatenate([p * m, p, p * form.variances], axis=1)
        linear = np.ascontiguousarray((alpha * p * m).T)
        return cls(centre, linear, -0.5 * p.T, constant, back, alpha, sigma)

    def combine(self, x: Array, sums: Array) -> tuple[Array, Array]:
        """(pull, data) for centred x and sums = r @ back."""
        d = x.shape[-1]
        w = (sums.shape[-1] - d) // 2
        means, precision, share = sums[:, :d], sums[:, d : d + w], sums[:, d + w :]
        a, s = self.alpha, self.sigma
        pull = precision * x - a * means
        return pull, s**2 * means + a * share * x + as_like(self.centre, x)


def expanded(plan: Expansion, log_w: Array, x: Array) -> Sums:
    """All three sums by two matrix products, for any array library."""
    xp = namespace(x)
    z = x - plan.alpha * as_like(plan.centre, x)
    square = z * z if plan.squares.shape[0] > 1 else xp.sum(z * z, axis=-1, keepdims=True)
    terms = z @ as_like(plan.linear, x) + square @ as_like(plan.squares, x)
    terms = terms + as_like(plan.constant + log_w, x)
    log_prob = logsumexp(terms)
    pull, data = plan.combine(z, xp.exp(terms - log_prob[:, None]) @ as_like(plan.back, x))
    return Sums(log_prob, pull, data)


def sums(
    parts: Parts, x: Array, alpha: Levels, sigma: Levels, pull: bool = True, data: bool = True
) -> Sums:
    """log p_t(x), and pull and data if asked for; x (n, d), levels numbers or (n, 1, 1)."""
    shared = parts.log_w.ndim == 1 and isinstance(alpha, float) and isinstance(sigma, float)
    if shared and is_numpy(x):
        if isinstance(parts.form, (Elementwise, Full)):
            return on_numpy(parts, x, alpha, sigma, pull, data)
    elif shared:
        plan = Expansion.of(parts.form, parts.means, alpha, sigma)
        if plan is not None:
            return expanded(plan, parts.log_w, x)
    return by_differences(parts, x, alpha, sigma)


def on_numpy(
    parts: Parts, x: np.ndarray, alpha: float, sigma: float, pull: bool = True, data: bool = True
) -> Sums:
    """The sums asked for, in float64 whatever the dtype of x, tile by tile."""
    wide = np.ascontiguousarray(x, dtype=np.float64)
    (n, d), K = x.shape, parts.means.shape[0]
    log_w = np.asarray(parts.log_w, dtype=np.float64)
    out = Sums(np.empty(n), np.empty((n if pull else 0, d)), np.empty((n if data else 0, d)))
    form, means, level = parts.form, parts.means, (alpha, sigma)
    plan = Expansion.of(form, means, alpha, sigma) if d > SMALL else None
    if plan is not None:
        work, cost = _expanded_tiles(plan, log_w, wide, out), K * d
    elif isinstance(form, Full) and d > SMALL:
        work, cost = _whitened_tiles(form, means, log_w, wide, level, out), K * d * d
    else:
        assert not isinstance(form, LowRank)  # `sums` sends those elsewhere
        work, cost = _difference_tiles(form, means, log_w, wide, level, out), K * d
    in_parts(n, n * cost, work)
    lost = ~np.isfinite(
        wide @ np.ones(d)
    )  # fast-math and skipped components hide what is no number
    if lost.any():
        for v in out:
            if v.size:
                v[lost] = np.nan
    return Sums(*(v.astype(x.dtype, copy=False) for v in out))


def _part(out: Sums, a: int, b: int) -> Sums:
    return Sums(*(v[a:b] for v in out))


def _expanded_tiles(plan: Expansion, log_w: np.ndarray, x: np.ndarray, out: Sums) -> Any:
    """Two matrix products a tile, the softmax between them."""
    from ._kernels import softmax_rows

    K, diagonal = plan.constant.size, plan.squares.shape[0] > 1
    tile, constant = max(16, TILE // K), plan.constant + log_w
    half, shift = (np.zeros(K) if diagonal else plan.squares[0]), plan.alpha * plan.centre

    def work(start: int, stop: int) -> None:
        buffer, shares = np.empty((tile, K)), np.empty(tile)
        for a in range(start, stop, tile):
            b = min(a + tile, stop)
            z, terms, share = x[a:b] - shift, buffer[: b - a], shares[: b - a]
            now = _part(out, a, b)
            np.matmul(z, plan.linear, out=terms)
            if diagonal:
                terms += (z * z) @ plan.squares
            square = np.einsum("ij,ij->i", z, z)
            softmax_rows(terms, constant, square, half, now.log_prob, share)
            if now.pull.size or now.data.size:
                pull, data = plan.combine(z, (terms @ plan.back) * share[:, None])
                now.pull[:] = pull[: len(now.pull)]
                now.data[:] = data[: len(now.data)]

    return work


def _whitened_tiles(
    form: Full,
    means: np.ndarray,
    log_w: np.ndarray,
    x: np.ndarray,
    level: tuple[float, float],
    out: Sums,
) -> Any:
    """y_k = W_k (x - alpha m_k) for all k in one matrix product; back for rows that k has weight
    in.

    A weight under 1e-25 moves the pull by less than 1e-24 over the least standard deviation.
    """
    from ._kernels import softmax_rows, whitened_squares

    (alpha, sigma), spectrum, Q = level, form.spectrum, form.basis
    K, d = means.shape
    at = alpha**2 * spectrum + sigma**2
    white = Q / np.sqrt(at)[:, None, :]  # (K, d, d); columns are the directions
    wide = np.ascontiguousarray(white.transpose(1, 0, 2).reshape(d, K * d))
    gain = white * (alpha * spectrum)[:, None, :]
    centre = means.mean(axis=0)
    shift = np.einsum("ki,kij->kj", alpha * (means - centre), white)
    constant = log_w - 0.5 * (np.log(at).sum(axis=1) + d * LOG_2PI)
    tile, zero = max(16, 4 * TILE // (K * d)), np.zeros(K)

    def work(start: int, stop: int) -> None:
        buffer, weights = np.empty((tile, K, d)), np.empty((tile, K))
        shares, none = np.empty(tile), np.zeros(tile)
        for a in range(start, stop, tile):
            b = min(a + tile, stop)
            y, r, share = (v[: b - a] for v in (buffer, weights, shares))
            now = _part(out, a, b)
            np.matmul(x[a:b] - alpha * centre, wide, out=y.reshape(b - a, K * d))
            whitened_squares(y, shift, r)
            softmax_rows(r, constant, none[: b - a], zero, now.log_prob, share)
            r *= share[:, None]
            now.pull[:] = 0.0
            if now.data.size:
                np.matmul(r, means, out=now.data)
            for k in range(K if now.pull.size or now.data.size else 0):
                rows = np.flatnonzero(r[:, k] > 1e-25)
                z = y[rows, k] * r[rows, k, None]
                for sum_, back in ((now.pull, white[k]), (now.data, gain[k])):
                    if sum_.size:
                        sum_[rows] += z @ back.T

    return work


def _difference_tiles(
    form: Elementwise | Full,
    means: np.ndarray,
    log_w: np.ndarray,
    x: np.ndarray,
    level: tuple[float, float],
    out: Sums,
) -> Any:
    """The kernel on differences: small dimensions, and means that are far apart."""
    from ._kernels import by_differences as kernel

    (alpha, sigma), (K, d) = level, means.shape
    none, no_matrix = np.empty((0, d)), np.empty((0, d, d))
    if isinstance(form, Elementwise):
        at = form.at(alpha, sigma)
        precision = np.broadcast_to(1 / at.variances, (K, d)).copy()
        gain = alpha * form.variances * precision
        log_det = -np.log(precision).sum(axis=1)
        matrices = precision, no_matrix, no_matrix, gain, no_matrix
    else:
        at, turned = form.at(alpha, sigma), form.basis.transpose(0, 2, 1)
        whitening = turned / np.sqrt(at.spectrum)[:, :, None]
        inverse = (form.basis / at.spectrum[:, None, :]) @ turned
        gain = (form.basis * (alpha * form.spectrum / at.spectrum)[:, None, :]) @ turned
        log_det = np.log(at.spectrum).sum(axis=1)
        matrices = none, whitening, inverse, none, gain
    constant = log_w - 0.5 * (log_det + d * LOG_2PI)
    tile = int(np.clip(TILE // (4 * (K + 2 * d)), 16, 256))

    def work(start: int, stop: int) -> None:
        now = _part(out, start, stop)
        kernel(
            x[start:stop], alpha * means, *matrices, constant, means, tile,
            now.log_prob, now.pull, now.data,
        )  # fmt: skip

    return work
