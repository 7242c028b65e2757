"""Medians of interleaved timings: each round times every contender once, in shuffled order."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 300,
    inner: int = 1,
    warm_up: int = 5,
    settle: int = 0,
) -> dict[str, float]:
    """Microseconds a call of each contender; `inner` calls are timed together.

    settle: calls before each timing that are not counted, so that a contender is timed in its own
    state (caches, threads awake) and not in that of the one before.
    """
    order, found = list(contenders), {name: [] for name in contenders}
    shuffle = random.Random(0).shuffle
    for call in contenders.values():
        for _ in range(warm_up):
            call()
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            call = contenders[name]
            for _ in range(settle):
                call()
            start = time.perf_counter()
            for _ in range(inner):
                call()
            found[name].append((time.perf_counter() - start) / inner * 1e6)
    return {name: statistics.median(values) for name, values in found.items()}


def show(title: str, times: Mapping[str, float], reference: str) -> None:
    """A table of medians and ratios to one of them."""
    print(f"\n{title}")
    for name, value in times.items():
        print(f"  {name:44s} {value:12.2f} us   {value / times[reference]:8.2f} x")
