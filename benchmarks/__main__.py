"""All benchmarks: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

from . import (
    distill,
    dpp,
    flow,
    frames,
    gpu,
    leverage,
    mixture,
    pipeline,
    sensitivities,
    startup,
    step,
)

for benchmark in (
    startup,
    step,
    pipeline,
    mixture,
    flow,
    leverage,
    sensitivities,
    distill,
    dpp,
    frames,
    gpu,
):
    benchmark.main()
