"""Confidence sequences: intervals that hold the truth at every sample size at once.

P(there is an n at which the n-th interval misses) <= level, so that a test may look after every
sample and stop when it likes. Each comes from a process M_n(mu) >= 0 with E M_n <= 1 if mu is the
truth: by Ville's inequality it ever reaches 1/level with probability at most level, and the
interval holds the mu at which it has not.

| | data | process |
| --- | --- | --- |
| `NormalMixture` | sub-Gaussian, known standard deviation | exp(l S - l^2 v / 2), l ~ N(0, 1/rho) |
| `VarianceMixture` | Gaussian, known mean | likelihood ratio of a precision, Gamma(k, k) |
| `EmpiricalBernstein` | bounded | exp(l X - variance term), l predicted from the past |
| `HedgedCapital` | bounded | wealth prod(1 +- l (X - m)) of a bettor against each mean m |

Sources: Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 2021;
Waudby-Smith and Ramdas, JRSS B 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import fail, finite_array, integer, number

LARGEST_LEVEL = 0.99  # at level 1 every interval is empty, and rho infinite
TRUNCATION = 0.5  # of a bet on [0, 1]: what Waudby-Smith and Ramdas recommend
BLOCK = 256  # samples of a grid of capitals held at once


@dataclass(frozen=True)
class ConfidenceSequence:
    """Intervals [lower, upper] after n samples, three arrays of one length."""

    n: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def __and__(self, other: ConfidenceSequence) -> ConfidenceSequence:
        """The intersection: of sequences at levels a and b, one at level a + b."""
        lower, upper = np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper)
        return ConfidenceSequence(self.n, lower, upper)


@runtime_checkable
class Stream(Protocol):
    """What takes samples in batches of any size and gives the intervals after each of them."""

    def update(self, x: Any) -> ConfidenceSequence:
        """The intervals after each of the next samples x (n,)."""
        ...


# boundaries


def tightest_rho(v: int | float, level: int | float) -> float:
    """The rho at which `normal_mixture` is tightest at the intrinsic time v.

    d/drho of (v + rho) log((v + rho) / (rho level^2)) = 0 is w - log w = 1 - 2 log(level) for
    w = 1 + v / rho, so w = -W_{-1}(-level^2 / e); the boundary there is sqrt(w v).
    Raises ValueError unless v > 0 and level is in (0, 0.99]. Source: Howard et al., Proposition 3.

    >>> round(tightest_rho(100, 0.05), 3)
    12.177
    """
    number("tightest_rho", "v", v, 1e-300)
    return v / (_inflation("tightest_rho", level) - 1)


def normal_mixture(v: Any, level: int | float, rho: int | float) -> Any:
    """Two-sided boundary u with P(some |S_v| >= u(v)) <= level for a sub-Gaussian sum S.

    u(v) = sqrt((v + rho) log((v + rho) / (rho level^2))), v >= 0 the intrinsic time (n times the
    variance). Raises ValueError for what is out of range. Source: Howard et al., equation 14.

    >>> round(float(normal_mixture(100, 0.05, 12.60056)), 3)
    30.352
    """
    v = _times("normal_mixture", v, 0.0)
    _level("normal_mixture", level)
    number("normal_mixture", "rho", rho, 1e-300)
    return np.sqrt((v + rho) * (np.log1p(v / rho) - 2 * math.log(level)))


def stitched(
    v: Any,
    level: int | float,
    *,
    eta: int | float = 2,
    power: int | float = 1.4,
    start: int | float = 1,
) -> Any:
    """One-sided boundary of the iterated logarithm: P(some S_v >= u(v)) <= level.

    Lines that hold on epochs start eta^k <= v < start eta^(k+1) at levels that sum to `level`,
    level / (h(k)), h(k) = zeta(power) (k + 1)^power, stitched from above:
    u(v) = k_1 sqrt(v l(v)), k_1 = (eta^(1/4) + eta^(-1/4)) / sqrt(2),
    l(v) = power log(log(eta v / start)) + log(zeta(power) / (level log(eta)^power)).
    Below `start` it is u(start). Raises ValueError for what is out of range.
    Source: Howard et al., Theorem 1; by default 1.7 sqrt(v (loglog(2 v) + 0.72 log(5.2 / level))).

    >>> round(float(stitched(100.0, 0.05)), 2)
    37.92
    """
    from scipy.special import zeta

    _level("stitched", level)
    for name, value, low in (("eta", eta, 1), ("power", power, 1), ("start", start, 0)):
        if not low < number("stitched", name, value, low):
            raise fail("stitched", name, f"more than {low}", value)
    v = np.maximum(_times("stitched", v, 0.0), start)
    k1 = (eta**0.25 + eta**-0.25) / math.sqrt(2)
    constant = math.log(float(zeta(power)) / level) - power * math.log(math.log(eta))
    return k1 * np.sqrt(v * (power * np.log(np.log(eta * v / start)) + constant))


# streams


class NormalMixture:
    """The mean of independent samples that are sub-Gaussian with a known standard deviation.

    mean +- std u(n) / n with the `normal_mixture` boundary u, tightest at the n at which the half
    width is `effect`: u = sqrt(w n) there, so n = w (std / effect)^2. Also right for values in an
    interval, with std half its length (Hoeffding).

    >>> NormalMixture(1.0, 0.05, effect=0.3).update(np.zeros(200)).upper[[49, 199]].round(2)
    array([0.44, 0.22])
    """

    def __init__(self, std: int | float, level: int | float, *, effect: int | float):
        self.std = number("NormalMixture", "std", std, 1e-300)
        shift = number("NormalMixture", "effect", effect, 1e-300) / self.std
        self.level = level
        self.rho = tightest_rho(_inflation("NormalMixture", level) / shift**2, level)
        self.n, self.total = 0, 0.0

    def half_width(self, n: Any) -> Any:
        """Half the interval's width after n samples, whatever they are."""
        return self.std * normal_mixture(n, self.level, self.rho) / n

    def update(self, x: Any) -> ConfidenceSequence:
        """The intervals after each of the next samples x (n,)."""
        x = _samples("NormalMixture", x)
        n, total = self.n + np.arange(1, x.size + 1), self.total + np.cumsum(x)
        self.n, self.total = int(n[-1]), float(total[-1])
        half = self.half_width(n)
        return ConfidenceSequence(n, total / n - half, total / n + half)


class VarianceMixture:
    """The variance of independent Gaussian samples of known mean.

    The likelihood ratio of precision tau over 1 for Q = sum (x - mean)^2, mixed over
    tau ~ Gamma(k, k), is k^k Gamma(a) / Gamma(k) y^{-a} e^{Q/2}, a = k + n/2, y = k + Q/2: below
    1/level between the two roots y = -a W(-e^{-c/a} / a) of y - a log y = c. The prior is as wide
    as log(ratio). The upper limit is infinite until a Q of zero would be surprising.

    >>> VarianceMixture(0.0, 0.05, ratio=2).update(np.ones(300)).upper[[0, 299]].round(2)
    array([ inf, 1.32])
    """

    def __init__(self, mean: int | float, level: int | float, *, ratio: int | float):
        self.mean = number("VarianceMixture", "mean", mean, -math.inf)
        ratio = number("VarianceMixture", "ratio", ratio, 1.0001)  # nearer to 1 the roots are lost
        self.level, self.k = _level("VarianceMixture", level), math.log(ratio) ** -2
        self.n, self.total = 0, 0.0

    def quantiles(self, n: Any) -> tuple[Any, Any]:
        """The Q / n between which a variance of 1 is not excluded after n samples."""
        from scipy.special import gammaln, lambertw

        k, a = self.k, self.k + np.asarray(n) / 2
        c = k - k * math.log(k) + gammaln(k) - gammaln(a) - math.log(self.level)
        low, high = (-a * lambertw(-np.exp(-c / a) / a, branch).real for branch in (0, -1))
        return np.maximum(2 * (low - k), 0.0) / n, 2 * (high - k) / n

    def update(self, x: Any) -> ConfidenceSequence:
        """The intervals after each of the next samples x (n,)."""
        x = _samples("VarianceMixture", x)
        n = self.n + np.arange(1, x.size + 1)
        total = self.total + np.cumsum((x - self.mean) ** 2)
        self.n, self.total = int(n[-1]), float(total[-1])
        low, high = self.quantiles(n)
        upper = np.divide(total / n, low, out=np.full(n.shape, np.inf), where=low > 0)
        return ConfidenceSequence(n, total / n / high, upper)


class _Bets:
    """Bets l_n on samples in [0, 1], each known before its sample is.

    From the moments so far, (1/2 + sum X) / (n + 1) and (1/4 + sum (X_i - mean_i)^2) / (n + 1):
    l_n = sqrt(2 log(2 / level) / (variance n log(1 + n))) serves all n; effect / (2 variance)
    makes half widths near `effect` / 2 the tightest, and none under `effect` / 4.
    """

    def __init__(self, where: str, within: Any, level: Any, effect: Any):
        self.low, self.high = interval(where, within)
        self.level = _level(where, level)
        self.effect = effect
        if effect is not None:
            self.effect = number(where, "effect", effect, 1e-300) / (self.high - self.low)
        self.where, self.n, self.total, self.square = where, 0, 0.5, 0.25

    def place(self, x: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """n, the samples on [0, 1], the mean before each, and the bet on each."""
        x = _samples(self.where, x)
        if x.min() < self.low or x.max() > self.high:
            worst = float(x.min() if x.min() < self.low else x.max())
            raise fail(self.where, "x", f"in [{self.low:g}, {self.high:g}]", worst)
        x = (x - self.low) / (self.high - self.low)
        n = self.n + np.arange(1, x.size + 1)
        total = np.cumsum(np.concatenate([[self.total], x]))
        square = (x - total[1:] / (n + 1)) ** 2
        square = np.cumsum(np.concatenate([[self.square], square]))
        variance = square[:-1] / n
        self.n, self.total, self.square = int(n[-1]), float(total[-1]), float(square[-1])
        if self.effect is None:
            bet = np.sqrt(2 * math.log(2 / self.level) / (variance * n * np.log1p(n)))
        else:
            bet = self.effect / (2 * variance)
        return n, x, total[:-1] / n, bet

    def scaled(self, n: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> ConfidenceSequence:
        """Limits on [0, 1] as limits on the interval itself."""
        lower, upper = (self.low + (self.high - self.low) * v for v in (lower, upper))
        return ConfidenceSequence(n, lower, upper)


class EmpiricalBernstein:
    """The mean of independent samples within an interval, as wide as their variance asks.

    On [0, 1]: sum(l X) / sum(l) +- (log(2 / level) + sum (X_i - mean_{i-1})^2 psi(l_i)) / sum(l),
    psi(l) = -log(1 - l) - l, with predictable bets l <= 1/2: for all n, or for half widths near
    `effect`. Source: Waudby-Smith and Ramdas, Theorem 2.

    >>> found = EmpiricalBernstein((0, 1), 0.05).update(np.full(500, 0.5))
    >>> round(float(found.upper[-1]), 3)
    0.515
    """

    def __init__(self, within: Any, level: int | float, *, effect: int | float | None = None):
        self.bets = _Bets("EmpiricalBernstein", within, level, effect)
        self.sums = np.array([[0.0], [0.0], [math.log(2 / level)]])

    def update(self, x: Any) -> ConfidenceSequence:
        """The intervals after each of the next samples x (n,)."""
        n, x, mean, bet = self.bets.place(x)
        bet = np.minimum(bet, TRUNCATION)
        terms = np.stack([bet, bet * x, (x - mean) ** 2 * (-np.log1p(-bet) - bet)])
        weight, centre, penalty = sums = self.sums + np.cumsum(terms, axis=1)
        self.sums = sums[:, -1:]
        lower, upper = (centre - penalty) / weight, (centre + penalty) / weight
        return self.bets.scaled(n, np.maximum(lower, 0.0), np.minimum(upper, 1.0))


class HedgedCapital:
    """The mean of independent samples within an interval: the means that no bettor ruins.

    On [0, 1], at each m of a grid: K+ = prod(1 + min(l, c/m) (X - m)) falls with m and
    K- = prod(1 - min(l, c/(1 - m)) (X - m)) rises, c = 1/2; where one has reached 2 / level, so
    would it beyond, so the limits are the outermost points that are excluded (on the safe side by
    less than 1 / points). Tighter than `EmpiricalBernstein`, at `points` times its cost.
    Source: Waudby-Smith and Ramdas, Theorem 3 with theta = 1/2.

    >>> found = HedgedCapital((0, 1), 0.05).update(np.full(500, 0.5))
    >>> round(float(found.upper[-1]), 3)
    0.508
    """

    def __init__(
        self,
        within: Any,
        level: int | float,
        *,
        effect: int | float | None = None,
        points: int = 1000,
    ):
        self.bets = _Bets("HedgedCapital", within, level, effect)
        self.points = integer("HedgedCapital", "points", points, 2)
        self.grid = np.arange(1, points) / points
        self.up, self.down = np.zeros((2, self.points - 1))

    def update(self, x: Any) -> ConfidenceSequence:
        """The intervals after each of the next samples x (n,)."""
        n, x, _, bet = self.bets.place(x)
        below, above = np.empty((2, x.size))
        for k in range(0, x.size, BLOCK):
            part, m = slice(k, k + BLOCK), self.grid
            gap, b = x[part, None] - m, bet[part, None]
            gain, loss = (
                np.minimum(b, TRUNCATION / m) * gap,
                np.minimum(b, TRUNCATION / (1 - m)) * gap,
            )
            up = self.up + np.cumsum(np.log1p(gain), axis=0)
            down = self.down + np.cumsum(np.log1p(-loss), axis=0)
            self.up, self.down = up[-1], down[-1]
            edge = math.log(2 / self.bets.level)
            below[part], above[part] = (up >= edge).sum(1), (down >= edge).sum(1)
        return self.bets.scaled(n, below / self.points, 1 - above / self.points)


def _inflation(where: str, level: Any) -> float:
    """w = -W_{-1}(-level^2 / e): how much the square of a boundary exceeds the time v."""
    from scipy.special import lambertw

    return -float(lambertw(-(_level(where, level) ** 2) / math.e, -1).real)


def _level(where: str, level: Any) -> float:
    return number(where, "level", level, 1e-100, LARGEST_LEVEL)


def _times(where: str, v: Any, low: float) -> np.ndarray:
    out = finite_array(where, "v", v)
    if not np.all(out >= low):
        raise fail(where, "v", f"at least {low:g}", v)
    return out


def _samples(where: str, x: Any) -> np.ndarray:
    out = finite_array(where, "x", x)
    if out.ndim != 1 or out.size < 1:
        raise fail(where, "x", "of shape (n,), one or more", out.shape)
    return out


def interval(where: str, within: Any) -> tuple[float, float]:
    """The ends of an interval, or an error that names it."""
    out = finite_array(where, "within", within)
    if out.shape != (2,) or not out[0] < out[1]:
        raise fail(where, "within", "two increasing numbers", within)
    return float(out[0]), float(out[1])
