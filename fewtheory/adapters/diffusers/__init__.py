"""diffusers: its networks as models, and plans as its schedulers.

`convention` reads off a scheduler what its network expects (path, prediction, units of time,
preconditioning); `model` makes a Model of the network; `scheduler` makes a scheduler of a plan;
`follow_times` lets a pipeline's network follow one whose times depend on the samples.
"""

from __future__ import annotations

from .convention import Convention, convention, grid
from .following import follow_times
from .network import model
from .scheduler import PlanScheduler, scheduler

__all__ = [
    "Convention",
    "PlanScheduler",
    "convention",
    "follow_times",
    "grid",
    "model",
    "scheduler",
]
