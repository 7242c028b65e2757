"""On a CUDA device: a sampler's step, the score of a mixture, the zoo's networks, training.

Skipped where there is none. The step is read against the device's own copy: a step that combines k
arrays must read k and write one, and the fraction of the copy's bandwidth that this reaches is what
fusing the additions could still win.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import fewtheory as ft

STEPS = 50
PATH = ft.paths.Table(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))


def seconds(call: Callable[[], object], rounds: int = 20) -> float:
    """The median time of a call, the device idle before and after."""
    for _ in range(3):
        call()
    found = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def step() -> None:
    """The update of DPM-Solver++(2M) alone, from launch-bound to memory-bound."""
    big = torch.empty(2**28, device="cuda")
    other = torch.empty_like(big)
    copy = 2 * big.nbytes / seconds(lambda: other.copy_(big))
    print(f"device copy: {copy / 1e9:.0f} GB/s, bytes read and written")
    del big, other
    plan = ft.samplers.dpm_solver_pp(PATH, ft.plan.grids.uniform(PATH, STEPS), order=2)
    terms = np.count_nonzero(plan.predicting("noise").P, axis=1) + np.count_nonzero(
        plan.predicting("noise").B, axis=1
    )
    reads = float(np.mean(terms[1:]))
    for shape in ((1, 4, 64, 64), (64, 4, 64, 64), (64, 16, 256, 256)):
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(shape, device="cuda").to(dtype)
            m = torch.randn(shape, device="cuda").to(dtype)
            model = ft.Model(lambda u, t, m=m: m, PATH, "noise")
            took = seconds(lambda model=model, x=x: plan.run(model, x)) / STEPS
            moved = (reads + 1) * 4 * x.numel() / took  # half precision is updated in float32
            print(
                f"step {shape!s:18} {str(dtype)[6:]:8} {took * 1e6:9.1f} us, "
                f"{moved / 1e9:7.0f} GB/s needed ({100 * moved / copy:.0f}% of the copy's)"
            )


def score() -> None:
    """Log density and score of a mixture of ten components, a million points, by the array twin."""
    rng = np.random.default_rng(0)
    for d in (2, 64):
        root = rng.standard_normal((10, d, d)) / d**0.5
        covs = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(d)
        bed = ft.testbeds.GaussianMixture(np.full(10, 0.1), rng.standard_normal((10, d)), covs)
        n = 1_000_000 if d == 2 else 100_000
        host = bed.sample(n, rng=rng)
        bed.score(host)
        start = time.perf_counter()
        bed.score(host)
        on_host = time.perf_counter() - start
        for dtype in (torch.float32, torch.float64):
            x = torch.from_numpy(host).to("cuda", dtype)
            took = seconds(lambda bed=bed, x=x: bed.score(x), 10)
            print(
                f"score d = {d:2}, {str(dtype)[6:]}: {n / took / 1e6:8.1f} million points a second "
                f"({on_host / took:.1f} x NumPy on the host)"
            )


def networks() -> None:
    """One evaluation of each network of the zoo, and a step of a plan in its pipeline."""
    for name in ("digits-mlp", "digits-unet-v", "digits-dit"):
        entry = ft.zoo.load(name)
        entry.network.cuda()
        model = entry.model
        cond: dict[str, Any] = {} if entry.recipe.null is None else {"class_labels": 3}
        for n in (1, 64, 1024):
            x = torch.randn(n, 1, 8, 8, device="cuda")
            plan = ft.samplers.dpm_solver_pp(
                model.path, ft.plan.grids.log_snr(model.path, 20), order=2
            )
            with torch.no_grad():
                bare = seconds(lambda m=model, x=x, c=cond: m.function(x, 0.5, **c))
                run = seconds(lambda p=plan, m=model, x=x, c=cond: p.run(m, x, **c), 5) / 20
            print(
                f"{name:14} batch {n:4}: network {bare * 1e3:.2f} ms, "
                f"a step of a run {run * 1e3:.2f} ms"
            )


def training() -> None:
    """Steps of training a second, network and loop together."""
    for name in ("digits-unet", "digits-mlp"):
        for precision in ("no", "bf16"):
            recipe = ft.zoo.recipes.RECIPES[name]
            network = recipe.network()
            players = recipe.players(recipe, network)
            fitted = ft.train.fit(
                players,
                recipe.data(),
                150,
                rng=torch.Generator().manual_seed(0),
                batch=recipe.batch,
                precision=precision,
            )
            rate = 150 / fitted.seconds
            print(
                f"training {name:12} precision {precision:4}: {rate:.0f} steps a second, warm-up in"
            )


def main() -> None:
    """All of it, on the first CUDA device."""
    if not torch.cuda.is_available():
        print("\nno CUDA device: its benchmarks are left out")
        return
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for part in (step, score, networks, training):
        part()


if __name__ == "__main__":
    main()
