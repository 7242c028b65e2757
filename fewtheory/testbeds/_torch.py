"""The flow map of 1-D mixtures as a torch function: reverse mode, forward mode, any order.

The value comes from the inversion; the derivatives are closed forms of the solution y,
dy/dx = p_t(x) / p_s(y), dy/d(alpha_s, sigma_s) = (E[x_0 | y], E[eps | y]), and at t the same with
a factor -dy/dx. They are made of differentiable operations, so they can be differentiated again.
"""

from __future__ import annotations

from typing import Any

import torch

from ..arrays import Array
from . import inversion
from .inversion import Components, Levels, MakeComponents


def flow_map(components: MakeComponents, z: Array, levels: Levels) -> Array:
    """See `inversion.flow_map`; differentiable in z and in the levels."""
    flat = [torch.as_tensor(v, dtype=z.dtype, device=z.device) for level in levels for v in level]
    return _FlowMap.apply(components, z, *flat)


class _FlowMap(torch.autograd.Function):
    # torch declares these as (*args, **kwargs); the overrides name what they take
    @staticmethod
    def forward(components: MakeComponents, z: Array, *levels: Array) -> Array:  # type: ignore[override]
        return inversion.flow_map(components, z, [levels[:2], levels[2:]])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Array) -> None:
        ctx.components = inputs[0]
        ctx.save_for_backward(*inputs[1:], output)
        ctx.save_for_forward(*inputs[1:], output)

    @staticmethod
    def backward(ctx: Any, grad: Array) -> tuple:  # type: ignore[override]
        _, *levels, _ = ctx.saved_tensors
        slopes = _derivatives(ctx.components, *ctx.saved_tensors)
        grads = [grad * s for s in slopes]
        return (
            None,
            grads[0],
            *(g.sum_to_size(v.shape) for g, v in zip(grads[1:], levels, strict=True)),
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Array:  # type: ignore[override]
        slopes = _derivatives(ctx.components, *ctx.saved_tensors)
        moved = [s * v for s, v in zip(slopes, tangents[1:], strict=True) if v is not None]
        return torch.stack(torch.broadcast_tensors(*moved)).sum(0)


def _derivatives(components: MakeComponents, z: Array, *rest: Array) -> list[Array]:
    """dy / d(z, alpha_t, sigma_t, alpha_s, sigma_s), each (n, d)."""
    at_t, at_s, y = rest[:2], rest[2:4], rest[4]
    here, there = components(z, *at_t), components(y, *at_s)
    jacobian = torch.exp(here.log_density(z) - there.log_density(y))
    before, after = _given(components, here, z, at_t), _given(components, there, y, at_s)
    return [jacobian, *(-jacobian * v for v in before), *after]


def _given(components: MakeComponents, at: Components, z: Array, level: Any) -> tuple[Array, Array]:
    clean = components(z, 1.0, 0.0)
    alpha, sigma = (v[..., None] for v in level)
    return at.means_given(z, clean.means, clean.stds, alpha, sigma)
