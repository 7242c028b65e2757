"""The law of a set of k of T: one integral against k! orders, and torch forward and backward.

The peer's form is the authors' code: the chosen probabilities, permuted k! ways, cumulated, the
products added up; on torch with autograd. At k = 8 that is a tensor of 40,320 x B x 8, and k = 20
is out of its reach. The integral takes some sixty nodes of k terms.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from fewtheory.subsets.frames._torch import SubsetPolicy
from fewtheory.subsets.frames.inclusion import set_inclusion
from fewtheory.subsets.frames.plackett_luce import set_log_prob, set_log_prob_by_orders, set_score

from .timing import medians, show


def over_orders(logits: torch.Tensor, chosen: torch.Tensor, orders: torch.Tensor) -> torch.Tensor:
    """log P(S) (B,) as the authors' code has it, with probabilities and cumulated sums."""
    p = logits.softmax(-1).gather(-1, chosen)  # (B, k)
    every = p[:, orders]  # (B, k!, k)
    left = 1 - (every.cumsum(-1) - every)
    return (p.prod(-1, keepdim=True) / left.prod(-1)).sum(-1).log()


def plain_orders(p: list[float]) -> float:
    """P(S) by a loop over orders in plain Python."""
    total = 0.0
    for order in itertools.permutations(p):
        one, gone = 1.0, 0.0
        for q in order:
            one, gone = one * q / (1 - gone), gone + q
        total += one
    return total


def one_set() -> None:
    """A single set on the host: k = 20 of 100 by the integral, and the sum over orders at k = 8."""
    rng = np.random.default_rng(0)
    theta, small = rng.standard_normal(100), rng.standard_normal(20)
    S, few = rng.permutation(100)[:20], np.arange(8)
    p = np.exp(small) / np.exp(small).sum()
    times = medians(
        {
            "integral, T = 100, k = 20: log P": lambda: set_log_prob(theta, S),
            "integral, T = 100, k = 20: score": lambda: set_score(theta, S),
            "inclusion, T = 100, k = 20: all pi": lambda: set_inclusion(theta, 20),
            "integral, T = 20, k = 8: log P": lambda: set_log_prob(small, few),
            "orders, T = 20, k = 8, vectorised": lambda: set_log_prob_by_orders(small, few),
            "orders, T = 20, k = 8, plain Python": lambda: plain_orders(p[few].tolist()),
        },
        rounds=7,
        warm_up=1,
    )
    show("one set, NumPy, float64", times, "integral, T = 100, k = 20: log P")


def batched() -> None:
    """A batch of 64 on torch with its backward pass, as one step of training has it."""
    rng = torch.Generator().manual_seed(0)

    def problem(T: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        theta = torch.randn(64, T, generator=rng, dtype=torch.float64, requires_grad=True)
        return theta, SubsetPolicy(theta, k).sample(rng)

    wide, S20 = problem(100, 20)
    ten, S6 = problem(10, 6)
    orders = torch.tensor(list(itertools.permutations(range(6))))
    times = medians(
        {
            "closed form, T = 100, k = 20": lambda: torch.autograd.grad(
                SubsetPolicy(wide, 20).log_prob(S20).sum(), wide
            ),
            "autograd through the integral, k = 20": lambda: torch.autograd.grad(
                set_log_prob(wide, S20).sum(), wide
            ),
            "closed form, T = 10, k = 6": lambda: torch.autograd.grad(
                SubsetPolicy(ten, 6).log_prob(S6).sum(), ten
            ),
            "orders, T = 10, k = 6, autograd": lambda: torch.autograd.grad(
                over_orders(ten, S6, orders).sum(), ten
            ),
        },
        rounds=7,
        warm_up=1,
    )
    show("64 rows, torch, float64, log P and its gradient", times, "closed form, T = 100, k = 20")
    eight, S8 = problem(20, 8)
    orders = torch.tensor(list(itertools.permutations(range(8))))
    times = medians(
        {
            "closed form, T = 20, k = 8": lambda: torch.autograd.grad(
                SubsetPolicy(eight, 8).log_prob(S8).sum(), eight
            ),
            "orders, T = 20, k = 8, autograd": lambda: torch.autograd.grad(
                over_orders(eight, S8, orders).sum(), eight
            ),
        },
        rounds=3,
        warm_up=1,
    )
    show("the same at k = 8", times, "closed form, T = 20, k = 8")


def main() -> None:
    """Sets by an integral and by orders."""
    one_set()
    batched()


if __name__ == "__main__":
    main()
