"""Plans, few-step samplers as data: `Plan`, how to write one (`Trace`), grids, order, files."""

from __future__ import annotations

from . import angles, grids
from .files import load
from .grids import Grid, GridLike, Point
from .hooks import Hook
from .order import order
from .plan import Plan, Tableau
from .trace import SAMPLERS, VARIANTS, Form, Trace, Variant, sampler

__all__ = [
    "SAMPLERS",
    "VARIANTS",
    "Form",
    "Grid",
    "GridLike",
    "Hook",
    "Plan",
    "Point",
    "Tableau",
    "Trace",
    "Variant",
    "angles",
    "grids",
    "load",
    "order",
    "sampler",
]
