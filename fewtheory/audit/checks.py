"""What is looked for: each check reads a case and says what falls short, where, and how it is shown.

A `Finding` of severity "defect" is one that its maintainer would want to mend; a "note" is what a
user should know. Each names a place: the numbers of steps, and the step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..paths import Table
from .case import Case
from .recovered import Recovered

ENTRY = 0.1  # of a network's time: between entries a table has no one true level
LAM = 1e-6  # levels told in float32
MISMATCH = 1e-3  # in lam: where time is continuous


@dataclass(frozen=True)
class Finding:
    """One thing that falls short: what, where, the evidence, and the repair ("" where none).

    check: the name of the check; severity: "defect" or "note".
    """

    what: str
    where: str
    evidence: str
    repair: str = ""
    check: str = ""
    severity: str = "defect"


Check = Callable[[Case], Iterator[Finding]]


def raises(case: Case) -> Iterator[Finding]:
    """Every number of steps from 1 to 60 runs to its end."""
    case.every  # noqa: B018 (runs them)
    groups: dict[str, list[int]] = {}
    for steps, error in case.raised.items():
        if steps in (*range(1, 61), *case.steps):
            text = str(error).strip().split("\n")[0].replace(str(steps), "N")
            groups.setdefault(f"{type(error).__name__}: {text[:200]}", []).append(steps)
    for message, steps in groups.items():
        told = message.startswith(("ValueError", "NotImplementedError"))
        yield Finding(
            "refuses to run" if told else "raises",
            f"at {numbers(steps)} steps",
            message.replace("N", str(steps[0]), 1) if len(steps) == 1 else message,
            severity="note" if told and len(steps) < 60 else "defect",
        )


def finite(case: Case) -> Iterator[Finding]:
    """Every row is finite."""
    bad = [r for r in case.every if not r.finite]
    if bad:
        rows = np.isfinite(np.column_stack([bad[0].probe.a, bad[0].probe.B])).all(axis=1)
        yield Finding(
            "returns NaN or infinity",
            f"at {numbers(r.steps for r in bad)} steps; first in {step_of(bad[0], _first(~rows))}",
            f"the weights of that state are {_short(bad[0].probe.B[_first(~rows)])}",
        )
    asked = [r for r in case.asked if r.finite]
    for r in asked:
        if not r.probe.single < 1e-3:
            yield Finding(
                "loses its digits in its own precision",
                f"at {r.steps} steps",
                f"the float32 run differs from the float64 run by {r.probe.single:.1e} of the sum of"
                " its terms",
            )


def nonlinear(case: Case) -> Iterator[Finding]:
    """The state is linear in the network's outputs."""
    bad = [r for r in case.every if r.probe.nonlinear_at is not None]
    if not bad:
        return
    culprits = [k for k in _switches(case) if _linear_with(case, k)]
    named = " and ".join(f"{k}={case.settings()[k]}" for k in culprits)
    yield Finding(
        f"is not linear: {named}" if named else "is not linear in the network's outputs",
        f"at {numbers(r.steps for r in bad)} steps; first in "
        f"{step_of(bad[-1], int(bad[-1].probe.nonlinear_at or 0))}",
        "a run on random numbers is not the sum of its parts: no rows, order or law describe it",
        f"with {' or '.join(f'{k}=False' for k in culprits)} it is linear, and can be audited"
        if culprits
        else "",
        severity="note",
    )


def _switches(case: Case) -> list[str]:
    return [k for k, v in case.settings().items() if v is True and case.accepts(k)]


def _linear_with(case: Case, switch: str) -> bool:
    try:
        run = case.variant(**{switch: False}).run(8)
    except (TypeError, ValueError):
        return False
    return run is not None and run.probe.nonlinear_at is None


def config(case: Case) -> Iterator[Finding]:
    """A run leaves the scheduler's config as it was."""
    changed: dict[str, list[int]] = {}
    for r in case.every:
        for key, (old, new) in r.probe.config_changes.items():
            changed.setdefault(f"{key}: {old!r} became {new!r}", []).append(r.steps)
    for change, steps in changed.items():
        yield Finding(
            "changes its own config",
            f"at {numbers(steps)} steps, in set_timesteps or step",
            f"{change}; it stays so for later runs and in what is saved",
            "choose the value for the run, in an attribute, and leave the config alone",
        )


def evaluations(case: Case) -> Iterator[Finding]:
    """N steps cost N evaluations."""
    other = [r for r in case.every if r.probe.nfe != r.steps]
    if not other:
        return
    formula = _cost(case.every)
    example = other[-1]
    yield Finding(
        f"N steps cost {formula or 'another number of'} evaluations",
        f"at {numbers(r.steps for r in other)} steps",
        f"{example.steps} steps call the network {example.probe.nfe} times",
        "compare it with others at equal evaluations, not at equal steps",
        severity="note",
    )


def _cost(runs: list[Recovered]) -> str:
    n = np.array([r.steps for r in runs])
    e = np.array([r.probe.nfe for r in runs])
    late = n > 8
    if late.sum() < 3:
        return ""
    slope = int(e[late][1] - e[late][0])
    rest = int(e[late][0] - slope * n[late][0])
    if not np.array_equal(e[late], slope * n[late] + rest):
        return ""
    return f"{slope if slope > 1 else ''}N{f' {rest:+d}'.replace('+', '+ ').replace('-', '- ') if rest else ''}"


def dead(case: Case) -> Iterator[Finding]:
    """Every evaluation reaches the output."""
    bad = [r for r in case.every if r.finite and r.dead]
    if not bad:
        return
    r = bad[-1]
    last = r.dead == [r.probe.nfe - 1]
    calls = ", ".join(f"{i + 1}" for i in r.dead[:4])
    yield Finding(
        "pays for evaluations that it does not use",
        f"at {numbers(q.steps for q in bad)} steps; of {r.steps} steps "
        f"{'the last evaluation' if last else f'evaluation {calls} of {r.probe.nfe}'}",
        f"at timestep {_short([r.probe.times[i] for i in r.dead[:4]])}: its output has weight 0 in"
        " the result",
        "leave that evaluation out, or take a step with it",
    )


def monotone(case: Case) -> Iterator[Finding]:
    """Each step goes strictly towards the data (an inverse sampler's, strictly away)."""
    found: list[tuple[Recovered, int, float]] = []
    for r in case.sound:
        lam, base = r.believed.lam, r.rule.base
        h = np.array([_gap(lam[i], lam[base[i]]) for i in range(1, len(lam))])
        sign = 1.0 if np.sum(np.sign(h)) >= 0 else -1.0
        found += [(r, i + 1, sign * float(v)) for i, v in enumerate(h) if not sign * v > 1e-9]
    if not found:
        return
    zero = [f for f in found if abs(f[2]) <= 1e-9]
    for what, group in (
        ("takes a step of zero length", zero),
        ("takes a step backwards", [f for f in found if f not in zero]),
    ):
        if group:
            r, i, h = group[-1]
            sigma = r.believed.sigma / r.believed.alpha
            yield Finding(
                what,
                f"at {numbers(f[0].steps for f in group)} steps; {step_of(r, i)}: "
                f"{'zero length' if abs(h) <= 1e-9 else f'{h:.2g} in lam'}",
                f"sigma / alpha is {_short(sigma[max(0, i - 2) : i + 1])} at the last nodes",
                "let the grid decrease strictly: drop the level that stands there twice",
            )


def _gap(to: float, start: float) -> float:
    return 0.0 if to == start else to - start


def levels(case: Case) -> Iterator[Finding]:
    """The network is told the level at which the sampler believes to stand."""
    worst: list[tuple[Recovered, int, float]] = []
    for r in case.sound:
        off, lam = r.off_entries, r.off
        if isinstance(r.told.path, Table):
            size = np.where(np.abs(lam) > LAM, np.abs(off), 0.0)
            bad = size > ENTRY
        else:
            size = np.where(np.isfinite(lam), np.abs(lam), np.inf)
            bad = size > MISMATCH
        if np.any(bad):
            i = int(np.argmax(np.where(bad, size, 0)))
            worst.append((r, i, float(off[i])))
    if worst:
        yield from _mismatch(case, worst)


def _mismatch(case: Case, worst: list[tuple[Recovered, int, float]]) -> Iterator[Finding]:
    r, i, off = max(worst, key=lambda w: abs(w[2]))
    all_off = np.concatenate([q.off_entries for q, _, _ in worst])
    whole = all(float(t).is_integer() for q, _, _ in worst for t in q.probe.times)
    table = isinstance(r.told.path, Table) and whole
    one_sided = bool(np.all(all_off > -ENTRY) or np.all(all_off < ENTRY))
    size, severity = float(np.nanmax(np.abs(all_off))), "defect"
    if table and size <= 0.501:
        what, severity = "rounds the network's timesteps to integers", "note"
    elif table and one_sided and size <= 1.001:
        what = "truncates the network's timesteps to integers"
    elif case.refined and case.refined[0].rule.plan.stochastic:
        what = "has noise of another size than the levels that it tells its network"
    else:
        what = "tells its network another level than its own"
    evidence = (
        f"the network is told {r.probe.times[i]:.6g} where the step stands at "
        f"{r.probe.times[i] + off:.6g} (lam {r.handed.lam[i]:.4g}, believed {r.believed.lam[i]:.4g})"
    )
    floor = _floor(case)
    if floor is not None:
        evidence += f"; at {floor[0]} steps this alone costs {floor[1]:.1e} rms on the bimodal law"
    yield Finding(
        what,
        f"at {numbers(w[0].steps for w in worst)} steps; worst in evaluation {i + 1} of "
        f"{r.probe.nfe} at {r.steps} steps",
        evidence,
        "hand the network the fractional time of each level, or take levels of the table"
        if table
        else "compute the timesteps and the levels from one grid",
        severity=severity,
    )


def _floor(case: Case) -> tuple[int, float] | None:
    """What the mismatch costs: the flow error with the levels told, less that without."""
    from .levels import Levels
    from .outcome import flow_error
    from .rule import plan_of

    runs = [r for r in case.refined or case.sound[-1:] if not r.rule.plan.stochastic]
    if not runs:
        return None
    r = runs[-1]
    last = r.probe.nfe
    errors = [
        flow_error(p, 1, [last])
        for p in (r.plan, plan_of(r.probe, r.told, Levels(*vars(r.believed).values())))
    ]
    return r.steps, abs(errors[0] - errors[1])


def endings(case: Case) -> Iterator[Finding]:
    """A run ends at the data, or at the smallest level on which the network was trained."""
    runs = [r for r in case.sound if r.steps >= 2]
    if not runs or _inverse(runs[-1]):
        return
    path = runs[-1].told.path
    smallest = 0.0 if path.t_min == 0 else math.exp(-path.lam(path.t_min))
    floor = max(smallest, 1e-3 if path.t_min == 0 else 0.0)
    ends = {r.steps: float(r.believed.sigma[-1] / r.believed.alpha[-1]) for r in runs}
    noisy = {n: s for n, s in ends.items() if s > 1.05 * floor}
    below = {n: s for n, s in ends.items() if 1e-9 < s < 0.95 * smallest}
    if noisy:
        n = max(noisy, key=lambda k: noisy[k] if k >= 8 else 0.0)
        yield Finding(
            "stops before the data: returns noisy samples",
            f"at {numbers(noisy)} steps; the last step",
            f"a run of {n} steps ends at sigma / alpha = {noisy[n]:.4g}, not at 0 or at the smallest"
            f" level of the network, {smallest:.4g}",
            "append the last level (sigma = 0) to the grid",
        )
    if below:
        n = max(below)
        yield Finding(
            "ends at a level that is none of the network's",
            f"at {numbers(below)} steps; the last step",
            f"a run of {n} steps ends at sigma / alpha = {below[n]:.4g}; the smallest level is "
            f"{smallest:.4g}, and the other end is 0",
            "end at 0 or at the smallest level",
        )


def starts(case: Case) -> Iterator[Finding]:
    """The noise with which a pipeline starts has the size of the first level."""
    found = []
    for r in case.sound:
        init = r.probe.init_noise_sigma
        if init is None or _inverse(r):
            continue
        alpha, sigma = r.handed.alpha[0], r.handed.sigma[0]
        ratio = init / math.hypot(alpha, sigma)
        if abs(ratio - 1) > 0.02 and abs(init / sigma - 1) > 0.02:
            found.append((r, ratio))
    if found:
        r, ratio = found[-1]
        yield Finding(
            "starts with noise of the wrong size",
            f"at {numbers(f[0].steps for f in found)} steps; init_noise_sigma",
            f"init_noise_sigma is {r.probe.init_noise_sigma:.5g}; unit data at the first level have "
            f"standard deviation {r.probe.init_noise_sigma / ratio:.5g}",
            "init_noise_sigma = sqrt(alpha^2 + sigma^2) of the first level",
        )


def _inverse(r: Recovered) -> bool:
    lam = r.believed.lam
    return bool(lam[-1] < lam[0])


CHECKS: tuple[Check, ...] = (
    raises,
    finite,
    nonlinear,
    config,
    evaluations,
    dead,
    monotone,
    levels,
    endings,
    starts,
)


def numbers(values: Iterable[int]) -> str:
    """1, 2, 5 to 9 and 12."""
    ordered = sorted(set(values))
    parts = []
    for _, group in itertools.groupby(enumerate(ordered), lambda p: p[1] - p[0]):
        run = [v for _, v in group]
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(v) for v in run]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def step_of(r: Recovered, node: int) -> str:
    """The step that leads to this node, in words."""
    if r.probe.nfe == r.steps:
        return f"step {node} of {r.steps}"
    return f"the step after evaluation {node} of {r.probe.nfe} ({r.steps} steps)"


def _first(mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask)[0])


def _short(values: Iterable[float]) -> str:
    return ", ".join(f"{float(v):.5g}" for v in list(values)[:5])
