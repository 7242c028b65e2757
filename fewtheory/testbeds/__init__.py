"""Testbeds: laws about which the truth is known in closed form. One file a law.

Every testbed gives, on any path: `at(path, t)` (the law of x_t), `sample`, `log_prob`, `model(path,
prediction)` (the exact denoiser as a `Model`), `flow(path)` (the exact flow map (x, t, s)),
`average_velocity(path)` and `posterior(path, x, t)` (the law of x_0 given x_t).
"""

from __future__ import annotations

from . import tilted
from .chain import GaussianChain, augmented, centred, random_rotations
from .covariances import LowRank
from .fit import fit_gaussian, fit_product_mixture
from .gaussian import Gaussian
from .mixture import GaussianMixture
from .product import ProductMixture, mixture_1d
from .tilted import Reward, TiltedLaw, reward_tilt

__all__ = [
    "Gaussian",
    "GaussianChain",
    "GaussianMixture",
    "LowRank",
    "ProductMixture",
    "Reward",
    "TiltedLaw",
    "augmented",
    "centred",
    "fit_gaussian",
    "fit_product_mixture",
    "mixture_1d",
    "random_rotations",
    "reward_tilt",
    "tilted",
]
