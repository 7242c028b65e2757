"""Samplers: functions of a path and a grid that return a Plan. One file a family.

| you have | take |
| --- | --- |
| guidance, 10 to 20 evaluations | `dpm_solver_pp(order=2)` |
| no guidance, 10 to 20 evaluations | `unipc(order=2)`, `dpm_solver_pp(order=3)`, `deis` |
| a budget of evaluations in threes | `dpm_solver_pp(order=3, method="singlestep")` |
| an EDM network and 30 or more | `heun`, `edm_stochastic` where the network errs |
| 3 to 10 evaluations and no training | `dpm_solver_v3` with its `ModelStatistics`, `dualfast` |
| pixels that vary less than 1 | `time_shift` of any such plan |
| a distilled or a quantised network | `tcd`, `lcm`, `precondition` |
| an autoregressive model's head | `annealed`, `annealed_steps`, `mar_head` and its like |
| a structure predictor | `af3` |
| a schedule of your own, or one that was searched | `solver_schedule`, `SolverSpace` |
| a reference solution | `runge_kutta(method="rk4")` on a fine grid |
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..plan import SAMPLERS, VARIANTS
from .af3 import (
    af3,
    af3_levels,
    af3_stationary_variance,
    af3_variance,
    best_intermediate_level,
    low_temperature_ratio,
)
from .consistency import euler_ancestral, lcm, tcd
from .ddim import ddim
from .deis import deis, exponential_euler, ipndm
from .dpm_solver_adaptive import dpm_solver_adaptive
from .dpm_solver_pp import dpm_solver_pp, fast_orders
from .dpm_solver_v3 import dpm_solver_v3
from .dualfast import blend, dualfast, mixed, ramp
from .edm import edm_stochastic
from .error_split import ErrorSplit, error_split, gaussian_error_split, noise_scaled
from .heads import ancestral, euler_head, euler_maruyama, flowar_head, mar_head, xar_head
from .model_statistics import ModelStatistics
from .runge_kutta import euler, heun, runge_kutta
from .solver_decisions import (
    Decision,
    Taylor,
    analytic_step_error,
    known_schedule,
    switching_schedule,
    taylor_weights,
)
from .solver_schedule import solver_schedule
from .time_shift import pixel_variance, time_resolution, time_shift
from .unipc import unipc

if TYPE_CHECKING:  # what registers no sampler waits until it is asked for
    from .annealing import annealed_steps, equal_angle_grid, optimal_allocation
    from .autoregressive import Autoregressive, annealed, innovations, masked_blocks, probe
    from .preconditioned import exact_c_e, faded, precondition, step_factors
    from .solver_space import SolverSpace
    from .usf_files import load_usf, read_usf

__all__ = [
    "SAMPLERS",
    "VARIANTS",
    "Autoregressive",
    "Decision",
    "ErrorSplit",
    "ModelStatistics",
    "SolverSpace",
    "Taylor",
    "af3",
    "af3_levels",
    "af3_stationary_variance",
    "af3_variance",
    "analytic_step_error",
    "ancestral",
    "annealed",
    "annealed_steps",
    "best_intermediate_level",
    "blend",
    "ddim",
    "deis",
    "dpm_solver_adaptive",
    "dpm_solver_pp",
    "dpm_solver_v3",
    "dualfast",
    "edm_stochastic",
    "equal_angle_grid",
    "error_split",
    "euler",
    "euler_ancestral",
    "euler_head",
    "euler_maruyama",
    "exact_c_e",
    "exponential_euler",
    "faded",
    "fast_orders",
    "flowar_head",
    "gaussian_error_split",
    "heun",
    "innovations",
    "ipndm",
    "known_schedule",
    "lcm",
    "load_usf",
    "low_temperature_ratio",
    "mar_head",
    "masked_blocks",
    "mixed",
    "noise_scaled",
    "optimal_allocation",
    "pixel_variance",
    "precondition",
    "probe",
    "ramp",
    "read_usf",
    "runge_kutta",
    "solver_schedule",
    "step_factors",
    "switching_schedule",
    "taylor_weights",
    "tcd",
    "time_resolution",
    "time_shift",
    "unipc",
    "xar_head",
]

LATER = {
    "annealed_steps": "annealing",
    "equal_angle_grid": "annealing",
    "optimal_allocation": "annealing",
    "Autoregressive": "autoregressive",
    "annealed": "autoregressive",
    "innovations": "autoregressive",
    "masked_blocks": "autoregressive",
    "probe": "autoregressive",
    "exact_c_e": "preconditioned",
    "faded": "preconditioned",
    "precondition": "preconditioned",
    "step_factors": "preconditioned",
    "SolverSpace": "solver_space",
    "load_usf": "usf_files",
    "read_usf": "usf_files",
}


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(importlib.import_module(f".{LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
