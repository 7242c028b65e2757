"""Rows in parts: as many threads as BLAS may use, each with a single-threaded BLAS of its own.

A tile that stays in cache alternates between a matrix product and an elementwise kernel; threads
inside each product would wait for each other between the two. Parts are disjoint rows, so that no
result depends on the number of threads.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_LOCK = threading.Lock()
WORTH_A_THREAD = 1 << 16  # elementary operations; below, starting a thread costs more than it saves


@functools.cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # one a process: threads do not survive a fork, as of a data loader's workers
    return ThreadPoolExecutor(threads, thread_name_prefix="fewtheory")


def _allowed() -> int:
    """The threads that BLAS may use now (the cores, where there is no BLAS that says)."""
    blas = [lib.num_threads for lib in _controller().select(user_api="blas").lib_controllers]
    return max(blas) if blas else os.cpu_count() or 1


def in_parts(n: int, operations: int, work: Callable[[int, int], None]) -> None:
    """work(start, stop) over disjoint parts of range(n) that together take `operations`."""
    threads = min(n, operations // WORTH_A_THREAD)
    if threads > 1:  # asking BLAS takes a tenth of a millisecond
        threads = min(threads, _allowed())
    # a caller that is parallel itself finds the lock taken: two limits at once would not be undone
    if threads <= 1 or not _LOCK.acquire(blocking=False):
        work(0, n)
        return
    try:
        edges = [n * i // threads for i in range(threads + 1)]
        with _controller().limit(limits=1, user_api="blas"):
            list(_pool(threads, os.getpid()).map(work, edges[:-1], edges[1:]))
    finally:
        _LOCK.release()
