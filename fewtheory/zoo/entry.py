"""An entry of the zoo: a network, what it means, and its card; how it is trained and stored."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import one_of
from ..files import write_whole, writing
from ..model import Model
from ..train import fit
from .recipes import RECIPES, Recipe

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, eq=False)
class Entry:
    """One network of the zoo.

    network: the torch module, in float32 and evaluation mode; recipe: how it was made; card: what
    was measured of it, {} before that.
    """

    name: str
    network: nn.Module
    recipe: Recipe
    card: dict[str, Any]

    @cached_property
    def model(self) -> Model:
        """The network as a Model; with classes, of every row's own (`class_labels=`).

        Raises ValueError for what is none: the classifier, the language model, and the digits patch
        by patch, whose `network.conditional` are Models.
        """
        return self.guided(1.0)

    def guided(self, scale: float | int) -> Model:
        """The network with classifier-free guidance of this scale, 1 for none."""
        if self.recipe.as_model is None:
            raise ValueError(f"zoo: {self.name!r} must be a denoiser to be a Model, but is none")
        if self.recipe.null is None:
            return self.recipe.as_model(self.network)
        return self.recipe.as_model(
            self.network, guidance=scale, null=self.recipe.null, **self.recipe.null
        )


def names() -> list[str]:
    """The networks of the zoo."""
    return list(RECIPES)


def load(name: str, folder: str | os.PathLike[str] | None = None) -> Entry:
    """A trained network of the zoo, from its committed weights or those of another folder.

    Raises ValueError for an unknown name and FileNotFoundError where it was not trained.

    >>> load("mixture-mlp").model.path
    EDM(sigma_min=0.002, sigma_max=80.0)
    """
    one_of("zoo.load", "name", name, RECIPES)
    from safetensors.torch import load_file

    place = WEIGHTS if folder is None else Path(folder)
    recipe, card = RECIPES[name], place / f"{name}.json"
    network = _made(recipe, 0)
    stored = load_file(place / f"{name}.safetensors")
    network.load_state_dict({key: value.float() for key, value in stored.items()})
    told = json.loads(card.read_text(encoding="utf-8")) if card.exists() else {}
    return Entry(name, network.eval().requires_grad_(False), recipe, told)


def _made(recipe: Recipe, seed: int) -> nn.Module:
    """The network with initial weights of this seed; the global generator is left alone."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        return recipe.network()


def train(
    name: str,
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    device: str | None = None,
    steps: int | None = None,
    log_every: int = 100,
    progress: bool = False,
    on_record: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train a network of the zoo and write its averaged weights, float16, into a folder.

    Resumes from folder/NAME-training if it was interrupted. Returns the file.
    """
    one_of("zoo.train", "name", name, RECIPES)
    from safetensors.torch import save

    recipe = RECIPES[name]
    network = _made(recipe, seed)
    fitted = fit(
        recipe.players(recipe, network),
        recipe.data(),
        recipe.steps if steps is None else steps,
        rng=torch.Generator().manual_seed(seed),
        batch=recipe.batch,
        device=device,
        folder=Path(folder) / f"{name}-training",
        log_every=log_every,
        progress=progress,
        on_record=on_record,
    )
    (average,) = fitted.averages.values()
    weights = {
        key: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for key, value in average.cpu().state_dict().items()
    }
    file = Path(folder) / f"{name}.safetensors"
    with writing(file) as stream:
        stream.write(save(weights, {"format": "pt"}))
    log = {"seed": seed, "seconds": fitted.seconds, "log": fitted.log}
    write_whole(Path(folder) / f"{name}-log.json", json.dumps(log) + "\n")
    return file
