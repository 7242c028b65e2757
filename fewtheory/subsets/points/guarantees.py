"""What is guaranteed before a point is drawn: stability, expected errors, moments of the noise.

|f - fhat|^2 = |g|^2 + |G^{-1} b|^2 with b = (1/n) sum w g phi. Formulas of the sheet `dpp-wls`,
"Constants" and C6; the laws are those of `designs.sample`. Proofs are short: Chernoff for the
smallest eigenvalue, Cauchy and Binet for the volume law, negative dependence of a DPP.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import Array, namespace
from ...errors import fail, integer, number, one_of

LAWS = ("iid", "volume", "repeated_dpp")


def stability_rate(delta: int | float) -> float:
    """c_delta = delta + (1 - delta) log(1 - delta), of m exp(-n c_delta / m).

    >>> round(stability_rate(0.5), 6)
    0.153426
    """
    if not 0 < number("stability_rate", "delta", delta, 0, 1) < 1:
        raise fail("stability_rate", "delta", "more than 0 and less than 1", delta)
    return float(delta + (1 - delta) * math.log1p(-delta))


def stability_probability(
    n: int, m: int, delta: int | float = 0.5, *, kind: str = "iid", sup: int | float = 1.0
) -> float:
    """A lower bound on P(lambda_min(G) >= 1 - delta), at least 0.

    "iid" from nu: 1 - m exp(-n c_delta / (m sup)), sup the supremum of w K / m (1 for nu_m, 2 for
    (nu_m + mu) / 2). "volume": its n - m independent points alone, at 1 - delta' =
    (1 - delta) n / (n - m); 0 where that is not below 1.

    >>> round(stability_probability(301, 10), 4)
    0.9013
    """
    where = "stability_probability"
    one_of(where, "kind", kind, ("iid", "volume"))
    integer(where, "m", m, 1)
    integer(where, "n", n, m)
    number(where, "sup", sup, 1)
    stability_rate(delta)
    alone = n
    if kind == "volume":
        alone = n - m
        kept = (1 - delta) * n / alone if alone else 1.0
        if kept >= 1:
            return 0.0
        delta = 1 - kept
    return max(0.0, 1 - m * math.exp(-alone * stability_rate(delta) / (m * sup)))


def points_for_stability(
    m: int, delta: int | float = 0.5, failure: int | float = 0.1, *, sup: int | float = 1.0
) -> int:
    """The n of independent points that makes m exp(-n c_delta / (m sup)) <= failure.

    >>> points_for_stability(10), points_for_stability(5, 0.9, 0.01)
    (301, 47)
    """
    integer("points_for_stability", "m", m, 1)
    if not 0 < number("points_for_stability", "failure", failure, 0, 1) < 1:
        raise fail("points_for_stability", "failure", "more than 0 and less than 1", failure)
    number("points_for_stability", "sup", sup, 1)
    return math.ceil(m * sup * math.log(m / failure) / stability_rate(delta))


def quasi_optimality(
    n: int, m: int, delta: int | float, probability: int | float, *, kind: str = "repeated_dpp"
) -> float:
    """C with E[|f - fhat|^2 | stable] <= C |f - Pf|^2, for w = m / K and P(stable) = probability.

    The smaller of 1 + 1/((1-delta) P), from marginals alone, and 1 + (m/n) / ((1-delta)^2 P), from
    E |b|^2 <= (m/n) |g|^2; for "iid" and "volume" with nu = nu_m, "repeated_dpp".

    >>> quasi_optimality(40, 10, 0.5, 1.0)
    2.0
    """
    where = "quasi_optimality"
    one_of(where, "kind", kind, LAWS)
    integer(where, "m", m, 1)
    integer(where, "n", n, m)
    stability_rate(delta)
    if number(where, "probability", probability, 0, 1) == 0:
        raise fail(where, "probability", "more than 0", probability)
    marginals = 1 + 1 / ((1 - delta) * probability)
    moments = 1 + (m / n) / ((1 - delta) ** 2 * probability)
    return float(min(marginals, moments))


def expected_draws(probability: int | float) -> float:
    """1 / P: samples drawn on average until one is stable; each may cost its n evaluations.

    >>> round(expected_draws(0.66422), 2)
    1.51
    """
    if number("expected_draws", "probability", probability, 0, 1) == 0:
        raise fail("expected_draws", "probability", "more than 0", probability)
    return 1 / probability


def expected_inverse(n: int, m: int) -> float:
    """E G^{-1} = n / (n - m + 1) I under the volume law, mu without atoms (with atoms: at most).

    >>> expected_inverse(6, 3)
    1.5
    """
    integer("expected_inverse", "m", m, 1)
    integer("expected_inverse", "n", n, m)
    return n / (n - m + 1)


def expected_noise_error(n: int, m: int, variance: int | float) -> float:
    """s^2 m / (n - m + 1): the error by noise of variance s^2 / w_i under the volume law.

    >>> expected_noise_error(6, 3, 2.0)
    1.5
    """
    number("expected_noise_error", "variance", variance, 0)
    return variance * m * expected_inverse(n, m) / n


def noise_overlap(phi: Array, g: Array, mu: Array) -> float:
    """T = iint w(x) w(y) g(x) g(y) K(x, y)^3 dmu dmu >= 0, w = m / K(x, x).

    phi: (N, m) features at the nodes of a quadrature, or of all rows of a pool; g: (N,) = f - Pf;
    mu: (N,) probabilities.

    >>> noise_overlap(np.ones((2, 1)), np.array([1.0, 1.0]), np.array([0.5, 0.5])).round(12)
    np.float64(1.0)
    """
    xp = namespace(phi)
    m = phi.shape[1]
    weight = m / xp.sum(phi * phi, axis=1)
    a = mu * weight * g
    K = xp.matmul(phi, xp.matrix_transpose(phi))
    return np.float64(xp.matmul(a, xp.matmul(K**3, a)))


def expected_noise_vector(
    g2: int | float, n: int, m: int, overlap: int | float = 0.0, *, kind: str = "iid"
) -> Any:
    """E |b|^2 for w = m / K: (m/n) g2 less what repulsion takes off.

    g2: |g|^2; overlap: T. "iid": nothing; "volume" with nu = nu_m: T / n^2, one DPP among the n;
    "repeated_dpp": r T / n^2, r = n / m of them.

    >>> expected_noise_vector(1.0, 6, 3, 4.5, kind="repeated_dpp")
    0.25
    """
    where = "expected_noise_vector"
    one_of(where, "kind", kind, LAWS)
    number(where, "g2", g2, 0)
    number(where, "overlap", overlap, -math.inf)
    integer(where, "m", m, 1)
    integer(where, "n", n, m)
    if kind == "repeated_dpp" and n % m:
        raise fail(where, "n", f"a multiple of m = {m}", n)
    processes = {"iid": 0, "volume": 1, "repeated_dpp": n // m}[kind]
    return (m / n) * g2 - processes * overlap / n**2
