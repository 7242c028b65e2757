"""Students of every distillation method, trained here and measured against the truth.

`python docs/distilled.py` trains what docs/distilled.json does not hold yet (`--fresh`: all of it)
and makes docs/distilled.md; `--from-json` makes this alone. `--seed` adds another seed of all
students; `--unet` trains the students of a UNet too, whose rows stay otherwise. Run by `make
distilled`. Students are trained through `joblib.Parallel`: `--jobs`, or the backend of
`parallel_config`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from fewtheory.files import write_whole

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a student a core
sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs/distilled.json"
UNET = "digits, UNet"
AT_ONCE = 40_000  # samples: what they take is used again, more at a time would be asked for anew
Row = dict[str, Any]
Key = tuple[str, str, int, int]


def key(row: Row) -> Key:
    """What tells a row from the others."""
    return row["world"], row["method"], row["steps"], row["seed"]


def student_row(run: Any) -> Row:
    """A student trained and measured."""
    import torch
    from distilled_runs import trained
    from distilled_worlds import of_tilt, world

    torch.set_num_threads(1)
    done, w, rng = trained(run), world(run.world), torch.Generator().manual_seed(7)
    x = torch.cat([done.draw(len(part), rng) for part in torch.empty(w.samples).split(AT_ONCE)])
    millions = {who: float(f"{n / 1e6:.3g}") for who, n in done.rows.items()}
    found = {"found": w.measure(x), "million rows": millions, "seconds": round(done.seconds, 1)}
    if run.world == "mixture" and run.method.startswith("flash-dmd"):
        found["tilt"] = of_tilt(x)
    return {**asdict(run), **found}


def reference_row(name: str, method: str, steps: int) -> Row:
    """What a student is compared with: exact draws, the teacher's sampler, no training."""
    import torch
    from distilled_references import measured

    torch.set_num_threads(1)
    found = {"found": measured(name, method, steps), "million rows": {}, "seconds": 0.0}
    return {"world": name, "method": method, "steps": steps, "seed": 0, **found}


def tasks(seed: int, unet: bool) -> list[tuple[Key, Callable[..., Row], tuple[Any, ...]]]:
    """(key, function, arguments) of each row."""
    from distilled_references import REFERENCES
    from distilled_runs import runs

    found: list[tuple[Key, Callable[..., Row], tuple[Any, ...]]] = [
        ((name, method, steps, 0), reference_row, (name, method, steps))
        for name, method, steps in REFERENCES
        if unet or name != UNET
    ]
    students = [run for run in runs(seed) if unet or run.world != UNET]
    found += [((r.world, r.method, r.steps, r.seed), student_row, (r,)) for r in students]
    return found


def computed(jobs: int, seed: int, unet: bool, fresh: bool, few: int | None) -> None:
    """Train what the file does not hold; each row is written when it is done, with all others."""
    import distilled_chain

    table: dict[str, Any] = {"rows": [], "chain": []}
    if KEPT.is_file():
        table.update(json.loads(KEPT.read_text(encoding="utf-8")))
    if fresh:
        kept = [row for row in table["rows"] if row["world"] == UNET and not unet]
        table = {"rows": kept, "chain": []}
    known = {key(row) for row in table["rows"]}
    missing = [task for task in tasks(seed, unet) if task[0] not in known][:few]
    done: Any = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(function)(*arguments) for _, function, arguments in missing
    )
    for k, row in enumerate(done, start=1):
        table["rows"].append(row)
        print(f"{k} of {len(missing)}: {key(row)}, {row['seconds']} s", flush=True)
        written(table)
    chained = {(r["steps"], r["a"], r["told"], r["seed"]) for r in table["chain"]}
    left = [(*who, seed) for who in distilled_chain.STUDENTS if (*who, seed) not in chained]
    for rows in Parallel(n_jobs=jobs)(delayed(distilled_chain.rows)(*who) for who in left[:few]):
        table["chain"] += rows
    written(table)


def written(table: dict[str, Any]) -> None:
    """The table as JSON, whole, one row a line, in the order of the page."""
    from distilled_page import order

    table["rows"].sort(key=order)
    table["chain"].sort(key=lambda r: (r["steps"], r["a"], r["told"], r["seed"], -r["gamma"]))
    parts = []
    for name, rows in sorted(table.items()):
        text = ",\n".join(json.dumps(row) for row in rows)
        parts.append(f'"{name}": [\n{text}\n]')
    write_whole(KEPT, "{" + ",\n".join(parts) + "}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Train, unless told to take the JSON as it is, and make the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--from-json", action="store_true", help="make the page alone")
    parser.add_argument("--jobs", type=int, default=-1, metavar="N", help="default: one a core")
    parser.add_argument("--fresh", action="store_true", help="train what is there again")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="of all draws")
    parser.add_argument("--few", type=int, metavar="N", help="at most N rows")
    parser.add_argument("--unet", action="store_true", help="the UNet's students too")
    arguments = parser.parse_args(argv)
    if not arguments.from_json:
        a = arguments
        computed(a.jobs, a.seed, a.unet, a.fresh, a.few)
    import distilled_page

    table = json.loads(KEPT.read_text(encoding="utf-8"))
    write_whole(ROOT / "docs/distilled.md", distilled_page.page(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
