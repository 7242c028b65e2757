"""Results as JSON and JUnit XML, and back from JSON; files are written whole or not at all."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from ...files import write_whole
from ..claims import Claim, claims, load
from ..engine import Judged, Result
from ..evidence import Evidence, Series

File = str | os.PathLike[str]


def listing(suites: Sequence[str]) -> list[dict[str, Any]]:
    """One object a claim: suite, claim, kind, statement, saboteurs, deep."""

    def record(suite: str, c: Claim) -> dict[str, Any]:
        return {
            "suite": suite,
            "claim": c.id,
            "kind": c.kind,
            "statement": c.statement,
            "saboteurs": [s.why for s in c.saboteurs],
            "deep": c.deep,
        }

    return [record(suite, c) for suite in suites for c in claims(load(suite))]


def result_record(result: Result) -> dict[str, Any]:
    """A result as JSON: the listing's fields, the verdict, and what it rests on."""
    record = result.record()
    rejections = record.pop("saboteurs")
    return {**record, "saboteurs": [r["why"] for r in rejections], "rejections": rejections}


def write_json(results: Sequence[Result], file: File) -> None:
    """Every result with its evidence."""
    write_whole(
        file, json.dumps([result_record(r) for r in results], indent=1, allow_nan=False) + "\n"
    )


def read_json(file: File) -> list[Result]:
    """The results of an earlier run. Raises ValueError that names the file and the field."""

    def number(value: Any) -> Any:  # what is not finite was written as text
        return float(value) if value in ("inf", "-inf", "nan") else value

    def evidence(record: dict[str, Any]) -> Evidence:
        given = {k: number(v) for k, v in record.items() if k not in ("stands", "series")}
        series: list[dict[str, Any]] = [
            {k: tuple(map(number, v)) if isinstance(v, list) else v for k, v in s.items()}
            for s in record["series"]
        ]
        return Evidence(**given, series=tuple(Series(**s) for s in series))

    def result(record: dict[str, Any]) -> Result:
        given = {
            k: v for k, v in record.items() if k not in ("evidence", "saboteurs", "rejections")
        }
        judged = [
            Judged(j["why"], j["rejected"], tuple(map(evidence, j["evidence"])), j["error"])
            for j in record["rejections"]
        ]
        return Result(
            **given, evidence=tuple(map(evidence, record["evidence"])), saboteurs=tuple(judged)
        )

    try:
        return [result(r) for r in json.loads(Path(file).read_text(encoding="utf-8"))]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"read_json: {os.fspath(file)}: not JSON ({error})") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"read_json: {os.fspath(file)}: not a file of results ({error})") from None


def write_record(results: Sequence[Result], file: File) -> None:
    """The deep claims' verdicts with today's date, for the committed record of expensive runs.

    What the file says of other claims stays.
    """
    today = datetime.date.today().isoformat()
    fresh = [
        {
            "suite": r.suite,
            "claim": r.claim,
            "verdict": r.verdict,
            "caught": sum(bool(j.rejected) for j in r.saboteurs),
            "date": today,
            "seconds": round(r.seconds, 1),
        }
        for r in results
        if r.deep and r.verdict not in ("deep", "not asked")
    ]
    kept = json.loads(Path(file).read_text(encoding="utf-8")) if Path(file).is_file() else []
    decided = {(e["suite"], e["claim"]) for e in fresh}
    kept = [e for e in kept if (e["suite"], e["claim"]) not in decided]
    entries = sorted([*kept, *fresh], key=lambda e: (e["suite"], e["claim"]))
    write_whole(file, json.dumps(entries, indent=1) + "\n")


def write_junit(results: Sequence[Result], file: File) -> None:
    """One test suite a paper, one test case a claim, for CI."""
    root = xml.Element("testsuites", name="fewtheory")
    for name in dict.fromkeys(r.suite for r in results):
        mine = [r for r in results if r.suite == name]
        count = {k: sum(_outcome(r) == k for r in mine) for k in ("failure", "error", "skipped")}
        attributes = {
            "name": name,
            "tests": str(len(mine)),
            "failures": str(count["failure"]),
            "errors": str(count["error"]),
            "skipped": str(count["skipped"]),
            "time": f"{sum(r.seconds for r in mine):.3f}",
        }
        suite = xml.SubElement(root, "testsuite", attributes)
        for r in mine:
            case = {
                "classname": name,
                "name": f"{r.claim} {r.statement}",
                "time": f"{r.seconds:.3f}",
            }
            element = xml.SubElement(suite, "testcase", case)
            if outcome := _outcome(r):
                said = _printable(f"{r.verdict}: {r.note}")
                xml.SubElement(element, outcome, message=said).text = _printable(r.traceback)
    write_whole(file, xml.tostring(root, encoding="unicode", xml_declaration=True))


def _printable(text: str) -> str:
    """Without the control characters that XML has no place for."""
    allowed = ((0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))
    return "".join(c for c in text if c in "\t\n\r" or any(a <= ord(c) <= b for a, b in allowed))


def _outcome(result: Result) -> str:
    kinds = {"holds": "", "fails": "failure", "blind": "failure", "error": "error"}
    return kinds.get(result.verdict, "skipped")
