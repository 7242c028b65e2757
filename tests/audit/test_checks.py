"""Each check finds the fault that it is for, in the place where it is, and no fault elsewhere."""

import types

import diffusers
import numpy as np
import pytest
import torch

from fewtheory import paths, samplers
from fewtheory.audit import case as cases
from fewtheory.audit.case import Case
from fewtheory.audit.checks import CHECKS, findings
from fewtheory.audit.finding import numbers
from fewtheory.audit.names import named_order
from fewtheory.audit.subject import subject
from fewtheory.plan import grids

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
    pytest.mark.usefixtures("one_thread"),
]
EDM = paths.EDM()
CHECK = {c.__name__: c for c in CHECKS}
LAST = 12  # steps of the longest run here; 60 are too many for a test


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Few steps where the order is measured."""
    monkeypatch.setattr(cases, "REFINED", ((12, 24, 48),))


class Euler:
    """Euler's method in sigma on EDM's path; `fault` says what is wrong with it."""

    def __init__(self, fault="none", clip_sample=False, eager=True):
        self.config = {"fault": fault, "clip_sample": clip_sample, "eager": eager, "spacing": "log"}
        self.init_noise_sigma = 40.0 if fault == "soft start" else 80.0

    def set_timesteps(self, num_inference_steps):
        n, fault = num_inference_steps, self.config["fault"]
        if fault == "raises" and n in (3, 4, 5, 9):
            raise IndexError(f"index {n} is out of range")
        if fault == "refuses" and n == 2:
            raise ValueError("num_inference_steps must be other than 2")
        if fault == "spoils" and n > 10:
            self.config["spacing"] = "equal"
        last = {"stops early": 0.5, "between": 0.001}.get(fault, 0.002)
        sigmas = torch.exp(torch.linspace(np.log(80.0), np.log(last), n + 1))[:n]
        if fault in ("stops early", "between"):
            sigmas = torch.exp(torch.linspace(np.log(80.0), np.log(last), n + 1))
            self.timesteps, self.sigmas = sigmas[:-1], sigmas
        else:
            self.timesteps, self.sigmas = sigmas, torch.cat([sigmas, torch.zeros(1)])
        if fault == "stands" and n > 2:
            self.sigmas[n - 1] = self.sigmas[n - 2]
        if fault == "backwards" and n > 2:
            self.sigmas[2] = 1.5 * self.sigmas[1]
        if fault in ("stands", "backwards"):
            self.timesteps = self.sigmas[:-1]
        if fault == "tells late":
            self.timesteps = self.timesteps.clone()
            self.timesteps[1:] *= 0.5
        if fault == "twice":
            self.timesteps = torch.repeat_interleave(self.timesteps, 2)[: 2 * n - 1]
        self.i = 0

    def step(self, model_output, timestep, sample):
        n, fault, i = len(self.sigmas) - 1, self.config["fault"], self.i
        self.i += 1
        if fault == "twice":
            i, skipped = i // 2, i % 2 == 1
            if skipped:
                return types.SimpleNamespace(prev_sample=sample)
        out = sample + (self.sigmas[i + 1] - self.sigmas[i]) * model_output
        if fault == "idle" and i == n - 1:
            out = sample
        if fault == "nan" and n == 4 and i == 2:
            out = out * float("nan")
        if self.config["clip_sample"]:
            out = out.clamp(-1, 1)
        return types.SimpleNamespace(prev_sample=out)


def case(factory, path=EDM, steps=(8,), prediction="noise", **chosen):
    """A case of a class with settings, up to 12 steps; without a path its config tells it."""
    if path is None:
        return Case(subject(factory, chosen), steps, most=LAST)
    return Case(subject(factory, chosen, path=path, prediction=prediction), steps, most=LAST)


def found(check, judged):
    """What a check finds."""
    return list(CHECK[check](judged))


def only(check, judged):
    """The one thing that a check finds."""
    (one,) = found(check, judged)
    return one


@pytest.mark.parametrize(
    "check",
    [
        "raises",
        "finite",
        "nonlinear",
        "config",
        "evaluations",
        "dead",
        "monotone",
        "levels",
        "endings",
        "starts",
        "reuse",
        "known_network",
    ],
)
def test_a_sampler_without_fault_passes(check):
    assert found(check, case(Euler)) == []


# runs


def test_steps_that_raise_are_told_with_their_numbers():
    one = only("raises", case(Euler, fault="raises"))
    assert (one.what, one.severity) == ("raises", "defect")
    assert one.where == "at 3 to 5 and 9 steps"
    assert "IndexError: index N is out of range" in one.evidence


def test_steps_that_are_refused_by_name_are_a_note():
    one = only("raises", case(Euler, fault="refuses"))
    assert (one.what, one.severity, one.where) == ("refuses to run", "note", "at 2 steps")
    assert one.evidence == "ValueError: num_inference_steps must be other than N"


def test_a_state_that_is_not_a_number_is_told_by_its_step():
    one = only("finite", case(Euler, fault="nan"))
    assert one.what == "returns NaN or infinity"
    assert one.where == "at 4 steps; first in step 3 of 4"


def test_lost_digits_are_told_where_they_are_asked_for():
    class Cancels(Euler):
        def step(self, model_output, timestep, sample):
            big = sample * 0 + 1e8  # float32 then holds multiples of 8
            out = super().step(model_output, timestep, sample).prev_sample
            return types.SimpleNamespace(prev_sample=(out + big) - big)

    one = only("finite", case(Cancels))
    assert one.what == "loses its digits in its own precision"
    assert one.where == "at 8 steps"
    assert found("finite", case(Cancels, steps=())) == []


def test_a_clip_is_told_with_its_switch():
    one = only("nonlinear", case(Euler, clip_sample=True))
    assert (one.what, one.severity) == ("is not linear: clip_sample=True", "note")
    assert one.where == f"at 1 to {LAST} steps; first in step 1 of {LAST}"
    assert "clip_sample=False" in one.repair
    assert "eager" not in one.repair  # a switch, on, and innocent


def test_a_clip_in_a_scheduler_of_diffusers_is_told_with_its_switch():
    one = only("nonlinear", case(diffusers.DDIMScheduler, None))
    assert one.what == "is not linear: clip_sample=True"


def test_a_config_that_a_run_changes_is_told():
    one = only("config", case(Euler, fault="spoils"))
    assert one.where.startswith("at 11 and 12 steps")
    assert one.evidence.startswith("spacing: 'log' became 'equal'")


def test_evaluations_are_told_as_a_formula():
    one = only("evaluations", case(Euler, fault="twice"))
    assert (one.what, one.severity) == ("N steps cost 2N - 1 evaluations", "note")
    assert one.where == f"at 2 to {LAST} steps"
    assert one.evidence == f"{LAST} steps call the network {2 * LAST - 1} times"


def test_heun_in_diffusers_costs_2n_minus_1():
    one = only("evaluations", case(diffusers.HeunDiscreteScheduler, None))
    assert one.what == "N steps cost 2N - 1 evaluations"


def test_an_evaluation_for_nothing_is_told_by_its_number():
    one = only("dead", case(Euler, fault="idle"))
    assert one.where == f"at 1 to {LAST} steps; of {LAST} steps the last evaluation"
    other = only("dead", case(Euler, fault="twice"))
    assert other.where.endswith(f"of {LAST} steps evaluation 2, 4, 6, 8 of {2 * LAST - 1}")


def test_the_last_evaluation_of_ddim_without_alpha_one_is_dead():
    chosen = {"clip_sample": False, "set_alpha_to_one": False}
    one = only("dead", case(diffusers.DDIMScheduler, None, **chosen))
    assert "the last evaluation" in one.where
    chosen["set_alpha_to_one"] = True
    assert found("dead", case(diffusers.DDIMScheduler, None, **chosen)) == []


def test_a_scheduler_that_remembers_a_run_is_told():
    class Remembers(Euler):
        def __init__(self):
            super().__init__()
            self.left = 1.0

        def step(self, model_output, timestep, sample):
            out = super().step(self.left * model_output, timestep, sample)
            self.left = 0.5  # of the last run's last step
            return out

    one = only("reuse", case(Remembers))
    assert one.what == "remembers an earlier run"
    assert one.where.startswith("8 steps after a run of ")


def test_a_scheduler_that_cannot_run_twice_is_told():
    class Once(Euler):
        def set_timesteps(self, num_inference_steps):
            if hasattr(self, "i"):
                raise RuntimeError("it has run")
            super().set_timesteps(num_inference_steps)

    one = only("reuse", case(Once))
    assert one.what == "raises when it runs a second time"
    assert one.evidence == "RuntimeError: it has run"


def test_a_network_of_which_nothing_is_known_is_told():
    one = only("known_network", case(Euler, None))
    assert one.what == "does not say what its network expects"
    assert one.severity == "note"
    assert found("levels", case(Euler, None)) == []


def test_findings_are_told_with_their_check_and_defects_first():
    told = findings(case(Euler, fault="twice"))
    assert {"evaluations", "dead"} <= {f.check for f in told}
    grave = [f.severity == "defect" for f in told]
    assert grave == sorted(grave, reverse=True)


# levels


def test_a_step_of_zero_length_is_told_by_its_place():
    one = only("monotone", case(Euler, fault="stands"))
    assert one.what == "takes a step of zero length"
    assert one.where == f"at 3 to {LAST} steps; step {LAST - 1} of {LAST}: zero length"


def test_a_step_backwards_is_told_by_its_length():
    one = only("monotone", case(Euler, fault="backwards"))
    assert one.what == "takes a step backwards"
    assert f"step 2 of {LAST}: -0.41 in lam" in one.where  # -log 1.5


def test_deis_stands_twice_on_its_last_karras_sigma():
    judged = case(diffusers.DEISMultistepScheduler, None, use_karras_sigmas=True)
    assert "takes a step of zero length" in [f.what for f in found("monotone", judged)]
    good = case(diffusers.DPMSolverMultistepScheduler, None, use_karras_sigmas=True)
    assert found("monotone", good) == []


def test_a_network_that_is_told_another_level_is_found_out():
    one = only("levels", case(Euler, fault="tells late"))
    assert one.what == "tells its network another level than its own"
    assert "this alone costs" in one.evidence


def test_truncated_and_rounded_timesteps_are_told_apart():
    cut = case(diffusers.DPMSolverMultistepScheduler, None, use_exponential_sigmas=True)
    one = only("levels", cut)
    assert one.what == "truncates the network's timesteps to integers"
    assert one.severity == "defect"
    rounded = case(diffusers.DPMSolverMultistepScheduler, None, use_karras_sigmas=True)
    assert [f.severity for f in found("levels", rounded)] == ["note"]


def test_a_run_that_stops_early_is_told_with_its_noise():
    one = only("endings", case(Euler, fault="stops early"))
    assert one.what == "stops before the data: returns noisy samples"
    assert "ends at sigma / alpha = 0.5," in one.evidence
    assert one.where.startswith(f"at 2 to {LAST} steps")


def test_a_run_that_ends_between_the_network_and_the_data_is_told():
    one = only("endings", case(Euler, fault="between"))
    assert one.what == "ends at a level that is none of the network's"
    assert "ends at sigma / alpha = 0.001;" in one.evidence


def test_deis_stops_early_under_flow_sigmas():
    chosen = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    judged = case(diffusers.DEISMultistepScheduler, None, **chosen)
    assert "stops before the data: returns noisy samples" in [
        f.what for f in found("endings", judged)
    ]
    assert found("endings", case(diffusers.FlowMatchEulerDiscreteScheduler, None)) == []


def test_a_start_of_another_size_is_told():
    one = only("starts", case(Euler, fault="soft start"))
    assert one.what == "starts with noise of the wrong size"
    assert "init_noise_sigma is 40;" in one.evidence
    assert "80.006" in one.evidence  # sqrt(1 + 80^2)


# the case


def test_a_case_keeps_what_raised_and_runs_each_number_once():
    judged = case(Euler, fault="raises")
    assert judged.run(3) is None
    assert isinstance(judged.raised[3], IndexError)
    assert judged.run(6) is judged.run(6)
    assert [r.steps for r in judged.every] == [1, 2, 6, 7, 8, 10, 11, 12]
    assert [r.steps for r in judged.asked] == [8]


def test_only_steps_that_are_asked_for_run_in_single_precision_too():
    judged = case(Euler, steps=(6,))
    six, seven = judged.run(6), judged.run(7)
    assert six is not None
    assert seven is not None
    assert six.probe.single > 0
    assert seven.probe.single == 0.0


def test_three_refined_runs_decide_the_order():
    judged = case(Euler)
    assert [r.steps for r in judged.refined] == [12, 24, 48]
    assert judged.order is not None
    assert judged.order.algebra == 1
    assert not judged.misled


def test_a_case_that_is_not_linear_has_no_order():
    judged = case(Euler, clip_sample=True)
    assert not judged.linear
    assert judged.sound == []
    assert judged.refined == []
    assert judged.order is None


def test_a_variant_has_its_own_runs_and_settings():
    judged = case(Euler)
    judged.run(4)
    other = judged.variant(clip_sample=True)
    assert other.runs == {}
    assert other.settings()["clip_sample"] is True
    assert judged.accepts("clip_sample")
    assert not judged.accepts("dynamic")


# names


@pytest.mark.parametrize(
    ("factory", "chosen", "named"),
    [
        (diffusers.DPMSolverMultistepScheduler, {"solver_order": 3}, (3, "solver_order")),
        (diffusers.DDIMScheduler, {}, (1, "DDIM is of first order")),
        (diffusers.HeunDiscreteScheduler, {}, (2, "Heun's method")),
        (
            diffusers.SASolverScheduler,
            {"predictor_order": 2, "corrector_order": 3},
            (3, "predictor_order"),
        ),
        (Euler, {}, (None, "no order is named")),
    ],
)
def test_the_order_that_is_promised_is_read_off_settings_and_name(factory, chosen, named):
    judged = subject(factory, chosen)
    assert named_order(judged, judged.make()) == named


def test_a_plan_is_named_by_its_order_setting():
    assert named_order(subject(samplers.dpm_solver_pp, {"order": 3}), None) == (3, "order")


def test_an_order_that_is_asked_for_comes_first():
    judged = Case(subject(diffusers.DDIMScheduler), (4,), asked_order=2, most=2)
    assert judged.named == (2, "as asked")


def test_a_case_of_a_plan_has_runs_as_any_other():
    def plan(steps):
        return samplers.heun(EDM, grids.log_snr(EDM, steps))

    judged = Case(subject(plan), (4,), most=LAST)
    assert [r.probe.nfe for r in judged.asked] == [8]
    assert only("evaluations", judged).what == "N steps cost 2N evaluations"


# words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], ""),
        ([7], "7"),
        ([2, 1], "1 and 2"),
        ([1, 2, 3], "1 to 3"),
        ([12, 5, 6, 7, 8, 9, 2, 1, 1], "1, 2, 5 to 9 and 12"),
        (range(1, 61), "1 to 60"),
    ],
)
def test_numbers_are_told_in_words(values, words):
    assert numbers(values) == words
