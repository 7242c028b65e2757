"""All benchmarks: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

from . import flow, mixture, startup, step

for benchmark in (startup, step, mixture, flow):
    benchmark.main()
