"""The importance weight that turns a trajectory law into a re-noised prediction, and its price.

A fake score that regresses x0hat on x_tau = r x_s + beta eps has the right target for another law,
q(x_tau | x0hat) = N(alpha x0hat, sigma^2). The weight

    w = q(x_tau | x0hat) / q(x_tau | x_s),    log w = (|eps|^2 - |mixed|^2) / 2 + d log(beta /
    sigma),    mixed = (x_tau - alpha x0hat) / sigma

(target over proposal: the ratio printed upside down in places is no valid weight) makes up for it.
Its second moment is infinite for every generator where rho_tau < sqrt 2 rho_s, and the effective
share of a batch falls like a power of the dimension. The published demo averages over elements in
the exponent and drops the constant; that weight tends to 1 in many dimensions and corrects nothing.
TDM (arXiv 2503.06674), sheet `tdm`, "Fake score regression", C4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import Array, namespace
from ...errors import fail, integer, number, one_of, state
from ...model import over_event
from ...paths import Path
from ...shapes import Float
from .intervals import ending, interval_level, noise_gap, step_gain

FORMS = ("sum", "mean")


def importance_log_weight(
    path: Path,
    x0: Float[Array, "n *event"],
    x: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    s: float | int,
    tau: Array,
    *,
    form: str = "sum",
) -> Float[Array, "n"]:
    """log w of each sample, (n,): x0 the clean prediction, x the state x_s, eps the added noise.

    form: "sum", the exact density ratio, whose mean under the proposal is 1; "mean", the demo's,
    with the mean over a sample's elements in the exponent and no constant. tau: a number or (n,).
    Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> from fewtheory.paths import RectifiedFlow
    >>> one = np.ones((1, 2))
    >>> importance_log_weight(RectifiedFlow(), one, one, one, 0.5, 0.8).round(4).tolist()
    [-0.5487]
    """
    xp = state("importance_log_weight", "x", x)
    one_of("importance_log_weight", "form", form, FORMS)
    for name, value in {"x0": x0, "eps": eps}.items():
        if tuple(value.shape) != tuple(x.shape):
            allowed = f"of the shape of x, {tuple(x.shape)}"
            raise fail("importance_log_weight", name, allowed, value.shape)
    r, beta = (over_event(v, x) for v in interval_level(path, s, tau))
    alpha, sigma = over_event(path.alpha(tau), x), over_event(path.sigma(tau), x)
    mixed = (r * x + beta * eps - alpha * x0) / sigma
    each = xp.reshape(eps * eps - mixed * mixed, (x.shape[0], -1))
    if form == "mean":
        return 0.5 * xp.mean(each, axis=1)
    return 0.5 * xp.sum(each, axis=1) + each.shape[1] * _log_ratio(path, s, tau)


def _log_ratio(path: Path, s: float | int, tau: Array) -> Array:
    """log(beta / sigma), (n,) or a number."""
    g = noise_gap(path, s, tau)
    if isinstance(g, (int, float)):
        return 0.5 * math.log(g * (2 - g))
    return 0.5 * namespace(g).log(g * (2 - g))


def effective_fraction(
    path: Path,
    t: float | int,
    s: float | int,
    tau: float | int,
    gain: float | int,
    variance: float | int,
    d: int = 1,
    *,
    form: str = "sum",
) -> float:
    """(E w)^2 / E w^2: the share of a batch that the weight leaves, in d independent coordinates.

    The student x0hat = gain x_t, x_t ~ N(0, variance), steps from t to s. In one coordinate
    E w^k ~ det(I + k M)^{-1/2}, M the quadratic form of mixed^2 - eps^2 in (eps, x_t); 0 where the
    second moment is infinite. Raises ValueError by name.

    >>> from fewtheory.paths import Trigonometric
    >>> [round(effective_fraction(Trigonometric(), 1, 0.5, 0.9, 0.7, 1, d), 3) for d in (1, 16, 64)]
    [0.973, 0.644, 0.172]
    """
    one_of("effective_fraction", "form", form, FORMS)
    count = integer("effective_fraction", "d", d, 1)
    v = number("effective_fraction", "variance", variance, 0.0)
    g = number("effective_fraction", "gain", gain, -math.inf)
    gap = float(noise_gap(path, s, float(tau)))
    h = step_gain(path, t, s) * g + ending(path, s)[1] / float(path.sigma(float(t)))
    r, _ = interval_level(path, s, float(tau))
    alpha, sigma = float(path.alpha(float(tau))), float(path.sigma(float(tau)))
    b = (r * h - alpha * g) * math.sqrt(v) / sigma
    M = _quadratic_form(gap, b)
    k = 1.0 if form == "sum" else 1.0 / count
    once, twice = (np.eye(2) + j * k * M for j in (1, 2))
    if np.linalg.eigvalsh(twice)[0] <= 0:
        return 0.0
    share = math.sqrt(float(np.linalg.det(twice))) / float(np.linalg.det(once))
    return share**count


def _quadratic_form(gap: float, b: float) -> Any:
    """mixed^2 - eps^2 = (a eps + b z)^2 - eps^2 as a matrix, a = beta / sigma."""
    a = math.sqrt(gap * (2 - gap))
    return np.array([[-((1 - gap) ** 2), a * b], [a * b, b * b]])


def weight_wall(path: Path, s: float | int) -> float:
    """The tau at which rho_tau = sqrt 2 rho_s: no generator has a finite second moment below it.

    >>> from fewtheory.paths import Trigonometric
    >>> round(weight_wall(Trigonometric(), 0.5), 6)
    0.608173
    """
    if ending(path, s)[1] == 0:
        return 0.0
    return float(path.t_at(float(path.lam(float(s))) - 0.5 * math.log(2)))
