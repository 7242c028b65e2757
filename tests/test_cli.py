"""The command line: exit status 0 if all is well, 1 if a claim does not hold, 2 for misuse."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import fewtheory
import fewtheory.suites
from fewtheory.cli import main
from fewtheory.verify import suites
from fewtheory.verify.report import listing

ROOT = Path(__file__).parents[1]
SUITE = '''
"""A paper of no importance. Nobody wrote it."""
from fewtheory.errors import MissingExtra
from fewtheory.verify import claim, identity

CALLS = []

def double(x):
    return 2 * x

def halve(x):
    return x / 2

def triple(x):
    """Three times."""
    return 3 * x

def tells(f, x, y):
    CALLS.append(f.__name__)
    return identity(f(x), y, operations=1)

@claim("C1", kind="identity", of=double, saboteurs=[triple])
def doubles(f):
    """It doubles."""
    return tells(f, 1.5, 3.0)

@claim("C2", kind="identity", of=halve, saboteurs=[triple])
def halves(f):
    """It halves."""
    return tells(f, 3.0, 1.5)
'''
FAILS = '''
def four(x):
    """Four times."""
    return 4 * x

@claim("C3", kind="identity", of=triple, saboteurs=[four])
def fails(f):
    """It does not hold."""
    return tells(f, 1.5, 3.0)
'''
MISSING = '''
@claim("C4", kind="identity", of=double, saboteurs=[triple])
def unavailable(f):
    """It lacks an extra."""
    raise MissingExtra("models", "this claim")
'''
DEEP = '''
@claim("C5", kind="identity", of=double, saboteurs=[triple], deep=True)
def expensive(f):
    """It takes long."""
    return tells(f, 1.5, 3.0)
'''
INTERRUPTED = '''
@claim("C6", kind="identity", of=double, saboteurs=[triple])
def interrupted(f):
    """Somebody presses control-C."""
    raise KeyboardInterrupt
'''


@pytest.fixture
def verify(tmp_path, monkeypatch):
    """Writes a throw-away suite and gives `fewtheory verify tiny` with more arguments."""
    (tmp_path / "throw_away").mkdir()
    places = [*fewtheory.suites.__path__, str(tmp_path / "throw_away")]
    monkeypatch.setattr(fewtheory.suites, "__path__", places)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(*texts):
        (tmp_path / "throw_away" / "tiny.py").write_text(SUITE + "".join(texts))
        importlib.invalidate_caches()
        return lambda *arguments: main(["verify", "tiny", "--jobs", "1", *arguments])

    yield write
    for name in {"fewtheory.suites.tiny", "mine"} - before:
        sys.modules.pop(name, None)


def calls():
    """The names of the objects that the suite's checks were given, in order."""
    return importlib.import_module("fewtheory.suites.tiny").CALLS


# verify


def test_the_status_is_0_if_every_claim_holds(verify, capsys):
    assert verify()() == 0
    assert "2 claims: 2 hold; 2 of 2 saboteurs caught" in capsys.readouterr().out


def test_the_status_is_1_if_a_claim_does_not_hold(verify, capsys):
    assert verify(FAILS)() == 1
    assert "fails tiny C3: measured 1.5, equal 0" in capsys.readouterr().out


def test_unavailable_is_a_failure_unless_it_is_allowed(verify):
    run = verify(MISSING)
    assert run() == 1
    assert run("--allow-missing") == 0


def test_a_failure_is_not_allowed_by_allow_missing(verify):
    assert verify(MISSING, FAILS)("--allow-missing") == 1


def test_deep_claims_wait_for_deep(verify):
    run = verify(DEEP)
    assert run() == 0
    assert len(calls()) == 4
    assert run("--deep") == 0
    assert len(calls()) == 4 + 6


def test_only_the_asked_claims_run(verify):
    assert verify(FAILS)("--only", "C2") == 0
    assert calls() == ["halve", "triple"]


def test_results_are_written_in_three_forms(verify, tmp_path, capsys):
    names = [f"--{kind}={tmp_path / f'r.{kind}'}" for kind in ("json", "junit", "html")]
    assert verify(FAILS)(*names) == 1
    records = json.loads((tmp_path / "r.json").read_text())
    assert [(r["claim"], r["verdict"]) for r in records] == [
        ("C1", "holds"),
        ("C2", "holds"),
        ("C3", "fails"),
    ]
    assert ElementTree.parse(tmp_path / "r.junit").getroot()[0].get("failures") == "1"
    assert "A paper of no importance" in (tmp_path / "r.html").read_text()
    assert capsys.readouterr().out.count("wrote ") == 3


def test_the_record_of_deep_claims_is_written(verify, tmp_path):
    assert verify(DEEP)("--deep", "--record", str(tmp_path / "deep.json")) == 0
    (entry,) = json.loads((tmp_path / "deep.json").read_text())
    assert (entry["suite"], entry["claim"], entry["verdict"]) == ("tiny", "C5", "holds")


# subjects

MINE = """
class Kit:
    def twice(x):
        return x + x

def twice(x):
    return x + x

def thrice(x):
    return 3.0 * x
"""


@pytest.fixture
def mine(verify, tmp_path):
    """A module of the user's, in the working directory."""
    (tmp_path / "mine.py").write_text(MINE)
    importlib.invalidate_caches()
    return verify()


def test_a_good_subject_holds_and_other_claims_are_not_asked(mine, tmp_path):
    assert mine("--subject", "mine:twice", "--of", "double", "--json", "r.json") == 0
    verdicts = [r["verdict"] for r in json.loads((tmp_path / "r.json").read_text())]
    assert verdicts == ["holds", "not asked"]
    assert calls() == ["twice", "triple"]


def test_a_bad_subject_fails(mine):
    assert mine("--subject", "mine:thrice", "--of", "double") == 1


def test_a_subject_may_be_an_attribute_of_an_object(mine):
    assert mine("--subject", "mine:Kit.twice", "--of", "double") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--subject", "mine", "--of", "double"], "--subject must look like PACKAGE:OBJECT"),
        (["--subject", "mine:nonesuch", "--of", "double"], "--subject 'mine:nonesuch'"),
        (["--subject", "mine:Kit.nonesuch", "--of", "double"], "--subject 'mine:Kit.nonesuch'"),
        (["--subject", "nonesuch:twice", "--of", "double"], "--subject 'nonesuch:twice'"),
        (["--subject", ":twice", "--of", "double"], "--subject"),
        (["--subject", "mine:twice", "--of", "nonesuch"], "of must be one of ['double', 'halve']"),
        (["--subject", "mine:twice"], "of must be given together with subject"),
        (["--of", "double"], "of must be given together with subject"),
        (["--only", "C9"], "only must be"),
        (["--resume", "nonesuch.json"], "nonesuch.json"),
        (["--json", "nonesuch/r.json"], "nonesuch/r.json"),
        (["--html", "nonesuch/r.html"], "nonesuch/r.html"),
    ],
)
def test_misuse_gives_status_2_and_names_the_argument_before_anything_runs(
    mine, capsys, arguments, words
):
    assert mine(*arguments) == 2
    assert words in capsys.readouterr().err
    assert calls() == []


@pytest.mark.parametrize("command", ["verify", "list"])
def test_an_unknown_suite_gives_status_2(capsys, command):
    assert main([command, "nonesuch"]) == 2
    assert f"suite must be one of {suites()[0]!r}" in capsys.readouterr().err


def test_a_subject_reaches_other_processes(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from fewtheory.plan.hooks import dynamic_threshold\n\n"
        "def threshold(x, *how):\n    return dynamic_threshold(x, *how)\n"
    )
    script = "import sys; from fewtheory.cli import main; sys.exit(main(sys.argv[1:]))"
    command = "verify dpm-solver-pp --only C8a --jobs 2 --of dynamic_threshold"
    done = subprocess.run(
        [sys.executable, "-c", script, *command.split(), "--subject", "mine:threshold"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 holds; 1 of 1 saboteurs caught" in done.stdout


# resuming


def test_what_an_earlier_run_decided_is_kept(verify):
    run = verify(FAILS)
    assert run("--json", "r.json") == 1
    del calls()[:]
    assert run("--resume", "r.json") == 1
    assert calls() == ["triple", "four"]  # C3 only, which did not hold


def test_an_interrupted_run_keeps_what_it_finished(verify, tmp_path, capsys):
    assert verify(INTERRUPTED)("--json", "r.json") == 130
    assert [r["claim"] for r in json.loads((tmp_path / "r.json").read_text())] == ["C1", "C2"]
    assert "--resume" in capsys.readouterr().err


def test_a_run_that_is_interrupted_twice_keeps_what_both_finished(verify, tmp_path):
    run = verify(INTERRUPTED)
    assert run("--json", "r.json") == 130
    assert run("--resume", "r.json", "--json", "r.json") == 130
    assert [r["claim"] for r in json.loads((tmp_path / "r.json").read_text())] == ["C1", "C2"]


def test_a_file_that_holds_no_results_cannot_be_resumed(verify, tmp_path, capsys):
    (tmp_path / "r.json").write_text("{}[")
    assert verify()("--resume", "r.json") == 2
    assert "r.json" in capsys.readouterr().err


# list, info


def test_list_json_is_one_object_a_claim(capsys):
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == listing(suites())


def test_list_says_claims_and_saboteurs_in_words(capsys):
    assert main(["list", "plan-algebra"]) == 0
    lines = capsys.readouterr().out.splitlines()
    records = listing(["plan-algebra"])
    assert len(lines) == sum(1 + len(r["saboteurs"]) for r in records)
    assert lines[0].startswith("plan-algebra C1a [identity] ")
    assert lines[1] == f"    saboteur: {records[0]['saboteurs'][0]}"


def test_list_marks_deep_claims(verify, capsys):
    verify(DEEP)
    assert main(["list", "tiny"]) == 0
    assert "tiny C5 [identity (deep)] It takes long." in capsys.readouterr().out


def test_info_names_versions_extras_and_suites(monkeypatch, capsys):
    lines = ["numpy>=1.26", "nonesuch-at-all>=2; extra == 'verify'", 'rich>=13; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    version = importlib.metadata.version
    assert f"fewtheory {fewtheory.__version__}, Python " in text
    assert f"required: numpy {version('numpy')}" in text
    assert "verify: nonesuch-at-all missing" in text
    assert f"dev: rich {version('rich')}" in text
    assert f"suites: {', '.join(suites())}" in text


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"fewtheory {fewtheory.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["nonesuch"], ["verify", "--nonesuch"]])
def test_an_unknown_command_or_option_gives_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: fewtheory" in capsys.readouterr().err
