"""The gradient of distribution matching: the student's score minus the teacher's, at a noise level.

A student x_0 = G(z) has the law q_0, and x_t = alpha x_0 + sigma eps the law q_t. Its score s_q
does not change the loss through its own parameters (its mean under q_t is zero), so

    grad E_t w KL(q_t || p_t) = E[ w alpha (s_q(x_t) - s_p(x_t)) dG ],

with no gradient through either network; s_q is what a fake score learns on the student's samples.
Methods differ in w. What must not be confused: the loss whose gradient this is, KL, and the number
that `as_loss` returns, half the mean square of a normalised gradient, which says nothing of
progress. DMD (Yin et al., arXiv 2311.18828), DMD2 (2405.14867), Diff-Instruct (Luo et al.,
2305.18455), sheet `dmd-base`, "Loss".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from ...arrays import Array, namespace
from ...errors import fail, one_of, state
from ...model import Level, Model, conversion, over_event
from ...shapes import Float

Weight: TypeAlias = Callable[[Level], Array]


def score_difference(
    x: Float[Array, "n *event"], t: Array, teacher: Model, fake: Model, **cond: Any
) -> Float[Array, "n *event"]:
    """s_fake(x, t) - s_teacher(x, t), each model in whatever it predicts.

    Predictions of one kind differ by a multiple of the scores' difference in which x cancels, so
    nothing is lost where one score alone would be. x: x_t (n, *event); t: a number or (n,); the
    models are on one path. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> from fewtheory import paths, testbeds
    >>> wide, narrow = (testbeds.Gaussian([0.0], v).model(paths.EDM()) for v in (3.0, 1.0))
    >>> score_difference(np.ones((1, 1)), 1.0, wide, narrow).round(4).tolist()
    [[-0.25]]
    """
    q = _coefficient("score_difference", x, t, teacher, fake, "score")
    return q * _difference(x, t, teacher, fake, cond)


def dmd_gradient(
    x0: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    t: Array,
    teacher: Model,
    fake: Model,
    *,
    weight: str | Weight = "dmd2",
    **cond: Any,
) -> Float[Array, "n *event"]:
    """The gradient in x_0 of each sample: w alpha (s_fake - s_teacher) at x_t.

    x_t = alpha x_0 + sigma eps. x0: the student's samples (n, *event); eps: noise of that shape; t:
    a number or (n,). weight: "kl" (w = 1); a function of the `Level` (Diff-Instruct); "dmd", w =
    (sigma^2 / alpha) / mean |x0hat_teacher - x_0| over a sample's elements; or "dmd2", that over
    alpha as in its repository, which makes the gradient (x0hat_fake - x0hat_teacher) / mean
    |x0hat_teacher - x_0|. Where that mean is zero the gradient is. The last two are no gradient of
    any loss: the field has a curl, and in d dimensions its fixed point is off by O(1/d). A guided
    teacher is `fewtheory.guided`'s. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> from fewtheory import paths, testbeds
    >>> wide, narrow = (testbeds.Gaussian([0.0], v).model(paths.EDM()) for v in (3.0, 1.0))
    >>> x0, eps = np.ones((1, 1)), np.zeros((1, 1))
    >>> dmd_gradient(x0, eps, 1.0, narrow, wide, weight="kl").round(4).tolist()
    [[0.25]]
    """
    xp = state("dmd_gradient", "x0", x0)
    if not callable(weight):
        one_of("dmd_gradient", "weight", weight, ("kl", *NORMALISED))
    if tuple(eps.shape) != tuple(x0.shape):
        raise fail("dmd_gradient", "eps", f"of the shape of x0, {tuple(x0.shape)}", eps.shape)
    alpha, sigma = teacher.path.alpha(t), teacher.path.sigma(t)
    x = over_event(alpha, x0) * x0 + over_event(sigma, x0) * eps
    if isinstance(weight, str) and weight in NORMALISED:
        return _normalised(xp, x0, x, t, teacher, fake, NORMALISED[weight](alpha), cond)
    q = _coefficient("dmd_gradient", x, t, teacher, fake, "score")
    w = weight(Level.at(teacher.path, t)) if callable(weight) else 1.0
    return over_event(w * alpha, x) * q * _difference(x, t, teacher, fake, cond)


# what multiplies (x0hat_fake - x0hat_teacher) / mean |x0hat_teacher - x_0|
NORMALISED: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"dmd": lambda alpha: alpha, "dmd2": lambda alpha: 1.0}
)


def _normalised(
    xp: Any,
    x0: Array,
    x: Array,
    t: Array,
    teacher: Model,
    fake: Model,
    factor: Array,
    cond: Mapping[str, Any],
) -> Array:
    """(x0hat_fake - x0hat_teacher) over the sample's mean |x0hat_teacher - x_0|, times a factor."""
    q = _coefficient("dmd_gradient", x, t, teacher, fake, "data")
    m = full_precision(teacher(x, t, **cond))
    difference = q * (full_precision(fake.predicting(teacher.prediction)(x, t, **cond)) - m)
    p, q = conversion(teacher.prediction, "data", Level.at(teacher.path, t))
    distance = xp.abs(over_event(p, x) * x + over_event(q, x) * m - x0)
    size = xp.mean(xp.reshape(distance, (x.shape[0], -1)), axis=1)
    inverse = xp.where(size > 0, 1 / xp.where(size > 0, size, xp.ones_like(size)), 0 * size)
    return over_event(factor * inverse, x) * difference


def _coefficient(
    where: str, x: Array, t: Array, teacher: Model, fake: Model, prediction: str
) -> Array:
    """q such that `prediction` of the fake minus that of the teacher is q times the difference."""
    state(where, "x", x)
    for name, model in {"teacher": teacher, "fake": fake}.items():
        if not isinstance(model, Model):
            raise TypeError(f"{where}: {name} must be a Model, got {type(model).__name__}")
    if fake.path != teacher.path:
        raise fail(where, "fake", f"on the path of the teacher, {teacher.path!r}", fake.path)
    return over_event(conversion(teacher.prediction, prediction, Level.at(teacher.path, t))[1], x)


def _difference(x: Array, t: Array, teacher: Model, fake: Model, cond: Mapping[str, Any]) -> Array:
    """The fake's prediction minus the teacher's, in the teacher's kind."""
    mine = fake.predicting(teacher.prediction)(x, t, **cond)
    return full_precision(mine) - full_precision(teacher(x, t, **cond))


def full_precision(x: Array) -> Array:
    """x, in float32 where a network under autocast gave half precision."""
    xp = namespace(x)
    halves = [getattr(xp, name) for name in ("float16", "bfloat16") if hasattr(xp, name)]
    return xp.astype(x, xp.float32) if x.dtype in halves else x
