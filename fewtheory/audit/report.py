"""The verdict on a sampler, to be read in a terminal or as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from ..plan import Plan
from .finding import Finding
from .order import MeasuredOrder
from .outcome import Outcome
from .peers import Best, Twin


@dataclass(frozen=True, eq=False)
class Report:
    """What an audit found.

    name, settings, library: what was judged; named: the order promised and where (None: none);
    order: that of the recurring rule (None: it cannot be told); rule: what a step does, in words;
    twins: the known samplers that it is; outcomes: the exact results for each number of steps
    asked for, with the best known plan of as many evaluations and the flow error of the mended plan
    (None: there is nothing to mend); findings: what falls short, defects
    first; plans: the mended plan for each number of steps asked for.
    """

    name: str
    settings: dict[str, Any]
    library: str
    network: str
    rule: str
    named: tuple[int | None, str]
    order: MeasuredOrder | None
    twins: tuple[Twin, ...]
    outcomes: tuple[Outcome, ...]
    best: tuple[Best | None, ...]
    mended: tuple[float | None, ...]
    evaluations: dict[int, int]
    findings: tuple[Finding, ...]
    plans: dict[int, Plan] = field(repr=False)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there is no defect (notes may be)."""
        return not self.defects

    @property
    def defects(self) -> tuple[Finding, ...]:
        """The findings that a maintainer would want to mend."""
        return tuple(f for f in self.findings if f.severity == "defect")

    def repaired(self, steps: int) -> Plan:
        """The mended plan for one of the numbers of steps asked for.

        Put it into a pipeline by `fewtheory.adapters.diffusers.scheduler(plan, pipe.scheduler)`.
        Raises KeyError for other numbers, and where no plan can be read off the sampler.
        """
        if steps not in self.plans:
            known = ", ".join(map(str, self.plans)) or "none"
            raise KeyError(f"repaired: no plan of {steps} steps; there is one for {known}")
        return self.plans[steps]

    @property
    def title(self) -> str:
        """The sampler as a call."""
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"

    def record(self) -> dict[str, Any]:
        """The report as plain data, for JSON: the mended plans are left out."""
        order = None if self.order is None else asdict(self.order)
        return {
            "subject": {"name": self.name, "settings": self.settings, "library": self.library},
            "ok": self.ok,
            "order": {
                "named": self.named[0],
                "named_by": self.named[1],
                "algebra": None if self.order is None else self.order.algebra,
                "measured": None if self.order is None else round(self.order.measured, 3),
                "details": order,
            },
            "network": self.network,
            "rule": self.rule,
            "equals": [asdict(t) for t in self.twins],
            "evaluations": {str(k): v for k, v in self.evaluations.items()},
            "outcomes": [
                {**asdict(o), "mended": m, "best": None if b is None else asdict(b)}
                for o, b, m in zip(self.outcomes, self.best, self.mended, strict=True)
            ],
            "findings": [asdict(f) for f in self.findings],
            "seconds": round(self.seconds, 2),
        }

    def to_json(self) -> str:
        """The record as JSON text, infinities as null."""
        return json.dumps(_finite(self.record()), indent=1, default=str, allow_nan=False) + "\n"

    def __str__(self) -> str:
        lines = [f"{self.title}  [{self.library}]"]
        lines += [f"  network   {self.network}", f"  rule      {self.rule}"]
        lines += [f"  order     {self._order()}"]
        lines += [f"  equals    {_twin(t)}" for t in self.twins]
        lines += self._table()
        for f in self.findings:
            lines += ["", f"  {f.severity.upper():7} {f.what}", f"    where     {f.where}"]
            lines += [f"    line      {part}" for part in f.line.splitlines()]
            lines += [f"    evidence  {f.evidence}"]
            lines += [f"    repair    {f.repair}"] if f.repair else []
        notes = len(self.findings) - len(self.defects)
        verdict = f"{_count(len(self.defects), 'defect')}, {_count(notes, 'note')}"
        return "\n".join([*lines, "", f"  {verdict} ({self.seconds:.1f} s)"])

    def _order(self) -> str:
        named, where = self.named
        promised = f"named {named} ({where})" if named is not None else where
        if self.order is None:
            return f"{promised}; it cannot be measured"
        kind = "weak order of the law" if self.order.kind == "weak" else "on the bimodal law"
        slope = f"measured {self.order.measured:.2f} {kind}"
        return f"{promised} | by its coefficients {self.order.algebra} | {slope}"

    def _table(self) -> list[str]:
        if not self.outcomes:
            return []
        head = ("steps", "calls", "W2", "std", "flow error", "mended", "best known flow error")
        rows = [
            (
                str(o.steps),
                str(o.nfe),
                f"{o.w2:.2e}",
                f"{o.std:.3f}",
                "-" if o.flow is None else f"{o.flow:.2e}",
                "-" if m is None else f"{m:.2e}",
                "-" if b is None else f"{b.flow:.2e} {b.call}, {b.grid}",
            )
            for o, b, m in zip(self.outcomes, self.best, self.mended, strict=True)
        ]
        widths = [max(len(r[k]) for r in [head, *rows]) for k in range(len(head) - 1)]
        return [
            "",
            *(
                "  " + "  ".join([*(v.rjust(w) for v, w in zip(r, widths, strict=False)), r[-1]])
                for r in [head, *rows]
            ),
        ]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _twin(t: Twin) -> str:
    if t.whole:
        return f"{t.call} (to {t.difference:.0e})"
    at = ", ".join(map(str, t.differs_at[:6]))
    return f"{t.call} but for node {at} (else to {t.difference:.0e})"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
