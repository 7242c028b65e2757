"""The K steps of least summed local error: shortest paths through a lattice of times.

The local error of one Euler step from anchor j to k, on states of a fine teacher trajectory, is a
number c_jk for every pair, all from the same K_max velocities. A sum over the steps of a plan is
then the length of a path with exactly K edges, and dynamic programming finds the shortest:

    c_jk = E |x_k - x_j - (t_k - t_j) v(x_j, t_j)|^2,
    V(j, 1) = c_{j, K_max},   V(j, k) = min over j < j' < K_max of c_{j j'} + V(j', k - 1).

It is optimal for the squared local errors, which neither propagate nor add coherently there, and
not for the law of the output: with `jacobians` each error is carried to the data first.
Source: BOSS (arXiv 2312.16414); sheet `boss`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Array, to_numpy
from ..errors import fail, finite_array, integer, one_of
from ..model import Model
from ..paths import Path
from ..plan import GridLike, Plan, Trace
from ..shapes import Float
from .driver import method, run
from .ledger import Candidate, Ledger, SearchResult
from .timesteps import TimeSteps


def shortest_path(costs: Any, edges: int, *, by: str = "recursion") -> tuple[float, list[int]]:
    """(length, nodes) of the shortest path from 0 to the last node with exactly this many edges.

    costs: (n, n), c_jk for j < k; what is below the diagonal is not read. by: "recursion"
    (Bellman's, O(n^2 edges)) or "program", the same as an integer network-flow program for HiGHS.
    Ties go to the earliest node. Raises ValueError unless 1 <= edges < n.

    >>> shortest_path([[0, 1, 9], [0, 0, 2], [0, 0, 0]], 2)
    (3.0, [0, 1, 2])
    """
    c = finite_array("shortest_path", "costs", costs)
    if c.ndim != 2 or c.shape[0] != c.shape[1] or c.shape[0] < 2:
        raise fail("shortest_path", "costs", "of shape (n, n), n at least 2", c.shape)
    integer("shortest_path", "edges", edges, 1, c.shape[0] - 1)
    one_of("shortest_path", "by", by, ("recursion", "program"))
    nodes = _recursion(c, edges) if by == "recursion" else _program(c, edges)
    return float(sum(c[j, k] for j, k in itertools.pairwise(nodes))), nodes


def _recursion(c: np.ndarray, edges: int) -> list[int]:
    last = c.shape[0] - 1
    allowed = np.triu(np.ones_like(c, dtype=bool), 1)
    allowed[:, last] = False  # the end is reached by the last edge alone
    inner = np.where(allowed, c, np.inf)
    value = np.append(c[:last, last], np.inf)  # V(j, 1)
    best = []
    for _ in range(edges - 1):
        through = inner + value  # (j, j'): c_jj' + V(j', k - 1)
        best.append(through.argmin(axis=1))
        value = through.min(axis=1)
    nodes = [0]
    for step in reversed(best):
        nodes.append(int(step[nodes[-1]]))
    return [*nodes, last]


def _program(c: np.ndarray, edges: int) -> list[int]:
    """Flow one unit from 0 to the end, over `edges` edges in all."""
    from scipy.optimize import Bounds, milp

    n = c.shape[0]
    j, k = np.triu_indices(n, 1)
    balance = np.zeros((n, j.size))
    balance[j, np.arange(j.size)] += 1  # leaves j
    balance[k, np.arange(j.size)] -= 1  # enters k
    net = np.zeros(n)
    net[0], net[-1] = 1, -1
    rows, right = np.vstack([balance, np.ones(j.size)]), np.append(net, edges).tolist()
    found = milp(
        c[j, k],
        constraints=[(rows, right, right)],
        integrality=np.ones(j.size),
        bounds=Bounds(0, 1),
    )
    used = found.x > 0.5
    return [0, *k[used].tolist()]


def euler_costs(
    states: Sequence[Array],
    velocities: Sequence[Array],
    times: Any,
    *,
    jacobians: Any = None,
    objective: str = "squares",
) -> Float[np.ndarray, "anchors anchors"]:
    """c_jk of one Euler step between anchors, the mean over samples of a squared local error.

    states: K_max + 1 arrays (n, *event), a trajectory at `times` (K_max + 1,), decreasing;
    velocities: K_max arrays, dx/dt there; jacobians: None, or for each anchor the derivative of the
    data in its state, (K_max + 1, n, d, d) or, in one dimension, (K_max + 1, n): the error is then
    measured where it ends up; objective: "squares", or "roots" for the sum of root costs. Sums are
    over coordinates, in float64.
    """
    one_of("euler_costs", "objective", objective, ("squares", "roots"))
    t = finite_array("euler_costs", "times", times)
    if t.ndim != 1 or t.size < 2 or np.any(np.diff(t) >= 0):
        raise fail("euler_costs", "times", "one-dimensional and decreasing", times)
    if len(states) != t.size or len(velocities) != t.size - 1:
        allowed = f"{t.size} and {t.size - 1} arrays"
        raise fail("euler_costs", "states and velocities", allowed, (len(states), len(velocities)))
    x = np.stack([_flat(s) for s in states])  # (K_max + 1, n, d)
    v = np.stack([_flat(s) for s in velocities])
    J = None if jacobians is None else _jacobians(jacobians, x.shape)
    out = np.zeros((t.size, t.size))
    for j in range(t.size - 1):
        off = x[j + 1 :] - x[j] - (t[j + 1 :] - t[j])[:, None, None] * v[j]
        if J is not None:
            off = (J[j + 1 :] @ off[..., None])[..., 0]
        out[j, j + 1 :] = (off**2).sum(axis=2).mean(axis=1)
    return np.sqrt(out) if objective == "roots" else out


def _flat(x: Array) -> np.ndarray:
    value = np.asarray(to_numpy(x), dtype=np.float64)
    return value.reshape(value.shape[0], -1)


def _jacobians(jacobians: Any, shape: tuple[int, ...]) -> np.ndarray:
    J = finite_array("euler_costs", "jacobians", jacobians)
    if J.shape == shape[:2]:
        J = J[..., None, None]
    if J.shape != (*shape, shape[2]):
        raise fail("euler_costs", "jacobians", f"of shape {(*shape, shape[2])}", J.shape)
    return J


def gaussian_costs(
    stds: Any, times: Any, *, teacher: str = "euler", adjoint: bool = False
) -> Float[np.ndarray, "anchors anchors"]:
    """The costs in closed form for N(0, diag stds^2) on the rectified flow.

    With theta_t = arctan(t / ((1-t) s)) and S_t^2 = (1-t)^2 s^2 + t^2 an Euler step multiplies the
    state over S by cos(theta_j - theta_k), so c_jk = sum S_k^2 (z_k - z_j cos(theta_j - theta_k))^2
    with z = 1 on the exact flow ("exact") and the product of the cosines so far on the teacher's
    own Euler steps ("euler"). adjoint: each coordinate times (s / S_k)^2, its way to the data.
    """
    one_of("gaussian_costs", "teacher", teacher, ("euler", "exact"))
    s = np.atleast_1d(finite_array("gaussian_costs", "stds", stds))[:, None]
    if np.any(s <= 0):
        raise fail("gaussian_costs", "stds", "positive", stds)
    t = finite_array("gaussian_costs", "times", times)
    if t.ndim != 1 or t.size < 2 or np.any(np.diff(t) >= 0) or t[0] > 1 or t[-1] < 0:
        raise fail("gaussian_costs", "times", "decreasing within [0, 1]", times)
    theta, scale = np.arctan2(t, (1 - t) * s), np.hypot((1 - t) * s, t)  # (d, anchors)
    z = np.ones_like(theta)
    if teacher == "euler":
        z[:, 1:] = np.cumprod(np.cos(np.diff(theta)), axis=1)
    step = np.cos(theta[:, :, None] - theta[:, None, :])  # (d, j, k)
    off = scale[:, None, :] * (z[:, None, :] - z[:, :, None] * step)
    if adjoint:
        off = off * (s / scale)[:, None, :]
    return np.triu((off**2).sum(axis=0), 1)


@dataclass(frozen=True, eq=False)
class StepCosts:
    """The objective plan -> sum of its steps' costs, for plans whose nodes are anchors.

    times: (n,) decreasing; costs: (n, n). Raises ValueError for a plan with another node.
    """

    times: Any
    costs: Any

    def nodes(self, plan: Plan) -> list[int]:
        """The anchors of a plan's nodes."""
        found = np.abs(self.times[:, None] - plan.t[None, :]).argmin(axis=0)
        if not np.allclose(self.times[found], plan.t, rtol=0, atol=1e-12):
            raise fail("StepCosts", "plan", "on the anchors", plan.t)
        return found.tolist()

    def __call__(self, plan: Plan) -> float:
        nodes = self.nodes(plan)
        return float(sum(self.costs[j, k] for j, k in itertools.pairwise(nodes)))


@method("k", "times", "first", "last")
def bellman(
    space: TimeSteps, ledger: Ledger, rng: np.random.Generator, start: Sequence[Candidate]
) -> str:
    """The shortest path through a `TimeSteps` space for an objective that is `StepCosts`."""
    objective = ledger.objective
    if not isinstance(objective, StepCosts):
        kind = type(objective).__name__
        raise TypeError(f"search.run: objective must be StepCosts for 'bellman', got {kind}")
    if space.first is None or space.last is None or len(objective.times) != space.n + 2:
        raise fail("bellman", "space", "all anchors between the first and the last", space)
    _, nodes = shortest_path(objective.costs, space.k + 1)
    ledger.ask("bellman", [tuple(sorted(space.n - j for j in nodes[1:-1]))])
    return "shortest path"


def bellman_steps(
    model: Model,
    x: Array,
    steps: int,
    *,
    anchors: int | Any = 100,
    weight: str = "none",
    objective: str = "squares",
    **cond: Any,
) -> SearchResult:
    """The Euler plan of `steps` evaluations of least summed local error on a model's own flow.

    x: (n, *event) starts at the first anchor (100 are enough, claim C9); anchors: K_max of them
    equal steps apart over the path's time, or the decreasing times themselves (EDM's grid for
    one); weight: "none", or "adjoint", each error times the derivative of the teacher's remaining
    steps (d further evaluations an anchor and coordinate, by forward differentiation on torch and
    by differences on NumPy); objective: "squares" or "roots"; cond: conditions for the model.
    Source: sheet `boss`, phase 1, and its extension.

    >>> import numpy as np, fewtheory as ft
    >>> path, bed = ft.paths.RectifiedFlow(), ft.testbeds.Gaussian([0.0, 0.0], [1.0, 0.04])
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> bellman_steps(bed.model(path, "data"), x, 3, anchors=20).plan.t.round(2)
    array([1. , 0.6, 0.3, 0. ])
    """
    one_of("bellman_steps", "weight", weight, ("none", "adjoint"))
    path, given = model.path, {**model.cond, **cond}
    if isinstance(anchors, int):
        integer("bellman_steps", "anchors", anchors, 2)
        times = np.linspace(path.t_max, path.t_min, anchors + 1)
    else:
        times = finite_array("bellman_steps", "anchors", anchors)
    integer("bellman_steps", "steps", steps, 2, times.size - 1)
    if model.prediction in ("noise", "score") and path.alpha(float(times[0])) == 0:
        allowed = "'data', 'velocity', 'v' or 'flow' at alpha = 0"
        raise fail("bellman_steps", "the model's prediction", allowed, model.prediction)
    velocity = model.predicting("velocity").given(**given)
    states, velocities = teacher_trajectory(velocity, x, times)
    J = None
    if weight == "adjoint":
        from .jacobians import flow_jacobians

        J = flow_jacobians(velocity, states[:-1], times)
    costs = euler_costs(states, velocities, times, jacobians=J, objective=objective)
    space = TimeSteps(
        path,
        times[1:-1][::-1],
        steps - 1,
        _euler,
        first=float(times[0]),
        last=float(times[-1]),
    )
    return run(space, StepCosts(times, costs), method=bellman, budget=1)


def _euler(path: Path, grid: GridLike) -> Plan:
    trace = Trace("bellman", path, grid)
    x = trace.start
    for s, t in trace.steps():
        x, v = trace.velocity(x, s)
        x = x + (t.t - s.t) * v
    return trace.plan(x)


def teacher_trajectory(velocity: Model, x: Array, times: Any) -> tuple[list[Array], list[Array]]:
    """(states, velocities) of Euler's steps through the times, K_max + 1 and K_max arrays."""
    t = np.asarray(times, dtype=np.float64).tolist()
    states, velocities = [x], []
    for now, then in itertools.pairwise(t):
        velocities.append(velocity(states[-1], now))
        states.append(states[-1] + (then - now) * velocities[-1])
    return states, velocities


def error_bound(costs: Any, lipschitz: Any) -> float:
    """sum_k L_{k+1} sqrt(c_k): a bound on the error of the whole plan.

    costs: of each step, on the exact states; lipschitz: of the plan's remaining steps after each.
    The root of the sum of squares is not one: local errors add coherently. Sheet `boss`, C8.
    """
    c = finite_array("error_bound", "costs", costs)
    L = finite_array("error_bound", "lipschitz", lipschitz)
    if c.shape != L.shape or np.any(L < 0):
        raise fail("error_bound", "lipschitz", f"non-negative, of shape {c.shape}", lipschitz)
    if np.any(c < 0):
        raise fail("error_bound", "costs", "non-negative", costs)
    return float((L * np.sqrt(c)).sum())
