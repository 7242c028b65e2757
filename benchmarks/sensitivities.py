"""All sensitivities of 1000 x 10 rows: p = 1 against the textbook linear program, p = 4 and scipy.

p = 1: min sum t, -t <= Ax <= t, a_i.x = 1 in HiGHS, one row; the bounded dual (also HiGHS), one
row. p = 4: `scipy.optimize.minimize` (BFGS with gradients) of ||Qz||_p^p / p - b.z, one row. Peers
give one number, without a certificate; a row of ours has both bounds.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog, minimize

from fewtheory.subsets.rows._programs import by_highs
from fewtheory.subsets.rows.sensitivities import sensitivities

from .timing import medians, show

N, D = 1000, 10


def world():
    """Gaussian rows of unequal lengths, and an orthonormal basis of their columns."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((N, D)) * np.exp(0.5 * rng.standard_normal((N, 1)))
    return A, np.linalg.qr(A)[0]


def textbook(A: np.ndarray, i: int) -> float:
    """1 / min sum t over -t <= Ax <= t, a_i.x = 1."""
    n, d = A.shape
    cost = np.append(np.zeros(d), np.ones(n))
    rows = np.block([[A, -np.eye(n)], [-A, -np.eye(n)]])
    one = [np.append(A[i], np.zeros(n))]
    bounds = [*[(None, None)] * d, *[(0, None)] * n]
    return 1 / linprog(cost, rows, np.zeros(2 * n), one, [1.0], bounds, method="highs").fun


def by_scipy(Q: np.ndarray, i: int, p: float) -> float:
    """(b.z)^(p-1) at the minimum of ||Qz||_p^p / p - b.z."""
    b = Q[i]

    def objective(z):
        u = Q @ z
        power = np.abs(u) ** (p - 1) * np.sign(u)
        return power @ u / p - b @ z, Q.T @ power - b

    z = b / (b @ b)
    z *= ((b @ z) / (np.abs(Q @ z) ** p).sum()) ** (1 / (p - 1))
    return float(b @ minimize(objective, z, jac=True, method="BFGS").x) ** (p - 1)


def against(title: str, A: np.ndarray, p: float, peers: dict) -> None:
    """Microseconds a row: all rows of ours, single rows of the peers."""
    ours = medians({"ours": lambda: sensitivities(A, p)}, rounds=5, warm_up=1)["ours"]
    times = {"fewtheory, both bounds, a row": ours / N, **medians(peers, rounds=5, warm_up=1)}
    show(title, times, "fewtheory, both bounds, a row")
    print(f"  all {N} rows: {ours / 1e6:.3f} s")


def main() -> None:
    """p = 1 and p = 4."""
    A, Q = world()
    exact = sensitivities(A, 1, rows=[3]).value[0]
    assert abs(textbook(A, 3) / exact - 1) < 1e-6
    peers = {
        "textbook linear program, a row": lambda: textbook(A, 3),
        "bounded dual, a row": lambda: by_highs(Q, Q[3]),
    }
    against(f"sensitivities, p = 1, n = {N}, d = {D}", A, 1, peers)
    exact = sensitivities(A, 4, rows=[3]).value[0]
    assert abs(by_scipy(Q, 3, 4) / exact - 1) < 1e-4
    scipy = {"scipy BFGS, a row": lambda: by_scipy(Q, 3, 4)}
    against(f"sensitivities, p = 4, n = {N}, d = {D}", A, 4, scipy)


if __name__ == "__main__":
    main()
