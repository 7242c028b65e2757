"""The engine on throw-away suites: every verdict, what a subject replaces, seeds, resuming."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path

import joblib
import pytest

import fewtheory.suites
from fewtheory.verify import run
from fewtheory.verify.engine import default_seed

ROOT = Path(__file__).parents[2]
HEAD = '''
import math
from fewtheory.errors import MissingExtra
from fewtheory.verify import claim, identity, law, wrong

CALLS = []

def double(x):
    return 2 * x

def triple(x):
    """Three times."""
    return 3 * x

def add(x):
    """Adds itself."""
    return x + x

def halve(x):
    return x / 2

def lost(x):
    """Not a number."""
    return math.nan

def raises(x):
    """Raises."""
    raise ArithmeticError("no such luck")

def tells(f, x=1.5):
    CALLS.append(f.__name__)
    return identity(f(x), 3.0, operations=1)
'''


def stated(id, of="double", saboteurs="triple", rng="", body="return tells(f)", more=""):
    return f'''
@claim("{id}", kind="identity", of={of}, saboteurs=[{saboteurs}]{more})
def check_{id}(f{rng}):
    """Claim {id}."""
    {body}
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Writes a throw-away suite, `tiny`, and gives what decides it."""
    monkeypatch.setattr(fewtheory.suites, "__path__", [*fewtheory.suites.__path__, str(tmp_path)])

    def write(*texts):
        (tmp_path / "tiny.py").write_text(HEAD + "".join(texts))
        importlib.invalidate_caches()
        return lambda **how: run("tiny", **{"jobs": 1, **how})

    yield write
    sys.modules.pop("fewtheory.suites.tiny", None)


def calls():
    """The names of the objects that checks of the suite were given, in order."""
    return importlib.import_module("fewtheory.suites.tiny").CALLS


def test_a_claim_holds_if_its_own_object_passes_and_every_saboteur_is_rejected(tiny):
    (found,) = tiny(stated("C1"))()
    assert (found.verdict, found.note) == ("holds", "")
    assert calls() == ["double", "triple"]
    assert [(s.why, s.rejected) for s in found.saboteurs] == [("Three times.", True)]


def test_a_claim_fails_if_its_own_object_does_not_pass(tiny):
    (found,) = tiny(stated("C1", of="triple", saboteurs="wrong(halve, 'half')"))()
    assert found.verdict == "fails"
    assert found.note == "measured 1.5, equal 0 ± 6.7e-16"  # |4.5 - 3|, 3 eps


def test_a_claim_is_blind_if_a_saboteur_passes_too(tiny):
    (found,) = tiny(stated("C1", saboteurs="triple, add"))()
    assert (found.verdict, found.note) == ("blind", "the check also passes: Adds itself.")
    assert [s.rejected for s in found.saboteurs] == [True, False]


@pytest.mark.parametrize(
    ("own", "note"),
    [("raises", "ArithmeticError: no such luck"), ("lost", "the evidence is not finite")],
)
def test_an_own_object_without_finite_evidence_is_an_error(tiny, own, note):
    (found,) = tiny(stated("C1", of=own))()
    assert (found.verdict, found.note) == ("error", note)


@pytest.mark.parametrize("saboteur", ["raises", "lost"])
def test_a_saboteur_without_finite_evidence_is_an_error_and_never_a_kill(tiny, saboteur):
    (found,) = tiny(stated("C1", saboteurs=f"triple, {saboteur}"))()
    assert found.verdict == "error"
    assert "gave no finite evidence" in found.note
    assert [s.rejected for s in found.saboteurs] == [True, False]


def test_nan_beside_a_rejection_is_still_no_kill(tiny):
    second = "identity(2.0 if f is double else math.nan, 2.0, operations=1)"
    (found,) = tiny(stated("C1", body=f"yield tells(f)\n    yield {second}"))()
    assert (found.verdict, found.saboteurs[0].rejected) == ("error", False)


def test_a_saboteur_that_cannot_be_built_is_an_error(tiny):
    (found,) = tiny(
        "from fewtheory.verify import sabotage\n",
        stated("C1", saboteurs="sabotage(double, '7 * x', 'x', 'stale')"),
    )()
    assert found.verdict == "error"
    assert "saboteur (stale) gave no finite evidence" in found.note


def test_several_pieces_of_evidence_must_all_stand(tiny):
    (found,) = tiny(stated("C1", body="yield tells(f)\n    yield tells(f, 1.6)"))()
    assert found.verdict == "fails"
    assert len(found.evidence) == 2


def test_a_saboteur_is_rejected_if_one_piece_of_evidence_rejects_it(tiny):
    (found,) = tiny(
        stated("C1", body="yield tells(f)\n    yield identity(f(0), 0.0, operations=1)")
    )()
    assert found.verdict == "holds"


@pytest.mark.parametrize("body", ["return []", "yield law(0.0)"])
def test_no_evidence_or_that_of_another_kind_is_an_error(tiny, body):
    (found,) = tiny(stated("C1", body=body))()
    assert found.verdict == "error"
    assert "C1: evidence must be some, all of kind 'identity'" in found.note


EXTRA = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("package", [line.split(">")[0] for line in EXTRA["verify"]])
def test_a_check_whose_package_is_not_installed_is_unavailable(tiny, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    (found,) = tiny(stated("C1", body=f"import {package}"))()
    assert found.verdict == "unavailable"
    assert "fewtheory[verify]" in found.note


def test_an_extra_that_is_missed_by_name_makes_a_claim_unavailable(tiny):
    (found,) = tiny(stated("C1", body="raise MissingExtra('models', 'this adapter')"))()
    assert found.verdict == "unavailable"
    assert "this adapter needs the extra 'models'" in found.note


def test_a_claim_is_unavailable_without_the_extras_that_it_requires(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (found,) = tiny(stated("C1", more=", requires=['verify']"))()
    assert found.verdict == "unavailable"


def test_a_module_that_no_extra_brings_is_an_error(tiny):
    (found,) = tiny(stated("C1", body="import nonesuch_at_all"))()
    assert found.verdict == "error"


def test_an_own_object_that_fails_is_not_excused_by_a_saboteurs_missing_extra(tiny):
    missing = "if f is halve:\n        raise MissingExtra('models', 'this')\n    return tells(f)"
    (found,) = tiny(stated("C1", of="triple", saboteurs="wrong(halve, 'half')", body=missing))()
    assert found.verdict == "fails"


def test_a_deep_claim_runs_only_when_asked(tiny):
    decide = tiny(stated("C1", more=", deep=True"), stated("C2"))
    assert [r.verdict for r in decide()] == ["deep", "holds"]
    assert calls() == ["double", "triple"]
    assert [r.verdict for r in decide(deep=True)] == ["holds", "holds"]


def test_only_takes_a_number_and_all_of_its_letters(tiny):
    decide = tiny(*(stated(id) for id in ("C1", "C3a", "C3b", "C30")))
    assert [r.claim for r in decide(only=["C3"])] == ["C3a", "C3b"]
    assert [r.claim for r in decide(only=["C3b", "C30"])] == ["C3b", "C30"]


def test_results_come_in_the_sheets_order_with_what_the_claim_says(tiny):
    results = tiny(stated("C10"), stated("C2", more=", erratum='The paper says half.'"))()
    assert [r.claim for r in results] == ["C2", "C10"]
    assert (results[0].suite, results[0].kind, results[0].statement) == (
        "tiny",
        "identity",
        "Claim C2.",
    )
    assert results[0].erratum == "The paper says half."


# subject and of


def mine(x):
    return 2.0 * x


def broken(x):
    return 2.5 * x


def test_a_subject_replaces_exactly_the_object_that_of_names(tiny):
    decide = tiny(
        stated("C1"),
        stated("C2", of="halve", saboteurs="triple", body="return tells(f, 6.0)"),
        stated("C3"),
    )
    results = decide(subject=mine, of="double")
    assert [r.verdict for r in results] == ["holds", "not asked", "holds"]
    assert calls() == ["mine", "triple"] * 2


def test_a_broken_subject_fails(tiny):
    (found,) = tiny(stated("C1"))(subject=broken, of="double")
    assert found.verdict == "fails"
    assert found.evidence[0].measured == 2.5 * 1.5 - 3


def test_a_subject_needs_of_and_of_needs_a_subject(tiny):
    decide = tiny(stated("C1"))
    for how in ({"subject": mine}, {"of": "double"}):
        with pytest.raises(ValueError, match=r"verify\.run: of must be given together with sub"):
            decide(**how)


def test_earlier_results_say_nothing_about_a_subject(tiny):
    decide = tiny(stated("C1"))
    (found,) = decide(subject=broken, of="double", earlier=decide())
    assert found.verdict == "fails"


# names


@pytest.mark.parametrize(
    ("how", "argument"),
    [
        ({"only": ["C9"]}, "only"),
        ({"only": ["C1", "C9"]}, "only"),
        ({"subject": mine, "of": "nonesuch"}, "of"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_runs(tiny, how, argument):
    decide = tiny(stated("C1"))
    with pytest.raises(ValueError, match=rf"verify\.run: {argument} must be"):
        decide(**how)
    assert calls() == []


def test_an_unknown_suite_is_refused_before_anything_runs(tiny):
    tiny(stated("C1"))
    with pytest.raises(ValueError, match=r"verify: suite must be one of .* got 'nonesuch'"):
        run("tiny", "nonesuch", jobs=1)
    assert calls() == []


# seeds

DRAW = {"rng": ", rng", "body": "return identity(rng.random() + f(0), 0.5, operations=1 << 60)"}


def drawn(results):
    return [r.evidence[0].measured for r in results]


def test_the_same_seed_gives_the_same_evidence(tiny):
    decide = tiny(stated("C1", **DRAW))
    assert drawn(decide()) == drawn(decide())
    assert drawn(decide(seed=7)) == drawn(decide(seed=7))


def test_the_default_seed_comes_from_the_claims_own_name(tiny):
    alone = drawn(tiny(stated("C1", **DRAW))(only=["C1"]))
    sys.modules.pop("fewtheory.suites.tiny")
    one, two = drawn(tiny(stated("C2", **DRAW), stated("C1", **DRAW), stated("C3"))()[:2])
    assert alone == [one]
    assert one != two
    assert default_seed("tiny", "C1") != default_seed("other", "C1")


def test_a_fresh_seed_draws_anew(tiny):
    decide = tiny(stated("C1", **DRAW))
    assert len({*drawn(decide()), *drawn(decide(seed=0)), *drawn(decide(seed=1))}) == 3


def test_every_trial_of_a_claim_starts_from_the_same_seed(tiny):
    (found,) = tiny(stated("C1", **DRAW))()
    assert found.saboteurs[0].evidence == found.evidence  # f(0) = 0 for both


# earlier results


def test_an_earlier_result_that_holds_at_the_same_seed_is_kept(tiny):
    decide = tiny(stated("C1"))
    kept = replace(decide()[0], seconds=1234.0)
    assert decide(earlier=[kept]) == [kept]
    assert calls() == ["double", "triple"]


def test_an_earlier_result_at_another_seed_is_decided_again(tiny):
    decide = tiny(stated("C1"))
    kept = replace(decide()[0], seconds=1234.0)
    assert decide(earlier=[kept], seed=1)[0].seconds < 1234
    assert calls() == ["double", "triple"] * 2


@pytest.mark.parametrize("verdict", ["fails", "blind", "error", "unavailable", "deep"])
def test_an_earlier_result_that_does_not_hold_is_decided_again(tiny, verdict):
    decide = tiny(stated("C1"))
    kept = replace(decide()[0], verdict=verdict)
    assert decide(earlier=[kept])[0].verdict == "holds"


def test_on_result_sees_every_claim_that_is_decided_once(tiny):
    decide = tiny(stated("C1"), stated("C2", of="triple", saboteurs="add"))
    seen = []
    results = decide(on_result=seen.append)
    assert sorted(seen, key=lambda r: r.claim) == results


def test_threads_give_what_one_process_gives(tiny):
    decide = tiny(*(stated(f"C{k}", **DRAW) for k in range(1, 6)))
    with joblib.parallel_config(backend="threading"):
        found = decide(jobs=2)
    assert [replace(r, seconds=0) for r in found] == [replace(r, seconds=0) for r in decide()]


class Retiring(joblib.Parallel):
    """Warns while results come in, as loky's manager does when it replaces a grown worker."""

    message = (
        "A worker stopped while some jobs were given to the executor. This can be caused by a too "
        "short worker timeout or by a memory leak."
    )

    def __call__(self, iterable):
        for call, args, kwargs in iterable:
            warnings.warn(self.message, UserWarning, stacklevel=1)
            yield call(*args, **kwargs)


def test_a_worker_that_is_replaced_is_no_news(tiny, monkeypatch):
    monkeypatch.setattr(joblib, "Parallel", Retiring)
    assert tiny(stated("C1"))(jobs=2)[0].verdict == "holds"
    monkeypatch.setattr(Retiring, "message", "something else")
    with pytest.warns(UserWarning, match="something else"):
        tiny(stated("C1"))(jobs=2)


SCRIPT = """
import json
from dataclasses import replace
from fewtheory.verify import run
one, two = (run("dpm-solver-pp", only=["C8"], jobs=jobs) for jobs in (1, 2))
same = [replace(r, seconds=0.0) for r in one] == [replace(r, seconds=0.0) for r in two]
print(json.dumps([same, sorted({r.verdict for r in one})]))
"""


def test_two_processes_give_what_one_gives():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [True, ["holds"]]


def test_evidence_may_be_made_by_hand(tiny):
    head = "from fewtheory.verify import Evidence\n"
    body = "return Evidence('identity', f(1), 2, 0, 'exact')"
    assert tiny(head, stated("C1", body=body))()[0].verdict == "holds"
