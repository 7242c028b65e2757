"""Two laws that noise makes hard to tell apart: Gauss rules that share all moments but the last.

Two k-point laws whose Jacobi matrices differ in the last diagonal entry alone, by D, share the
moments 1..2k - 2, and |m_{2k-1} difference| = D prod b_i^2. At noise sigma their chi-square
distance falls like sigma^-(4k - 2): no estimator can need fewer samples, and a noisy sample is
worth (sigma_1 / sigma_2)^(4k - 2) clean ones. Sheet `ambient-scaling`, M11 and C7.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import fail, finite_array, integer, number

Rule = tuple[np.ndarray, np.ndarray]  # atoms and weights, (k,) each


def gauss_rule(diagonal: Any, off_diagonal: Any) -> Rule:
    """(atoms, weights) (k,) of the law of total mass 1 with this Jacobi matrix: its eigenvalues and
    the squared first entries of its eigenvectors.

    diagonal (k,), off_diagonal (k - 1,). Raises ValueError by name.

    >>> [v.round(12).tolist() for v in gauss_rule([0.0, 0.0], [0.5])]
    [[-0.5, 0.5], [0.5, 0.5]]
    """
    a = finite_array("gauss_rule", "diagonal", diagonal)
    b = finite_array("gauss_rule", "off_diagonal", off_diagonal)
    if a.ndim != 1 or a.size < 1:
        raise fail("gauss_rule", "diagonal", "of shape (k,)", a.shape)
    if b.shape != (a.size - 1,):
        raise fail("gauss_rule", "off_diagonal", f"of shape ({a.size - 1},)", b.shape)
    atoms, vectors = np.linalg.eigh(np.diag(a) + np.diag(b, 1) + np.diag(b, -1))
    return atoms, vectors[0] ** 2


def worst_pair(k: int, *, b: float | int = 0.5, D: float | int = 0.3) -> tuple[Rule, Rule]:
    """Two k-point laws with the same moments 1..2k - 2: off-diagonals b, last diagonals 0 and D.

    k at least 1; b, D above 0. Raises ValueError or TypeError by name.

    >>> (x, w), (y, v) = worst_pair(2)
    >>> [round(float(v @ y**j - w @ x**j), 12) for j in (1, 2, 3)]
    [0.0, 0.0, 0.075]
    """
    integer("worst_pair", "k", k, 1)
    b, D = number("worst_pair", "b", b, 1e-9), number("worst_pair", "D", D, 1e-9)
    off, last = np.full(k - 1, b), np.zeros(k)
    last[-1] = D
    return gauss_rule(np.zeros(k), off), gauss_rule(last, off)


def chi_square_series(
    first: Rule,
    second: Rule,
    sigma: float | int,
    *,
    agree: int = 0,
    terms: int = 200,
) -> float:
    """int (f_1 - f_2)^2 / phi_sigma = sum_j (m_j difference)^2 / (j! sigma^{2j}), exact.

    first, second: (atoms, weights); f_i: their laws plus N(0, sigma^2). agree: moments 1..agree are
    known to be equal and are left out, whose differences are rounding and rule the sum at large
    sigma; terms: at most so many, until they no longer count.
    Raises ValueError or TypeError by name, and where the series has not settled by then.

    >>> round(chi_square_series(*worst_pair(2), 1.0, agree=2), 10)
    0.0009755015
    """
    where = "chi_square_series"
    (x, w), (y, v) = (_rule(where, n, r) for n, r in (("first", first), ("second", second)))
    sigma = number(where, "sigma", sigma, 1e-9)
    integer(where, "agree", agree, 0)
    integer(where, "terms", terms, 1)
    x, y = x / sigma, y / sigma
    reach = float(max(np.abs(x).max(), np.abs(y).max())) ** 2
    total, at_x, at_y = 0.0, w * x**agree, v * y**agree
    for j in range(agree + 1, agree + terms + 1):
        at_x, at_y = at_x * x, at_y * y
        difference = math.fsum([*at_x, *(-at_y)])
        total += difference**2 * math.exp(-math.lgamma(j + 1))
        # a term is at most 4 reach^j / j!, and from j > 2 reach on what is left no more than that
        left = 4 * math.exp(j * math.log(max(reach, 1e-300)) - math.lgamma(j + 1))
        if j > 2 * reach and left <= np.finfo(float).eps * total:
            return total
    if total == 0.0:
        return total
    raise fail(where, "terms", "more: the series has not settled", terms)


def price_exponent(k: int) -> int:
    """4k - 2: a noisy sample costs (sigma_2 / sigma_1)^(4k - 2) clean ones where moments decide.

    >>> price_exponent(3)
    10
    """
    return 4 * integer("price_exponent", "k", k, 1) - 2


def _rule(where: str, argument: str, rule: Any) -> Rule:
    if not isinstance(rule, tuple) or len(rule) != 2:
        raise fail(where, argument, "a pair (atoms, weights)", rule)
    x, w = (finite_array(where, argument, part) for part in rule)
    if x.ndim != 1 or x.shape != w.shape or np.any(w < 0) or abs(w.sum() - 1) > 1e-9:
        raise fail(where, argument, "(k,) atoms and (k,) weights that sum to 1", rule)
    return x, w
