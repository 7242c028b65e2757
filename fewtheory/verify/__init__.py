"""The claim engine: statements of papers, decided against closed forms, with checks that can fail.

A suite is a module whose functions carry `@claim`. The engine gives each check the package's own
object, then each of its saboteurs; the claim holds if the first passes and all others are rejected
by finite evidence. This package knows no paper.
"""

from __future__ import annotations

from .claims import Claim, claim, claims, suites
from .deciders import bound, half_way, identity, known, law, limit, optimum, order, rate
from .engine import Result, run
from .evidence import Evidence, Series
from .power import LEVEL, MISS
from .repeated import sequential_p
from .sabotage import Saboteur, sabotage, wrong
from .sequential import sequential_mean, sequential_variance
from .sprt import sprt

__all__ = [
    "LEVEL",
    "MISS",
    "Claim",
    "Evidence",
    "Result",
    "Saboteur",
    "Series",
    "bound",
    "claim",
    "claims",
    "half_way",
    "identity",
    "known",
    "law",
    "limit",
    "optimum",
    "order",
    "rate",
    "run",
    "sabotage",
    "sequential_mean",
    "sequential_p",
    "sequential_variance",
    "sprt",
    "suites",
    "wrong",
]
