"""Score identity distillation: a student moved by the Fisher divergence to its teacher.

With D = x0hat_p - x0hat_psi at the student's noised samples, two estimators of
F = E_q |s_p - s_q|^2 in units of alpha^2 / sigma^4,

    L1 = |D|^2,    L2 = D . (x0hat_p - x_0)    (the projected score identity),

and the loss L2 - a L1, differentiated through x_0 and through the input of both networks. With an
exact fake score L1 = L2 = F, and L2 - L1 / 2 has exactly half the gradient of F for any student,
where the weight depends on the level alone; other values of a agree with it only next to the
optimum. 2 L2 - L1 is a lower bound on F, off by the square of the fake score's error: what a run
should log. What must not be confused: with the networks detached the gradient is -D, that of
distribution matching, for every a. Zhou et al. (arXiv 2404.04057), Xie et al. (2510.03095), sheet
`sid-protein`, "Method".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from ..arrays import Array, namespace, standard_normal
from ..errors import fail, integer, number, one_of, state
from ..model import Level, Model, over_event
from ..shapes import Float
from ..train.denoising import AsModel, Levels, edm_weight
from ..train.denoising import Weight as LossWeight
from ..train.player import Batch, Player
from .dmd import Distillation, Settings
from .parts.levels import karras_levels
from .parts.score_difference import full_precision
from .parts.student import FewSteps

SiDWeight: TypeAlias = str | Callable[[Level], Array]
WEIGHTS = ("fisher", "normalised")


@dataclass(frozen=True, eq=False)
class SiDTerms:
    """Of each sample (n,): l1 = |D|^2, l2 = D . (x0hat_p - x_0), size = mean |x0hat_p - x_0|."""

    l1: Float[Array, "n"]
    l2: Float[Array, "n"]
    size: Float[Array, "n"]


def denoising_score(
    x0: Float[Array, "n *event"], x: Float[Array, "n *event"], path: Any, t: Array
) -> Float[Array, "n *event"]:
    """(alpha x_0 - x_t) / sigma^2: the score of x_t given x_0.

    Under q_t it is s_q on average, and E[u(x_t) . s_q(x_t)] = E[u(x_t) . this] for every u: the
    projected score identity.

    >>> import numpy as np
    >>> from fewtheory.paths import EDM
    >>> denoising_score(np.ones((1, 1)), np.zeros((1, 1)), EDM(), 0.5).tolist()
    [[4.0]]
    """
    alpha, sigma = over_event(path.alpha(t), x), over_event(path.sigma(t), x)
    return (alpha * x0 - x) / sigma**2


def sid_terms(
    x0: Float[Array, "n *event"],
    eps: Float[Array, "n *event"],
    t: Array,
    teacher: Model,
    fake: Model,
    *,
    mask: Array | None = None,
    through: bool = True,
    **cond: Any,
) -> SiDTerms:
    """L1, L2 and the normaliser of each sample at x_t = alpha x_0 + sigma eps.

    x0, eps: (n, *event); t: a number or (n,); mask: (n, *event), or of a shape that broadcasts to
    it, zero where a sample has been padded. Differentiable in x0 on torch, through both networks'
    inputs unless `through` is False, which leaves distribution matching's gradient. Raises
    ValueError or TypeError by name.

    >>> import numpy as np
    >>> from fewtheory import paths, testbeds
    >>> wide, narrow = (testbeds.Gaussian([0.0], v).model(paths.EDM()) for v in (3.0, 1.0))
    >>> terms = sid_terms(np.ones((1, 1)), np.zeros((1, 1)), 1.0, wide, narrow)
    >>> float(terms.l1[0]), float(terms.l2[0])
    (0.0625, -0.0625)
    """
    xp = state("sid_terms", "x0", x0)
    for name, model in {"teacher": teacher, "fake": fake}.items():
        if not isinstance(model, Model):
            raise TypeError(f"sid_terms: {name} must be a Model, got {type(model).__name__}")
    if fake.path != teacher.path:
        raise fail("sid_terms", "fake", f"on the path of the teacher, {teacher.path!r}", fake.path)
    if tuple(eps.shape) != tuple(x0.shape):
        raise fail("sid_terms", "eps", f"of the shape of x0, {tuple(x0.shape)}", eps.shape)
    alpha, sigma = teacher.path.alpha(t), teacher.path.sigma(t)
    x = over_event(alpha, x0) * x0 + over_event(sigma, x0) * eps
    seen = x if through else x.detach()
    real = full_precision(teacher.predicting("data")(seen, t, **cond))
    D = real - full_precision(fake.predicting("data")(seen, t, **cond))
    gap = real - x0
    kept = xp.ones_like(x0) if mask is None else mask + 0 * x0
    D, gap = kept * D, kept * gap
    size = _per_sample(xp, xp.abs(gap)) / _per_sample(xp, kept)
    return SiDTerms(_per_sample(xp, D * D), _per_sample(xp, D * gap), size)


def _per_sample(xp: Any, x: Array) -> Array:
    return xp.sum(xp.reshape(x, (x.shape[0], -1)), axis=1)


def sid_loss(
    terms: SiDTerms, level: Level, *, a: float | int = 0.5, weight: SiDWeight = "fisher"
) -> Float[Array, ""]:
    """mean_i w_i (L2 - a L1).

    weight: "fisher", alpha^2 / sigma^4, which makes L1 and L2 the divergence itself; "normalised",
    one over the sample's mean |x0hat_p - x_0| (a constant; at least 1e-5), as in the repository; or
    a function of the `Level`. a: 1/2 is exact, 1 and 1.2 are in use. Raises ValueError by name."""
    share = number("sid_loss", "a", a, -1e6)
    return _mean(_weights(terms, level, weight) * (terms.l2 - share * terms.l1))


def sid_bound(terms: SiDTerms, level: Level) -> Float[Array, ""]:
    """mean w (2 L2 - L1) with the Fisher weight: at most the divergence, off by the fake's error.

    F - E |s_fake - s_q|^2 at the level: log this, not the loss, whose mean is zero at a = 1.
    """
    return _mean(_weights(terms, level, "fisher") * (2 * terms.l2 - terms.l1))


def _weights(terms: SiDTerms, level: Level, weight: SiDWeight) -> Array:
    if callable(weight):
        return weight(level)
    one_of("sid_loss", "weight", weight, WEIGHTS)
    if weight == "fisher":
        return level.alpha**2 / level.sigma**4
    xp = namespace(terms.size)
    size = terms.size.detach() if hasattr(terms.size, "detach") else terms.size
    return 1 / xp.where(size > 1e-5, size, 1e-5 + 0 * size)


def _mean(x: Array) -> Array:
    return namespace(x).mean(x)


def sid(
    student: nn.Module,
    fake: nn.Module,
    as_model: AsModel,
    teacher: Model,
    steps: FewSteps,
    *,
    a: float | int = 1.0,
    weight: SiDWeight = "normalised",
    scale: float | int = 1.0,
    levels: Levels | None = None,
    fake_levels: Levels | None = None,
    fake_weight: LossWeight | None = None,
    every: int = 1,
    reset: tuple[nn.Module, int] | None = None,
    exit_as: str | None = None,
    student_settings: Settings | None = None,
    fake_settings: Settings | None = None,
) -> dict[str, Player]:
    """The players of score identity distillation, "student" and "fake".

    student, fake, as_model, teacher, steps: as in `dmd`; gradients pass through the teacher and the
    fake score to their input, whose parameters must not require any in the teacher's case. a,
    weight: of `sid_loss`; scale: multiplies it (the repositories have 100). levels: where the
    student's loss looks, Karras' grid up to .8 of it by default; fake_levels, fake_weight: of the
    fake score's denoising, by default EDM's weight for data prediction and 1 for others. every:
    fake-score steps a student step. reset: (network, k), the fake network takes that network's
    weights after every k of its moves. exit_as: as in `dmd`. "mask", where a batch has it, is of
    `sid_terms`, and a condition like the others. Raises ValueError or TypeError by name.

    >>> from fewtheory import paths, testbeds
    >>> path, net = paths.EDM(), lambda: nn.Linear(1, 1)
    >>> as_model = lambda network: Model(lambda x, t: network(x), path, "data")
    >>> teacher = testbeds.Gaussian([0.0], 1.0).model(path)
    >>> list(sid(net(), net(), as_model, teacher, FewSteps([2.5])))
    ['student', 'fake']
    """
    parts = Distillation("sid", as_model, teacher, steps, exit_as)
    parts.check(student=student, fake=fake)
    share, factor = number("sid", "a", a, -1e6), number("sid", "scale", scale, 0.0)
    if not callable(weight):
        one_of("sid", "weight", weight, WEIGHTS)
    integer("sid", "every", every, 1)
    path, see = teacher.path, karras_levels(until=0.8) if levels is None else levels
    learn = see if fake_levels is None else fake_levels
    learning = fake_weight
    if fake_weight is None and as_model(fake).prediction == "data":  # of others it is no weight
        learning = edm_weight()

    def student_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        x, cond = parts.split(batch)
        out = parts.leave(networks, x, rng, **cond)
        x0 = out.x0
        t = see(path, x0.shape[0], rng).to(x0)
        eps = standard_normal(rng, x0.shape, x0)
        models = teacher.given(**cond), parts.seen(networks, out, **cond)
        terms = sid_terms(x0, eps, t, *models, mask=cond.get("mask"))
        return factor * sid_loss(terms, Level.at(path, t), a=share, weight=weight)

    def fake_loss(networks: Mapping[str, nn.Module], batch: Batch, rng: Any) -> torch.Tensor:
        x, cond = parts.split(batch)
        with torch.no_grad():
            out = parts.leave(networks, x, rng, **cond)
        return parts.fake_loss(networks, out, learn, learning, rng, **cond)

    settings = dict(fake_settings or {})
    if reset is not None:
        settings["after"] = resetting("fake", *reset)
    return {
        "student": Player(student, student_loss, every=every, **dict(student_settings or {})),
        "fake": Player(fake, fake_loss, **settings),
    }


def resetting(name: str, source: nn.Module, every: int) -> Callable[[Mapping[str, Any], int], None]:
    """What a `Player` does after its moves: after each `every`-th, `name` takes `source`'s
    weights."""
    integer("resetting", "every", every, 1)
    kept = {key: value.detach().clone() for key, value in source.state_dict().items()}

    def after(networks: Mapping[str, nn.Module], moves: int) -> None:
        if moves % every == 0:
            networks[name].load_state_dict(kept)

    return after
