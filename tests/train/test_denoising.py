"""The regression behind denoising and flow matching: value, gradient, optimum, levels, conditions.

What training makes of it is in test_rates.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from fewtheory import Model, paths, testbeds
from fewtheory.model import MEANING, PREDICTIONS, Level
from fewtheory.train import (
    denoising,
    edm_weight,
    flow_matching,
    log_normal,
    logit_normal,
    uniform_times,
)
from fewtheory.train.denoising import regression_loss
from fewtheory.verify import sabotage

EPS = np.finfo(np.float64).eps
LEVEL = 1e-6
VP, FLOW = paths.VPLinear(), paths.RectifiedFlow()
MEAN, VAR, T = 0.7, 1.3, 0.4


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def as_data(net):
    return Model(lambda x, t, **cond: net(x), paths.EDM(), "data")


# the regression


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_is_the_mean_square_of_what_the_prediction_means(prediction, path, rng):
    n, shape = 5, (5, 2, 3)
    x0, eps = (torch.tensor(rng.standard_normal(shape)) for _ in range(2))
    t = path.t_at(torch.tensor(rng.uniform(-1.0, 1.0, n)))
    model = Model(lambda x, t: x**2, path, prediction)
    expected = 0.0
    for i in range(n):  # row by row, from the notation page
        lv = Level.at(path, float(t[i]))
        a, b = MEANING[prediction](lv)
        out = (lv.alpha * x0[i] + lv.sigma * eps[i]) ** 2
        expected += (2.0 + lv.sigma) * float(((out - a * x0[i] - b * eps[i]) ** 2).mean()) / n
    found = regression_loss(model, x0, t, eps, lambda level: 2.0 + level.sigma)
    # positive terms of four roundings each; a Table's level and its slope lose a few digits more
    assert float(found) == pytest.approx(expected, rel=512 * EPS)


def test_samples_without_an_event_are_rows_too(rng):
    x0, eps, t = (torch.tensor(rng.uniform(0.2, 0.8, 6)) for _ in range(3))
    model = Model(lambda x, t: 2 * x, FLOW, "flow")
    rows = [regression_loss(model, *(v[i : i + 1] for v in (x0, t, eps))) for i in range(6)]
    expected = torch.stack(rows).mean()
    assert float(regression_loss(model, x0, t, eps)) == pytest.approx(float(expected), rel=8 * EPS)


def test_the_gradient_in_the_output_is_the_weighted_residual(rng):
    n, d = 6, 3
    out, x0, eps = (torch.tensor(rng.standard_normal((n, d))) for _ in range(3))
    out.requires_grad_(True)
    t = torch.tensor(rng.uniform(0.2, 0.8, n))
    model = Model(lambda x, t: out, VP, "data")
    regression_loss(model, x0, t, eps, edm_weight(0.7)).backward()
    w = edm_weight(0.7)(Level.at(VP, t))[:, None]
    expected = 2 * w * (out.detach() - x0) / (n * d)
    torch.testing.assert_close(out.grad, expected, rtol=16 * EPS, atol=0)


def four_points():
    """(z, eps) in {-1, 1}^2: the normal mean of a polynomial of degree 3 is the mean over these."""
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=torch.float64)
    return MEAN + math.sqrt(VAR) * corners[:, :1], corners[:, 1:]


def population(method, model, t):
    """The exact expectation of the loss of an affine model over N(MEAN, VAR) and the noise."""
    x0, eps = four_points()
    return float(method(model, x0, torch.full((4,), t, dtype=torch.float64), eps))


def excess_and_distance(method, path, prediction, t):
    """Loss of a wrong affine model less that of the exact one; and E |wrong - exact|^2."""
    exact = testbeds.Gaussian([MEAN], VAR).model(path, prediction)
    wrong = Model(lambda x, t: exact.function(x, t) + 0.3 * x - 0.2, path, prediction)
    lv = Level.at(path, t)
    mean, variance = lv.alpha * MEAN, lv.alpha**2 * VAR + lv.sigma**2
    distance = (0.3 * mean - 0.2) ** 2 + 0.3**2 * variance
    losses = [population(method, model, t) for model in (wrong, exact)]
    return losses[0] - losses[1], distance, sum(losses)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_loss_less_its_minimum_is_the_distance_to_the_exact_prediction(prediction, path):
    t = float(path.t_at(0.3))
    excess, distance, size = excess_and_distance(regression_loss, path, prediction, t)
    assert excess == pytest.approx(distance, abs=256 * EPS * size)


WRONG = {  # mistake: the predictions that show it in the first two moments
    ("a * x0 + b * eps", "b * x0 + a * eps"): ("data", "noise", "flow", "v"),
    ("a * x0 + b * eps", "a * x0 - b * eps"): ("noise", "flow", "v", "velocity", "score"),
    ("alpha * x0 + sigma * eps", "x0 + sigma * eps"): ("data", "noise", "flow"),
}


@pytest.mark.parametrize(
    ("old", "new", "prediction"),
    [(*mistake, prediction) for mistake, seen in WRONG.items() for prediction in seen],
)
def test_a_wrong_loss_has_another_minimum(old, new, prediction):
    broken = sabotage(regression_loss, old, new, "a wrong loss").build()
    excess, distance, size = excess_and_distance(broken, VP, prediction, T)
    assert abs(excess - distance) > 256 * EPS * size


def test_the_weight_multiplies_the_distance_at_its_level():
    def weighted(model, x0, t, eps):
        return regression_loss(model, x0, t, eps, edm_weight(0.5))

    excess, distance, size = excess_and_distance(weighted, VP, "data", T)
    lv = Level.at(VP, T)
    rho = lv.sigma / lv.alpha
    w = (rho**2 + 0.25) / (0.5 * rho) ** 2  # Karras et al. 2022, table 1
    assert excess == pytest.approx(w * distance, abs=256 * EPS * size)


def test_the_edm_weight_is_finite_where_no_signal_is_left():
    assert edm_weight(0.5)(Level(torch.tensor(0.0), torch.tensor(1.0))).item() == 4.0


# levels


def levels_of(draw, path, n=20000):
    return draw(path, n, generator(3)).double().numpy()


LAWS = {
    "uniform": (uniform_times(), FLOW, stats.uniform(FLOW.end, FLOW.start - FLOW.end)),
    "uniform between": (uniform_times(0.8, 0.2), FLOW, stats.uniform(0.2, 0.6)),
    "log-normal": (log_normal(), paths.EDM(), stats.lognorm(1.2, scale=math.exp(-1.2))),
    "log-normal, own": (log_normal(0.5, 0.3), paths.EDM(), stats.lognorm(0.3, scale=math.exp(0.5))),
    "logit-normal": (logit_normal(0.5, 0.7), FLOW, None),
}


@pytest.mark.parametrize("name", LAWS)
def test_levels_follow_their_law(name):
    draw, path, law = LAWS[name]
    t = levels_of(draw, path)
    cdf = law.cdf if law else (lambda t: stats.norm(0.5, 0.7).cdf(np.log(t / (1 - t))))
    # cut at the ends of the path: moves at most 1e-5 of the mass, far below 1 / sqrt(n)
    assert stats.kstest(t, cdf).pvalue > LEVEL
    assert stats.kstest(0.9 * t, cdf).pvalue < LEVEL  # 10% off is seen at this size


def test_log_normal_levels_are_in_rho_on_every_path(path):
    t = levels_of(log_normal(0.0, 0.5), path)
    z = -path.lam(t) / 0.5  # log rho = -lam; four standard deviations are inside every path
    assert stats.kstest(z, stats.norm.cdf).pvalue > LEVEL
    assert stats.kstest(-z + 0.1, stats.norm.cdf).pvalue < LEVEL


@pytest.mark.parametrize("draw", [log_normal(0.0, 50.0), uniform_times()], ids=["wide", "uniform"])
def test_levels_stay_on_the_path(draw, path):
    t = levels_of(draw, path, 1000)
    rounding = float(torch.finfo(torch.float32).eps)
    assert path.t_min * (1 - rounding) <= t.min()
    assert t.max() <= path.t_max * (1 + rounding)
    assert path.sigma(t).min() > 0


# players


def loss_of(players, batch, seed=0):
    (name,) = players
    return players[name].loss({name: players[name].module}, batch, generator(seed))


def test_denoising_is_one_player_with_the_settings_it_was_given():
    network = torch.nn.Linear(2, 2)
    players = denoising(network, as_data, name="teacher", ema=0.9, clip=1.0, every=2)
    player = players["teacher"]
    assert list(players) == ["teacher"]
    assert player.module is network
    assert (player.ema, player.clip, player.every) == (0.9, 1.0, 2)


def test_flow_matching_is_the_regression_of_the_velocity_at_uniform_times():
    network = torch.nn.Linear(2, 2)
    batch = {"x": torch.randn(8, 2, generator=generator(1))}

    def as_model(net):
        return Model(lambda x, t: net(x), FLOW, "velocity")

    found = loss_of(flow_matching(network, as_model), batch)
    rng = generator(0)
    t = uniform_times()(FLOW, 8, rng)
    eps = torch.randn(8, 2, generator=rng)
    assert torch.equal(found, regression_loss(as_model(network), batch["x"], t, eps))


def test_velocity_and_flow_are_one_on_the_rectified_path():
    network = torch.nn.Linear(2, 2)
    batch = {"x": torch.randn(8, 2, generator=generator(1))}

    def loss(word):
        players = flow_matching(network, lambda net: Model(lambda x, t: net(x), FLOW, word))
        return loss_of(players, batch)

    losses = [loss("velocity"), loss("flow")]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)  # float32, 16 terms


def test_other_entries_of_a_batch_are_conditions():
    seen = {}

    def as_model(net):
        def function(x, t, **cond):
            seen.update(cond)
            return net(x)

        return Model(function, paths.EDM(), "data", cond={"fixed": 1})

    label = torch.arange(4)
    batch = {"x": torch.zeros(4, 2), "label": label}
    loss_of(denoising(torch.nn.Linear(2, 2), as_model), batch)
    assert seen["fixed"] == 1
    assert torch.equal(seen["label"], label)


def dropped_rows(drop, n=4000):
    """Which rows lost their label, and which their text, in one batch."""
    seen = {}

    def as_model(net):
        def function(x, t, label=None, text=None):
            seen.update(label=label, text=text)
            return net(x)

        return Model(function, paths.EDM(), "data")

    batch = {
        "x": torch.zeros(n, 1),
        "label": torch.arange(n),
        "text": torch.ones(n, 2, 3) * torch.arange(1, n + 1)[:, None, None],
    }
    null = {"label": -1, "text": torch.zeros(2, 3)}
    loss_of(denoising(torch.nn.Linear(1, 1), as_model, drop=drop, null=null), batch)
    lost = seen["label"] == -1
    kept_text = seen["text"] == batch["text"]
    assert torch.equal(seen["label"][~lost], batch["label"][~lost])
    assert torch.equal(kept_text.flatten(1).all(1), ~lost)  # both or neither
    assert bool((seen["text"][lost] == 0).all())
    return int(lost.sum())


def test_conditions_are_dropped_together_with_their_probability():
    n, p = 4000, 0.3
    found = dropped_rows(p, n)
    law = stats.binom(n, p)
    assert law.ppf(LEVEL / 2) <= found <= law.ppf(1 - LEVEL / 2)


@pytest.mark.parametrize(("drop", "lost"), [(0.0, 0), (1.0, 4000), (0, 0), (1, 4000)])
def test_none_or_all_conditions_are_dropped_at_the_ends(drop, lost):
    assert dropped_rows(drop) == lost


def test_the_noise_is_the_loss_generators_alone():
    players = denoising(torch.nn.Linear(2, 2), as_data)
    batch, before = {"x": torch.ones(4, 2)}, torch.get_rng_state()
    assert torch.equal(loss_of(players, batch, 1), loss_of(players, batch, 1))
    assert not torch.equal(loss_of(players, batch, 1), loss_of(players, batch, 2))
    assert torch.equal(torch.get_rng_state(), before)


# bad input

LINE = torch.nn.Linear(1, 1)
BAD = {
    "drop must be finite in": lambda: denoising(LINE, as_data, drop=1.5),
    "drop must be a number": lambda: denoising(LINE, as_data, drop="often"),
    "null must be the conditions": lambda: denoising(LINE, as_data, drop=0.1),
    "as_model must return a Model, got Linear": lambda: denoising(LINE, lambda net: net),
    "levels must be callable": lambda: denoising(LINE, as_data, levels=0.5),
    "weight must be callable": lambda: denoising(LINE, as_data, weight=2.0),
    "module must be a torch module": lambda: denoising(as_data, lambda net: as_data(LINE)),
    "ema must be in": lambda: denoising(LINE, as_data, ema=1.0),
    "sigma_data must be finite in": lambda: edm_weight(0.0),
    "std must be finite in": lambda: log_normal(0.0, -1.0),
    "mean must be finite": lambda: log_normal(math.nan),
    "logit_normal: std must be": lambda: logit_normal(0.0, -1.0),
    "logit_normal: mean must be": lambda: logit_normal(math.inf),
    "logit_normal: path must be on": lambda: logit_normal()(paths.EDM(), 2, generator()),
    "uniform_times: start must be": lambda: uniform_times(math.nan),
    "uniform_times: start must be in": lambda: uniform_times(1.5)(FLOW, 2, generator()),
    "uniform_times: end must be in": lambda: uniform_times(None, 1.5)(FLOW, 2, generator()),
    "a batch must be a mapping with 'x'": lambda: loss_of(
        denoising(LINE, as_data), {"y": torch.zeros(2, 1)}
    ),
    r"null must be among the conditions \['label'\], got \['lable'\]": lambda: loss_of(
        denoising(LINE, as_data, drop=0.1, null={"lable": 0}),
        {"x": torch.zeros(2, 1), "label": torch.zeros(2)},
    ),
    "flow_matching: as_model must return a Model": lambda: flow_matching(LINE, lambda net: net),
    "flow_matching: as_model must be a model of .'velocity'. on": lambda: flow_matching(
        LINE, lambda net: Model(net, VP, "flow")
    ),
    "flow_matching: as_model must be a model of .'flow', 'velocity'. on": lambda: flow_matching(
        LINE, lambda net: Model(net, FLOW, "data")
    ),
}


@pytest.mark.parametrize("named", BAD)
@pytest.mark.usefixtures("own_checks")
def test_bad_input_is_named(named):
    with pytest.raises((ValueError, TypeError), match=named):
        BAD[named]()
