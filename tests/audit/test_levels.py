"""Levels told and believed: what the network hears, what the rows betray, and where they part."""

import functools
import itertools
import math

import diffusers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import paths, samplers
from fewtheory.adapters.diffusers import convention, scheduler
from fewtheory.audit.levels import meaning
from fewtheory.audit.probe import probe
from fewtheory.audit.recovered import Recovered, recover
from fewtheory.audit.subject import Told, subject
from fewtheory.model import PREDICTIONS, Level, conversion
from fewtheory.plan import grids

EPS = np.finfo(np.float64).eps
EDM = paths.EDM()
LAM = np.array([-2.5, -2.0, -1.2, -0.7, 0.2, 0.6, 1.3, 2.0])
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
    pytest.mark.usefixtures("one_thread"),
]

LIKE = {  # every kind of path and of prediction that a scheduler can ask for
    "table, noise": lambda: diffusers.DDIMScheduler(),
    "table, v": lambda: diffusers.DDIMScheduler(prediction_type="v_prediction"),
    "table, data": lambda: diffusers.DDIMScheduler(prediction_type="sample"),
    "flow matching": lambda: diffusers.FlowMatchEulerDiscreteScheduler(),
    "EDM": lambda: diffusers.EDMEulerScheduler(),
    "EDM, v": lambda: diffusers.EDMEulerScheduler(prediction_type="v_prediction"),
}
NAMES = (  # a family each; two that are not exact on points on every path, and two that draw
    "DDIM",
    "Heun",
    "tAB2-DEIS",
    "DPM-Solver++(3M), repaired",
    "UniPC-2 (bh2)",
    "SDE-DPM-Solver++(2M)",
    "SDE-DPM-Solver(2M), noise",
    "EDM stochastic",
)
CHOSEN = [v for v in samplers.VARIANTS if v.name in NAMES]


@functools.cache
def like(label):
    """A scheduler whose network is asked, and what it expects."""
    made = LIKE[label]()
    return made, convention(made)


@functools.cache
def recovered(label, name):
    """(the plan of a variant, the same taken apart as a scheduler for this network)."""
    asked, told = like(label)
    plan = next(v for v in CHOSEN if v.name == name)(told.path, grids.at_lams(told.path, LAM))
    judged = subject(lambda: scheduler(plan, asked))
    return plan, recover(judged, plan.nfe, told)


def roundings(plan):
    """The largest error of rows of these nodes: a rounding a term, and x_0 = (u - ..) / alpha."""
    return 8 * plan.nodes * EPS / plan.alpha.min() / plan.sigma[plan.sigma > 0].min()


every_network = pytest.mark.parametrize("label", LIKE)
chosen = pytest.mark.parametrize("variant", CHOSEN, ids=lambda v: v.name)


@every_network
@chosen
def test_a_plan_is_recovered_from_its_scheduler(label, variant):
    plan, found = recovered(label, variant.name)
    nodes = np.append(plan.evaluated, True)
    first = np.flatnonzero(nodes)[0]  # EDM's first churn comes before the first call
    mine, theirs = found.plan.predicting("data").tableau(), plan.predicting("data").tableau()
    B = theirs.B[nodes][:, nodes[:-1]]
    size = roundings(plan) * max(1.0, np.abs(B).max())
    assert np.abs(found.handed.lam - plan.lam[nodes][:-1]).max() <= size
    assert np.abs(mine.B - B).max() <= size
    assert np.abs(mine.a - theirs.a[nodes] / theirs.a[first]).max() <= size
    ours, own = mine.C @ mine.C.T, theirs.C[nodes] @ theirs.C[nodes].T
    if first == 0:  # up to a rotation of the noises
        assert np.abs(ours - own).max() <= size * max(1.0, np.abs(own).max())


@every_network
@chosen
def test_a_sampler_that_is_exact_on_points_believes_in_the_levels_that_it_tells(label, variant):
    plan, found = recovered(label, variant.name)
    slopes = variant.sampler in ("euler", "heun", "runge_kutta") and variant.own_time
    if (slopes and label.startswith("table")) or not variant.point_exact:  # alpha, sigma not linear
        assert np.abs(found.off).max() > 1e-3  # the sheets' point_exact=False
        return
    nodes = np.append(plan.evaluated, True)
    size = roundings(plan)
    assert np.abs(found.believed.alpha - plan.alpha[nodes]).max() <= size
    assert np.abs(found.believed.sigma - plan.sigma[nodes]).max() <= size * plan.sigma.max()
    assert np.abs(found.off).max() <= size / plan.sigma.min()


@chosen
def test_with_a_data_prediction_the_beliefs_are_the_plans_own(variant):
    plan, found = recovered("table, data", variant.name)
    if variant.sampler == "edm_stochastic":  # its first row is left out
        return
    alpha, sigma = plan.believed_levels()
    assert np.abs(found.believed.alpha - alpha).max() <= roundings(plan)
    assert np.abs(found.believed.sigma - sigma).max() <= roundings(plan) * sigma.max()


@given(
    prediction=st.sampled_from([p for p in PREDICTIONS if p != "velocity"]), t=st.floats(0.01, 0.99)
)
@settings(deadline=None, max_examples=60)
def test_the_meaning_of_a_prediction_is_what_makes_x_0_of_it(prediction, t):
    path = paths.RectifiedFlow()
    level = Level.at(path, t)
    A, E = meaning(Told(path, prediction), path.lam(t))
    p, q = conversion(prediction, "data", level)
    size = 16 * EPS * (abs(p) + abs(q * A) + abs(q * E) + 1) / level.alpha / level.sigma
    assert abs(p * level.alpha + q * A - 1) <= size
    assert abs(p * level.sigma + q * E) <= size


@pytest.mark.parametrize("sign", [1, -1])
@given(sigma=st.floats(0.01, 80.0), s=st.floats(0.1, 2.0))
@settings(deadline=None, max_examples=60)
def test_the_output_of_an_edm_network_gives_x_0_through_its_preconditioning(sign, sigma, s):
    A, E = meaning(Told(EDM, "data", s, sign), -math.log(sigma))
    total = sigma**2 + s**2
    skip, out = s**2 / total, sign * sigma * s / math.sqrt(total)
    size = 64 * EPS * (1 + sigma) * (1 + 1 / s) ** 2  # of lam and back, and of 1 - c_skip
    assert abs(skip + out * A - 1) <= size / sigma
    assert abs(skip * sigma + out * E) <= size * sigma


# where they part


def euler(model, x, steps, wrong=1.0, at=2):
    """Euler's method in sigma from 8; one call is told another sigma."""
    sigma = np.geomspace(8.0, 0.25, steps + 1).tolist()
    for i, (s, t) in enumerate(itertools.pairwise(sigma)):
        x = x + (t - s) * model(x, s * wrong if i == at else s)
    return x


def of(function, steps, path=EDM, **chosen):
    """A function taken apart."""
    judged = subject(function, chosen, path=path, prediction="noise")
    return recover(judged, steps, judged.told)


def test_a_wrong_time_is_told_and_not_believed():
    found = of(euler, 5, wrong=1.25)
    sigma = np.geomspace(8.0, 0.25, 6)
    told = sigma[:-1] * [1, 1, 1.25, 1, 1]
    assert np.abs(found.handed.sigma / told - 1).max() <= 4 * EPS
    assert np.abs(found.believed.sigma / sigma - 1).max() <= 64 * EPS * 8 / 0.25
    assert np.abs(found.off - [0, 0, math.log(1.25), 0, 0]).max() <= 64 * EPS * 8 / 0.25
    assert np.abs(found.off_entries - [0, 0, -0.25 * sigma[2], 0, 0]).max() <= 64 * EPS * 8 / 0.25


def test_a_time_beyond_the_path_has_no_level():
    found = of(euler, 3, path=paths.EDM(0.002, 4.0))
    assert np.isnan(found.handed.alpha).tolist() == [True, False, False]
    assert not found.sound


def test_levels_can_be_taken_in_part():
    found = of(euler, 4)
    part = found.believed[1:3]
    assert np.array_equal(part.sigma, found.believed.sigma[1:3])
    assert np.array_equal(part.lam, -np.log(part.sigma))


def test_the_clean_end_has_an_infinite_lam():
    def to_clean(model, x, steps):
        return x - 8.0 * model(x, 8.0)

    found = of(to_clean, 1)
    assert found.believed.lam.tolist() == [-math.log(8.0), math.inf]
    assert found.believed.sigma[-1] == 0.0


def test_an_input_that_is_scaled_first_has_the_same_levels():
    def scaled(model, x, steps):
        return euler(model, 8.0 * x, steps)

    found = of(scaled, 4)
    assert np.abs(found.believed.sigma / np.geomspace(8.0, 0.25, 5) - 1).max() <= 64 * EPS * 32


# what follows


def test_a_call_that_never_reaches_the_output_is_dead():
    def idle(model, x, steps):
        for i in range(steps):
            m = model(x, float(steps - i))
            x = x - m if i not in (1, steps - 1) else x
        return x

    assert of(idle, 5).dead == [1, 4]
    assert of(euler, 5).dead == []


def test_a_run_is_sound_where_it_is_linear_finite_and_its_network_known():
    def clipped(model, x, steps):
        return np.clip(euler(model, x, steps), -1, 1)

    def broken(model, x, steps):
        return euler(model, x, steps) + (np.nan if steps == 3 else 0.0)

    assert of(euler, 3).sound
    assert not of(clipped, 3).sound
    assert of(broken, 2).sound
    assert not of(broken, 3).finite
    assert not of(broken, 3).sound
    judged = subject(euler, path=EDM)
    assert not Recovered(3, probe(judged, 3), None).sound


def test_a_plan_tells_its_own_levels():
    def ddim(steps):
        return samplers.ddim(EDM, grids.log_snr(EDM, steps), eta=1.0)

    judged = subject(ddim)
    found, plan = recover(judged, 6, judged.told), ddim(6)
    assert np.array_equal(found.handed.sigma, plan.sigma[:-1])
    assert np.abs(found.believed.sigma / plan.sigma - 1).max() <= 64 * EPS
