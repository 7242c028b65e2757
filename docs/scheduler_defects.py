"""The defects of diffusers' schedulers, each once: who has it, the evidence, the repair."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from fewtheory.audit.table import STEPS
from fewtheory.audit.variants import LINEAR, NEEDS

# what a maintainer would mend first; a check that is not here comes last
RANK = (
    *("finite", "endings", "order", "uneven", "levels", "known_network", "starts"),
    *("raises", "dead", "monotone", "config", "reuse"),
)
LONG = 80  # characters of a message
FEW = 4  # times as many that have a defect as have not: then these are told
GAIN = 0.95  # of an error, below which a mended plan's is worth a word
MOST = 0.8  # of the lines that have a defect: when it goes with another


@dataclass
class Group:
    """One finding with all who have it: (row, finding) pairs."""

    severity: str
    check: str
    what: str
    hits: list[tuple[dict, dict]] = field(default_factory=list)
    code: str = ""

    @property
    def classes(self) -> list[str]:
        """The classes that have it."""
        return list(dict.fromkeys(r["scheduler"] for r, _ in self.hits))


def groups(rows: list[dict]) -> list[Group]:
    """The distinct findings, defects first and the worst of them first, with codes D1.. and N1.."""
    found: dict[tuple, Group] = {}
    for row in rows:
        for f in row.get("findings", []):
            what = _what(f)
            key = (f["severity"], f["check"], what)
            found.setdefault(key, Group(*key)).hits.append((row, f))
    ranked = sorted(found.values(), key=_rank)
    for letter, severity in (("D", "defect"), ("N", "note")):
        for i, group in enumerate((g for g in ranked if g.severity == severity), 1):
            group.code = f"{letter}{i}"
    return ranked


def _what(finding: dict) -> str:
    """What is wrong; where that says little, with the message or the setting in question."""
    what = re.sub(r" \([^)]*\)$", "", finding["what"])
    if finding["check"] in ("raises", "config"):
        said = re.split(": (?=.* became)|;", finding["evidence"])[0].strip(": ")
        what += f": {said if len(said) <= LONG else said[:LONG] + '..'}"
    return what


def _rank(group: Group) -> tuple:
    place = RANK.index(group.check) if group.check in RANK else len(RANK)
    return group.severity != "defect", place, -len(group.classes), -len(group.hits), group.what


def variant(row: dict, base: dict) -> str:
    """The settings of this row beside its class's base and what they need beside them."""
    settings = row["settings"]
    hidden = dict(base)
    for option, value, beside in NEEDS:
        if settings.get(option) == value:
            hidden |= beside
    changed = {k: v for k, v in settings.items() if hidden.get(k, ...) != v}
    return shell(changed or settings) or "default"


def shell(settings: dict) -> str:
    """The settings as the command line takes them."""
    return " ".join(f"{k}={v}".replace(" ", "") for k, v in settings.items())


def bases(rows: list[dict]) -> dict[str, dict]:
    """For each class the settings in which it is linear, where its default is not."""
    found: dict[str, dict] = {}
    for row in rows:
        off = {k: False for k in LINEAR if row["settings"].get(k) is False}
        found.setdefault(row["scheduler"], {}).update(off)
    return found


def who(group: Group, rows: list[dict], base: dict[str, dict]) -> list[str]:
    """Who has it: a line for all classes that have it in the same settings."""
    lines: dict[str, list[str]] = {}
    for name in group.classes:
        mine = [r for r in rows if r["scheduler"] == name and "findings" in r]
        hit = [r for r in mine if any(r is h for h, _ in group.hits)]
        lines.setdefault(_when(hit, mine, base[name]), []).append(name)
    return [f"{', '.join(names)}: {when}" for when, names in lines.items()]


def _when(hit: list[dict], mine: list[dict], base: dict) -> str:
    """The settings that have it, by single settings where these tell."""
    if len(hit) == len(mine):
        return "always"
    without = [variant(r, base) for r in mine if not any(r is h for h in hit)]
    if len(hit) > FEW * len(without):
        return f"always, but for {_quoted(without)}"
    shown = {id(r): variant(r, base).split() for r in mine}
    alone = sorted({part for r in hit for part in shown[id(r)]})
    having = {p: {id(r) for r in mine if p in shown[id(r)]} for p in alone}
    left, parts = {id(r): r for r in hit}, []
    # of one line alone all is said: a part of it would promise more
    telling = {p: rows for p, rows in having.items() if rows <= set(left) and len(rows) > 1}
    while left and telling:
        best = max(telling, key=lambda p: len(telling[p] & set(left)))
        if not telling[best] & set(left):
            break
        parts.append(best)
        left = {k: r for k, r in left.items() if k not in telling[best]}
    parts += [variant(r, base) for r in left.values()]
    return _quoted(parts)


def _quoted(settings: list[str]) -> str:
    return ", ".join("the default" if p == "default" else f"`{p}`" for p in settings)


def entry(group: Group, others: list[Group], who_has: list[str]) -> Iterator[str]:
    """A defect: who has it, the evidence of one, the repair, and what it goes with."""
    most = max(group.classes, key=lambda n: sum(r["scheduler"] == n for r, _ in group.hits))
    mine = [h for h in group.hits if h[0]["scheduler"] == most]
    row, f = min(mine, key=lambda h: len(h[0]["settings"]))
    yield f'### <a id="{group.code.lower()}"></a>{group.code}. {sentence(group.what)}\n'
    yield from (f"- {line}" for line in who_has)
    shown = f"{most}({', '.join(f'{k}={v!r}' for k, v in row['settings'].items())})"
    yield f"\nFor example `{shown}`, {_brief(f['where'])}: {f['evidence'].strip(': .')}."
    if f.get("line"):
        yield from ("", *(f"- {_code(part)}" for part in f["line"].splitlines()))
    if f.get("repair"):
        yield f"\nRepair: {f['repair']}.{_mended(row)}"
    beside = [link(g) for g in others if g is not group and _share(group, g) >= MOST]
    if beside:
        yield f"\nGoes with {', '.join(beside)}."
    yield ""


def _code(line: str) -> str:
    """A line of the source that is in question, its code as code."""
    found = re.match(r"(\S+) \((\S+)\) (forms the state:|would be right with) (.*)", line)
    if not found:
        return f"`{line}`"
    place, method, says, code = found.groups()
    if says.startswith("would"):
        new, _, old = code.rpartition(" for ")
        code = f"{new}` for `{old}"
    return f"{place} ({method.split('.')[-1]}) {says} `{code}`"


def _mended(row: dict) -> str:
    """What the mended plan gains, where it gains something."""
    flow, mended = row.get("flow"), row.get("mended")
    if flow is None or mended is None or not mended < GAIN * flow:
        return ""
    said = f"{number(mended)} on the bimodal law, not {number(flow)}"
    return f" Mended so, {STEPS} steps err by {said}."


def _share(group: Group, other: Group) -> float:
    """How many of the lines that have the one have the other."""
    lines = {id(row) for row, _ in group.hits}
    return len(lines & {id(row) for row, _ in other.hits}) / len(lines)


def link(group: Group) -> str:
    """The code of a group, to its place on the page."""
    return f"[{group.code}](#{group.code.lower()})"


def sentence(words: str) -> str:
    """The words with a capital."""
    return words[0].upper() + words[1:]


def _brief(where: str) -> str:
    """The place, without the middle of a long list of numbers."""
    number = r"\d+(?: to \d+)?"
    pattern = rf"({number}, {number}, {number}), (?:{number}, )*{number} and ({number})"
    return re.sub(pattern, r"\1, .., \2", where)


def number(value: float | None) -> str:
    """Two digits, or a dash."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{float(f'{value:.2g}'):g}"
