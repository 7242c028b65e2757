"""The decorator `claim`, and the readers of what it sets."""

from __future__ import annotations

from types import ModuleType

import pytest

from fewtheory.verify import Saboteur, claim, claims, identity, suites, wrong
from fewtheory.verify.claims import KINDS, Claim, load


def double(x):
    return 2 * x


def triple(x):
    """Three times in place of twice.

    What follows is no part of the reason.
    """
    return 3 * x


def check(f):
    """Doubles a number,
    and does so exactly.

    A remark.
    """
    return identity(f(1.5), 3.0, operations=1)


def marked(id="C1", **changed):
    return claim(id, **{"kind": "identity", "of": double, "saboteurs": [triple], **changed})


def module(*numbers):
    out = ModuleType("a_suite")
    for k, number in enumerate(numbers):

        def fresh(f):
            """States something."""

        setattr(out, f"check_{k}", marked(number)(fresh))
    return out


def test_the_decorator_gives_back_the_check_itself():
    def fresh(f):
        """States something."""

    assert marked()(fresh) is fresh
    assert isinstance(fresh.claim, Claim)


@pytest.mark.parametrize("id", ["C3", "C3a", "C12b"])
def test_a_claim_carries_the_sheets_number(id):
    assert marked(id)(check).claim.id == id


@pytest.mark.parametrize("id", ["3", "c3", "C", "C3ab", "C3A", "C3 ", ""])
def test_another_form_of_number_is_refused(id):
    with pytest.raises(ValueError, match="claim: id must look like C3 or C3a"):
        marked(id)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_taken(kind):
    assert marked(kind=kind)(check).claim.kind == kind


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"claim: kind must be one of 'identity'.* got 'truth'"):
        marked(kind="truth")


def test_a_claim_without_saboteurs_is_refused():
    with pytest.raises(ValueError, match="saboteurs must name at least one mistake for C1"):
        marked(saboteurs=[])


def test_a_check_without_docstring_is_refused():
    def silent(f):
        return None

    with pytest.raises(ValueError, match="C1 must state itself in the docstring of silent"):
        marked()(silent)


def test_a_saboteur_that_does_not_say_what_is_wrong_is_refused():
    with pytest.raises(ValueError, match="C1"):
        marked(saboteurs=[lambda x: 3 * x])


def test_the_first_paragraph_of_a_callables_docstring_says_what_is_wrong():
    (made,) = marked(saboteurs=[triple])(check).claim.saboteurs
    assert made.why == "Three times in place of twice."
    assert made.build() is triple


def test_a_saboteur_is_kept_as_it_is():
    one = wrong(triple, "three times")
    assert marked(saboteurs=[one])(check).claim.saboteurs == (one,)


def test_the_statement_is_the_first_paragraph_on_one_line():
    assert marked()(check).claim.statement == "Doubles a number, and does so exactly."


def test_a_claim_draws_if_its_check_takes_an_rng():
    def drawing(f, rng):
        """States something."""

    assert marked()(drawing).claim.draws
    assert not marked()(check).claim.draws


def test_claims_come_in_the_sheets_order():
    found = claims(module("C10", "C2b", "C3", "C2a", "C2"))
    assert [c.id for c in found] == ["C2", "C2a", "C2b", "C3", "C10"]


def test_a_number_used_twice_is_refused():
    with pytest.raises(ValueError, match="numbers must be unique in a_suite"):
        claims(module("C1", "C2", "C1"))


def test_what_is_no_claim_is_not_listed():
    out = module("C1")
    out.double, out.number = double, 3
    assert [c.id for c in claims(out)] == ["C1"]


def test_suites_are_sorted_slugs_without_the_private_files():
    assert {"dpm-solver-pp", "plan-algebra"} <= set(suites())
    assert suites() == sorted(suites())
    assert not any("_" in name for name in suites())


@pytest.mark.parametrize("name", ["nonesuch", "_worlds", "dpm_solver_pp", ""])
def test_an_unknown_suite_is_refused_with_the_names_that_exist(name):
    with pytest.raises(ValueError, match=r"verify: suite must be one of .*'dpm-solver-pp'"):
        load(name)


@pytest.mark.parametrize("suite", suites())
def test_every_claim_states_itself_and_names_its_mistakes(suite):
    for c in claims(load(suite)):
        assert c.statement.endswith("."), c.id
        assert all(isinstance(s, Saboteur) for s in c.saboteurs), c.id
        for s in c.saboteurs:
            assert s.why, f"{c.id}: a saboteur has no reason"
            assert not s.why.startswith("partial("), f"{c.id}: that is partial's own docstring"


@pytest.mark.parametrize("suite", suites())
def test_a_name_given_to_of_means_one_object(suite):
    objects: dict[str, set[int]] = {}
    for c in claims(load(suite)):
        assert c.of_name.isidentifier(), f"{suite} {c.id}: nobody can type --of {c.of_name!r}"
        objects.setdefault(c.of_name, set()).add(id(c.of))
    assert {name for name, found in objects.items() if len(found) > 1} == set()
