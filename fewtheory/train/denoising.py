"""Denoising and flow matching: the losses with which a network learns a path's predictions.

Both regress m = a x_0 + b eps on x_t = alpha x_0 + sigma eps; the minimiser over all functions is
E[m | x_t], the exact prediction of the data's law. They differ in which m, at which levels, with
which weights: denoising as in EDM (Karras et al. 2022) or DDPM (Ho et al. 2020), flow matching as
in Lipman et al. 2023 and Liu et al. 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

from ..arrays import standard_normal
from ..errors import fail, number
from ..model import MEANING, Level, Model, over_event
from ..paths import Path, RectifiedFlow
from .player import Batch, Player

AsModel: TypeAlias = Callable[[nn.Module], Model]
Levels: TypeAlias = Callable[[Path, int, torch.Generator], torch.Tensor]
Weight: TypeAlias = Callable[[Level], torch.Tensor]


def uniform_times(start: float | None = None, end: float | None = None) -> Levels:
    """t uniform between the path's own ends, or between these (`start` the noisy one)."""
    for argument, value in {"start": start, "end": end}.items():
        if value is not None:
            number("uniform_times", argument, value, 0.0)

    def draw(path: Path, n: int, rng: torch.Generator) -> torch.Tensor:
        high = path.start if start is None else start
        low = path.end if end is None else end
        path.check_t("uniform_times", float(high), "start")
        path.check_t("uniform_times", float(low), "end")
        return low + (high - low) * torch.rand(n, generator=rng, device=rng.device)

    return draw


def log_normal(mean: float | int = -1.2, std: float | int = 1.2) -> Levels:
    """log rho = log(sigma / alpha) normal (EDM), cut at the path's range of t."""
    number("log_normal", "mean", mean, -math.inf)
    number("log_normal", "std", std, 0.0)

    def draw(path: Path, n: int, rng: torch.Generator) -> torch.Tensor:
        z = torch.randn(n, generator=rng, device=rng.device)
        return torch.clamp(path.t_at(-(mean + std * z)), path.t_min or path.end, path.t_max)

    return draw


def logit_normal(mean: float | int = 0.0, std: float | int = 1.0) -> Levels:
    """t = 1 / (1 + exp(-z)), z normal (Stable Diffusion 3), for paths on [0, 1]."""
    number("logit_normal", "mean", mean, -math.inf)
    number("logit_normal", "std", std, 0.0)

    def draw(path: Path, n: int, rng: torch.Generator) -> torch.Tensor:
        if path.t_max > 1:
            raise fail("logit_normal", "path", "on [0, 1]", path)
        z = torch.randn(n, generator=rng, device=rng.device)
        return torch.clamp(torch.sigmoid(mean + std * z), path.end, path.start)

    return draw


def edm_weight(sigma_data: float | int = 0.5) -> Weight:
    """w = 1 / s^2 + 1 / rho^2 for data prediction: each level's loss starts near one."""
    s = number("edm_weight", "sigma_data", sigma_data, 1e-12)

    def weight(level: Level) -> torch.Tensor:
        return 1 / s**2 + (level.alpha / level.sigma) ** 2

    return weight


def regression_loss(
    model: Model,
    x0: torch.Tensor,
    t: torch.Tensor,
    eps: torch.Tensor,
    weight: Weight | None = None,
    **cond: Any,
) -> torch.Tensor:
    """mean_i w(t_i) |model(x_t, t) - (a x_0 + b eps)|^2 / d, in the model's own prediction.

    x0, eps: (n, *event); t: (n,). Differentiable in the model and in x0.
    """
    level = Level.at(model.path, t)
    alpha, sigma, a, b = (
        over_event(c, x0) for c in (level.alpha, level.sigma, *MEANING[model.prediction](level))
    )
    out = model.function(alpha * x0 + sigma * eps, t, **{**model.cond, **cond})
    error = (out - (a * x0 + b * eps)).square().reshape(x0.shape[0], -1).mean(1)
    return (error if weight is None else weight(level) * error).mean()


def denoising(
    network: nn.Module,
    as_model: AsModel,
    *,
    levels: Levels | None = None,
    weight: Weight | None = None,
    drop: float | int = 0.0,
    null: Mapping[str, Any] | None = None,
    name: str = "denoiser",
    **settings: Any,
) -> dict[str, Player]:
    """Denoising score matching: E w(t) |model(x_t, t) - m|^2, m what the model predicts.

    as_model(network): the network as a Model, whose path and prediction say what is learnt. levels:
    draws the times, log-normal in rho by default. weight: a function of the `Level`, one by default
    (DDPM's simple loss where the model predicts noise); `edm_weight` belongs to data prediction. A
    batch holds "x" (n, *event); whatever else it holds is a condition. drop: the probability that a
    row's conditions are replaced by `null`, for classifier-free guidance. name: of the one player;
    settings: of the `Player`. Raises ValueError or TypeError by name.

    >>> import torch
    >>> from fewtheory import Model, paths
    >>> network = torch.nn.Linear(2, 2)
    >>> players = denoising(network, lambda net: Model(lambda x, t: net(x), paths.EDM(), "data"))
    >>> list(players)
    ['denoiser']
    """
    for argument, value in {"levels": levels, "weight": weight}.items():
        if value is not None and not callable(value):
            raise TypeError(f"denoising: {argument} must be callable or None, got {value!r}")
    draw, none = log_normal() if levels is None else levels, dict(null or {})
    dropped_share = number("denoising", "drop", drop, 0.0, 1.0)
    if dropped_share > 0 and not none:
        raise fail("denoising", "null", "the conditions that stand for none (drop > 0)", null)
    first = as_model(network)
    if not isinstance(first, Model):
        raise TypeError(f"denoising: as_model must return a Model, got {type(first).__name__}")
    path = first.path

    def loss(networks: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator) -> torch.Tensor:
        cond = dict(batch)
        if "x" not in cond:
            raise fail("denoising", "a batch", "a mapping with 'x'", list(batch))
        x0 = cond.pop("x")
        if unknown := none.keys() - cond.keys():
            raise fail("denoising", "null", f"among the conditions {list(cond)}", sorted(unknown))
        t = draw(path, x0.shape[0], rng).to(x0)
        eps = standard_normal(rng, x0.shape, x0)
        if dropped_share > 0:
            dropped = torch.rand(x0.shape[0], generator=rng, device=x0.device) < dropped_share
            cond = {key: _replaced(v, dropped, none.get(key, v)) for key, v in cond.items()}
        return regression_loss(as_model(networks[name]), x0, t, eps, weight, **cond)

    return {name: Player(network, loss, **settings)}


def _replaced(value: torch.Tensor, rows: torch.Tensor, none: Any) -> torch.Tensor:
    """The condition with these rows replaced by the one that stands for none."""
    none = torch.as_tensor(none, dtype=value.dtype, device=value.device)
    return torch.where(over_event(rows, value), none, value)


def flow_matching(
    network: nn.Module, as_model: AsModel, *, levels: Levels | None = None, **settings: Any
) -> dict[str, Player]:
    """Flow matching: E |v(x_t, t) - (alpha' x_0 + sigma' eps)|^2, times uniform by default.

    The same regression, of the velocity. as_model(network) predicts "velocity", or "flow" on the
    rectified path, where they are one; other arguments as in `denoising`. Raises ValueError for
    another prediction.
    """
    first = as_model(network)
    if not isinstance(first, Model):
        raise TypeError(f"flow_matching: as_model must return a Model, got {type(first).__name__}")
    one = {"velocity", "flow"} if isinstance(first.path, RectifiedFlow) else {"velocity"}
    if first.prediction not in one:
        allowed = f"a model of {sorted(one)} on {first.path!r}"
        raise fail("flow_matching", "as_model", allowed, first.prediction)
    draw = uniform_times() if levels is None else levels
    return denoising(network, as_model, levels=draw, **settings)
