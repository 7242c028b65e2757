"""Which schedulers of the installed diffusers are audited, and in which settings.

Nothing is kept by hand but the options that change a sampler, `CHANGES`: which classes there are is
read off the library, what each accepts off its signature and its source, and why one cannot be
audited is found by trying. Variants change one thing at a time from a base in which the class is
linear, so that a defect has one cause; a few important pairs come on top.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ..errors import MissingExtra, one_of
from .case import Case
from .probe import quiet
from .subject import PROTOCOL, subject

TRIED = 16  # steps of the run that tells whether a class can be audited, and whether it is linear
LINEAR = ("clip_sample", "clip_denoised", "thresholding")  # with these switched off a step is
ALGORITHMS = ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver")
# what a setting needs beside it, in a class that has that option
NEEDS: tuple[tuple[str, Any, dict[str, Any]], ...] = (
    ("algorithm_type", "dpmsolver", {"final_sigmas_type": "sigma_min"}),
    ("algorithm_type", "sde-dpmsolver", {"final_sigmas_type": "sigma_min"}),
    ("use_flow_sigmas", True, {"prediction_type": "flow_prediction"}),
)

Change = dict[str, Any]


def each(options: Mapping[str, Sequence[Any]], **beside: Any) -> Iterator[Change]:
    """Every combination of these values, with the settings beside them.

    >>> list(each({"solver_order": (1, 2)}, use_flow_sigmas=True))[0]
    {'use_flow_sigmas': True, 'solver_order': 1}
    """
    for values in itertools.product(*options.values()):
        yield {**beside, **dict(zip(options, values, strict=True))}


# A class takes the changes whose options its constructor accepts and whose words its source names.
CHANGES: tuple[Change, ...] = (
    *each({"algorithm_type": (*ALGORITHMS, "data_prediction", "noise_prediction")}),
    *each({"algorithm_type": ALGORITHMS, "solver_order": (1, 2, 3)}),
    *each({"solver_order": (1, 2, 3)}),
    *({"predictor_order": p, "corrector_order": p} for p in (1, 2, 3, 4)),
    *each({"solver_type": ("midpoint", "heun", "bh1", "bh2", "logrho")}),
    *each({"algorithm_type": ALGORITHMS, "solver_type": ("heun",)}),
    *each({"predict_x0": (False,), "solver_order": (1, 2, 3)}),
    {"disable_corrector": [0]},
    {"lower_order_final": False},
    {"lower_order_final": False, "solver_order": 3},
    {"euler_at_final": True},
    {"final_sigmas_type": "sigma_min"},
    *each({"timestep_spacing": ("linspace", "leading", "trailing")}),
    {"timestep_type": "continuous"},
    {"interpolation_type": "log_linear"},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
    {"use_lu_lambdas": True},
    {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
    {"use_karras_sigmas": True, "solver_order": 3},
    {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
    {"use_flow_sigmas": True},
    *each({"solver_order": (1, 3)}, use_flow_sigmas=True),
    {"use_flow_sigmas": True, "flow_shift": 3.0},
    *each({"sigma_schedule": ("karras", "exponential")}),
    *each({"prediction_type": ("v_prediction", "sample")}),
    *each({"prediction_type": ("epsilon", "v_prediction")}, rescale_betas_zero_snr=True),
    *each({"set_alpha_to_one": (True, False)}),
    {"skip_prk_steps": True},
    {"skip_prk_steps": True, "set_alpha_to_one": True},
    {"shift": 3.0},
    {"shift_terminal": 0.1},
    {"invert_sigmas": True},
    {"stochastic_sampling": True},
    {"eta": 0.0},
    *each({"variance_type": ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log")}),
    {"variance_type": "fixed_large", "timestep_spacing": "trailing"},
)


def library() -> str:
    """The library that is audited, with its version; MissingExtra where there is none."""
    try:
        return f"diffusers {importlib.metadata.version('diffusers')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtra("models", __name__) from error


def names() -> list[str]:
    """The public scheduler classes of diffusers, those that need a missing library among them."""
    library()
    import diffusers.schedulers as room

    return sorted(
        n for n in dir(room) if n.endswith("Scheduler") and isinstance(scheduler(n), type)
    )


def checked(where: str, only: Sequence[str]) -> list[str]:
    """The classes of these names, all by default; ValueError for another name."""
    known = names()
    for name in only:
        one_of(where, "only", name, tuple(known))
    return list(only) or known


def scheduler(name: str) -> Any:
    """The class of this name."""
    import diffusers.schedulers as room

    return getattr(room, name)


def unaudited(name: str) -> str:
    """Why this class cannot be audited, in words; "" where it can.

    >>> unaudited("DPMSolverSDEScheduler").startswith("needs")
    True
    """
    kind = scheduler(name)
    if type(kind).__name__ == "DummyObject":
        return f"needs {' and '.join(_missing(kind._backends))}, which is not installed"
    asks = _required(kind)
    if asks:
        return f"cannot be made without {_listed(asks)}"
    absent = [m for m in PROTOCOL if not callable(getattr(kind, m, None))]
    if absent:
        parts = [m for m in dir(kind) if m.startswith("step_")]
        return f"has no {_listed(absent)}, but {_listed(parts)}"
    asks = [a for a in _required(kind.step)[1:] if a not in ("model_output", "timestep", "sample")]
    if asks:
        return f"its step also asks for {_listed(asks)}"
    if "LongTensor" in str(inspect.signature(kind.step).parameters["sample"].annotation):
        return "its state is tokens, not numbers"
    with quiet():
        case = Case(subject(kind), (TRIED,))
        ended = case.run(TRIED)
    return "" if ended else f"a run in {TRIED} steps raises {words(case.raised[TRIED])}"


def _missing(packages: Sequence[str]) -> list[str]:
    return [p for p in packages if find_spec(p) is None]


def _required(function: Any) -> list[str]:
    """The parameters without default."""
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.default is p.empty and p.kind not in free]


def _listed(names: Sequence[str]) -> str:
    quoted = [f"`{n}`" for n in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def base(name: str) -> Change:
    """The settings in which this class is linear: none where its default is."""
    kind = scheduler(name)
    with quiet():
        run = Case(subject(kind), (TRIED,)).run(TRIED)
    if run is not None and run.probe.nonlinear_at is None:
        return {}
    parameters = inspect.signature(kind).parameters
    return {k: False for k in LINEAR if k in parameters and parameters[k].default is True}


def variants(name: str) -> list[Change]:
    """The settings in which this class is audited: its default first, no config twice.

    >>> variants("FlowMapEulerDiscreteScheduler")
    [{}, {'shift': 3.0}]
    """
    kind, linear = scheduler(name), base(name)
    changed = [_with_needs(kind, c) for c in CHANGES if _takes(kind, c)]
    found: list[Change] = []
    seen: list[Any] = []
    for settings in ({}, linear, *({**linear, **c} for c in changed)):
        config = _config(kind, settings)
        if config not in seen:
            seen.append(config)
            found.append(settings)
    return found


def _takes(kind: type, change: Change) -> bool:
    """Whether the constructor has these options, and the class names these words."""
    named = (f'"{v}"' in _source(kind) for v in change.values() if isinstance(v, str))
    return set(change) <= set(inspect.signature(kind).parameters) and all(named)


@functools.cache
def _source(kind: type) -> str:
    return inspect.getsource(kind)


def _with_needs(kind: type, change: Change) -> Change:
    options = inspect.signature(kind).parameters
    for option, value, beside in NEEDS:
        if change.get(option) == value:
            change = {**change, **{k: v for k, v in beside.items() if k in options}}
    return change


def _config(kind: type, settings: Change) -> Any:
    """What the scheduler says of itself; the settings themselves where it refuses them."""
    with quiet():
        try:
            made = kind(**settings)
        except Exception:  # a row that says so
            return repr(settings)
    return {k: v for k, v in dict(made.config).items() if not k.startswith("_")}


def words(error: Exception) -> str:
    """The error's type and what it says, on one line of 150 characters at most."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 120 else text[:117] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
