"""Learners over episodes for torch: what they share, and the two that the hierarchy is judged by.

MAML unrolls k gradient steps on the support set and differentiates through them, so its memory
grows with k; the prediction is a point, with one learned noise for all episodes. ProtoNet
classifies by the nearest mean of its embedding. `calibrate` fits that noise, or a temperature, to
validation episodes: no width is judged that nobody chose. Finn et al. 2017, Snell et al. 2017;
sheet `niwmeta`, M9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from ....errors import fail, integer, number, one_of

Data: TypeAlias = tuple[torch.Tensor, torch.Tensor]
LIKELIHOODS = ("gaussian", "categorical")


class Learner:
    """What the hierarchy and its baselines share: a network as a function of its flat weights, a
    likelihood, and one loop over episodes."""

    def __init__(self, model: nn.Module, likelihood: str, noise: float | int, rate: float | int):
        name = type(self).__name__
        if not isinstance(model, nn.Module):
            raise TypeError(f"{name}: model must be a torch.nn.Module, got {model!r}")
        one_of(name, "likelihood", likelihood, LIKELIHOODS)
        self.name, self.model, self.likelihood = name, model, likelihood
        self.rate = number(name, "rate", rate, 0.0)
        self.shapes = {k: p.shape for k, p in model.named_parameters()}
        weights = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        self.m0 = weights.requires_grad_()
        self.log_noise = self._scalar(math.log(number(name, "noise", noise, 1e-30)))
        self.log_temperature = self._scalar(0.0)
        self.optimiser: torch.optim.Optimizer

    def _scalar(self, value: float) -> torch.Tensor:
        return self.m0.detach().new_tensor(value)

    def forward(self, theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The network's outputs (n, k) with the flat weights theta (d,)."""
        sizes = [s.numel() for s in self.shapes.values()]
        parts = zip(self.shapes.items(), theta.split(sizes), strict=True)
        return functional_call(self.model, {k: v.view(s) for (k, s), v in parts}, (x,))

    def log_prob(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """log p(y | out) (..., n)."""
        if self.likelihood == "categorical":
            y = y.expand(out.shape[:-1])
            tempered = out * (-self.log_temperature).exp()
            return tempered.log_softmax(-1).gather(-1, y[..., None])[..., 0]
        z = (y - out) * (-self.log_noise).exp()
        return (-0.5 * z**2 - self.log_noise - 0.5 * math.log(2 * math.pi)).sum(-1)

    def loss(self, support: Data, query: Data) -> torch.Tensor:
        """One episode's loss, a scalar: each learner's own."""
        raise NotImplementedError

    def outputs_after(self, support: Data, x: torch.Tensor) -> torch.Tensor:
        """Outputs (n, k) at x after the support, where a learner predicts by a point."""
        raise NotImplementedError

    def calibrate(self, episodes: Sequence[tuple[Data, Data]]) -> float:
        """Fit to validation episodes what a point lacks: the noise of a Gaussian, or for classes
        the temperature of the logits. Returns the mean log loss of their queries, its least.

        noise^2 = mean |y - f|^2 / k; a temperature to a percent in [e^-5, e^5]. Raises ValueError.
        """
        if not len(episodes) or type(self).outputs_after is Learner.outputs_after:
            raise fail(f"{self.name}.calibrate", "episodes", "one or more, for a point", episodes)
        with torch.no_grad():
            out = torch.cat([self.outputs_after(s, x) for s, (x, _) in episodes])
            y = torch.cat([y for _, (_, y) in episodes])
            if self.likelihood == "gaussian":
                self.log_noise.fill_(0.5 * math.log(float(((y - out) ** 2).mean())))
                return -float(self.log_prob(out, y).mean())
            tried = [(self._tempered(k / 100, out, y), k / 100) for k in range(-500, 501)]
            return self._tempered(min(tried)[1], out, y)

    def _tempered(self, log_temperature: float, out: torch.Tensor, y: torch.Tensor) -> float:
        """The mean log loss at this temperature, which is kept."""
        self.log_temperature.fill_(log_temperature)
        return -float(self.log_prob(out, y).mean())

    def step(self, support: Data, query: Data, *, batched: bool = False) -> float:
        """Visit an episode and move; returns its loss a datum.

        support, query: (x (n, ..), y (n, k)), or y (n,) integers for classes; batched: all with a
        leading axis of episodes, whose losses are averaged.
        """
        data = [*support, *query]
        if not batched:
            data = [v[None] for v in data]
        self._checked(data)

        def one(xs: Any, ys: Any, xq: Any, yq: Any) -> torch.Tensor:
            return self.loss((xs, ys), (xq, yq))

        total = vmap(one, randomness="different")(*data).mean() / (
            data[1].shape[1] + data[3].shape[1]
        )
        self.optimiser.zero_grad()
        total.backward()
        moved = [p for group in self.optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(moved, 10.0)
        self.optimiser.step()
        return float(total.detach())

    def fit(self, draw: Callable[[], tuple[Data, Data]], steps: int) -> list[float]:
        """`steps` visits to batches of episodes that draw() gives; the rate falls to zero."""
        integer(f"{self.name}.fit", "steps", steps, 1)
        first = [group["lr"] for group in self.optimiser.param_groups]
        losses = []
        for k in range(steps):
            for group, rate in zip(self.optimiser.param_groups, first, strict=True):
                group["lr"] = rate * (1 - k / steps)
            losses.append(self.step(*draw(), batched=True))
        return losses

    def _checked(self, data: list[torch.Tensor]) -> None:
        where = f"{self.name}.step"
        for name, x, y in (("support", *data[:2]), ("query", *data[2:])):
            if x.shape[:2] != y.shape[:2] or not x.shape[1]:
                raise fail(where, name, "x and y of as many rows", (x.shape, y.shape))
            self._targets(where, name, y)

    def _targets(self, where: str, name: str, y: torch.Tensor) -> None:
        if self.likelihood == "categorical" and y.dtype != torch.int64:
            raise TypeError(f"{where}: {name} must have integer classes, got {y.dtype}")
        if self.likelihood == "gaussian" and not bool(torch.isfinite(y).all()):
            raise fail(where, name, "finite", y)


def prototype_logits(
    h: torch.Tensor, y: torch.Tensor, h_new: torch.Tensor | None, ways: int
) -> torch.Tensor:
    """-|h' - c|^2 (n, ways) to the class means c of h (n, k), y (n,).

    h' = h_new; where that is not given h, each row left out of the mean of its own class.
    """
    member = (y[:, None] == torch.arange(ways).to(y)).to(h)  # one_hot asks for values
    total, count = member.T @ h, member.sum(0)[:, None]
    if h_new is not None:
        return -((h_new[:, None] - total / count) ** 2).sum(-1)
    others = total - member[..., None] * h[:, None]  # (n, ways, k)
    left = (count.T - member).clamp(min=1)[..., None]
    return -((h[:, None] - others / left) ** 2).sum(-1)


class MAML(Learner):
    """`steps` inner gradient steps of size alpha from m0, the query loss differentiated through
    them (first_order: not).

    learn_alpha, learn_noise: whether the step size (one for all weights) and the Gaussian noise are
    trained as well. Raises ValueError or TypeError by name. Source: Finn et al. 2017.

    >>> learner = MAML(nn.Linear(1, 1), steps=2)
    >>> x = torch.linspace(-1, 1, 5)[:, None]
    >>> loss = learner.step((x, 2 * x), (x, 2 * x))
    >>> learner.adapt((x, 2 * x)).predict(x)[0].shape
    torch.Size([5, 1])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        likelihood: str = "gaussian",
        noise: float | int = 0.1,
        alpha: float | int = 0.01,
        steps: int = 1,
        first_order: bool = False,
        learn_alpha: bool = False,
        learn_noise: bool = False,
        rate: float | int = 1e-3,
    ):
        super().__init__(model, likelihood, noise, rate)
        self.steps = integer("MAML", "steps", steps, 0)
        first = math.log(number("MAML", "alpha", alpha, 1e-30))
        self.log_alpha = self._scalar(first)
        self.first_order = first_order
        extra = ((learn_alpha, self.log_alpha), (learn_noise, self.log_noise))
        scalars = [s.requires_grad_() for wanted, s in extra if wanted]
        groups = [{"params": [self.m0]}]
        groups += [{"params": scalars, "lr": 10 * self.rate}] if scalars else []
        self.optimiser = torch.optim.Adam(groups, lr=self.rate)

    def inner(self, support: Data) -> torch.Tensor:
        """The adapted weights (d,). The inner loss is the mean over the support set of the squared
        error, or of the log loss: the noise does not change the step."""
        x, y = support

        def loss(theta: torch.Tensor) -> torch.Tensor:
            out = self.forward(theta, x)
            if self.likelihood == "gaussian":
                return ((out - y) ** 2).mean()
            return nn.functional.cross_entropy(out, y)  # a temperature does not change it either

        theta = self.m0
        for _ in range(self.steps):
            g = grad(loss)(theta)
            theta = theta - self.log_alpha.exp() * (g.detach() if self.first_order else g)
        return theta

    def outputs_after(self, support: Data, x: torch.Tensor) -> torch.Tensor:
        return self.forward(self.inner(support), x)

    def loss(self, support: Data, query: Data) -> torch.Tensor:
        return -self.log_prob(self.outputs_after(support, query[0]), query[1]).sum()

    def adapt(self, support: Data) -> PointPosterior:
        """The weights after the inner steps on a novel episode."""
        self._targets("MAML.adapt", "support", support[1])
        with torch.no_grad():
            return PointPosterior(self, self.inner(support))


class PointPosterior:
    """One set of weights for an episode, and what it predicts."""

    def __init__(self, learner: MAML, theta: torch.Tensor):
        self.learner, self.theta = learner, theta

    def predict(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of a new y (n, k): of the noise alone; for classes the probabilities
        and zero."""
        with torch.no_grad():
            out = self.learner.forward(self.theta, x)
            if self.learner.likelihood == "categorical":
                p = (out * (-self.learner.log_temperature).exp()).softmax(-1)
                return p, torch.zeros_like(out)
            return out, torch.zeros_like(out) + (2 * self.learner.log_noise).exp()

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """log p(y_j | support) (n,)."""
        with torch.no_grad():
            return self.learner.log_prob(self.learner.forward(self.theta, x), y)


class ProtoNet(Learner):
    """Logits -|h(x) - c|^2 to the means c of the support's embeddings; model: x -> h(x) (n, k).

    ways: classes of an episode, labelled 0 to ways - 1. Raises ValueError or TypeError by name.
    Source: Snell et al. 2017.

    >>> learner = ProtoNet(nn.Linear(2, 2), ways=2)
    >>> x, y = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1])
    >>> loss = learner.step((x, y), (x, y))
    >>> learner.adapt((x, y)).predict(x)[0].argmax(-1)
    tensor([0, 1])
    """

    def __init__(self, model: nn.Module, *, ways: int, rate: float | int = 1e-3):
        super().__init__(model, "categorical", 1.0, rate)
        self.ways = integer("ProtoNet", "ways", ways, 1)
        self.optimiser = torch.optim.Adam([self.m0], lr=self.rate)

    def outputs_after(self, support: Data, x: torch.Tensor) -> torch.Tensor:
        """The logits (n, ways)."""
        h, h_new = self.forward(self.m0, support[0]), self.forward(self.m0, x)
        return prototype_logits(h, support[1], h_new, self.ways)

    def loss(self, support: Data, query: Data) -> torch.Tensor:
        return -self.log_prob(self.outputs_after(support, query[0]), query[1]).sum()

    def adapt(self, support: Data) -> Prototypes:
        """The prototypes of a novel episode."""
        self._targets("ProtoNet.adapt", "support", support[1])
        present = set(support[1].tolist())
        if present != set(range(self.ways)):
            allowed = f"with examples of each class 0 to {self.ways - 1}"
            raise fail("ProtoNet.adapt", "support", allowed, sorted(present))
        return Prototypes(self, support)


class Prototypes:
    """An episode's prototypes, and what they predict."""

    def __init__(self, learner: ProtoNet, support: Data):
        self.learner, self.support = learner, support

    def predict(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The probabilities (n, ways), and zero."""
        with torch.no_grad():
            out = self.learner.outputs_after(self.support, x)
            p = (out * (-self.learner.log_temperature).exp()).softmax(-1)
        return p, torch.zeros_like(p)

    def log_prob(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """log p(y_j | support) (n,)."""
        with torch.no_grad():
            return self.learner.log_prob(self.learner.outputs_after(self.support, x), y)
