"""Numbers that were computed independently of this package: tests/data/SLUG.json.

A tolerance is relative to the expected number, absolute where that is 0.
"""

import json
import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.model import Level, Model, conversion
from fewtheory.plan import grids
from fewtheory.plan.hooks import dynamic_threshold
from fewtheory.plan.order import defect_moments
from fewtheory.plan.phi import phi
from fewtheory.testbeds import Gaussian

VP, EDM = paths.VPLinear(), paths.EDM()
WIDE = paths.EDM(1e-7, 1e7)
dpm = partial(samplers.dpm_solver_pp, lower_order_final=False)
NOISE = {"prediction": "noise"}
PHI = {"solver_type": "taylor"}
SINGLE = {"method": "singlestep"}
ANSWERS = {}


def answers(slug, start):
    """Registers the function that computes what the entry whose `what` starts so expects."""

    def register(function):
        ANSWERS[slug, start] = function
        return function

    return register


def entries():
    for slug in ("plan-algebra", "dpm-solver-pp", "deis"):
        file = Path(__file__).parents[1] / "data" / f"{slug}.json"
        for entry in json.loads(file.read_text()):
            yield pytest.param(slug, entry, id=f"{slug}: {entry['what'][:60]}")


def compare(found, expected, tolerance):
    """The same nesting, each number within the tolerance of the expected one."""
    if isinstance(expected, dict):
        assert set(found) == set(expected)
        for key in expected:
            compare(found[key], expected[key], tolerance)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            compare(one, two, tolerance)
    else:
        assert abs(found - expected) <= tolerance * (abs(expected) or 1.0)


@pytest.mark.parametrize(("slug", "entry"), list(entries()))
def test_an_independent_computation_gives_the_same(slug, entry):
    functions = [
        f for (s, start), f in ANSWERS.items() if s == slug and entry["what"].startswith(start)
    ]
    assert len(functions) == 1
    compare(functions[0](**entry["inputs"]), entry["expected"], entry["tolerance"])


def last_row(plan):
    tab = plan.canonical()
    return [tab.a[-1], *tab.B[-1]]


@answers("plan-algebra", "canonical tableau (y = x/alpha, x0 form) of DDIM")
def ddim_tableau(lams):
    tab = samplers.ddim(VP, grids.at_lams(VP, lams)).canonical()
    return {"a": tab.a.tolist(), "B": tab.B.tolist()}


@answers("plan-algebra", "canonical tableau of DPM-Solver++(2M)")
def tableau_2m(lams, node_lams):
    plan = dpm(VP, grids.at_lams(VP, lams), 2)
    assert plan.lam.tolist() == node_lams
    return last_row(plan)


@answers("plan-algebra", "canonical tableau of EDM Heun")
def tableau_heun(lams, node_lams):
    plan = samplers.heun(EDM, grids.at_lams(EDM, lams))
    np.testing.assert_allclose(plan.lam, node_lams, rtol=1e-15)
    return last_row(plan)


@answers("plan-algebra", "canonical tableau of UniPC-2 bh2")
def tableau_unipc(lams, node_lams):
    plan = samplers.unipc(VP, grids.at_lams(VP, lams), 2)
    assert plan.lam.tolist() == node_lams
    return last_row(plan)


@answers("plan-algebra", "exact output law")
def law_of_sde_2m(lams, c, mean):
    law = dpm(VP, grids.at_lams(VP, lams), 2, eta=1.0).law(Gaussian([mean], c))
    return {"mean": law.mean[0], "var": law.variance[0], "KL": law.kl, "W2": law.w2}


@answers("plan-algebra", "phi_k(z)")
def phis(z):
    return [[phi(k, v) for k in range(5)] for v in z]


@answers("plan-algebra", "x0, eps, score, v")
def predictions(lam, x, eps):
    level = Level(*VP.level(lam))
    names = {"x0": "data", "score": "score", "v": "v"}
    pairs = {key: conversion("noise", name, level) for key, name in names.items()}
    return {key: p * x + q * eps for key, (p, q) in pairs.items()}


RULES = {
    "DDIM": samplers.ddim,
    "dpmpp_2M_midpoint": partial(dpm, order=2),
    "dpmpp_2M_phi": partial(dpm, order=2, **PHI),
    "dpm_2M_midpoint": partial(dpm, order=2, **NOISE),
    "dpmpp_2S_midpoint": partial(dpm, order=2, **SINGLE),
}


@answers("plan-algebra", "universal Gaussian error constants")
def constants():
    """K is a rational of small denominator: the limit h -> 0 tells which one."""
    found = {}
    for name, make in RULES.items():
        errors = {}
        for n in (64, 128, 256, 512):
            plan = make(WIDE, grids.at_lams(WIDE, np.linspace(-13.0, 15.0, n + 1)))
            errors[28 / n] = float(plan.law(Gaussian([0.0], 0.25)).std_ratio[0] - 1)
        h, e = np.array(list(errors)), np.array(list(errors.values()))
        power = round(math.log2(e[-2] / e[-1]))
        column = e / h**power
        for k in range(1, column.size):  # Richardson: the error is a series in h
            last, column = column[-1], (2**k * column[1:] - column[:-1]) / (2**k - 1)
        assert abs(column[0] - last) < 1 / 96**2  # two rationals below 1/96 are further apart
        found[name] = [float(Fraction(float(column[0])).limit_denominator(96)), power]
    return found


def step_weights(lams, order, **settings):
    """The x weight and the model weights, newest first, of the last step, on the VP path."""
    plan = dpm(VP, grids.at_lams(VP, lams), order, **settings)
    return plan.P[-1, -2], plan.B[-1, ::-1][:order].tolist()


def multistep_weights(prediction, lam_m2, lam_m1, lam_0, lam_1):
    weights = partial(step_weights, [lam_m2, lam_m1, lam_0, lam_1], prediction=prediction)
    return {
        "x": weights(2)[0],
        "m2_midpoint": weights(2)[1],
        "m2_phi": weights(2, **PHI)[1],
        "m3_repaired": weights(3)[1],
        "m3_published": weights(3, repaired=False)[1],
    }


answers("dpm-solver-pp", "DPM-Solver++ (data): x weight")(partial(multistep_weights, "data"))
answers("dpm-solver-pp", "DPM-Solver (noise): x weight")(partial(multistep_weights, "noise"))


@answers("dpm-solver-pp", "SDE-DPM-Solver++(2M)")
def sde_weights(lams):
    plan = dpm(VP, grids.at_lams(VP, lams), 2, eta=1.0)
    x, midpoint = step_weights(lams, 2, eta=1.0)
    return {
        "x": x,
        "midpoint": midpoint,
        "phi": step_weights(lams, 2, eta=1.0, **PHI)[1],
        "noise": plan.C[-1, -1],
    }


@answers("dpm-solver-pp", "defect moments")
def moments(h, r0, r1):
    grid = grids.at_lams(VP, [-(r0 + r1) * h, -r0 * h, 0.0, h])
    two, published, repaired = (
        dpm(VP, grid, 2),
        dpm(VP, grid, 3, repaired=False),
        dpm(VP, grid, 3),
    )
    return {
        "2M_midpoint_R1_R2": defect_moments(two, 3)[1:3].tolist(),
        "3M_published_R2": defect_moments(published, 3)[2],
        "3M_repaired_R3": defect_moments(repaired, 3, count=4)[3],
    }


@answers("dpm-solver-pp", "one-step amplification")
def amplification(h, gamma):
    frozen = Model(lambda x, t: gamma * x, EDM, "data")
    one = grids.at_lams(EDM, [0.0, h])
    plans = [dpm(EDM, one, 1), dpm(EDM, one, 2, **SINGLE), dpm(EDM, one, 2, **SINGLE, **NOISE)]
    factors = [float(plan.run(frozen, np.ones((1, 1)))[0, 0]) for plan in plans]
    # z^2 = (p + b_1 gamma) z + b_0 gamma leaves the unit circle through z = -1
    plan = dpm(EDM, grids.at_lams(EDM, [0.0, h, 2 * h]), 2)
    p, (b0, b1) = plan.P[2, 1], plan.B[2]
    return {"factors": factors, "gamma_min_2M": -(1 + p) / (b1 - b0)}


@answers("dpm-solver-pp", "output variance / exact variance")
def variance_ratios(c, lam0, lam1, N):
    grid, bed = grids.at_lams(VP, np.linspace(lam0, lam1, N + 1)), Gaussian([0.0], c)
    plans = {
        "++2M": dpm(VP, grid, 2),
        "++3M repaired": dpm(VP, grid, 3),
        "++2S (2N evaluations)": dpm(VP, grid, 2, **SINGLE),
        "SDE++1": dpm(VP, grid, 1, eta=1.0),
        "SDE++2M midpoint": dpm(VP, grid, 2, eta=1.0),
    }
    return {name: float(plan.law(bed).std_ratio[0] ** 2) for name, plan in plans.items()}


@answers("dpm-solver-pp", "dynamic thresholding")
def thresholded(x, ratio, max_val):
    return dynamic_threshold(np.array([x]), ratio, max_val)[0].tolist()


def ab_weights(nodes, target, variable):
    """C_j, newest first: the weights of y on the noise predictions in a multistep step."""
    fit = {"logrho": "log_rho"}.get(variable, variable)
    plan = samplers.deis(VP, [*nodes[::-1], target], len(nodes) - 1, fit=fit)
    return (plan.B[-1, ::-1] / plan.alpha[-1]).tolist()


for fitted in ("t", "rho", "logrho"):
    answers("deis", f"{fitted}-AB coefficients")(ab_weights)


@answers("deis", "DDIM step coefficients")
def ddim_step(t, s):
    plan = samplers.ddim(VP, [t, s]).predicting("noise")
    return [plan.P[1, 0], plan.B[1, 0]]


@answers("deis", "one rhoRK step on Gaussian data")
def rho_rk_step(c, lam0, lam1):
    """y = x / alpha from y = 1: the plan's linear factor, and the flow's."""
    grid, bed = grids.at_lams(VP, [lam0, lam1]), Gaussian([0.0], c)
    start = np.array([[VP.level(lam0)[0]]])
    found = [
        float(samplers.runge_kutta(VP, grid, method=m, time="rho").run(bed.model(VP), start)[0, 0])
        for m in ("heun", "kutta3")
    ]
    exact = float(bed.flow(VP)(start, VP.t_at(lam0), VP.t_at(lam1))[0, 0])
    return [v / VP.level(lam1)[0] for v in (*found, exact)]


@answers("deis", "linear factor x_0/x_T of t-AB")
def linear_factor(c, N, tT, t0):
    grid, model = grids.power(VP, N, start=tT, end=t0), Gaussian([0.0], c).model(VP)
    plans = [samplers.deis(VP, grid, r) for r in range(4)]
    return [float(plan.run(model, np.ones((1, 1)))[0, 0]) for plan in plans]
