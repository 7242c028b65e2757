"""Policies over subsets for torch: exact log-probabilities for any k, trained by any reward.

`SubsetPolicy` is the law of `plackett_luce` with closed forms in place of a recorded graph: the
score is found in the same pass as log P(S), some sixty nodes of k terms a row, where the authors'
code keeps a tensor of k! x B x k. `OneStepPolicy` maps features of frames (or tokens, documents,
noise candidates) to logits; `training.policy_gradient` states it as a player.
Source: OCSampler (arXiv 2201.04388); sheet `ocsampler`, "Real models".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from ...arrays import categorical
from ...errors import fail, integer
from . import plackett_luce
from .inclusion import set_inclusion, set_inclusion_gradient


# torch types `forward` and `backward` as taking anything: naming the arguments is an override to it
class _LogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        theta, index, taken = plackett_luce._checked("SubsetPolicy.log_prob", logits, chosen)
        log_p, score = plackett_luce._law(theta, index, taken)
        ctx.save_for_backward(score.to(logits.dtype))
        ctx.shape = logits.shape
        return log_p.to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        (score,) = ctx.saved_tensors
        return (grad[..., None] * score).sum_to_size(ctx.shape), None


class _Inclusion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, k: int) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(logits)
        ctx.k = k
        return set_inclusion(logits, k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:  # type: ignore[override]
        (logits,) = ctx.saved_tensors
        return set_inclusion_gradient(logits, ctx.k, grad), None


@dataclass(frozen=True, eq=False)
class SubsetPolicy:
    """The law of k of T drawn at once, of logits (..., T): frames, tokens, documents, candidates.

    Differentiable in the logits (once). Raises ValueError or TypeError by name.

    >>> policy = SubsetPolicy(torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True), 2)
    >>> policy.log_prob(torch.tensor([[2, 1]])).exp().detach()  # .67 .24/.33 + .24 .67/.76
    tensor([0.7019])
    """

    logits: torch.Tensor
    k: int

    def __post_init__(self) -> None:
        if not isinstance(self.logits, torch.Tensor):
            kind = type(self.logits).__name__
            raise TypeError(f"SubsetPolicy: logits must be a torch tensor, got {kind}")
        plackett_luce._logits("SubsetPolicy", self.logits)
        integer("SubsetPolicy", "k", self.k, 1, self.logits.shape[-1])

    def sample(self, rng: Any, *, by: str = "gumbel") -> torch.Tensor:
        """A draw for each row, (..., k) int64, in the order drawn; `by` as in `draw_order`."""
        return plackett_luce.draw_order(self.logits.detach(), self.k, rng=rng, by=by)

    def log_prob(self, chosen: torch.Tensor) -> torch.Tensor:
        """log P(S) of sets (..., k), in any order; its backward is the closed form of the score."""
        self._size(chosen)
        return _LogProb.apply(self.logits, chosen)  # type: ignore[return-value]

    def order_log_prob(self, order: torch.Tensor) -> torch.Tensor:
        """log P(i_1..i_k) of the order drawn: unbiased too, of larger variance."""
        self._size(order)
        return plackett_luce.order_log_prob(self.logits, order)

    def inclusion(self) -> torch.Tensor:
        """pi (..., T), exact and differentiable: a reward sum_i r_i pi_i needs no draw."""
        return _Inclusion.apply(self.logits, self.k)  # type: ignore[return-value]

    def entropy(self) -> torch.Tensor:
        """H = -sum p log p over single frames (...): what the authors add, not that of the sets."""
        log_p = self.logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)

    def mode(self) -> torch.Tensor:
        """The most probable set (..., k), in order of time: what is used at test time."""
        return plackett_luce.set_mode(self.logits.detach(), self.k)

    def _size(self, chosen: torch.Tensor) -> None:
        if tuple(chosen.shape[-1:]) != (self.k,):
            raise fail("SubsetPolicy", "chosen", f"of shape (..., {self.k})", tuple(chosen.shape))


@dataclass(frozen=True, eq=False)
class BudgetedPolicy:
    """First how many, then which: N ~ softmax(budget) on 1..N_max, then the set law with k = N.

    logits: (B, T); budget: (B, N_max). Raises ValueError or TypeError by name.
    Source: sheet `ocsampler`, "Frame budget"; its objective by enumeration is `frame_budget`.

    >>> policy = BudgetedPolicy(torch.zeros(1, 3), torch.tensor([[0.0, 9.0]]))
    >>> chosen, size = policy.mode()
    >>> chosen.tolist(), size.tolist()
    ([[0, 1]], [2])
    """

    logits: torch.Tensor
    budget: torch.Tensor

    def __post_init__(self) -> None:
        for name in ("logits", "budget"):
            value = getattr(self, name)
            if not isinstance(value, torch.Tensor) or value.ndim != 2:
                raise TypeError(
                    f"BudgetedPolicy: {name} must be a tensor of two axes, got {value!r}"
                )
            plackett_luce._logits(f"BudgetedPolicy: {name}", value)
        (B, T), (rows, most) = self.logits.shape, self.budget.shape
        if rows != B or not most <= T:
            allowed = f"of shape ({B}, N_max), N_max at most {T}"
            raise fail("BudgetedPolicy", "budget", allowed, tuple(self.budget.shape))

    def sample(self, rng: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """(chosen (B, N_max) in the order drawn, size (B,)): the first `size` of each row count."""
        sizes = categorical(rng, self.budget.detach().softmax(-1), (self.budget.shape[0],)) + 1
        chosen = plackett_luce.draw_order(self.logits.detach(), self.budget.shape[1], rng=rng)
        return chosen, sizes

    def log_prob(self, chosen: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """log pi_N + log P(S | N) (B,), S the first N = size of chosen (B, N_max)."""
        if chosen.shape != self.budget.shape:
            allowed = f"of shape {tuple(self.budget.shape)}"
            raise fail("BudgetedPolicy", "chosen", allowed, tuple(chosen.shape))
        if size.shape != chosen.shape[:1] or bool(((size < 1) | (size > chosen.shape[1])).any()):
            raise fail("BudgetedPolicy", "size", f"(B,) in [1, {chosen.shape[1]}]", size)
        sized = self.budget.log_softmax(-1).gather(1, size[:, None] - 1)[:, 0]
        given = torch.zeros_like(sized)
        for N in size.unique().tolist():
            rows = (size == N).nonzero()[:, 0]
            part = SubsetPolicy(self.logits[rows], N).log_prob(chosen[rows, :N])
            given = given.index_copy(0, rows, part.to(given.dtype))
        return sized + given

    def expected_size(self) -> torch.Tensor:
        """E N (B,), differentiable."""
        sizes = torch.arange(1, self.budget.shape[1] + 1, device=self.budget.device)
        return (self.budget.softmax(-1) * sizes).sum(-1)

    def mode(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(chosen (B, N_max) by falling logit, size (B,)): the likeliest size, then its likeliest
        set."""
        order = torch.argsort(-self.logits.detach(), dim=-1, stable=True)
        return order[:, : self.budget.shape[1]], self.budget.argmax(-1) + 1


class OneStepPolicy(nn.Module):
    """Features of frames (B, T, F) -> logits (B, T); with sizes = N_max also a budget's, in one.

    Each frame is seen beside the mean of its clip; one hidden layer of `width` (none for 0: the
    paper's single linear layer). sizes: 0, or N_max: then (B, T + N_max), the last N_max from the
    mean over frames; `policy(out)` tells them apart. The last layers are drawn N(0, .01^2), so that
    training starts from the uniform law.

    >>> network = OneStepPolicy(4, sizes=2)
    >>> network(torch.zeros(3, 5, 4)).shape
    torch.Size([3, 7])
    """

    def __init__(self, features: int, *, width: int = 64, sizes: int = 0) -> None:
        super().__init__()
        integer("OneStepPolicy", "features", features, 1)
        integer("OneStepPolicy", "width", width, 0)
        self.sizes = integer("OneStepPolicy", "sizes", sizes, 0)
        inner = width or 2 * features
        hidden = (
            nn.Sequential(nn.Linear(2 * features, width), nn.ReLU()) if width else nn.Identity()
        )
        self.hidden, self.frame = hidden, nn.Linear(inner, 1)
        self.budget = nn.Linear(inner, sizes) if sizes else None
        for layer in (self.frame, self.budget):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.hidden(torch.cat([x, x.mean(1, keepdim=True).expand_as(x)], dim=-1))
        frames = self.frame(h)[..., 0]
        return frames if self.budget is None else torch.cat([frames, self.budget(h.mean(1))], dim=1)

    def policy(self, out: torch.Tensor) -> BudgetedPolicy:
        """The budgeted policy of what `forward` returned."""
        if not self.sizes:
            raise ValueError("OneStepPolicy.policy: sizes must be at least 1, got 0")
        return BudgetedPolicy(out[:, : -self.sizes], out[:, -self.sizes :])
