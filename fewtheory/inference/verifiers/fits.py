"""Laws of tasks from counts: Beta, Beta-Beta and Dirichlet by maximum likelihood.

Counts of a task with Dirichlet probabilities have the likelihood

    prod_j Gamma(alpha_j + x_j) / Gamma(alpha_j) over Gamma(A + n) / Gamma(A),  A = sum alpha_j,

of which the beta-binomial is the case of two outcomes. Newton's method in log alpha; the curvature
there gives the intervals. Where tasks differ no more than attempts on one of them do, no finite
alpha is best, and the fit says so.

Source: sheet `inference-flaws`, M6 and M8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...errors import fail, number, one_of
from ...testbeds.verifier import VerifierWorld
from ...testbeds.verifier_laws import BetaBetaTasks, BetaTasks, DirichletTasks
from .counts import Counts

LAWS = ("beta", "beta-beta", "dirichlet")


@dataclass(frozen=True, eq=False)
class DirichletFit:
    """The alpha of greatest likelihood.

    alpha: (J,); covariance: of log alpha, (J, J), from the likelihood's curvature; log_likelihood:
    without the multinomial coefficients; status: "ok", or why there is no finite alpha: "no
    spread", tasks do not differ; "extremes", every task has one outcome alone.

    >>> dirichlet_fit(np.array([[9, 1], [2, 8], [5, 5]])).status
    'ok'
    """

    alpha: Any
    covariance: Any
    log_likelihood: float
    status: str

    @property
    def ok(self) -> bool:
        """Whether a finite alpha is the best."""
        return self.status == "ok"


def dirichlet_fit(x: Any, weight: Any = None) -> DirichletFit:
    """Fit Dirichlet(alpha) to multinomial counts x (tasks, J); weight: tasks that a row stands for.

    For J = 2 this is Beta(a, b) by the beta-binomial likelihood,
    betaln(a + c, b + n - c) - betaln(a, b). Raises ValueError by name.
    Source: sheet `inference-flaws`, M8.

    >>> fit = dirichlet_fit([[0, 10], [3, 7], [10, 0], [6, 4], [1, 9]])
    >>> fit.alpha.round(3).tolist()
    [0.403, 0.525]
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] < 2 or x.dtype.kind not in "iu" or np.any(x < 0):
        raise fail("dirichlet_fit", "x", "integers of at least 0, (tasks, J), J at least 2", x)
    w = np.ones(len(x)) if weight is None else np.asarray(weight, dtype=np.float64)
    total = (w @ x).astype(float)
    n, J = x.sum(axis=1), x.shape[1]
    if total.sum() == 0 or w.shape != (len(x),):
        raise fail("dirichlet_fit", "x", "counts with an attempt, one weight a row", x)
    share = total / total.sum()
    nothing = np.full(J, math.nan), np.full((J, J), math.nan), math.nan
    if np.any(share == 0) or np.all(x.max(axis=1) == n):
        return DirichletFit(*nothing, "extremes")
    # the likelihood's slope in 1 / A at 1 / A = 0
    slope = float(w @ ((x * (x - 1) / (2 * share)).sum(axis=1) - n * (n - 1) / 2))
    if slope <= 0:
        return DirichletFit(*nothing, "no spread")
    from scipy.optimize import minimize

    mean_n = float(w @ n) / w.sum()
    start = np.log(share) + math.log(max(0.5, min(50.0, mean_n)))
    found = minimize(
        partial(_value, x, n, w), start, jac=partial(_slope, x, n, w),
        hess=partial(_curvature, x, n, w), method="trust-exact", options={"gtol": 1e-9 * len(x)},
    )  # fmt: skip
    curvature = _curvature(x, n, w, found.x)
    if np.any(np.abs(found.x) > 18) or np.linalg.eigvalsh(curvature)[0] <= 0:
        return DirichletFit(*nothing, "extremes" if found.x.min() < -18 else "no spread")
    return DirichletFit(np.exp(found.x), np.linalg.inv(curvature), -float(found.fun), "ok")


def _value(x: np.ndarray, n: np.ndarray, w: np.ndarray, logs: np.ndarray) -> float:
    from scipy.special import gammaln

    alpha = np.exp(logs)
    A = alpha.sum()
    each = (gammaln(alpha + x) - gammaln(alpha)).sum(axis=1) - gammaln(A + n) + gammaln(A)
    return -float(w @ each)


def _slope(x: np.ndarray, n: np.ndarray, w: np.ndarray, logs: np.ndarray) -> np.ndarray:
    from scipy.special import digamma

    alpha = np.exp(logs)
    A = alpha.sum()
    own = w @ (digamma(alpha + x) - digamma(alpha))
    return -alpha * (own - float(w @ (digamma(A + n) - digamma(A))))


def _curvature(x: np.ndarray, n: np.ndarray, w: np.ndarray, logs: np.ndarray) -> np.ndarray:
    from scipy.special import polygamma

    alpha = np.exp(logs)
    A = alpha.sum()
    own = np.diag(w @ (polygamma(1, alpha + x) - polygamma(1, alpha)))
    shared = float(w @ (polygamma(1, A + n) - polygamma(1, A)))
    second = np.outer(alpha, alpha) * (own - shared)
    return -second + np.diag(_slope(x, n, w, logs))


def beta_fit(n: Any, count: Any, weight: Any = None) -> DirichletFit:
    """Beta(a, b) by the beta-binomial likelihood: count of n attempts on each task.

    >>> beta_fit(10, [0, 3, 10, 6, 1]).alpha.round(3).tolist()
    [0.403, 0.525]
    """
    n, c = np.broadcast_arrays(np.asarray(n), np.asarray(count))
    if np.any(c > n):
        raise fail("beta_fit", "count", "at most n", count)
    return dirichlet_fit(np.stack([c, n - c], axis=1), weight)


def histogram_fit(edges: Any, tasks: Any) -> tuple[float, float]:
    """Beta(a, b) from a histogram of pass rates: the interval-censored likelihood.

        sum_j tasks_j log(I_{e_{j+1}}(a, b) - I_{e_j}(a, b))

    edges: increasing from 0 to 1, (bins + 1,); tasks: (bins,). A histogram whose bins span the
    smallest to the largest rate needs these edges. Raises ValueError by name.
    Source: sheet `inference-flaws`, M8.

    >>> a, b = histogram_fit(np.arange(11) / 10, [34, 11, 10, 6, 5, 7, 9, 4, 13, 51])
    >>> round(a, 3), round(b, 3)
    (0.337, 0.268)
    """
    e, c = np.asarray(edges, dtype=np.float64), np.asarray(tasks, dtype=np.float64)
    if e.ndim != 1 or e.size < 4 or np.any(np.diff(e) <= 0) or e[0] < 0 or e[-1] > 1:
        raise fail("histogram_fit", "edges", "increasing in [0, 1], four or more", edges)
    if c.shape != (e.size - 1,) or np.any(c < 0) or np.count_nonzero(c) < 3:
        raise fail("histogram_fit", "tasks", "not negative, one a bin, three bins used", tasks)
    from scipy.optimize import minimize

    options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 2000}
    found = minimize(
        partial(_censored, e, c), np.log([0.5, 0.5]), method="Nelder-Mead", options=options
    )
    a, b = np.exp(found.x)
    return float(a), float(b)


def _censored(edges: np.ndarray, tasks: np.ndarray, logs: np.ndarray) -> float:
    from scipy.special import betainc

    a, b = np.exp(np.clip(logs, -20, 20))
    below, above = betainc(a, b, edges), betainc(b, a, 1 - edges)
    # a difference of the smaller tails
    mass = np.where(edges[1:] < a / (a + b), np.diff(below), -np.diff(above))
    whole = below[-1] - below[0]  # rates outside the edges were not seen
    return -float(tasks @ np.log(np.maximum(mass, 1e-300) / max(whole, 1e-300)))


@dataclass(frozen=True, eq=False)
class LawFit:
    """A law of tasks fitted to counts.

    law: "beta", "beta-beta" or "dirichlet"; world: the law at the best parameters; parameters: by
    name; logs, covariance: the free parameters on the scale on which they are nearly normal
    (log of a, b, u, v and of Dirichlet's; log odds of s); aic: 2 parameters - 2 log likelihood;
    tasks: how many there were.
    """

    law: str
    world: VerifierWorld
    parameters: dict[str, float]
    logs: Any
    covariance: Any
    aic: float
    tasks: float

    def reach(self, level: float | int) -> float:
        """How many standard deviations an interval goes: Student's, tasks - 1 degrees of freedom.

        A likelihood's curvature is itself estimated; with 30 tasks the normal 1.96 covers with
        .942, Student's 2.05 with its .95.
        """
        from scipy.special import stdtrit

        return float(stdtrit(max(self.tasks - 1, 1), (1 + level) / 2))

    def at(self, logs: Any) -> VerifierWorld:
        """The law at other free parameters."""
        return _world(self.law, np.asarray(logs), self.parameters)


def fit_law(counts: Counts, law: str = "beta", *, soundness: Any = None) -> LawFit | str:
    """Fit a law of tasks to counts, or say why it cannot be.

    "beta": r ~ Beta(a, b); the soundness is pooled, P(reject, wrong) / P(wrong) over all attempts,
    never averaged over tasks; the completeness too, if `fn` was recorded. "beta-beta": r and s of
    each task independently Beta. "dirichlet": the constraint u + v = b of it. soundness: known from
    elsewhere ("beta" alone). Raises ValueError by name. Source: sheet `inference-flaws`, M6, M8.

    >>> counts = Counts(10, [0, 3, 10, 6, 1], [2, 2, 0, 0, 3])
    >>> {k: round(v, 3) for k, v in fit_law(counts).parameters.items()}
    {'a': 0.403, 'b': 0.525, 's': 0.767, 'c': 1.0}
    """
    one_of("fit_law", "law", law, LAWS)
    if soundness is not None:
        number("fit_law", "soundness", soundness, 0.0, 1.0)
        if law != "beta":
            raise fail("fit_law", "soundness", "given for the law 'beta' alone", soundness)
    rows, w = counts.grouped()
    complete = rows.fn is None or not np.any(rows.fn)
    if law != "beta" and not complete:
        return "right attempts were rejected, and this law has none"
    if law == "dirichlet":
        return _fitted(law, [dirichlet_fit(np.stack(
            [rows.tp, rows.fp, rows.n - rows.accepted], axis=1), w)], {}, w)  # fmt: skip
    wrong = rows.n - rows.right
    solve = beta_fit(rows.n, rows.right, w)
    if law == "beta-beta":
        if not w @ wrong > 0:
            return "soundness: no attempt was wrong"
        return _fitted(law, [solve, beta_fit(wrong, wrong - rows.fp, w)], {}, w)
    fixed = {"s": float(w @ (wrong - rows.fp)) / max(float(w @ wrong), 1.0), "c": 1.0}
    if soundness is None and not w @ wrong > 0:
        return "soundness: no attempt was wrong"
    if soundness is not None:
        fixed["s"] = float(soundness)
    if rows.fn is not None and w @ rows.right > 0:
        fixed["c"] = float(w @ rows.tp) / float(w @ rows.right)
    return _fitted(law, [solve], fixed, w, rows if soundness is None else None)


def _fitted(
    law: str, fits: list[DirichletFit], fixed: dict[str, float], w: Any, rows: Any = None
) -> LawFit | str:
    """The law from the fits of its parts; a pooled soundness has the spread of tasks in it."""
    for part, fit in zip(("solve rate", "soundness"), fits, strict=False):
        if not fit.ok:
            return f"{part if law != 'dirichlet' else 'outcomes'}: {fit.status}"
    logs = [np.log(f.alpha) for f in fits]
    blocks = [f.covariance for f in fits]
    value = -2 * sum(f.log_likelihood for f in fits) + 2 * sum(len(v) for v in logs)
    if law == "beta" and rows is not None and 0 < fixed["s"] < 1:
        s, wrong = fixed["s"], rows.n - rows.right
        passed = float(w @ rows.fp)
        value += 2 - 2 * ((w @ wrong - passed) * math.log(s) + passed * math.log(1 - s))
        tasks, influence = float(w.sum()), (rows.fp - (1 - s) * wrong) / float(w @ wrong)
        spread = float(w @ influence**2) * tasks / max(tasks - 1, 1) / (s * (1 - s)) ** 2
        logs.append(np.array([math.log(s / (1 - s))]))
        blocks.append(np.array([[spread]]))
    size = sum(len(v) for v in logs)
    covariance, at = np.zeros((size, size)), 0
    for block in blocks:
        covariance[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    free = np.concatenate(logs)
    world = _world(law, free, fixed)
    names = {"beta": "ab", "beta-beta": "abuv"}.get(law)
    values = dict(zip(names or ("right", "wrong", "reject"), np.exp(free).tolist(), strict=False))
    return LawFit(law, world, {**values, **fixed}, free, covariance, float(value), float(w.sum()))


def _world(law: str, logs: np.ndarray, fixed: dict[str, float]) -> VerifierWorld:
    values = [float(v) for v in np.exp(logs[:4])]
    if law == "beta":
        s = 1 / (1 + math.exp(-float(logs[2]))) if len(logs) > 2 else fixed["s"]
        return BetaTasks(values[0], values[1], s, fixed["c"])
    return (BetaBetaTasks if law == "beta-beta" else DirichletTasks)(*values)
