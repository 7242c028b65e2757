"""The page and the figure of a comparison, from its JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Table = Mapping[str, Any]
Best = dict[str, dict[int, dict[str, Any]]]  # sampler -> evaluations -> its row on its best grid
SHOWN = {  # of the figure: each beside the ones it is meant to beat
    "DDIM": ("0.45", "--"),
    "DDIM, time shift (marginal)": ("#17becf", "-"),
    "DDIM, searched steps": ("#1f77b4", "-"),
    "DualFast-DDIM, second order": ("#9467bd", "-"),
    "DPM-Solver++(2M)": ("0.1", "--"),
    "DPM-Solver++(2M), searched steps": ("#2ca02c", "-"),
    "DPM-Solver-v3 (1, 0, 0), 3 + corrector 3, lower-order end": ("#ff7f0e", ":"),
    "DPM-Solver-v3, own statistics": ("#ff7f0e", "-"),
    "UniPC-3 (lower-order end)": ("#d62728", "--"),
}


def worlds(table: Table) -> list[str]:
    """The worlds, in the order of the table."""
    return list(dict.fromkeys(row["world"] for row in table["rows"]))


def best(table: Table, world: str) -> Best:
    """For each sampler and budget the row of its best grid."""
    found: Best = {}
    for row in table["rows"]:
        if row["world"] != world or row["rms"] is None:
            continue
        kept = found.setdefault(row["sampler"], {}).get(row["nfe"])
        if kept is None or row["rms"] < kept["rms"]:
            found[row["sampler"]][row["nfe"]] = row
    return found


def number(row: Mapping[str, Any] | None) -> str:
    """An error and its standard error."""
    if row is None:
        return ""
    return f"{row['rms']:.2g} ± {row['se']:.1g}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    left = sum(not name.isdigit() for name in header)
    rule = "| " + " | ".join(["---"] * left + ["---:"] * (len(header) - left)) + " |"
    lines = ["| " + " | ".join(header) + " |", rule]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


BESIDE = ("DDIM", "DPM-Solver++(2M)", "UniPC-2 (bh2)")


def winners(table: Table) -> str:
    """For each world the usual samplers and the best of all by budget: the README's table."""
    budgets, rows = table["budgets"], []
    for world in worlds(table):
        found = best(table, world)
        for k, sampler in enumerate(BESIDE):
            cells = [number(found[sampler].get(n)) for n in budgets]
            rows.append([f"**{world}**" if k == 0 else "", sampler, *cells])
        cells = []
        for n in budgets:
            row = min((by[n] for by in found.values() if n in by), key=lambda r: r["rms"])
            cells.append(f"**{number(row)}** {row['sampler']}, {row['grid']}")
        rows.append(["", "the best", *cells])
    return markdown(["world", "sampler", *map(str, budgets)], rows)


def page(table: Table) -> str:
    """The whole comparison, a table a world; the least of each column is bold."""
    budgets = table["budgets"]
    parts = [
        "# Every sampler at 3 to 20 evaluations",
        "Root mean square distance a coordinate to the exact flow (testbeds) or to the network's "
        f"own ODE solved finely, from the same starts: mean over {table['seeds']} seeds ± its "
        "standard error. Each sampler on the best of its grids; the JSON beside this page holds "
        "all of them. *Searched steps*, *own statistics* and *time shift* are fitted to the world "
        "on other starts; what the fit costs is not counted. A sampler of several stages a step "
        "has a number only where the stages fit. `make comparison` computes what is missing.",
        "![errors by evaluations](../paper_figs/comparison.png)",
    ]
    for world in worlds(table):
        found = best(table, world)
        least = {n: min(by[n]["rms"] for by in found.values() if n in by) for n in budgets}
        ordered = sorted(found, key=lambda s: min(r["rms"] for r in found[s].values()))
        rows = []
        for sampler in ordered:
            cells = []
            for n in budgets:
                row = found[sampler].get(n)
                text = number(row)
                cells.append(f"**{text}**" if row and row["rms"] == least[n] else text)
            rows.append([sampler, *cells])
        parts += [f"## {world}", markdown(["sampler", *map(str, budgets)], rows)]
    return "\n\n".join(parts) + "\n"


def figure(table: Table, folder: Path) -> None:
    """Errors by evaluations, a panel a world: a few samplers in colour, all others in grey."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    style: Any = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False}
    style |= {"axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(style):
        names = worlds(table)
        rows = -(-(len(names) + 1) // 4)
        fig, axes = plt.subplots(rows, 4, figsize=(13, 3.2 * rows), layout="constrained")
        for axis, world in zip(axes.flat, names, strict=False):
            _panel(axis, best(table, world), table["budgets"], world)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        for axis in axes.flat[1:]:
            more = axis.get_legend_handles_labels()
            for handle, label in zip(*more, strict=True):
                if label not in labels:
                    handles, labels = [*handles, handle], [*labels, label]
        for axis in axes.flat[len(names) :]:
            axis.axis("off")
        axes.flat[-1].legend(handles, labels, loc="center", fontsize=8)
        fig.savefig(folder / "comparison.png", dpi=130)
        plt.close(fig)


def _panel(axis: Any, found: Best, budgets: Sequence[int], title: str) -> None:
    import numpy as np

    ceiling = 3 * max(row["rms"] for row in found["DDIM"].values())
    for sampler, by in found.items():
        n = sorted(by)
        y = np.array([by[k]["rms"] for k in n])
        if sampler in SHOWN:
            ink, line = SHOWN[sampler]
            se = [by[k]["se"] for k in n]
            axis.errorbar(n, y, se, color=ink, ls=line, marker=".", lw=1.5, label=sampler, zorder=3)
        else:
            axis.plot(n, np.where(y < ceiling, y, np.nan), color="0.85", lw=0.8, zorder=1)
    axis.set(xscale="log", yscale="log", title=title, ylim=(None, ceiling))
    axis.set_xticks(budgets, [str(b) for b in budgets])
    axis.minorticks_off()
    axis.set_xlabel("model evaluations")
    axis.set_ylabel("rms distance to the flow")
