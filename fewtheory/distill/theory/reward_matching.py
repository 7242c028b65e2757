"""A reward beside distribution matching: the law it really aims at, which is not the tilted one.

The tilted law p exp(r) / Z of a teacher N(m, C) and r = g . x has its mean at m + C g. A reward
term of the student's samples inside a loss that averages KL over noise levels moves it to

    m + shift,     mean_t[alpha^2 (alpha^2 C + sigma^2)^{-1}] shift = g,

further the noisier the levels: each of them sees a shift of the data the less, and the reward all
of it. Matching the tilted law instead needs, at each level, the teacher's score plus the gradient
of log E[exp r(x_0) | x_t], and not of r at x_t. Sheet `flash-dmd`, "Tilt", C7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import Array
from ...errors import fail, finite_array, state
from ...paths import Path
from ...shapes import Float
from ...testbeds import Gaussian
from ...testbeds.tilted import RewardTilt


def reward_shift(
    teacher: Gaussian, g: Any, path: Path, times: Sequence[float | int]
) -> Float[np.ndarray, "d"]:
    """Where the mean of a student comes to rest beside the teacher's: loss mean_t KL_t - E g . x_0.

    teacher: N(m, C), and the student N(b, C); g: (d,), the reward's slope times its weight; times:
    the levels of the loss, equally weighted. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> one, RF = Gaussian([0.0], 1.0), RectifiedFlow()
    >>> reward_shift(one, [0.3], RF, [0.2, 0.4, 0.6, 0.8]).round(6).tolist()
    [0.6]
    """
    slope = _slope("reward_shift", teacher, g)
    if not len(times):
        raise fail("reward_shift", "times", "one or more", times)
    d, sees = slope.size, np.zeros((slope.size, slope.size))
    for t in times:
        path.check_t("reward_shift", float(t), "times")
        alpha, law = float(path.alpha(float(t))), teacher.at(path, float(t))
        S = law.cov if law.cov.ndim == 2 else np.diag(law.cov)
        sees += alpha**2 * np.linalg.solve(S, np.eye(d)) / len(times)
    return np.linalg.solve(sees, slope)


def tilted_shift(teacher: Gaussian, g: Any) -> Float[np.ndarray, "d"]:
    """C g: where the mean of the teacher tilted by exp(g . x) lies beside its own.

    >>> tilted_shift(Gaussian([0.0], 2.0), [0.3]).tolist()
    [0.6]
    """
    slope = _slope("tilted_shift", teacher, g)
    return (teacher.cov if teacher.cov.ndim == 2 else np.diag(teacher.cov)) @ slope


def reward_guidance(
    tilt: RewardTilt, x: Float[Array, "n d"], alpha: float | int, sigma: float | int
) -> Float[Array, "n d"]:
    """grad log E[exp(r(x_0) / tau) | x_t = x]: what the teacher's score lacks to be the tilted one.

    tilt: of `testbeds.reward_tilt`; x: (n, d) at the level (alpha, sigma). Raises TypeError by
    name.

    >>> from fewtheory.testbeds import GaussianMixture, Reward, reward_tilt
    >>> tilt = reward_tilt(GaussianMixture([1.0], [[0.0]], [1.0]), Reward([2.0]))
    >>> reward_guidance(tilt, np.zeros((1, 1)), 1.0, 1.0).tolist()
    [[1.0]]
    """
    if not isinstance(tilt, RewardTilt):
        raise TypeError(f"reward_guidance: tilt must be a RewardTilt, got {type(tilt).__name__}")
    state("reward_guidance", "x", x, tilt.base.event)
    level = float(alpha), float(sigma)
    return tilt.law.score_at(x, *level) - tilt.base.score_at(x, *level)


def _slope(where: str, teacher: Gaussian, g: Any) -> np.ndarray:
    if not isinstance(teacher, Gaussian):
        raise TypeError(f"{where}: teacher must be a Gaussian, got {type(teacher).__name__}")
    slope = finite_array(where, "g", g)
    if slope.shape != teacher.mean.shape:
        raise fail(where, "g", f"of shape {teacher.mean.shape}", slope.shape)
    return slope
