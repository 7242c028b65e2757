"""A grid of small diffusion models on digits, some of them noisy: what is a noisy sample worth?

`python docs/ambient_grid.py` trains what docs/ambient-grid.json does not hold yet (`--fresh`: all
of it) and makes docs/ambient-grid.md; with `--from-json` this alone. Run by `make ambient-grid`.
Every model has the same network, steps and batch; they differ in how many of the digits are clean,
how many are seen only with noise of one level, fixed once for all, and in the seed that chooses
them. Models are trained through `joblib.Parallel`: `--jobs`, or the backend of `parallel_config`.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

import fewtheory as ft
from fewtheory.files import write_whole
from fewtheory.plan import grids

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    "network": "EDMPreconditioned(MLP(64, width=192, depth=1), 0.5)",
    "steps": 1250,
    "batch": 128,
    "rate": 3e-3,
    "levels": [-0.8, 1.4],  # mean and deviation of log sigma
    "denoising_levels": [0.1, 0.2, 0.4, 0.8, 1.6],
    "noises": 8,  # of each held-out digit at each level, the same for all models
    "samples": 2000,
    "heun_steps": 18,
}
SIGMAS = (0.1, 0.2, 0.4, 0.8)
TOTAL = 1437  # the zoo's training digits
CLEAN_ONLY = (29, 72, 144, 287, 431, 719, TOTAL)
MIXES = ((0, TOTAL), (29, TOTAL), (144, TOTAL), (431, TOTAL), (29, 479), (144, 479))  # clean, all
SEEDS = 2


@dataclass(frozen=True, order=True)
class Run:
    """One model: how many digits are clean and noisy, the noise, the rule of weights, the seed."""

    seed: int
    n_clean: int
    n_noisy: int = 0
    sigma_n: float = 0.0
    weight: str = "loss"


def runs() -> Iterator[Run]:
    """All of the grid: the clean baselines first."""
    for seed in range(SEEDS):
        yield from (Run(seed, n) for n in CLEAN_ONLY)
        for sigma_n in SIGMAS:
            yield from (Run(seed, n, total - n, sigma_n) for n, total in MIXES)
    for seed in range(SEEDS):
        yield from (Run(seed, 144, TOTAL - 144, sigma_n, "best") for sigma_n in SIGMAS)


def data_of(run: Run) -> dict[str, Any]:
    """The digits of a run and their noise levels: nested in the number of digits for a seed."""
    import torch

    x, rng = ft.zoo.digits().x, torch.Generator().manual_seed(1000 + run.seed)
    order, noise = torch.randperm(len(x), generator=rng), torch.randn(x.shape, generator=rng)
    level = torch.zeros(len(x))
    level[run.n_clean :] = run.sigma_n
    noisy = x[order] + level[:, None, None, None] * noise
    kept = slice(run.n_clean + run.n_noisy)
    return {"x": noisy[kept], "noise_level": level[kept]}


def spectrum() -> np.ndarray:
    """Eigenvalues of the covariance of the training digits, which a user would have to debias."""
    x = ft.zoo.digits().x.reshape(-1, 64).double().numpy()
    return np.clip(np.linalg.eigvalsh(np.cov(x.T))[::-1], 0.0, None)


def trained(run: Run) -> ft.Model:
    """The run's model, with the average of its weights."""
    import torch

    from fewtheory.learning.ambient._torch import ambient_denoising
    from fewtheory.learning.ambient.levels._torch import LogNormalLevels
    from fewtheory.learning.ambient.shares import MixedData
    from fewtheory.zoo.networks import MLP, EDMPreconditioned

    steps, mixed = SETTINGS["steps"], None
    optimizer = functools.partial(
        torch.optim.AdamW, lr=SETTINGS["rate"], weight_decay=1e-2, fused=True
    )
    if run.weight == "best":
        mixed = MixedData(spectrum(), run.sigma_n, run.n_clean, run.n_noisy)
    with torch.random.fork_rng([]):
        torch.manual_seed(run.seed)  # of the first weights alone
        network = EDMPreconditioned(MLP(64, width=192, depth=1), 0.5)
    as_model = functools.partial(ft.adapters.torch.model, path=ft.paths.EDM(), prediction="data")
    players = ambient_denoising(
        network,
        as_model,
        levels=LogNormalLevels(*SETTINGS["levels"]),
        weight=run.weight,
        mixed=mixed,
        optimizer=optimizer,
        schedule=ft.train.cosine_decay(steps, warmup=100),
        ema=0.995,
        clip=1.0,
    )
    data = data_of(run)

    def draw(n: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(data["x"]), (n,), generator=rng)  # fewer digits than a batch
        return {name: value[rows] for name, value in data.items()}

    rng = torch.Generator().manual_seed(run.seed)
    fitted = ft.train.fit(players, draw, steps, rng=rng, batch=SETTINGS["batch"])
    return as_model(fitted.averages["denoiser"])


def denoising_errors(model: ft.Model) -> dict[str, list[float]]:
    """For each level E |D(x + sigma z) - x|^2 / 64 over held-out digits, and its standard error."""
    import torch

    x, found = ft.zoo.digits("held-out").x, {}
    rng = torch.Generator().manual_seed(5)
    for sigma in SETTINGS["denoising_levels"]:
        z = torch.randn(SETTINGS["noises"], *x.shape, generator=rng)
        seen = (x + sigma * z).reshape(-1, *x.shape[1:])
        off = (model(seen, sigma).reshape(z.shape) - x).square().mean((0, 2, 3, 4)).double()
        found[str(sigma)] = _rounded(float(off.mean()), float(off.std()) / math.sqrt(len(x)))
    return found


def drawn(model: ft.Model, run: Run) -> Any:
    """Samples by EDM's Heun steps; from noisy digits alone down to their level, then denoised."""
    import torch

    path, steps = model.path, SETTINGS["heun_steps"]
    alone = run.n_clean == 0
    end = run.sigma_n if alone else 0.002
    grid = grids.karras(path, steps - (not alone), end=end)
    plan = ft.samplers.edm_stochastic(path, grid if alone else grid.to_clean())
    rng = torch.Generator().manual_seed(7)  # the same starts for all
    x = path.start * torch.randn(SETTINGS["samples"], 1, 8, 8, generator=rng)
    x = plan.run(model, x)
    return model(x, end) if alone else x


def frechet(x: Any) -> dict[str, list[float]]:
    """Frechet distances to held-out digits: as n to infinity, its standard error, as it stands."""
    held, rng = ft.zoo.digits("held-out").x, np.random.default_rng(11)
    features: Any = ft.zoo.load("digits-classifier").network.features
    found: dict[str, list[float]] = {}
    for name, of in {"features": features, "pixels": lambda v: v.flatten(1)}.items():
        limit = ft.metrics.frechet_limit(of(x).double(), of(held).double(), rng=rng)
        found[name] = [*_rounded(limit.value, limit.standard_error), float(f"{limit.at_n:.5g}")]
    return found


def variances(x: Any) -> list[float]:
    """Of the samples along the principal directions of all training digits."""
    digits = ft.zoo.digits().x.reshape(-1, 64).double().numpy()
    _, V = np.linalg.eigh(np.cov(digits.T))
    along = x.reshape(-1, 64).double().numpy() @ V[:, ::-1]
    return [float(f"{v:.4g}") for v in along.var(axis=0, ddof=1)[:48]]  # 48: the rest have none


def row_of(run: Run) -> dict[str, Any]:
    """A model trained and measured."""
    import torch

    torch.set_num_threads(1)
    began = time.monotonic()
    model = trained(run)
    with torch.no_grad():
        x = drawn(model, run)
        found = {"denoising": denoising_errors(model), "frechet": frechet(x)}
    seconds = round(time.monotonic() - began, 1)
    return {**asdict(run), **found, "variances": variances(x), "seconds": seconds}


def _rounded(value: float, error: float) -> list[float]:
    return [float(f"{value:.5g}"), float(f"{error:.2g}")]


def _run_of(row: dict[str, Any]) -> Run:
    return Run(**{name: row[name] for name in Run.__dataclass_fields__})


def computed(jobs: int, kept: Path, few: int | None = None) -> None:
    """Train what the file does not hold; each model is written when it is done, with all others."""
    rows: list[dict[str, Any]] = []
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        rows = before["rows"] if before["settings"] == SETTINGS else []
    known = {_run_of(row) for row in rows}
    missing = [run for run in runs() if run not in known][:few]
    done: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(row_of)(run) for run in missing
    )
    for k, row in enumerate(done, start=1):
        rows = sorted([*rows, row], key=lambda r: (r["sigma_n"], r["weight"], _run_of(r)))
        print(f"{k} of {len(missing)}: {_run_of(row)}, {row['seconds']} s", flush=True)
        written(kept, {"settings": SETTINGS, "rows": rows})


def written(kept: Path, table: dict[str, Any]) -> None:
    """The table as JSON, whole, one model a line."""
    lists = {name: value for name, value in table.items() if isinstance(value, list)}
    parts = [f'"settings": {json.dumps(table["settings"])}']
    for name, values in lists.items():
        text = ",\n".join(json.dumps(v) for v in values)
        parts.append(f'"{name}": [\n{text}\n]')
    write_whole(kept, "{" + ",\n".join(parts) + "}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Train, unless told to take the JSON as it is, and make the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--from-json", action="store_true", help="fit the laws and make the page alone"
    )
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="default: one a core")
    parser.add_argument("--fresh", action="store_true", help="train what is there again")
    parser.add_argument("--few", type=int, metavar="N", help="train at most N models")
    arguments = parser.parse_args(argv)
    kept = ROOT / "docs/ambient-grid.json"
    if not arguments.from_json:
        if arguments.fresh:
            kept.unlink(missing_ok=True)
        computed(arguments.jobs, kept, arguments.few)
    import ambient_grid_page

    table = json.loads(kept.read_text(encoding="utf-8"))
    table["spectrum"] = [float(f"{v:.5g}") for v in spectrum()]
    table["laws"] = ambient_grid_page.laws(table["rows"], spectrum())
    written(kept, table)
    write_whole(ROOT / "docs/ambient-grid.md", ambient_grid_page.page(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
