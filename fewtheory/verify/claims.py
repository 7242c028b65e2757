"""Claims: a decorator that sets an attribute, and readers of what it set.

    @claim("C1a", kind="order", of=dpm_solver_pp, saboteurs=[
        sabotage(dpm_solver_pp, "(s.lam - nodes[1].lam) / h", "h / (s.lam - nodes[1].lam)",
                 "inverts the step ratio", inside=multistep),
    ])
    def second_order(sampler):
        '''DPM-Solver++(2M) has global error O(h^2).'''
        return order(steps, errors, expected=2)

A check takes the thing under test, and `rng` if it draws; it returns Evidence or several. A sheet's
claim with several statements becomes C3a, C3b, ..., each of one kind.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..errors import one_of
from .sabotage import Saboteur, wrong

KINDS = ("identity", "order", "bound", "law", "rate", "optimum")
SUITES = "fewtheory.suites"
EXTRAS = {
    "verify": ("torch", "sympy", "statsmodels", "matplotlib"),
    "models": ("diffusers", "transformers", "accelerate", "safetensors", "peft"),
    "quant": ("torchao",),
    "dask": ("dask", "distributed"),
    "dev": ("sklearn",),
}


@dataclass(frozen=True)
class Claim:
    """One statement: its sheet's number, its kind, the object it is about, and its saboteurs."""

    id: str
    kind: str
    check: Callable[..., Any]
    of: Any
    saboteurs: tuple[Saboteur, ...]
    deep: bool = False
    erratum: str = ""
    requires: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """The first paragraph of the check's docstring."""
        text = inspect.getdoc(self.check) or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def of_name(self) -> str:
        """The name of the object that the claim is about."""
        return getattr(self.of, "__name__", str(self.of))

    @property
    def draws(self) -> bool:
        """Whether the check takes an rng."""
        return "rng" in inspect.signature(self.check).parameters


def claim(
    id: str,
    *,
    kind: str,
    of: Any,
    saboteurs: Sequence[Saboteur | Callable[..., Any]],
    deep: bool = False,
    erratum: str = "",
    requires: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks a check as a claim. It sets the attribute `claim` and does nothing else.

    of: the package's own object, handed to the check; saboteurs: at least one, from `sabotage`,
    `wrong`, or a plain callable whose docstring says what is wrong with it; deep: expensive, run
    with --deep only; erratum: what the paper or a popular implementation says instead; requires:
    extras without which the claim is unavailable.
    """
    if not re.fullmatch(r"C\d+[a-z]?", id):
        raise ValueError(f"claim: id must look like C3 or C3a, got {id!r}")
    one_of("claim", "kind", kind, KINDS)
    if not saboteurs:
        raise ValueError(f"claim: saboteurs must name at least one mistake for {id}")
    unknown = [e for e in requires if e not in EXTRAS]
    if unknown:
        raise ValueError(f"claim: requires must be among {sorted(EXTRAS)}, got {unknown}")
    made = tuple(s if isinstance(s, Saboteur) else _explained(id, s) for s in saboteurs)

    def mark(check: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.getdoc(check):
            raise ValueError(f"claim: {id} must state itself in the docstring of {check.__name__}")
        vars(check)["claim"] = Claim(id, kind, check, of, made, deep, erratum, tuple(requires))
        return check

    return mark


def _explained(id: str, subject: Any) -> Saboteur:
    """A function as a saboteur: its docstring says what is wrong with it."""
    why = (inspect.getdoc(subject) or "").split("\n\n")[0]
    if not why or isinstance(subject, functools.partial):
        raise ValueError(f"claim: saboteurs of {id} must say why they are wrong, got {subject!r}")
    return wrong(subject, why)


def claims(module: ModuleType) -> list[Claim]:
    """The claims of a suite, in the sheet's order. Raises ValueError for a number used twice."""
    found = [v.claim for v in vars(module).values() if isinstance(getattr(v, "claim", None), Claim)]
    ids = [c.id for c in found]
    if len(set(ids)) < len(ids):
        raise ValueError(f"claims: numbers must be unique in {module.__name__}, got {ids}")
    return sorted(found, key=lambda c: (int(re.findall(r"\d+", c.id)[0]), c.id))


def module_name(slug: str) -> str:
    """The importable name of a suite: `dpm-solver-pp` is fewtheory.suites.dpm_solver_pp."""
    return f"{SUITES}.{slug.replace('-', '_')}"


def suites() -> list[str]:
    """The slugs of all suites that are installed, sorted."""
    package = importlib.import_module(SUITES)
    return sorted(
        m.name.replace("_", "-") for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_"
    )


def load(slug: str) -> ModuleType:
    """The suite's module. Raises ValueError for an unknown name."""
    one_of("verify", "suite", slug, suites())
    return importlib.import_module(module_name(slug))
