"""The audit from outside: what a user calls, and what they get."""

from __future__ import annotations

import functools
import itertools
import json

import diffusers
import numpy as np
import pytest
import torch

import fewtheory as ft
from fewtheory import audit, samplers
from fewtheory.audit.case import Case
from fewtheory.audit.mutants import MUTANTS
from fewtheory.audit.order_checks import whole_order
from fewtheory.audit.outcome import DATA
from fewtheory.audit.subject import subject
from fewtheory.paths import RectifiedFlow, VPLinear
from fewtheory.plan import grids

pytestmark = [
    pytest.mark.usefixtures("own_checks"),  # many nodes: the type checker is slow
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
]

conformance = functools.partial(audit.conformance, every=10)  # 60 in real life
PUBLISHED = {"solver_order": 3}


@pytest.fixture(scope="module")
def published():
    """The third-order multistep rule as diffusers has it."""
    return conformance(diffusers.DPMSolverMultistepScheduler, (8, 16), PUBLISHED)


@pytest.fixture(scope="module")
def ddim():
    return conformance(diffusers.DDIMScheduler, (8,), {"clip_sample": False})


def test_the_third_order_of_diffusers_is_a_second(published):
    """Sheet plan-algebra, audit 1: named 3, and 2 by the algebra and by measurement."""
    order = published.record()["order"]
    assert (order["named"], order["algebra"], round(order["measured"])) == (3, 2, 2)
    assert not published.ok


def test_the_finding_names_the_moment_the_steps_and_the_repaired_weights(published):
    found = next(f for f in published.findings if f.check == "order")
    assert found.what == "its step is of order 2, not 3 (solver_order)"
    assert found.where == "steps 3 to 49 of 50"  # all but the warm-up and the last, to sigma = 0
    assert "the weight on the second derivative is 0.500 of what the step needs" in found.evidence
    assert "should be" in found.repair


def test_the_published_rule_is_recognised(published):
    twin = published.twins[0]
    assert twin.call == "dpm_solver_pp(order=3, repaired=False)"
    assert twin.difference < 1e-8


def test_the_json_has_the_agreed_fields(published):
    record = json.loads(published.to_json())
    assert {"named", "algebra", "measured"} <= set(record["order"])
    assert all({"what", "where", "evidence", "repair"} <= set(f) for f in record["findings"])
    assert record["subject"]["settings"] == PUBLISHED
    assert [o["steps"] for o in record["outcomes"]] == [8, 16]


def test_the_text_says_what_the_record_says(published):
    text = str(published)
    for finding in published.findings:
        assert {finding.what, finding.evidence} <= {
            line.strip().removeprefix(word).strip()
            for line in text.splitlines()
            for word in ("DEFECT", "NOTE", "evidence")
        }
    assert text.splitlines()[0].startswith(
        "DPMSolverMultistepScheduler(solver_order=3)  [diffusers"
    )


def test_a_sampler_without_defects_passes(ddim):
    assert ddim.ok
    assert ddim.order.algebra == 1
    assert (ddim.twins[0].call, ddim.twins[0].whole) == ("ddim()", True)


def test_its_exact_outcome_is_that_of_the_packages_own_plan(ddim):
    """The eight levels of DDIM's leading timesteps, then sigma = 0."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    grid = ft.adapters.diffusers.grid(scheduler, 8)
    law = samplers.ddim(grid.path, grid).law(DATA)
    assert ddim.outcomes[0].w2 == pytest.approx(law.w2, rel=1e-5)  # its table is float32 there


def test_a_scheduler_object_a_factory_and_a_class_are_the_same():
    settings = {"clip_sample": False}
    for factory, given in (
        (diffusers.DDIMScheduler, settings),
        (diffusers.DDIMScheduler(**settings), None),
        (lambda: diffusers.DDIMScheduler(**settings), None),
    ):
        report = conformance(factory, (8,), given)
        assert (report.name, report.ok, report.order.algebra) == ("DDIMScheduler", True, 1)


def euler(model, x, steps):
    """Flow matching's sampler, as anybody writes it."""
    times = np.linspace(1, 0, steps + 1)
    for s, t in itertools.pairwise(times):
        x = x + (t - s) * model(x, s)
    return x


def test_a_function_of_ones_own_is_judged_and_recognised():
    report = conformance(euler, (8,), path=RectifiedFlow(), prediction="flow")
    assert (report.ok, report.order.algebra) == (True, 1)
    assert report.twins[0].call == "ddim()"


def midpoint_forgotten(model, x, steps):
    """The midpoint rule with the midpoint's slope at the start's time."""
    times = np.linspace(1, 0, steps + 1)
    for s, t in itertools.pairwise(times):
        middle = x + (t - s) / 2 * model(x, s)
        x = x + (t - s) * model(middle, s)
    return x


def test_a_function_that_tells_its_network_another_time_is_caught():
    report = conformance(midpoint_forgotten, (8,), named=2, path=RectifiedFlow(), prediction="flow")
    assert {"order", "levels"} <= {f.check for f in report.defects}


def torch_euler(model, x, steps):
    """The same in torch, which rounds its grid to float32."""
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float32)
    for i in range(steps):
        x = x + (times[i + 1] - times[i]) * model(x, times[i])
    return x


def test_a_torch_function_is_judged_in_float64():
    path = RectifiedFlow()
    report = conformance(torch_euler, (8,), path=path, prediction="flow", arrays="torch")
    assert report.ok
    assert report.twins[0].difference < 1e-12


def test_a_function_of_steps_that_returns_a_plan_is_judged_as_one():
    def factory(steps):
        return samplers.unipc(VPLinear(), grids.log_snr(VPLinear(), steps), order=2)

    report = conformance(factory, (8,), named=3)
    assert (report.ok, report.order.algebra) == (True, 3)


def test_the_named_order_can_be_told():
    report = conformance(euler, (8,), named=2, path=RectifiedFlow(), prediction="flow")
    assert next(f for f in report.defects if f.check == "order").what == (
        "its step is of order 1, not 2 (as asked)"
    )


def test_lowering_the_order_at_the_end_caps_a_whole_run_at_two():
    """Sheet plan-algebra, audit 8: UniPC with solver_order=3 and its default lower_order_final."""
    scheduler = diffusers.UniPCMultistepScheduler
    capped = conformance(scheduler, (8,), {"solver_order": 3})
    found = next(f for f in capped.findings if f.check == "whole_run")
    assert found.what == "a whole run is of order 2, its step of order 4"
    assert found.repair == "with lower_order_final=False a whole run is of order 3"


def test_weights_that_forget_the_step_ratio_keep_their_order_and_are_caught():
    """Inverted step ratios: errors h_i^2 - h_{i-1}^2 telescope over a run, the order survives."""
    mutant = next(m for m in MUTANTS if m.new == "h / h_0")
    report = conformance(mutant.build(), (8,), dict(mutant.settings))
    assert report.order.algebra == 2
    assert [f.check for f in report.defects] == ["uneven"]


def test_a_table_that_is_not_monotone_is_named():
    """Linear betas, rescaled to zero SNR: the last entry, 2^-24, is above three before it."""
    report = conformance(
        diffusers.DPMSolverMultistepScheduler,
        (8,),
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    )
    found = next(f for f in report.defects if f.check == "known_network")
    assert found.what == "its table of noise levels is not monotone"
    assert found.where == "alphas_cumprod[999]"


def test_repaired_plans_are_kept_for_the_steps_asked_for(published):
    assert published.repaired(8).nfe == 8
    with pytest.raises(KeyError, match="no plan of 9 steps; there is one for 8, 16"):
        published.repaired(9)


def test_whole_order_needs_a_scheduler_that_takes_a_table():
    assert whole_order(Case(subject(diffusers.FlowMatchEulerDiscreteScheduler), (8,))) is None


@pytest.mark.parametrize("steps", [(), 8, "8", None])
def test_steps_must_be_a_sequence(steps):
    with pytest.raises(ValueError, match="conformance: steps must be a sequence of whole numbers"):
        conformance(euler, steps)


@pytest.mark.parametrize(("steps", "error"), [((0,), ValueError), ((2.5,), TypeError)])
def test_steps_must_be_whole_and_positive(steps, error):
    with pytest.raises(error, match="conformance: steps must be"):
        conformance(euler, steps)


def test_a_function_needs_its_networks_path():
    with pytest.raises(ValueError, match=r"audit: path must be given: .* network of euler expects"):
        conformance(euler, (8,))


def test_what_is_no_sampler_is_refused():
    with pytest.raises(TypeError, match="audit: factory must be a scheduler, a function that"):
        conformance(3, (8,))
