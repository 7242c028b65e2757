"""The order of a sampler from its coefficients: what each states of itself, and known traps."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.plan import VARIANTS, Plan, Trace, grids, order
from fewtheory.plan.order import defect_moments
from fewtheory.plan.phi import phi

EPS = np.finfo(np.float64).eps
VP, EDM = paths.VPLinear(), paths.EDM()
pytestmark = pytest.mark.usefixtures("own_checks")  # plans of 512 nodes: the type checker is slow
PARTS = (16, 32, 64)  # up to 256 steps: enough to tell orders apart, and faster than the default


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_the_order_that_a_sampler_states_is_the_one_found(variant):
    path = EDM if variant.own_time else VP
    plan = variant(path, grids.at_lams(path, np.linspace(-4.0, 3.0, 5)))
    report = order(plan.family, PARTS)
    assert report.order == variant.order
    assert report.kind == ("weak" if variant.stochastic else "ode")


def test_a_plan_finds_its_order_itself(lams):
    assert samplers.ddim(VP, grids.at_lams(VP, lams)).order().order == 1


@pytest.mark.parametrize("kind", [paths.EDM, paths.RectifiedFlow])
@pytest.mark.parametrize(("method", "expected"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_runge_kutta_has_its_order_in_the_time_of_every_path(kind, method, expected):
    path = kind()
    grid = grids.at_lams(path, np.linspace(-2.0, 2.0, 5))
    plan = samplers.runge_kutta(path, grid, method=method)
    assert order(plan.family, PARTS).order == expected


def test_unequal_steps_keep_the_order():
    grid = grids.at_lams(VP, [-2.5, -2.0, -0.5, 0.0, 1.5, 2.0])
    assert samplers.dpm_solver_pp(VP, grid, 2, lower_order_final=False).order().order == 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [  # sheet dpm-solver-pp, C2: the stage condition forces r_2 = 2/3, whatever the quadrature says
        ({"ratios": (1 / 3, 2 / 3), "solver_type": "taylor"}, 3),
        ({"ratios": (1 / 2, 1.0), "solver_type": "taylor"}, 2),
        ({"ratios": (1 / 2, 1.0)}, 2),
        ({"ratios": (1 / 4, 1 / 2), "solver_type": "taylor"}, 2),
    ],
)
def test_stages_are_seen_where_quadrature_is_not_enough(settings, expected):
    plan = samplers.dpm_solver_pp(
        VP, grids.at_lams(VP, np.linspace(-3, 3, 5)), 3, method="singlestep", **settings
    )
    report = order(plan.family, PARTS)
    assert report.order == expected
    if settings == {"ratios": (1 / 2, 1.0), "solver_type": "taylor"}:
        assert report.slopes["quadrature"] > 3.5
        assert report.slopes["coupling"] < 2.5


@pytest.mark.parametrize(("nfe", "expected"), [(48, 2), (49, 2), (50, 3)])
def test_a_closing_first_order_step_costs_an_order(nfe, expected):
    # sheet dpm-solver-pp, C3: NFE 0, 1, 2 mod 3 of the "fast" schedule
    def family(k):
        orders = samplers.fast_orders(nfe * k if nfe % 3 == 0 else nfe + 48 * (k - 1))
        grid = grids.at_lams(VP, np.linspace(-3, 0.5, len(orders) + 1))
        return samplers.dpm_solver_pp(VP, grid, 3, method="singlestep", orders=orders)

    assert order(family, (1, 2, 4)).order == expected


def test_a_weight_that_is_wrong_costs_the_order():
    def family(parts):
        plan = samplers.dpm_solver_pp(VP, grids.at_lams(VP, np.linspace(-3, 3, 4 * parts + 1)), 2)
        return replace(plan, B=1.01 * plan.B)  # no longer exact on point masses

    assert order(family).order == 0


def test_wrong_noise_costs_the_weak_order():
    def family(parts):
        plan = samplers.ddim(VP, grids.at_lams(VP, np.linspace(-3, 2, 4 * parts + 1)), eta=1.0)
        return replace(plan, C=1.1 * plan.C)

    assert order(family).order == 0


def test_the_steps_of_the_report_are_those_of_its_plans():
    plan = samplers.ddim(VP, grids.at_lams(VP, np.linspace(-3, 3, 5)))
    assert order(plan.family, (2, 4, 8)).steps == (8, 16, 32)


def test_a_plan_without_a_family_asks_for_one(lams):
    plan = replace(samplers.ddim(VP, grids.at_lams(VP, lams)), family=None)
    with pytest.raises(ValueError, match=r"Plan.order: family must be given for 'ddim'"):
        plan.order()
    assert (
        plan.order(
            lambda k: samplers.ddim(VP, grids.at_lams(VP, np.linspace(-2, 2, 4 * k + 1)))
        ).order
        == 1
    )


def exact_flow(parts):
    """The exact flow, as far as a plan can be: a step so fine that only rounding is left."""
    n = 4 * parts
    lam = np.linspace(0.0, 1e-9, n + 1)
    return samplers.dpm_solver_pp(VP, grids.at_lams(VP, lam), 2, lower_order_final=False)


def test_an_order_that_drowns_in_rounding_is_refused():
    with pytest.raises(ValueError, match="order: family must be away from rounding"):
        order(exact_flow)


def test_the_order_of_elementwise_coefficients_is_refused(lams):
    plan = samplers.ddim(VP, grids.at_lams(VP, lams))
    wide = replace(plan, B=plan.B[..., None] * np.ones(2))
    with pytest.raises(ValueError, match="order: plan must be free of elementwise coefficients"):
        order(lambda k: wide)


@pytest.mark.parametrize("h", [0.4, 0.1])
def test_the_moments_of_2m_are_those_of_the_sheet(h):
    r = 0.8
    plan = samplers.dpm_solver_pp(
        VP, grids.at_lams(VP, [-r * h, 0.0, h]), 2, lower_order_final=False
    )
    R = defect_moments(plan, 2) * plan.alpha[2] / plan.alpha[2]
    # sheet dpm-solver-pp, C1: R_1 = 1 - e^{-h} - h (1 + e^{-h}) / 2
    assert R[0] == pytest.approx(0, abs=16 * EPS)
    assert R[1] == pytest.approx(1 - math.exp(-h) - h * (1 + math.exp(-h)) / 2, abs=32 * EPS)
    assert R[2] == pytest.approx(-(h**3) * (3 * r + 2) / 12, rel=h)  # + O(h^4)


@pytest.mark.parametrize("repaired", [True, False])
def test_the_published_3m_misses_half_of_the_second_moment(repaired):
    h = 0.3
    plan = samplers.dpm_solver_pp(
        VP, grids.at_lams(VP, [-0.63, -0.24, 0.0, h]), 3, repaired=repaired, lower_order_final=False
    )
    expected = 0.0 if repaired else -(h**3) * phi(3, -h) / 2  # -mu_2 / (2 alpha_t)
    assert defect_moments(plan, 3)[2] == pytest.approx(expected, abs=64 * EPS)


def test_a_row_of_several_states_needs_a_base(lams):
    grid = grids.at_lams(VP, lams[:3])
    trace = Trace(samplers.ddim, VP, grid)
    x, m = trace.evaluate(trace.start, grid[0])
    y, n = trace.evaluate(0.5 * x + m, grid[1])
    plan: Plan = trace.plan(0.5 * x + 0.5 * y + n)
    with pytest.raises(ValueError, match="defect_moments: base must be given"):
        defect_moments(plan, 2)
    assert defect_moments(plan, 2, base=0).shape == (3,)
