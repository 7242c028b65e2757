"""Writes the generated parts of README.md: the tables of papers, samplers, digits and of the zoo.

The papers' state comes from the results of the last `make verify` (results.json), the comparison
from the last `make comparison` (docs/comparison.json), the digits from the last `make figures`
(paper_figs/digits.json), the zoo from its cards. Run by `make readme`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import comparison_page

from fewtheory.verify import claims, suites
from fewtheory.verify.claims import load

ROOT = Path(__file__).resolve().parents[1]
DEEP = ROOT / "verification/deep.json"  # what the expensive claims were last decided to be
WEIGHTS = ROOT / "fewtheory/zoo/weights"


def papers(results: list[dict] | None) -> str:
    """One row a paper: its suite, its title, its state.

    Without results the state says what the suite asks; with them, what was decided.
    """
    known, rows, group = set(suites()), [], ""
    for paper in json.loads((ROOT / "verification/papers.json").read_text()):
        if paper["group"] != group:
            group = paper["group"]
            rows += ["", f"**{group}**", "", "| suite | paper | state |", "| --- | --- | --- |"]
        state = "planned"
        if paper["suite"] in known:
            state = _state(paper["suite"], results)
        rows.append(f"| `{paper['suite']}` | {paper['title']} | {state} |")
    return "\n".join(rows).strip()


def _state(suite: str, results: list[dict] | None) -> str:
    asked = claims(load(suite))
    saboteurs = sum(len(c.saboteurs) for c in asked)
    if results is None:
        return f"{len(asked)} claims, {saboteurs} saboteurs"
    mine = [r for r in results if r["suite"] == suite and not r["deep"]]
    deep = [e for e in json.loads(DEEP.read_text(encoding="utf-8")) if e["suite"] == suite]
    held = sum(r["verdict"] == "holds" for r in [*mine, *deep])
    caught = sum(j["rejected"] for r in mine for j in r["rejections"])
    caught += sum(e["caught"] for e in deep)
    errata = sum(bool(r["erratum"]) for r in mine)
    return f"{held} of {len(asked)} claims hold, {caught} of {saboteurs} saboteurs caught" + (
        f", {errata} errata" if errata else ""
    )


def digits() -> str:
    """The rms errors of every sampler at a few budgets; the least of each column is bold."""
    table = json.loads((ROOT / "paper_figs/digits.json").read_text())
    budgets = [str(b) for b in table["budgets"]]
    judged = {k: v for k, v in table["results"].items() if any("rms" in f for f in v.values())}
    best = {b: min(f[b]["rms"] for f in judged.values() if b in f) for b in budgets}
    rows = [
        "| sampler | " + " | ".join(budgets) + " |",
        "| --- |" + " ---: |" * len(budgets),
    ]
    for name, found in judged.items():
        cells = []
        for b in budgets:
            value = found.get(b, {}).get("rms")
            text = "" if value is None else f"{value:#.2g}"
            cells.append(f"**{text}**" if value == best[b] else text)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def zoo() -> str:
    """One row a network: what it is, and the number of its card that says how good it is."""
    floor = json.loads((WEIGHTS / "digits-classifier.json").read_text())["numbers"]["frechet floor"]
    rows = ["| network | what it is | parameters | how good |", "| --- | --- | ---: | --- |"]
    for file in sorted(WEIGHTS.glob("*.json")):
        card = json.loads(file.read_text())
        rows.append(
            f"| `{card['name']}` | {card['about']} | {card['parameters']:,} | "
            f"{_quality(card['numbers'], floor['value'])} |"
        )
    return "\n".join(rows)


def _quality(numbers: dict, floor: float) -> str:
    """The value of the network that is committed, and the standard deviation over seeds."""

    def said(name: str, digits: str) -> str:
        found = numbers[name]
        spread = f"{found['sd']:.1%}" if digits.endswith("%") else f"{found['sd']:.1g}"
        return f"{found['value']:{digits}} (sd {spread})"

    if "frechet distance" in numbers:
        return f"Frechet distance {said('frechet distance', '.1f')}; real digits {floor:.1f}"
    if "sliced W2" in numbers:
        exact = numbers["sliced W2 of exact draws"]["value"]
        return f"sliced W2 {said('sliced W2', '.3f')}; exact draws {exact:.3f}"
    if "KL" in numbers:
        entropy = numbers["entropy"]["value"]
        return f"KL {said('KL', '.4f')} nats a sequence, of an entropy of {entropy:.2f}"
    return f"names {said('accuracy at 0', '.1%')} of held-out digits"


def filled(text: str, name: str, body: str) -> str:
    """The text with what stands between the markers of this name replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    if not re.search(pattern, text, flags=re.S):
        raise SystemExit(f"README.md has no markers <!-- {name} -->")
    return re.sub(pattern, lambda m: f"{m[1]}{body}\n{m[2]}", text, flags=re.S)


def main() -> None:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    found = ROOT / "results.json"
    if not found.is_file():
        raise SystemExit("no results.json: run `make verify` first")
    results = json.loads(found.read_text())
    text = filled(readme.read_text(), "papers", papers(results))
    text = filled(text, "digits", digits())
    compared = json.loads((ROOT / "docs/comparison.json").read_text())
    text = filled(text, "comparison", comparison_page.winners(compared))
    readme.write_text(filled(text, "zoo", zoo()))


if __name__ == "__main__":
    main()
