"""The command line: fewtheory verify | list | audit | bias | flaws | info."""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns 0 if all is well, 1 if a claim does not hold, 2 for misuse."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.command(arguments)
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"fewtheory: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="fewtheory", description=(__doc__ or "").split("\n")[0])
    top.add_argument("--version", action="version", version=f"fewtheory {__version__}")
    commands = top.add_subparsers(required=True, metavar="command")

    verify = commands.add_parser("verify", help="decide the claims of suites")
    verify.set_defaults(command=_verify)
    verify.add_argument("suites", nargs="*", help="names of suites (default: all)")
    verify.add_argument("--only", nargs="+", default=[], metavar="CLAIM", help="C3, C5a, ...")
    verify.add_argument("--deep", action="store_true", help="run expensive claims too")
    verify.add_argument("--seed", type=int, metavar="N", help="fresh seeds for random claims")
    verify.add_argument(
        "--jobs", type=int, default=-1, metavar="N", help="processes (default: all cores)"
    )
    verify.add_argument("--subject", metavar="PACKAGE:OBJECT", help="judge this object ...")
    verify.add_argument("--of", metavar="NAME", help="... in place of the package's object NAME")
    verify.add_argument(
        "--allow-missing", action="store_true", help="`unavailable` is not a failure"
    )
    verify.add_argument(
        "--resume", metavar="FILE", help="keep what holds in this JSON of an earlier run"
    )
    verify.add_argument(
        "--record", metavar="FILE", help="write the deep claims' verdicts with today's date"
    )
    for kind in ("json", "junit", "html"):
        verify.add_argument(f"--{kind}", metavar="FILE", help=f"write the results as {kind}")

    listing = commands.add_parser("list", help="the claims of all suites")
    listing.set_defaults(command=_list)
    listing.add_argument("suites", nargs="*", help="names of suites (default: all)")
    listing.add_argument("--json", action="store_true", help="as a JSON list, one object a claim")

    audit = commands.add_parser("audit", help="judge somebody else's sampler against exact truth")
    audit.set_defaults(command=_audit)
    audit.add_argument("target", metavar="PACKAGE:OBJECT", help="e.g. diffusers:DDIMScheduler")
    audit.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="its settings"
    )
    audit.add_argument(
        "--steps", default="8,16,32,64", metavar="N,N,..", help="whose exact results are shown"
    )
    audit.add_argument(
        "--every", type=int, default=60, metavar="N", help="runs in 1 to N steps are checked (60)"
    )
    audit.add_argument("--named", type=int, metavar="P", help="the order that it promises")
    audit.add_argument(
        "--path", metavar="NAME", help="of a function's network, e.g. rectified-flow"
    )
    audit.add_argument("--prediction", metavar="NAME", help="of a function's network, e.g. noise")
    audit.add_argument("--arrays", default="numpy", help="of a function: numpy (default) or torch")
    audit.add_argument("--json", metavar="FILE", help="write the report as JSON")
    audit.add_argument("--plan", metavar="FILE", help="write the mended plan of the first --steps")

    bias = commands.add_parser("bias", help="are yes/no decisions fair, memoryless coins?")
    bias.set_defaults(command=_bias)
    bias.add_argument("file", metavar="DECISIONS", help="CSV, or JSON lines: one answer a row")
    for name, default in (("yes", ["yes", "1"]), ("no", ["no", "0"]), ("refusal", ["refusal"])):
        bias.add_argument(
            f"--{name}", nargs="+", default=default, metavar="WORD", help=f"default: {default}"
        )
    bias.add_argument("--cells", nargs="*", metavar="COLUMN", help="model, prompt, temperature, ..")
    bias.add_argument(
        "--alternatives", default="recency", help="recency (default), streaks or two-sided"
    )
    bias.add_argument("--alpha", type=float, default=0.05, metavar="P", help="level (0.05)")
    bias.add_argument("--margin", type=float, default=0.05, metavar="D", help="fair enough (0.05)")
    bias.add_argument("--figure", metavar="FILE", help="draw the cells: .png, .pdf or .svg")
    bias.add_argument("--json", metavar="FILE", help="write the report as JSON")

    flaws = commands.add_parser("flaws", help="what does resampling buy, and when to stop?")
    flaws.set_defaults(command=_flaws)
    flaws.add_argument("file", metavar="RESULTS", help="CSV, JSON lines or Parquet: n, tp, fp ..")
    flaws.add_argument(
        "--fp-cost", nargs="+", type=float, default=[0.5, 1.0, 2.0, 4.0, 8.0], metavar="C",
        help="what a wrong answer costs, in right ones (0.5 1 2 4 8)",
    )  # fmt: skip
    flaws.add_argument("--sample-cost", type=float, default=0.0, metavar="C", help="of an attempt")
    flaws.add_argument("--soundness", type=float, metavar="S", help="of the verifier, if known")
    flaws.add_argument("--law", help="of tasks: beta, beta-beta or dirichlet (default: least AIC)")
    flaws.add_argument("--level", type=float, default=0.95, metavar="P", help="of intervals (0.95)")
    flaws.add_argument("--figure", metavar="FILE", help="draw the curves: .png, .pdf or .svg")
    flaws.add_argument("--json", metavar="FILE", help="write the report as JSON")

    info = commands.add_parser("info", help="versions, extras and suites")
    info.set_defaults(command=_info)
    return top


def _verify(a: argparse.Namespace) -> int:
    from .audit.subject import imported
    from .verify.engine import Result, asked_claims, run
    from .verify.report import (
        Terminal,
        read_json,
        write_html,
        write_json,
        write_junit,
        write_record,
    )
    from .verify.report.terminal import print_table

    for option in ("json", "junit", "html", "record"):
        file = getattr(a, option)
        if file and not Path(file).absolute().parent.is_dir():
            raise ValueError(f"verify: --{option} must lie in a folder that exists, got {file!r}")
    total = len(asked_claims(a.suites, a.only))
    earlier = read_json(a.resume) if a.resume else []
    subject = imported(a.subject, "verify: --subject") if a.subject else None
    finished: list[Result] = []
    interrupted = False
    with Terminal(total) as terminal:

        def on_result(result: Result) -> None:
            finished.append(result)
            terminal.done(result)

        try:
            results = run(
                *a.suites,
                subject=subject,
                of=a.of,
                only=a.only,
                deep=a.deep,
                seed=a.seed,
                jobs=a.jobs,
                earlier=earlier,
                on_result=on_result,
            )
        except KeyboardInterrupt:
            results, interrupted = finished, True
    print_table(results)
    for write, file in (
        (write_json, a.json),
        (write_junit, a.junit),
        (write_html, a.html),
        (write_record, a.record),
    ):
        if file:
            write(results, file)
            print(f"wrote {file}")
    if interrupted:
        print(
            "interrupted; what was decided is kept (--resume takes the JSON file)", file=sys.stderr
        )
        return 130
    return 0 if all(_passes(r.verdict, a.allow_missing) for r in results) else 1


def _passes(verdict: str, allow_missing: bool) -> bool:
    return verdict in ("holds", "deep", "not asked") or (verdict == "unavailable" and allow_missing)


def _audit(a: argparse.Namespace) -> int:
    from . import paths
    from .audit import conformance
    from .audit.subject import imported
    from .files import write_whole

    for option in ("json", "plan"):
        file = getattr(a, option)
        if file and not Path(file).absolute().parent.is_dir():
            raise ValueError(f"audit: --{option} must lie in a folder that exists, got {file!r}")
    named: dict[str, Any] = {k: v for k, v in paths.NAMED.items() if k != "table"}
    if a.path is not None and a.path not in named:
        raise ValueError(f"audit: --path must be one of {', '.join(named)}, got {a.path!r}")
    report = conformance(
        imported(a.target),
        _whole_numbers(a.steps),
        dict(map(_setting, a.set)),
        named=a.named,
        every=a.every,
        path=None if a.path is None else named[a.path](),
        prediction=a.prediction,
        arrays=a.arrays,
    )
    print(report)
    if a.json:
        write_whole(a.json, report.to_json())
        print(f"wrote {a.json}")
    if a.plan:
        steps = _whole_numbers(a.steps)[0]
        if steps not in report.plans:
            raise ValueError(
                f"audit: --plan: no plan of {steps} steps can be read off this sampler"
            )
        report.repaired(steps).save(a.plan)
        print(f"wrote {a.plan}")
    return 0 if report.ok else 1


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in text.split(","))
    except ValueError:
        raise ValueError(f"audit: --steps must look like 8,16,32, got {text!r}") from None


def _setting(text: str) -> tuple[str, Any]:
    """KEY=VALUE; a value that is no Python literal is text."""
    key, given, value = text.partition("=")
    if not key.isidentifier() or not given:
        raise ValueError(f"audit: --set must look like KEY=VALUE, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        named = {"true": True, "false": False, "none": None}
        return key, named.get(value.lower(), value)


def _bias(a: argparse.Namespace) -> int:
    from .inference.coins.bias_report import bias

    chosen = ("yes", "no", "refusal", "cells", "alternatives", "alpha", "margin", "figure")
    settings = {name: getattr(a, name) for name in chosen}
    print(bias(a.file, json_file=a.json, progress=sys.stderr.isatty(), **settings))
    for file in (a.json, a.figure):
        if file:
            print(f"wrote {file}")
    return 0


def _flaws(a: argparse.Namespace) -> int:
    from .inference.verifiers.flaws_report import flaws

    chosen = ("sample_cost", "soundness", "law", "level", "figure")
    settings = {name: getattr(a, name) for name in chosen}
    print(flaws(a.file, fp_costs=a.fp_cost, json_file=a.json, **settings))
    for file in (a.json, a.figure):
        if file:
            print(f"wrote {file}")
    return 0


def _list(a: argparse.Namespace) -> int:
    from .verify.claims import suites
    from .verify.report import listing

    records = listing(a.suites or suites())
    if a.json:
        print(json.dumps(records, indent=1))
        return 0
    for r in records:
        deep = " (deep)" if r["deep"] else ""
        print(f"{r['suite']} {r['claim']} [{r['kind']}{deep}] {r['statement']}")
        for why in r["saboteurs"]:
            print(f"    saboteur: {why}")
    return 0


def _info(a: argparse.Namespace) -> int:
    from .verify.claims import suites

    print(f"fewtheory {__version__}, Python {platform.python_version()} on {platform.platform()}")
    groups: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("fewtheory") or []:
        requirement, _, marker = line.partition(";")
        extra = marker.split("==")[1].strip(" \"'") if "extra" in marker else "required"
        name = re.split(r"[<>=!~\[ (]", requirement)[0]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "missing"
        groups.setdefault(extra, []).append(f"{name} {version}")
    for extra, packages in groups.items():
        print(f"{extra}: {', '.join(packages)}")
    print(f"suites: {', '.join(suites())}")
    return 0
