"""What is known of an earlier noise level: E[x_s | x_t] from the clean denoiser, on any path.

A sample that was observed at level s is a legitimate target at every later level t, because its
conditional mean is a known combination of the clean denoiser and the state,

    E[x_s | x_t] = alpha_s (1 - q) x0hat + (alpha_s / alpha_t) q x_t,
    q = (alpha_t sigma_s / (alpha_s sigma_t))^2 <= 1,

so that a network compared with noisy data through it learns the clean denoiser ("Ambient
diffusion", arXiv 2411.02780). Sheet `ambient-scaling`, M1 and "Pitfalls".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array, as_like, is_numpy, is_torch, namespace, to_numpy
from ...errors import fail, number
from ...model import Model, over_event
from ...paths import Path, Table

NEAR = 0.1  # of lam: below it the difference of two lam has lost a digit
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)  # (0.1 / 4)^10 of a difference of logarithms


def ambient_coefficients(path: Path, s: Array, t: Array) -> tuple[Array, Array]:
    """(alpha_s (1 - q), alpha_t sigma_s^2 / (alpha_s sigma_t^2)): those of x0hat and of x_t.

    E[x_s | x_t] is their combination. s, t: times of the path, s <= t, numbers or arrays that
    broadcast; accurate near s = t, where the first falls to 0, on every path but a `Table`, whose
    lam has a kink at each entry (there its error is eps lam, absolute). Clean samples stand at
    s = 0: take `EDM(sigma_min=0.0)`. Raises ValueError for times outside the path and for s > t.
    Source: sheet `ambient-scaling`, M1.

    >>> from fewtheory.paths import EDM
    >>> [round(c, 12) for c in ambient_coefficients(EDM(), 0.3, 0.5)]
    [0.64, 0.36]
    """
    s, t, plain = _times("ambient_coefficients", path, s, t)
    xp = namespace(s, t)
    alpha_s, sigma_s, alpha_t, sigma_t = path.alpha(s), path.sigma(s), path.alpha(t), path.sigma(t)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0/0 at the ends, where s = t
        of_state = alpha_t * sigma_s**2 / (alpha_s * sigma_t**2)
    of_state = xp.where(s == t, xp.ones_like(of_state), of_state)
    return _plain(alpha_s * _new_share(path, s, t), plain), _plain(of_state, plain)


def renoising(path: Path, s: Array, t: Array) -> tuple[Array, Array]:
    """(alpha_t / alpha_s, sigma_t sqrt(1 - q)): x_t = the one times x_s + the other times z.

    Takes a sample from level s to a later level t, with fresh noise z ~ N(0, I). Arguments and
    errors as `ambient_coefficients`; the deviation is accurate near s = t.

    >>> from fewtheory.paths import EDM
    >>> renoising(EDM(), 0.3, 0.5)
    (1.0, 0.4)
    """
    s, t, plain = _times("renoising", path, s, t)
    deviation = path.sigma(t) * namespace(s, t).sqrt(_new_share(path, s, t))
    return _plain(path.alpha(t) / path.alpha(s), plain), _plain(deviation, plain)


def ambient_weights(sigma_n: Array, sigma: Array) -> tuple[Array, Array]:
    """(a, b) = (1 - sigma_n^2 / sigma^2, sigma_n^2 / sigma^2) on the variance-exploding path.

    E[y | x_sigma] = a x0hat + b x_sigma for y observed at sigma_n <= sigma; a without
    cancellation. Numbers or arrays that broadcast, sigma_n = 0 is clean. Raises ValueError by name.

    >>> ambient_weights(0.0, 0.5)
    (1.0, 0.0)
    """
    for name, value in (("sigma_n", sigma_n), ("sigma", sigma)):
        if isinstance(value, (int, float)):
            number("ambient_weights", name, value, 0.0)
    if _any(sigma_n < 0 * sigma) or _any(sigma_n > sigma) or _any(sigma <= 0):
        raise fail("ambient_weights", "sigma_n", "in [0, sigma], sigma above 0", (sigma_n, sigma))
    return (sigma - sigma_n) * (sigma + sigma_n) / sigma**2, (sigma_n / sigma) ** 2


def earlier_mean(model: Model, x: Array, t: Array, s: Array) -> Array:
    """E[x_s | x_t = x] (n, *event) by a model, exact where its denoiser is; t, s numbers or (n,).

    >>> import numpy as np
    >>> from fewtheory.paths import EDM
    >>> from fewtheory.testbeds import Gaussian
    >>> model = Gaussian(np.zeros(1), 1.0).model(EDM(), "data")
    >>> earlier_mean(model, np.ones((1, 1)), 1.0, 0.5).round(3).tolist()  # (1 + 1/4) / (1 + 1)
    [[0.625]]
    """
    of_denoiser, of_state = ambient_coefficients(model.path, s, t)
    x0hat = model.predicting("data")(x, t)
    return over_event(of_denoiser, x) * x0hat + over_event(of_state, x) * x


def _new_share(path: Path, s: Array, t: Array) -> Array:
    """1 - q = 1 - exp(-2 (lam_s - lam_t)): the share of the noise at t that is not there at s.

    Near s = t the difference is (t - s) times the mean of -lam', so that no digits are lost.
    """
    xp = namespace(s, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = path.lam(s) - path.lam(t)
        gap = xp.where(s == t, xp.zeros_like(gap), gap)
        if not isinstance(path, Table):
            slope = sum(0.5 * w * _slope(path, s + 0.5 * (1 + c) * (t - s)) for c, w in _RULE)
            gap = xp.where((gap < NEAR) & (s < t), (t - s) * slope, gap)
    return -xp.expm1(-2 * gap)


_RULE = [(float(c), float(w)) for c, w in zip(NODES, WEIGHTS, strict=True)]


def _slope(path: Path, t: Array) -> Array:
    """-d lam / dt, a sum of two terms of one sign."""
    return path.dsigma(t) / path.sigma(t) - path.dalpha(t) / path.alpha(t)


def _times(where: str, path: Path, s: Array, t: Array) -> tuple[Array, Array, bool]:
    """s and t as arrays of one kind, and whether both were numbers."""
    path.check_t(where, s, "s")
    path.check_t(where, t, "t")
    if _any(s > t):
        raise fail(where, "s", "at most t: only later levels are a function of earlier ones", s)
    plain = _is_number(s) and _is_number(t)
    like = np.empty(0) if plain else s if _is_number(t) else t
    s, t = (as_like([float(v)], like) if _is_number(v) else v for v in (s, t))
    return s, t, plain


def _is_number(t: Any) -> bool:
    return isinstance(t, (int, float, np.generic)) or (is_numpy(t) and t.ndim == 0)


def _any(condition: Any) -> bool:
    """Whether it holds anywhere; values on a GPU are not read."""
    if is_torch(condition) and condition.is_cuda:
        return False
    return bool(np.any(to_numpy(condition)))


def _plain(value: Array, plain: bool) -> Array:
    return float(value[0]) if plain else value
