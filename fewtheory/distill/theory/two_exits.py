"""A student of two steps in one dimension, trained three ways, with exact densities: who keeps both
modes?

On the rectified flow from z at t = 1: the first step predicts x_0 = m + d z and goes to x_s =
alpha_s x_0 + sigma_s z, the second predicts a + b x_s + c tanh(k x_s). Laws are compared by reverse
KL after noise rho, as means over some rho, by sums that no sampling enters:

| training | the first step's loss | the second's |
| --- | --- | --- |
| "pooled" | both at once: KL((q_1 + q_2) / 2, p), a fake score that is not told the exit | same |
| "told" | KL(q_1, p) of its x_0 | KL(q_2, p) |
| "phased" | KL of x_s, at levels above s alone | KL(q_2, p) |

Pooled, the loss is zero where each exit holds one mode, and the sampler returns the last exit.
Told the exit, the second step does what it can with what the first leaves it; that the first one
locks on a mode remains an optimum, of lower loss. Above s it is none. Sheet `phased-dmd`, C7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch

from ...errors import fail, number, one_of
from ...shapes import Float
from ...testbeds import ProductMixture

TRAININGS = ("pooled", "told", "phased")
SECONDS = (
    (0.0, 0.3, 2.0, 3.0),
    (0.0, 0.3, -2.0, 3.0),
    (0.0, -0.3, 0.1, 1.0),
)  # starts (a, b, c, k)


class _World(NamedTuple):
    """The teacher's log weights, means and variances (K,), the boundary, the rhos, the nodes x."""

    log_w: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor
    s: float
    levels: tuple[float, ...]
    x: torch.Tensor


@dataclass(frozen=True, eq=False)
class TwoExits:
    """A two-step student where its training ended.

    first: (m, d); second: (a, b, c, log k); loss: of the last thing that was minimised; mass: the
    share of final samples above the teacher's mean; pooled_mass: that share over both exits
    together; kl: of the final samples to the teacher at the smallest rho; gradient: the largest
    derivative left; s: the boundary.
    """

    first: tuple[float, float]
    second: tuple[float, float, float, float]
    loss: float
    mass: float
    pooled_mass: float
    kl: float
    gradient: float
    s: float

    def density(self, x: Float[np.ndarray, "n"], rho: float | int) -> Float[np.ndarray, "n"]:
        """The density of final samples after noise rho > 0."""
        noise = number("TwoExits.density", "rho", rho, 0.0)
        z, log_w = _noise(self.first, self.s)
        out = _second(torch.tensor(self.second, dtype=torch.float64), _state(self.first, self.s, z))
        return _pushed(out, log_w, torch.tensor(x), noise).exp().numpy()


def two_exits(
    teacher: ProductMixture,
    training: str = "phased",
    *,
    s: float | int = 0.5,
    rhos: Sequence[float | int] = (0.3, 0.7, 1.5),
    start: tuple[float | int, float | int] = (0.0, 1.5),
) -> TwoExits:
    """Train both steps by exact gradients (L-BFGS, the best of three starts of the second step).

    teacher: a mixture in one dimension with mean 0, where tanh has its bend; training: of the
    table; s: the boundary, in (0, 1); rhos: the noise-to-signal ratios of the losses on x_0; the
    first phase looks at rho_s (1.2, 1.5, 3), rho_s = s / (1 - s). start: (m, d) of the first step:
    (0, 1.5) covers, (2, .3) holds a mode. Raises ValueError by name.

    >>> from fewtheory.testbeds import mixture_1d
    >>> two = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.3, 0.3])
    >>> both = two_exits(two, "phased")
    >>> round(both.mass, 4), round(both.kl, 4)
    (0.5, 0.0087)
    """
    one_of("two_exits", "training", training, TRAININGS)
    if not isinstance(teacher, ProductMixture) or teacher.event != (1,):
        wrong = teacher if not isinstance(teacher, ProductMixture) else teacher.event
        raise fail("two_exits", "teacher", "a mixture in one dimension", wrong)
    if not 0 < number("two_exits", "s", s, 0.0, 1.0) < 1:
        raise fail("two_exits", "s", "inside (0, 1)", s)
    levels = tuple(number("two_exits", "rhos", rho, 0.0) for rho in rhos)
    if not levels or min(levels) == 0:
        raise fail("two_exits", "rhos", "one or more, above 0", rhos)
    begin = [number("two_exits", "start", v, -math.inf) for v in start]
    world = _world(teacher, float(s), levels)
    if training == "pooled":
        value, found, gradient = _best(partial(_pooled, world), begin)
        return _described(world, found[:2], found[2:], value, gradient)
    stage = _first_state if training == "phased" else _first_data
    _, first, left = _minimum(partial(stage, world), begin)
    value, second, gradient = _best(partial(_last, world, first))
    return _described(world, first, second, value, max(left, gradient))


def _world(teacher: ProductMixture, s: float, levels: tuple[float, ...]) -> _World:
    reach = float(np.abs(teacher.means).max()) + 7 * math.hypot(
        float(teacher.stds.max()), max(levels)
    )
    x = torch.linspace(-reach, reach, 2 * math.ceil(reach / 0.1) + 1, dtype=torch.float64)
    log_w, means, stds = (
        torch.tensor(np.array(v[0])) for v in (np.log(teacher.weights), teacher.means, teacher.stds)
    )
    return _World(log_w, means, stds**2, s, levels, x)


def _noise(first: Any, s: float, step: float = 0.06) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes z and the logarithms of their normal weights, dense where x_s = 0, at tanh's bend.

    The trapezoid rule in u of z = z_0 + .01 sinh u: z_0 is a constant, no matter for the value.
    """
    m, d = (float(v) for v in first)
    slope = (1 - s) * d + s
    bend = min(max(-(1 - s) * m / slope, -4.0), 4.0) if slope != 0 else 0.0
    u = torch.arange(-7.2, 7.2, step, dtype=torch.float64) + 0.5 * step
    z = bend + 0.01 * torch.sinh(u)
    log_w = torch.log(torch.cosh(u)) - 0.5 * z * z
    return z, log_w - torch.logsumexp(log_w, 0)


def _state(first: Any, s: float, z: torch.Tensor) -> torch.Tensor:
    """x_s = alpha_s (m + d z) + sigma_s z."""
    m, d = first
    return (1 - s) * (m + d * z) + s * z


def _second(second: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """a + b x + c tanh(k x), from (a, b, c, log k)."""
    a, b, c, log_k = second
    return a + b * x + c * torch.tanh(torch.exp(log_k) * x)


def _normal(x: torch.Tensor, mean: Any, var: Any) -> torch.Tensor:
    """The log density of N(mean, var)."""
    var = torch.as_tensor(var, dtype=x.dtype)
    return -0.5 * (x - mean) ** 2 / var - 0.5 * torch.log(2 * math.pi * var)


def _pushed(out: torch.Tensor, log_w: torch.Tensor, x: torch.Tensor, rho: float) -> torch.Tensor:
    """The log density at x of samples `out` of these weights, after noise rho."""
    return torch.logsumexp(log_w[:, None] + _normal(x[None], out[:, None], rho**2), 0)


def _kl(world: _World, log_q: torch.Tensor, rho: float) -> torch.Tensor:
    each = _normal(world.x[:, None], world.means, world.variances + rho**2)
    log_p = torch.logsumexp(world.log_w + each, 1)
    return (log_q.exp() * (log_q - log_p)).sum() * (world.x[1] - world.x[0])


def _first_data(world: _World, first: torch.Tensor) -> torch.Tensor:
    m, d = first
    each = [_kl(world, _normal(world.x, m, d**2 + rho**2), rho) for rho in world.levels]
    return torch.stack(each).mean()


def _first_state(world: _World, first: torch.Tensor) -> torch.Tensor:
    """x_s / alpha_s = m + (d + rho_s) z, with noise up to rho > rho_s."""
    m, d = first
    rho_s, each = world.s / (1 - world.s), []
    for rho in (1.2 * rho_s, 1.5 * rho_s, 3 * rho_s):
        var = (d + rho_s) ** 2 + rho**2 - rho_s**2
        each.append(_kl(world, _normal(world.x, m, var), rho))
    return torch.stack(each).mean()


def _last(world: _World, first: Sequence[float], second: torch.Tensor) -> torch.Tensor:
    z, log_w = _noise(first, world.s)
    out = _second(second, _state(first, world.s, z))
    each = [_kl(world, _pushed(out, log_w, world.x, rho), rho) for rho in world.levels]
    return torch.stack(each).mean()


def _pooled(world: _World, both: torch.Tensor) -> torch.Tensor:
    (m, d), each = both[:2], []
    z, log_w = _noise(both[:2].tolist(), world.s)
    out = _second(both[2:], _state(both[:2], world.s, z))
    for rho in world.levels:
        one = _normal(world.x, m, d**2 + rho**2)
        two = _pushed(out, log_w, world.x, rho)
        each.append(_kl(world, torch.logaddexp(one, two) - math.log(2), rho))
    return torch.stack(each).mean()


def _best(
    loss: Callable[[torch.Tensor], torch.Tensor], before: Sequence[float] = ()
) -> tuple[float, list[float], float]:
    """The best `_minimum` from all starts of the second step, or the first that is zero."""
    found = []
    for second in SECONDS:
        found.append(_minimum(loss, (*before, *second)))
        if found[-1][0] < 1e-7:
            break
    return min(found, key=itemgetter(0))


def _minimum(
    loss: Callable[[torch.Tensor], torch.Tensor], start: Sequence[float]
) -> tuple[float, list[float], float]:
    """(value, where, largest derivative) of a local minimum near a start."""
    from scipy.optimize import minimize

    options = {"maxiter": 300, "ftol": 1e-13, "gtol": 1e-9}
    found = minimize(
        partial(_with_gradient, loss), start, jac=True, method="L-BFGS-B", options=options
    )
    return float(found.fun), found.x.tolist(), float(np.abs(found.jac).max())


def _with_gradient(
    loss: Callable[[torch.Tensor], torch.Tensor], at: np.ndarray
) -> tuple[float, np.ndarray]:
    parameters = torch.tensor(at, requires_grad=True)
    value = loss(parameters)
    (gradient,) = torch.autograd.grad(value, parameters)
    return value.item(), gradient.numpy()


def _described(
    world: _World, first: Sequence[float], second: Sequence[float], loss: float, gradient: float
) -> TwoExits:
    z, log_w = _noise(first, world.s, 0.002)
    out, w = _second(torch.tensor(second), _state(first, world.s, z)), log_w.exp()
    middle = float((world.log_w.exp() * world.means).sum())
    mass = float(w[out > middle].sum())
    one = float(w[first[0] + first[1] * z > middle].sum())
    rho = min(world.levels)
    z, log_w = _noise(first, world.s)
    out = _second(torch.tensor(second), _state(first, world.s, z))
    kl = float(_kl(world, _pushed(out, log_w, world.x, rho), rho))
    (m, d), (a, b, c, log_k) = first, second
    return TwoExits((m, d), (a, b, c, log_k), loss, mass, (one + mass) / 2, kl, gradient, world.s)
