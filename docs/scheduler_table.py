"""The page schedulers.md: the defects of diffusers' schedulers, then a line for every variant.

`page` makes it from what `python docs/schedulers.py` keeps in schedulers.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduler_defects import bases, entry, groups, link, number, sentence, shell, variant, who

from fewtheory.audit.table import EVERY, STEPS
from fewtheory.audit.variants import NEEDS

HEAD = """# diffusers' schedulers, audited

Every scheduler of {library} in its default and its named variants, one line each: {count} runs of
{classes} classes. A scheduler that is linear in the state and in the network's outputs is a table
of coefficients, which one run on one-hot vectors reads off; the coefficients then say, exactly and
without a network or a sample, at which noise levels it stands, of which order its steps are, and
what law comes out on Gaussian data. Nothing here is a matter of taste or of a picture: each defect
comes with its number and its repair, and one command reproduces any line. What was found beside
the table stands in [scheduler-findings.md](scheduler-findings.md), ten lines each; whether the
audit itself can see is shown in [kill-matrix.md](kill-matrix.md).

Made by `python docs/schedulers.py` for {library}. {clean} of the {count} lines have no defect."""

COLUMNS = """## Class by class

All in {steps} steps, a dash where there is nothing to say; defects and notes are of runs in every
number of steps from 1 to {every}.

- calls: of the network. dead: how many of them do not reach the output.
- order: promised, had by the coefficients of the step that recurs, measured. w: the weak order of
  the law, for stochastic samplers.
- ends: noise-to-signal ratio of what is returned; it should be 0, or the network's smallest level.
- W2: to the exact law, for eight Gaussian dimensions of variance 0.01 to 1.
- flow: rms error on a bimodal law whose flow map is exact, for deterministic samplers; best: the
  least that a known sampler gives with as many calls between the same levels.
- is: the same sampler by the name that it has here, weight for weight (\\* but for a few steps).

What a setting needs beside it goes without saying: {needs}."""

HOW = """## To reproduce a line, and to use a mended scheduler today

```
fewtheory audit diffusers:DPMSolverMultistepScheduler \\
    --set solver_order=3 --steps {steps} --every {every}
```

A repair that is a matter of coefficients needs no new release: the report holds the mended
sampler as a plan, and a plan is a scheduler for any pipeline.

```python
plan = ft.conformance(pipe.scheduler, steps=({steps},)).repaired({steps})
pipe.scheduler = ft.adapters.diffusers.scheduler(plan, pipe.scheduler)
image = pipe(prompt, num_inference_steps={steps}).images[0]
```"""


def page(found: dict[str, Any]) -> str:
    """The table, with its defects first."""
    rows, base, all_groups = found["rows"], bases(found["rows"]), groups(found["rows"])
    judged = [r for r in rows if "findings" in r]
    defects = [g for g in all_groups if g.severity == "defect"]
    notes = [g for g in all_groups if g.severity == "note"]
    clean = sum(all(f["severity"] != "defect" for f in r["findings"]) for r in judged)
    classes = list(dict.fromkeys(r["scheduler"] for r in rows))
    out = [
        HEAD.format(library=found["library"], count=len(rows), classes=len(classes), clean=clean),
        *_failed(rows),
        "\n## Defects, worst first\n",
        "| | what | classes | lines |",
        "| --- | --- | ---: | ---: |",
        *(f"| {link(g)} | {g.what} | {len(g.classes)} | {len(g.hits)} |" for g in defects),
        "",
    ]
    for group in defects:
        out += entry(group, defects, who(group, rows, base))
    out += ["## Notes\n", "What a user should know, and no fault."]
    for group in notes:
        out += [f'\n<a id="{group.code.lower()}"></a>**{group.code}. {sentence(group.what)}.**\n']
        out += [f"- {line}" for line in who(group, rows, base)]
    needs = "; ".join(f"`{shell(beside)}` with `{k}={v}`" for k, v, beside in NEEDS)
    out += ["", COLUMNS.format(steps=STEPS, every=EVERY, needs=needs)]
    codes = {(id(r), g.code): g for g in all_groups for r, _ in g.hits}
    for name in classes:
        out += class_table([r for r in rows if r["scheduler"] == name], base[name], codes)
    out += ["\n## What cannot be audited, and why\n", "| class | why |", "| --- | --- |"]
    out += [f"| {name} | {_cell(why)} |" for name, why in found["unaudited"].items()]
    return "\n".join([*out, "", HOW.format(steps=STEPS, every=EVERY), ""])


def _failed(rows: list[dict]) -> Iterator[str]:
    """That the audit itself fails on some, where it does: this is not to be overlooked."""
    failed = [f"{r['scheduler']} `{shell(r['settings'])}`" for r in rows if r.get("error")]
    if failed:
        yield f"\n**The audit itself fails on {len(failed)} of them:** {', '.join(failed)}."


def class_table(mine: list[dict], base: dict, codes: dict) -> Iterator[str]:
    """One class: a row each variant, and what it refuses."""
    yield f"\n### {mine[0]['scheduler']}\n"
    if base:
        yield f"All but the first line with `{shell(base)}`.\n"
    yield "| variant | calls | dead | order | ends | W2 | flow | best | is | found |"
    yield "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- | --- |"
    other = []
    for row in mine:
        name = variant(row, base)
        if "findings" not in row:
            why = f"the audit itself fails: {row['error']}" if row.get("error") else row["refused"]
            other.append(f"- `{name}`: {why}")
            continue
        found = [link(g) for (i, _), g in codes.items() if i == id(row)]
        cells = (
            name,
            number(row.get("calls")),
            number(row.get("dead")),
            _order(row),
            number(row.get("end")),
            *(number(row.get(k)) for k in ("w2", "flow", "best")),
            _twin(row),
            " ".join(found),
        )
        yield f"| {' | '.join(map(_cell, cells))} |"
    if other:
        yield from ("\nWithout a line:\n", *other)


def _order(row: dict) -> str:
    if row.get("linear") is False:
        return "not linear"
    values = [row["promised"], row["has"], row["measured"]]
    if values[1] is None:
        return number(values[0])
    exact = values[1] == 99
    shown = [number(values[0]), "exact" if exact else str(values[1])]
    shown += [] if exact or values[2] is None else [f"{values[2]:.2f}"]
    return " / ".join(shown) + (" w" if row["weak"] else "")


def _twin(row: dict) -> str:
    if not row.get("is") or not row.get("linear"):
        return "-"
    return row["is"].replace("'", "").replace("solver_type=", "") + ("\\*" if row["but"] else "")


def _cell(words: str) -> str:
    return words.replace("|", "\\|")
