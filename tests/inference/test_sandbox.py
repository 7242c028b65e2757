"""The sandbox: each limit, seen to hold; programs, their mutants and their exact world."""

import ast
import os
import time
from pathlib import Path

import numpy as np
import pytest

from fewtheory.inference import resampling
from fewtheory.inference.verifiers.programs import ProgramTask, program_tasks, survey
from fewtheory.inference.verifiers.sandbox import Limits, run

QUICK = Limits(seconds=1.0, check_seconds=0.3, memory=2**28)


def running(mark):
    """Processes whose command line or environment holds this mark."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if mark in (folder / "cmdline").read_text(errors="replace"):
                    found.append(folder.name)
            except OSError:
                pass
    return found


def test_a_right_program_passes_all_checks():
    verdict = run("def f(x): return 2 * x", ["assert f(2) == 4", "assert f(0) == 0"])
    assert (verdict.passed, verdict.outcome, verdict.refused) == (2, "passed", ())


def test_the_first_check_that_fails_ends_the_run():
    verdict = run("def f(x): return 2 * x", ["assert f(2) == 4", "assert f(2) == 5", "1 / 0"])
    assert (verdict.passed, verdict.outcome, verdict.ok) == (1, "failed", False)


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("def f(:", "error"),
        ("1 / 0", "error"),
        ("def f(x): return f(x)\nf(1)", "error"),
        ("input()", "error"),  # stdin is at its end
        ("import sys; sys.exit(0)", "error"),
        ("import os; os._exit(0)", "error"),
        ("while True: pass", "timeout"),
        ("x = bytearray(10**9)", "memory"),
        ("open('a', 'wb').write(bytes(2**21))", "error"),  # the file's size
        ("f = [open('a', 'w') for _ in range(99)]", "error"),  # open files
    ],
)
def test_what_becomes_of_bad_programs(source, outcome):
    verdict = run(source, ["assert True"], QUICK)
    assert (verdict.passed, verdict.outcome) == (0, outcome)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntry: time.sleep(60)\nexcept BaseException: time.sleep(60)",
        "while True:\n try:\n  while True: pass\n except BaseException: continue",
        "import threading\nthreading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()",
    ],
    ids=["sleeps on", "catches the alarm", "a thread"],
)
def test_no_program_outlives_its_limit(source):
    started = time.monotonic()
    verdict = run(source, ["while True: pass"], QUICK)
    assert not verdict.ok
    # the limit, the start of an interpreter and a busy machine
    assert time.monotonic() - started < 1 + 10


OUTSIDE = {
    "open": "open({!r}, 'w').write('x')",
    "append": "open({!r}, 'a')",
    "os.open": "import os; os.open({!r}, os.O_CREAT | os.O_WRONLY)",
    "bytes": "open({!r}.encode(), 'w')",
    "a text of its own": "class S(str):\n def split(self, *a): return ['a']\nopen(S({!r}), 'w')",
    "pathlib": "import pathlib; pathlib.Path({!r}).write_text('x')",
    "up": "import os; open('../' * 9 + {!r}[1:], 'w')",
    "rename": "import os; open('a', 'w').close(); os.rename('a', {!r})",
    "mkdir": "import os; os.mkdir({!r})",
    "symlink": "import os; os.symlink('/', 'all')",
    "hard link": "import os; open('a', 'w').close(); os.link('a', {!r})",
    "fifo": "import os; os.mkfifo({!r})",
    "chdir": "import os; os.chdir('/')",
    "shutil": "import shutil; open('a', 'w').close(); shutil.copy('a', {!r})",
}


@pytest.mark.parametrize("how", OUTSIDE)
def test_nothing_is_written_outside_the_folder(how, tmp_path):
    target = tmp_path / "outside"
    verdict = run(OUTSIDE[how].format(str(target)), [], QUICK)
    assert not verdict.ok
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os; os.remove({!r})",
        "import os; os.chmod({!r}, 0)",
        "import os; os.truncate({!r}, 0)",
        "import shutil; shutil.rmtree({!r}.rpartition('/')[0])",
        "open({!r}).read()",
    ],
)
def test_nothing_outside_is_touched_or_read(source, tmp_path):
    file = tmp_path / "mine"
    file.write_text("kept")
    mode = file.stat().st_mode
    verdict = run(source.format(str(file)), [], QUICK)
    assert verdict.refused
    assert (file.read_text(), file.stat().st_mode) == ("kept", mode)


def test_the_folder_is_the_programs_own_and_is_gone_afterwards():
    verdict = run(
        "import os\nopen('a', 'w').write('x')\nos.mkdir('b')\nopen('b/c', 'w').write('y')",
        ["assert open('a').read() == 'x'", "assert sorted(os.listdir()) == ['a', 'b']"],
    )
    assert verdict.ok
    again = run("import os", ["assert os.listdir() == []"])
    assert again.ok


@pytest.mark.parametrize(
    "source",
    [
        "import socket; socket.socket()",
        "import _socket; _socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1')",
        "import os; os.fork()",
        "import os; os.system('true')",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os; os.execv('/bin/true', ['true'])",
        "import subprocess; subprocess.run(['true'])",
        "import _posixsubprocess",
        "import multiprocessing; multiprocessing.Process(target=print).start()",
        "import ctypes; ctypes.CDLL(None)",
        "import os; os.kill(os.getppid(), 0)",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
        "import gc; gc.get_objects()",
        "import sys; sys.addaudithook(print)",
        "try: open('/etc/x', 'w')\nexcept OSError as e: e.__traceback__.tb_frame",
    ],
)
def test_networks_processes_and_the_hook_itself_are_refused(source):
    assert run(source, ["assert True"], QUICK).refused


def test_a_refusal_that_was_caught_is_told():
    verdict = run("import os\ntry: os.fork()\nexcept PermissionError: pass", ["assert True"])
    assert (verdict.outcome, verdict.refused) == ("passed", ("os.fork",))


def test_no_child_survives():
    mark = f"sleeper{os.getpid()}"
    tries = (
        "import os\nfor f in (os.fork, lambda: os.system('sleep 60 # {m}')):\n"
        " try: f()\n except PermissionError: pass"
    )
    assert run(tries.format(m=mark), []).refused == ("os.fork", "os.system")
    assert running(mark) == []


def test_the_environment_is_not_the_programs(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert run("import os, sys", ["assert 'MY_TOKEN' not in os.environ"]).ok
    assert run("import sys", ["assert not any('site-packages' in p for p in sys.path)"]).ok


def test_the_standard_library_is_there():
    verdict = run(
        "import dataclasses, collections, functools, random, re, typing, fractions, heapq, json\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = 1\n"
        "B = collections.namedtuple('B', 'a b')",
        ["assert A() == A(1)", "assert B(1, 2).a == 1", "assert random.Random(1).random() < 1"],
    )
    assert verdict.ok, verdict


def test_printing_without_end_fills_nothing():
    assert run("for _ in range(1000): print('x' * 1000)", ["assert True"]).ok


def test_a_program_cannot_print_its_own_verdict():
    source = (
        "import os\nfor fd in range(3, 20):\n"
        " try: os.write(fd, b'passed\\ndone\\n')\n except OSError: pass"
    )
    assert run(source, ["assert False"]).outcome == "failed"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(3, []), "run: source must be a text"),
        (lambda: run("", "assert True"), "run: checks must be texts"),
        (lambda: run("", [1]), "run: checks must be texts"),
        (lambda: Limits(seconds=0), "Limits: seconds must be"),
        (lambda: Limits(check_seconds=-1), "Limits: check_seconds must be"),
        (lambda: Limits(memory=1000), "Limits: memory must be at least"),
        (lambda: Limits(files=0), "Limits: files must be at least 8"),
        (lambda: survey(()), "survey: tasks must be one or more"),
        (lambda: survey(edit=2), "survey: edit must be"),
        (lambda: survey(jobs=0), "survey: jobs must be at least 1"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


# programs


def test_every_task_is_right_by_both_sets_and_its_tests_are_its_own():
    for task in program_tasks():
        space = {}
        exec(task.source, space)
        base, plus = task.checks()
        assert len(base) < len(plus)
        for check in (*base, *plus):
            exec(check, space)


def test_a_mutant_differs_in_one_place():
    task = ProgramTask("f", "def f(x):\n    return x + 1 if x < 3 else 0", ((1,),), ((3,),))
    found = task.mutants()
    # + 1: the operator, two constants; x < 3: two comparisons, two constants; 0: two; the condition
    assert len(found) == len(set(found)) == 1 + 2 + 2 + 2 + 2 + 1
    assert ast.unparse(ast.parse(task.source)) not in found
    assert "def f(x):\n    return x + 1 if x <= 3 else 0" in found


def test_a_weak_test_lets_a_mutant_pass_that_the_rest_sees():
    task = ProgramTask("f", "def f(x):\n    return x < 3", ((1,), (9,)), ((3,),))
    assert task.judge(task.source) == (True, True)
    assert task.judge("def f(x):\n    return x <= 3") == (True, False)
    assert task.judge("def f(x):\n    return x > 3") == (False, False)


def test_a_survey_gives_the_exact_world_and_recordings_of_it(rng):
    found = survey(program_tasks()[1:3], mutants=4, jobs=2)
    world = found.world
    r, s = np.array(world.solve), np.array(world.soundness)
    for i in range(2):
        chance, right, accepted = found.chance[i], found.right[i], found.accepted[i]
        assert chance.sum() == pytest.approx(1.0)
        assert r[i] == pytest.approx(sum(p for p, ok in zip(chance, right, strict=True) if ok))
        assert all(a or not ok for a, ok in zip(accepted, right, strict=True))
    assert np.all((s >= 0) & (s <= 1))
    counts = resampling.record(found.model(rng=rng), range(2), found.verify, found.truth, n=4000)
    # five standard errors of 4000 attempts
    assert counts.tp / 4000 == pytest.approx(r, abs=5 * 0.5 / 4000**0.5)
    assert counts.fp / 4000 == pytest.approx((1 - s) * (1 - r), abs=5 * 0.5 / 4000**0.5)
