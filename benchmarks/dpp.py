"""Finite projection DPPs against DPPy, and what a draw costs as the pool grows.

DPPy 0.3.3 (`pip install --no-deps --target FOLDER dppy==0.3.3`, FOLDER on PYTHONPATH; it runs on
numpy 2 as it is) draws with `FiniteDPP("correlation", projection=True, K_eig_dec=(ones, Q))` and
`sample_exact(mode="GS")`, eigenvectors given, so neither side's setup is timed. The chain rule with
rejection takes m H_m proposals whatever N is; the sequential way is DPPy's algorithm, O(N m^2).
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fewtheory.subsets.points.dpp import expected_proposals, projection_dpp
from fewtheory.subsets.points.spaces import FeatureSpace

from .timing import medians, show

N, SIZES = 10_000, (50, 100)


def peer() -> Any:
    """DPPy's FiniteDPP, or None where it is not installed."""
    try:
        return importlib.import_module("dppy.finite_dpps").FiniteDPP
    except ImportError:
        print("dppy is not installed: pip install --no-deps dppy==0.3.3")
        return None


def against_dppy(m: int) -> None:
    """One draw of m of 10^4 rows."""
    rng = np.random.default_rng(m)
    space, dppy = FeatureSpace(rng.standard_normal((N, m))), peer()
    contenders: dict[str, Callable[[], object]] = {
        "fewtheory, rejection": lambda: projection_dpp(space, rng=rng),
        "fewtheory, rejection, judged by NumPy": lambda: projection_dpp(
            space, compiled=False, rng=rng
        ),
        "fewtheory, sequential": lambda: projection_dpp(space, method="sequential", rng=rng),
    }
    if dppy is not None:
        Q = space.rows / np.sqrt(N)

        def gram_schmidt() -> None:
            law = dppy("correlation", projection=True, K_eig_dec=(np.ones(m), Q))
            law.sample_exact(mode="GS", random_state=int(rng.integers(2**31)))

        contenders["DPPy, GS"] = gram_schmidt
    times = medians(contenders, rounds=9, warm_up=2, settle=1)
    show(f"projection DPP, N = {N}, m = {m}", times, "fewtheory, rejection")


def size_of_the_pool(m: int = 100) -> None:
    """The same draw from pools of 10^3 to 10^6 rows, after one QR each."""
    print(f"\none draw of m = {m} rows, m H_m = {expected_proposals(m):.0f} proposals")
    for exponent in (3, 4, 5, 6):
        rng = np.random.default_rng(exponent)
        A = rng.standard_normal((10**exponent, m))
        start = time.perf_counter()
        space = FeatureSpace(A)
        projection_dpp(space, rng=rng)  # the tables are made on first use
        setup = time.perf_counter() - start
        times = []
        asked = []
        for _ in range(60):
            start = time.perf_counter()
            asked.append(projection_dpp(space, rng=rng).proposals)
            times.append(time.perf_counter() - start)
        print(
            f"  N = 10^{exponent}  setup {setup:8.3f} s   draw {1e3 * np.median(times):6.3f} ms"
            f"   proposals {np.mean(asked):5.0f}"
        )
        del A, space


def main() -> None:
    """Against DPPy, and against N."""
    for m in SIZES:
        against_dppy(m)
    size_of_the_pool()


if __name__ == "__main__":
    main()
