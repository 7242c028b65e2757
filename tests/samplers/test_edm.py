"""EDM's stochastic sampler against algorithm 2 written as the paper has it."""

import itertools
import math

import numpy as np
import pytest

from fewtheory import arrays, paths, samplers
from fewtheory.plan import grids
from fewtheory.testbeds import Gaussian

EPS = np.finfo(np.float64).eps
VP, EDM = paths.VPLinear(), paths.EDM(0.002, 120.0)
GRID = grids.karras(EDM, 6, start=80.0)


def algorithm_2(denoise, x, sigmas, rng, churn, low, high, noise):
    """Karras et al., algorithm 2, on the denoiser."""
    N = len(sigmas) - 1
    for t, t_next in itertools.pairwise(sigmas):
        gamma = min(churn / N, math.sqrt(2) - 1) if low <= t <= high else 0.0
        t_hat = t + gamma * t
        if gamma > 0:
            x = x + math.sqrt(t_hat**2 - t**2) * noise * rng.standard_normal(x.shape)
        d = (x - denoise(x, t_hat)) / t_hat
        ahead = x + (t_next - t_hat) * d
        if t_next != 0:
            d_next = (ahead - denoise(ahead, t_next)) / t_next
            ahead = x + (t_next - t_hat) * 0.5 * (d + d_next)
        x = ahead
    return x


@pytest.mark.parametrize(
    ("churn", "low", "high", "noise"),
    [(0.0, 0.0, math.inf, 1.0), (2.0, 0.0, math.inf, 1.0), (30.0, 0.05, 50.0, 1.003)],
)
@pytest.mark.parametrize("clean", [False, True])
def test_a_run_is_algorithm_2(bimodal, asarray, rng, churn, low, high, noise, clean):
    grid = GRID.to_clean() if clean else GRID
    settings = {"s_churn": churn, "s_min": low, "s_max": high, "s_noise": noise}
    plan = samplers.edm_stochastic(EDM, grid, **settings)
    x = 80.0 * rng.standard_normal((5, 1))
    model = bimodal.model(EDM, "data")
    found = plan.run(model, asarray(x), np.random.default_rng(1))
    sigmas = [*GRID.t.tolist(), 0.0] if clean else GRID.t.tolist()
    exact = algorithm_2(model, x, sigmas, np.random.default_rng(1), churn, low, high, noise)
    # 14 steps of numbers up to 120, through a denoiser of slope 1 / 0.3^2
    np.testing.assert_allclose(arrays.to_numpy(found), exact, rtol=0, atol=1e4 * EPS * 120 / 0.09)


def test_without_churn_it_is_heuns_sampler():
    one, two = samplers.edm_stochastic(EDM, GRID), samplers.heun(EDM, GRID)
    assert one.distance(two) <= 256 * EPS * 80 * one.nodes
    assert not one.stochastic


def test_churn_is_only_where_it_is_asked_for():
    plan = samplers.edm_stochastic(EDM, GRID, s_churn=1.0, s_min=1.0, s_max=30.0)
    raised = [t for t in GRID.t[:-1] if 1.0 <= t <= 30.0]
    assert plan.C.shape[1] == len(raised)
    assert sum(any(math.isclose(s, t * (1 + 1 / 6)) for s in plan.sigma) for t in raised) == len(
        raised
    )


def test_noise_of_the_right_size_keeps_the_law_and_more_widens_it():
    # with s_noise = 1 the raised state has the law of its level: only Heun's step errs
    bed = Gaussian([0.0], 0.25)

    def error(steps, noise):
        grid = grids.karras(EDM, steps, start=80.0)
        plan = samplers.edm_stochastic(EDM, grid, s_churn=10.0, s_noise=noise)
        return plan.law(bed).std_ratio[0] - 1

    assert abs(error(400, 1.0)) < abs(error(100, 1.0)) / 8  # order 2 would give 16
    assert error(400, 1.05) > 10 * abs(error(400, 1.0))


def test_a_level_that_cannot_be_raised_is_named():
    with pytest.raises(ValueError, match="edm_stochastic: s_max must be below a level"):
        samplers.edm_stochastic(paths.EDM(), grids.karras(paths.EDM(), 4), s_churn=1.0)
    with pytest.raises(ValueError, match="edm_stochastic: s_max must be below a level"):
        samplers.edm_stochastic(VP, grids.log_snr(VP, 4), s_churn=1.0)
