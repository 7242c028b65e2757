"""The step form of a recovered sampler: what each state continues, and with which weights.

The rows from x_T are long; the rule that made them is short. A state u_i continues an earlier one,
u_i = c u_s + sum_j w_j m_j with few w: taking c u_s from row i leaves weights on the evaluations
that the step really uses. In the sampler's own prediction, data or noise, these are fewest: so both
the base s and the prediction are found. The levels are those in which the sampler believes: its
rule is judged apart from what it tells the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..model import Level, conversion
from ..plan import Plan
from .levels import Levels, meaning
from .probe import Probe

SHORT = 1e-5  # in lam: a step of zero length, float32 included
ROUNDING = 1e-9  # of the terms that cancel; float64 rows are good to 1e-13 of them


@dataclass(frozen=True, eq=False)
class Rule:
    """A sampler's step form at the levels in which it believes.

    plan: with P the base factors and B the local weights, in the prediction where they are
    fewest; base (n+1,): s of each node, -1 for none; uses (n+1,): how many evaluations the step
    to each node uses; size (n+1,): the size of the terms of each row, for judging roundings.
    """

    plan: Plan
    base: np.ndarray
    uses: np.ndarray
    size: np.ndarray

    @property
    def principal(self) -> np.ndarray:
        """The nodes from which the sampler goes on (no stages), the output among them."""
        return np.unique(np.append(self.base[self.base >= 0], self.base.size - 1))


def rule(found: Probe, told: object, levels: Levels) -> Rule:
    """The rule behind the rows, at these levels (n+1,)."""
    rows = _in_data(found, told, levels)
    forms = [_step_form(rows, levels, "data")]
    if np.all(levels.alpha[:-1] > 0):
        forms.append(_step_form(_in_noise(rows, levels), levels, "noise"))
    return min(forms, key=lambda r: int(r.uses.sum()))


def plan_of(found: Probe, told: object, levels: Levels) -> Plan:
    """The sampler as a plan whose network answers at these levels (n+1,), rows from x_T."""
    a, B, C, d = _in_data(found, told, levels)
    P = np.zeros((a.size, a.size))
    P[1:, 0] = a[1:]
    d = np.append(0.0, d[1:])
    return _plan(P, B, C, d, levels, "data")


def _plan(
    P: np.ndarray, B: np.ndarray, C: np.ndarray, d: np.ndarray, levels: Levels, prediction: str
) -> Plan:
    return Plan(P, B, C, d, levels.lam, levels.alpha, levels.sigma, levels.t, prediction)


def step_lengths(lam: np.ndarray, base: np.ndarray) -> np.ndarray:
    """lam_i - lam_s of each node from the one that it continues, (k,); 0 between equal infinities.

    Of the first node, which continues none, it is infinite.
    """
    base = base[: len(lam)]
    start = lam[base]
    with np.errstate(invalid="ignore"):
        h = np.where(lam == start, 0.0, lam - start)
    return np.where(base < 0, np.inf, h)


Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _substituted(rows: Rows, p: np.ndarray, q: np.ndarray) -> Rows:
    """The rows with m_old = p u + q m_new, by forward substitution."""
    a, B, C, d = (r.copy() for r in rows)
    n = a.size - 1
    total = np.concatenate([a[:, None], B * q, C, d[:, None]], axis=1)
    shifts = B * p
    for i in range(1, n + 1):
        total[i] += shifts[i, :i] @ total[:i]
    return total[:, 0], total[:, 1 : n + 1], total[:, n + 1 : -1], total[:, -1]


def _in_data(found: Probe, told: object, levels: Levels) -> Rows:
    """The rows with the network's outputs replaced by data predictions of these levels."""
    rows = (found.a, found.B, found.C, found.d)
    if isinstance(found.made, Plan):
        return rows
    n = found.nfe
    A, E = np.array([meaning(told, v) for v in levels.lam[:n].tolist()]).reshape(n, 2).T
    # m = A x_0 + E eps with eps = (u - alpha x_0) / sigma
    sigma = levels.sigma[:n]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(E == 0, 0.0, E / sigma)
        q = A - np.where(E == 0, 0.0, E * levels.alpha[:n] / sigma)
    return _substituted(rows, p, q)


def _in_noise(rows: Rows, levels: Levels) -> Rows:
    alpha, sigma = levels.alpha[:-1], levels.sigma[:-1]
    p, q = conversion("noise", "data", Level(alpha, sigma))
    return _substituted(rows, np.broadcast_to(p, alpha.shape), np.broadcast_to(q, alpha.shape))


def _step_form(rows: Rows, levels: Levels, prediction: str) -> Rule:
    a, B, C, d = rows
    n = a.size - 1
    row = np.concatenate([B, C, d[:, None]], axis=1)
    candidates = [_candidates(a, row, i) for i in range(1, n + 1)]
    staged = _staged([bases for bases, _, _, _ in candidates], levels)
    P, W = np.zeros((n + 1, n + 1)), np.zeros_like(row)
    base, size = np.full(n + 1, -1), np.zeros(n + 1)
    for i, (bases, c, left, terms) in enumerate(candidates, start=1):
        s = int(bases[0] if staged else bases[-1])
        base[i], W[i], size[i] = s, left[s], terms[s]
        P[i, s] = c[s] if abs(c[s]) > 1e-13 else 0.0
    weights, noises, constant = W[:, :n], W[:, n:-1], W[:, -1]
    plan = _plan(P, weights, noises, constant, levels, prediction)
    return Rule(plan, base, np.count_nonzero(weights, axis=1), size)


def _candidates(
    a: np.ndarray, row: np.ndarray, i: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(the bases that leave fewest weights in row i; for every base its factor, weights, size)."""
    c = np.zeros(i)
    np.divide(a[i], a[:i], out=c, where=np.abs(a[:i]) > 1e-13 * np.abs(a[:i]).max())
    terms = (np.abs(row[i]) + np.abs(c)[:, None] * np.abs(row[:i])).max(axis=1)
    left = row[i] - c[:, None] * row[:i]
    left[np.abs(left) <= ROUNDING * terms[:, None]] = 0.0
    uses = np.count_nonzero(left, axis=1)
    fewest = np.flatnonzero(uses == uses.min()) if np.any(c) else np.array([i - 1])
    return fewest, c, left, terms


def _staged(bases: list[np.ndarray], levels: Levels) -> bool:
    """Whether several bases fit again and again: then the earliest is meant.

    A second stage continues either the step's start or the first stage with equally few weights. So
    do a multistep method's first steps, and single ones of lower order, but not one after another.
    """
    n = len(bases)
    if n < 8:
        repeated = np.isclose(levels.lam[1:-1], levels.lam[2:], rtol=0, atol=1e-9)
        return bool(np.any(repeated)) and n > 1
    return sum(b.size > 1 for b in bases[n // 2 :]) > 1
