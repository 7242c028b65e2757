"""Conjugacy: after observations an NIW law is an NIW law, and the evidence is a ratio of constants.

With N episodes known only through their posteriors N(m_i, V_i), the same sums with V_i added are
the coordinate optimum of the whole objective, which a finite number of episodes has and the paper's
limit of infinitely many has not. Sheet `niwmeta`, M7.
"""

from __future__ import annotations

import math

from ...arrays import Array, namespace
from ...errors import fail
from .. import _forms as forms
from .hierarchy import NIW


def condition(prior: NIW, means: Array, covs: Array | None = None) -> NIW:
    """The law after N episodes with posteriors N(m_i, V_i); V_i = 0 where covs are not given.

    l = l0 + N, n = n0 + N, m = (l0 m0 + sum m_i) / l,
    V = V0 + sum [V_i + (m_i - mean)(m_i - mean)'] + l0 N / l (mean - m0)(mean - m0)'

    means (N, d); covs (N, d, d), or (N, d) in a product. Raises ValueError or TypeError by name.
    Source: sheet `niwmeta`, M7.

    >>> import numpy as np
    >>> law = condition(NIW(np.zeros(1), 1.0, np.eye(1), 3.0), np.array([[1.0], [3.0]]))
    >>> law.m0.round(3).tolist(), law.l0, law.n0, law.V0.round(3).tolist()
    ([1.333], 3.0, 5.0, [[5.667]])
    """
    X = forms.floating("condition", "means", means)
    if len(X.shape) != 2 or X.shape[1] != prior.d or X.shape[0] < 1:
        raise fail("condition", "means", f"of shape (N, {prior.d}), N at least 1", tuple(X.shape))
    xp, N = namespace(X, prior.m0), X.shape[0]
    mean = xp.mean(X, axis=0)
    U = X - mean
    spread = xp.sum(U * U, axis=0) if prior.product else U.T @ U
    if covs is not None:
        C = forms.floating("condition", "covs", covs)
        if tuple(C.shape) != (N, *prior.V0.shape):
            raise fail("condition", "covs", f"of shape {(N, *prior.V0.shape)}", tuple(C.shape))
        spread = spread + xp.sum(C, axis=0)
    strength = prior.l0 + N
    away = forms.square(mean - prior.m0, prior.V0)
    V = prior.V0 + spread + prior.l0 * N / strength * away
    m = (prior.l0 * prior.m0 + xp.sum(X, axis=0)) / strength
    return NIW(m, strength, V, prior.n0 + N)


def log_evidence(prior: NIW, X: Array) -> Array:
    """log p(X) of N parameter vectors (N, d), drawn from one (mu, Sigma) ~ prior.

    -N d/2 log pi + log Gamma_d(n/2) - log Gamma_d(n0/2) + n0/2 log|V0| - n/2 log|V| + d/2 log(l0/l)

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> X = np.array([[0.5]])
    >>> bool(abs(log_evidence(law, X) - law.predictive().log_prob(X[0])) < 1e-12)
    True
    """
    after = condition(prior, X)
    N, d = X.shape[0], prior.d
    return (
        -N * d / 2 * math.log(math.pi)
        + after.log_gamma()
        - prior.log_gamma()
        + prior.n0 / 2 * forms.logdet(prior.V0)
        - after.n0 / 2 * forms.logdet(after.V0)
        + d / 2 * math.log(prior.l0 / after.l0)
    )
