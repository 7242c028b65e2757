"""Score identity distillation and its protein version (arXiv 2404.04057, 2510.03095), by claim.

Sheet `sid-protein`. One-dimensional worlds: Gaussian student against Gaussian teacher; a cubic
student of a mixture. Means over the student's noise and the level's are Gauss-Hermite sums where
everything is a polynomial times a rational function of a Gaussian, and the trapezoid rule for
mixtures; only C6, C9 and the training runs of C11 are sampled.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from fewtheory.distill.parts.student import FewSteps, advance, sample, start
from fewtheory.distill.sid import (
    SiDTerms,
    _weights,
    denoising_score,
    sid,
    sid_bound,
    sid_loss,
    sid_terms,
)
from fewtheory.distill.theory.linear_world import fisher_divergence, kl_from_fisher, linear_kl
from fewtheory.distill.theory.score_identity import minor_mass, protein_times, sid_basin, sid_slope
from fewtheory.model import Level, Model
from fewtheory.paths import EDM, RectifiedFlow
from fewtheory.suites._torch import Line
from fewtheory.testbeds import Gaussian, mixture_1d
from fewtheory.train import cosine_decay
from fewtheory.verify import (
    Evidence,
    bound,
    claim,
    half_way,
    identity,
    known,
    law,
    order,
    sabotage,
    wrong,
)

VE, RF = EDM(1e-9, 1e9), RectifiedFlow()
MIXTURE = mixture_1d([0.7, 0.3], [-1.5, 2.0], np.sqrt([0.3, 0.5]))
MODES = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.25, 0.25])
TEACHER, STUDENT, SIGMA = Gaussian([-0.2], 1.69), Gaussian([0.4], 0.49), 0.9
FISHER = 0.154072467692308  # in units of the denoiser: times sigma^4


def gauss(nodes=120):
    """Nodes and weights of two standard normals, (nodes^2,) each and torch tensors."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    Z, N = np.meshgrid(z, z, indexing="ij")
    W = np.outer(w, w) / w.sum() ** 2
    return [torch.tensor(v.ravel()) for v in (Z, N, W)]


def trapezoid(nodes=321, width=7.5):
    """The same by the trapezoid rule: for mixtures, whose scores have poles near the real line."""
    z = np.linspace(-width, width, nodes)
    w = np.exp(-0.5 * z * z) / np.exp(-0.5 * z * z).sum()
    Z, N = np.meshgrid(z, z, indexing="ij")
    return [torch.tensor(v.ravel()) for v in (Z, N, np.outer(w, w))]


def cubic(c, z):
    """The student c_0 + c_1 z + c_2 z^3 and its noise's log density, both differentiable."""
    return c[0] + c[1] * z + c[2] * z**3


def cubic_score(c: Any, sigma: float, nodes: int = 2001, width: float = 8.0) -> Model:
    """The exact denoiser of a cubic student: E[x_0 | x] by the trapezoid rule over its noise."""
    z = torch.linspace(-width, width, nodes, dtype=torch.float64)
    x0, log_w = cubic(c, z), -0.5 * z * z

    def denoise(x, t):
        log_p = log_w - 0.5 * ((x - x0) / sigma) ** 2
        share = torch.softmax(log_p, -1)
        return (share * x0).sum(-1, keepdim=True)

    def predict(x, t, **cond):  # in blocks: (n, nodes) does not fit otherwise
        return torch.cat([denoise(part, t) for part in x.split(4096)])

    return Model(predict, VE, "data")


# C1: the projected score identity


@claim(
    "C1",
    kind="identity",
    of=denoising_score,
    saboteurs=[
        sabotage(denoising_score, "sigma**2", "sigma", "sigma for its square"),
        sabotage(denoising_score, "alpha * x0 - x", "x - alpha * x0", "the sign"),
    ],
)
def projected_score(score):
    """E[u(x_t) s_q(x_t)] = E[u(x_t) (alpha x_0 - x_t) / sigma^2]: -.00885894 on both sides for the
    student .2 + .8 z + .12 z^3 and the mixture teacher's score as u, sigma = .8."""
    sigma, c = 0.8, torch.tensor([0.2, 0.8, 0.12], dtype=torch.float64)
    z, n, w = trapezoid(101, 7.0)
    x0 = cubic(c, z)[:, None]
    x = x0 + sigma * n[:, None]
    u = MIXTURE.score_at(x, 1.0, sigma)
    right = float((w[:, None] * u * score(x0, x, VE, sigma)).sum())
    yield known(right, -0.0088589, 7, what="projected")
    own = cubic_score(c, sigma)(x, sigma)
    left = float((w[:, None] * u * (own - x) / sigma**2).sum())
    # the same points on both sides: what is left is the inner quadrature's tail beyond z = 8
    why = "the student's law beyond 7 standard deviations of its noise"
    yield Evidence("identity", right, left, 1e-9, why, what="both sides")


# C2: values


def terms_of(subject, student, fake, nodes=60, teacher=TEACHER, sigma=SIGMA):
    """Mean L1 and L2 in units of the denoiser."""
    z, n, w = gauss(nodes)
    x0 = float(student.mean[0]) + math.sqrt(float(student.cov[0])) * z[:, None]
    terms = subject(x0, n[:, None], sigma, teacher.model(VE), fake.model(VE))
    return float((w * terms.l1).sum()), float((w * terms.l2).sum())


@claim(
    "C2",
    kind="identity",
    of=sid_terms,
    saboteurs=[
        sabotage(sid_terms, "real - x0", "x0 - real", "the sign of L2"),
        sabotage(
            sid_terms,
            "SiDTerms(_per_sample(xp, D * D), _per_sample(xp, D * gap), size)",
            "SiDTerms(_per_sample(xp, D * D), _per_sample(xp, D * D), size)",
            "L1 reported for both",
        ),
    ],
)
def values(terms):
    """Teacher N(-.2, 1.69), student N(.4, .49), sigma = .9: with the exact fake score L1 = L2 = F =
    .154072467692308; with N(.55, .81) L1 - F = -.041227, L2 - F = -.033272 and 2 L2 - L1 - F =
    -.025317307692308 = -E |error|^2."""
    # F is a divergence of scores, sigma^4 that of denoisers
    exact = fisher_divergence(STUDENT, TEACHER, VE, SIGMA) * SIGMA**4
    yield identity(exact, 0.1540724676923077, operations=64, scale=1.0, what="F")
    for value, what in zip(terms_of(terms, STUDENT, STUDENT), ("L1", "L2"), strict=True):
        yield identity(value, exact, operations=512, scale=1.0, what=f"{what}, exact fake score")
    other = Gaussian([0.55], 0.81)
    l1, l2 = terms_of(terms, STUDENT, other)
    for value, expected, what in ((l1, 0.11284516, "L1"), (l2, 0.12080016, "L2")):
        yield identity(value, expected, operations=512, scale=1.0, what=what)
    error = fisher_divergence(STUDENT, other, VE, SIGMA) * SIGMA**4
    yield identity(error, 0.02531730769230769, operations=64, scale=1.0, what="E |error|^2")
    yield identity(2 * l2 - l1, exact - error, operations=512, scale=1.0, what="the bound")


# C3: the exact gradient is at a = 1/2


def gaussian_gradient(loss, a, student=(0.4, 0.7), fake=None, teacher=TEACHER):
    """d/d(b, g) of the loss, the fake score frozen, by automatic differentiation."""
    z, n, w = gauss(60)
    p = torch.tensor(student, dtype=torch.float64, requires_grad=True)
    law_ = Gaussian([student[0]], student[1] ** 2) if fake is None else fake
    x0 = (p[0] + p[1] * z)[:, None]
    terms = sid_terms(x0, n[:, None], SIGMA, teacher.model(VE), law_.model(VE))
    weighed = SiDTerms(*(len(w) * w * v for v in (terms.l1, terms.l2, terms.size)))
    loss(weighed, Level(1.0, 1.0), a=a).backward()
    assert p.grad is not None
    return p.grad.numpy()


def half_share(terms, level, *, a):
    """L2 - a L1 / 2."""
    return sid_loss(terms, level, a=a / 2)


SIGN_OF_A = sabotage(
    sid_loss, "terms.l2 - share * terms.l1", "terms.l2 + share * terms.l1", "the sign of a"
)


@claim("C3a", kind="identity", of=sid_loss, saboteurs=[SIGN_OF_A, wrong(half_share, "a / 2")])
def half_is_exact(loss):
    """dF/db = .125971200, dF/dg = -.396548393, and 2 d(L2 - a L1) is that at a = 1/2; at a = 1 it
    is (.242252, -.521774), at a = 1.2 (.288765, -.571865)."""
    exact = linear_fisher_gradient()
    yield known(exact, [0.125971200, -0.396548393], 9, what="dF")
    half = 2 * gaussian_gradient(loss, 0.5)
    yield identity(half, exact, operations=1024, scale=1.0, what="a = 1/2")
    for a, expected in ((1.0, (0.242252, -0.521774)), (1.2, (0.288765, -0.571865))):
        yield known(2 * gaussian_gradient(loss, a), expected, 6, what=f"a = {a:g}")


def linear_fisher_gradient(b=0.4, g=0.7, teacher=TEACHER):
    """(dF/db, dF/dg) of Gaussians in units of the denoiser, in closed form.

    D = (k_p - k_q) u + (1 - k_q) (b - m) ... on x = b + u: F = (k_p - k_q)^2 (v + s) + ((1 - k_p)
    (m - b))^2 with k = v / (v + sigma^2), s = sigma^2."""
    s, m, c = SIGMA**2, float(teacher.mean[0]), float(teacher.cov[0])
    v = g * g
    k_p, k_q = c / (c + s), v / (v + s)
    slope = -2 * (k_p - k_q) * s / (v + s) ** 2 * (v + s) + (k_p - k_q) ** 2
    return np.array([2 * (1 - k_p) ** 2 * (b - m), 2 * g * slope])


CUBIC = (0.2, 0.8, 0.12)


def cubic_gradient(loss, a, sigma=0.8):
    """d/dc of the loss of the cubic student against the mixture, its exact fake score frozen."""
    z, n, w = trapezoid(101, 7.0)
    c = torch.tensor(CUBIC, dtype=torch.float64)
    fake = cubic_score(c, sigma, 1001)
    p = c.clone().requires_grad_(True)
    total = torch.zeros(3, dtype=torch.float64)
    for rows in torch.arange(len(z)).split(8192):
        x0 = cubic(p, z[rows])[:, None]
        terms = sid_terms(x0, n[rows][:, None], sigma, MIXTURE.model(VE, "data"), fake)
        weighed = SiDTerms(*(len(rows) * w[rows] * v for v in (terms.l1, terms.l2, terms.size)))
        total += torch.autograd.grad(loss(weighed, Level(1.0, 1.0), a=a), p)[0]
    return total.numpy()


def cubic_fisher(c, sigma=0.8):
    """F in units of the denoiser, over the law of x on a grid."""
    c = torch.tensor(c, dtype=torch.float64)
    x = torch.linspace(-50, 50, 2001, dtype=torch.float64)[:, None]
    z = torch.linspace(-7.5, 7.5, 1001, dtype=torch.float64)
    weight = torch.exp(-0.5 * z * z) * (15 / 1000) / math.sqrt(2 * math.pi)
    kernel = torch.exp(-0.5 * ((x - cubic(c, z)) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    D = MIXTURE.means_at(x, 1.0, sigma)[0] - cubic_score(c, sigma, 1001)(x, sigma)
    return float(((kernel @ weight)[:, None] * D**2).sum() * (100 / 2000))


@claim("C3b", kind="rate", of=sid_loss, saboteurs=[SIGN_OF_A, wrong(half_share, "a / 2")])
def half_is_exact_for_any_student(loss):
    """A cubic student of a mixture: dF = (.111038, -.408003, .535394) in its three coefficients,
    which is 2 d(L2 - L1 / 2); at a = 1 and 1.2 the cubic coefficient has the wrong sign (-.122961,
    -.386305)."""
    expected = (0.111038, -0.408003, 0.535394)
    half = 2 * cubic_gradient(loss, 0.5)
    yield known(half[:2], expected[:2], 5, kind="rate", what="a = 1/2")
    for k in range(3):
        e = np.eye(3)[k]
        coarse, fine = (
            (cubic_fisher(CUBIC + h * e) - cubic_fisher(CUBIC - h * e)) / (2 * h)
            for h in (0.02, 0.01)
        )
        # one extrapolation leaves h^4 = 1e-8; the quadratures end at 7 standard deviations
        slope = (4 * fine - coarse) / 3
        yield known(float(half[k]), slope, 5, kind="rate", what=f"difference quotient {k}")
    for a, third in ((1.0, -0.122961), (1.2, -0.386305)):
        found = 2 * float(cubic_gradient(loss, a)[2])
        yield known(found, third, 4, kind="rate", what=f"a = {a:g}, cubic")


# C4: detached networks give distribution matching


def detached_fake(x0, eps, t, teacher, fake, *, through, **cond):
    """The fake score alone without a gradient to its input."""

    def constant(x, t, **cond):
        return fake.predicting("data")(x.detach(), t, **cond)

    return sid_terms(x0, eps, t, teacher, Model(constant, fake.path, "data"), **cond)


def terms_gradient(terms, a, fake=STUDENT, **settings):
    """d(L2 - a L1)/d(b, g) of Gaussians with the terms of `terms`."""
    z, n, w = gauss(60)
    p = torch.tensor((0.4, 0.7), dtype=torch.float64, requires_grad=True)
    x0 = (p[0] + p[1] * z)[:, None]
    found = terms(x0, n[:, None], SIGMA, TEACHER.model(VE), fake.model(VE), **settings)
    (w * (found.l2 - a * found.l1)).sum().backward()
    assert p.grad is not None
    return p.grad.numpy()


@claim("C4", kind="identity", of=sid_terms, saboteurs=[wrong(detached_fake, "only the fake")])
def detached_is_distribution_matching(terms):
    """With both networks detached the gradient is that of sigma^2 KL for every a: -.209353846154 in
    g."""
    kl = linear_kl([[0.7]], [0.4], TEACHER, VE, SIGMA)
    exact = SIGMA**2 * np.array([kl.grad_b[0], kl.grad_A[0, 0]])
    yield known(exact[1], -0.209353846154, 12, what="sigma^2 dKL/dg")
    for a in (0.0, 0.5, 1.0, 1.2):
        found = terms_gradient(terms, a, through=False)
        yield identity(found, exact, operations=1024, scale=1.0, what=f"a = {a:g}")


# C5: stability in a


def cautious(c, sigma, a):
    """Safe for every a."""
    return math.inf


@claim(
    "C5a",
    kind="identity",
    of=sid_slope,
    saboteurs=[
        sabotage(sid_slope, "(k_p - 1) - share * D", "(k_p - 1) + share * D", "the sign of a"),
        sabotage(sid_slope, "(k_p - 1) - share * D", "k_p - share * D", "one forgotten"),
    ],
)
def slope_in_closed_form(slope):
    """c = sigma = 1, g = 1.7: .312656042, .212330080, .172199695 for a = .5, 1, 1.2; and the
    gradient of the loss itself by automatic differentiation."""
    one = Gaussian([0.0], 1.0)
    z, n, w = gauss(60)
    for a, expected in ((0.5, 0.312656042), (1.0, 0.212330080), (1.2, 0.172199695)):
        found = slope(1.7, 1.0, 1.0, a)
        yield known(found, expected, 9, what=f"a = {a:g}")
        g = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
        fake = Gaussian([0.0], 1.7**2).model(VE)
        terms = sid_terms((g * z)[:, None], n[:, None], 1.0, one.model(VE), fake)
        (own,) = torch.autograd.grad((w * (terms.l2 - a * terms.l1)).sum(), g)
        yield identity(found, float(own), operations=1024, scale=2.0, what=f"loss, a = {a:g}")


@claim(
    "C5b",
    kind="bound",
    of=sid_basin,
    saboteurs=[
        wrong(cautious, "a chosen without looking at the basin"),
        sabotage(sid_basin, "share * c * c + sigma**2", "c * c + sigma**2", "a forgotten"),
        sabotage(sid_basin, "share * c * c + sigma**2", "share * c * c", "no noise"),
    ],
)
def too_wide_a_student_runs_away(basin):
    """c = sigma = 1: g_crit = 3.31662479 for a = 1.2, 2.23606798 for 1.5, none for a <= 1; the
    slope changes sign there and nowhere else beyond c; at g = 5 it is +, +, -, - for a = .5, 1,
    1.2, 1.5."""
    for a, edge in ((1.2, 3.3166247903554), (1.5, 2.23606797749979)):
        yield bound(abs(min(basin(1.0, 1.0, a), 1e6) - edge), 1e-13, what=f"a = {a:g}")
    for a in (0.5, 1.0):
        yield bound(float(math.isfinite(basin(1.0, 1.0, a))), 0.0, what=f"none at a = {a:g}")
    for c, sigma, a in ((1.0, 1.0, 1.2), (0.5, 2.0, 1.2), (2.0, 0.3, 1.5), (1.0, 1.0, 3.0)):
        edge = min(basin(c, sigma, a), 1e6)
        inside = np.linspace(1.001 * c, 0.999 * edge, 50)
        pull = [sid_slope(float(g), c, sigma, a) for g in inside]
        yield bound(pull, 0.0, side="at least", what=f"inwards below, a = {a:g}")
        push = [sid_slope(float(g), c, sigma, a) for g in edge * np.linspace(1.001, 3, 50)]
        yield bound(push, 0.0, what=f"outwards above, a = {a:g}")
    # a denoiser as a first student has a std of c / 2 at the most
    yield bound(0.5 / basin(1.0, 1.0, 1.2), 1 / math.sqrt(6), what="where a run starts")


# C6: the per-sample normaliser


def plain_weights(terms, level, weight):
    """A weight of the level alone, whatever is asked."""
    return _weights(terms, level, "fisher")


RATIOS = {4: -0.2131, 8: -0.1047, 16: -0.0521, 32: -0.0263}


@claim(
    "C6",
    kind="rate",
    of=_weights,
    saboteurs=[wrong(plain_weights, "the plain weight, whose ratio is zero")],
)
def normaliser_breaks_the_identity(weights, rng):
    """c = sigma = 1, g = 1.6, exact fake score: E[w (L2 - L1)] / E[w L1] with the per-sample
    normaliser is -.2131, -.1047, -.0521, -.0263 for d = 4, 8, 16, 32, like -.84 / d."""
    one, wide = Gaussian([0.0], 1.0), Gaussian([0.0], 1.6**2)
    for d, expected in RATIOS.items():
        n = 800_000 // d
        x0, eps = 1.6 * rng.standard_normal((n, d)), rng.standard_normal((n, d))
        exact = [bed.model(VE, "data") for bed in (one, wide)]
        models = [Model(partial(by_coordinate, model), VE, "data") for model in exact]
        terms = sid_terms(x0, eps, 1.0, *models)
        w = np.broadcast_to(weights(terms, Level(1.0, 1.0), "normalised"), (n,))
        top, bottom = w * (terms.l2 - terms.l1), w * terms.l1
        ratio = float(top.mean() / bottom.mean())
        spread = float((top - ratio * bottom).std() / bottom.mean() / math.sqrt(n))
        # two uncertain numbers: the known one has a standard error of 7e-4
        z = (ratio - expected) / math.hypot(spread, 7e-4)
        yield replace(law(z, n=n, what=f"d = {d}"), kind="rate")


def by_coordinate(model, x, t):
    """A one-dimensional model on every coordinate of (n, d)."""
    return model(x.reshape(-1, 1), t).reshape(x.shape)


# C7: next to the optimum a does not matter


def followed(g, c, sigma, a):
    """The fake score re-trained inside the derivative: (1 - a) dF."""
    slope = sid_slope(g, c, sigma, 0.5)
    return (1 - a) * 2 * slope


@claim("C7", kind="order", of=sid_slope, saboteurs=[wrong(followed, "the fake score follows")])
def a_matters_to_second_order(slope):
    """The ratio of the gradient to dF / 2 at c = sigma = 1, g = 1.1 is 1.0499, 1, .9501, .9302 for
    a = 0, .5, 1, 1.2, and its distance from 1 halves with the distance to the optimum."""
    for a, expected in ((0.0, 1.0499), (0.5, 1.0), (1.0, 0.9501), (1.2, 0.9302)):
        ratio = slope(1.1, 1.0, 1.0, a) / sid_slope(1.1, 1.0, 1.0, 0.5)
        yield Evidence(
            "order", ratio, expected, 5e-5, "half a unit of the known value's last digit"
        )
    steps = np.array([20.0, 40.0, 80.0, 160.0])
    for a in (0.0, 1.0, 1.2):
        away = [
            abs(slope(1 + 1 / n, 1.0, 1.0, a) / sid_slope(1 + 1 / n, 1.0, 1.0, 0.5) - 1)
            for n in steps
        ]
        yield order(steps, away, 1, what=f"a = {a:g}")


# C8: noise scaling is a temperature


class Dealt(np.random.Generator):
    """A generator that deals out the columns of prescribed standard normals, block by block."""

    def __init__(self, points, d):
        super().__init__(np.random.PCG64(0))
        self.blocks = iter([points[:, k : k + d] for k in range(0, points.shape[1], d)])

    def standard_normal(self, size=None, dtype=np.float64, out=None):
        """The next block."""
        return next(self.blocks)


def exact_student(mean, cov, times):
    """Exact at each step: the input's law, at gamma = 1, is mapped to N(mean, cov), affinely."""
    root = np.linalg.cholesky(cov)

    def function(x, t):
        level = float(np.ravel(t)[0])
        first = level == times[0]
        alpha, scale = 1 - level, level
        V = scale**2 * np.eye(len(mean)) + (0 if first else alpha**2) * cov
        centre = 0 * mean if first else alpha * mean
        gain = torch.tensor(root @ np.linalg.inv(np.linalg.cholesky(V)))
        return torch.tensor(mean) + (x - torch.tensor(centre)) @ gain.T

    return Model(function, RF, "data")


def last_step_alone(student, steps, like, *, rng):
    """Noise scaled in the last step only."""
    x = start(student, steps, like, rng=rng)
    x0 = student(x, x.new_full((len(x),), steps.times[0]))
    for k in range(1, steps.count):
        scale = steps.noise_scale if k == steps.count - 1 else 1.0
        x = advance(student, steps, k - 1, x, x0, rng=rng, noise_scale=scale)
        x0 = student(x, x.new_full((len(x),), steps.times[k]))
    return x0


def not_from_zero(student, steps, like, *, rng):
    """y_0 is the teacher's mean, not 0."""
    shift = (1 - steps.times[0]) * torch.tensor([1.0, -1.0], dtype=like.dtype)
    moved = Model(
        lambda x, t: student(x + (shift if float(t[0]) == steps.times[0] else 0), t), RF, "data"
    )
    return sample(moved, steps, like, rng=rng)


@claim(
    "C8",
    kind="identity",
    of=sample,
    saboteurs=[
        wrong(last_step_alone, "the last step's noise alone is scaled"),
        wrong(not_from_zero, "y_0 is not zero"),
        sabotage(
            sample,
            "gamma * start(student, steps, like, rng=rng)",
            "start(student, steps, like, rng=rng)",
            "the first noise is not scaled",
        ),
    ],
)
def gamma_is_a_temperature(draw):
    """In two dimensions, C = ((1, .3), (.3, .5)), students exact at each of K = 1, 4, 16 steps and
    sampled with gamma = .45 have exactly the covariance gamma^2 C, and the teacher's mean."""
    mean, cov = np.array([1.0, -1.0]), np.array([[1.0, 0.3], [0.3, 0.5]])
    for count in (1, 4, 16):
        times = protein_times(count)
        d = 2 * count
        axes = math.sqrt(d) * np.eye(d)
        points = np.concatenate([axes, -axes])
        steps = FewSteps(times, noise_scale=0.45)
        like = torch.zeros(len(points), 2, dtype=torch.float64)
        student = exact_student(mean, cov, times)
        y = draw(student, steps, like, rng=Dealt(points, 2)).numpy()
        found, centre = np.cov(y.T, bias=True), y.mean(0)
        # inverses of levels down to .01, over K steps
        room = {"operations": 64 * count, "scale": 1e2}
        yield identity(found, 0.45**2 * cov, what=f"covariance, K = {count}", **room)
        yield identity(centre, mean, what=f"mean, K = {count}", **room)


# C9: few steps and noise scaling, neither alone


def monotone_student(bed, times):
    """Exact at each step in one dimension: the monotone map of the input's law, at gamma = 1."""
    blurred = {t: bed.at(RF, t) for t in times}
    grid = np.linspace(-8, 8, 8001)

    def cdf(law_, x):
        w, m, s = law_.weights[0], law_.means[0], law_.stds[0]
        return sum(a * ndtr((x - b) / c) for a, b, c in zip(w, m, s, strict=True))

    clean = cdf(bed, grid)

    def function(x, t):
        level, at = float(t[0]), x.numpy()
        u = ndtr(at / level) if level == times[0] else cdf(blurred[level], at)
        return torch.tensor(np.interp(u, clean, grid))

    return Model(function, RF, "data")


def denoiser_student(bed, times):
    """The posterior mean in place of the monotone map."""
    return bed.model(RF, "data")


REACH = 1.959963984540054 * 0.25  # of the 95 % set around either mode: 16 stds part them


def designable(make, bed, count, gamma, rng, n=100_000):
    """(share of samples in the teacher's 95 % set, within-mode std, samples) of K steps."""
    times = protein_times(count)
    steps = FewSteps(times, noise_scale=gamma)
    like = torch.zeros(n, 1, dtype=torch.float64)
    y = sample(make(bed, times), steps, like, rng=rng).numpy()
    away = np.abs(np.abs(y) - 2)
    return float((away < REACH).mean()), float((np.abs(y) - 2).std()), y


@claim(
    "C9a",
    kind="law",
    of=monotone_student,
    saboteurs=[wrong(denoiser_student, "a denoiser's mean for the monotone map")],
)
def few_steps_and_noise_scaling(make, rng):
    """Teacher .5 N(-2, .0625) + .5 N(2, .0625), "designable" inside its 95 % highest-density set:
    gamma = 1 gives .95 for every K; gamma = .45 gives .945 (exactly .9445) at K = 1, .982 at 4,
    .9999 at 8, 1.0000 at 16 with a within-mode std of .112 = gamma x .25. Neither few steps nor
    scaled noise alone."""
    n = 100_000

    def tested(count, gamma, share):
        found = designable(make, MODES, count, gamma, rng, n)[0]
        z = (found - share) / math.sqrt(share * (1 - share) / n)
        return law(z, n=n, what=f"K = {count}, gamma = {gamma:g}")

    for count in (1, 4, 16):
        yield tested(count, 1.0, 0.95)
    # K = 1: y = F^{-1}(Phi(gamma z)) is in the set where Phi(gamma |z|) is in [.5125, .9875]
    low, high = (ndtri(u) / 0.45 for u in (0.5125, 0.9875))
    yield tested(1, 0.45, float(2 * (ndtr(high) - ndtr(low))))
    why = "half a unit of the known value's last digit, and four standard errors of both samples"
    for count, share, unit in ((4, 0.982, 1e-3), (8, 0.9999, 1e-4), (16, 1.0, 1e-4)):
        found, std, _ = designable(make, MODES, count, 0.45, rng, n)
        room = 0.5 * unit + 4 * math.sqrt(2 * share * (1 - share) / n) + 4 / n
        yield Evidence("law", found, share, room, why, what=f"K = {count}, gamma = .45")
    # the std of n draws has a relative standard error of 1 / sqrt(2 n), twice the ends' squares
    room = 0.0005 + 4 * 0.1125 / math.sqrt(2 * n)
    yield Evidence("law", std, 0.1125, room, why, what="within-mode std, K = 16")


@claim(
    "C9b",
    kind="law",
    of=minor_mass,
    saboteurs=[
        sabotage(minor_mass, "ndtri(w) / scale", "ndtri(w)", "the weight is kept"),
        sabotage(minor_mass, "ndtri(w) / scale", "ndtri(w) / scale**2", "gamma squared"),
    ],
)
def the_price_is_the_minor_mode(mass, rng):
    """A minor mode of weight .3 keeps Phi(-Phi^{-1}(.7) / gamma): .1219 at gamma = .45, .191 at .6,
    .040 at .3; the monotone student's samples say so for K = 1, and within .004 for K = 4, 8."""
    known_mass = [
        0.3,
        0.256072736954678,
        0.19105889418635852,
        0.1219418151586319,
        0.04023186574264134,
    ]
    found = mass(0.3, np.array([1.0, 0.8, 0.6, 0.45, 0.3]))
    why = "64 roundings"
    gap = float(np.abs(found - np.array(known_mass)).max())
    yield Evidence("law", gap, 0.0, 64 * 2.3e-16, why, what="known")
    bed = mixture_1d([0.7, 0.3], [-2.0, 2.0], [0.25, 0.25])
    n = 100_000
    for count in (1, 4, 8):
        y = designable(monotone_student, bed, count, 0.45, rng, n)[2]
        share, expected = float((y > 0).mean()), float(mass(0.3, 0.45))
        if count == 1:
            yield law(
                (share - expected) / math.sqrt(expected * (1 - expected) / n), n=n, what="K = 1"
            )
        else:
            why = "modes that are not infinitely far apart; seven standard errors"
            yield Evidence("law", share, expected, 0.0075, why, what=f"K = {count}")


# C10: KL and Fisher


@claim(
    "C10",
    kind="identity",
    of=sid_bound,
    saboteurs=[
        sabotage(sid_bound, "2 * terms.l2 - terms.l1", "terms.l1", "L1 reported as the divergence"),
        wrong(lambda terms, level: (2 * terms.l2 - terms.l1).mean(), "no weight"),
    ],
)
def levels_weighed_by_sigma_give_kl(divergence):
    """With the weight sigma per unit of sigma the Fisher divergences that SiD estimates add up to
    KL: in one dimension, student N(.4, .49), teacher N(-.2, 1.69)."""
    z, n, w = gauss(40)
    x0 = (0.4 + 0.7 * z)[:, None]

    def fisher(rho):
        terms = sid_terms(x0, n[:, None], rho, TEACHER.model(VE), STUDENT.model(VE))
        weighed = SiDTerms(*(len(w) * w * v for v in (terms.l1, terms.l2, terms.size)))
        return float(divergence(weighed, Level(1.0, rho)))

    kl = linear_kl([[0.7]], [0.4], TEACHER, VE, 1e-8).value
    found = kl_from_fisher(fisher, 1e-4, 1e4, 801)
    left_out = 1e-8 * fisher(1e-4) / 2 + 0.36 / 2e8
    why = "what lies under 1e-4 and beyond 1e4, and cancellation in scores of size 1e4"
    yield Evidence("identity", found, kl, left_out + 1e-8, why)
    other = Gaussian([0.55], 0.81)
    terms = sid_terms(x0, n[:, None], SIGMA, TEACHER.model(VE), other.model(VE))
    weighed = SiDTerms(*(len(w) * w * v for v in (terms.l1, terms.l2, terms.size)))
    at = Level(1.0, SIGMA)
    error = fisher_divergence(STUDENT, other, VE, SIGMA)
    expected = fisher_divergence(STUDENT, TEACHER, VE, SIGMA) - error
    found = float(divergence(weighed, at))
    yield identity(found, expected, operations=1024, scale=1.0, what="imperfect fake score")


# C11: training runs

RUNS = 16  # coordinates of one run: each has its own networks and noise


def trained(players, teacher, sigma, a, start, rng, *, steps, rate, fake, schedule=None):
    """(gains, shifts) of students x_0 = gain z + shift after training runs at one noise level.

    start: (gain, shift); rate: of the student's plain steps, in units of the denoiser; fake: the
    optimizer of the fake score, how often it moves for a step of the student, and its first law.
    """
    from fewtheory.train import fit

    m, c = (float(np.ravel(v)[0]) for v in (teacher.mean, teacher.cov))
    first_m, first_c = fake["law"]
    k, student, every = first_c / (first_c + sigma**2), Line(RUNS, *start), fake["every"]
    moving = players(
        student,
        Line(RUNS, k, (1 - k) * first_m),
        lambda network: Model(lambda x, t: network(x), VE, "data"),
        Gaussian([m] * RUNS, c).model(VE, "data"),
        FewSteps([1.0]),
        a=a,
        weight="fisher",
        scale=sigma**4,
        levels=lambda path, n, rng: torch.full((n,), sigma),
        fake_weight=lambda level: torch.ones_like(level.sigma),
        every=every,
        student_settings={"optimizer": partial(torch.optim.SGD, lr=rate), "schedule": schedule},
        fake_settings={"optimizer": fake["optimizer"], "schedule": schedule},
    )

    def real(n, rng):
        noise = torch.randn(n, RUNS, generator=rng, dtype=torch.float64)
        return m + math.sqrt(c) * noise

    fit(moving, real, every * steps, rng=rng, batch=256)
    return student.gain.detach().numpy(), student.shift.detach().numpy()


def without_the_teachers_slope(a):
    """Where the gain comes to rest if no gradient passes through the teacher.

    d(L2 - a L1)/dg is then g (k_q (1 - k_p) - D (1 - 2 a k_q)), D = k_p - k_q.
    """
    k_p = 1.69 / (1.69 + SIGMA**2)

    def slope(k):
        return k * (1 - k_p) - (k_p - k) * (1 - 2 * a * k)

    k: Any = brentq(slope, 0.0, k_p)
    return SIGMA * math.sqrt(k / (1 - k))


@claim(
    "C11a",
    kind="optimum",
    of=sid,
    saboteurs=[
        sabotage(
            sid,
            "teacher.predicting('data')(seen, t, **cond)",
            "teacher.predicting('data')(seen.detach(), t, **cond)",
            "no gradient passes through the teacher",
            inside=sid_terms,
        ),
        sabotage(
            sid,
            "parts.fake_loss(networks, out, learn, learning, rng, **cond)",
            "parts.fake_loss(networks, type(out)(x, 0, x, 0), learn, learning, rng, **cond)",
            "the fake score learns on real samples",
        ),
    ],
    deep=True,
    requires=("models",),
)
def runs_end_at_the_teacher_for_every_a(players, rng):
    """Training runs at the noise .9 with the exact Fisher weight, from N(.5, .25), end at the
    teacher's N(-.2, 1.69) for a = .5, 1 and 1.2; with no gradient through the teacher the std would
    end at .7830, .6431 and .5968, with a fake score of real samples nothing would move."""
    for a in (0.5, 1.0, 1.2):
        # curvatures of the student (1 - k_p)^2 = .1 and .28, of the fake score 2 E[x^2] / RUNS
        fake = {
            "every": 4,
            "law": (-0.2, 1.69),
            "optimizer": partial(torch.optim.SGD, lr=0.1 * RUNS),
        }
        gains, shifts = trained(
            players, TEACHER, SIGMA, a, (0.5, 0.5), rng,
            steps=250, rate=0.8, fake=fake, schedule=cosine_decay(1000),
        )  # fmt: skip
        ends = (without_the_teachers_slope(a), 0.5)
        yield half_way(gains, 1.3, ends, f"std, a = {a:g}")
        yield half_way(shifts, -0.2, [0.5], f"mean, a = {a:g}")


def descent(a, g=5.0, rate=0.25, steps=40):
    """The gain after plain steps with the exact fake score, c = sigma = 1."""
    for _ in range(steps):
        g -= rate * sid_slope(g, 1.0, 1.0, a)
    return g


@claim(
    "C11b",
    kind="rate",
    of=sid,
    saboteurs=[
        wrong(lambda *args, a, **s: sid(*args, a=0.5, **s), "a is left out"),
        sabotage(
            sid,
            "sid_terms(x0, eps, t, *models, mask=cond.get('mask'))",
            "sid_terms(x0, eps, t, *models, mask=cond.get('mask'), through=False)",
            "both networks detached",
        ),
    ],
    deep=True,
    requires=("models",),
)
def too_wide_a_start_runs_away(players, rng):
    """Training runs with c = sigma = 1 from a std of 5, 40 steps of .25: with a = 1.2, whose g_crit
    is 3.317, it grows to 9.951, with a = .5 it falls to 1.041."""
    expected = {a: descent(a) for a in (1.2, 0.5)}
    for a, other in ((1.2, 0.5), (0.5, 1.2)):
        fake = {
            "every": 10,
            "law": (0.0, 25.0),
            "optimizer": partial(torch.optim.Adam, lr=0.004, betas=(0.0, 0.99)),
        }
        gains, _ = trained(
            players, Gaussian([0.0], 1.0), 1.0, a, (5.0, 0.0), rng, steps=40, rate=0.25, fake=fake
        )
        yield half_way(gains, expected[a], [expected[other]], f"a = {a:g}", kind="rate")
