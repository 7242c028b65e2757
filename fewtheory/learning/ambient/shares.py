"""Which share of the pooled variance the clean samples should have above the noise level.

The plain loss gives a noisy sample at level sigma the weight a^2 = (1 - sigma_n^2 / sigma^2)^2,
whatever its own weight. That is not the best: below sigma_n only clean samples speak, so that the
clean estimate is used twice, and above it should count for less. Sheet `ambient-scaling`, M6, M7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import fail, finite_array, integer, number


@dataclass(frozen=True)
class MixedData:
    """n_clean clean samples and n_noisy at the one level sigma_n, of a law with this spectrum.

    spectrum: eigenvalues of the data's covariance (of the clean law: debiased), or one variance;
    sigma_n: in the data's units. Raises ValueError or TypeError by name.

    >>> round(MixedData([1.0], 0.2, 200, 1800).clean_share, 6)  # (n1 / n_eff - rho) / (1 - rho)
    0.071576
    """

    spectrum: Sequence[float] | np.ndarray | float | int
    sigma_n: float | int
    n_clean: int
    n_noisy: int

    def __post_init__(self) -> None:
        c = finite_array("MixedData", "spectrum", self.spectrum)
        if c.ndim > 1 or c.size == 0 or np.any(c < 0) or not np.any(c > 0):
            raise fail("MixedData", "spectrum", "of variances, one positive", self.spectrum)
        if not number("MixedData", "sigma_n", self.sigma_n, 0.0) > 0:
            raise fail("MixedData", "sigma_n", "positive", self.sigma_n)
        integer("MixedData", "n_clean", self.n_clean, 1)
        integer("MixedData", "n_noisy", self.n_noisy, 1)

    @property
    def clean_share(self) -> float:
        """f in c_w = f c_1 + (1 - f) c_2 with the least expected squared Frechet distance.

        To first order the relative error of the generated variance is W1 d1 + (1 - W1) d2 with
        W1 = rho + (1 - rho) f, so that the distance, sum c_j Var_j / 4, is in units of 1/2
            sum c_j [W1_j^2 / n1 + (1 - f)^2 / n2],
        a parabola in f; for one direction its vertex is (n1 / n_eff - rho) / (1 - rho). Outside
        [0, 1] the nearer end is best. Source: sheet `ambient-scaling`, M7 ("best").
        """
        c = np.atleast_1d(np.asarray(self.spectrum, dtype=np.float64))
        rho = self.sigma_n**2 / (c + self.sigma_n**2)
        slope = np.sum(c * (1 / self.n_noisy - rho * (1 - rho) / self.n_clean))
        curvature = np.sum(c * (1 / self.n_noisy + (1 - rho) ** 2 / self.n_clean))
        return float(min(1.0, max(0.0, slope / curvature)))
