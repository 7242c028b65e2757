"""DualFast against the substitution written out in each base, on numbers; and on real networks."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DPMSolverMultistepScheduler

from fewtheory import guided, paths, samplers, zoo
from fewtheory.adapters import diffusers as adapters
from fewtheory.model import Model
from fewtheory.plan import Hook, grids, load, order
from fewtheory.plan.hooks import dynamic_threshold
from fewtheory.samplers import blend, dualfast, mixed, ramp
from fewtheory.testbeds import Gaussian, mixture_1d
from fewtheory.zoo import recipes

EPS = np.finfo(np.float64).eps
EPS32 = torch.finfo(torch.float32).eps
VP, EDM = paths.VPLinear(), paths.EDM()
BED = mixture_1d([0.3, 0.5, 0.2], [-1.0, 0.2, 1.5], [0.3, 0.2, 0.4])
C = [0.0, 0.2, 0.0, 0.5, 0.3, 0.7, 0.1]  # one a step of `grid`
PARTS = (8, 16, 32)  # refinements of seven steps
pytestmark = pytest.mark.usefixtures("one_thread")  # small networks wait for one another


@pytest.fixture
def grid(lams):
    return grids.at_lams(VP, lams)


@pytest.fixture
def x(rng):
    return rng.standard_normal((6, 1))


# known answers

ENTRIES = json.loads((Path(__file__).parents[1] / "data" / "dualfast.json").read_text())


@pytest.mark.parametrize("entry", ENTRIES[:2], ids=["c given", "second order"])
@pytest.mark.parametrize("base", [{}, {"prediction": "noise"}, {"prediction": "data"}], ids=str)
def test_an_independent_computation_gives_the_same(entry, base):
    given = entry["inputs"]
    bed = mixture_1d(given["weights"], given["means"], given["sds"])
    how = {"base": "dpm_solver_pp", "order": 1, **base} if base else {}
    how |= {"c": given["c"]} if "c" in given else {}
    plan = dualfast(VP, grids.at_lams(VP, given["lam"]), **how)
    found = plan.run(bed.model(VP), np.array([[given["x"]]]))[0, 0]
    assert abs(found - entry["expected"]) <= entry["tolerance"] * abs(entry["expected"])


def test_a_blend_of_the_explicit_noise_is_the_known_coefficient():
    given, expected = ENTRIES[4]["inputs"], ENTRIES[4]["expected"]
    found = blend(given["w"])(1, np.array([-0.4, 0.0, given["h"]]))
    assert abs(found - expected) <= ENTRIES[4]["tolerance"] * expected


# the substitution, written out: D = (1 + c) e - c e_before, and what the base does with it


class Steps:
    """Numbers that every loop below needs: levels, lengths, and D at each step."""

    def __init__(self, grid, c):
        self.points = [grid[i] for i in range(grid.steps + 1)]
        self.h = np.diff(grid.lam).tolist()
        self.c, self.e = c, []

    def evaluate(self, i, x):
        """(x0, e, x0 of D, D) at step i."""
        s = self.points[i]
        x0 = BED.model(VP, "data")(x, s.t)
        self.e.append((x - s.alpha * x0) / s.sigma)
        D = self.e[i] if i == 0 else (1 + self.c[i]) * self.e[i] - self.c[i] * self.e[i - 1]
        return x0, self.e[i], (x - s.sigma * D) / s.alpha, D


def first_order(grid, c, x):
    """x' = (alpha'/alpha) x - sigma' expm1(h) D."""
    steps = Steps(grid, c)
    for i, h in enumerate(steps.h):
        s, t = steps.points[i : i + 2]
        *_, D = steps.evaluate(i, x)
        x = t.alpha / s.alpha * x - t.sigma * math.expm1(h) * D
    return x


def noise_2m(grid, c, x):
    """D + (h / (2 h_before)) (e - e_before)."""
    steps = Steps(grid, c)
    for i, h in enumerate(steps.h):
        s, t = steps.points[i : i + 2]
        _, e, _, D = steps.evaluate(i, x)
        if i > 0:
            D = D + h / (2 * steps.h[i - 1]) * (e - steps.e[i - 1])
        x = t.alpha / s.alpha * x - t.sigma * math.expm1(h) * D
    return x


def data_2m(grid, c, x):
    """x0 of D + (h / (2 h_before)) (x0 - x0_before)."""
    steps, before = Steps(grid, c), None
    for i, h in enumerate(steps.h):
        s, t = steps.points[i : i + 2]
        x0, _, held, _ = steps.evaluate(i, x)
        if before is not None:
            held = held + h / (2 * steps.h[i - 1]) * (x0 - before)
        x, before = t.sigma / s.sigma * x - t.alpha * math.expm1(-h) * held, x0
    return x


def data_2s(grid, c, x):
    """The stage and the step both hold D; the difference of stage and start is kept."""
    steps = Steps(grid, c)
    for i, h in enumerate(steps.h):
        s, t = steps.points[i : i + 2]
        x0, _, held, _ = steps.evaluate(i, x)
        middle = grids.point(VP, s.lam + h / 2)
        stage = middle.sigma / s.sigma * x - middle.alpha * math.expm1(-h / 2) * held
        slope = 2 * (BED.model(VP, "data")(stage, middle.t) - x0)
        x = t.sigma / s.sigma * x - t.alpha * math.expm1(-h) * (held + 0.5 * slope)
    return x


def unipc_2(grid, c, x):
    """UniPC-2, bh2, noise: predictor and corrector hold the D of the step's start."""
    steps, e, start, held = Steps(grid, c), None, None, None
    for i, h in enumerate(steps.h):
        s, t = steps.points[i : i + 2]
        _, e, _, D = steps.evaluate(i, x)
        if i > 0:  # the corrector of the step that led here
            p, g, before = steps.points[i - 1], steps.h[i - 1], steps.e[i - 1]
            B = math.expm1(g)
            phi_2 = (B / g - 1) / g
            slopes, rho = [e - before], [0.5]
            if i > 1:
                r = -steps.h[i - 2] / g
                slopes = [(steps.e[i - 2] - before) / r, e - before]
                rho = np.linalg.solve(
                    [[1, 1], [r, 1]], [g * phi_2 / B, 2 * (phi_2 - 0.5) / B]
                ).tolist()
            extra = sum(a * b for a, b in zip(rho, slopes, strict=True))
            x = s.alpha / p.alpha * start - s.sigma * B * (held + extra)
        start, held = x, D
        x = t.alpha / s.alpha * start - t.sigma * math.expm1(h) * held
        if i > 0:
            r = -steps.h[i - 1] / h
            x = x - t.sigma * math.expm1(h) * 0.5 * (steps.e[i - 1] - e) / r
    return x


WRITTEN_OUT = {
    "DDIM": (first_order, "ddim", {}),
    "DPM-Solver-1": (first_order, "dpm_solver_pp", {"order": 1, "prediction": "noise"}),
    "DPM-Solver++1": (first_order, "dpm_solver_pp", {"order": 1}),
    "DPM-Solver-2M": (noise_2m, "dpm_solver_pp", {"order": 2, "prediction": "noise"}),
    "DPM-Solver++2M": (data_2m, "dpm_solver_pp", {"order": 2}),
    "DPM-Solver++2S": (data_2s, "dpm_solver_pp", {"order": 2, "method": "singlestep"}),
    "UniPC-2": (unipc_2, "unipc", {"order": 2, "prediction": "noise"}),
}


def rounding(grid, x):
    """eps times what a run on BED multiplies it with: rho, the denoiser's slope, the steps."""
    slope = 1 / BED.stds.min() ** 2
    return 64 * EPS * grid.steps * math.exp(-grid.lam[0]) * slope * (1 + np.abs(x).max())


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_the_plan_is_the_substitution_in_the_base(name, grid, x):
    by_hand, base, how = WRITTEN_OUT[name]
    if how.get("order") == 2 and base == "dpm_solver_pp" and "method" not in how:
        how = {**how, "lower_order_final": False}
    found = dualfast(VP, grid, base, c=C, **how).run(BED.model(VP), x)
    np.testing.assert_allclose(found, by_hand(grid, C, x), rtol=0, atol=rounding(grid, x))


@pytest.mark.parametrize("base", ["ddim", "dpm_solver_pp", "unipc"])
def test_without_a_mix_it_is_the_base(base, grid):
    plan = dualfast(VP, grid, base, c=0.0)
    assert plan.distance(samplers.SAMPLERS[base](VP, grid)) == 0.0
    assert plan.name == "dualfast"


def test_one_step_has_no_history(lams):
    grid = grids.at_lams(VP, lams[:2])
    assert dualfast(VP, grid, c=0.7).distance(samplers.ddim(VP, grid)) == 0.0


def test_a_mix_costs_no_evaluation(grid):
    assert dualfast(VP, grid, "unipc", c=ramp(0.5)).nfe == grid.steps


@pytest.mark.parametrize(("tau", "lag"), [("previous", 1), (2, 2), ("first", 99)])
def test_tau_says_which_noise_is_subtracted(tau, lag, grid):
    plan = dualfast(VP, grid, "dpm_solver_pp", order=1, prediction="noise", c=0.5, tau=tau)
    for i in range(1, grid.steps):
        older = max(i - lag, 0)
        weight = -plan.sigma[i + 1] * math.expm1(grid.lam[i + 1] - grid.lam[i])
        expected = np.zeros(grid.steps)
        expected[[i, older]] = 1.5 * weight, -0.5 * weight
        size = 64 * EPS * abs(weight)  # c weight is added to weight
        np.testing.assert_allclose(plan.B[i + 1], expected, rtol=0, atol=size)


@pytest.mark.parametrize("lag", [1, 2, 3])
@pytest.mark.usefixtures("own_checks")  # many nodes: the type checker is slow
def test_the_second_order_value_knows_how_far_back_tau_is(lag, lams):
    # c (lam_i - lam_tau) = h_i / 2 is the midpoint, whatever the lag
    plan = dualfast(VP, grids.at_lams(VP, lams), tau=lag)
    for i in range(1, lams.size - 1):
        gap = lams[i] - lams[max(i - lag, 0)]
        assert plan.settings["c"][i] * gap == pytest.approx(
            (lams[i + 1] - lams[i]) / 2, rel=8 * EPS
        )
    assert order(plan.family, PARTS).order == 2


def test_a_singlestep_base_looks_back_to_the_start_of_the_step_before(grid):
    plan = dualfast(VP, grid, "dpm_solver_pp", method="singlestep", prediction="noise", c=0.5)
    plain = samplers.dpm_solver_pp(VP, grid, method="singlestep", prediction="noise")
    assert sorted(set(np.flatnonzero((plan.B != plain.B).any(axis=0)))) == list(range(0, 14, 2))
    assert np.flatnonzero(plan.B[4] != plain.B[4]).tolist() == [0, 2]  # the second step's end


# the last step


def test_a_step_to_clean_data_is_plain_unless_asked(grid):
    clean = grid.to_clean()
    plan = dualfast(VP, clean, c=0.5)
    assert plan.settings["c"][-1] == 0.0
    assert np.flatnonzero(plan.B[-1]).tolist() == [clean.steps - 1]
    assert np.flatnonzero(plan.P[-1]).tolist() == []


@pytest.mark.parametrize("base", ["ddim", "dpm_solver_pp"])
def test_a_mixed_step_to_clean_data_gives_the_mixed_data_prediction(base, lams, x):
    # the limit of x' = alpha' x0~: x0~ = (x - sigma D) / alpha, and alpha' = 1
    plan = dualfast(VP, grids.at_lams(VP, lams[:3]).to_clean(), base, c=0.0, c_last=0.4)
    seen = {}
    out = plan.run(BED.model(VP), x, callback=lambda i, u: seen.update({i: u}))
    noise = BED.model(VP, "noise")
    before, now = (noise(seen[i], float(plan.t[i])) for i in (1, 2))
    D = 1.4 * now - 0.4 * before
    expected = (seen[2] - plan.sigma[2] * D) / plan.alpha[2]
    bound = rounding(grids.at_lams(VP, lams[:3]), x)
    np.testing.assert_allclose(out, expected, rtol=0, atol=bound)


# schedules and settings


def test_a_ramp_ends_at_its_top(grid):
    found = dualfast(VP, grid, c=ramp(0.6)).settings["c"]
    np.testing.assert_allclose(found, 0.6 * np.arange(7) / 6, rtol=4 * EPS)


def test_a_function_sees_the_steps_levels(grid):
    seen = []
    dualfast(VP, grid, c=lambda i, lams: seen.append((i, lams.tolist())) or 0.0)
    assert seen == [(i, grid.lam.tolist()) for i in range(1, 7)]


SCHEDULES = {"number": 0.3, "rule": "second-order", "ramp": ramp(0.5), "blend": blend(0.4), "C": C}


@pytest.mark.parametrize("c", list(SCHEDULES.values()), ids=list(SCHEDULES))
def test_a_plans_settings_make_it_again_after_a_file(c, grid, tmp_path):
    plan = dualfast(VP, grid, "dpm_solver_pp", order=1, c=c)
    plan.save(tmp_path / "plan.json")
    settings = load(tmp_path / "plan.json").settings
    assert dualfast(VP, grid, **settings).distance(plan) == 0.0


def test_a_sequence_of_coefficients_has_no_finer_grid(grid):
    assert dualfast(VP, grid, c=C).family is None
    for c in (0.3, "second-order", ramp(0.5)):
        assert dualfast(VP, grid, c=c).family(2).nfe == 14


@pytest.mark.usefixtures("own_checks")  # many nodes
def test_a_ramp_is_of_first_order(grid):
    assert order(dualfast(VP, grid, c=ramp(0.75)).family, PARTS).order == 1


def test_any_plan_whose_steps_continue_one_state_can_be_mixed(grid):
    deis = samplers.deis(VP, grid, 1, fit="rho")
    found, weight = mixed(deis, c=0.3), -deis.sigma[3] * math.expm1(grid.lam[3] - grid.lam[2])
    assert found.B[3, 1] - deis.B[3, 1] == pytest.approx(-0.3 * weight, rel=64 * EPS)
    assert found.family(2).nfe == 14


def test_single_precision_is_double_precision_rounded(grid, x):
    plan, model = dualfast(VP, grid, "dpm_solver_pp", c=0.25), BED.model(VP)
    wide = plan.run(model, torch.tensor(x))
    narrow = plan.run(model, torch.tensor(x, dtype=torch.float32))
    assert narrow.dtype == torch.float32
    bound = rounding(grid, x) * EPS32 / EPS
    torch.testing.assert_close(narrow.double(), wide, rtol=0, atol=float(bound))


# hooks: eps is that of the clipped data


def clipped_2m(grid, c, x, clip):
    """data_2m on clip(x0): e is computed again from what was clipped, and that is mixed."""
    steps, before = Steps(grid, c), None
    for i, h in enumerate(steps.h):
        s, t = steps.points[i : i + 2]
        x0 = clip(BED.model(VP, "data")(x, s.t))
        steps.e.append((x - s.alpha * x0) / s.sigma)
        D = steps.e[i] + (c[i] * (steps.e[i] - steps.e[i - 1]) if i else 0.0)
        held = (x - s.sigma * D) / s.alpha
        if before is not None:
            held = held + h / (2 * steps.h[i - 1]) * (x0 - before)
        x, before = t.sigma / s.sigma * x - t.alpha * math.expm1(-h) * held, x0
    return x


def test_the_noise_is_that_of_the_clipped_data_before_it_is_mixed(grid, x):
    how = {"order": 2, "lower_order_final": False}
    plan = dualfast(VP, grid, "dpm_solver_pp", c=C, thresholding=True, **how)
    clip = partial(dynamic_threshold, ratio=0.995, max_value=1.0)
    found, expected = plan.run(BED.model(VP), x), clipped_2m(grid, C, x, clip)
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(grid, x))
    unclipped = dualfast(VP, grid, "dpm_solver_pp", c=C, **how).run(BED.model(VP), x)
    assert np.abs(found - unclipped).max() > 0.01  # the clip acts


def test_a_plan_in_noise_prediction_mixes_the_clipped_noise_too(grid, x):
    hook = (Hook("static_threshold", {"max_value": 0.4}),)
    one, two = (
        replace(dualfast(VP, grid, "dpm_solver_pp", order=1, prediction=p, c=0.4), hooks=hook)
        for p in ("noise", "data")
    )
    bound = rounding(grid, x)
    np.testing.assert_allclose(
        one.run(BED.model(VP), x), two.run(BED.model(VP, "v"), x), rtol=0, atol=bound
    )


def test_guidance_comes_before_the_clip_and_the_mix(grid, x):
    # one model whose output is guided already, and the guided pair: the same run
    free, aware = BED.model(VP), Gaussian([0.5], 0.04).model(VP)
    pair = guided(free, aware, 3.0)
    noise = [m.predicting("noise") for m in (free, aware)]
    one = Model(lambda u, t: -2 * noise[0](u, t) + 3 * noise[1](u, t), VP, "noise")
    plan = dualfast(VP, grid, "dpm_solver_pp", c=0.25, thresholding=True)
    # guidance of 3 is -2 and 3 times the two models, on sums of which the clip bounds what follows
    bound = 5 * rounding(grid, x)
    np.testing.assert_allclose(plan.run(pair, x), plan.run(one, x), rtol=0, atol=bound)


# the library, and real networks


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
@pytest.mark.filterwarnings("ignore:.*algorithm_type:FutureWarning")  # it means to drop the form
@pytest.mark.parametrize("times", [[500, 250, 100], [600, 480, 300, 250, 130, 40]], ids=len)
def test_second_order_ddim_is_the_librarys_multistep_solver(times):
    own = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    own.set_timesteps(timesteps=times)
    path = adapters.convention(own).path
    grid = grids.at_lams(path, -np.log(own.sigmas.double().numpy()))
    plan, model = dualfast(path, grid), Gaussian([1.0], 0.25).model(path, "noise")
    x = torch.linspace(-2.0, 2.0, 7)[:, None]
    y = x
    for i, t in enumerate(own.timesteps):
        y = own.step(model(y, float(plan.t[i])), t, y).prev_sample
    # float32 throughout, levels too; weights on the noises are up to (1 + 2c) / alpha_0
    c = max(plan.settings["c"])
    bound = 16 * EPS32 * len(times) * (1 + 2 * c) * float(x.abs().max() + 1) / plan.alpha[0]
    torch.testing.assert_close(plan.run(model, x), y, rtol=0, atol=bound)
    plain = samplers.ddim(path, grid).run(model, x)
    assert float((plain - y).abs().max()) > 100 * bound


def normal(n, seed=3):
    return torch.randn((n, 1, 8, 8), generator=torch.Generator().manual_seed(seed))


def driven(plan, entry, like, x, labels, guidance):
    """The loop of every pipeline: both halves through the network, guidance, then the step."""
    made = adapters.scheduler(plan, like)
    made.set_timesteps(plan.nfe)
    none = torch.full_like(labels, entry.recipe.null["class_labels"])
    for t in made.timesteps:
        out = entry.network(
            torch.cat([x, x]),
            timestep=t.expand(2 * len(x)),
            class_labels=torch.cat([none, labels]),
        ).sample
        without, with_class = out.chunk(2)
        x = made.step(without + guidance * (with_class - without), t, x).prev_sample
    return x


@pytest.mark.parametrize("name", ["digits-unet", "digits-dit"])
@pytest.mark.parametrize("base", ["ddim", "dpm_solver_pp", "unipc"])
@torch.no_grad()
def test_a_pipelines_loop_on_a_real_network_mixes_after_guidance(name, base):
    entry = zoo.load(name)
    like = {"digits-unet": recipes.ddpm, "digits-dit": recipes.rectified}[name]()
    levels = adapters.grid(like, 4)
    if base == "unipc":  # between finite levels
        levels = grids.log_snr(levels.path, 4)
    plan = dualfast(levels.path, levels, base, c=0.25)
    x, labels = normal(4), torch.arange(4)
    expected = plan.run(entry.guided(2.0), x, class_labels=labels)
    found = driven(plan, entry, like, x, labels, 2.0)
    # the same operations but for the order of the two halves' sums in a batch: float32
    atol = 64 * EPS32 * float(expected.abs().max()) * plan.nfe
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    plain = samplers.SAMPLERS[base](levels.path, levels).run(
        entry.guided(2.0), x, class_labels=labels
    )
    assert float((plain - expected).abs().max()) > 100 * atol


@pytest.mark.parametrize("pipeline", [DDPMPipeline, DDIMPipeline])
def test_a_pipeline_draws_with_the_mix(pipeline):
    entry, like = zoo.load("digits-unet-v"), recipes.cosine()
    levels = adapters.grid(like, 4)
    plan = dualfast(levels.path, levels, "dpm_solver_pp", c=ramp(0.5), thresholding=True)
    pipe = pipeline(entry.network, adapters.scheduler(plan, like))
    pipe.scheduler = adapters.scheduler(plan, like)  # DDIM's own would be made of the first
    pipe.set_progress_bar_config(disable=True)
    seeded = torch.Generator().manual_seed(3)
    images = pipe(2, seeded, num_inference_steps=4, output_type="pt", return_dict=False)[0]
    with torch.no_grad():
        expected = plan.run(entry.model, normal(2))
    assert torch.equal(images, (expected / 2 + 0.5).clamp(0, 1))


@torch.no_grad()
def test_on_a_real_network_a_few_steps_gain():
    """Against 48 steps of the third order, at 5 evaluations on the digits: c = 1/2 beats none."""
    entry = zoo.load("digits-mlp")
    path = entry.model.path
    level = grids.log_snr(path, 5, start=20.0, end=0.02)
    fine = grids.log_snr(path, 48, start=20.0, end=0.02)
    x = 20.0 * normal(16)
    best = samplers.dpm_solver_pp(path, fine, order=3).run(entry.model, x)
    errors = [
        float((dualfast(path, level, c=c).run(entry.model, x) - best).square().mean())
        for c in (0.0, 0.25, 0.5)
    ]
    assert errors[0] > errors[1] > errors[2]


# bad arguments


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"base": "heun"}, "dualfast: base must be one of 'ddim', 'dpm_solver_pp', 'unipc'"),
        ({"order": 2}, "dualfast: a setting of ddim must be one of .*'eta', got 'order'"),
        ({"eta": 1.0}, "dualfast: plan must be deterministic"),
        ({"c": -0.1}, r"dualfast: c must be finite in \[0.0, inf\], got -0.1"),
        ({"c": math.nan}, "dualfast: c must be finite"),
        ({"c": "constant"}, "dualfast: c must be one of 'second-order', got 'constant'"),
        ({"c": [0.0, 0.1]}, "dualfast: c must be of length 7, one a step"),
        ({"c": [0.0, 0.1, 0.1, -1.0, 0.1, 0.1, 0.1]}, "dualfast: c must be finite in"),
        ({"c": lambda i, lams: -1.0}, "dualfast: c must be finite in"),
        ({"c_last": -0.1}, "dualfast: c_last must be finite in"),
        ({"tau": "last"}, "dualfast: tau must be one of 'previous', 'first', got 'last'"),
        ({"tau": 0}, "dualfast: tau must be at least 1, got 0"),
        ({"base": "unipc"}, "dualfast: c must be a number or a schedule on unipc of a higher"),
        ({"base": "dpm_solver_pp", "order": 4}, "dpm_solver_pp: order must be 1, 2 or 3, got 4"),
    ],
)
def test_a_bad_argument_is_named(grid, how, named):
    with pytest.raises(ValueError, match=named):
        dualfast(VP, grid, **how)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"tau": 1.5}, "dualfast: tau must be an integer, got 1.5"),
        ({"c": [[0.1]]}, r"dualfast: c must be a number, got \[\[0.1\]\]"),
        ({"c": lambda i, lams: "much"}, "dualfast: c must be a number, got 'much'"),
    ],
)
def test_an_argument_of_another_type_is_named(grid, how, named):
    with pytest.raises(TypeError, match=named):
        dualfast(VP, grid, **how)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: ramp(-0.1), "ramp: c_max must be finite in"),
        (lambda: blend(-0.1), "blend: w must be finite in"),
        (lambda: blend(1.1), "blend: w must be finite in"),
        (
            lambda: mixed(samplers.heun(EDM, [10.0, 1.0, 0.1]), c=0.2),
            "dualfast: plan must be one whose rows continue one state each, got 'heun, row 2",
        ),
    ],
)
def test_a_bad_schedule_or_plan_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
