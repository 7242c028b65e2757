"""Where preference training ends: soft labels at the tilted policy, hard ones nowhere alone.

A Gaussian step N(mu, sigma^2) may move by m = shift / sigma along the gradient of a linear reward.
Labels drawn from Bradley and Terry's model put the minimum at shift = sigma^2 g / beta, the mean of
the tilted policy p_ref exp(r / beta). The best and the worst of k are told by a rule; then w - l is
the range R_k of k normals, and

    L(m) = E log(1 + exp(-beta m R_k))

falls for ever: gradient steps drift like n^{1/(k+1)}, whatever the reference. With a distillation
term lam m^2 / 2, which is what a distribution-matching loss is near its optimum, the sum is
strictly convex and its minimum finite. More candidates raise the first pull, beta d_k / 2, and yet
shrink that minimum where lam is small: labels of wide ranges saturate. Flash-DMD (arXiv
2511.20549), sheet `flash-dmd`, "Closed forms", C2, C3.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit, ndtr, zeta

from ...errors import fail, finite_array, integer, number
from ...shapes import Float

STEP_X, REACH = 0.1, 12.0  # trapezoid rule for entire functions that fall like a Gaussian
HALF = STEP_X * np.arange(-round(REACH / STEP_X), 1)
STEP_U, LOW_U, HIGH_U = 0.04, -42.0, 3.4  # in log r: the range has no mass beyond e^3.4 = 30


def range_mean(k: int) -> float:
    """d_k = E[max - min] of k standard normals, int 1 - Phi^k - (1 - Phi)^k.

    >>> [round(range_mean(k), 5) for k in (2, 3, 4, 8)]
    [1.12838, 1.69257, 2.05875, 2.8472]
    """
    k = integer("range_mean", "k", k, 2)
    x = HALF  # the integrand is even
    one = -np.expm1(k * np.log1p(-ndtr(x))) - ndtr(x) ** k
    return STEP_X * float(2 * one[:-1].sum() + one[-1])


@cache
def _range_law(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes r and weights of E over the range R_k, by the trapezoid rule in log r.

    The density is k (k - 1) int phi(x) phi(x + r) (Phi(x + r) - Phi(x))^{k - 2} dx, x = y - r / 2.
    """
    r = np.exp(STEP_U * np.arange(round(LOW_U / STEP_U), round(HIGH_U / STEP_U)))
    y = HALF[:, None]
    fold = np.where(y < 0, 2.0, 1.0)  # even in y
    pair = np.exp(-y * y - r * r / 4) / (2 * math.pi)
    between = ndtr(y + r / 2) - ndtr(y - r / 2)
    density = k * (k - 1) * STEP_X * (fold * pair * between ** (k - 2)).sum(0)
    for out in (r, weights := density * r * STEP_U):
        out.setflags(write=False)
    return r, weights


def preference_value(m: float | int, k: int, beta: float | int) -> float:
    """L(m) = E log(1 + exp(-beta m R_k)).

    >>> [round(preference_value(m, 2, 2.0), 6) for m in (0.0, 1.0, 5.0, 25.0)]
    [0.693147, 0.207017, 0.04614, 0.009278]
    """
    m, k, beta = _arguments("preference_value", m, k, beta)
    r, w = _range_law(k)
    return float(w @ np.logaddexp(0.0, -beta * m * r))


def preference_slope(m: float | int, k: int, beta: float | int) -> float:
    """L'(m) = -beta E[R_k / (1 + exp(beta m R_k))], always negative; -beta d_k / 2 at 0.

    >>> round(preference_slope(0.0, 4, 2.0), 6)
    -2.058751
    """
    m, k, beta = _arguments("preference_slope", m, k, beta)
    r, w = _range_law(k)
    return -beta * float(w @ (r * expit(-beta * m * r)))


def preference_drift(
    k: int, beta: float | int, steps: int, *, rate: float | int = 0.5, lam: float | int = 0.0
) -> Float[np.ndarray, "steps"]:
    """m after 0, 1, ..., `steps` gradient steps on L(m) + lam m^2 / 2 from 0, (steps + 1,).

    Unbounded where lam = 0. rate: of the steps. Raises ValueError by name.

    >>> preference_drift(2, 2.0, 100)[[10, 100]].round(2).tolist()
    [1.38, 3.17]
    """
    _, k, beta = _arguments("preference_drift", 0.0, k, beta)
    rate, lam = (number("preference_drift", n, v, 0.0) for n, v in (("rate", rate), ("lam", lam)))
    m, (r, w) = np.zeros(integer("preference_drift", "steps", steps, 0) + 1), _range_law(k)
    pull, bend = beta * w * r, beta * r
    for i in range(steps):
        m[i + 1] = m[i] - rate * (lam * m[i] - float(pull @ expit(-bend * m[i])))
    return m


def drift_law(k: int, beta: float | int, distance: float | int) -> float:
    """What `preference_drift` tends to after steps of rate times number = distance, lam = 0.

    Near 0 the range has the density c r^{k-2}, c = k (k-1) (2 pi)^{-(k-1)/2} / sqrt k, so L'(m)
    tends to -C m^{-k}, C = c (k-1)! eta(k) / beta^{k-1}, eta Dirichlet's, and m to ((k+1) C
    distance)^{1/(k+1)}.

    >>> round(drift_law(2, 2.0, 5000.0), 2)
    15.15
    """
    _, k, beta = _arguments("drift_law", 0.0, k, beta)
    n = number("drift_law", "distance", distance, 0.0)
    c = k * (k - 1) * (2 * math.pi) ** (-(k - 1) / 2) / math.sqrt(k)
    eta = (1 - 2.0 ** (1 - k)) * float(zeta(k))
    C = c * math.factorial(k - 1) * eta / beta ** (k - 1)
    return ((k + 1) * C * n) ** (1 / (k + 1))


def joint_optimum(k: int, beta: float | int, lam: float | int) -> float:
    """The m at which L(m) + lam m^2 / 2 is smallest, best and worst of k; infinite where lam = 0.

    m = shift / sigma of the step; lam: the distillation loss's curvature in m, per preference
    update. About beta d_k / (2 lam) where lam is large. Raises ValueError by name.

    >>> [round(joint_optimum(2, 2.0, lam), 6) for lam in (0.1, 1.0, 10.0)]
    [1.225661, 0.447302, 0.094302]
    >>> joint_optimum(2, 2.0, 0.0)
    inf
    """
    from scipy.optimize import brentq

    _, k, beta = _arguments("joint_optimum", 0.0, k, beta)
    lam = number("joint_optimum", "lam", lam, 0.0)
    if lam == 0:
        return math.inf

    def slope(m: float) -> float:
        return lam * m + preference_slope(m, k, beta)

    most = -preference_slope(0.0, k, beta) / lam  # the pull is largest at 0
    found: Any = brentq(slope, 0.0, most, xtol=1e-15 * most)
    return float(found)


def soft_optimum(g: Any, sigma: float | int, beta: float | int) -> Float[np.ndarray, "..."]:
    """sigma^2 g / beta: the shift of the mean with Bradley-Terry labels of the reward g . z.

    P(w over l) = sigmoid(g . (w - l)); it is the mean of the tilted policy p_ref exp(r / beta),
    whatever pairs are compared. g: (d,) or a number. Raises ValueError by name.

    >>> soft_optimum(1.3, 0.5, 2.0).tolist()
    0.1625
    """
    _, _, beta = _arguments("soft_optimum", 0.0, 2, beta)
    sigma = number("soft_optimum", "sigma", sigma, 0.0)
    return np.asarray(sigma**2 * finite_array("soft_optimum", "g", g) / beta)


def _arguments(where: str, m: float | int, k: int, beta: float | int) -> tuple[float, int, float]:
    if not number(where, "beta", beta, 0.0) > 0:
        raise fail(where, "beta", "above 0", beta)
    return number(where, "m", m, -math.inf), integer(where, "k", k, 2), float(beta)
