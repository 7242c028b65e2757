"""Repair: logit biases, von Neumann's pairs, Blum's exits."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fewtheory.inference import (
    biased,
    blum,
    logit_bias,
    von_neumann,
    von_neumann_correlation,
    von_neumann_yield,
)
from fewtheory.testbeds import MarkovCoin
from fewtheory.testbeds.tokens import all_states

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "binary-bias.json").read_text())
EPS = np.finfo(float).eps


def test_the_yield_is_the_known_one():
    (k,) = [k for k in KNOWN if k["what"].startswith("von Neumann yield")]
    assert von_neumann_yield(**k["inputs"]) == pytest.approx(k["expected"], abs=k["tolerance"])


def test_a_logit_bias_leads_to_its_target():
    for p, target in ((0.98, 0.5), (0.3, 0.7), (1e-9, 0.5)):
        assert biased(p, logit_bias(p, target)) == pytest.approx(target, rel=1e-12)
    assert logit_bias(0.5) == 0.0


def test_pairs_do_not_overlap_and_an_odd_answer_is_left(asarray):
    assert von_neumann(asarray(np.array([1, 0, 0, 1, 1, 1, 0]))).tolist() == [1, 0]
    assert von_neumann([1]).tolist() == []


def test_the_mean_number_of_bits_is_the_yield():
    coin, n = MarkovCoin(0.35, -0.4), 10
    x, mass = all_states(2, n), coin.law(n).table().table.reshape(-1)
    bits = np.array([von_neumann(row).size for row in x])
    assert mass @ bits / n == pytest.approx(von_neumann_yield(0.35, -0.4), rel=64 * EPS * 2**n)


def test_sampled_bits_have_the_stated_correlation(rng):
    found = [von_neumann(x) for x in MarkovCoin(0.7, -0.3).sample(1000, rng=rng, series=300)]
    first = np.concatenate([bits[:-1] for bits in found])
    second = np.concatenate([bits[1:] for bits in found])
    corr = np.corrcoef(first, second)[0, 1]
    assert abs(corr - von_neumann_correlation(-0.3)) < 5 / np.sqrt(first.size)


def output_law(extract, n):
    x, mass = all_states(2, n), MarkovCoin(0.3, 0.45).law(n).table().table.reshape(-1)
    law = Counter()
    for row, m in zip(x, mass, strict=True):
        law[tuple(extract(row).tolist())] += m
    return law


def test_blum_gives_all_outputs_of_a_length_equally_often_and_von_neumann_does_not():
    fair, rest = output_law(blum, 9), output_law(von_neumann, 9)
    for length in (1, 2, 3):
        masses = [m for bits, m in fair.items() if len(bits) == length]
        assert len(masses) == 2**length
        assert np.ptp(masses) < 2**9 * EPS
    assert np.ptp([m for bits, m in rest.items() if len(bits) == 2]) > 0.01


def test_blum_follows_its_definition():
    # exits of 0: 1, 0, 1 ..; of 1: 0, 0: the pair (1, 0) of 0 is given out on the way back to 0
    assert blum([0, 1, 0, 0, 1, 0]).tolist() == [1]
    assert blum([0]).tolist() == []
    assert blum([0, 0, 0, 0, 0]).tolist() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: logit_bias(0.0), "logit_bias: p must be strictly"),
        (lambda: logit_bias(0.4, 1), "logit_bias: target must be strictly"),
        (lambda: biased(1.0, 0), "biased: p must be strictly"),
        (lambda: biased(0.5, np.inf), "biased: bias must be finite"),
        (lambda: von_neumann([0, 2]), "von_neumann: x must be of 0 and 1 only"),
        (lambda: blum([[0, 1]]), r"blum: x must be of shape \(n,\)"),
        (lambda: von_neumann_yield(0.5, 2), "MarkovCoin: rho must be"),
        (lambda: von_neumann_correlation(-2), "von_neumann_correlation: rho must be finite in"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
