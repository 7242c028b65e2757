"""The order that a scheduler's name or settings promise, with where the promise is made.

Only for schedulers of known classes; for others the audit is told (`named=`), or judges no name.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .subject import Subject

BY_CLASS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "DDIMScheduler",
                "DDIMParallelScheduler",
                "DDIMInverseScheduler",
                "CogVideoXDDIMScheduler",
            ),
            (1, "DDIM is of first order"),
        ),
        **dict.fromkeys(
            ("DDPMScheduler", "DDPMParallelScheduler", "UnCLIPScheduler"),
            (1, "ancestral sampling is of first weak order"),
        ),
        **dict.fromkeys(
            (
                "EulerDiscreteScheduler",
                "EDMEulerScheduler",
                "FlowMatchEulerDiscreteScheduler",
                "FlowMapEulerDiscreteScheduler",
            ),
            (1, "Euler's method"),
        ),
        "EulerAncestralDiscreteScheduler": (1, "Euler's method with fresh noise"),
        "LTXEulerAncestralRFScheduler": (1, "Euler's method with fresh noise"),
        "HeunDiscreteScheduler": (2, "Heun's method"),
        "FlowMatchHeunDiscreteScheduler": (2, "Heun's method"),
        "KDPM2DiscreteScheduler": (2, "DPM-Solver-2"),
        "KDPM2AncestralDiscreteScheduler": (2, "DPM-Solver-2 with fresh noise"),
        "LMSDiscreteScheduler": (4, "the default order of its step"),
        "PNDMScheduler": (2, "the order that the PNDM paper proves"),
        "IPNDMScheduler": (4, "its documentation: fourth-order improved PNDM"),
    }
)


def promised_order(judged: Subject, made: Any) -> tuple[int | None, str]:
    """The order that its step must have: the named one, or what its paper proves beyond that."""
    named, where = named_order(judged, made)
    config = dict(getattr(made, "config", {}))
    if (
        named is not None
        and judged.name.startswith("UniPC")
        and not config.get("disable_corrector")
    ):
        return named + 1, f"UniPC-{named} with its corrector"
    return named, where


def named_order(judged: Subject, made: Any) -> tuple[int | None, str]:
    """(the order that is promised, where); None where none is.

    `solver_order` in the config, SA-Solver's larger order, or what the class is named after.
    """
    config = dict(getattr(made, "config", {}))
    if isinstance(config.get("solver_order"), int):
        return config["solver_order"], "solver_order"
    if "predictor_order" in config:
        return max(config["predictor_order"], config["corrector_order"]), "predictor_order"
    if judged.kind == "plan" and isinstance(judged.settings.get("order"), int):
        return judged.settings["order"], "order"
    return BY_CLASS.get(judged.name, (None, "no order is named"))
