"""All benchmarks: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

from . import flow, gpu, mixture, pipeline, startup, step

for benchmark in (startup, step, pipeline, mixture, flow, gpu):
    benchmark.main()
