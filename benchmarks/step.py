"""A plan's step against a bare fused linear combination, and against diffusers' `step`.

The model is a constant that predicts noise, so what is timed is the sampler alone:
DPM-Solver++(2M), 50 steps, time a step. In noise prediction its step form has four nonzeros a row
(two states, two model outputs). The fused combination is a Numba loop that reads four arrays once
and writes one; beside it stands the same sum as a chain of torch operations.
"""

from __future__ import annotations

import importlib
import importlib.util

import numba
import numpy as np
import torch

import fewtheory as ft

from .timing import medians, show

STEPS = 50
PATH = ft.paths.Table(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))


@numba.njit
def fused(out, a, b, c, d, x, y, z, w):
    for i in range(out.size):
        out[i] = a * x[i] + b * y[i] + c * z[i] + d * w[i]


def plan_run(x: torch.Tensor, m: torch.Tensor):
    """50 steps of the plan."""
    model = ft.Model(lambda u, t: m, PATH, "noise")
    plan = ft.samplers.dpm_solver_pp(PATH, ft.plan.grids.uniform(PATH, STEPS), order=2)
    return lambda: plan.run(model, x)


def fused_run(x: torch.Tensor, m: torch.Tensor):
    """50 fused combinations of four tensors, each into a new one."""
    weights = [np.float32(v) for v in (0.9, 0.2, -0.1, 0.1)]
    flat = [v.numpy().ravel() for v in (x, x.clone(), m, m.clone())]

    def call():
        for _ in range(STEPS):
            fused(torch.empty_like(x).numpy().ravel(), *weights, *flat)

    return call


def chain_run(x: torch.Tensor, m: torch.Tensor):
    """50 combinations of four tensors by torch operations."""
    y, n = x.clone(), m.clone()

    def call():
        for _ in range(STEPS):
            torch.mul(x, 0.9).add_(y, alpha=0.2).add_(m, alpha=-0.1).add_(n, alpha=0.1)

    return call


def diffusers_runs(x: torch.Tensor, m: torch.Tensor):
    """50 steps of diffusers' schedulers, as its pipelines call them."""
    diffusers = importlib.import_module("diffusers")

    def runner(cls):
        scheduler = cls(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

        def call():
            scheduler.set_timesteps(STEPS)
            state = x
            for t in scheduler.timesteps[:STEPS]:
                scheduler.scale_model_input(state, t)
                state = scheduler.step(m, t, state, return_dict=False)[0]

        return call

    names = ("DDIM", "EulerDiscrete", "HeunDiscrete", "DPMSolverMultistep", "UniPCMultistep")
    return {f"diffusers {n}Scheduler": runner(getattr(diffusers, f"{n}Scheduler")) for n in names}


def main() -> None:
    """Time a step on 4 elements and on two usual shapes."""
    torch.manual_seed(0)
    peers = importlib.util.find_spec("diffusers") is not None
    for shape in ((1, 4), (4, 4, 64, 64), (64, 3, 32, 32)):
        x, m = torch.randn(shape), torch.randn(shape)
        runs = {
            "fused linear combination (numba)": fused_run(x, m),
            "the same by torch operations": chain_run(x, m),
            "fewtheory plan, DPM-Solver++(2M)": plan_run(x, m),
            **(diffusers_runs(x, m) if peers else {}),
        }
        with torch.no_grad():
            times = medians(runs, rounds=15)
        a_step = {name: value / STEPS for name, value in times.items()}
        show(f"one step on {shape} float32, torch CPU", a_step, "fused linear combination (numba)")


if __name__ == "__main__":
    main()
