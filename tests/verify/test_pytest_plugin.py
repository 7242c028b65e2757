"""Suites as pytest items: one test a claim, collected by a plugin that must be named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_pytest(*arguments, cwd=ROOT):
    """Pytest's exit status and what it printed, in a process of its own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_root_conftest_collects_a_suite():
    status, text = run_pytest("verification/dpm_solver_pp.py", "-v", "-k", "C8a or C1c")
    assert status == 0, text
    for claim in ("C1c", "C8a"):
        assert re.search(rf"dpm_solver_pp\.py::{claim} PASSED", text)
    assert re.search(r"2 passed, \d+ deselected", text)


def test_a_suite_is_collected_by_its_importable_name(tmp_path):
    plugin = ("-p", "fewtheory.verify.pytest_plugin", "--noconftest")
    status, text = run_pytest(
        *plugin, "--pyargs", "fewtheory.suites.dpm_solver_pp", "-k", "C8b", cwd=tmp_path
    )
    assert status == 0, text
    assert re.search(r"1 passed, \d+ deselected", text)


def test_without_the_plugin_nothing_is_collected():
    status, text = run_pytest("--noconftest", "verification/dpm_solver_pp.py", "--collect-only")
    assert status == 5, text  # pytest's own: no tests were collected
    assert "no tests collected" in text


SUITE = '''
import math
from fewtheory.errors import MissingExtra
from fewtheory.verify import claim, identity

def double(x):
    return 2 * x

def triple(x):
    """Three times."""
    return 3 * x

def add(x):
    """Adds itself."""
    return x + x

def marked(id, of, *saboteurs, **more):
    return claim(id, kind="identity", of=of, saboteurs=saboteurs, **more)

def tells(f):
    return identity(f(1.5), 3.0, operations=1)

@marked("C1", double, triple)
def holds(f):
    """This one holds."""
    return tells(f)

@marked("C2", triple, triple)
def fails(f):
    """This one fails."""
    return tells(f)

@marked("C3", double, add)
def blind(f):
    """This one is blind."""
    return tells(f)

@marked("C4", double, triple)
def error(f):
    """This one raises."""
    raise ArithmeticError("no such luck")

@marked("C5", double, triple)
def unavailable(f):
    """This one lacks an extra."""
    raise MissingExtra("models", "this claim")

@marked("C6", triple, triple, deep=True)
def expensive(f):
    """This one is deep, and fails."""
    return tells(f)
'''

CONFTEST = """
import fewtheory.suites
from pathlib import Path

fewtheory.suites.__path__.append(str(Path(__file__).parent / "suites"))
pytest_plugins = ["fewtheory.verify.pytest_plugin"]
"""


@pytest.fixture(scope="module")
def throw_away(tmp_path_factory):
    """A folder with a suite that has one claim of each verdict, and other files beside it."""
    folder = tmp_path_factory.mktemp("throw_away")
    (folder / "suites").mkdir()
    (folder / "suites/throw_away.py").write_text(SUITE)
    (folder / "suites/_worlds.py").write_text("raise RuntimeError('not a suite')")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    return folder


@pytest.fixture(scope="module")
def ordinary(throw_away):
    """What an ordinary run of it says."""
    return run_pytest("-v", "-rs", "suites", cwd=throw_away)


def test_a_test_passes_if_and_only_if_its_claim_holds(ordinary):
    status, text = ordinary
    assert status == 1
    outcomes = dict(re.findall(r"::(C\d) (PASSED|FAILED|SKIPPED|ERROR)", text))
    assert outcomes == {
        "C1": "PASSED",
        "C2": "FAILED",
        "C3": "FAILED",
        "C4": "FAILED",
        "C5": "SKIPPED",
        "C6": "SKIPPED",
    }


@pytest.mark.parametrize(
    "words",
    [
        "throw-away C2: fails. measured 1.5, equal 0",
        "This one fails.",
        "throw-away C3: blind. the check also passes: Adds itself.",
        "throw-away C4: error. ArithmeticError: no such luck",
        "fewtheory.suites.throw_away:C2",
    ],
)
def test_a_failure_says_the_verdict_in_words(ordinary, words):
    assert words in ordinary[1]


def test_an_error_shows_where_the_check_raised(ordinary):
    assert 'raise ArithmeticError("no such luck")' in ordinary[1]


def test_what_is_skipped_says_why(ordinary):
    assert "this claim needs the extra 'models'" in ordinary[1]
    assert "expensive: needs --deep" in ordinary[1]


def test_deep_claims_run_with_deep(throw_away):
    status, text = run_pytest("--deep", "-k", "C6", "suites", cwd=throw_away)
    assert status == 1
    assert "throw-away C6: fails." in text
