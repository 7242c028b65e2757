"""How far the generated variance errs when clean and noisy samples are pooled, for every weighting.

In a direction of variance c the flow from noise to sigma_n uses both kinds of sample, and below
sigma_n only the clean ones speak, so that the generated variance errs by W1 d_1 + W2 d_2 with
W1 + W2 = 1 and W1 >= rho = sigma_n^2 / (c + sigma_n^2), whatever the weights above sigma_n: a floor
2 rho^2 / n1 that no number of noisy samples lowers. Only consistency below sigma_n lifts it.
With g = 1 - rho = c / (c + sigma_n^2), r = n2 / n1 and W2 = g r h,

    Var(log var) = 2 [W1^2 / n1 + W2^2 / (n2 g^2)] = (2 / n1) [(1 - g r h)^2 + r h^2],

so that a weighting is one function h(g, r). Source: sheet `ambient-scaling`, M7 (to first order in
1/n; "ours" there: neither the formula nor the floor is in the paper).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...arrays import Array, namespace
from ...errors import fail, number, one_of
from .._forms import floating
from .loss_share import loss_share

Share = Callable[[Any, Array, Array], tuple[Array, Array]]


def clean_only_share(xp: Any, g: Array, r: Array) -> tuple[Array, Array]:
    """Noisy samples are left out: W2 = 0."""
    return 0 * g, 0 * r


def inverse_variance_share(xp: Any, g: Array, r: Array) -> tuple[Array, Array]:
    """Each kind weighed by its inverse variance above sigma_n: W2 = g n2 g^2 / n_eff."""
    h = g**2 / (1 + r * g**2)
    return h, -(h**2)


def likelihood_share(xp: Any, g: Array, r: Array) -> tuple[Array, Array]:
    """The most likely variance, which consistency below sigma_n reaches: W2 = n2 g^2 / n_eff."""
    h = g / (1 + r * g**2)
    return h, -g * h**2


def best_share(xp: Any, g: Array, r: Array) -> tuple[Array, Array]:
    """The best without consistency: the likelihood's share, but never more than g (W1 >= rho).

    While n1 / n_eff >= rho that is no restriction; from there on no clean sample is used above
    sigma_n.
    """
    free, d_free = likelihood_share(xp, g, r)
    bound = r * free > 1  # W2 = g r h > g
    most = 1 / xp.where(bound, r, xp.ones_like(r))
    return xp.where(bound, most, free), xp.where(bound, -(most**2), d_free)


@dataclass(frozen=True)
class Weighting:
    """A way to pool: share(xp, g, r) = (h, dh/dr); reaches_below: whether noisy samples also speak
    below sigma_n, so that no floor is left; uses_noisy: whether they speak at all."""

    name: str
    share: Share
    reaches_below: bool = False
    uses_noisy: bool = True


WEIGHTINGS = {
    w.name: w
    for w in (
        Weighting("clean", clean_only_share, uses_noisy=False),
        Weighting("inverse variance", inverse_variance_share),
        Weighting("loss", loss_share),
        Weighting("best", best_share),
        Weighting("consistency", likelihood_share, reaches_below=True),
        Weighting("likelihood", likelihood_share, reaches_below=True),
    )
}


def noisy_share(
    c: Array, sigma_n: float | int, n_clean: float | int, n_noisy: float | int, weighting: str
) -> Array:
    """W2 = g r h, by which a relative error of the noisy estimate enters the generated variance.

    Arguments and errors as `relative_variance`, n_clean above 0.

    >>> import numpy as np
    >>> noisy_share(np.array([0.02]), 0.2, 200, 1800, "best").round(6).tolist()  # 1 - rho
    [0.333333]
    """
    xp, g, n1, n2, how = _asked("noisy_share", c, sigma_n, n_clean, n_noisy, weighting)
    if n1 == 0:
        raise fail("noisy_share", "n_clean", "above 0", n_clean)
    r = 0 * g + n2 / n1
    return g * r * how.share(xp, g, r)[0]


def relative_variance(
    c: Array, sigma_n: float | int, n_clean: float | int, n_noisy: float | int, weighting: str
) -> Array:
    """Variance of the generated variance over its square, in each direction.

    c: (d,) variances, not negative; sigma_n: the noisy samples' level, in the units of the data;
    n_clean, n_noisy: sample sizes, numbers; weighting: "clean" (noisy ones left out), "inverse
    variance", "loss" (what the plain loss does), "best" (of all weights above sigma_n),
    "consistency" and "likelihood" (2 / n_eff, n_eff = n1 + n2 g^2). To first order in 1/n;
    infinite where no clean sample speaks below sigma_n. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> relative_variance(np.array([1.0, 0.02]), 0.2, 200, 1800, "best").round(7).tolist()
    [0.0010728, 0.0055556]
    """
    xp, g, n1, n2, how = _asked("relative_variance", c, sigma_n, n_clean, n_noisy, weighting)
    if n1 == 0:
        seen = n2 * g**2 if how.reaches_below else 0 * g
        return xp.where(seen > 0, 2 / xp.where(seen > 0, seen, xp.ones_like(g)), xp.inf + 0 * g)
    return _scaled(xp, how, g, n2 / n1)[0] / n1


def variance_slopes(
    c: Array, sigma_n: float | int, n_clean: float | int, n_noisy: float | int, weighting: str
) -> tuple[Array, Array]:
    """Derivatives of `relative_variance` in n_clean and in n_noisy; n_clean above 0.

    The second may be positive under "loss": where c is far below sigma_n^2 the first noisy samples
    do harm, because the loss weighs them as if their target were as sharp as a clean one.

    >>> import numpy as np
    >>> slopes = variance_slopes(np.array([1.0]), 1.0, 100, 0, "likelihood")
    >>> round(float(slopes[0][0] / slopes[1][0]), 9)  # (1 + sigma_n^2 / c)^2
    4.0
    """
    xp, g, n1, n2, how = _asked("variance_slopes", c, sigma_n, n_clean, n_noisy, weighting)
    if n1 == 0:
        raise fail("variance_slopes", "n_clean", "above 0", n_clean)
    r = n2 / n1
    value, slope = _scaled(xp, how, g, r)
    return -(value + r * slope) / n1**2, slope / n1**2


def variance_floor(c: Array, sigma_n: float | int, n_clean: float | int, weighting: str) -> Array:
    """The limit of `relative_variance` for ever more noisy samples: 2 rho^2 / n1, or 0, or 2 / n1.

    >>> import numpy as np
    >>> variance_floor(np.array([0.02]), 0.2, 200, "best").round(7).tolist()
    [0.0044444]
    """
    xp, g, n1, _, how = _asked("variance_floor", c, sigma_n, n_clean, 0, weighting)
    left = 0 * g if how.reaches_below else (1 - g) ** 2 if how.uses_noisy else 0 * g + 1
    if n1 == 0:
        return xp.where(left > 0, xp.inf + left, left)
    return 2 * left / n1


def _scaled(xp: Any, how: Weighting, g: Array, r: float) -> tuple[Array, Array]:
    """n1 times the relative variance, and its derivative in r = n2 / n1."""
    ratio = 0 * g + r
    h, dh = how.share(xp, g, ratio)
    W2, dW2 = g * r * h, g * (h + r * dh)
    value = 2 * ((1 - W2) ** 2 + r * h**2)
    return value, 2 * (-2 * (1 - W2) * dW2 + h**2 + 2 * r * h * dh)


def _asked(
    where: str, c: Array, sigma_n: Any, n_clean: Any, n_noisy: Any, weighting: str
) -> tuple[Any, Array, float, float, Weighting]:
    """The namespace, g, the sizes and the weighting, or an error that names what is wrong."""
    one_of(where, "weighting", weighting, tuple(WEIGHTINGS))
    c, v = floating(where, "c", c), number(where, "sigma_n", sigma_n, 0.0) ** 2
    xp = namespace(c)
    if not bool(xp.all(c >= 0)):
        raise fail(where, "c", "not negative", c)
    n1, n2 = (number(where, k, n, 0.0) for k, n in (("n_clean", n_clean), ("n_noisy", n_noisy)))
    # at sigma_n = 0 a noisy sample is a clean one, also in a direction without variance
    g = c / (c + v) if v > 0 else xp.ones_like(c)
    return xp, g, n1, n2, WEIGHTINGS[weighting]
