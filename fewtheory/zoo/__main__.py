"""The zoo's commands.

- `python -m fewtheory.zoo`: what there is
- `python -m fewtheory.zoo train NAME`: train one, into ./zoo (resumes if it was stopped)
- `python -m fewtheory.zoo check NAME`: train one with a fresh seed, compare with its card
- `python -m fewtheory.zoo card NAME DIR...`: make a card from trainings with several seeds
- `python -m fewtheory.zoo time NAME...`: write into cards how long training takes here
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..files import write_whole
from .card import expected, measure, spread
from .data import HELD_OUT, SPLIT_SEED
from .entry import WEIGHTS, load, names, train

MAY_MISS = 2  # of a card's numbers: 20 intervals of 99% all hold in four cases of five


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0 if all is well, 1 where a check fails, 2 for misuse."""
    top = argparse.ArgumentParser(prog="python -m fewtheory.zoo", description="small networks")
    commands = top.add_subparsers(metavar="command")
    top.set_defaults(command=_list)
    training = commands.add_parser("train", help="train a network from its recipe")
    training.set_defaults(command=_train)
    checking = commands.add_parser("check", help="train again and compare with the card")
    checking.set_defaults(command=_check)
    for parser, seed in ((training, 0), (checking, 101)):
        parser.add_argument("name", choices=names())
        parser.add_argument("--seed", type=int, default=seed)
        parser.add_argument(
            "--device", choices=["cpu", "cuda"], help="default: the fastest there is"
        )
        parser.add_argument("--into", default="zoo", metavar="FOLDER", help="default: ./zoo")
    carding = commands.add_parser("card", help="write a card, and keep the first folder's weights")
    carding.set_defaults(command=_card)
    carding.add_argument("name", choices=names())
    carding.add_argument("folders", nargs="+")
    timing = commands.add_parser("time", help="write into cards how long training takes here")
    timing.set_defaults(command=_time)
    timing.add_argument("names", nargs="+", choices=names())
    arguments = top.parse_args(argv)
    try:
        return arguments.command(arguments)
    except (ValueError, OSError) as error:
        print(f"fewtheory.zoo: {error}", file=sys.stderr)
        return 2


def _list(arguments: Any) -> int:
    for name in names():
        entry = load(name)
        number = sum(p.numel() for p in entry.network.parameters())
        print(f"{name:18} {number:9,} parameters  {entry.recipe.about}")
    return 0


def _train(arguments: Any) -> int:
    Path(arguments.into).mkdir(parents=True, exist_ok=True)
    file = train(
        arguments.name,
        arguments.into,
        seed=arguments.seed,
        device=arguments.device,
        progress=sys.stderr.isatty(),
        on_record=_print,
    )
    print(f"wrote {file}")
    return 0


def _print(record: dict[str, Any]) -> None:
    if record["step"] % 500 == 0:
        print(f"step {record['step']:6}  loss {record['loss']:.4f}  {record['seconds']:.0f} s")


def _check(arguments: Any) -> int:
    known = load(arguments.name).card
    _train(arguments)
    found = measure(load(arguments.name, arguments.into))
    outside = 0
    print(f"{'number':28} {'found':>10} {'expected (99%)':>25}")
    for name, value in found.items():
        low, high = expected(known["numbers"][name])
        inside = low <= value <= high
        outside += not inside
        print(f"{name:28} {value:10.5f} {low:12.5f} {high:12.5f} {'' if inside else ' outside'}")
    print(
        f"{outside} of {len(found)} numbers lie outside: {'' if outside <= MAY_MISS else 'not '}"
        "as the card says"
    )
    return int(outside > MAY_MISS)


def _card(arguments: Any) -> int:
    name, folders = arguments.name, [Path(f) for f in arguments.folders]
    found = [measure(load(name, folder)) for folder in folders]
    logs = [json.loads((f / f"{name}-log.json").read_text(encoding="utf-8")) for f in folders]
    entry = load(name, folders[0])
    recipe, digits = entry.recipe, name.startswith("digits")
    card = {
        "name": name,
        "about": recipe.about,
        "command": f"python -m fewtheory.zoo train {name}",
        "data": "digits of scikit-learn" if digits else "testbed, drawn afresh at each step",
        "split": {"train": 1797 - HELD_OUT, "held-out": HELD_OUT, "seed": SPLIT_SEED}
        if digits
        else None,
        "parameters": sum(p.numel() for p in entry.network.parameters()),
        "steps": recipe.steps,
        "batch": recipe.batch,
        "seeds": [log["seed"] for log in logs],
        "last loss": [log["log"][-1]["loss"] for log in logs],
        "numbers": spread(found),
    }
    WEIGHTS.mkdir(exist_ok=True)
    shutil.copyfile(folders[0] / f"{name}.safetensors", WEIGHTS / f"{name}.safetensors")
    write_whole(WEIGHTS / f"{name}.json", json.dumps(card, indent=1) + "\n")
    print(f"wrote {WEIGHTS / name}.json")
    return 0


def _time(arguments: Any) -> int:
    for name in arguments.names:
        file = WEIGHTS / f"{name}.json"
        card = json.loads(file.read_text(encoding="utf-8"))
        card["minutes on two cores"] = round(card["steps"] * _seconds_a_step(name) / 60, 1)
        write_whole(file, json.dumps(card, indent=1) + "\n")
        print(f"{name}: about {card['minutes on two cores']} minutes on two cores")
    return 0


def _seconds_a_step(name: str) -> float:
    """The time of a step of training on two threads: the median of thirty."""
    before, times = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        with tempfile.TemporaryDirectory() as folder:
            train(name, folder, steps=36, device="cpu", log_every=1, on_record=times.append)
    finally:
        torch.set_num_threads(before)
    ends = [record["seconds"] for record in times[5:]]
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


if __name__ == "__main__":
    sys.exit(main())
