"""Mutants: schedulers of diffusers with one formula broken, for an audit to catch.

An audit that has found no fault has shown little: it may be blind. So each formula that schedulers
live by is broken once, as a tired person would break it (a sign, a weight, a level of another
step), in a subclass of the real class; nothing is copied. Every mutant stands below the settings
whose unbroken run, the control, is judged first. It runs, and what it returns is finite and
different, so that only the truth can tell that it is wrong. Sheet `plan-algebra`, "Real models".
"""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from ..errors import MissingExtra, fail, one_of
from ..verify.sabotage import sabotage

LIBRARY = ("diffusers", "0.42.1")  # the version whose expressions are quoted here
KINDS = (
    "sign",
    "coefficient",
    "halved weight",
    "doubled noise",
    "noise",
    "history",
    "index",  # the level of another step
    "level",  # alpha and sigma themselves
    "conversion",  # from what the network predicts
    "grid",
    "last step",
)


class Settings(Mapping[str, Any]):
    """Keyword arguments that can be a key.

    >>> len({Settings(a=1, b=2), Settings(b=2, a=1)})
    1
    """

    def __init__(self, **keywords: Any):
        self._keywords = keywords

    def __getitem__(self, name: str) -> Any:
        return self._keywords[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keywords)

    def __len__(self) -> int:
        return len(self._keywords)

    def __hash__(self) -> int:
        return hash(frozenset(self._keywords.items()))

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{k}={v!r}' for k, v in self.items())})"


@dataclass(frozen=True)
class Control:
    """An unbroken scheduler: its class in diffusers, keywords of its constructor and of `step`."""

    scheduler: str
    settings: Settings = field(default_factory=Settings)
    step: Settings = field(default_factory=Settings)

    def build(self) -> type:
        """The class; with keywords of `step`, a subclass in which they are the defaults.

        Raises ValueError for another version of diffusers and for no scheduler of it.
        """
        return _with_step(_scheduler(self.scheduler), self.step)

    def mutants(self, text: str) -> tuple[Mutant, ...]:
        """What the text lists: after a line `in METHOD`, mutants of three lines each.

        The lines are `kind: why`, `- old` and `+ new`. Raises ValueError for other lines or kinds.
        """
        method, found = "", []
        lines = iter(textwrap.dedent(text).strip().splitlines())
        for line in lines:
            if line.startswith("in "):
                method = line.removeprefix("in ")
                continue
            kind, colon, why = line.partition(": ")
            old, new = next(lines, ""), next(lines, "")
            if not (colon and old.startswith("- ") and new.startswith("+ ")):
                raise fail("Control.mutants", "text", "`kind: why`, `- old`, `+ new`", line)
            parts = self.scheduler, self.settings, method, old[2:], new[2:], why, kind, self.step
            found.append(Mutant(*parts))
        return tuple(found)


@dataclass(frozen=True)
class Mutant:
    """A scheduler in one method of which the expression `old` has become `new`.

    scheduler, settings, step: see Control; kind: one of KINDS; why: what is wrong, in words.
    Raises ValueError for another kind.

    >>> MUTANTS[0].kind, MUTANTS[0].why
    ('sign', 'the data weight is that of exp(h)')
    """

    scheduler: str
    settings: Settings
    method: str
    old: str
    new: str
    why: str
    kind: str
    step: Settings = field(default_factory=Settings)

    def __post_init__(self):
        one_of("Mutant", "kind", self.kind, KINDS)

    @property
    def control(self) -> Control:
        """The same scheduler, unbroken."""
        return Control(self.scheduler, self.settings, self.step)

    def original(self) -> Callable[..., Any]:
        """The method as the library has it: `inspect.getsource` shows it."""
        found = getattr(_scheduler(self.scheduler), self.method, None)
        if not inspect.isfunction(found):
            raise fail("Mutant", "method", f"a method of {self.scheduler}", self.method)
        return inspect.unwrap(found)  # __init__ without register_to_config

    def build(self) -> type:
        """A subclass of the scheduler's name in which that method alone is another.

        Raises ValueError for another version of diffusers, for no scheduler or method of it, and
        unless `old` occurs exactly once in the method.
        """
        original = self.original()
        twin = sabotage(original, self.old, self.new, self.why).build()
        # over the module's own names, where the twin has copies: an audit replaces some of them
        broken = FunctionType(
            twin.__code__,
            original.__globals__,
            original.__name__,
            original.__defaults__,
            original.__closure__,
        )
        broken.__kwdefaults__ = original.__kwdefaults__
        functools.update_wrapper(broken, original)
        if self.method == "__init__":
            from diffusers.configuration_utils import register_to_config

            broken = register_to_config(broken)
        parent = _scheduler(self.scheduler)
        return _with_step(_subclass(parent, self.method, broken), self.step)


def _scheduler(name: str) -> type:
    """The class of diffusers of this name."""
    try:
        import diffusers
        from diffusers.schedulers.scheduling_utils import SchedulerMixin
    except ModuleNotFoundError as error:
        raise MissingExtra("models", __name__) from error
    if diffusers.__version__ != LIBRARY[1]:
        where, wanted = "Mutant", f"{LIBRARY[1]}, whose expressions are quoted"
        raise fail(where, "diffusers.__version__", wanted, diffusers.__version__)
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
        raise fail("Mutant", "scheduler", "the name of a scheduler of diffusers", name)
    return found


def _subclass(parent: type, method: str, function: Any) -> type:
    """A class that configs, and whoever looks up its module, take for its parent."""
    return type(parent.__name__, (parent,), {"__module__": parent.__module__, method: function})


def _with_step(kind: type, step: Settings) -> type:
    return _subclass(kind, "step", functools.partialmethod(kind.step, **step)) if step else kind


def controls() -> tuple[Control, ...]:
    """The schedulers that MUTANTS break, unbroken, each once and in order.

    >>> controls()[0] == MUTANTS[0].control
    True
    """
    return tuple(dict.fromkeys(m.control for m in MUTANTS))


def _dpm(**settings: Any) -> Control:
    """DPM-Solver++ that ends at the table's first level, its rule the same in every later step."""
    plain: dict[str, Any] = {"final_sigmas_type": "sigma_min", "lower_order_final": False}
    return Control("DPMSolverMultistepScheduler", Settings(**plain | settings))


DDIM = {"clip_sample": False}  # clipping is not linear
UNIPC = {"solver_order": 2, "final_sigmas_type": "sigma_min", "lower_order_final": False}

MUTANTS = (
    *_dpm(solver_order=1).mutants("""
        in dpm_solver_first_order_update
        sign: the data weight is that of exp(h)
        - (alpha_t * (torch.exp(-h) - 1.0)) * model_output
        + (alpha_t * (torch.exp(h) - 1.0)) * model_output
        coefficient: the state is scaled as in the noise form
        - (sigma_t / sigma_s) * sample
        + (alpha_t / alpha_s) * sample
        in convert_model_output
        conversion: the noise is added to the state instead of taken away
        - (sample - sigma_t * model_output) / alpha_t
        + (sample + sigma_t * model_output) / alpha_t
        in _sigma_to_alpha_sigma_t
        level: alpha is squared
        - 1 / ((sigma**2 + 1) ** 0.5)
        + 1 / (sigma**2 + 1)
        level: sigma is that of the variance-exploding path
        - sigma * alpha_t
        + sigma
        in set_timesteps
        grid: the levels are those of one timestep earlier
        - np.interp(timesteps, np.arange(0, len(sigmas)), sigmas)
        + np.interp(timesteps, np.arange(1, len(sigmas) + 1), sigmas)
        grid: the noisiest timestep is left out, not the cleanest
        - np.linspace(0, last_timestep - 1, num_inference_steps + 1).round()[::-1][:-1]
        + np.linspace(0, last_timestep - 1, num_inference_steps + 1).round()[::-1][1:]
        last step: the last level is a variance
        - ((1 - self.alphas_cumprod[0]) / self.alphas_cumprod[0]) ** 0.5
        + (1 - self.alphas_cumprod[0]) / self.alphas_cumprod[0]
        last step: the last level stands twice, so that the last step goes nowhere
        - np.concatenate([sigmas, [sigma_last]])
        + np.concatenate([sigmas, sigmas[-1:]])
        """),
    *_dpm(solver_order=1, prediction_type="v_prediction").mutants("""
        in convert_model_output
        conversion: x_0 = alpha x + sigma v
        - alpha_t * sample - sigma_t * model_output
        + alpha_t * sample + sigma_t * model_output
        """),
    *_dpm(solver_order=1, algorithm_type="dpmsolver").mutants("""
        in dpm_solver_first_order_update
        coefficient: alpha_t and alpha_s are exchanged
        - (alpha_t / alpha_s) * sample - (sigma_t * (torch.exp(h) - 1.0)) * model_output
        + (alpha_s / alpha_t) * sample - (sigma_t * (torch.exp(h) - 1.0)) * model_output
        """),
    *_dpm(algorithm_type="dpmsolver", prediction_type="v_prediction").mutants("""
        in convert_model_output
        conversion: eps = alpha v - sigma x
        - alpha_t * model_output + sigma_t * sample
        + alpha_t * model_output - sigma_t * sample
        """),
    *_dpm(solver_order=1, algorithm_type="sde-dpmsolver++").mutants("""
        in dpm_solver_first_order_update
        noise: the noise has the variance for its scale
        - torch.sqrt(1.0 - torch.exp(-2 * h))
        + (1.0 - torch.exp(-2 * h))
        doubled noise: the noise counts twice
        - sigma_t * torch.sqrt(1.0 - torch.exp(-2 * h)) * noise
        + 2 * sigma_t * torch.sqrt(1.0 - torch.exp(-2 * h)) * noise
        coefficient: the data weight is the ODE's
        - (alpha_t * (1 - torch.exp(-2.0 * h))) * model_output
        + (alpha_t * (1 - torch.exp(-h))) * model_output
        coefficient: the state's factor is the ODE's
        - (sigma_t / sigma_s * torch.exp(-h)) * sample
        + (sigma_t / sigma_s) * sample
        """),
    *_dpm(solver_order=2).mutants("""
        in multistep_dpm_solver_second_order_update
        sign: the slope is taken away
        - 0.5 * (alpha_t * (torch.exp(-h) - 1.0)) * D1
        + -0.5 * (alpha_t * (torch.exp(-h) - 1.0)) * D1
        halved weight: the slope's half is halved again
        - 0.5 * (alpha_t * (torch.exp(-h) - 1.0)) * D1
        + 0.25 * (alpha_t * (torch.exp(-h) - 1.0)) * D1
        history: the new and the old output are exchanged
        - model_output_list[-1], model_output_list[-2]
        + model_output_list[-2], model_output_list[-1]
        coefficient: the step ratio is inverted
        - h_0 / h
        + h / h_0
        index: the old step is measured from the new level
        - lambda_t - lambda_s0, lambda_s0 - lambda_s1
        + lambda_t - lambda_s0, lambda_t - lambda_s1
        index: the step is measured from the old level
        - lambda_t - lambda_s0, lambda_s0 - lambda_s1
        + lambda_t - lambda_s1, lambda_s0 - lambda_s1
        index: the old level is one step too old
        - self.sigmas[self.step_index - 1]
        + self.sigmas[self.step_index - 2]
        """),
    *_dpm(solver_order=2, euler_at_final=True).mutants("""
        in step
        last step: every step is of first order, as the last one is
        - self.step_index == len(self.timesteps) - 1
        + self.step_index <= len(self.timesteps) - 1
        """),
    *_dpm(solver_order=2, solver_type="heun").mutants("""
        in multistep_dpm_solver_second_order_update
        sign: the slope's weight does not vanish with h
        - (alpha_t * ((torch.exp(-h) - 1.0) / h + 1.0)) * D1
        + (alpha_t * ((torch.exp(-h) - 1.0) / h - 1.0)) * D1
        """),
    *_dpm(solver_order=2, algorithm_type="dpmsolver").mutants("""
        in multistep_dpm_solver_second_order_update
        sign: the slope's weight is that of exp(-h)
        - 0.5 * (sigma_t * (torch.exp(h) - 1.0)) * D1
        + 0.5 * (sigma_t * (torch.exp(-h) - 1.0)) * D1
        """),
    *_dpm(solver_order=2, solver_type="heun", algorithm_type="dpmsolver").mutants("""
        in multistep_dpm_solver_second_order_update
        halved weight: the midpoint rule's half before the integral's weight
        - (sigma_t * ((torch.exp(h) - 1.0) / h - 1.0)) * D1
        + 0.5 * (sigma_t * ((torch.exp(h) - 1.0) / h - 1.0)) * D1
        """),
    *_dpm(solver_order=2, algorithm_type="sde-dpmsolver++").mutants("""
        in multistep_dpm_solver_second_order_update
        sign: the slope is taken away, by the sign of the ODE's formula
        - 0.5 * (alpha_t * (1 - torch.exp(-2.0 * h))) * D1
        + -0.5 * (alpha_t * (1 - torch.exp(-2.0 * h))) * D1
        """),
    *_dpm(solver_order=2, solver_type="heun", algorithm_type="sde-dpmsolver++").mutants("""
        in multistep_dpm_solver_second_order_update
        sign: the slope's weight has 2h for -2h
        - (alpha_t * ((1.0 - torch.exp(-2.0 * h)) / (-2.0 * h) + 1.0)) * D1
        + (alpha_t * ((1.0 - torch.exp(-2.0 * h)) / (2.0 * h) + 1.0)) * D1
        """),
    # the published rule of third order is of second; these break what it does keep
    *_dpm(solver_order=3).mutants("""
        in multistep_dpm_solver_third_order_update
        sign: the data weight is that of exp(h)
        - (alpha_t * (torch.exp(-h) - 1.0)) * D0
        + (alpha_t * (torch.exp(h) - 1.0)) * D0
        history: the two old outputs are exchanged
        - model_output_list[-1], model_output_list[-2], model_output_list[-3]
        + model_output_list[-1], model_output_list[-3], model_output_list[-2]
        """),
    *Control("DDIMScheduler", Settings(**DDIM)).mutants("""
        in step
        coefficient: the data are scaled by alpha of the level that is left
        - alpha_prod_t_prev ** (0.5) * pred_original_sample
        + alpha_prod_t ** (0.5) * pred_original_sample
        grid: the previous timestep is that of a run with one step more
        - timestep - self.config.num_train_timesteps // self.num_inference_steps
        + timestep - self.config.num_train_timesteps // (self.num_inference_steps + 1)
        in __init__
        last step: the last level is that of the last evaluation
        - torch.tensor(1.0) if set_alpha_to_one else self.alphas_cumprod[0]
        + self.alphas_cumprod[0] if set_alpha_to_one else torch.tensor(1.0)
        """),
    *Control("DDIMScheduler", Settings(**DDIM), Settings(eta=1.0)).mutants("""
        in step
        noise: the noise has the variance for its scale
        - std_dev_t * variance_noise
        + variance * variance_noise
        noise: noise comes on top of all the noise that is kept
        - 1 - alpha_prod_t_prev - std_dev_t**2
        + 1 - alpha_prod_t_prev
        """),
    *Control("DDPMScheduler", Settings(**DDIM)).mutants("""
        in step
        noise: no noise is added
        - pred_prev_sample + variance
        + pred_prev_sample
        coefficient: the state's factor has the cumulative alpha
        - current_alpha_t ** (0.5) * beta_prod_t_prev / beta_prod_t
        + alpha_prod_t ** (0.5) * beta_prod_t_prev / beta_prod_t
        """),
    *Control("EulerDiscreteScheduler").mutants("""
        in step
        sign: the step goes back towards noise
        - self.sigmas[self.step_index + 1] - sigma_hat
        + sigma_hat - self.sigmas[self.step_index + 1]
        in scale_model_input
        index: the network's input is scaled for the next level
        - self.sigmas[self.step_index]
        + self.sigmas[self.step_index + 1]
        """),
    *Control("EulerDiscreteScheduler", Settings(use_karras_sigmas=True)).mutants("""
        in _sigma_to_t
        grid: the interpolation's two weights are exchanged
        - (1 - w) * low_idx + w * high_idx
        + w * low_idx + (1 - w) * high_idx
        """),
    *Control("EulerAncestralDiscreteScheduler").mutants("""
        in step
        noise: the state goes down to the next level, and noise comes on top
        - (sigma_to**2 - sigma_up**2) ** 0.5
        + sigma_to
        """),
    *Control("HeunDiscreteScheduler").mutants("""
        in step
        history: the second slope is taken alone
        - (self.prev_derivative + derivative) / 2
        + derivative
        index: the second slope is divided by the first level
        - (sample - pred_original_sample) / sigma_next
        + (sample - pred_original_sample) / sigma
        """),
    *Control("UniPCMultistepScheduler", Settings(**UNIPC)).mutants("""
        in multistep_uni_p_bh_update
        sign: the old step counts forwards
        - (lambda_si - lambda_s0) / h
        + (lambda_s0 - lambda_si) / h
        halved weight: the predictor's half is halved again
        - torch.ones(1, dtype=x.dtype, device=device) * 0.5
        + torch.ones(1, dtype=x.dtype, device=device) * 0.25
        index: the predictor's old level is the corrector's
        - self.step_index - i
        + self.step_index - (i + 1)
        in multistep_uni_c_bh_update
        sign: the corrector takes the new slope away
        - x_t_ - alpha_t * B_h * (corr_res + rhos_c[-1] * D1_t)
        + x_t_ - alpha_t * B_h * (corr_res - rhos_c[-1] * D1_t)
        history: the corrector starts again from the predicted state
        - sigma_t / sigma_s0 * x - alpha_t * h_phi_1 * m0
        + sigma_t / sigma_s0 * x_t - alpha_t * h_phi_1 * m0
        """),
    *Control("UniPCMultistepScheduler", Settings(use_karras_sigmas=True)).mutants("""
        in set_timesteps
        grid: timesteps are truncated, not rounded
        - np.array([self._sigma_to_t(sigma, log_sigmas) for sigma in sigmas]).round()
        + np.array([self._sigma_to_t(sigma, log_sigmas) for sigma in sigmas])
        grid: the levels are Karras's and the timesteps are not
        - np.array([self._sigma_to_t(sigma, log_sigmas) for sigma in sigmas]).round()
        + timesteps
        """),
    *Control("DEISMultistepScheduler", Settings(lower_order_final=False)).mutants("""
        in multistep_deis_second_order_update
        history: the new and the old output are exchanged
        - sample / alpha_s0 + coef1 * m0 + coef2 * m1
        + sample / alpha_s0 + coef1 * m1 + coef2 * m0
        sign: the integral of log t is t (log t + 1)
        - -np.log(c) + np.log(t) - 1
        + -np.log(c) + np.log(t) + 1
        """),
    *Control("FlowMatchEulerDiscreteScheduler", Settings(shift=3.0)).mutants("""
        in step
        sign: the step goes back towards noise
        - sigma_next - sigma
        + sigma - sigma_next
        in set_timesteps
        last step: the last level stands twice, so that the last step goes nowhere
        - torch.cat([sigmas, torch.zeros(1, device=sigmas.device)])
        + torch.cat([sigmas, sigmas[-1:]])
        """),
    *Control("FlowMatchEulerDiscreteScheduler", Settings(stochastic_sampling=True)).mutants("""
        in step
        noise: the data keep their full size under the noise
        - (1.0 - next_sigma) * x0 + next_sigma * noise
        + x0 + next_sigma * noise
        """),
)
