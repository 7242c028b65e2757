"""Leverage scores and Lewis weights against what a user would write, and on a cluster.

Leverage: `numpy.linalg.qr` and SciPy's economic QR, 1e6 x 50, and the floor: two matrix products
with A. Lewis weights: the iteration of Cohen & Peng (eta = 1) and the best damping (eta = 4/(p+2)),
each with a QR a step, to a residual of 1e-8 at p = 1, 2e5 x 30. With `--cluster`: 1e7 x 20 in
chunks on dask workers, scores, weights and a coreset, against memory.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from fewtheory import subsets

from .timing import medians, show


def heavy(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Gaussian rows times exp(N(0, 1))."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * np.exp(rng.standard_normal(n))[:, None]


def by_qr(A: np.ndarray) -> np.ndarray:
    """tau_i = |Q_i|^2."""
    Q, _ = np.linalg.qr(A)
    return np.sum(Q * Q, axis=1)


def by_scipy(A: np.ndarray) -> np.ndarray:
    """tau_i = |Q_i|^2."""
    from scipy.linalg import qr

    Q = np.asarray(qr(A, mode="economic", check_finite=False)[0])
    return np.sum(Q * Q, axis=1)


def lewis_by_qr(A: np.ndarray, p: float, eta: float, tolerance: float) -> np.ndarray:
    """log w <- log w + eta (log F - log w), each F from a QR of W^{1/2-1/p} A."""
    x = np.full(len(A), np.log(A.shape[1] / len(A)))
    while True:
        tau = by_qr(np.exp((0.5 - 1 / p) * x)[:, None] * A)
        f = p / 2 * (np.log(tau) - (1 - 2 / p) * x) - x
        if np.abs(f).max() <= tolerance:
            return np.exp(x)
        x = x + eta * f


def leverage() -> None:
    """1e6 x 50."""
    A, identity = heavy(1_000_000, 50), np.eye(50)
    times = medians(
        {
            "fewtheory": lambda: subsets.leverage_scores(A),
            "fewtheory, sketched": lambda: subsets.leverage_scores(
                A, method="sketched", rng=np.random.default_rng(0)
            ),
            "numpy QR": lambda: by_qr(A),
            "scipy QR": lambda: by_scipy(A),
            "floor: A^T A and A I": lambda: (A.T @ A, A @ identity),
        },
        rounds=3,
        warm_up=1,
    )
    show("leverage scores, 1e6 x 50, float64", times, "fewtheory")


def lewis() -> None:
    """2e5 x 30, p = 1, to a residual of 1e-8."""
    A = heavy(200_000, 30)
    times = medians(
        {
            "fewtheory (Chebyshev)": lambda: subsets.lewis_weights(A, 1, tolerance=1e-8),
            "fewtheory, eta = 4/(p+2)": lambda: subsets.lewis_weights(
                A, 1, tolerance=1e-8, step=4 / 3
            ),
            "a QR a step, eta = 1": lambda: lewis_by_qr(A, 1, 1.0, 1e-8),
            "a QR a step, eta = 4/(p+2)": lambda: lewis_by_qr(A, 1, 4 / 3, 1e-8),
        },
        rounds=2,
        warm_up=0,
    )
    show("Lewis weights, 2e5 x 30, p = 1, to 1e-8", times, "fewtheory (Chebyshev)")


def cluster(n: int, d: int, workers: int) -> None:
    """The same calls on chunks, each made by the worker that has it."""
    import dask.array as da
    from distributed import Client, LocalCluster

    def chunk(block_info):
        (start, stop), _ = block_info[None]["array-location"]
        return heavy(stop - start, d, seed=start)

    size = min(n, 1_000_000)  # 160 MB a chunk at d = 20: a task costs tens of milliseconds
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local),
    ):
        A = da.map_blocks(chunk, chunks=((size,) * (n // size), d), dtype=np.float64).persist()
        A.sum().compute()
        print(f"\n{n:.0e} x {d} in {A.npartitions} chunks on {workers} workers, seconds")
        for name, call in {
            "leverage scores": lambda A: subsets.leverage_scores(A),
            "Lewis weights, p = 1, to 1e-6": lambda A: (
                subsets.lewis_weights(A, 1, tolerance=1e-6).weights
            ),
            "coreset of 2000 rows, p = 1": lambda A: subsets.coreset(
                A, 1, 2000, rng=np.random.default_rng(0)
            ),
        }.items():
            start = time.perf_counter()
            found = call(A)
            if hasattr(found, "persist"):
                found.sum().compute()
            there = time.perf_counter() - start
            print(f"  {name:34s} {there:8.2f}", end="", flush=True)
            if n * d <= 200_000_000:
                host = A.compute()
                start = time.perf_counter()
                call(host)
                print(f"   in memory {time.perf_counter() - start:8.2f}", end="")
            print()


def main() -> None:
    """Leverage scores and Lewis weights; the cluster is asked for by name."""
    leverage()
    lewis()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="1e7 x 20 on dask workers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=10_000_000)
    arguments = parser.parse_args()
    if arguments.cluster:
        cluster(arguments.rows, 20, arguments.workers)
    else:
        main()
