"""The linear programs of p = 1: vertices first, HiGHS for what they leave undecided.

1/sigma = max {s : Q^T y = s b, -1 <= y <= 1}: r equations in bounded variables, ten times faster in
HiGHS than min sum t, -t <= Ax <= t, a_i.x = 1. Rows of an orthonormal Q and |b| = 1 keep HiGHS's
feasibility tolerance (1e-7) away from the answer, and y is made to fit before it counts.

Source: sheet `lp-sensitivity`, Method, p = 1.
"""

from __future__ import annotations

import numpy as np

from ._basis import pivoted


def by_highs(Q: np.ndarray, b: np.ndarray) -> tuple[float, float, np.ndarray, int]:
    """(lower, upper, z, iterations): max {s : Q^T y = s b, |y| <= 1} by HiGHS, z from its duals."""
    from scipy.optimize import linprog

    n, r = Q.shape
    size = float(np.linalg.norm(b))
    solved = linprog(
        np.append(np.zeros(n), -1.0),
        A_eq=np.column_stack([Q.T, -b / size]),
        b_eq=np.zeros(r),
        bounds=[*[(-1.0, 1.0)] * n, (0.0, None)],
        method="highs",
    )
    if solved.x is None:
        return 0.0, float("inf"), b / size, int(solved.nit)
    y, s, z = solved.x[:-1], solved.x[-1], np.asarray(solved.eqlin.marginals)
    y = y - Q @ (Q.T @ y - s * b / size)
    lower = abs(b @ z) / np.abs(Q @ z).sum() if np.any(z) else 0.0
    return float(lower), float(size * np.abs(y).max() / s), z, int(solved.nit)


def solve(
    Q: np.ndarray, targets: np.ndarray, tolerance: float, method: str = "auto"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(lower, upper, z, pivots) of the targets (k, r), by pivots and by HiGHS where ties stop them.

    method: "auto", or "vertices" (pivots alone) or "highs" (every target).
    """
    from ._vertices import by_pivots

    count, r = targets.shape
    if method == "highs":
        lower, upper = np.zeros(count), np.full(count, np.inf)
        Z, pivots = np.zeros((count, r)), np.zeros(count, dtype=np.int64)
    else:
        independent = pivoted(Q.T)[1][:r].astype(np.int64)
        lower, upper, Z, pivots = by_pivots(
            Q, np.ascontiguousarray(targets), independent, tolerance, 50 * (r + 10)
        )
    if method != "vertices":
        for c in np.flatnonzero(~(lower >= (1 - tolerance) * upper)):
            low, high, z, steps = by_highs(Q, targets[c])
            if low > lower[c]:
                lower[c], Z[c] = low, z
            upper[c], pivots[c] = min(upper[c], high), pivots[c] + steps
    return lower, np.maximum(upper, lower), Z, pivots
