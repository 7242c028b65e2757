"""Training on noisy data: minimisers, laws of levels, consistency and conditions in closed form.

Gaussian data and linear denoisers D = k x / alpha, of which everything is known.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from fewtheory import Model, paths, train
from fewtheory.learning.ambient import _torch as ambient
from fewtheory.learning.ambient._torch import ambient_denoising, ambient_loss, reweighting
from fewtheory.learning.ambient.identity import ambient_coefficients
from fewtheory.learning.ambient.levels._torch import LogNormalLevels, UniformLevels
from fewtheory.learning.ambient.martingale._torch import consistency_loss
from fewtheory.learning.ambient.shares import MixedData
from fewtheory.learning.ambient.weighting import noisy_share
from fewtheory.model import MEANING, PREDICTIONS, Level
from fewtheory.train.denoising import regression_loss

EPS = np.finfo(np.float64).eps
LEVEL = 1e-6
EDM = paths.EDM()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(k, path, prediction="data"):
    """The model of the denoiser D = k x / alpha, k a number or a function of rho."""

    def function(x, t, **cond):
        level = Level.at(path, t)
        alpha, sigma = (v.reshape(-1, 1) for v in (level.alpha, level.sigma))
        gain = k(sigma / alpha) if callable(k) else k
        D = gain * x / alpha
        a, b = (
            v.reshape(-1, 1) if isinstance(v, torch.Tensor) else v
            for v in MEANING[prediction](level)
        )
        return a * D + b * (x - alpha * D) / sigma

    return Model(function, path, prediction)


def gaussian(c):
    """The gain of the exact denoiser of N(0, c)."""
    return lambda rho: c / (c + rho**2)


# the loss

SIGMA_N = 0.3


@pytest.fixture
def mixed_sample(rng):
    """7 clean and 19 noisy samples of N(0, 1), and their levels."""
    clean, noisy = rng.standard_normal(7), math.sqrt(1 + SIGMA_N**2) * rng.standard_normal(19)
    y = torch.tensor(np.concatenate([clean, noisy]))[:, None]
    return y, torch.tensor([0.0] * 7 + [SIGMA_N] * 19, dtype=torch.float64)


def slope(monkeypatch, path, prediction, sample, rho, k, **settings):
    """d loss / dk at one level, and the size of its terms, exactly averaged over the noise.

    The loss is quadratic in the noise, so its normal mean is the mean over z = -1 and 1.
    """
    y, sigma_n = sample
    k = torch.tensor(k, dtype=torch.float64, requires_grad=True)
    t, slopes = float(path.t_at(-math.log(rho))), []
    for z in (-1.0, 1.0):
        monkeypatch.setattr(ambient, "standard_normal", lambda *_, z=z: torch.full_like(y, z))
        loss = ambient_loss(linear(k, path, prediction), y, sigma_n, t, rng=generator(), **settings)
        slopes.append(float(torch.autograd.grad(loss, k)[0]))
    return sum(slopes), sum(map(abs, slopes))


def pooled(sample, rho):
    """M6: c_w = (n1 c_1 + n2 a^2 c_2) / (n1 + n2 a^2)."""
    y, sigma_n = (v.numpy().ravel() for v in sample)
    c1, c2 = np.mean(y[sigma_n == 0] ** 2), np.mean(y[sigma_n > 0] ** 2) - SIGMA_N**2
    a = 1 - (SIGMA_N / rho) ** 2
    return (7 * c1 + 19 * a**2 * c2) / (7 + 19 * a**2), c1, c2


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_linear_minimiser_is_the_pooled_plug_in(monkeypatch, path, prediction, mixed_sample):
    for rho in (0.31, 0.5, 2.0):
        c, _, _ = pooled(mixed_sample, rho)
        at, size = slope(monkeypatch, path, prediction, mixed_sample, rho, c / (c + rho**2))
        # a time and its level are found to 1e-8 of each other at worst (a Table's logarithms,
        # the conversion of a velocity), all else to some roundings; terms up to 1/a each
        assert abs(at) < 1e-6 * max(size, 1e-3)
        off, _ = slope(monkeypatch, path, prediction, mixed_sample, rho, 1.1 * c / (c + rho**2))
        assert off > 100 * abs(at)


@pytest.mark.parametrize("weight", [lambda level: level.alpha + 0.1, lambda level: 3.0])
def test_the_weight_of_levels_moves_no_minimiser(monkeypatch, weight, mixed_sample):
    c, _, _ = pooled(mixed_sample, 0.5)
    k = c / (c + 0.25)
    at, size = slope(monkeypatch, EDM, "data", mixed_sample, 0.5, k, weight=weight)
    assert abs(at) < 100 * EPS * size


def test_the_best_weights_have_the_best_clean_share_at_levels_where_they_are_not_cut(
    monkeypatch, mixed_sample
):
    mixed = MixedData([1.0, 0.1], SIGMA_N, 7, 19)
    _, c1, c2 = pooled(mixed_sample, 1.0)
    for rho in (0.5, 1.0, 5.0):
        c = mixed.clean_share * c1 + (1 - mixed.clean_share) * c2
        given = {"weight": "best", "mixed": mixed}
        at, size = slope(monkeypatch, EDM, "data", mixed_sample, rho, c / (c + rho**2), **given)
        assert abs(at) < 100 * EPS * size


def test_the_best_weights_leave_the_weight_of_a_level_and_what_lies_below_the_noise():
    mixed = MixedData(1.0, SIGMA_N, 7, 19)
    sigma_n = torch.tensor([0.0] * 7 + [SIGMA_N] * 19, dtype=torch.float64)
    A = (1 - 0.3**2 / 0.6**2) ** 2
    rows = reweighting(mixed, torch.full_like(sigma_n, 0.6), sigma_n)
    assert float((rows * torch.where(sigma_n > 0, A, 1.0)).sum()) == pytest.approx(7 + 19 * A)
    assert bool((reweighting(mixed, torch.full_like(sigma_n, 0.2), 0 * sigma_n) == 1).all())
    near = reweighting(mixed, torch.full_like(sigma_n, 0.3001), sigma_n)
    assert float(near.max()) == ambient.MOST


@pytest.mark.parametrize("c", [1.0, 0.3, 0.02, 1e-4])
def test_the_best_share_of_one_direction_is_that_of_the_theory(c):
    mixed = MixedData(c, 0.2, 200, 1800)
    g = c / (c + 0.04)
    expected = 1 - float(noisy_share(np.array([c]), 0.2, 200, 1800, "best")[0]) / g
    assert mixed.clean_share == pytest.approx(expected, abs=1e-12)


def test_the_best_share_of_a_spectrum_has_the_least_distance():
    c = 1 / np.arange(1, 65)
    mixed = MixedData(c, 0.2, 200, 600)
    rho, f = 0.04 / (c + 0.04), np.linspace(0, 1, 1001)[:, None]
    distance = (c * ((rho + (1 - rho) * f) ** 2 / 200 + (1 - f) ** 2 / 600)).sum(1)
    assert mixed.clean_share == pytest.approx(f[distance.argmin(), 0], abs=1e-3)
    assert 0 < mixed.clean_share < 1


def test_the_loss_is_the_distance_to_the_conditional_mean_of_the_sample(path, mixed_sample):
    """By `ambient_coefficients`, between two levels of the path itself."""
    y = mixed_sample[0]
    s, t = (float(path.t_at(-math.log(rho))) for rho in (0.4, 0.9))
    model = linear(0.5, path)
    found = ambient_loss(model, y, 0.4, t, rng=generator(1), weight=lambda level: 1.0)
    z = torch.randn(y.shape, generator=generator(1), dtype=y.dtype)
    x = path.alpha(t) * (y + math.sqrt(0.9**2 - 0.4**2) * z)
    of_denoiser, of_state = ambient_coefficients(path, s, t)
    mean = of_denoiser * model(x, torch.full((26,), t, dtype=y.dtype)) + of_state * x
    expected = (mean / path.alpha(s) - y).square().mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-9)  # a Table's lam, as above


def test_clean_samples_are_denoised_as_ever(path):
    x0 = torch.randn(50, 2, generator=generator(2), dtype=torch.float64)
    t, model = float(path.t_at(0.3)), linear(0.4, path)
    found = ambient_loss(model, x0, 0.0, t, rng=generator(1), weight=train.edm_weight(0.7))
    eps = torch.randn(x0.shape, generator=generator(1), dtype=x0.dtype)
    times = torch.full((50,), t, dtype=x0.dtype)
    old = regression_loss(model, x0, times, eps, train.edm_weight(0.7))
    assert float(found) == pytest.approx(float(old), rel=1e-9)


# levels

LAWS = {
    "log-normal": (LogNormalLevels(), stats.norm(-1.2, 1.2), EDM),
    "uniform": (UniformLevels(), None, paths.RectifiedFlow()),
}


def drawn(law, path, low, high, n=20000):
    low, high = (torch.full((n,), v, dtype=torch.float64) for v in (low, high))
    rho, share = law.between(path, low, high, generator(3))
    return rho.numpy(), float(share[0])


def test_log_normal_levels_are_cut_and_not_clamped():
    law = stats.norm(-1.2, 1.2)
    rho, share = drawn(LogNormalLevels(), EDM, 0.2, math.inf)
    assert share == pytest.approx(law.sf(math.log(0.2)), rel=1e-12)
    assert 1 - share == pytest.approx(0.3665, abs=5e-5)  # sheet, "Pitfalls": what clamping wastes
    cut = stats.truncnorm((math.log(0.2) + 1.2) / 1.2, np.inf, -1.2, 1.2)
    assert stats.kstest(np.log(rho), cut.cdf).pvalue > LEVEL
    assert stats.kstest(np.log(rho) + 0.05, cut.cdf).pvalue < LEVEL
    below, share = drawn(LogNormalLevels(), EDM, 0.0, 0.2)
    assert share == pytest.approx(law.cdf(math.log(0.2)), rel=1e-12)
    assert below.max() <= 0.2
    cut = stats.truncnorm(-np.inf, (math.log(0.2) + 1.2) / 1.2, -1.2, 1.2)
    # the path's end holds the mass below it, 1e-4
    assert stats.kstest(np.log(below), cut.cdf).pvalue > LEVEL


def test_far_above_the_law_the_draws_stay_at_their_level_and_weigh_nothing():
    rho, share = drawn(LogNormalLevels(-1.2, 0.1), EDM, 50.0, math.inf, 100)
    assert (rho >= 50).all()
    assert (rho <= 80).all()
    assert share < 1e-100


def test_uniform_levels_are_uniform_in_time(path):
    law, low = UniformLevels(), 0.7
    rho, share = drawn(law, path, low, math.inf)
    t_low = float(path.t_at(-math.log(low)))
    assert share == pytest.approx((path.start - t_low) / (path.start - path.end), rel=1e-9)
    t = path.t_at(-np.log(rho))
    assert stats.kstest(t, stats.uniform(t_low, path.start - t_low).cdf).pvalue > LEVEL


def test_the_cut_law_times_its_share_is_the_clamped_loss():
    """E_cut[S l] = E[l(max(rho, rho_n))]: a clamped draw has no loss."""
    n, rho_n = 40000, 0.2
    y = 1.02 * torch.randn(n, 1, generator=generator(4), dtype=torch.float64)
    model, own = linear(0.3, EDM), torch.full((n,), rho_n, dtype=torch.float64)

    def rows(rho, share):
        with torch.no_grad():
            losses = [
                ambient_loss(
                    model, y[i], rho_n, rho[i].clamp(max=80), rng=generator(k), share=share[i]
                )
                for k, i in enumerate(torch.arange(n).chunk(50))
            ]
        losses = torch.stack(losses)
        return average(losses)

    rho, share = LogNormalLevels().between(EDM, own, own * torch.inf, generator(5))
    z = torch.randn(n, generator=generator(6), dtype=torch.float64)
    clamped = torch.exp(-1.2 + 1.2 * z).clamp(min=rho_n)
    cut, clamp = rows(rho, share), rows(clamped, torch.ones_like(share))
    spread = math.hypot(cut[1], clamp[1])
    assert abs(cut[0] - clamp[0]) < spread
    assert rows(rho, torch.ones_like(share))[0] - clamp[0] > spread  # without the share
    assert cut[1] < clamp[1]


# consistency


def chain(c, rho, after, steps, first_order):
    """Mean factor and variance of the reverse runs of N(0, c)'s exact denoiser, step by step."""
    grid = np.linspace(rho ** (1 / 7), after ** (1 / 7), steps + 1) ** 7
    mean, variance = 1.0, 0.0
    for now, then in itertools.pairwise(grid):
        drift = 2 * (now - then) / now if first_order else 1 - (then / now) ** 2
        added = 2 * now * (now - then) if first_order else now**2 - then**2
        factor = 1 - drift * (1 - c / (c + now**2))
        mean, variance = factor * mean, factor**2 * variance + added
    return mean, variance


EXACT = gaussian(0.7)


def consistency_of(path, rho, after, k=EXACT, n=8000, groups=40, **settings):
    """Mean of the loss, x from N(0, 0.7) with noise rho, and how far it may be off by chance."""
    t, s = (float(path.t_at(-math.log(v))) for v in (rho, after))
    v = math.sqrt(0.7 + rho**2) * torch.randn(n, 1, generator=generator(7), dtype=torch.float64)
    x, model, losses = path.alpha(t) * v, linear(k, path), []
    for j, rows in enumerate(torch.arange(n).chunk(groups)):
        losses.append(consistency_loss(model, x[rows], t, s, rng=generator(100 + j), **settings))
    return average(torch.stack(losses))


def average(values):
    """Their mean, and its half-width at the level of these tests (Student's)."""
    values = np.asarray(values.detach() if isinstance(values, torch.Tensor) else values)
    t = stats.t(len(values) - 1).isf(LEVEL / 2)
    return values.mean(), t * values.std(ddof=1) / math.sqrt(len(values))


def test_consistency_is_zero_on_average_at_the_exact_denoiser(path):
    mean, error = consistency_of(path, 0.8, 0.2, n=2000, steps=3, copies=2)
    assert abs(mean) < error


def test_any_gaussian_denoiser_is_consistent_with_its_own_process():
    """So consistency says nothing of c: it only carries a denoiser to other levels."""
    mean, error = consistency_of(EDM, 0.8, 0.2, gaussian(1.4))
    assert abs(mean) < error
    mean, error = consistency_of(EDM, 0.8, 0.2, lambda rho: 0.5 + 0 * rho)
    assert mean > error


@pytest.mark.parametrize("first_order", [False, True])
def test_the_plain_estimate_has_the_variance_of_the_mean_and_the_steps_own_error(first_order):
    settings = {"noise": "first-order" if first_order else "exact", "steps": 4, "copies": 3}
    mean, error = consistency_of(EDM, 0.8, 0.2, estimate="plain", **settings)
    k_t, k_s = gaussian(0.7)(0.8), gaussian(0.7)(0.2)
    factor, variance = chain(0.7, 0.8, 0.2, 4, first_order)
    bias = (k_s * factor - k_t) ** 2 * (0.7 + 0.64)
    assert mean == pytest.approx(bias + k_s**2 * variance / 3, abs=error)
    # Euler-Maruyama in the clock rho^2 has exact conditional means; the repository's has not
    assert (bias > 1e-4) == first_order
    assert bias < 1e-28 or first_order
    unbiased, error = consistency_of(EDM, 0.8, 0.2, **settings)
    assert unbiased == pytest.approx(bias, abs=error)


class TwoGains(torch.nn.Module):
    """D = k x, one k above rho = 0.5 and one below."""

    def __init__(self):
        super().__init__()
        self.above, self.below = (torch.nn.Parameter(torch.tensor(v).double()) for v in (0.4, 0.9))

    def forward(self, x, t):
        return torch.where(t > 0.5, self.above, self.below)[:, None] * x


@pytest.mark.parametrize("hold", [None, "later", "earlier"])
def test_gradients_go_through_the_denoisers_that_are_not_held_and_through_no_run(hold):
    net, x = TwoGains(), torch.randn(64, 1, generator=generator(), dtype=torch.float64)
    loss = consistency_loss(Model(net, EDM, "data"), x, 0.8, 0.1, rng=generator(1), hold=hold)
    loss.backward()
    moved = {name for name, p in net.named_parameters() if p.grad}
    assert moved == {None: {"above", "below"}, "later": {"below"}, "earlier": {"above"}}[hold]
    if hold == "earlier":  # 2 mean (D - mean D') x, through the one denoiser that moves alone
        again = consistency_loss(
            Model(net, EDM, "data"), x, 0.8, 0.1, rng=generator(1), hold="earlier", estimate="plain"
        )
        net.above.grad = None
        plain = torch.autograd.grad(again, net.above)[0]
        loss = consistency_loss(Model(net, EDM, "data"), x, 0.8, 0.1, rng=generator(1), hold=hold)
        assert float(torch.autograd.grad(loss, net.above)[0]) == pytest.approx(float(plain))


def test_gradients_go_through_the_runs_where_that_is_asked_for():
    net, x = TwoGains(), torch.randn(64, 1, generator=generator(), dtype=torch.float64)
    given = {"rng": generator(1), "hold": "later", "through_runs": True}
    consistency_loss(Model(net, EDM, "data"), x, 0.8, 0.1, **given).backward()
    assert net.above.grad  # the first steps' denoiser


def test_the_unbiased_gradient_vanishes_at_consistency_and_the_plain_one_does_not():
    c = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    model = linear(lambda rho: c / (c + rho**2), EDM)
    slopes = {"unbiased": [], "plain": []}
    for j in range(50):
        x = math.sqrt(0.7 + 0.64) * torch.randn(200, 1, generator=generator(j), dtype=c.dtype)
        for name, found in slopes.items():
            loss = consistency_loss(
                model, x, 0.8, 0.2, rng=generator(1000 + j), copies=2, estimate=name
            )
            found.append(float(torch.autograd.grad(loss, c)[0]))
    (unbiased, error), (plain, half_width) = (average(v) for v in slopes.values())
    assert abs(unbiased) < error
    assert plain > half_width


# the player


class OneVariance(torch.nn.Module):
    """The denoiser of N(0, e^s): one parameter."""

    def __init__(self, s=1.0):
        super().__init__()
        self.s = torch.nn.Parameter(torch.tensor(s))

    def forward(self, x, t):
        c = self.s.exp()
        return c / (c + t[:, None] ** 2) * x


def as_data(net):
    return Model(
        lambda x, t, **cond: net(x, t) if isinstance(net, OneVariance) else net(x), EDM, "data"
    )


def noisy_batch(n, rng, sigma_n=0.6):
    y = math.sqrt(0.5 + sigma_n**2) * torch.randn(n, 1, generator=rng)
    return {"x": y, "noise_level": torch.full((n,), sigma_n)}


@pytest.mark.parametrize("levels", [LogNormalLevels(0.0, 50.0), UniformLevels()])
@pytest.mark.parametrize("prediction", ["data", "noise", "velocity"])
def test_the_most_extreme_levels_stay_on_the_path(path, levels, prediction):
    network = torch.nn.Linear(1, 1)

    def as_model(net):
        return linear(lambda rho: 1 / (1 + rho**2) + 0 * net.weight, path, prediction)

    players = ambient_denoising(network, as_model, levels=levels, consistency=1.0)
    batch = {"x": torch.ones(200, 1), "noise_level": torch.tensor([0.0, 0.1, 1.0, 5.0] * 50)}
    assert math.isfinite(loss_of(players, batch).item())


@pytest.mark.parametrize("consistency", [0.0, 0.3])
@pytest.mark.usefixtures("one_thread")
def test_noisy_samples_alone_teach_the_clean_law(consistency):
    net = OneVariance()
    players = ambient_denoising(
        net,
        as_data,
        consistency=consistency,
        consistency_settings={"steps": 2, "copies": 2},
        optimizer=lambda p: torch.optim.Adam(p, lr=0.1),
        schedule=train.cosine_decay(120),
    )
    train.fit(players, noisy_batch, 120, rng=generator(), batch=512)
    # by Fisher's information 30 batches of 512, as many as the last short steps average, have the
    # variance to sqrt(2 / n) (1 + 0.36 / 0.5) = 2%, the loss to a few times that; that of the
    # noisy law, 0.86, is 70% off
    assert math.exp(float(net.s.detach())) == pytest.approx(0.5, rel=0.12)


@pytest.mark.usefixtures("one_thread")
def test_a_resumed_run_gives_the_same_numbers(tmp_path):
    def run(steps, folder):
        net = OneVariance()
        players = ambient_denoising(net, as_data, consistency=0.1, consistency_rows=4)
        train.fit(players, noisy_batch, steps, rng=generator(), batch=16, folder=folder)
        return float(net.s.detach())

    whole = run(6, tmp_path / "whole")
    run(3, tmp_path / "parts")
    assert run(6, tmp_path / "parts") == whole


def loss_of(players, batch, seed=0):
    (name,) = players
    return players[name].loss({name: players[name].module}, batch, generator(seed))


def test_it_is_one_player_with_the_settings_it_was_given():
    network = torch.nn.Linear(2, 2)
    players = ambient_denoising(network, as_data, name="teacher", ema=0.9, every=2)
    assert list(players) == ["teacher"]
    assert players["teacher"].module is network
    assert (players["teacher"].ema, players["teacher"].every) == (0.9, 2)


def test_the_noise_is_the_loss_generators_alone():
    players = ambient_denoising(torch.nn.Linear(2, 2), as_data, consistency=1.0)
    batch = {"x": torch.ones(8, 2), "noise_level": torch.zeros(8)}
    before = torch.get_rng_state()
    assert torch.equal(loss_of(players, batch, 1), loss_of(players, batch, 1))
    assert not torch.equal(loss_of(players, batch, 1), loss_of(players, batch, 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_other_entries_are_conditions_dropped_together(drop):
    calls, n = [], 4000

    def as_model(net):
        def function(x, t, **cond):
            calls.append(cond)
            return net(x)

        return Model(function, EDM, "data", cond={"fixed": 1})

    batch = {
        "x": torch.zeros(n, 1),
        "noise_level": torch.zeros(n),
        "label": torch.arange(n),
        "text": torch.ones(n, 2),
    }
    null = {"label": -1, "text": torch.zeros(2)}
    network = torch.nn.Linear(1, 1)
    players = ambient_denoising(network, as_model, drop=drop, null=null, consistency=1.0)
    loss_of(players, batch)
    lost = calls[0]["label"] == -1
    assert calls[0]["fixed"] == 1
    assert torch.equal(calls[0]["label"][~lost], batch["label"][~lost])
    assert torch.equal(calls[0]["text"][:, 0] == 0, lost)
    law = stats.binom(n, drop)
    assert law.ppf(LEVEL / 2) <= int(lost.sum()) <= law.ppf(1 - LEVEL / 2)
    # consistency's runs have the conditions of their row, six copies each
    repeated = calls[0]["label"][:32].repeat_interleave(6)
    assert all(torch.equal(call["label"], repeated) for call in calls[1:-1])
    assert torch.equal(calls[-1]["label"], calls[0]["label"][:32])


# bad input

LINE = torch.nn.Linear(1, 1)
Y = torch.ones(2, 1)
MODEL = linear(0.5, EDM)
BATCH = {"x": Y, "noise_level": torch.zeros(2)}


def asked(**given):
    return ambient_loss(MODEL, Y, **{"sigma_n": 0.1, "t": 0.5, "rng": generator(), **given})


def consistent(**given):
    return consistency_loss(MODEL, Y, **{"t": 0.5, "s": 0.1, "rng": generator(), **given})


BAD = {
    "ambient_loss: sigma_n must be finite and not negative": lambda: asked(sigma_n=-0.1),
    "ambient_loss: sigma_n must be finite": lambda: asked(sigma_n=math.nan),
    "ambient_loss: sigma_n must be a number or of shape": lambda: asked(sigma_n=torch.zeros(3)),
    "ambient_loss: t must be a number or of shape": lambda: asked(t=torch.ones(3)),
    "ambient_loss: t must be at levels": lambda: asked(t=0.05),
    "ambient_loss: t must be in": lambda: asked(t=100.0),
    "ambient_loss: weight must be one of 'loss', 'best'": lambda: asked(weight="good"),
    "ambient_loss: mixed must be MixedData": lambda: asked(weight="best"),
    "reweighting: noise levels must be 0 or mixed.sigma_n": lambda: asked(
        weight="best", mixed=MixedData(1.0, 0.2, 1, 1)
    ),
    "sigma_data must be finite in": lambda: asked(sigma_data=0.0),
    "consistency_loss: s must be at most t": lambda: consistent(s=0.6),
    "consistency_loss: s must be in": lambda: consistent(s=0.0),
    "consistency_loss: t must be in": lambda: consistent(t=100.0),
    "consistency_loss: t must be a number or of shape": lambda: consistent(t=torch.ones(3)),
    r"consistency_loss: copies must be at least 2": lambda: consistent(copies=1),
    "consistency_loss: steps must be at least 1": lambda: consistent(steps=0),
    "consistency_loss: noise must be one of": lambda: consistent(noise="some"),
    "consistency_loss: estimate must be one of": lambda: consistent(estimate="good"),
    "consistency_loss: hold must be one of": lambda: consistent(hold="both"),
    "as_model must return a Model, got Linear": lambda: ambient_denoising(LINE, lambda net: net),
    "levels must be a law": lambda: ambient_denoising(LINE, as_data, levels=train.log_normal()),
    "ambient_denoising: weight must be": lambda: ambient_denoising(LINE, as_data, weight="good"),
    "ambient_denoising: mixed must be": lambda: ambient_denoising(LINE, as_data, weight="best"),
    "consistency must be finite in": lambda: ambient_denoising(LINE, as_data, consistency=-1.0),
    "consistency_rows must be at least 1": lambda: ambient_denoising(
        LINE, as_data, consistency_rows=0
    ),
    "drop must be finite in": lambda: ambient_denoising(LINE, as_data, drop=2.0),
    "null must be the conditions": lambda: ambient_denoising(LINE, as_data, drop=0.5),
    "a batch must be a mapping with 'x' and 'noise_level'": lambda: loss_of(
        ambient_denoising(LINE, as_data), {"x": Y}
    ),
    "noise_level must be below the noise of the path's start, 80": lambda: loss_of(
        ambient_denoising(LINE, as_data), {"x": Y, "noise_level": torch.full((2,), 80.0)}
    ),
    "null must be among the conditions": lambda: loss_of(
        ambient_denoising(LINE, as_data, drop=0.1, null={"lable": 0}), BATCH
    ),
    "LogNormalLevels: std must be positive": lambda: LogNormalLevels(0.0, 0.0),
    "LogNormalLevels: mean must be finite": lambda: LogNormalLevels(math.inf),
    "MixedData: spectrum must be": lambda: MixedData([-1.0], 0.1, 1, 1),
    "MixedData: sigma_n must be positive": lambda: MixedData(1.0, 0.0, 1, 1),
    "MixedData: n_clean must be": lambda: MixedData(1.0, 0.1, 0, 1),
    "MixedData: n_noisy must be": lambda: MixedData(1.0, 0.1, 1, 0),
}


@pytest.mark.parametrize("named", BAD)
@pytest.mark.usefixtures("own_checks")
def test_bad_input_is_named(named):
    with pytest.raises((ValueError, TypeError), match=named):
        BAD[named]()
