"""Checks on the runs themselves: do they end, are they linear, what do they cost and leave behind.

Each reads a case and yields what falls short. Severity "defect" is what a maintainer would want to
mend, "note" what a user should know.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arrays import to_numpy
from .case import Case
from .finding import Finding, numbers, short, step_of
from .probe import ANOTHER, after_another
from .recovered import Recovered

REPEATED = 1e-6  # of the largest weight: some grids are made in float32 whatever is asked
DIGITS = 1e-3  # of the sum of a state's terms, float32 against float64


def raises(case: Case) -> Iterator[Finding]:
    """Every number of steps runs to its end."""
    asked = {r.steps for r in case.every}.union(range(1, case.most + 1), case.steps)
    groups: dict[tuple[bool, str], list[int]] = {}
    for steps, error in case.raised.items():
        if steps in asked:
            text = re.sub(r"\d+", "N", str(error).strip().split("\n")[0])[:160]
            key = (_refused(error), f"{type(error).__name__}: {text}")
            groups.setdefault(key, []).append(steps)
    for (refused, message), steps in groups.items():
        yield Finding(
            "refuses to run" if refused else "raises",
            f"at {numbers(steps)} steps",
            message,
            severity="note" if refused and len(steps) < case.most else "defect",
        )


def _refused(error: Exception) -> bool:
    """Whether the sampler itself says no: the error comes from a `raise` of its own."""
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    return line.startswith("raise ") and isinstance(error, (ValueError, NotImplementedError))


def finite(case: Case) -> Iterator[Finding]:
    """Every row is finite."""
    bad = [r for r in case.every if not r.finite]
    if bad:
        rows = np.all(np.isfinite(np.column_stack([bad[0].probe.a, bad[0].probe.B])), axis=1)
        yield Finding(
            "returns NaN or infinity",
            f"at {numbers(r.steps for r in bad)} steps; first in {step_of(bad[0], _first(~rows))}",
            f"the weights of that state are {short(bad[0].probe.B[_first(~rows)])}",
        )
    asked = [r for r in case.asked if r.finite]
    for r in asked:
        if not r.probe.single < DIGITS:
            yield Finding(
                "loses its digits in its own precision",
                f"at {r.steps} steps",
                f"a run differs from the same in float64 by {r.probe.single:.1e} of the sum of its"
                " terms",
            )


def nonlinear(case: Case) -> Iterator[Finding]:
    """The state is linear in the network's outputs."""
    bad = [r for r in case.every if r.finite and r.probe.nonlinear_at is not None]
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
    times = f"{slope}N" if slope > 1 else "N"
    return f"{times} {'+' if rest > 0 else '-'} {abs(rest)}" if rest else times


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
        f"at timestep {short([r.probe.times[i] for i in r.dead[:4]])}: its output has weight 0 in"
        " the result",
        "leave that evaluation out, or take a step with it",
    )


def _first(mask: Any) -> int:
    return int(np.flatnonzero(mask)[0])


def reuse(case: Case) -> Iterator[Finding]:
    """A scheduler that has run before runs as a fresh one does."""
    if case.judged.kind != "scheduler" or not case.asked:
        return
    r = case.asked[0]
    try:
        second = after_another(case.judged, r.steps)
    except Exception as error:  # whatever somebody else's sampler raises
        yield Finding(
            "raises when it runs a second time",
            f"{r.steps} steps after a run of {ANOTHER}",
            f"{type(error).__name__}: {str(error).splitlines()[0][:200]}",
            "set back in set_timesteps whatever a run leaves behind",
        )
        return
    rows = np.column_stack([r.probe.a, r.probe.B])
    known = np.isfinite(rows)  # what is not finite is another check's
    if second.shape != rows.shape or np.any(np.isfinite(second) != known):
        off = np.inf
    else:
        off = float(np.max(np.abs(second - rows), where=known, initial=0.0))
    if off > REPEATED * np.max(np.abs(rows), where=known, initial=0.0):
        yield Finding(
            "remembers an earlier run",
            f"{r.steps} steps after a run of {ANOTHER}",
            f"its weights differ by {off:.2g} from those of a fresh scheduler",
            "set back in set_timesteps whatever a run leaves behind",
        )


def known_network(case: Case) -> Iterator[Finding]:
    """What the network is told, and expects, is known; and it can tell x_0 wherever it is asked."""
    table = getattr(case.every[0].probe.made, "alphas_cumprod", None) if case.every else None
    rises = [] if table is None else np.flatnonzero(np.diff(to_numpy(table)) >= 0).tolist()
    if table is not None and rises:
        i = rises[-1] + 1
        yield Finding(
            "its table of noise levels is not monotone",
            f"alphas_cumprod[{i}]",
            f"alphas_cumprod[{i}] = {float(table[i]):.3g}, after {float(table[i - 1]):.3g}: its "
            "noisiest entry is less noisy than the one before",
            f"set the last entry below alphas_cumprod[{i - 1}], or to 0",
        )
        return
    if case.told is None and case.every:
        yield Finding(
            "does not say what its network expects",
            "its config",
            case.untold or "no path of noise levels can be read off it",
            "give path= and prediction=; until then only its rows are judged",
            severity="note",
        )
        return
    case.refined  # noqa: B018 (runs in many steps are asked as well)
    tried = sorted(case.runs.values(), key=lambda r: r.steps)
    unsound = [r for r in tried if r.finite and r.probe.nonlinear_at is None and not r.sound]
    blind = [r for r in unsound if not np.all(r.handed.alpha > 0) and not np.any(r.probe.C)]
    blind = [r for r in unsound if not np.all(np.isfinite(r.handed.alpha))] or blind
    lost = [r for r in unsound if r not in blind]
    if blind:
        r = blind[-1]
        alpha = r.handed.alpha
        beyond = np.flatnonzero(~np.isfinite(alpha))
        i = int(beyond[0]) if beyond.size else int(np.argmin(alpha))
        time = f"timestep {r.probe.times[i]:.6g}"
        yield Finding(
            "asks its network where it cannot know x_0",
            f"at {numbers(q.steps for q in blind)} steps; evaluation {i + 1} of {r.probe.nfe}",
            f"{time} is none of its network's"
            if beyond.size
            else f"at {time} alpha = {alpha[i]:.3g}: a {r.told.prediction} prediction there does"
            " not tell x_0",
            "start at a level with alpha > 0, or predict v, flow or data",
        )
    if lost:
        r = lost[-1]
        alpha, sigma = r.believed.alpha, r.believed.sigma
        wrong = ~(np.isfinite(alpha) & np.isfinite(sigma) & (alpha >= 0) & (sigma >= 0))
        wrong |= np.append(sigma[:-1] <= 0, np.isnan(r.believed.lam[-1]))
        i = _first(wrong) if np.any(wrong) else r.probe.nfe
        yield Finding(
            "does not carry a point mass to the data",
            f"at {numbers(q.steps for q in lost)} steps; {step_of(r, i)}",
            f"with exact outputs for data at a point x_0, its state there is {alpha[i]:.3g} x_0 + "
            f"{sigma[i]:.3g} noise",
            "a step must take alpha_s x_0 + sigma_s eps to alpha_t x_0 + sigma_t eps",
        )
