"""Deciding claims: trials, verdicts, and running them in parallel.

A trial is (suite, claim, who, seed), plain strings, so that a worker anywhere imports what it needs
by name; `who` is "own", "subject" or "saboteur K". Runs go through joblib: inside
`joblib.parallel_config(backend="dask")` they move to a cluster unchanged.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtra, fail
from .claims import EXTRAS, SUITES, Claim, claims, load, suites
from .evidence import Evidence

VERDICTS = ("holds", "fails", "blind", "error", "unavailable", "not asked", "deep")


@dataclass(frozen=True)
class Trial:
    """One check on one object."""

    suite: str
    claim: str
    who: str
    seed: str


@dataclass(frozen=True)
class Outcome:
    """What a trial gave: evidence, or why there is none."""

    trial: Trial
    evidence: tuple[Evidence, ...] = ()
    error: str = ""
    missing: str = ""
    seconds: int | float = 0.0

    @property
    def finite(self) -> bool:
        """Whether every piece of evidence is a number."""
        return bool(self.evidence) and all(e.finite for e in self.evidence)

    @property
    def stands(self) -> bool:
        """Whether every piece of evidence comes out as expected."""
        return self.finite and all(e.stands for e in self.evidence)


@dataclass(frozen=True)
class Judged:
    """One saboteur: what is wrong with it, and whether the check rejected it."""

    why: str
    rejected: bool
    evidence: tuple[Evidence, ...]
    error: str = ""


@dataclass(frozen=True)
class Result:
    """The verdict on one claim, with the evidence that it rests on."""

    suite: str
    claim: str
    kind: str
    statement: str
    verdict: str
    evidence: tuple[Evidence, ...] = ()
    saboteurs: tuple[Judged, ...] = ()
    seconds: int | float = 0.0
    seed: str = ""
    deep: bool = False
    erratum: str = ""
    note: str = ""
    traceback: str = field(default="", repr=False)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        out = {k: v for k, v in asdict(self).items() if k not in ("evidence", "saboteurs")}
        out["evidence"] = [e.record() for e in self.evidence]
        out["saboteurs"] = [
            {**asdict(s), "evidence": [e.record() for e in s.evidence]} for s in self.saboteurs
        ]
        return out


def default_seed(suite: str, claim: str, fresh: int | None = None) -> str:
    """The seed of a claim: from its own name, or mixed with a fresh number."""
    name = f"{suite}:{claim}" + ("" if fresh is None else f":{fresh}")
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def execute(trial: Trial, subject: Any = None) -> Outcome:
    """Run one trial; never raises for what the object under test does."""
    start = time.perf_counter()

    def done(**found: Any) -> Outcome:
        return Outcome(trial, seconds=time.perf_counter() - start, **found)

    try:
        asked = next(c for c in claims(load(trial.suite)) if c.id == trial.claim)
        for extra in asked.requires:
            if any(importlib.util.find_spec(package) is None for package in EXTRAS[extra]):
                raise MissingExtra(extra, f"{trial.suite} {trial.claim}")
        if trial.who == "own":
            under_test = asked.of
        elif trial.who == "subject":
            under_test = subject
        else:
            under_test = asked.saboteurs[int(trial.who.split()[1])].build()
        given = {"rng": np.random.default_rng(int(trial.seed, 16))} if asked.draws else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a NaN is judged, not warned about
            found = asked.check(under_test, **given)
        evidence = (found,) if isinstance(found, Evidence) else tuple(found)
        odd = {e.kind for e in evidence} - {asked.kind}
        if not evidence or odd:
            raise fail(trial.claim, "evidence", f"some, all of kind {asked.kind!r}", odd or "none")
        return done(evidence=evidence)
    except MissingExtra as error:
        return done(missing=str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if extra := next((e for e, packages in EXTRAS.items() if package in packages), None):
            return done(missing=str(MissingExtra(extra, f"{trial.suite} {trial.claim}")))
        return done(error=traceback.format_exc())
    except Exception:
        return done(error=traceback.format_exc())


def judge(asked: Claim, suite: str, seed: str, outcomes: Sequence[Outcome]) -> Result:
    """The verdict from the outcomes of a claim: own object (or subject) first, then saboteurs."""
    own, *others = outcomes
    judged = tuple(
        Judged(s.why, o.finite and not o.stands, o.evidence, o.error)
        for s, o in zip(asked.saboteurs, others, strict=True)
    )
    error = own.error or next((o.error for o in others if o.error), "")
    missing = next((o.missing for o in others if o.missing), "")
    note = ""
    if own.missing:
        verdict, note = "unavailable", own.missing
    elif own.error:
        verdict, note = "error", own.error.strip().splitlines()[-1]
    elif not own.finite:
        verdict, note = "error", "the evidence is not finite"
    elif not own.stands:
        verdict = "fails"
        note = next(_failure(e) for e in own.evidence if not e.stands)
    elif missing:
        verdict, note = "unavailable", missing
    elif lost := next((s for s, o in zip(judged, others, strict=True) if not o.finite), None):
        last = lost.error.strip().splitlines()[-1] if lost.error else "evidence not finite"
        verdict, note = "error", f"saboteur ({lost.why}) gave no finite evidence: {last}"
    elif passed := [s.why for s in judged if not s.rejected]:
        verdict, note = "blind", f"the check also passes: {passed[0]}"
    else:
        verdict = "holds"
    return Result(
        suite,
        asked.id,
        asked.kind,
        asked.statement,
        verdict,
        own.evidence,
        judged,
        sum((o.seconds for o in outcomes), 0.0),
        seed,
        asked.deep,
        asked.erratum,
        note,
        error,
    )


def _failure(e: Evidence) -> str:
    what = f"{e.what}: " if e.what else ""
    return f"{what}measured {e.measured:.4g}, {e.relation} {e.expected:.4g} ± {e.tolerance:.2g}"


def run(
    *chosen: str,
    subject: Any = None,
    of: str | None = None,
    only: Sequence[str] = (),
    deep: bool = False,
    seed: int | None = None,
    jobs: int = -1,
    earlier: Sequence[Result] = (),
    on_result: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Decide the claims of these suites (all by default) and return the results in order.

    subject, of: judge your own object in place of the package's object of that name; the other
    claims report "not asked". only: claim numbers ("C3" takes C3a, C3b, ...). deep: run expensive
    claims too. seed: fresh seeds for random claims. jobs: joblib's n_jobs. earlier: results of an
    interrupted run; those that hold, at the same seed, are kept. on_result sees each result as it
    is decided. Raises ValueError for unknown names before anything runs.

    >>> from fewtheory import verify
    >>> verify.run("dpm-solver-pp", only=["C8"], jobs=1)[0].verdict
    'holds'
    """
    asked = asked_claims(chosen, only)
    if (subject is None) != (of is None):
        raise fail("verify.run", "of", "given together with subject", of)
    if of is not None and of not in {c.of_name for _, c in asked}:
        raise fail("verify.run", "of", f"one of {sorted({c.of_name for _, c in asked})}", of)
    decided = on_result or (lambda result: None)
    seeds = {(n, c.id): default_seed(n, c.id, seed) for n, c in asked}
    results: dict[tuple[str, str], Result] = {}
    trials: list[Trial] = []
    kept = {(r.suite, r.claim): r for r in earlier if r.verdict == "holds"} if of is None else {}
    for name, c in asked:
        key = (name, c.id)
        if key in kept and kept[key].seed == seeds[key]:
            results[key] = kept[key]
            decided(results[key])
            continue
        skip = "not asked" if of is not None and c.of_name != of else ""
        skip = skip or ("deep" if c.deep and not deep else "")
        if skip:
            note = recorded(name, c.id) if skip == "deep" else ""
            results[key] = Result(
                name, c.id, c.kind, c.statement, skip, deep=c.deep, erratum=c.erratum, note=note
            )
            decided(results[key])
            continue
        who = ["own" if of is None else "subject"]
        who += [f"saboteur {k}" for k in range(len(c.saboteurs))]
        trials += [Trial(name, c.id, w, seeds[key]) for w in who]
    waiting = {(n, c.id): (c, {}) for n, c in asked if (n, c.id) not in results}
    for outcome in _outcomes(trials, subject, jobs):
        key = (outcome.trial.suite, outcome.trial.claim)
        c, found = waiting[key]
        found[outcome.trial.who] = outcome
        if len(found) == 1 + len(c.saboteurs):
            order = ["own" if of is None else "subject"]
            order += [f"saboteur {k}" for k in range(len(c.saboteurs))]
            results[key] = judge(c, key[0], seeds[key], [found[w] for w in order])
            decided(results[key])
    return [results[(n, c.id)] for n, c in asked]


def asked_claims(chosen: Sequence[str], only: Sequence[str]) -> list[tuple[str, Claim]]:
    """(suite, claim) of these suites (all by default), of these numbers if any are given."""
    names = dict.fromkeys(chosen or suites())
    asked = [(name, c) for name in names for c in claims(load(name))]
    unknown = [o for o in only if not any(_matches(c.id, o) for _, c in asked)]
    if unknown:
        raise fail("verify.run", "only", "numbers of claims in these suites", unknown)
    return [(n, c) for n, c in asked if not only or any(_matches(c.id, o) for o in only)]


def recorded(suite: str, claim: str) -> str:
    """What the committed record says of a deep claim: its verdict and when it was decided."""
    package = importlib.import_module(SUITES)
    files = [Path(p) / "deep.json" for p in package.__path__]
    for file in filter(Path.is_file, files):
        for entry in json.loads(file.read_text(encoding="utf-8")):
            if (entry["suite"], entry["claim"]) == (suite, claim):
                return f"{entry['verdict']} on {entry['date']} ({entry['seconds']:.0f} s)"
    return "never run"


def _matches(id: str, wanted: str) -> bool:
    return id == wanted or (id.startswith(wanted) and id[len(wanted) :].isalpha())


def _outcomes(trials: list[Trial], subject: Any, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from (execute(t, subject if t.who == "subject" else None) for t in trials)
        return
    import joblib

    pool: Any = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    asked = (joblib.delayed(execute)(t, subject if t.who == "subject" else None) for t in trials)
    with warnings.catch_warnings():
        # Where psutil is installed joblib retires a worker that has grown by 300 MB since its first
        # trial (it then holds torch), after its result is in, and warns that it starts another.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
        yield from pool(asked)
