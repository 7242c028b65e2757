"""Saboteurs: real functions with one expression replaced, and nothing else changed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from colorsys import rgb_to_yiq
from pathlib import Path

import pytest

from fewtheory.verify import sabotage, suites, wrong

ROOT = Path(__file__).parents[2]
REGISTRY = []


def register(function):
    REGISTRY.append(function)
    return function


def weight(step, ratio=0.5, *, power=2):
    """ratio step^power + step."""
    return ratio * step**power + step


def damping(step):
    return 1 / (1 + step)


def total(step):
    return weight(step) + damping(step)


def scaled(step):
    return 10 * total(step)


def grey(level):
    return rgb_to_yiq(level, level, level)[0]


def factorial(n):
    return 1 if n == 0 else n * factorial(n - 1)


def polynomial(a, b, c):
    return a + b + c + a * b + a * b


@register
def registered(step):
    return step + 1


@contextlib.contextmanager
def opened(value):
    yield value


def through_a_context(value):
    with opened(value) as inner:
        return inner + 1


def unreachable():
    def hidden(color):
        return color / 2

    return hidden


class Rule:
    """A class with a method."""

    factor = 3

    def times(self, x):
        return self.factor * x


def test_one_expression_is_replaced():
    assert sabotage(weight, "ratio * step**power", "step**power", "no ratio").build()(2.0) == 6.0


def test_the_original_is_untouched():
    sabotage(weight, "step**power", "step", "linear").build()
    sabotage(scaled, "1 + step", "2 + step", "shifted", inside=damping).build()
    assert weight(2.0) == 4.0
    assert scaled(1.0) == 10 * (1.5 + 0.5)


def test_spacing_and_parentheses_do_not_matter():
    broken = sabotage(weight, "( ratio*step ** power )", "0", "no first term").build()
    assert broken(2.0) == 2.0


def test_expressions_are_compared_as_trees_and_not_as_text():
    with pytest.raises(ValueError, match=r"'b \+ c' must occur exactly once in polynomial"):
        sabotage(polynomial, "b + c", "b", "(a + b) + c contains no b + c").build()
    assert sabotage(polynomial, "a + b", "a - b", "a sign").build()(1, 2, 4) == 1 - 2 + 4 + 4


@pytest.mark.parametrize(("old", "count"), [("a / b", 0), ("a * b", 2)])
def test_an_expression_must_occur_exactly_once(old, count):
    saboteur = sabotage(polynomial, old, "0", "not unique")
    with pytest.raises(ValueError, match=rf"'{old[0]} . b' must occur exactly once.*found {count}"):
        saboteur.build()


def test_defaults_are_not_part_of_the_body():
    with pytest.raises(ValueError, match=r"'0\.5' must occur exactly once in weight, found 0"):
        sabotage(weight, "0.5", "0.25", "another default").build()


def test_an_inner_mistake_is_seen_through_a_chain_of_calls():
    broken = sabotage(scaled, "1 + step", "3 + step", "shifted", inside=damping).build()
    assert broken(1.0) == 10 * (1.5 + 0.25)


def test_an_inner_mistake_is_seen_through_an_imported_function():
    broken = sabotage(grey, "0.30", "1.30", "red counts more", inside=rgb_to_yiq).build()
    assert broken(1.0) == pytest.approx(2.0, abs=1e-15)
    assert grey(1.0) == pytest.approx(1.0, abs=1e-15)


def test_a_recursive_function_is_broken_at_every_level():
    assert sabotage(factorial, "n - 1", "n - 2", "steps of two").build()(6) == 6 * 4 * 2


def test_a_method_can_be_sabotaged():
    assert sabotage(Rule.times, "self.factor * x", "x", "no factor").build()(Rule(), 2) == 2
    assert Rule().times(2) == 6


def test_an_inner_function_that_is_never_looked_up_is_refused():
    hidden = sabotage(scaled, "color / 2", "0", "unreachable", inside=unreachable())
    with pytest.raises(ValueError, match=r"hidden is not a name in .*, where scaled would look"):
        hidden.build()


def test_defaults_and_keyword_defaults_are_kept():
    twin = sabotage(weight, "step**power", "step", "linear").build()
    assert (twin.__defaults__, twin.__kwdefaults__) == ((0.5,), {"power": 2})
    assert twin(2.0, 3.0) == 8.0


def test_the_twin_keeps_its_name_and_docstring():
    twin = sabotage(weight, "step**power", "step", "linear").build()
    assert (twin.__name__, twin.__doc__) == ("weight", weight.__doc__)


def test_decorators_are_not_run_again():
    assert sabotage(registered, "step + 1", "step", "no one").build()(1) == 1
    assert REGISTRY == [registered]


def test_a_helper_that_a_decorator_of_another_module_made_still_works():
    assert sabotage(through_a_context, "inner + 1", "inner", "no one").build()(1) == 1


def test_a_saboteur_may_be_just_another_object():
    assert wrong(damping, "another function").build() is damping


SCRIPT = """
import json
from fewtheory.plan import SAMPLERS, VARIANTS
from fewtheory.verify import claims, suites
from fewtheory.verify.claims import load

loaded = {s: claims(load(s)) for s in suites()}
before = (dict(SAMPLERS), list(VARIANTS))
report = {}
for suite, asked in loaded.items():
    found = {"built": 0, "refused": []}
    for c in asked:
        for s in c.saboteurs:
            try:
                s.build()
                found["built"] += 1
            except Exception as error:
                found["refused"].append(f"{c.id} ({s.why}): {error}")
    report[suite] = found
report["registry unchanged"] = (dict(SAMPLERS), list(VARIANTS)) == before
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def built():
    """What building every saboteur of every suite gave, in a process without type checks."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("suite", suites())
def test_every_saboteur_of_a_suite_can_be_built(built, suite):
    assert built[suite]["refused"] == []
    assert built[suite]["built"] > 0


def test_building_them_leaves_the_samplers_registry_alone(built):
    assert built["registry unchanged"]
