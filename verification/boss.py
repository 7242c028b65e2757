"""BOSS (arXiv 2312.16414), claim by claim, but for its fine-tuning (C7). Sheet `boss`.

The world is the rectified flow of N(0, diag s^2): in angles, theta_t = arctan(t / ((1-t) s)), an
Euler step is a cosine, so costs, output laws and the best plan of any lattice are exact. Mixtures
in one dimension have an exact flow map beside them.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from fewtheory.paths import RectifiedFlow
from fewtheory.search import boss as b
from fewtheory.search.boss import (
    error_bound,
    euler_costs,
    gaussian_costs,
    shortest_path,
    teacher_trajectory,
)
from fewtheory.testbeds import mixture_1d
from fewtheory.verify import bound, claim, identity, optimum, order, sabotage, wrong

RF = RectifiedFlow()
EIGHT = np.array([1.5, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05])
NARROW = mixture_1d([0.5, 0.5], [-1.0, 1.0], [0.05, 0.05])
BROAD = mixture_1d([0.6, 0.4], [-2.0, 2.0], [0.6, 1.0])
THREE = mixture_1d([0.3, 0.5, 0.2], [-1.0, 0.2, 1.5], [0.1, 0.05, 0.2])


def lattice(n):
    """n + 1 times, equal steps from 1 to 0."""
    return np.linspace(1.0, 0.0, n + 1)


def uniform(steps, n):
    """The uniform plan, rounded to the lattice."""
    return [round(i * n / steps) for i in range(steps + 1)]


def total(costs, nodes):
    """The length of a path."""
    return float(sum(costs[j, k] for j, k in itertools.pairwise(nodes)))


def w2(stds, times, nodes):
    """W2 of the Euler plan's output from N(0, I) to N(0, diag stds^2): the start is p_1 itself."""
    s = np.asarray(stds)[:, None]
    t = times[nodes]
    cosines = np.cos(np.diff(np.arctan2(t, (1 - t) * s), axis=1)).prod(axis=1)
    return float(np.sqrt(((s[:, 0] * (1 - cosines)) ** 2).sum()))


END_SCALE = sabotage(
    gaussian_costs, "scale[:, None, :]", "scale[:, :, None]", "S_j stands where S_k should"
)
UNSQUARED = sabotage(gaussian_costs, "off**2", "np.abs(off)", "the error is not squared")


def at_the_end_point(stds, times, **how):
    """The velocity is taken at the end of the step: 1 - 1/cos in place of 1 - cos."""
    s, t = np.atleast_1d(stds)[:, None], np.asarray(times)
    theta, scale = np.arctan2(t, (1 - t) * s), np.hypot((1 - t) * s, t)
    delta = theta[:, :, None] - theta[:, None, :]
    off = scale[:, None, :] * 1.0 - scale[:, :, None] * np.cos(delta) / 1.0
    return np.triu((off**2).sum(axis=0), 1)


@claim(
    "C1a", kind="identity", of=gaussian_costs, saboteurs=[END_SCALE, UNSQUARED, at_the_end_point]
)
def closed_form_of_the_cost(costs):
    """c_jk = S_k^2 (1 - cos(theta_j - theta_k))^2 on the exact flow: the mean square of x_k - x_j -
    (t_k - t_j) v(x_j, t_j) over the law of x_j, for s = .5 from .7 to .4 .00211787."""
    s, t, u = 0.5, 0.7, 0.4
    # v is linear: v(x, t) = ((1-t) (-s^2) + t) / S_t^2 x; x_k = S_k / S_j x_j
    S = [math.hypot((1 - v) * s, v) for v in (t, u)]
    slope = (t - (1 - t) * s * s) / S[0] ** 2
    by_hand = (S[1] / S[0] - 1 - (u - t) * slope) ** 2 * S[0] ** 2
    found = float(costs(s, [t, u], teacher="exact")[0, 1])
    # the error is a difference of numbers of order one, squared
    yield identity(found, by_hand, operations=64, scale=math.sqrt(by_hand), what="by hand")
    yield identity(found, 0.00211787, operations=1, eps=5e-9, scale=1.0, what="known")


def with_the_end_state(states, velocities, times, **how):
    """The velocity at the end of each step."""
    return euler_costs(states, [*velocities[1:], velocities[-1]], times, **how)


@claim(
    "C1b",
    kind="identity",
    of=euler_costs,
    saboteurs=[
        with_the_end_state,
        sabotage(
            euler_costs,
            "(off**2).sum(axis=2)",
            "(off**2).mean(axis=2)",
            "the mean over coordinates",
        ),
    ],
)
def costs_of_a_trajectory(costs):
    """The costs of Euler trajectories are the closed form of the Euler teacher: a linear flow takes
    a sample of exact second moments to exact costs."""
    stds, times = np.array([0.3, 1.0]), lattice(20)
    # 4 points whose second moments are exactly those of N(0, I)
    x = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    from fewtheory.testbeds import Gaussian

    model = Gaussian(np.zeros(2), stds**2).model(RF, "velocity")
    states, velocities = teacher_trajectory(model, x, times)
    exact = gaussian_costs(stds, times)
    return identity(costs(states, velocities, times), exact, operations=256, scale=4.0)


def enumerated(costs, edges):
    """(length, nodes) of the shortest path by looking at all of them."""
    last = len(costs) - 1
    paths = ([0, *inner, last] for inner in itertools.combinations(range(1, last), edges - 1))
    return min((total(costs, nodes), nodes) for nodes in paths)


def at_most(costs, edges):
    """The best of all plans with at most that many edges."""
    return min(shortest_path(costs, k) for k in range(1, edges + 1))


def greedy(costs, edges):
    """Each step goes where it is cheapest."""
    nodes, last = [0], len(costs) - 1
    for left in range(edges - 1, 0, -1):
        j = nodes[-1]
        nodes.append(min(range(j + 1, last - left + 1), key=lambda k: costs[j, k]))
    nodes.append(last)
    return total(costs, nodes), nodes


RECURSION = [
    greedy,
    sabotage(
        shortest_path,
        "np.append(c[:last, last], np.inf)",
        "np.append(0 * c[:last, last], np.inf)",
        "the last step is free",
        inside=b._recursion,
    ),
]


@claim("C2a", kind="optimum", of=shortest_path, saboteurs=[at_most, *RECURSION])
def dynamic_programming_is_exhaustive(shortest):
    """The recursion finds what enumeration finds, with exactly K edges: on the Gaussian lattice
    (s = (.3, 1), K_max = 20, K = 1 to 5) and on random cost matrices, triangle inequality or not.
    """
    rng = np.random.default_rng(0)
    matrices = [("Gaussian", gaussian_costs([0.3, 1.0], lattice(20)))]
    matrices += [(f"random {i}", np.triu(rng.random((10, 10)), 1)) for i in range(4)]
    for name, costs in matrices:
        for edges in range(1, 6):
            value, nodes = shortest(costs, edges)
            best, where = enumerated(costs, edges)
            wrong_nodes = 0.0 if list(nodes) == list(where) else 1.0
            yield optimum(
                value + wrong_nodes,
                best,
                tolerance=64 * np.finfo(float).eps * float(np.abs(costs).max()),
                tolerance_from="64 roundings of the largest cost; and the same nodes",
                what=f"{name}, K = {edges}",
            )


KNOWN = {
    1: (0.953466406054323, [0, 20]),
    2: (0.121451629220511, [0, 11, 20]),
    3: (0.036626004837605, [0, 8, 14, 20]),
    4: (0.0143921159304277, [0, 6, 11, 16, 20]),
    5: (0.00664755671352523, [0, 5, 9, 13, 17, 20]),
}


@claim("C2b", kind="optimum", of=shortest_path, saboteurs=RECURSION)
def known_plans(shortest):
    """s = (.3, 1), K_max = 20, Euler teacher: .953466406054323, .121451629220511 over [0, 11, 20],
    .036626004837605, .0143921159304277 and .00664755671352523 over [0, 5, 9, 13, 17, 20]; the
    integer network-flow program gives the same plans."""
    costs = gaussian_costs([0.3, 1.0], lattice(20))
    for edges, (value, nodes) in KNOWN.items():
        for what, found in (
            ("recursion", shortest(costs, edges)),
            ("program", shortest_path(costs, edges, by="program")),
        ):
            off = 0.0 if list(found[1]) == nodes else 1.0
            yield optimum(
                found[0] + off,
                value,
                tolerance=1e-12 * value,
                tolerance_from="the known value's digits; and the same nodes",
                what=f"{what}, K = {edges}",
            )


EXACT_FOR_EULER = wrong(
    lambda stds, times, teacher="euler", **how: gaussian_costs(stds, times, teacher="exact", **how),
    "states of the exact flow in place of the teacher's own",
)


@claim("C3", kind="identity", of=gaussian_costs, saboteurs=[EXACT_FOR_EULER])
def single_steps_of_the_teacher_cost_nothing(costs):
    """With the Euler teacher c_{j,j+1} = 0, so that the plan of all K_max steps costs nothing,
    though its W2 is .0682 for s = (.3, 1) and K_max = 20."""
    times = lattice(20)
    c = costs([0.3, 1.0], times)
    steps = np.diagonal(c, 1)
    yield identity(steps, 0.0, operations=16, scale=np.finfo(float).eps, what="single steps")
    yield identity(
        w2([0.3, 1.0], times, list(range(21))), 0.0682, operations=1, eps=5e-5, scale=1.0, what="W2"
    )


@claim(
    "C4",
    kind="order",
    of=gaussian_costs,
    saboteurs=[
        UNSQUARED,
        wrong(
            lambda stds, times, **how: gaussian_costs(stds, times, **how) + 1e-6,
            "a constant cost for every step",
        ),
    ],
)
def local_costs_are_of_order_four(costs):
    """On the exact flow c_jk ~ h^4: a squared local error of second order."""
    h = [0.04, 0.02, 0.01, 0.005, 0.0025]
    values = [float(costs([0.5], [0.5 + v, 0.5], teacher="exact")[0, 1]) for v in h]
    return order([1 / v for v in h], values, 4, floor=1e-16, x_label="1/h")


TABLE = [  # stds, K, W2 of uniform, Bellman, adjoint-weighted and the best plan
    ([0.3], 6, 0.08506, 0.05723, 0.05643, 0.05643),
    ([3.0], 6, 0.80088, 0.58734, 0.56361, 0.56361),
    (EIGHT, 4, 0.60922, 0.61645, 0.60569, 0.60511),
    (EIGHT, 6, 0.42522, 0.43069, 0.42390, 0.42217),
    (EIGHT, 8, 0.32757, 0.33610, 0.32723, 0.32528),
]
OTHER_WAY = sabotage(
    gaussian_costs, "(s / scale)[:, None, :]", "(scale / s)[:, None, :]", "the weight is inverted"
)


def averaged_first(stds, times, adjoint=False, **how):
    """The weight is a mean over coordinates, taken before the errors are summed."""
    s, t = np.atleast_1d(stds)[:, None], np.asarray(times)
    weight = (s / np.hypot((1 - t) * s, t)).mean(axis=0) ** 2 if adjoint else 1.0
    return gaussian_costs(stds, times, **how) * weight


@claim(
    "C5a",
    kind="optimum",
    of=gaussian_costs,
    saboteurs=[OTHER_WAY, averaged_first, END_SCALE],
    erratum="A Bellman-optimal plan is optimal for summed local errors, not for the output's law.",
)
def plans_against_the_truth(costs):
    """K_max = 100: W2 of uniform, Bellman and adjoint-weighted plans in one dimension and in eight;
    in eight dimensions the Bellman plan is worse than the uniform one (.43069 against .42522 at
    K = 6), the adjoint-weighted one better (.42390)."""
    times = lattice(100)
    for stds, edges, *known in TABLE:
        plans = {
            "uniform": uniform(edges, 100),
            "Bellman": shortest_path(costs(stds, times), edges)[1],
            "adjoint": shortest_path(costs(stds, times, adjoint=True), edges)[1],
        }
        for (name, nodes), value in zip(plans.items(), known, strict=False):
            yield optimum(
                w2(stds, times, nodes),
                value,
                tolerance=5e-6,
                tolerance_from="half a unit of the known value's last digit",
                what=f"{len(stds)}-D, K = {edges}, {name}",
            )


@claim("C5b", kind="optimum", of=shortest_path, saboteurs=RECURSION)
def own_cost_always_falls(shortest):
    """On its own cost the Bellman plan is never worse than the uniform one: .02554 against .02878
    in eight dimensions with K = 6; in one dimension the adjoint-weighted plan is the plan of
    least W2 (equal angles, up to the lattice)."""
    times = lattice(100)
    costs = gaussian_costs(EIGHT, times)
    for name, value, known in (
        ("uniform", total(costs, uniform(6, 100)), 0.02878),
        ("Bellman", shortest(costs, 6)[0], 0.02554),
    ):
        yield optimum(
            value, known, tolerance=5e-6, tolerance_from="half a unit of the last digit", what=name
        )
    for s in (0.3, 3.0):
        theta = np.arctan2(times, (1 - times) * s)
        log_cos = -np.log(np.cos(np.triu(theta[:, None] - theta[None, :], 1)))
        best = w2([s], times, shortest_path(log_cos, 6)[1])  # -log of the product of cosines
        found = w2([s], times, list(shortest(gaussian_costs([s], times, adjoint=True), 6)[1]))
        yield optimum(
            found,
            best,
            tolerance=5e-6,
            tolerance_from="a unit of the table's digits",
            what=f"s = {s}",
        )


def euler_error(bed, times, nodes, points=2000):
    """Rms of Euler's output against the exact flow from t = 1, over mid-quantiles."""
    from fewtheory.arrays import ndtri

    x = ndtri((np.arange(points) + 0.5) / points)[:, None]
    velocity, flow = bed.model(RF, "velocity"), bed.flow(RF)
    u = x
    for now, then in itertools.pairwise(times[nodes].tolist()):
        u = u + (then - now) * velocity(u, now)
    return float(np.sqrt(((u - flow(x, 1.0, 0.0)) ** 2).mean()))


MIXTURES = [  # K_max = 40: bed, K, uniform, Bellman
    ("narrow", NARROW, 3, 0.2594, 0.2438),
    ("broad", BROAD, 3, 0.6853, 0.5601),
    ("three", THREE, 3, 0.3686, 0.3845),
    ("three", THREE, 8, 0.1864, 0.2232),
]


@claim(
    "C6",
    kind="optimum",
    of=euler_costs,
    saboteurs=[
        with_the_end_state,
        wrong(
            lambda states, velocities, times: euler_costs(
                states, velocities, times, objective="roots"
            ),
            "roots of the squared errors are summed",
        ),
    ],
)
def mixtures(costs):
    """On mixtures in one dimension (K_max = 40, exact flow) no plan wins in general: uniform
    against Bellman .2594 and .2438 for two narrow modes, .6853 and .5601 for two broad ones, .3686
    and .3845 for three, .1864 and .2232 there with K = 8. Its own cost is never above the uniform
    plan's."""
    from fewtheory.arrays import ndtri

    times = lattice(40)
    x = ndtri((np.arange(2000) + 0.5) / 2000)[:, None]
    for name, bed, edges, *known in MIXTURES:
        flow, velocity = bed.flow(RF), bed.model(RF, "velocity")
        states = [x, *(flow(x, 1.0, t) for t in times[1:].tolist())]
        velocities = [velocity(u, t) for u, t in zip(states, times[:-1].tolist(), strict=False)]
        c = costs(states, velocities, times)
        own, nodes = shortest_path(c, edges)
        spread = uniform(edges, 40)
        for what, plan, value in (("uniform", spread, known[0]), ("Bellman", nodes, known[1])):
            yield optimum(
                euler_error(bed, times, plan),
                value,
                tolerance=5e-5,
                tolerance_from="half a unit of the known value's last digit",
                what=f"{name}, K = {edges}, {what}",
            )
        yield optimum(
            own,
            total(c, spread),
            tolerance=0.0,
            tolerance_from="an inequality between numbers without noise",
            side="at most",
            what=f"{name}, K = {edges}, own cost",
        )


GRID = np.array([1.0, 0.7, 0.45, 0.2, 0.0])


def root_of_squares(costs, lipschitz):
    """The root of the sum of squares in place of the sum of roots."""
    return float(np.sqrt((np.asarray(lipschitz) ** 2 * costs).sum()))


@claim("C8", kind="bound", of=error_bound, saboteurs=[root_of_squares])
def errors_add_coherently(limit):
    """The error is at most sum_k L_{k+1} sqrt(c_k): s = .4 on (1, .7, .45, .2, 0) .127736 <=
    .143244. The root of the sum of squares, .0875, is below the error: all local errors shrink."""
    s = 0.4
    c = gaussian_costs([s], GRID, teacher="exact")
    costs = [c[k, k + 1] for k in range(4)]
    # of the exact flow from t_{k+1} to the data, the larger of the two in a Gaussian world
    lipschitz = s / np.hypot((1 - GRID[1:]) * s, GRID[1:])
    error = w2([s], GRID, list(range(5)))
    yield bound(error, limit(costs, lipschitz), what="the error")
    yield bound(abs(limit(costs, lipschitz) - 0.143244), 5e-7, what="the known bound")
    yield bound(abs(error - 0.127736), 5e-7, what="the known error")


def own_regrets(shortest, n, seeds=40):
    """Regret in the exact own cost of plans from n trajectories, 8-D, K = 6, K_max = 100.

    A Gaussian trajectory is linear in its start, so its costs are those of each coordinate times
    the sample's second moment there.
    """
    times = lattice(100)
    each = np.stack([gaussian_costs([s], times) for s in EIGHT])
    exact = each.sum(axis=0)
    best = shortest_path(exact, 6)[0]
    out = []
    for seed in range(seeds):
        z = np.random.default_rng(seed).standard_normal((n, 8))
        sampled = np.tensordot((z**2).mean(axis=0), each, 1)
        out.append(total(exact, list(shortest(sampled, 6)[1])) / best - 1)
    return np.array(out)


@claim("C9", kind="bound", of=shortest_path, saboteurs=RECURSION)
def a_hundred_trajectories_are_enough(shortest):
    """The median regret in own cost of a plan from N trajectories (8-D, K = 6) is under 1.5% for
    N = 10, under .15% for 100 and under .01% for 1000."""
    for n, limit in ((10, 0.015), (100, 0.0015), (1000, 1e-4)):
        yield bound(float(np.median(own_regrets(shortest, n))), limit, what=f"N = {n}")
