"""Adapters: real networks as the package's own objects, and its objects inside real pipelines.

| you have | take |
| --- | --- |
| any torch module | `adapters.torch.model(module, path, prediction)` |
| a diffusers network and its scheduler | `adapters.diffusers.model(network, scheduler)` |
| a diffusers pipeline | `pipe.scheduler = adapters.diffusers.scheduler(plan, pipe.scheduler)` |
| one large network for all players | `adapters.lora.adapters(network, names, rng=rng)` |
| the diffusion head of an autoregressive model | `adapters.annealing.anneal(head, hi=50, lo=5)` |
| images to be scored without references | `adapters.quality.load(name_of_a_clip_model)` |
| a frozen network with features to choose from | `adapters.features.rows(network, batches)` |
| a causal language model | `adapters.transformers.next_token_law(model, length)` |
| a causal language model asked yes or no | `adapters.decisions.lm_coin(model, tokenizer, ..)` |
| a video classifier as the judge of chosen frames | `adapters.video.VideoJudge(model)` |

Each is a module of its own and loads the library of its name on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra

if TYPE_CHECKING:
    from . import annealing as annealing
    from . import decisions as decisions
    from . import diffusers as diffusers
    from . import features as features
    from . import lora as lora
    from . import quality as quality
    from . import torch as torch
    from . import transformers as transformers
    from . import video as video

PARTS = (
    "annealing",
    "decisions",
    "diffusers",
    "features",
    "lora",
    "quality",
    "torch",
    "transformers",
    "video",
)


def __getattr__(name: str) -> Any:
    if name in PARTS:
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("fewtheory"):
                raise
            raise MissingExtra("models", f"{__name__}.{name}") from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(PARTS)
