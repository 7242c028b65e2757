"""One visit an episode: the average objective of M4 and its gradient, without unrolling anything.

At an episode's own optimum (m_i, V_i) the derivative of min_{m, V} {..} in the law is the partial
one (the envelope theorem), so the inner problem is never differentiated through and needs no
memory of its steps:

    d/dm0 = -n0 V0^{-1} (m_i - m0),   d/dV0 = 1/2 [V0^{-1} - n0 V0^{-1} (V_i + D D') V0^{-1}]

With a loss that is not quadratic and is sampled at m_i + V_i^{1/2} eps the paths through m_i and
V_i count as well (`NIWMeta`). Sheet `niwmeta`, M4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array, as_like, namespace, to_numpy
from ...errors import number
from .. import _forms as forms
from .divergence import local
from .episodes import LocalLaw, Quadratic, local_objective, local_posterior
from .hierarchy import NIW


def envelope_gradient(law: NIW, q: LocalLaw) -> tuple[Array, Array]:
    """The gradient of an episode's profiled objective in (m0, V0), at its posterior q.

    V0 varies among symmetric matrices (in a product, each variance for itself); n0 and l0 are held.
    Raises ValueError or TypeError by name. Source: sheet `niwmeta`, M4.

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> envelope_gradient(law, LocalLaw(np.array([0.25]), np.array([[0.25]])))[0].tolist()
    [-0.75]
    """
    m, V = local("envelope_gradient", q.m, q.V, law)
    P, D = forms.inverse(law.V0), m - law.m0
    gradient_m = -law.n0 * forms.times(P, D)
    square = V + forms.square(D, V)
    inside = P * square * P if law.product else P @ square @ P
    return gradient_m, 0.5 * (P - law.n0 * inside)


@dataclass(frozen=True, eq=False)
class OneTime:
    """law: after the last visit; objective: of each episode when it was visited; visits."""

    law: NIW
    objective: tuple[float, ...]
    visits: int


def one_time(start: NIW, episodes: Iterable[Quadratic], *, rate: float | int = 0.05) -> OneTime:
    """One pass of Adam over a stream of episodes, each visited once and forgotten.

    Moves m0 in units of its own prior deviation and V0 through the logarithm of its Cholesky
    diagonal, so it stays positive definite; n0 and l0 are held (they have no optimum here, C4). The
    rate falls as 1 / sqrt(1 + visit / 100).
    Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> law = NIW(np.zeros(1), 10.0, 10 * np.eye(1), 10.0)
    >>> stream = (Quadratic(rng.normal(3.0, 0.5, 1), np.array([[4.0]])) for _ in range(2000))
    >>> round(float(one_time(law, stream).law.m0[0]), 1)
    3.0
    """
    number("one_time", "rate", rate, 0.0)
    m, S = np.array(to_numpy(start.m0), dtype=np.float64), forms.factor(start.V0)
    S = np.array(to_numpy(S), dtype=np.float64)
    adam, values, law = _Adam(), [], start
    for visit, episode in enumerate(episodes):
        q = local_posterior(law, episode)
        values.append(float(local_objective(law, episode, q)))
        g_m, g_V = (to_numpy(g).astype(np.float64) for g in envelope_gradient(law, q))
        unit = np.sqrt((S * S if S.ndim == 1 else np.sum(S * S, axis=1)) / law.n0)
        step = rate / math.sqrt(1 + visit / 100)
        moves = adam([g_m * unit, _chain(g_V, S)])
        m, S = m - step * unit * moves[0], _moved(S, step * moves[1])
        law = _law(m, S, start)
    return OneTime(law, tuple(values), len(values))


def _chain(g: np.ndarray, S: np.ndarray) -> np.ndarray:
    """d/d(log diagonal, rest over the diagonal) of f(S S'), g = df/dV symmetric."""
    if S.ndim == 1:
        return 2 * g * S * S
    return np.tril(2 * g @ S) * np.diag(S)[:, None]


def _moved(S: np.ndarray, step: np.ndarray) -> np.ndarray:
    if S.ndim == 1:
        return S * np.exp(-step)
    scale = np.diag(S)
    return np.tril(S - step * scale[:, None], -1) + np.diag(scale * np.exp(-np.diag(step)))


def _law(m: np.ndarray, S: np.ndarray, start: NIW) -> NIW:
    V = S * S if S.ndim == 1 else S @ S.T
    like = start.m0
    return NIW(as_like(m, like), start.l0, as_like(V, like), start.n0)


class _Adam:
    """Adam's directions m / (sqrt(v) + 1e-8), with decays 0.9 and 0.99."""

    def __init__(self) -> None:
        self.t, self.m, self.v = 0, [], []

    def __call__(self, gradients: list[np.ndarray]) -> list[Any]:
        if not self.t:
            self.m, self.v = ([np.zeros_like(g) for g in gradients] for _ in range(2))
        self.t += 1
        for k, g in enumerate(gradients):
            self.m[k] = 0.9 * self.m[k] + 0.1 * g
            self.v[k] = 0.99 * self.v[k] + 0.01 * g * g
        a, b = 1 - 0.9**self.t, 1 - 0.99**self.t
        return [m / a / (np.sqrt(v / b) + 1e-8) for m, v in zip(self.m, self.v, strict=True)]


def average_objective(law: NIW, episodes: Iterable[Quadratic]) -> Array:
    """The mean over episodes of min_q { E l + E KL }: what one-time training lowers.

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> round(float(average_objective(law, [Quadratic(np.ones(1), np.eye(1))])), 4)
    1.2033
    """
    values = [local_objective(law, e) for e in episodes]
    return namespace(values[0]).mean(namespace(values[0]).stack(values))
