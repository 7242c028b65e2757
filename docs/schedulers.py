"""Writes the pages on diffusers' schedulers: schedulers.md, scheduler-findings.md, kill-matrix.md.

`python docs/schedulers.py` audits every scheduler and every mutant, runs the reproductions of what
is known, keeps what it finds in schedulers.json and kill-matrix.json, and makes the pages; with
`--from-json` it makes the pages alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import scheduler_table

from fewtheory.audit.__main__ import matrix, table
from fewtheory.audit.known import KNOWN, LIBRARY, VERSION, Known
from fewtheory.audit.table import STEPS
from fewtheory.files import write_whole

DOCS = Path(__file__).resolve().parent
DIGITS = 4  # of a number that is kept


def main(argv: Sequence[str] | None = None) -> int:
    """Make the JSON files, unless told to take them as they are, and the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--from-json", action="store_true", help="make the pages alone")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    arguments = parser.parse_args(argv)
    if not arguments.from_json:
        for name, found in computed(arguments.jobs).items():
            write_whole(DOCS / name, found)
    for name, page in pages().items():
        write_whole(DOCS / name, page)
    return 0


def computed(jobs: int) -> dict[str, str]:
    """The JSON files' texts, by name: this takes minutes."""
    audited, mutants = table(jobs=jobs), matrix(jobs=jobs)
    audited["rows"] = [kept(row) for row in audited["rows"]]
    audited["evidence"] = evidence()
    return {
        "schedulers.json": lines(audited, "rows"),
        "kill-matrix.json": lines(mutants, "mutants"),
    }


def pages() -> dict[str, str]:
    """The pages' texts, by name, from the JSON files."""
    audited = json.loads((DOCS / "schedulers.json").read_text(encoding="utf-8"))
    mutants = json.loads((DOCS / "kill-matrix.json").read_text(encoding="utf-8"))
    return {
        "schedulers.md": scheduler_table.page(audited),
        "scheduler-findings.md": findings_page(audited["evidence"]),
        "kill-matrix.md": kill_page(mutants),
    }


# what is kept


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table without what the pages do not use."""
    record = row.pop("record")
    row["end"] = rounded(row["end"])
    row = {k: v for k, v in row.items() if v not in ("", None)}
    if record is None:
        return row
    order, twin = record["order"], (record["equals"] or [None])[0]
    exact = next((o for o in record["outcomes"] if o["steps"] == STEPS), None)
    facts: dict[str, Any] = {
        "calls": record["evaluations"].get(str(STEPS)),
        "promised": order["named"],
        "has": order["algebra"],
        "measured": rounded(order["measured"]),
        "weak": bool(order["details"]) and order["details"]["kind"] == "weak",
        "is": twin and twin["call"],
        "but": twin and len(twin["differs_at"]),
        "findings": [{k: v for k, v in f.items() if v} for f in record["findings"]],
    }
    if exact:
        facts |= {k: rounded(exact[k]) for k in ("w2", "flow", "mended")}
        facts["best"] = exact["best"] and rounded(exact["best"]["flow"])
    return row | facts


def rounded(value: Any) -> Any:
    """Floats to DIGITS digits, NaN and infinity as words; the rest as it is."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS - 1}e}") if math.isfinite(value) else str(value)


def evidence() -> dict[str, dict[str, Any]]:
    """What the reproduction of each known finding prints."""
    return {k.number: {n: rounded(v) for n, v in k.reproduce().items()} for k in KNOWN}


def lines(found: dict[str, Any], by: str) -> str:
    """JSON with a line for each of the things under this name."""
    each = ",\n".join(json.dumps(one) for one in found[by])
    rest = json.dumps({k: v for k, v in found.items() if k != by}, indent=1)
    return f'{rest[:-2]},\n "{by}": [\n{each}\n ]\n}}\n'


# the page of findings

FINDINGS = """# What is known of diffusers' schedulers

{count} statements about {library} {version}, each with about ten lines that show it. The lines need
the library alone: paste them into a shell and call the function. What they print is shown as it
came out when this page was made, beside what they print once the repair is in; the package's tests
run all of them at this version, and most repairs as well. The verdict is on the statement as our
notes first had it; the title says what is true. Some are choices rather than mistakes, and worth
knowing all the same.

Made by `python docs/schedulers.py`. The audit of every class in every variant is in
[schedulers.md](schedulers.md)."""


def findings_page(printed: dict[str, dict[str, Any]]) -> str:
    """Every known finding with its evidence and its lines."""
    head = FINDINGS.format(count=len(KNOWN), library=LIBRARY, version=VERSION)
    rows = (
        f"| [{k.number}](#f{k.number.lower()}) | {_plain(k.title)} | {k.verdict} |" for k in KNOWN
    )
    contents = ["", "| | statement | verdict |", "| --- | --- | --- |", *rows]
    return "\n".join([head, *contents, *(_finding(k, printed[k.number]) for k in KNOWN), ""])


def _finding(known: Known, printed: dict[str, Any]) -> str:
    parts = [
        f'\n## <a id="f{known.number.lower()}"></a>{known.number}. {_plain(known.title)}\n',
        *([known.detail + "\n"] if known.detail else []),
        f"- verdict: {known.verdict}",
        f"- it prints: {_values(printed)}",
        *([f"- repaired: {_values(dict(known.repaired))}"] if known.repaired else []),
        f"- expected: {known.expected}",
        f"- repair: {known.repair}",
        f"- source: {known.source}",
        f"\n```python\n{known.snippet.rstrip()}\n```",
    ]
    return "\n".join(parts)


def _values(printed: dict[str, Any]) -> str:
    def said(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} = {said(value)}" for name, value in printed.items())


def _plain(title: str) -> str:
    return title.removesuffix(".").replace("|", "\\|")


# the page of mutants

KILLS = """# Does the audit see? The kill matrix

An audit that finds no fault may be blind. So {count} formulas of real schedulers ({library}) are
broken, one at a time, as a tired person would break them: a sign, a weight, the level of another
step. Each mutant runs, and what it returns is finite; only the truth can tell that it is wrong.
The audit judges the unbroken scheduler first, its control; a mutant is killed when its report has
a defect that the control's lacks, or a lower order by its coefficients. A worse number is no kill.

**{killed} of {count} are killed.** Made by `python docs/schedulers.py`; the mutants stand in
`fewtheory/audit/mutants.py`."""


def kill_page(found: dict[str, Any]) -> str:
    """The mutants: those that live first, then all, by their controls."""
    mutants = found["mutants"]
    alive = [m for m in mutants if not m["killed"]]
    dead = len(mutants) - len(alive)
    out = [KILLS.format(count=len(mutants), library=found["library"], killed=dead)]
    if alive:
        out += ["\n## Alive\n", *(f"- {_mutant(m)}: {_alive(m)}" for m in alive)]
    out += ["\n## By check\n", "| check | kills | of these it alone |", "| --- | ---: | ---: |"]
    checks = {c: [m for m in mutants if c in m["by"]] for m in mutants for c in m["by"]}
    for check, kills in sorted(checks.items(), key=lambda c: -len(c[1])):
        out.append(f"| {check} | {len(kills)} | {sum(m['by'] == [check] for m in kills)} |")
    controls: dict[str, list[dict]] = {}
    for m in mutants:
        controls.setdefault(_control(m), []).append(m)
    for name, mine in controls.items():
        out += _of_control(name, mine)
    return "\n".join([*out, ""])


def _mutant(m: dict) -> str:
    return f"{m['scheduler']}.{m['method']}, {m['kind']}: {m['why']}"


def _alive(m: dict) -> str:
    return m["error"] or f"`{m['old']}` became `{m['new']}`"


def _control(m: dict) -> str:
    settings = ", ".join(f"{k}={v!r}" for k, v in m["settings"].items())
    step = ", ".join(f"{k}={v!r}" for k, v in m["step"].items())
    return f"{m['scheduler']}({settings})" + (f", step({step})" if step else "")


def _of_control(name: str, mine: list[dict]) -> Iterator[str]:
    control = mine[0]["control"]
    defects = "; ".join(d["what"] for d in control["defects"]) or "no defect"
    order = "" if control["order"] is None else f", of order {control['order']}"
    yield f"\n## {name}\n\nThe control: {control['error'] or defects + order}.\n"
    yield "| broken | as | killed by | who says |"
    yield "| --- | --- | --- | --- |"
    for m in mine:
        said = "; ".join(f"{d['what']}, {d['where'].split(';')[0]}" for d in m["defects"][:2])
        if not said and "order" in m["by"]:
            said = f"of order {m['order']}"
        cells = (m["why"], m["kind"], ", ".join(m["by"]) or "**alive**", said or m["error"] or "-")
        yield f"| {' | '.join(c.replace('|', '&#124;') for c in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
