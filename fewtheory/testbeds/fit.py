"""Testbeds from a data sample: its Gaussian, and a product of mixtures in its principal axes.

So a sampler can be judged, with an exact flow map, on something that has the spectrum and the
marginals of real data. What it does not have is the dependence between principal coordinates
beyond correlation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import fail, finite_array, integer, number
from .gaussian import Gaussian
from .inversion import Components
from .product import ProductMixture


def _sample(where: str, x: Any) -> np.ndarray:
    data = finite_array(where, "x", x)
    if data.ndim != 2 or data.shape[0] < 2:
        raise fail(where, "x", "of shape (n, d) with n at least 2", data.shape)
    return data


def fit_gaussian(x: Any) -> Gaussian:
    """The Gaussian with the mean and the covariance (divisor n) of a sample x (n, d)."""
    data = _sample("fit_gaussian", x)
    mean = data.mean(axis=0)
    centred = data - mean
    return Gaussian(mean, centred.T @ centred / data.shape[0])


def fit_product_mixture(
    x: Any, components: int = 3, *, iterations: int = 200, floor: float = 0.02
) -> ProductMixture:
    """A mixture in each principal coordinate of x (n, d), by expectation maximisation.

    components: K of each coordinate; floor: the least standard deviation of a component, as a
    fraction of its coordinate's (of the largest coordinate's, squared, where data are constant).
    Starts at quantiles, so that the result is a function of x alone.
    """
    where = "fit_product_mixture"
    data = _sample(where, x)
    K = integer(where, "components", components, 1, data.shape[0])
    integer(where, "iterations", iterations, 1)
    number(where, "floor", floor, 1e-8, 1.0)
    covariance = np.cov(data.T, bias=True).reshape(data.shape[1], data.shape[1])
    _, basis = np.linalg.eigh(covariance)
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=0)[None], axis=0)
    basis = basis * np.sign(largest)  # eigh leaves the signs to the machine
    z = data @ basis  # (n, d)
    spread = z.std(axis=0)
    spread = np.maximum(spread, floor**2 * max(spread.max(), 1e-12))
    means = np.quantile(z, (np.arange(K) + 0.5) / K, axis=0).T.copy()  # (d, K)
    stds = np.repeat(spread[:, None], K, axis=1)
    weights = np.full_like(means, 1 / K)
    for _ in range(iterations):
        r = Components(np.log(weights), means, stds).responsibilities(z)  # (n, d, K)
        mass = np.maximum(r.sum(axis=0), 1e-12)
        weights = mass / mass.sum(axis=1, keepdims=True)
        means = (r * z[..., None]).sum(axis=0) / mass
        var = (r * (z[..., None] - means) ** 2).sum(axis=0) / mass
        stds = np.maximum(np.sqrt(var), floor * spread[:, None])
    return ProductMixture(weights, means, stds, basis)
