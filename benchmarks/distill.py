"""One loss and backward of DMD and SiD on the digits networks, against the passes that it needs.

The peer is the step written by hand with only its forward and backward passes: the student with a
gradient, teacher and fake score on its noised samples (SiD: with a gradient to their input), one
product, backward. What the library adds are levels, conversions, weights and checks.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

import fewtheory as ft
from fewtheory.distill import FewSteps, dmd, sid

from .timing import medians, show

BATCH = 128


def frozen(network: nn.Module) -> nn.Module:
    """A copy whose parameters record no gradient."""
    return copy.deepcopy(network).requires_grad_(False).eval()


def passed(network: nn.Module, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """One forward pass."""
    out: Any = network(x, t)
    return getattr(out, "sample", out)


def compare(name: str) -> None:
    """One network: either loss and its peer."""
    entry = ft.zoo.load(name)
    path, prediction = entry.model.path, entry.model.prediction
    student = copy.deepcopy(entry.network).requires_grad_(True)
    fake, real = frozen(entry.network), frozen(entry.network)
    start = path.start

    def as_model(network: nn.Module) -> ft.Model:
        return ft.Model(lambda x, t: passed(network, x, t), path, prediction)

    networks = {"student": student, "fake": fake}
    batch = {"x": torch.zeros(BATCH, *ft.zoo.digits().x.shape[1:])}
    rng, settings = torch.Generator().manual_seed(0), (as_model, as_model(real), FewSteps([start]))
    moving = nn.Linear(1, 1)  # what a fake player needs to be made; it does not move here
    losses = {
        "dmd": dmd(student, moving, *settings)["student"].loss,
        "sid": sid(student, moving, *settings)["student"].loss,
    }

    def ours(method: str) -> None:
        student.zero_grad(set_to_none=True)
        losses[method](networks, batch, rng).backward()

    times = torch.full((BATCH,), start)

    def by_hand(method: str) -> None:
        student.zero_grad(set_to_none=True)
        x0 = passed(student, torch.randn(batch["x"].shape, generator=rng), times)
        if method == "dmd":
            with torch.no_grad():
                g = passed(fake, x0, times) - passed(real, x0, times)
            (g * x0).sum().backward()
        else:
            D = passed(real, x0, times) - passed(fake, x0, times)
            (D * D).sum().backward()

    for method in losses:
        found = medians(
            {
                f"{method}: passes by hand": lambda m=method: by_hand(m),
                f"{method}: loss of the players": lambda m=method: ours(m),
            },
            rounds=40,
            warm_up=3,
        )
        show(f"{name}, batch {BATCH}, one loss and backward", found, f"{method}: passes by hand")


def main() -> None:
    """The zoo's MLP and UNet on digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in ("digits-mlp", "digits-unet-v"):
        compare(name)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
