"""Sharper bounds for l_p sensitivity sampling (arXiv 2306.00732), claim by claim. Sheet
`lp-sensitivity`.

The paper has no experiments: its headline is a table of exponents. Here they are tested on matrices
whose scores are closed forms (`testbeds.lp_designs`), and samples are enumerated where they can be.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace

import numpy as np

from fewtheory.subsets.rows.budget import inclusion_probabilities, probability_of_block
from fewtheory.subsets.rows.coreset import coreset, drawn
from fewtheory.subsets.rows.distortion import distortion
from fewtheory.subsets.rows.flatten import flatten
from fewtheory.subsets.rows.leverage import leverage_scores
from fewtheory.subsets.rows.lewis import (
    certificate,
    lewis_map,
    lewis_potential,
    lewis_weights,
    scales,
)
from fewtheory.subsets.rows.online import online_leverage
from fewtheory.subsets.rows.rays import profiles
from fewtheory.subsets.rows.root_leverage import recursion_limit, root_leverage_budget
from fewtheory.subsets.rows.scores import scores
from fewtheory.subsets.rows.sensitivities import _bounds, sensitivities
from fewtheory.subsets.rows.streaming import StreamingCoreset
from fewtheory.subsets.rows.total_sensitivity import (
    bracket,
    lewis_range,
    ratio_estimates,
    signed_buckets,
)
from fewtheory.testbeds import lp_designs as designs
from fewtheory.testbeds.lp_designs import sphere_total
from fewtheory.testbeds.two_blocks import TwoBlocks, rank_probability
from fewtheory.verify import (
    Evidence,
    bound,
    claim,
    identity,
    known,
    law,
    sabotage,
    sequential_mean,
    wrong,
)
from fewtheory.verify.power import LEVEL, samples_for_mean, samples_for_variance

EPS = float(np.finfo(np.float64).eps)


def heavy(seed, n, d, spread=1.0):
    """Gaussian rows times exp(spread N(0, 1))."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * np.exp(spread * rng.standard_normal((n, 1)))


def solved(value, expected, tolerance, what="", kind="identity"):
    """Values of an iteration that stops at this relative tolerance, on terms of order one."""
    found = identity(value, expected, operations=1, eps=tolerance, scale=1.0, what=what)
    return replace(found, kind=kind, tolerance_from="the tolerance of the iteration, on order one")


# C1


def share(A, x, p):
    """|a_i.x_i|^p / ||A x_i||_p^p, the direction x_i of row i."""
    return np.abs((A * x).sum(axis=1)) ** p / (np.abs(A @ x.T) ** p).sum(axis=0)


def unpowered_dual(A, p, **how):
    """The p-th power of the dual norm is forgotten."""
    found = sensitivities(A, p, **how)
    return replace(found, upper=found.upper ** (1 / p))


def dual_in_p(A, p, **how):
    """p stands for q in the dual: ||y||_p in place of ||y||_q."""
    found = sensitivities(A, p, **how)
    u = A @ found.directions.T
    y = np.abs(u) ** (p - 1) * np.sign(u) / (np.abs(u) ** p).sum(axis=0)
    y = y * (A * found.directions).sum(axis=1)  # at p = 1 the signs are one of the solutions
    return replace(found, upper=(np.abs(y) ** p).sum(axis=0))


LEVERAGE = sabotage(sensitivities, "p == 2", "p >= 1", "leverage for every p", inside=_bounds)


@claim(
    "C1",
    kind="identity",
    of=sensitivities,
    saboteurs=[unpowered_dual, dual_in_p, LEVERAGE],
)
def primal_is_dual(found):
    """sigma_i^{1/p} = max {a_i.x : ||Ax||_p <= 1} = min {||y||_q : A^T y = a_i} for every row: both
    bounds meet, and the first is reached at the direction given; 25 x 4 heavy-tailed rows, p = 1,
    1.3, 2, 3 and 6."""
    A = heavy(0, 25, 4)
    for p in (1, 1.3, 2, 3, 6):
        s = found(A, p, tolerance=1e-12)
        yield solved(s.upper / s.lower, 1.0, 1.001e-12, f"p = {p}, dual over primal")
        yield solved(share(A, s.directions, p) / s.lower, 1.0, 1e-12, f"p = {p}, at the direction")


# C2


def agree(found, design, p, what):
    """Computed sensitivities against the design's."""
    value = found(design.A, p, tolerance=1e-11).value
    return solved(value, design.sensitivities(p), 1e-9, f"{what}, p = {p}")


def one_sided(A, p, **how):
    """Half of the linear program: Ax <= t without -Ax <= t (p = 1)."""
    from scipy.optimize import linprog

    found = sensitivities(A, p, **how)
    if p != 1:
        return found
    n, d = A.shape
    cost = np.append(np.zeros(d), np.ones(n))
    bounds = [*[(None, None)] * d, *[(0, None)] * n]
    rows = np.hstack([A, -np.eye(n)])
    values = [
        1 / linprog(cost, rows, np.zeros(n), [np.append(a, np.zeros(n))], [1.0], bounds).fun
        for a in A
    ]
    return replace(found, lower=np.array(values), upper=np.array(values))


@claim(
    "C2a",
    kind="identity",
    of=designs.codimension_one,
    saboteurs=[
        sabotage(
            designs.codimension_one,
            "math.inf if p == 1 else p / (p - 1)",
            "p",
            "the norm of the other entries is in p, not q",
        ),
        sabotage(
            designs.codimension_one,
            "(np.abs(c) / np.linalg.norm(rest, q, axis=1)) ** p",
            "np.abs(c) / np.linalg.norm(rest, q, axis=1)",
            "the power p is forgotten",
        ),
    ],
)
def bases_of_a_hyperplane(design_of):
    """Any basis of {y : c.y = 0} has sigma_i = 1 / (1 + (|c_i| / ||c_rest||_q)^p), the leverage
    scores 1 - c_i^2 / ||c||^2 at p = 2; a regular simplex has S_p = (d+1) / (1 + d^(1-p))."""
    c = [1.0, 0.5, 2.0, 0.25, 1.5]
    design = design_of(c, rng=np.random.default_rng(0))
    for p in (1, 1.5, 2, 3, 7):
        yield agree(sensitivities, design, p, "c")
    tau = 1 - np.square(c) / np.sum(np.square(c))
    yield identity(design.sensitivities(2), tau, operations=32, what="p = 2")
    for d, p in itertools.product((2, 5), (1, 1.5, 3)):
        total = design_of(np.ones(d + 1)).total(p)
        value = sensitivities(designs.simplex(d).A, p, tolerance=1e-11).value.sum()
        yield solved(
            total, (d + 1) / (1 + d ** (1 - p)), 64 * EPS * d, f"simplex, d = {d}, p = {p}"
        )
        yield solved(value, total, 1e-9 * d, f"simplex computed, d = {d}, p = {p}")


@claim("C2b", kind="identity", of=sensitivities, saboteurs=[one_sided, LEVERAGE])
def half_polygons(found):
    """n directions at angles pi i / n: S_1 = n tan(pi/2n) for even n, n sin(pi/2n) for odd n, and
    S_{2q} = 4^q / C(2q, q) for n > q."""
    for n in (2, 3, 4, 5, 12):
        design = designs.half_polygon(n)
        total = n * (math.tan if n % 2 == 0 else math.sin)(math.pi / (2 * n))
        for p in (1, 1.5):
            yield agree(found, design, p, f"n = {n}")
        yield solved(found(design.A, 1).value.sum(), total, 1e-9, f"n = {n}, S_1")
        for q in (2, 3):
            if n > q:
                value = found(design.A, 2 * q, tolerance=1e-11).value.sum()
                yield solved(value, 4**q / math.comb(2 * q, q), 1e-9 * n, f"n = {n}, S_{2 * q}")


@claim("C2c", kind="identity", of=sensitivities, saboteurs=[one_sided, LEVERAGE])
def cubes(found):
    """The 2^(d-1) rows (1, +-1, .., +-1): S_1 = 2^(d-1) / C(d-1, floor((d-1)/2)) and S_4 =
    d^3 / (3d - 2)."""
    for d in (2, 3, 4, 5):
        A = designs.cube(d).A
        S_1, S_4 = (float(found(A, p, tolerance=1e-11).value.sum()) for p in (1, 4))
        yield solved(S_1, 2 ** (d - 1) / math.comb(d - 1, (d - 1) // 2), 1e-9 * d, f"d = {d}, S_1")
        yield solved(S_4, d**3 / (3 * d - 2), 1e-9 * d, f"d = {d}, S_4")
        yield agree(found, designs.cube(d), 3, f"d = {d}")


def icosahedron():
    """Six of its vertices, one of each pair: a spherical 5-design."""
    golden = (1 + math.sqrt(5)) / 2
    rows = [[0, 1, golden], [0, -1, golden], [1, golden, 0], [-1, golden, 0]]
    return np.array([*rows, [golden, 0, 1], [golden, 0, -1]]) / math.hypot(1, golden)


def mean_power(d, p):
    """E |u_1|^p over the sphere, by quadrature of its density (1 - t^2)^((d-3)/2)."""
    from scipy.integrate import quad

    top, density = lambda t: math.cos(t) ** p, lambda t: math.sin(t) ** (d - 2)
    above = quad(lambda t: top(t) * density(t), 0, math.pi / 2, epsabs=0, epsrel=1e-12)[0]
    return above / quad(density, 0, math.pi / 2, epsabs=0, epsrel=1e-12)[0]


@claim(
    "C2d",
    kind="identity",
    of=sphere_total,
    saboteurs=[
        sabotage(sphere_total, "(p + 1) / 2", "p / 2", "Gamma(p/2) stands for Gamma((p+1)/2)"),
        wrong(lambda d, p: float(d), "S = d for every p"),
    ],
)
def spheres(total):
    """S_p of dense spherical designs is 1 / E|u_1|^p = sqrt(pi) Gamma((d+p)/2) / (Gamma(d/2)
    Gamma((p+1)/2)): 3.865632 for p = 1, d = 10, and d(d+2)/3 for p = 4, which six vertices of the
    icosahedron have already."""
    yield known(total(10, 1), 3.865632, 6, "p = 1, d = 10")
    for d, p in itertools.product((2, 3, 10), (1, 1.5, 3, 4)):
        # the quadrature is accurate to 1e-12
        yield solved(total(d, p) * mean_power(d, p), 1.0, 1e-11, f"d = {d}, p = {p}")
    for d in (2, 5, 10):
        yield identity(total(d, 4), d * (d + 2) / 3, operations=64, what=f"d = {d}, S_4")
    value = float(sensitivities(icosahedron(), 4, tolerance=1e-11).value.sum())
    yield solved(value, total(3, 4), 1e-9 * 5, "icosahedron, S_4")


def blocks_together(A, p, **how):
    """A sensitivity of two blocks in common: the average over all rows."""
    found = sensitivities(A, p, **how)
    mean = np.full_like(found.lower, found.lower.mean())
    return replace(found, lower=mean, upper=mean)


@claim("C2e", kind="identity", of=sensitivities, saboteurs=[blocks_together, one_sided, LEVERAGE])
def direct_sums(found):
    """Scores of a direct sum are those of its blocks."""
    blocks = [designs.half_polygon(5), designs.simplex(3), designs.one_column([1.0, 2.0, 4.0])]
    for p in (1, 1.5, 3):
        yield agree(found, designs.direct_sum(blocks), p, "three blocks")


@claim("C2f", kind="identity", of=sensitivities, saboteurs=[LEVERAGE, unpowered_dual])
def one_dimension(found):
    """In one dimension sigma_i = w_i = |a_i|^p / ||a||_p^p, proportional to tau_i^{p/2}."""
    a = np.array([1.0, 0.5, 3.0, 0.1])
    design = designs.one_column(a)
    tau = leverage_scores(a[:, None])
    for p in (1, 1.5, 3):
        yield agree(found, design, p, "sigma")
        w = lewis_weights(a[:, None], p, tolerance=1e-13).weights
        yield solved(w, design.sensitivities(p), 1e-12, f"w, p = {p}")
        power = tau ** (p / 2)
        upper = found(a[:, None], p).upper
        yield solved(upper, power / power.sum(), 1e-9, f"tau^(p/2), p = {p}")


def random_graph(seed, nodes, extra):
    """A random tree and more edges, integer weights."""
    rng = np.random.default_rng(seed)
    tree = [(int(rng.integers(v)), v) for v in range(1, nodes)]
    more = [tuple(rng.choice(nodes, 2, replace=False).tolist()) for _ in range(extra)]
    edges = np.array([*tree, *more])
    return edges, rng.integers(1, 10, len(edges))


@claim(
    "C2g",
    kind="identity",
    of=designs.graph,
    saboteurs=[
        sabotage(
            designs.graph,
            "maximum_flow(capacity, u, v).flow_value",
            "capacity[[u]].sum()",
            "the degree of a node in place of the minimum cut",
        ),
        sabotage(
            designs.graph,
            "np.tile(w, 2)",
            "np.tile(np.ones_like(w), 2)",
            "cuts without the edges' weights",
        ),
    ],
)
def cuts(graph):
    """l_1 sensitivities of the edges of a graph are weight over minimum cut: linear programs agree
    with maximum flows to rounding; 1/(N-1) on K_N, 1 on trees."""
    for seed in range(3):
        design = graph(*random_graph(seed, 9, 12))
        value = sensitivities(design.A, 1, tolerance=1e-12).value
        yield solved(value, design.sensitivities(1), 1e-12, f"random graph {seed}")
    complete = np.stack(np.triu_indices(9, 1), axis=1)
    yield identity(graph(complete).sensitivities(1), 1 / 8, operations=2, what="K_9")
    tree = graph(*random_graph(7, 8, 0))
    yield identity(tree.sensitivities(1), 1.0, operations=2, what="tree")
    cycle = np.stack([np.arange(5), (np.arange(5) + 1) % 5], axis=1)
    value = graph(cycle, np.arange(1, 6)).sensitivities(1)
    yield identity(value, [1 / 3, 2 / 3, 3 / 4, 4 / 5, 5 / 6], operations=2, what="cycle")


@claim("C2h", kind="bound", of=sensitivities, saboteurs=[LEVERAGE, one_sided])
def totals_of_graphs(found):
    """N/2 <= S_1 <= N - 1 for a connected graph of N nodes, N/2 on K_N, N - 1 on a tree."""
    for nodes in (4, 9):
        K = float(found(designs.complete_graph(nodes).A, 1).value.sum())
        yield solved(K, nodes / 2, 1e-9 * nodes, f"K_{nodes}", "bound")
    tree = designs.graph(*random_graph(7, 8, 0)).A
    yield solved(float(found(tree, 1).value.sum()), 7.0, 1e-8, "tree", "bound")
    totals = [
        float(found(designs.graph(*random_graph(s, 9, 12)).A, 1).value.sum()) for s in range(6)
    ]
    yield bound(totals, 4.5, side="at least", what="random graphs, N/2")
    yield bound(totals, 8.0, what="random graphs, N - 1")


def iterated(broken, A, p, steps=400):
    """The weights at which a broken lewis_map comes to rest, by short steps."""
    x = np.full(len(A), math.log(A.shape[1] / len(A)))
    for _ in range(steps):
        x = x + (broken(A, x, p) - x) / (2 + p)
    return np.exp(x)


def with_twice_the_exponent(A, p, **how):
    """Rows are scaled by w^{1-2/p} in place of w^{1/2-1/p}."""
    broken = sabotage(lewis_map, "0.5 - 1 / p", "1 - 2 / p", "", inside=scales).build()
    return replace(lewis_weights(A, p, **how), weights=iterated(broken, A, p))


def plain_leverage(A, p, **how):
    """Leverage scores in place of Lewis weights."""
    return replace(lewis_weights(A, p, **how), weights=leverage_scores(A))


@claim(
    "C2i", kind="identity", of=lewis_weights, saboteurs=[with_twice_the_exponent, plain_leverage]
)
def exact_lewis_weights(lewis):
    """Bases of a hyperplane: v_i = w_i^{1/p-1/2} c_i and w_i = 1 - v_i^2 / ||v||^2, one scalar
    equation; polygons, cubes and simplices have w = tau; direct sums those of their blocks."""
    design = designs.codimension_one([1.0, 0.5, 2.0, 0.25, 1.5])
    whole = designs.direct_sum([design, designs.half_polygon(4), designs.one_column([1.0, 3.0])])
    for p in (1, 1.5, 3, 4, 8):
        found = lewis(design.A, p, tolerance=1e-12).weights
        yield solved(found, design.lewis_weights(p), 1e-9, f"hyperplane, p = {p}")
        found = lewis(whole.A, p, tolerance=1e-12).weights
        yield solved(found, whole.lewis_weights(p), 1e-9, f"direct sum, p = {p}")
    for name, other in (("polygon", designs.half_polygon(5)), ("cube", designs.cube(4))):
        tau = leverage_scores(other.A)
        yield solved(lewis(other.A, 3, tolerance=1e-12).weights, tau, 1e-9, name)


# C3

EXPONENTS = (1, 1.5, 3, 4, 8)


def small_worlds():
    """Random rows, d = 2 to 5, of unequal lengths."""
    return [heavy(d, 10 * d, d) for d in (2, 3, 4, 5)]


@claim("C3a", kind="bound", of=lewis_weights, saboteurs=[with_twice_the_exponent, plain_leverage])
def weights_bracket_sensitivities(lewis):
    """d^{p/2-1} w_i <= sigma_i <= w_i for p <= 2, and w_i <= sigma_i <= d^{p/2-1} w_i for p >= 2,
    on random rows, d = 2 to 5, p = 1, 1.5, 3, 4 and 8."""
    for A, p in itertools.product(small_worlds(), EXPONENTS):
        low, high = lewis_range(lewis(A, p).weights, p, A.shape[1])
        sigma = sensitivities(A, p)
        where = f"d = {A.shape[1]}, p = {p}"
        # weights and sensitivities are known to 1e-10
        yield bound(low, sigma.upper * (1 + 1e-9), what=f"{where}, lower")
        yield bound(sigma.lower, high * (1 + 1e-9), what=f"{where}, upper")


@claim(
    "C3b",
    kind="bound",
    of=lewis_range,
    saboteurs=[
        sabotage(lewis_range, "exponent <= 2", "exponent >= 2", "the regimes are swapped"),
        sabotage(lewis_range, "exponent / 2 - 1", "1 - exponent / 2", "the factor is inverted"),
    ],
)
def totals_lie_between(bounds):
    """d^{p/2} <= S <= d for p <= 2, d <= S <= d^{p/2} for p >= 2: the sums of the row bounds,
    because Lewis weights sum to d."""
    for A, p in itertools.product(small_worlds(), EXPONENTS):
        d = A.shape[1]
        low, high = bounds(lewis_weights(A, p).weights, p, d)
        S = float(sensitivities(A, p).value.sum())
        ends = sorted((float(d), d ** (p / 2)))
        where = f"d = {d}, p = {p}"
        yield bound(
            [float(low.sum()), S], [S * (1 + 1e-9), float(high.sum()) * (1 + 1e-9)], what=where
        )
        sums = [float(low.sum()), float(high.sum())]
        yield solved(np.array(sums) / ends, 1.0, 1e-9, f"{where}, the ends", "bound")


@claim(
    "C3c", kind="identity", of=lewis_weights, saboteurs=[with_twice_the_exponent, plain_leverage]
)
def weights_are_sensitivities_of_axes(lewis):
    """On direct sums of axes, rows of any length, sigma = w for every p."""
    columns = [designs.one_column(a) for a in ([1.0, 2.0], [1.0, 0.1, 0.5], [3.0])]
    A = designs.direct_sum(columns).A
    for p in EXPONENTS:
        found = lewis(A, p, tolerance=1e-12).weights
        yield solved(found, sensitivities(A, p, tolerance=1e-12).value, 1e-10, f"p = {p}")


# C4

PAIRS = ((1, 1.3), (1, 2), (1.5, 3), (2, 5))


@claim(
    "C4a",
    kind="bound",
    of=bracket,
    saboteurs=[
        sabotage(bracket, "found.upper ** (low / near)", "found.upper", "no power 1/p above"),
        sabotage(bracket, "low / near - 1", "0.0", "the factor n^{1/p-1/q} is forgotten"),
    ],
)
def neighbouring_norms(found):
    """For p <= q: sigma(p)^{1/p} <= sigma(q)^{1/q} <= n^{1/p-1/q} sigma(p)^{1/p}, row by row; so a
    p near 1 brackets p = 1."""
    for (low, high), seed in itertools.product(PAIRS, range(2)):
        A = heavy(seed, 30, 3)
        near, exact = found(A, high, target=low), sensitivities(A, low)
        what = f"p = {low}, q = {high}, world {seed}"
        yield bound(near.lower, exact.upper * (1 + 1e-9), what=f"{what}, from below")
        yield bound(exact.lower, near.upper * (1 + 1e-9), what=f"{what}, from above")


def a_row_alone(A, p, **how):
    """The statement about the largest sensitivity is made of a row that has little."""
    least = int(np.argmin(leverage_scores(A)))
    return sensitivities(A, p, rows=np.array([least]), **how)


@claim("C4b", kind="bound", of=sensitivities, saboteurs=[a_row_alone])
def the_largest_grows(found):
    """max_i sigma_i(p) does not decrease in p (1, 1.5, 2, 3, 5, 9), so that max tau <= max
    sigma(p) for p >= 2; single rows do decrease."""
    for seed in range(4):
        largest = [found(heavy(seed, 30, 3), p).upper.max() for p in (1, 1.5, 2, 3, 5, 9)]
        yield bound(largest[:-1], np.array(largest[1:]) * (1 + 1e-9), what=f"world {seed}")


# C5

LEWIS_WORLD = heavy(0, 60, 4, spread=2.0)


def local_rate(f, p, eta):
    """The factor by which the damped iteration's residual falls in the end."""
    x, residuals = np.full(60, math.log(4 / 60)), []
    for _ in range(600):
        step = f(LEWIS_WORLD, x, p) - x
        residuals.append(float(np.abs(step).max()))
        if not 1e-11 < residuals[-1] < 1e3:
            break
        x = x + eta * step
    tail = [r for r in residuals if r < 1e-5][:-1] or residuals[-50:]
    return (tail[-1] / tail[0]) ** (1 / (len(tail) - 1)) if len(tail) > 1 else residuals[-1]


RATES = [  # p, eta, rate
    *((p, 1.0, abs(1 - p / 2)) for p in (1, 1.5, 3)),
    *((p, 2 / p, abs(1 - 2 / p)) for p in (1.5, 3, 4, 8)),
    *((p, 4 / (p + 2), abs(p - 2) / (p + 2)) for p in (1, 1.5, 3, 4, 8)),
]


@claim(
    "C5a",
    kind="rate",
    of=lewis_map,
    saboteurs=[
        sabotage(lewis_map, "exponent / 2", "1.0", "the power p/2 of F is missing"),
        sabotage(lewis_map, "0.5 - 1 / p", "1 / p - 0.5", "W^{2/p-1}", inside=scales),
    ],
)
def rates_of_the_damped_iteration(f):
    """log w <- log w + eta (log F - log w) contracts by |1-p/2| for eta = 1, |1-2/p| for eta = 2/p,
    |p-2|/(p+2) for eta = 4/(p+2): within 5% on 60 x 4 rows times exp(2 N(0,1)), p = 1, 1.5, 3, 4
    and 8 where they converge."""
    for p, eta, expected in RATES:
        yield Evidence(
            "rate",
            local_rate(f, p, eta),
            expected,
            0.05 * expected,
            "the residual falls from 1e-5 to 1e-11: second eigenvalues weigh less than 5%",
            what=f"p = {p}, eta = {eta:.3g}",
        )


def damped_silently(A, p, *, step=None, **how):
    """A step is cut to 2/p without a word."""
    return lewis_weights(A, p, step=None if step is None else min(step, 2 / p), **how)


def step_ignored(A, p, *, step=None, **how):
    """The step is not looked at."""
    return lewis_weights(A, p, **how)


@claim("C5b", kind="bound", of=lewis_weights, saboteurs=[damped_silently, step_ignored])
def full_steps_fail_at_four(lewis):
    """At p = 4 the undamped iteration does not converge: its residual is above 1e-3 after 200
    steps; at p = 1 eta = 2/p stalls as well. eta = 4/(p+2) and the default converge up to p = 32.
    """
    for p, step in ((4, 1.0), (1, 2.0)):
        found = lewis(LEWIS_WORLD, p, step=step, max_iterations=200, tolerance=1e-10)
        yield bound(found.residuals[-1], 1e-3, side="at least", what=f"p = {p}, eta = {step}")
    for p, step in itertools.product((1, 4, 8, 32), (None, "best")):
        step = None if step is None else 4 / (p + 2)
        found = lewis(LEWIS_WORLD, p, step=step, max_iterations=2000, tolerance=1e-10)
        yield bound(found.residual, 1e-10, what=f"p = {p}, eta = {step}")


@claim("C5c", kind="bound", of=lewis_weights, saboteurs=[step_ignored])
def fewer_steps(lewis):
    """At p = 1 the best fixed step needs log(1/2) / log(1/3) = .63 of the steps of eta = 1: at most
    three quarters on the way to a residual of 1e-12 (33 against 48 to 1e-14)."""
    count = {
        eta: lewis(LEWIS_WORLD, 1, step=eta, tolerance=1e-12).iterations for eta in (4 / 3, 1.0)
    }
    yield bound(count[4 / 3], 0.75 * count[1.0], what="steps")
    yield bound(count[1.0], 12 / math.log10(2), side="at least", what="a bit a step, eta = 1")


@claim(
    "C5d",
    kind="bound",
    of=lewis_potential,
    saboteurs=[
        sabotage(lewis_potential, "1 - 2 / exponent", "0.0", "the sum of w is left out"),
        sabotage(lewis_potential, "1 - 2 / exponent", "exponent - 2", "the sum weighs p times"),
    ],
)
def the_potential_never_falls(potential):
    """For p > 2 the step eta = 2/p never decreases logdet(A^T W^{1-2/p} A) - (1-2/p) sum w: p = 3,
    6 and 20, from four starts; its gradient is 0 at the Lewis weights."""
    for p, seed in itertools.product((3, 6, 20), range(4)):
        A, x = heavy(seed, 30, 3), np.random.default_rng(seed).standard_normal(30) * 2
        x -= 5 * (seed % 2)  # weights that sum to more than d, and to less
        values = [potential(A, x, p)]
        for _ in range(60):
            x = x + 2 / p * (lewis_map(A, x, p) - x)
            values.append(potential(A, x, p))
        size = max(1.0, float(np.abs(values).max()))
        what = f"p = {p}, start {seed}"
        yield bound(np.array(values[:-1]) / size, np.array(values[1:]) / size, what=what)


@claim(
    "C5e",
    kind="bound",
    of=certificate,
    saboteurs=[
        wrong(lambda residual, p, d: residual, "the residual is taken for the error"),
        sabotage(certificate, "1 - abs(1 - p / 2)", "1 + abs(1 - p / 2)", "a sign"),
    ],
)
def residuals_certify(error):
    """For p < 4: max |log w - log w*| <= r / (1 - |1-p/2|) with r = max |log F - log w|, attained
    at multiples of w* for p < 2; for p >= 4: r (1 + (p/2-1) sqrt(d)); along the iteration on bases
    of a hyperplane."""
    design = designs.codimension_one([1.0, 0.5, 2.0, 0.25, 1.5])
    for p in (1, 1.5, 3, 6):
        exact = np.log(design.lewis_weights(p))
        x, off, limits = exact + 0.5, [], []
        for k in range(12):
            residual = float(np.abs(lewis_map(design.A, x, p) - x).max())
            off.append(float(np.abs(x - exact).max()))
            limits.append(error(residual, p, 4))
            x = x + 0.3 * (lewis_map(design.A, x, p) - x) if k else np.full(5, math.log(0.8))
        yield bound(off, limits, what=f"p = {p}")


# C6


@claim(
    "C6a",
    kind="identity",
    of=sensitivities,
    saboteurs=[
        wrong(
            lambda A, p, **how: replace(
                sensitivities(A, p, **how),
                **dict.fromkeys(
                    ("lower", "upper"), (np.abs(A) ** p / (np.abs(A) ** p).sum(axis=0)).max(axis=1)
                ),
            ),
            "only the coordinate directions are tried",
        ),
    ],
)
def scores_are_basis_free(found):
    """A change of basis leaves sigma, w and tau as they were."""
    A, B = heavy(3, 25, 3), np.random.default_rng(3).standard_normal((3, 3))
    for p in (1, 1.5, 4):
        one, two = (found(M, p, tolerance=1e-12).value for M in (A, A @ B))
        yield solved(two / one, 1.0, 1e-10, f"sigma, p = {p}")
        one, two = (lewis_weights(M, p, tolerance=1e-12).weights for M in (A, A @ B))
        yield solved(two / one, 1.0, 1e-10, f"w, p = {p}")
    yield solved(leverage_scores(A @ B), leverage_scores(A), 1e-10, "tau")


SPLITS = [
    sabotage(flatten, "-1 / exponent", "-1.0", "a row is split by 1/k"),
    sabotage(flatten, "-1 / exponent", "-0.5", "a row is split by 1/sqrt(k)"),
]


@claim("C6b", kind="identity", of=flatten, saboteurs=SPLITS)
def copies_divide_scores(split):
    """k copies of a_i / k^{1/p} have sigma_i / k and w_i / k each, exactly, and no other row's
    score changes; ||Ax||_p is as it was, rows are at most 2n, sensitivities at most S/n."""
    A = heavy(4, 20, 3)
    for p in (1, 1.5, 3):
        sigma = sensitivities(A, p, tolerance=1e-12).value
        rows, k = split(A, p, sigma)
        each = np.repeat(np.arange(20), k)
        x = np.random.default_rng(0).standard_normal((3, 5))
        before, after = ((np.abs(M @ x) ** p).sum(axis=0) for M in (A, rows))
        yield identity(after / before, 1.0, operations=256, what=f"p = {p}, norms")
        found = sensitivities(rows, p, tolerance=1e-12).value
        yield solved(found / (sigma / k)[each], 1.0, 1e-11, f"p = {p}, sigma")
        w = lewis_weights(A, p, tolerance=1e-12).weights
        found_w = lewis_weights(rows, p, tolerance=1e-12).weights
        yield solved(found_w / (w / k)[each], 1.0, 1e-10, f"p = {p}, w")
        excess = max(0.0, float(found.max()) / (float(sigma.sum()) / 20) - 1)
        yield solved(excess, 0.0, 1e-9, f"p = {p}, above S/n")
        yield solved(max(0, len(rows) - 40), 0, 0.0, f"p = {p}, rows above 2n")


@claim("C6c", kind="bound", of=flatten, saboteurs=[SPLITS[1]])
def copies_change_leverage(split):
    """Leverage scores are not divided by k: at p = 1.5 those of the copies are off by more than 10%
    (k^{1/2-1/p} of sqrt k, unless split by 1/sqrt k, which keeps A^T A), and other rows' change."""
    A = heavy(4, 20, 3)
    sigma = sensitivities(A, 1.5).value
    rows, k = split(A, 1.5, sigma)
    ratio = leverage_scores(rows) / (leverage_scores(A) / k)[np.repeat(np.arange(20), k)]
    copies = np.repeat(k, k) > 1
    yield bound(np.abs(ratio[copies] - 1).max(), 0.1, side="at least", what="copies")
    yield bound(np.abs(ratio[~copies] - 1).max(), 0.01, side="at least", what="other rows")


# C7

ALPHA_WORLD = heavy(5, 14, 2)


def outcomes():
    """All 2^14 subsets of fourteen rows."""
    return (np.arange(2**14)[:, None] >> np.arange(14) & 1).astype(float)


def row_scales(make, p, sigma, m):
    """The scale that each row gets when it is drawn."""
    rng, out = np.random.default_rng(0), np.full(14, np.nan)
    for _ in range(1000):
        found = make(ALPHA_WORLD, p, m, scores=sigma, rng=rng)
        out[found.index] = found.weight
        if not np.isnan(out).any():
            break
    return out


@claim(
    "C7a",
    kind="identity",
    of=coreset,
    saboteurs=[
        sabotage(coreset, "q ** (-1 / p)", "q ** -0.5", "rows scaled by q^{-1/2}", inside=drawn),
        sabotage(coreset, "q ** (-1 / p)", "1 / q", "rows scaled by 1/q", inside=drawn),
        sabotage(coreset, "q ** (-1 / p)", "q ** 0", "rows are not scaled", inside=drawn),
    ],
)
def samples_are_unbiased(make):
    """Kept rows scaled by q^{-1/p}: E ||SAx||_p^p = ||Ax||_p^p, with the relative variance sum
    t_i^2 (1/q_i - 1) / (sum t)^2, t_i = |a_i.x|^p; all 2^14 samples of 14 x 2 rows."""
    kept = outcomes()
    for p, x in itertools.product((1, 1.5, 3), ([1.0, 0.5], [-0.3, 1.0])):
        sigma = sensitivities(ALPHA_WORLD, p).value
        q = inclusion_probabilities(sigma, 8)
        chance = np.prod(np.where(kept > 0, q, 1 - q), axis=1)
        t = np.abs(ALPHA_WORLD @ x) ** p
        norm = kept @ ((row_scales(make, p, sigma, 8) * np.abs(ALPHA_WORLD @ x)) ** p) / t.sum()
        variance = float((t**2 * (1 / q - 1)).sum() / t.sum() ** 2)
        what = f"p = {p}, x = {x}"
        # 2^14 terms of a sum that is one, pairwise
        yield identity(float(chance @ norm), 1.0, operations=128, what=f"{what}, mean")
        found = float(chance @ (norm - 1) ** 2)
        yield identity(found, variance, operations=512, scale=1.0, what=f"{what}, variance")


@claim(
    "C7b",
    kind="bound",
    of=inclusion_probabilities,
    saboteurs=[
        sabotage(
            inclusion_probabilities,
            "xp.clip(c * s, max=1.0)",
            "c * s",
            "min(1, .) is forgotten",
            inside=probability_of_block,
        ),
        wrong(
            lambda s, m: np.minimum(1.0, m * s / s.sum()),
            "m s / sum s, cut at 1, spends less than the budget",
        ),
        wrong(lambda s, m: np.full(len(s), m / len(s)), "all rows alike"),
    ],
)
def variance_is_bounded_everywhere(probabilities):
    """q_i = min(1, sigma_i / alpha) with sum q = m: probabilities that spend the budget, and the
    relative variance is at most alpha for every x, over 20,000 directions."""
    angles = np.arange(20000) * np.pi / 20000
    x = np.stack([np.cos(angles), np.sin(angles)])
    for p, m in itertools.product((1, 1.5, 3), (3, 8)):
        sigma = sensitivities(ALPHA_WORLD, p).value
        q = probabilities(sigma, m)
        yield bound(q, 1.0, what=f"p = {p}, m = {m}, probabilities")
        yield solved(float(q.sum()) / m, 1.0, 64 * EPS, f"p = {p}, m = {m}, budget", "bound")
        t = np.abs(ALPHA_WORLD @ x) ** p
        worst = ((t**2 * (1 / q - 1)[:, None]).sum(axis=0) / t.sum(axis=0) ** 2).max()
        partial = q < 1
        alpha = np.median(sigma[partial] / q[partial])
        yield bound(worst, alpha, what=f"p = {p}, m = {m}, variance")


# C8


def medians(totals_of, ks):
    """Median-success budgets of the two blocks, by their totals."""
    return np.array([TwoBlocks(k).median_budget(totals_of(k)) for k in ks])


@claim(
    "C8a",
    kind="rate",
    of=sphere_total,
    saboteurs=[
        wrong(lambda d, p: float(d), "the total of the dense block is taken as k"),
        wrong(lambda d, p: math.sqrt(d), "the total is sqrt(k), without sqrt(pi/2)"),
    ],
)
def sensitivities_need_the_total(total):
    """A dense spherical design in k dimensions beside k axes of 200 copies, p = 1, d = 2k: half of
    all sensitivity samples keep the rank at m = k (1 + k/S_1), to 1% for k >= 128 (3522.9 for k =
    256), S_1 = 1/E|u_1|; in d the local slopes are 1.224, 1.272, 1.354, 1.424 and 1.456, to 3/2."""
    for k in (128, 256, 512):
        m = float(medians(lambda k: (total(k, 1.0), float(k)), [k])[0])
        exact = k * (1 + k * mean_power(k, 1.0))
        yield Evidence("rate", m / exact, 1.0, 0.01, "the claim's 1%", what=f"k = {k}")
    m = medians(lambda k: (total(k, 1.0), float(k)), [8, 16, 32, 64, 128, 256])
    yield known(m[-1], 3522.9, 1, "k = 256", "rate")
    slopes = (1.224, 1.272, 1.354, 1.424, 1.456)
    for value, expected in zip(np.log2(m[1:] / m[:-1]), slopes, strict=True):
        yield known(value, expected, 3, f"slope {expected}", "rate")
    # the next term of m = k + k sqrt(2k/pi) (1 + O(1/k)) is k: slopes rise to 3/2 as 1/sqrt(k)
    far = [2.0**20, 2.0**24]
    limits = [k * (1 + k / total(int(k), 1.0)) for k in far]
    slope = math.log2(limits[1] / limits[0]) / 4
    yield Evidence("rate", slope, 1.5, 1e-3, "k^{-1/2} of the term k, k = 2^20", what="limit")


@claim(
    "C8b",
    kind="rate",
    of=TwoBlocks.totals,
    saboteurs=[
        wrong(lambda bed, family: bed.totals("sensitivity"), "sensitivities under every name"),
        wrong(lambda bed, family: (bed.k, 2.0 * bed.k), "the axes' block counts twice"),
    ],
)
def other_scores_collect_coupons(totals):
    """By Lewis weights (= leverage) or sigma + tau the median-success m is only that of a coupon
    collector: m / (d log d) = .934 and .719 at d = 512, slopes falling to 1.18 and 1.16."""
    for family, share_of, first, last in (
        ("lewis", 0.934, 1.34, 1.18),
        ("augmented", 0.719, 1.27, 1.16),
    ):
        m = medians(lambda k, family=family: totals(TwoBlocks(k), family), [8, 16, 128, 256])
        yield known(float(m[3]) / (512 * math.log(512)), share_of, 3, f"{family}, d = 512", "rate")
        slopes = np.log2(m[1::2] / m[::2])
        yield known(float(slopes[0]), first, 2, f"{family}, first slope", "rate")
        yield known(float(slopes[1]), last, 2, f"{family}, last slope", "rate")


@claim(
    "C8c",
    kind="law",
    of=rank_probability,
    saboteurs=[
        sabotage(rank_probability, "k - 1", "k", "the sphere must keep more than k rows"),
        sabotage(rank_probability, "(1 - missed) ** k", "1 - missed", "one axis counts for all"),
        sabotage(rank_probability, "sizes[1]", "1", "the copies are forgotten"),
    ],
)
def the_odds_are_those_of_the_matrix(probability, rng):
    """P(rank kept) = P(Bin(n1, q1) >= k) (1 - (1 - q2)^copies)^k: equality in general position,
    seen on the ranks of drawn rows, k = 3."""
    bed = TwoBlocks(3, per_dimension=40, copies=20)
    A = bed.rows(rng=rng)
    for family, m in (("sensitivity", 16.0), ("lewis", 12.0)):
        first, second = bed.totals(family)
        s = np.repeat([first / 120, second / 60], [120, 60])
        q = inclusion_probabilities(s, m)
        expected = probability(3, (120, 20), (float(q[0]), float(q[-1])))
        # the mildest saboteur is off by .1; one proportion with standard deviation at most 1/2
        n = samples_for_mean(0.1 / 0.5)
        kept = rng.random((n, 180)) < q
        whole = np.mean(
            [np.linalg.matrix_rank(A[rows]) == 6 if rows.sum() > 5 else False for rows in kept]
        )
        deviation = math.sqrt(max(expected * (1 - expected), 1e-6) / n)
        yield law((whole - expected) / deviation, n=n, what=f"{family}, m = {m}")


# C9 to C12


@claim(
    "C9",
    kind="rate",
    of=sphere_total,
    saboteurs=[
        wrong(lambda d, p: float(d), "S ~ d for these matrices"),
        wrong(lambda d, p: d ** (p / 2), "S = d^{p/2}, the least total"),
    ],
)
def spheres_need_a_power_of_the_total(total):
    """Rank d needs d rows, and S_p^{2/p} / d tends to (sqrt(pi) 2^{-p/2} / Gamma((p+1)/2))^{2/p} on
    dense spherical designs: pi/2 at p = 1, 1.222668 at p = 1.5, to 1e-6 at d = 1e6; so S^{2/p} is a
    lower bound up to a constant."""
    for p, value in ((1, math.pi / 2), (1.5, 1.222668)):
        limit = (math.sqrt(math.pi) * 2 ** (-p / 2) / math.gamma((p + 1) / 2)) ** (2 / p)
        yield known(limit, value, 6, f"p = {p}, the limit", "rate")
        at = total(10**6, p) ** (2 / p) / 1e6
        yield Evidence("rate", at, limit, 1.5e-6, "the next term is O(1/d)", what=f"p = {p}")


@claim("C10a", kind="bound", of=sensitivities, saboteurs=[LEVERAGE])
def leverage_misses_a_heavy_row(found):
    """a = (1, .05 x 10^4) in one dimension: at p = 4 the first row has sensitivity .94118 and the
    leverage score .03846, so that leverage sampling with m = 10 misses it with probability .61538.
    """
    A = designs.heavy_row().A
    sigma, tau = float(found(A, 4, rows=[0]).upper[0]), float(leverage_scores(A)[0])
    yield known(sigma, 0.94118, 5, "sensitivity", "bound")
    yield known(tau, 0.03846, 5, "leverage", "bound")
    yield known(
        1 - inclusion_probabilities(leverage_scores(A), 10)[0], 0.61538, 5, "missed", "bound"
    )


@claim(
    "C10b",
    kind="bound",
    of=scores,
    saboteurs=[wrong(lambda A, p, family: leverage_scores(A), "leverage is fine for every p")],
)
def other_scores_keep_it(score):
    """Sensitivities, Lewis weights and leverage + sensitivity keep the row of C10a for certain at m
    = 10; leverage alone does not."""
    A = designs.heavy_row().A
    for family in ("sensitivity", "lewis", "leverage+sensitivity"):
        q = inclusion_probabilities(score(A, 4, family), 10)
        yield bound(q[0], 1.0, side="at least", what=family)


def own_row_counts(A, lam):
    """The row itself counts among those before it."""
    before = online_leverage(A, lam)
    return before / (1 + before)


@claim("C11", kind="identity", of=online_leverage, saboteurs=[own_row_counts])
def online_scores_add_up(online):
    """sum log(1 + l_i) = logdet(I + A^T A / lam), l_i from the rows before i; 40 x 5, lam = .3."""
    A, lam = heavy(6, 40, 5), 0.3
    total = float(np.linalg.slogdet(np.eye(5) + A.T @ A / lam)[1])
    value = float(np.log1p(online(A, lam)).sum())
    yield identity(value, total, operations=40 * 5, what="sum")
    direct = [A[i] @ np.linalg.solve(A[:i].T @ A[:i] + lam * np.eye(5), A[i]) for i in range(40)]
    # relative to each score: the condition of the matrix before it
    yield solved(online(A, lam) / direct, 1.0, 1e-10, "each")


@claim(
    "C12a",
    kind="bound",
    of=root_leverage_budget,
    saboteurs=[
        sabotage(root_leverage_budget, "1 - p / 2", "1 - p", "n^{1-p}"),
        sabotage(root_leverage_budget, "m ** (1 - p / 2)", "m", "n in place of n^{1-p/2}"),
    ],
)
def root_leverage_sums(most):
    """sum tau^{p/2} <= n^{1-p/2} d^{p/2} for p <= 2, with equality if and only if all leverage
    scores are equal."""
    for A, p in itertools.product(small_worlds(), (1, 1.5)):
        n, d = A.shape
        total = float((leverage_scores(A) ** (p / 2)).sum())
        yield bound(total, most(n, d, 1.0, p), what=f"d = {d}, p = {p}")
    for name, A in (("cube", designs.cube(4).A), ("polygon", designs.half_polygon(7).A)):
        total = float((leverage_scores(A) ** 0.75).sum())
        yield solved(total / most(*A.shape, 1.0, 1.5), 1.0, 256 * EPS, name, "bound")


@claim(
    "C12b",
    kind="identity",
    of=recursion_limit,
    saboteurs=[sabotage(recursion_limit, "-4 / float(p)", "-2.0", "eps^{-2}")],
)
def the_recursion_ends(limit):
    """Rounds m' = eps^{-2} m^{1-p/2} d^{p/2} end at d eps^{-4/p}: 1536 for d = 6, eps = 1/4, p = 1
    and 241.905 for p = 1.5; log(m/m*) shrinks by 1-p/2 a round."""
    yield known(limit(6, 0.25, 1), 1536.0, 3, "p = 1")
    yield known(limit(6, 0.25, 1.5), 241.905, 3, "p = 1.5")
    for p in (1, 1.5):
        end = limit(6, 0.25, p)
        m = 1e6
        after = root_leverage_budget(m, 6, 0.25, p)
        # logarithms of order ten
        factor = math.log(after / end) / math.log(m / end)
        yield identity(factor, 1 - p / 2, operations=64, scale=1.0, what=f"p = {p}, factor")
        yield identity(root_leverage_budget(end, 6, 0.25, p), end, operations=64, what="fixed")


# C13


def unscaled(A, *, width, rng, **how):
    """The projection is not divided by sqrt(k)."""
    return width * leverage_scores(A, width=width, rng=rng, **how)


def one_column_less(A, *, width, rng, **how):
    """A projection to half as many columns as it says."""
    return leverage_scores(A, width=width // 2, rng=rng, **how)


@claim("C13a", kind="law", of=leverage_scores, saboteurs=[unscaled, one_column_less])
def projected_scores_are_chi_square(score, rng):
    """|a_i^T R^{-1} G|^2 over tau_i is chi^2_k / k: mean 1 and variance 1/8 for k = 16; rows along
    axes are independent."""
    n, d = samples_for_variance(2.0, tests=2), 20
    A = np.diag(np.exp(np.arange(d) / 10.0))
    draws = [score(A, method="projected", width=16, rng=rng) for _ in range(-(-n // d))]
    ratio = np.concatenate(draws)
    z = (ratio.mean() - 1) / math.sqrt(0.125 / len(ratio))
    yield law(z, level=LEVEL / 2, n=len(ratio), what="mean")
    # fourth central moment of chi^2_k / k: (3 + 12/k) (2/k)^2
    fourth = (3 + 12 / 16) * 0.125**2
    z = (ratio.var() - 0.125) / math.sqrt((fourth - 0.125**2) / len(ratio))
    yield law(z, level=LEVEL / 2, n=len(ratio), what="variance")


@claim(
    "C13b",
    kind="identity",
    of=ratio_estimates,
    saboteurs=[
        sabotage(ratio_estimates, "w.sum()", "len(w)", "n in place of d"),
        sabotage(
            ratio_estimates,
            "w.sum() * sigma / w[drawn]",
            "w.sum() * sigma",
            "not divided by the probability",
        ),
    ],
)
def the_estimator_is_unbiased(estimate):
    """The mean of d sigma_i / w_i over i ~ w/d is S, as a finite sum."""
    for p in (1, 1.5, 3):
        A = heavy(7, 40, 4)
        sigma, w = sensitivities(A, p).value, lewis_weights(A, p).weights
        each = estimate(sigma, w, np.arange(40))
        mean = float(w @ each) / float(w.sum())
        yield identity(mean, float(sigma.sum()), operations=256, what=f"p = {p}")


def uniform_draws(sigma, w, drawn):
    """Draws that are uniform: n sigma_i."""
    return len(w) * sigma


@claim("C13c", kind="bound", of=ratio_estimates, saboteurs=[uniform_draws])
def the_estimator_varies_little(estimate):
    """One draw's relative variance is at most d/S - 1 <= d^{1-p/2} - 1 for p < 2, d^{p/2}/S - 1 for
    p > 2: O(sqrt d) draws suffice for p = 1."""
    for p, seed in itertools.product((1, 1.5, 3), range(3)):
        A = heavy(10 + seed, 40, 4)
        sigma, w = sensitivities(A, p).value, lewis_weights(A, p).weights
        S, chance = float(sigma.sum()), w / w.sum()
        variance = float(chance @ (estimate(sigma, w, np.arange(40)) / S - 1) ** 2)
        most = (4 if p < 2 else 4 ** (p / 2)) / S - 1
        yield bound(variance, most, what=f"p = {p}, world {seed}")
        if p < 2:
            yield bound(most, 4 ** (1 - p / 2) - 1, what=f"p = {p}, world {seed}, d^(1-p/2) - 1")


class LastLevelOnly(StreamingCoreset):
    """Only the last level's probability enters the scale."""

    def reduced(self, kept):
        new = super().reduced(kept)
        old = dict(zip(kept.index.tolist(), kept.probability.tolist(), strict=True))
        chance = new.probability / np.array([old[i] for i in new.index.tolist()])
        return type(new)(new.rows, new.index, chance if new is not kept else kept.probability)


class Unweighted(StreamingCoreset):
    """Rows are kept as they came."""

    def reduced(self, kept):
        new = super().reduced(kept)
        return type(new)(new.rows, new.index, np.ones(len(new.index)))


@claim("C13d", kind="law", of=StreamingCoreset, saboteurs=[LastLevelOnly, Unweighted])
def merge_and_reduce_is_unbiased(stream, rng):
    """E ||SAx||_p^p = ||Ax||_p^p through every height of merge and reduce: 64 rows, leaves of 16
    reduced to 8, p = 1.5."""
    A = np.random.default_rng(8).standard_normal((64, 2))
    x = np.array([1.0, 0.5])
    exact = float((np.abs(A @ x) ** 1.5).sum())

    def draw(n, rng):
        values = []
        for _ in range(n):
            found = stream(1.5, 8, scores="leverage", rng=rng)
            found.push(A)
            C = found.result()
            values.append(float((np.abs(C.rows(A) @ x) ** 1.5).sum()) / exact)
        return np.array(values)

    # saboteurs lose a factor of two or more a height; the ratio's standard deviation is about .5
    return sequential_mean(draw, 1.0, effect=0.5, std=0.6, rng=rng)


def without_signs(A, bucket, signs):
    """Rows are added as they are."""
    return signed_buckets(A, bucket, np.ones(len(A)))


def averaged(A, bucket, signs):
    """The bucket's mean in place of its sum."""
    return signed_buckets(A, bucket, signs) / np.bincount(bucket)


@claim("C13e", kind="bound", of=signed_buckets, saboteurs=[without_signs, averaged])
def buckets_bound_their_rows(value):
    """A random +-1 combination of a bucket has, for one of the two signs of any member, at least
    the l_1 sensitivity of that row, and never more than the sum of the bucket's."""
    A = heavy(9, 24, 3)
    sigma, rng = sensitivities(A, 1).value, np.random.default_rng(9)
    for trial in range(4):
        bucket, signs = rng.permutation(24) % 6, rng.choice([-1.0, 1.0], 24)
        sums = np.bincount(bucket, sigma)
        at_hand = value(A, bucket, signs)
        yield bound(at_hand, sums * (1 + 1e-9), what=f"split {trial}, sum of the bucket")
        best = np.empty(24)
        for member in range(24):
            other = signs.copy()
            other[member] *= -1
            best[member] = max(at_hand[bucket[member]], value(A, bucket, other)[bucket[member]])
        yield bound(best * (1 + 1e-9), sigma, side="at least", what=f"split {trial}, members")


# C14


@functools.cache
def figure_world():
    """The figure's rows, their profiles on all rays, and their scores."""
    A = designs.mixed_rows(rng=np.random.default_rng(0))
    return A, profiles(A)


def rows_as_rays(A):
    """The rows themselves in place of the directions orthogonal to pairs of them."""
    size = np.abs(A @ A.T)
    return size / size.sum(axis=1, keepdims=True)


def medians_over_axes(A):
    """Only the coordinate directions."""
    size = np.abs(A.T)
    return size / size.sum(axis=1, keepdims=True)


@claim("C14a", kind="bound", of=profiles, saboteurs=[rows_as_rays, medians_over_axes])
def extremes_sit_on_rays(rays):
    """For p = 1 no direction beats the C(n, d-1) rays: the exact distortion of a sample is at least
    that of 20,000 random directions and of a monotone ascent, which reaches it."""
    A, _ = figure_world()
    profile, rng = rays(A), np.random.default_rng(1)
    x = rng.standard_normal((20000, 3)) * np.array([1.0, 1.0, 20.0])
    for trial in range(3):
        index = np.sort(rng.choice(120, 30, replace=False))
        v = np.zeros(120)
        v[index] = 4.0
        exact = profile @ v
        tried = np.abs(x @ A.T)
        ratio = (tried @ v) / tried.sum(axis=1)
        yield bound(ratio, exact.max(), what=f"sample {trial}, random, largest")
        yield bound(ratio, exact.min(), side="at least", what=f"sample {trial}, random, smallest")
        climbed = distortion(A, index, v[index], 1, exact=False, starts=256, rng=rng)
        found = [climbed.largest, climbed.smallest]
        yield solved(found, [exact.max(), exact.min()], 1e-8, f"sample {trial}, ascent", "bound")


@claim(
    "C14b",
    kind="bound",
    of=scores,
    saboteurs=[
        wrong(lambda A, p, family: np.ones(len(A)), "uniform scores under every name"),
        wrong(lambda A, p, family: 1 / leverage_scores(A), "the least important rows first"),
    ],
)
def headline(score):
    """On the figure's world (p = 1, d = 3, n = 120; exact distortions, medians of 300 samples)
    sensitivity, Lewis and augmented scores reach .4, .22 and .1 at m = 15, 30 and 60, where uniform
    sampling is above .75, .5 and .3; the error falls at least as m^{-1/2} up to 15%."""
    A, rays = figure_world()
    for family in ("sensitivity", "lewis", "augmented", "root-leverage"):
        found = [median_distortion(rays, score(A, 1, family), m) for m in (15, 30, 60)]
        yield bound(found, [0.4, 0.22, 0.1], what=family)
        slope = math.log(found[0] / found[2]) / math.log(4)
        yield bound(slope, 0.5 * 0.85, side="at least", what=f"{family}, slope")
    found = [median_distortion(rays, np.ones(120), m) for m in (15, 30, 60)]
    yield bound(found, [0.75, 0.5, 0.3], side="at least", what="uniform")


def median_distortion(rays, s, m):
    """Median over 300 Bernoulli samples with these scores and budget."""
    q, rng = inclusion_probabilities(s, m), np.random.default_rng(2)
    weights = (rng.random((300, len(q))) < q) / q
    ratio = rays @ weights.T
    return float(np.median(np.maximum(ratio.max(axis=0) - 1, 1 - ratio.min(axis=0))))
