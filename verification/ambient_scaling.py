"""How much is a noisy image worth? Data scaling laws for ambient diffusion (arXiv 2411.02780),
claim by claim. Sheet `ambient-scaling`.

Where everything is Gaussian and the denoiser linear, what a mixed data set teaches is a pooled
second moment, and its errors, floors and prices are closed forms; where the law has k atoms, its
moments are unbiased Hermite averages of known variance.
"""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from fewtheory import paths
from fewtheory.learning.ambient.consistency import (
    consistency_gap,
    consistency_slope,
    consistent_gain,
    reverse_step,
)
from fewtheory.learning.ambient.frechet import (
    frechet_error,
    stopped_frechet,
    stopped_variance,
)
from fewtheory.learning.ambient.generated import generated_variance
from fewtheory.learning.ambient.identity import (
    _new_share,
    ambient_coefficients,
    earlier_mean,
    renoising,
)
from fewtheory.learning.ambient.loss_share import _closed_form, loss_share
from fewtheory.learning.ambient.mixtures import (
    effective_size,
    mixture_error,
    noise_norm,
    weighted_covariance,
)
from fewtheory.learning.ambient.moments import (
    hermite_covariance,
    hermite_polynomials,
    law_moments,
    moment_weights,
    two_atoms,
)
from fewtheory.learning.ambient.planning import noisy_needed
from fewtheory.learning.ambient.pooled import (
    SecondMoments,
    likelihood_variance,
    linear_denoiser,
    pooled_variance,
    second_moments,
)
from fewtheory.learning.ambient.price import marginal_price, target_price
from fewtheory.learning.ambient.weighting import (
    _scaled,
    best_share,
    inverse_variance_share,
    noisy_share,
    relative_variance,
    variance_floor,
)
from fewtheory.learning.ambient.worst_pairs import (
    chi_square_series,
    gauss_rule,
    price_exponent,
    worst_pair,
)
from fewtheory.testbeds import Gaussian, TwoVarianceSample, mixture_1d
from fewtheory.verify import (
    Evidence,
    bound,
    claim,
    identity,
    law,
    limit,
    optimum,
    order,
    rate,
    sabotage,
    wrong,
)
from fewtheory.verify.power import samples_for_variance

EPS = float(np.finfo(np.float64).eps)
SPECTRUM = 1 / np.arange(1, 65)
DIRECTIONS = np.array([1.0, 0.02])


def known(value, expected, digits, what="", kind="identity"):
    """A number against its known value, to half a unit of that many digits after the point."""
    told = "half a unit of the known value's last digit"
    return Evidence(kind, value, expected, 0.5000001 * 10.0**-digits, told, what=what)


# C1: the conditional expectation

BED = mixture_1d([0.3, 0.7], [-1.0, 1.5], [0.2**0.5, 0.05**0.5])
THREE = {
    paths.VPLinear(): [(0.1, 0.15), (0.1, 0.5), (0.3, 0.9), (0.6, 0.7)],
    paths.EDM(): [(0.2, 0.25), (0.2, 2.0), (0.5, 40.0), (1.0, 1.5)],
    paths.RectifiedFlow(): [(0.1, 0.15), (0.1, 0.5), (0.3, 0.9), (0.6, 0.7)],
}
POINTS = np.array([[-2.0], [-0.4], [0.7], [3.0]])


def jointly_gaussian(path, s, t, x):
    """E[x_s | x_t = x]: each component regresses x_s on x_t, and the responsibilities mix them."""
    a, b = path.alpha(s), path.sigma(s)
    c, e = path.alpha(t), path.sigma(t)
    scale = c / a  # x_t = scale x_s + independent noise
    w, m, v = np.array([0.3, 0.7]), np.array([-1.0, 1.5]), np.array([0.2, 0.05])
    var_s, var_t = a**2 * v + b**2, c**2 * v + e**2
    mean = a * m + scale * var_s / var_t * (x - c * m)
    log_r = np.log(w) - 0.5 * np.log(var_t) - 0.5 * (x - c * m) ** 2 / var_t
    r = np.exp(log_r - log_r.max(axis=1, keepdims=True))
    return np.sum(r * mean, axis=1, keepdims=True) / r.sum(axis=1, keepdims=True)


def exchanged(model, x, t, s):
    """a and b are exchanged."""
    of_denoiser, of_state = ambient_coefficients(model.path, s, t)
    return of_state * model.predicting("data")(x, t) + of_denoiser * x


@claim(
    "C1a",
    kind="identity",
    of=earlier_mean,
    saboteurs=[
        sabotage(earlier_mean, "alpha_t * sigma_s**2 / (alpha_s * sigma_t**2)",
                 "sigma_s / sigma_t", "b = sigma_n / sigma", inside=ambient_coefficients),
        sabotage(earlier_mean, "alpha_t * sigma_s**2 / (alpha_s * sigma_t**2)",
                 "alpha_t**2 * sigma_s**2 / (alpha_s**2 * sigma_t**2)",
                 "alpha_s / alpha_t is forgotten", inside=ambient_coefficients),
        exchanged,
        sabotage(earlier_mean, "alpha_s * _new_share(path, s, t)", "_new_share(path, s, t)",
                 "alpha_s is forgotten before the denoiser", inside=ambient_coefficients),
    ],
)  # fmt: skip
def earlier_level(mean):
    """E[x_s | x_t] = alpha_s (1 - q) x0hat + (alpha_s / alpha_t) q x_t, q = (alpha_t sigma_s /
    (alpha_s sigma_t))^2, in a two-component mixture on three paths, at four pairs s < t each."""
    for path, pairs in THREE.items():
        model = BED.model(path, "data")
        for s, t in pairs:
            found, told = mean(model, POINTS, t, s), jointly_gaussian(path, s, t, POINTS)
            # exp of a log responsibility of the size of x^2 / var_t
            size = 1 + np.abs(POINTS).max() ** 2 / (0.05 * path.alpha(t) ** 2 + path.sigma(t) ** 2)
            yield identity(found, told, operations=64, scale=4 * size, what=f"{path.name} {s} {t}")


@claim(
    "C1b",
    kind="identity",
    of=ambient_coefficients,
    saboteurs=[
        sabotage(ambient_coefficients, "(gap < NEAR) & (s < t)", "gap < 0.0",
                 "1 - q from the difference of two lam, of which nothing is left near sigma_n",
                 inside=_new_share),
        wrong(lambda path, s, t: (1 - (path.sigma(s) / path.sigma(t)) ** 2, 0.0),
              "1 - sigma_n^2 / sigma^2, which cancels, on every path"),
    ],
)  # fmt: skip
def near_the_noise_level(coefficients):
    """The denoiser's coefficient is accurate to rounding just above sigma_n: a = (sigma - sigma_n)
    (sigma + sigma_n) / sigma^2 on EDM's path, and its like on the straight path."""
    for gap in (2.0**-1, 2.0**-8, 2.0**-30, 2.0**-50):
        t = 0.4
        s = t * (1 - gap)
        S, T = Fraction(s), Fraction(t)
        found = coefficients(paths.EDM(), s, t)[0]
        a = (T - S) * (T + S) / T**2
        yield identity(found / float(a), 1.0, operations=32, what=f"EDM, s = t (1 - {gap:.2g})")
        rho_s, rho_t = S / (1 - S), T / (1 - T)
        told = (1 - S) * (rho_t - rho_s) * (rho_t + rho_s) / rho_t**2
        found = coefficients(paths.RectifiedFlow(), s, t)[0]
        yield identity(found / float(told), 1.0, operations=32, what="straight path")


@claim(
    "C1c",
    kind="identity",
    of=renoising,
    saboteurs=[
        wrong(lambda path, s, t: (path.alpha(t) / path.alpha(s),
                                  math.sqrt(abs(path.sigma(t) ** 2 - path.sigma(s) ** 2))),
              "sqrt(sigma_t^2 - sigma_s^2) on a path that shrinks the data"),
        wrong(lambda path, s, t: (1.0, renoising(path, s, t)[1]), "the signal is not rescaled"),
    ],
)  # fmt: skip
def same_law_later(step):
    """x_t = (alpha_t / alpha_s) x_s + sigma_t sqrt(1 - q) z has the law of level t."""
    for path, pairs in THREE.items():
        for s, t in pairs:
            scale, deviation = step(path, s, t)
            yield identity(scale * path.alpha(s), path.alpha(t), operations=16, what=path.name)
            total = scale**2 * path.sigma(s) ** 2 + deviation**2
            yield identity(total, path.sigma(t) ** 2, operations=16, what=path.name)


# C2: the linear minimiser

LEVEL_N, LEVELS = 0.3, (0.3001, 0.5, 2.0, 40.0)


def samples(d):
    """7 clean and 19 noisy samples, and their second moments."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((7, d)) * np.linspace(1.1, 0.2, d)
    y = rng.standard_normal((19, d)) * np.linspace(1.1, 0.2, d)
    y = y + LEVEL_N * rng.standard_normal((19, d))
    return x, y, second_moments(x, y, LEVEL_N)


def mixed_loss(K, x, y, sigma):
    """The mixed loss of D = K x, its mean over the noise exact: two nodes a coordinate are enough
    for squares."""
    a, b = 1 - (LEVEL_N / sigma) ** 2, (LEVEL_N / sigma) ** 2
    total = 0.0
    for data, noise, c, e in ((x, sigma, 1.0, 0.0), (y, (sigma**2 - LEVEL_N**2) ** 0.5, a, b)):
        for i, sign in itertools.product(range(x.shape[1]), (-1.0, 1.0)):
            # E f(z) = sum of f(+-sqrt(d) e_i) / 2d for quadratics
            z = np.zeros(x.shape[1])
            z[i] = sign * math.sqrt(x.shape[1]) * noise
            state = data + z
            rest = c * state @ K.T + e * state - data
            total += np.sum(rest**2) / (2 * x.shape[1])
    return total


def no_correction(moments, sigma):
    """The target y is compared with D itself, without a and b."""
    n1, n2, v = moments.n_clean, moments.n_noisy, moments.sigma_n**2
    eye = np.eye(moments.clean.shape[0]) if moments.clean.ndim == 2 else 1.0
    top = n1 * moments.clean + n2 * (moments.noisy + v * eye)
    under = n1 * (moments.clean + sigma**2 * eye) + n2 * (moments.noisy + sigma**2 * eye)
    return np.linalg.solve(under, top) if moments.clean.ndim == 2 else top / under


def not_debiased(moments, sigma):
    """c_2 is the mean of y^2, with sigma_n^2 left in it."""
    v = moments.sigma_n**2
    more = moments.noisy + (v * np.eye(len(moments.noisy)) if moments.noisy.ndim == 2 else v)
    return linear_denoiser(SecondMoments(moments.clean, more, moments.n_clean, moments.n_noisy,
                                         moments.sigma_n), sigma)  # fmt: skip


POOLING_MISTAKES = [
    no_correction,
    sabotage(linear_denoiser, "(n1 * moments.clean + n2 * a**2 * moments.noisy) / (n1 + n2 * a**2)",
             "(n1 * moments.clean + n2 * a * moments.noisy) / (n1 + n2 * a)",
             "weight a instead of a^2", inside=pooled_variance),
    not_debiased,
]  # fmt: skip


@claim("C2a", kind="optimum", of=linear_denoiser, saboteurs=POOLING_MISTAKES)
def pooled_minimiser(denoiser):
    """The minimiser of the mixed loss over D = k x is c_w / (c_w + sigma^2), c_w = (n1 c_1 + n2 a^2
    c_2) / (n1 + n2 a^2): n1 = 7, n2 = 19, sigma_n = .3, sigma in {.3001, .5, 2, 40}."""
    x, y, moments = samples(1)
    for sigma in LEVELS:
        down, mid, up = (mixed_loss(np.array([[k]]), x, y, sigma) for k in (-1.0, 0.0, 1.0))
        vertex = (down - up) / (2 * (up + down - 2 * mid))
        found = float(denoiser(moments, sigma)[0, 0])
        # sums of 52 squares of size up to 4 (1 + b / a)^2 curvature, b / a the target's own part
        scale = max(down, up) / (up + down - 2 * mid)
        told = "rounding of three losses at the vertex"
        yield optimum(found, vertex, tolerance=256 * EPS * scale, tolerance_from=told,
                      what=f"sigma = {sigma:g}")  # fmt: skip


@claim("C2b", kind="optimum", of=linear_denoiser, saboteurs=POOLING_MISTAKES)
def pooled_matrix(denoiser):
    """In matrix form K = C_w (C_w + sigma^2 I)^{-1}: the loss has no slope there in any entry."""
    x, y, moments = samples(3)
    for sigma in LEVELS:
        K = denoiser(moments, sigma)
        slopes, curvature = np.empty((3, 3)), np.empty((3, 3))
        middle = mixed_loss(K, x, y, sigma)
        for i, j in itertools.product(range(3), repeat=2):
            E = np.zeros((3, 3))
            E[i, j] = 1.0
            up, down = mixed_loss(K + E, x, y, sigma), mixed_loss(K - E, x, y, sigma)
            slopes[i, j], curvature[i, j] = (up - down) / 2, up + down - 2 * middle
        told = "rounding of a sum of 468 squares over its curvature"
        yield optimum(np.abs(slopes / curvature).max(), 0.0, tolerance_from=told,
                      tolerance=64 * EPS * (1 + middle / curvature.min()),
                      what=f"sigma = {sigma:g}")  # fmt: skip


def debiased_twice(clean, noisy, sigma_n):
    """2 sigma_n^2 is taken off, once for each of two noises that are one."""
    found = second_moments(clean, noisy, sigma_n)
    less = found.noisy - sigma_n**2 * np.eye(found.noisy.shape[0])
    return SecondMoments(found.clean, less, found.n_clean, found.n_noisy, sigma_n)


@claim("C2c", kind="bound", of=second_moments, saboteurs=[debiased_twice])
def poles_lie_below(moments):
    """A negative c_2 puts a pole of the minimiser at sqrt(-c_2), never above sigma_n, because
    mean y^2 is not negative: no level that noisy samples train has one."""
    rng, found = np.random.default_rng(3), []
    for n in (1, 2, 5, 40):
        y = 0.02 * rng.standard_normal((n, 3)) + 0.3 * rng.standard_normal((n, 3))
        found.append(moments(np.ones((2, 3)), y, 0.3).poles().max(initial=0.0))
    yield bound(found, 0.3, what="samples of hardly any variance")


# C3: the price of a draw


@claim(
    "C3a",
    kind="identity",
    of=target_price,
    saboteurs=[
        sabotage(target_price, "price / a", "price * a", "times 1 - sigma_n^2 / sigma^2"),
        sabotage(target_price, "1 + sigma_n**2 / c", "1 + sigma_n / c", "sigma_n not squared"),
        sabotage(target_price, "price / a", "price / a**2", "over the square of a"),
    ],
)
def price_of_a_draw(price):
    """A noisy draw's implied target has (1 + sigma_n^2 / c) / (1 - sigma_n^2 / sigma^2) times the
    variance of a clean one: 1.67872 for c = 1.21, sigma_n = .3, sigma = .5."""
    found = float(price(np.array([1.21]), 0.3, 0.5)[0])
    yield known(found, 1.67872, 5, "known")
    # (y - b x) / a given x has the variance of x_0 given x, and sigma_n^2 / a of fresh noise
    for c, sigma_n, sigma in ((1.21, 0.3, 0.5), (0.01, 0.3, 4.0), (30.0, 2.0, 2.1)):
        a, clean = 1 - sigma_n**2 / sigma**2, c * sigma**2 / (c + sigma**2)
        told = (clean + sigma_n**2 / a) / clean
        found = price(np.array([c]), sigma_n, sigma)
        yield identity(found, told, operations=math.ceil(64 / a), what=f"c = {c}")


@claim(
    "C3b",
    kind="law",
    of=target_price,
    saboteurs=[
        sabotage(target_price, "price / a", "price", "the level left out"),
        sabotage(target_price, "1 + sigma_n**2 / c", "1 + sigma_n / c", "sigma_n not squared"),
    ],
)
def draws_of_targets(price, rng):
    """Drawn targets have the variance that the price says."""
    c, sigma_n, sigma = 1.21, 0.3, 0.5
    a, b = 1 - sigma_n**2 / sigma**2, sigma_n**2 / sigma**2
    n = 100_000
    assert n > samples_for_variance(1.1)
    x0 = math.sqrt(c) * rng.standard_normal(n)
    y = x0 + sigma_n * rng.standard_normal(n)
    x = y + math.sqrt(sigma**2 - sigma_n**2) * rng.standard_normal(n)
    rest = (y - b * x) / a - c / (c + sigma**2) * x
    told = float(price(np.array([c]), sigma_n, sigma)[0]) * c * sigma**2 / (c + sigma**2)
    z = (np.mean(rest**2) / told - 1) * math.sqrt(n / 2)
    return law(z, n=n, what="variance of the implied target")


@claim(
    "C3c",
    kind="identity",
    of=marginal_price,
    saboteurs=[
        wrong(lambda c, s, n1, n2, w="loss": (1 + s**2 / c) ** 2, "the price of information alone"),
        wrong(lambda c, s, n1, n2, w="loss": 1 + s**2 / c, "the price of the mean"),
        wrong(lambda c, s, n1, n2, w="loss": 1 / marginal_price(c, s, n1, n2, w), "the inverse"),
    ],
)
def price_at_the_margin(price):
    """At the margin a clean sample is worth the ratio of the derivatives of the error:
    (1 + sigma_n^2 / c)^2 noisy ones with consistency, (rho n2 / n1)^2 under the best weights once
    the floor rules, and for every weighting the ratio of differences."""
    c = np.array([0.02, 0.3, 5.0])
    yield identity(price(c, 0.2, 200, 1800, "consistency"), (1 + 0.04 / c) ** 2, operations=64)
    rho = 0.04 / 0.06
    found = price(np.array([0.02]), 0.2, 200, 9000, "best")
    yield identity(found, (rho * 45) ** 2, operations=64, what="best, at the floor")
    for how in ("inverse variance", "loss", "best"):
        h = 1.0 / 256
        steps = [
            (relative_variance(c, 0.2, 200 + h * i, 1800 + h * j, how)
             - relative_variance(c, 0.2, 200 - h * i, 1800 - h * j, how))
            for i, j in ((1, 0), (0, 1))
        ]  # fmt: skip
        # differences of numbers of size V, by steps that change them by h V / n
        told, size = steps[0] / steps[1], relative_variance(c, 0.2, 200, 1800, how)
        slack = 64 * EPS * size * (1 / np.abs(steps[0]) + 1 / np.abs(steps[1])) + (h / 200) ** 2
        gap = np.abs(price(c, 0.2, 200, 1800, how) / told - 1) / slack
        yield Evidence("identity", gap.max(), 0.0, 1.0, "rounding of differences", what=how)


# C4: the generated variance

VALUES = {
    "inverse variance": (1.0861e-3, 7.2222e-3),
    "loss": (1.1142e-3, 6.6234e-3),
    "best": (1.0728e-3, 5.5556e-3),
    "likelihood": (1.0728e-3, 5.0000e-3),
    "clean": (1e-2, 1e-2),
}


def two_stages(c, sigma_n, n_clean, n_noisy, weighting):
    """Both stages are taken for independent: the variances of their parts are added."""
    rho, W2 = sigma_n**2 / (c + sigma_n**2), noisy_share(c, sigma_n, n_clean, n_noisy, weighting)
    both = rho**2 + (1 - rho - W2) ** 2
    return 2 * (both / n_clean + W2**2 / (n_noisy * (1 - rho) ** 2))


def without_floor(c, sigma_n, n_clean, n_noisy, weighting):
    """The floor is left out: 2 / n_eff whatever the weighting."""
    how = weighting if weighting == "clean" else "likelihood"
    return relative_variance(c, sigma_n, n_clean, n_noisy, how)


def first_power(c, sigma_n, n_clean, n_noisy, weighting):
    """(1 - rho) stands for (1 - rho)^2: the price of the mean instead of that of the variance."""
    more = n_noisy * (1 + sigma_n**2 / c)
    found = [relative_variance(c[i : i + 1], sigma_n, n_clean, float(n), weighting)
             for i, n in enumerate(more)]  # fmt: skip
    return np.concatenate(found)


VARIANCE_MISTAKES = [without_floor, first_power, two_stages]


@claim("C4a", kind="identity", of=relative_variance, saboteurs=VARIANCE_MISTAKES)
def known_variances(variance):
    """n1 = 200, n2 = 1800, sigma_n^2 = .04: c = 1 gives 1.0861e-3 (inverse variance), 1.1142e-3
    (the loss), 1.0728e-3 (best and maximum likelihood); c = .02 gives 7.2222e-3, 6.6234e-3,
    5.5556e-3, 5.0000e-3 (likelihood), 1e-2 with clean samples alone."""
    for how, pair in VALUES.items():
        found = variance(DIRECTIONS, 0.2, 200, 1800, how)
        for c, value, told in zip((1, 0.02), found, pair, strict=True):
            yield known(float(value), told, 7, f"{how}, c = {c}")


def one_step(xp, g, r):
    """The share as if A were its mean over the levels, not its own at each."""
    h = 1 / (3 + r)
    return h, -(h**2)


@functools.cache
def integral_of_levels(c, v, r):
    """W2 = c int n2 A / (n1 + n2 A) (c + u)^{-2} du over u > v, at 25 digits."""
    import mpmath as mp

    def inside(u):
        A = (1 - v / u) ** 2
        return r * A / (1 + r * A) * c / (c + u) ** 2

    with mp.workdps(25):
        ends = [v * (1 + mp.mpf(2) ** k) for k in range(-14, 24, 2)]
        found: Any = mp.quad(inside, [v, *ends, mp.inf])
        return float(found)


@claim(
    "C4b",
    kind="identity",
    of=loss_share,
    saboteurs=[
        one_step,
        sabotage(loss_share, "a - rho * g * log - rho * (r - g**2) * arc",
                 "a - rho * g * log", "the arctangent left out", inside=_closed_form),
        sabotage(loss_share, "xp.log1p(r) - 2 * xp.log(xp.where(rho > 0, rho, xp.ones_like(rho)))",
                 "xp.log1p(r) - xp.log(xp.where(rho > 0, rho, xp.ones_like(rho)))",
                 "log rho instead of log rho^2", inside=_closed_form),
    ],
)  # fmt: skip
def share_of_the_loss(share):
    """The loss gives noisy samples the share c int n2 A / (n1 + n2 A) (c + u)^{-2} du, A = (1 -
    sigma_n^2 / u)^2: the closed form is the integral."""
    for c, v, r in ((1.0, 0.04, 9.0), (0.02, 0.04, 9.0), (3.0, 0.01, 0.5), (0.01, 1.0, 0.01)):
        g = c / (c + v)
        h, slope = share(np, np.array([g]), np.array([r]))
        told = integral_of_levels(c, v, r)
        yield identity(g * r * h[0] / told, 1.0, operations=256, what=f"c = {c}, r = {r}")
        step = 2.0**-12 * r
        up, down = (share(np, np.array([g]), np.array([r + e]))[0][0] for e in (step, -step))
        # two roundings of h over the step, and step^2 / 6 of its third derivative
        slack = (64 * EPS / step + (step / r) ** 2 / r) * h[0]
        yield Evidence("identity", abs(slope[0] - (up - down) / (2 * step)), 0.0, slack,
                       "rounding and order of differences", what="slope")  # fmt: skip


def drawn_log_variances(how, c, n1, n2, replicates, rng):
    """log of the variances generated from so many replicates of both kinds of sample."""
    v = 0.04
    c1 = c * rng.chisquare(n1, replicates) / n1
    c2 = (c + v) * rng.chisquare(n2, replicates) / n2 - v
    if how == "likelihood":
        return np.log(likelihood_variance(c1, c2, n1, n2, 0.2))
    if how == "loss":
        return np.log(generated_variance(c1, c2, n1, n2, 0.2))
    n_eff, rho = n1 + n2 * (c / (c + v)) ** 2, v / (c + v)
    share = {
        "clean": 1.0,
        "inverse variance": n1 / n_eff,
        "best": max((n1 / n_eff - rho) / (1 - rho), 0.0),
    }[how]
    return np.log(generated_variance(c1, c2, n1, n2, 0.2, clean_share=share))


@claim("C4c", kind="law", of=relative_variance, saboteurs=VARIANCE_MISTAKES)
def drawn_variances(variance, rng):
    """Replicates of the exact flow's output have these relative variances, for every weighting."""
    n1, n2 = 20_000, 180_000  # where the formula's next order, 1/n1, is 200 times below the test's
    n = samples_for_variance(1.15, tests=10)
    for how in VALUES:
        told = variance(DIRECTIONS, 0.2, n1, n2, how)
        for c, expected in zip(DIRECTIONS.tolist(), told, strict=True):
            drawn = drawn_log_variances(how, c, n1, n2, n, rng)
            z = (drawn.var(ddof=1) / expected - 1) * math.sqrt((n - 1) / 2)
            yield law(z, n=n, what=f"{how}, c = {c:g}")


@claim(
    "C4d",
    kind="bound",
    of=relative_variance,
    saboteurs=[
        without_floor,
        sabotage(relative_variance, "(1 - W2) ** 2", "(1 - W2) ** 4",
                 "the clean estimate's share to the fourth power", inside=_scaled),
    ],
)  # fmt: skip
def floor_of_the_clean_set(variance):
    """Without consistency the relative variance is at least 2 rho^2 / n1 (4.4444e-3 for c = .02),
    however many noisy samples there are, and comes as near to it as one likes."""
    c = np.geomspace(1e-3, 1e3, 13)
    for how in ("inverse variance", "loss", "best"):
        floor = variance_floor(c, 0.2, 200, how)
        for n2 in (0, 10, 1e3, 1e6, 1e12):
            yield bound(variance(c, 0.2, 200, n2, how), floor, side="at least", what=how)
        far = variance(c, 0.2, 200, 1e14, how)
        # 2 / (n2 g^2) and less is left, g >= 1/41; under the loss W1 = rho (1 + g pi / 2 sqrt(r))
        slow = (1 + math.pi / 2 * math.sqrt(200 / 1e14)) ** 2 if how == "loss" else 1.0
        yield bound(far, floor * slow + 2 * 41**2 / 1e14, what=f"{how}, reached")
    yield known(float(variance(np.array([0.02]), 0.2, 200, 1e14, "best")[0]), 4.4444e-3, 7, "known",
                "bound")  # fmt: skip


@claim(
    "C4e",
    kind="optimum",
    of=best_share,
    saboteurs=[
        wrong(inverse_variance_share, "inverse-variance weights, which use the clean set twice"),
        sabotage(best_share, "r * free > 1", "r * free > 4",
                 "the bound W1 >= rho is passed by"),
        wrong(loss_share, "the loss's own weights"),
    ],
)  # fmt: skip
def best_weights(share):
    """Of all shares W1 >= rho above sigma_n the best is n1 / n_eff, the likelihood's, while that is
    at least rho, and rho from there on: a clean set suffices that carries a share rho."""
    for c, r in itertools.product((0.005, 0.02, 0.3, 5.0), (0.1, 2.0, 9.0, 300.0)):
        g = c / (c + 0.04)
        W1 = np.linspace(1 - g, 1.0, 40_001)
        grid = W1**2 + (1 - W1) ** 2 / (r * g**2)
        h = float(share(np, np.array([g]), np.array([r]))[0][0])
        found = (1 - g * r * h) ** 2 + r * h**2
        # a parabola of curvature 2 (1 + 1 / (r g^2)), half a step from its vertex at most
        miss = (0.5 * g / 40_000) ** 2 * (1 + 1 / (r * g**2))
        yield optimum(found, float(grid.min()), tolerance=miss + 64 * EPS * grid.max(),
                      tolerance_from="half a step of the grid", what=f"c = {c}")  # fmt: skip
        yield Evidence("optimum", g * r * h, g, 16 * EPS, "rounding", "at most", "W2 <= 1 - rho")


def flow_of_moments(c1, c2, n1, n2, sigma_n):
    """log var at the data by an ODE solver, from u = 1e9 down to sigma_n^2, and its calls."""
    from scipy.integrate import solve_ivp

    v, top = sigma_n**2, 1e9

    def slope(log_u, _):
        u = math.exp(log_u)
        A = (1 - v / u) ** 2
        c_w = (n1 * c1 + n2 * A * c2) / (n1 + n2 * A)
        return [u / (c_w + u)]

    # var at the top is u + c up to c / u of it
    c_top = (n1 * c1 + n2 * c2) / (n1 + n2)
    found = solve_ivp(slope, (math.log(top), math.log(v)), [math.log(top + c_top)],
                      method="DOP853", rtol=1e-12, atol=1e-12)  # fmt: skip
    return found.y[0, -1] + math.log(c1) - math.log(c1 + v), found.nfev


@claim(
    "C4f",
    kind="identity",
    of=generated_variance,
    saboteurs=[
        wrong(lambda c1, c2, n1, n2, s: (n1 * c1 + n2 * c2) / (n1 + n2),
              "the pooled variance itself"),
        wrong(lambda c1, c2, n1, n2, s: generated_variance(c1, c2, n1, n2, s,
                                                           clean_share=n1 / (n1 + n2)),
              "a noisy sample's weight is 1 on every level"),
        wrong(lambda c1, c2, n1, n2, s: generated_variance(c1, c2, n1, n2, s) * (c1 + s**2) / c1,
              "the variance at sigma_n"),
    ],
)  # fmt: skip
def exact_flow(variance):
    """log var = log c_1 - log(c_1 + sigma_n^2) + log(var at sigma_n), exactly, also where c_2 < 0:
    it is what an ODE solver finds for the probability flow."""
    for c1, c2, n1, n2, s in ((1.1, 0.9, 200, 1800, 0.2), (0.03, 0.01, 5, 90, 0.2),
                              (0.03, -0.02, 5, 90, 0.2), (2.0, 5.0, 50, 10, 1.0)):  # fmt: skip
        told, calls = flow_of_moments(c1, c2, n1, n2, s)
        found = float(variance(np.array([c1]), np.array([c2]), n1, n2, s)[0])
        # the end: sigma_n^2 |c_2 - c_1| / u^2 beyond u = 1e9 at most
        tolerance = 1e-12 * calls + 20 * abs(c2 - c1) * s**2 / 1e9
        yield Evidence("identity", found / math.exp(told), 1.0, tolerance,
                       "the solver's tolerance at every step, and the end of the flow at 1e9",
                       what=f"c_1 = {c1}, c_2 = {c2}")  # fmt: skip


@claim(
    "C4g",
    kind="optimum",
    of=likelihood_variance,
    saboteurs=[
        wrong(lambda c1, c2, n1, n2, s: (n1 * c1 + n2 * c2) / (n1 + n2), "all samples count alike"),
        wrong(lambda c1, c2, n1, n2, s: likelihood_variance(c1, c2, n1, n2, 0.0),
              "the noise does not enter the weights"),
    ],
)  # fmt: skip
def maximum_of_the_likelihood(estimate):
    """The estimate is where the likelihood of both kinds of sample has no slope and curves down."""
    for c1, c2, n1, n2 in ((1.2, 0.9, 200, 1800), (0.03, 0.015, 200, 1800), (0.03, -0.01, 20, 90)):
        c = float(estimate(np.array([c1]), np.array([c2]), n1, n2, 0.2)[0])
        parts = n1 * (c1 - c) / c**2, n2 * (c2 - c) / (c + 0.04) ** 2
        scale = n1 * (c1 + c) / c**2 + n2 * (abs(c2) + c) / (c + 0.04) ** 2
        yield optimum(sum(parts), 0.0, tolerance=64 * EPS * scale, tolerance_from="rounding",
                      what=f"c_1 = {c1}, c_2 = {c2}")  # fmt: skip


# C5: consistency

CONSISTENCY_MISTAKES = [
    sabotage(consistency_slope, "-2 * k * (1 - k) / sigma", "-k * (1 - k) / sigma",
             "the flow of the ODE instead of the SDE's mean"),
    sabotage(consistency_slope, "-2 * k * (1 - k) / sigma", "-2 * k / sigma", "1 - k left out"),
]  # fmt: skip


@claim("C5a", kind="optimum", of=consistency_slope, saboteurs=CONSISTENCY_MISTAKES)
def consistency_carries_down(slope):
    """Started from the exact k at sigma_n = .5 (c = .7), k' = -2 k (1 - k) / sigma returns
    c / (c + sigma^2) at sigma = 1e-3."""
    from scipy.integrate import solve_ivp

    c, sigma = 0.7, 1e-3
    found = solve_ivp(lambda s, k: slope(np.asarray(k), float(s)), (0.5, sigma),
                      [c / (c + 0.25)], method="DOP853", rtol=1e-13, atol=1e-15)  # fmt: skip
    told = "the solver's tolerance at every step"
    yield optimum(found.y[0, -1], c / (c + sigma**2), tolerance=1e-13 * found.t.size,
                  tolerance_from=told, what=f"{found.t.size} steps")  # fmt: skip


@claim(
    "C5b",
    kind="identity",
    of=consistent_gain,
    saboteurs=[
        sabotage(consistent_gain, "k * v_n / (k * v_n + (1 - k) * v)",
                 "k * v_n**0.5 / (k * v_n**0.5 + (1 - k) * v**0.5)",
                 "the flow of the ODE instead of the SDE's mean"),
        wrong(lambda k_n, s_n, s: k_n, "the gain at sigma_n is kept below it"),
    ],
)  # fmt: skip
def consistent_closed_form(gain):
    """The consistent gain below sigma_n is c / (c + sigma^2) of the same c, which is the only
    linear denoiser that is a martingale of its own reverse process."""
    for c, sigma in itertools.product((0.01, 0.7, 30.0), (0.4, 0.1, 1e-3)):
        found = gain(np.array([c / (c + 0.25)]), 0.5, sigma)
        # 1 - k cancels where c is large: c / sigma_n^2 roundings
        scale = c / (c + sigma**2) * (1 + c / 0.25)
        yield identity(found, c / (c + sigma**2), operations=16, scale=scale, what=f"c = {c}")


@claim(
    "C5c",
    kind="order",
    of=consistency_gap,
    saboteurs=[
        sabotage(consistency_gap, "1 + 2 * (after - now) * (1 - gain(now)) / now",
                 "1 + (after - now) * (1 - gain(now)) / now", "the ODE's drift"),
        sabotage(consistency_gap, "1 + 2 * (after - now) * (1 - gain(now)) / now",
                 "1 + 2 * (after - now) * gain(now) / now", "k for 1 - k"),
    ],
)  # fmt: skip
def steps_of_the_code(gap):
    """With Euler's steps of the reverse SDE the exact denoiser leaves a gap of order 1 in their
    size: the published loss, of six steps, is not zero at the truth."""
    steps = [6, 12, 24, 48, 96]
    grids = [(0.5 ** (1 / 7) + np.linspace(0, 1, n + 1) * (0.1 ** (1 / 7) - 0.5 ** (1 / 7))) ** 7
             for n in steps]  # fmt: skip
    gaps = [abs(gap(lambda s: 0.7 / (0.7 + s**2), g.tolist())) for g in grids]
    return order(steps, gaps, 1)


@claim(
    "C5d",
    kind="identity",
    of=reverse_step,
    saboteurs=[
        sabotage(reverse_step, "2 * drop * (x - x0hat) / sigma", "drop * (x - x0hat) / sigma",
                 "the ODE's drift"),
        sabotage(reverse_step, "drop * (sigma + after)", "drop * sigma",
                 "half of the code's variance taken for the SDE's own"),
    ],
)  # fmt: skip
def a_reverse_step(step):
    """The step's mean is x + 2 (sigma_next - sigma)(x - D) / sigma; its noise has the variance
    sigma^2 - sigma_next^2, the code's (sigma - sigma_next)^2 more."""
    zero, one = np.zeros(1), np.ones(1)
    x, D, sigma, after = np.array([1.7]), np.array([0.4]), 0.5, 0.3
    yield identity(step(x, D, zero, sigma, after), 1.7 - 2 * 0.2 * 1.3 / 0.5, operations=16)
    own = step(zero, zero, one, sigma, after, noise="exact") ** 2
    yield identity(own, 0.25 - 0.09, operations=16, what="exact")
    code = step(zero, zero, one, sigma, after) ** 2
    yield identity(code, 0.25 - 0.09 + 0.04, operations=16, what="first order")


# C6: stopping early

STOP_MISTAKES = [
    sabotage(stopped_variance, "c * _signal(c, v)", "c", "the law of the data: no bias at all"),
    sabotage(stopped_variance, "c * _signal(c, v)", "c + v**2",
             "the law at sigma_n, not the denoised point"),
    sabotage(stopped_variance, "c * _signal(c, v)", "c * _signal(c, v) ** 2",
             "the denoiser's gain, squared, on the data's own law"),
]  # fmt: skip


@claim("C6a", kind="identity", of=stopped_variance, saboteurs=STOP_MISTAKES)
def stopped_law(variance):
    """The flow down to sigma_n, denoised once there, has the variance c^2 / (c + sigma_n^2)."""
    path = paths.EDM()
    for c in (0.01, 0.7, 30.0):
        bed = Gaussian([0.0], [c])
        x = np.array([[math.sqrt(c + 80.0**2)]])  # one standard deviation, carried through
        last = bed.model(path, "data")(bed.flow(path)(x, 80.0, 0.2), 0.2)
        yield identity(
            variance(np.array([c]), 0.2), last[0, 0] ** 2, operations=64, what=f"c = {c}"
        )


@claim(
    "C6b",
    kind="bound",
    of=stopped_frechet,
    saboteurs=[
        sabotage(stopped_frechet, "(1 - g) / (1 + xp.sqrt(g))", "(1 - g) / (1 + xp.sqrt(g)) / 2",
                 "half of the bias"),
        sabotage(stopped_frechet, "(1 - g) / (1 + xp.sqrt(g))", "1 - g", "for deviations"),
    ],
)  # fmt: skip
def bias_of_stopping(distance):
    """Stopping leaves sum_j c_j (1 - sqrt(c_j / (c_j + sigma_n^2)))^2, .19993 for 1/j, d = 64,
    sigma_n^2 = .04, independent of n: at least sum c rho^2 / 4, which is attained at low noise."""
    yield known(distance(SPECTRUM, 0.2), 0.19993, 5, "known", "bound")
    for sigma_n in (1e-3, 0.2, 1.0, 30.0):
        rho = sigma_n**2 / (SPECTRUM + sigma_n**2)
        least = float(np.sum(SPECTRUM * rho**2)) / 4
        found = distance(SPECTRUM, sigma_n)
        yield bound(found / least, 1.0, side="at least", what=f"sigma_n = {sigma_n}")
    # relative excess rho / 2 to first order, and rho < 1.1e-4 in every direction
    rho = 1e-6 / (SPECTRUM + 1e-6)
    least = float(np.sum(SPECTRUM * rho**2)) / 4
    yield bound(distance(SPECTRUM, 1e-3) / least, 1 + 1.1 * rho.max() / 2, what="attained")


# C7: the worst pairs


def one_moment_less(k):
    """The last off-diagonal entry is changed: only 2k - 3 moments agree."""
    off = np.full(k - 1, 0.5)
    more = off.copy()
    more[-1] = 0.6
    return gauss_rule(np.zeros(k), off), gauss_rule(np.zeros(k), more)


def wrong_end(k):
    """The first diagonal entry is changed, in place of the last: the mean differs."""
    first = np.zeros(k)
    first[0] = 0.3
    return gauss_rule(np.zeros(k), np.full(k - 1, 0.5)), gauss_rule(first, np.full(k - 1, 0.5))


@claim("C7a", kind="identity", of=worst_pair, saboteurs=[one_moment_less, wrong_end])
def shared_moments(pair):
    """For k = 2, 3, 4 (b = .5, D = .3) the moments below 2k - 1 agree, and m_{2k-1} differs by
    D prod b^2: .075, .01875, .0046875."""
    for k, gap in ((2, 0.075), (3, 0.01875), (4, 0.0046875)):
        (x, w), (y, v) = pair(k)
        first, second = law_moments(x, w, 2 * k - 1), law_moments(y, v, 2 * k - 1)
        low = 2 * k - 2
        yield identity(first[:low], second[:low], operations=64, scale=1.0, what=f"k = {k}")
        found = abs(first[low] - second[low])
        yield identity(found, gap, operations=64, scale=1.0, what=f"k = {k}, the next")


def by_quadrature(first, second, sigma):
    """int (f_1 - f_2)^2 / phi_sigma at 40 digits: (sum w e^{a z - a^2/2} - ...)^2 averaged."""
    import mpmath as mp

    with mp.workdps(40):
        (x, w), (y, v) = ([[mp.mpf(float(e)) for e in part] for part in r] for r in (first, second))

        def f(z):
            s = mp.mpf(sigma)
            signed = [*zip(x, w, strict=True), *((a, -p) for a, p in zip(y, v, strict=True))]
            ratio = sum(p * mp.exp(a / s * z - (a / s) ** 2 / 2) for a, p in signed)
            return ratio**2 * mp.exp(-(z**2) / 2) / mp.sqrt(2 * mp.pi)

        # the trapezoid rule of an entire function that falls like a Gaussian
        return float(sum(f(mp.mpf(i) / 8) for i in range(-120, 121)) / 8)


@claim(
    "C7b",
    kind="identity",
    of=chi_square_series,
    saboteurs=[
        sabotage(chi_square_series, "difference**2 * math.exp(-math.lgamma(j + 1))",
                 "difference**2", "j! is left out"),
        sabotage(chi_square_series, "difference**2 * math.exp(-math.lgamma(j + 1))",
                 "abs(difference) * math.exp(-math.lgamma(j + 1))", "not squared"),
    ],
)  # fmt: skip
def series_is_the_integral(series):
    """int (f_1 - f_2)^2 / phi_sigma = sum_j (m_j difference)^2 / (j! sigma^{2j}): 9.755015e-4,
    3.0587083e-6, 4.5653417e-9 for k = 2, 3, 4 at sigma = 1, by quadrature too."""
    for k, value, digits in ((2, 9.755015e-4, 10), (3, 3.0587083e-6, 13), (4, 4.5653417e-9, 16)):
        pair = worst_pair(k)
        found = series(*pair, 1.0, agree=2 * k - 2)
        yield known(found, value, digits, f"k = {k}")
        told = by_quadrature(*pair, 1.0)
        # moments are rounded by 16 eps of 1, beside a difference of D b^(2k - 2)
        yield identity(found / told, 1.0, operations=128, scale=1 / (0.3 * 0.25 ** (k - 1)),
                       what=f"k = {k}, quadrature")  # fmt: skip


@claim(
    "C7c",
    kind="rate",
    of=price_exponent,
    saboteurs=[
        wrong(lambda k: 2 * k, "the exponent 2k"),
        wrong(lambda k: 4 * k, "the exponent 4k"),
        sabotage(price_exponent, "4 * integer('price_exponent', 'k', k, 1) - 2",
                 "4 * integer('price_exponent', 'k', k, 1) - 6", "one moment less"),
    ],
)  # fmt: skip
def exponent_of_noise(exponent):
    """The distance of the worst pair falls like sigma^-(4k - 2): log2 of its ratio at 4 and at 8 is
    6.0016, 10.0012, 14.0009 and tends to 4k - 2."""
    for k, value in ((2, 6.0016), (3, 10.0012), (4, 14.0009)):
        pair, agree = worst_pair(k), 2 * k - 2
        sigmas = 4.0 * 2.0 ** np.arange(5)
        chi = [chi_square_series(*pair, s, agree=agree) for s in [*sigmas, 128.0]]
        slopes = np.log2(np.array(chi[:-1]) / np.array(chi[1:]))
        yield known(float(slopes[0]), value, 4, f"k = {k}, sigma = 4", "rate")
        # the next moment's term is of relative order 1 / sigma^2
        yield limit(sigmas[:4] ** -2.0, slopes[:4], exponent(k), what=f"k = {k}")


# C8: Hermite moments

ATOMS, MASS, NOISE = [-0.6, 0.9], [0.6, 0.4], 0.8
COVARIANCE_MISTAKES = [
    sabotage(hermite_covariance,
             "math.comb(r, j) * math.comb(s, j) * math.factorial(j) * v**j * m[r + s - 2 * j]",
             "math.comb(r, j) * math.comb(s, j) * v**j * m[r + s - 2 * j]", "j! is missing"),
    sabotage(hermite_covariance, "min(r, s) + 1", "min(r, s)", "the last term is left out"),
]  # fmt: skip


@claim("C8a", kind="identity", of=hermite_covariance, saboteurs=COVARIANCE_MISTAKES)
def known_hermite_variances(covariance):
    """Atoms (-.6, .9), weights (.6, .4), sigma = .8: variances 1.18, 2.2502, 7.72805 for r = 1, 2,
    3."""
    found = np.diag(covariance(law_moments(ATOMS, MASS, 6), NOISE, 3))
    for r, (value, digits) in enumerate(((1.18, 2), (2.2502, 4), (7.72805, 5))):
        yield known(float(found[r]), value, digits, f"r = {r + 1}")


def raw(x, sigma, order):
    """Raw moments: the powers of what was observed."""
    return np.stack([x**r for r in range(1, order + 1)])


@claim(
    "C8b",
    kind="identity",
    of=hermite_polynomials,
    saboteurs=[
        raw,
        sabotage(hermite_polynomials, "x * rows[-1] - r * v * rows[-2]",
                 "x * rows[-1] - v * rows[-2]", "the factor r of the recursion"),
        sabotage(hermite_polynomials, "x * rows[-1] - r * v * rows[-2]",
                 "x * rows[-1] - (r + 1) * v * rows[-2]", "the index off by one"),
    ],
)  # fmt: skip
def unbiased(polynomials):
    """sigma^r He_r(x / sigma) has the mean E X^r of the law without noise, r = 1..7, and the
    covariance that the finite sum says."""
    z, w = np.polynomial.hermite_e.hermegauss(24)  # exact to degree 47
    w = w / w.sum()
    rows = [polynomials(a + NOISE * z, NOISE, 7) for a in ATOMS]
    mean = sum(p * (row @ w) for p, row in zip(MASS, rows, strict=True))
    # powers up to (0.9 + 0.8 * 8.9)^7 enter, with weights that add up to the moments of |x|
    size = sum(p * (np.abs(row) @ w) for p, row in zip(MASS, rows, strict=True))
    told = law_moments(ATOMS, MASS, 7)
    yield identity(mean / size, told / size, operations=256, scale=1.0, what="means")
    square = sum(p * (row * w) @ row.T for p, row in zip(MASS, rows, strict=True))
    told = hermite_covariance(law_moments(ATOMS, MASS, 14), NOISE, 7) + np.outer(told, told)
    root = np.sqrt(np.diag(told))
    yield identity(square / np.outer(root, root), told / np.outer(root, root), operations=256,
                   scale=1.0, what="second moments")  # fmt: skip


@claim("C8c", kind="law", of=hermite_covariance, saboteurs=COVARIANCE_MISTAKES)
def drawn_hermite_variances(covariance, rng):
    """Drawn Hermite moments have these variances."""
    n = 400_000
    told = np.diag(covariance(law_moments(ATOMS, MASS, 6), NOISE, 3))
    x = np.where(rng.random(n) < MASS[0], *ATOMS) + NOISE * rng.standard_normal(n)
    rows = hermite_polynomials(x, NOISE, 3) - law_moments(ATOMS, MASS, 3)[:, None]
    for r in range(1, 3):  # without j! the first order is right
        square = rows[r] ** 2
        z = (square.mean() - told[r]) / (square.std() / math.sqrt(n))
        yield law(z, n=n, what=f"r = {r + 1}")


# C9: the rate of two atoms


def errors_of_two_atoms(n1, n2, replicates, rng):
    """N^{1/6} W1 of estimates of +-N^{-1/6} from n1 samples at sigma 1 and n2 at 2.

    The estimated moments are drawn from their joint normal law: at these n the mean of n bounded
    cumulants is normal to n^{-1/2}.
    """
    N = n1 + n2 / 64
    atom = N ** (-1 / 6)
    m = law_moments([-atom, atom], [0.5, 0.5], 6)
    sizes = [(s, n) for s, n in ((1.0, n1), (2.0, n2)) if n]
    levels, counts = zip(*sizes, strict=True)
    weights = moment_weights(levels, counts, 3, pilot=m)
    total = sum(np.outer(weights[:, i], weights[:, i]) * hermite_covariance(m, s, 3) / n
                for i, (s, n) in enumerate(sizes))  # fmt: skip
    drawn = m[:3] + rng.standard_normal((replicates, 3)) @ np.linalg.cholesky(total).T
    x, w = two_atoms(drawn)
    points = np.concatenate([x, np.broadcast_to([-atom, atom], x.shape)], axis=1)
    signs = np.concatenate([w, np.full(x.shape, -0.5)], axis=1)
    way = np.argsort(points, axis=1)
    points, signs = (np.take_along_axis(v, way, axis=1) for v in (points, signs))
    W1 = np.sum(np.abs(np.cumsum(signs, axis=1))[:, :-1] * np.diff(points, axis=1), axis=1)
    return W1 / atom


@claim(
    "C9a",
    kind="rate",
    of=mixture_error,
    saboteurs=[
        wrong(lambda s, d, k, n: (0.0, n[0] ** (-1 / (2 * k))), "the exponent -1/(2k)"),
        wrong(lambda s, d, k, n: (0.0, n[0] ** (-1 / (4 * k))), "the exponent -1/(4k)"),
        wrong(lambda s, d, k, n: (0.0, n[0] ** -0.5), "the parametric rate"),
    ],
)
def rate_of_two_atoms(error, rng):
    """Along the truths +-N^{-1/6} the error W1 of two atoms falls like N^{-1/(4k - 2)} = N^{-1/6},
    with E W1 N^{1/6} between .80 and .85: .841, .820, .810, .824, .813, .813 in six designs."""
    low, high = (error([1.0], 1, 2, [N])[1] for N in (1e6, 1e12))
    expected = math.log(high / low) / math.log(1e6)
    # the next order of the moments' variances is N^{-1/3}: 1% at 1e6 and falling
    N = np.geomspace(1e6, 1e12, 19)
    W1 = [errors_of_two_atoms(n, 0, 4000, rng).mean() * n ** (-1 / 6) for n in N.tolist()]
    yield rate(N, W1, expected, what="samples at sigma = 1")
    seen = ((1e4, 0, 0.841), (0, 64e4, 0.820), (1e5, 0, 0.810), (5e4, 32e5, 0.824),
            (1e6, 0, 0.813), (1e7, 0, 0.813))  # fmt: skip
    for n1, n2, value in seen:
        drawn = errors_of_two_atoms(n1, n2, 4000, rng)
        spread = drawn.std() * math.sqrt(1 / 1500 + 1 / 4000)
        yield Evidence("rate", drawn.mean(), value, 5.2 * spread, "5.2 standard errors of both",
                       what=f"n1 = {n1:g}, n2 = {n2:g}")  # fmt: skip


@claim(
    "C9b",
    kind="law",
    of=effective_size,
    saboteurs=[
        wrong(lambda s, p, n: n[0] + n[1], "N = n1 + n2"),
        wrong(lambda s, p, n: n[0] + n[1] / 16, "N = n1 + n2/16, the subspace's price"),
        wrong(lambda s, p, n: n[0] + n[1] / 4, "N = n1 + n2/4, the mean's price"),
    ],
)
def one_curve(size, rng):
    """Two atoms see n2 samples at sigma = 2 as n2/64 at sigma = 1: noisy and mixed designs with the
    same N = n1 + n2/64 have the same mean error."""
    n = 20_000
    base = errors_of_two_atoms(1e10, 0, n, rng)
    for n1, n2 in ((0.0, 64e10), (5e9, 32e10)):
        N = size([1.0, 2.0], price_exponent(2), [n1, n2])
        drawn = errors_of_two_atoms(n1, n2, n, rng) * (n1 + n2 / 64) ** (-1 / 6)
        drawn = drawn * N ** (1 / 6)
        z = (drawn.mean() - base.mean()) / math.sqrt((drawn.var() + base.var()) / n)
        yield law(z, n=n, what=f"n1 = {n1:g}, n2 = {n2:g}")


@claim(
    "C9c",
    kind="optimum",
    of=two_atoms,
    saboteurs=[
        sabotage(two_atoms, "m3 - 3 * m1 * m2 + 2 * m1**3", "m3 - 3 * m1 * m2 + m1**3",
                 "a coefficient of the third cumulant"),
        sabotage(two_atoms, "g / (4 * xp.where(two, root, xp.ones_like(root)))",
                 "g / (2 * xp.where(two, root, xp.ones_like(root)))", "the weights' lean doubled"),
        sabotage(two_atoms, "g**2 / 4 + xp.where(two, v, 0 * v)", "xp.where(two, v, 0 * v)",
                 "g^2/4 left out of the root"),
    ],
)  # fmt: skip
def two_atoms_have_their_moments(recover):
    """The closed form of k = 2 has the three moments that it was given, and is one atom m1 where
    m2 < m1^2."""
    for x, w in ((ATOMS, MASS), ([-1.0, 0.2], [0.1, 0.9]), ([0.3, 0.5], [0.5, 0.5])):
        m = law_moments(x, w, 3)
        atoms, weights = recover(m)
        # v is a difference of squares: 1 / v roundings
        v = m[1] - m[0] ** 2
        yield optimum(np.abs(law_moments(atoms, weights, 3) - m).max(), 0.0,
                      tolerance=64 * EPS / v, tolerance_from="rounding over m2 - m1^2")  # fmt: skip
    atoms = recover(np.array([0.4, 0.1, 0.3]))[0]
    yield optimum(np.abs(atoms - 0.4).max(), 0.0, tolerance=EPS, tolerance_from="rounding")


# C10: the subspace

DESIGNS = ((4000, 0), (0, 64_000), (2000, 32_000), (16_000, 0))


def noise_only(n1, n2, d, rng):
    """Pure noise at sigma 1 and 2, its samples and levels."""
    parts = TwoVarianceSample(np.zeros(d), [1.0, 2.0], [n1, n2]).sample(rng=rng)
    return np.concatenate(parts), np.repeat([1.0, 2.0], [n1, n2])


def equal_weights(x, sigma):
    """Every sample counts alike."""
    return x.T @ x / len(x) - np.mean(sigma**2) * np.eye(x.shape[1])


SUBSPACE_MISTAKES = [
    equal_weights,
    sabotage(weighted_covariance, "s**-4", "s**-2", "weights sigma^{-2}"),
    sabotage(weighted_covariance, "xp.sum(w * s**2) / total", "xp.sum(s**2) / s.shape[0]",
             "the noise taken off with equal weights"),
]  # fmt: skip


@claim("C10a", kind="bound", of=weighted_covariance, saboteurs=SUBSPACE_MISTAKES[::2])
def norm_of_the_error(covariance, rng):
    """The weighted covariance's error has an operator norm near 2 sqrt(d / N_4): .2449 for 4000
    samples at sigma = 1, 64000 at 2 or 2000 and 32000, .1225 for 16000, d = 60."""
    d = 60
    for n1, n2 in DESIGNS:
        repeats = 3
        norms = []
        for _ in range(repeats):
            x, sigma = noise_only(n1, n2, d, rng)
            norms.append(np.abs(np.linalg.eigvalsh(covariance(x, sigma))).max())
        N = effective_size([1.0, 2.0], 4, [n1, n2])
        edge, mean = noise_norm(d, N), float(np.mean(norms))
        # the edges of a Wishart matrix are 2 sqrt(d/N) +- d/N; the largest of an edge's eigenvalues
        # lies 0.6 (1.21 + z) d^{-2/3} below it, where z has deviation 1.27: six deviations of 3
        spread = 0.5 * edge * d ** (-2 / 3)
        six = 6 * 1.27 * spread / math.sqrt(repeats)
        low, high = edge - 1.21 * spread - six, edge + d / N + six
        yield bound(mean, high, what=f"{n1} and {n2}")
        yield bound(mean, low, side="at least", what=f"{n1} and {n2}")


@claim("C10b", kind="law", of=weighted_covariance, saboteurs=SUBSPACE_MISTAKES[:2])
def squared_error(covariance, rng):
    """Its mean squared error is d (d + 1) / N_4 exactly, in every design with the same N_4: a
    sample at sigma = 2 counts for 1/16."""
    d, repeats = 8, 400
    for n1, n2 in ((100, 0), (0, 1600), (50, 800)):
        found = []
        for _ in range(repeats):
            x, sigma = noise_only(n1, n2, d, rng)
            found.append(np.sum(covariance(x, sigma) ** 2))
        told = d * (d + 1) / effective_size([1.0, 2.0], 4, [n1, n2])
        z = (np.mean(found) - told) / (np.std(found) / math.sqrt(repeats))
        yield law(z, n=repeats, what=f"{n1} and {n2}")


@claim(
    "C10c",
    kind="rate",
    of=noise_norm,
    saboteurs=[
        wrong(lambda d, n: 2 * math.sqrt(d) / n, "1 / N_4"),
        wrong(lambda d, n: 2 * (d / n) ** 0.25, "the rate of the subspace, not of the covariance"),
    ],
)
def rate_of_the_norm(norm, rng):
    """The norm falls like N_4^{-1/2}."""
    d = 20
    expected = math.log(norm(d, 1e6) / norm(d, 1e4)) / math.log(100)
    N, found = np.geomspace(4e3, 6e4, 28).astype(int), []
    for n in N.tolist():
        x, sigma = noise_only(n, 0, d, rng)
        found.append(np.abs(np.linalg.eigvalsh(weighted_covariance(x, sigma))).max())
    return rate(N, found, expected)


# C11: the toy table

ALL_CLEAN = frechet_error(SPECTRUM, 0.2, 50_000, 0)
ERROR_MISTAKES = [
    wrong(lambda c, s, n1, n2, how: float(np.sum(c * without_floor(c, s, n1, n2, how))) / 4,
          "the floor is left out"),
    wrong(lambda c, s, n1, n2, how: frechet_error(c, s, max(n1, 1), 0, "clean"),
          "noisy samples left out"),
    wrong(lambda c, s, n1, n2, how: frechet_error(c, s, n1 + n2, 0, "clean"),
          "a noisy sample counts as a clean one"),
]  # fmt: skip


@claim("C11a", kind="identity", of=frechet_error, saboteurs=ERROR_MISTAKES)
def toy_table(error):
    """Spectrum 1/j, d = 64, sigma_n^2 = .04, n = 50000, in units of all clean: 10% clean 10.00;
    90% noisy and 10% clean 2.82 (inverse variance), 2.87 (the loss), 2.27 (best), 2.08 (with
    consistency); all noisy with consistency 2.78."""
    table = {("clean", 0): 10.0, ("inverse variance", 45_000): 2.82, ("loss", 45_000): 2.87,
             ("best", 45_000): 2.27, ("consistency", 45_000): 2.08}  # fmt: skip
    for (how, n2), value in table.items():
        found = error(SPECTRUM, 0.2, 5_000, n2, how) / ALL_CLEAN
        yield known(found, value, 2, f"{how}, {n2} noisy")
    yield known(error(SPECTRUM, 0.2, 0, 50_000, "consistency") / ALL_CLEAN, 2.78, 2, "all noisy")


@claim("C11b", kind="bound", of=frechet_error, saboteurs=ERROR_MISTAKES)
def the_mixture_wins(error):
    """The mixture beats the small clean set by 3.5 to 4.8, and the stopped noisy set, 4214.5 units,
    by three orders of magnitude."""
    small = error(SPECTRUM, 0.2, 5_000, 0, "clean")
    gains = [small / error(SPECTRUM, 0.2, 5_000, 45_000, how) for how in
             ("inverse variance", "loss", "best", "consistency")]  # fmt: skip
    yield known(min(gains), 3.5, 1, "over the clean set, least", "bound")
    yield known(max(gains), 4.8, 1, "over the clean set, most", "bound")
    stopped = stopped_frechet(SPECTRUM, 0.2)
    yield known(stopped / ALL_CLEAN, 4214.5, 1, "stopped, in units", "bound")
    worst = error(SPECTRUM, 0.2, 5_000, 45_000, "loss")
    yield bound(stopped / worst, 1e3, side="at least", what="over the stopped set")


@claim(
    "C11c",
    kind="optimum",
    of=noisy_needed,
    saboteurs=[
        wrong(lambda t, c, s, n1, how: noisy_needed(t, c, s, n1, "likelihood"),
              "the likelihood's error stands for every weighting's"),
        wrong(lambda t, c, s, n1, how: noisy_needed(t / 2, c, s, n1, how),
              "deviations taken for variances, twice the error"),
    ],
)  # fmt: skip
def samples_for_an_error(needed):
    """How many noisy samples an error needs: the plan's number reaches it, one less does not; below
    the floor none does, and the clean set that would be needed is the smallest."""
    for how in ("inverse variance", "loss", "best", "consistency"):
        target = 2.9 * ALL_CLEAN
        plan = needed(target, SPECTRUM, 0.2, 5_000, how)
        at, before = (frechet_error(SPECTRUM, 0.2, 5_000, plan.n_noisy - i, how) for i in (0, 1))
        told = "the target itself"
        yield optimum(at, target, tolerance=0.0, tolerance_from=told, side="at most", what=how)
        yield optimum(before, target, tolerance=0.0, tolerance_from=told, side="at least", what=how)
    plan = needed(0.5 * ALL_CLEAN, SPECTRUM, 0.2, 5_000, "best")
    yield optimum(float(plan.feasible), 0.0, tolerance=0.0, tolerance_from="yes or no")
    rho = 0.04 / (SPECTRUM + 0.04)
    told = math.floor(float(np.sum(SPECTRUM * rho**2)) / (2 * 0.5 * ALL_CLEAN)) + 1
    yield optimum(plan.clean_needed, told, tolerance=0.0, tolerance_from="a whole number")
