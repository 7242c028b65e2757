"""fewtheory: few-step samplers and distillation losses, checked where the truth is known.

    import fewtheory as ft

    path = ft.paths.VPLinear()
    bed = ft.testbeds.mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])
    plan = ft.samplers.dpm_solver_pp(path, ft.plan.grids.log_snr(path, steps=8), order=2)

Parts load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see; at run time parts load on first use
    from . import adapters as adapters
    from . import arrays as arrays
    from . import audit as audit
    from . import compress as compress
    from . import distill as distill
    from . import inference as inference
    from . import learning as learning
    from . import metrics as metrics
    from . import model as model
    from . import paths as paths
    from . import plan as plan
    from . import samplers as samplers
    from . import search as search
    from . import subsets as subsets
    from . import suites as suites
    from . import testbeds as testbeds
    from . import train as train
    from . import verify as verify
    from . import zoo as zoo
    from .audit import conformance as conformance
    from .model import Model as Model
    from .model import classifier_guided as classifier_guided
    from .model import guided as guided
    from .plan import Plan as Plan

__version__ = "0.1.0"

PARTS = (
    "adapters",
    "arrays",
    "audit",
    "compress",
    "distill",
    "inference",
    "learning",
    "metrics",
    "model",
    "paths",
    "plan",
    "samplers",
    "search",
    "subsets",
    "suites",
    "testbeds",
    "train",
    "verify",
    "zoo",
)
NAMES = {
    "Model": "model",
    "Plan": "plan",
    "guided": "model",
    "classifier_guided": "model",
    "conformance": "audit",
}


NEEDS_MODELS = ("compress", "distill", "train", "zoo")  # what the extra `models` is for


def __getattr__(name: str) -> Any:
    if name in PARTS:
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if name not in NEEDS_MODELS or (error.name or "").startswith(__name__):
                raise
            from .errors import MissingExtra

            raise MissingExtra("models", f"fewtheory.{name}") from error
    if name in NAMES:
        return getattr(importlib.import_module(f".{NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*PARTS, *NAMES, "__version__"])
