"""An episode as a quadratic loss, and its posterior in closed form.

    l(theta) = 1/2 (theta - mbar)' A (theta - mbar) + constant

is exact for linear-Gaussian episodes and stands for the true loss near its optimum elsewhere
(`curvature`, `sgld`). Then the best Gaussian posterior under an NIW law is one solve, at training
and at test. Kim & Hospedales (arXiv 2306.09702), sheet `niwmeta`, M3 and M6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...arrays import Array, namespace
from ...errors import fail, number, one_of
from .. import _forms as forms
from .divergence import expected_kl
from .hierarchy import NIW

PRIORS = ("mode", "training")


@dataclass(frozen=True, eq=False)
class Quadratic:
    """A quadratic loss with minimum `constant` at mbar (d,) and curvature A (d, d) or (d,).

    A is positive semidefinite: directions that an episode says nothing about have curvature 0.
    Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> float(Quadratic(np.zeros(2), np.eye(2))(np.ones(2)))
    1.0
    """

    mbar: Array
    A: Array
    constant: Any = 0.0

    def __post_init__(self) -> None:
        mbar = forms.vector("Quadratic", "mbar", self.mbar)
        object.__setattr__(self, "mbar", mbar)
        A = forms.positive("Quadratic", "A", self.A, mbar.shape[0], semi=True)
        object.__setattr__(self, "A", A)

    def __call__(self, theta: Array) -> Array:
        """The loss at theta (d,)."""
        u = theta - self.mbar
        return 0.5 * forms.trace_of_product(self.A, forms.square(u, self.A)) + self.constant

    def gradient(self, theta: Array) -> Array:
        """A (theta - mbar)."""
        return forms.times(self.A, theta - self.mbar)

    def expected(self, q: LocalLaw) -> Array:
        """E l(theta) for theta ~ N(m, V)."""
        return self(q.m) + 0.5 * forms.trace_of_product(self.A, q.V)


@dataclass(frozen=True, eq=False)
class LocalLaw:
    """An episode's posterior N(m, V): m (d,), V (d, d) or (d,)."""

    m: Array
    V: Array


def linear_episode(X: Array, y: Array, *, noise: float | int) -> Quadratic:
    """The exact loss of y = X theta + noise N(0, I): A = X'X / noise^2, A mbar = X'y / noise^2.

    X (n, d); y (n,); noise: a standard deviation. The constant makes l(theta) = -log p(y | theta).
    Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> episode = linear_episode(np.eye(2), np.array([1.0, 2.0]), noise=0.5)
    >>> episode.mbar.tolist(), episode.A.tolist()
    ([1.0, 2.0], [[4.0, 0.0], [0.0, 4.0]])
    """
    X, y = (forms.floating("linear_episode", k, v) for k, v in (("X", X), ("y", y)))
    if len(X.shape) != 2 or tuple(y.shape) != (X.shape[0],):
        shapes = (tuple(X.shape), tuple(y.shape))
        raise fail("linear_episode", "X", "of shape (n, d) with y (n,)", shapes)
    s = number("linear_episode", "noise", noise, 1e-150)
    xp = namespace(X)
    A = (X.T @ X) / s**2
    mbar = xp.linalg.pinv(X) @ y
    rest = y - X @ mbar
    n = X.shape[0]
    constant = xp.sum(rest * rest) / (2 * s**2) + n / 2 * math.log(2 * math.pi * s**2)
    return Quadratic(mbar, A, constant)


def posterior_under(P: Array, m0: Array, episode: Quadratic) -> LocalLaw:
    """The posterior under the prior N(m0, P^{-1}): V = (A + P)^{-1}, m = V (A mbar + P m0)."""
    A = episode.A
    V = forms.inverse(A + P)
    return LocalLaw(forms.times(V, forms.times(A, episode.mbar) + forms.times(P, m0)), V)


def local_posterior(law: NIW, episode: Quadratic) -> LocalLaw:
    """The episode's best Gaussian: V = (A + n0 V0^{-1})^{-1}, m = V (A mbar + n0 V0^{-1} m0).

    It minimises `local_objective`. Raises ValueError where the shapes of A and V0 differ.
    Source: sheet `niwmeta`, M3 (the paper's eq. 8).

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> local_posterior(law, Quadratic(np.ones(1), np.eye(1))).m.tolist()
    [0.25]
    """
    _fits("local_posterior", law, episode)
    return posterior_under(law.precision(), law.m0, episode)


def local_objective(law: NIW, episode: Quadratic, q: LocalLaw | None = None) -> Array:
    """E_q l + E KL(q || N(mu, Sigma)), at its minimum over q where q is not given.

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> round(float(local_objective(law, Quadratic(np.ones(1), np.eye(1)))), 4)
    1.2033
    """
    _fits("local_objective", law, episode)
    q = local_posterior(law, episode) if q is None else q
    return episode.expected(q) + expected_kl(q.m, q.V, law)


def adapt(law: NIW, episode: Quadratic, *, prior: str = "mode") -> LocalLaw:
    """The posterior of a novel episode.

    prior: "mode", N(m0, V0/(n0 + d + 2)), the paper's; "training", E Sigma^{-1} = n0 V0^{-1} as
    when the law was fitted. The law itself as the prior is `adapt_student`.
    Source: sheet `niwmeta`, M6 (the paper's eq. 13).

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> round(float(adapt(law, Quadratic(np.ones(1), np.eye(1))).m[0]), 6)
    0.142857
    """
    _fits("adapt", law, episode)
    one_of("adapt", "prior", prior, PRIORS)
    dof = law.mode_dof() if prior == "mode" else law.n0
    return posterior_under(dof * forms.inverse(law.V0), law.m0, episode)


def _fits(where: str, law: NIW, episode: Quadratic) -> None:
    if tuple(episode.A.shape) != tuple(law.V0.shape):
        allowed = f"with A of shape {tuple(law.V0.shape)}"
        raise fail(where, "episode", allowed, tuple(episode.A.shape))
