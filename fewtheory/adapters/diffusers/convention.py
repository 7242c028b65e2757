"""What a diffusers scheduler says about its network.

A scheduler's config holds two things: how the network was trained (which levels of noise, what it
predicts, in what units it takes time) and how to sample. Only the first belongs to the network,
and it stays true when the sampler is replaced: that part is read here.

| config | path | time that the network takes |
| --- | --- | --- |
| a table of betas (`alphas_cumprod`) | `Table` | the entry, 0 .. N - 1, fractions between |
| flow matching | `RectifiedFlow` | N t |
| EDM, preconditioned; continuous v (Stable Video) | `EDM` | log(sigma) / 4 |
| cosine EDM (Stable Audio) | `EDM` | 2 arctan(sigma) / pi |
| variance exploding (score SDE) | `EDM` | sigma |
| improved PNDM (Dance Diffusion) | `Trigonometric`, v | t |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Array
from ...errors import fail
from ...model import over_event
from ...paths import EDM, Path, RectifiedFlow, Table, Trigonometric
from ...plan import grids
from .units import Affine, Arctan, QuarterLog, Units

PREDICTION_TYPES = {
    "epsilon": "noise",
    "sample": "data",
    "v_prediction": "v",
    "flow_prediction": "flow",
}


@dataclass(frozen=True)
class Convention:
    """How the network of a scheduler is called and what its output means.

    path, prediction: of the network as a Model; timestep: the units in which it takes the path's t;
    sigma_data, sign: of an EDM network, which sees c_in x and whose output F means x_0 = c_skip x +
    sign c_out F; None for the others, whose output is the prediction itself.
    """

    path: Path
    prediction: str
    timestep: Units
    sigma_data: float | None = None
    sign: int = 1

    def scale_input(self, x: Array, t: Array) -> Array:
        """What the network is shown in place of x: c_in x with c_in^2 = 1 / (sigma^2 + s^2)."""
        if self.sigma_data is None:
            return x
        return x * over_event((self.path.sigma(t) ** 2 + self.sigma_data**2) ** -0.5, x)

    def read_output(self, out: Array, x: Array, t: Array) -> Array:
        """The prediction that the network's output means at the unscaled state x.

        EDM: c_skip = s^2 / (sigma^2 + s^2), c_out = sigma s / sqrt(sigma^2 + s^2).
        """
        if self.sigma_data is None:
            return out
        sigma, s = self.path.sigma(t), self.sigma_data
        total = sigma**2 + s**2
        return (
            over_event(s**2 / total, x) * x
            + over_event(self.sign * sigma * s / total**0.5, x) * out
        )


def convention(scheduler: Any) -> Convention:
    """What this scheduler's config says about its network (table above).

    Raises TypeError for what is no scheduler, ValueError, by name, for one whose network is not
    read here (consistency and token schedulers; give `adapters.torch.model` a path instead).

    >>> from diffusers import DDPMScheduler
    >>> told = convention(DDPMScheduler(prediction_type="v_prediction"))
    >>> told.prediction, round(told.timestep(told.path.t_at(0.0)), 2)
    ('v', 258.09)
    """
    config, name = getattr(scheduler, "config", None), type(scheduler).__name__
    if isinstance(scheduler, Convention):
        return scheduler
    if config is None or not hasattr(scheduler, "set_timesteps"):
        raise TypeError(f"convention: scheduler must be a diffusers scheduler, got {scheduler!r}")
    if name == "PlanScheduler":
        return scheduler.convention
    kind = config.get("prediction_type", None)
    if name == "IPNDMScheduler":  # its config says nothing; its step reads the output as v
        return Convention(Trigonometric(), "v", Affine(1.0))
    if config.get("invert_sigmas"):
        raise fail("convention", "scheduler", "one whose time grows with the noise", name)
    if name.startswith(FLOWS) or kind == "flow_prediction" or config.get("use_flow_sigmas"):
        units = Affine(config["num_train_timesteps"])
        return Convention(RectifiedFlow(), PREDICTION_TYPES.get(kind, "flow"), units)
    if name.startswith(("EDM", "Cosine")):
        path = EDM(config["sigma_min"], config["sigma_max"])
        units = Arctan() if name.startswith("Cosine") else QuarterLog()
        sign = -1 if kind == "v_prediction" else 1
        return Convention(path, "data", units, config["sigma_data"], sign)
    if config.get("timestep_type") == "continuous" and kind == "v_prediction":
        # v prediction in EDM's coordinates is its preconditioning with sigma_data = 1
        a = scheduler.alphas_cumprod.double()  # where the config names no ends, the table's
        low, high = (float((1 / a[i] - 1) ** 0.5) for i in (0, -1))
        path = EDM(config["sigma_min"] or low, config["sigma_max"] or high)
        return Convention(path, "data", QuarterLog(), 1.0, -1)
    if name == "ScoreSdeVeScheduler":
        return Convention(EDM(config["sigma_min"], config["sigma_max"]), "score", Affine(1.0))
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None or kind not in PREDICTION_TYPES or config.get("timestep_type") == "continuous":
        raise fail(
            "convention",
            "scheduler",
            "one with alphas_cumprod and a prediction_type, a flow-matching or an EDM one",
            name,
        )
    path = Table(np.asarray(table, dtype=np.float64), clip_lam=CLIP_LAM)
    return Convention(path, PREDICTION_TYPES[kind], Affine(path.entries, -1.0))


FLOWS = ("FlowMatch", "FlowMap", "LTXEuler")
CLIP_LAM = -15.0  # alpha^2 = 1e-13: what lies below is a zero terminal SNR


def grid(scheduler: Any, steps: int) -> grids.Grid:
    """The levels at which this scheduler itself would call its network in `steps` steps.

    Read off its timesteps, a copy's, each level once; the last step goes to sigma = 0.

    >>> from diffusers import DDIMScheduler
    >>> grid(DDIMScheduler(), 4).t.round(3)
    array([0.751, 0.501, 0.251, 0.001, 0.001])
    """
    told = convention(scheduler)
    if type(scheduler).__name__ == "ScoreSdeVeScheduler":
        raise fail("grid", "scheduler", "one whose timesteps its network takes", scheduler)
    own = type(scheduler).from_config(scheduler.config)
    own.set_timesteps(steps)
    network_times = np.unique(np.asarray(own.timesteps, dtype=np.float64))[::-1]
    t = told.timestep.inverse(network_times)
    t = np.clip(t, told.path.t_min, told.path.t_max)  # timesteps are float32
    return grids.at_lams(told.path, told.path.lam(t)).to_clean()
