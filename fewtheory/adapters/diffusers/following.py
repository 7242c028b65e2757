"""A pipeline's network that is asked at the times which a plan with a time shift tells.

A pipeline calls its network at a scheduler's timesteps, one number for the whole batch, before
`step` sees anything. A time shift wants a time for every sample, which only the run knows: so the
network follows the scheduler through a hook in front of its forward.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from ...errors import fail
from .scheduler import PlanScheduler

NAMES = ("sample", "hidden_states")  # of the state among a network's keywords


def follow_times(network: nn.Module, scheduler: PlanScheduler) -> RemovableHandle:
    """The network asked, row by row, at the times of the scheduler's run; `remove()` ends it.

    network: a pipeline's unet or transformer, called as network(x, timestep, ...) or with
    timestep=; a batch that guidance has doubled shares the times of its pairs. scheduler: made of a
    plan with a time shift; without this its `step` raises. Raises ValueError for another plan and
    for a preconditioned network, whose input is scaled before the times are known.

    >>> import fewtheory as ft
    >>> from diffusers import DDIMScheduler, UNet2DModel
    >>> ddim = DDIMScheduler()
    >>> grid = ft.adapters.diffusers.grid(ddim, 4)
    >>> plan = ft.samplers.time_shift(ft.samplers.ddim(grid.path, grid), window=0.03)
    >>> unet = UNet2DModel(8, 1, 1, block_out_channels=(8,), norm_num_groups=4,
    ...     down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    >>> handle = follow_times(unet, ft.adapters.diffusers.scheduler(plan, ddim))
    """
    where = "follow_times"
    if not isinstance(network, nn.Module):
        raise TypeError(f"{where}: network must be a torch module, got {type(network).__name__}")
    if not isinstance(scheduler, PlanScheduler):
        raise TypeError(f"{where}: scheduler must be a PlanScheduler, got {scheduler!r}")
    if not scheduler.shifts_time:
        raise fail(where, "scheduler", "of a plan with a time shift", scheduler)
    if scheduler.convention.sigma_data is not None:
        raise fail(where, "scheduler", "of a network that is shown its state unscaled", scheduler)

    def replaced(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else next(kwargs[n] for n in NAMES if n in kwargs)
        times = scheduler.asked_times(x)
        if "timestep" in kwargs:
            return args, {**kwargs, "timestep": times}
        return (args[0], times, *args[2:]), kwargs

    scheduler.followed = True
    return network.register_forward_pre_hook(replaced, with_kwargs=True)
