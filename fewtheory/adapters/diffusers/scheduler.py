"""Any plan as a diffusers scheduler: `pipe.scheduler = scheduler(plan, pipe.scheduler)`.

A run of a plan is a coroutine that asks for model outputs (`plan.run.stepping`). Here a pipeline
answers: it calls its network at `timesteps`, one after another, and each `step` hands the output to
the coroutine and gives back the state at which the next is wanted. The arithmetic is that of
`Plan.run`, and a config holds the plan and the network's convention as plain data, so that a saved
pipeline draws the same samples.

A pipeline that is loaded from a folder finds the class only where `fewtheory.adapters.diffusers`
has been imported: diffusers imports no module because a file names it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from diffusers.utils.torch_utils import randn_tensor

from ...errors import fail, integer
from ...paths import RectifiedFlow, Table
from ...plan import Plan
from ...plan.files import from_record, record
from ...plan.run import compile_rows, stepping
from . import records
from .convention import PREDICTION_TYPES, convention

Generators = torch.Generator | list[torch.Generator] | None
TYPE_OF = {prediction: name for name, prediction in PREDICTION_TYPES.items()}


def scheduler(plan: Plan, like: Any = None) -> PlanScheduler:
    """The plan as a scheduler for the network that `like` was the scheduler of.

    like: the scheduler that it replaces, or a `Convention`: it says what the network expects (path,
    prediction, units of time, preconditioning). None: what the plan's own levels imply, see
    `records.implied`. Ask the pipeline for num_inference_steps=plan.nfe. Raises TypeError for other
    arguments, and ValueError where the plan leaves the network's levels.

    >>> import fewtheory as ft
    >>> from diffusers import DDIMScheduler
    >>> ddim = DDIMScheduler()
    >>> grid = ft.adapters.diffusers.grid(ddim, 4)
    >>> scheduler(ft.samplers.ddim(grid.path, grid), ddim).timesteps
    tensor([750, 500, 250,   0])
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"scheduler: plan must be a fewtheory Plan, got {type(plan).__name__}")
    told = records.implied(plan) if like is None else convention(like)
    entries = told.path.entries if isinstance(told.path, Table) else records.ENTRIES
    edm = {1: "epsilon", -1: "v_prediction"}[told.sign]
    return PlanScheduler(
        plan=record(plan),
        convention=records.record(told),
        num_train_timesteps=getattr(like, "config", {}).get("num_train_timesteps", entries),
        prediction_type=TYPE_OF.get(told.prediction) if told.sigma_data is None else edm,
        use_flow_sigmas=told.prediction == "flow",
    )


class PlanScheduler(SchedulerMixin, ConfigMixin):
    """A plan that a pipeline drives; made by `scheduler`, or loaded from its config.

    One step is one evaluation of the network, so `timesteps` has plan.nfe entries and `order` is 1.
    A sampler's rows before its first evaluation (EDM's first churn) are left out: they add noise to
    noise, and the pipeline's own start at that level has the same law. step_index: how many of
    `timesteps` are done, None before the first; begin_index: where the run begins, None is 0.
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        plan: Any = None,
        convention: Any = None,
        num_train_timesteps: int = records.ENTRIES,
        prediction_type: str | None = None,
        use_flow_sigmas: bool = False,  # pipelines read it and leave the levels to the scheduler
    ) -> None:
        if not (isinstance(plan, Mapping) and isinstance(convention, Mapping)):
            got = f"{type(plan).__name__} and {type(convention).__name__}"
            raise TypeError(f"PlanScheduler: plan must be made by scheduler(plan, like), got {got}")
        self.plan = from_record(plan, "PlanScheduler")
        self.convention = records.from_record(convention, "PlanScheduler")
        self._nodes = np.flatnonzero(self.plan.evaluated).tolist()
        begun = _from_node(self.plan, self._nodes[0]) if self._nodes else None
        if begun is None:
            raise fail("PlanScheduler", "plan", "one that begins with an evaluation", self.plan)
        self._begun = {0: begun}
        self.shifts_time = any(h.on == "time" for h in self.plan.hooks)
        self.followed = False  # set by `follow_times`: the network asks for `asked_times`
        self._read_levels()
        self._ready = False
        self._restart()

    def _read_levels(self) -> None:
        """The times, levels and starting noise of the plan on the network's own path."""
        plan, told = self._begun[0], self.convention
        try:
            rows = compile_rows(plan, told.path, told.prediction)
        except ValueError as error:
            raise ValueError(f"scheduler: plan does not fit its network: {error}") from None
        self._t = [row.t for row in rows if row.t is not None]
        times = np.array([told.timestep(t) for t in self._t])
        entries = np.rint(times)
        indexed = isinstance(told.path, (Table, records.Levels))
        if indexed and np.all(np.abs(times - entries) <= 1e-6):
            self._times = torch.tensor(entries.astype(np.int64))
        else:
            self._times = torch.tensor(times, dtype=torch.float32)
        self._expected = self._times.tolist()
        lam = plan.lam[[*np.flatnonzero(plan.evaluated), -1]]
        sigma = [told.path.level(v)[1] for v in lam.tolist()]
        straight = isinstance(told.path, RectifiedFlow)
        self.sigmas = torch.tensor(sigma if straight else np.exp(-lam), dtype=torch.float32)
        on_circle = abs(math.hypot(*told.path.level(float(lam[0]))) - 1) <= 1e-9
        self.init_noise_sigma = 1.0 if on_circle else sigma[0]

    def _restart(self, device: Any = None) -> None:
        self._walk: Generator[Any, Any, Any] | None = None
        self.step_index: int | None = None
        self.begin_index: int | None = None
        self._shown = self._seen = self._generator = self._asked = None
        self.timesteps = self._times.to(device) if device is not None else self._times

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin at this entry of `timesteps`, as image-to-image pipelines do.

        Raises ValueError where a later step uses a state or an output from before it (multistep
        samplers: make a plan whose grid begins at that level instead).
        """
        where, last = "PlanScheduler.set_begin_index", len(self._nodes) - 1
        k = integer(where, "begin_index", begin_index, 0, last)
        if k not in self._begun:
            begun = _from_node(self.plan, self._nodes[k])
            if begun is None:
                allowed = f"0 for {self.plan!r}, whose later steps use what came before"
                raise fail(where, "begin_index", allowed, k)
            self._begun[k] = begun
        self.begin_index = k

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
    ) -> None:
        """Begin anew; `timesteps` are the plan's network times, on this device.

        num_inference_steps: the plan's number of evaluations, or None. A plan's levels are its own:
        timesteps and sigmas raise ValueError, but for the sigmas 1, 1 - 1/N, ..., 1/N that flow
        pipelines pass whatever they are asked for; mu, by which they shift levels, is not used.
        """
        where, nfe = "PlanScheduler.set_timesteps", len(self._nodes)
        given = num_inference_steps if sigmas is None else len(sigmas)
        if given not in (None, nfe):
            allowed = f"{nfe}, the evaluations of {self.plan!r} (call its sampler on another grid)"
            raise fail(where, "num_inference_steps", allowed, given)
        own = "None (the levels are those of the plan's grid)"
        if timesteps is not None:
            raise fail(where, "timesteps", own, timesteps)
        if sigmas is not None and not np.allclose(sigmas, 1 - np.arange(nfe) / nfe, atol=1e-6):
            raise fail(where, "sigmas", own, sigmas)
        self.num_inference_steps = nfe
        self._ready = True
        self._restart(device)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """What the network is shown at the next evaluation: c_in x for EDM's, else the sample."""
        if self.convention.sigma_data is None:
            return sample
        return self.convention.scale_input(sample, self._t[self._position("scale_model_input")])

    def _position(self, where: str) -> int:
        if not self._ready or (self.step_index is not None and self._walk is None):
            raise ValueError(f"PlanScheduler.{where}: set_timesteps must be called before each run")
        return (self.begin_index or 0) if self.step_index is None else self.step_index

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        generator: Generators = None,
        return_dict: bool = True,
        *,
        eta: float | None = None,
        use_clipped_model_output: bool | None = None,
    ) -> SchedulerOutput | tuple[torch.Tensor]:
        """The state at which the next output is wanted, or the sample after the last one.

        model_output: the network's, at (sample, timestep), of sample's shape or with a learned
        variance behind it, which is left out. timestep: the next of `timesteps` (a CUDA tensor is
        not read). generator: for the noises of stochastic plans; None is torch's own, as in every
        scheduler of diffusers. Raises ValueError and TypeError, by name, for others.
        """
        k = self._position("step")
        if eta or use_clipped_model_output:
            name, got = ("eta", eta) if eta else ("use_clipped_model_output", True)
            raise fail("PlanScheduler.step", name, "left out (noise and clips are the plan's)", got)
        if self.shifts_time and not self.followed:
            allowed = "attached to the network by follow_times: its times depend on the samples"
            raise fail("PlanScheduler.step", "the scheduler", allowed, self)
        m = self._checked(k, model_output, timestep, sample)
        self._generator = generator
        walk, self._walk = self._walk, None  # a step that fails ends the run
        if walk is None:
            plan, told = self._begun[self.begin_index or 0], self.convention
            walk = stepping(plan, told.path, told.prediction, sample, self._draw)
            next(walk)
        elif sample is self._shown and _writes(sample) != self._seen:
            sample = sample.view(sample.shape)
        self.step_index = k + 1
        try:
            self._asked, out = walk.send((m, sample))
            self._walk, self._shown, self._seen = walk, out, _writes(out)
        except StopIteration as done:
            out, self._shown = done.value, None
        return SchedulerOutput(prev_sample=out) if return_dict else (out,)

    def _checked(self, k: int, m: Any, timestep: Any, sample: Any) -> torch.Tensor:
        """The prediction that the k-th output means at this state, or an error that names it."""
        where = "PlanScheduler.step"
        for name, value in (("model_output", m), ("sample", sample)):
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                got = getattr(value, "dtype", type(value).__name__)
                raise TypeError(f"{where}: {name} must be a floating tensor, got {got}")
        tensor = isinstance(timestep, torch.Tensor)
        if not tensor or timestep.device.type == "cpu":  # elsewhere reading it would wait
            if (tensor and timestep.numel() != 1) or float(timestep) != self._expected[k]:
                allowed = f"{self._expected[k]!r}, number {k} of timesteps"
                raise fail(where, "timestep", allowed, timestep)
        shape = sample.shape
        if self._shown is not None and shape != self._shown.shape:
            raise fail(where, "sample", f"of shape {tuple(self._shown.shape)}", tuple(shape))
        if m.shape != shape:
            if m.ndim > 1 and m.shape == (shape[0], 2 * shape[1], *shape[2:]):
                m = m[:, : shape[1]]
            else:
                raise fail(where, "model_output", f"of shape {tuple(shape)}", tuple(m.shape))
        scaled = self.convention.sigma_data is not None
        if scaled or m.dtype != sample.dtype:
            wide = torch.promote_types(sample.dtype, torch.float32)
            m = m.to(wide)
            return self.convention.read_output(m, sample.to(wide), self._t[k]) if scaled else m
        return m

    def _draw(self, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        drawn = {"generator": self._generator, "device": like.device, "dtype": like.dtype}
        return randn_tensor(tuple(shape), **drawn)

    def asked_times(self, x: torch.Tensor) -> torch.Tensor:
        """The network's times for the rows of x, which may be the batch several times over."""
        k, rows = self._position("asked_times"), x.shape[0]
        if self._asked is None:
            return self._times[k].to(x.device).expand(rows)
        told = torch.stack([torch.as_tensor(self.convention.timestep(t)) for t in self._asked])
        if rows % told.shape[0]:
            allowed = f"{told.shape[0]} rows, or times that"
            raise fail("PlanScheduler.asked_times", "x", allowed, rows)
        return told.to(x.device, torch.float32).repeat(rows // told.shape[0])

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: Any) -> Any:
        """alpha x_0 + sigma eps at these network times (a number or one a row), any of the path."""
        where = "PlanScheduler.add_noise"
        alpha, sigma = records.level_at(self.convention, where, timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def scale_noise(self, sample: torch.Tensor, timestep: Any, noise: torch.Tensor) -> torch.Tensor:
        """`add_noise`, as flow-matching pipelines call it."""
        return self.add_noise(sample, noise, timestep)

    def get_velocity(self, sample: torch.Tensor, noise: torch.Tensor, timesteps: Any) -> Any:
        """v = alpha eps - sigma x_0 at these network times."""
        where = "PlanScheduler.get_velocity"
        alpha, sigma = records.level_at(self.convention, where, timesteps, sample)
        return alpha * noise - sigma * sample

    def __len__(self) -> int:
        return self.config["num_train_timesteps"]

    def __repr__(self) -> str:
        return f"<PlanScheduler of {self.plan!r}, {self.convention.prediction} network>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles begin anew, from the config: a run that is under way has no copy."""
        return type(self).from_config, (dict(self.config),)


def _from_node(plan: Plan, i: int) -> Plan | None:
    """The plan from its node i on; None where a later row looks back past that node."""
    if i == 0:
        return plan
    before, after = slice(0, i), slice(i + 1, None)
    drawn = np.any(plan.C[: i + 1], axis=(0, *range(2, plan.C.ndim)))
    looks_back = plan.P[after, before], plan.B[after, before], plan.C[after, drawn]
    if any(np.any(block) for block in looks_back):
        return None
    C, d = plan.C[i:].copy(), plan.d[i:].copy()
    C[0], d[0] = 0.0, 0.0
    levels = {name: getattr(plan, name)[i:] for name in ("lam", "alpha", "sigma", "t")}
    return replace(plan, P=plan.P[i:, i:], B=plan.B[i:, i:], C=C, d=d, **levels)


def _writes(x: torch.Tensor) -> int:
    """How often x was written into; -1 where torch does not count."""
    return -1 if x.is_inference() else x._version
