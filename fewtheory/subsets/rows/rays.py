"""Where the ratio ||SAx||_1 / ||Ax||_1 has its extremes: rays of an arrangement, cuts of a graph.

On each cell of the arrangement {a_j.x = 0} both norms are linear, their ratio is quasilinear, and
its extremes lie on the cell's extreme rays: directions orthogonal to r - 1 independent rows,
C(n, r - 1) of them. For the edges of a graph (rows w (e_u - e_v)) the rays are the cuts, 2^(N-1) -
1 sets of nodes.

Source: sheet `lp-sensitivity`, Method, distortion.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ...arrays import Array
from ...errors import fail
from ...shapes import Float
from ._basis import Basis, basis, matrix

RAYS, MOST_RAYS = 10**8, 10**11  # numbers |a_i.x| that an exact p = 1 computes unasked, or asked
CUTS, MOST_CUTS = 18, 26  # nodes of a graph whose cuts are all looked at
WORDS = 2**22  # of a block of rays and rows


def way(where: str, A: np.ndarray, r: int, p: float, exact: bool | None) -> str:
    """Which method gives the distortion: exact None where it is cheap, True or an error, False."""
    if exact is False:
        return "ascent"
    if p == 2:
        return "singular values"
    if p == 1 and is_incidence(A) and A.shape[1] <= (MOST_CUTS if exact else CUTS):
        return "cuts"
    work = math.comb(len(A), r - 1) * len(A)
    if p == 1 and work <= (MOST_RAYS if exact else RAYS):
        return "rays"
    if exact:
        raise fail(where, "exact", "False or None for this p and this many rows and columns", exact)
    return "ascent"


def is_incidence(A: np.ndarray) -> bool:
    """Whether every row is w (e_u - e_v): the edges of a weighted graph.

    >>> is_incidence(np.array([[2.0, -2.0, 0.0]])), is_incidence(np.eye(2))
    (True, False)
    """
    two = (A != 0).sum(axis=1) == 2
    return bool(np.all(two) and np.all(A.sum(axis=1) == 0))


def directions(A: np.ndarray, own: Basis, how: str) -> Iterator[np.ndarray]:
    """Chunks of z (c, r) or of node sets x (c, d), the only places of extremes for p = 1."""
    if how == "cuts":
        nodes, size = A.shape[1], max(1, WORDS // max(A.shape))
        for first in range(1, 2 ** (nodes - 1), size):
            sets = np.arange(first, min(first + size, 2 ** (nodes - 1)))
            yield (sets[:, None] >> np.arange(nodes) & 1).astype(float)
        return
    n, r = own.Q.shape
    combinations = itertools.combinations(range(n), r - 1)
    size = max(1, WORDS // max(n, r))
    while chunk := list(itertools.islice(combinations, size)):
        z = orthogonal(own.Q[np.array(chunk, dtype=np.int64).reshape(len(chunk), r - 1)])
        yield z[z.any(axis=1)]


def orthogonal(rows: np.ndarray) -> np.ndarray:
    """The direction orthogonal to r - 1 rows, for stacks (c, r - 1, r); 0 where they are dependent.

    By cofactors: z_j = (-1)^j det of the rows without column j.

    >>> orthogonal(np.array([[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    size = np.linalg.norm(rows, axis=2, keepdims=True)
    unit = rows / np.where(size > 0, size, 1.0)
    r = rows.shape[2]
    z = np.stack([(-1) ** j * _det(np.delete(unit, j, axis=2)) for j in range(r)], axis=1)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    z = np.where(length > 1e-10, z / np.where(length > 0, length, 1.0), 0.0)
    return z + 0.0  # no negative zeros


def _det(M: np.ndarray) -> np.ndarray:
    """Determinants of (c, k, k), by the rule of Sarrus up to k = 3."""
    k = M.shape[1]
    if k == 0:
        return np.ones(len(M))
    if k == 1:
        return M[:, 0, 0]
    if k == 2:
        return M[:, 0, 0] * M[:, 1, 1] - M[:, 0, 1] * M[:, 1, 0]
    if k == 3:
        return np.einsum("ci,ci->c", M[:, 0], np.cross(M[:, 1], M[:, 2]))
    return np.linalg.det(M)


def profiles(A: Array) -> Float[np.ndarray, "rays n"]:
    """|a_i.x| / ||Ax||_1 on every ray or cut on which ||SAx||_1 / ||Ax||_1 can be extreme.

    profiles(A) @ v are the ratios of weights v (n,) or of many samples (n, k): exact distortions of
    hundreds of samples are one matrix product. For small n and d, in memory at once.

    >>> profiles(np.eye(2)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    host = matrix("profiles", "A", A)
    own = basis(host)
    how = way("profiles", host, own.rank, 1.0, True)
    return np.concatenate([_shares(host, own, z, how) for z in directions(host, own, how)])


def _shares(A: np.ndarray, own: Basis, z: np.ndarray, how: str) -> np.ndarray:
    """|a_i.x| / ||Ax||_1 for a chunk of directions, (c, n)."""
    size = np.abs(z @ (A if how == "cuts" else own.Q).T)
    total = size.sum(axis=1)
    inside = total > 0  # a union of components cuts nothing
    return size[inside] / total[inside, None]
