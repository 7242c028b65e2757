"""Other people's samplers against exact truth: a verdict in seconds, without a network.

| you have | take |
| --- | --- |
| a scheduler or sampler to judge | `conformance(factory, steps=...)`, or `fewtheory audit` |
| a defect to mend | `report.repaired(steps)`, a Plan for any pipeline |
| an interest in what is known of diffusers | `known.KNOWN`, each with ten lines that show it |

A sampler that is linear in the state and the network's outputs is a table of coefficients, and one
run on one-hot carriers reads it (`probe`). The rows tell the levels in which the sampler believes
(`levels`), the rule that it repeats (`rule`), its order (`order`), its exact law on Gaussian data
(`outcome`), and which known sampler it is (`peers`). Sheet `plan-algebra`.
"""

from __future__ import annotations

from .conformance import conformance
from .finding import Finding
from .report import Report

__all__ = ["Finding", "Report", "conformance"]
