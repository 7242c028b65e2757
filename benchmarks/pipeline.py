"""A plan inside a diffusers pipeline: what its scheduler costs beside the network that it drives.

The zoo's digits UNet is called bare, ten times, and then by DDPMPipeline with the plan of
DPM-Solver++(2M), with diffusers' own multistep scheduler of the same solver, and with DDIM. What is
above the bare network is the pipeline's loop, the same for all, and the scheduler: timed by itself
too, with a network that gives back what it is shown, since the difference of two large times is
mostly noise.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import warnings
from types import SimpleNamespace
from typing import Any

import torch

import fewtheory as ft

from .timing import medians, show

STEPS = 10


def bare(unet: torch.nn.Module, batch: int, times: torch.Tensor):
    """The network at the same times, and nothing else."""
    x = torch.randn(batch, 1, 8, 8)

    @torch.no_grad()
    def call():
        for t in times:
            _ = unet(x, t).sample

    return call


def drawing(pipeline: Any, batch: int):
    """The pipeline's own call."""
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": STEPS, "output_type": "pt", "return_dict": False}
    return lambda: pipeline(batch, **settings)


def schedulers(diffusers: Any) -> dict[str, Any]:
    """The plan, and what it stands beside, each with the network's own betas and prediction."""
    trained = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    ddim = diffusers.DDIMScheduler(clip_sample=False, **trained)
    grid = ft.adapters.diffusers.grid(ddim, STEPS)
    plan = ft.samplers.dpm_solver_pp(grid.path, grid, order=2)
    return {
        "fewtheory plan, DPM-Solver++(2M)": ft.adapters.diffusers.scheduler(plan, ddim),
        "diffusers DPMSolverMultistepScheduler": diffusers.DPMSolverMultistepScheduler(**trained),
        "diffusers DDIMScheduler": ddim,
    }


def main() -> None:
    """Time a step of each pipeline at batch 1 and 64, with the network and without."""
    if importlib.util.find_spec("diffusers") is None:
        print("\npipeline: diffusers is not installed")
        return
    diffusers = importlib.import_module("diffusers")
    unet, made = ft.zoo.load("digits-unet-v").network, schedulers(diffusers)
    free = copy.deepcopy(unet)
    free.forward = lambda x, t: SimpleNamespace(sample=x)
    times = next(iter(made.values())).timesteps
    for batch, rounds in ((1, 60), (64, 10)):
        runs = {"the bare network": bare(unet, batch, times)}
        alone = {}
        for name, scheduler in made.items():
            runs[name] = drawing(diffusers.DDPMPipeline(unet, scheduler), batch)
            alone[name] = drawing(diffusers.DDPMPipeline(free, scheduler), batch)
        with warnings.catch_warnings():  # diffusers hands tensors to NumPy in each set_timesteps
            warnings.simplefilter("ignore", DeprecationWarning)
            took = {name: v / STEPS for name, v in medians(runs, rounds=rounds).items()}
            above = {name: v / STEPS for name, v in medians(alone, rounds=100).items()}
        show(f"a step of DDPMPipeline on ({batch}, 1, 8, 8), torch CPU", took, "the bare network")
        print("  without the network, and as a share of it:")
        for name, value in above.items():
            share = value / took["the bare network"]
            print(f"  {name:44s} {value / 1e3:12.3f} ms   {share:8.1%}")


if __name__ == "__main__":
    main()
