"""What is known of diffusers' schedulers holds at the version named, and ten lines show it."""

from __future__ import annotations

import ast
from collections import Counter

import diffusers
import numpy as np
import pytest
import torch

from fewtheory.audit.findings.record import finding
from fewtheory.audit.known import KNOWN, LIBRARY, VERSION
from fewtheory.verify.sabotage import sabotage

BY_NUMBER = {known.number: known for known in KNOWN}
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept"),  # likewise, DEIS
    pytest.mark.filterwarnings("ignore:.*algorithm_type:FutureWarning"),  # forms it will drop
]
pinned = pytest.mark.skipif(
    diffusers.__version__ != VERSION,
    reason=f"the findings are about {LIBRARY} {VERSION}; installed is {diffusers.__version__}",
)
each = pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.number)


@pinned
@each
def test_the_lines_show_the_finding_in_an_empty_shell(known):
    shell = {}
    exec(known.snippet, shell)
    evidence = shell[known.reproduce.__name__]()
    assert known.holds(evidence), evidence
    assert all(isinstance(value, int | float | str) for value in evidence.values())


@each
def test_the_check_rejects_what_a_right_implementation_prints(known):
    assert not known.holds(known.repaired)


# repairs that are one expression of the library


def change(method, old, new):
    """Replace the one occurrence of an expression in a method, given as (class, name)."""

    def apply(monkeypatch):
        owner, name = method
        repaired = sabotage(getattr(owner, name), old, new, "a repair, made the same way").build()
        monkeypatch.setattr(owner, name, repaired)

    return apply


def rounded(owner):
    """Timesteps rounded where they come from a sigma, before they are cast."""

    def apply(monkeypatch):
        exact = owner._sigma_to_t
        monkeypatch.setattr(owner, "_sigma_to_t", lambda s, *a: np.round(exact(s, *a)))

    return apply


DPM, INVERSE = diffusers.DPMSolverMultistepScheduler, diffusers.DPMSolverMultistepInverseScheduler
EDM, DEIS = diffusers.EDMDPMSolverMultistepScheduler, diffusers.DEISMultistepScheduler
SINGLE, SA = diffusers.DPMSolverSinglestepScheduler, diffusers.SASolverScheduler
UNIPC, DDIM = diffusers.UniPCMultistepScheduler, diffusers.DDIMScheduler
DDPM, LMS = diffusers.DDPMScheduler, diffusers.LMSDiscreteScheduler
FLOW = diffusers.FlowMatchEulerDiscreteScheduler
THIRD = "multistep_dpm_solver_third_order_update"
HALF = "1.0 / (r0 + r1)", "2.0 / (r0 + r1)"
BRACKET = "(1.0 - torch.exp(-2.0 * h) - 2.0 * h) / (2.0 * h) ** 2"
SIGN = f"{BRACKET} - 0.5", f"2.0 * ({BRACKET} + 0.5)"
LAST = "self.step_index == len(self.timesteps) - 1 and self.config.lower_order_final"
TABLE = "(self.alpha_t[timestep], self.sigma_t[timestep])"
LEVEL = "self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index])"
REPAIRS = {
    "1a": [change((DPM, THIRD), *HALF)],
    "1b": [change((INVERSE, THIRD), *HALF)],
    "1c": [change((EDM, THIRD), *HALF)],
    "1e": [change((DPM, THIRD), *HALF)],
    "2a": [change((DPM, THIRD), *SIGN)],
    "2b": [change((DPM, THIRD), *SIGN)],
    "6a": [rounded(DPM)],
    "6b": [rounded(DPM)],
    "8": [
        change(
            (UNIPC, "step"),
            "min(self.config.solver_order, len(self.timesteps) - self.step_index)",
            "self.config.solver_order",
        )
    ],
    "C6a": [
        change(
            (DPM, "step"),
            "self.config.lower_order_final and len(self.timesteps) < 15",
            "self.config.lower_order_final",
        ),
        change((DEIS, "step"), f"{LAST} and len(self.timesteps) < 15", LAST),
    ],
    "C6b": [
        change(
            (DPM, "step"),
            "self.config.lower_order_final and len(self.timesteps) < 15",
            "self.config.lower_order_final",
        )
    ],
    "n1": [change((LMS, "step"), "min(self.step_index + 1, order)", "len(self.derivatives)")],
    "n2": [
        change(
            (DDIM, "step"),
            "timestep - self.config.num_train_timesteps // self.num_inference_steps",
            "max([-1, *(t for t in self.timesteps if t < timestep)])",
        )
    ],
    "n4": [change((FLOW, "set_timesteps"), "self._sigma_to_t(self.sigma_min)", "1.0")],
    "n6": [change((DDPM, "step"), "t > 0", "prev_t >= 0")],
    "n10": [change((FLOW, "step"), "current_sigma - next_sigma", "next_sigma - current_sigma")],
    "n20": [
        change((SINGLE, "convert_model_output"), TABLE, LEVEL),
        change((SA, "convert_model_output"), TABLE, LEVEL),
    ],
}


@pinned
@pytest.mark.parametrize("number", REPAIRS)
def test_the_repair_repairs(number, monkeypatch):
    """The library with the repair prints what is noted as `repaired`, to its two digits."""
    known = BY_NUMBER[number]
    for apply in REPAIRS[number]:
        apply(monkeypatch)
    evidence = known.reproduce()
    assert not known.holds(evidence), evidence
    assert evidence == pytest.approx(dict(known.repaired), rel=0.05, abs=1e-6)


@pinned
@pytest.mark.parametrize("number", ["5a", "5b", "n14", "n15"])
def test_one_more_sigma_in_place_of_a_copy_leaves_no_dead_step(number, monkeypatch):
    def one_more(exact):
        def set_timesteps(self, steps):
            exact(self, steps + 1)
            self.timesteps, self.sigmas = self.timesteps[:-1], self.sigmas[:-1]
            self.num_inference_steps = steps

        return set_timesteps

    for owner in (DEIS, SA, DPM, SINGLE, UNIPC, EDM, diffusers.EulerDiscreteScheduler):
        monkeypatch.setattr(owner, "set_timesteps", one_more(owner.set_timesteps))
    evidence = BY_NUMBER[number].reproduce()
    assert not BY_NUMBER[number].holds(evidence), evidence
    assert min(map(abs, evidence.values())) > 0
    assert np.all(np.isfinite([*evidence.values()]))


@pinned
def test_ddim_with_alpha_one_at_its_end_uses_its_last_evaluation():
    s, x = DDIM(set_alpha_to_one=True), torch.zeros(1, 1)
    s.set_timesteps(8)
    assert float(s.step(x + 1, s.timesteps[-1], x).prev_sample) != 0  # the repair of 9a


@pinned
def test_flow_matching_with_its_sigmas_given_takes_equal_steps():
    s = FLOW()
    s.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8))
    steps = np.diff(s.sigmas.numpy())
    assert np.allclose(steps, -1 / 8, rtol=0, atol=1e-7)  # the repair of n5, in float32


@pinned
def test_thresholding_with_room_for_the_quantile_divides_the_scale_out():
    x = torch.linspace(-3, 3, 101).reshape(1, 1, 1, 101)
    dynamic = DPM(thresholding=True, sample_max_value=100.0)._threshold_sample
    assert torch.equal(dynamic(2 * x), dynamic(x))  # the repair of n9; doubling rounds nothing


# the record


@each
def test_a_reproduction_is_short_and_needs_the_library_alone(known):
    assert known.lines <= 10
    assert "fewtheory" not in known.snippet
    (function,) = ast.parse(known.snippet).body
    imports = [s for s in ast.walk(function) if isinstance(s, ast.Import | ast.ImportFrom)]
    names = [s.module if isinstance(s, ast.ImportFrom) else s.names[0].name for s in imports]
    assert set(names) <= {"diffusers", "torch", "numpy"}


def test_lines_are_counted_in_the_body_beside_its_docstring_and_imports():
    known = BY_NUMBER["n25"]  # one statement
    assert known.lines == 1
    assert len(known.snippet.splitlines()) == 5
    assert known.snippet.startswith("def laplace_table():\n")


@each
def test_a_record_says_all_that_it_should(known):
    assert (known.library, known.version) == (LIBRARY, VERSION)
    for text in (known.title, known.expected, known.repair):
        assert text.endswith(".")
    assert "\n" not in known.title
    assert (
        "plan-algebra" in known.source or "dpm-solver-pp" in known.source or LIBRARY in known.source
    )


def test_every_item_of_the_sheets_list_is_there_once():
    numbers = [known.number for known in KNOWN]
    assert max(Counter(numbers).values()) == 1
    assert {n.rstrip("abcde") for n in numbers if n[0].isdigit()} == {str(k) for k in range(1, 11)}
    assert [n for n in numbers if n[0] == "n"] == [f"n{k}" for k in range(1, 26)]


def test_another_verdict_is_refused_by_name():
    with pytest.raises(ValueError, match=r"Known: verdict must be one of 'confirmed', .*'maybe'"):
        finding("0", "maybe", holds=bool, repaired={}, expected="", repair="", source="")(
            lambda: {}
        )
