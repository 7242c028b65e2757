"""The Bures distance on torch: the gradient in closed form, for all spectra.

The derivative of an eigenvector is infinite where eigenvalues repeat, that of the distance is not:
d|A - B U|^2 = <I - T, dC> + <I - T*, dC*>, with the transport maps T = B U A^{-1} and
T* = A U' B^{-1} (the orthogonal U is a minimiser, so its own change has no effect).
"""

from __future__ import annotations

from typing import Any

import torch

from .gaussian import residual


class _Bures(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, C: torch.Tensor, other_C: torch.Tensor) -> torch.Tensor:
        from array_api_compat import torch as xp

        R, U, A_inverse, B_inverse = residual(xp, C, other_C)
        ctx.save_for_backward(R @ A_inverse, -R @ U.T @ B_inverse)  # I - T, I - T*
        return torch.sum(R**2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if torch.is_grad_enabled():  # the saved maps carry no graph: a second derivative were wrong
            raise RuntimeError("gaussian_w2: differentiable once, got create_graph=True")
        by_C, by_other = (0.5 * (G + G.T) for G in ctx.saved_tensors)
        return grad * by_C, grad * by_other


def bures(C: torch.Tensor, other_C: torch.Tensor) -> torch.Tensor:
    """The squared 2-Wasserstein distance of N(0, C) and N(0, C*), both (d, d); first order only."""
    out: Any = _Bures.apply(C, other_C)
    return out
