"""The exact flow map of a 1-D mixture, points a second, against an accurate ODE solution.

The peer is what a user would write without it: SciPy's DOP853 on the probability-flow ODE, all
points in one vector, at the tolerance of the map's own error.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

import fewtheory as ft

from .timing import medians, show

PATH = ft.paths.VPLinear()
BED = ft.testbeds.mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])
N, FEW = 1_000_000, 1000


def main() -> None:
    """Time a million points, and a thousand beside the solver."""
    x = BED.at(PATH, 0.9).sample(N, rng=np.random.default_rng(0))
    flow, velocity = BED.flow(PATH), BED.model(PATH, "velocity")

    def solved():
        def slope(t, y):
            return velocity(y[:, None], float(t))[:, 0]

        return solve_ivp(slope, (0.9, 0.01), x[:FEW, 0], "DOP853", rtol=1e-12, atol=1e-12)

    times = medians(
        {
            f"exact flow map, {FEW} points": lambda: flow(x[:FEW], 0.9, 0.01),
            f"DOP853 at 1e-12, {FEW} points": solved,
            f"exact flow map, {N} points": lambda: flow(x, 0.9, 0.01),
        },
        rounds=7,
        warm_up=1,
    )
    show("flow of a bimodal mixture, t = 0.9 to 0.01", times, f"exact flow map, {FEW} points")
    print(f"  {N / times[f'exact flow map, {N} points']:.1f} million points a second")


if __name__ == "__main__":
    main()
