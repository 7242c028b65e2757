"""Checks on the levels: where a sampler steps, what it tells its network, its start and end."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..paths import Table
from .case import Case
from .finding import Finding, numbers, short, step_of
from .levels import Levels
from .outcome import flow_error
from .recovered import Recovered
from .rule import SHORT, plan_of, step_lengths

ENTRY = 0.1  # of a network's time: between entries a table has no one true level
ROUNDED, TRUNCATED = 0.6, 1.001  # entries; between entries levels are interpolated
LAM = 1e-6  # levels told in float32
MISMATCH = 1e-3  # in lam: where time is continuous
BESIDE = 0.1  # rms in lam at 50 steps or so: Euler in a path's own time stays below
NEGLIGIBLE = 1e-5  # rms on the bimodal law, whose components have standard deviations .3 and .5


def monotone(case: Case) -> Iterator[Finding]:
    """Each step goes strictly towards the data (an inverse sampler's, strictly away)."""
    found: list[tuple[Recovered, int, float]] = []
    for r in case.sound:
        h = step_lengths(_stands(case, r), r.rule.base)[1:]
        sign = 1.0 if np.sum(np.sign(h)) >= 0 else -1.0
        found += [(r, i + 1, sign * float(v)) for i, v in enumerate(h) if not sign * v > SHORT]
    zero = [f for f in found if abs(f[2]) <= SHORT]
    for what, group in (
        ("takes a step of zero length", zero),
        ("takes a step backwards", [f for f in found if f not in zero]),
    ):
        if group:
            r, i, h = group[-1]
            ratio = np.exp(-_stands(case, r))
            yield Finding(
                what,
                f"at {numbers(f[0].steps for f in group)} steps; {step_of(r, i)}: "
                f"{'zero length' if abs(h) <= SHORT else f'{h:.2g} in lam'}",
                f"sigma / alpha is {short(ratio[max(0, i - 2) : i + 1])} at the last nodes",
                "let the grid decrease strictly: drop the level that stands there twice",
            )


def _stands(case: Case, r: Recovered) -> np.ndarray:
    """lam of each node: as believed, or as told (the output's is not) where noise misleads."""
    return r.handed.lam if _noise_misleads(case) else r.believed.lam


def _noise_misleads(case: Case) -> bool:
    """Whether noise that does not fit the levels makes the believed ones no grid."""
    return case.stochastic and (case.misled or not case.refined)


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
    table = all(float(t).is_integer() for q, _, _ in worst for t in q.probe.times)
    one_sided = bool(np.all(all_off > -ENTRY) or np.all(all_off < ENTRY))
    size, severity = float(np.nanmax(np.abs(all_off))), "defect"
    if case.vanishing and case.stochastic:
        what, severity = "is not exact on point masses, but to the order of its steps", "note"
    elif case.vanishing:
        what = "stands beside the levels that it tells its network, the less so the more steps"
        coarse = float(np.sqrt(np.mean(case.refined[0].off ** 2)))
        severity = "defect" if coarse > BESIDE else "note"
    elif table and size <= ROUNDED:
        what, severity = "rounds the network's timesteps to integers", "note"
    elif table and one_sided and size <= TRUNCATED:
        what = "truncates the network's timesteps to integers"
    elif case.stochastic:
        what = "has noise of another size than the levels that it tells its network"
    else:
        what = "tells its network another level than its own"
    evidence = (
        f"the network is told {r.probe.times[i]:.6g} where the step stands at "
        f"{r.probe.times[i] + off:.6g} (lam {r.handed.lam[i]:.4g}, truly {r.believed.lam[i]:.4g})"
    )
    floor = _floor(case)
    if case.vanishing:
        sizes = ", ".join(f"{np.sqrt(np.mean(q.off**2)):.2g} at {q.steps}" for q in case.refined)
        evidence += f"; off by {sizes} steps, rms in lam"
    elif floor is not None:
        severity = severity if floor[1] > NEGLIGIBLE else "note"
        evidence += f"; at {floor[0]} steps this alone costs {floor[1]:.1e} rms on the bimodal law"
    yield Finding(
        what,
        f"at {numbers(w[0].steps for w in worst)} steps; worst in evaluation {i + 1} of "
        f"{r.probe.nfe} at {r.steps} steps",
        evidence,
        _mend_times(what, table),
        severity=severity,
    )


def _mend_times(what: str, table: bool) -> str:
    if "beside" in what:
        return "compute the levels of a step from the timesteps that the network is told"
    if "point masses" in what or "noise" in what:
        return "take the variance that keeps point masses exact, sigma_t^2 (1 - e^{-2 eta h})"
    if table:
        return "hand the network the fractional time of each level, or take levels of the table"
    return "compute the timesteps and the levels from one grid"


def _floor(case: Case) -> tuple[int, float] | None:
    """What the mismatch costs: the flow error with the levels told, less that without."""
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
    if not runs or case.judged.kind == "plan" or _inverse(runs[-1]) or _noise_misleads(case):
        return
    path = runs[-1].told.path
    smallest = 0.0 if path.t_min == 0 else math.exp(-path.lam(path.t_min))
    floor = max(smallest, 1e-3 if path.t_min == 0 else 0.0)
    ends = {r.steps: float(r.believed.sigma[-1] / r.believed.alpha[-1]) for r in runs}
    noisy = {n: s for n, s in ends.items() if s > 1.05 * floor}
    below = {n: s for n, s in ends.items() if 1e-3 * smallest < s < 0.95 * smallest}
    if noisy:
        n = max(noisy, key=lambda k: noisy[k] if k >= 8 else 0.0)
        yield Finding(
            "stops before the data: returns noisy samples",
            f"at {numbers(noisy)} steps; the last step",
            f"a run of {n} steps ends at sigma / alpha = {noisy[n]:.4g}, not at 0 or at"
            f" the network's smallest level, {smallest:.4g}",
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
            f"init_noise_sigma is {r.probe.init_noise_sigma:.5g}; unit data at the first level "
            f"have standard deviation {math.hypot(r.handed.alpha[0], r.handed.sigma[0]):.5g}",
            "init_noise_sigma = sqrt(alpha^2 + sigma^2) of the first level",
        )


def _inverse(r: Recovered) -> bool:
    lam = r.believed.lam
    return bool(lam[-1] < lam[0])
