"""The kill matrix: a mutant is killed by what its control does not have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fewtheory.audit import __main__ as command
from fewtheory.audit import kill
from fewtheory.audit.kill import Verdict, fate, judged, kills
from fewtheory.audit.mutants import MUTANTS

DOCS = Path(__file__).parents[2] / "docs"
KEPT = json.loads((DOCS / "kill-matrix.json").read_text(encoding="utf-8"))
MUTANT = MUTANTS[0]
DEAD = {"check": "dead", "what": "pays for evaluations that it does not use", "where": "at 8"}
ORDER = {"check": "order", "what": "its step is of order 2, not 3", "where": "steps 3 to 50"}


# what is a kill


def test_a_defect_that_the_control_has_as_well_kills_nothing():
    found = fate(MUTANT, Verdict((DEAD,), 2), Verdict((DEAD,), 2))
    assert not found.killed
    assert found.defects == ()


def test_the_same_defect_elsewhere_kills_nothing():
    assert not fate(MUTANT, Verdict(({**DEAD, "where": "at 9"},)), Verdict((DEAD,))).killed


def test_a_defect_that_the_control_lacks_kills_by_its_check():
    found = fate(MUTANT, Verdict((DEAD, ORDER), 2), Verdict((DEAD,), 2))
    assert found.by == ("order",)
    assert found.defects == (ORDER,)


def test_the_same_check_with_other_words_kills():
    worse = {**ORDER, "what": "its step is of order 1, not 3"}
    assert fate(MUTANT, Verdict((worse,), 2), Verdict((ORDER,), 2)).by == ("order",)


def test_a_smaller_order_by_its_coefficients_kills():
    assert fate(MUTANT, Verdict((), 1), Verdict((), 2)).by == ("order",)
    assert not fate(MUTANT, Verdict((), 3), Verdict((), 2)).killed
    assert not fate(MUTANT, Verdict((), None), Verdict((), 2)).killed


@pytest.mark.parametrize("whose", ["broken", "control"])
def test_an_error_of_our_own_is_no_kill(whose):
    verdicts = {"broken": Verdict((DEAD,), 1), "control": Verdict((), 2)}
    verdicts[whose] = replace(verdicts[whose], error="KeyError: 'ours'")
    found = fate(MUTANT, **verdicts)
    assert not found.killed
    assert found.plain()["error"] == "KeyError: 'ours'"


def test_what_our_own_code_raises_is_in_the_verdict(monkeypatch):
    monkeypatch.setattr(kill, "conformance", lambda *_, **__: [][0])
    assert judged(MUTANT.control).error.startswith("IndexError: list index out of range")


# one mutant


def test_a_mutant_is_killed_and_its_control_is_not(monkeypatch):
    monkeypatch.setattr(kill, "EVERY", 4)  # numbers of steps: enough for this one
    told = []
    cheap = next(m for m in MUTANTS if m.scheduler == "FlowMatchEulerDiscreteScheduler")
    (found,) = kills([cheap], jobs=1, on_row=lambda *n: told.append(n))
    assert found.killed
    assert found.control.error == ""
    assert not fate(cheap, found.control, found.control).killed
    assert told == [(1, 2), (2, 2)]  # the control comes first
    plain = json.loads(json.dumps(found.plain()))
    assert (plain["why"], plain["killed"]) == (cheap.why, True)


def test_no_process_is_refused():
    with pytest.raises(ValueError, match="kills: jobs must be at least 1, got 0"):
        kills([MUTANT], jobs=0)


# the command and the page


def test_the_command_says_how_many_are_killed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kill, "judged", lambda m: Verdict((DEAD,) if hasattr(m, "old") else ()))
    file = tmp_path / "kill.json"
    only = ["--only", "FlowMatchEulerDiscreteScheduler", "--jobs", "1"]
    assert command.main(["kill", str(file), *only]) == 0
    found = json.loads(file.read_text())["mutants"]
    assert all(m["killed"] for m in found)
    assert f"{len(found)} of {len(found)} mutants killed" in capsys.readouterr().out


def test_the_page_is_of_all_mutants_each_with_what_it_changes():
    kept = [(m["scheduler"], m["method"], m["old"], m["new"]) for m in KEPT["mutants"]]
    assert kept == [(m.scheduler, m.method, m.old, m.new) for m in MUTANTS]


def test_no_mutant_of_the_page_failed_in_the_audit_itself():
    assert [m["error"] for m in KEPT["mutants"] if m["error"]] == []
