"""What an imperfect fake score does to the student's fixed point, in closed form.

The student stops where s_fake = s_teacher on average, whatever the truth is. A constant error e
shifts its mean by -S_p e / alpha; a fake score that is too small by the factor 1 - kappa (trained
too little) shrinks its variance, and from kappa = alpha^2 c / S_p on the student collapses to a
point, sooner the noisier the level. S_p = alpha^2 c + sigma^2 is the teacher's variance there.
Sheet `dmd-base`, C4.
"""

from __future__ import annotations

import math

import numpy as np

from ...errors import fail, number
from ...paths import Path
from ...shapes import Float
from ...testbeds import Gaussian


def shifted_mean(
    teacher: Gaussian, path: Path, t: float | int, error: Float[np.ndarray, "d"]
) -> Float[np.ndarray, "d"]:
    """m - S_p e / alpha: where the mean comes to rest when s_fake = s_q + error at time t.

    >>> from fewtheory.paths import RectifiedFlow
    >>> shifted_mean(Gaussian([0.0], 1.0), RectifiedFlow(), 0.6, np.array([0.05])).round(6).tolist()
    [-0.065]
    """
    path.check_t("shifted_mean", float(t))
    e = np.asarray(error, dtype=np.float64)
    if e.shape != teacher.mean.shape:
        raise fail("shifted_mean", "error", f"of shape {teacher.mean.shape}", e.shape)
    law, alpha = teacher.at(path, float(t)), path.alpha(float(t))
    S_p = law.cov if law.cov.ndim == 2 else np.diag(law.cov)
    return teacher.mean - S_p @ e / alpha


def shrunk_variance(c: float | int, path: Path, t: float | int, kappa: float | int) -> float:
    """((1 - kappa) S_p - sigma^2) / alpha^2: the variance left when s_fake = (1 - kappa) s_q.

    c > 0: the teacher's variance. 0 where the student has collapsed, which no smaller variance can
    tell from `collapse_kappa` on.

    >>> from fewtheory.paths import RectifiedFlow
    >>> round(shrunk_variance(1.0, RectifiedFlow(), 0.6, 0.1), 6)
    0.675
    """
    kappa = number("shrunk_variance", "kappa", kappa, -math.inf, 1.0)
    alpha, sigma, S_p = _level("shrunk_variance", c, path, t)
    return max(0.0, ((1 - kappa) * S_p - sigma**2) / alpha**2)


def collapse_kappa(c: float | int, path: Path, t: float | int) -> float:
    """alpha^2 c / S_p: how much too small a fake score may be before all variance is lost.

    >>> from fewtheory.paths import RectifiedFlow
    >>> round(collapse_kappa(1.0, RectifiedFlow(), 0.6), 6)
    0.307692
    """
    alpha, _, S_p = _level("collapse_kappa", c, path, t)
    return alpha**2 * float(c) / S_p


def _level(where: str, c: float | int, path: Path, t: float | int) -> tuple[float, float, float]:
    """alpha, sigma and the teacher's variance there."""
    if not number(where, "c", c, 0.0) > 0:
        raise fail(where, "c", "above 0", c)
    path.check_t(where, float(t))
    alpha, sigma = float(path.alpha(float(t))), float(path.sigma(float(t)))
    if alpha == 0:
        raise fail(where, "t", "where alpha is above 0", t)
    return alpha, sigma, alpha**2 * float(c) + sigma**2
