"""The page of the trained students, from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ambient_grid_page import markdown

Row = Mapping[str, Any]
WORLDS = ("mixture", "product", "digits", "digits, UNet")
REFERENCES = ("exact draws", "teacher, third-order solver")
UNTRAINED = "not trained"
NEAR = 1.3  # a student's Frechet distance over its teacher's

ABOUT = {
    "mixture": "Eight Gaussians of unequal weights on a circle, rectified flow; the teacher is "
    "exact. KL is that of the student's law to the teacher's, both counted in cells of .1; *mode "
    "weights* is half the L1 distance of the weights of the modes; *smallest mode* is the weight "
    "of the mode of 1/36, as a multiple of that.",
    "product": "A rotated product of 16 mixtures of two, VP-linear; the teacher is exact. *W2 "
    "along axes* is the mean over the 16 axes of the distance to the exact mixture; *mode weights* "
    "the mean error of the weight of an axis' first mode.",
    "digits": "8 x 8 digits, EDM; the teacher is the zoo's residual MLP. The Frechet distance is "
    "that of 1000 samples to the 360 held-out digits in the classifier's features; *exact draws* "
    "are training digits, drawn with replacement. *of teacher* is the ratio to the teacher's own.",
    "digits, UNet": "The same digits on the cosine table; the teacher is diffusers' UNet2DModel "
    "with v prediction.",
}


def order(row: Row) -> tuple[Any, ...]:
    """World by world: references, what is not trained, then methods by name and steps."""
    method = row["method"]
    place = REFERENCES.index(method) if method in REFERENCES else 2 + (UNTRAINED not in method)
    return WORLDS.index(row["world"]), place, method, row["steps"], row["seed"]


def page(table: Mapping[str, Any]) -> str:
    """The whole page."""
    rows = table["rows"]
    students = [r for r in rows if r["seconds"]]
    spent = sum(r["seconds"] for r in students if r["world"] != "digits, UNet")
    spent += sum(r["seconds"] for r in table.get("chain", []) if r["gamma"] == 1)
    parts = [
        "# Students of one, two and four steps",
        f"{len(students)} students, trained by `fewtheory.train.fit` with the players of "
        "`fewtheory.distill` and measured against the truth. Within a world all start as copies of "
        "one network, with the same batches and number of steps of the loop (on digits students of "
        "four steps have a few more): each exit of a student of four steps has about a quarter of "
        "the moves of a student of one, so that more steps need not be better here. Rates and "
        "moves of the fake score are the same too, but for fake scores of digits above the end of "
        "a step (TDM and phased DMD with two and four steps), which are slower. How each method is "
        "set up is said in `docs/distilled_runs.py` alone; the levels on digits, those slower fake "
        "scores and the lengths of the loops were chosen after a look at the same distances. `make "
        "distilled` trains what the JSON beside this page does not hold (training takes "
        f"{spent / 3600:.1f} hours of one core for all but the UNet's); `python docs/distilled.py "
        "--from-json` makes the page. Errors are standard errors over eight blocks of samples of "
        "one student; another seed of the training moves the numbers more.",
        "![students by steps](../paper_figs/distilled.png)",
        "## What it shows",
        findings(rows),
    ]
    for world in WORLDS:
        mine = [r for r in rows if r["world"] == world]
        if mine:
            parts += [f"## {world[0].upper()}{world[1:]}", ABOUT[world], of_world(mine)]
    if "chain" in table:
        parts += ["## A Gaussian chain and scaled noise", CHAIN, chain(table["chain"])]
    return "\n\n".join(parts) + "\n"


def of_world(rows: Sequence[Row]) -> str:
    """A table of a world: means over seeds, cost in millions of rows and in seconds."""
    names = list(rows[0]["found"])
    teacher = _teacher(rows)
    ratio = ["of teacher"] if "Frechet" in names else []
    header = ["method", "steps", *names, *ratio, "students' rows", "teacher's rows", "CPU s"]
    lines = []
    for (method, steps), same in _grouped(rows).items():
        cells = [method, str(steps or "")]
        for name in names:
            value, error = _mean(same, name)
            cells.append(f"{value:.3g} ({error:.1g})")
        if ratio:
            cells.append(f"{_mean(same, 'Frechet')[0] / teacher:.2f}")
        cost = same[0]["million rows"]
        cells += [f"{cost[who]:.3g} M" if cost else "" for who in ("students", "teacher")]
        seconds = float(np.mean([r["seconds"] for r in same]))
        lines.append([*cells, f"{seconds:.0f}" if seconds else ""])
    return markdown(header, lines)


def findings(rows: Sequence[Row]) -> str:
    """What the numbers say, each in a sentence with its numbers."""
    found = []
    for world in ("digits", "digits, UNet"):
        mine = [r for r in rows if r["world"] == world]
        four = {m: v for (m, k), v in _grouped(mine).items() if k == 4 and v[0]["seconds"]}
        if not four:
            continue
        teacher = _teacher(mine)
        ratios = {m: _mean(v, "Frechet")[0] / teacher for m, v in four.items()}
        near = [f"{m} {v:.2f}" for m, v in ratios.items() if v <= NEAR]
        far = [f"{m} {v:.2f}" for m, v in ratios.items() if v > NEAR]
        text = f"{world}, four steps: the teacher's Frechet distance at 50 evaluations is "
        text += f"{teacher:.3g}. Within {NEAR} of it: {', '.join(near) or 'none'}."
        found.append(text + (f" Not within it: {', '.join(far)}." if far else ""))
    for one, two, what in PAIRS:
        cells = []
        for world in WORLDS:
            by = _grouped([r for r in rows if r["world"] == world])
            for k in (1, 2, 4):
                if (one, k) in by and (two, k) in by:
                    name = list(by[one, k][0]["found"])[-1]
                    a, b = (_mean(by[m, k], name)[0] for m in (one, two))
                    cells.append(f"{world}, {k} steps, {name}: {a:.3g} against {b:.3g}")
        if cells:
            found.append(f"{what}: {'; '.join(cells)}.")
    parts = _grouped([r for r in rows if r["world"] == "mixture" and "part" in r["method"]])
    ones = {m: v for (m, k), v in parts.items() if k == 1}
    if ones:
        told = ", ".join(f"{m[5:]} {_mean(v, 'mode weights')[0]:.3g}" for m, v in ones.items())
        kl = ", ".join(f"{_mean(v, 'KL')[0]:.3g}" for v in ones.values())
        found.append(
            "A student for each part, one step, mixture: the error of the modes' weights is "
            f"{told}; KL {kl}. Between parts the router has no error; within one a student "
            "draws a continuous map over all its modes, and what lies between them is KL."
        )
    tilted = {r["method"]: r["tilt"] for r in rows if "tilt" in r and r["steps"] == 4}
    if len(tilted) == 2:
        found.append(joint(*(tilted[m] for m in ("flash-dmd", "flash-dmd, then jointly"))))
    return "\n".join(f"- {text}" for text in found)


def joint(before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]) -> str:
    """What preference training did, beside the laws that its reward could ask for."""
    one, two = ({name: f"{v[0]:.3g}" for name, v in tilt.items()} for tilt in (before, after))
    return (
        "Flash-DMD with preferences for x_1 (best and worst of four, beta 2, one such update for "
        "one of distillation, a fake score that is told the exit), four steps, mixture: the mean "
        "of x_1 goes from "
        f"{one['reward']} to {two['reward']}. Of the laws p exp(x_1 / tau) / Z, the optima of that "
        f"reward with a KL penalty, the nearest one has 1 / tau = {two['its strength']} (from "
        f"{one['its strength']}) and a mean of {two['reward of that tilt']}; the student's KL to "
        f"it is {two['KL to the nearest tilt']} (from {one['KL to the nearest tilt']}). Labels by "
        "the best and the worst are no Bradley-Terry labels, so no tilt need be its end "
        "(`joint_optimum`)."
    )


PAIRS = (
    ("dmd", "dmd, told the exit", "A fake score for all exits against one that is told which"),
    ("sid, a = 1", "sid, a = 1, told the exit", "The same with SiD"),
    ("tdm", "tdm, to the noisy end", "TDM with disjoint intervals against all levels above a step"),
    ("tdm", "tdm, renoised law", "TDM's trajectory law against the paper's re-noised one"),
    (
        "phased-dmd",
        "phased-dmd, biased target",
        "The unbiased target within a phase against `eps - x_s`",
    ),
)
CHAIN = (
    "SiD on a chain of 8 beads whose student is linear, so that the covariance of its samples is "
    "known at every scale gamma of the noise: with exact steps it would be gamma^2 C. *distance* "
    "is |cov - gamma^2 C| / |gamma^2 C| in the Frobenius norm, *size* the root of the ratio of "
    "traces to C. The loop is longer for more steps, so that all exits have as many moves. Scaling "
    "the noise scales every student's covariance by gamma^2 exactly; what training left stays as "
    "it is."
)


def chain(rows: Sequence[Row]) -> str:
    """The chain's students."""
    header = ["steps", "a", "fake score", "gamma", "distance", "size", "CPU s"]
    lines = []
    for r in rows:
        fake = "told the exit" if r["told"] else "for all exits" if r["steps"] > 1 else ""
        values = [r["gamma"], r["distance"], r["size"], r["seconds"]]
        lines.append([str(r["steps"]), f"{r['a']:g}", fake, *(f"{v:.3g}" for v in values)])
    return markdown(header, lines)


def _grouped(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    by: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        by.setdefault((row["method"], row["steps"]), []).append(row)
    return by


def _mean(rows: Sequence[Row], name: str) -> tuple[float, float]:
    """The mean over seeds; its error is that over seeds where there are several."""
    values = [r["found"][name][0] for r in rows]
    if len(values) > 1:
        return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return values[0], rows[0]["found"][name][1]


def _teacher(rows: Sequence[Row]) -> float:
    """The teacher's Frechet distance, nan where there is none."""
    for row in rows:
        if row["method"] == REFERENCES[1] and "Frechet" in row["found"]:
            return row["found"]["Frechet"][0]
    return float("nan")
