"""Kullback-Leibler divergences of the hierarchy: between two laws over (mu, Sigma), and the average
of those between an episode's posterior and N(mu, Sigma).

Both are closed forms, so the whole objective of the hierarchy is one up to the episodes' losses.
Sheet `niwmeta`, M2 and M8.
"""

from __future__ import annotations

from ...arrays import Array
from ...errors import fail
from .. import _forms as forms
from .hierarchy import NIW

LOG_2 = 0.6931471805599453


def expected_kl(m: Array, V: Array, law: NIW) -> Array:
    """E_{(mu, Sigma) ~ law} KL(N(m, V) || N(mu, Sigma)).

    1/2 [n0 tr(V0^{-1}(V + D D')) + d/l0 - d + log|V0| - log|V| - d log 2 - psi_d(n0/2)], D = m - m0

    m (d,); V in the form of V0: (d, d), or (d,) in a product.
    Raises ValueError or TypeError by name. Source: sheet `niwmeta`, M2.

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 2.0, np.eye(1), 3.0)
    >>> round(float(expected_kl(np.ones(1), np.eye(1), law)), 4)
    2.3852
    """
    m, V = local("expected_kl", m, V, law)
    D = m - law.m0
    P = forms.inverse(law.V0)
    square = V + forms.square(D, V)
    return 0.5 * (
        law.n0 * forms.trace_of_product(P, square)
        + law.d / law.l0
        - law.d
        + forms.logdet(law.V0)
        - forms.logdet(V)
        - law.d * LOG_2
        - law.psi()
    )


def local(where: str, m: Array, V: Array, law: NIW) -> tuple[Array, Array]:
    """(m, V) of an episode's posterior, checked against the law's dimension and form."""
    m = forms.vector(where, "m", m, law.d)
    V = forms.positive(where, "V", V, law.d)
    if forms.is_diagonal(V) != law.product:
        raise fail(where, "V", f"of shape {tuple(law.V0.shape)}", tuple(V.shape))
    return m, V


def niw_kl(q: NIW, p: NIW) -> Array:
    """KL(q || p) of two normal-inverse-Wishart laws of one form.

    1/2 [l2 n D'V^{-1}D + d (l2/l - 1 + log(l/l2))] + n2/2 log(|V|/|V2|) + log Gamma_d(n2/2)
    - log Gamma_d(n/2) + (n - n2)/2 psi_d(n/2) + n/2 (tr(V^{-1} V2) - d)

    Raises ValueError where dimensions or forms differ.

    >>> import numpy as np
    >>> law = NIW(np.zeros(2), 2.0, np.eye(2), 3.0)
    >>> abs(round(float(niw_kl(law, law)), 12))
    0.0
    """
    import math

    if tuple(q.V0.shape) != tuple(p.V0.shape):
        raise fail("niw_kl", "p", f"of a V0 of shape {tuple(q.V0.shape)}", tuple(p.V0.shape))
    d, P, D = q.d, forms.inverse(q.V0), q.m0 - p.m0
    ratio = p.l0 / q.l0
    means = p.l0 * q.n0 * forms.trace_of_product(P, forms.square(D, P))
    means = means + d * (ratio - 1 - math.log(ratio))
    return (
        0.5 * means
        + p.n0 / 2 * (forms.logdet(q.V0) - forms.logdet(p.V0))
        + p.log_gamma()
        - q.log_gamma()
        + (q.n0 - p.n0) / 2 * q.psi()
        + q.n0 / 2 * (forms.trace_of_product(P, p.V0) - d)
    )
