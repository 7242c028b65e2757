"""Denoising from noisy data: each sample teaches at the levels above its own.

A sample y = x_0 + rho_n eps is compared not with the denoiser D but with what D says of y,

    E[y | x_t] = (1 - q) D(x_t, t) + q x_t / alpha_t,    q = rho_n^2 / rho_t^2,

rho = sigma / alpha, on any path; its minimiser over all functions is the denoiser of the CLEAN law.
Below the level of the noisiest samples a network may learn from itself: the denoiser is a
martingale of its own reverse process. "How much is a noisy image worth?" (arXiv 2411.02780), sheet
`ambient-scaling`, M1 to M4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn

from ...arrays import standard_normal
from ...errors import fail, integer, number, one_of
from ...model import Level, Model, over_event
from ...paths import Path
from ...train import Player, edm_weight
from ...train.denoising import AsModel, Weight
from ...train.player import Batch
from .levels._torch import Levels, LogNormalLevels, ratio
from .martingale._torch import consistency_loss, said, scaled, times
from .shares import MixedData

Number: TypeAlias = Any  # a number or a tensor (n,)
WEIGHTS = ("loss", "best")
MOST = 10.0  # the largest reweighting of a noisy sample: without a limit its variance diverges


def ambient_loss(
    model: Model,
    y: torch.Tensor,
    sigma_n: Number,
    t: Number,
    *,
    rng: torch.Generator,
    weight: str | Weight = "loss",
    sigma_data: float | int = 0.5,
    mixed: MixedData | None = None,
    share: torch.Tensor | None = None,
    **cond: Any,
) -> torch.Tensor:
    """mean_i w(t_i) |(1 - q_i) D(x_t, t_i) + q_i x_t / alpha_t - y_i|^2 / d, x_t with fresh noise.

    y: (n, *event), in units of the data (x_0 + sigma_n eps, whatever the path); sigma_n: a number
    or (n,), 0 for clean samples; t: a number or (n,), at levels not below sigma_n. model: any path
    and prediction, asked for the data. weight: "loss", the paper's 1 / sigma_data^2 + 1 / rho^2;
    "best", this times the reweighting of `mixed` (`reweighting`); or a function of the `Level`, for
    errors of the data prediction whatever the model's own.
    share: (n,), multiplies the rows: what a cut law of t left over. A scalar, differentiable in the
    model. Raises ValueError or TypeError by name. Source: sheet `ambient-scaling`, M1, M2.

    >>> from fewtheory.paths import EDM
    >>> exact = Model(lambda x, t: x / (1 + t.reshape(-1, 1) ** 2), EDM(), "data")  # of N(0, 1)
    >>> rng = torch.Generator().manual_seed(0)
    >>> y = torch.randn(40000, 1, generator=rng) * 1.25**0.5
    >>> loss = ambient_loss(exact, y, 0.5, 1.0, rng=rng, weight=lambda level: 1.0)
    >>> abs(float(loss) - 1 / (1 / 1.25 + 1 / 0.75)) < 0.02  # Var(y | x_t)
    True
    """
    rho, rho_n, t = _levels("ambient_loss", model.path, y, sigma_n, t)
    row = _row_weight("ambient_loss", model.path, weight, sigma_data, mixed)(t, rho, rho_n)
    gap = (rho - rho_n) * (rho + rho_n)  # of squares, without cancellation near its own level
    x = later_state(model.path, y, gap, t, rng)
    of_state = over_event((rho_n**2 / (rho**2 * model.path.alpha(t))).to(y), y)
    of_denoiser = over_event((gap / rho**2).to(y), y)
    mean = of_denoiser * said(model.predicting("data"), x, t, cond) + of_state * x
    error = (mean - y).square().reshape(y.shape[0], -1).mean(1)
    return ((row if share is None else row * share).to(error) * error).mean()


def later_state(
    path: Path, y: torch.Tensor, gap: torch.Tensor, t: torch.Tensor, rng: torch.Generator
) -> torch.Tensor:
    """x_t = alpha_t (y + sqrt(gap) z), gap = rho_t^2 - rho_n^2, from y = x_0 + rho_n eps."""
    z = standard_normal(rng, y.shape, y)
    return scaled(path, t, y + over_event(gap.sqrt().to(y), y) * z)


def reweighting(mixed: MixedData, rho: torch.Tensor, rho_n: torch.Tensor) -> torch.Tensor:
    """(n,): what makes the clean share of the pooled variance the best one at each level above.

    A clean row f N / n1, a noisy row (1 - f) N / (n2 a^2), N = n1 + n2 a^2 (both 1 below sigma_n):
    then c_w = f c_1 + (1 - f) c_2, and the weight of a level is as before. The noisy rows' factor
    grows as 1/a^2 towards sigma_n and is cut at 10. Source: sheet `ambient-scaling`, M6, M7.
    """
    n1, n2, f, s = mixed.n_clean, mixed.n_noisy, mixed.clean_share, float(mixed.sigma_n)
    noisy = rho_n > 0
    if bool(((rho_n - s).abs() > 1e-6 * s).logical_and(noisy).any()):
        raise fail("reweighting", "noise levels", f"0 or mixed.sigma_n = {s}", rho_n)
    A = ((rho - s).clamp(min=0) * (rho + s) / rho**2) ** 2
    N = n1 + n2 * A
    factor = torch.where(noisy, ((1 - f) * N / (n2 * A)).clamp(max=MOST), f * N / n1)
    return torch.where(rho > s, factor, 1.0)


def _row_weight(
    where: str, path: Path, weight: Any, sigma_data: float | int, mixed: MixedData | None
) -> Any:
    """A function (t, rho, rho_n) of (n,) to the weights of the rows (n,)."""
    if not callable(weight):
        one_of(where, "weight", weight, WEIGHTS)
    if weight == "best" and not isinstance(mixed, MixedData):
        raise TypeError(f"{where}: mixed must be MixedData for weight='best', got {mixed!r}")
    of_level = weight if callable(weight) else edm_weight(sigma_data)
    return partial(_weighed, path, of_level, mixed if weight == "best" else None)


def _weighed(
    path: Path,
    of_level: Any,
    mixed: MixedData | None,
    t: torch.Tensor,
    rho: torch.Tensor,
    rho_n: torch.Tensor,
) -> torch.Tensor:
    w = torch.as_tensor(of_level(Level.at(path, t)), dtype=rho.dtype, device=rho.device)
    return w if mixed is None else w * reweighting(mixed, rho, rho_n)


def _levels(
    where: str, path: Path, y: torch.Tensor, sigma_n: Number, t: Number
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """rho, the samples' own rho_n and t, each (n,) in float64."""
    t = times(where, "t", path, t, y)
    rho_n = torch.as_tensor(sigma_n, dtype=torch.float64, device=y.device)
    if rho_n.shape not in ((), (y.shape[0],)):
        raise fail(where, "sigma_n", f"a number or of shape ({y.shape[0]},)", tuple(rho_n.shape))
    if not bool((torch.isfinite(rho_n) & (rho_n >= 0)).all()):
        raise fail(where, "sigma_n", "finite and not negative", sigma_n)
    rho = path.sigma(t) / path.alpha(t)
    near = 1e-6 * rho  # a time in float32 may fall short of its own level by a rounding
    if bool((rho < rho_n - near).any()):
        raise fail(where, "t", "at levels sigma / alpha of at least sigma_n", t)
    return torch.maximum(rho, rho_n), rho_n.expand(y.shape[0]), t


def ambient_denoising(
    network: nn.Module,
    as_model: AsModel,
    *,
    levels: Levels | None = None,
    weight: str | Weight = "loss",
    sigma_data: float | int = 0.5,
    mixed: MixedData | None = None,
    consistency: float | int = 0.0,
    consistency_rows: int = 32,
    consistency_settings: Mapping[str, Any] | None = None,
    drop: float | int = 0.0,
    null: Mapping[str, Any] | None = None,
    name: str = "denoiser",
    **settings: Any,
) -> dict[str, Player]:
    """Denoising from samples of which each has a noise level of its own; sampling is as ever.

    as_model(network): any path, any prediction. A batch holds "x" (n, *event), in units of the
    data, and "noise_level" (n,): sigma_n of x = x_0 + sigma_n eps, 0 for clean; whatever else it
    holds is a condition. levels: a law of rho, `LogNormalLevels()` by default, cut below at each
    sample's level and not clamped there, where the loss would be 0 whatever the network says. A
    row's weight is then times the probability S of what was kept: E_cut[S w l] = E[w l; rho >
    rho_n], so that the minimiser and the pull of clean against noisy samples are the clamped ones,
    without the wasted draws. weight, sigma_data, mixed: of `ambient_loss`. consistency: mu, adds mu
    times `consistency_loss` (its arguments in consistency_settings) of the first rows, from their t
    to an s drawn below it. drop, null, name, settings: as in `train.denoising`. Raises ValueError
    or TypeError by name. Source: sheet `ambient-scaling`, M1 to M4 and "Pitfalls".

    >>> from fewtheory.paths import EDM
    >>> network = nn.Linear(2, 2)
    >>> list(ambient_denoising(network, lambda net: Model(lambda x, t: net(x), EDM(), "data")))
    ['denoiser']
    """
    where = "ambient_denoising"
    first = as_model(network)
    if not isinstance(first, Model):
        raise TypeError(f"{where}: as_model must return a Model, got {type(first).__name__}")
    law = LogNormalLevels() if levels is None else levels
    if not isinstance(law, Levels):
        raise TypeError(f"{where}: levels must be a law with `between`, got {levels!r}")
    _row_weight(where, first.path, weight, sigma_data, mixed)  # refuses what it does not know
    mu = number(where, "consistency", consistency, 0.0)
    rows = integer(where, "consistency_rows", consistency_rows, 1)
    share = number(where, "drop", drop, 0.0, 1.0)
    if share > 0 and not null:
        raise fail(where, "null", "the conditions that stand for none (drop > 0)", null)
    weighting = {"weight": weight, "sigma_data": sigma_data, "mixed": mixed}
    martingale = (mu, rows, {"weight": edm_weight(sigma_data), **(consistency_settings or {})})
    rule = _Rule(as_model, name, law, weighting, martingale, share, dict(null or {}))
    return {name: Player(network, rule, **settings)}


@dataclass(frozen=True, eq=False)
class _Rule:
    """The loss of a batch."""

    as_model: AsModel
    name: str
    levels: Levels
    weighting: Mapping[str, Any]
    martingale: tuple[float, int, Mapping[str, Any]]
    drop: float
    null: Mapping[str, Any]

    def __call__(
        self, networks: Mapping[str, nn.Module], batch: Batch, rng: torch.Generator
    ) -> torch.Tensor:
        where = "ambient_denoising"
        cond: dict[str, Any] = dict(batch)
        if missing := {"x", "noise_level"} - cond.keys():
            raise fail(where, "a batch", "a mapping with 'x' and 'noise_level'", sorted(missing))
        y, rho_n = cond.pop("x"), cond.pop("noise_level").double()
        if unknown := self.null.keys() - cond.keys():
            raise fail(where, "null", f"among the conditions {list(cond)}", sorted(unknown))
        model = self.as_model(networks[self.name])
        path, most = model.path, torch.full_like(rho_n, torch.inf)
        if bool((rho_n >= ratio(path, path.start)).any()):
            allowed = f"below the noise of the path's start, {ratio(path, path.start):g}"
            raise fail(where, "noise_level", allowed, float(rho_n.max()))
        cond = self._dropped(cond, y, rng)
        rho, share = self.levels.between(path, rho_n, most, rng)
        t = path.t_at(-rho.log())
        loss = ambient_loss(model, y, rho_n, t, rng=rng, share=share, **self.weighting, **cond)
        mu, rows, settings = self.martingale
        if mu == 0:
            return loss
        y, rho, rho_n, t = (value[:rows] for value in (y, rho, rho_n, t))
        x = later_state(path, y, ((rho - rho_n) * (rho + rho_n)).clamp(min=0), t, rng)
        s = path.t_at(-self.levels.between(path, 0 * rho, rho, rng)[0].log())
        cond = {key: value[:rows] for key, value in cond.items()}
        s = torch.minimum(s, t)  # at the path's end they may differ by a rounding
        return loss + mu * consistency_loss(model, x, t, s, rng=rng, **settings, **cond)

    def _dropped(
        self, cond: dict[str, Any], y: torch.Tensor, rng: torch.Generator
    ) -> dict[str, Any]:
        """The conditions, a share of the rows replaced by those that stand for none."""
        if self.drop == 0:
            return cond
        rows = torch.rand(y.shape[0], generator=rng, device=y.device) < self.drop
        none: dict[str, Any] = {
            key: torch.as_tensor(v).to(cond[key]) for key, v in self.null.items()
        }
        return {
            key: torch.where(over_event(rows, v), none.get(key, v), v) for key, v in cond.items()
        }
