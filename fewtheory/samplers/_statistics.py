"""How l, s and b of `ModelStatistics` are computed: closed forms, quadrature, moments of outputs.

Sheet `dpm-solver-v3`, "Closed forms". The definitions themselves, with Jacobians, are in `_torch`.
"""

# ruff: noqa: E741 - l is the paper's name

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import Array, Rng, is_torch, standard_normal, to_numpy
from ..errors import fail, finite_array
from ..model import Model
from ..paths import EDM
from ..plan import Grid, Point, grids
from .dpm_solver_pp import dpm_solver_pp

if TYPE_CHECKING:
    from ..testbeds import GaussianMixture, ProductMixture

WIDE = EDM(1e-12, 1e12)  # its time is rho
FLOOR = 1e-12  # times V: under it Var f is rounding, and s is 0
Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def closed_form(
    lams: np.ndarray,
    M: np.ndarray,
    slope: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    l: Any = None,
    *,
    floor: float | int = FLOOR,
    explained: np.ndarray | None = None,
) -> Triple:
    """l, s, b from the loss M and dM/dlam (n, *event), and the data's mean and variance.

    At l*, Var f = l (V l - M). explained: V - M = Var x0hat, where it is known without cancelling.
    """
    rho2 = np.exp(-2 * lams).reshape((-1,) + (1,) * (M.ndim - 1))
    if explained is None:
        explained = var - M
    if l is None:
        l = 1 - M / rho2
        dl = -(slope + 2 * M) / rho2
        rest = var * l - M
        f_var = l * rest
        f_slope = dl * rest + l * (var * dl - slope)
    else:
        l, dl = fixed(l, M.shape), 0.0
        q = 1 - l
        f_var = q**2 * (var + rho2) - 2 * q * var + explained
        f_slope = -2 * q**2 * rho2 - slope
    return with_floor(l, -l * mean, -dl * mean, f_var, f_slope, float(floor) * var)


def with_floor(l: Any, mean: Any, dmean: Any, f_var: Any, f_slope: Any, floor: Any) -> Triple:
    """s = (log Var f)' / 2, or 0 where Var f is rounding, and b = (E f)' - s E f."""
    live = f_var > floor
    s = np.where(live, 0.5 * f_slope / np.where(live, f_var, 1.0), 0.0)
    return l, s, dmean - s * mean


def mmse(bed: Any, lam: float) -> Triple:
    """M = E diag Cov(x_0 | y), V - M and dM/dlam, (d,) each.

    dM/dlam = -(2 / rho^2) E diag Cov(x_0 | y)^2.
    """
    from ..testbeds import Gaussian

    rho = float(np.exp(-lam))
    if isinstance(bed, Gaussian):
        c, R = bed.spectrum, bed.basis
        D = c * rho**2 / (c + rho**2)
        parts = (D, c**2 / (c + rho**2), -2 * D**2 / rho**2)
    else:
        bed, R, nodes, weights = _quadrature(bed, rho)
        held = bed.posterior(WIDE, nodes, rho)
        cov, away = held.covariance(), held.mean() - bed.mean
        squares = (cov**2).sum(axis=2)
        values = (np.diagonal(cov, axis1=1, axis2=2), away**2, -2 * squares / rho**2)
        parts = tuple((weights * v).sum(axis=0) for v in values)
    M, explained, slope = parts if R is None else (R**2 @ v for v in parts)
    return M, explained, slope


def _quadrature(
    bed: Any, rho: float
) -> tuple[ProductMixture | GaussianMixture, np.ndarray | None, np.ndarray, np.ndarray]:
    """(the law unrotated, its rotation, nodes y and weights, (n, d) each) of means over y.

    Trapezoid rule on each component: the integrand is a Gaussian times a function whose poles lie
    pi std / (distance of the means) off the line, and the error exp(-2 pi pole / step).
    """
    from ..testbeds import GaussianMixture, ProductMixture

    if isinstance(bed, ProductMixture):
        z, w = _normal_nodes(9.0, 901)
        at = bed.means[..., None] + np.sqrt(bed.stds**2 + rho**2)[..., None] * z  # (d, K, q)
        weights, d = bed.weights[..., None] * w, bed.event[0]
        plain = ProductMixture(bed.weights, bed.means, bed.stds)
        return plain, bed.rotation, at.reshape(d, -1).T, weights.reshape(d, -1).T
    if not isinstance(bed, GaussianMixture) or bed.means.shape[1] > 2:
        allowed = "a Gaussian, a ProductMixture or a GaussianMixture of one or two dimensions"
        raise TypeError(f"ModelStatistics.exact: bed must be {allowed}, got {bed!r}")
    d = bed.means.shape[1]
    z, w = _normal_nodes(9.0, 901) if d == 1 else _normal_nodes(7.0, 85)
    z, w = (np.stack(np.meshgrid(*[v] * d), axis=-1).reshape(-1, d) for v in (z, w))
    ones = [np.array([k]) for k in range(bed.weights.size)]
    covs = [GaussianMixture([1.0], bed.means[k], bed.form.take(k)).cov for k in ones]
    roots = [np.linalg.cholesky(c + rho**2 * np.eye(d)) for c in covs]
    nodes = [m + z @ root.T for m, root in zip(bed.means, roots, strict=True)]
    weights = (bed.weights[:, None] * w.prod(axis=1)).reshape(-1, 1)
    return bed, None, np.concatenate(nodes), np.broadcast_to(weights, (weights.size, d))


@functools.cache
def _normal_nodes(reach: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    z = np.linspace(-reach, reach, count)
    w = np.exp(-0.5 * z**2)
    return z, w / w.sum()


def states(
    model: Model, x0: Array, noise: Array, grid: Grid, law: str
) -> Iterator[tuple[Point, Array]]:
    """x at each level of the grid: noised data, or the model's own ODE from the first level on."""
    x = None
    for i in range(grid.steps + 1):
        p = grid[i]
        if law == "forward" or x is None:
            x = p.alpha * x0 + p.sigma * noise
        else:
            step = Grid(grid.path, grid.lam[i - 1 : i + 1], grid.t[i - 1 : i + 1])
            x = dpm_solver_pp(grid.path, step, 3, method="singlestep").run(model, x)
        yield p, x


def moments_of_outputs(
    model: Model, x0: Array, nodes: np.ndarray, rng: Rng, l: Any, law: str, floor: float
) -> Triple:
    """See `ModelStatistics.from_outputs`."""
    data, grid = model.predicting("data"), grids.at_lams(model.path, nodes)
    noise, clean = standard_normal(rng, x0.shape, x0), np.float64(to_numpy(x0))
    chosen, mean, var = [], [], []
    with _no_grad(x0):
        for p, x in states(model, x0, noise, grid, law):
            out = np.float64(to_numpy(data(x, p.t)))
            if l is None:
                same = law == "forward"
                known = out if same else to_numpy(data(p.alpha * x0 + p.sigma * noise, p.t))
                chosen.append(1 - np.exp(2 * p.lam) * np.mean((clean - known) ** 2, axis=0))
            else:
                chosen.append(fixed(l, clean.shape[1:]))
            f = (1 - chosen[-1]) * to_numpy(x) / p.alpha - out
            mean.append(f.mean(axis=0))
            var.append(f.var(axis=0))
    least = floor * clean.var(axis=0)
    return moments(nodes, np.stack(chosen), np.stack(mean), np.stack(var), least)


def moments(nodes: np.ndarray, l: Any, mean: Any, var: Any, least: Any = 0.0) -> Triple:
    """l, s, b from E f and Var f at the nodes, (n, *event) each, of any law that the ODE carries.

    s is 0 where Var f is at most `least`.
    """
    floor = np.maximum(least, np.finfo(float).tiny)
    f_slope = var * slopes(nodes, np.log(np.maximum(var, floor)))
    return with_floor(l, mean, slopes(nodes, mean), var, f_slope, least)


def slopes(lams: np.ndarray, values: np.ndarray) -> np.ndarray:
    """d values / dlam at the nodes, by a spline; 0 for a single node."""
    return spline(lams, values).derivative()(lams) if lams.size > 1 else np.zeros_like(values)


def spline(lams: np.ndarray, values: np.ndarray) -> Any:
    """The interpolating spline along the first axis: of degree 5, 3 or 1, as the nodes allow."""
    from scipy.interpolate import make_interp_spline

    degree = 5 if lams.size >= 6 else 3 if lams.size >= 4 else 1
    return make_interp_spline(lams, values, degree)


def _no_grad(x: Array) -> contextlib.AbstractContextManager[Any]:
    if not is_torch(x):
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def fixed(l: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A given l for arrays of this shape, or an error that names it."""
    given = finite_array("ModelStatistics", "l", l)
    try:
        return np.broadcast_to(given, shape)
    except ValueError:
        allowed = f"a number, or of a shape that broadcasts to {shape}"
        raise fail("ModelStatistics", "l", allowed, given.shape) from None
