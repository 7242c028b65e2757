"""What subintervals cost and what they can see: variance of the target, bias, divergence.

For x_s ~ N(alpha_s m, V_s) the joint law of (x_s, eps, x_t) is Gaussian, so the target's variance
given x_t and the minimiser of the biased target eps - x_s,

    E[eps - x_s | x_t = x] = -beta s_t(x) - (x + beta^2 s_t(x)) / r,

are closed forms, the latter on any law. KL at t never rises with t, and vanishes at one t above s
only where the laws at s agree; but near t = 1 it is tiny, and where t is low a student locked on a
mode is an optimum (`mode_transition`). Sheet `phased-dmd`, C2, C3, C5, C6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...arrays import Array
from ...errors import fail, integer, number, one_of
from ...model import Model, over_event
from ...paths import Path
from ...shapes import Float
from ...testbeds import ProductMixture, mixture_1d
from ..parts.intervals import ending, interval_level
from ..parts.subinterval import subinterval_coefficients
from .mode_seeking import ModeTransition

NODES, WIDTH = 4001, 10.0  # of the trapezoid rule, and how many standard deviations to either side


def target_variance(
    c: float | int, path: Path, s: float | int, t: float | int, kind: str = "flow"
) -> float:
    """Var(target | x_t) = (r b - beta a)^2 V_s / V_t for data of variance c, V = alpha^2 c +
    sigma^2.

    a, b: of `subinterval_coefficients`. For "flow" it is (alpha_t + sigma_t)^2 V_s sigma_t^2 /
    (alpha_s^2 beta^2 V_t); s = 0 gives the target from clean samples. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> [round(target_variance(0.49, RectifiedFlow(), s, 0.6), 4) for s in (0.5, 0.0)]
    [6.1177, 1.1177]
    """
    clean = number("target_variance", "c", c, 0.0)
    r, beta = interval_level(path, s, float(t))
    if beta == 0:
        raise fail("target_variance", "t", f"above s = {s}", t)
    a, b = subinterval_coefficients(path, s, float(t), kind)
    alpha_s, sigma_s = ending(path, s)
    V_s = alpha_s**2 * clean + sigma_s**2
    V_t = path.alpha(float(t)) ** 2 * clean + path.sigma(float(t)) ** 2
    return float((r * b - beta * a) ** 2 * V_s / V_t)


@dataclass(frozen=True)
class BiasedError:
    """The biased minimiser minus the exact eps - x_0: slope x + intercept; rms under p_t."""

    slope: float
    intercept: float
    rms: float


def biased_error(
    m: float | int, c: float | int, path: Path, s: float | int, t: float | int
) -> BiasedError:
    """How far regressing eps - x_s is from the field, for data N(m, c).

    At x = alpha_t m it is off by m (1 - alpha_s), at every level, so its rms tends to that at high
    noise and does not vanish. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> round(biased_error(0.5, 0.49, RectifiedFlow(), 0.5, 0.75).rms, 9)
    0.285787216
    """
    mean = number("biased_error", "m", m, -math.inf)
    clean = number("biased_error", "c", c, 0.0)
    r, beta = interval_level(path, s, float(t))
    alpha_s, sigma_s = ending(path, s)
    alpha, sigma = path.alpha(float(t)), path.sigma(float(t))
    V_s, V_t = alpha_s**2 * clean + sigma_s**2, alpha**2 * clean + sigma**2
    slope = (beta - r * V_s - sigma + alpha * clean) / V_t
    at_mean = mean * (1 - alpha_s)
    rms = math.hypot(slope * math.sqrt(V_t), at_mean)
    return BiasedError(float(slope), float(at_mean - slope * alpha * mean), rms)


def biased_flow(
    model: Model, x: Float[Array, "n *event"], s: float | int, t: Array
) -> Float[Array, "n *event"]:
    """E[eps - x_s | x_t = x] = -beta s_t - (x + beta^2 s_t) / r, what that regression learns.

    model: the exact one, of any prediction; t > s: a number or (n,). Raises ValueError by name.

    >>> import numpy as np
    >>> from fewtheory import paths, testbeds
    >>> exact = testbeds.Gaussian([0.0], 1.0).model(paths.RectifiedFlow())
    >>> biased_flow(exact, np.ones((1, 1)), 0.5, 0.8).round(6).tolist()
    [[0.844995]]
    """
    r, beta = (over_event(v, x) for v in interval_level(model.path, s, t))
    score = model.predicting("score")(x, t)
    return -beta * score - (x + beta**2 * score) / r


@dataclass(frozen=True, eq=False)
class Carried:
    """Where a field takes the law at the noisy end: quantiles at s, (count,), and their distance.

    w2: to the law at s; mean, std: of the quantiles.
    """

    quantiles: Float[np.ndarray, "count"]
    w2: float
    mean: float
    std: float


def carried(
    law: ProductMixture,
    path: Path,
    s: float | int,
    field: str = "unbiased",
    *,
    start: float | int | None = None,
    steps: int = 100,
    count: int = 2000,
) -> Carried:
    """Integrate a minimiser's flow from the start of the path to s, by RK4 on quantiles.

    The steps get shorter towards s, as t - s = u^2 with u uniform: beta grows like the root there.

    law: of x_0, in one dimension; field: "unbiased", the exact field, which every row of the table
    of targets has as its minimiser, or "biased", that of eps - x_s. The quantiles at the start are
    exact. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> two = mixture_1d([0.5, 0.5], [-1.0, 1.0], [0.3, 0.3])
    >>> carried(two, RectifiedFlow(), 0.5, count=100).w2 < 1e-6
    True
    """
    one_of("carried", "field", field, ("unbiased", "biased"))
    _one_dimension("carried", "law", law)
    integer("carried", "steps", steps, 1)
    n = integer("carried", "count", count, 2)
    exact, high = law.model(path, "flow"), float(path.start if start is None else start)
    if not float(s) < high:
        raise fail("carried", "start", f"above s = {s}", high)
    biased = Model(lambda x, t: biased_flow(exact, x, s, t), path, "flow")
    velocity = (exact if field == "unbiased" else biased).predicting("velocity")
    p = ((np.arange(n) + 0.5) / n)[:, None]
    x = law.at(path, high).quantile(p)
    times = float(s) + (high - float(s)) * np.linspace(1, 0, steps + 1) ** 2
    for t, u in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        h, mid = u - t, 0.5 * (t + u)
        k1 = velocity(x, t)
        k2 = velocity(x + 0.5 * h * k1, mid)
        k3 = velocity(x + 0.5 * h * k2, mid)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(x + h * k3, u))
    gap = x - law.at(path, float(s)).quantile(p)
    w2 = float(np.sqrt((gap**2).mean()))
    return Carried(x[:, 0], w2, float(x.mean()), float(x.std()))


def noised_kl(
    q: ProductMixture, p: ProductMixture, path: Path, s: float | int, t: float | int
) -> float:
    """KL at t of two laws of x_s, each carried up by x_t = r x_s + beta eps.

    q, p: mixtures in one dimension, the laws at s. By the trapezoid rule. Raises ValueError by
    name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> wide, narrow = (mixture_1d([1.0], [0.0], [v**0.5]) for v in (1.3, 0.6))
    >>> [round(noised_kl(wide, narrow, RectifiedFlow(), 0.0, t), 5) for t in (0.0, 0.5)]
    [0.19674, 0.0373]
    """
    for name, bed in {"q": q, "p": p}.items():
        _one_dimension("noised_kl", name, bed)
    r, beta = interval_level(path, s, float(t))
    mine, real = (
        mixture_1d(bed.weights[0], r * bed.means[0], np.hypot(r * bed.stds[0], beta))
        for bed in (q, p)
    )
    reach = WIDTH * float(mine.stds.max())
    x = np.linspace(mine.means.min() - reach, mine.means.max() + reach, NODES)[:, None]
    log_q = mine.log_prob(x)
    share = np.exp(log_q) * float(x[1, 0] - x[0, 0])
    return float((share * (log_q - real.log_prob(x))).sum())


def unlocked_share(
    transition: ModeTransition, path: Path, low: float | int, high: float | int
) -> float:
    """The part of the levels (low, high) at which no student locked on a mode is an optimum.

    They are those with noise-to-signal above rho_fold. transition: a teacher's `mode_transition`. 1
    where all are; 0 says that nothing in the loss undoes a lost mode. Raises ValueError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> modes = ModeTransition(0.510072662, 0.66137795, 1.7790375705)  # .5 N(+-2, .25)
    >>> [round(unlocked_share(modes, RectifiedFlow(), 0.02, high), 4) for high in (0.98, 0.25)]
    [0.6062, 0.0]
    """
    for name, t in {"low": low, "high": high}.items():
        path.check_t("unlocked_share", float(t), name)
    if not float(low) < float(high):
        raise fail("unlocked_share", "low", f"under high = {high}", low)
    fold = float(path.t_at(-math.log(transition.rho_fold)))
    return min(1.0, max(0.0, (float(high) - fold) / (float(high) - float(low))))


def _one_dimension(where: str, name: str, law: ProductMixture) -> None:
    if not isinstance(law, ProductMixture) or law.event != (1,):
        raise fail(where, name, "a mixture in one dimension (testbeds.mixture_1d)", law)
