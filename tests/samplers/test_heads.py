"""The token samplers of MAR, FlowAR and xAR, as plans."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.plan import grids
from fewtheory.samplers import heads
from fewtheory.testbeds import Gaussian

EPS = np.finfo(float).eps
VP, FLOW, EDM = paths.VPLinear(), paths.RectifiedFlow(), paths.EDM()


# ancestral


def test_ancestral_with_the_small_variance_is_ddim_with_eta_1(lams):
    one = samplers.ancestral(VP, grids.at_lams(VP, lams))
    two = samplers.ddim(VP, grids.at_lams(VP, lams), eta=1.0)
    assert one.distance(two) <= 64 * EPS * lams.size * math.exp(-lams[0])


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_the_noise_of_a_step_lies_between_ddpms_two_variances(v):
    plan = samplers.ancestral(VP, [0.6, 0.5], variance=v)
    (a0, a1), (s0, s1) = plan.alpha, plan.sigma
    beta = 1 - (a0 / a1) ** 2  # Ho et al. 2020, section 3.2
    small = s1**2 / s0**2 * beta
    expected = math.exp(v * math.log(beta) + (1 - v) * math.log(small))
    assert plan.C[1, 0] ** 2 == pytest.approx(expected, rel=64 * EPS / beta)


def test_the_mean_of_a_step_is_the_posteriors_whatever_the_noise():
    plan = samplers.ancestral(VP, [0.6, 0.5], variance=0.7, temperature=0.3)
    (a0, a1), (s0, s1) = plan.alpha, plan.sigma
    beta = 1 - (a0 / a1) ** 2
    # Ho et al. 2020, eq. 7
    np.testing.assert_allclose(plan.B[1, 0], a1 * beta / s0**2, rtol=64 * EPS / beta)
    np.testing.assert_allclose(plan.P[1, 0], a0 / a1 * s1**2 / s0**2, rtol=64 * EPS / beta)


def test_temperature_multiplies_the_noise_and_none_leaves_none():
    warm, hot = (samplers.ancestral(VP, [0.6, 0.5, 0.1], temperature=h) for h in (1.0, 1.5))
    np.testing.assert_allclose(hot.C, 1.5 * warm.C, rtol=4 * EPS)
    assert not samplers.ancestral(VP, [0.6, 0.5], temperature=0.0).stochastic


# Euler-Maruyama


def test_euler_maruyama_without_churn_is_euler(path, lams):
    grid = grids.at_lams(path, lams)
    one, two = samplers.euler_maruyama(path, grid, churn=0.0), samplers.euler(path, grid)
    size = 1 + np.abs(two.canonical().B).max()
    assert one.distance(two) <= 256 * EPS * lams.size * math.exp(-lams[0]) * size


def test_on_edms_path_it_is_the_variance_exploding_sde():
    # dx = -2 sigma score dsigma + sqrt(2 sigma) dw, so x' = x + 2 (t - s) eps + sqrt(2 s (s - t)) z
    plan = samplers.euler_maruyama(EDM, [3.0, 2.0]).predicting("noise")
    assert plan.P[1, 0] == pytest.approx(1.0, abs=8 * EPS)
    assert plan.B[1, 0] == pytest.approx(-2.0, abs=8 * EPS)
    assert plan.C[1, 0] == pytest.approx(math.sqrt(6.0), abs=8 * EPS)


@pytest.mark.parametrize("churn", [0.5, 1.0, 2.0])
def test_its_marginals_are_the_paths_for_every_churn(churn):
    bed, errors = Gaussian([1.0], 0.25), []
    for n in (64, 128, 256):
        grid = grids.uniform(FLOW, n, start=0.9, end=0.1)
        errors.append(samplers.euler_maruyama(FLOW, grid, churn=churn).law(bed).w2)
    assert errors[2] / errors[1] == pytest.approx(0.5, abs=0.05)  # order 1


# MAR


def test_the_cosine_table_ends_at_the_capped_beta():
    table = heads.cosine_table().alphas_cumprod
    assert table.size == 1000
    assert 1 - table[-1] / table[-2] == pytest.approx(0.999, rel=1e-12)
    assert table[950] == pytest.approx(0.00582, abs=5e-6)  # the sheet's .0058


@pytest.mark.parametrize(
    ("steps", "cap", "left"), [(50, 950, 48), (100, 950, 96), (21, 950, 21), (22, 950, 21)]
)
def test_steps_beyond_the_cap_merge_from_22_on(steps, cap, left):
    entries = heads.respaced(steps, cap)
    assert (len(entries), entries[0], entries[-1]) == (left, cap, 0)
    assert len(heads.respaced(steps)) == steps


def test_mars_head_takes_the_entries_and_then_the_data():
    plan = heads.mar_head(50)
    assert (plan.nfe, plan.sigma[-1]) == (48, 0.0)
    timesteps = heads.cosine_table().timestep(plan.t[:-1])
    np.testing.assert_allclose(timesteps, heads.respaced(50, 950), atol=1000 * 4 * EPS)
    assert heads.mar_head(10, method="ddim").alpha[0] ** 2 == pytest.approx(0.000877, abs=5e-7)


@pytest.mark.parametrize(
    ("std", "ratios"),
    [
        (1.0, (0.6613, 0.8100, 0.9155, 0.9554, 0.9768)),
        (0.1, (0.2329, 0.4431, 0.6800, 0.7922, 0.8724)),
    ],
)
def test_mars_spread_is_that_of_the_sheet(std, ratios):
    found = [
        float(heads.mar_head(n, capped=False).law(Gaussian([0.0], std**2)).std_ratio[0])
        for n in (5, 10, 25, 50, 100)
    ]
    np.testing.assert_allclose(found, ratios, rtol=0, atol=5e-5)  # its four digits


def test_the_cap_takes_noise_for_data_with_signal_and_moves_the_mean():
    """N(0, 1) in place of x_T leaves out alpha_T m: so much of the mean is missing as the noise's
    linear factor carries."""
    plan = heads.mar_head(25)
    law = plan.law(Gaussian([1.0], 0.25), start=(0.0, 1.0))
    exact = plan.law(Gaussian([1.0], 0.25))
    assert exact.mean[0] == pytest.approx(1.0, abs=1e-12)
    assert 1e-4 < 1 - law.mean[0] < 1e-2
    assert (
        abs(
            1
            - heads.mar_head(25, capped=False).law(Gaussian([1.0], 0.25), start=(0.0, 1.0)).mean[0]
        )
        < 1e-4
    )  # alpha_T is 5e-5


# FlowAR and xAR


@pytest.mark.parametrize(("steps", "performed"), [(2, 2), (15, 14), (24, 24), (25, 24), (50, 50)])
def test_flowar_performs_an_even_number_of_steps(steps, performed):
    plan = heads.flowar_head(steps)
    assert plan.nfe == performed
    assert (plan.t[0], plan.t[-1]) == (1.0, 0.0)


def test_flowars_grid_changes_at_50():
    np.testing.assert_allclose(heads.flowar_head(50).t, np.linspace(1, 0, 51), atol=EPS)
    t = heads.flowar_head(48).t
    assert np.ptp(np.diff(t[:24])) < 8 * EPS
    assert np.ptp(np.diff(t[24:])) < 8 * EPS
    assert t[23:25].tolist() == pytest.approx([0.3, 0.25])


def test_xars_steps_before_the_last_are_noisy():
    plan = heads.xar_head(10)
    assert plan.nfe == 10
    assert plan.C.shape[1] == 9
    assert not plan.C[-1].any()
    np.testing.assert_allclose(plan.t[:-1], np.linspace(1, 0.04, 10), atol=4 * EPS)


def test_xars_last_step_takes_the_noise_away_twice(rng):
    plan, bed, seen = heads.xar_head(10), Gaussian([0.4], 0.25), {}
    noise = rng.standard_normal((5, 1))
    out = plan.run(bed.model(FLOW, "data"), noise, rng, callback=lambda i, u: seen.update({i: u}))
    x0 = bed.model(FLOW, "data")(seen[9], 0.04)
    eps = bed.model(FLOW, "noise")(seen[9], 0.04)
    bound = 64 * EPS * (1 + np.abs(seen[9]).max()) / 0.04  # eps is a difference over sigma
    np.testing.assert_allclose(out, x0 - 0.04 * eps, rtol=0, atol=bound)


def test_the_heads_of_flows_start_at_noise_and_keep_every_mean():
    bed = Gaussian([1.3], 0.09)
    for head in (heads.euler_head, heads.flowar_head, heads.xar_head):
        plan = head(9)
        assert (plan.alpha[0], plan.sigma[0]) == (0.0, 1.0)
        assert plan.law(bed, start=(0.0, 1.0)).mean[0] == pytest.approx(1.3, rel=256 * EPS)


@pytest.mark.parametrize("head", [heads.mar_head, heads.flowar_head, heads.xar_head])
def test_a_head_runs_on_float32_as_on_float64_and_on_every_library(head, asarray, rng):
    plan, bed = head(12), Gaussian([0.4], 0.25)
    model = bed.model(paths.VPCosine() if head is heads.mar_head else FLOW, "data")
    x = rng.standard_normal((6, 1))
    wide = plan.run(model, x, np.random.default_rng(1))
    single = plan.run(model, asarray(x.astype(np.float32)), np.random.default_rng(1))
    # a run multiplies roundings by the plan's coefficients, here below 1/0.04 a step
    size = 64 * plan.nodes * (1 + np.abs(x).max()) / 0.04
    assert np.abs(np.asarray(single, dtype=float) - wide).max() <= size * np.finfo(np.float32).eps


def test_the_published_settings_are_schedules():
    for name, setting in heads.PUBLISHED.items():
        steps = samplers.annealed_steps(setting.n or 16, setting.hi, setting.lo, setting.kind)
        assert (steps[0], steps[-1]) == (setting.hi, setting.lo), name


BAD = {
    "ancestral: variance": lambda: samplers.ancestral(VP, [0.9, 0.1], variance=1.1),
    "ancestral: temperature": lambda: samplers.ancestral(VP, [0.9, 0.1], temperature=-1.0),
    "euler_maruyama: churn": lambda: samplers.euler_maruyama(VP, [0.9, 0.1], churn=math.nan),
    "respaced: steps": lambda: heads.respaced(1),
    "respaced: cap": lambda: heads.respaced(5, 1000),
    "mar_head: method": lambda: heads.mar_head(5, method="dpm"),
    "euler_head: steps": lambda: heads.euler_head(0),
    "flowar_head: steps": lambda: heads.flowar_head(1),
    "xar_head: steps": lambda: heads.xar_head(1),
    "euler_maruyama: churn ": lambda: heads.xar_head(5, churn=-1.0),
}


@pytest.mark.parametrize("named", list(BAD))
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(named):
    with pytest.raises((ValueError, TypeError), match=f"^{named.strip()} must be "):
        BAD[named]()


def test_ddim_takes_no_temperature():
    with pytest.raises(ValueError, match="mar_head: method must be 'ddpm' where"):
        heads.mar_head(5, method="ddim", temperature=0.9)
