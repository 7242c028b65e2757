"""A model: a callable (x, t) with the path that it lives on and what it predicts.

A testbed's exact denoiser and a real network behind an adapter are the same thing to everything
downstream. Each prediction is a combination m = a x_0 + b eps, as is the state x = alpha x_0 +
sigma eps, so at a fixed level any of them is an affine function of any other and of x.
Notation: sheets `00-notation` and `plan-algebra` (table of parameterisations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from .arrays import Array, namespace
from .errors import one_of, state
from .paths import Path


class Level(NamedTuple):
    """alpha, sigma and, where a velocity is asked for, their time derivatives."""

    alpha: Array
    sigma: Array
    dalpha: Array = None
    dsigma: Array = None

    @classmethod
    def at(cls, path: Path, t: Array) -> Level:
        """The level of this path at t."""
        return cls(path.alpha(t), path.sigma(t), path.dalpha(t), path.dsigma(t))


# m = a x_0 + b eps, beside x = alpha x_0 + sigma eps
MEANING: Mapping[str, Callable[[Level], tuple[Array, Array]]] = MappingProxyType(
    {
        "data": lambda lv: (1.0, 0.0),
        "noise": lambda lv: (0.0, 1.0),
        "score": lambda lv: (0.0, -1 / lv.sigma),
        "velocity": lambda lv: (lv.dalpha, lv.dsigma),
        "v": lambda lv: (-lv.sigma, lv.alpha),
        "flow": lambda lv: (-1.0, 1.0),
    }
)
PREDICTIONS = tuple(MEANING)


def conversion(old: str, new: str, level: Level) -> tuple[Array, Array]:
    """(p, q) with m_new = p x + q m_old at this level.

    Predictions: "data" E[x_0|x_t], "noise" E[eps|x_t], "score", "velocity" (of the path, dx/dt),
    "v" = alpha eps - sigma x_0 (Salimans and Ho), "flow" = eps - x_0. With m_old = a x_0 + b eps
    and m_new = c x_0 + d eps, Cramer's rule gives p = (b c - a d) / D and q = (alpha d - sigma c) /
    D, D = alpha b - sigma a, in which nothing cancels that does not cancel in truth.

    >>> conversion("data", "noise", Level(0.6, 0.8))
    (1.25, -0.7499999999999999)
    """
    one_of("conversion", "old", old, PREDICTIONS)
    one_of("conversion", "new", new, PREDICTIONS)
    if old == new:
        return 0.0, 1.0
    if {old, new} == {"noise", "score"}:  # also at alpha = 0, where D vanishes
        return 0.0, -1 / level.sigma if new == "score" else -level.sigma
    (a, b), (c, d) = MEANING[old](level), MEANING[new](level)
    det = level.alpha * b - level.sigma * a
    return (b * c - a * d) / det, (level.alpha * d - level.sigma * c) / det


def over_event(value: Array, x: Array) -> Array:
    """A number, or an (n,) array shaped to multiply x of shape (n, *event)."""
    if isinstance(value, (int, float)) or value.ndim == 0:
        return value
    return namespace(value).reshape(value, (-1,) + (1,) * (x.ndim - 1))


@dataclass(frozen=True, eq=False)
class Model:
    """A callable (x, t, **cond) that predicts one of `PREDICTIONS` on a path.

    x: (n, *event); t: a number or (n,); the result has the shape of x. `cond` holds conditions
    that every call receives (class labels, embeddings).

    >>> from fewtheory import paths
    >>> shrink = Model(lambda x, t: 0.5 * x, paths.EDM(), "data")
    >>> import numpy as np; float(shrink.predicting("noise")(np.ones((1, 1)), 2.0)[0, 0])
    0.25
    """

    function: Callable[..., Array]
    path: Path
    prediction: str = "noise"
    cond: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("Model", "prediction", self.prediction, PREDICTIONS)
        if not callable(self.function):
            raise TypeError(f"Model: function must be callable, got {self.function!r}")
        if not isinstance(self.path, Path):
            raise TypeError(f"Model: path must be a Path, got {self.path!r}")

    def __call__(self, x: Array, t: Array, **cond: Any) -> Array:
        state("Model", "x", x)
        if not isinstance(t, (int, float)) and not hasattr(t, "dtype"):
            raise TypeError(f"Model: t must be a number or an array, got {t!r}")
        shape = tuple(getattr(t, "shape", ()))
        if shape not in ((), (x.shape[0],)):
            raise ValueError(f"Model: t must be a number or of shape ({x.shape[0]},), got {shape}")
        self.path.check_t("Model", t)
        return self.function(x, t, **{**self.cond, **cond})

    def predicting(self, prediction: str) -> Model:
        """The same model, expressed in another prediction."""
        one_of("Model.predicting", "prediction", prediction, PREDICTIONS)
        if prediction == self.prediction:
            return self

        def converted(x: Array, t: Array, **cond: Any) -> Array:
            p, q = conversion(self.prediction, prediction, Level.at(self.path, t))
            return over_event(p, x) * x + over_event(q, x) * self.function(x, t, **cond)

        return replace(self, function=converted, prediction=prediction)

    def given(self, **cond: Any) -> Model:
        """The same model with these conditions fixed."""
        return replace(self, cond={**self.cond, **cond})


def guided(unconditional: Model, conditional: Model, scale: float) -> Model:
    """Classifier-free guidance m_u + scale (m_c - m_u), in the conditional model's prediction.

    Source: Ho and Salimans; sheet `dpm-solver-pp`, "Guidance". An affine combination with weights
    that sum to one is the same in every prediction.
    """
    if unconditional.path != conditional.path:
        raise ValueError(
            f"guided: unconditional must be on the path of conditional, {conditional.path!r}, "
            f"got {unconditional.path!r}"
        )
    free = unconditional.predicting(conditional.prediction)

    def combined(x: Array, t: Array, **cond: Any) -> Array:
        without = free.function(x, t, **free.cond)
        return without + scale * (
            conditional.function(x, t, **{**conditional.cond, **cond}) - without
        )

    return Model(combined, conditional.path, conditional.prediction)


def classifier_guided(
    model: Model, grad_log_prob: Callable[[Array, Array], Array], scale: float
) -> Model:
    """Classifier guidance: eps - scale sigma grad log p(c | x_t), in the noise prediction.

    grad_log_prob(x, t) is the gradient of the log class probability in x, of the shape of x.
    Source: Dhariwal and Nichol; sheet `dpm-solver-pp`, "Guidance".
    """
    noise = model.predicting("noise")

    def combined(x: Array, t: Array, **cond: Any) -> Array:
        sigma = over_event(model.path.sigma(t), x)
        return noise.function(x, t, **{**noise.cond, **cond}) - scale * sigma * grad_log_prob(x, t)

    return Model(combined, model.path, "noise")
