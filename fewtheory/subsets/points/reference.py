"""Reference laws nu to draw points from, with the weight w = dmu/dnu that undoes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Rng
from ...errors import fail, one_of
from .._host import host_rng
from .spaces import Space, christoffel

NAMES = ("optimal", "mu", "mixture")


@dataclass(frozen=True, eq=False)
class Reference:
    """A law nu: draw(n, rng) gives n points, weight(x) is dmu/dnu there, sup its supremum.

    name: "optimal" is nu_m, "mu" mu itself, "mixture" (nu_m + mu) / 2, which has w <= 2; others are
    the caller's. sup: None where it is not known.

    >>> from fewtheory.subsets.points.spaces import PolySpace
    >>> nu = reference(PolySpace("legendre", 4), "mixture")
    >>> nu.weight(np.array([0.0, 1.0])).round(4), nu.sup
    (array([1.1743, 0.3333]), 2.0)
    """

    name: str
    draw: Callable[[int, Any], Any]
    weight: Callable[[Any], Any]
    sup: float | None = None


def reference(space: Space, nu: str | Reference) -> Reference:
    """The named reference law of a space, or the given one.

    Raises ValueError for an unknown name and TypeError for what is neither.
    """
    if isinstance(nu, Reference):
        return nu
    if not isinstance(nu, str):
        raise TypeError(f"reference: nu must be a name or a Reference, got {type(nu).__name__}")
    one_of("reference", "nu", nu, NAMES)
    if nu == "mu":
        return Reference(nu, lambda n, rng: space.draw(n, rng=rng), lambda x: 0 * _K(space, x) + 1)
    if nu == "optimal":
        return Reference(
            nu, lambda n, rng: space.draw_optimal(n, rng=rng), lambda x: space.m / _K(space, x)
        )
    return Reference(
        nu,
        lambda n, rng: mixed(space.draw, space.draw_optimal, n, rng),
        lambda x: 2 / (_K(space, x) / space.m + 1),
        2.0,
    )


def _K(space: Space, x: Any) -> Any:
    K = christoffel(space, x)
    return K


def mixed(first: Any, second: Any, n: int, rng: Rng) -> np.ndarray:
    """n points, each from one of two laws with probability 1/2."""
    rng = host_rng("mixed", rng)
    a = int(rng.binomial(n, 0.5))
    return rng.permutation(np.concatenate([first(a, rng=rng), second(n - a, rng=rng)]))


def half_and_half(
    name: str, laws: tuple[Any, Any], density: Callable[[Any], Any], sup: float | None
) -> Reference:
    """The law (laws[0] + laws[1]) / 2 with the given density dnu/dmu."""
    if sup is not None and sup <= 0:
        raise fail("half_and_half", "sup", "positive", sup)
    return Reference(name, lambda n, rng: mixed(*laws, n, rng), lambda x: 1 / density(x), sup)
