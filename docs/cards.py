"""Writes docs/zoo.md, the cards of the zoo's networks as a page. Run by `make readme`."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "fewtheory/zoo/weights"
HEAD = """# The zoo, card by card

Small networks that were trained here, to try samplers and losses on real weights whose quality is
known. Each number is of the committed weights (float16, run in float32); in brackets the standard
deviation over the seeds that were trained. A network trained again is expected within their
spread: `python -m fewtheory.zoo check NAME` trains one with a fresh seed and says whether it is.

Levels are noise-to-signal ratios rho = sigma / alpha. On digits the error is mean |D - x_0|^2 a
pixel, of images in [-1, 1], on the 1,437 digits of the training split and the 360 that were held
out. On a testbed the excess is mean |D - D*|^2 / d, D* the exact denoiser: it is what the
network's loss has above the least one, mean |D* - x_0|^2 / d, which stands beside it.

The Frechet distance is that of 360 samples to the 360 held-out digits, in the 32 features of the
classifier, a mean of four; its floor is what 360 training digits give in place of samples.

This page is made from the cards in `fewtheory/zoo/weights` by `make readme`."""


def page() -> str:
    """The page."""
    cards = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(WEIGHTS.glob("*.json"))]
    return "\n\n".join([HEAD, *(section(card) for card in cards)]) + "\n"


def section(card: dict) -> str:
    """One network: how it was made, its numbers, its loss against level."""
    numbers = card["numbers"]
    seeds = ", ".join(map(str, card["seeds"]))
    data = card["data"]
    if card["split"]:
        split = card["split"]
        data += (
            f", {split['train']:,} and {split['held-out']} held out (split seed {split['seed']})"
        )
    facts = [
        f"- {card['about']}; {card['parameters']:,} parameters",
        f"- data: {data}; {card['steps']:,} steps of {card['batch']} rows",
        f"- seeds {seeds}; the weights are those of seed {card['seeds'][0]}",
        f"- `{card['command']}`, {card['minutes on two cores']} minutes on two cores",
    ]
    others = [f"- {name}: {_said(n)}" for name, n in numbers.items() if not _level(name)]
    return "\n".join([f"## {card['name']}", "", *facts, *others, *_table(numbers)])


def _said(number: dict) -> str:
    """The value, and its spread over seeds where it has one."""
    spread = f" ({number['sd']:.1g})" if number["sd"] > 1e-9 * abs(number["mean"]) else ""
    return f"{number['value']:.4g}{spread}"


def _level(name: str) -> re.Match[str] | None:
    return re.fullmatch(r"(error train|error held-out|excess|least) at (\S+)", name)


def _table(numbers: dict) -> list[str]:
    """The numbers of each level, a row each; nothing where there are none."""
    found: dict[str, dict[str, str]] = {}
    for name, number in numbers.items():
        if match := _level(name):
            found.setdefault(match[1], {})[match[2]] = _said(number)
    if not found:
        return []
    levels = list(next(iter(found.values())))
    rows = ["", "| rho | " + " | ".join(found) + " |", "| ---: |" + " ---: |" * len(found)]
    return rows + [f"| {r} | " + " | ".join(v[r] for v in found.values()) + " |" for r in levels]


if __name__ == "__main__":
    (ROOT / "docs/zoo.md").write_text(page(), encoding="utf-8")
