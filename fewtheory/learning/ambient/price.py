"""What a noisy sample is worth, in units of clean ones: per direction, per draw, at the margin.

A price counts the noisy samples that stand for one clean sample; its inverse is a noisy sample's
worth. For the mean of a direction of variance c the price is 1 + sigma_n^2 / c, for its variance
the square of that (ratios of Fisher informations), so that directions with c well above sigma_n^2
cost about 1 and those below (sigma_n^2 / c)^2. What the last sample bought costs, under a given
weighting, is the ratio of the derivatives of the error. Sheet `ambient-scaling`, M8.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...arrays import Array, namespace
from ...errors import fail, number
from .._forms import floating, vector
from .frechet import frechet_error, frechet_floor
from .identity import ambient_weights
from .weighting import relative_variance, variance_slopes


def mean_price(c: Array, sigma_n: float | int) -> Array:
    """1 + sigma_n^2 / c: noisy samples for one clean, about the mean of a direction.

    >>> import numpy as np
    >>> mean_price(np.array([4.0]), 2.0).tolist(), variance_price(np.array([4.0]), 2.0).tolist()
    ([2.0], [4.0])
    """
    return 1 + number("mean_price", "sigma_n", sigma_n, 0.0) ** 2 / _positive("mean_price", c)


def variance_price(c: Array, sigma_n: float | int) -> Array:
    """(1 + sigma_n^2 / c)^2: noisy samples for one clean, about the variance of a direction."""
    where = "variance_price"
    return (1 + number(where, "sigma_n", sigma_n, 0.0) ** 2 / _positive(where, c)) ** 2


def target_price(c: Array, sigma_n: float | int, sigma: float | int) -> Array:
    """(1 + sigma_n^2 / c) / (1 - sigma_n^2 / sigma^2): variance of a noisy draw's target, in clean.

    The target that a draw at level sigma implies for the denoiser is (y - b x_sigma) / a; infinite
    at sigma = sigma_n. c: (d,), positive. Raises ValueError by name, also for sigma below sigma_n.

    >>> import numpy as np
    >>> target_price(np.array([1.21]), 0.3, 0.5).round(5).tolist()
    [1.67872]
    """
    c = _positive("target_price", c)
    sigma = number("target_price", "sigma", sigma, 1e-150)
    sigma_n = number("target_price", "sigma_n", sigma_n, 0.0, sigma)
    a = ambient_weights(sigma_n, sigma)[0]
    price = 1 + sigma_n**2 / c
    return price / a if a > 0 else namespace(c).inf * price


def marginal_price(
    c: Array,
    sigma_n: float | int,
    n_clean: float | int,
    n_noisy: float | int,
    weighting: str = "loss",
) -> Array:
    """Noisy samples for one clean at the margin: (dVar/dn_clean) / (dVar/dn_noisy), (d,).

    Arguments and weightings as `relative_variance`. Infinite where noisy samples change nothing;
    negative where one more of them does harm, as the loss's weights do where c is far below
    sigma_n^2.

    >>> import numpy as np
    >>> marginal_price(np.array([1.0]), 1.0, 100, 300, "consistency").round(12).tolist()
    [4.0]
    >>> marginal_price(np.array([1.0]), 1.0, 100, 1000, "best").round(9).tolist()  # (rho n2 / n1)^2
    [25.0]
    """
    of_clean, of_noisy = variance_slopes(c, sigma_n, n_clean, n_noisy, weighting)
    xp = namespace(of_clean)
    known = of_noisy != 0
    return xp.where(known, of_clean / xp.where(known, of_noisy, xp.ones_like(of_noisy)), xp.inf)


@dataclass(frozen=True, eq=False)
class NoisyPrice:
    """What n_noisy noisy samples are worth beside n_clean clean ones.

    clean_equivalents (d,): the clean samples that alone would make the error of each direction;
    worth (d,): what one noisy sample adds to that, on average; price (d,): noisy samples for one
    clean, at the margin; total, total_worth, total_price: the same for the expected squared Frechet
    distance of all directions; floor_reached: the share of it that no noisy sample can take away.
    """

    clean_equivalents: Array
    worth: Array
    price: Array
    total: float
    total_worth: float
    total_price: float
    floor_reached: float


def noisy_price(
    spectrum: Array,
    sigma_n: float | int,
    n_clean: float | int,
    n_noisy: float | int,
    weighting: str = "loss",
) -> NoisyPrice:
    """The price list of a data set, per direction and in total, before any training.

    spectrum (d,): eigenvalues of the data's covariance, not negative, one positive
    (`debiased_spectrum` of noisy and clean samples together, of images or their latents); sigma_n:
    the noise, in its units; n_clean above 0; weighting: one of `relative_variance`'s.
    Raises ValueError or TypeError by name. Source: sheet `ambient-scaling`, M8 and "Real models".

    >>> import numpy as np
    >>> found = noisy_price(1 / np.arange(1, 65), 0.2, 5_000, 45_000)
    >>> round(found.total), round(1 / found.total_worth, 2)
    (17449, 3.61)
    """
    where = "noisy_price"
    c = vector(where, "spectrum", spectrum)
    xp = namespace(c)
    if not bool(xp.all(c >= 0)) or not bool(xp.any(c > 0)):
        raise fail(where, "spectrum", "not negative, one positive", spectrum)
    n1, n2 = number(where, "n_clean", n_clean, 1e-9), number(where, "n_noisy", n_noisy, 0.0)
    alone = 2 / relative_variance(c, sigma_n, n1, n2, weighting)
    of_clean, of_noisy = variance_slopes(c, sigma_n, n1, n2, weighting)
    clean_sum, noisy_sum = float(xp.sum(c * of_clean)), float(xp.sum(c * of_noisy))
    error = frechet_error(c, sigma_n, n1, n2, weighting)
    total = float(xp.sum(c)) / (2 * error)
    price = marginal_price(c, sigma_n, n1, n2, weighting)
    rest = frechet_floor(c, sigma_n, n1, weighting) / error
    whole = clean_sum / noisy_sum if noisy_sum != 0 else float("inf")
    worth, share = ((alone - n1) / n2, (total - n1) / n2) if n2 > 0 else (1 / price, 1 / whole)
    return NoisyPrice(alone, worth, price, total, share, whole, rest)


def _positive(where: str, c: Array) -> Array:
    c = floating(where, "c", c)
    if not bool(namespace(c).all(c > 0)):
        raise fail(where, "c", "positive", c)
    return c
