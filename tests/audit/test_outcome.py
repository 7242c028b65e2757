"""Exact outcomes against closed forms: products of cosines, universal constants, quantiles."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import paths, samplers
from fewtheory.audit.outcome import BED, DATA, FLOW, POINTS, flow_error, outcome
from fewtheory.plan import grids

EPS = np.finfo(np.float64).eps
VP, EDM = paths.VPLinear(), paths.EDM(1e-6, 1e6)
FULL = {"lower_order_final": False}


def cosines(lam):
    """DDIM's standard deviation over the exact one: angles arctan(rho / s), sheet 00-notation."""
    angle = np.arctan2(np.exp(-np.asarray(lam))[:, None], np.sqrt(DATA.spectrum))
    return np.prod(np.cos(np.diff(angle, axis=0)), axis=0)


@given(gaps=st.lists(st.floats(0.05, 2.0), min_size=1, max_size=8), path=st.sampled_from([VP, EDM]))
@settings(deadline=None, max_examples=30)
def test_ddim_gives_its_product_of_cosines(gaps, path):
    lam = np.append(0.0, np.cumsum(gaps)) * 6.0 / sum(gaps) - 3.0
    found = outcome(samplers.ddim(path, grids.at_lams(path, lam)), len(gaps))
    ratio, (alpha, sigma) = cosines(lam), path.level(float(lam[-1]))
    exact = alpha**2 * DATA.spectrum + sigma**2
    size = 64 * len(lam) * EPS / ratio.min()
    assert abs(found.std / ratio[np.argmin(ratio)] - 1) <= size
    assert abs(found.w2 - np.sqrt(np.sum(exact * (1 - ratio) ** 2))) <= size * np.sqrt(exact.sum())
    kl = 0.5 * np.sum(ratio**2 - 1 - 2 * np.log(ratio))
    assert abs(found.kl - kl) <= size * ratio.size
    assert found.mean <= size * math.exp(3.0)  # a mean is a point mass: exact, of size alpha/sigma
    assert (found.steps, found.nfe) == (len(gaps), len(gaps))


@pytest.mark.parametrize(
    ("name", "chosen", "power", "constant"),
    [  # sheet plan-algebra, C5: std over the exact one is 1 + K h^p whatever the variance
        ("ddim", {}, 1, -1 / 4),
        ("dpm_solver_pp", {"order": 2, **FULL}, 2, 1 / 16),
        ("dpm_solver_pp", {"order": 2, "solver_type": "taylor", **FULL}, 2, 5 / 48),
        ("dpm_solver_pp", {"order": 3, "repaired": False, **FULL}, 2, 1 / 48),
        ("unipc", {"order": 1}, 2, -3 / 16),
    ],
)
def test_the_universal_constants_are_those_of_the_sheet(name, chosen, power, constant):
    found = []
    for h in (1 / 8, 1 / 16):  # from lam -10 to 10: outside, rho^2 / c or c / rho^2 is below 1e-6
        grid = grids.at_lams(EDM, np.linspace(-10.0, 10.0, round(20 / h) + 1))
        plan = samplers.SAMPLERS[name](EDM, grid, **chosen)
        found.append((outcome(plan, plan.nfe).std - 1) / h**power)
    # twice the second less the first leaves O(h^2), and the warm-up an error of the first step
    assert abs(2 * found[1] - found[0] - constant) <= 0.02 * abs(constant)


@pytest.mark.parametrize(("name", "sign"), [("ddim", -1), ("dpm_solver_pp", 1)])
def test_the_worst_standard_deviation_is_told_on_either_side(name, sign):
    plan = samplers.SAMPLERS[name](EDM, grids.at_lams(EDM, np.linspace(-8.0, 8.0, 65)))
    ratio = plan.law(DATA).std_ratio
    found = outcome(plan, 64)
    assert np.all(sign * (ratio - 1) > 0)  # the signs of -1/4 and 1/16
    assert found.std == float(ratio[np.argmax(sign * ratio)])


@pytest.mark.parametrize("name", ["ddim", "dpm_solver_pp", "heun", "unipc"])
@pytest.mark.parametrize("path", [VP, paths.RectifiedFlow()], ids=["vp", "flow"])
def test_the_flow_error_is_that_of_a_run_from_quantiles(name, path):
    plan = samplers.SAMPLERS[name](path, grids.at_lams(path, np.linspace(-3.0, 2.5, 7)))
    q = (np.arange(POINTS) + 0.5)[:, None] / POINTS
    start, end = (BED.at(FLOW, FLOW.t_at(v)).quantile(q) for v in (-3.0, 2.5))
    moved = plan.run(BED.model(FLOW, "data"), start)  # plans run on the model's path
    wanted = math.sqrt(np.mean((moved - end) ** 2))
    found = outcome(plan, 6).flow
    assert found is not None
    # roundings of the state grow by the law's curvature, 2.5 / 0.3^2, once a node
    assert abs(found - wanted) <= 64 * plan.nodes * EPS * 2.5 / 0.3**2


def test_the_flow_error_falls_with_the_order():
    errors = [
        flow_error(samplers.dpm_solver_pp(VP, grids.at_lams(VP, lam), 2, **FULL), 1, [len(lam) - 1])
        for lam in (np.linspace(-3.0, 2.5, n + 1) for n in (32, 64))
    ]
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.3


def test_exact_states_before_a_node_leave_its_local_error():
    errors = []
    for n in (32, 64):
        plan = samplers.ddim(VP, grids.at_lams(VP, np.linspace(-3.0, 2.0, n + 1)))
        errors.append(flow_error(plan, n // 2, [n // 2]))
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.15  # one step of first order: h^2


def test_errors_at_several_nodes_are_one_root_mean_square():
    plan = samplers.ddim(VP, grids.at_lams(VP, np.linspace(-3.0, 2.0, 9)))
    each = [flow_error(plan, 1, [i]) for i in (4, 8)]
    assert abs(flow_error(plan, 1, [4, 8]) - math.hypot(*each) / math.sqrt(2)) <= 64 * EPS


def test_a_stochastic_sampler_has_a_law_and_no_flow():
    grid = grids.at_lams(VP, np.linspace(-3.0, 2.5, 9))
    found = outcome(samplers.ddim(VP, grid, eta=1.0), 8)
    assert found.flow is None
    assert found.w2 == samplers.ddim(VP, grid, eta=1.0).law(DATA).w2
    assert found.w2 > 0


@pytest.mark.parametrize("given", [1.0, 20.0, 25.0])
def test_the_start_is_compared_with_the_marginal_law(given):
    grid = grids.at_lams(EDM, np.linspace(-math.log(20.0), 2.0, 5))
    found = outcome(samplers.ddim(EDM, grid), 4, given)
    r = given**2 / (1 + 20.0**2)  # of two centred Gaussians: (r - 1 - log r) / 2 nats
    assert found.start == pytest.approx(0.5 * (r - 1 - math.log(r)), rel=1e-9, abs=1e-15)


def test_on_a_variance_preserving_path_unit_noise_is_no_mismatch():
    found = outcome(samplers.ddim(VP, grids.at_lams(VP, [-3.0, 0.0, 2.0])), 2, 1.0)
    assert found.start is not None
    assert abs(found.start) <= 4 * EPS


def test_nothing_is_said_of_a_start_that_is_not_told():
    assert outcome(samplers.ddim(VP, grids.at_lams(VP, [-3.0, 0.0, 2.0])), 2).start is None
