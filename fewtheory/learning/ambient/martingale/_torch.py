"""Consistency: the denoiser is a martingale of its own reverse process, so its average later holds.

E[D(x_s, s) | x_t] = D(x_t, t) for s < t, where D is exact. Where no data say what D is (below the
level of the noisiest samples) this carries it down. Sheet `ambient-scaling`, M4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch

from ....arrays import standard_normal
from ....errors import fail, integer, one_of
from ....model import Level, Model, over_event
from ....paths import Path
from ....train.denoising import Weight

Number: TypeAlias = Any  # a number or a tensor (n,)
KARRAS = 7


def consistency_loss(
    model: Model,
    x: torch.Tensor,
    t: Number,
    s: Number,
    *,
    rng: torch.Generator,
    copies: int = 6,
    steps: int = 6,
    noise: str = "exact",
    estimate: str = "unbiased",
    hold: str | None = None,
    through_runs: bool = False,
    weight: Weight | None = None,
    **cond: Any,
) -> torch.Tensor:
    """mean_i w(t_i) |E D(x'_s, s_i) - D(x_i, t_i)|^2 / d over x' of the model's own reverse SDE.

    x: (n, *event), states of the path at t; t, s: numbers or (n,), s <= t. x': `copies` runs of
    Euler-Maruyama in v = x / alpha over `steps` steps, equal in rho^(1/7); noise "exact": in the
    clock rho^2, v + (rho'^2 - rho^2)(v - D) / rho^2 + sqrt(rho^2 - rho'^2) z, each mean of which is
    the exact E[v' | v] of a model that is exact; "first-order": the repository's, v + 2 (rho' -
    rho)(v - D) / rho + sqrt(2 rho (rho - rho')) z. estimate: "unbiased", |mean_j D_j - D|^2 less
    the variance of the mean (copies >= 2; 0 on average for the exact denoiser of a Gaussian, so
    that it may be negative); "plain", without this, as in the paper: its least value is not there.
    Gradients: through both denoisers, or with hold = "later" or "earlier" not through that at t or
    those at s; through the runs only where asked for (as the repository's command does). A scalar.
    Raises ValueError or TypeError by name. Source: sheet `ambient-scaling`, M4.

    >>> from fewtheory.paths import EDM
    >>> exact = Model(lambda x, t: x / (1 + t.reshape(-1, 1) ** 2), EDM(), "data")  # of N(0, 1)
    >>> rng = torch.Generator().manual_seed(0)
    >>> x = torch.randn(2000, 1, generator=rng) * 2**0.5
    >>> abs(float(consistency_loss(exact, x, 1.0, 0.1, rng=rng))) < 0.02
    True
    """
    where, n = "consistency_loss", x.shape[0]
    integer(where, "steps", steps, 1)
    one_of(where, "noise", noise, tuple(EULER_MARUYAMA))
    one_of(where, "estimate", estimate, ("unbiased", "plain"))
    one_of(where, "hold", hold, (None, "later", "earlier"))
    J = integer(where, "copies", copies, 2 if estimate == "unbiased" else 1)
    late, early = times(where, "t", model.path, t, x), times(where, "s", model.path, s, x)
    if bool((early > late).any()):
        raise fail(where, "s", "at most t", s)
    denoiser, recording = model.predicting("data"), torch.is_grad_enabled()
    copied = {name: _repeated(value, n, J) for name, value in {**model.cond, **cond}.items()}
    begin, end = _repeated(late, n, J), _repeated(early, n, J)
    with torch.set_grad_enabled(recording and through_runs):
        rule = EULER_MARUYAMA[noise]
        state = reverse(denoiser, _repeated(x, n, J), begin, end, steps, rule, rng, copied)
    with torch.set_grad_enabled(recording and hold != "earlier"):
        earlier = said(denoiser, state, end, copied).reshape(n, J, -1)
    with torch.set_grad_enabled(recording and hold != "later"):
        later = said(denoiser, x, late, cond).reshape(n, -1)
    error = (earlier.mean(1) - later).square().mean(1)
    if estimate == "unbiased":
        error = error - earlier.var(1).mean(1) / J
    return (error if weight is None else weight(Level.at(model.path, late)).to(x) * error).mean()


def said(model: Model, x: torch.Tensor, t: torch.Tensor, cond: Mapping[str, Any]) -> torch.Tensor:
    """The model at t, in the dtype of x: rounded, a time may leave the path, which was checked."""
    return model.function(x, t.to(x), **{**model.cond, **cond})


def scaled(path: Path, t: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The state alpha_t v of v = x / alpha."""
    return over_event(path.alpha(t).to(v), v) * v


def exact(rho: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Drift and variance of a step in the clock rho^2."""
    variance = (rho - after) * (rho + after)
    return variance / rho**2, variance


def first_order(rho: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Drift and variance of the repository's step, in the clock rho."""
    return 2 * (rho - after) / rho, 2 * rho * (rho - after)


EULER_MARUYAMA = {"exact": exact, "first-order": first_order}


def reverse(
    denoiser: Model,
    x: torch.Tensor,
    t: torch.Tensor,
    s: torch.Tensor,
    steps: int,
    rule: Any,
    rng: torch.Generator,
    cond: Mapping[str, Any],
) -> torch.Tensor:
    """States at s (n,) of the denoiser's reverse SDE, from x at t (n,), float64 times.

    rule(rho, rho') gives drift and variance of v' = v - drift (v - D) + sqrt(variance) z.
    """
    path = denoiser.path
    first, last = (torch.exp(-path.lam(u) / KARRAS) for u in (t, s))
    rho, v = first**KARRAS, x / over_event(path.alpha(t).to(x), x)
    for k in range(1, steps + 1):
        now = t if k == 1 else path.t_at(-rho.log())
        D = said(denoiser, scaled(path, now, v), now, cond)
        after = (first + k / steps * (last - first)) ** KARRAS
        drift, variance = (over_event(value.to(v), v) for value in rule(rho, after))
        z = standard_normal(rng, v.shape, v)
        v, rho = v - drift * (v - D) + variance.clamp(min=0).sqrt() * z, after
    return scaled(path, s, v)


def times(where: str, argument: str, path: Path, t: Number, x: torch.Tensor) -> torch.Tensor:
    """A time of each row, (n,) in float64."""
    t = torch.as_tensor(t, dtype=torch.float64, device=x.device)
    if t.shape not in ((), (x.shape[0],)):
        raise fail(where, argument, f"a number or of shape ({x.shape[0]},)", tuple(t.shape))
    path.check_t(where, t, argument)
    return t.expand(x.shape[0])


def _repeated(value: Any, n: int, copies: int) -> Any:
    """Each row `copies` times; what has no row for each of the n is left."""
    if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == n:
        return value.repeat_interleave(copies, 0)
    return value
