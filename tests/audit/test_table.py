"""The table of all schedulers: which they are, what is said of one, and the pages made from it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import math
from pathlib import Path

import pytest

from fewtheory.audit import __main__ as command
from fewtheory.audit import table, variants
from fewtheory.audit.table import parallel, row, rows
from fewtheory.audit.variants import each, unaudited

DOCS = Path(__file__).parents[2] / "docs"
KEPT = json.loads((DOCS / "schedulers.json").read_text(encoding="utf-8"))
pinned = pytest.mark.skipif(
    KEPT["library"] != f"diffusers {importlib.metadata.version('diffusers')}",
    reason=f"the table is of {KEPT['library']}",
)


@pytest.fixture
def brief(monkeypatch):
    """Audits that look at runs in few numbers of steps: what is tested is what is told of them."""
    monkeypatch.setattr(table, "EVERY", 4)


# which classes


@pinned
def test_every_scheduler_of_the_library_is_in_the_table_or_among_those_that_cannot_be_audited():
    audited = {r["scheduler"] for r in KEPT["rows"]}
    beyond = set(KEPT["unaudited"])
    assert audited | beyond == set(variants.names())
    assert not audited & beyond


@pinned
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("DPMSolverSDEScheduler", "needs torchsde, which is not installed"),
        ("AmusedScheduler", "cannot be made without `mask_token_id`"),
        ("ScoreSdeVpScheduler", "has no `step`, but `step_pred`"),
        ("RePaintScheduler", "its step also asks for `original_image` and `mask`"),
        ("EntropyBoundScheduler", "its state is tokens, not numbers"),
        ("SCMScheduler", "a run in 16 steps raises ValueError: Intermediate timesteps"),
        ("DDIMScheduler", ""),
    ],
)
def test_why_a_class_cannot_be_audited_is_found_by_trying(name, why):
    if "torchsde" in why and importlib.util.find_spec("torchsde"):
        pytest.skip("torchsde is installed")
    assert unaudited(name).startswith(why)
    assert bool(unaudited(name)) == bool(why)


# which variants


def test_the_default_comes_first_and_then_the_settings_in_which_it_is_linear():
    found = variants.variants("DDIMScheduler")
    assert found[:2] == [{}, {"clip_sample": False}]
    assert all(v["clip_sample"] is False for v in found[1:])
    assert variants.base("DEISMultistepScheduler") == {}


def test_no_config_is_audited_twice():
    found = variants.variants("DPMSolverMultistepScheduler")
    assert {"solver_order": 2} not in found  # its default
    assert sum(set(v.values()) <= {3, "dpmsolver++"} and v != {} for v in found) == 1


def test_a_setting_brings_what_it_needs_where_the_class_has_that_option():
    ends = {"final_sigmas_type": "sigma_min"}
    multistep = variants.variants("DPMSolverMultistepScheduler")
    assert {"algorithm_type": "dpmsolver", **ends} in multistep
    assert {"algorithm_type": "dpmsolver"} in variants.variants(
        "DPMSolverMultistepInverseScheduler"
    )
    assert {"use_flow_sigmas": True, "prediction_type": "flow_prediction"} in multistep


def test_a_class_takes_only_words_that_its_source_names():
    values = [v.get("algorithm_type") for v in variants.variants("SASolverScheduler")]
    assert "noise_prediction" in values
    assert "sde-dpmsolver++" not in values


def test_combinations_are_all_of_them():
    found = list(each({"solver_order": (1, 2), "solver_type": ("a", "b")}, shift=3.0))
    assert len(found) == 4
    assert all(v["shift"] == 3.0 for v in found)
    assert len({tuple(sorted(v.items())) for v in found}) == 4


# what is said of one


def test_a_defect_is_in_the_record(brief):
    found = row("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False})
    assert (found.linear, found.dead) == (True, 1)
    assert found.end == pytest.approx((1e-4 / (1 - 1e-4)) ** 0.5, rel=1e-6)  # of the table's first
    assert not found.error + found.refused
    assert "dead" in {f["check"] for f in (found.record or {})["findings"]}


def test_what_is_not_linear_has_no_number_of_dead_evaluations(brief):
    found = row("UnCLIPScheduler", {})
    assert (found.linear, found.dead, found.end) == (False, None, None)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("DPMSolverMultistepScheduler", {"solver_type": "none"}, "none is not implemented for"),
        ("EulerAncestralDiscreteScheduler", {"prediction_type": "sample"}, "not implemented yet"),
        ("DDIMScheduler", {"no_such": 1}, "unexpected keyword argument 'no_such'"),
    ],
)
def test_a_class_that_refuses_says_so_in_its_row(name, settings, said):
    found = row(name, settings)
    assert said in found.refused
    assert found.record is None
    assert not found.error


def test_what_our_own_code_raises_is_seen_in_the_row(monkeypatch):
    def broken(*_, **__):
        raise KeyError("a slip of ours")

    monkeypatch.setattr(table, "conformance", broken)
    found = row("DDIMScheduler", {})
    assert found.error == "KeyError: 'a slip of ours' (in broken)"
    assert found.record is None
    assert not found.refused


@pytest.mark.parametrize("jobs", [1, 2])
def test_work_comes_back_in_order_from_one_process_or_from_two(jobs):
    assert list(parallel(math.hypot, [(3, 4), (5, 12), (8, 15)], jobs)) == [5, 13, 17]


def test_rows_are_all_variants_in_order_and_are_counted(brief):
    told = []
    found = rows(["MiniMaxH3Scheduler"], jobs=1, on_row=lambda *n: told.append(n))
    assert [r.settings for r in found] == variants.variants("MiniMaxH3Scheduler")
    assert told == [(k + 1, len(found)) for k in range(len(found))]
    assert all((r.record or {})["evaluations"]["4"] == 3 for r in found)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"jobs": 0}, "rows: jobs must be at least 1, got 0"),
        ({"only": ["NoScheduler"]}, "rows: only must be one of .*, got 'NoScheduler'"),
    ],
)
def test_bad_arguments_are_refused_by_name(given, wanted):
    with pytest.raises(ValueError, match=wanted):
        rows(**given)


# the command


def test_the_command_writes_what_it_found(brief, tmp_path, capsys):
    file = tmp_path / "table.json"
    only = ["--only", "MiniMaxH3Scheduler", "SCMScheduler"]
    assert command.main(["table", str(file), *only, "--jobs", "1"]) == 0
    found = json.loads(file.read_text())
    assert list(found["unaudited"]) == ["SCMScheduler"]
    assert {r["scheduler"] for r in found["rows"]} == {"MiniMaxH3Scheduler"}
    assert f"{len(found['rows'])} rows of 1 of" in capsys.readouterr().out


def test_an_audit_that_fails_is_the_commands_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "conformance", lambda *_, **__: 1 / 0)
    file = str(tmp_path / "table.json")
    assert command.main(["table", file, "--only", "MiniMaxH3Scheduler", "--jobs", "1"]) == 1
    assert "ZeroDivisionError" in Path(file).read_text()


def test_misuse_is_told_before_any_work(tmp_path, capsys):
    missing = str(tmp_path / "no" / "file.json")
    assert command.main(["table", missing]) == 2
    assert "must lie in a folder that exists" in capsys.readouterr().err
    assert command.main(["table", str(tmp_path / "t.json"), "--only", "None"]) == 2


# the pages


@pytest.fixture
def pages(monkeypatch):
    """docs/schedulers.py, and what stands beside it."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("schedulers")


@pytest.mark.parametrize("name", ["schedulers.md", "scheduler-findings.md", "kill-matrix.md"])
def test_the_pages_are_those_that_the_json_files_make(pages, name):
    assert (DOCS / name).read_text(encoding="utf-8") == pages.pages()[name]


def test_a_row_is_kept_without_what_the_pages_leave_out(monkeypatch, pages):
    monkeypatch.setattr(table, "EVERY", table.STEPS)
    found = row("MiniMaxH3Scheduler", {}).plain()
    kept = pages.kept(found)
    assert kept["calls"] == 15
    assert {f["check"] for f in kept["findings"]} == {"raises", "known_network", "evaluations"}
    assert "record" not in kept
    assert "refused" not in kept


def test_numbers_that_are_none_are_kept_as_words(pages):
    assert [pages.rounded(v) for v in (0.123456, float("nan"), 3, "a")] == [0.1235, "nan", 3, "a"]


def a_row(findings=(), scheduler="A", **settings):
    return {"scheduler": scheduler, "settings": settings, "findings": list(findings)}


DEAD = {"severity": "defect", "check": "dead", "what": "is dead", "where": "w", "evidence": "e"}
ORDER = {**DEAD, "check": "order", "what": "its step is of order 2, not 3 (solver_order)"}
NOTE = {**DEAD, "severity": "note", "check": "evaluations", "what": "costs more"}


@pytest.fixture
def defects(pages):
    """docs/scheduler_defects.py."""
    return importlib.import_module("scheduler_defects")


def test_defects_are_grouped_worst_first_and_before_notes(defects):
    kept = [a_row([DEAD, NOTE]), a_row([ORDER], order=3), a_row([DEAD], "B")]
    found = defects.groups(kept)
    assert [(g.code, g.check, len(g.hits)) for g in found] == [
        ("D1", "order", 1),
        ("D2", "dead", 2),
        ("N1", "evaluations", 1),
    ]
    assert found[0].what == "its step is of order 2, not 3"


def test_who_has_a_defect_is_said_by_the_setting_that_tells(defects):
    kept = [
        a_row(),
        a_row([DEAD], karras=True),
        a_row([DEAD], karras=True, order=3),
        a_row([], order=3),
        a_row([DEAD], rescale=True, prediction="epsilon"),
        a_row([], rescale=True, prediction="v"),
        a_row([DEAD], "B", shift=3.0),
    ]
    (group,) = defects.groups(kept)
    assert defects.who(group, kept, defects.bases(kept)) == [
        "A: `karras=True`, `rescale=True prediction=epsilon`",
        "B: always",
    ]


def test_where_nearly_all_have_a_defect_those_are_told_that_have_not(defects):
    kept = [a_row([DEAD], k=i) for i in range(5)] + [a_row(k=9)]
    (group,) = defects.groups(kept)
    assert defects.who(group, kept, defects.bases(kept)) == ["A: always, but for `k=9`"]


def test_the_settings_of_the_base_are_not_said_again(defects):
    kept = [a_row(), a_row(clip_sample=False), a_row(clip_sample=False, eta=0.0)]
    base = defects.bases(kept)["A"]
    assert [defects.variant(r, base) for r in kept] == ["default", "clip_sample=False", "eta=0.0"]


def test_a_long_list_of_steps_is_shortened(defects):
    assert defects._brief("at 1, 3, 5, 7, 9 to 11 and 13 steps; x") == "at 1, 3, 5, .., 13 steps; x"
    assert defects._brief("at 1, 3 and 5 steps") == "at 1, 3 and 5 steps"


def test_defects_that_come_together_say_so(defects):
    zero = {**DEAD, "check": "monotone", "what": "zero length"}
    kept = [a_row([DEAD, zero], k=i) for i in range(4)] + [a_row([DEAD], k=9)]
    first, second = defects.groups(kept)
    assert "Goes with [D2](#d2)." in "\n".join(defects.entry(first, [first, second], []))


def test_code_in_question_is_shown_as_code(defects):
    edit = "a.py:11 (A.step) would be right with {} for x"
    assert defects._code(edit.format("2 * x")).endswith("would be right with `2 * x` for `x`")
    assert defects._code(edit.format("sum(i for i in y)")).endswith("`sum(i for i in y)` for `x`")
    assert defects._code("a.py:9 (A.step) forms the state: u = x") == (
        "a.py:9 (step) forms the state: `u = x`"
    )
    assert defects._code("elsewhere") == "`elsewhere`"


def test_what_a_mended_plan_gains_is_said_where_it_gains(defects):
    assert defects._mended({"flow": 0.0664, "mended": 0.0612}) == (
        " Mended so, 16 steps err by 0.061 on the bimodal law, not 0.066."
    )
    assert defects._mended({"flow": 0.0664, "mended": 0.0724}) == ""
    assert defects._mended({"flow": None}) == ""


def test_a_row_on_which_the_audit_fails_is_told_at_the_top_and_in_its_class(pages):
    table_page = importlib.import_module("scheduler_table")
    broken = {"scheduler": "A", "settings": {"shift": 3.0}, "error": "KeyError: 'ours'"}
    text = table_page.page({"library": "l", "rows": [broken], "unaudited": {}})
    assert "**The audit itself fails on 1 of them:** A `shift=3.0`." in text
    assert "- `shift=3.0`: the audit itself fails: KeyError: 'ours'" in text
