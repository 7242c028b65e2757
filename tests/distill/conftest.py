"""Small networks of diffusers' own classes: what a user's as_model, batch and plain call are."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory import distill

TOKENS = torch.cartesian_prod(torch.zeros(1), torch.arange(2.0), torch.arange(4.0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True, eq=False)
class Real:
    """One class: how it is made, its scheduler, one event, its conditions and what stands for none.

    keywords: of the adapter; fixed: of every plain call; time: from t to what the network takes.
    """

    cls: Any
    config: dict[str, Any]
    scheduler: Any
    event: tuple[int, ...]
    conditions: dict[str, tuple[int, ...]]  # the shape of one row; () for a label
    null: dict[str, Any]
    keywords: dict[str, Any] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    time: Callable[[Any], Any] = lambda t: 1000 * t - 1
    _built: dict[int, nn.Module] = field(default_factory=dict)

    def network(self, seed: int = 0) -> nn.Module:
        """A network with weights of this seed."""
        if seed not in self._built:  # which takes longer than to copy it
            with torch.random.fork_rng([]):
                torch.default_generator.manual_seed(seed)
                self._built[seed] = self.cls(**self.config).eval()
        return copy.deepcopy(self._built[seed])

    @property
    def flow(self) -> bool:
        """Whether it is trained by flow matching."""
        return type(self.scheduler).__name__.startswith("FlowMatch")

    @cached_property
    def told(self) -> Any:
        """The convention, read once."""
        from fewtheory.adapters import diffusers as adapter

        return adapter.convention(self.scheduler)

    def model(self, network: Any, **settings: Any) -> Any:
        """The network as a user makes a Model of it."""
        from fewtheory.adapters import diffusers as adapter

        made = adapter.model(network, self.told, **self.keywords, **settings)
        return made.given(guidance=2.0) if "guidance" in self.fixed else made

    def batch(self, n: int, dtype: Any = torch.float32, device: str = "cpu") -> dict[str, Any]:
        """Real samples and conditions, the same numbers in any dtype."""
        rng, out = seeded(17), {}
        out["x"] = torch.randn(n, *self.event, generator=rng, dtype=torch.float64).to(dtype)
        for name, shape in self.conditions.items():
            drawn = torch.randn(n, *shape, generator=rng, dtype=torch.float64)
            out[name] = drawn.to(dtype) if shape else torch.arange(n) % 3
        return {name: value.to(device) for name, value in out.items()}

    # by hand: nothing of the package's from here on

    def level(self, t: Any) -> tuple[Any, Any]:
        """alpha and sigma at times (n,) or one, in float64."""
        at = torch.as_tensor(t, dtype=torch.float64)
        if self.flow:
            return 1 - at, at
        log = np.log(self.scheduler.alphas_cumprod.double().numpy())
        alpha2 = torch.as_tensor(np.exp(np.interp(1000 * at.numpy() - 1, np.arange(1000.0), log)))
        return alpha2**0.5, (1 - alpha2) ** 0.5

    def raw(self, network: nn.Module, x: torch.Tensor, t: Any, cond: Any) -> torch.Tensor:
        """What the network itself says, its variance left out."""
        times = torch.as_tensor(self.time(t), dtype=torch.float64).expand(x.shape[0])
        given = {**self.fixed, **cond}
        if "guidance" in given:
            given["guidance"] = torch.full((x.shape[0],), given["guidance"])
        return network(x, timestep=times, **given).sample[:, : x.shape[1]]

    def target(self, x0: torch.Tensor, eps: torch.Tensor, t: Any) -> torch.Tensor:
        """What it is trained to say."""
        alpha, sigma = (over(v, x0) for v in self.level(t))
        kind = self.scheduler.config.get("prediction_type")
        if kind == "epsilon":
            return eps
        return eps - x0 if self.flow else alpha * eps - sigma * x0

    def data(self, network: nn.Module, x: torch.Tensor, t: Any, cond: Any) -> torch.Tensor:
        """The clean sample that its output means."""
        out, (alpha, sigma) = self.raw(network, x, t, cond), (over(v, x) for v in self.level(t))
        if self.flow:
            return x - sigma * out
        if self.scheduler.config.prediction_type == "epsilon":
            return (x - sigma * out) / alpha
        return alpha * x - sigma * out


def over(value, x):
    """One number a row, shaped to multiply x."""
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


NAMES = (
    "UNet2DModel",
    "UNet2DConditionModel",
    "DiTTransformer2DModel",
    "SD3Transformer2DModel",
    "FluxTransformer2DModel",
)


@functools.cache
def made() -> dict[str, Real]:
    """The classes; the library is loaded here, which takes its seconds."""
    import diffusers

    flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return {
        "UNet2DModel": Real(
            diffusers.UNet2DModel,
            {
                "sample_size": 8,
                "in_channels": 1,
                "out_channels": 1,
                "layers_per_block": 1,
                "block_out_channels": (8,),
                "norm_num_groups": 4,
                "down_block_types": ("DownBlock2D",),
                "up_block_types": ("UpBlock2D",),
                "num_class_embeds": 4,
            },
            diffusers.DDPMScheduler(),
            (1, 8, 8),
            {"class_labels": ()},
            {"class_labels": 3},
        ),
        "UNet2DConditionModel": Real(
            diffusers.UNet2DConditionModel,
            {
                "sample_size": 8,
                "in_channels": 2,
                "out_channels": 2,
                "layers_per_block": 1,
                "block_out_channels": (8,),
                "norm_num_groups": 4,
                "cross_attention_dim": 6,
                "attention_head_dim": 4,
                "down_block_types": ("CrossAttnDownBlock2D",),
                "up_block_types": ("CrossAttnUpBlock2D",),
            },
            diffusers.DDIMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction"),
            (2, 8, 8),
            {"encoder_hidden_states": (3, 6)},
            {"encoder_hidden_states": torch.zeros(1, 3, 6)},
        ),
        "DiTTransformer2DModel": Real(
            diffusers.DiTTransformer2DModel,
            {
                "num_attention_heads": 2,
                "attention_head_dim": 8,
                "in_channels": 1,
                "out_channels": 2,  # it learns its variance too
                "num_layers": 1,
                "sample_size": 4,
                "patch_size": 2,
                "num_embeds_ada_norm": 3,
                "norm_num_groups": 4,
            },
            diffusers.DDIMScheduler(),
            (1, 4, 4),
            {"class_labels": ()},
            {"class_labels": 3},
        ),
        "SD3Transformer2DModel": Real(
            diffusers.SD3Transformer2DModel,
            {
                "sample_size": 4,
                "patch_size": 2,
                "in_channels": 2,
                "out_channels": 2,
                "num_layers": 2,  # the last one does not look at the text again
                "attention_head_dim": 8,
                "num_attention_heads": 2,
                "joint_attention_dim": 6,
                "caption_projection_dim": 16,
                "pooled_projection_dim": 5,
                "pos_embed_max_size": 4,
            },
            flow,
            (2, 4, 4),
            {"encoder_hidden_states": (3, 6), "pooled_projections": (5,)},
            {
                "encoder_hidden_states": torch.zeros(1, 3, 6),
                "pooled_projections": torch.zeros(1, 5),
            },
            time=lambda t: 1000 * t,
        ),
        "FluxTransformer2DModel": Real(
            diffusers.FluxTransformer2DModel,
            {
                "patch_size": 1,
                "in_channels": 4,
                "num_layers": 1,
                "num_single_layers": 1,
                "attention_head_dim": 16,
                "num_attention_heads": 2,
                "joint_attention_dim": 6,
                "pooled_projection_dim": 5,
                "guidance_embeds": True,
                "axes_dims_rope": (4, 4, 8),
            },
            flow,
            (8, 4),  # tokens, numbers a token
            {"encoder_hidden_states": (2, 6), "pooled_projections": (5,)},
            {
                "encoder_hidden_states": torch.zeros(1, 2, 6),
                "pooled_projections": torch.zeros(1, 5),
            },
            {"timestep": lambda t: t, "shared": {"img_ids": TOKENS, "txt_ids": torch.zeros(2, 3)}},
            {"img_ids": TOKENS, "txt_ids": torch.zeros(2, 3), "guidance": 2.0},
            time=lambda t: t,
        ),
    }


@pytest.fixture(scope="session")
def reals():
    """The classes by name."""
    return made()


@pytest.fixture(params=NAMES)
def real(request):
    """Each of the classes."""
    return made()[request.param]


# the methods, as a user would set them up for any class


METHODS = ("dmd", "tdm", "phased_dmd", "flash_dmd", "msd", "sid")
PARTS = [[0, 1], [2]]  # of labels


def critic_of(real: Real, dtype: Any = torch.float32) -> nn.Module:
    """A linear critic on clean samples, whatever their shape."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(9)
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(real.event), 1, dtype=dtype))


def players_of(real: Real, method: str, nets: Any, teacher: Any = None, **settings: Any) -> Any:
    """A method's players, of `nets` by name: student, fake, teacher, earlier; msd has four."""
    guide = teacher or real.model(nets["teacher"])
    if method == "msd":
        students, fakes = ([nets[f"{role}{k}"] for k in (0, 1)] for role in ("student", "fake"))
        steps, condition = distill.FewSteps([0.9]), "class_labels"
        return distill.msd(
            students, fakes, real.model, guide, steps, PARTS, condition=condition, **settings
        )
    both = (nets["student"], nets["fake"])
    if method == "flash_dmd":
        steps = distill.FewSteps([0.9, 0.6, 0.3])
        critic = critic_of(real, next(nets["student"].parameters()).dtype)
        return distill.flash_dmd(*both, critic, real.model, guide, steps, **settings)
    if method == "phased_dmd":
        parts = distill.phases([0.9, 0.6, 0.3, 0.0], [0.3])
        earlier = [nets["earlier"]] if "earlier" in nets else []
        return distill.phased_dmd(*both, real.model, guide, parts, earlier, **settings)
    kind = {"tdm": ([0.9, 0.5], "deterministic"), "sid": ([0.9],)}.get(method, ([0.9, 0.6],))
    steps = settings.pop("steps", distill.FewSteps(*kind))
    return getattr(distill, method)(*both, real.model, guide, steps, **settings)


@pytest.fixture(scope="session")
def players():
    """`players_of`: a method's players for a class."""
    return players_of


# one loss and its slope in any precision and on any device, from the same draws

QUARTER = {"levels": lambda path, n, rng: torch.full((n,), 0.25)}
PRECISE = {  # at times whose 1000-fold bfloat16 holds, as 2000 for guidance: Flux rounds its own
    "dmd": {**QUARTER, "fake_levels": QUARTER["levels"], "steps": distill.FewSteps([0.5])},
    "sid": {**QUARTER, "steps": distill.FewSteps([0.5])},
    "tdm": {
        "steps": distill.FewSteps([0.5], "deterministic"),
        "least": 0.25,
        "margin": 0.25 - 1e-6,
    },
}


def off_by(unit: float, rng: torch.Generator, value: Any) -> Any:
    """A tensor times 1 + d, |d| <= unit."""
    if not isinstance(value, torch.Tensor):
        return value
    return value * (1 + unit * (2 * torch.rand(value.shape, generator=rng, dtype=value.dtype) - 1))


def shaken(network: nn.Module, unit: float, rng: torch.Generator) -> nn.Module:
    """The network with roundings of its own making, of its input, weights and layers' outputs.

    Its times stay float32 in any precision: they are off by that one's unit.
    """
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(off_by(unit, rng, p))
    before = {network: unit}
    for module in network.modules():
        if type(module).__name__ == "Timesteps":
            before[module] = FLOAT32
        elif not any(True for _ in module.children()):
            module.register_forward_hook(lambda m, given, out: off_by(unit, rng, out))
    for module, size in before.items():
        module.register_forward_pre_hook(
            lambda m, given, size=size: (off_by(size, rng, given[0]), *given[1:])
        )
    return network


FLOAT32, BFLOAT16 = 2.0**-24, 2.0**-8  # unit roundoffs


def one_loss(
    real: Real,
    method: str,
    dtype: Any = torch.float64,
    *,
    device: str = "cpu",
    half: bool = False,
    unit: float = 0.0,
    seed: int = 0,
) -> dict[str, tuple[float, torch.Tensor]]:
    """A loss of each player and its slope in that player's weights, in float64 on the host."""
    roles, rng, out = ("teacher", "student", "fake"), seeded(seed), {}
    nets = {role: real.network(k).to(dtype) for k, role in enumerate(roles)}
    if unit:
        nets = {role: shaken(net, unit, rng) for role, net in nets.items()}
    nets = {role: net.to(device) for role, net in nets.items()}
    moving = players_of(real, method, nets, **PRECISE[method])
    networks = {role: player.module for role, player in moving.items()}
    for role, player in moving.items():
        for other, net in nets.items():
            net.requires_grad_(other == role)
        with torch.autocast(device, torch.bfloat16, enabled=half):
            # NumPy's draws are the same in every dtype and on every device
            loss = player.loss(networks, real.batch(2, dtype, device), np.random.default_rng(3))
        slopes = torch.autograd.grad(loss, list(networks[role].parameters()), allow_unused=True)
        flat = torch.cat([g.detach().double().cpu().flatten() for g in slopes if g is not None])
        out[role] = (float(loss.detach()), flat)
    return out


def precision_holds(
    real: Real, method: str, *, half: bool, device: str = "cpu", dtype: Any = torch.float32
) -> None:
    """Losses and slopes in low precision are the float64 ones, up to what roundings may do.

    A rounding moves a number by a random share of at most the unit roundoff. `shaken` networks in
    float64 do as much to their input, weights and layers: the rms of their errors over four draws
    is the condition times the unit, and the low precision's own error one more draw of such a kind.
    Ten times the rms leaves 6e-4 to a normal error (Student's t with 4 degrees). In bfloat16 a
    layer's output is rounded once; in float32 a layer rounds within (a mean, a variance, a product,
    a sum), and so does the loss itself: four units.
    """
    unit = BFLOAT16 if half else 4 * FLOAT32
    exact = one_loss(real, method)
    found = one_loss(real, method, dtype, half=half, device=device)
    drawn = [one_loss(real, method, unit=unit, seed=seed) for seed in range(4)]
    for role, (loss, slope) in exact.items():
        off = [abs(d[role][0] - loss) for d in drawn]
        turned = [float((d[role][1] - slope).norm()) for d in drawn]
        rms = [math.sqrt(sum(v * v for v in errors) / 4) for errors in (off, turned)]
        assert abs(found[role][0] - loss) <= 10 * rms[0]
        assert 0 < float((found[role][1] - slope).norm()) <= 10 * rms[1]
        assert 10 * rms[1] < 0.5 * float(slope.norm())  # a slope of another direction is seen


@pytest.fixture(scope="session")
def in_precision():
    """`precision_holds`, of a class, a method and what low precision means."""
    return precision_holds


def half_run(real: Real, method: str, device: str = "cpu") -> Any:
    """Three steps in mixed precision, of networks that begin as the teacher's copies."""
    from fewtheory.train import fit

    nets = {role: real.network() for role in ("teacher", "student", "fake")}
    nets["teacher"].requires_grad_(False).to(device)
    moving = players_of(real, method, nets, **({"every": 1} if method == "dmd" else {}))
    before = {name: p.detach().cpu().clone() for name, p in real.network().named_parameters()}
    data = real.batch(4)
    fitted = fit(moving, data, 3, rng=seeded(), batch=2, precision="bf16", device=device)
    for role, network in fitted.networks.items():
        assert all(math.isfinite(r["loss"]) for r in fitted.log if r["player"] == role)
        now = {name: p.detach().cpu() for name, p in network.named_parameters()}
        assert {p.dtype for p in now.values()} == {torch.float32}
        assert all(bool(torch.isfinite(p).all()) for p in now.values())
        assert any(not torch.equal(p, before[name]) for name, p in now.items())
    told = {k: v.to(device) for k, v in data.items()}
    x = told.pop("x")
    steps, rng = distill.FewSteps([0.9, 0.5]), torch.Generator(device).manual_seed(1)
    drawn = distill.sample(real.model(fitted.networks["student"]), steps, x, rng=rng, **told)
    assert drawn.device == x.device
    assert bool(torch.isfinite(drawn).all())
    return fitted


@pytest.fixture(scope="session")
def in_half():
    """`half_run`: three steps of `fit` in bfloat16 on a device."""
    return half_run
