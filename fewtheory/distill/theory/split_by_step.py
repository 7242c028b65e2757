"""Two losses that disagree: their balance in one student, and what splitting them by step does.

A teacher that is off pulls a student's mean to its own, an adversarial term pulls to the data's;
between the two they are opposed, and a student that has both rests in between. Give the noisy steps
distribution matching alone and the last step the adversarial term alone, and the last step's law is
matched to the data, whatever the earlier steps did: an invertible last map has no bias. What must
not be confused: the split is by the student's step, not by the noise level at which a loss looks at
one and the same output. In one dimension, unit variances, with the fake score's lag. Flash-DMD
(arXiv 2511.20549), sheet `flash-dmd`, C4, C5, C9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from ...errors import fail, integer, number, one_of
from ...paths import Path
from ...shapes import Float
from .two_time_scale import two_time_scale

STEP, REACH = 0.05, 9.0  # trapezoid rule for a Gaussian mean
SPLITS = ("step", "joint")
STATES = ("own", "rediffused")


def mean_pulls(
    b: float | int, teacher: float | int, data: float | int = 0.0
) -> tuple[float, float]:
    """The gradients in a student's mean b of distribution matching and of the adversarial term.

    b - teacher and (b - data) E[q / (p + q)] with the best critic and the non-saturating loss, all
    laws of unit variance; the second has the slope 1/2 at the data. Opposed for b between the two
    means and nowhere else.

    >>> [round(v, 6) for v in mean_pulls(0.1, 0.2)]
    [-0.1, 0.050125]
    """
    b = number("mean_pulls", "b", b, -math.inf)
    m = number("mean_pulls", "teacher", teacher, -math.inf)
    off = b - number("mean_pulls", "data", data, -math.inf)
    return b - m, _adversarial(off)


def _adversarial(off: float) -> float:
    """off E[q / (p + q)] under q = N(off, 1), p = N(0, 1): log q/p is off z + off^2 / 2."""
    return off * float(NORMAL @ expit(off * Z + 0.5 * off * off))


Z = np.arange(-REACH, REACH + STEP / 2, STEP)
NORMAL = np.exp(-0.5 * Z * Z) * STEP / math.sqrt(2 * math.pi)


def joint_mean(teacher: float | int, data: float | int = 0.0, weight: float | int = 1.0) -> float:
    """Where a student with both losses rests; weight: of the adversarial term.

    Near data + (teacher - data) / (1 + weight / 2). Raises ValueError by name.

    >>> round(joint_mean(0.2), 6)
    0.133138
    """
    from scipy.optimize import brentq

    m, d = (
        number("joint_mean", n, v, -math.inf) for n, v in (("teacher", teacher), ("data", data))
    )
    w = number("joint_mean", "weight", weight, 0.0)
    if m == d:
        return m

    def pull(b: float) -> float:
        dm, adversarial = mean_pulls(b, m, d)
        return dm + w * adversarial

    found: Any = brentq(pull, min(m, d), max(m, d), xtol=1e-15)
    return float(found)


def largest_ema(g: float | int, f: float | int, n: int = 1) -> float:
    """((1 - g) / (1 + g))^2 / (1 - f)^n, at most 1: no ringing with n fake steps up to this ema.

    g, f: as in `two_time_scale`. Raises ValueError by name.

    >>> round(largest_ema(0.1, 0.1), 6), round(largest_ema(0.01, 0.01), 6)
    (0.743802, 0.970493)
    """
    rates = {"g": g, "f": f}
    for name, value in rates.items():
        if not 0 < number("largest_ema", name, value, 0.0, 1.0) < 1:
            raise fail("largest_ema", name, "in (0, 1)", value)
    n = integer("largest_ema", "n", n, 1)
    return min(1.0, ((1 - g) / (1 + g)) ** 2 / (1 - f) ** n)


@dataclass(frozen=True, eq=False)
class SplitRun:
    """A run: means (cycles + 1, 2), of the noisy steps' output and of the last one's; n.

    For a joint loss both columns are those of the one student.
    """

    means: Float[np.ndarray, "cycles 2"]
    limits: tuple[float, float]
    n: int

    @property
    def bias(self) -> float:
        """What is left between the last step's mean and the data's, 0, at the end."""
        return float(self.means[-1, 1])

    def settled(self, within: float | int = 1e-3) -> tuple[int, int]:
        """Cycles after which either mean stays within this of its limit."""
        off = np.abs(self.means - np.array(self.limits)) > within
        last = [int(np.flatnonzero(column)[-1]) + 1 if column.any() else 0 for column in off.T]
        if max(last) == len(self.means):
            raise fail("SplitRun.settled", "within", "reached by the run: take more cycles", within)
        return last[0], last[1]

    def fake_steps(self, within: float | int = 1e-3) -> int:
        """Fake-score steps until all is settled: n a cycle, the cost that counts."""
        return self.n * max(self.settled(within))


def split_run(
    g: float | int,
    f: float | int,
    n: int,
    *,
    ema: float | int = 1.0,
    split: str = "step",
    teacher: float | int = 0.2,
    weight: float | int = 1.0,
    start: float | int = 1.0,
    cycles: int = 600,
) -> SplitRun:
    """Cycles of one generator step and n fake steps, data mean 0, all means from `start`.

    split: "step", the noisy steps have distribution matching and the last the adversarial term,
    whose curvature is normalised to 1; "joint", one student has both, the term times `weight`. g,
    f, ema: as in `two_time_scale`. Raises ValueError by name.

    >>> run = split_run(0.1, 0.1, 1, ema=0.7)
    >>> run.settled(), run.fake_steps(), abs(run.bias) < 1e-16
    ((48, 65), 65, True)
    """
    one_of("split_run", "split", split, SPLITS)
    m, w, u = (
        number("split_run", name, v, low)
        for name, v, low in (
            ("teacher", teacher, -math.inf),
            ("weight", weight, 0.0),
            ("start", start, -math.inf),
        )
    )
    matrix = two_time_scale(g, f, n, ema=ema).matrix
    # the fake score as the same combination of the moved generator and itself, whatever moved it
    kept = float(ema) * (1 - float(f)) ** n
    means = np.full((integer("split_run", "cycles", cycles, 1) + 1, 2), u)
    noisy, last, psi = u, u, u
    for i in range(cycles):
        if split == "step":
            noisy, psi = matrix @ np.array([noisy - m, psi - m]) + m
            last -= 2 * float(g) * _adversarial(last)
        else:
            noisy -= float(g) * (psi - m + w * _adversarial(noisy))
            psi, last = noisy + kept * (psi - noisy), noisy
        means[i + 1] = noisy, last
    joint = joint_mean(m, 0.0, w)
    return SplitRun(means, (m, 0.0) if split == "step" else (joint, joint), n)


def low_offset(
    path: Path, t: float | int, first: float | int, *, c: float | int = 1.0, state: str = "own"
) -> float:
    """b of an affine last step h x + b at t whose trained output has the data's law N(0, c^2).

    h = c / S, S^2 = alpha^2 c^2 + sigma^2; its input is alpha x0hat + sigma n, with x0hat of the
    earlier steps of mean `first` and variance c^2. state: "own", it is trained where sampling
    enters it, b = -h alpha first; "rediffused", on its own finished output b + h alpha first,
    noised again: b + h alpha (b + h alpha first) = 0. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> round(low_offset(RectifiedFlow(), 0.249, 0.2), 6)
    -0.189838
    """
    through, mean = _through("low_offset", path, t, first, c)
    one_of("low_offset", "state", state, STATES)
    return -through * mean if state == "own" else -(through**2) * mean / (1 + through)


def split_bias(
    path: Path, t: float | int, first: float | int, *, c: float | int = 1.0, state: str = "own"
) -> float:
    """The bias of the sampled mean, b + h alpha first, with b from `low_offset`.

    Zero for "own"; for "rediffused" h alpha / (1 + h alpha) of an earlier step's bias is left, near
    half of it at low noise. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> split_bias(RectifiedFlow(), 0.249, 0.2)
    0.0
    >>> round(split_bias(RectifiedFlow(), 0.249, 0.2, state="rediffused"), 6)
    0.097393
    """
    through, mean = _through("split_bias", path, t, first, c)
    return low_offset(path, t, first, c=c, state=state) + through * mean


def _through(
    where: str, path: Path, t: float | int, first: float | int, c: float | int
) -> tuple[float, float]:
    """h alpha, by which an input's mean passes the last step, and that mean."""
    if not number(where, "c", c, 0.0) > 0:
        raise fail(where, "c", "above 0", c)
    path.check_t(where, float(t))
    alpha, sigma = float(path.alpha(float(t))), float(path.sigma(float(t)))
    through = alpha * float(c) / math.hypot(alpha * float(c), sigma)
    return through, number(where, "first", first, -math.inf)
