"""Published results of the paper's notebooks: 17 models on HumanEval+, ten on MBPP+.

A_1 is the mean pass rate under the large test suite, A_inf the macro average of the conditional
accuracy of what the small one accepts; the counts are tasks per tenth of the pass rate, read off
the published histograms (whose bins span each model's smallest to largest rate, so that the last
edges of the weakest models lie below 1).

Source: Inference Scaling fLaws (arXiv 2411.17501), notebooks of the official repository; sheet
`inference-flaws`, "Figure".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import fail, finite_array, number


@dataclass(frozen=True)
class PublishedModel:
    """A model's row. base, ceiling: A_1 and A_inf, None where not printed; counts: of its tasks."""

    name: str
    base: float | None
    ceiling: float | None
    counts: tuple[int, ...]


def _row(text: str) -> PublishedModel:
    name, *rest = (part.strip() for part in text.split("|"))
    base, ceiling = (float(v) for v in rest[:-1]) if len(rest) > 1 else (None, None)
    return PublishedModel(name, base, ceiling, tuple(int(v) for v in rest[-1].split()))


HUMANEVAL_PLUS = tuple(map(_row, (
    "GPT-4o | .8550 | .92883 | 9 5 2 2 2 3 1 5 6 115",
    "Llama 3.1 405B | .78093 | .89327 | 19 3 2 3 5 2 2 7 4 103",
    "Llama 3.1 70B | .7121 | .86953 | 20 9 5 3 2 7 5 3 10 86",
    "Phi-3 Medium | .60787 | .85888 | 29 4 6 10 4 8 9 14 15 51",
    "Phi-3 Mini | .57910 | .85586 | 27 12 6 8 8 4 12 14 14 45",
    "Llama 3.1 8B | .55017 | .82462 | 34 11 10 6 5 7 9 4 13 51",
    "Command-R | .36807 | .84240 | 72 7 9 2 5 9 2 5 1 38",
    "Code Llama 13B | .33877 | .77915 | 53 18 16 11 7 8 8 5 12 12",
    "Code Llama 7B | .2862 | .76454 | 69 17 10 6 9 8 4 10 6 11",
    "CodeT5+ 16B | .2298 | .76625 | 86 15 8 7 3 3 4 9 7 8",
    "Command | .22383 | .77353 | 91 10 7 5 3 3 4 13 8 6",
    "StarCoder | .21477 | .76175 | 85 14 8 9 4 9 7 4 4 6",
    "Mistral 7B | .19953 | .75872 | 88 16 7 8 4 8 4 6 3 6",
    "CodeGen 6B | .17887 | .78195 | 104 4 5 7 7 7 1 4 3 8",
    "CodeGen2 7B | .11247 | .78916 | 115 8 5 3 1 3 4 4 5 2",
    "Vicuna 7B | .0915 | .75229 | 122 6 6 2 1 1 5 1 3 3",
    "Command-Light | .06353 | .71477 | 129 8 1 3 2 1 2 0 0 4",
)))  # fmt: skip

MBPP_PLUS = tuple(map(_row, (
    "GPT-3.5 Turbo | 49 17 13 4 7 11 6 10 26 178",
    "GPT-4o | 49 12 5 4 10 8 9 5 13 206",
    "Llama 3.1 405B | 49 13 12 4 7 11 8 11 14 192",
    "Llama 3.1 70B | 46 11 16 8 10 10 10 11 21 178",
    "Llama 3.1 8B | 70 12 11 10 9 17 12 13 32 135",
    "Mistral Large | 85 15 14 9 7 11 11 7 11 151",
    "Mistral Small | 81 20 11 7 8 17 11 14 17 135",
    "Command | 160 19 15 14 8 13 14 13 23 42",
    "Command-Light | 256 15 12 6 5 6 5 6 4 6",
    "Command-R | 118 13 8 8 7 11 7 8 13 128",
)))  # fmt: skip


@dataclass(frozen=True)
class CeilingLine:
    """A_inf = intercept + slope A_1 by least squares; r2: the share of the variance explained."""

    slope: float
    intercept: float
    r2: float

    def reaches(self, accuracy: float | int) -> float:
        """The A_1 from which on A_inf is at least this."""
        return (number("CeilingLine.reaches", "accuracy", accuracy, 0.0, 1.0) - self.intercept) / (
            self.slope
        )


def ceiling_line(base: object, ceilings: object) -> CeilingLine:
    """The least-squares line of A_inf over A_1, one point a model (C9).

    >>> line = ceiling_line([m.base for m in HUMANEVAL_PLUS], [m.ceiling for m in HUMANEVAL_PLUS])
    >>> round(line.slope, 5), round(line.intercept, 5), round(line.r2, 5)
    (0.21829, 0.72471, 0.89182)
    """
    x, y = (finite_array("ceiling_line", n, v) for n, v in (("base", base), ("ceilings", ceilings)))
    if x.ndim != 1 or x.shape != y.shape or x.size < 3 or np.ptp(x) == 0:
        raise fail("ceiling_line", "base", "three or more that differ, one a ceiling", base)
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy) / float(dx @ dx)
    intercept = float(y.mean()) - slope * float(x.mean())
    return CeilingLine(slope, intercept, float(dx @ dy) ** 2 / float((dx @ dx) * (dy @ dy)))
