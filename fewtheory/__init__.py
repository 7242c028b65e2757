"""fewtheory: few-step samplers and distillation losses, checked where the truth is known.

    import fewtheory as ft

    path = ft.paths.VPLinear()
    bed = ft.testbeds.mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])
    plan = ft.samplers.dpm_solver_pp(path, ft.plan.grids.log_snr(path, steps=8), order=2)

Parts load on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

PARTS = (
    "arrays",
    "metrics",
    "model",
    "paths",
    "plan",
    "samplers",
    "search",
    "suites",
    "testbeds",
    "verify",
)
NAMES = {
    "Model": "model",
    "Plan": "plan",
    "guided": "model",
    "classifier_guided": "model",
}
__all__ = [*PARTS, *NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in PARTS:
        return importlib.import_module(f".{name}", __name__)
    if name in NAMES:
        return getattr(importlib.import_module(f".{NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
