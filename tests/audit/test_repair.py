"""Mended plans: what was wrong is right, what was right is kept, and a pipeline runs them."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch

from fewtheory import adapters, audit
from fewtheory.audit.case import Case
from fewtheory.audit.order import GENTLE, slopes_of
from fewtheory.audit.outcome import flow_error
from fewtheory.audit.repair import mended
from fewtheory.audit.subject import subject
from fewtheory.plan import grids
from fewtheory.plan.order import defects
from fewtheory.samplers import dpm_solver_pp
from fewtheory.testbeds import mixture_1d

pytestmark = [
    pytest.mark.usefixtures("own_checks"),
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
]


def runs(name, steps, **settings):
    case = Case(subject(getattr(diffusers, name), settings), tuple(steps))
    return [case.run(n) for n in steps]


def test_the_mended_third_order_is_of_third_order():
    """Exact starts, no last step: the rule alone; as published its slope is 2."""
    found = runs("DPMSolverMultistepScheduler", (50, 100, 200), solver_order=3)
    for named, expected in ((None, 2), (3, 3)):
        plans = [mended(r, named, "x") for r in found]
        series = [defects(p, p.nfe // 4, range(p.nfe // 2, 9 * p.nfe // 10), GENTLE) for p in plans]
        assert round(min(slopes_of(series).values())) == expected


def test_the_mended_third_order_is_the_packages_own():
    """From the third step on; in the second the library takes the midpoint form."""
    (run,) = runs(
        "DPMSolverMultistepScheduler", (12,), solver_order=3, final_sigmas_type="sigma_min"
    )
    plan = mended(run, 3, "x")
    grid = grids.at_lams(run.told.path, run.believed.lam)
    own = dpm_solver_pp(run.told.path, grid, order=3, lower_order_final=False)
    mine, theirs = plan.B[3:11], own.B[3:11]
    assert np.allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_a_right_scheduler_is_left_as_it_is():
    (run,) = runs("DPMSolverMultistepScheduler", (12,), solver_order=2)
    assert mended(run, 2, "x").distance(run.plan) < 1e-6  # its timesteps are float32


def test_a_run_that_stops_early_is_taken_to_the_data_by_the_evaluation_that_was_wasted():
    """Sheet plan-algebra, audit 5: DEIS under flow sigmas ends at 1/steps, its last call dead."""
    settings = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    (run,) = runs("DEISMultistepScheduler", (8,), **settings)
    plan = mended(run, None, "x", noisy_end=True)
    assert run.dead == [7]
    assert run.believed.sigma[-1] == pytest.approx(1 / 8, rel=1e-2)
    assert (plan.nfe, plan.sigma[-1], plan.dead_evaluations()) == (8, 0.0, [])


def test_a_repeated_last_level_goes():
    """The same under Karras's sigmas, which end at the smallest level all the same."""
    (run,) = runs("DEISMultistepScheduler", (8,), use_karras_sigmas=True)
    plan = mended(run, None, "x")
    assert run.dead == [7]
    assert (plan.nodes, plan.nfe, plan.dead_evaluations()) == (8, 7, [])
    assert np.all(np.diff(plan.lam) > 0)


def test_a_repeated_level_in_the_middle_goes_and_its_weights_with_it():
    class Twice(diffusers.DDIMScheduler):
        """Calls the network twice at the fourth timestep."""

        def set_timesteps(self, *args, **kwargs):
            super().set_timesteps(*args, **kwargs)
            t = self.timesteps.tolist()
            self.timesteps = torch.tensor([*t[:4], *t[3:]])

        def step(self, out, t, x, **kwargs):
            last = getattr(self, "last", None)
            self.last = int(t)
            if last == int(t):
                return (x,)
            return super().step(out, t, x, **kwargs)

    case = Case(subject(Twice, {"clip_sample": False}), (8,))
    plan = mended(case.run(8), None, "x")
    right = Case(subject(diffusers.DDIMScheduler, {"clip_sample": False}), (8,)).run(8)
    assert plan.nfe == 8
    assert plan.distance(right.plan) < 1e-9


def test_truncated_timesteps_are_told_as_fractions():
    """Sheet plan-algebra, audit 6: the error that truncation adds is gone."""
    (run,) = runs("DPMSolverMultistepScheduler", (100,), use_exponential_sigmas=True)
    plan = mended(run, None, "x")
    told, mine = (flow_error(p, 1, [p.nodes - 1]) for p in (run.plan, plan))
    assert np.max(np.abs(run.off_entries)) > 0.9
    assert mine < 0.5 * told


def test_a_pipelines_loop_runs_the_mended_plan():
    """On the exact model of a mixture, through the scheduler that replaces the faulty one."""
    faulty = diffusers.DPMSolverMultistepScheduler(solver_order=3)
    plan = audit.conformance(faulty, (8,), every=10).repaired(8)
    made = adapters.diffusers.scheduler(plan, faulty)
    told = adapters.diffusers.convention(faulty)
    model = mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3]).model(told.path, "noise")
    x = start = torch.randn((5, 1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made.set_timesteps(plan.nfe)
    for t in made.timesteps:
        time = told.timestep.inverse(np.float64(t))
        x = made.step(model(x, float(time)), t, x).prev_sample
    expected = plan.run(model, start)
    assert torch.allclose(x, expected, rtol=0, atol=1e-4)  # timesteps in float32, of 1000
