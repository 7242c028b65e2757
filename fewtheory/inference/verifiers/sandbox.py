"""Run a program that may be wrong in any way against unit tests, within limits.

Each program gets an interpreter of its own (`python -I -S`, no environment, stdin at its end,
output thrown away), a fresh folder that is deleted afterwards, limits on processor time, wall time,
memory, file sizes and open files, and an audit hook that refuses sockets, writes (and most reads)
outside the folder, other processes, signals, ctypes and a look at the hook itself. At the end its
whole process group is killed.

It is no container. It holds against mistakes (endless loops, runaway memory, a stray `rm`) and
against programs that go through Python's own doors. A program written to break out of the Python
interpreter (a bug of CPython, a module built in C that makes system calls unseen) is not held, and
neither is one that sets out to forge its own verdict; for such programs run this inside a container
or a virtual machine. As root, the limit on the number of processes is not enforced by the kernel;
what refuses a fork then is the hook alone. Linux and macOS; on macOS memory is not limited.

Source: sheet `inference-flaws`, "Base / plus" (a verifier is a test suite that sees some mistakes).
"""

from __future__ import annotations

import marshal
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import fail, integer, number

GUARD = Path(__file__).with_name("_guard.py")
OUTCOMES = ("passed", "failed", "error", "timeout", "memory", "refused")


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    seconds: of wall time for all of it (and, rounded up, of processor time); check_seconds: for a
    single check; memory, file_size: bytes of address space and of any file; files: open at a time.
    """

    seconds: float | int = 10.0
    check_seconds: float | int = 1.0
    memory: int = 512 * 2**20
    file_size: int = 2**20
    files: int = 32

    def __post_init__(self) -> None:
        for name in ("seconds", "check_seconds"):
            number("Limits", name, getattr(self, name), 1e-3, 86400.0)
        integer("Limits", "memory", self.memory, 2**26)
        integer("Limits", "file_size", self.file_size, 4096)
        integer("Limits", "files", self.files, 8)

    def of_process(self) -> dict[str, int]:
        """The kernel's limits by their names in the module `resource`."""
        limits = {
            "RLIMIT_CPU": math.ceil(self.seconds),
            "RLIMIT_FSIZE": self.file_size,
            "RLIMIT_NOFILE": self.files,
            "RLIMIT_CORE": 0,
        }
        if sys.platform == "linux":
            limits |= {"RLIMIT_AS": self.memory, "RLIMIT_NPROC": 0}
        return limits


@dataclass(frozen=True)
class Verdict:
    """What became of a program.

    passed: the number of checks that passed before the first that did not; outcome: "passed" if all
    did, else what became of that one ("failed": an assertion; "error": another exception, or an
    early exit; "timeout", "memory", "refused"); refused: the audit events that were refused, also
    where the program went on; seconds: of wall time.
    """

    passed: int
    outcome: str
    refused: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return self.outcome == "passed"


def run(source: str, checks: Sequence[str], limits: Limits | None = None) -> Verdict:
    """Run a program and its checks, one after another, in a process of their own.

    source: the program; checks: statements in its namespace, `assert f(3) == 6`; the first that
    does not pass ends the run. Raises TypeError by name for what is no text. What the module says
    it is not, it is not.

    >>> run("def double(x): return x + x", ["assert double(3) == 6", "assert double(2) == 5"])
    ... # doctest: +ELLIPSIS
    Verdict(passed=1, outcome='failed', refused=(), seconds=...)
    """
    limits = limits or Limits()
    if not isinstance(source, str):
        raise TypeError(f"run: source must be a text, got {source!r}")
    if isinstance(checks, str) or not all(isinstance(c, str) for c in checks):
        raise TypeError(f"run: checks must be texts, got {checks!r}")
    if os.name != "posix":
        raise fail("run", "os.name", "posix: there are no such limits elsewhere", os.name)
    nonce, started = secrets.token_hex(8), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="program-") as folder,
        tempfile.TemporaryFile() as job,
        tempfile.TemporaryFile() as out,
    ):
        text = {
            "nonce": nonce,
            "folder": os.path.realpath(folder),
            "limits": limits.of_process(),
            "source": source,
            "checks": list(checks),
            "check_seconds": limits.check_seconds,
        }
        job.write(marshal.dumps(text))
        job.seek(0)
        in_time = _to_its_end([job.fileno(), out.fileno()], limits.seconds)
        out.seek(0)
        lines = out.read().decode(errors="replace").splitlines()
    told = [line.partition(" ")[2] for line in lines if line.startswith(nonce + " ")]
    return _verdict(told, len(checks), in_time, time.monotonic() - started)


def _to_its_end(descriptors: list[int], seconds: float) -> bool:
    """Run the guard; False if it was stopped at the limit. Its process group is killed anyway."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        env={},
        cwd="/",
        start_new_session=True,
    )
    try:
        # a processor limit that was reached first is a timeout too
        return process.wait(seconds) != -signal.SIGXCPU
    except subprocess.TimeoutExpired:
        return False
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _verdict(told: list[str], checks: int, in_time: bool, seconds: float) -> Verdict:
    """From the lines that the guard wrote."""
    refused = tuple(v.removeprefix("refused ") for v in told if v.startswith("refused "))
    outcomes: list[Any] = [v for v in told if v in OUTCOMES]
    passed = max(0, outcomes.count("passed") - 1)  # the first is the program itself
    if "done" in told:
        return Verdict(min(passed, checks), outcomes[-1], refused, seconds)
    if "started" not in told:
        raise RuntimeError("run: the sandbox's interpreter did not start")
    return Verdict(passed, "error" if in_time else "timeout", refused, seconds)
