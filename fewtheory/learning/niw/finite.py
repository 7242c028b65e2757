"""Finitely many episodes: the whole objective, its optimum by coordinates, and an online version.

    sum_i { E_{q_i} l_i + E KL(q_i || N(mu, Sigma)) } + KL(q || prior)

Per episode the last term is KL / N. Leave it out, as the paper's limit N -> infinity does, and
nothing stops the law from collapsing to a point: what is left falls like d(d+1)/(4 n0) + d/(2 l0)
for ever, so a learned n0 measures how long it was trained. Sheet `niwmeta`, M1, M7 and C4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...arrays import Array, namespace
from ...errors import fail, integer, number
from .. import _forms as forms
from .conjugacy import condition
from .divergence import expected_kl, local, niw_kl
from .episodes import LocalLaw, Quadratic, local_posterior
from .hierarchy import NIW
from .multigamma import multidigamma


def law_excess(n0: float | int, l0: float | int, d: int) -> float:
    """What a law over (mu, Sigma) costs an episode over its point V0/n0, m0, in the limit N -> inf.

    1/2 [d log n0 - psi_d(n0/2) - d log 2] + d/(2 l0), about d(d+1)/(4 n0) + d/(2 l0): no minimum.
    l0 may be infinite. Raises ValueError by name. Source: sheet `niwmeta`, C4.

    >>> import math
    >>> round(law_excess(10, math.inf, 2), 6)
    0.161944
    """
    n0 = number("law_excess", "n0", n0, 0.0)
    if not l0 > 0:
        raise fail("law_excess", "l0", "positive", l0)
    return 0.5 * (d * math.log(n0) - multidigamma(n0 / 2, d) - d * math.log(2)) + d / (2 * l0)


def full_objective(
    law: NIW, prior: NIW, episodes: Sequence[Quadratic], posteriors: Sequence[LocalLaw]
) -> Array:
    """M1 of N episodes: sum_i { E_{q_i} l_i + E KL(q_i || N(mu, Sigma)) } + KL(law || prior).

    Raises ValueError unless there is one posterior for each episode, and one at least.

    >>> import numpy as np
    >>> law = NIW(np.zeros(1), 1.0, np.eye(1), 3.0)
    >>> episode = Quadratic(np.ones(1), np.eye(1))
    >>> q = local_posterior(law, episode)
    >>> round(float(full_objective(law, law, [episode], [q])), 4)
    1.2033
    """
    if len(episodes) != len(posteriors) or not episodes:
        lengths = (len(episodes), len(posteriors))
        raise fail("full_objective", "posteriors", "one for each episode, one or more", lengths)
    each = [
        e.expected(q) + expected_kl(q.m, q.V, law)
        for e, q in zip(episodes, posteriors, strict=True)
    ]
    return sum(each[1:], each[0]) + niw_kl(law, prior)


@dataclass(frozen=True, eq=False)
class Fit:
    """law: the optimum; posteriors: the episodes'; objective: after each sweep; converged."""

    law: NIW
    posteriors: tuple[LocalLaw, ...]
    objective: tuple[float, ...]
    converged: bool


def fit(
    prior: NIW,
    episodes: Sequence[Quadratic],
    *,
    tolerance: float | int = 1e-10,
    sweeps: int = 10_000,
) -> Fit:
    """The law of all episodes: M3 for each and M7 for the law in turn, each an exact minimum.

    Begins with each episode at its own optimum: from too wide a law sweeps go faster than from too
    narrow a one. Stops when a sweep lowers the objective by less than tolerance times 1 +
    |objective|.
    Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> prior = NIW(np.zeros(1), 0.1, np.eye(1), 3.0)
    >>> found = fit(prior, [Quadratic(np.array([c]), np.eye(1)) for c in (0.0, 1.0, 5.0)])
    >>> found.converged, found.law.m0.round(3).tolist()
    (True, [1.884])
    """
    number("fit", "tolerance", tolerance, 0.0)
    integer("fit", "sweeps", sweeps, 1)
    if not len(episodes):
        raise fail("fit", "episodes", "one or more", episodes)
    xp = namespace(prior.m0)
    law = condition(prior, xp.stack([e.mbar for e in episodes]))
    values: list[float] = []
    for _ in range(sweeps):
        posteriors = tuple(local_posterior(law, e) for e in episodes)
        law = condition(
            prior, xp.stack([q.m for q in posteriors]), xp.stack([q.V for q in posteriors])
        )
        values.append(float(full_objective(law, prior, episodes, posteriors)))
        if len(values) > 1 and values[-2] - values[-1] <= tolerance * (1 + abs(values[-1])):
            return Fit(law, posteriors, tuple(values), True)
    return Fit(law, posteriors, tuple(values), False)


class OnlineNIW:
    """The law of a stream of episodes: old sufficient statistics are worth `discount` a visit less.

    count <- c count + 1, and so the sums of m_i and of V_i + m_i m_i'; `law` is M7 on them. With
    discount 1 these are the statistics of all episodes, each with the posterior of its own visit.
    An episode is seen once and forgotten. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> online = OnlineNIW(NIW(np.zeros(1), 1.0, np.eye(1), 3.0))
    >>> _ = online.visit(Quadratic(np.ones(1), np.eye(1)))
    >>> online.law.l0, online.law.n0
    (2.0, 4.0)
    """

    def __init__(self, prior: NIW, *, discount: float | int = 1.0) -> None:
        if not 0 < number("OnlineNIW", "discount", discount, 0.0, 1.0):
            raise fail("OnlineNIW", "discount", "in (0, 1]", discount)
        self.prior, self.discount = prior, discount
        self.count, self.first, self.second = 0.0, 0 * prior.m0, 0 * prior.V0

    def visit(self, episode: Quadratic) -> LocalLaw:
        """The episode's posterior under the present law, which then takes it in."""
        q = local_posterior(self.law, episode)
        self.add(q)
        return q

    def add(self, q: LocalLaw) -> None:
        """Take in an episode's posterior N(m, V)."""
        m, V = local("OnlineNIW.add", q.m, q.V, self.prior)
        c = self.discount
        self.count = c * self.count + 1
        self.first = c * self.first + m
        # about m0, not 0: what is subtracted again in `law` is small
        self.second = c * self.second + V + forms.square(m - self.prior.m0, V)

    @property
    def law(self) -> NIW:
        """M7 on the statistics: V = V0 + sum [V_i + D D'] - (sum D)(sum D)' / l, D = m_i - m0."""
        p, N = self.prior, self.count
        moved = self.first - N * p.m0
        strength = p.l0 + N
        V = p.V0 + self.second - forms.square(moved, p.V0) / strength
        return NIW(p.m0 + moved / strength, strength, V, p.n0 + N)
