"""AlphaFold 3's sampler: its recursion, its levels, augmentation on a chain, real EDM networks."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EDMEulerScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import arrays, paths, samplers, zoo
from fewtheory.metrics import wasserstein_1d_to_mixture
from fewtheory.model import Model
from fewtheory.plan import grids
from fewtheory.samplers.af3 import (
    af3,
    af3_levels,
    af3_stationary_variance,
    af3_variance,
    best_intermediate_level,
    low_temperature_ratio,
)
from fewtheory.testbeds import Gaussian, GaussianChain, fit_gaussian, mixture_1d
from fewtheory.zoo.networks import MLP, EDMPreconditioned

EPS = np.finfo(np.float64).eps
PATH, C0 = paths.EDM(0.0, 5120.0), 2560.0
ODE = {"gamma0": 0.0, "step_scale": 1.0}
CHAIN = GaussianChain(6, bond=3.8)


# known answers

ENTRIES = json.loads((Path(__file__).parents[1] / "data" / "protenix-mini.json").read_text())


def output_std(N, s, gamma0, eta, lam, gamma_min):
    levels = af3_levels(N)
    how = {"gamma0": gamma0, "step_scale": eta, "noise_scale": lam, "gamma_min": gamma_min}
    by_recursion = af3_variance(levels.path, levels, s, start="noise", **how)[-1, 0] ** 0.5
    plan = af3(levels.path, levels, **how)
    by_law = plan.law(Gaussian([0.0], s**2), (0.0, C0**2)).variance[0] ** 0.5
    return [by_recursion, by_law]


def found_for(entry):
    """Pairs of what the package finds and what is expected."""
    given, expected = dict(entry["inputs"]), entry["expected"]
    if entry["what"].startswith("noise levels"):
        levels = af3_levels(given.pop("N"), **given)
        return list(zip(levels.t, expected, strict=True))
    if entry["what"].startswith("output sd"):
        return [(v, expected) for v in output_std(**given)]
    if entry["what"].startswith("stationary"):
        how = {"gamma": given["gamma"], "noise_scale": given["lam"], "step_scale": given["eta"]}
        return [(af3_stationary_variance(given["q"], **how), expected)]
    assert entry["what"].startswith("best intermediate level")
    level = best_intermediate_level(given["s"])
    grid = grids.at_times(PATH, [C0, level, 0.0])
    ratio = af3_variance(PATH, grid, given["s"], **ODE)[-1, 0] ** 0.5 / given["s"]
    return list(zip([level, ratio], expected, strict=True))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e['what'][:20]} {e['inputs']}")
def test_an_independent_computation_gives_the_same(entry):
    for found, expected in found_for(entry):
        assert abs(found - expected) <= entry["tolerance"] * (abs(expected) or 1.0)


# levels


def test_the_levels_of_five_steps_are_the_published_ones():
    # sheet protenix-mini, "Levels"
    known = [2560, 704.564216, 144.694446, 18.6490, 1.01703, 0]
    np.testing.assert_allclose(af3_levels(5).t, known, rtol=5e-6)


def test_levels_scale_with_the_data():
    np.testing.assert_allclose(
        af3_levels(4, sigma_data=0.5).t, af3_levels(4).t / 32, rtol=64 * EPS, atol=0
    )


def test_levels_stand_on_any_path_that_has_them():
    path = paths.VPLinear()
    grid = af3_levels(3, path=path, sigma_data=0.5, s_max=100.0)
    rho = np.exp(-grid.lam)
    np.testing.assert_allclose(rho, af3_levels(3, sigma_data=0.5, s_max=100.0).t, rtol=64 * EPS)


# the plan


def test_the_few_step_ode_is_ddim():
    levels = af3_levels(7)
    distance = af3(levels.path, levels, **ODE).distance(samplers.ddim(levels.path, levels))
    assert distance <= 64 * EPS * C0


def test_one_step_of_the_ode_is_the_denoiser(rng):
    bed, levels = mixture_1d([0.3, 0.7], [-4.0, 2.0], [0.5, 1.0]), af3_levels(1)
    x, model = C0 * rng.standard_normal((5, 1)), bed.model(PATH, "data")
    found = af3(PATH, levels, **ODE).run(model, x)
    np.testing.assert_allclose(found, model(x, C0), rtol=0, atol=64 * EPS * C0)


def test_gamma_is_decided_at_the_next_level():
    # 0.8 times above gamma_min = 1: levels 2560, 704, 145, 18.6, 1.02 | 0, so the last has no churn
    plan = af3(PATH, af3_levels(5, path=PATH))
    evaluated = plan.sigma[:-1][plan.evaluated]
    raised = af3_levels(5).t[:-1] * np.array([1.8, 1.8, 1.8, 1.8, 1.0])
    np.testing.assert_allclose(evaluated, raised, rtol=64 * EPS)
    above = af3(PATH, af3_levels(5, path=PATH), gamma_min=1.1)
    last_two = af3_levels(5).t[3:5]
    np.testing.assert_allclose(above.sigma[:-1][above.evaluated][3:], last_two, rtol=64 * EPS)


def test_churn_without_noise_scale_is_a_step_from_too_high():
    # lambda = 0: the state keeps its noise while the network is told more
    levels = af3_levels(3, path=PATH)
    plan = af3(PATH, levels, noise_scale=0.0)
    assert not plan.stochastic
    v = af3_variance(PATH, levels, 1.0, noise_scale=0.0)[-1]
    # a dozen roundings a step, no |F| below .05 here
    np.testing.assert_allclose(plan.law(Gaussian([0.0], 1.0)).variance, v, rtol=12 * 3 * 20 * EPS)


@given(
    st.lists(st.floats(-3.0, 6.0), min_size=2, max_size=8, unique=True),
    st.floats(0.0, 0.9),
    st.floats(0.0, 2.0),
    st.floats(0.0, 2.0),
    st.floats(0.01, 20.0),
)
@settings(deadline=None, max_examples=60)
def test_the_recursion_is_the_law_of_the_plan_for_every_setting(lams, gamma0, eta, lam, s):
    lams = np.sort(np.round(lams, 3))
    lams = -lams[np.append(True, np.diff(lams) > 0)][::-1]
    if lams.size < 2:
        return
    levels = grids.at_lams(PATH, np.append(lams, math.inf))
    how = {"gamma0": gamma0, "step_scale": eta, "noise_scale": lam}
    v = af3_variance(PATH, levels, s, **how)
    law = af3(PATH, levels, **how).law(Gaussian([0.0], s**2)).variance[0]
    # a step is a dozen roundings of its largest state; F lies in [1 - eta, 1], so none grows
    size = (v.max() + (1.9 * levels.t[0]) ** 2) * (1 + lam**2)
    assert abs(v[-1, 0] - law) <= 64 * EPS * levels.steps * size


def test_a_point_mass_has_a_variance_too():
    # F = c'/t for s = 0 and eta = 1, so two steps end on it exactly
    assert af3_variance(PATH, af3_levels(2, path=PATH), 0.0, **ODE)[-1, 0] == 0.0


def test_a_run_on_another_path_is_the_same_run(rng):
    bed, vp = Gaussian([1.0], 4.0), paths.VPLinear()
    levels = grids.at_lams(vp, [-4.0, -2.0, 0.0, 2.0, math.inf])
    plan = af3(vp, levels, gamma0=0.3, gamma_min=0.0)
    z = rng.standard_normal((6, 1))
    alpha = vp.level(-4.0)[0]
    one = plan.run(bed.model(vp), z, np.random.default_rng(1))
    two = plan.run(bed.model(PATH, "data"), z / alpha, np.random.default_rng(1))
    # the state is at most exp(4) large, and eps at alpha = exp(-4) enters x0 divided by alpha
    np.testing.assert_allclose(one, two, rtol=0, atol=1024 * EPS * math.exp(4.0))


def test_a_run_does_not_depend_on_the_array_library(asarray, rng):
    bed, plan = CHAIN.model(PATH, "data"), af3(PATH, af3_levels(4, path=PATH), augment=True)
    x = C0 * rng.standard_normal((3, 6, 3))
    found = plan.run(bed, asarray(x), np.random.default_rng(3))
    assert type(found) is type(asarray(x))
    expected = plan.run(bed, x, np.random.default_rng(3))
    # the output is at most 24.7 times s; on the way states are up to 1.8 C0 in every coordinate
    np.testing.assert_allclose(arrays.to_numpy(found), expected, rtol=0, atol=1024 * EPS * 6 * C0)


def test_single_precision_agrees_with_double(rng):
    plan, model = af3(PATH, af3_levels(5, path=PATH)), Gaussian([0.0], 4.0).model(PATH, "data")
    x = C0 * rng.standard_normal((4, 1))
    wide = plan.run(model, x, np.random.default_rng(5))
    narrow = plan.run(model, x.astype(np.float32), np.random.default_rng(5))
    assert narrow.dtype == np.float32
    # errors of a state of size c are contracted with it: relative to the largest output
    bound = 64 * 5 * np.finfo(np.float32).eps * np.abs(wide).max() * 10
    np.testing.assert_allclose(narrow, wide, rtol=0, atol=bound)


# augmentation


def test_an_augmented_plan_has_un_evaluated_nodes_at_the_levels_of_the_grid():
    levels = af3_levels(5, path=PATH)
    plan = af3(PATH, levels, augment=True)
    (hook,) = plan.hooks
    assert hook.name == "augment"
    assert len(hook.settings["nodes"]) == 5
    moved = np.array(hook.settings["nodes"])
    np.testing.assert_allclose(plan.sigma[moved], levels.t[:-1], rtol=64 * EPS)
    # raised steps evaluate another node, the last step (no churn) the moved one
    assert plan.evaluated[moved].tolist() == [False] * 4 + [True]
    assert plan.nfe == 5
    assert not plan.linear
    assert plan.stochastic
    assert af3(PATH, levels, augment=True, **ODE).evaluated.all()


def test_every_moved_state_is_centred_up_to_its_translation(rng):
    plan = af3(PATH, af3_levels(4, path=PATH), augment=True, translation=0.0)
    nodes, seen = plan.hooks[0].settings["nodes"], {}
    plan.run(
        CHAIN.model(PATH, "data"),
        C0 * rng.standard_normal((5, 6, 3)),
        rng,
        callback=lambda i, u: seen.update({i: u}),
    )
    for i in nodes:
        middle = np.abs(seen[i].mean(axis=1)).max()
        assert middle <= 64 * EPS * np.abs(seen[i]).max()


def test_an_ode_with_augmentation_rotates_the_plain_result(rng):
    # on a law that is the same in every frame: distances between beads are those without it
    levels, model = af3_levels(4, path=PATH), CHAIN.model(PATH, "data")
    x = C0 * rng.standard_normal((3, 6, 3))
    plain = af3(PATH, levels, **ODE).run(model, x)
    moved = af3(PATH, levels, augment=True, **ODE).run(model, x, rng)

    def distances(v):
        return np.linalg.norm(v[:, :, None] - v[:, None], axis=-1)

    # rotations of states up to 5 C0 large, contracted to the output's size by the denoiser
    bound = 4096 * EPS * C0
    np.testing.assert_allclose(distances(moved), distances(plain), rtol=0, atol=bound)
    assert np.abs(moved - plain).max() > 0.1  # it was turned


def test_augmentation_needs_a_law_without_a_frame(rng):
    # with a mean the law is another one in every frame: the output is far from the plain one's law
    chain = GaussianChain(6, bond=0.1, mean=np.arange(18.0).reshape(6, 3))
    levels, model = af3_levels(20, path=PATH), chain.model(PATH, "data")
    x = C0 * rng.standard_normal((200, 6, 3))
    plain = af3(PATH, levels, **ODE).run(model, x)
    augmented = af3(PATH, levels, augment=True, **ODE).run(model, x, rng)
    off = np.abs(plain.mean(0) - chain.mean).max()
    assert off < 0.1 * np.abs(chain.mean).max()
    assert np.abs(augmented - chain.mean).mean() > 10 * np.abs(plain - chain.mean).mean()


def test_a_plan_with_augmentation_is_saved_and_loaded(tmp_path, rng):
    from fewtheory.plan import load

    plan = af3(PATH, af3_levels(3, path=PATH), augment=True)
    plan.save(tmp_path / "plan.json")
    again = load(tmp_path / "plan.json")
    x, model = C0 * rng.standard_normal((2, 6, 3)), CHAIN.model(PATH, "data")
    one, two = (p.run(model, x, np.random.default_rng(0)) for p in (plan, again))
    assert np.array_equal(one, two)


# closed forms


@pytest.mark.parametrize("s", [0.1, 1.0, 16.0])
def test_no_other_level_beats_the_best_one(s):
    def ratio(level):
        grid = grids.at_times(PATH, [C0, level, 0.0])
        return af3_variance(PATH, grid, s, **ODE)[-1, 0] ** 0.5 / s

    best = best_intermediate_level(s)
    others = [ratio(best * f) for f in np.geomspace(0.05, 20, 40) if best * f < C0]
    assert max(others) <= ratio(best) * (1 + 8 * EPS)


def test_two_conformers_are_joined_by_two_steps_and_told_apart_by_twenty(rng):
    # sheet, C6: W2 15.03 in two default steps, .250 in twenty
    bed = mixture_1d([0.5, 0.5], [-20.0, 20.0], [0.5, 0.5])
    z = arrays.ndtri((np.arange(2000)[:, None] + 0.5) / 2000)
    for n, known in ((2, 15.03), (20, 0.250)):
        y = af3(PATH, af3_levels(n, path=PATH), **ODE).run(bed.model(PATH), C0 * z)
        # 2000 atoms for the sheet's 20,000: the tails' cells are off by at most .02
        found = float(wasserstein_1d_to_mixture(y, bed))
        assert found == pytest.approx(known, rel=0.02, abs=0.02)


# real networks


def test_edms_preconditioning_alone_is_the_exact_denoiser_of_sigma_data():
    # D = s^2/(s^2 + c^2) x + .. F with F = 0 is E[x_0 | x] of N(0, 16^2)
    network = EDMPreconditioned(MLP(3), 16.0).double()  # its last layer starts at 0
    x = torch.linspace(-50, 50, 12, dtype=torch.float64).reshape(4, 3)
    torch.nn.init.zeros_(network.network.outer.bias)
    model = Model(
        lambda x, t: network(x, torch.full((x.shape[0],), t, dtype=x.dtype)), PATH, "data"
    )
    exact = Gaussian(np.zeros(3), 256.0).model(PATH, "data")
    for c in (0.0064, 16.0, 2560.0):
        with torch.no_grad():
            torch.testing.assert_close(model(x, c), exact(x, c), rtol=16 * EPS, atol=0)


def two_steps(path, level):
    """The grid 80, level, 0."""
    return grids.at_lams(path, [-math.log(80.0), -math.log(level), math.inf])


def test_two_steps_of_a_real_network_lose_diversity_that_a_level_of_the_datas_size_restores(
    one_thread,
):
    entry = zoo.load("digits-mlp")
    path, data = entry.model.path, zoo.data.digits("train").x
    x = 80.0 * torch.randn(256, *entry.recipe.shape, generator=torch.Generator().manual_seed(0))
    fitted = fit_gaussian(data.flatten(1).double().numpy())

    def law(level):  # what the spectrum of the digits says, without the network
        return af3(path, two_steps(path, level), **ODE).law(fitted, (0.0, 80.0**2)).w2

    default = float(af3_levels(2, sigma_data=0.5).t[1])
    best = min((0.3, 0.5, 0.7, 1.0, 1.4, default, 2.5), key=law)
    found, nearest = {}, {}
    for name, grid in (
        ("default", two_steps(path, default)),
        ("best", two_steps(path, best)),
        ("twenty", af3_levels(20, path=path, sigma_data=0.5, s_min=0.01)),
    ):
        with torch.no_grad():
            y = af3(path, grid, **ODE).run(entry.model, x)
        found[name] = float(y.std(0).mean() / data.std(0).mean())  # diversity
        nearest[name] = float(torch.cdist(y.flatten(1), data.flatten(1)).amin(1).mean())  # accuracy
    # a standard deviation of 256 digits is known to 1/sqrt(512) = .044, a mean of 64 better
    assert found["default"] + 0.044 < found["best"]
    assert found["best"] + 0.044 < found["twenty"]
    assert 1 - 0.15 < found["twenty"] < 1 + 0.044  # .880 by the law of the fit
    # both measures agree here: a better level is nearer to real digits too
    assert nearest["twenty"] < nearest["best"] < nearest["default"]


def digits_std(plan, model, x):
    """Mean over pixels of the standard deviation over samples."""
    with torch.no_grad():
        return float(plan.run(model, x).std(0).mean())


def test_the_step_scale_of_many_steps_explodes_a_real_network_in_few(one_thread):
    entry = zoo.load("digits-mlp")
    path = entry.model.path
    x = 80.0 * torch.randn(64, *entry.recipe.shape, generator=torch.Generator().manual_seed(0))
    levels = af3_levels(2, path=path, sigma_data=0.5)
    cold = digits_std(af3(path, levels, gamma0=0.0, step_scale=1.5), entry.model, x)
    exact = af3_variance(path, levels, 0.5, gamma0=0.0, step_scale=1.5, start="noise")[-1, 0] ** 0.5
    # c_0 (1 - eta + eta c_1 / c_0) (1 - eta) of the noise is left, by the recursion; the digits'
    # own size, 1 at most, adds to it
    assert abs(cold - exact) < 1.0
    assert cold > 10.0  # digits lie in [-1, 1]


def test_the_ode_is_what_diffusers_edm_euler_does(one_thread):
    entry = zoo.load("digits-mlp")
    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    theirs.set_timesteps(6)
    x = 80.0 * torch.randn(4, *entry.recipe.shape, generator=torch.Generator().manual_seed(2))
    levels = grids.at_times(paths.EDM(0.0, 80.0), theirs.sigmas.double().numpy())
    plan = af3(levels.path, levels, **ODE)
    with torch.no_grad():
        found, y = plan.run(entry.model, x), x.clone()
        for k, t in enumerate(theirs.timesteps):
            sigma = float(theirs.sigmas[k])
            seen = theirs.scale_model_input(y, t)
            # the raw network's output F from D = c_skip x + c_out F
            total = math.hypot(sigma, 0.5)
            raw = (entry.model(y, sigma) - (0.5 / total) ** 2 * y) / (sigma * 0.5 / total)
            assert seen.shape == y.shape
            y = theirs.step(raw, t, y).prev_sample
    # float32 states of size 80, six steps, a network with a slope of a few
    bound = 6 * 64 * torch.finfo(torch.float32).eps * 80
    assert float((found - y).abs().max()) <= bound


# bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: af3(PATH, [9.0, 1.0], gamma0=-0.1), "af3: gamma0 must be finite in"),
        (lambda: af3(PATH, [9.0, 1.0], gamma_min=math.nan), "af3: gamma_min must be finite in"),
        (lambda: af3(PATH, [9.0, 1.0], noise_scale=-1.0), "af3: noise_scale must be finite in"),
        (lambda: af3(PATH, [9.0, 1.0], step_scale=math.inf), "af3: step_scale must be finite in"),
        (lambda: af3(PATH, [9.0, 1.0], augment="yes"), "af3: augment must be one of True, False"),
        (lambda: af3(PATH, [9.0, 1.0], translation=-1.0), "af3: translation must be finite in"),
        (lambda: af3(paths.EDM(0.0, 10.0), [9.0, 2.0]), "af3: gamma0 must be small enough"),
        (lambda: af3_levels(0), "af3_levels: steps must be at least 1, got 0"),
        (lambda: af3_levels(2, sigma_data=0.0), "af3_levels: sigma_data must be finite in"),
        (lambda: af3_levels(2, s_max=-1.0), "af3_levels: s_max must be finite in"),
        (lambda: af3_levels(2, s_min=0.0), "af3_levels: s_min must be finite in"),
        (lambda: af3_levels(2, s_max=1e-4), "af3_levels: s_max must be above s_min = 0.0004"),
        (
            lambda: af3_levels(20, path=paths.EDM(), sigma_data=0.5),
            "af3_levels: the levels as t must be in",
        ),
        (lambda: af3_levels(2, rho=0.0), "af3_levels: rho must be finite in"),
        (lambda: af3_variance(PATH, [9.0, 1.0], -1.0), "af3_variance: stds must be not negative"),
        (lambda: af3_variance(PATH, [9.0, 1.0], [[1.0]]), "af3_variance: stds must be not"),
        (lambda: af3_variance(PATH, [9.0, 1.0], 1.0, start="p_T"), "start must be one of"),
        (lambda: af3_variance(PATH, [9.0, 1.0], 1.0, gamma0=-1.0), "af3_variance: gamma0 must"),
        (lambda: af3_stationary_variance(1.0), "af3_stationary_variance: ratio must be finite in"),
        (lambda: af3_stationary_variance(0.9, gamma=0.0), "stationary_variance: gamma must be"),
        (lambda: af3_stationary_variance(0.9, noise_scale=-1.0), "noise_scale must be finite in"),
        (lambda: af3_stationary_variance(0.9, step_scale=-1.0), "step_scale must be finite in"),
        (
            lambda: af3_stationary_variance(0.5, gamma=5.0, step_scale=2.0),
            r"step_scale must be one for which \|F\| = 0.833 is below 0.5",
        ),
        (lambda: low_temperature_ratio(0.0, 1.0, 1.0), "low_temperature_ratio: stds must be pos"),
        (lambda: low_temperature_ratio(1.0, -1.0, 1.0), "low_temperature_ratio: start must be"),
        (lambda: low_temperature_ratio(1.0, 1.0, -1.0), "ratio: step_scale must be"),
        (lambda: best_intermediate_level(0.0), "best_intermediate_level: std must be finite in"),
        (lambda: best_intermediate_level(1.0, 0.0), "best_intermediate_level: start must be"),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.usefixtures("own_checks")
def test_augmentation_of_what_is_no_structure_is_named(rng):
    plan, model = (
        af3(PATH, af3_levels(2, path=PATH), augment=True),
        Gaussian([0.0], 1.0).model(PATH),
    )
    with pytest.raises(ValueError, match=r"centred: x must be of shape \(b, n, 3\)"):
        plan.run(model, np.zeros((4, 1)), rng)


@pytest.mark.usefixtures("own_checks")
def test_what_is_no_number_is_named():
    with pytest.raises(TypeError, match="af3: gamma0 must be a number, got 'much'"):
        af3(PATH, [9.0, 1.0], gamma0="much")
    with pytest.raises(TypeError, match=r"af3_levels: steps must be an integer, got 2\.5"):
        af3_levels(2.5)
