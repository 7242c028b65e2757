"""How each network of the zoo is made and trained: one recipe a network, data alone.

A recipe is what a reader wants to know before trusting a network: which class with which config,
on which path, predicting what, with which loss, data, batch and number of steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import train
from ..adapters import torch as any_module
from ..model import Model
from ..paths import EDM, RectifiedFlow, VPLinear
from ..train.player import Player
from . import data, networks
from .autoregressive import PatchAutoregression, patches_of
from .networks import BOS, MLP, DigitClassifier, EDMPreconditioned

LEVELS = 4  # times at which each patch is seen with noise, for one pass of its transformer
SIGMA_DATA = 0.5  # of the digits, scaled to [-1, 1] and about a mean: EDM's own value


@dataclass(frozen=True, eq=False)
class Recipe:
    """One network: `network()` makes it, `as_model` (denoisers only) says what it means, and
    `players(network)` how it learns from `data()`; then steps, batch, learning rate.

    about: one line for its card; testbed: the law that it learns, None for the digits; shape: of
    one event; null: the conditions that stand for no class, None where it knows none.
    """

    about: str
    network: Callable[[], nn.Module]
    data: Callable[[], Any]
    players: Callable[[Recipe, nn.Module], Mapping[str, Player]]
    as_model: Callable[..., Model] | None = None
    testbed: Callable[[], Any] | None = None
    shape: tuple[int, ...] = (1, 8, 8)
    null: Mapping[str, Any] | None = None
    steps: int = 3000
    batch: int = 128
    rate: float = 1e-3

    def settings(self) -> dict[str, Any]:
        """AdamW with warm-up and half a cosine, an average of the weights, clipped gradients."""
        return {
            "optimizer": functools.partial(torch.optim.AdamW, lr=self.rate, weight_decay=1e-2),
            "schedule": train.cosine_decay(self.steps, warmup=min(200, self.steps // 10)),
            "ema": 0.998,
            "clip": 1.0,
        }


def ddpm() -> Any:
    """The scheduler of the digits UNet: DDPM's linear betas, noise prediction."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")


def cosine() -> Any:
    """The scheduler of the second UNet: the cosine table, v prediction."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")


def rectified() -> Any:
    """The scheduler of the digits transformer: flow matching, times of 0 to 1000."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    return FlowMatchEulerDiscreteScheduler()


def _diffusers(scheduler: Callable[[], Any], network: nn.Module, **given: Any) -> Model:
    from ..adapters import diffusers

    return diffusers.model(network, _convention(scheduler), **given)


@functools.cache
def _convention(scheduler: Callable[[], Any]) -> Any:
    """Read once: a training makes a Model at each step."""
    from ..adapters import diffusers

    return diffusers.convention(scheduler())


def _digits_alone() -> torch.Tensor:
    return data.digits().x


def _digits_and(name: str) -> dict[str, torch.Tensor]:
    return {"x": data.digits().x, name: data.digits().label}


def _learnt(
    method: Callable[..., Mapping[str, Player]], recipe: Recipe, network: nn.Module, **more: Any
) -> Mapping[str, Player]:
    """The method's players; classes are dropped from a tenth of the rows."""
    drop = {} if recipe.null is None else {"drop": 0.1, "null": recipe.null}
    return method(network, recipe.as_model, **drop, **more, **recipe.settings())


def _edm(recipe: Recipe, network: nn.Module) -> Mapping[str, Player]:
    assert isinstance(network, EDMPreconditioned)
    weight, levels = train.edm_weight(network.sigma_data), train.log_normal(-0.8, 1.4)
    return _learnt(train.denoising, recipe, network, weight=weight, levels=levels)


def _uniform(recipe: Recipe, network: nn.Module) -> Mapping[str, Player]:
    return _learnt(train.denoising, recipe, network, levels=train.uniform_times())


def _flow(recipe: Recipe, network: nn.Module) -> Mapping[str, Player]:
    return _learnt(train.flow_matching, recipe, network)


def _classify(recipe: Recipe, network: nn.Module) -> Mapping[str, Player]:
    """Cross-entropy on digits with noise: a third clean, the rest at log-normal levels."""

    def loss(networks: Mapping[str, nn.Module], batch: Any, rng: torch.Generator) -> torch.Tensor:
        x, n = batch["x"], batch["x"].shape[0]
        rho = torch.exp(-0.8 + 1.4 * torch.randn(n, generator=rng, device=rng.device))
        rho = torch.where(torch.rand(n, generator=rng, device=rng.device) < 1 / 3, 0.0, rho)
        eps = torch.randn(x.shape, generator=rng, device=rng.device)
        logits = networks["classifier"](x + rho[:, None, None, None] * eps, rho)
        return nn.functional.cross_entropy(logits, batch["label"])

    return {"classifier": Player(network, loss, **recipe.settings())}


def _next_token(recipe: Recipe, network: nn.Module) -> Mapping[str, Player]:
    """Cross-entropy of each token after those before it, the first after the start token."""

    def loss(networks: Mapping[str, nn.Module], batch: Any, rng: torch.Generator) -> torch.Tensor:
        tokens = batch["x"]
        start = torch.full_like(tokens[:, :1], BOS)
        logits = networks["language"](torch.cat([start, tokens[:, :-1]], 1)).logits
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    return {"language": Player(network, loss, **recipe.settings())}


def _sequences(n: int, rng: torch.Generator) -> torch.Tensor:
    like = torch.empty(0, dtype=torch.int64, device=rng.device)
    return data.source().sample(n, rng=rng, like=like)


def _patches(recipe: Recipe, network: nn.Module) -> Mapping[str, Player]:
    """Flow matching of each patch given the clean ones before it, at `LEVELS` times a patch."""

    def loss(networks: Mapping[str, nn.Module], batch: Any, rng: torch.Generator) -> torch.Tensor:
        x0 = patches_of(batch["x"])
        shape = (LEVELS, *x0.shape[:2])
        t = torch.rand(shape, generator=rng, device=rng.device)
        eps = torch.randn((*shape, x0.shape[2]), generator=rng, device=rng.device)
        return (networks["sequence"](x0, t, eps) - (eps - x0)).square().mean()

    return {"sequence": Player(network, loss, **recipe.settings())}


def _on(path: Any, prediction: str) -> Callable[..., Model]:
    return functools.partial(any_module.model, path=path, prediction=prediction)


RECIPES: Mapping[str, Recipe] = {
    "digits-mlp": Recipe(
        "EDM-preconditioned residual MLP on digits",
        lambda: EDMPreconditioned(MLP(64, width=320, depth=4), SIGMA_DATA),
        _digits_alone,
        _edm,
        _on(EDM(), "data"),
        steps=8000,
        batch=256,
    ),
    "digits-unet": Recipe(
        "diffusers UNet2DModel on digits with classes, DDPM's table, noise prediction",
        lambda: networks.unet(classes=11),
        lambda: _digits_and("class_labels"),
        _uniform,
        functools.partial(_diffusers, ddpm),
        null={"class_labels": 10},
        steps=3000,
        batch=64,
    ),
    "digits-unet-v": Recipe(
        "diffusers UNet2DModel on digits, cosine table, v prediction",
        networks.unet,
        _digits_alone,
        _uniform,
        functools.partial(_diffusers, cosine),
        steps=3000,
        batch=64,
    ),
    "digits-dit": Recipe(
        "diffusers DiTTransformer2DModel on digits with classes, rectified flow",
        networks.transformer,
        lambda: _digits_and("class_labels"),
        _flow,
        functools.partial(_diffusers, rectified),
        null={"class_labels": 10},
        steps=5000,
        batch=64,
    ),
    "digits-ar": Recipe(
        "causal transformer over 16 patches of digits, an MLP head draws each, rectified flow",
        PatchAutoregression,
        _digits_alone,
        _patches,
        steps=2500,
        batch=64,
    ),
    "mixture-mlp": Recipe(
        "EDM-preconditioned residual MLP on eight Gaussians in the plane",
        lambda: EDMPreconditioned(MLP(2, width=128), 1.5),
        data.mixture,
        _edm,
        _on(EDM(), "data"),
        data.mixture,
        (2,),
        steps=5000,
        batch=512,
    ),
    "mixture-mlp-flow": Recipe(
        "residual MLP on eight Gaussians in the plane, rectified flow, velocity",
        lambda: MLP(2, width=128),
        data.mixture,
        _flow,
        _on(RectifiedFlow(), "velocity"),
        data.mixture,
        (2,),
        steps=5000,
        batch=512,
    ),
    "product-mlp": Recipe(
        "residual MLP on a rotated product of 16 mixtures, VP-linear, v prediction",
        lambda: MLP(16, width=256),
        data.product,
        _uniform,
        # not noise: off by 1% at rho = 150, where VP begins, it is off by more than the data's size
        _on(VPLinear(), "v"),
        data.product,
        (16,),
        steps=5000,
        batch=256,
    ),
    "digits-classifier": Recipe(
        "convolutional classifier of digits with noise",
        DigitClassifier,
        lambda: _digits_and("label"),
        _classify,
        steps=2500,
    ),
    "source-llama": Recipe(
        "transformers LlamaForCausalLM on a second-order Markov source",
        networks.language_model,
        lambda: _sequences,
        _next_token,
        testbed=data.source,
        shape=(8,),
        steps=1500,
        batch=512,
    ),
}
