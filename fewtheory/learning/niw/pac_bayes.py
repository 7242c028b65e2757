"""A bound on the risk of a posterior, with a weight that can be chosen after seeing the data.

    E_q R <= E_q R^ / (1 - lam/2) + (KL(q || prior) + log(2 sqrt(n) / delta)) / (n lam (1 - lam/2))

holds for all q and all 0 < lam < 2 at once, with probability 1 - delta over n losses in [0, 1]: it
is Maurer's bound on kl(E_q R^ || E_q R) after Pinsker's inequality in its sharper form for small
risks. Over episodes it justifies the hierarchy's objective as a right-hand side.
Thiemann et al. 2017; sheet `niwmeta`, C12.
"""

from __future__ import annotations

import math

from ...errors import fail, integer, number


def pac_bayes_bound(
    empirical: float | int, kl: float | int, n: int, *, delta: float | int, lam: float | int
) -> float:
    """The right-hand side.

    empirical: E_q R^ in [0, 1]; kl: KL(q || prior) >= 0; n: losses; delta in (0, 1); lam in (0, 2).
    Raises ValueError or TypeError by name.

    >>> round(pac_bayes_bound(0.1, 2.0, 1000, delta=0.05, lam=0.5), 6)
    0.157714
    """
    risk, K = _checked("pac_bayes_bound", empirical, kl, n, delta)
    if not 0 < number("pac_bayes_bound", "lam", lam, 0.0, 2.0) < 2:
        raise fail("pac_bayes_bound", "lam", "in (0, 2)", lam)
    return risk / (1 - lam / 2) + K / (n * lam * (1 - lam / 2))


def best_lam(empirical: float | int, kl: float | int, n: int, *, delta: float | int) -> float:
    """The lam of the least right-hand side: 2 / (sqrt(2 n R^ / K + 1) + 1), K = kl + log(2 sqrt(n)
    / delta).

    >>> round(best_lam(0.1, 2.0, 1000, delta=0.05), 6)
    0.345853
    """
    risk, K = _checked("best_lam", empirical, kl, n, delta)
    return 2 / (math.sqrt(2 * n * risk / K + 1) + 1)


def _checked(
    where: str, empirical: float | int, kl: float | int, n: int, delta: float | int
) -> tuple[float, float]:
    """(E_q R^, kl + log(2 sqrt(n) / delta))."""
    risk = number(where, "empirical", empirical, 0.0, 1.0)
    kl = number(where, "kl", kl, 0.0)
    n = integer(where, "n", n, 1)
    if not 0 < number(where, "delta", delta, 0.0, 1.0) < 1:
        raise fail(where, "delta", "in (0, 1)", delta)
    return risk, kl + math.log(2 * math.sqrt(n) / delta)
