"""Preference training of a few-step student: the best against the worst of k re-noised candidates.

A student that predicts x0hat and re-noises is a Gaussian policy, p(z | z_t) = N(alpha_s x0hat(z_t),
sigma_s^2 I), so the log ratio against a frozen reference is exact, and of a pair it is linear,

    H = log p/p_ref (w) - log p/p_ref (l) = (mean - reference) . (w - l) / sigma^2,

with no quadratic part. The loss is -E log sigmoid(beta H), w and l the best and the worst of k
draws by a reward that sees noisy states. What must not be confused: with labels by such a rule,
which are no Bradley-Terry labels, the loss has no finite minimum, and the reference holds nothing
back (`preference_theory`); beside it a distillation loss must. The step to sigma = 0 has no
density. Flash-DMD (Chen et al., arXiv 2511.20549), sheet `flash-dmd`, "Stage 2", C1-C3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from ...arrays import Array, Rng, standard_normal
from ...errors import fail, integer, number, state
from ...model import Model
from ...shapes import Float
from .student import FewSteps, leave, predict

Reward: TypeAlias = Callable[[torch.Tensor, float], torch.Tensor]


def renoise_log_ratio(
    z: Float[Array, "n *event"],
    mean: Float[Array, "n *event"],
    reference: Float[Array, "n *event"],
    sigma: float | int,
) -> Float[Array, "n"]:
    """log N(z; mean, sigma^2) / N(z; reference, sigma^2), of each sample.

    (mean - reference) . (z - (mean + reference) / 2) / sigma^2. z, mean, reference: (n, *event);
    sigma > 0. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> renoise_log_ratio(*(np.full((1, 2), v) for v in (1.0, 1.0, 0.0)), 0.5).tolist()
    [4.0]
    """
    xp, s = _check("renoise_log_ratio", sigma, z=z, mean=mean, reference=reference)
    return _per_sample(xp, (mean - reference) * (z - 0.5 * (mean + reference))) / s**2


def preference_margin(
    winner: Float[Array, "n *event"],
    loser: Float[Array, "n *event"],
    mean: Float[Array, "n *event"],
    reference: Float[Array, "n *event"],
    sigma: float | int,
) -> Float[Array, "n"]:
    """H = (mean - reference) . (winner - loser) / sigma^2, of each sample.

    The difference of two `renoise_log_ratio`, whose quadratic parts cancel. winner, loser: two
    states drawn from one z_t; mean, reference: of the policy and of the frozen one there, all
    (n, *event); sigma > 0: of both. Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> preference_margin(*(np.full((1, 2), v) for v in (1.0, -1.0, 0.3, 0.2)), 0.5).round(6)
    array([1.6])
    """
    given = {"winner": winner, "loser": loser, "mean": mean, "reference": reference}
    xp, s = _check("preference_margin", sigma, **given)
    return _per_sample(xp, (mean - reference) * (winner - loser)) / s**2


def best_and_worst(
    candidates: Float[Array, "k n *event"], scores: Float[Array, "k n"]
) -> tuple[Float[Array, "n *event"], Float[Array, "n *event"]]:
    """The candidate of the highest and that of the lowest score, for each of n states.

    candidates: (k, n, *event), k >= 2; scores: (k, n). Raises ValueError or TypeError by name.

    >>> import numpy as np
    >>> best_and_worst(np.array([[[1.0]], [[2.0]], [[3.0]]]), np.array([[0.0], [5.0], [-1.0]]))
    (array([[2.]]), array([[3.]]))
    """
    xp = state("best_and_worst", "candidates", candidates)
    shape = tuple(candidates.shape)
    if len(shape) < 2 or shape[0] < 2:
        raise fail("best_and_worst", "candidates", "(k, n, *event) with k at least 2", shape)
    if tuple(scores.shape) != shape[:2]:
        raise fail("best_and_worst", "scores", f"of shape {shape[:2]}", tuple(scores.shape))
    k, n, *event = shape
    flat = xp.reshape(candidates, (k * n, *event))
    columns = xp.arange(n, device=candidates.device)
    best, worst = (f(scores, axis=0) * n + columns for f in (xp.argmax, xp.argmin))
    return xp.take(flat, best, axis=0), xp.take(flat, worst, axis=0)


def preference_loss(margin: Float[Array, "n"], beta: float | int) -> Float[Array, ""]:
    """-mean log sigmoid(beta H) over the margins H (n,). Raises ValueError by name.

    >>> import numpy as np
    >>> round(float(preference_loss(np.zeros(3), 2.0)), 6)
    0.693147
    """
    xp = state("preference_loss", "margin", margin)
    scale = number("preference_loss", "beta", beta, 0.0)
    return xp.mean(xp.logaddexp(xp.zeros_like(margin), -scale * margin))


@dataclass(frozen=True, eq=False)
class Preference:
    """What preference training needs beside a student.

    reward(z, t): scores (n,) of states z (n, *event) at time t, higher is better; reference: the
    frozen student as a `Model`, before this training; at: the steps, from 0, whose candidates are
    compared: never the last, whose output has no density. k: candidates; beta: of
    `preference_loss`; ratio: preference updates for one of distillation. Raises ValueError or
    TypeError by name.

    >>> from fewtheory.paths import RectifiedFlow
    >>> exact = Model(lambda x, t: x, RectifiedFlow(), "data")
    >>> Preference(lambda z, t: z.flatten(1).sum(1), exact, at=(0, 1)).k
    4
    """

    reward: Reward
    reference: Model
    at: Sequence[int]
    k: int = 4
    beta: float | int = 1.0
    ratio: int = 5

    def __post_init__(self) -> None:
        if not callable(self.reward):
            raise TypeError(f"Preference: reward must be callable, got {self.reward!r}")
        if not isinstance(self.reference, Model):
            wrong = type(self.reference).__name__
            raise TypeError(f"Preference: reference must be a Model, got {wrong}")
        at = tuple(integer("Preference", "at", step, 0) for step in self.at)
        if not at:
            raise fail("Preference", "at", "one or more steps", self.at)
        object.__setattr__(self, "at", at)
        integer("Preference", "k", self.k, 2)
        integer("Preference", "ratio", self.ratio, 1)
        if not number("Preference", "beta", self.beta, 0.0) > 0:
            raise fail("Preference", "beta", "above 0", self.beta)

    def check(self, where: str, steps: FewSteps, path: Any) -> None:
        """Raise unless these steps of a student have a density, on its path."""
        if steps.step != "renoise":
            raise fail(where, "steps.step", "'renoise': other steps are no Gaussian policy", steps)
        if max(self.at) > steps.count - 2:
            allowed = f"in [0, {steps.count - 2}]: the last step has no density"
            raise fail(where, "preference.at", allowed, self.at)
        if self.reference.path != path:
            raise fail(where, "preference.reference", f"on {path!r}", self.reference.path)

    def loss(
        self, student: Model, steps: FewSteps, like: torch.Tensor, *, rng: Rng, **cond: Any
    ) -> torch.Tensor:
        """The loss at one of the steps `at`, drawn; differentiable in the student there."""
        step = self.at[drawn(len(self.at), rng)]
        here = leave(student, steps, like, rng=rng, exit=step, **cond)
        path, t = student.path, steps.times[step + 1]
        alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
        mean = alpha * here.x0
        with torch.no_grad():
            base = alpha * predict(self.reference.predicting("data"), here.x, here.t, **cond)
            noise = standard_normal(rng, (self.k, *mean.shape), mean)
            candidates = mean.detach() + sigma * noise
            scores = torch.stack([self.reward(z, t) for z in candidates])
            winner, loser = best_and_worst(candidates, scores)
        return preference_loss(preference_margin(winner, loser, mean, base, sigma), self.beta)


def drawn(count: int, rng: Rng) -> int:
    """One of `count` numbers from 0, uniform."""
    if isinstance(rng, torch.Generator):
        return int(torch.randint(count, (), generator=rng, device=rng.device))
    return int(rng.integers(count))


def _check(where: str, sigma: float | int, **states: Array) -> tuple[Any, float]:
    """The namespace and sigma, of states of one shape."""
    (first, x), *others = states.items()
    xp = state(where, first, x)
    for name, other in others:
        state(where, name, other)
        if tuple(other.shape) != tuple(x.shape):
            raise fail(where, name, f"of the shape of {first}, {tuple(x.shape)}", other.shape)
    s = number(where, "sigma", sigma, 0.0)
    if s == 0:
        raise fail(where, "sigma", "above 0: the last step has no density", sigma)
    return xp, s


def _per_sample(xp: Any, x: Array) -> Array:
    return xp.sum(xp.reshape(x, (x.shape[0], -1)), axis=1)
