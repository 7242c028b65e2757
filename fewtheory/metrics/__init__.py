"""Distances between laws and between samples. One file a kind.

| you have | take |
| --- | --- |
| two Gaussians | `gaussian_kl`, `gaussian_w2` |
| a sample and a law in one to three dimensions | `binned_kl` |
| a sample and a 1-D mixture | `wasserstein_1d_to_mixture` |
| two samples in one dimension | `wasserstein_1d` |
| two samples in a few dimensions, every difference | `energy_distance`, `mmd2`, `mmd_test` |
| two samples in many dimensions, in units of the data | `sliced_wasserstein` |
| two samples of features, as FID has them | `frechet_distance`, `frechet_limit` |

A distance of two samples is not 0 where the laws agree: `mmd2` and `energy_distance` have mean 0
there, `frechet_limit` removes its bias to first order, and the Wasserstein distances keep theirs.
Names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see
    from .binned import binned_kl as binned_kl
    from .binned import cell_masses as cell_masses
    from .estimate import Estimate as Estimate
    from .frechet import FrechetLimit as FrechetLimit
    from .frechet import expected_frechet as expected_frechet
    from .frechet import frechet_bias as frechet_bias
    from .frechet import frechet_distance as frechet_distance
    from .frechet import frechet_limit as frechet_limit
    from .frechet import frechet_noise_floor as frechet_noise_floor
    from .gaussian import gaussian_kl as gaussian_kl
    from .gaussian import gaussian_kl_terms as gaussian_kl_terms
    from .gaussian import gaussian_w2 as gaussian_w2
    from .gaussian import gaussian_w2_terms as gaussian_w2_terms
    from .kernel import PermutationTest as PermutationTest
    from .kernel import energy_distance as energy_distance
    from .kernel import mmd2 as mmd2
    from .kernel import mmd_test as mmd_test
    from .transport import sliced_wasserstein as sliced_wasserstein
    from .transport import wasserstein_1d as wasserstein_1d
    from .transport import wasserstein_1d_to_mixture as wasserstein_1d_to_mixture

NAMES = {
    "Estimate": "estimate",
    "FrechetLimit": "frechet",
    "PermutationTest": "kernel",
    "binned_kl": "binned",
    "cell_masses": "binned",
    "energy_distance": "kernel",
    "expected_frechet": "frechet",
    "frechet_bias": "frechet",
    "frechet_distance": "frechet",
    "frechet_limit": "frechet",
    "frechet_noise_floor": "frechet",
    "gaussian_kl": "gaussian",
    "gaussian_kl_terms": "gaussian",
    "gaussian_w2": "gaussian",
    "gaussian_w2_terms": "gaussian",
    "mmd2": "kernel",
    "mmd_test": "kernel",
    "sliced_wasserstein": "transport",
    "wasserstein_1d": "transport",
    "wasserstein_1d_to_mixture": "transport",
}


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(importlib.import_module(f".{NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(NAMES)
