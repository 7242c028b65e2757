"""Samplers: functions of a path and a grid that return a Plan. One file a family.

| you have | take |
| --- | --- |
| guidance, 10 to 20 evaluations | `dpm_solver_pp(order=2)` |
| no guidance, 10 to 20 evaluations | `unipc(order=2)`, `dpm_solver_pp(order=3)`, `deis` |
| a budget of evaluations in threes | `dpm_solver_pp(order=3, method="singlestep")` |
| an EDM network and 30 or more | `heun`, `edm_stochastic` where the network errs |
| a reference solution | `runge_kutta(method="rk4")` on a fine grid |
"""

from __future__ import annotations

from ..plan import SAMPLERS, VARIANTS
from .annealing import annealed_steps, equal_angle_grid, optimal_allocation
from .autoregressive import Autoregressive, annealed, innovations, masked_blocks, probe
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
from .time_shift import pixel_variance, time_resolution, time_shift
from .unipc import unipc

__all__ = [
    "SAMPLERS",
    "VARIANTS",
    "Autoregressive",
    "ErrorSplit",
    "ModelStatistics",
    "ancestral",
    "annealed",
    "annealed_steps",
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
    "euler_head",
    "euler_maruyama",
    "exponential_euler",
    "fast_orders",
    "flowar_head",
    "gaussian_error_split",
    "heun",
    "innovations",
    "ipndm",
    "mar_head",
    "masked_blocks",
    "mixed",
    "noise_scaled",
    "optimal_allocation",
    "pixel_variance",
    "probe",
    "ramp",
    "runge_kutta",
    "time_resolution",
    "time_shift",
    "unipc",
    "xar_head",
]
