"""Every sampler on every grid at 3 to 20 evaluations: testbeds with an exact flow, and networks.

`python docs/compare.py` computes what docs/comparison.json does not hold yet (`--fresh`: all of
it), and makes docs/comparison.md and paper_figs/comparison.png; with `--from-json` these two alone.
Run by `make comparison`. The error is the root mean square distance a coordinate, from the same
starts, to the exact flow (testbeds) or to the network's own ODE solved finely; mean over seeds and
its standard error. Samplers that draw noise follow no flow and are left out.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tuned
from joblib import Parallel, delayed

import fewtheory as ft
from fewtheory.arrays import to_numpy
from fewtheory.files import write_whole
from fewtheory.paths import Path as NoisePath
from fewtheory.plan import VARIANTS, Plan, grids

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = (3, 4, 5, 6, 8, 10, 15, 20)
SEEDS = 5
GRIDS: dict[str, Callable[[NoisePath, int], grids.Grid]] = {
    "log-SNR": grids.log_snr,
    "uniform": grids.uniform,
    "quadratic": grids.quadratic,
    "Karras": grids.karras,
}


@dataclass(frozen=True)
class World:
    """A model, starts by seed (rows, *event), where they should end, and conditions by count."""

    name: str
    model: ft.Model
    starts: Callable[[int], Any]
    exact: Callable[[Any], Any]
    cond: Callable[[int], dict[str, Any]]
    bed: Any = None

    def errors(self, plan: Plan, seeds: Sequence[int]) -> np.ndarray:
        """For each seed the rms distance a coordinate of the output to where the flow ends."""
        drawn = [self.starts(seed) for seed in seeds]
        x = ft.arrays.namespace(drawn[0]).concat(drawn)
        out = to_numpy(plan.run(self.model, x, **self.cond(len(x))))
        ends = np.concatenate([to_numpy(self.exact(v)) for v in drawn])
        off = (out.astype(np.float64) - ends) ** 2
        return np.sqrt(off.reshape(len(drawn), -1).mean(axis=1))


def _testbed(name: str, make: Callable[[], Any], points: int) -> World:
    path, bed = ft.paths.VPLinear(), make()
    flow = bed.flow(path)

    @functools.cache
    def starts(seed: int) -> Any:
        return bed.at(path, path.start).sample(points, rng=np.random.default_rng(seed))

    ends = _kept(lambda x: flow(x, path.start, path.end))
    return World(name, bed.model(path, "data"), starts, ends, lambda n: {}, bed)


def _kept(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function, computed once for each array object."""
    known: dict[int, tuple[Any, Any]] = {}

    def wrapped(x: Any) -> Any:
        if id(x) not in known:
            known[id(x)] = (x, function(x))  # x is kept, so that its id stays its own
        return known[id(x)][1]

    return wrapped


def _digits() -> Any:
    from fewtheory.zoo.data import digits

    return ft.testbeds.fit_product_mixture(digits().x.reshape(-1, 64).double().numpy())


def _product() -> Any:
    from fewtheory.zoo.data import product

    return product()


def _bimodal() -> Any:
    return ft.testbeds.mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])


def _network(name: str, labels: bool, rows: int = 5) -> World:
    import torch

    torch.set_num_threads(1)
    entry = ft.zoo.load(name)
    path, model = entry.model.path, entry.model
    scale = math.hypot(path.alpha(path.start) * 0.5, path.sigma(path.start))

    def cond(n: int) -> dict[str, Any]:
        return {"class_labels": torch.arange(n) % 10} if labels else {}

    @functools.cache
    def starts(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return scale * torch.randn(rows, *entry.recipe.shape, generator=generator)

    def quiet(x: Any, t: Any, **given: Any) -> Any:
        with torch.no_grad():
            return model.function(x, t, **given)

    frozen = ft.Model(quiet, path, model.prediction, model.cond)
    fine = ft.samplers.unipc(path, grids.log_snr(path, 120), order=3)
    # every seed has the labels of its own rows, as `errors` stacks them
    ends = _kept(lambda x: fine.run(frozen, x, **cond(len(x))))
    return World(name, frozen, starts, ends, lambda n: _stacked(cond(rows), n // rows))


def _stacked(cond: dict[str, Any], times: int) -> dict[str, Any]:
    return {name: value.repeat(times) for name, value in cond.items()}


BEDS = {
    "bimodal, 1-D": (_bimodal, 512),
    "product of mixtures, 16-D": (_product, 64),
    "law of digits, 64-D": (_digits, 16),
}
NETWORKS = {  # and whether it asks for labels
    "mixture-mlp": False,
    "mixture-mlp-flow": False,
    "product-mlp": False,
    "digits-mlp": False,
    "digits-unet": True,
    "digits-unet-v": False,
    "digits-dit": True,
}
WORLDS: dict[str, Callable[[], World]] = {
    **{name: functools.partial(_testbed, name, *given) for name, given in BEDS.items()},
    **{name: functools.partial(_network, name, labels) for name, labels in NETWORKS.items()},
}


def plans(path: NoisePath, budget: int) -> Iterator[tuple[str, str, Plan]]:
    """(sampler, grid, plan) of everything that fits the budget and needs nothing of the world."""
    for variant in VARIANTS:
        steps, left = divmod(budget, variant.per_step)
        if variant.stochastic or left or steps == 0:
            continue
        for name, grid in GRIDS.items():
            try:
                yield variant.name, name, variant(path, grid(path, steps))
            except ValueError:  # what the sampler refuses by name: a path or a grid not its own
                continue


def rows_of(
    name: str, seeds: int, budgets: Sequence[int], known: Collection[tuple[Any, ...]] = ()
) -> list[dict[str, Any]]:
    """The errors of one world, but for (sampler, grid, evaluations) that are known."""
    world, found = WORLDS[name](), []
    for budget in budgets:
        fitted = tuned.plans(world, budget, [key[:2] for key in known if key[2] == budget])
        for sampler, grid, plan in itertools.chain(plans(world.model.path, budget), fitted):
            if (sampler, grid, plan.nfe) in known:
                continue
            with np.errstate(all="ignore"):
                errors = world.errors(plan, range(seeds))
                mean, spread = errors.mean(), errors.std(ddof=1) / math.sqrt(seeds)
            row = {"world": name, "sampler": sampler, "grid": grid, "nfe": plan.nfe}
            found.append({**row, "rms": _digits_of(mean, 3), "se": _digits_of(spread, 1)})
    return found


def _digits_of(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def computed(jobs: int, seeds: int, kept: Path) -> None:
    """All worlds' errors, into a file: each world and budget as it is done, what is there kept."""
    table: dict[str, Any] = {"budgets": list(BUDGETS), "seeds": seeds, "rows": []}
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        table["rows"] = before["rows"] if before["seeds"] == seeds else []
    known: dict[str, set[tuple[Any, ...]]] = {name: set() for name in WORLDS}
    for r in table["rows"]:
        known[r["world"]].add((r["sampler"], r["grid"], r["nfe"]))
    parts = [(name, budget) for budget in BUDGETS for name in reversed(WORLDS)]
    done: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(rows_of)(name, seeds, [budget], known[name]) for name, budget in parts
    )
    for k, rows in enumerate(done, start=1):
        table["rows"] = sorted([*table["rows"], *rows], key=_place)
        print(f"{k} of {len(parts)}: {len(rows)} rows", flush=True)
        text = ",\n".join(json.dumps(row) for row in table["rows"])
        head = json.dumps({**table, "rows": None}).replace("null", f"[\n{text}\n]")
        write_whole(kept, head + "\n")


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return (list(WORLDS).index(row["world"]), row["sampler"], row["grid"], row["nfe"])


def main(argv: Sequence[str] | None = None) -> int:
    """Compute, unless told to take the JSON as it is, and make the page and the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--from-json", action="store_true", help="make the page and figure alone")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument("--fresh", action="store_true", help="compute what is there again")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="starts (default: 5)")
    arguments = parser.parse_args(argv)
    kept = ROOT / "docs/comparison.json"
    if not arguments.from_json:
        if arguments.fresh:
            kept.unlink(missing_ok=True)
        computed(arguments.jobs, arguments.seeds, kept)
    import comparison_page

    table = json.loads(kept.read_text(encoding="utf-8"))
    write_whole(ROOT / "docs/comparison.md", comparison_page.page(table))
    comparison_page.figure(table, ROOT / "paper_figs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
