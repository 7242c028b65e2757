"""Quantised networks: fake quantisation that a test can see through, and storage that saves memory.

| you want | take |
| --- | --- |
| what WwAa costs in quality, in any network | `fake_quantised(network, w, a)`, or `FakeQuantised` |
| a quarter or an eighth of float32's memory | `stored(network, 8)`, `stored(network, 4)` |
| torchao's kernels for the same | `with_torchao(network, 8)`, extra `quant` |

Weights of linear and convolution layers are rounded symmetrically to 2^(b-1) - 1 levels on either
side of 0, one scale a channel of the output; activations one scale a token, at run time (sheet
`q-sched`, "Real models"; the rounding is `compress.bussgang.MidTread`). Embeddings, norms and
biases stay as they are.
"""

from __future__ import annotations

import copy
import functools
import importlib
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..errors import MissingExtra, fail, integer, one_of

LINEAR = (nn.Linear,)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def fake_quantise(x: torch.Tensor, bits: int, dims: int | tuple[int, ...] = -1) -> torch.Tensor:
    """scale * round(x / scale), scale = max |x| over `dims` / (2^(bits-1) - 1), in the dtype of x.

    bits: 2 to 16; dims: the axes that share a scale, the last one by default (one a token).

    >>> fake_quantise(torch.tensor([[0.0, 0.4, -1.4]]), 3)
    tensor([[ 0.0000,  0.4667, -1.4000]])
    """
    levels = _levels("fake_quantise", bits)
    scale = _scale(x, levels, dims)
    return (x / scale).round() * scale


def _levels(where: str, bits: int, name: str = "bits") -> int:
    return 2 ** (integer(where, name, bits, 2, 16) - 1) - 1


def _scale(x: torch.Tensor, levels: int, dims: int | tuple[int, ...]) -> torch.Tensor:
    """max |x| / levels, and 1 where all is 0: subnormal ranges would divide by 0 too."""
    top = x.abs().amax(dims, keepdim=True)
    scale = top / levels
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def layers(network: nn.Module) -> dict[str, Any]:
    """The layers that are quantised, by name: linear ones and convolutions."""
    found = network.named_modules()
    return {name: layer for name, layer in found if isinstance(layer, LINEAR + CONVOLUTIONS)}


def fake_quantised(
    network: nn.Module, weights: int | None = 8, activations: int | None = None
) -> nn.Module:
    """A copy of the network with weights rounded to so many bits, and inputs of layers likewise.

    weights, activations: bits, 2 to 16, None to leave them alone. A linear layer's token is a row,
    a convolution's a place in the image. Raises ValueError and TypeError, by name.

    >>> float(fake_quantised(nn.Linear(3, 2), 4).weight.unique().numel() <= 15 * 2)
    1.0
    """
    copied = copy.deepcopy(_checked("fake_quantised", network))
    rounded = FakeQuantised(copied, weights, activations)
    rounded.__enter__()
    rounded._kept.clear()
    return copied


class FakeQuantised:
    """The same for the network itself, as a context: afterwards it is what it was.

    >>> network = nn.Linear(3, 2)
    >>> before = network.weight.clone()
    >>> with FakeQuantised(network, weights=2):
    ...     inside = network.weight.clone()
    >>> torch.equal(network.weight, before), torch.equal(inside, before)
    (True, False)
    """

    def __init__(
        self, network: nn.Module, weights: int | None = 8, activations: int | None = None
    ) -> None:
        where = type(self).__name__
        self.network = _checked(where, network)
        for name, bits in (("weights", weights), ("activations", activations)):
            if bits is not None:
                _levels(where, bits, name)
        self.weights, self.activations = weights, activations
        self._kept: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._handles: list[Any] = []

    def __enter__(self) -> FakeQuantised:
        for layer in layers(self.network).values():
            weight = layer.weight
            if self.weights is not None:
                self._kept.append((weight, weight.data))
                weight.data = fake_quantise(weight.data, self.weights, _within_channel(weight))
            if self.activations is not None:
                rounded = functools.partial(_rounded, self.activations)
                self._handles.append(layer.register_forward_pre_hook(rounded))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for weight, before in reversed(self._kept):  # a shared weight was kept twice
            weight.data = before
        for handle in self._handles:
            handle.remove()
        self._kept, self._handles = [], []


def _rounded(bits: int, layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A layer's arguments with the first one rounded, a scale a token."""
    channels = -1 if isinstance(layer, LINEAR) else 1 - layer.weight.ndim
    return fake_quantise(args[0], bits, channels), *args[1:]


def _checked(where: str, network: Any) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise TypeError(f"{where}: network must be a torch module, got {type(network).__name__}")
    if not layers(network):
        raise fail(where, "network", "one with linear or convolution layers", network)
    return network


def _within_channel(weight: torch.Tensor) -> tuple[int, ...]:
    return tuple(range(1, weight.ndim))


def stored(network: nn.Module, bits: int = 8) -> nn.Module:
    """A copy whose linear and convolution weights are integers, decoded when a layer runs.

    bits: 8, a byte a weight, or 4, two weights a byte; one scale a channel beside them. The numbers
    are those of `fake_quantised(network, bits)`; they have no gradient. state_dict saves and loads
    them.

    >>> small = stored(nn.Linear(64, 64, bias=False), 4)
    >>> sum(v.numel() * v.element_size() for v in small.state_dict().values())
    2304
    """
    one_of("stored", "bits", bits, (4, 8))
    copied = copy.deepcopy(_checked("stored", network))
    if isinstance(copied, LINEAR + CONVOLUTIONS):
        return StoredLayer(copied, bits)
    for name, layer in layers(copied).items():
        parent, _, child = name.rpartition(".")
        setattr(copied.get_submodule(parent), child, StoredLayer(layer, bits))
    return copied


class StoredLayer(nn.Module):
    """A linear or convolution layer whose weight is int8, or packed int4, and a scale a channel."""

    scale: torch.Tensor
    codes: torch.Tensor
    shape: tuple[int, ...]

    def __init__(self, layer: Any, bits: int) -> None:
        super().__init__()
        weight = layer.weight
        self.bits, self.shape = bits, tuple(weight.shape)
        levels = _levels("StoredLayer", bits)
        scale = _scale(weight.detach(), levels, _within_channel(weight))
        self.register_buffer("scale", scale)
        codes = (weight.detach() / scale).round().to(torch.int8)
        self.register_buffer("codes", codes if bits == 8 else pack(codes))
        del layer.weight
        self.layer = layer

    @property
    def weight(self) -> torch.Tensor:
        """The decoded weight, made anew each time."""
        codes = self.codes if self.bits == 8 else unpack(self.codes, self.shape)
        return codes.to(self.scale.dtype) * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's own forward with the decoded weight."""
        self.layer.weight = self.weight
        try:
            return self.layer(x)
        finally:
            del self.layer.weight


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Two codes of -7 .. 7 a byte, (ceil(n / 2),) uint8: the first in the low half.

    >>> pack(torch.tensor([1, -1, 7], dtype=torch.int8))
    tensor([121,  15], dtype=torch.uint8)
    """
    halves = codes.flatten() + 8
    if halves.numel() % 2:
        halves = torch.cat([halves, halves.new_zeros(1)])
    low, high = halves.to(torch.uint8).reshape(-1, 2).T
    return low | (high << 4)


def unpack(packed: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The codes of this shape, int8, of what `pack` made."""
    halves = torch.stack([packed & 15, packed >> 4], 1).flatten()
    return halves[: torch.Size(shape).numel()].to(torch.int8).sub(8).reshape(shape)


def with_torchao(network: nn.Module, bits: int = 8, **settings: Any) -> nn.Module:
    """A copy whose linear weights are stored by torchao's `quantize_`, with its kernels.

    bits: 8 (`Int8WeightOnlyConfig`, a scale a channel) or 4 (`Int4WeightOnlyConfig`, a scale a
    group; it asks for bfloat16 and, in most versions, for CUDA); settings: of that config. Raises
    MissingExtra where torchao is not installed.
    """
    one_of("with_torchao", "bits", bits, (4, 8))
    _checked("with_torchao", network)
    try:
        torchao = importlib.import_module("torchao.quantization")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torchao":
            raise
        raise MissingExtra("quant", "compress.quantise.with_torchao") from error
    copied = copy.deepcopy(network)
    new, old = f"Int{bits}WeightOnlyConfig", f"int{bits}_weight_only"  # before and from 0.9 on
    config = getattr(torchao, new, None) or getattr(torchao, old)
    torchao.quantize_(copied, config(**settings))
    return copied
