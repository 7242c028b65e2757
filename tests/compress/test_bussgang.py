"""Quantisers as a gain and noise."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtheory import arrays
from fewtheory.compress import (
    Clipping,
    MidTread,
    broken_quadrature,
    bussgang_gain,
    bussgang_split,
    fake_quantise,
    optimal_pair,
    step_mse,
)
from fewtheory.compress.bussgang import _staircase, _theta

EPS = np.finfo(np.float64).eps


def entries():
    file = Path(__file__).parents[1] / "data" / "q-sched.json"
    for entry in json.loads(file.read_text()):
        if entry["what"].startswith("Bussgang"):
            yield pytest.param(entry, id=entry["what"])


@pytest.mark.parametrize("entry", list(entries()))
def test_a_known_answer(entry):
    made = {"step": MidTread, "clip": Clipping}
    ((name, value),) = entry["inputs"].items()
    found = bussgang_gain(made[name](value))
    assert abs(found - entry["expected"]) <= entry["tolerance"] * entry["expected"]


# quantisers


def test_rounding_is_to_the_nearest_level_and_clips(asarray):
    quantiser = MidTread(0.5, levels=3)
    found = quantiser(asarray([0.2, 0.3, -9.0, 1.4]))
    assert type(found) is type(asarray([0.0]))
    assert arrays.to_numpy(found).tolist() == [0.0, 0.5, -1.5, 1.5]


def test_clipping_keeps_the_inside(asarray):
    found = Clipping(1.0)(asarray([0.2, -9.0]))
    assert arrays.to_numpy(found).tolist() == [0.2, -1.0]


def test_a_quantiser_jumps_at_its_breaks():
    for quantiser in (MidTread(0.4, 3), MidTread(1.0, 1)):
        for b in quantiser.breaks:
            assert quantiser(b + 1e-9) - quantiser(b - 1e-9) == pytest.approx(quantiser.step)


def test_four_bits_are_seven_levels_on_either_side_as_networks_are_quantised():
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    mine = MidTread(2 / 7, 7)(x)
    torch.testing.assert_close(mine, fake_quantise(x, 4), rtol=0, atol=8 * EPS)


# gains


@pytest.mark.parametrize("d", [0.8, 1.5, 2.5, 2.6, 4.0])
def test_both_forms_of_the_gain_of_rounding_agree(d):
    # Poisson's formula; 12 jumps, or 11 terms, are below 1e-17 at these steps
    k = np.arange(60)
    jumps = 2 * d * float(np.exp(-0.5 * ((k + 0.5) * d) ** 2).sum()) / math.sqrt(2 * math.pi)
    assert _theta(d) == pytest.approx(jumps, abs=32 * EPS)
    assert bussgang_gain(MidTread(d)) == pytest.approx(jumps, abs=32 * EPS)
    assert _staircase(d, 60) == pytest.approx(jumps, abs=32 * EPS)


@pytest.mark.parametrize("quantiser", [MidTread(0.5, 3), MidTread(1.5, 1), Clipping(0.8)])
@pytest.mark.parametrize("std", [0.3, 1.0, 2.0])
def test_the_gain_is_the_regression_of_the_output_on_the_input(quantiser, std):
    x, w = broken_quadrature(lambda x: x, quantiser.breaks, -12 * std, 12 * std)
    w = w * np.exp(-0.5 * (x / std) ** 2)
    split = bussgang_split(x, quantiser(x), w)
    assert bussgang_gain(quantiser, std) == pytest.approx(split.gain, abs=64 * EPS)
    assert abs(split.correlation) <= 64 * EPS


def test_a_gain_depends_on_step_over_std_alone():
    assert bussgang_gain(MidTread(3.0, 5), 2.0) == pytest.approx(bussgang_gain(MidTread(1.5, 5)))
    assert bussgang_gain(Clipping(3.0), 2.0) == bussgang_gain(Clipping(1.5))


def test_levels_that_are_never_reached_do_not_matter():
    assert bussgang_gain(MidTread(2.0, 30)) == pytest.approx(
        bussgang_gain(MidTread(2.0)), abs=4e-15
    )


# split and pair


def test_the_power_of_a_quantised_signal_is_that_of_its_parts(rng):
    e = rng.standard_normal(1000)
    q = MidTread(0.5, 2)(e)
    split = bussgang_split(e, q)
    assert split.gain**2 * split.power + split.noise == pytest.approx(np.mean(q**2), rel=1e-13)


def test_weights_count_rows():
    e, q = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.5, 2.0])
    double = bussgang_split(np.append(e, 3.0), np.append(q, 2.0))
    assert bussgang_split(e, q, [1.0, 1.0, 2.0]).gain == pytest.approx(double.gain, rel=1e-14)


def test_a_pure_gain_is_inverted_and_the_state_left(rng):
    x, e = rng.standard_normal((2, 500))
    pair = optimal_pair(x, e, 0.8 * e, 1.3, -0.7)
    assert (pair.c_x, pair.c_e) == (pytest.approx(1, abs=1e-12), pytest.approx(1.25, rel=1e-12))
    assert pair.mse <= 1e-24


def test_no_pair_near_the_best_one_is_better(rng):
    x = rng.standard_normal(500)
    e = np.tanh(x) + 0.1 * rng.standard_normal(500)
    q = MidTread(0.4, 1)(e)
    best = optimal_pair(x, e, q, 1.3, -0.7)
    assert step_mse(x, e, q, 1.3, -0.7, best.c_x, best.c_e) == pytest.approx(best.mse, rel=1e-12)
    for dx, de in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert step_mse(x, e, q, 1.3, -0.7, best.c_x + dx, best.c_e + de) > best.mse


def test_quadrature_sees_a_jump_exactly():
    # int of [sin x > 1/2] over (0, 2 pi) is 2 pi / 3
    x, w = broken_quadrature(np.sin, [0.5], 0.0, 2 * math.pi)
    assert float(w @ (np.sin(x) > 0.5)) == pytest.approx(2 * math.pi / 3, abs=1e-13)


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: MidTread(0.0), ValueError, "MidTread: step must be"),
        (lambda: MidTread(1.0, 0), ValueError, "MidTread: levels must be"),
        (lambda: MidTread(1.0).breaks, ValueError, "MidTread: levels must be given"),
        (lambda: Clipping(-1.0), ValueError, "Clipping: limit must be"),
        (lambda: bussgang_gain(round), TypeError, "quantiser must be MidTread or Clipping"),
        (lambda: bussgang_gain(Clipping(1.0), 0.0), ValueError, "bussgang_gain: std must be"),
        (lambda: bussgang_split([1.0], [1.0, 2.0]), ValueError, "quantised must be of shape"),
        (lambda: bussgang_split([0.0], [1.0]), ValueError, "e must be not all 0"),
        (lambda: bussgang_split([1.0], [1.0], [-1.0]), ValueError, "weights must be non-negative"),
        (lambda: bussgang_split([math.nan], [1.0]), ValueError, "e must be finite"),
        (lambda: optimal_pair([1.0], [1.0], [1.0], math.inf, 1), ValueError, "A must be"),
        (lambda: optimal_pair([1.0], [1.0], [1.0], 1, math.nan), ValueError, "B must be"),
        (lambda: optimal_pair([1.0, 2], [1.0, 2], [1.0, 2], 1, 1), ValueError, "not proportional"),
        (lambda: optimal_pair([1.0, 2], [1.0, 2], [0.0, 0], 1, 1), ValueError, "not proportional"),
        (lambda: broken_quadrature(np.sin, [0.5], 1.0, 0.0), ValueError, "high must be above"),
        (lambda: broken_quadrature(np.sin, [0.5], 0, 1, pieces=0), ValueError, "pieces must be"),
        (lambda: broken_quadrature(np.sin, [math.nan], 0, 1), ValueError, "breaks must be finite"),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(call, error, named):
    with pytest.raises(error, match=named):
        call()
