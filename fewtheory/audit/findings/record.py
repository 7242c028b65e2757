"""A finding about somebody else's scheduler: what is true of it, and ten lines that show it.

A reproduction imports what it needs inside its body, and nothing of this package, so that whoever
maintains the library can paste `snippet` into a shell and see the numbers.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import one_of

LIBRARY, VERSION = "diffusers", "0.42.1"
VERDICTS = ("confirmed", "confirmed in part", "refuted")

Evidence = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Known:
    """One statement about a library at one version, with its reproduction.

    number: the sheet's, or n1, n2, .. for what no sheet lists; title: what is true, in one line,
    with detail beside it; verdict: one of `VERDICTS`, on the sheet's statement. reproduce() returns
    named numbers and strings, and holds(them) says whether they show the finding; repaired: what
    the same lines print once it is repaired (about: two digits), which holds must reject.
    expected: what a right implementation gives; repair: the formula or setting that gives it.
    Raises ValueError for another verdict.

    >>> from fewtheory.audit.known import KNOWN
    >>> KNOWN[0].number, KNOWN[0].verdict, KNOWN[0].lines
    ('1a', 'confirmed', 8)
    """

    number: str
    title: str
    detail: str
    verdict: str
    library: str
    version: str
    reproduce: Callable[[], dict[str, Any]]
    holds: Callable[[Evidence], bool]
    repaired: Evidence
    expected: str
    repair: str
    source: str

    def __post_init__(self) -> None:
        one_of("Known", "verdict", self.verdict, VERDICTS)

    @property
    def snippet(self) -> str:
        """The reproduction as text, without what marks it as one."""
        text = textwrap.dedent(inspect.getsource(self.reproduce))
        definition = ast.parse(text).body[0]
        return "\n".join(text.splitlines()[definition.lineno - 1 :]) + "\n"

    @property
    def lines(self) -> int:
        """The lines of its body, beside the docstring and the imports."""
        definition = ast.parse(self.snippet).body[0]
        assert isinstance(definition, ast.FunctionDef)
        shown = [s for s in definition.body[1:] if not isinstance(s, (ast.Import, ast.ImportFrom))]
        return sum((s.end_lineno or s.lineno) - s.lineno + 1 for s in shown)


def finding(
    number: str,
    verdict: str,
    *,
    holds: Callable[[Evidence], bool],
    repaired: Evidence,
    expected: str,
    repair: str,
    source: str,
) -> Callable[[Callable[[], dict[str, Any]]], Known]:
    """The decorator that makes a reproduction a `Known`; its docstring is title and detail."""

    def make(reproduce: Callable[[], dict[str, Any]]) -> Known:
        title, _, detail = (inspect.getdoc(reproduce) or "").partition("\n\n")
        return Known(
            number,
            title,
            " ".join(detail.split()),
            verdict,
            LIBRARY,
            VERSION,
            reproduce,
            holds,
            repaired,
            expected,
            repair,
            source,
        )

    return make


def near(value: float | int, target: float | int, tolerance: float) -> bool:
    """|value - target| <= tolerance; not for NaN."""
    return abs(value - target) <= tolerance
