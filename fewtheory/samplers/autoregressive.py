"""The autoregressive loop around a diffusion head: one plan for each step of the sequence.

Block i of the tokens is drawn by a plan of its own number of steps from the law given the blocks
before it, through the same `Plan.run` as everything else. The whole is not one linear plan: its
later models are functions of what its earlier steps drew. On a Gaussian sequence, though, the
conditional means are linear in the prefix, and the law of the whole is exact. Before a schedule is
chosen three probes say how far each position is determined: the spread of repeated draws, the error
of their mean, and how straight the paths are.

Zhao et al. (2025), arXiv 2505.20297; sheet `disa`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..arrays import Array, Rng, solve_triangular, standard_normal, to_numpy
from ..errors import fail, integer, state
from ..model import Model
from ..plan import Plan
from ..shapes import Float, Int

if TYPE_CHECKING:
    from ..testbeds import GaussianSequence

Conditional = Callable[[int, Array], Model]  # i, prefix (n, tokens before, *event) -> its model


@dataclass(frozen=True, eq=False)
class Autoregressive:
    """x_i = plans[i].run(conditional(i, x_<i), noise_i), block by block.

    conditional(i, prefix): the model of block i, of shape (n, blocks[i], *event), given a prefix
    (n, tokens before it, *event), in the order of generation; guidance that grows with i is a part
    of it. plans: one a block. blocks: tokens in
    each, one by default (`masked_blocks` are MAR's).

    >>> import fewtheory as ft
    >>> bed = ft.testbeds.GaussianSequence(ft.testbeds.exchangeable_cov(3, 0.8))
    >>> flow = ft.paths.RectifiedFlow()
    >>> plans = [ft.samplers.euler(flow, np.linspace(1, 0, n + 1)) for n in (9, 5, 4)]
    >>> loop = Autoregressive(lambda i, prefix: bed.given(prefix).model(flow, "flow"), plans)
    >>> loop.run(np.zeros((2, 3))).shape, loop.nfe
    ((2, 3), 18)
    """

    conditional: Conditional
    plans: Sequence[Plan]
    blocks: Any = None
    linear: ClassVar[bool] = False  # a model is a function of the tokens drawn before it

    def __post_init__(self) -> None:
        where, plans = "Autoregressive", tuple(self.plans)
        if not callable(self.conditional):
            raise TypeError(f"{where}: conditional must be callable, got {self.conditional!r}")
        if not plans or not all(isinstance(p, Plan) for p in plans):
            raise TypeError(f"{where}: plans must be one or more Plans, got {self.plans!r}")
        given = np.ones(len(plans), int) if self.blocks is None else np.asarray(self.blocks)
        blocks = tuple(integer(where, "blocks", v, 1) for v in given.ravel())
        if len(blocks) != len(plans):
            raise fail(where, "blocks", f"{len(plans)} numbers, one a plan", self.blocks)
        object.__setattr__(self, "plans", plans)
        object.__setattr__(self, "blocks", blocks)

    @property
    def nfe(self) -> int:
        """The head's evaluations for one sequence."""
        return sum(p.nfe for p in self.plans)

    @property
    def stochastic(self) -> bool:
        """Whether a run draws noise beyond what it starts from."""
        return any(p.stochastic for p in self.plans)

    def run(
        self,
        noise: Array,
        rng: Rng = None,
        *,
        callback: Callable[[int, Array], None] | None = None,
    ) -> Array:
        """Draw sequences (n, tokens, *event) from standard normal noise of that shape.

        Block i starts from sqrt(alpha^2 + sigma^2) times its noise, at the first level of its plan
        on its model's path: N(0, I) on a variance-preserving path, as heads are run, and the exact
        start where alpha = 0. rng: as in `Plan.run`; callback(i, block) sees each block. Raises
        ValueError for noise of another number of tokens.
        """
        xp = state("Autoregressive.run", "noise", noise)
        counts = [int(v) for v in self.blocks or ()]
        if noise.ndim < 2 or noise.shape[1] != sum(counts):
            allowed = f"of shape (n, {sum(counts)}, *event)"
            raise fail("Autoregressive.run", "noise", allowed, tuple(noise.shape))
        x, start = noise[:, :0, ...], 0
        for i, (plan, count) in enumerate(zip(self.plans, counts, strict=True)):
            model = self.conditional(i, x)
            size = math.hypot(*model.path.level(float(plan.lam[0])))
            block = plan.run(model, noise[:, start : start + count, ...] * size, rng)
            if callback is not None:
                callback(i, block)
            x, start = xp.concat([x, block], axis=1), start + count
        return x


def annealed(conditional: Conditional, head: Callable[[int], Plan], steps: Any) -> Autoregressive:
    """The loop with the plan head(steps_i) at step i; equal numbers of steps share one plan.

    head: of `heads`, or any function of a number of steps; steps: (n,) integers, for example
    `annealed_steps(5, 25, 15)`.
    """
    counts = [integer("annealed", "steps", v, 1) for v in np.asarray(steps).ravel()]
    made = {n: head(n) for n in set(counts)}
    return Autoregressive(conditional, [made[n] for n in counts])


def gaussian_factor(bed: GaussianSequence, plans: Sequence[Plan]) -> Float[np.ndarray, "n n"]:
    """A with x = A xi for the loop's output on a Gaussian sequence, one plan a token; cov is A A^T.

    Token i has mean k_i m_i and standard deviation r_i s_i, both from `Plan.law` started at N(0,
    alpha^2 + sigma^2): A = L diag(r) where the means are exact (k = 1), and otherwise row i is k_i
    L_i,<i L_<i^{-1} A_<i before the diagonal. Raises ValueError unless there is a plan a token.

    >>> from fewtheory.testbeds import GaussianSequence, exchangeable_cov
    >>> from fewtheory.samplers.heads import euler_head
    >>> bed = GaussianSequence(exchangeable_cov(2, 0.8))
    >>> (gaussian_factor(bed, [euler_head(9), euler_head(5)]) / bed.factor.clip(1e-9)).round(3)
    array([[0.866, 0.   ],
           [0.866, 0.753]])
    """
    from ..testbeds import Gaussian

    n, L = bed.stds.size, bed.factor
    if len(plans) != n:
        raise fail("gaussian_factor", "plans", f"{n}, one a token", len(plans))
    A = np.zeros((n, n))
    for i, (plan, s) in enumerate(zip(plans, bed.stds.tolist(), strict=True)):
        start = (0.0, float(plan.alpha[0] ** 2 + plan.sigma[0] ** 2))
        law = plan.law(Gaussian([1.0], s**2), start=start)
        pull = solve_triangular(L[:i, :i].T, L[i, :i, None], lower=False)[:, 0] if i else L[0, :0]
        A[i, :i] = float(law.mean[0]) * pull @ A[:i, :i]
        A[i, i] = float(law.std_ratio[0]) * s
    return A


def innovations(
    cov: Float[np.ndarray, "m m"], size: int
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    """(s, w): conditional standard deviations and influence of blocks of `size` numbers each.

    cov: (m, m) positive definite, that of data in the order of generation, m = n size. With L_ii =
    U S V^T, s_i = S and w_i are the norms of L[:, i] V's columns: what `optimal_allocation` takes
    for tokens of several numbers. Raises ValueError by name.

    >>> from fewtheory.testbeds import exchangeable_cov
    >>> [v[:, 0].round(4).tolist() for v in innovations(exchangeable_cov(3, 0.8), 1)]
    [[1.0, 0.6, 0.5375], [1.51, 0.6566, 0.5375]]
    """
    from ..testbeds import GaussianSequence

    L = GaussianSequence(cov).factor
    d = integer("innovations", "size", size, 1)
    if L.shape[0] % d:
        raise fail("innovations", "size", f"a divisor of {L.shape[0]}", size)
    blocks = [slice(i, i + d) for i in range(0, L.shape[0], d)]
    turned = [np.linalg.svd(L[b, b])[1:] for b in blocks]
    stds = np.stack([S for S, _ in turned])
    influence = [
        np.linalg.norm(L[:, b] @ Vt.T, axis=0) for b, (_, Vt) in zip(blocks, turned, strict=True)
    ]
    return stds, np.stack(influence)


class Measured(NamedTuple):
    """A number for each position, and its standard error."""

    value: Float[np.ndarray, "positions"]
    error: Float[np.ndarray, "positions"]


@dataclass(frozen=True, eq=False)
class Probes:
    """What `probe` measures at each position, a coordinate: s^2 twice, and s (2 - pi/2), where the
    conditional law is N(m, s^2) and the model is exact.

    variance: of repeated draws; regression: the squared error of their mean for the real token;
    straightness: int_0^1 E|(x_1 - x_0) - v|^2 dt along the paths.
    """

    variance: Measured
    regression: Measured
    straightness: Measured


def probe(conditional: Conditional, plan: Plan, x: Array, rng: Rng, *, repeats: int = 8) -> Probes:
    """Draw each token `repeats` times given the true ones before it, and measure.

    x: real sequences (n, tokens, *event), n at least 2; plan: a fine deterministic one from t = 1
    to 0. Standard errors are over the n rows. Straightness is in the coordinates of the rectified
    flow, y = u / (alpha + sigma), by chords: sum |y_j - y_{j+1}|^2 / |t_j - t_{j+1}| less |y_0 -
    y_N|^2 / (t_0 - t_N). The error of the mean is freed of the mean's own variance / repeats.
    Source: sheet `disa`, "Motivating measurements".
    """
    xp, where = state("probe", "x", x), "probe"
    integer(where, "repeats", repeats, 2)
    if x.ndim < 2 or x.shape[0] < 2:
        raise fail(where, "x", "of shape (n, tokens, *event), n at least 2", tuple(x.shape))
    if plan.stochastic:
        raise fail(where, "plan", "deterministic", plan)
    found = []
    for i in range(x.shape[1]):
        rows = xp.concat([x[:, : i + 1, ...]] * repeats, axis=0)
        model = conditional(i, rows[:, :i, ...])
        noise = standard_normal(rng, rows[:, i:, ...].shape, x)
        size = math.hypot(*model.path.level(float(plan.lam[0])))
        path = _Chords(plan, model)
        drawn = plan.run(model, noise * size, callback=path)
        shape = (repeats, x.shape[0], -1)
        draws, bend = (
            to_numpy(v).astype(float).reshape(shape) for v in (drawn, path.straightness())
        )
        spread = draws.var(axis=0, ddof=1).mean(-1)
        real = to_numpy(x[:, i, ...]).astype(float).reshape(shape[1:])
        miss = ((draws.mean(0) - real) ** 2).mean(-1) - spread / repeats
        found.append([spread, miss, bend.mean((0, 2))])
    rows = np.array(found)  # (positions, 3, n)
    value, error = rows.mean(2), rows.std(2, ddof=1) / math.sqrt(rows.shape[2])
    return Probes(*(Measured(value[:, k], error[:, k]) for k in range(3)))


class _Chords:
    """Sums the squared chords of a run, node by node; of nodes at one level the last counts."""

    def __init__(self, plan: Plan, model: Model) -> None:
        alpha, sigma = np.array([model.path.level(v) for v in plan.lam.tolist()]).T
        self.scale, self.t = 1 / (alpha + sigma), sigma / (alpha + sigma)
        self.kept: list[tuple[float, Array]] = []

    def __call__(self, i: int, u: Array) -> None:
        y, t = u * float(self.scale[i]), float(self.t[i])
        if self.kept and self.kept[-1][0] == t:
            self.kept.pop()
        self.kept.append((t, y))

    def straightness(self) -> Array:
        pairs = list(zip(self.kept[:-1], self.kept[1:], strict=True))
        length = sum((y - z) ** 2 / (t - s) for (t, y), (s, z) in pairs)
        (t, y), (s, z) = self.kept[0], self.kept[-1]
        return length - (y - z) ** 2 / (t - s)


def masked_blocks(n: int, tokens: int) -> Int[np.ndarray, "n"]:
    """How many tokens MAR draws in each of its n iterations: the cosine mask leaves
    floor(tokens cos(pi (i + 1) / (2 n))) of them, at least one until the last.

    The step of the sequence is not the fraction that is drawn: with w_i the influence of a token
    of iteration i, sqrt(counts) w is the weight that `optimal_allocation` wants.
    Raises ValueError unless 1 <= n <= tokens. Source: sheet `disa`, "Pitfalls", after MAR.

    >>> masked_blocks(4, 16).tolist()
    [2, 3, 5, 6]
    """
    integer("masked_blocks", "tokens", tokens, 1)
    integer("masked_blocks", "n", n, 1, tokens)
    left, counts = tokens, []
    for i in range(n - 1):
        kept = max(1, min(left - 1, math.floor(tokens * math.cos(math.pi / 2 * (i + 1) / n))))
        counts.append(left - kept)
        left = kept
    return np.array([*counts, left])
