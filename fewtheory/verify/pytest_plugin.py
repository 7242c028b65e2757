"""Suites as pytest items: one test a claim, which passes if and only if its verdict is `holds`.

Named in a conftest (`pytest_plugins = ["fewtheory.verify.pytest_plugin"]`) or by
`pytest -p fewtheory.verify.pytest_plugin --pyargs fewtheory.suites.dpm_solver_pp`; never an entry
point, which would run in everybody's pytest. Deep claims are skipped without --deep.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .claims import Claim, claims, load, module_name, suites
from .engine import Result, run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --deep."""
    parser.addoption("--deep", action="store_true", help="fewtheory: run expensive claims too")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collects a file if it is an installed suite."""
    slug = file_path.stem.replace("_", "-")
    if file_path.suffix != ".py" or file_path.parent.name not in ("verification", "suites"):
        return None
    if slug not in suites() or not _same_file(slug, file_path):
        return None
    return SuiteFile.from_parent(parent, path=file_path, name=slug)


def _same_file(slug: str, file_path: Path) -> bool:
    return Path(load(slug).__file__ or "").resolve() == file_path.resolve()


class SuiteFile(pytest.File):
    """A suite."""

    def collect(self) -> Iterator[pytest.Item]:
        """One item a claim."""
        for claim in claims(load(self.name)):
            yield ClaimItem.from_parent(self, name=claim.id, claim=claim)


class Undecided(Exception):
    """A claim whose verdict is not `holds`."""


class ClaimItem(pytest.Item):
    """A claim."""

    def __init__(self, *, claim: Claim, **given: Any):
        super().__init__(**given)
        self.claim = claim

    def runtest(self) -> None:
        """Decide the claim in this process."""
        deep = bool(self.config.getoption("--deep"))
        if self.claim.deep and not deep:
            pytest.skip("expensive: needs --deep")
        assert self.parent is not None
        (result,) = run(self.parent.name, only=[self.claim.id], deep=deep, jobs=1)
        if result.verdict == "unavailable":
            pytest.skip(result.note)
        if result.verdict != "holds":
            raise Undecided(result)

    def repr_failure(self, excinfo: Any, style: Any = None) -> str:
        """The verdict in words."""
        if not isinstance(excinfo.value, Undecided):
            return str(super().repr_failure(excinfo))
        result: Result = excinfo.value.args[0]
        lines = [
            f"{result.suite} {result.claim}: {result.verdict}. {result.note}",
            result.statement,
        ]
        return "\n".join([*lines, result.traceback])

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the check stands."""
        line = self.claim.check.__code__.co_firstlineno - 1
        return (
            self.path,
            line,
            f"{module_name(self.parent.name if self.parent else '')}:{self.claim.id}",
        )
