"""Several students, each with a part of the conditions: what a partition is worth before a run.

Students of one part share what they cannot make depend on the condition, here a covariance: N(free
mean, one Sigma) against teachers N(m_y, C_y). Reverse KL over the part is least at mean m_y and the
harmonic mean of the covariances, Sigma^{-1} = Lambda = sum w_y C_y^{-1} / w_P, and is then

    J = 1/2 sum_k sum_{y in P_k} w_y (log det C_y + log det Lambda_k) >= 0.

Splitting a part never raises J, and leaves it where the parts' mean precisions agree: what counts
is closeness in what the student cannot represent, not of the means. At the noise rho C_y + rho^2 I
takes the place of C_y, and the best clean Sigma moves from the harmonic to the arithmetic mean.
Song et al. (arXiv 2410.23274), sheet `msd`, "Closed-form core" (ours)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...arrays import Rng, check_rng
from ...errors import fail, finite_array, integer, number
from ...shapes import Float

Parts: TypeAlias = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class PartitionGain:
    """What a partition leaves: value J, per_part (K,) its terms, covs (K, d, d) the best Sigma."""

    value: float
    per_part: Float[np.ndarray, "K"]
    covs: Float[np.ndarray, "K d d"]


def partition_gain(
    covs: Any, parts: Parts, weights: Any = None, *, rho: float | int = 0.0
) -> PartitionGain:
    """J of a partition: the reverse KL that is left, averaged over conditions, and the best
    students.

    covs: (n, d, d), the covariance of each condition, positive definite; parts: lists of conditions
    0..n-1, each in one part; weights: (n,) their probabilities, equal where None; rho: the noise
    level of the loss (alpha = 1). `covs` of the result are clean: less rho^2, which may be
    indefinite under a guided teacher. Raises ValueError by name.

    >>> import numpy as np
    >>> round(partition_gain([np.eye(1), 4 * np.eye(1)], [[0, 1]]).value, 6)
    0.111572
    """
    C, w = _world("partition_gain", covs, weights)
    _check_parts("partition_gain", parts, len(C))
    noise = number("partition_gain", "rho", rho, 0.0) ** 2
    C = C + noise * np.eye(C.shape[1])
    precision, log_det = np.linalg.inv(C), np.linalg.slogdet(C)[1]
    terms, best = [], []
    for part in parts:
        chosen = list(part)
        share = w[chosen].sum()
        mean = np.tensordot(w[chosen], precision[chosen], 1) / share
        terms.append(0.5 * (w[chosen] @ log_det[chosen] + share * np.linalg.slogdet(mean)[1]))
        best.append(np.linalg.inv(mean) - noise * np.eye(C.shape[1]))
    return PartitionGain(float(sum(terms)), np.array(terms), np.stack(best))


def consecutive(n: int, K: int) -> list[list[int]]:
    """Blocks of neighbours, as equal as they can be.

    >>> consecutive(5, 2)
    [[0, 1, 2], [3, 4]]
    """
    integer("consecutive", "n", n, 1)
    parts = np.array_split(np.arange(n), integer("consecutive", "K", K, 1, n))
    return [[int(y) for y in part] for part in parts]


def interleaved(n: int, K: int) -> list[list[int]]:
    """y mod K.

    >>> interleaved(5, 2)
    [[0, 2, 4], [1, 3]]
    """
    integer("interleaved", "n", n, 1)
    return [list(range(k, n, integer("interleaved", "K", K, 1, n))) for k in range(K)]


def equal_partitions(n: int, K: int) -> Iterator[list[list[int]]]:
    """All partitions of n conditions into K parts of one size.

    >>> sum(1 for _ in equal_partitions(8, 4))
    105
    """
    size = integer("equal_partitions", "n", n, 1) // integer("equal_partitions", "K", K, 1, n)
    if size * K != n:
        raise fail("equal_partitions", "K", f"a divisor of {n}", K)

    def split(left: tuple[int, ...]) -> Iterator[list[list[int]]]:
        if not left:
            yield []
            return
        for rest in itertools.combinations(left[1:], size - 1):
            part = [left[0], *rest]
            yield from ([part, *more] for more in split(tuple(y for y in left if y not in part)))

    yield from split(tuple(range(n)))


def by_precision(
    covs: Any, K: int, weights: Any = None, *, rng: Rng, restarts: int = 20, balanced: bool = True
) -> list[list[int]]:
    """A partition of small J: conditions go to the part whose student they cost least.

    Lloyd's iteration with the cost KL(N(m_y, Sigma_k) || N(m_y, C_y)), students at their harmonic
    means, from random parts; balanced: parts of one size (up to one), by an assignment problem.
    The best of `restarts`. covs, weights: as in `partition_gain`. Raises ValueError or TypeError by
    name.

    >>> import numpy as np
    >>> covs = [np.eye(1) * v for v in (1.0, 5.0, 1.1, 5.5)]
    >>> sorted(map(sorted, by_precision(covs, 2, rng=np.random.default_rng(0))))
    [[0, 2], [1, 3]]
    """
    C, w = _world("by_precision", covs, weights)
    K = integer("by_precision", "K", K, 1, len(C))
    integer("by_precision", "restarts", restarts, 1)
    check_rng("by_precision", rng)
    host = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(_seed(rng))
    found = [_lloyd(C, w, K, host.permutation(len(C)) % K, balanced) for _ in range(restarts)]
    parts = min(found, key=lambda part: partition_gain(C, part, w).value)
    return sorted(parts)


def _lloyd(C: np.ndarray, w: np.ndarray, K: int, label: np.ndarray, balanced: bool) -> Any:
    """Parts at which the iteration stands still."""
    from scipy.optimize import linear_sum_assignment

    precision, log_det = np.linalg.inv(C), np.linalg.slogdet(C)[1]
    n = len(C)
    for _ in range(100):
        parts = [[int(y) for y in np.flatnonzero(label == k)] for k in range(K)]
        S = partition_gain(C, parts, w).covs
        cost = np.einsum("yij,kji->yk", precision, S) - np.linalg.slogdet(S)[1] + log_det[:, None]
        if balanced:
            slots = np.arange(-(-n // K) * K) % K if n % K == 0 else np.arange(n) % K
            order = linear_sum_assignment(w[:, None] * cost[:, slots])[1]
            new = slots[order]
        else:
            new = cost.argmin(1)
            for k in set(range(K)) - set(new.tolist()):  # an empty part takes the costliest
                new[(cost[np.arange(n), new]).argmax()] = k
        if np.array_equal(new, label):
            break
        label = new
    return [[int(y) for y in np.flatnonzero(label == k)] for k in range(K)]


def _world(where: str, covs: Any, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    C = finite_array(where, "covs", covs)
    if C.ndim != 3 or C.shape[1] != C.shape[2] or len(C) < 1:
        raise fail(where, "covs", "of shape (n, d, d)", C.shape)
    if np.abs(C - C.swapaxes(1, 2)).max() > 1e-12 * np.abs(C).max():
        raise fail(where, "covs", "symmetric", covs)
    if np.linalg.eigvalsh(C).min() <= 0:
        raise fail(where, "covs", "positive definite", covs)
    w = np.full(len(C), 1 / len(C)) if weights is None else finite_array(where, "weights", weights)
    if w.shape != (len(C),) or w.min() <= 0 or abs(w.sum() - 1) > 1e-9:
        raise fail(where, "weights", f"({len(C)},), positive, of sum 1", weights)
    return C, w


def _check_parts(where: str, parts: Parts, n: int) -> None:
    if sorted(y for part in parts for y in part) != list(range(n)) or not all(map(len, parts)):
        raise fail(where, "parts", f"non-empty, each of 0..{n - 1} in one of them", parts)


def _seed(rng: Any) -> int:
    import torch

    return int(torch.randint(2**62, (), generator=rng, device=rng.device))
