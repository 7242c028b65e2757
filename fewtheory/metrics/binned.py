"""KL of a sample to a law whose density is known, on a grid: what a histogram can say exactly.

KL(q || p) >= sum_B q_B log(q_B / p_B) over the cells B of any partition, with p_B integrated and
q_B counted. The plug-in value is biased upwards by (k - 1) / 2n to first order for k cells that q
can reach (Miller, "Note on the bias of information estimates", 1955), which is taken away.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import to_numpy
from ..errors import fail, finite_array
from ..shapes import Float
from .estimate import Estimate, sample

NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)  # along each axis of a cell
LEAST = 1e-12  # of a cell's mass: roundings of the quadrature; a larger p_B makes KL smaller


def cell_masses(law: Any, edges: Sequence[Any]) -> np.ndarray:
    """p_B of the cells between the edges of each axis, by Gauss-Legendre nodes in each.

    law: with `log_prob` of x (n, d); edges: d increasing arrays. Returns an array with an axis for
    each dimension. Cells should be no wider than two of the law's smallest deviations: then the
    error is below 1e-8 of the density's largest.

    >>> from fewtheory.testbeds import Gaussian
    >>> cell_masses(Gaussian([0.0], 1.0), [[-1.0, 0.0, 1.0]]).round(6)
    array([0.341345, 0.341345])
    """
    axes = _edges("cell_masses", edges)
    nodes, weights = [], []
    for e in axes:
        half = np.diff(e)[:, None] / 2
        nodes.append(((e[1:] + e[:-1])[:, None] / 2 + half * NODES).ravel())
        weights.append((half * WEIGHTS).ravel())
    x = np.stack([g.ravel() for g in np.meshgrid(*nodes, indexing="ij")], axis=1)
    density = np.exp(to_numpy(law.log_prob(x))).reshape([n.size for n in nodes])
    for axis, (e, w) in enumerate(zip(axes, weights, strict=True)):
        scaled = density * w.reshape([-1 if k == axis else 1 for k in range(len(axes))])
        density = np.add.reduceat(scaled, np.arange(0, w.size, NODES.size), axis=axis)
        assert density.shape[axis] == e.size - 1
    return density


def binned_kl(x: Float[Any, "n d"], law: Any, edges: Sequence[Any]) -> Estimate:
    """KL of the law of x to `law`, both counted in the cells between `edges`, less its bias.

    sum_B q_B log(q_B / p_B) - (k - 1) / 2n, k the cells that hold a row; all outside of the edges
    is one cell more. x: (n, d), d at most 3; law: a testbed with `log_prob`; edges: d increasing
    arrays. In nats, never above KL itself but for the noise; a cell of less than 1e-12 counts as
    that. The standard error is that of new samples, by the delta method, and says nothing where the
    laws agree (the value is then of the order of sqrt(k / 2) / n). Raises ValueError or TypeError
    by name.

    >>> from fewtheory.testbeds import Gaussian
    >>> bed, edges = Gaussian([0.0], 1.0), [np.linspace(-4, 4, 33)]
    >>> x = bed.sample(10**5, rng=np.random.default_rng(0))
    >>> abs(binned_kl(x, bed, edges).value) < 3e-4, round(binned_kl(x + 0.5, bed, edges).value, 2)
    (True, 0.12)
    """
    axes = _edges("binned_kl", edges)
    if not callable(getattr(law, "log_prob", None)):
        raise TypeError(f"binned_kl: law must have log_prob, got {type(law).__name__}")
    rows = to_numpy(sample("binned_kl", "x", x, least=2))
    n, d = rows.shape
    if d != len(axes):
        raise fail("binned_kl", "edges", f"{d} arrays, one a column of x", len(axes))
    inside, _ = np.histogramdd(rows, axes)
    p = cell_masses(law, axes).ravel()
    q = np.append(inside.ravel(), n - inside.sum()) / n
    p = np.maximum(np.append(p, 1 - p.sum()), LEAST)
    seen = q > 0
    logs = np.log(q[seen] / p[seen])
    value = float(q[seen] @ logs)
    spread = max(0.0, float(q[seen] @ logs**2) - value**2)
    return Estimate(value - (int(seen.sum()) - 1) / (2 * n), math.sqrt(spread / n))


def _edges(where: str, edges: Sequence[Any]) -> list[np.ndarray]:
    """The edges of each axis, increasing."""
    axes = [finite_array(where, "edges", e) for e in edges]
    if not 1 <= len(axes) <= 3:
        raise fail(where, "edges", "1 to 3 arrays, one an axis", len(axes))
    for e in axes:
        if e.ndim != 1 or e.size < 2 or any(b <= a for a, b in itertools.pairwise(e)):
            raise fail(where, "edges", "increasing arrays of 2 or more", e)
    return axes
