"""All benchmarks: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

from . import startup, step

for benchmark in (startup, step):
    benchmark.main()
