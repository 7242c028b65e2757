"""The run as one static HTML page: an overview of papers and verdicts, then every claim with its
statement, its evidence, where the tolerance comes from, and the saboteurs that it caught."""

from __future__ import annotations

import datetime
import inspect
import os
import platform
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ...files import write_whole
from ..claims import load, suites
from ..engine import Judged, Result
from ..evidence import Evidence
from .svg import curves, strip
from .terminal import summary

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def write_html(results: Sequence[Result], file: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all."""
    write_whole(file, page(results))


def page(results: Sequence[Result]) -> str:
    """The page as text."""
    from ... import __version__

    names = list(dict.fromkeys(r.suite for r in results))
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    seconds = sum(r.seconds for r in results)
    head = (
        f"<h1>fewtheory: {len(names)} papers, decided claim by claim</h1>"
        f"<p>{escape(summary(results))}.</p>"
        f'<p class="dim">fewtheory {__version__}, Python {platform.python_version()}, {now}, '
        f"{seconds:.0f} s of checks. A claim holds if the package's own code passes its check and "
        "every saboteur, the same code with one plausible mistake, is rejected by the same check.</p>"
    )
    overview = "".join(_overview(n, [r for r in results if r.suite == n]) for n in names)
    sections = "".join(_section(n, [r for r in results if r.suite == n]) for n in names)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>fewtheory: {escape(summary(results))}</title><style>{STYLE}</style></head>"
        f'<body><main>{head}<div class="overview">{overview}</div>{sections}</main></body></html>\n'
    )


def _title(suite: str) -> str:
    """The first sentence of the suite's docstring."""
    known = load(suite) if suite in suites() else None
    text = " ".join((inspect.getdoc(known) or suite).split()) if known else suite
    return text.split(". ")[0].rstrip(".")


def _overview(name: str, results: Sequence[Result]) -> str:
    cells = "".join(
        f'<a class="cell {_class(r)}" href="#{name}-{r.claim}" title="{escape(r.statement)}">{r.claim}</a>'
        for r in results
    )
    held, deep = (sum(r.verdict == verdict for r in results) for verdict in ("holds", "deep"))
    left = f", {deep} deep" if deep else ""  # not asked in this run: their last verdict is below
    return (
        f'<div class="row"><div><b><a href="#{name}">{escape(name)}</a></b>'
        f"<small>{escape(_title(name))}</small></div>"
        f"<div>{held} of {len(results) - deep} hold{left}</div>"
        f'<div class="cells">{cells}</div></div>'
    )


def _class(result: Result) -> str:
    return result.verdict.replace(" ", "-")


def _section(name: str, results: Sequence[Result]) -> str:
    body = "".join(_claim(r) for r in results)
    return f'<h2 id="{name}">{escape(name)}</h2><p class="dim">{escape(_title(name))}</p>{body}'


def _claim(r: Result) -> str:
    tags = "".join(
        f'<span class="tag">{t}</span>'
        for t in [r.kind, *(["deep"] if r.deep else []), f"{r.seconds:.1f} s"]
    )
    erratum = f'<p class="erratum"><b>Erratum.</b> {escape(r.erratum)}</p>' if r.erratum else ""
    note = f"<p><b>{escape(r.verdict)}</b>: {escape(r.note)}</p>" if r.note else ""
    trace = (
        f"<details><summary>traceback</summary><pre>{escape(r.traceback)}</pre></details>"
        if r.traceback
        else ""
    )
    curve, distances = _figures(r)
    left, right = (distances, curve) if curve else ("", distances)
    return (
        f'<article class="claim" id="{r.suite}-{r.claim}"><header><h3>{r.claim}</h3>'
        f'<span class="pill {_class(r)}">{escape(r.verdict)}</span>{tags}</header>'
        f'<p class="statement">{escape(r.statement)}</p>{erratum}{note}{trace}'
        f'<div class="body"><div>{_evidence(r.evidence)}{_saboteurs(r.saboteurs)}{left}</div>'
        f"<div>{right}</div></div></article>"
    )


def _evidence(evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return ""
    rows = "".join(
        f'<tr><td>{escape(e.what)}</td><td class="n">{e.measured:.4g}</td>'
        f'<td class="n">{_expectation(e)}</td></tr>'
        for e in evidence
    )
    sources = "; ".join(dict.fromkeys(e.tolerance_from for e in evidence))
    return (
        "<table><tr><th></th><th>measured</th><th>expected</th></tr>"
        f"{rows}</table><p><small>Tolerance: {escape(sources)}.</small></p>"
    )


def _expectation(e: Evidence) -> str:
    sign = {"equal": "", "at most": "≤ ", "at least": "≥ "}[e.relation]
    if e.expected == 0 and e.tolerance > 0:
        return f"{'≤ ' if e.relation != 'at least' else '≥ -'}{e.tolerance:.2g}"
    return f"{sign}{e.expected:.4g}" + (f" ± {e.tolerance:.2g}" if e.tolerance else "")


def _saboteurs(saboteurs: Sequence[Judged]) -> str:
    def item(s: Judged) -> str:
        worst = next((e for e in s.evidence if not e.stands), None)
        found = ""
        if worst is not None:
            what = f"{worst.what}: " if worst.what else ""
            found = f' <span class="dim">{escape(what)}{worst.measured:.4g}, not {_expectation(worst)}</span>'
        return f'<li class="{"caught" if s.rejected else "passed"}">{escape(s.why)}{found}</li>'

    if not saboteurs:
        return ""
    caught = sum(s.rejected for s in saboteurs)
    items = "".join(item(s) for s in saboteurs)
    return f"<ul><b>Saboteurs caught: {caught} of {len(saboteurs)}</b>{items}</ul>"


def _figures(r: Result) -> tuple[str, str]:
    """The curves behind the evidence, if it has any, and the strip of distances."""
    if not r.evidence:
        return "", ""
    wrong = [[e for e in s.evidence if not e.stands] for s in r.saboteurs]
    expected = r.evidence[0].expected if r.kind == "order" else None
    drawn = curves(r.evidence, [e for group in wrong for e in group], expected)
    curve = f"<figure>{drawn}<figcaption>{_caption(r)}</figcaption></figure>" if drawn else ""
    legend = "distance from what is expected, in tolerances: dots our own, crosses the saboteurs"
    strips = f"<figure>{strip(r.evidence, wrong)}<figcaption>{legend}</figcaption></figure>"
    return curve, strips


def _caption(r: Result) -> str:
    if r.kind == "order":
        return f"points: our own; thin line: slope {r.evidence[0].expected:g}; broken: saboteurs"
    return "solid: our own; broken: saboteurs"
