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
from .ddim import ddim
from .deis import deis, exponential_euler, ipndm
from .dpm_solver_adaptive import dpm_solver_adaptive
from .dpm_solver_pp import dpm_solver_pp, fast_orders
from .edm import edm_stochastic
from .runge_kutta import euler, heun, runge_kutta
from .unipc import unipc

__all__ = [
    "SAMPLERS",
    "VARIANTS",
    "ddim",
    "deis",
    "dpm_solver_adaptive",
    "dpm_solver_pp",
    "edm_stochastic",
    "euler",
    "exponential_euler",
    "fast_orders",
    "heun",
    "ipndm",
    "runge_kutta",
    "unipc",
]
