"""What must hold on every testbed and every array library, with no oracle but the testbed itself.

Flow and back is nothing; through a time between is the flow; every path has one law; a batch is a
loop; single precision is double to its rounding; the flow moves with the velocity.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import arrays, paths
from fewtheory.model import PREDICTIONS, Level, conversion
from fewtheory.testbeds import (
    CodebookMixture,
    Gaussian,
    GaussianChain,
    GaussianMixture,
    GaussianSequence,
    LowRank,
    ProductMixture,
    mixture_1d,
)
from fewtheory.testbeds.gaussian_sequence import GaussianToken

EPS = np.finfo(np.float64).eps
SINGLE = np.finfo(np.float32).eps
VP, RF = paths.VPLinear(), paths.RectifiedFlow()
turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
full = turn @ np.diag([0.3, 0.6, 1.0]) @ turn.T
full = 0.5 * (full + full.T)
means = np.array([[-1.0, 0.5, 0.0], [1.0, -0.5, 0.3]])
tokens = GaussianSequence(np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.5], [0.2, 0.5, 1.0]]))


class World(NamedTuple):
    """A testbed, the least standard deviation of its parts, and points of x_t to stand on."""

    bed: object
    least: float
    rows: int = 4

    def points(self, path, t, seed=5):
        """Draws of x_t (4, *event)."""
        rng = np.random.default_rng(seed)
        shape = (self.rows, *self.bed.event)
        if isinstance(self.bed, CodebookMixture):
            _, x0 = self.bed.sample(self.rows, rng=rng)
        elif isinstance(self.bed, GaussianToken):
            x0 = self.bed.sample(rng=rng)  # one for each prefix
        else:
            x0 = self.bed.sample(self.rows, rng=rng)
        return path.alpha(t) * x0 + path.sigma(t) * rng.standard_normal(shape)


PREFIX = np.array([[0.3, -0.5], [1.0, 0.2], [-0.4, 0.0], [0.1, 0.9]])
WORLDS = {
    "Gaussian": World(Gaussian([0.5, -1.0, 0.2], full), 0.5),
    "product": World(
        ProductMixture(
            [[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]],
            [[-1.0, 1.5], [-0.7, 0.7], [0.0, 0.0]],
            [[0.5, 0.3], [0.4, 0.3], [0.6, 1.0]],
            turn,
        ),
        0.3,
    ),
    "one dimension": World(mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3]), 0.3),
    "mixture, full": World(GaussianMixture([0.3, 0.7], means, [full, 2 * full]), 0.5),
    "mixture, diagonal": World(
        GaussianMixture([0.3, 0.7], means, full.diagonal() * [[1], [2]]), 0.5
    ),
    "mixture, isotropic": World(GaussianMixture([0.3, 0.7], means, [0.3, 0.6]), 0.5),
    "mixture, low rank": World(
        GaussianMixture([0.3, 0.7], means, LowRank(np.full((2, 3), 0.3), 0.5 * means[..., None])),
        0.5,
    ),
    "mixture in one dimension": World(
        GaussianMixture([0.4, 0.6], [[-1.0], [1.5]], [0.25, 0.09]), 0.3
    ),
    "chain": World(GaussianChain(5, persistence=0.3), 0.3),
    "codebook": World(CodebookMixture([0.2, 0.5, 0.3], [[-1.0], [0.2], [1.4]], 0.2), 0.2),
    "codebook in two dimensions": World(
        CodebookMixture([0.2, 0.5, 0.3], [[-1.0, 0.0], [0.2, 1.0], [1.4, -0.5]], 0.3), 0.3
    ),
    "token of a Gaussian sequence": World(tokens.given(PREFIX), 0.5),
}
every_world = pytest.mark.parametrize("world", list(WORLDS.values()), ids=list(WORLDS))


def flows(world):
    """The exact flow map on a path, or None where there is none."""
    try:
        world.bed.flow(VP)
    except ValueError:
        return None
    return world.bed.flow


with_flow = pytest.mark.parametrize(
    "world",
    [w for w in WORLDS.values() if flows(w)],
    ids=[n for n, w in WORLDS.items() if flows(w)],
)


def slope(world, path, x, t, s):
    """The largest singular value of the flow's Jacobian over these points, at least 1."""
    flow, found = world.bed.flow(path), [1.0]
    for i in range(x.shape[0]):
        rows = torch.tensor(x)

        def one(u, i=i, rows=rows):
            moved = torch.cat([rows[:i], u[None], rows[i + 1 :]])
            return flow(moved, t, s)[i].reshape(-1)

        J = torch.autograd.functional.jacobian(one, rows[i])
        found.append(float(torch.linalg.matrix_norm(J.reshape(J.shape[0], -1), 2)))
    return max(found)


# a flow is good to 1e-12 max(1, slope), `ProductMixture.flow`; what follows adds such errors up


@with_flow
@pytest.mark.parametrize(("t", "s"), [(0.8, 0.1), (0.05, 0.6)])
def test_flow_and_back_is_nothing(world, t, s, asarray):
    x, flow = world.points(VP, t), world.bed.flow(VP)
    there = flow(asarray(x), t, s)
    back = arrays.to_numpy(flow(there, s, t))
    out, home = slope(world, VP, x, t, s), slope(world, VP, arrays.to_numpy(there), s, t)
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-12 * (home * out + home))


@with_flow
def test_through_a_time_between_is_the_flow(world, asarray):
    t, r, s = 0.8, 0.4, 0.1
    x, flow = world.points(VP, t), world.bed.flow(VP)
    middle = flow(asarray(x), t, r)
    onward = slope(world, VP, arrays.to_numpy(middle), r, s)
    bound = 1e-12 * (slope(world, VP, x, t, s) + onward * (1 + slope(world, VP, x, t, r)))
    found, exact = (arrays.to_numpy(v) for v in (flow(middle, r, s), flow(asarray(x), t, s)))
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@with_flow
def test_no_time_is_no_flow(world, asarray):
    x = world.points(VP, 0.3)
    found = arrays.to_numpy(world.bed.flow(VP)(asarray(x), 0.3, 0.3))
    np.testing.assert_allclose(found, x, rtol=0, atol=1e-12)


@with_flow
def test_every_path_has_one_flow(world, path):
    lam = (-1.0, 1.2)
    t, s = (VP.t_at(v) for v in lam)
    x = world.points(VP, t)
    there = [float(path.t_at(v)) for v in lam]
    found = world.bed.flow(path)(x * path.alpha(there[0]) / VP.alpha(t), *there)
    exact = world.bed.flow(VP)(x, t, s) * path.alpha(there[1]) / VP.alpha(s)
    # a time keeps lam to about 1e-11 on a table; the flow's speed in lam is at most that of |x|
    bound = 1e-10 * (1 + slope(world, VP, x, t, s)) * (1 + np.abs(x).max())
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@with_flow
def test_the_flow_moves_with_the_velocity(world):
    x = torch.tensor(world.points(RF, 0.7))
    s = torch.full((x.shape[0],), 0.3, dtype=torch.float64, requires_grad=True)
    y = world.bed.flow(RF)(x, 0.7, s)
    flat = y.reshape(y.shape[0], -1)
    moved = [
        torch.autograd.grad(flat[:, j].sum(), s, retain_graph=True)[0] for j in range(flat.shape[1])
    ]
    velocity = world.bed.model(RF, "velocity")(y.detach(), 0.3).reshape(flat.shape)
    bound = 1e-11 / world.least**2 * (1 + float(velocity.abs().max()))  # y is off by 1e-12
    np.testing.assert_allclose(torch.stack(moved, 1), velocity, rtol=0, atol=bound)


@with_flow
def test_the_flow_keeps_what_it_is_given(world, asarray):
    for dtype in (np.float32, np.float64):
        x = asarray(world.points(VP, 0.5).astype(dtype))
        y = world.bed.flow(VP)(x, 0.5, 0.2)
        assert (type(y), y.dtype, y.shape) == (type(x), x.dtype, x.shape)


@every_world
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_model_keeps_what_it_is_given(world, prediction, asarray):
    model = world.bed.model(VP, prediction)
    for dtype in (np.float32, np.float64):
        x = asarray(world.points(VP, 0.5).astype(dtype))
        y = model(x, 0.5)
        assert (type(y), y.dtype, y.shape) == (type(x), x.dtype, x.shape)


def sizes(world, x, sigma):
    """|x|^2 over the least variance at the level: what exponents of a mixture are made of."""
    return 1 + x[0].size * (1 + np.abs(x).max()) ** 2 / (world.least**2 + sigma**2)


@every_world
def test_predictions_are_conversions_of_one_another(world, path):
    t = float(path.t_at(0.4))
    x = world.points(path, t)
    level = Level.at(path, t)
    data = world.bed.model(path, "data")(x, t)
    for prediction in PREDICTIONS:
        p, q = conversion(prediction, "data", level)
        converted = p * x + q * world.bed.model(path, prediction)(x, t)
        bound = (
            64
            * EPS
            * sizes(world, x, path.sigma(t))
            * (1 + abs(p) + abs(q))
            * (1 + np.abs(x).max())
        )
        np.testing.assert_allclose(converted, data, rtol=0, atol=bound * (1 + abs(level.dalpha)))


@every_world
def test_every_path_has_one_denoiser(world, path):
    t, there = VP.t_at(0.3), float(path.t_at(0.3))
    x = world.points(VP, t)
    found = world.bed.model(path, "data")(x * path.alpha(there) / VP.alpha(t), there)
    exact = world.bed.model(VP, "data")(x, t)
    # lam survives to about 1e-11 on a table
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10 * sizes(world, x, VP.sigma(t)))


@every_world
def test_a_batch_of_times_is_a_loop_over_them(world, asarray):
    times = np.array([0.9, 0.5, 0.2, 0.05])
    x, model = world.points(VP, 0.5), world.bed.model(VP, "noise")
    found = arrays.to_numpy(model(asarray(x), asarray(times)))
    for i, t in enumerate(times.tolist()):  # all rows, since a row may have a prefix of its own
        alone = model(x, t)[i]
        bound = 256 * EPS * sizes(world, x, VP.sigma(t)) * (1 + np.abs(alone).max())
        np.testing.assert_allclose(found[i], alone, rtol=0, atol=bound)


@every_world
def test_single_precision_is_double_to_its_rounding(world, asarray):
    x, model = world.points(VP, 0.4).astype(np.float32), world.bed.model(VP, "data")
    found, exact = model(asarray(x), 0.4), model(x.astype(np.float64), 0.4)
    bound = 64 * SINGLE * sizes(world, x, VP.sigma(0.4)) * (1 + np.abs(exact).max())
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=0, atol=bound)


@every_world
def test_array_libraries_agree(world, asarray, path):
    t = float(path.t_at(-0.2))
    x, model = world.points(path, t), world.bed.model(path, "score")
    found, exact = arrays.to_numpy(model(asarray(x), t)), model(x, t)
    bound = 256 * EPS * sizes(world, x / path.alpha(t), math.exp(0.2)) * (1 + np.abs(exact).max())
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound)


@given(st.sampled_from(sorted(WORLDS)), st.floats(0.02, 0.98), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_tweedies_formula_holds_at_every_draw(name, t, seed):
    # alpha x0hat = x + sigma^2 score, the two computed apart
    world = WORLDS[name]
    x, alpha, sigma = world.points(VP, t, seed), VP.alpha(t), VP.sigma(t)
    data, score = (world.bed.model(VP, p)(x, t) for p in ("data", "score"))
    bound = (
        64 * EPS * sizes(world, x, sigma) * (1 + np.abs(x).max() + sigma**2 * np.abs(score).max())
    )
    np.testing.assert_allclose(alpha * data, x + sigma**2 * score, rtol=0, atol=bound)
