"""LoRA players: a student, its fake score and further experts on one backbone in memory.

A layer's weight W becomes W + (alpha / r) B A with B and A its own of each player, B = 0 at first.
peft puts the layers in place; what is theirs is taken out again and belongs to an `Adapter`, a
module whose parameters are these alone. At rest the backbone is the network that it was, to the
last bit: the frozen teacher. While an adapter is called its matrices stand in the layers. Nothing
switches a flag of a parameter, which would take the gradient from a graph that is already built,
and an optimizer, a moving average (a copy shares the backbone), a checkpoint or one player pulled
towards another find ordinary modules. Hu et al., arXiv 2106.09685.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..arrays import Rng, check_rng
from ..errors import MissingExtra, fail, integer, number, one_of
from ..files import write_whole, writing

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")  # as diffusers' networks name them
STARTS = (True, False, "gaussian", "orthogonal")  # the others change the weights that are shared
CONFIG, WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
MEANS = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
SLOT = "own"  # the name under which peft's layers look for matrices


class _Backbone:
    """The frozen network, its adapted layers by name, and peft's config. Copies are itself."""

    def __init__(self, network: nn.Module, layers: Mapping[str, Any], config: Any) -> None:
        self.network, self.layers, self.config = network, layers, config
        self.blocks: list[Any] = [
            m for m in network.modules() if hasattr(m, "gradient_checkpointing")
        ]

    def __deepcopy__(self, memo: Any) -> _Backbone:
        return self

    @contextlib.contextmanager
    def holding(self, adapter: nn.Module) -> Iterator[None]:
        """The network with this adapter's parts in its layers, and after that what it had."""
        before = []
        try:
            for name, layer in self.layers.items():
                for kind, part in _parts(adapter.get_submodule(name)):
                    held = getattr(layer, kind)
                    before.append((held, held[SLOT] if SLOT in held else None))
                    held[SLOT] = part
            yield
        finally:
            for held, part in reversed(before):
                if part is None:
                    del held[SLOT]
                else:
                    held[SLOT] = part

    @contextlib.contextmanager
    def recomputing(self, adapter: nn.Module) -> Iterator[None]:
        """Blocks that a backward pass computes again do so with this adapter, not another."""
        blocks = [block for block in self.blocks if block.gradient_checkpointing]
        before = [block._gradient_checkpointing_func for block in blocks]
        try:
            for block, checkpoint in zip(blocks, before, strict=True):
                block._gradient_checkpointing_func = partial(_recomputed, self, adapter, checkpoint)
            yield
        finally:
            for block, checkpoint in zip(blocks, before, strict=True):
                block._gradient_checkpointing_func = checkpoint


def _recomputed(
    backbone: _Backbone, adapter: nn.Module, checkpoint: Any, block: Any, *args: Any, **kwargs: Any
) -> Any:
    """A checkpointing function whose block holds the adapter whenever it runs."""
    return checkpoint(partial(_held, backbone, adapter, block), *args, **kwargs)


def _held(backbone: _Backbone, adapter: nn.Module, block: Any, *args: Any, **kwargs: Any) -> Any:
    with backbone.holding(adapter):
        return block(*args, **kwargs)


class Adapter(nn.Module):
    """The backbone with one adapter, called as the network is; made by `adapters`.

    Its parameters and its state are the adapter's alone, under peft's names. The backbone stays in
    evaluation mode: only an adapter's own dropout knows that it is trained. It is shown its input
    in the backbone's dtype, and moves with the adapter to another device.
    """

    def __init__(self, backbone: _Backbone) -> None:
        super().__init__()
        self._backbone = backbone

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """What the network says of x with this adapter."""
        backbone, network = self._backbone, self._backbone.network
        with backbone.holding(self), backbone.recomputing(self):
            return network(x.to(_dtype(network)), *args, **kwargs)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Adapter:
        super()._apply(fn, recurse)
        self._backbone.network.to(next(self.parameters()).device)
        return self


def adapters(
    network: nn.Module,
    names: Sequence[str],
    *,
    rng: Rng,
    rank: int = 8,
    alpha: float | int | None = None,
    target_modules: Sequence[str] | str = ATTENTION,
    **settings: Any,
) -> dict[str, Adapter]:
    """An `Adapter` of the network for each name; the network itself is frozen, in place.

    network: a torch module, afterwards the teacher; names: of the players, or experts; rng: of A,
    one draw for all, so that one may be pulled towards another; B = 0, so that each is the teacher
    at first. alpha: the layers' weight change is alpha / rank times B A; `rank` where None.
    target_modules: the names with which the adapted layers end, diffusers' attention by default, or
    a regular expression. settings: further ones of `peft.LoraConfig` (lora_dropout, use_dora, ..).
    float32 on a backbone in half precision. Raises ValueError or TypeError by name, MissingExtra
    without peft.

    >>> net = nn.Sequential(nn.Linear(2, 3))
    >>> players = adapters(net, ["student", "fake"], rng=torch.Generator(), target_modules=["0"])
    >>> [name for name, _ in players["fake"].named_parameters()]
    ['0.lora_A.weight', '0.lora_B.weight']
    """
    where = "lora.adapters"
    if not isinstance(network, nn.Module):
        raise TypeError(f"{where}: network must be a torch module, got {network!r}")
    if isinstance(names, str) or not names or len(set(names)) < len(names):
        raise fail(where, "names", "different names, one or more", names)
    integer(where, "rank", rank, 1)
    scale = float(rank) if alpha is None else number(where, "alpha", alpha, 0.0)
    check_rng(where, rng)
    one_of(where, "init_lora_weights", settings.get("init_lora_weights", True), STARTS)
    for name, plain in {"bias": "none", "modules_to_save": None}.items():
        if settings.get(name, plain) != plain:
            raise fail(where, name, f"{plain!r}: the backbone is shared", settings[name])
    targets = target_modules if isinstance(target_modules, str) else list(target_modules)
    config = _peft().LoraConfig(r=rank, lora_alpha=scale, target_modules=targets, **settings)
    first = Adapter(_injected(network, config, rng))
    for name, layer in first._backbone.layers.items():
        _attach(first, name, _taken(layer))
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in first.parameters()):
        first.float()  # small steps vanish in half precision
    network.requires_grad_(False).eval()
    return {name: copy.deepcopy(first) for name in names}


def merged(adapter: Adapter) -> nn.Module:
    """A copy of the backbone with the adapter in its weights: a plain network, for inference.

    Raises TypeError by name.

    >>> net = nn.Sequential(nn.Linear(2, 3))
    >>> player = adapters(net, ["student"], rng=torch.Generator(), target_modules=["0"])["student"]
    >>> merged(player)
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
    )
    """
    _check("lora.merged", adapter)
    network = copy.deepcopy(adapter._backbone.network)
    network.__dict__.pop("peft_config", None)
    for name in adapter._backbone.layers:
        layer: Any = network.get_submodule(name)
        for kind, part in _parts(adapter.get_submodule(name)):
            getattr(layer, kind)[SLOT] = copy.deepcopy(part)
        layer.merge(adapter_names=[SLOT])
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, layer.get_base_layer())
    return network


def save(adapter: Adapter, folder: str | os.PathLike[str]) -> Path:
    """Write the adapter into a folder as peft's own `PeftModel.from_pretrained` reads it.

    Each file whole or not at all. Raises TypeError by name.
    """
    from safetensors.torch import save as packed

    _check("lora.save", adapter)
    Path(folder).mkdir(parents=True, exist_ok=True)
    state = {PREFIX + k: v.detach().cpu().contiguous() for k, v in adapter.state_dict().items()}
    with writing(Path(folder) / WEIGHTS) as stream:
        stream.write(packed(state, {"format": "pt"}))
    told = json.dumps(adapter._backbone.config.to_dict(), default=sorted, indent=2, sort_keys=True)
    write_whole(Path(folder) / CONFIG, told + "\n")
    return Path(folder)


def load(adapter: Adapter, folder: str | os.PathLike[str]) -> None:
    """Give the adapter, in place, the weights of a folder that `save` or peft has written.

    Raises ValueError, with the file's name, for one of other layers, shapes or scales.
    """
    from safetensors.torch import load_file

    _check("lora.load", adapter)
    place, mine = Path(folder), adapter._backbone.config.to_dict()
    try:
        told = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        stored = {k.removeprefix(PREFIX): v for k, v in load_file(place / WEIGHTS).items()}
    except FileNotFoundError:
        raise
    except Exception as error:  # readers of foreign bytes raise anything
        raise ValueError(f"lora.load: {place} holds no adapter ({str(error)[:80]})") from None
    other = [k for k in MEANS if not isinstance(told, dict) or told.get(k, mine[k]) != mine[k]]
    if other:
        allowed = f"of {[mine[k] for k in other]} for {other}"
        raise fail("lora.load", str(place / CONFIG), allowed, told)
    shapes = [{k: tuple(v.shape) for k, v in s.items()} for s in (adapter.state_dict(), stored)]
    if shapes[0] != shapes[1]:
        gone, new = sorted(shapes[0].items() - shapes[1].items()), shapes[1].items()
        raise fail("lora.load", str(place / WEIGHTS), f"of the adapter's shapes, {gone}", new)
    adapter.load_state_dict(stored)


def _check(where: str, adapter: Any) -> None:
    if not isinstance(adapter, Adapter):
        raise TypeError(f"{where}: adapter must be an Adapter, got {type(adapter).__name__}")


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingExtra("models", "fewtheory.adapters.lora") from error
    return peft


def _injected(network: nn.Module, config: Any, rng: Rng) -> _Backbone:
    """The network with peft's layers; the global generators are left alone."""
    from peft.tuners.lora import LoraLayer

    where = "lora.adapters"
    if any(isinstance(module, LoraLayer) for module in network.modules()):
        raise fail(where, "network", "without adapters: name all at once", type(network).__name__)
    if isinstance(rng, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    else:
        seed = int(rng.integers(2**62))
    with torch.random.fork_rng([]):  # peft draws on the CPU
        torch.default_generator.manual_seed(seed)
        try:
            _peft().inject_adapter_in_model(config, network, SLOT)
        except ValueError as error:
            network.__dict__.pop("peft_config", None)
            raise ValueError(
                f"{where}: target_modules must be names of the network's layers, "
                f"got {config.target_modules!r} ({str(error)[:80]})"
            ) from None
    layers = {k: m for k, m in network.named_modules() if isinstance(m, LoraLayer)}
    return _Backbone(network, layers, config)


def _taken(layer: Any) -> nn.Module:
    """What is an adapter's own in a layer, taken out of it: `lora_A`, `lora_B`, its dropout, .."""
    own = nn.Module()
    for kind in (*layer.adapter_layer_names, "lora_dropout"):
        held = getattr(layer, kind)
        if SLOT in held:
            setattr(own, kind, held[SLOT])
            del held[SLOT]
    return own


def _parts(own: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from own.named_children()
    yield from own.named_parameters(recurse=False)


def _attach(adapter: nn.Module, name: str, own: nn.Module) -> None:
    """Put a layer's part into the adapter under the layer's own dotted name."""
    *path, last = name.split(".")
    for step in path:
        if step not in adapter._modules:
            adapter.add_module(step, nn.Module())
        adapter = adapter.get_submodule(step)
    adapter.add_module(last, own)


def _dtype(network: nn.Module) -> torch.dtype:
    """Of the first floating parameter: the one in which a network takes its state."""
    return next(p.dtype for p in network.parameters() if p.is_floating_point())
