"""Video classifiers as judges of chosen frames, and any backbone as the skimmer that chooses.

A judge sees k of a clip's T frames and gives class probabilities; it is frozen, so a reward of its
scores trains the choice alone. transformers' VideoMAE and TimeSformer take frames as they are
(B, k, C, H, W) and return `.logits`; a plain callable serves as well. A skimmer turns every frame
into features, cheaply: any torch network of single images. No weights are downloaded.
Source: OCSampler (arXiv 2201.04388); sheet `ocsampler`, "Real models".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import fail, integer
from ..subsets.frames.rewards import REWARDS, clip_reward
from .transformers import evaluating


def chosen_frames(clips: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The frames (B, k, ...) of clips (B, T, ...) at chosen (B, k), in order of time.

    >>> chosen_frames(torch.tensor([[10, 11, 12]]), torch.tensor([[2, 0]])).tolist()
    [[10, 12]]
    """
    if clips.ndim < 2 or chosen.ndim != 2 or chosen.shape[0] != clips.shape[0]:
        shapes = f"{tuple(clips.shape)} and {tuple(chosen.shape)}"
        raise ValueError(
            f"chosen_frames: chosen must be (B, k) for clips (B, T, ...), got {shapes}"
        )
    if bool(((chosen < 0) | (chosen >= clips.shape[1])).any()):
        raise fail("chosen_frames", "chosen", f"in [0, {clips.shape[1] - 1}]", chosen)
    rows = torch.arange(len(clips), device=clips.device)[:, None]
    return clips[rows, chosen.sort(dim=1).values]


class VideoJudge:
    """Class probabilities of chosen frames, and their reward, by a frozen classifier.

    model: transformers' VideoMAEForVideoClassification or TimesformerForVideoClassification (or
    any module that takes `pixel_values` and returns `.logits`), or a callable from clips
    (B, k, C, H, W) to logits (B, classes). frames: the number that the model takes, read from
    `config.num_frames` where it is None; a clip of fewer frames, which must divide it, repeats each
    of its frames in place. No gradient and no dropout within; the model is left as it was.

        judge = adapters.video.VideoJudge(VideoMAEForVideoClassification.from_pretrained(name))
        reward = judge.reward("clips", "label")
        players = ft.subsets.policy_gradient(ft.subsets.OneStepPolicy(F), reward, 4)

    Raises ValueError or TypeError by name.
    """

    def __init__(self, model: Any, *, frames: int | None = None) -> None:
        if not callable(model):
            raise TypeError(f"VideoJudge: model must be callable, got {type(model).__name__}")
        config = getattr(model, "config", None)
        self.model, self.frames = model, getattr(config, "num_frames", None)
        self._named = isinstance(model, nn.Module) and config is not None
        if frames is not None:
            self.frames = integer("VideoJudge", "frames", frames, 1)

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, classes) of clips (B, k, C, H, W)."""
        if not isinstance(clips, torch.Tensor) or clips.ndim != 5:
            got = tuple(getattr(clips, "shape", ()))
            raise fail("VideoJudge", "clips", "of shape (B, k, C, H, W)", got)
        if self.frames is not None:
            k = clips.shape[1]
            if self.frames % k:
                raise fail("VideoJudge", "k", f"a divisor of the model's {self.frames} frames", k)
            clips = clips.repeat_interleave(self.frames // k, dim=1)
        z = self._logits(clips)
        if not isinstance(z, torch.Tensor) or z.ndim != 2 or z.shape[0] != clips.shape[0]:
            got = tuple(z.shape) if isinstance(z, torch.Tensor) else type(z).__name__
            raise fail("VideoJudge", "the model's logits", f"({clips.shape[0]}, classes)", got)
        return z.float().softmax(-1)

    def _logits(self, clips: torch.Tensor) -> Any:
        if not isinstance(self.model, nn.Module):
            with torch.no_grad():
                return self.model(clips)
        with evaluating(self.model):
            out = self.model(pixel_values=clips) if self._named else self.model(clips)
        return getattr(out, "logits", out)

    def reward(
        self, clips: str = "clips", label: str = "label", *, kind: str = "stated"
    ) -> Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]:
        """reward(batch, chosen) (B,), for `policy_gradient`.

        batch[clips]: (B, T, C, H, W); batch[label]: (B,). kind: "stated" or "confidence", as in
        `clip_reward`.
        """
        if kind not in REWARDS[:2]:
            raise fail("VideoJudge.reward", "kind", "'stated' or 'confidence'", kind)

        def reward(batch: Mapping[str, torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
            scores = self(chosen_frames(batch[clips], chosen))
            return clip_reward(scores, batch[label], kind=kind)

        return reward


def skim(
    backbone: Callable[[torch.Tensor], Any], clips: torch.Tensor, *, batch: int = 256
) -> torch.Tensor:
    """Features (B, T, F) of every frame of clips (B, T, C, H, W), frame by frame, frozen.

    backbone: images (n, C, H, W) -> a tensor (n, ...), or a record with `.pooler_output` or
    `.last_hidden_state` (tokens: their mean), as transformers' vision models give; maps
    (n, F, h, w) are averaged over their positions. batch: images of one forward pass.

    >>> skim(torch.nn.Flatten(), torch.zeros(2, 3, 1, 4, 4)).shape
    torch.Size([2, 3, 16])
    """
    if not isinstance(clips, torch.Tensor) or clips.ndim != 5:
        got = tuple(getattr(clips, "shape", ()))
        raise fail("skim", "clips", "of shape (B, T, C, H, W)", got)
    integer("skim", "batch", batch, 1)
    images = clips.flatten(0, 1)
    parts = []
    for rows in images.split(batch):
        if isinstance(backbone, nn.Module):
            with evaluating(backbone):
                parts.append(_features(backbone(rows)))
        else:
            with torch.no_grad():
                parts.append(_features(backbone(rows)))
    return torch.cat(parts).unflatten(0, tuple(clips.shape[:2]))


def _features(out: Any) -> torch.Tensor:
    """(n, F) of what a backbone gave."""
    pooled = getattr(out, "pooler_output", None)
    if pooled is None and hasattr(out, "last_hidden_state"):
        pooled = out.last_hidden_state
        pooled = pooled.mean(1) if pooled.ndim == 3 else pooled
    x = out if pooled is None else pooled
    if not isinstance(x, torch.Tensor) or x.ndim < 2:
        got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise fail("skim", "the backbone's output", "a tensor (n, ...)", got)
    return x.mean((2, 3)) if x.ndim == 4 else x.flatten(1)
