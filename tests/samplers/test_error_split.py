"""The two errors of few-step sampling: closed forms on Gaussians, and measured on networks."""

import json
import math
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import torch

from fewtheory import arrays, paths, samplers, zoo
from fewtheory.plan import grids
from fewtheory.samplers import ErrorSplit, error_split, gaussian_error_split, noise_scaled
from fewtheory.samplers.error_split import (
    angle,
    cancelling_kappa,
    exact_mix,
    first_source_factor,
    mixed_variance,
    ode_factor,
    step_factor,
)
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
VP, EDM, RF = paths.VPLinear(), paths.EDM(), paths.RectifiedFlow()
BED = Gaussian([0.0], 0.25)
START = np.array([[1.0], [-2.0]])
ENTRIES = json.loads((Path(__file__).parents[1] / "data" / "dualfast.json").read_text())
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def plan(lams):
    return samplers.ddim(VP, grids.at_lams(VP, lams))


def test_the_exact_coefficient_is_the_known_one():
    entry = ENTRIES[2]
    given = entry["inputs"]
    found = exact_mix(given["lam_tau"], given["lam_t"], given["lam_next"], given["s"])
    assert abs(found - entry["expected"]) <= entry["tolerance"] * entry["expected"]


def test_the_gaussian_ratios_are_the_known_ones():
    entry = ENTRIES[3]
    found = gaussian_error_split(**entry["inputs"])
    for one, two in zip((found.both, found.approximation), entry["expected"], strict=True):
        assert abs(one - two) <= entry["tolerance"] * two


# closed forms, written another way


@pytest.mark.parametrize("s", [0.01, 0.5, 3.0])
@pytest.mark.parametrize("lams", [(-1.2, -0.3, 0.8), (-5.0, -4.9, -4.89), (0.3, 0.3001, 0.3003)])
def test_the_exact_coefficient_loses_no_digits_in_short_steps(lams, s):
    with mp.workdps(50):
        tau, now, later = (mp.atan2(mp.exp(-mp.mpf(v)), mp.mpf(s)) for v in lams)
        D = mp.sin((now + later) / 2) / mp.cos((now - later) / 2)
        exact = float((mp.sin(now) - D) / (mp.sin(tau) - mp.sin(now)))
    # angles below pi / 2 are off by eps; so are their differences, which are divided by
    theta = [angle(v, s) for v in lams]
    shortest = min(theta[0] - theta[1], theta[1] - theta[2])
    to_right_angle = math.cos(theta[0])
    bound = 16 * EPS * (1 / shortest + 1 / to_right_angle)
    assert abs(exact_mix(*lams, s) - exact) <= bound * abs(exact)


@pytest.mark.parametrize("path", [VP, EDM, RF], ids=["vp", "edm", "rectified flow"])
def test_a_step_of_ddim_is_a_cosine_on_every_path(path):
    step = samplers.ddim(path, grids.at_lams(path, [-1.0, 0.5]))
    ratio = float(step.law(BED).std_ratio[0])
    assert ratio == pytest.approx(step_factor(angle(-1.0, 0.5), angle(0.5, 0.5)), rel=64 * EPS)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 3.0), (-13.0, 15.0), (0.1, 0.2)])
def test_a_function_that_is_constant_is_a_number(low, high):
    one, two = (ode_factor(low, high, 0.5, k) for k in (0.05, lambda lam: 0.05 + 0 * lam))
    # the exponent is a sum of terms of its own sign, whose logarithm is 0.7 at most
    assert one == pytest.approx(two, rel=256 * EPS)


def test_the_factors_of_two_intervals_multiply():
    def kappa(lam):
        return 0.1 * np.sin(lam)

    whole = ode_factor(-2.0, 3.0, 0.5, kappa)
    parts = ode_factor(-2.0, 0.7, 0.5, kappa) * ode_factor(0.7, 3.0, 0.5, kappa)
    assert whole == pytest.approx(parts, rel=256 * EPS)


def test_without_the_networks_error_there_is_one_error_alone(lams):
    split = gaussian_error_split(lams, 0.5, 0.0)
    assert split.approximation == split.exact == 1.0
    assert split.both == split.discretisation
    assert split.interaction == 0.0


def test_many_steps_leave_the_approximation_error_alone():
    found = [gaussian_error_split(np.linspace(-3, 3, n + 1), 0.5, 0.05) for n in (400, 800)]
    gaps = [split.both - split.approximation for split in found]
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.01)  # of order 1; 1% is h


def test_the_step_that_is_cancelled_is_exact():
    a, b = angle(-0.5, 0.5), angle(0.6, 0.5)
    assert cancelling_kappa(a, b) < 0
    assert step_factor(a, b, cancelling_kappa(a, b)) == pytest.approx(1, rel=8 * EPS)


def test_the_limit_of_a_first_source_is_the_ode_with_a_frozen_source():
    # dz/dlam = -c (sin^2 z - sin_0 sin z_0), by 20,000 midpoint steps: error h^2 / 24 of its size
    c, s, steps = 0.3, 0.5, 20_000
    lam = np.linspace(-2.0, 3.0, steps + 1)
    h, first = 5.0 / steps, math.sin(angle(-2.0, s))
    z, rate = 1.0, lambda v, y: -c * math.sin(angle(v, s)) * (math.sin(angle(v, s)) * y - first)
    for v in lam[:-1].tolist():
        z += h * rate(v + h / 2, z + h / 2 * rate(v, z))
    assert first_source_factor(-2.0, 3.0, s, c) == pytest.approx(z, abs=h**2)


def test_the_variance_is_that_of_draws(rng):
    c, v, v_tau, r = 0.5, 0.01, 0.0036, 0.4
    n = 200_000
    cross = r * math.sqrt(v * v_tau)
    now, before = rng.multivariate_normal([0, 0], [[v, cross], [cross, v_tau]], n).T
    found = np.var((1 + c) * now - c * before)
    # a normal sample's variance has relative deviation sqrt(2 / n); five of them
    assert found == pytest.approx(mixed_variance(c, v, v_tau, r), rel=5 * math.sqrt(2 / n))


# measured


@pytest.mark.parametrize("kappa", [0.05, lambda lam: 0.05 * lam], ids=["number", "function"])
@pytest.mark.usefixtures("own_checks")  # many nodes: the type checker is slow
def test_what_is_measured_on_a_gaussian_is_the_closed_form(kappa, plan, lams, asarray):
    model = noise_scaled(BED.model(VP), kappa)
    found = error_split(plan, model, BED, asarray(START), fine=32)
    closed = gaussian_error_split(lams, 0.5, kappa)
    exact = arrays.to_numpy(found.exact)[:, 0]
    for name in ("approximation", "discretisation", "both"):
        ratio = arrays.to_numpy(getattr(found, name))[:, 0] / exact
        bound = 256 * EPS + 4 * found.ode_error * (name == "approximation") / np.abs(exact).min()
        np.testing.assert_allclose(ratio, getattr(closed, name), rtol=0, atol=bound)
    assert type(found.exact) is type(asarray(START))


@pytest.mark.usefixtures("own_checks")  # many nodes
def test_the_error_of_the_fine_solution_is_estimated(plan):
    model, x = noise_scaled(BED.model(VP), 0.05), np.ones((1, 1))
    coarse, fine = (error_split(plan, model, BED, x, fine=n) for n in (16, 64))
    off = abs(float((coarse.approximation - fine.approximation)[0, 0]))
    assert coarse.ode_error / 2 < off < 2 * coarse.ode_error  # the next term is h of it
    assert fine.ode_error == pytest.approx(coarse.ode_error / 4**4, rel=0.5)  # of order 4


def test_the_root_mean_squares_are_those_of_the_differences():
    exact = np.array([[1.0], [2.0]])
    split = ErrorSplit(exact, exact + 0.3, exact - 0.1, exact + np.array([[0.1], [0.7]]))
    found = split.rms()
    assert found["approximation"] == pytest.approx(0.3)
    assert found["discretisation"] == pytest.approx(0.1)
    assert found["both"] == pytest.approx(math.sqrt((0.01 + 0.49) / 2))
    assert found["interaction"] == pytest.approx(math.sqrt((0.01 + 0.25) / 2))  # -.1 and +.5


@pytest.mark.usefixtures("own_checks")  # many nodes
@torch.no_grad()
def test_dualfast_gains_on_a_real_network_by_its_discretisation():
    """On the product testbed, whose flow is exact: the mix cuts the discretisation error to less
    than half, and the approximation error is the network's, whatever the plan."""
    entry = zoo.load("product-mlp")
    bed = entry.recipe.testbed()
    grid = grids.at_lams(VP, np.linspace(-3.0, 2.0, 6))
    x = bed.at(VP, float(grid.t[0])).sample(64, rng=np.random.default_rng(1))
    plain, mix = (
        error_split(samplers.dualfast(VP, grid, c=c), entry.model, bed, x, fine=32)
        for c in (0.0, "second-order")
    )
    assert np.array_equal(plain.approximation, mix.approximation)
    one, two = plain.rms(), mix.rms()
    assert plain.ode_error < 0.1 * one["approximation"]
    assert two["discretisation"] < one["discretisation"] / 2
    assert two["both"] < one["both"]


def test_a_scaled_model_is_differentiable_and_takes_a_time_a_row(rng):
    model = noise_scaled(BED.model(VP), lambda lam: 0.1 * lam)
    x = torch.tensor(rng.standard_normal((3, 1)), requires_grad=True)
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda u: model(u, t), (x,))
    rows = [model(x[i : i + 1], float(t[i])) for i in range(3)]
    torch.testing.assert_close(model(x, t), torch.cat(rows), rtol=64 * EPS, atol=0)


# bad arguments


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: exact_mix(0.0, -1.0, 1.0, 0.5), "exact_mix: lam must be increasing"),
        (lambda: exact_mix(-1.0, 0.0, math.nan, 0.5), "exact_mix: lam must be finite"),
        (lambda: exact_mix(-1.0, 0.0, 1.0, 0.0), "exact_mix: s must be positive, got 0.0"),
        (lambda: ode_factor(1.0, 0.0, 0.5, 0.1), "ode_factor: lam must be increasing"),
        (lambda: ode_factor(0.0, 1.0, -1.0, 0.1), "ode_factor: s must be finite in"),
        (lambda: ode_factor(0.0, 1.0, 0.5, math.inf), "ode_factor: kappa must be finite"),
        (lambda: first_source_factor(0.0, 1.0, 0.5, -0.1), "first_source_factor: c must be"),
        (lambda: gaussian_error_split([0.0], 0.5, 0.1), "gaussian_error_split: lam must be one-d"),
        (lambda: gaussian_error_split([1.0, 0.0], 0.5, 0.1), "gaussian_error_split: lam must be"),
        (lambda: gaussian_error_split([0.0, 1.0], 0.0, 0.1), "gaussian_error_split: s must be"),
        (
            lambda: gaussian_error_split([0.0, 1.0], 0.5, math.nan),
            "gaussian_error_split: kappa must be finite",
        ),
        (lambda: noise_scaled(BED.model(VP), math.nan), "noise_scaled: kappa must be finite"),
        (lambda: mixed_variance(math.nan, 1.0, 1.0), "mixed_variance: c must be finite"),
        (lambda: mixed_variance(0.5, -1.0, 1.0), "mixed_variance: v must be finite in"),
        (lambda: mixed_variance(0.5, 1.0, -1.0), "mixed_variance: v_tau must be finite in"),
        (lambda: mixed_variance(0.5, 1.0, 1.0, 1.1), "mixed_variance: correlation must be"),
    ],
)
def test_a_bad_number_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("change", "kind", "named"),
    [
        ({"plan": "ddim"}, ValueError, "plan must be a deterministic Plan"),
        ({"plan": samplers.ddim(VP, [0.9, 0.1], eta=1.0)}, ValueError, "plan must be a det"),
        ({"plan": samplers.ddim(VP, grids.log_snr(VP, 2).to_clean())}, ValueError, "one between"),
        ({"model": "net"}, TypeError, "model must be a fewtheory Model, got str"),
        ({"testbed": VP}, TypeError, "testbed must have an exact model and flow, got VP"),
        ({"fine": 1}, ValueError, "fine must be at least 2, got 1"),
    ],
)
def test_a_bad_argument_of_the_measured_split_is_named(plan, change, kind, named):
    given = {"plan": plan, "model": BED.model(VP), "testbed": BED, "x": np.ones((1, 1)), **change}
    with pytest.raises(kind, match=f"error_split: .*{named}"):
        error_split(**given)
