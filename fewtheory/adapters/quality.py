"""Scores of images without references, by CLIP: is it what was asked for, and does it look good?

Q-Sched's two halves (arXiv 2509.01624; sheet `q-sched`, "JAQ") for real images. Alignment is
sigmoid(10 f), f the cosine between an image and a prompt less the empty prompt, averaged over the
prompt's parts; quality, as CLIP-IQA has it, the softmax of the similarities to "Good photo." and
"Bad photo.". No weights are downloaded: they are the user's, in a folder or in the cache of
transformers. Any other callable of images serves `fewtheory.search.JAQ` as well, torchmetrics' and
HPS's own among them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import fail, number

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
OPPOSITES = ("Good photo.", "Bad photo.")
STEEP = 10.0  # of the sigmoid

Prompt = str | Sequence[str]  # whole, or in parts


class CLIPScores:
    """`compatibility(images, prompts)` and `quality(images)`, both (n,), of a CLIP model.

    model: transformers' CLIPModel (or one with its `get_text_features` and `get_image_features`);
    tokenizer: texts -> a mapping with `input_ids`, called with padding=True and
    return_tensors="pt"; opposites: what is good and what is bad; low, high: the range of the
    images. Scores carry no gradient.

        scores = adapters.quality.load("openai/clip-vit-base-patch32")
        jaq = ft.search.JAQ(scores.compatibility, scores.quality, k=2)
        jaq(images, ["a red cube", ["a dog", "on a beach"]])
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[..., Any],
        *,
        opposites: tuple[str, str] = OPPOSITES,
        low: float | int = -1.0,
        high: float | int = 1.0,
    ) -> None:
        where = "CLIPScores"
        for need in ("get_text_features", "get_image_features", "config"):
            if not hasattr(model, need):
                kind = type(model).__name__
                raise TypeError(f"{where}: model must have {need!r}, as CLIPModel has, got {kind}")
        if not callable(tokenizer):
            raise TypeError(f"{where}: tokenizer must be callable, got {tokenizer!r}")
        self.low = number(where, "low", low, float("-inf"))
        self.range = number(where, "high", high, float("-inf")) - self.low
        if not self.range > 0:
            raise fail(where, "high", f"above low = {low:g}", high)
        self.model, self.tokenizer, self.opposites = model.eval(), tokenizer, tuple(opposites)

    @torch.no_grad()
    def compatibility(self, images: torch.Tensor, prompts: Sequence[Prompt]) -> torch.Tensor:
        """The mean over a prompt's parts of sigmoid(10 cos(image, part - empty prompt)), (n,).

        images: (n, c, h, w), c 1 or 3; prompts: one an image. Raises ValueError for another number.
        """
        seen = self._images("compatibility", images)
        if isinstance(prompts, str) or len(prompts) != images.shape[0]:
            raise fail("CLIPScores.compatibility", "prompts", f"{images.shape[0]} texts", prompts)
        parts = [[p] if isinstance(p, str) else list(p) for p in prompts]
        if not all(parts):
            raise fail("CLIPScores.compatibility", "prompts", "of one part or more each", prompts)
        flat = sorted({text for each in parts for text in each})
        *features, empty = self._texts([*flat, ""]).split(1)
        at = dict(zip(flat, features, strict=True))
        out = []
        for image, each in zip(seen, parts, strict=True):
            asked = torch.cat([at[text] - empty for text in each])
            f = F.cosine_similarity(image[None], asked, dim=1)
            out.append(torch.sigmoid(STEEP * f).mean())
        return torch.stack(out)

    @torch.no_grad()
    def quality(self, images: torch.Tensor) -> torch.Tensor:
        """The probability of the good one of the two opposites, (n,), by CLIP's own softmax."""
        seen = self._images("quality", images)
        cosines = F.normalize(seen, dim=1) @ self._texts(self.opposites).T
        return (self.model.logit_scale.exp() * cosines).softmax(1)[:, 0]

    def _texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit features (m, d)."""
        device = self.model.logit_scale.device
        tokens = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        given = {k: v.to(device) for k, v in tokens.items()}
        return F.normalize(_tensor(self.model.get_text_features(**given)), dim=1)

    def _images(self, name: str, images: Any) -> torch.Tensor:
        """Features (n, d) of images in CLIP's size, range and colours."""
        where = f"CLIPScores.{name}"
        if not isinstance(images, torch.Tensor) or not images.is_floating_point():
            raise TypeError(
                f"{where}: images must be a floating tensor, got {type(images).__name__}"
            )
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise fail(where, "images", "of shape (n, 1 or 3, h, w)", tuple(images.shape))
        logit = self.model.logit_scale
        x = ((images.float() - self.low) / self.range).clamp(0, 1).expand(-1, 3, -1, -1)
        side = self.model.config.vision_config.image_size
        x = F.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False)
        mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
        x = ((x.clamp(0, 1).cpu() - mean) / std).to(logit.device, logit.dtype)
        return _tensor(self.model.get_image_features(pixel_values=x))


def _tensor(out: Any) -> torch.Tensor:
    """The projected features: a tensor, or in a record since transformers 5."""
    return out if isinstance(out, torch.Tensor) else out.pooler_output


def load(name: str, **settings: Any) -> CLIPScores:
    """The scores of a CLIP model that is on this machine: a folder, or a name in the cache.

    settings: of `CLIPScores`. Raises FileNotFoundError where the weights are not there: get them
    with `huggingface-cli download NAME`.
    """
    from transformers import AutoTokenizer, CLIPModel

    try:
        model = CLIPModel.from_pretrained(name, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
    except OSError as error:
        raise FileNotFoundError(
            f"adapters.quality.load: name must be a CLIP model on this machine, got {name!r}; "
            f"nothing is downloaded here: `huggingface-cli download {name}` first"
        ) from error
    return CLIPScores(model, tokenizer, **settings)


def torchmetrics_quality(
    *, low: float | int = -1.0, high: float | int = 1.0, **settings: Any
) -> Any:
    """torchmetrics' CLIPImageQualityAssessment as a quality of images in [low, high], (n,).

    settings: of that metric (`model_name_or_path`, ...). Raises ImportError where torchmetrics is
    not installed, which is in no extra of this package.
    """
    try:
        multimodal = importlib.import_module("torchmetrics.multimodal")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torchmetrics":
            raise
        raise ImportError(
            "adapters.quality.torchmetrics_quality needs torchmetrics: "
            "pip install 'torchmetrics[multimodal]'"
        ) from error
    metric = multimodal.CLIPImageQualityAssessment(data_range=1.0, **settings)

    def quality(images: torch.Tensor) -> torch.Tensor:
        unit = ((images - low) / (high - low)).clamp(0, 1)
        return metric(unit.expand(-1, 3, -1, -1)).reshape(-1)

    return quality
