"""UniPC: a predictor of order p and a corrector that re-uses its evaluation, of order p + 1.

Zhao, Bai, Rao, Zhou, Lu (2023), arXiv 2302.04867. The corrected state takes the place of the
predicted one in the later rows, while the model value of the predicted point is kept: in a plan a
corrector is nothing but other coefficients. Sheet `plan-algebra`, C1, C2 and C5.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import fail, integer, one_of
from ..paths import Path
from ..plan import Form, GridLike, Plan, Point, Trace, Variant, sampler
from ..plan.phi import phi


@sampler(  # sigma = 0 is refused
    Variant("UniPC-1 (bh2)", {"order": 1}, order=2, denoises=False),
    Variant("UniPC-2 (bh2)", {"order": 2}, order=3, denoises=False),
    Variant("UniPC-2 (bh1)", {"order": 2, "bh": "bh1"}, order=3, denoises=False),
    Variant("UniPC-2 (bh2, noise)", {"order": 2, "prediction": "noise"}, order=3, denoises=False),
    Variant("UniP-2 (bh2)", {"order": 2, "corrector": False}, order=2, denoises=False),
    Variant(
        "UniPC-3 (lower-order end)",
        {"order": 3, "lower_order_final": True},
        order=2,
        denoises=False,
    ),
)
def unipc(
    path: Path,
    grid: GridLike,
    order: int = 2,
    *,
    bh: str = "bh2",
    prediction: str = "data",
    corrector: bool = True,
    lower_order_final: bool = False,
) -> Plan:
    """UniPC-p in B(h) = h or e^h - 1 ("bh1", "bh2"), data or noise prediction.

    order: p of the predictor, 1 to 3; the corrector is not applied after the last step, whose
    model value would cost an evaluation. lower_order_final lowers p to 1 towards the last step, as
    libraries do by default: it caps the order of convergence at 2.
    Source: arXiv 2302.04867, algorithms 5 to 8.
    """
    integer("unipc", "order", order, 1, 3)
    one_of("unipc", "bh", bh, ("bh1", "bh2"))
    one_of("unipc", "prediction", prediction, ("data", "noise"))
    settings = {
        "order": order,
        "bh": bh,
        "prediction": prediction,
        "corrector": corrector,
        "lower_order_final": lower_order_final,
    }
    trace = Trace(unipc, path, grid, settings, prediction)
    if math.isinf(trace.grid.lam[-1]):
        raise fail("unipc", "grid", "one that ends at sigma > 0", trace.grid.lam[-1])
    x, history, points, p = trace.start, [], [], 1
    base = predicted = x
    for i, (s, t) in enumerate(trace.steps()):
        x, m = trace.evaluate(predicted, s)
        if corrector and i > 0:  # the difference keeps the row short: what is common cancels
            corrected = _update(base, points[0], history, points, s, p, bh, prediction, new=m)
            x = x + (corrected - predicted)
        history, points = [m, *history][:3], [s, *points][:3]
        p = min(order, i + 1, trace.grid.steps - i if lower_order_final else order)
        base, predicted = x, _update(x, s, history, points, t, p, bh, prediction)
    return trace.plan(predicted)


def _update(
    x: Form,
    s: Point,
    history: list[Form],
    points: list[Point],
    t: Point,
    p: int,
    bh: str,
    prediction: str,
    new: Form | None = None,
) -> Form:
    """One UniP-p step from s to t, or with `new` (the model at t) the UniC-p correction of it."""
    h = t.lam - s.lam
    data = prediction == "data"
    z = -h if data else h
    scale = -t.alpha if data else -t.sigma  # of z phi_1(z) m_0 and of B(h)
    b_h = z if bh == "bh1" else math.expm1(z)
    ratios = [(points[j].lam - s.lam) / h for j in range(1, p)]
    slopes = [(history[j] - history[0]) / r for j, r in enumerate(ratios, start=1)]
    if new is not None:
        ratios, slopes = [*ratios, 1.0], [*slopes, new - history[0]]
    base = t.sigma / s.sigma if data else t.alpha / s.alpha
    out = base * x + scale * z * phi(1, z) * history[0]
    for weight, slope in zip(_weights(ratios, z, b_h), slopes, strict=True):
        out = out + scale * b_h * weight * slope
    return out


def _weights(ratios: list[float], z: float, b_h: float) -> list[float]:
    """rho with sum_j rho_j r_j^{i-1} = z phi_{i+1}(z) i! / B(h); 1/2 for a single slope."""
    q = len(ratios)
    if q <= 1:
        return [0.5] * q
    rows = np.array([[r**i for r in ratios] for i in range(q)])
    right = [z * phi(i + 1, z) * math.factorial(i) / b_h for i in range(1, q + 1)]
    return np.linalg.solve(rows, right).tolist()
