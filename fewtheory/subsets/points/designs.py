"""Where to evaluate: samples with weights, redrawn until they are stable, thinned while they stay.

A sample is points x_i with weights w_i; all that its fit needs of it is the Gram matrix
G = (1/n) sum w_i phi(x_i) phi(x_i)^T, and it is stable at delta when lambda_min(G) >= 1 - delta.
Conditioning on stability redraws the whole sample; a repulsive law makes that rare.
Source: arXiv 2312.14057; sheet `dpp-wls`, method 1 to 6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...arrays import Array, Rng, as_like, namespace, to_numpy
from ...errors import fail, integer, number, one_of
from ...shapes import Float
from .._host import host_rng
from .dpp import projection_dpp, rows_like
from .reference import Reference, reference
from .spaces import FeatureSpace, Space
from .volume import volume_sample

KINDS = ("iid", "dpp", "volume", "repeated_dpp")
MARGIN = 1e-12  # ties lambda_min = 1 - delta are stable: what rounding may take from them


class UnstableDesign(RuntimeError):
    """No stable sample within the draws that were allowed."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Points to evaluate at, with weights.

    x: the points, (n,) or (n, d); index: the same for rows of a pool, else None; weight: (n,),
    dmu/dnu at each; lambda_min: the smallest eigenvalue of G; draws: samples drawn until this one
    (its price where each is evaluated); kind; delta: the stability that was asked for, or None;
    proposals: of the DPP draws, in all.

    >>> Sample(np.zeros(1), None, np.ones(1), 1.0, 1, "iid").n
    1
    """

    x: Any
    index: Any
    weight: Any
    lambda_min: float
    draws: int
    kind: str
    delta: float | None = None
    proposals: int = 0

    @property
    def n(self) -> int:
        """The number of points."""
        return self.x.shape[0]


def sample(
    space: Space,
    kind: str = "repeated_dpp",
    *,
    n: int | None = None,
    repeats: int | None = None,
    reference: str | Reference = "optimal",
    delta: int | float | None = None,
    max_draws: int = 1000,
    rng: Rng,
) -> Sample:
    """A sample of one of the paper's laws, conditioned on stability if delta is given.

    kind: "iid", n points of the reference; "dpp", the m points of a projection DPP; "volume", n
    points of the volume-rescaled law over the reference; "repeated_dpp", `repeats` independent
    DPPs (or n = repeats m). reference: nu, "optimal" (nu_m), "mu", "mixture" or a `Reference`, for
    "iid" and "volume". delta in (0, 1): the whole sample is redrawn until lambda_min >= 1 - delta,
    at most max_draws times; then `UnstableDesign`. The guarantees differ: "volume" alone is
    unbiased, and only without delta. Weights and indices are of the kind of a pool's A; other
    arrays are NumPy. Raises ValueError by name.

    >>> from fewtheory.subsets.points.spaces import PolySpace
    >>> V, rng = PolySpace("legendre", 9), np.random.default_rng(0)
    >>> S = sample(V, "repeated_dpp", repeats=4, delta=0.5, rng=rng)
    >>> S.n, S.lambda_min >= 0.5
    (40, True)
    """
    where = "sample"
    one_of(where, "kind", kind, KINDS)
    size = _size(space, kind, n, repeats)
    integer(where, "max_draws", max_draws, 1)
    if delta is not None and not 0 < number(where, "delta", delta, 0, 1) < 1:
        raise fail(where, "delta", "more than 0 and less than 1", delta)
    if kind in ("dpp", "repeated_dpp") and reference != "optimal":
        raise fail(where, "reference", f"'optimal' for kind {kind!r}", reference)
    rng, nu = host_rng(where, rng), _resolved(space, reference)
    proposals, largest = 0, -np.inf
    for draws in range(1, max_draws + 1):
        x, asked = _points(space, kind, size, nu, rng)
        proposals += asked
        weight = to_numpy(nu.weight(x))
        smallest = lambda_min(to_numpy(space.features(x)), weight)
        largest = max(largest, smallest)
        if delta is None or stable(smallest, delta):
            return _sample(space, x, weight, smallest, draws, kind, delta, proposals)
    raise UnstableDesign(
        f"sample: no stable sample in max_draws = {max_draws} of kind {kind!r} (n = {size}, "
        f"m = {space.m}, delta = {delta}); the largest lambda_min was {largest:.3g}: take more "
        "points, a larger delta, or 'repeated_dpp'"
    )


_resolved = reference  # `sample` has an argument of that name


def _size(space: Space, kind: str, n: int | None, repeats: int | None) -> int:
    """The number of points, or an error that names n or repeats."""
    where, m = "sample", space.m
    if repeats is not None and kind != "repeated_dpp":
        raise fail(where, "repeats", f"None for kind {kind!r}", repeats)
    if kind in ("iid", "volume"):
        if n is None:
            raise fail(where, "n", f"given for kind {kind!r}", n)
        return integer(where, "n", n, m)
    if kind == "dpp":
        if n not in (None, m):
            raise fail(where, "n", f"{m} or None for kind 'dpp'", n)
        return m
    if (n is None) == (repeats is None):
        raise fail(where, "repeats", "given, or else n", (repeats, n))
    if repeats is not None:
        return m * integer(where, "repeats", repeats, 1)
    integer(where, "n", n, m)
    if n is None or n % m:
        raise fail(where, "n", f"a multiple of m = {m} for kind {kind!r}", n)
    return int(n)


def _points(
    space: Space, kind: str, size: int, nu: Reference, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Points of the law, and the proposals that its DPPs took."""
    if kind == "iid":
        return nu.draw(size, rng), 0
    if kind == "volume":
        return volume_sample(space, size, nu=nu, rng=rng), 0
    drawn = [projection_dpp(space, rng=rng) for _ in range(size // space.m)]
    return np.concatenate([d.x for d in drawn]), sum(d.proposals for d in drawn)


def _sample(
    space: Space, x: np.ndarray, weight: np.ndarray, smallest: float, draws: int, *rest: Any
) -> Sample:
    if not isinstance(space, FeatureSpace):
        return Sample(x, None, weight, smallest, draws, *rest)
    index = rows_like(x, space)
    return Sample(index, index, as_like(weight, space.A), smallest, draws, *rest)


def gram(phi: Array, weight: Array) -> Float[Any, "m m"]:
    """G = (1/n) sum_i w_i phi(x_i) phi(x_i)^T; phi (n, m), weight (n,).

    >>> gram(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 3.0]))
    array([[2. , 1.5],
           [1.5, 1.5]])
    """
    xp = namespace(phi)
    return xp.matmul(xp.matrix_transpose(weight[:, None] * phi), phi) / phi.shape[0]


def lambda_min(phi: Any, weight: Any) -> float:
    """The smallest eigenvalue of G, at least 0."""
    return max(0.0, float(np.linalg.eigvalsh(gram(to_numpy(phi), to_numpy(weight)))[0]))


def stable(smallest: float, delta: int | float) -> bool:
    """Whether lambda_min >= 1 - delta; a tie belongs to it, with a margin for rounding."""
    return smallest >= 1 - delta - MARGIN


def greedy_removal(
    space: Space, sample: Sample, delta: int | float | None = None, *, screen: int = 5
) -> Sample:
    """The sample less as many points as stability allows, one at a time.

    Goes the point without which the *renormalised* G, over the points that are left, has the
    largest lambda_min, while that is at least 1 - delta (default: the sample's own delta). screen:
    eigenvalues are computed for so many points, those that raise tr S^{-1} least,
    u^T S^{-2} u / (1 - u^T S^{-1} u), S = sum u u^T, and for all before it gives up. Bounds on an
    expectation no longer apply, those on each draw do. Raises ValueError if the sample is not
    stable to begin with.

    >>> from fewtheory.subsets.points.spaces import PolySpace
    >>> V, rng = PolySpace("legendre", 4), np.random.default_rng(0)
    >>> S = greedy_removal(V, globals()["sample"](V, repeats=6, delta=0.5, rng=rng))
    >>> 5 <= S.n < 30, S.lambda_min >= 0.5
    (True, True)
    """
    where = "greedy_removal"
    delta = sample.delta if delta is None else delta
    if delta is None or not 0 < number(where, "delta", delta, 0, 1) < 1:
        raise fail(where, "delta", "more than 0 and less than 1", delta)
    integer(where, "screen", screen, 1)
    if not stable(sample.lambda_min, delta):
        raise fail(where, "sample", f"stable at delta = {delta}", sample.lambda_min)
    weight = to_numpy(sample.weight).astype(np.float64)
    u = np.sqrt(weight)[:, None] * to_numpy(space.features(sample.x))
    left, smallest = np.arange(len(u)), sample.lambda_min
    while left.size > space.m:
        k, after = _least_missed(u[left], screen)
        if not stable(after, delta):  # then by all eigenvalues, before giving up
            k, after = _least_missed(u[left], left.size)
        if not stable(after, delta):
            break
        left, smallest = np.delete(left, k), after
    points = as_like(left, sample.x) if sample.index is not None else left
    kept = sample.x[points]
    return replace(
        sample,
        x=kept,
        index=None if sample.index is None else kept,
        weight=sample.weight[points],
        lambda_min=float(smallest),
        delta=float(delta),
    )


def _least_missed(u: np.ndarray, screen: int) -> tuple[int, float]:
    """(the row to remove, lambda_min of the renormalised Gram without it)."""
    S = u.T @ u
    h = np.linalg.solve(S, u.T).T  # S^{-1} u
    with np.errstate(divide="ignore"):
        rise = (h * h).sum(axis=1) / np.maximum(1 - (h * u).sum(axis=1), 0.0)
    tried = np.argsort(rise, kind="stable")[:screen]
    without = (S - u[tried, :, None] * u[tried, None, :]) / (len(u) - 1)
    values = np.linalg.eigvalsh(without)[:, 0]
    best = int(values.argmax())
    return int(tried[best]), float(values[best])
