"""What resampling bought and can still buy, from a file of results: a report and a figure.

Source: Inference Scaling fLaws (arXiv 2411.17501); sheet `inference-flaws`, "Figure".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import fail, number, one_of
from ...files import write_whole, writing
from .counts import Counts
from .fits import LAWS
from .intervals import Interval, Uncertainty
from .resampling import Curve, Plan, accuracy, ceiling, plans, pooled_soundness, precision
from .results import read_results

COSTS = (0.5, 1.0, 2.0, 4.0, 8.0)
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # numbers of attempts in the text


@dataclass(frozen=True, eq=False)
class FlawsReport:
    """What the counts say.

    tasks, attempts: how many; curve: accuracy against K; ceilings: A_inf with tasks that were never
    accepted "dropped", "wrong", "right"; precision, soundness: pooled, None where there is nothing
    to pool; plans: by the cost of a wrong answer, or the reason why there is none; verified:
    whether a verifier's accepts were recorded; `print` shows it all.
    """

    tasks: int
    attempts: int
    verified: bool
    curve: Curve
    ceilings: dict[str, Interval]
    precision: Interval | None
    soundness: Interval | None
    plans: dict[float, Plan | str]

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def to_json(self) -> str:
        """The report as JSON; an infinite K is the text "inf"."""
        return json.dumps(_record(self), indent=1) + "\n"


def flaws_report(
    counts: Counts, *, verified: bool = True, fp_costs: Sequence[float | int] = COSTS,
    sample_cost: float | int = 0.0, soundness: Any = None, law: str | None = None,
    level: float | int = 0.95,
) -> FlawsReport:  # fmt: skip
    """The curve, the ceilings and K* at several costs of a wrong answer, from counts.

    verified: False where only right attempts were counted: then the soundness must be given for
    plans to be made. Raises ValueError by name.

    >>> counts = Counts(10, [0, 3, 10, 6, 1, 9, 2], [2, 2, 0, 0, 3, 1, 0])
    >>> print(flaws_report(counts, fp_costs=[1.0]))  # doctest: +ELLIPSIS
    7 tasks, 10 attempts or more on each ...
    """
    costs = [number("flaws_report", "fp_costs", cost, 0.0) for cost in fp_costs]
    if law is not None:
        one_of("flaws_report", "law", law, LAWS)
    by, least = Uncertainty(level), int(counts.n.min())
    wrong = counts.n - counts.right
    made: dict[float, Plan | str]
    if not verified and soundness is None:
        made = dict.fromkeys(costs, "no accepts of a verifier were recorded: give its soundness")
    else:
        try:
            found = plans(counts, costs, sample_cost=sample_cost, law=law, soundness=soundness,
                          level=level)  # fmt: skip
            made = dict(zip(costs, found, strict=True))
        except ValueError as error:
            made = dict.fromkeys(costs, str(error))
    some = bool(counts.accepted.any())
    never = ("wrong", "dropped", "right") if some else ("wrong", "right")
    return FlawsReport(
        counts.tasks, int(counts.n.sum()), verified, accuracy(counts, _limits(least), by=by),
        {name: ceiling(counts, never=name, by=by) for name in never},
        precision(counts, by=by) if verified and some else None,
        pooled_soundness(counts, by=by) if verified and wrong.any() else None, made,
    )  # fmt: skip


def flaws(
    file: str | os.PathLike[str], *, fp_costs: Sequence[float | int] = COSTS,
    sample_cost: float | int = 0.0, soundness: Any = None, law: str | None = None,
    level: float | int = 0.95, json_file: Any = None, figure: Any = None,
) -> FlawsReport:  # fmt: skip
    """Read a file of results and report on it; write the report as JSON and draw it if asked.

    Raises ValueError by name, before the file is read where an output could not be written.
    """
    for name, target in (("json", json_file), ("figure", figure)):
        if target and not Path(target).absolute().parent.is_dir():
            raise fail("flaws", f"--{name}", "in a folder that exists", str(target))
    if figure and Path(figure).suffix not in (".png", ".pdf", ".svg"):
        raise fail("flaws", "--figure", "a .png, .pdf or .svg", str(figure))
    counts, verified = read_results(file)
    report = flaws_report(
        counts, verified=verified, fp_costs=fp_costs, sample_cost=sample_cost,
        soundness=soundness, law=law, level=level,
    )  # fmt: skip
    if json_file:
        write_whole(json_file, report.to_json())
    if figure:
        draw(report, figure)
    return report


def _limits(most: int) -> np.ndarray:
    """K from 0 to 10, then about 12 a decade, to the last."""
    few = np.arange(min(most, 10) + 1)
    many = np.round(10 ** np.arange(1, math.log10(max(most, 10)) + 1e-9, 1 / 12)).astype(int)
    told = np.array(SHOWN)
    return np.unique(np.concatenate([few, many[many <= most], told[told <= most], [most]]))


def _lines(report: FlawsReport) -> list[str]:
    """The report as text."""
    curve, level = report.curve, report.curve.accuracy[0].level
    out = [
        f"{report.tasks} tasks, {curve.K[-1]} attempts or more on each ({report.attempts} in all); "
        f"{100 * level:g}% intervals over tasks",
        "",
        "    K  right                      wrong                      no answer  attempts",
    ]
    shown = [k for k in SHOWN if k in curve.K]
    for k in dict.fromkeys([*shown, curve.K[-1]]):
        i = curve.K.index(k)
        out.append(
            f"{k:5d}  {curve.accuracy[i]}    {curve.wrong[i]}    "
            f"{curve.abstain[i].value:.4f}  {curve.attempts[i]:8.2f}"
        )
    out += ["", "ceiling of accuracy, tasks never accepted counted as wrong, dropped, as right:"]
    out += [f"  {name:8s} {value}" for name, value in report.ceilings.items()]
    if report.precision:
        out.append(f"an accept of a single attempt is right (pooled): {report.precision}")
    if report.soundness:
        out.append(f"soundness P(reject | wrong), pooled:            {report.soundness}")
    out += ["", "at most how many attempts, by the cost of a wrong answer (right: +1):"]
    for cost, found in report.plans.items():
        out.append(f"  {cost:5g}: {found if isinstance(found, str) else _of_plan(found)}")
    return out


def _of_plan(found: Plan) -> str:
    seen = f"at least {found.seen}" if found.at_edge else str(found.seen)
    values = ", ".join(f"{k} = {v:.3g}" for k, v in found.fit.parameters.items())
    return (
        f"K* = {found.K} [{found.K_low}, {found.K_high}], utility {found.utility:.4f} "
        f"({found.fit.law}: {values}; ceiling {found.ceiling}); in the counts {seen}"
    )


def _record(report: FlawsReport) -> dict[str, Any]:
    """The report as plain values."""
    curve = report.curve
    names = ("accuracy", "wrong", "abstain")
    return {
        "tasks": report.tasks,
        "attempts": report.attempts,
        "verified": report.verified,
        "curve": [
            {"K": k, **{n: _plain(getattr(curve, n)[i]) for n in names},
             "attempts": curve.attempts[i]}
            for i, k in enumerate(curve.K)
        ],
        "ceiling": {name: _plain(v) for name, v in report.ceilings.items()},
        "precision": _plain(report.precision),
        "soundness": _plain(report.soundness),
        "plans": [{"fp_cost": c, **_plan_record(p)} for c, p in report.plans.items()],
    }  # fmt: skip


def _plan_record(found: Plan | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"K": None, "why": found}
    counts = {n: _plain(getattr(found, n)) for n in ("K", "K_low", "K_high", "seen", "at_edge")}
    return {
        **counts,
        "utility": found.utility,
        "ceiling": _plain(found.ceiling),
        "law": found.fit.law,
        "parameters": found.fit.parameters,
        "others": found.others,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {"value": value.value, "low": value.low, "high": value.high}
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def draw(report: FlawsReport, file: str | os.PathLike[str]) -> None:
    """The curve with its ceiling, and the utility against K, as .png, .pdf or .svg."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        from ...errors import MissingExtra

        raise MissingExtra("verify", "a figure") from error
    curve = report.curve
    K = np.array(curve.K[1:])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, ink in (("accuracy", "#1f77b4"), ("wrong", "#d62728")):
        rows = getattr(curve, name)[1:]
        label = "right" if name == "accuracy" else name
        left.plot(K, [v.value for v in rows], color=ink, label=label)
        low, high = [v.low for v in rows], [v.high for v in rows]
        left.fill_between(K, low, high, color=ink, alpha=0.15, lw=0)
    bounds = [report.ceilings[n].value for n in ("wrong", "right")]
    left.axhspan(bounds[0], bounds[1], color="0.5", alpha=0.2, lw=0, label="ceiling, its bounds")
    left.set(xscale="log", xlabel="at most K attempts", ylabel="share of tasks", ylim=(0, 1))
    left.legend(frameon=False, fontsize=8)
    a = np.array([v.value for v in curve.accuracy[1:]])
    f = np.array([v.value for v in curve.wrong[1:]])
    for i, (cost, found) in enumerate(report.plans.items()):
        price = 0.0 if isinstance(found, str) else found.sample_cost
        U = a - cost * f - price * np.array(curve.attempts[1:])
        (line,) = right.plot(K, U, color=f"C{i}", label=f"{cost:g}")
        if not isinstance(found, str) and 1 <= found.K <= K[-1]:
            height = np.interp(np.log(found.K), np.log(K), U)
            right.plot(found.K, height, "o", color=line.get_color())
    right.axhline(0, color="0.6", lw=0.8)
    right.set(xscale="log", xlabel="at most K attempts", ylabel="utility")
    right.set_title("dots: K* of the fitted law", fontsize=9)
    title = "cost of a wrong answer"
    right.legend(title=title, frameon=False, fontsize=8, title_fontsize=8, loc="lower left")
    with writing(file) as stream:
        figure.savefig(stream, format=Path(file).suffix[1:], dpi=160)
