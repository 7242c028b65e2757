"""Training reaches the error that stochastic approximation promises, constants included.

Features Phi whose span holds the exact prediction, made orthonormal under p_t, turn `fit` with
plain SGD into a linear recursion. With A = mean Phi Phi' and B = mean Phi r over a batch of n fresh
draws, r the residual at theta* (E[r | x_t] = 0), the error e = theta - theta* moves as

    e <- (1 - g A) e + g B,    E A = 1,  E B = 0,  E[A e B'] = 0,  Cov B = S / n

with S = E r^2 Phi Phi'. So M = E e e' obeys M <- (1 - 2 g) M + g^2 (E[A M A] + S / n) exactly, at
every step. For rates g = 1 / (step + 1) this gives E|D - D*|^2 = tr M -> tr(H^{-1} S) / N, N the
number of draws: the efficient constant. The squared error of the score is (alpha / sigma^2)^2 times
that (Tweedie).

Coordinates are independent replicates, so the mean of |e|^2 over them follows a gamma law up to its
third moment; its variance is that of Gaussian e, with room for an excess kurtosis of 0.2 (computed
below: the first batches act on a start far away). Every check has the level 1e-6. Single precision
shifts e by T eps |theta|, 1e-5 against a standard deviation of 1e-2.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from fewtheory import Model, paths, testbeds
from fewtheory.model import MEANING, Level
from fewtheory.train import denoising, fit, flow_matching
from fewtheory.train.denoising import regression_loss
from fewtheory.verify import sabotage

LEVEL = 1e-6
BATCH, REPLICATES = 64, 500
KURTOSIS = 0.2
VP = paths.VPLinear()
METHODS = {"data": denoising, "flow": flow_matching}
MISTAKES = {
    "eps for x_0": ("a * x0 + b * eps", "b * x0 + a * eps"),
    "a wrong sign": ("out - (a * x0 + b * eps)", "out + (a * x0 + b * eps)"),
    "alpha forgotten": ("alpha * x0 + sigma * eps", "x0 + sigma * eps"),
    "rows weighted by |x_t|^2": (
        "(out - (a * x0 + b * eps)).square()",
        "(out - (a * x0 + b * eps)).square() * (alpha * x0 + sigma * eps).square()",
    ),
}


@dataclass(frozen=True)
class World:
    """Replicates of a 1-D mixture at one level, and features whose span holds the prediction."""

    name: str
    weights: Any
    means: Any
    stds: Any
    path: Any
    t: float
    prediction: str
    affine: bool  # constants too, or slopes alone

    @property
    def bed(self):
        rows = (np.tile(v, (REPLICATES, 1)) for v in (self.weights, self.means, self.stds))
        return testbeds.ProductMixture(*rows)

    @property
    def level(self):
        return Level.at(self.path, self.t)

    def shares(self, x):
        """Posterior probabilities of the components, (.., K)."""
        w, m, s = (torch.tensor(v, dtype=x.dtype) for v in (self.weights, self.means, self.stds))
        spread = (self.level.alpha * s) ** 2 + self.level.sigma**2
        off = x[..., None] - self.level.alpha * m
        return torch.softmax(w.log() - 0.5 * spread.log() - 0.5 * off**2 / spread, dim=-1)

    def raw(self, x):
        """r_k(x) x, and r_k(x): the exact denoiser is a combination of these."""
        r = self.shares(x)
        slopes = r * x[..., None]
        return torch.cat([slopes, r], dim=-1) if self.affine else slopes


GAUSSIAN = World("gaussian", (1.0,), (0.0,), (1.2,), VP, VP.t_at(np.log(0.8 / 0.6)), "data", False)
BIMODAL = ((0.4, 0.6), (-1.0, 1.5), (0.5, 0.3))
WORLDS = [
    GAUSSIAN,
    World("mixture", *BIMODAL, VP, VP.t_at(np.log(0.8 / 0.6)), "data", True),
    World("mixture, flow", *BIMODAL, paths.RectifiedFlow(), 0.4, "flow", True),
]


@dataclass(frozen=True)
class Exact:
    """What one-dimensional quadrature knows of a world."""

    white: np.ndarray  # Phi = raw @ white
    best: np.ndarray  # theta*
    phi: np.ndarray  # Phi on the nodes
    mass: np.ndarray  # of the nodes
    S: np.ndarray
    misfit: float  # of the span to the testbed's own model


@functools.cache
def exact(world):
    """Trapezoidal sums over 13 standard deviations, 15 points each: exact to rounding."""
    level = world.level
    one = testbeds.mixture_1d(world.weights, world.means, world.stds)
    x = np.linspace(-13, 13, 601)
    mass = np.exp(one.at(world.path, world.t).log_prob(x[:, None])) * (x[1] - x[0])
    raw = world.raw(torch.tensor(x)).numpy()
    white = np.linalg.inv(np.linalg.cholesky(raw.T @ (mass[:, None] * raw))).T
    phi = raw @ white
    target = one.model(world.path, world.prediction)(x[:, None], world.t)[:, 0]
    best = phi.T @ (mass * target)
    # the target is kappa x_0 + b x_t / sigma, so its variance is kappa^2 Var(x_0 | x_t)
    a, b = MEANING[world.prediction](level)
    kappa = a - b * level.alpha / level.sigma
    spread = kappa**2 * one.posterior(world.path, x[:, None], world.t).covariance()[:, 0, 0]
    S = phi.T @ ((mass * spread)[:, None] * phi)
    misfit = float(mass @ (phi @ best - target) ** 2)
    return Exact(white, best, phi, mass, S, misfit)


def predicted(truth, steps, rate, decay=None):
    """E e e' after this many steps, of the weights or of their average: the recursion above.

    average <- average + w (theta - average): two more moments, P = E[e average'] and Q.
    """
    M = np.outer(truth.best, truth.best)  # from theta = 0
    P, Q = M, M
    for step in range(steps):
        g, w = rate(step), 0.0 if decay is None else 1 - decay(step)
        forms = truth.mass * np.sum(truth.phi @ M * truth.phi, 1)  # Phi' M Phi
        AMA = truth.phi.T @ (forms[:, None] * truth.phi) / BATCH + (1 - 1 / BATCH) * M
        M = (1 - 2 * g) * M + g**2 * (AMA + truth.S / BATCH)
        moved = (1 - g) * P  # E[e' average'] before the average moves
        P = (1 - w) * moved + w * M
        Q = (1 - w) ** 2 * Q + w * (1 - w) * (moved + moved.T) + w**2 * M
    return M if decay is None else Q


class Linear(torch.nn.Module):
    """Phi(x) theta, one theta a coordinate."""

    def __init__(self, world, white):
        super().__init__()
        self.world, self.white = world, torch.tensor(white, dtype=torch.float32)
        self.theta = torch.nn.Parameter(torch.zeros(REPLICATES, white.shape[0]))

    def forward(self, x):
        return ((self.world.raw(x) @ self.white) * self.theta).sum(-1)


def fixed(t):
    """Levels: always this one."""
    return lambda path, n, rng: torch.full((n,), float(t))


def sgd(rate):
    """SGD whose step is `rate` where the Hessian is one: the loss is a mean over coordinates."""
    return lambda parameters: torch.optim.SGD(parameters, lr=rate * REPLICATES / 2)


@functools.cache
def errors(world, method, steps, rate=1.0, ema=None):
    """theta - theta* of every replicate after training on fresh draws, (d, p)."""
    truth = exact(world)
    players = method(
        Linear(world, truth.white),
        lambda net: Model(lambda x, t: net(x), world.path, world.prediction),
        levels=fixed(world.t),
        optimizer=sgd(rate),
        schedule=None if ema else lambda step: 1 / (step + 1),
        ema=ema,
    )
    rng = torch.Generator().manual_seed(steps)
    fitted = fit(players, world.bed, steps, rng=rng, batch=BATCH, device="cpu")
    return fitted.averages["denoiser"].theta.detach().double().numpy() - truth.best


def accepted(e, M):
    """Whether the mean of |e|^2 over replicates is what the moments M give, at the level."""
    variance = (2 + KURTOSIS) * np.trace(M @ M) / len(e)
    return between(np.mean(np.sum(e**2, 1)), np.trace(M), variance)


def between(found, mean, variance):
    """Whether a sum of positive terms lies inside the gamma law of its mean and variance."""
    law = stats.gamma(mean**2 / variance, scale=variance / mean)
    return law.ppf(LEVEL / 2) <= found <= law.ppf(1 - LEVEL / 2)


each_world = pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)


# the reference itself


@each_world
def test_the_features_are_orthonormal_and_hold_the_exact_prediction(world):
    truth = exact(world)
    gram = truth.phi.T @ (truth.mass[:, None] * truth.phi)
    # sums of 601 terms, through a triangular solve of condition 7
    bound = 7**2 * 601 * np.finfo(float).eps
    np.testing.assert_allclose(gram, np.eye(len(gram)), rtol=0, atol=bound)
    assert np.sqrt(truth.misfit) < bound * np.linalg.norm(truth.best)


@each_world
def test_the_recursion_tends_to_the_efficient_constant(world):
    truth, steps = exact(world), 2000
    limit = np.trace(truth.S) / (BATCH * steps)  # H = 1
    found = np.trace(predicted(truth, steps, lambda step: 1 / (step + 1)))
    # the next term: 2 |e_0|^2 / tr S of the first batch, and the noise of A: under 8 / T
    assert found == pytest.approx(limit, rel=8 / steps)
    if world is GAUSSIAN:  # E|D - D*|^2 = (alpha^2 c + sigma^2) Var k = c sigma^2 / v / N
        c, v = 1.44, 0.64 * 1.44 + 0.36
        assert limit == pytest.approx(c * 0.36 / v / (BATCH * steps), rel=1e-9)


def test_the_average_of_the_weights_costs_a_factor_81_17():
    # decay (1 + k) / (10 + k) weights move j by 9 j^8 / T^9, whose squares sum to 81 / (17 T)
    truth, steps = exact(GAUSSIAN), 5000
    found = predicted(truth, steps, lambda step: 0.25, lambda k: (1 + k) / (10 + k))
    limit = 81 / 17 * np.trace(truth.S) / (BATCH * steps)
    # iterates that lie 1 / g = 4 steps apart are independent; the average is T / 17 steps wide
    assert np.trace(found) == pytest.approx(limit, rel=4 * 17 / steps)


def test_the_excess_kurtosis_of_the_error_is_below_what_the_checks_allow():
    # given A = chi^2_n / n, e' is N((1 - g A) e, g^2 S A / n): an exact recursion of E e^4
    truth, n = exact(GAUSSIAN), BATCH
    S, M, F = truth.S[0, 0], truth.best[0] ** 2, truth.best[0] ** 4
    A = np.cumprod([1, *(1 + 2 * k / n for k in range(4))])  # E A^k
    for step in range(16):
        g = 1 / (step + 1)
        fourth = sum(math.comb(4, k) * (-g) ** k * A[k] for k in range(5))
        mixed = A[1] - 2 * g * A[2] + g**2 * A[3]
        F = fourth * F + 6 * g**2 * S / n * mixed * M + 3 * (g**2 * S / n) ** 2 * A[2]
        M = (1 - 2 * g * A[1] + g**2 * A[2]) * M + g**2 * S / n
    assert M == pytest.approx(predicted(truth, 16, lambda step: 1 / (step + 1))[0, 0])
    assert 0 < F / M**2 - 3 < KURTOSIS


# trained from fresh draws


@each_world
@pytest.mark.parametrize("steps", [16, 64])
def test_the_error_falls_as_one_over_the_number_of_draws(world, steps):
    # each within 35% of its constant: 2 or 16 times the error for 4 times the draws is out
    truth = exact(world)
    e = errors(world, METHODS[world.prediction], steps)
    M = predicted(truth, steps, lambda step: 1 / (step + 1))
    assert accepted(e, M)
    assert not accepted(e, M / 2)
    assert not accepted(e, 2 * M)


@each_world
def test_the_average_of_the_weights_has_the_error_of_its_recursion(world):
    truth, steps = exact(world), 64
    e = errors(world, METHODS[world.prediction], steps, rate=0.25, ema=0.9999)
    assert accepted(e, predicted(truth, steps, lambda s: 0.25, lambda k: (1 + k) / (10 + k)))
    assert not accepted(e, predicted(truth, steps, lambda s: 0.25))  # the last weights
    assert not accepted(e, predicted(truth, steps, lambda s: 0.25, lambda k: (1 + k) / (5 + k)))


@each_world
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_loss_is_rejected(world, mistake):
    method, (old, new) = METHODS[world.prediction], MISTAKES[mistake]
    M = predicted(exact(world), 16, lambda step: 1 / (step + 1))
    broken = sabotage(method, old, new, mistake, inside=regression_loss).build()
    assert accepted(errors(world, method, 16), M)
    assert not accepted(errors(world, broken, 16), M)


@pytest.mark.parametrize("world", WORLDS[1:], ids=lambda world: world.name)
def test_the_mean_residual_variance_is_not_the_constant(world):
    # S for H times the mean of Var(x_0 | x_t): right for a Gaussian, wrong for a mixture
    truth = exact(world)
    e = errors(world, METHODS[world.prediction], 64)
    mean = float(truth.mass @ np.sum(truth.phi**2, 1)) / len(truth.S)
    flat = Exact(truth.white, truth.best, truth.phi, truth.mass, mean * np.eye(4), 0.0)
    assert not accepted(e, predicted(flat, 64, lambda step: 1 / (step + 1)))


# trained on a data set of n samples, with fresh noise: sheet ambient-scaling, M6 and C2, n_2 = 0


@dataclass(frozen=True)
class PlugIn:
    """Gaussian coordinates of variance c, D = k x_t; c_hat = mean x_0^2 of each coordinate's data.

    All noise averaged, the optimum is k_hat = alpha c_hat / (alpha^2 c_hat + sigma^2).
    """

    c: float = 1.44
    alpha: float = float(GAUSSIAN.level.alpha)
    sigma: float = float(GAUSSIAN.level.sigma)

    def v(self, c):
        return self.alpha**2 * c + self.sigma**2

    def k(self, c):
        return self.alpha * c / self.v(c)

    def moments(self, n, power):
        """E (k_hat - k*)^power, over c_hat = c chi^2_n / n."""
        law = stats.chi2(n)
        ends = law.ppf([1e-14, 1 - 1e-14])
        points = stats.chi2(n).mean()
        value, _ = integrate.quad(
            lambda u: law.pdf(u) * (self.k(self.c * u / n) - self.k(self.c)) ** power,
            *ends,
            points=[points],
            epsrel=1e-10,
        )
        return value

    def training(self, c_hat, n, steps):
        """E e and E e^2 of e = k - k_hat given the data, after SGD of rates 1 / (v (step + 1)).

        A = mean x_t^2 / v and B = mean x_t (x_0 - k_hat x_t) / v over the noise of n fixed rows.
        """
        alpha, sigma, v, k = self.alpha, self.sigma, self.v(self.c), self.k(c_hat)
        h, lean = self.v(c_hat) / v, 1 - 2 * k * alpha
        AA = (4 * alpha**2 * sigma**2 * c_hat + 2 * sigma**4) / (n * v**2)
        BB = (sigma**2 * c_hat * lean**2 + 2 * k**2 * sigma**4) / (n * v**2)
        AB = (2 * alpha * sigma**2 * c_hat * lean - 2 * k * sigma**4) / (n * v**2)
        first, second = -k, k**2
        for step in range(steps):
            g = 1 / (step + 1)
            second = ((1 - g * h) ** 2 + g**2 * AA) * second - 2 * g**2 * AB * first + g**2 * BB
            first = (1 - g * h) * first
        return first, second


LINE = PlugIn()
SIZES = [(25, 128), (100, 64)]  # samples, steps


@functools.cache
def slopes(n, steps, method=denoising, fresh=False):
    """The trained k and c_hat of every coordinate."""
    rng = np.random.default_rng(n)
    x0 = math.sqrt(LINE.c) * torch.tensor(rng.standard_normal((n, REPLICATES)), dtype=torch.float32)
    network = Linear(GAUSSIAN, np.ones((1, 1)))  # Phi = x_t: theta is k
    players = method(
        network,
        lambda net: Model(lambda x, t: net(x), VP, "data"),
        levels=fixed(GAUSSIAN.t),
        optimizer=sgd(1 / LINE.v(LINE.c)),
        schedule=lambda step: 1 / (step + 1),
    )
    data = GAUSSIAN.bed if fresh else x0
    fit(players, data, steps, rng=torch.Generator().manual_seed(n), batch=n, device="cpu")
    return network.theta.detach().double().numpy()[:, 0], x0.double().square().mean(0).numpy()


def near_the_plug_in(k, c_hat, n, steps):
    """Whether k - k_hat is what training's own noise makes it, coordinate by coordinate."""
    _, second = LINE.training(c_hat, n, steps)
    z = (k - LINE.k(c_hat)) ** 2 / second
    return between(z.mean(), 1.0, (2 + KURTOSIS) / len(z))


def spread_of(n, training, factor=1.0):
    """Mean and variance of the mean of (k - k*)^2: of the data's law and of training."""
    data, fourth = factor * LINE.moments(n, 2), factor**2 * LINE.moments(n, 4)
    variance = fourth - data**2 + 4 * data * training + (2 + KURTOSIS) * training**2
    return data + training, variance / REPLICATES


@pytest.mark.parametrize(("n", "steps"), SIZES)
def test_training_on_a_data_set_reaches_its_plug_in(n, steps):
    assert near_the_plug_in(*slopes(n, steps), n, steps)


@pytest.mark.parametrize(("n", "steps"), SIZES)
def test_the_error_falls_as_one_over_the_number_of_samples(n, steps):
    k, c_hat = slopes(n, steps)
    first, second = LINE.training(c_hat, n, steps)
    bias = np.mean(2 * (LINE.k(c_hat) - LINE.k(LINE.c)) * first)  # E e is not zero given the data
    found, training = np.mean((k - LINE.k(LINE.c)) ** 2) - bias, np.mean(second)
    assert between(found, *spread_of(n, training))
    assert not between(found, *spread_of(n, training, 2.0))
    assert not between(found, *spread_of(n, training, 0.5))


def test_the_plug_in_has_the_statistical_rate_of_the_sheet():
    # k' = alpha sigma^2 / v^2 and Var c_hat = 2 c^2 / n, so n E(k_hat - k*)^2 tends to this:
    limit = 2 * LINE.c**2 * (LINE.alpha * LINE.sigma**2 / LINE.v(LINE.c) ** 2) ** 2
    n = 10**4
    # next: third and fourth moments of chi^2, O(1) / n with coefficients below 30
    assert n * LINE.moments(n, 2) == pytest.approx(limit, rel=30 / n)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_loss_misses_the_plug_in(mistake):
    broken = sabotage(denoising, *MISTAKES[mistake], mistake, inside=regression_loss).build()
    assert not near_the_plug_in(*slopes(100, 64, broken), 100, 64)


def test_noise_that_is_not_fresh_misses_the_plug_in():
    old = "standard_normal(rng, x0.shape, x0)"
    new = "standard_normal(torch.Generator().manual_seed(0), x0.shape, x0)"
    broken = sabotage(denoising, old, new, "the same noise at every step").build()
    assert not near_the_plug_in(*slopes(100, 64, broken), 100, 64)


def test_fresh_data_misses_the_plug_in_of_a_data_set():
    assert not near_the_plug_in(*slopes(100, 64, fresh=True), 100, 64)
