"""Reports: JSON there and back, JUnit, one static page; whole files or none; and the terminal."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rich.console import Console

import fewtheory.files
from fewtheory.verify import Evidence, Result, Series, claims, suites
from fewtheory.verify.claims import load
from fewtheory.verify.engine import VERDICTS, Judged
from fewtheory.verify.report import (
    Terminal,
    listing,
    read_json,
    write_html,
    write_json,
    write_junit,
    write_record,
)
from fewtheory.verify.report.html import STYLE, page
from fewtheory.verify.report.svg import curves, distance, strip
from fewtheory.verify.report.terminal import print_table, summary

LISTED = {"suite", "claim", "kind", "statement", "saboteurs", "deep"}
INF, NAN = math.inf, math.nan


def evidence(measured=2.0, expected=2.0, tolerance=0.5, relation="equal", **more):
    return Evidence("order", measured, expected, tolerance, "half way", relation, **more)


SERIES = Series((8.0, 16.0, 32.0), (1e-2, 2.5e-3, 6e-4), "error", "steps", "error")
OWN = evidence(1.98, what="midpoint & <taylor>", series=(SERIES,))
CAUGHT = Judged("h is <i>halved</i>: h/2 < h & more", True, (evidence(1.02, series=(SERIES,)),))
PASSED = Judged('the "other" sign', False, (evidence(),))
BROKEN = Judged("raises", False, (), "ValueError: no")


def result(claim="C1", verdict="holds", **changed):
    given = {
        "evidence": (OWN,),
        "saboteurs": (CAUGHT, PASSED, BROKEN),
        "seconds": 1.5,
        "seed": "0123456789abcdef",
        **changed,
    }
    return Result("dpm-solver-pp", claim, "order", "The error is O(h^2) & < 1.", verdict, **given)


ONE_EACH = [result(f"C{k}", v, note=f"note {k}") for k, v in enumerate(VERDICTS, 1)]
WRITERS = [write_json, write_junit, write_html]


# JSON


def test_the_listing_has_the_fields_that_were_promised():
    records = listing(["dpm-solver-pp"])
    assert {frozenset(r) for r in records} == {frozenset(LISTED)}
    first, asked = records[0], claims(load("dpm-solver-pp"))[0]
    assert (first["claim"], first["statement"]) == (asked.id, asked.statement)
    assert first["saboteurs"] == [s.why for s in asked.saboteurs]
    assert len(records) == len(claims(load("dpm-solver-pp")))


def test_results_in_json_have_the_listings_fields_and_what_was_decided(tmp_path):
    write_json([result()], tmp_path / "r.json")
    (record,) = json.loads((tmp_path / "r.json").read_text())
    assert LISTED | {"verdict", "evidence", "seconds", "seed"} <= set(record)
    assert record["saboteurs"] == [CAUGHT.why, PASSED.why, BROKEN.why]
    assert (record["verdict"], record["seconds"], record["deep"]) == ("holds", 1.5, False)
    assert record["evidence"][0]["measured"] == 1.98


def test_json_gives_back_equal_results(tmp_path):
    results = [*ONE_EACH, result(deep=True, erratum="half", note="é", traceback="line\nline")]
    write_json(results, tmp_path / "r.json")
    assert read_json(tmp_path / "r.json") == results


def test_what_is_not_finite_is_strict_json(tmp_path):
    odd = evidence(NAN, INF, INF, series=(Series((1.0,), (-INF,)),))
    write_json([result(evidence=(odd,))], tmp_path / "r.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "r.json").read_text(), parse_constant=refuse)


def test_what_is_not_finite_comes_back_from_json(tmp_path):
    series = Series((1.0, 2.0), (-INF, INF), log=False)
    odd = [result(evidence=(evidence(-INF, INF, INF, series=(series,)),))]
    write_json(odd, tmp_path / "r.json")
    assert read_json(tmp_path / "r.json") == odd


def test_results_that_come_back_from_json_can_be_drawn(tmp_path):
    bounded = evidence(0.5, 1.0, relation="at most", series=(Series((1.0, 2.0), (0.5, -INF)),))
    write_json([result(evidence=(bounded,))], tmp_path / "r.json")
    write_html(read_json(tmp_path / "r.json"), tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size > len(STYLE)


GOOD = {"suite": "s", "claim": "C1", "kind": "order", "statement": "S.", "verdict": "holds"}
JUDGED = {"evidence": [], "saboteurs": [], "rejections": []}
BAD_EVIDENCE = {**evidence().record(), "relation": "below"}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "3",
        "[3]",
        '{"suite": "s"}',
        json.dumps([GOOD]),
        json.dumps([{**GOOD, **JUDGED, "colour": "red"}]),
        json.dumps([{**GOOD, **JUDGED, "evidence": [BAD_EVIDENCE]}]),
        json.dumps([{**GOOD, **JUDGED, "evidence": [{**BAD_EVIDENCE, "measured": "many"}]}]),
        b"\xff\xfe[]",
    ],
    ids=["cut", "number", "numbers", "object", "short", "field", "relation", "text", "bytes"],
)
def test_a_file_that_holds_no_results_is_refused_by_name(tmp_path, content):
    file = tmp_path / "odd.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"read_json: .*odd\.json"):
        read_json(file)


def test_the_record_of_deep_claims_has_only_those_that_ran(tmp_path):
    deep = [result("C8", deep=True), result("C9", "deep", deep=True)]
    write_record([*ONE_EACH, *deep], tmp_path / "d")
    (entry,) = json.loads((tmp_path / "d").read_text())
    assert (entry["suite"], entry["claim"], entry["verdict"]) == ("dpm-solver-pp", "C8", "holds")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry["date"])


def test_the_record_keeps_what_it_says_of_other_claims(tmp_path):
    file = tmp_path / "d"
    write_record([result("C8", deep=True), result("C9", deep=True)], file)
    write_record([result("C9", "fails", deep=True)], file)
    entries = {e["claim"]: e["verdict"] for e in json.loads(file.read_text())}
    assert entries == {"C8": "holds", "C9": "fails"}


# JUnit


def test_junit_counts_one_case_a_claim(tmp_path):
    write_junit(ONE_EACH, tmp_path / "r.xml")
    (suite,) = ElementTree.parse(tmp_path / "r.xml").getroot()
    counts = {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {
        "tests": "7",
        "failures": "2",  # fails and blind
        "errors": "1",
        "skipped": "3",  # unavailable, not asked, deep
        "time": "10.500",
    }
    outcomes = [[child.tag for child in case] for case in suite]
    expected = [[], ["failure"], ["failure"], ["error"], ["skipped"], ["skipped"], ["skipped"]]
    assert outcomes == expected
    assert suite[1][0].get("message") == "fails: note 2"


def test_junit_has_one_suite_a_paper(tmp_path):
    write_junit([result(), replace(result(), suite="plan-algebra")], tmp_path / "r.xml")
    root = ElementTree.parse(tmp_path / "r.xml").getroot()
    assert [(s.get("name"), s.get("tests")) for s in root] == [
        ("dpm-solver-pp", "1"),
        ("plan-algebra", "1"),
    ]


def test_a_traceback_with_control_characters_still_gives_xml(tmp_path):
    broken = result(verdict="error", note="\x1b[31mred\x1b[0m", traceback="a NUL: \x00")
    write_junit([broken], tmp_path / "r.xml")
    assert ElementTree.parse(tmp_path / "r.xml").getroot()[0].get("errors") == "1"


# HTML


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects text, ids and addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.ids, self.addresses = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.collect(attrs)
        if tag not in ("meta", "br", "hr", "img", "link", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.collect(attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())

    def collect(self, attrs):
        self.ids += [v for k, v in attrs if k == "id"]
        self.addresses += [v for k, v in attrs if k in ("href", "src", "xlink:href", "data")]


def every_claim():
    return [
        Result(
            suite, c.id, c.kind, c.statement, "holds", (OWN,),
            tuple(Judged(s.why, True, (evidence(0.0),)) for s in c.saboteurs),
        )
        for suite in suites()
        for c in claims(load(suite))
    ]  # fmt: skip


def test_the_page_has_every_claim_and_every_saboteur():
    results = every_claim()
    found = Page(page(results))
    assert found.open == []
    assert {f"{r.suite}-{r.claim}" for r in results} <= set(found.ids)
    text = set(found.texts)
    assert {s.why for r in results for s in r.saboteurs} <= text
    assert {r.statement for r in results} <= text


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_page_shows_every_verdict_and_its_note(verdict):
    found = Page(page([result(verdict=verdict, note="because & so", traceback="<trace>")]))
    assert found.open == []
    assert verdict in found.texts
    assert ": because & so" in found.texts
    assert "<trace>" in found.texts


def test_the_page_is_one_file_that_asks_for_no_other():
    text = page(every_claim())
    for outside in ("http", "src=", "@import", "url(", "<link", "<script"):
        assert outside not in text
    assert all(address.startswith("#") for address in Page(text).addresses)


def test_every_link_of_the_page_has_its_target_once():
    found = Page(page(every_claim()))
    assert {a.removeprefix("#") for a in found.addresses} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_words_are_shown_as_they_are_and_never_as_markup():
    text = Page(page([result(erratum="<b>")])).texts
    assert {CAUGHT.why, PASSED.why, OWN.what, "The error is O(h^2) & < 1.", "<b>"} <= set(text)


def test_an_erratum_is_marked():
    assert "Erratum." in Page(page([result(erratum="The paper says half.")])).texts


def test_the_marks_of_the_style_are_characters_and_not_their_codes():
    assert re.findall(r'content:"(\\+)', STYLE) == ["\\", "\\"]


# whole or not at all


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch, write, step):
    def fail(*arguments):
        raise OSError("disk full")

    (tmp_path / "report").write_text("old")
    monkeypatch.setattr(fewtheory.files.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write([result()], tmp_path / "report")
    assert [f.name for f in tmp_path.iterdir()] == ["report"]
    assert (tmp_path / "report").read_text() == "old"


@pytest.mark.parametrize("write", WRITERS)
def test_an_old_report_is_replaced(tmp_path, write):
    (tmp_path / "report").write_text("old")
    write([result()], str(tmp_path / "report"))
    assert "dpm-solver-pp" in (tmp_path / "report").read_text()


# plots


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (evidence(2.0, 2.0, 0.5), 0.0),
        (evidence(2.25, 2.0, 0.5), 0.5),
        (evidence(1.5, 2.0, 0.5), 1.0),
        (evidence(4.0, 2.0, 0.5, "at most"), 4.0),
        (evidence(0.0, 2.0, 0.5, "at most"), 0.0),
        (evidence(0.0, 2.0, 0.5, "at least"), 4.0),
        (evidence(2.0, 2.0, 0.0), 0.0),
        (evidence(2.1, 2.0, 0.0), 1e16),
        (evidence(2.0, 2.0, 0.0, "at most"), 1.0),
        (evidence(3.0, 2.0, 0.0, "at most"), 1.5),
        (evidence(0.0, 2.0, 0.0, "at most"), 0.0),
        (evidence(1.0, 2.0, 0.0, "at least"), 1.5),
        (evidence(0.0, 0.0, 0.0, "at most"), 1.0),
        (evidence(-1.0, 0.0, 0.0, "at most"), 0.0),
        (evidence(NAN), 1e16),
        (evidence(2.0, INF), 1e16),
    ],
)
def test_the_distance_is_counted_in_tolerances(given, expected):
    assert distance(given) == pytest.approx(expected)
    assert (distance(given) <= 1) == given.stands


def test_what_violates_a_bound_of_zero_lies_far_outside():
    assert distance(evidence(1e-12, 0.0, 0.0, "at most")) > 1e16


def test_the_strip_has_a_dot_for_each_piece_and_a_cross_for_each_saboteur():
    drawn = strip([evidence(), evidence(NAN)], [[evidence(9.0)], [], [evidence(INF)]])
    assert (drawn.count("<circle"), drawn.count("<path")) == (2, 3)
    ElementTree.fromstring(drawn)
    assert "nan" not in drawn


def test_curves_leave_out_what_a_logarithm_cannot_show():
    odd = Series((8.0, 16.0, 32.0, 64.0), (1e-2, NAN, 0.0, 1e-4), "a < b", "steps", "error")
    drawn = curves([evidence(series=(odd,))], [], 2.0)
    ElementTree.fromstring(drawn)
    assert drawn.count("<circle") == 2
    assert "nan" not in drawn


def test_without_two_points_there_are_no_curves():
    assert curves([evidence()], []) == ""
    assert curves([evidence(series=(Series((1.0, 2.0), (NAN, 1.0)),))], []) == ""


def test_a_constant_series_can_be_drawn():
    flat = Series((1.0, 2.0, 3.0), (0.0, 0.0, 0.0), log=False)
    ElementTree.fromstring(curves([evidence(series=(flat,))], []))


# the terminal


def printed(write, *arguments):
    console = Console(file=io.StringIO(), width=200, color_system=None)
    write(*arguments, console)
    return console.file.getvalue()


def test_the_table_has_a_row_a_claim_and_the_counts():
    text = printed(print_table, ONE_EACH)
    for r in ONE_EACH:
        assert re.search(rf"\b{r.claim} +order +{r.verdict} +1/3 +1.5 ", text)
    assert summary(ONE_EACH) in text


def test_the_summary_counts_verdicts_and_saboteurs():
    two = [result("C1"), result("C2"), result("C3", "fails")]
    assert summary(two) == "3 claims: 2 hold, 1 fails; 3 of 9 saboteurs caught"


@pytest.mark.parametrize("text", ["f(x)[0] < [1, 2]", "pip install 'fewtheory[verify]'", "[/x]"])
def test_brackets_in_words_are_shown_as_they_are(text):
    def done(r, console):
        Terminal(1, console).done(r)

    assert text in printed(done, result(verdict="fails", note=text))
    assert text in printed(print_table, [replace(result(), statement=text)])


def test_deep_claims_that_were_not_asked_are_counted_apart_on_the_page(tmp_path):
    write_html([result("C8"), result("C9", "deep", deep=True)], tmp_path / "r.html")
    assert "<div>1 of 1 hold, 1 deep</div>" in (tmp_path / "r.html").read_text(encoding="utf-8")
